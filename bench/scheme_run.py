# SPDX-License-Identifier: MIT
"""scheme_run.py: one record of the workload scheme: runs an interpreter and says in JSON what was seen.

    scheme_run.py --part program --program fib ... -- INTERPRETER   one of bench/scheme's programs
    scheme_run.py --part loop --live MIB ... -- INTERPRETER         the interactive loop beside live data
    scheme_run.py --part image ... -- INTERPRETER                   starts from an image, and from the same sources

Exit status: 0; 1 with a message if the interpreter fails.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import zlib

import scheme

MIB = 1 << 20


class Failed(Exception):
    pass


def environment(options, stats=None):
    env = dict(os.environ)
    if options.back_end:
        env["VEIL_VM"] = options.back_end
    if stats:
        env["SCHEME_STATS"] = stats
    # Guile compiles a program when it first sees it; that is not measured. It does not know what a program includes, so its cache is of these files alone.
    env["XDG_CACHE_HOME"] = os.path.join(options.out, "guile-" + digest_of_sources())
    env["GUILE_AUTO_COMPILE"] = "1"
    return env


def digest_of_sources():
    digest = 0
    for name in sorted(os.listdir(scheme.folder())):
        with open(os.path.join(scheme.folder(), name), "rb") as file:
            digest = zlib.crc32(file.read(), digest)
    return f"{digest:08x}"


def run(options, arguments, stats=None):
    """(what it printed, seconds from its start to its end, its rusage)."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        began = time.monotonic()
        process = subprocess.Popen(options.interpreter + arguments, stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=environment(options, stats))
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        seconds, process.returncode = time.monotonic() - began, os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        said, complained = out.read(), err.read()
    if process.returncode != 0:
        lines = [line for line in (said + complained).strip().splitlines() if line and not line.startswith((";;;", "WARNING"))]
        how = f"signal {-process.returncode}" if process.returncode < 0 else f"status {process.returncode}"
        raise Failed(f"{lines[-1] if lines else 'it said nothing'} ({how})")
    return said, seconds, {"cpu_s": usage.ru_utime + usage.ru_stime, "peak_rss_mib": usage.ru_maxrss / 1024}


def measured(options, arguments):
    """The same, and a record with what the interpreter says of its memory at its end."""
    with tempfile.TemporaryDirectory() as folder:
        stats = os.path.join(folder, "stats")
        said, seconds, usage = run(options, arguments, stats)
        own = {}
        if os.path.exists(stats):
            with open(stats, encoding="utf-8") as file:
                own = json.load(file)
    record = {"workload": "scheme", "collector": options.collector, "part": options.part, "back_end": own.get("back_end") or "", "process_s": seconds}
    record.update(usage)
    for name in ("gap_max_us", "allocated_mib", "major_cycles", "minor_cycles", "flip_max_us", "traps"):
        if own.get(name) is not None:
            record[name] = own[name]
    if own.get("peak_mib"):
        record["peak_rss_mib"] = own["peak_mib"]
    return said, record


def compiled(options, path):
    """Has guile compile the program into its cache, if it has not yet."""
    if options.collector == "guile":
        mark = os.path.join(environment(options)["XDG_CACHE_HOME"], os.path.basename(path) + ".done")
        if not os.path.exists(mark):
            run(options, [path, "small"] if options.part == "program" else [path, "1", "10", "100", "1"])
            open(mark, "w", encoding="utf-8").close()


def same_for_all(result):
    """A printed result, in which numbers in floating point are written as one writes them here: Schemes differ in that."""
    def number(found):
        word = found.group(0)
        try:
            return word if re.fullmatch("[-+]?[0-9]+", word) else repr(float(word))
        except ValueError:
            return word

    return re.sub(r"[^\s()\"]+", number, result)


def program_record(options):
    path = os.path.join(scheme.folder(), options.program + ".scm")
    compiled(options, path)
    said, record = measured(options, [path] + ([str(options.times)] if options.times else []) + ["time"])
    result = re.search(r"^%s (.*) ok$" % re.escape(options.program), said, re.MULTILINE)
    seconds = re.search(r"^%s time (\S+)$" % re.escape(options.program), said, re.MULTILINE)
    if not result or not seconds:
        raise Failed(f"{options.program}: it printed {said[:200]!r}")
    return dict(record, program=options.program, wall_s=float(seconds.group(1)), check=f"{zlib.crc32(same_for_all(result.group(1)).encode()):08x}")


def loop_record(options):
    path = os.path.join(scheme.folder(), "interactive.scm")
    compiled(options, path)
    said, record = measured(options, [path, f"{options.live:g}", str(options.steps), str(options.period), str(options.idle)] + ([options.detail] if options.detail else []))
    seen = dict(line.split() for line in said.splitlines() if len(line.split()) == 2)
    record["check"] = seen.pop("check")
    record.update((name, float(value)) for name, value in seen.items())
    return record


