// SPDX-License-Identifier: MIT
// hooks.c: services: claims of their own on pages of the heap.
//
// Two bytes per page say whose the ABSENT and the UNSAVED claim is. They change under touch_lock when a claim is laid, and
// by the holder of the page (vm's BUSY) when it is settled.
//
// A claim stands only after a grace period: whoever looked for claims before it was laid may still be at the page through the alias, so
// veil_service_claim waits until every copier was outside once. A settle before that ends the claim without the service.

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include "gc/parked.h"
#include "runtime/futex.h"
#include "runtime/services.h"
#include "vm/os.h"

enum { FIND_BYTES = 256 << 20 }; // asked for at once, where it is of interest whether too many were written

bool rt_services_open(veil_heap *heap) {
  size_t pages = heap->gc->region->pages;
  heap->services = calloc(1, sizeof *heap->services);
  if (heap->services == NULL) {
    return false;
  }
  uint8_t *tables = os_map_private(pages * 2); // touched only where there are claims
  if (tables == NULL) {
    free(heap->services);
    heap->services = NULL;
    return false;
  }
  heap->services->absent = tables;
  heap->services->unsaved = tables + pages;
  heap->services->pages = pages;
  return true;
}

void rt_services_close(veil_heap *heap) {
  if (heap->services == NULL) {
    return;
  }
  for (int i = 0; i < RT_SERVICES; i++) {
    if (heap->services->service[i] != NULL) {
      vm_fatal("veil_close: service %s is still open", heap->services->service[i]->name);
    }
  }
  os_unmap((void *)heap->services->absent, heap->services->pages * 2);
  free(heap->services);
}

void rt_services_tell(veil_heap *heap, rt_event event) {
  bool minor = event == RT_BEFORE_MINOR || event == RT_AFTER_MINOR, before = event == RT_BEFORE_FLIP || event == RT_BEFORE_MINOR;
  uint64_t number = (minor ? at_load(&heap->gc->minor_cycles) : heap->gc->cycle) + before;
  at_add_full(&heap->services->telling, 1);
  for (int i = 0; i < RT_SERVICES; i++) {
    veil_service *s = rt_service_at(heap->services, i);
    if (s == NULL) {
      continue;
    }
    void (*const fn[])(void *, uint64_t) = {
        [RT_BEFORE_FLIP] = s->callbacks.before_flip,   [RT_AFTER_FLIP] = s->callbacks.after_flip,
        [RT_CYCLE_ENDED] = s->callbacks.cycle_ended,   [RT_BEFORE_MINOR] = s->callbacks.before_minor,
        [RT_AFTER_MINOR] = s->callbacks.after_minor,
    };
    if (fn[event] != NULL) {
      fn[event](s->arg, number);
    }
  }
  at_add_full(&heap->services->telling, (uint64_t)-1);
}

// The claim on the page ends: its owner, or NULL if it has not stood yet (then nobody needs to be told).
static veil_service *claim_end(veil_heap *heap, size_t page, veil_claim claim) {
  uint8_t volatile *owner = rt_owner_of(heap, page, claim);
  unsigned index = AO_char_load_acquire((unsigned char volatile *)owner);
  VM_CHECK(index > 0 && index <= RT_SERVICES, "page %zu has a claim of nobody", page);
  veil_service *s = rt_service_at(heap->services, (int)index - 1);
  bool stood = !at_cas_full(&s->pending, (page + 1) * 4 + claim, 0);
  return stood ? s : NULL;
}

static void claim_tell(veil_heap *heap, const veil_service *s, size_t page, veil_claim claim) {
  if (s != NULL) {
    at_add(&heap->claims_settled, 1);
    rt_note_it(heap, RT_NOTE_SETTLED, page, claim, (uint64_t)s->name);
  }
}

static void claim_forget(veil_heap *heap, size_t page, veil_claim claim) {
  AO_char_store_release((unsigned char volatile *)rt_owner_of(heap, page, claim), 0);
  at_add_full(&heap->gc->service_claims, (uint64_t)-1);
  if (claim == VEIL_UNSAVED) {
    at_add_full(&heap->services->unsaved_count, (uint64_t)-1);
  }
}

void rt_claim_done(veil_heap *heap, size_t page, veil_claim claim) {
  claim_tell(heap, claim_end(heap, page, claim), page, claim);
  claim_forget(heap, page, claim);
}

// Pages of a heap that came out of a file (restore.c) have no service.
static bool is_restored(const veil_heap *heap, size_t page) {
  return AO_char_load_acquire((unsigned char volatile *)&heap->services->absent[page]) == RT_RESTORED;
}

