# SPDX-License-Identifier: MIT
"""planning.py: what bench/run makes of a command line, and of processes that do not end well.

drive.py is run as bench/run runs it (--check), and its functions are called with made-up programs in the place of workloads.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, os.environ["BENCH_SOURCE"])
import compress
import drive
import kv
import scheme
import store

COLLECTORS = drive.COLLECTORS + drive.ON_REQUEST
SOURCES = ["gcbench", "binary_trees", "churn", "old_to_young", "graph", "threads", "strings", "alloc32"]


def check(*arguments):
    command = [sys.executable, "-B", os.path.join(os.environ["BENCH_SOURCE"], "drive.py"), "--check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


class CommandLines(unittest.TestCase):
    def test_good_ones_are_taken(self):
        for arguments in [[], ["--quick"], ["--only", "binary_trees,churn,threads,strings"], ["--collector", "veil,libgc_plain"],
                          ["--heap", "1.5x,2x,3x,4x,6x"], ["--heap", "512"], ["--heap", "700.5,3x"], ["--live", "2.5"],
                          ["--threads", "2", "--repeat", "3", "--depth", "16"], ["--back-end", "mprotect"], ["--only", "store", "--data", "/somewhere"], ["--only", "compress", "--replay", "600"]]:
            with self.subTest(arguments):
                done = check(*arguments)
                self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "\n", ""))

    def test_plots_are_announced(self):
        self.assertEqual(check("--plots", "somewhere").stdout, "plots\n")

    def test_bad_ones_are_refused_by_name(self):
        for arguments, named in [(["--only", "churn,nonsense"], "nonsense"), (["--collector", "boehm"], "boehm"),
                                 (["--heap", "0.5x"], "0.5x"), (["--heap", "2x,,3x"], "''"), (["--heap", "2y"], "2y"),
                                 (["--heap", "-1"], "-1"), (["--live", "0"], "'0'"), (["--threads", "0"], "'0'"),
                                 (["--threads", "two"], "two"), (["--depth", "31"], "31"), (["--repeat", "1.5"], "1.5"), (["--replay", "701"], "701"), (["--replay", "0"], "'0'"),
                                 (["--back-end", "magic"], "magic"), (["--quik"], "--quik"), (["stray"], "stray")]:
            with self.subTest(arguments):
                done = check(*arguments)
                self.assertEqual(done.returncode, 2)
                self.assertIn(named, done.stderr)


class Plans(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.build = os.path.join(self.folder.name, "bench")
        self.servers = os.path.join(self.folder.name, "examples", "kv")
        os.makedirs(self.build)
        os.makedirs(self.servers)
        self.interpreters = os.path.join(self.folder.name, "examples", "scheme")
        os.makedirs(self.interpreters)
        built = [os.path.join(self.build, f"bench_{source}-{collector}") for source in SOURCES for collector in COLLECTORS]
        built += [os.path.join(self.build, alone) for alone in ("bench_primitives", "bench_barriers", "kv_load", "bench_checkpoint-veil", "bench_checkpoint-fork", "bench_compress")]
        built += [os.path.join(self.build, f"bench_store-{peer}") for peer in store.PEERS]
        for path in built + [os.path.join(self.servers, server) for server in kv.SERVERS.values()] + [os.path.join(self.interpreters, name) for name in scheme.INTERPRETERS.values()]:
            open(path, "w", encoding="utf-8").close()

    def plan(self, *arguments):
        with mock.patch.object(sys, "argv", ["drive.py", "--build", self.build, *arguments]):
            return drive.plan(drive.options_read())

    def commands(self, *arguments):
        return [" ".join(run.command[1:]) for run, _ in self.plan(*arguments)]

    def test_every_workload_is_in_the_default_and_in_the_quick_set(self):
        for arguments, repetitions in [([], 5), (["--quick"], 1)]:
            runs = self.plan(*arguments)
            self.assertEqual({run.workload for run, _ in runs}, set(drive.WORKLOADS) | {"primitives/page_size"})
            self.assertEqual(max(rep for _, rep in runs), repetitions)
            self.assertEqual({run.collector for run, _ in runs if run.workload not in ("checkpoint", "store", "compress", "scheme")}, set(drive.COLLECTORS) - set(drive.NOT_QUICK if arguments else []))

    def test_repetitions_are_interleaved(self):
        runs = self.plan("--only", "churn", "--repeat", "2")
        self.assertEqual([(run.collector, rep) for run, rep in runs],
                         [(collector, rep) for rep in (1, 2) for collector in drive.COLLECTORS])

    def test_labels_are_unique(self):
        runs = self.plan("--heap", "1.5x,2x,6x")
        self.assertEqual(len({(drive.label(run), rep) for run, rep in runs}), len(runs))

    def test_a_sweep_is_for_those_with_a_heap(self):
        runs = self.plan("--only", "strings", "--heap", "1.5x,6x", "--repeat", "1")
        self.assertEqual([(run.collector, "--heap" in run.command) for run, _ in runs],
                         [("veil", True), ("veil", True), ("libgc", True), ("libgc", True), ("malloc", False), ("mimalloc", False)])
        self.assertIn("--heap 6x", " ".join(runs[1][0].command))

    def test_threads_runs_on_as_many_cores_and_alone_on_one(self):
        commands = self.commands("--only", "threads", "--collector", "veil", "--repeat", "1")
        cores = min(2, len(os.sched_getaffinity(0)))
        self.assertEqual(len(commands), 2)
        self.assertIn(f"--threads 2 --cores {cores} ", commands[0])
        self.assertIn("--threads 1 --cores 1 ", commands[1])
        self.assertEqual(len(self.commands("--only", "threads", "--collector", "veil", "--repeat", "1", "--threads", "1")), 1)

    def test_barriers_run_once_and_repeat_by_themselves(self):
        for arguments, expected in [([], ""), (["--quick"], "--quick"), (["--repeat", "7", "--live", "2.5"], "--live 2.5 --rounds 7"),
                                    (["--quick", "--back-end", "mprotect"], "--quick --back-end mprotect")]:
            self.assertEqual(self.commands("--only", "barriers", *arguments), [expected])
        self.assertEqual(self.commands("--only", "barriers", "--collector", "malloc,libgc"), [])

    def test_sizes(self):
        for arguments, expected in [(["--only", "churn"], "--live 500"), (["--only", "binary_trees"], "--depth 21"),
                                    (["--only", "binary_trees", "--depth", "9"], "--depth 9"),
                                    (["--only", "binary_trees", "--quick"], "--depth 14"),
                                    (["--only", "strings", "--live", "77"], "--live 77"), (["--only", "graph"], "--live 1024")]:
            with self.subTest(arguments):
                self.assertTrue(all(expected in command for command in self.commands(*arguments)))

    def test_what_is_not_built_is_left_out(self):
        os.remove(os.path.join(self.build, "bench_churn-mimalloc"))
        os.remove(os.path.join(self.servers, "kv-libgc"))
        with mock.patch.object(sys, "stderr"):
            runs = self.plan("--only", "churn,kv")
        self.assertEqual({run.collector for run, _ in runs if run.workload == "churn"}, {"veil", "libgc", "malloc"})
        self.assertEqual({run.collector for run, _ in runs if run.workload == "kv"}, {"veil", "malloc"})

    def test_kv_runs_all_closed_loops_before_the_open_ones(self):
        runs = self.plan("--only", "kv", "--repeat", "2", "--collector", "veil,mimalloc,malloc")
        self.assertEqual([(run.collector, run.tag["part"], rep) for run, rep in runs],
                         [(c, part, rep) for rep in (1, 2) for part in ("throughput", "latency") for c in ("veil", "malloc")])
        self.assertEqual([kv.RATE in run.command for run, _ in runs], [False, False, True, True] * 2)

    def test_checkpoint_runs_beside_its_peers_size_by_size(self):
        for server, peers in [("/usr/bin/redis-server", ["fork", "veil", "redis"]), (None, ["fork", "veil"])]:
            with mock.patch.object(shutil, "which", lambda name: server), mock.patch.object(sys, "stderr"):
                runs = self.plan("--only", "checkpoint", "--repeat", "2")
                self.assertEqual([(run.tag["size"], run.collector, rep) for run, rep in runs],
                                 [(size, who, rep) for rep in (1, 2) for size in ("1024", "4096") for who in peers])
                self.assertTrue(all(f"--live {run.tag['size']} " in " ".join(run.command) for run, _ in runs))
                one = self.plan("--only", "checkpoint", "--live", "7.5", "--back-end", "mprotect", "--repeat", "1")
                self.assertEqual([run.collector for run, _ in one], peers)
                self.assertEqual(["--back-end mprotect" in " ".join(run.command) for run, _ in one], [who == "veil" for who in peers])
                self.assertEqual(self.plan("--only", "checkpoint", "--collector", "malloc"), [])

    def test_store_runs_all_peers_for_each_k_and_size(self):
        runs = self.plan("--only", "store", "--repeat", "2")
        commits = [(rep, run.tag["size"], run.tag["k"], run.collector) for run, rep in runs if "part" not in run.tag and "threads" not in run.tag]
        self.assertEqual(commits, [(rep, size, k, peer) for rep in (1, 2) for size in ("small", "1024") for k in (1, 10, 100, 1000) for peer in store.PEERS
                                   if (peer, k) != ("pmemobj", 1000)])
        with_contents = [peer for peer in store.PEERS if peer != "floor"]
        others = [(run.collector, run.tag.get("part"), run.tag.get("threads")) for run, rep in runs if rep == 2 and ("part" in run.tag or "threads" in run.tag)]
        self.assertEqual(others, [(p, None, 8) for p in with_contents] + [(p, "recover", None) for p in with_contents] + [("veil", "walk", None)] * 2 +
                         [("veil", "pages", None)] * 2 + [("veil", "rollback", None)] * 2)
        self.assertTrue(all(("--live 1024" in " ".join(run.command)) == (run.tag["size"] == "1024") for run, _ in runs))

    def test_a_file_of_store_is_one_peers_and_one_sizes(self):
        files = {}
        for run, _ in self.plan("--only", "store", "--data", "somewhere", "--repeat", "2"):
            path = run.command[run.command.index("--file") + 1]
            self.assertEqual(os.path.dirname(path), os.path.abspath("somewhere"))
            log = run.tag.get("part") == "recover" and run.collector == "veil"
            self.assertEqual(files.setdefault(path, (run.collector, run.tag["size"], log)), (run.collector, run.tag["size"], log))
        self.assertEqual(len(set(files.values())), len(files))

    def test_store_takes_the_common_options(self):
        quick = self.plan("--only", "store", "--quick")
        self.assertEqual([(run.tag["size"], run.tag["k"], run.collector) for run, _ in quick], [("small", k, peer) for k in (1, 100) for peer in store.PEERS])
        runs = self.plan("--only", "store", "--live", "7.5", "--threads", "3", "--back-end", "mprotect", "--repeat", "1")
        self.assertEqual({run.tag["size"] for run, _ in runs}, {"7.5"})
        self.assertEqual({run.tag.get("threads") for run, _ in runs}, {None, 3})
        self.assertEqual({run.collector for run, _ in runs if "--back-end mprotect" in " ".join(run.command)}, {"veil"})
        self.assertEqual(self.plan("--only", "store", "--collector", "malloc"), [])
        for peer in ("veil", "pmemobj"):
            os.remove(os.path.join(self.build, f"bench_store-{peer}"))
        with mock.patch.object(sys, "stderr"):
            self.assertEqual({run.collector for run, _ in self.plan("--only", "store")}, {"floor", "lmdb", "sqlite"})

    def test_store_leaves_nothing_and_takes_nothing_else(self):
        folder = os.path.join(self.folder.name, "data")
        store.prepare(folder)
        for name in ("store-lmdb-small", "store-lmdb-small.made"):
            open(os.path.join(folder, name), "w", encoding="utf-8").close()
        store.clean(folder)
        self.assertFalse(os.path.exists(folder))
        os.makedirs(folder)
        open(os.path.join(folder, "store-mine"), "w", encoding="utf-8").close()
        store.clean(folder)
        self.assertEqual(os.listdir(folder), ["store-mine"])

    def test_compress_replays_with_and_without_then_compares_pages_then_cycles(self):
        runs = self.plan("--only", "compress", "--repeat", "2")
        once = [("kv", "replay", "veil", "space"), ("kv", "replay", "without", "space"), ("kv", "replay", "veil", "speed"), ("graph", "replay", "veil", "space"),
                ("graph", "replay", "without", "space"), ("kv", "pages", "veil", None), ("graph", "pages", "veil", None), ("graph", "cycle", "veil", "space")]
        self.assertEqual([(run.tag["program"], run.tag["part"], run.collector, run.tag.get("prefer")) for run, _ in runs], once * 2)
        for run, _ in runs:
            command = " ".join(run.command)
            self.assertIn(f"--program {run.tag['program']} --part {run.tag['part']} --live 1024", command)
            self.assertEqual("--without" in command, run.collector == "without")
            self.assertEqual("--prefer speed" in command, run.tag.get("prefer") == "speed")
        with_and_without = [" ".join(run.command).replace(" --without", "") for run, _ in runs[:2]]
        self.assertEqual(*with_and_without)
        self.assertTrue(drive.leaves_detail(runs[0][0], mock.Mock(OF_THEIR_OWN=("compress",))))

    def test_compress_takes_the_common_options(self):
        quick = self.plan("--only", "compress", "--quick")
        self.assertEqual([(run.collector, run.tag["part"]) for run, _ in quick], [("veil", "replay"), ("veil", "pages")])
        runs = self.plan("--only", "compress", "--live", "100.5", "--back-end", "mprotect", "--repeat", "1")
        self.assertTrue(all("--live 100.5 --back-end mprotect" in " ".join(run.command) for run, _ in runs))
        self.assertEqual({run.command[run.command.index("--sample") + 1] for run, _ in runs if run.tag["part"] == "pages"}, {"100.5"})
        self.assertEqual(self.plan("--only", "compress", "--collector", "malloc"), [])
        os.remove(os.path.join(self.build, "bench_compress"))
        with mock.patch.object(sys, "stderr"):
            self.assertEqual(self.plan("--only", "compress"), [])

    def test_a_long_replay_has_the_compressors_own_intervals(self):
        for seconds, interval in (("30", "1000"), ("600", "0")):
            runs = [run for run, _ in self.plan("--only", "compress", "--repeat", "1", "--replay", seconds) if run.tag["part"] == "replay"]
            for run in runs:
                value = {name: run.command[run.command.index(name) + 1] for name in ("--before", "--warm", "--seconds", "--interval")}
                self.assertEqual((value["--seconds"], value["--interval"]), (seconds, interval))
                self.assertLess(float(value["--warm"]) + float(seconds) + 3 * float(value["--before"]), drive.TIMEOUT_S[False] - 60)
            self.assertEqual([(run.tag["program"], run.collector) for run in runs if run.tag["prefer"] == "space"], [(p, c) for p in compress.PROGRAMS for c in ("veil", "without")])
        self.assertLess(compress.SETTLE_S + 700, drive.TIMEOUT_S[False] - 60)

    def test_scheme_runs_every_program_on_every_interpreter(self):
        with mock.patch.object(scheme, "guile", lambda: "/usr/bin/guile"):
            runs = self.plan("--only", "scheme", "--repeat", "2")
            quick = self.plan("--only", "scheme", "--quick")
        programs = [(rep, run.tag["program"], run.collector) for run, rep in runs if run.tag["part"] == "program"]
        self.assertEqual(programs, [(rep, name, who) for rep in (1, 2) for name in scheme.programs() for who in ("veil", "libgc", "malloc", "guile")])
        self.assertEqual([run.collector for run, rep in runs if run.tag["part"] == "loop" and rep == 1], ["veil", "libgc", "malloc", "guile"])
        self.assertEqual([run.collector for run, rep in runs if run.tag["part"] == "image"], ["veil", "veil"])
        self.assertEqual(len(quick), 4 * len(scheme.QUICK) + 5)
        self.assertTrue(set(scheme.QUICK) <= set(scheme.programs()))
        self.assertGreaterEqual(len(scheme.programs()), 30)

    def test_scheme_takes_the_common_options_and_leaves_out_what_is_not_there(self):
        os.remove(os.path.join(self.interpreters, "scheme-libgc"))
        with mock.patch.object(scheme, "guile", lambda: None), mock.patch.object(sys, "stderr"):
            runs = self.plan("--only", "scheme", "--live", "7.5", "--back-end", "mprotect", "--repeat", "1")
        self.assertEqual({run.collector for run, _ in runs}, {"veil", "malloc"})
        self.assertEqual(["--live 7.5" in " ".join(run.command) for run, _ in runs if run.tag["part"] == "loop"], [True, True])
        self.assertEqual({run.collector for run, _ in runs if "--back-end mprotect" in " ".join(run.command)}, {"veil"})

    def test_kv_takes_the_common_options(self):
        for arguments, expected in [([], "--live 1024"), (["--quick"], "--live 16"), (["--live", "7.5"], "--live 7.5"), (["--threads", "3"], "--threads 3")]:
            self.assertTrue(all(expected in command for command in self.commands("--only", "kv", *arguments)), arguments)
        runs = self.plan("--only", "kv", "--back-end", "mprotect", "--repeat", "1")
        self.assertEqual([run.collector for run, _ in runs if "--back-end mprotect" in " ".join(run.command)], ["veil", "veil"])


class HalvesOfKv(unittest.TestCase):
    def half(self, collector, repetition=1, **more):
        return dict({"workload": "kv", "collector": collector, "repetition": repetition}, **more)

    def test_the_rate_is_half_of_the_lowest_of_the_repetition(self):
        records = [self.half(c, rep, ops_per_s=ops) for rep, c, ops in [(1, "veil", 5e4), (1, "malloc", 9e4), (2, "veil", 7e4), (2, "malloc", 6e4)]]
        command = ["x", "--rate", kv.RATE]
        self.assertEqual([kv.bound(command, records, rep) for rep in (1, 2)], [["x", "--rate", "25000"], ["x", "--rate", "30000"]])
        self.assertIsNone(kv.bound(command, records, 3))
        self.assertEqual(kv.bound(["x"], [], 1), ["x"])

    def test_two_halves_make_one_record(self):
        records = [self.half("veil", part="throughput", ops_per_s=100, peak_rss_mib=30), self.half("malloc", part="throughput", ops_per_s=90, peak_rss_mib=20)]
        records = kv.merged([], [records[0]]) + kv.merged([], [records[1]])
        records = kv.merged(records, [self.half("malloc", part="latency", latency_max_us=7, peak_rss_mib=25, machine_gap_max_us=3)])
        self.assertEqual(len(records), 2)
        self.assertEqual(records[1], self.half("malloc", ops_per_s=90, peak_rss_mib=25, latency_max_us=7, machine_gap_max_us=3))
        other = {"workload": "churn", "collector": "veil", "repetition": 1}
        self.assertEqual(len(kv.merged(records, [other])), 3)

    def test_an_open_loop_without_a_rate_fails_and_the_others_go_on(self):
        script = "echo '{\"workload\": \"kv\", \"ops_per_s\": 100}'"
        with tempfile.TemporaryDirectory() as folder, mock.patch("builtins.print"):
            options = mock.Mock(quick=True, out=folder, json=os.path.join(folder, "records.json"))
            report = mock.Mock(OF_THEIR_OWN=("kv",))
            os.makedirs(os.path.join(folder, "detail"))
            make = lambda collector, part, command: (drive.Run("kv", collector, None, command, {"part": part}), 1)
            order = [make("veil", "throughput", ["/bin/sh", "-c", "exit 1"]), make("veil", "latency", ["x", kv.RATE])]
            records, failures = drive.run_all(options, order, report)
            self.assertEqual((records, len(failures)), ([], 2))
            self.assertIn("nothing tells its rate", failures[1])
            records, failures = drive.run_all(options, [make("veil", "throughput", ["/bin/sh", "-c", script])], report)
            self.assertEqual((len(records), failures), (1, []))


class Endings(unittest.TestCase):
    def end(self, script, collector="veil", heap="1.5x"):
        run = drive.Run("churn", collector, heap, ["/bin/sh", "-c", script], {})
        return drive.run_one(run, 1, None, True)

    def test_a_record_is_completed(self):
        records, wrong = self.end("echo '{\"workload\": \"churn\"}'")
        self.assertIsNone(wrong)
        self.assertEqual(records, [{"workload": "churn", "repetition": 1, "heap_option": "1.5x"}])

    def test_a_heap_too_small_is_an_outcome(self):
        for script in ["exit 3", "ulimit -c 0; echo 'veil: out of memory: 10 bytes' >&2; kill -ABRT $$"]:
            records, wrong = self.end(script)
            self.assertIsNone(wrong)
            self.assertEqual(records[0]["outcome"], "does not fit")
            self.assertNotIn("check", records[0])

    def test_a_heap_so_small_that_it_takes_forever_is_one_too(self):
        with mock.patch.object(drive, "TIMEOUT_SIZED_S", {True: 0.2}):
            records, wrong = self.end("exec sleep 60")
        self.assertIsNone(wrong)
        self.assertEqual(records[0]["outcome"], "over 0.2 s")

    def test_a_peer_that_cannot_run_here_is_one_too(self):
        records, wrong = self.end("echo why >&2; exit 77", "lmdb", None)
        self.assertIsNone(wrong)
        self.assertEqual(records[0]["outcome"], "left out: why")

    def test_anything_else_is_a_failure(self):
        for script, collector, heap, said in [
                ("exit 3", "veil", None, "status 3"), ("exit 3", "malloc", "1.5x", "status 3"), ("exit 2", "veil", "1.5x", "status 2"),
                ("echo damaged >&2; exit 1", "veil", "1.5x", "damaged (status 1)"),
                ("ulimit -c 0; echo broken >&2; kill -ABRT $$", "veil", "1.5x", "broken (signal 6)"),
                ("ulimit -c 0; kill -SEGV $$", "veil", "1.5x", "signal 11")]:
            with self.subTest(script=script, heap=heap):
                records, wrong = self.end(script, collector, heap)
                self.assertEqual(records, [])
                self.assertIn(said, wrong)

    def test_no_end_without_a_heap_to_blame_is_a_failure(self):
        with mock.patch.object(drive, "TIMEOUT_S", {True: 0.2}):
            records, wrong = self.end("exec sleep 60", heap=None)
        self.assertEqual((records, wrong), ([], "did not end in 0.2 s"))


if __name__ == "__main__":
    unittest.main()
