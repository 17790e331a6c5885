// SPDX-License-Identifier: MIT
// compressor.h: a compressor, its fields by who writes them; what its files share.
//
// Neighbours: veil/compress.h is for programs. keeper.c decides and moves, packer.c computes, absent.c is the trap, sampler.c knows who was touched. Invariants: cx.states, cx.wins, cx.frame, cx.nobody-waits.

#ifndef CX_COMPRESSOR_H
#define CX_COMPRESSOR_H

#include <pthread.h>
#include <sys/types.h>
#include "runtime/compress/codec.h"
#include "runtime/compress/control.h"
#include "runtime/compress/shelf.h"
#include "veil/compress.h"
#include "veil/hooks.h"
#include "vm/atomic.h"

enum {
  CX_SLOTS = 64,          // pages that are being compressed at a time
  CX_RUN = 16,            // pages whose memory goes by one call: so long somebody who touches one of them waits
  CX_BALLAST = 64,        // pages of memory kept for who needs some and gets none
  CX_UNPACKERS_MOST = 16, // threads that unpack at a time; others wait for one of them
  CX_THREADS_MOST = 16,
  CX_LATENCIES = 256,     // buckets, four for each power of two
  CX_TOGETHER = 1 << 16,  // bytes that stay where they are together (veil_service_asleep)
  CX_GROUP = 1024,        // pages whose part of the tables is passed over while nothing is known of any: most of a heap's addresses are never used
};

// ---- States of a page: the high bits of its word; the low ones are a slot's number or an item's handle (cx.states).

typedef enum cx_state {
  CX_OUT = 0,  // nothing of it is here
  CX_PARKED,   // slot: claimed, or about to be; a packer has it; the contents are where they were
  CX_READY,    // handle: it is on the shelf; the contents are where they were
  CX_DROPPING, // handle: the keeper is giving the memory back
  CX_AWAY,     // handle: the memory is gone
} cx_state;
enum { CX_STATE_SHIFT = 61 };
static inline cx_state cx_state_of(uint64_t word) { return (cx_state)(word >> CX_STATE_SHIFT); }
static inline uint64_t cx_low_of(uint64_t word) { return word & ((UINT64_C(1) << CX_STATE_SHIFT) - 1); }
static inline uint64_t cx_word_of(cx_state state, uint64_t low) { return (uint64_t)state << CX_STATE_SHIFT | low; }

// An item on the shelf: notes, blob, and how long the notes are, in units of 8 bytes.
typedef uint16_t cx_tail;

// What the keeper knows of a page.
typedef struct cx_page {
  uint8_t age;                   // intervals in which it was not touched
  uint8_t streak : 3, skip : 4;  // in how many looks, one after the other, it was touched; for how many intervals it counts as touched without a look
  uint8_t touched : 1;           // in this interval
  uint8_t wait;                  // intervals until it is tried again
  uint8_t fails : 3, known : 1;  // how often it was tried in vain since it was touched; it was ever told of
  uint8_t fresh : 1;             // that was since it had not been through a full cycle
} cx_page;

// A page that is being compressed.
typedef struct cx_slot {
  // The keeper's.
  uint64_t *notes; // a page's worth
  size_t page;
  size_t notes_bytes;
  // Under the lock.
  enum { CX_FREE, CX_GIVEN, CX_TAKEN, CX_DONE } stage;
  // The packer's, until it is done.
  bool worth;
} cx_slot;

// What can unpack, one thread at a time each.
typedef struct cx_unpackers {
  char *memory;
  size_t bytes;    // of each
  size_t contents; // where in it there is room for a page
  unsigned count;
  AO_t free; // a bit each
  uint32_t volatile process; // whose threads have those that are not
} cx_unpackers;

struct veil_compressor {
  // Constant while it is open.
  veil_heap *heap;
  veil_service *service;
  veil_pages pages;
  veil_compressor_options options; // with the defaults
  uint32_t process; // os_process_here()
  unsigned fixed, skip_most; // intervals: the threshold if the program chose it, or 0; cx_page.skip
  cx_codec *codec;
  cx_shelf *shelf;
  char *memory; // all of what follows that there is for each page
  size_t memory_bytes;
  AO_t *state;      // cx_state: by CAS
  uint8_t volatile *back; // it came back since the last interval. By who settles, and the keeper
  uint8_t volatile *hint; // veil_compress_hint. By who hints, and the keeper where a page is not in use
  cx_page *page;    // the keeper's
  uint8_t *group;   // likewise: whether anything is known of one of CX_GROUP pages
  cx_predictor *predictor; // a word for each 16 pages; packers'
  pthread_t keeper, packers[CX_THREADS_MOST];
  unsigned packer_count; // that run
  bool keeps;            // the keeper does

