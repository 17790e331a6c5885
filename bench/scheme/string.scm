; SPDX-License-Identifier: MIT
; string.scm: strings grown by string-append and cut by substring, as Bob Shaw's and Will Clinger's.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define text "abcdef")

(define (grow)
  (set! text (string-append "123" text "456" text "789"))
  (set! text (string-append (substring text (quotient (string-length text) 2) (string-length text))
                            (substring text 0 (+ 1 (quotient (string-length text) 2)))))
  text)

(define (try n)
  (do ((i 0 (+ i 1)))
      ((> (string-length text) n) (string-length text))
    (grow)))

(define (run n)
  (do ((i 0 (+ i 1)))
      ((= i 10) (try n))
    (set! text "abcdef")
    (try n)))

(run-program "string" run 10 '(500000) 524278 '(1000) 1014)
