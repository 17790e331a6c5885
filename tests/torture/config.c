// SPDX-License-Identifier: MIT
// config.c: the command line; what it leaves open is derived from the seed.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "torture.h"

config cfg;

static const char usage[] =
    "usage: torture [--seed N] [--seconds S] [--threads N] [--back-end uffd|uffd-kernel|guard|mprotect|none] [--live KIB] [--limit MIB]\n"
    "  [--granule N] [--scanners N] [--stop signal|poll] [--storm|--no-storm] [--service|--no-service] [--instants|--no-instants]\n"
    "  [--verify N] [--torture K] [--growth PERCENT] [--headroom KIB] [--oom null|abort] [--churn|--no-churn] [--tight]\n"
    "  [--nursery KIB]  0: no generations  [--generations on|auto]\n"
    "  [--break 1|2|3]  corrupts something on purpose: it has to be found\n"
    "  [--watchdog S]   a run without a step for so long is a failure\n"
    "What is not given is derived from the seed; the seed from the clock.\n";

void config_print(void) {
  printf("torture: --seed %llu --seconds %g --threads %u --back-end %s --live %zu --limit %zu --granule %zu --scanners %u "
         "--stop %s %s %s %s --verify %u --torture %u --growth %u --headroom %zu --oom %s %s --nursery %zu --generations %s%s%.0u\n",
         (unsigned long long)cfg.seed, cfg.seconds, cfg.threads, cfg.back_end, cfg.live >> 10, cfg.limit >> 20, cfg.granule,
         cfg.scanners, cfg.poll ? "poll" : "signal", cfg.storm ? "--storm" : "--no-storm",
         cfg.service ? "--service" : "--no-service", cfg.instants ? "--instants" : "--no-instants", cfg.verify, cfg.collector_torture, cfg.growth, cfg.headroom >> 10,
         cfg.oom_null ? "null" : "abort", cfg.churn_threads ? "--churn" : "--no-churn", cfg.nursery >> 10, cfg.auto_generations ? "auto" : "on", cfg.sabotage ? " --break " : "",
         cfg.sabotage);
  fflush(stdout);
}

static _Noreturn void bad(const char *what, const char *why) {
  fprintf(stderr, "torture: %s: %s\n%s", what, why, usage);
  exit(2);
}

static double number(const char *name, const char *text, double low, double high) {
  char *end;
  double v = strtod(text ? text : "", &end);
  if (text == NULL || end == text || *end || v < low || v > high) {
    bad(name, "not a number, or out of range");
  }
  return v;
}

// Every choice is drawn, given or not, so that an option changes nothing else.
static void derive(bool tight) {
  rng r = {mix(cfg.seed ^ 0x746f7274757265ull)};
  static const size_t granules[] = {4096, 4096, 4096, 16384, 65536};
  static const char *const ends[] = {"uffd", "uffd", "uffd", "mprotect", "guard", "none"};
  cfg.threads = (unsigned)between(&r, 1, 6);
  cfg.back_end = ends[below(&r, 6)];
  cfg.live = between(&r, 500, 16000) << 10;
  size_t factor = between(&r, 30, 80); // tenths
  if (tight || one_in(&r, 4)) {
    factor = between(&r, 8, 24);
  }
  cfg.limit = cfg.live / 10 * factor + ((size_t)3 << 20);
  cfg.granule = granules[below(&r, 5)];
  cfg.scanners = (unsigned)between(&r, 1, 4);
  cfg.poll = one_in(&r, 5);
  cfg.storm = one_in(&r, 4);
  cfg.service = one_in(&r, 3);
  cfg.verify = one_in(&r, 3) ? (unsigned)between(&r, 1, 2) : 0;
  cfg.collector_torture = one_in(&r, 3) ? (unsigned)between(&r, 20, 2000) : 0;
  cfg.growth = (unsigned)between(&r, 5, 150);
  cfg.headroom = between(&r, 64, 8192) << 10;
  cfg.oom_null = true;
  cfg.churn_threads = one_in(&r, 2);
  cfg.nursery = one_in(&r, 2) ? between(&r, 128, 1024) << 10 : 0;
  cfg.auto_generations = one_in(&r, 2);
  cfg.instants = one_in(&r, 3);
  cfg.watchdog = 60;
  cfg.seconds = 10;
}

