// SPDX-License-Identifier: MIT
// shelf.c: items of all sizes are put, read, moved and dropped; what they take.

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "runtime/compress/shelf.h"
#include "tests/compress/rig.h"

enum { ITEMS = 40000 };

// An owner: a word for each tag, and what its item must hold.
typedef struct owner {
  cx_shelf *shelf;
  cx_handle word[ITEMS];
  uint64_t seed[ITEMS];
  uint64_t moves;
  bool refuses; // never swaps a handle
} owner;

static bool moved(void *context, uint32_t tag, uint64_t from, uint64_t to) {
  owner *o = context;
  if (o->refuses || cx_handle_place(o->word[tag]) != from || o->word[tag] == 0) {
    return false;
  }
  o->word[tag] = cx_handle_moved(o->word[tag], to);
  o->moves++;
  return true;
}

static owner *owner_open(size_t address_bytes) {
  owner *o = calloc(1, sizeof *o);
  o->shelf = cx_shelf_open(&(cx_shelf_options){.address_bytes = address_bytes, .moved = moved, .context = o});
  cr_assert_not_null(o->shelf);
  return o;
}
static void owner_close(owner *o) {
  cx_shelf_close(o->shelf);
  free(o);
}

static void item_fill(uint8_t *item, size_t bytes, uint64_t seed) {
  for (size_t i = 0; i < bytes; i++) {
    item[i] = (uint8_t)(rig_next(&seed) >> 8);
  }
}

static bool item_put(owner *o, uint32_t tag, size_t bytes, uint64_t seed) {
  static uint8_t item[CX_ITEM_MOST];
  item_fill(item, bytes, seed);
  o->seed[tag] = seed;
  o->word[tag] = cx_shelf_put(o->shelf, item, bytes, tag);
  return o->word[tag] != 0;
}
static void item_drop(owner *o, uint32_t tag) {
  cx_shelf_drop(o->shelf, o->word[tag]);
  o->word[tag] = 0;
}
// All items hold what was put, and figures are right.
static void items_check(owner *o) {
  static uint8_t item[CX_ITEM_MOST];
  uint64_t items = 0, payload = 0;
  for (uint32_t tag = 0; tag < ITEMS; tag++) {
    if (o->word[tag] != 0) {
      size_t bytes = cx_handle_length(o->word[tag]);
      item_fill(item, bytes, o->seed[tag]);
      cr_assert_eq(memcmp(cx_shelf_at(o->shelf, o->word[tag]), item, bytes), 0, "item %u of %zu bytes", tag, bytes);
      cr_assert_eq((uintptr_t)cx_shelf_at(o->shelf, o->word[tag]) % 8, 0);
      items++;
      payload += bytes;
    }
  }
  cx_shelf_verify(o->shelf);
  cx_shelf_figures f = cx_shelf_measure(o->shelf);
  cr_assert(f.items == items && f.payload == payload, "%lu items, %lu bytes; counted: %lu, %lu", items, payload, f.items, f.payload);
}

static uint64_t repaired(owner *o) {
  uint64_t bytes = 0, before;
  do {
    before = bytes;
    bytes += cx_shelf_repair(o->shelf, SIZE_MAX);
  } while (bytes > before);
  return bytes;
}

Test(shelf, items_of_each_length_come_back_and_take_a_thirty_second_more_at_most, .timeout = 120) {
  owner *o = owner_open(1ull << 32);
  for (size_t bytes = 1; bytes < 3000; bytes += bytes < 600 ? 1 : 13) {
    for (uint32_t i = 0; i < 40; i++) {
      cr_assert(item_put(o, i, bytes, bytes * 100 + i));
      cr_assert_eq(cx_handle_length(o->word[i]), bytes);
    }
    for (uint32_t i = 1; i < 40; i++) { // side by side
      uint64_t apart = (cx_handle_place(o->word[i]) - cx_handle_place(o->word[i - 1])) * 8;
      cr_assert(apart >= bytes && (apart < bytes + 8 || apart <= bytes + bytes / 32 + 1 || bytes < 16), "%zu bytes take %lu", bytes, apart);
    }
    items_check(o);
    for (uint32_t i = 0; i < 40; i++) {
      item_drop(o, i);
    }
    cx_shelf_reap(o->shelf);
    cx_shelf_figures f = cx_shelf_measure(o->shelf);
    cr_assert(f.resident == 0 && f.slabs == 0 && f.items == 0 && f.payload == 0, "of nothing %lu bytes are left", f.resident);
  }
  for (size_t bytes = 60000; bytes <= CX_ITEM_MOST; bytes += 277) {
    cr_assert(item_put(o, 0, bytes, bytes));
    items_check(o);
    item_drop(o, 0);
  }
  cr_assert(item_put(o, 0, CX_ITEM_MOST, 1));
  items_check(o);
  owner_close(o);
}

