// SPDX-License-Identifier: MIT
// dirty.c: which pages were written: one harvester, a bit per consumer and page.
//
// Neighbours: the back end's harvest finds writes where the kernel tracks them, else claim.c notes them when it settles
// CLEAN; both by vm_dirty_note. vm_dirty: the thread of a consumer, not in traps. vm_dirty_note: any thread, in traps.
//
// Keeps vm.dirty, vm.clean-first and vm.veil-dirty.

#include "vm/backend.h"
#include "vm/check.h"
#include "vm/os.h"

// ---- The harvester's lock. Not taken in traps.

static void harvest_enter(struct vm_dirty *dirty) {
  if (at32_cas_full(&dirty->lock, 0, 1)) {
    return;
  }
  for (;;) {
    uint32_t held = at32_load_acquire(&dirty->lock);
    if (held == 0 ? at32_cas_full(&dirty->lock, 0, 2) : false) {
      return;
    }
    if (held == 2 || (held == 1 && at32_cas_full(&dirty->lock, 1, 2))) {
      os_wait(&dirty->lock, 2);
    }
  }
}

static void harvest_leave(struct vm_dirty *dirty) {
  if (!at32_cas_full(&dirty->lock, 1, 0)) {
    at32_store_release(&dirty->lock, 0);
    os_wake_all(&dirty->lock);
  }
}

// ---- Consumers.

// Nobody has asked as this consumer yet: every page is news.
static void forget_answers(vm_region *region, uint8_t bit) {
  size_t top = at_load_acquire(&region->top);
  for (size_t i = 0; i < top; i++) {
    if (at8_load(&region->dirty->clean[i]) & bit) {
      at8_and_full(&region->dirty->clean[i], (uint8_t)~bit);
    }
  }
}

int vm_dirty_open(vm_region *region) {
  struct vm_dirty *dirty = region->dirty;
  int consumer = -1;
  harvest_enter(dirty);
  uint32_t open = at32_load(&dirty->consumers);
  for (int i = 0; i < VM_DIRTY_CONSUMERS && consumer < 0; i++) {
    if (!(open & 1u << i)) {
      consumer = i;
      forget_answers(region, (uint8_t)(1u << i));
      at32_store_release(&dirty->consumers, open | 1u << i);
    }
  }
  harvest_leave(dirty);
  return consumer;
}

static bool committed(const vm_region *region, size_t page) {
  return (at32_load_acquire(&region->word[page]) & VM_COMMITTED) != 0;
}

// The next run of committed pages in [*page, limit): its length, 0 if there is none; *page is where it starts.
static size_t next_run(const vm_region *region, size_t *page, size_t limit) {
  size_t base = *page;
  while (base < limit && !committed(region, base)) {
    base++;
  }
  size_t end = base;
  while (end < limit && committed(region, end)) {
    end++;
  }
  *page = base;
  return end - base;
}

void vm_dirty_close(vm_region *region, int consumer) {
  struct vm_dirty *dirty = region->dirty;
  harvest_enter(dirty);
  uint32_t open = at32_load(&dirty->consumers) & ~(1u << consumer);
  at32_store_release(&dirty->consumers, open);
  if (open == 0) {
    size_t limit = at_load_acquire(&region->top), n; // what is released is disarmed already
    for (size_t at = 0; at < limit && (n = next_run(region, &at, limit)) != 0; at += n) {
      region->back_end->disarm(region, at, n);
    }
  }
  harvest_leave(dirty);
}

void vm_dirty_note(vm_region *region, size_t page, unsigned consumers) {
  at8_and_full(&region->dirty->clean[page], (uint8_t)~consumers);
}

void vm_dirty_forget(vm_region *region, size_t page, size_t count, unsigned consumers) {
  for (size_t i = page; i < page + count; i++) {
    at8_or_full(&region->dirty->clean[i], (uint8_t)consumers);
    // A page that is open already has to be armed now; others are when they open.
    if (!region->kernel_dirty && (at32_load_acquire(&region->word[i]) & VM_ACCESS_WRITE)) {
      vm_prot(region, i, 1, VM_CLEAN, 0);
    }
  }
}

// ---- Harvest.

// A page that is being revoked was perhaps harvested by whoever revokes it, and not yet noted.
static void wait_for_laying(vm_region *region, size_t page) {
  for (;;) {
    uint32_t w = at32_load_acquire(&region->word[page]);
    if (!(w & VM_LAYING)) {
      return;
    }
    vm_claim_wait(region, page, w);
  }
}

// Takes the consumer's answer for a run of pages that are dirty for it, arms them, and visits them.
static void answer(vm_region *region, uint8_t bit, size_t page, size_t count, void (*visit)(void *, size_t),
                   void *arg) {
  for (size_t i = page; i < page + count; i++) {
    at8_or_full(&region->dirty->clean[i], bit);
  }
  os_point();
  if (!region->kernel_dirty) {
    vm_prot(region, page, count, VM_CLEAN, 0); // vm.clean-first
  }
  os_point();
  for (size_t i = page; i < page + count; i++) {
    visit(arg, i);
  }
}

static size_t answer_run(vm_region *region, uint8_t bit, size_t page, size_t limit, void (*visit)(void *, size_t),
                         void *arg) {
  enum { BATCH = 256 };          // pages armed by one call
  size_t visited = 0, dirty = 0; // [i - dirty, i) is dirty
  for (size_t i = page; i < limit; i++) {
    wait_for_laying(region, i);
    if (!(at8_load(&region->dirty->clean[i]) & bit)) {
      dirty++;
      if (dirty < BATCH) {
        continue;
      }
      answer(region, bit, i + 1 - dirty, dirty, visit, arg);
    } else if (dirty != 0) {
      answer(region, bit, i - dirty, dirty, visit, arg);
    }
    visited += dirty;
    dirty = 0;
  }
  if (dirty != 0) {
    answer(region, bit, limit - dirty, dirty, visit, arg);
  }
  return visited + dirty;
}

size_t vm_dirty(vm_region *region, int consumer, size_t page, size_t count, void (*visit)(void *arg, size_t page),
                void *arg) {
  struct vm_dirty *dirty = region->dirty;
  uint8_t bit = (uint8_t)(1u << consumer);
  VM_CHECK(consumer >= 0 && consumer < VM_DIRTY_CONSUMERS && (at32_load(&dirty->consumers) & bit), "no consumer %d",
           consumer);
  size_t top = at_load_acquire(&region->top), visited = 0;
  size_t limit = page + count < top ? page + count : top;
  if (region->back_end->harvest != NULL) {
    // Under the lock, so that what another harvester has found is noted for all before we look.
    harvest_enter(dirty);
    size_t n;
    for (size_t at = page; at < limit && (n = next_run(region, &at, limit)) != 0; at += n) {
      region->back_end->harvest(region, at, n);
    }
    harvest_leave(dirty);
  }
  size_t n;
  for (size_t at = page; at < limit && (n = next_run(region, &at, limit)) != 0; at += n) {
    visited += answer_run(region, bit, at, at + n, visit, arg);
  }
  return visited;
}
