; SPDX-License-Identifier: MIT
; mbrot.scm: how many points of a grid belong to Mandelbrot's set, in 64 steps.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define (steps cr ci most)
  (let loop ((zr cr) (zi ci) (count 0))
    (if (= count most)
        count
        (let ((zr2 (* zr zr)) (zi2 (* zi zi)))
          (if (> (+ zr2 zi2) 16.0)
              count
              (loop (+ (- zr2 zi2) cr) (+ (* 2.0 zr zi) ci) (+ count 1)))))))

(define (mbrot n most)
  (let ((scale (/ 2.0 n)))
    (let row ((y 0) (inside 0))
      (if (= y n)
          inside
          (row (+ y 1)
               (let column ((x 0) (inside inside))
                 (if (= x n)
                     inside
                     (column (+ x 1)
                             (if (= most (steps (+ -1.5 (* scale x)) (+ -1.0 (* scale y)) most))
                                 (+ inside 1)
                                 inside)))))))))

(run-program "mbrot" mbrot 1 '(150 64) 8856 '(20 20) 167)
