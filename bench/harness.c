// SPDX-License-Identifier: MIT
// harness.c: main of every workload: reads options, runs the mutators, prints one JSON record.
//
// Mutator 0 runs in the first thread, so that a program of one thread stays one. The record goes to
// stdout, complaints to stderr. Exit status: 0, BENCH_USAGE, BENCH_OUT_OF_MEMORY.

#include "bench/harness.h"

#include "bench/sampler.h"

#include <getopt.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static pthread_barrier_t barrier;
// Written by mutator 0 between two barriers.
static double wall_begun, wall_ended, cpu_begun, cpu_ended;

void bench_out_of_memory(void) {
  fputs("out of memory\n", stderr);
  _Exit(BENCH_OUT_OF_MEMORY);
}

double bench_status_mib(const char *field) {
  FILE *file = fopen("/proc/self/status", "r");
  char line[256];
  double kib = 0;
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    if (strncmp(line, field, strlen(field)) == 0) {
      kib = strtod(line + strlen(field), NULL);
    }
  }
  if (file != NULL) {
    fclose(file);
  }
  return kib / 1024;
}

double bench_resident_mib(bool anonymous) {
  FILE *file = fopen("/proc/self/statm", "r");
  unsigned long long size, resident = 0, shared = 0;
  if (file != NULL) {
    if (fscanf(file, "%llu %llu %llu", &size, &resident, &shared) != 3) {
      resident = shared = 0;
    }
    fclose(file);
  }
  return (double)(resident - (anonymous ? shared : 0)) * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

void bench_wrong(const char *what) {
  fprintf(stderr, "%s\n", what);
  _Exit(1);
}

static double wall_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double cpu_now(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static void wait_for_all(bench_mutator *m) {
  bench_block_begin(m->self);
  pthread_barrier_wait(&barrier);
  bench_block_end(m->self);
}

void bench_measure_begin(bench_mutator *m) {
  wait_for_all(m);
  if (m->index == 0) {
    bench_stats_begin();
    if (m->options->detail != NULL) {
      sampler_begin(bench_sample);
    }
    cpu_begun = cpu_now();
    wall_begun = wall_now();
  }
  gaps_begin(&m->gaps, bench_phase());
}

void bench_measure_end(bench_mutator *m) {
  gaps_end(&m->gaps);
  wait_for_all(m);
  if (m->index == 0) {
    wall_ended = wall_now();
    cpu_ended = cpu_now();
    sampler_end();
  }
}

void bench_figure(bench_mutator *m, const char *name, double value) {
  for (unsigned i = 0; i < BENCH_FIGURES; i++) {
    if (m->figure_name[i] == NULL) {
      m->figure_name[i] = name;
      m->figure[i] = value;
      return;
    }
  }
}

__attribute__((noinline)) void bench_clear_stack(void) {
  char dead[16384];
  memset(dead, 0, sizeof dead);
  __asm__ volatile("" ::"r"(dead) : "memory");
}

static const bench_workload *running; // constant after options_read

static void *mutator_run(void *arg) {
  bench_mutator *m = arg;
  m->self = bench_attach();
  m->random = m->options->seed * 1000003 + m->index;
  running->run(m);
  bench_detach(m->self);
  return NULL;
}

static unsigned cores_allowed(void) {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 0;
}

// Keeps the process, and all threads to come, on the first `count` of the processors that it may run on.
static void cores_limit(unsigned count) {
  cpu_set_t allowed, chosen;
  CPU_ZERO(&chosen);
  unsigned found = 0;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    for (unsigned i = 0; i < CPU_SETSIZE && found < count; i++) {
      if (CPU_ISSET(i, &allowed)) {
        CPU_SET(i, &chosen);
        found++;
      }
    }
  }
  if (found < count || sched_setaffinity(0, sizeof chosen, &chosen) != 0) {
    fprintf(stderr, "--cores %u: this process may run on %u\n", count, found);
    exit(BENCH_USAGE);
  }
}

static void usage(FILE *file) {
  fputs("options: --workload NAME --live MIB --scale N --depth N --steps N --threads N --cores N --seed N\n"
        "         --heap MIB|FACTORx --back-end NAME --granule KIB --scanners N --idle SECONDS --detail FILE\nworkloads:\n",
        file);
  for (const bench_workload *w = bench_workloads; w->name != NULL; w++) {
    fprintf(file, "  %-12s %s\n", w->name, w->what);
  }
}

static _Noreturn void usage_error(const char *what, const char *value) {
  fprintf(stderr, "%s: '%s'\n", what, value);
  usage(stderr);
  exit(BENCH_USAGE);
}

static double number_read(const char *name, const char *text, double least, double most, const char *suffix) {
  char *end;
  double value = strtod(text, &end);
  if (end == text || strcmp(end, suffix) != 0 || !(value >= least && value <= most)) {
    usage_error(name, text);
  }
  return value;
}

static const bench_workload *workload_find(const char *name) {
  for (const bench_workload *w = bench_workloads; w->name != NULL; w++) {
    if (name == NULL || strcmp(name, w->name) == 0) {
      return w;
    }
  }
  usage_error("no such workload", name);
}

static void options_read(bench_options *o, int argc, char **argv) {
  enum { WORKLOAD, LIVE, SCALE, STEPS, THREADS, CORES, DEPTH, SEED, HEAP, BACK_END, GRANULE, SCANNERS, IDLE, DETAIL, HELP };
  static const struct option known[] = {
      {"workload", 1, NULL, WORKLOAD}, {"live", 1, NULL, LIVE},         {"scale", 1, NULL, SCALE},
      {"steps", 1, NULL, STEPS},       {"threads", 1, NULL, THREADS},   {"seed", 1, NULL, SEED},
      {"heap", 1, NULL, HEAP},         {"back-end", 1, NULL, BACK_END}, {"granule", 1, NULL, GRANULE},
      {"scanners", 1, NULL, SCANNERS}, {"idle", 1, NULL, IDLE},         {"detail", 1, NULL, DETAIL},
      {"cores", 1, NULL, CORES},       {"depth", 1, NULL, DEPTH},       {"help", 0, NULL, HELP},
              {NULL, 0, NULL, 0}};
  for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
    switch (option) {
    case WORKLOAD: o->workload = optarg; break;
    case LIVE: o->live_mib = number_read("--live", optarg, 1, 1 << 20, ""); break;
    case SCALE: o->scale = (unsigned)number_read("--scale", optarg, 1, 64, ""); break;
    case STEPS: o->steps = (uint64_t)number_read("--steps", optarg, 1, 1e15, ""); break;
    case THREADS: o->threads = (unsigned)number_read("--threads", optarg, 1, 256, ""); break;
    case CORES: o->cores = (unsigned)number_read("--cores", optarg, 1, CPU_SETSIZE, ""); break;
    case DEPTH: o->depth = (unsigned)number_read("--depth", optarg, 1, 30, ""); break;
    case SEED: o->seed = (uint64_t)number_read("--seed", optarg, 0, 1e15, ""); break;
    case HEAP:
      if (optarg[0] != 0 && optarg[strlen(optarg) - 1] == 'x') {
        o->heap_factor = number_read("--heap", optarg, 1, 1000, "x");
      } else {
        o->heap_mib = number_read("--heap", optarg, 1, 1 << 20, "");
      }
      break;
    case BACK_END: o->back_end = optarg; break;
    case GRANULE: o->granule_kib = (unsigned)number_read("--granule", optarg, 4, 64, ""); break;
    case SCANNERS: o->scanners = (unsigned)number_read("--scanners", optarg, 1, 64, ""); break;
    case IDLE: o->idle_seconds = number_read("--idle", optarg, 0, 600, ""); break;
    case DETAIL: o->detail = optarg; break;
    case HELP: usage(stdout); exit(0);
    default: usage(stderr); exit(BENCH_USAGE);
    }
  }
  if (optind < argc) {
    usage_error("what is this", argv[optind]);
  }
  running = workload_find(o->workload);
  o->workload = running->name;
}

