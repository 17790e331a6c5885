// SPDX-License-Identifier: MIT
// description.h: the inside of a description (describe.h), between describe.c, which takes it, and describe_put.c, which writes it.

#ifndef GC_DESCRIPTION_H
#define GC_DESCRIPTION_H

#include "gc/describe.h"
#include "gc/relocate.h"

// Kinds of sections that are cut into parts.
typedef enum gc_part_kind { GC_PART_SMALL, GC_PART_LARGE, GC_PART_LINK, GC_PART_PAIR, GC_PART_KINDS } gc_part_kind;

enum { GC_PART_SUMS = 5 };

// One section. Whoever has the description writes it.
typedef struct gc_part {
  bool touched;  // the copies may differ from what `sum` and `sums` are of
  bool there;    // it was put, with bytes of this checksum …
  uint64_t sum;  // XXH3
  uint64_t sums[GC_PART_SUMS]; // what it adds to numbers of the section `heap` (describe_put.c)
} gc_part;

struct gc_description {
  gc_heap *heap;
  size_t bytes;   // of the whole
  uint8_t *scratch; // for one section, the largest there may be
  size_t scratch_bytes;
  bool taken, failed;
  bool touched;   // any part is, or `number` differs from what was put
  uint64_t stamp; // gc_heap.described when it was taken last
  // Room for so many.
  size_t small_room, large_room, link_room, pair_room, table_room;
  // Copies; blocks of the large zone are counted from its start.
  uint8_t *space, *flags, *transient, *large_space, *large_flags, *large_transient;
  uint32_t *top;
  uint16_t *cover, *large_lead;
  uint64_t *large_size;
  uint32_t *large_head; // blocks of the heap
  gc_link *links;
  gc_pair *pairs;
  uint8_t *tables; // gc_table_kind, as far as it is described; else 0
  size_t small, large, link_count, pair_count, table_count;
  uint64_t number[GC_NUMBERS]; // without what is counted by parts
  gc_part *part[GC_PART_KINDS];
  size_t parts_put[GC_PART_KINDS]; // from here on none was ever put
  gc_part numbers;                 // the section `heap`
  // blank.c: the object that its callback was last shown as a copy, as of `traced_stamp`.
  gc_traced traced;
  uint64_t traced_stamp;
};

static inline size_t gc_parts(size_t count, size_t step) { return (count + step - 1) / step; }
static inline size_t gc_part_step(gc_part_kind kind) { return kind == GC_PART_SMALL || kind == GC_PART_LARGE ? GC_PART_BLOCKS : GC_PART_LINKS; }

static inline bool gc_description_is_large_head(const gc_description *d, size_t block) {
  return d->large_space[block] != 0 && d->large_size[block] != 0 && !d->large_transient[block];
}

// gc.transient: whether what a reference leads to is described.
static inline bool gc_description_holds(const gc_description *d, uintptr_t view) {
  if (!gc_in_heap(d->heap, view)) {
    return false;
  }
  size_t block = gc_block_of(d->heap, view), large = block - d->heap->small_blocks;
  return block < d->heap->small_blocks ? block < d->small && d->space[block] != 0 && !d->transient[block]
                                       : large < d->large && d->large_space[large] != 0 && !d->large_transient[large];
}

#endif
