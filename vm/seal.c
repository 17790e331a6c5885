// SPDX-License-Identifier: MIT
// seal.c: pages that are to be saved before they are written, and may be read meanwhile, where absence is the only veil (uffd): chunks of the view are mapped so that the back end hears of
// each write before it happens.
//
// Neighbours: move.c seals in the stop; claim.c opens; the back end has the mapping (uffd.c); fork.c asks about faults for trap.c. Unsealing: any thread, not in traps.
//
// Keeps vm.sealed.

#include "vm/backend.h"
#include "vm/check.h"
#include "vm/os.h"

enum { ENDING = 1 };                      // of `sealed`: nothing is sealed, and the reader ends
enum { MOST_PAGES = VM_HUGE / (4 << 10) }; // in a chunk

static uint32_t word_at(const vm_region *region, size_t page) { return at32_load_acquire(&region->word[page]); }

static size_t chunk_pages(const vm_region *region) { return VM_HUGE >> region->page_shift; }

// ---- Who reads of the moves that unseal (vm.move-read).

struct vm_seal_reader {
  int uffd, event;
  pthread_t thread;
};

static void *read_on(void *arg) {
  const struct vm_seal_reader *reader = arg;
  struct os_fault fault;
  while (os_uffd_fault(reader->uffd, -1, reader->event, &fault) > 0) {
  }
  return NULL;
}

static bool reader_begin(vm_region *region) {
  struct vm_seal_reader *reader = os_map_private(sizeof *reader);
  if (reader == NULL) {
    return false;
  }
  reader->uffd = region->state->uffd;
  reader->event = os_event();
  if (reader->event < 0 || os_thread_start(&reader->thread, read_on, reader) != 0) {
    if (reader->event >= 0) {
      os_close(reader->event);
    }
    os_unmap(reader, sizeof *reader);
    return false;
  }
  region->seal_reader = reader;
  return true;
}

// In a child of fork: its thread is gone.
static void reader_forget(vm_region *region) {
  struct vm_seal_reader *reader = region->seal_reader;
  if (reader != NULL) {
    region->seal_reader = NULL;
    os_close(reader->event);
    os_unmap(reader, sizeof *reader);
  }
}

static void reader_end(vm_region *region) {
  if (region->seal_reader != NULL) {
    os_event_post(region->seal_reader->event);
    os_thread_join(region->seal_reader->thread);
    reader_forget(region);
  }
}

void vm_seal_close(vm_region *region) { reader_end(region); }

// ---- Unsealing.

enum taken { TAKEN, NOT_SEALED, HELD };

static void let_go(vm_region *region, size_t page, size_t count) {
  for (size_t i = page; i < page + count; i++) {
    vm_claim_change(region, i, VM_BUSY | VM_LAYING, 0);
  }
}

// Takes all pages of a chunk LAYING, or none. HELD: until the word of *at changes from *seen.
static enum taken chunk_take(vm_region *region, size_t page, size_t count, size_t *at, uint32_t *seen) {
  for (size_t i = page; i < page + count; i++) {
    uint32_t w;
    bool taken = false;
    while (((w = word_at(region, i)) & VM_SEALED) && (w & (VM_BUSY | VM_HELPERS)) == 0 && !taken) {
      taken = at32_cas_full(&region->word[i], w, w | VM_BUSY | VM_LAYING);
      os_point();
    }
    if (!taken) {
      let_go(region, page, i - page);
      *at = i;
      *seen = w;
      return w & VM_SEALED ? HELD : NOT_SEALED;
    }
  }
  return TAKEN;
}

