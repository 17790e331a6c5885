// SPDX-License-Identifier: MIT
// shelf.h: items of 16 bytes to 64 KiB, side by side in little memory.
//
// Items of about the same size stand in a slab together. Who puts one gets a handle, keeps it in a word of his own, and reads the item by it without a lock; when the
// shelf moves items, to give memory back, it tells him, and he swaps the handle in that word. Neighbours: shelf.c puts, shelf_trap.c finds and drops, shelf_repair.c moves,
// shelf_inner.h is theirs. Invariants: cx.hold, cx.one-word, cx.move, cx.exact.

#ifndef CX_SHELF_H
#define CX_SHELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cx_shelf cx_shelf;

// Where an item is and how long it is, in the low 58 bits; zero: none. The six high bits are zero, and the owner's to use where he keeps it.
typedef uint64_t cx_handle;
enum { CX_PLACE_BITS = 40, CX_LENGTH_BITS = 18, CX_ITEM_LEAST = 16, CX_ITEM_MOST = 64 << 10 };
static inline uint64_t cx_handle_place(cx_handle h) { return h & ((1ull << CX_PLACE_BITS) - 1); }
static inline size_t cx_handle_length(cx_handle h) { return h >> CX_PLACE_BITS & ((1u << CX_LENGTH_BITS) - 1); }
// The handle of the same item, and the owner's bits, at another place.
static inline cx_handle cx_handle_moved(cx_handle h, uint64_t place) { return (h & ~((1ull << CX_PLACE_BITS) - 1)) | place; }

// The item that was put with `tag` has been copied from place `from` to place `to`: the owner swaps the handle, by an atomic operation, if the word he keeps for `tag` has
// the place `from`. False: it has not, and the copy is forgotten. In the thread that repairs, which holds the shelf's lock: no call on the shelf but cx_shelf_at.
typedef bool cx_moved(void *context, uint32_t tag, uint64_t from, uint64_t to);

typedef struct cx_shelf_options {
  size_t address_bytes; // of address space, which bounds what it can hold; memory is taken as it is needed. At most 8 TiB
  cx_moved *moved;      // NULL: nothing is ever moved
  void *context;
} cx_shelf_options;

// NULL: no memory, or no address space.
cx_shelf *cx_shelf_open(const cx_shelf_options *options);
// When nobody reads any more. NULL: nothing happens.
void cx_shelf_close(cx_shelf *shelf);

// Copies an item, CX_ITEM_LEAST … CX_ITEM_MOST bytes, or fewer, which take as much as CX_ITEM_LEAST. 8-aligned. 0: no memory, nothing has changed. `tag` says to the owner whose it is.
// Not in signal handlers; any thread.
cx_handle cx_shelf_put(cx_shelf *shelf, const void *item, size_t bytes, uint32_t tag);
// Has fetched into the cache what cx_shelf_drop looks at.
void cx_shelf_foresee(const cx_shelf *shelf, cx_handle handle);
// The owner has taken the handle out of his word, by an atomic operation, and so nobody finds it any more. Waits for nobody, gives nothing back yet: cx_shelf_reap does.
// In signal handlers; any thread.
void cx_shelf_drop(cx_shelf *shelf, cx_handle handle);

// From here to cx_shelf_leave, what a handle leads to that is read, with acquire, from its word, stays there, dropped or moved. Short: who gives memory back waits for it. Waits for
// nobody. In signal handlers; any thread; may be nested. What it returns is for cx_shelf_leave.
unsigned cx_shelf_enter(cx_shelf *shelf);
void cx_shelf_leave(cx_shelf *shelf, unsigned entered);
// The item. Only what the owner wrote himself may be written, and only while it can be neither moved nor dropped: cx_shelf_lock.
void *cx_shelf_at(const cx_shelf *shelf, cx_handle handle);

// Makes room of what was dropped. Waits for who has entered. Bytes of memory given back. Not in signal handlers, nor in a thread that has entered; one thread at a time, others wait.
size_t cx_shelf_reap(cx_shelf *shelf);
// Reaps, then moves items out of sparse slabs, up to about `budget` bytes, and reaps again. Bytes that were moved; 0: there is nothing to gain. As cx_shelf_reap.
size_t cx_shelf_repair(cx_shelf *shelf, size_t budget);

// Holds up whoever puts, moves and reaps: for writing to items in place, and around fork. In the child, who had entered in the parent is forgotten: it must not be the thread that forks.
void cx_shelf_lock(cx_shelf *shelf);
void cx_shelf_unlock(cx_shelf *shelf);
void cx_shelf_unlock_child(cx_shelf *shelf);

// Bytes, unless said otherwise. What was dropped and not reaped yet is in `resident`, and not in `payload`.
typedef struct cx_shelf_figures {
  uint64_t items, payload; // as they were put
  uint64_t resident;       // memory of slabs, whole OS pages
  uint64_t tables;         // memory beside the slabs
  uint64_t slabs;          // how many
  uint64_t moved, released; // so far: moved by repair; given back to the system
} cx_shelf_figures;
// Any thread.
cx_shelf_figures cx_shelf_measure(cx_shelf *shelf);
// Re-derives all that is counted. Aborts if something is wrong. Nobody puts, drops or repairs meanwhile.
void cx_shelf_verify(cx_shelf *shelf);

#endif
