# SPDX-License-Identifier: MIT
"""grammar.py: random commands of Redis', most of them valid, with the arguments at which servers go wrong.

Keys have a type by their name (s: string, l: list, h: hash, e: set, z: sorted set, y: sorted set whose scores are all 0, without which ranges by bytes mean
nothing), which most commands respect and some do not.
"""

# What Redis 7 takes by accident is left out: "" and "(" as scores, which are 0 to it; the pattern "**", which has no empty key.
INTEGERS = ["0", "1", "-1", "2", "-2", "3", "5", "-5", "10", "100", "-100", "2147483648", "-2147483649", "9223372036854775807",
            "-9223372036854775808", "9223372036854775808", "abc", "", "1.5", " 1", "1 ", "+1", "-0", "01", "1e3", "0x10", "--1", "1\0"]
SMALL = ["0", "1", "-1", "2", "-2", "3", "-3", "4", "-4", "7", "-100", "100"]
FLOATS = ["0", "1", "-1", "1.5", "-2.25", "0.1", "0.2", "3.0", "1e3", "5e-324", "1e-5", "1e17", "1e21", "123456789.123456789", "17179869184.25",
          "inf", "-inf", "+inf", "nan", "1e400", "-0", "0x10", ".5", "5.", "abc", "", " 1", "1 ", "1.7976931348623157e308", "0.30000000000000004"]
SCORES = ["0", "1", "2", "3", "-1", "-2.5", "1.5", "10", "1e3", "inf", "-inf", "0.1", "1e17", "-0"]
SCORE_BOUNDS = SCORES + ["(0", "(1", "(2", "(-1", "-inf", "+inf", "(inf", "(-inf", "abc", "((1", "nan"]
LEX_BOUNDS = ["-", "+", "[", "(", "[a", "(a", "[m1", "(m1", "[m3", "(m5", "[z", "a", ""]
VALUES = ["", "a", "b", "hello", "world", "10", "-3", "3.5", "0", "with space", "line\r\nbreak", "\0zero\0", "\xff\xfe", "foobar", "x" * 100, "y" * 2000,
          "9223372036854775807", "9223372036854775806", "-9223372036854775808", "0010", "1e5", " 5"]
MEMBERS = ["m1", "m2", "m3", "m4", "m5", "1", "2", "10", "-5", "", "a", "b", "\xff", "M1", "x" * 70]
PATTERNS = ["*", "s*", "?1", "[sl]1", "[^s]*", "[a-m]*", "s\\1", "*1", "nothing", "", "s**1", "s[1", "[]*", "\\*", "h?*", "[z-a]?"]


