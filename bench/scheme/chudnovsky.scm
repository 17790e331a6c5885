; SPDX-License-Identifier: MIT
; chudnovsky.scm: pi by the series of the brothers Chudnovsky, summed by halves, in large integers.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define c3-over-24 (quotient (expt 640320 3) 24))

; P, Q and T of the terms [a, b).
(define (split a b)
  (if (= (+ a 1) b)
      (let ((p (if (= a 0) 1 (* (- (* 6 a) 5) (- (* 2 a) 1) (- (* 6 a) 1))))
            (q (if (= a 0) 1 (* a a a c3-over-24))))
        (let ((t (* p (+ 13591409 (* 545140134 a)))))
          (values p q (if (odd? a) (- t) t))))
      (let ((middle (quotient (+ a b) 2)))
        (let*-values (((p1 q1 t1) (split a middle))
                      ((p2 q2 t2) (split middle b)))
          (values (* p1 p2) (* q1 q2) (+ (* q2 t1) (* p1 t2)))))))

(define (pi-digits n)
  (let ((unit (expt 10 (+ n 10))))
    (let-values (((p q t) (split 0 (+ 2 (quotient n 14))))
                 ((root rest) (exact-integer-sqrt (* 10005 unit unit))))
      (quotient (quotient (* q 426880 root) t) (expt 10 10)))))

; The sum of all digits down to the n-th decimal, and the last eight of them.
(define (run n)
  (let* ((text (number->string (pi-digits n))) (length (string-length text)))
    (let loop ((i 0) (sum 0))
      (if (= i length)
          (list sum (substring text (- length 8) length))
          (loop (+ i 1) (+ sum (- (char->integer (string-ref text i)) 48)))))))

(run-program "chudnovsky" run 100 '(10000) '(44897 "56375678") '(1000) '(4479 "64201989"))
