// SPDX-License-Identifier: MIT
// kv_load.c: a load client for servers of Redis' protocol: reads options, runs the threads, reports. bench/README.md tells what is measured.
//
// The record goes to stdout as one line of JSON, the same for people to stderr, as do complaints. Exit status: 0; 1 if the server cannot be reached, breaks the
// protocol, refuses a request or gives a wrong value; 2 if the command line is wrong.

#include "bench/kv_load.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

enum { USAGE = 2, LATE_US = 1000 };

static void usage(FILE *file) {
  fputs("kv_load: requests to a server of Redis' protocol, and how long their replies take\n\n"
        "  --port N              TCP port (6379), --host NAME (127.0.0.1); or\n"
        "  --unixsocket PATH\n"
        "  --connections N       over all threads (50)\n"
        "  --threads N           of this client (1)\n"
        "  --rate N              open loop: so many requests per second, sent when they are due; latency counts from then\n"
        "  --poisson             due at random times, at that rate on average\n"
        "  --pipeline N          without --rate, closed loop: requests outstanding per connection (1)\n"
        "  --window N            open loop: requests outstanding per connection at most (1024)\n"
        "  --seconds S           measured (10), after --warmup S (0); 0: nothing, with --preload\n"
        "  --preload MIB         fills the empty server with so many MiB of keys and values first\n"
        "  --flush               empties the server (FLUSHALL) before that\n"
        "  --keys N              how many keys there are, if there is no --preload (10000)\n"
        "  --value N[-N]         bytes of a value, 16 at least; a range: each size equally likely (32-1024)\n"
        "  --get-share X         share of reads (0.9); the rest are writes\n"
        "  --zipf S              keys by popularity, the n-th with weight 1 / n^S; 0: all alike (0)\n"
        "  --verify              check all that is read: key, version, checksum, bytes; --may-miss: keys may be gone\n"
        "  --timeout S           without any reply for so long the server is given up (10)\n"
        "  --idle S              an empty loop beforehand and afterwards, half as long each: what the machine does by itself (0)\n"
        "  --detail FILE         the histogram: lines \"gap <us> <count>\"\n"
        "  --seed N              (1)\n"
        "  --help\n",
        file);
}

static _Noreturn void usage_error(const char *what, const char *value) {
  fprintf(stderr, "kv_load: %s: '%s' (--help tells the options)\n", what, value);
  exit(USAGE);
}

static double number_read(const char *name, const char *text, double least, double most) {
  char *end;
  errno = 0;
  double value = strtod(text, &end);
  if (end == text || *end != 0 || !(value >= least && value <= most)) {
    char what[96];
    snprintf(what, sizeof what, "--%s wants a number from %g to %.10g", name, least, most);
    usage_error(what, text);
  }
  return value;
}

static uint64_t count_read(const char *name, const char *text, double least, double most) {
  double value = number_read(name, text, least, most);
  if (value != floor(value)) {
    char what[64];
    snprintf(what, sizeof what, "--%s wants a whole number", name);
    usage_error(what, text);
  }
  return (uint64_t)value;
}

static void sizes_read(kv_load_options *o, const char *text) {
  char first[32];
  const char *dash = strchr(text, '-');
  size_t length = dash != NULL ? (size_t)(dash - text) : strlen(text);
  if (length >= sizeof first) {
    usage_error("--value", text);
  }
  memcpy(first, text, length);
  first[length] = 0;
  o->value_least = (unsigned)count_read("value", first, KV_LOAD_VALUE_LEAST, KV_LOAD_VALUE_MOST);
  o->value_most = dash != NULL ? (unsigned)count_read("value", dash + 1, o->value_least, KV_LOAD_VALUE_MOST) : o->value_least;
}

enum {
  PORT,
  HOST,
  UNIX,
  CONNECTIONS,
  THREADS,
  RATE,
  POISSON,
  PIPELINE,
  WINDOW,
  SECONDS,
  WARMUP,
  PRELOAD,
  FLUSH,
  KEYS,
  VALUE,
  GET_SHARE,
  ZIPF,
  VERIFY,
  MAY_MISS,
  TIMEOUT,
  IDLE,
  DETAIL,
  SEED,
  HELP
};
static const struct option known[] = {{"port", 1, NULL, PORT},
                                      {"host", 1, NULL, HOST},
                                      {"unixsocket", 1, NULL, UNIX},
                                      {"connections", 1, NULL, CONNECTIONS},
                                      {"threads", 1, NULL, THREADS},
                                      {"rate", 1, NULL, RATE},
                                      {"poisson", 0, NULL, POISSON},
                                      {"pipeline", 1, NULL, PIPELINE},
                                      {"window", 1, NULL, WINDOW},
                                      {"seconds", 1, NULL, SECONDS},
                                      {"warmup", 1, NULL, WARMUP},
                                      {"preload", 1, NULL, PRELOAD},
                                      {"flush", 0, NULL, FLUSH},
                                      {"keys", 1, NULL, KEYS},
                                      {"value", 1, NULL, VALUE},
                                      {"get-share", 1, NULL, GET_SHARE},
                                      {"zipf", 1, NULL, ZIPF},
                                      {"verify", 0, NULL, VERIFY},
                                      {"may-miss", 0, NULL, MAY_MISS},
                                      {"timeout", 1, NULL, TIMEOUT},
                                      {"idle", 1, NULL, IDLE},
                                      {"detail", 1, NULL, DETAIL},
                                      {"seed", 1, NULL, SEED},
                                      {"help", 0, NULL, HELP},
                                      {NULL, 0, NULL, 0}};

