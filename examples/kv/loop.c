// SPDX-License-Identifier: MIT
// loop.c: the loops, one per thread, each with an epoll of its own; and accepting, which the first thread does for all.
//
// A connection goes to the thread that has the fewest. Four times a second idle connections are looked at, and what has expired is looked for as expiry.c says.

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include "kv.h"

enum { EVENTS = 128, CRON_MS = 250, RECLAIMED = 100, FAREWELL_MS = 1000, LISTENERS = 2 };
static const uint64_t WAKE = (uint64_t)-1, LISTEN = (uint64_t)-2; // in place of a slot and id

kv_thread kv_threads[KV_THREADS];
_Atomic int kv_stopping;
int64_t kv_started_ms;
static int listeners[LISTENERS] = {-1, -1}; // the first thread's
static bool accepting;                      // the first thread's

int64_t kv_now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
uint64_t kv_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}
// SplitMix64 (Steele, Lea and Flood).
uint64_t kv_random(kv_thread *t) {
  uint64_t x = t->random += 0x9e3779b97f4a7c15;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  return x ^ x >> 31;
}

// ---- Listening.

static bool wrong(const char *what, const char *where) {
  fprintf(stderr, "kv: %s %s: %s\n", what, where, strerror(errno));
  return false;
}

static int listener_open(int family, const void *address, socklen_t length) {
  int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
  if (fd >= 0) {
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, address, length) != 0 || listen(fd, 1024) != 0) {
      int error = errno;
      close(fd);
      errno = error;
      fd = -1;
    }
  }
  return fd;
}

bool kv_listen(void) {
  const kv_options *o = &kv_options_now;
  if (o->port != 0) {
    char port[16];
    snprintf(port, sizeof port, "%u", o->port);
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *found;
    int error = getaddrinfo(o->bind, port, &hints, &found);
    if (error != 0) {
      fprintf(stderr, "kv: --bind %s: %s\n", o->bind, gai_strerror(error));
      return false;
    }
    listeners[0] = listener_open(found->ai_family, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    if (listeners[0] < 0) {
      return wrong("cannot listen on port", port);
    }
  }
  if (o->unixsocket != NULL) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(o->unixsocket) >= sizeof address.sun_path) {
      errno = ENAMETOOLONG;
      return wrong("cannot listen on", o->unixsocket);
    }
    strcpy(address.sun_path, o->unixsocket);
    struct stat there;
    if (stat(o->unixsocket, &there) == 0 && S_ISSOCK(there.st_mode)) {
      unlink(o->unixsocket); // of one that was killed
    }
    listeners[1] = listener_open(AF_UNIX, &address, sizeof address);
    if (listeners[1] < 0) {
      return wrong("cannot listen on", o->unixsocket);
    }
  }
  return true;
}

static void accepting_set(kv_thread *t, bool on) {
  for (int i = 0; i < LISTENERS; i++) {
    if (listeners[i] >= 0 && on != accepting) {
      struct epoll_event event = {EPOLLIN, {.u64 = LISTEN - (uint64_t)i}};
      epoll_ctl(t->epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, listeners[i], &event);
    }
  }
  accepting = on;
}

static void wake(kv_thread *t) {
  uint64_t one = 1;
  ssize_t ignored = write(t->wake, &one, sizeof one);
  (void)ignored;
}

void kv_stop(void) {
  kv_stopping = 1;
  for (unsigned i = 0; i < kv_options_now.threads; i++) {
    wake(&kv_threads[i]);
  }
}

static void hand_over(kv_thread *t, int fd) {
  kv_thread *to = &kv_threads[0];
  for (unsigned i = 1; i < kv_options_now.threads; i++) {
    if (kv_threads[i].handed < to->handed) {
      to = &kv_threads[i];
    }
  }
  kv_lock(t->self, &to->inbox_lock);
  bool room = to->inbox_count < sizeof to->inbox / sizeof to->inbox[0];
  if (room) {
    to->inbox[to->inbox_count++] = fd;
    to->handed++;
  }
  kv_unlock(&to->inbox_lock);
  if (room) {
    wake(to);
  } else {
    close(fd);
  }
}

static void accept_some(kv_thread *t, int listener) {
  for (int i = 0; i < 64; i++) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        accepting_set(t, false); // until the next look around: they wait in the system's queue
      }
      return;
    }
    hand_over(t, fd);
  }
}

static void inbox_take(kv_thread *t) {
  uint64_t ignored;
  ssize_t got = read(t->wake, &ignored, sizeof ignored);
  (void)got;
  int fds[sizeof t->inbox / sizeof t->inbox[0]];
  kv_lock(t->self, &t->inbox_lock);
  unsigned count = t->inbox_count;
  memcpy(fds, t->inbox, count * sizeof fds[0]);
  t->inbox_count = 0;
  kv_unlock(&t->inbox_lock);
  for (unsigned i = 0; i < count; i++) {
    if (!kv_client_new(t, fds[i])) {
      t->handed--;
    }
  }
}

// ---- A thread.

static kv_client *event_client(const struct epoll_event *event) {
  return event->data.u64 == WAKE || event->data.u64 == LISTEN || event->data.u64 == LISTEN - 1 ? NULL : kv_client_at((int)(uint32_t)event->data.u64, event->data.u64 >> 32);
}

