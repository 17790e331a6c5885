// SPDX-License-Identifier: MIT
// generations.c: what minor cycles do, as a program sees it: what dies young is gone without a major cycle, and no plain store into an old object
// is missed.

#include <criterion/criterion.h>
#include "tests/runtime/world.h"
#include "veil/events.h"
#include "veil/hooks.h"

enum { NURSERY = 256 << 10 };
#define GENERATIONS .generations = VEIL_GENERATIONS_ON, .nursery = NURSERY, .verify = 1

static node *root[4];

static void minor(int times) {
  for (int i = 0; i < times; i++) {
    veil_collect_minor(self);
  }
}

// Twice survived: old from then on. The stack holds nothing of it.
static __attribute__((noinline)) void root_make(int i, long key) {
  root[i] = veil_new(self, node);
  root[i]->key = key;
}
static void root_make_old(int i, long key) {
  root_make(i, key);
  stack_clear();
  minor(3);
}

static __attribute__((noinline)) void garbage_make(long bytes) {
  for (; bytes > 0; bytes -= 48000) {
    list_make(self, 1000);
  }
}

static bool begin(const char *back_end) {
  bool works = start((veil_options){.back_end = back_end, .limit = 256 * MIB, .headroom = 128 * MIB, .idle = 3600000, GENERATIONS}); // on a busy machine it is not idle
  if (works) {
    EXPECT(veil_add_roots(heap, root, 4) == VEIL_OK);
  }
  return works;
}
#define BEGIN_OR_SKIP()                                                                                                \
  if (!begin(back_end)) {                                                                                              \
    cr_skip_test("the back end does not work here");                                                                   \
  }

ON_ALL_BACK_ENDS(generations, what_dies_young_is_gone_without_a_major_cycle) {
  BEGIN_OR_SKIP();
  garbage_make(64 * MIB);
  veil_stats stats = stats_of(heap);
  cr_assert_eq(stats.major_cycles, 0);
  cr_assert_gt(stats.minor_cycles, 150);
  cr_assert_lt(stats.held_max_bytes, 16 * MIB, "%lu bytes held", (unsigned long)stats.held_max_bytes);
  cr_assert(stats.minor_p50_ns > 0 && stats.minor_p50_ns <= stats.minor_p99_ns && stats.minor_p99_ns <= stats.minor_max_ns * 33 / 32 &&
            stats.minor_max_ns <= stats.minor_total_ns);
  end();
}

// Where it is, told so that the address is nowhere on the stack, nor in a register: it would hold it.
static __attribute__((noinline)) uintptr_t root_place(int i) { return ~(uintptr_t)root[i]; }

ON_ALL_BACK_ENDS(generations, objects_age_once_and_are_promoted_then) {
  BEGIN_OR_SKIP();
  root_make(0, 7);
  stack_clear();
  uintptr_t born = root_place(0);
  minor(1);
  veil_stats once = stats_of(heap);
  uintptr_t aged = root_place(0);
  minor(1);
  veil_stats twice = stats_of(heap);
  uintptr_t old = root_place(0);
  minor(2);
  veil_stats more = stats_of(heap);
  cr_assert(born != aged && aged != old && old == root_place(0) && root[0]->key == 7);
  cr_assert(once.minor_survived_bytes >= 48 && once.minor_promoted_bytes == 0);
  cr_assert(twice.minor_promoted_bytes >= 48);
  cr_assert(more.minor_promoted_bytes == twice.minor_promoted_bytes && more.minor_survived_bytes == twice.minor_survived_bytes);
  end();
}

ON_ALL_BACK_ENDS(generations, what_the_stack_holds_stays_where_it_is) {
  BEGIN_OR_SKIP();
  node *volatile held = veil_new(self, node);
  uintptr_t at = (uintptr_t)held;
  held->left = veil_new(self, node);
  held->left->key = 5;
  for (int i = 0; i < 10; i++) {
    garbage_make(MIB);
    minor(1);
    cr_assert_eq((uintptr_t)held, at);
    cr_assert(held->left->key == 5);
  }
  end();
}

// ---- Old to young, by every way to store.

