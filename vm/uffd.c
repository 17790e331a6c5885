// SPDX-License-Identifier: MIT
// uffd.c: what both back ends on userfaultfd do: veil by dropping pages from the view, open by UFFDIO_CONTINUE; the kernel
// notices writes (WP_ASYNC) and PAGEMAP_SCAN tells them. Linux 6.7.
//
// Neighbours: backend_uffd.c and backend_uffd_kernel.c say how a fault comes; backend.h has the contract; claim.c and dirty.c
// call. Any thread, signal handlers too.
//
// A page that was written and then dropped has no entry in the page tables, and PAGEMAP_SCAN counts it as
// written: nothing is lost by a veil. But it would be lost when the page is mapped again armed. So whoever revokes
// harvests right after (vm.veil-dirty, claim.c); then every dropped page carries a marker and may be mapped armed.

#include "vm/uffd.h"
#include "vm/backend.h"
#include "vm/check.h"
#include "vm/os.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
  FEATURE_PAGEFAULT_FLAG_WP = 1 << 0,
  FEATURE_EVENT_REMAP = 1 << 2, // else the kernel looks at each entry in order to clear its mark, when they are moved
  FEATURE_MISSING_SHMEM = 1 << 5,
  FEATURE_SIGBUS = 1 << 7,
  FEATURE_THREAD_ID = 1 << 8,
  FEATURE_MINOR_SHMEM = 1 << 10,
  FEATURE_WP_HUGETLBFS_SHMEM = 1 << 12,
  FEATURE_WP_UNPOPULATED = 1 << 13,
  FEATURE_WP_ASYNC = 1 << 15,
  FEATURES = FEATURE_PAGEFAULT_FLAG_WP | FEATURE_MISSING_SHMEM | FEATURE_MINOR_SHMEM | FEATURE_WP_HUGETLBFS_SHMEM |
             FEATURE_WP_UNPOPULATED | FEATURE_WP_ASYNC | FEATURE_EVENT_REMAP,
};

enum { PATIENCE = 1000 }; // tries of a call that fails only when the kernel is short of memory for a moment

static size_t bytes_of(const vm_region *region, size_t count) { return count << region->page_shift; }

void vm_uffd_close(vm_region *region) {
  struct vm_backend_state *state = region->state;
  if (state->uffd >= 0) {
    os_close(state->uffd);
  }
  if (state->seal >= 0) {
    os_close(state->seal);
  }
  if (state->pagemap >= 0) {
    os_close(state->pagemap);
  }
}

static vm_status refuse(vm_region *region, const char *what, int error, char *why, size_t why_bytes) {
  vm_uffd_close(region);
  snprintf(why, why_bytes, "%s: %s: %s", region->back_end->name, what, strerror(-error));
  return error == -ENOMEM || error == -EMFILE || error == -ENFILE ? VM_NO_MEMORY : VM_UNSUPPORTED;
}

// Registered before it is opened, so that no touch can fill it with zero pages.
static int prepare(int uffd, char *base, char *limit) {
  if (base == limit) {
    return 0;
  }
  int result = os_uffd_register(uffd, base, (size_t)(limit - base));
  return result < 0 ? result : os_protect(base, (size_t)(limit - base), OS_READ_WRITE);
}

vm_status vm_uffd_open(vm_region *region, char *why, size_t why_bytes) {
  struct vm_backend_state *state = region->state;
  state->uffd = state->pagemap = state->seal = -1;
  bool kernel = region->back_end->pager;
  state->uffd = os_uffd_open(FEATURES | (kernel ? FEATURE_THREAD_ID : FEATURE_SIGBUS), kernel);
  if (state->uffd < 0) {
    return refuse(region, "userfaultfd", state->uffd, why, why_bytes);
  }
  state->pagemap = os_pagemap_open();
  if (state->pagemap < 0) {
    return refuse(region, "/proc/self/pagemap", state->pagemap, why, why_bytes);
  }
  if (region->back_end->seal != NULL) {
    state->seal = os_uffd_open((FEATURES & ~FEATURE_WP_ASYNC) | FEATURE_SIGBUS, false); // can be done without
  }
  int result = prepare(state->uffd, region->base + region->config.huge, region->limit);
  return result < 0 ? refuse(region, "registering the view", result, why, why_bytes) : VM_OK;
}

