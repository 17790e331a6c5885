; SPDX-License-Identifier: MIT
; equal.scm: equal? on lists, vectors and strings.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define (hash-of i) (modulo (* i 7919) 10007))

(define (make-list-of n)
  (let loop ((i 0) (list '()))
    (if (= i n)
        list
        (loop (+ i 1) (cons (hash-of i) list)))))

(define (make-tree-of depth)
  (if (= depth 0)
      (make-string 10 #\x)
      (vector (make-tree-of (- depth 1)) (cons (make-tree-of (- depth 1)) depth))))

; Two of each kind, made apart from each other, and one that differs at the very end.
(define (run list-length depth times)
  (let* ((a (make-list-of list-length)) (b (make-list-of list-length)) (c (append b '(1)))
         (t (make-tree-of depth)) (u (make-tree-of depth))
         (v (list->vector a)) (w (list->vector b))
         (s (make-string list-length #\a)) (s2 (make-string list-length #\a)))
    (let loop ((i 0) (count 0))
      (if (= i times)
          count
          (loop (+ i 1)
                (+ count
                   (if (equal? a b) 1 0)
                   (if (equal? a c) 1000 0)
                   (if (equal? t u) 1 0)
                   (if (equal? v w) 1 0)
                   (if (equal? s s2) 1 0)))))))

(run-program "equal" run 2 '(10000 10 300) 1200 '(100 3 2) 8)
