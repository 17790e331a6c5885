// SPDX-License-Identifier: MIT
// kv_load_client.c: one thread of the load client: sends requests when they are due, and says when their replies came.
//
// In an open loop a request has an intended time that no reply moves, and its latency counts from there: a server that stands still for 50 ms is late for
// all that was to come in these 50 ms. The thread sleeps in epoll until the next request is due or a reply is there; it spins for the
// last microseconds only, because the server may need the processor. All but `versions` is the thread's own.

#include "bench/kv_load.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
  SPIN_US = 5,
  BATCH = 256,  // requests sent before replies are looked for, when many are due
  TOGETHER = 8, // of these on one connection, which costs one system call
  EVENTS = 64,
  READ_BYTES = 65536,
  PRELOAD_DEPTH = 64, // requests outstanding per connection
};
#define FOREVER UINT64_MAX

static uint64_t ticks_of_us(double us) { return (uint64_t)(us / gaps_ticks_to_us(1)); }

static double cpu_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

// ---- Requests.

static size_t bulk_write(char *to, size_t size) { return (size_t)sprintf(to, "$%zu\r\n", size); }

// Puts it into the connection's buffer and ring, which has room.
static void request_send(kv_load_client *c, kv_load_connection *n, kv_load_request request) {
  const kv_load_options *o = c->options;
  kv_load_version *version = &c->versions[request.key];
  unsigned size = 0;
  if (request.writes) {
    request.version = version->sent + 1; // only this connection writes the key
    __atomic_store_n(&version->sent, request.version, __ATOMIC_RELEASE);
    size = kv_load_value_size(o, request.key, request.version);
  } else {
    request.version = __atomic_load_n(&version->acknowledged, __ATOMIC_ACQUIRE);
  }
  char *begin = kv_load_buffer_room(&n->out, size + 128), *to = begin;
  to += sprintf(to, request.writes ? "*3\r\n$3\r\nSET\r\n" : "*2\r\n$3\r\nGET\r\n");
  to += bulk_write(to, KV_LOAD_KEY_BYTES);
  kv_load_key_write(to, request.key);
  to += KV_LOAD_KEY_BYTES;
  to = (char *)memcpy(to, "\r\n", 2) + 2;
  if (request.writes) {
    to += bulk_write(to, size);
    kv_load_value_write(to, size, request.key, request.version);
    to = (char *)memcpy(to + size, "\r\n", 2) + 2;
  }
  n->out.limit += (size_t)(to - begin);
  n->ring[(n->first + n->count) % o->window] = request;
  n->count++;
  if (c->outstanding++ == 0) {
    c->last_reply = gaps_now(); // patience begins now
  }
  if (!n->is_dirty) {
    n->is_dirty = true;
    c->dirty[c->dirty_count++] = n;
  }
  if (c->preloading) {
    c->preloaded_bytes += KV_LOAD_KEY_BYTES + size;
  }
}

static void request_draw(kv_load_client *c, kv_load_connection *n, uint64_t intended) {
  const kv_load_options *o = c->options;
  bool writes = kv_load_random_unit(&c->random) >= o->get_share;
  uint64_t rank = o->zipf > 0 ? kv_load_zipf_draw(&c->zipf, &c->random) : kv_load_random(&c->random) % o->keys;
  if (writes) { // To one of the connection's own keys, of nearly the same popularity.
    rank = rank - rank % o->connections + n->index;
    rank -= rank >= o->keys ? o->connections : 0;
  }
  uint32_t key = (uint32_t)kv_load_key_of_rank(rank, o->keys);
  request_send(c, n, (kv_load_request){.intended = intended, .key = key, .writes = writes, .counts = c->measuring});
}

static void preload_next(kv_load_client *c, kv_load_connection *n) {
  const kv_load_options *o = c->options;
  uint64_t rank = n->filled * o->connections + n->index;
  if (rank < o->keys) {
    n->filled++;
    uint32_t key = (uint32_t)kv_load_key_of_rank(rank, o->keys);
    request_send(c, n, (kv_load_request){.intended = gaps_now(), .key = key, .writes = true});
  }
}

