// SPDX-License-Identifier: MIT
// collect.c: drives a cycle: who flips, who scans, who waits.
//
// The mutator that finds a cycle due flips in its own thread; scanner threads, and mutators that allocate too fast,
// scan; a scanner sweeps. With the back end `none` the whole cycle runs in the pause.

#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include "runtime/futex.h"
#include "runtime/note.h"
#include "runtime/registers.h"

enum {
  READY_BLOCKS = 32, // veiled blocks at hand while a cycle runs
  IDLE_SPINS = 32,   // looks for work before a scanner sleeps a little
  NAP_MS = 1,
};

// The last stop's span is final, since the world is about to be stopped again.
static void pause_record(veil_heap *heap, enum rt_stop_for next) {
  uint64_t span = at_load(&heap->stop_span_ns);
  uint32_t what = at32_load(&heap->stop_for);
  rt_pauses *of = what == RT_FOR_FLIP ? &heap->flips : (what == RT_FOR_MINOR ? &heap->minors : NULL);
  if (what == RT_FOR_INSTANT) {
    at_store_release(heap->instant_span, span); // before the next stop begins a new span
  }
  at32_store_release(&heap->stop_for, next);
  if (of == NULL || span == 0) { // none since the heap opened, or since the figures were reset
    return;
  }
  vm_histogram_add(of->histogram, span);
  at_add(&of->total_ns, span);
  if (span > at_load(&of->max_ns)) {
    at_store(&of->max_ns, span);
  }
}

static void flip(veil_heap *heap, rt_thread *self) {
  while (at_load_acquire(&heap->scanners_active) != 0) {
    sched_yield(); // scanners that are leaving the last cycle hold no page, but look at its tables
  }
  pause_record(heap, RT_FOR_FLIP);
  gc_young_prepare(heap->gc);
  rt_stop_world(heap, self);
  at32_store(&heap->cycle_wanted, 0);
  at32_store(&heap->cycle_asked, 0);
  rt_services_tell(heap, RT_BEFORE_FLIP);
  if (heap->options.verify >= 1) {
    gc_verify_stopped(heap->gc, "before a flip");
  }
  gc_heap *gc = heap->gc;
  rt_span span = rt_begin(heap, RT_NOTE_FLIP, gc->cycle + 1u);
  gc_flip_stopped(gc);
  rt_services_tell(heap, RT_AFTER_FLIP); // before a scanner has a page, and may reach the end of the cycle
  gc_flip_open(gc);
  rt_end(heap, span, RT_NOTE_FLIP, gc->cycle, at_load(&gc->pinned_objects), at_load(&gc->flip_roots));
  if (heap->options.verify >= 2 && !heap->gc->region->traps) {
    gc_verify_stopped(heap->gc, "after a stopped cycle");
  }
  rt_resume_world(heap, self);
  if (heap->gc->region->traps) {
    rt_post(&heap->work);
  } else {
    rt_services_tell(heap, RT_CYCLE_ENDED);
    while (gc_trim(heap->gc)) {
      // nobody else does
    }
    rt_post(&heap->ended);
  }
}

static void cycle_start(veil_heap *heap, rt_thread *self) {
  sigset_t saved;
  bool others = rt_others_block(self, &saved);
  rt_stop_begin(heap, self);
  if (gc_phase_now(heap->gc) == GC_IDLE) {
    flip(heap, self);
  }
  rt_stop_end(heap);
  rt_others_unblock(others, &saved);
}

void rt_cycle_start_for(veil_heap *heap, rt_thread *self) {
  if (gc_phase_now(heap->gc) != GC_IDLE) {
    return;
  }
  if (heap->options.data_roots || heap->options.tls_roots) {
    rt_segments_hold(heap, self, cycle_start);
  } else {
    cycle_start(heap, self);
  }
}

