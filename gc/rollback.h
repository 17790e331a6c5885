// SPDX-License-Identifier: MIT
// rollback.h: a heap in use goes back to what a description says (describe.h): blocks, large objects, links and tables. Contents of pages are the caller's affair.
//
// Neighbours: runtime/rollback.c calls. rebuild.c reads the description. Keeps gc.rolledback.

#ifndef GC_ROLLBACK_H
#define GC_ROLLBACK_H

#include "gc/describe.h"

// Beside a block's kind: it is in use now, too; and is a leaf block now.
enum { GC_PAST_STAYS = 0x80, GC_PAST_LEAF = 0x40 };

// What was in use then. Whoever rolls back has it; nothing of it is the heap's.
typedef struct gc_past {
  gc_heap *heap;
  const gc_described *from;
  uint8_t *kind;  // per block: gc_block_kind, of a small one; and GC_PAST_*
  uint64_t *used; // a bit per page
  uint64_t *got;  // a bit per page that has got memory by gc_past_commit
  void *memory;
  size_t bytes;
  size_t finals; // finalizers that gc_rollback_stopped has let go
} gc_past;

// Reads it, of a heap that has the same geometry. The heap is not changed, and may be in use. False, with the reason in `why`: the sections are damaged, it is more than the limit, or there is no memory.
bool gc_past_open(gc_past *past, gc_heap *heap, const gc_described *from, char *why, size_t why_bytes);
void gc_past_close(gc_past *past);
static inline bool gc_past_uses(const gc_past *past, size_t page) { return past->used[page / 64] >> page % 64 & 1; }

// Between two cycles, with the world stopped, all threads at rest, and nobody at work for the heap, in this order.
// Memory for what was in use and has none. False: there is none, and nothing has changed.
bool gc_past_commit(gc_past *past);
void gc_past_uncommit(gc_past *past); // it was in vain
// Then: what is parked and goes out of use, or has a bit in `put`, which are pages whose contents the caller replaces, is parked no more (gc.parked).
void gc_past_drop(const gc_past *past, const uint64_t *put);
// Cannot fail. No buffer, lane or reserve is any thread's. Precise roots refer to nothing afterwards, nor do handles; finalizers are gone. No page that goes out of use carries UNSAVED. Pages that were in use
// have memory, no claim of the collector's, and whatever contents they have.
void gc_rollback_stopped(gc_past *past);

#endif
