; SPDX-License-Identifier: MIT
; pi.scm: a thousand digits of pi by Machin's formula, in large integers.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

; unit * arctan(1 / n)
(define (arctan-inverse n unit)
  (let ((square (* n n)))
    (let loop ((power (quotient unit n)) (k 1) (sum 0) (plus? #t))
      (if (= power 0)
          sum
          (let ((term (quotient power k)))
            (loop (quotient power square)
                  (+ k 2)
                  (if plus? (+ sum term) (- sum term))
                  (not plus?)))))))

; 3 and so many decimals.
(define (pi-digits n)
  (let ((unit (expt 10 (+ n 10))))
    (quotient (* 4 (- (* 4 (arctan-inverse 5 unit)) (arctan-inverse 239 unit)))
              (expt 10 10))))

; The first and the last 16 digits of those down to the n-th decimal.
(define (run n)
  (let ((text (number->string (pi-digits (+ n 2)))))
    (string-append (substring text 0 16) (substring text (- n 15) (+ n 1)))))

(run-program "pi" run 120 '(1000) "31415926535897931959092164201989" '(100) "31415926535897930348253421170679")
