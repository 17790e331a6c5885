#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""hostile.py: hostile clients against kv, while a client that behaves checks that its data stay right and its replies quick.

Several processes make attacks (attacks.py), each from a seed of its own that is printed if something is wrong; another one behaves. At the end the server must run, its
descriptors be closed, and its memory never have gone beyond a bound. Exit status: 0; 1 if something was wrong; 2 if the command line is wrong.
"""

import argparse
import multiprocessing
import os
import random
import resource
import sys
import threading
import time

import attacks
import resp


class Behaving:
    """A client that checks its own data; runs in a process of its own, so that other clients' work does not slow it down."""

    def __init__(self, address, dice, patience):
        self.address, self.dice, self.patience = address, dice, patience
        self.model, self.slowest, self.asked, self.times = {}, 0.0, 0, []

    def ask(self, c, *words):
        begun = time.monotonic()
        got = c.ask(*words)
        took = time.monotonic() - begun
        self.times.append(took)
        self.slowest = max(self.slowest, took)
        self.asked += 1
        if took > self.patience:
            raise AssertionError(f"{words[0]} took {took:.2f} s")
        return got

    def equal(self, words, got, expected):
        if got != expected:
            raise AssertionError(f"{words!r} was answered {got!r:.300}, not {expected!r:.300}")

    def step(self, c):
        key = f"good:{self.dice.randrange(50)}"
        kind = self.dice.randrange(5)
        if kind == 0:
            value = self.dice.randbytes(self.dice.choice([0, 10, 1000, 20000]))
            self.equal(("SET", key), self.ask(c, "SET", key, value), b"OK")
            self.model[key] = value
        elif kind == 1:
            self.equal(("GET", key), self.ask(c, "GET", key), self.model.get(key))
        elif kind == 2:
            count = self.model.get("good:counter", 0) + 1
            self.equal(("INCR",), self.ask(c, "INCR", "good:counter"), count)
            self.model["good:counter"] = count
        elif kind == 3:
            items = self.model.setdefault("good:list", [])
            items.append(b"%d" % len(items))
            self.equal(("RPUSH",), self.ask(c, "RPUSH", "good:list", items[-1]), len(items))
            self.equal(("LRANGE",), self.ask(c, "LRANGE", "good:list", "-10", "-1"), items[-10:])
        else:
            held = self.model.setdefault("good:hash", {})
            field = b"%d" % self.dice.randrange(100)
            self.equal(("HSET",), self.ask(c, "HSET", "good:hash", field, field * 3), int(field not in held))
            held[field] = field * 3
            self.equal(("HLEN",), self.ask(c, "HLEN", "good:hash"), len(held))

    def run(self, stop, report):
        try:
            with resp.Connection(self.address, self.patience + 10) as c:
                while not stop.is_set():
                    self.step(c)
                    time.sleep(0.001)
            wrong = None
        except (AssertionError, OSError, resp.Broken) as error:
            wrong = f"the client that behaves: {error!r}"
        times = sorted(self.times) or [0]
        report.put(("behaving", wrong, f"{self.asked} requests of a client that behaves, 99 % within {times[len(times) * 99 // 100] * 1e3:.1f} ms, "
                                       f"all within {self.slowest * 1e3:.1f} ms"))


def attacker(address, known, seed, only, once, stop, report):
    """Attacks one after the other, each from a seed that follows from the first."""
    counts, wrong = {}, None
    while not stop.is_set() and wrong is None:
        dice = attacks.dice_of(seed)
        attack = only or attacks.attack_choose(dice)
        try:
            wrong = attack(dice, address(dice), known)
        except (OSError, resp.Broken) as error:
            wrong = f"{error!r}"
        if wrong:
            wrong = f"{attack.__name__}, --seed {seed} --once{' --attack ' + attack.__name__ if only else ''}: {wrong}"
        counts[attack.__name__] = counts.get(attack.__name__, 0) + 1
        seed += 1
        if once:
            break
    report.put(("attacker", wrong, counts))


class Watcher(threading.Thread):
    """Looks at the server's memory, and whether it lives."""

    def __init__(self, server, most_mib):
        super().__init__(daemon=True)
        self.server, self.most_mib, self.peak, self.wrong = server, most_mib, 0.0, None
        self.stop = threading.Event()

    def run(self):
        while not self.stop.wait(0.25) and self.wrong is None:
            self.wrong = self.server.ended()
            if self.wrong is None:
                try:
                    self.peak = max(self.peak, self.server.held_mib())
                except OSError:
                    continue
                if self.peak > self.most_mib:
                    self.wrong = f"the server holds {self.peak:.0f} MiB, more than --memory {self.most_mib:g}"


