# SPDX-License-Identifier: MIT
"""store_fires.py TRIALS: that the trials of stores find what they look for: with one rule of the store's broken, the trial named for it finds that, or a check of the store's own does, and says so. That with none broken nothing is found the trials' own tests show."""

import os
import subprocess
import sys
import unittest

# The rule that is broken, the trial that finds it, and what it says, or a check of the heap that was opened does.
BROKEN = [
    ("order", "crash", "is not among the log's durable records"),
    ("gone", "gone", "of a heap that is all but empty"),
    ("space", "full", "a full disk|verify on request"),
    ("owed", "full", "a full disk|is there|verify on request"),
    ("upto", "overlap", "is of commits"),
    ("compact", "compact", "commits beside a compaction|is in use, and not among its pages"),
    ("sure", "unsure", "the next one goes well, and"),
]
SEEDS = 5
TRIALS = ""


class Fires(unittest.TestCase):
    def test_broken_rules_are_found(self):
        for rule, trial, said in BROKEN:
            with self.subTest(rule):
                for seed in range(1, SEEDS + 1):  # what some trials find depends on how far a fold came
                    done = subprocess.run([TRIALS, trial, "--break", rule], capture_output=True, text=True, check=False, timeout=200, env=dict(os.environ, STORE_SEED=str(seed)))
                    text = done.stdout + done.stderr
                    if done.returncode != 0:
                        break
                self.assertNotEqual(done.returncode, 0, text)
                self.assertRegex("\n".join(line for line in text.splitlines() if line.startswith(("FOUND", "veil: "))), said, text)


if __name__ == "__main__":
    TRIALS = sys.argv.pop(1)
    unittest.main()
