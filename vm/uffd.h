// SPDX-License-Identifier: MIT
// uffd.h: what both back ends on userfaultfd do: entries of vm_backend, which has their contracts.

#ifndef VM_UFFD_H
#define VM_UFFD_H

#include "vm/vm.h"

vm_status vm_uffd_open(vm_region *region, char *why, size_t why_bytes);
void vm_uffd_close(vm_region *region);
bool vm_uffd_adopt(vm_region *region, size_t page, size_t count);
void vm_uffd_revoke(vm_region *region, size_t page, size_t count, unsigned access);
void vm_uffd_revoke_many(vm_region *region, const struct vm_run *run, size_t runs);
bool vm_uffd_raise(vm_region *region, size_t page, size_t count, unsigned access);
void vm_uffd_release(vm_region *region, size_t page, size_t count);
bool vm_uffd_move(vm_region *region, size_t page, size_t count, char *to);
void vm_uffd_harvest_moved(vm_region *region, size_t page, size_t count, ptrdiff_t aside, unsigned consumers);
void vm_uffd_harvest(vm_region *region, size_t page, size_t count);
bool vm_uffd_seal_prepare(vm_region *region, size_t page, size_t count, char *to, uint8_t *readable);
bool vm_uffd_seal(vm_region *region, size_t page, size_t count, char *from);
bool vm_uffd_unseal(vm_region *region, size_t page, size_t count, uint8_t *opened);
void vm_uffd_disarm(vm_region *region, size_t page, size_t count);
bool vm_uffd_crowded(vm_region *region);

#endif
