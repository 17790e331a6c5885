// SPDX-License-Identifier: MIT
// protect.c: protection by mprotect, for the back ends that use it always (mprotect) or sometimes (guard).
//
// Neighbours: backend_mprotect.c, backend_guard.c. Any thread, signal handlers too.
//
// Each change of access between neighbouring pages is a mapping of the process, and there are only vm.max_map_count.
// Revoking never needs more than we can get, because it may revoke more than asked: up to the whole view, which is one
// mapping. Opening can fail; crowd.c takes over then.

#include "vm/backend.h"
#include "vm/check.h"
#include "vm/os.h"

#include <errno.h>

bool vm_protect(vm_region *region, size_t page, size_t count, enum os_access access) {
  at_add(&region->state->changes, 1);
  int result = os_protect(vm_page_view(region, page), count << region->page_shift, access);
  VM_CHECK(result == 0 || result == -ENOMEM, "mprotect of page %zu failed with error %d", page, -result);
  return result == 0;
}

// Takes all access from [base, limit) around the run of pages that is to lose it, but for pages outside the run that
// the system may be using. False if there was no mapping left.
static bool lower_around(vm_region *region, size_t page, size_t count, size_t base, size_t limit) {
  for (size_t from = base, to; from < limit; from = to + 1) {
    for (to = from; to < limit && ((to >= page && to < page + count) || !vm_touched(region, to)); to++) {
    }
    if (from < to && !vm_protect(region, from, to - from, OS_NONE)) {
      return false;
    }
  }
  return true;
}

void vm_protect_none(vm_region *region, size_t page, size_t count) {
  if (vm_protect(region, page, count, OS_NONE)) {
    return;
  }
  // No mapping left for the seam. A larger window has fewer seams, and the whole view none. Only OS_NONE
  // will do: a larger window of readable pages would open pages that others have veiled.
  for (size_t size = 16; size < region->pages; size *= 4) {
    size_t base = page & ~(size - 1), limit = (page + count + size - 1) & ~(size - 1);
    limit = limit < region->pages ? limit : region->pages;
    if (lower_around(region, page, count, base, limit)) {
      return;
    }
  }
  if (lower_around(region, page, count, 0, region->pages)) {
    return;
  }
  while (!vm_protect(region, 0, region->pages, OS_NONE)) {
    os_yield(); // the view is one mapping afterwards, so this is a shortage of another kind: it passes
  }
}

void vm_protect_disarm(vm_region *region, size_t page, size_t count) {
  for (size_t i = page; i < page + count; i++) {
    if (at32_load(&region->word[i]) & VM_CLEAN) {
      vm_unprot(region, i, 1, VM_CLEAN);
    }
  }
}

// Mappings that the words ask for.
static size_t count_mappings(vm_region *region, uint32_t mask) {
  size_t mappings = 1, top = at_load(&region->top);
  uint32_t before = 0;
  for (size_t i = 0; i < top; i++) {
    uint32_t access = at32_load(&region->word[i]) & mask;
    mappings += access != before;
    before = access;
  }
  return mappings + (before != 0);
}

bool vm_protect_crowded(vm_region *region, uint32_t mask) {
  struct vm_backend_state *state = region->state;
  size_t half = state->limit / 2;
  // Each change makes two mappings more at most, so far below the half there is no need to count.
  uint64_t changes = at_load(&state->changes);
  if (at_load(&state->mappings) + 2 * changes <= half) {
    return false;
  }
  if (changes > state->limit / 16 || at_load(&state->mappings) == 0) {
    at_store(&state->changes, 0);
    at_store(&state->mappings, count_mappings(region, mask));
  }
  return at_load(&state->mappings) + 2 * (state->limit / 16) > half;
}
