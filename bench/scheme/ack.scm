; SPDX-License-Identifier: MIT
; ack.scm: Ackermann's function: deep recursion.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define (ack m n)
  (cond ((= m 0) (+ n 1))
        ((= n 0) (ack (- m 1) 1))
        (else (ack (- m 1) (ack m (- n 1))))))

(run-program "ack" ack 5 '(3 9) 4093 '(2 5) 13)
