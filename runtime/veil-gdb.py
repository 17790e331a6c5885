# SPDX-License-Identifier: MIT
# veil-gdb.py: gdb commands that look into heaps, of a live process or of a core file.
#
#   veil setup          stops of veil's own are passed on in silence; real faults still stop
#   veil heaps          all heaps
#   veil heap [ADDR]    one heap: phase, memory, free lists, threads
#   veil page ADDR      a page: claims, access, state, its block
#   veil object ADDR    the object that holds an address: type, slots, where it was copied to or from, who keeps it
#   veil roots [ADDR]   registered roots, and what stacks point to; with ADDR, only what leads to that object
#
# Everything is read through the alias, at which nothing traps, and no function of the program is called. Types come from the
# library's debug information (-g; optimised is fine); what C has as macros and enumerations stands below, and
# tests/install/gdb compares it with the headers. A core file has the heap unless bit 1 (anonymous shared
# memory) of /proc/PID/coredump_filter was taken away; it is on by default.

import signal

import gdb

CONSTANTS = {
    # vm/vm.h
    "VM_ABSENT": 1, "VM_UNSAVED": 2, "VM_UNSCANNED": 4, "VM_CLEAN": 8, "VM_BUSY": 16, "VM_WAIT": 32, "VM_SETTLED": 64,
    "VM_ACCESS_READ": 128, "VM_ACCESS_WRITE": 256, "VM_COMMITTED": 512, "VM_HELPER": 1 << 10, "VM_HELPERS": 63 << 10,
    "VM_STAMP": 1 << 16, "VM_STAMPS": 255 << 16, "VM_LAYING": 1 << 24,
    # gc/heap.h
    "GC_BLOCK_SHIFT": 16, "GC_NONE": 0xffffffff, "GC_CLOSED": 1 << 31, "GC_TOP_MASK": (1 << 20) - 1,
    "GC_BLOCK_LEAF": 1, "GC_BLOCK_RETAIN": 2, "GC_BLOCK_FLOOR": 8, "GC_BLOCK_KEPT": 4,
    "GC_IDLE": 0, "GC_FLIPPING": 1, "GC_SCANNING": 2, "GC_SWEEPING": 3,
    # gc/object.h
    "GC_PEER_MASK": 0xffffffff, "GC_EPOCH_SHIFT": 32, "GC_TYPE_SHIFT": 34, "GC_TYPES": 1 << 16, "GC_FILLER": 1,
    "GC_UNIT": 16, "GC_ADDRESS_MASK": 0x0000fffffffffff8, "GC_ARRAY": 1 << 50, "GC_LEAF": 1 << 51, "GC_EXTRA": 1 << 55,
    "GC_LAYOUT_LEAF": 0, "GC_LAYOUT_DENSE": 1, "GC_LAYOUT_MAP": 2, "GC_LAYOUT_TAGGED": 3, "GC_LAYOUT_TRACE": 4,
    "GC_LAYOUT_FLEXIBLE": 5, "GC_FIXED_PLAIN": 1,
    # runtime/runtime.h
    "RT_RUNNING": 0, "RT_STOPPED": 1, "RT_BLOCKED": 2, "RT_PASSING": 4,
}
globals().update(CONSTANTS)

PHASES = {GC_IDLE: "idle", GC_FLIPPING: "flipping", GC_SCANNING: "scanning", GC_SWEEPING: "sweeping"}
STATES = {RT_RUNNING: "RUNNING", RT_STOPPED: "STOPPED", RT_BLOCKED: "BLOCKED"}
SLOTS_SHOWN = 32   # of one object
ROOTS_SHOWN = 20   # of one array of roots, of one stack


# ---- Memory and symbols.

def memory(address, size):
    """Bytes of the process or the core file."""
    try:
        return bytes(gdb.selected_inferior().read_memory(address, size))
    except gdb.MemoryError:
        raise gdb.GdbError("no memory at 0x%x (a core file without shared memory? see coredump_filter)" % address)


