// SPDX-License-Identifier: MIT
// instant.c: services: claims on all pages in use as of one instant; and what a service does with many claims at once.
//
// Neighbours: hooks.c has claims one by one, collect.c the stop (rt_at_instant), vm lays them. Any thread; what is called in the stop runs in the one that asked.
//
// Keeps rt.instant.

#include "runtime/futex.h"
#include "runtime/services.h"
#include "vm/os.h"

enum {
  NAP_US = 50,
  NAPS = 400,     // for the last mutators to run again, at most
  RUNS_LEAST = 512, // of dirty pages, for which no tables move however small the heap is
  GIVE_RUN = 256, // pages that veil_service_settle_some holds at most
};

typedef struct instant {
  veil_service *service;
  unsigned flags;
  const veil_instant_calls *calls;
  void *arg;
  uint8_t *bits; // per page: written since the service last asked. NULL: Dirty is not asked
  size_t pages;  // for which there are bits
  vm_move *move; // NULL: claims are laid run by run
  vm_laying laying; // VEIL_INSTANT_DIRTY: what does not move
  size_t copies;    // of how many pages more `now` is to be told, though they could be claimed
  bool copy;        // VEIL_INSTANT_COPY, which `flags` does not have: of all
  bool many;        // more were written than calls->most
  veil_instant_figures figures;
} instant;

static bool bit_at(const uint8_t *bits, size_t page) { return bits[page / 8] >> page % 8 & 1; }

static size_t bits_bytes(size_t pages) { return pages / 8 + 8; }

// Whether one of eight bytes is zero.
static bool has_zero(uint64_t bytes) { return ((bytes - 0x0101010101010101) & ~bytes & 0x8080808080808080) != 0; }

// The first place in [at, limit) of a table of bytes that has not this value; or limit.
static size_t next_other(const uint8_t volatile *table, size_t at, size_t limit, uint8_t value) {
  const uint64_t all = value * (uint64_t)0x0101010101010101;
  while (at < limit) {
    if (at % 8 == 0 && at + 8 <= limit && at_load((AO_t const volatile *)&table[at]) == all) {
      at += 8;
    } else if (at8_load(&table[at]) == value) {
      at++;
    } else {
      return at;
    }
  }
  return limit;
}

// ---- In the stop. Pages of transient objects are nobody's to save (gc.transient).

// What becomes of a page that is in use, and counts.
enum fate { STANDS, LAID, AT_ONCE };

static enum fate fate_of(instant *in, size_t page) {
  veil_heap *heap = in->service->heap;
  unsigned owner = AO_char_load((unsigned char volatile *)rt_owner_of(heap, page, VEIL_UNSAVED));
  if (owner == in->service->owner) {
    return STANDS; // it has not changed since that claim was laid
  }
  if (owner != 0 || in->copy || !heap->gc->region->traps || rt_world_touched(heap, page)) {
    return AT_ONCE;
  }
  if (in->copies != 0 && (vm_claims(heap->gc->region, page) & VM_ABSENT) == 0) { // contents that are away are not fetched in the stop
    in->copies--;
    return AT_ONCE;
  }
  return LAID;
}

// Whoever asks whose a claim is may look at any time, so they are written by atomics.
static void owners_set(uint8_t volatile *owners, size_t page, size_t limit, uint8_t owner) {
  const uint64_t all = owner * (uint64_t)0x0101010101010101;
  while (page < limit) {
    if (page % 8 == 0 && page + 8 <= limit) {
      at_store((AO_t volatile *)&owners[page], all);
      page += 8;
    } else {
      at8_store(&owners[page++], owner);
    }
  }
}

static void run_lay(instant *in, size_t page, size_t count) {
  veil_heap *heap = in->service->heap;
  owners_set(heap->services->unsaved, page, page + count, in->service->owner);
  at_add_full(&heap->gc->service_claims, count);
  at_add_full(&heap->services->unsaved_count, count);
  if (in->move != NULL && vm_moves(in->move, page)) {
    (in->flags & VEIL_INSTANT_DIRTY ? vm_move_claim : vm_move_lay)(in->move, page, count, VM_UNSAVED);
  } else if (in->flags & VEIL_INSTANT_DIRTY) {
    vm_lay(&in->laying, page, count); // Dirty was asked in this stop
  } else {
    vm_prot(heap->gc->region, page, count, VM_UNSAVED, 0);
  }
}

