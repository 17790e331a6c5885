// SPDX-License-Identifier: MIT
// manual_common.c: collector.h for allocators that free by hand: hardly anything to do.

#include "bench/collector.h"

static bench_thread any_thread;

void bench_heap_open(const bench_heap_options *options) {}
void bench_heap_close(void) {}
bench_thread *bench_attach(void) { return &any_thread; }
void bench_detach(bench_thread *self) {}
int bench_thread_start(pthread_t *thread, void *(*run)(void *), void *arg) {
  return pthread_create(thread, NULL, run, arg);
}
int bench_thread_join(pthread_t thread) { return pthread_join(thread, NULL); }
void bench_roots_add(bench_thread *self, void *slots, size_t count) {}
void bench_block_begin(bench_thread *self) {}
void bench_block_end(bench_thread *self) {}
void bench_collect(bench_thread *self) {}
void bench_collect_start(bench_thread *self) {}
const char *bench_back_end(void) { return ""; }
void bench_stats_begin(void) {}
double bench_peak_mib(void) { return bench_status_mib("VmHWM:"); }
void bench_sample(sampler_sample *sample) { *sample = (sampler_sample){bench_resident_mib(false), 0}; }
void bench_record_stats(FILE *file) {}