def word_at(address, size=8):
    return int.from_bytes(memory(address, size), "little")


def size_text(size):
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 10240 or unit == "GiB":
            return "%d %s" % (size, unit)
        size //= 1024


def address_text(address):
    """The symbol at an address, or the number."""
    symbol = gdb.execute("info symbol 0x%x" % address, to_string=True)
    return "0x%x" % address if symbol.startswith("No symbol") else "%s (0x%x)" % (symbol.split(" in section")[0], address)


def library_symbol(name):
    symbol = gdb.lookup_global_symbol(name)
    if symbol is None:
        raise gdb.GdbError("no symbol %s: does the program use veil, and does the library have debug information (-g)?" % name)
    return symbol


def static_variable(function, name):
    """A static variable of the file that defines the function: the program may have one of the same name."""
    block = library_symbol(function).symtab.static_block()
    for symbol in block:
        if symbol.name == name and symbol.is_variable:
            return symbol.value()
    raise gdb.GdbError("no variable %s beside %s: this script and the library do not belong together" % (name, function))


def type_named(function, name):
    return gdb.lookup_type(name, library_symbol(function).symtab.static_block())


# ---- A heap.

class Heap:
    """A gc_heap, with veil_heap around it if it has one."""

    def __init__(self, region):
        self.region = region
        self.gc = region["config"]["arg"].cast(type_named("gc_open", "gc_heap").pointer()).dereference()
        self.base = int(self.gc["base"])
        self.span = int(self.gc["span"])
        self.delta = int(self.gc["delta"])
        self.page_shift = int(self.gc["page_shift"])
        self.page_size = 1 << self.page_shift
        self.phase = int(self.gc["phase"])
        self.epoch = int(self.gc["epoch"])
        self.cycle = int(self.gc["cycle"])
        self.to_space = int(self.gc["to_space"])
        self.from_space = int(self.gc["from_space"]) if self.phase != GC_IDLE else 0
        self.small_blocks = int(self.gc["small_blocks"])
        world = self.gc["world"]
        self.runtime = None
        buffers = gdb.lookup_global_symbol("rt_world_buffers")
        if buffers is not None and int(world["buffers"]) == int(buffers.value().address):
            self.runtime = world["arg"].cast(type_named("veil_open", "struct veil_heap").pointer()).dereference()

    def address(self):
        return int((self.runtime if self.runtime is not None else self.gc).address)

    def holds(self, address):
        return self.base <= address < self.base + self.span

    def is_alias(self, address):
        return self.holds(address - self.delta)

    def page_of(self, view):
        return (view - self.base) >> self.page_shift

    def block_of(self, view):
        return (view - self.base) >> GC_BLOCK_SHIFT

    def view_of_page(self, page):
        return self.base + (page << self.page_shift)

    # Side tables.
    def page_word(self, page):
        return int(self.region["word"][page])

    def top(self, page):
        return int(self.gc["top"][page])

    def cover(self, page):
        return int(self.gc["cover"][page])

    def space(self, block):
        return int(self.gc["space"][block])

    def flags(self, block):
        return int(self.gc["flags"][block])

    def space_name(self, block):
        space = self.space(block)
        if space == 0:
            return "free"
        if space == self.to_space:
            return "to-space" if self.phase != GC_IDLE else "in use"
        return "from-space" if space == self.from_space else "space %d" % space

    def page_state(self, page):
        """As the table of gc/README.md has it; pages of from-space have no state there but when they are grey."""
        block = page >> (GC_BLOCK_SHIFT - self.page_shift)
        word, top, space = self.page_word(page), self.top(page), self.space(block)
        if space == 0 or top & GC_TOP_MASK == 0:
            return "FREE"
        if word & VM_UNSCANNED:
            if word & VM_BUSY:
                return "BUSY"
            opened = block < self.small_blocks and space == self.to_space and not top & GC_CLOSED
            return "OPEN" if opened and self.is_filled(page) else "GREY"
        return "FROM" if space == self.from_space else "BLACK"

    def is_filled(self, page):
        """Whether a copier has the page as the one it fills."""
        copiers = self.gc["copiers"]
        low, high = copiers.type.range()
        return any(int(copiers[i]["lane"][0]["page"]) == page for i in range(low, high + 1))

    # Objects.
    def type_of(self, header):
        number = (header >> GC_TYPE_SHIFT) & (GC_TYPES - 1)
        if number == GC_FILLER:
            return None
        pointer = library_symbol("gc_types").value()[number]
        if int(pointer) == 0:
            raise gdb.GdbError("0x%016x is no header: there is no type %d" % (header, number))
        return pointer.dereference()

    def cell_size(self, cell, header):
        """`cell` is an address in the view."""
        kind = self.type_of(header)
        if kind is None:
            return (header & GC_PEER_MASK) * GC_UNIT
        extra = GC_UNIT if header & GC_EXTRA else 0
        if header & GC_ARRAY:
            size = 16 + int(kind["fixed"]) + word_at(cell + 8 + self.delta) * int(kind["size"])
            return extra + ((size + GC_UNIT - 1) & ~(GC_UNIT - 1))
        return extra + int(kind["cell"])

    def peer_cell(self, header):
        return self.base + (header & GC_PEER_MASK) * GC_UNIT + 8

    def is_done(self, header):
        return (header >> GC_EPOCH_SHIFT) & 3 == self.epoch

    def find(self, address):
        """The Object whose cell holds a byte of the view, or None."""
        block = self.block_of(address)
        if self.space(block) == 0:
            return None
        if block >= self.small_blocks:
            head = int(self.gc["large_head"][block - self.small_blocks])
            cell = self.base + (head << GC_BLOCK_SHIFT) + int(self.gc["large_lead"][head - self.small_blocks])
            header = word_at(cell + self.delta)
            inside = header != 0 and cell <= address < cell + self.cell_size(cell, header)
            return Object(self, cell, header) if inside else None
        page = self.page_of(address)
        start = self.view_of_page(page)
        at, limit = start + 8, start + (self.top(page) & GC_TOP_MASK)
        if self.cover(page):
            covering = start - (self.cover(page) * GC_UNIT - 8)
            header = word_at(covering + self.delta)
            if header != 0:
                at = covering + self.cell_size(covering, header)
                if address < at:
                    return Object(self, covering, header) if self.type_of(header) is not None else None
        while at <= address and at < limit:
            header = word_at(at + self.delta)
            size = self.cell_size(at, header) if header else GC_UNIT
            if header and address < at + size:
                return Object(self, at, header) if self.type_of(header) is not None else None
            at += size
        return None

    def point_to(self, address):
        """The object that an ambiguous word holds (gc/pin.c): inside, or one past its end."""
        return self.find(address - 1) if self.holds(address - 1) else None


