// SPDX-License-Identifier: MIT
// rest.c: stretches of pages that nobody writes rest: they are read-only, as one mapping with their neighbours, and
// harvests leave them out.
//
// Neighbours: dirty.c harvests what is awake; fork.c asks about faults for trap.c; claim.c and region.c rouse what
// comes into use. vm_rest: a thread of the background. Waking: any thread, in traps.
//
// Keeps vm.rest, vm.rest-wake, vm.rest-touched, vm.rest-seams and vm.rest-square.

#include "vm/backend.h"
#include "vm/check.h"
#include "vm/os.h"

#include <string.h>

enum {
  FIRST = 16,     // rounds without a write after which a stretch is due
  PATIENCE = 6,   // and, as often as it did not pay, up to FIRST << PATIENCE
  WORTH = 160,    // rounds of rest that pay for laying and waking
  SMOOTH = 16,    // rounds over which wakes are counted
  AT_ONCE = 32,   // stretches laid by one call
  AHEAD = 8,      // stretches woken by one write, where one goes on to the next
  TOGETHER = 16,  // stretches woken by one call, which nobody who traps or maps memory meanwhile gets past
  BRIDGE = 8,     // stretches: to harvest so many for nothing takes less than another call
  TRIES = 100000, // of a call that fails only while the system is short of something
};

static AO_t all_runs; // of stretches at rest, in all regions: each is two mappings more at most

static inline size_t stretch_pages(const vm_region *region) { return VM_STRETCH >> region->page_shift; }

static inline size_t stretches(const vm_region *region) { return region->chunks * (VM_HUGE / VM_STRETCH); }

size_t vm_rest_bytes(const vm_backend *back_end, size_t chunks) {
  if (!back_end->rests || chunks < 2) { // there is nothing to be had from leaving out the only one
    return 0;
  }
  return (sizeof(struct vm_rest) + chunks * (VM_HUGE / VM_STRETCH) * sizeof(struct vm_rest_stretch) + 7) & ~(size_t)7;
}

void vm_rest_open(vm_region *region) { region->rest->limit = os_limit_mappings(); }

static void runs_tell(struct vm_rest *rest, uint64_t runs) {
  uint64_t more = runs - at_load(&rest->runs);
  at_add(&all_runs, more); // who wakes may add to both meanwhile
  at_add(&rest->runs, more);
}

void vm_rest_close(vm_region *region) {
  if (region->rest != NULL) {
    runs_tell(region->rest, 0);
  }
}

// ---- The state of a stretch.

static void state_set(struct vm_rest_stretch *stretch, enum vm_rest_state state) {
  at32_store_release(&stretch->state, state);
  os_point();
  os_wake_all(&stretch->state);
}

static bool state_change(struct vm_rest_stretch *stretch, enum vm_rest_state from, enum vm_rest_state to) {
  bool done = at32_cas_full(&stretch->state, from, to);
  os_point();
  return done;
}

static bool is_read_only(uint32_t state) { return state == VM_REST_NEW || state == VM_RESTING; }

bool vm_rests(const vm_region *region, size_t page) {
  return region->rest != NULL &&
         is_read_only(at32_load_acquire(&region->rest->stretch[page / stretch_pages(region)].state));
}

static int protect(vm_region *region, size_t from, size_t to, enum os_access access) {
  return os_protect(region->base + from * VM_STRETCH, (to - from) * VM_STRETCH, access);
}

// ---- Waking.

// Whoever takes it is the only one who changes it and its mapping.
static bool take(struct vm_rest_stretch *stretch) {
  uint32_t state = at32_load_acquire(&stretch->state);
  return is_read_only(state) && state_change(stretch, state, VM_REST_WAKING);
}

// The caller has the stretch LAYING or WAKING.
static void awake(vm_region *region, size_t stretch) {
  struct vm_rest *rest = region->rest;
  at32_store(&rest->stretch[stretch].written, at32_load(&rest->round));
  at32_add_full(&region->thaws, 1); // before others can see it awake (vm.rest-wake)
  state_set(&rest->stretch[stretch], VM_AWAKE);
}

