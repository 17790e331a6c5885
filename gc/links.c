// SPDX-License-Identifier: MIT
// links.c: references outside of the heap: handles, weak references, finalizers.
//
// What a link holds that lies in the nursery's zone, or is a young large object, is in the log: that is all that a
// minor cycle looks at. How words are read in a cycle: outer.c.
//
// Finalizers after Dybvig, Bruggeman and Eby (1993): what waits in the queue is held by the queue.

#include "gc/links.h"
#include <string.h>
#include "gc/alloc.h"
#include "gc/changed.h"
#include "gc/gc.h"
#include "gc/minor.h"
#include "gc/near.h"
#include "gc/outer.h"
#include "gc/scan.h"
#include "gc/sweep.h"
#include "gc/table.h"
#include "gc/wait.h"
#include "gc/young.h"

enum { CHUNK = 1024 }; // links that are one unit of a scanner's work

static gc_link *link_at(const gc_heap *heap, uint64_t link) { return &heap->links.at[link]; }

// ---- Free links, and the queue: under the lock, which nobody holds for long, nor while he waits for anything.

static void lock(gc_heap *heap) {
  for (unsigned looks = 0; !at_cas_full(&heap->links.lock, 0, 1);) {
    gc_wait(&looks);
  }
}
static void unlock(gc_heap *heap) { at_store_release(&heap->links.lock, 0); }

// What was a handle's number once is only handles' from then on: so no handle has the number of a weak reference that comes back (rollback.c).
static uint32_t take_locked(gc_heap *heap, bool handle) {
  gc_links *links = &heap->links;
  uint32_t *first = handle ? &links->free_handles : &links->free;
  if (*first != 0) {
    uint32_t link = *first - 1;
    *first = link_at(heap, link)->next;
    return link;
  }
  uint64_t high = at_load(&links->high);
  if (high == links->limit) {
    return GC_NONE;
  }
  at32_store(&link_at(heap, high)->serial, links->serial);
  at_store_release(&links->high, high + 1);
  return (uint32_t)high;
}

static void put_locked(gc_heap *heap, uint32_t link, bool handle) {
  gc_link *at = link_at(heap, link);
  uint32_t *first = handle ? &heap->links.free_handles : &heap->links.free;
  gc_changed(heap, &heap->links.changes, link);
  at_store(&at->ref, 0);
  at_store(&at->owner, 0);
  at_store(&at->data, handle);
  at32_store(&at->serial, at32_load(&at->serial) + 1);
  at->next = *first;
  *first = link + 1;
}

static void count(gc_heap *heap, gc_link_kind kind, int by) { at_add(&heap->links.count[kind], (uint64_t)(int64_t)by); }

// Whoever changes the kind frees it.
static bool let_go(gc_heap *heap, uint32_t link, gc_link_kind kind) {
  if (!at32_cas_full(&link_at(heap, link)->kind, kind, GC_LINK_FREE)) {
    return false;
  }
  count(heap, kind, -1);
  lock(heap);
  put_locked(heap, link, kind == GC_LINK_HANDLE);
  unlock(heap);
  return true;
}

// Nothing holds what the link belongs to any more.
static void owner_died(gc_heap *heap, uint32_t link, gc_link_kind kind) {
  if (kind == GC_LINK_TABLE) {
    gc_table_die(heap, (uint32_t)at_load(&link_at(heap, link)->data));
  }
  let_go(heap, link, kind);
}

static void enqueue(gc_heap *heap, uint32_t link) {
  gc_links *links = &heap->links;
  count(heap, GC_LINK_FINAL, -1);
  count(heap, GC_LINK_READY, 1);
  lock(heap);
  link_at(heap, link)->next = 0;
  if (links->first != 0) {
    link_at(heap, links->last - 1)->next = link + 1;
  } else {
    links->first = link + 1;
  }
  links->last = link + 1;
  unlock(heap);
}

