// SPDX-License-Identifier: MIT
// backend_guard.c: veils by guard pages (MADV_GUARD_INSTALL), traps by SIGSEGV, opens by taking the guard away; notices writes by CLEAN
// claims. Linux 6.15. For systems that forbid userfaultfd.
//
// Neighbours: backend.h has the contract; protect.c for what guards cannot do; huge.c adopts and marks chunks; claim.c calls. Any thread,
// signal handlers too.
//
// vm.guard   A guard forbids all access whatever the mapping allows, and does not split it. So a chunk of the view is guarded
//            and then made readable and writable as it gets its first memory (until then it has no access, at no cost), and nothing but
//            guards changes there unless a page has to be readable and not writable (CLEAN), or guards fail. Then the chunk is
//            marked first, and from there on whoever opens its pages sets the mapping's access too, before the guard goes.

#include "vm/backend.h"
#include "vm/check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { RETRIES = 8, PATIENCE = 1000 }; // of calls that fail only when the kernel is short of memory for a moment

// A guard that is left where nothing is open yet does no harm.
static vm_status guard_open_state(vm_region *region, char *why, size_t why_bytes) {
  region->state->limit = os_limit_mappings();
  int result = os_guard(region->base, region->page_size);
  if (result < 0) {
    snprintf(why, why_bytes, "guard: MADV_GUARD_INSTALL: %s", strerror(-result));
    return result == -ENOMEM ? VM_NO_MEMORY : VM_UNSUPPORTED;
  }
  return VM_OK;
}

static void guard_close_state(vm_region *region) {}

// False: the kernel is short of memory, or the memory was locked.
static bool install(vm_region *region, size_t page, size_t count) {
  int result, tries = 0;
  while ((result = os_guard(vm_page_view(region, page), count << region->page_shift)) == -ENOMEM && tries++ < RETRIES) {
    os_yield();
  }
  return result == 0;
}

static bool guard_adopt(vm_region *region, size_t page, size_t count) {
  if (!install(region, page, count) || !vm_protect(region, page, count, OS_READ_WRITE)) {
    vm_chunks_mark(region, page, count); // it has no access, which is a veil as well
  }
  return true;
}

// By other means than guards: in more pages than asked, perhaps.
static void take_mapping(vm_region *region, size_t page, size_t count) {
  vm_chunks_mark(region, 0, region->pages);
  vm_protect_none(region, page, count);
}

// Also done anew after the memory was given up: Linux unmaps a file's memory before it goes, and once more what somebody has mapped meanwhile, for which a fault beside it, in the alias, is enough; and that second time it takes guards as well
// (unmap_mapping_folio in 6.18's mm/memory.c drops markers).
static void veil(vm_region *region, size_t page, size_t count) {
  if (!install(region, page, count)) {
    take_mapping(region, page, count);
  }
}

static void guard_revoke(vm_region *region, size_t page, size_t count, unsigned access) {
  if (access != 0) {
    vm_chunks_mark(region, page, count);
    if (vm_protect(region, page, count, OS_READ)) {
      return;
    }
  }
  veil(region, page, count); // without a mapping left that takes more than asked
}

static void guard_revoke_many(vm_region *region, const struct vm_run *run, size_t runs) {
  struct iovec ranges[VM_LAY_RUNS] = {0};
  for (size_t i = 0; i < runs; i++) {
    ranges[i] = (struct iovec){vm_page_view(region, run[i].page), run[i].count << region->page_shift};
  }
  if (os_guard_many(ranges, runs)) {
    return;
  }
  for (size_t i = 0; i < runs; i++) {
    veil(region, run[i].page, run[i].count);
  }
}

static bool guard_open(vm_region *region, size_t page, size_t count, unsigned access) {
  bool write = (access & VM_ACCESS_WRITE) != 0;
  if (!write) {
    vm_chunks_mark(region, page, count);
  }
  if (vm_chunks_marked(region, page, count) && !vm_protect(region, page, count, write ? OS_READ_WRITE : OS_READ)) {
    return false;
  }
  int result, tries = 0;
  char *base = vm_page_view(region, page);
  size_t bytes = count << region->page_shift;
  while ((result = os_unguard(base, bytes)) == -ENOMEM && tries++ < PATIENCE) {
    os_yield();
  }
  VM_CHECK(result == 0, "MADV_GUARD_REMOVE of page %zu failed with error %d", page, -result);
  if (count > 1) {
    os_map_ahead(base, bytes); // a fifth of what its pages cost by faults; for a single one it does not pay
  }
  return true;
}

// When memory goes of a file in memory the system unmaps it first, and once more what somebody has mapped meanwhile: a fault beside it, in the alias, is enough. That second time takes guards as well (unmap_mapping_folio in Linux 6.18's
// mm/memory.c drops markers). What was released is guarded anew afterwards. What is only away may be touched meanwhile, so there the mapping forbids access until they are there again.
static bool guard_drop(vm_region *region, size_t page, size_t count) {
  if (!vm_protect(region, page, count, OS_NONE)) {
    return false;
  }
  bool dropped = vm_region_drop(region, page, count);
  veil(region, page, count);
  // Who opens a page of a marked chunk sets its access; and so he does from here on if it cannot be had back, or one of two chunks is marked.
  if (vm_chunks_marked(region, page, count) || !vm_protect(region, page, count, OS_READ_WRITE)) {
    vm_chunks_mark(region, page, count);
  }
  return dropped;
}

static bool guard_crowded(vm_region *region) {
  return vm_protect_crowded(region, VM_CLEAN); // other claims take no mapping
}

const vm_backend vm_backend_guard = {
    .name = "guard",
    .signal = SIGSEGV,
    .kernel_dirty = false,
    // Readable pages cost mappings, so of these claims there are none.
    .forbid_read = VM_ABSENT | VM_UNSCANNED | VM_UNSAVED | VM_IDLE,
    .open_state = guard_open_state,
    .close_state = guard_close_state,
    .adopt = guard_adopt,
    .adopts_all = true,
    .revoke = guard_revoke,
    .revoke_many = guard_revoke_many,
    .drop = guard_drop,
    .open = guard_open,
    .fold = take_mapping,
    .release = veil,
    .released = veil,
    .disarm = vm_protect_disarm,
    .crowded = guard_crowded,
};
