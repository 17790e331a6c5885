#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# run.py: tests a server. Standard library only.
#
#   run.py BINARY [--only NAME,NAME] [--env NAME=VALUE]... [-- OPTIONS OF THE SERVER]

import resource
import sys
import time

import behaviour
import stored
from client import Server


def main():
    words = sys.argv[1:]
    extra = []
    if "--" in words:
        extra = words[words.index("--") + 1:]
        words = words[:words.index("--")]
    binary, env, only = words[0], {}, None
    for i in range(1, len(words), 2):
        if words[i] == "--only":
            only = words[i + 1].split(",")
        elif words[i] == "--env":
            name, value = words[i + 1].split("=", 1)
            env[name] = value
        else:
            sys.exit("run.py: what is %s?" % words[i])
    known = [t.__name__ for t in behaviour.ON_ONE_SERVER + behaviour.BY_THEMSELVES + stored.BY_THEMSELVES]
    for name in only or []:
        if name not in known:
            sys.exit("run.py: there is no test %s; there are %s" % (name, ", ".join(known)))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))

    def wanted(test):
        return only is None or test.__name__ in only

    def run(test, *arguments):
        began = time.time()
        try:
            test(*arguments)
        except BaseException:
            print("%s: FAILED" % test.__name__, flush=True)
            raise
        print("%s: %.1f s" % (test.__name__, time.time() - began), flush=True)

    if any(map(wanted, behaviour.ON_ONE_SERVER)):
        with Server(binary, *extra, env=env) as server:
            for test in filter(wanted, behaviour.ON_ONE_SERVER):
                run(test, server)
    for test in filter(wanted, behaviour.BY_THEMSELVES + stored.BY_THEMSELVES):
        run(test, binary, env)


main()
