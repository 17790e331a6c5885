// SPDX-License-Identifier: MIT
// space.c: which blocks of a file versions need: a bit each.
//
// Neighbours: out.c fills what nobody needs, commit.c counts what is dead. Any thread.

#include <stdlib.h>
#include <string.h>
#include "runtime/image/inner.h"

static bool words_room(image_space *space, uint64_t blocks) {
  size_t wanted = (blocks + 63) / 64;
  if (wanted <= space->words) {
    return true;
  }
  size_t room = wanted + wanted / 8 + 16;
  uint64_t *bits = realloc(space->bits, room * sizeof *bits);
  if (bits == NULL) {
    return false;
  }
  memset(bits + space->words, 0, (room - space->words) * sizeof *bits);
  space->bits = bits;
  space->words = room;
  return true;
}

static bool bytes_add(image_space *space, uint64_t offset, uint64_t bytes) {
  uint64_t base = offset / IMAGE_BLOCK, limit = (offset + bytes + IMAGE_BLOCK - 1) / IMAGE_BLOCK;
  if (bytes == 0) {
    return true;
  }
  if (!words_room(space, limit)) {
    return false;
  }
  while (base < limit) {
    uint64_t bit = base % 64, count = 64 - bit < limit - base ? 64 - bit : limit - base;
    space->bits[base / 64] |= (count == 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1) << bit;
    base += count;
  }
  return true;
}

bool rt_image_space_add(image_space *space, const image_version *v) {
  bool good = bytes_add(space, v->header.sections.offset, v->header.sections.bytes);
  for (unsigned i = 0; i < v->links; i++) {
    good = good && bytes_add(space, v->chain[i].at.offset, v->chain[i].at.bytes);
  }
  for (size_t i = 0; i < v->section_count; i++) {
    good = good && bytes_add(space, v->sections[i].entry.at.offset, v->sections[i].entry.at.bytes);
  }
  for (size_t i = 0; good && i < v->map.count; i++) {
    good = bytes_add(space, v->map.extents[i].offset, rt_image_extent_bytes(&v->map, &v->map.extents[i]));
  }
  return good;
}

uint64_t rt_image_space_bytes(const image_space *space) {
  uint64_t blocks = 0;
  for (size_t i = 0; i < space->words; i++) {
    blocks += (uint64_t)__builtin_popcountll(space->bits[i]);
  }
  return blocks * IMAGE_BLOCK;
}

// The first block from `block` on that is needed, or is not; the end of the bits if there is none.
static uint64_t block_find(const image_space *space, uint64_t block, bool needed) {
  uint64_t end = space->words * 64;
  while (block < end) {
    uint64_t word = needed ? space->bits[block / 64] : ~space->bits[block / 64];
    word &= UINT64_MAX << block % 64;
    if (word != 0) {
      return (block & ~UINT64_C(63)) + (uint64_t)__builtin_ctzll(word);
    }
    block = (block & ~UINT64_C(63)) + 64;
  }
  return end;
}

bool rt_image_space_gap(const image_space *space, uint64_t from, image_range *gap) {
  uint64_t end = space->words * 64, base = block_find(space, from / IMAGE_BLOCK, false), limit = block_find(space, base, true);
  *gap = (image_range){base * IMAGE_BLOCK, limit * IMAGE_BLOCK};
  return limit < end;
}
