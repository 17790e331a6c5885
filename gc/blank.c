// SPDX-License-Identifier: MIT
// blank.c: takes out of copies of pages what is not to be saved: slots that are transient, and references to what is not described (gc.transient).
//
// Neighbours: describe.c has taken the description, of the same instant as the copies. relocate.c does the same with pages that were put down as they are, when they are read. While the world runs: the
// heap itself is not looked at, since it goes on. One thread at a time.

#include <string.h>
#include "gc/description.h"
#include "gc/scan.h"
#include "vm/os.h"

// One page. Places in the heap are bytes from its start.
typedef struct blanker {
  gc_description *d;
  size_t page, page_size;
  uint64_t start; // of the page
  char *contents;
  ptrdiff_t shift; // from where a slot is read to where it is changed
  const void *(*other)(void *arg, size_t page);
  void *arg;
} blanker;

// An object: what its slots depend on.
typedef struct object {
  uint64_t place; // of its cell
  uint64_t header;
  const gc_type *type;
  size_t length;
} object;

static bool word_read(const blanker *b, uint64_t place, uint64_t *out) {
  size_t page = (size_t)(place / b->page_size);
  const char *contents = page == b->page ? b->contents : b->other(b->arg, page);
  if (contents == NULL) {
    return false;
  }
  *out = *(const uint64_t *)(const void *)(contents + place % b->page_size);
  return true;
}

// The cell that covers the page's start. False: none does.
static bool covering_place(const blanker *b, uint64_t *place) {
  const gc_description *d = b->d;
  const gc_heap *heap = d->heap;
  uint32_t block = gc_page_block(heap, b->page);
  if (!gc_is_large(heap, block)) {
    *place = b->start - (d->cover[b->page] * (uint64_t)GC_UNIT - 8);
    return d->cover[b->page] != 0;
  }
  uint32_t head = d->large_head[block - heap->small_blocks];
  *place = ((uint64_t)head << GC_BLOCK_SHIFT) + d->large_lead[head - heap->small_blocks];
  return *place < b->start;
}

static void slot_blank(void *arg, gc_seen seen, uintptr_t view) {
  const blanker *b = arg;
  if (gc_in_heap(b->d->heap, view) && !gc_description_holds(b->d, view)) {
    at_store((AO_t volatile *)((char *)seen.slot.alias + b->shift), 0);
  }
}

static size_t data_bytes(const object *o) { return o->type->fixed + o->length * o->type->size; }

// ---- Objects with a callback: it sees all of its object.

static char *pages_copy(const blanker *b, size_t first, size_t count) {
  char *copy = os_map_private(count * b->page_size);
  for (size_t i = 0; i < count && copy != NULL; i++) {
    const void *contents = first + i == b->page ? b->contents : b->other(b->arg, first + i);
    if (contents == NULL) {
      os_unmap(copy, count * b->page_size);
      return NULL;
    }
    memcpy(copy + i * b->page_size, contents, b->page_size);
  }
  return copy;
}

// The last one is kept: its other pages come next.
static char *traced_copy(const blanker *b, size_t first, size_t count) {
  gc_description *d = b->d;
  gc_traced *kept = &d->traced;
  if (kept->copy == NULL || d->traced_stamp != d->stamp || kept->page != first || kept->count != count) {
    gc_traced_free(d->heap, kept);
    *kept = (gc_traced){.page = first, .count = count, .copy = pages_copy(b, first, count)};
    d->traced_stamp = d->stamp;
  }
  return kept->copy;
}

static bool traced_blank(blanker *b, const object *o, uint64_t data) {
  const gc_heap *heap = b->d->heap;
  size_t first = (size_t)(o->place / b->page_size), last = (size_t)((data + data_bytes(o) - 1) / b->page_size);
  char *copy = b->contents, *base = b->contents;
  if (first != b->page || last != b->page) {
    copy = traced_copy(b, first, last + 1 - first);
    if (copy == NULL) {
      return false;
    }
    base = copy + (b->page - first) * b->page_size;
  }
  blanker moves = *b;
  moves.shift = b->contents - base;
  gc_trace_visit(heap, o->type, heap->base + data, o->length, copy + (data - first * b->page_size), base, base + b->page_size, slot_blank, &moves);
  return true;
}

