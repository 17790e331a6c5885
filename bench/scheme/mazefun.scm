; SPDX-License-Identifier: MIT
; mazefun.scm: a maze by a purely functional program: a matrix is a list of lists, and each change makes a new one.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define (next-random seed)
  (modulo (+ (* seed 3581) 12751) 131072))

(define (build n f)
  (let loop ((i (- n 1)) (list '()))
    (if (< i 0)
        list
        (loop (- i 1) (cons (f i) list)))))

(define (replace list i x)
  (if (= i 0)
      (cons x (cdr list))
      (cons (car list) (replace (cdr list) (- i 1) x))))

(define (matrix-ref matrix at)
  (list-ref (list-ref matrix (car at)) (cdr at)))
(define (matrix-replace matrix at x)
  (replace matrix (car at) (replace (list-ref matrix (car at)) (cdr at) x)))

; Cells at even rows and columns have a number of their own each, walls are 0; a wall that has different numbers on both sides is torn down, and one number
; becomes the other everywhere.
(define (start rows columns)
  (build rows
         (lambda (row)
           (build columns
                  (lambda (column)
                    (if (and (even? row) (even? column))
                        (+ 1 column (* row columns))
                        0))))))

(define (walls rows columns)
  (apply append
         (build rows
                (lambda (row)
                  (apply append
                         (build columns
                                (lambda (column)
                                  (if (even? (+ row column)) '() (list (cons row column))))))))))

(define (shuffled list seed)
  (let loop ((list list) (length (length list)) (seed seed) (done '()))
    (if (= length 0)
        done
        (let* ((seed (next-random seed)) (i (modulo seed length)))
          (loop (let without ((list list) (i i))
                  (if (= i 0) (cdr list) (cons (car list) (without (cdr list) (- i 1)))))
                (- length 1)
                seed
                (cons (list-ref list i) done))))))

(define (sides wall)
  (let ((row (car wall)) (column (cdr wall)))
    (if (even? row)
        (list (cons row (- column 1)) (cons row (+ column 1)))
        (list (cons (- row 1) column) (cons (+ row 1) column)))))

(define (renamed matrix from to)
  (map (lambda (row) (map (lambda (x) (if (eqv? x from) to x)) row)) matrix))

(define (carve matrix walls)
  (if (null? walls)
      matrix
      (let* ((both (sides (car walls)))
             (a (matrix-ref matrix (car both)))
             (b (matrix-ref matrix (cadr both))))
        (carve (if (= a b)
                   matrix
                   (renamed (matrix-replace matrix (car walls) a) b a))
               (cdr walls)))))

; Rows and columns are odd.
(define (maze rows columns)
  (let ((matrix (carve (start rows columns) (shuffled (walls rows columns) 34))))
    (map (lambda (row) (list->string (map (lambda (x) (if (= x 0) #\* #\space)) row))) matrix)))

(define (run rows columns)
  (let ((rows-of (maze rows columns)))
    ; A tree over all cells has so many passages; and their digest.
    (let loop ((rows rows-of) (open 0) (digest 7))
      (if (null? rows)
          (list open digest)
          (let row ((i 0) (open open) (digest digest))
            (if (= i columns)
                (loop (cdr rows) open digest)
                (let ((open? (char=? #\space (string-ref (car rows) i))))
                  (row (+ i 1)
                       (if open? (+ open 1) open)
                       (modulo (+ (* digest 2) (if open? 1 0)) 1000003)))))))))

(run-program "mazefun" run 60 '(25 25) '(337 367702) '(7 9) '(39 641456))
