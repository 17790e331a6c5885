// SPDX-License-Identifier: MIT
// compress_main.c: options, records, and what all parts use. See compress.h.

#include "bench/compress.h"

#include <dirent.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <sys/stat.h>
#include <unistd.h>
#include <veil/hooks.h>
#include "bench/compress_zram.h"

compress_options compress_now = {.program = "kv", .part = "replay", .live_mib = 64, .cold = 0.5, .drift = 0.001, .before_s = 4, .warm_s = 15, .seconds = 12, .interval_ms = 250, .least_ms = 2500,
                                 .sample_mib = 256, .cycles = 5, .seed = 1};
const compress_program *compress_running;
veil_heap *compress_heap;
veil_thread *compress_self;

static const compress_program *const programs[] = {&compress_kv, &compress_graph};
static const struct {
  const char *name;
  void (*run)(void);
} parts[] = {{"replay", compress_replay}, {"pages", compress_ways}, {"cycle", compress_cycle}};

_Noreturn void compress_fail(const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

void *compress_memory(size_t count, size_t size) {
  void *memory = calloc(count > 0 ? count : 1, size);
  if (memory == NULL) {
    compress_fail("memory", "there is none");
  }
  return memory;
}

double compress_now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double compress_cpu_s(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

uint64_t compress_random(uint64_t *state) { // Steele, Lea and Flood's SplitMix64 (OOPSLA 2014)
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// What the system holds of the heap's memory, which is a file without a name: veil_stats.held_bytes counts pages whose memory a service has given back.
static double memory_files_mib(void) {
  double bytes = 0;
  DIR *folder = opendir("/proc/self/fd");
  for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
    char target[64];
    ssize_t length = readlinkat(dirfd(folder), entry->d_name, target, sizeof target - 1);
    struct stat status;
    target[length > 0 ? length : 0] = 0;
    if (strncmp(target, "/memfd:veil", 11) == 0 && fstatat(dirfd(folder), entry->d_name, &status, 0) == 0) {
      bytes += (double)status.st_blocks * 512;
    }
  }
  if (folder != NULL) {
    closedir(folder);
  }
  return bytes / (1 << 20);
}

double compress_resident_mib(void) {
  char line[256];
  double kib = 0;
  FILE *file = fopen("/proc/self/status", "r");
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    sscanf(line, "RssAnon: %lf", &kib);
  }
  if (file != NULL) {
    fclose(file);
  }
  return memory_files_mib() + kib / 1024;
}

veil_compressor *compress_open(bool speed, unsigned interval_ms, unsigned least_ms, unsigned age_ms) {
  if (compress_now.without) {
    return NULL;
  }
  veil_compressor_options o = {.prefer = speed ? VEIL_COMPRESS_SPEED : VEIL_COMPRESS_SPACE, .target = compress_now.target, .interval_ms = interval_ms, .least_ms = least_ms, .age_ms = age_ms};
  veil_compressor *c = veil_compressor_open(compress_heap, &o);
  if (c == NULL) {
    fprintf(stderr, "%s\n", veil_error());
    exit(COMPRESS_CANNOT);
  }
  return c;
}

// From the beginning on, as by a compressor that is open that long: a cycle that moves all puts what is reached one after the other side by side, and a page with 50 nodes of which the half
// sleeps is never cold. With --without it is the same, and so it is before and after a compressor: what is compared has the same objects on the same pages.
static void compress_keep(void) {
  static const veil_service_callbacks none;
  veil_service *keeps = veil_service_open(compress_heap, "bench", &none, NULL);
  if (keeps == NULL) {
    compress_fail("veil_service_open", veil_error());
  }
  veil_service_keep_in_place(keeps, true);
}

// ---- Options.

static _Noreturn void wrong(const char *what, const char *value) {
  fprintf(stderr,
          "%s: '%s'\noptions: --program kv|graph --part replay|pages|cycle --live MIB --cold SHARE --drift SHARE --before S --warm S --seconds S --interval MS --least MS --target SHARE\n"
          "         --prefer space|speed --without --sample MIB --no-zram --cycles N --seed N --back-end NAME --detail FILE\n",
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

static void option_take(compress_options *o, int option, const char *text) {
  switch (option) {
  case 'p': o->program = text; break;
  case 'a': o->part = text; break;
  case 'l': o->live_mib = number("--live", text, 1, 1 << 20); break;
  case 'c': o->cold = number("--cold", text, 0, 0.99); break;
  case 'd': o->drift = number("--drift", text, 0, 100); break;
  case 'b': o->before_s = number("--before", text, 0.1, 1e5); break;
  case 'w': o->warm_s = number("--warm", text, 0, 1e5); break;
  case 's': o->seconds = number("--seconds", text, 0.1, 1e5); break;
  case 'i': o->interval_ms = (unsigned)number("--interval", text, 0, 1e6); break;
  case 'e': o->least_ms = (unsigned)number("--least", text, 0, 1e8); break;
  case 't': o->target = number("--target", text, 0, 1); break;
  case 'm': o->sample_mib = number("--sample", text, 0.1, 1 << 20); break;
  case 'y': o->cycles = (unsigned)number("--cycles", text, 1, 1000); break;
  case 'r': o->seed = (uint64_t)number("--seed", text, 0, 1e15); break;
  case 'k': o->back_end = text; break;
  case 'f': o->detail = text; break;
  case 'o': o->without = true; break;
  case 'z': o->no_zram = true; break;
  case 'x':
    if (strcmp(text, "space") != 0 && strcmp(text, "speed") != 0) {
      wrong("--prefer", text);
    }
    o->speed = strcmp(text, "speed") == 0;
    break;
  default: wrong("no such option", "");
  }
}

// Which part is to be run.
static size_t options_read(int argc, char **argv) {
  static const struct option known[] = {
      {"program", 1, NULL, 'p'}, {"part", 1, NULL, 'a'},     {"live", 1, NULL, 'l'},   {"cold", 1, NULL, 'c'},   {"drift", 1, NULL, 'd'},   {"before", 1, NULL, 'b'}, {"warm", 1, NULL, 'w'},
      {"seconds", 1, NULL, 's'}, {"interval", 1, NULL, 'i'}, {"least", 1, NULL, 'e'},  {"target", 1, NULL, 't'}, {"sample", 1, NULL, 'm'},  {"cycles", 1, NULL, 'y'}, {"seed", 1, NULL, 'r'},
      {"back-end", 1, NULL, 'k'}, {"detail", 1, NULL, 'f'},  {"without", 0, NULL, 'o'}, {"no-zram", 0, NULL, 'z'}, {"prefer", 1, NULL, 'x'}, {NULL, 0, NULL, 0}};
  for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
    option_take(&compress_now, option, optarg);
  }
  if (optind < argc) {
    wrong("no such option", argv[optind]);
  }
  for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
    if (strcmp(programs[i]->name, compress_now.program) == 0) {
      compress_running = programs[i];
    }
  }
  if (compress_running == NULL) {
    wrong("--program", compress_now.program);
  }
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    if (strcmp(parts[i].name, compress_now.part) == 0) {
      return i;
    }
  }
  wrong("--part", compress_now.part);
}