bool rt_restored_is_absent(const veil_heap *heap, size_t page) { return is_restored(heap, page); }

void rt_restored_claim(veil_heap *heap, size_t page, size_t count) {
  memset((void *)&heap->services->absent[page], RT_RESTORED, count); // nobody else is there yet
  at_add_full(&heap->gc->service_claims, count);
}

void rt_restored_forget(veil_heap *heap, size_t page) { claim_forget(heap, page, VEIL_ABSENT); }

void rt_world_absent(void *arg, size_t page) {
  veil_heap *heap = arg;
  if (is_restored(heap, page)) {
    rt_restore_absent(heap, page);
    claim_forget(heap, page, VEIL_ABSENT);
    return;
  }
  veil_service *s = claim_end(heap, page, VEIL_ABSENT);
  if (s != NULL && s->callbacks.absent != NULL) {
    s->callbacks.absent(s->arg, page);
  }
  claim_tell(heap, s, page, VEIL_ABSENT);
  claim_forget(heap, page, VEIL_ABSENT);
}

void rt_world_unsaved(void *arg, size_t page) {
  veil_heap *heap = arg;
  veil_service *s = claim_end(heap, page, VEIL_UNSAVED);
  if (s != NULL && s->callbacks.unsaved != NULL) {
    s->callbacks.unsaved(s->arg, page);
  }
  claim_tell(heap, s, page, VEIL_UNSAVED);
  claim_forget(heap, page, VEIL_UNSAVED);
}

void rt_world_discarded(void *arg, size_t page, size_t count) {
  veil_heap *heap = arg;
  for (size_t i = page; i < page + count; i++) {
    if (is_restored(heap, i)) {
      rt_restore_discarded(heap, i);
      claim_forget(heap, i, VEIL_ABSENT);
      continue;
    }
    veil_service *s = claim_end(heap, i, VEIL_ABSENT);
    if (s != NULL && s->callbacks.discarded != NULL) {
      s->callbacks.discarded(s->arg, i, 1);
    }
    claim_tell(heap, s, i, VEIL_ABSENT);
    claim_forget(heap, i, VEIL_ABSENT);
  }
}

// NULL: the caller's thread is no mutator of the heap, or between brackets, where no stop would wait for it.
static rt_thread *self_find(const veil_heap *heap) {
  rt_fork_lost(heap, "veil_service_*");
  rt_thread *self = rt_here;
  while (self != NULL && self->heap != heap) {
    self = self->next_here;
  }
  return self != NULL && at32_load(&self->state) == RT_RUNNING ? self : NULL;
}

rt_thread *rt_service_enter(veil_heap *heap, sigset_t *saved) {
  rt_thread *self = self_find(heap);
  if (self != NULL) {
    rt_enter(self);
  } else {
    rt_work_begin(heap);
  }
  os_signals_block(saved);
  return self;
}

bool rt_service_try(veil_heap *heap, rt_thread **self, sigset_t *saved) {
  *self = self_find(heap);
  if (*self != NULL) {
    rt_enter(*self);
  } else if (!rt_work_try(heap)) {
    return false;
  }
  os_signals_block(saved);
  return true;
}

void rt_service_leave(veil_heap *heap, rt_thread *self, const sigset_t *saved) {
  os_signals_restore(saved);
  if (self != NULL) {
    rt_leave(self);
  } else {
    rt_work_end(heap);
  }
}

RT_EXPORT veil_service *veil_service_open(veil_heap *heap, const char *name, const veil_service_callbacks *callbacks,
                                          void *arg) {
  rt_section_refuse("veil_service_open");
  veil_service *s = calloc(1, sizeof *s);
  if (s == NULL || name == NULL || callbacks == NULL) {
    rt_error_set("veil_service_open: %s", s == NULL ? "no memory" : "a service needs a name and callbacks");
    free(s);
    return NULL;
  }
  *s = (veil_service){.heap = heap, .name = name, .callbacks = *callbacks, .arg = arg, .consumer = -1};
  pthread_mutex_init(&s->lock, NULL);
  sigset_t saved;
  rt_thread *self = rt_service_enter(heap, &saved);
  pthread_mutex_lock(&heap->touch_lock);
  for (int i = 0; i < RT_SERVICES && s->owner == 0; i++) {
    if (heap->services->service[i] == NULL) {
      s->owner = (uint8_t)(i + 1);
      at_store_release((AO_t volatile *)&heap->services->service[i], (uint64_t)s);
    }
  }
  pthread_mutex_unlock(&heap->touch_lock);
  rt_service_leave(heap, self, &saved);
  if (s->owner == 0) {
    rt_error_set("veil_service_open: %s: %d services are open already", name, RT_SERVICES);
    free(s);
    return NULL;
  }
  return s;
}

