// SPDX-License-Identifier: MIT
// compress_replay.c: the part `replay`: a program does what it does, without a compressor, with one, and without again; or the same three times without.
//
// Throughput, memory, promotions, and what the threads of the compressor take. Memory is compared after the heap has grown to what it needs between cycles, and after a full collection, or garbage would be what is told.

#include <math.h>
#include <stdlib.h>
#include "bench/compress.h"

enum { STEPS = 500, AGES = 256 };
#define LOOK_S 0.25

typedef struct stretch {
  double seconds, cpu_s;
  uint64_t steps;
} stretch;

static double per_second(stretch s) { return (double)s.steps / s.seconds; }

static void state_write(FILE *detail, veil_compressor *c, double at, double rate) {
  veil_compress_stats s = {0};
  if (detail != NULL && c != NULL) {
    veil_compress_get_stats(c, &s);
    fprintf(detail, "state %.2f %.2f %.2f %.3f %llu %.0f\n", at, (double)s.original / (1 << 20), (double)s.saved / (1 << 20), isfinite(s.threshold_s) ? s.threshold_s : -1,
            (unsigned long long)s.promoted, rate);
  }
}

// Runs the program for so long. With a compressor what there is goes to the detail file, `at` seconds being its beginning there.
static stretch stretch_run(double seconds, veil_compressor *c, double at) {
  FILE *detail = compress_detail();
  double begun = compress_now_s(), cpu = compress_cpu_s(), last = begun, looked = begun;
  uint64_t steps = 0, steps_looked = 0;
  while (last - begun < seconds) {
    compress_running->steps(STEPS);
    steps += STEPS;
    double now = compress_now_s();
    if (compress_running->drift != NULL) {
      compress_running->drift(now - last);
    }
    if (now - looked >= LOOK_S) {
      state_write(detail, c, at + now - begun, (double)(steps - steps_looked) / (now - looked));
      looked = now;
      steps_looked = steps;
    }
    last = now;
  }
  return (stretch){last - begun, compress_cpu_s() - cpu, steps};
}

// Garbage, until two cycles have begun for it, or much of it was born young: from then on the heap has as much memory for what is born between two cycles as it is going to have, with a compressor and without.
static void heap_fill(void) {
  enum { BYTES = 256, TURNS = 1000, MOST = 4 };
  veil_stats s;
  veil_get_stats(compress_heap, &s);
  uint64_t cycles = s.major_cycles, most = MOST * (uint64_t)s.live_bytes + (256 << 20);
  for (uint64_t born = 0; s.major_cycles < cycles + 2 && born < most; born += BYTES * TURNS) {
    for (unsigned i = 0; i < TURNS; i++) {
      veil_new_bytes(compress_self, BYTES);
    }
    veil_get_stats(compress_heap, &s);
  }
}

static double collected_mib(void) {
  heap_fill();
  veil_collect(compress_self);
  veil_collect(compress_self); // what referred to garbage from a block that was left in place is gone as well
  return compress_resident_mib();
}

// ---- By age: the lecture's figure 1.

typedef struct ages {
  uint64_t pages[AGES], touched[AGES];
  unsigned ms;
} ages;

static ages ages_now(veil_compressor *c) {
  ages a = {.ms = 0};
  a.ms = veil_compress_ages(c, a.pages, a.touched, AGES);
  return a;
}

static void ages_write(FILE *detail, const ages *from, const ages *to, double minutes, double working_set) {
  double pages = 0, touched = 0, all = 0;
  for (unsigned i = 0; i < AGES; i++) {
    all += (double)(to->pages[i] - from->pages[i]);
  }
  for (unsigned i = AGES; detail != NULL && all > 0 && i-- > 0;) { // lines from the greatest age down
    pages += (double)(to->pages[i] - from->pages[i]);
    touched += (double)(to->touched[i] - from->touched[i]);
    fprintf(detail, "age %.3f %.6f %.8f\n", i * (to->ms / 1e3), pages / all, working_set > 0 ? touched / minutes / working_set : 0);
  }
}

// ---- The record.

// Resident memory without a compressor and with it, in MiB.
typedef struct resident {
  double before, with;
} resident;

// What had been idle for longer than the threshold when memory was compared: bytes of what lived, wherever they lie; and pages on which nothing was used.
typedef struct idle {
  double bytes, pages;
} idle;

// To be asked when the compressor is closed: it looks at all objects. `at` is the moment meant, since when nothing was used.
static idle idle_now(double threshold_s, double at) {
  double since = threshold_s + compress_now_s() - at;
  return isfinite(threshold_s) ? (idle){compress_running->idle_bytes(since), compress_running->idle_pages(since)} : (idle){0};
}

static void stats_tell(const veil_compress_stats *s, double resident_saved_mib, idle i) {
  double mib = 1 << 20, original = (double)s->original, ratio = s->held > 0 ? original / (double)s->held : 0;
  static const char *const reasons[] = {"warming", "fixed", "past", "last", "least", "overdrawn"};
  compress_json("original_mib", original / mib);
  compress_json("held_mib", (double)s->held / mib);
  compress_json("packed_mib", (double)s->packed / mib);
  compress_json("ratio", ratio);
  compress_json("in_use_mib", (double)s->in_use / mib);
  compress_json("cold_mib", (double)s->cold / mib);
  compress_json("working_set_mib", (double)s->working_set / mib);
  compress_json("threshold_s", s->threshold_s);
  compress_json_text("reason", (size_t)s->reason < sizeof reasons / sizeof *reasons ? reasons[s->reason] : "?");
  compress_json("resident_saved_mib", resident_saved_mib);
  if (s->cold > 0 && ratio > 1) {
    compress_json("resident_saved_x_possible", resident_saved_mib / ((double)s->cold / mib * (1 - 1 / ratio)));
    compress_json("cold_compressed", original / (double)s->cold);
  }
  compress_json("idle_mib", i.bytes / mib);
  compress_json("idle_pages_mib", i.pages * COMPRESS_PAGE / mib);
  if (i.bytes > 0 && i.pages > 0) {
    compress_json("idle_bytes_compressed", original / i.bytes);
    compress_json("idle_compressed", original / (i.pages * COMPRESS_PAGE));
  }
}

