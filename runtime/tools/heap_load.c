// SPDX-License-Identifier: MIT
// heap_load.c: from a dump's streams to tables: types, threads, roots, and objects as numbers with references between
// them.
//
// An object's number is its place in the order of addresses: a bit says where one begins, and counting bits is all it
// takes to find the number of an address, or the address of a number, so neither costs memory per object. The streams
// are read three times: for the bits, for what each object is and how many references it has, and for the references.

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "runtime/tools/heap.h"

enum { AREA_SHIFT = 16 };

static heap_cursor the_section(const heap_dump *d, dump_section kind, const char *what) {
  heap_cursor c;
  size_t from = 0;
  if (!heap_section(d, kind, &from, &c)) {
    heap_fail(d, "is damaged: there is no section of %s", what);
  }
  return c;
}

static void section_end(heap_cursor *c, const char *what) {
  if (heap_more(c)) {
    heap_fail(c->d, "is damaged: more stands in the section of %s than should", what);
  }
}

// Room for one more, twice as much when it is full.
static void *grown(const heap_dump *d, void *old, size_t count, size_t bytes) {
  if (count != 0 && (count & (count - 1)) != 0) {
    return old;
  }
  void *larger = realloc(old, (count != 0 ? 2 * count : 1) * bytes);
  if (larger == NULL) {
    heap_fail(d, "no memory for %zu entries of a table", count);
  }
  return larger;
}

static void info_load(heap_dump *d) {
  heap_cursor c = the_section(d, DUMP_INFO, "information");
  heap_info *i = &d->info;
  uint64_t *const fields[] = {&i->base,  &i->span,    &i->page_size, &i->cycle,   &i->minor,    &i->used,
                              &i->flags, &i->time_ns, &i->pid,       &i->stop_ns, &i->waited_ns};
  for (size_t n = 0; n < sizeof fields / sizeof *fields; n++) {
    *fields[n] = heap_get(&c);
  }
  i->back_end = heap_get_text(&c);
  i->program = heap_get_text(&c);
  section_end(&c, "information");
  if (i->base % ((uint64_t)1 << AREA_SHIFT) != 0 || i->span == 0 || i->span > ((uint64_t)1 << 44) ||
      i->base > ((uint64_t)1 << 56)) {
    heap_fail(d, "is damaged: no heap is at [0x%llx, +0x%llx)", (unsigned long long)i->base,
              (unsigned long long)i->span);
  }
}

static void type_check(const heap_dump *d, const heap_type *t) {
  bool fixed =
      t->layout == DUMP_DENSE || t->layout == DUMP_MAP || t->layout == DUMP_TAGGED || t->layout == DUMP_FLEXIBLE;
  bool wrong = t->size > ((uint64_t)1 << 32) || t->fixed > ((uint64_t)1 << 32) ||
               (t->layout == DUMP_DENSE && (t->size < 8 || t->size % 8 != 0 || t->fixed != 0)) ||
               (t->fixed_count != 0 && t->layout != DUMP_FLEXIBLE) ||
               (t->sized && (t->layout != DUMP_LEAF || t->fixed != 0));
  for (uint32_t i = 0; i < t->count && !wrong; i++) {
    wrong = fixed && (t->size < 8 || t->offsets[i] > t->size - 8);
  }
  for (uint32_t i = 0; i < t->fixed_count && !wrong; i++) {
    wrong = t->fixed < 8 || t->fixed_offsets[i] > t->fixed - 8;
  }
  if (wrong || (fixed && (t->count > t->size / 8 || t->fixed_count > t->fixed / 8))) {
    heap_fail(d, "is damaged: type %s has no layout that could be", t->name);
  }
}

static uint64_t *offsets_load(const heap_dump *d, heap_cursor *c, uint32_t *count) {
  uint64_t n = heap_get(c);
  if (n > d->size) {
    heap_fail(d, "is damaged: a type has %llu slots", (unsigned long long)n);
  }
  uint64_t *offsets = heap_memory(d, n, sizeof *offsets);
  for (uint64_t i = 0; i < n; i++) {
    offsets[i] = heap_get(c);
    offsets[i] = offsets[i] > UINT32_MAX ? UINT64_MAX : 8 * offsets[i];
  }
  *count = (uint32_t)n;
  return offsets;
}

