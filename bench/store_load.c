// SPDX-License-Identifier: MIT
// store_load.c: see store_load.h.

#include "bench/store_load.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

load_options load_now = {.part = "commits", .k = 1, .threads = 1, .keys = 100000, .commits = 1000, .seconds = 3, .log_mib = 64, .seed = 1};
uint64_t *load_stamps;
bool load_making;

void load_fail(const char *what, const char *why) {
  fprintf(stderr, "%s: %s: %s\n", peer_here.name, what, why);
  exit(load_making ? CANNOT : 1);
}

static _Noreturn void wrong(const char *what, const char *value) {
  fprintf(stderr,
          "%s: '%s'\noptions: --file PATH --part commits|recover|walk|pages|rollback --k N --threads N --keys N --live MIB --commits N --seconds S --log MIB --walk store|volatile --at home|elsewhere --seed N "
          "--back-end NAME\n",
          what, value);
  exit(2);
}

static double number(const char *name, const char *text, double least, double most) {
  char *end;
  double value = strtod(text, &end);
  if (end == text || *end != 0 || !(value >= least && value <= most)) {
    wrong(name, text);
  }
  return value;
}

static const char *one_of(const char *name, const char *text, const char *const *known) {
  for (; *known != NULL; known++) {
    if (strcmp(text, *known) == 0) {
      return *known;
    }
  }
  wrong(name, text);
}

static void options_derive(load_options *o) {
  if (o->file == NULL) {
    wrong("--file is missing", "");
  }
  const struct {
    const char *part;
    bool there;
  } own[] = {{"walk", peer_here.walk != NULL}, {"pages", peer_here.pages != NULL}, {"rollback", peer_here.rollback != NULL}};
  for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
    if (strcmp(o->part, own[i].part) == 0 && !own[i].there) {
      wrong("not for this peer: --part", o->part);
    }
  }
  if (o->threads > o->keys) {
    wrong("more threads than --keys", "");
  }
  o->total = (uint64_t)(o->live_mib * (1 << 20)) / (VALUE_BYTES + KEY_BYTES);
  o->total = o->total > o->keys ? o->total : o->keys;
  o->stride = o->total / o->keys;
  load_stamps = calloc(o->keys, sizeof *load_stamps);
  if (load_stamps == NULL) {
    load_fail("--keys", "no memory");
  }
}

void load_options_read(int argc, char **argv) {
  enum { FILE_, PART, K, THREADS, KEYS, LIVE, COMMITS, SECONDS, LOG, WALK, AT, SEED, BACK_END };
  static const struct option known[] = {{"file", 1, NULL, FILE_}, {"part", 1, NULL, PART},       {"k", 1, NULL, K},             {"threads", 1, NULL, THREADS}, {"keys", 1, NULL, KEYS},
                                        {"live", 1, NULL, LIVE},  {"commits", 1, NULL, COMMITS}, {"seconds", 1, NULL, SECONDS}, {"log", 1, NULL, LOG},         {"walk", 1, NULL, WALK},
                                        {"at", 1, NULL, AT},      {"seed", 1, NULL, SEED},  {"back-end", 1, NULL, BACK_END}, {NULL, 0, NULL, 0}};
  static const char *const parts[] = {"commits", "recover", "walk", "pages", "rollback", NULL}, *const walks[] = {"store", "volatile", NULL}, *const places[] = {"home", "elsewhere", NULL};
  load_options *o = &load_now;
  o->walk = walks[0];
  o->at = places[0];
  for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
    switch (option) {
    case FILE_: o->file = optarg; break;
    case PART: o->part = one_of("--part", optarg, parts); break;
    case K: o->k = (unsigned)number("--k", optarg, 1, 10000); break;
    case THREADS: o->threads = (unsigned)number("--threads", optarg, 1, 64); break;
    case KEYS: o->keys = (uint64_t)number("--keys", optarg, 1, 1e8); break;
    case LIVE: o->live_mib = number("--live", optarg, 0, 1 << 20); break;
    case COMMITS: o->commits = (uint64_t)number("--commits", optarg, 1, 1e9); break;
    case SECONDS: o->seconds = number("--seconds", optarg, 0.01, 1000); break;
    case LOG: o->log_mib = number("--log", optarg, 1, 4096); break;
    case WALK: o->walk = one_of("--walk", optarg, walks); break;
    case AT: o->at = one_of("--at", optarg, places); break;
    case SEED: o->seed = (uint64_t)number("--seed", optarg, 0, 1e15); break;
    case BACK_END: o->back_end = optarg; break;
    default: wrong("no such option", argv[optind - 1]);
    }
  }
  if (optind < argc) {
    wrong("no such option", argv[optind]);
  }
  options_derive(o);
}

// ---- The values.

static uint64_t next_random(uint64_t *state) { // Steele, Lea and Flood's SplitMix64 (OOPSLA 2014)
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

void load_value(uint64_t key, uint64_t stamp, unsigned char *value) {
  uint64_t state = key * 0x2545f4914f6cdd1du + stamp * 0x9fb21c651e98df25u + load_now.seed;
  for (size_t at = 0; at < VALUE_BYTES; at += 8) {
    uint64_t word = next_random(&state);
    memcpy(value + at, &word, VALUE_BYTES - at < 8 ? VALUE_BYTES - at : 8);
  }
}

load_source load_source_begin(unsigned thread) {
  return (load_source){.random = load_now.seed * 1000003 + thread, .thread = thread};
}

void load_update_next(load_source *s, load_update *u) {
  uint64_t of_thread = (load_now.keys - s->thread + load_now.threads - 1) / load_now.threads; // keys
  uint64_t i = next_random(&s->random) % of_thread * load_now.threads + s->thread;
  uint64_t stamp = (uint64_t)(s->thread + 1) << 40 | ++s->made;
  u->key = i * load_now.stride;
  load_value(u->key, stamp, u->value);
  load_stamps[i] = stamp;
}

uint64_t load_check_add(uint64_t check, const unsigned char *value) {
  for (size_t at = 0; at < VALUE_BYTES; at += 8) {
    uint64_t word = 0;
    memcpy(&word, value + at, VALUE_BYTES - at < 8 ? VALUE_BYTES - at : 8);
    check = (check ^ word) * 0x9fb21c651e98df25u + (check >> 47);
  }
  return check;
}

// ---- What the system tells.

double load_now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double load_cpu_s(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

double load_status_mib(const char *field) {
  char line[256];
  double kib = 0;
  FILE *file = fopen("/proc/self/status", "r");
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

double load_files_mib(void) {
  double bytes = 0;
  for (int i = 0; i < SUFFIXES && peer_here.suffixes[i] != NULL; i++) {
    char path[4096];
    struct stat file;
    snprintf(path, sizeof path, "%s%s", load_now.file, peer_here.suffixes[i]);
    bytes += stat(path, &file) == 0 ? (double)file.st_blocks * 512 : 0;
  }
  return bytes / (1 << 20);
}

// ---- What was seen.

static char json[8192];
static size_t used;

void load_json(const char *name, double value) {
  used += (size_t)snprintf(json + used, sizeof json - used, "%s\"%s\": %.9g", used > 0 ? ", " : "", name, value);
}
void load_json_text(const char *name, const char *value) {
  used += (size_t)snprintf(json + used, sizeof json - used, "%s\"%s\": \"%s\"", used > 0 ? ", " : "", name, value);
}
void load_json_print(void) { printf("{%s}\n", json); }