static void option_read(kv_load_options *o, int option, const char *value) {
  const char *name = known[option].name;
  switch (option) {
  case PORT: o->port = (unsigned)count_read(name, value, 1, 65535); break;
  case HOST: o->host = value; break;
  case UNIX: o->unix_path = value; break;
  case CONNECTIONS: o->connections = (unsigned)count_read(name, value, 1, 100000); break;
  case THREADS: o->threads = (unsigned)count_read(name, value, 1, 256); break;
  case RATE: o->rate = number_read(name, value, 0.1, 1e7); break;
  case POISSON: o->poisson = true; break;
  case PIPELINE: o->pipeline = (unsigned)count_read(name, value, 1, 65536); break;
  case WINDOW: o->window = (unsigned)count_read(name, value, 1, 1 << 20); break;
  case SECONDS: o->seconds = number_read(name, value, 0, 1e6); break;
  case WARMUP: o->warmup = number_read(name, value, 0, 1e6); break;
  case PRELOAD: o->preload_mib = number_read(name, value, 0.01, 1 << 20); break;
  case FLUSH: o->flush = true; break;
  case KEYS: o->keys = count_read(name, value, 1, 2e9); break;
  case VALUE: sizes_read(o, value); break;
  case GET_SHARE: o->get_share = number_read(name, value, 0, 1); break;
  case ZIPF: o->zipf = number_read(name, value, 0, 10); break;
  case VERIFY: o->verify = true; break;
  case MAY_MISS: o->may_miss = true; break;
  case TIMEOUT: o->timeout = number_read(name, value, 0.1, 1e6); break;
  case IDLE: o->idle = number_read(name, value, 0, 600); break;
  case DETAIL: o->detail = value; break;
  case SEED: o->seed = count_read(name, value, 0, 9e15); break;
  case HELP: usage(stdout); exit(0);
  default: exit(USAGE); // getopt has said what is wrong
  }
}

static void options_read(kv_load_options *o, int argc, char **argv) {
  bool given[HELP + 1] = {false};
  for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
    if (option < 0 || option > HELP) {
      exit(USAGE);
    }
    given[option] = true;
    option_read(o, option, optarg);
  }
  if (optind < argc) {
    usage_error("what is this", argv[optind]);
  }
  static const struct { int one, other; } apart[] = {{UNIX, PORT}, {UNIX, HOST}, {RATE, PIPELINE}, {PRELOAD, KEYS}};
  for (size_t i = 0; i < sizeof apart / sizeof apart[0]; i++) {
    if (given[apart[i].one] && given[apart[i].other]) {
      char what[64];
      snprintf(what, sizeof what, "--%s and --%s exclude each other", known[apart[i].one].name, known[apart[i].other].name);
      usage_error(what, "both");
    }
  }
  if (o->unix_path != NULL && strlen(o->unix_path) >= sizeof((struct sockaddr_un *)NULL)->sun_path) {
    usage_error("--unixsocket is too long a path", o->unix_path);
  }
  if (o->poisson && o->rate == 0) {
    usage_error("--poisson wants --rate", "");
  }
  if (given[FLUSH] && !given[PRELOAD]) {
    usage_error("--flush wants --preload", "");
  }
  if (o->seconds == 0 && !given[PRELOAD]) {
    usage_error("--seconds 0 wants --preload", "");
  }
  if (o->threads > o->connections) {
    usage_error("--threads: more of them than connections", "");
  }
  if (given[PRELOAD]) {
    double mean = KV_LOAD_KEY_BYTES + (o->value_least + (double)o->value_most) / 2;
    o->keys = (uint64_t)(o->preload_mib * (1 << 20) / mean + 0.5);
  }
  if (o->keys < o->connections) { // each connection writes keys of its own
    usage_error("there are fewer keys than connections", given[PRELOAD] ? "--preload" : "--keys");
  }
  if (o->pipeline > o->window) {
    o->window = o->pipeline;
  }
}

