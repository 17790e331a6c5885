// SPDX-License-Identifier: MIT
// log_trials.c: the program.
//
//   log_trials TRIAL [--long] [--break NAME]        IMAGE_SEED=n repeats a run
//
// Exits with 0, or with 1 if anything was found. With --break one rule of the log's is broken, and a trial that finds nothing then is of no use:
// tests/store/log_fires.py.

#include "tests/store/log_trials.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t seed;
bool long_run;
unsigned found_count;
enum log_break st_log_break;

static const char *const breaks[LOG_BREAK_COUNT] = {"none", "barrier", "sum", "chain", "settle", "mark", "once", "space", "name", "new", "zeros", "turn"};

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

static _Noreturn void usage(void) {
  fprintf(stderr, "log_trials crash|turn|new|kill|fail|memory|random|flips|header|hostile|threads [--long] [--break NAME]\n");
  exit(2);
}

static void break_choose(const char *name) {
  for (int b = 1; b < LOG_BREAK_COUNT; b++) {
    st_log_break = strcmp(name, breaks[b]) == 0 ? (enum log_break)b : st_log_break;
  }
  if (st_log_break == LOG_WHOLE) {
    usage();
  }
}

static void trial_run(const char *trial) {
  if (strcmp(trial, "crash") == 0) {
    trial_crash(long_run ? 1 : 8);
  } else if (strcmp(trial, "turn") == 0) {
    trial_turn(long_run ? 2 : 6);
  } else if (strcmp(trial, "new") == 0) {
    trial_new(long_run ? 1 : 4);
  } else if (strcmp(trial, "kill") == 0) {
    trial_kill(long_run ? 2 : 15);
  } else if (strcmp(trial, "fail") == 0) {
    trial_fail();
  } else if (strcmp(trial, "memory") == 0) {
    trial_memory();
  } else if (strcmp(trial, "random") == 0) {
    trial_random(long_run ? 400000 : 30000);
  } else if (strcmp(trial, "flips") == 0) {
    trial_flips(long_run ? 1 : 40);
  } else if (strcmp(trial, "header") == 0) {
    trial_header(long_run ? 1 : 20);
  } else if (strcmp(trial, "hostile") == 0) {
    trial_hostile(long_run ? 500000 : 6000);
  } else if (strcmp(trial, "threads") == 0) {
    trial_threads(long_run ? 2000000 : 30000);
  } else {
    usage();
  }
}

int main(int argc, char **argv) {
  if (argc < 2) {
    usage();
  }
  for (int i = 2; i < argc; i++) {
    if (strcmp(argv[i], "--long") == 0) {
      long_run = true;
    } else if (strcmp(argv[i], "--break") == 0 && i + 1 < argc) {
      break_choose(argv[++i]);
    } else {
      usage();
    }
  }
  seed = seed_choose(argv[1]);
  trial_run(argv[1]);
  printf("%s: %u found\n", argv[1], found_count);
  return found_count != 0;
}
