// SPDX-License-Identifier: MIT
// dump.h: what dump.c, dump_gather.c and dump_file.c share.

#ifndef RT_DUMP_H
#define RT_DUMP_H

#include "gc/census.h"
#include "runtime/dump_format.h"
#include "runtime/runtime.h"

enum { RT_DUMP_WORKERS = 8, RT_DUMP_NAMES = 1024 };

// Numbers in chunks of memory that the system gives one by one: so they grow while the world is stopped, and malloc may not be called.
typedef struct rt_dump_chunk {
  struct rt_dump_chunk *next;
  size_t size, used; // bytes: all of it; of numbers
  unsigned char bytes[];
} rt_dump_chunk;

typedef struct rt_dump_out {
  rt_dump_chunk *first, *last;
  unsigned char *at, *limit; // of the last one
  bool failed;               // there was no memory
} rt_dump_out;

// One thread that lists objects.
typedef struct rt_dump_worker {
  struct rt_dump *dump;
  rt_dump_out out;
  const gc_type *type; // of `type_id`
  unsigned type_id;
  uintptr_t expected;  // where the next object begins if it is right behind the last, and is no array
  uint64_t objects, references, bytes;
  // Of the object that is being listed.
  uintptr_t object;
  uint64_t none;       // slots that refer to nothing, not written yet
  size_t traced;       // offset of the last slot that its callback has reported
  pthread_t thread;
} rt_dump_worker;

typedef struct rt_dump {
  veil_heap *heap;
  unsigned flags;
  // World stopped.
  rt_dump_out info, threads, holders, roots, links, entries;
  gc_root last_root;
  gc_held last_entry;
  uint64_t holder_count, root_count, link_count, entry_count;
  rt_dump_worker worker[RT_DUMP_WORKERS];
  unsigned workers; // [0] is the thread that stopped the world
  gc_census census;
  uint32_t volatile ready, go, done;
  uint64_t asked_ns, stopped_ns, ended_ns; // of the monotonic clock
  uint64_t time_ns;                        // of the calendar's
  // Addresses of functions and variables that want a name.
  uint64_t named[RT_DUMP_NAMES];
  unsigned named_count;
  // After it.
  rt_dump_out types, names, end;
} rt_dump;

// ---- dump_gather.c
bool rt_dump_open(rt_dump *dump); // not in a critical section; false with the error set
void rt_dump_gather(rt_dump *dump); // world stopped, no cycle under way
void rt_dump_close(rt_dump *dump);
bool rt_dump_failed(const rt_dump *dump);
void rt_dump_grow(rt_dump_out *out);
static inline void rt_dump_put(rt_dump_out *out, uint64_t n) {
  if (__builtin_expect(out->limit - out->at < 10, 0)) {
    rt_dump_grow(out);
  }
  unsigned char *at = out->at;
  for (; n >= 0x80; n >>= 7) {
    *at++ = (unsigned char)(n | 0x80);
  }
  *at++ = (unsigned char)n;
  out->at = at;
}
void rt_dump_put_text(rt_dump_out *out, const char *text);

// ---- dump_file.c: the world runs.
void rt_dump_finish(rt_dump *dump); // types and names
int rt_dump_write(rt_dump *dump, int fd); // 0, or an errno
// Where a function or a variable is: into `to`, a line. False: nothing is known.
bool rt_symbol_find(uint64_t address, char *to, size_t bytes);

#endif
