; SPDX-License-Identifier: MIT
; quicksort.scm: a vector of random numbers sorted in place.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define seed 42)
(define (random!) ; 32 bits, by a linear congruence
  (set! seed (modulo (+ (* seed 1664525) 1013904223) 4294967296))
  seed)

(define (quicksort! v less?)
  (let sort ((low 0) (high (- (vector-length v) 1)))
    (if (< low high)
        (let ((pivot (vector-ref v (quotient (+ low high) 2))))
          (let loop ((i low) (j high))
            (let* ((i (let up ((i i)) (if (less? (vector-ref v i) pivot) (up (+ i 1)) i)))
                   (j (let down ((j j)) (if (less? pivot (vector-ref v j)) (down (- j 1)) j))))
              (if (<= i j)
                  (let ((x (vector-ref v i)))
                    (vector-set! v i (vector-ref v j))
                    (vector-set! v j x)
                    (loop (+ i 1) (- j 1)))
                  (begin
                    (sort low j)
                    (sort i high)))))))))

(define (run n)
  (set! seed 42)
  (let ((v (make-vector n)) (sum 0))
    (do ((i 0 (+ i 1)))
        ((= i n))
      (let ((x (random!)))
        (vector-set! v i x)
        (set! sum (+ sum x))))
    (quicksort! v <)
    (let loop ((i 0) (left sum))
      (cond ((= i n) (if (= left 0) 'sorted 'lost))
            ((and (> i 0) (< (vector-ref v i) (vector-ref v (- i 1)))) 'unsorted)
            (else (loop (+ i 1) (- left (vector-ref v i))))))))

(run-program "quicksort" run 15 '(30000) 'sorted '(500) 'sorted)