static uint32_t dequeue(gc_heap *heap) {
  gc_links *links = &heap->links;
  lock(heap);
  uint32_t link = links->first - 1; // GC_NONE: none
  if (link != GC_NONE) {
    links->first = link_at(heap, link)->next;
  }
  unlock(heap);
  return link;
}

// ---- The log of links that hold something young, or what will be.

static void log_add(gc_heap *heap, uint32_t link) {
  gc_link *at = link_at(heap, link);
  uint32_t old = at32_load(&at->logged);
  if (old != gc_outer_stamp(heap) && at32_cas_full(&at->logged, old, gc_outer_stamp(heap))) {
    heap->links.log[at_add_full(&heap->links.log_count, 1)] = link;
  }
}

static void log_if_young(gc_heap *heap, uint32_t link, uintptr_t view) {
  if (gc_has_young(heap) && gc_outer_is_logged(heap, view)) {
    log_add(heap, link);
  }
}

// ---- What mutators ask for.

uint32_t gc_link_new(gc_heap *heap, gc_link_kind kind, uintptr_t ref, uintptr_t owner, uintptr_t data) {
  lock(heap);
  uint32_t link = take_locked(heap, kind == GC_LINK_HANDLE);
  unlock(heap);
  if (link == GC_NONE) {
    return GC_NONE;
  }
  gc_link *at = link_at(heap, link);
  at_store(&at->ref, ref);
  at_store(&at->owner, owner);
  at_store(&at->data, data);
  count(heap, kind, 1);
  at32_store_release(&at->kind, kind);
  gc_changed(heap, &heap->links.changes, link);
  log_if_young(heap, link, ref);
  if (gc_link_is_owned(kind)) {
    log_if_young(heap, link, owner);
  }
  return link;
}

bool gc_handle_drop(gc_heap *heap, uint32_t link) { return let_go(heap, link, GC_LINK_HANDLE); }

uintptr_t gc_link_read(gc_heap *heap, uint32_t link) { return gc_outer_read(heap, &link_at(heap, link)->ref); }

void gc_link_write(gc_heap *heap, uint32_t link, uintptr_t ref) {
  at_store_release(&link_at(heap, link)->ref, ref);
  gc_changed(heap, &heap->links.changes, link);
  log_if_young(heap, link, ref);
}

bool gc_final_take(gc_heap *heap, gc_final *out) {
  if (at_load(&heap->links.count[GC_LINK_READY]) == 0) {
    return false;
  }
  uint32_t link = dequeue(heap);
  if (link == GC_NONE) {
    return false;
  }
  gc_link *at = link_at(heap, link);
  *out = (gc_final){gc_link_read(heap, link), at_load(&at->owner), at_load(&at->data)};
  let_go(heap, link, GC_LINK_READY);
  return true;
}

uint32_t gc_link_serial(const gc_heap *heap, uint32_t link) { return at32_load(&link_at(heap, link)->serial); }

bool gc_final_cancel(gc_heap *heap, uint32_t link, uint32_t serial) {
  lock(heap); // so that it is not freed, and used again, between the two
  bool mine = link < at_load(&heap->links.high) && at32_load(&link_at(heap, link)->serial) == serial &&
              at32_cas_full(&link_at(heap, link)->kind, GC_LINK_FINAL, GC_LINK_FREE);
  if (mine) {
    put_locked(heap, link, false);
  }
  unlock(heap);
  count(heap, GC_LINK_FINAL, mine ? -1 : 0);
  return mine;
}

static void link_set(gc_heap *heap, uint32_t link, gc_link_kind kind, uintptr_t ref, uintptr_t owner, uintptr_t data) {
  gc_link *at = link_at(heap, link);
  at_store(&at->ref, ref);
  at_store(&at->owner, owner);
  at_store(&at->data, data);
  at32_store_release(&at->kind, kind);
  count(heap, kind, 1);
  if (gc_has_young(heap) && (gc_outer_is_logged(heap, ref) || gc_outer_is_logged(heap, owner))) {
    log_add(heap, link);
  }
}

