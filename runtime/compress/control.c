// SPDX-License-Identifier: MIT
// control.c: the choice of the threshold. See control.h.

#include "runtime/compress/control.h"

#include <string.h>

// Of what ten minutes allow. The rest is for pages that are compressed when that is spent, and are wanted back as well.
static const double SPEND = 0.75;
enum { PENALTY_MAX = CX_AGES / 2 };

bool cx_control_init(cx_control *control, const cx_goal *goal) {
  bool good = goal->target > 0 && goal->target <= 1 && goal->interval_s > 0 && goal->least >= 1 && goal->least < CX_AGES && goal->percentile >= 1 &&
              goal->percentile <= 100 && goal->intervals >= 1 && goal->intervals <= CX_HISTORY && goal->quiet <= goal->intervals;
  if (good) {
    *control = (cx_control){.goal = *goal, .threshold = CX_NEVER};
  }
  return good;
}

double cx_working_set(const cx_interval *seen, unsigned least) {
  uint64_t pages = 0;
  for (unsigned a = 0; a < least; a++) {
    pages += seen->age[a];
  }
  return (double)pages;
}

double cx_promotion_rate(const cx_interval *seen, unsigned threshold, double interval_s, double working_set) {
  uint64_t pages = 0;
  for (unsigned a = threshold; a < CX_AGES; a++) {
    pages += seen->touched[a];
  }
  return pages == 0 ? 0 : (double)pages * 60 / interval_s / (working_set < 1 ? 1 : working_set);
}

static double minute_allows(const cx_control *control) { return control->goal.target * (control->working_set < 1 ? 1 : control->working_set); }

static void rate_follow(cx_control *control, const cx_interval *seen) {
  double per_minute = 60 / control->goal.interval_s, share = per_minute > 1 ? 1 / per_minute : 1;
  share = share * (control->known + 1) < 1 ? 1.0 / (control->known + 1) : share; // what came first is no more than its part of what is known
  control->known++;
  for (unsigned a = 0; a < CX_AGES; a++) {
    control->rate[a] += share * ((double)seen->touched[a] * per_minute - control->rate[a]);
  }
}

// The smallest thresholds that would have stayed under the target: for a minute as it is now; and that would not have cost a minute's allowance in the last interval. Costs fall with the threshold, so from the oldest down.
static unsigned best_of(const cx_control *control) {
  double pages = 0, allowed = minute_allows(control);
  unsigned age = CX_NEVER;
  while (age > control->goal.least && pages + control->rate[age - 1] <= allowed) {
    pages += control->rate[--age];
  }
  return age;
}
static unsigned best_of_last(const cx_control *control, const cx_interval *seen) {
  double pages = 0, minutes = control->goal.interval_s / 60, allowed = minute_allows(control) * (minutes > 1 ? minutes : 1);
  unsigned age = CX_NEVER;
  while (age > control->goal.least && pages + (double)seen->touched[age - 1] <= allowed) {
    pages += (double)seen->touched[--age];
  }
  return age;
}

static unsigned percentile_of(const cx_control *control) {
  unsigned counts[CX_AGES + 1] = {0}, wanted = (control->count * control->goal.percentile + 99) / 100, seen = 0, age = 0;
  for (unsigned i = 0; i < control->count; i++) {
    counts[control->best[i]]++;
  }
  for (seen = counts[0]; seen < wanted; seen += counts[++age]) {
  }
  return age;
}

unsigned cx_control_interval(cx_control *control, const cx_interval *seen) {
  control->working_set = cx_working_set(seen, control->goal.least);
  rate_follow(control, seen);
  unsigned last = best_of_last(control, seen);
  control->best[control->next] = (uint16_t)best_of(control);
  control->next = (control->next + 1) % control->goal.intervals;
  control->count += control->count < control->goal.intervals;
  if (control->count < control->goal.quiet) {
    control->reason = CX_WARMING;
    return control->threshold = CX_NEVER;
  }
  unsigned past = percentile_of(control), threshold = last > past ? last : past;
  control->reason = threshold == control->goal.least ? CX_LEAST : last > past ? CX_LAST : CX_PAST;
  if (control->allowance < 0) {
    control->penalty = control->penalty == 0 ? 1 : control->penalty * 2 < PENALTY_MAX ? control->penalty * 2 : PENALTY_MAX;
  } else {
    control->penalty /= 2;
  }
  if (control->penalty != 0) {
    threshold = threshold + control->penalty < CX_NEVER ? threshold + control->penalty : CX_NEVER;
    control->reason = CX_OVERDRAWN;
  }
  return control->threshold = threshold;
}

bool cx_control_tick(cx_control *control, double seconds, uint64_t promoted) {
  control->into += seconds;
  for (unsigned turns = 0; control->into >= 60; control->into -= 60) {
    control->minute = (control->minute + 1) % CX_MINUTES;
    control->spent[control->minute] = 0;
    if (++turns == CX_MINUTES) { // nobody has asked for longer than that
      control->into = 0;
      break;
    }
  }
  control->spent[control->minute] += (double)promoted;
  control->allowance = minute_allows(control) * CX_MINUTES * SPEND;
  for (unsigned i = 0; i < CX_MINUTES; i++) {
    control->allowance -= control->spent[i];
  }
  return control->threshold < CX_NEVER && control->allowance >= 0;
}
