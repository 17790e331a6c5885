# SPDX-License-Identifier: MIT
"""report.py: from records to the table for people.

A cell is the median over the repetitions; a ratio is the median of the ratios within each repetition.
"""

import os
import platform
import statistics

import checkpoint
import compress
import scheme
import store

OF_THEIR_OWN = ("primitives", "barriers", "kv", "checkpoint", "store", "compress", "scheme")  # records of another kind, and tables of their own


def machine_describe():
    model = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    load = os.getloadavg()[0]
    note = "" if load < 0.5 else " (busy: trust ratios, not figures)"
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}, load {load:.1f}{note}"


def record_summary(record):
    if "outcome" in record:
        return record["outcome"]
    if record["workload"] == "kv":
        return kv_summary(record)
    if record["workload"] == "checkpoint":
        return checkpoint.summary(record)
    if record["workload"] == "store":
        return store.summary(record)
    if record["workload"] == "compress":
        return compress.summary(record)
    if record["workload"] == "scheme":
        return scheme.summary(record)
    if record["workload"] in OF_THEIR_OWN:
        return "done"
    return f"{record['wall_s']:.2f} s, largest gap {record['gap_max_us'] / 1e3:.2f} ms"


def kv_summary(record):
    if "latency_max_us" in record:
        return (f"{record['rate'] / 1e3:.1f} k/s, 50 % within {figure(record['latency_p50_us'], 1e-3)} ms, 99 % {figure(record['latency_p99_us'], 1e-3)} ms, "
                f"all {figure(record['latency_max_us'], 1e-3)} ms")
    return f"{record['ops_per_s'] / 1e3:.1f} k/s"


def median(records, field):
    values = [record[field] for record in records if record.get(field) is not None]
    return statistics.median(values) if values else None


def ratio(records, base_records, field):
    """Median over repetitions of `field` against the same repetition of the base."""
    base = {record["repetition"]: record.get(field) for record in base_records}
    ratios = [r[field] / base[r["repetition"]] for r in records if r.get(field) is not None and base.get(r["repetition"])]
    return statistics.median(ratios) if ratios else None


def figure(value, scale=1.0):
    """Three significant digits, without exponents."""
    if value is None:
        return "-"
    value *= scale
    if value == 0:
        return "0"
    size = abs(value)
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 else f"{value:.3f}"


def rows_print(header, rows):
    widths = [max(len(row[i]) for row in [header] + rows) for i in range(len(header))]
    for row in [header] + rows:
        cells = [cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))]
        print("  ".join(cells).rstrip())
        if row is header:
            print("-" * (sum(widths) + 2 * (len(widths) - 1)))
    print()


def grouped(records, *fields):
    groups = {}
    for record in records:
        groups.setdefault(tuple(record.get(field) for field in fields), []).append(record)
    return groups


def name_of(collector, back_end, heap, granule=None, threads=None, cores=None):
    """`threads` and `cores` are given where rows differ by them."""
    name = f"{collector} ({back_end})" if back_end else collector
    name += f" heap {heap}" if heap else ""
    name += f", {threads} on {cores} core{'s' if cores != 1 else ''}" if threads else ""
    return name + (f" {granule} KiB" if granule else "")


def by_hand(collector):
    return collector in ("malloc", "mimalloc")


def outcome_of(group):
    """What stands in the place of a time if one of the runs did not end, else None."""
    return next((r["outcome"] for r in group if "outcome" in r), None)


def rows_of(records):
    """(workload, name, records of it, malloc's records) for each row; those of their own are left out. Malloc's with as many mutators."""
    rows = []
    plain = [r for r in records if r["workload"] not in OF_THEIR_OWN]
    for (workload,), of_workload in grouped(plain, "workload").items():
        several = len(grouped(of_workload, "threads", "cores")) > 1 and workload == "threads"
        # A run that did not end could not say its back end; the others can.
        known = {r["collector"]: r["back_end"] for r in records if r.get("back_end")}
        of_workload = [dict(r, back_end=r.get("back_end") or known.get(r["collector"])) for r in of_workload]
        groups = grouped(of_workload, "collector", "back_end", "heap_option", "granule_kib", "threads", "cores")
        for (collector, back_end, heap, granule, threads, cores), group in groups.items():
            heap = None if by_hand(collector) else heap
            name = name_of(collector, back_end, heap, granule, *((threads, cores) if several else ()))
            base = [r for r in of_workload if r["collector"] == "malloc" and
                    (r.get("threads"), r.get("cores")) == (threads, cores)]
            rows.append((workload, name, group, base))
    return rows


