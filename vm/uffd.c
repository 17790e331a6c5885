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
static int prepare(vm_region *region, char *base, char *limit) {
  if (base == limit) {
    return 0;
  }
  int result = os_uffd_register(region->state->uffd, base, (size_t)(limit - base));
  return result < 0 ? result : os_protect(base, (size_t)(limit - base), OS_READ_WRITE);
}

vm_status vm_uffd_open(vm_region *region, char *why, size_t why_bytes) {
  struct vm_backend_state *state = region->state;
  state->uffd = state->pagemap = -1;
  bool kernel = region->back_end->pager;
  state->uffd = os_uffd_open(FEATURES | (kernel ? FEATURE_THREAD_ID : FEATURE_SIGBUS), kernel);
  if (state->uffd < 0) {
    return refuse(region, "userfaultfd", state->uffd, why, why_bytes);
  }
  state->pagemap = os_pagemap_open();
  if (state->pagemap < 0) {
    return refuse(region, "/proc/self/pagemap", state->pagemap, why, why_bytes);
  }
  int result = prepare(region, region->base + region->config.huge, region->limit);
  return result < 0 ? refuse(region, "registering the view", result, why, why_bytes) : VM_OK;
}

bool vm_uffd_adopt(vm_region *region, size_t page, size_t count) {
  return prepare(region, vm_page_view(region, page), vm_page_view(region, page + count)) == 0;
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
  VM_CHECK_FULL(access == 0, "uffd has no readable pages that cannot be written");
  int result;
  INSIST(result, os_drop(vm_page_view(region, page), bytes_of(region, count)), "dropping", page);
}

static int pages_continue(vm_region *region, size_t page, size_t count, bool armed) {
  int result, tries = 0;
  while ((result = os_uffd_continue(region->state->uffd, vm_page_view(region, page), bytes_of(region, count), armed)) ==
             -ENOMEM &&
         tries++ < PATIENCE) {
    os_yield();
  }
  return result;
}

bool vm_uffd_raise(vm_region *region, size_t page, size_t count, unsigned access) {
  bool armed = vm_dirty_tracked(region) && !(access & VM_ACCESS_WRITTEN);
  int result = pages_continue(region, page, count, armed);
  if (result != -ENOENT) {
    VM_CHECK(result == 0, "UFFDIO_CONTINUE of page %zu failed with error %d", page, -result);
    return true;
  }
  // Not one mapping: some of its chunks rest, others do not. A chunk is one, and opens as well while it rests: writing is the mapping's affair.
  size_t chunk_pages = VM_HUGE >> region->page_shift;
  for (size_t at = page, limit = page + count; at < limit;) {
    size_t end = at - at % chunk_pages + chunk_pages;
    end = end < limit ? end : limit;
    result = pages_continue(region, at, end - at, armed);
    VM_CHECK(result == 0, "UFFDIO_CONTINUE of page %zu failed with error %d", at, -result);
    at = end;
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

void vm_uffd_harvest(vm_region *region, size_t page, size_t count) { vm_uffd_harvest_moved(region, page, count, 0, ~0u); }

bool vm_uffd_crowded(vm_region *region) { return false; }