// ---- Replies.

static void wrong_say(kv_load_client *c, const kv_load_request *r, const char *what) {
  if (c->wrong++ == 0) {
    char key[KV_LOAD_KEY_BYTES];
    kv_load_key_write(key, r->key);
    fprintf(stderr, "kv_load: WRONG: the value of %.*s is %s (version %u was acknowledged when it was asked for)\n", KV_LOAD_KEY_BYTES, key, what, r->version);
  }
}

static void read_verify(kv_load_client *c, const kv_load_request *r, const kv_load_reply *reply) {
  bool known = r->version != 0; // or an earlier process may have written it, at any version
  if (reply->text == NULL) {
    if (known && !c->options->may_miss) {
      wrong_say(c, r, "not there");
    }
    return;
  }
  uint32_t most = known ? __atomic_load_n(&c->versions[r->key].sent, __ATOMIC_ACQUIRE) : UINT32_MAX;
  const char *wrong = kv_load_value_wrong(c->options, reply->text, reply->size, r->key, r->version, most);
  if (wrong != NULL) {
    wrong_say(c, r, wrong);
  }
}

static void reply_judge(kv_load_client *c, const kv_load_request *r, const kv_load_reply *reply) {
  if (reply->kind == '-') {
    if (c->errors++ == 0) {
      fprintf(stderr, "kv_load: the server says: %.*s\n", (int)reply->size, reply->text);
    }
    return;
  }
  if (reply->kind != (r->writes ? '+' : '$')) {
    kv_load_fail("a %s was answered by '%c'", r->writes ? "SET" : "GET", reply->kind);
  }
  if (r->writes) {
    __atomic_store_n(&c->versions[r->key].acknowledged, r->version, __ATOMIC_RELEASE);
  } else if (c->options->verify) {
    read_verify(c, r, reply);
  }
  if (r->counts) {
    c->gets += !r->writes;
    c->sets += r->writes;
    c->misses += !r->writes && reply->text == NULL;
  }
}

static void reply_take(kv_load_client *c, kv_load_connection *n, const kv_load_reply *reply, uint64_t now) {
  if (n->count == 0) {
    kv_load_fail("a reply that nobody asked for: '%c'", reply->kind);
  }
  kv_load_request *r = &n->ring[n->first];
  reply_judge(c, r, reply);
  if (r->counts) {
    gaps_histogram_add(&c->latency, now > r->intended ? now - r->intended : 0);
    c->done++;
  }
  n->first = (n->first + 1) % c->options->window;
  n->count--;
  c->outstanding--;
  c->last_reply = now;
  if (c->preloading) {
    preload_next(c, n);
  } else if (c->options->rate == 0 && now < c->ended) {
    request_draw(c, n, now);
  }
}

static void connection_read(kv_load_client *c, kv_load_connection *n) {
  ssize_t got = recv(n->fd, kv_load_buffer_room(&n->in, READ_BYTES), READ_BYTES, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
    return;
  }
  if (got <= 0) {
    kv_load_fail("the server hung up on connection %" PRIu64 " with %u requests outstanding%s%s", n->index, n->count, got < 0 ? ": " : "",
                 got < 0 ? strerror(errno) : "");
  }
  n->in.limit += (size_t)got;
  uint64_t now = gaps_now();
  kv_load_reply reply;
  int taken;
  while ((taken = kv_load_reply_take(&n->in, &reply)) > 0) {
    reply_take(c, n, &reply, now);
  }
  if (taken < 0) {
    size_t left = n->in.limit - n->in.first;
    kv_load_fail("the reply is not one of Redis' protocol to GET or SET: '%.*s'", (int)(left < 40 ? left : 40), n->in.at + n->in.first);
  }
}

// ---- The kernel.

static void connection_poll(kv_load_client *c, kv_load_connection *n, int operation, bool out) {
  struct epoll_event event = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = n};
  n->polled_out = out;
  if (epoll_ctl(c->epoll, operation, n->fd, &event) != 0) {
    kv_load_fail("epoll_ctl: %s", strerror(errno));
  }
}