RT_EXPORT void veil_service_keep_in_place(veil_service *s, bool keeps) {
  if (at32_cas_full(&s->keeps, !keeps, keeps)) {
    gc_keep_in_place(s->heap->gc, keeps);
  }
}

RT_EXPORT void veil_service_work(veil_service *s, void (*fn)(void *arg), void *arg) {
  if (self_find(s->heap) != NULL || vm_settling()) {
    vm_fatal("veil_service_work: service %s: called %s", s->name, vm_settling() ? "in a callback" : "by a thread that is attached, and runs");
  }
  sigset_t saved;
  rt_thread *self = rt_service_enter(s->heap, &saved);
  fn(arg);
  rt_service_leave(s->heap, self, &saved);
}

RT_EXPORT void veil_service_cycle(veil_service *s) {
  at32_store_release(&s->heap->cycle_asked, 1);
  rt_post(&s->heap->keeper_work);
}

// Who asked for it is the parent's, and may have been about to.
void rt_services_fork(veil_heap *heap) {
  for (int i = 0; i < RT_SERVICES; i++) {
    veil_service *s = rt_service_at(heap->services, i);
    if (s != NULL) {
      at32_store(&s->keeps, 0);
    }
  }
  gc_keep_in_place_none(heap->gc);
  rt_touched_end(heap, at32_load(&heap->services->sampler));
}

RT_EXPORT void veil_service_close(veil_service *s) {
  rt_section_refuse("veil_service_close");
  veil_heap *heap = s->heap;
  veil_service_keep_in_place(s, false);
  rt_touched_end(heap, s->owner);
  sigset_t saved;
  rt_thread *self = rt_service_enter(heap, &saved);
  for (veil_claim claim = VEIL_ABSENT; claim <= VEIL_UNSAVED; claim++) {
    for (size_t page = 0; (page = veil_service_next(s, page, claim)) != SIZE_MAX; page++) {
      veil_service_settle(s, page, claim);
    }
  }
  veil_service_settle_some(s, 0, 1, VEIL_UNSAVED); // nobody needs to read what is to be saved, unless another service has claims
  if (s->consumer >= 0) {
    uint32_t mask;
    do { // another service may begin watching
      mask = at32_load(&heap->gc->dirty_mask);
    } while (!at32_cas_full(&heap->gc->dirty_mask, mask, mask & ~(1u << s->consumer)));
    vm_dirty_close(heap->gc->region, s->consumer);
    at_add_full(&heap->gc->service_claims, (uint64_t)-1);
  }
  if (s->copies && at_add_full(&heap->gc->leaves_rest, (uint64_t)-1) == 1) {
    vm_rouse(heap->gc->region, 0, heap->gc->region->pages);
  }
  pthread_mutex_lock(&heap->touch_lock);
  at_store_release((AO_t volatile *)&heap->services->service[s->owner - 1], 0);
  pthread_mutex_unlock(&heap->touch_lock);
  while (at_load_acquire(&heap->services->telling) != 0) {
    if (self != NULL) {
      rt_safepoint(self);
    } else {
      rt_work_pause(heap);
    }
    sched_yield();
  }
  rt_service_leave(heap, self, &saved);
  pthread_mutex_destroy(&s->lock);
  free(s);
}

