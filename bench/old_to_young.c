// SPDX-License-Identifier: MIT
// old_to_young.c: a large old table into which every step stores a new object: the worst that generations can be asked.
//
// The table holds --live MiB of objects of two words. Each step makes one and puts it into a random place; what was there goes: it is part of the
// checksum, and is freed. There are two steps for each place of the table, unless --steps says otherwise. When the measured phase is over, all that
// the table holds is counted.
//
// A step is an object made, and one dropped.

#include "bench/harness.h"

enum { STEPS_PER_PLACE = 2, STEPS_LEAST = 100 * 1000 };

typedef struct item {
  struct item *other; // always NULL: what matters is that the object may hold a pointer
  uint64_t value;
} item;
BENCH_TYPE(item, other);

static uint32_t table_length(const bench_options *o) {
  double items = o->live_mib * (1 << 20) / (double)(bench_cell(sizeof(item)) + sizeof(item *));
  return items < 1 ? 1 : (uint32_t)items;
}

static double old_to_young_live_mib(const bench_options *o) {
  double length = table_length(o);
  return (length * bench_cell(sizeof(item)) + bench_cell((size_t)length * sizeof(item *))) / (1 << 20);
}

static inline item *item_new(bench_mutator *m, uint64_t value) {
  item *i = bench_new(m->self, item);
  i->value = value;
  return i;
}

static void old_to_young_run(bench_mutator *m) {
  uint32_t length = table_length(m->options);
  item **table = (item **)bench_new_pointers(m->self, length);
  for (uint32_t i = 0; i < length; i++) {
    table[i] = item_new(m, i);
  }
  uint64_t steps = m->options->steps;
  if (steps == 0) {
    steps = (uint64_t)length * STEPS_PER_PLACE;
    steps = steps < STEPS_LEAST ? STEPS_LEAST : steps;
  }
  bench_measure_begin(m);
  for (uint64_t s = 0; s < steps; s++) {
    uint64_t random = bench_random(&m->random);
    item **place = &table[((random >> 32) * length) >> 32];
    item *dropped = *place;
    *place = item_new(m, length + s);
    m->check = bench_check_add(m->check, dropped->value);
    bench_free(dropped);
    bench_step(m);
  }
  bench_measure_end(m);
  for (uint32_t i = 0; i < length; i++) {
    m->check = bench_check_add(m->check, table[i]->value);
    bench_free(table[i]);
  }
  bench_free(table);
}

const bench_workload bench_workloads[] = {
    {"old_to_young", "new objects stored into random places of a large old table (--live, --steps)", old_to_young_live_mib, old_to_young_run},
    {NULL, NULL, NULL, NULL},
};
