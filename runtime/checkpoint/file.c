// SPDX-License-Identifier: MIT
// file.c: the image of a checkpointer: which file, full or increment, what belongs into a version.
//
// Neighbours: saver.c begins and ends versions, writer.c puts pages and finishes them; never both at a time. runtime/image does the writing, and makes it
// durable.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/checkpoint/inner.h"
#include "runtime/described.h"
#include "runtime/error.h"
#include "vm/check.h"

enum { RESERVED_MORE = 64 << 20, GIVEN_UP_MOST = 2 };

veil_status cp_fail(veil_checkpointer *c, veil_status status, const char *text) {
  if (at32_cas_full(&c->failed, 0, 1)) {
    snprintf(c->error, sizeof c->error, "%s", text);
    c->status = status;
    cp_pool_refuse(&c->pool); // cp.fail
  }
  return status;
}

static veil_status fail_as_told(veil_checkpointer *c, veil_status status) { return cp_fail(c, status, veil_error()); }

// ---- The file.

static rt_image_options image_options(const veil_checkpointer *c) { return (rt_image_options){.io = c->io, .codec = (rt_image_codec)c->options.codec}; }

static const rt_image_io *io_of(const veil_checkpointer *c) { return c->io != NULL ? c->io : &rt_image_io_system; }

static int file_identity(const veil_checkpointer *c, uint64_t identity[2]) {
  const rt_image_io *io = io_of(c);
  return io->identity(io->context, c->options.path, identity);
}

// Somebody may have removed our file, or put another in its place.
static bool file_is_ours(const veil_checkpointer *c) {
  uint64_t now[2];
  return file_identity(c, now) == 0 && now[0] == c->file[0] && now[1] == c->file[1];
}

static bool file_is_empty(const veil_checkpointer *c) {
  const rt_image_io *io = io_of(c);
  int fd = io->open(io->context, c->options.path, 0, 0);
  if (fd < 0) {
    return false;
  }
  bool empty = io->size(io->context, fd, NULL) == 0;
  io->close(io->context, fd);
  return empty;
}

veil_status cp_file_look(const veil_checkpointer *c) {
  uint64_t identity[2];
  if (file_identity(c, identity) == -ENOENT || file_is_empty(c)) {
    return VEIL_OK;
  }
  rt_image *image;
  rt_image_options options = {.io = c->io};
  veil_status status = rt_image_open(&image, c->options.path, &options);
  if (status != VEIL_OK) {
    char why[CP_ERROR];
    snprintf(why, sizeof why, "%s", veil_error());
    rt_error_set("veil_checkpointer_open: what is there is not replaced: %s", why);
    return status;
  }
  rt_image_free(image);
  return VEIL_OK;
}

void cp_file_close(veil_checkpointer *c) {
  rt_image_close(c->chain);
  c->chain = NULL;
  c->chained = false;
}

// ---- Versions.

// One page in 16 is looked at.
static size_t pages_in_use(const veil_checkpointer *c) {
  size_t used = 0;
  for (size_t page = 0; page < c->pages.count; page += CP_RUN) {
    used += veil_page_in_use(c->heap, page) ? CP_RUN : 0;
  }
  return used;
}

// Pages that a version may have: twice those in use now, and some.
static size_t pages_most(const veil_checkpointer *c) {
  size_t most = 2 * c->in_use + RESERVED_MORE / c->pages.page_size;
  return most < c->pages.count ? most : c->pages.count;
}

static veil_status image_open(veil_checkpointer *c, int fd) {
  rt_image_options options = image_options(c);
  rt_image_layout layout = {.page_size = (uint32_t)c->pages.page_size, .base = (uint64_t)(uintptr_t)c->pages.base, .span = c->pages.count * c->pages.page_size};
  if (c->streaming) {
    return rt_image_create_stream(&c->image, fd, &layout, &options);
  }
  if (!c->full) {
    c->image = c->chain;
    return VEIL_OK;
  }
  cp_file_close(c); // and so its lock goes
  return rt_image_create(&c->image, c->options.path, &layout, &options);
}

