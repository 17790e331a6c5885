# SPDX-License-Identifier: MIT
"""plots.py: plots of the records, and of the detail files that the workloads write, by gnuplot as SVG and PNG."""

import math
import os
import statistics
import subprocess

import checkpoint
import compress
import report
import scheme

# Okabe and Ito's colours, which most people can tell apart.
COLOURS = {"veil": "#0072B2", "libgc": "#D55E00", "libgc_plain": "#CC79A7", "malloc": "#555555", "mimalloc": "#009E73", "guile": "#E69F00", "fork": "#D55E00", "redis": "#555555"}


def detail_read(path):
    """Rows of numbers by kind, as gaps.c and sampler.c write them; empty if there are none.

    gap: us, count. mmu: ms, share. rate: ms, share of the undisturbed rate, in cycle. sample: ms, MiB held, traps since the last one.
    """
    detail = {"gap": [], "mmu": [], "rate": [], "sample": []}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            for line in file:
                kind, *values = line.split()
                detail[kind].append([float(value) for value in values])
    return detail


def gaps_beyond(gaps):
    """Share of the steps whose gap is at least so long."""
    total, left, points = sum(count for _, count in gaps), sum(count for _, count in gaps), []
    for us, count in gaps:
        points.append([us, left / total])
        left -= count
    return points


DASHES = 5  # that gnuplot can draw


def line(collector, nth):
    """The nth line of a collector, from 1: dashes first, then a paler colour besides."""
    colour = COLOURS.get(collector, "#000000")
    pale = 0.5 if (nth - 1) // DASHES % 2 else 0
    parts = [round(int(colour[i:i + 2], 16) * (1 - pale) + 255 * pale) for i in (1, 3, 5)]
    return f"dt {(nth - 1) % DASHES + 1} lc rgb '#{parts[0]:02x}{parts[1]:02x}{parts[2]:02x}'"


