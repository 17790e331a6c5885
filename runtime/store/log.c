// SPDX-License-Identifier: MIT
// log.c: a log's end: records are composed in the mirror, at the place that they get in the file, and written from there.
//
// Neighbours: log_file.c creates and opens. Two threads at most: one asks for room, appends and advances; one writes. What they share is under the log's lock,
// which nobody holds for longer than it takes to copy some words.

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include "runtime/error.h"
#include "runtime/store/log_inner.h"
#include "vm/check.h"

enum { NO_PROGRESS_MAX = 16 }; // writes of nothing in a row, before that counts as a failure

static char *mirror_at(const st_log *log, uint64_t position) { return log->mirror + st_log_offset(log, position); }

void st_log_begin(st_log *log, uint64_t head, st_log_place tail, uint64_t position) {
  log->head = head;
  log->place = tail;
  log->tail = log->ready = log->durable = position;
  log->ready_sequence = log->durable_sequence = tail.sequence;
  log->room = UINT64_MAX;
}

// ---- Appending.

size_t st_log_most(const st_log *log) {
  uint64_t most = log->capacity / 4 < UINT32_MAX ? log->capacity / 4 : UINT32_MAX; // log_record.size
  return (size_t)(most & ~(uint64_t)(LOG_UNIT - 1)) - sizeof(log_record);
}

// Where `bytes` bytes, head and all, would be in one piece, with `spare` bytes behind them. UINT64_MAX: nowhere.
static uint64_t piece_find(const st_log *log, size_t bytes, size_t spare) {
  uint64_t at = log->tail, left = st_log_left(log, at);
  at += bytes > left ? left : 0;
  uint64_t head = LOG_BREAK == LOG_BREAK_SPACE ? at : log->head;
  return at + bytes + spare <= head + log->capacity ? at : UINT64_MAX;
}

char *st_log_room(st_log *log, size_t bytes) {
  VM_CHECK(log->writes, "the log was opened for reading");
  VM_CHECK(bytes <= st_log_most(log), "a record of %zu bytes is too long for the log", bytes);
  log->room = piece_find(log, st_log_whole(bytes), LOG_SPARE);
  log->room_bytes = bytes;
  return log->room != UINT64_MAX ? mirror_at(log, log->room) + sizeof(log_record) : NULL;
}

// Ends what is at the tail, whose bytes are there already.
static void tail_seal(st_log *log, log_kind kind, size_t size) {
  size_t whole = st_log_whole(size);
  log_record *r = (log_record *)mirror_at(log, log->tail);
  memset((char *)(r + 1) + size, 0, whole - sizeof *r - size);
  *r = (log_record){.kind = (uint32_t)kind, .size = (uint32_t)size, .sequence = log->place.sequence, .chain = log->place.chain};
  r->sum = rt_image_sum(&r->kind, whole - offsetof(log_record, kind));
  log->tail += whole;
  log->place = (st_log_place){log->place.sequence + (kind == LOG_RECORD), st_log_offset(log, log->tail), r->sum};
}

// To a position at the file's beginning, by a turn if there is room for one: who reads needs none where a head does not fit. Where the bytes before it end.
static uint64_t tail_turn(st_log *log, uint64_t to) {
  if (st_log_left(log, log->tail) >= sizeof(log_record)) {
    tail_seal(log, LOG_TURN, 0);
  }
  uint64_t from = log->tail;
  log->tail = to;
  log->place.offset = st_log_offset(log, to);
  return from;
}

// Ends what is at a position, whose bytes are there already, and lets the writing thread have it.
static st_log_place piece_add(st_log *log, uint64_t at, log_kind kind, size_t size) {
  bool again = at % log->capacity == 0; // around once more, with or without a turn
  uint64_t from = at != log->tail ? tail_turn(log, at) : at;
  st_log_place place = log->place;
  tail_seal(log, kind, size);
  pthread_mutex_lock(&log->lock);
  log->ready = log->tail;
  log->ready_sequence = log->place.sequence;
  if (again) { // the time before is durable: from the head to the tail it is less than once around
    log->turned_from = from;
    log->turned_to = at;
  }
  pthread_mutex_unlock(&log->lock);
  return place;
}

st_log_place st_log_append(st_log *log, size_t bytes) {
  VM_CHECK(log->room != UINT64_MAX && bytes <= log->room_bytes, "no room was had for a record of %zu bytes", bytes);
  uint64_t at = log->room;
  log->room = UINT64_MAX;
  return piece_add(log, at, LOG_RECORD, bytes);
}

// A number that no other mark has.
static uint64_t mark_number(void) {
  uint64_t number = 0;
  struct timespec now;
  if (getrandom(&number, sizeof number, GRND_NONBLOCK) != sizeof number) {
    clock_gettime(CLOCK_REALTIME, &now);
    number = rt_image_sum(&now, sizeof now);
  }
  return LOG_BREAK == LOG_BREAK_MARK ? 0 : number;
}

bool st_log_mark(st_log *log) {
  uint64_t number = mark_number(), at = piece_find(log, LOG_MARK_BYTES, LOG_UNIT);
  if (at == UINT64_MAX) {
    return false;
  }
  memcpy(mirror_at(log, at) + sizeof(log_record), &number, sizeof number);
  piece_add(log, at, LOG_MARK, sizeof number);
  return true;
}

// ---- Writing.

