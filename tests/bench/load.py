# SPDX-License-Identifier: MIT
"""load.py: the load client of the workload kv against a server that is made up here, and misbehaves as told."""

import json
import os
import resource
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.environ["BENCH_SOURCE"])
import kv
import kv_run
import plots

LOAD = os.path.join(os.environ["BENCH_BUILD"], "kv_load")


class Server(threading.Thread):
    """Answers GET, SET, DBSIZE and FLUSHALL in one thread. `twist(server, name, key, reply)` may change a reply; None hangs up."""

    def __init__(self, twist=None, reads=True):
        super().__init__(daemon=True)
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "socket")
        self.twist, self.reads = twist, reads
        self.data, self.before, self.asked, self.stopping, self.unread = {}, {}, 0, False, []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(100)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ, None)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.join()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        for connection in self.unread:
            connection.close()
        self.selector.close()
        self.folder.cleanup()

    def run(self):
        while not self.stopping:
            for key, _ in self.selector.select(0.05):
                if key.data is None:
                    connection, _ = self.listener.accept()
                    if self.reads:
                        self.selector.register(connection, selectors.EVENT_READ, bytearray())
                    else:
                        self.unread.append(connection)  # open, and never looked at
                else:
                    self.serve(key.fileobj, key.data)

    def serve(self, connection, waiting):
        try:
            got = connection.recv(1 << 20)
        except OSError:
            got = b""
        waiting += got
        while got and (words := self.request(waiting)):
            reply = self.answer(*words)
            if reply is None:
                got = b""
                break
            try:
                connection.sendall(reply)
            except OSError:
                got = b""
        if not got:
            self.selector.unregister(connection)
            connection.close()

    @staticmethod
    def request(waiting):
        lines, at, words = bytes(waiting), 0, []
        end = lines.find(b"\r\n")
        if end < 0:
            return None
        count, at = int(lines[1:end]), end + 2
        for _ in range(count):
            end = lines.find(b"\r\n", at)
            if end < 0:
                return None
            size, at = int(lines[at + 1:end]), end + 2
            if len(lines) < at + size + 2:
                return None
            words.append(lines[at:at + size])
            at += size + 2
        del waiting[:at]
        return words

    def answer(self, name, key=None, value=None):
        self.asked += 1
        if name == b"SET":
            self.before[key] = self.data.get(key, value)
            self.data[key] = value
            reply = b"+OK\r\n"
        elif name == b"GET":
            reply = self.bulk(self.data.get(key))
        elif name == b"DBSIZE":
            reply = b":%d\r\n" % len(self.data)
        else:
            self.data.clear()
            reply = b"+OK\r\n"
        return self.twist(self, name, key, reply) if self.twist else reply

    @staticmethod
    def bulk(value):
        return b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value)


def load(server, *arguments):
    path = server if isinstance(server, str) else server.path
    command = [LOAD, "--unixsocket", path, "--connections", "5", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


class Good(unittest.TestCase):
    def record(self, *arguments, twist=None):
        with Server(twist) as server:
            done = load(server, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout), done.stderr

    def test_a_closed_loop(self):
        r, said = self.record("--preload", "0.2", "--seconds", "0.5", "--verify", "--get-share", "0.5", "--threads", "2", "--pipeline", "3")
        self.assertEqual((r["loop"], r["errors"], r["wrong"], r["misses"]), ("closed", 0, 0, 0))
        self.assertEqual(r["gets"] + r["sets"], r["ops"])
        self.assertGreater(r["ops"], 20)
        self.assertAlmostEqual(r["gets"] / r["ops"], 0.5, delta=0.25)
        self.assertAlmostEqual(r["preload_mib"], 0.2, delta=0.03)
        self.assertIn("latency us", said)

    def test_an_open_loop_sends_what_is_due(self):
        for more in ([], ["--poisson"], ["--zipf", "1"]):
            r, _ = self.record("--preload", "0.1", "--rate", "400", "--seconds", "1", "--verify", *more)
            self.assertEqual((r["loop"], r["wrong"]), ("open", 0))
            self.assertAlmostEqual(r["ops"], 400, delta=120 if more == ["--poisson"] else 2)

    def test_latency_counts_from_when_a_request_was_due(self):
        def pause(server, name, key, reply):
            if name in (b"GET", b"SET") and server.asked == 400:
                time.sleep(0.4)
            return reply
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "detail")
            r, _ = self.record("--keys", "100", "--rate", "1000", "--seconds", "1.5", "--detail", path, twist=pause)
            gaps = plots.detail_read(path)["gap"]
        self.assertGreaterEqual(r["latency_max_us"], 390e3)
        self.assertEqual(sum(count for _, count in gaps), r["ops"])
        # All that was due in the first half of the pause waited for the second half at least; a client that waits for replies would have seen one.
        self.assertGreaterEqual(sum(count for us, count in gaps if us > 200e3), 150)

    def test_the_same_seed_asks_the_same(self):
        def asked(seed):
            keys = []
            with Server(lambda server, name, key, reply: keys.append((name, key)) or reply) as server:
                load(server, "--connections", "1", "--keys", "1000", "--rate", "500", "--seconds", "0.3", "--seed", seed)
            return keys[:100]
        first = asked("1")
        self.assertEqual(first, asked("1"))
        self.assertNotEqual(first, asked("2"))

    def test_zipf_prefers_few_keys(self):
        def share(*arguments):
            keys = {}
            def count(server, name, key, reply):
                keys[key] = keys.get(key, 0) + (name == b"GET")
                return reply
            with Server(count) as server:
                load(server, "--keys", "1000", "--seconds", "0.7", "--get-share", "1", *arguments)
            return max(keys.values()) / sum(keys.values())
        self.assertLess(share(), 0.05)
        self.assertAlmostEqual(share("--zipf", "1"), 1 / 7.485, delta=0.05)  # 1 / (1 + 1/2 + ... + 1/1000)


