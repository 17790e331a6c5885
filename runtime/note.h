// SPDX-License-Identifier: MIT
// note.h: notes of what happens, for whoever listens: a program's callbacks (events.c) and the trace (trace.c).
//
// Any thread, traps and signal handlers too. While nobody listens a note is a load and a branch.
//
// rt.trace: a ring is written by its own thread only: in a critical section, in a trap, or with signals blocked, so nothing of veil's comes between.

#ifndef RT_NOTE_H
#define RT_NOTE_H

#include "runtime/runtime.h"

// What can happen. Those of the first group have a begin and an end, the others are moments.
typedef enum rt_note_kind {
  RT_NOTE_STOP,         // of the world
  RT_NOTE_STOPPED,      // this mutator was
  RT_NOTE_FLIP,         // cycle, pins, roots
  RT_NOTE_MINOR,        // minor cycle, bytes that survived, bytes promoted
  RT_NOTE_TRAP,         // page
  RT_NOTE_SCAN,         // page, count, scanned (and by whom: rt_note.by)
  RT_NOTE_ASSIST,       // whether anything was found
  RT_NOTE_SWEEP,        // cycle
  RT_NOTE_CYCLE,        // cycle, live, held
  RT_NOTE_STALL,
  RT_NOTE_BRACKET,
  RT_NOTE_CHECKPOINT,   // version, pages, bytes (rt_note.by: a veil_status); at its beginning: whether it is full
  RT_NOTE_HEAP_OPENED,
  RT_NOTE_HEAP_CLOSED,
  RT_NOTE_ATTACHED,
  RT_NOTE_DETACHED,
  RT_NOTE_SCANNING,     // cycle
  RT_NOTE_SWEEPING,     // cycle, ns since the flip
  RT_NOTE_KEPT,         // cycle, page
  RT_NOTE_SETTLED,      // page, claim, address of the service's name
  RT_NOTE_COMMITTED,    // bytes, held
  RT_NOTE_RETURNED,     // bytes, held
  RT_NOTE_LIMIT,        // bytes
  RT_NOTE_OOM,          // bytes
  RT_NOTE_RESTORED,     // count
  RT_NOTE_MEMORY,       // held, used, live
  RT_NOTE_PROGRESS,     // of a checkpoint: pages done, of how many
  RT_NOTE_KINDS
} rt_note_kind;

typedef struct rt_note {
  rt_note_kind kind;
  uint32_t by;       // RT_NOTE_SCAN: a veil_scan; RT_NOTE_CHECKPOINT: a veil_status
  uint64_t began_ns; // or when it happened
  uint64_t span_ns;  // 0 for a moment
  uint64_t a, b, c;
} rt_note;

// Something that has begun. `heard` 0: nobody listened.
typedef struct rt_span {
  uint64_t began_ns;
  uint32_t heard;
} rt_span;

static inline bool rt_listens(const veil_heap *heap) { return __builtin_expect(at32_load(&heap->listening) != 0, 0); }

rt_span rt_begin_slow(veil_heap *heap, rt_note_kind kind, uint64_t a);
void rt_end_slow(veil_heap *heap, rt_span span, rt_note_kind kind, uint64_t a, uint64_t b, uint64_t c);
void rt_note_slow(veil_heap *heap, rt_note_kind kind, uint64_t a, uint64_t b, uint64_t c);
void rt_memory_slow(veil_heap *heap);

static inline rt_span rt_begin(veil_heap *heap, rt_note_kind kind, uint64_t a) {
  return rt_listens(heap) ? rt_begin_slow(heap, kind, a) : (rt_span){0, 0};
}
static inline void rt_end(veil_heap *heap, rt_span span, rt_note_kind kind, uint64_t a, uint64_t b, uint64_t c) {
  if (__builtin_expect(span.heard != 0, 0)) {
    rt_end_slow(heap, span, kind, a, b, c);
  }
}
static inline void rt_note_it(veil_heap *heap, rt_note_kind kind, uint64_t a, uint64_t b, uint64_t c) {
  if (rt_listens(heap)) {
    rt_note_slow(heap, kind, a, b, c);
  }
}
// At each new buffer: the trace has a figure of the heap's memory every few milliseconds.
static inline void rt_note_memory(veil_heap *heap) {
  if (rt_listens(heap)) {
    rt_memory_slow(heap);
  }
}

// ---- events.c
void rt_note_ordinary(rt_thread *self, rt_note_kind kind); // where a callback may be stopped, use malloc and stdio
void rt_note_restored(veil_heap *heap, int count);         // vm_trap_restore has put so many handlers back
extern const gc_events rt_gc_events;
// Before any other thread of the heap's is started; after all have ended. False with the error set.
bool rt_events_open(veil_heap *heap);
void rt_events_close(veil_heap *heap);
void rt_events_fork(veil_heap *heap); // in a child, its only thread: callbacks go on, the trace is the parent's

// ---- trace.c: what traps and handlers call.
void rt_trace_put(veil_heap *heap, const rt_note *note);
void rt_trace_fork(veil_heap *heap); // in a child: what begun before the fork may still be put, and is read by nobody

// ---- tracer.c: the file and its thread.
// Joins the tracer of the file that the options name, if they do.
bool rt_trace_open(veil_heap *heap);
void rt_trace_close(veil_heap *heap); // all that was noted is in the file when it returns
// A thread's own ring: from here on, and no more. Not in critical sections. Without a ring (no memory) its notes go to the heap's common one.
void rt_trace_begin(veil_heap *heap);
void rt_trace_end(veil_heap *heap);

#endif
