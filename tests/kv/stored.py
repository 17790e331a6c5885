# SPDX-License-Identifier: MIT
# stored.py: a server whose data are in a store: what was answered is there after kill -9, and nothing by halves.

import os
import random
import subprocess
import tempfile
import threading
import time

from behaviour import all_kinds, dataset, info_of, used
from client import ReplyError, Server, check, encode

STORE = ("--store", "kv.store")
WIDTH = 600  # keys that are set by one command: so long that instants of other threads would come between, if they could


def has_stores(binary):
    return not any(word in os.path.basename(binary) for word in ("malloc", "libgc"))


def complaint(binary, env, *words):
    run = subprocess.run([binary, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, env=dict(os.environ, **env), check=False)
    return run.returncode, run.stdout


def stored(binary, env):
    """Data of all kinds, killed, there again; and so on. Options and files that do not fit are refused."""
    if not has_stores(binary):
        status, said = complaint(binary, env, *STORE)
        check((status, "only kv on veil has stores" in said), (2, True), said)
        return
    for words in (("--save", "60 1"), ("--dbfilename", "x")):
        status, said = complaint(binary, env, *STORE, *words)
        check((status, "does not go together with --store" in said), (2, True), said)
    with tempfile.TemporaryDirectory(prefix="kv-data-") as data:
        wanted = None
        for at in range(4):
            server = Server(binary, "--threads", 2, *STORE, env=env, data=data)
            c = server.connect()
            if at == 0:
                all_kinds(c, int(os.environ.get("KV_TEST_SCALE", "4")))
            else:
                check(dataset(c), wanted, "start %d" % at)
                check(used(c) > 0, True, "used_memory")
            if at == 2:
                c("DEBUG", "COLLECT")
                check(dataset(c), wanted, "collected")
            c.pipeline([("RPUSH", "l1", at), ("HSET", "h1", "new", at), ("DEL", "s%d" % at), ("SET", "new%d" % at, "x" * 1500), ("ZINCRBY", "z1", 7, "m1")])
            wanted = dataset(c)
            check([c("SAVE"), c("BGSAVE"), abs(c("LASTSAVE") - time.time()) < 60], ["OK", "Background saving started", True], "saves")
            check([info_of(c, "rdb_changes_since_last_save"), int(info_of(c, "store_commits")) > 0], ["0", True], "INFO")
            if at == 0:
                status, said = complaint(binary, env, "--port", "0", "--unixsocket", os.path.join(data, "socket"), "--dir", data, *STORE)
                check((status, str(server.process.pid) in said), (1, True), "a second server: %r" % said)
            server.process.kill()
            server.process.wait()
        with Server(binary, *STORE, env=env, data=data) as server:
            check(dataset(server.connect()), wanted, "after all")
        os.remove(os.path.join(data, "kv.store.log"))  # once closed the other file is enough
        with Server(binary, *STORE, env=env, data=data) as server:
            c = server.connect()
            check(dataset(c), wanted, "without its log")
            c("FLUSHALL")
            c.send(b"SET last word\r\nSHUTDOWN NOSAVE\r\n")
            check([c.reply(), c.at_end()], ["OK", True], "SHUTDOWN NOSAVE")
        with Server(binary, *STORE, env=env, data=data) as server:
            check(dataset(server.connect()).keys(), {b"last"}, "after SHUTDOWN NOSAVE")
        with open(os.path.join(data, "kv.store"), "r+b") as file:
            file.write(b"x" * 9000)
        status, said = complaint(binary, env, "--port", "0", "--unixsocket", os.path.join(data, "socket"), "--dir", data, *STORE)
        check((status, "kv.store" in said), (1, True), "a damaged file: %r" % said)


def key(name, i):
    return "%s:%d" % (name, i)


class Writer(threading.Thread):
    """Writes numbers into many keys at once, and into a list, in pipelines, until the server is gone. What was answered is in `sure`, what was sent in `sent`."""

    def __init__(self, server, name, sure):
        super().__init__()
        self.connection, self.name_, self.sure, self.sent = server.connect(), name, sure, sure

    def run(self):
        chance = random.Random(self.name_)
        requests = [("MSET", *(word for i in range(WIDTH) for word in (key(self.name_, i), "########"))), ("RPUSH", "log" + self.name_, "########"), ("SMOVE", "here", "there", self.name_),
                    ("SMOVE", "there", "here", self.name_)]
        template = b"".join(encode(*r) for r in requests)  # the server should have more to do than this program
        try:
            while True:
                first, self.sent = self.sent + 1, self.sent + chance.randrange(1, 8)
                self.connection.send(b"".join(template.replace(b"########", b"%08d" % number) for number in range(first, self.sent + 1)))
                replies = [self.connection.reply() for _ in range(4 * (self.sent + 1 - first))]
                check([r for r in replies if isinstance(r, ReplyError)], [], "replies")
                self.sure = self.sent
        except (OSError, EOFError):
            pass


class Reader(threading.Thread):
    """Asks for what others write: what it was told may not be taken back."""

    def __init__(self, server, names):
        super().__init__()
        self.connection, self.names, self.seen = server.connect(), names, dict.fromkeys(names, 0)

    def run(self):
        try:
            while True:
                for name in self.names:
                    self.seen[name] = max(self.seen[name], int(self.connection("GET", key(name, 0)) or 0))
        except (OSError, EOFError):
            pass


def stored_and_killed(binary, env):
    """Writers and a reader, and kill -9 beside them: all that was answered is there, keys that are set at once agree, members that move are in one set, lists are whole."""
    if not has_stores(binary):
        return
    chance = random.Random(1)
    names = ["w0", "w1", "w2"]
    sure = dict.fromkeys(names, 0)
    with tempfile.TemporaryDirectory(prefix="kv-data-") as data:
        with Server(binary, "--threads", 3, *STORE, env=env, data=data) as server:
            server.connect()("SADD", "here", *names)
        for at in range(3 + int(os.environ.get("KV_TEST_SCALE", "4"))):
            server = Server(binary, "--threads", 3, *STORE, env=env, data=data)
            workers = [Writer(server, name, sure[name]) for name in names] + [Reader(server, names)]
            for worker in workers:
                worker.start()
            time.sleep(chance.uniform(0.05, 1))
            server.process.kill()
            server.process.wait()
            for worker in workers:
                worker.join()
            with Server(binary, "--threads", 2, *STORE, env=env, data=data) as server:
                c = server.connect()
                for i, name in enumerate(names):
                    values = c("MGET", *(key(name, n) for n in range(WIDTH)))
                    number, log = int(values[0] or 0), [int(n) for n in c("LRANGE", "log" + name, 0, -1)]
                    least = max(workers[i].sure, workers[-1].seen[name])
                    check((least <= number <= workers[i].sent), True, "%s, kill %d: %d, answered %d, sent %d" % (name, at, number, least, workers[i].sent))
                    check(set(values), {values[0]}, "the keys of %s, kill %d" % (name, at))
                    check(log, list(range(1, len(log) + 1)), "the list of %s, kill %d" % (name, at))
                    check(number - len(log) in (0, 1), True, "the list and the keys of %s, kill %d" % (name, at))
                    if len(log) < number:
                        c("RPUSH", "log" + name, "%08d" % number)
                    sure[name] = number
                check(sorted(c("SUNION", "here", "there")), sorted(n.encode() for n in names), "members that move")
                check(c("SCARD", "here") + c("SCARD", "there"), 3, "members that move are in one set")
                for name in names:
                    c("SMOVE", "there", "here", name)
        check(min(sure.values()) > 0, True, "that anything was written")


BY_THEMSELVES = [stored, stored_and_killed]
