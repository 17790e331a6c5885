// SPDX-License-Identifier: MIT
// os_linux.c: the system calls of vm on Linux.
//
// Neighbours: os.h has the contracts. Debian 12's headers are older than the kernels that have what we
// use, so newer constants are here; whether they work is found out at run time (backend.c).
// Any thread, signal handlers too.

#include "vm/os.h"
#include "vm/atomic.h"
#include "vm/interpose.h"
#include "vm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif
#ifndef UFFDIO_CONTINUE_MODE_WP
#define UFFDIO_CONTINUE_MODE_WP ((__u64)1 << 1)
#endif

// From linux/fs.h of 6.7.
struct scan_region {
  uint64_t start, end, categories;
};
struct scan_arg {
  uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
  uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN_IOCTL _IOWR('f', 16, struct scan_arg)
enum { SCAN_WP_MATCHING = 1, SCAN_CHECK_WPASYNC = 2, SCAN_WRITTEN = 2 };
enum { PIECE = 2 << 20 }; // bytes of a file that get or lose memory at once, a huge page at most: the system has the file locked meanwhile

// The result of a call that returns -1 and sets errno, as a negative errno; the errno of before stays.
#define RESULT(CALL)                                                                                                   \
  ({                                                                                                                   \
    int saved_ = errno;                                                                                                \
    long value_ = (long)(CALL);                                                                                        \
    if (value_ == -1) {                                                                                                \
      value_ = -errno;                                                                                                 \
    }                                                                                                                  \
    errno = saved_;                                                                                                    \
    value_;                                                                                                            \
  })

// ---- Injected failures.

#ifdef VEIL_FULL_CHECKS
static uint32_t volatile fail_in; // calls left until the one that fails; 0: none does
static uint32_t volatile calls;

void os_fail_at(unsigned n) { at32_store_release(&fail_in, n); }
unsigned os_calls(void) { return at32_load(&calls); }

// True if the call that asks is the one to fail.
static bool fails(void) {
  at32_add_full(&calls, 1);
  for (;;) {
    uint32_t left = at32_load(&fail_in);
    if (left == 0) {
      return false;
    }
    if (at32_cas_full(&fail_in, left, left - 1)) {
      return left == 1;
    }
  }
}
static uint32_t volatile torture, torture_state;

void os_torture(unsigned one_in, unsigned seed) {
  at32_store(&torture_state, seed);
  at32_store_release(&torture, one_in);
}

void os_point(void) {
  uint32_t one_in = at32_load(&torture);
  if (one_in == 0) {
    return;
  }
  // Weyl's sequence, mixed: threads share it without a lock.
  uint64_t x = at32_add(&torture_state, 0x9e3779b9u) * 0xff51afd7ed558ccdu;
  x ^= x >> 33;
  if (x % one_in == 0) {
    struct timespec nap = {0, (long)(x >> 20) % 50000};
    (void)RESULT(x & 1024 ? sched_yield() : clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL));
  }
}
#else
static inline bool fails(void) { return false; }
#endif

// ---- Mappings.

static int protection(enum os_access access) {
  switch (access) {
  case OS_NONE:
    return PROT_NONE;
  case OS_READ:
    return PROT_READ;
  case OS_READ_WRITE:
    break;
  }
  return PROT_READ | PROT_WRITE;
}

