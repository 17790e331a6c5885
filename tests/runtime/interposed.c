// SPDX-License-Identifier: MIT
// interposed.c: a program whose handlers and masks stand in veil's way, with the interposing library: preloaded, or linked. A plain program.
//
//   runtime_interposed BACK_END [present|absent]
//
// `absent` shows what a program without the library has to keep to: nothing of veil's may depend on it.

#include <dlfcn.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include "tests/runtime/test.h"

#pragma GCC diagnostic ignored "-Wdeprecated-declarations" // the older functions

#define UNCHECKED __attribute__((noinline, no_sanitize("address", "undefined")))

enum { LENGTH = 20000, STOP = 5 };

static veil_heap *heap;
static veil_thread *self;
static node *volatile list;
static const char *back_end;
static bool present, traps;
static int (*real_mask)(int, const sigset_t *, sigset_t *); // the library's veilsig_mask

static int volatile called, caught_signal;
static sigjmp_buf back;
static char *volatile wild = (char *)0x1234567000;
static volatile int sink;

static void walk(void) { EXPECT(list_check(list) == LENGTH); }

// Until traps came in it.
static void with_traps(void (*fn)(void)) {
  bool seen = false;
  for (int round = 0; round < 3 || !seen; round++) {
    EXPECT(round < 5000);
    veil_collect(self);
    veil_collect_start(self);
    uint64_t before = stats_of(heap).traps;
    fn();
    seen |= stats_of(heap).traps > before || !traps;
  }
}

static void caught(int signo) {
  called++;
  caught_signal = signo;
  siglongjmp(back, 1);
}
static void caught_too(int signo, siginfo_t *info, void *context) {
  walk(); // veiled for a part, with everything masked
  caught(signo);
}

UNCHECKED static void fault(void) {
  int before = called;
  if (sigsetjmp(back, 1) == 0) {
    sink = *(volatile char *)wild;
    EXPECT(!"reached");
  }
  EXPECT(called == before + 1 && caught_signal == SIGSEGV);
}

static struct sigaction now_of(int signo) {
  struct sigaction now;
  EXPECT(sigaction(signo, NULL, &now) == 0);
  return now;
}

static sigset_t mask_now(void) {
  sigset_t mask;
  EXPECT(pthread_sigmask(SIG_BLOCK, NULL, &mask) == 0);
  return mask;
}

static struct sigaction full(void) {
  struct sigaction action = {.sa_sigaction = caught_too, .sa_flags = SA_SIGINFO};
  sigfillset(&action.sa_mask);
  return action;
}

// ---- What the program asks for is what it is told.

static void reports(void) {
  EXPECT(now_of(SIGSEGV).sa_handler == caught && now_of(SIGBUS).sa_handler == caught); // from before the heap
  with_traps(walk);
  fault();
  struct sigaction action = full(), old;
  EXPECT(sigaction(SIGSEGV, &action, &old) == 0 && old.sa_handler == caught);
  EXPECT(sigaction(SIGBUS, &action, &old) == 0 && old.sa_handler == caught);
  old = now_of(SIGSEGV);
  EXPECT(old.sa_sigaction == caught_too && (old.sa_flags & SA_SIGINFO) && sigismember(&old.sa_mask, SIGBUS));
  walk(); // at once, without a stop in between
  with_traps(fault);
  with_traps(walk);
}

