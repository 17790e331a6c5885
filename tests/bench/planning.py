# SPDX-License-Identifier: MIT
"""planning.py: what bench/run makes of a command line, and of processes that do not end well.

drive.py is run as bench/run runs it (--check), and its functions are called with made-up programs in the place of workloads.
"""

import os
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, os.environ["BENCH_SOURCE"])
import drive

COLLECTORS = drive.COLLECTORS + drive.ON_REQUEST
SOURCES = ["gcbench", "binary_trees", "churn", "old_to_young", "graph", "threads", "strings", "alloc32"]


def check(*arguments):
    command = [sys.executable, "-B", os.path.join(os.environ["BENCH_SOURCE"], "drive.py"), "--check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


class CommandLines(unittest.TestCase):
    def test_good_ones_are_taken(self):
        for arguments in [[], ["--quick"], ["--only", "binary_trees,churn,threads,strings"], ["--collector", "veil,libgc_plain"],
                          ["--heap", "1.5x,2x,3x,4x,6x"], ["--heap", "512"], ["--heap", "700.5,3x"], ["--live", "2.5"],
                          ["--threads", "2", "--repeat", "3", "--depth", "16"], ["--back-end", "mprotect"]]:
            with self.subTest(arguments):
                done = check(*arguments)
                self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "\n", ""))

    def test_plots_are_announced(self):
        self.assertEqual(check("--plots", "somewhere").stdout, "plots\n")

    def test_bad_ones_are_refused_by_name(self):
        for arguments, named in [(["--only", "churn,nonsense"], "nonsense"), (["--collector", "boehm"], "boehm"),
                                 (["--heap", "0.5x"], "0.5x"), (["--heap", "2x,,3x"], "''"), (["--heap", "2y"], "2y"),
                                 (["--heap", "-1"], "-1"), (["--live", "0"], "'0'"), (["--threads", "0"], "'0'"),
                                 (["--threads", "two"], "two"), (["--depth", "31"], "31"), (["--repeat", "1.5"], "1.5"),
                                 (["--back-end", "magic"], "magic"), (["--quik"], "--quik"), (["stray"], "stray")]:
            with self.subTest(arguments):
                done = check(*arguments)
                self.assertEqual(done.returncode, 2)
                self.assertIn(named, done.stderr)


class Plans(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        for source in SOURCES:
            for collector in COLLECTORS:
                open(os.path.join(self.folder.name, f"bench_{source}-{collector}"), "w", encoding="utf-8").close()
        for alone in ("bench_primitives", "bench_barriers"):
            open(os.path.join(self.folder.name, alone), "w", encoding="utf-8").close()

    def plan(self, *arguments):
        with mock.patch.object(sys, "argv", ["drive.py", "--build", self.folder.name, *arguments]):
            return drive.plan(drive.options_read())

    def commands(self, *arguments):
        return [" ".join(run.command[1:]) for run, _ in self.plan(*arguments)]

    def test_every_workload_is_in_the_default_and_in_the_quick_set(self):
        for arguments, repetitions in [([], 5), (["--quick"], 1)]:
            runs = self.plan(*arguments)
            self.assertEqual({run.workload for run, _ in runs}, set(drive.WORKLOADS) | {"primitives/page_size"})
            self.assertEqual(max(rep for _, rep in runs), repetitions)
            self.assertEqual({run.collector for run, _ in runs}, set(drive.COLLECTORS))

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
        os.remove(os.path.join(self.folder.name, "bench_churn-mimalloc"))
        with mock.patch.object(sys, "stderr"):
            runs = self.plan("--only", "churn")
        self.assertNotIn("mimalloc", {run.collector for run, _ in runs})


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
