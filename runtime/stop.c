// SPDX-License-Identifier: MIT
// stop.c: mutators are stopped by a signal or stop themselves, and show where their roots are.
//
// The protocol: the stopper sets `stopping`, then reads each thread's state; a thread that starts to run mutator code sets its
// state to RUNNING, then reads `stopping`. With a full fence on both sides one of them sees the other. A thread in a critical
// section is not stopped: its handler returns at once, and it parks when it leaves. Nor is one in a trap: the trap handler of
// vm blocks the stop signal.

#include <errno.h>
#include <sched.h>
#include <string.h>
#include "runtime/futex.h"
#include "runtime/registers.h"

enum { PATIENCE_MS = 50 }; // for a thread that is to stop, before it is (again) sent a signal

static void span_record(veil_heap *heap) {
  uint64_t span = vm_now() - at_load(&heap->stop_began_ns);
  for (;;) {
    uint64_t max = at_load(&heap->stop_span_ns);
    if (span <= max || at_cas_full(&heap->stop_span_ns, max, span)) {
      return;
    }
  }
}

static bool is_wanted(const rt_thread *t, bool by_signal) {
  uint32_t stopping = at32_load_acquire(&t->heap->stopping);
  return stopping == RT_STOP || (stopping == RT_STOP_FORK && !by_signal);
}

// The attachments that stand still with `self`: those in the middle of something do not, nor those that are blocked anyway.
static bool parks_with(const rt_thread *self, const rt_thread *t) {
  return t == self || (t->critical == 0 && at32_load(&t->state) != RT_BLOCKED);
}

static void state_set(rt_thread *self, rt_state state) {
  for (rt_thread *t = rt_here; t != NULL; t = t->next_here) {
    if (parks_with(self, t)) {
      at32_store_release(&t->state, state);
      os_wake_all(&t->state);
    }
  }
}

// The attachment for which a stop is wanted, or NULL.
static rt_thread *wanted_find(const rt_thread *self, bool by_signal) {
  for (rt_thread *t = rt_here; t != NULL; t = t->next_here) {
    if (parks_with(self, t) && is_wanted(t, by_signal)) {
      return t;
    }
  }
  return NULL;
}

// Waits until no stop is wanted. The caller's roots lie at and above self->stopped_sp, and in self->registers. A thread that stands still for
// one heap does so for all: who stops several would wait for ever. `by_signal`: it may hold any lock of the program's, so it goes on while the process
// forks (rt.fork).
static void park(rt_thread *self, bool by_signal) {
  veil_heap *heap = self->heap;
  bool forks = false;
  for (rt_thread *t = rt_here; t != NULL; t = t->next_here) {
    if (t != self && parks_with(self, t)) {
      t->stopped_sp = rt_registers_save(t->registers);
      t->alt_base = t->alt_limit = NULL;
      if (by_signal) { // registers are in the signal's frame
        t->stopped_sp = self->stopped_sp;
        t->alt_base = self->alt_base;
        t->alt_limit = self->alt_limit;
      }
    }
  }
  rt_thread *wanted;
  do {
    state_set(self, RT_STOPPED);
    while ((wanted = wanted_find(self, by_signal)) != NULL) {
      uint32_t stopping = at32_load(&wanted->heap->stopping);
      forks |= stopping == RT_STOP_FORK;
      if (stopping != RT_GO && !(by_signal && stopping == RT_STOP_FORK)) {
        os_wait(&wanted->heap->stopping, stopping);
      }
    }
    forks |= at32_load(&heap->stopping) == RT_STOP_FORK;
    state_set(self, RT_RUNNING);
    at_fence_full();
  } while (wanted_find(self, by_signal) != NULL);
  if (!forks) {
    span_record(heap);
  }
}

// A critical section begins while the process forks: not before that is over.
__attribute__((noinline, cold)) void rt_fork_wait(rt_thread *self) {
  while (self->critical == 1 && at32_load_acquire(&self->heap->stopping) == RT_STOP_FORK) {
    os_wait(&self->heap->stopping, RT_STOP_FORK);
  }
}

