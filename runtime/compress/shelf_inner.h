// SPDX-License-Identifier: MIT
// shelf_inner.h: what the files of the shelf share.
//
// A slab is a FRAME of address space, filled from its beginning: bitmaps of slots (used, dead, dying), a tag per slot, then the slots. Pages of it have memory as far as something on them is used.
// Neighbours: shelf.h is for everybody else.

#ifndef CX_SHELF_INNER_H
#define CX_SHELF_INNER_H

#include <pthread.h>
#include "runtime/compress/shelf.h"
#include "vm/atomic.h"

enum {
  FRAME = 256 << 10,
  OS_PAGE = 4096,
  FRAME_PAGES = FRAME / OS_PAGE,
  CLASSES = 288, // enough for CX_ITEM_MOST; class_of says which
  SMALL = 256,   // sizes up to here are multiples of 8; above, of a 32nd of the power of two below
  NO_SLAB = UINT32_MAX,
};

// Constant.
typedef struct size_class {
  uint32_t size;  // bytes of a slot, a multiple of 8
  uint32_t slots; // of a slab
  uint32_t words; // of 64 bits, of a bitmap of slots
  uint32_t first; // byte of the frame at which slots begin
} size_class;

// A frame in use. Zero: free.
typedef struct slab {
  // Constant while it is in use.
  uint32_t class; // index + 1; 0: the frame is free
  // Under the lock.
  uint32_t used, hint; // slots; no slot below the hint is free
  uint32_t before, after; // in its class's list of those with free slots, NO_SLAB: none
  bool listed, leaving;   // in that list; repair moves its items away
  uint64_t held;          // bit for each page: it has memory
  // Atomic.
  uint32_t queued;     // 1: in the queue of those that have dead slots
  uint32_t queue_next; // index + 1; by who queued it
} slab;

struct cx_shelf {
  // Constant while it is open.
  cx_shelf_options options;
  char *base; // frames, aligned to an OS page
  uint32_t frames;
  slab *slabs; // of all frames; has memory as far as it was used
  size_class classes[CLASSES];
  // Under the lock.
  pthread_mutex_t lock;
  uint32_t top;  // frames from here on were never used
  uint32_t free; // the first frame of a list of free ones, by `after`
  uint32_t open[CLASSES]; // the first slab with free slots
  uint64_t class_used[CLASSES], class_slabs[CLASSES], class_held[CLASSES]; // slots; slabs; pages that have memory
  uint64_t held, slab_count, moved, released;
  // By who reaps: `repairing` is locked before `lock`.
  pthread_mutex_t repairing;
  // Atomic.
  AO_t items, payload;
  uint32_t queue;  // index + 1 of the first slab with dead slots
  AO_t epoch;      // readers count themselves in inside[epoch % 2]
  struct {
    _Alignas(64) AO_t count;
  } inside[2];
};

static inline char *slab_frame(const cx_shelf *s, uint32_t index) { return s->base + (size_t)index * FRAME; }
static inline const size_class *slab_class(const cx_shelf *s, uint32_t index) { return &s->classes[s->slabs[index].class - 1]; }
static inline uint64_t *slab_used(const cx_shelf *s, uint32_t index) { return (uint64_t *)slab_frame(s, index); }
static inline AO_t *slab_dead(const cx_shelf *s, uint32_t index) { return (AO_t *)slab_frame(s, index) + slab_class(s, index)->words; }
static inline uint64_t *slab_dying(const cx_shelf *s, uint32_t index) { return (uint64_t *)slab_frame(s, index) + 2 * slab_class(s, index)->words; }
static inline uint32_t *slab_tags(const cx_shelf *s, uint32_t index) { return (uint32_t *)((uint64_t *)slab_frame(s, index) + 3 * slab_class(s, index)->words); }
static inline char *slab_slot(const cx_shelf *s, uint32_t index, uint32_t slot) {
  const size_class *c = slab_class(s, index);
  return slab_frame(s, index) + c->first + (size_t)slot * c->size;
}
static inline uint64_t place_of(const cx_shelf *s, const char *at) { return (uint64_t)(at - s->base) / 8; }

// ---- shelf.c
// Takes a free slot of a slab that has one, below `limit`, and gives its pages memory. False: there is none, or no memory.
bool cx_slot_take(cx_shelf *shelf, uint32_t index, uint32_t limit, uint32_t *slot);
void cx_slot_free(cx_shelf *shelf, uint32_t index, uint32_t slot);
void cx_slab_list(cx_shelf *shelf, uint32_t index);
void cx_slab_unlist(cx_shelf *shelf, uint32_t index);
// Gives back what memory of a slab nothing is on; a slab of which nothing is used altogether. Bytes.
size_t cx_slab_trim(cx_shelf *shelf, uint32_t index);

// ---- shelf_trap.c
// Marks a slot dead, and queues its slab. In signal handlers.
void cx_slot_kill(cx_shelf *shelf, uint32_t index, uint32_t slot);

#endif
