// SPDX-License-Identifier: MIT
// writer.c: files that are written: creating, opening and closing them.
//
// Neighbours: version.c takes pages and sections, out.c writes, commit.c makes a version of it. A writer belongs to one thread at a time.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include "runtime/image/inner.h"
#include "vm/check.h"

enum { LARGE_PAGE = 2 << 20 }; // of the system's

// ---- States.

veil_status rt_image_writer_fail(rt_image_writer *w, veil_status status) {
  if (w->state != IMAGE_POISONED) {
    w->state = IMAGE_FAILED;
  }
  return status;
}

veil_status rt_image_writer_no_memory(rt_image_writer *w) { return rt_image_writer_fail(w, rt_image_no_memory(&w->file)); }

bool rt_image_writer_ready(rt_image_writer *w, image_state wanted, const char *call) {
  if (w->state == IMAGE_POISONED) {
    rt_image_fail(&w->file, VEIL_IO, "is not written any more: what was written could not be made durable");
  } else if (w->state == IMAGE_FAILED) {
    rt_image_fail(&w->file, VEIL_IO, "is not written any more, after an error; it has to be opened again");
  } else if (w->state != wanted) {
    vm_fatal("%s: %s", call, wanted == IMAGE_OPEN ? "no version was begun" : "a version is in flight");
  }
  return w->state == wanted;
}

// ---- Opening.

veil_status rt_image_folder_barrier(rt_image_writer *w) {
  veil_status status = IMAGE_BREAK == BREAK_BARRIER_DIRECTORY ? VEIL_OK : rt_image_name_barrier(&w->file);
  if (status == VEIL_NO_MEMORY) {
    return rt_image_writer_fail(w, status);
  }
  w->state = status == VEIL_OK ? w->state : IMAGE_POISONED;
  return status;
}

static rt_image_writer *writer_new(const char *path, const rt_image_options *options) {
  image_file named = {.path = (char *)path};
  rt_image_writer *w = calloc(1, sizeof *w);
  void *buffer = NULL, *blob = NULL;
  if (w == NULL || (w->file.path = strdup(path)) == NULL || posix_memalign(&buffer, LARGE_PAGE, IMAGE_OUT + 2 * IMAGE_BLOB + IMAGE_BLOCK) != 0 ||
      posix_memalign(&blob, IMAGE_BLOCK, IMAGE_BLOB) != 0) {
    free(buffer);
    if (w != NULL) {
      free(w->file.path);
    }
    free(w);
    rt_image_no_memory(&named);
    return NULL;
  }
  rt_image_large_pages(buffer, IMAGE_OUT);
  w->buffer = buffer;
  w->blob = blob;
  w->file.fd = w->final_fd = -1;
  if (options != NULL) {
    w->options = *options;
  }
  w->file.io = w->options.io = rt_image_io_of(options);
  return w;
}

static veil_status options_check(const image_file *file, const rt_image_options *options) {
  if (options != NULL && !rt_image_codec_here(options->codec)) {
    return rt_image_fail(file, options->codec > RT_IMAGE_ZSTD ? VEIL_INVALID : VEIL_UNSUPPORTED, "codec %d is not in this build", (int)options->codec);
  }
  return VEIL_OK;
}

static void direct_try(rt_image_writer *w) { w->direct = !w->options.buffered && w->file.io->direct(w->file.io->context, w->file.fd, true) == 0; }

static void layout_check(const rt_image_layout *l) {
  if (l->page_size < 4096 || l->page_size > IMAGE_BLOB || (l->page_size & (l->page_size - 1)) != 0) {
    vm_fatal("rt_image_create: pages of %u bytes are none", l->page_size);
  }
  if (l->span == 0 || l->span % l->page_size != 0 || l->span / l->page_size > IMAGE_PAGES_MAX || l->base > UINT64_MAX - l->span) {
    vm_fatal("rt_image_create: a span of %lu bytes from %lx on is none", (unsigned long)l->span, (unsigned long)l->base);
  }
}

