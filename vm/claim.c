// SPDX-License-Identifier: MIT
// claim.c: the page words: claims, the protection derived from them, BUSY, helping and waiting.
//
// Neighbours: vm.h has the contract, README.md the table of states and the invariants; trap.c calls
// vm_claim_trap, backend_*.c change the view. Any thread, signal handlers too: no allocation, no locks but the words.
//
// Keeps vm.word, vm.derive, vm.access, vm.help, vm.empty and vm.touched.

#include "vm/backend.h"
#include "vm/check.h"
#include "vm/os.h"

enum { SPINS = 3000 }; // some 30 us: longer than a page takes; a sleep and its wake-up take longer still
enum { RUN = 1024 };   // pages held at once in order to change them by one call to the system
enum { ANY_OPENING = VM_BUSY | VM_SETTLED };

// Claims are settled in this thread, to this depth.
static _Thread_local unsigned settling __attribute__((tls_model("initial-exec")));

bool vm_settling(void) { return settling != 0; }

void vm_view_forbid(bool forbid) {
  settling += forbid ? 1u : ~0u;
  if (settling == (forbid ? 1u : 0u)) {
    vm_pager_settling(forbid);
  }
}

// ---- The word.

static inline uint32_t word_load(const vm_region *region, size_t page) {
  return at32_load_acquire(&region->word[page]);
}

static inline bool word_cas(vm_region *region, size_t page, uint32_t old, uint32_t new_value) {
  bool done = at32_cas_full(&region->word[page], old, new_value);
  os_point();
  return done;
}

void vm_claim_change(vm_region *region, size_t page, uint32_t off, uint32_t on) {
  for (;;) {
    uint32_t w = word_load(region, page);
    if (word_cas(region, page, w, (w & ~(off | VM_WAIT)) | on)) {
      if (w & VM_WAIT) {
        os_wake_all(&region->word[page]);
      }
      return;
    }
  }
}

void vm_claim_wait(vm_region *region, size_t page, uint32_t seen) {
  for (int i = 0; i < SPINS; i++) {
    if (word_load(region, page) != seen) {
      return;
    }
    at_pause();
  }
  uint32_t waiting = seen | VM_WAIT;
  if (seen == waiting || word_cas(region, page, seen, waiting)) {
    os_wait(&region->word[page], waiting);
  }
}

// Whether BUSY can be taken (vm.help).
static inline bool is_free(uint32_t w) { return (w & (VM_BUSY | VM_HELPERS)) == 0; }

static inline uint8_t stamp_of(uint32_t w) { return (uint8_t)((w & VM_STAMPS) >> 16); }

static inline uint32_t with_stamp(uint32_t w, uint8_t stamp) {
  return stamp == 0 ? w : (w & ~(uint32_t)VM_STAMPS) | (uint32_t)stamp << 16;
}

static void range_check(const vm_region *region, size_t page, size_t count) {
  VM_CHECK(page <= region->pages && count <= region->pages - page, "pages [%zu, +%zu) of a region of %zu", page, count,
           region->pages);
}

// ---- Holding a page.

// Settles `claims` of a page that the caller holds, in order, and those that come before the last of them: contents
// that are away can be neither saved nor scanned, and a scan writes.
static void settle_held(vm_region *region, size_t page, unsigned claims, bool write) {
  uint32_t all = word_load(region, page) & claims;
  unsigned up_to = all == 0 ? 0 : (2u << (31 - __builtin_clz(all))) - 1;
  for (;;) {
    uint32_t due = word_load(region, page) & up_to;
    if (due == 0) {
      return;
    }
    unsigned claim = due & -due;
    if (claim == VM_CLEAN) {
      vm_dirty_note(region, page, ~0u);
    } else {
      vm_view_forbid(true);
      region->config.settle(region->config.arg, page, claim, write);
      vm_view_forbid(false);
    }
    vm_claim_change(region, page, claim, 0);
  }
}

static void helpers_wait(vm_region *region, size_t page) {
  for (uint32_t w; ((w = word_load(region, page)) & VM_HELPERS) != 0;) {
    vm_claim_wait(region, page, w);
  }
}

