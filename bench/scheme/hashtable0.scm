; SPDX-License-Identifier: MIT
; hashtable0.scm: hash tables with numbers, symbols and strings as keys, filled, read, and emptied.
(import (scheme base) (scheme write) (scheme process-context) (scheme time) (srfi 69))
(include "run.scm")

(define (times n f)
  (do ((i 0 (+ i 1)))
      ((= i n))
    (f i)))

(define (run n)
  (let ((numbers (make-hash-table eqv?)) (strings (make-hash-table equal?)) (symbols (make-hash-table eq?)) (sum 0))
    (times n (lambda (i)
               (let ((name (string-append "key" (number->string i))))
                 (hash-table-set! numbers i (* i i))
                 (hash-table-set! strings name i)
                 (hash-table-set! symbols (string->symbol name) i))))
    (times n (lambda (i)
               (let ((name (string-append "key" (number->string i))))
                 (set! sum (+ sum
                              (- (hash-table-ref/default numbers i 0) (* i i))
                              (hash-table-ref/default strings name 0)
                              (hash-table-ref/default symbols (string->symbol name) 0))))))
    (times n (lambda (i)
               (if (even? i)
                   (begin
                     (hash-table-delete! numbers i)
                     (hash-table-delete! strings (string-append "key" (number->string i)))))))
    (list sum
          (apply + (map (lambda (key) 1) (hash-table-keys numbers)))
          (apply + (map cdr (hash-table->alist strings))))))

(run-program "hashtable0" run 1 '(50000) '(2499950000 25000 625000000) '(50) '(2450 25 625))
