// SPDX-License-Identifier: MIT
// pager.h: threads that handle the faults of a region whose touchers sleep in the kernel.

#ifndef VM_PAGER_H
#define VM_PAGER_H

#include "vm/vm.h"

// Starts the region's pagers; its userfaultfd is open. 0 or a negative errno, and then there are none.
int vm_pager_start(vm_region *region);
// Ends them, if there are any. Nobody touches the region any more.
void vm_pager_stop(vm_region *region);
// Entries of vm_backend.
void vm_pager_quiesce(vm_region *region);
void vm_pager_resume(vm_region *region);
// The pages go out of use: what was said of touches of them no longer counts. Before their memory goes.
void vm_pager_forget(vm_region *region, size_t page, size_t count);

#endif
