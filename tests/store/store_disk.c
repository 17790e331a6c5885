// SPDX-License-Identifier: MIT
// store_disk.c: the disk of tests/image/disk.h, for several threads: one call at a time. See store_trials.h.

#include <errno.h>
#include "tests/store/store_trials.h"
#include "vm/os.h"

__thread bool shared_reads_may_fail;

#define CALL(RESULT, NAME, ...)                                                                                                                                \
  shared *s = context;                                                                                                                                         \
  pthread_mutex_lock(&s->lock);                                                                                                                                \
  RESULT result = s->d->io.NAME(s->d, __VA_ARGS__);                                                                                                            \
  pthread_mutex_unlock(&s->lock);                                                                                                                              \
  return result

static int shared_open_file(void *context, const char *path, int flags, mode_t mode) { CALL(int, open, path, flags, mode); }
static ssize_t shared_write(void *context, int fd, const void *from, size_t bytes) { CALL(ssize_t, write, fd, from, bytes); }
static int shared_fdatasync(void *context, int fd) { CALL(int, fdatasync, fd); }
static int shared_fsync(void *context, int fd) { CALL(int, fsync, fd); }
static int shared_rename(void *context, const char *from, const char *to) { CALL(int, rename, from, to); }
static int shared_unlink(void *context, const char *path) { CALL(int, unlink, path); }
static int64_t shared_size(void *context, int fd, uint64_t identity[2]) { CALL(int64_t, size, fd, identity); }
static int shared_identity(void *context, const char *path, uint64_t identity[2]) { CALL(int, identity, path, identity); }
static int shared_lock(void *context, int fd, pid_t *holder) { CALL(int, lock, fd, holder); }
static int shared_lock_shared(void *context, int fd, pid_t *holder) { CALL(int, lock_shared, fd, holder); }
static int shared_direct(void *context, int fd, bool on) { CALL(int, direct, fd, on); }

static void shared_close_file(void *context, int fd) {
  shared *s = context;
  pthread_mutex_lock(&s->lock);
  s->d->io.close(s->d, fd);
  pthread_mutex_unlock(&s->lock);
}

static void shared_behind(void *context, int fd, uint64_t offset, uint64_t bytes) {}

static ssize_t shared_pread(void *context, int fd, void *to, size_t bytes, uint64_t offset) {
  shared *s = context;
  pthread_mutex_lock(&s->lock);
  disk *d = s->d;
  unsigned calls = d->calls, fail_at = d->fail_at;
  bool failed = d->failed;
  if (!shared_reads_may_fail) {
    d->fail_at = 0;
    d->failed = false;
  }
  ssize_t result = d->io.pread(d, fd, to, bytes, offset);
  if (!shared_reads_may_fail) {
    d->calls = calls;
    d->fail_at = fail_at;
    d->failed = failed;
  }
  pthread_mutex_unlock(&s->lock);
  return result;
}

// Under the lock: whether a write to there has no room.
static bool is_full(shared *s, int fd, uint64_t limit) { return s->full != 0 && (int64_t)limit > s->d->io.size(s->d, fd, NULL); }

void shared_full(shared *s, int error) {
  pthread_mutex_lock(&s->lock);
  s->full = error;
  pthread_mutex_unlock(&s->lock);
}

void shared_slow(shared *s, unsigned us) {
  pthread_mutex_lock(&s->lock);
  s->slow = us;
  pthread_mutex_unlock(&s->lock);
}

static ssize_t shared_pwrite(void *context, int fd, const void *from, size_t bytes, uint64_t offset) {
  shared *s = context;
  pthread_mutex_lock(&s->lock);
  unsigned slow = s->slow;
  pthread_mutex_unlock(&s->lock);
  if (slow != 0 && !pthread_equal(pthread_self(), s->quick)) {
    os_nap(slow);
  }
  pthread_mutex_lock(&s->lock);
  ssize_t result = is_full(s, fd, offset + bytes) ? -s->full : s->d->io.pwrite(s->d, fd, from, bytes, offset);
  pthread_mutex_unlock(&s->lock);
  return result;
}

static int shared_ftruncate(void *context, int fd, uint64_t bytes) {
  shared *s = context;
  pthread_mutex_lock(&s->lock);
  int result = is_full(s, fd, bytes) ? -s->full : s->d->io.ftruncate(s->d, fd, bytes);
  pthread_mutex_unlock(&s->lock);
  return result;
}

void shared_open(shared *s, disk *d) {
  *s = (shared){.d = d, .quick = pthread_self()};
  pthread_mutex_init(&s->lock, NULL);
  s->io = (rt_image_io){s,
                        shared_open_file,
                        shared_close_file,
                        shared_pread,
                        shared_pwrite,
                        shared_write,
                        shared_fdatasync,
                        shared_fsync,
                        shared_ftruncate,
                        shared_rename,
                        shared_unlink,
                        shared_size,
                        shared_identity,
                        shared_lock,
                        shared_lock_shared,
                        shared_direct,
                        shared_behind};
}

void shared_close(shared *s) { pthread_mutex_destroy(&s->lock); }

size_t shared_notes(shared *s) {
  pthread_mutex_lock(&s->lock);
  size_t notes = s->d->notes;
  pthread_mutex_unlock(&s->lock);
  return notes;
}