// The mapping that comes has open, and armed, what can be. What was open for writing counts as written, since nobody hears of later writes; what is not open has no entry (vm.moved). False:
// the system is short of something, and all is as it was.
static bool chunk_unseal(vm_region *region, size_t page, size_t count) {
  uint8_t opened[MOST_PAGES / 8] = {0}; // a bit per page. A page may get memory meanwhile, and is not open then
  // No harvest between the mapping and the words: a minor cycle's stop does not wait for us, and what is writable without a trap from now on is MOVED until its word says otherwise.
  vm_harvest_enter(region);
  if (!region->back_end->unseal(region, page, count, opened)) {
    vm_harvest_leave(region);
    let_go(region, page, count);
    return false;
  }
  for (size_t i = page; i < page + count; i++) {
    uint32_t w = word_at(region, i);
    bool open = opened[(i - page) / 8] >> (i - page) % 8 & 1;
    unsigned access = open ? vm_claim_allows(region, w & ~(uint32_t)VM_SEALED) : 0;
    if (w & VM_ACCESS_WRITE) {
      vm_dirty_note(region, i, ~0u); // before the word says that there is nothing to be harvested
    }
    vm_claim_change(region, i, VM_BUSY | VM_LAYING | VM_SEALED | VM_ACCESS | VM_MOVED, open ? access : w & VM_COMMITTED ? VM_MOVED : 0);
  }
  vm_harvest_leave(region);
  return true;
}

bool vm_unseal(vm_region *region, size_t page) {
  size_t at, count = chunk_pages(region);
  uint32_t seen;
  enum taken taken = chunk_take(region, page, count, &at, &seen);
  return taken == NOT_SEALED || (taken == TAKEN && chunk_unseal(region, page, count));
}

static bool unseal_waiting(vm_region *region, size_t page) {
  size_t at, count = chunk_pages(region);
  for (;;) {
    uint32_t seen;
    switch (chunk_take(region, page, count, &at, &seen)) {
    case TAKEN: return chunk_unseal(region, page, count);
    case NOT_SEALED: return true;
    case HELD: vm_claim_wait(region, at, seen); // vm.empty: nothing is held now
    }
  }
}

bool vm_unseal_some(vm_region *region, vm_unsealing *at) {
  uint32_t sealed = at32_load_acquire(&region->sealed);
  at->sealed = at->page == 0 ? sealed : at->sealed;
  if (sealed == 0 || sealed == ENDING || sealed != at->sealed) {
    return false; // there is nothing, or what is there has been sealed since
  }
  size_t per = chunk_pages(region);
  while (at->page < region->pages && !(word_at(region, at->page) & VM_SEALED)) {
    at->page += per;
  }
  if (at->page < region->pages) {
    at->left |= !unseal_waiting(region, at->page);
    at->page += per;
    return true;
  }
  if (!at->left && at32_cas_full(&region->sealed, sealed, ENDING)) { // nobody moves tables to unseal any more
    reader_end(region);
    vm_rest_resume(region);
    at32_store_release(&region->sealed, 0);
  }
  return false;
}

// ---- Sealing. By who moves tables, one at a time.

bool vm_seal_begin(vm_region *region) {
  if (region->back_end->seal == NULL) {
    return false;
  }
  uint32_t before, sealing = at32_add_full(&region->seals, 1) * 4 + 4;
  for (;;) {
    while ((before = at32_load_acquire(&region->sealed)) == ENDING) {
      os_yield();
    }
    if (before != 0 && at32_cas_full(&region->sealed, before, sealing)) { // some is sealed still, and goes on with it
      return true;
    }
    if (before == 0) {
      if (!reader_begin(region)) {
        return false;
      }
      vm_rest_suspend(region);
      at32_store_release(&region->sealed, sealing);
      return true;
    }
  }
}

bool vm_seal_stopped(vm_region *region) {
  uint32_t sealed = at32_load(&region->sealed);
  if (sealed > ENDING) {
    at32_store_release(&region->sealed, sealed + 1); // who was about to unseal all, and had begun, has nothing to do with it
  }
  return sealed > ENDING;
}

// ---- Fork, and the rest.

bool vm_forbids_read(const vm_region *region, unsigned claim) { return (region->back_end->forbid_read & claim) != 0; }

void vm_seal_forget(vm_region *region) {
  for (size_t i = 0; at32_load(&region->sealed) != 0 && i < region->pages; i++) {
    if (word_at(region, i) & VM_SEALED) {
      vm_claim_change(region, i, VM_SEALED | VM_ACCESS, 0);
    }
  }
  at32_store(&region->sealed, 0);
  reader_forget(region);
}
