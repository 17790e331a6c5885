// SPDX-License-Identifier: MIT
// histogram.c: figures: a log-linear histogram of nanoseconds, and the clock.
//
// Neighbours: trap.c fills one per region, runtime/ reads them. Any thread, signal handlers too.
// Source: Gil Tene's HdrHistogram; with 32 sub-buckets per power of two the error is under 3.2 %.

#include "vm/vm.h"

#include <time.h>

enum { SUB_SHIFT = 5, SUB = 1 << SUB_SHIFT, BUCKETS = 40 * SUB };

static size_t bucket_of(uint64_t ns) {
  if (ns < SUB) {
    return (size_t)ns;
  }
  unsigned power = 63 - (unsigned)__builtin_clzll(ns);
  size_t bucket = (size_t)(power - SUB_SHIFT + 1) * SUB + ((ns >> (power - SUB_SHIFT)) & (SUB - 1));
  return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

// The largest value that falls into the bucket.
static uint64_t bucket_value(size_t bucket) {
  if (bucket < SUB) {
    return bucket;
  }
  unsigned shift = (unsigned)(bucket / SUB) - 1;
  return ((uint64_t)(SUB + bucket % SUB + 1) << shift) - 1;
}

void vm_histogram_add(vm_histogram *histogram, uint64_t ns) { at32_add(&histogram->bucket[bucket_of(ns)], 1); }

uint64_t vm_histogram_at(const vm_histogram *histogram, double share) {
  uint64_t total = 0;
  for (size_t i = 0; i < BUCKETS; i++) {
    total += at32_load(&histogram->bucket[i]);
  }
  if (total == 0) {
    return 0;
  }
  uint64_t rank = (uint64_t)((double)total * share), seen = 0;
  rank = rank == 0 ? 1 : rank > total ? total : rank;
  for (size_t i = 0; i < BUCKETS; i++) {
    seen += at32_load(&histogram->bucket[i]);
    if (seen >= rank) {
      return bucket_value(i);
    }
  }
  return bucket_value(BUCKETS - 1);
}

static uint64_t clock_read(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// The vDSO reads the time stamp counter: some 20 ns, no system call, and safe in handlers.
uint64_t vm_now(void) { return clock_read(CLOCK_MONOTONIC); }

uint64_t vm_spent(void) { return clock_read(CLOCK_THREAD_CPUTIME_ID); }