# ---- Images.

def definitions_of(name):
    """(imports, text) of a program without its imports, its inclusion of run.scm and its call of run-program; what else it includes stands in its place."""
    with open(os.path.join(scheme.folder(), name), encoding="utf-8") as file:
        text = file.read()
    imports = re.search(r"^\(import (.*)\)$", text, re.MULTILINE)
    text = re.sub(r"^\(import .*\)$|^\(include \"run.scm\"\)$", "", text, flags=re.MULTILINE)
    text = re.sub(r"^\(include \"(.*)\"\)$", lambda found: definitions_of(found.group(1))[1], text, flags=re.MULTILINE)
    return imports.group(1) if imports else "", text.partition("\n(run-program ")[0]


def libraries(copies):
    """All programs as libraries, so many times, each of which exports `work`; and an import of all."""
    text, imports = [], []
    for copy in range(1, copies + 1):
        for program in scheme.programs():
            imported, definitions = definitions_of(program + ".scm")
            with open(os.path.join(scheme.folder(), program + ".scm"), encoding="utf-8") as file:
                work = re.search(r"^\(run-program \"[^\"]*\" (\S+) ", file.read(), re.MULTILINE).group(1)
            name = f"(bench {program} {copy})"
            text.append(f"(define-library {name}\n(export (rename {work} work))\n(import {imported})\n(begin\n{definitions}\n))\n")
            imports.append(f"(prefix {name} {program}-{copy}-)")
    return "\n".join(text), "(import (scheme base) (scheme write)\n" + "\n".join(imports) + ")\n"


def timed(options, arguments, expected):
    said, seconds, _ = run(options, arguments)
    if said.strip() != expected:
        raise Failed(f"{' '.join(arguments)} printed {said[:200]!r}, not {expected!r}")
    return seconds * 1e3


def image_record(options):
    text, imports = libraries(options.copies)
    use = f"(display (list (fib-1-work 10) (tak-{options.copies}-work 9 6 3)))\n(newline)\n"
    with tempfile.TemporaryDirectory(dir=options.out) as folder:
        def written(name, text):
            path = os.path.join(folder, name)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            return path

        image = os.path.join(folder, "image")
        whole = written("whole.scm", text + imports + use)
        save = written("save.scm", text + imports + f"(import (veil))\n(checkpoint \"{image}\")\n")
        small = written("use.scm", "(import (scheme base) (scheme write) (prefix (bench fib 1) fib-1-)" +
                        f" (prefix (bench tak {options.copies}) tak-{options.copies}-))\n" + use)
        empty = written("empty.scm", "(import (scheme base) (scheme write))\n(display '(55 6))\n(newline)\n")
        began = time.monotonic()
        _, record = measured(options, [save])
        record["save_ms"] = (time.monotonic() - began) * 1e3
        starts = {"load_ms": [whole], "start_ms": ["--image", image, small], "empty_ms": [empty]}
        seen = {name: [] for name in starts}
        for _ in range(options.starts):
            for name, arguments in starts.items():
                seen[name].append(timed(options, arguments, "(55 6)"))
        record.update((name, statistics.median(times)) for name, times in seen.items())
        return dict(record, lines=len(text.splitlines()), image_mib=os.path.getsize(image) / MIB)


def options_read():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add = parser.add_argument
    add("--part", choices=["program", "loop", "image"], required=True)
    add("--collector", required=True)
    add("--out", required=True)
    add("--back-end")
    add("--program")
    add("--times", type=int)
    add("--live", type=float)
    add("--steps", type=int)
    add("--period", type=int)
    add("--idle", type=int)
    add("--copies", type=int)
    add("--starts", type=int)
    add("--detail")
    words = sys.argv[1:]
    if "--" not in words:
        parser.error("-- and the interpreter are missing")
    # What bench/run adds at the end comes after the interpreter.
    own, interpreter = words[:words.index("--")], words[words.index("--") + 1:]
    if "--detail" in interpreter:
        own, interpreter = own + interpreter[-2:], interpreter[:-2]
    options = parser.parse_args(own)
    options.interpreter = interpreter
    return options


def main():
    options = options_read()
    os.makedirs(options.out, exist_ok=True)
    os.makedirs(environment(options)["XDG_CACHE_HOME"], exist_ok=True)
    try:
        print(json.dumps({"program": program_record, "loop": loop_record, "image": image_record}[options.part](options)))
        return 0
    except (Failed, OSError, ValueError, KeyError) as error:
        print(f"{options.collector}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
