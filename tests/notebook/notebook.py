#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""notebook.py: tests the example notebook, over many runs of it. Standard library only.

   notebook.py [--kills N] [--seed N] BINARY
"""

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

WORDS = "apple Bread candle door Ärger fig glass hat ink jar kite lamp".split()


class Notebook:
    def __init__(self, binary, folder):
        self.binary, self.file = binary, os.path.join(folder, "notes")

    def start(self, *words, file=None):
        return subprocess.Popen([self.binary, "--file", file or self.file, *map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, *words, status=0, file=None, given=b""):
        """What it prints; or, where it is to fail, what it complains of."""
        process = self.start(*words, file=file)
        out, complaint = (text.decode() for text in process.communicate(given, 60))
        if process.returncode != status:
            raise AssertionError(f"{words}: status {process.returncode}, {out!r}, {complaint!r}")
        return complaint if status else out

    def numbers(self, *words):
        return [int(line.split()[0]) for line in self.run(*words).splitlines()]

    def notes(self):
        return {int(number): text for number, _, text in (line.split("\t") for line in self.run("export").splitlines())}


def check(got, wanted, what):
    if got != wanted:
        raise AssertionError(f"{what}: {got!r}, wanted {wanted!r}")


def by_hand(book):
    """A day of a person's."""
    check(book.run("add", "buy milk", "and bread"), "note 1\n", "add")
    check(book.run("add", "call Anna about the BREAD\nand the\tbutter \\"), "note 2\n", "add")
    check(book.run("add", "-", given="äpfel, bread\n\nanna's birthday".encode()), "note 3\nnote 4\n", "add -")
    check(book.numbers("list"), [4, 3, 2, 1], "list")
    check(book.numbers("list", 2), [4, 3], "list 2")
    check(book.numbers("find", "bread"), [3, 2, 1], "find bread")
    check(book.numbers("find", "Bread", "ANNA"), [2], "find Bread ANNA")
    check(book.numbers("find", "bread, anna!"), [2], "find 'bread, anna!'")
    check(book.numbers("find", "äpfel"), [3], "find äpfel")
    check(book.numbers("find", "bread", "nothing"), [], "find nothing")
    book.run("tag", 2, "Phone")
    book.run("tag", 2, "#phone")
    book.run("tag", 1, "phone")
    check(book.numbers("find", "#phone"), [2, 1], "find #phone")
    check(book.numbers("find", "phone"), [], "find phone")
    check(re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "WHEN", book.run("show", 2)), "   2  WHEN  call Anna about the BREAD\nand the\tbutter \\ #Phone\n", "show")
    check(book.notes(), {1: "buy milk and bread #phone", 2: r"call Anna about the BREAD\nand the\tbutter \\ #Phone", 3: "äpfel, bread", 4: "anna's birthday"}, "export")
    book.run("delete", 2)
    check(book.numbers("find", "bread"), [3, 1], "find after delete")
    check(book.numbers("find", "#phone"), [1], "find after delete")
    check(book.numbers("find", "butter"), [], "find after delete")
    check(book.run("add", "the next"), "note 5\n", "add after delete")


def complaints(book, folder):
    for words, status, wanted in [((), 2, "notebook \\[--file FILE\\]"), (("frobnicate",), 2, "no command frobnicate"), (("show", "2"), 1, "there is no note 2"), (("delete", "99"), 1, "there is no note 99"),
                                  (("show", "99999999999999999999"), 1, "there is no note 9"), (("show", "x"), 2, "x is no number"), (("show", ""), 2, "is no number"), (("tag", "1", "a b"), 2, "a b is no single word"),
                                  (("tag", "1", "#"), 2, "# is no single word"), (("add",), 2, "add takes TEXT"), (("list", "0"), 2, "0 is no number of notes"), (("find", "!"), 2, "letters or digits"),
                                  (("export", "x"), 2, "export takes nothing")]:
        said = book.run(*words, status=status)
        check(bool(re.search(wanted, said)), True, f"{words}: {said!r}")
    none = os.path.join(folder, "none")
    check("no such file" in book.run("list", status=1, file=none), True, "a file that is not there")
    check(os.path.exists(none), False, "that it is made by reading")
    with open(none, "w", encoding="utf-8") as file:
        file.write("a shopping list\n" * 1000)
    check(none in book.run("add", "x", status=1, file=none), True, "a file that is no store")
    with open(none, encoding="utf-8") as file:
        check(file.read(), "a shopping list\n" * 1000, "what it had")
    process = book.start("add", "-")
    process.stdin.write(b"first\n")
    process.stdin.flush()
    check(process.stdout.readline(), b"note 6\n", "add -")
    for words in [("add", "x"), ("list",)]:
        said = book.run(*words, status=1)
        check(str(process.pid) in said, True, f"in use: {said!r}")
    process.communicate(timeout=60)
    check(process.returncode, 0, "add -")
    book.run("delete", 6)


def killed(book, kills, chance):
    """Adds, one after the other, and a kill in the middle: what was acknowledged is there and is found, and at most one note that was not."""
    acknowledged = {}
    for _ in range(kills):
        highest, process = max(acknowledged, default=0), book.start("add", "-")
        said = []
        reader = threading.Thread(target=lambda: said.extend(process.stdout))
        reader.start()
        timer = threading.Timer(chance.uniform(0.005, 0.15), process.send_signal, [signal.SIGKILL])
        timer.start()
        given = []
        try:
            while True:
                given.append(" ".join(chance.choices(WORDS, k=chance.randrange(1, 30))))
                process.stdin.write(given[-1].encode() + b"\n")
                process.stdin.flush()
        except OSError:
            pass
        process.wait(60)
        reader.join()
        timer.join()
        check(process.returncode, -signal.SIGKILL, f"how it ended, {process.stderr.read()!r}")
        try:
            process.stdin.close()
        except OSError:
            pass
        numbers = [int(line.split()[1]) for line in said if line.endswith(b"\n")]
        check(numbers, list(range(highest + 1, highest + 1 + len(numbers))), "numbers")
        acknowledged.update(zip(numbers, given))
        highest += len(numbers)
        if not os.path.exists(book.file):
            continue  # killed before there was one
        there = book.notes()
        if highest + 1 in there:
            acknowledged[highest + 1] = given[len(numbers)]
        check(there, acknowledged, "notes after a kill")
        for wanted in [chance.choices(WORDS, k=2), chance.choices(WORDS, k=3)]:
            expected = [number for number, text in sorted(there.items(), reverse=True) if all(word in text.split() for word in wanted)]
            check(book.numbers("find", *wanted), expected, f"find {wanted}")
        if acknowledged and chance.random() < 0.3:
            gone = chance.choice(sorted(acknowledged)[:-1] or sorted(acknowledged))
            if gone != max(acknowledged):
                book.run("delete", gone)
                del acknowledged[gone]
    return len(acknowledged)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    print("seed", given.seed, flush=True)
    with tempfile.TemporaryDirectory(prefix="notebook-") as folder:
        by_hand(Notebook(given.binary, folder))
        complaints(Notebook(given.binary, folder), folder)
    with tempfile.TemporaryDirectory(prefix="notebook-") as folder:
        print(killed(Notebook(given.binary, folder), given.kills, random.Random(given.seed)), "notes were there after", given.kills, "kills")


sys.exit(main())