// From here on helpers may open the page. Lays CLEAN where writes must be noticed, which has to be before any
// helper sees the word. Drops `claim`, which the caller has settled. Returns the word.
static uint32_t mark_settled(vm_region *region, size_t page, unsigned claim) {
  for (;;) {
    uint32_t w = word_load(region, page);
    uint32_t n = (w & ~(uint32_t)(claim | VM_WAIT | VM_MOVED)) | VM_SETTLED; // vm.moved
    if (vm_dirty_watches(region, page)) {
      n |= VM_CLEAN;
    }
    if (n == w) {
      return w;
    }
    if (word_cas(region, page, w, n)) {
      if (w & VM_WAIT) {
        os_wake_all(&region->word[page]);
      }
      if ((n & ~w & VM_CLEAN) && vm_touched(region, page)) { // vm.touched: the system may write there, so it counts as written
        vm_dirty_note(region, page, ~0u);
        vm_claim_change(region, page, VM_CLEAN, 0);
        helpers_wait(region, page); // who has seen CLEAN opens for reading only
        return word_load(region, page);
      }
      return n;
    }
  }
}

// The holder's access is a write: it is noted, and CLEAN does not stand in its way; neither the one that was laid when other claims were settled a moment
// ago. Who has helped to open the page for reading meanwhile is waited for, or his call might come after ours.
static void written_held(vm_region *region, size_t page) {
  if (vm_dirty_watches(region, page)) {
    vm_dirty_note(region, page, ~0u);
  }
  if (!(word_load(region, page) & VM_CLEAN)) {
    return;
  }
  vm_claim_change(region, page, VM_CLEAN, 0);
  helpers_wait(region, page);
}

// Opens a page that the caller holds as far as its claims allow, and lets it go. `write`: for one that follows at once, so it counts as written, and the kernel
// need not note it by a second fault. False if there is no mapping left: the word says open all the same, since parts may be (vm.access).
static bool open_held(vm_region *region, size_t page, bool write) {
  uint32_t w = mark_settled(region, page, 0);
  unsigned access = vm_claim_allows(region, w) & (write || !(w & VM_SEALED) ? ~0u : ~(unsigned)VM_ACCESS_WRITE); // vm.sealed
  bool written = write && region->kernel_dirty && (access & VM_ACCESS_WRITE) && !vm_rests(region, page), opened = true;
  if (access != 0 && (w & VM_COMMITTED)) {
    opened = region->back_end->open(region, page, 1, access | (written ? VM_ACCESS_WRITTEN : 0));
  } else {
    access = 0;
  }
  vm_claim_change(region, page, ANY_OPENING, access);
  return opened;
}

// What a held page may be opened with. `more`: VM_ACCESS_WRITTEN if it is about to be written, else 0.
static unsigned held_access(const vm_region *region, size_t page, uint32_t word, unsigned more) {
  unsigned access = word & VM_COMMITTED ? vm_claim_allows(region, word) : 0;
  if (word & VM_SEALED) { // vm.sealed: to open it for writing counts as a write, and what is open for as much stays as it is
    access &= more != 0 ? ~0u : ~(unsigned)VM_ACCESS_WRITE;
    return (word & access) == access ? 0 : access;
  }
  return access != 0 && more != 0 && region->kernel_dirty && vm_dirty_for_all(region, page) ? access | more : access;
}

// Opens a run of pages that the caller holds, in as few calls as their claims allow, and lets them go.
static bool open_held_run(vm_region *region, size_t page, size_t count, unsigned more) {
  size_t limit = page + count;
  bool opened = true;
  for (size_t first = page; first < limit;) {
    unsigned access = 0;
    uint32_t before = 0, alike = VM_SEALED | (word_load(region, first) & VM_SEALED ? VM_ACCESS : 0); // what the back end looks at
    size_t last = first;
    for (; last < limit; last++) {
      uint32_t w = mark_settled(region, last, 0);
      unsigned this_access = held_access(region, last, w, more);
      if (last == first) {
        access = this_access;
        before = w & alike;
      } else if (this_access != access || (w & alike) != before) {
        break;
      }
    }
    if (access != 0) {
      opened &= region->back_end->open(region, first, last - first, access);
    }
    for (size_t i = first; i < last; i++) {
      vm_claim_change(region, i, ANY_OPENING, access & VM_ACCESS);
    }
    first = last;
  }
  return opened;
}

