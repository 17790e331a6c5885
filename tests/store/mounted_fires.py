# SPDX-License-Identifier: MIT
"""mounted_fires.py TRIALS SUBJECT...: that the trials on a mounted disk find what they look for: with one barrier or checksum of a subject's taken out, commits that were acknowledged are gone, or it does not open. That with none taken out nothing is found the trials' own tests show."""

import os
import subprocess
import sys
import unittest

# The subject, and what is taken out. What is met at few points (the order of image and log, the first barrier of an image) store_fires.py and tests/image/fires.py look at: a crash there takes less time.
BROKEN = [
    ("store", "barrier"),
    ("store", "sum"),
    ("store", "barrier_header"),
    ("lmdb", "nosync"),
    ("lmdb", "nometasync"),
    ("sqlite", "off"),
    ("sqlite", "normal"),
]
SEEDS = 3
SKIPPED = 77
TRIALS = ""


class Fires(unittest.TestCase):
    def test_broken_rules_are_found(self):
        for subject, rule in BROKEN:
            with self.subTest(f"{subject} without {rule}"):
                for seed in range(1, SEEDS + 1):  # points are sampled
                    done = subprocess.run([TRIALS, subject, "--break", rule], capture_output=True, text=True, check=False, timeout=200, env=dict(os.environ, STORE_SEED=str(seed)))
                    if done.returncode != 0:
                        break
                if done.returncode == SKIPPED:
                    self.skipTest(done.stdout)
                self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
                self.assertRegex(done.stdout, "(?m)^FOUND: .*(was acknowledged|does not open|damaged|no commit|signal 6)", done.stdout)


if __name__ == "__main__":
    TRIALS = sys.argv.pop(1)
    unittest.main()
