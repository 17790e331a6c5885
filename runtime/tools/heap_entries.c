// SPDX-License-Identifier: MIT
// heap_entries.c: entries of weak tables: what they hold, which is a reference like any other from here on.
//
// An entry holds something as long as two others are reached, its table and what it needs (heap.h). Which do is known
// at the fixed point, to which heap_reach (heap_graph.c) goes; those become references from what they need: so ways and
// dominators need know nothing of entries. That the table is a condition as well is not in the graph: what its entries
// hold is not counted as what it retains.

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/tools/heap.h"

static int by_need(const void *a, const void *b) {
  const heap_entry *x = a, *y = b;
  uint32_t p = heap_entry_needs(x), q = heap_entry_needs(y);
  if (p != q) {
    return p < q ? -1 : 1;
  }
  p = heap_entry_holds(x), q = heap_entry_holds(y);
  return p != q ? (p < q ? -1 : 1) : (x->table > y->table) - (x->table < y->table);
}

static int by_table(const void *a, const void *b, void *arg) {
  const heap_dump *d = arg;
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  uint32_t p = d->entries[x].table, q = d->entries[y].table;
  return p != q ? (p < q ? -1 : 1) : (x > y) - (x < y);
}

uint32_t heap_entries_needing(const heap_dump *d, uint32_t node) {
  uint32_t low = 0, high = d->entry_count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (heap_entry_needs(&d->entries[middle]) < node) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

uint32_t heap_entries_of(const heap_dump *d, uint32_t table) {
  uint32_t low = 0, high = d->entry_count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (d->entries[d->entries_of[middle]].table < table) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

static bool is_active(const heap_dump *d, const heap_entry *e) {
  uint32_t needs = heap_entry_needs(e);
  return needs != HEAP_NONE && (d->what[needs] & HEAP_REACHED) && (d->what[e->table] & HEAP_REACHED);
}

const heap_entry *heap_entry_between(const heap_dump *d, uint32_t from, uint32_t to) {
  for (uint32_t i = heap_entries_needing(d, from); i < d->entry_count && heap_entry_needs(&d->entries[i]) == from;
       i++) {
    if (heap_entry_holds(&d->entries[i]) == to && is_active(d, &d->entries[i])) {
      return &d->entries[i];
    }
  }
  return NULL;
}

// False: some of it is no object, and the file says something of what is not there.
static bool entry_read(heap_dump *d, heap_cursor *c, uint64_t last[2], heap_entry *out) {
  uint64_t kind = heap_get(c);
  if (kind < DUMP_ENTRY_KEYS || kind > DUMP_ENTRY_BOTH) {
    heap_fail(d, "is damaged: an entry of a weak table is of kind %" PRIu64, kind);
  }
  last[0] += (uint64_t)heap_get_signed(c) * 8;
  last[1] += (uint64_t)heap_get_signed(c) * 8;
  uint64_t value = last[1] + (uint64_t)heap_get_signed(c) * 8;
  *out = (heap_entry){(uint32_t)kind, heap_find(d, last[0]), heap_find(d, last[1]), heap_find(d, value)};
  return out->table != HEAP_NONE && out->key != HEAP_NONE && out->value != HEAP_NONE;
}

static void entries_read(heap_dump *d) {
  heap_cursor c;
  size_t from = 0, room = 0;
  uint64_t last[2] = {0, 0};
  if (!heap_section(d, DUMP_ENTRIES, &from, &c)) {
    heap_fail(d, "is damaged: there is no section of entries of weak tables");
  }
  while (heap_more(&c)) {
    if (d->entry_count == room) {
      room = room != 0 ? 2 * room : 64;
      d->entries = realloc(d->entries, room * sizeof *d->entries);
      if (d->entries == NULL || room >= HEAP_NONE) {
        heap_fail(d, "no memory for %zu entries of weak tables", room);
      }
    }
    heap_entry *e = &d->entries[d->entry_count];
    if (entry_read(d, &c, last, e)) {
      d->entry_count++;
    } else {
      d->dangling++;
    }
  }
}

static void entries_sort(heap_dump *d) {
  qsort(d->entries, d->entry_count, sizeof *d->entries, by_need);
  d->entries_of = heap_memory(d, d->entry_count, sizeof *d->entries_of);
  for (uint32_t i = 0; i < d->entry_count; i++) {
    const heap_entry *e = &d->entries[i];
    uint32_t needs = heap_entry_needs(e);
    d->entries_of[i] = i;
    d->what[e->table] |= HEAP_ENTRIES;
    if (needs != HEAP_NONE) {
      d->what[needs] |= HEAP_ENTRIES;
    }
  }
  qsort_r(d->entries_of, d->entry_count, sizeof *d->entries_of, by_table, d);
}

// Behind a node's other references, from the last node down: each moves up by as many as are added before it.
static void references_add(heap_dump *d, uint32_t added) {
  uint32_t *target = realloc(d->target, ((size_t)d->edges + added) * sizeof *target);
  if (target == NULL) {
    heap_fail(d, "no memory for %u references", d->edges);
  }
  d->target = target;
  d->edges += added;
  uint32_t next = d->entry_count;
  for (uint32_t n = d->nodes; added != 0 && n-- > 0;) {
    uint32_t first = d->first[n], end = d->first[n + 1];
    d->first[n + 1] = end + added;
    while (next != 0 && heap_entry_needs(&d->entries[next - 1]) >= n) {
      const heap_entry *e = &d->entries[--next];
      if (is_active(d, e)) {
        target[end + --added] = heap_entry_holds(e);
      }
    }
    memmove(target + first + added, target + first, (end - first) * sizeof *target);
  }
}

void heap_entries_load(heap_dump *d) {
  entries_read(d);
  if (d->entry_count == 0) {
    return;
  }
  entries_sort(d);
  heap_reach(d);
  uint64_t added = 0;
  for (uint32_t i = 0; i < d->entry_count; i++) {
    added += is_active(d, &d->entries[i]);
  }
  if (d->edges + added >= HEAP_NONE) {
    heap_fail(d, "has more references than this program can number");
  }
  if (added != 0) {
    references_add(d, (uint32_t)added);
  }
}
