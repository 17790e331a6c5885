// SPDX-License-Identifier: MIT
// model.h: what an image should hold, as a table of seeds: the contents of a page, of a section, follow from its seed.

#ifndef TESTS_IMAGE_MODEL_H
#define TESTS_IMAGE_MODEL_H

#include <stdbool.h>
#include "runtime/image/image.h"

enum { MODEL_PAGES = 2000, MODEL_SECTIONS = 6, MODEL_ROOTS = 5, MODEL_ZERO = 1 };

typedef struct model {
  uint32_t page[MODEL_PAGES];       // 0: not there; MODEL_ZERO: zeros
  uint32_t section[MODEL_SECTIONS]; // 0: not there
  uint32_t types, roots;            // 0: none were put yet
} model;

typedef struct random_state {
  uint64_t s;
} random_state;
uint64_t random_next(random_state *r);
static inline uint64_t random_below(random_state *r, uint64_t n) { return random_next(r) % n; }
// From the variable IMAGE_SEED, or the clock; printed.
uint64_t seed_choose(const char *what);

// Fills a page; some seeds compress well, some not.
void model_page(uint32_t seed, uint32_t page_size, void *to);

typedef struct model_change {
  unsigned puts, run; // how many, each of up to `run` pages
  unsigned removes;
  unsigned pages; // of the model that are in use
  bool sections, tables;
} model_change;
// Puts a random change into a version that was begun, and into the model.
veil_status model_put(model *m, rt_image_writer *w, uint32_t page_size, const model_change *change, random_state *r);

// NULL, or how the image differs from the model.
const char *model_differs(const model *m, const rt_image *image);

#endif
