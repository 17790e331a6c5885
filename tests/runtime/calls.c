// SPDX-License-Identifier: MIT
// calls.c: the ready-made brackets: they do what the calls do, on objects of every kind, while cycles run, and never get EINTR from a stop.

#include "veil/calls.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include "tests/runtime/world.h"

static int volatile over;

static void *collects(void *unused) {
  veil_thread *me = veil_attach(heap);
  while (!over) {
    veil_collect(me);
    veil_nanosleep(me, &(struct timespec){0, 500000}, NULL);
  }
  veil_detach(me);
  return NULL;
}

static pthread_t collector;
static bool start_collecting(const char *back_end) {
  if (!start((veil_options){.back_end = back_end, .verify = 1})) {
    return false;
  }
  over = 0;
  collector = thread_start(collects, NULL);
  return true;
}
static void end_collecting(void) {
  over = 1;
  cr_assert_eq(veil_join(self, collector, NULL), 0);
  end();
}

#define COLLECTING_OR_SKIP()                                                                                           \
  if (!start_collecting(back_end)) {                                                                                   \
    cr_skip_test("the back end does not work here");                                                                   \
  }

static void bytes_fill(char *at, size_t bytes, int seed) {
  for (size_t i = 0; i < bytes; i++) {
    at[i] = (char)((i * 7 + (size_t)seed) % 60 * 2 + 1); // odd bytes: no word is a reference
  }
}
static bool bytes_check(const char *at, size_t bytes, int seed) {
  for (size_t i = 0; i < bytes; i++) {
    if (at[i] != (char)((i * 7 + (size_t)seed) % 60 * 2 + 1)) {
      return false;
    }
  }
  return true;
}

ON_ALL_BACK_ENDS(calls, files_are_read_and_written_in_objects_with_pointers) {
  COLLECTING_OR_SKIP();
  int file = memfd_create("calls", 0);
  static const size_t sizes[] = {8, 400, 4000, 30000, 200000};
  for (int round = 0; round < 60; round++) {
    size_t bytes = sizes[round % 5];
    char *out = (char *)veil_new_pointers(self, bytes / 8), *in = (char *)veil_new_pointers(self, bytes / 8);
    bytes_fill(out, bytes, round);
    cr_assert_eq(veil_pwrite(self, file, out, bytes, 0), (ssize_t)bytes, "%s", strerror(errno));
    cr_assert_eq(veil_pread(self, file, in, bytes, 0), (ssize_t)bytes);
    cr_assert(bytes_check(in, bytes, round));
    memset(in, 0, bytes);
    struct iovec iov[3] = {{in, bytes / 2}, {NULL, 0}, {in + bytes / 2, bytes - bytes / 2}};
    lseek(file, 0, SEEK_SET);
    cr_assert_eq(veil_readv(self, file, iov, 3), (ssize_t)bytes);
    cr_assert(bytes_check(in, bytes, round));
    lseek(file, 0, SEEK_SET);
    cr_assert_eq(veil_writev(self, file, iov, 3), (ssize_t)bytes);
    memset(in, 0, bytes);
    lseek(file, 0, SEEK_SET);
    cr_assert_eq(veil_read(self, file, in, bytes), (ssize_t)bytes);
    cr_assert(bytes_check(in, bytes, round));
    lseek(file, 0, SEEK_SET);
    cr_assert_eq(veil_write(self, file, in, bytes), (ssize_t)bytes);
  }
  cr_assert_eq(veil_fsync(self, file), 0);
  end_collecting();
}

// The other end of a connection, slow: the reader waits through cycles.
static int ends[2];
static void *echoes(void *unused) {
  char buffer[1000];
  ssize_t n;
  while ((n = read(ends[1], buffer, sizeof buffer)) > 0) {
    sleep_ms(5);
    EXPECT(write(ends[1], buffer, (size_t)n) == n);
  }
  return NULL;
}

ON_ALL_BACK_ENDS(calls, sockets_wait_through_cycles_without_eintr) {
  COLLECTING_OR_SKIP();
  cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  pthread_t peer = thread_start(echoes, NULL);
  uint64_t before = stats_of(heap).major_cycles;
  for (int round = 0; round < 30; round++) {
    char *out = (char *)veil_new_pointers(self, 100), *in = (char *)veil_new_pointers(self, 100);
    bytes_fill(out, 800, round);
    cr_assert_eq(round % 2 ? veil_send(self, ends[0], out, 800, 0) : veil_sendto(self, ends[0], out, 800, 0, NULL, 0), 800);
    struct pollfd *fds = veil_new_bytes(self, sizeof *fds);
    *fds = (struct pollfd){ends[0], POLLIN, 0};
    cr_assert_eq(veil_poll_fds(self, fds, 1, -1), 1, "%s", strerror(errno));
    cr_assert_eq(fds->revents, POLLIN);
    for (ssize_t got = 0, n; got < 800; got += n) {
      n = round % 2 ? veil_recv(self, ends[0], in + got, (size_t)(800 - got), 0)
                    : veil_recvfrom(self, ends[0], in + got, (size_t)(800 - got), 0, NULL, NULL);
      cr_assert_gt(n, 0, "%s", strerror(errno));
    }
    cr_assert(bytes_check(in, 800, round));
  }
  cr_assert_gt(stats_of(heap).major_cycles, before);
  shutdown(ends[0], SHUT_RDWR);
  cr_assert_eq(veil_join(self, peer, NULL), 0);
  end_collecting();
}

