# SPDX-License-Identifier: MIT
"""attacks.py: what clients of bad will, or bad luck, do to a server. Each attack is a function (dice, address, known) that returns None or what was wrong.

A server may answer nonsense by an error, by hanging up, or by waiting for more; it may not answer what is no error, and must go on answering others.
"""

import random
import select
import socket
import struct
import time

import grammar
import resp

NUMBERS = [b"-1", b"-2", b"0", b"1", b"2", b"3", b"1000", b"65536", b"1048577", b"536870912", b"536870913", b"2147483647", b"2147483648", b"4294967296",
           b"-2147483648", b"9223372036854775807", b"9223372036854775808", b"-9223372036854775808", b"99999999999999999999999", b"", b" 1", b"1 ", b"+1",
           b"0x1", b"1.0", b"a", b"\0", b"--1", b"1" * 300]
# Requests that no client sends. tests/kv/differ.py compares the answers with a real server's.
BROKEN = [b"*-1\r\n", b"*0\r\n", b"*-2147483648\r\n", b"*1000000000\r\n", b"*2147483648\r\n", b"*99999999999999999999\r\n", b"*\r\n", b"*abc\r\n", b"*1\r\n$-1\r\n",
          b"*1\r\n$-5\r\n", b"*1\r\n$abc\r\n", b"*1\r\n$\r\n", b"*1\r\n$536870913\r\n", b"*1\r\n$99999999999999999999\r\n", b"*1\r\n+PING\r\n", b"*1\r\n:4\r\n",
          b"*2\r\n*1\r\n$4\r\nPING\r\n", b"*1\r\nPING\r\n", b"$4\r\nPING\r\n", b"\r\n", b"\r\n\r\n\r\n", b"\n", b"   \r\n", b"PING\n", b"PING\r\n",
          b"*1\r\n$0\r\n\r\n", b"*2\r\n$0\r\n\r\n$0\r\n\r\n", b"ping \"\r\n", b"PING 'a\r\n", b"PING \"a\"b\r\n", b"PING \"a b\"\r\n", b"PING 'a b'\r\n",
          b"PING \"\\x41\\n\\t\\\\\\\"\"\r\n", b"PING 'it\\'s'\r\n", b"PING \"\"\r\n", b"  PING  \r\n", b"PING a b\r\n", b"nonsense a b c\r\n",
          b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n\r\n",
          b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n", b"*1 \r\n$4\r\nPING\r\n", b"*+1\r\n$4\r\nPING\r\n", b"*1\r\n$+4\r\nPING\r\n", b"*01\r\n$4\r\nPING\r\n",
          b"*1\r\n$04\r\nPING\r\n", b"*" + b"1" * 70000, b"*1\r\n$" + b"1" * 70000, b"A" * 70000, b"GET " + b"a" * 70000 + b"\r\n", b"\xff\xfe\xfd\r\n",
          b"*1\r\n$4\r\nPING\r\n*-7\r\n*1\r\n$4\r\nPING\r\n", b"*1\n$4\nPING\n", b"GET\tkey\r\n", b"+OK\r\n", b"-ERR\r\n", b":1\r\n", b"GET / HTTP/1.1\r\n\r\n"]


def answer(address, data, quiet=0.15, most=5.0):
    """What a server says to `data`: the replies, and whether it hung up. It is given until it is quiet."""
    with resp.Connection(address) as c:
        try:
            c.send(data)
        except OSError:
            pass  # It hung up while we spoke; what it said before may still be there.
        said, limit, closed = bytearray(), time.monotonic() + most, False
        while time.monotonic() < limit and select.select([c.socket], [], [], quiet)[0]:
            try:
                got = c.socket.recv(1 << 16)
            except OSError:
                got = b""
            if not got:
                closed = True
                break
            said += got
    return bytes(said), closed


def replies_of(said):
    """The replies in bytes; raises resp.Broken if they are no whole ones."""
    class Fed(resp.Connection):
        def __init__(self):
            self.waiting, self.at = bytearray(said), 0

        def more(self):
            raise resp.Broken("ends within a reply")

    fed, replies = Fed(), []
    while fed.at < len(said):
        replies.append(fed.reply())
    return replies