static __attribute__((noinline)) node *young_make(long key) {
  node *n = veil_new(self, node);
  n->key = key;
  return n;
}
static __attribute__((noinline)) void store_plain(long key) { root[0]->left = young_make(key); }
static __attribute__((noinline)) void store_memcpy(long key) {
  node *young = young_make(key);
  memcpy(&root[0]->left, &young, sizeof young);
}
static __attribute__((noinline)) void store_atomic(long key) { __atomic_store_n(&root[0]->left, young_make(key), __ATOMIC_SEQ_CST); }
static __attribute__((noinline)) void store_swap(long key) { (void)__atomic_exchange_n(&root[0]->left, young_make(key), __ATOMIC_SEQ_CST); }
static __attribute__((noinline)) void store_read(long key) {
  node *young = young_make(key);
  int fd[2];
  EXPECT(pipe(fd) == 0 && write(fd[1], &young, sizeof young) == sizeof young);
  EXPECT(veil_touch(self, &root[0]->left, sizeof young, true) == VEIL_OK);
  EXPECT(read(fd[0], &root[0]->left, sizeof young) == sizeof young);
  veil_untouch(self, &root[0]->left);
  close(fd[0]);
  close(fd[1]);
}

ON_ALL_BACK_ENDS(generations, no_store_into_an_old_object_is_missed) {
  BEGIN_OR_SKIP();
  static void (*const store[])(long) = {store_plain, store_memcpy, store_atomic, store_swap, store_read};
  root_make_old(0, 1);
  long key = 100;
  for (size_t way = 0; way < sizeof store / sizeof *store; way++) {
    for (int times = 0; times < 5; times++) { // the page is armed anew each time
      store[way](++key);
      stack_clear();
      for (int cycles = 0; cycles < 4; cycles++) {
        garbage_make(MIB / 4);
        minor(1);
        cr_assert_eq(root[0]->left->key, key, "way %zu, time %d, cycle %d", way, times, cycles);
      }
    }
  }
  end();
}

ON_ALL_BACK_ENDS(generations, a_chain_from_old_to_young_to_old_holds) {
  BEGIN_OR_SKIP();
  root_make_old(0, 1);
  root_make_old(1, 2);
  for (int i = 0; i < 20; i++) {
    store_plain(i);
    root[0]->left->left = root[1];
    root[1]->left = root[0]->left;
    stack_clear();
    minor(1 + i % 3);
    cr_assert(root[0]->left == root[1]->left && root[0]->left->left == root[1] && root[0]->left->key == i);
  }
  end();
}

// ---- Large arrays.

ON_ALL_BACK_ENDS(generations, of_a_large_old_array_only_what_was_written_is_scanned) {
  BEGIN_OR_SKIP();
  enum { LENGTH = 1 << 20 };
  root[0] = (node *)veil_new_pointers(self, LENGTH);
  stack_clear();
  minor(3);
  bool tracks = strcmp(back_end, "none") != 0; // there all pages count as written
  for (int i = 0; i < 50; i++) {
    uint64_t before = stats_of(heap).minor_scanned_pages;
    size_t at = (size_t)i * 7919 % LENGTH;
    ((node **)root[0])[at] = young_make(i);
    stack_clear();
    minor(2);
    uint64_t scanned = stats_of(heap).minor_scanned_pages - before;
    cr_assert(!tracks || i < 2 || scanned <= 16, "%lu pages for one slot", (unsigned long)scanned);
    cr_assert_eq(((node **)root[0])[at]->key, i);
  }
  for (int i = 0; i < 50; i++) {
    cr_assert_eq(((node **)root[0])[(size_t)i * 7919 % LENGTH]->key, i);
  }
  end();
}

// ---- Large objects.

enum { LARGE = 20000 }; // pointers

static __attribute__((noinline)) void large_garbage_make(int count) {
  for (int i = 0; i < count; i++) {
    node **array = (node **)veil_new_pointers(self, LARGE);
    array[i % LARGE] = veil_new(self, node);
  }
}

ON_ALL_BACK_ENDS(generations, large_objects_that_die_young_are_gone_without_a_major_cycle) {
  BEGIN_OR_SKIP();
  large_garbage_make(1000); // 152 MiB
  stack_clear();
  minor(3);
  veil_stats stats = stats_of(heap);
  cr_assert_eq(stats.major_cycles, 0);
  cr_assert_lt(stats.held_max_bytes, 24 * MIB, "%lu bytes held", (unsigned long)stats.held_max_bytes);
  end();
}