bool gc_link_restore(gc_heap *heap, uint32_t link, gc_link_kind kind, uintptr_t ref, uintptr_t owner, uintptr_t data) {
  enum { GAP = 64 }; // longer ones are left alone, for to put them into the list of free links costs memory
  gc_links *links = &heap->links;
  uint64_t high = at_load(&links->high);
  if (link < high || link >= links->limit) {
    return false;
  }
  for (uint64_t i = link - high <= GAP ? high : link; i <= link; i++) {
    at32_store(&link_at(heap, i)->serial, links->serial);
    if (i < link) {
      link_at(heap, i)->next = links->free;
      links->free = (uint32_t)i + 1;
    }
  }
  at_store_release(&links->high, link + 1ull);
  link_set(heap, link, kind, ref, owner, data);
  return true;
}

// ---- Going back.

void gc_links_rollback(gc_heap *heap) {
  gc_links *links = &heap->links;
  uint64_t handles = at_load(&links->count[GC_LINK_HANDLE]);
  for (uint64_t i = 0; i < at_load(&links->high); i++) {
    gc_link *at = link_at(heap, i);
    uint32_t kind = at32_load(&at->kind);
    at_store(&at->ref, 0);
    at32_store(&at->logged, 0);
    if (kind == GC_LINK_FREE || kind == GC_LINK_HANDLE) {
      continue;
    }
    at_store(&at->owner, 0);
    at_store(&at->data, 0);
    at32_store(&at->serial, at32_load(&at->serial) + 1);
    at32_store(&at->kind, GC_LINK_FREE);
  }
  memset((void *)links->count, 0, sizeof links->count);
  at_store(&links->count[GC_LINK_HANDLE], handles);
  at_store(&links->log_count, 0);
  links->free = links->first = links->last = 0;
}

bool gc_link_restore_again(gc_heap *heap, uint32_t link, gc_link_kind kind, uintptr_t ref, uintptr_t owner, uintptr_t data) {
  if (link >= at_load(&heap->links.high)) {
    return gc_link_restore(heap, link, kind, ref, owner, data);
  }
  gc_link *at = link_at(heap, link);
  if (at32_load(&at->kind) != GC_LINK_FREE) {
    return false;
  }
  link_set(heap, link, kind, ref, owner, data);
  return true;
}

void gc_links_rolled_back(gc_heap *heap) {
  gc_links *links = &heap->links;
  links->free = 0;
  for (uint64_t i = at_load(&links->high); i-- > 0;) {
    gc_link *at = link_at(heap, i);
    if (at32_load(&at->kind) == GC_LINK_FREE && at_load(&at->data) == 0) {
      at->next = links->free;
      links->free = (uint32_t)i + 1;
    }
  }
}

// ---- Major cycles.

static bool is_strong(uint32_t kind) { return kind == GC_LINK_HANDLE || kind == GC_LINK_READY; }

void gc_links_flip(gc_heap *heap) {
  gc_links *links = &heap->links;
  at_store(&links->log_count, 0);
  at_store(&links->finals_traced, 0);
  bool any = at_load(&links->count[GC_LINK_HANDLE]) + at_load(&links->count[GC_LINK_READY]) != 0;
  at_store(&links->scan_next, 0);
  at_store(&links->scan_limit, any ? (at_load(&links->high) + CHUNK - 1) / CHUNK : 0);
  at_add_full(&heap->opened, at_load(&links->scan_limit)); // each is like a grey page (gc.count)
}