// Bytes that are aligned are of many types, one for each size, and no arrays; who asks knows them as arrays of bytes,
// like those that are not aligned.
static void sorts_set(heap_dump *d) {
  for (uint32_t id = 0; id < HEAP_TYPES; id++) {
    d->types[id].counts_as = id;
  }
  for (uint32_t id = 0; id < HEAP_TYPES; id++) {
    const heap_type *t = &d->types[id];
    uint32_t as = t->sized ? 0 : id;
    while (as != id && (d->types[as].name == NULL || strcmp(d->types[as].name, t->name) != 0)) {
      as++;
    }
    d->types[id].counts_as = as;
  }
}

static void types_load(heap_dump *d) {
  heap_cursor c = the_section(d, DUMP_TYPES, "types");
  while (heap_more(&c)) {
    uint64_t id = heap_get(&c), size = heap_get(&c), layout = heap_get(&c);
    if (id >= HEAP_TYPES || d->types[id].name != NULL || layout >= DUMP_LAYOUTS) {
      heap_fail(d, "is damaged: type %llu is there twice, or cannot be", (unsigned long long)id);
    }
    heap_type *t = &d->types[id];
    t->size = size;
    t->layout = (dump_layout)layout;
    t->offsets = offsets_load(d, &c, &t->count);
    t->fixed = heap_get(&c);
    t->fixed_offsets = offsets_load(d, &c, &t->fixed_count);
    t->sized = heap_get(&c) != 0;
    t->name = heap_get_text(&c);
    type_check(d, t);
  }
  sorts_set(d);
}

static void threads_load(heap_dump *d) {
  heap_cursor c = the_section(d, DUMP_THREADS, "threads");
  while (heap_more(&c)) {
    d->threads = grown(d, d->threads, d->thread_count, sizeof *d->threads);
    heap_thread *t = &d->threads[d->thread_count++];
    t->tid = heap_get(&c);
    t->state = heap_get(&c);
    t->stack_low = heap_get(&c);
    t->stack_base = heap_get(&c);
    t->sp = heap_get(&c);
    t->name = heap_get_text(&c);
  }
}

static void names_load(heap_dump *d) {
  heap_cursor c = the_section(d, DUMP_NAMES, "names");
  while (heap_more(&c)) {
    d->names = grown(d, d->names, d->name_count, sizeof *d->names);
    heap_name *n = &d->names[d->name_count++];
    n->address = heap_get(&c);
    n->text = heap_get_text(&c);
  }
}

const char *heap_name_of(const heap_dump *d, uint64_t address) {
  for (size_t i = 0; i < d->name_count; i++) {
    if (d->names[i].address == address) {
      return d->names[i].text;
    }
  }
  return NULL;
}

// ---- Objects: their places.

static uint64_t plain_of(const heap_object *o) { return o->address - (o->flags & HEAP_ARRAY ? 8 : 0); }

static void place_note(void *arg, const heap_object *o) {
  heap_dump *d = arg;
  uint64_t offset = plain_of(o) - d->info.base, area = offset >> AREA_SHIFT,
           unit = (offset & ((1 << AREA_SHIFT) - 1)) / 16;
  if (d->area_of[area] == 0) {
    d->areas = grown(d, d->areas, d->area_count, sizeof *d->areas);
    memset(&d->areas[d->area_count], 0, sizeof *d->areas);
    d->area_of[area] = ++d->area_count;
  }
  struct heap_kib *kib = &d->areas[d->area_of[area] - 1].kib[unit / 64];
  uint64_t bit = (uint64_t)1 << unit % 64;
  if (kib->begins & bit) {
    heap_fail(d, "is damaged: two objects begin at 0x%llx", (unsigned long long)o->address);
  }
  kib->begins |= bit;
  kib->arrays |= o->flags & HEAP_ARRAY ? bit : 0;
  if (++d->objects >= HEAP_NONE - 1) {
    heap_fail(d, "has more objects than this program can number");
  }
}

