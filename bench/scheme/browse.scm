; SPDX-License-Identifier: MIT
; browse.scm: Gabriel's browse: property lists of a database matched against patterns with ? (one) and * (any number), and named variables.
(import (scheme base) (scheme write) (scheme process-context) (scheme time) (scheme cxr))
(include "run.scm")

(define seed 21)
(define (random!)
  (set! seed (modulo (* seed 17) 251))
  seed)

; Units are vectors: name, and patterns that they have.
(define (letters n) ; *a0, *a1 ... are bound by names
  (string->symbol (string-append "unit" (number->string n))))

(define (copy-tree x)
  (if (pair? x)
      (cons (copy-tree (car x)) (copy-tree (cdr x)))
      x))

; m units, each with npatterns of the given patterns, and up to nfiller atoms beside.
(define (make-units m nfiller npatterns patterns)
  (let ((all (list->vector patterns)))
    (let loop ((i m) (units '()))
      (if (= i 0)
          units
          (let ((fill (let fill ((k (modulo i nfiller)) (list '()))
                        (if (= k 0)
                            list
                            (fill (- k 1) (cons (letters (random!)) list)))))
                (own (let own ((k npatterns) (at i) (list '()))
                       (if (= k 0)
                           list
                           (own (- k 1) (+ at 1) (cons (copy-tree (vector-ref all (modulo at (vector-length all)))) list))))))
            (loop (- i 1) (cons (vector (letters i) fill own) units)))))))

; The units in random order.
(define (shuffle units)
  (let* ((v (list->vector units)) (n (vector-length v)))
    (do ((i (- n 1) (- i 1)))
        ((= i 0) (vector->list v))
      (let* ((j (modulo (+ (* 251 (random!)) (random!)) (+ i 1))) (x (vector-ref v i)))
        (vector-set! v i (vector-ref v j))
        (vector-set! v j x)))))

(define (starts-with? symbol character)
  (char=? (string-ref (symbol->string symbol) 0) character))

; Whether the datum has the pattern's form. ? is any element, * any number of them; symbols that begin so are variables, in an association list.
(define (match pattern datum bindings)
  (cond ((null? pattern)
         (null? datum))
        ((not (pair? pattern))
         (eq? pattern datum))
        ((pair? (car pattern))
         (and (pair? datum)
              (pair? (car datum))
              (match (car pattern) (car datum) bindings)
              (match (cdr pattern) (cdr datum) bindings)))
        ((eq? (car pattern) '?)
         (and (pair? datum)
              (match (cdr pattern) (cdr datum) bindings)))
        ((eq? (car pattern) '*)
         (or (match (cdr pattern) datum bindings)
             (and (pair? datum)
                  (match pattern (cdr datum) bindings))))
        ((starts-with? (car pattern) #\?)
         (and (pair? datum)
              (let ((bound (assq (car pattern) bindings)))
                (if bound
                    (and (equal? (cdr bound) (car datum))
                         (match (cdr pattern) (cdr datum) bindings))
                    (match (cdr pattern) (cdr datum) (cons (cons (car pattern) (car datum)) bindings))))))
        ((starts-with? (car pattern) #\*)
         (let ((bound (assq (car pattern) bindings)))
           (if bound
               (match (append (cdr bound) (cdr pattern)) datum bindings)
               (let try ((taken '()) (rest datum))
                 (or (match (cdr pattern) rest (cons (cons (car pattern) (reverse taken)) bindings))
                     (and (pair? rest)
                          (try (cons (car rest) taken) (cdr rest))))))))
        (else
         (and (pair? datum)
              (eq? (car pattern) (car datum))
              (match (cdr pattern) (cdr datum) bindings)))))

; How many of the pairs of a unit's pattern and one of these match.
(define (investigate units patterns)
  (let loop ((units units) (count 0))
    (if (null? units)
        count
        (loop (cdr units)
              (let each ((data (vector-ref (car units) 2)) (count count))
                (if (null? data)
                    count
                    (each (cdr data)
                          (let try ((patterns patterns) (count count))
                            (if (null? patterns)
                                count
                                (try (cdr patterns) (if (match (car patterns) (car data) '()) (+ count 1) count)))))))))))

(define stored
  '((a a a b b b b a a a a a b b a a a)
    (a a b b b b a a (a a) (b b))
    (a a a b (b a) b a b a)))
(define asked
  '((*a ?b *b ?b a *a a *b *a)
    (*a *b *b *a (*a) (*b))
    (? ? * (b a) * ? ?)))

(define (browse m)
  (set! seed 21)
  (investigate (shuffle (make-units m 10 4 stored)) asked))

(run-program "browse" browse 10 '(100) 400 '(6) 24)
