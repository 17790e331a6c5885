# SPDX-License-Identifier: MIT
"""fires.py: that differ.py and hostile.py find what they look for: a real redis-server passes, and one with a fault does not. Status 77 without one."""

import os
import subprocess
import sys
import unittest

import resp

HERE = os.path.dirname(os.path.abspath(__file__))


def test(script, twist, *arguments):
    command = [sys.executable, "-B", os.path.join(HERE, script), *arguments, "--", sys.executable, "-B", os.path.join(HERE, "twisted.py"), "--twist", twist]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)


class Differ(unittest.TestCase):
    def differ(self, twist, *arguments):
        return test("differ.py", twist, "--seed", "5", "--rounds", "6", "--commands", "150", "--most", "3", "--each", "1", *arguments)

    def test_a_real_server_does_not_differ_from_itself(self):
        done = self.differ("none", "--texts")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_faults_are_found(self):
        for twist, said in [("integer", "DIFFERENCE"), ("nil", "b''"), ("code", "-ERR"), ("order", "DIFFERENCE"), ("stored", "rpush"), ("babble", "Broken")]:
            with self.subTest(twist):
                done = self.differ(twist)
                self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
                self.assertIn(said.lower(), done.stdout.lower())

    def test_a_reproduction_is_short(self):
        done = self.differ("stored", "--most", "1")
        # The same commands are sent, so replies differ, or what is stored; either is thinned out.
        found = [line for line in done.stdout.splitlines() if line.startswith("DIFFERENCE (")]
        self.assertTrue(found, done.stdout)
        self.assertLessEqual(int(found[0].split("(")[1].split()[0]), 4, done.stdout)

    def test_the_seed_makes_the_round(self):
        first, second, other = (self.differ("stored", "--only", "rpush,lrange,lpush,llen", "--seed", seed, "--rounds", "2").stdout for seed in ("7", "7", "8"))
        self.assertEqual(first, second)
        self.assertNotEqual(first, other)


class Hostile(unittest.TestCase):
    def hostile(self, twist, *arguments):
        return test("hostile.py", twist, "--seed", "5", *arguments)

    def test_faults_are_found(self):
        for twist, said, arguments in [("crash", "deliberately", ["--attack", "splits"]), ("leak", "descriptors were open", ["--attack", "inline"]),
                                       ("hoard", "more than --memory", ["--attack", "splits", "--memory", "400"]),
                                       ("slow", "took", ["--attack", "inline", "--patience", "1"]), ("damage", "was answered", ["--attack", "inline"]),
                                       ("babble", "no reply begins so", ["--attack", "splits"]), ("integer", "not", ["--attack", "many_arguments"])]:
            with self.subTest(twist):
                done = self.hostile(twist, "--seconds", "6", *arguments)
                self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
                self.assertIn(said, done.stdout)

    def test_without_faults_nothing_is_wrong(self):
        done = self.hostile("none", "--seconds", "2", "--attack", "splits", "--patience", "5")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    if resp.redis_server() is None:
        print("there is no redis-server: skipped")
        sys.exit(77)
    unittest.main()