def main_rows(rows):
    header = ["workload", "collector", "wall s", "x malloc", "cpu x", "MiB live", "MiB peak", "gap us p50", "p99.9",
              "p99.9 in cycle", "max", "machine", "MMU% 1 ms", "5 ms", "20 ms", "100 ms", "cycles"]
    table = []
    for workload, name, group, base in rows:
        cells = [workload, name, outcome_of(group) or figure(median(group, "wall_s")), figure(ratio(group, base, "wall_s")),
                 figure(ratio(group, base, "cpu_s"))]
        for field in ["live_mib", "peak_rss_mib", "gap_p50_us", "gap_p999_us", "gap_in_cycle_p999_us", "gap_max_us",
                      "machine_gap_max_us"]:
            cells.append(figure(median(group, field)))
        for field in ["mmu_1ms", "mmu_5ms", "mmu_20ms", "mmu_100ms"]:
            cells.append(figure(median(group, field), 100))
        cells.append(figure(median(group, "major_cycles")))
        table.append(cells)
    return header, table


def veil_rows(rows):
    header = ["workload", "veil", "flip us p50", "max", "best max", "traps", "trap us p50", "p99", "veiled ms max",
              "in cycle %", "scanned", "by traps", "copied MiB", "stall ms"]
    table = []
    for workload, name, group, _ in rows:
        if group[0]["collector"] != "veil" or outcome_of(group):
            continue
        cells = [workload, name, figure(median(group, "flip_p50_us")), figure(median(group, "flip_max_us")),
                 figure(min(r["flip_max_us"] for r in group))]
        for field, scale in [("traps", 1), ("trap_p50_us", 1), ("trap_p99_us", 1), ("veiled_ms_max", 1),
                             ("in_cycle_share", 100), ("pages_scanned_background", 1), ("pages_scanned_trap", 1),
                             ("copied_mib", 1), ("stall_ms", 1)]:
            cells.append(figure(median(group, field), scale))
        table.append(cells)
    return header, table


def scaling(group, single):
    """Median over repetitions of the work done per second by all mutators, over that of one mutator on one processor."""
    base = {r["repetition"]: r.get("wall_s") for r in single}
    ratios = [r["threads"] * base[r["repetition"]] / r["wall_s"] for r in group
              if r.get("wall_s") and base.get(r["repetition"])]
    return statistics.median(ratios) if ratios else None


def thread_rows(records):
    header = ["workload", "collector", "mutators", "cores", "wall s", "cpu s", "throughput x one on one core"]
    table = []
    of_threads = [r for r in records if r["workload"] == "threads" and "outcome" not in r]
    for (collector, heap), of_collector in grouped(of_threads, "collector", "heap_option").items():
        groups = grouped(of_collector, "threads", "cores")
        single = groups.get((1, 1), [])
        for (threads, cores), group in groups.items():
            if (threads, cores) != (1, 1):
                name = name_of(collector, group[0]["back_end"], None if by_hand(collector) else heap)
                table.append(["threads", name, str(threads), str(cores), figure(median(group, "wall_s")),
                              figure(median(group, "cpu_s")), figure(scaling(group, single))])
    return header, table


def alloc_rows(rows, records):
    header = ["workload", "ns per object", "32 bytes", "x mimalloc", "24 bytes", "x mimalloc", "32 zeroed", "x mimalloc"]
    base = [r for r in records if r["workload"] == "alloc32" and r["collector"] == "mimalloc"]
    table = []
    for workload, name, group, _ in rows:
        if workload == "alloc32":
            cells = [workload, name]
            for field in ["ns_per_object", "ns_per_object_24", "ns_per_object_zeroed"]:
                cells += [figure(median(group, field)), figure(ratio(group, base, field))]
            table.append(cells)
    return header, table