// Pages that the system says have memory.
static size_t resident_bytes(owner *o, size_t address_bytes) {
  static unsigned char there[1 << 20];
  char *base = (char *)cx_shelf_at(o->shelf, 0);
  size_t n = 0;
  cr_assert_eq(mincore(base, address_bytes, there), 0);
  for (size_t i = 0; i < address_bytes / 4096; i++) {
    n += there[i] & 1;
  }
  return n * 4096;
}

Test(shelf, its_own_figure_of_memory_is_the_systems, .timeout = 120) {
  const size_t address = 1 << 28;
  owner *o = owner_open(address);
  uint64_t state = rig_seed();
  for (unsigned round = 0; round < 6; round++) {
    for (uint32_t i = 0; i < ITEMS / 8; i++) {
      if (o->word[i] != 0 && rig_next(&state) % 3 != 0) {
        item_drop(o, i);
      } else if (o->word[i] == 0) {
        cr_assert(item_put(o, i, 16 + rig_next(&state) % 3000, rig_next(&state)));
      }
    }
    cr_assert_eq(cx_shelf_measure(o->shelf).resident, resident_bytes(o, address));
    repaired(o);
    cr_assert_eq(cx_shelf_measure(o->shelf).resident, resident_bytes(o, address));
    items_check(o);
  }
  owner_close(o);
}

// What lengths blobs have: a mixture of what pages of 4 KiB become, and of notes.
static size_t length_like_blobs(uint64_t *state) {
  uint64_t dice = rig_next(state) % 10;
  return dice < 2 ? 16 + rig_next(state) % 300 : dice < 8 ? 400 + rig_next(state) % 1400 : 1800 + rig_next(state) % 1200;
}

Test(shelf, after_random_drops_repair_leaves_little_more_than_the_items, .timeout = 300) {
  uint64_t state = rig_seed();
  for (unsigned keep = 2; keep <= 20; keep *= 3) { // one item in so many stays
    owner *o = owner_open(1ull << 32);
    for (uint32_t i = 0; i < ITEMS; i++) {
      cr_assert(item_put(o, i, length_like_blobs(&state), rig_next(&state)));
    }
    cx_shelf_figures full = cx_shelf_measure(o->shelf);
    cr_expect((double)full.resident < 1.035 * (double)full.payload, "filled: %lu bytes for %lu", full.resident, full.payload);
    for (uint32_t i = 0; i < ITEMS; i++) {
      if (rig_next(&state) % keep != 0) {
        item_drop(o, i);
      }
    }
    cx_shelf_reap(o->shelf);
    cx_shelf_figures holes = cx_shelf_measure(o->shelf);
    cr_assert((double)holes.resident > 1.3 * (double)holes.payload, "there is nothing to repair");
    repaired(o);
    items_check(o);
    cx_shelf_figures f = cx_shelf_measure(o->shelf);
    // Of each class a page or two are not full: with few items that is more of all.
    double bound = (double)f.payload * 1.03 + 200 * 4096 * 1.5;
    printf("1 in %u kept: filled %.3f, with holes %.3f, repaired %.3f, of %lu bytes; moved %.2f of them, tables %lu\n", keep, (double)full.resident / (double)full.payload,
           (double)holes.resident / (double)holes.payload, (double)f.resident / (double)f.payload, f.payload, (double)f.moved / (double)f.payload, f.tables);
    cr_assert((double)f.resident < bound, "repaired: %lu bytes for %lu", f.resident, f.payload);
    cr_assert(keep > 2 || (double)f.resident < 1.05 * (double)f.payload);
    cr_assert(f.tables < f.resident / 20);
    cr_assert_eq(cx_shelf_repair(o->shelf, SIZE_MAX), 0, "once more there is nothing to do");
    owner_close(o);
  }
}

Test(shelf, repair_keeps_to_its_budget, .timeout = 120) {
  owner *o = owner_open(1ull << 32);
  for (uint32_t i = 0; i < ITEMS; i++) {
    cr_assert(item_put(o, i, 1000, i));
  }
  for (uint32_t i = 0; i < ITEMS; i += 2) {
    item_drop(o, i);
  }
  unsigned calls = 0;
  for (size_t bytes; (bytes = cx_shelf_repair(o->shelf, 1 << 20)) > 0; calls++) {
    cr_assert(bytes < (1 << 20) + (256 << 10), "%zu bytes", bytes); // a slab more at the most
  }
  cr_assert(calls >= 5);
  items_check(o);
  owner_close(o);
}

Test(shelf, items_whose_owner_does_not_swap_stay_where_they_are, .timeout = 120) {
  owner *o = owner_open(1ull << 32);
  for (uint32_t i = 0; i < ITEMS / 4; i++) {
    cr_assert(item_put(o, i, 1000 + i % 50, i));
  }
  for (uint32_t i = 0; i < ITEMS / 4; i++) {
    if (i % 3 != 0) {
      item_drop(o, i);
    }
  }
  o->refuses = true;
  cr_assert_eq(cx_shelf_repair(o->shelf, SIZE_MAX), 0);
  items_check(o);
  o->refuses = false;
  cr_assert(repaired(o) > 0 && o->moves > 0);
  items_check(o);
  owner_close(o);
}

