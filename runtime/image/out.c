// SPDX-License-Identifier: MIT
// out.c: what a version writes, as few large writes, into gaps that nobody needs and then behind the end.
//
// Neighbours: writer.c and commit.c add to it. In the writer's thread.

#include <errno.h>
#include <string.h>
#include "runtime/image/inner.h"

enum { NO_PROGRESS_MAX = 16 }; // writes of less than a block in a row, before that counts as a failure

// ---- To the file.

// Writes past the cache are of whole blocks: what was written of a block that is not whole is written again.
veil_status rt_image_out_blocks(rt_image_writer *w, const void *from, size_t bytes, uint64_t offset) {
  const rt_image_io *io = w->file.io;
  unsigned stuck = 0;
  for (size_t done = 0; done < bytes;) {
    const char *at = (const char *)from + done;
    ssize_t n = w->stream ? io->write(io->context, w->file.fd, at, bytes - done) : io->pwrite(io->context, w->file.fd, at, bytes - done, offset + done);
    size_t whole = n > 0 ? (w->stream ? (size_t)n : (size_t)n & ~(size_t)(IMAGE_BLOCK - 1)) : 0;
    if (n == -EINVAL && w->direct) {
      w->direct = false; // the file system takes larger blocks only
      io->direct(io->context, w->file.fd, false);
    } else if (n < 0 && n != -EINTR) {
      rt_image_fail(&w->file, VEIL_IO, "%zu bytes at byte %llu cannot be written: %s", bytes - done, (unsigned long long)(offset + done), strerror((int)-n));
      return rt_image_writer_fail(w, VEIL_IO);
    } else if (whole == 0 && ++stuck == NO_PROGRESS_MAX) {
      rt_image_fail(&w->file, VEIL_IO, "%zu bytes at byte %llu cannot be written: the system takes less than a block", bytes - done,
                    (unsigned long long)(offset + done));
      return rt_image_writer_fail(w, VEIL_IO);
    }
    stuck = whole != 0 ? 0 : stuck;
    done += whole;
  }
  if (!w->direct && !w->stream) {
    io->behind(io->context, w->file.fd, offset, bytes);
  }
  w->written += bytes;
  return VEIL_OK;
}

veil_status rt_image_barrier(rt_image_writer *w) {
  int error = w->file.io->fdatasync(w->file.io->context, w->file.fd);
  if (error == 0 || (w->stream && error == -EINVAL) || IMAGE_BREAK == BREAK_ONCE) {
    return VEIL_OK;
  }
  rt_image_fail(&w->file, VEIL_IO, "what was written cannot be made durable: %s; nothing more is written", strerror(-error));
  w->state = IMAGE_POISONED; // im.once
  return VEIL_IO;
}

// ---- Into the buffer.

// To the next gap that is worth filling, or to the end.
static void region_next(rt_image_writer *w) {
  image_range gap = {.limit = w->limit == UINT64_MAX ? 0 : w->limit};
  while (w->gaps) {
    w->gaps = rt_image_space_gap(&w->kept, gap.limit, &gap);
    if (w->gaps && gap.limit - gap.base >= IMAGE_GAP) {
      w->at = gap.base;
      w->limit = gap.limit;
      return;
    }
  }
  w->at = w->end;
  w->limit = UINT64_MAX;
}

void rt_image_out_begin(rt_image_writer *w) {
  image_range gap = {.limit = IMAGE_START};
  while (rt_image_space_gap(&w->kept, gap.limit, &gap)) {
  }
  w->end = gap.base < IMAGE_START ? IMAGE_START : gap.base;
  w->used = 0;
  w->gaps = true;
  w->limit = IMAGE_START; // headers are not among what is kept
  region_next(w);
}

// Writes the first `bytes` bytes of the buffer.
static veil_status front_write(rt_image_writer *w, size_t bytes) {
  veil_status status = rt_image_out_blocks(w, w->buffer, bytes, w->at);
  if (status == VEIL_OK) {
    w->used -= bytes;
    memmove(w->buffer, w->buffer + bytes, w->used);
    w->at += bytes;
    w->end = w->end < w->at ? w->at : w->end;
  }
  return status;
}

veil_status rt_image_out_flush(rt_image_writer *w) {
  size_t padding = -w->used & (IMAGE_BLOCK - 1);
  memset(w->buffer + w->used, 0, padding);
  w->used += padding;
  return w->used != 0 ? front_write(w, w->used) : VEIL_OK;
}

veil_status rt_image_out_place(rt_image_writer *w, uint64_t bytes, uint64_t *offset) {
  while (w->limit != UINT64_MAX && bytes > w->limit - w->at - w->used) {
    veil_status status = rt_image_out_flush(w);
    if (status != VEIL_OK) {
      return status;
    }
    if (bytes > IMAGE_GAP) {
      w->gaps = false;
    }
    region_next(w);
  }
  *offset = w->at + w->used;
  return VEIL_OK;
}

veil_status rt_image_out_took(rt_image_writer *w, size_t bytes) {
  w->used += bytes;
  return w->used >= IMAGE_OUT ? front_write(w, IMAGE_OUT) : VEIL_OK;
}

veil_status rt_image_out_add(rt_image_writer *w, const void *from, size_t bytes) {
  veil_status status = VEIL_OK;
  for (size_t done = 0; done < bytes && status == VEIL_OK;) {
    size_t n = bytes - done < IMAGE_BLOB ? bytes - done : IMAGE_BLOB;
    memcpy(rt_image_out_spot(w), (const char *)from + done, n);
    status = rt_image_out_took(w, n);
    done += n;
  }
  return status;
}
