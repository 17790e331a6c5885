; SPDX-License-Identifier: MIT
; triangl.scm: Gabriel's triangle: all ways to play the peg solitaire on a triangle of 15 holes until one peg is left.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

; A jump: from, over, to. Holes are numbered by rows from 1.
(define jumps
  (let* ((lines '((1 2 4) (2 4 7) (4 7 11) (1 3 6) (3 6 10) (6 10 15) (3 5 8) (5 8 12) (2 5 9) (5 9 14) (6 9 13) (4 8 13)
                  (4 5 6) (7 8 9) (8 9 10) (11 12 13) (12 13 14) (13 14 15)))
         (both (apply append (map (lambda (line) (list line (reverse line))) lines))))
    (list->vector (map list->vector both))))

(define (triangl hole)
  (let ((board (make-vector 16 1))
        (solutions 0))
    (define (try pegs)
      (if (= pegs 1)
          (set! solutions (+ solutions 1))
          (let loop ((i (- (vector-length jumps) 1)))
            (if (>= i 0)
                (let* ((jump (vector-ref jumps i))
                       (from (vector-ref jump 0)) (over (vector-ref jump 1)) (to (vector-ref jump 2)))
                  (if (and (= 1 (vector-ref board from)) (= 1 (vector-ref board over)) (= 0 (vector-ref board to)))
                      (begin
                        (vector-set! board from 0)
                        (vector-set! board over 0)
                        (vector-set! board to 1)
                        (try (- pegs 1))
                        (vector-set! board from 1)
                        (vector-set! board over 1)
                        (vector-set! board to 0)))
                  (loop (- i 1)))))))
    (vector-set! board hole 0)
    (try 14)
    solutions))

(define (count-from hole first-jumps)
  (if (= first-jumps 0)
      (triangl hole)
      ; Small: how many sequences of so many jumps there are.
      (let ((board (make-vector 16 1)))
        (vector-set! board hole 0)
        (let count ((left first-jumps))
          (if (= left 0)
              1
              (let loop ((i 0) (sum 0))
                (if (= i (vector-length jumps))
                    sum
                    (let* ((jump (vector-ref jumps i))
                           (from (vector-ref jump 0)) (over (vector-ref jump 1)) (to (vector-ref jump 2)))
                      (if (and (= 1 (vector-ref board from)) (= 1 (vector-ref board over)) (= 0 (vector-ref board to)))
                          (begin
                            (vector-set! board from 0)
                            (vector-set! board over 0)
                            (vector-set! board to 1)
                            (let ((more (count (- left 1))))
                              (vector-set! board from 1)
                              (vector-set! board over 1)
                              (vector-set! board to 0)
                              (loop (+ i 1) (+ sum more))))
                          (loop (+ i 1) sum))))))))))

(run-program "triangl" count-from 1 '(5 0) 1550 '(5 5) 532)