def sane(said):
    """None if bytes are whole replies of the protocol, else what is wrong."""
    try:
        replies_of(said)
    except resp.Broken as broken:
        return f"{broken} in {said[:200]!r}"
    return None


def send_in_pieces(c, dice, data, pieces):
    cuts = sorted(dice.randrange(len(data) + 1) for _ in range(pieces)) if data else []
    for begin, end in zip([0] + cuts, cuts + [len(data)]):
        if begin < end:
            c.send(data[begin:end])
            if dice.random() < 0.3:
                time.sleep(dice.random() * 0.002)


def leave(c, dice):
    """Closes politely, or resets the connection."""
    if dice.random() < 0.4:
        c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()


def mutated(dice, data):
    data = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(data) + 1)
        kind = dice.randrange(6)
        if kind == 0 and at < len(data):
            data[at] = dice.randrange(256)
        elif kind == 1:
            del data[at:at + dice.randint(1, 6)]
        elif kind == 2:
            data[at:at] = dice.choice([b"\r\n", b"\n", b"\r", b"$", b"*", b"\0", b" ", b"\"", b"'", dice.randbytes(dice.randint(1, 20))])
        elif kind == 3:
            end = at + dice.randint(1, 40)
            data[at:at] = data[at:end]
        elif kind == 4:
            del data[at:]
        else:  # another number behind a '*' or a '$'
            signs = [i for i, byte in enumerate(data) if byte in b"*$"]
            if signs:
                begin = dice.choice(signs) + 1
                end = data.find(b"\r", begin)
                data[begin:end if end >= 0 else begin] = dice.choice(NUMBERS)
    return bytes(data)


DANGEROUS = (b"FLUSHALL", b"FLUSHDB", b"SHUTDOWN")
EMPTIES = {"flushall", "flushdb"}


def mutations(dice, address, known):
    made = grammar.Grammar(dice, known - EMPTIES)
    data = b"".join(resp.encode(made.command()) for _ in range(dice.randint(1, 12)))
    if dice.random() < 0.9:
        data = mutated(dice, data)
    if any(word in data.upper() for word in DANGEROUS):
        return None
    c = resp.Connection(address)
    said = bytearray()
    try:
        send_in_pieces(c, dice, data, dice.choice([0, 0, 1, 3, 10]))
        if dice.random() < 0.3:
            c.socket.shutdown(socket.SHUT_WR)
        while dice.random() < 0.9 and select.select([c.socket], [], [], 0.02)[0]:
            got = c.socket.recv(1 << 16)
            if not got:
                break
            said += got
    except OSError:
        pass
    leave(c, dice)
    wrong = sane(bytes(said))
    return None if wrong is None or "ends within" in wrong else f"{wrong}; it was asked {data[:300]!r}"


def noise(dice, address, known):
    data = dice.randbytes(dice.randint(1, 5000))
    if dice.random() < 0.5:
        data = dice.choice([b"*", b"$", b"*3\r\n", b"*1\r\n$10\r\n"]) + data
    said, _ = answer(address, data, 0.02)
    wrong = sane(said)
    return wrong and f"{wrong}; it was asked {data[:100]!r}"


def broken_requests(dice, address, known):
    data = dice.choice(BROKEN)
    said, _ = answer(address, data, 0.05)
    wrong = sane(said)
    if wrong is None and data.startswith(b"*") and not data.startswith((b"*1", b"*0", b"*+", b"*-")) and said and not said.startswith(b"-"):
        wrong = f"no error, but {said[:60]!r}"
    return wrong and f"{wrong}; it was asked {data[:60]!r}"


