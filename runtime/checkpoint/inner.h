// SPDX-License-Identifier: MIT
// inner.h: what the files of this folder share: a checkpointer, its fields by who writes them.
//
// Neighbours: veil/checkpoint.h is for programs, rt_checkpointer_open for tests. Two threads work for a checkpointer: the saver serves requests, has the
// instant taken, and goes through pages (saver.c); the writer writes what it is given (writer.c). Traps fill the pool (pool.c).

#ifndef RT_CHECKPOINT_INNER_H
#define RT_CHECKPOINT_INNER_H

#include <pthread.h>
#include <time.h>
#include "runtime/futex.h"
#include "runtime/image/image.h"
#include "veil/checkpoint.h"
#include "veil/hooks.h"
#include "vm/atomic.h"

// One build for tests can break one rule at a time, which tests/checkpoint must find. In the library this is a constant, and nothing is broken.
enum checkpoint_break {
  CHECKPOINT_WHOLE,
  CHECKPOINT_BREAK_BEFORE,  // cp.before: pages are saved when the writer comes to them
  CHECKPOINT_BREAK_REMOVED, // increments keep pages that are not in use any more
  CHECKPOINT_BREAK_FAIL,    // cp.fail: when the image refuses, traps wait for it all the same
  CHECKPOINT_BREAK_CHAIN,   // an increment follows a checkpoint that failed
  CHECKPOINT_BREAK_RESERVE, // cp.pool: the writer allocates as it goes
  CHECKPOINT_BREAK_COUNT
};
#ifdef CHECKPOINT_BREAKABLE
extern enum checkpoint_break rt_checkpoint_break;
extern void (*rt_checkpoint_at)(veil_checkpointer *c); // called in the stop; NULL: nothing
#define CHECKPOINT_BREAK rt_checkpoint_break
extern __thread veil_checkpointer *rt_checkpoint_writer; // whose writer this thread is
#define CHECKPOINT_WRITER(C) (rt_checkpoint_writer = (C))
#define CHECKPOINT_AT(C) (rt_checkpoint_at != NULL ? rt_checkpoint_at(C) : (void)0)
#else
#define CHECKPOINT_BREAK CHECKPOINT_WHOLE
#define CHECKPOINT_AT(C) ((void)(C))
#define CHECKPOINT_WRITER(C) ((void)(C))
#endif

enum {
  CP_RUN = 16,             // pages that are settled at once, and that one blob of the image holds at most
  CP_RUNS_BYTES = 4 << 20, // of the saver's buffers …
  CP_RUNS_MIN = 4,         // … of which it has so many at least
  CP_POOL_DEFAULT = 64 << 20,
  CP_POOL_MIN = 1 << 20,
  CP_ERROR = 512, // as veil_error
};

// ---- pool.c: copies of pages that were about to change.

// A slot is free, with who copies a page into it, queued, or with the writer.
typedef struct cp_slot {
  size_t page;
  uint32_t volatile next; // index + 1 in the list that it is in; 0: none
} cp_slot;

enum { CP_LINE = 64 }; // bytes that two processors do not write at the same time without waiting for each other

typedef struct cp_pool {
  // Constant.
  char *memory;
  cp_slot *slots;
  rt_image_page *order; // the writer's: what was queued, to sort it
  uint32_t count;
  size_t page_size;
  // Atomic. By who takes, and gives back …
  char apart[CP_LINE];
  AO_t free; // the first slot's index + 1, and in the upper half a count of changes
  AO_t used, used_max;
  // … by who fills …
  char apart_too[CP_LINE];
  AO_t queued, saved; // queued: the last one that was filled
  // … and seldom, but read by all.
  char apart_again[CP_LINE];
  AO_t waits, wait_ns;
  uint32_t volatile given, waiting; // counts: slots came free while somebody waited; threads that wait for that
  uint32_t volatile refusing;       // 1: nothing is saved any more (cp.fail)
} cp_pool;

