; SPDX-License-Identifier: MIT
; ctak.scm: Takeuchi's function, each result passed to a continuation that call/cc has captured.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define (ctak x y z)
  (call-with-current-continuation
    (lambda (return) (ctak-to return x y z))))

(define (ctak-to return x y z)
  (if (< y x)
      (call-with-current-continuation
        (lambda (return)
          (ctak-to return
                   (call-with-current-continuation (lambda (return) (ctak-to return (- x 1) y z)))
                   (call-with-current-continuation (lambda (return) (ctak-to return (- y 1) z x)))
                   (call-with-current-continuation (lambda (return) (ctak-to return (- z 1) x y))))))
      (return z)))

(run-program "ctak" ctak 1 '(18 12 6) 7 '(9 6 3) 6)
