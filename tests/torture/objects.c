// SPDX-License-Identifier: MIT
// objects.c: one object against its shadow: made, filled, compared, linked.
//
// Runs in attached threads that hold the world's lock. Everything here may be stopped between any two instructions.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "torture.h"
#include "veil/critical.h"

#define REFERENCE 0x0000fffffffffff8ull

static atomic_ulong next_id = 1;

size_t slot_word(const kind *k, size_t slot) {
  if (slot < k->fixed_slots) {
    return k->fixed_word[slot];
  }
  slot -= k->fixed_slots;
  return k->fixed_words + slot / k->slots * k->words + k->slot_word[slot % k->slots];
}

bool word_is_slot(const kind *k, size_t word) {
  if (word < k->fixed_words) {
    return k->fixed_is_slot >> word & 1;
  }
  return k->words != 0 && k->slots != 0 && k->is_slot[(word - k->fixed_words) % k->words];
}

bool slot_is_tagged(const kind *k, size_t slot) { return k->tagged && !(slot < k->fixed_slots && k->fixed_plain[slot]); }

size_t object_bytes(const shadow *sh) { return sh->kind->fixed_words * 8 + sh->kind->element * sh->length; }

// What a data word must be. In kinds that hold junk some look like addresses of the heap.
uint64_t data_word(const shadow *sh, uint64_t salt, size_t word) {
  uint64_t v = mix(salt + word * 0x9e3779b97f4a7c15ull);
  if (sh->kind->junk && (v & 7) == 3) {
    veil_pages pages = veil_heap_pages(heap);
    return (uint64_t)(uintptr_t)pages.base + (v >> 8) % (pages.count / 64 * pages.page_size);
  }
  return v;
}

static void object_describe(char *out, size_t bytes, const void *obj, const shadow *sh) {
  snprintf(out, bytes, "object %p, id %llx, kind %s%s, length %zu, %zu bytes", obj, (unsigned long long)sh->id,
           sh->kind->name, sh->kind->array ? "[]" : "", sh->length, object_bytes(sh));
}

// Visits data words of the first `bytes`: returns the words that are whole, and the bytes behind them.
static inline bool word_is_data(const shadow *sh, size_t w) {
  const kind *k = sh->kind;
  return (int64_t)w != k->id_word && (int64_t)w != k->stamp_word && !word_is_slot(k, w);
}

void object_fill(void *obj, shadow *sh, uint64_t salt) {
  volatile uint64_t *words = obj;
  size_t bytes = object_bytes(sh), n = bytes / 8;
  sh->salt = salt;
  for (size_t w = 0; w < n; w++) {
    if (word_is_data(sh, w)) {
      words[w] = data_word(sh, salt, w);
    }
  }
  uint64_t tail = data_word(sh, salt, n);
  for (size_t b = 0; b < bytes % 8; b++) {
    ((volatile uint8_t *)obj)[n * 8 + b] = (uint8_t)(tail >> b * 8);
  }
}

void *object_allocate(worker *t, const kind *k, size_t length, bool raw) {
  if (raw) {
    return veil_new_bytes_raw(t->self, length);
  }
  if (k->sized) {
    return veil_new_bytes_aligned(t->self, length, k->alignment);
  }
  if (k->alignment != 0) {
    return veil_alloc_aligned(t->self, k->type, k->alignment);
  }
  if (k->fixed_words != 0) {
    return veil_alloc_flexible(t->self, k->type, length);
  }
  return k->array ? veil_alloc_array(t->self, k->type, length) : veil_alloc(t->self, k->type, k->element);
}

size_t object_room(const kind *k, size_t length) {
  if (k->sized) {
    return veil_room_bytes_aligned(length, k->alignment);
  }
  return VEIL_CELL_((k->array ? 8 : 0) + k->fixed_words * 8 + k->element * length) + k->alignment;
}

bool object_may_be_raw(worker *t, const kind *k) { return k->type == &veil_type_byte_ && one_in(&t->random, 2); }

