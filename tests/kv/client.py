# SPDX-License-Identifier: MIT
# client.py: a server to test, and connections to it. Standard library only.

import array
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import termios
import time


class ReplyError(Exception):
    """An error reply, which compares as its text."""

    def __eq__(self, other):
        return isinstance(other, ReplyError) and str(self) == str(other)

    __hash__ = Exception.__hash__


def encode(*words):
    out = [b"*%d\r\n" % len(words)]
    for word in words:
        if not isinstance(word, bytes):
            word = str(word).encode()
        out.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(out)


class Connection:
    def __init__(self, path, timeout=60):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.buffer = b""

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def send_alone(self, data):
        """Sends it, and returns once the server has read it: so what follows comes to it by itself."""
        self.socket.sendall(data)
        left = array.array("i", [1])
        while left[0] > 0:
            fcntl.ioctl(self.socket, termios.TIOCOUTQ, left)

    def _more(self):
        data = self.socket.recv(1 << 20)
        if not data:
            raise EOFError("the server closed the connection")
        self.buffer += data

    def line(self):
        while b"\r\n" not in self.buffer:
            self._more()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def exactly(self, count):
        parts, have = [self.buffer], len(self.buffer)
        while have < count:
            data = self.socket.recv(1 << 20)
            if not data:
                raise EOFError("the server closed the connection")
            parts.append(data)
            have += len(data)
        whole = b"".join(parts)
        self.buffer = whole[count:]
        return whole[:count]

    def reply(self):
        line = self.line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return ReplyError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.exactly(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.reply() for _ in range(int(rest))]
        raise ValueError("no reply: %r" % line)

    def __call__(self, *words):
        self.send(encode(*words))
        return self.reply()

    def pipeline(self, requests):
        self.send(b"".join(encode(*r) for r in requests))
        return [self.reply() for _ in requests]

    def at_end(self):
        """True once the server has closed it."""
        try:
            return self.socket.recv(1 << 16) == b""
        except ConnectionResetError:
            return True


class Server:
    """Runs a server; `with` ends it, and fails if it does not end well."""

    def __init__(self, binary, *options, env=None, data=None):
        """`data`: a folder of the caller's for the file with the data, in the place of one that goes with the server."""
        self.folder = tempfile.mkdtemp(prefix="kv-test-")
        self.environment = env or {}
        self.path = os.path.join(self.folder, "socket")
        self.log = open(os.path.join(self.folder, "log"), "w+")
        command = [binary, "--port", "0", "--unixsocket", self.path, "--dir", data or self.folder, *map(str, options)]
        self.process = subprocess.Popen(command, stderr=self.log, stdout=self.log, env=dict(os.environ, **(env or {})))
        deadline = time.time() + 60
        while True:
            try:
                self.connect().close()
                return
            except OSError:
                if self.process.poll() is not None or time.time() > deadline:
                    raise RuntimeError("the server did not start: " + self.said())
                time.sleep(0.01)

    def connect(self, timeout=60):
        return Connection(self.path, timeout)

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def end(self, how=signal.SIGTERM, patience=60):
        if self.process.poll() is None and how is not None:
            self.process.send_signal(how)
        status = self.process.wait(patience)
        said = self.said()
        self.log.close()
        shutil.rmtree(self.folder)
        if status != 0:
            raise AssertionError("the server ended with status %d:\n%s" % (status, said))

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.end()
        else:
            self.process.kill()
            self.process.wait()
            print("the server said:\n" + self.said())


def check(got, wanted, what=""):
    if got != wanted:
        raise AssertionError("%s: %.300s, wanted %.300s" % (what, repr(got), repr(wanted)))
