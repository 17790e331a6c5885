// SPDX-License-Identifier: MIT
// runtime.h: heaps and mutators as the runtime sees them, fields grouped by who may write them.

#ifndef RT_RUNTIME_H
#define RT_RUNTIME_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include "gc/gc.h"
#include "runtime/error.h"
#include "veil/events.h"
#include "veil/veil.h"
#include "vm/os.h"

#define RT_EXPORT __attribute__((visibility("default")))

enum {
  RT_TOUCHES = 16,        // per thread
  RT_TOUCH_SLOTS = 1024,  // per heap
  RT_SCANNERS = 64,
  RT_SERVICES = 8,
  RT_INTERRUPTED = 8,     // brackets that callbacks came in, per thread
};

// What a thread does, as a stop sees it. Zero: it may run mutator code.
typedef enum rt_state {
  RT_RUNNING = 0,
  RT_STOPPED, // waits in rt_park until the stop is over
  RT_BLOCKED, // between brackets, or ending: touches no object, and waits out a stop before it goes on
  RT_PASSING = 4, // beside one of these two: not at rest (rt.rest), for it is somewhere in the program, or in the midst of a call that goes on whatever the program expects: an allocation that waits for a cycle, a stop of another heap
} rt_state;

// Values of veil_heap.stopping.
enum {
  RT_GO = 0,
  RT_STOP,      // mutators are to park
  RT_STOP_FORK, // stopped by a signal they may go on, for they may hold malloc's locks; whoever comes to a slow path waits (rt.fork)
};

// What holds objects in place, in the order in which a flip looks at it.
enum rt_holder { RT_BY_STACKS, RT_BY_COROUTINES, RT_BY_VARIABLES, RT_BY_SYSTEM_CALLS, RT_BY_PINS, RT_BY_CALLBACKS, RT_HOLDERS };

// What the world is stopped for.
enum rt_stop_for { RT_FOR_OTHERS, RT_FOR_FLIP, RT_FOR_MINOR, RT_FOR_INSTANT };

// Spans of stops of one kind, but for the last stop: its mutators may still be waking up.
typedef struct rt_pauses {
  vm_histogram *histogram;
  AO_t max_ns, total_ns;
} rt_pauses;

// Memory that the kernel may use: pinned, never veiled.
typedef struct rt_touch {
  AO_t base, limit; // view; 0: free
} rt_touch;

// Where a stack was left, and the callee-saved registers that its next one to run there gets back.
typedef struct rt_left {
  char *sp;
  uintptr_t registers[6];
} rt_left;

// Brackets that a callback interrupted: they go on as they began.
typedef struct rt_interrupted {
  rt_left left;
  unsigned entered; // the call of veil_enter that did
} rt_interrupted;

typedef struct rt_named rt_named;
typedef struct rt_name rt_name;

typedef struct rt_roots {
  struct rt_roots *next;
  uintptr_t *slots; // or NULL: a callback
  size_t count;
  veil_roots_fn *fn;
  void *arg;
} rt_roots;

// A critical section of the program's (critical.c): what was reserved for it, and what of that is used.
typedef struct rt_section {
  unsigned depth;      // 0: none
  size_t bytes;        // reserved
  size_t used;         // of them, beside what the buffers tell
  unsigned sorts;      // of objects for which places were reserved
  const char *from[GC_SORTS]; // where the section's part of each buffer begins
  gc_reserve reserve;
} rt_section;