veil_status cp_file_begin(veil_checkpointer *c, int fd, bool whole) {
  c->image = NULL;
  c->description = NULL;
  c->streaming = fd >= 0;
  c->watching = fd < 0 && !c->options.whole;
  c->full = fd >= 0 || whole || c->options.whole || !c->chained || !file_is_ours(c);
  memset(c->put, 0, (c->pages_top + 7) / 8);
  c->description = veil_description_open(c->heap);
  if (c->description == NULL) {
    return fail_as_told(c, VEIL_NO_MEMORY);
  }
  veil_status status = image_open(c, fd);
  status = status == VEIL_OK ? rt_image_begin(c->image) : status;
  c->in_use = pages_in_use(c);
  c->reserved = pages_most(c);
  status = status == VEIL_OK && CHECKPOINT_BREAK != CHECKPOINT_BREAK_RESERVE ? rt_image_reserve(c->image, c->reserved) : status;
  return status == VEIL_OK ? VEIL_OK : fail_as_told(c, status);
}

static void put_note(veil_checkpointer *c, size_t page) {
  cp_bit_set(c->put, page);
  c->pages_top = page >= c->pages_top ? page + 1 : c->pages_top;
}

veil_status cp_file_put(veil_checkpointer *c, size_t first, size_t count, const void *contents) {
  if (at32_load_acquire(&c->failed)) {
    return VEIL_IO;
  }
  veil_status status = rt_image_put(c->image, first, count, contents);
  if (status != VEIL_OK) {
    return fail_as_told(c, status);
  }
  for (size_t page = first; page < first + count; page++) {
    put_note(c, page);
  }
  at_add(&c->done, count);
  return VEIL_OK;
}

veil_status cp_file_put_list(veil_checkpointer *c, const rt_image_page *list, size_t count, rt_image_taken *taken, void *arg) {
  if (at32_load_acquire(&c->failed)) {
    return VEIL_IO;
  }
  veil_status status = rt_image_put_list(c->image, list, count, taken, arg);
  if (status != VEIL_OK) {
    return fail_as_told(c, status);
  }
  for (size_t i = 0; i < count; i++) {
    put_note(c, list[i].page);
  }
  at_add(&c->done, count);
  return VEIL_OK;
}

// What the file has and the heap had not takes no part in the version. `put` says afterwards which pages the version has.
static veil_status pages_settle(veil_checkpointer *c) {
  veil_status status = VEIL_OK;
  size_t gone = 0; // pages before this one that are to be removed
  for (size_t page = 0; page <= c->pages_top && status == VEIL_OK; page++) {
    bool has = page < c->pages_top && veil_description_has(c->description, page), there = !c->full && cp_bit(c->in_file, page);
    if (page < c->pages_top && !has && there && CHECKPOINT_BREAK != CHECKPOINT_BREAK_REMOVED) {
      gone++;
      continue;
    }
    if (gone != 0) {
      status = rt_image_remove(c->image, page - gone, gone);
      gone = 0;
    }
    if (has && !there && !cp_bit(c->put, page)) {
      rt_error_set("veil_checkpoint: page %zu was not saved: a service has its contents away", page);
      status = VEIL_UNSUPPORTED;
    }
    if (has) {
      cp_bit_set(c->put, page);
    }
  }
  return status;
}

static veil_status section_put(void *arg, const char *name, const void *bytes, size_t size) {
  return rt_image_put_section(((veil_checkpointer *)arg)->image, name, bytes, size);
}

static veil_status types_put(veil_checkpointer *c) {
  const veil_type_described *from;
  size_t count = veil_description_types(c->description, &from);
  rt_image_type *types = rt_types_to_image(from, count);
  if (types == NULL) {
    rt_error_set("veil_checkpoint: no memory for a list of types");
    return VEIL_NO_MEMORY;
  }
  veil_status status = rt_image_put_types(c->image, types, count);
  free(types);
  return status;
}

