// SPDX-License-Identifier: MIT
// map.c: which pages there are, and where: sorted extents.
//
// Neighbours: index.c reads and writes maps, reader.c looks pages up, commit.c lays increments over versions. Any thread, a map by one at a time when it
// changes.

#include <stdlib.h>
#include <string.h>
#include "runtime/image/inner.h"

static bool grow(void **at, size_t *room, size_t wanted, size_t size) {
  if (wanted <= *room) {
    return true;
  }
  size_t more = *room + *room / 2 + 64;
  more = more < wanted ? wanted : more;
  void *bigger = realloc(*at, more * size);
  if (bigger == NULL) {
    return false;
  }
  *at = bigger;
  *room = more;
  return true;
}

bool rt_image_map_reserve(image_map *map, size_t extents, size_t sums) {
  return grow((void **)&map->extents, &map->room, map->count + extents, sizeof *map->extents) &&
         grow((void **)&map->sums, &map->sum_room, map->sum_count + sums, sizeof *map->sums);
}

// Whether `e` goes on where `last` ends, as one extent.
static bool joins(const image_map *map, const image_extent *last, const image_extent *e) {
  if (last->kind != e->kind || e->kind == IMAGE_PACKED || last->first + last->count != e->first || e->count > UINT32_MAX - last->count) {
    return false;
  }
  return e->kind != IMAGE_RAW || (last->offset + (uint64_t)last->count * map->page_size == e->offset && last->sum + last->count == map->sum_count);
}

bool rt_image_map_add(image_map *map, const image_extent *extent, const uint64_t *sums) {
  size_t more = rt_image_extent_stored(extent) ? extent->count : 0;
  if (!grow((void **)&map->extents, &map->room, map->count + 1, sizeof *map->extents) ||
      !grow((void **)&map->sums, &map->sum_room, map->sum_count + more, sizeof *map->sums)) {
    return false;
  }
  if (map->count != 0 && joins(map, &map->extents[map->count - 1], extent)) {
    map->extents[map->count - 1].count += extent->count;
  } else {
    map->extents[map->count] = *extent;
    map->extents[map->count++].sum = map->sum_count;
  }
  if (more != 0) {
    memcpy(map->sums + map->sum_count, sums, more * sizeof *sums);
    map->sum_count += more;
  }
  return true;
}

image_extent rt_image_extent_cut(const image_map *map, const image_extent *extent, uint64_t from, uint64_t count) {
  image_extent e = *extent;
  uint64_t before = from - e.first;
  e.first = from;
  e.count = (uint32_t)count;
  if (e.kind == IMAGE_RAW) {
    e.offset += before * map->page_size;
  } else if (e.kind == IMAGE_PACKED) {
    e.skip = (uint16_t)(e.skip + before);
  }
  if (rt_image_extent_stored(&e)) {
    e.sum += before;
  }
  return e;
}

void rt_image_map_clear(image_map *map) {
  free(map->extents);
  free(map->sums);
  *map = (image_map){.page_size = map->page_size};
}

size_t rt_image_map_find(const image_map *map, uint64_t page) {
  size_t low = 0, high = map->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (map->extents[middle].first + map->extents[middle].count > page) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

uint64_t rt_image_map_pages(const image_map *map) {
  uint64_t pages = 0;
  for (size_t i = 0; i < map->count; i++) {
    pages += map->extents[i].kind != IMAGE_REMOVED ? map->extents[i].count : 0;
  }
  return pages;
}

// Adds what `from` has in [base, limit), from extent *i on, and advances *i past what ends there.
static bool part_add(image_map *out, const image_map *from, size_t *i, uint64_t base, uint64_t limit, bool keep_removed) {
  for (; *i < from->count && from->extents[*i].first < limit; (*i)++) {
    const image_extent *e = &from->extents[*i];
    uint64_t end = e->first + e->count, low = e->first > base ? e->first : base, high = end < limit ? end : limit;
    if (low < high && (keep_removed || e->kind != IMAGE_REMOVED)) {
      image_extent cut = rt_image_extent_cut(from, e, low, high - low);
      if (!rt_image_map_add(out, &cut, from->sums + cut.sum)) {
        return false;
      }
    }
    if (end > limit) {
      break;
    }
  }
  return true;
}

bool rt_image_map_overlay(const image_map *lower, const image_map *upper, bool keep_removed, image_map *out) {
  *out = (image_map){.page_size = upper->page_size};
  uint64_t at = 0;
  size_t low = 0;
  bool good = grow((void **)&out->extents, &out->room, lower->count + upper->count, sizeof *out->extents) &&
              grow((void **)&out->sums, &out->sum_room, lower->sum_count + upper->sum_count, sizeof *out->sums);
  for (size_t i = 0; good && i < upper->count;) {
    const image_extent *e = &upper->extents[i];
    uint64_t end = e->first + e->count;
    good = part_add(out, lower, &low, at, e->first, keep_removed) && part_add(out, upper, &i, e->first, end, keep_removed);
    at = end;
  }
  good = good && part_add(out, lower, &low, at, UINT64_MAX, keep_removed);
  if (!good) {
    rt_image_map_clear(out);
  }
  return good;
}

// The extents [base, limit) of `map`, sorted, into `out`: runs that are sorted already are taken as they are, then merged by twos.
static bool range_sort(const image_map *map, size_t base, size_t limit, image_map *out) {
  size_t run = base + 1;
  while (run < limit && map->extents[run].first >= map->extents[run - 1].first + map->extents[run - 1].count) {
    run++;
  }
  if (run >= limit) {
    image_map view = *map;
    view.extents = map->extents + base;
    view.count = limit - base;
    image_map none = {.page_size = map->page_size};
    return rt_image_map_overlay(&none, &view, true, out);
  }
  size_t middle = base + (limit - base) / 2;
  image_map first, second;
  if (!range_sort(map, base, middle, &first)) {
    return false;
  }
  bool good = range_sort(map, middle, limit, &second);
  if (good) {
    good = rt_image_map_overlay(&first, &second, true, out);
    rt_image_map_clear(&second);
  }
  rt_image_map_clear(&first);
  return good;
}

bool rt_image_map_sort(image_map *map) {
  image_map sorted;
  if (map->count == 0) {
    return true;
  }
  if (!range_sort(map, 0, map->count, &sorted)) {
    return false;
  }
  rt_image_map_clear(map);
  *map = sorted;
  return true;
}