static void connection_flush(kv_load_client *c, kv_load_connection *n) {
  kv_load_buffer *b = &n->out;
  while (b->first < b->limit) {
    ssize_t sent = send(n->fd, b->at + b->first, b->limit - b->first, MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN) {
      break;
    }
    if (sent < 0 && errno != EINTR) {
      kv_load_fail("the server takes no more on connection %" PRIu64 ": %s", n->index, strerror(errno));
    }
    b->first += sent > 0 ? (size_t)sent : 0;
  }
  bool left = b->first < b->limit;
  if (left != n->polled_out) {
    connection_poll(c, n, EPOLL_CTL_MOD, left);
  }
}

static void dirty_flush(kv_load_client *c) {
  for (unsigned i = 0; i < c->dirty_count; i++) {
    c->dirty[i]->is_dirty = false;
    if (!c->dirty[i]->polled_out) {
      connection_flush(c, c->dirty[i]);
    }
  }
  c->dirty_count = 0;
}

// Sends what waits, and sleeps until `due` or until there are replies, which it takes.
static void client_turn(kv_load_client *c, uint64_t due) {
  dirty_flush(c);
  uint64_t now = gaps_now(), spin = ticks_of_us(SPIN_US);
  double wait_us = due <= now + spin ? 0 : gaps_ticks_to_us((double)(due - now));
  wait_us = wait_us < 1e5 ? wait_us : 1e5; // and looks whether the server still lives
  struct timespec timeout = {0, (long)(wait_us * 1e3)};
  struct epoll_event events[EVENTS];
  int count = epoll_pwait2(c->epoll, events, EVENTS, &timeout, NULL);
  if (count < 0 && errno != EINTR) {
    kv_load_fail("epoll_pwait2: %s", strerror(errno));
  }
  for (int i = 0; i < count; i++) {
    kv_load_connection *n = events[i].data.ptr;
    if ((events[i].events & EPOLLOUT) != 0) {
      connection_flush(c, n);
    }
    if ((events[i].events & ~(uint32_t)EPOLLOUT) != 0) {
      connection_read(c, n);
    }
  }
  if (count <= 0 && c->outstanding > 0) {
    now = gaps_now();
    if (now > c->last_reply && gaps_ticks_to_us((double)(now - c->last_reply)) > c->options->timeout * 1e6) {
      kv_load_fail("no reply for %g s, with %" PRIu64 " requests outstanding", c->options->timeout, c->outstanding);
    }
  }
}

static void outstanding_await(kv_load_client *c) {
  while (c->outstanding > 0) {
    client_turn(c, FOREVER);
  }
}

// ---- The loops.

// The connection whose turn it is, or the next one that has room; NULL if none has.
static kv_load_connection *connection_choose(kv_load_client *c) {
  for (unsigned i = 0; i < c->connection_count; i++) {
    kv_load_connection *n = &c->connections[c->turn];
    c->turn = (c->turn + 1) % c->connection_count;
    if (n->count < c->options->window) {
      return n;
    }
  }
  return NULL;
}

// Sends requests at their times from `begin` until `limit`.
static void open_loop(kv_load_client *c, uint64_t begin, uint64_t limit) {
  const kv_load_options *o = c->options;
  double interval = (double)ticks_of_us(1e12 / o->rate * o->threads) / 1e6; // ticks, with a fraction
  double offset = o->poisson ? -log(kv_load_random_unit(&c->random)) * interval : interval * c->index / o->threads;
  uint64_t due = begin + (uint64_t)offset, batch[BATCH];
  bool hit = false;
  while (due < limit) {
    unsigned sent = 0;
    kv_load_connection *n = NULL;
    while (due <= gaps_now() && due < limit && sent < BATCH) {
      if (sent % TOGETHER == 0 || n->count >= o->window) {
        n = connection_choose(c);
      }
      if (n == NULL) {
        c->bound_hits += !hit;
        hit = true;
        break;
      }
      hit = false;
      request_draw(c, n, due);
      batch[sent++] = due;
      offset += o->poisson ? -log(kv_load_random_unit(&c->random)) * interval : interval;
      due = begin + (uint64_t)offset;
    }
    dirty_flush(c);
    uint64_t now = gaps_now();
    for (unsigned i = 0; c->measuring && i < sent; i++) {
      gaps_histogram_add(&c->late, now > batch[i] ? now - batch[i] : 0);
    }
    client_turn(c, hit ? FOREVER : due);
  }
}

