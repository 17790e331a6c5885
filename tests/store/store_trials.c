// SPDX-License-Identifier: MIT
// store_trials.c: the program.
//
//   store_trials TRIAL [--back-end NAME] [--long] [--break NAME]        STORE_SEED=n repeats a run, STORE_ROUND=n a round of fuzz; STORE_KEEP=FOLDER gets the files of one that was found
//
// Exits with 0, or with 1 if anything was found. With --break one rule of the store's is broken, and a trial that finds nothing then is of no use: tests/store/store_fires.py.

#include <stdarg.h>
#include <string.h>
#include <time.h>
#include "tests/store/store_trials.h"

uint64_t seed;
bool long_run;
const char *back_end;
unsigned found_count;
enum store_break rt_store_break;

void found(const char *format, ...) {
  va_list args;
  if (found_count++ < FOUND_MOST) {
    va_start(args, format);
    printf("FOUND: ");
    vprintf(format, args);
    printf("\n");
    va_end(args);
    fflush(stdout);
  }
}

static const struct {
  const char *name;
  void (*fn)(void);
} trials[] = {{"crash", trial_crash}, {"fail", trial_fail}, {"full", trial_full}, {"unsure", trial_unsure}, {"flips", trial_flips}, {"gone", trial_gone}, {"overlap", trial_overlap}, {"back", trial_back}, {"compact", trial_compact}, {"lost", trial_lost}, {"each", trial_each}, {"moves", trial_moves}, {"fuzz", trial_fuzz}};
enum { TRIALS = sizeof trials / sizeof *trials };

static _Noreturn void usage(void) {
  fprintf(stderr, "store_trials crash|fail|full|unsure|flips|gone|overlap|back|compact|lost|each|moves|fuzz [--back-end NAME] [--long] [--break NAME]\n");
  exit(2);
}

static void break_choose(const char *name) {
  static const char *const breaks[STORE_BREAK_COUNT] = {"none", "order", "gone", "space", "owed", "upto", "compact", "sure"};
  for (int b = 1; b < STORE_BREAK_COUNT; b++) {
    rt_store_break = strcmp(name, breaks[b]) == 0 ? (enum store_break)b : rt_store_break;
  }
  if (rt_store_break == STORE_WHOLE) {
    usage();
  }
}

int main(int argc, char **argv) {
  struct timespec now;
  int trial = 0;
  for (int i = 2; i < argc; i++) {
    if (strcmp(argv[i], "--long") == 0) {
      long_run = true;
    } else if (strcmp(argv[i], "--break") == 0 && i + 1 < argc) {
      break_choose(argv[++i]);
    } else if (strcmp(argv[i], "--back-end") == 0 && i + 1 < argc) {
      back_end = argv[++i];
    } else {
      usage();
    }
  }
  while (argc > 1 && trial < TRIALS && strcmp(argv[1], trials[trial].name) != 0) {
    trial++;
  }
  if (argc < 2 || trial == TRIALS) {
    usage();
  }
  clock_gettime(CLOCK_REALTIME, &now);
  seed = getenv("STORE_SEED") != NULL ? strtoull(getenv("STORE_SEED"), NULL, 10) : (uint64_t)now.tv_nsec;
  printf("STORE_SEED=%llu\n", (unsigned long long)seed);
  fflush(stdout);
  trials[trial].fn();
  printf("%s: %u found\n", argv[1], found_count);
  return found_count != 0;
}
