// SPDX-License-Identifier: MIT
// trap.c: the signal handler: finds out whose fault it is, and hands ours to claim.c.
//
// Neighbours: region.c installs when a region opens; vm_claim_trap does the work. The handler runs in the thread that
// touched the page, on its alternate stack if it has one, with every signal blocked but those of faults.
//
// A fault that is not ours goes to whoever handled the signal before, as if we were not there.

#include "vm/backend.h"
#include "vm/check.h"
#include "vm/os.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

enum { PAGE_FAULT = 14, ERROR_WRITE = 2, ERROR_FETCH = 16 };

// One per signal that we may handle. The actions are written before our handler is installed.
static struct handled {
  int signo;
  uint32_t volatile installed;
  struct sigaction previous; // what we replaced last
  struct sigaction first;    // what was there before veil
} handled[] = {{.signo = SIGSEGV}, {.signo = SIGBUS}};

enum { HANDLED = sizeof handled / sizeof handled[0] };

static uint32_t volatile install_lock;
static int block_too; // under install_lock: the signal that runtime wants blocked, 0: none

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

// Calls the handler with the signal mask that the kernel would have given it.
static void call_handler(const struct sigaction *action, int signo, siginfo_t *info, ucontext_t *context) {
  sigset_t mask = context->uc_sigmask, ours;
  sigorset(&mask, &mask, &action->sa_mask);
  if (!(action->sa_flags & SA_NODEFER)) {
    sigaddset(&mask, signo);
  }
  os_mask(SIG_SETMASK, &mask, &ours);
  if (action->sa_flags & SA_SIGINFO) {
    action->sa_sigaction(signo, info, context);
  } else {
    action->sa_handler(signo);
  }
  os_mask(SIG_SETMASK, &ours, NULL);
}

// trap.chain: the mark is in the one field of the context that the kernel sets to zero and does not read. A handler may
// leave by longjmp, so nothing that has to be undone would do. Marked once, a signal goes to who was there before
// veil; marked twice, to nobody.
static ucontext_t passed_once, passed_twice;

static void pass_on(struct handled *h, int signo, siginfo_t *info, ucontext_t *context) {
  bool again = context->uc_link == &passed_once;
  struct sigaction *to = again ? &h->first : &h->previous, action = *to;
  if (action.sa_handler == SIG_IGN && info->si_code <= 0) {
    return;
  }
  // A fault that is ignored kills, too.
  if (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN || context->uc_link == &passed_twice) {
    die_as_before(signo, info);
    return;
  }
  if (action.sa_flags & SA_RESETHAND) {
    to->sa_handler = SIG_DFL;
  }
  ucontext_t *link = context->uc_link;
  context->uc_link = again ? &passed_twice : &passed_once;
  call_handler(&action, signo, info, context);
  context->uc_link = link;
}

// ---- The handler.

static _Thread_local volatile unsigned trapping __attribute__((tls_model("initial-exec")));

bool vm_trapping(void) { return trapping != 0; }

static _Noreturn void stray(vm_region *region, void *address) {
  if (region->config.stray != NULL) {
    region->config.stray(region->config.arg, address);
  }
  vm_fatal("stray access to %p: page %zu of the region at %p has no memory", address, vm_page_of(region, address),
           (void *)region->base);
}

static void on_fault(int signo, siginfo_t *info, void *context) {
  int saved = errno;
  struct handled *h = signo == SIGSEGV ? &handled[0] : &handled[1];
  const greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  greg_t error = registers[REG_ERR];
  vm_region *region = NULL;
  if (info->si_code > 0 && registers[REG_TRAPNO] == PAGE_FAULT && !(error & ERROR_FETCH)) {
    region = vm_region_find(info->si_addr);
  }
  enum vm_fault fault = region != NULL ? vm_fork_fault(region, signo, info->si_addr) : VM_FAULT_FOREIGN;
  if (fault == VM_FAULT_RETRY) {
    errno = saved;
    return;
  }
  if (fault == VM_FAULT_FOREIGN) {
    pass_on(h, signo, info, context);
    errno = saved;
    return;
  }
  uint64_t start = vm_now();
  if (vm_claim_settling()) {
    vm_fatal("the view was touched at %p while a claim was being settled or an object traced: use the alias",
             info->si_addr);
  }
  trapping++;
  bool has_memory = vm_claim_trap(region, vm_page_of(region, info->si_addr), (error & ERROR_WRITE) != 0);
  trapping--;
  if (!has_memory) {
    stray(region, info->si_addr);
  }
  at_add(&region->traps_count, 1);
  vm_histogram_add(region->trap_ns, vm_now() - start);
  errno = saved;
}

// ---- Installing.

static void install_enter(void) {
  while (!at32_cas_full(&install_lock, 0, 1)) {
    os_yield();
  }
}

static void install_leave(void) { at32_store_release(&install_lock, 0); }

static bool is_ours(const struct sigaction *action) {
  return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == on_fault;
}

static struct sigaction our_action(void) {
  static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  // A handler of the program that runs in the middle of ours could touch the page that this thread holds.
  sigfillset(&action.sa_mask);
  for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
    sigdelset(&action.sa_mask, faults[i]);
  }
  if (block_too != 0) {
    sigaddset(&action.sa_mask, block_too);
  }
  return action;
}

static bool install_locked(struct handled *h) {
  struct sigaction now, action = our_action();
  if (os_handle(h->signo, NULL, &now) < 0) {
    return false;
  }
  if (!is_ours(&now)) {
    h->previous = now;
    if (!at32_load(&h->installed)) {
      h->first = now;
    }
  }
  return os_handle(h->signo, &action, NULL) == 0;
}

bool vm_trap_install(int signo) {
  bool installed = false;
  install_enter();
  for (size_t i = 0; i < HANDLED; i++) {
    struct handled *h = &handled[i];
    if (h->signo == signo) {
      // Whoever replaced our handler since then is left alone until vm_trap_restore.
      installed = at32_load(&h->installed) || install_locked(h);
      at32_store_release(&h->installed, installed);
    }
  }
  install_leave();
  return installed;
}

void vm_trap_block_signal(int signo) {
  install_enter();
  block_too = signo;
  for (size_t i = 0; i < HANDLED; i++) {
    struct sigaction now;
    if (at32_load(&handled[i].installed) && os_handle(handled[i].signo, NULL, &now) == 0 && is_ours(&now)) {
      install_locked(&handled[i]);
    }
  }
  install_leave();
}

int vm_trap_restore(void) {
  int restored = 0;
  // In a signal handler the lock may be held by the thread that we interrupted: then next time.
  if (!at32_cas_full(&install_lock, 0, 1)) {
    return 0;
  }
  for (size_t i = 0; i < HANDLED; i++) {
    struct handled *h = &handled[i];
    struct sigaction now;
    if (at32_load_acquire(&h->installed) && os_handle(h->signo, NULL, &now) == 0 && !is_ours(&now)) {
      restored += install_locked(h);
    }
  }
  install_leave();
  return restored;
}