static void older_functions(void) {
  EXPECT((void *)signal(SIGSEGV, caught) == (void *)caught_too);
  EXPECT(signal(SIGSEGV, SIG_IGN) == caught && signal(SIGSEGV, caught) == SIG_IGN);
  fault();
  with_traps(walk);
  EXPECT(now_of(SIGSEGV).sa_flags & SA_RESTART);
  EXPECT(siginterrupt(SIGSEGV, 1) == 0 && !(now_of(SIGSEGV).sa_flags & SA_RESTART));
  EXPECT(siginterrupt(SIGSEGV, 0) == 0 && (now_of(SIGSEGV).sa_flags & SA_RESTART));
  EXPECT(sigset(SIGSEGV, SIG_HOLD) == caught && sigset(SIGSEGV, SIG_HOLD) == SIG_HOLD);
  walk();
  EXPECT(sigset(SIGSEGV, caught) == SIG_HOLD && sigset(SIGSEGV, caught) == caught);
  EXPECT(sighold(SIGBUS) == 0);
  sigset_t mask = mask_now();
  EXPECT(sigismember(&mask, SIGBUS) == 1 && sigismember(&mask, SIGSEGV) == 0);
  with_traps(walk);
  EXPECT(sigrelse(SIGBUS) == 0);
  int bits = sigblock(0);
  EXPECT(bits == 0 && sigblock(1 << (SIGSEGV - 1)) == 0 && sigblock(0) == 1 << (SIGSEGV - 1));
  with_traps(walk);
  EXPECT(sigsetmask(0) == 1 << (SIGSEGV - 1) && sigblock(0) == 0);
  EXPECT(sigignore(SIGSEGV) == 0 && now_of(SIGSEGV).sa_handler == SIG_IGN);
  raise(SIGSEGV);
  EXPECT(signal(SIGSEGV, caught) == SIG_IGN);
  errno = 0;
  EXPECT(signal(4711, caught) == SIG_ERR && errno == EINVAL);
  errno = 0;
  EXPECT(sigaction(SIGKILL, &(struct sigaction){.sa_handler = caught}, NULL) == -1 && errno == EINVAL);
}

static void spent(void) {
  EXPECT(sysv_signal(SIGSEGV, caught) == caught);
  fault();
  EXPECT(now_of(SIGSEGV).sa_handler == SIG_DFL);
  with_traps(walk);
  EXPECT(signal(SIGSEGV, caught) == SIG_DFL);
}

// ---- Masks.

static void block_all(void) {
  sigset_t all, old, mask;
  sigfillset(&all);
  EXPECT(pthread_sigmask(SIG_SETMASK, &all, &old) == 0);
  mask = mask_now();
  EXPECT(sigismember(&mask, SIGSEGV) && sigismember(&mask, SIGBUS) && sigismember(&mask, SIGRTMIN + STOP) && sigismember(&mask, SIGUSR1));
  with_traps(walk);
  EXPECT(sigprocmask(SIG_SETMASK, &old, &mask) == 0);
  EXPECT(sigismember(&mask, SIGSEGV) && sigismember(&mask, SIGRTMIN + STOP));
  mask = mask_now();
  EXPECT(!sigismember(&mask, SIGSEGV) && !sigismember(&mask, SIGBUS) && !sigismember(&mask, SIGRTMIN + STOP));
  errno = 0;
  EXPECT(sigprocmask(4711, &all, NULL) == -1 && errno == EINVAL);
}

static int volatile spinning, over;
static void *spins_blocked(void *unused) {
  sigset_t all;
  sigfillset(&all);
  EXPECT(real_mask(SIG_SETMASK, &all, NULL) == 0); // as if inherited
  veil_thread *me = veil_attach(heap);
  sigset_t mask = mask_now();
  EXPECT(sigismember(&mask, SIGSEGV) && sigismember(&mask, SIGRTMIN + STOP));
  walk();
  node *volatile mine = list_make(me, 300);
  spinning = 1;
  while (!over) {
    __asm__ volatile("" ::: "memory"); // no poll
  }
  EXPECT(list_check(mine) == 300);
  veil_detach(me);
  return NULL;
}
static void stops_what_blocks(void) {
  pthread_t thread = thread_start(spins_blocked, NULL);
  while (!spinning) {
    veil_poll(self);
  }
  for (int i = 0; i < 5; i++) {
    veil_collect(self);
  }
  over = 1;
  veil_block_begin(self);
  pthread_join(thread, NULL);
  veil_block_end(self);
}

