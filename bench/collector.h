// SPDX-License-Identifier: MIT
// collector.h: what a workload asks of a collector, so that one source is built for each.
//
// BENCH_COLLECTOR_H (set by CMake) names the header with the inline half: collector_veil.h, collector_libgc.h,
// collector_libgc_plain.h, collector_malloc.h or collector_mimalloc.h. It defines
//
//   bench_thread                    what a mutator thread passes to each allocation
//   BENCH_TYPE(T, pointer, ...)     describes a struct with pointers, at file scope; up to 32 fields, slots of arrays one by one
//   BENCH_LEAF(T)                   a struct without pointers
//   BENCH_FREES                     1 if memory must be freed by hand, else 0
//   bench_new(self, T)              one zeroed T
//   bench_new_raw(self, T)          one T, zeroed or not: what the collector does without being asked
//   bench_new_pointers(self, n)     a zeroed array of n pointers
//   bench_new_bytes(self, n)        n bytes without pointers, zeroed
//   bench_new_bytes_raw(self, n)    the same, zeroed or not: what the collector does without being asked
//   bench_free(p)                   frees by hand; nothing where BENCH_FREES is 0
//   bench_phase()                   odd while a cycle is under way, changes when cycles pass; cheap
//
// The functions below are in the .c of the same name. None returns when memory is out: the process ends with BENCH_OUT_OF_MEMORY
// or by an abort of the collector's.

#ifndef BENCH_COLLECTOR_H_
#define BENCH_COLLECTOR_H_

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "bench/sampler.h"

enum { BENCH_USAGE = 2, BENCH_OUT_OF_MEMORY = 3 };

_Noreturn void bench_out_of_memory(void);

static inline void *bench_checked(void *p) {
  if (__builtin_expect(p == NULL, 0)) {
    bench_out_of_memory();
  }
  return p;
}

#include BENCH_COLLECTOR_H

// What to open; 0 or NULL leaves it to the collector.
typedef struct bench_heap_options {
  size_t bytes;         // the heap's size: a limit, and given from the start where the collector can
  const char *back_end; // veil only, as the two below
  size_t granule;
  unsigned scanners;
  unsigned cores;       // processors that the process may run on, if it was told so
} bench_heap_options;

extern const char bench_collector[]; // its name in records

// Opens the one heap of the process; on failure says why and exits with BENCH_USAGE.
void bench_heap_open(const bench_heap_options *options);
void bench_heap_close(void);

// Attaches the calling thread. A thread other than the first is started by bench_thread_start.
bench_thread *bench_attach(void);
void bench_detach(bench_thread *self);
int bench_thread_start(pthread_t *thread, void *(*run)(void *), void *arg);
int bench_thread_join(pthread_t thread);

// Says that `count` pointers in static memory are roots, until the process ends.
void bench_roots_add(bench_thread *self, void *slots, size_t count);

// Brackets a wait of an attached thread.
void bench_block_begin(bench_thread *self);
void bench_block_end(bench_thread *self);

// A full collection, complete when it returns. Nothing where BENCH_FREES is 1.
void bench_collect(bench_thread *self);
// Starts a cycle if none is under way; a collector that stops the world does all of it.
void bench_collect_start(bench_thread *self);

const char *bench_back_end(void);  // "" where there is none
void bench_stats_begin(void);      // counters in records are counted from here
double bench_peak_mib(void);       // memory held at most since the process began
void bench_sample(sampler_sample *sample); // memory held now. A thread that is no mutator
void bench_record_stats(FILE *file); // the collector's own fields, each as `, "name": value`

// The process' memory by the kernel's account, in MiB: a field of /proc/self/status such as "VmHWM:".
double bench_status_mib(const char *field);
// Now resident, in MiB, by /proc/self/statm: of anonymous memory alone, or of all of it.
double bench_resident_mib(bool anonymous);

#endif
