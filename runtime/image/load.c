// SPDX-License-Identifier: MIT
// load.c: a version from its file: headers, segments, sections. All that a file says is checked here before anything uses it.
//
// Neighbours: reader.c and writer.c ask for versions; index.c reads segments. Any thread.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/image/inner.h"
#include "veil/veil.h"

void rt_image_header_seal(image_header *header) { header->sum = rt_image_sum(header, offsetof(image_header, sum)); }

typedef struct slot {
  image_header header;
  veil_status status; // VEIL_OK: its checksum is right, and it makes sense
  bool empty, unread; // unread: the system would not give it
  uint64_t offset;
  char text[300]; // what is wrong
} slot;

static veil_status slot_wrong(slot *s, veil_status status, const char *what) {
  snprintf(s->text, sizeof s->text, "the header at byte %llu %s", (unsigned long long)s->offset, what);
  s->status = status;
  return status;
}

// What is of another kind is told from what is damaged: nothing but magic and byte order is believed before the checksum.
static veil_status header_check(slot *s, uint64_t file_bytes) {
  const image_header *h = &s->header;
  if (memcmp(h->magic, IMAGE_MAGIC, IMAGE_MAGIC_BYTES) != 0) {
    return slot_wrong(s, VEIL_IO, memcmp(h->magic, IMAGE_MAGIC, 10) == 0 ? "was changed by a transfer that is not for binary files" : "is none");
  }
  if (h->byte_order == __builtin_bswap32(IMAGE_BYTE_ORDER)) {
    return slot_wrong(s, VEIL_UNSUPPORTED, "was written on a machine with the other byte order");
  }
  if (h->sum != rt_image_sum(h, offsetof(image_header, sum)) && IMAGE_BREAK != BREAK_SUM_HEADER) {
    return slot_wrong(s, VEIL_IO, "is damaged: its checksum is wrong");
  }
  if (h->byte_order != IMAGE_BYTE_ORDER) {
    return slot_wrong(s, VEIL_IO, "is damaged: it has no byte order");
  }
  if (h->format != IMAGE_FORMAT) {
    return slot_wrong(s, VEIL_UNSUPPORTED, "has another version of the format");
  }
  if (h->word != sizeof(void *)) {
    return slot_wrong(s, VEIL_UNSUPPORTED, "was written on a machine with words of another size");
  }
  if (h->page_size < 4096 || h->page_size > IMAGE_BLOB || (h->page_size & (h->page_size - 1)) != 0) {
    return slot_wrong(s, VEIL_IO, "has an impossible page size");
  }
  if (h->span == 0 || h->span % h->page_size != 0 || h->span / h->page_size > IMAGE_PAGES_MAX || h->base > UINT64_MAX - h->span) {
    return slot_wrong(s, VEIL_IO, "has an impossible span");
  }
  if ((h->flags & ~(uint64_t)IMAGE_STREAM) != 0) {
    return slot_wrong(s, VEIL_UNSUPPORTED, "has unknown flags");
  }
  if (h->version != 0 && (h->end < IMAGE_START || h->end > file_bytes)) {
    return slot_wrong(s, VEIL_IO, h->end > file_bytes ? "wants a longer file: it was cut off" : "has an impossible end");
  }
  s->status = VEIL_OK;
  return VEIL_OK;
}

static veil_status slot_read(const image_file *file, slot *s, uint64_t offset, uint64_t file_bytes) {
  *s = (slot){.offset = offset};
  veil_status status = rt_image_pread(file, &s->header, sizeof s->header, offset, "a header");
  if (status != VEIL_OK) {
    s->status = status;
    s->unread = true;
    snprintf(s->text, sizeof s->text, "the header at byte %llu cannot be read", (unsigned long long)offset);
    return status;
  }
  s->empty = rt_image_is_zero(&s->header, sizeof s->header);
  if (s->empty) {
    return slot_wrong(s, VEIL_IO, "is not there");
  }
  return header_check(s, file_bytes);
}

// ---- What a header refers to.

static veil_status reference_check(const image_file *file, const image_header *h, const image_reference *at, uint64_t least, const char *what) {
  if (at->offset < IMAGE_START || at->offset > h->end || at->bytes > h->end - at->offset || at->bytes < least) {
    return rt_image_fail(file, VEIL_IO, "is damaged: %s is said to be at byte %llu, %llu bytes long", what, (unsigned long long)at->offset,
                         (unsigned long long)at->bytes);
  }
  return VEIL_OK;
}

