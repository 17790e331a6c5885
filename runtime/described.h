// SPDX-License-Identifier: MIT
// described.h: types and named roots as hooks have them (veil/hooks.h), and as images have them (runtime/image): from the one to the other.
//
// Neighbours: checkpoints and stores, which write images of heaps and make heaps of images. Inline, so that the runtime itself needs no image. Any thread. What is returned is one list, to be freed;
// what it points to is the original's. NULL: no memory.

#ifndef RT_DESCRIBED_H
#define RT_DESCRIBED_H

#include <stdlib.h>
#include "runtime/image/image.h"
#include "veil/hooks.h"

static inline rt_image_type *rt_types_to_image(const veil_type_described *from, size_t count) {
  rt_image_type *to = calloc(count + 1, sizeof *to);
  for (size_t i = 0; i < count && to != NULL; i++) {
    const veil_type_described *t = &from[i];
    to[i] = (rt_image_type){.name = t->name,
                            .number = t->number,
                            .flags = t->flags,
                            .size = t->size,
                            .encoding = t->encoding,
                            .fixed = t->fixed,
                            .slot_count = (uint32_t)t->slot_count,
                            .fixed_slot_count = (uint32_t)t->fixed_slot_count,
                            .slots = t->slots,
                            .fixed_slots = t->fixed_slots};
  }
  return to;
}

static inline rt_image_root *rt_roots_to_image(const veil_root_described *from, size_t count) {
  rt_image_root *to = calloc(count + 1, sizeof *to);
  for (size_t i = 0; i < count && to != NULL; i++) {
    to[i] = (rt_image_root){.name = from[i].name, .address = from[i].address};
  }
  return to;
}

static inline veil_type_described *rt_types_of_image(const rt_image *image, size_t *count) {
  const rt_image_type *from;
  *count = rt_image_types(image, &from);
  veil_type_described *to = calloc(*count + 1, sizeof *to);
  for (size_t i = 0; i < *count && to != NULL; i++) {
    const rt_image_type *t = &from[i];
    to[i] = (veil_type_described){.name = t->name,
                                  .number = t->number,
                                  .flags = t->flags,
                                  .size = t->size,
                                  .encoding = t->encoding,
                                  .fixed = t->fixed,
                                  .slot_count = t->slot_count,
                                  .fixed_slot_count = t->fixed_slot_count,
                                  .slots = t->slots,
                                  .fixed_slots = t->fixed_slots};
  }
  return to;
}

static inline veil_root_described *rt_roots_of_image(const rt_image *image, size_t *count) {
  const rt_image_root *from;
  *count = rt_image_roots(image, &from);
  veil_root_described *to = calloc(*count + 1, sizeof *to);
  for (size_t i = 0; i < *count && to != NULL; i++) {
    to[i] = (veil_root_described){.name = from[i].name, .address = from[i].address};
  }
  return to;
}

#endif