def gnuplot(lines):
    done = subprocess.run(["gnuplot"], input="\n".join(lines) + "\n", text=True, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        print(f"bench: gnuplot: {done.stderr.strip()}")


def plot(folder, name, title, xlabel, ylabel, settings, series):
    """Writes name.svg and name.png. `series`: (title, style, points)."""
    series = [one for one in series if one[2]]
    if not series:
        return
    lines = []
    for i, (_, _, points) in enumerate(series):
        lines.append(f"$data{i} << EOD")
        lines += [" ".join(f"{value:.6g}" for value in point) for point in points]
        lines.append("EOD")
    lines += [f'set title "{title}" noenhanced', f'set xlabel "{xlabel}"', f'set ylabel "{ylabel}"',
              "set grid back lc rgb '#dddddd' lt 1", "set border 3", "set tics nomirror", "set key outside right top noenhanced"]
    lines += settings
    curves = ", ".join(f"$data{i} using 1:2 with {style} title \"{text}\""
                       for i, (text, style, _) in enumerate(series))
    for suffix, terminal in [("svg", "svg size 900,500 font 'sans,13' background rgb 'white'"),
                             ("png", "pngcairo size 1350,750 font 'sans,15'")]:
        lines += [f"set terminal {terminal}", f"set output '{os.path.join(folder, name)}.{suffix}'", f"plot {curves}"]
    gnuplot(lines)


def traps_per_ms(samples):
    """[[s, traps per ms]...] from samples, at least 20 ms to a point, and no more than some 1000 points."""
    points, since, traps = [], None, 0
    span = max(20, samples[-1][0] / 1000) if samples else 0
    for ms, _, count in samples:
        traps += count
        if since is None or ms - since >= span:
            if since is not None:
                points.append([ms / 1e3, traps / (ms - since)])
            since, traps = ms, 0
    return points


def thinned(points, most=2000):
    """Every n-th of them, so that there are not many more than can be seen."""
    return points[::max(1, len(points) // most)]


def workload_plots(folder, workload, details, live_mib):
    gaps, mmu, rate, held, traps, seen = [], [], [], [], [], {}
    for label, detail in details.items():
        name, collector = label.split(" ", 1)[1], label.split(" ")[1]
        if not detail["gap"]:
            continue  # It did not fit.
        seen[collector] = seen.get(collector, 0) + 1  # The same collector with another heap: another dash.
        drawn = line(collector, seen[collector])
        gaps.append((name, f"lines lw 2 {drawn}", gaps_beyond(detail["gap"])))
        mmu.append((name, f"linespoints lw 2 pt 7 ps 0.5 {drawn}", detail["mmu"]))
        held.append((name, f"lines lw 2 {drawn}", [[ms / 1e3, mib] for ms, mib, _ in thinned(detail["sample"])]))
        if any(count for _, _, count in detail["sample"]):
            traps.append((name, f"lines lw 1.5 {drawn}", traps_per_ms(detail["sample"])))
        if seen[collector] == 1 and collector in ("veil", "libgc", "malloc"):
            first = [point[:2] for point in detail["rate"] if point[0] <= 3000]
            rate.append((name, f"lines lw 1 {drawn}", first))
    plot(folder, f"gaps-{workload}", f"{workload}: gaps between steps", "gap at least this long, microseconds",
         "share of the steps", ["set logscale xy", "set format xy '10^{%T}'"], gaps)
    plot(folder, f"mmu-{workload}", f"{workload}: progress in the worst window", "window, milliseconds",
         "steps over those of an undisturbed window", ["set logscale x", "set yrange [0:1.05]"], mmu)
    plot(folder, f"rate-{workload}", f"{workload}: progress over time", "milliseconds",
         "step rate over the undisturbed rate", ["set yrange [0:*]"], rate)
    if live_mib and any(points for _, _, points in held):
        longest = max(points[-1][0] for _, _, points in held if points)
        held.append(("live data", "lines lw 1 dt 3 lc rgb 'black'", [[0, live_mib], [longest, live_mib]]))
    from_zero = ["set xrange [0:*]", "set yrange [0:*]"]
    plot(folder, f"memory-{workload}", f"{workload}: memory held over time", "seconds", "memory held, MiB", from_zero, held)
    plot(folder, f"traps-{workload}", f"{workload}: traps over time", "seconds", "traps per millisecond", from_zero, traps)


def medians(records, x, y):
    groups = {}
    for record in records:
        if record.get(x) is not None and record.get(y) is not None:
            groups.setdefault(record[x], []).append(record[y])
    return sorted([key, statistics.median(values)] for key, values in groups.items())


def page_size_plots(folder, records):
    sweep = [r for r in records if r["workload"] == "primitives/page_size"]
    for field, text in [("veiled_ms_max", "longest veiled phase, ms"), ("gap_in_cycle_p999_us", "gap in cycles, p99.9, us"),
                        ("wall_s", "wall time, s"), ("mmu_20ms", "progress in the worst 20 ms")]:
        plot(folder, f"page-size-{field}", f"What one trap scans: {text}", "granule, KiB", text,
             ["set logscale x 2", "set xrange [3:80]", "set yrange [0:*]", "unset key"],
             [("veil", f"linespoints lw 2 pt 7 {line('veil', 1)}", medians(sweep, "granule_kib", field))])


HEAP_PLOTS = [("wall_s", "wall time, seconds", ["set yrange [0:*]"]),
              ("gap_max_us", "largest gap, microseconds", ["set logscale y", "set format y '10^{%T}'"]),
              ("gap_p999_us", "gap at 99.9 %, microseconds", ["set logscale y", "set format y '10^{%T}'"]),
              ("mmu_20ms", "progress in the worst 20 ms", ["set yrange [0:1.05]"])]


def heap_plots(folder, workload, records):
    """Against the heap's size, where there was a choice of sizes; those without a heap to size as a level line."""
    sized = [r for r in records if r.get("heap_mib") and r.get("live_mib")]
    factors = sorted({r["heap_mib"] / r["live_mib"] for r in sized})
    if len({r["heap_option"] for r in sized}) < 2:
        return
    # In `threads` runs differ by mutators and processors as well.
    variants = sorted({(r.get("threads"), r.get("cores")) for r in records if r.get("wall_s")}, key=str)
    for field, text, settings in HEAP_PLOTS:
        series = []
        for collector in dict.fromkeys(r["collector"] for r in records):
            for nth, variant in enumerate(variants, 1):
                chosen = [r for r in records if r["collector"] == collector and r.get(field) is not None and
                          (r.get("threads"), r.get("cores")) == variant]
                of_heap = [dict(r, factor=r["heap_mib"] / r["live_mib"]) for r in chosen if r in sized]
                name = collector + (f", {variant[0]} on {variant[1]}" if len(variants) > 1 else "")
                if of_heap:
                    series.append((name, f"linespoints lw 2 pt 7 {line(collector, nth)}", medians(of_heap, "factor", field)))
                elif chosen:
                    level = statistics.median(r[field] for r in chosen)
                    series.append((name, f"lines lw 2 {line(collector, nth)}", [[f, level] for f in (factors[0], factors[-1])]))
        settings = settings + ["set xrange [1:*]", "set xtics 1", "set format x '%gx'"]
        plot(folder, f"heap-{field}-{workload}", f"{workload}: {text}", "heap over live data", text, settings, series)


# ---- barriers.

BARRIER_COLOURS = {"card": "#E69F00", "both": "#CC79A7", "veil": COLOURS["veil"]}
LOOP_COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#555555"]


def panels(folder, name, title, xlabel, ylabel, settings, boxes):
    """Like plot, with a box beside the other for each of `boxes`: (title, series). The key stands in the last."""
    boxes = [(text, [one for one in series if one[2]]) for text, series in boxes]
    boxes = [box for box in boxes if box[1]]
    if not boxes:
        return
    lines, plotted = [], []
    for b, (text, series) in enumerate(boxes):
        curves = []
        for i, (curve, style, points) in enumerate(series):
            lines.append(f"$data{b}x{i} << EOD")
            lines += [" ".join(f"{value:.6g}" for value in point) for point in points]
            lines.append("EOD")
            curves.append(f"$data{b}x{i} using 1:2 with {style} title \"{curve}\"")
        plotted += [f'set title "{text}" noenhanced', f'set ylabel "{ylabel if b == 0 else ""}"',
                    "set key outside right top noenhanced" if b == len(boxes) - 1 else "unset key", "plot " + ", ".join(curves)]
    lines += [f'set xlabel "{xlabel}"', "set grid back lc rgb '#dddddd' lt 1", "set border 3", "set tics nomirror"] + settings
    width = 340 * len(boxes) + 300
    for suffix, terminal in [("svg", f"svg size {width},480 font 'sans,12' background rgb 'white'"),
                             ("png", f"pngcairo size {width * 3 // 2},720 font 'sans,14'")]:
        lines += [f"set terminal {terminal}", f"set output '{os.path.join(folder, name)}.{suffix}'"]
        # Boxes are of one width, the key beside the last one.
        lines.append(f'set multiplot layout 1,{len(boxes)} title "{title}" noenhanced')
        for b in range(len(boxes)):
            left, right = (70 + 340 * b) / width, (70 + 340 * b + 270) / width
            lines += [f"set lmargin at screen {left:.4f}", f"set rmargin at screen {right:.4f}"] + plotted[4 * b:4 * b + 4]
        lines.append("unset multiplot")
    gnuplot(lines)


def write_rate_plots(folder, records):
    """Per loop: time over that of plain code against the share of steps that write; a box for each size of the live data."""
    every = report.barrier_intervals(records)
    for loop in dict.fromkeys(r["loop"] for r in records if r["write_share"]):
        boxes = []
        for live in sorted({r["live_mib"] for r in records}):
            series = []
            curves = [("card", 0, "card marking, no cycles"), ("both", 0, "card and read barrier, no cycles")]
            curves += [("card", us, f"card marking, cycle each {report.interval(us)}") for us in every]
            curves += [("veil", us, f"MMU (veil), cycle each {report.interval(us)}") for us in every]
            for variant, us, text in curves:
                chosen = [dict(r, percent=100 * r["write_share"]) for r in records if r["loop"] == loop and r["live_mib"] == live and
                          (r["variant"], r.get("cycle_every_us")) == (variant, us)]
                # The rarer cycles are, the more solid is the line; without any it is thin.
                dash = [1, 2, 3][len(every) - 1 - every.index(us)] if us else 1
                style = f"linespoints lw {2 if us else 1} pt {7 if us else 6} ps 0.6 dt {dash} lc rgb '{BARRIER_COLOURS[variant]}'"
                series.append((text, style, medians(chosen, "percent", "ratio")))
            boxes.append((f"{live:g} MiB live", series))
        highest = max(y for _, series in boxes for _, _, points in series for _, y in points)
        panels(folder, f"barriers-writes-{loop}", f"barriers: {loop}: what a write costs", "% of steps that write a reference",
               "time over that of plain code", ["set logscale xy", f"set yrange [0.7:{1.2 * highest:.3g}]"], boxes)


def winner_plot(folder, records):
    """Which is cheaper, the MMU or cards: veil's time over that of card marking, each with its cycles, in one map."""
    every, lives = report.barrier_intervals(records), sorted({r["live_mib"] for r in records})
    columns = list(dict.fromkeys((r["loop"], r["write_share"]) for r in records if r["write_share"]))
    rows = [(live, us) for live in reversed(lives) for us in every]
    cells = []
    for x, (loop, share) in enumerate(columns):
        for y, (live, us) in enumerate(rows):
            trials = report.barrier_settings(records).get((live, loop, share), {})
            veil, card = (report.median(trials.get((name, us), []), "ratio") for name in ("veil", "card"))
            if veil and card:
                cells.append((x, y, veil / card))
    if not cells:
        return
    lines = ["$cells << EOD"] + [f'{x} {y} {math.log2(ratio):.6g} "{report.figure(ratio)}"' for x, y, ratio in cells] + ["EOD"]
    xtics = ", ".join(f'"{loop} {100 * share:g} %%" {x}' for x, (loop, share) in enumerate(columns))
    ytics = ", ".join(f'"{live:g} MiB, each {report.interval(us)}" {y}' for y, (live, us) in enumerate(rows))
    lines += ['set title "barriers: time with the MMU (veil) over time with card marking, cycles of both included. '
              'Blue: the MMU is cheaper" noenhanced',
              f"set xtics ({xtics}) rotate by -40 noenhanced", f"set ytics ({ytics}) noenhanced", "unset key", "unset colorbox",
              f"set xrange [-0.5:{len(columns) - 0.5}]", f"set yrange [-0.5:{len(rows) - 0.5}]", "set cbrange [-2:2]",
              "set palette defined (-2 '#0072B2', -0.1 '#cfe3f1', 0 '#ffffff', 0.1 '#fbe3d3', 2 '#D55E00')",
              'set xlabel "loop, and % of its steps that write a reference"', 'set ylabel "live data, work between two cycles"',
              "set tics nomirror scale 0", "set border 0"]
    for suffix, terminal in [("svg", "svg size 1150,560 font 'sans,12' background rgb 'white'"),
                             ("png", "pngcairo size 1725,840 font 'sans,14'")]:
        lines += [f"set terminal {terminal}", f"set output '{os.path.join(folder, 'barriers-winner')}.{suffix}'",
                  "plot $cells using 1:2:3 with image pixels, $cells using 1:2:4 with labels"]
    gnuplot(lines)


def read_barrier_plot(folder, records):
    """A box per size: what a major cycle costs each loop, by how far apart they are, and what the read barrier costs all the time."""
    boxes = []
    for live in sorted({r["live_mib"] for r in records}):
        series = []
        for nth, loop in enumerate(dict.fromkeys(r["loop"] for r in records)):
            colour = f"lc rgb '{LOOP_COLOURS[nth % len(LOOP_COLOURS)]}'"
            chosen = [r for r in records if (r["loop"], r["live_mib"]) == (loop, live)]
            major = [r for r in chosen if r["variant"] == "veil_major"]
            read = [r for r in chosen if r["variant"] == "read" and major and r["write_share"] == major[0]["write_share"]]
            cost, ratio = report.median(major, "major_cost_us"), report.median(read, "ratio")
            if cost and cost > 0:
                series.append((f"{loop}: MMU (veil)", f"lines lw 2 {colour}", [[s, 100 * cost / (s * 1e6)] for s in (0.1, 1000)]))
            if ratio and ratio > 1:
                level = 100 * (ratio - 1)
                series.append((f"{loop}: read barrier", f"lines lw 2 dt 2 {colour}", [[0.1, level], [1000, level]]))
        boxes.append((f"{live:g} MiB live", series))
    panels(folder, "barriers-read", "barriers: moving concurrently: cycles' traps and flips against a read barrier",
           "seconds of work between two major cycles", "% that the loop is slower",
           ["set logscale xy", "set xrange [0.1:1000]", "set yrange [0.1:1000]"], boxes)


def barrier_plots(folder, records):
    of_barriers = [r for r in records if r["workload"] == "barriers"]
    winner_plot(folder, of_barriers)
    write_rate_plots(folder, of_barriers)
    read_barrier_plot(folder, of_barriers)


def latency_percentiles(gaps):
    """[[1 / share of the requests that took at least so long, us]...]: 10 on the first axis is the 90th percentile, 100 the 99th."""
    return [[1 / share, us] for us, share in gaps_beyond(gaps)]


def kv_plot(folder, details):
    series = []
    for label, detail in details.items():
        collector = label.split(" ")[1]
        if label.startswith("kv ") and detail["gap"]:
            series.append((collector, f"lines lw 2 {line(collector, 1)}", latency_percentiles(detail["gap"])))
    tics = ", ".join(f'"{text}" {10 ** i}' for i, text in enumerate(["0 %%", "90 %%", "99 %%", "99.9 %%", "99.99 %%", "99.999 %%", "99.9999 %%"]))
    plot(folder, "latency-kv", "kv: latency of requests, from when they were due", "percentile", "latency, microseconds",
         ["set logscale xy", f"set xtics ({tics})", "set format y '10^{%T}'"], series)


def checkpoint_plot(folder, paths):
    """`paths`: labels to detail files."""
    for size in dict.fromkeys(label.split(" ")[-1] for label in paths):
        series = []
        for label, path in paths.items():
            collector = label.split(" ")[1]
            if label.split(" ")[-1] == size:
                series.append((collector, f"lines lw 2 {line(collector, 1)}", checkpoint.work_points(path)))
        plot(folder, f"work-checkpoint-{size}", f"checkpoint, {size} MiB: work before, during and after", "seconds since the request", "work, as a share of that before",
             ["set yrange [0:*]"], series)


# ---- compress: what the lecture's figures 1 and 9 show.

WAY_COLOURS = {"veil space": COLOURS["veil"], "veil speed": "#56B4E9", "zram lz4": "#D55E00", "zram lzo-rle": "#E69F00", "lz4": "#555555", "zstd": "#009E73"}


def compress_age_plot(folder, paths):
    """Figure 1: which share of the memory is cold, and how much of it would be wanted back, by the age from which on it counts as cold."""
    cold, back = [], []
    for nth, (label, path) in enumerate(paths.items()):
        name, ages = compress_name(label), [row for row in compress.detail_read(path)["age"] if row[0] > 0]
        colour = f"lc rgb '{LOOP_COLOURS[nth % len(LOOP_COLOURS)]}'"
        cold.append((f"{name}: cold, % of memory", f"lines lw 2 {colour}", [[s, 100 * share] for s, share, _ in ages]))
        back.append((f"{name}: wanted back, % of the working set per minute", f"lines lw 2 dt 2 {colour} axes x1y2", [[s, 100 * share] for s, _, share in ages if share > 0]))
    settings = ["set logscale x", "set yrange [0:100]", "set y2label '% of the working set per minute'", "set logscale y2", "set y2tics", "set border 11", "set key outside below"]
    if not any(points for _, _, points in back):
        settings = settings[:2] + settings[-1:]
    plot(folder, "compress-ages", "compress: cold memory, and what of it is wanted back, by the age that counts as cold", "age threshold, seconds", "% of memory that is older", settings, cold + back)


def compress_state_plot(folder, paths):
    for label, path in paths.items():
        state, name = compress.detail_read(path)["state"], compress_name(label)
        colour = f"lc rgb '{COLOURS['veil']}'"
        series = [("compressed, MiB", f"lines lw 2 {colour}", [row[:2] for row in state]), ("saved, MiB", f"lines lw 2 dt 2 {colour}", [[row[0], row[2]] for row in state]),
                  ("threshold, seconds", "lines lw 1 lc rgb '#555555' axes x1y2", [[row[0], row[3]] for row in state if row[3] >= 0])]
        settings = ["set yrange [0:*]", "set y2label 'seconds'", "set y2range [0:*]", "set y2tics", "set border 11"] if series[2][2] else ["set yrange [0:*]"]
        plot(folder, f"compress-time-{name.replace(' ', '-')}", f"compress, {name}: memory over time", "seconds since the compressor was opened", "MiB", settings, series)


def compress_name(label):
    """Of a label of drive.py's: the program, and what is preferred where that is said."""
    words = label.split(" ")
    return " ".join(words[words.index(key) + 1] for key in ("program", "prefer") if key in words)


def compress_ratio_plot(folder, program, records):
    """Figure 9a: how many times less memory."""
    ratios = {}
    for record in records:
        if record.get("ratio"):
            ratios.setdefault(compress.way_of(record), []).append(record["ratio"])
    ways = list(ratios)
    series = [(way, f"boxes fill solid 0.8 noborder lc rgb '{WAY_COLOURS.get(way, '#000000')}'", [[i, statistics.median(ratios[way])]]) for i, way in enumerate(ways)]
    tics = ", ".join(f'"{way}" {i}' for i, way in enumerate(ways))
    plot(folder, f"compress-ratio-{program}", f"compress, {program}: original memory over all that is held for it", "", "ratio",
         [f"set xtics ({tics}) noenhanced", f"set xrange [-0.6:{len(ways) - 0.4}]", "set yrange [0:*]", "set boxwidth 0.7", "unset key"], series)


def compress_latency_plot(folder, program, path):
    """Figure 9b: how long it takes until a page is there again."""
    detail, series = compress.detail_read(path), []
    for kind, what, dash in (("fault", "touch", 1), ("unpack", "unpacking alone", 2)):
        for way, points in detail[kind].items():
            series.append((f"{way}: {what}", f"lines lw 2 dt {dash} lc rgb '{WAY_COLOURS.get(way, '#000000')}'", [[us, 100 * share] for us, share in points if us > 0]))
    plot(folder, f"compress-latency-{program}", f"compress, {program}: until a page is there again", "microseconds", "% of the pages, at most so long", ["set logscale x", "set yrange [0:100]"], series)


def compress_plots(folder, records, paths):
    """`paths`: labels to detail files."""
    replays = {label: path for label, path in paths.items() if " part replay" in label and label.split(" ")[1] == "veil"}
    compress_age_plot(folder, replays)
    compress_state_plot(folder, replays)
    of_pages = [r for r in records if r["workload"] == "compress" and r["part"] == "pages"]
    for program in dict.fromkeys(r["program"] for r in of_pages):
        compress_ratio_plot(folder, program, [r for r in of_pages if r["program"] == program])
        for label, path in paths.items():
            if f" program {program} part pages" in label:
                compress_latency_plot(folder, program, path)


def scheme_plots(folder, records, details):
    """Times of the programs over libgc's; and how late the steps of the interactive loop were."""
    series, names = scheme.plot_series(records, report.ratio, line)
    tics = ", ".join(f'"{name}" {x}' for x, name in enumerate(names))
    plot(folder, "scheme-time", "scheme: time of each program over that on libgc", "", "time over libgc's",
         ["set logscale y", f"set xtics ({tics}) rotate by 60 right noenhanced", "set ytics add (0.25, 0.5, 0.75, 1, 1.5, 2, 4)"], series)
    late = []
    for label, detail in details.items():
        if label.startswith("scheme ") and detail["gap"]:
            collector = label.split(" ")[1]
            late.append((collector, f"lines lw 2 {line(collector, 1)}", latency_percentiles(detail["gap"])))
    tics = ", ".join(f'"{text}" {10 ** i}' for i, text in enumerate(["0 %%", "90 %%", "99 %%", "99.9 %%", "99.99 %%", "99.999 %%"]))
    plot(folder, "scheme-loop", "scheme: an interactive loop beside live data: from when a step was due until it was done", "percentile", "microseconds",
         ["set logscale xy", f"set xtics ({tics})", "set format y '10^{%T}'"], late)


def plots_write(folder, records, details):
    """`details` maps the label of a run, "workload collector ...", to its detail file."""
    os.makedirs(folder, exist_ok=True)
    for workload in dict.fromkeys(r["workload"] for r in records if r["workload"].split("/")[0] not in report.OF_THEIR_OWN):
        of_workload = [r for r in records if r["workload"] == workload]
        chosen = {label: detail_read(path) for label, path in details.items() if label.split(" ")[0] == workload}
        live = [r["live_mib"] for r in of_workload if r.get("live_mib")]
        workload_plots(folder, workload, chosen, max(live, default=None))
        heap_plots(folder, workload, of_workload)
    page_size_plots(folder, records)
    barrier_plots(folder, records)
    checkpoint_plot(folder, {label: path for label, path in details.items() if label.startswith("checkpoint ")})
    compress_plots(folder, records, {label: path for label, path in details.items() if label.startswith("compress ")})
    kv_plot(folder, {label: detail_read(path) for label, path in details.items() if label.startswith("kv ")})
    scheme_plots(folder, records, {label: detail_read(path) for label, path in details.items() if label.startswith("scheme ")})