// Reads what is referred to into memory of its own.
static veil_status reference_read(const image_file *file, const image_reference *at, const char *what, bool sum_counts, uint8_t **out) {
  uint8_t *bytes = malloc(at->bytes + 1);
  if (bytes == NULL) {
    return rt_image_no_memory(file);
  }
  veil_status status = rt_image_pread(file, bytes, at->bytes, at->offset, what);
  if (status == VEIL_OK && rt_image_sum(bytes, at->bytes) != at->sum && sum_counts) {
    status = rt_image_fail(file, VEIL_IO, "is damaged: the checksum of %s at byte %llu is wrong", what, (unsigned long long)at->offset);
  }
  if (status != VEIL_OK) {
    free(bytes);
    return status;
  }
  *out = bytes;
  return VEIL_OK;
}

// im.hostile: segments lie apart, so what is read is no longer than the file.
static veil_status chain_check(const image_file *file, const image_version *v, const image_reference *at) {
  for (unsigned i = 0; i < v->links; i++) {
    const image_reference *other = &v->chain[i].at;
    if (at->offset < other->offset + other->bytes && other->offset < at->offset + at->bytes) {
      return rt_image_fail(file, VEIL_IO, "is damaged: the segments at bytes %llu and %llu overlap", (unsigned long long)at->offset,
                           (unsigned long long)other->offset);
    }
  }
  if (v->links == IMAGE_CHAIN_MAX) {
    return rt_image_fail(file, VEIL_IO, "is damaged: it has more than %d segments", IMAGE_CHAIN_MAX);
  }
  return VEIL_OK;
}

// The map so far has what is newer.
static veil_status link_load(const image_file *file, image_version *v, image_reference at, bool keep) {
  uint8_t *bytes;
  veil_status status = reference_check(file, &v->header, &at, sizeof(image_segment), "a segment");
  status = status == VEIL_OK ? chain_check(file, v, &at) : status;
  status = status == VEIL_OK ? reference_read(file, &at, "the segment", IMAGE_BREAK != BREAK_SUM_SEGMENT, &bytes) : status;
  if (status != VEIL_OK) {
    return status;
  }
  image_link *link = &v->chain[v->links];
  *link = (image_link){.at = at};
  image_map merged = {.page_size = v->header.page_size};
  status = rt_image_index_decode(file, &v->header, &at, bytes, &link->head, &link->map);
  free(bytes);
  if (status != VEIL_OK) {
    return status;
  }
  bool base = link->head.before.bytes == 0;
  bool good = rt_image_map_overlay(&link->map, &v->map, !base, &merged);
  rt_image_map_clear(&v->map);
  v->map = merged;
  if (base || !keep) {
    rt_image_map_clear(&link->map);
  }
  v->links++;
  return good ? VEIL_OK : rt_image_no_memory(file);
}

static veil_status map_check(const image_file *file, const image_version *v) {
  for (size_t i = 0; i < v->map.count; i++) {
    const image_extent *e = &v->map.extents[i];
    if (rt_image_extent_stored(e) && (e->offset > v->header.end || rt_image_extent_bytes(&v->map, e) > v->header.end - e->offset)) {
      return rt_image_fail(file, VEIL_IO, "is damaged: by its map page %llu is at byte %llu, which is outside of it", (unsigned long long)e->first,
                           (unsigned long long)e->offset);
    }
  }
  if (rt_image_map_pages(&v->map) != v->header.pages) {
    return rt_image_fail(file, VEIL_IO, "is damaged: its map has %llu pages, and its header says %llu", (unsigned long long)rt_image_map_pages(&v->map),
                         (unsigned long long)v->header.pages);
  }
  return VEIL_OK;
}

static veil_status chain_load(const image_file *file, image_version *v, bool keep) {
  v->map.page_size = v->header.page_size;
  image_reference at = v->header.index;
  while (at.bytes != 0) {
    veil_status status = link_load(file, v, at, keep);
    if (status != VEIL_OK) {
      return status;
    }
    at = v->chain[v->links - 1].head.before;
  }
  return map_check(file, v);
}

