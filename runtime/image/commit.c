// SPDX-License-Identifier: MIT
// commit.c: what was put becomes a version: map, sections, header, barriers (im.order).
//
// Neighbours: writer.c has collected it, out.c writes it, index.c codes the map. In the writer's thread.

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "runtime/image/inner.h"

enum { FAN_IN = 8, SMALL_BASE = 64 << 10 }; // segments of a level that become one; a base that is as cheap to write as a small one
static const uint64_t dead_much = UINT64_C(64) << 20;

static veil_status bytes_put(rt_image_writer *w, const void *bytes, size_t count, image_reference *at) {
  *at = (image_reference){.offset = IMAGE_START, .bytes = count, .sum = rt_image_sum(bytes, count)};
  if (count == 0) {
    return VEIL_OK; // no space is kept for it, so anywhere else the file might end before it one day
  }
  veil_status status = rt_image_out_place(w, count, &at->offset);
  return status == VEIL_OK ? rt_image_out_add(w, bytes, count) : status;
}

// ---- Sections.

static int by_name(const void *a, const void *b) { return strncmp(((const image_content *)a)->entry.name, ((const image_content *)b)->entry.name, IMAGE_NAME); }

// The sections of the last version, with those put over them; *changed if there is any difference.
static veil_status sections_merge(rt_image_writer *w, image_version *next, bool *changed) {
  next->sections = calloc(w->last.section_count + w->section_count + 1, sizeof *next->sections);
  if (next->sections == NULL) {
    return rt_image_writer_no_memory(w);
  }
  for (size_t i = 0; i < w->last.section_count; i++) {
    next->sections[next->section_count++].entry = w->last.sections[i].entry;
  }
  for (size_t i = 0; i < w->section_count; i++) {
    image_content *put = &w->sections[i], *there = rt_image_content_find(next, put->entry.name);
    if (put->bytes == NULL) {
      if (there != NULL) {
        *there = next->sections[--next->section_count];
        *changed = true;
      }
      continue;
    }
    if (there != NULL && there->entry.at.bytes == put->entry.at.bytes && there->entry.at.sum == put->entry.at.sum) {
      continue;
    }
    veil_status status = bytes_put(w, put->bytes, put->entry.at.bytes, &put->entry.at);
    if (status != VEIL_OK) {
      return status;
    }
    *changed = true;
    *(there != NULL ? there : &next->sections[next->section_count++]) = (image_content){.entry = put->entry};
  }
  qsort(next->sections, next->section_count, sizeof *next->sections, by_name);
  return VEIL_OK;
}

static veil_status sections_write(rt_image_writer *w, image_version *next) {
  bool changed = false;
  veil_status status = sections_merge(w, next, &changed);
  if (status != VEIL_OK || !changed) {
    next->header.sections = w->last.header.sections;
    return status;
  }
  if (next->section_count > IMAGE_SECTIONS_MAX) {
    return rt_image_writer_fail(w, rt_image_fail(&w->file, VEIL_INVALID, "cannot have more than %d sections", IMAGE_SECTIONS_MAX));
  }
  if (next->section_count == 0) {
    return VEIL_OK;
  }
  image_section *table = malloc(next->section_count * sizeof *table);
  if (table == NULL) {
    return rt_image_writer_no_memory(w);
  }
  for (size_t i = 0; i < next->section_count; i++) {
    table[i] = next->sections[i].entry;
  }
  status = bytes_put(w, table, next->section_count * sizeof *table, &next->header.sections);
  free(table);
  return status;
}

// ---- The map.

// How many of the newest segments the new one swallows, and its level then.
static unsigned links_swallowed(const image_version *last, uint32_t *level) {
  unsigned swallowed = 0;
  *level = 0;
  for (;;) {
    unsigned same = 0;
    while (swallowed + same + 1 < last->links && last->chain[swallowed + same].head.level == *level) { // never the base
      same++;
    }
    if (same + 1 < FAN_IN) {
      return swallowed;
    }
    swallowed += same;
    ++*level;
  }
}

