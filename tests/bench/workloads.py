# SPDX-License-Identifier: MIT
"""workloads.py: each workload at a tiny size, with each collector that is built: they agree, and say what they should."""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.environ["BENCH_SOURCE"])
import checkpoint
import compress
import drive
import plots
import report
import scheme
import store

BUILD = os.environ["BENCH_BUILD"]
TINY = {  # gcbench has no tiny size
    "binary_trees": ["--depth", "10"],
    "churn": ["--live", "2", "--steps", "20000"],
    "old_to_young": ["--live", "2", "--steps", "200000"],
    "graph": ["--workload", "graph", "--live", "1", "--steps", "20000"],
    "threads": ["--live", "1", "--steps", "5000"],
    "strings": ["--live", "4", "--steps", "600"],
    "alloc32": ["--steps", "2000"],
}
ALL = drive.COLLECTORS + drive.ON_REQUEST
BUILT = [collector for collector in ALL if os.path.exists(os.path.join(BUILD, f"bench_churn-{collector}"))]


def run(source, collector, *arguments, core=True):
    command = [os.path.join(BUILD, f"bench_{source}-{collector}"), "--idle", "0", *arguments]
    no_core = None if core else lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, preexec_fn=no_core)


class Workloads(unittest.TestCase):
    def record(self, source, collector, *arguments):
        done = run(source, collector, *arguments)
        self.assertEqual(done.returncode, 0, f"{source} {collector} {arguments}: {done.stderr}")
        return json.loads(done.stdout)

    def test_veil_and_malloc_are_built(self):
        self.assertTrue({"veil", "malloc"} <= set(BUILT))

    def test_collectors_agree(self):
        for source, tiny in TINY.items():
            for threads in (1, 3):
                records = [self.record(source, c, *tiny, "--threads", str(threads)) for c in BUILT]
                checks = {r["collector"]: r["check"] for r in records}
                self.assertEqual(len(set(checks.values())), 1, f"{source}, {threads} mutators: {checks}")
                for r in records:
                    self.assertEqual((r["workload"], r["threads"]), (source, threads))
                    self.assertGreater(r["live_mib"], 0)
                    self.assertGreater(r["steps"], 0)

    def test_another_seed_or_size_gives_another_checksum(self):
        for source in ("churn", "strings"):
            checks = {self.record(source, "malloc", *TINY[source], *more)["check"] for more in ([], ["--seed", "7"])}
            self.assertEqual(len(checks), 2, source)
        self.assertEqual(len({self.record("threads", "malloc", "--live", "1", "--steps", n)["check"] for n in ("500", "501")}), 2)
        self.assertEqual(len({self.record("binary_trees", "malloc", "--depth", n)["check"] for n in ("7", "8")}), 2)

    def test_the_sum_of_threads_does_not_depend_on_who_met_whom(self):
        records = [self.record("threads", "malloc", *TINY["threads"], "--threads", "4", "--seed", seed) for seed in ("1", "2", "3")]
        self.assertEqual(len({r["check"] for r in records}), 1)

    def test_veil_agrees_with_itself_on_all_back_ends(self):
        for source in ("binary_trees", "churn", "old_to_young", "threads", "strings"):
            checks = set()
            for back_end, more in (("auto", ",generations=off"), ("auto", ",generations=on,nursery=256k"), ("mprotect", ",generations=off"), ("mprotect", ""), ("none", ",generations=off")):
                # A cycle begins every few buffers.
                with_cycles = dict(os.environ, VEIL_OPTIONS="headroom=1m,torture=20,seed=1" + more)
                command = [os.path.join(BUILD, f"bench_{source}-veil"), "--idle", "0", *TINY[source], "--threads", "2"]
                command += [] if back_end == "auto" else ["--back-end", back_end]
                done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=with_cycles)
                self.assertEqual(done.returncode, 0, f"{source} {back_end}: {done.stderr}")
                record = json.loads(done.stdout)
                self.assertGreater(record["major_cycles"], 0, f"{source} {back_end}")
                if more != "": # by itself veil decides
                    self.assertEqual(record["minor_cycles"] > 0, "generations=on" in more, f"{source} {back_end}")
                checks.add(record["check"])
            self.assertEqual(len(checks), 1, source)

    def test_cores(self):
        self.assertEqual(self.record("threads", "veil", *TINY["threads"], "--cores", "1")["cores"], 1)
        self.assertEqual(self.record("threads", "veil", *TINY["threads"])["cores"], len(os.sched_getaffinity(0)))
        done = run("threads", "veil", "--cores", str(len(os.sched_getaffinity(0)) + 1))
        self.assertEqual(done.returncode, 2)
        self.assertIn("--cores", done.stderr)

    def test_details_are_what_plots_read(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "detail")
            record = self.record("churn", "veil", "--live", "4", "--detail", path)
            detail = plots.detail_read(path)
        self.assertEqual(sum(count for _, count in detail["gap"]), record["steps"])
        samples = detail["sample"]
        self.assertGreaterEqual(len(samples), 2)
        self.assertEqual(sorted(ms for ms, _, _ in samples), [ms for ms, _, _ in samples])
        self.assertGreater(min(mib for _, mib, _ in samples), 3)
        self.assertLessEqual(sum(traps for _, _, traps in samples), record["traps"])

    def test_a_heap_that_is_too_small_is_out_of_memory(self):
        for collector in BUILT:
            if collector not in drive.BY_HAND:
                done = run("churn", collector, "--live", "32", "--heap", "16", core=False)
                self.assertTrue(drive.out_of_memory(done.returncode, done.stderr.splitlines()), f"{collector}: {done}")
                self.assertEqual(done.stdout, "")

    def test_bad_command_lines_are_refused_by_name(self):
        for arguments, named in [(["--live", "0"], "--live"), (["--depth", "31"], "--depth"), (["--cores", "0"], "--cores"),
                                 (["--steps", "x"], "--steps"), (["--heap", "0.5x"], "--heap"), (["--workload", "no"], "no"),
                                 (["stray"], "stray"), (["--nonsense"], "nonsense")]:
            done = run("binary_trees", "malloc", *arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn(named, done.stderr)
            self.assertEqual(done.stdout, "")


class Barriers(unittest.TestCase):
    """The program of the workload barriers, at a tiny size. Nothing here asks how long anything takes."""

    COMMON = ["workload", "collector", "back_end", "threads", "seed", "loop", "variant", "live_mib", "write_share", "steps", "check"]
    TRIAL = COMMON + ["cycle_every_us", "ns_per_step", "loop_ns_per_step", "ratio"]
    MAJOR = COMMON + ["major_cost_us", "major_cpu_us", "major_us", "traps", "flip_us", "ratio_in_major"]

    def barriers(self, *arguments, environment=None):
        command = [os.path.join(BUILD, "bench_barriers"), "--quick", "--live", "1", "--rounds", "2", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
        self.assertEqual(done.returncode, 0, f"{command}: {done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_records_are_complete_and_agree(self):
        records = self.barriers()
        self.assertEqual({r["loop"] for r in records}, {"list", "tree", "store", "hot", "swap", "hash"})
        for (loop, share), group in report.grouped(records, "loop", "write_share").items():
            with self.subTest(loop=loop, share=share):
                self.assertEqual(share > 0, loop not in ("list", "tree"))
                variants = [(r["variant"], r.get("cycle_every_us")) for r in group]
                trials = [(name, 0) for name in ("plain", "card", "read", "both", "plain_huge", "veil")]
                trials += [(name, us) for us in (1000, 10000) for name in ("card", "veil")]
                major = [("veil_major", None)] if share in (0, 0.1) and loop not in ("hot", "swap") else []
                self.assertEqual(sorted(variants, key=str), sorted(trials + major, key=str))
                self.assertEqual(len({(r["steps"], r["check"]) for r in group}), 1)
                for r in group:
                    self.complete(r)

    def complete(self, r):
        expected = self.MAJOR if r["variant"] == "veil_major" else self.TRIAL
        veil = r["variant"].startswith("veil")
        if r.get("cycle_every_us"):
            expected = expected + ["cycle_us", "cycle_clean_us"]
            expected += ["minor_cycles", "dirty_pages"] if veil else ["card_cycles", "dirty_cards"]
            self.assertGreater(r["minor_cycles" if veil else "card_cycles"], 0)
            self.assertEqual(r["dirty_pages" if veil else "dirty_cards"] > 0, r["write_share"] > 0)
        self.assertEqual(set(r) - {"first_write_ns"}, set(expected))
        self.assertEqual((r["workload"], r["threads"]), ("barriers", 1))
        self.assertEqual((r["collector"], r["back_end"] != ""), ("veil", True) if veil else ("compiled", False))
        if r["variant"] == "plain":
            self.assertEqual(r["ratio"], 1)

    def test_on_all_back_ends_and_with_verification(self):
        for back_end in ("mprotect", "none"):
            self.assertEqual({r["back_end"] for r in self.barriers("--back-end", back_end)}, {"", back_end})
        self.barriers(environment=dict(os.environ, VEIL_VERIFY="1"))

    def test_bad_command_lines_are_refused_by_name(self):
        for arguments, named in [(["--live", "0"], "--live"), (["--rounds", "x"], "--rounds"), (["stray"], "stray"), (["--live"], "--live")]:
            done = subprocess.run([os.path.join(BUILD, "bench_barriers"), *arguments], capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stdout), (2, ""), arguments)
            self.assertIn(named, done.stderr)


class Checkpoints(unittest.TestCase):
    def record(self, program, *arguments):
        with tempfile.TemporaryDirectory() as folder:
            detail = os.path.join(folder, "detail")
            done = subprocess.run([os.path.join(BUILD, program), "--live", "8", "--seconds", "0.1", "--file", os.path.join(folder, "image"), "--detail", detail, *arguments],
                                  capture_output=True, text=True, check=False, timeout=300)
            self.assertEqual(done.returncode, 0, f"{program} {arguments}: {done.stderr}")
            self.assertEqual(os.listdir(folder), ["detail"])
            marks, work = checkpoint.detail_read(detail)
            self.assertTrue(marks["request"] and marks["durable"] and work)
            return json.loads(done.stdout)

    def test_veil_and_fork_save_and_restore(self):
        fork = self.record("bench_checkpoint-fork", "--live", "64")  # a smaller one may be over before the mutator has its turn
        for back_end in ("uffd", "mprotect", "none"):
            veil = self.record("bench_checkpoint-veil", "--increments", "2", "--restores", "1", "--back-end", back_end)
            for r in (fork, veil):
                self.assertEqual((r["workload"], r["live_mib"]), ("checkpoint", 64 if r is fork else 8))
                self.assertTrue(all(r[name] > 0 for name in ("pause_us", "gap_us", "steps_before", "steps_during", "durable_s", "written_mib")), r)
                self.assertGreater(r["written_mib"], 8)
            self.assertLess(veil["pool_max_mib"], 64.1)
            self.assertTrue(all(veil[name] > 0 for name in ("increment_pages", "increment_steps", "increment_written", "open_ms", "restore_s", "restore_by_read")), veil)

    def test_bad_command_lines_are_refused_by_name(self):
        for arguments, named in [(["--live", "0", "--file", "x"], "--live"), ([], "--file"), (["--file", "x", "stray"], "stray"), (["--file", "x", "--nonsense"], "--nonsense")]:
            for program in ("bench_checkpoint-veil", "bench_checkpoint-fork"):
                done = subprocess.run([os.path.join(BUILD, program), *arguments], capture_output=True, text=True, check=False, timeout=60)
                self.assertEqual((done.returncode, named in done.stderr), (2, True), done.stderr)


class Stores(unittest.TestCase):
    """All peers of the workload store that are built, with few keys. Nothing here asks how long anything takes."""

    BUILT = [peer for peer in store.PEERS if os.path.exists(os.path.join(BUILD, f"bench_store-{peer}"))]
    CONTENTS = [peer for peer in BUILT if peer != "floor"]

    def setUp(self):
        folder = tempfile.TemporaryDirectory(dir=BUILD)  # on a disk
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def run_peer(self, peer, *arguments, environment=None):
        command = [os.path.join(BUILD, f"bench_store-{peer}"), "--file", os.path.join(self.folder, peer), "--keys", "500", "--seconds", "60", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)

    def record(self, peer, *arguments):
        done = self.run_peer(peer, *arguments)
        self.assertEqual(done.returncode, 0, f"{peer} {arguments}: {done.stderr}")
        return json.loads(done.stdout)

    def test_the_floor_is_built(self):
        self.assertIn("floor", self.BUILT)

    def test_peers_end_with_the_same_contents(self):
        seen = set()
        for arguments in (["--k", "1", "--commits", "20"], ["--k", "70", "--commits", "3"], ["--k", "1", "--commits", "20", "--threads", "3"], ["--commits", "20", "--live", "1"]):
            records = [self.record(peer, *arguments) for peer in self.BUILT]
            checks = {r["check"] for r in records if r["collector"] != "floor"}
            self.assertLessEqual(len(checks), 1, f"{arguments}: {records}")
            self.assertFalse(checks & seen)
            seen |= checks
            for r in records:
                self.assertEqual((r["workload"], r["part"], r["commits"]), ("store", "commits", 3 if "70" in arguments else 20))
                self.assertEqual("check" in r, r["collector"] != "floor")
                self.assertTrue(all(r[name] > 0 for name in ("commits_per_s", "commit_p50_us", "commit_max_us", "wall_s", "peak_rss_mib", "files_mib")), r)
                self.assertTrue(all(r[name] >= 0 for name in ("open_ms", "close_ms", "cpu_s")), r)

    def test_a_run_does_not_depend_on_those_before_nor_on_time(self):
        for peer in self.CONTENTS:
            first = self.record(peer, "--k", "5", "--commits", "10")
            self.assertIn("make_s", first)
            other = self.record(peer, "--k", "9", "--commits", "10")
            hurried = self.record(peer, "--k", "5", "--commits", "10", "--seconds", "0.01")
            self.assertNotIn("make_s", hurried)
            self.assertEqual(hurried["check"], first["check"])
            self.assertNotEqual(other["check"], first["check"])
            self.assertIn("make_s", self.record(peer, "--seed", "7", "--commits", "1"))  # other contents

    def test_after_a_kill_everything_committed_is_there(self):
        for peer in self.CONTENTS:
            r = self.record(peer, "--part", "recover", "--k", "10", "--commits", "20", "--log", "1")
            self.assertGreater(r["recover_ms"], 0)
            self.assertGreater(r["commits"], 0)
            self.assertEqual(self.record(peer, "--commits", "2")["commits"], 2)

    @unittest.skipUnless("pmemobj" in BUILT, "libpmemobj is not installed")
    def test_damage_is_found(self):
        arguments = ["--k", "1", "--commits", "1", "--live", "1"]  # most keys are never updated
        self.record("pmemobj", *arguments)
        with open(os.path.join(self.folder, "pmemobj"), "r+b") as file:  # the peer whose values are easily found: they are an array
            data = file.read()
            at = next(at for at in range(0, len(data), 4096) if data[at:at + 4096].count(0) < 100)
            file.seek(at)
            file.write(bytes(byte ^ 1 for byte in data[at:at + 4096]))
        done = self.run_peer("pmemobj", *arguments)
        self.assertEqual(done.returncode, 1, done)
        self.assertIn("what is there is not what was committed", done.stderr)

    @unittest.skipUnless("pmemobj" in BUILT, "libpmemobj is not installed")
    def test_a_peer_that_cannot_run_here_says_so(self):
        done = self.run_peer("pmemobj", environment=dict(os.environ, PMEM_IS_PMEM_FORCE="1"))
        self.assertEqual((done.returncode, done.stdout), (drive.CANNOT, ""))
        self.assertIn("PMEM_IS_PMEM_FORCE", done.stderr)

    @unittest.skipUnless("veil" in BUILT, "veil's store is not built")
    def test_walks_see_the_same_in_both_heaps(self):
        walks = [self.record("veil", "--part", "walk", "--walk", walk) for walk in ("volatile", "store")]
        self.assertEqual(walks[0]["check"], walks[1]["check"])
        self.assertTrue(all(r[name] > 0 for r in walks for name in ("walk_ns", "walk_far_ns")))

    @unittest.skipUnless("veil" in BUILT, "veil's store is not built")
    def test_pages_are_touched_where_they_were_and_elsewhere(self):
        for at in ("home", "elsewhere"):
            r = self.record("veil", "--part", "pages", "--at", at, "--live", "16")
            self.assertEqual(r["at"], at)
            self.assertTrue(0 < r["trapped"] <= 16 * 16 and 0 < r["page_us"] <= r["page_p98_us"], r)
            self.assertTrue(0 < r["references_trapped"] <= 20 and 0 < r["references_us"] <= r["references_p98_us"], r)

    @unittest.skipUnless("veil" in BUILT, "veil's store is not built")
    def test_what_is_rolled_back_is_as_it_was(self):
        r = self.record("veil", "--part", "rollback", "--k", "50")
        self.assertTrue(0 < r["rollback_pages"] <= 60 and r["rollback_ms"] >= r["rollback_pause_ms"] > 0, r)

    def test_bad_command_lines_are_refused_by_name(self):
        for arguments, named in [(["--k", "0"], "--k"), (["--threads", "65"], "--threads"), (["--keys", "x"], "--keys"), (["--part", "no"], "--part"), (["--walk", "no"], "--walk"), (["--at", "no"], "--at"),
                                 (["stray"], "stray"), (["--nonsense"], "--nonsense"), (["--keys", "2", "--threads", "3"], "threads")]:
            for peer in self.BUILT:
                done = self.run_peer(peer, *arguments)
                self.assertEqual((done.returncode, done.stdout, named in done.stderr), (2, "", True), done)
        done = subprocess.run([os.path.join(BUILD, "bench_store-floor")], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, "--file" in done.stderr), (2, True))
        self.assertEqual([self.run_peer("floor", "--part", part).returncode for part in ("walk", "pages", "rollback")], [2] * 3)


class Compresses(unittest.TestCase):
    """The program of the workload compress, at a tiny size. Nothing here asks how long anything takes, nor how much is saved: a heap so small saves nothing."""

    PROGRAM = os.path.join(BUILD, "bench_compress")
    TIMES = ["--live", "16", "--before", "0.2", "--warm", "1.5", "--seconds", "0.5", "--interval", "50", "--least", "250"]

    def run_it(self, *arguments, **more):
        return subprocess.run([self.PROGRAM, *arguments], capture_output=True, text=True, check=False, timeout=300, **more)

    def records(self, *arguments):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "detail")
            done = self.run_it(*arguments, "--detail", path)
            self.assertEqual(done.returncode, 0, f"{arguments}: {done.stderr}")
            return [json.loads(line) for line in done.stdout.splitlines()], compress.detail_read(path)

    @staticmethod
    def swap():
        """What a run must leave as it was: the swap space that there is, and the sizes of zram's devices."""
        with open("/proc/swaps", encoding="utf-8") as file:
            spaces = [line.split()[0] for line in file.readlines()[1:]]
        sizes = {}
        for name in os.listdir("/sys/block"):
            if name.startswith("zram"):
                with open(f"/sys/block/{name}/disksize", encoding="utf-8") as file:
                    sizes[name] = file.read().strip()
        return spaces, sizes

    def test_replays_compress_and_agree_with_those_without(self):
        for program in compress.PROGRAMS:
            checks = set()
            for arguments in (["--without"], [], ["--prefer", "speed"], ["--back-end", "mprotect"]):
                (r,), detail = self.records("--program", program, "--part", "replay", *self.TIMES, *arguments)
                self.assertEqual((r["workload"], r["program"], r["part"], r["collector"]), ("compress", program, "replay", "without" if "--without" in arguments else "veil"))
                self.assertTrue(all(r[name] > 0 for name in ("live_mib", "steps_before", "steps_with", "steps_after", "wall_s", "cpu_s")), r)
                checks.add(r["check"])
                if r["collector"] == "veil":
                    # Nothing is cold while the controller makes up for what was wanted back, which in so small a heap is soon too much.
                    self.assertTrue(all(r[name] > 0 for name in ("original_mib", "held_mib", "in_use_mib", "sampler_cpu")), r)
                    self.assertGreater(len(detail["state"]), 1)
                    self.assertEqual(detail["age"][0][1], 1)
                    self.assertTrue(all(younger[1] >= older[1] and younger[2] >= older[2] for younger, older in zip(detail["age"], detail["age"][1:])))
            self.assertEqual(len(checks), 1, program)

    def test_the_same_pages_by_all_ways(self):
        for program in compress.PROGRAMS:
            before = self.swap()
            records, detail = self.records("--program", program, "--part", "pages", "--live", "16", "--sample", "4")
            self.assertEqual(self.swap(), before)
            ways = {compress.way_of(r): r for r in records}
            self.assertEqual(list(ways)[:4], ["veil space", "veil speed", "zram lz4", "zram lzo-rle"])
            for way, r in ways.items():
                if "outcome" in r:
                    self.assertTrue(way.startswith("zram") and r["outcome"].startswith("left out: "), r)
                    continue
                kind = "fault" if r["collector"] in ("veil", "zram") else "unpack"
                self.assertTrue(all(r[name] > 0 for name in ("pages", "original_mib", "held_mib", "ratio", f"{kind}s", f"{kind}_p50_us")), r)
                self.assertLessEqual(r[f"{kind}_p50_us"], r[f"{kind}_p98_us"])
                self.assertGreater(r[f"{kind}s"], r["touched"] * 0.9 if kind == "fault" else 0, r)
                self.assertGreater(len(detail[kind][way]), 100)

    def test_cycles_unpack_nothing(self):
        (r,), _ = self.records("--program", "graph", "--part", "cycle", "--live", "16", "--cycles", "2")
        self.assertGreater(r["compressed_share"], 0.3, r)
        self.assertEqual((r["unpacked_in_cycles"], r["promoted"]), (0, 0), r)

    def test_without_zram_there_are_the_others(self):
        records, _ = self.records("--part", "pages", "--live", "4", "--sample", "1", "--no-zram", "--without")
        self.assertFalse({r["collector"] for r in records} & {"veil", "zram"})

    def test_a_back_end_that_cannot_is_left_out(self):
        done = self.run_it(*self.TIMES, "--back-end", "none")
        self.assertEqual((done.returncode, done.stdout), (drive.CANNOT, ""))
        self.assertIn("none", done.stderr)

    @unittest.skipUnless(os.geteuid() == 0 and os.path.exists("/sys/block/zram0"), "only root can swap to zram, where there is one")
    def test_swap_is_as_it_was_after_a_kill(self):
        before = self.swap()
        for how in (signal.SIGKILL, signal.SIGINT):
            process = subprocess.Popen([self.PROGRAM, "--part", "pages", "--live", "64", "--sample", "64", "--without"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            while process.poll() is None and self.swap() == before:
                time.sleep(0.01)
            self.assertNotEqual(self.swap(), before)
            process.send_signal(how)
            process.stdout.read()  # ends when its guard has ended
            process.wait()
            process.stdout.close()
            self.assertEqual((process.returncode, self.swap()), (-how, before))

    def test_bad_command_lines_are_refused_by_name(self):
        for arguments, named in [(["--live", "0"], "--live"), (["--program", "no"], "--program"), (["--part", "no"], "--part"), (["--prefer", "both"], "--prefer"), (["--cold", "1.5"], "--cold"),
                                 (["stray"], "stray"), (["--nonsense"], "nonsense")]:
            done = self.run_it(*arguments)
            self.assertEqual((done.returncode, done.stdout, named in done.stderr), (2, "", True), done)


class Interpreters(unittest.TestCase):
    """The workload scheme on all interpreters that are built, and on guile if it is installed."""

    COMMANDS = [(collector, [os.path.join(os.path.dirname(BUILD), "examples", "scheme", program)]) for collector, program in scheme.INTERPRETERS.items()]
    COMMANDS = [(collector, command) for collector, command in COMMANDS if os.path.exists(command[0])] + ([("guile", [scheme.guile(), "--r7rs"])] if scheme.guile() else [])
    OURS = [collector for collector, _ in COMMANDS if collector != "guile"]

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def run_part(self, collector, *arguments, interpreter=None):
        command = [sys.executable, "-B", os.path.join(os.environ["BENCH_SOURCE"], "scheme_run.py"), "--collector", collector, "--out", self.folder, *arguments, "--"]
        return subprocess.run(command + (interpreter or dict(self.COMMANDS)[collector]), capture_output=True, text=True, check=False, timeout=300)

    def record(self, collector, *arguments):
        done = self.run_part(collector, *arguments)
        self.assertEqual(done.returncode, 0, f"{collector} {arguments}: {done.stderr}")
        return json.loads(done.stdout)

    def test_veil_and_malloc_are_built(self):
        self.assertTrue({"veil", "malloc"} <= set(self.OURS))

    def test_programs_agree(self):
        for program in ("tak", "deriv"):
            records = [self.record(collector, "--part", "program", "--program", program, "--times", "1") for collector, _ in self.COMMANDS]
            self.assertEqual(len({r["check"] for r in records}), 1, records)
            for r in records:
                self.assertEqual((r["workload"], r["part"], r["program"]), ("scheme", "program", program))
                self.assertTrue(all(r[name] > 0 for name in ("wall_s", "process_s", "peak_rss_mib")), r)
                self.assertEqual("gap_max_us" in r, r["collector"] != "guile")
                self.assertEqual(bool(r["back_end"]), r["collector"] == "veil")

    def test_loops_agree_and_leave_their_detail(self):
        detail = os.path.join(self.folder, "detail.txt")
        records = []
        for collector in self.OURS:
            # As bench/run has it: the detail file at the very end.
            records.append(self.record(collector, "--part", "loop", "--live", "2", "--steps", "500", "--period", "100", "--idle", "1"))
            done = self.run_part(collector, "--part", "loop", "--live", "2", "--steps", "500", "--period", "100", "--idle", "1",
                                 interpreter=dict(self.COMMANDS)[collector] + ["--detail", detail])
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(sum(count for _, count in plots.detail_read(detail)["gap"]), 500)
        self.assertEqual(len({r["check"] for r in records}), 1, records)
        for r in records:
            self.assertEqual((r["live_mib"], r["steps"]), (2, 500))
            self.assertLessEqual(r["late_p50_us"], r["late_max_us"] * 1.2)
            self.assertGreater(r["gap_max_us"], 0)

    def test_an_image_starts(self):
        r = self.record("veil", "--part", "image", "--copies", "1", "--starts", "1")
        self.assertGreater(r["lines"], 2000)
        self.assertTrue(all(r[name] > 0 for name in ("load_ms", "start_ms", "empty_ms", "image_mib", "save_ms")), r)

    def test_an_interpreter_that_fails_says_so(self):
        for interpreter, said in [(["/bin/sh", "-c", "echo broken >&2; exit 9"], "broken (status 9)"), (["/bin/sh", "-c", "echo tak wrong"], "it printed"), (["/no/such/one"], "/no/such/one")]:
            done = self.run_part("veil", "--part", "program", "--program", "tak", interpreter=interpreter)
            self.assertEqual(done.returncode, 1)
            self.assertIn(said, done.stderr)


if __name__ == "__main__":
    unittest.main()