bool gc_links_scan(gc_heap *heap, gc_copier *copier) {
  gc_links *links = &heap->links;
  uint64_t limit = at_load(&links->scan_limit), chunk;
  if (at_load(&links->scan_next) >= limit || (chunk = at_add_full(&links->scan_next, 1)) >= limit) {
    return false;
  }
  uint64_t high = at_load_acquire(&links->high), end = (chunk + 1) * CHUNK;
  gc_copier_enter(copier);
  for (uint64_t i = chunk * CHUNK; i < end && i < high; i++) {
    gc_link *at = link_at(heap, i);
    uintptr_t view = at_load_acquire(&at->ref);
    if (is_strong(at32_load_acquire(&at->kind)) && gc_is_from(heap, view)) {
      gc_outer_forwarded(heap, copier, &at->ref, view);
    }
  }
  gc_copier_leave(copier);
  at_add_full(&heap->cleaned, 1);
  return true;
}

// Traces what only finalizers hold: it is whole when they get it.
static uint64_t finals_trace(gc_heap *heap) {
  uint64_t found = 0, high = at_load_acquire(&heap->links.high);
  gc_copier *copier = gc_copier_take(heap);
  for (uint64_t chunk = 0; chunk < high; chunk += CHUNK) {
    gc_copier_enter(copier); // services need not wait for all of them
    for (uint64_t i = chunk; i < chunk + CHUNK && i < high; i++) {
      gc_link *at = link_at(heap, i);
      uintptr_t view = at_load_acquire(&at->ref);
      // Ready from before it is reached: who asks for strong links next finds it done.
      if (at32_load_acquire(&at->kind) == GC_LINK_FINAL && gc_is_from(heap, view) && gc_outer_resolved(heap, view) == 0) {
        gc_outer_forwarded(heap, copier, &at->ref, view);
        at32_store_release(&at->kind, GC_LINK_READY);
        enqueue(heap, (uint32_t)i);
        found++;
      }
    }
    gc_copier_leave(copier);
  }
  gc_copier_give(heap, copier);
  return found;
}

static void tell_ready(gc_heap *heap) {
  if (heap->world.finals != NULL) {
    heap->world.finals(heap->world.arg);
  }
}

bool gc_links_finish(gc_heap *heap) {
  gc_links *links = &heap->links;
  if (at_load_acquire(&links->finals_traced) == 2) {
    return true;
  }
  if (at_load(&links->count[GC_LINK_FINAL]) == 0) {
    return at_load(&links->finals_traced) == 0; // none; or somebody is just making them ready
  }
  if (!at_cas_full(&links->finals_traced, 0, 1)) {
    return false;
  }
  at_add_full(&heap->opened, 1); // the cycle does not end meanwhile; or it has (gc.count)
  uint64_t found = gc_phase_now(heap) == GC_SCANNING ? finals_trace(heap) : 0;
  at_store_release(&links->finals_traced, 2);
  at_add_full(&heap->cleaned, 1);
  if (found != 0) {
    tell_ready(heap);
  }
  return found == 0;
}

static void link_settle(gc_heap *heap, uint32_t link) {
  gc_link *at = link_at(heap, link);
  uint32_t kind = at32_load_acquire(&at->kind);
  if (kind == GC_LINK_FREE) {
    return;
  }
  uintptr_t view = at_load_acquire(&at->ref), owner = gc_link_is_owned(kind) ? at_load_acquire(&at->owner) : 0;
  if (gc_is_from(heap, owner)) {
    uintptr_t now = gc_outer_resolved(heap, owner);
    if (now == 0) {
      owner_died(heap, link, kind);
      return;
    }
    at_cas_full(&at->owner, owner, now);
    owner = now;
  }
  if (gc_is_from(heap, view)) {
    uintptr_t now = gc_outer_resolved(heap, view);
    at_cas_full(&at->ref, view, now);
    view = now;
  }
  // What a flip pinned in the zone is young again when the cycle is over.
  if (gc_has_young(heap) && (gc_outer_is_logged(heap, view) || gc_outer_is_logged(heap, owner))) {
    gc_sweep_lock(heap); // not while a minor cycle makes the log anew
    log_add(heap, link);
    gc_sweep_unlock(heap);
  }
}

