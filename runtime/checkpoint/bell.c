// SPDX-License-Identifier: MIT
// bell.c: what wakes savers: requests, and signals of the process.
//
// Neighbours: saver.c waits at it. A handler may run when its checkpointer has just been closed, so bells are of static memory, and used again.

#include <errno.h>
#include <signal.h>
#include <string.h>
#include "runtime/checkpoint/inner.h"
#include "runtime/error.h"

enum { BELLS = 64 };
static cp_bell bells[BELLS];

static void rung_by_signal(int signo) {
  int saved = errno;
  for (int i = 0; i < BELLS; i++) {
    if (at32_load_acquire(&bells[i].signo) == (uint32_t)signo) {
      at32_store_release(&bells[i].asked, 1);
      cp_bell_ring(&bells[i]);
    }
  }
  errno = saved;
}

// The handler stays, since a signal may be on its way when the last checkpointer is closed, and what it did before may be to kill.
static bool signal_install(int signo) {
  struct sigaction before, action = {.sa_handler = rung_by_signal, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  if (signo < 1 || signo >= _NSIG || signo == SIGKILL || signo == SIGSTOP || signo == SIGSEGV || signo == SIGBUS || signo == SIGABRT ||
      os_handle(signo, NULL, &before) != 0) {
    rt_error_set("veil_checkpointer_open: signal %d cannot be used", signo);
    return false;
  }
  if ((before.sa_flags & SA_SIGINFO) || (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN && before.sa_handler != rung_by_signal)) {
    rt_error_set("veil_checkpointer_open: signal %d has a handler already", signo);
    return false;
  }
  if (os_handle(signo, &action, NULL) != 0) {
    rt_error_set("veil_checkpointer_open: signal %d cannot be handled", signo);
    return false;
  }
  return true;
}

cp_bell *cp_bell_take(int signo) {
  if (signo != 0 && !signal_install(signo)) {
    return NULL;
  }
  for (int i = 0; i < BELLS; i++) {
    if (at32_cas_full(&bells[i].taken, 0, 1)) {
      at32_store(&bells[i].asked, 0);
      at32_store_release(&bells[i].signo, (uint32_t)signo);
      return &bells[i];
    }
  }
  rt_error_set("veil_checkpointer_open: %d checkpointers are open already", (int)BELLS);
  return NULL;
}

void cp_bell_give(cp_bell *bell) {
  at32_store_release(&bell->signo, 0);
  at32_store_release(&bell->taken, 0);
}