// What the new segment has: the increment over the segments it swallows.
static veil_status links_merge(rt_image_writer *w, unsigned swallowed, image_map *out) {
  image_map none = {.page_size = w->layout.page_size};
  if (!rt_image_map_overlay(&none, &w->delta, true, out)) {
    return rt_image_writer_no_memory(w);
  }
  for (unsigned i = 0; i < swallowed; i++) {
    image_map merged;
    bool good = rt_image_map_overlay(&w->last.chain[i].map, out, true, &merged);
    rt_image_map_clear(out);
    *out = merged;
    if (!good) {
      return rt_image_writer_no_memory(w);
    }
  }
  return VEIL_OK;
}

static veil_status segment_encode(rt_image_writer *w, image_version *next, image_link *link, const image_map *map, image_bytes *bytes) {
  link->head.id = w->id;
  link->head.version = next->header.version;
  return rt_image_index_encode(map, &link->head, bytes) ? VEIL_OK : rt_image_writer_no_memory(w);
}

// Encodes the increment with what it swallows; *swallowed is all there is if a base is due.
static veil_status segment_choose(rt_image_writer *w, image_version *next, image_link *link, image_bytes *bytes, unsigned *swallowed) {
  const image_version *last = &w->last;
  *swallowed = last->links;
  if (last->links == 0) {
    return VEIL_OK;
  }
  unsigned n = links_swallowed(last, &link->head.level);
  link->head.before = last->chain[n].at;
  veil_status status = links_merge(w, n, &link->map);
  status = status == VEIL_OK ? segment_encode(w, next, link, &link->map, bytes) : status;
  uint64_t above = bytes->used, base = last->chain[last->links - 1].at.bytes;
  for (unsigned i = n; i + 1 < last->links; i++) {
    above += last->chain[i].at.bytes;
  }
  if (above <= (base > SMALL_BASE ? base : SMALL_BASE) && last->links - n + 1 < IMAGE_CHAIN_MAX) {
    *swallowed = n;
  }
  return status;
}

static veil_status segment_write(rt_image_writer *w, image_version *next) {
  image_version *last = &w->last;
  image_link link = {.map.page_size = w->layout.page_size};
  image_bytes bytes = {0};
  unsigned swallowed = 0;
  veil_status status = VEIL_OK;
  if (w->delta.count != 0 || last->links == 0) {
    status = segment_choose(w, next, &link, &bytes, &swallowed);
    if (status == VEIL_OK && swallowed == last->links) {
      rt_image_map_clear(&link.map);
      bytes.used = 0;
      link.head = (image_segment){0};
      status = segment_encode(w, next, &link, &next->map, &bytes);
    }
    status = status == VEIL_OK ? bytes_put(w, bytes.at, bytes.used, &link.at) : status;
    next->chain[next->links++] = link;
  }
  free(bytes.at);
  for (unsigned i = swallowed; status == VEIL_OK && i < last->links; i++) {
    next->chain[next->links++] = last->chain[i];
    last->chain[i].map = (image_map){0};
  }
  next->header.index = next->chain[0].at;
  return status;
}

static veil_status map_make(rt_image_writer *w, image_version *next) {
  if (!rt_image_map_sort(&w->delta) || !rt_image_map_overlay(&w->last.map, &w->delta, false, &next->map)) {
    return rt_image_writer_no_memory(w);
  }
  next->header.pages = rt_image_map_pages(&next->map);
  return VEIL_OK;
}

// ---- The header.

static void header_fill(rt_image_writer *w, image_header *h) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  memcpy(h->magic, IMAGE_MAGIC, IMAGE_MAGIC_BYTES);
  h->byte_order = IMAGE_BYTE_ORDER;
  h->format = IMAGE_FORMAT;
  h->word = sizeof(void *);
  h->page_size = w->layout.page_size;
  h->base = w->layout.base;
  h->span = w->layout.span;
  h->id = w->id;
  h->version = w->last.header.version + 1;
  h->time = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
  h->flags = w->stream ? IMAGE_STREAM : 0;
}

