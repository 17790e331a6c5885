// SPDX-License-Identifier: MIT
// runs.c: what large objects leave behind when they die: found again, coalesced, cleared, and given back where others want it (gc.kept).

#include <criterion/criterion.h>
#include "tests/gc/death.h"
#include "tests/gc/fake.h"

enum { MIB = 1 << 20, KIB = 1 << 10 };

static uint64_t got(const fake *f) { return at_load(&f->gc->got_bytes); }
static uint64_t committed(const fake *f) { return at_load(&f->gc->committed_bytes); }

// All objects in roots [0, count) die.
static void drop(fake *f, size_t count) {
  memset(f->root, 0, count * sizeof f->root[0]);
  fake_cycle(f);
}

// Bytes of a large array's memory behind its length, to its last page's end.
static size_t room(const fake *f, size_t bytes) { return ((bytes + 24 + 16 + f->gc->page_size - 1) & ~(f->gc->page_size - 1)) - 24; }

static bool is_zero(const char *at, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) {
    if (((const char volatile *)at)[i] != 0) {
      fprintf(stderr, "byte %zu of %zu is not zero\n", i, bytes);
      return false;
    }
  }
  return true;
}

ON_ALL_BACK_ENDS(runs, what_died_is_used_again_without_asking_the_system) {
  OPEN_OR_SKIP(f, .back_end = back_end, .headroom = 16 * MIB);
  for (int i = 0; i < 5; i++) {
    f->root[i] = fake_array(f, &type_byte, 200000);
  }
  void *first = f->root[0];
  uint64_t before = got(f);
  for (int round = 0; round < 10; round++) {
    drop(f, 5);
    cr_assert_eq(f->gc->large_bytes, 0);
    cr_assert_geq(gc_kept_bytes(f->gc), 1000000);
    cr_assert_eq(f->gc->returned_bytes, 0);
    bool seen = false;
    for (int i = 0; i < 5; i++) {
      f->root[i] = fake_array(f, &type_byte, (size_t)(2000 - 3 * round) * 100);
      seen = seen || f->root[i] == first;
    }
    cr_assert(seen, "the same addresses");
    cr_assert_eq(got(f), before, "%lu bytes had anew in round %d", (unsigned long)(got(f) - before), round);
  }
  fake_close(f);
}

ON_ALL_BACK_ENDS(runs, neighbours_that_died_make_one_run_in_whatever_order) {
  static const int orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
  for (size_t o = 0; o < 6; o++) {
    OPEN_OR_SKIP(f, .back_end = back_end, .headroom = 16 * MIB);
    for (int i = 0; i < 4; i++) {
      f->root[i] = fake_array(f, &type_byte, 3 * GC_BLOCK - 100);
    }
    cr_assert_eq((char *)f->root[3] - (char *)f->root[0], 9 * GC_BLOCK);
    void *first = f->root[0];
    for (int i = 0; i < 3; i++) {
      f->root[orders[o][i]] = NULL;
      fake_cycle(f); // verifies that no two free runs meet
    }
    uint64_t before = got(f);
    f->root[0] = fake_array(f, &type_byte, 9 * GC_BLOCK - 100);
    cr_assert_eq(f->root[0], first);
    cr_assert_eq(got(f), before);
    fake_close(f);
  }
}

ON_ALL_BACK_ENDS(runs, the_shortest_run_that_is_long_enough_is_taken) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 64 * MIB, .headroom = 64 * MIB);
  static const size_t blocks[] = {40, 7, 3, 100, 5, 36};
  for (int i = 0; i < 6; i++) {
    f->root[2 * i] = fake_array(f, &type_byte, blocks[i] * GC_BLOCK - 100);
    f->root[2 * i + 1] = fake_array(f, &type_byte, 40000); // keeps them apart
  }
  static const struct { size_t wanted; int found; } takes[] = {{4, 4}, {6, 1}, {2, 2}, {35, 5}, {38, 0}, {90, 3}};
  void *at[6];
  for (int i = 0; i < 6; i++) {
    at[i] = f->root[2 * i];
    f->root[2 * i] = NULL;
  }
  fake_cycle(f);
  for (int i = 0; i < 6; i++) {
    f->root[2 * i] = fake_array(f, &type_byte, takes[i].wanted * GC_BLOCK - 100);
    cr_assert_eq(f->root[2 * i], at[takes[i].found], "%zu blocks", takes[i].wanted);
  }
  fake_close(f);
}

