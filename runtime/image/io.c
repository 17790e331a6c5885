// SPDX-License-Identifier: MIT
// io.c: the system under images, and what every file of this folder needs: checksums, numbers.
//
// Neighbours: io.h says what each call does. Any thread.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>
#include "runtime/image/inner.h"

enum { SUM_LONG = 256 }; // bytes from which on other instructions pay

// ---- Linux.

static int io_open(void *context, const char *path, int flags, mode_t mode) {
  int fd = open(path, flags | O_CLOEXEC, mode);
  return fd >= 0 ? fd : -errno;
}
static void io_close(void *context, int fd) { close(fd); }
static ssize_t io_pread(void *context, int fd, void *to, size_t bytes, uint64_t offset) {
  ssize_t n = pread(fd, to, bytes, (off_t)offset);
  return n >= 0 ? n : -errno;
}
static ssize_t io_pwrite(void *context, int fd, const void *from, size_t bytes, uint64_t offset) {
  ssize_t n = pwrite(fd, from, bytes, (off_t)offset);
  return n >= 0 ? n : -errno;
}
static ssize_t io_write(void *context, int fd, const void *from, size_t bytes) {
  ssize_t n = write(fd, from, bytes);
  return n >= 0 ? n : -errno;
}
static int io_fdatasync(void *context, int fd) { return fdatasync(fd) == 0 ? 0 : -errno; }
static int io_fsync(void *context, int fd) { return fsync(fd) == 0 ? 0 : -errno; }
static int io_ftruncate(void *context, int fd, uint64_t bytes) { return ftruncate(fd, (off_t)bytes) == 0 ? 0 : -errno; }
static int io_rename(void *context, const char *from, const char *to) { return rename(from, to) == 0 ? 0 : -errno; }
static int io_unlink(void *context, const char *path) { return unlink(path) == 0 ? 0 : -errno; }

static int64_t io_size(void *context, int fd, uint64_t identity[2]) {
  struct stat s;
  if (fstat(fd, &s) != 0) {
    return -errno;
  }
  if (identity != NULL) {
    identity[0] = s.st_dev;
    identity[1] = s.st_ino;
  }
  return S_ISREG(s.st_mode) ? s.st_size : -ESPIPE;
}

static int io_identity(void *context, const char *path, uint64_t identity[2]) {
  struct stat s;
  if (stat(path, &s) != 0) {
    return -errno;
  }
  identity[0] = s.st_dev;
  identity[1] = s.st_ino;
  return 0;
}

// im.one: the second lock is of a byte that names the process.
enum { PID_SPAN = 1 << 30 };
static const off_t lock_byte = (off_t)1 << 62;

static int lock_take(int fd, short type, pid_t *holder) {
  struct flock whole = {.l_type = type, .l_whence = SEEK_SET, .l_start = lock_byte, .l_len = 1};
  *holder = 0;
  if (fcntl(fd, F_OFD_SETLK, &whole) != 0) {
    if (errno != EAGAIN && errno != EACCES) {
      return -errno;
    }
    struct flock who = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = lock_byte + 1, .l_len = PID_SPAN};
    if (fcntl(fd, F_OFD_GETLK, &who) == 0 && who.l_type != F_UNLCK) {
      pid_t pid = (pid_t)(who.l_start - lock_byte - 1);
      *holder = who.l_type == F_RDLCK ? -pid : pid;
    }
    return -EAGAIN;
  }
  struct flock name = {.l_type = type, .l_whence = SEEK_SET, .l_start = lock_byte + 1 + getpid(), .l_len = 1};
  fcntl(fd, F_OFD_SETLK, &name); // if that fails, others are told of no process
  return 0;
}

static int io_lock(void *context, int fd, pid_t *holder) { return lock_take(fd, F_WRLCK, holder); }
static int io_lock_shared(void *context, int fd, pid_t *holder) { return lock_take(fd, F_RDLCK, holder); }

static int io_direct(void *context, int fd, bool on) {
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0) {
    return -errno;
  }
  return fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT) == 0 ? 0 : -errno;
}

static void io_behind(void *context, int fd, uint64_t offset, uint64_t bytes) { sync_file_range(fd, (off_t)offset, (off_t)bytes, SYNC_FILE_RANGE_WRITE); }

const rt_image_io rt_image_io_system = {
    .open = io_open,
    .close = io_close,
    .pread = io_pread,
    .pwrite = io_pwrite,
    .write = io_write,
    .fdatasync = io_fdatasync,
    .fsync = io_fsync,
    .ftruncate = io_ftruncate,
    .rename = io_rename,
    .unlink = io_unlink,
    .size = io_size,
    .identity = io_identity,
    .lock = io_lock,
    .lock_shared = io_lock_shared,
    .direct = io_direct,
    .behind = io_behind,
};

const rt_image_io *rt_image_io_of(const rt_image_options *options) { return options != NULL && options->io != NULL ? options->io : &rt_image_io_system; }

veil_status rt_image_no_memory(const image_file *file) { return rt_image_fail(file, VEIL_NO_MEMORY, "no memory for the image"); }

uint64_t rt_image_sum(const void *bytes, size_t count) {
  rt_image_summer *fast = count >= SUM_LONG ? rt_image_sum_fast() : NULL;
  return fast != NULL ? fast(bytes, count) : XXH3_64bits(bytes, count);
}

// ---- Memory.

void rt_image_large_pages(void *address, size_t bytes) { madvise(address, bytes, MADV_HUGEPAGE); }

// ---- Bytes and numbers.

static bool bytes_room(image_bytes *b, size_t count) {
  if (b->failed || count <= b->room - b->used) {
    return !b->failed;
  }
  size_t room = 2 * b->room + count + 256;
  uint8_t *at = realloc(b->at, room);
  if (at == NULL) {
    b->failed = true;
    return false;
  }
  b->at = at;
  b->room = room;
  return true;
}

void rt_image_bytes_add(image_bytes *b, const void *from, size_t count) {
  if (count != 0 && bytes_room(b, count)) {
    memcpy(b->at + b->used, from, count);
    b->used += count;
  }
}

void rt_image_bytes_number(image_bytes *b, uint64_t n) {
  if (bytes_room(b, 10)) {
    for (; n >= 0x80; n >>= 7) {
      b->at[b->used++] = (uint8_t)(n | 0x80);
    }
    b->at[b->used++] = (uint8_t)n;
  }
}

bool rt_image_number(const uint8_t **at, const uint8_t *limit, uint64_t *out) {
  uint64_t n = 0;
  for (unsigned shift = 0; shift < 64 && *at < limit; shift += 7) {
    uint8_t byte = *(*at)++;
    if (shift == 63 && byte > 1) {
      return false;
    }
    n |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) {
      *out = n;
      return true;
    }
  }
  return false;
}
