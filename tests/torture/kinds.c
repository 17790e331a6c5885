// SPDX-License-Identifier: MIT
// kinds.c: random types of every layout: one set per seed.
//
// A program describes its types with the macros of veil/type.h; here the same descriptions are made at run time, so that sizes
// and slots differ from run to run. Word 0 of an object is its id where there is room, word 1 its stamp.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "torture.h"

kind kinds[KINDS];
unsigned kind_count;
static unsigned total_weight;

static const veil_encoding low_bits = {.low_tags = 1 << 0 | 1 << 1 | 1 << 3, .high_min = 0, .high_max = 0};
static const veil_encoding nan_boxing = {.low_tags = 1, .high_min = 0xfff8, .high_max = 0xffff};

// The callback learns the layout from the id in word 0, which names the kind. A new object's id is 0: it has no slots yet.
static void trace_object(const void *object, const void *alias, size_t length, size_t slots_base, size_t slots_limit,
                         veil_visitor *visitor) {
  (void)object;
  uint64_t id = *(const uint64_t *)alias;
  unsigned index = (unsigned)(id >> 48);
  if (id == 0 || index >= kind_count) {
    return;
  }
  const kind *k = &kinds[index];
  size_t fixed = k->fixed_words * 8;
  for (size_t s = 0; s < k->fixed_slots; s++) {
    veil_visit(visitor, (size_t)k->fixed_word[s] * 8);
  }
  for (size_t i = 0; i < length; i++) {
    if (fixed + (i + 1) * k->element <= slots_base) {
      continue;
    }
    if (fixed + i * k->element >= slots_limit) {
      return;
    }
    for (size_t s = 0; s < k->slots; s++) {
      veil_visit(visitor, fixed + i * k->element + (size_t)k->slot_word[s] * 8);
    }
  }
}

typedef enum layout { LEAF, MAP, DENSE, TRACE } layout;

// `bytes` of an element; lengths 0, 0: no array.
static kind *kind_add(rng *r, const char *name, layout layout, const veil_encoding *encoding, size_t bytes,
                      size_t length_min, size_t length_max, unsigned weight) {
  kind *k = &kinds[kind_count];
  k->index = kind_count++;
  snprintf(k->name, sizeof k->name, "%s_%zu_%u", name, bytes, k->index);
  k->array = length_max != 0;
  k->element = bytes;
  k->words = bytes / 8;
  k->trace = layout == TRACE;
  k->tagged = encoding != NULL;
  k->nan_boxing = encoding == &nan_boxing;
  k->length_min = length_min;
  k->length_max = length_max;
  k->weight = weight;
  k->junk = one_in(r, 4);
  k->is_slot = calloc(k->words + 1, 1);
  k->slot_word = calloc(k->words + 1, sizeof *k->slot_word);
  // In an array that may be empty, or whose elements are all slots, there is no place for an id.
  bool names = layout != DENSE && k->words > 1 && (!k->array || length_min > 0);
  if (layout == LEAF && !k->array && k->words > 0) {
    names = true;
  }
  k->id_word = names ? 0 : -1;
  k->stamp_word = names && k->words > 2 && one_in(r, 4) == 0 ? 1 : -1;
  unsigned density = (unsigned)between(r, 10, 90);
  for (size_t w = 0; w < k->words && layout != LEAF; w++) {
    bool named = (int)w == k->id_word || (int)w == k->stamp_word;
    // The last word always, so that no kind is without slots by chance.
    if (layout == DENSE || (!named && (below(r, 100) < density || w + 1 == k->words))) {
      k->is_slot[w] = 1;
      k->slot_word[k->slots++] = (uint16_t)w;
    }
  }
  size_t *offsets = NULL;
  if (layout == MAP || layout == DENSE) {
    offsets = calloc(k->slots + 1, sizeof *offsets);
    for (size_t s = 0; s < k->slots; s++) {
      offsets[s] = (size_t)k->slot_word[s] * 8;
    }
  }
  k->own = (veil_type){.name = k->name,
                       .size = bytes,
                       .pointers = offsets,
                       .pointer_count = layout == TRACE ? 0 : k->slots,
                       .trace = layout == TRACE ? trace_object : NULL,
                       .encoding = encoding};
  k->type = &k->own;
  total_weight += weight;
  return k;
}

static size_t words_between(rng *r, size_t low, size_t high) { return between(r, low / 8, high / 8) * 8; }

