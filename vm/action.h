// SPDX-License-Identifier: MIT
// action.h: a signal's action that is replaced as a whole and read without a lock, in signal handlers too.
//
// Used by chain.c and by the interposing library. One writer at a time. A reader may be in the middle of a read while several
// writers come and go, so the last few values stay where they are.

#ifndef VM_ACTION_H
#define VM_ACTION_H

#include <signal.h>
#include "vm/atomic.h"

enum { VM_ACTION_SLOTS = 8 };

// All zero is SIG_DFL.
typedef struct vm_action {
  AO_t turn;  // values set so far; the current one is in slot[turn % VM_ACTION_SLOTS]
  AO_t spent; // 1 + the turn whose SA_RESETHAND has done its work
  struct sigaction slot[VM_ACTION_SLOTS];
} vm_action;

static inline void vm_action_set(vm_action *action, const struct sigaction *value) {
  uint64_t turn = at_load(&action->turn) + 1;
  action->slot[turn % VM_ACTION_SLOTS] = *value;
  at_store_release(&action->turn, turn); // after the value
}

// The value, and its turn.
static inline uint64_t vm_action_get(const vm_action *action, struct sigaction *out) {
  for (;;) {
    uint64_t turn = at_load_acquire(&action->turn);
    *out = action->slot[turn % VM_ACTION_SLOTS];
    at_fence_full(); // the copy before the second look
    if (at_load(&action->turn) - turn < VM_ACTION_SLOTS - 1) {
      if (at_load_acquire(&action->spent) == turn + 1) {
        out->sa_handler = SIG_DFL;
        out->sa_flags &= ~SA_SIGINFO;
      }
      return turn;
    }
  }
}

// What is to be done with a signal that came: SA_RESETHAND gives the handler to one caller, and SIG_DFL to all others.
static inline void vm_action_take(vm_action *action, struct sigaction *out) {
  uint64_t turn = vm_action_get(action, out), spent = at_load(&action->spent);
  if ((out->sa_flags & SA_RESETHAND) && out->sa_handler != SIG_DFL && out->sa_handler != SIG_IGN &&
      (spent == turn + 1 || !at_cas_full(&action->spent, spent, turn + 1))) {
    out->sa_handler = SIG_DFL;
    out->sa_flags &= ~SA_SIGINFO;
  }
}

#endif
