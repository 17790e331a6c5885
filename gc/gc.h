// SPDX-License-Identifier: MIT
// gc.h: what the runtime may ask of the collector.

#ifndef GC_GC_H
#define GC_GC_H

#include "gc/heap.h"

// ---- Opening. One thread.
vm_status gc_open(gc_heap **out, const gc_config *config, const gc_world *world, char *why, size_t why_bytes);
void gc_close(gc_heap *heap); // no cycle, no mutator
// Whether gc_world.events is told; 0: no. Any other number says the same, and comes back from traps that began under it. Any thread.
void gc_listen(gc_heap *heap, uint32_t listening);

// ---- Types. Returns the id that headers carry, or 0 when all are taken. Any thread. The description stays for as long as the process.
unsigned gc_type_register(const gc_type *type);
// The same under a certain id, GC_FIRST_TYPE or more. False: it is taken.
bool gc_type_register_at(unsigned id, const gc_type *type);

// ---- Allocation, for the slow half. The caller is not stopped while in here.

// The next buffer of zeroed memory, [*base, *limit) in the view, at least `need` bytes; false: no block may be had now.
bool gc_alloc_buffer(gc_heap *heap, gc_alloc_lane *lane, unsigned sort, size_t need, char **base, char **limit);
// A buffer's cells in [start, free) are all that it will hold: its owner takes another, or ends.
void gc_buffer_leave(gc_heap *heap, const char *start, const char *free);
// Gives what is left of the lane's block to others: the thread ends. Its buffer is not in it any more.
void gc_lane_drop(gc_heap *heap, gc_alloc_lane *lane, unsigned sort);
// What is wanted of the other two.
typedef struct gc_wanted {
  uint64_t header;
  size_t cell;   // bytes
  size_t length; // of an array, or of a leaf object that says it at its end
  bool raw;      // a leaf object whose contents need not be zero
  bool sized;    // its type is
} gc_wanted;
// Makes a cell an object: `cell` is in the view. Its header last.
static inline void gc_cell_begin(char *cell, const gc_wanted *want) {
  if (want->header & GC_ARRAY) {
    at_store((AO_t volatile *)(cell + 8), want->length);
  } else if (want->sized) {
    at_store((AO_t volatile *)(cell + want->cell - 8), want->length);
  }
  at_store_release((AO_t volatile *)cell, want->header);
}
// A medium cell, with its header and, for an array, its length; the rest is zero. NULL: no block may be had now.
char *gc_alloc_medium(gc_heap *heap, gc_alloc_lane *lane, const gc_wanted *want);
// The same for a large one.
char *gc_alloc_large(gc_heap *heap, const gc_wanted *want);

// Sets so many blocks aside, and so many of the large zone, one behind the other. False: not now, and nothing is. From here to gc_reserve_give the caller is not stopped.
bool gc_reserve_take(gc_heap *heap, gc_reserve *reserve, size_t blocks, size_t large_blocks);
// What was not used goes back.
void gc_reserve_give(gc_heap *heap, gc_reserve *reserve);
// A large object from what is set aside.
char *gc_reserve_large(gc_heap *heap, gc_reserve *reserve, const gc_wanted *want);