static bool option_flag(const char *a) {
  bool on = strncmp(a, "--no-", 5) != 0;
  const char *name = a + (on ? 2 : 5);
  if (strcmp(name, "storm") == 0) {
    cfg.storm = on;
  } else if (strcmp(name, "service") == 0) {
    cfg.service = on;
  } else if (strcmp(name, "instants") == 0) {
    cfg.instants = on;
  } else if (strcmp(name, "churn") == 0) {
    cfg.churn_threads = on;
  } else {
    return strcmp(a, "--tight") == 0;
  }
  return true;
}

static bool option_value(const char *a, const char *v) {
  if (strcmp(a, "--seed") == 0) {
    // Read already.
  } else if (strcmp(a, "--seconds") == 0) {
    cfg.seconds = number(a, v, 0.1, 1e6);
  } else if (strcmp(a, "--threads") == 0) {
    cfg.threads = (unsigned)number(a, v, 1, 64);
  } else if (strcmp(a, "--back-end") == 0) {
    cfg.back_end = v;
  } else if (strcmp(a, "--live") == 0) {
    cfg.live = (size_t)number(a, v, 100, 1e7) << 10;
  } else if (strcmp(a, "--limit") == 0) {
    cfg.limit = (size_t)number(a, v, 2, 20000) << 20;
  } else if (strcmp(a, "--granule") == 0) {
    cfg.granule = (size_t)number(a, v, 4096, 65536);
  } else if (strcmp(a, "--scanners") == 0) {
    cfg.scanners = (unsigned)number(a, v, 1, 64);
  } else if (strcmp(a, "--stop") == 0) {
    cfg.poll = v != NULL && strcmp(v, "poll") == 0;
  } else if (strcmp(a, "--verify") == 0) {
    cfg.verify = (unsigned)number(a, v, 0, 2);
  } else if (strcmp(a, "--torture") == 0) {
    cfg.collector_torture = (unsigned)number(a, v, 0, 1e6);
  } else if (strcmp(a, "--growth") == 0) {
    cfg.growth = (unsigned)number(a, v, 5, 1000);
  } else if (strcmp(a, "--headroom") == 0) {
    cfg.headroom = (size_t)number(a, v, 1, 1e7) << 10;
  } else if (strcmp(a, "--nursery") == 0) {
    cfg.nursery = (size_t)number(a, v, 0, 1e6) << 10;
  } else if (strcmp(a, "--generations") == 0) {
    cfg.auto_generations = v != NULL && strcmp(v, "auto") == 0;
  } else if (strcmp(a, "--oom") == 0) {
    cfg.oom_null = v != NULL && strcmp(v, "null") == 0;
  } else if (strcmp(a, "--break") == 0) {
    cfg.sabotage = (unsigned)number(a, v, 1, 3);
  } else if (strcmp(a, "--watchdog") == 0) {
    cfg.watchdog = (unsigned)number(a, v, 1, 1e6);
  } else {
    return false;
  }
  return true;
}

void config_read(int argc, char **argv) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  cfg.seed = mix((uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec + (uint64_t)getpid()) >> 24;
  bool tight = false;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
      cfg.seed = strtoull(argv[i + 1], NULL, 0);
    }
    tight |= strcmp(argv[i], "--tight") == 0;
  }
  printf("torture: seed %llu\n", (unsigned long long)cfg.seed);
  fflush(stdout);
  derive(tight);
  for (int i = 1; i < argc; i++) {
    if (option_flag(argv[i])) {
      continue;
    }
    if (i + 1 >= argc || !option_value(argv[i], argv[i + 1])) {
      bad(argv[i], "no such option, or its value is missing");
    }
    i++;
  }
#if defined(__SANITIZE_THREAD__)
  cfg.poll = true;
  cfg.storm = false;
#endif
}
