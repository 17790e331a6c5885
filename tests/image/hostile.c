// SPDX-License-Identifier: MIT
// hostile.c: see hostile.h. One thread.

#include "tests/image/hostile.h"
#include <string.h>
#include "runtime/image/inner.h"

uint64_t hostile_number(random_state *r, uint64_t was, uint64_t size) {
  switch (random_below(r, 12)) {
  case 0:
    return 0;
  case 1:
    return 1;
  case 2:
    return UINT64_MAX;
  case 3:
    return UINT64_C(1) << random_below(r, 64);
  case 4:
    return (UINT64_C(1) << random_below(r, 64)) - 1;
  case 5:
    return size;
  case 6:
    return size - random_below(r, 200);
  case 7:
    return was + 1;
  case 8:
    return was - 1;
  case 9:
    return was ^ UINT64_C(1) << random_below(r, 64);
  case 10:
    return random_below(r, size + 1);
  default:
    return random_next(r) << 8 | random_next(r);
  }
}

void hostile_word(hostile *h, uint8_t *at) {
  uint64_t word;
  memcpy(&word, at, 8);
  word = hostile_number(&h->random, word, h->size);
  memcpy(at, &word, random_below(&h->random, 2) ? 8 : 4);
}

void hostile_bytes(hostile *h, uint8_t *at, size_t bytes) {
  for (uint64_t n = 1 + random_below(&h->random, 4); n != 0 && bytes != 0; n--) {
    size_t where = random_below(&h->random, bytes);
    if (random_below(&h->random, 3) == 0 && bytes - where >= 8) {
      hostile_word(h, at + where);
    } else {
      at[where] = random_below(&h->random, 2) ? (uint8_t)random_next(&h->random)
                                              : (uint8_t)(at[where] ^ 1u << random_below(&h->random, 8));
    }
  }
}

static bool within(const hostile *h, const image_reference *r, size_t least) {
  return r->offset <= h->size && r->bytes <= h->size - r->offset && r->bytes >= least;
}
static void sum_mend(hostile *h, image_reference *r) {
  if (within(h, r, 0)) {
    r->sum = rt_image_sum(h->bytes + r->offset, r->bytes);
  }
}

// Changes the segment `deep` links behind the header, and mends the references on the way back.
static void segment_change(hostile *h, image_reference *at, unsigned deep) {
  if (!within(h, at, sizeof(image_segment))) {
    return;
  }
  uint8_t *bytes = h->bytes + at->offset;
  image_segment head;
  memcpy(&head, bytes, sizeof head);
  if (deep != 0 && head.before.bytes != 0) {
    segment_change(h, &head.before, deep - 1);
    memcpy(bytes, &head, sizeof head);
  } else if (random_below(&h->random, 3) == 0) {
    hostile_word(h, bytes + 8 * random_below(&h->random, sizeof head / 8));
  } else if (random_below(&h->random, 8) == 0) {
    at->bytes = hostile_number(&h->random, at->bytes, h->size);
  } else {
    size_t extents = head.bytes < at->bytes - sizeof head ? head.bytes : at->bytes - sizeof head;
    hostile_bytes(h, bytes + sizeof head, extents);
  }
  sum_mend(h, at);
}

static void sections_change(hostile *h, image_reference *table) {
  if (!within(h, table, sizeof(image_section))) {
    return;
  }
  uint8_t *entries = h->bytes + table->offset;
  size_t count = table->bytes / sizeof(image_section);
  uint8_t *at = entries + random_below(&h->random, count) * sizeof(image_section);
  image_section s;
  memcpy(&s, at, sizeof s);
  switch (random_below(&h->random, 4)) {
  case 0:
    hostile_bytes(h, at, sizeof s);
    break;
  case 1:
    hostile_word(h, at + IMAGE_NAME + 8 * random_below(&h->random, 3));
    break;
  default:
    if (within(h, &s.at, 1)) {
      hostile_bytes(h, h->bytes + s.at.offset, random_below(&h->random, 2) || s.at.bytes < 40 ? s.at.bytes : 40);
      sum_mend(h, &s.at);
      memcpy(at, &s, sizeof s);
    }
  }
  if (random_below(&h->random, 10) == 0) {
    table->bytes = hostile_number(&h->random, table->bytes, h->size);
  }
  sum_mend(h, table);
}

static void header_change(hostile *h, size_t offset) {
  image_header header;
  memcpy(&header, h->bytes + offset, sizeof header);
  switch (random_below(&h->random, 6)) {
  case 0:
    hostile_word(h, (uint8_t *)&header + IMAGE_MAGIC_BYTES + 8 * random_below(&h->random, 16));
    break;
  case 1:
  case 2:
    sections_change(h, &header.sections);
    break;
  default:
    segment_change(h, &header.index, (unsigned)random_below(&h->random, 5));
  }
  if (random_below(&h->random, 20) != 0) {
    rt_image_header_seal(&header);
  }
  memcpy(h->bytes + offset, &header, sizeof header);
}

void hostile_image_change(hostile *h) {
  image_header first;
  memcpy(&first, h->bytes, sizeof first);
  size_t newest = first.flags == IMAGE_STREAM ? h->size - IMAGE_BLOCK : random_below(&h->random, 2) * IMAGE_BLOCK;
  switch (random_below(&h->random, 12)) {
  case 0:
    hostile_bytes(h, h->bytes, IMAGE_START);
    break;
  case 1:
    hostile_bytes(h, h->bytes, h->size); // pages and blobs, mostly
    break;
  case 2:
    h->size = random_below(&h->random, h->size + 1);
    break;
  default:
    for (uint64_t n = 1 + random_below(&h->random, 3); n != 0; n--) {
      header_change(h, newest);
      newest = first.flags == IMAGE_STREAM ? newest : (newest ^ (random_below(&h->random, 2) * IMAGE_BLOCK));
    }
  }
}
