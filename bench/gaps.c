// SPDX-License-Identifier: MIT
// gaps.c: evaluates what gaps.h collects. Nothing here runs between two steps but gaps_turn_slow, once per 100 us.

#include "bench/gaps.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static double ticks_per_us = 1000; // constant after gaps_calibrate

static double seconds_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void gaps_calibrate(void) {
  double begun = seconds_now();
  uint64_t begun_ticks = gaps_now();
  double elapsed;
  do {
    elapsed = seconds_now() - begun;
  } while (elapsed < 0.05);
  ticks_per_us = (double)(gaps_now() - begun_ticks) / (elapsed * 1e6);
}

double gaps_ticks_to_us(double ticks) { return ticks / ticks_per_us; }

bool gaps_open(gaps *g) {
  *g = (gaps){.slice_ticks = (uint64_t)(GAPS_SLICE_US * ticks_per_us)};
  g->slice = mmap(NULL, GAPS_SLICES * sizeof *g->slice, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return g->slice != MAP_FAILED;
}

void gaps_close(gaps *g) { munmap(g->slice, GAPS_SLICES * sizeof *g->slice); }

void gaps_begin(gaps *g, unsigned phase) {
  g->last_phase = phase;
  g->begun = g->last = gaps_now();
  g->slice_limit = g->begun + g->slice_ticks;
}

void gaps_end(gaps *g) { g->ended = g->last; }

// Puts the slices that ended away: the current one, and empty ones if the step was longer than a slice.
void gaps_turn_slow(gaps *g, uint64_t now, bool in_cycle) {
  uint32_t word = g->slice_word;
  uint64_t turns = 0;
  while (now >= g->slice_limit) {
    if (g->slices < GAPS_SLICES) {
      g->slice[g->slices++] = word;
    }
    word = in_cycle ? GAPS_IN_CYCLE : 0;
    g->slice_limit += g->slice_ticks;
    turns++;
  }
  g->slice_word = word;
  if (turns > 16) {
    g->last = gaps_now(); // The next gap is not to pay for this loop.
  }
}

void gaps_histogram_merge(gaps_histogram *into, const gaps_histogram *from) {
  for (unsigned i = 0; i < GAPS_SLOTS; i++) {
    into->count[i] += from->count[i];
  }
  into->total += from->total;
  if (from->maximum > into->maximum) {
    into->maximum = from->maximum;
  }
}

// The middle of a slot, in ticks.
static double slot_middle(unsigned slot) {
  if (slot < GAPS_SUBS) {
    return slot;
  }
  unsigned shift = (slot >> GAPS_SUB_BITS) - 1;
  return ((double)(GAPS_SUBS + (slot & (GAPS_SUBS - 1))) + 0.5) * (double)(1ull << shift);
}

double gaps_histogram_at_us(const gaps_histogram *histogram, double share) {
  double wanted = share * (double)histogram->total;
  uint64_t seen = 0;
  for (unsigned i = 0; i < GAPS_SLOTS; i++) {
    seen += histogram->count[i];
    if (histogram->count[i] != 0 && (double)seen >= wanted) {
      double middle = slot_middle(i);
      return gaps_ticks_to_us(middle < (double)histogram->maximum ? middle : (double)histogram->maximum);
    }
  }
  return 0;
}

double gaps_histogram_max_us(const gaps_histogram *histogram) { return gaps_ticks_to_us((double)histogram->maximum); }

static int compare_u32(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

double gaps_undisturbed_rate(const gaps *g) {
  enum { SLICES_PER_MS = 1000 / GAPS_SLICE_US, ENOUGH = 100 };
  size_t windows = g->slices / SLICES_PER_MS;
  if (windows == 0) {
    return 0;
  }
  uint32_t *quiet = malloc(2 * windows * sizeof *quiet), *every = quiet + windows;
  if (quiet == NULL) {
    return 0;
  }
  size_t quiet_count = 0;
  for (size_t w = 0; w < windows; w++) {
    uint32_t steps = 0, flags = 0;
    for (size_t i = w * SLICES_PER_MS; i < (w + 1) * SLICES_PER_MS; i++) {
      steps += g->slice[i] & ~GAPS_IN_CYCLE;
      flags |= g->slice[i] & GAPS_IN_CYCLE;
    }
    every[w] = steps;
    if (flags == 0) {
      quiet[quiet_count++] = steps;
    }
  }
  double rate;
  if (quiet_count >= ENOUGH) {
    qsort(quiet, quiet_count, sizeof *quiet, compare_u32);
    rate = quiet[quiet_count / 2];
  } else {
    qsort(every, windows, sizeof *every, compare_u32);
    rate = every[windows * 9 / 10];
  }
  free(quiet);
  return rate;
}

double gaps_mmu(const gaps *g, double window_ms) {
  size_t window = (size_t)(window_ms * 1000 / GAPS_SLICE_US + 0.5);
  double rate = gaps_undisturbed_rate(g);
  if (g->slices < window || window == 0 || rate == 0) {
    return -1;
  }
  uint64_t steps = 0, worst = UINT64_MAX;
  for (size_t i = 0; i < g->slices; i++) {
    steps += g->slice[i] & ~GAPS_IN_CYCLE;
    if (i >= window) {
      steps -= g->slice[i - window] & ~GAPS_IN_CYCLE;
    }
    if (i + 1 >= window && steps < worst) {
      worst = steps;
    }
  }
  double share = (double)worst / (rate * window_ms);
  return share < 1 ? share : 1;
}

double gaps_in_cycle_share(const gaps *g) {
  return g->ended > g->begun ? (double)g->in_cycle_ticks / (double)(g->ended - g->begun) : 0;
}

void gaps_histogram_write_detail(const gaps_histogram *histogram, FILE *file) {
  for (unsigned i = 0; i < GAPS_SLOTS; i++) {
    if (histogram->count[i] != 0) {
      fprintf(file, "gap %.4f %llu\n", gaps_ticks_to_us(slot_middle(i)), (unsigned long long)histogram->count[i]);
    }
  }
}

void gaps_write_detail(const gaps *g, const gaps_histogram *all, FILE *file) {
  gaps_histogram_write_detail(all, file);
  static const double windows[] = {0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000};
  for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
    double share = gaps_mmu(g, windows[i]);
    if (share >= 0) {
      fprintf(file, "mmu %g %.5f\n", windows[i], share);
    }
  }
  // One line per millisecond, fewer when the stretch is long.
  double rate = gaps_undisturbed_rate(g);
  size_t group = 1000 / GAPS_SLICE_US;
  while (g->slices / group > 20000) {
    group *= 2;
  }
  for (size_t i = 0; rate > 0 && i + group <= g->slices; i += group) {
    uint64_t steps = 0;
    bool in_cycle = false;
    for (size_t k = i; k < i + group; k++) {
      steps += g->slice[k] & ~GAPS_IN_CYCLE;
      in_cycle |= (g->slice[k] & GAPS_IN_CYCLE) != 0;
    }
    double ms = (double)group * GAPS_SLICE_US / 1000;
    fprintf(file, "rate %.1f %.4f %d\n", (double)i * GAPS_SLICE_US / 1000, (double)steps / (rate * ms), in_cycle);
  }
}

double gaps_machine_max_us(double seconds) {
  uint64_t last = gaps_now(), largest = 0;
  uint64_t limit = last + (uint64_t)(seconds * 1e6 * ticks_per_us);
  while (last < limit) {
    uint64_t now = gaps_now();
    if (now > last && now - last > largest) {
      largest = now - last;
    }
    last = now;
  }
  return gaps_ticks_to_us((double)largest);
}
