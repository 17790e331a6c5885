// SPDX-License-Identifier: MIT
// veil/veil.h: a concurrent, moving garbage collector without barriers in the program.
//
//   typedef struct node { struct node *left, *right; long key; } node;
//   VEIL_TYPE(node, left, right);
//   ...
//   veil_heap *heap = veil_open(NULL);
//   veil_thread *self = veil_attach(heap);
//   node *n = veil_new(self, node);      // zeroed, collected, may move
//   n->left = veil_new(self, node);      // a plain store
//
// Stacks and registers of attached threads are found by themselves; objects they point to
// or into, or one past the end of, stay where they are. Slots inside objects and registered roots hold the start
// of an object, NULL, or a tagged value, never an interior pointer. Errors of use abort
// with a message; errors of resources and input return NULL or a status, and
// veil_error() says why.
//
// Signals: veil handles SIGBUS or SIGSEGV, by the back end (with generations, or while a service watches for writes, SIGSEGV in any case), and the option's
// stop signal. Faults that are not veil's go to the handler that the
// program has installed, before or after veil_open, or kill as they would without veil. A handler that is installed while heaps are
// open takes veil's place until the next stop (veil_collect makes one): no object may be touched in between. While one of
// these signals is blocked, by a thread or by the mask of a running handler, objects may not be touched either; blocking the stop signal holds up
// all other threads. libveilsig.so, preloaded or linked before libc, lifts both limits. Alternate signal stacks of attached threads have 16 KiB at least.

#ifndef VEIL_VEIL_H
#define VEIL_VEIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <veil/inline.h>
#include <veil/options.h>
#include <veil/type.h>

