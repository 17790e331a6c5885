# SPDX-License-Identifier: MIT
"""kv_run.py: one half of one record of the workload kv: starts a server, fills it, loads it with kv_load, and says in JSON what was seen.

    kv_run.py --part throughput ...   a closed loop: as many requests as the server can take
    kv_run.py --part latency --rate N ...   an open loop: N requests per second, each when it is due

The server dies with this process. Exit status: 0; 1 with a message if server or client fail.
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
import time

MIB = 1 << 20
CONNECTIONS = 50
GET_SHARE = {"throughput": 0.9, "latency": 0.5}  # With more writes there is more to collect, which is what latency is about.
VALUE = "32-1024"
PR_SET_PDEATHSIG = 1
# What INFO says of a collector: field of the record, name in INFO, divisor. Counters are of the measured phase; the others of the server's life, or since
# CONFIG RESETSTAT if the server then forgets them.
COUNTERS = [("major_cycles", "collector_cycles", 1), ("minor_cycles", "collector_minor_cycles", 1), ("traps", "collector_traps", 1),
            ("copied_mib", "collector_copied_bytes", MIB), ("allocated_mib", "collector_allocated_bytes", MIB), ("stall_ms", "collector_stall_us", 1e3)]
LEVELS = [("flip_max_us", "collector_flip_max_us", 1), ("flip_p99_us", "collector_flip_p99_us", 1), ("minor_max_us", "collector_minor_max_us", 1),
          ("minor_p99_us", "collector_minor_p99_us", 1), ("stop_max_us", "collector_stop_max_us", 1), ("trap_p99_us", "collector_trap_p99_us", 1),
          ("trap_max_us", "collector_trap_max_us", 1)]


class Failed(Exception):
    pass


def status_kib(pid, field):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return next((int(line.split()[1]) for line in file if line.startswith(field + ":")), 0)


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Server:
    def __init__(self, options):
        self.folder = tempfile.mkdtemp(prefix="bench-kv-")
        self.path = os.path.join(self.folder, "socket")
        with socket.socket() as probe:  # Some servers insist on a TCP port besides.
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [os.path.abspath(options.server), "--port", str(port), "--unixsocket", self.path, "--threads", str(options.threads)]
        self.log = open(os.path.join(self.folder, "log"), "wb+")
        environment = dict(os.environ, VEIL_VM=options.back_end) if options.back_end else None
        libc = ctypes.CDLL(None)
        self.process = subprocess.Popen(command, cwd=self.folder, stdout=self.log, stderr=self.log, env=environment,
                                        preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))

    def said(self):
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def check(self):
        status = self.process.poll()
        if status is not None:
            raise Failed(f"the server ended with status {status}: {self.said()}")

    def connect(self):
        limit = time.monotonic() + 30
        while True:
            self.check()
            try:
                connection = socket.socket(socket.AF_UNIX)
                connection.connect(self.path)
                connection.settimeout(60)
                return connection
            except OSError:
                connection.close()
                if time.monotonic() > limit:
                    raise Failed("the server does not listen after 30 s") from None
                time.sleep(0.02)

    def ask(self, text):
        """The reply to an inline command: its line, or the string that follows."""
        with self.connect() as connection, connection.makefile("rb") as file:
            connection.sendall(text.encode() + b"\r\n")
            line = file.readline()
            return file.read(int(line[1:])).decode() if line.startswith(b"$") else line.decode().strip()

    def info(self):
        pairs = (line.partition(":") for line in self.ask("INFO").splitlines())
        return {name: value.strip() for name, colon, value in pairs if colon}

    def peak_mib(self, info):
        """Memory really held at most: veil's pages once each, and what is anonymous at the end; of others what was resident."""
        if "collector_back_end" in info:
            return (int(info["collector_heap_max_bytes"]) / MIB) + status_kib(self.process.pid, "RssAnon") / 1024
        return status_kib(self.process.pid, "VmHWM") / 1024

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def load(options, server, *arguments):
    """What the load client says."""
    command = [options.load, "--unixsocket", server.path, "--connections", str(CONNECTIONS), "--get-share", str(GET_SHARE[options.part]), "--value", VALUE, "--verify",
               "--seed", str(options.seed), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        server.check()
        said = [line for line in done.stderr.splitlines() if line.startswith(("kv_load:", "ERRORS:"))]
        raise Failed(said[0] if said else f"kv_load ended with status {done.returncode}: {done.stderr.strip()[-200:]}")
    return json.loads(done.stdout)


def collector_figures(before, after):
    """INFO's figures of the collector under the names that other workloads have for them."""
    figures = {name: (float(after[field]) - float(before.get(field, 0))) / divisor for name, field, divisor in COUNTERS if field in after}
    figures.update((name, float(after[field]) / divisor) for name, field, divisor in LEVELS if field in after)
    return figures


def measure(options, server):
    pid = server.process.pid
    server.connect().close()  # once it listens
    filled = load(options, server, "--preload", f"{options.live:g}", "--seconds", "0")
    server.ask("CONFIG RESETSTAT")
    before, cpu = server.info(), cpu_seconds(pid)
    arguments = ["--keys", str(filled["keys"]), "--seconds", f"{options.seconds:g}", "--warmup", f"{options.warmup:g}", "--idle", f"{options.idle:g}"]
    if options.part == "latency":
        arguments += ["--rate", f"{options.rate:.0f}"]
    if options.detail:
        arguments += ["--detail", options.detail]
    seen = load(options, server, *arguments)
    cpu, after = cpu_seconds(pid) - cpu, server.info()
    server.check()
    common = {"workload": "kv", "collector": options.collector, "back_end": after.get("collector_back_end", ""), "threads": options.threads,
              "seed": options.seed, "live_mib": filled["preload_mib"], "keys": filled["keys"], "peak_rss_mib": server.peak_mib(after),
              "machine_gap_max_us": seen.get("machine_gap_max_us")}
    if options.part == "throughput":
        return dict(common, preload_s=filled["preload_s"], ops_per_s=seen["ops_per_s"], closed_p50_us=seen["latency_p50_us"],
                    closed_p99_us=seen["latency_p99_us"], client_cpu_share=seen["client_cpu_share"], closed_misses=seen["misses"])
    record = dict(common, wall_s=seen["seconds"], cpu_s=cpu, rate=seen["rate"], rate_reached=seen["ops_per_s"], requests=seen["ops"])
    for name in ("latency_p50_us", "latency_p99_us", "latency_p999_us", "latency_p9999_us", "latency_max_us", "late_p99_us", "late_max_us", "late_sends",
                 "bound_hits", "misses", "errors", "wrong"):
        record[name] = seen[name]
    return dict(record, **collector_figures(before, after))


def options_read():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add = parser.add_argument
    add("--part", choices=["throughput", "latency"], required=True)
    add("--server", required=True)
    add("--load", required=True)
    add("--collector", required=True)
    add("--live", type=float, required=True)
    add("--seconds", type=float, required=True)
    add("--warmup", type=float, default=1)
    add("--idle", type=float, default=1)
    add("--rate", type=float)
    add("--threads", type=int, default=1)
    add("--seed", type=int, default=1)
    add("--back-end")
    add("--detail")
    options = parser.parse_args()
    if (options.part == "latency") != (options.rate is not None):
        parser.error("--rate goes with --part latency")
    return options


def main():
    options = options_read()
    server = None
    try:
        server = Server(options)
        print(json.dumps(measure(options, server)))
        return 0
    except (Failed, OSError) as error:
        print(f"{options.collector}: {error}", file=sys.stderr)
        return 1
    finally:
        if server is not None:
            server.close()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
