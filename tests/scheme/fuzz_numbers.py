#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The numeric tower of examples/scheme beside Python's: random integers about the sizes where representations change, rationals, doubles of all magnitudes;
arithmetic, division in all its kinds, bits, roots, conversions, reading and writing.

  tests/scheme/fuzz_numbers.py build/release/examples/scheme/scheme --seconds 60 --seed 1"""

import argparse
import math
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
from fractions import Fraction

EDGES = [2**61, 2**62 - 1, 2**62, 2**63, 2**64 - 1, 2**64, 2**127, 2**128 - 1, 2**128, 2**2560, 10**18, 10**19, 2**53, 2**53 + 1]


def integer(r):
    kind = r.random()
    if kind < 0.2:
        n = r.randint(-10, 10)
    elif kind < 0.4:
        n = r.choice(EDGES) + r.randint(-2, 2)
    elif kind < 0.85:
        n = r.getrandbits(r.randint(1, 300))
    elif kind < 0.97:
        n = r.getrandbits(r.randint(1, 3000))
    else:
        n = (1 << r.randint(1, 6000)) - r.randint(0, 1)
    return -n if r.random() < 0.4 else n


def double(r):
    while True:
        kind = r.random()
        if kind < 0.3:
            d = r.random() * 10 ** r.randint(-5, 15)
        elif kind < 0.4:
            d = float(r.randint(0, 10 ** r.randint(1, 20)))
        elif kind < 0.5:
            d = 2.0 ** r.randint(-1074, 1023)
        elif kind < 0.6:
            d = round(r.random() * 1000, r.randint(0, 5))
        elif kind < 0.65:
            d = r.getrandbits(20) * 2.0**-1074
        else:
            d = struct.unpack("<d", struct.pack("<Q", r.getrandbits(64)))[0]
        if math.isfinite(d):
            return -d if r.random() < 0.2 else d


def nonzero(r):
    return integer(r) or 7


def truth(b):
    return "#t" if b else "#f"


def exact(x):
    x = Fraction(x)
    return str(x.numerator) if x.denominator == 1 else f"{x.numerator}/{x.denominator}"


def inexact(d):
    """As our printer writes it: repr has the same digits."""
    if math.isnan(d):
        return "+nan.0"
    if math.isinf(d):
        return "+inf.0" if d > 0 else "-inf.0"
    sign = "-" if math.copysign(1, d) < 0 else ""
    digits, _, exponent = repr(abs(d)).partition("e")
    whole, _, fraction = digits.partition(".")
    point = len(whole) + int(exponent or 0)
    digits = whole + fraction
    point -= len(digits) - len(digits.lstrip("0"))
    digits = digits.strip("0")
    if not digits:
        return sign + "0.0"
    if 0 < point <= 21:
        return sign + (digits[:point] + "." + digits[point:] if len(digits) > point else digits + "0" * (point - len(digits)) + ".0")
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    return sign + digits[0] + ("." + digits[1:] if len(digits) > 1 else "") + f"e{point - 1}"


def as_double(x):
    """The nearest double of a fraction: Python's division of integers rounds once."""
    try:
        return x.numerator / x.denominator
    except OverflowError:
        return math.inf if x > 0 else -math.inf


def truncated(a, b):
    quotient = abs(a) // abs(b)
    quotient = quotient if (a < 0) == (b < 0) else -quotient
    return quotient, a - quotient * b


def case_integers(r):
    a, b = integer(r), integer(r)
    text = f"(list (+ {a} {b}) (- {a} {b}) (* {a} {b}) (* {a} {a}) (- {a}) (abs {a}) (= {a} {b}) (< {a} {b}) (odd? {a}))"
    return text, f"({a + b} {a - b} {a * b} {a * a} {-a} {abs(a)} {truth(a == b)} {truth(a < b)} {truth(a % 2)})"


def case_division(r):
    a, b = integer(r), nonzero(r)
    q, s = truncated(a, b)
    text = f"(list (quotient {a} {b}) (remainder {a} {b}) (floor-quotient {a} {b}) (modulo {a} {b}))"
    return text, f"({q} {s} {a // b} {a % b})"


def case_divisors(r):
    common = r.choice([1, nonzero(r)])
    a, b = integer(r) * common, integer(r) * common
    return f"(list (gcd {a} {b}) (lcm {a} {b}))", f"({math.gcd(a, b)} {abs(a * b) // math.gcd(a, b) if a and b else 0})"


