; SPDX-License-Identifier: MIT
; bv2string.scm: strings to UTF-8 and back.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define (characters n)
  (let ((s (make-string n)))
    (do ((i 0 (+ i 1)))
        ((= i n) s)
      (string-set! s i
                   (integer->char (let ((k (modulo i 16)))
                                    (cond ((< k 10) (+ 97 k))
                                          ((< k 13) (+ 945 k))
                                          ((< k 15) (+ 12352 k))
                                          (else (+ 128512 (modulo i 50))))))))))

(define (run n times)
  (let ((s (characters n)))
    (let loop ((i 1) (bytes 0))
      (let* ((bytevector (string->utf8 s)) (back (utf8->string bytevector)))
        (cond ((not (string=? s back)) 'different)
              ((= i times) (+ bytes (bytevector-length bytevector)))
              (else (loop (+ i 1) (+ bytes (bytevector-length bytevector)))))))))

; Of 16 characters 10 take a byte, 3 two, 2 three, 1 four.
(run-program "bv2string" run 5 '(100000 60) 9750000 '(160 2) 520)
