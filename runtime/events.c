// SPDX-License-Identifier: MIT
// events.c: tells what happens to the program's table of callbacks and to the trace.
//
// Neighbours: the rest of the runtime notes (note.h), gc/ and vm/ through rt_gc_events; trace.c has the rings. Runs in the thread
// in which the thing happens, in traps and handlers too: no locks, no allocation.
//
// heap->listening: bit 0 says that there is a trace, the rest is a number of the table of callbacks, 0: none. An end is told
// only to the table whose number the begin has seen.

#include <sched.h>
#include <string.h>
#include "runtime/note.h"
#include "runtime/tell.h"
#include "veil/events.h"

enum { TRACED = 1, TABLE = 2 };

// Callbacks that this thread is in: they must not wait for themselves.
static __thread unsigned telling_here __attribute__((tls_model("initial-exec")));

// ---- The callbacks. One case per kind of note.

static void begin_tell(const veil_events *to, void *arg, rt_note_kind kind, uint64_t a) {
  switch (kind) {
  case RT_NOTE_STOP:
    return to->stop_begin ? to->stop_begin(arg) : (void)0;
  case RT_NOTE_FLIP:
    return to->flip_begin ? to->flip_begin(arg, a) : (void)0;
  case RT_NOTE_MINOR:
    return to->minor_begin ? to->minor_begin(arg, a) : (void)0;
  case RT_NOTE_TRAP:
    return to->trap_begin ? to->trap_begin(arg, a) : (void)0;
  case RT_NOTE_ASSIST:
    return to->assist_begin ? to->assist_begin(arg) : (void)0;
  case RT_NOTE_STALL:
    return to->stall_begin ? to->stall_begin(arg) : (void)0;
  case RT_NOTE_BRACKET:
    return to->blocked_begin ? to->blocked_begin(arg) : (void)0;
  case RT_NOTE_CHECKPOINT:
    return to->checkpoint_begin ? to->checkpoint_begin(arg, a != 0) : (void)0;
  default:
    return;
  }
}

static void cycle_end_tell(veil_heap *heap, const veil_events *to, void *arg, uint64_t cycle) {
  gc_heap *gc = heap->gc;
  veil_sizes sizes = {
      .live_bytes = at_load(&gc->live_bytes),
      .used_bytes = gc_used_bytes(gc),
      .held_bytes = at_load(&gc->committed_bytes),
      .limit_bytes = gc->limit,
      .kept_blocks = at_load(&gc->kept_blocks) - at_load(&gc->kept_before),
  };
  to->cycle_ended(arg, cycle, &sizes);
}

