; SPDX-License-Identifier: MIT
; tak.scm: Takeuchi's function, as Gabriel has it: calls.
(import (scheme base) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

(define (tak x y z)
  (if (< y x)
      (tak (tak (- x 1) y z) (tak (- y 1) z x) (tak (- z 1) x y))
      z))

(run-program "tak" tak 600 '(18 12 6) 7 '(9 6 3) 6)
