; SPDX-License-Identifier: MIT
; vectors.scm: what takes a procedure and a vector.

(define (%vector-map-1 f v)           ; a list first: if a continuation brings us back, what was returned before stays as it was
  (let ((n (vector-length v)))
    (let loop ((i 0) (made '()))
      (if (< i n)
          (loop (+ i 1) (cons (f (vector-ref v i)) made))
          (list->vector (reverse made))))))

(define (vector-map f v . more)
  (if (null? more)
      (%vector-map-1 f v)
      (list->vector (apply map f (vector->list v) (map vector->list more)))))

(define (vector-for-each f v . more)
  (if (null? more)
      (let ((n (vector-length v)))
        (let loop ((i 0))
          (if (< i n)
              (begin
                (f (vector-ref v i))
                (loop (+ i 1))))))
      (apply for-each f (vector->list v) (map vector->list more))))

(define (vector-map! f v)
  (let ((n (vector-length v)))
    (let loop ((i 0))
      (if (< i n)
          (begin
            (vector-set! v i (f (vector-ref v i)))
            (loop (+ i 1)))))))

(define (vector-tabulate f n)
  (let ((v (make-vector n)))
    (let loop ((i 0))
      (if (< i n)
          (begin
            (vector-set! v i (f i))
            (loop (+ i 1)))
          v))))

(define (make-initialized-vector n f) (vector-tabulate f n))
(define (build-vector n f) (vector-tabulate f n))

(define (vector-count right? v)
  (let loop ((i 0) (n 0))
    (if (< i (vector-length v))
        (loop (+ i 1) (if (right? (vector-ref v i)) (+ n 1) n))
        n)))

(define (vector-index right? v)
  (let loop ((i 0))
    (cond ((= i (vector-length v)) #f)
          ((right? (vector-ref v i)) i)
          (else (loop (+ i 1))))))

(define (vector-fold f start v)
  (let loop ((i 0) (so-far start))
    (if (< i (vector-length v))
        (loop (+ i 1) (f so-far (vector-ref v i)))
        so-far)))

(define (vector-binary-search v key compare) ; compare: negative, 0 or positive
  (let loop ((low 0) (high (vector-length v)))
    (if (>= low high)
        #f
        (let* ((middle (quotient (+ low high) 2))
               (order (compare key (vector-ref v middle))))
          (cond ((= order 0) (vector-ref v middle))
                ((< order 0) (loop low middle))
                (else (loop (+ middle 1) high)))))))

(define (vector-sort a b) (sort a b))
(define (vector-sort! a b) (sort! a b))
