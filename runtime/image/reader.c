// SPDX-License-Identifier: MIT
// reader.c: an image that is open: its pages, sections, types and roots.
//
// Neighbours: load.c has checked everything but pages. Nothing changes after opening, so any number of threads may read.

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/error.h"
#include "runtime/image/inner.h"

enum { PIECE = 256 << 10 }; // read and checked while it is in the cache

static veil_status tables_load(rt_image *image) {
  const image_content *types = rt_image_content_find(&image->v, "types"), *roots = rt_image_content_find(&image->v, "roots");
  veil_status status = VEIL_OK;
  if (types != NULL) {
    status = rt_image_types_decode(&image->file, &types->entry.at, types->bytes, &image->types, &image->type_count);
  }
  if (roots != NULL && status == VEIL_OK) {
    status = rt_image_roots_decode(&image->file, &roots->entry.at, roots->bytes, &image->roots, &image->root_count);
  }
  return status;
}

static veil_status info_fill(rt_image *image) {
  const image_version *v = &image->v;
  const image_header *h = &v->header;
  image_space space = {0};
  image->info = (rt_image_info){.layout = {.page_size = h->page_size, .base = h->base, .span = h->span},
                                .version = h->version,
                                .time = h->time,
                                .pages = h->pages,
                                .file = v->file_bytes,
                                .segments = v->links,
                                .extents = v->map.count,
                                .stream = (h->flags & IMAGE_STREAM) != 0,
                                .damage = v->damage,
                                .fallen_back = v->fallen_back};
  for (size_t i = 0; i < v->map.count; i++) {
    const image_extent *e = &v->map.extents[i];
    if (e->kind == IMAGE_PACKED) {
      rt_image_codec_here(e->codec); // loaded now, not by the first read
    }
    image->info.zero_pages += e->kind == IMAGE_ZERO ? e->count : 0;
    if (e->kind == IMAGE_RAW || (e->kind == IMAGE_PACKED && e->skip == 0)) { // of a blob in several pieces at most one has its first page
      image->info.stored += rt_image_extent_bytes(&v->map, e);
    }
  }
  bool good = rt_image_space_add(&space, v);
  image->info.needed = rt_image_space_bytes(&space) + IMAGE_START;
  free(space.bits);
  return good ? VEIL_OK : rt_image_no_memory(&image->file);
}

veil_status rt_image_open(rt_image **out, const char *path, const rt_image_options *options) {
  *out = NULL;
  rt_image *image = calloc(1, sizeof *image);
  image_file named = {.path = (char *)path};
  if (image == NULL || (image->file.path = strdup(path)) == NULL) {
    free(image);
    return rt_image_no_memory(&named);
  }
  image->file.io = rt_image_io_of(options);
  do {
    image->file.fd = image->file.io->open(image->file.io->context, path, O_RDONLY, 0);
  } while (image->file.fd == -EINTR);
  veil_status status;
  if (image->file.fd < 0) {
    status = rt_image_fail(&image->file, VEIL_IO, "cannot be opened: %s", strerror(-image->file.fd));
  } else {
    status = rt_image_load(&image->file, false, options != NULL && options->no_fallback, &image->v, NULL);
  }
  status = status == VEIL_OK ? tables_load(image) : status;
  status = status == VEIL_OK ? info_fill(image) : status;
  if (status != VEIL_OK) {
    rt_image_free(image);
    return status;
  }
  *out = image;
  return VEIL_OK;
}

void rt_image_free(rt_image *image) {
  if (image == NULL) {
    return;
  }
  if (image->file.fd >= 0) {
    image->file.io->close(image->file.io->context, image->file.fd);
  }
  rt_image_version_clear(&image->v);
  free(image->types);
  free(image->roots);
  free(image->file.path);
  free(image);
}

const rt_image_info *rt_image_info_of(const rt_image *image) { return &image->info; }

// ---- Pages.

bool rt_image_next(const rt_image *image, uint64_t page, rt_image_run *out) {
  const image_map *map = &image->v.map;
  size_t i = rt_image_map_find(map, page);
  if (i == map->count) {
    return false;
  }
  const image_extent *e = &map->extents[i];
  uint64_t first = e->first > page ? e->first : page;
  *out = (rt_image_run){.first = first, .count = e->first + e->count - first, .zero = e->kind == IMAGE_ZERO};
  return true;
}

bool rt_image_has(const rt_image *image, uint64_t page) {
  rt_image_run run;
  return rt_image_next(image, page, &run) && run.first == page;
}