// A stretch that is soon woken was not worth laying: the next time it takes longer.
static void patience_learn(struct vm_rest *rest, struct vm_rest_stretch *stretch) {
  uint32_t patience = at32_load(&stretch->patience);
  if (at32_load(&rest->round) - at32_load(&stretch->laid) < WORTH) {
    at32_store(&stretch->patience, patience < PATIENCE ? patience + 1 : patience);
  } else if (patience > 0) {
    at32_store(&stretch->patience, patience - 1);
  }
}

// Makes [from, to), which the caller has taken, writable by one call, and with it as many neighbours as it takes if there is
// no mapping left (vm.rest-seams).
static void wake_taken(vm_region *region, size_t from, size_t to) {
  struct vm_rest *rest = region->rest;
  for (int tries = 0; protect(region, from, to, OS_READ_WRITE) != 0; tries++) {
    VM_CHECK(tries < TRIES, "the stretch at %p cannot be made writable again", (void *)(region->base + from * VM_STRETCH));
    while (from > 0 && take(&rest->stretch[from - 1])) {
      from--;
    }
    while (to < stretches(region) && take(&rest->stretch[to])) {
      to++;
    }
    os_yield();
  }
  at_add(&rest->woken, to - from);
  for (size_t i = from; i < to; i++) {
    awake(region, i);
  }
}

// Whether it was woken a moment ago, or written in this round.
static bool was_just_written(const struct vm_rest *rest, size_t stretch) {
  const struct vm_rest_stretch *s = &rest->stretch[stretch];
  return at32_load(&s->state) == VM_AWAKE && at32_load(&s->written) == at32_load(&rest->round);
}

// Who writes one stretch after the other, up or down, will write the next ones too: they are taken as well.
static void ahead_take(vm_region *region, size_t *from, size_t *to) {
  struct vm_rest *rest = region->rest;
  size_t most = *from;
  if (most > 0 && was_just_written(rest, most - 1)) {
    while (*to < stretches(region) && *to - most < AHEAD && take(&rest->stretch[*to])) {
      ++*to;
    }
  } else if (*to < stretches(region) && was_just_written(rest, *to)) {
    while (*from > 0 && most + 1 - *from < AHEAD && take(&rest->stretch[*from - 1])) {
      --*from;
    }
  }
}

// A run is about to fall into two, which takes two mappings more. Where mappings are short all of it is taken instead
// (vm.rest-seams).
static void split_count(vm_region *region, size_t *from, size_t *to) {
  struct vm_rest *rest = region->rest;
  bool splits = *from > 0 && *to < stretches(region) && is_read_only(at32_load(&rest->stretch[*from - 1].state)) &&
                is_read_only(at32_load(&rest->stretch[*to].state));
  if (splits && 2 * at_load(&all_runs) < rest->limit / 2) {
    at_add(&all_runs, 1);
    at_add(&rest->runs, 1);
  } else if (splits) {
    while (*from > 0 && take(&rest->stretch[*from - 1])) {
      --*from;
    }
    while (*to < stretches(region) && take(&rest->stretch[*to])) {
      ++*to;
    }
  }
}

// When it returns the first of [stretch, limit) was awake at some moment during the call; some behind it that rest are woken
// by the same call to the system. Waits for nobody but who makes one (vm.rest-wake).
static void wake(vm_region *region, size_t stretch, size_t limit) {
  struct vm_rest *rest = region->rest;
  struct vm_rest_stretch *s = &rest->stretch[stretch];
  VM_CHECK_FULL(at32_load(&region->frozen) == 0, "the stretch at %p is woken while the process forks",
                (void *)(region->base + stretch * VM_STRETCH));
  sigset_t all, before;
  sigfillset(&all);
  os_mask(SIG_BLOCK, &all, &before); // a handler of the program might touch the stretch
  for (uint32_t state; (state = at32_load_acquire(&s->state)) != VM_AWAKE;) {
    if (!is_read_only(state)) {
      os_wait(&s->state, state);
    } else if (take(s)) {
      size_t from = stretch, to = stretch + 1;
      while (to < limit && to - from < TOGETHER && take(&rest->stretch[to])) {
        to++;
      }
      for (size_t i = from; i < to; i++) {
        patience_learn(rest, &rest->stretch[i]);
      }
      if (limit == stretch + 1) {
        at_add(&rest->faulted, 1);
        ahead_take(region, &from, &to);
      }
      split_count(region, &from, &to);
      wake_taken(region, from, to);
      break;
    }
  }
  os_mask(SIG_SETMASK, &before, NULL);
}