// If this thread flips, its roots begin here: the frames below are ours and hold none, but words of calls before, which
// would keep objects alive. This function stays active meanwhile.
__attribute__((noinline)) void rt_cycle_start(rt_thread *self) {
  if (gc_phase_now(self->heap->gc) == GC_IDLE) {
    gc_kept_yield(self->heap->gc); // the copies need room, and the pause is short
  }
  self->asked_sp = rt_registers_save(self->asked_registers);
  rt_cycle_start_for(self->heap, self);
  self->asked_sp = NULL;
}

void rt_world_help(void *arg) { rt_post(&((veil_heap *)arg)->work); }

static void minor_cycle(veil_heap *heap, rt_thread *self, bool forced) {
  sigset_t saved;
  bool others = rt_others_block(self, &saved);
  rt_stop_begin(heap, self);
  if (heap->gc->young_blocks != 0 && (forced || gc_wants_minor(heap->gc))) {
    pause_record(heap, RT_FOR_MINOR);
    rt_stop_world(heap, self);
    rt_services_tell(heap, RT_BEFORE_MINOR);
    gc_heap *gc = heap->gc;
    uint64_t survived = at_load(&gc->minor_survived_bytes), promoted = at_load(&gc->minor_promoted_bytes);
    rt_span span = rt_begin(heap, RT_NOTE_MINOR, at_load(&gc->minor_cycles) + 1);
    gc_minor_stopped(gc);
    rt_end(heap, span, RT_NOTE_MINOR, at_load(&gc->minor_cycles), at_load(&gc->minor_survived_bytes) - survived,
           at_load(&gc->minor_promoted_bytes) - promoted);
    rt_services_tell(heap, RT_AFTER_MINOR);
    if (heap->options.verify >= 2) {
      gc_verify_stopped(heap->gc, "after a minor cycle");
    }
    rt_resume_world(heap, self);
    gc_minor_free(gc);
    if (gc_wants_background(gc)) {
      rt_post(&heap->work);
    }
  }
  rt_stop_end(heap);
  rt_others_unblock(others, &saved);
}

static void trial_start(veil_heap *heap, rt_thread *self) {
  sigset_t saved;
  bool others = rt_others_block(self, &saved);
  rt_stop_begin(heap, self);
  if (gc_wants_trial(heap->gc)) {
    pause_record(heap, RT_FOR_OTHERS);
    rt_stop_world(heap, self);
    gc_trial_stopped(heap->gc);
    rt_resume_world(heap, self);
  }
  rt_stop_end(heap);
  rt_others_unblock(others, &saved);
}

// Generations are to be tried: first a scanner tracks what is written.
void rt_trial(rt_thread *self) {
  veil_heap *heap = self->heap;
  if (gc_trial_prepared(heap->gc)) {
    trial_start(heap, self);
  } else if (gc_trial_asks(heap->gc)) {
    rt_post(&heap->work);
  }
}

static void minor_wanted(veil_heap *heap, rt_thread *self) { minor_cycle(heap, self, false); }
static void minor_forced(veil_heap *heap, rt_thread *self) { minor_cycle(heap, self, true); }

__attribute__((noinline)) void rt_minor(rt_thread *self, bool forced) {
  veil_heap *heap = self->heap;
  void (*then)(veil_heap *, rt_thread *) = forced ? minor_forced : minor_wanted;
  self->asked_sp = rt_registers_save(self->asked_registers); // as rt_cycle_start
  if (heap->options.data_roots || heap->options.tls_roots) {
    rt_segments_hold(heap, self, then);
  } else {
    then(heap, self);
  }
  self->asked_sp = NULL;
}

static bool assist(veil_heap *heap) {
  // No handler of the program may run while this thread holds a page: it might touch it, and wait for itself.
  sigset_t saved;
  os_signals_block(&saved);
  rt_span span = rt_begin(heap, RT_NOTE_ASSIST, 0);
  gc_copier *copier = gc_copier_take(heap->gc);
  bool found = gc_phase_now(heap->gc) == GC_SCANNING && gc_scan_some(heap->gc, copier, false);
  gc_copier_give(heap->gc, copier);
  at_add(&heap->assists, 1);
  rt_end(heap, span, RT_NOTE_ASSIST, found, 0, 0);
  os_signals_restore(&saved);
  return found;
}