// ---- Cycles.
// With the world stopped, in phase GC_IDLE: swaps the spaces, makes pages grey. Nobody scans yet.
void gc_flip_stopped(gc_heap *heap);
// Still with the world stopped: from now on scanners, which do not stop with it, may scan, and may end the cycle before this
// returns. Without traps (back end `none`) the whole cycle runs in it.
void gc_flip_open(gc_heap *heap);
// With the world stopped, in any phase but GC_FLIPPING: empties the nursery of what is dead, beside scanners and a sweep. Nothing, without generations.
void gc_minor_stopped(gc_heap *heap);
// After the world runs again, in the thread that stopped it, before anybody stops it anew: memory of large objects that the minor cycle found dead.
void gc_minor_free(gc_heap *heap);
// Before the world is stopped for a flip, by who flips.
void gc_young_prepare(gc_heap *heap);
// Whether generations are to be tried before the next flip: a background thread prepares that (gc_young_settle), and once gc_trial_prepared, gc_trial_stopped
// begins with it, with the world stopped; or with nothing, if things have changed.
bool gc_wants_trial(const gc_heap *heap);
void gc_trial_demand(gc_heap *heap); // they are to be tried now, if they are off
bool gc_trial_asks(gc_heap *heap); // nobody has called for that thread lately
bool gc_trial_prepared(const gc_heap *heap);
void gc_trial_stopped(gc_heap *heap);
// In a background thread that holds no page: lays memory to rest that nobody writes to, so that minor cycles need not ask about it (vm_rest). False: nothing to do.
bool gc_young_rest(gc_heap *heap);
// What takes too long for a pause, in a background thread: that; once generations are switched off, lifts the protection of what is old, and lays it when they are to be tried again. False: nothing to do.
bool gc_young_settle(gc_heap *heap);
// In a background thread, after gc_world.help or at any time: works on the minor cycle under way, until it is over. False: none wants help.
bool gc_minor_help(gc_heap *heap);
// Called back by the world, stopped for a flip or a minor cycle.
// View addresses. Returns the floor: what lies below is from-space, so the buffer starts there at the next flip.
char *gc_flip_buffer(gc_flip *flip, char *start, char *free, char *limit);
void gc_flip_lane(gc_flip *flip, gc_alloc_lane *lane);                    // after its buffer; it may lose its block
void gc_flip_range(gc_flip *flip, const void *base, const void *limit);   // ambiguous words
void gc_flip_touched(gc_flip *flip, uintptr_t base, uintptr_t limit);     // memory that a system call uses
void gc_flip_slots(gc_flip *flip, uintptr_t *slots, size_t count);        // precise, outside the heap

// For whoever lists roots (census.h): what the calls that follow report. `owner` is whose, in the world's terms; words that are copies were copied from `shift` bytes
// further on. Nothing in a flip.
void gc_flip_note(gc_flip *flip, unsigned kind, uint64_t owner, ptrdiff_t shift);
bool gc_flip_lists(const gc_flip *flip); // whether that is so

// Scans some pages: one unit of a background scanner's or an assisting mutator's work. False: found none.
bool gc_scan_some(gc_heap *heap, gc_copier *copier, bool background);
// Looks at every page. A page that somebody held for another reason when its block was scanned is found here. False: found none.
bool gc_scan_anything(gc_heap *heap, gc_copier *copier);
// True if nothing is grey; the caller that gets `true` from gc_sweep_begin must call gc_sweep.
bool gc_scan_finished(const gc_heap *heap);
bool gc_sweep_begin(gc_heap *heap);
void gc_sweep(gc_heap *heap);
// Makes sure of at least so many ready, veiled blocks, one per call, so that a trap need not wait for the system. False: nothing to do.
bool gc_provide(gc_heap *heap, unsigned blocks);
// The same for blocks that minor cycles promote into.
bool gc_provide_born(gc_heap *heap);
// Where there are no generations: memory for what mutators will fill next, so that they need not wait for the system. One block per call. False: nothing to do.
bool gc_provide_open(gc_heap *heap);
// A minor cycle has left something for a background thread to do.
bool gc_wants_background(const gc_heap *heap);
// Gives back what large objects have left of memory, as far as the limit, or the soft limit, wants it for others (gc.kept). Where a thread may wait: in a
// mutator's slow half, and before the world is stopped for a flip.
void gc_kept_yield(gc_heap *heap);
// Gives back memory that pacing does not want, some blocks at a time. False: nothing to do.
bool gc_trim(gc_heap *heap);
// The same for a heap that nobody allocates from: hardly more stays than what is in use.
bool gc_trim_idle(gc_heap *heap);

void gc_grace_wait(gc_heap *heap);
gc_copier *gc_copier_take(gc_heap *heap);
void gc_copier_give(gc_heap *heap, gc_copier *copier);
// Counts what it has done so far, for who keeps it while he has nothing to do.
void gc_copier_flush(gc_heap *heap, gc_copier *copier);