bool vm_uffd_adopt(vm_region *region, size_t page, size_t count) {
  return prepare(region->state->uffd, vm_page_view(region, page), vm_page_view(region, page + count)) == 0;
}

// Calls that cannot fail but for a passing shortage in the kernel: a trap has nobody to report it to.
#define INSIST(RESULT, CALL, WHAT, PAGE)                                                                               \
  do {                                                                                                                 \
    int tries_ = 0;                                                                                                    \
    while ((RESULT = (CALL)) == -ENOMEM && tries_++ < PATIENCE) {                                                      \
      os_yield();                                                                                                      \
    }                                                                                                                  \
    VM_CHECK(RESULT == 0, "%s of page %zu failed with error %d", WHAT, PAGE, -RESULT);                                 \
  } while (0)

void vm_uffd_revoke(vm_region *region, size_t page, size_t count, unsigned access) {
  // No page can be read and not be written, but one that is sealed, which opens again at the next touch.
  VM_CHECK_FULL(access == 0 || (at32_load(&region->word[page]) & VM_SEALED), "uffd has no readable pages that cannot be written");
  int result;
  INSIST(result, os_drop(vm_page_view(region, page), bytes_of(region, count)), "dropping", page);
}

void vm_uffd_revoke_many(vm_region *region, const struct vm_run *run, size_t runs) {
  struct iovec ranges[VM_LAY_RUNS] = {0};
  for (size_t i = 0; i < runs; i++) {
    ranges[i] = (struct iovec){vm_page_view(region, run[i].page), bytes_of(region, run[i].count)};
  }
  if (os_drop_many(ranges, runs)) {
    return;
  }
  for (size_t i = 0; i < runs; i++) {
    vm_uffd_revoke(region, run[i].page, run[i].count, 0);
  }
}

// A page whose contents had been away when they died has no memory (vm_drop): it gets some here, which reads zero.
static int continue_once(int uffd, vm_region *region, size_t page, size_t count, bool armed) {
  int result;
  for (int tries = 0; tries < PATIENCE; tries++) {
    result = os_uffd_continue(uffd, vm_page_view(region, page), bytes_of(region, count), armed);
    if (result == -EFAULT && os_populate(vm_page_alias(region, page), bytes_of(region, count)) == 0) {
      continue;
    }
    if (result != -ENOMEM && result != -EFAULT) {
      break;
    }
    os_yield();
  }
  return result;
}

static void pages_continue(int uffd, vm_region *region, size_t page, size_t count, bool armed) {
  int result = continue_once(uffd, region, page, count, armed);
  if (result == -ENOENT) {
    // Not one mapping: some of its stretches rest, others do not; or its chunks were sealed at different times. A stretch is one, and opens as well while it rests: writing is the mapping's affair.
    size_t stretch_pages = VM_STRETCH >> region->page_shift;
    for (size_t at = page, end, limit = page + count; at < limit; at = end) {
      end = at - at % stretch_pages + stretch_pages;
      end = end < limit ? end : limit;
      result = continue_once(uffd, region, at, end - at, armed);
      VM_CHECK(result == 0, "UFFDIO_CONTINUE of page %zu failed with error %d", at, -result);
    }
  }
  VM_CHECK(result == 0, "UFFDIO_CONTINUE of page %zu failed with error %d", page, -result);
}

// Pages that are sealed, alike. What is open for reading is there already, and a call for each would find no more than that. But the word may say more than the view gives: a trap has a second try then, and comes with a word
// that allows all; who opens a page for the system has none.
static void sealed_raise(vm_region *region, size_t page, size_t count, unsigned access) {
  int result, uffd = region->state->seal;
  bool writes = (access & VM_ACCESS_WRITE) != 0, there = writes && vm_trapping() && (at32_load(&region->word[page]) & VM_ACCESS) == VM_ACCESS_READ;
  if (!there) {
    pages_continue(uffd, region, page, count, !writes);
  }
  size_t chunk_pages = VM_HUGE >> region->page_shift;
  for (size_t at = page, end, limit = page + count; writes && at < limit; at = end) { // not one mapping, perhaps
    end = at - at % chunk_pages + chunk_pages;
    end = end < limit ? end : limit;
    INSIST(result, os_uffd_disarm(uffd, vm_page_view(region, at), bytes_of(region, end - at)), "UFFDIO_WRITEPROTECT, sealed,", at);
  }
}

