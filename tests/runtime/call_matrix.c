// SPDX-License-Identifier: MIT
// call_matrix.c: every usual way in which the kernel reads or writes memory, on each kind of memory of a heap, on each back
// end: what comes of it is what runtime/README.md says, and nothing is ever corrupted in silence.

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include "tests/runtime/world.h"
#include "veil/hooks.h"

enum { BYTES = 512 }; // of each buffer, within one page

// ---- The calls. Each lets the kernel read or write BYTES (or fewer) at `at`, and returns 0 or an errno. SKIPPED: not on this system.

enum { SKIPPED = -1 };

static int pipe_ends[2], socket_ends[2], file;
static char pattern[BYTES];

static int result_of(long value) { return value < 0 ? errno : 0; }

static int does_read(void *at) {
  EXPECT(write(pipe_ends[1], pattern, BYTES) == BYTES);
  int result = result_of(read(pipe_ends[0], at, BYTES));
  if (result != 0) { // what was not delivered is still there
    char drained[BYTES];
    EXPECT(read(pipe_ends[0], drained, BYTES) == BYTES && memcmp(drained, pattern, BYTES) == 0);
  }
  return result;
}

static int does_pread(void *at) { return result_of(pread(file, at, BYTES, 0)); }

static int does_readv(void *at) {
  struct iovec iov[2] = {{at, 100}, {(char *)at + 100, BYTES - 100}};
  return result_of(preadv(file, iov, 2, 0));
}

static int does_recv(void *at) {
  EXPECT(send(socket_ends[1], pattern, BYTES, 0) == BYTES);
  int result = result_of(recv(socket_ends[0], at, BYTES, 0));
  if (result != 0) {
    char drained[BYTES];
    (void)recv(socket_ends[0], drained, BYTES, MSG_DONTWAIT); // a datagram may be gone
  }
  return result;
}

static int does_getrandom(void *at) { return result_of(getrandom(at, BYTES, 0)); }

static int does_stat(void *at) { return result_of(fstat(file, at)); }

static int does_write(void *at) {
  int result = result_of(write(pipe_ends[1], at, BYTES));
  if (result == 0) {
    char got[BYTES];
    EXPECT(read(pipe_ends[0], got, BYTES) == BYTES && memcmp(got, pattern, BYTES) == 0);
  }
  return result;
}

static int does_send(void *at) {
  int result = result_of(send(socket_ends[1], at, BYTES, 0));
  if (result == 0) {
    char got[BYTES];
    EXPECT(recv(socket_ends[0], got, BYTES, 0) == BYTES && memcmp(got, pattern, BYTES) == 0);
  }
  return result;
}

// A wait for another value than the one that is there: the kernel reads the word, and says so.
static int does_futex(void *at) {
  uint32_t there;
  memcpy(&there, pattern, 4);
  long value = syscall(SYS_futex, at, FUTEX_WAIT_PRIVATE, there ^ 1, NULL, NULL, 0);
  EXPECT(value < 0);
  return errno == EAGAIN ? 0 : errno;
}