// Written at all ages, in the first page and the last.
static __attribute__((noinline)) void large_fill(node **array, long key) {
  static const int places[] = {0, 1, LARGE / 2, LARGE - 1};
  for (int i = 0; i < 4; i++) {
    array[places[i]] = young_make(key + i);
  }
}
static bool large_check(node **array, long key) {
  return array[0]->key == key && array[1]->key == key + 1 && array[LARGE / 2]->key == key + 2 && array[LARGE - 1]->key == key + 3;
}

// What the nursery was full of once is kept for what fills it next, although with it the heap is near the next major cycle.
ON_ALL_BACK_ENDS(generations, memory_of_large_objects_that_die_young_is_used_again) {
  if (!start((veil_options){.back_end = back_end, .limit = 256 * MIB, .headroom = 8 * MIB, .growth = 100, .generations = VEIL_GENERATIONS_ON, .nursery = 8 * MIB})) {
    cr_skip_test("the back end does not work here");
  }
  EXPECT(veil_add_roots(heap, root, 4) == VEIL_OK);
  root[0] = list_make(self, 400000);
  stack_clear();
  veil_collect(self);
  veil_stats before = {0}, after;
  for (int round = 0; round < 40; round++) {
    for (int i = 0; i < 80; i++) {
      EXPECT(veil_new_bytes(self, 100000) != NULL);
    }
    if (round == 8) {
      before = stats_of(heap);
    }
  }
  after = stats_of(heap);
  cr_assert_gt(after.minor_cycles, before.minor_cycles + 15);
  uint64_t anew = after.committed_bytes - before.committed_bytes;
  cr_assert_lt(anew, 8 * MIB, "%lu bytes were had from the system for 240 MiB", (unsigned long)anew);
  root[0] = NULL;
  end();
}

ON_ALL_BACK_ENDS(generations, a_large_object_lives_as_long_as_something_holds_it) {
  BEGIN_OR_SKIP();
  root_make_old(1, 7);
  for (long round = 0; round < 30; round++) {
    // By a root; by an old object; by a young one that is moved; by the stack, at its end.
    root[0] = (node *)veil_new_pointers(self, LARGE);
    root[1]->left = (node *)veil_new_pointers(self, LARGE);
    root[2] = young_make(1);
    root[2]->right = (node *)veil_new_pointers(self, LARGE);
    node **held = (node **)veil_new_pointers(self, LARGE);
    node ***volatile end_of_it = (node ***)(held + LARGE);
    held = NULL;
    for (long age = 0; age < 4; age++) {
      long key = round * 100 + age * 10;
      large_fill((node **)root[0], key);
      large_fill((node **)root[1]->left, key);
      large_fill((node **)root[2]->right, key);
      large_fill((node **)end_of_it - LARGE, key);
      stack_clear();
      minor(1);
      large_garbage_make(2);
      cr_assert(large_check((node **)root[0], key) && large_check((node **)root[1]->left, key), "round %ld, age %ld", round, age);
      cr_assert(large_check((node **)root[2]->right, key) && large_check((node **)end_of_it - LARGE, key), "round %ld, age %ld", round, age);
      if (round % 3 == 0 && age == 1) {
        veil_collect_start(self);
      }
    }
  }
  end();
}

// ---- Whether they pay.

static node **table;

static __attribute__((noinline)) void table_make(long length) {
  root[0] = (node *)veil_new_pointers(self, (size_t)length);
  for (long i = 0; i < length; i++) {
    ((node **)root[0])[i] = young_make(i);
  }
}

// All that is born stays for long, and is stored all over an old table.
static __attribute__((noinline)) void table_churn(long length, uint64_t *random, long steps) {
  table = (node **)root[0];
  for (long i = 0; i < steps; i++) {
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    table[(*random >> 33) % (uint64_t)length] = young_make(i);
  }
  table = NULL;
}

static bool tells_what_was_written(const char *back_end) { return strcmp(back_end, "none") != 0; }