// Whether the page is being opened, and whoever needs that access may do it himself: its holder has settled it, or
// has let it go while other helpers are still at it.
static bool can_help(const vm_region *region, uint32_t w, unsigned need) {
  bool opening = w & VM_BUSY ? (w & VM_SETTLED) != 0 : (w & VM_HELPERS) != 0;
  return opening && (w & VM_COMMITTED) && (vm_claim_allows(region, w) & need) == need;
}

// Opens, as a helper, a page of which can_help is true; `w` is its word. False if the word has changed.
static bool help(vm_region *region, size_t page, uint32_t w, unsigned need, bool *opened) {
  if ((w & VM_HELPERS) == VM_HELPERS) {
    os_yield();
    return false;
  }
  if (!word_cas(region, page, w, w + VM_HELPER)) {
    return false;
  }
  unsigned access = vm_claim_allows(region, w) & (w & VM_SEALED ? need : VM_ACCESS); // vm.sealed
  *opened = region->back_end->open(region, page, 1, access);
  for (;;) {
    uint32_t old = word_load(region, page);
    uint32_t n = (old - VM_HELPER) | access;
    bool last = (n & VM_HELPERS) == 0;
    if (word_cas(region, page, old, last ? n & ~(uint32_t)VM_WAIT : n)) {
      if (last && (old & VM_WAIT)) {
        os_wake_all(&region->word[page]);
      }
      return true;
    }
  }
}

// ---- Trap.

// Takes a page that is sealed, and can be written as far as its claims go, but is not open for it.
static bool take_saved(vm_region *region, size_t page) {
  uint32_t w = word_load(region, page);
  bool saved = (w & (VM_SEALED | VM_COMMITTED | VM_CLAIMS)) == (VM_SEALED | VM_COMMITTED) && (w & VM_ACCESS) != VM_ACCESS && is_free(w);
  return saved && word_cas(region, page, w, w | VM_BUSY);
}

// Opens for writing, beside a page that is about to be written, what its owner has saved besides: he thinks that it will be written as well.
static void open_saved(vm_region *region, size_t page) {
  size_t from = page, to = page + 1, most = VM_GROUP >> region->page_shift, base = page - page % most;
  while (from > base && take_saved(region, from - 1)) {
    from--;
  }
  while (to < base + most && to < region->pages && take_saved(region, to)) {
    to++;
  }
  (void)open_held_run(region, from, page - from, VM_ACCESS_WRITTEN);
  (void)open_held_run(region, page + 1, to - page - 1, VM_ACCESS_WRITTEN);
}

bool vm_claim_trap(vm_region *region, size_t page, bool write) {
  unsigned need = write ? VM_ACCESS : VM_ACCESS_READ;
  bool opened = true;
  for (;;) {
    uint32_t w = word_load(region, page);
    if (!is_free(w)) {
      if (!can_help(region, w, need)) {
        vm_claim_wait(region, page, w);
      } else if (help(region, page, w, need, &opened)) {
        break;
      }
      continue;
    }
    if (!(w & VM_COMMITTED)) {
      return false;
    }
    if (word_cas(region, page, w, w | VM_BUSY)) {
      unsigned spares = w & VM_SEALED ? VM_UNSAVED : 0; // it can be read all the same
      settle_held(region, page, write ? VM_CLAIMS : region->back_end->forbid_read & ~spares, write);
      if ((w & need) == need && region->kernel_dirty) {
        vm_dirty_note(region, page, ~0u); // vm.lost
      }
      if (write) {
        written_held(region, page);
      }
      opened = open_held(region, page, write);
      if (write && (w & VM_SEALED) && (w & VM_UNSAVED)) {
        open_saved(region, page);
      }
      break;
    }
  }
  if (!opened) {
    vm_crowd_trap(region, page);
  }
  return true;
}

// ---- Laying claims.

enum laying { SKIPPED, LAID, LAID_HELD, MUST_WAIT };