void vm_rouse(vm_region *region, size_t page, size_t count) {
  if (region->rest == NULL || count == 0) {
    return;
  }
  at_fence_full(); // vm.rest-touched: what the caller has said before is seen by who lays, or the state is seen here
  size_t limit = (page + count - 1) / stretch_pages(region) + 1;
  for (size_t stretch = page / stretch_pages(region); stretch < limit; stretch++) {
    if (at32_load_acquire(&region->rest->stretch[stretch].state) != VM_AWAKE) {
      wake(region, stretch, limit);
    }
  }
}

bool vm_rest_fault(vm_region *region, int signo, const void *address) {
  size_t stretch = (size_t)((const char *)address - region->base) / VM_STRETCH;
  if (region->rest == NULL || signo != SIGSEGV || at32_load_acquire(&region->rest->stretch[stretch].state) == VM_AWAKE) {
    return false;
  }
  if (vm_settling()) {
    vm_fatal(VM_VIEW_TOUCHED, address);
  }
  wake(region, stretch, stretch + 1);
  return true;
}

// ---- Harvests.

void vm_rest_begin(vm_region *region) {
  if (region->rest != NULL) {
    at32_store_release(&region->rest->able, vm_trap_install(SIGSEGV));
  }
}

void vm_rest_end(vm_region *region) {
  vm_rouse(region, 0, at_load_acquire(&region->top)); // who lays now sees that there is no consumer
}

// Whether all that rests saves more per round than the wakes of a round cost: where writes go everywhere in turn no
// stretch is written often, and yet none is worth laying. A wake in four rounds is always borne, so what has changed its
// ways is found out.
static bool pays(const struct vm_rest *rest) {
  uint64_t woken = at_load(&rest->woken), resting = at_load(&rest->laid) - woken; // in this order: never less than none
  return at32_load(&rest->eager) || (uint64_t)at32_load(&rest->wakes) * WORTH <= resting * SMOOTH + WORTH * SMOOTH / 4;
}

// A consumer may ask for one part after the other: where it goes back, a round ends.
static void round_count(struct vm_rest *rest, int consumer, size_t page, size_t limit) {
  if (page < rest->next[consumer]) {
    uint32_t wakes = at32_load(&rest->wakes), faulted = (uint32_t)at_load(&rest->faulted);
    at32_store(&rest->round, at32_load(&rest->round) + 1);
    at32_store(&rest->wakes, wakes - (wakes + SMOOTH - 1) / SMOOTH + (faulted - rest->counted));
    rest->counted = faulted;
  }
  rest->next[consumer] = limit;
}

static bool is_due(struct vm_rest *rest, struct vm_rest_stretch *stretch) {
  uint32_t round = at32_load(&rest->round),
           rounds = at32_load(&rest->eager) ? 1 : (uint32_t)FIRST << at32_load(&stretch->patience);
  return at32_load(&stretch->state) == VM_AWAKE && round - at32_load(&stretch->asked) <= 1 &&
         round - at32_load(&stretch->written) >= rounds;
}

static void pages_harvest(vm_region *region, size_t from, size_t to) {
  if (from < to) {
    vm_dirty_harvest(region, from, to);
  }
}

