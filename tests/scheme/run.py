#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# run.py: tests an interpreter. Standard library only.
#
#   run.py BINARY [--only NAME,NAME] [--env NAME=VALUE]...

import sys
import time
import traceback

import behaviour
import together
import persistent
from interpreter import Interpreter


def main():
    words = sys.argv[1:]
    binary, env, only, failed = words[0], {}, None, 0
    for i in range(1, len(words), 2):
        if words[i] == "--only":
            only = words[i + 1].split(",")
        elif words[i] == "--env":
            name, value = words[i + 1].split("=", 1)
            env[name] = value
        else:
            sys.exit("run.py: what is %s?" % words[i])
    usual = behaviour.EVERYWHERE + persistent.ON_VEIL + together.ON_VEIL
    known = {test.__name__: test for test in usual + behaviour.ON_REQUEST}
    for name in only or []:
        if name not in known:
            sys.exit("run.py: there is no test %s; there are %s" % (name, ", ".join(known)))
    with Interpreter(binary, env) as scheme:
        tests = [known[name] for name in only] if only else usual if scheme.of_veil else behaviour.EVERYWHERE
        for test in tests:
            began = time.time()
            try:
                test(scheme)
                print("%s: %.1f s" % (test.__name__, time.time() - began), flush=True)
            except Exception:
                failed += 1
                print("%s: FAILED\n%s" % (test.__name__, traceback.format_exc()), flush=True)
    sys.exit(1 if failed else 0)


main()
