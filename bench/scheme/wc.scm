; SPDX-License-Identifier: MIT
; wc.scm: the lines, words and characters of a file.
(import (scheme base) (scheme write) (scheme file) (scheme process-context) (scheme time) (scheme char))
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

(define (wc path)
  (let ((in (open-input-file path)))
    (let loop ((lines 0) (words 0) (characters 0) (within? #f))
      (let ((c (read-char in)))
        (cond ((eof-object? c)
               (close-port in)
               (list lines words characters))
              ((char=? c #\newline)
               (loop (+ lines 1) words (+ characters 1) #f))
              ((char-whitespace? c)
               (loop lines words (+ characters 1) #f))
              (within?
               (loop lines words (+ characters 1) #t))
              (else
               (loop lines (+ words 1) (+ characters 1) #t)))))))

(define (run lines)
  (let ((path (path-of ".in")))
    (make-text path lines)
    (let* ((first (wc path)) (second (wc path)))
      (delete-file path)
      (and (equal? first second) first))))

(run-program "wc" run 3 '(20000) '(20000 110000 618995) '(100) '(100 550 1745))
