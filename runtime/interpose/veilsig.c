// SPDX-License-Identifier: MIT
// veilsig.c: libveilsig.so stands between a program and libc's signal functions, so that the program's handlers and masks and veil's
// traps and stops do not get in each other's way. Preloaded, or linked before libc.
//
// Neighbours: vm/interpose.h has the interface to the rest of veil, which finds it by weak symbols; needs nothing else of veil.
// What a program asks for a signal that veil has claimed is kept on the side and reported back to it; the kernel keeps veil's
// handler, which calls the program's. SIGSEGV, SIGBUS and, once veil has claimed it, the signal of stops are taken out of every mask
// that the program hands to the kernel, and put into those that it gets back. Any thread; signal handlers where libc's are
// allowed there.

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <unistd.h>
#include "vm/action.h"
#include "vm/interpose.h"

#define EXPORT __attribute__((visibility("default")))

enum { SIGNALS = 65 };

// ---- libc's own.

static int (*real_sigaction)(int, const struct sigaction *, struct sigaction *);
static int (*real_mask)(int, const sigset_t *, sigset_t *);
static int (*real_sigsuspend)(const sigset_t *);
static int (*real_ppoll)(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
static int (*real_pselect)(int, fd_set *, fd_set *, fd_set *, const struct timespec *, const sigset_t *);
static int (*real_epoll_pwait)(int, struct epoll_event *, int, int, const sigset_t *);
static int (*real_epoll_pwait2)(int, struct epoll_event *, int, const struct timespec *, const sigset_t *); // NULL: an old libc

static void find(void *pointer, const char *name, bool needed) {
  void *found = dlsym(RTLD_NEXT, name);
  if (found == NULL && needed) {
    static const char text[] = "veil: libveilsig finds no libc behind it\n";
    (void)!write(2, text, sizeof text - 1);
    abort();
  }
  memcpy(pointer, &found, sizeof found);
}

static pid_t own_process; // a child of vfork shares our tables, but not the kernel's

// Other libraries' constructors may call before ours runs; there is one thread then. sigaction is last: it says that all are there.
static void libc_find(void) {
  if (real_sigaction != NULL) {
    return;
  }
  own_process = getpid();
  find(&real_mask, "pthread_sigmask", true);
  find(&real_sigsuspend, "sigsuspend", true);
  find(&real_ppoll, "ppoll", true);
  find(&real_pselect, "pselect", true);
  find(&real_epoll_pwait, "epoll_pwait", true);
  find(&real_epoll_pwait2, "epoll_pwait2", false);
  find(&real_sigaction, "sigaction", true);
}

// ---- What is known.

static uint32_t volatile lock;         // held with all signals blocked: a handler may call sigaction
static uint32_t volatile claimed[SIGNALS]; // 0, or CLAIM_SHARED, CLAIM_KEPT
enum { CLAIM_SHARED = 1, CLAIM_KEPT = 2 };
static AO_t kept;                       // a bit per signal claimed as CLAIM_KEPT
static vm_action asked[SIGNALS];       // as the program asked last, through us. Written under the lock
static struct sigaction ours[SIGNALS]; // of claimed signals; under the lock
static sigset_t interrupting;          // siginterrupt; under the lock

#define BIT(SIGNO) ((uint64_t)1 << ((SIGNO)-1))

// Signals that this thread has asked to block, of those that never are.
static __thread uint64_t asked_mask __attribute__((tls_model("initial-exec")));

static void enter(sigset_t *saved) {
  sigset_t all;
  sigfillset(&all);
  real_mask(SIG_SETMASK, &all, saved);
  while (!at32_cas_full(&lock, 0, 1)) {
    sched_yield();
  }
}

static void leave(const sigset_t *saved) {
  at32_store_release(&lock, 0);
  real_mask(SIG_SETMASK, saved, NULL);
}

static sigset_t fork_saved;
static void fork_before(void) {
  sigset_t saved;
  enter(&saved);
  fork_saved = saved;
}
static void fork_parent(void) {
  sigset_t saved = fork_saved;
  leave(&saved);
}
static void fork_child(void) {
  own_process = getpid();
  fork_parent();
}

// Once, and before the runtime's own: who registers later is asked earlier, and the runtime stops threads that may want the lock, and asks for handlers.
void veilsig_fork(void) {
  static uint32_t volatile registered;
  if (at32_cas_full(&registered, 0, 1)) {
    libc_find();
    pthread_atfork(fork_before, fork_parent, fork_child);
  }
}

__attribute__((constructor(101))) static void begin(void) {
  libc_find();
  veilsig_fork();
}

// ---- Masks.

static uint64_t never_blocked(void) { return BIT(SIGSEGV) | BIT(SIGBUS) | at_load(&kept); }

static uint64_t mask_bits(const sigset_t *set) {
  uint64_t bits = 0;
  for (uint64_t left = never_blocked(); left != 0; left &= left - 1) {
    int signo = __builtin_ctzl(left) + 1;
    bits |= sigismember(set, signo) == 1 ? BIT(signo) : 0;
  }
  return bits;
}

static void mask_strip(sigset_t *set) {
  for (uint64_t left = never_blocked(); left != 0; left &= left - 1) {
    sigdelset(set, __builtin_ctzl(left) + 1);
  }
}

static void mask_fill(sigset_t *set, uint64_t bits) {
  for (; bits != 0; bits &= bits - 1) {
    sigaddset(set, __builtin_ctzl(bits) + 1);
  }
}

EXPORT int pthread_sigmask(int how, const sigset_t *set, sigset_t *previous) {
  libc_find();
  sigset_t stripped, old;
  uint64_t before = asked_mask, bits = 0;
  if (set != NULL) {
    stripped = *set;
    bits = mask_bits(set);
    if (how != SIG_UNBLOCK) {
      mask_strip(&stripped);
    }
  }
  int error = real_mask(how, set != NULL ? &stripped : NULL, &old);
  if (error != 0) {
    return error;
  }
  if (set != NULL) {
    asked_mask = how == SIG_BLOCK ? before | bits : how == SIG_UNBLOCK ? before & ~bits : bits;
  }
  if (previous != NULL) {
    mask_fill(&old, before);
    *previous = old;
  }
  return 0;
}

EXPORT int sigprocmask(int how, const sigset_t *set, sigset_t *previous) {
  int error = pthread_sigmask(how, set, previous);
  if (error != 0) {
    errno = error;
    return -1;
  }
  return 0;
}

void veilsig_thread(void) {
  libc_find();
  sigset_t now;
  real_mask(SIG_SETMASK, NULL, &now);
  uint64_t bits = mask_bits(&now);
  if (bits != 0) {
    asked_mask |= bits;
    mask_strip(&now);
    real_mask(SIG_SETMASK, &now, NULL);
  }
}

int veilsig_mask(int how, const sigset_t *set, sigset_t *previous) {
  libc_find();
  return real_mask(how, set, previous);
}

// Handlers that run while these wait have the mask that is given here.
static const sigset_t *waiting_mask(const sigset_t *mask, sigset_t *stripped) {
  libc_find();
  if (mask == NULL) {
    return NULL;
  }
  *stripped = *mask;
  mask_strip(stripped);
  return stripped;
}

EXPORT int sigsuspend(const sigset_t *mask) {
  sigset_t stripped;
  mask = waiting_mask(mask, &stripped);
  return real_sigsuspend(mask);
}

EXPORT int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask) {
  sigset_t stripped;
  mask = waiting_mask(mask, &stripped);
  return real_ppoll(fds, count, timeout, mask);
}

