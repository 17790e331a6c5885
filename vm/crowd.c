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

// Takes access away from every page that nobody holds, in one call to the system: leaves one mapping.
static void region_fold(vm_region *region) {
  enum { CHUNK = 4096 };
  size_t top = at_load_acquire(&region->top);
  for (size_t base = 0; base < top; base += CHUNK) {
    size_t count = top - base < CHUNK ? top - base : CHUNK;
    uint64_t held[CHUNK / 64] = {0};
    for (size_t i = 0; i < count; i++) {
      uint32_t w = at32_load_acquire(&region->word[base + i]);
      if ((w & (VM_BUSY | VM_HELPERS)) == 0 && !vm_touched(region, base + i) && at32_cas_full(&region->word[base + i], w, w | VM_BUSY | VM_LAYING)) {
        held[i / 64] |= (uint64_t)1 << (i % 64);
      }
    }
    for (size_t from = 0, to; from < count; from = to + 1) {
      for (to = from; to < count && !vm_touched(region, base + to); to++) {
      }
      if (from < to) {
        if (region->back_end->fold != NULL) {
          region->back_end->fold(region, base + from, to - from);
        } else {
          region->back_end->revoke(region, base + from, to - from, 0);
        }
      }
    }
    for (size_t i = 0; i < count; i++) {
      if (held[i / 64] >> (i % 64) & 1) {
        vm_claim_change(region, base + i, VM_BUSY | VM_LAYING | VM_ACCESS, 0);
      }
    }
  }
}

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
    region_fold(region);
  }
}

void vm_crowd_open(vm_region *region, size_t page, size_t count) {
  region_fold(region);
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