bool cp_pool_open(cp_pool *pool, size_t bytes, size_t page_size); // false: no memory
void cp_pool_close(cp_pool *pool);
// Nothing is in it: figures begin anew.
void cp_pool_reset(cp_pool *pool);
// The saver's, while the writer rests: nothing is in it, though a trap of the last checkpoint may have slots that it did not need and gives back later. So many
// bytes, half of it at most, get memory before any trap has to wait for that.
void cp_pool_ready(cp_pool *pool, size_t bytes);
// Its memory goes back to the system; it is not in use.
void cp_pool_trim(cp_pool *pool);
// A slot; waits if there is none. 0: nothing is to be saved any more. Else its index + 1. Async-signal-safe.
uint32_t cp_pool_take_in_trap(cp_pool *pool);
// Up to `most` slots, at once, as long as half of the pool is free.
unsigned cp_pool_take_some_in_trap(cp_pool *pool, uint32_t *to, unsigned most);
static inline char *cp_slot_memory(const cp_pool *pool, uint32_t slot) { return pool->memory + (size_t)(slot - 1) * pool->page_size; }
void cp_pool_queue_in_trap(cp_pool *pool, uint32_t slot, size_t page);
void cp_pool_give_in_trap(cp_pool *pool, uint32_t slot);
// The writer's: the slots of pages in pool->order, `count` of them.
void cp_pool_give_some(cp_pool *pool, const rt_image_page *pages, size_t count);
// The writer's: all that is queued, in pool->order, by page. How many.
uint32_t cp_pool_queued(cp_pool *pool);
// Whoever waits goes on, now and from now on.
void cp_pool_refuse(cp_pool *pool);

// ---- The saver's buffers: runs of pages on their way to the writer.

typedef struct cp_run {
  char *memory;   // CP_RUN pages
  size_t first;   // page of the first
  uint32_t saved; // a bit for each that is there
} cp_run;

// Pages that were copied in the stop.
typedef struct cp_stash {
  struct cp_stash *next;
  size_t page, count, bytes; // bytes: of all this
} cp_stash;

// ---- Requests.

typedef struct cp_request {
  struct cp_request *next;
  unsigned flags;
  int fd; // -1: to the checkpointer's file
  uint64_t called_ns;
  // Under the checkpointer's lock.
  bool answered;
  veil_status status;
  char error[CP_ERROR];
  veil_checkpoint_figures figures;
} cp_request;

// What comes from outside and wakes the saver. A signal's handler rings it, so it is never freed.
typedef struct cp_bell {
  uint32_t volatile taken; // by a checkpointer
  uint32_t volatile signo; // 0: none
  uint32_t volatile asked; // 1: the signal came
  uint32_t volatile rung;  // counts
} cp_bell;

// What the writer is to do.
enum cp_order { CP_REST, CP_WRITE, CP_COMPACT, CP_END };

struct veil_checkpointer {
  // Constant.
  veil_heap *heap;
  veil_service *service;
  veil_pages pages;
  veil_checkpointer_options options; // path is a copy
  const rt_image_io *io;
  uint32_t process; // os_process_here() when it was opened
  pthread_t saver, writer;
  cp_pool pool;
  cp_bell *bell;
  cp_run *runs;
  char *run_memory;
  unsigned run_count;

  // Under the lock.
  pthread_mutex_t lock;
  pthread_cond_t changed;         // a request was answered, or a checkpoint has ended
  cp_request *first, **last_next; // waiting requests
  uint64_t asked, ended;          // checkpoints
  uint32_t volatile closing;      // read by others, too
  struct {
    veil_status status;
    char error[CP_ERROR];
    veil_checkpoint_figures figures;
  } last;

  // Atomic.
  uint32_t volatile under_way, requests; // requests: that wait
  AO_t done, of;                         // pages
  uint32_t volatile order, ordered;      // enum cp_order; counts changes of it, and of what there is to write
  uint32_t volatile asleep;              // 1: the writer is, or is about to be
  uint32_t volatile rests;               // counts: an order was carried out
  uint32_t volatile readable; // 1: only writes trap
  uint32_t volatile walked;              // 1: the last page is safe
  AO_t run_head, run_tail;               // runs filled by the saver, written by the writer
  uint32_t volatile run_given;           // counts
  AO_t stash;                            // cp_stash: the saver hands it to the writer

  uint32_t volatile failed; // 1: the version in flight, by whoever set `status` and `error`
  veil_status status;
  char error[CP_ERROR];