static void number_write(const char *name, double value) { printf(", \"%s\": %.6g", name, value); }

static void gaps_record_write(const gaps_histogram *all, const gaps_histogram *in_cycle) {
  number_write("gap_max_us", gaps_histogram_max_us(all));
  number_write("gap_p9999_us", gaps_histogram_at_us(all, 0.9999));
  number_write("gap_p999_us", gaps_histogram_at_us(all, 0.999));
  number_write("gap_p99_us", gaps_histogram_at_us(all, 0.99));
  number_write("gap_p50_us", gaps_histogram_at_us(all, 0.5));
  number_write("gap_in_cycle_p999_us", gaps_histogram_at_us(in_cycle, 0.999));
}

// The worst mutator's; null where the phase is shorter than the window.
static void mmu_record_write(const bench_mutator *mutators, unsigned count) {
  static const struct {
    const char *name;
    double ms;
  } windows[] = {{"mmu_1ms", 1}, {"mmu_5ms", 5}, {"mmu_20ms", 20}, {"mmu_100ms", 100}};
  for (size_t w = 0; w < sizeof windows / sizeof windows[0]; w++) {
    double worst = 2;
    for (unsigned i = 0; i < count; i++) {
      double share = gaps_mmu(&mutators[i].gaps, windows[w].ms);
      worst = share < worst ? share : worst;
    }
    if (worst < 0) {
      printf(", \"%s\": null", windows[w].name);
    } else {
      number_write(windows[w].name, worst);
    }
  }
}