static const size_t pair_slots[] = {0, 8};
static void trace_nothing(const void *object, const void *alias, size_t length, size_t base, size_t limit, gc_visitor *visitor) {}
static fake_type type_traced = {{.name = "traced", .size = 32, .layout = GC_LAYOUT_TRACE, .trace = trace_nothing}, 0};
static fake_type type_tagged = {
    {.name = "tagged", .size = 32, .layout = GC_LAYOUT_TAGGED, .tagged = true, .low_tags = 1, .count = 2, .offsets = pair_slots}, 0};

ON_ALL_BACK_ENDS(runs, memory_is_zero_whatever_died_there_and_whatever_is_born) {
  OPEN_OR_SKIP(f, .back_end = back_end, .headroom = 16 * MIB);
  fake_type *types[] = {&type_byte, &type_pointer, &type_pair, &type_traced, &type_tagged};
  srand(5);
  uint64_t before = 0;
  for (int round = 0; round < 60; round++) {
    for (int i = 0; i < 5; i++) {
      fake_type *type = types[(round + i) % 5];
      size_t length = ((size_t)rand() % 300 + 40) * KIB / type->type.size, bytes = length * type->type.size;
      char *object = f->root[i] = fake_array(f, type, length);
      cr_assert_eq(gc_cell_length(fake_cell(f, object)), length);
      cr_assert(is_zero(object, room(f, bytes)), "%s of %zu bytes in round %d", type->type.name, bytes, round);
    }
    fake_cycle(f); // in which they are veiled
    for (int i = 0; i < 5; i++) {
      size_t bytes = gc_cell_length(fake_cell(f, f->root[i])) * types[(round + i) % 5]->type.size;
      memset(f->root[i], 0xf1, bytes); // words that point nowhere
      if (types[(round + i) % 5] == &type_byte) {
        memset(f->root[i], 0xff, room(f, bytes) - 8);
      }
    }
    drop(f, 5);
    before = round == 20 ? got(f) : before;
  }
  cr_assert_leq(got(f) - before, 4 * MIB, "%lu bytes: was it used again at all?", (unsigned long)(got(f) - before));
  fake_close(f);
}

ON_ALL_BACK_ENDS(runs, a_raw_object_is_not_cleared_and_its_neighbours_are) {
  OPEN_OR_SKIP(f, .back_end = back_end, .headroom = 16 * MIB);
  static const size_t lengths[] = {300 * KIB, 2000};
  for (int i = 0; i < 2; i++) {
    size_t n = lengths[i], stale = 0;
    for (size_t k = 0; k < 200; k++) {
      f->root[k] = fake_array_raw(f, &type_byte, n - k);
      memset(f->root[k], 0xff, n - k);
      if (i == 0 && k == 3) {
        break;
      }
    }
    drop(f, 200);
    fake_cycle(f);
    for (size_t k = 0; k < 40; k++) {
      char *raw = f->root[k] = fake_array_raw(f, &type_byte, n - k);
      cr_assert_eq(gc_cell_length(fake_cell(f, raw)), n - k);
      for (size_t at = 0; at < n - k; at += 8) {
        stale += *(uint64_t volatile *)(raw + at) != 0;
      }
      fake_fill(raw, n - k, (unsigned)k);
      f->root[100 + k] = fake_array(f, &type_byte, n + k);
      cr_assert(is_zero(f->root[100 + k], n + k));
      fake_fill(f->root[100 + k], n + k, (unsigned)k);
    }
    cr_assert_gt(stale, 100, "what was there is there still");
    for (int cycle = 0; cycle < 3; cycle++) {
      fake_cycle(f);
      for (size_t k = 0; k < 40; k++) {
        cr_assert(fake_filled(f->root[k], n - k, (unsigned)k) && fake_filled(f->root[100 + k], n + k, (unsigned)k));
      }
    }
    drop(f, 200);
  }
  fake_close(f);
}

