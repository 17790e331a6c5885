; SPDX-License-Identifier: MIT
; diviter.scm: lists of 200 halved by a loop.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define (fresh n)
  (do ((i n (- i 1))
       (list '() (cons '() list)))
      ((= i 0) list)))

(define (half list)
  (do ((rest list (cddr rest))
       (result '() (cons (car rest) result)))
      ((null? rest) result)))

(define (run length-of n)
  (let ((list (fresh length-of)))
    (do ((i 1 (+ i 1)))
        ((= i n) (length (half list)))
      (half list))))

(run-program "diviter" run 1 '(200 100000) 100 '(20 10) 10)
