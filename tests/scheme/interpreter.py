# SPDX-License-Identifier: MIT
"""interpreter.py: what the tests of examples/scheme share: an interpreter that is run, and what it said."""

import collections
import os
import signal
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
PROGRAMS = os.path.join(SOURCE, "bench", "scheme")

Said = collections.namedtuple("Said", "status out err")


def check(condition, what, *seen):
    """A test's assertion: fails with what was seen."""
    if not condition:
        raise AssertionError(what + "".join("\n--- %s" % (one,) for one in seen))


class Interpreter:
    """A binary with an environment, and a folder for its files; a context manager that removes the folder."""

    def __init__(self, binary, env=()):
        self.binary = os.path.abspath(binary)
        self.scale = int(dict(env).get("SCHEME_TEST_SCALE", "1"))
        self.environment = dict(os.environ, **dict(env))
        self.of_veil = os.path.basename(binary) == "scheme"
        self.folder = tempfile.TemporaryDirectory(prefix="scheme-test-")
        self.environment["TMPDIR"] = self.folder.name

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.folder.cleanup()

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def file(self, name, text):
        with open(self.path(name), "wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
        return self.path(name)

    def run(self, *arguments, stdin="", timeout=120, env=(), may_abort=False):
        """Runs it; a signal or a run without end fails the test."""
        command = [self.binary, *arguments]
        try:
            done = subprocess.run(command, input=stdin.encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, env=dict(self.environment, **dict(env)),
                                  cwd=self.folder.name, check=False)
        except subprocess.TimeoutExpired as expired:
            raise AssertionError("%s did not end in %d s; it said %r" % (command, timeout, (expired.stdout or b"")[-500:])) from None
        said = Said(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
        check(done.returncode >= 0 or (may_abort and done.returncode == -signal.SIGABRT), "%s was ended by signal %d" % (command, -done.returncode), said.out[-1000:], said.err[-2000:])
        return said

    def program(self, text, *arguments, name="program.scm", **more):
        """Runs a program given as text."""
        return self.run(self.file(name, text), *arguments, **more)

    def prints(self, text, expected, **more):
        """Fails unless the program ends well and prints so."""
        said = self.program(text, **more)
        check(said.status == 0 and said.out == expected, "a program was to print %r" % expected, text, said)
