// SPDX-License-Identifier: MIT
// trace.h: rings of notes: written by threads (trace.c), emptied by the tracer (tracer.c).

#ifndef RT_TRACE_H
#define RT_TRACE_H

#include "runtime/note.h"

enum {
  RT_RING = 1 << 14,         // notes; a power of two: a sixth of a second of nothing but traps
  RT_RING_SPARE = RT_RING / 8, // only for what must not be lost: flips, stops, cycles
  RT_RING_WAKE = RT_RING / 8,  // the tracer is woken when so many wait
};

typedef struct rt_ring {
  // Constant.
  struct rt_tracer *tracer;
  veil_heap *heap;
  unsigned heap_id;
  pid_t tid;        // 0: the heap's common ring
  char name[48];
  // Owning thread, and its signal handlers.
  struct rt_ring *next_here;
  bool volatile writing;
  // Atomic: written by the owner (of the common ring: under `lock`), read by the tracer.
  AO_t lock;
  AO_t head;
  AO_t dropped;
  uint32_t volatile done; // 1: nothing more will come
  char pad[64];
  // Atomic: written by whoever drains, read by the owner.
  AO_t tail;
  // Whoever drains.
  uint64_t dropped_told, last_ns;
  bool named;
  struct rt_ring *next;
  struct {
    rt_note note;
    pid_t tid;
  } slot[RT_RING];
} rt_ring;

// The calling thread's rings.
extern __thread rt_ring *rt_rings_here;

void rt_trace_wake(struct rt_tracer *tracer); // async-signal-safe

#endif
