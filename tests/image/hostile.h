// SPDX-License-Identifier: MIT
// hostile.h: random changes of a file, mostly where it hurts, with the checksums made right again, so that what stands
// behind them is reached.

#ifndef TESTS_IMAGE_HOSTILE_H
#define TESTS_IMAGE_HOSTILE_H

#include "tests/image/model.h"

typedef struct hostile {
  uint8_t *bytes;
  size_t size;
  random_state random;
} hostile;

// A number in the place of another, of a file of that size: at the ends of ranges, often.
uint64_t hostile_number(random_state *r, uint64_t was, uint64_t size);
// Another word, or half of it, at a place in the file.
void hostile_word(hostile *h, uint8_t *at);
// Some bytes of so many.
void hostile_bytes(hostile *h, uint8_t *at, size_t bytes);
// A change of an image: of its headers, segments, table of sections, sections, whose checksums are mended; of any
// bytes, whose are not; of its length.
void hostile_image_change(hostile *h);

#endif
