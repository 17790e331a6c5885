// SPDX-License-Identifier: MIT
// mark.c: see mark.h. What is read may be anything.

#include "runtime/store/mark.h"
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include "runtime/error.h"

static const char magic[] = {'v', 'e', 'i', 'l', 's', 't', 'o', 'r'};

bool st_mark_new(const char *path, uint64_t id[2]) {
  if (getrandom(id, 2 * sizeof *id, 0) == (ssize_t)(2 * sizeof *id)) {
    return true;
  }
  rt_error_set("%s: no random number for the store: %s", path, strerror(errno));
  return false;
}

veil_status st_mark_put(rt_image_writer *writer, const uint64_t id[2], st_log_place place, uint64_t upto, bool closed) {
  st_mark mark = {.format = ST_MARK_FORMAT, .bytes = sizeof mark, .closed = closed, .id = {id[0], id[1]}, .place = place, .upto = upto};
  memcpy(mark.magic, magic, sizeof mark.magic);
  return rt_image_put_section(writer, ST_MARK_SECTION, &mark, sizeof mark);
}

static veil_status unsupported(const char *path, uint32_t format) {
  rt_error_set("%s: a store of format %u; this veil reads %d", path, format, ST_MARK_FORMAT);
  return VEIL_UNSUPPORTED;
}

veil_status st_mark_read(const rt_image *image, const char *path, st_mark *out) {
  const void *bytes;
  size_t size;
  *out = (st_mark){.format = 0};
  if (rt_image_section(image, ST_MARK_SECTION, &bytes, &size) != VEIL_OK) {
    rt_error_set("%s: an image, but no store (a checkpoint, perhaps)", path);
    return VEIL_INVALID;
  }
  memcpy(out, bytes, size < sizeof *out ? size : sizeof *out);
  if (size < offsetof(st_mark, bytes) || memcmp(out->magic, magic, sizeof magic) != 0) {
    rt_error_set("%s: an image, but no store: its section %s is something else", path, ST_MARK_SECTION);
    return VEIL_UNSUPPORTED;
  }
  if (out->format != ST_MARK_FORMAT) {
    return unsupported(path, out->format);
  }
  if (size != sizeof *out || out->bytes != sizeof *out) {
    rt_error_set("%s: damaged: its section %s has %zu bytes, and should have %zu", path, ST_MARK_SECTION, size, sizeof *out);
    return VEIL_IO;
  }
  if (out->closed > 1 || out->place.sequence == 0 || out->upto < out->place.sequence || out->place.offset % 8 != 0) {
    rt_error_set("%s: damaged: its section %s has an impossible place in the log", path, ST_MARK_SECTION);
    return VEIL_IO;
  }
  return VEIL_OK;
}
