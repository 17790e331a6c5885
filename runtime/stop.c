// SPDX-License-Identifier: MIT
// stop.c: mutators are stopped by a signal or stop themselves, and show where their roots are.
//
// The protocol: the stopper sets `stopping`, then reads each thread's state; a thread that starts to run mutator code sets its
// state to RUNNING, then reads `stopping`. With a full fence on both sides one of them sees the other. A thread in a critical
// section is not stopped: its handler returns at once, and it parks when it leaves. Nor is one in a trap: the trap handler of
// vm blocks the stop signal. All this holds for all heaps that a thread is attached to: it is stopped for all or for none.

#include <errno.h>
#include <sched.h>
#include <string.h>
#include "runtime/futex.h"
#include "runtime/note.h"
#include "runtime/registers.h"

enum { PATIENCE_MS = 50 }; // for a thread that is to stop, before it is (again) sent a signal

// A fork is no pause that counts (fork.c): it has no begin.
static void span_record(veil_heap *heap) {
  uint64_t began = at_load(&heap->stop_began_ns), span = vm_now() - began;
  if (began == 0) {
    return;
  }
  for (;;) {
    uint64_t max = at_load(&heap->stop_span_ns);
    if (span <= max || at_cas_full(&heap->stop_span_ns, max, span)) {
      return;
    }
  }
}

// Where a thread is, when it looks whether it is to wait.
enum place {
  BY_SIGNAL, // anywhere in the program
  PASSING,   // in a call of veil's, or at its end, perhaps with an object that nobody has yet
  AT_REST,   // in a poll, or at the end of brackets or of a call that waits (rt.rest)
};

// Whether it is. One that a signal stopped may hold any lock of the program's, so it goes on while the process forks (rt.fork).
static bool waits_for(uint32_t stopping, enum place place) {
  return stopping == RT_STOP || (stopping == RT_STOP_FORK && place != BY_SIGNAL);
}

static bool must_wait(const veil_heap *heap, enum place place) {
  return waits_for(at32_load_acquire(&heap->stopping), place) || (place == AT_REST && at32_load_acquire(&heap->resting) != 0);
}

// A thread may be attached to several heaps, and stops or waits for all of them at once (rt.heaps).
static veil_heap *stop_wanted(enum place place) {
  for (rt_thread *t = rt_here; t != NULL; t = t->next_here) {
    if (at32_load(&t->state) == RT_RUNNING && must_wait(t->heap, place)) {
      return t->heap;
    }
  }
  return NULL;
}

static bool critical_anywhere(void) {
  for (rt_thread *t = rt_here; t != NULL; t = t->next_here) {
    if (t->critical != 0) {
      return true;
    }
  }
  return false;
}

// Waits until no stop is wanted, by any heap; `heap` is the one for whose events it counts. The caller's roots lie at and above each attachment's stopped_sp, and in its registers.
static void park(veil_heap *heap, enum place place) {
  rt_span span = rt_begin(heap, RT_NOTE_STOPPED, 0);
  do {
    for (rt_thread *t = rt_here; t != NULL; t = t->next_here) {
      if (rt_state_of(t) != RT_BLOCKED) {
        at32_store_release(&t->state, RT_STOPPED | (place == AT_REST ? 0 : RT_PASSING));
        os_wake_all(&t->state);
      }
    }
    for (rt_thread *t = rt_here; t != NULL; t = t->next_here) {
      while (rt_state_of(t) == RT_STOPPED && must_wait(t->heap, place)) {
        uint32_t stopping = at32_load(&t->heap->stopping), resting = at32_load(&t->heap->resting);
        if (waits_for(stopping, place)) {
          at32_add_full(&t->heap->stop_waiting, !t->waited);
          t->waited = true;
          os_wait(&t->heap->stopping, stopping);
        } else if (resting != 0) {
          os_wait(&t->heap->resting, resting);
        }
      }
    }
    for (rt_thread *t = rt_here; t != NULL; t = t->next_here) {
      if (rt_state_of(t) == RT_STOPPED) {
        at32_store_release(&t->state, RT_RUNNING);
      }
    }
    at_fence_full();
  } while (stop_wanted(place) != NULL);
  for (rt_thread *t = rt_here; t != NULL; t = t->next_here) {
    if (t->waited) {
      t->waited = false;
      span_record(t->heap);
      at32_add_full(&t->heap->stop_waiting, ~0u);
    }
  }
  rt_end(heap, span, RT_NOTE_STOPPED, 0, 0, 0);
}

// A critical section is about to begin while the process forks: not before that is over.
__attribute__((noinline, cold)) void rt_fork_wait(rt_thread *self) {
  while (self->critical == 1 && at32_load_acquire(&self->heap->stopping) == RT_STOP_FORK) {
    os_wait(&self->heap->stopping, RT_STOP_FORK);
  }
}