// Writes past the cache are of whole blocks: what was written of a block that is not whole is written again.
int st_log_put(st_log *log, uint64_t offset, uint64_t bytes) {
  const rt_image_io *io = log->file.io;
  unsigned stuck = 0;
  for (uint64_t done = 0; done < bytes;) {
    ssize_t n = io->pwrite(io->context, log->file.fd, log->mirror + offset + done, bytes - done, offset + done);
    uint64_t got = n <= 0 ? 0 : log->direct ? (uint64_t)n & ~(uint64_t)(LOG_BLOCK - 1) : (uint64_t)n;
    if (n == -EINVAL && log->direct) {
      log->direct = false; // the file system takes larger blocks only
      io->direct(io->context, log->file.fd, false);
    } else if (n < 0 && n != -EINTR) {
      return (int)n;
    } else if (got == 0 && ++stuck == NO_PROGRESS_MAX) {
      return -EIO;
    }
    stuck = got != 0 ? 0 : stuck;
    done += got;
  }
  return 0;
}

// log.once
static veil_status poisoned(st_log *log, veil_status status) {
  if (LOG_BREAK != LOG_BREAK_ONCE) {
    log->failed = true;
    snprintf(log->reason, sizeof log->reason, "%s", veil_error());
  }
  return status;
}

// From the first write on, since nothing is read after that.
static void direct_try(st_log *log) {
#ifndef VEIL_TSAN // what is appended meanwhile may lie in the block that is being written
  if (!log->direct_tried) {
    log->direct = log->file.io->direct(log->file.io->context, log->file.fd, true) == 0;
  }
#endif
  log->direct_tried = true;
}

// Past the cache whole blocks are written, which takes a quarter less. What lies in them beside the piece is what the file has already, or nothing that counts: part of what is appended next, or what the head has passed.
static veil_status piece_write(st_log *log, uint64_t from, uint64_t to) {
  uint64_t offset = st_log_offset(log, from), end = offset + (to - from);
  uint64_t first = log->direct ? offset & ~(uint64_t)(LOG_BLOCK - 1) : offset, limit = log->direct ? (end + LOG_BLOCK - 1) & ~(uint64_t)(LOG_BLOCK - 1) : end;
  int error = st_log_put(log, first, limit - first);
  return error == 0 ? VEIL_OK
                    : poisoned(log, rt_image_fail(&log->file, VEIL_IO, "%llu bytes at byte %llu cannot be written: %s; nothing more is written",
                                                  (unsigned long long)(to - from), (unsigned long long)offset, strerror(-error)));
}

// A piece, and a barrier, unless nothing is waited for (LOG_BREAK_TURN).
static veil_status durably_write(st_log *log, uint64_t from, uint64_t to, bool waits) {
  veil_status status = piece_write(log, from, to);
  int error = status != VEIL_OK || !waits || LOG_BREAK == LOG_BREAK_BARRIER ? 0 : log->file.io->fdatasync(log->file.io->context, log->file.fd);
  return error == 0 ? status
                    : poisoned(log, rt_image_fail(&log->file, VEIL_IO, "what was written cannot be made durable: %s; nothing more is written", strerror(-error)));
}

veil_status st_log_write(st_log *log, uint64_t *upto) {
  VM_CHECK(log->writes, "the log was opened for reading");
  if (log->failed) {
    rt_error_set("%s", log->reason);
    return VEIL_IO;
  }
  pthread_mutex_lock(&log->lock);
  uint64_t from = log->durable, to = log->ready, sequence = log->ready_sequence;
  uint64_t turned_from = log->turned_from, turned_to = log->turned_to;
  pthread_mutex_unlock(&log->lock);
  if (to != from) {
    bool turned = turned_to > from;
    direct_try(log);
    veil_status status = turned ? durably_write(log, turned_to, to, LOG_BREAK != LOG_BREAK_TURN) : VEIL_OK; // log.turn
    status = status == VEIL_OK ? durably_write(log, from, turned ? turned_from : to, true) : status;
    if (status != VEIL_OK) {
      return status;
    }
    pthread_mutex_lock(&log->lock);
    log->durable = to;
    log->durable_sequence = sequence;
    pthread_mutex_unlock(&log->lock);
  }
  if (upto != NULL) {
    *upto = sequence - 1;
  }
  return VEIL_OK;
}

// ---- The head.

st_log_place st_log_tail(const st_log *log) { return log->place; }

void st_log_skip(st_log *log) {
  pthread_mutex_lock(&log->lock);
  VM_CHECK(log->ready == log->durable, "a record that is not durable may not be behind a gap");
  log->place.sequence++;
  log->ready_sequence = log->durable_sequence = log->place.sequence;
  pthread_mutex_unlock(&log->lock);
}

void st_log_advance(st_log *log, st_log_place head) {
  uint64_t end = log->tail % log->capacity, offset = head.offset - ST_LOG_HEADER;
  VM_CHECK(head.offset >= ST_LOG_HEADER && offset < log->capacity && head.sequence <= log->place.sequence, "byte %lu is no place of a log",
           (unsigned long)head.offset);
  uint64_t at = log->tail - (end >= offset ? end - offset : end + log->capacity - offset);
  pthread_mutex_lock(&log->lock);
  uint64_t durable = log->durable, sequence = log->durable_sequence;
  pthread_mutex_unlock(&log->lock);
  VM_CHECK(at >= log->head && head.sequence <= sequence, "byte %lu is not among the log's durable records", (unsigned long)head.offset); // log.head
  log->head = at < durable ? at : durable; // a turn in front of the record may not be written yet
}

uint64_t st_log_bytes(const st_log *log) { return log->bytes; }
uint64_t st_log_used(const st_log *log) { return log->tail - log->head; }
