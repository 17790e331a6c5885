// SPDX-License-Identifier: MIT
// image_memory.h: a heap as of one instant, in memory or in a file of the test's own: pages and description, as a checkpoint has them. For one file of tests.

#ifndef TESTS_RUNTIME_IMAGE_MEMORY_H
#define TESTS_RUNTIME_IMAGE_MEMORY_H

#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include "tests/runtime/test.h"
#include "veil/hooks.h"

enum { IMAGE_SECTIONS = 512, IMAGE_OFFSETS = 64 };

typedef struct image_section {
  char name[32];
  size_t size;
  void *bytes;
} image_section;

// Types with all that they point to, so that it can be written as it is.
typedef struct image_type {
  veil_type_described described;
  char name[64];
  uint64_t slots[IMAGE_OFFSETS], fixed_slots[IMAGE_OFFSETS];
} image_type;

typedef struct image {
  uint64_t base, span, page_size, pages;
  size_t section_count, type_count, root_count;
  image_section sections[IMAGE_SECTIONS];
  image_type *types;
  struct image_root {
    char name[256];
    uint64_t address;
  } *roots;
  uint8_t *there; // per page
  char *contents; // of all pages of the span
  // While it is taken.
  veil_pages of;
  veil_description *description;
  // While it is read. Microseconds that the background thread waits before each read; whether to say that a page cannot be had.
  _Atomic unsigned background_us;
  _Atomic bool fails;
  _Atomic unsigned reads, dones;
} image;

static inline void *image_map(size_t bytes) {
  void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  EXPECT(map != MAP_FAILED);
  return map;
}

// ---- Taking it.

static inline void image_save(image *i, size_t page) {
  EXPECT(!i->there[page]);
  i->there[page] = 1;
  memcpy(i->contents + page * i->page_size, i->of.base + i->of.delta + page * i->page_size, i->page_size);
}

static inline void image_unsaved(void *arg, size_t page) { image_save(arg, page); }
static inline void image_now(void *arg, size_t page, size_t count) {
  for (size_t p = page; p < page + count; p++) {
    image_save(arg, p);
  }
}
static inline void image_at(void *arg) { veil_description_take(((image *)arg)->description); }

static inline veil_status image_section_put(void *arg, const char *name, const void *bytes, size_t size) {
  image *i = arg;
  EXPECT(i->section_count < IMAGE_SECTIONS && strlen(name) < 32 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-.") == strlen(name));
  image_section *s = &i->sections[i->section_count++];
  *s = (image_section){.size = size, .bytes = malloc(size + 1)};
  strcpy(s->name, name);
  memcpy(s->bytes, bytes, size);
  return VEIL_OK;
}

static inline void image_types_take(image *i) {
  const veil_type_described *types;
  i->type_count = veil_description_types(i->description, &types);
  i->types = calloc(i->type_count, sizeof *i->types);
  for (size_t t = 0; t < i->type_count; t++) {
    image_type *to = &i->types[t];
    EXPECT(strlen(types[t].name) < sizeof to->name && types[t].slot_count <= IMAGE_OFFSETS && types[t].fixed_slot_count <= IMAGE_OFFSETS);
    to->described = types[t];
    strcpy(to->name, types[t].name);
    for (size_t s = 0; s < types[t].slot_count; s++) {
      to->slots[s] = types[t].slots[s];
    }
    for (size_t s = 0; s < types[t].fixed_slot_count; s++) {
      to->fixed_slots[s] = types[t].fixed_slots[s];
    }
  }
}

static inline void image_roots_take(image *i) {
  const veil_root_described *roots;
  i->root_count = veil_description_roots(i->description, &roots);
  i->roots = calloc(i->root_count + 1, sizeof *i->roots);
  for (size_t r = 0; r < i->root_count; r++) {
    strcpy(i->roots[r].name, roots[r].name);
    i->roots[r].address = roots[r].address;
  }
}

// The heap as it is in an instant of this call. Any thread.
static inline image *image_take(veil_heap *heap) {
  image *i = image_map(sizeof *i);
  i->of = veil_heap_pages(heap);
  i->base = (uint64_t)i->of.base;
  i->page_size = i->of.page_size;
  i->pages = i->of.count;
  i->span = i->pages * i->page_size;
  i->there = image_map(i->pages);
  i->contents = image_map(i->span);
  veil_service *service = veil_service_open(heap, "image", &(veil_service_callbacks){.unsaved = image_unsaved}, i);
  i->description = veil_description_open(heap);
  EXPECT(service != NULL && i->description != NULL);
  EXPECT(veil_service_instant(service, VEIL_INSTANT_ALL, &(veil_instant_calls){.now = image_now, .at = image_at}, i, NULL) == VEIL_OK);
  for (size_t page = 0; (page = veil_service_next(service, page, VEIL_UNSAVED)) != SIZE_MAX; page++) {
    veil_service_settle(service, page, VEIL_UNSAVED);
  }
  veil_service_close(service);
  EXPECT(veil_description_sections(i->description, image_section_put, i) == VEIL_OK);
  for (size_t page = 0; page < i->pages; page++) {
    EXPECT(i->there[page] == veil_description_has(i->description, page));
  }
  image_types_take(i);
  image_roots_take(i);
  veil_description_close(i->description);
  i->description = NULL;
  return i;
}

static inline void image_free(image *i) {
  for (size_t s = 0; s < i->section_count; s++) {
    free(i->sections[s].bytes);
  }
  free(i->types);
  free(i->roots);
  munmap(i->there, i->pages);
  munmap(i->contents, i->span);
  munmap(i, sizeof *i);
}

static inline image_section *image_section_of(image *i, const char *name) {
  for (size_t s = 0; s < i->section_count; s++) {
    if (strcmp(i->sections[s].name, name) == 0) {
      return &i->sections[s];
    }
  }
  return NULL;
}

// ---- Reading it.

static inline veil_status image_section_get(void *arg, const char *name, const void **bytes, size_t *size) {
  image_section *s = image_section_of(arg, name);
  if (s == NULL) {
    return VEIL_INVALID;
  }
  *bytes = s->bytes;
  *size = s->size;
  return VEIL_OK;
}

static inline bool image_is_zero(const image *i, size_t page) {
  const uint64_t *words = (const uint64_t *)(i->contents + page * i->page_size);
  for (size_t w = 0; w < i->page_size / 8; w++) {
    if (words[w] != 0) {
      return false;
    }
  }
  return true;
}

static inline bool image_next(void *arg, size_t page, size_t *first, size_t *count, bool *zero) {
  image *i = arg;
  while (page < i->pages && !i->there[page]) {
    page++;
  }
  if (page >= i->pages) {
    return false;
  }
  *first = page;
  *zero = image_is_zero(i, page);
  for (*count = 1; page + *count < i->pages && i->there[page + *count] && image_is_zero(i, page + *count) == *zero; ++*count) {
  }
  return true;
}

static inline bool image_read(void *arg, size_t page, size_t count, void *to) {
  image *i = arg;
  char name[16] = "";
  prctl(PR_GET_NAME, name);
  if (i->background_us != 0 && strcmp(name, "veil-restore") == 0) {
    clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){0, i->background_us * 1000}, NULL);
  }
  if (i->fails) {
    return false;
  }
  for (size_t p = page; p < page + count; p++) {
    EXPECT(p < i->pages && i->there[p]);
  }
  memcpy(to, i->contents + page * i->page_size, count * i->page_size);
  i->reads++;
  return true;
}

