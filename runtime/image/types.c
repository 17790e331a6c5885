// SPDX-License-Identifier: MIT
// types.c: types and named roots, as sections, and what a name may be.
//
// Neighbours: writer.c puts them, reader.c has them. Any thread.
//
// The section `types`: how many; for each its name, number, flags, size, encoding, fixed, hash (8 bytes), slots (how many, then offsets), fixed slots. `roots`:
// how many; for each, sorted by name, its name and its address (8 bytes). A name is its length and its bytes. Other numbers have 7 bits a byte.

#include <stdlib.h>
#include <string.h>
#include "runtime/image/inner.h"

enum { NAME_MAX_BYTES = 4096 };

uint64_t rt_image_type_hash(const rt_image_type *type) {
  uint64_t head[6] = {type->flags, type->size, type->encoding, type->fixed, type->slot_count, type->fixed_slot_count};
  uint64_t sums[3] = {rt_image_sum(head, sizeof head), rt_image_sum(type->slots, type->slot_count * sizeof *type->slots),
                      rt_image_sum(type->fixed_slots, type->fixed_slot_count * sizeof *type->fixed_slots)};
  return rt_image_sum(sums, sizeof sums);
}

bool rt_image_name_good(const char *name, size_t room) {
  size_t length = strnlen(name, room);
  return length != 0 && length < room && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-.") == length;
}

// ---- Encoding.

static void name_put(image_bytes *to, const char *name) {
  size_t length = strlen(name);
  rt_image_bytes_number(to, length);
  rt_image_bytes_add(to, name, length);
}

static void offsets_put(image_bytes *to, const uint64_t *offsets, uint32_t count) {
  rt_image_bytes_number(to, count);
  for (uint32_t i = 0; i < count; i++) {
    rt_image_bytes_number(to, offsets[i]);
  }
}

bool rt_image_types_encode(const rt_image_type *types, size_t count, image_bytes *to) {
  rt_image_bytes_number(to, count);
  for (size_t i = 0; i < count; i++) {
    const rt_image_type *t = &types[i];
    uint64_t hash = rt_image_type_hash(t);
    name_put(to, t->name);
    rt_image_bytes_number(to, t->number);
    rt_image_bytes_number(to, t->flags);
    rt_image_bytes_number(to, t->size);
    rt_image_bytes_number(to, t->encoding);
    rt_image_bytes_number(to, t->fixed);
    rt_image_bytes_add(to, &hash, sizeof hash);
    offsets_put(to, t->slots, t->slot_count);
    offsets_put(to, t->fixed_slots, t->fixed_slot_count);
  }
  return !to->failed;
}

bool rt_image_roots_encode(const rt_image_root *roots, size_t count, image_bytes *to) {
  rt_image_bytes_number(to, count);
  for (size_t i = 0; i < count; i++) {
    name_put(to, roots[i].name);
    rt_image_bytes_add(to, &roots[i].address, sizeof roots[i].address);
  }
  return !to->failed;
}

// ---- Decoding, twice: first to count and to check, then into the memory that was counted.

typedef struct decoder {
  const image_file *file;
  const image_reference *at;
  const char *section;
  const uint8_t *start, *next, *limit;
  uint64_t *words; // where offsets go; NULL: count
  char *text;      // where names go
  size_t word_count, text_bytes;
} decoder;

static veil_status damaged(const decoder *d, const char *what) {
  return rt_image_fail(d->file, VEIL_IO, "is damaged: in the section %s at byte %llu, at byte %llu of it, %s", d->section, (unsigned long long)d->at->offset,
                       (unsigned long long)(d->next - d->start), what);
}

static bool number(decoder *d, uint64_t most, uint64_t *out) { return rt_image_number(&d->next, d->limit, out) && *out <= most; }

static bool word(decoder *d, uint64_t *out) {
  if (d->limit - d->next < 8) {
    return false;
  }
  memcpy(out, d->next, 8);
  d->next += 8;
  return true;
}

static bool name_get(decoder *d, const char **out) {
  uint64_t length;
  if (!number(d, NAME_MAX_BYTES, &length) || length == 0 || length > (uint64_t)(d->limit - d->next) || memchr(d->next, 0, length) != NULL) {
    return false;
  }
  if (d->words != NULL) {
    *out = d->text + d->text_bytes;
    memcpy(d->text + d->text_bytes, d->next, length);
    d->text[d->text_bytes + length] = 0;
  }
  d->text_bytes += length + 1;
  d->next += length;
  return true;
}