static void note_tell(veil_heap *heap, const veil_events *to, void *arg, const rt_note *n) {
  switch (n->kind) {
  case RT_NOTE_STOP:
    return to->stop_end ? to->stop_end(arg, n->span_ns) : (void)0;
  case RT_NOTE_STOPPED:
    return to->thread_stopped ? to->thread_stopped(arg, n->span_ns) : (void)0;
  case RT_NOTE_FLIP:
    return to->flip_end ? to->flip_end(arg, n->a, n->b, n->c, at_load(&heap->gc->flip_words), n->span_ns) : (void)0;
  case RT_NOTE_MINOR:
    return to->minor_end ? to->minor_end(arg, n->a, n->b, n->c, n->span_ns) : (void)0;
  case RT_NOTE_TRAP:
    return to->trap_end ? to->trap_end(arg, n->a, n->span_ns) : (void)0;
  case RT_NOTE_SCAN:
    return to->pages_scanned ? to->pages_scanned(arg, n->a, n->b, n->c, (veil_scan)n->by, n->span_ns) : (void)0;
  case RT_NOTE_ASSIST:
    return to->assist_end ? to->assist_end(arg, n->a != 0, n->span_ns) : (void)0;
  case RT_NOTE_STALL:
    return to->stall_end ? to->stall_end(arg, n->span_ns) : (void)0;
  case RT_NOTE_BRACKET:
    return to->blocked_end ? to->blocked_end(arg, n->span_ns) : (void)0;
  case RT_NOTE_CHECKPOINT:
    return to->checkpoint_end ? to->checkpoint_end(arg, (veil_status)n->by, n->a, n->b, n->c, n->span_ns) : (void)0;
  case RT_NOTE_PROGRESS:
    return to->checkpoint_progress ? to->checkpoint_progress(arg, n->a, n->b) : (void)0;
  case RT_NOTE_HEAP_OPENED:
    return to->heap_opened ? to->heap_opened(arg, heap) : (void)0;
  case RT_NOTE_HEAP_CLOSED:
    return to->heap_closed ? to->heap_closed(arg, heap) : (void)0;
  case RT_NOTE_ATTACHED:
    return to->thread_attached ? to->thread_attached(arg, (veil_thread *)n->a) : (void)0;
  case RT_NOTE_DETACHED:
    return to->thread_detached ? to->thread_detached(arg, (veil_thread *)n->a) : (void)0;
  case RT_NOTE_SCANNING:
    return to->cycle_scanning ? to->cycle_scanning(arg, n->a) : (void)0;
  case RT_NOTE_SWEEPING:
    return to->cycle_sweeping ? to->cycle_sweeping(arg, n->a, n->b) : (void)0;
  case RT_NOTE_CYCLE:
    return to->cycle_ended ? cycle_end_tell(heap, to, arg, n->a) : (void)0;
  case RT_NOTE_KEPT:
    return to->block_kept ? to->block_kept(arg, n->a, n->b) : (void)0;
  case RT_NOTE_SETTLED:
    return to->claim_settled ? to->claim_settled(arg, (const char *)n->c, n->a, (unsigned)n->b) : (void)0;
  case RT_NOTE_COMMITTED:
    return to->memory_committed ? to->memory_committed(arg, n->a, n->b) : (void)0;
  case RT_NOTE_RETURNED:
    return to->memory_returned ? to->memory_returned(arg, n->a, n->b) : (void)0;
  case RT_NOTE_LIMIT:
    return to->limit_reached ? to->limit_reached(arg, n->a) : (void)0;
  case RT_NOTE_OOM:
    return to->out_of_memory ? to->out_of_memory(arg, n->a) : (void)0;
  case RT_NOTE_RESTORED:
    return to->handlers_restored ? to->handlers_restored(arg, (int)n->a) : (void)0;
  case RT_NOTE_SWEEP:
  case RT_NOTE_MEMORY:
  case RT_NOTE_KINDS:
    return;
  }
}

// ---- Who listens.

// The table that `heard` names, if it still listens; then tell_leave must follow. The table stays while this thread is counted.
static const veil_events *tell_enter(veil_heap *heap, uint32_t heard) {
  if (heard < TABLE) {
    return NULL;
  }
  at_add_full(&heap->telling, 1); // first counted, then looked: who takes the table away does it the other way round
  if ((at32_load_acquire(&heap->listening) & ~(uint32_t)TRACED) == (heard & ~(uint32_t)TRACED)) {
    telling_here++;
    return heap->listener;
  }
  at_add_full(&heap->telling, (uint64_t)-1);
  return NULL;
}

static void tell_leave(veil_heap *heap) {
  telling_here--;
  at_add_full(&heap->telling, (uint64_t)-1);
}

static void begin(veil_heap *heap, uint32_t heard, rt_note_kind kind, uint64_t a) {
  const veil_events *to = tell_enter(heap, heard);
  if (to != NULL) {
    begin_tell(to, heap->listener_arg, kind, a);
    tell_leave(heap);
  }
}

static void tell(veil_heap *heap, uint32_t heard, const rt_note *note) {
  if (heard & TRACED) {
    rt_trace_put(heap, note);
  }
  const veil_events *to = tell_enter(heap, heard);
  if (to != NULL) {
    note_tell(heap, to, heap->listener_arg, note);
    tell_leave(heap);
  }
}

rt_span rt_begin_slow(veil_heap *heap, rt_note_kind kind, uint64_t a) {
  rt_span span = {vm_now(), at32_load_acquire(&heap->listening)};
  begin(heap, span.heard, kind, a);
  return span;
}

void rt_end_slow(veil_heap *heap, rt_span span, rt_note_kind kind, uint64_t a, uint64_t b, uint64_t c) {
  rt_note note = {kind, 0, span.began_ns, vm_now() - span.began_ns, a, b, c};
  tell(heap, span.heard, &note);
}

void rt_note_slow(veil_heap *heap, rt_note_kind kind, uint64_t a, uint64_t b, uint64_t c) {
  rt_note note = {kind, 0, vm_now(), 0, a, b, c};
  tell(heap, at32_load_acquire(&heap->listening), &note);
}

