// SPDX-License-Identifier: MIT
// calls.c: blocking calls in brackets, their buffers touched.
//
// Neighbours: touch.c, stop.c. Runs in the mutator. The frame that begins the bracket ends it, as veil_block_begin wants.

#include "veil/calls.h"
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>
#include "runtime/runtime.h"

// Ranges that this call has touched. Nothing is allocated for them.
typedef struct ranges {
  veil_thread *self;
  unsigned count;
  void *base[RT_TOUCHES];
} ranges;

static void ranges_end(ranges *touched) {
  int saved = errno;
  while (touched->count > 0) {
    veil_untouch(touched->self, touched->base[--touched->count]);
  }
  errno = saved;
}

// Touches a range if it lies in the heap. False, with errno set and nothing left touched, if that cannot be done.
static bool range_touch(ranges *touched, const void *base, size_t bytes, bool write) {
  gc_heap *gc = rt_self_use(touched->self, "a call in brackets")->heap->gc;
  if (base == NULL || bytes == 0 || !gc_in_heap(gc, (uintptr_t)base)) {
    return true;
  }
  veil_status status = touched->count < RT_TOUCHES ? veil_touch(touched->self, (void *)(uintptr_t)base, bytes, write) : VEIL_BUSY;
  if (status == VEIL_OK) {
    touched->base[touched->count++] = (void *)(uintptr_t)base;
    return true;
  }
  ranges_end(touched);
  errno = status == VEIL_BUSY ? ENOBUFS : EFAULT;
  return false;
}

// The call, in brackets. Its value is TYPE; errno is what it left.
#define BRACKETED(SELF, TYPE, CALL)                                                                                    \
  ({                                                                                                                   \
    veil_block_begin(SELF);                                                                                            \
    TYPE value_ = (CALL);                                                                                              \
    int error_ = errno;                                                                                                \
    veil_block_end(SELF);                                                                                              \
    errno = error_;                                                                                                    \
    value_;                                                                                                            \
  })

// The same with one range that the kernel reads (WRITE false) or writes.
#define WITH_BUFFER(TYPE, BASE, BYTES, WRITE, CALL)                                                                    \
  ranges touched = {.self = self};                                                                                     \
  if (!range_touch(&touched, BASE, BYTES, WRITE)) {                                                                    \
    return -1;                                                                                                         \
  }                                                                                                                    \
  TYPE value = BRACKETED(self, TYPE, CALL);                                                                            \
  ranges_end(&touched);                                                                                                \
  return value

RT_EXPORT ssize_t veil_read(veil_thread *self, int fd, void *buffer, size_t bytes) {
  WITH_BUFFER(ssize_t, buffer, bytes, true, read(fd, buffer, bytes));
}

RT_EXPORT ssize_t veil_write(veil_thread *self, int fd, const void *buffer, size_t bytes) {
  WITH_BUFFER(ssize_t, buffer, bytes, false, write(fd, buffer, bytes));
}

RT_EXPORT ssize_t veil_pread(veil_thread *self, int fd, void *buffer, size_t bytes, off_t offset) {
  WITH_BUFFER(ssize_t, buffer, bytes, true, pread(fd, buffer, bytes, offset));
}

RT_EXPORT ssize_t veil_pwrite(veil_thread *self, int fd, const void *buffer, size_t bytes, off_t offset) {
  WITH_BUFFER(ssize_t, buffer, bytes, false, pwrite(fd, buffer, bytes, offset));
}

// The vector first, because it is read here: touched, it does not move.
static bool vector_touch(ranges *touched, const struct iovec *iov, int count, bool write) {
  if (count < 0 || count > IOV_MAX) {
    return true; // the call itself says what is wrong
  }
  if (!range_touch(touched, iov, (size_t)count * sizeof *iov, false)) {
    return false;
  }
  for (int i = 0; i < count; i++) {
    if (!range_touch(touched, iov[i].iov_base, iov[i].iov_len, write)) {
      return false;
    }
  }
  return true;
}

RT_EXPORT ssize_t veil_readv(veil_thread *self, int fd, const struct iovec *iov, int count) {
  ranges touched = {.self = self};
  if (!vector_touch(&touched, iov, count, true)) {
    return -1;
  }
  ssize_t value = BRACKETED(self, ssize_t, readv(fd, iov, count));
  ranges_end(&touched);
  return value;
}

RT_EXPORT ssize_t veil_writev(veil_thread *self, int fd, const struct iovec *iov, int count) {
  ranges touched = {.self = self};
  if (!vector_touch(&touched, iov, count, false)) {
    return -1;
  }
  ssize_t value = BRACKETED(self, ssize_t, writev(fd, iov, count));
  ranges_end(&touched);
  return value;
}

