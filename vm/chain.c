// SPDX-License-Identifier: MIT
// chain.c: a fault that is not ours goes to whoever handled the signal before, as if we were not there.
//
// Neighbours: trap.c decides whose fault it is, and says who was there before; interpose.h: or the interposing library does. Runs in
// signal handlers, in the thread that faulted. Handlers of the program run from here, and may leave by siglongjmp.

#include "vm/action.h"
#include "vm/backend.h"
#include "vm/interpose.h"
#include "vm/os.h"

#include <string.h>

// What we replaced last, and what was there before veil. Written under trap.c's lock.
static struct chain {
  int signo;
  bool trapping; // a trap may come by this signal
  bool known;    // `first` is
  vm_action previous, first;
} chains[] = {{.signo = SIGSEGV}, {.signo = SIGBUS}};

enum { CHAINS = sizeof chains / sizeof chains[0] };

static struct chain *chain_of(int signo) { return signo == SIGSEGV ? &chains[0] : &chains[1]; }

void vm_chain_set(int signo, const struct sigaction *previous) {
  struct chain *chain = chain_of(signo);
  vm_action_set(&chain->previous, previous);
  if (!chain->known) {
    vm_action_set(&chain->first, previous);
  }
  chain->known = chain->trapping = true;
}

// ---- Handlers that run now.

// trap.held: a handler of the program runs with the signals of traps unblocked, for it may touch objects. What the kernel would have
// blocked is noted here, so that a fault of its own kills it as it would. The note counts while the handler is active: while the stack is
// below the frame of its signal, which still has our mark, and `marker` is blocked, which it is not outside. A handler that leaves by
// siglongjmp unblocks it thereby.
struct held {
  const ucontext_t *context;
  sigset_t signals;
  int marker;
};

enum { HELD = 4 }; // handlers within handlers; one deeper gets the mask that the kernel would have given it

static _Thread_local struct {
  volatile unsigned count;
  struct held held[HELD];
} holding __attribute__((tls_model("initial-exec")));

static ucontext_t passed_once, passed_twice;

static bool on_alternate(const ucontext_t *context, uintptr_t address) {
  uintptr_t base = (uintptr_t)context->uc_stack.ss_sp;
  return !(context->uc_stack.ss_flags & SS_DISABLE) && address >= base && address - base < context->uc_stack.ss_size;
}

static bool held_is_active(const struct held *held, const ucontext_t *context) {
  uintptr_t sp = (uintptr_t)context->uc_mcontext.gregs[REG_RSP], frame = (uintptr_t)held->context;
  if (!sigismember(&context->uc_sigmask, held->marker) || sp >= frame ||
      on_alternate(context, sp) != on_alternate(context, frame) || !os_readable(&held->context->uc_link)) {
    return false;
  }
  return held->context->uc_link == &passed_once || held->context->uc_link == &passed_twice;
}

// Whether the kernel would have found the signal blocked by a handler that is active.
static bool is_held(int signo, const ucontext_t *context) {
  while (holding.count > 0 && !held_is_active(&holding.held[holding.count - 1], context)) {
    holding.count--; // it was left by a jump
  }
  for (unsigned i = 0; i < holding.count; i++) {
    if (sigismember(&holding.held[i].signals, signo)) {
      return true;
    }
  }
  return false;
}

// A signal that nobody will miss for a while, and that is not blocked outside of the handler: 0 if there is none.
static int marker_choose(const sigset_t *outside) {
  static const int candidates[] = {SIGSTKFLT, SIGPWR, SIGXFSZ, SIGVTALRM, SIGTRAP};
  for (size_t i = 0; i < sizeof candidates / sizeof candidates[0]; i++) {
    if (!sigismember(outside, candidates[i])) {
      return candidates[i];
    }
  }
  return 0;
}

// Takes the signals of traps out of the mask that a handler is to run with. Whether there is something to undo.
static bool hold(sigset_t *mask, const ucontext_t *context) {
  sigset_t signals;
  sigemptyset(&signals);
  bool any = false;
  for (size_t i = 0; i < CHAINS; i++) {
    if (chains[i].trapping && sigismember(mask, chains[i].signo)) {
      sigaddset(&signals, chains[i].signo);
      any = true;
    }
  }
  int marker = marker_choose(&context->uc_sigmask);
  if (!any || marker == 0 || holding.count == HELD) {
    return false;
  }
  holding.held[holding.count] = (struct held){.context = context, .signals = signals, .marker = marker};
  __asm__ volatile("" ::: "memory"); // a fault in between sees the note whole
  holding.count++;
  for (size_t i = 0; i < CHAINS; i++) {
    if (sigismember(&signals, chains[i].signo)) {
      sigdelset(mask, chains[i].signo);
    }
  }
  sigaddset(mask, marker);
  return true;
}

// ---- Passing on.

static void die_as_before(int signo, const siginfo_t *info) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = SIG_DFL;
  os_handle(signo, &action, NULL);
  if (info->si_code <= 0) {
    raise(signo); // sent, not a fault: returning would not bring it again
  }
}

// Calls the handler with the signal mask that the kernel would have given it, but for what traps need.
static void call_handler(const struct sigaction *action, int signo, siginfo_t *info, ucontext_t *context) {
  sigset_t mask = context->uc_sigmask, ours;
  sigorset(&mask, &mask, &action->sa_mask);
  if (!(action->sa_flags & SA_NODEFER)) {
    sigaddset(&mask, signo);
  }
  unsigned count = holding.count;
  hold(&mask, context);
  os_mask(SIG_SETMASK, &mask, &ours);
  if (action->sa_flags & SA_SIGINFO) {
    action->sa_sigaction(signo, info, context);
  } else {
    action->sa_handler(signo);
  }
  os_mask(SIG_SETMASK, &ours, NULL);
  holding.count = count;
}

static void action_of(struct chain *chain, bool again, struct sigaction *out) {
  if (again) {
    vm_action_take(&chain->first, out);
  } else if (veilsig_asked != NULL) {
    veilsig_asked(chain->signo, out, true);
  } else {
    vm_action_take(&chain->previous, out);
  }
}

// trap.chain: the mark is in the one field of the context that the kernel sets to zero and does not read. A handler may
// leave by longjmp, so nothing that has to be undone would do. Marked once, a signal goes to who was there before
// veil; marked twice, to nobody.
void vm_chain_pass(int signo, siginfo_t *info, ucontext_t *context) {
  ucontext_t *link = context->uc_link;
  bool marked = link == &passed_once || link == &passed_twice, sent = info->si_code <= 0;
  bool held = !marked && is_held(signo, context);
  if (link == &passed_twice || (held && !sent)) {
    die_as_before(signo, info);
    return;
  }
  struct sigaction action;
  action_of(chain_of(signo), marked, &action);
  if (action.sa_handler == SIG_IGN && sent) {
    return;
  }
  // A fault that is ignored kills, too.
  if (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN) {
    die_as_before(signo, info);
    return;
  }
  context->uc_link = marked ? &passed_twice : &passed_once;
  call_handler(&action, signo, info, context);
  context->uc_link = link;
}