typedef struct rt_thread {
  veil_thread open; // the part that the inline code knows; must be first
  // Constant while attached.
  uint64_t signature;
  veil_heap *heap;
  pthread_t pthread;
  pid_t tid;
  char *stack_low, *stack_base;
  // Owning thread; read with the world stopped.
  struct rt_thread *next_here; // this thread's attachments to other heaps
  char *tlab_start[GC_SORTS];
  gc_alloc_lane lane[GC_SORTS], medium[GC_SORTS];
  rt_section section;
  uintptr_t registers[8];
  void *stopped_sp;
  // The same for a thread that asks for a cycle, before it goes deeper; NULL: it has not. Its own.
  uintptr_t asked_registers[8];
  void *asked_sp;
  char *alt_base, *alt_limit; // an alternate stack that it was stopped on
  bool bracketed;
  uint64_t bracket_ns;     // when, and who listened
  uint32_t bracket_heard;
  bool waited, noted; // for parking
  bool passing;       // is about to block so (RT_PASSING), or has
  struct veil_stack *stack; // that it says it runs on, or NULL: its own
  rt_left native;           // where it left its own
  rt_roots *own_roots;
  bool came_in;                  // attached by veil_enter
  unsigned entered;              // calls of veil_enter
  unsigned interrupted_count;
  rt_interrupted interrupted[RT_INTERRUPTED];
  bool forks; // it has entered for the time of a fork, or waits for one
  unsigned touch_count;
  uint16_t touches[RT_TOUCHES]; // indices into the heap's
  uint64_t random;              // torture
  size_t external;              // bytes told by veil_external since this thread last looked at the pace
  bool in_oom_hook;
  // Owning thread, and its signal handler.
  volatile unsigned critical; // > 0: a stop waits until it is left
  // Atomic.
  uint32_t volatile state;
  // Under threads_lock.
  struct rt_thread *next;
} rt_thread;

// What to do when memory is out: the newest counts.
typedef struct rt_oom_hook {
  struct rt_oom_hook *next;
  veil_oom_fn *fn; // NULL: nothing
  void *arg;
} rt_oom_hook;

struct veil_heap {
  // Constant after opening.
  gc_heap *gc;
  veil_options options;
  unsigned scanner_count;
  char why[256];
  struct rt_services *services;
  struct rt_restore *restore; // NULL: it began empty
  // Under threads_lock, which a stop holds from beginning to end.
  pthread_mutex_t threads_lock;
  rt_thread *threads;
  rt_thread *dead; // detached; kept so that use after detaching is seen
  uint32_t volatile thread_count; // changes under threads_lock; statistics read it without
  // stop_lock, of whoever stops the world or flips: tickets, in the order of asking. stop.c's.
  uint32_t volatile stop_tickets;
  uint32_t volatile stop_serves; // this ticket's turn
  sigset_t stop_saved_mask;
  // Atomic.
  uint32_t volatile stopping; // RT_STOP: mutators are to park
  uint32_t volatile resting;  // how many ask that mutators park where they are at rest (rt.rest), and run until they come there
  AO_t stop_began_ns;
  AO_t stop_span_ns;          // of the last stop, until the last mutator ran again
  uint32_t volatile stop_for; // what the last stop was for: enum rt_stop_for
  uint32_t volatile stop_waiting; // threads that wait for its end, or have not noted their span yet
  AO_t *instant_span;         // where the last instant's goes once the world is stopped again; by who has the lock of stops
  rt_pauses flips, minors;
  // Roots: attached threads, under roots_lock (in a critical section); read with the world stopped.
  pthread_mutex_t roots_lock;
  rt_roots *roots;
  rt_named *named;      // named.c; NULL: there never was one
  rt_name *named_dead;  // … names that descriptions may hold …
  struct rt_named_hold *named_holds; // … and who does
  uint64_t named_changes; // how often a name came, went, or was set to another object
  struct veil_stack *stacks;
  struct rt_start *starts; // threads that are not joined yet
  struct rt_pins *pins;    // pins.c; NULL: there never was one
  AO_t pinned_by[RT_HOLDERS]; // objects, in the last flip: who looked first
  // Scanners.
  pthread_t scanner[RT_SCANNERS];
  uint32_t volatile work;       // counts: there is something to do
  uint32_t volatile ended;      // counts: a cycle has ended
  uint32_t volatile closing;
  AO_t scanners_active;         // between taking up a cycle and leaving it
  // The thread that calls finalizers: under the lock of forks.
  pthread_t finalizer;
  bool finalizer_runs;
  uint32_t volatile finals, finalizer_closing; // counts: some may be due; 1: it is to end
  AO_t finalized;
  // The thread that dumps when the operator asks (operator.c): the same.
  char *dump_pattern; // NULL: nobody may
  pthread_t dumper;
  bool dumper_runs;
  uint32_t dumper_seen;
  uint32_t volatile dumper_closing;
  // Keeper.
  pthread_t keeper;
  bool keeper_runs;
  uint32_t volatile keeper_work, keeper_closing; // as for scanners
  uint32_t volatile keeper_asleep; // 1: for long, so that whoever allocates has to wake it
  uint32_t volatile trim_wanted;   // 1: the keeper is to give back what pacing does not want
  uint32_t volatile provide_wanted; // 1: … to have memory ready (gc_provide_open)
  uint32_t volatile cycle_wanted;  // 1: whoever asks for a buffer next is to start a cycle
  uint32_t volatile cycle_asked;   // 1: a service wants one, which the keeper is to start (veil_service_cycle)
  AO_t idle_cycles;
  AO_t oom_hook;                   // rt_oom_hook
  // Touched ranges: base and limit atomic, for the collector; changed under touch_lock.
  pthread_mutex_t touch_lock;
  rt_touch touched[RT_TOUCH_SLOTS];
  AO_t touch_high;
  AO_t stall_ns, assists;
  AO_t stops, stop_total_ns, stop_max_ns, stalls, threads_attached, limit_reached, out_of_memory, claims_settled, copied_away, handlers_restored;
  // Events (events.c). Atomic:
  uint32_t volatile listening; // 0: nobody does
  AO_t telling;                // threads that may be in a callback
  AO_t listener_lock;
  AO_t memory_noted_ns;
  // While listener_lock is held and nobody is being told.
  veil_events listener[1];
  void *listener_arg;
  uint32_t listener_number;
  // Whoever stops the world, flips, sweeps: one after the other.
  uint64_t stop_noted_ns, cycle_began_ns, sweep_began_ns;
  uint32_t stop_heard, cycle_noted, sweep_noted;
  int stop_restored; // handlers that the last stop put back
  // Trace (tracer.c). Constant while open.
  struct rt_tracer *tracer; // NULL: none
  struct rt_ring *trace_common;
  unsigned trace_id;
  pid_t trace_pid; // the process whose file it is
  // Fork.
  struct veil_heap *volatile next_open; // under the lock of fork.c; a child reads it without
  rt_thread *fork_self;        // the thread that forks, if it is a mutator of this heap; its own
  uint32_t volatile pausing;   // threads at work are to pause
  uint32_t volatile at_work;   // threads that are no mutators, and in the middle of something
  uint32_t volatile lost;      // constant in a child that has not got the heap: enum vm_lost
};

