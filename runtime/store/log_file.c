// SPDX-License-Identifier: MIT
// log_file.c: creating, opening and closing a log's file; what of it counts. All that the file says is checked here before anything uses it.
//
// Neighbours: log.c appends and writes. One thread.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/store/log_inner.h"
#include "vm/os.h"

enum {
  CREATE_PIECE = 4 << 20, // bytes of a write of zeros
  READ_AHEAD = 1 << 20,   // bytes of a read, at least
};

// ---- Logs.

static veil_status no_memory(const image_file *file) { return rt_image_fail(file, VEIL_NO_MEMORY, "no memory for the log"); }

static st_log *log_new(const char *path, const rt_image_io *io) {
  st_log *log = calloc(1, sizeof *log);
  if (log == NULL || (log->file.path = strdup(path)) == NULL) {
    free(log);
    no_memory(&(image_file){.path = (char *)path});
    return NULL;
  }
  log->file.io = io != NULL ? io : &rt_image_io_system;
  log->file.fd = -1;
  pthread_mutex_init(&log->lock, NULL);
  return log;
}

static veil_status log_map(st_log *log, uint64_t bytes) {
  log->mirror = os_map_private(bytes);
  log->bytes = bytes;
  log->capacity = bytes - ST_LOG_HEADER;
  return log->mirror != NULL ? VEIL_OK : no_memory(&log->file);
}

void st_log_close(st_log *log) {
  if (log == NULL) {
    return;
  }
  if (log->file.fd >= 0) {
    log->file.io->close(log->file.io->context, log->file.fd);
  }
  if (log->mirror != NULL) {
    os_unmap(log->mirror, log->bytes);
  }
  pthread_mutex_destroy(&log->lock);
  free(log->file.path);
  free(log);
}

// ---- Creating.

static void header_make(st_log *log, const uint64_t id[2], const st_log_place *first) {
  log_header *h = (log_header *)log->mirror;
  memcpy(h->magic, LOG_MAGIC, LOG_MAGIC_BYTES);
  h->byte_order = LOG_BYTE_ORDER;
  h->format = LOG_FORMAT;
  memcpy(h->id, id, sizeof h->id);
  h->bytes = log->bytes;
  h->first_sequence = first->sequence;
  h->chain = first->chain;
  h->sum = rt_image_sum(h, offsetof(log_header, sum));
}

static veil_status create_failed(const st_log *log, int error) {
  if (error == -ENOSPC || error == -EDQUOT) {
    return rt_image_fail(&log->file, VEIL_IO, "the disk is full: a log of %llu bytes has no room: %s", (unsigned long long)log->bytes, strerror(-error));
  }
  return rt_image_fail(&log->file, VEIL_IO, "cannot be written: %s", strerror(-error));
}

// The whole file, from the mirror, which has the header and is zero otherwise: reading it takes no memory.
static veil_status zeros_write(st_log *log) {
  const rt_image_io *io = log->file.io;
  int error = io->ftruncate(io->context, log->file.fd, 0);
  log->direct = io->direct(io->context, log->file.fd, true) == 0;
  for (uint64_t at = 0; at < log->bytes && error == 0; at += CREATE_PIECE) {
    error = st_log_put(log, at, log->bytes - at < CREATE_PIECE ? log->bytes - at : CREATE_PIECE);
  }
  if (log->direct) {
    io->direct(io->context, log->file.fd, false);
    log->direct = false;
  }
  error = error == 0 && LOG_BREAK != LOG_BREAK_ZEROS ? io->fdatasync(io->context, log->file.fd) : error;
  return error == 0 ? VEIL_OK : create_failed(log, error);
}

// log.new: under another name until it is whole. `beside` is that; `old`: what had the name before, whose lock is held until it has none.
static veil_status file_make(st_log *log, const char *beside, int *old) {
  const rt_image_io *io = log->file.io;
  veil_status status = LOG_BREAK == LOG_BREAK_NEW ? VEIL_OK : rt_image_open_locked(&log->file, log->file.path, O_RDWR, true, old);
  status = status == VEIL_OK ? rt_image_open_locked(&log->file, beside, O_RDWR | O_CREAT, false, &log->file.fd) : status;
  if (status != VEIL_OK) {
    return status;
  }
  int error = 0;
  status = zeros_write(log);
  if (status == VEIL_OK && (error = io->rename(io->context, beside, log->file.path)) != 0) {
    status = rt_image_fail(&log->file, VEIL_IO, "cannot be given its name: %s", strerror(-error));
  }
  if (status != VEIL_OK) {
    io->unlink(io->context, beside);
    return status;
  }
  return LOG_BREAK == LOG_BREAK_NAME ? VEIL_OK : rt_image_name_barrier(&log->file);
}