static void run_tell(instant *in, size_t page, size_t count) {
  vm_region *region = in->service->heap->gc->region;
  for (size_t i = page; i < page + count; i++) {
    if (vm_claims(region, i) & VM_ABSENT) {
      if (in->laying.runs != 0) {
        vm_lay_end(&in->laying); // that service's callback may open pages
      }
      if (in->calls == NULL || !in->calls->copies_away || !rt_can_copy(in->service->heap, i)) {
        vm_settle(region, i, VM_ABSENT, false, false); // UNSAVED is another's, so the contents have to be there now
      }
    }
  }
  if (in->calls != NULL && in->calls->now != NULL) {
    in->calls->now(in->arg, page, count);
  }
}

static void run_end(instant *in, enum fate fate, size_t page, size_t count) {
  if (count == 0) {
    return;
  }
  if (fate == LAID) {
    run_lay(in, page, count);
  } else if (in->move != NULL && vm_moves(in->move, page) && !(in->flags & VEIL_INSTANT_DIRTY)) {
    vm_move_lay(in->move, page, count, 0);
  }
  if (fate == AT_ONCE) {
    run_tell(in, page, count);
  }
  in->figures.claimed += fate == AT_ONCE ? 0 : count;
  in->figures.at_once += fate == AT_ONCE ? count : 0;
}

// [page, limit) are in use, and count.
static void run_take(instant *in, size_t page, size_t limit) {
  const uint8_t volatile *owners = in->service->heap->services->unsaved;
  bool moves = in->move != NULL && vm_moves(in->move, page); // then no page of it is touched
  while (page < limit) {
    size_t free = moves ? next_other(owners, page, limit, 0) : page;
    run_end(in, LAID, page, free - page);
    page = free;
    enum fate fate = LAID;
    size_t first = page;
    for (; page < limit && !(moves && at8_load(&owners[page]) == 0); page++) {
      enum fate this_fate = fate_of(in, page);
      if (this_fate != fate) {
        run_end(in, fate, first, page - first);
        first = page;
        fate = this_fate;
      }
    }
    run_end(in, fate, first, page - first);
  }
}

// Pages that were written, run by run. Where tables move, all others lose their access as well.
static void dirty_take(instant *in, size_t used) {
  gc_heap *gc = in->service->heap->gc;
  vm_lay_begin(&in->laying, gc->region, VM_UNSAVED, 1u << in->service->consumer); // what the system writes meanwhile is saved later
  for (size_t page = 0, chunk = VM_HUGE >> gc->page_shift; in->move != NULL && page < used; page += chunk) {
    if (vm_moves(in->move, page)) {
      vm_move_lay(in->move, page, used - page < chunk ? used - page : chunk, 0);
    }
  }
  for (size_t page = 0; page < used;) {
    if (page % 8 == 0) {
      page = next_other(in->bits, page / 8, (used + 7) / 8, 0) * 8;
    }
    size_t first = page;
    for (; page < used && bit_at(in->bits, page) && gc_page_is_saved(gc, page); page++) {
    }
    for (size_t chunk = VM_HUGE >> gc->page_shift, end; first < page; first = end) { // a chunk moves, or does not
      end = first - first % chunk + chunk < page ? first - first % chunk + chunk : page;
      run_take(in, first, end);
    }
    if (page < used && bit_at(in->bits, page) && !gc_is_transient(gc, gc_page_block(gc, page))) {
      vm_dirty_note(gc->region, page, 1u << in->service->consumer); // it was in use when it was asked for
    }
    page += page < used;
  }
  vm_lay_end(&in->laying);
}

// All pages in use, but for those of transient objects, chunk by chunk: those of a chunk move, or do not.
static void all_take(instant *in, size_t used) {
  gc_heap *gc = in->service->heap->gc;
  size_t chunk = VM_HUGE >> gc->page_shift;
  bool knows = in->flags & VEIL_INSTANT_WATCH, in_use;
  for (size_t page = 0, end; page < used; page = end) {
    size_t limit = page - page % chunk + chunk;
    end = gc_pages_alike(gc, page, limit < used ? limit : used, &in_use);
    bool moves = in->move != NULL && vm_moves(in->move, page);
    if (knows && moves) {
      (in_use ? vm_move_know : vm_move_doubt)(in->move, page, end - page, in->service->consumer);
    }
    if (in_use) {
      run_take(in, page, end);
    } else if (moves) {
      vm_move_lay(in->move, page, end - page, 0);
    }
  }
}

