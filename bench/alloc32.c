// SPDX-License-Identifier: MIT
// alloc32.c: what one small object costs, with next to nothing alive.
//
// A ring holds the last 256 objects; each new one replaces the oldest, which is freed where freeing is by hand. So
// memory is warm and collectors' cycles are short; what they cost is part of the figure. Three stretches, each after
// a warm-up of a tenth of it, in ns per object:
//
//   ns_per_object         32 bytes of payload, zeroed only if the allocator does that by itself (malloc does not)
//   ns_per_object_24      24 bytes of payload, likewise: with its header 32 bytes in veil
//   ns_per_object_zeroed  32 bytes of payload, zeroed by all
//
// A step is 128 objects.

#include "bench/harness.h"

enum { RING = 256, OBJECTS_PER_STEP = 128 };
enum { STEPS_DEFAULT = 400 * 1000 };

typedef struct small24 {
  struct small24 *a, *b;
  uint64_t value;
} small24;
BENCH_TYPE(small24, a, b);

typedef struct small32 {
  struct small32 *a, *b;
  uint64_t value, more;
} small32;
BENCH_TYPE(small32, a, b);

// One stretch; NEW is bench_new or bench_new_raw. A macro, because the type is a parameter and the loop must be inline.
#define STRETCH(NAME, T, NEW) \
  static double NAME(bench_mutator *m, void **ring, uint64_t steps, bool measured) { \
    uint64_t begun = gaps_now(), made = 0; \
    for (uint64_t s = 0; s < steps; s++) { \
      for (unsigned i = 0; i < OBJECTS_PER_STEP; i++) { \
        T *object = NEW(m->self, T); \
        object->value = made; \
        T *oldest = ring[made % RING]; \
        ring[made++ % RING] = object; \
        bench_free(oldest); \
      } \
      if (measured) { \
        bench_step(m); \
      } \
    } \
    double ns = gaps_ticks_to_us((double)(gaps_now() - begun)) * 1e3; \
    m->check = bench_check_add(m->check, ((T *)ring[0])->value); \
    return ns / (double)(steps * OBJECTS_PER_STEP); \
  }

STRETCH(stretch_raw, small32, bench_new_raw)
STRETCH(stretch_raw_24, small24, bench_new_raw)
STRETCH(stretch_zeroed, small32, bench_new)

static void ring_empty(void **ring) {
  for (unsigned i = 0; i < RING; i++) {
    bench_free(ring[i]);
    ring[i] = NULL;
  }
}

static void alloc32_run(bench_mutator *m) {
  uint64_t steps = m->options->steps != 0 ? m->options->steps : STEPS_DEFAULT;
  void **ring = bench_new_pointers(m->self, RING);
  static double (*const stretches[])(bench_mutator *, void **, uint64_t, bool) = {stretch_raw, stretch_raw_24,
                                                                                   stretch_zeroed};
  static const char *const names[] = {"ns_per_object", "ns_per_object_24", "ns_per_object_zeroed"};
  stretches[0](m, ring, steps / 10 + 1, false);
  bench_measure_begin(m);
  for (unsigned i = 0; i < sizeof stretches / sizeof stretches[0]; i++) {
    ring_empty(ring);
    stretches[i](m, ring, steps / 10 + 1, true);
    bench_figure(m, names[i], stretches[i](m, ring, steps, true));
  }
  bench_measure_end(m);
}

static double alloc32_live_mib(const bench_options *o) {
  return (RING * bench_cell(sizeof(small32)) + bench_cell(RING * sizeof(void *))) / (1 << 20);
}

const bench_workload bench_workloads[] = {
    {"alloc32", "allocation of small objects, nearly none alive (--steps)", alloc32_live_mib, alloc32_run},
    {NULL, NULL, NULL, NULL},
};
