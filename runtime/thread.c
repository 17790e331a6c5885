// SPDX-License-Identifier: MIT
// thread.c: mutators come and go at any time.
//
// A thread is on its heap's list from attach to detach. A stop holds the list's lock from beginning to end, so an
// attaching thread waits it out; a detaching one is blocked while it waits.

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "runtime/note.h"
#include "runtime/registers.h"
#include "veil/roots.h"
#include "vm/os.h"

#define SIGNATURE_LIVE 0x7665696c2d6f6b21ull
#define SIGNATURE_DEAD 0x7665696c64656164ull

enum { DEAD_KEPT = 64 }; // structures of detached threads, so that use after detaching is seen

__thread rt_thread *rt_here __attribute__((tls_model("initial-exec")));

static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;

// What a thread that comes in again and again keeps (veil_enter): a structure, and where its stack is.
static __thread rt_thread *spare;
static __thread char *spare_low, *spare_base;

static void detach(rt_thread *self);

static void roots_free(rt_roots *roots) {
  while (roots != NULL) {
    rt_roots *next = roots->next;
    free(roots);
    roots = next;
  }
}

// A thread ends without detaching.
static void thread_exits(void *unused) {
  (void)unused;
  rt_section_refuse("the end of this thread");
  while (rt_here != NULL) {
    detach(rt_here);
  }
  free(spare);
  spare = NULL;
}

static void exit_key_make(void) {
  if (pthread_key_create(&exit_key, thread_exits) != 0) {
    vm_fatal("no thread key left to notice the end of threads");
  }
}

static bool stack_find(rt_thread *self) {
  pthread_attr_t attr;
  void *low;
  size_t bytes;
  if (pthread_getattr_np(pthread_self(), &attr) != 0) {
    return false;
  }
  bool ok = pthread_attr_getstack(&attr, &low, &bytes) == 0;
  pthread_attr_destroy(&attr);
  self->stack_low = low;
  self->stack_base = (char *)low + bytes;
  return ok;
}

static rt_thread *find_here(const veil_heap *heap) {
  rt_thread *t = rt_here;
  while (t != NULL && t->heap != heap) {
    t = t->next_here;
  }
  return t;
}

static rt_thread *structure_take(bool came_in) {
  rt_thread *self = came_in ? spare : NULL;
  if (self != NULL) {
    spare = NULL;
    memset(self, 0, sizeof *self);
    self->stack_low = spare_low;
    self->stack_base = spare_base;
  } else {
    self = calloc(1, sizeof *self);
    if (self == NULL || !stack_find(self)) {
      rt_error_set("no memory for a thread, or its stack cannot be found");
      free(self);
      return NULL;
    }
  }
  self->came_in = came_in;
  return self;
}

static veil_thread *attach(veil_heap *heap, bool came_in) {
  pthread_once(&exit_once, exit_key_make);
  rt_thread *self = structure_take(came_in);
  if (self == NULL) {
    return NULL;
  }
  self->native.sp = self->stack_base;
  self->signature = SIGNATURE_LIVE;
  self->heap = heap;
  self->pthread = pthread_self();
  self->tid = (pid_t)syscall(SYS_gettid);
  for (int i = 0; i < GC_SORTS; i++) {
    self->lane[i].block = self->medium[i].block = GC_NONE;
  }
  self->random = heap->options.seed ^ ((uint64_t)self->tid << 32 | 1);
  if (pthread_setspecific(exit_key, (void *)1) != 0) {
    rt_error_set("no memory to notice the end of this thread");
    free(self);
    return NULL;
  }
  rt_trace_begin(heap);
  sigset_t saved;
  bool others = rt_others_block(NULL, &saved);
  os_unblock_claimed();
  pthread_mutex_lock(&heap->threads_lock); // waits out a stop
  bool full = (heap->thread_count + 1) * 2 > GC_FLOORS;
  if (!full) {
    self->next = heap->threads;
    heap->threads = self;
    at32_store(&heap->thread_count, heap->thread_count + 1);
    self->next_here = rt_here;
    rt_here = self; // before the lock goes: a stop signal has to find it
  }
  pthread_mutex_unlock(&heap->threads_lock);
  rt_others_unblock(others, &saved);
  if (full) {
    rt_error_set("more than %d threads attached to one heap", GC_FLOORS / 2);
    rt_trace_end(heap);
    free(self);
    return NULL;
  }
  at_add(&heap->threads_attached, 1);
  rt_note_ordinary(self, RT_NOTE_ATTACHED);
  return &self->open;
}

