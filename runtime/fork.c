// SPDX-License-Identifier: MIT
// fork.c: fork() of a process with heaps: a child gets a copy of each, or none.
//
// Neighbours: vm/fork.c freezes, copies and rebuilds the memory, gc/fork.c puts the collector in order, thread.c forgets the threads that are gone. The
// three handlers run in the thread that forks, attached or not, around glibc's fork. README.md has the invariant, rt.fork.

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include "runtime/futex.h"
#include "runtime/note.h"
#include "runtime/registers.h"
#include "vm/interpose.h"

// Held around fork, and while a heap opens or closes.
static pthread_mutex_t fork_lock = PTHREAD_MUTEX_INITIALIZER;
static veil_heap *volatile heaps;   // under fork_lock; a child reads it without, so it is whole at each instant
static uint32_t volatile copied;    // heaps that children get a copy of
static int gate[2];                 // a pipe: the child writes when it has copied. -1: there was none to be had
static sigset_t saved_mask;

static __thread bool under_way __attribute__((tls_model("initial-exec"))); // this thread forks, and has stopped something
static __thread unsigned working __attribute__((tls_model("initial-exec")));

static bool is_copied(const veil_heap *heap) { return heap->options.fork == VEIL_FORK_COPY; }

#define EACH_COPIED(HEAP)                                                                                              \
  for (veil_heap *HEAP = heaps; HEAP != NULL; HEAP = HEAP->next_open)                                                  \
    if (is_copied(HEAP))

// ---- The list of heaps.

void rt_fork_hold(void) {
  if (pthread_mutex_trylock(&fork_lock) == 0) {
    return;
  }
  // A fork or a stop must not wait for us, who may wait for a fork.
  sigset_t saved;
  bool others = rt_others_block(NULL, &saved);
  pthread_mutex_lock(&fork_lock);
  rt_others_unblock(others, &saved);
}

void rt_fork_release(void) { pthread_mutex_unlock(&fork_lock); }

bool rt_fork_add(veil_heap *heap) {
  if (!is_copied(heap) && !vm_fork_keep(heap->gc->region)) {
    rt_error_set("option fork: the system does not keep memory from children");
    return false;
  }
  heap->next_open = heaps;
  at_store_release((AO_t volatile *)&heaps, (uint64_t)heap);
  at32_add_full(&copied, is_copied(heap));
  return true;
}

void rt_fork_remove(veil_heap *heap) {
  for (veil_heap *volatile *at = &heaps; *at != NULL; at = &(*at)->next_open) {
    if (*at == heap) {
      at_store_release((AO_t volatile *)at, (uint64_t)heap->next_open);
      break;
    }
  }
  at32_add_full(&copied, is_copied(heap) ? (uint32_t)-1 : 0);
}

void rt_fork_lost(const veil_heap *heap, const char *function) {
  switch (heap->lost) {
  case VM_KEPT:
    return;
  case VM_LOST:
    vm_fatal("%s: this process is a child of fork for which there was no memory, or no file descriptor, to copy the heap", function);
  default:
    vm_fatal("%s: this process is a child of fork, which has no heap because the parent said fork=exec (option fork)", function);
  }
}

// ---- Work of threads that are no mutators.

void rt_work_begin(veil_heap *heap) {
  if (working++ != 0) {
    return;
  }
  for (;;) {
    at32_add_full(&heap->at_work, 1);
    if (!at32_load_acquire(&heap->pausing)) {
      return;
    }
    at32_add_full(&heap->at_work, (uint32_t)-1);
    os_wake_all(&heap->at_work);
    while (at32_load_acquire(&heap->pausing)) {
      os_wait(&heap->pausing, 1);
    }
  }
}

bool rt_work_try(veil_heap *heap) {
  if (working == 0) {
    at32_add_full(&heap->at_work, 1);
    if (at32_load_acquire(&heap->pausing)) {
      at32_add_full(&heap->at_work, (uint32_t)-1);
      os_wake_all(&heap->at_work);
      return false;
    }
  }
  working++;
  return true;
}

