// SPDX-License-Identifier: MIT
// services.h: services as hooks.c and instant.c see them. Not for use elsewhere.

#ifndef RT_SERVICES_H
#define RT_SERVICES_H

#include "runtime/note.h"
#include "veil/hooks.h"

struct veil_service {
  // Constant.
  veil_heap *heap;
  const char *name;
  veil_service_callbacks callbacks;
  void *arg;
  uint8_t owner; // index + 1
  // One thread per service.
  int consumer; // of Dirty, or -1
  bool copies;  // it takes instants that copy: leaf pages rest
  uint64_t asked[2]; // number of the cycle, and of the minor one, when it asked Dirty first; UINT64_MAX: one came meanwhile
  bool has_asked;
  // Atomic.
  AO_t pending;               // 0, or 4 * (the page whose claim has not stood yet + 1) + the claim
  uint32_t volatile keeps;    // 1: blocks are to stay in place
  uint32_t volatile instants; // 1: one is being taken
  AO_t unsealing;              // the chunk, by its first page, in which veil_service_settle_some was last called
  pthread_mutex_t lock;       // one claim at a time
};

typedef struct rt_services {
  veil_service *volatile service[RT_SERVICES]; // under touch_lock; read atomically
  uint8_t volatile *absent, *unsaved;          // per page: owner, 0: none
  size_t pages;
  AO_t unsaved_count; // pages that carry UNSAVED
  AO_t telling; // threads in rt_services_tell
  uint32_t volatile sampler; // owner: who asks what was touched; 0: nobody
  AO_t span_ns[RT_SERVICES]; // of each one's last instant, once the world has been stopped again; 0: it has not
} rt_services;

static inline uint8_t volatile *rt_owner_of(veil_heap *heap, size_t page, veil_claim claim) {
  return claim == VEIL_ABSENT ? &heap->services->absent[page] : &heap->services->unsaved[page];
}

// No page from here on was ever in use.
static inline size_t rt_pages_used(const gc_heap *gc) { return gc_block_page(gc, at32_load(&gc->large_high)); }

// Pages that were ever in use: [0, small) and [large, used). There can be much between them.
typedef struct rt_zones {
  size_t small, large, used;
} rt_zones;
static inline rt_zones rt_zones_of(const gc_heap *gc) {
  uint64_t fresh = at_load(&gc->fresh);
  return (rt_zones){gc_block_page(gc, fresh < gc->small_blocks ? (uint32_t)fresh : gc->small_blocks), gc_block_page(gc, gc->small_blocks), rt_pages_used(gc)};
}

// ---- hooks.c
// Whether the page's contents are away, and who has them can copy them. A hint unless the page is held, or the world stopped.
bool rt_can_copy(veil_heap *heap, size_t page);

// ---- sample.c
// The service, by its number (0: none), asks no more what was touched.
void rt_touched_end(veil_heap *heap, unsigned owner);

// NULL: none has this number.
static inline veil_service *rt_service_at(rt_services *services, int index) { return (veil_service *)at_load_acquire((AO_t volatile *)&services->service[index]); }

// By who holds the page: the claim ends without a callback.
void rt_claim_done(veil_heap *heap, size_t page, veil_claim claim);

// Any thread may work for a service. One that is a mutator too, and runs, must not be stopped while it holds a lock. NULL: it counts as at work.
rt_thread *rt_service_enter(veil_heap *heap, sigset_t *saved);
// The same, but who is no mutator does not wait: a trap's callback may be waiting for him, and the stop, or the fork, that he would wait for is waiting for the trap. False: he would have to.
bool rt_service_try(veil_heap *heap, rt_thread **self, sigset_t *saved);
void rt_service_leave(veil_heap *heap, rt_thread *self, const sigset_t *saved);

// Has the service watch writes, if it does not yet. False: all consumers of Dirty are taken.
bool rt_service_watch(veil_service *s);
// As vm_dirty, in its two parts, of all pages that were ever in use, for the service. What lies between the small zone and the large one is passed over: there can be much of it. False: more than `most` pages (0: any number) were written, and not
// all was asked for; the next call does.
bool rt_dirty_find(veil_service *s, size_t most);
void rt_dirty_visit(veil_service *s, void (*visit)(void *arg, size_t page), void *arg);
// Of a page that a harvest reports: whether it is in use. If not, Dirty keeps that it was written.
bool rt_dirty_counts(gc_heap *gc, size_t page, int consumer);
// Sets the bits of pages in use of the range that were written since the service last asked, and arms them. Of others Dirty keeps what it knows. Between rt_service_enter and
// rt_service_leave with touch_lock, or with the world stopped.
void rt_service_harvest(veil_service *s, uint8_t *bits, size_t page, size_t count);

#endif
