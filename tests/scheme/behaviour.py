# SPDX-License-Identifier: MIT
"""behaviour.py: tests of what a user sees of the interpreter: conformance, programs, errors, the REPL, limits."""

import os
import re
import select
import signal
import subprocess

from interpreter import HERE, PROGRAMS, check

CONFORMANCE = os.path.join(HERE, "conformance")
IMPORTS = "(import (scheme base) (scheme file) (scheme write) (scheme process-context))\n"


def conformance(scheme):
    """Every file of the suite, each of whose checks says so if it fails."""
    total = 0
    for name in sorted(os.listdir(CONFORMANCE)):
        if name in ("check.scm", "included.scm"):
            continue
        said = scheme.run(os.path.join(CONFORMANCE, name))
        found = re.search(r"^(\d+) checks, 0 failed$", said.out, re.MULTILINE)
        check(said.status == 0 and found, "conformance/" + name, said.status, said.out[-3000:], said.err[-2000:])
        total += int(found.group(1))
    check(total > 1000, "the suite has shrunk to %d checks" % total)


def a_failed_check_is_told(scheme):
    """The suite's own means."""
    with open(os.path.join(CONFORMANCE, "check.scm"), encoding="utf-8") as file:
        scheme.file("check.scm", file.read())
    said = scheme.program(IMPORTS + '(include "check.scm")\n(check (+ 1 1) => 3)\n(check-error 5)\n(check (car 5) => 1)\n(check 1 => 1)\n(check-end)\n')
    check(said.status == 1 and "4 checks, 3 failed" in said.out, "wrong checks passed", said)
    check("expected 3" in said.out and "got      2" in said.out, "a check does not say what it got", said)


def programs_of(scheme):
    """The benchmark's programs."""
    names = []
    for name in sorted(os.listdir(PROGRAMS)):
        with open(os.path.join(PROGRAMS, name), encoding="utf-8") as file:
            if "\n(run-program " in file.read():
                names.append(name)
    check(len(names) >= 30, "only %d programs" % len(names))
    return names


def programs(scheme):
    """All programs with small inputs, or the third of them that SCHEME_TEST_THIRD names; each checks its result."""
    third = scheme.environment.get("SCHEME_TEST_THIRD")
    for name in programs_of(scheme)[int(third)::3] if third else programs_of(scheme):
        said = scheme.run(os.path.join(PROGRAMS, name), "small")
        check(said.status == 0 and re.fullmatch(r"\S+ .* ok\n", said.out, re.DOTALL), name, said)


def programs_with_usual_inputs(scheme):
    """All programs once with their usual inputs: for the long form."""
    for name in programs_of(scheme):
        said = scheme.run(os.path.join(PROGRAMS, name), "1", timeout=600)
        check(said.status == 0 and said.out.endswith(" ok\n"), name, said)


# A program whose third line is wrong; what is said of it: line and column, then words.
WRONG = [
    ("(display (+ 1 no-such-variable))", "3:1?\\d", "unbound variable.*no-such-variable"),
    ("(set! no-such-variable 1)", "3:\\d+", "no-such-variable"),
    ("  (car 5)", "3:3", "car.*pair.*5"),
    ("(vector-ref (vector 1 2) 7)", "3:1", "vector-ref.*range.*7"),
    ("(+ 1 'a)", "3:1", "number.*a"),
    ("(error \"my own message\" 1 \"two\" 'three)", "3:1", "my own message 1 \"two\" three"),
    ("((lambda (x) x))", "3:1", "argument"),
    ("(string-ref \"abc\" 3)", "3:1", "string-ref.*range.*3"),
    ("(5 6)", "3:1", "5"),
    ("(if)", "3:1", "if"),
    ("(let ((x)) x)", "3:\\d+", "let"),
    ("(lambda (x x) x)", "3:\\d+", "x"),
    ("(define)", "3:1", "define"),
    ("(define-syntax m (syntax-rules () ((_ a) a))) (m)", "3:47", "m"),
    ("(display (quote 1 2))", "3:10", "quote"),
    ("(import (no such library))", "3:\\d+", "no such library"),
    ("(raise 'something)", "3:1", "something"),
    ("(open-input-file \"/no/such/file\")", "3:1", "/no/such/file"),
    ("(exact (/ 1. 0.))", "3:1", "exact"),
    ("(list-tail '(1 2) 3)", "3:1", "list-tail"),
    ("(hash-table-ref 5 5)", "3:1", ""),
    ("(display (list 1 2)", "(3:\\d+|4:1|5:1)", "end|\\(|list"),
    ("(display \"no end)", "\\d:\\d+", "string|end"),
    ("(display 1))", "3:12", "\\)"),
    ("(display #\\nosuch)", "3:\\d+", "name of a character"),
    ("(display '(1 . 2 3))", "3:\\d+", "dot|\\."),
]


