; SPDX-License-Identifier: MIT
; puzzle.scm: Baskett's puzzle: pieces of 4 kinds are put into a cube of 5 x 5 x 5 by search.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define size 8) ; of the padded cube's side
(define cells (* size size size))
(define (at i j k)
  (+ i (* size (+ j (* size k)))))

; The 13 shapes: their extents along each axis, and the class whose count they use up.
(define shapes
  '((4 2 1 0) (2 1 4 0) (1 4 2 0) (2 4 1 0) (4 1 2 0) (1 2 4 0)
    (3 1 1 1) (1 3 1 1) (1 1 3 1)
    (2 2 1 2) (2 1 2 2) (1 2 2 2)
    (2 2 2 3)))

(define trials 0)
(define puzzle #f)     ; which cells are taken
(define shape-cells #f) ; of each shape: a vector of the cells, from 0
(define shape-class #f)
(define class-left #f)

(define (prepare-shape shape)
  (let ((list '()))
    (do ((k (- (list-ref shape 2) 1) (- k 1)))
        ((< k 0))
      (do ((j (- (list-ref shape 1) 1) (- j 1)))
          ((< j 0))
        (do ((i (- (list-ref shape 0) 1) (- i 1)))
            ((< i 0))
          (set! list (cons (at i j k) list)))))
    (list->vector list)))

(define (fits? piece place)
  (let* ((cells (vector-ref shape-cells piece)) (n (vector-length cells)))
    (let loop ((i 0))
      (or (= i n)
          (and (not (vector-ref puzzle (+ place (vector-ref cells i))))
               (loop (+ i 1)))))))

(define (fill! piece place taken)
  (let* ((cells (vector-ref shape-cells piece)) (n (vector-length cells)))
    (do ((i 0 (+ i 1)))
        ((= i n))
      (vector-set! puzzle (+ place (vector-ref cells i)) taken))
    (let ((class (vector-ref shape-class piece)))
      (vector-set! class-left class (+ (vector-ref class-left class) (if taken -1 1))))))

(define (first-free place)
  (cond ((= place cells) 0)
        ((vector-ref puzzle place) (first-free (+ place 1)))
        (else place)))

; Whether the rest, from `place` on, can be filled.
(define (solve place)
  (set! trials (+ trials 1))
  (let loop ((piece 0))
    (cond ((= piece 13)
           #f)
          ((and (> (vector-ref class-left (vector-ref shape-class piece)) 0)
                (fits? piece place))
           (fill! piece place #t)
           (let ((next (first-free place)))
             (if (or (solve next) (= next 0))
                 #t
                 (begin
                   (fill! piece place #f)
                   (loop (+ piece 1))))))
          (else
           (loop (+ piece 1))))))

(define (start side counts)
  (set! trials 0)
  (set! puzzle (make-vector (* 2 cells) #t))
  (set! shape-cells (list->vector (map prepare-shape shapes)))
  (set! shape-class (list->vector (map (lambda (shape) (list-ref shape 3)) shapes)))
  (set! class-left (list->vector counts))
  (do ((k 1 (+ k 1)))
      ((> k side))
    (do ((j 1 (+ j 1)))
        ((> j side))
      (do ((i 1 (+ i 1)))
          ((> i side))
        (vector-set! puzzle (at i j k) #f))))
  (let* ((piece 0) (place (at 1 1 1)))
    (fill! piece place #t)
    (and (solve (first-free place)) trials)))

; 13 of 4 x 2 x 1, 3 of 3 x 1 x 1, 1 of 2 x 2 x 1, 1 of 2 x 2 x 2: 125 cells.
(run-program "puzzle" start 80 '(5 (13 3 1 1)) 2005 '(4 (8 0 0 0)) 8)
