// SPDX-License-Identifier: MIT
// restore.c: heaps out of images.
//
// Neighbours: runtime/image reads, veil_open_from makes the heap. Pages are read by whoever touches them, in traps: with scratch memory that is there already,
// no locks, no malloc. A source is known by its heap until everything was read.

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/checkpoint/inner.h"
#include "runtime/described.h"
#include "runtime/error.h"

#define CP_EXPORT __attribute__((visibility("default")))

enum { SCRATCHES = 8, DONE = 1 };

typedef struct source {
  struct source *next; // constant: sources are never freed, but used again
  uint32_t volatile taken;
  AO_t heap; // that comes from here; 0: it is not open yet; DONE: all was read before it was
  // Constant while it is taken.
  rt_image *image;
  veil_type_described *types;
  veil_root_described *roots;
  char *scratch;
  uint32_t volatile scratch_taken[SCRATCHES];
  uint32_t volatile scratch_given; // counts
} source;

static AO_t sources;                // all that ever were
static uint32_t volatile done_some; // counts

// ---- Sources. Without a lock, since a child of fork may come at any time.

static source *source_new(void) {
  for (source *s = (source *)at_load_acquire(&sources); s != NULL; s = s->next) {
    if (at32_cas_full(&s->taken, 0, 1)) {
      return s;
    }
  }
  source *s = calloc(1, sizeof *s);
  if (s == NULL) {
    return NULL;
  }
  s->taken = 1;
  uint64_t first;
  do {
    first = at_load(&sources);
    s->next = (source *)first;
  } while (!at_cas_full(&sources, first, (uint64_t)s));
  return s;
}

// What was read into memory goes; the source is free when its heap is not looked for any more.
static void source_clear(source *s) {
  rt_image_free(s->image);
  free(s->types);
  free(s->roots);
  free(s->scratch);
  s->image = NULL;
  s->types = NULL;
  s->roots = NULL;
  s->scratch = NULL;
}

static void source_give(source *s) {
  at_store(&s->heap, 0);
  at32_store_release(&s->taken, 0);
}

static bool is_being_read(const veil_heap *heap) {
  for (source *s = (source *)at_load_acquire(&sources); s != NULL; s = s->next) {
    if (at32_load_acquire(&s->taken) && at_load_acquire(&s->heap) == (uint64_t)heap) {
      return true;
    }
  }
  return false;
}

// ---- What the heap asks.

static veil_status section(void *arg, const char *name, const void **bytes, size_t *size) {
  return rt_image_section(((source *)arg)->image, name, bytes, size);
}

static bool next(void *arg, size_t page, size_t *first, size_t *count, bool *zero) {
  rt_image_run run;
  if (!rt_image_next(((source *)arg)->image, page, &run)) {
    return false;
  }
  *first = run.first;
  *count = run.count;
  *zero = run.zero;
  return true;
}

static unsigned scratch_take_in_trap(source *s) {
  for (;;) {
    uint32_t seen = at32_load_acquire(&s->scratch_given);
    for (unsigned i = 0; i < SCRATCHES; i++) {
      if (at32_cas_full(&s->scratch_taken[i], 0, 1)) {
        return i;
      }
    }
    os_wait(&s->scratch_given, seen); // for who reads, and waits for the disk only
  }
}

static bool read_in_trap(void *arg, size_t page, size_t count, void *to) {
  source *s = arg;
  unsigned i = scratch_take_in_trap(s);
  bool good = rt_image_read(s->image, page, count, to, s->scratch + (size_t)i * RT_IMAGE_SCRATCH) == VEIL_OK;
  at32_store_release(&s->scratch_taken[i], 0);
  rt_post(&s->scratch_given);
  return good;
}

static void done(void *arg) {
  source *s = arg;
  source_clear(s);
  if (!at_cas_full(&s->heap, 0, DONE)) { // else whoever opens the heap sees that
    source_give(s);
  }
  rt_post(&done_some);
}

// ---- Opening.

static bool tables_make(source *s, size_t *types, size_t *roots) {
  s->types = rt_types_of_image(s->image, types);
  s->roots = rt_roots_of_image(s->image, roots);
  s->scratch = malloc((size_t)SCRATCHES * RT_IMAGE_SCRATCH);
  return s->types != NULL && s->roots != NULL && s->scratch != NULL;
}

static source *source_open(const char *path, const rt_image_io *io, size_t *types, size_t *roots) {
  source *s = source_new();
  if (s == NULL) {
    rt_error_set("veil_restore: no memory");
    return NULL;
  }
  rt_image_options options = {.io = io};
  if (rt_image_open(&s->image, path, &options) != VEIL_OK) {
    s->image = NULL;
    source_give(s);
    return NULL;
  }
  if (!tables_make(s, types, roots)) {
    source_clear(s);
    source_give(s);
    rt_error_set("veil_restore: no memory");
    return NULL;
  }
  return s;
}

veil_heap *rt_restore(const char *path, const veil_options *options, const veil_restore_options *restore, const rt_image_io *io) {
  static const veil_restore_options none = {0};
  restore = restore != NULL ? restore : &none;
  if (path == NULL || *path == 0) {
    rt_error_set("veil_restore: no path");
    return NULL;
  }
  veil_source from = {.name = path, .section = section, .next = next, .read = read_in_trap, .done = done};
  source *s = source_open(path, io, &from.type_count, &from.root_count);
  if (s == NULL) {
    return NULL;
  }
  const rt_image_info *info = rt_image_info_of(s->image);
  from.base = info->layout.base;
  from.elsewhere = restore->elsewhere;
  from.drop_finalizers = restore->drop_finalizers;
  from.delay_ms = restore->delay_ms;
  from.span = info->layout.span;
  from.page_size = info->layout.page_size;
  from.types = s->types;
  from.roots = s->roots;
  from.arg = s;
  veil_heap *heap = veil_open_from(options, &from, restore->types, restore->type_count);
  if (heap == NULL || !at_cas_full(&s->heap, 0, (uint64_t)heap)) {
    source_give(s); // `done` was here before
  }
  return heap;
}

CP_EXPORT veil_heap *veil_restore(const char *path, const veil_options *options, const veil_restore_options *restore) {
  return rt_restore(path, options, restore, NULL);
}

static void restored_wait(void *heap) {
  for (;;) {
    uint32_t seen = at32_load_acquire(&done_some);
    if (!is_being_read(heap)) {
      return;
    }
    rt_wait(&done_some, seen, 0);
  }
}

CP_EXPORT bool veil_restored(veil_heap *heap, bool wait) {
  if (wait) {
    veil_source_fetch(heap); // who waits helps
    veil_service_wait(heap, restored_wait, heap);
  }
  return !is_being_read(heap);
}
