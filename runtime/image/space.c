// SPDX-License-Identifier: MIT
// space.c: which bytes of a file a version needs.
//
// Neighbours: out.c fills what nobody needs, commit.c counts what is dead. Any thread.

#include <stdlib.h>
#include "runtime/image/inner.h"

static bool range_add(image_ranges *ranges, uint64_t offset, uint64_t bytes) {
  if (bytes == 0) {
    return true;
  }
  image_range range = {offset & ~(uint64_t)(IMAGE_BLOCK - 1), (offset + bytes + IMAGE_BLOCK - 1) & ~(uint64_t)(IMAGE_BLOCK - 1)};
  if (ranges->count != 0) { // mostly they come in order
    image_range *last = &ranges->at[ranges->count - 1];
    if (range.base >= last->base && range.base <= last->limit) {
      last->limit = range.limit > last->limit ? range.limit : last->limit;
      return true;
    }
  }
  if (ranges->count == ranges->room) {
    size_t room = 2 * ranges->room + 64;
    image_range *at = realloc(ranges->at, room * sizeof *at);
    if (at == NULL) {
      return false;
    }
    ranges->at = at;
    ranges->room = room;
  }
  ranges->at[ranges->count++] = range;
  return true;
}

bool rt_image_space_needs(image_ranges *ranges, const image_version *v) {
  bool good = range_add(ranges, v->header.sections.offset, v->header.sections.bytes);
  for (unsigned i = 0; i < v->links; i++) {
    good = good && range_add(ranges, v->chain[i].at.offset, v->chain[i].at.bytes);
  }
  for (size_t i = 0; i < v->section_count; i++) {
    good = good && range_add(ranges, v->sections[i].entry.at.offset, v->sections[i].entry.at.bytes);
  }
  for (size_t i = 0; good && i < v->map.count; i++) {
    good = range_add(ranges, v->map.extents[i].offset, rt_image_extent_bytes(&v->map, &v->map.extents[i]));
  }
  return good;
}

static int by_base(const void *a, const void *b) {
  uint64_t x = ((const image_range *)a)->base, y = ((const image_range *)b)->base;
  return x < y ? -1 : x > y;
}

void rt_image_space_join(image_ranges *ranges) {
  if (ranges->count == 0) {
    return;
  }
  qsort(ranges->at, ranges->count, sizeof *ranges->at, by_base);
  size_t last = 0;
  for (size_t i = 1; i < ranges->count; i++) {
    if (ranges->at[i].base <= ranges->at[last].limit) {
      if (ranges->at[i].limit > ranges->at[last].limit) {
        ranges->at[last].limit = ranges->at[i].limit;
      }
    } else {
      ranges->at[++last] = ranges->at[i];
    }
  }
  ranges->count = last + 1;
}

uint64_t rt_image_space_bytes(const image_ranges *ranges) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < ranges->count; i++) {
    bytes += ranges->at[i].limit - ranges->at[i].base;
  }
  return bytes;
}