static void *map_anonymous(size_t bytes, int prot) {
  if (fails()) {
    return NULL;
  }
  int saved = errno;
  void *p = mmap(NULL, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  errno = saved;
  return p == MAP_FAILED ? NULL : p;
}

void *os_reserve(size_t bytes) { return map_anonymous(bytes, PROT_NONE); }
bool os_reserve_at(void *address, size_t bytes) {
  if (fails()) {
    return false;
  }
  int saved = errno;
  void *p = mmap(address, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  errno = saved;
  if (p != MAP_FAILED && p != address) { // a system that does not know the flag
    munmap(p, bytes);
  }
  return p == address;
}
void *os_map_private(size_t bytes) { return map_anonymous(bytes, PROT_READ | PROT_WRITE); }

int os_map_file(void *address, size_t bytes, int fd, size_t offset, enum os_access access) {
  if (fails()) {
    return -ENOMEM;
  }
  int saved = errno;
  void *p = mmap(address, bytes, protection(access), MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, (off_t)offset);
  int result = p == MAP_FAILED ? -errno : 0;
  errno = saved;
  return result;
}

int os_unmap(void *address, size_t bytes) { return (int)RESULT(munmap(address, bytes)); }

int os_move(void *from, size_t bytes, void *to) {
  return fails() ? -ENOMEM : (int)RESULT(mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to ? 0 : -1);
}

int os_move_tables(void *from, size_t bytes, void *to) {
  if (fails()) {
    return -ENOMEM;
  }
  return (int)RESULT(mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) == MAP_FAILED ? -1 : 0);
}

bool os_is_mapped(void *page) {
  unsigned char in_memory;
  return RESULT(mincore(page, 1, &in_memory)) != -ENOMEM;
}

int os_map_nothing(void *address, size_t bytes) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  return (int)RESULT(mmap(address, bytes, PROT_NONE, flags, -1, 0) == address ? 0 : -1);
}

int os_not_inherited(void *address, size_t bytes) {
  return fails() ? -ENOMEM : (int)RESULT(madvise(address, bytes, MADV_DONTFORK));
}

int os_protect(void *address, size_t bytes, enum os_access access) {
  return fails() ? -ENOMEM : (int)RESULT(mprotect(address, bytes, protection(access)));
}

int os_populate(void *address, size_t bytes) {
  if (fails()) {
    return -ENOMEM;
  }
  int result;
  do {
    result = (int)RESULT(madvise(address, bytes, MADV_POPULATE_WRITE));
  } while (result == -EINTR || result == -EAGAIN);
  return result;
}

static int by_pieces(int fd, int mode, size_t offset, size_t bytes) {
  int result = 0;
  for (size_t end = offset + bytes, to; offset < end && result == 0; offset = to) {
    to = offset - offset % PIECE + PIECE;
    to = to < end ? to : end;
    do {
      result = (int)RESULT(fallocate(fd, mode, (off_t)offset, (off_t)(to - offset)));
    } while (result == -EINTR);
  }
  return result;
}

int os_allocate(int fd, size_t offset, size_t bytes) {
  if (fails()) {
    return -ENOMEM;
  }
  return by_pieces(fd, 0, offset, bytes);
}

int os_huge(void *address, size_t bytes) {
  int result = os_populate(address, 4096); // what there is to collapse
  if (result == 0) {
    result = fails() ? -ENOMEM : (int)RESULT(madvise(address, bytes, MADV_COLLAPSE));
  }
  return result;
}

int os_drop(void *address, size_t bytes) {
  return fails() ? -ENOMEM : (int)RESULT(madvise(address, bytes, MADV_DONTNEED));
}

// For reading: the kernel maps many pages by one fault then, and those of a file in memory writable all the same.
void os_map_ahead(void *address, size_t bytes) { (void)RESULT(madvise(address, bytes, MADV_POPULATE_READ)); }

void os_small_pages(void *address, size_t bytes) { (void)RESULT(madvise(address, bytes, MADV_NOHUGEPAGE)); }

void os_large_pages(void *address, size_t bytes) { (void)RESULT(madvise(address, bytes, MADV_HUGEPAGE)); }

int os_guard(void *address, size_t bytes) {
  return fails() ? -ENOMEM : (int)RESULT(madvise(address, bytes, MADV_GUARD_INSTALL));
}

// A descriptor for each call: one that was kept would be the parent's in a child of fork.
static bool advise_many(const struct iovec *ranges, size_t count, int advice) {
  int self = fails() ? -EMFILE : (int)RESULT(syscall(SYS_pidfd_open, getpid(), 0));
  if (self < 0) {
    return false;
  }
  long bytes = 0;
  for (size_t i = 0; i < count; i++) {
    bytes += (long)ranges[i].iov_len;
  }
  long done = fails() ? -ENOMEM : RESULT(syscall(SYS_process_madvise, self, ranges, count, advice, 0));
  os_close(self);
  return done == bytes;
}

