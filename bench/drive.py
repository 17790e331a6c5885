# SPDX-License-Identifier: MIT
"""drive.py: plans the runs of bench/run, makes them, and collects their records.

Each run is a process of its own that prints one JSON record per line. Repetitions are interleaved: the first of
all collectors, then the second. report.py makes the table, plots.py the plots.
"""

import argparse
import collections
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time

import checkpoint
import compress
import kv
import scheme
import store

WORKLOADS = ["gcbench", "binary_trees", "churn", "old_to_young", "graph", "graph_local", "threads", "strings", "alloc32", "primitives", "barriers", "kv", "checkpoint", "store", "compress", "scheme"]
COLLECTORS = ["veil", "libgc", "malloc", "mimalloc"]
NOT_QUICK = ("mimalloc",)  # without being asked for
ON_REQUEST = ["libgc_plain"]
BACK_ENDS = ["auto", "uffd", "guard", "mprotect", "uffd-kernel", "none"]
BY_HAND = ["malloc", "mimalloc"]  # They have no heap to size.
PAGE_SIZES_KIB = [4, 16, 64]
OUT_OF_MEMORY = 3  # a workload's exit status
CANNOT = 77  # a peer's, which cannot run here: its last line says why
# Seconds, as they are and with --quick. A heap that is too small makes a collector slow before it makes it fail.
TIMEOUT_S = {False: 1200, True: 120}
TIMEOUT_SIZED_S = {False: 300, True: 30}

# MiB of live data, as they are and with --quick, where --live is not given.
LIVE_MIB = {"graph": (1024, 24), "graph_local": (1024, 24), "churn": (500, 24), "old_to_young": (200, 24), "threads": (128, 16), "strings": (256, 24),
            "kv": (1024, 16)}

# `tag` goes into the records besides what the process says itself.
Run = collections.namedtuple("Run", "workload collector heap command tag")


def names(known):
    def read(text):
        chosen = text.split(",")
        for name in chosen:
            if name not in known:
                raise argparse.ArgumentTypeError(f"'{name}' is none of {', '.join(known)}")
        return list(dict.fromkeys(chosen))

    return read