void vm_rest_harvest(vm_region *region, int consumer, size_t page, size_t limit) {
  struct vm_rest *rest = region->rest;
  size_t count = stretch_pages(region), top = at_load_acquire(&region->top);
  size_t from = page, to = page; // to be harvested: what is awake, with gaps that are not worth a call
  bool due = false;
  round_count(rest, consumer, page, limit);
  for (size_t base = page - page % count; base < limit; base += count) {
    struct vm_rest_stretch *stretch = &rest->stretch[base / count];
    uint32_t state = at32_load_acquire(&stretch->state);
    at32_store(&stretch->asked, at32_load(&rest->round));
    if (state == VM_REST_NEW) {
      // vm.rest: it was read-only before this search began, and the search is of all of it, whatever the consumer asked
      // for.
      vm_dirty_harvest(region, base, base + count < top ? base + count : top);
      state_change(stretch, VM_REST_NEW, VM_RESTING);
    }
    if (is_read_only(state)) {
      continue;
    }
    due |= is_due(rest, stretch);
    if (base > to + BRIDGE * count) {
      pages_harvest(region, from, to);
      from = base;
    }
    from = from == to && base > from ? base : from;
    to = base + count < limit ? base + count : limit;
  }
  pages_harvest(region, from, to);
  if (due && pays(rest)) {
    at32_store_release(&rest->due, 1);
  }
}

void vm_rest_written(vm_region *region, size_t page, size_t limit) {
  struct vm_rest *rest = region->rest;
  for (size_t at = page; rest != NULL && at < limit; at += stretch_pages(region) - at % stretch_pages(region)) {
    at32_store(&rest->stretch[at / stretch_pages(region)].written, at32_load(&rest->round));
  }
}

// ---- Laying.

// vm.rest-touched: asked when the state is LAYING.
static bool may_rest(vm_region *region, size_t stretch) {
  if (!vm_dirty_tracked(region)) {
    return false;
  }
  size_t first = stretch * stretch_pages(region);
  for (size_t page = first; page < first + stretch_pages(region); page++) {
    if (vm_touched(region, page) || (region->config.rests != NULL && !region->config.rests(region->config.arg, page))) {
      return false;
    }
  }
  return true;
}

// Not now, nor soon.
static void postpone(struct vm_rest *rest, struct vm_rest_stretch *stretch) {
  uint32_t patience = at32_load(&stretch->patience);
  at32_store(&stretch->patience, patience < PATIENCE ? patience + 1 : patience);
  at32_store(&stretch->written, at32_load(&rest->round));
}

static bool lay(vm_region *region, size_t stretch) {
  struct vm_rest *rest = region->rest;
  struct vm_rest_stretch *c = &rest->stretch[stretch];
  if (!state_change(c, VM_AWAKE, VM_REST_LAYING)) {
    return false;
  }
  if (!may_rest(region, stretch)) {
    postpone(rest, c);
    state_set(c, VM_AWAKE);
    return false;
  }
  if (protect(region, stretch, stretch + 1, OS_READ) != 0) {
    for (int tries = 0; protect(region, stretch, stretch + 1, OS_READ_WRITE) != 0;
         tries++) { // what has changed, if anything
      VM_CHECK(tries < TRIES, "the stretch at %p cannot be made writable again",
               (void *)(region->base + stretch * VM_STRETCH));
      os_yield();
    }
    postpone(rest, c);
    awake(region, stretch);
    return false;
  }
  at32_store(&c->laid, at32_load(&rest->round));
  at_add(&rest->laid, 1);
  state_set(c, VM_REST_NEW);
  return true;
}

static size_t stretches_used(const vm_region *region) {
  return (at_load_acquire(&region->top) + stretch_pages(region) - 1) / stretch_pages(region);
}

static uint64_t runs_count(const vm_region *region, uint64_t *resting) {
  uint64_t runs = 0;
  bool before = false;
  *resting = 0;
  for (size_t i = 0; i < stretches_used(region); i++) {
    bool rests = at32_load(&region->rest->stretch[i].state) != VM_AWAKE;
    runs += rests && !before;
    *resting += rests;
    before = rests;
  }
  return runs;
}

static bool has_neighbour(const vm_region *region, size_t stretch) {
  const struct vm_rest_stretch *c = &region->rest->stretch[stretch];
  return (stretch > 0 && is_read_only(at32_load(&c[-1].state))) ||
         (stretch + 1 < stretches(region) && is_read_only(at32_load(&c[1].state)));
}

