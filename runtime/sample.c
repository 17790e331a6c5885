// SPDX-License-Identifier: MIT
// sample.c: which pages were touched since a service last asked (veil_service_touched).
//
// Neighbours: vm/idle.c asks the pages' words and takes access away; hooks.c has the rest of veil/hooks.h. Any thread.

#include "runtime/services.h"

enum { TOUCHED_AT_ONCE = 256 }; // pages: a stop waits so long

static void range_open(veil_heap *heap, size_t page, size_t limit) {
  for (; page < limit; page += TOUCHED_AT_ONCE) {
    sigset_t saved;
    rt_thread *self = rt_service_enter(heap, &saved);
    vm_unprot(heap->gc->region, page, limit - page < TOUCHED_AT_ONCE ? limit - page : TOUCHED_AT_ONCE, VM_IDLE);
    rt_service_leave(heap, self, &saved);
  }
}

// Nobody asks any more what was touched: idle pages open, for calls to the system do not trap.
void rt_touched_end(veil_heap *heap, unsigned owner) {
  if (owner == 0 || !at32_cas_full(&heap->services->sampler, owner, 0)) {
    return;
  }
  rt_zones z = rt_zones_of(heap->gc);
  range_open(heap, 0, z.small);
  range_open(heap, z.large, z.used);
}

typedef struct touched_look {
  bool (*looks)(void *arg, size_t page);
  void *arg;
  uint8_t bits[TOUCHED_AT_ONCE / 8];
} touched_look;

static bool touched_ask(void *arg, size_t page) {
  touched_look *look = arg;
  return look->looks == NULL || look->looks(look->arg, page);
}

static void touched_set(void *arg, size_t page) {
  touched_look *look = arg;
  look->bits[page % TOUCHED_AT_ONCE / 8] |= (uint8_t)(1u << page % 8);
}

// Pages [page, limit), some at a time.
static void range_look(veil_service *s, size_t page, size_t limit, bool (*looks)(void *arg, size_t page), void (*visit)(void *arg, size_t page), void *arg) {
  veil_heap *heap = s->heap;
  gc_heap *gc = heap->gc;
  for (size_t at = page, end; at < limit; at = end) {
    touched_look look = {looks, arg, {0}};
    end = at - at % TOUCHED_AT_ONCE + TOUCHED_AT_ONCE;
    end = end < limit ? end : limit;
    sigset_t saved;
    rt_thread *self = rt_service_enter(heap, &saved);
    vm_idle(gc->region, at, end - at, touched_ask, touched_set, &look);
    rt_service_leave(heap, self, &saved);
    for (size_t i = at; i < end; i++) {
      if ((look.bits[i % TOUCHED_AT_ONCE / 8] >> i % 8 & 1) && gc_page_in_use(gc, i)) {
        visit(arg, i);
      }
    }
  }
}

RT_EXPORT veil_status veil_service_touched(veil_service *s, size_t page, size_t count, bool (*looks)(void *arg, size_t page), void (*visit)(void *arg, size_t page), void *arg) {
  veil_heap *heap = s->heap;
  gc_heap *gc = heap->gc;
  if (page > gc->region->pages || count > gc->region->pages - page) {
    rt_error_set("veil_service_touched: %s: pages [%zu, +%zu) of %zu", s->name, page, count, gc->region->pages);
    return VEIL_INVALID;
  }
  if (!gc->region->traps) {
    rt_error_set("veil_service_touched: %s: nothing traps with the back end none", s->name);
    return VEIL_UNSUPPORTED;
  }
  if (at32_load_acquire(&heap->services->sampler) != s->owner && !at32_cas_full(&heap->services->sampler, 0, s->owner)) {
    rt_error_set("veil_service_touched: %s: another service asks already", s->name);
    return VEIL_BUSY;
  }
  rt_zones z = rt_zones_of(gc);
  size_t young = gc_block_page(gc, gc->young_blocks), limit = page + count;
  range_look(s, page > young ? page : young, limit < z.small ? limit : z.small, looks, visit, arg);
  range_look(s, page > z.large ? page : z.large, limit < z.used ? limit : z.used, looks, visit, arg);
  return VEIL_OK;
}
