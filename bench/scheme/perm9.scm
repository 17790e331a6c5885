; SPDX-License-Identifier: MIT
; perm9.scm: Zaks' permutations of nine elements: two thirds of a million pairs that live, none of them long.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

; The list of all permutations of `x`, whose tails are shared: prefixes are reversed again and again.
(define (permutations x)
  (let ((x x) (perms (list x)))
    (define (tail x n)
      (if (= n 0) x (tail (cdr x) (- n 1))))
    (define (revolve! n)
      (set! x (let loop ((x x) (n n) (y (tail x n)))
                (if (= n 0)
                    y
                    (loop (cdr x) (- n 1) (cons (car x) y)))))
      (set! perms (cons x perms)))
    (define (permute! n)
      (if (> n 1)
          (let loop ((j (- n 1)))
            (permute! (- n 1))
            (if (> j 0)
                (begin
                  (revolve! n)
                  (loop (- j 1)))))))
    (permute! (length x))
    perms))

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
