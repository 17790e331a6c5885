// SPDX-License-Identifier: MIT
// fork.c: a region when its process forks: nobody writes it until the child has a copy of its own.
//
// Neighbours: trap.c asks vm_fork_fault about every fault in a region; runtime/fork.c calls the rest, in the thread that forks. vm_freeze with
// all mutators stopped and no page held; vm_fork_copy and vm_fork_open in the child, where there is no other thread.
//
// vm.frozen  The memory is shared, so a child would write into its parent's heap, and read what the parent writes after the fork.
//            From vm_freeze to vm_thaw every page that the view may write is made read-only, by the words, and whoever writes
//            it waits in the handler, before he looks at the word. So does any other trap: no word, no page, no table of
//            the region changes but in pages that are spared. Words stay as they are, and vm_thaw puts back what they say.

#include "vm/backend.h"
#include "vm/check.h"
#include "vm/os.h"

#include <signal.h>
#include <string.h>

enum { PATIENCE = 1000, ALIGNMENT = VM_HUGE };

static uint32_t word_at(const vm_region *region, size_t page) { return at32_load(&region->word[page]); }

static size_t bytes_of(const vm_region *region, size_t count) { return count << region->page_shift; }

// ---- Freezing.

typedef bool run_fn(vm_region *region, size_t page, size_t count);

static bool may_be_written(const vm_region *region, size_t page, vm_spares *spares, void *arg) {
  // Where the words do not say all that the view gives, it is writable wherever there is memory.
  // What rests is read-only all the time, and none of it is spared (vm_rest_spare).
  uint32_t w = word_at(region, page);
  return !vm_rests(region, page) && (w & (region->kernel_dirty ? VM_COMMITTED : VM_ACCESS_WRITE)) && (spares == NULL || !spares(arg, page));
}

// Calls `change` for the runs of pages that may be written and are not spared, until it fails.
static bool runs_change(vm_region *region, vm_spares *spares, void *arg, run_fn *change) {
  size_t top = at_load(&region->top), run = 0; // [page - run, page)
  for (size_t page = 0; page <= top; page++) {
    if (page < top && may_be_written(region, page, spares, arg)) {
      run++;
      continue;
    }
    if (run != 0 && !change(region, page - run, run)) {
      return false;
    }
    run = 0;
  }
  return true;
}

static bool run_freeze(vm_region *region, size_t page, size_t count) {
  if (!region->kernel_dirty) {
    region->back_end->revoke(region, page, count, VM_ACCESS_READ);
    return true;
  }
  return os_protect(vm_page_view(region, page), bytes_of(region, count), OS_READ) == 0;
}

static bool run_thaw(vm_region *region, size_t page, size_t count) {
  if (!region->kernel_dirty) {
    (void)region->back_end->open(region, page, count, VM_ACCESS); // what found no mapping opens at the first touch
    return true;
  }
  int result = -1;
  for (int tries = 0; result != 0 && tries < PATIENCE; tries++) {
    result = os_protect(vm_page_view(region, page), bytes_of(region, count), OS_READ_WRITE);
  }
  return result == 0;
}

void vm_freeze(vm_region *region, vm_spares *spares, void *arg) {
  if (VM_FULL_CHECKS) {
    for (size_t page = 0; page < at_load(&region->top); page++) {
      VM_CHECK((word_at(region, page) & (VM_BUSY | VM_HELPERS)) == 0, "page %zu is held while the process forks: word %x", page,
               word_at(region, page));
    }
  }
  if (spares != NULL) {
    vm_rest_spare(region, spares, arg);
  }
  // A write to what is read-only raises this, whatever the back end uses; and others may have taken the handler away.
  vm_trap_install(SIGSEGV);
  vm_trap_restore();
  at32_store_release(&region->frozen, 1);
  at_fence_full();
  region->spared = spares != NULL;
  if (!runs_change(region, spares, arg, run_freeze)) {
    // No mapping left for so many seams: then nothing is spared.
    region->spared = false;
    for (int tries = 0; !runs_change(region, NULL, NULL, run_freeze); tries++) {
      VM_CHECK(tries < PATIENCE, "the region at %p cannot be made read-only", (void *)region->base);
      os_yield();
    }
  }
}

void vm_thaw(vm_region *region, vm_spares *spares, void *arg) {
  if (!runs_change(region, region->spared ? spares : NULL, arg, run_thaw)) {
    vm_fatal("the region at %p cannot be made writable again after a fork", (void *)region->base);
  }
  at32_add_full(&region->thaws, 1);
  at32_store_release(&region->frozen, 0);
  os_wake_all(&region->frozen);
}

// The last fault of this thread that was not its back end's, and how often the region had been thawed then.
static _Thread_local struct {
  const void *address;
  uint32_t thaws;
} seen __attribute__((tls_model("initial-exec")));

