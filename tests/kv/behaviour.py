# SPDX-License-Identifier: MIT
# behaviour.py: what a server does beyond single commands: pieces of requests, bad clients, time, memory, many clients at once, the end.

import os
import random
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time

import commands
from client import Connection, ReplyError, Server, check, encode

OOM = ReplyError("OOM command not allowed when used memory > 'maxmemory'.")


def used(c):
    return int(re.search(r"used_memory:(\d+)", c("INFO", "memory").decode())[1])


def command_results(server):
    c = server.connect()
    empty = used(c)
    for part in commands.ALL:
        part(c)
        kinds = [c("TYPE", k) for k in c("KEYS", "*")]
        for key in c("KEYS", "*"):  # by type, one by one: each takes with it what it brought
            c("RENAME", key, "x")
            c("LPUSH", "x", "a")
            c("SADD", "x", "a")
            c("HSET", "x", "a", 1)
            c("ZADD", "x", 1, "a")
            c("EXPIRE", "x", 1000)
            c("PERSIST", "x")
            c("DEL", "x")
        check(used(c), empty, "bytes used after %s, and %s" % (part.__name__, kinds[:9]))


def requests_in_pieces(server):
    """A pipeline is cut in two at every byte, and sent byte by byte."""
    requests = [("SET", "a", "hello"), ("GET", "a"), ("RPUSH", "l", *range(8)), ("LRANGE", "l", 0, -1), ("DEL", "l"), ("NONE",), ("SET", "b", "x" * 60), ("GET", "b")]
    data = b"".join(encode(*r) for r in requests[:3]) + b"GET  a\r\nECHO \"a\\x41 b\" \n" + b"".join(encode(*r) for r in requests[3:]) + b"\r\n*0\r\n*-1\r\nPING\r\n"
    wanted = ["OK", b"hello", 8, b"hello", ReplyError("ERR wrong number of arguments for 'echo' command"), [b"%d" % i for i in range(8)], 1,
              ReplyError("ERR unknown command 'NONE', with args beginning with: "), "OK", b"x" * 60, "PONG"]
    data = data.replace(b"ECHO \"a\\x41 b\" \n", b"ECHO \"a\\x41 b\"\n")
    wanted[4] = b"aA b"
    c = server.connect()
    for cut in range(len(data) + 1):
        c.send_alone(data[:cut])
        c.send(data[cut:])
        check([c.reply() for _ in wanted], wanted, "cut at %d" % cut)
    for i in range(len(data)):
        c.send_alone(data[i:i + 1])
    check([c.reply() for _ in wanted], wanted, "byte by byte")
    big = os.urandom(300000)
    whole = encode("SET", "big", big) + encode("GET", "big")
    for size in (1000, 65535, 65536, 65537, 200000):
        for at in range(0, len(whole), size):
            c.send_alone(whole[at:at + size])
        check([c.reply(), c.reply()], ["OK", big], "pieces of %d" % size)
    count = 200000
    check(c("RPUSH", "many", *range(count)), count, "many arguments")
    check(c("LRANGE", "many", 0, -1), [b"%d" % i for i in range(count)], "a long reply")
    c("DEL", "many", "big")


def protocol_errors(server):
    long = b"x" * 70000
    for bad, wanted in [
        (b"*1\r\n:1\r\n", "expected '$', got ':'"), (b"*x\r\n", "invalid multibulk length"), (b"*99999999\r\n", "invalid multibulk length"), (b"*1\r\n$x\r\n", "invalid bulk length"),
        (b"*1\r\n$-5\r\n", "invalid bulk length"), (b"*1\r\n$999999999999\r\n", "invalid bulk length"), (b"*2\r\n$600000000\r\n", "invalid bulk length"), (long, "too big inline request"),
        (b"GET \"a\r\n", "unbalanced quotes in request"), (b"GET \"a\"b\r\n", "unbalanced quotes in request"), (b"*" + long, "too big mbulk count string"), (b"*1\r\n$" + long, "too big bulk count string"),
    ]:
        c = server.connect()
        c.send(encode("PING") + bad)
        check([c.reply(), c.reply()], ["PONG", ReplyError("ERR Protocol error: " + wanted)], repr(bad[:30]))
        check(c.at_end(), True, "closed after %r" % bad[:30])
        c.close()
    # What is declared is not allocated: a thousand clients that promise half a GiB each.
    clients = [server.connect() for _ in range(300)]
    for c in clients:
        c.send(b"*2\r\n$3\r\nGET\r\n$536870912\r\nabc")
    c = server.connect()
    check(c("PING"), "PONG")
    rss = int(re.search(r"used_memory_rss:(\d+)", c("INFO", "memory").decode())[1])
    if rss > 1 << 30:
        raise AssertionError("%d bytes for promises" % rss)
    for each in clients:
        each.close()