found object_new(worker *t, world *w, kind *k) {
  size_t length = k->array ? between(&t->random, k->length_min, k->length_max) : 1;
  bool raw = object_may_be_raw(t, k);
  void *obj = object_allocate(t, k, length, raw);
  if (obj == NULL) {
    REQUIRE(cfg.oom_null, "allocation of %zu x %zu returned NULL without the option: %s", length, k->element, veil_error());
    atomic_fetch_add_explicit(&stat_oom, 1, memory_order_relaxed);
    return (found){NULL, NULL};
  }
  return object_adopt(t, w, k, length, raw, obj);
}

found object_adopt(worker *t, world *w, kind *k, size_t length, bool raw, void *obj) {
  size_t slots = k->fixed_slots + k->slots * length;
  shadow *sh = calloc(1, sizeof *sh + slots * sizeof(edge));
  sh->id = (uint64_t)k->index << 48 | atomic_fetch_add_explicit(&next_id, 1, memory_order_relaxed);
  sh->kind = k;
  sh->length = length;
  sh->slots = slots;
  size_t bytes = object_bytes(sh);
  for (size_t at = 0; at < bytes / 8 && !raw; at++) {
    REQUIRE(((volatile uint64_t *)obj)[at] == 0, "fresh memory is not zero: word %zu of %p (%s, %zu bytes) is %llx", at, obj,
            k->name, bytes, (unsigned long long)((volatile uint64_t *)obj)[at]);
  }
  if (k->array) {
    REQUIRE(veil_length(heap, obj) == length, "veil_length of a new array is %zu, not %zu", veil_length(heap, obj), length);
  }
  if (k->stamp_word >= 0) {
    ((volatile uint64_t *)obj)[k->stamp_word] = 0;
  }
  object_fill(obj, sh, rng_next(&t->random));
  if (k->id_word >= 0) {
    ((volatile uint64_t *)obj)[k->id_word] = sh->id; // a trace callback sees slots from here on
  }
  sh->next = w->all;
  w->all = sh;
  w->count++;
  w->bytes += bytes + 16;
  atomic_fetch_add_explicit(&stat_objects, 1, memory_order_relaxed);
  return (found){obj, sh};
}

static void data_check(void *obj, const shadow *sh, size_t w) {
  uint64_t is = ((volatile uint64_t *)obj)[w], want = data_word(sh, sh->salt, w);
  if (is != want) {
    char text[256];
    object_describe(text, sizeof text, obj, sh);
    mismatch("contents differ: word %zu is %llx, should be %llx; %s", w, (unsigned long long)is, (unsigned long long)want, text);
  }
}

static void slot_check(void *obj, const shadow *sh, size_t slot) {
  uint64_t word = ((volatile uint64_t *)obj)[slot_word(sh->kind, slot)];
  const edge *e = &sh->edges[slot];
  bool good = e->to == NULL ? word == e->word : (word & REFERENCE) != 0 && (word & ~REFERENCE) == e->word;
  if (!good) {
    char text[256];
    object_describe(text, sizeof text, obj, sh);
    mismatch("slot %zu (word %zu) holds %llx, should hold %s%llx; %s", slot, slot_word(sh->kind, slot),
             (unsigned long long)word, e->to ? "a reference with tag " : "", (unsigned long long)e->word, text);
  }
}

void object_check(void *obj, const shadow *sh, bool all) {
  const kind *k = sh->kind;
  char text[256];
  REQUIRE(obj != NULL, "an object is lost: NULL instead of id %llx", (unsigned long long)sh->id);
  if (k->id_word >= 0) {
    uint64_t id = ((volatile uint64_t *)obj)[k->id_word];
    if (id != sh->id) {
      object_describe(text, sizeof text, obj, sh);
      mismatch("wrong object: it has id %llx; wanted: %s", (unsigned long long)id, text);
    }
  }
  REQUIRE(k->alignment == 0 || (uintptr_t)obj % k->alignment == 0, "the object at %p (%s) is not aligned to %zu", obj, k->name, k->alignment);
  if (k->array && veil_length(heap, obj) != sh->length) {
    object_describe(text, sizeof text, obj, sh);
    mismatch("veil_length says %zu; %s", veil_length(heap, obj), text);
  }
  if (k->stamp_word >= 0) {
    uint64_t stamp = ((volatile uint64_t *)obj)[k->stamp_word];
    if (stamp != sh->stamp) {
      object_describe(text, sizeof text, obj, sh);
      mismatch("stamp is %llx, should be %llx: a second copy of one object? %s", (unsigned long long)stamp,
               (unsigned long long)sh->stamp, text);
    }
  }
  size_t bytes = object_bytes(sh), n = bytes / 8;
  // Quick: at most some words of a big object, spread by its salt.
  size_t step = all || n < 64 ? 1 : n / 16 + sh->salt % 3;
  for (size_t w = 0; w < n; w += step) {
    if (word_is_data(sh, w)) {
      data_check(obj, sh, w);
    }
  }
  step = all || sh->slots < 64 ? 1 : sh->slots / 16 + 1;
  for (size_t s = 0; s < sh->slots; s += step) {
    slot_check(obj, sh, s);
  }
  uint64_t tail = data_word(sh, sh->salt, n);
  for (size_t b = 0; b < bytes % 8; b++) {
    if (((volatile uint8_t *)obj)[n * 8 + b] != (uint8_t)(tail >> b * 8)) {
      object_describe(text, sizeof text, obj, sh);
      mismatch("contents differ at byte %zu; %s", n * 8 + b, text);
    }
  }
}

