// SPDX-License-Identifier: MIT
// reply.c: replies, and the way of output: the thread's buffer, then the socket; what the socket does not take waits in chunks of the client's.
//
// Runs in the client's thread, often with shards locked: no system call is made but by kv_reply_flush.

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include "kv.h"

KV_DROPS chunk_drop(kv_self *self, void *object) {
  kv_chunk *chunk = object;
  kv_drop(self, chunk->object);
  kv_drop(self, chunk->next);
}
KV_TYPE(kv_chunk, chunk_drop, next, object);

enum { VECTORS = 15, SPARES = 8 }; // as many as veil makes touchable at a time; buffers that are kept

static void chunk_link(kv_client *c, kv_chunk *chunk) {
  if (c->first == NULL) {
    c->first = chunk;
  } else {
    c->last->next = chunk;
  }
  c->last = chunk;
  c->waiting += chunk->to - chunk->from;
  c->dead = c->dead || c->waiting > kv_options_now.output_limit;
}

// False: memory is out.
static bool chunk_try(kv_thread *t, kv_client *c, char *object, uint64_t from, uint64_t to) {
  kv_chunk *chunk = kv_new(t->self, kv_chunk);
  if (chunk == NULL) {
    return false;
  }
  kv_keep(object);
  chunk->object = object;
  chunk->from = from;
  chunk->to = to;
  chunk_link(c, chunk);
  return true;
}

bool kv_chunk_add(kv_thread *t, kv_client *c, char *object, uint64_t from, uint64_t to) {
  bool added = chunk_try(t, c, object, from, to);
  c->dead = c->dead || !added;
  return added;
}

// A chunk with an empty buffer: one that was sent before, or a new one; or NULL.
static kv_chunk *buffer_get(kv_thread *t) {
  kv_chunk *chunk = t->spare;
  if (chunk != NULL) {
    t->spare = chunk->next;
    t->spares--;
    chunk->next = NULL;
    return chunk;
  }
  chunk = kv_new(t->self, kv_chunk);
  if (chunk != NULL && (chunk->object = kv_new_bytes(t->self, KV_BUFFER)) == NULL) {
    kv_drop(t->self, chunk);
    return NULL;
  }
  return chunk;
}

static void chunk_sent(kv_thread *t, kv_chunk *chunk) {
  if (chunk->buffer && t->spares < SPARES) {
    chunk->next = t->spare;
    t->spare = chunk;
    t->spares++;
  } else {
    chunk->next = NULL;
    kv_drop(t->self, chunk);
  }
}

// The buffer itself becomes a chunk, and another buffer takes its place.
static bool buffer_pass(kv_thread *t, kv_client *c) {
  kv_chunk *chunk = buffer_get(t);
  if (chunk == NULL) {
    return false;
  }
  char *empty = chunk->object;
  chunk->object = t->out;
  t->out = empty;
  chunk->from = 0;
  chunk->to = t->out_used;
  chunk->buffer = true;
  chunk_link(c, chunk);
  return true;
}

// What is in the thread's buffer becomes a chunk: the buffer itself if it is well filled, else a copy. False: memory is out, and it stays there.
static bool out_try(kv_thread *t, kv_client *c) {
  bool passed = c->dead; // nobody wants it
  if (!passed && t->out_used > KV_BUFFER / 4) {
    passed = buffer_pass(t, c);
  } else if (!passed) {
    char *made = kv_new_bytes(t->self, t->out_used);
    if (made != NULL) {
      memcpy(made, t->out, t->out_used);
      passed = chunk_try(t, c, made, 0, t->out_used);
      kv_drop(t->self, made);
    }
  }
  t->out_used = passed ? 0 : t->out_used;
  return passed;
}

static void out_pass(kv_thread *t, kv_client *c) {
  c->dead = !out_try(t, c) || c->dead;
  t->out_used = 0;
}

void kv_reply_raw(kv_call *call, const char *bytes, size_t length) {
  kv_thread *t = call->t;
  while (length > KV_BUFFER - t->out_used) {
    size_t part = KV_BUFFER - t->out_used;
    memcpy(t->out + t->out_used, bytes, part);
    t->out_used = KV_BUFFER;
    out_pass(t, call->c);
    bytes += part;
    length -= part;
  }
  memcpy(t->out + t->out_used, bytes, length);
  t->out_used += (uint32_t)length;
}

static void reply_number(kv_call *call, char type, int64_t value) {
  char text[32];
  text[0] = type;
  size_t length = kv_integer_write(value, text + 1) + 1;
  text[length] = '\r';
  text[length + 1] = '\n';
  kv_reply_raw(call, text, length + 2);
}