def splits(dice, address, known):
    """Valid requests, cut at a place or at every byte: the replies must be those of whole ones."""
    key = b"split:%d" % dice.randrange(1 << 30)
    value = dice.randbytes(dice.choice([0, 1, 5, 200])) + b"\r\n$3\r\n*1\r\n"
    commands = [(b"SET", key, value), (b"GET", key), (b"STRLEN", key), (b"APPEND", key, b"\0\r\n"), (b"GET", key), (b"DEL", key), (b"GET", key)]
    expected = [b"OK", value, len(value), len(value) + 3, value + b"\0\r\n", 1, None]
    data = b"".join(resp.encode(c) for c in commands)
    with resp.Connection(address) as c:
        if dice.random() < 0.3:
            for i in range(len(data)):
                c.send(data[i:i + 1])
        else:
            cut = dice.randrange(len(data))
            c.send(data[:cut])
            time.sleep(0.001)
            c.send(data[cut:])
        got = [c.reply() for _ in commands]
    return None if got == expected else f"requests in pieces were answered {got!r}, not {expected!r}"


def inline(dice, address, known):
    """Inline commands with quotes, for which the right answer is known."""
    text, value = dice.choice([(b'"a b"', b"a b"), (b"'a b'", b"a b"), (b'"\\x41\\n\\r\\t\\a\\b\\"\\\\"', b'A\n\r\t\a\b"\\'), (b"'it\\'s'", b"it's"),
                               (b"plain", b"plain"),
                               (b'""', b""), (b"''", b""), (b'"\\xff\\x00"', b"\xff\0"), (b"a'b", None), (b'"open', None), (b"'open", None), (b'"a"b', None)])
    key = b"inline:%d" % dice.randrange(1 << 30)
    end = dice.choice([b"\r\n", b"\n"])
    with resp.Connection(address) as c:
        c.send(b"  SET  " + key + b" " + text + b" " + end)
        stored = c.reply()
        if value is None:
            return None if isinstance(stored, resp.Failure) else f"quotes that do not match were answered {stored!r}: {text!r}"
        c.send(b"GET " + key + end + b"del " + key + end)
        got, gone = c.reply(), c.reply()
    return None if (stored, got, gone) == (b"OK", value, 1) else f"{text!r} inline became {got!r} ({stored!r}, {gone!r})"


def many_arguments(dice, address, known):
    count = dice.choice([1000, 5000, 20000])
    key = b"many:%d" % dice.randrange(1 << 30)
    with resp.Connection(address) as c:
        members = [b"%d" % i for i in range(count)]
        kind = dice.randrange(4)
        if kind == 0:
            got = [c.ask(b"RPUSH", key, *members), c.ask(b"LRANGE", key, b"-2", b"-1"), c.ask(b"DEL", key)]
            expected = [count, members[-2:], 1]
        elif kind == 1:
            got = [c.ask(b"SADD", key, *members), c.ask(b"SCARD", key), c.ask(b"SREM", key, *members), c.ask(b"EXISTS", key)]
            expected = [count, count, count, 0]
        elif kind == 2:
            keys = [key + b":" + m for m in members]
            got = [c.ask(b"MSET", *sum(([k, m] for k, m in zip(keys, members)), [])), c.ask(b"MGET", *keys[-3:]), c.ask(b"DEL", *keys)]
            expected = [b"OK", members[-3:], count]
        else:
            got = [c.ask(b"HSET", key, *sum(([m, m] for m in members), [])), c.ask(b"HLEN", key), c.ask(b"HGET", key, members[-1]), c.ask(b"DEL", key)]
            expected = [count, count, members[-1], 1]
    return None if got == expected else f"with {count} arguments: {got!r}, not {expected!r}"


def vanishing(dice, address, known):
    """Ends within a request, or with replies on their way."""
    made = grammar.Grammar(dice, known - EMPTIES)
    for _ in range(dice.randint(1, 10)):
        c = resp.Connection(address)
        data = b"".join(resp.encode(made.command()) for _ in range(dice.randint(1, 30)))
        if dice.random() < 0.3:
            data = resp.encode([b"SET", b"s1", b"x" * 300000])
        if dice.random() < 0.3:
            data = resp.encode([b"MULTI"]) + data
        c.send(data[:dice.randrange(len(data) + 1)])
        leave(c, dice)
    return None


