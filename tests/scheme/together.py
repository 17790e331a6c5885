# SPDX-License-Identifier: MIT
"""together.py: tests of threads, weak objects, guardians, and what the collector tells a program."""

import json
import os
import re

from interpreter import check

USUAL = "(define (times n f) (do ((i 0 (+ i 1))) ((= i n)) (f i)))\n"


def threads(scheme):
    """Threads that allocate, each its own; their results."""
    scheme.prints(USUAL + """
(define (work seed) (let loop ((i 0) (l '())) (if (= i %d) (length (filter-odd l)) (loop (+ i 1) (cons (+ seed i) (if (= 0 (modulo i 1000)) '() l))))))
(define (filter-odd l) (let loop ((l l) (out '())) (if (null? l) out (loop (cdr l) (if (odd? (car l)) (cons (car l) out) out)))))
(define all (map (lambda (seed) (make-thread (lambda () (work seed)))) '(1 2 3 4)))
(for-each thread-start! all)
(display (map thread-join! all))
""" % (20000 * scheme.scale), "(500 500 500 500)", timeout=300)


def a_mutex_keeps_threads_apart(scheme):
    scheme.prints(USUAL + """
(define m (make-mutex))
(define n 0)
(define trail '())
(define all (map (lambda (name) (make-thread (lambda () (times 2000 (lambda (i)
  (mutex-lock! m)
  (let ((seen n)) (set! trail (cons name trail)) (set! n (+ seen 1)))
  (mutex-unlock! m)))))) '(a b c)))
(for-each thread-start! all)
(for-each thread-join! all)
(display (list n (length trail)))
""", "(6000 6000)", timeout=300)


def conditions_wake_threads(scheme):
    """A queue between two threads: everything arrives, in order."""
    scheme.prints(USUAL + """
(define m (make-mutex))
(define filled (make-condition-variable))
(define queue '())
(define (put! x) (mutex-lock! m) (set! queue (append queue (list x))) (condition-variable-signal! filled) (mutex-unlock! m))
(define (take!)
  (mutex-lock! m)
  (let loop ()
    (if (null? queue)
        (begin (mutex-unlock! m filled) (mutex-lock! m) (loop))
        (let ((x (car queue))) (set! queue (cdr queue)) (mutex-unlock! m) x))))
(define consumer (make-thread (lambda () (let loop ((i 0) (good 0)) (if (= i 1000) good (loop (+ i 1) (if (eqv? i (take!)) (+ good 1) good)))))))
(thread-start! consumer)
(times 1000 put!)
(display (thread-join! consumer))
""", "1000", timeout=300)


def threads_have_their_own_state(scheme):
    """Parameters, winders and handlers are a thread's own; an exception ends its thread alone."""
    scheme.prints(USUAL + """
(define p (make-parameter 1))
(define t (make-thread (lambda () (parameterize ((p 2)) (thread-sleep! 0.05) (p)))))
(thread-start! t)
(define here (p))
(define there (thread-join! t))
(define bad (make-thread (lambda () (guard (e ((string? e) 'no)) (raise 'boom)))))
(thread-start! bad)
(define ended (guard (e (#t 'raised)) (thread-join! bad)))
(define k-thread (make-thread (lambda () (call-with-current-continuation (lambda (k) (+ 1 (k 41)))))))
(thread-start! k-thread)
(display (list here there ended (thread-join! k-thread)))
""", "(1 2 raised 41)", timeout=300)


def threads_share_tables_and_symbols(scheme):
    """The table of symbols and a hash table under a mutex, from several threads."""
    scheme.prints(USUAL + """
(define m (make-mutex))
(define table (make-hash-table))
(define all (map (lambda (k) (make-thread (lambda () (times 500 (lambda (i)
  (let ((s (string->symbol (string-append "s" (number->string i)))))
    (mutex-lock! m) (hash-table-set! table s (+ 1 (hash-table-ref/default table s 0))) (mutex-unlock! m))))))) '(1 2 3)))
(for-each thread-start! all)
(for-each thread-join! all)
(display (list (length (hash-table->alist table)) (apply + (map cdr (hash-table->alist table)))))
""", "(500 1500)", timeout=300)


