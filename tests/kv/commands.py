# SPDX-License-Identifier: MIT
# commands.py: every command's results and errors, as tables of requests and replies.

from client import ReplyError, check

WRONG = ReplyError("WRONGTYPE Operation against a key holding the wrong kind of value")
NO_INTEGER = ReplyError("ERR value is not an integer or out of range")
NO_FLOAT = ReplyError("ERR value is not a valid float")
SYNTAX = ReplyError("ERR syntax error")
OK = "OK"


def arity(name):
    return ReplyError("ERR wrong number of arguments for '%s' command" % name)


def run(c, table):
    for words, wanted in table:
        words = words.split(" ") if isinstance(words, str) else words
        got = c(*words)
        if isinstance(wanted, set):
            got = set(got)
        check(got, wanted, " ".join(map(str, words))[:200])


def strings(c):
    run(c, [
        ("SET k v", OK), ("GET k", b"v"), ("get K", None), ("SET k w NX", None), ("SET k w XX", OK), ("GET k", b"w"),
        ("SET n 1 XX", None), ("SET n 1 NX", OK), ("SET n 2 GET", b"1"), ("SET new 2 GET", None), ("GET new", b"2"),
        ("SET k v EX 100", OK), ("TTL k", 100), ("SET k v KEEPTTL", OK), ("TTL k", 100), ("SET k v", OK), ("TTL k", -1),
        ("SET k v PX 100000", OK), ("TTL k", 100), ("SET k v EX 0", ReplyError("ERR invalid expire time in 'set' command")),
        ("SET k v EX", SYNTAX), ("SET k v NX XX", SYNTAX), ("SET k v EX 1 PX 1", SYNTAX), ("SET k v EX x", NO_INTEGER), ("SET k v EX 1 KEEPTTL", SYNTAX),
        ("SET k", arity("set")), ("GET", arity("get")), ("GETSET k x", b"v"), ("GETSET none x", None), ("GET none", b"x"),
        ("GETDEL none", b"x"), ("GETDEL none", None), ("GETEX k EX 50", b"x"), ("TTL k", 50), ("GETEX k PERSIST", b"x"), ("TTL k", -1),
        ("MSET a 1 b 2 c 3", OK), ("MGET a b c d", [b"1", b"2", b"3", None]), ("MSET a 1 b", arity("mset")),
        ("MSETNX x 1 a 2", 0), ("EXISTS x", 0), ("MSETNX x 1 y 2", 1), ("MGET x y", [b"1", b"2"]), ("MSET a 5 a 6", OK), ("GET a", b"6"),
        ("SETNX a 9", 0), ("SETNX z 9", 1), ("SETEX e 10 v", OK), ("TTL e", 10), ("PSETEX e 10000 v", OK), ("TTL e", 10),
        ("SETEX e 0 v", ReplyError("ERR invalid expire time in 'setex' command")),
        ("APPEND ap he", 2), ("APPEND ap llo", 5), ("GET ap", b"hello"), ("STRLEN ap", 5), ("STRLEN nothing", 0),
        ("GETRANGE ap 1 3", b"ell"), ("GETRANGE ap -3 -1", b"llo"), ("GETRANGE ap 3 1", b""), ("GETRANGE nothing 0 -1", b""), ("GETRANGE ap 0 99", b"hello"),
        ("SETRANGE ap 1 EY", 5), ("GET ap", b"hEYlo"), ("SETRANGE sr 3 x", 4), ("GET sr", b"\0\0\0x"), ("SETRANGE ap -1 x", ReplyError("ERR offset is out of range")),
        (["SETRANGE", "nothing", "5", ""], 0), ("EXISTS nothing", 0),
        ("SETRANGE ap 999999999 x", ReplyError("ERR string exceeds maximum allowed size (proto-max-bulk-len)")),
        ("INCR i", 1), ("INCR i", 2), ("DECR i", 1), ("INCRBY i 41", 42), ("DECRBY i 2", 40), ("GET i", b"40"), ("INCRBY i x", NO_INTEGER),
        ("SET i 9223372036854775807", OK), ("INCR i", ReplyError("ERR increment or decrement would overflow")),
        ("SET i -9223372036854775808", OK), ("DECR i", ReplyError("ERR increment or decrement would overflow")), ("INCRBY i 1", -9223372036854775807),
        ("DECRBY i -9223372036854775808", ReplyError("ERR decrement would overflow")),
        ("SET i abc", OK), ("INCR i", NO_INTEGER), ("SET i 010", OK), ("INCR i", NO_INTEGER), (["SET", "i", " 1"], OK), ("INCR i", NO_INTEGER),
        ("SET i 5 EX 100", OK), ("INCR i", 6), ("TTL i", 100),
        ("INCRBYFLOAT f 1.5", b"1.5"), ("INCRBYFLOAT f 1.5", b"3"), ("INCRBYFLOAT f 0.1", b"3.1"), ("INCRBYFLOAT f x", NO_FLOAT), ("INCRBYFLOAT k 1", NO_FLOAT),
        ("RPUSH list a", 1), ("GET list", WRONG), ("INCR list", WRONG), ("APPEND list a", WRONG), ("SET list x GET", WRONG), ("GETSET list x", WRONG),
        ("MGET list a", [None, b"6"]), ("SET list x", OK), ("GET list", b"x"),
    ])
    for size in (0, 1, 100, 1023, 1024, 1025, 5000, 16383, 16384, 70000, 1 << 20):
        text = bytes(i * 7 % 251 for i in range(min(size, 1000))) * (size // 1000 + 1)
        text = text[:size]
        run(c, [(["SET", "big", text], OK), (["GET", "big"], text), (["STRLEN", "big"], size), (["APPEND", "big", "xyz"], size + 3),
                (["GET", "big"], text + b"xyz"), (["SETRANGE", "big", size, "ABCDEF"], size + 6), (["GET", "big"], text + b"ABCDEF"),
                (["SET", "big", "s"], OK), (["GET", "big"], b"s"), (["HSET", "bigh", "f", text], 1), (["HGET", "bigh", "f"], text), (["DEL", "bigh"], 1)])
    text = b""
    c("DEL", "grows")
    for i in range(300):
        text += b"%d," % i * 20
        check(c("APPEND", "grows", b"%d," % i * 20), len(text), "APPEND")
    check(c("GET", "grows"), text, "GET grows")


def lists(c):
    run(c, [
        ("RPUSH l a b c", 3), ("LPUSH l z y", 5), ("LRANGE l 0 -1", [b"y", b"z", b"a", b"b", b"c"]), ("LLEN l", 5), ("LLEN none", 0),
        ("LPUSHX none a", 0), ("RPUSHX none a", 0), ("RPUSHX l d", 6), ("LPUSHX l x", 7), ("LPOP l", b"x"), ("RPOP l", b"d"), ("LPOP none", None),
        ("LPOP l 2", [b"y", b"z"]), ("RPOP l 2", [b"c", b"b"]), ("LPOP none 2", None), ("LPOP l 0", []), ("RPOP l 99", [b"a"]), ("EXISTS l", 0),
        ("LPOP l -1", ReplyError("ERR value is out of range, must be positive")), ("RPUSH l a b c d e", 5), ("LINDEX l 0", b"a"), ("LINDEX l -1", b"e"),
        ("LINDEX l 9", None), ("LINDEX none 0", None), ("LINDEX l x", NO_INTEGER), ("LSET l 1 BB", OK), ("LSET l -1 muchlonger", OK), ("LSET l 9 x", ReplyError("ERR index out of range")),
        ("LSET none 0 x", ReplyError("ERR no such key")), ("LRANGE l 1 2", [b"BB", b"c"]), ("LRANGE l -2 -1", [b"d", b"muchlonger"]), ("LRANGE l 3 1", []),
        ("LRANGE l 5 9", []), ("LRANGE none 0 -1", []), ("LRANGE l x 1", NO_INTEGER), ("DEL l", 1),
        ("RPUSH l x a x b x c x", 7), ("LREM l 2 x", 2), ("LRANGE l 0 -1", [b"a", b"b", b"x", b"c", b"x"]), ("LREM l -1 x", 1), ("LRANGE l 0 -1", [b"a", b"b", b"x", b"c"]),
        ("LREM l 0 x", 1), ("LREM l 0 none", 0), ("LREM none 0 x", 0), ("LTRIM l 1 1", OK), ("LRANGE l 0 -1", [b"b"]), ("LTRIM l 5 9", OK), ("EXISTS l", 0), ("LTRIM none 0 1", OK),
        ("RPUSH l a c", 2), ("LINSERT l BEFORE c b", 3), ("LINSERT l AFTER c d", 4), ("LINSERT l AFTER zz d", -1), ("LINSERT none AFTER a b", 0), ("LINSERT l MID a b", SYNTAX),
        ("LRANGE l 0 -1", [b"a", b"b", b"c", b"d"]), ("RPOPLPUSH l m", b"d"), ("RPOPLPUSH l l", b"c"), ("LRANGE l 0 -1", [b"c", b"a", b"b"]), ("LMOVE l m LEFT RIGHT", b"c"),
        ("LMOVE l l LEFT LEFT", b"a"), ("LMOVE l l RIGHT RIGHT", b"b"), ("LRANGE l 0 -1", [b"a", b"b"]), ("LRANGE m 0 -1", [b"d", b"c"]), ("LMOVE none l LEFT LEFT", None), ("LMOVE l m UP LEFT", SYNTAX),
        ("SET s v", OK), ("LPUSH s a", WRONG), ("LPOP s", WRONG), ("LRANGE s 0 1", WRONG), ("LLEN s", WRONG), ("RPOPLPUSH l s", WRONG), ("LRANGE l 0 -1", [b"a", b"b"]),
        ("LPUSH l", arity("lpush")), ("LPOP l 1 2", arity("lpop")),
    ])
    import random
    for seed in range(3):
        random.seed(seed)
        model = []
        c("DEL", "r")
        for i in range(1500):
            word = b"%d-" % i + b"x" * random.choice((0, 3, 60, 253, 254, 255, 256, 700, 3000 if i % 50 == 0 else 5))
            what = random.randrange(9)
            if what < 2:
                check(c("RPUSH", "r", word), len(model) + 1, "RPUSH")
                model.append(word)
            elif what < 4:
                check(c("LPUSH", "r", word), len(model) + 1, "LPUSH")
                model.insert(0, word)
            elif what == 4:
                check(c("LPOP", "r"), model.pop(0) if model else None, "LPOP")
            elif what == 5 and random.random() < 0.8:
                check(c("RPOP", "r"), model.pop() if model else None, "RPOP")
            elif what == 6 and model:
                at = random.randrange(len(model))
                check(c("LSET", "r", at, word), OK, "LSET")
                model[at] = word
            elif what == 7 and model:
                at = random.randrange(len(model))
                check(c("LINSERT", "r", "BEFORE", model[at], word), len(model) + 1, "LINSERT")
                model.insert(at, word)
            elif model:
                at = random.randrange(len(model))
                check(c("LINDEX", "r", at), model[at], "LINDEX")
                check(c("LREM", "r", -1, model[at]), 1, "LREM")
                model.pop(at)
        check(c("LRANGE", "r", 0, -1), model, "the list")
        check(c("LRANGE", "r", 100, 300), model[100:301], "its middle")
        c("LTRIM", "r", 50, -60)
        check(c("LRANGE", "r", 0, -1), model[50:-59], "trimmed")


def hashes(c):
    run(c, [
        ("HSET h a 1 b 2", 2), ("HSET h a 3 c 4", 1), ("HGET h a", b"3"), ("HGET h x", None), ("HGET none a", None), ("HMGET h a x b", [b"3", None, b"2"]),
        ("HMGET none a b", [None, None]), ("HLEN h", 3), ("HLEN none", 0), ("HEXISTS h a", 1), ("HEXISTS h x", 0), ("HKEYS h", {b"a", b"b", b"c"}), ("HVALS h", {b"3", b"2", b"4"}),
        ("HGETALL h", {b"a", b"b", b"c", b"3", b"2", b"4"}), ("HGETALL none", []), ("HDEL h a x", 1), ("HSETNX h b 9", 0), ("HSETNX h n 9", 1), ("HGET h n", b"9"),
        ("HINCRBY h n 5", 14), ("HINCRBY h new -3", -3), ("HINCRBY h n x", NO_INTEGER), ("HSET h t abc", 1), ("HINCRBY h t 1", ReplyError("ERR hash value is not an integer")),
        ("HINCRBYFLOAT h n 0.5", b"14.5"), ("HSTRLEN h t", 3), ("HSTRLEN h x", 0), ("HMSET h q 1", OK), ("HSET h a", arity("hset")), ("HSET h a 1 b", arity("hset")),
        ("HDEL h a b c n new t q", 6), ("EXISTS h", 0), ("SET s v", OK), ("HSET s a 1", WRONG), ("HGET s a", WRONG), ("HGETALL s", WRONG), ("HSCAN s 0", WRONG),
        ("HSCAN none 0", [b"0", []]),
    ])
    for i in range(1000):
        c("HSET", "many", "f%d" % i, "v%d" % i)
    check(c("HLEN", "many"), 1000)
    check(set(c("HKEYS", "many")), {b"f%d" % i for i in range(1000)}, "HKEYS")
    found, cursor = {}, b"0"
    while True:
        cursor, part = c("HSCAN", "many", cursor, "COUNT", 50)
        found.update(zip(part[::2], part[1::2]))
        if cursor == b"0":
            break
    check(found, {b"f%d" % i: b"v%d" % i for i in range(1000)}, "HSCAN")
    check(sorted(c("HSCAN", "many", "0", "MATCH", "f99*", "COUNT", 5000)[1][::2]), sorted([b"f99"] + [b"f99%d" % i for i in range(10)]), "HSCAN MATCH")
    for i in range(990):
        check(c("HDEL", "many", "f%d" % i), 1, "HDEL")
    check(set(c("HKEYS", "many")), {b"f%d" % i for i in range(990, 1000)}, "HKEYS")


def sets(c):
    run(c, [
        ("SADD s a b c a", 3), ("SADD s c d", 1), ("SCARD s", 4), ("SISMEMBER s a", 1), ("SISMEMBER s x", 0), ("SMISMEMBER s a x", [1, 0]), ("SMISMEMBER none a", [0]),
        ("SMEMBERS s", {b"a", b"b", b"c", b"d"}), ("SREM s a x", 1), ("SREM none a", 0), ("SADD t c d e", 3), ("SADD u d", 1), ("SINTER s t", {b"c", b"d"}), ("SINTER s t u", [b"d"]),
        ("SINTER s none", []), ("SUNION s t none", {b"b", b"c", b"d", b"e"}), ("SDIFF s t", [b"b"]), ("SDIFF none s", []), ("SDIFF t u s", [b"e"]), ("SMOVE s t b", 1), ("SISMEMBER t b", 1),
        ("SMOVE s t b", 0), ("SCARD s", 2), ("SPOP none", None), ("SPOP none 3", []), ("SPOP s 9", {b"c", b"d"}), ("EXISTS s", 0), ("SRANDMEMBER none", None), ("SRANDMEMBER none 3", []),
        ("SRANDMEMBER u", b"d"), ("SRANDMEMBER u 5", [b"d"]), ("SRANDMEMBER u -3", [b"d", b"d", b"d"]), ("SRANDMEMBER t 0", []), ("SPOP u", b"d"), ("EXISTS u", 0),
        ("SPOP t -1", ReplyError("ERR value is out of range, must be positive")), ("SET k v", OK), ("SADD k a", WRONG), ("SINTER t k", WRONG), ("SPOP k", WRONG), ("SSCAN k 0", WRONG),
    ])
    words = {b"%d" % i for i in range(2000)}
    c("SADD", "many", *words)
    check(set(c("SRANDMEMBER", "many", 3000)), words, "SRANDMEMBER of all")
    some = c("SRANDMEMBER", "many", 100)
    check(len(set(some)), 100, "SRANDMEMBER gives different ones")
    gone = set(c("SPOP", "many", 500)) | {c("SPOP", "many") for _ in range(500)}
    check(len(gone), 1000, "SPOP")
    check(set(c("SMEMBERS", "many")), words - gone, "what is left")
    found, cursor = [], b"0"
    while True:
        cursor, part = c("SSCAN", "many", cursor, "COUNT", 20)
        found += part
        if cursor == b"0":
            break
    check(sorted(found), sorted(words - gone), "SSCAN reports each once")


def sorteds(c):
    incompatible = ReplyError("ERR GT, LT, and/or NX options at the same time are not compatible")
    run(c, [
        ("ZADD z 1 a 2 b 3 c", 3), ("ZADD z 5 a", 0), ("ZADD z CH 6 a 9 d", 2), ("ZSCORE z a", b"6"), ("ZSCORE z x", None), ("ZMSCORE z a x", [b"6", None]), ("ZCARD z", 4),
        ("ZADD z NX 7 a 7 e", 1), ("ZADD z XX 1 a 1 q", 0), ("ZSCORE z a", b"1"), ("ZADD z GT 0 a", 0), ("ZSCORE z a", b"1"), ("ZADD z LT CH 0.5 a", 1), ("ZADD z GT CH 4 a", 1),
        ("ZADD z INCR 2 a", b"6"), ("ZADD z NX INCR 2 a", None), ("ZADD z NX GT 1 a", incompatible), ("ZADD z NX XX 1 a", ReplyError("ERR XX and NX options at the same time are not compatible")),
        ("ZADD z x a", NO_FLOAT), ("ZADD z 1 a 2", SYNTAX), ("ZADD z INCR 1 a 2 b", ReplyError("ERR INCR option supports a single increment-element pair")), ("ZADD none XX 1 a", 0), ("EXISTS none", 0),
        ("ZRANGE z 0 -1 WITHSCORES", [b"b", b"2", b"c", b"3", b"a", b"6", b"e", b"7", b"d", b"9"]), ("ZREVRANGE z 0 1", [b"d", b"e"]), ("ZRANGE z 0 1 REV WITHSCORES", [b"d", b"9", b"e", b"7"]),
        ("ZRANK z b", 0), ("ZRANK z d", 4), ("ZREVRANK z d", 0), ("ZRANK z x", None), ("ZRANGE z 1 2", [b"c", b"a"]), ("ZRANGE z -1 -1", [b"d"]), ("ZRANGE z 9 10", []),
        ("ZRANGEBYSCORE z 3 7", [b"c", b"a", b"e"]), ("ZRANGEBYSCORE z (3 (7", [b"a"]), ("ZRANGEBYSCORE z -inf +inf LIMIT 1 2", [b"c", b"a"]), ("ZRANGE z (3 inf BYSCORE", [b"a", b"e", b"d"]),
        ("ZRANGE z inf 3 BYSCORE REV LIMIT 1 2", [b"e", b"a"]), ("ZREVRANGEBYSCORE z 7 3 WITHSCORES LIMIT 0 1", [b"e", b"7"]), ("ZRANGEBYSCORE z x 1", ReplyError("ERR min or max is not a float")),
        ("ZRANGE z 0 1 LIMIT 0 1", ReplyError("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")), ("ZCOUNT z 3 (9", 3), ("ZCOUNT z 9 3", 0), ("ZCOUNT none 0 1", 0),
        ("ZINCRBY z 1.5 b", b"3.5"), ("ZINCRBY z 1 new", b"1"), ("ZADD inf inf a", 1), ("ZINCRBY inf -inf a", ReplyError("ERR resulting score is not a number (NaN)")), ("ZSCORE inf a", b"inf"),
        ("ZREM z new x", 1), ("ZPOPMIN z", [b"c", b"3"]), ("ZPOPMAX z 2", [b"d", b"9", b"e", b"7"]), ("ZPOPMIN none", []), ("ZPOPMIN z 99", [b"b", b"3.5", b"a", b"6"]), ("EXISTS z", 0),
        ("ZADD t 0 a 0 b 0 c 0 d", 4), ("ZRANGE t [b (d BYLEX", [b"b", b"c"]), ("ZRANGE t - + BYLEX LIMIT 1 2", [b"b", b"c"]), ("ZRANGE t [c - BYLEX REV", [b"c", b"b", b"a"]),
        ("ZREMRANGEBYRANK t 0 1", 2), ("ZREMRANGEBYSCORE t (0 1", 0), ("ZREMRANGEBYSCORE t 0 0", 2), ("EXISTS t", 0), ("SET k v", OK), ("ZADD k 1 a", WRONG), ("ZRANGE k 0 1", WRONG), ("ZSCAN k 0", WRONG),
        ("ZADD z -1.25 neg 1e100 huge", 2), ("ZSCORE z neg", b"-1.25"), ("ZSCORE z huge", b"1e+100"), ("DEL z", 1),
    ])
    import random
    random.seed(5)
    model = {}
    for i in range(3000):
        name = b"m%d" % random.randrange(700)
        if random.random() < 0.25:
            check(c("ZREM", "many", name), 1 if model.pop(name, None) is not None else 0, "ZREM")
        else:
            model[name] = random.randrange(100)
            c("ZADD", "many", model[name], name)
    order = sorted(model, key=lambda m: (model[m], m))
    check(c("ZRANGE", "many", 0, -1), order, "ZRANGE of all")
    check(c("ZREVRANGE", "many", 10, 60), order[::-1][10:61], "ZREVRANGE")
    for i in range(0, len(order), 37):
        check(c("ZRANK", "many", order[i]), i, "ZRANK")
    check(c("ZCOUNT", "many", 20, 39), sum(20 <= s < 40 for s in model.values()), "ZCOUNT")
    check(c("ZRANGEBYSCORE", "many", "(20", "40", "LIMIT", 5, 10), [m for m in order if 20 < model[m] <= 40][5:15], "ZRANGEBYSCORE")
    found, cursor = {}, b"0"
    while True:
        cursor, part = c("ZSCAN", "many", cursor)
        found.update(zip(part[::2], map(int, part[1::2])))
        if cursor == b"0":
            break
    check(found, model, "ZSCAN")
    popped = c("ZPOPMIN", "many", 100)[::2]
    check(popped, order[:100], "ZPOPMIN")


def keys(c):
    run(c, [
        ("SET a 1", OK), ("LPUSH l 1", 1), ("HSET h a 1", 1), ("SADD s a", 1), ("ZADD z 1 a", 1), ("DBSIZE", 5), ("TYPE a", "string"), ("TYPE l", "list"), ("TYPE h", "hash"), ("TYPE s", "set"),
        ("TYPE z", "zset"), ("TYPE none", "none"), ("EXISTS a l none a", 3), ("KEYS *", {b"a", b"l", b"h", b"s", b"z"}), ("KEYS [a-l]", {b"a", b"l", b"h"}), ("KEYS none*", []),
        ("SCAN 0 COUNT 1000 TYPE list", [b"0", [b"l"]]), ("SCAN 0 COUNT 1000 MATCH l*", [b"0", [b"l"]]), ("SCAN x", ReplyError("ERR invalid cursor")), ("SCAN 0 COUNT 0", SYNTAX),
        ("SCAN 0 NONE 1", SYNTAX), ("EXPIRE a 100", 1), ("TTL a", 100), ("EXPIRE none 1", 0), ("PTTL none", -2), ("TTL l", -1), ("EXPIRE a 200 NX", 0), ("EXPIRE a 200 XX", 1), ("EXPIRE a 100 GT", 0),
        ("EXPIRE a 100 LT", 1), ("EXPIRE a 1 NX XX", ReplyError("ERR NX and XX, GT or LT options at the same time are not compatible")), ("EXPIRE a 1 YY", ReplyError("ERR Unsupported option YY")),
        ("EXPIRE a x", NO_INTEGER), ("PERSIST a", 1), ("PERSIST a", 0), ("TTL a", -1), ("GET a", b"1"), ("PEXPIRE l 100000", 1), ("LRANGE l 0 -1", [b"1"]), ("TTL l", 100), ("LPUSH l 2", 2), ("TTL l", 100),
        ("PERSIST l", 1), ("LRANGE l 0 -1", [b"2", b"1"]), ("EXPIREAT a 9999999999", 1), ("EXPIRETIME a", 9999999999), ("PEXPIRETIME a", 9999999999000), ("EXPIRE a -1", 1), ("EXISTS a", 0), ("PEXPIREAT h 1", 1),
        ("EXISTS h", 0), ("EXPIRE l 9223372036854775807", ReplyError("ERR invalid expire time in 'expire' command")), ("RENAME l m", OK), ("LRANGE m 0 -1", [b"2", b"1"]), ("EXISTS l", 0),
        ("RENAME none x", ReplyError("ERR no such key")), ("RENAME m s", OK), ("TYPE s", "list"), ("RENAME s s", OK), ("SET q 1 EX 100", OK), ("RENAME q r", OK), ("TTL r", 100), ("RENAMENX r z", 0), ("RENAMENX r y", 1),
        ("GET y", b"1"), ("DEL y none s", 2), ("RANDOMKEY", b"z"), ("UNLINK z", 1), ("RANDOMKEY", None), ("DBSIZE", 0), ("SET a 1", OK), ("FLUSHALL", OK), ("GET a", None), ("SET a 1", OK), ("FLUSHDB ASYNC", OK), ("DBSIZE", 0),
        ("TOUCH a", 0), ("SET a 1", OK), ("OBJECT ENCODING a", b"embstr"),
    ])
    big = b"B" * 100000
    run(c, [(["SET", "x", big], OK), ("RENAME x y", OK), (["GET", "y"], big), ("EXPIRE y 100", 1), (["GET", "y"], big), ("PERSIST y", 1), (["GET", "y"], big)])
    long = b"k" * 3000
    run(c, [(["SET", long, "v"], OK), (["GET", long], b"v"), (["LPUSH", long + b"l", "v"], 1), (["LPOP", long + b"l"], b"v"), (["ZADD", "z", 1, long], 1), (["ZRANGE", "z", 0, -1], [long]),
            (["SADD", "s", long], 1), (["SISMEMBER", "s", long], 1), (["DEL", long], 1)])


def server(c):
    run(c, [
        ("PING", "PONG"), ("PING hi", b"hi"), ("ECHO hi", b"hi"), ("SELECT 0", OK), ("SELECT 1", ReplyError("ERR DB index is out of range")), ("CLIENT SETNAME me", OK), ("CLIENT GETNAME", b"me"),
        (["CLIENT", "SETNAME", "a b"], ReplyError("ERR Client names cannot contain spaces, newlines or special characters.")), ("RESET", "RESET"), ("CLIENT GETNAME", None), ("CONFIG GET maxmemory", [b"maxmemory", b"0"]),
        ("CONFIG SET maxmemory 1mb", OK), ("CONFIG GET maxmemory", [b"maxmemory", b"1048576"]), ("CONFIG SET maxmemory 0", OK), ("CONFIG SET maxmemory-policy allkeys-lru", OK),
        ("CONFIG GET maxmemory-p*", [b"maxmemory-policy", b"allkeys-lru"]), ("CONFIG SET maxmemory-policy noeviction", OK), ("CONFIG GET save", [b"save", b""]), ("HELLO 3", ReplyError("NOPROTO unsupported protocol version")),
        ("NOSUCH a b", ReplyError("ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' ")), ("COMMAND COUNT", len(c("COMMAND"))), ("COMMAND INFO get", [[b"get", 2, ["readonly", "fast"], 1, 1, 1]]),
        ("DEBUG SLEEP 0.01", OK), ("MEMORY USAGE none", None), ("CLIENT KILL ID 99999999", 0), ("DEBUG COLLECT", OK),
    ])
    check(c("HELLO", 2)[:2], [b"server", b"redis"], "HELLO")
    c("CLIENT", "SETNAME", "tester")
    if b"name=tester" not in c("CLIENT", "LIST") or b"id=%d " % c("CLIENT", "ID") not in c("CLIENT", "INFO"):
        raise AssertionError("CLIENT LIST does not know this client")
    info = c("INFO").decode()
    for wanted in ("# Server", "# Clients", "# Memory", "# Stats", "# Collector", "collector_name:", "used_memory:"):
        if wanted not in info:
            raise AssertionError("INFO lacks " + wanted)
    check(c("INFO", "clients").decode().startswith("# Clients"), True, "INFO clients")
    c("SET", "k", b"x" * 5000)
    usage = c("MEMORY", "USAGE", "k")
    if not 5000 <= usage <= 5200:
        raise AssertionError("MEMORY USAGE of 5000 bytes is %d" % usage)


ALL = [strings, lists, hashes, sets, sorteds, keys, server]


def run_all(c):
    for part in ALL:
        check(c("FLUSHALL"), OK)
        part(c)
