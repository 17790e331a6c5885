// SPDX-License-Identifier: MIT
// compress_cycle.c: the part `cycle`: how long full cycles take without a compressor, with one that has compressed nothing, and when it has compressed what sleeps; and what these had unpacked.

#include <stdlib.h>
#include "bench/compress.h"

enum { INTERVAL_MS = 400, INTERVALS_MOST = 250, IDLE_INTERVALS = 4, STEPS = 500 };

static int by_size(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

// Medians: of the time, and of what all threads computed.
typedef struct took {
  double ms, cpu_ms;
} took;

static double median_of(double *values, unsigned count) {
  qsort(values, count, sizeof *values, by_size);
  return values[count / 2];
}

static took cycles_take(void) {
  unsigned count = compress_now.cycles;
  double *ms = compress_memory(count, sizeof *ms), *cpu = compress_memory(count, sizeof *cpu);
  for (unsigned i = 0; i < count; i++) {
    double from = compress_now_s(), computed = compress_cpu_s();
    veil_collect(compress_self);
    ms[i] = (compress_now_s() - from) * 1e3;
    cpu[i] = (compress_cpu_s() - computed) * 1e3;
  }
  took median = {median_of(ms, count), median_of(cpu, count)};
  free(ms);
  free(cpu);
  return median;
}

static void used_for(double seconds) {
  for (double from = compress_now_s(); compress_now_s() - from < seconds;) {
    compress_running->steps(STEPS);
  }
}

void compress_cycle(void) {
  veil_compress_stats from = {0}, to = {0};
  used_for(1);
  took plain = cycles_take();
  // No page becomes cold by itself within INTERVALS_MOST intervals.
  veil_compressor *c = compress_open(compress_now.speed, INTERVAL_MS, INTERVAL_MS, INTERVAL_MS * INTERVALS_MOST);
  if (c == NULL) {
    compress_fail("--part cycle", "not with --without");
  }
  used_for(1);
  took open = cycles_take();
  used_for((IDLE_INTERVALS + 3) * INTERVAL_MS / 1e3);
  size_t pages = veil_compress_now(c, IDLE_INTERVALS * INTERVAL_MS);
  used_for(0.2);
  veil_compress_get_stats(c, &from);
  took compressed = cycles_take();
  veil_compress_get_stats(c, &to);
  double resident = from.in_use > 0 ? 1 - (double)from.original / (double)from.in_use : 1;
  compress_record_begin("veil");
  compress_json_text("prefer", compress_now.speed ? "speed" : "space");
  veil_stats s;
  veil_get_stats(compress_heap, &s);
  compress_json("live_mib", (double)s.live_bytes / (1 << 20));
  compress_json("pages", (double)pages);
  compress_json("unready", (double)to.unready);
  compress_json("unworthy", (double)to.unworthy);
  compress_json("compressed_share", 1 - resident);
  compress_json("cycles", compress_now.cycles);
  compress_json("cycle_plain_ms", plain.ms);
  compress_json("cycle_open_ms", open.ms);
  compress_json("cycle_ms", compressed.ms);
  compress_json("cycle_plain_cpu_ms", plain.cpu_ms);
  compress_json("cycle_open_cpu_ms", open.cpu_ms);
  compress_json("cycle_cpu_ms", compressed.cpu_ms);
  compress_json("cycle_x_resident", compressed.ms / (plain.ms * resident));
  compress_json("cycle_x_resident_open", compressed.ms / (open.ms * resident));
  compress_json("cycle_cpu_x_resident", compressed.cpu_ms / (plain.cpu_ms * resident));
  compress_json("cycle_cpu_x_resident_open", compressed.cpu_ms / (open.cpu_ms * resident));
  compress_json("unpacked_in_cycles", (double)(to.unpacked_in_cycles - from.unpacked_in_cycles));
  compress_json("promoted", (double)(to.promoted - from.promoted));
  compress_json("original_after_mib", (double)to.original / (1 << 20));
  veil_compressor_close(c);
  compress_running->verify();
  compress_record_end();
}