def vanishing_clients(server):
    c = server.connect()
    c("SET", "big", b"b" * 500000)
    for i in range(200):
        v = server.connect()
        v.send(encode("GET", "big") * random.randrange(1, 5) + encode("SET", "x", "y")[:random.randrange(1, 20)])
        if i % 3 == 0:
            v.socket.recv(1000)
        v.close()
    half = server.connect()
    half.send(encode("GET", "big") * 20)
    half.socket.shutdown(socket.SHUT_WR)
    check([half.reply() for _ in range(20)], [b"b" * 500000] * 20, "replies after a half close")
    check(half.at_end(), True, "then it is closed")
    check(c("QUIT"), "OK")
    check(c.at_end(), True, "QUIT")
    killer, victim = server.connect(), server.connect()
    name = victim("CLIENT", "ID")
    check(killer("CLIENT", "KILL", "ID", name), 1, "CLIENT KILL")
    check(victim.at_end(), True, "killed")


def slow_readers(server):
    """A client that does not read is not read from either, and goes when too much waits for it. Others notice nothing."""
    c = server.connect()
    c("SET", "big", b"b" * 1000000)
    slow = server.connect()
    slow.socket.setblocking(False)
    request, sent = encode("GET", "big"), 0
    try:
        for _ in range(100000):
            sent += slow.socket.send(request * 100)
    except BlockingIOError:
        pass
    began = time.time()
    check(c("PING"), "PONG")
    if time.time() - began > 5:
        raise AssertionError("a slow reader holds others up")
    rss = int(re.search(r"used_memory_rss:(\d+)", c("INFO", "memory").decode())[1])
    if rss > 400 << 20:
        raise AssertionError("%d bytes for a slow reader" % rss)
    slow.socket.setblocking(True)
    for _ in range(30):
        check(slow.reply(), b"b" * 1000000, "what it asked for")
    slow.close()
    c("CONFIG", "SET", "output-limit", 2000000)
    greedy = server.connect()
    greedy.send(encode("MGET", *["big"] * 50))
    time.sleep(0.3)
    try:
        greedy.exactly(50 * 1000000)
        raise AssertionError("the output limit does nothing")
    except (EOFError, ConnectionResetError):
        pass
    c("CONFIG", "SET", "output-limit", "256mb")


def expiry(server):
    c = server.connect()
    c("FLUSHALL")
    check(c.pipeline([("SET", "soon", "v", "PX", 500), ("GET", "soon"), ("RPUSH", "l", 1), ("PEXPIRE", "l", 500)]), ["OK", b"v", 1, 1])
    c.pipeline([("SET", "t%d" % i, "v", "PX", 150 + i % 100) for i in range(5000)] + [("SET", "p%d" % i, "v") for i in range(1000)])
    time.sleep(0.6)
    check([c("GET", "soon"), c("TTL", "soon"), c("EXISTS", "l"), c("LLEN", "l"), c("TYPE", "l")], [None, -2, 0, 0, "none"], "expired when it is looked for")
    check(c("SET", "soon", "w", "NX"), "OK", "and then it is new")
    deadline = time.time() + 20
    while c("DBSIZE") != 1001:
        if time.time() > deadline:
            raise AssertionError("%d keys are left: nobody looks for what has expired" % c("DBSIZE"))
        time.sleep(0.05)
    check(len(c("KEYS", "p*")), 1000, "others stay")
    if int(re.search(r"expired_keys:(\d+)", c("INFO", "stats").decode())[1]) < 5002:
        raise AssertionError("expired_keys")