static veil_status sections_load(const image_file *file, image_version *v, bool contents) {
  const image_reference *at = &v->header.sections;
  uint8_t *table;
  if (at->bytes == 0) {
    return VEIL_OK;
  }
  veil_status status = reference_check(file, &v->header, at, sizeof(image_section), "the table of sections");
  if (status == VEIL_OK && (at->bytes % sizeof(image_section) != 0 || at->bytes / sizeof(image_section) > IMAGE_SECTIONS_MAX)) {
    status = rt_image_fail(file, VEIL_IO, "is damaged: the table of sections at byte %llu has an impossible length", (unsigned long long)at->offset);
  }
  status = status == VEIL_OK ? reference_read(file, at, "the table of sections", IMAGE_BREAK != BREAK_SUM_SECTION, &table) : status;
  if (status != VEIL_OK) {
    return status;
  }
  size_t count = at->bytes / sizeof(image_section);
  v->sections = calloc(count, sizeof *v->sections);
  if (v->sections == NULL) {
    status = rt_image_no_memory(file);
  }
  uint64_t room = v->header.end;
  for (size_t i = 0; status == VEIL_OK && i < count; i++) {
    image_content *c = &v->sections[i];
    memcpy(&c->entry, table + i * sizeof c->entry, sizeof c->entry);
    if (!rt_image_name_good(c->entry.name, IMAGE_NAME) || (i != 0 && strncmp(v->sections[i - 1].entry.name, c->entry.name, IMAGE_NAME) >= 0)) {
      status = rt_image_fail(file, VEIL_IO, "is damaged: the table of sections at byte %llu has a wrong name in place %zu", (unsigned long long)at->offset, i);
      break;
    }
    char what[IMAGE_NAME + 20];
    snprintf(what, sizeof what, "the section %s", c->entry.name);
    status = reference_check(file, &v->header, &c->entry.at, 0, what);
    if (status == VEIL_OK && c->entry.at.bytes > room) { // im.hostile: all in all no more than there is
      status = rt_image_fail(file, VEIL_IO, "is damaged: its sections overlap");
    }
    room -= c->entry.at.bytes;
    if (status == VEIL_OK && contents) {
      status = reference_read(file, &c->entry.at, what, IMAGE_BREAK != BREAK_SUM_SECTION, &c->bytes);
    }
    v->section_count = i + 1;
  }
  free(table);
  return status;
}

void rt_image_version_clear(image_version *v) {
  for (unsigned i = 0; i < v->links; i++) {
    rt_image_map_clear(&v->chain[i].map);
  }
  for (size_t i = 0; i < v->section_count; i++) {
    free(v->sections[i].bytes);
  }
  free(v->sections);
  rt_image_map_clear(&v->map);
  memset(v, 0, sizeof *v);
}

image_content *rt_image_content_find(const image_version *v, const char *name) {
  for (size_t i = 0; i < v->section_count; i++) {
    if (strncmp(v->sections[i].entry.name, name, IMAGE_NAME) == 0) {
      return &v->sections[i];
    }
  }
  return NULL;
}

static veil_status version_load(const image_file *file, const slot *s, uint64_t file_bytes, bool links, bool contents, image_version *v) {
  memset(v, 0, sizeof *v);
  v->header = s->header;
  v->file_bytes = file_bytes;
  veil_status status = chain_load(file, v, links);
  status = status == VEIL_OK ? sections_load(file, v, contents) : status;
  if (status != VEIL_OK) {
    rt_image_version_clear(v);
  }
  return status;
}

// ---- Which version.

static veil_status stream_load(const image_file *file, uint64_t bytes, image_version *out) {
  slot s = {0};
  veil_status status = bytes >= IMAGE_START + IMAGE_BLOCK ? slot_read(file, &s, bytes - IMAGE_BLOCK, bytes) : VEIL_IO;
  if (status != VEIL_OK || s.header.flags != IMAGE_STREAM || s.header.version == 0 || s.header.end != bytes) {
    return rt_image_fail(file, status == VEIL_OK ? VEIL_IO : status, "was written as a stream, and has no trailer at its end: it was cut off%s%s",
                         *s.text != 0 ? ": " : "", s.text);
  }
  return version_load(file, &s, bytes, false, true, out);
}

static bool same_file(const image_header *a, const image_header *b) {
  return a->id == b->id && a->page_size == b->page_size && a->base == b->base && a->span == b->span;
}