// A stamp is one of 255: what a dead object's pages carry must not be taken for a later one's.
ON_TRAPPING_BACK_ENDS(runs, an_object_is_veiled_255_cycles_after_one_that_died_there) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 8 * MIB);
  void *first = f->root[0] = fake_array(f, &type_pointer, 20000);
  fake_cycle(f); // stamps its pages
  drop(f, 1);
  for (int cycle = 0; cycle < 253; cycle++) {
    fake_cycle(f);
  }
  void **array = f->root[0] = fake_array(f, &type_pointer, 20000);
  cr_assert_eq((void *)array, first);
  array[5000] = fake_new(f, &type_pair);
  ((pair *)array[5000])->key = 3;
  fake_flip(f);
  cr_assert(fake_is_veiled(f, &array[5000]));
  fake_finish(f);
  cr_assert_eq(((pair *)array[5000])->key, 3);
  fake_close(f);
}

// ---- Nobody lacks what is kept.

// Large objects that die leave `bytes` behind.
static void leave(fake *f, size_t each, size_t bytes) {
  size_t i = 0;
  for (; i * each < bytes; i++) {
    f->root[i] = fake_array(f, &type_byte, each);
    cr_assert_not_null(f->root[i]);
  }
  drop(f, i);
}

static size_t pairs_that_fit(const char *back_end, bool after_large) {
  fake *f = fake_open((fake_options){.back_end = back_end, .limit = 16 * MIB, .headroom = 64 * MIB});
  EXPECT(f != NULL);
  if (after_large) {
    leave(f, 300 * KIB, 12 * MIB);
    EXPECT(gc_kept_bytes(f->gc) > 8 * MIB);
  }
  size_t count = 0;
  for (pair *p; (p = fake_new(f, &type_pair)) != NULL; count++) {
    p->right = f->root[0];
    f->root[0] = p;
  }
  fake_cycle(f);
  EXPECT(f->gc->kept_blocks == 0 && f->gc->committed_max <= 16 * MIB);
  fake_close(f);
  return count;
}

ON_ALL_BACK_ENDS(runs, small_objects_find_as_much_room_after_large_ones_and_their_copies_too) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  fake_close(f);
  size_t fresh = pairs_that_fit(back_end, false), after = pairs_that_fit(back_end, true);
  cr_assert_geq(after + GC_BLOCK / 48, fresh, "%zu after large objects, %zu without", after, fresh);
}

// Of 40000 bytes each, so that a block that another object has filled has 6 pages too many.
static size_t large_that_fit(const char *back_end, size_t granule, size_t before) {
  fake *f = fake_open((fake_options){.back_end = back_end, .limit = 16 * MIB, .granule = granule, .headroom = 64 * MIB});
  EXPECT(f != NULL);
  if (before) {
    leave(f, before, 12 * MIB);
  }
  size_t count = 0;
  while ((f->root[count] = fake_array(f, &type_byte, 40000)) != NULL) {
    fake_fill(f->root[count], 40000, (unsigned)count);
    count++;
  }
  fake_cycle(f);
  for (size_t i = 0; i < count; i++) {
    EXPECT(fake_filled(f->root[i], 40000, (unsigned)i));
  }
  EXPECT(f->gc->committed_max <= 16 * MIB);
  fake_close(f);
  return count;
}

ON_ALL_BACK_ENDS(runs, as_many_large_objects_fit_where_others_died) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  fake_close(f);
  for (size_t granule = 4096; granule <= 65536; granule *= 4) {
    size_t fresh = large_that_fit(back_end, granule, 0);
    cr_assert_geq(large_that_fit(back_end, granule, GC_BLOCK - 100), fresh, "after objects that filled their blocks");
    cr_assert_geq(large_that_fit(back_end, granule, 5 * MIB), fresh, "after few very large ones");
  }
}

