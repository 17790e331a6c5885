// SPDX-License-Identifier: MIT
// clients.c: connections: the table of clients, reading, writing, closing.
//
// A client is an object of the heap. Epoll knows its slot in one table and the low half of its id, never its address, because objects move. Each belongs to one
// thread, which alone touches it; `lock` guards the table, and the fields that CLIENT LIST and CLIENT KILL of other threads read.

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/un.h>
#include <unistd.h>
#include "kv.h"
#include "root.h"

enum { INPUT_MOST = 1 << 30, READ_ROOM = 16384, SLOTS_MOST = 65536, LINGER_MS = 1000 };

KV_DROPS client_drop(kv_self *self, void *object) {
  kv_client *c = object;
  kv_drop(self, c->input);
  kv_drop(self, c->spans);
  kv_drop(self, c->first);
  kv_drop(self, c->name);
}
KV_TYPE(kv_client, client_drop, input, spans, first, last, name);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t next_id = 1;               // under the lock
static int free_slots[SLOTS_MOST];         // under the lock
static int free_count;                     // under the lock
static _Atomic uint8_t owners[SLOTS_MOST]; // 1 + the thread of a slot's client

bool kv_clients_open(kv_thread *t) {
  kv_root->clients = kv_new_pointers(t->self, kv_options_now.maxclients, NULL);
  for (unsigned i = kv_options_now.maxclients; i > 0; i--) {
    free_slots[free_count++] = (int)i - 1;
  }
  return kv_root->clients != NULL;
}

uint64_t kv_clients_count(void) {
  uint64_t count = 0;
  for (unsigned i = 0; i < kv_options_now.threads; i++) {
    count += kv_threads[i].clients;
  }
  return count;
}

static void address_write(int fd, char *out, size_t bytes) {
  struct sockaddr_storage address;
  socklen_t length = sizeof address;
  char host[INET6_ADDRSTRLEN] = "?";
  snprintf(out, bytes, "%s:0", kv_options_now.unixsocket ? kv_options_now.unixsocket : "?");
  if (getpeername(fd, (struct sockaddr *)&address, &length) != 0) {
    return;
  }
  if (address.ss_family == AF_INET) {
    struct sockaddr_in *in = (struct sockaddr_in *)&address;
    inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
    snprintf(out, bytes, "%s:%u", host, ntohs(in->sin_port));
  } else if (address.ss_family == AF_INET6) {
    struct sockaddr_in6 *in = (struct sockaddr_in6 *)&address;
    inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof host);
    snprintf(out, bytes, "[%s]:%u", host, ntohs(in->sin6_port));
  }
}

static void refuse(int fd, const char *why) {
  ssize_t ignored = write(fd, why, strlen(why));
  (void)ignored;
  close(fd);
}

