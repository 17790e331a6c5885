// SPDX-License-Identifier: MIT
// sampler.h: memory held and traps over time, for plots.
//
// A thread of its own takes a sample every 10 ms of the measured phase. It is no mutator: no collector knows it. It runs only when
// a detail file is wanted; a sample costs some 20 us on whatever core is free.

#ifndef BENCH_SAMPLER_H
#define BENCH_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct sampler_sample {
  double held_mib; // memory of the process; a page that is mapped twice counts once
  uint64_t traps;  // since the process began; 0 where there are none
} sampler_sample;

// Fills a sample. Called in the sampler's thread.
typedef void sampler_fn(sampler_sample *sample);

// Begins to sample. False if no thread could be started: then there are no samples. One at a time; mutator 0.
bool sampler_begin(sampler_fn *fn);
// Takes a last sample and ends the thread. Does nothing if there is none. Mutator 0.
void sampler_end(void);

// Writes lines "sample <ms since the beginning> <MiB> <traps since the last sample>". After sampler_end.
void sampler_write_detail(FILE *file);

#endif