static uint64_t id_new(void) {
  uint64_t id = 0;
  struct timespec now;
  if (getrandom(&id, sizeof id, GRND_NONBLOCK) != sizeof id) {
    clock_gettime(CLOCK_REALTIME, &now);
    id = rt_image_sum(&now, sizeof now);
  }
  return id;
}

veil_status rt_image_create_bare(rt_image_writer **out, const char *path, const rt_image_options *options, bool locked) {
  *out = NULL;
  rt_image_writer *w = writer_new(path, options);
  if (w == NULL) {
    return VEIL_NO_MEMORY;
  }
  const rt_image_io *io = w->file.io;
  size_t length = strlen(path) + 5;
  char *beside = malloc(length);
  veil_status status = options_check(&w->file, options);
  if (beside == NULL) {
    status = rt_image_no_memory(&w->file);
  } else {
    snprintf(beside, length, "%s.new", path);
  }
  status = status == VEIL_OK && !locked ? rt_image_open_locked(&w->file, path, O_RDWR, true, &w->final_fd) : status;
  w->final = w->file.path; // im.new: errors tell of the file that is written, which is the one beside
  w->file.path = beside;
  if (status == VEIL_OK) {
    status = rt_image_open_locked(&w->file, beside, O_RDWR | O_CREAT, false, &w->file.fd);
  }
  if (status == VEIL_OK) {
    int error = io->ftruncate(io->context, w->file.fd, 0);
    status = error == 0 ? VEIL_OK : rt_image_fail(&w->file, VEIL_IO, "cannot be emptied: %s", strerror(-error));
  }
  if (status != VEIL_OK) {
    rt_image_close(w);
    return status;
  }
  direct_try(w);
  w->id = id_new();
  *out = w;
  return VEIL_OK;
}

static void layout_set(rt_image_writer *w, const rt_image_layout *layout) {
  w->layout = *layout;
  w->last.map.page_size = layout->page_size;
}

veil_status rt_image_create(rt_image_writer **out, const char *path, const rt_image_layout *layout, const rt_image_options *options) {
  layout_check(layout);
  veil_status status = rt_image_create_bare(out, path, options, false);
  if (status == VEIL_OK) {
    layout_set(*out, layout);
  }
  return status;
}

static veil_status preamble_write(rt_image_writer *w) {
  image_header *h = (image_header *)w->buffer;
  memset(h, 0, IMAGE_START);
  memcpy(h->magic, IMAGE_MAGIC, IMAGE_MAGIC_BYTES);
  h->byte_order = IMAGE_BYTE_ORDER;
  h->format = IMAGE_FORMAT;
  h->word = sizeof(void *);
  h->page_size = w->layout.page_size;
  h->base = w->layout.base;
  h->span = w->layout.span;
  h->id = w->id;
  h->flags = IMAGE_STREAM;
  rt_image_header_seal(h);
  return rt_image_out_blocks(w, w->buffer, IMAGE_START, 0);
}

veil_status rt_image_create_stream(rt_image_writer **out, int fd, const rt_image_layout *layout, const rt_image_options *options) {
  layout_check(layout);
  *out = NULL;
  rt_image_writer *w = writer_new("the stream", options);
  if (w == NULL) {
    return VEIL_NO_MEMORY;
  }
  layout_set(w, layout);
  w->stream = true;
  w->file.fd = fd;
  w->id = id_new();
  veil_status status = options_check(&w->file, options);
  status = status == VEIL_OK ? preamble_write(w) : status;
  if (status != VEIL_OK) {
    rt_image_close(w);
    return status;
  }
  *out = w;
  return VEIL_OK;
}