def weak_pairs(scheme):
    """A weak pair lets go of what nothing else holds, and of nothing else."""
    said = scheme.program(USUAL + """
(define kept (list 1 2))
(define pairs '())
(times 100 (lambda (i) (set! pairs (cons (weak-cons (list i) i) pairs))))
(define strong (weak-cons kept 'tail))
(times 5 (lambda (i) (gc)))
(define dead (let loop ((l pairs) (n 0)) (if (null? l) n (loop (cdr l) (if (weak-car (car l)) n (+ n 1))))))
(display (list (>= dead 90) (weak-car strong) (weak-cdr strong) (weak-pair? strong) (weak-pair? kept)))
""")
    check(said.out == "(#t (1 2) tail #t #f)", "weak pairs", said)


def weak_tables(scheme):
    """Entries go with their keys, or with their values."""
    said = scheme.program(USUAL + """
(define (name i) (string->symbol (string-append "n" (number->string i))))
(define by-key (make-weak-key-table))
(define by-value (make-weak-value-table))
(define kept (map (lambda (i) (list i)) '(1 2 3)))
(define values-kept (map (lambda (i) (vector i)) '(1 2 3)))
(for-each (lambda (k) (weak-table-set! by-key k (car k))) kept)
(for-each (lambda (v) (weak-table-set! by-value (name (vector-ref v 0)) v)) values-kept)
(times 1000 (lambda (i) (weak-table-set! by-key (list i) i) (weak-table-set! by-value (name (+ 100 i)) (vector i))))
(times 5 (lambda (i) (gc)))
(display (list (map (lambda (k) (weak-table-ref by-key k)) kept)
               (map (lambda (v) (eq? v (weak-table-ref by-value (name (vector-ref v 0))))) values-kept)
               (< (weak-table-count by-key) 100) (< (weak-table-count by-value) 100)
               (weak-table-ref by-key (list 1) 'none)))
""")
    check(said.out == "((1 2 3) (#t #t #t) #t #t none)", "weak tables", said)


def guardians(scheme):
    """A guardian returns what has died, once, whole; what lives it does not."""
    said = scheme.program(USUAL + """
(define g (make-guardian))
(define kept (list 'kept))
(g kept)
(times 100 (lambda (i) (g (list i (* i i)))))
(times 5 (lambda (i) (gc)))
(define dead (let loop ((l '())) (let ((x (g))) (if x (loop (cons x l)) l))))
(define whole (let loop ((l dead) (n 0)) (if (null? l) n (loop (cdr l) (if (= (cadr (car l)) (* (car (car l)) (car (car l)))) (+ n 1) n)))))
(display (list (>= (length dead) 90) (= whole (length dead)) (memq kept dead) kept (g)))
""")
    check(said.out == "(#t #t #f (kept) #f)", "guardians", said)


def collector_tells(scheme):
    """(gc-stats) has figures that grow; (heap-dump) writes a file that veil-heap reads."""
    dump = scheme.path("heap.dump")
    said = scheme.program("""
(define before (gc-stats))
(gc)
(define after (gc-stats))
(write (list (cdr (assq 'collector after)) (< (cdr (assq 'major-cycles before)) (cdr (assq 'major-cycles after)))))
(heap-dump "%s")
""" % dump)
    check(said.status == 0 and said.out == '("veil" #t)', "gc-stats", said)
    check(os.path.getsize(dump) > 10000, "the dump has %d bytes" % os.path.getsize(dump))
    said = scheme.run(stdin='(heap-dump "/no/such/folder/dump")\n\'went-on\n')
    check("went-on" in said.out and said.err.strip(), "a dump that cannot be written", said)


def figures_of_a_run(scheme):
    """--stats and SCHEME_STATS: one line of JSON, also where a program ends by (exit) or an error."""
    for ending in ("", "(exit 3)", "(car 1)"):
        path = scheme.path("stats")
        for how in (["--stats", path], []):
            scheme.run(*how, scheme.file("stats.scm", "(define x (make-vector 100000 0))\n" + ending), env={} if how else {"SCHEME_STATS": path})
            with open(path, encoding="utf-8") as file:
                seen = json.load(file)
            os.remove(path)
            check(seen["memory"] == "veil" and seen["peak_mib"] > 0.5 and seen["gap_max_us"] >= 0 and re.fullmatch(r"[a-z-]+", seen["back_end"]), "the figures of a run", seen)


ON_VEIL = [threads, a_mutex_keeps_threads_apart, conditions_wake_threads, threads_have_their_own_state, threads_share_tables_and_symbols, weak_pairs, weak_tables, guardians,
           collector_tells, figures_of_a_run]
