// SPDX-License-Identifier: MIT
// types.c: types and named roots as bytes.
//
// Neighbours: types.h. How many; of a type eight words (number and flags; size, encoding, fixed, slots, fixed slots, length of the name with its zero, 0), its offsets, its name; of a root its address, the
// length of its name with its zero, its name. Names have zeros to a word.

#include "runtime/store/types.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { WORD = 8, TYPE_HEAD = 8, ROOT_HEAD = 2, OFFSETS_MOST = 1 << 24, NAME_MOST_BYTES = 1 << 16 };

static size_t words_of(size_t bytes) { return (bytes + WORD - 1) / WORD; }

static uint64_t *name_write(uint64_t *to, const char *name) {
  size_t length = strlen(name) + 1;
  to[words_of(length) - 1] = 0;
  memcpy(to, name, length);
  return to + words_of(length);
}

void *st_types_encode(const veil_type_described *types, size_t count, size_t *size) {
  size_t words = 1;
  for (size_t i = 0; i < count; i++) {
    words += TYPE_HEAD + types[i].slot_count + types[i].fixed_slot_count + words_of(strlen(types[i].name) + 1);
  }
  uint64_t *bytes = malloc(words * WORD), *to = bytes;
  if (bytes == NULL) {
    return NULL;
  }
  *to++ = count;
  for (size_t i = 0; i < count; i++) {
    const veil_type_described *t = &types[i];
    const uint64_t head[TYPE_HEAD] = {(uint64_t)t->number << 32 | t->flags, t->size, t->encoding, t->fixed, t->slot_count, t->fixed_slot_count, strlen(t->name) + 1, 0};
    memcpy(to, head, sizeof head);
    to += TYPE_HEAD;
    if (t->slot_count != 0) {
      memcpy(to, t->slots, t->slot_count * WORD);
    }
    to += t->slot_count;
    if (t->fixed_slot_count != 0) {
      memcpy(to, t->fixed_slots, t->fixed_slot_count * WORD);
    }
    to = name_write(to + t->fixed_slot_count, t->name);
  }
  *size = words * WORD;
  return bytes;
}

void *st_roots_encode(const veil_root_described *roots, size_t count, size_t *size) {
  size_t words = 1;
  for (size_t i = 0; i < count; i++) {
    words += ROOT_HEAD + words_of(strlen(roots[i].name) + 1);
  }
  uint64_t *bytes = malloc(words * WORD), *to = bytes;
  if (bytes == NULL) {
    return NULL;
  }
  *to++ = count;
  for (size_t i = 0; i < count; i++) {
    *to++ = roots[i].address;
    *to++ = strlen(roots[i].name) + 1;
    to = name_write(to, roots[i].name);
  }
  *size = words * WORD;
  return bytes;
}

// The name at *at, of that length with its zero; NULL: it is none.
static const char *name_read(const uint64_t **at, const uint64_t *limit, uint64_t length) {
  const char *name = (const char *)*at;
  if (length < 2 || length > NAME_MOST_BYTES || words_of(length) > (size_t)(limit - *at) || strnlen(name, length) != length - 1) {
    return NULL;
  }
  *at += words_of(length);
  return name;
}

static bool type_read(const uint64_t **at, const uint64_t *limit, veil_type_described *out) {
  const uint64_t *head = *at;
  if (limit - head < TYPE_HEAD || head[4] > OFFSETS_MOST || head[5] > OFFSETS_MOST || head[4] + head[5] > (uint64_t)(limit - head) - TYPE_HEAD) {
    return false;
  }
  *out = (veil_type_described){.number = (uint32_t)(head[0] >> 32), .flags = (uint32_t)head[0], .size = head[1], .encoding = head[2], .fixed = head[3], .slot_count = head[4], .fixed_slot_count = head[5]};
  out->slots = head + TYPE_HEAD;
  out->fixed_slots = out->slots + head[4];
  *at = out->fixed_slots + head[5];
  out->name = name_read(at, limit, head[6]);
  return out->name != NULL;
}

veil_type_described *st_types_decode(const void *bytes, size_t size, size_t *count) {
  const uint64_t *at = bytes, *limit = at + size / WORD;
  if (size < WORD || *at > size / WORD) {
    return NULL;
  }
  *count = *at++;
  veil_type_described *types = calloc(*count + 1, sizeof *types);
  for (size_t i = 0; i < *count && types != NULL; i++) {
    if (!type_read(&at, limit, &types[i])) {
      free(types);
      return NULL;
    }
  }
  return types;
}

veil_root_described *st_roots_decode(const void *bytes, size_t size, size_t *count) {
  const uint64_t *at = bytes, *limit = at + size / WORD;
  if (size < WORD || *at > size / WORD) {
    return NULL;
  }
  *count = *at++;
  veil_root_described *roots = calloc(*count + 1, sizeof *roots);
  for (size_t i = 0; i < *count && roots != NULL; i++) {
    const uint64_t *head = at;
    at += ROOT_HEAD;
    if (limit - head < ROOT_HEAD || (roots[i].name = name_read(&at, limit, head[1])) == NULL) {
      free(roots);
      return NULL;
    }
    roots[i].address = head[0];
  }
  return roots;
}
