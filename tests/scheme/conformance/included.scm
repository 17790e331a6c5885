; SPDX-License-Identifier: MIT
; included.scm: what libraries.scm includes in a library.
(define from-file '(from a file))
(define-syntax from-macro
  (syntax-rules () ((_ x) (list x x))))
