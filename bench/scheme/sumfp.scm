; SPDX-License-Identifier: MIT
; sumfp.scm: the same as sum in floating point.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define (sum-to n)
  (let loop ((i n) (sum 0.0))
    (if (< i 0.0)
        sum
        (loop (- i 1.0) (+ i sum)))))

(run-program "sumfp" sum-to 280 '(10000.0) 50005000.0 '(100.0) 5050.0)
