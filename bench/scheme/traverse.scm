; SPDX-License-Identifier: MIT
; traverse.scm: Gabriel's traverse: a random graph of 100 nodes is marked over and over, from a root that is chosen anew.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define-record-type node
  (make-node sons parents mark number)
  node?
  (sons sons set-sons!)
  (parents parents set-parents!)
  (mark mark set-mark!)
  (number number))

(define seed 21)
(define (random-below n)
  (set! seed (modulo (* seed 17) 251))
  (modulo seed n))

; A connected graph: each node is a son of one that came before; then as many edges again at random.
(define (make-graph count)
  (let ((nodes (make-vector count)))
    (set! seed 21)
    (do ((i 0 (+ i 1)))
        ((= i count))
      (vector-set! nodes i (make-node '() '() #f i))
      (if (> i 0)
          (connect! (vector-ref nodes (random-below i)) (vector-ref nodes i))))
    (do ((i 0 (+ i 1)))
        ((= i count))
      (connect! (vector-ref nodes (random-below count)) (vector-ref nodes (random-below count))))
    nodes))

(define (connect! parent son)
  (set-sons! parent (cons son (sons parent)))
  (set-parents! son (cons parent (parents son))))

; Marks all that can be reached along edges of both directions; counts it.
(define (travers node mark-it)
  (if (eq? (mark node) mark-it)
      0
      (begin
        (set-mark! node mark-it)
        (let visit ((rest (sons node)) (count 1))
          (if (pair? rest)
              (visit (cdr rest) (+ count (travers (car rest) mark-it)))
              (let visit ((rest (parents node)) (count count))
                (if (pair? rest)
                    (visit (cdr rest) (+ count (travers (car rest) mark-it)))
                    count)))))))

(define (run count rounds)
  (let ((nodes (make-graph count)))
    (let loop ((i 0) (flag #t) (sum 0))
      (if (= i rounds)
          sum
          (loop (+ i 1)
                (not flag)
                (+ sum (travers (vector-ref nodes (modulo i count)) (if flag 'yes 'no))))))))

(run-program "traverse" run 1 '(100 40000) 4000000 '(20 10) 200)
