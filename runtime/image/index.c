// SPDX-License-Identifier: MIT
// index.c: segments: maps as they stand in a file.
//
// Neighbours: commit.c writes them, load.c reads them; format.h describes them. Any thread.

#include <stdlib.h>
#include <string.h>
#include "runtime/image/inner.h"

static uint64_t zigzag(int64_t n) { return ((uint64_t)n << 1) ^ (uint64_t)(n >> 63); }
static int64_t unzigzag(uint64_t n) { return (int64_t)(n >> 1) ^ -(int64_t)(n & 1); }

bool rt_image_index_encode(const image_map *map, image_segment *head, image_bytes *to) {
  size_t start = to->used;
  uint64_t page = 0, behind = 0, sums = 0;
  rt_image_bytes_add(to, head, sizeof *head); // room, until all is known
  for (size_t i = 0; i < map->count; i++) {
    const image_extent *e = &map->extents[i];
    rt_image_bytes_number(to, e->first - page);
    rt_image_bytes_number(to, (uint64_t)(e->count - 1) << 2 | e->kind);
    page = e->first + e->count;
    if (!rt_image_extent_stored(e)) {
      continue;
    }
    rt_image_bytes_number(to, zigzag((int64_t)(e->offset - behind)));
    if (e->kind == IMAGE_PACKED) {
      rt_image_bytes_number(to, e->bytes);
      rt_image_bytes_number(to, e->blob);
      rt_image_bytes_number(to, e->skip);
      rt_image_bytes_number(to, e->codec);
    }
    behind = e->offset + rt_image_extent_bytes(map, e);
    sums += e->count;
  }
  head->magic = IMAGE_SEGMENT_MAGIC;
  head->extents = (uint32_t)map->count;
  head->bytes = to->used - start - sizeof *head;
  head->sums = sums;
  static const uint64_t nothing;
  rt_image_bytes_add(to, &nothing, -(to->used - start) & 7);
  for (size_t i = 0; i < map->count; i++) {
    const image_extent *e = &map->extents[i];
    if (rt_image_extent_stored(e)) {
      rt_image_bytes_add(to, map->sums + e->sum, e->count * sizeof *map->sums);
    }
  }
  if (!to->failed) {
    memcpy(to->at + start, head, sizeof *head);
  }
  return !to->failed && map->count <= UINT32_MAX;
}

// ---- Decoding.

// Whether extents lie in the file is looked at when segments are merged: one that newer segments hide may be of space that was given up.
static const uint64_t offset_max = UINT64_C(1) << 62;

typedef struct decoder {
  const image_file *file;
  const image_header *header;
  const image_reference *at;
  const uint8_t *start, *next, *limit; // of the segment; in the extents
  uint64_t page, behind, pages;        // pages: that the span has
  uint64_t sums, sum_count;            // used, there
} decoder;

static veil_status damaged(const decoder *d, const char *what) {
  return rt_image_fail(d->file, VEIL_IO, "is damaged: in the segment at byte %llu, at byte %llu of it, %s", (unsigned long long)d->at->offset,
                       (unsigned long long)(d->next - d->start), what);
}

static veil_status packed_decode(decoder *d, image_extent *e) {
  uint64_t bytes, blob, skip, codec;
  if (!rt_image_number(&d->next, d->limit, &bytes) || !rt_image_number(&d->next, d->limit, &blob) || !rt_image_number(&d->next, d->limit, &skip) ||
      !rt_image_number(&d->next, d->limit, &codec)) {
    return damaged(d, "an extent is cut off");
  }
  bool good = blob != 0 && blob <= IMAGE_BLOB / d->header->page_size && skip < blob && e->count <= blob - skip;
  if (!good && IMAGE_BREAK != BREAK_BOUNDS) {
    return damaged(d, "a blob does not have the pages it should have");
  }
  if (bytes == 0 || bytes >= blob * d->header->page_size) {
    return damaged(d, "a blob has an impossible number of bytes");
  }
  if (codec != RT_IMAGE_LZ4 && codec != RT_IMAGE_ZSTD) {
    return damaged(d, "a blob has an unknown codec");
  }
  e->bytes = (uint32_t)bytes;
  e->blob = (uint16_t)blob;
  e->skip = (uint16_t)skip;
  e->codec = (uint8_t)codec;
  return VEIL_OK;
}

