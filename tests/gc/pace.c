// SPDX-License-Identifier: MIT
// pace.c: pacing's decisions, from numbers alone and on a heap: growth, the limit, the soft limit, memory owned outside.

#include <criterion/criterion.h>
#include "tests/gc/fake.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

// ---- Numbers in, decision out.

static const gc_pace usual = {.live = 100 << 20, .limit = (uint64_t)4 << 30, .headroom = 32 << 20, .growth = 80};

Test(pace, growth_and_headroom_say_when_the_next_cycle_is_due) {
  gc_pace in = usual;
  cr_assert_eq(gc_pace_wish(&in), 212 * MIB);
  in.growth = 1000;
  cr_assert_eq(gc_pace_wish(&in), 1132 * MIB);
  in.live = 99;
  in.headroom = 1;
  in.growth = 50;
  cr_assert_eq(gc_pace_wish(&in), 99 + 49 + 1);
}

Test(pace, while_generations_pay_the_next_cycle_is_due_earlier) {
  gc_pace in = usual;
  in.live = 50 * MIB;
  cr_assert_eq(gc_pace_wish_young(&in), 82 * MIB, "a small heap has the headroom");
  in.live = 500 * MIB;
  cr_assert_eq(gc_pace_wish_young(&in), 700 * MIB, "a large one half of the growth");
  in.external = 100 * MIB;
  cr_assert_eq(gc_pace_wish_young(&in), 840 * MIB);
  for (in.live = 1; in.live < 8 * GIB; in.live *= 2) {
    cr_assert(gc_pace_wish_young(&in) < gc_pace_wish(&in) && gc_pace_wish_young(&in) > in.live + in.external);
  }
}

Test(pace, what_is_owned_outside_grows_like_the_rest) {
  gc_pace in = usual;
  in.external = 50 * MIB;
  cr_assert_eq(gc_pace_wish(&in), 302 * MIB);
  in.external = (uint64_t)INT64_MAX;
  in.growth = 1000;
  cr_assert_eq(gc_pace_wish(&in), UINT64_MAX, "it must not overflow");
  in.external = 0;
  cr_assert_eq(gc_pace_most(&in), gc_pace_most(&usual), "it is not in the heap");
}

Test(pace, the_limit_leaves_room_for_the_copies_of_what_is_copied) {
  gc_pace in = {.limit = 320 * MIB};
  cr_assert_eq(gc_pace_most(&in), 150 * MIB);
  in.large = 160 * MIB;
  cr_assert_eq(gc_pace_most(&in), 235 * MIB);
  in.live = 240 * MIB; // near the end of it a cycle is not due at once again
  cr_assert_eq(gc_pace_most(&in), 240 * MIB + 160 * MIB / 64);
  in.live = in.large = 400 * MIB; // more than there may be: the limit was lowered
  cr_assert_eq(gc_pace_most(&in), 400 * MIB);
}

Test(pace, without_a_soft_limit_none_counts) {
  gc_pace in = usual;
  cr_assert_eq(gc_pace_soft(&in), UINT64_MAX);
  in.soft = in.limit;
  cr_assert_eq(gc_pace_soft(&in), UINT64_MAX);
  cr_assert_eq(gc_pace_budget(&in), gc_pace_budget(&usual));
}

Test(pace, while_the_soft_limit_can_be_held_copies_and_births_stay_below_it) {
  for (uint64_t live = 0; live <= 300 * MIB; live += 7 * MIB) {
    for (uint64_t soft = 64 * MIB; soft <= GIB; soft += 64 * MIB) {
      gc_pace in = {.live = live, .large = live / 3, .limit = 4 * GIB, .soft = soft, .headroom = 32 * MIB, .growth = 80};
      uint64_t trigger = gc_pace_soft(&in), budget = gc_pace_budget(&in), copies = live - live / 3;
      cr_assert_geq(trigger, live);
      cr_assert_leq(budget, live / 5 + 32 * MIB);
      cr_assert_geq(budget, live / 64 < MIB ? live / 64 : MIB);
      if (live + copies + copies / 16 + 4 * (live / 64 + MIB) <= soft) {
        cr_assert_leq(trigger + copies + budget, soft, "live %lu MiB, soft limit %lu MiB", live / MIB, soft / MIB);
        cr_assert_gt(trigger, live);
      }
      if (live + copies > soft) {
        cr_assert_eq(trigger, live, "as soon as the collector is rested");
      }
    }
  }
}

Test(pace, cycles_for_the_soft_limit_take_half_of_the_time_at_most) {
  cr_assert_not(gc_pace_rested(1000, 1000, 1));
  cr_assert_not(gc_pace_rested(1099, 1000, 100));
  cr_assert(gc_pace_rested(1100, 1000, 100));
  cr_assert(gc_pace_rested(1000, 1000, 0));
  cr_assert(gc_pace_rested(5, 0, 0), "there was none yet");
}

// ---- On a heap.

