// SPDX-License-Identifier: MIT
// barriers.c: the same loops with compiled barriers, and without any on veil's heap: what each costs.
//
//   bench_barriers [--quick] [--back-end NAME] [--live MIB] [--rounds N]
//
// For each loop, share of steps that write, and size of the live data, `trials` are made in turn, so many rounds of
// them. Each starts from the same data and takes the same steps, so all see the same; the program ends if they do not.
// Then major cycles, which move everything. Prints one record per trial, with medians over the rounds. README.md
// defines each field.

#include "bench/barriers.h"
#include "bench/gaps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS_MOST = 64, EVERY_MOST = 3, LIVES_MOST = 3, SHARES_MOST = 4, TRIALS_MOST = VARIANTS + 2 + 2 * EVERY_MOST };
enum { CLEAN_CYCLES = 9, SEED = 1, SAMPLE = 61, SPOILED = 100, SWEPT = 48 << 20 };

typedef struct plan {
  const char *back_end;
  unsigned rounds;
  double live_mib[LIVES_MOST];
  double share[SHARES_MOST];
  unsigned every_us[EVERY_MOST]; // between cycles, in time of plain work
  unsigned trial_us; // a trial without cycles takes so long; one with cycles an interval at least, and check_us
  unsigned check_us; // of what all have in common
  unsigned cycle_rounds, long_rounds; // of trials with cycles, of those with the longest interval and of major cycles
  double major_share;                 // of the loops that run beside major cycles
} plan;

// Zeros end the lists.
static const plan plan_full = {.rounds = 5,
                               .live_mib = {4, 32, 256},
                               .share = {0.001, 0.01, 0.1, 0.5},
                               .every_us = {1000, 10000, 100000},
                               .trial_us = 5000,
                               .check_us = 2500,
                               .cycle_rounds = 3,
                               .long_rounds = 2,
                               .major_share = 0.1};
static const plan plan_quick = {.rounds = 2,
                                .live_mib = {4, 32},
                                .share = {0.01, 0.1},
                                .every_us = {1000, 10000},
                                .trial_us = 2000,
                                .check_us = 2000,
                                .cycle_rounds = 2,
                                .long_rounds = 1,
                                .major_share = 0.1};

typedef enum place { TWIN, TWIN_HUGE, HEAP } place;

typedef struct outcome {
  double ns, loop_ns;              // per step: with cycles, and of the loop alone
  double cycle_us, cycles, marked; // marked: cards or pages, per cycle
  uint64_t check;
} outcome;

typedef struct trial {
  const char *name;
  place place;
  variant variant;
  unsigned every_us; // 0: no cycles
  unsigned rounds;
  outcome outcome[ROUNDS_MOST];
} trial;

typedef struct pace {
  uint64_t steps, check_steps; // of a trial without cycles; of all
  double steps_per_us;         // of plain code
} pace;

// What runs now.
typedef struct bench {
  const plan *plan;
  double live_mib;
  twin twin, huge;
  double clean_us[2]; // a cycle when nothing was written: cards, veil
  const loop *loop;
  double share;
  uint32_t threshold;
  pace pace, major_pace[LOOPS]; // now; and when the loop ran with the share that runs beside major cycles
  trial trial[TRIALS_MOST];
  unsigned trials;
} bench;