ON_ALL_BACK_ENDS(runs, a_lower_limit_is_kept_to_by_giving_back) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 32 * MIB, .headroom = 64 * MIB);
  leave(f, MIB, 20 * MIB);
  cr_assert_gt(gc_kept_bytes(f->gc), 16 * MIB);
  gc_limit_set(f->gc, 8 * MIB);
  fake_list(f, 0, 2000);
  cr_assert_leq(committed(f), 8 * MIB, "%lu", (unsigned long)committed(f));
  fake_cycle(f);
  cr_assert_eq(f->gc->kept_blocks, 0);
  fake_close(f);
}

ON_ALL_BACK_ENDS(runs, nothing_is_kept_above_the_soft_limit) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 128 * MIB, .soft_limit = 16 * MIB, .headroom = 64 * MIB);
  leave(f, MIB, 40 * MIB);
  cr_assert_leq(committed(f), 16 * MIB, "%lu", (unsigned long)committed(f));
  cr_assert_gt(gc_kept_bytes(f->gc), 4 * MIB);
  fake_list(f, 0, 100000); // some 4.8 MiB, and as much for copies
  cr_assert_leq(committed(f), 16 * MIB, "%lu", (unsigned long)committed(f));
  fake_close(f);
}

// ---- Nothing is kept for good.

ON_ALL_BACK_ENDS(runs, what_lay_unused_for_two_cycles_is_given_back_and_what_was_used_is_not) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 64 * MIB, .headroom = 64 * MIB);
  leave(f, MIB, 16 * MIB);
  while (gc_trim(f->gc)) {
  }
  cr_assert_geq(gc_kept_bytes(f->gc), 16 * MIB, "not before two cycles have passed");
  for (int cycle = 0; cycle < 3; cycle++) {
    leave(f, MIB, 6 * MIB);
    while (gc_trim(f->gc)) {
    }
  }
  cr_assert_geq(gc_kept_bytes(f->gc), 6 * MIB);
  cr_assert_leq(gc_kept_bytes(f->gc), 7 * MIB, "%lu", (unsigned long)gc_kept_bytes(f->gc));
  cr_assert_eq(vm_held(f->gc->region), committed(f));
  fake_cycle(f);
  while (gc_trim(f->gc)) {
  }
  cr_assert_geq(gc_kept_bytes(f->gc), 6 * MIB, "it was used in the last cycle but one");
  fake_cycle(f);
  fake_cycle(f);
  while (gc_trim(f->gc)) {
  }
  cr_assert_eq(gc_kept_bytes(f->gc), 0);
  cr_assert_eq(vm_held(f->gc->region), committed(f));
  fake_close(f);
}

ON_ALL_BACK_ENDS(runs, more_than_may_be_born_before_the_next_cycle_is_not_kept) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 128 * MIB, .headroom = 2 * MIB);
  leave(f, MIB, 60 * MIB);
  while (gc_trim(f->gc)) {
  }
  cr_assert_leq(gc_kept_bytes(f->gc), 8 * MIB, "%lu", (unsigned long)gc_kept_bytes(f->gc));
  fake_close(f);
}

ON_ALL_BACK_ENDS(runs, an_idle_heap_keeps_nothing_and_no_tails) {
  OPEN_OR_SKIP(f, .back_end = back_end, .headroom = 16 * MIB);
  leave(f, 2 * GC_BLOCK - 100, 4 * MIB);
  for (int i = 0; i < 10; i++) {
    f->root[i] = fake_array(f, &type_byte, GC_BLOCK + 5000);
    fake_fill(f->root[i], GC_BLOCK + 5000, (unsigned)i);
  }
  cr_assert_geq(f->gc->kept_tails, f->gc->page_size);
  while (gc_trim_idle(f->gc)) {
  }
  cr_assert_eq(gc_kept_bytes(f->gc), 0);
  cr_assert_eq(vm_held(f->gc->region), committed(f));
  gc_verify_stopped(f->gc, "after an idle trim");
  for (int i = 0; i < 10; i++) {
    cr_assert(fake_filled(f->root[i], GC_BLOCK + 5000, (unsigned)i));
  }
  drop(f, 10);
  leave(f, 2 * GC_BLOCK - 100, 4 * MIB); // over them again
  fake_close(f);
}

