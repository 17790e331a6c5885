// SPDX-License-Identifier: MIT
// links.h: words outside of the heap that refer to objects, read and written by calls only: handles, weak references,
// finalizers.
//
// A flip does nothing about them. Handles are forwarded in the background, like a page; whoever reads one before that
// forwards it himself. What nothing else holds is decided once, at the end of the cycle (gc.freeze).
//
// Callers are mutators that are not stopped meanwhile, but for those that say otherwise.

#ifndef GC_LINKS_H
#define GC_LINKS_H

#include "gc/heap.h"

struct gc_minor;

// A link's number, or GC_NONE if there are too many. `ref` and `owner` are the starts of objects, or 0. `owner`: of a weak
// reference or a table, the object that stands for it: the link goes when that does; of a finalizer, whatever the caller wants back,
// as `data`. Of a table `data` is its number (table.h).
uint32_t gc_link_new(gc_heap *heap, gc_link_kind kind, uintptr_t ref, uintptr_t owner, uintptr_t data);
bool gc_handle_drop(gc_heap *heap, uint32_t link); // false: it is none, or none any more
// Where the object is that it refers to, or 0. The object stays alive as from any other read.
uintptr_t gc_link_read(gc_heap *heap, uint32_t link);
void gc_link_write(gc_heap *heap, uint32_t link, uintptr_t ref);
static inline gc_link_kind gc_link_is(const gc_heap *heap, uint32_t link) {
  return link < at_load_acquire(&heap->links.high) ? (gc_link_kind)at32_load_acquire(&heap->links.at[link].kind) : GC_LINK_FREE;
}

// Takes the first object that waits to be finalized out of the queue: `object` is its place. False: none waits.
typedef struct gc_final {
  uintptr_t object, owner, data;
} gc_final;
bool gc_final_take(gc_heap *heap, gc_final *out);
// What tells a link from those that had its number before, and will have it.
uint32_t gc_link_serial(const gc_heap *heap, uint32_t link);
// Forgets a finalizer. False: it is not there any more, or in the queue.
bool gc_final_cancel(gc_heap *heap, uint32_t link, uint32_t serial);

// While the heap opens, in the order of their numbers (rebuild.c). False: it is not above the last one, or too large.
bool gc_link_restore(gc_heap *heap, uint32_t link, gc_link_kind kind, uintptr_t ref, uintptr_t owner, uintptr_t data);

// With the world stopped, in this order (rollback.c): no link is in use any more but handles, which refer to nothing; those that were are again; the rest is free.
void gc_links_rollback(gc_heap *heap);
bool gc_link_restore_again(gc_heap *heap, uint32_t link, gc_link_kind kind, uintptr_t ref, uintptr_t owner, uintptr_t data); // false: it is a handle's number
void gc_links_rolled_back(gc_heap *heap);

// ---- For cycles (outer.c has the order).
void gc_links_flip(gc_heap *heap); // in the pause
// Forwards some handles. False: there are none left to forward. Scanners.
bool gc_links_scan(gc_heap *heap, gc_copier *copier);
// Nothing is grey: what is to be finalized is traced, once. False: now there is more to scan, or somebody else is at it.
bool gc_links_finish(gc_heap *heap);
// Weak references to what was not reached are cleared. False: there never was a link.
bool gc_links_settle(gc_heap *heap);
// In the pause of a minor cycle: what handles refer to; what is to be finalized (true: there is more to scan); the rest.
void gc_links_minor_begin(struct gc_minor *minor);
bool gc_links_minor_finals(struct gc_minor *minor);
void gc_links_minor_settle(gc_heap *heap);

#endif