void *object_follow(void *obj, const shadow *sh, size_t slot) {
  slot_check(obj, sh, slot);
  uint64_t word = ((volatile uint64_t *)obj)[slot_word(sh->kind, slot)];
  return sh->edges[slot].to ? (void *)(word & REFERENCE) : NULL;
}

// Bits for a reference in this kind of slot.
static uint64_t tag_for(const kind *k, size_t slot, rng *r) {
  static const uint64_t low[] = {0, 1, 3};
  if (!slot_is_tagged(k, slot)) {
    return 0;
  }
  return k->nan_boxing ? (0xfff8ull + below(r, 8)) << 48 : low[below(r, 3)];
}

// A word that is no reference.
static uint64_t immediate_for(const kind *k, size_t slot, rng *r) {
  static char outside[16];
  if (!slot_is_tagged(k, slot) || one_in(r, 3)) {
    return 0;
  }
  if (!k->nan_boxing) {
    static const uint64_t low[] = {2, 4, 5, 6, 7};
    return (rng_next(r) & ~7ull) | low[below(r, 5)];
  }
  switch (below(r, 3)) {
  case 0:
    return rng_next(r) % 0xfff8000000000000ull; // a double
  case 1:
    return 0xfff9ull << 48 | ((uintptr_t)outside & REFERENCE); // a reference to somewhere else
  default:
    return (rng_next(r) | 0xfff8000000000000ull) | 1; // a tag that is no reference
  }
}

// As programs do it: by a plain store, memcpy, or atomically.
static void word_store(uint64_t *at, uint64_t word, rng *r) {
  switch (below(r, 4)) {
  case 0:
    memcpy(at, &word, sizeof word);
    break;
  case 1:
    __atomic_store_n(at, word, __ATOMIC_SEQ_CST);
    break;
  case 2:
    (void)__atomic_exchange_n(at, word, __ATOMIC_SEQ_CST);
    break;
  default:
    *(volatile uint64_t *)at = word;
  }
}

void object_link(void *obj, shadow *sh, size_t slot, void *to, shadow *to_sh, rng *r) {
  uint64_t word;
  if (to == NULL) {
    word = immediate_for(sh->kind, slot, r);
    sh->edges[slot] = (edge){NULL, word};
  } else {
    uint64_t tag = tag_for(sh->kind, slot, r);
    word = (uint64_t)(uintptr_t)to | tag;
    sh->edges[slot] = (edge){to_sh, tag};
  }
  word_store((uint64_t *)obj + slot_word(sh->kind, slot), word, r);
}

// Both slots are of kinds that decode alike.
void object_swap(void *a, shadow *a_sh, size_t a_slot, void *b, shadow *b_sh, size_t b_slot) {
  volatile uint64_t *x = (volatile uint64_t *)a + slot_word(a_sh->kind, a_slot);
  volatile uint64_t *y = (volatile uint64_t *)b + slot_word(b_sh->kind, b_slot);
  uint64_t word = *x;
  *x = *y;
  *y = word;
  edge e = a_sh->edges[a_slot];
  a_sh->edges[a_slot] = b_sh->edges[b_slot];
  b_sh->edges[b_slot] = e;
}