ON_ALL_BACK_ENDS(generations, without_traps_they_are_not_tried) {
  START_OR_SKIP(.back_end = back_end, .limit = 256 * MIB, .headroom = 4 * MIB, .nursery = MIB);
  for (int i = 0; i < 40; i++) {
    garbage_make(2 * MIB);
  }
  veil_stats stats = stats_of(heap);
  cr_assert_gt(stats.major_cycles, 0);
  cr_assert_eq(stats.minor_cycles != 0, tells_what_was_written(back_end), "%lu minor cycles, %lu major ones", (unsigned long)stats.minor_cycles,
               (unsigned long)stats.major_cycles);
  end();
}

// A small program is done before the first cycle; its heap is no larger than what lives, a nursery and what is ready.
ON_ALL_BACK_ENDS(generations, early_ones_begin_with_the_heap) {
  START_OR_SKIP(.back_end = back_end, .limit = 256 * MIB, .headroom = 8 * MIB, .nursery = 8 * MIB, .generations = VEIL_GENERATIONS_EARLY);
  cr_assert_eq(veil_add_roots(heap, root, 4), VEIL_OK);
  if (tells_what_was_written(back_end)) {
    cr_assert_eq(stats_of(heap).nursery_bytes, MIB, "a quarter of what is in use, 1 MiB at the least");
  }
  root[0] = list_make(self, 50000); // 2.4 MiB
  for (int i = 0; i < 40; i++) {
    garbage_make(MIB);
  }
  veil_stats stats = stats_of(heap);
  if (tells_what_was_written(back_end)) {
    cr_assert_eq(stats.major_cycles, 0);
    cr_assert_geq(stats.minor_cycles, 30);
    cr_assert_leq(stats.held_max_bytes, 10 * MIB, "%zu bytes", (size_t)stats.held_max_bytes);
  } else {
    cr_assert_eq(stats.minor_cycles, 0, "there they are not tried");
  }
  cr_assert_eq(list_check(root[0]), 50000);
  end();
}

// All that is born stays: then they are given up like any that are tried, and the nursery goes.
ON_TRAPPING_BACK_ENDS(generations, early_ones_are_given_up_if_all_stays) {
  START_OR_SKIP(.back_end = back_end, .limit = 512 * MIB, .headroom = 4 * MIB, .nursery = 8 * MIB, .generations = VEIL_GENERATIONS_EARLY, .verify = 1);
  cr_assert_eq(veil_add_roots(heap, root, 4), VEIL_OK);
  int made = 0;
  for (; made < 3000 && stats_of(heap).nursery_bytes != 0; made++) {
    for (int i = 0; i < 1000; i++) {
      node *n = veil_new(self, node);
      n->right = root[0];
      root[0] = n;
    }
  }
  cr_assert_eq(stats_of(heap).nursery_bytes, 0, "%d lists later", made);
  long length = 0;
  for (const node *n = root[0]; n != NULL; n = n->right) {
    length++;
  }
  cr_assert_eq(length, 1000L * made);
  end();
}

ON_ALL_BACK_ENDS(generations, they_are_switched_off_while_they_do_not_pay_and_on_again) {
  if (!tells_what_was_written(back_end)) {
    cr_skip_test("there they are not tried");
  }
  START_OR_SKIP(.back_end = back_end, .limit = 1024 * MIB, .headroom = 4 * MIB, .nursery = MIB, .growth = 20, .verify = 1);
  cr_assert_eq(veil_add_roots(heap, root, 4), VEIL_OK);
  enum { PLACES = 400000 }; // so that major cycles are dear
  garbage_make(2 * MIB);
  cr_assert_eq(stats_of(heap).nursery_bytes, 0, "what a program makes first, it keeps");
  for (int i = 0; i < 4000 && stats_of(heap).nursery_switches == 0; i++) {
    garbage_make(MIB / 16);
  }
  cr_assert_eq(stats_of(heap).major_cycles, 1, "they are tried from the first flip on");
  table_make(PLACES);
  uint64_t random = 1;
  for (int i = 0; i < 200 && stats_of(heap).nursery_bytes != 0; i++) {
    table_churn(PLACES, &random, 20000);
  }
  cr_assert_eq(stats_of(heap).nursery_bytes, 0);
  cr_assert_geq(stats_of(heap).nursery_switches, 1);
  uint64_t minors = stats_of(heap).minor_cycles;
  veil_collect_minor(self);
  cr_assert_eq(stats_of(heap).minor_cycles, minors, "there is nothing young");
  uint64_t on = 0;
  for (int i = 0; i < 4000 && on < 30; i++) {
    garbage_make(2 * MIB);
    on = stats_of(heap).nursery_bytes != 0 ? on + 1 : 0;
  }
  cr_assert(on >= 30, "%lu switches, %lu major cycles", (unsigned long)stats_of(heap).nursery_switches,
            (unsigned long)stats_of(heap).major_cycles);
  for (long i = 0; i < PLACES; i++) {
    cr_assert_geq(((node **)root[0])[i]->key, 0);
  }
  end();
}

