; SPDX-License-Identifier: MIT
; peval.scm: a partial evaluator for first-order Scheme: programs of which some arguments are known are specialized, in the manner of Feeley's.
(import (scheme base) (scheme cxr) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

; A program: (name parameters body) ... . The residual program has a procedure for each combination of known arguments; what is unknown stays.
(define unknown (list 'unknown))
(define (known? value) (not (eq? value unknown)))

(define primitives
  (list (cons '+ +) (cons '- -) (cons '* *) (cons '= =) (cons '< <) (cons 'car car) (cons 'cdr cdr) (cons 'cons cons) (cons 'null? null?) (cons 'eq? eq?)
        (cons 'quotient quotient) (cons 'even? even?) (cons 'pair? pair?) (cons 'number? number?) (cons 'symbol? symbol?) (cons 'cadr cadr) (cons 'caddr caddr)))

; A binding: (name value . residual expression).
(define (specialize program name values)
  (let ((done '()) (residual '()))
    (define (definition name) (assq name program))
    (define (new-name name)
      (string->symbol (string-append (symbol->string name) "-" (number->string (length done)))))
    (define (same-values? a b)
      (or (null? a)
          (and (if (known? (car a))
                   (and (known? (car b)) (equal? (car a) (car b)))
                   (not (known? (car b))))
               (same-values? (cdr a) (cdr b)))))
    (define (instance name values)
      (let search ((left done))
        (cond ((null? left)
               (let ((new (new-name name)) (found (definition name)))
                 (set! done (cons (list name values new) done))
                 (let* ((parameters (cadr found))
                        (bindings (map (lambda (parameter value) (cons parameter (cons value parameter))) parameters values))
                        (body (residual-of (evaluate (caddr found) bindings))))
                   (set! residual (cons (list new (unknown-ones parameters values) body) residual)))
                 new))
              ((and (eq? name (car (car left))) (same-values? values (cadr (car left))))
               (caddr (car left)))
              (else (search (cdr left))))))
    (define (unknown-ones list values)
      (cond ((null? list) '())
            ((known? (car values)) (unknown-ones (cdr list) (cdr values)))
            (else (cons (car list) (unknown-ones (cdr list) (cdr values))))))
    ; A result: (value . residual expression).
    (define (residual-of result)
      (if (known? (car result))
          (if (or (symbol? (car result)) (pair? (car result)) (null? (car result)))
              (list 'quote (car result))
              (car result))
          (cdr result)))
    (define (evaluate x bindings)
      (cond ((symbol? x) (cdr (assq x bindings)))
            ((not (pair? x)) (cons x x))
            ((eq? (car x) 'quote) (cons (cadr x) x))
            ((eq? (car x) 'if)
             (let ((test (evaluate (cadr x) bindings)))
               (if (known? (car test))
                   (evaluate (if (car test) (caddr x) (cadddr x)) bindings)
                   (cons unknown
                         (list 'if (cdr test)
                               (residual-of (evaluate (caddr x) bindings))
                               (residual-of (evaluate (cadddr x) bindings)))))))
            (else
             (let ((arguments (map (lambda (argument) (evaluate argument bindings)) (cdr x)))
                   (primitive (assq (car x) primitives)))
               (if primitive
                   (primitive-call primitive arguments)
                   (procedure-call (car x) arguments))))))
    (define (all-known? arguments)
      (or (null? arguments)
          (and (known? (car (car arguments))) (all-known? (cdr arguments)))))
    (define (primitive-call primitive arguments)
      (cond ((all-known? arguments)
             (let ((value (apply (cdr primitive) (map car arguments))))
               (cons value value)))
            ((and (eq? (car primitive) '*) (equal? 1 (car (car arguments)))) (cadr arguments))
            ((and (eq? (car primitive) '*) (equal? 1 (car (cadr arguments)))) (car arguments))
            ((and (eq? (car primitive) '+) (equal? 0 (car (car arguments)))) (cadr arguments))
            (else (cons unknown (cons (car primitive) (map residual-of arguments))))))
    ; Unfolded if something is known and it is no loop over what is unknown alone; else a call of an instance.
    (define (procedure-call name arguments)
      (let* ((values (map car arguments)) (found (definition name)))
        (if (and (all-known? (list (car arguments))) (< depth 200) (not (duplicates? (caddr found) (cadr found) arguments)))
            (begin
              (set! depth (+ depth 1))
              (let ((result (evaluate (caddr found) (map cons (cadr found) arguments))))
                (set! depth (- depth 1))
                result))
            (cons unknown (cons (instance name values) (map residual-of (unknown-ones arguments values)))))))
    ; Whether a residual call would stand in more than one place.
    (define (duplicates? body parameters arguments)
      (let loop ((parameters parameters) (arguments arguments))
        (and (pair? parameters)
             (or (and (not (known? (car (car arguments))))
                      (pair? (cdr (car arguments)))
                      (> (occurrences (car parameters) body) 1))
                 (loop (cdr parameters) (cdr arguments))))))
    (define (occurrences name x)
      (cond ((eq? name x) 1)
            ((pair? x) (+ (occurrences name (car x)) (occurrences name (cdr x))))
            (else 0)))
    (define depth 0)
    (instance name values)
    (reverse residual)))

; An interpreter of arithmetic expressions, which specialized to an expression becomes that expression; a power; an inner product; a matcher of patterns.
(define interpreter
  '((run (x y z) (interpret x y z))
    (interpret (x y z)
      (if (number? x) x
          (if (eq? x 'y) y
              (if (eq? x 'z) z
                  (if (eq? (car x) 'plus) (+ (interpret (cadr x) y z) (interpret (caddr x) y z))
                      (if (eq? (car x) 'minus) (- (interpret (cadr x) y z) (interpret (caddr x) y z))
                          (* (interpret (cadr x) y z) (interpret (caddr x) y z))))))))))
(define power
  '((power (n x) (if (= n 0) 1 (if (even? n) (square (quotient n 2) x) (* x (power (- n 1) x)))))
    (square (n x) (double n (power n x)))
    (double (n y) (* y y))))
(define product
  '((inner (a b) (if (null? a) 0 (+ (* (car a) (car b)) (inner (cdr a) (cdr b)))))))
(define matcher
  '((match (p s) (try p s p s))
    (try (p s whole from)
      (if (null? p) #t
          (if (null? s) #f
              (if (eq? (car p) (car s)) (try (cdr p) (cdr s) whole from)
                  (match whole (cdr from))))))))

(define (size x)
  (cond ((pair? x) (+ (size (car x)) (size (cdr x))))
        ((null? x) 0)
        (else 1)))

(define expression
  '(plus (times (plus y 1) (minus z (times 2 3))) (plus (times y y) (minus (plus 4 5) (times (plus z z) (plus 1 (plus 2 y)))))))

(define (run n)
  (let loop ((i 1))
    (let ((results (list (specialize interpreter 'run (list expression unknown unknown))
                         (specialize power 'power (list 13 unknown))
                         (specialize product 'inner (list '(1 2 3 4 5 6 7 8) unknown))
                         (specialize matcher 'match (list '(a b a c a b) unknown)))))
      (if (= i n)
          (list (map size results) (caddr (car (list-ref results 0))))
          (loop (+ i 1))))))

(define expected
  '((26 21 81 123) (+ (* (+ y 1) (- z 6)) (+ (* y y) (- 9 (* (+ z z) (+ 1 (+ 2 y))))))))

(run-program "peval" run 1 '(1500) expected '(5) expected)