// Chunks that a system call uses stay where they are, and Dirty is asked about what does not move.
static void move_plan(instant *in, size_t used) {
  veil_heap *heap = in->service->heap;
  gc_heap *gc = heap->gc;
  size_t chunk = VM_HUGE >> gc->page_shift;
  for (uint64_t i = 0; i < at_load(&heap->touch_high); i++) {
    uintptr_t base = at_load(&heap->touched[i].base);
    for (size_t page = gc_page_at(gc, base); base != 0 && page <= gc_page_at(gc, at_load(&heap->touched[i].limit) - 1); page++) {
      vm_move_spare(in->move, page);
    }
  }
  vm_move_plan(in->move);
  if (in->flags & VEIL_INSTANT_DIRTY) {
    rt_service_harvest(in->service, in->bits, 0, used);
    return;
  }
  for (size_t page = 0; in->bits != NULL && page < used; page += chunk) {
    if (vm_stays(in->move, page)) {
      rt_service_harvest(in->service, in->bits, page, chunk);
    }
  }
}

static void take(veil_heap *heap, void *arg) {
  instant *in = arg;
  size_t used = rt_pages_used(heap->gc);
  if (in->move != NULL) {
    move_plan(in, used);
  } else if (in->bits != NULL) {
    rt_service_harvest(in->service, in->bits, 0, used);
  }
  if (in->flags & VEIL_INSTANT_DIRTY) {
    dirty_take(in, used);
  } else {
    all_take(in, used);
  }
  if (in->move != NULL) {
    vm_move_run(in->move, used, in->flags == VEIL_INSTANT_WATCH ? 1u << in->service->consumer : 0);
  }
  if (in->calls != NULL && in->calls->at != NULL) {
    in->calls->at(in->arg);
  }
}

// ---- Around it.

static rt_thread *self_running(const veil_heap *heap) {
  for (rt_thread *t = rt_here; t != NULL; t = t->next_here) {
    if (t->heap == heap) {
      if (t->critical != 0) {
        vm_fatal("veil_service_instant: called in a callback");
      }
      return at32_load(&t->state) == RT_RUNNING ? t : NULL; // between brackets it counts as no mutator
    }
  }
  return NULL;
}

static void where_check(const veil_heap *heap) {
  rt_section_refuse("veil_service_instant");
  rt_fork_lost(heap, "veil_service_instant");
  if (rt_working() || vm_trapping() || vm_settling()) {
    vm_fatal("veil_service_instant: called in a callback");
  }
}

// Memory for what is written in the stop, so that the system need not find it there.
static void tables_touch(const instant *in) {
  enum { SYSTEM_PAGE = 4096 };
  const gc_heap *gc = in->service->heap->gc;
  uint8_t volatile *owners = in->service->heap->services->unsaved;
  for (size_t page = 0, used = rt_pages_used(gc); page < used;) {
    size_t next = page - page % SYSTEM_PAGE + SYSTEM_PAGE;
    if (gc_page_in_use(gc, page)) {
      at8_or_full(&owners[page], 0);
      page = next;
    } else {
      page += gc->block_pages;
    }
  }
}

// What was written so far: nearly everything, so that hardly anything is left to be asked for, and armed, in the stop.
static void harvest_before(instant *in) {
  veil_heap *heap = in->service->heap;
  sigset_t saved;
  rt_thread *self = rt_service_enter(heap, &saved);
  pthread_mutex_lock(&heap->touch_lock);
  rt_service_harvest(in->service, in->bits, 0, rt_pages_used(heap->gc));
  pthread_mutex_unlock(&heap->touch_lock);
  rt_service_leave(heap, self, &saved);
}

// Pages that were written, and their runs.
static size_t dirty_count(const instant *in, size_t *runs) {
  size_t pages = 0;
  bool before = false;
  *runs = 0;
  for (size_t page = 0, used = rt_pages_used(in->service->heap->gc); page < used; page++) {
    bool dirty = bit_at(in->bits, page);
    *runs += dirty && !before;
    pages += dirty;
    before = dirty;
  }
  return pages;
}