static size_t lay_some(vm_region *region) {
  struct vm_rest *rest = region->rest;
  size_t laid = 0, used = stretches_used(region);
  for (size_t i = 0; i < used && laid < AT_ONCE && pays(rest); i++) {
    if (!is_due(rest, &rest->stretch[i])) {
      continue;
    }
    bool alone = !has_neighbour(region, i);
    if (alone && 2 * at_load(&all_runs) >= rest->limit / 4) { // vm.rest-seams
      at32_store(&rest->stretch[i].written, at32_load(&rest->round));
    } else if (lay(region, i)) {
      laid++;
      if (alone) {
        runs_tell(rest, at_load(&rest->runs) + 1);
      }
    }
  }
  uint64_t resting;
  runs_tell(rest, runs_count(region, &resting));
  return laid;
}

void vm_rest_square(vm_region *region) {
  size_t in_chunk = VM_HUGE / VM_STRETCH;
  for (size_t i = 0; region->rest != NULL && i < stretches_used(region); i += in_chunk) {
    size_t resting = 0;
    for (size_t n = i; n < i + in_chunk; n++) {
      resting += at32_load(&region->rest->stretch[n].state) != VM_AWAKE;
    }
    if (resting != 0 && resting != in_chunk) {
      vm_rouse(region, i * stretch_pages(region), VM_HUGE >> region->page_shift);
    }
  }
}

uint64_t vm_rest_seams(const vm_region *region) {
  uint64_t resting;
  return region->rest != NULL ? runs_count(region, &resting) : 0;
}

bool vm_wants_rest(const vm_region *region) {
  return region->rest != NULL && at32_load(&region->rest->due) != 0 && !vm_is_sealed(region);
}

void vm_rest_suspend(vm_region *region) {
  while (region->rest != NULL && !at32_cas_full(&region->rest->laying, 0, 1)) {
    os_yield(); // for some calls to the system
  }
  vm_rouse(region, 0, at_load_acquire(&region->top));
}

void vm_rest_resume(vm_region *region) {
  if (region->rest != NULL) {
    at32_store_release(&region->rest->laying, 0);
  }
}

bool vm_rest(vm_region *region) {
  struct vm_rest *rest = region->rest;
  if (!vm_wants_rest(region) || !at32_cas_full(&rest->laying, 0, 1)) {
    return false;
  }
  size_t laid = 0;
  at32_store(&rest->due, 0);
  // Others may have put a handler of theirs before ours.
  if (vm_dirty_tracked(region) && at32_load_acquire(&rest->able) && vm_trap_install(SIGSEGV)) {
    sigset_t all, before;
    sigfillset(&all);
    os_mask(SIG_BLOCK, &all, &before); // whoever writes to a stretch that is LAYING waits for us
    laid = lay_some(region);
    os_mask(SIG_SETMASK, &before, NULL);
  }
  if (laid == AT_ONCE) {
    at32_store(&rest->due, 1);
  }
  at32_store_release(&rest->laying, 0);
  return laid != 0;
}

void vm_rest_figures_get(const vm_region *region, vm_rest_figures *out) {
  memset(out, 0, sizeof *out);
  if (region->rest != NULL) {
    out->laid = at_load(&region->rest->laid);
    out->woken = at_load(&region->rest->woken);
    runs_count(region, &out->resting);
  }
}

// ---- Fork.

void vm_rest_spare(vm_region *region, vm_spares *spares, void *arg) {
  for (size_t page = 0, top = at_load(&region->top); region->rest != NULL && page < top; page++) {
    if (vm_rests(region, page) && spares(arg, page)) {
      wake(region, page / stretch_pages(region), page / stretch_pages(region) + 1);
    }
  }
}

void vm_rest_forget(vm_region *region) {
  struct vm_rest *rest = region->rest;
  for (size_t i = 0; rest != NULL && i < stretches_used(region); i++) { // none beyond has ever rested
    at32_store(&rest->stretch[i].state, VM_AWAKE);
    at32_store(&rest->stretch[i].written, at32_load(&rest->round));
  }
  if (rest != NULL) {
    at_store(&rest->woken, at_load(&rest->laid));
    at32_store(&rest->laying, 0);
    runs_tell(rest, 0);
  }
}
