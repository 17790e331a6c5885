// SPDX-License-Identifier: MIT
// compact.c: a version copied to a file of its own, without what is dead.
//
// Neighbours: reader.c and writer.c do it. In the caller's thread, with a writer's lock on what is replaced.

#include <stdlib.h>
#include <string.h>
#include "runtime/image/inner.h"

enum { AT_ONCE = 1 << 20 };

typedef struct copying {
  const rt_image *from;
  rt_image_writer *to;
  char *pages, *scratch, *blob;
} copying;

static veil_status raw_copy(copying *c, uint64_t first, uint64_t count, rt_image_codec codec) {
  veil_status status = rt_image_read(c->from, first, count, c->pages, c->scratch);
  return status == VEIL_OK ? rt_image_put_as(c->to, first, count, c->pages, codec) : status;
}

// A blob as it is, if all of it counts still; reading its pages has checked it.
static veil_status blob_copy(copying *c, const image_extent *e) {
  if (e->count != e->blob) {
    return raw_copy(c, e->first, e->count, rt_image_codec_here(e->codec) ? e->codec : RT_IMAGE_PLAIN);
  }
  veil_status status = rt_image_read(c->from, e->first, e->count, c->pages, c->scratch);
  status = status == VEIL_OK ? rt_image_pread(&c->from->file, c->blob, e->bytes, e->offset, "a blob") : status;
  return status == VEIL_OK ? rt_image_put_blob(c->to, e, e->first, c->blob, c->from->v.map.sums + e->sum) : status;
}

static veil_status pages_copy(copying *c, rt_image_progress *progress, void *arg) {
  const image_map *map = &c->from->v.map;
  uint64_t most = AT_ONCE / map->page_size, done = 0;
  veil_status status = VEIL_OK;
  for (size_t i = 0; i < map->count && status == VEIL_OK; i++) {
    const image_extent *e = &map->extents[i];
    if (e->kind == IMAGE_ZERO) {
      status = rt_image_map_add(&c->to->delta, e, NULL) ? VEIL_OK : rt_image_no_memory(&c->to->file);
    } else if (e->kind == IMAGE_PACKED) {
      status = blob_copy(c, e);
    } else {
      for (uint64_t at = 0; at < e->count && status == VEIL_OK; at += most) {
        status = raw_copy(c, e->first + at, e->count - at < most ? e->count - at : most, RT_IMAGE_PLAIN);
      }
    }
    done += e->count;
    if (progress != NULL && status == VEIL_OK && !progress(arg, done, rt_image_info_of(c->from)->pages)) {
      status = rt_image_fail(&c->to->file, VEIL_BUSY, "was given up");
    }
  }
  return status;
}

static veil_status version_copy(const rt_image *from, rt_image_writer *to, rt_image_progress *progress, void *arg) {
  char *memory = malloc(AT_ONCE + RT_IMAGE_SCRATCH + IMAGE_BLOB);
  if (memory == NULL) {
    return rt_image_no_memory(&to->file);
  }
  copying c = {.from = from, .to = to, .pages = memory, .scratch = memory + AT_ONCE, .blob = memory + AT_ONCE + RT_IMAGE_SCRATCH};
  const image_header *h = &from->v.header;
  to->layout = from->info.layout;
  to->last.map.page_size = h->page_size;
  to->last.header.version = h->version;
  to->id = h->id;
  veil_status status = rt_image_begin(to);
  status = status == VEIL_OK ? pages_copy(&c, progress, arg) : status;
  for (size_t i = 0; i < from->v.section_count && status == VEIL_OK; i++) {
    const image_content *s = &from->v.sections[i];
    status = rt_image_section_set(to, s->entry.name, s->bytes, s->entry.at.bytes);
  }
  free(memory);
  return status == VEIL_OK ? rt_image_commit(to, NULL) : status;
}

veil_status rt_image_compact(const char *path, const char *to, const rt_image_options *options, rt_image_progress *progress, void *arg) {
  rt_image_writer *w;
  rt_image *image = NULL;
  rt_image_options reading = {.io = rt_image_io_of(options), .no_fallback = to == NULL}; // what is replaced is not to be better than what replaces it
  veil_status status = rt_image_create_bare(&w, to != NULL ? to : path, options, false); // its lock first, then what is there
  if (status == VEIL_OK) {
    status = rt_image_open(&image, path, &reading);
  }
  status = status == VEIL_OK ? version_copy(image, w, progress, arg) : status;
  rt_image_free(image);
  rt_image_close(w);
  return status;
}

// im.new: until the new file has the name, the old one is as it was. If it has it, but not durably, a crash may bring either back: whoever opens the path settles that (im.settle).
veil_status rt_image_compact_held(rt_image_writer **held, const rt_image *newest, rt_image_progress *progress, void *arg) {
  rt_image_writer *old = *held, *w;
  if (!rt_image_writer_ready(old, IMAGE_IDLE, "rt_image_compact_held")) {
    return VEIL_IO;
  }
  if (newest->v.header.id != old->id || newest->v.header.version != old->last.header.version) {
    return rt_image_fail(&old->file, VEIL_INVALID, "has version %llu, and what was opened of it is version %llu", (unsigned long long)old->last.header.version,
                         (unsigned long long)newest->v.header.version);
  }
  veil_status status = rt_image_create_bare(&w, old->file.path, &old->options, true);
  status = status == VEIL_OK ? version_copy(newest, w, progress, arg) : status;
  if (w == NULL || w->final != NULL) {
    rt_image_close(w);
    return status;
  }
  rt_image_close(old);
  *held = w;
  if (status != VEIL_OK) {
    rt_image_close(w);
    *held = NULL;
  }
  return status;
}
