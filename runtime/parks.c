// SPDX-License-Identifier: MIT
// parks.c: pages whose contents a service has away: parking, what they hold, their memory.
//
// Neighbours: gc/parked.c makes the notes and uses them; hooks.c lays and settles the claims. Any thread, and callbacks in traps.

#include <sched.h>
#include "gc/parked.h"
#include "runtime/services.h"

static bool is_absent_for(const veil_service *s, size_t page) {
  return page < s->heap->services->pages && AO_char_load_acquire((unsigned char volatile *)rt_owner_of(s->heap, page, VEIL_ABSENT)) == s->owner;
}

RT_EXPORT size_t veil_page_park(veil_service *s, size_t page, void *notes, size_t room) {
  if (((uintptr_t)notes & 7) != 0) {
    vm_fatal("veil_page_park: service %s: notes at %p, which is not aligned to 8 bytes", s->name, notes);
  }
  if (!is_absent_for(s, page)) {
    return 0;
  }
  sigset_t saved;
  rt_thread *self;
  if (!rt_service_try(s->heap, &self, &saved)) {
    at_add(&s->heap->gc->park_refused[GC_PARK_CYCLE], 1);
    return 0;
  }
  size_t bytes = is_absent_for(s, page) ? gc_park(s->heap->gc, page, notes, room) : 0; // what ends meanwhile is not held any more
  rt_service_leave(s->heap, self, &saved);
  return bytes;
}

RT_EXPORT bool veil_page_unpark(veil_service *s, size_t page) {
  if (!vm_settling()) {
    vm_fatal("veil_page_unpark: service %s: called outside of the callback `absent`", s->name);
  }
  return is_absent_for(s, page) && gc_unpark(s->heap->gc, page);
}

RT_EXPORT veil_status veil_page_fill(veil_service *s, size_t page, void *contents) {
  if (!vm_settling() || !is_absent_for(s, page)) {
    vm_fatal("veil_page_fill: service %s: called outside of the callback `absent` for page %zu", s->name, page);
  }
  gc_heap *gc = s->heap->gc;
  gc_parked_put(gc, page, contents);
  if (!vm_fill(gc->region, page, 1, contents)) {
    return VEIL_NO_MEMORY;
  }
  gc_parked_drop(gc, page);
  return VEIL_OK;
}

RT_EXPORT bool veil_page_parked_at(veil_service *s, size_t page, void *notes) {
  if (((uintptr_t)notes & 7) != 0) {
    vm_fatal("veil_page_parked_at: service %s: notes at %p, which is not aligned to 8 bytes", s->name, notes);
  }
  sigset_t saved;
  rt_thread *self = rt_service_enter(s->heap, &saved);
  bool moved = is_absent_for(s, page) && gc_parked_move(s->heap->gc, page, notes);
  rt_service_leave(s->heap, self, &saved);
  return moved;
}

RT_EXPORT veil_status veil_page_drop(veil_service *s, size_t page, size_t count) {
  veil_heap *heap = s->heap;
  VM_CHECK(page < heap->services->pages && count <= heap->services->pages - page, "veil_page_drop: service %s: no such pages", s->name);
  sigset_t saved;
  rt_thread *self = rt_service_enter(heap, &saved); // rt.fork
  bool dropped = vm_drop(heap->gc->region, page, count);
  rt_service_leave(heap, self, &saved);
  if (!dropped) {
    rt_error_set("veil_page_drop: service %s: the system does not take the memory back", s->name);
  }
  return dropped ? VEIL_OK : VEIL_IO;
}

// ---- Contents that are wanted and stay away.