static void *preload_main(void *client) {
  kv_load_client_preload(client);
  return NULL;
}

static void *run_main(void *client) {
  kv_load_client_run(client);
  return NULL;
}

static void threads_run(kv_load_client *clients, unsigned count, void *(*body)(void *)) {
  for (unsigned i = 0; i < count; i++) {
    if (pthread_create(&clients[i].thread, NULL, body, &clients[i]) != 0) {
      kv_load_fail("cannot start thread %u", i);
    }
  }
  for (unsigned i = 0; i < count; i++) {
    pthread_join(clients[i].thread, NULL);
  }
}

static void preload(const kv_load_options *o, kv_load_client *clients) {
  if (o->flush) {
    kv_load_ask(o, "FLUSHALL");
  }
  long long before = kv_load_ask(o, "DBSIZE");
  if (before != 0) {
    kv_load_fail("the server holds %lld keys already; --flush drops them", before);
  }
  threads_run(clients, o->threads, preload_main);
  long long after = kv_load_ask(o, "DBSIZE");
  if (after != (long long)o->keys && !o->may_miss) {
    kv_load_fail("%" PRIu64 " keys were set, but DBSIZE is %lld", o->keys, after);
  }
}

// What all threads saw.
static void clients_sum(kv_load_client *all, const kv_load_client *clients, unsigned count) {
  all->begun = UINT64_MAX;
  for (unsigned i = 0; i < count; i++) {
    const kv_load_client *c = &clients[i];
    gaps_histogram_merge(&all->latency, &c->latency);
    gaps_histogram_merge(&all->late, &c->late);
    all->done += c->done;
    all->gets += c->gets;
    all->sets += c->sets;
    all->misses += c->misses;
    all->errors += c->errors;
    all->wrong += c->wrong;
    all->bound_hits += c->bound_hits;
    all->preloaded_bytes += c->preloaded_bytes;
    all->cpu_seconds += c->cpu_seconds;
    all->preload_seconds = fmax(all->preload_seconds, c->preload_seconds);
    all->begun = c->begun < all->begun ? c->begun : all->begun;
    all->ended = c->ended > all->ended ? c->ended : all->ended;
  }
}

// Requests that were sent more than LATE_US after they were due.
static uint64_t late_sends(const gaps_histogram *late) {
  uint64_t count = 0;
  for (unsigned i = gaps_slot((uint64_t)(LATE_US / gaps_ticks_to_us(1))); i < GAPS_SLOTS; i++) {
    count += late->count[i];
  }
  return count;
}

static void record_write(const kv_load_options *o, const kv_load_client *all, double machine_gap_us) {
  double seconds = gaps_ticks_to_us((double)(all->ended - all->begun)) / 1e6;
  const gaps_histogram *l = &all->latency;
  printf("{\"loop\": \"%s\", \"connections\": %u, \"client_threads\": %u, \"seed\": %" PRIu64 ", \"keys\": %" PRIu64, o->rate > 0 ? "open" : "closed",
         o->connections, o->threads, o->seed, o->keys);
  if (o->preload_mib > 0) {
    printf(", \"preload_mib\": %.6g, \"preload_s\": %.4g", all->preloaded_bytes / (1 << 20), all->preload_seconds);
  }
  if (o->seconds > 0) {
    printf(", \"seconds\": %.4g, \"rate\": %.6g, \"ops\": %" PRIu64 ", \"ops_per_s\": %.6g", seconds, o->rate, all->done,
           seconds > 0 ? (double)all->done / seconds : 0);
    printf(", \"latency_p50_us\": %.6g, \"latency_p99_us\": %.6g, \"latency_p999_us\": %.6g, \"latency_p9999_us\": %.6g, \"latency_max_us\": %.6g",
           gaps_histogram_at_us(l, 0.5), gaps_histogram_at_us(l, 0.99), gaps_histogram_at_us(l, 0.999), gaps_histogram_at_us(l, 0.9999),
           gaps_histogram_max_us(l));
    printf(", \"late_p99_us\": %.6g, \"late_max_us\": %.6g, \"late_sends\": %" PRIu64 ", \"bound_hits\": %" PRIu64, gaps_histogram_at_us(&all->late, 0.99),
           gaps_histogram_max_us(&all->late), late_sends(&all->late), all->bound_hits);
    printf(", \"gets\": %" PRIu64 ", \"sets\": %" PRIu64 ", \"misses\": %" PRIu64 ", \"client_cpu_share\": %.3g", all->gets, all->sets, all->misses,
           seconds > 0 ? all->cpu_seconds / seconds / o->threads : 0);
  }
  printf(", \"errors\": %" PRIu64 ", \"wrong\": %" PRIu64, all->errors, all->wrong);
  if (o->idle > 0) {
    printf(", \"machine_gap_max_us\": %.6g", machine_gap_us);
  }
  puts("}");
}