void rt_work_end(veil_heap *heap) {
  if (--working == 0) {
    at32_add_full(&heap->at_work, (uint32_t)-1);
    if (at32_load_acquire(&heap->pausing)) {
      os_wake_all(&heap->at_work);
    }
  }
}

void rt_work_stop(veil_heap *heap) {
  at32_store_release(&heap->pausing, 1);
  at_fence_full();
  for (uint32_t at_work; (at_work = at32_load_acquire(&heap->at_work)) != 0;) {
    os_wait(&heap->at_work, at_work);
  }
}

void rt_work_go(veil_heap *heap) {
  at32_store_release(&heap->pausing, 0);
  os_wake_all(&heap->pausing);
}

bool rt_working(void) { return working != 0; }

// ---- Before.

static rt_thread *self_of(const veil_heap *heap) {
  for (rt_thread *t = rt_here; t != NULL; t = t->next_here) {
    if (t->heap == heap) {
      return t;
    }
  }
  return NULL;
}

// Pages that stay writable while the child copies: where the kernel may be writing for a thread. A page with a mutator's buffer is not among
// them if it holds references: what was born there after the fork must not be seen from another page.
static bool spares(void *arg, size_t page) {
  veil_heap *heap = arg;
  if (gc_fork_spares(heap->gc, page)) {
    return true;
  }
  if (!rt_world_touched(heap, page)) {
    return false;
  }
  for (rt_thread *t = heap->threads; t != NULL; t = t->next) {
    for (unsigned sort = 0; sort < GC_SORTS; sort += GC_SORT_TRANSIENT) { // those with references
      const char *limit = t->open.tlab[sort].limit;
      if (limit != NULL && gc_page_at(heap->gc, (uintptr_t)limit - 1) == page) {
        return false;
      }
    }
  }
  return true;
}

static void prepare(void) {
  if (at32_load(&copied) == 0) {
    return;
  }
  rt_section_refuse("fork");
  int error = errno;
  rt_fork_hold();
  rt_segments_freeze();
  os_signals_block(&saved_mask);
  under_way = true;
  if (pipe2(gate, O_CLOEXEC) != 0) {
    gate[0] = gate[1] = -1;
  }
  // Flips with the loader's lock, all stop locks, then all scanners and services, then all mutators: nobody is waited for who waits for what we hold.
  EACH_COPIED(heap) {
    rt_thread *self = heap->fork_self = self_of(heap);
    bool runs = self != NULL && at32_load(&self->state) == RT_RUNNING; // or it is between brackets
    if (runs) {
      rt_enter(self);
      self->forks = true;
    }
    rt_stop_begin(heap, runs ? self : NULL);
  }
  EACH_COPIED(heap) { rt_work_stop(heap); }
  EACH_COPIED(heap) {
    at_store(&heap->stop_began_ns, 0); // what it takes is no pause of a flip
    rt_threads_stop(heap, heap->fork_self);
  }
  // From here on to the end no malloc and no stdio, but glibc's own.
  EACH_COPIED(heap) { vm_freeze(heap->gc->region, spares, heap); }
  EACH_COPIED(heap) {
    at32_store_release(&heap->stopping, RT_STOP_FORK);
    os_wake_all(&heap->stopping);
  }
  errno = error;
}

// The last step afterwards, when nothing of ours is held any more: here this thread may be stopped.
static void selves_leave(const sigset_t *mask) {
  under_way = false;
  for (rt_thread *t = rt_here; t != NULL; t = t->next_here) {
    if (t->forks) {
      t->forks = false;
      rt_leave(t);
    }
  }
  os_signals_restore(mask);
}

// ---- The parent.

static void child_wait(void) {
  if (gate[0] < 0) {
    return;
  }
  char byte;
  close(gate[1]);
  while (read(gate[0], &byte, 1) < 0 && errno == EINTR) {
  }
  close(gate[0]); // it has copied, or is dead, or there is none
}

