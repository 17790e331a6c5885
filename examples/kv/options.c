// SPDX-License-Identifier: MIT
// options.c: the command line.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>
#include "kv.h"

kv_options kv_options_now = {.bind = "127.0.0.1", .port = 6379, .maxclients = 10000, .bulk_limit = (uint64_t)512 << 20, .output_limit = (uint64_t)256 << 20, .directory = ".", .name = NULL, .save = NULL};
const char *const kv_policy_names[4] = {"noeviction", "allkeys-lru", "allkeys-random", "volatile-ttl"};

static const char help[] = "kv-%s: a concurrent in-memory server that speaks the Redis protocol\n\n"
                           "  --port N                  TCP port, 0: none (6379)\n"
                           "  --bind ADDRESS            where to listen (127.0.0.1)\n"
                           "  --unixsocket PATH         also listen there\n"
                           "  --threads N               event loops, 1 to 64 (one per processor)\n"
                           "  --maxmemory BYTES         bytes of data; k, m, g are 1024 and so on; 0: no limit (0)\n"
                           "  --maxmemory-policy NAME   noeviction, allkeys-lru, allkeys-random, volatile-ttl (noeviction)\n"
                           "  --maxclients N            connections, 1 to 65536 (10000)\n"
                           "  --timeout SECONDS         idle connections are closed after; 0: never (0)\n"
                           "  --proto-max-bulk-len BYTES  longest argument, to 512m (512m)\n"
                           "  --output-limit BYTES      replies that may wait for a client before it is disconnected (256m)\n"
                           "  --dir PATH                where the file with the data is (.)\n"
                           "  --dbfilename NAME         its name; it is loaded at the start if it is there (kv.veil; veil only)\n"
                           "  --store FILE              the data are in a store: what was answered outlives a crash; if it is no whole path, in --dir (veil only)\n"
                           "  --save 'SECONDS CHANGES ...'  saves by itself, so long after the last time if so much has changed; '': only when asked ('')\n"
                           "  --heap-options STRING     the collector's own, name=value,... (veil only; see veil/options.h)\n"
                           "  --help, --version\n";

static void wrong(const char *what, const char *name, const char *value) {
  fprintf(stderr, "kv: %s%s%s%s\n", name, value ? " " : "", value ? value : "", what);
  exit(2);
}

bool kv_size_parse(const char *text, uint64_t *out) {
  char *end;
  errno = 0;
  if (*text < '0' || *text > '9') {
    return false;
  }
  unsigned long long value = strtoull(text, &end, 10);
  static const char units[] = "kmgt";
  unsigned shift = 0;
  const char *unit = *end ? strchr(units, *end | 32) : NULL;
  if (unit != NULL) {
    shift = (unsigned)(unit - units + 1) * 10;
    end++;
    end += (*end | 32) == 'b';
  }
  if (errno != 0 || *end != 0 || (shift > 0 && value >> (64 - shift) != 0)) {
    return false;
  }
  *out = value << shift;
  return true;
}

bool kv_policy_parse(const char *name, int *out) {
  for (int i = 0; i < 4; i++) {
    if (strcasecmp(name, kv_policy_names[i]) == 0) {
      *out = i;
      return true;
    }
  }
  return false;
}

static unsigned number(const char *name, const char *value, uint64_t least, uint64_t most) {
  uint64_t out;
  char *end;
  errno = 0;
  out = strtoull(value, &end, 10);
  if (*value < '0' || *value > '9' || *end != 0 || errno != 0 || out < least || out > most) {
    char what[80];
    snprintf(what, sizeof what, ": not a number from %llu to %llu", (unsigned long long)least, (unsigned long long)most);
    wrong(what, name, value);
  }
  return (unsigned)out;
}

static uint64_t size(const char *name, const char *value, uint64_t most) {
  uint64_t out;
  if (!kv_size_parse(value, &out) || out > most) {
    wrong(": not a size", name, value);
  }
  return out;
}

// "900 1 300 10": pairs of seconds and changes.
static void save_points_set(const char *name, const char *value) {
  kv_options *o = &kv_options_now;
  o->save = value;
  o->save_points = 0;
  for (const char *at = value + strspn(value, " "); *at; at += strspn(at, " ")) {
    uint64_t pair[2];
    for (int i = 0; i < 2; i++) {
      char *end;
      errno = 0;
      pair[i] = strtoull(at, &end, 10);
      if (*at < '0' || *at > '9' || errno != 0 || pair[i] < 1 || pair[i] > 1000000000 || (*end != ' ' && *end != 0)) {
        wrong(": not pairs of seconds and changes", name, value);
      }
      at = end + strspn(end, " ");
    }
    if (o->save_points == KV_SAVE_POINTS) {
      wrong(": more than 16 pairs", name, value);
    }
    o->save_point[o->save_points++] = (kv_save_point){pair[0], pair[1]};
  }
}