bool os_drop_many(const struct iovec *ranges, size_t count) { return advise_many(ranges, count, MADV_DONTNEED); }

bool os_guard_many(const struct iovec *ranges, size_t count) { return advise_many(ranges, count, MADV_GUARD_INSTALL); }

int os_unguard(void *address, size_t bytes) {
  return fails() ? -ENOMEM : (int)RESULT(madvise(address, bytes, MADV_GUARD_REMOVE));
}

size_t os_limit_mappings(void) {
  enum { CAUTIOUS = 65530 }; // the kernel's own default
  int fd = (int)RESULT(open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC));
  if (fd < 0) {
    return CAUTIOUS;
  }
  char text[32];
  ssize_t n = RESULT(read(fd, text, sizeof text - 1));
  os_close(fd);
  if (n <= 0) {
    return CAUTIOUS;
  }
  text[n] = 0;
  size_t limit = strtoul(text, NULL, 10);
  return limit != 0 ? limit : CAUTIOUS;
}

// ---- Files in memory.

int os_memory(size_t bytes) {
  if (fails()) {
    return -EMFILE;
  }
  int fd = (int)RESULT(memfd_create("veil", MFD_CLOEXEC));
  if (fd < 0) {
    return fd;
  }
  int result = fails() ? -ENOMEM : (int)RESULT(ftruncate(fd, (off_t)bytes));
  if (result < 0) {
    os_close(fd);
    return result;
  }
  return fd;
}

int os_punch(int fd, size_t offset, size_t bytes) {
  if (fails()) {
    return -ENOMEM;
  }
  return by_pieces(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, bytes);
}

int os_fill(int fd, size_t offset, const void *from, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    ssize_t n = fails() ? -ENOMEM : RESULT(pwrite(fd, (const char *)from + done, bytes - done, (off_t)(offset + done)));
    if (n <= 0 && n != -EINTR) {
      return n < 0 ? (int)n : -EIO;
    }
    done += n > 0 ? (size_t)n : 0;
  }
  return 0;
}

size_t os_memory_held(int fd) {
  struct stat s;
  return RESULT(fstat(fd, &s)) < 0 ? 0 : (size_t)s.st_blocks * 512;
}

void os_close(int fd) { (void)RESULT(close(fd)); }

// ---- userfaultfd and pagemap.

// Who may not have faults of the kernel by the call may have them by the device, if its owner lets him.
static int uffd_new(bool kernel) {
  int fd = (int)RESULT(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | (kernel ? 0 : UFFD_USER_MODE_ONLY)));
  int device = kernel && fd == -EPERM ? (int)RESULT(open("/dev/userfaultfd", O_RDWR | O_CLOEXEC)) : -1;
  if (device >= 0) {
    fd = (int)RESULT(ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK));
    os_close(device);
  }
  return fd;
}

int os_uffd_open(uint64_t features, bool kernel) {
  if (fails()) {
    return -EPERM;
  }
  int fd = uffd_new(kernel);
  if (fd < 0) {
    return fd;
  }
  struct uffdio_api api = {.api = UFFD_API, .features = features};
  int result = fails() ? -EINVAL : (int)RESULT(ioctl(fd, UFFDIO_API, &api));
  if (result < 0) {
    os_close(fd);
    return result;
  }
  return fd;
}

int os_uffd_register(int uffd, void *address, size_t bytes) {
  if (fails()) {
    return -ENOMEM;
  }
  struct uffdio_register reg = {
      .range = {.start = (uintptr_t)address, .len = bytes},
      .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP,
  };
  return (int)RESULT(ioctl(uffd, UFFDIO_REGISTER, &reg));
}

void os_uffd_wake(int uffd, void *address, size_t bytes) {
  struct uffdio_range range = {(uintptr_t)address, bytes};
  (void)RESULT(ioctl(uffd, UFFDIO_WAKE, &range));
}

