; SPDX-License-Identifier: MIT
; run.scm: what the programs share. Each includes it, and ends with a call of run-program.
;
;   PROGRAM.scm [N] [time]         the usual input, N times
;   PROGRAM.scm small [N] [time]   a small one, for tests
;
; Prints `NAME RESULT ok`, with `time` also `NAME time SECONDS`, which is of the N times alone. A wrong result: a line that says so, and status 1.

; x, which the compiler cannot know.
(define (opaque x)
  (if (null? (command-line)) (car x) x))

(define (result-right? result expected)
  (if (procedure? expected) (expected result) (equal? result expected)))

; For floating-point results: a predicate.
(define (close-to expected)
  (lambda (x)
    (and (real? x) (< (abs (- x expected)) (* 1e-9 (+ 1 (abs expected)))))))

; Calls (work argument ...) as often as the command line says, or `iterations` times, with the elements of `input`, else of `small-input`.
(define (run-program name work iterations input expected small-input small-expected)
  (let* ((arguments (cdr (command-line)))
         (small? (and (pair? arguments) (string=? (car arguments) "small")))
         (more (if small? (cdr arguments) arguments))
         (times (or (and (pair? more) (string->number (car more))) (if small? 1 iterations)))
         (input (opaque (if small? small-input input)))
         (right (if small? small-expected expected))
         (began (current-jiffy)))
    (let loop ((i 0))
      (let ((result (apply work input)))
        (cond ((not (result-right? result right))
               (display name)
               (display " WRONG: ")
               (write result)
               (newline)
               (exit 1))
              ((< (+ i 1) times)
               (loop (+ i 1)))
              (else
               (let ((seconds (inexact (/ (- (current-jiffy) began) (jiffies-per-second)))))
                 (display name)
                 (display " ")
                 (write result)
                 (display " ok")
                 (newline)
                 (if (member "time" more)
                     (begin
                       (display name)
                       (display " time ")
                       (display seconds)
                       (newline))))))))))
