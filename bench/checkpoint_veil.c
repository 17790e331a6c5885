// SPDX-License-Identifier: MIT
// checkpoint_veil.c: records in a heap of veil's, saved by its checkpointer, in full and in increments of which 1 % is dirty; then restored by processes of their own.

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <veil/calls.h>
#include <veil/checkpoint.h>
#include "bench/checkpoint.h"

VEIL_TYPE(record, next);

enum { PAGE = 4096, MUTATE, REST, END };
static veil_heap *heap;
static record **table; // a root
static uint64_t count;
static _Atomic int wanted = REST, resting;
static _Atomic double extra_most;
static _Atomic int sampling;

static _Noreturn void fail(const char *what) {
  fprintf(stderr, "%s: %s\n", what, veil_error());
  exit(1);
}

static uint64_t records_in(double mib) { return (uint64_t)(mib * (1 << 20)) / (sizeof(record) + sizeof(record *)); }

static void fill(veil_thread *self) {
  count = records_in(load_now.live_mib);
  table = (record **)veil_new_pointers(self, count);
  for (uint64_t i = 0; i < count; i++) {
    record *r = veil_new(self, record);
    load_fill(r, i);
    r->next = i > 0 ? table[i - 1] : NULL;
    table[i] = r;
  }
  veil_collect(self);
}

static void *mutate(void *arg) {
  veil_thread *self = veil_attach(heap);
  for (int now; (now = wanted) != END;) {
    if (now == REST) {
      resting = 1;
      veil_nanosleep(self, &(struct timespec){0, 100000}, NULL);
      continue;
    }
    resting = 0;
    load_steps(table, count, 64);
    load_count(64);
  }
  veil_detach(self);
  return arg;
}

static void mutator_rest(void) {
  wanted = REST;
  while (!resting) {
    usleep(100);
  }
}
static void mutator_run(void) {
  resting = 0;
  wanted = MUTATE;
}

static double memory_mib(void) {
  veil_stats s;
  veil_get_stats(heap, &s);
  return load_anonymous_mib() + (double)s.held_bytes / (1 << 20);
}

static void *sample(void *arg) {
  double base = *(double *)arg;
  while (sampling) {
    double extra = memory_mib() - base;
    if (extra > extra_most) {
      extra_most = extra;
    }
    usleep(5000);
  }
  return NULL;
}

static void nap(double seconds) { usleep((useconds_t)(seconds * 1e6)); }

typedef struct phase {
  double steps, took; // per second; seconds
} phase;

static phase measure(double seconds) {
  uint64_t steps = load_counted();
  double from = load_now_s();
  nap(seconds);
  double took = load_now_s() - from;
  return (phase){(double)(load_counted() - steps) / took, took};
}

// One checkpoint, with the load on.
static phase checkpoint(veil_checkpointer *c, veil_checkpoint_figures *figures, const char *mark) {
  load_mark(mark);
  uint64_t steps = load_counted();
  double from = load_now_s();
  if (veil_checkpoint(c, 0, figures) != VEIL_OK) {
    fail("veil_checkpoint");
  }
  double took = load_now_s() - from;
  load_mark("durable");
  return (phase){(double)(load_counted() - steps) / took, took};
}

static void full(veil_checkpointer *c) {
  double base = memory_mib();
  pthread_t sampler;
  nap(load_now.seconds / 2);
  phase before = measure(load_now.seconds);
  veil_checkpoint_figures f;
  sampling = 1;
  pthread_create(&sampler, NULL, sample, &base);
  load_gap_us(true);
  phase during = checkpoint(c, &f, "request");
  double gap = load_gap_us(true);
  phase after = measure(load_now.seconds);
  sampling = 0;
  pthread_join(sampler, NULL);
  load_json("pause_us", (double)f.pause_ns / 1e3);
  load_json("gap_us", gap);
  load_json("steps_before", before.steps);
  load_json("steps_during", during.steps);
  load_json("work_during", during.steps / before.steps);
  load_json("work_after", after.steps / before.steps);
  load_json("durable_s", during.took);
  load_json("extra_mib", extra_most);
  load_json("written_mib", (double)f.bytes / (1 << 20));
  load_json("pages", (double)f.pages);
  load_json("pages_trapped", (double)f.pages_trapped);
  load_json("pool_max_mib", (double)f.pool_max / (1 << 20));
  load_json("pool_wait_ms", (double)f.pool_wait_ns / 1e6);
}

