// SPDX-License-Identifier: MIT
// control.c: the choice of the threshold, from numbers alone (runtime/compress/control.h).

#include "runtime/compress/control.h"

#include <criterion/criterion.h>
#include <string.h>

enum { LEAST = 10, QUIET = 10 };

static cx_goal goal_of(double interval_s) {
  return (cx_goal){.target = 0.002, .interval_s = interval_s, .least = LEAST, .percentile = 98, .intervals = 60, .quiet = QUIET};
}

static uint64_t random_next(uint64_t *state) { // SplitMix64
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

// So many pages are awake; of those of age 20 one is touched with a chance per interval, as by a program whose habits do not change.
static void interval_make(cx_interval *seen, uint64_t awake, unsigned age, double chance, uint64_t *state) {
  memset(seen, 0, sizeof *seen);
  seen->age[0] = awake;
  seen->age[CX_AGES - 1] = awake;
  for (; chance > 0; chance -= 1) {
    seen->touched[age] += chance >= 1 || (double)(random_next(state) >> 11) / 0x1p53 < chance;
  }
}

// What the threshold would have cost goes back into the tick, for so many seconds. How many intervals were spent with a threshold of `most` or less, and pages might be compressed.
static unsigned run(cx_control *c, double interval_s, double seconds, uint64_t awake, unsigned age, double per_minute, unsigned most, double *promoted) {
  uint64_t state = 7;
  unsigned good = 0;
  cx_interval seen;
  for (double at = 0; at < seconds; at += interval_s) {
    interval_make(&seen, awake, age, per_minute * interval_s / 60, &state);
    uint64_t cost = c->threshold <= age ? seen.touched[age] : 0;
    *promoted += (double)cost;
    cx_control_interval(c, &seen);
    good += cx_control_tick(c, interval_s, cost) && c->threshold <= most;
  }
  return good;
}

// 8000 pages allow 16 in a minute: less than one in a second. A page that is touched now and then is no reason to compress nothing.
Test(control, a_small_working_set_is_compressed_at_short_intervals) {
  for (double interval_s = 0.25; interval_s <= 16; interval_s *= 4) {
    cx_control c;
    cx_goal goal = goal_of(interval_s);
    double promoted = 0;
    cr_assert(cx_control_init(&c, &goal));
    unsigned intervals = (unsigned)(1200 / interval_s), good = run(&c, interval_s, 1200, 8000, 20, 6, LEAST, &promoted);
    cr_assert_geq(good, intervals * 8 / 10, "%g s: %u of %u intervals", interval_s, good, intervals);
    cr_assert_leq(promoted, 20 * 16, "%g s: %g", interval_s, promoted);
  }
}

// Three times what the target allows: the threshold goes above that age.
Test(control, what_costs_too_much_is_left_alone) {
  for (double interval_s = 0.25; interval_s <= 16; interval_s *= 4) {
    cx_control c;
    cx_goal goal = goal_of(interval_s);
    double promoted = 0;
    cr_assert(cx_control_init(&c, &goal));
    run(&c, interval_s, 1200, 8000, 20, 48, LEAST, &promoted);
    cr_assert(c.threshold > 20 && c.threshold < CX_NEVER, "%g s: %u", interval_s, c.threshold);
    cr_assert_leq(promoted, 10 * 16, "%g s: %g in twenty minutes", interval_s, promoted);
  }
}

// From one interval to the next much of what is cold is touched.
Test(control, a_change_of_habits_is_noticed_in_one_interval) {
  cx_control c;
  cx_goal goal = goal_of(1);
  double promoted = 0;
  uint64_t state = 1;
  cx_interval seen;
  cr_assert(cx_control_init(&c, &goal));
  run(&c, 1, 120, 8000, 20, 0, LEAST, &promoted);
  cr_assert_eq(c.threshold, LEAST);
  interval_make(&seen, 8000, 100, 500, &state);
  cr_assert_gt(cx_control_interval(&c, &seen), 100);
  cr_assert_eq(c.reason, CX_LAST);
}

// What ten minutes allow may be spent at once, and then no more until it is forgotten.
Test(control, allowance) {
  cx_control c;
  cx_goal goal = goal_of(1);
  double promoted = 0;
  cr_assert(cx_control_init(&c, &goal));
  cr_assert(!cx_control_tick(&c, 1, 0), "nothing is known yet");
  run(&c, 1, 60, 8000, 20, 0, LEAST, &promoted);
  cr_assert(cx_control_tick(&c, 1, 100));
  cr_assert(!cx_control_tick(&c, 1, 60), "160 are what ten minutes allow");
  for (int i = 0; i < 530; i++) {
    cr_assert(!cx_control_tick(&c, 1, 0), "%d s later", i);
  }
  cr_assert(cx_control_tick(&c, 90, 0));
  cr_assert(cx_control_tick(&c, 1e6, 0));
  uint64_t state = 1;
  cx_interval seen;
  interval_make(&seen, 8000, 20, 0, &state);
  cx_control_tick(&c, 1, 1000);
  cr_assert_gt(cx_control_interval(&c, &seen), LEAST);
  cr_assert_eq(c.reason, CX_OVERDRAWN);
}