RT_EXPORT veil_thread *veil_attach(veil_heap *heap) {
  rt_fork_lost(heap, "veil_attach");
  rt_section_refuse("veil_attach");
  if (find_here(heap) != NULL) {
    rt_error_set("this thread is attached to the heap already");
    return NULL;
  }
  return attach(heap, false);
}

// The structure stays for a while, without a buffer: the first allocation after detaching goes the slow way and is seen. Returns the one that was kept
// longest.
static rt_thread *dead_keep_locked(veil_heap *heap, rt_thread *self) {
  self->next = heap->dead;
  heap->dead = self;
  rt_thread *last = self;
  for (int i = 0; last != NULL && i < DEAD_KEPT; i++) {
    last = last->next;
  }
  rt_thread *oldest = NULL;
  if (last != NULL) {
    oldest = last->next;
    last->next = NULL;
  }
  return oldest;
}

static void detach(rt_thread *self) {
  veil_heap *heap = self->heap;
  rt_note_ordinary(self, RT_NOTE_DETACHED);
  if (heap->lost) {
    rt_here = self->next_here; // the thread ends, in a child that has no copy of the heap: nothing of it may be touched
    return;
  }
  rt_enter(self);
  while (self->touch_count) {
    veil_untouch(&self->open, (void *)at_load(&heap->touched[self->touches[0]].base));
  }
  // The buffers first: they would count as ours at a flip, while others allocate in them already.
  for (unsigned sort = 0; sort < GC_SORTS; sort++) {
    gc_buffer_leave(heap->gc, self->tlab_start[sort], self->open.tlab[sort].free);
  }
  memset(&self->open, 0, sizeof self->open);
  for (unsigned sort = 0; sort < GC_SORTS; sort++) {
    self->tlab_start[sort] = NULL;
    gc_lane_drop(heap->gc, &self->lane[sort], sort);
    gc_lane_drop(heap->gc, &self->medium[sort], sort);
  }
  pthread_mutex_lock(&heap->roots_lock);
  rt_stacks_abandon(self);
  pthread_mutex_unlock(&heap->roots_lock);
  // Blocked with nothing on its stack: a stop under way need not wait.
  self->stopped_sp = self->stack_base;
  memset(self->registers, 0, sizeof self->registers);
  self->alt_base = self->alt_limit = NULL;
  at32_store_release(&self->state, RT_BLOCKED);
  os_wake_all(&self->state);
  sigset_t saved;
  bool others = rt_others_block(self, &saved);
  pthread_mutex_lock(&heap->threads_lock);
  for (rt_thread **at = &heap->threads; *at != NULL; at = &(*at)->next) {
    if (*at == self) {
      *at = self->next;
      break;
    }
  }
  for (rt_thread **at = &rt_here; *at != NULL; at = &(*at)->next_here) {
    if (*at == self) {
      *at = self->next_here;
      break;
    }
  }
  at32_store(&heap->thread_count, heap->thread_count - 1);
  rt_roots *roots = self->own_roots;
  self->own_roots = NULL;
  self->signature = SIGNATURE_DEAD;
  rt_thread *oldest = NULL;
  if (self->came_in && spare == NULL) {
    spare = self;
    spare_low = self->stack_low;
    spare_base = self->stack_base;
  } else {
    oldest = dead_keep_locked(heap, self);
  }
  pthread_mutex_unlock(&heap->threads_lock);
  rt_others_unblock(others, &saved);
  rt_trace_end(heap);
  roots_free(roots);
  while (oldest != NULL) { // one, or after a fork several
    rt_thread *next = oldest->next;
    rt_thread_free(oldest);
    oldest = next;
  }
}

void rt_thread_free(rt_thread *t) {
  roots_free(t->own_roots);
  free(t);
}

// As for a thread that detaches; what it had on its stack is gone with it.
static void thread_forget(veil_heap *heap, rt_thread *t) {
  for (unsigned i = 0; i < t->touch_count; i++) {
    at_store(&heap->touched[t->touches[i]].base, 0);
  }
  for (unsigned sort = 0; sort < GC_SORTS; sort++) {
    if (t->tlab_start[sort] != NULL) {
      gc_fork_buffer(heap->gc, t->tlab_start[sort], t->open.tlab[sort].limit);
    }
    gc_lane_drop(heap->gc, &t->lane[sort], sort);
    gc_lane_drop(heap->gc, &t->medium[sort], sort);
  }
  memset(&t->open, 0, sizeof t->open);
  rt_stacks_abandon(t);
  t->signature = SIGNATURE_DEAD;
}

