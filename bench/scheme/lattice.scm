; SPDX-License-Identifier: MIT
; lattice.scm: how many monotone maps there are from a lattice to itself, where the lattice is that of such maps, twice over.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

; A lattice: its elements, and its order.
(define (make-lattice elements below?) (cons elements below?))

; Lists, compared element by element.
(define (pointwise below?)
  (lambda (a b)
    (let loop ((a a) (b b))
      (or (null? a)
          (and (below? (car a) (car b))
               (loop (cdr a) (cdr b)))))))

; Calls (found images) with the list of images, in the order of the elements, of each monotone map from `lattice` to itself.
(define (for-each-monotone lattice found)
  (let ((elements (car lattice)) (below? (cdr lattice)))
    ; done: pairs of element and image
    (let extend ((left elements) (done '()))
      (if (null? left)
          (found (reverse (map cdr done)))
          (for-each
            (lambda (image)
              (if (let fits? ((done done))
                    (or (null? done)
                        (and (if (below? (caar done) (car left)) (below? (cdar done) image) #t)
                             (if (below? (car left) (caar done)) (below? image (cdar done)) #t)
                             (fits? (cdr done)))))
                  (extend (cdr left) (cons (cons (car left) image) done))))
            elements)))))

(define (self-maps lattice)
  (let ((maps '()))
    (for-each-monotone lattice (lambda (images) (set! maps (cons images maps))))
    (make-lattice (reverse maps) (pointwise (cdr lattice)))))

(define (count-self-maps lattice)
  (let ((count 0))
    (for-each-monotone lattice (lambda (images) (set! count (+ count 1))))
    count))

(define two
  (make-lattice '(low high) (lambda (a b) (or (eq? a 'low) (eq? b 'high)))))

(define (lattice depth)
  (count-self-maps
    (let loop ((i depth) (lattice two))
      (if (= i 0)
          lattice
          (loop (- i 1) (self-maps lattice))))))

(run-program "lattice" lattice 1 '(2) 120549 '(1) 10)