bool kv_client_new(kv_thread *t, int fd) {
  kv_client *c = kv_new(t->self, kv_client);
  if (c == NULL) {
    refuse(fd, "-ERR out of memory\r\n");
    return false;
  }
  c->fd = fd;
  c->bulk = -1;
  c->since_ms = c->active_ms = t->now_ms;
  c->last_command = "NULL";
  address_write(fd, c->address, sizeof c->address);
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  kv_lock(t->self, &lock);
  c->slot = free_count > 0 ? free_slots[--free_count] : -1;
  c->id = next_id++;
  if (c->slot >= 0) {
    kv_root->clients[c->slot] = c;
    owners[c->slot] = (uint8_t)(t->index + 1);
  }
  kv_unlock(&lock);
  struct epoll_event event = {EPOLLIN, {.u64 = (uint64_t)(uint32_t)c->slot | c->id << 32}};
  if (c->slot < 0) {
    refuse(fd, "-ERR max number of clients reached\r\n");
    kv_drop(t->self, c);
    return false;
  }
  kv_count(&t->clients, 1);
  kv_count(&t->received, 1);
  c->events = EPOLLIN;
  if (epoll_ctl(t->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
    kv_client_close(t, c);
  }
  return true;
}

kv_client *kv_client_at(int slot, uint64_t id) {
  kv_client *c = kv_root->clients[slot];
  return c != NULL && (uint32_t)c->id == (uint32_t)id ? c : NULL;
}

void kv_client_close(kv_thread *t, kv_client *c) {
  kv_lock(t->self, &lock);
  kv_root->clients[c->slot] = NULL;
  owners[c->slot] = 0;
  free_slots[free_count++] = c->slot;
  close(c->fd);
  kv_unlock(&lock);
  kv_count(&t->clients, (uint64_t)-1);
  t->handed--;
  kv_drop(t->self, c);
}

void kv_clients_each(kv_thread *t, void (*visit)(kv_thread *t, kv_client *c)) {
  for (unsigned i = 0; i < kv_options_now.maxclients; i++) {
    if (owners[i] == t->index + 1) {
      visit(t, kv_root->clients[i]);
    }
  }
}

// ---- Reading.

static bool input_room(kv_thread *t, kv_client *c) {
  uint32_t held = c->input_to - c->input_from;
  if (c->input_room - c->input_to >= READ_ROOM) {
    return true;
  }
  if (c->input_room - held >= READ_ROOM && c->input_from >= held) {
    memmove(c->input, c->input + c->input_from, held);
  } else {
    // Twice what has come, and not more than is known to come.
    uint64_t room = (uint64_t)held * 2 + READ_ROOM;
    if (room > INPUT_MOST) {
      room = INPUT_MOST;
    }
    char *made = held + READ_ROOM <= room ? kv_new_bytes(t->self, room) : NULL;
    if (made == NULL) {
      c->dead = true;
      return false;
    }
    memcpy(made, c->input + c->input_from, held);
    kv_drop(t->self, c->input);
    c->input = made;
    c->input_room = (uint32_t)room;
  }
  c->input_from = 0;
  c->input_to = held;
  return true;
}

// What is left of a buffer is kept, or the client's own buffer goes if nothing is.
static void input_keep(kv_thread *t, kv_client *c, const char *base, uint32_t from, uint32_t to) {
  uint32_t left = to - from;
  if (base == c->input) {
    c->input_from = from;
    c->input_to = to;
    if (left == 0) {
      kv_drop(t->self, c->input);
      c->input = NULL;
    }
    return;
  }
  if (left > 0) {
    uint32_t room = left * 2 < 512 ? 512 : left * 2;
    char *made = kv_new_bytes(t->self, room);
    if (made == NULL) {
      c->dead = true;
      return;
    }
    memcpy(made, base + from, left);
    c->input = made;
    c->input_from = 0;
    c->input_to = left;
    c->input_room = room;
  }
}

static void requests(kv_thread *t, kv_client *c, char *base, uint32_t from, uint32_t to) {
  uint32_t at = kv_requests_run(t, c, base, from, to);
  if (!c->dead) {
    input_keep(t, c, base, at, to);
  }
  kv_used_show(t);
  kv_reply_flush(t, c);
}

void kv_client_read(kv_thread *t, kv_client *c) {
  if (c->input != NULL && !input_room(t, c)) {
    return;
  }
  char *base = c->input != NULL ? c->input : t->in;
  uint32_t from = c->input != NULL ? c->input_from : 0, end = c->input != NULL ? c->input_to : 0;
  uint32_t room = c->input != NULL ? c->input_room - end : KV_BUFFER;
  ssize_t got = kv_recv(t->self, c->fd, base + end, room);
  if (got < 0) {
    c->dead = errno != EAGAIN && errno != EINTR;
    return;
  }
  if (got == 0) { // it sends no more; what waits for it is still sent
    c->closing = c->ended = true;
    return;
  }
  kv_count(&t->bytes_in, (uint64_t)got);
  __atomic_store_n(&c->active_ms, t->now_ms, __ATOMIC_RELAXED);
  if (!c->closing) {
    requests(t, c, base, from, end + (uint32_t)got);
  }
}

void kv_client_write(kv_thread *t, kv_client *c) {
  kv_reply_flush(t, c);
  __atomic_store_n(&c->active_ms, t->now_ms, __ATOMIC_RELAXED);
}

// ---- What it waits for now.

void kv_client_settle(kv_thread *t, kv_client *c) {
  // Requests that had to wait for output to go.
  while (c->stuffed && c->first == NULL && !c->dead && !c->closing && c->input != NULL) {
    requests(t, c, c->input, c->input_from, c->input_to);
  }
  c->dead = c->dead || (c->ended && c->first == NULL);
  if (c->closing && c->first == NULL && !c->dead && !c->lingering) {
    // The last reply would be lost if unread input made the system reset the connection: so that is read, for a while.
    shutdown(c->fd, SHUT_WR);
    c->lingering = true;
    __atomic_store_n(&c->active_ms, t->now_ms, __ATOMIC_RELAXED);
  }
  if (c->dead) {
    kv_client_close(t, c);
    return;
  }
  uint32_t events = (c->stuffed || c->ended ? 0 : EPOLLIN) | (c->first != NULL ? (uint32_t)EPOLLOUT : 0);
  if (events != c->events) {
    struct epoll_event event = {events, {.u64 = (uint64_t)(uint32_t)c->slot | c->id << 32}};
    c->events = events;
    epoll_ctl(t->epoll, EPOLL_CTL_MOD, c->fd, &event);
  }
}

void kv_client_age(kv_thread *t, kv_client *c) {
  int64_t idle = t->now_ms - c->active_ms;
  uint64_t timeout = kv_options_now.timeout_s;
  if ((c->lingering && idle > LINGER_MS) || (timeout != 0 && idle > (int64_t)timeout * 1000)) {
    kv_client_close(t, c);
  }
}

// ---- What other threads see.

void kv_client_name_set(kv_call *call, char *name) {
  kv_lock(call->t->self, &lock);
  char *old = call->c->name;
  call->c->name = name;
  kv_unlock(&lock);
  kv_drop(call->t->self, old);
}

void kv_client_line(kv_call *call, kv_client *c, char *out, size_t bytes) {
  snprintf(out, bytes, "id=%llu addr=%s laddr= fd=%d name=%s age=%lld idle=%lld flags=N db=0 sub=0 psub=0 cmd=%s\n", (unsigned long long)c->id, c->address,
           c->fd, c->name ? c->name : "", (long long)(call->t->now_ms - c->since_ms) / 1000,
           (long long)(call->t->now_ms - __atomic_load_n(&c->active_ms, __ATOMIC_RELAXED)) / 1000, __atomic_load_n(&c->last_command, __ATOMIC_RELAXED));
}

// Lines are gathered in an object that grows between two goes, so that nothing is allocated under the lock.
void kv_client_list(kv_call *call) {
  kv_self *self = call->t->self;
  size_t room = 0, used = 0;
  char *text = NULL;
  for (bool whole = false; !whole;) {
    room = 4096 + (kv_clients_count() + 16) * 400;
    kv_drop(self, text);
    text = kv_new_bytes(self, room);
    if (text == NULL) {
      kv_reply_no_memory(call);
      return;
    }
    used = 0;
    whole = true;
    kv_lock(self, &lock);
    for (unsigned i = 0; i < kv_options_now.maxclients && whole; i++) {
      kv_client *c = kv_root->clients[i];
      if (c != NULL && room - used < 512) {
        whole = false;
      } else if (c != NULL) {
        kv_client_line(call, c, text + used, 400);
        used += strlen(text + used);
      }
    }
    kv_unlock(&lock);
  }
  kv_reply_bulk(call, (kv_text){text, used});
  kv_drop(self, text);
}

// The connection is shut down; its thread finds that out and closes it.
bool kv_client_kill(kv_call *call, kv_text address, uint64_t id) {
  bool found = false;
  kv_lock(call->t->self, &lock);
  for (unsigned i = 0; i < kv_options_now.maxclients && !found; i++) {
    kv_client *c = kv_root->clients[i];
    if (c != NULL && (id != 0 ? c->id == id : kv_text_is(address, c->address))) {
      found = true;
      if (c == call->c) {
        c->closing = true;
      } else {
        shutdown(c->fd, SHUT_RDWR);
      }
    }
  }
  kv_unlock(&lock);
  return found;
}
