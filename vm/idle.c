// SPDX-License-Identifier: MIT
// idle.c: which pages were touched since they were last asked about.
//
// Neighbours: claim.c lays and settles. Any thread that may call vm_prot.
//
// IDLE takes access away and stands for nothing: a touch settles it. Who opens a page for another claim's sake, a scanner, leaves it, so that a cycle makes no page young (vm.idle).

#include "vm/backend.h"
#include "vm/check.h"

enum { RUN = 1024 }; // pages looked at before their access is taken away

static inline bool was_touched(uint32_t word) { return (word & (VM_COMMITTED | VM_IDLE)) == VM_COMMITTED; }

size_t vm_idle(vm_region *region, size_t page, size_t count, bool (*looks)(void *arg, size_t page), void (*touched)(void *arg, size_t page), void *arg) {
  size_t found = 0;
  if (region->back_end->signal == 0 && !region->back_end->pager) { // nothing traps: all may have been touched
    for (size_t at = page; at < page + count; at++) {
      if ((at32_load_acquire(&region->word[at]) & VM_COMMITTED) && (looks == NULL || looks(arg, at))) {
        touched(arg, at);
        found++;
      }
    }
    return found;
  }
  for (size_t at = page, limit = page + count; at < limit;) {
    size_t end = at + RUN < limit ? at + RUN : limit;
    while (at < end) {
      size_t first = at;
      for (; at < end && was_touched(at32_load_acquire(&region->word[at])) && (looks == NULL || looks(arg, at)); at++) {
        touched(arg, at);
      }
      if (at > first) {
        found += at - first;
        vm_prot(region, first, at - first, VM_IDLE, 0);
      }
      at += at < end;
    }
  }
  return found;
}
