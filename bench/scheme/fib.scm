; SPDX-License-Identifier: MIT
; fib.scm: Fibonacci's numbers, doubly recursive: calls and small integers.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define (fib n)
  (if (< n 2)
      n
      (+ (fib (- n 1)) (fib (- n 2)))))

(run-program "fib" fib 15 '(30) 832040 '(15) 610)
