# SPDX-License-Identifier: MIT
"""resp.py: Redis' protocol as the tests of kv need it: connections that can misbehave, replies, and servers that are started and ended."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time


class Status(bytes):
    """A reply that began with '+'."""

    def __repr__(self):
        return "+" + self.decode("latin-1")


class Failure(bytes):
    """A reply that began with '-'."""

    def __repr__(self):
        return "-" + self.decode("latin-1")


class Broken(Exception):
    """What came is not of the protocol, or the connection ended within it."""


def encode(arguments):
    parts = [b"*%d\r\n" % len(arguments)]
    for one in arguments:
        one = one if isinstance(one, bytes) else str(one).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(one), one))
    return b"".join(parts)


class Connection:
    def __init__(self, address, timeout=20):
        self.socket = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self.socket.settimeout(timeout)
        limit = time.monotonic() + (timeout or 1e9)
        while True:
            try:
                self.socket.connect(address)
                break
            except BlockingIOError:  # a UNIX socket whose backlog is full
                if time.monotonic() > limit:
                    raise
                time.sleep(0.005)
        if not isinstance(address, str):
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.waiting = bytearray()
        self.at = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def more(self):
        got = self.socket.recv(1 << 16)
        if not got:
            raise Broken(f"hung up, with {bytes(self.waiting[self.at:self.at + 40])!r} before it")
        del self.waiting[:self.at]
        self.at = 0
        self.waiting += got

    def line(self):
        while (end := self.waiting.find(b"\r\n", self.at)) < 0:
            if len(self.waiting) - self.at > 1 << 20:
                raise Broken("a line of more than a MiB")
            self.more()
        line = bytes(self.waiting[self.at:end])
        self.at = end + 2
        return line

    def exactly(self, count):
        while len(self.waiting) - self.at < count:
            self.more()
        data = bytes(self.waiting[self.at:self.at + count])
        self.at += count
        return data

    def reply(self):
        line = self.line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return Status(rest)
        if kind == b"-":
            return Failure(rest)
        if kind not in (b":", b"$", b"*"):
            raise Broken(f"no reply begins so: {line[:60]!r}")
        try:
            number = int(rest)
        except ValueError:
            raise Broken(f"no number: {line[:60]!r}") from None
        if kind == b":":
            return number
        if number < 0:
            return None
        if kind == b"*":
            return [self.reply() for _ in range(number)]
        data = self.exactly(number + 2)
        if data[-2:] != b"\r\n":
            raise Broken(f"a string without its end: {data[-20:]!r}")
        return data[:-2]

    def ask(self, *arguments):
        self.send(encode(arguments))
        return self.reply()

    def ask_all(self, commands):
        self.send(b"".join(encode(c) for c in commands))
        return [self.reply() for _ in commands]


class Server:
    """A server in a folder of its own that is ended with the block."""

    def __init__(self, command, program=None):
        # It runs in a folder of its own. program: what is run, if it is not what the command says.
        self.command, self.program = [os.path.abspath(command[0]) if "/" in command[0] else command[0], *command[1:]], program
        self.name = os.path.basename(command[0])

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="kv-test-")
        self.path = os.path.join(self.folder, "socket")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = open(os.path.join(self.folder, "log"), "wb")
        command = self.command + ["--port", str(self.port), "--unixsocket", self.path]
        self.process = subprocess.Popen(command, executable=self.program, cwd=self.folder, stdout=self.log, stderr=self.log)
        limit = time.monotonic() + 30
        while True:
            try:
                with Connection(self.path) as c:
                    if c.ask("PING") == b"PONG":
                        return self
            except (OSError, Broken):
                pass
            if self.process.poll() is not None or time.monotonic() > limit:
                said = self.said()
                self.__exit__()
                raise RuntimeError(f"{self.name} does not start: {said}")
            time.sleep(0.02)

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def tcp(self):
        return ("127.0.0.1", self.port)

    def said(self):
        self.log.flush()
        with open(self.log.name, encoding="utf-8", errors="replace") as file:
            return file.read()[-2000:]

    def ended(self):
        """None while it runs, else how it ended and what it said."""
        status = self.process.poll()
        return None if status is None else f"{self.name} ended with status {status}: {self.said()}"

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def held_mib(self):
        """Memory held, a doubly mapped page once."""
        with open(f"/proc/{self.process.pid}/smaps_rollup", encoding="utf-8") as file:
            return sum(int(line.split()[1]) for line in file if line.startswith("Pss:")) / 1024


def redis_server():
    """A real server, not started yet, or None if none is installed."""
    # Debian's redis-tools has the same program under another name, and starts no daemon when it is installed. It goes by the name that it is called.
    path = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    command = ["redis-server", "--save", "", "--appendonly", "no", "--loglevel", "warning", "--bind", "127.0.0.1"]
    return path and Server(command, path)
