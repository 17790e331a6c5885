; SPDX-License-Identifier: MIT
; deriv.scm: symbolic derivation by a chain of tests.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define (deriv a)
  (cond ((not (pair? a))
         (if (eq? a 'x) 1 0))
        ((eq? (car a) '+)
         (cons '+ (map deriv (cdr a))))
        ((eq? (car a) '-)
         (cons '- (map deriv (cdr a))))
        ((eq? (car a) '*)
         (list '* a (cons '+ (map (lambda (factor) (list '/ (deriv factor) factor)) (cdr a)))))
        ((eq? (car a) '/)
         (let ((above (cadr a)) (below (car (cddr a))))
           (list '-
                 (list '/ (deriv above) below)
                 (list '/ above (list '* below below (deriv below))))))
        (else
         (error "no derivation for" (car a)))))

(define (run expression n)
  (let loop ((i 1))
    (let ((result (deriv expression)))
      (if (= i n)
          result
          (loop (+ i 1))))))

(define expected
  '(+ (* (* 3 x x) (+ (/ 0 3) (/ 1 x) (/ 1 x)))
      (* (* a x x) (+ (/ 0 a) (/ 1 x) (/ 1 x)))
      (* (* b x) (+ (/ 0 b) (/ 1 x)))
      0))

(run-program "deriv" run 1 '((+ (* 3 x x) (* a x x) (* b x) 5) 200000) expected '((+ (* 3 x x) (* a x x) (* b x) 5) 100) expected)
