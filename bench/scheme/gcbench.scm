; SPDX-License-Identifier: MIT
; gcbench.scm: Boehm's GCBench, after Ellis and Kovac: trees of all depths, built top-down and bottom-up.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define-record-type node
  (make-node left right)
  node?
  (left left set-left!)
  (right right set-right!))

(define (populate! depth node)
  (if (> depth 0)
      (begin
        (set-left! node (make-node #f #f))
        (set-right! node (make-node #f #f))
        (populate! (- depth 1) (left node))
        (populate! (- depth 1) (right node)))))

(define (make-tree depth)
  (if (= depth 0)
      (make-node #f #f)
      (make-node (make-tree (- depth 1)) (make-tree (- depth 1)))))

(define (count-nodes node)
  (if node
      (+ 1 (count-nodes (left node)) (count-nodes (right node)))
      0))

(define (tree-size depth)
  (- (expt 2 (+ depth 1)) 1))

; So many trees of each depth that all depths allocate alike. The nodes of the last of each.
(define (construct depth stretch)
  (let ((trees (quotient (* 2 (tree-size stretch)) (tree-size depth))))
    (let loop ((i 1))
      (let ((down (make-node #f #f)))
        (populate! depth down)
        (if (= i trees)
            (let up ((i 1))
              (let ((tree (make-tree depth)))
                (if (= i trees)
                    (+ (count-nodes down) (count-nodes tree))
                    (up (+ i 1)))))
            (loop (+ i 1)))))))

(define (gcbench stretch)
  (make-tree stretch)
  (let ((long-lived (make-node #f #f)) (array (make-vector (* 125 (expt 2 (- stretch 6))) 0.0)))
    (populate! (- stretch 2) long-lived)
    (do ((i 0 (+ i 1)))
        ((= i (quotient (vector-length array) 2)))
      (vector-set! array i (/ 1.0 (+ i 1))))
    (let loop ((depth 4) (nodes 0))
      (if (<= depth (- stretch 2))
          (loop (+ depth 2) (+ nodes (construct depth stretch)))
          (list nodes (count-nodes long-lived) (vector-ref array 9))))))

; Twice the sizes of the trees of depths 4, 6 ... , and the long-lived one.
(run-program "gcbench" gcbench 2 '(16) '(87348 32767 0.1) '(8) '(316 127 0.1))
