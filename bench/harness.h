// SPDX-License-Identifier: MIT
// harness.h: what all workloads share: their options, mutator threads, the measured phase, the record.
//
// A workload is one .c file that defines bench_workloads and a function that runs in each mutator thread. harness.c has main.

#ifndef BENCH_HARNESS_H
#define BENCH_HARNESS_H

#include "bench/collector.h"
#include "bench/gaps.h"

typedef struct bench_options {
  const char *workload;   // its name in the record
  double live_mib;        // wanted of each mutator, where a workload has that choice
  unsigned scale;         // likewise
  uint64_t steps;         // 0: the workload's default
  unsigned threads;       // mutators
  unsigned cores;         // processors for the whole process; 0: as it was started
  unsigned depth;         // of trees, where a workload has that choice; 0: the workload's default
  uint64_t seed;
  double heap_mib;        // 0: as the collector likes; else the size
  double heap_factor;     // of the live data; 0: none
  const char *back_end;   // veil only, as the two below
  unsigned granule_kib, scanners;
  double idle_seconds;    // how long the empty loop runs at most, before and after
  const char *detail;     // a file for what plots need, or NULL
} bench_options;

enum { BENCH_FIGURES = 8 };

// One mutator thread.
typedef struct bench_mutator {
  const bench_options *options; // constant
  unsigned index;               // constant
  bench_thread *self;           // constant after attaching
  uint64_t random;              // the state of bench_random; seeded by options->seed and index
  uint64_t check;               // checksum of the result, equal for all collectors
  const char *figure_name[BENCH_FIGURES]; // a workload's own figures; mutator 0's go to the record
  double figure[BENCH_FIGURES];
  pthread_t thread;
  gaps gaps;
} bench_mutator;

typedef struct bench_workload {
  const char *name;
  const char *what;                           // one line
  double (*live_mib)(const bench_options *options); // of one mutator
  void (*run)(bench_mutator *m);              // calls bench_measure_begin and bench_measure_end once each
} bench_workload;

// Ends with a NULL name. Defined by the workload's file.
extern const bench_workload bench_workloads[];

// The measured phase of all mutators begins and ends together.
void bench_measure_begin(bench_mutator *m);
void bench_measure_end(bench_mutator *m);

// Ends the process because what came out is wrong, which it says. Status 1.
_Noreturn void bench_wrong(const char *what);

// Adds a field to the record.
void bench_figure(bench_mutator *m, const char *name, double value);

// Overwrites dead stack, so that no ambiguous root is left there.
void bench_clear_stack(void);

static inline void bench_step(bench_mutator *m) { gaps_step(&m->gaps, bench_phase()); }

// Bytes that an object of `size` bytes takes, with one word beside it, in units of 16: so it is in veil and in glibc.
static inline double bench_cell(size_t size) { return (double)((size + 8 + 15) & ~(size_t)15); }

// Steele, Lea and Flood's SplitMix64 (OOPSLA 2014), from its published definition.
static inline uint64_t bench_random(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// A number in [0, limit), by multiplication; limit below 2^32.
static inline uint32_t bench_random_below(uint64_t *state, uint32_t limit) {
  return (uint32_t)(((bench_random(state) >> 32) * limit) >> 32);
}

// Takes a value into a checksum that depends on the order.
static inline uint64_t bench_check_add(uint64_t check, uint64_t value) {
  return (check ^ value) * 0x9fb21c651e98df25u + (check >> 47);
}

#endif