static void places_count(heap_dump *d) {
  d->area_first = heap_memory(d, (uint64_t)d->area_count + 1, sizeof *d->area_first);
  d->area_at = heap_memory(d, d->area_count, sizeof *d->area_at);
  // Areas in the order of addresses, which is not that in which they were met.
  heap_area *sorted = heap_memory(d, d->area_count, sizeof *sorted);
  uint32_t n = 0, objects = 0;
  uint64_t limit = (d->info.span >> AREA_SHIFT) + 1;
  for (uint64_t a = 0; a < limit; a++) {
    if (d->area_of[a] != 0) {
      sorted[n] = d->areas[d->area_of[a] - 1];
      d->area_at[n] = (uint32_t)a;
      d->area_first[n] = objects;
      uint32_t within = 0;
      for (int w = 0; w < 64; w++) {
        sorted[n].kib[w].before = within;
        within += (uint32_t)__builtin_popcountll(sorted[n].kib[w].begins);
      }
      objects += within;
      d->area_of[a] = ++n;
    }
  }
  d->area_first[n] = objects;
  free(d->areas);
  d->areas = sorted;
}

// Of the object that begins at a plain address; whether it is an array.
static inline uint32_t number_of(const heap_dump *d, uint64_t plain, bool *array) {
  uint64_t offset = plain - d->info.base;
  if (offset >= d->info.span || d->area_of[offset >> AREA_SHIFT] == 0) {
    return HEAP_NONE;
  }
  uint32_t n = d->area_of[offset >> AREA_SHIFT] - 1;
  uint32_t unit = (uint32_t)(offset & ((1 << AREA_SHIFT) - 1)) / 16;
  const struct heap_kib *kib = &d->areas[n].kib[unit / 64];
  uint64_t bit = (uint64_t)1 << unit % 64;
  if (!(kib->begins & bit)) {
    return HEAP_NONE;
  }
  *array = kib->arrays & bit;
  return d->area_first[n] + (uint32_t)kib->before + (uint32_t)__builtin_popcountll(kib->begins & (bit - 1));
}

static uint64_t plain_at(const heap_dump *d, uint32_t object) {
  uint32_t low = 0, high = d->area_count; // the last area whose first is not behind it
  while (high - low > 1) {
    uint32_t middle = low + (high - low) / 2;
    if (d->area_first[middle] <= object) {
      low = middle;
    } else {
      high = middle;
    }
  }
  const heap_area *area = &d->areas[low];
  uint32_t rest = object - d->area_first[low];
  int w = 63;
  while (area->kib[w].before > rest) {
    w--;
  }
  uint64_t bits = area->kib[w].begins;
  for (rest -= (uint32_t)area->kib[w].before; rest != 0; rest--) {
    bits &= bits - 1;
  }
  return d->info.base + ((uint64_t)d->area_at[low] << AREA_SHIFT) +
         ((uint64_t)w * 64 + (uint64_t)__builtin_ctzll(bits)) * 16;
}

uint64_t heap_address(const heap_dump *d, uint32_t object) {
  return plain_at(d, object) + (d->what[object] & HEAP_ARRAY ? 8 : 0);
}

uint32_t heap_find(const heap_dump *d, uint64_t address) {
  bool array = false;
  uint32_t object = number_of(d, address & ~(uint64_t)15, &array);
  return (address & 15) == (array ? 8 : 0) ? object : HEAP_NONE;
}

