; SPDX-License-Identifier: MIT
; dderiv.scm: symbolic derivation driven by a table of procedures.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define table '())

(define (define-rule operator rule)
  (set! table (cons (cons operator rule) table)))

(define (deriv a)
  (if (pair? a)
      (let ((rule (assq (car a) table)))
        (if rule
            ((cdr rule) a)
            (error "no derivation for" (car a))))
      (if (eq? a 'x) 1 0)))

(define-rule '/ (lambda (a)
                  (let ((above (cadr a)) (below (car (cddr a))))
                    (list '- (list '/ (deriv above) below) (list '/ above (list '* below below (deriv below)))))))
(define-rule '* (lambda (a) (list '* a (cons '+ (map (lambda (factor) (list '/ (deriv factor) factor)) (cdr a))))))
(define-rule '- (lambda (a) (cons '- (map deriv (cdr a)))))
(define-rule '+ (lambda (a) (cons '+ (map deriv (cdr a)))))

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

(run-program "dderiv" run 1 '((+ (* 3 x x) (* a x x) (* b x) 5) 200000) expected '((+ (* 3 x x) (* a x x) (* b x) 5) 100) expected)