ON_ALL_BACK_ENDS(pace, with_a_soft_limit_the_heap_is_held_below_it) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 256 * MIB, .soft_limit = 24 * MIB, .headroom = 64 * MIB, .growth = 1000);
  fake_list(f, 0, 60000); // some 2.9 MiB
  size_t cycles = 0;
  for (int i = 0; i < 1500000; i++) {
    if (gc_wants_cycle(f->gc)) {
      fake_cycle(f);
      cycles++;
    }
    EXPECT(fake_new(f, &type_pair) != NULL);
  }
  cr_assert_gt(cycles, 2);
  // The mutator here does not wait for a cycle that comes late because the collector rests.
  cr_assert_leq(f->gc->committed_max, 40 * MIB, "%lu bytes", (unsigned long)f->gc->committed_max);
  cr_assert_eq(fake_list_length(f, 0), 60000);
  fake_close(f);
}

ON_ALL_BACK_ENDS(pace, above_the_soft_limit_cycles_wait_until_the_collector_is_rested) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 256 * MIB, .soft_limit = 2 * MIB, .headroom = 128 * MIB, .growth = 1000);
  fake_list(f, 0, 100000); // some 4.8 MiB live: hopeless
  fake_buffers_drop(f);
  fake_cycle(f);
  f->gc->cycle_took_ns = (uint64_t)3600 * 1000000000;
  cr_assert_not(gc_wants_cycle(f->gc), "an hour has not passed");
  f->gc->cycle_ended_ns = vm_now() - f->gc->cycle_took_ns;
  cr_assert(gc_wants_cycle(f->gc));
  f->gc->cycle_ended_ns = vm_now();
  while (!gc_wants_cycle(f->gc)) {
    EXPECT(fake_new(f, &type_pair) != NULL);
  }
  cr_assert_geq(gc_used_bytes(f->gc), 110 * MIB, "growth, headroom and the limit count all the same: %zu", gc_used_bytes(f->gc));
  fake_close(f);
}

ON_ALL_BACK_ENDS(pace, above_the_soft_limit_free_memory_is_given_back) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 256 * MIB, .soft_limit = 16 * MIB, .headroom = 128 * MIB);
  fake_list(f, 0, 600000); // some 29 MiB
  f->root[0] = NULL;
  fake_list(f, 0, 200000);
  fake_buffers_drop(f);
  fake_cycle(f);
  while (gc_trim(f->gc)) {
  }
  cr_assert_leq(f->gc->committed_bytes, 20 * MIB, "%lu bytes", (unsigned long)f->gc->committed_bytes);
  cr_assert_eq(vm_held(f->gc->region), f->gc->committed_bytes);
  fake_cycle(f);
  cr_assert_eq(fake_list_length(f, 0), 200000);
  fake_close(f);
}

ON_ALL_BACK_ENDS(pace, an_idle_heap_keeps_little_more_than_what_lives) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 256 * MIB, .headroom = 64 * MIB);
  fake_list(f, 0, 800000); // some 38 MiB
  f->root[0] = NULL;
  fake_list(f, 0, 100000);
  fake_buffers_drop(f);
  fake_cycle(f);
  while (gc_trim(f->gc)) {
  }
  size_t busy = f->gc->committed_bytes;
  while (gc_trim_idle(f->gc)) {
  }
  cr_assert_lt(f->gc->committed_bytes, busy);
  cr_assert_leq(f->gc->committed_bytes, gc_used_bytes(f->gc) * 9 / 8 + 8 * MIB, "%lu bytes", (unsigned long)f->gc->committed_bytes);
  cr_assert_not(gc_trim_idle(f->gc));
  // A scanner that makes blocks ready does not undo that, nor is there any end of giving and taking.
  for (int i = 0; gc_trim_idle(f->gc) || gc_provide(f->gc, 16); i++) {
    cr_assert_lt(i, 200);
  }
  fake_cycle(f);
  cr_assert_eq(fake_list_length(f, 0), 100000);
  fake_close(f);
}

// gc.parked-pace: of so many bytes it is said that they are parked.
static void parked_say(fake *f, uint64_t bytes) { at_store(&f->gc->parked_pages, bytes / f->gc->page_size); }