class Object:
    def __init__(self, heap, cell, header):
        self.heap = heap
        self.cell = cell        # in the view
        self.header = header
        self.type = heap.type_of(header)
        self.start = cell + (16 if header & GC_ARRAY else 8)
        self.length = word_at(cell + 8 + heap.delta) if header & GC_ARRAY else None
        self.sized = word_at(cell + int(self.type["cell"]) - 8 + heap.delta) if self.type["sized"] else None

    def bytes(self):
        if self.sized is not None:
            return self.sized
        size = int(self.type["size"])
        return size if self.length is None else int(self.type["fixed"]) + size * self.length

    def title(self):
        name = self.type["name"].string()
        length = self.length if self.sized is None else self.sized
        return name if length is None else "%s[%d]" % (name, length)

    def slots(self):
        """Offsets of the slots, as far as the type tells, and whether each is a plain pointer whatever the encoding."""
        layout, size = int(self.type["layout"]), int(self.type["size"])
        if layout == GC_LAYOUT_DENSE:
            yield from ((offset, True) for offset in range(0, self.bytes(), 8))
        elif layout in (GC_LAYOUT_MAP, GC_LAYOUT_TAGGED, GC_LAYOUT_FLEXIBLE):
            fixed = int(self.type["fixed"])
            for i in range(int(self.type["fixed_count"])):
                offset = int(self.type["fixed_offsets"][i])
                yield offset & ~GC_FIXED_PLAIN, bool(offset & GC_FIXED_PLAIN)
            offsets = [int(self.type["offsets"][i]) for i in range(int(self.type["count"]))]
            for element in range((1 if self.length is None else self.length) if offsets else 0):
                for offset in offsets:
                    yield fixed + element * size + offset, False

    def decode(self, word, plain):
        """Where a slot's word points to, and its tag; None: it is no pointer."""
        if plain or not self.type["tagged"]:
            return word, 0
        high = word >> 48
        tags, low_limit, high_limit = (int(self.type[name]) for name in ("low_tags", "high_min", "high_max"))
        if not (tags >> (word & 7)) & 1 or not low_limit <= high <= high_limit:
            return None
        return word & GC_ADDRESS_MASK, word & ~GC_ADDRESS_MASK & (1 << 64) - 1

    def colour(self):
        """What the cycle under way has decided about the object."""
        heap, block = self.heap, self.heap.block_of(self.cell)
        if heap.phase == GC_IDLE:
            return "live or garbage: no cycle is under way"
        if heap.space(block) != heap.from_space:
            if heap.is_done(self.header) and heap.peer_cell(self.header) != self.cell:
                return "a copy of 0x%x" % self.peer_start()
            return "stays: born or kept in this cycle"
        if not heap.is_done(self.header):
            if self.floor():
                return "stays: born in this cycle, in a buffer from before"
            return "white: not reached yet, or garbage"
        if heap.peer_cell(self.header) == self.cell:
            return "stays where it is: pinned, large, or for want of memory"
        return "forwarded to 0x%x" % self.peer_start()

    def peer_start(self):
        return self.heap.peer_cell(self.header) + (self.start - self.cell)

    def floor(self):
        floors = self.heap.gc["floors"]
        return any(int(floors[i]["base"]) <= self.cell < int(floors[i]["limit"])
                   for i in range(int(self.heap.gc["floor_count"])))