void rt_signals_block(sigset_t *saved) {
  sigset_t all;
  sigfillset(&all);
  sigdelset(&all, SIGSEGV);
  sigdelset(&all, SIGBUS);
  sigdelset(&all, SIGILL);
  sigdelset(&all, SIGFPE);
  pthread_sigmask(SIG_BLOCK, &all, saved);
}

void rt_signals_restore(const sigset_t *saved) { pthread_sigmask(SIG_SETMASK, saved, NULL); }

__attribute__((noinline)) void rt_safepoint(rt_thread *self) {
  if (wanted_find(self, false) == NULL) {
    return;
  }
  // A handler of the program must not load references in a thread that counts as stopped. Our own must not run either: it
  // would write what the stopper reads.
  sigset_t saved;
  rt_enter(self);
  rt_signals_block(&saved);
  self->stopped_sp = rt_registers_save(self->registers);
  self->alt_base = self->alt_limit = NULL;
  park(self, false);
  self->critical--; // before a signal that waits comes: refused, it would not come again
  rt_signals_restore(&saved);
}

__attribute__((noinline)) void rt_leave(rt_thread *self) {
  __asm__ volatile("" ::: "memory");
  self->critical--;
  __asm__ volatile("" ::: "memory");
  // For another heap it may be in the middle of something that who stops several heaps waits for.
  for (rt_thread *t = rt_here; t != NULL; t = t->next_here) {
    if (t->critical != 0) {
      return;
    }
  }
  rt_safepoint(self);
}

// The rest of rt_block: the registers are saved.
void rt_block_saved(rt_thread *self, uintptr_t *saved) {
  rt_enter(self); // stopped half-way, our handler would leave the registers of its own moment here
  memcpy(self->registers, saved + 1, 6 * sizeof *saved);
  self->stopped_sp = saved + 7;
  self->alt_base = self->alt_limit = NULL;
  at32_store_release(&self->state, RT_BLOCKED);
  at_fence_full();
  os_wake_all(&self->state);
  self->critical--;
}

void rt_unblock(rt_thread *self) {
  // Our handler must not overwrite what a stopper may be reading, so this is a critical section.
  rt_enter(self);
  at32_store_release(&self->state, RT_RUNNING);
  at_fence_full();
  if (at32_load_acquire(&self->heap->stopping)) {
    // Registers and stack count as rt_block saved them: no reference was loaded since.
    sigset_t saved;
    rt_signals_block(&saved);
    park(self, false);
    rt_signals_restore(&saved);
  }
  rt_leave(self);
}

// Which stack the handler runs on: the thread's own, or an alternate one, whose interrupted owner is then found below.
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
  // The frame of the signal that switched stacks holds the old stack pointer: the lowest word on the alternate stack that
  // points into the thread's own stack is at or below it.
  char *lowest = self->stack_base;
  for (uintptr_t *at = (uintptr_t *)self->alt_base; at != NULL && (char *)(at + 1) <= self->alt_limit; at++) {
    if (*at >= (uintptr_t)self->stack_low && *at < (uintptr_t)lowest) {
      lowest = (char *)*at;
    }
  }
  self->stopped_sp = lowest - self->stack_low > 128 ? lowest - 128 : self->stack_low;
}

