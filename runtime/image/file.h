// SPDX-License-Identifier: MIT
// file.h: an open file, and what everybody does with one: errors, reading, locks, checksums. For this folder, and for others that keep files beside images.
//
// Neighbours: file.c, but for the checksum, which is io.c's; io.h is the system. Functions that return a status have set the error when it is not VEIL_OK. Any
// thread.

#ifndef RT_IMAGE_FILE_H
#define RT_IMAGE_FILE_H

#include <stddef.h>
#include "runtime/image/io.h"
#include "veil/veil.h"

// Constant while it is open.
typedef struct image_file {
  const rt_image_io *io;
  int fd;
  char *path; // for messages too
} image_file;

// Sets the error to "PATH: …" and returns `status`.
veil_status rt_image_fail(const image_file *file, veil_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
// All bytes, or VEIL_IO: `what` names them, for the message.
veil_status rt_image_pread(const image_file *file, void *to, uint64_t bytes, uint64_t offset, const char *what);
// Opens what the path names, and locks it: for reading if `flags` are O_RDONLY, which others may do too, else for itself alone. It names the same file still
// when that is done. VEIL_BUSY: others have the lock. `absent`: nothing there is VEIL_OK, and *fd is -1.
veil_status rt_image_open_locked(const image_file *file, const char *path, int flags, bool absent, int *fd);
// Waits until the file's name is durable. VEIL_NO_MEMORY: it was not tried.
veil_status rt_image_name_barrier(const image_file *file);
// XXH3 of 64 bits.
uint64_t rt_image_sum(const void *bytes, size_t count);

#endif
