// SPDX-License-Identifier: MIT
// backend.c: chooses the back end of a region, and proves that it works.
//
// Neighbours: region.c builds; backend_*.c are chosen from. Any thread, not in traps.
//
// A header or a version number says little about what works here: containers forbid calls, kernels accept flags
// and ignore them. So a small region is opened first and every primitive used once, as a program would.

#include "vm/backend.h"
#include "vm/os.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Best first; `none` and `uffd-kernel` are for those who ask for them.
static const vm_backend *const choices[] = {&vm_backend_uffd, &vm_backend_guard, &vm_backend_mprotect};
static const vm_backend *const all[] = {&vm_backend_uffd, &vm_backend_guard, &vm_backend_mprotect, &vm_backend_uffd_kernel, &vm_backend_none};

enum { CHOICES = sizeof choices / sizeof choices[0], ALL = sizeof all / sizeof all[0] };

const vm_backend *vm_backend_named(const char *name) {
  for (size_t i = 0; i < ALL; i++) {
    if (strcmp(all[i]->name, name) == 0) {
      return all[i];
    }
  }
  return NULL;
}

// ---- The proof.

enum { SCRATCH_PAGES = 4, WRITTEN = 2 };

struct proof {
  vm_region *region;
  uint32_t volatile settled; // claims settled, perhaps by another thread
  size_t dirty;     // the last page reported dirty
};

static void proof_settle(void *arg, size_t page, unsigned claim, bool write) {
  struct proof *proof = arg;
  at32_add_full(&proof->settled, 1);
  (*vm_page_alias(proof->region, page))++;
}

static void proof_dirty(void *arg, size_t page) { ((struct proof *)arg)->dirty = page; }

// Reads through the view, as a mutator does.
static char touch(vm_region *region, size_t page) { return *(volatile char *)vm_page_view(region, page); }

// Trap, Prot1, ProtN, Unprot and Map2. What failed, or NULL.
static const char *prove_protection(struct proof *proof) {
  vm_region *region = proof->region;
  *vm_page_alias(region, 0) = 10;
  if (vm_prot(region, 0, SCRATCH_PAGES, VM_UNSCANNED, 0) != SCRATCH_PAGES) {
    return "ProtN";
  }
  if (touch(region, 0) != 11 || at32_load_acquire(&proof->settled) != 1 || touch(region, 0) != 11) {
    return "Trap";
  }
  vm_prot(region, 0, 1, VM_UNSCANNED, 0);
  // A system call is refused, or brings a trap about.
  if (os_readable(vm_page_view(region, 0)) != region->back_end->pager || touch(region, 0) != 12 || at32_load_acquire(&proof->settled) != 2) {
    return "Prot1";
  }
  *vm_page_alias(region, 1) = 20;
  vm_unprot(region, 1, SCRATCH_PAGES - 1, VM_UNSCANNED);
  uint64_t traps = at_load(&region->traps_count);
  if (touch(region, 1) != 20 || touch(region, 3) != 0 || at_load(&region->traps_count) != traps) {
    return "Unprot";
  }
  *(volatile char *)vm_page_view(region, 1) = 21;
  return *vm_page_alias(region, 1) == 21 ? NULL : "Map2";
}

// Dirty. What failed, or NULL.
static const char *prove_dirty(struct proof *proof) {
  vm_region *region = proof->region;
  int consumer = vm_dirty_open(region);
  if (consumer < 0 || vm_dirty(region, consumer, 0, SCRATCH_PAGES, proof_dirty, proof) != SCRATCH_PAGES) {
    return "Dirty, when first asked";
  }
  if (vm_dirty(region, consumer, 0, SCRATCH_PAGES, proof_dirty, proof) != 0) {
    return "Dirty, of clean pages";
  }
  *vm_page_alias(region, 1) = 30;
  *(volatile char *)vm_page_view(region, WRITTEN) = 31;
  if (vm_dirty(region, consumer, 0, SCRATCH_PAGES, proof_dirty, proof) != 1 || proof->dirty != WRITTEN) {
    return "Dirty, of one written page";
  }
  vm_dirty_close(region, consumer);
  return NULL;
}