ON_ALL_BACK_ENDS(calls, waiting_for_time_children_and_sets_is_not_interrupted) {
  COLLECTING_OR_SKIP();
  struct timespec began, now;
  clock_gettime(CLOCK_MONOTONIC, &began);
  struct timespec *wanted = veil_new_bytes(self, sizeof *wanted);
  wanted->tv_nsec = 100000000;
  cr_assert_eq(veil_nanosleep(self, wanted, NULL), 0, "%s", strerror(errno));
  struct timeval timeout = {0, 50000};
  cr_assert_eq(veil_select(self, 0, NULL, NULL, NULL, &timeout), 0, "%s", strerror(errno));
  int epoll = epoll_create1(0);
  struct epoll_event *events = veil_new_bytes(self, 4 * sizeof *events);
  cr_assert_eq(veil_epoll_wait(self, epoll, events, 4, 50), 0, "%s", strerror(errno));
  clock_gettime(CLOCK_MONOTONIC, &now);
  cr_assert_geq((now.tv_sec - began.tv_sec) * 1000 + (now.tv_nsec - began.tv_nsec) / 1000000, 195);
  pid_t child = vfork();
  if (child == 0) {
    execl("/bin/sleep", "sleep", "0.1", NULL);
    _exit(1);
  }
  int *status = veil_new_bytes(self, sizeof *status);
  *status = -1;
  cr_assert_eq(veil_waitpid(self, child, status, 0), child);
  cr_assert(WIFEXITED(*status) && WEXITSTATUS(*status) == 0);
  end_collecting();
}

// ---- Locks.

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static sem_t semaphore;
static node *shared; // a root

static void *takes_turns(void *arg) {
  veil_thread *me = veil_attach(heap);
  for (int i = 0; i < 300; i++) {
    EXPECT(veil_mutex_lock(me, &mutex) == 0);
    node *n = veil_new(me, node); // a collection with the lock held
    n->right = shared;
    n->key = shared ? shared->key + 1 : 0;
    shared = n;
    if (i % 50 == 0) {
      veil_collect(me);
    }
    pthread_cond_broadcast(&condition);
    pthread_mutex_unlock(&mutex);
  }
  veil_detach(me);
  sem_post(&semaphore);
  return arg;
}

ON_ALL_BACK_ENDS(calls, who_waits_for_a_lock_keeps_no_stop_waiting) {
  COLLECTING_OR_SKIP();
  sem_init(&semaphore, 0, 0);
  cr_assert_eq(veil_add_roots(heap, &shared, 1), VEIL_OK);
  pthread_t threads[3];
  for (int i = 0; i < 3; i++) {
    threads[i] = thread_start(takes_turns, &threads[i]);
  }
  cr_assert_eq(veil_mutex_lock(self, &mutex), 0);
  while (shared == NULL || shared->key < 899) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 1;
    int result = veil_cond_timedwait(self, &condition, &mutex, &until);
    cr_assert(result == 0 || result == ETIMEDOUT);
  }
  pthread_mutex_unlock(&mutex);
  for (int i = 0; i < 3; i++) {
    cr_assert_eq(veil_sem_wait(self, &semaphore), 0);
  }
  for (int i = 0; i < 3; i++) {
    void *result;
    cr_assert_eq(veil_join(self, threads[i], &result), 0);
    cr_assert_eq(result, &threads[i]);
  }
  long length = 0;
  for (node *n = shared; n != NULL; n = n->right) {
    cr_assert_eq(n->key, 899 - length++);
  }
  cr_assert_eq(length, 900);
  end_collecting();
}

// ---- Bad input.

Test(calls, a_range_that_is_not_within_one_object_is_refused) {
  cr_assert(start((veil_options){.verify = 1}));
  int file = memfd_create("calls", 0);
  char *object = (char *)veil_new_pointers(self, 10);
  errno = 0;
  cr_assert_eq(veil_read(self, file, object, 81), -1);
  cr_assert_eq(errno, EFAULT);
  cr_assert(strstr(veil_error(), "not within one object") != NULL);
  struct iovec iov[2] = {{object, 80}, {object + 8, 1000}};
  cr_assert_eq(veil_writev(self, file, iov, 2), -1);
  cr_assert_eq(errno, EFAULT);
  cr_assert_eq(veil_touch(self, object, 80, true), VEIL_OK, "nothing is left touched: all sixteen are free");
  veil_untouch(self, object);
  end();
}

Test(calls, more_ranges_than_a_thread_may_touch_are_refused) {
  cr_assert(start((veil_options){.verify = 1}));
  int file = memfd_create("calls", 0);
  struct iovec iov[17];
  for (int i = 0; i < 17; i++) {
    iov[i] = (struct iovec){veil_new_pointers(self, 10), 80};
  }
  errno = 0;
  cr_assert_eq(veil_writev(self, file, iov, 17), -1);
  cr_assert_eq(errno, ENOBUFS);
  cr_assert_eq(veil_writev(self, file, iov, 16), 16 * 80);
  errno = 0;
  cr_assert_eq(veil_writev(self, file, iov, -1), -1);
  cr_assert_eq(errno, EINVAL);
  cr_assert_eq(veil_read(self, -1, iov[0].iov_base, 80), -1);
  cr_assert_eq(errno, EBADF);
  end();
}

DIES(calls, a_call_between_brackets_is_noticed, "between veil_block_begin and veil_block_end") {
  start((veil_options){.verify = 1});
  veil_block_begin(self);
  char buffer[10];
  (void)veil_read(self, 0, buffer, 10);
}