static void small_kinds(rng *r) {
  static const size_t edges[] = {16, 24, 488, 496, 504}; // cells of 32 to 512 bytes, the last size that stays in a page
  kind_add(r, "map", MAP, NULL, 24, 0, 0, 60);
  kind_add(r, "map", MAP, NULL, 40, 0, 0, 40);
  kind_add(r, "pair", DENSE, NULL, 16, 0, 0, 20);
  kind_add(r, "one", DENSE, NULL, 8, 0, 0, 5);
  kind_add(r, "dense", DENSE, NULL, words_between(r, 24, 504), 0, 0, 6);
  for (int i = 0; i < 3; i++) {
    kind_add(r, "map", MAP, NULL, words_between(r, 16, 160), 0, 0, 20);
    kind_add(r, "map", MAP, NULL, words_between(r, 16, 504), 0, 0, 6);
  }
  kind_add(r, "map", MAP, NULL, edges[below(r, 5)], 0, 0, 6);
  kind_add(r, "leaf", LEAF, NULL, between(r, 1, 64), 0, 0, 20);
  kind_add(r, "leaf", LEAF, NULL, between(r, 1, 504), 0, 0, 6);
  kind_add(r, "trace", TRACE, NULL, words_between(r, 24, 200), 0, 0, 15);
  kind_add(r, "trace", TRACE, NULL, words_between(r, 200, 504), 0, 0, 4);
  kind_add(r, "low", MAP, &low_bits, words_between(r, 16, 120), 0, 0, 15);
  kind_add(r, "nan", MAP, &nan_boxing, words_between(r, 16, 120), 0, 0, 15);
  kind_add(r, "allnan", DENSE, &nan_boxing, 16, 0, 0, 8);
  kind_add(r, "tracelow", TRACE, &low_bits, words_between(r, 24, 300), 0, 0, 5);
}

static void medium_kinds(rng *r) {
  static const size_t edges[] = {512, 520, 4064, 4072, 4080, 4088, 8168, 16368, 32744, 32752, 32760};
  for (int i = 0; i < 2; i++) {
    kind_add(r, "midmap", MAP, NULL, edges[below(r, 11)], 0, 0, 2);
    kind_add(r, "midmap", MAP, NULL, words_between(r, 512, 9000), 0, 0, 2);
  }
  kind_add(r, "midmap", MAP, NULL, words_between(r, 512, 32760), 0, 0, 1);
  kind_add(r, "midleaf", LEAF, NULL, between(r, 505, 32760), 0, 0, 2);
  kind_add(r, "midtrace", TRACE, NULL, words_between(r, 512, 20000), 0, 0, 1);
  kind_add(r, "midlow", MAP, &low_bits, words_between(r, 512, 20000), 0, 0, 1);
  kind_add(r, "middense", DENSE, NULL, words_between(r, 512, 5000), 0, 0, 1);
}

static void array_kinds(rng *r) {
  kind *k = kind_add(r, "pointers", DENSE, NULL, 8, 0, 12, 15);
  k->type = &veil_type_pointer_;
  k = kind_add(r, "pointers", DENSE, NULL, 8, 40, 4000, 1);
  k->type = &veil_type_pointer_;
  k = kind_add(r, "bytes", LEAF, NULL, 1, 0, 200, 15);
  k->type = &veil_type_byte_;
  k = kind_add(r, "bytes", LEAF, NULL, 1, 400, 32744, 1);
  k->type = &veil_type_byte_;
  kind_add(r, "structs", MAP, NULL, words_between(r, 24, 64), 0, 6, 8);
  kind_add(r, "structs", MAP, NULL, words_between(r, 24, 120), 8, 200, 2);
  kind_add(r, "structs", MAP, NULL, words_between(r, 520, 3000), 1, 8, 1);
  kind_add(r, "leaves", LEAF, NULL, between(r, 1, 40), 1, 100, 3);
  kind_add(r, "traces", TRACE, NULL, words_between(r, 24, 80), 1, 12, 4);
  kind_add(r, "lows", MAP, &low_bits, words_between(r, 24, 80), 1, 40, 3);
  kind_add(r, "allnans", DENSE, &nan_boxing, 8, 1, 100, 4);
}

static void large_kinds(rng *r) {
  kind_add(r, "bigmap", MAP, NULL, words_between(r, 32768, 65536), 0, 0, 1);
  kind_add(r, "bigleaf", LEAF, NULL, between(r, 32761, 100000), 0, 0, 1);
  kind_add(r, "bigtrace", TRACE, NULL, words_between(r, 32768, 60000), 0, 0, 1);
  kind *k = kind_add(r, "pointers", DENSE, NULL, 8, 4095, 16000, 1);
  k->type = &veil_type_pointer_;
  k = kind_add(r, "bytes", LEAF, NULL, 1, 32745, 200000, 1);
  k->type = &veil_type_byte_;
  kind_add(r, "structs", MAP, NULL, words_between(r, 24, 400), 1400, 2000, 1);
  kind_add(r, "traces", TRACE, NULL, words_between(r, 24, 100), 1400, 1600, 1);
  kind_add(r, "nans", MAP, &nan_boxing, words_between(r, 24, 100), 1400, 1600, 1);
}

