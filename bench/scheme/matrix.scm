; SPDX-License-Identifier: MIT
; matrix.scm: how many classes of matrices of 1 and -1 there are, where rows and columns may be permuted and negated.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

; A row is a list. Of each class the largest matrix is counted, in the order in which a first difference of 1 and -1 decides.
(define (row>? a b)
  (cond ((null? a) #f)
        ((= (car a) (car b)) (row>? (cdr a) (cdr b)))
        (else (> (car a) (car b)))))

(define (matrix>? a b)
  (cond ((null? a) #f)
        ((equal? (car a) (car b)) (matrix>? (cdr a) (cdr b)))
        (else (row>? (car a) (car b)))))

(define (transposed matrix)
  (apply map list matrix))

(define (negated row)
  (map - row))

(define (insert row rows)
  (if (or (null? rows) (not (row>? (car rows) row)))
      (cons row rows)
      (cons (car rows) (insert row (cdr rows)))))

(define (sorted rows)
  (let loop ((rows rows) (done '()))
    (if (null? rows)
        done
        (loop (cdr rows) (insert (car rows) done)))))

(define (permutations list)
  (if (null? list)
      '(())
      (apply append
             (map (lambda (x)
                    (map (lambda (rest) (cons x rest))
                         (permutations (let without ((list list))
                                         (if (eqv? (car list) x)
                                             (cdr list)
                                             (cons (car list) (without (cdr list))))))))
                  list))))

; Rows in this order, signs such that the first row and the given column have no -1, then columns in falling order.
(define (arranged matrix order column)
  (let* ((rows (map (lambda (i) (list-ref matrix i)) order))
         (positive (map (lambda (row) (if (< (list-ref row column) 0) (negated row) row)) rows))
         (columns (map (lambda (column) (if (< (car column) 0) (negated column) column)) (transposed positive))))
    (transposed (sorted columns))))

(define (largest? matrix orders columns)
  (let order ((orders orders))
    (or (null? orders)
        (let column ((i 0))
          (if (= i columns)
              (order (cdr orders))
              (and (not (matrix>? (arranged matrix (car orders) i) matrix))
                   (column (+ i 1))))))))

(define (numbers-below n)
  (let loop ((i (- n 1)) (list '()))
    (if (< i 0)
        list
        (loop (- i 1) (cons i list)))))

; The matrix whose first row and column are 1, the rest the bits of `code`.
(define (decoded code rows columns)
  (let ((code code))
    (define (bit!)
      (let ((b (if (even? code) 1 -1)))
        (set! code (quotient code 2))
        b))
    (cons (map (lambda (i) 1) (numbers-below columns))
          (map (lambda (row) (cons 1 (map (lambda (i) (bit!)) (cdr (numbers-below columns)))))
               (cdr (numbers-below rows))))))

(define (matrix rows columns)
  (let ((orders (permutations (numbers-below rows)))
        (codes (expt 2 (* (- rows 1) (- columns 1)))))
    (let loop ((code 0) (count 0))
      (if (= code codes)
          count
          (loop (+ code 1)
                (if (largest? (decoded code rows columns) orders columns)
                    (+ count 1)
                    count))))))

(run-program "matrix" matrix 4 '(4 5) 18 '(3 3) 3)
