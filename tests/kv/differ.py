#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""differ.py: random commands to kv and to a real redis-server; the replies must be the same, and so must what is stored afterwards.

A round begins with empty servers and sends batches of pipelined commands, transactions among them, to both. Where they differ, the commands of the round are
thinned out for as long as the difference stays, and what remains is printed: a reproduction. Texts of errors are compared by their first word; texts
that differ are listed, and are failures with --texts. Exit status: 0; 1 if there are differences; 2 if the command line is wrong; 77 if there is
no redis-server.
"""

import argparse
import concurrent.futures
import random
import sys
import time

import attacks
import grammar
import resp

UNORDERED = {b"keys", b"smembers", b"sinter", b"sunion", b"sdiff", b"hkeys", b"hvals"}
SCANS = {b"scan", b"sscan", b"hscan", b"zscan"}
RANDOM = {b"spop", b"srandmember", b"randomkey"}
TIMES = {b"ttl": 1, b"pttl": 200, b"expiretime": 1, b"pexpiretime": 200}  # what the two may differ by: they are asked one after the other
PAIRED = {b"hgetall"}


def shown(words):
    def one(word):
        if len(word) > 40 and len(set(word)) == 1:
            return f"<{len(word)} times {word[:1].decode()}>"
        plain = word and all(32 < c < 127 and c not in b"'\"\\" for c in word)
        return word.decode() if plain else ascii(word.decode("latin-1"))

    return " ".join(one(word) for word in words)


def clipped(reply):
    text = repr(reply)
    return text if len(text) < 300 else text[:300] + f"... ({len(text)} characters)"


def pairs(reply):
    return sorted(zip(reply[::2], reply[1::2])) + reply[len(reply) // 2 * 2:]


def scan_all(connection, words):
    """What a whole scan finds, without order or repetitions; or the error that it meets."""
    found, cursor = [], words[1 + (words[0].lower() != b"scan")]
    at = words.index(cursor, 1)
    for _ in range(10000):
        reply = connection.ask(*words[:at], cursor, *words[at + 1:])
        if not isinstance(reply, list) or len(reply) != 2 or not isinstance(reply[1], list):
            return reply
        cursor = reply[0]
        flat = reply[1]
        found += list(zip(flat[::2], flat[1::2])) if words[0].lower() in (b"hscan", b"zscan") else flat
        if cursor == b"0":
            return sorted(set(found))
    return "a scan without end"


def same_score(ours, theirs):
    """Redis 7.0 prints 17 digits of a score; later ones the shortest text that reads as the same number, and so does kv. -0 becomes 0 in small sets only."""
    try:
        number = float(theirs.decode())
        plain = number == 0 or abs(number) >= 1e17 or number != int(number)  # others look alike everywhere
        return plain and float(ours.decode()) == number
    except (UnicodeDecodeError, ValueError, OverflowError):
        return False


# Requests at which kv gives up sooner than Redis does, on purpose.
STRICTER = [b"*1000000000\r\n", b"GET " + b"a" * 70000 + b"\r\n"]


class Judge:
    """Compares replies; keeps texts of errors that differ though their first words do not."""

    def __init__(self):
        self.texts = {}

    def same(self, words, ours, theirs):
        name = words[0].lower() if words else b""
        if isinstance(ours, resp.Failure) and isinstance(theirs, resp.Failure):
            if ours != theirs:
                self.texts.setdefault((name, bytes(ours).split(b"'")[0]), (words, ours, theirs))
            return ours.split(b" ")[0] == theirs.split(b" ")[0]
        if type(ours) is not type(theirs):
            return False
        if isinstance(ours, bytes) and name.startswith(b"z"):
            return ours == theirs or same_score(ours, theirs)
        if isinstance(ours, tuple):
            return len(ours) == len(theirs) and all(self.same(words, a, b) for a, b in zip(ours, theirs))
        if isinstance(ours, int) and name in TIMES and ours >= 0 and theirs >= 0:
            return abs(ours - theirs) <= TIMES[name]
        if isinstance(ours, list):
            if name in UNORDERED:
                return sorted(ours, key=repr) == sorted(theirs, key=repr)
            if name in PAIRED:
                return pairs(ours) == pairs(theirs)
            return len(ours) == len(theirs) and all(self.same([name] if name.startswith(b"z") else [b"z"] if name == b"exec" else [], a, b) for a, b in zip(ours, theirs))
        return ours == theirs


class Pair:
    """The two servers, asked alike."""

    def __init__(self, ours, theirs, judge):
        self.ours, self.theirs, self.judge = ours, theirs, judge

    def empty(self):
        for connection in (self.ours, self.theirs):
            connection.ask("DISCARD")  # an error when there is no transaction
            connection.ask("SELECT", "0")
            connection.ask("FLUSHALL")

    def special(self, words):
        """For commands whose replies depend on dice or on order: (ours, theirs) made comparable."""
        name = words[0].lower()
        if name in SCANS:
            return scan_all(self.ours, words), scan_all(self.theirs, words)
        ours = self.ours.ask(*words)
        nothing = isinstance(ours, resp.Failure) or ours is None or ours == []
        if name == b"spop" and not nothing:
            # What the one's dice chose is taken from the other, which must have had it.
            chosen = ours if isinstance(ours, list) else [ours]
            removed = self.theirs.ask("SREM", words[1], *chosen)
            count_asked = len(words) == 3
            left = self.theirs.ask("SCARD", words[1])
            wanted = min(int(words[2]), left + removed) if count_asked else 1
            good = removed == len(chosen) == wanted and count_asked == isinstance(ours, list)
            return ("popped", "popped") if good else (ours, f"{removed} of these are members, {wanted} were wanted")
        if name == b"randomkey" and isinstance(ours, bytes) and not nothing:
            return "chosen", "chosen" if self.theirs.ask("EXISTS", ours) == 1 else f"{ours!r} does not exist"
        theirs = self.theirs.ask(*words)
        if name == b"srandmember" and type(ours) is type(theirs) and not nothing:
            chosen = ours if isinstance(ours, list) else [ours]
            foreign = [m for m in chosen if self.theirs.ask("SISMEMBER", words[1], m) != 1]
            size = len(theirs) if isinstance(theirs, list) else 1
            if foreign or len(chosen) != size or (len(words) == 3 and int(words[2]) > 0 and len(set(chosen)) != size):
                return ours, theirs
            return "chosen", "chosen"
        return ours, theirs

    def run(self, commands):
        """Sends them to both; the index of the first difference with both replies, or None."""
        at = 0
        while at < len(commands):
            name = commands[at][0].lower()
            if name in SCANS and len(commands[at]) > 1 + (name != b"scan") or name in RANDOM:
                replies = [self.special(commands[at])]
                batch = [commands[at]]
            else:
                batch = []
                while at + len(batch) < len(commands) and len(batch) < 25 and commands[at + len(batch)][0].lower() not in SCANS | RANDOM:
                    batch.append(commands[at + len(batch)])
                batch = batch or [commands[at]]
                replies = list(zip(self.ours.ask_all(batch), self.theirs.ask_all(batch)))
            for i, (words, (ours, theirs)) in enumerate(zip(batch, replies)):
                if not self.judge.same(words, ours, theirs):
                    return at + i, ours, theirs
            at += len(batch)
        return None

    def stored(self, connection):
        """All that a server holds."""
        held = {}
        connection.ask("DISCARD")  # when commands were cut off within a transaction; an error otherwise
        keys = sorted(connection.ask("KEYS", "*"))
        for key in keys:
            kind = connection.ask("TYPE", key)
            read = {b"string": ["GET", key], b"list": ["LRANGE", key, "0", "-1"], b"hash": ["HGETALL", key], b"set": ["SMEMBERS", key],
                    b"zset": ["ZRANGE", key, "0", "-1", "WITHSCORES"]}.get(bytes(kind))
            value = connection.ask(*read) if read else None
            value = sorted(value) if kind == b"set" else pairs(value) if kind == b"hash" else value
            held[key] = (bytes(kind), value, connection.ask("TTL", key) >= 0)
        held["DBSIZE"] = connection.ask("DBSIZE")
        return held


    def same_stored(self):
        ours, theirs = self.stored(self.ours), self.stored(self.theirs)
        return ours.keys() == theirs.keys() and all(self.judge.same([b"zrange"], ours[k], theirs[k]) for k in ours if ours[k] != theirs[k])


class Round:
    """One sequence of commands for empty servers."""

    def __init__(self, made, known, dice, count):
        self.commands = []
        while len(self.commands) < count:
            if dice.random() < 0.03 and {"multi", "exec"} <= known:
                self.commands += self.transaction(made, dice, known)
            else:
                self.commands.append(made.command())

    @staticmethod
    def transaction(made, dice, known):
        watched = [[b"WATCH", b"s1", b"l1"]] + ([made.command()] if dice.random() < 0.5 else []) if "watch" in known and dice.random() < 0.4 else []
        within = [made.command() for _ in range(dice.randint(0, 5))]
        within = [c for c in within if c[0].lower() not in SCANS | RANDOM | UNORDERED | PAIRED | set(TIMES)]
        end = b"DISCARD" if dice.random() < 0.1 else b"EXEC"
        return watched + [[b"MULTI"]] + within + [[end]]


def replies_differ(kinds):
    """A test of commands: whether the last of them, and none before, has replies of these kinds that differ."""
    def test(pair, commands):
        pair.empty()
        found = pair.run(commands)
        return found is not None and found[0] == len(commands) - 1 and (type(found[1]), type(found[2])) == kinds
    return test


def stores_differ(pair, commands):
    """Likewise: whether all replies are the same, and what is stored afterwards is not."""
    pair.empty()
    return pair.run(commands) is None and not pair.same_stored()


def thinned(pair, commands, differ, seconds=20):
    """As few of them as still differ, the last one included."""
    limit, size = time.monotonic() + seconds, max(1, len(commands) // 2)
    if not differ(pair, commands):
        return commands  # It depends on time, or on dice.
    while size >= 1 and time.monotonic() < limit:
        at = 0
        while at < len(commands) - 1 and time.monotonic() < limit:
            fewer = commands[:at] + commands[min(at + size, len(commands) - 1):]
            if differ(pair, fewer):
                commands = fewer
            else:
                at += size
        size //= 2
    return commands


def commands_print(commands, most=40):
    if len(commands) > most:
        print(f"  ... {len(commands) - most} commands before; it depends on time or on dice")
    for words in commands[-most:]:
        print("  " + shown(words))
    sys.stdout.flush()


class Differ:
    def __init__(self, pair, known, options):
        self.pair, self.known, self.options = pair, known, options
        self.found, self.commands, self.rounds = {}, 0, 0

    def round(self, seed):
        dice = random.Random(seed)
        commands = Round(grammar.Grammar(dice, self.known), self.known, dice, self.options.commands).commands
        while True:
            self.pair.empty()
            difference = self.pair.run(commands)
            if difference is None:
                break
            at, ours, theirs = difference
            name = commands[at][0].lower()
            self.report(name, commands[:at + 1], ours, theirs)
            # What the two do not agree on is left out, and the rest goes on.
            commands = commands[:at] + commands[at + 1:]
            if name in (b"multi", b"exec", b"discard") or len(self.found) >= self.options.most:
                return
        self.commands += len(commands)
        if not self.pair.same_stored():
            self.report_stored(seed, commands)

    def report_stored(self, seed, commands):
        self.found["stored", seed] = 1
        while len(commands) > 1 and stores_differ(self.pair, commands[:-1]):
            commands = commands[:-1]  # up to the one that made the difference
        few = thinned(self.pair, commands, stores_differ)
        self.pair.empty()
        self.pair.run(few)
        ours, theirs = self.pair.stored(self.pair.ours), self.pair.stored(self.pair.theirs)
        print(f"DIFFERENCE ({len(few)} commands; what is stored after them)")
        for key in sorted((k for k in ours.keys() | theirs.keys() if not self.pair.judge.same([b"zrange"], ours.get(k), theirs.get(k))), key=repr):
            print(f"  {key!r}: kv {clipped(ours.get(key))}; redis {clipped(theirs.get(key))}")
        commands_print(few)

    def report(self, name, commands, ours, theirs):
        # The same command may differ in several ways; a few of each are enough.
        kind = (name, type(ours).__name__, type(theirs).__name__)
        self.found[kind] = self.found.get(kind, 0) + 1
        if self.found[kind] > self.options.each:
            return
        few = thinned(self.pair, commands, replies_differ((type(ours), type(theirs))))
        self.pair.empty()
        again = self.pair.run(few)
        if again is not None:
            ours, theirs = again[1:]
        print(f"DIFFERENCE ({len(few)} commands; the last one's replies: kv {clipped(ours)}; redis {clipped(theirs)})")
        commands_print(few)


def arities(ours, theirs):
    """Lines for commands that differ in the number of arguments that they say they take."""
    table = [{entry[0].lower(): entry[1] for entry in c.ask("COMMAND") if isinstance(entry, list)} for c in (ours, theirs)]
    return [f"{name.decode()}: kv says arity {arity}, redis {table[1][name]}" for name, arity in sorted(table[0].items())
            if name in table[1] and arity != table[1][name]]


def expiry_check(pair):
    """Keys that die within the test, of every type, by every command that dates them; seen by reads, by writes, and in DBSIZE."""
    pair.empty()
    makes = [["SET", "s1", "a", "PX", "30"], ["PSETEX", "s2", "30", "b"], ["SET", "s3", "5"], ["RPUSH", "l1", "a"], ["HSET", "h1", "a", "b"],
             ["SADD", "e1", "a"], ["ZADD", "z1", "1", "a"], ["SET", "s4", "stays"], ["RPUSH", "l2", "stays"]]
    dates = [["PEXPIRE", key, "30"] for key in ("s3", "l1", "h1", "e1", "z1")] + [["PEXPIRE", "s4", "100000"], ["PERSIST", "l2"]]
    reads = [["INCR", "s3"], ["APPEND", "s1", "x"], ["GET", "s2"], ["RPUSHX", "l1", "b"], ["LLEN", "l1"], ["HLEN", "h1"], ["SCARD", "e1"],
             ["ZCARD", "z1"], ["TYPE", "z1"], ["TTL", "s2"], ["EXISTS", "e1"], ["KEYS", "*"], ["DEL", "h1"], ["RENAME", "l1", "l3"],
             ["SETNX", "s2", "new"], ["TTL", "s3"], ["TTL", "s1"], ["SUNION", "e1", "e2"], ["ZRANGE", "z1", "0", "-1"], ["GET", "s4"],
             ["PERSIST", "s4"], ["TTL", "s4"], ["LRANGE", "l2", "0", "-1"], ["DBSIZE"], ["RANDOMKEY"]]
    encoded = [[[w.encode() for w in words] for words in part] for part in (makes + dates, reads[:-1])]
    lines = []
    for part, pause in zip(encoded, (0.08, 0)):
        found = pair.run(part)
        if found:
            lines.append(f"expiry: {shown(part[found[0]])}: kv {clipped(found[1])}, redis {clipped(found[2])}")
        time.sleep(pause)
    return lines


def protocol_check(subject, peer):
    """Requests that no client sends, to both: replies must be the same but for texts of errors, and whether the server hangs up."""
    def told(server, data, quiet):
        said, closed = attacks.answer(server.path, data, quiet)
        try:
            replies = [f"-{bytes(r).split(b' ')[0].decode('latin-1')}" if isinstance(r, resp.Failure) else r for r in attacks.replies_of(said)]
        except resp.Broken as broken:
            replies = [repr(broken)]
        return replies, "hangs up" if closed else "stays"

    def compared(requests, quiet):
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answers = [list(pool.map(lambda data, server=server: told(server, data, quiet), requests)) for server in (subject, peer)]
        return [(data, ours, theirs) for data, ours, theirs in zip(requests, *answers) if ours != theirs]

    # One that seems to say nothing may be slow: it is asked again, and given more time.
    suspects = [data for data, _, _ in compared(attacks.BROKEN, 0.15)]
    return [f"protocol: {data[:60]!r} ({len(data)} bytes): kv {clipped(ours)}, redis {clipped(theirs)}" for data, ours, theirs in compared(suspects, 2.0)
            if data not in STRICTER or ours[0] != ["-ERR"]]


def options_read():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0], allow_abbrev=False)
    add = parser.add_argument
    add("server", nargs="+", help="kv and its options, after --")
    add("--seconds", type=float, default=10)
    add("--seed", type=int, default=None, help="of the first round; each later one takes the next number")
    add("--rounds", type=int, default=None, help="exactly so many rounds")
    add("--commands", type=int, default=300, help="in a round")
    add("--most", type=int, default=40, help="differences to stop at")
    add("--each", type=int, default=2, help="differences of one kind that are told")
    add("--texts", action="store_true", help="texts of errors must be the same")
    add("--only", default=None, help="commands to use, with commas")
    return parser.parse_args()


def main():
    options = options_read()
    reference = resp.redis_server()
    if reference is None:
        print("there is no redis-server to compare with: skipped")
        return 77
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed} (--seed {seed} does it again)", flush=True)
    with resp.Server(options.server) as subject, reference as peer:
        with resp.Connection(subject.path) as ours, resp.Connection(peer.path) as theirs:
            judge = Judge()
            pair = Pair(ours, theirs, judge)
            known = {entry[0].decode().lower() for entry in ours.ask("COMMAND") if isinstance(entry, list)}
            chosen = known & set(options.only.split(",")) if options.only else known
            differ = Differ(pair, chosen, options)
            problems = arities(ours, theirs) + expiry_check(pair) + protocol_check(subject, peer)
            limit = time.monotonic() + options.seconds
            while len(differ.found) < options.most and (differ.rounds < options.rounds if options.rounds else time.monotonic() < limit):
                try:
                    differ.round(seed + differ.rounds)
                except (resp.Broken, OSError) as broken:
                    problems.append(f"round {seed + differ.rounds}: {broken!r}; {subject.ended() or 'kv still runs'}")
                    break
                differ.rounds += 1
    for line in problems:
        print("DIFFERENCE: " + line)
    for (name, _), (words, said, wanted) in sorted(judge.texts.items(), key=repr):
        print(f"{'DIFFERENCE' if options.texts else 'note'}: text of an error: {shown(words)[:200]}: kv {said!r}, redis {wanted!r}")
    used = sorted(set(grammar.Grammar(random.Random(0), chosen).names))
    print(f"{differ.rounds} rounds, {differ.commands} commands of {len(used)} kinds, {sum(differ.found.values())} differences")
    return 1 if differ.found or problems or (options.texts and judge.texts) else 0


if __name__ == "__main__":
    sys.exit(main())
