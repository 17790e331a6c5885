#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# fuzz_code.py: bytecode with wrong operands: of every instruction of some procedures each operand, and the operation, are changed. Either the check says that the code cannot run, or it
# runs and gives a value or an error; the interpreter never crashes and never hangs.
#
#   fuzz_code.py BINARY [SECONDS [SEED]]

import random
import subprocess
import sys
import time

PROGRAM = """
(define (p1 a b) (let loop ((i 0) (s a)) (if (< i 5) (loop (+ i 1) (cons (* i 2) s)) (vector s b (car s)))))
(define (p2 f) (let ((x 1)) (set! x (+ x 1)) (map (lambda (y) (set! x (+ x y)) (list x y f)) '(1 2 3))))
(define (p3 v) (vector-set! v 0 (string-ref "abc" 1)) (let-values (((a . b) (values 1 2 3))) (list a b (vector-ref v 0) (call/cc (lambda (k) (k 5))))))
(define-record-type point (make-point x y) point? (x px set-px!) (y py))
(define (p4 n) (let ((p (make-point n 2))) (set-px! p 3) (if (point? p) (list (px p) (py p)) 'no)))
(define (p5 x) (letrec ((even? (lambda (n) (if (eq? n 0) #t (odd? (- n 1))))) (odd? (lambda (n) (if (eq? n 0) #f (even? (- n 1)))))) (cond ((even? x) => list) (else (apply + 1 '(2 3))))))
(define (p6 c) (case c ((1 2) 'low) ((#\\\\a) 'char) (else (if (and (pair? c) (null? (cdr c))) (cadr c) (quotient 17 5)))))
(define (p7 b) (bytevector-u8-set! b 1 7) (let ((k (lambda () (bytevector-u8-ref b 1)))) (+ (k) (char->integer #\\\\a) 1.5)))
(define (p8 n) (let ((f (case-lambda ((a) (list a n)) ((a . r) (vector a r n))))) (list (f 1) (f 1 2) (f 1 2 3))))
(define cases (vector (cons p8 '(4)) (cons p1 '((1 2) ())) (cons p2 (list 'f)) (cons p3 (list (vector 1 2))) (cons p4 '(1)) (cons p5 '(10)) (cons p6 '((1))) (cons p7 (list (bytevector 1 2 3)))
  (cons map (list car '((1) (2)))) (cons apply (list + 1 '(2))) (cons call/cc (list procedure?)) (cons dynamic-wind (list list list list))
  (cons raise-continuable '(1)) (cons force '(1)) (cons make-point '(1 2)) (cons px (list (make-point 1 2))) (cons sort (list '(3 1 2) <))))
(define ran 0) (define refused 0)
(define (try i instruction operand new)
  (let* ((c (vector-ref cases i)) (p (%code-mutate (car c) instruction operand new)))
    (cond ((procedure? p)
           (set! ran (+ ran 1))
           (call/cc (lambda (out)
             (with-exception-handler (lambda (e) (%fuel 0) (out e))
               (lambda () (%fuel 3000) (apply p (cdr c))))))
           (%fuel 0)
           (%set-winders! '()) (%set-handlers! '()) (%set-bindings! '()))
          ((string? p) (set! refused (+ refused 1))))))
"""


def main():
    binary, seconds = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 5
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 30)
    print("seed", seed, flush=True)
    r, began, ran, refused = random.Random(seed), time.time(), 0, 0
    while time.time() - began < seconds or (min(ran, refused) < 100 and time.time() - began < 300): # a busy machine may take longer for them
        lines = []
        for _ in range(500):
            new = r.choice([r.randrange(1 << 16), r.randrange(12), 0xffff, 0x8000, r.randrange(40)])
            operand = r.randrange(4)
            if operand == 0:
                new = r.randrange(120) * 2 + 1
            lines.append("(try %d %d %d %d)" % (r.randrange(17), r.randrange(60), operand, new))
        text = PROGRAM.replace("\\\\\\\\", "\\\\").replace("\\\\", "\\") + "\n".join(lines) + "\n(display (list 'done ran refused))\n"
        try:
            said = subprocess.run([binary, "-"], input=text, capture_output=True, text=True, timeout=60)
        except subprocess.TimeoutExpired:
            said = subprocess.CompletedProcess([], "it does not end", "", "")
        words = said.stdout[said.stdout.rfind("(done "):] if "(done " in said.stdout else ""
        if said.returncode != 0:
            with open("fuzz_code.failed.scm", "w") as file:
                file.write(text)
            sys.exit("fuzz_code: status %s; the input is in fuzz_code.failed.scm\n%s\n%s" % (said.returncode, said.stdout[-500:], said.stderr[-1000:]))
        if words: # else a changed procedure has assigned one of the library's variables, which is its right
            ran += int(words.split()[1])
            refused += int(words.split()[2].rstrip(")\n"))
    print("%d changed procedures ran, %d were refused" % (ran, refused))
    if ran < 100 or refused < 100:
        sys.exit("fuzz_code: too few")


main()
