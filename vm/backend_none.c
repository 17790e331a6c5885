// SPDX-License-Identifier: MIT
// backend_none.c: no protection at all. The view is open from the start, nothing traps, every page is always
// dirty. The oracle for tests, and for valgrind.
//
// Neighbours: backend.h has the contract. The words are kept as with the others, so claim.c needs no case for it.

#include "vm/backend.h"
#include "vm/os.h"

#include <stdio.h>
#include <string.h>

static vm_status none_open_state(vm_region *region, char *why, size_t why_bytes) {
  int result = os_protect(region->base, (size_t)(region->limit - region->base), OS_READ_WRITE);
  if (result < 0) {
    snprintf(why, why_bytes, "none: mprotect: %s", strerror(-result));
    return VM_NO_MEMORY;
  }
  return VM_OK;
}

static void none_close_state(vm_region *region) {}
static void none_revoke(vm_region *region, size_t page, size_t count, unsigned access) {}
static bool none_open(vm_region *region, size_t page, size_t count, unsigned access) { return true; }
static void none_change(vm_region *region, size_t page, size_t count) {}
static bool none_crowded(vm_region *region) { return false; }

static void none_harvest(vm_region *region, size_t page, size_t count) {
  for (size_t i = page; i < page + count; i++) {
    vm_dirty_note(region, i, ~0u);
  }
}

const vm_backend vm_backend_none = {
    .name = "none",
    .signal = 0,
    .kernel_dirty = true,
    .forbid_read = VM_ABSENT | VM_UNSCANNED,
    .open_state = none_open_state,
    .close_state = none_close_state,
    .revoke = none_revoke,
    .open = none_open,
    .release = none_change,
    .harvest = none_harvest,
    .disarm = none_change,
    .crowded = none_crowded,
};