PRIMITIVES = [("add_ns", "ADD ns"), ("trap_us", "trap"), ("prot1_trap_unprot_us", "prot1+trap+unprot"),
              ("protn_trap_unprot_us", "protN+trap+unprot"), ("vm_pup", "VM-PUP"), ("trap_adds", "trap in ADDs"),
              ("protn_per_page_us", "protN/page"), ("unprot_batch_us", "unprot/page of 16"),
              ("dirty_first_write_us", "first write"), ("dirty_harvest_dirty_us", "harvest/dirty"),
              ("dirty_harvest_clean_us", "/clean"), ("map2_us", "scan by alias"), ("stop_us", "stop, open, scan"),
              ("map2_worth", "Map2's worth")]


def primitive_rows(records):
    header = ["workload", "back end"] + [title for _, title in PRIMITIVES] + ["VM-PUP x mprotect"]
    table = []
    primitives = [r for r in records if r["workload"] == "primitives"]
    base = [r for r in primitives if r["back_end"] == "mprotect"]
    for (back_end,), group in grouped(primitives, "back_end").items():
        cells = ["primitives, us", back_end] + [figure(median(group, field)) for field, _ in PRIMITIVES]
        table.append(cells + [figure(ratio(group, base, "vm_pup"))])
    return header, table


def interval(us):
    """How long, as short as can be said."""
    return f"{us / 1e6:g} s" if us >= 1e6 else f"{us / 1e3:g} ms"


def barrier_settings(records):
    """{(MiB, loop, share): {(variant, interval): records}} of the workload barriers, cycles of all kinds included."""
    trials = [r for r in records if r["workload"] == "barriers"]
    return {key: grouped(group, "variant", "cycle_every_us")
            for key, group in grouped(trials, "live_mib", "loop", "write_share").items()}


def barrier_intervals(records):
    return sorted({r["cycle_every_us"] for r in records if r.get("cycle_every_us")})


def barrier_name(live, loop, share):
    return [loop, f"{live:g} MiB" + (f", {100 * share:g} % written" if share else "")]


def barrier_rows(records):
    """Times over those of plain code: compiled barriers, veil without cycles, and both with their cycles."""
    every = barrier_intervals(records)
    header = ["barriers", "", "plain ns", "x plain: card", "read", "both", "plain, huge pages", "veil"]
    header += [f"{who}, {interval(us)}" for us in every for who in ("card", "veil")]
    table = []
    for key, trials in barrier_settings(records).items():
        if ("plain", 0) in trials:
            cells = barrier_name(*key) + [figure(median(trials["plain", 0], "ns_per_step"))]
            columns = [(name, 0) for name in ("card", "read", "both", "plain_huge", "veil")]
            columns += [(name, us) for us in every for name in ("card", "veil")]
            table.append(cells + [figure(median(trials.get(column, []), "ratio")) for column in columns])
    return header, table


def barrier_cycle_rows(records):
    """What a cycle finds and costs, for one interval: the second shortest."""
    every = barrier_intervals(records)[:2][-1:]
    header = ["barriers", f"a cycle each {interval(every[0])}" if every else "", "dirty cards", "cards us", "if clean",
              "dirty pages", "minor us", "if clean", "first write ns"]
    table = []
    for key, trials in barrier_settings(records).items():
        card, veil = (trials.get((name, us), []) for name in ("card", "veil") for us in every) if every else ([], [])
        if card and veil and key[2]:
            cells = [figure(median(card, field)) for field in ("dirty_cards", "cycle_us", "cycle_clean_us")]
            cells += [figure(median(veil, field)) for field in ("dirty_pages", "cycle_us", "cycle_clean_us")]
            of_all = [r for (name, _), group in trials.items() if name == "veil" for r in group]
            cells.append(figure(median(of_all, "first_write_ns")))  # only where it is more than noise
            table.append(barrier_name(*key) + cells)
    return header, table


