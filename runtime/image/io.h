// SPDX-License-Identifier: MIT
// io.h: all that images ask of the system, as a table, so that a test can record it and let it fail.
//
// Results are 0 or a count, or a negative errno, as said; errno is of no interest. Any thread, at the same time.

#ifndef RT_IMAGE_IO_H
#define RT_IMAGE_IO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct rt_image_io {
  void *context; // given to each

  // A descriptor. `flags` as for open(2); O_CLOEXEC is added.
  int (*open)(void *context, const char *path, int flags, mode_t mode);
  void (*close)(void *context, int fd);
  // Bytes, which may be fewer than asked for; pread returns 0 at the end.
  ssize_t (*pread)(void *context, int fd, void *to, size_t bytes, uint64_t offset);
  ssize_t (*pwrite)(void *context, int fd, const void *from, size_t bytes, uint64_t offset);
  ssize_t (*write)(void *context, int fd, const void *from, size_t bytes); // to what cannot seek
  // Barriers. -EINVAL: the descriptor has nothing to synchronise.
  int (*fdatasync)(void *context, int fd);
  int (*fsync)(void *context, int fd); // of directories
  int (*ftruncate)(void *context, int fd, uint64_t bytes);
  int (*rename)(void *context, const char *from, const char *to);
  int (*unlink)(void *context, const char *path);
  // Bytes of a regular file; -ESPIPE for anything else. `identity`, if not NULL, gets device and inode.
  int64_t (*size)(void *context, int fd, uint64_t identity[2]);
  // Device and inode of what `path` names now.
  int (*identity)(void *context, const char *path, uint64_t identity[2]);
  // Takes the file's lock, until the descriptor is closed; or a share of it, which others may have too. -EAGAIN: somebody has it; *holder is the process,
  // negative if it has a share, or 0 if that cannot be told.
  int (*lock)(void *context, int fd, pid_t *holder);
  int (*lock_shared)(void *context, int fd, pid_t *holder);
  // Switches writes past the system's cache on or off.
  int (*direct)(void *context, int fd, bool on);
  // Asks that a range be written soon, and may wait for what was asked for earlier. A wish.
  void (*behind)(void *context, int fd, uint64_t offset, uint64_t bytes);
} rt_image_io;

// Linux.
extern const rt_image_io rt_image_io_system;

#endif