static inline void image_done(void *arg) { ((image *)arg)->dones++; }

// Opens a heap of it; what it is told is `source`, which the caller may change before.
static inline veil_source image_source(image *i) {
  return (veil_source){.name = "the image", .base = i->base, .span = i->span, .page_size = i->page_size, .type_count = i->type_count, .root_count = i->root_count,
                       .section = image_section_get, .next = image_next, .read = image_read, .done = image_done, .arg = i};
}

static inline veil_heap *image_open_from(const image *i, veil_source source, const veil_options *options, veil_type *const *types, size_t type_count) {
  size_t described_bytes = (i->type_count + 1) * sizeof(veil_type_described), roots_bytes = (i->root_count + 1) * sizeof(veil_root_described);
  veil_type_described *described = image_map(described_bytes);
  veil_root_described *roots = image_map(roots_bytes);
  for (size_t t = 0; t < i->type_count; t++) {
    described[t] = i->types[t].described;
    described[t].name = i->types[t].name;
    described[t].slots = i->types[t].slots;
    described[t].fixed_slots = i->types[t].fixed_slots;
  }
  for (size_t r = 0; r < i->root_count; r++) {
    roots[r] = (veil_root_described){i->roots[r].name, i->roots[r].address};
  }
  source.types = described;
  source.roots = roots;
  veil_heap *heap = veil_open_from(options, &source, types, type_count);
  munmap(described, described_bytes);
  munmap(roots, roots_bytes);
  return heap;
}

static inline veil_heap *image_open(image *i, veil_options options, veil_type *const *types, size_t type_count) {
  veil_heap *heap = image_open_from(i, image_source(i), &options, types, type_count);
  EXPECT(heap != NULL || (fprintf(stderr, "%s\n", veil_error()), false));
  return heap;
}

// All has been read.
static inline void image_wait(image *i) {
  while (i->dones == 0) {
    sleep_ms(1);
  }
}

// ---- In a file.

static inline void image_write(const image *i, const char *path) {
  FILE *f = fopen(path, "wb");
  EXPECT(f != NULL && fwrite(i, sizeof *i, 1, f) == 1);
  for (size_t s = 0; s < i->section_count; s++) {
    EXPECT(fwrite(i->sections[s].bytes, 1, i->sections[s].size, f) == i->sections[s].size);
  }
  EXPECT(fwrite(i->types, sizeof *i->types, i->type_count, f) == i->type_count && fwrite(i->roots, sizeof *i->roots, i->root_count, f) == i->root_count);
  EXPECT(fwrite(i->there, 1, i->pages, f) == i->pages);
  for (size_t page = 0; page < i->pages; page++) {
    EXPECT(!i->there[page] || fwrite(i->contents + page * i->page_size, i->page_size, 1, f) == 1);
  }
  EXPECT(fclose(f) == 0);
}

static inline image *image_load(const char *path) {
  image *i = image_map(sizeof *i);
  FILE *f = fopen(path, "rb");
  EXPECT(f != NULL && fread(i, sizeof *i, 1, f) == 1);
  for (size_t s = 0; s < i->section_count; s++) {
    i->sections[s].bytes = malloc(i->sections[s].size + 1);
    EXPECT(fread(i->sections[s].bytes, 1, i->sections[s].size, f) == i->sections[s].size);
  }
  i->types = calloc(i->type_count + 1, sizeof *i->types);
  i->roots = calloc(i->root_count + 1, sizeof *i->roots);
  i->there = image_map(i->pages);
  i->contents = image_map(i->span);
  EXPECT(fread(i->types, sizeof *i->types, i->type_count, f) == i->type_count && fread(i->roots, sizeof *i->roots, i->root_count, f) == i->root_count);
  EXPECT(fread(i->there, 1, i->pages, f) == i->pages);
  for (size_t page = 0; page < i->pages; page++) {
    EXPECT(!i->there[page] || fread(i->contents + page * i->page_size, i->page_size, 1, f) == 1);
  }
  fclose(f);
  return i;
}

#endif
