// SPDX-License-Identifier: MIT
// handlers.c: faults that are ours, faults that are not, and other people's handlers.

#include "vm_test.h"
#include "vm/action.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
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

// ---- Veiled pages in the program's handler.

static void reads_veiled(int signo) {
  uint32_t before = world_settled(&w, VM_UNSCANNED);
  *view_word(&w, 3) = 1;
  cr_assert_eq(world_settled(&w, VM_UNSCANNED), before + 1);
  called++;
  siglongjmp(back, 1);
}

ON_TRAPPING_BACK_ENDS(handlers, a_handler_with_everything_masked_may_touch_veiled_pages) {
  struct sigaction action = {.sa_handler = reads_veiled};
  sigfillset(&action.sa_mask);
  sigaction(signal_of(back_end), &action, NULL);
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, 8));
  for (int i = 1; i <= 6; i++) {
    vm_prot(w.region, 3, 1, VM_UNSCANNED, 0);
    fault_elsewhere(signal_of(back_end));
    cr_assert_eq(called, i);
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    cr_assert(!sigismember(&mask, SIGSTKFLT) && !sigismember(&mask, signal_of(back_end)));
  }
}

// The same in a thread that blocks all signals but those of faults: none is left for a marker, so the handler has the kernel's mask.
Test(handlers, a_handler_is_called_each_time_in_a_thread_that_blocks_nearly_all) {
  struct sigaction action = {.sa_sigaction = theirs, .sa_flags = SA_SIGINFO};
  sigaction(SIGSEGV, &action, NULL);
  sigset_t mask;
  sigfillset(&mask);
  sigdelset(&mask, SIGSEGV);
  sigdelset(&mask, SIGBUS);
  pthread_sigmask(SIG_SETMASK, &mask, NULL);
  world_open(&w, "mprotect");
  cr_assert(vm_commit(w.region, 0, 8));
  for (int i = 1; i <= 6; i++) {
    fault_elsewhere(SIGSEGV);
    cr_assert_eq(called, i);
    our_trap_works();
  }
}

static volatile int nested;
static void faults_again(int signo) {
  nested++;
  *(volatile int *)wild = 1;
}
static void exit_count(int signo) { _exit(nested); }

Test(handlers, a_handler_that_faults_is_not_entered_again, .signal = SIGSEGV) {
  signal(SIGSEGV, faults_again);
  world_open(&w, "mprotect");
  cr_assert(vm_commit(w.region, 0, 8));
  signal(SIGALRM, exit_count); // if it hangs
  alarm(20);
  *(volatile int *)null = 1;
}

ON_TRAPPING_BACK_ENDS(handlers, a_program_that_checks_alignment_may_trap) {
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, 8));
  vm_prot(w.region, 0, 8, VM_UNSCANNED, 0);
  long volatile *at = view_word(&w, 3);
  __asm__ volatile("pushfq\n orl $0x40000, (%%rsp)\n popfq\n movq $1, (%0)\n"
                   "pushfq\n andl $0xfffbffff, (%%rsp)\n popfq\n" : : "r"(at) : "memory", "cc");
  cr_assert_eq(*at, 1);
  cr_assert_eq(world_settled(&w, VM_UNSCANNED), 1);
}

// ---- Actions that are read without a lock.

static vm_action shared_action;
static uint32_t volatile took, stop_writing;
static void *takes(void *unused) {
  struct sigaction action;
  vm_action_take(&shared_action, &action);
  if (action.sa_handler == counts) {
    at32_add_full(&took, 1);
  }
  return NULL;
}

Test(handlers, a_handler_for_one_time_is_given_to_one_thread) {
  for (int round = 0; round < 50; round++) {
    struct sigaction once = {.sa_handler = counts, .sa_flags = (int)SA_RESETHAND}, now;
    vm_action_set(&shared_action, &once);
    took = 0;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
      pthread_create(&threads[i], NULL, takes, NULL);
    }
    for (int i = 0; i < 4; i++) {
      pthread_join(threads[i], NULL);
    }
    cr_assert_eq(took, 1);
    vm_action_get(&shared_action, &now);
    cr_assert_eq(now.sa_handler, SIG_DFL);
  }
}

static void *writes_actions(void *unused) {
  for (uintptr_t i = 1; !at32_load_acquire(&stop_writing); i++) {
    struct sigaction action;
    memset(&action, (int)(i % 200 + 1), sizeof action);
    vm_action_set(&shared_action, &action);
  }
  return NULL;
}

Test(handlers, an_action_is_read_whole_while_it_is_replaced) {
  pthread_t thread;
  pthread_create(&thread, NULL, writes_actions, NULL);
  for (int i = 0; i < 300000; i++) {
    struct sigaction action;
    vm_action_get(&shared_action, &action);
    unsigned char first = *(unsigned char *)&action, last = ((unsigned char *)&action.sa_mask)[sizeof action.sa_mask - 1];
    cr_assert_eq(first, last);
  }
  at32_store_release(&stop_writing, 1);
  pthread_join(thread, NULL);
}

// A handler left by siglongjmp is over, even if the memory of its frame is untouched and the stack is deeper than it was.
static __attribute__((noinline)) void fault_far_below(void) {
  char volatile room[65536];
  room[0] = 1;
  *(volatile int *)wild = room[0];
}

Test(handlers, a_handler_that_was_left_by_a_jump_is_called_again_deeper_in_the_stack) {
  struct sigaction action = {.sa_sigaction = theirs, .sa_flags = SA_SIGINFO};
  sigaction(SIGSEGV, &action, NULL);
  world_open(&w, "mprotect");
  for (int i = 1; i <= 4; i += 2) {
    if (sigsetjmp(back, 1) == 0) {
      *(volatile int *)wild = 1;
    }
    if (sigsetjmp(back, 1) == 0) {
      fault_far_below();
    }
    cr_assert_eq(called, i + 1);
  }
}