int os_uffd_continue(int uffd, void *address, size_t bytes, bool armed) {
  if (fails()) {
    return -ENOMEM;
  }
  uintptr_t from = (uintptr_t)address, limit = from + bytes;
  while (from < limit) {
    struct uffdio_continue c = {
        .range = {.start = from, .len = limit - from},
        // With SIGBUS nobody sleeps on a fault; else a pager wakes whoever does.
        .mode = UFFDIO_CONTINUE_MODE_DONTWAKE | (armed ? UFFDIO_CONTINUE_MODE_WP : 0),
    };
    int result = (int)RESULT(ioctl(uffd, UFFDIO_CONTINUE, &c));
    if (result == 0) {
      return 0;
    }
    // What was mapped before the call gave up counts, whatever it gave up for.
    if (c.mapped > 0) {
      from += (uintptr_t)c.mapped;
    } else if (result == -EEXIST) {
      from += 4096; // another thread was first
    } else if (result != -EAGAIN) {
      return result;
    }
  }
  return 0;
}

int os_uffd_disarm(int uffd, void *address, size_t bytes) {
  if (fails()) {
    return -ENOMEM;
  }
  struct uffdio_writeprotect wp = {.range = {.start = (uintptr_t)address, .len = bytes},
                                   .mode = UFFDIO_WRITEPROTECT_MODE_DONTWAKE};
  int result;
  do {
    result = (int)RESULT(ioctl(uffd, UFFDIO_WRITEPROTECT, &wp));
  } while (result == -EAGAIN);
  return result;
}

int os_pagemap_open(void) { return fails() ? -EMFILE : (int)RESULT(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)); }

int os_pagemap_harvest(int pagemap, uintptr_t *from, uintptr_t limit, struct os_range *ranges, int max) {
  enum { STEP = 64 };
  if (fails()) {
    return -ENOMEM;
  }
  struct scan_region found[STEP];
  struct scan_arg arg = {
      .size = sizeof arg,
      .flags = SCAN_WP_MATCHING | SCAN_CHECK_WPASYNC,
      .start = *from,
      .end = limit,
      .vec = (uintptr_t)found,
      .vec_len = (uint64_t)(max < STEP ? max : STEP),
      // WRITTEN alone: with PRESENT beside it, written pages whose entry was dropped would be lost.
      .category_mask = SCAN_WRITTEN,
      .return_mask = SCAN_WRITTEN,
  };
  int n;
  do {
    n = (int)RESULT(ioctl(pagemap, SCAN_IOCTL, &arg));
  } while (n == -EINTR || n == -EAGAIN);
  if (n < 0) {
    return n;
  }
  for (int i = 0; i < n; i++) {
    ranges[i] = (struct os_range){(uintptr_t)found[i].start, (uintptr_t)found[i].end};
  }
  *from = (uintptr_t)arg.walk_end;
  return n;
}

int os_uffd_fault(int uffd, int other, int event, struct os_fault *fault) {
  for (;;) {
    struct uffd_msg message;
    if (RESULT(read(uffd, &message, sizeof message)) == (long)sizeof message) {
      if (message.event == UFFD_EVENT_PAGEFAULT) {
        fault->address = (char *)(uintptr_t)message.arg.pagefault.address;
        fault->tid = message.arg.pagefault.feat.ptid;
        fault->write = (message.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0;
        return 1;
      }
      continue;
    }
    struct pollfd ready[3] = {{.fd = uffd, .events = POLLIN}, {.fd = event, .events = POLLIN}, {.fd = other, .events = POLLIN}};
    (void)RESULT(poll(ready, 3, -1));
    if (ready[2].revents != 0) {
      (void)RESULT(read(other, &message, sizeof message));
    }
    if (ready[1].revents != 0) {
      return 0;
    }
  }
}

int os_event(void) { return fails() ? -EMFILE : (int)RESULT(eventfd(0, EFD_CLOEXEC)); }

void os_event_post(int event) {
  uint64_t one = 1;
  (void)RESULT(write(event, &one, sizeof one));
}

// ---- Threads.

int os_thread_start(pthread_t *thread, void *(*fn)(void *), void *arg) {
  static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
  if (fails()) {
    return -EAGAIN;
  }
  sigset_t blocked, before;
  sigfillset(&blocked);
  for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
    sigdelset(&blocked, faults[i]);
  }
  os_mask(SIG_SETMASK, &blocked, &before); // inherited
  int result = -pthread_create(thread, NULL, fn, arg);
  os_mask(SIG_SETMASK, &before, NULL);
  return result;
}

