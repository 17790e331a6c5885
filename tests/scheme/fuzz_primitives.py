#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Calls each procedure of the library of examples/scheme with arguments that it was not made for. Whatever comes, there is a result or an error that can be
handled.

  tests/scheme/fuzz_primitives.py build/release/examples/scheme/scheme --seconds 300 --seed 1"""

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time

TABLES = ["bytevectors", "characters", "hashtables", "lists", "numbers", "numbers_text", "ports_primitives", "strings", "vectors"]
# What would take a file away or put one there, or wait for input.
LEFT_OUT = {"delete-file", "rename-file", "open-output-file", "open-binary-output-file"}

PREPARE = r"""
(define circle (let ((l (list 1 2 3))) (set-cdr! (cddr l) l) l))
(define chars (let ((l (list #\a #\b))) (set-cdr! (cdr l) l) l))
(define knot (let ((v (vector 1 2 3))) (vector-set! v 1 v) v))
(define improper '(1 2 . 3))
(define pairs '((a . 1) (b . 2) ("c" . 3)))
(define table (let ((t (make-equal-hash-table))) (hash-table-set! t 'a 1) t))
(define strings (let ((t (make-string-hash-table))) (hash-table-set! t "a" 1) t))
(define narrow (make-string 5 #\x))
(define wide (string-copy "aλ→b"))
(define bytes (bytevector 1 2 206 187 255))
(define text-in (open-input-string "(a b) \"c\" 1.5 λ\nline\n"))
(define text-out (open-output-string))
(define bytes-in (open-input-bytevector (bytevector 1 2 3)))
(define bytes-out (open-output-bytevector))
(define closed (let ((p (open-input-string "x"))) (close-port p) p))
(define-record-type thing (make-thing a) thing? (a thing-a))
(define record (make-thing 1))
(define long (make-vector 3000 'x))
(define (tried thunk)
  (call-with-current-continuation
   (lambda (leave)
     (with-exception-handler
      (lambda (e) (leave (if (error-object? e) (error-object-message e) e)))
      thunk))))
(define (shown result)
  (let ((port (open-output-string)))
    (write result port)
    (string-length (get-output-string port))))
"""

VALUES = [
    "0", "1", "2", "3", "-1", "5", "10", "16", "255", "256", "-4611686018427387904", "4611686018427387903", "4611686018427387904", "2147483648",
    "1099511627775", "100000000000000000000", "-100000000000000000000", "(expt 2 200)", "1/2", "-7/3", "0.0", "-0.0", "1.5", "1e300", "5e-324", "+inf.0",
    "-inf.0", "+nan.0", "4.0", "#t", "#f", "'()", "'sym", "'|odd one|", "#\\a", "#\\λ", "#\\null", "#\\x10ffff", "\"\"", "\"text\"", "\"λ\"", "narrow",
    "wide", "\"/no/such/file\"", "\"1e5\"", "'(1 2 3)", "'(#\\a #\\λ)", "'(\"a\" \"b\")", "improper", "circle", "chars", "pairs", "#(1 2 3)", "#()",
    "(vector #\\a #\\λ)", "knot", "long", "bytes", "(bytevector)", "table", "strings", "text-in", "text-out", "bytes-in", "bytes-out", "closed",
    "(eof-object)", "(if #f #f)", "car", "(lambda (x) x)", "record", "(current-output-port)", "(make-parameter 1)", "(delay 1)",
    "(list 'a (vector 1 \"s\"))",
]


def procedures(sources):
    found = []
    for table in TABLES:
        text = open(os.path.join(sources, table + ".c"), encoding="utf-8").read()
        text = text[text.index("const primitive_entry primitives_"):]
        found += [(name, int(least), int(most)) for name, least, most in re.findall(r'\{"([^"]+)", \w+, (-?\d+), (-?\d+)\}', text) if name not in LEFT_OUT]
        paths = re.search(r"PATHS\(PATH_ENTRY\)", text)
        if paths:
            found += [(f"c{path}r", 1, 1) for path in ("a", "d", "ad", "dd", "add", "dddd")]
    return found


def call(r, name, least, most):
    count = r.choice([least, least, most if most >= 0 else least + r.randint(0, 3), r.randint(0, 4)])
    arguments = [r.choice(VALUES) for _ in range(count)]
    return "(" + " ".join([name] + arguments) + ")"


def run(scheme, options, folder, calls):
    program = os.path.join(folder, "calls.scm")
    with open(program, "w", encoding="utf-8") as f:
        f.write(PREPARE)
        for i, text in enumerate(calls):
            f.write(f"(set! counted {i})\n" if i else "(define counted 0)\n")
            f.write(f"(parameterize ((current-output-port text-out) (current-input-port text-in)) (shown (tried (lambda () {text}))))\n")
            f.write("(set! text-out (open-output-string))\n")
            if i % 50 == 49:
                f.write("(write-string (number->string counted)) (newline) (flush-output-port)\n")
        f.write('(display "done")\n(newline)\n')
    try:
        p = subprocess.run([scheme, *options, program], stdin=subprocess.DEVNULL, capture_output=True, timeout=200)
    except subprocess.TimeoutExpired as e:
        return f"it hangs after {(e.stdout or b'').decode(errors='replace').split()[-1:]}"
    out = p.stdout.decode(errors="replace").split()
    if p.returncode != 0 or out[-1:] != ["done"]:
        return f"status {p.returncode} after {out[-1:]}: {p.stderr.decode(errors='replace')[-600:]}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("scheme")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--option", action="append", default=[], help="for scheme, in front of the program: --option=--heap --option=256m")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1 << 30)
    everything = procedures(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../examples/scheme"))
    end = time.monotonic() + arguments.seconds
    rounds = 0
    with tempfile.TemporaryDirectory() as folder:
        while rounds == 0 or time.monotonic() < end:
            r = random.Random(f"{seed} {rounds}")
            calls = [call(r, *r.choice(everything)) for _ in range(500)]
            wrong = run(arguments.scheme, arguments.option, folder, calls)
            if wrong:
                for size in (50, 1):  # the few that do it, or the one
                    for i in range(0, len(calls), size):
                        if run(arguments.scheme, arguments.option, folder, calls[i:i + size]):
                            calls = calls[i:i + size]
                            break
                print(f"seed {seed}, round {rounds}: {wrong}\n" + "\n".join(calls[:60]))
                return 1
            rounds += 1
    print(f"{rounds * 500} calls of {len(everything)} procedures, seed {seed}: all is well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
