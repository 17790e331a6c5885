# SPDX-License-Identifier: MIT
"""compress.py: what drive.py, report.py and plots.py need of the workload compress.

A repetition replays each program with a compressor and without, one after the other; then compresses the same pages by veil, zram, lz4 and zstd, in one process for each program; then times full cycles.
"""

import os
import sys

PROGRAMS = ("kv", "graph")
LIVE_MIB = {False: 1024, True: 32}
SAMPLE_MIB = {False: 256, True: 4}
# Seconds of a replay: without a compressor, before and after; with it, not measured; measured.
TIMES = {False: (4, 30, 20), True: (0.1, 0.6, 0.4)}
# A look costs each page that is used a trap, once in eight looks at most: shorter intervals are not for figures of throughput.
INTERVAL_MS, LEAST_MS = {False: 1000, True: 40}, {False: 10000, True: 200}
CYCLES = 5
# From so many seconds on a replay has the compressor's own interval and least age, 10 s and 2 minutes, and as long to settle as these need; it is for space only.
LONG_S, SETTLE_S = 300, 420
TARGET = 0.002  # the compressor's default


def plan(options, make_run):
    """Runs of one repetition, in order. make_run(collector, command, tag) makes one."""
    runs, quick = [], options.quick
    program_file = os.path.join(options.build, "bench_compress")
    if "veil" not in options.collector:
        return runs
    if not os.path.exists(program_file):
        print("bench: compress is not built: its rows are left out", file=sys.stderr)
        return runs
    before, warm, seconds = TIMES[quick]
    interval, least = INTERVAL_MS[quick], LEAST_MS[quick]
    if options.replay:
        seconds = options.replay
        if seconds >= LONG_S:
            warm, interval, least = SETTLE_S, 0, 0

    def add(collector, program, part, tag, more):
        command = [program_file, "--program", program, "--part", part, "--live", f"{options.live or LIVE_MIB[quick]:g}"]
        command += ["--back-end", options.back_end] if options.back_end != "auto" else []
        runs.append(make_run(collector, command + more, dict({"program": program, "part": part}, **tag)))

    times = ["--before", f"{before:g}", "--warm", f"{warm:g}", "--seconds", f"{seconds:g}", "--interval", f"{interval}", "--least", f"{least}"]
    for program in PROGRAMS[:1] if quick else PROGRAMS:
        add("veil", program, "replay", {"prefer": "space"}, times)
        if not quick:
            add("without", program, "replay", {"prefer": "space"}, times + ["--without"])
            if program == "kv" and interval:
                add("veil", program, "replay", {"prefer": "speed"}, times + ["--prefer", "speed"])
    for program in PROGRAMS[:1] if quick else PROGRAMS:
        add("veil", program, "pages", {}, ["--sample", f"{min(SAMPLE_MIB[quick], options.live or SAMPLE_MIB[quick]):g}"])
    if not quick:
        add("veil", "graph", "cycle", {"prefer": "space"}, ["--cycles", str(CYCLES)])
    return runs


def percent(value):
    return "-" if value is None else f"{100 * value:.2g} %"


def summary(record):
    if record["part"] == "pages":
        return f"ratio {record['ratio']:.2f}, fault {record.get('fault_p50_us', 0):.1f} us"
    if record["part"] == "cycle":
        return f"{record['cycle_ms']:.0f} ms with {percent(record['compressed_share'])} compressed, {record['cycle_plain_ms']:.0f} ms before; {record['unpacked_in_cycles']:.0f} unpacked"
    if record["collector"] == "without":
        return f"{record['steps_with'] / 1e3:.0f} k/s"
    return f"{record['steps_with'] / 1e3:.0f} k/s, {record['original_mib']:.0f} MiB in {record['held_mib']:.0f}, {percent(record.get('promotions_per_minute'))} wanted back per minute"


def way_of(record):
    """How pages were compressed, as tables and plots name it."""
    return f"{record['collector']} {record.get('way') or ''}".strip()


def detail_read(path):
    """Rows by kind. age: s, share of the pages that are so old, share of the working set that is wanted back per minute. state: s, MiB compressed, MiB saved, s threshold, promoted, steps per second.

    fault and unpack: by way, us, share.
    """
    detail = {"age": [], "state": [], "fault": {}, "unpack": {}}
    if path and os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            for line in file:
                kind, *values = line.split()
                if kind in ("fault", "unpack"):
                    detail[kind].setdefault(values[2].replace("-", " ", 1), []).append([float(values[0]), float(values[1])])
                else:
                    detail[kind].append([float(value) for value in values])
    detail["age"].sort()
    return detail