class Grammar:
    """`random` makes all choices; `known` are the commands that the server has, in lower case."""

    def __init__(self, random, known):
        self.random = random
        self.rules = {name: rule for name, rule in self.all_rules().items() if name in known}
        self.names = sorted(self.rules)

    # ---- Arguments: each a list of strings.

    def pick(self, *choices):
        return self.random.choice(choices)

    def key(self, kind):
        if self.random.random() < 0.06:
            kind = self.pick(*"slhez")
        return [kind + self.pick("1", "2", "3", "4") if self.random.random() < 0.97 else self.pick("nokey", "")]

    def lexical_key(self):
        return [(self.pick(*"slhe") if self.random.random() < 0.05 else "y") + self.pick("1", "2")]

    def one(self, pool):
        return [self.random.choice(pool)]

    def many(self, pool, most=4, least=1):
        return [self.random.choice(pool) for _ in range(self.random.randint(least, most))]

    def maybe(self, probability, *arguments):
        return list(arguments) if self.random.random() < probability else []

    def integer(self, wild=0.2):
        return self.one(INTEGERS if self.random.random() < wild else SMALL)

    def sample(self):
        """How many random members; a negative number is how many are made, so it is never large."""
        return [self.pick(*SMALL, "abc", "", "9223372036854775808", "-9223372036854775808")]

    def number(self, wild=0.5):
        return self.one(FLOATS if self.random.random() < wild else SCORES)

    def offset(self):
        """Of bytes; never so large that half a GiB would be made."""
        return [self.pick("0", "1", "3", "10", "300", "-1", "536870912", "4294967296", "abc", "9223372036854775807")]

    def lasting(self, kind):
        """A time to live or of death that does not end within the test, has ended, or is none. `kind`: ex, px, exat, pxat.

        Times to live hardly ever come twice: of two equal ones, whether the later ends later (GT, LT) is a matter of the milliseconds in between,
        which are not the same in two servers.
        """
        if self.random.random() < 0.15:
            return [self.pick("0", "-1", "abc", "", "9223372036854775807", "-9223372036854775808", "1.5", "9223372036854775")]
        base = {"ex": 0, "px": 0, "exat": 4000000000, "pxat": 4000000000000}[kind]
        return [str(base + self.random.randint(1000, 10**7) * (1 if kind in ("ex", "exat") else 1000))]

    def options(self, *choices, most=3, none=0.5):
        """Some of the options, wrongly combined too. A choice is a list of words or a function that makes one."""
        words = []
        if self.random.random() >= none:
            for _ in range(self.random.randint(1, most)):
                chosen = self.random.choice(choices)
                words += chosen() if callable(chosen) else [self.cased(w) for w in chosen]
        return words

    def cased(self, word):
        return self.pick(word.upper(), word.lower(), word.capitalize())

    def limit(self):
        return [self.cased("LIMIT")] + self.integer(0.1) + self.integer(0.1)

    def with_count(self, keys):
        """The number of keys, then them; the number is wrong at times."""
        count = len(keys) if self.random.random() < 0.9 else self.pick(0, -1, len(keys) + 1, "abc", max(1, len(keys) - 1))
        return [str(count)] + keys

    def keys_of(self, kind, most=3, least=1):
        return [self.key(kind)[0] for _ in range(self.random.randint(least, most))]

    def set_options(self):
        return self.options(["NX"], ["XX"], ["GET"], ["KEEPTTL"], lambda: [self.cased("EX")] + self.lasting("ex"),
                            lambda: ["PX"] + self.lasting("px"), lambda: ["EXAT"] + self.lasting("exat"), lambda: ["PXAT"] + self.lasting("pxat"),
                            ["EX"], ["NONSENSE"], none=0.6)

    def getex_options(self):
        return self.options(["PERSIST"], lambda: ["EX"] + self.lasting("ex"), lambda: ["PX"] + self.lasting("px"),
                            lambda: ["EXAT"] + self.lasting("exat"), ["KEEPTTL"], most=2, none=0.3)

    def aggregate(self, count):
        return self.options(lambda: ["WEIGHTS"] + self.many(FLOATS[:9], count, count), ["AGGREGATE", "MIN"], ["AGGREGATE", "MAX"], ["AGGREGATE", "SUM"],
                            ["AGGREGATE", "AVG"], ["WEIGHTS", "1"], most=2)

    def zrange(self):
        kind = self.pick("", "", "BYSCORE", "BYLEX")
        pool = {"": SMALL + ["abc"], "BYSCORE": SCORE_BOUNDS, "BYLEX": LEX_BOUNDS}[kind]
        words = (self.lexical_key() if kind == "BYLEX" else self.key("z")) + self.one(pool) + self.one(pool)
        return words + ([self.cased(kind)] if kind else []) + self.options(["REV"], ["WITHSCORES"], self.limit, ["BYSCORE"], none=0.4)

    def scan_options(self):
        return self.options(lambda: ["MATCH"] + self.one(PATTERNS), lambda: ["COUNT"] + self.integer(0.1), ["NONSENSE"], most=2)

    # ---- Rules: each makes the arguments behind the name.

    def all_rules(self):
        rules = {}
        for part in (self.string_rules, self.bit_rules, self.key_rules, self.list_rules, self.hash_rules, self.set_rules, self.zset_rules,
                     self.zset_range_rules, self.other_rules):
            rules.update(part())
        return rules

    def string_rules(self):
        k, v = lambda: self.key("s"), lambda: self.one(VALUES)
        pairs = lambda: sum((k() + v() for _ in range(self.random.randint(1, 3))), []) + self.maybe(0.05, "odd")
        return {
            "get": k, "set": lambda: k() + v() + self.set_options(), "setnx": lambda: k() + v(), "getset": lambda: k() + v(),
            "setex": lambda: k() + self.lasting("ex") + v(), "psetex": lambda: k() + self.lasting("px") + v(), "getdel": k,
            "getex": lambda: k() + self.getex_options(), "mget": lambda: self.keys_of(self.pick(*"ssssl"), 4), "mset": pairs, "msetnx": pairs,
            "append": lambda: k() + v(), "strlen": k, "incr": k, "decr": k, "incrby": lambda: k() + self.integer(0.6),
            "decrby": lambda: k() + self.integer(0.6), "incrbyfloat": lambda: k() + self.number(), "setrange": lambda: k() + self.offset() + v(),
            "getrange": lambda: k() + self.integer() + self.integer(), "substr": lambda: k() + self.integer() + self.integer(),
            "lcs": lambda: k() + k() + self.options(["LEN"], ["IDX"], ["MINMATCHLEN", "2"], ["WITHMATCHLEN"]),
        }

    def bit_rules(self):
        k = lambda: self.key("s")
        offset = lambda: [self.pick("0", "1", "7", "8", "100", "3000", "-1", "4294967296", "abc")]
        unit = lambda: self.maybe(0.3, self.pick("BYTE", "BIT", "BITS"))
        return {
            "setbit": lambda: k() + offset() + [self.pick("0", "1", "1", "2", "abc")], "getbit": lambda: k() + offset(),
            "bitcount": lambda: k() + (self.integer() + self.integer() + unit() if self.random.random() < 0.7 else self.maybe(0.2, "1")),
            "bitpos": lambda: k() + [self.pick("0", "1", "2")] + self.many(SMALL, 2, 0) + unit(),
            "bitop": lambda: [self.pick("AND", "or", "XOR", "NOT", "NAND")] + k() + self.keys_of("s"),
        }

    def key_rules(self):
        k = lambda: self.key(self.pick(*"slhez"))
        keys = lambda: [k()[0] for _ in range(self.random.randint(1, 3))]
        expiry = lambda kind: lambda: k() + self.lasting(kind) + self.options(["NX"], ["XX"], ["GT"], ["LT"], ["NONSENSE"], most=2, none=0.6)
        return {
            "del": keys, "unlink": keys, "exists": lambda: keys() + self.maybe(0.2, "s1", "s1"), "type": k, "keys": lambda: self.one(PATTERNS),
            "rename": lambda: k() + k(), "renamenx": lambda: k() + k(), "touch": keys,
            "copy": lambda: k() + k() + self.options(["REPLACE"], ["DB", "0"], ["DB", "99999"], ["NONSENSE"], most=2),
            "expire": expiry("ex"), "pexpire": expiry("px"), "expireat": expiry("exat"), "pexpireat": expiry("pxat"),
            "ttl": k, "pttl": k, "persist": k, "expiretime": k, "pexpiretime": k, "dbsize": lambda: [],
        }

    def list_rules(self):
        k, v = lambda: self.key("l"), lambda: self.one(MEMBERS)
        side = lambda: [self.pick("LEFT", "right", "RIGHT", "left", "UP") if self.random.random() < 0.1 else self.pick("LEFT", "RIGHT")]
        push = lambda: k() + self.many(MEMBERS)
        pop = lambda: k() + (self.integer(0.15) if self.random.random() < 0.4 else [])
        ranged = lambda: k() + self.integer() + self.integer()
        return {
            "lpush": push, "rpush": push, "lpushx": push, "rpushx": push, "lpop": pop, "rpop": pop, "llen": k, "lrange": ranged, "ltrim": ranged,
            "lindex": lambda: k() + self.integer(), "lset": lambda: k() + self.integer() + v(),
            "linsert": lambda: k() + [self.pick("BEFORE", "after", "AFTER", "AT")] + v() + v(), "lrem": lambda: k() + self.integer() + v(),
            "lpos": lambda: k() + v() + self.options(lambda: ["RANK"] + self.integer(), lambda: ["COUNT"] + self.integer(),
                                                     lambda: ["MAXLEN"] + self.integer(), ["RANK"]),
            "lmove": lambda: k() + k() + side() + side(), "rpoplpush": lambda: k() + k(),
            "lmpop": lambda: self.with_count(self.keys_of("l")) + side() + self.options(lambda: ["COUNT"] + self.integer(), most=2),
        }

    def hash_rules(self):
        k, f = lambda: self.key("h"), lambda: self.one(MEMBERS)
        pairs = lambda: k() + sum((f() + self.one(VALUES) for _ in range(self.random.randint(1, 3))), []) + self.maybe(0.05, "odd")
        return {
            "hset": pairs, "hmset": pairs, "hsetnx": lambda: k() + f() + self.one(VALUES), "hget": lambda: k() + f(),
            "hmget": lambda: k() + self.many(MEMBERS), "hgetall": k, "hdel": lambda: k() + self.many(MEMBERS), "hexists": lambda: k() + f(),
            "hlen": k, "hstrlen": lambda: k() + f(), "hkeys": k, "hvals": k, "hincrby": lambda: k() + f() + self.integer(0.5),
            "hincrbyfloat": lambda: k() + f() + self.number(), "hscan": lambda: k() + ["0"] + self.scan_options(),
        }

    def set_rules(self):
        k, m = lambda: self.key("e"), lambda: self.one(MEMBERS)
        keys = lambda: self.keys_of("e")
        store = lambda: k() + keys()
        return {
            "sadd": lambda: k() + self.many(MEMBERS), "srem": lambda: k() + self.many(MEMBERS), "sismember": lambda: k() + m(),
            "smismember": lambda: k() + self.many(MEMBERS), "scard": k, "smembers": k, "sinter": keys, "sunion": keys, "sdiff": keys,
            "sinterstore": store, "sunionstore": store, "sdiffstore": store, "smove": lambda: k() + k() + m(),
            "sintercard": lambda: self.with_count(keys()) + self.options(lambda: ["LIMIT"] + self.integer(), most=2),
            "spop": lambda: k() + (self.integer(0.15) if self.random.random() < 0.5 else []),
            "srandmember": lambda: k() + (self.sample() if self.random.random() < 0.5 else []),
            "sscan": lambda: k() + ["0"] + self.scan_options(),
        }

    def zset_rules(self):
        k, m = lambda: self.key("z"), lambda: self.one(MEMBERS)
        pairs = lambda score: sum((score() + m() for _ in range(self.random.randint(1, 3))), []) + self.maybe(0.05, "odd")
        adds = lambda: k() + self.options(["NX"], ["XX"], ["GT"], ["LT"], ["CH"], ["INCR"], none=0.6) + pairs(lambda: self.number(0.1))
        pop = lambda: k() + (self.integer(0.15) if self.random.random() < 0.4 else [])
        several = lambda: self.keys_of(self.pick(*"zzze"))

        def combined(stores, weighs):
            def make():
                keys = several()
                words = (k() if stores else []) + self.with_count(keys) + (self.aggregate(len(keys)) if weighs else [])
                return words + ([] if stores else self.maybe(0.5, "WITHSCORES"))
            return make

        return {
            "zadd": lambda: adds() if self.random.random() < 0.7 else ["y" + self.pick("1", "2")] + pairs(lambda: ["0"]),
            "zincrby": lambda: k() + self.number() + m(), "zrem": lambda: k() + self.many(MEMBERS), "zscore": lambda: k() + m(),
            "zmscore": lambda: k() + self.many(MEMBERS), "zcard": k, "zrank": lambda: k() + m(), "zrevrank": lambda: k() + m(),
            "zpopmin": pop, "zpopmax": pop, "zscan": lambda: k() + ["0"] + self.scan_options(),
            "zmpop": lambda: self.with_count(self.keys_of("z")) + [self.pick("MIN", "MAX", "MID")] + self.options(lambda: ["COUNT"] + self.integer(), most=1),
            "zunion": combined(False, True), "zinter": combined(False, True), "zdiff": combined(False, False),
            "zunionstore": combined(True, True), "zinterstore": combined(True, True), "zdiffstore": combined(True, False),
            "zintercard": lambda: self.with_count(several()) + self.options(lambda: ["LIMIT"] + self.integer(), most=2),
        }

    def zset_range_rules(self):
        k = lambda: self.key("z")
        bounds = lambda pool: self.one(pool) + self.one(pool)
        by_score = lambda: k() + bounds(SCORE_BOUNDS) + self.options(["WITHSCORES"], self.limit, ["LIMIT"], most=2)
        by_lex = lambda: self.lexical_key() + bounds(LEX_BOUNDS) + self.options(self.limit, ["NONSENSE"], most=1)
        return {
            "zcount": lambda: k() + bounds(SCORE_BOUNDS), "zlexcount": lambda: self.lexical_key() + bounds(LEX_BOUNDS),
            "zrange": self.zrange,
            "zrangestore": lambda: k() + self.zrange(), "zrangebyscore": by_score, "zrevrangebyscore": by_score, "zrangebylex": by_lex,
            "zrevrangebylex": by_lex, "zremrangebyscore": lambda: k() + bounds(SCORE_BOUNDS), "zremrangebylex": lambda: self.lexical_key() + bounds(LEX_BOUNDS),
            "zremrangebyrank": lambda: k() + self.integer() + self.integer(),
            "zrevrange": lambda: k() + self.integer() + self.integer() + self.options(["WITHSCORES"], ["NONSENSE"], most=1),
        }

    def other_rules(self):
        client = lambda: self.pick(["GETNAME"], ["SETNAME", "some"], ["SETNAME", "with space"], ["SETNAME", ""], ["NONSENSE"], ["SETNAME"], ["GETNAME", "x"])
        flush = lambda: self.maybe(0.3, self.pick("SYNC", "async", "NONSENSE"))
        return {"client": client, "flushall": flush, "flushdb": flush, "scan": lambda: ["0"] + self.scan_options(), "randomkey": lambda: [],
                "ping": lambda: self.maybe(0.5, "hello"), "echo": lambda: self.one(VALUES), "select": lambda: [self.pick("0", "0", "-1", "abc", "99999")]}

    def command(self):
        """A list of bytes."""
        if self.random.random() < 0.25:  # something that fills, or commands meet nothing but emptiness
            fillers = [n for n in ("set", "rpush", "hset", "sadd", "zadd", "mset", "lpush") if n in self.rules]
            name = self.random.choice(fillers or self.names)
        else:
            name = self.random.choice(self.names)
            if name.startswith("flush") and self.random.random() < 0.8:
                name = "dbsize" if "dbsize" in self.rules else name
        words = self.rules[name]()
        chance = self.random.random()
        if chance < 0.02 and words:
            words.pop(self.random.randrange(len(words)))
        # Not where that means billions of members, a cursor, which Redis reads too kindly, or that the key of another kind is read.
        elif chance < 0.04 and name not in ("srandmember", "scan", "hscan", "sscan", "zscan", "zrangestore"):
            words.insert(self.random.randint(0, len(words)), self.random.choice(INTEGERS + VALUES[:12]))
        return [w.encode("latin-1") for w in [self.cased(name)] + words]