static void record_write(bench_mutator *mutators, const bench_options *o, double live_mib, double machine_gap_us) {
  static gaps_histogram all, in_cycle;
  uint64_t check = 0;
  double in_cycle_share = 0;
  for (unsigned i = 0; i < o->threads; i++) {
    gaps_histogram_merge(&all, &mutators[i].gaps.all);
    gaps_histogram_merge(&in_cycle, &mutators[i].gaps.in_cycle);
    check = bench_check_add(check, mutators[i].check);
    in_cycle_share += gaps_in_cycle_share(&mutators[i].gaps) / o->threads;
  }
  printf("{\"workload\": \"%s\", \"collector\": \"%s\", \"back_end\": \"%s\", \"threads\": %u, \"cores\": %u, \"scale\": %u, "
         "\"seed\": %llu",
         o->workload, bench_collector, bench_back_end(), o->threads, cores_allowed(), o->scale, (unsigned long long)o->seed);
  number_write("live_mib", live_mib);
  number_write("heap_mib", o->heap_mib);
  number_write("wall_s", wall_ended - wall_begun);
  number_write("cpu_s", cpu_ended - cpu_begun);
  number_write("peak_rss_mib", bench_peak_mib());
  printf(", \"steps\": %llu", (unsigned long long)all.total);
  gaps_record_write(&all, &in_cycle);
  number_write("in_cycle_share", in_cycle_share);
  mmu_record_write(mutators, o->threads);
  number_write("machine_gap_max_us", machine_gap_us);
  for (unsigned i = 0; i < BENCH_FIGURES && mutators[0].figure_name[i] != NULL; i++) {
    number_write(mutators[0].figure_name[i], mutators[0].figure[i]);
  }
  printf(", \"check\": \"%016llx\"", (unsigned long long)check);
  bench_record_stats(stdout);
  puts("}");
  FILE *detail = o->detail != NULL ? fopen(o->detail, "w") : NULL;
  if (detail != NULL) {
    gaps_write_detail(&mutators[0].gaps, &all, detail);
    sampler_write_detail(detail);
    fclose(detail);
  }
}

int main(int argc, char **argv) {
  bench_options o = {.live_mib = 64, .scale = 1, .threads = 1, .seed = 1, .idle_seconds = 1};
  options_read(&o, argc, argv);
  if (o.cores != 0) {
    cores_limit(o.cores);
  }
  gaps_calibrate();
  double live_mib = running->live_mib(&o) * o.threads;
  if (o.heap_factor != 0) {
    o.heap_mib = o.heap_factor * live_mib;
  }
  double idle_before = o.idle_seconds / 2, machine_gap_us = gaps_machine_max_us(idle_before);

  bench_heap_open(&(bench_heap_options){.bytes = (size_t)(o.heap_mib * (1 << 20)), .back_end = o.back_end,
                                        .granule = (size_t)o.granule_kib << 10, .scanners = o.scanners, .cores = o.cores});
  bench_mutator *mutators = calloc(o.threads, sizeof *mutators);
  pthread_barrier_init(&barrier, NULL, o.threads);
  for (unsigned i = 0; i < o.threads; i++) {
    mutators[i].options = &o;
    mutators[i].index = i;
    if (!gaps_open(&mutators[i].gaps)) {
      bench_out_of_memory();
    }
  }
  for (unsigned i = 1; i < o.threads; i++) {
    if (bench_thread_start(&mutators[i].thread, mutator_run, &mutators[i]) != 0) {
      fputs("cannot start a thread\n", stderr);
      return 1;
    }
  }
  mutator_run(&mutators[0]);
  for (unsigned i = 1; i < o.threads; i++) {
    bench_thread_join(mutators[i].thread);
  }

  // As long as the measured phase, if that is allowed: the longer one looks, the larger the largest gap.
  double idle_after = wall_ended - wall_begun - idle_before;
  idle_after = idle_after < o.idle_seconds ? idle_after : o.idle_seconds;
  double after_us = idle_after > 0 ? gaps_machine_max_us(idle_after) : 0;
  record_write(mutators, &o, live_mib, after_us > machine_gap_us ? after_us : machine_gap_us);
  bench_heap_close();
  for (unsigned i = 0; i < o.threads; i++) {
    gaps_close(&mutators[i].gaps);
  }
  free(mutators);
  return 0;
}
