; SPDX-License-Identifier: MIT
; perm9.scm: Zaks' permutations of nine elements: two thirds of a million pairs that live, none of them long.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")
(include "permutations.scm")

(define (sum-of-all lists)
  (let loop ((lists lists) (sum 0))
    (if (null? lists)
        sum
        (loop (cdr lists)
              (let inner ((list (car lists)) (sum sum))
                (if (null? list)
                    sum
                    (inner (cdr list) (+ sum (car list)))))))))

(define (run n rounds)
  (let ((x (let loop ((i n) (list '())) (if (= i 0) list (loop (- i 1) (cons i list))))))
    (let loop ((i 1) (perms (permutations x)))
      (if (= i rounds)
          (sum-of-all perms)
          (loop (+ i 1) (permutations (car perms)))))))

; n! permutations of 1 ... n, whose sum is n (n + 1) / 2.
(run-program "perm9" run 1 '(9 5) 16329600 '(6 2) 15120)
