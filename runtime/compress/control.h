// SPDX-License-Identifier: MIT
// control.h: from when on a page is cold.
//
// Numbers in, decisions out; knows no heap, no clock, no thread. One thread at a time has a controller.
//
// The principle is that of Lagar-Cavilla et al. (Software-Defined Far Memory in Warehouse-Scale Computers, ASPLOS '19): a histogram of the ages of pages says what a threshold would gain, one of the
// ages at which pages were touched says how often what it had compressed would have been wanted back. Of every minute, smoothed, it is known, for each threshold, what it would have cost; the smallest one that
// would have stayed under the target is the best at that time. The next threshold is one that would have been enough for nearly all times of the last while, and one that would not have cost a whole minute's
// allowance in the last interval. Not what an interval alone allows: of a small working set that is less than a page a second, and then one page that is touched counts as too many.
//
// What is spent is looked at over the ten minutes for which the target holds: as much as they allow may be wanted back, sooner or later; what was wanted back longer ago is forgotten.

#ifndef CX_CONTROL_H
#define CX_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Ages are counted in intervals of the sampler: in how many, one after the other, the page was not touched. The last stands for itself and all that are greater.
enum { CX_AGES = 256, CX_NEVER = CX_AGES, CX_HISTORY = 256, CX_MINUTES = 10 };

typedef struct cx_goal {
  double target;          // promotions per minute, as a share of the working set; above 0, at most 1
  double interval_s;      // of the sampler, in seconds; above 0
  unsigned least;         // a threshold is never below this: intervals, 1 to CX_AGES - 1
  unsigned percentile;    // of the best thresholds of the last intervals, 1 to 100
  unsigned intervals;     // so many of them count, 1 to CX_HISTORY
  unsigned quiet;         // nothing is compressed before so many intervals are known: at most `intervals`
} cx_goal;

// Why the threshold is what it is: for statistics and the trace.
typedef enum cx_reason {
  CX_WARMING,  // too little is known
  CX_PAST,     // the past's percentile
  CX_LAST,     // the last interval alone would have cost more than a minute allows
  CX_LEAST,    // the goal's least
  CX_OVERDRAWN // more was wanted back than the target allows: until that is made up for
} cx_reason;

typedef struct cx_control {
  cx_goal goal;
  uint16_t best[CX_HISTORY]; // of the last intervals, a ring
  unsigned count, next;      // how many are known; where the next one goes
  unsigned threshold;        // age from which on a page is cold; CX_NEVER: none is
  unsigned penalty;          // intervals that were added because more was wanted back than the past had foretold
  cx_reason reason;
  double working_set;        // pages, as of the last interval
  uint64_t known;            // intervals, since it was made
  double rate[CX_AGES];      // pages touched per minute, by the age that they had: a mean that follows within a minute
  double allowance;          // pages that may still be wanted back before the target is passed: at most what ten minutes give, or less than 0
  double spent[CX_MINUTES];  // promotions, a ring of minutes: of this one and those before
  unsigned minute;           // this one …
  double into;               // … and how many seconds of it have passed
} cx_control;

// What there is to tell of an interval.
typedef struct cx_interval {
  uint64_t age[CX_AGES];     // pages by age at its end, those that are compressed included
  uint64_t touched[CX_AGES]; // pages that were touched in it, by the age that they had before
} cx_interval;

// False: the goal is not one.
bool cx_control_init(cx_control *control, const cx_goal *goal);

// An interval is over. Returns the threshold from now on.
unsigned cx_control_interval(cx_control *control, const cx_interval *seen);

// Since the last call `seconds` have passed and `promoted` compressed pages were wanted back. To be called often, every second or so: what changes fast is noticed here, within the
// allowance for ten minutes. Returns whether pages may be compressed now; while too little is known to tell, they may not.
bool cx_control_tick(cx_control *control, double seconds, uint64_t promoted);

// How many promotions per minute a threshold would have meant in this interval, as a share of the working set; for histograms and plots. `threshold` from 1 on.
double cx_promotion_rate(const cx_interval *seen, unsigned threshold, double interval_s, double working_set);

// Pages that were touched within the goal's least age.
double cx_working_set(const cx_interval *seen, unsigned least);

#endif