static int compare_double(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *values, unsigned count) {
  qsort(values, count, sizeof values[0], compare_double);
  return count % 2 != 0 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static _Noreturn void wrong(const bench *b, const char *what) {
  fprintf(stderr, "barriers: %s, %g MiB, %g written: %s\n", b->loop->name, b->live_mib, b->share, what);
  exit(1);
}

// What the process has had of the processors, all its threads together: so neither a busy machine counts, nor is
// anything left out that veil does elsewhere.
static double cpu_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static const world *world_of(const bench *b, place place) {
  return place == HEAP ? &barriers_veil : place == TWIN ? &b->twin.world : &b->huge.world;
}

// ---- One trial.

// Those that were dirty, and those of blocks that are written in each cycle, which are not tracked.
static uint64_t pages_looked_at(void) {
  veil_stats s;
  veil_get_stats(barriers_heap, &s);
  return s.minor_scanned_pages;
}

static void cycle_run(const bench *b, place place, uint64_t *marked) {
  if (place == HEAP) {
    veil_collect_minor(barriers_self);
  } else {
    *marked += barriers_cards_scan(&b->twin);
  }
}

static walk walk_start(uint64_t seed, uint32_t threshold) {
  return (walk){.random = seed << 32, .bits = 0x5555555555555555, .threshold = threshold};
}

static void walk_undo(const bench *b, const world *w, uint64_t steps) {
  if (b->loop->undo != NULL) {
    walk k = walk_start(SEED, b->threshold);
    b->loop->undo(w, &k, steps);
  }
}

// Nothing is written since the last cycle, but where no cycles are wanted: there veil's pages are as they are between
// cycles, written. Then caches are made the same, whatever ran before: filled with the trial's own memory, and by other
// steps of the loop that only read.
static void trial_prepare(const bench *b, const trial *t, const world *w, uint64_t steps) {
  uint64_t marked = 0;
  if (t->every_us != 0) {
    cycle_run(b, t->place, &marked);
  } else if (t->place == HEAP && b->loop->writes) {
    walk k = walk_start(SEED, b->threshold);
    b->loop->run[PLAIN](w, &k, steps);
    walk_undo(b, w, steps);
  }
  barriers_sweep(w, SWEPT);
  walk k = walk_start(SEED + 1, 0);
  b->loop->run[PLAIN](w, &k, b->pace.check_steps);
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

static outcome trial_run(const bench *b, const trial *t) {
  const world *w = world_of(b, t->place);
  barriers_loop *run = b->loop->run[t->variant];
  uint64_t chunk = t->every_us != 0 ? (uint64_t)(t->every_us * b->pace.steps_per_us) + 1 : UINT64_MAX,
           steps = b->pace.steps;
  if (t->every_us != 0) {
    steps = (b->pace.check_steps + chunk - 1) / chunk * chunk; // the last step is followed by a cycle
  }
  trial_prepare(b, t, w, steps);
  outcome o = {0};
  walk k = walk_start(SEED, b->threshold);
  double loop_us = 0, cycle_us = 0;
  uint64_t marked = t->place == HEAP ? pages_looked_at() : 0, begun = marked;
  for (uint64_t done = 0, n; done < steps; done += n) {
    n = least(chunk - done % chunk, least(steps, done < b->pace.check_steps ? b->pace.check_steps : UINT64_MAX) - done);
    double start = cpu_us();
    run(w, &k, n);
    double stop = cpu_us();
    loop_us += stop - start;
    if (done + n == b->pace.check_steps) {
      o.check = k.check;
    }
    if ((done + n) % chunk == 0) {
      cycle_run(b, t->place, &marked);
      cycle_us += cpu_us() - stop;
      o.cycles++;
    }
  }
  walk_undo(b, w, steps);
  marked = (t->place == HEAP ? pages_looked_at() : marked) - begun;
  o.loop_ns = loop_us * 1e3 / (double)steps;
  o.ns = (loop_us + cycle_us) * 1e3 / (double)steps;
  if (o.cycles != 0) {
    o.cycle_us = cycle_us / o.cycles;
    o.marked = (double)marked / o.cycles;
  }
  return o;
}

// ---- Records.

static void number_write(const char *name, double value) { printf(", \"%s\": %.6g", name, value); }

static void record_begin(const bench *b, const char *name, bool veil, uint64_t check) {
  char back_end[64] = "";
  if (veil) {
    snprintf(back_end, sizeof back_end, "%s", veil_back_end(barriers_heap));
    back_end[strcspn(back_end, " :,;")] = 0;
  }
  printf("{\"workload\": \"barriers\", \"collector\": \"%s\", \"back_end\": \"%s\", \"threads\": 1, \"seed\": %d, "
         "\"loop\": \"%s\", "
         "\"variant\": \"%s\"",
         veil ? "veil" : "compiled", back_end, SEED, b->loop->name, name);
  number_write("live_mib", b->live_mib);
  number_write("write_share", b->share);
  printf(", \"steps\": %llu, \"check\": \"%016llx\"", (unsigned long long)b->pace.check_steps,
         (unsigned long long)check);
}

// The median over the rounds of what `figure` makes of a trial beside another one of the same round.
static double over_rounds(const trial *t, const trial *base, double (*figure)(const outcome *, const outcome *)) {
  double values[ROUNDS_MOST];
  for (unsigned r = 0; r < t->rounds; r++) {
    values[r] = figure(&t->outcome[r], &base->outcome[r]);
  }
  return median(values, t->rounds);
}

static double ns_of(const outcome *o, const outcome *base) { return o->ns; }
static double loop_ns_of(const outcome *o, const outcome *base) { return o->loop_ns; }
static double ratio_of(const outcome *o, const outcome *base) { return o->ns / base->ns; }
static double cycle_us_of(const outcome *o, const outcome *base) { return o->cycle_us; }
static double marked_of(const outcome *o, const outcome *base) { return o->marked; }
static double excess_ns_of(const outcome *o, const outcome *base) { return o->loop_ns - base->loop_ns; }

static void trial_write(const bench *b, const trial *t, const trial *plain, const trial *undisturbed) {
  bool veil = t->place == HEAP;
  record_begin(b, t->name, veil, t->outcome[0].check);
  number_write("cycle_every_us", t->every_us);
  number_write("ns_per_step", over_rounds(t, t, ns_of));
  number_write("loop_ns_per_step", over_rounds(t, t, loop_ns_of));
  number_write("ratio", over_rounds(t, plain, ratio_of));
  if (t->every_us != 0) {
    double marked = over_rounds(t, t, marked_of);
    number_write(veil ? "minor_cycles" : "card_cycles", t->outcome[0].cycles);
    number_write("cycle_us", over_rounds(t, t, cycle_us_of));
    number_write("cycle_clean_us", b->clean_us[veil]);
    number_write(veil ? "dirty_pages" : "dirty_cards", marked);
    if (veil && marked > t->every_us / 5.0) { // else it is a small difference of large numbers
      double excess_ns = over_rounds(t, undisturbed, excess_ns_of) * t->every_us * b->pace.steps_per_us;
      number_write("first_write_ns", excess_ns / marked);
    }
  }
  puts("}");
}

// ---- A loop with a share of steps that write.

static unsigned longest(const plan *p) {
  unsigned us = 0;
  for (int i = 0; i < EVERY_MOST; i++) {
    us = p->every_us[i] > us ? p->every_us[i] : us;
  }
  return us;
}

static trial *trial_add(bench *b, const char *name, place place, variant variant, unsigned every_us) {
  trial *t = &b->trial[b->trials++];
  *t = (trial){.name = name, .place = place, .variant = variant, .every_us = every_us};
  const plan *p = b->plan;
  t->rounds = (unsigned)least(p->rounds, every_us == 0           ? p->rounds
                                         : every_us < longest(p) ? p->cycle_rounds
                                                                 : p->long_rounds);
  return t;
}

// How fast plain code is.
static void pace_find(bench *b) {
  const world *w = &b->twin.world;
  double us = 0;
  b->pace.steps = 1024;
  for (uint64_t steps = 1024; us < b->plan->trial_us / 2.0; steps *= 2) {
    walk k = walk_start(SEED, b->threshold);
    double begun = cpu_us();
    b->loop->run[PLAIN](w, &k, steps);
    us = cpu_us() - begun;
    walk_undo(b, w, steps);
    b->pace.steps_per_us = (double)steps / us;
  }
  b->pace.steps = (uint64_t)(b->plan->trial_us * b->pace.steps_per_us) + 1;
  b->pace.check_steps = (uint64_t)(b->plan->check_us * b->pace.steps_per_us) + 1;
}

static void setting_select(bench *b, const loop *loop, double share) {
  b->loop = loop;
  b->share = loop->writes ? share : 0;
  b->threshold = (uint32_t)(b->share * 4294967296.0);
}

static void setting_measure(bench *b, const loop *loop, double share) {
  static const char *const names[VARIANTS] = {"plain", "card", "read", "both"};
  setting_select(b, loop, share);
  pace_find(b);
  if (!loop->writes || share == b->plan->major_share) {
    b->major_pace[loop - barriers_loops] = b->pace;
  }
  b->trials = 0;
  trial *plain = &b->trial[PLAIN];
  for (variant v = PLAIN; v < VARIANTS; v++) {
    trial_add(b, names[v], TWIN, v, 0);
  }
  trial_add(b, "plain_huge", TWIN_HUGE, PLAIN, 0);
  trial *undisturbed = trial_add(b, "veil", HEAP, PLAIN, 0);
  for (int i = 0; i < EVERY_MOST && b->plan->every_us[i] != 0; i++) {
    trial_add(b, "card", TWIN, CARD, b->plan->every_us[i]);
    trial_add(b, "veil", HEAP, PLAIN, b->plan->every_us[i]);
  }
  for (unsigned r = 0; r < b->plan->rounds; r++) {
    for (unsigned i = 0; i < b->trials; i++) {
      trial *t = &b->trial[(i * 7 + r * 3) % b->trials]; // 7 has no factor in common with their number, 10 or 12
      if (r < t->rounds) {
        t->outcome[r] = trial_run(b, t);
      }
    }
  }
  for (unsigned i = 0; i < b->trials; i++) {
    for (unsigned r = 0; r < b->trial[i].rounds; r++) {
      if (b->trial[i].outcome[r].check != plain->outcome[0].check) {
        wrong(b, "checksums differ");
      }
    }
    trial_write(b, &b->trial[i], plain, undisturbed);
  }
  if (!barriers_twin_agrees(&b->twin, SAMPLE)) {
    wrong(b, "veil's heap and its twin differ");
  }
  fflush(stdout);
}

// ---- Major cycles.

typedef struct major {
  double cost_us, cpu_us; // what the cycle takes from the loop, the flip included; and of the processors
  double cycle_us, traps, flip_us, ratio;
} major;

// The loop beside one cycle, then for as many steps without.
static major major_run(const bench *b, uint64_t *check) {
  const world *w = &barriers_veil;
  uint64_t steps = 0, chunk = (uint64_t)(50 * b->pace.steps_per_us) + 1;
  major m = {0};
  veil_stats s;
  walk k = walk_start(SEED, b->threshold);
  b->loop->run[PLAIN](w, &k, b->pace.steps);
  walk_undo(b, w, b->pace.steps);
  veil_reset_stats(barriers_heap);
  veil_get_stats(barriers_heap, &s);
  uint64_t traps = s.traps, begun = gaps_now(), ended = 0;
  double cpu_begun = cpu_us();
  k = walk_start(SEED, b->threshold);
  veil_collect_start(barriers_self);
  for (uint64_t n; steps < b->pace.check_steps || ended == 0; steps += n) {
    n = steps < b->pace.check_steps ? least(chunk, b->pace.check_steps - steps) : chunk;
    b->loop->run[PLAIN](w, &k, n);
    if (steps + n == b->pace.check_steps) {
      *check = k.check;
    }
    if (ended == 0 && !veil_collecting(barriers_heap)) {
      ended = gaps_now();
    }
  }
  double with_us = gaps_ticks_to_us((double)(gaps_now() - begun)), with_cpu_us = cpu_us() - cpu_begun;
  veil_get_stats(barriers_heap, &s);
  m.traps = (double)(s.traps - traps);
  m.flip_us = (double)s.flip_max_ns / 1e3;
  m.cycle_us = gaps_ticks_to_us((double)(ended - begun));
  walk_undo(b, w, steps);
  k = walk_start(SEED, b->threshold);
  begun = gaps_now();
  cpu_begun = cpu_us();
  for (uint64_t done = 0, n; done < steps; done += n) {
    n = least(chunk, steps - done);
    b->loop->run[PLAIN](w, &k, n);
  }
  double without_us = gaps_ticks_to_us((double)(gaps_now() - begun));
  m.cpu_us = with_cpu_us - (cpu_us() - cpu_begun);
  walk_undo(b, w, steps);
  m.cost_us = with_us - without_us;
  m.ratio = with_us / without_us;
  return m;
}

static void major_measure(bench *b, const loop *loop) {
  double cost[ROUNDS_MOST], cpu[ROUNDS_MOST], cycle[ROUNDS_MOST], traps[ROUNDS_MOST], flip[ROUNDS_MOST],
      ratio[ROUNDS_MOST];
  uint64_t check = 0, expected;
  setting_select(b, loop, b->plan->major_share);
  b->pace = b->major_pace[loop - barriers_loops];
  walk k = walk_start(SEED, b->threshold);
  loop->run[PLAIN](&b->twin.world, &k, b->pace.check_steps);
  walk_undo(b, &b->twin.world, b->pace.check_steps);
  expected = k.check;
  unsigned rounds = (unsigned)least(b->plan->rounds, b->plan->long_rounds);
  for (unsigned r = 0; r < rounds; r++) {
    major m = major_run(b, &check);
    if (check != expected) {
      wrong(b, "checksums differ beside a major cycle");
    }
    cost[r] = m.cost_us;
    cpu[r] = m.cpu_us;
    cycle[r] = m.cycle_us;
    traps[r] = m.traps;
    flip[r] = m.flip_us;
    ratio[r] = m.ratio;
  }
  record_begin(b, "veil_major", true, check);
  number_write("major_cost_us", median(cost, rounds));
  number_write("major_cpu_us", median(cpu, rounds));
  number_write("major_us", median(cycle, rounds));
  number_write("traps", median(traps, rounds));
  number_write("flip_us", median(flip, rounds));
  number_write("ratio_in_major", median(ratio, rounds));
  puts("}");
  fflush(stdout);
}

// ---- All of it.

static void clean_cycles_measure(bench *b) {
  double us[2][CLEAN_CYCLES];
  uint64_t marked = 0;
  cycle_run(b, HEAP, &marked);
  for (int i = 0; i < CLEAN_CYCLES; i++) {
    double begun = cpu_us();
    cycle_run(b, TWIN, &marked);
    double between = cpu_us();
    cycle_run(b, HEAP, &marked);
    us[0][i] = between - begun;
    us[1][i] = cpu_us() - between;
  }
  b->clean_us[0] = median(us[0], CLEAN_CYCLES);
  b->clean_us[1] = median(us[1], CLEAN_CYCLES);
}

// Both barriers do what they are for: the slow path is taken where it should be, and cards are marked.
static void barriers_try(bench *b) {
  world *w = &b->twin.world;
  b->loop = &barriers_loops[0];
  barriers_twin_spoil(&b->twin, SPOILED);
  walk k = walk_start(SEED, UINT32_MAX);
  b->loop->run[READ](w, &k, w->count);
  if (!barriers_twin_is_healed(&b->twin) || k.check != (uint64_t)w->count * (w->count - 1) / 2) {
    wrong(b, "the read barrier's slow path is not taken");
  }
  for (int l = 0; l < LOOPS; l++) {
    b->loop = &barriers_loops[l];
    barriers_cards_scan(&b->twin);
    b->threshold = UINT32_MAX;
    for (variant v = PLAIN; v < VARIANTS; v++) {
      k = walk_start(SEED, b->threshold);
      b->loop->run[v](w, &k, 1000);
      walk_undo(b, w, 1000);
      bool expected = b->loop->writes && (v == CARD || v == BOTH);
      if ((barriers_cards_scan(&b->twin) != 0) != expected) {
        wrong(b, "cards are not marked, or by what should not");
      }
    }
  }
}

static bool size_measure(const plan *p, double live_mib) {
  static bench b;
  b = (bench){.plan = p, .live_mib = live_mib};
  if (!barriers_heap_open(p->back_end)) {
    return false;
  }
  // A node with its header, its place in `all`, and a bucket for every second one, about.
  barriers_build((uint32_t)(live_mib * (1 << 20) / (sizeof(node) + 8 + 8 + 4)));
  if (!barriers_twin_open(&b.twin, false) || !barriers_twin_open(&b.huge, true)) {
    fputs("barriers: no memory\n", stderr);
    return false;
  }
  barriers_cards = b.twin.cards;
  barriers_try(&b);
  clean_cycles_measure(&b);
  for (int l = 0; l < LOOPS; l++) {
    for (int i = 0; i < (barriers_loops[l].writes ? SHARES_MOST : 1) && p->share[i] != 0; i++) {
      setting_measure(&b, &barriers_loops[l], p->share[i]);
    }
  }
  for (int l = 0; l < LOOPS; l++) { // last, because objects move: the twin is no longer laid out as they are
    if (barriers_loops[l].beside_major) {
      major_measure(&b, &barriers_loops[l]);
    }
  }
  barriers_twin_close(&b.twin);
  barriers_twin_close(&b.huge);
  barriers_heap_close();
  return true;
}

static double number_read(const char *name, const char *text, double lowest, double most) {
  char *end;
  double value = strtod(text, &end);
  if (end == text || *end != 0 || !(value >= lowest && value <= most)) {
    fprintf(stderr, "barriers: %s: '%s' is not a number in [%g, %g]\n", name, text, lowest, most);
    exit(2);
  }
  return value;
}

int main(int argc, char **argv) {
  plan p = plan_full;
  for (int i = 1; i < argc; i++) {
    p = strcmp(argv[i], "--quick") == 0 ? plan_quick : p;
  }
  for (int i = 1; i < argc; i++) {
    const char *value = i + 1 < argc ? argv[i + 1] : NULL;
    if (strcmp(argv[i], "--quick") == 0) {
      continue;
    } else if (strcmp(argv[i], "--back-end") == 0 && value != NULL) {
      p.back_end = value;
    } else if (strcmp(argv[i], "--live") == 0 && value != NULL) {
      memset(p.live_mib, 0, sizeof p.live_mib);
      p.live_mib[0] = number_read("--live", value, 1, 1 << 14);
    } else if (strcmp(argv[i], "--rounds") == 0 && value != NULL) {
      p.rounds = (unsigned)number_read("--rounds", value, 1, ROUNDS_MOST);
    } else {
      fprintf(stderr, "barriers: '%s'? Options: --quick, --back-end NAME, --live MIB, --rounds N\n", argv[i]);
      return 2;
    }
    i++;
  }
  gaps_calibrate();
  for (int i = 0; i < LIVES_MOST && p.live_mib[i] != 0; i++) {
    if (!size_measure(&p, p.live_mib[i])) {
      return 1;
    }
  }
  return 0;
}