bool rt_assist(rt_thread *self) { return assist(self->heap); }

// Makes sure that a scanner is awake, and waits for the end of its cycle.
static void ended_wait(rt_thread *self, uint32_t ended, unsigned ms) {
  sigset_t saved;
  rt_post(&self->heap->work);
  os_signals_block(&saved);
  self->passing = true;
  rt_block(self);
  rt_wait(&self->heap->ended, ended, ms);
  rt_unblock(self);
  os_signals_restore(&saved);
}

static void stall_count(veil_heap *heap, uint64_t began) {
  at_add(&heap->stall_ns, vm_now() - began);
  at_add(&heap->stalls, 1);
}

void rt_cycle_wait(rt_thread *self) {
  veil_heap *heap = self->heap;
  if (gc_phase_now(heap->gc) == GC_IDLE) {
    return;
  }
  uint64_t began = vm_now();
  rt_span span = rt_begin(heap, RT_NOTE_STALL, 0);
  while (gc_phase_now(heap->gc) != GC_IDLE) {
    uint32_t ended = at32_load_acquire(&heap->ended);
    if (gc_phase_now(heap->gc) == GC_SCANNING && !gc_scan_finished(heap->gc)) {
      if (rt_assist(self)) {
        rt_safepoint(self);
      } else {
        ended_wait(self, ended, NAP_MS); // the rest is in the hands of others, who may want the processor
      }
      continue;
    }
    ended_wait(self, ended, 10);
    rt_safepoint(self);
  }
  stall_count(heap, began);
  rt_end(heap, span, RT_NOTE_STALL, 0, 0, 0);
}

void rt_nap(rt_thread *self) {
  uint64_t began = vm_now();
  rt_span span = rt_begin(self->heap, RT_NOTE_STALL, 0);
  ended_wait(self, at32_load_acquire(&self->heap->ended), NAP_MS);
  stall_count(self->heap, began);
  rt_end(self->heap, span, RT_NOTE_STALL, 0, 0, 0);
}

// Unless another cycle has begun: who has the lock of stops may wait for its end, and all scanners wait here.
static void verify_ended(veil_heap *heap) {
  while (!rt_stop_try(heap)) {
    if (gc_phase_now(heap->gc) != GC_IDLE) {
      return;
    }
    rt_work_pause(heap);
    sched_yield();
  }
  pause_record(heap, RT_FOR_OTHERS);
  rt_stop_world(heap, NULL);
  gc_verify_stopped(heap->gc, "at the end of a cycle");
  rt_resume_world(heap, NULL);
  rt_stop_end(heap);
}

// One cycle, from the scanner's side: until nothing is left to scan, by anybody.
static void cycle_scan(veil_heap *heap) {
  gc_heap *gc = heap->gc;
  gc_copier *copier = gc_copier_take(gc);
  bool swept = false;
  unsigned idle = 0;
  while (gc_phase_now(gc) == GC_SCANNING) {
    rt_work_pause(heap);
    gc_provide(gc, READY_BLOCKS);
    gc_provide_born(gc);
    gc_young_rest(gc);
    while (gc_minor_help(gc)) {
      // mutators wait for that
    }
    if (gc_scan_some(gc, copier, true)) {
      idle = 0;
      continue;
    }
    if (gc_sweep_begin(gc)) {
      swept = true;
      break;
    }
    // The last pages are in other threads' hands.
    if (++idle > IDLE_SPINS) {
      gc_scan_anything(gc, copier);
      gc_copier_flush(gc, copier); // another may end the cycle meanwhile
      rt_wait(&heap->ended, at32_load(&heap->ended), NAP_MS);
    } else {
      sched_yield();
    }
  }
  gc_copier_give(gc, copier);
  if (swept) {
    gc_sweep(gc);
    rt_services_tell(heap, RT_CYCLE_ENDED);
  }
  at_add_full(&heap->scanners_active, (uint64_t)-1);
  if (swept) {
    if (heap->options.verify >= 2) {
      verify_ended(heap);
    }
    rt_post(&heap->ended);
  }
}