void os_thread_join(pthread_t thread) { pthread_join(thread, NULL); }

void os_thread_detach(pthread_t thread) { pthread_detach(thread); }

unsigned os_processors(void) {
  long n = RESULT(sysconf(_SC_NPROCESSORS_ONLN));
  return n > 0 ? (unsigned)n : 1;
}

// The number stands on a page that the system wipes in a child of fork, before that runs at all; a child of vfork shares it, and our memory with it. No locks, since a child may come when one is held.
uint32_t os_process_here(void) {
  static AO_t here;                   // address of the page; 0: not yet
  static uint32_t volatile processes; // parents and children, in a row
  enum { PAGE = 4096 };
  if (at_load_acquire(&here) == 0) {
    void *page = os_map_private(PAGE);
    if (page != NULL && (madvise(page, PAGE, MADV_WIPEONFORK) != 0 || !at_cas_full(&here, 0, (uint64_t)page))) {
      os_unmap(page, PAGE);
    }
  }
  uint32_t volatile *at = (uint32_t volatile *)at_load_acquire(&here);
  if (at != NULL && at32_load(at) == 0) {
    at32_cas_full(at, 0, at32_add_full(&processes, 1) + 1);
  }
  return at != NULL ? at32_load(at) : 0;
}

uint32_t os_pid(void) { return (uint32_t)getpid(); }

uint32_t os_tid(void) { return (uint32_t)RESULT(syscall(SYS_gettid)); }

// ---- Waiting.

void os_wait(uint32_t volatile *word, uint32_t expected) {
  (void)RESULT(syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0));
}

void os_wake_all(uint32_t volatile *word) {
  (void)RESULT(syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 0x7fffffff, NULL, NULL, 0));
}

void os_yield(void) { (void)RESULT(sched_yield()); }

// Past the interposing library, which would take it for a call of the program's.
void os_nap(unsigned microseconds) {
  struct timespec nap = {0, (long)microseconds * 1000};
  (void)RESULT(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &nap, NULL));
}

// ---- Signals.

int os_handle(int signo, const struct sigaction *action, struct sigaction *previous) {
  return (int)RESULT(veilsig_action != NULL ? veilsig_action(signo, action, previous) : sigaction(signo, action, previous));
}

int os_claim(int signo, const struct sigaction *action, bool shared) {
  return (int)RESULT(veilsig_claim != NULL ? veilsig_claim(signo, action, shared) : sigaction(signo, action, NULL));
}

void os_unblock_claimed(void) {
  if (veilsig_thread != NULL) {
    veilsig_thread();
  }
}

int os_mask(int how, const sigset_t *set, sigset_t *previous) {
  return veilsig_mask != NULL ? -veilsig_mask(how, set, previous) : -pthread_sigmask(how, set, previous);
}

void os_signals_block(sigset_t *saved) {
  sigset_t all;
  sigfillset(&all);
  sigdelset(&all, SIGSEGV);
  sigdelset(&all, SIGBUS);
  sigdelset(&all, SIGILL);
  sigdelset(&all, SIGFPE);
  os_mask(SIG_BLOCK, &all, saved);
}

void os_signals_restore(const sigset_t *saved) { os_mask(SIG_SETMASK, saved, NULL); }

bool os_readable(const void *address) {
  char byte;
  struct iovec here = {&byte, 1}, there = {(void *)(uintptr_t)address, 1};
  return RESULT(process_vm_readv(getpid(), &here, 1, &there, 1, 0)) == 1;
}
