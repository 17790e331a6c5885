; SPDX-License-Identifier: MIT
; permutations.scm: Zaks' permutations, which perm9.scm and mperm.scm include.

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