RT_EXPORT veil_status veil_service_claim(veil_service *s, size_t page, veil_claim claim) {
  veil_heap *heap = s->heap;
  gc_heap *gc = heap->gc;
  if (claim != VEIL_ABSENT && claim != VEIL_UNSAVED) {
    rt_error_set("veil_service_claim: %d is no claim", (int)claim);
    return VEIL_INVALID;
  }
  unsigned bit = claim == VEIL_ABSENT ? VM_ABSENT : VM_UNSAVED;
  sigset_t saved;
  rt_thread *self = rt_service_enter(heap, &saved);
  pthread_mutex_lock(&s->lock);
  pthread_mutex_lock(&heap->touch_lock);
  uint8_t volatile *owner = page < gc->region->pages ? rt_owner_of(heap, page, claim) : NULL;
  bool free = owner != NULL && gc->region->traps && gc_page_in_use(gc, page) && !rt_world_touched(heap, page) &&
              AO_char_load_acquire((unsigned char volatile *)owner) == 0 && !(vm_claims(gc->region, page) & bit);
  if (free) {
    AO_char_store_release((unsigned char volatile *)owner, s->owner);
    at_store_release(&s->pending, (page + 1) * 4 + claim);
    at_add_full(&gc->service_claims, 1);
    at_add_full(&heap->services->unsaved_count, claim == VEIL_UNSAVED);
    vm_prot(gc->region, page, 1, bit, 0);
  }
  pthread_mutex_unlock(&heap->touch_lock);
  bool stood = false;
  if (free) {
    gc_grace_wait(gc);
    if (!gc_page_in_use(gc, page)) {
      // The block was freed after we looked, and before the claim could be seen: its contents are dead. Settled while it
      // is pending, it goes without a word.
      vm_settle(gc->region, page, bit, true, false);
    }
    stood = at_cas_full(&s->pending, (page + 1) * 4 + claim, 0);
    if (stood && !(vm_claims(gc->region, page) & bit)) {
      // Wiped by the release of the page's memory, which had looked for claims before this one was laid.
      claim_forget(heap, page, claim);
      stood = false;
    }
  }
  pthread_mutex_unlock(&s->lock);
  rt_service_leave(heap, self, &saved);
  if (!stood) {
    rt_error_set("veil_service_claim: page %zu is free, in use by a system call, claimed already, or was touched meanwhile", page);
  }
  return stood ? VEIL_OK : VEIL_BUSY;
}

RT_EXPORT void veil_service_settle(veil_service *s, size_t page, veil_claim claim) {
  veil_heap *heap = s->heap;
  if (page < heap->services->pages &&
      AO_char_load_acquire((unsigned char volatile *)rt_owner_of(heap, page, claim)) == s->owner) {
    sigset_t saved;
    rt_thread *self = rt_service_enter(heap, &saved);
    vm_settle(heap->gc->region, page, claim == VEIL_ABSENT ? VM_ABSENT : VM_UNSAVED, true, true);
    rt_service_leave(heap, self, &saved);
  }
}

static bool range_find(const veil_service *s, size_t page, size_t limit, size_t *most) {
  vm_region *region = s->heap->gc->region;
  size_t piece = *most != SIZE_MAX ? (size_t)FIND_BYTES >> s->heap->gc->page_shift : SIZE_MAX - page;
  for (size_t found; page < limit; page += piece) {
    size_t count = limit - page < piece ? limit - page : piece;
    vm_dirty_find(region, s->consumer, page, count);
    found = *most != SIZE_MAX ? vm_dirty_count(region, s->consumer, page, count) : 0;
    if (found > *most) {
      return false;
    }
    *most -= *most != SIZE_MAX ? found : 0;
    if (count < piece) {
      break;
    }
  }
  return true;
}

bool rt_dirty_find(veil_service *s, size_t most) {
  rt_zones z = rt_zones_of(s->heap->gc);
  most = most != 0 ? most : SIZE_MAX;
  return range_find(s, 0, z.small, &most) && range_find(s, z.large, z.used, &most);
}

void rt_dirty_visit(veil_service *s, void (*visit)(void *arg, size_t page), void *arg) {
  vm_region *region = s->heap->gc->region;
  rt_zones z = rt_zones_of(s->heap->gc);
  vm_dirty_answer(region, s->consumer, 0, z.small, visit, arg);
  if (z.used > z.large) {
    vm_dirty_answer(region, s->consumer, z.large, z.used - z.large, visit, arg);
  }
}

typedef struct dirty_set {
  gc_heap *gc;
  int consumer;
  uint8_t *bits; // one per page
} dirty_set;

bool rt_dirty_counts(gc_heap *gc, size_t page, int consumer) {
  if (gc_page_in_use(gc, page)) {
    return true;
  }
  if (gc_space(gc, gc_page_block(gc, page)) == 0) {
    vm_dirty_put_off(gc->region, page, 1u << consumer); // whoever takes it into use stirs (gc.news)
  } else {
    vm_dirty_note(gc->region, page, 1u << consumer); // it may just be coming into use
  }
  return false;
}

static void dirty_collect(void *arg, size_t page) {
  dirty_set *set = arg;
  if (rt_dirty_counts(set->gc, page, set->consumer)) {
    set->bits[page / 8] |= (uint8_t)(1u << page % 8);
  }
}

