# SPDX-License-Identifier: MIT
"""scheme.py: what drive.py, report.py and plots.py need of the workload scheme.

A repetition runs each program of bench/scheme on the interpreter examples/scheme as it is built for veil, libgc and malloc, and on guile 3, one after the
other; then the interactive loop beside live data on each; then the start from an image. scheme_run.py makes the record of one run.
"""

import math
import os
import shutil
import statistics
import sys

INTERPRETERS = {"veil": "scheme", "libgc": "scheme-libgc", "malloc": "scheme-malloc"}
QUICK = {"fib": 1, "nqueens": 40, "string": 2}  # programs, and how often their usual input
# The interactive loop: MiB of live data, seconds, microseconds from step to step, milliseconds of the machine alone before.
LOOP = {False: (500, 20, 200, 1000), True: (16, 0.4, 200, 50)}
COPIES = {False: 16, True: 2}  # of all programs, as libraries, in what is loaded or is in the image
STARTS = {False: 15, True: 3}


def folder():
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "scheme")


def programs():
    """Names of those files that are programs: others are included by these, or have a run of their own."""
    names = []
    for name in sorted(os.listdir(folder())):
        if name.endswith(".scm"):
            with open(os.path.join(folder(), name), encoding="utf-8") as file:
                if "\n(run-program " in file.read():
                    names.append(name[:-len(".scm")])
    return names


def guile():
    """guile 3, or None."""
    return shutil.which("guile-3.0") or shutil.which("guile")


def interpreters(options):
    """(collector, words of the command) of those that there are."""
    found = []
    for collector in options.collector:
        if collector in INTERPRETERS:
            program = os.path.join(os.path.dirname(options.build), "examples", "scheme", INTERPRETERS[collector])
            if os.path.exists(program):
                found.append((collector, [program]))
            else:
                print(f"bench: scheme for {collector} is not built: its library is missing", file=sys.stderr)
    if "veil" in options.collector:
        if guile():
            found.append(("guile", [guile(), "--r7rs"]))
        else:
            print("bench: scheme: guile is not installed (guile-3.0): its rows are left out", file=sys.stderr)
    return found


def plan(options, make_run):
    """Runs of one repetition, in order. make_run(collector, command, tag) makes one."""
    runs, quick = [], options.quick
    here = os.path.dirname(os.path.abspath(__file__))
    found = interpreters(options)

    def add(collector, interpreter, part, more, tag):
        command = [sys.executable, "-B", os.path.join(here, "scheme_run.py"), "--collector", collector, "--part", part, "--out", os.path.join(here, "out", "scheme")]
        if collector == "veil" and options.back_end != "auto":
            command += ["--back-end", options.back_end]
        runs.append(make_run(collector, command + more + ["--"] + interpreter, dict({"part": part}, **tag)))

    for name in QUICK if quick else programs():
        for collector, interpreter in found:
            more = ["--program", name] + (["--times", str(QUICK[name])] if quick else [])
            add(collector, interpreter, "program", more, {"program": name})
    mib, seconds, period, idle = LOOP[quick]
    mib = options.live or mib
    for collector, interpreter in found:
        sizes = ["--live", f"{mib:g}", "--steps", f"{seconds * 1e6 / period:.0f}", "--period", str(period), "--idle", str(idle)]
        add(collector, interpreter, "loop", sizes, {})
    for collector, interpreter in found:
        if collector == "veil":
            add(collector, interpreter, "image", ["--copies", str(COPIES[quick]), "--starts", str(STARTS[quick])], {})
    return runs


def summary(record):
    if record.get("part") == "loop":
        return f"largest gap {record['gap_max_us'] / 1e3:.2f} ms, 99.9 % of the steps within {record['late_p999_us'] / 1e3:.2f} ms"
    if record.get("part") == "image":
        return f"from the sources {record['load_ms']:.0f} ms, from an image {record['start_ms']:.1f} ms"
    return f"{record['wall_s']:.2f} s, {record['peak_rss_mib']:.0f} MiB"


def of_part(records, part):
    return [r for r in records if r["workload"] == "scheme" and r.get("part") == part]


def by_program(records):
    """{program: {collector: records}}."""
    groups = {}
    for record in of_part(records, "program"):
        groups.setdefault(record["program"], {}).setdefault(record["collector"], []).append(record)
    return groups