// im.settle, and what a version that was never finished left behind the end is cut off.
static veil_status file_settle(rt_image_writer *w, const image_version *older) {
  image_header *h = (image_header *)w->blob;
  uint64_t end = older->header.end > w->last.header.end ? older->header.end : w->last.header.end;
  *h = w->last.header;
  if (IMAGE_BREAK == BREAK_SETTLE) {
    return VEIL_OK;
  }
  veil_status status = rt_image_out_blocks(w, h, sizeof *h, h->version % 2 * IMAGE_BLOCK);
  int error = 0;
  if (status == VEIL_OK && w->last.file_bytes > end && (error = w->file.io->ftruncate(w->file.io->context, w->file.fd, end)) != 0) {
    status = rt_image_fail(&w->file, VEIL_IO, "cannot be cut to its length: %s", strerror(-error));
  }
  status = status == VEIL_OK ? rt_image_barrier(w) : status;
  return status == VEIL_OK ? rt_image_folder_barrier(w) : status;
}

static veil_status version_take(rt_image_writer *w) {
  image_version *older = calloc(1, sizeof *older);
  if (older == NULL) {
    return rt_image_no_memory(&w->file);
  }
  veil_status status = rt_image_load(&w->file, true, false, &w->last, older);
  if (status == VEIL_OK && (w->last.header.flags & IMAGE_STREAM) != 0) {
    status = rt_image_fail(&w->file, VEIL_UNSUPPORTED, "was written as a stream, and takes no further versions: compact it first");
  }
  if (status == VEIL_OK && w->last.fallen_back) {
    status = rt_image_fail(&w->file, VEIL_IO, "takes no further versions, since %s: compact it to another file to go on from version %llu", w->last.damage,
                           (unsigned long long)w->last.header.version);
  }
  if (status == VEIL_OK) {
    const image_header *h = &w->last.header;
    w->layout = (rt_image_layout){.page_size = h->page_size, .base = h->base, .span = h->span};
    w->id = h->id;
    direct_try(w);
    status = file_settle(w, older);
  }
  if (status == VEIL_OK && (!rt_image_space_add(&w->kept, &w->last) || !rt_image_space_add(&w->kept, older))) {
    status = rt_image_no_memory(&w->file);
  }
  rt_image_version_clear(older);
  free(older);
  return status;
}

veil_status rt_image_append(rt_image_writer **out, const char *path, const rt_image_options *options) {
  *out = NULL;
  rt_image_writer *w = writer_new(path, options);
  if (w == NULL) {
    return VEIL_NO_MEMORY;
  }
  veil_status status = options_check(&w->file, options);
  status = status == VEIL_OK ? rt_image_open_locked(&w->file, path, O_RDWR, false, &w->file.fd) : status;
  status = status == VEIL_OK ? version_take(w) : status;
  if (status != VEIL_OK) {
    rt_image_close(w);
    return status;
  }
  *out = w;
  return VEIL_OK;
}

// ---- Ending.

void rt_image_flight_clear(rt_image_writer *w) {
  rt_image_map_clear(&w->delta);
  for (size_t i = 0; i < w->section_count; i++) {
    free(w->sections[i].bytes);
  }
  free(w->sections);
  w->sections = NULL;
  w->section_count = 0;
}

void rt_image_abort(rt_image_writer *w) {
  rt_image_flight_clear(w);
  if (w->state == IMAGE_OPEN) {
    w->state = w->stream ? IMAGE_FAILED : IMAGE_IDLE; // what went to a stream cannot be taken back
  }
}

void rt_image_close(rt_image_writer *w) {
  if (w == NULL) {
    return;
  }
  const rt_image_io *io = w->file.io;
  rt_image_flight_clear(w);
  if (w->file.fd >= 0 && w->final != NULL) {
    io->unlink(io->context, w->file.path); // it never got its name
  }
  if (w->file.fd >= 0 && !w->stream) {
    io->close(io->context, w->file.fd);
  }
  if (w->final_fd >= 0) {
    io->close(io->context, w->final_fd);
  }
  rt_image_version_clear(&w->last);
  free(w->kept.bits);
  free(w->buffer);
  free(w->blob);
  free(w->packer);
  free(w->final);
  free(w->file.path);
  free(w);
}