// Nothing is held here, so the callback may do what it likes. Only the ring wants a critical section (rt.trace).
void rt_note_ordinary(rt_thread *self, rt_note_kind kind) {
  veil_heap *heap = self->heap;
  uint32_t heard = at32_load_acquire(&heap->listening);
  if (heard == 0) {
    return;
  }
  rt_note note = {kind, 0, vm_now(), 0, (uint64_t)self, 0, 0};
  rt_enter(self);
  tell(heap, heard & TRACED, &note);
  rt_leave(self);
  tell(heap, heard & ~(uint32_t)TRACED, &note);
}

void rt_note_restored(veil_heap *heap, int count) {
  if (count > 0) {
    at_add(&heap->handlers_restored, (uint64_t)count);
    rt_note_it(heap, RT_NOTE_RESTORED, (uint64_t)count, 0, 0);
  }
}

static void memory_note(veil_heap *heap, uint64_t now) {
  gc_heap *gc = heap->gc;
  at_store(&heap->memory_noted_ns, now);
  rt_note note = {RT_NOTE_MEMORY, 0, now, 0, at_load(&gc->committed_bytes), gc_used_bytes(gc), at_load(&gc->live_bytes)};
  rt_trace_put(heap, &note);
}

void rt_memory_slow(veil_heap *heap) {
  enum { EVERY_NS = 2000000 };
  uint64_t now, last = at_load(&heap->memory_noted_ns);
  if ((at32_load(&heap->listening) & TRACED) && (now = vm_now()) - last > EVERY_NS && at_cas_full(&heap->memory_noted_ns, last, now)) {
    memory_note(heap, now);
  }
}

// ---- What services of ours tell.

rt_told rt_tell_checkpoint_begin(veil_heap *heap, bool full) {
  rt_span span = rt_begin(heap, RT_NOTE_CHECKPOINT, full);
  return (rt_told){span.began_ns, span.heard};
}

void rt_tell_checkpoint_progress(veil_heap *heap, uint64_t done, uint64_t of) { rt_note_it(heap, RT_NOTE_PROGRESS, done, of, 0); }

void rt_tell_checkpoint_end(veil_heap *heap, rt_told begun, veil_status status, uint64_t version, uint64_t pages, uint64_t bytes) {
  if (begun.heard != 0) {
    rt_note note = {RT_NOTE_CHECKPOINT, status, begun.began_ns, vm_now() - begun.began_ns, version, pages, bytes};
    tell(heap, begun.heard, &note);
  }
}

// ---- What gc/ and vm/ tell.

static void cycle_ended(veil_heap *heap, uint32_t cycle) {
  gc_heap *gc = heap->gc;
  uint32_t heard = at32_load_acquire(&heap->listening);
  // Whoever began to listen in the middle of the cycle has no times of what came before.
  if (heap->sweep_noted == cycle) {
    rt_end_slow(heap, (rt_span){heap->sweep_began_ns, heard}, RT_NOTE_SWEEP, cycle, 0, 0);
  }
  uint64_t began = heap->cycle_noted == cycle ? heap->cycle_began_ns : vm_now();
  rt_end_slow(heap, (rt_span){began, heard}, RT_NOTE_CYCLE, cycle, at_load(&gc->live_bytes), at_load(&gc->committed_bytes));
}

static void gc_phase_came(void *arg, unsigned phase) {
  veil_heap *heap = arg;
  uint32_t cycle = heap->gc->cycle;
  uint64_t now = vm_now();
  if (phase == GC_SCANNING) {
    heap->cycle_began_ns = now;
    heap->cycle_noted = cycle;
    rt_note_slow(heap, RT_NOTE_SCANNING, cycle, 0, 0);
  } else if (phase == GC_SWEEPING) {
    heap->sweep_began_ns = now;
    heap->sweep_noted = cycle;
    rt_note_slow(heap, RT_NOTE_SWEEPING, cycle, heap->cycle_noted == cycle ? now - heap->cycle_began_ns : 0, 0);
  } else {
    cycle_ended(heap, cycle);
  }
  if (at32_load(&heap->listening) & TRACED) {
    memory_note(heap, vm_now());
  }
}

static void gc_trap_began(void *arg, size_t page, uint32_t heard) { begin(arg, heard, RT_NOTE_TRAP, page); }