bool rt_service_watch(veil_service *s) {
  veil_heap *heap = s->heap;
  if (s->consumer >= 0) {
    return true;
  }
  sigset_t saved;
  rt_thread *self = rt_service_enter(heap, &saved);
  s->consumer = vm_dirty_open(heap->gc->region);
  rt_service_leave(heap, self, &saved);
  if (s->consumer < 0) {
    return false;
  }
  at32_or_full(&heap->gc->dirty_mask, 1u << s->consumer);
  at_add_full(&heap->gc->service_claims, 1); // the collector tells of its writes from now on
  return true;
}

void rt_service_harvest(veil_service *s, uint8_t *bits, size_t page, size_t count) {
  dirty_set set = {s->heap->gc, s->consumer, bits};
  vm_dirty(s->heap->gc->region, s->consumer, page, count, dirty_collect, &set);
}

RT_EXPORT size_t veil_service_dirty(veil_service *s, void (*visit)(void *arg, size_t page), void *arg) {
  veil_heap *heap = s->heap;
  gc_heap *gc = heap->gc;
  sigset_t saved;
  if (!rt_service_watch(s)) {
    rt_error_set("veil_service_dirty: %s: all consumers of Dirty are taken", s->name);
    return 0;
  }
  size_t pages = rt_pages_used(gc), count = 0;
  uint8_t *bits = os_map_private(pages / 8 + 1);
  if (bits == NULL) {
    rt_error_set("veil_service_dirty: %s: no memory for a bit per page", s->name);
    return 0;
  }
  // Pages are armed under touch_lock, since none may be that a system call writes; the service is called without it.
  rt_thread *self = rt_service_enter(heap, &saved);
  pthread_mutex_lock(&heap->touch_lock);
  uint64_t before[] = {at32_load(&gc->cycle), at_load(&gc->minor_cycles)};
  rt_service_harvest(s, bits, 0, pages);
  pthread_mutex_unlock(&heap->touch_lock);
  gc_grace_wait(gc); // the collector notes a page first and writes it then: now it is written
  for (int i = 0; i < 2 && !s->has_asked; i++) {
    s->asked[i] = before[i] == (i == 0 ? at32_load(&gc->cycle) : at_load(&gc->minor_cycles)) ? before[i] : UINT64_MAX;
  }
  s->has_asked = true;
  rt_service_leave(heap, self, &saved);
  for (size_t page = 0; page < pages; page++) {
    if (bits[page / 8] >> page % 8 & 1) {
      count++;
      visit(arg, page);
    }
  }
  os_unmap(bits, pages / 8 + 1);
  return count;
}

RT_EXPORT void veil_service_written(veil_service *s, size_t page, size_t count) {
  veil_heap *heap = s->heap;
  sigset_t saved;
  rt_thread *self = rt_service_enter(heap, &saved);
  for (size_t i = page; s->consumer >= 0 && i < page + count && i < heap->services->pages; i++) { // who does not watch yet is told of all
    vm_dirty_note(heap->gc->region, i, 1u << s->consumer);
  }
  rt_service_leave(heap, self, &saved);
}

RT_EXPORT veil_pages veil_heap_pages(veil_heap *heap) {
  vm_region *region = heap->gc->region;
  return (veil_pages){region->base, region->delta, region->page_size, region->pages};
}

RT_EXPORT void veil_service_asleep(veil_service *s, size_t page, size_t count) {
  gc_heap *gc = s->heap->gc;
  if (page > gc->region->pages || count > gc->region->pages - page) {
    vm_fatal("veil_service_asleep: service %s: %zu pages from %zu on, but the heap has %zu", s->name, count, page, (size_t)gc->region->pages);
  }
  for (size_t i = page; i < page + count; i = (i / gc->block_pages + 1) * gc->block_pages) {
    gc_asleep(gc, gc_page_block(gc, i));
  }
}

RT_EXPORT bool veil_page_in_use(veil_heap *heap, size_t page) { return gc_page_in_use(heap->gc, page); }

RT_EXPORT bool veil_page_is_saved(veil_heap *heap, size_t page) { return gc_page_is_saved(heap->gc, page); }

RT_EXPORT void veil_service_wait(veil_heap *heap, void (*fn)(void *arg), void *arg) {
  rt_section_refuse("veil_service_wait");
  rt_fork_lost(heap, "veil_service_wait");
  rt_thread *self = rt_here;
  while (self != NULL && at32_load(&self->state) != RT_RUNNING) {
    self = self->next_here;
  }
  if (self != NULL) {
    rt_block(self); // all that run
  }
  fn(arg);
  if (self != NULL) {
    rt_unblock(self);
  }
}
