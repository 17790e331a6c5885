; SPDX-License-Identifier: MIT
; nboyer.scm: Boyer's prover, which rewrites a conjecture by a hundred lemmas, and finds that it is a tautology.
(import (scheme base) (scheme cxr) (scheme write) (scheme process-context) (scheme time))
(include "run.scm")

; Each term is made anew.
(define (term-with term head arguments)
  (cons head arguments))

(define (rewrite-all terms)
  (if (null? terms)
      '()
      (cons (rewrite (car terms)) (rewrite-all (cdr terms)))))

(define (substitute-in bindings term)
  (substitute bindings term))

(include "boyer.scm")

(run-program "nboyer" boyer 1 '(2) '(#t 1813975) '(0) '(#t 95024))
