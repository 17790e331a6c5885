; SPDX-License-Identifier: MIT
; read1.scm: data written to a string, and read again by read.
(import (scheme base) (scheme write) (scheme process-context) (scheme time) (scheme read))
(include "run.scm")

(define (make-data n)
  (let loop ((i 0) (data '()))
    (if (= i n)
        data
        (loop (+ i 1)
              (cons (list i (string->symbol (string-append "symbol" (number->string (modulo i 100))))
                          (string-append "a string\nwith \"" (number->string i) "\"")
                          (/ i 8.0) (vector #\a #t '(1 . 2)) (expt 3 (modulo i 60)))
                    data)))))

(define (run n)
  (let* ((data (make-data n))
         (text (let ((port (open-output-string)))
                 (for-each (lambda (datum)
                             (write datum port)
                             (newline port))
                           data)
                 (get-output-string port)))
         (port (open-input-string text)))
    (let loop ((expected data) (count 0))
      (let ((datum (read port)))
        (cond ((eof-object? datum) (if (null? expected) count 'short))
              ((equal? datum (car expected)) (loop (cdr expected) (+ count 1)))
              (else (list 'different datum (car expected))))))))

(run-program "read1" run 2 '(5000) 5000 '(50) 50)