#ifdef __cplusplus
extern "C" {
#endif

// A heap: its objects, its options and the threads attached to it.
typedef struct veil_heap veil_heap;

// What calls return that may fail.
typedef enum veil_status {
  VEIL_OK = 0,      // done
  VEIL_INVALID,     // an argument or option is out of range
  VEIL_NO_MEMORY,   // the system or the limit refuses
  VEIL_UNSUPPORTED, // the system lacks what was asked for
  VEIL_BUSY,        // not now
  VEIL_IO           // a file could not be opened or written
} veil_status;

// Why the last call on this thread failed: one line, valid until the next failing
// call of this thread. Never NULL.
const char *veil_error(void);

// Opens a heap; `options` may be NULL. NULL on error. Any thread.
veil_heap *veil_open(const veil_options *options);

// Closes a heap and gives back all its memory. Waits for a cycle under way. Aborts if
// threads are still attached. Any thread.
void veil_close(veil_heap *heap);

// The name of the back end that runs, and in one line why better ones do not.
const char *veil_back_end(veil_heap *heap);

// Attaches the calling thread, also during a cycle (it waits out a stop). NULL on error.
// Only attached threads may hold or touch objects. A thread that ends without detaching
// is detached by veil.
veil_thread *veil_attach(veil_heap *heap);

// Detaches the calling thread; aborts if `self` is not attached or not the caller's.
void veil_detach(veil_thread *self);

// The heap of a thread.
veil_heap *veil_thread_heap(veil_thread *self);

#ifdef __cplusplus
#define VEIL_TYPE_OF_(T) (veil_type_of_(static_cast<const T *>(nullptr))) // looked up in the namespace of T
#define VEIL_CAST_(T, x) static_cast<T>(x)
#else
#define VEIL_TYPE_OF_(T) (&veil_type_##T)
#define VEIL_CAST_(T, x) ((T)(x))
#endif

// One zeroed object of type T. Never NULL, unless the option oom=null is set and the limit is
// reached after a full collection. Owning thread, not in a signal handler.
#define veil_new(self, T) VEIL_CAST_(T *, veil_alloc((self), VEIL_TYPE_OF_(T), sizeof(T)))

// A zeroed array of n elements of T; its length is fixed. A length that overflows is out of memory.
#define veil_new_array(self, T, n) VEIL_CAST_(T *, veil_alloc_array((self), VEIL_TYPE_OF_(T), (n)))
#define veil_new_pointers(self, n) VEIL_CAST_(void **, veil_alloc_array((self), &veil_type_pointer_, (n)))
#define veil_new_bytes(self, n) veil_alloc_array((self), &veil_type_byte_, (n))
void *veil_alloc_array(veil_thread *self, veil_type *type, size_t length);

// A zeroed T whose last member is an array without a length (VEIL_TYPE_FLEXIBLE), with n elements there.
#define veil_new_flexible(self, T, n) VEIL_CAST_(T *, veil_alloc_flexible((self), VEIL_TYPE_OF_(T), (n)))
void *veil_alloc_flexible(veil_thread *self, veil_type *type, size_t length);

// n bytes that the caller is going to write: not zeroed, they may hold bytes of objects of this heap that have died. Spares a large
// object a pass over its memory. Otherwise as veil_new_bytes.
#define veil_new_bytes_raw(self, n) veil_alloc_bytes_raw((self), (n))
void *veil_alloc_bytes_raw(veil_thread *self, size_t length);

// Objects whose start is a multiple of `alignment`, a power of two up to 4096 (more than 16 is seldom needed: plain objects have that), wherever they move: for cache
// lines, vector registers, pages. One T, or n bytes, both zeroed. What lies in front of them is lost to others: on its own such an object takes
// its size and 8 bytes, rounded up to `alignment`. Bytes take up to a 16th more, and up to 4 GB. Aborts if `alignment` is none. Otherwise as veil_new.
#define veil_new_aligned(self, T, alignment) VEIL_CAST_(T *, veil_alloc_aligned((self), VEIL_TYPE_OF_(T), (alignment)))
#define veil_new_bytes_aligned(self, n, alignment) veil_alloc_bytes_aligned((self), (n), (alignment))
void *veil_alloc_aligned(veil_thread *self, veil_type *type, size_t alignment);
void *veil_alloc_bytes_aligned(veil_thread *self, size_t length, size_t alignment);

// The length of an array in elements; 1 for an object that is none. `object` is the start of
// an object. Attached threads.
size_t veil_length(veil_heap *heap, const void *object);

// Stops here if a stop is wanted. Needed in loops only when the heap stops by polls.
void veil_poll(veil_thread *self);

// Brackets a call that may block: between the two the thread touches no object and is not
// woken by stops. Not nested. What the kernel is to read or write meanwhile
// needs veil_touch. Owning thread. The function that calls veil_block_begin must be active until veil_block_end: a wrapper that
// returns in between has to be inline or a macro, or what its caller holds in registers is not seen.
void veil_block_begin(veil_thread *self);
void veil_block_end(veil_thread *self);

// Makes [address, address + bytes) touchable by the kernel until veil_untouch: pinned,
// unveiled, and never veiled meanwhile. `write` says that it will be written. Up to
// 16 ranges at a time per thread; VEIL_BUSY beyond, VEIL_INVALID if the range is not within one
// object. Owning thread.
veil_status veil_touch(veil_thread *self, void *address, size_t bytes, bool write);
void veil_untouch(veil_thread *self, void *address);

// Registers `count` slots outside the heap (globals, say) as precise roots; they are forwarded
// at a flip, so each costs pause. Attached threads may call, at any time. The slots are
// plain pointers. veil_remove_roots takes the same `slots`.
veil_status veil_add_roots(veil_heap *heap, void *slots, size_t count);
void veil_remove_roots(veil_heap *heap, void *slots);

// Root callbacks run in the pause and report roots to `visitor` by veil_root_slot (a
// precise slot, updated) or veil_root_range (ambiguous words: what they point to stays in place).
// No locks that a mutator may hold, no malloc. A callback is asked twice per flip, and per
// minor cycle, and reports the same both times.
typedef struct veil_root_visitor veil_root_visitor;
typedef void veil_roots_fn(void *arg, veil_root_visitor *visitor);
veil_status veil_add_roots_callback(veil_heap *heap, veil_roots_fn *fn, void *arg);
void veil_remove_roots_callback(veil_heap *heap, veil_roots_fn *fn, void *arg);
void veil_root_slot(veil_root_visitor *visitor, void *slot);
void veil_root_range(veil_root_visitor *visitor, const void *base, const void *limit);

// After fork() the child has a heap of its own; the thread that forked is attached there as it was in the parent, all others are gone (option
// fork, veil/options.h). `self`, references and registered roots stay good. Not in a root or trace callback, nor in a service's.

// A full collection: starts a cycle and returns when from-space is free. If a
// cycle is under way it is finished first, and a new one run. Owning thread.
// While blocks are to stay in place (veil_service_keep_in_place in
// veil/hooks.h; a checkpointer asks for it between two increments), garbage
// that other garbage refers to may outlive some of them.
void veil_collect(veil_thread *self);

// Starts a cycle and returns after the flip, or at once if one is under way. Owning thread.
void veil_collect_start(veil_thread *self);

// A minor cycle, if the heap has generations: what was born since the last one and is not reachable is gone when it returns. Owning thread.
void veil_collect_minor(veil_thread *self);

// True from a flip until the end of its cycle. Any thread.
bool veil_collecting(veil_heap *heap);

// ---- Memory.

// Sets the heap's hard limit, in bytes, from 2 MiB to what the option `reserve` allows. Below what is held now it means that cycles run and mutators wait until
// it is kept. VEIL_INVALID if out of range. Any thread, the out-of-memory hook too.
veil_status veil_set_limit(veil_heap *heap, size_t bytes);

// Says that objects own `bytes` more (or fewer, if negative) outside the heap: malloc'd buffers, mappings. It counts like garbage born when it grows, and so brings
// the next cycle nearer; it does not count towards the limit. Aborts if the sum falls below zero. May start a cycle in an attached
// thread, which it therefore must not do in a signal handler. Any thread.
void veil_external(veil_heap *heap, ptrdiff_t bytes);

// The hook that is asked when an object of `bytes` (its header included) cannot be had within the limit after full collections: true says "once more", and if that is in vain it
// is asked again; false lets the option `oom` decide. It is called in the thread that allocates, which may
// be several at once, and holds no lock of veil's there: it may drop references, collect, raise the limit, wait. It may allocate; if that fails in turn it is not asked, but
// the option decides. It may leave by longjmp (or a C++ exception) after veil_oom_hook_left. Not asked for an array whose size overflows. NULL
// takes the hook away; a thread may be in the old one still. VEIL_NO_MEMORY if it cannot be noted. Any thread.
typedef bool veil_oom_fn(void *arg, size_t bytes);
veil_status veil_set_oom_hook(veil_heap *heap, veil_oom_fn *fn, void *arg);

// Says that the hook is going to be left in another way than by returning. Owning thread.
void veil_oom_hook_left(veil_thread *self);

// Figures since the heap opened. Times in nanoseconds, sizes in bytes. Fields are only ever added at the end.
typedef struct veil_stats {
  uint64_t major_cycles, minor_cycles; // begun
  uint64_t flip_max_ns, flip_p50_ns, flip_total_ns; // from the request to stop until the last mutator runs
  uint64_t traps, trap_p50_ns, trap_p99_ns, trap_max_ns; // in the handler
  uint64_t pages_scanned_trap, pages_scanned_background; // by traps, by scanner threads; and pages_scanned_assist, below
  uint64_t veiled_max_ns, veiled_total_ns; // from the flip until no page is grey
  uint64_t copied_bytes, copied_objects; // moved, ever
  uint64_t pinned_objects;               // at the last flip
  uint64_t kept_blocks;                  // for want of to-space, ever
  uint64_t stall_ns, assists;            // mutators waiting for memory; scans they did themselves
  uint64_t allocated_bytes;              // in buffers and large objects handed out
  uint64_t live_bytes;                   // what survived the last cycle
  uint64_t held_bytes, held_max_bytes;   // memory of the heap's pages, now and at most
  uint64_t limit_bytes;                  // what it may hold
  uint64_t threads;                      // attached now
  uint64_t soft_limit_bytes;             // 0: none
  uint64_t external_bytes;               // as veil_external was told
  uint64_t idle_cycles;                  // started for an idle heap (option idle) while all threads were in brackets
  uint64_t cycle_total_ns;               // in which a cycle was under way, its sweep included
  uint64_t flip_p99_ns;                  // of the flips' times
  uint64_t pages_scanned_assist;         // by mutators that helped
  uint64_t stops, stop_max_ns, stop_total_ns; // of the world, for whatever reason; from the request until mutators were told to go on
  uint64_t stalls;                       // times that a mutator waited: stall_ns
  uint64_t committed_bytes, returned_bytes; // had from the system and given back, ever
  uint64_t threads_attached;             // ever
  uint64_t roots;                        // precise slots looked at in the last flip
  uint64_t limit_reached, out_of_memory; // allocations that found no room at once; that found none at all
  uint64_t claims_settled;               // of services
  uint64_t handlers_restored;            // signal handlers of veil's that others had replaced
  uint64_t minor_max_ns, minor_p50_ns, minor_p99_ns, minor_total_ns; // pauses of minor cycles, as flips
  uint64_t minor_survived_bytes, minor_promoted_bytes; // copied by minor cycles: what stayed young, what became old
  uint64_t minor_dirty_pages, minor_scanned_pages;     // old pages that had been written; that were looked at
  uint64_t nursery_bytes, nursery_switches; // what may be born until the next minor cycle, 0 while there are none; how often that began or ended
  uint64_t spared_bytes;                 // of blocks that major cycles have left in place since they were dense, ever
  uint64_t weak_references, handles;     // there are now
  uint64_t finalizers, finalizers_due, finalizers_called; // waiting for their object's death; for a call; ever
  // What held objects in place at the last flip, each counted for the first that does: stacks and registers of threads, stacks of coroutines, the options data_roots and tls_roots, veil_touch,
  // veil_pin, ranges that callbacks reported. pinned_objects is the sum.
  uint64_t pinned_by_stacks, pinned_by_coroutines, pinned_by_variables, pinned_by_system_calls, pinned_by_calls, pinned_by_callbacks;
  uint64_t weak_tables, weak_entries;    // there are now; entries of all of them
} veil_stats;

// Any thread, signal handlers too; nothing stops for it, so figures that change meanwhile may not agree to the last.
static inline void veil_get_stats(veil_heap *heap, veil_stats *out);

// The same for a structure of `size` bytes: programs built with an older veil have a shorter one. What a longer one has is set to zero.
void veil_get_stats_sized(veil_heap *heap, veil_stats *out, size_t size);

static inline void veil_get_stats(veil_heap *heap, veil_stats *out) { veil_get_stats_sized(heap, out, sizeof *out); }

// Writes a report for people, line by line: through a callback, or to a file descriptor. Allocates nothing. Any thread, not in signal handlers.
void veil_print_stats(veil_heap *heap, void (*write)(void *arg, const char *text, size_t bytes), void *arg);
void veil_print_stats_fd(veil_heap *heap, int fd);

// Begins the maxima and percentiles anew (flip_*, trap_*, veiled_max_ns), so that a program can leave its
// start-up out. Counters and totals go on. Any thread.
void veil_reset_stats(veil_heap *heap);

// Walks the heap with the world stopped and checks every invariant; aborts with a description of the
// first that does not hold. So it does for a slot that leads into another heap that is open in the process, which is an error of the program's: such an object is neither kept nor
// followed when it moves. The message names the object, its type, the slot, and where the other heap is; the option `verify` has the same looked at by itself. Owning thread.
void veil_verify(veil_thread *self);

#ifdef __cplusplus
}
#endif

#include <veil/roots.h>
#endif