// Lays the claim on one page. LAID_HELD: the page is LAYING, and the caller has to revoke its access. MUST_WAIT: for
// the word to change from *seen.
static enum laying lay_one(vm_region *region, size_t page, unsigned claim, uint8_t stamp, uint32_t *seen) {
  for (;;) {
    uint32_t w = *seen = word_load(region, page);
    if (w & VM_LAYING) {
      return MUST_WAIT; // whether the claim is there or not, access is not revoked yet
    }
    if (stamp != 0 && stamp_of(w) == stamp) {
      return SKIPPED;
    }
    // CLEAN may have come while a helper was opening the page for writing, before it was there: then it is not in force yet.
    bool in_force = claim != VM_CLEAN || (is_free(w) && (w & VM_ACCESS & ~vm_claim_allows(region, w)) == 0);
    if ((w & claim) && in_force) {
      if (with_stamp(w, stamp) == w || word_cas(region, page, w, with_stamp(w, stamp))) {
        return SKIPPED;
      }
      continue;
    }
    if (!is_free(w)) {
      return MUST_WAIT;
    }
    uint32_t n = with_stamp(w | claim, stamp);
    bool revoke = (w & VM_ACCESS & ~vm_claim_allows(region, n)) != 0;
    if (word_cas(region, page, w, revoke ? n | VM_BUSY | VM_LAYING : n)) {
      if (revoke && claim == VM_CLEAN && vm_touched(region, page)) {
        vm_dirty_note(region, page, ~0u); // it stays open, so it counts as written
        vm_claim_change(region, page, VM_BUSY | VM_LAYING | VM_CLEAN, 0);
        return SKIPPED;
      }
      return revoke ? LAID_HELD : LAID;
    }
  }
}

// Revokes the access of a run of pages that the caller holds LAYING, as far as their claims want, and lets them go.
static void revoke_held_run(vm_region *region, size_t page, size_t count) {
  size_t limit = page + count;
  for (size_t first = page; first < limit;) {
    uint32_t w = word_load(region, first);
    unsigned access = w & VM_ACCESS & vm_claim_allows(region, w);
    size_t last = first + 1;
    for (; last < limit; last++) {
      w = word_load(region, last);
      if ((w & VM_ACCESS & vm_claim_allows(region, w)) != access) {
        break;
      }
    }
    region->back_end->revoke(region, first, last - first, access);
    if (region->back_end->harvest != NULL && vm_dirty_tracked(region)) {
      // vm.veil-dirty: what was written up to the veil is told now, because the page will be mapped armed. Who harvests at the same time has to come
      // by, and find the pages LAYING (vm.news).
      vm_dirty_stir(region, first, last - first, ~0u);
      region->back_end->harvest(region, first, last - first);
    }
    for (size_t i = first; i < last; i++) {
      vm_claim_change(region, i, VM_BUSY | VM_LAYING | VM_ACCESS, access);
    }
    first = last;
  }
}

size_t vm_prot(vm_region *region, size_t page, size_t count, unsigned claim, uint8_t stamp) {
  range_check(region, page, count);
  VM_CHECK(claim != 0 && (claim & ~VM_CLAIMS) == 0 && (claim & (claim - 1)) == 0, "%x is not one claim", claim);
  size_t laid = 0, limit = page + count, held = 0; // [at - held, at) is held LAYING
  for (size_t at = page; at < limit;) {
    uint32_t seen;
    enum laying result = lay_one(region, at, claim, stamp, &seen);
    if (result == LAID_HELD) {
      laid++;
      held++;
      at++;
      if (held < RUN) {
        continue;
      }
    }
    if (held != 0) {
      revoke_held_run(region, at - held, held);
      held = 0;
    }
    if (result == MUST_WAIT) {
      vm_claim_wait(region, at, seen); // vm.empty: nothing is held now
    } else if (result != LAID_HELD) {
      laid += result == LAID;
      at++;
    }
  }
  if (held != 0) {
    revoke_held_run(region, limit - held, held);
  }
  return laid;
}

void vm_stamp(vm_region *region, size_t page, size_t count, uint8_t stamp) {
  range_check(region, page, count);
  for (size_t i = page; i < page + count; i++) {
    uint32_t w = word_load(region, i);
    while (stamp_of(w) != stamp && !word_cas(region, i, w, (w & ~(uint32_t)VM_STAMPS) | (uint32_t)stamp << 16)) {
      w = word_load(region, i);
    }
  }
}

