# SPDX-License-Identifier: MIT
"""persistent.py: tests of images and stores: what a later process sees of an earlier one."""

import os
import re
import signal
import subprocess
import time

from interpreter import PROGRAMS, check

# What is defined before a checkpoint, or is kept in a store: of every kind something.
DEFINITIONS = r"""
(define number 42)
(define big (expt 7 200))
(define ratio 22/7)
(define real 1.5)
(define text (string-append "text " "λ"))
(define data (list 1 'two "three" #\4 5.5 (vector 6 (bytevector 7 8)) '(9 . 10)))
(define circle (let ((x (list 1 2))) (set-cdr! (cdr x) x) x))
(define (square-of x) (* x x))
(define counter (let ((n 0)) (lambda () (set! n (+ n 1)) n)))
(counter)
(define-record-type point (make-point x y) point? (x point-x set-point-x!) (y point-y))
(define p (make-point 3 4))
(define-syntax swap! (syntax-rules () ((_ a b) (let ((t a)) (set! a b) (set! b t)))))
(define parameter (make-parameter 10 (lambda (x) (* x 2))))
(define promise (delay (begin (set! number (+ number 1)) number)))
(define again #f)
(define resumed (call-with-current-continuation (lambda (k) (set! again k) 'first)))
(define table (make-hash-table))
(hash-table-set! table 'key "value")
(hash-table-set! table p 'by-address)
(define symbol (string->symbol "a symbol made at run time"))
"""
# What is asked later, and what the answer has.
QUESTIONS = [
    ("number", "42"), ("(= big (expt 7 200))", "#t"), ("(* ratio 7)", "22"), ("(+ real 1)", "2.5"), ("text", "text λ"), ("(list (car data) (cadr data) (list-ref data 5))", "(1 two #(6 #u8(7 8)))"),
    ("(eq? circle (cddr circle))", "#t"), ("(square-of 12)", "144"), ("(counter)", "2"), ("(point-y p)", "4"), ("(point? p)", "#t"), ("(begin (set-point-x! p 9) (point-x p))", "9"),
    ("(let ((a 1) (b 2)) (swap! a b) (list a b))", "(2 1)"), ("(parameter)", "20"), ("(parameterize ((parameter 3)) (parameter))", "6"), ("(force promise)", "43"),
    ("(hash-table-ref/default table 'key #f)", "value"), ("(hash-table-ref/default table p #f)", "by-address"), ("(eq? symbol (string->symbol \"a symbol made at run time\"))", "#t"),
    ("(point-x (make-point 5 6))", "5"), ("(car (map square-of '(5)))", "25"), ("(again 'second)", ""), ("resumed", "second"), ("(car 'no-pair)", "no-pair"), ("'end", "end"),
]


def ask(scheme, questions, *arguments):
    """A REPL that starts so and is asked: each answer has what is expected, in their order."""
    said = scheme.run(*arguments, stdin="".join(question + "\n" for question, _ in questions))
    check(said.status == 0, "the status of the one that was asked", arguments, said)
    place = {"out": 0, "err": 0}
    for question, expected in questions:
        found = [(stream, getattr(said, stream).find(expected, place[stream])) for stream in place]
        found = [(stream, at) for stream, at in found if at >= 0]
        check(found, "to %s the answer is not %r" % (question, expected), said.out, said.err)
        stream, at = found[0]
        place[stream] = at + len(expected)
    return said


def made(scheme, text, *arguments):
    said = scheme.run(*arguments, stdin=text)
    check(said.status == 0 and not said.err.strip(), "what was to be kept was not made", said)
    return said


def image_has_everything(scheme):
    """Values, closures, records, macros, continuations; and an image of an image."""
    image, second = scheme.path("first.image"), scheme.path("second.image")
    made(scheme, DEFINITIONS + '(checkpoint "%s")\n' % image)
    ask(scheme, QUESTIONS, "--image", image)
    made(scheme, '(define later (square-of number))\n(checkpoint "%s")\n' % second, "--image", image)
    ask(scheme, [("later", "1764")] + QUESTIONS, "--image", second)
    ask(scheme, QUESTIONS, "--image", image)  # it is as it was


def image_goes_on_after_a_checkpoint(scheme):
    """The program that asked for it goes on, and may ask again; the last one counts."""
    image = scheme.path("kept.image")
    said = made(scheme, '(define n 1)\n(checkpoint "%s")\n(set! n 2)\n(checkpoint "%s")\n(set! n 3)\nn\n' % (image, image))
    check("3" in said.out, "it did not go on", said)
    ask(scheme, [("n", "2")], "--image", image)


def image_runs_programs(scheme):
    """A program that is started from an image sees libraries that were loaded before."""
    image = scheme.path("libraries.image")
    save = """(define-library (kept one) (export fib count!) (import (scheme base))
  (begin (define count 0) (define (count!) (set! count (+ count 1)) count) (define (fib n) (if (< n 2) n (+ (fib (- n 1)) (fib (- n 2)))))))
(import (scheme base) (kept one) (veil))
(count!)
(checkpoint "%s")
""" % image
    said = scheme.program(save, name="save.scm")
    check(said.status == 0, "saving", said)
    said = scheme.run("--image", image, scheme.file("use.scm", "(import (scheme base) (scheme write) (scheme process-context) (kept one))\n(write (list (fib 15) (count!) (cdr (command-line))))\n"), "x")
    check(said.out == '(610 2 ("x"))' and said.status == 0, "a program on an image", said)


