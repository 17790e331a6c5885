; SPDX-License-Identifier: MIT
; sum.scm: the integers from 0 to 10000 added up, in a loop.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define (sum-to n)
  (let loop ((i n) (sum 0))
    (if (< i 0)
        sum
        (loop (- i 1) (+ i sum)))))

(run-program "sum" sum-to 14000 '(10000) 50005000 '(100) 5050)