def break_even_us(cost_us, ratio):
    """How far apart major cycles have to be for what one costs to be less than the read barrier's price; None if it has none."""
    return cost_us / (ratio - 1) if cost_us is not None and ratio is not None and ratio > 1 else None


def barrier_major_rows(records):
    header = ["barriers", "a major cycle", "costs the loop ms", "processors ms", "lasts ms", "traps", "flip us", "read barrier x plain",
              "break-even s apart"]
    table = []
    for key, trials in barrier_settings(records).items():
        major = trials.get(("veil_major", None))
        if major:
            read = median(trials.get(("read", 0), []), "ratio")
            cost = median(major, "major_cost_us")
            cells = [figure(cost, 1e-3), figure(median(major, "major_cpu_us"), 1e-3), figure(median(major, "major_us"), 1e-3)]
            cells += [figure(median(major, field)) for field in ("traps", "flip_us")]
            table.append(barrier_name(*key) + cells + [figure(read), figure(break_even_us(cost, read), 1e-6)])
    return header, table


def kv_rows(records):
    header = ["kv", "collector", "max k/s", "x malloc", "at k/s", "latency us p50", "p99", "x malloc", "p99.9", "p99.99", "max", "best max", "sent late max",
              "machine", "MiB live", "MiB peak", "x malloc", "cpu s", "x malloc", "cycles", "flip max us", "minor max us", "minor p99"]
    of_kv = [r for r in records if r["workload"] == "kv"]
    base, table = [r for r in of_kv if r["collector"] == "malloc"], []
    for (collector, back_end), group in grouped(of_kv, "collector", "back_end").items():
        cells = ["kv", name_of(collector, back_end, None), figure(median(group, "ops_per_s"), 1e-3), figure(ratio(group, base, "ops_per_s"))]
        cells += [figure(median(group, "rate"), 1e-3), figure(median(group, "latency_p50_us")), figure(median(group, "latency_p99_us")),
                  figure(ratio(group, base, "latency_p99_us"))]
        cells += [figure(median(group, field)) for field in ("latency_p999_us", "latency_p9999_us", "latency_max_us")]
        largest = [r["latency_max_us"] for r in group if r.get("latency_max_us") is not None]
        cells += [figure(min(largest, default=None))] + [figure(median(group, field)) for field in ("late_max_us", "machine_gap_max_us", "live_mib")]
        for field in ("peak_rss_mib", "cpu_s"):
            cells += [figure(median(group, field)), figure(ratio(group, base, field))]
        table.append(cells + [figure(median(group, field)) for field in ("major_cycles", "flip_max_us", "minor_max_us", "minor_p99_us")])
    return header, table


def kv_notes(records):
    """What has to be known to read the rows of kv."""
    of_kv = [r for r in records if r["workload"] == "kv"]
    lines = ["kv: latency counts from when a request was due. sent late: the client's own part of that, when the machine keeps it waiting."] if of_kv else []
    for (collector,), group in grouped([r for r in of_kv if r.get("bound_hits")], "collector").items():
        lines.append(f"kv {collector}: in {len(group)} of its runs all connections had as many requests outstanding as may be: it could not keep up.")
    return lines


def checkpoint_rows(records):
    header = ["checkpoint", "by", "MiB", "pause ms", "x fork", "largest gap ms", "x fork", "steps k/s before", "during", "x fork", "share", "after", "durable s", "x fork",
              "MiB extra", "MiB written"]
    of_checkpoint, table = [r for r in records if r["workload"] == "checkpoint"], []
    for (size, collector, back_end), group in grouped(of_checkpoint, "size", "collector", "back_end").items():
        base = [r for r in of_checkpoint if r["size"] == size and r["collector"] == "fork"]
        cells = ["checkpoint", name_of(collector, back_end, None), size]
        for field, scale in [("pause_us", 1e-3), ("gap_us", 1e-3)]:
            cells += [figure(median(group, field), scale), figure(ratio(group, base, field))]
        cells += [figure(median(group, "steps_before"), 1e-3), figure(median(group, "steps_during"), 1e-3)]
        # Steps of redis are requests: they compare with nothing but their own.
        cells += [figure(None if collector == "redis" else ratio(group, base, "steps_during")), figure(median(group, "work_during")), figure(median(group, "work_after"))]
        cells += [figure(median(group, "durable_s")), figure(ratio(group, base, "durable_s"))]
        table.append(cells + [figure(median(group, field)) for field in ("extra_mib", "written_mib")])
    return header, table


