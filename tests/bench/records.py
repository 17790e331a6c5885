# SPDX-License-Identifier: MIT
"""records.py: the table and the plots, from records and detail files that are made up here."""

import contextlib
import io
import os
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, os.environ["BENCH_SOURCE"])
import compress
import plots
import report


def record(workload, collector, wall_s, repetition=1, **more):
    one = {"workload": workload, "collector": collector, "back_end": "uffd" if collector == "veil" else "", "threads": 1, "cores": 2,
           "scale": 1, "seed": 1, "live_mib": 100.0, "heap_mib": 0.0, "heap_option": None, "wall_s": wall_s, "cpu_s": wall_s,
           "peak_rss_mib": 1.0, "gap_max_us": 10.0, "gap_p999_us": 5.0, "gap_p50_us": 1.0, "gap_in_cycle_p999_us": 0.0,
           "machine_gap_max_us": 1.0, "mmu_1ms": None, "mmu_5ms": 0.5, "mmu_20ms": 0.6, "mmu_100ms": 0.7, "check": "c0ffee",
           "repetition": repetition}
    if collector == "veil":
        one.update(major_cycles=3, flip_p50_us=1.0, flip_max_us=2.0, traps=7)
    return dict(one, **more)


def barriers(loop="store", live=4.0, share=0.1, check="c0ffee"):
    """What one setting of the workload barriers says."""
    common = {"workload": "barriers", "threads": 1, "seed": 1, "loop": loop, "live_mib": live, "write_share": share, "steps": 1000,
              "check": check, "repetition": 1}
    ratios = {("plain", 0): 1.0, ("card", 0): 1.25, ("read", 0): 1.5, ("both", 0): 1.75, ("plain_huge", 0): 0.5, ("veil", 0): 1.125,
              ("card", 1000): 2.0, ("veil", 1000): 8.0, ("card", 10000): 4.0, ("veil", 10000): 2.0}
    records = [dict(common, collector="veil" if variant == "veil" else "compiled", back_end="", variant=variant, cycle_every_us=us,
                    ns_per_step=10 * ratio, loop_ns_per_step=10.0, ratio=ratio) for (variant, us), ratio in ratios.items()]
    for r in records:
        if r["cycle_every_us"]:
            r.update({"cycle_us": 300.0, "cycle_clean_us": 7.0, "dirty_pages" if r["variant"] == "veil" else "dirty_cards": 50.0})
    records[-1]["first_write_ns"] = 1500.0
    return records + [dict(common, collector="veil", back_end="uffd", variant="veil_major", major_cost_us=5e5, major_cpu_us=4e5,
                           major_us=6e5, traps=77, flip_us=250.0, ratio_in_major=3.0)]


def kv_record(collector, repetition=1, **more):
    one = {"workload": "kv", "collector": collector, "back_end": "uffd" if collector == "veil" else "", "threads": 1, "live_mib": 32.0, "repetition": repetition,
           "ops_per_s": 50000.0, "rate": 20000.0, "latency_p50_us": 50.0, "latency_p99_us": 200.0, "latency_p999_us": 300.0, "latency_p9999_us": 400.0,
           "latency_max_us": 500.0, "late_max_us": 70.0, "machine_gap_max_us": 80.0, "peak_rss_mib": 64.0, "cpu_s": 2.0, "heap_option": None}
    return dict(one, **(dict(more, major_cycles=3, flip_max_us=90.0, minor_max_us=95.0, minor_p99_us=60.0) if collector == "veil" else more))


def checkpoint_record(collector, repetition=1, **more):
    one = {"workload": "checkpoint", "collector": collector, "back_end": "uffd" if collector == "veil" else "", "size": "1024", "live_mib": 1024.0, "repetition": repetition,
           "pause_us": 20000.0, "steps_before": 8e6, "steps_during": 4e6, "work_during": 0.5, "work_after": 0.75, "durable_s": 1.5, "extra_mib": 300.0, "written_mib": 1026.0,
           "heap_option": None}
    if collector != "redis":
        one["gap_us"] = 25000.0
    if collector == "veil":
        one.update(pause_us=1000.0, steps_during=3e6, durable_s=0.75, increment_pages=2700.0, increment_pause_us=2000.0, increment_steps=6e6, increment_durable_s=0.05,
                   increment_written=1.01, increment_cycles=0, open_ms=5.0, restore_s=0.5, restore_by_read=0.875)
    return dict(one, **more)


