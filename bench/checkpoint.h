// SPDX-License-Identifier: MIT
// checkpoint.h: the workload `checkpoint`: records that a thread reads and writes while they are saved. checkpoint_load.c has the load and the clock;
// checkpoint_veil.c and checkpoint_fork.c hold the records and save them.
//
// Three steps of four read a record, the fourth writes one; nine of ten go to a tenth of the records.

#ifndef BENCH_CHECKPOINT_H
#define BENCH_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RECORD_WORDS = 31, SLICE_MS = 10, SLICES = 1 << 15 };
typedef struct record {
  struct record *next; // the record made before
  uint64_t word[RECORD_WORDS];
} record;

typedef struct load_options {
  double live_mib;
  double seconds; // before and after a checkpoint
  unsigned increments, restores;
  const char *file, *back_end, *detail;
  uint64_t seed;
  bool open; // only restore the file and look at it
} load_options;
extern load_options load_now;

// Reads the command line; leaves with status 2 if something is wrong.
void load_options_read(int argc, char **argv);

// From the next steps on, writes go to so many records only, which lie as far apart as can be. 0: to any, as at the beginning. Any thread.
void load_writes(uint64_t records);
// The mutator's. `table` is the first root: it may be changed by a collector between two calls.
void load_fill(record *r, uint64_t number); // a new record gets its contents
void load_steps(record **table, uint64_t count, unsigned steps);
uint64_t load_sum(record **table, uint64_t count); // of all contents

// The clock: counts of steps, by slices of SLICE_MS from load_clock_begin on. One mutator counts, any thread reads.
double load_now_s(void);
void load_clock_begin(void);
void load_count(unsigned steps);
uint64_t load_counted(void);
double load_gap_us(bool reset); // the longest time between two calls of load_count

// What was seen, as one JSON object; `load_mark` also notes when it was, for plots.
void load_json(const char *name, double value);
void load_json_text(const char *name, const char *value);
void load_mark(const char *name);
void load_finish(void); // prints the object, and writes the detail file

double load_anonymous_mib(void);

#endif