// ---- Opening runs.

// Takes pages of [page, limit) as long as `take` says so, opens them run by run. BLOCKED: until the word changes from
// *seen.
enum taken { TAKEN, PASSED, BLOCKED };
typedef enum taken taker(vm_region *region, size_t page, unsigned claim, uint32_t *seen);

static bool open_runs(vm_region *region, size_t page, size_t count, unsigned claim, taker *take, unsigned more) {
  range_check(region, page, count);
  size_t limit = page + count, held = 0; // [at - held, at) is held
  bool opened = true;
  for (size_t at = page; at < limit;) {
    uint32_t seen;
    enum taken result = take(region, at, claim, &seen);
    if (result == TAKEN) {
      held++;
      at++;
      if (held < RUN) {
        continue;
      }
    }
    if (held != 0) {
      opened &= open_held_run(region, at - held, held, more);
      held = 0;
    }
    if (result == BLOCKED) {
      vm_claim_wait(region, at, seen); // vm.empty
    } else if (result == PASSED) {
      at++;
    }
  }
  if (held != 0) {
    opened &= open_held_run(region, limit - held, held, more);
  }
  return opened;
}

// For vm_unprot: drops the claim and takes the page if it can be opened.
static enum taken take_unprot(vm_region *region, size_t page, unsigned claim, uint32_t *seen) {
  for (;;) {
    uint32_t w = *seen = word_load(region, page);
    if (!(w & claim)) {
      return PASSED;
    }
    if (!is_free(w)) {
      return BLOCKED;
    }
    uint32_t n = w & ~claim;
    bool open = (w & VM_COMMITTED) && vm_claim_allows(region, n) != 0;
    if (word_cas(region, page, w, open ? n | VM_BUSY : n)) {
      return open ? TAKEN : PASSED;
    }
  }
}

static bool wants_opening(const vm_region *region, uint32_t w) {
  unsigned access = vm_claim_allows(region, w);
  return (w & VM_COMMITTED) && access != 0 && (w & access) != access;
}

// For vm_open: takes the page if something is to be opened, waits for whoever is about to.
static enum taken take_open(vm_region *region, size_t page, unsigned claim, uint32_t *seen) {
  for (;;) {
    uint32_t w = *seen = word_load(region, page);
    if (!wants_opening(region, w)) {
      return PASSED;
    }
    if (!is_free(w)) {
      bool opened;
      if (can_help(region, w, VM_ACCESS_READ) && help(region, page, w, VM_ACCESS_READ, &opened)) {
        return PASSED;
      }
      return BLOCKED;
    }
    if (word_cas(region, page, w, w | VM_BUSY)) {
      return TAKEN;
    }
  }
}

// For vm_claim_open_some: takes what nobody holds.
static enum taken take_free(vm_region *region, size_t page, unsigned claim, uint32_t *seen) {
  uint32_t w = word_load(region, page);
  bool open = is_free(w) && (w & VM_COMMITTED) && vm_claim_allows(region, w) != 0;
  return open && word_cas(region, page, w, w | VM_BUSY) ? TAKEN : PASSED;
}

void vm_unprot(vm_region *region, size_t page, size_t count, unsigned claim) {
  (void)open_runs(region, page, count, claim, take_unprot, 0); // what found no mapping opens at the first touch
}

void vm_open(vm_region *region, size_t page, size_t count) {
  vm_rouse(region, page, count);
  if (!open_runs(region, page, count, 0, take_open, VM_ACCESS_WRITTEN)) {
    vm_crowd_open(region, page, count);
  }
}

// For vm_reopen: takes what was moved away, and nobody holds.
static enum taken take_moved(vm_region *region, size_t page, unsigned claim, uint32_t *seen) {
  uint32_t w = word_load(region, page);
  bool open = (w & VM_MOVED) && is_free(w) && wants_opening(region, w);
  return open && word_cas(region, page, w, w | VM_BUSY) ? TAKEN : PASSED;
}

void vm_reopen(vm_region *region, size_t page, size_t count) {
  (void)open_runs(region, page, count, 0, take_moved, 0);
}