static void event_take(kv_thread *t, const struct epoll_event *event) {
  if (event->data.u64 == WAKE) {
    inbox_take(t);
    return;
  }
  if (event->data.u64 == LISTEN || event->data.u64 == LISTEN - 1) {
    accept_some(t, listeners[LISTEN - event->data.u64]);
    return;
  }
  kv_client *c = event_client(event);
  if (c == NULL) {
    return;
  }
  if (event->events & EPOLLIN) {
    kv_client_read(t, c);
  } else if (event->events & (EPOLLERR | EPOLLHUP)) {
    c->dead = true;
  }
  if (t->holds) {
    return; // until what all have asked for is done
  }
  if ((event->events & EPOLLOUT) && !c->dead) {
    kv_client_write(t, c);
  }
  kv_client_settle(t, c);
}

// What it waits for is durable. If it has sent more than could be run before its output went, that is run now, and waits for the next round.
static void client_answer(kv_thread *t, kv_client *c) {
  t->holds = false;
  kv_client_write(t, c);
  t->holds = true;
  kv_client_settle(t, c);
}

static void now_set(kv_thread *t) {
  t->now_ms = kv_now_ms();
  t->clock = (uint32_t)(t->now_ms / 100) & 0xffffff;
}

static void events_take(kv_thread *t, int timeout_ms) {
  struct epoll_event events[EVENTS];
  int count = kv_epoll_wait(t->self, t->epoll, events, EVENTS, timeout_ms);
  now_set(t);
  for (int i = 0; i < count; i++) {
    event_take(t, &events[i]);
  }
  if (t->holds && count > 0) {
    kv_store_settle(t);
    for (int i = 0; i < count; i++) {
      kv_client *c = event_client(&events[i]);
      if (c != NULL) {
        client_answer(t, c);
      }
    }
  }
}

static void cron(kv_thread *t) {
  if (t->now_ms >= t->expiry_ms) {
    kv_expiry_run(t);
  }
  if (t->now_ms >= t->cron_ms) {
    t->cron_ms = t->now_ms + CRON_MS;
    kv_clients_each(t, kv_client_age);
    if (t->index == 0) {
      accepting_set(t, true);
      kv_save_cron(t);
    }
  }
}

static int wait_ms(const kv_thread *t) {
  int64_t next = t->expiry_ms < t->cron_ms ? t->expiry_ms : t->cron_ms;
  int64_t wait = next - t->now_ms;
  return wait < 1 ? 1 : wait > CRON_MS ? CRON_MS : (int)wait;
}

// What has come is answered, and what waits is sent, if the other side takes it soon.
static void farewell_read(kv_thread *t, kv_client *c) {
  kv_client_read(t, c);
  if (!t->holds) {
    kv_client_settle(t, c);
  }
}
static void farewell_close(kv_thread *t, kv_client *c) { kv_client_close(t, c); }
static void farewell_look(kv_thread *t, kv_client *c) { t->waiting = t->waiting || c->first != NULL; }

static void farewell(kv_thread *t) {
  if (t->index == 0) {
    accepting_set(t, false);
    for (int i = 0; i < LISTENERS; i++) {
      if (listeners[i] >= 0) {
        close(listeners[i]);
      }
    }
  }
  inbox_take(t);
  kv_clients_each(t, farewell_read);
  if (t->holds) {
    kv_store_settle(t);
    kv_clients_each(t, client_answer);
  }
  for (int64_t until = kv_now_ms() + FAREWELL_MS; t->now_ms < until;) {
    t->waiting = false;
    kv_clients_each(t, farewell_look);
    if (!t->waiting) {
      break;
    }
    events_take(t, 20);
  }
  kv_clients_each(t, farewell_close);
}

static bool thread_open(kv_thread *t) {
  t->self = t->self != NULL ? t->self : kv_attach();
  if (t->self == NULL || !kv_add_thread_roots(t->self, &t->in, 4)) {
    return false;
  }
  t->in = kv_new_bytes(t->self, KV_BUFFER);
  t->out = kv_new_bytes(t->self, KV_BUFFER);
  t->spans_room = 1024;
  t->spans = kv_new_bytes(t->self, t->spans_room * sizeof *t->spans);
  struct epoll_event event = {EPOLLIN, {.u64 = WAKE}};
  return t->in != NULL && t->out != NULL && t->spans != NULL && epoll_ctl(t->epoll, EPOLL_CTL_ADD, t->wake, &event) == 0;
}

void *kv_loop_run(void *thread) {
  kv_thread *t = thread;
  if (!thread_open(t)) {
    fprintf(stderr, "kv: thread %d cannot start: no memory\n", t->index);
    exit(1);
  }
  t->random = kv_now_ns() ^ (uint64_t)(uintptr_t)t;
  t->expiry_shard = (unsigned)t->index;
  t->holds = kv_options_now.store != NULL;
  now_set(t);
  for (bool more = false; !kv_stopping;) {
    events_take(t, more ? 0 : wait_ms(t));
    cron(t);
    more = kv_reclaim(t->self, RECLAIMED);
  }
  farewell(t);
  kv_drop(t->self, t->in);
  kv_drop(t->self, t->out);
  kv_drop(t->self, t->spans);
  kv_drop(t->self, t->spare);
  t->spare = NULL;
  t->in = t->out = NULL;
  t->spans = NULL;
  close(t->epoll);
  if (t->index != 0) {
    kv_detach(t->self);
  }
  return NULL;
}