def heaps():
    table = static_variable("vm_region_find", "table")
    settle = library_symbol("gc_settle").value()
    region_type = type_named("vm_region_find", "vm_region").pointer()
    low, high = table.type.range()
    found = []
    for i in range(low, high + 1):
        if int(table[i]["region"]):
            region = gdb.Value(int(table[i]["region"])).cast(region_type).dereference()
            if int(region["config"]["settle"]) == int(settle.address):
                found.append(Heap(region))
    return found


def heap_of(address):
    """The heap in whose view or alias an address lies, and the address in the view."""
    for heap in heaps():
        if heap.holds(address):
            return heap, address
        if heap.is_alias(address):
            return heap, address - heap.delta
    raise gdb.GdbError("0x%x is in no heap" % address)


def argument(text, what):
    if not text.strip():
        raise gdb.GdbError("%s needs an address" % what)
    try:
        return int(gdb.parse_and_eval(text).cast(gdb.lookup_type("unsigned long")))
    except gdb.MemoryError as error:
        raise gdb.GdbError("%s: %s. If that is a veiled page, ask for its object, which shows the slots." % (text, error))


# ---- Descriptions.

def target_text(heap, object_, view):
    """What a reference points to, in a line."""
    if view == 0:
        return "NULL"
    if not heap.holds(view):
        return "0x%x, outside of the heap" % view
    target = heap.find(view)
    if target is None or target.start != view:
        return "0x%x, no start of an object" % view
    state = ""
    if heap.phase != GC_IDLE and heap.space(heap.block_of(view)) == heap.from_space:
        state = ", from-space: " + target.colour()
    return "0x%x %s%s" % (view, target.title(), state)


