// SPDX-License-Identifier: MIT
// log_inner.h: what the files of a log share: what stands in the file, and a log that is open, its fields by who writes them.
//
// Neighbours: log.h is for everybody else; log.c appends and writes, log_file.c creates and opens. All structs are written as they are in memory: no padding,
// little-endian.

#ifndef RT_STORE_LOG_INNER_H
#define RT_STORE_LOG_INNER_H

#include <pthread.h>
#include "runtime/image/file.h"
#include "runtime/store/log.h"

// One build for tests can break one rule at a time, which tests/store must find. In the library this is a constant, and nothing is broken.
enum log_break {
  LOG_WHOLE,
  LOG_BREAK_BARRIER, // st.order: nothing is waited for
  LOG_BREAK_SUM,     // st.atomic: checksums are not looked at
  LOG_BREAK_CHAIN,   // st.atomic: nor what record came before
  LOG_BREAK_SETTLE,  // log.settle: opening waits for nothing
  LOG_BREAK_MARK,    // log.settle: all marks are the same
  LOG_BREAK_ONCE,    // log.once: after a failure it goes on
  LOG_BREAK_SPACE,   // st.space: what the head has not passed is written over
  LOG_BREAK_NAME,    // log.new: the name of a new file is not made durable
  LOG_BREAK_NEW,     // log.new: an old file is written over
  LOG_BREAK_ZEROS,   // log.new: a new file gets its name before it is durable
  LOG_BREAK_TURN,    // log.turn: a turn and what is behind it are made durable together
  LOG_BREAK_COUNT
};
#ifdef LOG_BREAKABLE
extern enum log_break st_log_break;
#define LOG_BREAK st_log_break
#else
#define LOG_BREAK LOG_WHOLE
#endif

// ---- The file.

#define LOG_MAGIC "veil store\r\n\032\n\377"
enum {
  LOG_MAGIC_BYTES = 16,
  LOG_FORMAT = 1,
  LOG_BYTE_ORDER = 0x01020304,
  LOG_BLOCK = 4096, // a log's size is a multiple of it
  LOG_UNIT = 8,     // everything in it begins at a multiple of it
};
#define LOG_MAX (UINT64_C(1) << 40) // bytes of a log

typedef struct log_header {
  char magic[LOG_MAGIC_BYTES];
  uint32_t byte_order, format;
  uint64_t id[2];                 // of the store
  uint64_t bytes;                 // the file's
  uint64_t first_sequence, chain; // of the place of the first record
  uint8_t zero[ST_LOG_HEADER - 72];
  uint64_t sum; // XXH3 of all before
} log_header;
_Static_assert(sizeof(log_header) == ST_LOG_HEADER, "no padding");

typedef enum log_kind {
  LOG_RECORD = 0x63657276, // "vrec"
  LOG_TURN = 0x6e727476,   // "vtrn": what follows is at the beginning; no bytes
  LOG_MARK = 0x6b726d76,   // "vmrk": here somebody opened the log; a number that no other mark has
} log_kind;

// Followed by `size` bytes and zeros to a multiple of 8.
typedef struct log_record {
  uint64_t sum;  // XXH3 of all that follows, with the zeros
  uint32_t kind; // log_kind
  uint32_t size;
  uint64_t sequence; // turns and marks have that of the record that follows
  uint64_t chain;    // the sum of what is before it: record, turn, or mark
} log_record;
_Static_assert(sizeof(log_record) == ST_LOG_RECORD, "no padding");

enum {
  LOG_MARK_BYTES = sizeof(log_record) + 8,
  // What room leaves free behind a record: a mark, so that the log can be opened again; what is lost in front of the mark if that has to turn, which is less
  // than a mark; and a unit, so that a full log does not look empty.
  LOG_SPARE = LOG_MARK_BYTES + (LOG_MARK_BYTES - LOG_UNIT) + LOG_UNIT,
};

// ---- An open log.

// A position is where something would be in a file without end: it only grows. Its place in the file follows from it.
struct st_log {
  // Constant when it is open.
  image_file file;
  uint64_t bytes, capacity; // of the file; without the header
  char *mirror;             // private memory that has at each offset what the file has, from the head to the tail; touched as far as it was ever used
  bool writes;
  st_log_place end;         // where the search for records ended
  bool direct, direct_tried; // writes go past the cache. The writing thread's

  // The appending thread's.
  uint64_t head;      // a position: nothing from there to the tail is written over
  st_log_place place; // of the tail
  uint64_t tail;      // its position
  uint64_t room;      // a position: where the next record will be; UINT64_MAX: no room was asked for
  size_t room_bytes;  // that it has

  // Under the lock. To `ready` it has what was appended, whose bytes do not change until the head has passed them; to `durable` what is durable, which the
  // writing thread says. The sequences are of the records that come next.
  pthread_mutex_t lock;
  uint64_t ready, ready_sequence;
  uint64_t durable, durable_sequence;
  uint64_t turned_from, turned_to; // positions: where it last came to the file's end, and where it went on, which is at the beginning; nothing is between them

  // The writing thread's.
  bool failed;
  char reason[500];
};

static inline uint64_t st_log_offset(const st_log *log, uint64_t position) { return ST_LOG_HEADER + position % log->capacity; }
static inline uint64_t st_log_left(const st_log *log, uint64_t position) { return log->capacity - position % log->capacity; }     // to the file's end
static inline size_t st_log_whole(size_t size) { return sizeof(log_record) + ((size + LOG_UNIT - 1) & ~(size_t)(LOG_UNIT - 1)); } // with head and zeros
// The mirror's bytes go to the file. 0 or a negative errno.
int st_log_put(st_log *log, uint64_t offset, uint64_t bytes);
// The header at byte 0, checked; `id` NULL: of any store.
veil_status st_log_header_read(const image_file *file, const uint64_t *id, log_header *out);
// Appends a mark. False: there is no room.
bool st_log_mark(st_log *log);
// The tail is there, at that position, and all before it is durable.
void st_log_begin(st_log *log, uint64_t head, st_log_place tail, uint64_t position);

#endif
