; SPDX-License-Identifier: MIT
; gcold.scm: Detlefs' GCOld: old trees whose parts are replaced by new ones and exchanged with each other.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define seed 1)
(define (random-below n)
  (set! seed (modulo (* seed 16807) 2147483647))
  (modulo seed n))

(define-record-type node
  (make-node left right value)
  node?
  (left left set-left!)
  (right right set-right!)
  (value value))

(define (make-tree depth)
  (if (= depth 0)
      #f
      (make-node (make-tree (- depth 1)) (make-tree (- depth 1)) depth)))

(define (count-nodes node)
  (if node
      (+ 1 (count-nodes (left node)) (count-nodes (right node)))
      0))

; A node so many steps below, by a random way.
(define (descend node steps)
  (if (= steps 0)
      node
      (descend (if (= 0 (random-below 2)) (left node) (right node)) (- steps 1))))

; Each step makes `garbage` short-lived trees, replaces a part of an old tree by a new one of the same depth, and has two old trees exchange parts.
(define (gcold trees depth steps garbage)
  (set! seed 1)
  (let ((old (make-vector trees #f)) (middle (quotient depth 2)))
    (do ((i 0 (+ i 1)))
        ((= i trees))
      (vector-set! old i (make-tree depth)))
    (do ((i 0 (+ i 1)))
        ((= i steps))
      (do ((k 0 (+ k 1)))
          ((= k garbage))
        (make-tree 5))
      (let ((node (descend (vector-ref old (random-below trees)) (- middle 1))))
        (set-left! node (make-tree (- depth middle))))
      (let* ((a (descend (vector-ref old (random-below trees)) (- middle 1)))
             (b (descend (vector-ref old (random-below trees)) (- middle 1)))
             (part (right a)))
        (set-right! a (right b))
        (set-right! b part)))
    (let loop ((i 0) (sum 0))
      (if (= i trees)
          sum
          (loop (+ i 1) (+ sum (count-nodes (vector-ref old i))))))))

(run-program "gcold" gcold 1 '(32 14 3000 20) 524256 '(4 6 20 2) 252)