def number(kind, least, most):
    def read(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number in [{least}, {most}]")
        return value

    return read


def heaps(text):
    for one in text.split(","):
        if not re.fullmatch(r"[0-9]+(\.[0-9]+)?x?", one) or float(one.rstrip("x")) < 1:
            raise argparse.ArgumentTypeError(f"'{one}' is neither a size in MiB nor a factor such as 2x")
    return text.split(",")


def options_read():
    parser = argparse.ArgumentParser(prog="bench/run", add_help=False, allow_abbrev=False, usage="bench/run --help")
    add = parser.add_argument
    add("--quick", action="store_true")
    add("--only", type=names(WORKLOADS), default=WORKLOADS)
    add("--collector", type=names(COLLECTORS + ON_REQUEST), default=None)
    add("--live", type=number(float, 1, 1 << 20))
    add("--heap", type=heaps, default=[None])
    add("--depth", type=number(int, 1, 30))
    add("--threads", type=number(int, 1, 256))
    add("--back-end", type=lambda text: names(BACK_ENDS)(text)[0], default="auto")
    add("--repeat", type=number(int, 1, 1000))
    add("--json")
    add("--plots")
    add("--data")
    add("--replay", type=number(float, 0.1, 700))
    add("--check", action="store_true", help=argparse.SUPPRESS)
    add("--build", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.collector = options.collector or [one for one in COLLECTORS if not (options.quick and one in NOT_QUICK)]
    options.rounds = options.repeat  # barriers repeats within its process
    options.repeat = options.repeat or (1 if options.quick else 5)
    here = os.path.dirname(os.path.abspath(__file__))
    options.out = os.path.join(here, "out")
    options.data = os.path.abspath(options.data or os.path.join(os.path.dirname(here), "build", "bench-data"))
    options.json = options.json or os.path.join(options.out, "records.json")
    return options


def live_mib(options, workload):
    return options.live or LIVE_MIB[workload][options.quick]


def workload_arguments(options, workload):
    """What a workload's executable is told about sizes."""
    quick = options.quick
    if workload == "gcbench":
        return ["--scale", "1" if quick else "2"]
    if workload == "binary_trees":
        return ["--depth", str(options.depth or (14 if quick else 21))]
    if workload == "alloc32":
        return ["--steps", "50000" if quick else "800000"]
    if workload == "threads":
        return ["--live", f"{live_mib(options, workload):g}", "--steps", "50000" if quick else "2000000"]
    return ["--workload", workload, "--live", f"{live_mib(options, workload):g}"]


def mutators(options, workload):
    """(arguments, tag) for each number of mutators and processors to be tried."""
    if workload != "threads":
        return [(["--threads", str(options.threads or 1)], {})]
    # Scaling: N mutators on as many processors, against one on one, its collector's threads included.
    count = options.threads or 2
    pairs = dict.fromkeys([(count, min(count, len(os.sched_getaffinity(0))))] + ([] if options.quick else [(1, 1)]))
    return [(["--threads", str(n), "--cores", str(cores)], {"threads": n, "cores": cores}) for n, cores in pairs]


def plan_workload(options, workload):
    runs = []
    for collector in options.collector:
        source = "graph" if workload == "graph_local" else workload
        program = os.path.join(options.build, f"bench_{source}-{collector}")
        if not os.path.exists(program):
            print(f"bench: {workload} for {collector} is not built: its library is missing", file=sys.stderr)
            continue
        # Next to nothing lives in alloc32: there is no heap to size.
        sizes = [None] if workload == "alloc32" else options.heap[:1] if collector in BY_HAND else options.heap
        for heap, (arguments, tag) in itertools.product(sizes, mutators(options, workload)):
            command = [program, "--idle", "0.1" if options.quick else "5"] + arguments
            command += workload_arguments(options, workload)
            if heap is not None and collector not in BY_HAND:
                command += ["--heap", heap]
            if collector == "veil" and options.back_end != "auto":
                command += ["--back-end", options.back_end]
            runs.append(Run(workload, collector, heap, command, tag))
    return runs


def plan_primitives(options):
    if "veil" not in options.collector:
        return []
    program = os.path.join(options.build, "bench_primitives")
    command = [program] + (["--quick"] if options.quick else [])
    if options.back_end != "auto":
        command += ["--back-end", options.back_end]
    runs = [Run("primitives", "veil", None, command, {})]
    for kib in PAGE_SIZES_KIB[::2] if options.quick else PAGE_SIZES_KIB:
        program = os.path.join(options.build, "bench_graph-veil")
        command = [program, "--idle", "0.1" if options.quick else "1", "--granule", str(kib)]
        command += ["--workload", "graph", "--live", f"{max(live_mib(options, 'graph') / 4, 32 if options.quick else 64):g}"]
        if options.back_end != "auto":
            command += ["--back-end", options.back_end]
        runs.append(Run("primitives/page_size", "veil", None, command, {"granule_kib": kib}))
    return [run for run in runs if os.path.exists(run.command[0])]


def plan_barriers(options):
    program = os.path.join(options.build, "bench_barriers")
    if "veil" not in options.collector or not os.path.exists(program):
        return []
    command = [program] + (["--quick"] if options.quick else [])
    for name, value in [("--live", options.live), ("--rounds", options.rounds)]:
        command += [name, f"{value:g}"] if value else []
    if options.back_end != "auto":
        command += ["--back-end", options.back_end]
    return [Run("barriers", "veil", None, command, {})]


def plan_kv(options):
    return kv.plan(options, live_mib(options, "kv"), lambda collector, command, tag: Run("kv", collector, None, command, tag))


def plan_checkpoint(options):
    return checkpoint.plan(options, lambda collector, command, tag: Run("checkpoint", collector, None, command, tag))


def plan_store(options):
    return store.plan(options, lambda collector, command, tag: Run("store", collector, None, command, tag))


def plan_compress(options):
    return compress.plan(options, lambda collector, command, tag: Run("compress", collector, None, command, tag))


def plan_scheme(options):
    return scheme.plan(options, lambda collector, command, tag: Run("scheme", collector, None, command, tag))


def out_of_memory(status, said):
    """Whether a process ended because its heap was too small: by the status, or in veil by an abort that says so."""
    return status == OUT_OF_MEMORY or (status == -signal.SIGABRT and any("out of memory" in line for line in said))


def outcome_record(run, repetition, outcome):
    """In the place of a record, for a run whose heap was too small to end, or that cannot be here."""
    record = {"workload": run.workload, "collector": run.collector, "back_end": None}
    return dict(record, **run.tag, repetition=repetition, heap_option=run.heap, outcome=outcome)


def run_one(run, repetition, detail, quick):
    """The records of one process, and what went wrong or None."""
    command = run.command + (["--detail", detail] if detail else [])
    sized = run.heap is not None and run.collector not in BY_HAND
    timeout = (TIMEOUT_SIZED_S if sized else TIMEOUT_S)[quick]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        if sized:
            return [outcome_record(run, repetition, f"over {timeout} s")], None
        return [], f"did not end in {timeout} s"
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        if sized and out_of_memory(done.returncode, said):
            return [outcome_record(run, repetition, "does not fit")], None
        if done.returncode == CANNOT:
            return [outcome_record(run, repetition, f"left out: {said[-1] if said else 'no message'}")], None
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"status {done.returncode}"
        return [], f"{said[-1] if said else 'no message'} ({how})"
    sys.stderr.write(done.stderr)
    records = []
    for line in done.stdout.splitlines():
        record = json.loads(line)
        if "/" in run.workload:
            record["workload"] = run.workload
        record.update(run.tag, repetition=repetition, heap_option=run.heap)
        records.append(record)
    return records, None


def records_write(options, records):
    """A JSON array, one record per line. Written anew each time, so that an interrupted run leaves what it had."""
    folder = os.path.dirname(os.path.abspath(options.json))
    os.makedirs(folder, exist_ok=True)
    with open(options.json + ".tmp", "w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(json.dumps(record) for record in records) + "\n]\n")
    os.replace(options.json + ".tmp", options.json)


def label(run):
    text = f"{run.workload} {run.collector}"
    text += f" heap {run.heap}" if run.heap and run.collector not in BY_HAND else ""
    return text + "".join(f" {key} {value}" for key, value in run.tag.items())


def detail_path(options, run):
    text = re.sub(r"[^a-z0-9_.]+", "-", label(run))
    return os.path.join(options.out, "detail", text + ".txt")


def plan(options):
    """(run, repetition) in the order in which they are made."""
    order = []
    for workload in options.only:
        if workload == "barriers":
            order += [(run, 1) for run in plan_barriers(options)]
            continue
        planned = {"primitives": plan_primitives, "kv": plan_kv, "checkpoint": plan_checkpoint, "store": plan_store, "compress": plan_compress, "scheme": plan_scheme}.get(workload)
        group = planned(options) if planned else plan_workload(options, workload)
        order += [(run, rep) for rep in range(1, options.repeat + 1) for run in group]
    return order


def leaves_detail(run, report):
    return run.tag.get("part") in ("latency", "loop") or run.workload in ("checkpoint", "compress") or run.workload not in report.OF_THEIR_OWN


def run_all(options, order, report):
    """All records, and a line for each failure."""
    records, failures, unfit, began = [], [], set(), time.monotonic()
    for done, (run, rep) in enumerate(order):
        if label(run) in unfit:
            continue  # Once is enough.
        elapsed = time.monotonic() - began
        print(f"[{done + 1}/{len(order)}, {elapsed:4.0f} s] {label(run)}, repetition {rep} ... ", end="", flush=True)
        detail = detail_path(options, run) if rep == 1 and leaves_detail(run, report) else None
        if detail and os.path.exists(detail):
            os.remove(detail)  # An earlier run's, in case this one leaves none.
        command = kv.bound(run.command, records, rep)
        new, wrong = run_one(run._replace(command=command), rep, detail, options.quick) if command else ([], "nothing tells its rate")
        if wrong:
            failures.append(f"{label(run)}, repetition {rep}: {wrong}")
            print("FAILED: " + wrong, flush=True)
            continue
        if "outcome" in new[0]:
            unfit.add(label(run))
        summary = report.record_summary(new[0])
        records = kv.merged(records, new)
        records_write(options, records)
        print(summary, flush=True)
    return records, failures


def main():
    options = options_read()
    if options.check:
        print("plots" if options.plots else "")
        return 0
    import report  # Not needed for --check.

    order = plan(options)
    os.makedirs(os.path.join(options.out, "detail"), exist_ok=True)
    print(report.machine_describe())
    if "store" in options.only:
        store.prepare(options.data)
    try:
        records, failures = run_all(options, order, report)
    finally:
        if "store" in options.only:
            store.clean(options.data)
    print()
    report.table_print(records)
    failures += report.checks_differ(records)
    for failure in failures:
        print("FAILED: " + failure)
    print(f"\nrecords: {options.json}")
    if options.plots and records:
        import plots

        details = {label(run): detail_path(options, run) for run, _ in order}
        plots.plots_write(options.plots, records, details)
        print(f"plots: {options.plots}")
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nbench: interrupted")