// What ppoll becomes with _FORTIFY_SOURCE.
EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask, size_t bytes) {
  if (bytes / sizeof *fds < count) {
    abort();
  }
  return ppoll(fds, count, timeout, mask);
}

EXPORT int pselect(int count, fd_set *in, fd_set *out, fd_set *except, const struct timespec *timeout, const sigset_t *mask) {
  sigset_t stripped;
  mask = waiting_mask(mask, &stripped);
  return real_pselect(count, in, out, except, timeout, mask);
}

EXPORT int epoll_pwait(int epoll, struct epoll_event *events, int count, int timeout, const sigset_t *mask) {
  sigset_t stripped;
  mask = waiting_mask(mask, &stripped);
  return real_epoll_pwait(epoll, events, count, timeout, mask);
}

EXPORT int epoll_pwait2(int epoll, struct epoll_event *events, int count, const struct timespec *timeout, const sigset_t *mask) {
  sigset_t stripped;
  mask = waiting_mask(mask, &stripped);
  if (real_epoll_pwait2 == NULL) {
    errno = ENOSYS;
    return -1;
  }
  return real_epoll_pwait2(epoll, events, count, timeout, mask);
}

// ---- Actions.

static bool same_handler(const struct sigaction *a, const struct sigaction *b) {
  return a->sa_handler == b->sa_handler && ((a->sa_flags ^ b->sa_flags) & SA_SIGINFO) == 0;
}

