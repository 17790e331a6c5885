// SPDX-License-Identifier: MIT
// oracle.c: a copy of all pages in use, taken in the stop in which a checkpointer's instant is, and whether an image equals it. See trials.h.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "tests/checkpoint/trials.h"

enum { ORACLES = 4 };
static oracle *volatile oracles[ORACLES]; // changed while none of their checkpointers is at work

static void take(oracle *o) {
  memset(o->used, 0, o->pages.count / 8 + 1);
  o->top = 0;
  for (size_t page = 0; page < o->pages.count; page++) {
    if (veil_page_in_use(o->of->heap, page)) {
      cp_bit_set(o->used, page);
      memcpy(o->copy + page * o->pages.page_size, o->pages.base + o->pages.delta + page * o->pages.page_size, o->pages.page_size);
      o->top = page + 1;
    }
  }
  o->taken++;
}

static void at(veil_checkpointer *c) {
  for (int i = 0; i < ORACLES; i++) {
    oracle *o = oracles[i];
    if (o != NULL && o->of == c) {
      take(o);
    }
  }
}

void (*rt_checkpoint_at)(veil_checkpointer *c) = at;

void oracle_open(oracle *o, veil_checkpointer *of, veil_heap *heap) {
  *o = (oracle){.of = of, .pages = veil_heap_pages(heap)};
  o->copy = mmap(NULL, o->pages.count * o->pages.page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  o->used = calloc(1, o->pages.count / 8 + 1);
  MUST(o->copy != MAP_FAILED && o->used != NULL, "memory");
  for (int i = 0; i < ORACLES; i++) {
    if (oracles[i] == NULL) {
      oracles[i] = o;
      return;
    }
  }
  MUST(false, "too many oracles");
}

void oracle_close(oracle *o) {
  for (int i = 0; i < ORACLES; i++) {
    oracles[i] = oracles[i] == o ? NULL : oracles[i];
  }
  munmap(o->copy, o->pages.count * o->pages.page_size);
  free(o->used);
  *o = (oracle){0};
}

void oracle_keep(const oracle *o, oracle *kept) {
  *kept = *o;
  kept->pages.count = o->top;
  kept->copy = mmap(NULL, o->top * o->pages.page_size + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  kept->used = malloc(o->top / 8 + 1);
  MUST(kept->copy != MAP_FAILED && kept->used != NULL, "memory");
  memcpy(kept->used, o->used, o->top / 8 + 1);
  for (size_t page = 0; page < o->top; page++) {
    if (cp_bit(o->used, page)) {
      memcpy(kept->copy + page * o->pages.page_size, o->copy + page * o->pages.page_size, o->pages.page_size);
    }
  }
}

void oracle_drop(oracle *kept) {
  munmap(kept->copy, kept->top * kept->pages.page_size + 1);
  free(kept->used);
  *kept = (oracle){0};
}

static const char *page_differs(const oracle *o, const rt_image *image, size_t page, char *read) {
  static char text[500];
  bool used = page < o->top && cp_bit(o->used, page), there = rt_image_has(image, page);
  if (used != there) {
    snprintf(text, sizeof text, "page %zu was %s, and the image has it%s", page, used ? "in use" : "not in use", there ? "" : " not");
    return text;
  }
  if (!used) {
    return NULL;
  }
  if (rt_image_read(image, page, 1, read, NULL) != VEIL_OK) {
    snprintf(text, sizeof text, "page %zu cannot be read: %s", page, veil_error());
    return text;
  }
  const char *was = o->copy + page * o->pages.page_size;
  for (size_t i = 0; i < o->pages.page_size; i += 8) {
    if (memcmp(read + i, was + i, 8) != 0) {
      snprintf(text, sizeof text, "page %zu, byte %zu: the image has %llx, the heap had %llx", page, i, *(unsigned long long *)(read + i),
               *(const unsigned long long *)(was + i));
      return text;
    }
  }
  return NULL;
}

const char *oracle_differs(const oracle *o, const char *path, const rt_image_io *io) {
  static char text[700];
  rt_image *image;
  rt_image_options options = {.io = io};
  if (rt_image_open(&image, path, &options) != VEIL_OK) {
    snprintf(text, sizeof text, "it does not open: %s", veil_error());
    return text;
  }
  const rt_image_info *info = rt_image_info_of(image);
  const char *wrong = NULL;
  char *read = malloc(o->pages.page_size);
  if (info->layout.base != (uint64_t)(uintptr_t)o->pages.base || info->layout.page_size != o->pages.page_size) {
    wrong = "its layout is another heap's";
  }
  size_t pages = (size_t)(info->layout.span / info->layout.page_size);
  for (size_t page = 0; page < pages && wrong == NULL; page++) {
    wrong = page_differs(o, image, page, read);
  }
  free(read);
  rt_image_free(image);
  return wrong;
}