// Keeps `pipeline` requests outstanding on each connection; replies draw the next ones.
static void closed_loop(kv_load_client *c, uint64_t limit) {
  c->ended = limit;
  for (unsigned i = 0; i < c->connection_count; i++) {
    while (c->connections[i].count < c->options->pipeline) {
      request_draw(c, &c->connections[i], gaps_now());
    }
  }
  while (gaps_now() < limit) {
    client_turn(c, limit);
  }
  outstanding_await(c);
}

static void client_loop(kv_load_client *c, double seconds) {
  c->begun = gaps_now();
  uint64_t limit = c->begun + ticks_of_us(seconds * 1e6);
  if (c->options->rate > 0) {
    open_loop(c, c->begun, limit);
    if (c->measuring) {
      outstanding_await(c);
    }
  } else {
    closed_loop(c, limit);
  }
  uint64_t now = gaps_now();
  c->ended = now > limit ? now : limit;
}

void kv_load_client_run(kv_load_client *c) {
  prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0); // this thread's; 50 us by default
  if (c->options->warmup > 0) {
    client_loop(c, c->options->warmup); // What is outstanding in an open loop stays so.
  }
  c->measuring = true;
  double cpu_begun = cpu_now();
  c->bound_hits = 0;
  client_loop(c, c->options->seconds);
  c->cpu_seconds = cpu_now() - cpu_begun;
  c->measuring = false;
}

void kv_load_client_preload(kv_load_client *c) {
  uint64_t begun = gaps_now();
  unsigned depth = c->options->window < PRELOAD_DEPTH ? c->options->window : PRELOAD_DEPTH;
  c->preloading = true;
  for (unsigned i = 0; i < c->connection_count; i++) {
    for (unsigned k = 0; k < depth; k++) {
      preload_next(c, &c->connections[i]);
    }
  }
  outstanding_await(c);
  c->preloading = false;
  c->preload_seconds = gaps_ticks_to_us((double)(gaps_now() - begun)) / 1e6;
}

static void *checked(void *memory) {
  if (memory == NULL) {
    kv_load_fail("no memory for connections");
  }
  return memory;
}

void kv_load_client_open(kv_load_client *c) {
  const kv_load_options *o = c->options;
  c->random = o->seed * 1000003 + c->index;
  c->connection_count = o->connections / o->threads + (c->index < o->connections % o->threads);
  c->connections = checked(calloc(c->connection_count, sizeof *c->connections));
  c->dirty = checked(calloc(c->connection_count, sizeof(kv_load_connection *)));
  c->epoll = epoll_create1(EPOLL_CLOEXEC);
  if (c->epoll < 0) {
    kv_load_fail("epoll_create1: %s", strerror(errno));
  }
  kv_load_zipf_open(&c->zipf, o->keys, o->zipf);
  for (unsigned i = 0; i < c->connection_count; i++) {
    kv_load_connection *n = &c->connections[i];
    char error[256];
    n->index = c->index + (uint64_t)i * o->threads;
    n->ring = checked(calloc(o->window, sizeof *n->ring));
    n->fd = kv_load_connect(o, error, sizeof error);
    if (n->fd < 0) {
      kv_load_fail("connection %" PRIu64 ": %s", n->index, error);
    }
    connection_poll(c, n, EPOLL_CTL_ADD, false);
  }
}

void kv_load_client_close(kv_load_client *c) {
  for (unsigned i = 0; i < c->connection_count; i++) {
    kv_load_connection *n = &c->connections[i];
    close(n->fd);
    free(n->ring);
    free(n->in.at);
    free(n->out.at);
  }
  close(c->epoll);
  free(c->connections);
  free(c->dirty);
}