// To take access away run by run takes 1 us each in the stop; to move all tables 1 to 2 ms per GiB, but opening all that was not written takes 70 afterwards, in which mutators do
// next to nothing. With one run for 16 pages the stop is longer by 15 ms per GiB, which is less than what a fork takes, and no work is lost.
// Not all of them are claimed, perhaps.
static bool moves_rather(instant *in) {
  size_t runs, pages = dirty_count(in, &runs), most = rt_pages_used(in->service->heap->gc) / 16;
  if (in->calls != NULL && in->calls->copies != NULL && in->service->heap->gc->region->traps) {
    in->copies = in->calls->copies(in->arg, pages);
  }
  return runs > in->copies && runs - in->copies > (most > RUNS_LEAST ? most : RUNS_LEAST);
}

static void unseal(veil_heap *heap) {
  vm_unsealing at = {0};
  for (bool more = vm_is_sealed(heap->gc->region); more;) {
    sigset_t saved;
    rt_thread *self = rt_service_enter(heap, &saved);
    more = vm_unseal_some(heap->gc->region, &at);
    rt_service_leave(heap, self, &saved);
  }
}

// Another service's instant may not be done with its tables. What is at rest is woken, so no fork may come between, wherever the caller is.
static vm_move *move_begin(veil_heap *heap) {
  for (;;) {
    bool busy;
    sigset_t saved;
    rt_thread *self = rt_service_enter(heap, &saved);
    vm_move *move = vm_move_open(heap->gc->region, &busy);
    if (busy && self != NULL) {
      rt_safepoint(self); // it may be waiting for a stop that waits for us
    }
    rt_service_leave(heap, self, &saved);
    if (!busy) {
      return move;
    }
    os_nap(NAP_US);
  }
}

static bool seal_begin(const instant *in) {
  sigset_t saved;
  rt_thread *self = rt_service_enter(in->service->heap, &saved);
  bool sealed = vm_move_seal(in->move);
  rt_service_leave(in->service->heap, self, &saved);
  return sealed;
}

// Dirty keeps all that was asked for.
static void harvest_undo(const instant *in) {
  veil_heap *heap = in->service->heap;
  sigset_t saved;
  rt_thread *self = rt_service_enter(heap, &saved);
  for (size_t page = 0, used = rt_pages_used(heap->gc); page < used; page++) {
    if (bit_at(in->bits, page)) {
      vm_dirty_note(heap->gc->region, page, 1u << in->service->consumer);
    }
  }
  rt_service_leave(heap, self, &saved);
}

// Pages that lost their access only because others did, get it back before somebody misses it.
static void reopen(const instant *in) {
  veil_heap *heap = in->service->heap;
  gc_heap *gc = heap->gc;
  for (size_t page = 0, used = rt_pages_used(gc); page < used; page += gc->block_pages) {
    if (gc_space(gc, gc_page_block(gc, page)) != 0) {
      sigset_t saved;
      rt_thread *self = rt_service_enter(heap, &saved);
      vm_reopen(gc->region, page, gc->block_pages);
      rt_service_leave(heap, self, &saved);
    }
  }
}

// What was moved away goes, by and by.
static void move_end(const instant *in) {
  veil_heap *heap = in->service->heap;
  for (bool more = in->move != NULL; more;) {
    sigset_t saved;
    rt_thread *self = rt_service_enter(heap, &saved);
    more = vm_move_tell(in->move);
    rt_service_leave(heap, self, &saved);
  }
  if (in->move != NULL) {
    if (in->flags & VEIL_INSTANT_DIRTY) {
      reopen(in);
    }
    vm_move_close(in->move);
  }
}

// The span of the stop, once all who waited for its end have run.
static uint64_t pause_wait(veil_heap *heap, const AO_t *final) {
  for (int naps = 0;; naps++) {
    bool all = at32_load_acquire(&heap->stop_waiting) == 0;
    uint64_t span = at_load(&heap->stop_span_ns);
    at_fence_full();
    uint64_t over = at_load_acquire(final); // not 0: the world has been stopped again, and `span` may be of that
    if (over != 0 || all || naps == NAPS) {
      return over != 0 ? over : span;
    }
    os_nap(NAP_US);
  }
}

static veil_status watch(const instant *in) {
  if (rt_service_watch(in->service)) {
    return VEIL_OK;
  }
  rt_error_set("veil_service_instant: %s: all consumers of Dirty are taken", in->service->name);
  return VEIL_UNSUPPORTED;
}