static void heap_resume(veil_heap *heap) {
  vm_thaw(heap->gc->region, spares, heap);
  vm_resume(heap->gc->region);
  at32_store_release(&heap->stopping, RT_GO);
  os_wake_all(&heap->stopping);
  pthread_mutex_unlock(&heap->threads_lock);
  rt_work_go(heap);
  rt_stop_end(heap);
}

static void in_parent(void) {
  if (!under_way) {
    return;
  }
  int error = errno;
  child_wait();
  sigset_t mask = saved_mask;
  EACH_COPIED(heap) { heap_resume(heap); }
  rt_segments_thaw();
  rt_fork_release();
  selves_leave(&mask);
  errno = error;
}

// ---- The child.

static void heap_lose(veil_heap *heap, enum vm_lost how) {
  vm_fork_lose(heap->gc->region, how);
  at32_store_release(&heap->lost, how);
  at32_store(&heap->resting, 0);
  at32_store_release(&heap->stopping, RT_GO); // of a stop whose thread is gone
}

// Locks that other threads may hold or wait for, and what counts threads.
static void locks_renew(veil_heap *heap) {
  pthread_mutex_init(&heap->threads_lock, NULL);
  pthread_mutex_init(&heap->roots_lock, NULL);
  pthread_mutex_init(&heap->touch_lock, NULL);
  at32_store(&heap->stopping, RT_GO);
  at32_store(&heap->resting, 0);
  at32_store(&heap->stop_waiting, 0);
  at32_store(&heap->pausing, 0);
  at32_store(&heap->at_work, 0);
  at_store(&heap->scanners_active, 0);
  at32_store(&heap->stop_tickets, 0);
  at32_store(&heap->stop_serves, 0);
  heap->scanner_count = 0;
  heap->keeper_runs = false;
}

static void heap_adopt(veil_heap *heap) {
  if (!vm_fork_open(heap->gc->region)) {
    heap_lose(heap, VM_LOST);
    return;
  }
  locks_renew(heap);
  gc_fork_child(heap->gc);
  rt_threads_fork(heap, heap->fork_self);
  rt_starts_fork(heap);
  rt_events_fork(heap);
  if (!rt_scanners_start(heap)) {
    rt_scanners_stop(heap);
    heap_lose(heap, VM_LOST);
  } else {
    rt_finalizer_fork(heap);
    rt_restore_fork(heap);
    rt_services_fork(heap);
    rt_operator_fork(heap);
  }
}

static void in_child(void) {
  int error = errno;
  for (veil_heap *heap = heaps; heap != NULL; heap = heap->next_open) {
    if (!is_copied(heap)) {
      heap_lose(heap, VM_NO_HEIR);
    }
  }
  pthread_mutex_init(&fork_lock, NULL);
  rt_segments_fork();
  if (!under_way) {
    errno = error;
    return;
  }
  EACH_COPIED(heap) {
    if (gate[0] < 0 || !vm_fork_copy(heap->gc->region)) {
      heap_lose(heap, VM_LOST);
    }
  }
  if (gate[0] >= 0) {
    close(gate[0]);
    close(gate[1]); // the parent goes on
  }
  EACH_COPIED(heap) {
    if (!heap->lost) {
      heap_adopt(heap);
    }
  }
  sigset_t mask = saved_mask;
  selves_leave(&mask);
  errno = error;
}

// Before all others that the program or its libraries install: prepare runs last then, when nobody waits any more for a lock that a mutator
// holds; and the heaps are in order before other handlers run.
__attribute__((constructor(101))) static void install(void) {
  if (veilsig_fork != NULL) {
    veilsig_fork(); // its lock is taken after us, for we ask it for handlers
  }
  if (pthread_atfork(prepare, in_parent, in_child) != 0) {
    vm_fatal("no memory for the handlers of fork");
  }
}