// ---- heap.c: veil_open, or out of what `restore` has, unless that is NULL.
veil_heap *rt_heap_open(const veil_options *options, void *at, struct rt_restore *restore);

// ---- alloc.c
// In a critical section, after a first attempt was in vain: tries until `attempt` succeeds, collecting meanwhile; false: there is no memory for `bytes`, whatever is done.
bool rt_memory_find(rt_thread *self, size_t bytes, bool (*attempt)(rt_thread *self, void *arg), void *arg);
void rt_out_of_memory(rt_thread *self, size_t bytes, const char *what); // as the option `oom` says: aborts, or sets the error
void rt_pace(rt_thread *self); // in a critical section, before memory is handed out: starts a cycle if one is due, helps if need be

// ---- critical.c
void rt_section_refuse_slow(const char *function);
// Whether the calling thread is in a critical section of the program's, in any heap; aborts if it is.
static inline bool rt_section_any(void);
static inline void rt_section_refuse(const char *function);
void rt_section_use(rt_thread *self, const gc_wanted *want); // in one: counts an object that is about to be made; aborts if it is too much
void rt_section_buffer(rt_thread *self, unsigned sort, const char *base); // the thread is about to get another buffer

// ---- limit.c
bool rt_oom_ask(rt_thread *self, size_t bytes); // outside of critical sections: whether the program's hook says "once more"
void rt_oom_hooks_free(veil_heap *heap);

