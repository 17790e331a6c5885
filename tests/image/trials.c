// SPDX-License-Identifier: MIT
// trials.c: the program.
//
//   image_trials TRIAL [--long] [--break NAME] [--seconds N]        IMAGE_SEED=n repeats a run
//
// Exits with 0, or with 1 if anything was found. With --break one rule of the image's is broken, and a trial that finds nothing then is of no use:
// tests/image/fires.

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/image/trials.h"

uint64_t seed;
bool long_run;
unsigned found_count;
enum image_break rt_image_break;

static const char *const breaks[BREAK_COUNT] = {"none",   "barrier_data", "barrier_header", "barrier_directory", "rename_early", "slots",   "space",
                                                "settle", "once",         "sum_header",     "sum_segment",       "sum_section",  "sum_page", "bounds"};

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
  fprintf(stderr, "image_trials crash|kill|fail|memory|flips|random|fuzz [--long] [--break NAME] [--seconds N]\n");
  exit(2);
}

int main(int argc, char **argv) {
  unsigned seconds = 3;
  if (argc < 2) {
    usage();
  }
  const char *trial = argv[1];
  for (int i = 2; i < argc; i++) {
    if (strcmp(argv[i], "--long") == 0) {
      long_run = true;
    } else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc) {
      seconds = (unsigned)strtoul(argv[++i], NULL, 10);
    } else if (strcmp(argv[i], "--break") == 0 && i + 1 < argc) {
      i++;
      for (int b = 1; b < BREAK_COUNT; b++) {
        rt_image_break = strcmp(argv[i], breaks[b]) == 0 ? (enum image_break)b : rt_image_break;
      }
      if (rt_image_break == BREAK_NONE) {
        usage();
      }
    } else {
      usage();
    }
  }
  seed = seed_choose(trial);
  if (strcmp(trial, "crash") == 0) {
    trial_crash(long_run ? 1 : 12);
  } else if (strcmp(trial, "kill") == 0) {
    trial_kill(long_run ? 4 : 100);
  } else if (strcmp(trial, "fail") == 0) {
    trial_fail();
  } else if (strcmp(trial, "memory") == 0) {
    trial_memory();
  } else if (strcmp(trial, "flips") == 0) {
    trial_flips(long_run ? 1 : 25);
  } else if (strcmp(trial, "random") == 0) {
    trial_random(long_run ? 4000 : 20);
  } else if (strcmp(trial, "fuzz") == 0) {
    trial_fuzz(seconds);
  } else {
    usage();
  }
  printf("%s: %u found\n", trial, found_count);
  return found_count != 0;
}