static veil_status sums_check(const rt_image *image, const image_extent *e, const void *pages, const char *how) {
  uint32_t page_size = image->v.map.page_size;
  for (uint64_t i = 0; i < e->count; i++) {
    if (rt_image_sum((const char *)pages + i * page_size, page_size) != image->v.map.sums[e->sum + i] && IMAGE_BREAK != BREAK_SUM_PAGE) {
      return rt_image_fail(&image->file, VEIL_IO, "is damaged: the checksum of page %llu, %s byte %llu, is wrong", (unsigned long long)(e->first + i), how,
                           (unsigned long long)(e->offset + (e->kind == IMAGE_RAW ? i * page_size : 0)));
    }
  }
  return VEIL_OK;
}

static veil_status raw_read(const rt_image *image, const image_extent *e, char *to) {
  uint32_t page_size = image->v.map.page_size;
  for (uint64_t done = 0; done < e->count;) {
    uint64_t count = e->count - done < PIECE / page_size ? e->count - done : PIECE / page_size;
    image_extent piece = rt_image_extent_cut(&image->v.map, e, e->first + done, count);
    veil_status status = rt_image_pread(&image->file, to + done * page_size, count * page_size, piece.offset, "pages");
    status = status == VEIL_OK ? sums_check(image, &piece, to + done * page_size, "at") : status;
    if (status != VEIL_OK) {
      return status;
    }
    done += count;
  }
  return VEIL_OK;
}

static veil_status packed_read(const rt_image *image, const image_extent *e, char *to, char *scratch) {
  uint32_t page_size = image->v.map.page_size;
  char *blob = scratch, *pages = scratch + IMAGE_BLOB, *unpacker = pages + IMAGE_BLOB;
  veil_status status = rt_image_pread(&image->file, blob, e->bytes, e->offset, "a blob");
  if (status != VEIL_OK) {
    return status;
  }
  if (!rt_image_codec_here(e->codec)) {
    return rt_image_fail(&image->file, VEIL_UNSUPPORTED, "has pages compressed with %s, which this build does not have",
                         e->codec == RT_IMAGE_LZ4 ? "lz4" : "zstd");
  }
  if (!rt_image_unpack(e->codec, unpacker, blob, e->bytes, pages, (size_t)e->blob * page_size)) {
    return rt_image_fail(&image->file, VEIL_IO, "is damaged: the blob at byte %llu, of page %llu, cannot be decoded", (unsigned long long)e->offset,
                         (unsigned long long)e->first);
  }
  memcpy(to, pages + (size_t)e->skip * page_size, (size_t)e->count * page_size);
  return sums_check(image, e, to, "in the blob at");
}

veil_status rt_image_read(const rt_image *image, uint64_t first, uint64_t count, void *to, void *scratch) {
  const image_map *map = &image->v.map;
  char *at = to, *own = NULL;
  veil_status status = VEIL_OK;
  for (size_t i = rt_image_map_find(map, first); count != 0 && status == VEIL_OK; i++) {
    if (i == map->count || map->extents[i].first > first) {
      status = rt_image_fail(&image->file, VEIL_INVALID, "has no page %llu", (unsigned long long)first);
      break;
    }
    const image_extent *whole = &map->extents[i];
    uint64_t left = whole->first + whole->count - first, n = left < count ? left : count;
    image_extent e = rt_image_extent_cut(map, whole, first, n);
    if (e.kind == IMAGE_PACKED && scratch == NULL && (scratch = own = malloc(RT_IMAGE_SCRATCH)) == NULL) {
      return rt_image_no_memory(&image->file);
    }
    if (e.kind == IMAGE_ZERO) {
      memset(at, 0, n * map->page_size);
    } else {
      status = e.kind == IMAGE_RAW ? raw_read(image, &e, at) : packed_read(image, &e, at, scratch);
    }
    first += n;
    count -= n;
    at += n * map->page_size;
  }
  free(own);
  return status;
}

// ---- Sections.

veil_status rt_image_section(const rt_image *image, const char *name, const void **contents, size_t *bytes) {
  const image_content *c = rt_image_content_find(&image->v, name);
  if (c == NULL) {
    return rt_image_fail(&image->file, VEIL_INVALID, "has no section %s", name);
  }
  *contents = c->bytes;
  *bytes = c->entry.at.bytes;
  return VEIL_OK;
}

const char *rt_image_section_name(const rt_image *image, size_t n) { return n < image->v.section_count ? image->v.sections[n].entry.name : NULL; }

size_t rt_image_types(const rt_image *image, const rt_image_type **out) {
  *out = image->types;
  return image->type_count;
}

size_t rt_image_roots(const rt_image *image, const rt_image_root **out) {
  *out = image->roots;
  return image->root_count;
}

const rt_image_root *rt_image_root_named(const rt_image *image, const char *name) {
  size_t low = 0, high = image->root_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = strcmp(image->roots[middle].name, name);
    if (order == 0) {
      return &image->roots[middle];
    }
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return NULL;
}