// ---- keeper.c
bool rt_keeper_start(veil_heap *heap);
void rt_keeper_stop(veil_heap *heap); // once more does nothing
void rt_keeper_trim(veil_heap *heap);
void rt_keeper_provide(void *heap); // mutators' next blocks, as far as they are not at hand (gc_world.low). Returns at once
void rt_keeper_wake_slow(veil_heap *heap);
static inline void rt_keeper_wake(veil_heap *heap) {
  if (__builtin_expect(at32_load(&heap->keeper_asleep) != 0, 0)) {
    rt_keeper_wake_slow(heap);
  }
}

// ---- thread.c
rt_thread *rt_self_check(veil_thread *self, const char *function); // aborts if it is not this thread's
rt_thread *rt_self_use(veil_thread *self, const char *function);   // nor if it is between brackets, nor in a critical section of the program's
rt_thread *rt_self_steady(veil_thread *self, const char *function); // as rt_self_use, for what may be done there
extern __thread rt_thread *rt_here;                                // this thread's attachments

static inline bool rt_section_any(void) {
  for (rt_thread *t = rt_here; t != NULL; t = t->next_here) {
    if (__builtin_expect(t->section.depth != 0, 0)) {
      return true;
    }
  }
  return false;
}
static inline void rt_section_refuse(const char *function) {
  if (rt_section_any()) {
    rt_section_refuse_slow(function);
  }
}

// ---- stop.c
// What the thread does, at rest or not.
static inline rt_state rt_state_of(const rt_thread *t) { return (rt_state)(at32_load_acquire(&t->state) & ~(uint32_t)RT_PASSING); }
// A critical section: the thread is not stopped in it. Nests.
void rt_fork_wait(rt_thread *self);
static inline void rt_enter(rt_thread *self) {
  self->critical++;
  __asm__ volatile("" ::: "memory");
  if (__builtin_expect(at32_load(&self->heap->stopping) == RT_STOP_FORK, 0)) {
    rt_fork_wait(self);
  }
}
void rt_leave(rt_thread *self);
void rt_safepoint(rt_thread *self); // parks if a stop is wanted; in a critical section too
// Blocked, in all its heaps: stops do not wait for this thread. Registers are saved for the scan.
void rt_block(rt_thread *self);
void rt_unblock(rt_thread *self);
void rt_block_again(rt_thread *self, const rt_left *left); // as it was before, in this heap
// Stops all mutators of the heap but `self` (NULL: the caller is none), in a critical section; signals are blocked until the world runs again.
// One stopper at a time: rt_stop_begin may park first, and returns with the lock held and the world running.
// In the order of asking: stops one after the other, as minor cycles may be, must not keep a fork or a flip waiting for ever.
void rt_stop_begin(veil_heap *heap, rt_thread *self);
bool rt_stop_try(veil_heap *heap); // the lock, if nobody has it. In a thread that counts as at work (rt.work), too
void rt_stop_world(veil_heap *heap, rt_thread *self);
// From here on threads that come to rest (rt.rest) stay there, whoever has the lock of stops; to rt_rest_end.
void rt_rest_begin(veil_heap *heap);
void rt_rest_end(veil_heap *heap);
// In between: as rt_stop_world, but no signal is sent, and each thread is between brackets, in a poll, or in a call that waits for others (rt.rest): what it has of the heap beside references is in its structure. 0; else a thread (its number) that is not there yet, while
// another waits for the lock of stops, or since limit_ns (vm_now). To be followed by rt_resume_world all the same.
int rt_rest_world(veil_heap *heap, rt_thread *self, uint64_t limit_ns);
void rt_resume_world(veil_heap *heap, rt_thread *self);
void rt_stop_end(veil_heap *heap);
// The part of rt_stop_world that fork needs too: signals are blocked. What stops pagers is undone by vm_resume.
void rt_threads_stop(veil_heap *heap, rt_thread *self);
bool rt_stop_install(int signo);

// ---- roots.c: the world's upcalls.
void rt_world_buffers(void *arg, gc_flip *flip);
void rt_world_ambiguous(void *arg, gc_flip *flip);
void rt_world_precise(void *arg, gc_flip *flip);


