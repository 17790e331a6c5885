// SPDX-License-Identifier: MIT
// libgc_common.c: collector.h for libgc, both ways. As many markers as libgc likes: one per core.

#include "bench/collector.h"

#include <stdlib.h>

static GC_word begun_cycles;
static bench_thread any_thread;

void bench_heap_open(const bench_heap_options *options) {
  if (options->cores != 0) { // It counts the machine's, not those that it may run on.
    char cores[16];
    snprintf(cores, sizeof cores, "%u", options->cores);
    setenv("GC_NPROCS", cores, 0);
  }
  GC_INIT();
  GC_start_mark_threads(); // By itself it does so with the second thread only.
  GC_set_warn_proc(GC_ignore_warn_proc); // It warns of large blocks.
  if (options->bytes != 0) {
    GC_set_max_heap_size(options->bytes);
    size_t held = GC_get_heap_size();
    if (options->bytes > held) {
      GC_expand_hp(options->bytes - held);
    }
  }
}

void bench_heap_close(void) {}

// The first thread is registered by GC_INIT, the others by GC_pthread_create.
bench_thread *bench_attach(void) { return &any_thread; }
void bench_detach(bench_thread *self) {}
int bench_thread_start(pthread_t *thread, void *(*run)(void *), void *arg) {
  return GC_pthread_create(thread, NULL, run, arg);
}
int bench_thread_join(pthread_t thread) { return GC_pthread_join(thread, NULL); }
void bench_roots_add(bench_thread *self, void *slots, size_t count) {} // It scans static memory anyway.
void bench_block_begin(bench_thread *self) {}
void bench_block_end(bench_thread *self) {}
void bench_collect(bench_thread *self) { GC_gcollect(); }
void bench_collect_start(bench_thread *self) { GC_gcollect(); }
const char *bench_back_end(void) { return ""; }
void bench_stats_begin(void) { begun_cycles = GC_get_gc_no(); }
double bench_peak_mib(void) { return bench_status_mib("VmHWM:"); }
void bench_sample(sampler_sample *sample) { *sample = (sampler_sample){bench_resident_mib(false), 0}; }
void bench_record_stats(FILE *file) {
  fprintf(file, ", \"major_cycles\": %llu", (unsigned long long)(GC_get_gc_no() - begun_cycles));
}