// The roots of an attachment, where its thread stands now.
static inline __attribute__((always_inline)) void roots_note(rt_thread *t) {
  t->stopped_sp = rt_registers_save(t->registers);
  t->alt_base = t->alt_limit = NULL;
}

static void stop_look(rt_thread *self, enum place place) {
  veil_heap *heap = stop_wanted(place);
  if (heap == NULL) {
    return;
  }
  // A handler of the program must not load references in a thread that counts as stopped. Our own must not run either: it
  // would write what the stopper reads.
  sigset_t saved;
  rt_enter(self);
  os_signals_block(&saved);
  for (rt_thread *t = rt_here; t != NULL; t = t->next_here) {
    if (at32_load(&t->state) == RT_RUNNING) {
      roots_note(t);
    }
  }
  park(heap, place);
  self->critical--; // before a signal that waits comes: refused, it would not come again
  os_signals_restore(&saved);
}

__attribute__((noinline)) void rt_safepoint(rt_thread *self) { stop_look(self, PASSING); }

__attribute__((noinline)) void rt_leave(rt_thread *self) {
  __asm__ volatile("" ::: "memory");
  self->critical--;
  __asm__ volatile("" ::: "memory");
  if (self->critical == 0 && !critical_anywhere()) {
    stop_look(self, PASSING);
  }
}

static void block_one(rt_thread *self, const uintptr_t *registers, void *sp) {
  rt_enter(self); // stopped half-way, our handler would leave the registers of its own moment here
  memcpy(self->registers, registers, 6 * sizeof *registers);
  self->stopped_sp = sp;
  self->alt_base = self->alt_limit = NULL;
  at32_store_release(&self->state, RT_BLOCKED | (self->passing ? RT_PASSING : 0));
  at_fence_full();
  os_wake_all(&self->state);
  self->critical--;
}

void rt_others_block_saved(rt_thread *self, const uintptr_t *registers, void *sp) {
  for (rt_thread *t = rt_here; t != NULL; t = t->next_here) {
    if (t != self && at32_load(&t->state) == RT_RUNNING) {
      t->passing = true;
      block_one(t, registers, sp);
    }
  }
}

// The rest of rt_block: the registers are saved.
void rt_block_saved(rt_thread *self, uintptr_t *saved) {
  block_one(self, saved + 1, saved + 7);
  for (rt_thread *t = rt_here; t != NULL; t = t->next_here) {
    if (t != self && at32_load(&t->state) == RT_RUNNING) {
      t->passing = self->passing;
      block_one(t, saved + 1, saved + 7);
    }
  }
}

void rt_block_again(rt_thread *self, const rt_left *left) { block_one(self, left->registers, left->sp); }

void rt_unblock(rt_thread *self) {
  // Our handler must not overwrite what a stopper may be reading, so this is a critical section.
  rt_enter(self);
  enum place place = AT_REST;
  for (rt_thread *t = rt_here; t != NULL; t = t->next_here) {
    t->noted = rt_state_of(t) == RT_BLOCKED;
    place = t->noted && t->passing ? PASSING : place;
    if (t->noted && !t->bracketed) {
      at32_store_release(&t->state, RT_RUNNING);
    }
  }
  at_fence_full();
  veil_heap *heap = stop_wanted(place);
  if (heap != NULL) {
    // Registers and stack count as they were saved then: no reference was loaded since. A stopper may be reading them.
    sigset_t saved;
    os_signals_block(&saved);
    for (rt_thread *t = rt_here; t != NULL; t = t->next_here) {
      if (!t->noted) {
        roots_note(t);
      }
    }
    park(heap, place);
    os_signals_restore(&saved);
  }
  for (rt_thread *t = rt_here; t != NULL; t = t->next_here) {
    t->passing = t->passing && rt_state_of(t) == RT_BLOCKED;
  }
  rt_leave(self);
}

void rt_others_unblock(bool blocked, const sigset_t *saved) {
  if (blocked) {
    rt_unblock(rt_here);
    os_signals_restore(saved);
  }
}

// An alternate stack, if the handler runs on one. Where the interrupted owner stands is found when the roots are (stacks.c).
__attribute__((no_sanitize("address", "thread"))) static void stack_note(rt_thread *self, char *sp) {
  self->stopped_sp = sp;
  self->alt_base = self->alt_limit = NULL;
  if (sp >= self->stack_low && sp < self->stack_base) {
    return;
  }
  stack_t alt;
  if (sigaltstack(NULL, &alt) == 0 && (alt.ss_flags & SS_ONSTACK) && sp >= (char *)alt.ss_sp &&
      sp < (char *)alt.ss_sp + alt.ss_size) {
    self->alt_base = sp;
    self->alt_limit = (char *)alt.ss_sp + alt.ss_size;
  }
}

