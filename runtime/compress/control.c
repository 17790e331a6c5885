// SPDX-License-Identifier: MIT
// control.c: the choice of the threshold. See control.h.

#include "runtime/compress/control.h"

#include <string.h>

static const double ALLOWANCE_MINUTES = 10; // the target is a mean over that long
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

// The smallest threshold that would have stayed under the target. Costs fall with the threshold, so from the oldest down.
static unsigned best_of(const cx_control *control, const cx_interval *seen) {
  double allowed = control->goal.target * control->goal.interval_s / 60 * (control->working_set < 1 ? 1 : control->working_set);
  uint64_t pages = 0;
  unsigned age = CX_NEVER;
  while (age > control->goal.least && (double)(pages + seen->touched[age - 1]) <= allowed) {
    pages += seen->touched[--age];
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
  unsigned last = best_of(control, seen);
  control->best[control->next] = (uint16_t)last;
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
  double per_second = control->goal.target * control->working_set / 60, most = per_second * 60 * ALLOWANCE_MINUTES;
  control->allowance += per_second * seconds;
  control->allowance = control->allowance < most ? control->allowance : most;
  control->allowance -= (double)promoted;
  // What cannot be made up for within twice as long is forgotten, or one burst would stop all for hours.
  control->allowance = control->allowance > -2 * most ? control->allowance : -2 * most;
  return control->threshold < CX_NEVER && control->allowance >= 0;
}