class Bad(unittest.TestCase):
    def refused(self, said, *arguments, twist=None, status=1, reads=True):
        with Server(twist, reads) as server:
            done = load(server, *arguments)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertIn(said, done.stderr)
        return done

    def test_wrong_values_are_found(self):
        def changed(change):
            return lambda server, name, key, reply: reply if name != b"GET" else change(server, key, reply)
        value = lambda server, key: server.data[key]
        cases = [("another key's", lambda server, key, reply: server.bulk(server.data[min(server.data)]) if key != min(server.data) else reply),
                 ("had been replaced", lambda server, key, reply: server.bulk(server.before[key])),
                 ("not there", lambda server, key, reply: server.bulk(None)),
                 ("too short", lambda server, key, reply: server.bulk(b"x")),
                 ("its checksum is wrong", lambda server, key, reply: server.bulk(value(server, key)[:8] + b"\7\7\7\7" + value(server, key)[12:])),
                 ("its checksum is wrong", lambda server, key, reply: server.bulk(value(server, key)[:-1])),
                 ("its bytes are not", lambda server, key, reply: server.bulk(value(server, key)[:-1] + bytes([value(server, key)[-1] ^ 1])))]
        for said, change in cases:
            with self.subTest(said):
                done = self.refused(said, "--preload", "0.05", "--seconds", "0.5", "--verify", "--get-share", "0.5", twist=changed(change))
                self.assertGreater(json.loads(done.stdout)["wrong"], 0)

    def test_without_verification_they_are_not(self):
        with Server(lambda server, name, key, reply: server.bulk(b"x") if name == b"GET" else reply) as server:
            self.assertEqual(load(server, "--keys", "10", "--seconds", "0.2").returncode, 0)

    def test_missing_keys_may_be_allowed(self):
        with Server(lambda server, name, key, reply: b"$-1\r\n" if name == b"GET" else reply) as server:
            done = load(server, "--preload", "0.05", "--seconds", "0.3", "--verify", "--may-miss")
        self.assertEqual(done.returncode, 0)
        self.assertGreater(json.loads(done.stdout)["misses"], 0)

    def test_errors_are_counted(self):
        done = self.refused("OOM no memory", "--keys", "10", "--seconds", "0.3",
                            twist=lambda server, name, key, reply: b"-OOM no memory\r\n" if name == b"SET" else reply)
        self.assertGreater(json.loads(done.stdout)["errors"], 0)

    def test_servers_that_break_the_protocol(self):
        for said, reply in [("hung up", None), ("not one of Redis' protocol", b"HTTP/1.1 400 Bad Request\r\n\r\n"), ("not one of Redis' protocol", b"$abc\r\n"),
                            ("was answered by", b"$1\r\nx\r\n+OK\r\n"), ("was answered by", b":1\r\n"), ("not one of Redis' protocol", b"$1\r\nxyz\r\n")]:
            with self.subTest(reply):
                self.refused(said, "--keys", "10", "--seconds", "1", "--get-share", "1", twist=lambda server, name, key, _, reply=reply: reply)

    def test_a_reply_that_nobody_asked_for(self):
        self.refused("nobody asked for", "--keys", "10", "--seconds", "1", "--rate", "20", twist=lambda server, name, key, reply: reply + reply)

    def test_a_server_that_says_nothing(self):
        begun = time.monotonic()
        self.refused("no reply for 0.5 s", "--keys", "10", "--seconds", "30", "--timeout", "0.5", twist=lambda *_: b"")
        self.refused("no reply within 0.5 s", "--preload", "0.1", "--timeout", "0.5", twist=lambda *_: b"")
        self.assertLess(time.monotonic() - begun, 20)

    def test_the_bound_is_told_when_it_is_hit(self):
        def late(server, name, key, reply):
            if server.asked == 10:
                time.sleep(0.5)
            return reply
        with Server(late) as server:
            done = load(server, "--keys", "100", "--rate", "1000", "--seconds", "1", "--window", "4")
        self.assertEqual(done.returncode, 0)
        self.assertIn("BOUND HIT", done.stderr)
        self.assertGreater(json.loads(done.stdout)["bound_hits"], 0)
        self.assertGreater(json.loads(done.stdout)["latency_max_us"], 400e3)

    def test_a_server_that_takes_nothing(self):
        self.refused("no reply for 0.5 s", "--keys", "10", "--seconds", "30", "--rate", "2000", "--timeout", "0.5", "--value", "100000", "--get-share", "0", reads=False)

    def test_keys_that_do_not_arrive(self):
        self.refused("but DBSIZE is", "--preload", "0.1", "--seconds", "0",
                     twist=lambda server, name, key, reply: b":%d\r\n" % max(0, len(server.data) - 1) if name == b"DBSIZE" else reply)

    def test_a_server_that_is_not_empty(self):
        with Server() as server:
            self.assertEqual(load(server, "--preload", "0.1", "--seconds", "0").returncode, 0)
            done = load(server, "--preload", "0.1", "--seconds", "0")
            self.assertEqual(done.returncode, 1)
            self.assertIn("--flush", done.stderr)
            self.assertEqual(load(server, "--preload", "0.1", "--seconds", "0", "--flush").returncode, 0)

    def test_no_server(self):
        for arguments in (["--unixsocket", "/nonexistent/socket"], ["--port", "1"], ["--host", "no.such.host.invalid"]):
            done = subprocess.run([LOAD, *arguments], capture_output=True, text=True, check=False, timeout=60)
            self.assertEqual((done.returncode, done.stdout), (1, ""), arguments)
            self.assertIn("cannot connect to", done.stderr)

    def test_bad_command_lines_are_refused_by_name(self):
        for arguments, named in [(["--port", "0"], "--port"), (["--port", "x"], "--port"), (["--rate", "0"], "--rate"), (["--value", "8"], "--value"),
                                 (["--value", "64-32"], "--value"), (["--value", "a-b"], "--value"), (["--get-share", "1.5"], "--get-share"),
                                 (["--connections", "1.5"], "--connections"), (["--keys", "10"], "--keys"), (["--rate", "9", "--pipeline", "2"], "--pipeline"),
                                 (["--preload", "1", "--keys", "9"], "--keys"), (["--poisson"], "--poisson"), (["--flush"], "--flush"),
                                 (["--seconds", "0"], "--seconds"), (["--threads", "51"], "--threads"), (["--unixsocket", "x" * 200], "--unixsocket"),
                                 (["--unixsocket", "x", "--port", "1"], "--port"), (["stray"], "stray"), (["--nonsense"], "nonsense"), (["--seed"], "seed")]:
            with self.subTest(arguments):
                done = subprocess.run([LOAD, *arguments], capture_output=True, text=True, check=False, timeout=60)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertIn(named, done.stderr)


