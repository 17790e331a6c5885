; SPDX-License-Identifier: MIT
; divrec.scm: lists of 200 halved by recursion.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define (fresh n)
  (if (= n 0)
      '()
      (cons '() (fresh (- n 1)))))

(define (half list)
  (if (null? list)
      '()
      (cons (car list) (half (cddr list)))))

(define (run length-of n)
  (let ((list (fresh length-of)))
    (do ((i 1 (+ i 1)))
        ((= i n) (length (half list)))
      (half list))))

(run-program "divrec" run 1 '(200 100000) 100 '(20 10) 10)