static bool offsets_get(decoder *d, uint32_t *count, const uint64_t **out) {
  uint64_t n, offset;
  if (!number(d, UINT32_MAX, &n)) {
    return false;
  }
  *count = (uint32_t)n;
  *out = d->words != NULL ? d->words + d->word_count : NULL;
  for (uint64_t i = 0; i < n; i++) {
    if (!number(d, UINT64_MAX, &offset)) {
      return false;
    }
    if (d->words != NULL) {
      d->words[d->word_count] = offset;
    }
    d->word_count++;
  }
  return true;
}

static bool type_get(decoder *d, rt_image_type *t) {
  uint64_t n, flags;
  if (!name_get(d, &t->name) || !number(d, UINT32_MAX, &n) || !number(d, UINT32_MAX, &flags) || !number(d, UINT64_MAX, &t->size) ||
      !number(d, UINT64_MAX, &t->encoding) || !number(d, UINT64_MAX, &t->fixed) || !word(d, &t->hash) || !offsets_get(d, &t->slot_count, &t->slots) ||
      !offsets_get(d, &t->fixed_slot_count, &t->fixed_slots)) {
    return false;
  }
  t->number = (uint32_t)n;
  t->flags = (uint32_t)flags;
  return true;
}

static bool root_get(decoder *d, rt_image_root *r) { return name_get(d, &r->name) && word(d, &r->address); }

// Begins, and gets how many there are, of at least `least` bytes each.
static veil_status decoder_begin(decoder *d, size_t least, uint64_t *count) {
  if (!number(d, UINT64_MAX, count) || *count > (uint64_t)(d->limit - d->next) / least) {
    return damaged(d, "there are more than it has room for");
  }
  return VEIL_OK;
}

veil_status rt_image_types_decode(const image_file *file, const image_reference *at, const uint8_t *bytes, rt_image_type **out, size_t *count) {
  decoder d = {.file = file, .at = at, .section = "types", .start = bytes, .next = bytes, .limit = bytes + at->bytes};
  uint64_t n;
  rt_image_type one;
  veil_status status = decoder_begin(&d, 17, &n);
  const uint8_t *first = d.next;
  for (uint64_t i = 0; status == VEIL_OK && i < n; i++) {
    status = type_get(&d, &one) ? VEIL_OK : damaged(&d, "a type is cut off, or has an impossible number");
  }
  if (status == VEIL_OK && d.next != d.limit) {
    status = damaged(&d, "something is left over");
  }
  if (status != VEIL_OK) {
    return status;
  }
  rt_image_type *types = malloc(n * sizeof *types + d.word_count * 8 + d.text_bytes + 8);
  if (types == NULL) {
    return rt_image_no_memory(file);
  }
  d.words = (uint64_t *)(types + n);
  d.text = (char *)(d.words + d.word_count);
  d.word_count = d.text_bytes = 0;
  d.next = first;
  for (uint64_t i = 0; i < n; i++) {
    type_get(&d, &types[i]);
    if (rt_image_type_hash(&types[i]) != types[i].hash) {
      status = rt_image_fail(file, VEIL_IO, "is damaged: the hash of type %s does not belong to its layout", types[i].name);
      free(types);
      return status;
    }
  }
  *out = types;
  *count = n;
  return VEIL_OK;
}

veil_status rt_image_roots_decode(const image_file *file, const image_reference *at, const uint8_t *bytes, rt_image_root **out, size_t *count) {
  decoder d = {.file = file, .at = at, .section = "roots", .start = bytes, .next = bytes, .limit = bytes + at->bytes};
  uint64_t n;
  rt_image_root one;
  veil_status status = decoder_begin(&d, 10, &n);
  const uint8_t *first = d.next;
  for (uint64_t i = 0; status == VEIL_OK && i < n; i++) {
    status = root_get(&d, &one) ? VEIL_OK : damaged(&d, "a root is cut off, or has no name");
  }
  if (status == VEIL_OK && d.next != d.limit) {
    status = damaged(&d, "something is left over");
  }
  if (status != VEIL_OK) {
    return status;
  }
  rt_image_root *roots = malloc(n * sizeof *roots + d.text_bytes + 8);
  if (roots == NULL) {
    return rt_image_no_memory(file);
  }
  d.words = (uint64_t *)(roots + n); // not used for words: roots have none
  d.text = (char *)d.words;
  d.text_bytes = 0;
  d.next = first;
  for (uint64_t i = 0; i < n; i++) {
    root_get(&d, &roots[i]);
    if (i != 0 && strcmp(roots[i - 1].name, roots[i].name) >= 0) {
      status = damaged(&d, "roots are not sorted by name");
      free(roots);
      return status;
    }
  }
  *out = roots;
  *count = n;
  return VEIL_OK;
}
