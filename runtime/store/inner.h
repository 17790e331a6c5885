// SPDX-License-Identifier: MIT
// inner.h: what the files of this folder share: a store, its fields by who writes them.
//
// Neighbours: veil/store.h is for programs, rt_store_open for tests. Whoever commits takes the instant and composes the record (take.c, change.c), whoever waits writes it (commit.c), a thread folds (fold.c). Traps read what is away (source.c).

#ifndef RT_STORE_INNER_H
#define RT_STORE_INNER_H

#include <pthread.h>
#include <sys/types.h>
#include "runtime/image/image.h"
#include "runtime/store/contents.h"
#include "runtime/store/log.h"
#include "runtime/store/mark.h"
#include "runtime/store/sections.h"
#include "veil/hooks.h"
#include "veil/store.h"
#include "vm/atomic.h"

#define ST_EXPORT __attribute__((visibility("default")))

enum {
  ST_ERROR = 512, // as veil_error
  ST_TURNS = 4,   // instants that anybody waits for at the same time, mostly: one not durable, one appended, one being taken, and the next
};

// One build for tests can break one rule at a time, which tests/store must find. In the library this is a constant, and nothing is broken.
enum store_break {
  STORE_WHOLE,
  STORE_BREAK_ORDER, // st.order: an image is committed before the log is durable
  STORE_BREAK_GONE,  // st.gone: pages that are not in use any more are not named
  STORE_BREAK_SPACE, // st.space: the head advances where no image was durable
  STORE_BREAK_OWED,  // what a commit that failed has found is forgotten
  STORE_BREAK_UPTO,  // st.redo: that the log has all records of which the image has something is not looked at
  STORE_BREAK_COMPACT, // st.compact: what the log has is taken to be in the compacted image
  STORE_BREAK_SURE,  // st.once: nor whether a version that failed is there all the same
  STORE_BREAK_COUNT
};
#ifdef STORE_BREAKABLE
extern enum store_break rt_store_break;
#define STORE_BREAK rt_store_break
#else
#define STORE_BREAK STORE_WHOLE
#endif

// What a commit changes; what a commit that failed has left is part of the next one.
typedef struct st_change {
  // Taken in the stop.
  size_t *pages; // that were written …
  size_t *places; // … in the record: of their items, in words, plus 1; 0: they are as they were committed
  uint8_t *copied; // … whether there is a copy: else the page was compared in the stop, and the record has what differs
  size_t count;
  char *copies;  // st_change_copy
  bool blanks;   // veil_description_blanks, as of the instant: then all were copied (st.blank)
  bool claimed;  // they were claimed, and saved when the world ran: each copy is at the page's own place
  uint8_t *saved; // until they are listed: a bit per page. Atomic: traps
  bool looked;   // a cycle has been since: pages may have gone
  // Found afterwards.
  st_sections sections;                 // that are other than before
  struct st_gone { uint64_t first, count; } *gone; // runs of pages
  size_t gone_count, gone_room;
  uint64_t *record;     // words
  size_t words, items;  // of it; items: of pages
  uint64_t zeros_next;  // behind the run of zeros that was written last
  uint64_t changed;     // bytes
  size_t record_bytes;  // of the mapping
} st_change;

// What the n-th page held at the instant, if it was copied.
static inline char *st_change_copy(const st_change *c, size_t n, size_t page_size) { return c->copies + (c->claimed ? c->pages[n] : n) * page_size; }

typedef struct st_source st_source; // source.c

// Runs of pages that the log says hold zeros, or are gone; sorted, and apart, once the log was read.
typedef struct st_zeros {
  struct st_gone *run;
  size_t count, room;
} st_zeros;

struct veil_store {
  // Constant once it is open.
  veil_heap *heap;
  veil_service *service;
  veil_pages pages;
  veil_store_options options;
  const rt_image_io *io;
  char *path, *log_path;
  uint64_t id[2];
  size_t stop_bytes; // of pages that are compared or copied in a stop, at most: of more they are claimed
  pid_t process;
  pthread_t folder;
  bool folder_runs;
  st_source *source;      // NULL: the store was made
  st_log *log;            // beside writing: under `contents_lock`. NULL while the store is made
  st_log_place first;     // of the log, then
  st_zeros zeros;         // while it is opened
  int read_lock;          // a reader's: a descriptor that has a share of the image's lock; -1: none

  // Whoever takes the instant: `taking`.
  st_change change;
  veil_description *description;
  bool described; // it was taken
  bool many; // the last commit had more pages than are copied in the stop
  uint32_t volatile moved; // 1: a cycle or a minor cycle began; in stops

  // Under contents_lock, which is taken after `lock`.
  pthread_mutex_t contents_lock;
  st_contents *contents;
  st_sections sections; // types and roots among them
  uint8_t *has;         // a bit per page: it was in use when the last commit was
  size_t has_top;       // no bit from here on was ever set
  AO_t log_used;        // of the log, in bytes; read without the lock

  // Whoever folds: `folding`.
  rt_image_writer *writer; // NULL: to be opened again
  rt_image *image;         // its newest version; freed under contents_lock
  uint64_t compact_next;   // bytes of the image below which compaction is not tried again by itself
  bool moved_away;         // the heap's pages are not as the image has them (veil_source_is_kept): the next commit makes a new one, of everything. By who is `taking`, too