def errors_have_positions(scheme):
    """An error that nobody handles: what was written before is there, file, line and column, a message, and status 70."""
    for text, position, words in WRONG:
        said = scheme.program(IMPORTS + "(display \"before\\n\")\n" + text + "\n(display \"after\")\n", name="wrong.scm")
        shown = (text, said)
        check(said.status == 70, "the status is not 70", *shown)
        check("after" not in said.out, "it went on", *shown)
        check(re.search(r"(?m)^%s: " % ("\\S*wrong\\.scm:" + position), said.err), "the position is not %s" % position, *shown)
        check(re.search(words, said.err, re.DOTALL), "the message says nothing of %r" % words, *shown)
        check("before" in said.out or "before" not in text and (said.out == "" and re.search("end|string|\\)|dot|\\.|character", said.err)), "what was written before is lost", *shown)


def errors_in_other_files(scheme):
    """Errors in what a program includes and loads, and deep in procedures, have the positions of those."""
    scheme.file("part.scm", "(define (deep x)\n  (if (= x 0)\n      (vector-ref (vector) x)\n      (+ 1 (deep (- x 1)))))\n")
    said = scheme.program(IMPORTS + '(include "part.scm")\n(display (deep 10))\n')
    check(said.status == 70 and re.search(r"part\.scm:3:7: .*vector-ref", said.err), "an error in an included file", said)
    scheme.file("loaded.scm", "(define a 1)\n(car a)\n")
    said = scheme.program("(import (scheme base) (scheme load))\n(load \"loaded.scm\")\n")
    check(said.status == 70 and re.search(r"loaded\.scm:2:1: .*car", said.err), "an error in a loaded file", said)
    said = scheme.run(scheme.path("not-there.scm"))
    check(said.status not in (0,) and "not-there.scm" in said.err, "a program that is not there", said)


def statuses(scheme):
    """exit, and ends without it."""
    for text, status in [("", 0), ("(exit)", 0), ("(exit #t)", 0), ("(exit #f)", 1), ("(exit 7)", 7), ("(emergency-exit 3)", 3), ("(car 1)", 70), ("(raise 1)", 70),
                         ("(dynamic-wind (lambda () #f) (lambda () (exit 4)) (lambda () (display \"wound\")))", 4)]:
        said = scheme.program(IMPORTS + "(display \"x\")\n" + text)
        check(said.status == status and said.out == "x" + ("wound" if "wound" in text else ""), "%s: status %d" % (text, status), said)


def arguments(scheme):
    said = scheme.program(IMPORTS + "(write (cdr (command-line)))", "one", "--two", "3 4", "λ")
    check(said.out == '("one" "--two" "3 4" "λ")', "the command line", said)


def wrong_command_lines(scheme):
    """A message and a status, and no REPL."""
    for words in (["--no-such-option"], ["--heap"], ["--heap", "many", "x.scm"], ["--heap", "5", "x.scm"], ["--stack", "-1m", "x.scm"]):
        said = scheme.run(*words, stdin="(display \"ran\")")
        check(said.status not in (0, 70) and said.err and "ran" not in said.out, "%s was taken" % words, said)


