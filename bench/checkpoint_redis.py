# SPDX-License-Identifier: MIT
"""checkpoint_redis.py: the peer redis-server of the workload checkpoint: fills it, loads it with kv_load (75 % reads), asks for BGSAVE, and says in JSON what was seen.

The pause is what the server says that its fork() took. Values are random, so nothing is compressed. Exit status: 0; 1 with a message; 77 if there is no redis-server.
"""

import argparse
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

MIB = 1 << 20
PR_SET_PDEATHSIG = 1


class Failed(Exception):
    pass


class Server:
    def __init__(self, path):
        self.folder = tempfile.mkdtemp(prefix="bench-redis-")
        self.socket = os.path.join(self.folder, "socket")
        command = ["redis-server", "--port", "0", "--unixsocket", self.socket, "--dir", self.folder, "--save", "", "--appendonly", "no", "--rdbcompression", "no",
                   "--loglevel", "warning", "--enable-debug-command", "yes"]
        libc = ctypes.CDLL(None)
        self.process = subprocess.Popen(command, executable=path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
        limit = time.monotonic() + 30
        while True:
            try:
                self.connection = socket.socket(socket.AF_UNIX)
                self.connection.connect(self.socket)
                break
            except OSError:
                self.connection.close()
                if self.process.poll() is not None or time.monotonic() > limit:
                    raise Failed("redis-server does not start") from None
                time.sleep(0.02)
        self.file = self.connection.makefile("rb")

    def ask(self, text):
        self.connection.sendall(text.encode() + b"\r\n")
        line = self.file.readline()
        return self.file.read(int(line[1:]) + 2).decode() if line.startswith(b"$") else line.decode().strip()

    def info(self):
        pairs = (line.partition(":") for line in self.ask("INFO").splitlines())
        return {name: value.strip() for name, colon, value in pairs if colon}

    def close(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def commands(server):
    return int(server.info()["total_commands_processed"]), time.monotonic()


def speed(server, seconds):
    steps, began = commands(server)
    time.sleep(seconds)
    now, ended = commands(server)
    return (now - steps) / (ended - began)


def save(server):
    """(steps per second, seconds) from the request until the file has its name."""
    steps, began = commands(server)
    said = server.ask("BGSAVE")
    if not said.startswith("+Background saving"):
        raise Failed(f"BGSAVE: {said}")
    while server.info()["rdb_bgsave_in_progress"] != "0":
        time.sleep(0.01)
    now, ended = commands(server)
    if server.info()["rdb_last_bgsave_status"] != "ok":
        raise Failed("BGSAVE has failed")
    return (now - steps) / (ended - began), ended - began


class Slices(threading.Thread):
    """Work by slices of 100 ms, for plots."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.seen, self.ending = Server.__new__(Server), [], False
        self.server.connection = socket.socket(socket.AF_UNIX)
        self.server.connection.connect(server.socket)
        self.server.file = self.server.connection.makefile("rb")
        self.began = time.monotonic()

    def run(self):
        steps, at = commands(self.server)
        while not self.ending:
            time.sleep(0.1)
            now, then = commands(self.server)
            self.seen.append(((at - self.began) * 1e3, (now - steps) / (then - at)))
            steps, at = now, then


def measure(options, server):
    load = [options.load, "--unixsocket", server.socket, "--connections", "50", "--get-share", "0.75", "--value", "256-256", "--seed", str(options.seed)]
    filled = subprocess.run(load + ["--preload", f"{options.live:g}", "--seconds", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if filled.returncode != 0:
        raise Failed(f"kv_load: {filled.stderr.strip()[-200:]}")
    keys = json.loads(filled.stdout)["keys"]
    slices = Slices(server)
    client = subprocess.Popen(load + ["--keys", str(keys), "--seconds", "600"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(options.seconds / 2)
        slices.start()
        before = speed(server, options.seconds)
        asked = (time.monotonic() - slices.began) * 1e3
        during, durable = save(server)
        ended = (time.monotonic() - slices.began) * 1e3
        after = speed(server, options.seconds)
    finally:
        client.kill()
        client.wait()
    slices.ending = True
    slices.join()
    info = server.info()
    if options.detail:
        with open(options.detail, "w", encoding="utf-8") as file:
            file.write(f"mark {asked:.3f} request\nmark {ended:.3f} durable\n")
            file.writelines(f"work {at:.0f} {work:.0f}\n" for at, work in slices.seen)
    written = os.path.getsize(os.path.join(server.folder, "dump.rdb"))
    return {"workload": "checkpoint", "collector": "redis", "back_end": "", "live_mib": options.live, "pause_us": float(info["latest_fork_usec"]),
            "steps_before": before, "steps_during": during, "work_during": during / before, "work_after": after / before, "durable_s": durable,
            "extra_mib": float(info["rdb_last_cow_size"]) / MIB, "written_mib": written / MIB}


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add = parser.add_argument
    add("--load", required=True)
    add("--live", type=float, required=True)
    add("--seconds", type=float, default=2)
    add("--seed", type=int, default=1)
    add("--detail")
    options = parser.parse_args()
    # Debian's redis-tools has the same program under another name, and starts no daemon when it is installed. It goes by the name that it is called.
    path = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    if path is None:
        print("there is no redis-server", file=sys.stderr)
        return 77
    server = None
    try:
        server = Server(path)
        print(json.dumps(measure(options, server)))
        return 0
    except (Failed, OSError) as error:
        print(f"redis: {error}", file=sys.stderr)
        return 1
    finally:
        if server is not None:
            server.close()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
