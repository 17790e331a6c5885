// SPDX-License-Identifier: MIT
// version.c: what goes into a version in flight: pages, packed or as they are, and sections.
//
// Neighbours: out.c writes pages at once, commit.c the rest. In the writer's thread.

#include <stdlib.h>
#include <string.h>
#include "runtime/image/inner.h"
#include "vm/check.h"

// ---- Pages.

// Memory for packing: had when a version begins, and later only by who packs otherwise than the options say.
static bool packer_ready(rt_image_writer *w, rt_image_codec codec) {
  size_t bytes = w->packer == NULL ? rt_image_packer_bytes(codec) : 0;
  return bytes == 0 || (w->packer = malloc(bytes)) != NULL;
}

veil_status rt_image_begin(rt_image_writer *w) {
  if (!rt_image_writer_ready(w, IMAGE_IDLE, "rt_image_begin")) {
    return VEIL_IO;
  }
  if (w->stream && w->last.header.version != 0) {
    vm_fatal("rt_image_begin: a stream takes one version");
  }
  rt_image_flight_clear(w);
  if (!packer_ready(w, w->options.codec)) {
    return rt_image_writer_no_memory(w);
  }
  w->delta.page_size = w->layout.page_size;
  w->written = 0;
  rt_image_out_begin(w);
  w->state = IMAGE_OPEN;
  return VEIL_OK;
}

veil_status rt_image_reserve(rt_image_writer *w, uint64_t pages) {
  if (!rt_image_writer_ready(w, IMAGE_OPEN, "rt_image_reserve")) {
    return VEIL_IO;
  }
  return rt_image_map_reserve(&w->delta, pages, pages) ? VEIL_OK : rt_image_writer_no_memory(w);
}

static void pages_check(const rt_image_writer *w, const char *call, uint64_t first, uint64_t count) {
  uint64_t pages = w->layout.span / w->layout.page_size;
  if (first > pages || count > pages - first) {
    vm_fatal("%s: pages from %lu on, %lu of them, lie outside of the span", call, (unsigned long)first, (unsigned long)count);
  }
}

static veil_status extent_add(rt_image_writer *w, const image_extent *e, const uint64_t *sums) {
  return rt_image_map_add(&w->delta, e, sums) ? VEIL_OK : rt_image_writer_no_memory(w);
}

// What is put: pages side by side, or a list of them.
typedef struct source {
  const rt_image_page *list; // NULL: `contents`, from page `first` on
  const char *contents;
  uint64_t first, count;
  rt_image_taken *taken; // NULL: nobody wants to know
  void *arg;
  uint64_t copied; // pages that were, and of which nobody was told
} source;

static rt_image_page source_page(const rt_image_writer *w, const source *s, uint64_t i) {
  return s->list != NULL ? s->list[i] : (rt_image_page){.page = s->first + i, .contents = s->contents + i * w->layout.page_size};
}

static void source_tell(source *s) {
  if (s->taken != NULL && s->copied != 0) {
    s->taken(s->arg, s->copied);
  }
  s->copied = 0;
}

// Fetches what is copied next, and where to, while a checksum is made: both are cold, and that is most of what a page costs.
static void page_ahead(const void *from, const uint8_t *to) {
  enum { LINE = 64, AHEAD = 4096 }; // of larger pages the processor foresees the rest
  for (size_t at = 0; at < AHEAD; at += LINE) {
    __builtin_prefetch((const char *)from + at, 0);
    __builtin_prefetch(to + at, 1);
  }
}

// Copied before it is looked at, so that checksum and contents agree whatever happens to the original.
static veil_status page_put(rt_image_writer *w, source *s, uint64_t i) {
  rt_image_page page = source_page(w, s, i);
  uint32_t page_size = w->layout.page_size;
  image_extent e = {.first = page.page, .count = 1, .kind = IMAGE_RAW};
  veil_status status = rt_image_out_place(w, page_size, &e.offset);
  if (status != VEIL_OK) {
    return status;
  }
  uint8_t *spot = rt_image_out_spot(w);
  memcpy(spot, page.contents, page_size);
  s->copied++;
  if (i + 1 == s->count || rt_image_out_writes(w, page_size)) {
    source_tell(s);
  }
  if (i + 1 < s->count) {
    page_ahead(source_page(w, s, i + 1).contents, spot + page_size);
  }
  if (rt_image_is_zero(spot, page_size)) {
    return extent_add(w, &(image_extent){.first = page.page, .count = 1, .kind = IMAGE_ZERO}, NULL);
  }
  uint64_t sum = rt_image_sum(spot, page_size);
  status = extent_add(w, &e, &sum);
  return status == VEIL_OK ? rt_image_out_took(w, page_size) : status;
}