def wrong_images(scheme):
    """No file, no image, a cut one, a damaged one: a message and a status, no crash."""
    image = scheme.path("whole.image")
    made(scheme, DEFINITIONS + '(checkpoint "%s")\n' % image)
    with open(image, "rb") as file:
        whole = file.read()
    wrong = [scheme.path("none.image"), scheme.file("text.image", "no image\n" * 1000), scheme.file("empty.image", b"")]
    wrong += [scheme.file("cut%d.image" % part, whole[:len(whole) * part // 10]) for part in (1, 5, 9)]
    for place in (0, 100, 5000, len(whole) // 2, len(whole) - 10):
        damaged = bytearray(whole)
        damaged[place] ^= 0xff
        wrong.append(scheme.file("damaged%d.image" % place, bytes(damaged)))
    refused = []
    for path in wrong:
        # Pages are read when they are first wanted: damage in one that is not is not seen, and a heap that wants one that is cannot go on.
        said = scheme.run("--image", path, stdin="number\n", may_abort=True)
        if said.status != 0:
            refused.append(os.path.basename(path))
            check(said.status > 0 or "is damaged" in said.err, "a crash by " + path, said)
            check(said.err.strip(), "nothing tells what is wrong with " + path, said)
        else:
            check("42" in said.out and "damaged" in path, "%s was taken" % path, said)
    check(any("damaged" in name for name in refused), "no damaged image was refused", refused)
    said = scheme.run("--image", image, "--check", stdin="number\n")
    check(said.status == 0 and "42" in said.out, "an image whose code is looked at first", said)
    said = scheme.run(stdin='(checkpoint "/no/such/folder/image")\n\'went-on\n')
    check(said.status == 0 and "went-on" in said.out and said.err.strip(), "a checkpoint that cannot be written", said)


def store_keeps(scheme):
    """What is committed is there when the store is opened again; what is not is not."""
    store = scheme.path("kept.store")
    made(scheme, DEFINITIONS + "(commit!)\n(define lost 1)\n", "--store", store)
    ask(scheme, QUESTIONS + [("lost", "lost")], "--store", store)
    text = "(define n (+ n 1))\n(commit!)\nn\n"
    made(scheme, "(define n 0)\n(commit!)\n", "--store", store)
    for i in range(1, 5):
        said = made(scheme, text, "--store", store)
        check(str(i) in said.out, "the %d-th time" % i, said)
    ask(scheme, [("n", "4")], "--store", store)


def store_survives_kills(scheme):
    """Killed at any time: everything up to some commit is there, and the number of commits that were reported at least."""
    store = scheme.path("killed.store")
    made(scheme, "(define n 0)\n(define trail '())\n(commit!)\n", "--store", store)
    text = "(let loop () (set! n (+ n 1)) (set! trail (cons (list n (* n n)) trail)) (commit!) (display n) (newline) (flush-output-port) (loop))\n"
    for round_ in range(4 * scheme.scale):
        with open(scheme.path("said"), "w+", encoding="utf-8") as out:
            process = subprocess.Popen([scheme.binary, "--store", store], stdin=subprocess.PIPE, stdout=out, stderr=subprocess.DEVNULL, env=scheme.environment)
            process.stdin.write(text.encode())
            process.stdin.close()
            limit = time.time() + 60
            while os.path.getsize(scheme.path("said")) == 0 and time.time() < limit:  # until it has committed once
                time.sleep(0.01)
            time.sleep(0.1 + 0.13 * (round_ % 5))
            process.send_signal(signal.SIGKILL)
            process.wait()
            out.seek(0)
            reported = [int(line) for line in re.findall(r"(\d+)\n", out.read())]
        said = ask(scheme, [("(list 'n n (length trail) (equal? (car trail) (list n (* n n))))", "(n ")], "--store", store)
        found = re.search(r"\(n (\d+) (\d+) #t\)", said.out)
        check(found and found.group(1) == found.group(2), "the store is not as it was at any commit", said)
        check(reported and int(found.group(1)) >= reported[-1], "%s was reported, %s is there" % (reported[-1:], found.group(1)))


def wrong_stores(scheme):
    for path in (scheme.file("text.store", "no store\n" * 1000), "/no/such/folder/store"):
        said = scheme.run("--store", path, stdin="1\n")
        check(said.status != 0 and said.err.strip(), "%s was taken" % path, said)
    said = scheme.run(stdin="(commit!)\n'went-on\n")
    check(said.status == 0 and "went-on" in said.out and said.err.strip(), "(commit!) without a store", said)


def start_of_programs_from_images(scheme):
    """All programs compiled into one image as libraries would take long here; a few, whose results are those of the sources."""
    for name in ("nqueens", "deriv", "scheme"):
        image = scheme.path(name + ".image")
        with open(os.path.join(PROGRAMS, name + ".scm"), encoding="utf-8") as file:
            text = re.sub(r"^\(include \"run.scm\"\)$|^\(run-program .*", "", file.read(), flags=re.MULTILINE)
        made(scheme, text + '\n(checkpoint "%s")\n' % image)
    ask(scheme, [("(nqueens 6)", "4")], "--image", scheme.path("nqueens.image"))
    ask(scheme, [("(deriv '(* x x))", "(* (* x x) (+ (/ 1 x) (/ 1 x)))")], "--image", scheme.path("deriv.image"))
    ask(scheme, [("(run 6 2)", "(\"eight\" \"two\" 4)")], "--image", scheme.path("scheme.image"))


ON_VEIL = [image_has_everything, image_goes_on_after_a_checkpoint, image_runs_programs, wrong_images, store_keeps, store_survives_kills, wrong_stores, start_of_programs_from_images]
