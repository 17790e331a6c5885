// SPDX-License-Identifier: MIT
// mark.h: the section `store` of an image: that it is a store's, and from where on the log counts.
//
// Neighbours: fold.c and open.c put it into each version, backup.c into a copy; open.c and inspect.c read it. Any thread.

#ifndef RT_STORE_MARK_H
#define RT_STORE_MARK_H

#include "runtime/image/image.h"
#include "runtime/store/log.h"

#define ST_MARK_SECTION "store"
enum { ST_MARK_FORMAT = 2 }; // 1 had no length of its own, and at first no `upto`

// Written as it is in memory: no padding, little-endian.
typedef struct st_mark {
  char magic[8];
  uint32_t format;
  uint32_t bytes;     // of all this: a format that gets more members at its end shows here
  uint64_t closed;    // not 0: the image has everything, and the log may be missing
  uint64_t id[2];     // of the store; its log has the same
  st_log_place place; // from where on the log counts
  uint64_t upto;      // of no record from this one on has the image anything; those from `place` to it have to be in the log
} st_mark;
_Static_assert(sizeof(st_mark) == 72, "no padding");

// A store of its own, which needs no log yet. False with the error set: no random number for it.
bool st_mark_new(const char *path, uint64_t id[2]);
// Into the version that was begun.
veil_status st_mark_put(rt_image_writer *writer, const uint64_t id[2], st_log_place place, uint64_t upto, bool closed);
// VEIL_INVALID: the image is no store's. VEIL_UNSUPPORTED: another format. VEIL_IO: it makes no sense.
veil_status st_mark_read(const rt_image *image, const char *path, st_mark *out);

#endif