static void stop_signal_is_taken(void) {
  struct sigaction action = {.sa_handler = caught};
  errno = 0;
  EXPECT(sigaction(SIGRTMIN + STOP, &action, NULL) == -1 && errno == EINVAL);
  EXPECT(signal(SIGRTMIN + STOP, SIG_DFL) == SIG_ERR);
}

// ---- Other signals' handlers, which block everything.

static int volatile usr_came;
static void on_usr(int signo) {
  if (real_mask != NULL) {
    sigset_t really;
    EXPECT(real_mask(SIG_BLOCK, NULL, &really) == 0);
    EXPECT(!sigismember(&really, SIGSEGV) && !sigismember(&really, SIGBUS) && !sigismember(&really, SIGRTMIN + STOP));
    EXPECT(sigismember(&really, SIGALRM));
  }
  walk();
  usr_came++;
}
static void install_usr(int signo) {
  struct sigaction action = {.sa_handler = on_usr, .sa_flags = SA_RESTART};
  sigfillset(&action.sa_mask);
  EXPECT(sigaction(signo, &action, NULL) == 0);
}
static void raise_both(void) {
  int before = usr_came;
  raise(SIGUSR1);
  raise(SIGUSR2);
  EXPECT(usr_came == before + 2);
}
static void raise_suspended(void) {
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  raise(SIGUSR1);
  sigdelset(&all, SIGUSR1);
  int before = usr_came;
  while (usr_came == before) {
    EXPECT(sigsuspend(&all) == -1 && errno == EINTR);
  }
  raise(SIGUSR1);
  struct timespec wait = {10, 0};
  before = usr_came;
  while (usr_came == before) {
    EXPECT(ppoll(NULL, 0, &wait, &all) == -1 && errno == EINTR);
  }
  raise(SIGUSR1);
  before = usr_came;
  while (usr_came == before) {
    EXPECT(pselect(0, NULL, NULL, NULL, &wait, &all) == -1 && errno == EINTR);
  }
  pthread_sigmask(SIG_SETMASK, &old, NULL);
}
static void other_handlers(void) {
  struct sigaction now = now_of(SIGUSR1);
  EXPECT(now.sa_handler == on_usr && sigismember(&now.sa_mask, SIGSEGV) && sigismember(&now.sa_mask, SIGRTMIN + STOP));
  install_usr(SIGUSR2); // SIGUSR1 has been there since before the heap
  now = now_of(SIGUSR2);
  EXPECT(sigismember(&now.sa_mask, SIGSEGV) && sigismember(&now.sa_mask, SIGBUS) && sigismember(&now.sa_mask, SIGRTMIN + STOP));
  with_traps(raise_both);
  with_traps(raise_suspended);
}

// ---- Threads that install while others trap.

static void *installs(void *unused) {
  struct sigaction action = full();
  while (!over) {
    sigaction(SIGBUS, &action, NULL);
    signal(SIGBUS, caught);
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    signal(SIGUSR2, SIG_IGN);
  }
  return NULL;
}
static void many_install(void) {
  pthread_t thread[3];
  over = 0;
  for (int i = 0; i < 3; i++) {
    thread[i] = thread_start(installs, NULL);
  }
  for (int i = 0; i < 60; i++) {
    if (i % 4 == 0) {
      with_traps(walk);
    }
    fault();
    pid_t child = fork(); // must not inherit a lock that is held
    if (child == 0) {
      alarm(20);
      EXPECT(now_of(SIGSEGV).sa_handler == caught);
      signal(SIGSEGV, SIG_DFL);
      EXPECT(signal(SIGSEGV, caught) == SIG_DFL && signal(SIGUSR2, SIG_DFL) != SIG_ERR);
      _exit(0);
    }
    int status;
    while (waitpid(child, &status, 0) < 0) {
    }
    EXPECT(status == 0);
  }
  over = 1;
  for (int i = 0; i < 3; i++) {
    pthread_join(thread[i], NULL);
  }
  EXPECT(now_of(SIGSEGV).sa_handler == caught);
}