bool gc_links_settle(gc_heap *heap) {
  uint64_t high = at_load_acquire(&heap->links.high);
  gc_copier *copier = gc_copier_take(heap);
  for (uint64_t chunk = 0; chunk < high; chunk += CHUNK) {
    gc_copier_enter(copier);
    for (uint64_t i = chunk; i < chunk + CHUNK && i < high; i++) {
      link_settle(heap, (uint32_t)i);
    }
    gc_copier_leave(copier);
  }
  gc_copier_give(heap, copier);
  return high != 0;
}

// ---- Minor cycles: the world is stopped, but scanners and a sweep are not.

void gc_links_minor_begin(gc_minor *minor) {
  gc_heap *heap = minor->heap;
  gc_links *links = &heap->links;
  if (at_load(&links->log_count) == 0) {
    return;
  }
  gc_sweep_lock(heap); // a sweep may be about to add to the log
  for (uint64_t i = 0; i < at_load(&links->log_count); i++) {
    gc_link *at = link_at(heap, links->log[i]);
    uintptr_t view = at_load(&at->ref);
    if (is_strong(at32_load_acquire(&at->kind)) && gc_is_young(heap, view)) {
      at_store(&at->ref, gc_minor_forward(minor, view));
    }
  }
  gc_sweep_unlock(heap);
}

bool gc_links_minor_finals(gc_minor *minor) {
  gc_heap *heap = minor->heap;
  gc_links *links = &heap->links;
  if (at_load(&links->log_count) == 0) {
    return false;
  }
  uint64_t found = 0;
  gc_sweep_lock(heap);
  for (uint64_t i = 0; i < at_load(&links->log_count); i++) {
    uint32_t link = links->log[i];
    gc_link *at = link_at(heap, link);
    uintptr_t view = at_load(&at->ref);
    if (at32_load_acquire(&at->kind) == GC_LINK_FINAL && gc_is_young(heap, view) && gc_outer_survivor(heap, view) == 0) {
      at_store(&at->ref, gc_minor_forward(minor, view));
      at32_store_release(&at->kind, GC_LINK_READY);
      enqueue(heap, link);
      found++;
    }
  }
  gc_sweep_unlock(heap);
  if (found != 0) {
    tell_ready(heap);
  }
  return found != 0;
}

// True: it stays in the log.
static bool minor_settle(gc_heap *heap, uint32_t link) {
  gc_link *at = link_at(heap, link);
  uint32_t kind = at32_load_acquire(&at->kind);
  uintptr_t view = at_load(&at->ref), owner = gc_link_is_owned(kind) ? at_load(&at->owner) : 0;
  if (kind == GC_LINK_FREE) {
    return false;
  }
  if (gc_is_young(heap, owner)) {
    uintptr_t now = gc_outer_survivor(heap, owner);
    if (now == 0) {
      owner_died(heap, link, kind);
      return false;
    }
    at_store(&at->owner, now);
    owner = now;
  }
  if (gc_is_young(heap, view) && !is_strong(kind)) {
    uintptr_t now = gc_outer_survivor(heap, view);
    at_store(&at->ref, now);
    view = now;
  }
  return gc_outer_is_logged(heap, view) || gc_outer_is_logged(heap, owner);
}

void gc_links_minor_settle(gc_heap *heap) {
  gc_links *links = &heap->links;
  if (at_load(&links->log_count) == 0) {
    return;
  }
  gc_sweep_lock(heap);
  uint64_t left = 0;
  for (uint64_t i = 0; i < at_load(&links->log_count); i++) {
    uint32_t link = links->log[i];
    if (minor_settle(heap, link)) {
      links->log[left++] = link;
    } else {
      at32_store(&link_at(heap, link)->logged, 0);
    }
  }
  at_store(&links->log_count, left);
  gc_sweep_unlock(heap);
}