Test(shelf, random_putting_dropping_and_repairing_loses_nothing, .timeout = 300) {
  owner *o = owner_open(1ull << 32);
  uint64_t state = rig_seed();
  for (unsigned round = 0; round < 60; round++) {
    unsigned full = (unsigned)(rig_next(&state) % 100);
    for (unsigned n = 0; n < 3000; n++) {
      uint32_t tag = (uint32_t)(rig_next(&state) % ITEMS);
      if (o->word[tag] != 0 && rig_next(&state) % 100 >= full) {
        item_drop(o, tag);
      } else if (o->word[tag] == 0) {
        cr_assert(item_put(o, tag, rig_next(&state) % 50 == 0 ? 1 + rig_next(&state) % CX_ITEM_MOST : length_like_blobs(&state), rig_next(&state)));
      }
    }
    if (round % 3 == 0) {
      cx_shelf_reap(o->shelf);
    } else if (round % 3 == 1) {
      cx_shelf_repair(o->shelf, rig_next(&state) % (1 << 22));
    }
    items_check(o);
  }
  for (uint32_t tag = 0; tag < ITEMS; tag++) {
    if (o->word[tag] != 0) {
      item_drop(o, tag);
    }
  }
  cx_shelf_repair(o->shelf, SIZE_MAX);
  items_check(o);
  cr_assert_eq(cx_shelf_measure(o->shelf).resident, 0);
  owner_close(o);
}

Test(shelf, a_shelf_that_is_full_says_so_and_goes_on_when_there_is_room) {
  owner *o = owner_open(1 << 20);
  uint32_t n = 0;
  while (n < ITEMS && item_put(o, n, 4000, n)) {
    n++;
  }
  cr_assert(n >= 250 && n <= 262, "%u", n);
  items_check(o);
  for (uint32_t i = 0; i < n; i += 2) {
    item_drop(o, i);
  }
  cr_assert(!item_put(o, 0, 4000, 0), "what was dropped is not free before it is reaped");
  cx_shelf_reap(o->shelf);
  for (uint32_t i = 0; i < n; i += 2) {
    cr_assert(item_put(o, i, 4000, i));
  }
  items_check(o);
  owner_close(o);
}

Test(shelf, what_a_reader_holds_is_not_reused_before_he_leaves, .timeout = 60) {
  owner *o = owner_open(1 << 20);
  cr_assert(item_put(o, 0, 4000, 1) && item_put(o, 1, 4000, 2));
  unsigned entered = cx_shelf_enter(o->shelf);
  uint8_t *held = cx_shelf_at(o->shelf, o->word[0]), was[4000];
  memcpy(was, held, sizeof was);
  item_drop(o, 0);
  for (uint32_t i = 2; i < 100; i++) {
    cr_assert(item_put(o, i, 4000, i));
    cr_assert_neq(cx_shelf_at(o->shelf, o->word[i]), held);
  }
  cr_assert_eq(memcmp(held, was, sizeof was), 0);
  cx_shelf_leave(o->shelf, entered);
  cx_shelf_reap(o->shelf);
  cr_assert(item_put(o, 0, 4000, 0));
  cr_assert_eq(cx_shelf_at(o->shelf, o->word[0]), held, "now it is");
  owner_close(o);
}

Test(shelf, to_drop_twice_aborts, .signal = SIGABRT) {
  owner *o = owner_open(1 << 20);
  cr_assert(item_put(o, 0, 100, 0) && item_put(o, 1, 100, 0));
  cx_handle h = o->word[0];
  cx_shelf_drop(o->shelf, h);
  cx_shelf_drop(o->shelf, h);
}

Test(shelf, to_drop_what_is_no_item_aborts, .signal = SIGABRT) {
  owner *o = owner_open(1 << 20);
  cr_assert(item_put(o, 0, 100, 0));
  cx_shelf_drop(o->shelf, o->word[0] + 1);
}

Test(shelf, a_child_of_fork_may_reap_although_a_reader_of_the_parent_is_inside, .timeout = 60) {
  owner *o = owner_open(1 << 24);
  cr_assert(item_put(o, 0, 100, 0) && item_put(o, 1, 100, 0));
  cx_shelf_enter(o->shelf); // another thread, say
  cx_shelf_lock(o->shelf);
  pid_t child = fork();
  if (child == 0) {
    cx_shelf_unlock_child(o->shelf);
    alarm(20);
    item_drop(o, 0);
    cx_shelf_reap(o->shelf);
    _exit(cx_shelf_measure(o->shelf).items == 1 ? 0 : 1);
  }
  cx_shelf_unlock(o->shelf);
  int status;
  cr_assert_eq(waitpid(child, &status, 0), child);
  cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