// While a program makes what it keeps they are given up; soon after they are tried again, whether there was a major cycle or not.
ON_ALL_BACK_ENDS(generations, they_are_tried_again_between_two_flips) {
  if (!tells_what_was_written(back_end)) {
    cr_skip_test("there they are not tried");
  }
  START_OR_SKIP(.back_end = back_end, .limit = 1900 * MIB, .headroom = 800 * MIB, .verify = 1);
  cr_assert_eq(veil_add_roots(heap, root, 4), VEIL_OK);
  root[0] = list_make(self, 100000);
  veil_collect(self); // its flip tries them
  for (int i = 0; i < 10 && stats_of(heap).nursery_bytes != 0; i++) {
    node *kept = list_make(self, 50000); // all of it stays
    kept->left = root[1];
    root[1] = kept;
  }
  veil_stats before = stats_of(heap);
  cr_assert_eq(before.nursery_bytes, 0);
  uint64_t minors = before.minor_cycles;
  for (int i = 0; i < 6000 && stats_of(heap).minor_cycles < minors + 3; i++) {
    garbage_make(MIB / 16);
    sleep_ms(stats_of(heap).nursery_bytes == 0 ? 1 : 0);
  }
  veil_stats after = stats_of(heap);
  cr_assert_geq(after.minor_cycles, minors + 3); // whether they pay is another question: major cycles are rare here
  cr_assert_geq(after.nursery_switches, before.nursery_switches + 1);
  cr_assert_eq(after.major_cycles, before.major_cycles);
  cr_assert_eq(list_check(root[0]), 100000);
  garbage_make(64 * MIB);
  cr_assert_eq(list_check(root[0]), 100000);
  end();
}

// An old space that is written all over between any two minor cycles: no such cycle is to look at all of it.
ON_ALL_BACK_ENDS(generations, they_are_given_up_before_all_that_is_old_is_looked_at) {
  if (!tells_what_was_written(back_end)) {
    cr_skip_test("there they are not tried");
  }
  START_OR_SKIP(.back_end = back_end, .limit = 1024 * MIB, .headroom = 256 * MIB, .nursery = MIB, .verify = 1);
  cr_assert_eq(veil_add_roots(heap, root, 4), VEIL_OK);
  enum { PLACES = 400000 };
  table_make(PLACES);
  uint64_t scanned = 0, tries = 0;
  for (int round = 0; round < 60 && tries < 3; round++) {
    veil_collect(self); // a flip, at which they may be tried
    veil_stats before = stats_of(heap);
    for (int i = 0; i < PLACES; i += 50) {
      ((node **)root[0])[i]->more++;
    }
    garbage_make(2 * MIB);
    veil_stats after = stats_of(heap);
    tries += before.nursery_bytes != 0 && after.minor_cycles > before.minor_cycles;
    scanned = after.minor_scanned_pages - before.minor_scanned_pages > scanned ? after.minor_scanned_pages - before.minor_scanned_pages : scanned;
  }
  cr_assert_gt(tries, 0);
  cr_assert_lt(scanned, PLACES * 48 / 4096 / 4, "%lu pages", (unsigned long)scanned);
  for (int i = 0; i < PLACES; i++) {
    cr_assert_geq(((node **)root[0])[i]->key, 0);
  }
  end();
}

