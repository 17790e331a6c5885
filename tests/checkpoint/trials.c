// SPDX-License-Identifier: MIT
// trials.c: the program.
//
//   checkpoint_trials TRIAL [--back-end NAME] [--stop signal|poll] [--codec NAME] [--granule BYTES] [--seconds N] [--long] [--break NAME]
//
// CHECKPOINT_SEED=n repeats a run. Exits with 0, with 1 if anything was found, with 77 if the back end does not work here. With --break one rule is broken, and
// a trial that finds nothing then is of no use: tests/checkpoint/fires.py.

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/image/inner.h"
#include "tests/checkpoint/trials.h"

trial_options trial = {.seconds = 4};
unsigned found_count;
enum checkpoint_break rt_checkpoint_break;
enum image_break rt_image_break;

static char folder[200];

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

const char *trial_path(const char *name) {
  static char path[4][300];
  static unsigned turn;
  char *to = path[turn++ % 4];
  snprintf(to, sizeof path[0], "%s/%s", folder, name);
  return to;
}

static void folder_make(void) {
  const char *tmp = getenv("TMPDIR");
  snprintf(folder, sizeof folder, "%s/checkpoint.XXXXXX", tmp != NULL ? tmp : "/tmp");
  MUST(mkdtemp(folder) != NULL, "%s", folder);
}

static void folder_remove(void) {
  DIR *d = opendir(folder);
  for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
    unlink(trial_path(e->d_name));
  }
  closedir(d);
  rmdir(folder);
}

static _Noreturn void usage(void) {
  fprintf(stderr, "checkpoint_trials chains|fail|crash|pool|requests|forks|compact [--back-end NAME] [--stop signal|poll] [--codec NAME] [--granule BYTES] "
                  "[--seconds N] [--long] [--break NAME]\n");
  exit(2);
}

static void rule_break(const char *name) {
  static const char *const rules[CHECKPOINT_BREAK_COUNT] = {"", "before", "removed", "fail", "chain", "reserve"};
  for (int i = 1; i < CHECKPOINT_BREAK_COUNT; i++) {
    rt_checkpoint_break = strcmp(name, rules[i]) == 0 ? (enum checkpoint_break)i : rt_checkpoint_break;
  }
  rt_image_break = strcmp(name, "barrier_data") == 0     ? BREAK_BARRIER_DATA
                   : strcmp(name, "barrier_header") == 0 ? BREAK_BARRIER_HEADER
                   : strcmp(name, "rename_early") == 0   ? BREAK_RENAME_EARLY
                   : strcmp(name, "slots") == 0          ? BREAK_SLOTS
                   : strcmp(name, "once") == 0           ? BREAK_ONCE
                   : strcmp(name, "sum_page") == 0       ? BREAK_SUM_PAGE
                                                         : BREAK_NONE;
  if (rt_checkpoint_break == CHECKPOINT_WHOLE && rt_image_break == BREAK_NONE) {
    usage();
  }
}

static void option_take(const char *name, const char *value) {
  if (strcmp(name, "--back-end") == 0) {
    trial.back_end = value;
  } else if (strcmp(name, "--stop") == 0) {
    trial.stop = strcmp(value, "poll") == 0 ? VEIL_STOP_POLL : VEIL_STOP_SIGNAL;
  } else if (strcmp(name, "--codec") == 0) {
    trial.codec = strcmp(value, "lz4") == 0 ? VEIL_CODEC_LZ4 : strcmp(value, "zstd") == 0 ? VEIL_CODEC_ZSTD : VEIL_CODEC_NONE;
  } else if (strcmp(name, "--granule") == 0) {
    trial.granule = strtoul(value, NULL, 10);
  } else if (strcmp(name, "--seconds") == 0) {
    trial.seconds = (unsigned)strtoul(value, NULL, 10);
  } else if (strcmp(name, "--break") == 0) {
    rule_break(value);
  } else {
    usage();
  }
}

static void run(const char *name) {
  static const struct {
    const char *name;
    void (*fn)(void);
  } trials[] = {{"chains", trial_chains},     {"fail", trial_fail},   {"crash", trial_crash},    {"pool", trial_pool},
                {"requests", trial_requests}, {"forks", trial_forks}, {"compact", trial_compact}};
  for (size_t i = 0; i < sizeof trials / sizeof *trials; i++) {
    if (strcmp(name, trials[i].name) == 0) {
      trials[i].fn();
      return;
    }
  }
  usage();
}

int main(int argc, char **argv) {
  if (argc < 2) {
    usage();
  }
  for (int i = 2; i < argc; i++) {
    if (strcmp(argv[i], "--long") == 0) {
      trial.long_run = true;
    } else if (i + 1 < argc) {
      option_take(argv[i], argv[i + 1]);
      i++;
    } else {
      usage();
    }
  }
  const char *seed = getenv("CHECKPOINT_SEED");
  trial.seed = seed != NULL ? strtoull(seed, NULL, 10) : cp_now() % 1000000000;
  printf("%s: CHECKPOINT_SEED=%llu\n", argv[1], (unsigned long long)trial.seed);
  fflush(stdout);
  folder_make();
  run(argv[1]);
  folder_remove();
  printf("%s: %u found\n", argv[1], found_count);
  return found_count != 0;
}
