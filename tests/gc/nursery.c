// SPDX-License-Identifier: MIT
// nursery.c: how large the nursery is, and whether generations pay: decisions, from numbers alone.

#include <criterion/criterion.h>
#include "gc/nursery.h"

#define MIB ((uint64_t)1 << 20)
#define US ((uint64_t)1000)

static const gc_nursery_in usual = {.size = 4 * MIB, .least = MIB / 2, .most = 32 * MIB, .target_ns = 2000 * US, .pause_ns = 1800 * US, .fixed_ns = 100 * US};

Test(nursery, without_a_target_it_is_as_large_as_it_may_be) {
  gc_nursery_in in = usual;
  in.target_ns = 0;
  in.pause_ns = 1000000 * US;
  cr_assert_eq(gc_nursery_next(&in), in.most);
}

Test(nursery, near_the_target_it_stays_as_it_is) { cr_assert_eq(gc_nursery_next(&usual), usual.size); }

Test(nursery, it_is_smaller_at_once_when_a_pause_was_too_long) {
  gc_nursery_in in = usual;
  in.pause_ns = 2 * in.target_ns;
  cr_assert_eq(gc_nursery_next(&in), in.size / 2);
  in.pause_ns = 1000 * in.target_ns; // once is no reason for a tiny one
  cr_assert_eq(gc_nursery_next(&in), in.least);
  in.size = 32 * MIB;
  cr_assert_eq(gc_nursery_next(&in), 4 * MIB);
}

Test(nursery, it_grows_slowly_while_pauses_are_short) {
  gc_nursery_in in = usual;
  in.pause_ns = in.target_ns / 2;
  cr_assert_eq(gc_nursery_next(&in), in.size + in.size / 8);
  in.pause_ns = in.target_ns / 5; // far from it
  cr_assert_eq(gc_nursery_next(&in), 2 * in.size);
  in.size = in.most;
  cr_assert_eq(gc_nursery_next(&in), in.most);
}

Test(nursery, what_does_not_depend_on_it_takes_no_more_than_half_of_the_pause) {
  gc_nursery_in in = usual;
  in.fixed_ns = 3000 * US; // the target cannot be kept whatever is done
  in.pause_ns = 6000 * US;
  cr_assert_eq(gc_nursery_next(&in), in.size);
  in.pause_ns = 12000 * US;
  cr_assert_eq(gc_nursery_next(&in), in.size / 2);
}

Test(nursery, pauses_settle_near_the_target_whatever_survives) {
  for (unsigned ns_per_kib = 10; ns_per_kib < 20000; ns_per_kib *= 3) {
    gc_nursery_in in = usual;
    for (int i = 0; i < 100; i++) {
      in.pause_ns = in.fixed_ns + in.size / 1024 * ns_per_kib;
      in.size = gc_nursery_next(&in);
      cr_assert(in.size >= in.least && in.size <= in.most);
    }
    uint64_t pause = in.fixed_ns + in.size / 1024 * ns_per_kib;
    cr_assert(in.size == in.least || pause <= in.target_ns + in.target_ns / 20, "%u ns per KiB: %lu us", ns_per_kib, pause / US);
    cr_assert(in.size == in.most || in.size == in.least || pause >= in.target_ns / 2, "%u ns per KiB: %lu us", ns_per_kib, pause / US);
  }
}

Test(nursery, generations_pay_while_they_free_memory_for_less) {
  gc_yield in = {.minor_ns = 100, .minor_freed = 1000, .major_ns = 1000, .major_freed = 1000};
  cr_assert(gc_generations_pay(&in));
  in.minor_ns = 1450;
  cr_assert(gc_generations_pay(&in), "for somewhat more, too: their pauses are shorter");
  in.minor_ns = 1550;
  cr_assert_not(gc_generations_pay(&in));
  in.minor_ns = 1;
  in.minor_freed = 0;
  cr_assert_not(gc_generations_pay(&in), "nothing for something");
  in = (gc_yield){.minor_ns = UINT64_MAX, .minor_freed = UINT64_MAX / 2, .major_ns = UINT64_MAX / 2, .major_freed = UINT64_MAX};
  cr_assert_not(gc_generations_pay(&in), "it must not overflow");
}

Test(nursery, a_heap_has_no_larger_one_than_its_limit_allows) {
  gc_config config = {.limit = 4096 * MIB};
  cr_assert_eq(gc_nursery_limit(&config), 32 * MIB);
  config.limit = 64 * MIB;
  cr_assert_eq(gc_nursery_limit(&config), 2 * MIB);
  config.limit = 2 * MIB;
  cr_assert_eq(gc_nursery_limit(&config), 2 * GC_BLOCK);
  config.nursery = 5 * MIB;
  cr_assert_eq(gc_nursery_limit(&config), 5 * MIB, "the program says");
}