// Structures stay, so that a use of them is seen: freeing needs locks that the program may not have in order yet.
void rt_threads_fork(veil_heap *heap, rt_thread *self) {
  for (rt_thread *t = heap->threads, *next; t != NULL; t = next) {
    next = t->next;
    if (t == self) {
      continue;
    }
    thread_forget(heap, t);
    t->next = heap->dead;
    heap->dead = t;
  }
  heap->threads = self;
  at32_store(&heap->thread_count, self != NULL);
  if (self != NULL) {
    self->next = NULL;
    self->tid = (pid_t)syscall(SYS_gettid);
  }
}

rt_thread *rt_self_check(veil_thread *open, const char *function) {
  rt_thread *self = (rt_thread *)open;
  if (self == NULL || self->signature != SIGNATURE_LIVE) {
    vm_fatal("%s: %p is %s", function, (void *)self,
             self != NULL && self->signature == SIGNATURE_DEAD ? "detached already" : "not an attached thread");
  }
  rt_fork_lost(self->heap, function);
  if (!pthread_equal(self->pthread, pthread_self())) {
    vm_fatal("%s: %p belongs to another thread: each thread attaches itself", function, (void *)self);
  }
  return self;
}

rt_thread *rt_self_steady(veil_thread *open, const char *function) {
  rt_thread *self = rt_self_check(open, function);
  if (self->bracketed) {
    vm_fatal("%s: between veil_block_begin and veil_block_end", function);
  }
  return self;
}

rt_thread *rt_self_use(veil_thread *open, const char *function) {
  rt_thread *self = rt_self_steady(open, function);
  rt_section_refuse(function);
  return self;
}

RT_EXPORT void veil_detach(veil_thread *open) {
  rt_thread *self = rt_self_use(open, "veil_detach");
  if (self->entered != 0) {
    vm_fatal("veil_detach: veil_enter was called %u times more than veil_leave", self->entered);
  }
  if (self->stack != NULL) {
    vm_fatal("veil_detach: the thread runs on a registered stack: switch back first (veil_stack_switch)");
  }
  detach(self);
}

RT_EXPORT veil_thread *veil_enter(veil_heap *heap) {
  rt_fork_lost(heap, "veil_enter");
  rt_section_refuse("veil_enter");
  rt_thread *self = find_here(heap);
  if (self == NULL) {
    self = (rt_thread *)attach(heap, true);
    if (self == NULL) {
      return NULL;
    }
  }
  self->entered++;
  if (self->bracketed) {
    if (self->interrupted_count == RT_INTERRUPTED) {
      vm_fatal("veil_enter: called back in more than %d brackets, one in the other", RT_INTERRUPTED);
    }
    // The caller of veil_block_begin goes on with the registers and the stack that it had: what they hold lies in frames meanwhile.
    rt_interrupted *at = &self->interrupted[self->interrupted_count++];
    at->entered = self->entered;
    at->left.sp = self->stopped_sp;
    memcpy(at->left.registers, self->registers, sizeof at->left.registers);
    veil_block_end(&self->open);
  }
  return &self->open;
}

RT_EXPORT void veil_leave(veil_thread *open) {
  rt_thread *self = rt_self_use(open, "veil_leave");
  if (self->entered == 0) {
    vm_fatal("veil_leave: without veil_enter");
  }
  if (self->interrupted_count != 0 && self->interrupted[self->interrupted_count - 1].entered == self->entered) {
    rt_interrupted *at = &self->interrupted[--self->interrupted_count];
    self->bracketed = true;
    self->entered--;
    rt_block_again(self, &at->left);
  } else if (--self->entered == 0 && self->came_in) {
    if (self->stack != NULL) {
      vm_fatal("veil_leave: the thread runs on a registered stack: switch back first (veil_stack_switch)");
    }
    detach(self);
  }
}

RT_EXPORT veil_heap *veil_thread_heap(veil_thread *open) { return ((rt_thread *)open)->heap; }