// `count` pages, none of them zero, at `from`, which is the writer's own memory.
static veil_status blob_put(rt_image_writer *w, uint64_t first, uint64_t count, const uint8_t *from, rt_image_codec codec) {
  uint32_t page_size = w->layout.page_size;
  uint64_t sums[IMAGE_BLOB / 4096], bytes = count * page_size;
  image_extent e = {.first = first, .count = (uint32_t)count, .kind = IMAGE_PACKED, .codec = (uint8_t)codec, .blob = (uint16_t)count};
  for (uint64_t i = 0; i < count; i++) {
    sums[i] = rt_image_sum(from + i * page_size, page_size);
  }
  veil_status status = rt_image_out_place(w, bytes, &e.offset);
  if (status != VEIL_OK) {
    return status;
  }
  e.bytes = (uint32_t)rt_image_pack(codec, w->packer, from, bytes, rt_image_out_spot(w), bytes);
  size_t took = e.bytes;
  if (took == 0) {
    e = (image_extent){.first = first, .offset = e.offset, .count = (uint32_t)count, .kind = IMAGE_RAW};
    memcpy(rt_image_out_spot(w), from, bytes);
    took = bytes;
  }
  status = extent_add(w, &e, sums);
  return status == VEIL_OK ? rt_image_out_took(w, took) : status;
}

// A blob's pages: those from the i-th on that follow each other, up to where blobs of one version and of another have the same bounds. How many they were.
static uint64_t blob_copy(rt_image_writer *w, source *s, uint64_t i) {
  uint32_t page_size = w->layout.page_size;
  rt_image_page page = source_page(w, s, i);
  uint64_t first = page.page, most = IMAGE_BLOB / page_size, n = 0;
  most -= first % most;
  do {
    memcpy(w->blob + n++ * page_size, page.contents, page_size);
  } while (n < most && i + n < s->count && (page = source_page(w, s, i + n)).page == first + n);
  s->copied += n;
  source_tell(s);
  return n;
}

static veil_status packed_put(rt_image_writer *w, source *s, uint64_t at, rt_image_codec codec, uint64_t *count) {
  uint32_t page_size = w->layout.page_size;
  uint64_t first = source_page(w, s, at).page;
  if (!packer_ready(w, codec)) {
    return rt_image_writer_no_memory(w);
  }
  veil_status status = VEIL_OK;
  *count = blob_copy(w, s, at);
  for (uint64_t i = 0; i < *count && status == VEIL_OK;) {
    bool zero = rt_image_is_zero(w->blob + i * page_size, page_size);
    uint64_t end = i + 1;
    while (end < *count && rt_image_is_zero(w->blob + end * page_size, page_size) == zero) {
      end++;
    }
    status = zero ? extent_add(w, &(image_extent){.first = first + i, .count = (uint32_t)(end - i), .kind = IMAGE_ZERO}, NULL)
                  : blob_put(w, first + i, end - i, w->blob + i * page_size, codec);
    i = end;
  }
  return status;
}

static veil_status source_put(rt_image_writer *w, source *s, rt_image_codec codec) {
  veil_status status = VEIL_OK;
  for (uint64_t i = 0, n = 1; i < s->count && status == VEIL_OK; i += n) {
    status = codec == RT_IMAGE_PLAIN ? page_put(w, s, i) : packed_put(w, s, i, codec, &n);
  }
  return status;
}

veil_status rt_image_put_as(rt_image_writer *w, uint64_t first, uint64_t count, const void *contents, rt_image_codec codec) {
  return source_put(w, &(source){.contents = contents, .first = first, .count = count}, codec);
}

veil_status rt_image_put(rt_image_writer *w, uint64_t first, uint64_t count, const void *contents) {
  if (!rt_image_writer_ready(w, IMAGE_OPEN, "rt_image_put")) {
    return VEIL_IO;
  }
  pages_check(w, "rt_image_put", first, count);
  return rt_image_put_as(w, first, count, contents, w->options.codec);
}

veil_status rt_image_put_list(rt_image_writer *w, const rt_image_page *list, uint64_t count, rt_image_taken *taken, void *arg) {
  if (!rt_image_writer_ready(w, IMAGE_OPEN, "rt_image_put_list")) {
    return VEIL_IO;
  }
  for (uint64_t i = 0; i < count; i++) {
    pages_check(w, "rt_image_put_list", list[i].page, 1);
  }
  return source_put(w, &(source){.list = list, .count = count, .taken = taken, .arg = arg}, w->options.codec);
}

veil_status rt_image_put_blob(rt_image_writer *w, const image_extent *like, uint64_t first, const void *bytes, const uint64_t *sums) {
  image_extent e = *like;
  e.first = first;
  veil_status status = rt_image_out_place(w, e.bytes, &e.offset);
  status = status == VEIL_OK ? extent_add(w, &e, sums) : status;
  return status == VEIL_OK ? rt_image_out_add(w, bytes, e.bytes) : status;
}

veil_status rt_image_remove(rt_image_writer *w, uint64_t first, uint64_t count) {
  if (!rt_image_writer_ready(w, IMAGE_OPEN, "rt_image_remove")) {
    return VEIL_IO;
  }
  pages_check(w, "rt_image_remove", first, count);
  veil_status status = VEIL_OK;
  while (count != 0 && status == VEIL_OK) {
    uint32_t n = count < (1u << 31) ? (uint32_t)count : 1u << 31;
    status = extent_add(w, &(image_extent){.first = first, .count = n, .kind = IMAGE_REMOVED}, NULL);
    first += n;
    count -= n;
  }
  return status;
}