bool vm_uffd_raise(vm_region *region, size_t page, size_t count, unsigned access) {
  if (at32_load_acquire(&region->word[page]) & VM_SEALED) { // and so are the others
    sealed_raise(region, page, count, access);
  } else {
    pages_continue(region->state->uffd, region, page, count, vm_dirty_tracked(region) && !(access & VM_ACCESS_WRITTEN));
  }
  return true;
}

void vm_uffd_disarm(vm_region *region, size_t page, size_t count) {
  int result;
  INSIST(result, os_uffd_disarm(region->state->uffd, vm_page_view(region, page), bytes_of(region, count)),
         "UFFDIO_WRITEPROTECT", page);
}

void vm_uffd_release(vm_region *region, size_t page, size_t count) {
  vm_uffd_revoke(region, page, count, 0);
  // Markers outlive the memory: without consumers there are none.
  if (vm_dirty_tracked(region)) {
    vm_uffd_disarm(region, page, count);
  }
}

bool vm_uffd_move(vm_region *region, size_t page, size_t count, char *to) {
  return os_move_tables(vm_page_view(region, page), bytes_of(region, count), to) == 0;
}

// ---- Seals.

// A page in which nothing but UNSAVED stands against reading.
static bool can_be_read(const vm_region *region, size_t page) {
  uint32_t w = at32_load_acquire(&region->word[page]);
  return (w & VM_COMMITTED) && (w & region->back_end->forbid_read & ~(unsigned)VM_UNSAVED) == 0;
}

// Maps the memory of the pages at `to`, as the view is, for this userfaultfd; nothing there is open.
static int map_for(int uffd, vm_region *region, size_t page, size_t count, char *to) {
  int result = os_map_file(to, bytes_of(region, count), region->memory, bytes_of(region, page), OS_NONE);
  if (result != 0) {
    return result;
  }
  os_small_pages(to, bytes_of(region, count));
  return prepare(uffd, to, to + bytes_of(region, count));
}

static bool is_open_unsealed(const vm_region *region, size_t page) {
  uint32_t w = at32_load_acquire(&region->word[page]);
  return (w & VM_COMMITTED) && vm_claim_allows(region, w & ~(uint32_t)VM_SEALED) != 0;
}

bool vm_uffd_seal_prepare(vm_region *region, size_t page, size_t count, char *to, uint8_t *readable) {
  int uffd = region->state->seal;
  if (uffd < 0 || map_for(uffd, region, page, count, to) != 0) {
    return false;
  }
  enum { AT_ONCE = 512 };
  for (size_t at = page, end, limit = page + count; at < limit; at = end) {
    bool opens = can_be_read(region, at);
    for (end = at + 1; end < limit && end - at < AT_ONCE && can_be_read(region, end) == opens; end++) {
    }
    for (size_t i = at; opens && i < end; i++) {
      readable[i / 8] |= (uint8_t)(1u << i % 8);
    }
    if (opens) { // memory that goes meanwhile goes there, too; what is not opened now is at the first touch
      (void)os_uffd_continue(uffd, to + bytes_of(region, at - page), bytes_of(region, end - at), true);
    }
  }
  return true;
}

// No gap is left at `from`, nor in the view, into which others might map something.
static int mapping_move(char *from, size_t bytes, char *to) {
  int result, tries = 0;
  while ((result = os_move_tables(from, bytes, to)) == -ENOMEM && tries++ < PATIENCE) {
    os_yield();
  }
  return result;
}

