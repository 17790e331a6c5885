; SPDX-License-Identifier: MIT
; takl.scm: Takeuchi's function, where a number is a list of that length.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define (count-down n)
  (if (= n 0)
      '()
      (cons n (count-down (- n 1)))))

(define (shorter? a b)
  (and (pair? b)
       (or (null? a)
           (shorter? (cdr a) (cdr b)))))

(define (takl x y z)
  (if (shorter? y x)
      (takl (takl (cdr x) y z) (takl (cdr y) z x) (takl (cdr z) x y))
      z))

(define (run x y z)
  (length (takl (count-down x) (count-down y) (count-down z))))

(run-program "takl" run 80 '(18 12 6) 7 '(9 6 3) 6)