// ---- Who watches writes.

static bool told[1 << 16];
static void tell(void *arg, size_t page) {
  (void)arg;
  told[page] = true;
}

ON_ALL_BACK_ENDS(runs, an_object_is_news_to_who_watches_writes_though_nobody_has_written_it) {
  for (int medium = 0; medium < 2; medium++) {
    OPEN_OR_SKIP(f, .back_end = back_end, .limit = 8 * MIB);
    vm_region *region = f->gc->region;
    size_t n = medium ? 20000 : 100000;
    int consumer = vm_dirty_open(region);
    f->gc->dirty_mask |= 1u << consumer;
    f->gc->service_claims++;
    for (int i = 0; i < 20; i++) {
      f->root[i] = fake_array_raw(f, &type_byte, n);
      fake_fill(f->root[i], n, 1);
    }
    drop(f, 20);
    vm_dirty(region, consumer, 0, region->pages, tell, NULL);
    for (int i = 0; i < 20; i++) {
      memset(told, 0, sizeof told);
      char *raw = f->root[i] = fake_array_raw(f, &type_byte, n);
      vm_dirty(region, consumer, 0, region->pages, tell, NULL);
      for (size_t page = gc_page_at(f->gc, (uintptr_t)raw); page <= gc_page_at(f->gc, (uintptr_t)raw + n - 1); page++) {
        cr_assert(told[page], "page %zu of object %d", page, i);
      }
    }
    f->gc->dirty_mask = 0;
    f->gc->service_claims--;
    vm_dirty_close(region, consumer);
    fake_close(f);
  }
}

// ---- The check.

static const char *back_end_now = "mprotect";

static fake *heap_with_a_free_run(void) {
  fake *f = fake_open((fake_options){.back_end = back_end_now});
  leave(f, MIB, 3 * MIB);
  f->root[0] = fake_array(f, &type_byte, MIB); // and one that is taken
  return f;
}

static void kept_is_miscounted(void *arg) {
  (void)arg;
  fake *f = heap_with_a_free_run();
  f->gc->kept_free += 4096;
  gc_verify_stopped(f->gc, "planted");
}

static void memory_of_a_run_is_miscounted(void *arg) {
  (void)arg;
  fake *f = heap_with_a_free_run();
  f->gc->large_pages[17]--;
  gc_verify_stopped(f->gc, "planted");
}

static void run_end_is_wrong(void *arg) {
  (void)arg;
  fake *f = heap_with_a_free_run();
  uint32_t run = gc_block_of(f->gc, (uintptr_t)f->root[0]) - f->gc->small_blocks + MIB / GC_BLOCK + 1;
  f->gc->runs.length[run + f->gc->runs.length[run] - 1]++;
  gc_verify_stopped(f->gc, "planted");
}

static void run_is_in_a_space(void *arg) {
  (void)arg;
  fake *f = heap_with_a_free_run();
  uint32_t block = gc_block_of(f->gc, (uintptr_t)f->root[0]) + MIB / GC_BLOCK + 2;
  f->gc->space[block] = 1;
  gc_verify_stopped(f->gc, "planted");
}

Test(runs, a_verification_notices_what_does_not_agree, .timeout = 60) {
  static const struct {
    void (*plant)(void *arg);
    const char *text;
  } cases[] = {{kept_is_miscounted, "are counted [gc.kept]"},
               {memory_of_a_run_is_miscounted, "pages of memory"},
               {run_end_is_wrong, "by its end"},
               {run_is_in_a_space, "is free and in a space"}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    death d = death_of(cases[i].plant, NULL);
    cr_assert(death_says(&d, cases[i].text));
  }
}