static void *scanner_main(void *arg) {
  veil_heap *heap = arg;
  gc_heap *gc = heap->gc;
  prctl(PR_SET_NAME, "veil-scanner");
  rt_trace_begin(heap);
  rt_work_begin(heap);
  for (;;) {
    rt_work_pause(heap);
    // First the count, then whether it was the last: who closes counts after he has said so, or we would wait for a count that has been.
    uint32_t work = at32_load_acquire(&heap->work);
    if (at32_load_acquire(&heap->closing)) {
      break;
    }
    // Active before looking: a flip waits for who is, and who comes later sees the phase.
    at_add_full(&heap->scanners_active, 1);
    if (gc_phase_now(gc) == GC_SCANNING) {
      cycle_scan(heap);
      continue;
    }
    at_add_full(&heap->scanners_active, (uint64_t)-1);
    if (gc_minor_help(gc)) {
      continue;
    }
    if (gc_phase_now(gc) == GC_IDLE &&
        (gc_provide_born(gc) || gc_young_settle(gc) || gc_trim(gc) || gc_provide(gc, READY_BLOCKS / 2))) {
      continue;
    }
    rt_work_end(heap);
    rt_wait(&heap->work, work, 0);
    rt_work_begin(heap);
  }
  rt_trace_end(heap);
  rt_work_end(heap);
  return NULL;
}

bool rt_scanners_start(veil_heap *heap) {
  unsigned wanted = heap->gc->region->traps ? heap->options.scanners : 0;
  sigset_t saved;
  os_signals_block(&saved);
  int error = 0;
  while (heap->scanner_count < wanted && error == 0) {
    error = pthread_create(&heap->scanner[heap->scanner_count], NULL, scanner_main, heap);
    if (error == 0) {
      heap->scanner_count++;
    }
  }
  os_signals_restore(&saved);
  if (error != 0) {
    rt_error_set("cannot start scanner thread %u: %s", heap->scanner_count + 1, strerror(error));
  }
  return error == 0 && rt_keeper_start(heap);
}

void rt_scanners_stop(veil_heap *heap) {
  rt_keeper_stop(heap);
  at32_store_release(&heap->closing, 1);
  rt_post(&heap->work);
  for (unsigned i = 0; i < heap->scanner_count; i++) {
    pthread_join(heap->scanner[i], NULL);
  }
  heap->scanner_count = 0;
}

RT_EXPORT void veil_collect_start(veil_thread *open) {
  rt_thread *self = rt_self_use(open, "veil_collect_start");
  rt_enter(self);
  gc_empty_gladly(self->heap->gc);
  rt_cycle_start(self);
  rt_leave(self);
}

RT_EXPORT void veil_collect(veil_thread *open) {
  rt_thread *self = rt_self_use(open, "veil_collect");
  rt_enter(self);
  rt_cycle_wait(self);
  gc_empty_gladly(self->heap->gc);
  // Another thread may be quicker: any cycle whose flip comes after this point will do.
  uint32_t before = self->heap->gc->cycle;
  while (self->heap->gc->cycle == before) {
    rt_cycle_start(self);
  }
  rt_cycle_wait(self);
  rt_leave(self);
}

RT_EXPORT void veil_collect_minor(veil_thread *open) {
  rt_thread *self = rt_self_use(open, "veil_collect_minor");
  rt_enter(self);
  rt_minor(self, true);
  rt_leave(self);
}

RT_EXPORT bool veil_collecting(veil_heap *heap) { return gc_phase_now(heap->gc) != GC_IDLE; }

