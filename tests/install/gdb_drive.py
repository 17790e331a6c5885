# SPDX-License-Identifier: MIT
# gdb_drive.py: run by gdb. Takes tests/install/stopped.c through a cycle, and compares what the commands of veil-gdb.py say with
# what the program knows. On a core file (there is no `back_end` then): that they say the same as when the process lived.

import json
import re
import sys
import traceback

import gdb


def run(command):
    return gdb.execute(command, to_string=True)


def refused(command, pattern):
    try:
        said = run(command)
    except gdb.error as error:
        said = str(error)
        if re.search(pattern, said):
            return
    raise AssertionError("%s: not refused by %r, but: %s" % (command, pattern, said))


def says(command, *patterns):
    said = run(command)
    for pattern in patterns:
        if not re.search(pattern, said, re.MULTILINE):
            raise AssertionError("%s: %r is not in what it says:\n%s" % (command, pattern, said))
    return said


def stopped_in(function):
    assert gdb.selected_thread() is not None, "the program has ended before " + function
    name = gdb.newest_frame().name()
    assert name == function, "stopped in %s, not in %s" % (name, function)
    run("up")


def value(expression):
    return int(gdb.parse_and_eval(expression).cast(gdb.lookup_type("unsigned long")))


# What is asked of the live process in mid-cycle, and of its core file.
ASKED = ["veil heaps", "veil object items[399]", "veil page items[399]", "veil page items[0]", "veil object original[5]",
         "veil object held_in_place", "veil object kinds.pair", "veil object kinds.array", "veil object kinds.bytes",
         "veil object &kinds.large[19999]", "veil object dead", "veil page dead", "veil roots held_in_place", "veil roots items[7]"]


def before_flip():
    stopped_in("before_flip")
    says("veil heaps", r"^heap 0x[0-9a-f]+: \[0x[0-9a-f]+, 0x[0-9a-f]+\), alias \+0x[0-9a-f]+, %s, idle, cycle 0$" % back_end)
    said = says("veil heap", "idle", "limit 8192 KiB", "scanners 1, active 0", r"BLOCKED.*", r"RUNNING, buffers \[0x[0-9a-f]+, ",
                r"gdb's 1, LWP \d+: RUNNING", "traps 0")
    assert len(re.findall(r"^  thread ", said, re.MULTILINE)) == 2, said
    address = re.search("^heap (0x[0-9a-f]+)", said).group(1)
    assert says("veil heap " + address, "cycle 0") == said
    assert says("veil heap items[3]", "cycle 0") == said
    tree = value("items[3]->tree")
    says("veil object items[3]->tree", "^node at 0x%x, 24 bytes" % tree, "in use; page .* is BLACK, open", "no cycle is under way",
         r"^  \+0: 0x%x node$" % value("items[3]->tree->left"), r"^  \+8: NULL$")
    says("veil object (char *)items[3]->tree + 20", "^node at 0x%x, .*20 bytes into it" % tree)
    says("veil object (char *)items[3]->tree - 3", "^node at 0x%x, .*in its header" % tree)
    alias = int(re.search("alias (0x[0-9a-f]+)", run("veil object items[3]->tree")).group(1), 16)
    says("veil object %d" % alias, "^node at 0x%x" % tree)
    says("veil object kinds.array", r"^pointer\[3\] at", r"^  \+0: NULL", r"^  \+8: 0x%x node$" % value("items[7]->tree"))
    says("veil object kinds.bytes", r"^byte\[100\] at 0x%x, 100 bytes" % value("kinds.bytes"), "leaf: no slots")
    says("veil object kinds.pair", r"^cell at", r"^  \+0: 0x%x node, tag 0x1$" % value("items[3]->tree"), r"^  \+8: 0xaa, no pointer$")
    says("veil object &kinds.large[19999]", r"^pointer\[20000\] at 0x%x, 160000 bytes.*159992 bytes into it" % value("kinds.large"),
         "further slots are not shown")
    says("veil object kinds.flexible", r"^flexible\[5\] at 0x%x, 56 bytes" % value("kinds.flexible"), r"^  \+0: 0x%x node$" % value("items[3]->tree"),
         r"^  \+8: 0x%x node, tag 0x1$" % value("items[3]->tree"), r"^  \+16: NULL$", r"^  \+48: 0x%x cell, tag 0x1$" % value("kinds.pair"))
    says("veil object kinds.aligned + 299", r"^byte\[300\] at 0x%x, 300 bytes" % value("kinds.aligned"), "299 bytes into it", "leaf: no slots")
    says("veil object kinds.aligned_large + 69999", r"^byte\[70000\] at 0x%x, 70000 bytes" % value("kinds.aligned_large"))
    says("veil page &kinds.large[19999]", "large objects, in use", "BLACK")
    says("veil page kinds.bytes", "flags LEAF")
    refused("veil object &chosen", "in no heap")
    refused("veil object", "needs an address")
    refused("veil object %d" % (value("kinds.large") + (1 << 20)), "in no object: page .* is FREE, free")
    says("veil page %d" % (value("kinds.large") + (1 << 20)), "FREE, without memory", "not committed")
    refused("veil heap &chosen", "is no heap")