// Registers, vector registers too, lie in the signal frame, above this function's own frame.
static void stop_handler(int signo, siginfo_t *info, void *context) {
  (void)signo, (void)info, (void)context;
  int saved = errno;
  if (vm_trapping()) {
    return; // it may hold a page. The mask says so too, but not to a signal that a sanitizer kept back
  }
  veil_heap *heap = critical_anywhere() ? NULL : stop_wanted(BY_SIGNAL);
  if (heap != NULL) {
    for (rt_thread *t = rt_here; t != NULL; t = t->next_here) {
      if (at32_load(&t->state) == RT_RUNNING) {
        stack_note(t, rt_registers_save(t->registers));
      }
    }
    park(heap, BY_SIGNAL);
  }
  errno = saved;
}

static bool is_ours(const struct sigaction *action) {
  return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == stop_handler;
}

// A stop that nobody hears would hang without a word.
static void stop_handler_check(int signo) {
  struct sigaction now;
  if (os_handle(signo, NULL, &now) == 0 && !is_ours(&now)) {
    vm_fatal("signal %d, by which threads are stopped, was given another handler by the program: choose a free one by the option stop_signal",
             signo);
  }
}

bool rt_stop_install(int signo) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = stop_handler;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigfillset(&action.sa_mask); // no handler of the program runs while its thread is stopped
  sigdelset(&action.sa_mask, SIGSEGV);
  sigdelset(&action.sa_mask, SIGBUS);
  struct sigaction old;
  if (signo == SIGKILL || signo == SIGSTOP || signo == SIGSEGV || signo == SIGBUS || signo == SIGABRT) {
    rt_error_set("option stop_signal: signal %d cannot be used", signo);
    return false;
  }
  if (os_handle(signo, NULL, &old) != 0) {
    rt_error_set("option stop_signal: signal %d cannot be handled", signo);
    return false;
  }
  if (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN && !is_ours(&old)) {
    rt_error_set("option stop_signal: signal %d has a handler already", signo);
    return false;
  }
  if (os_claim(signo, &action, false) != 0) {
    rt_error_set("option stop_signal: signal %d cannot be handled", signo);
    return false;
  }
  return true;
}

void rt_stop_begin(veil_heap *heap, rt_thread *self) {
  uint32_t ticket = at32_add_full(&heap->stop_tickets, 1);
  while (at32_load_acquire(&heap->stop_serves) != ticket) {
    if (self == NULL) {
      uint32_t serves = at32_load_acquire(&heap->stop_serves);
      if (serves != ticket) {
        os_wait(&heap->stop_serves, serves);
      }
    } else {
      rt_safepoint(self); // whoever has the lock may be stopping us
      sched_yield();
    }
  }
}

bool rt_stop_try(veil_heap *heap) {
  uint32_t serves = at32_load_acquire(&heap->stop_serves);
  return at32_load(&heap->stop_tickets) == serves && at32_cas_full(&heap->stop_tickets, serves, serves + 1);
}

void rt_stop_end(veil_heap *heap) {
  if (at32_add_full(&heap->stop_serves, 1) + 1 != at32_load(&heap->stop_tickets)) {
    os_wake_all(&heap->stop_serves);
  }
}

static void stop_signal_send(veil_heap *heap, const rt_thread *self) {
  for (rt_thread *t = heap->threads; t != NULL; t = t->next) {
    if (t != self && at32_load_acquire(&t->state) == RT_RUNNING) {
      syscall(SYS_tgkill, getpid(), t->tid, heap->options.stop_signal);
    }
  }
}

static void stop_note(veil_heap *heap) {
  // No handler of the program runs in this thread between two spaces.
  os_signals_block(&heap->stop_saved_mask);
  rt_span span = rt_begin(heap, RT_NOTE_STOP, 0);
  heap->stop_noted_ns = span.began_ns;
  heap->stop_heard = span.heard;
  at_store(&heap->stop_began_ns, vm_now());
  at_store(&heap->stop_span_ns, 0);
}

void rt_stop_world(veil_heap *heap, rt_thread *self) {
  stop_note(heap);
  rt_threads_stop(heap, self);
}

static bool is_at_rest(const rt_thread *t) {
  uint32_t state = at32_load_acquire(&t->state);
  return state == RT_BLOCKED || state == RT_STOPPED;
}

// Somebody waits for the lock of stops, which the caller has.
static bool stop_is_awaited(const veil_heap *heap) { return at32_load_acquire(&heap->stop_tickets) != at32_load(&heap->stop_serves) + 1; }