static veil_status extent_decode(decoder *d, image_extent *e) {
  uint64_t gap, head, distance;
  if (!rt_image_number(&d->next, d->limit, &gap) || !rt_image_number(&d->next, d->limit, &head)) {
    return damaged(d, "an extent is cut off");
  }
  uint64_t less = head >> 2;
  if (gap > d->pages || d->page + gap >= d->pages || less >= UINT32_MAX || less >= d->pages - d->page - gap) {
    return damaged(d, "pages lie outside of the span");
  }
  *e = (image_extent){.first = d->page + gap, .count = (uint32_t)less + 1, .kind = (uint8_t)(head & 3)};
  d->page = e->first + e->count;
  if (!rt_image_extent_stored(e)) {
    return VEIL_OK;
  }
  if (!rt_image_number(&d->next, d->limit, &distance)) {
    return damaged(d, "an extent is cut off");
  }
  e->offset = d->behind + (uint64_t)unzigzag(distance);
  veil_status status = e->kind == IMAGE_PACKED ? packed_decode(d, e) : VEIL_OK;
  if (status != VEIL_OK) {
    return status;
  }
  uint64_t bytes = e->kind == IMAGE_PACKED ? e->bytes : (uint64_t)e->count * d->header->page_size;
  if (e->offset < IMAGE_START || e->offset > offset_max || bytes > offset_max - e->offset) {
    return damaged(d, "an extent lies where no file has bytes");
  }
  if (e->count > d->sum_count - d->sums) {
    return damaged(d, "there are fewer checksums than pages");
  }
  d->behind = e->offset + bytes;
  return VEIL_OK;
}

static veil_status head_check(decoder *d, const image_segment *head) {
  uint64_t room = d->at->bytes - sizeof *head;
  if (head->magic != IMAGE_SEGMENT_MAGIC) {
    return damaged(d, "there is no segment");
  }
  if (head->id != d->header->id) {
    return damaged(d, "there is a segment of another file");
  }
  if (head->bytes > room || ((head->bytes + 7) & ~UINT64_C(7)) > room || head->sums > room / 8 || ((head->bytes + 7) & ~UINT64_C(7)) + head->sums * 8 != room) {
    return damaged(d, "its lengths do not fit it");
  }
  if (head->extents > head->bytes / 2) {
    return damaged(d, "it has too few bytes for its extents");
  }
  return VEIL_OK;
}

veil_status rt_image_index_decode(const image_file *file, const image_header *header, const image_reference *at, const uint8_t *bytes, image_segment *head,
                                  image_map *map) {
  decoder d = {.file = file, .header = header, .at = at, .start = bytes, .next = bytes, .pages = header->span / header->page_size};
  *map = (image_map){.page_size = header->page_size};
  memcpy(head, bytes, sizeof *head);
  veil_status status = head_check(&d, head);
  if (status != VEIL_OK) {
    return status;
  }
  d.next = bytes + sizeof *head;
  d.limit = d.next + head->bytes;
  const uint64_t *sums = (const uint64_t *)(const void *)(bytes + sizeof *head + ((head->bytes + 7) & ~UINT64_C(7)));
  d.sum_count = head->sums;
  for (uint32_t i = 0; status == VEIL_OK && i < head->extents; i++) {
    image_extent e;
    status = extent_decode(&d, &e);
    if (status == VEIL_OK) {
      if (!rt_image_map_add(map, &e, sums + d.sums)) {
        status = rt_image_no_memory(file);
      }
      d.sums += rt_image_extent_stored(&e) ? e.count : 0;
    }
  }
  if (status == VEIL_OK && (d.next != d.limit || d.sums != d.sum_count)) {
    status = damaged(&d, "something is left over");
  }
  if (status != VEIL_OK) {
    rt_image_map_clear(map);
  }
  return status;
}
