// SPDX-License-Identifier: MIT
// measure.c: figures, by hand: checkpoint_measure FOLDER [MIB [BACK_END]]
//
// A heap of small objects; one thread reads three times and writes once, nine of ten times in a hot tenth. Full checkpoints, then increments of 1 % dirty
// pages, then restoring.

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "veil/checkpoint.h"
#include "veil/veil.h"

typedef struct cell {
  struct cell *next, *other;
  uint64_t word[6];
} cell;
VEIL_TYPE(cell, next, other);

enum { ROUNDS = 5 };

static veil_heap *heap;
static size_t cells;
static uint64_t volatile steps;
static int volatile ending, resting; // resting: 1 asked for, 2 it does

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t dice(uint64_t *s) {
  uint64_t z = *s += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  return z ^ z >> 31;
}

static void *work(void *unused) {
  uint64_t s = 1, sum = 0;
  veil_thread *self = veil_attach(heap);
  cell **all = veil_root_get(self, "all");
  while (!ending) {
    for (int i = 0; i < 1000; i++) {
      size_t at = dice(&s) % 10 ? dice(&s) % (cells / 10) : dice(&s) % cells;
      if (i % 4 == 0) {
        all[at]->word[i % 6] = s;
      } else {
        sum += all[at]->word[i % 6];
      }
    }
    steps += 1000;
    while (resting && !ending) {
      resting = 2;
      veil_block_begin(self);
      usleep(1000);
      veil_block_end(self);
    }
    veil_poll(self);
  }
  veil_detach(self);
  return (void *)(uintptr_t)sum;
}

static double speed(double seconds) {
  double began = now();
  uint64_t before = steps;
  usleep((useconds_t)(seconds * 1e6));
  return (double)(steps - before) / (now() - began);
}

static void figures(const char *what, double work_before, const veil_checkpoint_figures *f, double work_during) {
  printf("%-12s pause %7.3f ms, durable %6.3f s, %7.1f MiB of pages, %7.1f MiB written, %5.1f %% trapped, pool %5.1f MiB, %llu waits %6.1f ms, work %4.2f\n",
         what, (double)f->pause_ns / 1e6, (double)f->durable_ns / 1e9, (double)f->pages / 256, (double)f->bytes / (1 << 20),
         100.0 * (double)f->pages_trapped / (double)(f->pages ? f->pages : 1), (double)f->pool_max / (1 << 20), (unsigned long long)f->pool_waits,
         (double)f->pool_wait_ns / 1e6, work_during / work_before);
  fflush(stdout);
}

static void one(veil_checkpointer *c, const char *what, unsigned flags, double before) {
  veil_checkpoint_figures f;
  double began = now();
  uint64_t steps_before = steps;
  if (veil_checkpoint(c, flags, &f) != VEIL_OK) {
    printf("%s: %s\n", what, veil_error());
    return;
  }
  figures(what, before, &f, (double)(steps - steps_before) / (now() - began));
}

static void fill(veil_thread *self) {
  uint64_t s = 7;
  cell **all = (cell **)veil_new_pointers(self, cells);
  veil_root_set(self, "all", all);
  for (size_t i = 0; i < cells; i++) {
    all[i] = veil_new(self, cell);
    all[i]->next = i ? all[i - 1] : NULL;
    for (int k = 0; k < 6; k++) {
      all[i]->word[k] = dice(&s);
    }
  }
}

static void restore(const char *path, const veil_options *options) {
  veil_type *types[] = {&veil_type_cell};
  double began = now();
  veil_heap *other = veil_restore(path, options, &(veil_restore_options){.types = types, .type_count = 1, .elsewhere = true});
  if (other == NULL) {
    printf("restore: %s\n", veil_error());
    return;
  }
  veil_thread *self = veil_attach(other);
  cell **all = veil_root_get(self, "all");
  uint64_t volatile first = all[cells / 2]->word[0];
  double opened = now() - began;
  veil_restored(other, true);
  printf("restore      open and first touch %.1f ms, all %.3f s%s\n", opened * 1e3, now() - began, first ? "" : " ");
  veil_detach(self);
  veil_close(other);
}

int main(int argc, char **argv) {
  char path[1000];
  pthread_t thread;
  size_t mib = argc > 2 ? strtoul(argv[2], NULL, 10) : 1024;
  veil_options options = {.limit = (mib * 3 << 20) + (64 << 20), .back_end = argc > 3 ? argv[3] : NULL};
  snprintf(path, sizeof path, "%s/measure.veil", argc > 1 ? argv[1] : ".");
  heap = veil_open(&options);
  cells = (mib << 20) / 80; // a header, and the slot of the table
  veil_thread *self = veil_attach(heap);
  fill(self);
  veil_collect(self);
  veil_block_begin(self);
  pthread_create(&thread, NULL, work, NULL);
  unlink(path);
  veil_checkpointer *c = veil_checkpointer_open(heap, &(veil_checkpointer_options){.path = path});
  printf("%zu MiB, %s\n", mib, veil_back_end(heap));
  usleep(300000);
  for (int i = 0; i < ROUNDS; i++) {
    double before = speed(1);
    one(c, "full", VEIL_CHECKPOINT_FULL, before);
  }
  double before = speed(1);
  for (int i = 0; i < ROUNDS; i++) {
    usleep(300000);
    one(c, "increment", 0, before);
  }
  resting = 1;
  while (resting != 2) {
    usleep(1000);
  }
  one(c, "increment", 0, before);
  veil_block_end(self);
  for (int i = 0; i < ROUNDS; i++) {
    uint64_t s = (uint64_t)i;
    cell **all = veil_root_get(self, "all");
    for (size_t k = 0; k < mib * 256 / 100; k++) {
      all[dice(&s) % cells]->word[0]++;
    }
    one(c, "1 % dirty", 0, before);
  }
  veil_checkpointer_close(c);
  restore(path, &options);
  ending = 1;
  veil_block_begin(self);
  pthread_join(thread, NULL);
  veil_block_end(self);
  veil_detach(self);
  veil_close(heap);
  unlink(path);
  return 0;
}