ON_ALL_BACK_ENDS(pace, what_is_parked_gives_no_right_to_garbage_nor_to_memory_for_copies) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 512 * MIB, .headroom = MIB, .growth = 100);
  if (!f->gc->region->traps) {
    fake_close(f);
    return; // nothing is parked
  }
  f->spares = true;
  fake_list(f, 0, 1000000); // some 46 MiB
  fake_buffers_drop(f);
  fake_cycle(f);
  fake_cycle(f);
  gc_keep_in_place(f->gc, true);
  fake_cycle(f);
  uint64_t live = gc_used_bytes(f->gc), slack = gc_pace_slack(f->gc), reserve = gc_pace_reserve(f->gc) * GC_BLOCK, keep = gc_pace_keep(f->gc) * GC_BLOCK;
  cr_assert(slack > live && reserve > live);
  parked_say(f, live / 2);
  cr_assert_leq(gc_pace_slack(f->gc), slack - live / 2 + f->gc->page_size);
  cr_assert_lt(gc_pace_reserve(f->gc) * GC_BLOCK, live / 8, "nothing has moved in the last cycle, but %lu blocks", (unsigned long)at_load(&f->gc->copied_blocks));
  cr_assert_lt(gc_pace_keep(f->gc) * GC_BLOCK, keep - live);
  parked_say(f, 2 * live); // large objects may be more than lived: they are counted in
  cr_assert(!gc_wants_cycle(f->gc) && gc_pace_slack(f->gc) >= MIB);
  parked_say(f, 0);
  fake_list(f, 1, 600000);
  cr_assert_not(gc_wants_cycle(f->gc));
  parked_say(f, live / 2);
  cr_assert(gc_wants_cycle(f->gc), "half of it is as much garbage as there may be");
  parked_say(f, 0);
  cr_assert(gc_pace_slack(f->gc) == slack && gc_pace_reserve(f->gc) * GC_BLOCK >= reserve);
  fake_close(f);
}

ON_ALL_BACK_ENDS(pace, what_objects_own_outside_brings_the_next_cycle_nearer) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 64 * MIB, .headroom = 10 * MIB, .growth = 100);
  cr_assert(gc_external_add(f->gc, 9 * MIB));
  cr_assert_not(gc_wants_cycle(f->gc));
  cr_assert(gc_external_add(f->gc, MIB));
  cr_assert(gc_wants_cycle(f->gc));
  fake_cycle(f);
  cr_assert_not(gc_wants_cycle(f->gc), "what lived then is no news");
  cr_assert(gc_external_add(f->gc, 19 * MIB));
  cr_assert_not(gc_wants_cycle(f->gc));
  cr_assert(gc_external_add(f->gc, MIB));
  cr_assert(gc_wants_cycle(f->gc), "10 MiB and their growth, and headroom");
  // What is given up after a cycle, by finalizers say, was not alive at it.
  fake_cycle(f);
  cr_assert(gc_external_add(f->gc, -(ptrdiff_t)(30 * MIB)));
  cr_assert(gc_external_add(f->gc, 10 * MIB));
  cr_assert(gc_wants_cycle(f->gc));
  // Far beyond the limit, which is not about it.
  cr_assert(gc_external_add(f->gc, (ptrdiff_t)GIB));
  fake_list(f, 0, 1000);
  cr_assert_eq(fake_list_length(f, 0), 1000);
  fake_close(f);
}

ON_ALL_BACK_ENDS(pace, what_is_owned_outside_does_not_fall_below_zero) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  cr_assert_not(gc_external_add(f->gc, -1));
  cr_assert(gc_external_add(f->gc, 100));
  cr_assert_not(gc_external_add(f->gc, -101));
  cr_assert_not(gc_external_add(f->gc, PTRDIFF_MIN));
  cr_assert_not(gc_external_add(f->gc, PTRDIFF_MAX));
  cr_assert_eq(f->gc->external_bytes, 100);
  cr_assert(gc_external_add(f->gc, -100));
  cr_assert_eq(f->gc->external_bytes, 0);
  fake_close(f);
}

ON_ALL_BACK_ENDS(pace, the_limit_moves_within_the_reserve) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 8 * MIB, .reserve = 64 * MIB, .headroom = 64 * MIB);
  size_t count = 0;
  for (pair *p; (p = fake_new(f, &type_pair)) != NULL; count++) {
    p->right = f->root[0];
    f->root[0] = p;
  }
  cr_assert_leq(gc_used_bytes(f->gc), 4 * MIB + MIB / 4);
  gc_limit_set(f->gc, 64 * MIB);
  cr_assert_not(gc_wants_cycle(f->gc));
  for (size_t i = 0; i < count * 5; i++) {
    pair *p = fake_new(f, &type_pair);
    EXPECT(p != NULL);
    p->right = f->root[0];
    f->root[0] = p;
  }
  cr_assert_gt(gc_used_bytes(f->gc), 20 * MIB);
  fake_cycle(f);
  // Lower than what lives: nothing is lost, nothing is to be had.
  gc_limit_set(f->gc, 2 * MIB);
  fake_buffers_drop(f);
  cr_assert_null(fake_array(f, &type_byte, 100000));
  fake_cycle(f);
  size_t length = 0;
  for (pair *p = f->root[0]; p != NULL; p = p->right) {
    length++;
  }
  cr_assert_eq(length, count * 6);
  gc_limit_set(f->gc, 64 * MIB);
  fake_cycle(f);
  f->root[0] = NULL;
  fake_buffers_drop(f);
  fake_cycle(f);
  fake_list(f, 0, 10000);
  cr_assert_eq(fake_list_length(f, 0), 10000);
  fake_close(f);
}