def slow(dice, address, known):
    """One byte at a time, with pauses, on several connections at once."""
    data = resp.encode([b"ECHO", b"slowly"])
    connections = [resp.Connection(address) for _ in range(10)]
    for i in range(len(data)):
        for c in connections:
            c.send(data[i:i + 1])
        time.sleep(0.01)
    got = [c.reply() for c in connections]
    for c in connections:
        c.close()
    return None if got == [b"slowly"] * len(got) else f"slow clients got {got!r}"


def never_reading(dice, address, known):
    """Asks for much, 2 GB in all, and reads nothing for a while. The sampler sees whether the server hoards it."""
    key = b"big:%d" % dice.randrange(1 << 30)
    with resp.Connection(address) as c:
        c.ask(b"SET", key, b"v" * 100000)
        c.socket.setblocking(False)
        asked, limit, data = 0, time.monotonic() + dice.choice([0.5, 1.5]), resp.encode([b"GET", key]) * 100
        while time.monotonic() < limit and asked < 20000:
            try:
                if c.socket.send(data) < len(data):
                    break
                asked += 100
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:
                break
    with resp.Connection(address) as c:
        c.ask(b"DEL", key)
    return None


def crowd(dice, address, known):
    """Many connections at once that send nothing, or a little; the last one is served as well."""
    connections = []
    try:
        for _ in range(dice.choice([100, 300, 1000])):
            c = resp.Connection(address)
            connections.append(c)
            if dice.random() < 0.2:
                c.send(b"*1\r\n$4\r\nPI")
        got = connections[-1].ask("PING") if not connections[-1].waiting else None
        return None if isinstance(got, (resp.Status, resp.Failure)) or got is None else f"in a crowd a PING was answered {got!r}"
    except (resp.Broken, ConnectionError, BlockingIOError) as error:
        return None if len(connections) > 900 else f"connection {len(connections)} of a crowd: {error!r}"
    finally:
        for c in connections:
            leave(c, dice)


# Those that end or empty the server, wait for others, or turn the connection into something else; they are not asked at random.
APART = {"flushall", "flushdb", "shutdown", "debug", "monitor", "subscribe", "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe",
         "sunsubscribe", "sync", "psync", "replicaof", "slaveof", "swapdb",
         "blpop", "brpop", "blmove", "brpoplpush", "blmpop", "bzpopmin", "bzpopmax", "bzmpop", "wait", "quit", "save", "bgsave",
         "bgrewriteaof", "failover", "auth", "migrate", "select", "xread", "xreadgroup", "replconf"}


def every_command(dice, address, known):
    """A command of the server's own table, with all numbers of arguments, of keys of all types: a reply each time, whatever it is."""
    name = dice.choice(sorted(known - APART))
    pool = ["s1", "l1", "h1", "e1", "z1", "nokey", "1", "-1", "0", "abc", "", "9223372036854775807", "(1", "[a", "NX", "LIMIT", "COUNT", "\r\n", "BYSCORE", "GET",
            "LIST", "ID", "SETNAME", "INFO", "USAGE", "ENCODING", "HELP", "STATS", "DOCS", "maxmemory", "*"]
    with resp.Connection(address) as c:
        c.ask_all([["SET", "s1", "1"], ["RPUSH", "l1", "a"], ["HSET", "h1", "a", "1"], ["SADD", "e1", "a"], ["ZADD", "z1", "1", "a"]])
        for count in range(8):
            c.ask(name, *[dice.choice(pool) for _ in range(count)])
        if name in ("multi", "watch"):
            c.ask("DISCARD")
        got = c.ask("PING")
    good = got == b"PONG" or name in ("multi",)
    return None if good else f"after {name} a PING was answered {got!r}"


ALL = [mutations, noise, broken_requests, splits, inline, many_arguments, vanishing, slow, never_reading, crowd, every_command]
WEIGHTS = [30, 4, 10, 8, 6, 2, 6, 1, 1, 1, 12]


def attack_choose(dice):
    return dice.choices(ALL, WEIGHTS)[0]


def dice_of(seed):
    return random.Random(seed)