// ---- Sections.

veil_status rt_image_section_set(rt_image_writer *w, const char *name, const void *contents, size_t bytes) {
  size_t i = 0;
  while (i < w->section_count && strncmp(w->sections[i].entry.name, name, IMAGE_NAME) != 0) {
    i++;
  }
  uint8_t *copy = contents != NULL ? malloc(bytes + 1) : NULL;
  image_content *bigger = i == w->section_count ? realloc(w->sections, (i + 1) * sizeof *bigger) : w->sections;
  if (bigger != NULL) {
    w->sections = bigger;
  }
  if (bigger == NULL || (contents != NULL && copy == NULL)) {
    free(copy);
    return rt_image_writer_no_memory(w);
  }
  image_content *c = &w->sections[i];
  if (i == w->section_count) {
    *c = (image_content){0};
    memcpy(c->entry.name, name, strlen(name));
    w->section_count++;
  }
  if (contents != NULL) {
    memcpy(copy, contents, bytes);
  }
  free(c->bytes);
  c->bytes = copy;
  c->entry.at = (image_reference){.bytes = bytes, .sum = contents != NULL ? rt_image_sum(contents, bytes) : 0};
  return VEIL_OK;
}

veil_status rt_image_put_section(rt_image_writer *w, const char *name, const void *contents, size_t bytes) {
  if (!rt_image_writer_ready(w, IMAGE_OPEN, "rt_image_put_section")) {
    return VEIL_IO;
  }
  if (!rt_image_name_good(name, IMAGE_NAME) || strcmp(name, "types") == 0 || strcmp(name, "roots") == 0) {
    vm_fatal("rt_image_put_section: \"%s\" is no name for a section", name);
  }
  return rt_image_section_set(w, name, contents, bytes);
}

static veil_status encoded_set(rt_image_writer *w, const char *name, image_bytes *bytes, bool good) {
  veil_status status = good ? rt_image_section_set(w, name, bytes->at, bytes->used) : rt_image_writer_no_memory(w);
  free(bytes->at);
  return status;
}

static int by_number(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

veil_status rt_image_put_types(rt_image_writer *w, const rt_image_type *types, size_t count) {
  if (!rt_image_writer_ready(w, IMAGE_OPEN, "rt_image_put_types")) {
    return VEIL_IO;
  }
  uint32_t *numbers = malloc(count * sizeof *numbers + 1);
  if (numbers == NULL) {
    return rt_image_writer_no_memory(w);
  }
  veil_status status = VEIL_OK;
  for (size_t i = 0; i < count; i++) {
    numbers[i] = types[i].number;
    size_t length = strlen(types[i].name);
    if (length == 0 || length > 4096) {
      status = rt_image_fail(&w->file, VEIL_INVALID, "type %u has a name of %zu bytes", types[i].number, length);
    }
  }
  qsort(numbers, count, sizeof *numbers, by_number);
  for (size_t i = 1; i < count && status == VEIL_OK; i++) {
    if (numbers[i] == numbers[i - 1]) {
      status = rt_image_fail(&w->file, VEIL_INVALID, "two types have the number %u", numbers[i]);
    }
  }
  free(numbers);
  image_bytes bytes = {0};
  return status == VEIL_OK ? encoded_set(w, "types", &bytes, rt_image_types_encode(types, count, &bytes)) : status;
}

static int by_name(const void *a, const void *b) { return strcmp(((const rt_image_root *)a)->name, ((const rt_image_root *)b)->name); }

veil_status rt_image_put_roots(rt_image_writer *w, const rt_image_root *roots, size_t count) {
  if (!rt_image_writer_ready(w, IMAGE_OPEN, "rt_image_put_roots")) {
    return VEIL_IO;
  }
  rt_image_root *sorted = malloc(count * sizeof *sorted + 1);
  if (sorted == NULL) {
    return rt_image_writer_no_memory(w);
  }
  if (count != 0) {
    memcpy(sorted, roots, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_name);
  }
  veil_status status = VEIL_OK;
  for (size_t i = 0; i < count && status == VEIL_OK; i++) {
    size_t length = strlen(sorted[i].name);
    if (length == 0 || length > 4096) {
      status = rt_image_fail(&w->file, VEIL_INVALID, "a root has a name of %zu bytes", length);
    } else if (i != 0 && strcmp(sorted[i - 1].name, sorted[i].name) == 0) {
      status = rt_image_fail(&w->file, VEIL_INVALID, "two roots are called %s", sorted[i].name);
    }
  }
  image_bytes bytes = {0};
  status = status == VEIL_OK ? encoded_set(w, "roots", &bytes, rt_image_roots_encode(sorted, count, &bytes)) : status;
  free(sorted);
  return status;
}
