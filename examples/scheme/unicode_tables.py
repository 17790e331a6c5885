#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes unicode_tables.h from Python's own Unicode database: python3 unicode_tables.py > unicode_tables.h.
Not part of the build: the tables change with Unicode's versions only."""

import unicodedata

ALL = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def ranges(test):
    out = []
    for c in ALL:
        if test(c):
            if out and out[-1][1] == c - 1:
                out[-1][1] = c
            else:
                out.append([c, c])
    return out


def mappings(function):
    """[first, last, step, delta]: first, first + step, ... last become themselves + delta."""
    out = []
    for c in ALL:
        to = function(c)
        if to == c:
            continue
        delta = to - c
        if out and out[-1][3] == delta:
            last = out[-1]
            gap = c - last[1]
            if gap in (1, 2) and (last[2] == gap or last[0] == last[1]):
                last[1], last[2] = c, gap
                continue
        out.append([c, c, 1, delta])
    return out


def one(c, text):
    return ord(text) if len(text) == 1 else c


def write(name, rows, kind):
    print(f"static const {kind} {name}[] = {{")
    line = "   "
    for row in rows:
        item = " {" + ", ".join(f"{n:#x}" if i < 2 else str(n) for i, n in enumerate(row)) + "},"
        if len(line) + len(item) > 158:
            print(line)
            line = "   "
        line += item
    print(line)
    print("};")


def full(function):
    rows = []
    for c in ALL:
        text = function(chr(c))
        if len(text) > 1:
            rows.append([c] + [ord(x) for x in text] + [0] * (3 - len(text)))
    return rows


def write_full(name, rows):
    print(f"static const full_mapping {name}[] = {{")
    line = "   "
    for row in rows:
        item = f" {{{row[0]:#x}, {{" + ", ".join(f"{n:#x}" for n in row[1:]) + "}},"
        if len(line) + len(item) > 158:
            print(line)
            line = "   "
        line += item
    print(line)
    print("};")


category = [unicodedata.category(chr(c)) if not 0xD800 <= c <= 0xDFFF else "Cs" for c in range(0x110000)]
print("// SPDX-License-Identifier: MIT")
print(f"// unicode_tables.h: characters' cases and classes, from Unicode {unicodedata.unidata_version}. Written by unicode_tables.py.")
print()
write("upper_cases", mappings(lambda c: one(c, chr(c).upper())), "case_mapping")
write("lower_cases", mappings(lambda c: one(c, chr(c).lower())), "case_mapping")
write("folded_cases", mappings(lambda c: one(c, chr(c).casefold()) if len(chr(c).casefold()) == 1 else one(c, chr(c).lower())), "case_mapping")
write_full("upper_cases_full", full(str.upper))
write_full("folded_cases_full", full(str.casefold))
write("alphabetic", ranges(lambda c: category[c][0] == "L" or category[c] == "Nl" or (category[c] in ("So",) and 0x24B6 <= c <= 0x24E9)), "range")
write("upper", ranges(lambda c: chr(c).isupper()), "range")
write("lower", ranges(lambda c: chr(c).islower()), "range")
write("digits", [r for r in ranges(lambda c: category[c] == "Nd")], "range")
