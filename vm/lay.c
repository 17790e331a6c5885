// SPDX-License-Identifier: MIT
// lay.c: lays a claim on many runs of pages, here and there, with everybody stopped: access is taken away by few calls
// to the system.
//
// Neighbours: claim.c does the same page by page while others run (vm_prot), move.c for whole regions; the back end
// takes the access away. The thread that has stopped all others.
//
// Keeps vm.stopped and vm.laid-stopped.

#include "vm/backend.h"
#include "vm/check.h"
#include "vm/os.h"

#include <string.h>

void vm_lay_begin(vm_laying *laying, vm_region *region, unsigned claim, unsigned known) {
  VM_CHECK(claim != 0 && (claim & ~VM_CLAIMS) == 0 && (claim & (claim - 1)) == 0 && claim != VM_CLEAN,
           "%x is not one claim that can be laid in a stop", claim);
  laying->region = region;
  laying->claim = claim;
  laying->news = region->back_end->harvest != NULL ? at32_load(&region->dirty->consumers) & ~known : 0;
  laying->access = 0;
  laying->runs = 0;
}

void vm_lay_end(vm_laying *laying) {
  vm_region *region = laying->region;
  const vm_backend *back_end = laying->runs != 0 ? region->back_end : NULL;
  if (laying->runs > 1 && laying->access == 0 && back_end->revoke_many != NULL) {
    back_end->revoke_many(region, laying->run, laying->runs);
  } else {
    for (size_t i = 0; i < laying->runs; i++) {
      back_end->revoke(region, laying->run[i].page, laying->run[i].count, laying->access);
    }
  }
  laying->runs = 0;
}

// The page is to be left with no more than `access`; its word says so already (vm.stopped).
static void revoke_later(vm_laying *laying, size_t page, unsigned access) {
  vm_region *region = laying->region;
  // vm.laid-stopped: nobody but the system can have written here since it was harvested, and only where it does so
  // without a word.
  if (laying->news != 0 && region->config.rests != NULL && !region->config.rests(region->config.arg, page)) {
    vm_dirty_note(region, page, laying->news);
  }
  struct vm_run *last = laying->runs != 0 ? &laying->run[laying->runs - 1] : NULL;
  if (last != NULL && laying->access == access && last->page + last->count == page) {
    last->count++;
    return;
  }
  if (laying->runs == VM_LAY_RUNS || laying->access != access) {
    vm_lay_end(laying);
    laying->access = access;
  }
  laying->run[laying->runs++] = (struct vm_run){page, 1};
}

size_t vm_lay(vm_laying *laying, size_t page, size_t count) {
  vm_region *region = laying->region;
  VM_CHECK(page <= region->pages && count <= region->pages - page, "pages [%zu, +%zu) of a region of %zu", page, count,
           region->pages);
  size_t laid = 0;
  for (size_t i = page; i < page + count; i++) {
    uint32_t w = at32_load(&region->word[i]);
    VM_CHECK_FULL((w & (VM_BUSY | VM_HELPERS | VM_LAYING)) == 0, "a page is held while everybody is stopped");
    if (w & laying->claim) {
      continue; // in force since it was laid
    }
    uint32_t n = w | laying->claim;
    unsigned access = w & vm_claim_allows(region, n) & VM_ACCESS;
    at32_store(&region->word[i], (n & ~(uint32_t)VM_ACCESS) | access);
    if ((w & VM_ACCESS) != access) {
      revoke_later(laying, i, access);
    }
    laid++;
  }
  return laid;
}