static void world_take(instant *in, AO_t *span, void (*then)(veil_heap *heap, void *arg), void *arg) {
  veil_heap *heap = in->service->heap;
  rt_thread *self = self_running(heap);
  if (self != NULL) {
    rt_enter(self);
  }
  rt_at_instant(heap, self, span, then, arg);
  if (self != NULL) {
    rt_leave(self);
  }
}

// ---- What was written is copied in the stop, and nothing is done before it or afterwards.

typedef struct copying {
  instant *in;
  size_t first, count; // the run of pages that was found last
} copying;

static size_t most_of(const instant *in) { return in->calls != NULL ? in->calls->most : 0; }

static void copied_tell(copying *c) {
  if (c->count != 0) {
    run_tell(c->in, c->first, c->count);
    c->in->figures.at_once += c->count;
  }
  c->count = 0;
}

// A page that carries the service's claim has not changed since that was laid.
static void copied_find(void *arg, size_t page) {
  copying *c = arg;
  const veil_service *s = c->in->service;
  if (!rt_dirty_counts(s->heap->gc, page, s->consumer) || !gc_page_is_saved(s->heap->gc, page) || at8_load(rt_owner_of(s->heap, page, VEIL_UNSAVED)) == s->owner) {
    return;
  }
  if (page != c->first + c->count) {
    copied_tell(c);
    c->first = page;
  }
  c->count++;
}

static void copied_take(veil_heap *heap, void *arg) {
  instant *in = arg;
  copying c = {.in = in};
  in->many = !rt_dirty_find(in->service, most_of(in));
  if (in->many) {
    return;
  }
  rt_dirty_visit(in->service, copied_find, &c);
  copied_tell(&c);
  if (in->calls != NULL && in->calls->at != NULL) {
    in->calls->at(in->arg);
  }
}

static veil_status dirty_copy(instant *in) {
  veil_heap *heap = in->service->heap;
  veil_status status = watch(in);
  if (status == VEIL_OK && !in->service->copies) {
    in->service->copies = true;
    at_add_full(&heap->gc->leaves_rest, 1);
  }
  if (status == VEIL_OK) {
    world_take(in, &heap->services->span_ns[in->service->owner - 1], copied_take, in);
    in->figures.pause_ns = at_load(&heap->stop_span_ns); // who waits for the stop's end may run a little later
    if (gc_wants_background(heap->gc)) {
      rt_post(&heap->work);
    }
  }
  if (in->many) {
    rt_error_set("veil_service_instant: %s: more than %zu pages were written", in->service->name, most_of(in));
    return VEIL_BUSY;
  }
  return status;
}

// ---- All else.

static veil_status claims_take(instant *in) {
  veil_heap *heap = in->service->heap;
  unsigned flags = in->flags;
  if (flags != 0) {
    in->bits = os_map_private(bits_bytes(in->pages));
    if (in->bits == NULL) {
      rt_error_set("veil_service_instant: %s: no memory for a bit per page", in->service->name);
      return VEIL_NO_MEMORY;
    }
    veil_status status = watch(in);
    if (status != VEIL_OK) {
      return status;
    }
  }
  if (flags & VEIL_INSTANT_DIRTY) {
    harvest_before(in);
  }
  if (!in->copy && (!(flags & VEIL_INSTANT_DIRTY) || moves_rather(in))) {
    in->move = move_begin(heap);
    unseal(heap);
    if (in->move != NULL && !(flags & VEIL_INSTANT_DIRTY)) { // else most pages are opened again at once
      in->figures.readable = seal_begin(in);
    }
  }
  in->figures.readable |= !vm_forbids_read(heap->gc->region, VM_UNSAVED);
  tables_touch(in);
  if (flags == VEIL_INSTANT_WATCH && in->move == NULL) {
    harvest_before(in);
  }
  AO_t *span = &heap->services->span_ns[in->service->owner - 1];
  world_take(in, span, take, in);
  in->figures.pause_ns = pause_wait(heap, span);
  if (flags == VEIL_INSTANT_DIRTY) {
    harvest_undo(in);
  }
  move_end(in);
  return VEIL_OK;
}