def store_record(collector, repetition=1, **more):
    one = {"workload": "store", "collector": collector, "back_end": "uffd" if collector == "veil" else "", "part": "commits", "threads": 1, "size": "small", "k": 10, "repetition": repetition,
           "heap_option": None, "commits_per_s": 4000.0, "commit_p50_us": 250.0, "commit_p99_us": 500.0, "open_ms": 2.0, "close_ms": 4.0, "files_mib": 20.0, "peak_rss_mib": 30.0}
    if collector != "floor":
        one["check"] = "c0ffee"
    if collector == "veil":
        one["logged_per_changed"] = 3.0
    return dict(one, **more)


def replay_record(collector, repetition=1, **more):
    one = {"workload": "compress", "collector": collector, "back_end": "uffd", "program": "kv", "part": "replay", "prefer": "space", "repetition": repetition, "heap_option": None, "live_mib": 1000.0,
           "steps_with": 970000.0, "cost": 0.03, "major_cycles": 2, "check": "c0ffee"}
    if collector == "veil":
        one.update(original_mib=450.0, held_mib=150.0, ratio=3.0, in_use_mib=1000.0, cold_mib=500.0, cold_compressed=0.9, idle_compressed=0.875, resident_saved_mib=275.0, resident_saved_x_possible=0.825,
                   threshold_s=12.5, promotions_per_minute=0.0015, unpack_p50_us=5.0, unpack_p98_us=9.0, sampler_cpu=0.05, sampler_cpu_by_default=0.005, packer_cpu=0.02)
    return dict(one, **more)


def way_record(collector, way, repetition=1, **more):
    one = {"workload": "compress", "collector": collector, "back_end": "uffd" if collector == "veil" else "", "program": "kv", "part": "pages", "way": way, "repetition": repetition, "heap_option": None,
           "ratio": 2.0, "original_mib": 256.0, "held_mib": 128.0}
    one.update({"fault_p50_us": 10.0, "fault_p98_us": 20.0, "fault_max_us": 90.0} if collector in ("veil", "zram") else {"unpack_p50_us": 4.0, "unpack_p98_us": 6.0, "pack_us": 30.0})
    return dict(one, **more)


def cycle_record(repetition=1, **more):
    one = {"workload": "compress", "collector": "veil", "back_end": "uffd", "program": "graph", "part": "cycle", "prefer": "space", "repetition": repetition, "heap_option": None, "live_mib": 1000.0,
           "compressed_share": 0.5, "cycle_ms": 550.0, "cycle_plain_ms": 1000.0, "cycle_x_resident": 1.1, "cycle_open_ms": 1010.0, "cycle_x_resident_open": 1.089, "unpacked_in_cycles": 0, "promoted": 3}
    return dict(one, **more)


def scheme_record(collector, repetition=1, **more):
    one = {"workload": "scheme", "collector": collector, "back_end": "uffd" if collector == "veil" else "", "part": "program", "program": "fib", "repetition": repetition,
           "heap_option": None, "wall_s": 2.0, "peak_rss_mib": 8.0, "check": "c0ffee"}
    if collector != "guile":
        one["gap_max_us"] = 500.0
    return dict(one, **more)


def table(records):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        report.table_print(records)
    return said.getvalue()


def cells(text, *names):
    """The cells of the line that begins so."""
    lines = [line for line in text.splitlines() if line.split()[:len(names)] == list(names)]
    return lines[0].split()[len(names):] if lines else None