def page_line(heap, page):
    word = heap.page_word(page)
    claims = [name for name, bit in (("ABSENT", VM_ABSENT), ("UNSAVED", VM_UNSAVED), ("UNSCANNED", VM_UNSCANNED), ("CLEAN", VM_CLEAN))
              if word & bit]
    access = "write" if word & VM_ACCESS_WRITE else "read" if word & VM_ACCESS_READ else "none"
    marks = [name for name, bit in (("BUSY", VM_BUSY), ("WAIT", VM_WAIT), ("SETTLED", VM_SETTLED), ("LAYING", VM_LAYING)) if word & bit]
    return claims, access, marks, (word & VM_HELPERS) // VM_HELPER, (word & VM_STAMPS) // VM_STAMP


def veil_text(heap, page):
    """Whether a mutator's touch of the page would trap."""
    claims, access, _, _, _ = page_line(heap, page)
    if not heap.page_word(page) & VM_COMMITTED:
        return "without memory"
    if "ABSENT" in claims or "UNSCANNED" in claims:
        return "veiled"
    return "open" if access == "write" else "traps at the next %s" % ("write" if access == "read" else "touch")


def describe_page(heap, view):
    page, block = heap.page_of(view), heap.block_of(view)
    claims, access, marks, helpers, stamp = page_line(heap, page)
    top = heap.top(page)
    start = heap.view_of_page(page)
    print("page %d, [0x%x, 0x%x), alias 0x%x: %s, %s" %
          (page, start, start + heap.page_size, start + heap.delta, heap.page_state(page), veil_text(heap, page)))
    print("  claims %s; access %s; %s; helpers %d; stamp %d; %s" %
          (" ".join(claims) or "none", access, " ".join(marks) or "nobody holds it", helpers, stamp,
           "committed" if heap.page_word(page) & VM_COMMITTED else "not committed"))
    covering = "; covered by the object at 0x%x" % (start - (heap.cover(page) * GC_UNIT - 8)) if heap.cover(page) else ""
    print("  top %d%s%s" % (top & GC_TOP_MASK, " closed" if top & GC_CLOSED else "", covering))
    flags = [name for name, bit in (("LEAF", GC_BLOCK_LEAF), ("RETAIN", GC_BLOCK_RETAIN), ("KEPT", GC_BLOCK_KEPT), ("FLOOR", GC_BLOCK_FLOOR))
             if heap.flags(block) & bit]
    kind = "large objects" if block >= heap.small_blocks else "small objects"
    print("  block %d, %s, %s; flags %s; last freed in cycle %d" %
          (block, kind, heap.space_name(block), " ".join(flags) or "none", int(heap.gc["died"][block])))


def describe_object(heap, view, address):
    found = heap.find(view)
    page = heap.page_of(view)
    if found is None:
        raise gdb.GdbError("0x%x is in no object: page %d is %s, %s" %
                           (address, page, heap.page_state(page), heap.space_name(heap.block_of(view))))
    offset = view - found.start
    where = "" if offset == 0 else " (0x%x is %s)" % (address, "in its header" if offset < 0 else "%d bytes into it" % offset)
    print("%s at 0x%x, %d bytes, alias 0x%x%s" % (found.title(), found.start, found.bytes(), found.start + heap.delta, where))
    first = heap.page_of(found.start)
    print("  %s; page %d is %s, %s" % (heap.space_name(heap.block_of(found.cell)), first, heap.page_state(first), veil_text(heap, first)))
    print("  %s" % found.colour())
    if any(heap.page_word(p) & VM_ABSENT for p in range(page, heap.page_of(found.start + max(found.bytes() - 1, 0)) + 1)):
        print("  a service has contents of it away (ABSENT)")
    describe_slots(heap, found)