bool vm_uffd_seal(vm_region *region, size_t page, size_t count, char *from) {
  if (mapping_move(from, bytes_of(region, count), vm_page_view(region, page)) == 0) {
    return true;
  }
  if (!os_is_mapped(vm_page_view(region, page))) { // the system has unmapped what was there, before it found that it is short of something
    int result;
    INSIST(result, map_for(region->state->uffd, region, page, count, vm_page_view(region, page)), "mapping the view anew", page);
  }
  return false;
}

bool vm_uffd_unseal(vm_region *region, size_t page, size_t count, uint8_t *opened) {
  size_t bytes = bytes_of(region, count);
  char *view = vm_page_view(region, page), *space = os_reserve(bytes + VM_HUGE), *to = (char *)(((uintptr_t)space + VM_HUGE - 1) & ~(uintptr_t)(VM_HUGE - 1));
  bool done = space != NULL && map_for(region->state->uffd, region, page, count, to) == 0;
  for (size_t at = page, end, limit = page + count; done && at < limit; at = end) {
    bool opens = is_open_unsealed(region, at);
    for (end = at + 1; end < limit && is_open_unsealed(region, end) == opens; end++) {
    }
    done = !opens || os_uffd_continue(region->state->uffd, to + bytes_of(region, at - page), bytes_of(region, end - at), vm_dirty_tracked(region)) == 0;
    for (size_t i = at - page; opens && i < end - page; i++) {
      opened[i / 8] |= (uint8_t)(1u << i % 8);
    }
  }
  if (done && mapping_move(to, bytes, view) != 0) {
    VM_CHECK(os_is_mapped(view), "the view at %p cannot be mapped: the system has no memory for it", (void *)view);
    done = false;
  }
  if (space != NULL) {
    os_unmap(space, bytes + VM_HUGE);
  }
  return done;
}

// Nobody hears of a second write to a sealed page: what can be written counts as written.
static void sealed_harvest(vm_region *region, size_t page, size_t count) {
  for (size_t i = page; i < page + count; i++) {
    if (at32_load_acquire(&region->word[i]) & (VM_ACCESS_WRITE | VM_BUSY | VM_HELPERS)) { // or about to be
      vm_dirty_note(region, i, ~0u);
    }
  }
}

void vm_uffd_harvest_moved(vm_region *region, size_t page, size_t count, ptrdiff_t aside, unsigned consumers) {
  enum { RANGES = 64 };
  struct os_range ranges[RANGES];
  uintptr_t base = (uintptr_t)region->base + (uintptr_t)aside;
  uintptr_t from = base + bytes_of(region, page), limit = from + bytes_of(region, count);
  while (from < limit) {
    int n = os_pagemap_harvest(region->state->pagemap, &from, limit, ranges, RANGES);
    if (n < 0) {
      // Nobody knows what was written, so all of it may have been. What was, stays so in the kernel.
      ranges[0] = (struct os_range){from, limit};
      n = 1;
      from = limit;
    }
    os_point();
    for (int i = 0; i < n; i++) {
      size_t first = (ranges[i].base - base) >> region->page_shift, last = (ranges[i].limit - 1 - base) >> region->page_shift;
      for (size_t p = first; p <= last; p++) {
        if (aside == 0 || !(at32_load(&region->word[p]) & VM_EMPTY)) { // vm.moved
          vm_dirty_note(region, p, consumers);
        }
      }
      vm_rest_written(region, first, last + 1);
    }
  }
}

void vm_uffd_harvest(vm_region *region, size_t page, size_t count) {
  if (!vm_is_sealed(region)) {
    vm_uffd_harvest_moved(region, page, count, 0, ~0u);
    return;
  }
  size_t per = VM_HUGE >> region->page_shift;
  for (size_t at = page, end, limit = page + count; at < limit; at = end) { // whole chunks are sealed
    bool sealed = (at32_load_acquire(&region->word[at]) & VM_SEALED) != 0;
    for (end = at - at % per + per; end < limit && ((at32_load_acquire(&region->word[end]) & VM_SEALED) != 0) == sealed; end += per) {
    }
    end = end < limit ? end : limit;
    if (sealed) {
      sealed_harvest(region, at, end - at);
    } else {
      vm_uffd_harvest_moved(region, at, end - at, 0, ~0u);
    }
  }
}

bool vm_uffd_crowded(vm_region *region) { return false; }