ON_ALL_BACK_ENDS(generations, where_all_stays_it_is_copied_once) {
  BEGIN_OR_SKIP();
  root[0] = list_make(self, 400000);
  minor(1);
  veil_stats stats = stats_of(heap);
  cr_assert_gt(stats.minor_promoted_bytes, 16 * MIB);
  cr_assert_lt(stats.minor_survived_bytes, stats.minor_promoted_bytes / 8);
  garbage_make(4 * MIB); // from here on it ages again
  veil_stats before = stats_of(heap);
  for (int i = 0; i < 100; i++) {
    root[1 + i % 2] = list_make(self, 1500); // dies in its second cycle or so, before it could become old
    garbage_make(MIB / 4);
  }
  stats = stats_of(heap);
  cr_assert_gt(stats.minor_cycles - before.minor_cycles, 50);
  cr_assert_gt(stats.minor_survived_bytes - before.minor_survived_bytes, MIB);
  cr_assert_lt(stats.minor_promoted_bytes - before.minor_promoted_bytes, stats.minor_survived_bytes - before.minor_survived_bytes);
  cr_assert_eq(list_check(root[0]), 400000);
  cr_assert_eq(stats.major_cycles, 0);
  end();
}

ON_ALL_BACK_ENDS(generations, the_nursery_is_as_large_as_the_pause_allows) {
  START_OR_SKIP(.back_end = back_end, .limit = 512 * MIB, .generations = VEIL_GENERATIONS_ON, .nursery = 8 * MIB, .pause = 50);
  cr_assert_eq(veil_add_roots(heap, root, 4), VEIL_OK);
  cr_assert_eq(stats_of(heap).nursery_bytes, 8 * MIB);
  for (int i = 0; i < 30; i++) {
    root[0] = list_make(self, 100000); // half of what is born stays for a while
    garbage_make(4 * MIB);
  }
  cr_assert_leq(stats_of(heap).nursery_bytes, 2 * MIB);
  end();
}

ON_ALL_BACK_ENDS(generations, an_idle_heap_gives_the_nurserys_memory_back) {
  START_OR_SKIP(.back_end = back_end, .limit = 256 * MIB, .generations = VEIL_GENERATIONS_ON, .nursery = 32 * MIB, .idle = 300);
  cr_assert_eq(veil_add_roots(heap, root, 4), VEIL_OK);
  for (int round = 0; round < 2; round++) {
    root[0] = list_make(self, 10000);
    garbage_make(80 * MIB);
    uint64_t held = stats_of(heap).held_max_bytes;
    cr_assert_geq(held, 30 * MIB, "%lu bytes", (unsigned long)held);
    for (int i = 0; i < 5000 && stats_of(heap).held_bytes > 20 * MIB; i++) {
      veil_block_begin(self);
      sleep_ms(1);
      veil_block_end(self);
    }
    cr_assert_leq(stats_of(heap).held_bytes, 20 * MIB, "at most %lu bytes were held, %lu are", (unsigned long)held, (unsigned long)stats_of(heap).held_bytes);
    cr_assert_eq(list_check(root[0]), 10000);
  }
  end();
}

// ---- Pages that are written all the time.

static __attribute__((noinline)) void array_write(long length, long step, long key) {
  for (long i = 0; i < length; i += step) {
    ((node **)root[0])[i] = young_make(key + i);
  }
}
static bool array_check(long length, long step, long key) {
  for (long i = 0; i < length; i += step) {
    if (((node **)root[0])[i]->key != key + i) {
      return false;
    }
  }
  return true;
}

ON_ALL_BACK_ENDS(generations, what_is_written_in_each_cycle_is_not_tracked_until_it_calms_down) {
  BEGIN_OR_SKIP();
  enum { LENGTH = 64 << 10, STEP = 64, PAGES = LENGTH / 512, CALM = 10 };
  root[0] = (node *)veil_new_pointers(self, LENGTH);
  stack_clear();
  minor(3);
  bool tracks = strcmp(back_end, "none") != 0;
  for (long round = 0; round < 20; round++) {
    veil_stats before = stats_of(heap);
    array_write(LENGTH, STEP, round);
    stack_clear();
    minor(1);
    veil_stats after = stats_of(heap);
    uint64_t dirty = after.minor_dirty_pages - before.minor_dirty_pages;
    cr_assert(array_check(LENGTH, STEP, round), "round %ld", round);
    cr_assert(!tracks || round < 6 || dirty < PAGES / 4, "round %ld: %lu pages dirty", round,
              (unsigned long)dirty);
    cr_assert_geq(after.minor_scanned_pages - before.minor_scanned_pages, PAGES);
  }
  minor(CALM);
  uint64_t calm = stats_of(heap).minor_scanned_pages;
  minor(CALM);
  cr_assert(!tracks || stats_of(heap).minor_scanned_pages - calm < PAGES, "they are left alone again");
  for (long i = 0; i < 20; i++) { // and no write there is missed
    array_write(LENGTH, LENGTH / 3, i);
    stack_clear();
    minor(1);
    cr_assert(array_check(LENGTH, LENGTH / 3, i));
  }
  end();
}