def geometric_mean(values):
    values = [value for value in values if value]
    return math.exp(statistics.fmean(math.log(value) for value in values)) if values else None


def program_rows(records, median, ratio, figure):
    """The table of the programs, the geometric means in its last rows. The functions are report.py's."""
    others = ("libgc", "malloc", "guile")
    header = ["scheme", "program", "veil s"] + [f"x {other}" for other in others] + ["veil MiB"] + [f"x {other}" for other in others]
    header += ["gap ms veil", "libgc", "malloc", "cycles", "minor"]
    table, times, sizes = [], {other: [] for other in others}, {other: [] for other in others}
    for program, group in by_program(records).items():
        veil = group.get("veil", [])
        cells = ["scheme", program, figure(median(veil, "wall_s"))]
        for field, kept in (("wall_s", times), ("peak_rss_mib", sizes)):
            for other in others:
                value = ratio(veil, group.get(other, []), field)
                kept[other].append(value)
                cells.append(figure(value))
            if field == "wall_s":
                cells.append(figure(median(veil, "peak_rss_mib")))
        cells += [figure(median(group.get(who, []), "gap_max_us"), 1e-3) for who in ("veil", "libgc", "malloc")]
        table.append(cells + [figure(median(veil, field)) for field in ("major_cycles", "minor_cycles")])
    if len(table) > 1:
        mean = [figure(geometric_mean(times[other])) for other in others], [figure(geometric_mean(sizes[other])) for other in others]
        worst = [max((r["gap_max_us"] for group in by_program(records).values() for r in group.get(who, []) if r.get("gap_max_us")), default=None)
                 for who in ("veil", "libgc", "malloc")]
        table.append(["scheme", "geometric mean", ""] + mean[0] + [""] + mean[1] + [figure(gap, 1e-3) for gap in worst] + ["", ""])
    return header, table


def loop_rows(records, median, ratio, figure, name_of):
    header = ["scheme loop", "by", "MiB live", "largest gap ms", "best", "x veil", "machine", "steps late ms p50", "p99", "p99.9", "max", "fill s", "MiB peak", "cycles"]
    table, loops = [], of_part(records, "loop")
    veil = [r for r in loops if r["collector"] == "veil"]
    for collector in dict.fromkeys(r["collector"] for r in loops):
        group = [r for r in loops if r["collector"] == collector]
        best = min(r["gap_max_us"] for r in group)
        cells = ["scheme loop", name_of(collector, group[0].get("back_end"), None), figure(median(group, "live_mib")), figure(median(group, "gap_max_us"), 1e-3), figure(best, 1e-3)]
        cells += [figure(ratio(group, veil, "gap_max_us")), figure(median(group, "machine_gap_max_us"), 1e-3)]
        cells += [figure(median(group, f"late_{which}_us"), 1e-3) for which in ("p50", "p99", "p999", "max")]
        table.append(cells + [figure(median(group, field)) for field in ("fill_s", "peak_rss_mib", "major_cycles")])
    return header, table


def image_rows(records, median, figure, name_of):
    header = ["scheme image", "by", "lines", "from the sources ms", "from an image ms", "share", "image MiB", "made in ms", "nothing at all ms"]
    table = []
    group = of_part(records, "image")
    if group:
        shares = [r["start_ms"] / r["load_ms"] for r in group]
        table.append(["scheme image", name_of("veil", group[0].get("back_end"), None), figure(median(group, "lines")), figure(median(group, "load_ms")), figure(median(group, "start_ms")),
                      figure(statistics.median(shares)), figure(median(group, "image_mib")), figure(median(group, "save_ms")), figure(median(group, "empty_ms"))])
    return header, table


def plot_series(records, ratio, line):
    """Programs in the order of veil's time over libgc's: (title, style, points) of each interpreter's time over libgc's, and the names for the axis."""
    groups = by_program(records)
    known = [(ratio(group["veil"], group["libgc"], "wall_s"), program) for program, group in groups.items() if "veil" in group and "libgc" in group]
    order = [program for value, program in sorted(known)]
    series = []
    for collector in ("veil", "malloc", "guile"):
        points = []
        for x, program in enumerate(order):
            value = ratio(groups[program].get(collector, []), groups[program]["libgc"], "wall_s")
            if value:
                points.append([x, value])
        series.append((collector, f"linespoints lw 1 pt 7 ps 0.6 {line(collector, 1)}", points))
    return series, order
