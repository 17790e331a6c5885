// SPDX-License-Identifier: MIT
// trace.c: puts notes into rings. Any thread, traps and signal handlers too: no locks, no allocation, no system call but to wake the tracer.
//
// Neighbours: events.c calls, tracer.c makes the rings and empties them. A ring has one writer and one reader; `head` and `tail`
// count notes ever put and ever taken. What finds no room is dropped and counted, and the count goes into the trace.

#include "runtime/trace.h"
#include <sys/syscall.h>
#include <unistd.h>

__thread rt_ring *rt_rings_here __attribute__((tls_model("initial-exec")));

// Those that may come a hundred thousand times a second leave room for the others.
static bool is_frequent(rt_note_kind kind) {
  return kind == RT_NOTE_TRAP || kind == RT_NOTE_SCAN || kind == RT_NOTE_ASSIST || kind == RT_NOTE_COMMITTED || kind == RT_NOTE_RETURNED || kind == RT_NOTE_SETTLED ||
         kind == RT_NOTE_BRACKET;
}

static void ring_put(rt_ring *ring, const rt_note *note, pid_t tid) {
  uint64_t head = at_load(&ring->head);
  uint64_t waiting = head - at_load_acquire(&ring->tail); // the reader is done with what it has taken
  if (waiting >= (is_frequent(note->kind) ? RT_RING - RT_RING_SPARE : RT_RING) || ring->writing) {
    at_add(&ring->dropped, 1);
    return;
  }
  ring->writing = true; // a signal handler of the program's that comes now and calls veil finds the ring taken
  ring->slot[head % RT_RING].note = *note;
  ring->slot[head % RT_RING].tid = tid;
  at_store_release(&ring->head, head + 1);
  ring->writing = false;
  if (waiting == RT_RING_WAKE) {
    rt_trace_wake(ring->tracer);
  }
}

// Threads without a ring of their own share one. Whoever finds it locked may have interrupted the thread that locked it, so he does not wait for long.
static void common_put(rt_ring *ring, const rt_note *note, pid_t tid) {
  enum { TRIES = 1000 };
  for (int i = 0; i < TRIES; i++) {
    if (at_load(&ring->lock) == 0 && at_cas_full(&ring->lock, 0, 1)) {
      ring_put(ring, note, tid);
      at_store_release(&ring->lock, 0);
      return;
    }
    at_pause();
  }
  at_add(&ring->dropped, 1);
}

void rt_trace_put(veil_heap *heap, const rt_note *note) {
  rt_ring *common = heap->trace_common;
  // What is told of the heap as a whole, by one thread after the other, has a track of its own.
  if (note->kind == RT_NOTE_CYCLE || note->kind == RT_NOTE_MEMORY || note->kind == RT_NOTE_HEAP_OPENED || note->kind == RT_NOTE_HEAP_CLOSED) {
    common_put(common, note, 0);
    return;
  }
  for (rt_ring *ring = rt_rings_here; ring != NULL; ring = ring->next_here) {
    if (ring->heap == heap) {
      ring_put(ring, note, ring->tid);
      return;
    }
  }
  common_put(common, note, (pid_t)syscall(SYS_gettid));
}

void rt_trace_fork(veil_heap *heap) {
  if (heap->trace_common != NULL) {
    at_store(&heap->trace_common->lock, 0); // its owner may be gone
  }
}