def scan_guarantee(server):
    """What is there all the while is reported exactly once, while the table grows and shrinks a hundredfold."""
    c, other = server.connect(), server.connect()
    c("FLUSHALL")
    stay = {b"stay%d" % i for i in range(1500)}
    c.pipeline([("SET", k, "v") for k in stay])
    c.pipeline([("SADD", "set", k) for k in stay])
    for command in (("SCAN",), ("SSCAN", "set")):
        cursor, seen, step = b"0", [], 0
        while True:
            cursor, part = c(*command, cursor, "COUNT", 40)
            seen += [k for k in part if k in stay]
            step += 1
            base = step // 20 * 2000
            if command == ("SCAN",):
                grow, shrink = [("SET", "x%d" % (base + i), "v") for i in range(1500)], [("DEL", *["x%d" % (base + i) for i in range(1500)])]
            else:
                grow, shrink = [("SADD", "set", *["x%d" % (base + i) for i in range(1500)])], [("SREM", "set", *["x%d" % (base + i) for i in range(1500)])]
            if step % 20 == 5:
                other.pipeline(grow)
            if step % 20 == 15:
                other.pipeline(shrink)
            if cursor == b"0":
                break
        check(sorted(seen), sorted(stay), "%s reports each once" % command[0])


def memory_limit(server):
    c = server.connect()
    text = b"x" * 900

    def fill(count, extra=()):
        return c.pipeline([("SET", "k%d" % i, text, *extra) for i in range(count)])

    c("FLUSHALL")
    empty = used(c)
    fill(1000)
    c("RPUSH", "l", *[text] * 100)
    c("HSET", "h", *[text] * 2)
    c("ZADD", "z", 1, "a", 2, "b")
    c("SADD", "s", "a")
    c("RENAME", "l", "m")
    c("LPOP", "m")
    c("EXPIRE", "h", 100)
    c("APPEND", "k1", b"y" * 5000)
    if not 1000 * 900 < used(c) - empty < 1000 * 1400:
        raise AssertionError("used_memory %d" % (used(c) - empty))
    c("DEL", "m", "h", "z", "s", *["k%d" % i for i in range(1000)])
    check(used(c) - empty, 0, "bytes used when all is deleted")
    fill(500)
    c("RPUSH", "l", *[text] * 100)
    c("FLUSHALL")
    check(used(c) - empty, 0, "bytes used after FLUSHALL")

    limit = 2 << 20
    c("CONFIG", "SET", "maxmemory", limit)
    replies = fill(4000)
    if replies.count(OOM) < 1000 or replies.count("OK") < 1000:
        raise AssertionError("noeviction: %d of 4000" % replies.count(OOM))
    check([c("LPUSH", "new", text), c("GET", "k0"), c("STRLEN", "k1"), c("DEL", "k0", "k1", "k2"), c("LPUSH", "new", text)], [OOM, text, 900, 3, 1], "reading and deleting go on")
    for policy in ("allkeys-random", "allkeys-lru", "volatile-ttl"):
        c("FLUSHALL")
        c("CONFIG", "SET", "maxmemory-policy", policy)
        extra = ("EX", 1000) if policy == "volatile-ttl" else ()
        check(fill(6000, extra).count("OK"), 6000, policy)
        if used(c) > limit + 100000:
            raise AssertionError("%s: %d bytes" % (policy, used(c)))
        if int(re.search(r"evicted_keys:(\d+)", c("INFO", "stats").decode())[1]) < 3000:
            raise AssertionError(policy + ": evicted_keys")
    # Sampled LRU: what is used again and again stays, mostly.
    c("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    c("FLUSHALL")
    hot = ["hot%d" % i for i in range(100)]
    c.pipeline([("SET", k, text) for k in hot])
    for round_ in range(12):
        c.pipeline([("SET", "c%d-%d" % (round_, i), text) for i in range(500)])
        time.sleep(0.11)
        c.pipeline([("GET", k) for k in hot])
    kept = c("EXISTS", *hot)
    if kept < 80:
        raise AssertionError("LRU kept %d of 100 that were in use" % kept)
    # The nearest end goes first; what has none stays.
    c("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
    c("FLUSHALL")
    c.pipeline([("SET", "p%d" % i, text) for i in range(200)])
    c.pipeline([("SET", "late%d" % i, text, "EX", 100000) for i in range(500)])
    for round_ in range(10):
        c.pipeline([("SET", "early%d-%d" % (round_, i), text, "EX", 100) for i in range(300)])
    check(c("EXISTS", *["p%d" % i for i in range(200)]), 200, "volatile-ttl leaves what has no time")
    late = c("EXISTS", *["late%d" % i for i in range(500)])
    if late < 400:
        raise AssertionError("volatile-ttl kept %d of 500 late ones" % late)
    c("FLUSHALL")
    replies = fill(4000)
    if OOM not in replies:
        raise AssertionError("volatile-ttl without times is to end in OOM")
    c("CONFIG", "SET", "maxmemory", 0)
    c("CONFIG", "SET", "maxmemory-policy", "noeviction")
    c("FLUSHALL")


def thousand_connections(server):
    clients = [server.connect() for _ in range(1000)]
    for i, c in enumerate(clients):
        c.send(encode("SET", "c%d" % i, i) + encode("INCR", "all") + encode("GET", "c%d" % i))
    for i, c in enumerate(clients):
        check(c.reply(), "OK")
        c.reply()
        check(c.reply(), b"%d" % i)
    check(clients[0]("GET", "all"), b"1000")
    check(len(clients[0]("CLIENT", "LIST").splitlines()) >= 1000, True, "CLIENT LIST")
    for c in clients:
        c.close()


def in_threads(count, run):
    failures = []

    def guarded(i):
        try:
            run(i)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise failures[0]


def together(server):
    """Several clients at once: nothing is lost, nothing comes twice."""
    scale = int(os.environ.get("KV_TEST_SCALE", "4"))
    rounds, batch = 10 * scale, 50
    c = server.connect()
    c("FLUSHALL")

    def count(i):
        mine = server.connect()
        for r in range(rounds):
            mine.pipeline([("INCR", "n")] * batch + [("HINCRBY", "h", "f", 1), ("ZINCRBY", "z", 1, "m"), ("APPEND", "text", "x"), ("SADD", "set", "%d-%d" % (i, r)),
                                                     ("RENAME", "a%d" % i, "b%d" % (i % 2)), ("MSET", "p", r, "q", r), ("SET", "big", b"%d" % i * 20000)])
            p, q = mine("MGET", "p", "q")
            check(p, q, "MSET and MGET are atomic")
            big = mine("GET", "big")
            check(big, big[:1] * 20000, "a long text is whole")

    in_threads(4, count)
    check([int(c("GET", "n")), int(c("HGET", "h", "f")), int(c("ZSCORE", "z", "m")), c("STRLEN", "text"), c("SCARD", "set")],
          [4 * rounds * batch] + [4 * rounds] * 4, "sums")

    taken = [[] for _ in range(2)]
    done = threading.Event()
    each = 500 * scale

    def queue(i):
        mine = server.connect()
        if i < 2:
            for at in range(0, each, 25):
                mine.pipeline([("LPUSH", "queue", "%d-%d" % (i, at + k)) for k in range(25)])
            return
        while not done.is_set() or mine("LLEN", "queue"):
            taken[i - 2].extend(w for w in mine.pipeline([("RPOP", "queue")] * 20) if w is not None)

    def producers():
        in_threads(2, queue)
        done.set()

    makers = threading.Thread(target=producers)
    makers.start()
    in_threads(2, lambda i: queue(i + 2))
    makers.join()
    check(sorted(taken[0] + taken[1]), sorted(b"%d-%d" % (i, k) for i in range(2) for k in range(each)), "the queue")
    for mine in taken:
        for i in range(2):
            order = [int(w.split(b"-")[1]) for w in mine if w.startswith(b"%d-" % i)]
            check(order, sorted(order), "the queue's order")


def churn(server):
    """Data of all kinds grows, is replaced, goes; under a collector this is work. Checked against a model."""
    c = server.connect()
    c("FLUSHALL")
    scale = int(os.environ.get("KV_TEST_SCALE", "4"))
    random.seed(1)
    model = {}
    for round_ in range(10 * scale):
        batch, wanted = [], []
        for _ in range(300):
            i = random.randrange(3000)
            key = "c%d" % i
            size = random.choice((1, 10, 40, 200, 1500, 20000 if i % 100 == 0 else 30))
            text = (b"%d-%d," % (i, round_) * (size // 3 + 1))[:size]
            what = random.randrange(5)
            if what < 3:
                batch.append(("SET", key, text))
                wanted.append("OK")
                model[key] = text
            elif what == 3:
                batch.append(("GET", key))
                wanted.append(model.get(key))
            else:
                batch.append(("DEL", key))
                wanted.append(1 if model.pop(key, None) is not None else 0)
        check(c.pipeline(batch), wanted, "churn")
    check(c("DBSIZE"), len(model), "DBSIZE")
    for key, text in model.items():
        check(c("GET", key), text, key)
    if "torture=" in server.environment.get("VEIL_OPTIONS", ""):
        cycles = int(re.search(r"collector_cycles:(\d+)", c("INFO", "collector").decode())[1])
        if cycles < 10:
            raise AssertionError("%d cycles are no torture" % cycles)


def the_end(binary, env):
    """SIGTERM, SIGINT and SHUTDOWN end it with status 0, when what has come is answered; a second signal ends it at once."""
    for how in (signal.SIGTERM, signal.SIGINT, None):
        server = Server(binary, "--threads", 3, env=env)
        c = server.connect()
        c.pipeline([("SET", "k%d" % i, "v" * 100) for i in range(2000)] + [("RPUSH", "l%d" % (i % 10), i) for i in range(2000)])
        idle = server.connect()
        idle("PING")
        late = server.connect()
        late("PING")
        late.send(encode("GET", "k1") * 100)
        if how is None:
            c.send(encode("SHUTDOWN"))
            check(c.at_end(), True, "SHUTDOWN")
        server.end(how)
        check([late.reply() for _ in range(100)], [b"v" * 100] * 100, "answered to the end")
        check([idle.at_end(), os.path.exists(server.path)], [True, False], "closed")


def info_of(c, name):
    return re.search(r"^%s:(.*?)\r?$" % name, c("INFO").decode(), re.M)[1]


def dataset(c):
    """All that a server holds, and when it expires."""
    read = {"string": ["GET"], "list": ["LRANGE", 0, -1], "hash": ["HGETALL"], "set": ["SMEMBERS"], "zset": ["ZRANGE", 0, -1, "WITHSCORES"]}
    held = {}
    for key in sorted(c("KEYS", "*")):
        kind = c("TYPE", key)
        words = read[kind]
        value = c(words[0], key, *words[1:])
        value = sorted(value) if kind == "set" else sorted(zip(value[::2], value[1::2])) if kind == "hash" else value
        held[key] = (kind, value, c("PEXPIRETIME", key))
    return held


def all_kinds(c, scale):
    c.pipeline([("SET", "s%d" % i, "v%d" % i * (i % 40 + 1)) for i in range(500 * scale)] + [("SET", "long%d" % i, b"%d" % i * 3000) for i in range(40)])
    c.pipeline([("RPUSH", "l%d" % (i % 7), "e%d" % i * (i % 30)) for i in range(500 * scale)] + [("HSET", "h%d" % (i % 7), "f%d" % i, i) for i in range(500 * scale)])
    c.pipeline([("SADD", "e%d" % (i % 7), "m%d" % i) for i in range(500 * scale)] + [("ZADD", "z%d" % (i % 7), i * 37 % 1000 / 4, "m%d" % i) for i in range(500 * scale)])
    c.pipeline([("PEXPIREAT", "s%d" % i, 4000000000000 + i) for i in range(0, 500 * scale, 3)])


def persistence(binary, env):
    """What was saved is there again after a restart, the last kill -9 included; saves run beside writers; files that are none are refused."""
    scale = int(os.environ.get("KV_TEST_SCALE", "4"))
    with tempfile.TemporaryDirectory(prefix="kv-data-") as data:
        server = Server(binary, "--threads", 2, env=env, data=data)
        c = server.connect()
        if "malloc" in info_of(c, "kv_memory") or "libgc" in info_of(c, "kv_memory"):
            check(c("BGSAVE"), ReplyError("ERR kv on %s cannot save its data" % info_of(c, "kv_memory")), "BGSAVE")
            server.end()
            return
        all_kinds(c, scale)
        check(c("BGSAVE", "nonsense"), ReplyError("ERR syntax error"), "BGSAVE nonsense")
        check(c("SAVE"), "OK", "SAVE")
        check([info_of(c, "rdb_changes_since_last_save"), info_of(c, "rdb_last_bgsave_status")], ["0", "ok"], "INFO")
        wanted = dataset(c)
        c("SET", "after", "is lost")
        server.process.kill()
        server.process.wait()
        for at in range(3):  # restored, changed, saved as an increment, killed; and again
            server = Server(binary, "--threads", 2, env=env, data=data)
            c = server.connect()
            check(dataset(c), wanted, "restart %d" % at)
            before = used(c)
            check(before > 0, True, "used_memory")
            if at == 1:
                c("DEBUG", "COLLECT")
                check(dataset(c), wanted, "collected")
            c.pipeline([("RPUSH", "l1", at), ("HSET", "h1", "new", at), ("DEL", "s%d" % at), ("SET", "new%d" % at, "x" * 1500), ("ZINCRBY", "z1", 7, "m1")])
            wanted = dataset(c)
            check(c("BGSAVE"), "Background saving started", "BGSAVE")
            deadline = time.time() + 60
            while info_of(c, "rdb_bgsave_in_progress") != "0" and time.time() < deadline:
                time.sleep(0.02)
            c("SET", "after", "is lost")
            server.process.kill()
            server.process.wait()
        saved_beside_writers(binary, env, data, scale)
        with open(os.path.join(data, "kv.veil"), "r+b") as file:
            file.write(b"x" * 9000)
        run = subprocess.run([binary, "--port", "0", "--unixsocket", os.path.join(data, "socket"), "--dir", data], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             timeout=60, env=dict(os.environ, **env), check=False)
        check((run.returncode, "kv.veil" in run.stdout), (1, True), "a damaged file: %r" % run.stdout)


def saved_beside_writers(binary, env, data, scale):
    """Saves by time while clients write pairs that belong together: each file has both of a pair or neither, and counters that only grow."""
    server = Server(binary, "--threads", 3, "--save", "1 1", env=env, data=data)
    c = server.connect()
    c("FLUSHALL")
    ending, failed = threading.Event(), []

    def write(i):
        mine = server.connect()
        number = 0
        while not ending.is_set():
            number += 1
            try:
                mine.pipeline([("MSET", "{p}a%d" % i, number, "{p}b%d" % i, number), ("SMOVE", "here", "there", "m%d" % i), ("SMOVE", "there", "here", "m%d" % i), ("RPUSH", "log%d" % i, number),
                               ("RENAME", "log%d" % i, "log%d" % i)])
            except (OSError, ReplyError) as error:
                failed.append(error)

    c.pipeline([("SADD", "here", "m%d" % i) for i in range(3)])
    writers = [threading.Thread(target=write, args=(i,)) for i in range(3)]
    for one in writers:
        one.start()
    deadline, versions = time.time() + 60, 0
    while versions < 2 + scale // 2 and time.time() < deadline:
        time.sleep(0.1)
        versions = int(info_of(c, "save_version"))
    check(versions >= 2, True, "saves by time")
    ending.set()
    for one in writers:
        one.join()
    check(failed, [], "writers")
    server.process.kill()
    server.process.wait()
    server = Server(binary, "--threads", 2, env=env, data=data)
    c = server.connect()
    for i in range(3):
        check(c("GET", "{p}a%d" % i), c("GET", "{p}b%d" % i), "a pair")
        log = [int(n) for n in c("LRANGE", "log%d" % i, 0, -1)]
        check(log, list(range(1, len(log) + 1)), "a list that grows")
        check(abs(int(c("GET", "{p}a%d" % i)) - len(log)) <= 1, True, "the list and the counter")
    check(sorted(c("SUNION", "here", "there")), [b"m0", b"m1", b"m2"], "members that move")
    check(c("SCARD", "here") + c("SCARD", "there"), 3, "members that move are in one set")
    c("SET", "last", "word")
    c.send(encode("SHUTDOWN", "SAVE"))
    check(c.at_end(), True, "SHUTDOWN SAVE")
    server.end(None)
    with Server(binary, env=env, data=data) as server:
        check(server.connect()("GET", "last"), b"word", "SHUTDOWN SAVE")


def wrong_arguments(binary, env):
    for words, wanted in [(["--nosuch"], "--nosuch"), (["--port"], "--port"), (["--port", "x"], "--port x"), (["--threads", "0"], "--threads 0"), (["--maxmemory", "12q"], "--maxmemory 12q"),
                          (["--maxmemory-policy", "best"], "--maxmemory-policy best"), (["--maxclients", "99999999"], "--maxclients"), (["--heap-options", "nosuch=1"], "--heap-options"), (["--save", "60"], "--save 60"), (["--dbfilename", "a/b"], "--dbfilename a/b")]:
        run = subprocess.run([binary, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, env=dict(os.environ, **env))
        if run.returncode != 2 or wanted not in run.stderr:
            raise AssertionError("%s: status %d, %r" % (words, run.returncode, run.stderr))
    for word in ("--help", "--version"):
        run = subprocess.run([binary, word], stdout=subprocess.PIPE, text=True, timeout=60, env=dict(os.environ, **env))
        check((run.returncode, bool(run.stdout)), (0, True), word)
    with Server(binary, "--maxclients", 5, env=env) as server:
        first, deadline = server.connect(), time.time() + 20
        while b"connected_clients:1\r" not in first("INFO", "clients") and time.time() < deadline:
            time.sleep(0.01)  # the one that looked whether the server was there
        clients = [first] + [server.connect() for _ in range(4)]
        for c in clients:
            check(c("PING"), "PONG")
        check(server.connect().reply(), ReplyError("ERR max number of clients reached"), "maxclients")
    with Server(binary, "--timeout", 1, env=env) as server:
        check(server.connect().at_end(), True, "--timeout")


def few_files(binary, env):
    """When files run out, those that are connected are served, others wait, and the server does not spin."""
    import resource
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    server = Server(binary, "--threads", 1, "--maxclients", 10, env=env)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (30, hard))
    clients, more = [], True
    while more and len(clients) < 40:
        try:
            c = server.connect(0.5)
            check(c("PING") in ("PONG", ReplyError("ERR max number of clients reached")), True, "PING")
            clients.append(c)
        except (socket.timeout, TimeoutError):
            more = False
            waiting = c
        if len(clients) == 9:
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (3, hard))
    check(more, False, "files run out")
    ticks = sum(map(int, open("/proc/%d/stat" % server.process.pid).read().rsplit(")", 1)[1].split()[11:13]))
    time.sleep(1)
    spent = sum(map(int, open("/proc/%d/stat" % server.process.pid).read().rsplit(")", 1)[1].split()[11:13])) - ticks
    if spent > 30:
        raise AssertionError("it spins: %d ticks in a second" % spent)
    check(clients[0]("PING"), "PONG")
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (100, hard))
    waiting.socket.settimeout(20)
    check(waiting.reply(), "PONG", "those that wait are taken later")
    server.end()


def out_of_memory(binary, env):
    """veil's own limit: the reply is an error, what was there is there, and room that is made can be used."""
    name = os.path.basename(binary)
    options = [] if "malloc" in name or "libgc" in name else ["--heap-options", "limit=48m"]
    if not options:
        return
    with Server(binary, "--threads", 2, *options, env=env) as server:
        c = server.connect()
        text = b"x" * 1000
        kept = {}
        refused = 0
        for i in range(60000):
            reply = c("SET", "k%d" % i, b"%d" % i + text)
            if reply == "OK":
                kept["k%d" % i] = b"%d" % i + text
            else:
                check(reply, OOM)
                refused += 1
                if refused == 20:
                    break
        check(refused, 20, "it runs out")
        for i, (key, wanted) in enumerate(kept.items()):
            if i % 50 == 0:
                check(c("GET", key), wanted, key)
        keys = list(kept)
        for i in range(0, len(keys) // 2, 50):
            c("DEL", *keys[i:i + 50])
        c("DEBUG", "COLLECT")
        check(c.pipeline([("SET", "again%d" % i, text) for i in range(100)]), ["OK"] * 100, "there is room again")


ON_ONE_SERVER = [command_results, requests_in_pieces, protocol_errors, vanishing_clients, slow_readers, expiry, scan_guarantee, memory_limit, thousand_connections, together, churn]
BY_THEMSELVES = [the_end, persistence, wrong_arguments, few_files, out_of_memory]