// ---- During a major cycle.

ON_ALL_BACK_ENDS(generations, minor_cycles_go_on_during_a_major_one) {
  BEGIN_OR_SKIP();
  root[0] = list_make(self, 200000);
  node *volatile pinned = veil_new(self, node);
  stack_clear();
  uint64_t during = 0;
  for (int i = 0; i < 10; i++) {
    pinned->left = young_make(i);
    veil_collect_start(self);
    for (int k = 0; k < 20 || veil_collecting(heap); k++) {
      uint64_t before = stats_of(heap).minor_cycles;
      bool collecting = veil_collecting(heap);
      root[1] = list_make(self, 3000);
      pinned->right = young_make(k);
      minor(1);
      during += collecting && veil_collecting(heap) ? stats_of(heap).minor_cycles - before : 0;
      cr_assert(pinned->right->key == k && pinned->left->key == i);
      cr_assert_eq(list_check(root[1]), 3000);
    }
    cr_assert_eq(list_check(root[0]), 200000);
  }
  cr_assert(during > 0 || strcmp(back_end, "none") == 0);
  end();
}

// ---- Options, events, services.

typedef struct heard {
  uint64_t begun, ended, survived, promoted;
} heard;
static void on_minor_begin(void *arg, uint64_t number) {
  heard *h = arg;
  EXPECT(number == ++h->begun && h->ended == number - 1);
}
static void on_minor_end(void *arg, uint64_t number, uint64_t survived, uint64_t promoted, uint64_t ns) {
  heard *h = arg;
  EXPECT(number == h->begun && ns > 0);
  h->ended = number;
  h->survived += survived;
  h->promoted += promoted;
}

ON_ALL_BACK_ENDS(generations, events_tell_of_each_minor_cycle_what_the_statistics_sum) {
  static heard told_of;
  static const veil_events table = {.minor_begin = on_minor_begin, .minor_end = on_minor_end};
  BEGIN_OR_SKIP();
  veil_set_events(heap, &table, &told_of);
  for (int i = 0; i < 5; i++) {
    root[i % 4] = list_make(self, 10000);
    minor(1);
  }
  veil_set_events(heap, NULL, NULL);
  veil_stats stats = stats_of(heap);
  cr_assert(told_of.begun == stats.minor_cycles && told_of.ended == stats.minor_cycles && stats.minor_cycles > 5);
  cr_assert(told_of.survived == stats.minor_survived_bytes && told_of.promoted == stats.minor_promoted_bytes);
  cr_assert_gt(told_of.promoted, 0);
  end();
}

Test(generations, without_them_a_minor_cycle_is_nothing) {
  cr_assert(start((veil_options){.limit = 64 * MIB, .generations = VEIL_GENERATIONS_OFF}));
  garbage_make(MIB);
  veil_collect_minor(self);
  cr_assert_eq(stats_of(heap).minor_cycles, 0);
  end();
}

static uint64_t told[2];
static void on_before(void *arg, uint64_t number) {
  EXPECT(number == told[0] + 1 && told[0] == told[1]);
  told[0] = number;
}
static void on_after(void *arg, uint64_t number) {
  EXPECT(number == told[0]);
  told[1] = number;
}

ON_ALL_BACK_ENDS(generations, services_are_told_of_minor_cycles) {
  BEGIN_OR_SKIP();
  static const veil_service_callbacks callbacks = {.before_minor = on_before, .after_minor = on_after};
  veil_service *service = veil_service_open(heap, "listener", &callbacks, NULL);
  cr_assert_not_null(service);
  minor(7);
  cr_assert(told[0] == 7 && told[1] == 7);
  veil_service_close(service);
  minor(1);
  cr_assert_eq(told[0], 7);
  end();
}