// What the kernel has, with the mask that the program asked for if it is what the program asked for.
static void report_locked(int signo, struct sigaction *now) {
  struct sigaction last;
  vm_action_get(&asked[signo], &last);
  if (same_handler(&last, now)) {
    now->sa_mask = last.sa_mask;
  }
}

static int change_locked(int signo, const struct sigaction *action, struct sigaction *previous) {
  if (at32_load(&claimed[signo]) == CLAIM_SHARED) {
    vm_action_get(&asked[signo], previous);
    if (action != NULL) {
      vm_action_set(&asked[signo], action);
    }
    return 0;
  }
  struct sigaction stripped;
  if (action != NULL) {
    stripped = *action;
    mask_strip(&stripped.sa_mask);
  }
  if (real_sigaction(signo, action != NULL ? &stripped : NULL, previous) != 0) {
    return -1;
  }
  report_locked(signo, previous);
  if (action != NULL) {
    vm_action_set(&asked[signo], action);
  }
  return 0;
}

EXPORT int sigaction(int signo, const struct sigaction *action, struct sigaction *previous) {
  libc_find();
  if (signo < 1 || signo >= SIGNALS || getpid() != own_process) {
    return real_sigaction(signo, action, previous);
  }
  if (action != NULL && at32_load(&claimed[signo]) == CLAIM_KEPT) {
    errno = EINVAL;
    return -1;
  }
  // The program's memory may be a veiled page: not touched under the lock.
  struct sigaction copy, old;
  if (action != NULL) {
    copy = *action;
  }
  sigset_t saved;
  enter(&saved);
  int result = change_locked(signo, action != NULL ? &copy : NULL, &old), error = errno;
  leave(&saved);
  if (result == 0 && previous != NULL) {
    *previous = old;
  }
  if (result != 0) {
    errno = error;
  }
  return result;
}

// ---- What veil asks.

int veilsig_action(int signo, const struct sigaction *action, struct sigaction *previous) {
  libc_find();
  return real_sigaction(signo, action, previous);
}

// Handlers that the program installed before must not run with the signal blocked either.
static void strip_all_locked(void) {
  for (int signo = 1; signo < SIGNALS; signo++) {
    struct sigaction now;
    if (at32_load(&claimed[signo]) || at_load(&asked[signo].turn) == 0 || real_sigaction(signo, NULL, &now) != 0 ||
        now.sa_handler == SIG_DFL || now.sa_handler == SIG_IGN || mask_bits(&now.sa_mask) == 0) {
      continue;
    }
    mask_strip(&now.sa_mask);
    real_sigaction(signo, &now, NULL);
  }
}

static int claim_locked(int signo, const struct sigaction *action, bool shared) {
  struct sigaction now;
  if (real_sigaction(signo, NULL, &now) != 0) {
    return -1;
  }
  bool already = at32_load(&claimed[signo]) != 0;
  if (!(already ? same_handler(&now, &ours[signo]) : same_handler(&now, action))) {
    report_locked(signo, &now);
    vm_action_set(&asked[signo], &now);
  }
  ours[signo] = *action;
  at32_store_release(&claimed[signo], shared ? CLAIM_SHARED : CLAIM_KEPT);
  if (!shared) {
    at_store_release(&kept, at_load(&kept) | BIT(signo));
    strip_all_locked();
  }
  return real_sigaction(signo, action, NULL);
}

int veilsig_claim(int signo, const struct sigaction *action, bool shared) {
  libc_find();
  sigset_t saved;
  enter(&saved);
  int result = claim_locked(signo, action, shared), error = errno;
  leave(&saved);
  errno = result != 0 ? error : errno;
  return result;
}

void veilsig_asked(int signo, struct sigaction *out, bool take) {
  if (take) {
    vm_action_take(&asked[signo], out);
  } else {
    vm_action_get(&asked[signo], out);
  }
}