class Tables(unittest.TestCase):
    def test_a_ratio_is_the_median_of_the_ratios_within_a_repetition(self):
        records = [record("churn", "veil", wall, rep) for rep, wall in enumerate([1, 9, 6], 1)]
        records += [record("churn", "malloc", wall, rep) for rep, wall in enumerate([1, 3, 3], 1)]
        wall, times = cells(table(records), "churn", "veil", "(uffd)")[:2]
        self.assertEqual((wall, times), ("6.00", "2.00"))

    def test_checkpoints_are_compared_with_fork(self):
        text = table([checkpoint_record(c, rep, **({"pause_us": 500.0 * rep} if c == "veil" else {})) for c in ("fork", "veil", "redis") for rep in (1, 2, 3)])
        self.assertEqual(cells(text, "checkpoint", "veil", "(uffd)", "1024")[:12], ["1.00", "0.050", "25.0", "1.00", "8000", "3000", "0.75", "0.50", "0.75", "0.75", "0.50", "300"])
        self.assertEqual(cells(text, "checkpoint", "redis", "1024")[2:7], ["-", "-", "8000", "4000", "-"])
        increments = [line for line in text.splitlines() if line.startswith("checkpoint  veil")][-1].split()[4:]
        self.assertEqual(increments, ["2700", "2.00", "6000", "1.50", "50.0", "1.01", "0", "5.00", "0.50", "0.88"])
        self.assertIn("pause 1.00 ms", report.record_summary(checkpoint_record("veil")))

    def test_commits_are_compared_with_the_floor_and_with_veil(self):
        speeds = {"floor": (8000.0, 4000.0, 6000.0), "veil": (4000.0, 4000.0, 2000.0), "lmdb": (2000.0, 1000.0, 4000.0)}
        records = [store_record(c, rep, commits_per_s=of_peer[rep - 1]) for c, of_peer in speeds.items() for rep in (1, 2, 3)]
        records += [store_record(c, rep, k=100, commits_per_s=1.0) for c in speeds for rep in (1, 2, 3)]
        text = table(records)
        self.assertEqual(cells(text, "store", "veil", "(uffd)", "small", "10"), ["4000", "2.00", "1.00", "0.25", "0.50", "3.00", "2.00", "4.00", "20.0", "30.0"])
        self.assertEqual(cells(text, "store", "lmdb", "small", "10")[:6], ["2000", "4.00", "2.00", "0.25", "0.50", "-"])
        self.assertEqual(cells(text, "store", "floor", "small", "10")[:3], ["6000", "1.00", "0.50"])
        self.assertIn("4500 commits/s", report.record_summary(store_record("veil", commits_per_s=4500.0)))

    def test_what_else_stores_are_measured_by(self):
        records = [store_record(c, k=1) for c in ("veil", "lmdb")] + [store_record("veil", k=1, threads=8, commits_per_s=16000.0), store_record("lmdb", k=1, threads=8)]
        records += [store_record("veil", part="recover", k=1000, recover_ms=300.0, commits=400, log_mib=64.0), store_record("lmdb", part="recover", k=1000, recover_ms=0.5, commits=500)]
        records += [store_record("veil", part="walk", k=None, walk=walk, walk_ns=ns, walk_far_ns=4 * ns) for walk, ns in (("volatile", 20.0), ("store", 25.0))]
        records += [store_record("veil", part="pages", k=None, at=at, page_us=us, page_p98_us=3 * us, trapped=500, references_us=2 * us, references_p98_us=4 * us, references_trapped=20) for at, us in (("home", 5.0), ("elsewhere", 9.0))]
        records += [store_record("veil", part="rollback", k=10, rollback_ms=70.0, rollback_pause_ms=60.0, rollback_pages=11)]
        text = table(records)
        self.assertEqual(cells(text, "store", "veil", "(uffd)", "small", "elsewhere"), ["9.00", "27.0", "500", "18.0", "36.0", "20.0", "2.00"])
        self.assertEqual(cells(text, "store", "veil", "(uffd)", "small", "10"), ["70.0", "60.0", "11.0"])
        self.assertEqual(cells(text, "store", "veil", "(uffd)", "small", "1", "8"), ["16000", "4.00", "1.00", "0.25", "0.50"])
        self.assertEqual(cells(text, "store", "lmdb", "small", "1", "8"), ["4000", "1.00", "4.00", "0.25", "0.50"])
        self.assertEqual(cells(text, "store", "veil", "(uffd)", "small", "2.00", "300"), ["400", "64.0", "4.00"])
        self.assertEqual(cells(text, "store", "lmdb", "small", "2.00", "0.50"), ["500", "-", "4.00"])
        self.assertEqual(cells(text, "store", "veil", "(uffd)", "small", "25.0"), ["20.0", "1.25", "100", "80.0", "1.25"])
        self.assertEqual([report.record_summary(r) for r in records[-6:]], ["open after a kill 0.5 ms", "20.0 ns per value", "25.0 ns per value",
                         "first touch of a page, home, 5.0 us", "first touch of a page, elsewhere, 9.0 us", "rollback 70.0 ms"])

    def test_a_peer_without_veil_or_that_cannot_run_has_its_row(self):
        outcome = {"workload": "store", "collector": "pmemobj", "back_end": None, "repetition": 1, "heap_option": None, "size": "small", "k": 10, "outcome": "left out: why"}
        text = table([store_record("floor"), store_record("lmdb"), outcome])
        self.assertEqual(cells(text, "store", "lmdb", "small", "10")[:3], ["4000", "1.00", "-"])
        self.assertEqual(cells(text, "store", "pmemobj", "small", "10")[:4], ["left", "out:", "why", "-"])

    def test_checksums_of_stores_are_compared_within_a_setting(self):
        self.assertEqual(report.checks_differ([store_record("veil"), store_record("floor"), store_record("lmdb"), store_record("lmdb", k=1, check="bad")]), [])
        self.assertEqual(len(report.checks_differ([store_record("veil"), store_record("lmdb", check="bad")])), 1)

    def test_compression_is_compared_with_the_same_program_without(self):
        speeds = {"veil": (900000.0, 950000.0, 400000.0), "without": (1000000.0, 1000000.0, 500000.0)}
        records = [replay_record(c, rep, steps_with=speeds[c][rep - 1]) for c in speeds for rep in (1, 2, 3)]
        text = table(records + [replay_record("without", program="graph", check="bad")])
        self.assertEqual(cells(text, "compress", "kv", "veil", "space", "(uffd)"), ["1000", "50.0", "90.0", "87.5", "3.00", "300", "275", "0.82", "12.5", "0.15", "5.00", "9.00", "900", "3.00", "0.90", "5.00",
                                                                                   "0.50", "2.00", "2.00"])
        self.assertEqual(cells(text, "compress", "kv", "without", "(uffd)")[-6:], ["3.00", "1.00", "-", "-", "-", "2.00"])
        self.assertEqual(report.checks_differ(records), [])
        self.assertEqual(report.checks_differ(records + [replay_record("veil", program="graph", check="bad")]), [])
        self.assertEqual(len(report.checks_differ(records + [replay_record("veil", prefer="speed", check="bad")])), 1)
        self.assertIn("450 MiB in 150", report.record_summary(records[0]))
        self.assertIn("500 k/s", report.record_summary(records[5]))

    def test_pages_are_compared_with_zram(self):
        records = [way_record("veil", "space", rep, ratio=ratio, fault_p50_us=p50) for rep, (ratio, p50) in enumerate([(3.0, 15.0), (4.0, 30.0), (3.5, 12.0)], 1)]
        records += [way_record("zram", way, rep) for way in ("lz4", "lzo-rle") for rep in (1, 2, 3)] + [way_record("lz4", "")]
        text = table(records)
        self.assertEqual(cells(text, "compress", "kv", "veil", "space", "(uffd)")[:6], ["3.50", "1.75", "15.0", "1.50", "20.0", "1.00"])
        self.assertEqual(cells(text, "compress", "kv", "zram", "lzo-rle")[:4], ["2.00", "1.00", "10.0", "1.00"])
        self.assertEqual(cells(text, "compress", "kv", "lz4")[:10], ["2.00", "1.00", "-", "-", "-", "-", "-", "4.00", "6.00", "30.0"])
        self.assertIn("ratio 3.00, fault 15.0 us", report.record_summary(records[0]))

    def test_without_zram_the_rest_is_told(self):
        outcome = {"workload": "compress", "collector": "zram", "back_end": "", "program": "kv", "part": "pages", "way": "lz4", "repetition": 1, "heap_option": None, "outcome": "left out: why"}
        text = table([way_record("veil", "speed"), outcome])
        self.assertEqual(cells(text, "compress", "kv", "zram", "lz4")[:3], ["left", "out:", "why"])
        self.assertEqual(cells(text, "compress", "kv", "veil", "speed", "(uffd)")[:4], ["2.00", "-", "10.0", "-"])

    def test_cycles_are_told_beside_those_without(self):
        self.assertEqual(cells(table([cycle_record()]), "compress", "graph", "(uffd)"), ["1000", "50.0", "550", "1000", "1.10", "1010", "1.09", "0", "3.00"])
        self.assertIn("550 ms with 50 % compressed", report.record_summary(cycle_record()))

    def test_programs_of_scheme_are_compared_and_have_a_mean(self):
        records = [scheme_record("veil", rep, wall_s=wall) for rep, wall in ((1, 1.0), (2, 9.0), (3, 6.0))] + [scheme_record("libgc", rep, wall_s=wall) for rep, wall in ((1, 1.0), (2, 3.0), (3, 3.0))]
        records += [scheme_record("veil", program="tak", wall_s=1.0, peak_rss_mib=2.0, gap_max_us=7000.0), scheme_record("libgc", program="tak", wall_s=2.0)]
        records += [scheme_record("guile", program="tak", wall_s=4.0, peak_rss_mib=1.0)]
        text = table(records)
        self.assertEqual(cells(text, "scheme", "fib"), ["6.00", "2.00", "-", "-", "8.00", "1.00", "-", "-", "0.50", "0.50", "-", "-", "-"])
        self.assertEqual(cells(text, "scheme", "tak")[:8], ["1.00", "0.50", "-", "0.25", "2.00", "0.25", "-", "2.00"])
        self.assertEqual(cells(text, "scheme", "geometric", "mean"), ["1.00", "-", "0.25", "0.50", "-", "2.00", "7.00", "0.50", "-"])
        self.assertEqual(len(report.checks_differ(records + [scheme_record("malloc", check="bad"), scheme_record("malloc", program="ack", check="other")])), 1)
        self.assertEqual(report.record_summary(records[0]), "1.00 s, 8 MiB")

    def test_the_loop_and_the_image_of_scheme_have_their_tables(self):
        late = {f"late_{which}_us": 1000.0 for which in ("p50", "p99", "p999", "max")}
        records = [dict(scheme_record(c, rep, part="loop", live_mib=500.0, gap_max_us=gap, machine_gap_max_us=100.0, fill_s=1.0), **late)
                   for c, gaps in (("veil", (1000.0, 3000.0, 2000.0)), ("libgc", (100000.0, 900000.0, 300000.0))) for rep, gap in enumerate(gaps, 1)]
        image = {"part": "image", "load_ms": 500.0, "start_ms": 5.0, "empty_ms": 2.5, "image_mib": 4.0, "save_ms": 700.0, "lines": 20000}
        text = table(records + [scheme_record("veil", **image)])
        self.assertEqual(cells(text, "scheme", "loop", "veil", "(uffd)")[:5], ["500", "2.00", "1.00", "1.00", "0.10"])
        self.assertEqual(cells(text, "scheme", "loop", "libgc")[:4], ["500", "300", "100", "150"])
        self.assertEqual(cells(text, "scheme", "image", "veil", "(uffd)"), ["20000", "500", "5.00", "0.010", "4.00", "700", "2.50"])
        self.assertIn("largest gap 1.00 ms", report.record_summary(records[0]))
        self.assertIn("from an image 5.0 ms", report.record_summary(scheme_record("veil", **image)))

    def test_what_does_not_fit_says_so_and_the_others_are_there(self):
        outcome = {"workload": "churn", "collector": "veil", "back_end": None, "repetition": 1, "heap_option": "1.5x",
                   "outcome": "does not fit"}
        records = [outcome, record("churn", "veil", 2.0, heap_option="3x", heap_mib=300.0), record("churn", "malloc", 1.0)]
        text = table(records)
        self.assertEqual(cells(text, "churn", "veil", "(uffd)", "heap", "1.5x")[:4], ["does", "not", "fit", "-"])
        self.assertEqual(cells(text, "churn", "veil", "(uffd)", "heap", "3x")[:2], ["2.00", "2.00"])
        self.assertEqual(report.record_summary(outcome), "does not fit")
        self.assertIn("-", table([outcome]))

    def test_scaling_is_throughput_over_one_mutator_on_one_core(self):
        records = []
        for rep, (one, two) in enumerate([(3.0, 4.0), (2.0, 2.0), (1.0, 1.0)], 1):
            records.append(record("threads", "veil", one, rep, threads=1, cores=1))
            records.append(record("threads", "veil", two, rep, threads=2, cores=2))
        text = table(records)
        self.assertEqual(cells(text, "threads", "veil", "(uffd)", "2", "2"), ["2.00", "2.00", "2.00"])
        self.assertIsNotNone(cells(text, "threads", "veil", "(uffd),", "2", "on", "2", "cores"))
        self.assertIsNotNone(cells(text, "threads", "veil", "(uffd),", "1", "on", "1", "core"))
        self.assertEqual(report.scaling([records[1]], [records[0]]), 1.5)
        self.assertIsNone(report.scaling([records[1]], []))

    def test_malloc_is_compared_with_as_many_mutators(self):
        records = [record("threads", c, wall, threads=n, cores=n)
                   for c, n, wall in [("veil", 1, 3.0), ("veil", 2, 4.0), ("malloc", 1, 1.0), ("malloc", 2, 2.0)]]
        text = table(records)
        self.assertEqual(cells(text, "threads", "veil", "(uffd),", "1", "on", "1", "core")[:2], ["3.00", "3.00"])
        self.assertEqual(cells(text, "threads", "veil", "(uffd),", "2", "on", "2", "cores")[:2], ["4.00", "2.00"])

    def test_barriers_are_told_beside_plain_code(self):
        text = table(barriers())
        name = ["store", "4", "MiB,", "10", "%", "written"]
        rows = [line.split()[len(name):] for line in text.splitlines() if line.split()[:len(name)] == name]
        self.assertEqual(rows, [["10.0", "1.25", "1.50", "1.75", "0.50", "1.12", "2.00", "8.00", "4.00", "2.00"],
                                ["50.0", "300", "7.00", "50.0", "300", "7.00", "1500"],
                                ["500", "400", "600", "77.0", "250", "1.50", "1.00"]])
        self.assertEqual(report.record_summary(barriers()[0]), "done")

    def test_a_read_barrier_without_a_price_has_no_break_even(self):
        self.assertEqual(report.break_even_us(300.0, 1.5), 600.0)
        self.assertIsNone(report.break_even_us(300.0, 0.9))
        self.assertIsNone(report.break_even_us(None, 1.5))

    def test_checksums_of_barriers_are_compared_within_a_setting(self):
        self.assertEqual(report.checks_differ(barriers() + barriers("swap", check="bad") + barriers(share=0.5, check="bad")), [])
        self.assertEqual(len(report.checks_differ(barriers() + barriers(check="bad"))), 1)

    def test_kv_has_a_table_of_its_own(self):
        records = [kv_record("veil", rep, latency_p99_us=p99, latency_max_us=10 * p99) for rep, p99 in enumerate((100.0, 900.0, 600.0), 1)]
        records += [kv_record("malloc", rep, ops_per_s=100000.0, latency_p99_us=p99) for rep, p99 in enumerate((100.0, 300.0, 300.0), 1)]
        text = table(records)
        self.assertEqual(cells(text, "kv", "veil", "(uffd)"), ["50.0", "0.50", "20.0", "50.0", "600", "2.00", "300", "400", "6000", "1000", "70.0", "80.0",
                                                               "32.0", "64.0", "1.00", "2.00", "1.00", "3.00", "90.0", "95.0", "60.0"])
        self.assertEqual(cells(text, "kv", "malloc")[-4:], ["-", "-", "-", "-"])
        self.assertIsNone(cells(text, "workload"))  # nothing in the table of the others
        self.assertIn("20.0 k/s", report.record_summary(records[0]))
        self.assertEqual(report.record_summary({"workload": "kv", "ops_per_s": 51234.0}), "51.2 k/s")

    def test_a_server_that_could_not_keep_up_is_named(self):
        text = table([kv_record("veil", bound_hits=0), kv_record("libgc", 1, bound_hits=3), kv_record("libgc", 2, bound_hits=0)])
        self.assertIn("kv libgc: in 1 of its runs", text)
        self.assertNotIn("kv veil: in", text)
        self.assertNotIn("sent late:", table([record("churn", "veil", 1.0)]))

    def test_kv_is_told_though_its_open_loop_failed(self):
        half = {k: v for k, v in kv_record("veil").items() if not k.startswith(("latency", "rate", "late_", "cpu"))}
        self.assertEqual(cells(table([half]), "kv", "veil", "(uffd)")[:4], ["50.0", "-", "-", "-"])

    def test_different_checksums_are_found(self):
        same = [record("strings", "veil", 1.0), record("strings", "malloc", 1.0)]
        self.assertEqual(report.checks_differ(same), [])
        other = record("strings", "libgc", 1.0, check="bad")
        self.assertEqual(len(report.checks_differ(same + [other])), 1)
        self.assertIn("strings", report.checks_differ(same + [other])[0])
        self.assertEqual(report.checks_differ(same + [dict(other, threads=2)]), [])  # other work


