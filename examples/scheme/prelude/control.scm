;; SPDX-License-Identifier: MIT
;; control.scm: control on top of the machine's primitives: continuations, exceptions, parameters, promises, evaluation. Compiled when the program starts, before the other files.

(define apply
  (case-lambda
    ((f all) (%apply f all))
    ((f . all) (%apply f (%list* all)))))

(define (call-with-current-continuation f) (%call/cc f))
(define call/cc call-with-current-continuation)
(define (call-with-values producer consumer) (%apply-values consumer (producer)))

;; What dynamic-wind was given: before, after, and the handlers and bindings that were in force around it.
(define (dynamic-wind before thunk after)
  (before)
  (%set-winders! (cons (vector before after (%handlers) (%bindings)) (%winders)))
  (let ((result (thunk)))
    (%set-winders! (cdr (%winders)))
    (after)
    result))

(define (%wind-to target)
  (define (common a b)
    (let ((la (length a)) (lb (length b)))
      (let loop ((a (if (> la lb) (list-tail a (- la lb)) a)) (b (if (> lb la) (list-tail b (- lb la)) b)))
        (if (eq? a b) a (loop (cdr a) (cdr b))))))
  (define (enter winder)
    (%set-handlers! (vector-ref winder 2))
    (%set-bindings! (vector-ref winder 3)))
  (let ((shared (common (%winders) target)))
    (let leave ()
      (if (not (eq? (%winders) shared))
          (let ((winder (car (%winders))))
            (%set-winders! (cdr (%winders)))
            (enter winder)
            ((vector-ref winder 1))
            (leave))))
    (let return ((to target))
      (if (not (eq? to shared))
          (begin
            (return (cdr to))
            (enter (car to))
            ((vector-ref (car to) 0))
            (%set-winders! to))))))

(%set-hook! 1 (lambda (k all)
                (%wind-to (%continuation-winders k))
                (%apply k all)))

;; ---- Exceptions. The handlers in force are a list.
(define (raise condition)
  (let ((handlers (%handlers)))
    (if (null? handlers)
        (%uncaught condition)
        (begin
          (%set-handlers! (cdr handlers))
          ((car handlers) condition)
          (%set-handlers! (cdr handlers))
          (raise (%make-condition 'error "a handler returned from an exception that cannot be continued:" (list condition)))))))
(%set-hook! 0 raise)

(define (raise-continuable condition)
  (let ((handlers (%handlers)))
    (if (null? handlers)
        (%uncaught condition)
        (begin
          (%set-handlers! (cdr handlers))
          (let ((result ((car handlers) condition)))
            (%set-handlers! handlers)
            result)))))

(define (with-exception-handler handler thunk)
  (if (not (procedure? handler)) (error "with-exception-handler: the handler is no procedure:" handler))
  (let ((outer (%handlers)))
    (%set-handlers! (cons handler outer))
    (let ((result (thunk)))
      (%set-handlers! outer)
      result)))

(define (error message . irritants) (raise (%make-condition 'error message irritants)))

(define-syntax guard
  (syntax-rules ()
    ((_ (name clause ...) body ...)
     ((%call-in (lambda (leave)
         (with-exception-handler
           (lambda (condition)
             ((%call-in (lambda (back)
                 (leave (lambda ()
                          (let ((name condition))
                            (%guard-clauses (back (lambda () (raise-continuable condition))) clause ...))))))))
           (lambda ()
             (let ((result (let () body ...)))
               (lambda () result))))))))))
(define (%call-in f) (%call/cc f))

(define-syntax %guard-clauses
  (syntax-rules (else =>)
    ((_ again (else result ...)) (let () result ...))
    ((_ again (test => receiver)) (let ((value test)) (if value (receiver value) again)))
    ((_ again (test => receiver) clause ...) (let ((value test)) (if value (receiver value) (%guard-clauses again clause ...))))
    ((_ again (test)) (or test again))
    ((_ again (test) clause ...) (or test (%guard-clauses again clause ...)))
    ((_ again (test result ...)) (if test (let () result ...) again))
    ((_ again (test result ...) clause ...) (if test (let () result ...) (%guard-clauses again clause ...)))))

;; ---- Parameters and promises.
(define make-parameter
  (case-lambda
    ((value) (%make-parameter value #f))
    ((value converter) (%make-parameter (converter value) converter))))

(define (%parameterize all thunk)
  (let ((outer (%bindings)))
    (let loop ((all all) (bindings outer))
      (if (pair? all)
          (let ((converter (%parameter-converter (caar all))))
            (loop (cdr all) (cons (cons (caar all) (if converter (converter (cdar all)) (cdar all))) bindings)))
          (begin
            (%set-bindings! bindings)
            (let ((result (thunk)))
              (%set-bindings! outer)
              result))))))

(define (make-promise value) (if (promise? value) value (%delay #t value)))
(define (force promise)
  (if (promise? promise)
      (let loop ()
        (let ((state (%promise-state promise)))
          (if (car state)
              (cdr state)
              (let* ((next ((cdr state))) (state (%promise-state promise)))
                (if (not (car state))
                    (let ((other (%promise-state next)))
                      (set-car! state (car other))
                      (set-cdr! state (cdr other))
                      (%promise-share! next state)))
                (loop)))))
      promise))

;; ---- Evaluation.
(define (%import-files form)
  (let ((file (%missing-library form)))
    (if file
        (begin
          (load file (%base-environment))
          (%import-files form)))))

(define eval
  (case-lambda
    ((form) (eval form (interaction-environment)))
    ((form environment)
     (if (and (pair? form) (eq? (car form) 'import)) (%import-files form))
     (if (and (pair? form) (eq? (car form) 'define-library)) (%import-files form))
     ((%compile form environment)))))

;; A program: what it imports, then the rest, whose definitions are known before the first of it runs. One procedure, so that a continuation has all that follows in it.
(define (%run-program forms environment)
  (let loop ((forms forms) (declared #f))
    (if (pair? forms)
        (if (or declared (and (pair? (car forms)) (memq (caar forms) '(import define-library))))
            (begin
              (eval (car forms) environment)
              (loop (cdr forms) declared))
            (begin
              (%declare forms environment)
              (loop forms #t))))))

(define load
  (case-lambda
    ((file) (load file (interaction-environment)))
    ((file environment)
     (let ((forms (%read-file file)))
       (%declare forms environment)
       (let loop ((forms forms))
         (if (pair? forms)
             (begin
               (eval (car forms) environment)
               (loop (cdr forms)))))))))

(define (scheme-report-environment version) (interaction-environment))
(define (null-environment version) (interaction-environment))

(define exit
  (case-lambda
    (() (exit #t))
    ((status)
     (%wind-to '())
     (%exit status))))
(define (emergency-exit . status) (%exit (if (null? status) #t (car status))))

;; ---- Threads, guardians: see threads.c.
(define make-thread
  (case-lambda
    ((thunk) (%make-thread thunk #f))
    ((thunk name) (%make-thread thunk name))))
(define (thread-join! thread)
  (let ((result (%thread-join! thread)))
    (if (car result) (cdr result) (raise (cdr result)))))
(define (make-guardian)
  (let ((guardian (%make-guardian)))
    (case-lambda
      (() (%guardian-next guardian))
      ((object) (%guardian-add! guardian object)))))
(define (call-with-mutex mutex thunk)
  (dynamic-wind (lambda () (mutex-lock! mutex)) thunk (lambda () (mutex-unlock! mutex))))
