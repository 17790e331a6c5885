# SPDX-License-Identifier: MIT
"""fires.py TRIALS: that the trials find what they look for: with one rule of the image's broken, the trial named for it finds that and says so. That with none broken nothing is found the trials' own tests show."""

import os
import subprocess
import sys
import unittest

# The rule that is broken, the trial that finds it, and what it says.
BROKEN = [
    ("barrier_data", "crash", "not whole"),
    ("barrier_header", "crash", "a crash before note"),
    ("barrier_directory", "crash", "was acknowledged"),
    ("rename_early", "crash", "does not open"),
    ("slots", "crash", "does not open"),
    ("space", "random", "the version before"),
    ("settle", "kill", "a crash before note"),
    ("once", "fail", "a barrier failed"),
    ("sum_header", "flips", "slot"),
    ("sum_segment", "flips", "a segment"),
    ("sum_section", "flips", "section"),
    ("sum_page", "flips", "in page"),
    ("bounds", "fuzz", ""),
]
TRIALS = ""


def run(trial, *arguments):
    # One seed: the short random walk comes upon reused space with most seeds, but not with each.
    environment = dict(os.environ, IMAGE_SEED="1")
    done = subprocess.run([TRIALS, trial, *arguments], capture_output=True, text=True, check=False, timeout=300, env=environment)
    return done.returncode, done.stdout + done.stderr


class Fires(unittest.TestCase):
    def test_broken_rules_are_found(self):
        for rule, trial, said in BROKEN:
            with self.subTest(rule):
                status, text = run(trial, "--break", rule, "--seconds", "20")
                self.assertNotEqual(status, 0, text)  # a hostile file may do anything to a reader that believes it
                self.assertIn(said, "\n".join(line for line in text.splitlines() if line.startswith("FOUND")), text)


if __name__ == "__main__":
    TRIALS = sys.argv.pop(1)
    unittest.main()