// Who has the page away, and can say what it holds. NULL: nobody, or the contents are there, since the claim has not stood yet.
static veil_service *copier_of(veil_heap *heap, size_t page) {
  unsigned index = AO_char_load_acquire((unsigned char volatile *)rt_owner_of(heap, page, VEIL_ABSENT));
  veil_service *s = index > 0 && index <= RT_SERVICES && (vm_claims(heap->gc->region, page) & VM_ABSENT) ? rt_service_at(heap->services, (int)index - 1) : NULL;
  return s != NULL && s->callbacks.copy != NULL && at_load_acquire(&s->pending) != (page + 1) * 4 + VEIL_ABSENT ? s : NULL;
}

bool rt_can_copy(veil_heap *heap, size_t page) { return copier_of(heap, page) != NULL; }

// The page is held, so ABSENT stays, and its service.
static bool held_copy(veil_heap *heap, size_t page, void *to) {
  veil_service *s = copier_of(heap, page);
  vm_view_forbid(true);
  bool copied = s != NULL && s->callbacks.copy(s->arg, page, to);
  vm_view_forbid(false);
  if (copied) {
    gc_parked_put(heap->gc, page, to);
    at_add(&heap->copied_away, 1);
  }
  return copied;
}

static bool is_unsaved_for(const veil_service *s, size_t page) { return AO_char_load_acquire((unsigned char volatile *)rt_owner_of(s->heap, page, VEIL_UNSAVED)) == s->owner; }

// Somebody else who saves it at the same moment has a page for some microseconds: it would be put back for nothing.
static bool hold_unsaved(vm_region *region, size_t page) {
  enum { TRIES = 64 };
  unsigned both = VM_ABSENT | VM_UNSAVED;
  for (unsigned tries = 0; !vm_hold(region, page, VM_UNSAVED); tries++) {
    if (tries == TRIES || (vm_claims(region, page) & both) != both) {
      return false;
    }
    sched_yield();
  }
  return true;
}

RT_EXPORT bool veil_page_save(veil_service *s, size_t page, void *to) {
  veil_heap *heap = s->heap;
  vm_region *region = heap->gc->region;
  if (page >= heap->services->pages || !is_unsaved_for(s, page) || !rt_can_copy(heap, page)) {
    return false;
  }
  bool saved = false;
  sigset_t signals;
  rt_thread *self = rt_service_enter(heap, &signals);
  if (hold_unsaved(region, page)) {
    saved = is_unsaved_for(s, page) && held_copy(heap, page, to);
    if (saved) {
      rt_claim_done(heap, page, VEIL_UNSAVED);
    }
    vm_let(region, page, saved ? VM_UNSAVED : 0);
  }
  rt_service_leave(heap, self, &signals);
  return saved;
}

RT_EXPORT bool veil_page_copy(veil_service *s, size_t page, void *to) {
  veil_heap *heap = s->heap;
  VM_CHECK(at32_load(&s->instants) != 0, "veil_page_copy: service %s: called outside of an instant", s->name);
  vm_region *region = heap->gc->region;
  if (page >= heap->services->pages || !(vm_claims(region, page) & VM_ABSENT)) {
    return false;
  }
  bool held = vm_hold(region, page, VM_ABSENT), copied = held && held_copy(heap, page, to);
  if (held) {
    vm_let(region, page, 0);
  }
  if (!copied) { // or somebody has it back just now
    vm_settle(region, page, VM_ABSENT, false, false);
  }
  return copied;
}

RT_EXPORT veil_parks veil_heap_parks(veil_heap *heap) {
  const gc_heap *gc = heap->gc;
  veil_parks out = {
      .pages = at_load(&gc->parked_pages),
      .scanned = at_load(&gc->parked_scanned),
      .misfits = at_load(&gc->parked_misfits),
      .saved = at_load(&gc->parked_saved),
  };
  _Static_assert(VEIL_PARK_REFUSALS == (int)GC_PARK_REFUSALS, "the collector's reasons are the public ones");
  out.copied = at_load(&heap->copied_away);
  for (int i = 0; i < VEIL_PARK_REFUSALS; i++) {
    out.refused[i] = at_load(&gc->park_refused[i]);
  }
  return out;
}
