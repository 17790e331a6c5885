; SPDX-License-Identifier: MIT
; lists.scm: what takes a procedure and a list. Written in Scheme, so that continuations captured in the procedures work.

(define (%end who l)
  (if (null? l) '() (error (string-append (symbol->string who) ": not a list:") l)))

(define (%some-end? lists)
  (and (pair? lists)
       (or (not (pair? (car lists))) (%some-end? (cdr lists)))))

(define (%cars lists)
  (if (pair? lists) (cons (caar lists) (%cars (cdr lists))) '()))

(define (%cdrs lists)
  (if (pair? lists) (cons (cdar lists) (%cdrs (cdr lists))) '()))

(define (%map-1 f l)
  (if (pair? l)
      (let ((head (f (car l))))
        (cons head (%map-1 f (cdr l))))
      (%end 'map l)))

(define (%map-2 f a b)
  (if (and (pair? a) (pair? b))
      (let ((head (f (car a) (car b))))
        (cons head (%map-2 f (cdr a) (cdr b))))
      '()))

(define (%map-n f lists)
  (if (%some-end? lists)
      '()
      (let ((head (apply f (%cars lists))))
        (cons head (%map-n f (%cdrs lists))))))

(define (map f l . more)
  (cond ((null? more) (%map-1 f l))
        ((null? (cdr more)) (%map-2 f l (car more)))
        (else (%map-n f (cons l more)))))

(define (%for-each-1 f l)
  (if (pair? l)
      (begin
        (f (car l))
        (%for-each-1 f (cdr l)))
      (if (not (null? l)) (%end 'for-each l))))

(define (%for-each-n f lists)
  (if (not (%some-end? lists))
      (begin
        (apply f (%cars lists))
        (%for-each-n f (%cdrs lists)))))

(define (for-each f l . more)
  (if (null? more)
      (%for-each-1 f l)
      (%for-each-n f (cons l more))))

(define (append-map f l . more)
  (apply append (apply map f l more)))

(define (filter-map f l . more)
  (filter (lambda (x) x) (apply map f l more)))

(define (filter keep? l)
  (let loop ((l l) (kept '()))
    (if (pair? l)
        (loop (cdr l) (if (keep? (car l)) (cons (car l) kept) kept))
        (begin (%end 'filter l) (reverse kept)))))

(define (remove drop? l)
  (filter (lambda (x) (not (drop? x))) l))

(define (partition keep? l)
  (let loop ((l l) (in '()) (out '()))
    (cond ((null? l) (values (reverse in) (reverse out)))
          ((keep? (car l)) (loop (cdr l) (cons (car l) in) out))
          (else (loop (cdr l) in (cons (car l) out))))))

(define (fold-left f start l . more)
  (if (null? more)
      (let loop ((so-far start) (l l))
        (if (pair? l)
            (loop (f so-far (car l)) (cdr l))
            (begin (%end 'fold-left l) so-far)))
      (let loop ((so-far start) (lists (cons l more)))
        (if (%some-end? lists)
            so-far
            (loop (apply f so-far (%cars lists)) (%cdrs lists))))))

(define (fold-right f start l . more)
  (if (null? more)
      (let loop ((so-far start) (l (reverse l)))
        (if (pair? l)
            (loop (f (car l) so-far) (cdr l))
            so-far))
      (let loop ((lists (cons l more)))
        (if (%some-end? lists)
            start
            (let ((rest (loop (%cdrs lists))))
              (apply f (append (%cars lists) (list rest))))))))

(define (fold f start l . more)
  (if (null? more)
      (let loop ((so-far start) (l l))
        (if (pair? l)
            (loop (f (car l) so-far) (cdr l))
            (begin (%end 'fold l) so-far)))
      (let loop ((so-far start) (lists (cons l more)))
        (if (%some-end? lists)
            so-far
            (loop (apply f (append (%cars lists) (list so-far))) (%cdrs lists))))))

(define (reduce f start l)
  (if (pair? l)
      (fold f (car l) (cdr l))
      (begin (%end 'reduce l) start)))

(define reduce-left
  (lambda (f start l)
    (if (pair? l)
        (fold-left f (car l) (cdr l))
        (begin (%end 'reduce-left l) start))))

(define (reduce-right f start l)
  (if (pair? l)
      (let loop ((first (car l)) (l (cdr l)))
        (if (pair? l)
            (f first (loop (car l) (cdr l)))
            first))
      (begin (%end 'reduce-right l) start)))

(define (find right? l)
  (let loop ((l l))
    (cond ((not (pair? l)) (%end 'find l) #f)
          ((right? (car l)) (car l))
          (else (loop (cdr l))))))

(define (find-tail right? l)
  (let loop ((l l))
    (cond ((not (pair? l)) (%end 'find-tail l) #f)
          ((right? (car l)) l)
          (else (loop (cdr l))))))

(define (any right? l . more)
  (if (null? more)
      (let loop ((l l))
        (cond ((not (pair? l)) (%end 'any l) #f)
              ((null? (cdr l)) (right? (car l)))
              (else (or (right? (car l)) (loop (cdr l))))))
      (let loop ((lists (cons l more)))
        (if (%some-end? lists)
            #f
            (or (apply right? (%cars lists)) (loop (%cdrs lists)))))))

(define (every right? l . more)
  (if (null? more)
      (let loop ((l l))
        (cond ((not (pair? l)) (%end 'every l) #t)
              ((null? (cdr l)) (right? (car l)))
              (else (and (right? (car l)) (loop (cdr l))))))
      (let loop ((lists (cons l more)) (last #t))
        (if (%some-end? lists)
            last
            (let ((now (apply right? (%cars lists))))
              (and now (loop (%cdrs lists) now)))))))

(define (count right? l)
  (let loop ((l l) (n 0))
    (if (pair? l)
        (loop (cdr l) (if (right? (car l)) (+ n 1) n))
        (begin (%end 'count l) n))))

(define (list-index right? l)
  (let loop ((l l) (i 0))
    (cond ((not (pair? l)) (%end 'list-index l) #f)
          ((right? (car l)) i)
          (else (loop (cdr l) (+ i 1))))))

(define (take-while keep? l)
  (let loop ((l l) (kept '()))
    (if (and (pair? l) (keep? (car l)))
        (loop (cdr l) (cons (car l) kept))
        (reverse kept))))

(define (drop-while drop? l)
  (if (and (pair? l) (drop? (car l)))
      (drop-while drop? (cdr l))
      l))

(define (list-tabulate n f)
  (let loop ((i (- n 1)) (made '()))
    (if (< i 0)
        made
        (loop (- i 1) (cons (f i) made)))))

(define make-initialized-list list-tabulate)

(define (member x l . same)
  (if (null? same)
      (%member x l)
      (let ((same? (car same)))
        (let loop ((l l))
          (cond ((not (pair? l)) (%end 'member l) #f)
                ((same? x (car l)) l)
                (else (loop (cdr l))))))))

(define (assoc x l . same)
  (if (null? same)
      (%assoc x l)
      (let ((same? (car same)))
        (let loop ((l l))
          (cond ((not (pair? l)) (%end 'assoc l) #f)
                ((same? x (caar l)) (car l))
                (else (loop (cdr l))))))))

(define (del-assq key l) (remove (lambda (entry) (eq? (car entry) key)) l))
(define (del-assv key l) (remove (lambda (entry) (eqv? (car entry) key)) l))
(define (del-assoc key l) (remove (lambda (entry) (equal? (car entry) key)) l))

; ---- Sorting: by merging, so that what is alike stays in order.

(define (%merge a b less?)            ; both are ours to change
  (let ((before (cons #f '())))
    (let loop ((last before) (a a) (b b))
      (cond ((null? a) (set-cdr! last b))
            ((null? b) (set-cdr! last a))
            ((less? (car b) (car a))
             (set-cdr! last b)
             (loop b a (cdr b)))
            (else
             (set-cdr! last a)
             (loop a (cdr a) b))))
    (cdr before)))

(define (%sort-list l less?)
  (let ((rest l))
    (define (sorted n)                ; the next n
      (cond ((> n 2)
             (let* ((half (quotient n 2))
                    (first (sorted half))
                    (second (sorted (- n half))))
               (%merge first second less?)))
            ((= n 2)
             (let ((x (car rest)) (y (cadr rest)))
               (set! rest (cddr rest))
               (if (less? y x) (list y x) (list x y))))
            ((= n 1)
             (let ((x (car rest)))
               (set! rest (cdr rest))
               (list x)))
            (else '())))
    (sorted (length l))))

(define (list-sort less? l)
  (if (procedure? less?)
      (%sort-list l less?)
      (%sort-list less? l)))

(define (sort sequence less?)
  (cond ((procedure? sequence) (sort less? sequence))
        ((vector? sequence) (list->vector (%sort-list (vector->list sequence) less?)))
        (else (%sort-list sequence less?))))

(define merge-sort sort)
(define stable-sort sort)

(define (sort! sequence less?)
  (cond ((procedure? sequence) (sort! less? sequence))
        ((vector? sequence)
         (vector-copy! sequence 0 (list->vector (%sort-list (vector->list sequence) less?)))
         sequence)
        (else (%sort-list sequence less?))))
