# SPDX-License-Identifier: MIT
"""checkpoint.py: what drive.py, report.py and plots.py need of the workload checkpoint.

A repetition saves the same data three ways, one after the other: veil's checkpointer, a child of fork(), redis-server's BGSAVE; at each size.
"""

import os
import shutil
import sys

SIZES_MIB = {False: (1024, 4096), True: (64,)}
SECONDS = {False: 2, True: 0.3}
INCREMENTS = {False: 3, True: 1}


def plan(options, make_run):
    """Runs of one repetition, in order. make_run(collector, command, tag) makes one."""
    runs = []
    here, load = os.path.dirname(os.path.abspath(__file__)), os.path.join(options.build, "kv_load")
    folder = os.path.join(here, "out")
    redis = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    if "veil" not in options.collector:
        return runs
    if redis is None:
        print("bench: checkpoint: there is no redis-server: its rows are left out", file=sys.stderr)
    for mib in [options.live] if options.live else SIZES_MIB[options.quick]:
        for who in ("fork", "veil", "redis"):
            sizes = ["--live", f"{mib:g}", "--seconds", f"{SECONDS[options.quick]:g}"]
            if who == "redis":
                command = [sys.executable, "-B", os.path.join(here, "checkpoint_redis.py"), "--load", load] + sizes
            else:
                command = [os.path.join(options.build, f"bench_checkpoint-{who}"), "--file", os.path.join(folder, f"checkpoint-{who}.image")] + sizes
            if who == "veil":
                command += ["--increments", str(INCREMENTS[options.quick])]
                command += ["--back-end", options.back_end] if options.back_end != "auto" else []
            if who != "redis" or redis is not None:
                runs.append(make_run(who, command, {"size": f"{mib:g}"}))
    return runs


def summary(record):
    return f"pause {record['pause_us'] / 1e3:.2f} ms, work {100 * record['work_during']:.0f} %, durable in {record['durable_s']:.2f} s"


def detail_read(path):
    """({name: [ms]}, [[ms, steps per second]]) of a detail file."""
    marks, work = {}, []
    if path and os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            for line in file:
                kind, first, second = line.split()
                if kind == "mark":
                    marks.setdefault(second, []).append(float(first))
                elif kind == "work":
                    work.append([float(first), float(second)])
    return marks, work


def work_points(path):
    """Work over time, as a share of what it was before the request, which is at 0; in slices of 100 ms."""
    marks, work = detail_read(path)
    if not marks.get("request") or not work:
        return []
    request = marks["request"][0]
    before = [steps for at, steps in work if request - 1500 <= at < request - 100]
    if not before or sum(before) == 0:
        return []
    usual, slices = sum(before) / len(before), {}
    for at, steps in work:
        slices.setdefault(int((at - request) // 100), []).append(steps)
    points = [[(key + 0.5) / 10, sum(values) / len(values) / usual] for key, values in sorted(slices.items())]
    last = marks["durable"][0] if marks.get("durable") else request
    return [point for point in points if -1.5 <= point[0] <= (last - request) / 1e3 + 2]