static int by_size(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }
static double median(double *values, unsigned n) {
  qsort(values, n, sizeof *values, by_size);
  return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

// Increments: the load goes on all the time, and writes to 1 % of the pages since the checkpoint before.
static void increments(veil_checkpointer *c) {
  unsigned n = load_now.increments;
  double *steps = calloc(n, sizeof *steps), *took = calloc(n, sizeof *took), *pause = calloc(n, sizeof *pause), *ratio = calloc(n, sizeof *ratio), *saved = calloc(n, sizeof *saved);
  uint64_t pages = (uint64_t)(load_now.live_mib * 256), dirty = pages / 100 > 0 ? pages / 100 : 1, cycles = 0;
  load_writes(dirty);
  for (int i = 0; i < 2; i++) { // what was written before
    if (veil_checkpoint(c, 0, NULL) != VEIL_OK) {
      fail("veil_checkpoint");
    }
  }
  nap(load_now.seconds / 2);
  double usual = measure(load_now.seconds).steps;
  for (unsigned i = 0; i < n; i++) {
    veil_checkpoint_figures f;
    veil_stats s, t;
    veil_get_stats(heap, &s);
    phase during = checkpoint(c, &f, "increment");
    veil_get_stats(heap, &t);
    cycles += t.major_cycles - s.major_cycles;
    steps[i] = during.steps;
    took[i] = during.took;
    pause[i] = (double)f.pause_ns / 1e3;
    ratio[i] = f.pages > 0 ? (double)f.bytes / ((double)f.pages * PAGE) : 0;
    saved[i] = (double)f.pages;
    nap(load_now.seconds / 4);
  }
  load_writes(0);
  load_json("increment_steps_before", usual);
  load_json("increment_pages", median(saved, n));
  load_json("increment_steps", median(steps, n));
  load_json("increment_durable_s", median(took, n));
  load_json("increment_pause_us", median(pause, n));
  load_json("increment_written", median(ratio, n));
  load_json("increment_cycles", (double)cycles);
  free(steps);
  free(took);
  free(pause);
  free(saved);
  free(ratio);
}

// ---- Restoring, in a process of its own.

// The whole file into memory of its own, of small pages: in seconds.
static double file_read(void) {
  struct stat file;
  int fd = open(load_now.file, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &file) != 0) {
    perror(load_now.file);
    exit(1);
  }
  double from = load_now_s();
  char *to = mmap(NULL, (size_t)file.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (to == MAP_FAILED || madvise(to, (size_t)file.st_size, MADV_NOHUGEPAGE) != 0) {
    perror("mmap");
    exit(1);
  }
  for (off_t at = 0; at < file.st_size;) {
    ssize_t got = pread(fd, to + at, 1 << 20, at);
    if (got <= 0) {
      perror(load_now.file);
      exit(1);
    }
    at += got;
  }
  double took = load_now_s() - from;
  munmap(to, (size_t)file.st_size);
  close(fd);
  return took;
}

static int restore(void) {
  double from = load_now_s();
  veil_options options = {.limit = (size_t)(load_now.live_mib * 3) << 20, .back_end = load_now.back_end};
  heap = veil_restore(load_now.file, &options, NULL);
  if (heap == NULL) {
    fail("veil_restore");
  }
  veil_thread *self = veil_attach(heap);
  table = self != NULL ? veil_root_get(self, "table") : NULL;
  if (table == NULL) {
    fail("there is no table");
  }
  veil_add_roots(heap, &table, 1);
  count = records_in(load_now.live_mib);
  (void)*(volatile uint64_t *)&table[count / 2]->word[0];
  double opened = load_now_s() - from;
  veil_restored(heap, true);
  double all = load_now_s() - from;
  double read_s = file_read();
  printf("%.9f %.9f %.9f %llu\n", opened, all, read_s, (unsigned long long)load_sum(table, count));
  veil_remove_roots(heap, &table);
  veil_detach(self);
  veil_close(heap);
  return 0;
}

static void restores(uint64_t sum, const char *program) {
  unsigned n = load_now.restores;
  double *open_s = calloc(n, sizeof *open_s), *all = calloc(n, sizeof *all), *ratio = calloc(n, sizeof *ratio);
  char command[1024];
  snprintf(command, sizeof command, "'%s' --open --file '%s' --live %g --seed %llu %s%s", program, load_now.file, load_now.live_mib, (unsigned long long)load_now.seed,
           load_now.back_end != NULL ? "--back-end " : "", load_now.back_end != NULL ? load_now.back_end : "");
  for (unsigned i = 0; i < n; i++) {
    FILE *child = popen(command, "r");
    unsigned long long found = 0;
    double read_s = 0;
    bool whole = child != NULL && fscanf(child, "%lf %lf %lf %llu", &open_s[i], &all[i], &read_s, &found) == 4;
    if (child == NULL || pclose(child) != 0 || !whole || found != sum) {
      fprintf(stderr, "what was restored is not what was saved\n");
      exit(1);
    }
    ratio[i] = read_s / all[i];
  }
  load_json("open_ms", median(open_s, n) * 1e3);
  load_json("restore_s", median(all, n));
  load_json("restore_by_read", median(ratio, n)); // speed of restoring over that of reading the file
  free(open_s);
  free(all);
  free(ratio);
}

int main(int argc, char **argv) {
  load_options_read(argc, argv);
  if (load_now.open) {
    return restore();
  }
  veil_options options = {.limit = (size_t)(load_now.live_mib * 3) << 20, .back_end = load_now.back_end};
  heap = veil_open(&options);
  veil_thread *self = heap != NULL ? veil_attach(heap) : NULL;
  if (self == NULL || veil_add_roots(heap, &table, 1) != VEIL_OK) {
    fail("veil_open");
  }
  fill(self);
  if (veil_root_set(self, "table", table) != VEIL_OK) {
    fail("veil_root_set");
  }
  unlink(load_now.file);
  veil_checkpointer *c = veil_checkpointer_open(heap, &(veil_checkpointer_options){.path = load_now.file});
  if (c == NULL) {
    fail("veil_checkpointer_open");
  }
  load_json_text("workload", "checkpoint");
  load_json_text("collector", "veil");
  load_json_text("back_end", veil_back_end(heap));
  load_json("live_mib", load_now.live_mib);
  pthread_t mutator;
  load_clock_begin();
  pthread_create(&mutator, NULL, mutate, NULL);
  veil_block_begin(self);
  mutator_run();
  full(c);
  if (load_now.increments > 0) {
    increments(c);
  }
  mutator_rest();
  if (veil_checkpoint(c, 0, NULL) != VEIL_OK) {
    fail("veil_checkpoint");
  }
  wanted = END;
  pthread_join(mutator, NULL);
  veil_block_end(self);
  uint64_t sum = load_sum(table, count);
  veil_checkpointer_close(c);
  veil_remove_roots(heap, &table);
  veil_detach(self);
  veil_close(heap);
  if (load_now.restores > 0) {
    restores(sum, argv[0]);
  }
  load_finish();
  unlink(load_now.file);
  return 0;
}