static void people_write(const kv_load_options *o, const kv_load_client *all) {
  double seconds = gaps_ticks_to_us((double)(all->ended - all->begun)) / 1e6;
  const gaps_histogram *l = &all->latency;
  if (o->preload_mib > 0) {
    fprintf(stderr, "preloaded %" PRIu64 " keys, %.1f MiB in %.2f s\n", o->keys, all->preloaded_bytes / (1 << 20), all->preload_seconds);
  }
  if (o->seconds > 0) {
    fprintf(stderr, "%" PRIu64 " requests in %.2f s, %.0f per second, %u connections, %s loop\n", all->done, seconds,
            seconds > 0 ? (double)all->done / seconds : 0, o->connections, o->rate > 0 ? "open" : "closed");
    fprintf(stderr, "latency us: 50 %% %.0f, 99 %% %.0f, 99.9 %% %.0f, 99.99 %% %.0f, largest %.0f\n", gaps_histogram_at_us(l, 0.5),
            gaps_histogram_at_us(l, 0.99), gaps_histogram_at_us(l, 0.999), gaps_histogram_at_us(l, 0.9999), gaps_histogram_max_us(l));
    if (o->rate > 0) {
      fprintf(stderr, "sent late by, us: 99 %% %.0f, largest %.0f; %" PRIu64 " by more than %d\n", gaps_histogram_at_us(&all->late, 0.99),
              gaps_histogram_max_us(&all->late), late_sends(&all->late), LATE_US);
    }
    fprintf(stderr, "reads %" PRIu64 " (%" PRIu64 " of nothing), writes %" PRIu64 "; this client used %.0f %% of a processor per thread\n", all->gets,
            all->misses, all->sets, seconds > 0 ? 100 * all->cpu_seconds / seconds / o->threads : 0);
  }
  if (all->bound_hits > 0) {
    fprintf(stderr, "BOUND HIT: %" PRIu64 " times a request was due when all connections had %u outstanding (--window)\n", all->bound_hits, o->window);
  }
  if (all->errors + all->wrong > 0) {
    fprintf(stderr, "ERRORS: %" PRIu64 " replies were errors, %" PRIu64 " values were wrong\n", all->errors, all->wrong);
  }
}

int main(int argc, char **argv) {
  kv_load_options o = {.host = "127.0.0.1",
                       .port = 6379,
                       .connections = 50,
                       .threads = 1,
                       .pipeline = 1,
                       .window = 1024,
                       .seconds = 10,
                       .timeout = 10,
                       .keys = 10000,
                       .seed = 1,
                       .value_least = 32,
                       .value_most = 1024,
                       .get_share = 0.9};
  options_read(&o, argc, argv);
  gaps_calibrate();
  kv_load_data_open(o.seed);
  kv_load_version *versions = calloc(o.keys, sizeof *versions);
  kv_load_client *clients = calloc(o.threads + 1, sizeof *clients), *all = clients + o.threads;
  FILE *detail = o.detail != NULL ? fopen(o.detail, "w") : NULL;
  if (versions == NULL || clients == NULL) {
    kv_load_fail("no memory for %" PRIu64 " keys", o.keys);
  }
  if (o.detail != NULL && detail == NULL) {
    kv_load_fail("--detail %s: %s", o.detail, strerror(errno));
  }
  for (unsigned i = 0; i < o.threads; i++) {
    clients[i] = (kv_load_client){.options = &o, .index = i, .versions = versions};
    kv_load_client_open(&clients[i]);
  }
  double machine_gap_us = gaps_machine_max_us(o.idle / 2);
  if (o.preload_mib > 0) {
    preload(&o, clients);
  }
  if (o.seconds > 0) {
    threads_run(clients, o.threads, run_main);
  }
  machine_gap_us = fmax(machine_gap_us, gaps_machine_max_us(o.idle / 2));
  clients_sum(all, clients, o.threads);
  for (unsigned i = 0; i < o.threads; i++) {
    kv_load_client_close(&clients[i]);
  }
  people_write(&o, all);
  record_write(&o, all, machine_gap_us);
  if (detail != NULL) {
    gaps_histogram_write_detail(&all->latency, detail);
    fclose(detail);
  }
  int status = all->errors + all->wrong > 0;
  free(clients);
  free(versions);
  return status;
}