// ---- Records.

static const char *separator;

void compress_json(const char *name, double value) {
  printf("%s\"%s\": ", separator, name);
  separator = ", ";
  if (value - value == 0) {
    printf("%.9g", value);
  } else {
    fputs("null", stdout); // an infinity: there is none in JSON
  }
}
void compress_json_text(const char *name, const char *value) {
  printf("%s\"%s\": \"", separator, name);
  for (; *value != 0; value++) {
    putchar(*value == '"' || *value == '\\' || (unsigned char)*value < ' ' ? '\'' : *value);
  }
  putchar('"');
  separator = ", ";
}

void compress_record_begin(const char *collector) {
  char back_end[32] = "";
  if (strcmp(collector, "veil") == 0 || strcmp(collector, "without") == 0) {
    snprintf(back_end, sizeof back_end, "%s", veil_back_end(compress_heap)); // a name and a reason: the record wants the name
    back_end[strcspn(back_end, " :,;")] = 0;
  }
  fputs("{", stdout);
  separator = "";
  compress_json_text("workload", "compress");
  compress_json_text("collector", collector);
  compress_json_text("back_end", back_end);
  compress_json_text("program", compress_now.program);
  compress_json_text("part", compress_now.part);
  compress_json("threads", 1);
  compress_json("seed", (double)compress_now.seed);
}

void compress_record_end(void) {
  puts("}");
  fflush(stdout);
}

FILE *compress_detail(void) {
  static FILE *file;
  if (file == NULL && compress_now.detail != NULL) {
    file = fopen(compress_now.detail, "w");
    if (file == NULL) {
      compress_fail(compress_now.detail, "cannot be written");
    }
  }
  return file;
}

int main(int argc, char **argv) {
  size_t part = options_read(argc, argv);
  if (parts[part].run == compress_ways && !compress_now.no_zram) {
    zram_begin();
  }
  gaps_calibrate();
  veil_options options = {.back_end = compress_now.back_end, .idle = 86400000}; // no cycle but the program's own
  compress_heap = veil_open(&options);
  compress_self = compress_heap != NULL ? veil_attach(compress_heap) : NULL;
  if (compress_self == NULL) {
    compress_fail("veil_open", veil_error());
  }
  compress_keep();
  compress_running->build();
  veil_collect(compress_self);
  veil_collect(compress_self);
  parts[part].run();
  FILE *detail = compress_detail();
  if (detail != NULL) {
    fclose(detail);
  }
  return 0;
}
