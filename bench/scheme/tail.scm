; SPDX-License-Identifier: MIT
; tail.scm: a file's lines written to another in reverse order, twice.
(import (scheme base) (scheme write) (scheme file) (scheme process-context) (scheme time))
(include "run.scm")

; The file that the program reads, made anew each time: lines of words, which are numbers from 0 on.
(define (make-text path lines)
  (call-with-output-file path
    (lambda (port)
      (do ((i 0 (+ i 1)))
          ((= i lines))
        (do ((j 0 (+ j 1)))
            ((> j (modulo i 10)))
          (write (+ i j) port)
          (write-char #\space port))
        (newline port)))))

(define (path-of suffix)
  (string-append (or (get-environment-variable "TMPDIR") "/tmp") "/veil-bench-scheme-" (number->string (current-jiffy)) suffix))

(define (reverse-file from to)
  (let ((lines (call-with-input-file from
                 (lambda (in)
                   (let loop ((lines '()))
                     (let ((line (read-line in)))
                       (if (eof-object? line)
                           lines
                           (loop (cons line lines)))))))))
    (call-with-output-file to
      (lambda (out)
        (for-each (lambda (line)
                    (write-string line out)
                    (newline out))
                  lines)))
    (cons (car lines) (length lines))))

(define (run lines)
  (let ((from (path-of ".in")) (to (path-of ".out")))
    (make-text from lines)
    (let* ((last (reverse-file from to)) (first (reverse-file to from)))
      (delete-file from)
      (delete-file to)
      (list (cdr last) (car first)))))

(run-program "tail" run 2 '(30000) '(30000 "0 ") '(100) '(100 "0 "))
