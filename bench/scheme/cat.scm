; SPDX-License-Identifier: MIT
; cat.scm: a file copied character by character.
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

(define (copy from to)
  (let ((in (open-input-file from)) (out (open-output-file to)))
    (let loop ((c (read-char in)) (count 0))
      (if (eof-object? c)
          (begin
            (close-port in)
            (close-port out)
            count)
          (begin
            (write-char c out)
            (loop (read-char in) (+ count 1)))))))

(define (run lines)
  (let ((from (path-of ".in")) (to (path-of ".out")))
    (make-text from lines)
    (let* ((copied (copy from to)) (again (copy to from)))
      (delete-file from)
      (delete-file to)
      (and (= copied again) copied))))

(run-program "cat" run 2 '(20000) 618995 '(100) 1745)
