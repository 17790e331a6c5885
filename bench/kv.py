# SPDX-License-Identifier: MIT
"""kv.py: what drive.py, report.py and plots.py need of the workload kv.

A repetition runs a closed loop against each collector's server, then an open loop against each at one rate: half of the lowest throughput that the
closed loops of this repetition reached. So all have the same to do, and the slowest is not at its limit. Both halves make one record.
"""

import os
import sys

SERVERS = {"veil": "kv", "libgc": "kv-libgc", "malloc": "kv-malloc"}
RATE = "RATE"  # stands in a command until the closed loops have run
SHARE = 0.5
# Seconds measured, warm-up, and the empty loop beside; as they are and with --quick. So long that libgc, too, collects more than once at half load.
TIMES = {"throughput": {False: (5, 1, 1), True: (0.4, 0.1, 0.1)}, "latency": {False: (90, 2, 3), True: (0.6, 0.1, 0.1)}}


def plan(options, live_mib, make_run):
    """Runs of one repetition, in order. make_run(collector, command, tag) makes one."""
    built, runs = [], []
    here, load = os.path.dirname(os.path.abspath(__file__)), os.path.join(options.build, "kv_load")
    for collector in options.collector:
        server = os.path.join(os.path.dirname(options.build), "examples", "kv", SERVERS.get(collector, ""))
        if collector not in SERVERS:
            continue
        if os.path.exists(server) and os.path.exists(load):
            built.append((collector, server))
        else:
            print(f"bench: kv for {collector} is not built: its library is missing", file=sys.stderr)
    for part in ("throughput", "latency"):
        seconds, warmup, idle = TIMES[part][options.quick]
        for collector, server in built:
            command = [sys.executable, "-B", os.path.join(here, "kv_run.py"), "--part", part, "--server", server, "--load", load]
            command += ["--collector", collector, "--live", f"{live_mib:g}", "--seconds", str(seconds), "--warmup", str(warmup), "--idle", str(idle)]
            command += ["--threads", str(options.threads)] if options.threads else []
            if collector == "veil" and options.back_end != "auto":
                command += ["--back-end", options.back_end]
            command += ["--rate", RATE] if part == "latency" else []
            runs.append(make_run(collector, command, {"part": part}))
    return runs


def rate_of(records, repetition):
    """Requests per second for the open loops of a repetition; None if no closed loop has run."""
    reached = [r["ops_per_s"] for r in records if r["workload"] == "kv" and r["repetition"] == repetition and r.get("ops_per_s")]
    return SHARE * min(reached) if reached else None


def bound(command, records, repetition):
    """The command with its rate; None if there is none."""
    if RATE not in command:
        return command
    rate = rate_of(records, repetition)
    return [f"{rate:.0f}" if word == RATE else word for word in command] if rate else None


def merged(records, new):
    """`records` with those of `new`: what an open loop says goes into the record of the closed one."""
    records = list(records)
    for record in new:
        key = lambda r: (r["workload"], r["collector"], r["repetition"])
        record = dict(record)
        half = record.pop("part", None) if record["workload"] == "kv" else None
        of_same = [r for r in records if key(r) == key(record)] if half == "latency" else []
        if of_same:
            peaks = [r.get("peak_rss_mib") or 0 for r in (of_same[0], record)]
            gaps = [r.get("machine_gap_max_us") or 0 for r in (of_same[0], record)]
            of_same[0].update(record, peak_rss_mib=max(peaks), machine_gap_max_us=max(gaps))
        else:
            records.append(record)
    return records
