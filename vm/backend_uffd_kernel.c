// SPDX-License-Identifier: MIT
// backend_uffd_kernel.c: userfaultfd with pagers: a thread that touches a veiled page sleeps in the kernel while a thread of ours does
// what a trap does. So system calls on veiled pages succeed. Needs the right to handle the kernel's faults.
//
// Neighbours: uffd.c has the pages, pager.c the threads; the proof (backend.c) finds out whether it is allowed.

#include "vm/backend.h"
#include "vm/pager.h"
#include "vm/uffd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static vm_status uffd_kernel_open(vm_region *region, char *why, size_t why_bytes) {
  vm_status status = vm_uffd_open(region, why, why_bytes);
  if (status != VM_OK) {
    return status;
  }
  int result = vm_pager_start(region);
  if (result < 0) {
    vm_uffd_close(region);
    snprintf(why, why_bytes, "uffd-kernel: starting its threads: %s", strerror(-result));
    return VM_NO_MEMORY;
  }
  return VM_OK;
}

static void uffd_kernel_close(vm_region *region) {
  vm_pager_stop(region);
  vm_uffd_close(region);
}

static void uffd_kernel_release(vm_region *region, size_t page, size_t count) {
  vm_pager_forget(region, page, count);
  vm_uffd_release(region, page, count);
}

const vm_backend vm_backend_uffd_kernel = {
    .name = "uffd-kernel",
    .pager = true,
    .kernel_dirty = true,
    .rests = false, // a system call would be refused
    // WP_ASYNC never tells us of a write, so a page that must not be written must be absent.
    .forbid_read = VM_ABSENT | VM_UNSCANNED | VM_UNSAVED | VM_IDLE,
    .open_state = uffd_kernel_open,
    .close_state = uffd_kernel_close,
    .adopt = vm_uffd_adopt,
    .revoke = vm_uffd_revoke,
    .revoke_many = vm_uffd_revoke_many,
    .open = vm_uffd_raise,
    .release = uffd_kernel_release,
    .harvest = vm_uffd_harvest,
    .move = vm_uffd_move,
    .harvest_moved = vm_uffd_harvest_moved,
    // Nothing is sealed: a system call that writes would be refused.
    .disarm = vm_uffd_disarm,
    .crowded = vm_uffd_crowded,
    .quiesce = vm_pager_quiesce,
    .resume = vm_pager_resume,
};
