// SPDX-License-Identifier: MIT
// crowd.c: what to do when there is no mapping left to open a page with (vm.max_map_count).
//
// Neighbours: claim.c calls when a back end could not open a page; protect.c counts mappings. Only mprotect gets here, and
// guard while writes are tracked. Any thread, signal handlers too.
//
// vm.crowd  Windows first: seams go away for good, by work that had to be done anyway. Folding, like the flush of a
// TLB,
//           takes no claim to be settled, so it works always. Only traps settle neighbours: other callers may
//           hold pages, and would wait for themselves.

#include "vm/backend.h"
#include "vm/check.h"
#include "vm/os.h"

// Contents that were put away stay there: to bring a window of them back could take more memory than there is.
enum { WORTH_SETTLING = VM_CLAIMS & ~VM_ABSENT };
enum { FIRST_WINDOW = 16, LAST_WINDOW = 1024, PATIENCE = 1000 };

static bool open_window(vm_region *region, size_t page, size_t window) {
  size_t base = page & ~(window - 1), limit = base + window < region->pages ? base + window : region->pages;
  for (size_t i = base; i < limit; i++) {
    uint32_t w = at32_load_acquire(&region->word[i]);
    bool settles = region->config.settles == NULL || region->config.settles(region->config.arg, i);
    if ((w & VM_COMMITTED) && !(w & VM_ABSENT) && (settles || !(w & VM_UNSCANNED))) {
      vm_settle(region, i, WORTH_SETTLING, true, false);
    }
  }
  return vm_claim_open_some(region, base, limit - base);
}

static void fold(void *arg, vm_region *region) {
  if (region->back_end == arg) {
    vm_claim_fold(region);
  }
}

void vm_crowd_open(vm_region *region, size_t page, size_t count) {
  vm_claim_fold(region);
  for (int i = 0; i < PATIENCE; i++) {
    if (vm_claim_open_some(region, page, count)) {
      return;
    }
    if (count > 1 && i > 2) {
      return; // it may have too many seams by itself; the rest opens by traps
    }
    // Others hold the mappings: other regions, or pages that were being opened while we folded.
    vm_region_each(fold, (void *)(uintptr_t)region->back_end);
    os_yield();
  }
  vm_fatal("no mappings left to open %p with: raise vm.max_map_count", (void *)vm_page_view(region, page));
}

void vm_crowd_trap(vm_region *region, size_t page) {
  for (size_t window = FIRST_WINDOW; window <= LAST_WINDOW; window *= 4) {
    if (open_window(region, page, window)) {
      return;
    }
  }
  vm_crowd_open(region, page, 1);
}