static void vfork_is_apart(void) {
  EXPECT(signal(SIGBUS, caught) != SIG_ERR);
  pid_t child = vfork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    _exit(0);
  }
  int status;
  while (waitpid(child, &status, 0) < 0) {
  }
  EXPECT(now_of(SIGSEGV).sa_handler == caught && now_of(SIGBUS).sa_handler == caught);
  with_traps(walk);
  fault();
}

// ---- Deaths, in children that open a heap of their own.

static void world_make(void) {
  EXPECT(veil_add_roots(heap, (void *)&list, 1) == VEIL_OK);
  list = list_make(self, LENGTH);
}

UNCHECKED static void dies(void *how) {
  heap = heap_open((veil_options){.back_end = back_end});
  self = veil_attach(heap);
  world_make();
  switch (*(const char *)how) {
  case 'd': // as the program asked last
    signal(SIGSEGV, SIG_DFL);
    break;
  case 'i': // kills too
    signal(SIGSEGV, SIG_IGN);
    break;
  case 'k':
    signal(SIGSEGV, SIG_DFL);
    walk();
    kill(getpid(), SIGSEGV);
    sleep_ms(10000);
    break;
  }
  veil_collect_start(self);
  walk();
  sink = *(volatile char *)wild;
}

static void deaths(void) {
  for (const char *how = "dik"; *how; how++) {
    death d = death_of(dies, (void *)(uintptr_t)how);
    if (d.signal != SIGSEGV) {
      fprintf(stderr, "%c: signal %d, code %d, said %s\n", *how, d.signal, d.code, d.said);
    }
    EXPECT(d.signal == SIGSEGV);
  }
}

// ---- Without the library: what a stop puts back, and what stays the program's.

static void lone(void) {
  EXPECT(now_of(SIGSEGV).sa_handler == caught || now_of(SIGBUS).sa_handler == caught || !traps); // the one that veil does not need
  struct sigaction action = full();
  sigaction(SIGBUS, &action, NULL);
  if (strcmp(back_end, "uffd") == 0) { // by SIGBUS: SIGSEGV stays the program's, and so does its mask
    sigdelset(&action.sa_mask, SIGBUS);
  }
  sigaction(SIGSEGV, &action, NULL);
  EXPECT(now_of(SIGSEGV).sa_sigaction == caught_too);
  veil_collect(self); // stops: veil is first again
  EXPECT(!traps || now_of(SIGSEGV).sa_sigaction != caught_too || now_of(SIGBUS).sa_sigaction != caught_too);
  with_traps(fault);
  with_traps(walk);
}

static void interposed(void) {
  reports();
  older_functions();
  spent();
  block_all();
  stops_what_blocks();
  stop_signal_is_taken();
  other_handlers();
  many_install();
  vfork_is_apart();
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: %s BACK_END present|absent\n", argv[0]);
    return 2;
  }
  back_end = argv[1];
  traps = strcmp(back_end, "none") != 0;
  present = dlsym(RTLD_DEFAULT, "veilsig_claim") != NULL;
  *(void **)&real_mask = dlsym(RTLD_DEFAULT, "veilsig_mask");
  EXPECT(present == (strcmp(argv[2], "present") == 0));
  install_usr(SIGUSR1); // before veil has claimed anything
  heap = heap_open((veil_options){.back_end = back_end});
  if (heap == NULL) {
    return 77;
  }
  veil_close(heap);
  signal(SIGSEGV, caught);
  signal(SIGBUS, caught);
  deaths();
  heap = heap_open((veil_options){.back_end = back_end});
  self = veil_attach(heap);
  world_make();
  if (present) {
    interposed();
  } else {
    lone();
  }
  veil_detach(self);
  veil_close(heap);
  return 0;
}
