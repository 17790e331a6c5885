// SPDX-License-Identifier: MIT
// collect.c: what collections do, as a program sees it: garbage goes, memory comes back, figures add up.

#include <criterion/criterion.h>
#include "runtime/runtime.h"
#include "tests/runtime/world.h"

static __attribute__((noinline)) void garbage_make(void) {
  for (int i = 0; i < 100; i++) {
    list_make(self, 1000);
    memset(veil_new_bytes(self, 10000), 1, 10000);
  }
}

ON_ALL_BACK_ENDS(collect, after_a_full_collection_garbage_is_gone_and_the_rest_is_there) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .headroom = 32 * MIB);
  node *list = list_make(self, 10000);
  garbage_make();
  stack_clear();
  veil_collect(self);
  veil_stats stats = stats_of(heap);
  cr_assert(stats.live_bytes >= 480000 && stats.live_bytes < 2 * MIB, "%lu bytes live", (unsigned long)stats.live_bytes);
  cr_assert_eq(list_check(list), 10000);
  list = NULL;
  stack_clear();
  veil_collect(self);
  cr_assert_lt(stats_of(heap).live_bytes, MIB, "%lu bytes live", (unsigned long)stats_of(heap).live_bytes);
  end();
}

ON_ALL_BACK_ENDS(collect, a_full_collection_is_over_when_it_returns) {
  START_OR_SKIP(.back_end = back_end);
  node *list = list_make(self, 10000);
  for (int i = 0; i < 20; i++) {
    uint64_t before = stats_of(heap).major_cycles;
    if (i % 2) {
      veil_collect_start(self); // one is under way: another is run after it
    }
    uint64_t started = stats_of(heap).major_cycles;
    veil_collect(self);
    cr_assert_not(veil_collecting(heap));
    cr_assert_geq(stats_of(heap).major_cycles, started + 1);
    cr_assert_leq(stats_of(heap).major_cycles, before + 2);
  }
  cr_assert_eq(list_check(list), 10000);
  end();
}

ON_TRAPPING_BACK_ENDS(collect, starting_a_cycle_returns_after_the_flip) {
  START_OR_SKIP(.back_end = back_end, .limit = 256 * MIB, .headroom = 128 * MIB);
  node *list = list_make(self, 1000000);
  uint64_t before = stats_of(heap).major_cycles;
  veil_collect_start(self);
  cr_assert_eq(stats_of(heap).major_cycles, before + 1);
  cr_assert(veil_collecting(heap));
  veil_collect_start(self); // at once, if one is under way
  cr_assert_eq(stats_of(heap).major_cycles, before + 1);
  cr_assert_eq(list_check(list), 1000000);
  for (int i = 0; veil_collecting(heap); i++) { // it ends by itself
    cr_assert_lt(i, 10000);
    sleep_ms(2);
  }
  end();
}

ON_ALL_BACK_ENDS(collect, cycles_start_by_themselves_and_memory_stays_bounded) {
  START_OR_SKIP(.back_end = back_end, .limit = 256 * MIB, .headroom = 4 * MIB, .generations = VEIL_GENERATIONS_OFF);
  node *list = list_make(self, 20000);
  for (int i = 0; i < 150; i++) {
    garbage_make();
  }
  veil_stats stats = stats_of(heap);
  cr_assert_gt(stats.major_cycles, 5);
  // Also when the scanner does not get a processor: then the mutator helps, and waits for the sweep.
  cr_assert_lt(stats.held_max_bytes, 100 * MIB, "%lu bytes held at most", (unsigned long)stats.held_max_bytes);
  cr_assert_eq(list_check(list), 20000);
  end();
}

// In a frame of its own, which is gone afterwards, with all that registers and stack held of it.
static __attribute__((noinline)) void much_made_and_dropped(void) {
  node *list = list_make(self, 1000000); // 48 MiB
  cr_assert_gt(stats_of(heap).held_bytes, 40 * MIB);
  cr_assert_eq(list_check(list), 1000000);
}