# What is typed, and what the REPL's output has in this order; errors do not end it.
DIALOGUE = [
    ("(+ 1 2)", "3"), ("(define x 5)", ""), ("(* x x)", "25"), ("(car '())", "car"), ("(list x 'a \"s\" #\\c)", "(5 a \"s\" #\\c)"), ("no-such-variable", "no-such-variable"),
    ("(if)", "if"), ("\"still here\"", "\"still here\""), (")", ""), ("'after-stray", "after-stray"), ("#\\nosuchname", "name of a character"), ("(+ 40 2)", "42"), ("(error \"mine\" 1 2)", "mine 1 2"),
    ("(raise 'thing)", "thing"), ("(define (f n)\n  (if (= n 0)\n      1\n      (* n (f (- n 1)))))", ""), ("(f 20)", "2432902008176640000"), ("(values 1 2)", "2"), ("(values)", ""),
    ("(vector-ref #(1) 1)", "range"), ("(let loop ((i 0)) (if (< i 1000000) (loop (+ i 1)) i))", "1000000"),
    ("(define-syntax two (syntax-rules () ((_ a) (list a a))))", ""), ("(two 7)", "(7 7)"), ("(two)", "two"), ("(call-with-current-continuation (lambda (k) (set! x k) 1))", "1"),
    ("(x 99)", "99"), ("(import (scheme char))", ""), ("(char-upcase #\\a)", "#\\A"), ("(import (no such))", "no such"), ("(begin (display \"shown\") 1)", "shown"), ("'last", "last"),
]


def repl(scheme):
    """Everything that is typed, by a pipe: results and errors in their order."""
    said = scheme.run(stdin="\n".join(line for line, _ in DIALOGUE) + "\n")
    check(said.status == 0, "the REPL's status", said)
    # Output and errors are two streams: each expectation is in one of them, in its order.
    places = {"out": 0, "err": 0}
    for line, expected in DIALOGUE:
        if expected:
            found = [(stream, getattr(said, stream).find(expected, places[stream])) for stream in places]
            found = [(stream, at) for stream, at in found if at >= 0]
            check(found, "after %r there is no %r" % (line, expected), said.out, said.err)
            stream, at = found[0]
            places[stream] = at + len(expected)


# What runs for ever: loops of the machine's, of the library's, of the expander's.
ENDLESS = ["(let loop () (loop))", "(let loop ((n 0)) (loop (+ n 1)))", "(define (f x) (if x (f (not (not x))))) (f 1)", "(for-each (lambda (x) (let loop () (loop))) '(1))",
           "(dynamic-wind (lambda () 1) (lambda () (let loop () (loop))) (lambda () (display \"wound\")))"]