bool vm_claim_open_some(vm_region *region, size_t page, size_t count) {
  return open_runs(region, page, count, 0, take_free, 0);
}

// ---- Settling outside traps.

static bool settle_one(vm_region *region, size_t page, unsigned claims, bool write, bool open) {
  bool opened = true;
  for (;;) {
    uint32_t w = word_load(region, page);
    uint32_t due = w & claims & VM_CLAIMS;
    if (due == 0 && !(open && wants_opening(region, w))) {
      return true;
    }
    if (!is_free(w)) {
      if (due != 0 || !can_help(region, w, VM_ACCESS_READ)) {
        vm_claim_wait(region, page, w);
      } else if (help(region, page, w, VM_ACCESS_READ, &opened)) {
        return opened;
      }
      continue;
    }
    if (word_cas(region, page, w, w | VM_BUSY)) {
      settle_held(region, page, due, write);
      if (write && (claims & VM_CLEAN)) {
        written_held(region, page);
      }
      if (open) {
        opened = open_held(region, page, write && (claims & VM_CLEAN)); // else nobody is about to write
      } else {
        vm_claim_change(region, page, ANY_OPENING, 0);
      }
      return opened;
    }
  }
}

void vm_settle(vm_region *region, size_t page, unsigned claims, bool write, bool open) {
  range_check(region, page, 1);
  if (open && region->config.touched != NULL) {
    at32_add_full(&region->word[page],
                  0); // vm.touched: what the caller has said before is seen before the word is read
  }
  if (open && write) {
    vm_rouse(region, page, 1);
  }
  // A handler of the program that runs while the page is held, or settled by a service, might touch it, and wait for itself (rt.masked).
  sigset_t saved;
  os_signals_block(&saved);
  bool opened = settle_one(region, page, claims, write, open);
  os_signals_restore(&saved);
  if (!opened) {
    vm_crowd_open(region, page, 1);
  }
}

bool vm_take(vm_region *region, size_t page, unsigned claim) {
  for (;;) {
    uint32_t w = word_load(region, page);
    if (!(w & claim) || !is_free(w)) {
      return false;
    }
    if (word_cas(region, page, w, w | VM_BUSY)) {
      settle_held(region, page, w & (claim - 1), false);
      return true;
    }
  }
}

void vm_settled(vm_region *region, size_t page, unsigned claim) {
  uint32_t w = word_load(region, page);
  VM_CHECK((w & VM_BUSY) && !(w & VM_LAYING) && (w & claim), "page %zu is not held, or claim %x is not on it: word %x",
           page, claim, w);
  mark_settled(region, page, claim);
}

void vm_give(vm_region *region, size_t page, size_t count) {
  range_check(region, page, count);
  for (size_t i = page; i < page + count; i++) {
    uint32_t w = word_load(region, i);
    VM_CHECK((w & VM_BUSY) && !(w & VM_LAYING), "page %zu is not held: word %x", i, w);
  }
  // Helpers that are still at it are waited for by whoever lays a claim next, not here (vm.help).
  (void)open_held_run(region, page, count, 0); // what found no mapping opens at the first touch
}

// ---- Taking pages out of use.

void vm_claim_release(vm_region *region, size_t page, size_t count, void (*give)(vm_region *, size_t, size_t)) {
  range_check(region, page, count);
  size_t limit = page + count, held = 0; // [at - held, at) is held LAYING
  for (size_t at = page; at <= limit;) {
    uint32_t w = at < limit ? word_load(region, at) : 0;
    bool busy = at < limit && !is_free(w);
    if (at < limit && !busy && (w & VM_COMMITTED)) {
      if (word_cas(region, at, w, w | VM_BUSY | VM_LAYING)) {
        held++;
        at++;
      }
      continue;
    }
    if (held != 0) {
      region->back_end->release(region, at - held, held);
      give(region, at - held, held);
      for (size_t i = at - held; i < at; i++) {
        vm_claim_change(region, i, ~(uint32_t)VM_SEALED, 0); // that is the mapping's
      }
      held = 0;
    }
    if (busy) {
      vm_claim_wait(region, at, w); // vm.empty
    } else if (at == limit || word_cas(region, at, w, w & VM_SEALED)) {
      at++;
    }
  }
}
