; SPDX-License-Identifier: MIT
; strings.scm: what takes a procedure and a string.

(define (string-map f s . more)
  (if (null? more)
      (let ((n (string-length s)))
        (let loop ((i 0) (made '()))
          (if (< i n)
              (loop (+ i 1) (cons (f (string-ref s i)) made))
              (list->string (reverse made)))))
      (list->string (apply map f (string->list s) (map string->list more)))))

(define (string-for-each f s . more)
  (if (null? more)
      (let ((n (string-length s)))
        (let loop ((i 0))
          (if (< i n)
              (begin
                (f (string-ref s i))
                (loop (+ i 1))))))
      (apply for-each f (string->list s) (map string->list more))))

(define (%as-test what)               ; a character stands for itself
  (if (char? what)
      (lambda (c) (char=? c what))
      what))

(define (string-count s what . range)
  (let ((right? (%as-test what))
        (end (if (and (pair? range) (pair? (cdr range))) (cadr range) (string-length s))))
    (let loop ((i (if (pair? range) (car range) 0)) (n 0))
      (if (< i end)
          (loop (+ i 1) (if (right? (string-ref s i)) (+ n 1) n))
          n))))

(define (string-index s what . range)
  (if (char? what)
      (apply %string-index s what range)
      (let ((end (if (and (pair? range) (pair? (cdr range))) (cadr range) (string-length s))))
        (let loop ((i (if (pair? range) (car range) 0)))
          (cond ((>= i end) #f)
                ((what (string-ref s i)) i)
                (else (loop (+ i 1))))))))

(define (string-rindex s what . range)
  (if (char? what)
      (apply %string-rindex s what range)
      (let ((start (if (pair? range) (car range) 0)))
        (let loop ((i (- (if (and (pair? range) (pair? (cdr range))) (cadr range) (string-length s)) 1)))
          (cond ((< i start) #f)
                ((what (string-ref s i)) i)
                (else (loop (- i 1))))))))

(define (string-split s what)
  (if (char? what)
      (%string-split s what)
      (let loop ((i (- (string-length s) 1)) (end (string-length s)) (parts '()))
        (cond ((< i 0) (cons (substring s 0 end) parts))
              ((what (string-ref s i)) (loop (- i 1) i (cons (substring s (+ i 1) end) parts)))
              (else (loop (- i 1) end parts))))))

(define (string-any right? s)
  (let loop ((i 0))
    (and (< i (string-length s))
         (or (right? (string-ref s i)) (loop (+ i 1))))))

(define (string-every right? s)
  (let loop ((i 0))
    (or (= i (string-length s))
        (and (right? (string-ref s i)) (loop (+ i 1))))))

(define (string-filter right? s)
  (list->string (filter right? (string->list s))))

(define (string-tabulate f n)
  (list->string (list-tabulate n f)))

(define (char-ascii? c) (< (char->integer c) 128))