  // The saver; while an order is carried out, the writer.
  rt_image_writer *image; // of the version that is in flight, or of `chain`
  bool streaming;         // the version in flight goes to a descriptor
  bool chained;           // `chain` has the heap as of the last instant that watched
  rt_image_writer *chain; // the file, open for increments
  uint64_t file[2];       // its device and inode
  uint8_t volatile *trapped;       // a bit per CP_RUN pages: somebody has trapped there since the instant
  uint8_t *in_file, *put; // a bit per page: that it has, that the version in flight has got
  size_t pages_top;       // no page from here on was ever put
  veil_description *description;
  rt_image_committed committed;
  size_t in_use;       // pages, about, when it was begun
  size_t reserved;     // that can be put without an allocation
  bool full, watching; // of the version in flight: no increment; the next one may be
  bool compact;        // the file is to be compacted when there is time
  unsigned given_up;   // compactions in a row
  uint64_t version;    // in the file

  // In the stop.
  cp_stash *stashed;
  bool stash_failed;
  uint32_t *ahead; // slots that were taken for pages to be copied there: the saver's before and afterwards
  size_t ahead_count;
  uint64_t copied; // pages there, of the version in flight

  // The saver alone.
  uint64_t began_ns, told_ns;
  size_t pool_used; // bytes at most, by the last increment
};

static inline uint64_t cp_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
static inline bool cp_bit(const uint8_t *bits, size_t page) { return bits[page / 8] >> page % 8 & 1; }
static inline void cp_bit_set(uint8_t *bits, size_t page) { bits[page / 8] |= (uint8_t)(1u << page % 8); }

// Contents of a page, at which nothing traps.
static inline const char *cp_page_alias(const veil_checkpointer *c, size_t page) { return c->pages.base + c->pages.delta + page * c->pages.page_size; }

// ---- unsaved.c: what the service is called for.
extern const veil_service_callbacks cp_service;
extern const veil_instant_calls cp_instant;
// Gives back what was taken for pages to be copied in the stop. After the instant.
void cp_ahead_give(veil_checkpointer *c);
// Settles a group of pages into the run that is being filled. How many are in it.
unsigned cp_run_fill(veil_checkpointer *c, cp_run *run, size_t page, size_t count);

// Whether it belongs to a parent of this process, by fork (cp.child). Async-signal-safe.
static inline bool cp_process_gone(const veil_checkpointer *c) { return os_process_here() != c->process; }

// ---- bell.c
cp_bell *cp_bell_take(int signo); // NULL with the error set. signo 0: none
void cp_bell_give(cp_bell *bell);
static inline void cp_bell_ring(cp_bell *bell) { rt_post(&bell->rung); }

// ---- saver.c, writer.c: threads.
void *cp_saver_main(void *checkpointer);
void *cp_writer_main(void *checkpointer);
// The saver's: gives an order, and waits until it was carried out.
void cp_order_give(veil_checkpointer *c, enum cp_order order);
void cp_order_wait(veil_checkpointer *c);
// In traps too: a call of the system's only if the writer sleeps. Either it finds the count changed when it is about to, or we find it asleep.
static inline void cp_writer_wake(veil_checkpointer *c) {
  at32_add_full(&c->ordered, 1);
  if (at32_load_acquire(&c->asleep)) {
    os_wake_all(&c->ordered);
  }
}

// ---- file.c: the image. Functions that return a status have set c->error when it is not VEIL_OK.
// Begins a version: a full one, an increment, or one to a descriptor.
veil_status cp_file_begin(veil_checkpointer *c, int fd, bool whole);
// All pages were put: the rest, and the commit.
veil_status cp_file_finish(veil_checkpointer *c);
// The version in flight failed, or is done: what is left of it is closed.
void cp_file_end(veil_checkpointer *c);
veil_status cp_file_put(veil_checkpointer *c, size_t first, size_t count, const void *contents);
// Of pages that lie anywhere, sorted. `taken` as for rt_image_put_list.
veil_status cp_file_put_list(veil_checkpointer *c, const rt_image_page *list, size_t count, rt_image_taken *taken, void *arg);
void cp_file_compact(veil_checkpointer *c);
void cp_file_close(veil_checkpointer *c);
// What is at the path may be replaced: an image, or nothing. Sets veil_error().
veil_status cp_file_look(const veil_checkpointer *c);
// Notes the first failure of the version in flight. Returns it.
veil_status cp_fail(veil_checkpointer *c, veil_status status, const char *text);

// ---- checkpointer.c
// With an io of its own, NULL: the system; for tests.
veil_checkpointer *rt_checkpointer_open(veil_heap *heap, const veil_checkpointer_options *options, const rt_image_io *io);

// ---- restore.c
veil_heap *rt_restore(const char *path, const veil_options *options, const veil_restore_options *restore, const rt_image_io *io); // as rt_checkpointer_open

#endif
