// SPDX-License-Identifier: MIT
// log_end.c: a log is looked at by who does not open it to go on: what is where its records end, whether it was ever used.
//
// Neighbours: log_file.c has found the end. One thread. What is read may be anything.

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/store/log_inner.h"
#include "vm/os.h"

enum { PIECE = 1 << 20 };

// ---- The end.

// All of the file, while it is looked at.
typedef struct look {
  const st_log *log;
  const char *bytes;
} look;

static const log_record *head_at(const look *l, uint64_t offset) { return (const log_record *)(l->bytes + offset); }

// Whether all of it is there, and as it was summed up; *sum is what its sum should be.
static bool is_whole(const look *l, uint64_t offset, uint64_t *sum) {
  const log_record *r = head_at(l, offset);
  *sum = r->sum;
  if ((r->kind != LOG_RECORD && r->kind != LOG_TURN && r->kind != LOG_MARK) || r->size > st_log_most(l->log) || st_log_whole(r->size) > l->log->bytes - offset) {
    return false;
  }
  *sum = rt_image_sum(&r->kind, st_log_whole(r->size) - offsetof(log_record, kind));
  return *sum == r->sum;
}

// A whole record, turn or mark that says that it comes behind what is at `end`, wherever it is: by the sum that stands there, or, if that is what was damaged, the one that should.
static bool follower_find(const look *l, const st_log_place *end, st_log_place *out) {
  uint64_t should, sum, stated = head_at(l, end->offset)->sum;
  is_whole(l, end->offset, &should);
  for (uint64_t at = ST_LOG_HEADER; at + sizeof(log_record) <= l->log->bytes; at += LOG_UNIT) {
    const log_record *r = head_at(l, at);
    bool next = r->sequence == end->sequence || r->sequence == end->sequence + 1; // what is at the end may be a turn or a mark
    if (next && at != end->offset && (r->chain == stated || r->chain == should) && is_whole(l, at, &sum)) {
      *out = (st_log_place){r->sequence, at, r->chain};
      return true;
    }
  }
  return false;
}

veil_status st_log_end_look(const st_log *log, st_log_end *out) {
  *out = (st_log_end){.kind = ST_LOG_END_ROOM, .place = log->end};
  if (log->end.offset + sizeof(log_record) > log->bytes) {
    return VEIL_OK;
  }
  char *bytes = os_map_private(log->bytes);
  if (bytes == NULL) {
    return rt_image_fail(&log->file, VEIL_NO_MEMORY, "no memory to look at the log's end");
  }
  look l = {log, bytes};
  veil_status status = rt_image_pread(&log->file, bytes, log->bytes, 0, "the records");
  if (status == VEIL_OK) {
    static const log_record none;
    const log_record *r = head_at(&l, log->end.offset);
    bool next = r->sequence == log->end.sequence && r->chain == log->end.chain;
    out->kind = memcmp(r, &none, sizeof none) == 0 ? ST_LOG_END_ZEROS : next ? ST_LOG_END_TORN : ST_LOG_END_OTHER;
    if (out->kind != ST_LOG_END_ZEROS && follower_find(&l, &log->end, &out->follower)) {
      out->kind = ST_LOG_END_FOLLOWED;
    }
  }
  os_unmap(bytes, log->bytes);
  return status;
}

// ---- Whether it was used.

static bool is_zero(const char *bytes, uint64_t count) { return bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0; }

veil_status st_log_is_unused(const char *path, const rt_image_io *io, bool *unused) {
  log_header h;
  image_file file = {.io = io != NULL ? io : &rt_image_io_system, .fd = -1, .path = (char *)path};
  char *piece = malloc(PIECE);
  veil_status status = piece != NULL ? rt_image_open_locked(&file, path, O_RDONLY, false, &file.fd) : rt_image_fail(&file, VEIL_NO_MEMORY, "no memory to look at it");
  *unused = true;
  h.bytes = 0;
  status = status == VEIL_OK ? st_log_header_read(&file, NULL, &h) : status;
  for (uint64_t at = ST_LOG_HEADER; status == VEIL_OK && *unused && at < h.bytes; at += PIECE) {
    uint64_t bytes = h.bytes - at < PIECE ? h.bytes - at : PIECE;
    status = rt_image_pread(&file, piece, bytes, at, "the records");
    *unused = status == VEIL_OK && is_zero(piece, bytes);
  }
  if (file.fd >= 0) {
    file.io->close(file.io->context, file.fd);
  }
  free(piece);
  return status;
}