def checkpoint_increment_rows(records):
    header = ["checkpoint", "by", "MiB", "increment: pages", "pause ms", "steps k/s during", "x fork", "durable ms", "written x dirty", "cycles", "open ms", "restored s",
              "speed x reading"]
    of_checkpoint, table = [r for r in records if r["workload"] == "checkpoint"], []
    for (size, collector, back_end), group in grouped([r for r in of_checkpoint if r["collector"] == "veil"], "size", "collector", "back_end").items():
        fork = {r["repetition"]: r["steps_during"] for r in of_checkpoint if r["size"] == size and r["collector"] == "fork"}
        ratios = [r["increment_steps"] / fork[r["repetition"]] for r in group if r.get("increment_steps") and fork.get(r["repetition"])]
        cells = ["checkpoint", name_of(collector, back_end, None), size, figure(median(group, "increment_pages")), figure(median(group, "increment_pause_us"), 1e-3)]
        cells += [figure(median(group, "increment_steps"), 1e-3), figure(statistics.median(ratios) if ratios else None), figure(median(group, "increment_durable_s"), 1e3)]
        table.append(cells + [figure(median(group, field)) for field in ("increment_written", "increment_cycles", "open_ms", "restore_s", "restore_by_read")])
    return header, table


def store_records(records, part):
    """Those that have figures, and those that say why not."""
    return [r for r in records if r["workload"] == "store" and r.get("part", "commits") == part]


def store_rows(records):
    header = ["store", "by", "MiB", "K", "commits/s", "x floor's time", "veil x", "ms p50", "p99", "logged x changed", "open ms", "close ms", "MiB of files", "MiB peak"]
    of_store, table = [r for r in store_records(records, "commits") if r.get("threads", 1) == 1], []
    for (size, k, collector, back_end), group in grouped(of_store, "size", "k", "collector", "back_end").items():
        same = grouped([r for r in of_store if (r["size"], r["k"]) == (size, k)], "collector")
        # How much longer a commit takes than the floor's; and veil's commits per second over these.
        cells = ["store", name_of(collector, back_end, None), size, str(k), outcome_of(group) or figure(median(group, "commits_per_s"))]
        cells += [figure(ratio(same.get((who,), []), group, "commits_per_s")) for who in ("floor", "veil")]
        cells += [figure(median(group, field), 1e-3) for field in ("commit_p50_us", "commit_p99_us")]
        table.append(cells + [figure(median(group, field)) for field in ("logged_per_changed", "open_ms", "close_ms", "files_mib", "peak_rss_mib")])
    return header, table


def store_thread_rows(records):
    header = ["store", "by", "MiB", "K", "threads", "commits/s", "x one thread", "veil x", "ms p50", "p99"]
    of_store, table = store_records(records, "commits"), []
    several = [r for r in of_store if r.get("threads", 1) > 1]
    for (size, k, threads, collector, back_end), group in grouped(several, "size", "k", "threads", "collector", "back_end").items():
        single = [r for r in of_store if r["collector"] == collector and (r["size"], r["k"], r.get("threads", 1)) == (size, k, 1)]
        veil = [r for r in several if r["collector"] == "veil" and r["threads"] == threads]
        cells = ["store", name_of(collector, back_end, None), size, str(k), str(threads), outcome_of(group) or figure(median(group, "commits_per_s"))]
        cells += [figure(ratio(group, single, "commits_per_s")), figure(ratio(veil, group, "commits_per_s"))]
        table.append(cells + [figure(median(group, field), 1e-3) for field in ("commit_p50_us", "commit_p99_us")])
    return header, table


