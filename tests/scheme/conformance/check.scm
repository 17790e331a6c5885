; SPDX-License-Identifier: MIT
; check.scm: what the conformance suite's files include. Each ends with (check-end).
;
;   (check expression => expected)          equal? to what `expected` gives
;   (check expression =>* expected ...)     its values
;   (check-true expression) (check-false expression)
;   (check-error expression)                an exception is raised, of any kind
;   (check-near expression => number)       to within a billionth

(define checks-done 0)
(define checks-failed 0)

(define (check-report expression got expected)
  (set! checks-failed (+ checks-failed 1))
  (display "FAILED: ")
  (write expression)
  (newline)
  (display "  expected ")
  (write expected)
  (newline)
  (display "  got      ")
  (write got)
  (newline))

; A NaN is like itself here.
(define (check-same? a b)
  (or (equal? a b)
      (and (number? a) (number? b) (not (= a a)) (not (= b b)))
      (and (pair? a) (pair? b) (check-same? (car a) (car b)) (check-same? (cdr a) (cdr b)))))

; What the thunk gives, or a list that says what it raised.
(define (check-caught thunk)
  (call-with-current-continuation
    (lambda (return)
      (with-exception-handler
        (lambda (raised)
          (return (if (error-object? raised)
                      (list 'raised (error-object-message raised) (error-object-irritants raised))
                      (list 'raised raised))))
        thunk))))

(define (check-thunk expression thunk expected same?)
  (set! checks-done (+ checks-done 1))
  (let ((got (check-caught thunk)))
    (if (not (same? got expected))
        (check-report expression got expected))))

(define (check-raises expression thunk)
  (set! checks-done (+ checks-done 1))
  (let ((got (call-with-current-continuation
               (lambda (return)
                 (with-exception-handler
                   (lambda (raised) (return check-raises))
                   (lambda () (return (list (call-with-values thunk list)))))))))
    (if (not (eq? got check-raises))
        (check-report expression (car got) 'an-exception))))

(define (check-near? a b)
  (and (number? a) (< (abs (- a b)) (* 1e-9 (+ 1 (abs b))))))

(define-syntax check
  (syntax-rules (=> =>*)
    ((_ expression => expected)
     (check-thunk 'expression (lambda () expression) expected check-same?))
    ((_ expression =>* expected ...)
     (check-thunk 'expression (lambda () (call-with-values (lambda () expression) list)) (list expected ...) check-same?))))

(define-syntax check-near
  (syntax-rules (=>)
    ((_ expression => expected)
     (check-thunk 'expression (lambda () expression) expected check-near?))))

(define-syntax check-true
  (syntax-rules ()
    ((_ expression) (check-thunk 'expression (lambda () expression) #t eq?))))

(define-syntax check-false
  (syntax-rules ()
    ((_ expression) (check-thunk 'expression (lambda () expression) #f eq?))))

(define-syntax check-error
  (syntax-rules ()
    ((_ expression) (check-raises 'expression (lambda () expression)))))

(define (check-end)
  (display checks-done)
  (display " checks, ")
  (display checks-failed)
  (display " failed")
  (newline)
  (exit (= checks-failed 0)))