def describe_slots(heap, found):
    layout = int(found.type["layout"])
    if layout == GC_LAYOUT_LEAF:
        print("  leaf: no slots")
        return
    if layout == GC_LAYOUT_TRACE:
        print("  slots are reported by %s" % address_text(int(found.type["trace"])))
        return
    for shown, (offset, plain) in enumerate(found.slots()):
        if shown == SLOTS_SHOWN:
            print("  … further slots are not shown")
            return
        word = word_at(found.start + offset + heap.delta)
        decoded = found.decode(word, plain)
        if decoded is None:
            text = "0x%x, no pointer" % word
        else:
            text = target_text(heap, found, decoded[0]) + (", tag 0x%x" % decoded[1] if decoded[1] else "")
        print("  +%d: %s" % (offset, text))


def used_bytes(heap):
    return (int(heap.gc["used_blocks"]) << GC_BLOCK_SHIFT) + int(heap.gc["large_bytes"])


def next_cycle_bytes(gc):
    """Used bytes at which the next cycle starts (gc/pace.c), as long as nothing changes outside of the heap."""
    live, external, config = int(gc["live_bytes"]), int(gc["external_base"]), gc["config"]
    wish = (live + external) * (100 + int(config["growth"])) // 100 + int(config["headroom"]) - int(gc["external_bytes"])
    return max(0, min(wish, int(gc["most_bytes"]), int(gc["soft_bytes"])))


def describe_heap_line(heap):
    back_end = heap.region["back_end"]["name"].string()
    print("heap 0x%x: [0x%x, 0x%x), alias +0x%x, %s, %s, cycle %d" %
          (heap.address(), heap.base, heap.base + heap.span, heap.delta, back_end, PHASES.get(heap.phase, "?"), heap.cycle))


def describe_heap(heap):
    gc = heap.gc
    describe_heap_line(heap)
    print("  used %s, live after the last cycle %s, held %s, limit %s, next cycle at %s" %
          tuple(size_text(n) for n in (used_bytes(heap), int(gc["live_bytes"]), int(gc["committed_bytes"]), int(gc["limit"]),
                                       next_cycle_bytes(gc))))
    print("  pages of %d bytes: opened %d, cleaned %d; traps %d; pinned objects %d, kept blocks %d" %
          tuple(int(n) for n in (heap.page_size, gc["opened"], gc["cleaned"], heap.region["traps_count"], gc["pinned_objects"],
                                 gc["kept_blocks"])))
    lists = (("empty", gc["empty"]), ("ready", gc["ready"]), ("open", gc["open_free"]), ("veiled", gc["veiled_free"]),
             ("partial", gc["partial"][0]), ("partial leaf", gc["partial"][1]), ("grey", gc["grey"]), ("large grey", gc["large_grey"]))
    print("  blocks: " + ", ".join("%s %d" % (name, int(stack["count"])) for name, stack in lists))
    if heap.runtime is None:
        return
    runtime = heap.runtime
    print("  scanners %d, active %d; stop %s" %
          (int(runtime["scanner_count"]), int(runtime["scanners_active"]), "wanted" if int(runtime["stopping"]) else "not wanted"))
    for thread in threads(heap):
        number = gdb_thread(thread)
        print("  thread 0x%x%s, LWP %d: %s%s%s, buffers %s" %
              (int(thread.address), ", gdb's %d" % number.num if number else "", int(thread["tid"]), STATES.get(int(thread["state"]) & ~RT_PASSING, "?"),
               ", critical" if int(thread["critical"]) else "", ", bracketed" if int(thread["bracketed"]) else "",
               " ".join("[0x%x, 0x%x)" % (int(thread["open"]["tlab"][i]["free"]), int(thread["open"]["tlab"][i]["limit"])) for i in range(2))))


def threads(heap):
    at = heap.runtime["threads"]
    while int(at):
        yield at.dereference()
        at = at["next"]


def gdb_thread(thread):
    for candidate in gdb.selected_inferior().threads():
        if candidate.ptid[1] == int(thread["tid"]):
            return candidate
    return None


