// SPDX-License-Identifier: MIT
// relocate.c: puts pages right that were written in another process (relocate.h): numbers of types in headers, and references. Keeps gc.transient where pages were put down as they are.
//
// Runs in whoever touches the page first, in a trap or a scanner, or in the background; the pages are his alone. No page waits for another: what lies on an earlier page, which may be away as well,
// is read from where pages come from. Only what comes from there, and has not changed since (types, lengths), is asked of other pages.

#include "gc/relocate.h"
#include "gc/alloc.h"
#include "gc/scan.h"
#include "vm/os.h"

// Slots on one page. `shift`: from where the slot is read to where it is changed.
typedef struct mover {
  const gc_relocation *r;
  ptrdiff_t by, shift;
} mover;

static void slot_move(void *arg, gc_seen seen, uintptr_t view) {
  const mover *m = arg;
  const uint64_t *held = m->r->held;
  uintptr_t offset = view - m->r->base;
  size_t block = offset >> GC_BLOCK_SHIFT;
  if (offset >= m->r->heap->span) {
    return;
  }
  AO_t volatile *at = (AO_t volatile *)((char *)seen.slot.alias + m->shift);
  if (held != NULL && !(held[block / 64] >> block % 64 & 1)) {
    at_store(at, 0);
  } else if (m->by != 0) { // the bits of a tag stay: the address does not leave its field
    at_store(at, seen.word + (uint64_t)m->by);
  }
}

static const gc_type *type_of(const gc_relocation *r, size_t page, uint64_t *header) {
  unsigned id = gc_header_type(*header), now = id;
  if (r->types != NULL && id >= GC_FIRST_TYPE) {
    now = r->types[id];
    *header = (*header & ~((uint64_t)(GC_TYPES - 1) << GC_TYPE_SHIFT)) | (uint64_t)now << GC_TYPE_SHIFT;
  }
  const gc_type *type = now >= GC_FIRST_TYPE ? gc_type_at(now) : NULL;
  if (type == NULL) {
    vm_fatal("page %zu, which was read, has an object of type %u, and there is no such type: its contents are damaged", page, id);
  }
  return type;
}

// ---- Objects that began on an earlier page.

static size_t cell_page(const gc_heap *heap, gc_cell cell) { return gc_page_at(heap, gc_view_of(heap, cell.alias)); }

// The cell that covers the start of the page, or holds it; alias NULL: none.
static gc_cell covering_cell(const gc_heap *heap, size_t page) {
  uint32_t block = gc_page_block(heap, page);
  if (!gc_is_large(heap, block)) {
    return gc_page_covering(heap, page);
  }
  gc_cell cell = gc_large_cell(heap, gc_large_head(heap, block));
  return cell_page(heap, cell) < page ? cell : (gc_cell){NULL};
}

static bool is_away(const gc_heap *heap, size_t page) { return (vm_claims(heap->region, page) & VM_ABSENT) != 0; }

// A word of an earlier page: from there, or from where pages come from, by way of `scratch`, the memory of a page.
static bool word_read(const gc_relocation *r, const char *alias, char *scratch, uint64_t *out, bool *was_away) {
  gc_heap *heap = r->heap;
  size_t page = gc_page_at(heap, gc_view_of(heap, alias));
  *was_away = is_away(heap, page);
  if (!*was_away) {
    *out = at_load((AO_t volatile *)alias);
    return true;
  }
  if (!r->read(r->arg, page, 1, scratch)) {
    return false;
  }
  *out = *(const uint64_t *)(scratch + (alias - gc_page_alias(heap, page)));
  return true;
}

bool gc_covering_find(const gc_relocation *r, size_t page, gc_covering *out) {
  gc_heap *heap = r->heap;
  *out = (gc_covering){.type = NULL};
  if (at32_load(&heap->top[page]) == 0) {
    return true;
  }
  gc_cell cell = covering_cell(heap, page);
  if (cell.alias == NULL) {
    return true;
  }
  char *scratch = gc_page_alias(heap, page);
  bool was_away;
  if (!word_read(r, cell.alias, scratch, &out->header, &was_away)) {
    return false;
  }
  if (gc_header_type(out->header) == GC_FILLER) {
    out->type = NULL;
    out->length = (out->header & GC_PEER_MASK) * GC_UNIT;
    return true;
  }
  if (was_away) {
    out->type = type_of(r, cell_page(heap, cell), &out->header);
  } else if ((out->type = gc_type_at(gc_header_type(out->header))) == NULL) {
    return out->header == 0; // it is dead, and was swept away
  }
  if (out->header & GC_ARRAY) {
    out->length_here = cell.alias + 8 == scratch;
    return out->length_here || word_read(r, cell.alias + 8, scratch, &out->length, &was_away);
  }
  return true;
}

// ---- Pages.

void gc_traced_free(const gc_heap *heap, gc_traced *traced) {
  if (traced->copy != NULL) {
    os_unmap(traced->copy, traced->count << heap->page_shift);
    traced->copy = NULL;
  }
}

// Pages as they were, in memory of its own; NULL: not to be had.
static char *pages_copy(const gc_relocation *r, size_t page, size_t count) {
  char *copy = os_map_private(count << r->heap->page_shift);
  if (copy != NULL && !r->read(r->arg, page, count, copy)) {
    os_unmap(copy, count << r->heap->page_shift);
    copy = NULL;
  }
  return copy;
}

// The same, as `kept` has it, or has it from now on.
static char *traced_copy(const gc_relocation *r, gc_traced *kept, size_t page, size_t count) {
  if (kept->copy == NULL || kept->page != page || kept->count != count) {
    gc_traced_free(r->heap, kept);
    kept->page = page; // `taken` is others' too
    kept->count = count;
    kept->copy = pages_copy(r, page, count);
  }
  return kept->copy;
}

