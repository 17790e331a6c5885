; SPDX-License-Identifier: MIT
; pnpoly.scm: whether points lie within a polygon of 20 corners.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define xs #(0.0 1.0 1.0 0.0 0.0 1.0 -0.5 -1.0 -1.0 -2.0 -2.5 -2.0 -1.5 -0.5 1.0 1.0 0.0 -0.5 -1.0 -0.5))
(define ys #(0.0 0.0 1.0 1.0 2.0 3.0 2.0 3.0 0.0 -0.5 -1.0 -1.5 -2.0 -2.0 -1.5 -1.0 -0.5 -1.0 -1.0 -0.5))

; By the number of edges that a ray to the right crosses.
(define (inside? x y)
  (let ((n (vector-length xs)))
    (let loop ((i 0) (j (- n 1)) (inside #f))
      (if (= i n)
          inside
          (let ((yi (vector-ref ys i)) (yj (vector-ref ys j)) (xi (vector-ref xs i)) (xj (vector-ref xs j)))
            (loop (+ i 1)
                  i
                  (if (and (or (and (<= yi y) (< y yj)) (and (<= yj y) (< y yi)))
                           (< x (+ xi (/ (* (- xj xi) (- y yi)) (- yj yi)))))
                      (not inside)
                      inside)))))))

(define (run n)
  (let row ((i 0) (count 0))
    (if (= i n)
        count
        (row (+ i 1)
             (let column ((j 0) (count count))
               (if (= j n)
                   count
                   (column (+ j 1)
                           (if (inside? (- (/ (* 4.0 i) n) 2.75) (- (/ (* 5.5 j) n) 2.25))
                               (+ count 1)
                               count))))))))

(run-program "pnpoly" run 6 '(150) 8081 '(12) 52)