// Registers, vector registers too, lie in the signal frame, above this function's own frame.
static void stop_handler(int signo, siginfo_t *info, void *context) {
  (void)signo, (void)info, (void)context;
  int saved = errno;
  if (vm_trapping()) {
    return; // it may hold a page. The mask says so too, but not to a signal that a sanitizer kept back
  }
  for (rt_thread *self = rt_here; self != NULL; self = self->next_here) {
    if (self->critical != 0) {
      return; // for one heap it may hold locks that who stops several heaps waits for
    }
  }
  for (rt_thread *self = rt_here; self != NULL; self = self->next_here) {
    if (self->state == RT_RUNNING && at32_load_acquire(&self->heap->stopping) == RT_STOP) {
      stack_note(self, rt_registers_save(self->registers));
      park(self, true);
    }
  }
  errno = saved;
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
  if (sigaction(signo, NULL, &old) != 0) {
    rt_error_set("option stop_signal: signal %d cannot be handled", signo);
    return false;
  }
  if (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN && old.sa_sigaction != stop_handler) {
    rt_error_set("option stop_signal: signal %d has a handler already", signo);
    return false;
  }
  if (sigaction(signo, &action, NULL) != 0) {
    rt_error_set("option stop_signal: signal %d cannot be handled", signo);
    return false;
  }
  return true;
}

void rt_stop_begin(veil_heap *heap, rt_thread *self) {
  while (!at_cas_full(&heap->stop_lock, 0, 1)) {
    if (self != NULL) {
      rt_safepoint(self); // whoever has the lock may be stopping us
    }
    sched_yield();
  }
}

void rt_stop_end(veil_heap *heap) { at_store_release(&heap->stop_lock, 0); }

static void stop_signal_send(veil_heap *heap, const rt_thread *self) {
  for (rt_thread *t = heap->threads; t != NULL; t = t->next) {
    if (t != self && at32_load_acquire(&t->state) == RT_RUNNING) {
      syscall(SYS_tgkill, getpid(), t->tid, heap->options.stop_signal);
    }
  }
}

void rt_stop_world(veil_heap *heap, rt_thread *self) {
  // No handler of the program runs in this thread between two spaces.
  rt_signals_block(&heap->stop_saved_mask);
  rt_threads_stop(heap, self);
}

void rt_threads_stop(veil_heap *heap, rt_thread *self) {
  pthread_mutex_lock(&heap->threads_lock);
  at_store(&heap->stop_began_ns, vm_now());
  at_store(&heap->stop_span_ns, 0);
  at32_store_release(&heap->stopping, RT_STOP);
  at_fence_full();
  if (heap->options.stop == VEIL_STOP_SIGNAL) {
    stop_signal_send(heap, self);
  }
  for (rt_thread *t = heap->threads; t != NULL; t = t->next) {
    for (unsigned spins = 0; t != self && at32_load_acquire(&t->state) == RT_RUNNING; spins++) {
      if (spins > 100) {
        rt_wait(&t->state, RT_RUNNING, PATIENCE_MS);
        // A thread that does not poll, or that keeps our signal blocked for a while, is asked once more.
        stop_signal_send(heap, self);
      }
    }
  }
}

void rt_resume_world(veil_heap *heap, rt_thread *self) {
  (void)self;
  at32_store_release(&heap->stopping, RT_GO);
  os_wake_all(&heap->stopping);
  span_record(heap);
  pthread_mutex_unlock(&heap->threads_lock);
  rt_signals_restore(&heap->stop_saved_mask);
}

RT_EXPORT void veil_poll(veil_thread *open) {
  rt_thread *self = (rt_thread *)open;
  if (__builtin_expect(at32_load(&self->heap->stopping) != 0, 0)) {
    rt_safepoint(rt_self_check(open, "veil_poll"));
  }
}

// The rest of veil_block_begin.
void rt_bracket_begin(veil_thread *open, uintptr_t *saved) {
  rt_thread *self = rt_self_check(open, "veil_block_begin");
  if (self->bracketed) {
    vm_fatal("veil_block_begin: brackets do not nest");
  }
  self->bracketed = true;
  rt_block_saved(self, saved);
}

RT_EXPORT void veil_block_end(veil_thread *open) {
  rt_thread *self = rt_self_check(open, "veil_block_end");
  if (!self->bracketed) {
    vm_fatal("veil_block_end: without veil_block_begin");
  }
  self->bracketed = false;
  rt_unblock(self);
}