def store_open_rows(records):
    header = ["store", "by", "MiB", "open ms, closed", "killed", "commits before", "MiB of log", "close ms"]
    table = []
    for (size, collector, back_end), group in grouped(store_records(records, "recover"), "size", "collector", "back_end").items():
        closed = [r for r in store_records(records, "commits") if (r["size"], r["collector"]) == (size, collector)]
        cells = ["store", name_of(collector, back_end, None), size, figure(median(closed, "open_ms")), outcome_of(group) or figure(median(group, "recover_ms"))]
        table.append(cells + [figure(median(group, field)) for field in ("commits", "log_mib", "close_ms")])
    return header, table


def store_page_rows(records):
    header = ["store", "pages by", "MiB", "opened", "us per page", "p98", "traps", "of references: us", "p98", "traps", "open ms"]
    table = []
    for (size, back_end, at), group in grouped(store_records(records, "pages"), "size", "back_end", "at").items():
        cells = ["store", name_of("veil", back_end, None), size, at, outcome_of(group) or figure(median(group, "page_us"))]
        table.append(cells + [figure(median(group, field)) for field in ("page_p98_us", "trapped", "references_us", "references_p98_us", "references_trapped", "open_ms")])
    return header, table


def store_rollback_rows(records):
    header = ["store", "rollback by", "MiB", "K", "ms", "pause ms", "pages"]
    table = []
    for (size, back_end, k), group in grouped(store_records(records, "rollback"), "size", "back_end", "k").items():
        cells = ["store", name_of("veil", back_end, None), size, str(k), outcome_of(group) or figure(median(group, "rollback_ms"))]
        table.append(cells + [figure(median(group, field)) for field in ("rollback_pause_ms", "rollback_pages")])
    return header, table


def store_walk_rows(records):
    header = ["store", "walk by", "MiB", "ns in the store's heap", "volatile", "ratio", "at random: ns", "volatile", "ratio"]
    table = []
    for (size, back_end), group in grouped(store_records(records, "walk"), "size", "back_end").items():
        kept, base = ([r for r in group if r["walk"] == walk] for walk in ("store", "volatile"))
        cells = ["store", name_of("veil", back_end, None), size]
        for field in ("walk_ns", "walk_far_ns"):
            cells += [figure(median(kept, field)), figure(median(base, field)), figure(ratio(kept, base, field))]
        table.append(cells)
    return header, table


def compress_records(records, part):
    return [r for r in records if r["workload"] == "compress" and r["part"] == part]


def compress_replay_rows(records):
    header = ["compress", "replayed", "with", "MiB live", "cold %", "compressed % of cold", "of idle", "ratio", "MiB saved", "resident", "x possible", "threshold s", "back %/min", "unpack us p50", "p98",
              "steps k/s", "cost %", "x without", "sampler %", "each 10 s", "packer %", "cycles"]
    of_replay, table = compress_records(records, "replay"), []
    for (program, collector, prefer, back_end), group in grouped(of_replay, "program", "collector", "prefer", "back_end").items():
        base = [r for r in of_replay if r["program"] == program and r["collector"] == "without"]
        closed = [r for r in group if "outcome" not in r]
        shares = [dict(r, cold_share=r["cold_mib"] / r["in_use_mib"]) for r in closed if r.get("in_use_mib")]
        cells = ["compress", program, name_of(collector if collector == "without" else f"veil {prefer}", back_end, None), outcome_of(group) or figure(median(group, "live_mib"))]
        cells += [figure(median(shares, "cold_share"), 100), figure(median(closed, "cold_compressed"), 100), figure(median(closed, "idle_compressed"), 100), figure(median(closed, "ratio"))]
        cells += [figure(median([dict(r, saved=r["original_mib"] - r["held_mib"]) for r in closed if "held_mib" in r], "saved"))]
        cells += [figure(median(closed, field)) for field in ("resident_saved_mib", "resident_saved_x_possible", "threshold_s")]
        cells += [figure(median(closed, "promotions_per_minute"), 100), figure(median(closed, "unpack_p50_us")), figure(median(closed, "unpack_p98_us"))]
        cells += [figure(median(closed, "steps_with"), 1e-3), figure(median(closed, "cost"), 100), figure(ratio(closed, base, "steps_with"))]
        table.append(cells + [figure(median(closed, field), scale) for field, scale in (("sampler_cpu", 100), ("sampler_cpu_by_default", 100), ("packer_cpu", 100), ("major_cycles", 1))])
    return header, table


