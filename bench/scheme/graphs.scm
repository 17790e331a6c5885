; SPDX-License-Identifier: MIT
; graphs.scm: all directed graphs of n nodes in which each has d edges at most, up to the names of the nodes.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

; A graph is a vector of bit sets: of each node, where its edges go. Of each class the one is counted that no renaming makes smaller.
(define (bits-of set n)
  (let loop ((i (- n 1)) (list '()))
    (if (< i 0)
        list
        (loop (- i 1) (if (odd? (quotient set (vector-ref powers i))) (cons i list) list)))))

(define powers (vector 1 2 4 8 16 32 64 128 256))

(define (count-bits set)
  (let loop ((set set) (count 0))
    (if (= set 0)
        count
        (loop (quotient set 2) (+ count (remainder set 2))))))

(define (permutations list)
  (if (null? list)
      '(())
      (let each ((before '()) (after list) (found '()))
        (if (null? after)
            found
            (each (cons (car after) before)
                  (cdr after)
                  (append (map (lambda (rest) (cons (car after) rest)) (permutations (append (reverse before) (cdr after))))
                          found))))))

(define (renamed-set lists set names)
  (let loop ((bits (vector-ref lists set)) (result 0))
    (if (null? bits)
        result
        (loop (cdr bits) (+ result (vector-ref powers (vector-ref names (car bits))))))))

; Whether the graph, its nodes renamed, comes first. `inverse` tells which node gets a name.
(define (smaller-renamed? graph n lists names inverse)
  (let loop ((i 0))
    (and (< i n)
         (let ((new (renamed-set lists (vector-ref graph (vector-ref inverse i)) names)) (old (vector-ref graph i)))
           (or (< new old)
               (and (= new old)
                    (loop (+ i 1))))))))

(define (inverse-of names n)
  (let ((inverse (make-vector n)))
    (do ((i 0 (+ i 1)))
        ((= i n) inverse)
      (vector-set! inverse (vector-ref names i) i))))

(define (numbers-below n)
  (let loop ((i (- n 1)) (list '()))
    (if (< i 0)
        list
        (loop (- i 1) (cons i list)))))

(define (graphs n most)
  (let* ((all (vector-ref powers n))
         (lists (let ((v (make-vector all)))
                  (do ((set 0 (+ set 1)))
                      ((= set all) v)
                    (vector-set! v set (bits-of set n)))))
         (names (map list->vector (permutations (numbers-below n))))
         (both (map (lambda (names) (cons names (inverse-of names n))) names))
         (graph (make-vector n 0)))
    ; No edge goes from a node to itself.
    (let extend ((node 0))
      (if (= node n)
          (if (let check ((both both))
                (or (null? both)
                    (and (not (smaller-renamed? graph n lists (caar both) (cdar both)))
                         (check (cdr both)))))
              1
              0)
          (let choose ((set 0) (count 0))
            (cond ((= set all) count)
                  ((or (> (count-bits set) most) (odd? (quotient set (vector-ref powers node)))) (choose (+ set 1) count))
                  (else
                   (vector-set! graph node set)
                   (choose (+ set 1) (+ count (extend (+ node 1)))))))))))

(run-program "graphs" graphs 1 '(5 2) 1516 '(4 3) 218)