Test(nursery, it_is_hopeless_only_if_not_even_all_that_is_born_would_pay) {
  gc_yield yield = {.minor_ns = 100 * US, .minor_freed = 0, .major_ns = 1000 * US, .major_freed = 100 * MIB};
  cr_assert_not(gc_generations_pay(&yield));
  cr_assert_not(gc_generations_hopeless(&yield, 7 * MIB));
  cr_assert(gc_generations_hopeless(&yield, 6 * MIB));
  yield.minor_ns = 0;
  cr_assert_not(gc_generations_hopeless(&yield, 0), "nothing has been spent");
}

Test(nursery, a_trial_is_lost_once_and_what_is_trusted_twice) {
  gc_trust trust = {.on_trial = true, .settles = true};
  cr_assert(gc_nursery_trust(&trust, false, true));
  trust = (gc_trust){.on_trial = true, .settles = true};
  cr_assert_not(gc_nursery_trust(&trust, true, true));
  cr_assert_not(trust.on_trial);
  for (int i = 0; i < 3; i++) {
    cr_assert_not(gc_nursery_trust(&trust, false, true), "once may be chance");
    cr_assert_not(gc_nursery_trust(&trust, true, true));
  }
  cr_assert_not(gc_nursery_trust(&trust, false, true));
  cr_assert(gc_nursery_trust(&trust, false, true));
}

Test(nursery, it_settles_when_it_grows_no_more) {
  gc_trust trust = {.on_trial = true, .settles = true};
  gc_nursery_trust(&trust, true, true);
  cr_assert(trust.settles);
  gc_nursery_trust(&trust, true, false);
  cr_assert_not(trust.settles);
  gc_nursery_trust(&trust, true, true);
  cr_assert_not(trust.settles, "later it is judged by what it costs");
}

// ---- Tenure.

static bool after(gc_tenure *tenure, uint64_t aged, uint64_t promoted) {
  gc_nursery_tenure(tenure, &(gc_minor_out){.taken = 4 * MIB, .aged = aged, .promoted = promoted});
  return tenure->now;
}

Test(nursery, what_is_born_is_promoted_at_once_while_nearly_all_of_it_stays) {
  gc_tenure tenure = {0};
  cr_assert_not(after(&tenure, 4 * MIB, 0), "once may be chance");
  cr_assert(after(&tenure, 3 * MIB, 4 * MIB));
  for (int i = 0; i < 10; i++) {
    cr_assert(after(&tenure, 0, 5 * MIB / 2), "in between it remains as it is");
  }
  cr_assert_not(after(&tenure, 0, 2 * MIB - 1), "half of it dies");
  cr_assert_not(after(&tenure, 4 * MIB, 0), "from the beginning");
  cr_assert(after(&tenure, 4 * MIB, 4 * MIB));
}

Test(nursery, what_is_born_ages_where_some_of_it_dies) {
  gc_tenure tenure = {0};
  for (int i = 0; i < 10; i++) {
    cr_assert_not(after(&tenure, i % 2 ? 4 * MIB : 2 * MIB, MIB));
  }
}

Test(nursery, nothing_ages_where_all_that_does_is_promoted_after_all) {
  gc_tenure tenure = {0};
  unsigned cycles = 0;
  cr_assert_not(after(&tenure, MIB, 0));
  while (!after(&tenure, MIB, MIB - MIB / 16)) {
    cr_assert_lt(++cycles, 16);
  }
  cr_assert_geq(cycles, 2, "once may be chance");
  unsigned rest = 1;
  while (after(&tenure, 0, MIB)) {
    cr_assert_lt(++rest, 100, "it is asked for again");
  }
  cr_assert_geq(rest, 10);
  cr_assert_not(after(&tenure, MIB, 0));
  for (int i = 0; i < 100; i++) {
    cr_assert_not(after(&tenure, MIB, MIB / 8 * 7), "an eighth of it dies while it ages");
  }
}

Test(nursery, little_that_ages_says_nothing) {
  gc_tenure tenure = {0};
  for (int i = 0; i < 100; i++) {
    cr_assert_not(after(&tenure, 100, 100));
  }
}

// ---- What a small nursery says about a larger one.

Test(nursery, what_does_not_depend_on_it_is_shared_by_all_that_would_be_born) {
  gc_nursery_in in = {.size = MIB, .least = MIB / 2, .most = 8 * MIB, .pause_ns = 900 * US, .fixed_ns = 800 * US};
  cr_assert_eq(gc_nursery_share(&in, MIB), 200 * US);
  in.target_ns = 2000 * US;
  cr_assert_eq(gc_nursery_share(&in, MIB), 200 * US, "8 MiB would take 1600 us");
  in.target_ns = 1200 * US;
  cr_assert_eq(gc_nursery_share(&in, MIB), 200 * US, "half of the pause is for what was born");
  in.pause_ns = 1200 * US;
  cr_assert_eq(gc_nursery_share(&in, MIB), 800 * US, "2 MiB are all that fits");
  in.most = MIB;
  cr_assert_eq(gc_nursery_share(&in, MIB), 1200 * US);
  cr_assert_eq(gc_nursery_share(&in, 2 * MIB), 1200 * US);
  in.pause_ns = in.fixed_ns = 0;
  cr_assert_eq(gc_nursery_share(&in, MIB), 0);
}