def compress_way_rows(records):
    header = ["compress", "pages of", "by", "ratio", "x zram lzo-rle", "fault us p50", "x zram lz4", "p98", "x zram lz4", "max", "unpack us p50", "p98", "pack us", "MiB", "held"]
    of_pages, table = compress_records(records, "pages"), []
    for (program,), of_program in grouped(of_pages, "program").items():
        base = {way: [r for r in of_program if compress.way_of(r) == f"zram {way}"] for way in ("lz4", "lzo-rle")}
        for (collector, way, back_end), group in grouped(of_program, "collector", "way", "back_end").items():
            cells = ["compress", program, name_of(compress.way_of({"collector": collector, "way": way}), back_end, None), outcome_of(group) or figure(median(group, "ratio"))]
            cells += [figure(ratio(group, base["lzo-rle"], "ratio"))]
            for field in ("fault_p50_us", "fault_p98_us"):
                cells += [figure(median(group, field)), figure(ratio(group, base["lz4"], field))]
            table.append(cells + [figure(median(group, field)) for field in ("fault_max_us", "unpack_p50_us", "unpack_p98_us", "pack_us", "original_mib", "held_mib")])
    return header, table


def compress_cycle_rows(records):
    header = ["compress", "a full cycle of", "MiB live", "compressed %", "ms", "ms without compressor", "x resident share", "ms with nothing compressed", "x resident share", "unpacked", "back"]
    table = []
    for (program, back_end), group in grouped(compress_records(records, "cycle"), "program", "back_end").items():
        cells = ["compress", name_of(program, back_end, None), outcome_of(group) or figure(median(group, "live_mib")), figure(median(group, "compressed_share"), 100)]
        table.append(cells + [figure(median(group, field)) for field in ("cycle_ms", "cycle_plain_ms", "cycle_x_resident", "cycle_open_ms", "cycle_x_resident_open", "unpacked_in_cycles", "promoted")])
    return header, table


def table_print(records):
    rows = rows_of(records)
    for header, table in [main_rows(rows), veil_rows(rows), thread_rows(records), alloc_rows(rows, records), primitive_rows(records),
                          barrier_rows(records), barrier_cycle_rows(records), barrier_major_rows(records), kv_rows(records), checkpoint_rows(records), checkpoint_increment_rows(records),
                          store_rows(records), store_thread_rows(records), store_open_rows(records), store_walk_rows(records), store_page_rows(records), store_rollback_rows(records),
                          compress_replay_rows(records), compress_way_rows(records), compress_cycle_rows(records),
                          scheme.program_rows(records, median, ratio, figure), scheme.loop_rows(records, median, ratio, figure, name_of),
                          scheme.image_rows(records, median, figure, name_of)]:
        if table:
            rows_print(header, table)
    for note in kv_notes(records):
        print(note)
    if rows:
        print("Medians; ratios are medians of the ratios within each repetition. Gaps in us. machine: the largest gap of an")
        print("empty loop. MMU: steps in the worst window over those of an undisturbed one. bench/README.md defines all.")


def checks_differ(records):
    """Lines that name the workloads whose checksums are not all the same."""
    lines = []
    plain = [r for r in records if "check" in r]
    for (workload, *_, program), group in grouped(
            plain, "workload", "live_mib", "scale", "threads", "seed", "loop", "write_share", "part", "size", "k", "program").items():
        checks = {record["check"]: record["collector"] for record in group}
        if len(checks) > 1:
            lines.append(f"{workload}{' ' + program if program else ''}: checksums differ: " + ", ".join(f"{c} {k}" for k, c in checks.items()))
    return lines