def interrupts(scheme):
    """Ctrl-C ends an evaluation, and the REPL goes on."""
    for text in ENDLESS:
        with subprocess.Popen([scheme.binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=scheme.environment, cwd=scheme.folder.name) as child:
            child.stdin.write(b"(begin (display \"begun\") (newline) (flush-output-port))\n" + text.encode() + b"\n")
            child.stdin.flush()
            line = child.stdout.readline()
            for _ in range(100): # what comes before it is in its loop has nothing to end
                child.send_signal(signal.SIGINT)
                if select.select([child.stderr], [], [], 0.5)[0]:
                    break
            try:
                out, err = child.communicate(b"(* 6 7)\n", timeout=60)
            except subprocess.TimeoutExpired:
                child.kill()
                raise AssertionError("%s goes on after an interrupt" % text) from None
            check(b"begun" in line and b"42" in out and b"interrupted" in err and child.returncode == 0, "an interrupt of %s" % text, line, out, err, child.returncode)


def endless_macros(scheme):
    """A macro that makes a call of itself, at the top, in a body, in an expression: an error, and the REPL goes on."""
    text = "(define-syntax m (syntax-rules () ((_ x) (m x))))\n(m 1)\n(define (f) (m 2) 3)\n(+ 1 (m 3))\n(* 6 7)\n"
    said = scheme.run(stdin=text, timeout=120)
    check(said.status == 0 and "42" in said.out and said.err.count("without end") == 3, "macros without end", said)


def runaway_recursion(scheme):
    """A recursion without end is an error that says so; the REPL goes on, and has its memory back."""
    text = "(define (runaway n) (+ 1 (runaway n)))\n(runaway 1)\n'went-on\n(define (again n) (cons 1 (again n)))\n(again 1)\n(+ 20 22)\n"
    said = scheme.run("--heap", "200m", stdin=text, timeout=300)
    check(said.status == 0, "the REPL ended", said)
    check(re.search("recursion|stack|memory", said.err + said.out), "no message tells what was wrong", said)
    check("went-on" in said.out and "42" in said.out, "the REPL did not go on", said)


def runaway_recursion_is_caught(scheme):
    """A program can handle it."""
    scheme.prints(IMPORTS + """
(define (runaway n) (+ 1 (runaway n)))
(display (guard (e ((error-object? e) 'caught)) (runaway 1)))
(display (let deep ((n 100000)) (if (= n 0) 'fine (car (list (deep (- n 1)))))))
""", "caughtfine", timeout=300)


def out_of_memory(scheme):
    """Live data beyond the limit is an error; what it held is free afterwards. A single thing that is too large, too."""
    grow = "(let loop ((l '())) (loop (cons (make-vector 100 l) l)))\n"
    text = grow + "'went-on\n(vector-length (make-vector 1000000 0))\n(make-vector 100000000000 0)\n(make-string 100000000000 #\\a)\n(make-bytevector 100000000000)\n'there\n" + grow + "(+ 20 22)\n"
    said = scheme.run("--heap", "100m", stdin=text, timeout=300)
    check(said.status == 0, "the REPL ended", said.status, said.out[-500:], said.err[-2000:])
    check(re.search("memory", said.err + said.out), "no message tells what was wrong", said)
    for word in ("went-on", "1000000", "there", "42"):
        check(word in said.out, "the REPL did not go on to %r" % word, said.out[-500:], said.err[-2000:])


def deep_data(scheme):
    """Data nested a hundred thousand deep: read, written, compared, copied; long lists; circular ones."""
    scheme.prints(IMPORTS + """
(import (scheme read))
(define (nested n) (let loop ((n n) (x '())) (if (= n 0) x (loop (- n 1) (list x)))))
(define (text x) (let ((port (open-output-string))) (write x port) (get-output-string port)))
(define x (nested 100000))
(display (equal? x (nested 100000)))
(display (equal? x (nested 99999)))
(display (equal? x (read (open-input-string (text x)))))
(define v (let loop ((n 100000) (x #f)) (if (= n 0) x (loop (- n 1) (vector x)))))
(display (string-length (text v)))
(display (length (append (make-list 1000000 1) (map (lambda (x) x) (make-list 1000000 2)))))
(display (apply + (make-list 100000 1)))
""", "#t#f#t3000022000000100000", timeout=300)


def files_are_whole(scheme):
    """Output is written at the end, also where a program does not close it, or ends by an error."""
    for ending, status in (("", 0), ("(exit 3)", 3), ("(car 1)", 70)):
        path = scheme.path("out.txt")
        said = scheme.program("(import (scheme base) (scheme file) (scheme process-context))\n(define p (open-output-file \"%s\"))\n(write-string (make-string 10000 #\\x) p)\n%s\n" % (path, ending))
        check(said.status == status, "the status", said)
        check(os.path.getsize(path) == 10000, "%d bytes were written before %r" % (os.path.getsize(path), ending))


EVERYWHERE = [conformance, a_failed_check_is_told, programs, errors_have_positions, errors_in_other_files, statuses, arguments, wrong_command_lines, repl, interrupts, endless_macros,
              runaway_recursion, runaway_recursion_is_caught, out_of_memory, deep_data, files_are_whole]
ON_REQUEST = [programs_with_usual_inputs]
