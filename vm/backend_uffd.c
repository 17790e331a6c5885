// SPDX-License-Identifier: MIT
// backend_uffd.c: userfaultfd with SIGBUS: a trap is a signal in the thread that touched the page. Linux 6.7, no privilege.
//
// Neighbours: uffd.c does all of it; trap.c handles the signal.

#include "vm/backend.h"
#include "vm/uffd.h"

const vm_backend vm_backend_uffd = {
    .name = "uffd",
    .signal = SIGBUS,
    .kernel_dirty = true,
    .rests = true,
    // WP_ASYNC never tells us of a write, so a page that must not be written must be absent, or sealed (vm_claim_allows).
    .forbid_read = VM_ABSENT | VM_UNSCANNED | VM_UNSAVED | VM_IDLE,
    .open_state = vm_uffd_open,
    .close_state = vm_uffd_close,
    .adopt = vm_uffd_adopt,
    .revoke = vm_uffd_revoke,
    .revoke_many = vm_uffd_revoke_many,
    .open = vm_uffd_raise,
    .release = vm_uffd_release,
    .harvest = vm_uffd_harvest,
    .move = vm_uffd_move,
    .harvest_moved = vm_uffd_harvest_moved,
    .seal_prepare = vm_uffd_seal_prepare,
    .seal = vm_uffd_seal,
    .unseal = vm_uffd_unseal,
    .disarm = vm_uffd_disarm,
    .crowded = vm_uffd_crowded,
};