// With the stop lock, so that no cycle begins after the one under way; nor does a minor one meanwhile. In no other way than this may a thread that holds it wait: it
// counts as blocked in its other heaps.
static void cycle_end_locked(veil_heap *heap) {
  while (gc_phase_now(heap->gc) != GC_IDLE) {
    uint32_t ended = at32_load_acquire(&heap->ended);
    if (gc_phase_now(heap->gc) != GC_SCANNING || !assist(heap)) {
      rt_post(&heap->work);
      rt_wait(&heap->ended, ended, NAP_MS);
    }
  }
}

void rt_between_cycles(veil_heap *heap, rt_thread *self, void (*then)(veil_heap *heap)) {
  rt_cycle_wait(self);
  sigset_t saved;
  bool others = rt_others_block(self, &saved);
  rt_stop_begin(heap, self);
  cycle_end_locked(heap);
  pause_record(heap, RT_FOR_OTHERS);
  rt_stop_world(heap, self);
  then(heap);
  rt_resume_world(heap, self);
  rt_stop_end(heap);
  rt_others_unblock(others, &saved);
}

// Until no cycle is under way, for a thread that is no mutator.
static void cycle_wait_outside(veil_heap *heap) {
  while (gc_phase_now(heap->gc) != GC_IDLE) {
    uint32_t ended = at32_load_acquire(&heap->ended);
    if (gc_phase_now(heap->gc) != GC_IDLE) {
      rt_post(&heap->work);
      rt_wait(&heap->ended, ended, 10);
    }
  }
}

void rt_at_instant(veil_heap *heap, rt_thread *self, AO_t *span, void (*then)(veil_heap *heap, void *arg), void *arg) {
  sigset_t saved;
  if (self != NULL) {
    rt_cycle_wait(self);
  }
  bool others = rt_others_block(self, &saved);
  if (self == NULL) {
    cycle_wait_outside(heap);
  }
  rt_stop_begin(heap, self);
  cycle_end_locked(heap);
  rt_work_stop(heap); // with the lock, so that nobody has it who is waited for; before the stop, since that may take a while
  pause_record(heap, RT_FOR_INSTANT);
  at_store(span, 0);
  heap->instant_span = span;
  rt_stop_world(heap, self);
  then(heap, arg);
  rt_resume_world(heap, self);
  rt_work_go(heap);
  rt_stop_end(heap);
  rt_others_unblock(others, &saved);
}

bool rt_at_rest(veil_heap *heap, rt_thread *self, unsigned ms, void (*then)(veil_heap *heap, void *arg), void *arg) {
  sigset_t saved;
  if (self != NULL) {
    rt_cycle_wait(self);
  }
  bool others = rt_others_block(self, &saved);
  if (self == NULL) {
    cycle_wait_outside(heap);
  }
  uint64_t limit = vm_now() + ms * (uint64_t)1000000;
  int runs;
  rt_rest_begin(heap);
  do { // who wants a cycle, or another stop, on its way has that first
    rt_stop_begin(heap, self);
    cycle_end_locked(heap);
    rt_work_stop(heap);
    pause_record(heap, RT_FOR_OTHERS);
    runs = rt_rest_world(heap, self, limit);
    if (runs == 0) {
      then(heap, arg);
    }
    rt_resume_world(heap, self);
    rt_work_go(heap);
    rt_stop_end(heap);
  } while (runs != 0 && vm_now() < limit);
  rt_rest_end(heap);
  rt_others_unblock(others, &saved);
  if (runs != 0) {
    rt_error_set("thread %d is neither at a poll nor between brackets, and did not come there in %u ms", runs, ms);
  }
  return runs == 0;
}

static void verify_wanted(veil_heap *heap) { gc_verify_stopped(heap->gc, "on request"); }

RT_EXPORT void veil_verify(veil_thread *open) {
  rt_thread *self = rt_self_use(open, "veil_verify");
  rt_enter(self);
  rt_between_cycles(self->heap, self, verify_wanted);
  rt_leave(self);
}
