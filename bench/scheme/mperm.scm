; SPDX-License-Identifier: MIT
; mperm.scm: perm9 with a queue of several lists of permutations alive, the oldest of which is dropped.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")
(include "permutations.scm")

(define (count-all lists)
  (let loop ((lists lists) (sum 0))
    (if (null? lists)
        sum
        (loop (cdr lists) (+ sum (length (car lists)))))))

; `rounds` lists of permutations of n elements, `kept` of which live at a time.
(define (run n kept rounds)
  (let ((queue (make-vector kept '()))
        (x (let loop ((i n) (list '())) (if (= i 0) list (loop (- i 1) (cons i list))))))
    (do ((i 0 (+ i 1)))
        ((= i rounds))
      (vector-set! queue (modulo i kept) (permutations x)))
    (let loop ((i 0) (sum 0))
      (if (= i kept)
          sum
          (loop (+ i 1) (+ sum (count-all (vector-ref queue i))))))))

(run-program "mperm" run 1 '(9 5 8) 16329600 '(5 2 4) 1200)