void rt_rest_begin(veil_heap *heap) { at32_add_full(&heap->resting, 1); }

void rt_rest_end(veil_heap *heap) {
  at32_add_full(&heap->resting, ~0u);
  os_wake_all(&heap->resting);
}

int rt_rest_world(veil_heap *heap, rt_thread *self, uint64_t limit_ns) {
  stop_note(heap);
  pthread_mutex_lock(&heap->threads_lock);
  heap->stop_restored = vm_trap_restore();
  for (rt_thread *t = heap->threads; t != NULL; t = t->next) {
    while (t != self && !is_at_rest(t)) {
      if (vm_now() >= limit_ns || stop_is_awaited(heap)) {
        vm_quiesce(heap->gc->region); // which rt_resume_world undoes
        return (int)t->tid;
      }
      rt_wait(&t->state, at32_load(&t->state), 1);
    }
  }
  vm_quiesce(heap->gc->region);
  return 0;
}

void rt_threads_stop(veil_heap *heap, rt_thread *self) {
  pthread_mutex_lock(&heap->threads_lock);
  at32_store_release(&heap->stopping, RT_STOP);
  at_fence_full();
  if (heap->options.stop == VEIL_STOP_SIGNAL) {
    stop_signal_send(heap, self);
  }
  heap->stop_restored = vm_trap_restore(); // other code may have replaced our handlers: chained from here on
  for (rt_thread *t = heap->threads; t != NULL; t = t->next) {
    for (unsigned spins = 0; t != self && at32_load_acquire(&t->state) == RT_RUNNING; spins++) {
      if (spins > 100) {
        rt_wait(&t->state, RT_RUNNING, PATIENCE_MS);
        stop_handler_check(heap->options.stop_signal);
        // A thread that does not poll, or that keeps our signal blocked for a while, is asked once more.
        stop_signal_send(heap, self);
      }
    }
  }
  vm_quiesce(heap->gc->region); // not before: a thread in a system call may need a pager in order to stop
}

static void stop_count(veil_heap *heap) {
  uint64_t span = vm_now() - at_load(&heap->stop_began_ns);
  at_add(&heap->stops, 1);
  at_add(&heap->stop_total_ns, span);
  if (span > at_load(&heap->stop_max_ns)) {
    at_store(&heap->stop_max_ns, span);
  }
}

void rt_resume_world(veil_heap *heap, rt_thread *self) {
  (void)self;
  vm_resume(heap->gc->region);
  at32_store_release(&heap->stopping, RT_GO);
  os_wake_all(&heap->stopping);
  span_record(heap);
  stop_count(heap);
  pthread_mutex_unlock(&heap->threads_lock);
  rt_end(heap, (rt_span){heap->stop_noted_ns, heap->stop_heard}, RT_NOTE_STOP, 0, 0, 0);
  rt_note_restored(heap, heap->stop_restored);
  os_signals_restore(&heap->stop_saved_mask);
}

RT_EXPORT void veil_poll(veil_thread *open) {
  rt_thread *self = (rt_thread *)open;
  if (__builtin_expect((at32_load(&self->heap->stopping) | at32_load(&self->heap->resting)) != 0, 0)) {
    rt_self_check(open, "veil_poll");
    if (!rt_section_any()) { // its end does it
      stop_look(self, critical_anywhere() ? PASSING : AT_REST);
    }
  }
}

// The rest of veil_block_begin.
void rt_bracket_begin(veil_thread *open, uintptr_t *saved) {
  rt_thread *self = rt_self_check(open, "veil_block_begin");
  rt_section_refuse("veil_block_begin");
  if (self->bracketed) {
    vm_fatal("veil_block_begin: brackets do not nest");
  }
  self->bracketed = true;
  rt_enter(self);
  rt_span span = rt_begin(self->heap, RT_NOTE_BRACKET, 0);
  self->bracket_ns = span.began_ns;
  self->bracket_heard = span.heard;
  self->critical--; // whoever wants to stop us finds us blocked in a moment
  block_one(self, saved + 1, saved + 7);
}

RT_EXPORT void veil_block_end(veil_thread *open) {
  rt_thread *self = rt_self_check(open, "veil_block_end");
  if (!self->bracketed) {
    vm_fatal("veil_block_end: without veil_block_begin");
  }
  self->bracketed = false;
  rt_unblock(self);
  if (self->bracket_heard) {
    rt_enter(self);
    rt_end(self->heap, (rt_span){self->bracket_ns, self->bracket_heard}, RT_NOTE_BRACKET, 0, 0, 0);
    rt_leave(self);
  }
}