static void file_name_set(void) {
  kv_options *o = &kv_options_now;
  if (o->store != NULL) {
    if (!kv_memory_saves || *o->store == 0) {
      wrong(*o->store == 0 ? ": a file is wanted" : ": only kv on veil has stores", "--store", o->store);
    }
    if (o->name != NULL || o->save != NULL) {
      wrong(": does not go together with --store, where all is saved at once", o->name != NULL ? "--dbfilename" : "--save", o->name != NULL ? o->name : o->save);
    }
  }
  o->save = o->save != NULL ? o->save : "";
  o->name = o->store != NULL ? o->store : o->name != NULL ? o->name : "kv.veil";
  if (o->store == NULL && (*o->name == 0 || strchr(o->name, '/') != NULL)) {
    wrong(": a name without a directory is wanted", "--dbfilename", o->name);
  }
  size_t bytes = strlen(o->directory) + strlen(o->name) + 2;
  o->file = malloc(bytes);
  if (o->file == NULL) {
    wrong(": no memory", "--dbfilename", o->name);
  }
  snprintf(o->file, bytes, "%s%s%s", *o->name == '/' ? "" : o->directory, *o->name == '/' ? "" : "/", o->name);
}

static void option_set(const char *name, const char *value) {
  kv_options *o = &kv_options_now;
  int policy;
  if (strcmp(name, "--port") == 0) {
    o->port = number(name, value, 0, 65535);
  } else if (strcmp(name, "--bind") == 0) {
    o->bind = value;
  } else if (strcmp(name, "--unixsocket") == 0) {
    o->unixsocket = value;
  } else if (strcmp(name, "--threads") == 0) {
    o->threads = number(name, value, 1, KV_THREADS);
  } else if (strcmp(name, "--maxmemory") == 0) {
    o->maxmemory = size(name, value, UINT64_MAX);
  } else if (strcmp(name, "--maxmemory-policy") == 0) {
    if (!kv_policy_parse(value, &policy)) {
      wrong(": no policy; noeviction, allkeys-lru, allkeys-random, volatile-ttl are", name, value);
    }
    o->policy = policy;
  } else if (strcmp(name, "--maxclients") == 0) {
    o->maxclients = number(name, value, 1, 65536);
  } else if (strcmp(name, "--timeout") == 0) {
    o->timeout_s = number(name, value, 0, 1000000000);
  } else if (strcmp(name, "--proto-max-bulk-len") == 0) {
    o->bulk_limit = size(name, value, (uint64_t)512 << 20);
  } else if (strcmp(name, "--output-limit") == 0) {
    o->output_limit = size(name, value, UINT64_MAX);
  } else if (strcmp(name, "--dir") == 0) {
    o->directory = value;
  } else if (strcmp(name, "--dbfilename") == 0) {
    o->name = value;
  } else if (strcmp(name, "--save") == 0) {
    save_points_set(name, value);
  } else if (strcmp(name, "--store") == 0) {
    o->store = value;
  } else {
    o->heap_options = value;
  }
}

void kv_options_read(int argc, char **argv) {
  static const char *const names[] = {"--port",       "--bind",    "--unixsocket",         "--threads",      "--maxmemory",   "--maxmemory-policy",
                                      "--maxclients", "--timeout", "--proto-max-bulk-len", "--output-limit", "--heap-options",
                                      "--dir",        "--dbfilename", "--save", "--store"};
  for (int i = 1; i < argc; i += 2) {
    if (strcmp(argv[i], "--help") == 0) {
      printf(help, kv_memory_name);
      exit(0);
    }
    if (strcmp(argv[i], "--version") == 0) {
      printf("kv-%s %s\n", kv_memory_name, KV_VERSION);
      exit(0);
    }
    bool known = false;
    for (unsigned k = 0; k < sizeof names / sizeof names[0]; k++) {
      known = known || strcmp(argv[i], names[k]) == 0;
    }
    if (!known) {
      wrong(": there is no such option", argv[i], NULL);
    }
    if (i + 1 == argc) {
      wrong(": a value is missing", argv[i], NULL);
    }
    option_set(argv[i], argv[i + 1]);
  }
  if (kv_options_now.threads == 0) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    kv_options_now.threads = cores < 1 ? 1 : cores > KV_THREADS ? KV_THREADS : (unsigned)cores;
  }
  file_name_set();
  if (kv_options_now.port == 0 && kv_options_now.unixsocket == NULL) {
    wrong(": nothing to listen on without --unixsocket", "--port", "0");
  }
}
