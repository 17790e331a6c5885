; SPDX-License-Identifier: MIT
; fibfp.scm: fib in floating point: each number is allocated, or not.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define (fibfp n)
  (if (< n 2.0)
      n
      (+ (fibfp (- n 1.0)) (fibfp (- n 2.0)))))

(run-program "fibfp" fibfp 1 '(30.0) 832040.0 '(12.0) 144.0)
