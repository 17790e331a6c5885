// SPDX-License-Identifier: MIT
// checkpoint_fork.c: the peer of checkpoint_veil.c: the same records in private anonymous memory of 4 KiB pages, saved by a child of fork(), which writes the same
// file format by the same writer. No heap of veil's is there.

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "bench/checkpoint.h"
#include "runtime/image/image.h"

enum { PAGE = 4096 };
static char *arena;
static size_t arena_bytes;
static record **table;
static uint64_t count;
static _Atomic int ending;

static _Noreturn void fail(const char *what) {
  fprintf(stderr, "%s: %s\n", what, veil_error());
  exit(1);
}

static void fill(void) {
  count = (uint64_t)(load_now.live_mib * (1 << 20)) / (sizeof(record) + sizeof(record *));
  arena_bytes = (count * (sizeof(record) + sizeof(record *)) + PAGE - 1) & ~(size_t)(PAGE - 1);
  arena = mmap(NULL, arena_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (arena == MAP_FAILED || madvise(arena, arena_bytes, MADV_NOHUGEPAGE) != 0) {
    perror("mmap");
    exit(1);
  }
  record *records = (record *)arena;
  table = (record **)(arena + count * sizeof(record));
  for (uint64_t i = 0; i < count; i++) {
    load_fill(&records[i], i);
    records[i].next = i > 0 ? &records[i - 1] : NULL;
    table[i] = &records[i];
  }
}

static void *mutate(void *arg) {
  while (!ending) {
    load_steps(table, count, 64);
    load_count(64);
  }
  return arg;
}

// What the child has to itself: pages that were copied by either since the fork.
static double private_mib(void) {
  char line[256];
  double kib = 0;
  FILE *file = fopen("/proc/self/smaps_rollup", "r");
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    unsigned long long value;
    if (sscanf(line, "Private_Clean: %llu", &value) == 1 || sscanf(line, "Private_Dirty: %llu", &value) == 1) {
      kib += (double)value;
    }
  }
  if (file != NULL) {
    fclose(file);
  }
  return kib / 1024;
}

typedef struct told { // by the child
  double written_mib, extra_mib;
} told;

static void child(int out) {
  rt_image_writer *w;
  rt_image_layout layout = {PAGE, (uint64_t)(uintptr_t)arena, arena_bytes};
  rt_image_committed done;
  if (rt_image_create(&w, load_now.file, &layout, NULL) != VEIL_OK || rt_image_begin(w) != VEIL_OK ||
      rt_image_put(w, 0, arena_bytes / PAGE, arena) != VEIL_OK || rt_image_commit(w, &done) != VEIL_OK) {
    fail("the child cannot write");
  }
  told t = {(double)done.written / (1 << 20), private_mib()};
  _exit(write(out, &t, sizeof t) != sizeof t);
}

static void nap(double seconds) { usleep((useconds_t)(seconds * 1e6)); }

int main(int argc, char **argv) {
  load_options_read(argc, argv);
  fill();
  pthread_t mutator;
  load_clock_begin();
  pthread_create(&mutator, NULL, mutate, NULL);
  nap(load_now.seconds / 2);
  uint64_t steps = load_counted();
  double from = load_now_s();
  nap(load_now.seconds);
  double before = (double)(load_counted() - steps) / (load_now_s() - from);
  int ends[2];
  if (pipe(ends) != 0) {
    perror("pipe");
    return 1;
  }
  load_gap_us(true);
  load_mark("request");
  steps = load_counted();
  from = load_now_s();
  pid_t pid = fork();
  if (pid == 0) {
    child(ends[1]);
  }
  double pause = load_now_s() - from;
  close(ends[1]);
  told t = {0, 0};
  int status = 1;
  bool whole = pid > 0 && read(ends[0], &t, sizeof t) == sizeof t;
  if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0 || !whole) {
    fprintf(stderr, "the child has failed\n");
    return 1;
  }
  double took = load_now_s() - from, during = (double)(load_counted() - steps) / took;
  load_mark("durable");
  double gap = load_gap_us(true);
  steps = load_counted();
  from = load_now_s();
  nap(load_now.seconds);
  double after = (double)(load_counted() - steps) / (load_now_s() - from);
  ending = 1;
  pthread_join(mutator, NULL);
  load_json_text("workload", "checkpoint");
  load_json_text("collector", "fork");
  load_json_text("back_end", "");
  load_json("live_mib", load_now.live_mib);
  load_json("pause_us", pause * 1e6);
  load_json("gap_us", gap);
  load_json("steps_before", before);
  load_json("steps_during", during);
  load_json("work_during", during / before);
  load_json("work_after", after / before);
  load_json("durable_s", took);
  load_json("extra_mib", t.extra_mib);
  load_json("written_mib", t.written_mib);
  load_finish();
  unlink(load_now.file);
  return 0;
}