veil_status st_log_create(st_log **out, const char *path, const uint64_t id[2], uint64_t bytes, st_log_place *first, const rt_image_io *io) {
  *out = NULL;
  if (bytes < ST_LOG_MIN || bytes > LOG_MAX) {
    return rt_image_fail(&(image_file){.path = (char *)path}, VEIL_INVALID, "a log has %d to %llu bytes, not %llu", ST_LOG_MIN, (unsigned long long)LOG_MAX,
                         (unsigned long long)bytes);
  }
  st_log *log = log_new(path, io);
  if (log == NULL) {
    return VEIL_NO_MEMORY;
  }
  size_t length = strlen(path) + 5;
  char *beside = malloc(length);
  veil_status status = beside != NULL ? log_map(log, (bytes + LOG_BLOCK - 1) & ~(uint64_t)(LOG_BLOCK - 1)) : no_memory(&log->file);
  if (status == VEIL_OK) {
    int old = -1;
    snprintf(beside, length, LOG_BREAK == LOG_BREAK_NEW ? "%s" : "%s.new", path);
    header_make(log, id, first);
    status = file_make(log, beside, &old);
    if (old >= 0) {
      log->file.io->close(log->file.io->context, old);
    }
  }
  free(beside);
  if (status != VEIL_OK) {
    st_log_close(log);
    return status;
  }
  log->writes = true;
  first->offset = ST_LOG_HEADER;
  st_log_begin(log, 0, *first, 0);
  *out = log;
  return VEIL_OK;
}

// ---- What a file says.

// What is of another kind is told from what is damaged: nothing but magic and byte order is believed before the checksum.
static veil_status header_check(const image_file *file, const log_header *h, const uint64_t *id, uint64_t file_bytes) {
  if (memcmp(h->magic, LOG_MAGIC, LOG_MAGIC_BYTES) != 0) {
    return rt_image_fail(file, VEIL_UNSUPPORTED, "is no log, by what is at byte 0");
  }
  if (h->byte_order == __builtin_bswap32(LOG_BYTE_ORDER)) {
    return rt_image_fail(file, VEIL_UNSUPPORTED, "was written on a machine with the other byte order");
  }
  if (h->sum != rt_image_sum(h, offsetof(log_header, sum)) && LOG_BREAK != LOG_BREAK_SUM) {
    return rt_image_fail(file, VEIL_IO, "the header at byte 0 is damaged: its checksum is wrong");
  }
  if (h->byte_order != LOG_BYTE_ORDER || h->format != LOG_FORMAT) {
    return rt_image_fail(file, VEIL_UNSUPPORTED, "the header at byte 0 has another version of the format");
  }
  if (h->bytes < ST_LOG_MIN || h->bytes > LOG_MAX || h->bytes % LOG_BLOCK != 0) {
    return rt_image_fail(file, VEIL_IO, "the header at byte 0 has an impossible size");
  }
  if (h->bytes > file_bytes) {
    return rt_image_fail(file, VEIL_IO, "ends at byte %llu and has %llu by its header: it was cut off", (unsigned long long)file_bytes,
                         (unsigned long long)h->bytes);
  }
  if (id != NULL && memcmp(h->id, id, sizeof h->id) != 0) {
    return rt_image_fail(file, VEIL_IO, "is the log of another store");
  }
  return VEIL_OK;
}

veil_status st_log_header_read(const image_file *file, const uint64_t *id, log_header *out) {
  int64_t size = file->io->size(file->io->context, file->fd, NULL);
  if (size < 0) {
    return rt_image_fail(file, VEIL_IO, "cannot be asked for its size: %s", strerror((int)-size));
  }
  if ((uint64_t)size < sizeof *out) {
    return rt_image_fail(file, VEIL_UNSUPPORTED, "is no log: it ends at byte %llu, within the header", (unsigned long long)size);
  }
  veil_status status = rt_image_pread(file, out, sizeof *out, 0, "the header");
  return status == VEIL_OK ? header_check(file, out, id, (uint64_t)size) : status;
}

// The header, and the mirror for the rest. `from` is checked, and filled in if it is all zero.
static veil_status header_read(st_log *log, const uint64_t id[2], st_log_place *from) {
  log_header h;
  veil_status status = st_log_header_read(&log->file, id, &h);
  if (status != VEIL_OK) {
    return status;
  }
  bool none = from->offset == 0 && from->sequence == 0 && from->chain == 0;
  if (none || (from->sequence == h.first_sequence && from->chain == h.chain)) { // or it is said of another file, in whose place this one has come (st_log_create)
    *from = (st_log_place){h.first_sequence, ST_LOG_HEADER, h.chain};
  }
  if (from->offset < ST_LOG_HEADER || from->offset >= h.bytes || from->offset % LOG_UNIT != 0) {
    return rt_image_fail(&log->file, VEIL_IO, "has no record at byte %llu, where its first should be", (unsigned long long)from->offset);
  }
  return log_map(log, h.bytes);
}

// ---- Which records count.

// Goes through records, turns and marks.
typedef struct log_walk {
  st_log *log;
  uint64_t at;        // a position: of what is looked at
  uint64_t limit;     // once around
  uint64_t filled;    // the mirror has the file's bytes up to here
  st_log_place place; // of what is looked at
} log_walk;