ON_ALL_BACK_ENDS(collect, memory_that_is_not_wanted_any_more_is_given_back) {
  START_OR_SKIP(.back_end = back_end, .limit = 256 * MIB, .headroom = 2 * MIB);
  much_made_and_dropped();
  stack_clear();
  veil_collect(self);
  for (int i = 0; stats_of(heap).held_bytes > 16 * MIB; i++) {
    cr_assert_lt(i, 200, "%lu bytes are still held", (unsigned long)stats_of(heap).held_bytes);
    sleep_ms(10);
    if (i % 20 == 19) {
      veil_collect(self);
    }
  }
  end();
}

ON_ALL_BACK_ENDS(collect, the_figures_are_plausible) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB);
  bool traps = strcmp(back_end, "none") != 0;
  veil_stats s = stats_of(heap);
  cr_assert(s.major_cycles == 0 && s.minor_cycles == 0 && s.traps == 0 && s.copied_objects == 0 && s.live_bytes == 0);
  cr_assert(s.limit_bytes == 64 * MIB && s.threads == 1);
  node *list = list_make(self, 50000);
  for (int i = 0; i < 10; i++) {
    veil_collect_start(self);
    cr_assert_eq(list_check(list), 50000);
    veil_collect(self);
  }
  s = stats_of(heap);
  cr_assert_geq(s.major_cycles, 11);
  cr_assert(s.flip_max_ns > 0 && s.flip_max_ns < 10000000000ull && s.flip_p50_ns <= s.flip_max_ns * 11 / 10);
  cr_assert(s.flip_total_ns >= s.flip_max_ns);
  cr_assert_eq(s.traps > 0, traps);
  cr_assert(s.trap_p50_ns <= s.trap_p99_ns && s.trap_p99_ns <= s.trap_max_ns);
  cr_assert(!traps || (s.trap_p50_ns > 100 && s.pages_scanned_trap > 0));
  cr_assert_gt(s.pages_scanned_background + s.pages_scanned_trap, 50000 * 48 / 4096);
  cr_assert(!traps || (s.veiled_max_ns > 0 && s.veiled_total_ns >= s.veiled_max_ns));
  cr_assert_geq(s.copied_objects, 49000);
  cr_assert_eq(s.copied_bytes, s.copied_objects * 48);
  cr_assert_gt(s.pinned_objects, 0);
  cr_assert_eq(s.kept_blocks, 0);
  cr_assert(s.allocated_bytes >= 50000 * 48 && s.allocated_bytes < 64 * MIB);
  cr_assert(s.live_bytes >= 50000 * 48 && s.live_bytes <= s.held_bytes);
  cr_assert(s.held_bytes <= s.held_max_bytes && s.held_max_bytes <= s.limit_bytes);
  end();
}

static node *dense; // not on the stack, where it might be found later

static __attribute__((noinline)) void dense_make(size_t length) { dense = list_make(self, length); }

static __attribute__((noinline)) void dense_check(size_t length) { cr_assert_eq(list_check(dense), length); }

ON_ALL_BACK_ENDS(collect, what_is_dense_stays_in_place_unless_all_garbage_is_to_go) {
  START_OR_SKIP(.back_end = back_end, .limit = 256 * MIB, .headroom = 4 * MIB, .generations = VEIL_GENERATIONS_OFF);
  bool traps = strcmp(veil_back_end(heap), "none") != 0;
  cr_assert_eq(veil_add_roots(heap, &dense, 1), VEIL_OK);
  dense_make(50000);
  uint64_t before = stats_of(heap).major_cycles;
  while (stats_of(heap).major_cycles < before + 6) {
    garbage_make();
  }
  uint64_t spared = stats_of(heap).spared_bytes;
  cr_assert(traps ? spared >= MIB : spared == 0, "%lu bytes", (unsigned long)spared);
  dense_check(50000);
  veil_collect(self);
  dense = NULL;
  stack_clear();
  spared = stats_of(heap).spared_bytes;
  veil_collect(self);
  cr_assert_eq(stats_of(heap).spared_bytes, spared);
  cr_assert_lt(stats_of(heap).live_bytes, 2 * MIB);
  end();
}

ON_ALL_BACK_ENDS(collect, verification_on_request_and_by_option_finds_nothing) {
  START_OR_SKIP(.back_end = back_end, .verify = 2);
  node *list = list_make(self, 10000);
  for (int i = 0; i < 10; i++) {
    veil_collect_start(self);
    garbage_make();
    veil_verify(self);
  }
  cr_assert_eq(list_check(list), 10000);
  end();
}

