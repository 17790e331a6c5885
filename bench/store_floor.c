// SPDX-License-Identifier: MIT
// store_floor.c: what the disk allows, for the workload `store`: appends to a file that has its size and was written before, and fdatasync. 4 KiB at a time, or as many as the updates take. It holds nothing.

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "bench/store_load.h"

enum { PAGE = 4096, PIECE = 1 << 20, LOG = 64 * PIECE };
static int fd;
static unsigned char *piece; // what is written, PIECE and more
static off_t at;             // where the next goes; under the lock
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void whole_write(size_t bytes, off_t where) {
  for (size_t done = 0; done < bytes;) {
    ssize_t got = pwrite(fd, piece + done, bytes - done, where + (off_t)done);
    if (got <= 0 && errno != EINTR) {
      load_fail("write", strerror(errno));
    }
    done += got > 0 ? (size_t)got : 0;
  }
}

static void floor_open(void) {
  fd = open(load_now.file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  piece = calloc(2, PIECE);
  if (fd < 0 || piece == NULL) {
    load_fail(load_now.file, strerror(errno));
  }
}

static void floor_close(void) {
  free(piece);
  close(fd);
}

static void floor_make(void) {
  floor_open();
  for (off_t where = 0; where < LOG; where += PIECE) {
    whole_write(PIECE, where);
  }
  if (fsync(fd) != 0) {
    load_fail("fsync", strerror(errno));
  }
  floor_close();
}

static load_thread *floor_attach(void) { return NULL; }
static void floor_detach(load_thread *t) {}

static void floor_commit(load_thread *t, const load_update *updates, size_t count) {
  size_t bytes = (count * (VALUE_BYTES + KEY_BYTES) + PAGE - 1) & ~(size_t)(PAGE - 1);
  for (size_t i = 0, to = 0; i < count; i++, to += VALUE_BYTES + KEY_BYTES) {
    memcpy(piece + to, &updates[i].key, KEY_BYTES);
    memcpy(piece + to + KEY_BYTES, updates[i].value, VALUE_BYTES);
  }
  pthread_mutex_lock(&lock);
  if (at + (off_t)bytes > LOG) {
    at = 0;
  }
  whole_write(bytes, at);
  at += (off_t)bytes;
  if (fdatasync(fd) != 0) {
    load_fail("fdatasync", strerror(errno));
  }
  pthread_mutex_unlock(&lock);
}

static void floor_settle(load_thread *t, const load_update *updates, size_t count) {}

const load_peer peer_here = {.name = "floor", .suffixes = {""}, .empty = true, .make = floor_make, .open = floor_open, .close = floor_close, .attach = floor_attach,
                             .detach = floor_detach, .commit = floor_commit, .settle = floor_settle};