RT_EXPORT veil_status veil_service_instant(veil_service *s, unsigned flags, const veil_instant_calls *calls, void *arg, veil_instant_figures *out) {
  veil_heap *heap = s->heap;
  const unsigned both = VEIL_INSTANT_DIRTY | VEIL_INSTANT_WATCH, all = both | VEIL_INSTANT_COPY;
  where_check(heap);
  if ((flags & ~all) != 0) {
    rt_error_set("veil_service_instant: %u is no set of flags", flags);
    return VEIL_INVALID;
  }
  if (!at32_cas_full(&s->instants, 0, 1)) {
    vm_fatal("veil_service_instant: service %s takes another instant already", s->name);
  }
  instant in = {.service = s, .flags = flags & both, .copy = (flags & VEIL_INSTANT_COPY) != 0, .calls = calls, .arg = arg, .pages = heap->gc->region->pages};
  veil_status status = flags == all ? dirty_copy(&in) : claims_take(&in);
  if (in.bits != NULL) {
    os_unmap(in.bits, bits_bytes(in.pages));
  }
  at32_store_release(&s->instants, 0);
  if (out != NULL) {
    *out = in.figures;
  }
  return status;
}

// ---- Many claims.

RT_EXPORT size_t veil_service_next(veil_service *s, size_t page, veil_claim claim) {
  veil_heap *heap = s->heap;
  size_t used = rt_pages_used(heap->gc);
  const uint64_t all = s->owner * (uint64_t)0x0101010101010101;
  while (page < used) {
    uint8_t volatile *owner = rt_owner_of(heap, page, claim);
    if (page % 8 == 0 && page + 8 <= used && !has_zero(at_load((AO_t const volatile *)owner) ^ all)) {
      page += 8;
    } else if (AO_char_load_acquire((unsigned char volatile *)owner) == s->owner) {
      return page;
    } else {
      page++;
    }
  }
  return SIZE_MAX;
}

// Takes the page if its next claim is this one, and the service's; settles it. Then the caller holds it.
static bool take_settled(const veil_service *s, size_t page, veil_claim claim, unsigned bit) {
  veil_heap *heap = s->heap;
  vm_region *region = heap->gc->region;
  uint8_t volatile *owner = rt_owner_of(heap, page, claim);
  if (AO_char_load_acquire((unsigned char volatile *)owner) != s->owner || (vm_claims(region, page) & (bit - 1)) != 0 ||
      !vm_take(region, page, bit)) {
    return false;
  }
  if (AO_char_load_acquire((unsigned char volatile *)owner) != s->owner) {
    vm_give(region, page, 1); // another's by now
    return false;
  }
  vm_view_forbid(true);
  (claim == VEIL_ABSENT ? rt_world_absent : rt_world_unsaved)(heap, page);
  vm_view_forbid(false);
  vm_settled(region, page, bit); // who touches it need not wait for the rest
  return true;
}

// Who settles in order unseals a chunk when it has come to the next: one change of the mapping instead of one for each call.
static void unseal_behind(veil_service *s, size_t page) {
  vm_region *region = s->heap->gc->region;
  size_t chunk = VM_HUGE >> s->heap->gc->page_shift;
  uint64_t base = page - page % chunk, before = at_load(&s->unsealing);
  if (vm_is_sealed(region) && base != before && at_cas_full(&s->unsealing, before, base)) {
    (void)vm_unseal(region, before); // else it is when all are
  }
}

RT_EXPORT size_t veil_service_settle_some(veil_service *s, size_t page, size_t count, veil_claim claim) {
  veil_heap *heap = s->heap;
  size_t pages = heap->services->pages, limit = page + count, settled = 0, run = 0; // [page - run, page) is held
  limit = limit < page || limit > pages ? pages : limit;
  bool inside = vm_settling(); // in a callback this thread holds a page, so no stop can come between
  sigset_t saved;
  rt_thread *self = inside ? NULL : rt_service_enter(heap, &saved);
  for (; page < limit; page++) {
    if (run < GIVE_RUN && take_settled(s, page, claim, claim == VEIL_ABSENT ? VM_ABSENT : VM_UNSAVED)) {
      run++;
      settled++;
      continue;
    }
    if (run != 0) {
      bool full = run == GIVE_RUN;
      vm_give(heap->gc->region, page - run, run);
      run = 0;
      page -= full; // it was not looked at
    }
  }
  if (run != 0) {
    vm_give(heap->gc->region, page - run, run);
  }
  if (!inside) {
    unseal_behind(s, page);
    rt_service_leave(heap, self, &saved);
    if (at_load_acquire(&heap->services->unsaved_count) == 0) {
      unseal(heap); // pages that were not claimed, too; in order, so that it is one mapping again
    }
  }
  return settled;
}
