# SPDX-License-Identifier: MIT
"""plots.py: plots of the records, and of the detail files that the workloads write, by gnuplot as SVG and PNG."""

import os
import statistics
import subprocess

# Okabe and Ito's colours, which most people can tell apart.
COLOURS = {"veil": "#0072B2", "libgc": "#D55E00", "libgc_plain": "#CC79A7", "malloc": "#555555", "mimalloc": "#009E73"}


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
    done = subprocess.run(["gnuplot"], input="\n".join(lines) + "\n", text=True, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        print(f"bench: gnuplot: {done.stderr.strip()}")


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


def plots_write(folder, records, details):
    """`details` maps the label of a run, "workload collector ...", to its detail file."""
    os.makedirs(folder, exist_ok=True)
    for workload in dict.fromkeys(r["workload"] for r in records if not r["workload"].startswith("primitives")):
        of_workload = [r for r in records if r["workload"] == workload]
        chosen = {label: detail_read(path) for label, path in details.items() if label.split(" ")[0] == workload}
        live = [r["live_mib"] for r in of_workload if r.get("live_mib")]
        workload_plots(folder, workload, chosen, max(live, default=None))
        heap_plots(folder, workload, of_workload)
    page_size_plots(folder, records)
