; SPDX-License-Identifier: MIT
; destruct.scm: destructive list operations: a list of lists is spliced and cut in place.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define (last-pair-of list)
  (if (pair? (cdr list))
      (last-pair-of (cdr list))
      list))

(define (append! a b)
  (if (null? a)
      b
      (begin
        (set-cdr! (last-pair-of a) b)
        a)))

; n elements that are all `fill`.
(define (fresh n fill)
  (let loop ((i n) (list '()))
    (if (= i 0)
        list
        (loop (- i 1) (cons fill list)))))

; Cuts `list` in two at half its length: what is before stays in place, what follows is returned.
(define (cut! list)
  (let ((half (quotient (length list) 2)))
    (if (= half 0)
        '()
        (let* ((before (list-tail list (- half 1)))
               (after (cdr before)))
          (set-cdr! before '())
          after))))

; A round takes the second half of each element, fills what is left with the round's number, and gives the half to the next element; an element that has
; become too short is filled up anew.
(define (destruct rounds width)
  (let ((table (let loop ((i 0) (lists '()))
                 (if (= i width)
                     lists
                     (loop (+ i 1) (cons (fresh width i) lists))))))
    (do ((round 1 (+ round 1)))
        ((> round rounds))
      (let loop ((cells table))
        (if (pair? (cdr cells))
            (let ((half (cut! (car cells))))
              (do ((rest (car cells) (cdr rest)))
                  ((null? rest))
                (set-car! rest round))
              (if (< (length (cadr cells)) (* 2 width))
                  (set-car! (cdr cells) (append! half (cadr cells)))
                  (set-car! (cdr cells) half))
              (if (< (length (car cells)) (quotient width 2))
                  (set-car! cells (append! (fresh width 0) (car cells))))
              (loop (cdr cells))))))
    (apply + (map (lambda (list) (apply + (length list) list)) table))))

(run-program "destruct" destruct 15 '(600 50) 986258 '(10 8) 374)
