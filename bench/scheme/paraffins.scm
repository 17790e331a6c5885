; SPDX-License-Identifier: MIT
; paraffins.scm: how many paraffins there are with so many carbon atoms, all of them built.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

; A radical is 'H or #(C r r r); radicals of one size are a list. Where two parts have the same size they are taken in one order only: "at or behind".
(define (for-each-tail f list)
  (if (pair? list)
      (begin
        (f list)
        (for-each-tail f (cdr list)))))

(define (radicals-up-to n)
  (let ((radicals (make-vector (+ n 1) '())))
    (vector-set! radicals 0 '(H))
    (do ((size 1 (+ size 1)))
        ((> size n) radicals)
      (vector-set! radicals size (radicals-of radicals size)))))

; Three parts of sizes a <= b <= c, a + b + c = size - 1.
(define (radicals-of radicals size)
  (let ((found '()) (m (- size 1)))
    (do ((a 0 (+ a 1)))
        ((> (* 3 a) m) found)
      (do ((b a (+ b 1)))
          ((> (+ a b b) m))
        (let ((c (- m a b)))
          (for-each-tail
            (lambda (as)
              (for-each-tail
                (lambda (bs)
                  (for-each
                    (lambda (third)
                      (set! found (cons (vector 'C (car as) (car bs) third) found)))
                    (if (= b c) bs (vector-ref radicals c))))
                (if (= a b) as (vector-ref radicals b))))
            (vector-ref radicals a)))))))

; With an even number of atoms a bond may be the middle: two radicals of half the size.
(define (bond-centred radicals n)
  (let ((found '()))
    (if (even? n)
        (for-each-tail
          (lambda (as)
            (for-each (lambda (second) (set! found (cons (vector 'bond (car as) second) found))) as))
          (vector-ref radicals (quotient n 2))))
    found))

; An atom in the middle with four radicals of sizes a <= b <= c <= d, none as large as half of all.
(define (atom-centred radicals n)
  (let* ((found '()) (m (- n 1)) (most (quotient m 2)))
    (do ((a 0 (+ a 1)))
        ((> (* 4 a) m) found)
      (do ((b a (+ b 1)))
          ((> (+ a (* 3 b)) m))
        (do ((c b (+ c 1)))
            ((> (+ a b c c) m))
          (let ((d (- m a b c)))
            (if (<= d most)
                (for-each-tail
                  (lambda (as)
                    (for-each-tail
                      (lambda (bs)
                        (for-each-tail
                          (lambda (cs)
                            (for-each
                              (lambda (fourth)
                                (set! found (cons (vector 'carbon (car as) (car bs) (car cs) fourth) found)))
                              (if (= c d) cs (vector-ref radicals d))))
                          (if (= b c) bs (vector-ref radicals c))))
                      (if (= a b) as (vector-ref radicals b))))
                  (vector-ref radicals a)))))))))

(define (paraffins n)
  (let ((radicals (radicals-up-to (quotient n 2))))
    (+ (length (bond-centred radicals n))
       (length (atom-centred radicals n)))))

(run-program "paraffins" paraffins 2 '(21) 910726 '(10) 75)
