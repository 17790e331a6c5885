// SPDX-License-Identifier: MIT
// collector_veil.c: collector.h for veil.

#include "bench/collector.h"

#include <stdlib.h>

const char bench_collector[] = "veil";
veil_heap *bench_veil_heap;
static veil_stats begun; // counters when the measured phase began

void bench_heap_open(const bench_heap_options *options) {
  veil_options o = {0};
  o.limit = options->bytes;
  o.back_end = options->back_end;
  o.granule = options->granule;
  o.scanners = options->scanners;
  bench_veil_heap = veil_open(&o);
  if (bench_veil_heap == NULL) {
    fprintf(stderr, "veil_open: %s\n", veil_error());
    exit(BENCH_USAGE);
  }
}

void bench_heap_close(void) { veil_close(bench_veil_heap); }

bench_thread *bench_attach(void) {
  veil_thread *self = veil_attach(bench_veil_heap);
  if (self == NULL) {
    fprintf(stderr, "veil_attach: %s\n", veil_error());
    exit(BENCH_USAGE);
  }
  return self;
}

void bench_detach(bench_thread *self) { veil_detach(self); }

int bench_thread_start(pthread_t *thread, void *(*run)(void *), void *arg) {
  return pthread_create(thread, NULL, run, arg);
}
int bench_thread_join(pthread_t thread) { return pthread_join(thread, NULL); }

void bench_roots_add(bench_thread *self, void *slots, size_t count) {
  if (veil_add_roots(bench_veil_heap, slots, count) != VEIL_OK) {
    fprintf(stderr, "veil_add_roots: %s\n", veil_error());
    exit(BENCH_USAGE);
  }
}

void bench_block_begin(bench_thread *self) { veil_block_begin(self); }
void bench_block_end(bench_thread *self) { veil_block_end(self); }
void bench_collect(bench_thread *self) { veil_collect(self); }
void bench_collect_start(bench_thread *self) { veil_collect_start(self); }

// veil_back_end gives a name and a reason; the record wants the name.
const char *bench_back_end(void) {
  static char name[32];
  snprintf(name, sizeof name, "%s", veil_back_end(bench_veil_heap));
  for (char *c = name; *c != 0; c++) {
    if (*c == ' ' || *c == ':' || *c == ',' || *c == ';') {
      *c = 0;
      break;
    }
  }
  return name;
}

// The maxima leave the building of the data out; the peak of memory does not.
void bench_stats_begin(void) {
  veil_reset_stats(bench_veil_heap);
  veil_get_stats(bench_veil_heap, &begun);
}

// The heap's pages, each once however often it is mapped, and what the process holds besides.
double bench_peak_mib(void) {
  veil_stats s;
  veil_get_stats(bench_veil_heap, &s);
  return (double)s.held_max_bytes / (1 << 20) + bench_status_mib("RssAnon:");
}

void bench_sample(sampler_sample *sample) {
  veil_stats s;
  veil_get_stats(bench_veil_heap, &s);
  *sample = (sampler_sample){(double)s.held_bytes / (1 << 20) + bench_resident_mib(true), s.traps};
}

static void count(FILE *file, const char *name, uint64_t value) {
  fprintf(file, ", \"%s\": %llu", name, (unsigned long long)value);
}
static void number(FILE *file, const char *name, double value) { fprintf(file, ", \"%s\": %.6g", name, value); }

void bench_record_stats(FILE *file) {
  veil_stats s;
  veil_get_stats(bench_veil_heap, &s);
  count(file, "major_cycles", s.major_cycles - begun.major_cycles);
  count(file, "minor_cycles", s.minor_cycles - begun.minor_cycles);
  number(file, "flip_max_us", (double)s.flip_max_ns / 1e3);
  number(file, "flip_p50_us", (double)s.flip_p50_ns / 1e3);
  number(file, "minor_max_us", (double)s.minor_max_ns / 1e3);
  number(file, "minor_p50_us", (double)s.minor_p50_ns / 1e3);
  number(file, "minor_p99_us", (double)s.minor_p99_ns / 1e3);
  count(file, "traps", s.traps - begun.traps);
  number(file, "trap_p50_us", (double)s.trap_p50_ns / 1e3);
  number(file, "trap_p99_us", (double)s.trap_p99_ns / 1e3);
  number(file, "trap_max_us", (double)s.trap_max_ns / 1e3);
  count(file, "pages_scanned_trap", s.pages_scanned_trap - begun.pages_scanned_trap);
  count(file, "pages_scanned_background", s.pages_scanned_background - begun.pages_scanned_background);
  number(file, "veiled_ms_max", (double)s.veiled_max_ns / 1e6);
  count(file, "dirty_pages", s.minor_dirty_pages - begun.minor_dirty_pages);
  number(file, "promoted_mib", (double)(s.minor_promoted_bytes - begun.minor_promoted_bytes) / (1 << 20));
  number(file, "copied_mib", (double)(s.copied_bytes - begun.copied_bytes) / (1 << 20));
  number(file, "spared_mib", (double)(s.spared_bytes - begun.spared_bytes) / (1 << 20));
  number(file, "stall_ms", (double)(s.stall_ns - begun.stall_ns) / 1e6);
  count(file, "assists", s.assists - begun.assists);
  count(file, "kept_blocks", s.kept_blocks - begun.kept_blocks);
  number(file, "allocated_mib", (double)(s.allocated_bytes - begun.allocated_bytes) / (1 << 20));
}
