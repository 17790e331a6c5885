# SPDX-License-Identifier: MIT
"""fires.py TRIALS: that the trials find what they look for: with one rule of the checkpointer's, or of the image's, broken, the trial named for it finds that. That with none broken nothing is found the trials' own tests show."""

import os
import subprocess
import sys
import unittest

# The rule that is broken, the trial that finds it, and what it says.
BROKEN = [
    ("before", "chains", "the heap had"),
    ("removed", "chains", "not in use"),
    ("fail", "pool", "the program stands"),
    ("chain", "fail", "the one after it"),
    ("reserve", "chains", "allocates"),
    ("barrier_data", "crash", "a crash before note"),
    ("barrier_header", "crash", "a crash before note"),
    ("rename_early", "crash", "a crash before note"),
    ("slots", "crash", "a crash before note"),
    ("once", "fail", "a barrier failed"),
    ("sum_page", "crash", "nobody says so"),
]
TRIALS = ""


class Fires(unittest.TestCase):
    def test_broken_rules_are_found(self):
        environment = dict(os.environ, CHECKPOINT_SEED="1")
        for rule, trial, said in BROKEN:
            with self.subTest(rule):
                command = [TRIALS, trial, "--stop", "poll", "--break", rule]
                done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200, env=environment)
                text = done.stdout + done.stderr
                self.assertEqual(done.returncode, 1, text)
                self.assertIn(said, "\n".join(line for line in text.splitlines() if line.startswith("FOUND")), text)


if __name__ == "__main__":
    TRIALS = sys.argv.pop(1)
    unittest.main()
