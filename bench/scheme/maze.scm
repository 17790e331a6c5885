; SPDX-License-Identifier: MIT
; maze.scm: a maze in a rectangle by joining cells at random, and the way through it, after Olin Shivers' program, whose cells are hexagons.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define seed 1)
(define (random-below n)
  (set! seed (modulo (* seed 16807) 2147483647))
  (modulo seed n))

; Cells are records that know the cells to which there is no wall; sets of cells are joined as Tarjan does.
(define-record-type cell
  (make-cell row column leader ways mark)
  cell?
  (row cell-row)
  (column cell-column)
  (leader leader set-leader!)
  (ways ways set-ways!)
  (mark mark set-mark!))

(define (find-leader cell)
  (let ((next (leader cell)))
    (if (eq? next cell)
        cell
        (let ((last (find-leader next)))
          (set-leader! cell last)
          last))))

(define (make-cells rows columns)
  (let ((cells (make-vector (* rows columns))))
    (do ((i 0 (+ i 1)))
        ((= i (vector-length cells)) cells)
      (let ((cell (make-cell (quotient i columns) (remainder i columns) #f '() #f)))
        (set-leader! cell cell)
        (vector-set! cells i cell)))))

(define (walls cells rows columns)
  (let loop ((i 0) (list '()))
    (if (= i (vector-length cells))
        (list->vector list)
        (let* ((cell (vector-ref cells i))
               (right (if (< (+ 1 (cell-column cell)) columns)
                          (cons (cons cell (vector-ref cells (+ i 1))) list)
                          list)))
          (loop (+ i 1)
                (if (< (+ 1 (cell-row cell)) rows)
                    (cons (cons cell (vector-ref cells (+ i columns))) right)
                    right))))))

(define (shuffle! v)
  (do ((i (- (vector-length v) 1) (- i 1)))
      ((< i 1) v)
    (let* ((j (random-below (+ i 1))) (x (vector-ref v i)))
      (vector-set! v i (vector-ref v j))
      (vector-set! v j x))))

(define (carve! walls)
  (vector-for-each
    (lambda (wall)
      (let ((a (find-leader (car wall))) (b (find-leader (cdr wall))))
        (if (not (eq? a b))
            (begin
              (set-leader! a b)
              (set-ways! (car wall) (cons (cdr wall) (ways (car wall))))
              (set-ways! (cdr wall) (cons (car wall) (ways (cdr wall))))))))
    walls))

; The way as a list of cells; there is one only.
(define (way from to)
  (let search ((cell from) (path '()))
    (set-mark! cell #t)
    (if (eq? cell to)
        (cons cell path)
        (let try ((next (ways cell)))
          (and (pair? next)
               (or (and (not (mark (car next)))
                        (search (car next) (cons cell path)))
                   (try (cdr next))))))))

(define (count-reached cell)
  (let count ((cell cell) (from #f))
    (let loop ((next (ways cell)) (sum 1))
      (cond ((null? next) sum)
            ((eq? (car next) from) (loop (cdr next) sum))
            (else (loop (cdr next) (+ sum (count (car next) cell))))))))

(define (run rows columns)
  (set! seed 20)
  (let ((cells (make-cells rows columns)))
    (carve! (shuffle! (walls cells rows columns)))
    (list (count-reached (vector-ref cells 0))
          (length (way (vector-ref cells 0) (vector-ref cells (- (* rows columns) 1)))))))

(run-program "maze" run 150 '(60 60) '(3600 261) '(8 10) '(80 17))