// The next flip empties every block, so that no garbage stays for another cycle (gc.spared). Any thread.
void gc_empty_all(gc_heap *heap);
// The same, unless blocks are to stay in place (gc.still).
void gc_empty_gladly(gc_heap *heap);
// One more, or one less, wants blocks to stay in place in the cycles to come (gc.still). Any thread.
void gc_keep_in_place(gc_heap *heap, bool keeps);
// In a child of fork, its only thread: nobody does.
void gc_keep_in_place_none(gc_heap *heap);

// ---- Pacing: numbers in, decision out.
bool gc_wants_cycle(const gc_heap *heap);  // enough has been born
bool gc_wants_minor(const gc_heap *heap);  // the nursery is full
bool gc_wants_assist(const gc_heap *heap); // scanners do not keep up
// Far more was born than planned, and there is nothing to help with (`idle`: an assist found none): those who scan the last pages, or sweep, do
// not get the processor. A mutator had better wait.
bool gc_wants_wait(const gc_heap *heap, bool idle);
// After the last full cycle, so much had survived that `bytes` more, and the next cycle's copies, do not fit.
bool gc_exhausted(const gc_heap *heap, size_t bytes);
// The last cycle had not room for all its copies: what survived it counts whole blocks that are kept for a few objects.
bool gc_kept_some(const gc_heap *heap);
size_t gc_used_bytes(const gc_heap *heap);
// The limit from now on, at most config.reserve. Any thread.
void gc_limit_set(gc_heap *heap, size_t bytes);
// Objects own so many bytes more (fewer) outside the heap: counts as born (as freed) for the next cycle's beginning, not towards the limit. False,
// and nothing changes, if the sum would be below zero or beyond PTRDIFF_MAX. Any thread.
bool gc_external_add(gc_heap *heap, ptrdiff_t bytes);

// A number that stays with an object as long as it lives, wherever it moves; others may have the same. A mutator that is not stopped meanwhile.
uint64_t gc_hash(gc_heap *heap, uintptr_t view);

// ---- Pages, for services and system calls.
bool gc_page_in_use(const gc_heap *heap, size_t page);
bool gc_page_is_saved(const gc_heap *heap, size_t page); // and what it holds is not transient
// Where the run of pages of which that is true, or is not, ends that begins at `page`, at the latest at `limit`; `used` says which. World stopped.
size_t gc_pages_alike(const gc_heap *heap, size_t page, size_t limit, bool *used);
// The cell that holds `address`, inside or one past its end; false if there is none. World stopped, or caller holds the object.
bool gc_find_cell(const gc_heap *heap, uintptr_t address, gc_cell *cell, uint64_t *header);
// For a system call, in this order: gc_touch_pin sees to it that nothing on the range's pages is left to be forwarded in this cycle; then the range goes
// into `world.touched`, so that nobody veils its pages any more; then gc_touch_open opens them.
void gc_touch_pin(gc_heap *heap, uintptr_t base, uintptr_t limit);
void gc_touch_open(gc_heap *heap, uintptr_t base, uintptr_t limit, bool write);

// ---- Fork (fork.c).
// Whether a page may be written while a child copies it: it holds no references, so whatever is seen of it is whole.
bool gc_fork_spares(const gc_heap *heap, size_t page);
// In the child: gives back what threads had that are gone.
void gc_fork_child(gc_heap *heap);
// A buffer, view addresses, whose thread is gone: zero from the first zero header on. What is in flight, or was written while it was copied, is nobody's.
void gc_fork_buffer(gc_heap *heap, char *start, char *limit);

// Aborts with a description of the first invariant that does not hold. World stopped; no mutator in a trap, scanners idle.
void gc_verify_stopped(gc_heap *heap, const char *when);

static inline gc_phase gc_phase_now(const gc_heap *heap) { return (gc_phase)at_load_acquire(&heap->phase); }

#endif
