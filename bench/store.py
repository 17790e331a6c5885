# SPDX-License-Identifier: MIT
"""store.py: what drive.py and report.py need of the workload store.

A repetition runs all peers one after the other with each K in each size, then with several threads, then what opening after a kill, walking, first touches and rollbacks take. All files are in one folder; each peer's are made
by the first run that wants them, and removed at the end.
"""

import os
import subprocess
import sys

PEERS = ("floor", "veil", "lmdb", "sqlite", "pmemobj")
SMALL = "small"
SIZES = {False: (SMALL, "1024"), True: (SMALL,)}  # MiB; small: the keys that are updated and no others
# Commits by K, and seconds after which none is begun.
COMMITS = {False: {1: 2000, 10: 1500, 100: 500, 1000: 100}, True: {1: 100, 100: 40}}
SECONDS = {False: 2, True: 0.3}
THREADS = 8
MOST = {"pmemobj": 100}  # K: a commit of 1000 takes it seconds
RECOVER_K = 1000
ROLLBACKS = (1, 1000)  # K
RECOVER = ["--commits", "500", "--seconds", "4", "--log", "64"]


def program_of(options, peer):
    return os.path.join(options.build, f"bench_store-{peer}")


def built(options):
    peers = []
    for peer in PEERS:
        if os.path.exists(program_of(options, peer)):
            peers.append(peer)
        else:
            print(f"bench: store for {peer} is not built: its library is missing: its rows are left out", file=sys.stderr)
    return peers


def plan(options, make_run):
    """Runs of one repetition, in order. make_run(collector, command, tag) makes one."""
    runs = []
    if "veil" not in options.collector:
        return runs
    peers, quick = built(options), options.quick
    sizes = [f"{options.live:g}"] if options.live else SIZES[quick]

    def add(peer, size, tag, more, name=""):
        command = [program_of(options, peer), "--file", os.path.join(options.data, f"store-{peer}-{size}{name}")]
        command += ["--live", size] if size != SMALL else []
        command += ["--back-end", options.back_end] if peer == "veil" and options.back_end != "auto" else []
        runs.append(make_run(peer, command + more, dict({"size": size}, **tag)))

    limit = ["--seconds", f"{SECONDS[quick]:g}"]
    for size in sizes:
        for k, commits in COMMITS[quick].items():
            for peer in [peer for peer in peers if k <= MOST.get(peer, k)]:
                add(peer, size, {"k": k}, ["--k", str(k), "--commits", str(commits)] + limit)
    if quick:
        return runs
    threads = options.threads or THREADS
    for peer in peers:
        if peer != "floor" and threads > 1:
            add(peer, sizes[0], {"k": 1, "threads": threads}, ["--threads", str(threads), "--commits", str(COMMITS[quick][1])] + limit)
    for peer in peers:
        if peer != "floor":  # veil's has a larger log, so that it is not folded before it has as much as is wanted
            k = min(RECOVER_K, MOST.get(peer, RECOVER_K))
            add(peer, sizes[-1], {"part": "recover", "k": k}, ["--part", "recover", "--k", str(k)] + RECOVER, "-recover" if peer == "veil" else "")
    if "veil" in peers:
        for walk in ("volatile", "store"):
            add("veil", sizes[-1], {"part": "walk", "walk": walk}, ["--part", "walk", "--walk", walk])
        for at in ("home", "elsewhere"):
            add("veil", sizes[-1], {"part": "pages", "at": at}, ["--part", "pages", "--at", at])
        for k in ROLLBACKS:
            add("veil", sizes[-1], {"part": "rollback", "k": k}, ["--part", "rollback", "--k", str(k)])
    return runs


def clean(folder):
    """Removes what runs have left there, and the folder if it is empty then."""
    if os.path.isdir(folder):
        for name in os.listdir(folder):
            if name.startswith(tuple(f"store-{peer}-" for peer in PEERS)):
                os.remove(os.path.join(folder, name))
        if not os.listdir(folder):
            os.rmdir(folder)


def prepare(folder):
    clean(folder)
    os.makedirs(folder, exist_ok=True)
    kind = subprocess.run(["stat", "-f", "-c", "%T", folder], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout.strip()
    if kind in ("tmpfs", "ramfs"):
        print(f"bench: store: {folder} is in memory: its figures are none of a disk (--data)", file=sys.stderr)


def summary(record):
    if record.get("part") == "recover":
        return f"open after a kill {record['recover_ms']:.1f} ms"
    if record.get("part") == "walk":
        return f"{record['walk_ns']:.1f} ns per value"
    if record.get("part") == "pages":
        return f"first touch of a page, {record['at']}, {record['page_us']:.1f} us"
    if record.get("part") == "rollback":
        return f"rollback {record['rollback_ms']:.1f} ms"
    speed = f"{record['commits_per_s']:.0f}" if record["commits_per_s"] >= 10 else f"{record['commits_per_s']:.2g}"
    return f"{speed} commits/s, half of them within {record['commit_p50_us'] / 1e3:.2f} ms"