ON_ALL_BACK_ENDS(collect, two_heaps_in_one_process_are_strangers) {
  START_OR_SKIP(.back_end = back_end);
  veil_heap *other = heap_open((veil_options){.back_end = "mprotect"});
  veil_thread *there = veil_attach(other);
  node *a = list_make(self, 5000), *b = list_make(there, 7000);
  // A cycle lasts as long as its scanner does not get to run.
  for (int i = 0; i < 20 || stats_of(heap).major_cycles < 3 || stats_of(other).major_cycles < 3; i++) {
    veil_collect_start(i % 2 ? self : there);
    cr_assert(list_check(a) == 5000 && list_check(b) == 7000);
    list_make(self, 3000);
    list_make(there, 3000);
  }
  veil_detach(there);
  veil_close(other);
  cr_assert_eq(list_check(a), 5000);
  end();
}

ON_ALL_BACK_ENDS(collect, heaps_are_opened_and_closed_many_times) {
  for (int i = 0; i < 40; i++) {
    START_OR_SKIP(.back_end = back_end);
    node *list = list_make(self, 1000);
    veil_collect_start(self);
    cr_assert_eq(list_check(list), 1000);
    end(); // perhaps in mid-cycle: it waits
  }
}

ON_ALL_BACK_ENDS(collect, the_torture_mode_collects_all_the_time_and_nothing_is_lost) {
  START_OR_SKIP(.back_end = back_end, .torture = 1, .seed = 42, .verify = 1);
  node *list = list_make(self, 3000);
  // A cycle may last as long as the scanner does not get to run: the test's time limit says when that is too long.
  for (int i = 0; i < (strcmp(back_end, "none") == 0 ? 30 : 150) || stats_of(heap).major_cycles <= 5; i++) {
    cr_assert_eq(list_check(list_make(self, 1000)), 1000);
    cr_assert_eq(list_check(list), 3000);
  }
  end();
}

ON_ALL_BACK_ENDS(collect, every_granule_works) {
  for (size_t granule = 4096; granule <= 65536; granule *= 2) {
    START_OR_SKIP(.back_end = back_end, .granule = granule, .verify = 2);
    node *list = list_make(self, 10000);
    for (int i = 0; i < 5; i++) {
      veil_collect_start(self);
      garbage_make();
      cr_assert_eq(list_check(list), 10000);
    }
    end();
  }
}

static char **leaves; // a root

static __attribute__((noinline)) void leaves_make(size_t from, size_t to) {
  for (size_t i = from; i < to; i++) {
    char *bytes = veil_new_bytes(self, 100);
    cr_assert_neq(bytes, NULL);
    leaves[i] = memset(bytes, (int)i, 100);
  }
}

static void cycle_without_copies(void) {
  uint64_t before = stats_of(heap).major_cycles;
  rt_thread *inner = (rt_thread *)self;
  rt_enter(inner);
  rt_cycle_start(inner); // unlike veil_collect_start it leaves what is dense where it is
  rt_leave(inner);
  while (stats_of(heap).major_cycles == before || veil_collecting(heap)) {
    sleep_ms(1);
  }
}

// A thread's last buffer ends with it, and its block may be as good as full: what it has put there counts, too (gc.cells).
ON_TRAPPING_BACK_ENDS(collect, leaf_objects_of_threads_that_end_are_counted) {
  enum { LEAVES = 200000 };
  START_OR_SKIP(.back_end = back_end, .limit = 512 * MIB, .headroom = 128 * MIB, .generations = VEIL_GENERATIONS_OFF, .verify = 1);
  leaves = (char **)veil_new_pointers(self, LEAVES);
  cr_assert_eq(veil_add_roots(heap, &leaves, 1), VEIL_OK);
  leaves_make(0, 40000);
  for (int i = 0; i < 3; i++) {
    cycle_without_copies();
  }
  cr_assert(heap->gc->leaves_stay);
  for (size_t i = 40000, some = 470; i + some <= LEAVES; i += some, some = 470 + some % 29) {
    leaves_make(i, i + some);
    veil_detach(self);
    self = veil_attach(heap);
  }
  for (int i = 0; i < 3; i++) {
    cycle_without_copies();
  }
  cr_assert_geq(at_load(&heap->gc->aside_blocks), 300);
  end();
}