def case_bits(r):
    a, b = integer(r), integer(r)
    by = r.randint(-400, 400)
    shifted = a << by if by >= 0 else a >> -by
    one = a if a >= 0 else ~a
    text = f"(list (bitwise-and {a} {b}) (bitwise-ior {a} {b}) (bitwise-xor {a} {b}) (bitwise-not {a}) (arithmetic-shift {a} {by}) (bit-count {a}) "
    text += f"(integer-length {a}))"
    return text, f"({a & b} {a | b} {a ^ b} {~a} {shifted} {bin(one).count('1')} {one.bit_length()})"


def case_powers(r):
    a, n = integer(r) % 10**20, r.randint(0, 40)
    x = abs(integer(r))
    root = math.isqrt(x)
    text = f"(list (expt {a} {n}) (call-with-values (lambda () (exact-integer-sqrt {x})) list) (sqrt {x * x}))"
    return text, f"({a**n} ({root} {x - root * root}) {x})"


def case_rationals(r):
    f, g = Fraction(integer(r), nonzero(r)), Fraction(integer(r), nonzero(r))
    a, b = exact(f), exact(g)
    text = f"(list (+ {a} {b}) (- {a} {b}) (* {a} {b}) (/ {a} {b if g else 1}) (< {a} {b}) (floor {a}) (ceiling {a}) (truncate {a}) (round {a}))"
    rounded = f"{math.floor(f)} {math.ceil(f)} {math.trunc(f)} {round(f)}"
    return text, f"({exact(f + g)} {exact(f - g)} {exact(f * g)} {exact(f / g if g else f)} {truth(f < g)} {rounded})"


def case_conversions(r):
    f, d, a = Fraction(integer(r), nonzero(r)), double(r), integer(r)
    text = f"(list (inexact {exact(f)}) (inexact {a}) (exact {d!r}) {d!r})"
    return text, f"({inexact(as_double(f))} {inexact(as_double(Fraction(a)))} {exact(d)} {inexact(d)})"


def case_doubles(r):
    a, b = double(r), double(r)
    return f"(list (+ {a!r} {b!r}) (* {a!r} {b!r}) (- {a!r} {b!r}))", f"({inexact(a + b)} {inexact(a * b)} {inexact(a - b)})"


def case_mixed(r):
    d = double(r)
    n = r.choice([integer(r), int(d), int(d) + 1])
    f = Fraction(d)
    return f"(list (< {d!r} {n}) (= {d!r} {n}) (> {d!r} {n}))", f"({truth(f < n)} {truth(f == n)} {truth(f > n)})"


def case_text(r):
    a, radix = integer(r), r.choice([2, 3, 7, 8, 10, 16, 36])
    decimal = f"{r.choice(['', '-'])}{r.getrandbits(r.randint(1, 90))}.{r.getrandbits(60)}e{r.randint(-340, 320)}"
    text = f'(list (string->number (number->string {a} {radix}) {radix}) (string->number "{decimal}") (string->number (number->string {double(r)!r})))'
    d = text.rsplit(" ", 1)[1].rstrip(")")
    return text, f"({a} {inexact(float(decimal))} {inexact(float(d))})"


CASES = [case_integers, case_division, case_divisors, case_bits, case_powers, case_rationals, case_conversions, case_doubles, case_mixed, case_text]


def run(scheme, options, folder, r, count):
    cases = [r.choice(CASES)(r) for _ in range(count)]
    program = os.path.join(folder, "numbers.scm")
    with open(program, "w") as f:
        for text, _ in cases:
            f.write(f"(write {text})\n(newline)\n")
    p = subprocess.run([scheme, *options, program], stdin=subprocess.DEVNULL, capture_output=True, timeout=300)
    lines = p.stdout.decode(errors="replace").split("\n")
    for (text, wanted), got in zip(cases, lines):
        if got != wanted:
            return f"{text}\n  is {got}\n  not {wanted}\n{p.stderr.decode(errors='replace')[-300:]}"
    if p.returncode != 0 or len(lines) != count + 1:
        return f"status {p.returncode}, {len(lines) - 1} results of {count}: {p.stderr.decode(errors='replace')[-600:]}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("scheme")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--option", action="append", default=[], help="for scheme, in front of the program")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1 << 30)
    end = time.monotonic() + arguments.seconds
    rounds = 0
    with tempfile.TemporaryDirectory() as folder:
        while rounds == 0 or time.monotonic() < end:
            wrong = run(arguments.scheme, arguments.option, folder, random.Random(f"{seed} {rounds}"), 1000)
            if wrong:
                print(f"seed {seed}, round {rounds}: {wrong}")
                return 1
            rounds += 1
    print(f"{rounds * 1000} cases, seed {seed}: all is well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