static void gc_trap_ended(void *arg, size_t page, uint64_t began_ns, uint64_t ended_ns, uint32_t heard) {
  rt_note note = {RT_NOTE_TRAP, 0, began_ns, ended_ns - began_ns, page, 0, 0};
  tell(arg, heard, &note);
}

static void gc_scanned(void *arg, size_t page, size_t count, size_t scanned, bool background, uint64_t began_ns) {
  veil_heap *heap = arg;
  rt_note note = {RT_NOTE_SCAN, background ? VEIL_SCAN_BACKGROUND : VEIL_SCAN_ASSIST, began_ns, vm_now() - began_ns, page, count, scanned};
  tell(heap, at32_load_acquire(&heap->listening), &note);
}

static void gc_kept(void *arg, size_t page) {
  veil_heap *heap = arg;
  rt_note_slow(heap, RT_NOTE_KEPT, heap->gc->cycle, page, 0);
}

static void gc_committed(void *arg, size_t bytes) {
  veil_heap *heap = arg;
  rt_note_slow(heap, RT_NOTE_COMMITTED, bytes, at_load(&heap->gc->committed_bytes), 0);
}

static void gc_returned(void *arg, size_t bytes) {
  veil_heap *heap = arg;
  rt_note_slow(heap, RT_NOTE_RETURNED, bytes, at_load(&heap->gc->committed_bytes), 0);
}

const gc_events rt_gc_events = {
    .phase = gc_phase_came,
    .trap_began = gc_trap_began,
    .trap_ended = gc_trap_ended,
    .scanned = gc_scanned,
    .kept = gc_kept,
    .committed = gc_committed,
    .returned = gc_returned,
};

// ---- Registration.

static void listening_set(veil_heap *heap, uint32_t listening) {
  at32_store_release(&heap->listening, listening);
  gc_listen(heap->gc, listening);
  at_fence_full();
}

static void table_set(veil_heap *heap, const veil_events *table, size_t size, void *arg) {
  memset(heap->listener, 0, sizeof *heap->listener);
  memcpy(heap->listener, table, size < sizeof *heap->listener ? size : sizeof *heap->listener);
  heap->listener_arg = arg;
  heap->listener_number += TABLE;
  if (heap->listener_number == 0) {
    heap->listener_number = TABLE;
  }
  listening_set(heap, (at32_load(&heap->listening) & TRACED) | heap->listener_number);
}

// Waits while `busy`; a mutator may be stopped meanwhile: whoever we wait for may be stopped, too.
static void wait_while(veil_heap *heap, bool (*busy)(veil_heap *heap)) {
  rt_thread *self = rt_here;
  while (self != NULL && self->heap != heap) {
    self = self->next_here;
  }
  while (busy(heap)) {
    if (self != NULL && self->state == RT_RUNNING) {
      rt_safepoint(self);
    }
    sched_yield();
  }
}

static bool setting_is_locked(veil_heap *heap) { return !at_cas_full(&heap->listener_lock, 0, 1); }
static bool somebody_is_told(veil_heap *heap) { return at_load_acquire(&heap->telling) != 0; }

RT_EXPORT void veil_set_events_sized(veil_heap *heap, const veil_events *table, size_t size, void *arg) {
  if (telling_here != 0) {
    vm_fatal("veil_set_events: in a callback of events");
  }
  rt_section_refuse("veil_set_events");
  wait_while(heap, setting_is_locked);
  listening_set(heap, at32_load(&heap->listening) & TRACED);
  wait_while(heap, somebody_is_told);
  if (table != NULL) {
    table_set(heap, table, size, arg);
  }
  at_store_release(&heap->listener_lock, 0);
}

bool rt_events_open(veil_heap *heap) {
  if (!rt_trace_open(heap)) {
    return false;
  }
  listening_set(heap, heap->trace_common != NULL ? TRACED : 0);
  if (heap->options.events != NULL) {
    table_set(heap, heap->options.events, sizeof(veil_events), heap->options.events_arg);
  }
  return true;
}

void rt_events_fork(veil_heap *heap) {
  at_store(&heap->telling, telling_here); // callbacks that the others were in
  at_store(&heap->listener_lock, 0);
  rt_trace_fork(heap);
  listening_set(heap, at32_load(&heap->listening) & ~(uint32_t)TRACED);
}

void rt_events_close(veil_heap *heap) {
  listening_set(heap, 0);
  rt_trace_close(heap);
}