// The child of vfork shares our memory; the kernel reads the argument out of it. `test STRING1 = STRING2` tells what it read.
static int does_exec(void *at) {
  char expected[BYTES];
  memcpy(expected, pattern, BYTES);
  char *argv[] = {"test", at, "=", expected, NULL};
  char *envp[] = {NULL};
  int volatile error = 0;
  pid_t child = vfork();
  if (child == 0) {
    execve("/usr/bin/test", argv, envp);
    error = errno;
    _exit(126);
  }
  int status;
  EXPECT(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
  EXPECT(error != 0 || WEXITSTATUS(status) == 0);
  return error;
}

// One read by io_uring, with the system calls alone.
static int does_io_uring(void *at) {
  struct io_uring_params p;
  memset(&p, 0, sizeof p);
  int ring = (int)syscall(SYS_io_uring_setup, 1, &p);
  if (ring < 0) {
    return SKIPPED;
  }
  size_t sq_bytes = p.sq_off.array + p.sq_entries * 4, cq_bytes = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
  char *sq = mmap(NULL, sq_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
  char *cq = mmap(NULL, cq_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
  struct io_uring_sqe *sqes =
      mmap(NULL, p.sq_entries * sizeof *sqes, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
  EXPECT(sq != MAP_FAILED && cq != MAP_FAILED && sqes != MAP_FAILED);
  memset(sqes, 0, sizeof *sqes);
  *sqes = (struct io_uring_sqe){.opcode = IORING_OP_READ, .fd = file, .addr = (uintptr_t)at, .len = BYTES};
  *(uint32_t *)(sq + p.sq_off.array) = 0;
  __atomic_store_n((uint32_t *)(sq + p.sq_off.tail), 1, __ATOMIC_RELEASE);
  long n;
  while ((n = syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0)) < 0 && errno == EINTR) {
  }
  int result = SKIPPED;
  if (n >= 0) {
    struct io_uring_cqe *cqe = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
    result = cqe->res < 0 ? -cqe->res : 0;
  }
  munmap(sq, sq_bytes);
  munmap(cq, cq_bytes);
  munmap(sqes, p.sq_entries * sizeof *sqes);
  close(ring);
  return result;
}

typedef struct call {
  const char *name;
  int (*does)(void *at);
  bool writes;  // the kernel writes
  bool pattern; // what it writes is the pattern
} call;

static const call calls[] = {
    {"read", does_read, true, true},       {"pread", does_pread, true, true}, {"readv", does_readv, true, true},
    {"recv", does_recv, true, true},       {"getrandom", does_getrandom, true, false},
    {"stat", does_stat, true, false},      {"io_uring", does_io_uring, true, true},
    {"write", does_write, false, false},   {"send", does_send, false, false}, {"futex", does_futex, false, false},
    {"execve", does_exec, false, false},
};
enum { CALLS = sizeof calls / sizeof calls[0] };

static void calls_open(void) {
  for (int i = 0; i < BYTES; i++) {
    pattern[i] = (char)(i % 64 * 2 + 1); // words that are no references, bytes that are no zero
  }
  pattern[BYTES - 1] = 0; // a string, for execve
  file = memfd_create("pattern", 0);
  EXPECT(pipe(pipe_ends) == 0 && socketpair(AF_UNIX, SOCK_DGRAM, 0, socket_ends) == 0 && file >= 0);
  EXPECT(write(file, pattern, BYTES) == BYTES);
}

// ---- The kinds of memory.

typedef enum kind {
  SMALL_LEAF,    // bytes in an object without pointers
  LARGE_LEAF,
  BLACK,         // an object with pointers that no claim lies on
  LARGE_BLACK,
  VEILED,        // grey: not yet scanned in this cycle
  ABSENT,        // a service has the page away
  UNSAVED,       // a service wants to save it before it is written
  ARMED,         // a service watches for writes
  TOUCHED,       // inside veil_touch, whatever it was before: here absent and unsaved
  TOUCHED_VEILED,
  TOUCHED_ARMED,
  KINDS
} kind;

static const char *const kind_names[KINDS] = {"small leaf", "large leaf", "black",   "large black",    "veiled",       "absent",
                                              "unsaved",    "armed",      "touched", "touched veiled", "touched armed"};

// What the table in runtime/README.md says: 0, or EFAULT.
static int expected(kind k, bool writes, const char *back_end) {
  if (strcmp(back_end, "none") == 0 || strncmp(back_end, "uffd-kernel", 11) == 0) {
    return 0;
  }
  bool readable = strcmp(back_end, "mprotect") == 0; // can forbid writing alone
  switch (k) {
  case VEILED:
  case ABSENT:
    return EFAULT;
  case UNSAVED:
    return writes || !readable ? EFAULT : 0;
  case ARMED:
    return writes && strcmp(back_end, "uffd") != 0 ? EFAULT : 0;
  default:
    return 0;
  }
}

static veil_pages pages;
static veil_service *service;
static char away[65536];
static size_t away_page;
static int armed_writes;

static size_t page_of(const void *object) { return (size_t)((const char *)object - pages.base) / pages.page_size; }
static char *alias_of(const void *object) { return (char *)object + pages.delta; }
static char *page_alias(size_t page) { return pages.base + pages.delta + page * pages.page_size; }

static void on_absent(void *arg, size_t page) {
  EXPECT(page == away_page);
  memcpy(page_alias(page), away, pages.page_size);
}
static void on_unsaved(void *arg, size_t page) { EXPECT(page == away_page); }

static bool page_claim(void *at, veil_claim claim) {
  away_page = page_of(at);
  if (veil_service_claim(service, away_page, claim) != VEIL_OK) {
    return false;
  }
  if (claim == VEIL_ABSENT) {
    memcpy(away, page_alias(away_page), pages.page_size);
    memset(page_alias(away_page), 0x55, pages.page_size);
  }
  return true;
}

static void *watched;
static void on_dirty(void *arg, size_t page) { armed_writes += page == page_of(watched); }

// A large array of pointers that is grey in its last page: scanners come to that last. NULL if they were quicker. Its page is
// not read through the view here: that would be a touch.
static void *veiled_make(void **large, size_t count) {
  veil_collect(self);
  char *at = (char *)(large + count) - 2048;
  EXPECT(page_of(at) == page_of(at + BYTES));
  memcpy(alias_of(at), pattern, BYTES);
  veil_collect_start(self);
  return at;
}

static char *buffer_within_page(void *object) {
  char *at = object;
  if (page_of(at) != page_of(at + BYTES)) {
    at = pages.base + (page_of(at) + 1) * pages.page_size;
  }
  return at;
}

// Memory of the kind, holding the pattern; NULL: not on this back end, or not this time.
static void *memory_make(kind k, void **large, size_t large_count) {
  void *at;
  switch (k) {
  case SMALL_LEAF:
    at = buffer_within_page(veil_new_bytes(self, 2 * BYTES));
    break;
  case LARGE_LEAF:
    at = veil_new_bytes(self, 200000);
    break;
  case LARGE_BLACK:
    at = veil_new_pointers(self, 20000);
    break;
  case VEILED:
  case TOUCHED_VEILED:
    return veiled_make(large, large_count);
  default:
    at = buffer_within_page(veil_new_pointers(self, 2 * BYTES / 8));
  }
  memcpy(at, pattern, BYTES);
  watched = at;
  bool made = true;
  switch (k) {
  case ABSENT:
    made = page_claim(at, VEIL_ABSENT);
    break;
  case UNSAVED:
    made = page_claim(at, VEIL_UNSAVED);
    break;
  case TOUCHED:
    made = page_claim(at, VEIL_ABSENT) && veil_service_claim(service, away_page, VEIL_UNSAVED) == VEIL_OK;
    break;
  case ARMED:
  case TOUCHED_ARMED:
    veil_service_dirty(service, on_dirty, NULL);
    break;
  default:
    break;
  }
  return made ? at : NULL;
}

static bool is_touched(kind k) { return k >= TOUCHED; }

// One cell of the matrix. False: this memory could not be made, or was changed meanwhile by a scanner.
static bool cell_check(const char *back_end, kind k, const call *c, void **large, size_t large_count) {
  char *at = memory_make(k, large, large_count);
  if (at == NULL) {
    return false;
  }
  if (is_touched(k)) {
    cr_assert_eq(veil_touch(self, at, BYTES, c->writes), VEIL_OK, "%s", veil_error());
  }
  armed_writes = 0;
  int result = c->does(at), want = expected(k, c->writes, back_end);
  if (k == VEILED && result == 0 && want != 0) {
    veil_collect(self);
    return false; // the scanner was quicker
  }
  if (result == SKIPPED) {
    return true;
  }
  cr_assert(result == want, "%s on %s memory, %s: %s instead of %s", c->name, kind_names[k], back_end, strerror(result),
            strerror(want));
  if (result == 0 && c->writes && (k == ARMED || k == TOUCHED_ARMED)) {
    veil_service_dirty(service, on_dirty, NULL);
    cr_assert_eq(armed_writes, 1, "%s on %s memory, %s: the write was not noticed", c->name, kind_names[k], back_end);
  }
  if (is_touched(k)) {
    veil_untouch(self, at);
  }
  // What is there is what was there, or what the call has written: through the view, which settles whatever is left to be.
  bool changed = result == 0 && c->writes && !c->pattern;
  cr_assert(changed || memcmp(at, pattern, BYTES) == 0, "%s on %s memory, %s: contents", c->name, kind_names[k], back_end);
  cr_assert_eq(memcmp(at, alias_of(at), BYTES), 0, "view and alias differ");
  memset(at, 0, BYTES);
  veil_collect(self);
  return true;
}

ON_ALL_BACK_ENDS(call_matrix, every_call_on_every_kind_of_memory_does_what_the_table_says) {
  // Nobody watches black memory for writes.
  START_OR_SKIP(.back_end = back_end, .limit = 512 * (size_t)MIB, .generations = VEIL_GENERATIONS_OFF);
  calls_open();
  pages = veil_heap_pages(heap);
  static const veil_service_callbacks callbacks = {.absent = on_absent, .unsaved = on_unsaved};
  service = veil_service_open(heap, "matrix", &callbacks, NULL);
  EXPECT(service != NULL);
  enum { LARGE = 1 << 20 }; // words: 2048 pages, some milliseconds of scanning
  void **large = veil_new_pointers(self, LARGE);
  void **other = veil_new_pointers(self, 100);
  for (size_t i = 0; i < LARGE - 512; i++) {
    large[i] = other;
  }
  for (int k = 0; k < KINDS; k++) {
    for (int c = 0; c < CALLS; c++) {
      bool made = false;
      for (int tries = 0; tries < 50 && !made; tries++) {
        made = cell_check(back_end, (kind)k, &calls[c], large, LARGE);
      }
      bool claims = strcmp(back_end, "none") != 0; // without traps nothing can be claimed
      cr_assert(made || (!claims && k >= VEILED), "%s memory, %s on %s", kind_names[k], calls[c].name, back_end);
    }
  }
  veil_service_close(service);
  end();
}

// ---- Signal frames: an alternate stack inside the heap. The kernel writes the frame; if it cannot, the process dies.

static int volatile handled;
static void on_usr1(int signo) { handled++; }

typedef struct frame_case {
  const char *back_end;
  bool leaf, claimed, touched;
} frame_case;

enum { FRAME_BYTES = 64 << 10 };

static void frame_take(void *arg) {
  const frame_case *f = arg;
  if (!start((veil_options){.back_end = f->back_end})) {
    _exit(77);
  }
  static const veil_service_callbacks nothing = {.unsaved = NULL};
  pages = veil_heap_pages(heap);
  service = veil_service_open(heap, "frames", &nothing, NULL);
  char *stack = f->leaf ? veil_new_bytes(self, FRAME_BYTES) : (char *)veil_new_pointers(self, FRAME_BYTES / 8);
  stack_t alternate = {.ss_sp = stack, .ss_size = FRAME_BYTES};
  struct sigaction action = {.sa_handler = on_usr1, .sa_flags = SA_ONSTACK};
  EXPECT(sigaltstack(&alternate, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0);
  size_t last = page_of(stack + FRAME_BYTES - 1);
  for (size_t page = last; f->claimed && page + 8 > last; page--) { // frames are written from the top on
    EXPECT(veil_service_claim(service, page, VEIL_UNSAVED) == VEIL_OK || strcmp(f->back_end, "none") == 0);
  }
  if (f->touched) {
    EXPECT(veil_touch(self, stack, FRAME_BYTES, true) == VEIL_OK);
  }
  raise(SIGUSR1);
  EXPECT(handled == 1);
  _exit(0);
}

static death frame_end(frame_case f) {
  death d = death_of(frame_take, &f);
  if (d.code == 77) {
    cr_skip_test("the back end does not work here");
  }
  return d;
}

ON_ALL_BACK_ENDS(call_matrix, a_signal_frame_on_a_leaf_object_is_written) {
  death d = frame_end((frame_case){.back_end = back_end, .leaf = true});
  cr_assert(death_none(&d));
}

ON_ALL_BACK_ENDS(call_matrix, a_signal_frame_on_touched_memory_is_written) {
  death d = frame_end((frame_case){.back_end = back_end, .claimed = true, .touched = true});
  cr_assert(death_none(&d));
}

ON_ALL_BACK_ENDS(call_matrix, a_signal_frame_that_the_kernel_cannot_write_kills) {
  death d = frame_end((frame_case){.back_end = back_end, .claimed = true});
  if (expected(UNSAVED, true, back_end) == 0) {
    cr_assert(death_none(&d));
  } else {
    cr_assert_eq(d.signal, SIGSEGV, "signal %d, code %d: %s", d.signal, d.code, d.said);
  }
}