static veil_status header_write(rt_image_writer *w, image_header *h) {
  uint64_t offset = IMAGE_BREAK == BREAK_SLOTS ? 0 : h->version % 2 * IMAGE_BLOCK;
  if (w->stream) {
    offset = w->end;
    w->end += IMAGE_BLOCK;
  }
  h->end = w->end;
  rt_image_header_seal(h);
  memcpy(w->blob, h, sizeof *h); // aligned, for direct writes
  return rt_image_out_blocks(w, w->blob, sizeof *h, offset);
}

static veil_status name_give(rt_image_writer *w) {
  if (w->final == NULL) {
    return VEIL_OK;
  }
  int error = w->file.io->rename(w->file.io->context, w->file.path, w->final);
  if (error != 0) {
    return rt_image_writer_fail(w, rt_image_fail(&w->file, VEIL_IO, "cannot be renamed to %s: %s", w->final, strerror(-error)));
  }
  free(w->file.path);
  w->file.path = w->final;
  w->final = NULL;
  veil_status status = rt_image_folder_barrier(w);
  if (status == VEIL_OK && w->final_fd >= 0) {
    w->file.io->close(w->file.io->context, w->final_fd);
    w->final_fd = -1;
  }
  return status;
}

static veil_status version_write(rt_image_writer *w, image_version *next) {
  veil_status status = rt_image_out_flush(w);
  if (status == VEIL_OK && IMAGE_BREAK == BREAK_RENAME_EARLY) {
    status = name_give(w);
  }
  if (status == VEIL_OK && IMAGE_BREAK != BREAK_BARRIER_DATA && !w->stream) {
    status = rt_image_barrier(w);
  }
  status = status == VEIL_OK ? header_write(w, &next->header) : status;
  if (status == VEIL_OK && IMAGE_BREAK != BREAK_BARRIER_HEADER) {
    status = rt_image_barrier(w);
  }
  return status == VEIL_OK ? name_give(w) : status;
}

// What `next` and the version before it need: computed before the header is written, since nothing may fail after that.
static veil_status space_keep(rt_image_writer *w, const image_version *next, image_space *kept) {
  bool good = rt_image_space_add(kept, next) && (IMAGE_BREAK == BREAK_SPACE || rt_image_space_add(kept, &w->last));
  return good ? VEIL_OK : rt_image_writer_no_memory(w);
}

static void committed_fill(const rt_image_writer *w, rt_image_committed *out) {
  uint64_t live = rt_image_space_bytes(&w->kept) + IMAGE_START;
  *out = (rt_image_committed){.version = w->last.header.version, .written = w->written, .file = w->end};
  out->dead = w->end > live ? w->end - live : 0;
  out->compact = out->dead > dead_much && out->dead > live / 2;
}

veil_status rt_image_commit(rt_image_writer *w, rt_image_committed *out) {
  if (!rt_image_writer_ready(w, IMAGE_OPEN, "rt_image_commit")) {
    return VEIL_IO;
  }
  image_version *next = calloc(1, sizeof *next);
  if (next == NULL) {
    return rt_image_writer_no_memory(w);
  }
  image_space kept = {0};
  header_fill(w, &next->header);
  veil_status status = map_make(w, next);
  status = status == VEIL_OK ? sections_write(w, next) : status;
  status = status == VEIL_OK ? segment_write(w, next) : status;
  status = status == VEIL_OK ? space_keep(w, next, &kept) : status;
  status = status == VEIL_OK ? version_write(w, next) : status;
  if (status == VEIL_OK) {
    rt_image_version_clear(&w->last);
    w->last = *next;
    free(w->kept.bits);
    w->kept = kept;
    w->state = IMAGE_IDLE;
    rt_image_abort(w); // what was put is in the file
    if (out != NULL) {
      committed_fill(w, out);
    }
  } else {
    rt_image_version_clear(next);
    free(kept.bits);
  }
  free(next);
  return status;
}
