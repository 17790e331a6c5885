// SPDX-License-Identifier: MIT
// log.h: the log of a store: a file of one size, written with zeros when it is made, in which records stand one behind the other, around and around.
//
// Neighbours: the rest of runtime/store says what is in a record; runtime/image/io.h is the system, and NULL means Linux. Statuses as in runtime/image/image.h;
// veil_error() says what was wrong, with the file's name. README.md has the format and the invariants. One thread at a time, but for st_log_write, beside which
// one other thread may call all the rest but st_log_close.

#ifndef RT_STORE_LOG_H
#define RT_STORE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "runtime/image/io.h"
#include "veil/veil.h"

typedef struct st_log st_log;

enum {
  ST_LOG_HEADER = 4096, // bytes in front of the first record
  ST_LOG_RECORD = 32,   // bytes of a record's head
  ST_LOG_MIN = 1 << 16, // bytes of a log
};

// Where a record begins, or the next one will. All zero: where the first record of the log was, when it was new.
typedef struct st_log_place {
  uint64_t sequence; // the record's number
  uint64_t offset;   // in the file
  uint64_t chain;    // checksum of the record before
} st_log_place;

// Makes the file anew, with zeros, durable with its name; `bytes` of it, which is rounded up to 4 KiB. `id` names the store: a log of another one is refused.
// `first`: where it begins; its offset is ignored, and set. What was there before stays until the new one is whole, also if that fails.
// VEIL_BUSY: others have the old one open. VEIL_IO: also if the disk is full: then the file is gone again. VEIL_INVALID: `bytes` is out of range.
veil_status st_log_create(st_log **out, const char *path, const uint64_t id[2], uint64_t bytes, st_log_place *first, const rt_image_io *io);

// Told of each whole record, in order. The bytes stay where they are until the log's head has passed them. Anything but VEIL_OK ends the search, and is the
// result.
typedef veil_status st_log_record_fn(void *arg, st_log_place place, const char *bytes, size_t size);

// Opens it, and goes through the records from `from` on, which is durable, to the first that is not whole, which is where the next one will be written. If
// `writes`, what was found is made durable, since it may be in the system's cache only, and marked (log.settle). `fn` may be NULL.
// VEIL_BUSY: others have it open: one process writes, or any number read; veil_error() names one of them. VEIL_UNSUPPORTED: it is no log, or of another format
// or byte order. VEIL_IO: it is another store's, or damaged.
veil_status st_log_open(st_log **out, const char *path, const uint64_t id[2], st_log_place from, bool writes, st_log_record_fn *fn, void *arg,
                        const rt_image_io *io);

// Ends it, in any state. NULL is fine.
void st_log_close(st_log *log);

// Room for a record's bytes, in one piece, aligned to 8; what is not used of it does no harm. NULL: the head has to advance first; a log that is empty always
// has it. A record may be as long as st_log_most() says, about a quarter of the log.
char *st_log_room(st_log *log, size_t bytes);
size_t st_log_most(const st_log *log);

// Ends the record whose bytes are in the room that was had last: `bytes` of it, padded to 8 with zeros. Nothing is written yet. Its place.
st_log_place st_log_append(st_log *log, size_t bytes);

// Writes what was appended so far, with one write and one barrier; two of each, if it does not lie in one piece; durable when it returns VEIL_OK. `upto`, if not NULL, gets the
// number of the last record that is: one less than that of the log's first, if there is none yet. VEIL_IO: it failed, and so does every call from then on, with
// the same error (log.once). Nothing to write: VEIL_OK at once.
veil_status st_log_write(st_log *log, uint64_t *upto);

// Where the next record will begin.
st_log_place st_log_tail(const st_log *log);
// The number of the next record is one more than it was: who goes through the log from a place before finds none that fits. All that was appended is durable, and nobody appends meanwhile.
void st_log_skip(st_log *log);
// Records before `head` are not needed any more; it is one that was appended, or the tail. They are all durable (log.head).
void st_log_advance(st_log *log, st_log_place head);

// ---- Looking at a log (log_end.c).

// What is where the search for records ended.
typedef enum st_log_end_kind {
  ST_LOG_END_ROOM,     // the file's end, or once around
  ST_LOG_END_ZEROS,    // nothing was ever written there
  ST_LOG_END_OTHER,    // what is left of records that count no more
  ST_LOG_END_TORN,     // a record of the right number, behind the right one, that is not whole: a crash has cut it off before anybody was told of it, or the medium has damaged it
  ST_LOG_END_FOLLOWED, // the same, and a whole record follows it: both were on their way to the disk when it crashed, or the medium has damaged it and what follows is lost
} st_log_end_kind;

typedef struct st_log_end {
  st_log_end_kind kind;
  st_log_place place;      // of what is there; its number is that of the record that would be next
  st_log_place follower;   // ST_LOG_END_FOLLOWED: the first that follows
} st_log_end;

// Of a log that was opened for reading. It reads all of the file. VEIL_IO, VEIL_NO_MEMORY.
veil_status st_log_end_look(const st_log *log, st_log_end *out);

// Whether what is at the path is a log in which nothing was ever written behind its header: it holds no record, and did not hold any. VEIL_BUSY: somebody writes it. VEIL_IO, VEIL_UNSUPPORTED, VEIL_NO_MEMORY: it is no log, or cannot be read.
veil_status st_log_is_unused(const char *path, const rt_image_io *io, bool *unused);

uint64_t st_log_bytes(const st_log *log);
// Bytes from the head to the tail, with what is lost where it turns.
uint64_t st_log_used(const st_log *log);

#endif