// A part before the elements, with an id and slots; in a kind whose elements are tagged some of these are plain.
static void flexible_add(rng *r, const char *name, layout layout, const veil_encoding *encoding, size_t bytes, size_t length_min, size_t length_max,
                         unsigned weight) {
  kind *k = kind_add(r, name, layout, encoding, bytes, length_min, length_max, weight);
  k->id_word = k->stamp_word = -1;
  k->fixed_words = between(r, layout == TRACE ? 2 : 1, 8); // a callback needs the id
  k->id_word = k->fixed_words > 1 ? 0 : -1;
  size_t *offsets = calloc(k->fixed_words + 1, sizeof *offsets);
  offsets[0] = k->fixed_words * 8;
  for (size_t w = k->id_word == 0 ? 1 : 0; w < k->fixed_words; w++) {
    if (one_in(r, 2)) {
      size_t s = k->fixed_slots++;
      k->fixed_word[s] = (uint16_t)w;
      k->fixed_plain[s] = layout != TRACE && encoding != NULL && one_in(r, 2);
      k->fixed_is_slot |= (uint64_t)1 << w;
      offsets[s + 1] = w * 8 + k->fixed_plain[s];
    }
  }
  k->own_fixed = (veil_fixed){offsets, layout == TRACE ? 1 : k->fixed_slots + 1, NULL};
  if (layout != TRACE && one_in(r, 2)) {
    k->own_element = k->own;
    k->own_fixed.element = &k->own_element; // as VEIL_TYPE_FLEXIBLE_OF does
    k->own.pointers = NULL;
    k->own.pointer_count = 0;
  }
  k->own.fixed = &k->own_fixed;
}

static void flexible_kinds(rng *r) {
  flexible_add(r, "fpointers", DENSE, NULL, 8, 0, 20, 15);
  flexible_add(r, "fpointers", DENSE, NULL, 8, 40, 4080, 1);
  flexible_add(r, "fpointers", DENSE, NULL, 8, 4090, 16000, 1);
  flexible_add(r, "fstructs", MAP, NULL, words_between(r, 16, 64), 0, 10, 8);
  flexible_add(r, "fstructs", MAP, NULL, words_between(r, 24, 400), 1400, 2000, 1);
  flexible_add(r, "fnans", DENSE, &nan_boxing, 8, 0, 40, 8);
  flexible_add(r, "flows", MAP, &low_bits, words_between(r, 16, 80), 0, 100, 3);
  flexible_add(r, "fbytes", LEAF, NULL, 1, 0, 300, 6);
  flexible_add(r, "fbytes", LEAF, NULL, 1, 400, 100000, 1);
  flexible_add(r, "ftraces", TRACE, NULL, words_between(r, 16, 60), 0, 30, 4);
}

static void aligned_add(rng *r, const char *name, layout layout, size_t bytes, size_t length_max, unsigned weight) {
  kind *k = kind_add(r, name, layout, NULL, bytes, 0, length_max, weight);
  k->alignment = (size_t)16 << below(r, 9);
  k->sized = length_max != 0;
}

static void aligned_kinds(rng *r) {
  aligned_add(r, "amap", MAP, words_between(r, 16, 120), 0, 15);
  aligned_add(r, "amap", MAP, words_between(r, 16, 504), 0, 5);
  aligned_add(r, "amid", MAP, words_between(r, 505, 32760), 0, 1);
  aligned_add(r, "abig", MAP, words_between(r, 32761, 70000), 0, 1);
  aligned_add(r, "atrace", TRACE, words_between(r, 24, 300), 0, 4);
  aligned_add(r, "abytes", LEAF, 1, 600, 8);
  aligned_add(r, "abytes", LEAF, 1, 70000, 1);
}

void kinds_make(rng *r) {
  small_kinds(r);
  flexible_kinds(r);
  aligned_kinds(r);
  array_kinds(r);
  medium_kinds(r);
  large_kinds(r);
  for (unsigned i = 0; i < kind_count; i++) {
    kinds[i].weight *= 4; // large ones once in so many, by kind_pick
  }
  total_weight *= 4;
}

kind *kind_pick(rng *r) {
  for (;;) {
    uint64_t at = below(r, total_weight);
    kind *k = kinds;
    for (; at >= k->weight; k++) {
      at -= k->weight;
    }
    size_t bytes = k->element * (k->array ? k->length_max : 1);
    // What is big is rare, so that bytes and objects both count.
    if (bytes < 1024 || one_in(r, bytes < 32768 ? 2 : 6)) {
      return k;
    }
  }
}