  // Under lock.
  pthread_mutex_t lock;
  pthread_cond_t turn[ST_TURNS]; // commits that wait to be durable, by their instant: for who takes it, and until it is
  pthread_cond_t folder_wanted;  // the folder's thread
  pthread_cond_t happened;       // all others
  bool taking, writing, folding, fold_wanted, compact_wanted, write_wanted, closing, all_read;
  unsigned to_write;          // threads that have taken an instant, and write it
  unsigned fold_waiters; // who would fold, or keep others from it
  unsigned given_up;     // compactions in a row, for these
  uint64_t begun, taken;      // instants
  uint64_t appended, durable; // the last instant of which that is true
  veil_status take_status, poison;
  char take_why[ST_ERROR], poison_why[ST_ERROR];
  veil_commit_figures last;
  veil_store_figures figures;
};

static inline bool st_bit(const uint8_t *bits, size_t page) { return bits[page / 8] >> page % 8 & 1; }
static inline void st_bit_set(uint8_t *bits, size_t page, bool value) {
  bits[page / 8] = (uint8_t)(value ? bits[page / 8] | 1u << page % 8 : bits[page / 8] & ~(1u << page % 8));
}

// ---- source.c: what the heap is opened from.
// What `contents` and the sections have, which does not change before `done`. NULL: no memory.
st_source *st_source_open(veil_store *store, rt_image *image);
// False with the error set.
bool st_source_describe(st_source *source, veil_store *store, veil_source *out);
void st_source_close(st_source *source);

// ---- zeros.c
// A record says that these pages hold zeros. False: no memory.
bool st_zeros_found(veil_store *store, uint64_t first, uint64_t count, uint64_t sequence);
void st_zeros_sort(st_zeros *z);
// The first run with pages >= `page`, cut to begin there. False: none.
bool st_zeros_next(const st_zeros *z, uint64_t page, rt_image_run *out);
// It is known which pages the heap has in use: what the image has otherwise is noted, and the runs go. False with the error set.
bool st_zeros_settle(veil_store *store);
void st_zeros_free(st_zeros *z);

// ---- take.c: the instant, and what has changed since the last one.
extern const veil_service_callbacks st_service;
bool st_change_open(veil_store *store); // false: no memory
void st_change_close(veil_store *store);
// The thread that is `taking`. What it has found is in store->change, also if it fails.
veil_status st_take(veil_store *store, uint64_t *pause_ns);
// Between brackets: what the instant has claimed is saved. Then all pages are listed.
void st_take_rest(veil_store *store);
// What a large commit has used goes.
void st_take_trim(veil_store *store);

// ---- change.c: from what was taken to a record. Between brackets; the thread that is `taking`.
// In the stop too: adds what makes `now` of `was`, as a page's item, to the record; its words, 0 if they are equal.
size_t st_change_add(st_change *c, size_t page, const void *was, const void *now, size_t page_size);
// Under contents_lock: all but the record's place.
veil_status st_change_compose(veil_store *store);
// Appends it, or writes it into the image if it is too long for the log.
veil_status st_change_commit(veil_store *store, uint64_t *logged);
// It is committed: what was committed changes. Under contents_lock. `item_base`: where the record is now; NULL: in the image only.
void st_change_apply(veil_store *store, const uint64_t *record, uint64_t sequence);

// ---- commit.c
// No commit succeeds from here on: the calling thread's error is why.
void st_poison(veil_store *store, veil_status status);
// Wakes who waits for any of these instants to be durable, or for anything else that has changed; none if `last` is less. Not with the lock.
void st_wake(veil_store *store, uint64_t first, uint64_t last);
// Writes the log as far as it was appended, or waits until somebody has. Not with a lock.
veil_status st_write(veil_store *store, uint64_t instant);
// Writes all that has been appended before, whether anybody has been told of it or not.
veil_status st_write_all(veil_store *store);
bool st_process_gone(const veil_store *store);
// VEIL_OK: this process may change the files.
veil_status st_refused(const veil_store *store, const char *function);

// ---- fold.c
void *st_folder_main(void *store);
// Puts committed contents, and `change` if it is not NULL, into the image. By who is `folding`.
veil_status st_fold(veil_store *store, const st_change *change, bool closed);
void st_fold_pretend(veil_store *store);
// Waits until nobody folds; then the caller does, until st_fold_end.
void st_fold_begin(veil_store *store);
void st_fold_end(veil_store *store);
// Half of the log is used, and nothing is away any more (st.trap). Under lock.
bool st_fold_is_due(const veil_store *store);
// The version of that number, which was just committed.
veil_status st_version_open(veil_store *store, uint64_t version, rt_image **image);
// st.trap: waits until nothing is away. Whoever waits reads as well.
void st_all_read_wait(veil_store *store);

// ---- compact.c: by who is `folding`, after a fold that went well or before any.
// The image is longer than the option says, `times` times as long.
bool st_compact_is_due(const veil_store *store, unsigned times);
// st.compact. `gives_way`: to who would fold, and to closing; then it is VEIL_BUSY.
veil_status st_compact(veil_store *store, bool gives_way);
// In the background, if it is due.
void st_compact_look(veil_store *store);

// ---- open.c
veil_store *rt_store_open(const char *path, const veil_options *options, const veil_store_options *store, const rt_image_io *io); // for tests; NULL: the system

#endif
