; SPDX-License-Identifier: MIT
; array1.scm: vectors made, filled, and copied.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define (make-and-fill n)
  (let ((v (make-vector n)))
    (do ((i 0 (+ i 1)))
        ((= i n) v)
      (vector-set! v i i))))

(define (copy-of x)
  (let* ((n (vector-length x)) (y (make-vector n 0)))
    (do ((i (- n 1) (- i 1)))
        ((< i 0) y)
      (vector-set! y i (vector-ref x i)))))

(define (run n times)
  (let loop ((i times) (length 0))
    (if (= i 0)
        length
        (loop (- i 1) (+ length (vector-length (copy-of (make-and-fill n))))))))

(run-program "array1" run 1 '(200000 50) 10000000 '(100 2) 200)
