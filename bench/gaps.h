// SPDX-License-Identifier: MIT
// gaps.h: how a mutator sees its collector: the gaps between its steps, and its progress in windows of time.
//
// A mutator calls gaps_step after each of its steps. gaps.c evaluates afterwards. One `gaps` per
// mutator thread, written by that thread only, and read when it has ended. Times are ticks of the time-stamp counter,
// which is taken to run at a constant rate and alike on all cores.

#ifndef BENCH_GAPS_H
#define BENCH_GAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <x86intrin.h>

// Log-linear: 64 sub-buckets per power of 2, so a value is known to 1.6 %.
enum { GAPS_SUB_BITS = 6, GAPS_SUBS = 1 << GAPS_SUB_BITS, GAPS_POWERS = 40, GAPS_SLOTS = GAPS_POWERS * GAPS_SUBS };

typedef struct gaps_histogram {
  uint64_t count[GAPS_SLOTS];
  uint64_t total;   // entries
  uint64_t maximum; // ticks, exact
} gaps_histogram;

// Progress is counted in slices of 100 us, for up to 400 s.
enum { GAPS_SLICE_US = 100, GAPS_SLICES = 4 * 1000 * 1000 };
#define GAPS_IN_CYCLE 0x80000000u // in a slice's word: a cycle was under way in it

typedef struct gaps {
  uint64_t last;           // end of the last step
  uint64_t begun, ended;   // the measured stretch
  uint64_t slice_limit;    // where the current slice ends
  uint32_t slice_word;     // steps in the current slice, and GAPS_IN_CYCLE
  unsigned last_phase;
  uint64_t in_cycle_ticks; // sum of the gaps in cycles
  uint64_t slice_ticks;    // constant after gaps_open
  size_t slices;           // slices written
  uint32_t *slice;         // GAPS_SLICES words, reserved, touched as time goes on
  gaps_histogram all, in_cycle;
} gaps;

static inline uint64_t gaps_now(void) { return __rdtsc(); }

static inline unsigned gaps_slot(uint64_t ticks) {
  if (ticks < GAPS_SUBS) {
    return (unsigned)ticks;
  }
  unsigned shift = 63 - (unsigned)__builtin_clzll(ticks) - GAPS_SUB_BITS;
  if (shift >= GAPS_POWERS - 1) {
    return GAPS_SLOTS - 1;
  }
  return ((shift + 1) << GAPS_SUB_BITS) + (unsigned)((ticks >> shift) & (GAPS_SUBS - 1));
}

static inline void gaps_histogram_add(gaps_histogram *histogram, uint64_t ticks) {
  histogram->count[gaps_slot(ticks)]++;
  histogram->total++;
  if (ticks > histogram->maximum) {
    histogram->maximum = ticks;
  }
}

void gaps_turn_slow(gaps *g, uint64_t now, bool in_cycle);

// Ends a step. `phase` is the collector's: odd while a cycle is under way, and another number after a cycle that no step
// saw. A gap with a cycle at either end of it counts as a gap in a cycle.
static inline void gaps_step(gaps *g, unsigned phase) {
  uint64_t now = gaps_now();
  uint64_t gap = now > g->last ? now - g->last : 0;
  bool in_cycle = ((phase | g->last_phase) & 1) != 0 || phase != g->last_phase;
  g->last = now;
  g->last_phase = phase;
  gaps_histogram_add(&g->all, gap);
  if (in_cycle) {
    gaps_histogram_add(&g->in_cycle, gap);
    g->in_cycle_ticks += gap;
    g->slice_word |= GAPS_IN_CYCLE;
  }
  if (__builtin_expect(now >= g->slice_limit, 0)) {
    gaps_turn_slow(g, now, in_cycle);
  }
  g->slice_word++;
}

// Finds out how long a tick is; takes 50 ms. Once, before anything else here.
void gaps_calibrate(void);
double gaps_ticks_to_us(double ticks);

// False if there is no memory.
bool gaps_open(gaps *g);
void gaps_close(gaps *g);
void gaps_begin(gaps *g, unsigned phase);
void gaps_end(gaps *g);

// Adds `from` to `into`.
void gaps_histogram_merge(gaps_histogram *into, const gaps_histogram *from);

// Microseconds below which `share` of the gaps lie; 0 if there are none.
double gaps_histogram_at_us(const gaps_histogram *histogram, double share);
double gaps_histogram_max_us(const gaps_histogram *histogram);

// Writes lines "gap <us> <count>".
void gaps_histogram_write_detail(const gaps_histogram *histogram, FILE *file);

// Steps per millisecond while no cycle was under way: the median over windows of 1 ms. When there are too few such windows,
// what the best tenth of all windows reached.
double gaps_undisturbed_rate(const gaps *g);

// Steps made in the worst window of `window_ms` over those of an undisturbed one; 1 at most; -1 if the stretch is shorter than a window.
double gaps_mmu(const gaps *g, double window_ms);

// Share of the stretch spent in gaps that saw a cycle.
double gaps_in_cycle_share(const gaps *g);

// Writes what plots need: lines "gap <us> <count>", "mmu <ms> <share>", "rate <ms> <share of the undisturbed rate> <in cycle>".
void gaps_write_detail(const gaps *g, const gaps_histogram *all, FILE *file);

// Runs an empty loop for so many seconds and returns its largest gap: what the machine does to anybody.
double gaps_machine_max_us(double seconds);

#endif