// Nothing is read twice: what was checked is what is used, even if somebody changes the file meanwhile.
static veil_status walk_fill(log_walk *w, uint64_t limit) {
  w->filled = w->filled < w->at ? w->at : w->filled;
  if (w->filled >= limit) {
    return VEIL_OK;
  }
  uint64_t bytes = limit - w->filled < READ_AHEAD ? READ_AHEAD : limit - w->filled;
  uint64_t left = st_log_left(w->log, w->filled), offset = st_log_offset(w->log, w->filled);
  bytes = bytes < left ? bytes : left;
  bytes = bytes < w->limit - w->filled ? bytes : w->limit - w->filled;
  w->filled += bytes;
  return rt_image_pread(&w->log->file, w->log->mirror + offset, bytes, offset, "the records");
}

static bool head_fits(const log_walk *w, const log_record *r) {
  if (r->sequence != w->place.sequence || (r->chain != w->place.chain && LOG_BREAK != LOG_BREAK_CHAIN)) {
    return false;
  }
  size_t most = r->kind == LOG_RECORD ? st_log_most(w->log) : r->kind == LOG_MARK ? 8 : 0;
  if ((r->kind != LOG_RECORD && r->kind != LOG_TURN && r->kind != LOG_MARK) || r->size > most) {
    return false;
  }
  return st_log_whole(r->size) <= st_log_left(w->log, w->at) && st_log_whole(r->size) <= w->limit - w->at;
}

// *r is what is at the walk's place, if it is whole; else NULL.
static veil_status walk_look(log_walk *w, const log_record **r) {
  *r = NULL;
  uint64_t left = st_log_left(w->log, w->at);
  w->at += left < sizeof **r ? left : 0;
  w->place.offset = st_log_offset(w->log, w->at);
  if (w->at + sizeof **r > w->limit) {
    return VEIL_OK;
  }
  veil_status status = walk_fill(w, w->at + sizeof **r);
  const log_record *found = (const log_record *)(w->log->mirror + w->place.offset);
  if (status != VEIL_OK || !head_fits(w, found)) {
    return status;
  }
  size_t whole = st_log_whole(found->size);
  status = walk_fill(w, w->at + whole);
  if (status == VEIL_OK && (found->sum == rt_image_sum(&found->kind, whole - offsetof(log_record, kind)) || LOG_BREAK == LOG_BREAK_SUM)) {
    *r = found;
  }
  return status;
}

static void walk_step(log_walk *w, const log_record *r) {
  w->at += r->kind == LOG_TURN ? st_log_left(w->log, w->at) : st_log_whole(r->size);
  w->place = (st_log_place){w->place.sequence + (r->kind == LOG_RECORD), st_log_offset(w->log, w->at), r->sum};
}

// The tail is right behind the last record. Turns and marks behind that are nothing that anybody was told of.
static veil_status records_read(st_log *log, st_log_place from, st_log_record_fn *fn, void *arg) {
  uint64_t head = from.offset - ST_LOG_HEADER;
  log_walk w = {.log = log, .at = head, .limit = head + log->capacity, .filled = head, .place = from};
  const log_record *r;
  st_log_begin(log, head, from, head);
  for (;;) {
    veil_status status = walk_look(&w, &r);
    if (status != VEIL_OK || r == NULL) {
      log->end = w.place;
      return status;
    }
    st_log_place place = w.place;
    walk_step(&w, r);
    if (r->kind == LOG_RECORD) {
      status = fn != NULL ? fn(arg, place, (const char *)(r + 1), r->size) : VEIL_OK;
      if (status != VEIL_OK) {
        return status;
      }
      st_log_begin(log, head, w.place, w.at);
    }
  }
}

// log.settle
static veil_status log_settle(st_log *log) {
  if (!st_log_mark(log)) {
    return rt_image_fail(&log->file, VEIL_IO, "is damaged: its records leave no room to open it for writing");
  }
  if (LOG_BREAK == LOG_BREAK_SETTLE) {
    return VEIL_OK;
  }
  veil_status status = st_log_write(log, NULL);
  return status == VEIL_OK ? rt_image_name_barrier(&log->file) : status; // who created it may have been killed before that
}

veil_status st_log_open(st_log **out, const char *path, const uint64_t id[2], st_log_place from, bool writes, st_log_record_fn *fn, void *arg,
                        const rt_image_io *io) {
  *out = NULL;
  st_log *log = log_new(path, io);
  if (log == NULL) {
    return VEIL_NO_MEMORY;
  }
  log->writes = writes;
  veil_status status = rt_image_open_locked(&log->file, path, writes ? O_RDWR : O_RDONLY, false, &log->file.fd);
  status = status == VEIL_OK ? header_read(log, id, &from) : status;
  status = status == VEIL_OK ? records_read(log, from, fn, arg) : status;
  status = status == VEIL_OK && writes ? log_settle(log) : status;
  if (status != VEIL_OK) {
    st_log_close(log);
    return status;
  }
  *out = log;
  return VEIL_OK;
}