def before_trap():
    stopped_in("before_trap")
    says("veil heaps", "scanning, cycle 1$")
    says("veil heap", "scanners 1, active 1", "pinned objects 1", r"opened [1-9]\d*, cleaned \d+", "traps 0", "BLOCKED")
    # The scanner stands still in a page that it holds. Most others are grey.
    states = [re.search(r": (\w+), (\w+)$", run("veil page items[%d]" % i).splitlines()[0]).groups() for i in range(400)]
    assert set(states) >= {("BUSY", "veiled"), ("GREY", "veiled"), ("OPEN", "veiled")}, set(states)
    assert states.count(("GREY", "veiled")) > 200, states
    busy, grey = states.index(("BUSY", "veiled")), states.index(("GREY", "veiled"))
    open_ = states.index(("OPEN", "veiled"))
    says("veil page items[%d]" % busy, "claims UNSCANNED; access none; BUSY", "to-space", "closed")
    says("veil page items[%d]" % grey, "claims UNSCANNED; access none; nobody holds it; helpers 0", r"top \d+$")
    says("veil page items[%d]" % open_, r"top \d+$")
    copy, old = value("items[%d]" % grey), value("original[%d]" % grey)
    assert copy != old
    says("veil object items[%d]" % grey, "^item at 0x%x, 248 bytes" % copy, "to-space; page .* is GREY, veiled", "a copy of 0x%x$" % old,
         "slots are reported by item_trace")
    says("veil object original[%d]" % grey, "^item at 0x%x" % old, "from-space; page .* is FROM", "forwarded to 0x%x$" % copy)
    says("veil object held_in_place", "^node at", "from-space", "stays where it is")
    says("veil roots held_in_place", r"thread 1, LWP \d+: stack and registers", "0x[0-9a-f]+: 0x%x node" % value("held_in_place"))
    says("veil object dead", "white: not reached")
    says("veil roots dead", "none found")
    says("veil roots items[%d]" % grey, r"400 slots at items \(0x[0-9a-f]+\)", r"\[%d\] 0x%x item" % (grey, copy))
    says("veil roots", r"7 slots at kinds", r"\[3\] 0x%x pointer\[20000\], from-space: stays where it is" % value("kinds.large"),
         "and 380 more")
    said = run("veil object kinds.pair")
    assert re.search(r"\+0: 0x[0-9a-f]+ node, from-space: (white|forwarded).*, tag 0x1", said) or " BLACK" in said, said
    if back_end == "uffd":  # gdb itself may read what mprotect has veiled
        refused("veil object kinds.large[19999]", "Cannot access memory .* veiled page")
    says("veil page kinds.large", "large objects, from-space", "claims UNSCANNED", "GREY, veiled")
    gdb.execute("set var chosen = %d" % grey)
    with open("said.json", "w") as file:
        json.dump({command: run(command) for command in ASKED}, file)
    run("generate-core-file core.made")
    return grey


def after_trap(grey):
    stopped_in("after_trap")
    says("veil page items[%d]" % grey, "BLACK, open", "claims none; access write", "closed$")
    says("veil heap", r"traps [1-9]", "scanning")
    tree = value("items[%d]->tree" % grey)
    says("veil object %d" % tree, "^node at 0x%x" % tree, "to-space; page .* is BLACK, open", "a copy of 0x",
         r"\+0: 0x%x node$" % value("items[%d]->tree->left" % grey))


def drive():
    run("source " + veil_script)
    assert "none yet" in says("veil setup", "veil: its signals pass")
    for function in ("before_flip", "before_trap", "after_trap", "at_the_end"):
        gdb.Breakpoint(function)
    refused("veil heap", "no heap is open") if gdb.lookup_global_symbol("gc_settle") else refused("veil heap", "no symbol")
    # The heap opens with a proof of the back end, which traps. Nothing stops there.
    run("run %s" % back_end)
    if gdb.selected_thread() is None and "77" in run("print $_exitcode"):
        print("the back end does not work here")
        return
    before_flip()
    wanted = {"uffd": "SIGBUS", "mprotect": "SIGSEGV"}[back_end]
    says("veil setup", wanted, "SIG39")
    run("continue")
    grey = before_trap()
    run("continue")
    after_trap(grey)
    run("continue")
    stopped_in("at_the_end")
    says("veil heaps", "idle, cycle 2$")
    run("continue")
    assert value("$_exitcode") == 0, "the program has not ended well"
    # A fault that is none of veil's stops, whoever handles the signal.
    run("run %s crash %d" % (back_end, grey))
    for breakpoint in gdb.breakpoints():
        if breakpoint.visible and breakpoint.number > 0:
            breakpoint.enabled = False
    run("continue")
    assert gdb.selected_thread() is not None, "a real fault did not stop"
    says("backtrace", "main .*stopped.c")
    gdb.execute("kill")
    print("driven to the end")


def read_core():
    run("source " + veil_script)
    with open("said.json") as file:
        said = json.load(file)
    for command in ASKED:
        live, dead = said[command], run(command)
        # gdb numbers the threads of a core file anew.
        live, dead = (re.sub(r"thread \d+, |gdb's \d+, ", "", text) for text in (live, dead))
        assert live == dead, "%s: was\n%sis\n%s" % (command, live, dead)
    print("core read")


gdb.execute("set confirm off")
gdb.execute("set pagination off")
gdb.execute("set width 0")
gdb.execute("set print thread-events off")
gdb.execute("set startup-with-shell off")
try:
    if "back_end" in globals():
        drive()
    else:
        run("frame function main")
        read_core()
except BaseException:
    traceback.print_exc(file=sys.stdout)
    if gdb.selected_inferior().pid and "back_end" in globals():
        gdb.execute("kill")
