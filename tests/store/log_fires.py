# SPDX-License-Identifier: MIT
"""log_fires.py TRIALS: that the trials of logs find what they look for: with one rule of the log's broken, the trial named for it finds that and says so. That with none broken nothing is found the trials' own tests show."""

import os
import subprocess
import sys
import unittest

# The rule that is broken, the trial that finds it, and what it says.
BROKEN = [
    ("barrier", "crash", "was acknowledged, and"),
    ("sum", "crash", "is not whole"),
    ("sum", "header", "has changed, and it opens"),
    ("sum", "flips", "a bit of byte"),
    ("chain", "crash", "going on: it does not open: record"),
    ("settle", "kill", "a crash before note"),
    ("mark", "crash", "going on: it does not open: record"),
    ("once", "fail", "the log has failed and goes on"),
    ("space", "random", "is the last record that is there"),
    ("name", "crash", "the log was acknowledged, and there is none"),
    ("turn", "turn", "was to be next"),
    ("new", "new", "a new log in the place of an old one"),
    ("zeros", "crash", "a crash before note"),
]
TRIALS = ""


def run(trial, *arguments):
    environment = dict(os.environ, IMAGE_SEED="1")
    done = subprocess.run([TRIALS, trial, *arguments], capture_output=True, text=True, check=False, timeout=300, env=environment)
    return done.returncode, done.stdout + done.stderr


class Fires(unittest.TestCase):
    def test_broken_rules_are_found(self):
        for rule, trial, said in BROKEN:
            with self.subTest(rule):
                status, text = run(trial, "--break", rule)
                self.assertEqual(status, 1, text)
                self.assertIn(said, "\n".join(line for line in text.splitlines() if line.startswith("FOUND")), text)


if __name__ == "__main__":
    TRIALS = sys.argv.pop(1)
    unittest.main()
