// SPDX-License-Identifier: MIT
// handlers.c: faults that are ours, faults that are not, and other people's handlers.

#include "vm_test.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

static struct world w;
static sigjmp_buf back;
static int volatile called, usr1_blocked, usr2_blocked;
static void *volatile called_with;
// Volatile, so that the compiler does not see through them.
static char *volatile null = (char *)8, *volatile wild = (char *)0x1234567000;

static int signal_of(const char *back_end) { return strcmp(back_end, "uffd") == 0 ? SIGBUS : SIGSEGV; }
static bool is_by_signal(const char *back_end) { return strcmp(back_end, "uffd-kernel") != 0; }

static void theirs(int signo, siginfo_t *info, void *context) {
  sigset_t mask;
  pthread_sigmask(SIG_BLOCK, NULL, &mask);
  usr1_blocked = sigismember(&mask, SIGUSR1);
  usr2_blocked = sigismember(&mask, SIGUSR2);
  called_with = info->si_addr;
  called++;
  siglongjmp(back, 1);
}

static void install_theirs(int signo) {
  struct sigaction action = {.sa_sigaction = theirs, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaddset(&action.sa_mask, SIGUSR2);
  sigaction(signo, &action, NULL);
}

// Touches an address that faults with the signal, and is not veil's.
static void *fault_elsewhere(int signo) {
  char *volatile p;
  if (signo == SIGSEGV) {
    p = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  } else {
    int fd = memfd_create("short", 0);
    p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0); // behind the end of the file
    close(fd);
  }
  if (sigsetjmp(back, 1) == 0) {
    (void)*(volatile char *)p;
  }
  return p;
}

static void our_trap_works(void) {
  uint32_t before = world_settled(&w, VM_UNSCANNED);
  vm_prot(w.region, 0, 1, VM_UNSCANNED, 0);
  *view_word(&w, 0) = 1;
  cr_assert_eq(world_settled(&w, VM_UNSCANNED), before + 1);
}

static void a_handler_from_before_gets_its_own_faults(const char *back_end) {
  int signo = signal_of(back_end);
  install_theirs(signo); // before the first region is opened
  if (!back_end_works(back_end)) {
    cr_skip_test("no such back end here");
  }
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, 1));
  our_trap_works();
  for (int i = 1; i <= 3; i++) {
    void *p = fault_elsewhere(signo);
    cr_assert_eq(called, i);
    cr_assert_eq(called_with, p);
    cr_assert(usr2_blocked && !usr1_blocked, "the mask is not what the kernel would have made it");
    our_trap_works();
  }
}

Test(handlers, a_handler_from_before_gets_its_own_faults_on_uffd) { a_handler_from_before_gets_its_own_faults("uffd"); }
Test(handlers, a_handler_from_before_gets_its_own_faults_on_guard) { a_handler_from_before_gets_its_own_faults("guard"); }
Test(handlers, a_handler_from_before_gets_its_own_faults_on_mprotect) {
  a_handler_from_before_gets_its_own_faults("mprotect");
}

ON_TRAPPING_BACK_ENDS(handlers, a_handler_that_replaced_ours_is_chained_when_ours_is_put_back) {
  if (!is_by_signal(back_end)) {
    cr_skip_test("there is no handler");
  }
  int signo = signal_of(back_end);
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, 1));
  cr_assert_eq(vm_trap_restore(), 0);
  install_theirs(signo);
  cr_assert_eq(vm_trap_restore(), 1);
  cr_assert_eq(vm_trap_restore(), 0);
  our_trap_works();
  fault_elsewhere(signo);
  cr_assert_eq(called, 1);
  our_trap_works();
}

static struct sigaction before_them;
static void chains_back(int signo, siginfo_t *info, void *context) {
  called++;
  before_them.sa_sigaction(signo, info, context);
}