static veil_status roots_put(veil_checkpointer *c) {
  const veil_root_described *from;
  size_t count = veil_description_roots(c->description, &from);
  rt_image_root *roots = rt_roots_to_image(from, count);
  if (roots == NULL) {
    rt_error_set("veil_checkpoint: no memory for a list of roots");
    return VEIL_NO_MEMORY;
  }
  veil_status status = rt_image_put_roots(c->image, roots, count);
  free(roots);
  return status;
}

// The file is ours when its name is durable; noted then, and looked at after every increment.
static veil_status file_note(veil_checkpointer *c) {
  if (c->streaming) {
    return VEIL_OK;
  }
  if (c->full && file_identity(c, c->file) == 0) {
    return VEIL_OK;
  }
  if (!c->full && file_is_ours(c)) {
    return VEIL_OK;
  }
  rt_error_set("%s: was removed or replaced by others", c->options.path);
  return VEIL_IO;
}

veil_status cp_file_finish(veil_checkpointer *c) {
  if (at32_load_acquire(&c->failed)) {
    return VEIL_IO;
  }
  veil_status status = pages_settle(c);
  status = status == VEIL_OK ? veil_description_sections(c->description, section_put, c) : status;
  status = status == VEIL_OK ? types_put(c) : status;
  status = status == VEIL_OK ? roots_put(c) : status;
  status = status == VEIL_OK ? rt_image_commit(c->image, &c->committed) : status;
  status = status == VEIL_OK ? file_note(c) : status;
  return status == VEIL_OK ? VEIL_OK : fail_as_told(c, status);
}

static void chain_end(veil_checkpointer *c) {
  if (c->image != c->chain) {
    rt_image_close(c->image);
  }
  cp_file_close(c);
  c->compact = false;
  if (CHECKPOINT_BREAK == CHECKPOINT_BREAK_CHAIN) {
    rt_image_options options = image_options(c);
    c->chained = rt_image_append(&c->chain, c->options.path, &options) == VEIL_OK;
  }
}

static void chain_go_on(veil_checkpointer *c) {
  uint8_t *was = c->in_file;
  c->in_file = c->put;
  c->put = was;
  c->version = c->committed.version;
  if (c->watching) {
    c->chain = c->image;
    c->chained = true;
    c->compact = c->committed.compact;
  } else {
    rt_image_close(c->image);
  }
}

void cp_file_end(veil_checkpointer *c) {
  if (c->description != NULL) {
    veil_description_close(c->description);
    c->description = NULL;
  }
  if (c->streaming) {
    rt_image_close(c->image);
  } else if (c->status == VEIL_OK) {
    chain_go_on(c);
  } else {
    chain_end(c);
  }
  c->image = NULL;
  veil_service_keep_in_place(c->service, c->chained); // an increment holds what cycles have moved, too
}

// ---- Compaction.

// Who waits is served first, unless half of it is done, or that has happened too often.
static bool compact_goes_on(void *arg, uint64_t done, uint64_t of) {
  veil_checkpointer *c = arg;
  if (at32_load_acquire(&c->closing)) {
    return false;
  }
  return at32_load_acquire(&c->requests) == 0 || done > of / 2 || c->given_up >= GIVEN_UP_MOST;
}

void cp_file_compact(veil_checkpointer *c) {
  rt_image_options options = image_options(c);
  rt_image_close(c->chain);
  c->chain = NULL;
  veil_status status = rt_image_compact(c->options.path, NULL, &options, compact_goes_on, c);
  c->compact = status == VEIL_BUSY && !at32_load_acquire(&c->closing);
  c->given_up = c->compact ? c->given_up + 1 : 0;
  c->version += status == VEIL_OK;
  c->chained = rt_image_append(&c->chain, c->options.path, &options) == VEIL_OK && (status == VEIL_OK ? file_identity(c, c->file) == 0 : file_is_ours(c));
  if (!c->chained) {
    cp_file_close(c); // the next one is full
    veil_service_keep_in_place(c->service, false);
  }
}