SERVERS = os.path.join(os.path.dirname(os.environ["BENCH_BUILD"]), "examples", "kv")
BUILT = [name for name in kv.SERVERS if os.path.exists(os.path.join(SERVERS, kv.SERVERS[name]))]


class Halves(unittest.TestCase):
    """kv_run.py, which makes the halves of a record, with the servers that are built, at a tiny size."""

    def run_half(self, server, *arguments):
        command = [sys.executable, "-B", kv_run.__file__, "--server", server, "--load", LOAD, "--live", "2", "--seconds", "0.5", "--warmup", "0.1",
                   "--idle", "0", *arguments]
        no_core = lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100, preexec_fn=no_core)

    @unittest.skipUnless(BUILT, "the example kv is not built")
    def test_with_every_server(self):
        for collector in BUILT:
            for part, expected in [(["--part", "throughput"], ["ops_per_s", "closed_p99_us"]),
                                   (["--part", "latency", "--rate", "300"], ["latency_p50_us", "latency_p9999_us", "latency_max_us", "late_max_us"])]:
                with self.subTest(collector=collector, part=part):
                    done = self.run_half(os.path.join(SERVERS, kv.SERVERS[collector]), "--collector", collector, *part)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    record = json.loads(done.stdout)
                    self.assertEqual((record["workload"], record["collector"], record["threads"]), ("kv", collector, 1))
                    self.assertEqual(record["back_end"] != "", collector == "veil")
                    for field in expected + ["peak_rss_mib", "live_mib"]:
                        self.assertGreater(record[field], 0, field)
                    self.assertGreater(record["peak_rss_mib"], record["live_mib"])
                    if collector == "veil" and part[1] == "latency":
                        for field in ("flip_max_us", "minor_max_us", "major_cycles", "traps"):
                            self.assertIn(field, record)

    @unittest.skipUnless("veil" in BUILT, "the example kv is not built")
    def test_the_back_end_is_passed_on(self):
        done = self.run_half(os.path.join(SERVERS, "kv"), "--collector", "veil", "--part", "throughput", "--back-end", "mprotect")
        self.assertEqual(json.loads(done.stdout)["back_end"], "mprotect")

    def test_a_server_that_ends_is_told(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "server")
            with open(path, "w", encoding="utf-8") as file:
                file.write("#!/bin/sh\necho cannot go on >&2\nexit 7\n")
            os.chmod(path, 0o755)
            done = self.run_half(path, "--collector", "veil", "--part", "throughput")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("status 7: cannot go on", done.stderr)


if __name__ == "__main__":
    unittest.main()