Test(handlers, two_handlers_that_chain_to_each_other_still_die, .signal = SIGSEGV) {
  world_open(&w, "mprotect");
  cr_assert(vm_commit(w.region, 0, 1));
  struct sigaction action = {.sa_sigaction = chains_back, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaction(SIGSEGV, &action, &before_them);
  vm_trap_restore();
  our_trap_works();
  *(volatile int *)null = 1;
}

Test(handlers, a_handler_from_before_is_reached_through_one_that_chains_back) {
  install_theirs(SIGSEGV);
  world_open(&w, "mprotect");
  cr_assert(vm_commit(w.region, 0, 1));
  struct sigaction action = {.sa_sigaction = chains_back, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaction(SIGSEGV, &action, &before_them);
  cr_assert_eq(vm_trap_restore(), 1);
  for (int i = 1; i <= 3; i++) {
    fault_elsewhere(SIGSEGV);
    cr_assert_eq(called, 2 * i, "once the one that chains, once the first");
    our_trap_works();
  }
}

ON_TRAPPING_BACK_ENDS(handlers, a_wild_pointer_dies_as_without_veil, .signal = SIGSEGV) {
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, 1));
  our_trap_works();
  *(volatile int *)wild = 1;
}

ON_TRAPPING_BACK_ENDS(handlers, a_null_pointer_dies_as_without_veil, .signal = SIGSEGV) {
  world_open(&w, back_end);
  *(volatile int *)null = 1;
}

Test(handlers, a_signal_that_was_sent_kills_as_without_veil, .signal = SIGSEGV) {
  world_open(&w, "mprotect");
  kill(getpid(), SIGSEGV);
  pause();
}

static void counts(int signo) { called++; }

Test(handlers, a_signal_that_was_sent_reaches_a_handler_without_siginfo) {
  struct sigaction action = {.sa_handler = counts, .sa_flags = (int)SA_RESETHAND};
  sigaction(SIGSEGV, &action, NULL);
  world_open(&w, "mprotect");
  raise(SIGSEGV);
  cr_assert_eq(called, 1);
  cr_assert(vm_commit(w.region, 0, 1));
  our_trap_works();
}

Test(handlers, a_signal_that_was_sent_is_ignored_if_it_was) {
  signal(SIGSEGV, SIG_IGN);
  world_open(&w, "mprotect");
  raise(SIGSEGV);
  cr_assert(vm_commit(w.region, 0, 1));
  our_trap_works();
}

ON_TRAPPING_BACK_ENDS(handlers, errno_survives_a_trap) {
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, 8));
  vm_prot(w.region, 0, 8, VM_UNSCANNED, 0);
  errno = 4711;
  *view_word(&w, 3) = 1;
  cr_assert_eq(errno, 4711);
}

static int volatile usr1_came, usr1_came_in_settle;
static void on_usr1(int signo) { usr1_came++; }
static void send_usr1(struct world *world, size_t page, unsigned claim, bool write) {
  raise(SIGUSR1);
  usr1_came_in_settle = usr1_came;
}

ON_TRAPPING_BACK_ENDS(handlers, signals_wait_until_the_page_is_settled) {
  if (!is_by_signal(back_end)) {
    cr_skip_test("another thread holds the page, so they need not wait");
  }
  signal(SIGUSR1, on_usr1);
  world_open(&w, back_end);
  vm_trap_block_signal(SIGUSR1);
  w.also = send_usr1;
  cr_assert(vm_commit(w.region, 0, 8));
  vm_prot(w.region, 0, 8, VM_UNSCANNED, 0);
  *view_word(&w, 3) = 1;
  cr_assert_eq(usr1_came_in_settle, 0);
  cr_assert_eq(usr1_came, 1);
}

static void touch_view(struct world *world, size_t page, unsigned claim, bool write) { *view_word(world, page) = 1; }

ON_TRAPPING_BACK_ENDS(handlers, touching_the_view_while_settling_is_reported, .signal = SIGABRT) {
  world_open(&w, back_end);
  w.also = touch_view;
  cr_assert(vm_commit(w.region, 0, 8));
  vm_prot(w.region, 0, 8, VM_UNSCANNED, 0);
  vm_settle(w.region, 2, VM_UNSCANNED, false, true);
}

ON_TRAPPING_BACK_ENDS(handlers, a_jump_into_the_heap_dies_as_without_veil, .signal = SIGSEGV) {
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, 1));
  *view_word(&w, 0) = 0xc3;
  ((void (*)(void))(uintptr_t)w.region->base)();
}
