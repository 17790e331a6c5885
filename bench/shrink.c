// SPDX-License-Identifier: MIT
// shrink.c: how much memory is held some seconds after most of the data have died, with default options.
//
//   bench_shrink [--live MIB] [--rest MIB] [--seconds S] [--back-end NAME] [--asleep HOW]
//
// HOW: `bracket` (the program sleeps in a bracket: the default), `outside` (asleep without one), `little` (it allocates a little, 1 MiB over the whole
// time), `collect` (it asks for a collection first). Prints what is held each half second: the heap's pages, and the process's anonymous memory.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "veil/veil.h"

enum { MIB = 1 << 20 };

typedef struct node {
  struct node *left, *right;
  long key, more;
} node;
VEIL_TYPE(node, left, right);

static veil_heap *heap;
static veil_thread *self;
static node *keep, *drop;

static __attribute__((noinline)) node *list_make(long mib) {
  node *list = NULL;
  for (long i = 0; i < mib * (MIB / 48); i++) {
    node *n = veil_new(self, node);
    n->right = list;
    list = n;
  }
  return list;
}

static __attribute__((noinline)) void stack_clear(void) {
  char volatile junk[16384];
  for (size_t i = 0; i < sizeof junk; i++) {
    junk[i] = 0;
  }
}

static double anonymous_mib(void) {
  char line[256];
  double kib = 0;
  FILE *f = fopen("/proc/self/status", "r");
  while (f != NULL && fgets(line, sizeof line, f) != NULL) {
    sscanf(line, "RssAnon: %lf", &kib);
  }
  if (f != NULL) {
    fclose(f);
  }
  return kib / 1024;
}

static void report(double seconds) {
  veil_stats s;
  veil_get_stats(heap, &s);
  printf("%5.1f s: %8.1f MiB held, %6.1f MiB anonymous, %llu cycles, %llu of them idle\n", seconds, (double)s.held_bytes / MIB,
         anonymous_mib(), (unsigned long long)s.major_cycles, (unsigned long long)s.idle_cycles);
  fflush(stdout);
}

static void nap(double seconds) {
  struct timespec left = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
  while (nanosleep(&left, &left) != 0) {
  }
}

int main(int argc, char **argv) {
  long live = 1024, rest = 10;
  double seconds = 6;
  const char *how = "bracket";
  veil_options options = {0};
  for (int i = 1; i + 1 < argc; i += 2) {
    const char *name = argv[i], *value = argv[i + 1];
    if (strcmp(name, "--live") == 0) {
      live = atol(value);
    } else if (strcmp(name, "--rest") == 0) {
      rest = atol(value);
    } else if (strcmp(name, "--seconds") == 0) {
      seconds = atof(value);
    } else if (strcmp(name, "--back-end") == 0) {
      options.back_end = value;
    } else if (strcmp(name, "--asleep") == 0) {
      how = value;
    } else {
      fprintf(stderr, "there is no option %s\n", name);
      return 2;
    }
  }
  heap = veil_open(&options);
  self = heap != NULL ? veil_attach(heap) : NULL;
  if (self == NULL) {
    fprintf(stderr, "%s\n", veil_error());
    return 1;
  }
  veil_add_roots(heap, &keep, 1);
  veil_add_roots(heap, &drop, 1);
  drop = list_make(live - rest);
  keep = list_make(rest);
  stack_clear();
  printf("%s, %ld MiB live, asleep: %s\n", veil_back_end(heap), live, how);
  report(0);
  drop = NULL;
  stack_clear();
  if (strcmp(how, "collect") == 0) {
    veil_collect(self);
  }
  for (double t = 0.5; t <= seconds; t += 0.5) {
    bool bracket = strcmp(how, "outside") != 0;
    for (int i = 0; i < 10; i++) {
      if (strcmp(how, "little") == 0) {
        veil_new_bytes(self, (size_t)(MIB / 20 / seconds));
      }
      if (bracket) {
        veil_block_begin(self);
      }
      nap(0.05);
      if (bracket) {
        veil_block_end(self);
      }
    }
    report(t);
  }
  veil_detach(self);
  veil_close(heap);
  return 0;
}