uint32_t heap_find_in(const heap_dump *d, uint64_t address) {
  uint32_t low = 0, high = d->objects;
  while (high - low > 1) {
    uint32_t middle = low + (high - low) / 2;
    if (heap_address(d, middle) <= address) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return d->objects != 0 && address - heap_address(d, low) < heap_object_bytes(d, low) ? low : HEAP_NONE;
}

uint64_t heap_length(const heap_dump *d, uint32_t object) {
  if (d->length[object] != HEAP_NONE) {
    return d->length[object];
  }
  for (size_t i = 0; i < d->longer_count; i++) {
    if (d->longer[i].object == object) {
      return d->longer[i].length;
    }
  }
  return 0;
}

uint64_t heap_object_bytes(const heap_dump *d, uint32_t object) {
  return heap_bytes_of(heap_type_of(d, object), d->what[object], heap_length(d, object));
}

// ---- Objects: what they are.

typedef struct filling {
  heap_dump *d;
  uint32_t object; // that is being read
} filling;

static void object_note(void *arg, const heap_object *o) {
  filling *f = arg;
  heap_dump *d = f->d;
  f->object = heap_find(d, o->address);
  d->what[f->object] = o->type | o->flags;
  d->length[f->object] = o->length < HEAP_NONE ? (uint32_t)o->length : HEAP_NONE;
  if (o->length >= HEAP_NONE) {
    d->longer = grown(d, d->longer, d->longer_count, sizeof *d->longer);
    d->longer[d->longer_count].object = f->object;
    d->longer[d->longer_count++].length = o->length;
  }
  d->all_bytes += o->bytes;
}

static void reference_count(void *arg, const heap_object *o, uint64_t offset, uint64_t to) {
  (void)o, (void)offset, (void)to;
  filling *f = arg;
  f->d->first[f->object + 1]++;
}

static void object_again(void *arg, const heap_object *o) {
  filling *f = arg;
  f->object = heap_find(f->d, o->address);
}

static void reference_note(void *arg, const heap_object *o, uint64_t offset, uint64_t to) {
  (void)o, (void)offset;
  filling *f = arg;
  heap_dump *d = f->d;
  uint32_t object = heap_find(d, to);
  if (object == HEAP_NONE) {
    d->dangling++;
    object = f->object; // it was counted: a reference to itself changes nothing
  }
  d->target[d->first[f->object]++] = object;
}

// ---- Roots.

static void holders_load(heap_dump *d) {
  heap_cursor c = the_section(d, DUMP_HOLDERS, "holders");
  while (heap_more(&c)) {
    d->holders = grown(d, d->holders, d->holder_count, sizeof *d->holders);
    heap_holder *h = &d->holders[d->holder_count++];
    uint64_t kind = heap_get(&c);
    h->owner = heap_get(&c);
    if (kind == DUMP_BY_NOTHING || kind >= DUMP_BY_COUNT) {
      heap_fail(d, "is damaged: a root is of kind %llu", (unsigned long long)kind);
    }
    h->kind = (uint32_t)kind;
  }
}

static void roots_load(heap_dump *d) {
  heap_cursor c = the_section(d, DUMP_ROOTS, "roots");
  uint64_t where = 0, object = 0, holder = 0;
  while (heap_more(&c)) {
    uint64_t next = heap_get(&c);
    if (next >= d->holder_count || next < holder || d->root_count >= HEAP_NONE / 2) {
      heap_fail(d, "is damaged: root %u has no holder", d->root_count);
    }
    holder = next;
    d->roots = grown(d, d->roots, d->root_count, sizeof *d->roots);
    heap_root *r = &d->roots[d->root_count];
    where += (uint64_t)heap_get_signed(&c);
    object += (uint64_t)heap_get_signed(&c) * 8;
    *r = (heap_root){
        .holder = (uint32_t)holder, .where = where, .inside = heap_get_signed(&c), .object = heap_find(d, object)};
    if (r->object != HEAP_NONE) {
      d->root_count++;
    } else {
      d->dangling++;
    }
  }
}

static void links_load(heap_dump *d) {
  heap_cursor c = the_section(d, DUMP_LINKS, "weak references");
  while (heap_more(&c)) {
    uint64_t kind = heap_get(&c), owner = heap_get(&c), object = heap_get(&c);
    if (kind != DUMP_LINK_WEAK && kind != DUMP_LINK_FINALIZER) {
      heap_fail(d, "is damaged: a weak reference is of kind %llu", (unsigned long long)kind);
    }
    d->links = grown(d, d->links, d->link_count, sizeof *d->links);
    d->links[d->link_count++] = (heap_link){(uint32_t)kind, owner, heap_find(d, object)};
  }
}

// ---- The graph.

static void graph_make(heap_dump *d) {
  uint64_t extra = (uint64_t)d->holder_count + DUMP_BY_COUNT + 1, nodes = d->objects + extra;
  if (nodes >= HEAP_NONE) {
    heap_fail(d, "has more roots than this program can number");
  }
  d->nodes = (uint32_t)nodes;
  d->first = heap_memory(d, nodes + 2, sizeof *d->first);
  d->what = heap_memory(d, d->objects, sizeof *d->what);
  d->length = heap_memory(d, d->objects, sizeof *d->length);
  filling f = {d, 0};
  heap_objects_visit(d, object_note, reference_count, &f);
  uint64_t sum = 0;
  for (uint64_t n = 0; n <= d->objects; n++) {
    sum += d->first[n];
    if (sum >= HEAP_NONE - 2 * (uint64_t)d->holder_count - 1000) {
      heap_fail(d, "has more references than this program can number");
    }
    d->first[n] = (uint32_t)sum;
  }
  roots_load(d);
  if (sum + d->root_count + extra >= HEAP_NONE) {
    heap_fail(d, "has more roots than this program can number");
  }
  d->target = heap_memory(d, sum + d->root_count + extra, sizeof *d->target);
  heap_say(d, "%u objects, %llu references", d->objects, (unsigned long long)sum);
  heap_objects_visit(d, object_again, reference_note, &f); // first[n] is now where first[n + 1] was
  memmove(d->first + 1, d->first, d->objects * sizeof *d->first);
  d->first[0] = 0;
  d->edges = (uint32_t)sum;
}

// Holders hold their roots, kinds their holders, and one holds the kinds.
static void holders_add(heap_dump *d) {
  uint32_t at = d->edges, root = 0;
  for (uint32_t h = 0; h < d->holder_count; h++) {
    d->first[heap_holder_node(d, h)] = at;
    for (; root < d->root_count && d->roots[root].holder == h; root++) {
      d->target[at++] = d->roots[root].object;
    }
  }
  for (uint32_t kind = 0; kind < DUMP_BY_COUNT; kind++) {
    d->first[heap_kind_node(d, kind)] = at;
    for (uint32_t h = 0; h < d->holder_count; h++) {
      if (d->holders[h].kind == kind) {
        d->target[at++] = heap_holder_node(d, h);
      }
    }
  }
  // Of two ways of one length the first is found: by what was meant to hold, rather than by a word that happens to
  // stand on a stack.
  static const uint8_t order[DUMP_BY_COUNT - 1] = {
      DUMP_BY_NAME,  DUMP_BY_SLOTS, DUMP_BY_THREAD_SLOTS, DUMP_BY_CALLBACK_SLOT, DUMP_BY_HANDLE,
      DUMP_BY_PIN,   DUMP_BY_VARIABLE,     DUMP_BY_THREAD_LOCAL,  DUMP_BY_COROUTINE_SLOT,
      DUMP_BY_START, DUMP_BY_CALLBACK,     DUMP_BY_SYSTEM_CALL,   DUMP_BY_FINALIZER_QUEUE,
      DUMP_BY_STACK, DUMP_BY_COROUTINE,    DUMP_BY_REGISTERS,     DUMP_BY_COROUTINE_REGISTERS};
  d->first[heap_root_node(d)] = at;
  for (uint32_t i = 0; i < DUMP_BY_COUNT - 1; i++) {
    d->target[at++] = heap_kind_node(d, order[i]);
  }
  d->first[d->nodes] = at;
  d->edges = at;
}

static void end_check(heap_dump *d) {
  heap_cursor c = the_section(d, DUMP_END, "the end");
  uint64_t objects = heap_get(&c), references = heap_get(&c), bytes = heap_get(&c);
  (void)references;
  if (objects != d->objects || bytes != d->all_bytes) {
    heap_fail(d, "is damaged: it has %u objects of %llu bytes, and says %llu of %llu", d->objects,
              (unsigned long long)d->all_bytes, (unsigned long long)objects, (unsigned long long)bytes);
  }
}

void heap_load(heap_dump *d, const char *path) {
  heap_file_open(d, path);
  info_load(d);
  types_load(d);
  threads_load(d);
  names_load(d);
  holders_load(d);
  d->area_of = heap_memory(d, (d->info.span >> AREA_SHIFT) + 2, sizeof *d->area_of);
  heap_say(d, "reading objects");
  heap_objects_visit(d, place_note, NULL, d);
  places_count(d);
  graph_make(d);
  holders_add(d);
  links_load(d);
  heap_entries_load(d);
  end_check(d);
}

void heap_free(heap_dump *d) {
  for (unsigned i = 0; i < HEAP_TYPES; i++) {
    free(d->types[i].name);
    free(d->types[i].offsets);
    free(d->types[i].fixed_offsets);
  }
  for (size_t i = 0; i < d->thread_count; i++) {
    free(d->threads[i].name);
  }
  for (size_t i = 0; i < d->name_count; i++) {
    free(d->names[i].text);
  }
  void *const all[] = {d->blocks.at,  d->info.back_end, d->info.program,   d->threads, d->holders, d->roots,
                       d->links,      d->entries,       d->entries_of,     d->names,   d->area_of, d->areas,
                       d->area_first, d->area_at,       d->what,           d->length,  d->longer,  d->first,
                       d->target,     d->dominator,     d->retained_count, d->retained};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    free(all[i]);
  }
  munmap((void *)d->bytes, d->size);
}