// ---- stacks.c: world stopped, but for the last two
void rt_thread_scan(veil_heap *heap, rt_thread *t, gc_flip *flip);
void rt_stacks_scan(veil_heap *heap, gc_flip *flip); // after all threads
void rt_stacks_forward(veil_heap *heap, gc_flip *flip);
void rt_stacks_close(veil_heap *heap);
void rt_stacks_abandon(rt_thread *self);

// ---- segments.c
bool rt_segments_open(const veil_options *options); // false with the error set
void rt_segments_hold(veil_heap *heap, rt_thread *self, void (*then)(veil_heap *heap, rt_thread *self)); // calls it with the loader's lock held
void rt_segments_freeze(void);                                         // before a fork: no thread flips with the loader's lock from here to thaw
void rt_segments_thaw(void);
void rt_segments_fork(void);                                           // in a child
void rt_segments_scan(veil_heap *heap, gc_flip *flip);                 // world stopped, the lock held

// ---- start.c
void rt_starts_forward(veil_heap *heap, gc_flip *flip); // world stopped
void rt_starts_close(veil_heap *heap);
void rt_starts_fork(veil_heap *heap); // in a child, its only thread

// ---- collect.c
void rt_cycle_start(rt_thread *self);                  // in a critical section; a no-op if a cycle is under way
void rt_cycle_start_for(veil_heap *heap, rt_thread *self); // self NULL: the caller is no mutator
void rt_world_help(void *heap);                        // a minor cycle wants scanners
void rt_trial(rt_thread *self);                         // in a critical section: on the way to a trial of generations
void rt_minor(rt_thread *self, bool forced);           // in a critical section: a minor cycle, if the nursery is still full
void rt_cycle_wait(rt_thread *self);                   // helps and waits until no cycle is under way
void rt_nap(rt_thread *self);                          // waits for the end of a cycle, a millisecond at most
// Calls `then` with the world stopped and no cycle under way. In a critical section.
void rt_between_cycles(veil_heap *heap, rt_thread *self, void (*then)(veil_heap *heap));
// The same with nobody at work for the heap either (rt.work). In a thread that is not at work; in a critical section if it is a mutator that runs, and `self` is NULL if not. Once the world
// is stopped again, *span is how long this stop was; until then heap->stop_span_ns.
void rt_at_instant(veil_heap *heap, rt_thread *self, AO_t *span, void (*then)(veil_heap *heap, void *arg), void *arg);
// The same with all threads at rest (rt_rest_world). False, with the error set: one did not come to rest, and `then` was not called.
bool rt_at_rest(veil_heap *heap, rt_thread *self, unsigned ms, void (*then)(veil_heap *heap, void *arg), void *arg);
bool rt_assist(rt_thread *self);                       // scans a little; false: there was nothing to scan
bool rt_scanners_start(veil_heap *heap);
void rt_scanners_stop(veil_heap *heap);

// ---- pins.c
void rt_pins_scan(veil_heap *heap, gc_flip *flip); // world stopped
void rt_pins_close(veil_heap *heap);

// ---- weak.c: not in a critical section
void rt_object_check(const gc_heap *gc, const void *object, const char *function); // aborts if it is none, nor NULL
bool rt_is_of_type(const gc_heap *gc, const void *object, const veil_type *type); // one of veil's own types, not an array
uint32_t rt_link_new(rt_thread *self, gc_link_kind kind, void *object, uintptr_t owner, uintptr_t data, const char *function); // GC_NONE with the error set

// ---- finalize.c
void rt_world_finals(void *heap);
void rt_finalizer_stop(veil_heap *heap);
void rt_finalizer_fork(veil_heap *heap); // in a child

// ---- operator.c
bool rt_operator_start(veil_heap *heap); // false with the error set
void rt_operator_stop(veil_heap *heap);
void rt_operator_fork(veil_heap *heap);  // in a child

// ---- touch.c
bool rt_world_touched(void *arg, size_t page);
void rt_touch_flip(veil_heap *heap, gc_flip *flip);

