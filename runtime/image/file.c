// SPDX-License-Identifier: MIT
// file.c: see file.h. Any thread.

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/error.h"
#include "runtime/image/file.h"

enum { OPEN_TRIES = 100 }; // while others rename files in the place of what was opened

veil_status rt_image_fail(const image_file *file, veil_status status, const char *format, ...) {
  char text[400];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  rt_error_set("%s: %s", file->path, text);
  return status;
}

veil_status rt_image_pread(const image_file *file, void *to, uint64_t bytes, uint64_t offset, const char *what) {
  for (uint64_t done = 0; done < bytes;) {
    uint64_t left = bytes - done;
    ssize_t n = file->io->pread(file->io->context, file->fd, (char *)to + done, left < (1u << 30) ? left : 1u << 30, offset + done);
    if (n > 0) {
      done += (uint64_t)n;
    } else if (n == 0) {
      return rt_image_fail(file, VEIL_IO, "ends at byte %llu, within %s: it was cut off", (unsigned long long)(offset + done), what);
    } else if (n != -EINTR) {
      return rt_image_fail(file, VEIL_IO, "%s at byte %llu cannot be read: %s", what, (unsigned long long)(offset + done), strerror((int)-n));
    }
  }
  return VEIL_OK;
}

// ---- Locks.

static veil_status lock_take(const image_file *file, int fd, bool reads) {
  pid_t holder;
  int error = (reads ? file->io->lock_shared : file->io->lock)(file->io->context, fd, &holder);
  const char *does = holder < 0 ? "read" : "written";
  if (error == -EAGAIN && holder != 0) {
    return rt_image_fail(file, VEIL_BUSY, "is being %s by process %d", does, abs((int)holder));
  }
  if (error == -EAGAIN) {
    return rt_image_fail(file, VEIL_BUSY, "is being %s by another process", does);
  }
  return error == 0 ? VEIL_OK : rt_image_fail(file, VEIL_IO, "cannot be locked: %s", strerror(-error));
}

veil_status rt_image_open_locked(const image_file *file, const char *path, int flags, bool absent, int *fd) {
  const rt_image_io *io = file->io;
  bool reads = (flags & O_ACCMODE) == O_RDONLY;
  for (int tries = 0; tries < OPEN_TRIES; tries++) {
    uint64_t opened[2], named[2];
    *fd = io->open(io->context, path, flags, 0666);
    if (*fd == -EINTR) {
      continue;
    }
    if (*fd < 0) {
      int error = *fd;
      *fd = -1;
      return absent && error == -ENOENT ? VEIL_OK
                                        : rt_image_fail(file, VEIL_IO, "cannot be opened for %s: %s", reads ? "reading" : "writing", strerror(-error));
    }
    int64_t size = io->size(io->context, *fd, opened);
    veil_status status = size >= 0
                             ? lock_take(file, *fd, reads)
                             : rt_image_fail(file, VEIL_IO, size == -ESPIPE ? "is no regular file" : "cannot be asked for its size: %s", strerror((int)-size));
    if (status == VEIL_OK && io->identity(io->context, path, named) == 0 && named[0] == opened[0] && named[1] == opened[1]) {
      return VEIL_OK;
    }
    io->close(io->context, *fd);
    *fd = -1;
    if (status != VEIL_OK) {
      return status;
    }
  }
  return rt_image_fail(file, VEIL_BUSY, "is replaced by others all the time");
}

// ---- Names.

veil_status rt_image_name_barrier(const image_file *file) {
  const rt_image_io *io = file->io;
  const char *slash = strrchr(file->path, '/');
  char *folder = slash == NULL ? strdup(".") : slash == file->path ? strdup("/") : strndup(file->path, (size_t)(slash - file->path));
  if (folder == NULL) {
    return rt_image_fail(file, VEIL_NO_MEMORY, "no memory for its folder's name");
  }
  int fd;
  do {
    fd = io->open(io->context, folder, O_RDONLY | O_DIRECTORY, 0);
  } while (fd == -EINTR);
  free(folder);
  int error = fd < 0 ? fd : io->fsync(io->context, fd);
  if (fd >= 0) {
    io->close(io->context, fd);
  }
  return error == 0 ? VEIL_OK : rt_image_fail(file, VEIL_IO, "its name cannot be made durable: %s", strerror(-error));
}