static void work_tell(const veil_compress_stats *from, const veil_compress_stats *to, stretch with) {
  double minutes = with.seconds / 60, working = (double)to->working_set / COMPRESS_PAGE, promoted = (double)(to->promoted - from->promoted);
  double interval_s = compress_now.interval_ms > 0 ? compress_now.interval_ms / 1e3 : 10, sampler = (double)(to->sampler_ns - from->sampler_ns) / 1e9;
  compress_json("compressed", (double)(to->compressed - from->compressed));
  compress_json("promoted", promoted);
  compress_json("taken_back", (double)(to->taken_back - from->taken_back));
  compress_json("fetched", (double)(to->fetched - from->fetched));
  if (working > 0) {
    compress_json("promotions_per_minute", promoted / minutes / working);
  }
  compress_json("promotions_ten_minutes", to->promotions_per_minute);
  compress_json("unpack_p50_us", (double)to->promotion_p50_ns / 1e3);
  compress_json("unpack_p98_us", (double)to->promotion_p98_ns / 1e3);
  compress_json("sampler_cpu", sampler / with.seconds);
  compress_json("sampler_cpu_by_default", sampler / (with.seconds / interval_s) / 10); // a look each 10 s
  compress_json("packer_cpu", (double)(to->packer_ns - from->packer_ns) / 1e9 / with.seconds);
}

static void replay_tell(const stretch stretches[3], const veil_compress_stats *from, const veil_compress_stats *to, resident r, idle i, uint64_t cycles) {
  double around = (per_second(stretches[0]) + per_second(stretches[2])) / 2;
  compress_record_begin(to != NULL ? "veil" : "without");
  compress_json_text("prefer", compress_now.speed ? "speed" : "space");
  veil_stats s;
  veil_get_stats(compress_heap, &s);
  compress_json("live_mib", (double)s.live_bytes / (1 << 20));
  compress_json("interval_ms", compress_now.interval_ms > 0 ? compress_now.interval_ms : 10000);
  compress_json("least_ms", compress_now.least_ms > 0 ? compress_now.least_ms : 120000);
  compress_json("wall_s", stretches[1].seconds);
  compress_json("cpu_s", stretches[1].cpu_s);
  compress_json("steps_before", per_second(stretches[0]));
  compress_json("steps_with", per_second(stretches[1]));
  compress_json("steps_after", per_second(stretches[2]));
  compress_json("cost", 1 - per_second(stretches[1]) / around);
  compress_json("major_cycles", (double)cycles);
  compress_json("resident_before_mib", r.before);
  compress_json("resident_mib", r.with);
  if (to != NULL) {
    stats_tell(to, r.before - r.with, i);
    work_tell(from, to, stretches[1]);
  }
  char check[32];
  snprintf(check, sizeof check, "%016llx", (unsigned long long)compress_running->verify());
  compress_json_text("check", check);
  compress_record_end();
}

static uint64_t major_cycles(void) {
  veil_stats s;
  veil_get_stats(compress_heap, &s);
  return s.major_cycles;
}

void compress_replay(void) {
  const compress_options *o = &compress_now;
  veil_compress_stats from = {0}, to = {0};
  stretch stretches[3];
  ages *seen = compress_memory(2, sizeof *seen);
  resident r;
  idle i = {0};
  stretch_run(o->before_s / 4, NULL, 0); // caches, and the sizes that the heap chooses
  stretches[0] = stretch_run(o->before_s, NULL, 0);
  r.before = collected_mib();
  veil_compressor *c = compress_open(o->speed, o->interval_ms, o->least_ms, 0);
  stretch_run(o->warm_s, c, 0);
  uint64_t cycles = major_cycles();
  if (c != NULL) {
    veil_compress_get_stats(c, &from);
    seen[0] = ages_now(c);
  }
  stretches[1] = stretch_run(o->seconds, c, o->warm_s);
  double used_until = compress_now_s();
  cycles = major_cycles() - cycles;
  if (c != NULL) {
    veil_compress_get_stats(c, &to);
    seen[1] = ages_now(c);
    ages_write(compress_detail(), &seen[0], &seen[1], stretches[1].seconds / 60, (double)to.working_set / COMPRESS_PAGE);
    r.with = collected_mib();
    veil_compress_stats after = {0};
    veil_compress_get_stats(c, &after);
    to.original = after.original, to.packed = after.packed, to.held = after.held, to.saved = after.saved, to.in_use = after.in_use, to.cold = after.cold; // as of that moment
    veil_compressor_close(c);
    i = idle_now(to.threshold_s, used_until);
  } else {
    r.with = collected_mib();
  }
  stretch_run(o->before_s / 4, NULL, 0);
  stretches[2] = stretch_run(o->before_s, NULL, 0);
  replay_tell(stretches, &from, o->without ? NULL : &to, r, i, cycles);
  free(seen);
}
