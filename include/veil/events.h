// SPDX-License-Identifier: MIT
// veil/events.h: what happens in a heap, as it happens.
//
// A program hands in a table of callbacks, any of which may be NULL. Nobody listening costs a load and a branch
// at coarse points: per trap, per run of pages, per stop; nothing per object.
//
// Every callback runs in the thread in which the thing happens, and that thread waits for it. Nearly all run in the middle of
// veil's own work: in a signal handler (marked "handler"), with the world stopped (marked "stopped"), while a page is held, or
// with the thread itself kept from being stopped. So a callback must be short and async-signal-safe: no malloc, no stdio, no lock
// that a mutator may hold, no touch of an object, and no call of veil's but veil_get_stats, veil_collecting and
// veil_thread_heap. Atomic counters, a ring of one's own, write(2) are fine. `heap_opened`, `heap_closed`,
// `thread_attached` and `thread_detached` are ordinary calls: they may use malloc and stdio; so are those of checkpoints.
//
// Begin and end come in pairs, in one thread, nested like brackets; an end is told only to the table that was told the
// begin. Times are in nanoseconds of CLOCK_MONOTONIC, sizes in bytes, pages are those of veil/hooks.h, cycles count from 1.

#ifndef VEIL_EVENTS_H
#define VEIL_EVENTS_H

#include <veil/veil.h>

#ifdef __cplusplus
extern "C" {
#endif

// Who scanned a run of pages. (What a trap scans is told by trap_begin and trap_end.)
typedef enum veil_scan { VEIL_SCAN_BACKGROUND = 0, VEIL_SCAN_ASSIST = 1 } veil_scan;

// A heap's sizes when a cycle has ended.
typedef struct veil_sizes {
  uint64_t live_bytes;  // what survived
  uint64_t used_bytes;  // in blocks that hold objects
  uint64_t held_bytes;  // memory of the heap's pages
  uint64_t limit_bytes; // what it may hold
  uint64_t kept_blocks; // in this cycle, for want of to-space
} veil_sizes;

// Fields are only ever added at the end.
typedef struct veil_events {
  // ---- Heaps and threads. Ordinary calls.
  // heap_opened is told to the table in veil_options only: another cannot be there yet. heap_closed is the last one told:
  // no other thread of the heap is left, and its figures can still be read.
  void (*heap_opened)(void *arg, veil_heap *heap);
  void (*heap_closed)(void *arg, veil_heap *heap);
  void (*thread_attached)(void *arg, veil_thread *self);
  void (*thread_detached)(void *arg, veil_thread *self); // about to be; also when a thread ends without detaching

  // ---- Stops: for flips, verification, and others. In the thread that stops the others. `ns` is from the request until the
  // others were told to go on. No stop begins before the last has ended.
  void (*stop_begin)(void *arg);
  void (*stop_end)(void *arg, uint64_t ns);
  // This mutator was stopped, for `ns`, and is about to go on. Handler.
  void (*thread_stopped)(void *arg, uint64_t ns);

  // ---- Flips. Stopped. `pins`: objects held in place; `roots`: precise slots looked at; `words`: ambiguous words looked at.
  void (*flip_begin)(void *arg, uint64_t cycle);
  void (*flip_end)(void *arg, uint64_t cycle, uint64_t pins, uint64_t roots, uint64_t words, uint64_t ns);

  // ---- A cycle's phases. With the back end `none` all three lie within the flip. Scanning: stopped; the others in the thread that sweeps.
  void (*cycle_scanning)(void *arg, uint64_t cycle);
  void (*cycle_sweeping)(void *arg, uint64_t cycle, uint64_t ns); // nothing is grey any more, `ns` after the flip
  void (*cycle_ended)(void *arg, uint64_t cycle, const veil_sizes *sizes);

  // ---- Work on pages.
  // A mutator touched a veiled page. Handler. `ns` is the time in the handler.
  void (*trap_begin)(void *arg, size_t page);
  void (*trap_end)(void *arg, size_t page, uint64_t ns);
  // `scanned` pages of [page, page + count) were grey and are black now, all opened. In a scanner, an assisting mutator, or a flip.
  void (*pages_scanned)(void *arg, size_t page, size_t count, size_t scanned, veil_scan by, uint64_t ns);
  // A mutator scans because it allocates faster than scanners keep up, or waits for the end of a cycle. `found`: there was something to scan.
  void (*assist_begin)(void *arg);
  void (*assist_end)(void *arg, bool found, uint64_t ns);
  // The block that begins at `page` stays for this cycle, because there was no room for copies. Handler.
  void (*block_kept)(void *arg, uint64_t cycle, size_t page);
  // A service's claim on a page was settled, or dropped because the page's contents died. Handler. `claim` is a veil_claim.
  void (*claim_settled)(void *arg, const char *service, size_t page, unsigned claim);

  // ---- Memory. `held` is what the heap's pages have afterwards. Handler.
  void (*memory_committed)(void *arg, size_t bytes, uint64_t held);
  void (*memory_returned)(void *arg, size_t bytes, uint64_t held);
  // An allocation of `bytes` found no room, and waits for cycles to make some; then there was none after full collections.
  void (*limit_reached)(void *arg, size_t bytes);
  void (*out_of_memory)(void *arg, size_t bytes);
  // A mutator waits for memory, or for the end of a cycle.
  void (*stall_begin)(void *arg);
  void (*stall_end)(void *arg, uint64_t ns);

  // ---- Others.
  // veil_block_begin and veil_block_end. The thread is not stopped in the callbacks, but is between them.
  void (*blocked_begin)(void *arg);
  void (*blocked_end)(void *arg, uint64_t ns);
  // veil's signal handlers had been replaced, and `count` of them were put back.
  void (*handlers_restored)(void *arg, int count);

  // ---- Minor cycles. Stopped. `survived`: bytes that survived their first, and stay in the nursery; `promoted`: bytes that are old from now on.
  void (*minor_begin)(void *arg, uint64_t minor);
  void (*minor_end)(void *arg, uint64_t minor, uint64_t survived, uint64_t promoted, uint64_t ns);

  // ---- Checkpoints (veil/checkpoint.h), in a thread of the checkpointer's, which holds up nobody: it may use malloc and stdio, but the checkpointer waits for it.
  // `full`: not an increment. Between the two, some times a second, how many pages are in the file, of how many. At the end, `status` as veil_checkpoint returns it;
  // the newest version in the file, the failed one's predecessor if it failed; and what was written of this one.
  void (*checkpoint_begin)(void *arg, bool full);
  void (*checkpoint_progress)(void *arg, uint64_t done, uint64_t of);
  void (*checkpoint_end)(void *arg, veil_status status, uint64_t version, uint64_t pages, uint64_t bytes, uint64_t ns);
} veil_events;

// Makes `table` (copied) the heap's one listener from now on; NULL: nobody. When it returns no callback of the table before
// runs any more, so what its `arg` points to may go. Any thread, attached or not, at any time, but not in a
// callback, which aborts.
static inline void veil_set_events(veil_heap *heap, const veil_events *table, void *arg);

// The same for a table of `size` bytes: programs built with an older veil have a shorter one.
void veil_set_events_sized(veil_heap *heap, const veil_events *table, size_t size, void *arg);

static inline void veil_set_events(veil_heap *heap, const veil_events *table, void *arg) {
  veil_set_events_sized(heap, table, sizeof *table, arg);
}

#ifdef __cplusplus
}
#endif
#endif