  // Traps'. Atomic.
  cx_unpackers unpackers;
  char *ballast;
  uint32_t volatile ballast_left;
  AO_t returned, taken_back, discarded, in_cycles, copied; // pages
  AO_t packer_ns;                                  // processor time
  AO_t latency[CX_LATENCIES], latency_max;         // ns
  uint32_t volatile cycle;                         // a full cycle is under way
  AO_t cycles;                                     // that have ended

  // Under the lock. It is no trap's, and nobody holds it while he waits for anything.
  pthread_mutex_t lock;
  pthread_cond_t wakes_keeper, wakes_packers, wakes_callers;
  bool closing;
  cx_slot slot[CX_SLOTS];
  unsigned given, done;  // slots that are
  unsigned age_wanted;   // of veil_compress_now: intervals; valid while asked != answered
  uint64_t asked, answered;
  size_t answer;         // pages
  veil_compress_stats stats; // as the keeper told last
  size_t stats_groups;   // likewise, `groups`
  uint64_t ages[CX_AGES], touched[CX_AGES]; // totals

  // The keeper's.
  veil_compress_stats counted;
  size_t high;       // pages below which all that are known lie
  size_t groups;     // of which something is known
  size_t at;         // where the pass goes on; `high`: it is over
  bool passing;
  unsigned pass_age; // intervals
  uint64_t made;     // pages that are away, since it was opened
  unsigned out;      // slots that are not free
  bool may;          // by the controller's allowance
  cx_control control;
  cx_interval interval;
  uint64_t cycles_seen, fresh, fresh_refused; // as of the last interval: cycles; pages that wait for one; how often the collector had refused such a page by then
  unsigned since_asked;                       // intervals since a cycle was asked for
  bool settles;                               // a cycle has ended in this interval
  uint64_t returned_seen, swept; // as of the last tick; what was dropped when the shelf was put in order last
  double minute[600]; // shares of the working set that were wanted back: a ring of intervals, for ten minutes
  unsigned minutes, minute_at;
};

static inline char *cx_alias(const veil_compressor *c, size_t page) { return c->pages.base + c->pages.delta + page * c->pages.page_size; }
// Whether packers have done so much that the keeper should look. Under the lock.
static inline bool cx_slots_wake(const veil_compressor *c) { return c->done >= CX_RUN || (c->done != 0 && c->given == 0); }
// Whether this process is a child of the one that opened it, and so has none of its threads (cx.child).
bool cx_gone(const veil_compressor *c);

// ---- absent.c: callbacks. In traps, but cx_copy and the last three.
void cx_absent(void *arg, size_t page);
void cx_discarded(void *arg, size_t page, size_t count);
bool cx_copy(void *arg, size_t page, void *to);
bool cx_unpackers_open(cx_unpackers *u, const cx_codec *codec, size_t page_size, unsigned count);
void cx_unpackers_close(cx_unpackers *u);
// Memory for frames, as far as there is less than there should be. False: none.
bool cx_ballast_fill(veil_compressor *c);
uint64_t cx_latency_at(const veil_compressor *c, double share);

// ---- sampler.c: the keeper's.
// The first page from `page` on in a group of which something is known; `high`, or more: none.
size_t cx_known_next(const veil_compressor *c, size_t page);
// An interval is over.
void cx_sample(veil_compressor *c);
// Who was touched so far in this one.
void cx_look(veil_compressor *c);

// ---- packer.c
void *cx_packer_main(void *compressor);

// ---- mover.c: the keeper's.
// Whether the page is to be compressed, by its age and what was said of it.
bool cx_wanted(const veil_compressor *c, size_t page, unsigned age);
// Takes a page for the packers. False: it cannot be had now.
bool cx_take(veil_compressor *c, cx_slot *slot, size_t page);
// Ends what packers have done: `count` slots, which are free afterwards. Returns how many pages are away.
size_t cx_end(veil_compressor *c, cx_slot **slots, size_t count);
// A slot that no packer has: its page is let go.
void cx_let_go(veil_compressor *c, cx_slot *slot);
// The shelf has moved an item.
bool cx_item_moved(void *compressor, uint32_t tag, uint64_t from, uint64_t to);

// ---- keeper.c
void *cx_keeper_main(void *compressor);

#endif
