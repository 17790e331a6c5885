// SPDX-License-Identifier: MIT
// interpose.h: what the interposing library (runtime/interpose/) and the rest of veil know of each other.
//
// The library stands between the program and libc's signal functions. These are its half of the bargain: weak, so that they are NULL
// in a program without it. Any thread, signal handlers too.

#ifndef VM_INTERPOSE_H
#define VM_INTERPOSE_H

#include <signal.h>
#include <stdbool.h>

#define VM_INTERPOSE __attribute__((weak, visibility("default")))

// sigaction and pthread_sigmask as the system has them: nothing is remembered, changed or kept back.
VM_INTERPOSE int veilsig_action(int signo, const struct sigaction *action, struct sigaction *previous);
VM_INTERPOSE int veilsig_mask(int how, const sigset_t *set, sigset_t *previous);

// Makes `ours` the handler of the signal, from now on whatever the program asks for. The signal is blocked in no mask of the program's any more.
// What another handler was there for counts as what the program asked for. `shared`: the program may go on asking, and veilsig_asked answers;
// otherwise its attempts fail with EINVAL, as they do for the signals that libc keeps for itself. May be called again, to put `ours` back.
// 0, or -1 with errno set.
VM_INTERPOSE int veilsig_claim(int signo, const struct sigaction *ours, bool shared);

// What the program wants done with a claimed signal. `take`: it came now, so SA_RESETHAND does its work.
VM_INTERPOSE void veilsig_asked(int signo, struct sigaction *out, bool take);

// The calling thread begins to touch objects: claimed signals that it has blocked are unblocked, and remembered as asked for.
VM_INTERPOSE void veilsig_thread(void);

// Registers the library's handlers of fork, unless that is done: called before the runtime registers its own.
VM_INTERPOSE void veilsig_fork(void);

#endif
