// SPDX-License-Identifier: MIT
// backend_mprotect.c: veils by mprotect, traps by SIGSEGV, notices writes by CLEAN claims. Any Linux; the reference.
//
// Neighbours: protect.c does most of it; backend.h has the contract; claim.c calls. Any thread, signal handlers too.

#include "vm/backend.h"

static vm_status mprotect_open_state(vm_region *region, char *why, size_t why_bytes) {
  region->state->limit = os_limit_mappings();
  return VM_OK;
}

static void mprotect_close_state(vm_region *region) {}

static void mprotect_revoke(vm_region *region, size_t page, size_t count, unsigned access) {
  if (access == 0 || !vm_protect(region, page, count, OS_READ)) {
    vm_protect_none(region, page, count);
  }
}

static bool mprotect_open(vm_region *region, size_t page, size_t count, unsigned access) {
  return vm_protect(region, page, count, access & VM_ACCESS_WRITE ? OS_READ_WRITE : OS_READ);
}

static bool mprotect_crowded(vm_region *region) { return vm_protect_crowded(region, VM_ACCESS); }

const vm_backend vm_backend_mprotect = {
    .name = "mprotect",
    .signal = SIGSEGV,
    .kernel_dirty = false,
    .forbid_read = VM_ABSENT | VM_UNSCANNED | VM_IDLE,
    .open_state = mprotect_open_state,
    .close_state = mprotect_close_state,
    .revoke = mprotect_revoke,
    .open = mprotect_open,
    .release = vm_protect_none,
    .disarm = vm_protect_disarm,
    .crowded = mprotect_crowded,
};
