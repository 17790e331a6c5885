#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Feeds the reader of examples/scheme with what no programmer would write: random bytes, random tokens, sources with mistakes in them, and deep or long things.

  tests/scheme/fuzz_reader.py build/release/examples/scheme/scheme --seconds 300 --seed 1

Whatever comes, the reader returns data or raises an error that can be handled; it never crashes, hangs, or runs out of memory. What it returns is written,
and what was written is read again: that has to be equal. A failure says its seed, and leaves the input in a file."""

import argparse
import glob
import os
import random
import subprocess
import sys
import tempfile
import time

DRIVER = r"""
(define (next-input port)
  (let ((size (read-line-of port)))
    (and size (let ((bytes (if (= size 0) (bytevector) (read-bytevector size port))))
                bytes))))
(define (read-line-of port)
  (let loop ((n #f))
    (let ((byte (read-u8 port)))
      (cond ((eof-object? byte) n)
            ((= byte 10) n)
            (else (loop (+ (* 10 (or n 0)) (- byte 48))))))))
(define (written datum)
  (let ((port (open-output-string)))
    (write datum port)
    (get-output-string port)))
(define (check datum)
  (let* ((text (written datum))
         (again (read (open-input-string text))))
    (if (not (equal? datum again))
        (begin (display "differs: ") (write text) (newline)))))
(define (read-all port)
  (let loop ((n 0))
    (let ((datum (read port)))
      (if (eof-object? datum)
          n
          (begin (check datum) (loop (+ n 1)))))))
(define (tried port)
  (call-with-current-continuation
   (lambda (leave)
     (with-exception-handler
      (lambda (e) (leave (if (error-object? e) (if (read-error? e) 'error (error-object-message e)) 'raised)))
      (lambda () (read-all port))))))
(define (port-of bytes by-file?)
  (if by-file?
      (let ((file (open-binary-output-file SCRATCH)))
        (write-bytevector bytes file)
        (close-port file)
        (open-input-file SCRATCH))
      (open-input-string (utf8->string bytes))))
(define inputs (open-binary-input-file INPUTS))
(let loop ((i 0))
  (let ((bytes (next-input inputs)))
    (if bytes
        (let ((port (port-of bytes (even? i))))
          (display "result ")
          (write (tried port))
          (newline)
          (close-port port)
          (loop (+ i 1))))))
"""

TOKENS = [
    "(", ")", "[", "]", "#(", "#u8(", "'", "`", ",", ",@", ".", "...", '"', "|", ";", "#;", "#|", "|#", "#\\", "#\\a", "#\\space", "#\\x41", "#\\xd800",
    "#\\x110000", "#0=", "#0#", "#1=", "#1#", "#99999999999999999999=", "#t", "#true", "#f", "#fals", "#!fold-case", "#!no-fold-case", "#!eof", "#x1F",
    "#b102", "#e1.5", "#i1/3", "#e1e99999999", "1/0", "-1/2", "+inf.0", "-nan.0", "1e400", "1e-400", "1e", ".5", "5.", "-", "+", "1+", "-.", "+.a", "..",
    "a", "FooBar", "|a b|", "\\x41;", "x\\", '"a\\n\\x3bb;"', '"\\q"', '"\\x110000;"', '"a\\\n   b"', "λ", "\u2028", "\ufeff", "\U0001f600", "\x00", "\x7f",
    "{", "}", "\t", "\n", "\r\n", " ", "#", "##", "#a", "#@", "123456789012345678901234567890", "9" * 400, "1." + "3" * 400, "-0.0", "5e-324", "1e22",
]


def random_bytes(r):
    return bytes(r.getrandbits(8) for _ in range(r.randint(0, 200)))


def random_tokens(r):
    return r.choice(["", " "]).join(r.choice(TOKENS) for _ in range(r.randint(1, 80))).encode()


def balanced(r, depth=0):
    """Well formed, so that much of it is read, written and compared."""
    kind = r.randint(0, 13)
    if depth > 6 or kind < 5:
        number = r.choice([str(r.getrandbits(r.randint(1, 300))), repr(r.random() * 10 ** r.randint(-320, 300))])
        return r.choice(["a", "b|c d|", "1.5", "-7/3", "#\\x", '"s\\t"', "#t", "()", "1e21", "λ", "|1|", "+5x", "#u8(1 2)", number, number])
    inner = " ".join(balanced(r, depth + 1) for _ in range(r.randint(0, 4)))
    if kind < 8:
        return "(" + inner + ")"
    if kind == 8:
        return "(" + inner + " x . " + balanced(r, depth + 1) + ")"
    if kind == 9:
        return "#(" + inner + ")"
    if kind == 10:
        return r.choice("'`,") + balanced(r, depth + 1)
    if kind == 11:
        return "#;" + balanced(r, depth + 1) + " " + balanced(r, depth + 1)
    label = r.randint(0, 5000000)
    return f"#{label}=({inner} #{label}# . #{label}#)"


def deep(r):
    n = r.choice([100, 10000, 100000])
    begin, end = r.choice([("(", ")"), ("#(", ")"), ("'", ""), ("#;", " a"), ("#|", "|#"), ("[", "]"), ("(a . ", ")"), ("`(,@", ")"), ("#u8(", ")")])
    text = begin * n + r.choice(["a", "", "1", "#\\(", '"']) + end * r.choice([n, n, n - 1, n + 1, 0])
    return text.encode()


def long(r):
    n = r.choice([5000, 8190, 8191, 8192, 8193, 20000, 60000])
    kinds = ["9" * n, "1/" + "7" * n, "a" * n, '"' + "é" * n + '"', "|" + "\\x3bb;" * n + "|", "1e" + "0" * n + "5", "." + "0" * n + "1", "#|" + "x" * n]
    kinds += [";" + "é" * n, "#" + "1" * n + "=", "(" + "a " * n + ")", "#x" + "f" * n, "#(" + "é " * n + ")", " " * (n - 1) + "é\U0001f600"]
    return r.choice(kinds).encode()


def mutated(r, sources):
    text = bytearray(r.choice(sources))
    start = r.randrange(len(text))
    text = text[start:start + r.randint(1, 4000)]
    for _ in range(r.randint(0, 8)):
        at = r.randint(0, len(text))
        what = r.randint(0, 4)
        if what == 0:
            del text[at:at + r.randint(1, 20)]
        elif what == 1:
            text[at:at] = r.choice(TOKENS).encode()
        elif what == 2 and at < len(text):
            text[at] = r.getrandbits(8)
        elif what == 3:
            text[at:at] = text[at:at + r.randint(1, 50)]
        else:
            del text[at:]
    return bytes(text)


def generate(r, sources):
    kind = r.randint(0, 99)
    if kind < 15:
        return random_bytes(r)
    if kind < 45:
        return random_tokens(r)
    if kind < 65:
        return balanced(r).encode()
    if kind < 67:
        return deep(r)
    if kind < 71:
        return long(r)
    return mutated(r, sources)


def quoted(path):
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'


def run(scheme, options, folder, inputs):
    """What is wrong with them, or None."""
    bundle = os.path.join(folder, "inputs")
    with open(bundle, "wb") as f:
        for data in inputs:
            f.write(b"%d\n" % len(data) + data)
    program = os.path.join(folder, "driver.scm")
    with open(program, "w") as f:
        f.write(DRIVER.replace("SCRATCH", quoted(os.path.join(folder, "scratch"))).replace("INPUTS", quoted(bundle)))
    try:
        p = subprocess.run([scheme, *options, program], stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    except subprocess.TimeoutExpired:
        return "it hangs"
    lines = p.stdout.decode(errors="replace").split("\n")
    for line in lines:
        if line.startswith("differs"):
            return line[:400]
    results = [line for line in lines if line.startswith("result ")]
    if p.returncode != 0:
        return f"status {p.returncode} after {len(results)} inputs: {p.stderr.decode(errors='replace')[-600:]}"
    if len(results) != len(inputs):
        return f"{len(results)} results of {len(inputs)} inputs"
    for line in results:
        if line != "result error" and not line[7:].isdigit() and "too many digits" not in line:
            return line
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("scheme")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--option", action="append", default=[], help="for scheme, in front of the program: --option=--heap --option=256m")
    parser.add_argument("--replay", help="a file that a failure has left")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1 << 30)
    here = os.path.dirname(os.path.abspath(__file__))
    files = glob.glob(os.path.join(here, "../../examples/scheme/prelude/*.scm")) + glob.glob(os.path.join(here, "../../bench/scheme/**/*.scm"), recursive=True)
    sources = [open(f, "rb").read() for f in sorted(files)]
    sources = [s for s in sources if s] or [b"(define (f x) '(a . \"b\"))"]
    end = time.monotonic() + arguments.seconds
    rounds = count = 0
    with tempfile.TemporaryDirectory() as folder:
        if arguments.replay:
            wrong = run(arguments.scheme, arguments.option, folder, [open(arguments.replay, "rb").read()] * 2)
            print(wrong or "all is well")
            return wrong is not None
        while rounds == 0 or time.monotonic() < end:
            r = random.Random(f"{seed} {rounds}")
            inputs = [generate(r, sources) for _ in range(200)]
            wrong = run(arguments.scheme, arguments.option, folder, inputs)
            if wrong:
                guilty = next((data for data in inputs if run(arguments.scheme, arguments.option, folder, [data] * 2)), None)
                if guilty is None:
                    guilty = b"\n".join(inputs)
                with open("fuzz_reader.failed", "wb") as f:
                    f.write(guilty)
                print(f"seed {seed}, round {rounds}: {wrong}\nThe input is in fuzz_reader.failed ({len(guilty)} bytes).")
                return 1
            rounds += 1
            count += len(inputs)
    print(f"{count} inputs, seed {seed}: all is well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