enum vm_fault vm_fork_fault(vm_region *region, int signo, const void *address) {
  switch (at32_load_acquire(&region->lost)) {
  case VM_KEPT:
    break;
  case VM_LOST:
    vm_fatal("%p was touched in a child of fork that could not get a copy of the heap", address);
  default:
    return VM_FAULT_FOREIGN;
  }
  if (at32_load_acquire(&region->frozen)) {
    while (at32_load_acquire(&region->frozen)) {
      os_wait(&region->frozen, 1);
    }
    return VM_FAULT_RETRY;
  }
  if (vm_rest_fault(region, signo, address)) {
    return VM_FAULT_RETRY;
  }
  uint32_t thaws = at32_load_acquire(&region->thaws);
  if (signo == region->back_end->signal) {
    return VM_FAULT_OURS; // also one from a moment ago: the word tells that the page is open
  }
  if (thaws != 0 && (seen.address != address || seen.thaws != thaws)) {
    // It may have been frozen, or at rest, when the fault was raised. If not, the fault comes again.
    seen.address = address;
    seen.thaws = thaws;
    return VM_FAULT_RETRY;
  }
  return VM_FAULT_FOREIGN;
}

// ---- The child.

// Memory for [page, page + count) at `to`, in huge pages where the parent has them.
static bool run_populate(vm_region *region, char *to, size_t page, size_t count) {
  size_t chunk_pages = VM_HUGE >> region->page_shift;
  for (size_t at = page, limit = page + count; at < limit;) {
    size_t end = at - at % chunk_pages + chunk_pages;
    end = end < limit ? end : limit;
    bool whole = vm_is_huge(region, at) && end - at == chunk_pages;
    if (!(whole && os_huge(to + bytes_of(region, at), VM_HUGE) == 0) &&
        os_populate(to + bytes_of(region, at), bytes_of(region, end - at)) != 0) {
      return false;
    }
    at = end;
  }
  return true;
}

// Copies the committed pages for which vm_touched is `touched`.
static bool pages_copy(vm_region *region, char *to, bool touched) {
  size_t top = at_load(&region->top), run = 0; // [page - run, page)
  for (size_t page = 0; page <= top; page++) {
    if (page < top && (word_at(region, page) & VM_COMMITTED) && vm_touched(region, page) == touched) {
      run++;
      continue;
    }
    if (run != 0) {
      size_t first = page - run;
      if (!run_populate(region, to, first, run)) {
        return false;
      }
      memcpy(to + bytes_of(region, first), vm_page_alias(region, first), bytes_of(region, run));
    }
    run = 0;
  }
  return true;
}

// The new file takes the place of the old one, in both mappings.
static bool memory_replace(vm_region *region, int memory, char *copy) {
  size_t bytes = (size_t)(region->limit - region->base);
  // The copy's page tables move with it, so that the alias need not be filled again.
  if (os_move(copy, bytes, region->base + region->delta) != 0 ||
      os_map_file(region->base, bytes, memory, 0, OS_NONE) != 0) {
    return false;
  }
  os_small_pages(region->base, bytes);
  os_close(region->memory);
  region->memory = memory;
  return true;
}

bool vm_fork_copy(vm_region *region) {
  size_t bytes = (size_t)(region->limit - region->base);
  int memory = os_memory(bytes);
  if (memory < 0) {
    return false;
  }
  char *space = os_reserve(bytes + ALIGNMENT);
  if (space == NULL) {
    os_close(memory);
    return false;
  }
  char *copy = (char *)(((uintptr_t)space + ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1));
  // What others may be writing in the parent comes first: see runtime/README.md, rt.fork.
  bool copied = os_map_file(copy, bytes, memory, 0, OS_READ_WRITE) == 0 && pages_copy(region, copy, true) &&
                pages_copy(region, copy, false) && memory_replace(region, memory, copy);
  os_unmap(space, bytes + ALIGNMENT); // what the move has left of it
  if (!copied) {
    os_close(memory);
  }
  return copied;
}

static unsigned access_at(const vm_region *region, size_t page) {
  uint32_t w = word_at(region, page);
  return w & VM_COMMITTED ? w & VM_ACCESS : 0;
}

bool vm_fork_open(vm_region *region) {
  char why[200];
  vm_rest_forget(region);
  vm_seal_forget(region);
  vm_move_forget(region);
  region->back_end->close_state(region);
  if (region->back_end->open_state(region, why, sizeof why) != VM_OK || !vm_chunks_renew(region)) {
    return false;
  }
  size_t top = at_load(&region->top);
  for (size_t page = 0; region->kernel_dirty && page < top; page++) {
    at8_store(&region->dirty->clean[page], 0); // what was written before went with the parent's userfaultfd
  }
  vm_dirty_stir(region, 0, top, region->kernel_dirty ? ~0u : 0);
  for (size_t first = 0, page; first < top; first = page) {
    unsigned access = access_at(region, first);
    for (page = first + 1; page < top && access_at(region, page) == access; page++) {
    }
    if (access != 0) {
      (void)region->back_end->open(region, first, page - first, access); // else at the first touch
    }
  }
  at32_store_release(&region->frozen, 0);
  return true;
}

void vm_fork_lose(vm_region *region, enum vm_lost how) {
  size_t bytes = (size_t)(region->limit - region->base);
  at32_store_release(&region->lost, how);
  vm_move_forget(region);
  int result = os_map_nothing(region->base, bytes);
  result = result == 0 ? os_map_nothing(region->base + region->delta, bytes) : result;
  VM_CHECK(result == 0, "the parent's heap at %p cannot be taken from the child: error %d", (void *)region->base, -result);
}

bool vm_fork_keep(vm_region *region) {
  size_t bytes = (size_t)(region->limit - region->base);
  return os_not_inherited(region->base, bytes) == 0 && os_not_inherited(region->base + region->delta, bytes) == 0;
}
