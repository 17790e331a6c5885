// SPDX-License-Identifier: MIT
// trap.c: the signal handler: finds out whose fault it is, and hands ours to claim.c.
//
// Neighbours: region.c installs when a region opens; vm_claim_trap does the work; chain.c has the faults that are not ours. The
// handler runs in the thread that touched the page, on its alternate stack if it has one, with every signal blocked but those of faults.

#include "vm/backend.h"
#include "vm/check.h"
#include "vm/os.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

enum { PAGE_FAULT = 14, ERROR_WRITE = 2, ERROR_FETCH = 16, ALIGNMENT_CHECK = 1 << 18 };

// One per signal that we may handle.
static struct handled {
  int signo;
  uint32_t volatile installed;
} handled[] = {{.signo = SIGSEGV}, {.signo = SIGBUS}};

enum { HANDLED = sizeof handled / sizeof handled[0] };

static uint32_t volatile install_lock;
static int block_too; // under install_lock: the signal that runtime wants blocked, 0: none

// ---- The handler.

static _Thread_local volatile unsigned trapping __attribute__((tls_model("initial-exec")));

bool vm_trapping(void) { return trapping != 0; }

void vm_stray(vm_region *region, void *address) {
  if (region->config.stray != NULL) {
    region->config.stray(region->config.arg, address);
  }
  vm_fatal("stray access to %p: page %zu of the region at %p has no memory", address, vm_page_of(region, address),
           (void *)region->base);
}

static void on_fault(int signo, siginfo_t *info, void *context) {
  int saved = errno;
  const greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  greg_t error = registers[REG_ERR];
  if (registers[REG_EFL] & ALIGNMENT_CHECK) {
    // The program's own; the kernel leaves it on, and neither we nor libc are aligned.
    __builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() & ~(unsigned long long)ALIGNMENT_CHECK);
  }
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
    vm_chain_pass(signo, info, context);
    errno = saved;
    return;
  }
  uint64_t start = vm_now();
  if (vm_settling()) {
    vm_fatal(VM_VIEW_TOUCHED, info->si_addr);
  }
  trapping++;
  size_t page = vm_page_of(region, info->si_addr);
  uint32_t heard = at32_load(&region->listening);
  if (__builtin_expect(heard != 0, 0)) {
    region->config.trap_began(region->config.arg, page, heard);
  }
  bool has_memory = vm_claim_trap(region, page, (error & ERROR_WRITE) != 0);
  if (!has_memory) {
    vm_stray(region, info->si_addr);
  }
  uint64_t end = vm_now();
  at_add(&region->traps_count, 1);
  vm_histogram_add(region->trap_ns, end - start);
  if (__builtin_expect(heard != 0, 0)) {
    region->config.trap_ended(region->config.arg, page, start, end, heard);
  }
  trapping--;
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

static bool install_locked(const struct handled *h) {
  struct sigaction now, action = our_action();
  if (os_handle(h->signo, NULL, &now) < 0) {
    return false;
  }
  if (!is_ours(&now)) {
    vm_chain_set(h->signo, &now); // before our handler can be called
  }
  return os_claim(h->signo, &action, true) == 0;
}

bool vm_trap_install(int signo) {
  bool installed = false;
  install_enter();
  for (size_t i = 0; i < HANDLED; i++) {
    struct handled *h = &handled[i];
    if (h->signo == signo) {
      // Also if it is installed: other code may have replaced it since then.
      installed = install_locked(h);
      if (installed) {
        at32_store_release(&h->installed, 1);
      }
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