RT_EXPORT ssize_t veil_recv(veil_thread *self, int fd, void *buffer, size_t bytes, int flags) {
  WITH_BUFFER(ssize_t, buffer, bytes, true, recv(fd, buffer, bytes, flags));
}

RT_EXPORT ssize_t veil_send(veil_thread *self, int fd, const void *buffer, size_t bytes, int flags) {
  WITH_BUFFER(ssize_t, buffer, bytes, false, send(fd, buffer, bytes, flags));
}

RT_EXPORT ssize_t veil_recvfrom(veil_thread *self, int fd, void *buffer, size_t bytes, int flags, struct sockaddr *from,
                                socklen_t *from_bytes) {
  WITH_BUFFER(ssize_t, buffer, bytes, true, recvfrom(fd, buffer, bytes, flags, from, from_bytes));
}

RT_EXPORT ssize_t veil_sendto(veil_thread *self, int fd, const void *buffer, size_t bytes, int flags,
                              const struct sockaddr *to, socklen_t to_bytes) {
  WITH_BUFFER(ssize_t, buffer, bytes, false, sendto(fd, buffer, bytes, flags, to, to_bytes));
}

RT_EXPORT int veil_accept(veil_thread *self, int fd, struct sockaddr *address, socklen_t *address_bytes) {
  return BRACKETED(self, int, accept(fd, address, address_bytes));
}

RT_EXPORT int veil_connect(veil_thread *self, int fd, const struct sockaddr *address, socklen_t address_bytes) {
  return BRACKETED(self, int, connect(fd, address, address_bytes));
}

RT_EXPORT int veil_fsync(veil_thread *self, int fd) { return BRACKETED(self, int, fsync(fd)); }

RT_EXPORT int veil_poll_fds(veil_thread *self, struct pollfd *fds, nfds_t count, int timeout_ms) {
  WITH_BUFFER(int, fds, count * sizeof *fds, true, poll(fds, count, timeout_ms));
}

RT_EXPORT int veil_select(veil_thread *self, int count, fd_set *read, fd_set *write, fd_set *except,
                          struct timeval *timeout) {
  ranges touched = {.self = self};
  if (!range_touch(&touched, read, sizeof *read, true) || !range_touch(&touched, write, sizeof *write, true) ||
      !range_touch(&touched, except, sizeof *except, true) || !range_touch(&touched, timeout, sizeof *timeout, true)) {
    return -1;
  }
  int value = BRACKETED(self, int, select(count, read, write, except, timeout));
  ranges_end(&touched);
  return value;
}

RT_EXPORT int veil_epoll_wait(veil_thread *self, int epoll, struct epoll_event *events, int max, int timeout_ms) {
  WITH_BUFFER(int, events, max > 0 ? (size_t)max * sizeof *events : 0, true, epoll_wait(epoll, events, max, timeout_ms));
}

RT_EXPORT int veil_nanosleep(veil_thread *self, const struct timespec *wanted, struct timespec *left) {
  ranges touched = {.self = self};
  if (!range_touch(&touched, wanted, sizeof *wanted, false) || !range_touch(&touched, left, sizeof *left, true)) {
    return -1;
  }
  int value = BRACKETED(self, int, nanosleep(wanted, left));
  ranges_end(&touched);
  return value;
}

RT_EXPORT pid_t veil_waitpid(veil_thread *self, pid_t pid, int *status, int options) {
  WITH_BUFFER(pid_t, status, sizeof *status, true, waitpid(pid, status, options));
}

RT_EXPORT int veil_mutex_lock(veil_thread *self, pthread_mutex_t *mutex) {
  int result = pthread_mutex_trylock(mutex); // the usual case costs no bracket
  return result != EBUSY ? result : BRACKETED(self, int, pthread_mutex_lock(mutex));
}

RT_EXPORT int veil_cond_wait(veil_thread *self, pthread_cond_t *condition, pthread_mutex_t *mutex) {
  return BRACKETED(self, int, pthread_cond_wait(condition, mutex));
}

RT_EXPORT int veil_cond_timedwait(veil_thread *self, pthread_cond_t *condition, pthread_mutex_t *mutex,
                                  const struct timespec *until) {
  return BRACKETED(self, int, pthread_cond_timedwait(condition, mutex, until));
}

RT_EXPORT int veil_join(veil_thread *self, pthread_t thread, void **result) {
  return BRACKETED(self, int, pthread_join(thread, result));
}

RT_EXPORT int veil_sem_wait(veil_thread *self, sem_t *semaphore) { return BRACKETED(self, int, sem_wait(semaphore)); }
