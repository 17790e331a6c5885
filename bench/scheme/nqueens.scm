; SPDX-License-Identifier: MIT
; nqueens.scm: how many ways there are to place n queens, by lists of columns.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define (one-to n)
  (let loop ((i n) (list '()))
    (if (= i 0)
        list
        (loop (- i 1) (cons i list)))))

; Whether a queen in column `column` is safe from those of the rows before.
(define (safe? column distance rows)
  (or (null? rows)
      (and (not (= (car rows) (+ column distance)))
           (not (= (car rows) (- column distance)))
           (safe? column (+ distance 1) (cdr rows)))))

; Columns that are free are in `left` or, tried already in this row, in `tried`.
(define (place left tried rows)
  (if (null? left)
      (if (null? tried) 1 0)
      (+ (if (safe? (car left) 1 rows)
             (place (append (cdr left) tried) '() (cons (car left) rows))
             0)
         (place (cdr left) (cons (car left) tried) rows))))

(define (nqueens n)
  (place (one-to n) '() '()))

(run-program "nqueens" nqueens 300 '(8) 92 '(5) 10)