static bool object_blank(blanker *b, const object *o) {
  if (o->header & GC_LEAF) {
    return true;
  }
  uint64_t data = o->place + gc_header_bytes(o->header);
  if (o->type->layout == GC_LAYOUT_TRACE) {
    return traced_blank(b, o, data);
  }
  char *at = b->contents + (ptrdiff_t)(data - b->start), *limit = b->contents + b->page_size; // it may begin on an earlier page
  gc_transient_clear(o->type, o->length, at, b->contents, limit);
  gc_slots_visit(o->type, o->length, at, b->contents, limit, slot_blank, b);
  return true;
}

// ---- The page.

static bool covering_blank(blanker *b, uint64_t *end) {
  object o = {.length = 1};
  *end = b->start + 8;
  if (!covering_place(b, &o.place)) {
    return true;
  }
  if (!word_read(b, o.place, &o.header)) {
    return false;
  }
  o.type = gc_type_at(gc_header_type(o.header));
  if (gc_header_type(o.header) == GC_FILLER) {
    *end = o.place + (o.header & GC_PEER_MASK) * GC_UNIT;
  }
  if (o.header == 0 || o.type == NULL) { // swept away, or filler
    return true;
  }
  if ((o.header & GC_ARRAY) && !word_read(b, o.place + 8, &o.length)) {
    return false;
  }
  *end = o.place + gc_cell_bytes(o.type, o.header, o.length);
  return object_blank(b, &o);
}

// Cells that begin in [place, limit) of the page.
static bool cells_blank(blanker *b, uint64_t place, uint64_t limit) {
  bool done = true;
  while (place < limit && done) {
    object o = {.place = place, .length = 1};
    word_read(b, place, &o.header);
    if (o.header == 0) {
      place += GC_UNIT;
      continue;
    }
    if (gc_header_type(o.header) == GC_FILLER) {
      place += (o.header & GC_PEER_MASK) * GC_UNIT;
      continue;
    }
    o.type = gc_type_at(gc_header_type(o.header));
    VM_CHECK(o.type != NULL, "a copy of page %zu has the header %lx at byte %zu, which names no type", b->page, (unsigned long)o.header, (size_t)(place - b->start));
    if (o.header & GC_ARRAY) {
      if (place + 8 >= b->start + b->page_size) {
        break; // its length lies on the next page, and so does all of it
      }
      word_read(b, place + 8, &o.length);
    }
    done = object_blank(b, &o);
    place += gc_cell_bytes(o.type, o.header, o.length);
  }
  return done;
}

bool gc_description_blank(gc_description *d, size_t page, char *contents, const void *(*other)(void *arg, size_t page), void *arg) {
  const gc_heap *heap = d->heap;
  if (!gc_description_has(d, page)) {
    return true; // nobody is going to save it
  }
  blanker b = {.d = d, .page = page, .page_size = heap->page_size, .start = (uint64_t)page << heap->page_shift, .contents = contents, .other = other, .arg = arg};
  uint32_t block = gc_page_block(heap, page);
  bool large = gc_is_large(heap, block);
  if ((large ? d->large_flags[block - heap->small_blocks] : d->flags[block]) & GC_BLOCK_LEAF) {
    return true;
  }
  uint64_t place, limit = b.start + (large ? 0 : d->top[page] & GC_TOP_MASK);
  bool done = covering_blank(&b, &place);
  if (large) { // one object, whose cell begins where it says: behind its start
    uint32_t head = d->large_head[block - heap->small_blocks];
    place = ((uint64_t)head << GC_BLOCK_SHIFT) + d->large_lead[head - heap->small_blocks];
    limit = place >= b.start && place < b.start + b.page_size ? place + 8 : 0;
  }
  return done && cells_blank(&b, place, limit);
}
