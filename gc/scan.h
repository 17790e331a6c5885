// SPDX-License-Identifier: MIT
// scan.h: visit every slot of a page or object and forward it.

#ifndef GC_SCAN_H
#define GC_SCAN_H

#include "gc/forward.h"

// Scans a grey page that the caller holds BUSY. Afterwards none of its slots points to from-space (gc.grey).
void gc_page_scan(gc_heap *heap, gc_copier *copier, size_t page);
// The same in two steps, so that the referents of a page's last slots are on their way while the next page is looked at: after the first some slots may
// still be in the copier's queue, after the second none of this page is. Returns what the second wants to know.
uint64_t gc_page_scan_ahead(gc_heap *heap, gc_copier *copier, size_t page);
void gc_page_scan_finish(gc_heap *heap, gc_copier *copier, size_t page, uint64_t turns);

// Scans the slots of one object that lie in [base, limit) of the alias.
void gc_cell_scan(gc_heap *heap, gc_copier *copier, gc_cell cell, uint64_t header, char *base, char *limit);

// The same on pages that the caller does not hold: others may be scanning or, once the object is reached, writing them; a system call may be
// writing a touched page even while the world is stopped. No slot stays in the queue: what is read once is what is forwarded, by CAS.
void gc_cell_scan_shared(gc_heap *heap, gc_copier *copier, gc_cell cell, uint64_t header, char *base, char *limit);

// Calls `visit` for each slot of the object in [base, limit) of the alias, with the address that it decodes to.
typedef void gc_slot_fn(void *arg, gc_seen seen, uintptr_t view);
void gc_cell_visit(const gc_heap *heap, gc_cell cell, uint64_t header, char *base, char *limit, gc_slot_fn *visit,
                   void *arg);

// The same for an object that does not lie where it is, or whose header does not: of `length` elements, or 1, at `data`; of any layout that has slots but that of a callback.
void gc_slots_visit(const gc_type *type, size_t length, char *data, char *base, char *limit, gc_slot_fn *visit, void *arg);
// Makes the slots that are transient zero, in the same range.
void gc_transient_clear(const gc_type *type, size_t length, char *data, char *base, char *limit);
// And of that: `view` is the object's address. All of it can be read at `data`.
void gc_trace_visit(const gc_heap *heap, const gc_type *type, uintptr_t view, size_t length, char *data, char *base, char *limit,
                    gc_slot_fn *visit, void *arg);

// The same for the part that an array of layout GC_LAYOUT_FLEXIBLE has before its elements: `data` is the alias of the object's start.
void gc_fixed_visit(const gc_type *type, char *data, char *base, char *limit, gc_slot_fn *visit, void *arg);

static inline void gc_copier_enter(gc_copier *copier) { at_add_full(&copier->tick, 1); }
static inline void gc_copier_leave(gc_copier *copier) { at_add_full(&copier->tick, 1); }

#endif