static const char *prove_release(struct proof *proof) {
  vm_region *region = proof->region;
  vm_release(region, 0, SCRATCH_PAGES);
  if (vm_held(region) != 0 || (!region->back_end->pager && os_readable(vm_page_view(region, WRITTEN)))) {
    return "giving memory back";
  }
  return vm_commit(region, 0, SCRATCH_PAGES) && touch(region, WRITTEN) == 0 ? NULL : "memory after giving it back";
}

vm_status vm_backend_prove(const vm_backend *back_end, char *why, size_t why_bytes) {
  struct proof proof = {0};
  vm_region_config config = {.bytes = 2 << 20, .page_shift = 12, .settle = proof_settle, .arg = &proof};
  vm_status status = vm_region_build(&config, back_end, &proof.region, why, why_bytes);
  if (status != VM_OK) {
    return status;
  }
  const char *failed = NULL;
  if (!vm_commit(proof.region, 0, SCRATCH_PAGES)) {
    snprintf(why, why_bytes, "%s: no memory", back_end->name);
    status = VM_NO_MEMORY;
  } else if (proof.region->traps) {
    sigset_t faults, before;
    sigemptyset(&faults);
    if (back_end->signal != 0) {
      sigaddset(&faults, back_end->signal);
    }
    os_mask(SIG_UNBLOCK, &faults, &before);
    failed = prove_protection(&proof);
    failed = failed != NULL ? failed : prove_dirty(&proof);
    failed = failed != NULL ? failed : prove_release(&proof);
    os_mask(SIG_SETMASK, &before, NULL);
  }
  if (failed != NULL) {
    snprintf(why, why_bytes, "%s: does not work here: %s", back_end->name, failed);
    status = VM_UNSUPPORTED;
  }
  vm_region_close(proof.region);
  return status;
}

// ---- The choice.

static vm_status open_with(const vm_region_config *config, const vm_backend *back_end, vm_region **out, char *why,
                           size_t why_bytes) {
  vm_status status = vm_backend_prove(back_end, why, why_bytes);
  return status == VM_OK ? vm_region_build(config, back_end, out, why, why_bytes) : status;
}

vm_status vm_region_open(const vm_region_config *config, vm_region **out, char *why, size_t why_bytes) {
  char unwanted[1];
  if (why_bytes == 0) {
    why = unwanted;
    why_bytes = sizeof unwanted;
  }
  *out = NULL;
  why[0] = 0;
  const char *name = config->back_end;
  if (name == NULL || strcmp(name, "auto") == 0) {
    name = getenv("VEIL_VM");
  }
  if (name != NULL && name[0] != 0 && strcmp(name, "auto") != 0) {
    const vm_backend *back_end = vm_backend_named(name);
    if (back_end == NULL) {
      snprintf(why, why_bytes, "no back end is called \"%s\": there are uffd, guard, mprotect, uffd-kernel and none", name);
      return VM_INVALID;
    }
    return open_with(config, back_end, out, why, why_bytes);
  }
  vm_status status = VM_UNSUPPORTED;
  size_t used = 0; // what `why` has of those that were passed over
  for (size_t i = 0; i < CHOICES; i++) {
    char reason[200] = "";
    status = open_with(config, choices[i], out, reason, sizeof reason);
    if (status == VM_OK) {
      break;
    }
    int n = snprintf(why + used, why_bytes - used, "%s%s", used != 0 ? "; " : "", reason);
    used = n > 0 && used + (size_t)n < why_bytes ? used + (size_t)n : used;
    if (status == VM_INVALID) {
      break; // no back end makes a bad size good
    }
  }
  return status;
}