def describe_roots(heap, wanted):
    """wanted: an Object, or None for all."""
    shown = False
    at = heap.runtime["roots"]
    while int(at):
        roots = at.dereference()
        if int(roots["slots"]):
            shown |= describe_slot_roots(heap, int(roots["slots"]), int(roots["count"]), wanted)
        elif wanted is None:
            print("  callback %s, argument 0x%x" % (address_text(int(roots["fn"])), int(roots["arg"])))
            shown = True
        at = roots["next"]
    for thread in threads(heap):
        shown |= describe_stack(heap, thread, wanted)
    if not shown:
        print("  none found" + (": it may be reached by other objects, or by a callback" if wanted else ""))


def describe_slot_roots(heap, slots, count, wanted):
    words = memory(slots, 8 * count)
    lines = []
    for i in range(count):
        view = int.from_bytes(words[8 * i:8 * i + 8], "little")
        if view and heap.holds(view) and (wanted is None or view == wanted.start):
            lines.append("    [%d] %s" % (i, target_text(heap, None, view)))
    if wanted is None or lines:
        print("  %d slots at %s" % (count, address_text(slots)))
    show(lines)
    return wanted is None or bool(lines)


def describe_stack(heap, thread, wanted):
    """What the words of a thread's stack and registers hold in place at a flip."""
    other = gdb_thread(thread)
    if other is None:
        return False
    selected, frame = gdb.selected_thread(), gdb.selected_frame()
    other.switch()
    try:
        newest = gdb.newest_frame()
        sp = int(newest.read_register("rsp"))
        words = [("$" + name, int(newest.read_register(name)) & (1 << 64) - 1)
                 for name in ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")]
    finally:
        selected.switch()
        frame.select()
    base = int(thread["stack_base"])
    if int(thread["stack_low"]) <= sp < base:
        stack = memory(sp, base - sp)
        words += [("0x%x" % (sp + i), int.from_bytes(stack[i:i + 8], "little")) for i in range(0, len(stack) - 7, 8)]
    lines, seen = [], set()
    for name, word in words:
        found = heap.point_to(word)
        if found is not None and found.cell not in seen and (wanted is None or wanted.cell == found.cell):
            seen.add(found.cell)
            lines.append("    %s: 0x%x %s" % (name, found.start, found.title()))
    if wanted is None or lines:
        print("  thread %d, LWP %d: stack and registers" % (other.num, int(thread["tid"])))
    show(lines)
    return wanted is None or bool(lines)


def show(lines):
    for line in lines[:ROOTS_SHOWN]:
        print(line)
    if len(lines) > ROOTS_SHOWN:
        print("    … and %d more" % (len(lines) - ROOTS_SHOWN))


# ---- Commands.

class VeilCommand(gdb.Command):
    """Look into veil's heaps: veil setup, heaps, heap, page, object, roots."""

    def __init__(self):
        super().__init__("veil", gdb.COMMAND_DATA, prefix=True)


class SetupCommand(gdb.Command):
    """veil setup: lets veil's own signals pass.
The faults by which veiled pages trap, and the signals that stop threads, reach the program without a stop or a word: of heaps
that are open, and of those that will be. Signals that veil does not handle are left alone. A fault that is none of veil's
stops where veil hands it on, unless the program has a handler for it. `handle SIGSEGV stop print` takes it back for a signal."""

    watches = []

    def __init__(self):
        super().__init__("veil setup", gdb.COMMAND_RUNNING)

    def invoke(self, text, from_tty):
        try:
            for signo in signals_handled():
                signal_pass(signo)
        except gdb.GdbError:
            pass  # a shared library that is not there yet: the watches wait for it
        if not any(watch.is_valid() for watch in SetupCommand.watches):
            SetupCommand.watches = [Installing("vm_trap_install"), Installing("rt_stop_install"), Dying("die_as_before")]
        print("veil: its signals pass in silence: %s" % (" ".join(sorted(passed)) or "none yet, until a heap opens"))


passed = set()


def signal_pass(signo):
    name = "SIG%d" % signo if signo >= 32 else signal.Signals(signo).name
    gdb.execute("handle %s nostop noprint pass" % name, to_string=True)
    passed.add(name)


def signals_handled():
    """What veil has handlers for now."""
    handled = static_variable("vm_trap_install", "handled")
    low, high = handled.type.range()
    found = [int(handled[i]["signo"]) for i in range(low, high + 1) if int(handled[i]["installed"])]
    return found + [int(heap.runtime["options"]["stop_signal"]) for heap in heaps() if heap.runtime is not None]


class Installing(gdb.Breakpoint):
    """A function of veil's that installs a handler for its argument, a signal. Pending while the library is not there."""

    def __init__(self, function):
        super().__init__(function, internal=True)

    def stop(self):
        signal_pass(int(gdb.selected_frame().read_var("signo")))
        return False


class Dying(gdb.Breakpoint):
    """Where veil's handler hands on a fault that is not its own and that nobody else handles. The name is not veil's alone."""

    def __init__(self, function):
        super().__init__("-function " + function, internal=True)

    def stop(self):
        frame, names = gdb.newest_frame(), []
        while frame is not None and len(names) < 8:
            names.append(frame.name())
            frame = frame.older()
        if "on_fault" not in names:
            return False
        print("veil: this fault is none of veil's, and nobody handles it: it lies above <signal handler called>")
        return True


class HeapsCommand(gdb.Command):
    """veil heaps: all heaps of the process, a line each."""

    def __init__(self):
        super().__init__("veil heaps", gdb.COMMAND_DATA)

    def invoke(self, text, from_tty):
        found = heaps()
        for heap in found:
            describe_heap_line(heap)
        if not found:
            print("no heap is open")


class HeapCommand(gdb.Command):
    """veil heap [ADDR]: a heap's phase, memory, lists of free blocks, and threads with their states.
ADDR is the veil_heap, or any address in the heap; it may be left out if there is one heap."""

    def __init__(self):
        super().__init__("veil heap", gdb.COMMAND_DATA)

    def invoke(self, text, from_tty):
        for heap in chosen(text):
            describe_heap(heap)


def chosen(text):
    """The heap that an argument names; all without one."""
    found = heaps()
    if not text.strip():
        if not found:
            raise gdb.GdbError("no heap is open")
        return found
    address = argument(text, "veil heap")
    for heap in found:
        if address == heap.address() or address == int(heap.gc.address) or heap.holds(address) or heap.is_alias(address):
            return [heap]
    raise gdb.GdbError("0x%x is no heap, and in none" % address)


class PageCommand(gdb.Command):
    """veil page ADDR: the page of an address: state, claims, access, who holds it, and its block."""

    def __init__(self):
        super().__init__("veil page", gdb.COMMAND_DATA)

    def invoke(self, text, from_tty):
        heap, view = heap_of(argument(text, "veil page"))
        describe_page(heap, view)


class ObjectCommand(gdb.Command):
    """veil object ADDR: the object that contains an address, in the view or the alias: its type, where it stands in the
cycle, and its slots. Reads through the alias: nothing traps."""

    def __init__(self):
        super().__init__("veil object", gdb.COMMAND_DATA)

    def invoke(self, text, from_tty):
        address = argument(text, "veil object")
        heap, view = heap_of(address)
        describe_object(heap, view, address)


class RootsCommand(gdb.Command):
    """veil roots [ADDR]: registered roots, and the objects that stacks and registers point to.
With ADDR only those that lead straight to the object there. Vector registers and alternate stacks are not looked at."""

    def __init__(self):
        super().__init__("veil roots", gdb.COMMAND_DATA)

    def invoke(self, text, from_tty):
        if text.strip():
            address = argument(text, "veil roots")
            heap, view = heap_of(address)
            wanted = heap.find(view)
            if wanted is None:
                raise gdb.GdbError("0x%x is in no object" % address)
            where = [heap]
        else:
            wanted, where = None, heaps()
        for heap in where:
            if heap.runtime is not None:
                describe_heap_line(heap)
                describe_roots(heap, wanted)


for command in (VeilCommand, SetupCommand, HeapsCommand, HeapCommand, PageCommand, ObjectCommand, RootsCommand):
    command()
