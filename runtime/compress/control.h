// SPDX-License-Identifier: MIT
// control.h: from when on a page is cold.
//
// Numbers in, decisions out; knows no heap, no clock, no thread. One thread at a time has a controller.
//
// The principle is that of Lagar-Cavilla et al. (Software-Defined Far Memory in Warehouse-Scale Computers, ASPLOS '19): a histogram of the ages of pages says what a threshold would gain, one of the
// ages at which pages were touched says how often what it had compressed would have been wanted back. Of every interval it is known, for each threshold, what it would have cost; the smallest one that
// would have stayed under the target is the interval's best. The next threshold is one that would have been enough for nearly all intervals of the last while, and for the last one.

#ifndef SQ_CONTROL_H
#define SQ_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Ages are counted in intervals of the sampler: in how many, one after the other, the page was not touched. The last stands for itself and all that are greater.
enum { SQ_AGES = 256, SQ_NEVER = SQ_AGES, SQ_HISTORY = 256 };

typedef struct sq_goal {
  double target;          // promotions per minute, as a share of the working set; above 0, at most 1
  double interval_s;      // of the sampler, in seconds; above 0
  unsigned least;         // a threshold is never below this: intervals, 1 to SQ_AGES - 1
  unsigned percentile;    // of the best thresholds of the last intervals, 1 to 100
  unsigned intervals;     // so many of them count, 1 to SQ_HISTORY
  unsigned quiet;         // nothing is compressed before so many intervals are known: at most `intervals`
} sq_goal;

// Why the threshold is what it is: for statistics and the trace.
typedef enum sq_reason {
  SQ_WARMING,  // too little is known
  SQ_PAST,     // the past's percentile
  SQ_LAST,     // the last interval alone would have needed as much
  SQ_LEAST,    // the goal's least
  SQ_OVERDRAWN // more was wanted back than the target allows: until that is made up for
} sq_reason;

typedef struct sq_control {
  sq_goal goal;
  uint16_t best[SQ_HISTORY]; // of the last intervals, a ring
  unsigned count, next;      // how many are known; where the next one goes
  unsigned threshold;        // age from which on a page is cold; SQ_NEVER: none is
  unsigned penalty;          // intervals that were added because more was wanted back than the past had foretold
  sq_reason reason;
  double working_set;        // pages, as of the last interval
  double allowance;          // pages that may still be wanted back before the target is passed: at most what ten minutes give, or less than 0
} sq_control;

// What there is to tell of an interval.
typedef struct sq_interval {
  uint64_t age[SQ_AGES];     // pages by age at its end, those that are compressed included
  uint64_t touched[SQ_AGES]; // pages that were touched in it, by the age that they had before
} sq_interval;

// False: the goal is not one.
bool sq_control_init(sq_control *control, const sq_goal *goal);

// An interval is over. Returns the threshold from now on.
unsigned sq_control_interval(sq_control *control, const sq_interval *seen);

// Since the last call `seconds` have passed and `promoted` compressed pages were wanted back. To be called often, every second or so: what changes fast is noticed here, within the
// allowance for ten minutes. Returns whether pages may be compressed now.
bool sq_control_tick(sq_control *control, double seconds, uint64_t promoted);

// How many promotions per minute a threshold would have meant in this interval, as a share of the working set; for histograms and plots. `threshold` from 1 on.
double sq_promotion_rate(const sq_interval *seen, unsigned threshold, double interval_s, double working_set);

// Pages that were touched within the goal's least age.
double sq_working_set(const sq_interval *seen, unsigned least);

#endif