// ---- The older functions, by those above. Their contracts are libc's.

typedef void (*handler_fn)(int);

static handler_fn install(int signo, handler_fn handler, int flags, bool itself) {
  if (handler == SIG_ERR || signo < 1 || signo >= SIGNALS) {
    errno = EINVAL;
    return SIG_ERR;
  }
  struct sigaction action, previous;
  memset(&action, 0, sizeof action);
  action.sa_handler = handler;
  action.sa_flags = flags;
  if (itself) {
    sigaddset(&action.sa_mask, signo);
  }
  return sigaction(signo, &action, &previous) == 0 ? previous.sa_handler : SIG_ERR;
}

EXPORT handler_fn signal(int signo, handler_fn handler) {
  bool restart = signo < 1 || signo >= SIGNALS || sigismember(&interrupting, signo) != 1;
  return install(signo, handler, restart ? SA_RESTART : 0, true);
}
EXPORT handler_fn bsd_signal(int signo, handler_fn handler) { return signal(signo, handler); }
EXPORT handler_fn ssignal(int signo, handler_fn handler) { return signal(signo, handler); }
EXPORT handler_fn sysv_signal(int signo, handler_fn handler) {
  return install(signo, handler, (int)(SA_RESETHAND | SA_NODEFER), false);
}
EXPORT handler_fn __sysv_signal(int signo, handler_fn handler) { return sysv_signal(signo, handler); }

EXPORT int siginterrupt(int signo, int interrupt) {
  struct sigaction action;
  if (sigaction(signo, NULL, &action) != 0) {
    return -1;
  }
  sigset_t saved;
  enter(&saved);
  if (interrupt) {
    sigaddset(&interrupting, signo);
    action.sa_flags &= ~SA_RESTART;
  } else {
    sigdelset(&interrupting, signo);
    action.sa_flags |= SA_RESTART;
  }
  leave(&saved);
  return sigaction(signo, &action, NULL);
}

static int change_one(int how, int signo, sigset_t *previous) {
  sigset_t set;
  sigemptyset(&set);
  return sigaddset(&set, signo) != 0 ? -1 : sigprocmask(how, &set, previous);
}
EXPORT int sighold(int signo) { return change_one(SIG_BLOCK, signo, NULL); }
EXPORT int sigrelse(int signo) { return change_one(SIG_UNBLOCK, signo, NULL); }
EXPORT int sigignore(int signo) { return install(signo, SIG_IGN, 0, false) == SIG_ERR ? -1 : 0; }

EXPORT handler_fn sigset(int signo, handler_fn disposition) {
  sigset_t before;
  struct sigaction now;
  if (disposition == SIG_HOLD) {
    if (change_one(SIG_BLOCK, signo, &before) != 0 || sigaction(signo, NULL, &now) != 0) {
      return SIG_ERR;
    }
    return sigismember(&before, signo) == 1 ? SIG_HOLD : now.sa_handler;
  }
  handler_fn previous = install(signo, disposition, 0, false);
  if (previous == SIG_ERR || change_one(SIG_UNBLOCK, signo, &before) != 0) {
    return SIG_ERR;
  }
  return sigismember(&before, signo) == 1 ? SIG_HOLD : previous;
}

// BSD's masks are the first 32 signals, as bits of an int.
static int bsd_mask(int how, const int *mask) {
  sigset_t set, previous;
  sigemptyset(&set);
  for (int signo = 1; mask != NULL && signo <= 32; signo++) {
    if ((unsigned)*mask >> (signo - 1) & 1) {
      sigaddset(&set, signo);
    }
  }
  if (sigprocmask(how, mask != NULL ? &set : NULL, &previous) != 0) {
    return -1;
  }
  unsigned old = 0;
  for (int signo = 1; signo <= 32; signo++) {
    old |= (unsigned)(sigismember(&previous, signo) == 1) << (signo - 1);
  }
  return (int)old;
}
EXPORT int sigblock(int mask) { return bsd_mask(SIG_BLOCK, &mask); }
EXPORT int sigsetmask(int mask) { return bsd_mask(SIG_SETMASK, &mask); }
EXPORT int siggetmask(void) { return bsd_mask(SIG_BLOCK, NULL); }