def settled_descriptors(server, before):
    """How many descriptors are open once the connections that ended are gone."""
    limit = time.monotonic() + 10
    while server.descriptors() > before + 1 and time.monotonic() < limit:
        time.sleep(0.05)
    return server.descriptors()


def used_mib(c):
    """What the server says that its data take."""
    return next(int(line.split(b":")[1]) for line in c.ask("INFO").splitlines() if line.startswith(b"used_memory:")) / (1 << 20)


def left_behind(server, watcher, before, used_before):
    """What is wrong when all clients have gone, as lines."""
    problems = []
    after = settled_descriptors(server, before)
    if after > before + 1:
        problems.append(f"{before} descriptors were open before, {after} afterwards")
    with resp.Connection(server.path) as c:
        held = server.held_mib()
        c.ask("FLUSHALL")
        keys, used = c.ask("DBSIZE"), used_mib(c)
        print(f"memory: {watcher.peak:.0f} MiB at most, {held:.0f} at the end; descriptors {before} before, {after} afterwards")
        if keys != 0 or not 0 <= used <= used_before + 16:
            problems.append(f"after FLUSHALL there are {keys} keys, and used_memory is {used:.1f} MiB; it was {used_before:.1f} before")
    return problems


def options_read():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0], allow_abbrev=False)
    add = parser.add_argument
    add("server", nargs="+", help="kv and its options, after --")
    add("--seconds", type=float, default=10)
    add("--seed", type=int, default=None)
    add("--attackers", type=int, default=3)
    add("--attack", choices=[a.__name__ for a in attacks.ALL], default=None, help="only this one")
    add("--once", action="store_true", help="one attack, from --seed")
    add("--memory", type=float, default=700, help="MiB that the server may hold")
    add("--patience", type=float, default=2, help="seconds that a reply to the client that behaves may take")
    return parser.parse_args()


def run(options, seed):
    """What was wrong, as lines."""
    problems = []
    with resp.Server(options.server) as server:
        with resp.Connection(server.path) as c:
            known = {entry[0].decode().lower() for entry in c.ask("COMMAND") if isinstance(entry, list)}
            used_before = used_mib(c)
        address = lambda dice: server.path if dice.random() < 0.5 else server.tcp
        before = server.descriptors()
        watcher = Watcher(server, options.memory)
        watcher.start()
        stop, report = multiprocessing.Event(), multiprocessing.Queue()
        behaving = Behaving(server.path, random.Random(seed), options.patience)
        only = next((a for a in attacks.ALL if a.__name__ == options.attack), None)
        count = 1 if options.once else options.attackers
        # Far apart, so that no two make the same attack.
        processes = [multiprocessing.Process(target=attacker, args=(address, known, seed + (i << 32), only, options.once, stop, report)) for i in range(count)]
        processes.append(multiprocessing.Process(target=behaving.run, args=(stop, report)))
        for process in processes:
            process.start()
        limit, said = time.monotonic() + options.seconds, []
        while time.monotonic() < limit and watcher.wrong is None and not said:
            time.sleep(0.1)
            while not report.empty():
                said.append(report.get())
        stop.set()
        while len(said) < len(processes):
            said.append(report.get(timeout=60))
        for process in processes:
            process.join()
        watcher.stop.set()
        watcher.join()
        counts = {}
        for who, wrong, what in said:
            problems += [wrong] if wrong else []
            if who == "behaving":
                print(what)
            else:
                for name, n in what.items():
                    counts[name] = counts.get(name, 0) + n
        problems += [watcher.wrong] if watcher.wrong else []
        print("attacks: " + ", ".join(f"{name} {n}" for name, n in sorted(counts.items())))
        if server.ended() is None:
            try:
                problems += left_behind(server, watcher, before, used_before)
            except (OSError, resp.Broken) as error:
                problems.append(f"at the end: {error!r}")
        elif watcher.wrong is None:
            problems.append(server.ended())
    return problems


def main():
    options = options_read()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard < 65536 and hard != resource.RLIM_INFINITY else 65536, hard))
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed} (--seed {seed} does it again)", flush=True)
    problems = run(options, seed)
    for line in problems:
        print("WRONG: " + line)
    return 1 if problems else 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sys.exit(main())
