// SPDX-License-Identifier: MIT
// compress_cycle.c: the part `cycle`: how long full cycles take without a compressor, with one that has compressed nothing, and when it has compressed what sleeps; and what these had unpacked.

#include <stdlib.h>
#include "bench/compress.h"

enum { INTERVAL_MS = 400, INTERVALS_MOST = 250, IDLE_INTERVALS = 4, STEPS = 500 };

static int by_size(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

static double cycles_ms(void) {
  double *took = compress_memory(compress_now.cycles, sizeof *took);
  for (unsigned i = 0; i < compress_now.cycles; i++) {
    double from = compress_now_s();
    veil_collect(compress_self);
    took[i] = (compress_now_s() - from) * 1e3;
  }
  qsort(took, compress_now.cycles, sizeof *took, by_size);
  double median = took[compress_now.cycles / 2];
  free(took);
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
  double plain = cycles_ms();
  // No page becomes cold by itself within INTERVALS_MOST intervals.
  veil_compressor *c = compress_open(compress_now.speed, INTERVAL_MS, INTERVAL_MS, INTERVAL_MS * INTERVALS_MOST);
  if (c == NULL) {
    compress_fail("--part cycle", "not with --without");
  }
  used_for(1);
  double open = cycles_ms();
  used_for((IDLE_INTERVALS + 3) * INTERVAL_MS / 1e3);
  size_t pages = veil_compress_now(c, IDLE_INTERVALS * INTERVAL_MS);
  used_for(0.2);
  veil_compress_get_stats(c, &from);
  double compressed = cycles_ms();
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
  compress_json("cycle_plain_ms", plain);
  compress_json("cycle_open_ms", open);
  compress_json("cycle_ms", compressed);
  compress_json("cycle_x_resident", compressed / (plain * resident));
  compress_json("cycle_x_resident_open", compressed / (open * resident));
  compress_json("unpacked_in_cycles", (double)(to.unpacked_in_cycles - from.unpacked_in_cycles));
  compress_json("promoted", (double)(to.promoted - from.promoted));
  compress_json("original_after_mib", (double)to.original / (1 << 20));
  veil_compressor_close(c);
  compress_running->verify();
  compress_record_end();
}
