; SPDX-License-Identifier: MIT
; primes.scm: the primes up to n, by sifting lists.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define (interval low high)
  (if (> low high)
      '()
      (cons low (interval (+ low 1) high))))

(define (without-multiples list n)
  (cond ((null? list) '())
        ((= 0 (remainder (car list) n)) (without-multiples (cdr list) n))
        (else (cons (car list) (without-multiples (cdr list) n)))))

(define (sieve list)
  (if (null? list)
      '()
      (cons (car list) (sieve (without-multiples (cdr list) (car list))))))

(define (run n)
  (length (sieve (interval 2 n))))

(run-program "primes" run 25 '(5000) 669 '(100) 25)
