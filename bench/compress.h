// SPDX-License-Identifier: MIT
// compress.h: the parts of the program of the workload `compress`: its options, two programs with data to compress, the ways to compress them.
//
// compress_main.c reads options and runs a part: `replay` (compress_replay.c: a program with the compressor, or without), `pages` (compress_ways.c: the same pages by veil, by zram, by lz4 and zstd),
// `cycle` (compress_cycle.c: full cycles with half the heap compressed). compress_kv.c and compress_graph.c are the programs. One thread is the program's.

#ifndef BENCH_COMPRESS_H
#define BENCH_COMPRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <veil/compress.h>
#include <veil/veil.h>
#include "bench/gaps.h"

enum { COMPRESS_PAGE = 4096, COMPRESS_CANNOT = 77 };

typedef struct compress_options {
  const char *program, *part, *back_end, *detail;
  double live_mib, cold, drift, target;         // shares; drift: of the customers that are awake, per minute; target 0: the compressor's default
  double before_s, warm_s, seconds;             // of the replay: without a compressor before and after; with it, not measured; measured
  unsigned interval_ms, least_ms;               // 0: the compressor's defaults
  double sample_mib;                            // of pages that are compared
  unsigned cycles;                              // timed, of each kind
  bool speed, without, no_zram;
  uint64_t seed;
} compress_options;

// A program: data, and steps that use part of them.
typedef struct compress_program {
  const char *name;
  void (*build)(void);
  void (*steps)(unsigned count); // what it does all the time
  // Sets what has slept to awake and the other way round, as much as is due after so many seconds. May be NULL.
  void (*drift)(double seconds);
  // Bytes of what the program has not used for so many seconds.
  double (*idle_bytes)(double seconds);
  double (*idle_pages)(double seconds); // of COMPRESS_PAGE bytes, on which no object begins that was used since
  // Calls `note` with each object's address.
  void (*objects)(void (*note)(const void *object));
  // Reads everything, and ends the process if anything is not what was put there. A sum of what never changes.
  uint64_t (*verify)(void);
} compress_program;

extern const compress_program compress_kv, compress_graph;

// Constant once main has read and opened them.
extern compress_options compress_now;
extern const compress_program *compress_running;
extern veil_heap *compress_heap;
extern veil_thread *compress_self;

void compress_replay(void);
void compress_ways(void);
void compress_cycle(void);

// ---- compress_main.c: for all.

_Noreturn void compress_fail(const char *what, const char *why); // status 1
void *compress_memory(size_t count, size_t size);                // zeroed; ends the process if there is none
double compress_now_s(void);
double compress_cpu_s(void);
uint64_t compress_random(uint64_t *state);                       // SplitMix64
// MiB of memory: the heap's pages, each once, and what is anonymous, as a shelf is.
double compress_resident_mib(void);
// A compressor of the heap, as the options say; NULL with --without. `age_ms` as in its options.
veil_compressor *compress_open(bool speed, unsigned interval_ms, unsigned least_ms, unsigned age_ms);

// A record, one field after the other, and its end. Records begin with what ran.
void compress_record_begin(const char *collector);
void compress_json(const char *name, double value);
void compress_json_text(const char *name, const char *value);
void compress_record_end(void);
// The file for what plots need, or NULL.
FILE *compress_detail(void);

static inline uint64_t compress_mix(uint64_t a, uint64_t b) {
  uint64_t z = (a ^ b * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 29) * 0x94d049bb133111ebu;
  return z ^ z >> 32;
}

#endif
