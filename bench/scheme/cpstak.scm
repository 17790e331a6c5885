; SPDX-License-Identifier: MIT
; cpstak.scm: Takeuchi's function in continuation-passing style: closures.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define (cpstak x y z)
  (define (tak x y z return)
    (if (< y x)
        (tak (- x 1) y z
             (lambda (first)
               (tak (- y 1) z x
                    (lambda (second)
                      (tak (- z 1) x y
                           (lambda (third)
                             (tak first second third return)))))))
        (return z)))
  (tak x y z (lambda (result) result)))

(run-program "cpstak" cpstak 60 '(18 12 6) 7 '(9 6 3) 6)
