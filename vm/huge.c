// SPDX-License-Identifier: MIT
// huge.c: memory 2 MiB at a time, in one huge page behind the alias.
//
// Neighbours: region.c commits; a back end's `adopt` makes a chunk of the view ready to be opened. Any thread, signal
// handlers too.
//
// vm.huge  The collector reads headers all over the heap, through the alias, where nothing is ever veiled: so the
//          alias can be mapped by huge pages while the view is opened 4 KiB by 4 KiB. Systems keep them off for files
//          in memory, but MADV_COLLAPSE (Linux 6.1) gives them to who asks for a certain one. It refuses to fill holes where a
//          userfaultfd waits for missing pages, in the chunk or in the next one: therefore chunks of the view are
//          adopted one by one, when they first get memory. Random reads of 2 GiB: 24-33 ns instead of 61 in batches of
//          16; and 2 MiB in one piece are there in a quarter of the time of 512 pages.
//          Such a chunk is given back as a whole. To take a part of it away the kernel splits it, and drops all its pages from the
//          view first: a system call that uses one would get EFAULT, and what was written there would be forgotten.

#include "vm/backend.h"
#include "vm/check.h"
#include "vm/os.h"

#include <errno.h>

enum { ADOPTED = 1, HUGE = 2, ADOPTING = 4, MARKED = 8 }; // of a chunk
enum { PATIENCE = 8 }; // failures in a row, until no more is asked for

static inline size_t chunk_of(const vm_region *region, size_t page) {
  return (page << region->page_shift) / VM_HUGE;
}

// By one thread: another that came late would veil again what is open by then, and in use by the system perhaps. Signals are blocked, so
// that no handler of this thread's waits for it.
static bool adopt(vm_region *region, size_t chunk) {
  uint8_t volatile *byte = &region->chunk[chunk];
  sigset_t all, before;
  bool adopted = true;
  sigfillset(&all);
  os_mask(SIG_BLOCK, &all, &before);
  for (uint8_t seen; !((seen = at8_load(byte)) & ADOPTED) && adopted;) {
    if ((seen & ADOPTING) || !at8_cas_full(byte, seen, seen | ADOPTING)) {
      os_yield();
      continue;
    }
    adopted = region->back_end->adopt == NULL ||
              region->back_end->adopt(region, vm_page_of(region, region->base + chunk * VM_HUGE), VM_HUGE >> region->page_shift);
    if (adopted) {
      at8_or_full(byte, ADOPTED);
    }
    at8_and_full(byte, (uint8_t)~ADOPTING);
  }
  os_mask(SIG_SETMASK, &before, NULL);
  return adopted;
}

bool vm_huge_adopt(vm_region *region, size_t page, size_t count) {
  size_t limit = chunk_of(region, page + count - 1) + 1;
  size_t chunks = region->back_end->adopts_all ? region->chunks : region->huge_chunks;
  limit = limit < chunks ? limit : chunks;
  for (size_t chunk = chunk_of(region, page); chunk < limit; chunk++) {
    if (!(at8_load(&region->chunk[chunk]) & ADOPTED) && !adopt(region, chunk)) {
      return false;
    }
  }
  return true;
}

bool vm_huge_adopt_all(vm_region *region, size_t page, size_t count) {
  size_t limit = chunk_of(region, page + count - 1) + 1, pages = VM_HUGE >> region->page_shift;
  size_t chunks = region->back_end->adopts_all ? region->chunks : region->huge_chunks;
  limit = limit < chunks ? limit : chunks;
  for (size_t first = chunk_of(region, page), last; first < limit; first = last) {
    bool adopted = (at8_load(&region->chunk[first]) & ADOPTED) != 0;
    for (last = first + 1; last < limit && ((at8_load(&region->chunk[last]) & ADOPTED) != 0) == adopted; last++) {
    }
    if (!adopted && region->back_end->adopt != NULL && !region->back_end->adopt(region, first * pages, (last - first) * pages)) {
      return false;
    }
    for (size_t i = first; i < last; i++) {
      at8_or_full(&region->chunk[i], ADOPTED);
    }
  }
  return true;
}

bool vm_chunks_renew(vm_region *region) {
  for (size_t chunk = 0; chunk < region->chunks; chunk++) {
    uint8_t before = at8_load(&region->chunk[chunk]);
    at8_store(&region->chunk[chunk], before & HUGE);
    if ((before & ADOPTED) && !adopt(region, chunk)) {
      return false;
    }
  }
  return true;
}

enum vm_mapping vm_chunk_mapping(const vm_region *region, size_t chunk) {
  size_t adopted = region->back_end->adopts_all ? region->chunks : region->huge_chunks;
  if (chunk < adopted && !(at8_load(&region->chunk[chunk]) & ADOPTED)) {
    return VM_UNMAPPED;
  }
  return vm_rests(region, chunk * (VM_HUGE >> region->page_shift)) ? VM_MAPPED_READ_ONLY : VM_MAPPED;
}

void vm_chunks_mark(vm_region *region, size_t page, size_t count) {
  for (size_t chunk = chunk_of(region, page); chunk <= chunk_of(region, page + count - 1); chunk++) {
    if (!(at8_load(&region->chunk[chunk]) & MARKED)) {
      at8_or_full(&region->chunk[chunk], MARKED);
    }
  }
}

bool vm_chunks_marked(const vm_region *region, size_t page, size_t count) {
  for (size_t chunk = chunk_of(region, page); chunk <= chunk_of(region, page + count - 1); chunk++) {
    if (at8_load(&region->chunk[chunk]) & MARKED) {
      return true;
    }
  }
  return false;
}

bool vm_huge_works(const vm_region *region) {
  return region->huge_chunks != 0 && at32_load(&region->huge_failures) < PATIENCE;
}

bool vm_is_huge(const vm_region *region, size_t page) {
  size_t chunk = chunk_of(region, page);
  return chunk < region->huge_chunks && (at8_load(&region->chunk[chunk]) & HUGE);
}

void vm_huge_release(vm_region *region, size_t page, size_t count) {
  size_t pages = VM_HUGE >> region->page_shift;
  for (size_t at = page; at < page + count; at += pages - at % pages) {
    if (vm_is_huge(region, at)) {
      VM_CHECK(at % pages == 0 && at + pages <= page + count, "pages [%zu, +%zu) are a part of a huge page [vm.huge]", page, count);
      at8_and_full(&region->chunk[chunk_of(region, at)], (uint8_t)~HUGE);
    }
  }
}

bool vm_commit_huge(vm_region *region, size_t page) {
  size_t chunk = chunk_of(region, page), count = VM_HUGE >> region->page_shift;
  VM_CHECK((page << region->page_shift) % VM_HUGE == 0, "page %zu does not begin a chunk of 2 MiB", page);
  if (chunk >= region->huge_chunks || (at8_load(&region->chunk[chunk]) & ~MARKED) != 0 || !vm_huge_works(region)) {
    return false;
  }
  int result = os_huge(vm_page_alias(region, page), VM_HUGE);
  if (result == 0 && vm_huge_adopt(region, page, count)) {
    at32_store(&region->huge_failures, 0);
    at8_or_full(&region->chunk[chunk], HUGE);
    vm_region_committed(region, page, page + count);
    return true;
  }
  at32_add_full(&region->huge_failures, result == -EINVAL ? PATIENCE : 1); // -EINVAL: not on this system
  vm_region_punch(region, page, count);
  return false;
}
