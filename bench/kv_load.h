// SPDX-License-Identifier: MIT
// kv_load.h: the parts of the load client for Redis' protocol: its options, its keys and values, its threads.
//
// kv_load.c is main and the report, kv_load_wire.c connections and bytes, kv_load_data.c what is asked and what must come back, kv_load_client.c the
// loops that do it in time. Times are ticks of gaps.h.

#ifndef BENCH_KV_LOAD_H
#define BENCH_KV_LOAD_H

#include "bench/gaps.h"

#include <pthread.h>

enum { KV_LOAD_KEY_BYTES = 16, KV_LOAD_VALUE_LEAST = 16, KV_LOAD_VALUE_MOST = 1 << 20 };

typedef struct kv_load_options {
  const char *host, *unix_path; // one of them
  unsigned port, connections, threads, pipeline, window;
  double rate; // requests per second over all threads; 0: closed loop
  double seconds, warmup, idle, timeout;
  double preload_mib; // 0: the server has the keys already
  uint64_t keys, seed;
  unsigned value_least, value_most;
  double get_share, zipf; // zipf 0: uniform
  bool poisson, verify, may_miss, flush;
  const char *detail;
} kv_load_options;

// ---- kv_load_data.c: what is asked, and what must come back.

// What is known of a key: the version sent last and the one acknowledged last, 0 before the first. One connection writes a
// key, so both only grow, and a reply to a read must lie between what was acknowledged when the read was sent and what has been sent when
// its reply is there. Atomic.
typedef struct kv_load_version {
  uint32_t sent, acknowledged;
} kv_load_version;

// Draws ranks below `n`, the lower the more often: rank r with a weight of 1 / (r + 1)^s. Constant after opening.
typedef struct kv_load_zipf {
  double n, s, low, high, shift;
} kv_load_zipf;

void kv_load_zipf_open(kv_load_zipf *z, uint64_t n, double s);
uint64_t kv_load_zipf_draw(const kv_load_zipf *z, uint64_t *random);
uint64_t kv_load_random(uint64_t *state);
double kv_load_random_unit(uint64_t *state); // in (0, 1)

// The key with this popularity, so that popular ones are not neighbours. `keys` below 2^31.
uint64_t kv_load_key_of_rank(uint64_t rank, uint64_t keys);
void kv_load_key_write(char *to, uint64_t key); // KV_LOAD_KEY_BYTES, no zero

// A value is the key, the version, a checksum of these and its length, and bytes that follow from them: nothing in it is left to chance.
void kv_load_data_open(uint64_t seed);
unsigned kv_load_value_size(const kv_load_options *o, uint64_t key, uint32_t version);
void kv_load_value_write(char *to, unsigned size, uint64_t key, uint32_t version);
// NULL if the value is that of the key in a version of [least, most]; else what is wrong with it.
const char *kv_load_value_wrong(const kv_load_options *o, const char *value, size_t size, uint64_t key, uint32_t least, uint32_t most);

// ---- kv_load_wire.c: connections and bytes.

// Bytes [first, limit) wait in `at`; grows as needed.
typedef struct kv_load_buffer {
  char *at;
  size_t first, limit, size;
} kv_load_buffer;

char *kv_load_buffer_room(kv_load_buffer *b, size_t bytes); // so many bytes behind limit; ends the process if there is no memory

typedef struct kv_load_reply {
  char kind;        // '+', '-', ':', '$'
  const char *text; // of '+', '-' and '$'; NULL is nil. Valid until more is read
  size_t size;
  long long integer; // of ':'
} kv_load_reply;

// Takes one reply out of the buffer. 1; 0 if it is not all there yet; -1 if it is none that this client's requests can have.
int kv_load_reply_take(kv_load_buffer *b, kv_load_reply *reply);

// A connected socket that does not block, or -1 with a message in `error`.
int kv_load_connect(const kv_load_options *o, char *error, size_t error_size);

// A request of one word and its reply, on a connection of its own. Ends the process if that does not work within the timeout.
long long kv_load_ask(const kv_load_options *o, const char *command);

void kv_load_fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2))); // exit status 1

// ---- kv_load_client.c: one thread, its connections, its loops.

typedef struct kv_load_request {
  uint64_t intended; // when it was to be sent
  uint32_t key;
  uint32_t version; // of a write: its own; of a read: the one acknowledged when it was sent
  bool writes, counts;
} kv_load_request;

typedef struct kv_load_connection {
  int fd;
  uint64_t index;            // over all threads
  kv_load_request *ring;     // options.window of them
  unsigned first, count;     // those outstanding
  bool polled_out, is_dirty; // waits for EPOLLOUT; has requests that were not given to the kernel yet
  kv_load_buffer in, out;
  uint64_t filled; // preloading: how many of its keys were sent
} kv_load_connection;

typedef struct kv_load_client {
  // Constant after opening.
  const kv_load_options *options;
  unsigned index, connection_count;
  int epoll;
  kv_load_zipf zipf;
  kv_load_version *versions; // of all threads
  pthread_t thread;
  // The thread's own, read by others when it has ended.
  kv_load_connection *connections;
  kv_load_connection **dirty;
  unsigned dirty_count, turn; // the connection whose turn it is
  uint64_t random, outstanding, last_reply;
  bool preloading, measuring;
  gaps_histogram latency, late; // late: of sending, in an open loop
  uint64_t done, gets, sets, misses, errors, wrong, bound_hits;
  uint64_t begun, ended; // the measured stretch
  double preloaded_bytes, preload_seconds, cpu_seconds;
} kv_load_client;

void kv_load_client_open(kv_load_client *c);
void kv_load_client_preload(kv_load_client *c);
void kv_load_client_run(kv_load_client *c); // warms up, measures, and waits for what is outstanding
void kv_load_client_close(kv_load_client *c);

#endif
