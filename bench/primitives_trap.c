// SPDX-License-Identifier: MIT
// primitives_trap.c: the bare trap, and the mutator that is stopped.

#include "bench/primitives.h"

#include "bench/gaps.h"
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

enum { TRAPS = 100, PAGE = 4096, ROUNDS_MOST = 1024 };
enum { TOUCH_BYTES = 2 }; // the instruction in touch_once: mov (%rax), %cl

static char *volatile trap_page; // NULL: no trap is expected

static void touch_once(const char *address) { __asm__ volatile("movb (%%rax), %%cl" ::"a"(address) : "rcx", "memory"); }

static void step_over(int signo, siginfo_t *info, void *context) {
  if (trap_page == NULL || (char *)info->si_addr < trap_page || (char *)info->si_addr >= trap_page + PAGE) {
    signal(signo, SIG_DFL); // Not ours: the instruction runs again, and the process dies as it should.
    return;
  }
  ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += TOUCH_BYTES;
}

void bare_trap_install(void) {
  struct sigaction action = {.sa_sigaction = step_over, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaction(SIGSEGV, &action, NULL);
  sigaction(SIGBUS, &action, NULL);
}

// Makes the page one that userfaultfd misses, and tells by SIGBUS, or to whoever reads. The descriptor, or -1.
static int page_miss(char *page, bool by_signal) {
  int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
  struct uffdio_api api = {.api = UFFD_API, .features = by_signal ? UFFD_FEATURE_SIGBUS : 0};
  struct uffdio_register range = {.range = {(uintptr_t)page, PAGE}, .mode = UFFDIO_REGISTER_MODE_MISSING};
  if (fd >= 0 && (ioctl(fd, UFFDIO_API, &api) != 0 || ioctl(fd, UFFDIO_REGISTER, &range) != 0)) {
    close(fd);
    fd = -1;
  }
  return fd;
}

static int compare_double(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

// The pager of a bare trap: the toucher tries in vain so often as there are traps in a round.
typedef struct waker {
  int fd;
  char *page;
  unsigned rounds;
} waker;

static void *wake(void *arg) {
  const waker *w = arg;
  struct uffdio_range range = {(uintptr_t)w->page, PAGE};
  struct uffdio_zeropage zero = {.range = range};
  for (unsigned i = 0; i < w->rounds * TRAPS; i++) {
    struct uffd_msg message;
    if (read(w->fd, &message, sizeof message) != (ssize_t)sizeof message ||
        (i % TRAPS == TRAPS - 1 ? ioctl(w->fd, UFFDIO_ZEROPAGE, &zero) : ioctl(w->fd, UFFDIO_WAKE, &range)) != 0) {
      perror("primitives: a bare trap by a pager");
      exit(1);
    }
  }
  return NULL;
}

static double pager_trap_us(unsigned rounds) {
  static double values[ROUNDS_MOST];
  char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  waker w = {page == MAP_FAILED ? -1 : page_miss(page, false), page, rounds};
  pthread_t thread;
  if (w.fd < 0 || pthread_create(&thread, NULL, wake, &w) != 0) {
    fputs("primitives: cannot set up a bare trap\n", stderr);
    exit(1);
  }
  for (unsigned i = 0; i < rounds; i++) {
    uint64_t begun = gaps_now();
    touch_once(page);
    values[i] = gaps_ticks_to_us((double)(gaps_now() - begun)) / TRAPS;
    madvise(page, PAGE, MADV_DONTNEED);
  }
  pthread_join(thread, NULL);
  munmap(page, PAGE);
  close(w.fd);
  qsort(values, rounds, sizeof values[0], compare_double);
  return values[rounds / 2];
}

double bare_trap_us(const char *back_end, unsigned rounds) {
  if (strcmp(back_end, "uffd-kernel") == 0) {
    return pager_trap_us(rounds);
  }
  bool missing = strcmp(back_end, "uffd") == 0, guarded = strcmp(back_end, "guard") == 0;
  char *page = mmap(NULL, PAGE, missing || guarded ? PROT_READ | PROT_WRITE : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  int fd = missing && page != MAP_FAILED ? page_miss(page, true) : -1;
  if (page == MAP_FAILED || (missing && fd < 0) || (guarded && madvise(page, PAGE, MADV_GUARD_INSTALL) != 0)) {
    fputs("primitives: cannot set up a bare trap\n", stderr);
    exit(1);
  }
  static double values[ROUNDS_MOST];
  trap_page = page;
  for (unsigned i = 0; i < rounds; i++) {
    uint64_t begun = gaps_now();
    for (unsigned k = 0; k < TRAPS; k++) {
      touch_once(page);
    }
    values[i] = gaps_ticks_to_us((double)(gaps_now() - begun)) / TRAPS;
  }
  trap_page = NULL;
  munmap(page, PAGE);
  if (fd >= 0) {
    close(fd);
  }
  qsort(values, rounds, sizeof values[0], compare_double);
  return values[rounds / 2];
}

// ---- The other mutator.

static pthread_t other;
static uint32_t volatile other_runs;   // 1: it shall count
static uint32_t volatile stop_wanted;  // 1: it shall stand; written by the collector's side
static uint32_t volatile stop_reached; // 1: it stands; written by its handler
static uint64_t volatile counted;

static void stand(int signo) {
  at32_store_release(&stop_reached, 1);
  while (at32_load_acquire(&stop_wanted) != 0) {
    _mm_pause();
  }
  at32_store_release(&stop_reached, 0);
}

static void *count(void *arg) {
  while (at32_load(&other_runs) != 0) {
    counted++;
  }
  return NULL;
}

void other_start(void) {
  struct sigaction action = {.sa_handler = stand, .sa_flags = SA_RESTART};
  sigaction(SIGUSR1, &action, NULL);
  other_runs = 1;
  if (pthread_create(&other, NULL, count, NULL) != 0) {
    fputs("primitives: cannot start a thread\n", stderr);
    exit(1);
  }
}

void other_stop(void) {
  at32_store_release(&stop_wanted, 1);
  pthread_kill(other, SIGUSR1);
  while (at32_load_acquire(&stop_reached) == 0) {
    _mm_pause();
  }
}

void other_resume(void) {
  at32_store_release(&stop_wanted, 0);
  while (at32_load_acquire(&stop_reached) != 0) {
    _mm_pause();
  }
}

void other_end(void) {
  other_runs = 0;
  pthread_join(other, NULL);
}
