; SPDX-License-Identifier: MIT
; scheme.scm: a small Scheme in Scheme, which compiles to closures, sorts strings and counts queens.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

; An environment at compile time is a list of frames, lists of names; at run time a list of vectors. A variable is a pair of numbers, or a cell of the globals.
(define globals '())

(define (global-cell name)
  (or (assq name globals)
      (let ((cell (cons name 'unbound)))
        (set! globals (cons cell globals))
        cell)))

(define (position name frame)
  (let loop ((frame frame) (i 0))
    (cond ((null? frame) #f)
          ((eq? name (car frame)) i)
          (else (loop (cdr frame) (+ i 1))))))

(define (compile-reference name scope)
  (let loop ((scope scope) (depth 0))
    (if (null? scope)
        (let ((cell (global-cell name)))
          (lambda (env) (cdr cell)))
        (let ((i (position name (car scope))))
          (cond ((not i) (loop (cdr scope) (+ depth 1)))
                ((= depth 0) (lambda (env) (vector-ref (car env) i)))
                ((= depth 1) (lambda (env) (vector-ref (cadr env) i)))
                (else (lambda (env) (vector-ref (list-ref env depth) i))))))))

(define (compile-set name scope value)
  (let loop ((scope scope) (depth 0))
    (if (null? scope)
        (let ((cell (global-cell name)))
          (lambda (env) (set-cdr! cell (value env))))
        (let ((i (position name (car scope))))
          (if i
              (lambda (env) (vector-set! (list-ref env depth) i (value env)))
              (loop (cdr scope) (+ depth 1)))))))

(define (compile-body body scope)
  (if (null? (cdr body))
      (compile (car body) scope)
      (let ((first (compile (car body) scope)) (rest (compile-body (cdr body) scope)))
        (lambda (env)
          (first env)
          (rest env)))))

(define (compile-lambda names body scope)
  (let ((code (compile-body body (cons names scope))))
    (lambda (env)
      (lambda arguments
        (code (cons (list->vector arguments) env))))))

(define (compile-call function arguments)
  (case (length arguments)
    ((1) (let ((a (car arguments)))
           (lambda (env) ((function env) (a env)))))
    ((2) (let ((a (car arguments)) (b (cadr arguments)))
           (lambda (env) ((function env) (a env) (b env)))))
    (else (lambda (env) (apply (function env) (map (lambda (argument) (argument env)) arguments))))))

(define (compile x scope)
  (define (sub x) (compile x scope))
  (cond ((symbol? x) (compile-reference x scope))
        ((not (pair? x)) (lambda (env) x))
        (else
         (case (car x)
           ((quote) (let ((datum (cadr x))) (lambda (env) datum)))
           ((if) (let ((test (sub (cadr x))) (then (sub (list-ref x 2))) (else (sub (list-ref x 3))))
                   (lambda (env) (if (test env) (then env) (else env)))))
           ((set!) (compile-set (cadr x) scope (sub (list-ref x 2))))
           ((lambda) (compile-lambda (cadr x) (cddr x) scope))
           ((begin) (compile-body (cdr x) scope))
           ((let) (sub (cons (cons 'lambda (cons (map car (cadr x)) (cddr x))) (map cadr (cadr x)))))
           ((letrec) (sub (append (list 'let (map (lambda (binding) (list (car binding) #f)) (cadr x)))
                                  (map (lambda (binding) (cons 'set! binding)) (cadr x))
                                  (cddr x))))
           ((define) (let ((cell (global-cell (cadr x))) (value (sub (list-ref x 2))))
                       (lambda (env) (set-cdr! cell (value env)))))
           (else (compile-call (sub (car x)) (map sub (cdr x))))))))

(define (evaluate x)
  ((compile x '()) '()))

(for-each (lambda (name value) (set-cdr! (global-cell name) value))
          '(+ - = < car cdr cons null? pair? string<? not append)
          (list + - = < car cdr cons null? pair? string<? not append))

(for-each
  evaluate
  '((define merge (lambda (a b)
      (if (null? a) b
          (if (null? b) a
              (if (string<? (car b) (car a))
                  (cons (car b) (merge a (cdr b)))
                  (cons (car a) (merge (cdr a) b)))))))
    (define odd-ones (lambda (list) (if (null? list) '() (cons (car list) (even-ones (cdr list))))))
    (define even-ones (lambda (list) (if (null? list) '() (odd-ones (cdr list)))))
    (define sort (lambda (list)
      (if (if (null? list) #t (null? (cdr list)))
          list
          (merge (sort (odd-ones list)) (sort (even-ones list))))))
    (define queens (lambda (n)
      (letrec ((one-to (lambda (i) (if (= i 0) '() (cons i (one-to (- i 1))))))
               (safe (lambda (column distance rows)
                 (if (null? rows) #t
                     (if (= (car rows) (+ column distance)) #f
                         (if (= (car rows) (- column distance)) #f
                             (safe column (+ distance 1) (cdr rows)))))))
               (place (lambda (left tried rows)
                 (if (null? left)
                     (if (null? tried) 1 0)
                     (+ (if (safe (car left) 1 rows)
                            (place (append (cdr left) tried) '() (cons (car left) rows))
                            0)
                        (place (cdr left) (cons (car left) tried) rows))))))
        (place (one-to n) '() '()))))))

(define words
  '("one" "two" "three" "four" "five" "six" "seven" "eight" "nine" "ten" "eleven" "twelve" "thirteen" "fourteen" "fifteen" "sixteen" "seventeen"
    "eighteen" "nineteen" "twenty"))

(define (run n sorts)
  (let loop ((i 1))
    (let ((sorted (evaluate (list 'sort (list 'quote words)))))
      (if (< i sorts)
          (loop (+ i 1))
          (list (car sorted) (car (reverse sorted)) (evaluate (list 'queens n)))))))

(run-program "scheme" run 2 '(8 1000) '("eight" "two" 92) '(5 10) '("eight" "two" 10))