// An object with a callback that does not lie within what was read: the callback sees a copy of all of it.
static bool traced_move(mover *m, gc_cell cell, uint64_t header, const gc_type *type, size_t length, char *base, char *limit) {
  const gc_relocation *r = m->r;
  gc_heap *heap = r->heap;
  char *data = cell.alias + gc_header_bytes(header);
  size_t page = cell_page(heap, cell), count = cell_page(heap, (gc_cell){data + type->fixed + length * type->size - 1}) + 1 - page;
  bool shared = at_cas_full(&r->traced->taken, 0, 1);
  char *copy = shared ? traced_copy(r, r->traced, page, count) : pages_copy(r, page, count);
  if (copy != NULL) {
    ptrdiff_t to = copy - gc_page_alias(heap, page);
    mover moves = {r, m->by, -to}; // the copy stays as it is
    gc_trace_visit(heap, type, gc_view_of(heap, data), length, data + to, base + to, limit + to, slot_move, &moves);
  }
  if (shared) {
    at_store_release(&r->traced->taken, 0);
  } else if (copy != NULL) {
    os_unmap(copy, count << heap->page_shift);
  }
  return copy != NULL;
}

// Slots in [base, limit) of an object, of which [from, to) was read.
static bool slots_move(mover *m, gc_cell cell, uint64_t header, const gc_type *type, size_t length, char *base, char *limit, const char *from, const char *to) {
  if ((m->by == 0 && m->r->held == NULL) || (header & GC_LEAF)) {
    return true;
  }
  char *data = cell.alias + gc_header_bytes(header);
  if (m->r->held != NULL) {
    gc_transient_clear(type, length, data, base, limit);
  }
  if (type->layout != GC_LAYOUT_TRACE) {
    gc_slots_visit(type, length, data, base, limit, slot_move, m);
    return true;
  }
  if (cell.alias < from || data + type->fixed + length * type->size > to) {
    // On the first page that it has in the run, for all of them: a copy is dear.
    return base == from || cell.alias >= base ? traced_move(m, cell, header, type, length, base, (char *)to) : true;
  }
  gc_trace_visit(m->r->heap, type, gc_view_of(m->r->heap, data), length, data, base, limit, slot_move, m);
  return true;
}

// The object that covers the page's start: a part of it that was read before, or what the caller has found. `*at`: where it ends.
static bool covering_move(mover *m, size_t page, const gc_covering *first, const char *from, const char *to, char **at) {
  gc_heap *heap = m->r->heap;
  char *base = gc_page_alias(heap, page), *limit = base + heap->page_size;
  gc_cell cell = covering_cell(heap, page);
  *at = base + 8;
  if (cell.alias == NULL) {
    return true;
  }
  uint64_t header = cell.alias >= from ? gc_header_load(cell) : first->header;
  if (gc_header_type(header) == GC_FILLER) {
    *at = cell.alias + (header & GC_PEER_MASK) * GC_UNIT;
    return true;
  }
  const gc_type *type = cell.alias >= from ? gc_type_at(gc_header_type(header)) : first->type;
  if (header == 0 || type == NULL) {
    *at = limit; // it is dead, and so is what lies here
    return true;
  }
  bool read = cell.alias + 8 >= from; // its length, too
  size_t length = !(header & GC_ARRAY) ? 1 : read ? gc_cell_length(cell) : first->length;
  *at = cell.alias + gc_cell_bytes(type, header, length);
  return slots_move(m, cell, header, type, length, base, limit, from, to);
}

static bool page_move(mover *m, size_t page, const gc_covering *first, const char *from, const char *to) {
  const gc_relocation *r = m->r;
  gc_heap *heap = r->heap;
  char *base = gc_page_alias(heap, page), *limit = base + heap->page_size, *end = base + gc_top(heap, page), *at;
  if (!covering_move(m, page, first, from, to, &at)) {
    return false;
  }
  if (gc_is_large(heap, gc_page_block(heap, page))) {
    gc_cell cell = gc_large_cell(heap, gc_large_head(heap, gc_page_block(heap, page)));
    at = cell_page(heap, cell) == page ? cell.alias : limit; // one object, and nothing behind it
    end = cell_page(heap, cell) == page ? cell.alias + 8 : limit;
  }
  while (at < end) {
    gc_cell cell = {at};
    uint64_t header = gc_header_load(cell);
    if (header == 0) {
      at += GC_UNIT;
      continue;
    }
    if (gc_header_type(header) == GC_FILLER) {
      at += (header & GC_PEER_MASK) * GC_UNIT;
      continue;
    }
    const gc_type *type = type_of(r, page, &header);
    at_store((AO_t volatile *)at, header);
    if ((header & GC_ARRAY) && at + 8 >= to) {
      return true; // its length lies on the next page, and so does all of it
    }
    size_t length = header & GC_ARRAY ? gc_cell_length(cell) : 1;
    if (!slots_move(m, cell, header, type, length, base, limit, from, to)) {
      return false;
    }
    at += gc_cell_bytes(type, header, length);
  }
  return true;
}

bool gc_relocate(const gc_relocation *r, size_t page, size_t count, const gc_covering *first) {
  gc_heap *heap = r->heap;
  const char *from = gc_page_alias(heap, page), *to = gc_page_alias(heap, page + count);
  mover m = {.r = r, .by = (ptrdiff_t)(heap->base - r->base)};
  for (size_t p = page; p < page + count; p++) {
    if (at32_load(&heap->top[p]) != 0 && !page_move(&m, p, first, from, to)) {
      return false;
    }
  }
  return true;
}