// ---- hooks.c
void rt_world_absent(void *arg, size_t page);
void rt_world_unsaved(void *arg, size_t page);
void rt_world_discarded(void *arg, size_t page, size_t count);
typedef enum rt_event { RT_BEFORE_FLIP, RT_AFTER_FLIP, RT_CYCLE_ENDED, RT_BEFORE_MINOR, RT_AFTER_MINOR } rt_event;
void rt_services_tell(veil_heap *heap, rt_event event);
bool rt_services_open(veil_heap *heap);
// Pages whose contents come from where the heap was restored from (restore.c): they are ABSENT, and of no service.
enum { RT_RESTORED = 255 }; // in the place of a service's number
void rt_restored_claim(veil_heap *heap, size_t page, size_t count);       // while the heap opens; after vm_commit_absent
bool rt_restored_is_absent(const veil_heap *heap, size_t page);
void rt_restored_forget(veil_heap *heap, size_t page);                    // the holder of the page: the claim is about to go
void rt_services_close(veil_heap *heap);
void rt_services_fork(veil_heap *heap); // in a child

// ---- restore.c
typedef struct rt_restore rt_restore;
void rt_restore_absent(veil_heap *heap, size_t page);    // reads the page, which the caller holds, in traps too
void rt_restore_discarded(veil_heap *heap, size_t page); // what it had is not wanted any more
// Tells where the heap lies, before it opens. False with the error set.
bool rt_restore_geometry(rt_restore *restore, veil_options *options, bool limit_given, gc_geometry *out);
// When the collector is open, and nobody else is there. The same.
bool rt_restore_open(veil_heap *heap, rt_restore *restore);
bool rt_restore_start(veil_heap *heap); // begins to read in the background. The same
void rt_restore_stop(veil_heap *heap);  // while the heap closes; once more does nothing
void rt_restore_fork(veil_heap *heap);  // in a child
bool rt_restore_reads(const rt_restore *restore); // pages are still away; NULL: none. Any thread
void rt_restore_free(rt_restore *restore);
// For a heap that goes back to what it was opened from (rollback.c), with the world stopped. NULL: there is no source.
uintptr_t rt_restore_base(const rt_restore *restore);
// Whether no cycle had been, nor a minor one, at those numbers.
bool rt_restore_was_kept(const rt_restore *restore, const uint64_t numbers[2]);
// Contents of a page as the source has them: they become the page's, put right. Pages that were put back before it, or did not change, are right.
void rt_restore_put(veil_heap *heap, size_t page, const void *contents);
void rt_restore_put_end(veil_heap *heap);
size_t rt_pins_count(const veil_heap *heap); // pins.c

// ---- fork.c: between veil_open and veil_close; false with the error set.
bool rt_fork_add(veil_heap *heap);
void rt_fork_remove(veil_heap *heap);
// No fork between the two, nor another heap that opens or closes. Any thread, attached or not; not in a critical section.
void rt_fork_hold(void);
void rt_fork_release(void);
// Work of a thread that is no mutator: a fork waits for its end. Nests.
void rt_work_begin(veil_heap *heap);
bool rt_work_try(veil_heap *heap); // false: it would have to wait
void rt_work_end(veil_heap *heap);
// In the middle of it, at a moment when a child could go on from here without this thread.
static inline void rt_work_pause(veil_heap *heap) {
  if (__builtin_expect(at32_load(&heap->pausing) != 0, 0)) {
    rt_work_end(heap);
    rt_work_begin(heap);
  }
}
// The caller has the lock of stops: from when rt_work_stop returns until rt_work_go nobody is at work. Nor may the caller be (rt_working).
void rt_work_stop(veil_heap *heap);
void rt_work_go(veil_heap *heap);
bool rt_working(void);
// In a child that has no copy of the heap, a call of the program's is an error.
void rt_fork_lost(const veil_heap *heap, const char *function);
// Thread.c: in the child, all but `self` are gone.
void rt_threads_fork(veil_heap *heap, rt_thread *self);
void rt_thread_free(rt_thread *t); // that is gone

// ---- type.c
void rt_type_register(rt_thread *self, veil_type *type);
// Leaf objects of want->length bytes that say so at their end: their header and cell. False: there can be none so long. Not in a critical section.
bool rt_type_sized(rt_thread *self, gc_wanted *want);

#endif