class Plots(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def detail(self, name, text):
        path = os.path.join(self.folder.name, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def test_detail_is_read_by_kind(self):
        path = self.detail("d", "gap 1.5 10\nmmu 5 0.5\nrate 1.0 0.9 1\nsample 10.0 33.5 7\n")
        self.assertEqual(plots.detail_read(path), {"gap": [[1.5, 10]], "mmu": [[5, 0.5]], "rate": [[1, 0.9, 1]], "sample": [[10, 33.5, 7]]})
        self.assertEqual(plots.detail_read(path + "-none"), {"gap": [], "mmu": [], "rate": [], "sample": []})

    def test_gaps_beyond_is_the_share_at_least_so_long(self):
        self.assertEqual(plots.gaps_beyond([[1, 6], [2, 3], [8, 1]]), [[1, 1.0], [2, 0.4], [8, 0.1]])

    def test_percentiles_are_one_over_the_share_beyond(self):
        self.assertEqual(plots.latency_percentiles([[1, 90], [2, 9], [8, 1]]), [[1, 1], [10, 2], [100, 8]])

    def test_traps_are_a_rate(self):
        samples = [[0, 1, 0]] + [[10.0 * i, 1, 40] for i in range(1, 5)]
        self.assertEqual(plots.traps_per_ms(samples), [[0.02, 4.0], [0.04, 4.0]])
        self.assertEqual(plots.traps_per_ms([]), [])

    def test_many_lines_of_one_collector_differ(self):
        self.assertEqual(len({plots.line("veil", nth) for nth in range(1, 11)}), 10)

    def test_details_of_compress_are_read_by_kind_and_way(self):
        path = self.detail("d", "age 2 0.25 0.5\nage 1 0.5 1\nstate 1 2 3 4 5 6\nfault 7 0.5 zram-lzo-rle\nunpack 8 1 lz4\n")
        self.assertEqual(compress.detail_read(path), {"age": [[1, 0.5, 1], [2, 0.25, 0.5]], "state": [[1, 2, 3, 4, 5, 6]], "fault": {"zram lzo-rle": [[7, 0.5]]}, "unpack": {"lz4": [[8, 1]]}})
        self.assertEqual(compress.detail_read(path + "-none"), {"age": [], "state": [], "fault": {}, "unpack": {}})

    @unittest.skipUnless(shutil.which("gnuplot"), "gnuplot is not installed")
    def test_all_plots_are_written(self):
        text = "".join(f"gap {2 ** i} {10 ** (6 - i)}\nmmu {5 * (i + 1)} 0.{i + 1}\nrate {i}.0 0.9 1\nsample {10 * i} 50 {i}\n" for i in range(6))
        records, details = [], {}
        for collector, heaps in [("veil", ["2x", "4x"]), ("libgc", ["2x", "4x"]), ("malloc", [None])]:
            for heap in heaps:
                heap_mib = 100.0 * int(heap[0]) if heap else 0.0
                records.append(record("churn", collector, 2.0, heap_option=heap, heap_mib=heap_mib))
                label = f"churn {collector}" + (f" heap {heap}" if heap else "")
                details[label] = self.detail(label.replace(" ", "-"), text)
        records.append({"workload": "churn", "collector": "veil", "back_end": None, "repetition": 1, "heap_option": "1.5x",
                        "outcome": "does not fit"})
        details["churn veil heap 1.5x"] = os.path.join(self.folder.name, "none")
        records += [record("primitives/page_size", "veil", 1.0, granule_kib=kib, veiled_ms_max=1.0) for kib in (4, 16, 64)]
        for live in (4.0, 32.0):
            records += barriers("list", live, 0) + [r for share in (0.01, 0.1) for r in barriers("store", live, share)]
        for collector in ("veil", "malloc"):
            records.append(kv_record(collector))
            details[f"kv {collector} part latency"] = self.detail(f"kv-{collector}", text)
        detail = "".join(f"state {i}.25 {10 * i} {6 * i} {i if i > 2 else -1} {i} 1000\n" for i in range(6)) + "".join(f"age {i} {1 / (i + 1)} {0.1 / (i + 1)}\n" for i in range(20, -1, -1))
        for prefer in ("space", "speed"):
            details[f"compress veil program kv part replay prefer {prefer}"] = self.detail(f"replay-{prefer}", detail)
        details["compress without program kv part replay prefer space"] = self.detail("without", "")
        ways = [("veil", "space"), ("veil", "speed"), ("zram", "lz4"), ("zram", "lzo-rle"), ("lz4", ""), ("zstd", "")]
        records += [way_record(*way) for way in ways]
        text = "".join(f"{'unpack' if way == '' else 'fault'} {5 + q} {q / 10} {collector}{'-' + way if way else ''}\n" for collector, way in ways for q in range(11))
        details["compress veil program kv part pages"] = self.detail("pages", text)
        said, out = io.StringIO(), os.path.join(self.folder.name, "plots")
        with contextlib.redirect_stdout(said):
            plots.plots_write(out, records, details)
        self.assertEqual(said.getvalue(), "")  # gnuplot's complaints would be here
        names = ["gaps", "mmu", "rate", "memory", "traps", "heap-wall_s", "heap-gap_max_us", "heap-gap_p999_us", "heap-mmu_20ms"]
        names = [f"{name}-churn" for name in names] + [f"page-size-{field}" for field in
                                                      ("veiled_ms_max", "gap_in_cycle_p999_us", "wall_s", "mmu_20ms")]
        names += ["barriers-winner", "barriers-writes-store", "barriers-read", "latency-kv", "compress-ages", "compress-time-kv-space", "compress-time-kv-speed", "compress-ratio-kv", "compress-latency-kv"]
        self.assertEqual(sorted(os.listdir(out)), sorted(f"{name}.{kind}" for name in names for kind in ("svg", "png")))
        for name in os.listdir(out):
            self.assertGreater(os.path.getsize(os.path.join(out, name)), 1000, name)


if __name__ == "__main__":
    unittest.main()
