// SPDX-License-Identifier: MIT
// checkpoint_load.c: see checkpoint.h.

#include "bench/checkpoint.h"

#include <getopt.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

load_options load_now = {.live_mib = 1024, .seconds = 2, .increments = 3, .restores = 1, .seed = 1};

static _Noreturn void wrong(const char *what, const char *value) {
  fprintf(stderr, "%s: '%s'\noptions: --live MIB --seconds S --increments N --restores N --seed N --file PATH --back-end NAME --detail FILE --open\n", what, value);
  exit(2);
}

static double number(const char *name, const char *text, double least, double most) {
  char *end;
  double value = strtod(text, &end);
  if (end == text || *end != 0 || !(value >= least && value <= most)) {
    wrong(name, text);
  }
  return value;
}

void load_options_read(int argc, char **argv) {
  enum { LIVE, SECONDS, INCREMENTS, RESTORES, SEED, FILE_, BACK_END, DETAIL, OPEN };
  static const struct option known[] = {{"live", 1, NULL, LIVE},   {"seconds", 1, NULL, SECONDS},   {"increments", 1, NULL, INCREMENTS}, {"restores", 1, NULL, RESTORES},
                                        {"seed", 1, NULL, SEED},   {"file", 1, NULL, FILE_},        {"back-end", 1, NULL, BACK_END},     {"detail", 1, NULL, DETAIL},
                                        {"open", 0, NULL, OPEN},   {NULL, 0, NULL, 0}};
  load_options *o = &load_now;
  for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
    switch (option) {
    case LIVE: o->live_mib = number("--live", optarg, 1, 1 << 20); break;
    case SECONDS: o->seconds = number("--seconds", optarg, 0.1, 1000); break;
    case INCREMENTS: o->increments = (unsigned)number("--increments", optarg, 0, 1000); break;
    case RESTORES: o->restores = (unsigned)number("--restores", optarg, 0, 1000); break;
    case SEED: o->seed = (uint64_t)number("--seed", optarg, 0, 1e15); break;
    case FILE_: o->file = optarg; break;
    case BACK_END: o->back_end = optarg; break;
    case DETAIL: o->detail = optarg; break;
    case OPEN: o->open = true; break;
    default: wrong("no such option", argv[optind - 1]);
    }
  }
  if (optind < argc) {
    wrong("no such option", argv[optind]);
  }
  if (o->file == NULL) {
    wrong("--file is missing", "");
  }
}

// ---- The load.

static uint64_t state;

static uint64_t next_random(void) { // Steele, Lea and Flood's SplitMix64 (OOPSLA 2014)
  uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

void load_fill(record *r, uint64_t count) {
  uint64_t saved = state;
  state = count * 0x2545f4914f6cdd1du + load_now.seed;
  for (int i = 0; i < RECORD_WORDS; i++) {
    r->word[i] = next_random();
  }
  state = saved;
}

static _Atomic uint64_t written_records;

void load_writes(uint64_t records) { atomic_store(&written_records, records); }

void load_steps(record **table, uint64_t count, unsigned steps) {
  uint64_t sum = 0, few = atomic_load_explicit(&written_records, memory_order_relaxed), apart = few > 0 ? count / few : 0;
  for (unsigned i = 0; i < steps; i++) {
    uint64_t dice = next_random(), most = dice % 10 != 0 ? count / 10 : count;
    record *r = table[(dice >> 8) % (most > 0 ? most : 1)];
    unsigned word = (unsigned)(dice >> 4) % (RECORD_WORDS - 8);
    if (dice >> 62 == 3) {
      if (few > 0) {
        r = table[(dice >> 8) % few * apart];
      }
      r->word[word] = dice + sum;
    } else {
      for (int k = 0; k < 8; k++) {
        sum += r->word[word + k];
      }
    }
  }
  __asm__ volatile("" ::"r"(sum)); // what was read counts
}

uint64_t load_sum(record **table, uint64_t count) {
  uint64_t sum = 0;
  for (uint64_t i = 0; i < count; i++) {
    for (int k = 0; k < RECORD_WORDS; k++) {
      sum = (sum ^ table[i]->word[k]) * 0x9fb21c651e98df25u + (sum >> 47);
    }
  }
  return sum;
}

// ---- The clock.

static uint32_t slices[SLICES]; // the mutator's, until it has ended
static double begun, last;      // the mutator's, but that load_clock_begin comes first
static _Atomic uint64_t counted;
static _Atomic double gap;

double load_now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void load_clock_begin(void) {
  begun = load_now_s();
  last = 0;
}

void load_count(unsigned steps) {
  double now = load_now_s();
  size_t slice = (size_t)((now - begun) * 1e3 / SLICE_MS);
  if (slice < SLICES) {
    slices[slice] += steps;
  }
  if (last != 0 && now - last > atomic_load_explicit(&gap, memory_order_relaxed)) {
    atomic_store_explicit(&gap, now - last, memory_order_relaxed);
  }
  last = now;
  atomic_store_explicit(&counted, atomic_load_explicit(&counted, memory_order_relaxed) + steps, memory_order_relaxed);
}

uint64_t load_counted(void) { return atomic_load(&counted); }

double load_gap_us(bool reset) {
  double us = atomic_load(&gap) * 1e6;
  if (reset) {
    atomic_store(&gap, 0); // one that is being noted now may be lost: it belongs to neither side
  }
  return us;
}

// ---- What was seen.

static char json[8192];
static size_t used;
static struct { const char *name; double at; } marks[64];
static unsigned mark_count;

void load_json(const char *name, double value) {
  used += (size_t)snprintf(json + used, sizeof json - used, "%s\"%s\": %.9g", used > 0 ? ", " : "", name, value);
}
void load_json_text(const char *name, const char *value) {
  used += (size_t)snprintf(json + used, sizeof json - used, "%s\"%s\": \"%s\"", used > 0 ? ", " : "", name, value);
}
void load_mark(const char *name) {
  if (mark_count < sizeof marks / sizeof *marks) {
    marks[mark_count].name = name;
    marks[mark_count++].at = load_now_s() - begun;
  }
}

void load_finish(void) {
  printf("{%s}\n", json);
  FILE *file = load_now.detail != NULL ? fopen(load_now.detail, "w") : NULL;
  if (file == NULL) {
    return;
  }
  for (unsigned i = 0; i < mark_count; i++) {
    fprintf(file, "mark %.3f %s\n", marks[i].at * 1e3, marks[i].name);
  }
  for (unsigned i = 0; i < SLICES && i * SLICE_MS < (load_now_s() - begun) * 1e3; i++) {
    fprintf(file, "work %d %.0f\n", i * SLICE_MS, slices[i] * (1e3 / SLICE_MS));
  }
  fclose(file);
}

double load_anonymous_mib(void) {
  unsigned long long size, resident = 0, shared = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file != NULL) {
    if (fscanf(file, "%llu %llu %llu", &size, &resident, &shared) != 3) {
      resident = shared = 0;
    }
    fclose(file);
  }
  return (double)(resident - shared) * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}