void kv_reply_integer(kv_call *call, int64_t value) { reply_number(call, ':', value); }
void kv_reply_array(kv_call *call, uint64_t count) { reply_number(call, '*', (int64_t)count); }
void kv_reply_null(kv_call *call) { kv_reply_raw(call, "$-1\r\n", 5); }
void kv_reply_null_array(kv_call *call) { kv_reply_raw(call, "*-1\r\n", 5); }
void kv_reply_ok(kv_call *call) { kv_reply_raw(call, "+OK\r\n", 5); }
void kv_reply_bulk(kv_call *call, kv_text text) {
  reply_number(call, '$', (int64_t)text.length);
  kv_reply_raw(call, text.at, text.length);
  kv_reply_raw(call, "\r\n", 2);
}
void kv_reply_text(kv_call *call, const char *text) { kv_reply_bulk(call, (kv_text){text, strlen(text)}); }
void kv_reply_double(kv_call *call, double value) {
  char text[64];
  kv_reply_bulk(call, (kv_text){text, kv_double_write(value, text)});
}
void kv_reply_simple(kv_call *call, const char *text) {
  kv_reply_raw(call, "+", 1);
  kv_reply_raw(call, text, strlen(text));
  kv_reply_raw(call, "\r\n", 2);
}

// One line, whatever the client sent.
void kv_reply_error(kv_call *call, const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  int length = vsnprintf(text, sizeof text, format, args);
  va_end(args);
  length = length >= (int)sizeof text ? (int)sizeof text - 1 : length;
  for (int i = 0; i < length; i++) {
    text[i] = text[i] == '\r' || text[i] == '\n' ? ' ' : text[i];
  }
  kv_reply_raw(call, "-", 1);
  kv_reply_raw(call, text, (size_t)length);
  kv_reply_raw(call, "\r\n", 2);
}
void kv_reply_wrong_type(kv_call *call) { kv_reply_raw(call, "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n", 68); }
void kv_reply_syntax(kv_call *call) { kv_reply_error(call, "ERR syntax error"); }
void kv_reply_no_memory(kv_call *call) { kv_reply_error(call, "OOM command not allowed when used memory > 'maxmemory'."); }

void kv_reply_item(kv_call *call, kv_item *item) {
  kv_text text = kv_item_text(item);
  if (text.length < KV_BY_REFERENCE) {
    kv_reply_bulk(call, text);
    return;
  }
  reply_number(call, '$', (int64_t)text.length);
  out_pass(call->t, call->c);
  kv_chunk_add(call->t, call->c, ((kv_box *)item)->object, offsetof(kv_blob, bytes), offsetof(kv_blob, bytes) + text.length);
  kv_reply_raw(call, "\r\n", 2);
}

// ---- Sending.

// False: the socket takes no more, or is gone.
static bool chunks_send(kv_thread *t, kv_client *c) {
  struct iovec iov[VECTORS];
  int count = 0;
  uint64_t total = 0;
  for (kv_chunk *chunk = c->first; chunk != NULL && count < VECTORS && total < 1 << 20; chunk = chunk->next) {
    iov[count++] = (struct iovec){chunk->object + chunk->from, chunk->to - chunk->from};
    total += chunk->to - chunk->from;
  }
  ssize_t sent = kv_writev(t->self, c->fd, iov, count);
  if (sent < 0) {
    c->dead = c->dead || (errno != EAGAIN && errno != EINTR && errno != ENOBUFS);
    return false;
  }
  kv_count(&t->bytes_out, (uint64_t)sent);
  c->waiting -= (uint64_t)sent;
  bool all = (uint64_t)sent == total;
  while (c->first != NULL && (uint64_t)sent >= c->first->to - c->first->from) {
    kv_chunk *gone = c->first;
    sent -= (ssize_t)(gone->to - gone->from);
    c->first = gone->next;
    chunk_sent(t, gone);
  }
  if (c->first != NULL) {
    c->first->from += (uint64_t)sent;
  } else {
    c->last = NULL;
  }
  return all;
}

static void waiting_send(kv_thread *t, kv_client *c) {
  for (int rounds = 0; rounds < 16 && c->first != NULL && !c->dead; rounds++) {
    if (!chunks_send(t, c)) {
      break;
    }
  }
}

void kv_reply_flush(kv_thread *t, kv_client *c) {
  if (t->holds) {
    if (t->out_used == 0 || out_try(t, c)) {
      return;
    }
    kv_store_settle(t); // no memory to keep it in: so it is sent now
    waiting_send(t, c);
  }
  if (c->first == NULL && t->out_used > 0 && !c->dead) {
    ssize_t sent = kv_send(t->self, c->fd, t->out, t->out_used);
    if (sent < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS) {
      c->dead = true;
    }
    if (sent > 0) {
      kv_count(&t->bytes_out, (uint64_t)sent);
      t->out_used -= (uint32_t)sent;
      memmove(t->out, t->out + sent, t->out_used);
    }
    if (t->out_used > 0 && !c->dead) {
      out_pass(t, c);
    }
  } else if (t->out_used > 0 && !c->dead) {
    out_pass(t, c);
  }
  t->out_used = 0;
  waiting_send(t, c);
}