// Puts the slot that is to be tried first in front, and refuses what does not go together.
static veil_status slots_order(const image_file *file, slot slots[2]) {
  for (int i = 0; i < 2; i++) {
    if (slots[i].status == VEIL_OK &&
        (slots[i].header.version == 0 || (slots[i].header.version % 2 != slots[i].offset / IMAGE_BLOCK && IMAGE_BREAK != BREAK_SLOTS))) {
      slot_wrong(&slots[i], VEIL_IO, "has a version that does not belong into its slot");
    }
  }
  bool first = slots[0].status == VEIL_OK, second = slots[1].status == VEIL_OK;
  if (first && second && !same_file(&slots[0].header, &slots[1].header)) {
    return rt_image_fail(file, VEIL_IO, "is damaged: its two headers are of different files");
  }
  if (!first && !second) {
    const slot *s = slots[0].empty || slots[1].status == VEIL_UNSUPPORTED ? &slots[1] : &slots[0]; // the one that says more
    bool none = memcmp(slots[0].header.magic, IMAGE_MAGIC, 10) != 0 && memcmp(slots[1].header.magic, IMAGE_MAGIC, 10) != 0;
    if (none && (s->empty || strstr(s->text, "is none") != NULL)) {
      return rt_image_fail(file, VEIL_IO, "is no image of veil's: no valid header at byte 0 or at byte 4096");
    }
    return rt_image_fail(file, s->status, "has no valid version: %s", s->text);
  }
  if (!first || (second && slots[1].header.version > slots[0].header.version)) {
    slot swap = slots[0];
    slots[0] = slots[1];
    slots[1] = swap;
  }
  return VEIL_OK;
}

static veil_status pair_load(const image_file *file, slot slots[2], uint64_t bytes, bool links, bool no_fallback, image_version *out, image_version *older) {
  bool pair = slots[1].status == VEIL_OK;
  veil_status status = version_load(file, &slots[0], bytes, links, true, out);
  if (status != VEIL_OK && (!pair || no_fallback || status == VEIL_NO_MEMORY)) {
    return status;
  }
  if (status == VEIL_OK) {
    if (!pair && !slots[1].empty) {
      snprintf(out->damage, sizeof out->damage, "%s (by a crash while it was written, or later)", slots[1].text);
      if (no_fallback) { // it may have been newer
        status = rt_image_fail(file, VEIL_IO, "%s", out->damage);
        rt_image_version_clear(out);
      }
    }
    if (pair && older != NULL && status == VEIL_OK) {
      veil_status second = version_load(file, &slots[1], bytes, false, false, older);
      if (second == VEIL_NO_MEMORY) {
        rt_image_version_clear(out);
        return second;
      }
    }
    return status;
  }
  char why[300];
  const char *text = veil_error();
  size_t skip = strlen(file->path) + 2;
  snprintf(why, sizeof why, "%s", strlen(text) > skip ? text + skip : text);
  status = version_load(file, &slots[1], bytes, links, true, out);
  if (status == VEIL_OK) {
    snprintf(out->damage, sizeof out->damage, "version %llu %s", (unsigned long long)slots[0].header.version, why);
    out->fallen_back = true;
  }
  return status;
}

veil_status rt_image_load(const image_file *file, bool links, bool no_fallback, image_version *out, image_version *older) {
  int64_t bytes = file->io->size(file->io->context, file->fd, NULL);
  if (bytes < 0) {
    return rt_image_fail(file, VEIL_IO, bytes == -ESPIPE ? "is no regular file: an image is read at many places" : "cannot be asked for its size: %s",
                         strerror((int)-bytes));
  }
  if (bytes < IMAGE_START) {
    return rt_image_fail(file, VEIL_IO, bytes == 0 ? "is empty" : "has %lld bytes: that is no image of veil's, or it was cut off", (long long)bytes);
  }
  slot *slots = calloc(2, sizeof *slots);
  if (slots == NULL) {
    return rt_image_no_memory(file);
  }
  veil_status status = VEIL_OK;
  slot_read(file, &slots[0], 0, (uint64_t)bytes);
  slot_read(file, &slots[1], IMAGE_BLOCK, (uint64_t)bytes);
  if (links && (slots[0].unread || slots[1].unread)) { // it may have been newer, and a writer would put another version in its place
    status = rt_image_fail(file, VEIL_IO, "takes no further versions: %s", slots[slots[0].unread ? 0 : 1].text);
  } else if (slots[0].status == VEIL_OK && slots[0].header.flags == IMAGE_STREAM) {
    status = stream_load(file, (uint64_t)bytes, out);
  } else {
    status = slots_order(file, slots);
    if (status == VEIL_OK) {
      status = pair_load(file, slots, (uint64_t)bytes, links, no_fallback, out, older);
    }
  }
  free(slots);
  return status;
}
