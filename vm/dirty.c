// SPDX-License-Identifier: MIT
// dirty.c: which pages were written: one harvester, a bit per consumer and page.
//
// Neighbours: the back end's harvest finds writes where the kernel tracks them, else claim.c notes them when it settles
// CLEAN; both by vm_dirty_note. rest.c leaves stretches out of harvests. vm_dirty: the thread of a consumer, not in traps. vm_dirty_note: any
// thread, in traps.
//
// Keeps vm.dirty, vm.clean-first, vm.veil-dirty and vm.news.

#include "vm/backend.h"
#include "vm/check.h"
#include "vm/os.h"

// ---- The harvester's lock. Not taken in traps.

void vm_harvest_enter(vm_region *region) {
  struct vm_dirty *dirty = region->dirty;
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

void vm_harvest_leave(vm_region *region) {
  struct vm_dirty *dirty = region->dirty;
  if (!at32_cas_full(&dirty->lock, 1, 0)) {
    at32_store_release(&dirty->lock, 0);
    os_wake_all(&dirty->lock);
  }
}

// ---- News (vm.news): a byte per group of pages says for whom nothing is dirty there.

static inline size_t group_of(const vm_region *region, size_t page) { return page >> region->dirty->group_shift; }
static inline size_t group_page(const vm_region *region, size_t group) { return group << region->dirty->group_shift; }

void vm_dirty_stir(vm_region *region, size_t page, size_t count, unsigned consumers) {
  uint8_t volatile *quiet = region->dirty->quiet;
  for (size_t g = group_of(region, page); count != 0 && g <= group_of(region, page + count - 1); g++) {
    if (at8_load(&quiet[g]) & consumers) {
      at8_and_full(&quiet[g], (uint8_t)~consumers);
    }
  }
}

// The first page in [page, limit) whose group has news for the consumer, or limit.
static size_t next_news(const vm_region *region, uint8_t bit, size_t page, size_t limit) {
  enum { AT_ONCE = 8 };
  const uint8_t volatile *quiet = region->dirty->quiet;
  uint64_t all = bit * (uint64_t)0x0101010101010101;
  size_t group = group_of(region, page), end = page < limit ? group_of(region, limit - 1) + 1 : group;
  while (group < end) {
    if (group % AT_ONCE == 0 && group + AT_ONCE <= end && (at_load((AO_t const volatile *)&quiet[group]) & all) == all) {
      group += AT_ONCE;
    } else if (at8_load(&quiet[group]) & bit) {
      group++;
    } else {
      size_t first = group_page(region, group);
      return first > page ? first : page;
    }
  }
  return limit;
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
  vm_dirty_stir(region, 0, top, bit);
}

int vm_dirty_open(vm_region *region) {
  struct vm_dirty *dirty = region->dirty;
  int consumer = -1;
  vm_rest_begin(region);
  vm_harvest_enter(region);
  uint32_t open = at32_load(&dirty->consumers);
  for (int i = 0; i < VM_DIRTY_CONSUMERS && consumer < 0; i++) {
    if (!(open & 1u << i)) {
      consumer = i;
      forget_answers(region, (uint8_t)(1u << i));
      at32_store_release(&dirty->consumers, open | 1u << i);
    }
  }
  vm_harvest_leave(region);
  return consumer;
}

// The first page in [page, limit) for whose word, as far as the mask goes, being `wanted` is as `value` says; or limit.
static size_t next_with(const vm_region *region, size_t page, size_t limit, uint32_t mask, bool value) {
  enum { AT_ONCE = 8 };
  const uint64_t masks = (uint64_t)mask << 32 | mask, wanted = (uint64_t)VM_COMMITTED << 32 | VM_COMMITTED;
  while (page < limit) {
    if (page % AT_ONCE == 0 && page + AT_ONCE <= limit) {
      const AO_t volatile *pair = (AO_t const volatile *)&region->word[page];
      uint64_t differs = 0, committed = 0;
      for (size_t i = 0; i < AT_ONCE / 2; i++) {
        uint64_t words = at_load_acquire(&pair[i]) & masks;
        differs |= words ^ wanted;
        committed |= words & wanted;
      }
      if (value ? committed == 0 : differs == 0) {
        page += AT_ONCE;
        continue;
      }
    }
    if (((at32_load_acquire(&region->word[page]) & mask) == VM_COMMITTED) == value) {
      return page;
    }
    page++;
  }
  return limit;
}

// The next run of pages in [*page, limit) that are committed, and have nothing else of the mask: its length, 0 if there is none; *page is where it starts.
static size_t next_run_of(const vm_region *region, size_t *page, size_t limit, uint32_t mask) {
  *page = next_with(region, *page, limit, mask, true);
  return next_with(region, *page, limit, mask, false) - *page;
}

static size_t next_run(const vm_region *region, size_t *page, size_t limit) { return next_run_of(region, page, limit, VM_COMMITTED); }

void vm_dirty_close(vm_region *region, int consumer) {
  struct vm_dirty *dirty = region->dirty;
  vm_harvest_enter(region);
  uint32_t open = at32_load(&dirty->consumers) & ~(1u << consumer);
  at32_store_release(&dirty->consumers, open);
  if (open == 0) {
    vm_rest_end(region);
    size_t limit = at_load_acquire(&region->top), n; // what is released is disarmed already
    for (size_t at = 0; at < limit && (n = next_run_of(region, &at, limit, VM_COMMITTED | VM_SEALED)) != 0; at += n) { // what is sealed must tell of writes
      region->back_end->disarm(region, at, n);
    }
  }
  vm_harvest_leave(region);
}

void vm_dirty_note(vm_region *region, size_t page, unsigned consumers) {
  at8_and_full(&region->dirty->clean[page], (uint8_t)~consumers);
  vm_dirty_stir(region, page, 1, consumers);
}

void vm_dirty_put_off(vm_region *region, size_t page, unsigned consumers) { at8_and_full(&region->dirty->clean[page], (uint8_t)~consumers); }

void vm_dirty_note_once(vm_region *region, size_t page, unsigned consumers) {
  if (at8_load(&region->dirty->clean[page]) & consumers) {
    vm_dirty_note(region, page, consumers);
  }
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

// The group was called quiet before a part of it was looked at: takes that back if there are news in the rest, or may be some that were found and not
// noted yet.
static void recheck(vm_region *region, uint8_t bit, size_t group, size_t page, size_t limit) {
  size_t top = at_load_acquire(&region->top), end = group_page(region, group + 1);
  for (size_t i = group_page(region, group); i < end && i < top; i++) {
    uint32_t w = at32_load_acquire(&region->word[i]); // first: what was noted while it was LAYING is seen then
    bool news = (w & VM_COMMITTED) && ((w & VM_LAYING) || !(at8_load(&region->dirty->clean[i]) & bit));
    if (news && (i < page || i >= limit)) {
      at8_and_full(&region->dirty->quiet[group], (uint8_t)~bit);
      return;
    }
  }
}

// [page, limit) are pages of groups that have news.
static size_t answer_groups(vm_region *region, uint8_t bit, size_t page, size_t limit, void (*visit)(void *, size_t),
                            void *arg) {
  size_t visited = 0, n, first = group_of(region, page), last = group_of(region, limit - 1);
  for (size_t at = page; at < limit && (n = next_run(region, &at, limit)) != 0; at += n) {
    visited += answer_run(region, bit, at, at + n, visit, arg);
  }
  recheck(region, bit, first, page, limit);
  if (last != first) {
    recheck(region, bit, last, page, limit);
  }
  return visited;
}

void vm_dirty_harvest(vm_region *region, size_t page, size_t limit) {
  size_t n;
  for (size_t at = page; at < limit && (n = next_run_of(region, &at, limit, VM_COMMITTED | VM_MOVED)) != 0; at += n) {
    region->back_end->harvest(region, at, n);
  }
  vm_move_harvest(region, page, limit);
}

static uint8_t bit_of(const vm_region *region, int consumer) {
  VM_CHECK(consumer >= 0 && consumer < VM_DIRTY_CONSUMERS && (at32_load(&region->dirty->consumers) & 1u << consumer), "no consumer %d", consumer);
  return (uint8_t)(1u << consumer);
}

static size_t limit_of(const vm_region *region, size_t page, size_t count) {
  size_t top = at_load_acquire(&region->top);
  return page + count < top ? page + count : top;
}

void vm_dirty_find(vm_region *region, int consumer, size_t page, size_t count) {
  size_t limit = limit_of(region, page, count);
  bit_of(region, consumer);
  if (region->back_end->harvest != NULL && page < limit) {
    // Under the lock, so that what another harvester has found is noted for all before we look.
    vm_harvest_enter(region);
    if (region->rest != NULL) {
      vm_rest_harvest(region, consumer, page, limit);
    } else {
      vm_dirty_harvest(region, page, limit);
    }
    vm_harvest_leave(region);
  }
}

size_t vm_dirty_count(const vm_region *region, int consumer, size_t page, size_t count) {
  uint8_t bit = bit_of(region, consumer);
  size_t limit = limit_of(region, page, count), dirty = 0;
  for (size_t at = next_news(region, bit, page, limit), end; at < limit; at = next_news(region, bit, end, limit)) {
    end = group_page(region, group_of(region, at) + 1);
    end = end < limit ? end : limit;
    for (size_t i = at; i < end; i++) {
      dirty += !(at8_load(&region->dirty->clean[i]) & bit);
    }
  }
  return dirty;
}

size_t vm_dirty_answer(vm_region *region, int consumer, size_t page, size_t count, void (*visit)(void *arg, size_t page), void *arg) {
  struct vm_dirty *dirty = region->dirty;
  uint8_t bit = bit_of(region, consumer);
  size_t limit = limit_of(region, page, count), visited = 0;
  for (size_t at = next_news(region, bit, page, limit), end; at < limit; at = next_news(region, bit, end, limit)) {
    end = at;
    do { // quiet before its pages are looked at (vm.news)
      at8_or_full(&dirty->quiet[group_of(region, end)], bit);
      end = group_page(region, group_of(region, end) + 1);
    } while (end < limit && !(at8_load(&dirty->quiet[group_of(region, end)]) & bit));
    end = end < limit ? end : limit;
    size_t following = next_news(region, bit, end, limit); // with many, somewhere each, this takes as long as fetching their words
    if (following < limit) {
      __builtin_prefetch((const void *)&region->word[following]);
      __builtin_prefetch((const void *)&dirty->clean[following], 1);
    }
    os_point();
    visited += answer_groups(region, bit, at, end, visit, arg);
  }
  return visited;
}

size_t vm_dirty(vm_region *region, int consumer, size_t page, size_t count, void (*visit)(void *arg, size_t page), void *arg) {
  vm_dirty_find(region, consumer, page, count);
  return vm_dirty_answer(region, consumer, page, count, visit, arg);
}
