// SPDX-License-Identifier: MIT
// operator.c: heap dumps for who is outside of the program: by a signal, if the option `dump` names a file.
//
// The signal's handler only counts; a thread of ours, a mutator that is BLOCKED while nothing is asked, dumps. It is
// started anew in a child of fork, and joined by veil_close before that asks whether threads are attached.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include "runtime/futex.h"
#include "runtime/runtime.h"
#include "veil/dump.h"

// Of the process.
static uint32_t volatile asked;   // counts signals
static uint32_t volatile wake;    // changes with that, and when a heap closes: what the threads wait for
static uint32_t volatile numbers; // of dumps

static void asked_handler(int signo) {
  (void)signo;
  int saved = errno;
  at32_add_full(&asked, 1);
  rt_post(&wake);
  errno = saved;
}

static bool signal_install(int signo) {
  struct sigaction old, action;
  memset(&action, 0, sizeof action);
  action.sa_handler = asked_handler;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  if (os_handle(signo, NULL, &old) != 0 || signo == SIGKILL || signo == SIGSTOP || signo == SIGSEGV ||
      signo == SIGBUS || signo == SIGABRT) {
    rt_error_set("option dump_signal: signal %d cannot be used", signo);
    return false;
  }
  if ((old.sa_flags & SA_SIGINFO) ||
      (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN && old.sa_handler != asked_handler)) {
    rt_error_set("option dump_signal: signal %d has a handler already", signo);
    return false;
  }
  if (os_handle(signo, &action, NULL) != 0) {
    rt_error_set("option dump_signal: signal %d cannot be handled", signo);
    return false;
  }
  return true;
}

// %p is the process's number, %n the dump's.
static void path_make(const char *pattern, char *to, size_t bytes) {
  unsigned number = at32_add_full(&numbers, 1) + 1;
  size_t used = 0;
  for (; *pattern != 0 && used + 12 < bytes; pattern++) {
    if (pattern[0] == '%' && (pattern[1] == 'p' || pattern[1] == 'n')) {
      used += (size_t)snprintf(to + used, bytes - used, "%u", pattern[1] == 'p' ? (unsigned)getpid() : number);
      pattern++;
    } else {
      to[used++] = *pattern;
    }
  }
  to[used] = 0;
}

static void dump_now(veil_heap *heap, veil_thread *self) {
  char path[1200];
  path_make(heap->dump_pattern, path, sizeof path);
  if (veil_heap_dump(self, path, 0) == VEIL_OK) {
    dprintf(STDERR_FILENO, "veil: a heap dump is in %s\n", path);
  } else {
    dprintf(STDERR_FILENO, "veil: no heap dump: %s\n", veil_error());
  }
}

static void asked_wait(rt_thread *t, uint32_t seen) {
  sigset_t saved;
  rt_enter(t);
  os_signals_block(&saved);
  rt_block(t);
  rt_wait(&wake, seen, 0);
  rt_unblock(t);
  os_signals_restore(&saved);
  rt_leave(t);
}

static void *dumper_main(void *arg) {
  veil_heap *heap = arg;
  prctl(PR_SET_NAME, "veil-dumper");
  uint32_t done = heap->dumper_seen;
  veil_thread *self = veil_attach(heap);
  while (self != NULL && !at32_load_acquire(&heap->dumper_closing)) {
    uint32_t seen = at32_load_acquire(&wake), now = at32_load_acquire(&asked);
    if (now != done) {
      done = now; // signals that come meanwhile are one request
      dump_now(heap, self);
    } else if (!at32_load_acquire(&heap->dumper_closing)) {
      asked_wait((rt_thread *)self, seen);
    }
  }
  if (self != NULL) {
    veil_detach(self);
  }
  return NULL;
}

static bool dumper_start(veil_heap *heap) {
  sigset_t saved;
  heap->dumper_seen = at32_load_acquire(&asked);
  os_signals_block(&saved);
  int error = pthread_create(&heap->dumper, NULL, dumper_main, heap);
  os_signals_restore(&saved);
  if (error != 0) {
    rt_error_set("option dump: cannot start a thread: %s", strerror(error));
  }
  heap->dumper_runs = error == 0;
  return error == 0;
}

bool rt_operator_start(veil_heap *heap) {
  if (heap->options.dump == NULL) {
    return true;
  }
  heap->dump_pattern = strdup(heap->options.dump);
  if (heap->dump_pattern == NULL) {
    rt_error_set("option dump: no memory");
    return false;
  }
  return signal_install(heap->options.dump_signal) && dumper_start(heap);
}

void rt_operator_fork(veil_heap *heap) {
  if (heap->dumper_runs) {
    dumper_start(heap);
  }
}

void rt_operator_stop(veil_heap *heap) {
  if (heap->dumper_runs) {
    at32_store_release(&heap->dumper_closing, 1);
    rt_post(&wake);
    pthread_join(heap->dumper, NULL);
    heap->dumper_runs = false;
  }
  free(heap->dump_pattern);
  heap->dump_pattern = NULL;
}
