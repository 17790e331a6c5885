# SPDX-License-Identifier: MIT
"""plots.py: plots of the records, and of the detail files that the workloads write, by gnuplot as SVG and PNG."""

import os
import statistics
import subprocess

# Okabe and Ito's colours, which most people can tell apart.
COLOURS = {"veil": "#0072B2", "libgc": "#D55E00", "libgc_plain": "#CC79A7", "malloc": "#555555", "mimalloc": "#009E73"}


def detail_read(path):
    """{"gap": [[us, count]...], "mmu": [[ms, share]...], "rate": [[ms, share, in cycle]...]}; empty if there is none."""
    detail = {"gap": [], "mmu": [], "rate": []}
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


def plot(folder, name, title, xlabel, ylabel, settings, series):
    """Writes name.svg and name.png. `series`: (title, collector, style, points)."""
    series = [one for one in series if one[3]]
    if not series:
        return
    lines = []
    for i, (_, _, _, points) in enumerate(series):
        lines.append(f"$data{i} << EOD")
        lines += [" ".join(f"{value:.6g}" for value in point) for point in points]
        lines.append("EOD")
    lines += [f'set title "{title}" noenhanced', f'set xlabel "{xlabel}"', f'set ylabel "{ylabel}"',
              "set grid back lc rgb '#dddddd' lt 1", "set border 3", "set tics nomirror", "set key outside right top noenhanced"]
    lines += settings
    curves = ", ".join(f"$data{i} using 1:2 with {style} lc rgb '{COLOURS.get(collector, '#000000')}' title \"{text}\""
                       for i, (text, collector, style, _) in enumerate(series))
    for suffix, terminal in [("svg", "svg size 900,500 font 'sans,13' background rgb 'white'"),
                             ("png", "pngcairo size 1350,750 font 'sans,15'")]:
        lines += [f"set terminal {terminal}", f"set output '{os.path.join(folder, name)}.{suffix}'", f"plot {curves}"]
    done = subprocess.run(["gnuplot"], input="\n".join(lines) + "\n", text=True, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        print(f"bench: gnuplot: {done.stderr.strip()}")


def workload_plots(folder, workload, details):
    gaps, mmu, rate, seen = [], [], [], {}
    for label, detail in details.items():
        name, collector = label.split(" ", 1)[1], label.split(" ")[1]
        seen[collector] = seen.get(collector, 0) + 1  # The same collector with another heap: another dash.
        gaps.append((name, collector, f"lines lw 2 dt {seen[collector]}", gaps_beyond(detail["gap"])))
        mmu.append((name, collector, f"linespoints lw 2 pt 7 ps 0.5 dt {seen[collector]}", detail["mmu"]))
        if seen[collector] == 1 and collector in ("veil", "libgc", "malloc"):
            first = [point[:2] for point in detail["rate"] if point[0] <= 3000]
            rate.append((name, collector, "lines lw 1", first))
    plot(folder, f"gaps-{workload}", f"{workload}: gaps between steps", "gap at least this long, microseconds",
         "share of the steps", ["set logscale xy", "set format y '10^{%T}'"], gaps)
    plot(folder, f"mmu-{workload}", f"{workload}: progress in the worst window", "window, milliseconds",
         "steps over those of an undisturbed window", ["set logscale x", "set yrange [0:1.05]"], mmu)
    plot(folder, f"rate-{workload}", f"{workload}: progress over time", "milliseconds",
         "step rate over the undisturbed rate", ["set yrange [0:*]"], rate)


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
             [("veil", "veil", "linespoints lw 2 pt 7", medians(sweep, "granule_kib", field))])


def heap_plots(folder, workload, records):
    """Against the heap's size, where there was a choice of sizes."""
    if len({r["heap_option"] for r in records if r.get("heap_mib")}) < 2:
        return
    for field, text, settings in [("wall_s", "wall time, s", []), ("gap_max_us", "largest gap, us", ["set logscale y"])]:
        series = []
        for collector in sorted({r["collector"] for r in records}):
            of_collector = [dict(r, factor=r["heap_mib"] / r["live_mib"]) for r in records
                            if r["collector"] == collector and r.get("heap_mib")]
            series.append((collector, collector, "linespoints lw 2 pt 7", medians(of_collector, "factor", field)))
        plot(folder, f"heap-{field}-{workload}", f"{workload}: {text}", "heap over live data", text, settings, series)


def plots_write(folder, records, details):
    """`details` maps the label of a run, "workload collector ...", to its detail file."""
    os.makedirs(folder, exist_ok=True)
    for workload in dict.fromkeys(r["workload"] for r in records if not r["workload"].startswith("primitives")):
        chosen = {label: detail_read(path) for label, path in details.items() if label.split(" ")[0] == workload}
        workload_plots(folder, workload, chosen)
        heap_plots(folder, workload, [r for r in records if r["workload"] == workload])
    page_size_plots(folder, records)
