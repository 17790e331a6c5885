// SPDX-License-Identifier: MIT
// flexible.c: arrays with a part of their own before the elements, described by the macros; against what a program
// expects of them.

#include <criterion/criterion.h>
#include "tests/runtime/world.h"
#include "veil/identity.h"

typedef struct table {
  long used;
  node *owner;
  long more;
  node *slot[];
} table;
VEIL_TYPE_FLEXIBLE(table, slot, owner);

typedef struct plain_table {
  long used;
  node *slot[];
} plain_table;
VEIL_TYPE_FLEXIBLE(plain_table, slot);

static const veil_encoding nan_boxing = {.low_tags = 1, .high_min = 0xfff8, .high_max = 0xffff};
#define BOXED(p) ((uint64_t)(uintptr_t)(p) | 0xfffcull << 48)
#define UNBOXED(w) ((node *)(uintptr_t)((w)&0x0000ffffffffffffull))
typedef struct values {
  node *class;    // plain
  uint64_t proto; // boxed
  double number;
  uint64_t at[];
} values;
VEIL_TYPE_FLEXIBLE_TAGGED(values, &nan_boxing, at, class, proto);

typedef struct entry {
  long hash;
  node *key, *value;
} entry;
VEIL_TYPE(entry, key, value);
typedef struct entries {
  node *owner;
  long count;
  entry at[];
} entries;
VEIL_TYPE_FLEXIBLE_OF(entries, entry, at, owner);

typedef struct boxed_entry {
  uint64_t key;
  long hash;
} boxed_entry;
VEIL_TYPE_TAGGED(boxed_entry, &nan_boxing, key);
typedef struct boxed_entries {
  node *owner;
  uint64_t proto;
  boxed_entry at[];
} boxed_entries;
VEIL_TYPE_FLEXIBLE_OF(boxed_entries, boxed_entry, at, owner, proto);

typedef struct text {
  node *owner;
  int hash;
  char at[];
} text;
VEIL_LEAF_FLEXIBLE(text, at, owner);

typedef struct blob {
  int hash;
  char at[];
} blob;
VEIL_LEAF_FLEXIBLE(blob, at);

typedef struct frame {
  long used;
  node *slot[];
} frame;
static void frame_trace(const void *object, const void *alias, size_t length, size_t base, size_t limit,
                        veil_visitor *visitor) {
  const frame *f = alias;
  for (long i = 0; i < f->used && (size_t)i < length; i++) {
    veil_visit(visitor, offsetof(frame, slot) + (size_t)i * 8);
  }
}
VEIL_TYPE_FLEXIBLE_TRACE(frame, frame_trace, slot);

static node *node_of(long key) {
  node *n = veil_new(self, node);
  n->key = key;
  return n;
}

// Around the sizes where an object becomes medium and large, and where elements end with a page.
static const size_t lengths[] = {0,   1,   2,   7,    58,   59,   60,   61,   62,   500,
                                 509, 510, 511, 1000, 4090, 4091, 4092, 4093, 5000, 20000};
enum { LENGTHS = sizeof lengths / sizeof *lengths, KINDS = 8, EVERY = 13 };

// The n-th object of each kind; those of all kinds are elements of one array of pointers.
static void *(*const makers[KINDS])(size_t n);

static void *table_make(size_t n) {
  table *t = veil_new_flexible(self, table, n);
  node *owner = node_of((long)n);
  t->owner = owner;
  t->used = (long)(uintptr_t)owner; // looks like a pointer
  for (size_t i = 0; i < n; i += EVERY) {
    node *made = node_of((long)i);
    t->slot[i] = made;
  }
  t->more = t->used;
  return t;
}
static void table_check(void *object, size_t n) {
  table *t = object;
  cr_assert(veil_length(heap, t) == n && t->owner->key == (long)n && t->more == t->used);
  for (size_t i = 0; i < n; i++) {
    cr_assert(i % EVERY == 0 ? t->slot[i]->key == (long)i : t->slot[i] == NULL);
  }
}

static void *plain_table_make(size_t n) {
  plain_table *t = veil_new_flexible(self, plain_table, n);
  t->used = (long)n;
  for (size_t i = 0; i < n; i += EVERY) {
    node *made = node_of((long)i);
    t->slot[i] = made;
  }
  return t;
}
static void plain_table_check(void *object, size_t n) {
  plain_table *t = object;
  cr_assert(veil_length(heap, t) == n && t->used == (long)n);
  for (size_t i = 0; i < n; i++) {
    cr_assert(i % EVERY == 0 ? t->slot[i]->key == (long)i : t->slot[i] == NULL);
  }
}

static void *values_make(size_t n) {
  values *v = veil_new_flexible(self, values, n);
  node *made = node_of((long)n);
  v->class = made;
  made = node_of((long)n + 1);
  v->proto = BOXED(made);
  v->number = 0.5;
  for (size_t i = 0; i < n; i++) {
    made = i % EVERY == 0 ? node_of((long)i) : NULL;
    v->at[i] = i % EVERY == 0 ? BOXED(made) : i;
  }
  return v;
}
static void values_check(void *object, size_t n) {
  values *v = object;
  cr_assert(veil_length(heap, v) == n && v->class->key == (long)n && UNBOXED(v->proto)->key == (long)n + 1 &&
            v->proto >> 48 == 0xfffc);
  cr_assert(v->number == 0.5);
  for (size_t i = 0; i < n; i++) {
    cr_assert(i % EVERY == 0 ? UNBOXED(v->at[i])->key == (long)i : v->at[i] == i);
  }
}

static void *entries_make(size_t n) {
  entries *e = veil_new_flexible(self, entries, n);
  node *made = node_of((long)n);
  e->owner = made;
  for (size_t i = 0; i < n; i++) {
    e->at[i].hash = (long)i;
    made = node_of((long)i);
    e->at[i].value = made;
    e->at[i].key = i % EVERY == 0 ? made : NULL;
  }
  return e;
}
static void entries_check(void *object, size_t n) {
  entries *e = object;
  cr_assert(veil_length(heap, e) == n && e->owner->key == (long)n);
  for (size_t i = 0; i < n; i++) {
    cr_assert(e->at[i].hash == (long)i && e->at[i].value->key == (long)i &&
              e->at[i].key == (i % EVERY == 0 ? e->at[i].value : NULL));
  }
}

static void *boxed_entries_make(size_t n) {
  boxed_entries *e = veil_new_flexible(self, boxed_entries, n);
  node *made = node_of((long)n);
  e->owner = made;
  e->proto = BOXED(made);
  for (size_t i = 0; i < n; i += EVERY) {
    made = node_of((long)i);
    e->at[i].key = BOXED(made);
    e->at[i].hash = (long)(uintptr_t)made;
  }
  return e;
}
static void boxed_entries_check(void *object, size_t n) {
  boxed_entries *e = object;
  cr_assert(veil_length(heap, e) == n && e->owner->key == (long)n && UNBOXED(e->proto) == e->owner);
  for (size_t i = 0; i < n; i += EVERY) {
    cr_assert(UNBOXED(e->at[i].key)->key == (long)i && e->at[i].key >> 48 == 0xfffc);
  }
}

static void *text_make(size_t n) {
  text *t = veil_new_flexible(self, text, n);
  node *made = node_of((long)n);
  t->owner = made;
  memset(t->at, 'a' + (int)(n % 26), n);
  return t;
}
static void text_check(void *object, size_t n) {
  text *t = object;
  cr_assert(veil_length(heap, t) == n && t->owner->key == (long)n);
  for (size_t i = 0; i < n; i++) {
    cr_assert(t->at[i] == 'a' + (int)(n % 26));
  }
}

static void *blob_make(size_t n) {
  blob *t = veil_new_flexible(self, blob, n);
  t->hash = (int)n;
  memset(t->at, 'a' + (int)(n % 26), n);
  return t;
}
static void blob_check(void *object, size_t n) {
  blob *t = object;
  cr_assert(veil_length(heap, t) == n && t->hash == (int)n);
  for (size_t i = 0; i < n; i++) {
    cr_assert(t->at[i] == 'a' + (int)(n % 26));
  }
}

static void *frame_make(size_t n) {
  frame *f = veil_new_flexible(self, frame, n);
  f->used = (long)n / 2;
  for (long i = 0; i < (long)n; i++) {
    node *made = i < f->used ? node_of(i) : NULL;
    f->slot[i] = i < f->used ? made : (node *)8; // what is not used is not looked at
  }
  return f;
}
static void frame_check(void *object, size_t n) {
  frame *f = object;
  cr_assert(veil_length(heap, f) == n && f->used == (long)n / 2);
  for (long i = 0; i < (long)n; i++) {
    cr_assert(i < f->used ? f->slot[i]->key == i : f->slot[i] == (node *)8);
  }
}

static void *(*const makers[KINDS])(size_t n) = {table_make,         plain_table_make, values_make, entries_make,
                                                 boxed_entries_make, text_make,        blob_make,   frame_make};
static void (*const checkers[KINDS])(void *object, size_t n) = {table_check,   plain_table_check,   values_check,
                                                                entries_check, boxed_entries_check, text_check,
                                                                blob_check,    frame_check};

static void all_check(void **all, bool backwards) {
  for (size_t i = 0; i < LENGTHS * KINDS; i++) {
    size_t at = backwards ? LENGTHS * KINDS - 1 - i : i;
    checkers[at % KINDS](all[at], lengths[at / KINDS]);
  }
}

static __attribute__((noinline)) void live_through(bool young) {
  void **all = veil_new_pointers(self, LENGTHS * KINDS);
  for (size_t i = 0; i < LENGTHS * KINDS; i++) {
    void *made = makers[i % KINDS](lengths[i / KINDS]);
    all[i] = made;
  }
  all_check(all, false);
  uint64_t hashes[KINDS];
  for (int round = 0; round < 6; round++) {
    for (int k = 0; k < KINDS && round == 2; k++) {
      hashes[k] = veil_hash(self, all[3 * KINDS + k]); // they grow by 16 bytes
    }
    if (young && round % 2) {
      veil_collect_minor(self);
    } else {
      veil_collect_start(self);
      all_check(all, round % 4 == 2); // by traps, from the last to the first
      veil_collect(self);
    }
    all_check(all, false);
    for (int k = 0; k < KINDS && round >= 2; k++) {
      cr_assert_eq(veil_hash(self, all[3 * KINDS + k]), hashes[k]);
    }
    for (size_t i = 0; i < LENGTHS * KINDS; i += 5) { // old ones refer to young ones, and some are new
      if (i / KINDS == 3) {
        continue; // these were asked for their hashes
      }
      void *made = makers[i % KINDS](lengths[i / KINDS]);
      all[i] = made;
    }
    list_make(self, 10000);
  }
  for (size_t i = 0; i < LENGTHS * KINDS; i++) {
    checkers[i % KINDS](all[i], lengths[i / KINDS]);
  }
}

ON_ALL_BACK_ENDS(flexible, every_kind_of_every_length_lives_through_cycles) {
  START_OR_SKIP(.back_end = back_end, .verify = 2, .limit = 128 * MIB, .generations = VEIL_GENERATIONS_OFF);
  live_through(false);
  end();
}

ON_ALL_BACK_ENDS(flexible, every_kind_of_every_length_lives_through_minor_cycles) {
  START_OR_SKIP(.back_end = back_end, .verify = 2, .limit = 128 * MIB, .generations = VEIL_GENERATIONS_ON,
                .nursery = MIB);
  live_through(true);
  end();
}

Test(flexible, what_only_the_fixed_part_or_an_element_held_is_gone) {
  start((veil_options){.verify = 2, .limit = 64 * MIB, .generations = VEIL_GENERATIONS_OFF});
  table *t = veil_new_flexible(self, table, 10000);
  for (int i = 0; i < 10000; i++) {
    node *made = veil_new(self, node);
    t->slot[i] = made;
  }
  veil_collect(self);
  veil_collect(self);
  uint64_t before = stats_of(heap).live_bytes;
  memset(t->slot, 0, 10000 * sizeof *t->slot);
  stack_clear();
  veil_collect(self);
  veil_collect(self);
  cr_assert(stats_of(heap).live_bytes + 10000 * sizeof(node) < before + 65536, "%lu then %lu", (unsigned long)before,
            (unsigned long)stats_of(heap).live_bytes);
  end();
}

Test(flexible, a_length_that_overflows_is_out_of_memory) {
  start((veil_options){.oom = VEIL_OOM_NULL});
  cr_assert_null(veil_new_flexible(self, table, SIZE_MAX / 8));
  cr_assert_not_null(strstr(veil_error(), "overflows"));
  cr_assert_null(veil_new_flexible(self, entries, SIZE_MAX / 2));
  cr_assert_null(veil_new_flexible(self, table, 100 * MIB));
  end();
}

// ---- Misuse.

DIES(flexible, veil_new_of_one_is_noticed, "veil_new: table is a flexible array: use veil_new_flexible") {
  start((veil_options){.verify = 0});
  veil_new_flexible(self, table, 1);
  veil_new(self, table);
}
DIES(flexible, an_array_of_them_is_noticed, "veil_new_array: table is a flexible array") {
  start((veil_options){.verify = 0});
  veil_new_array(self, table, 3);
}
DIES(flexible, a_plain_type_is_noticed, "veil_new_flexible: node is no flexible array") {
  start((veil_options){.verify = 0});
  veil_new_flexible(self, node, 3);
}

static void allocate_of(veil_type type) {
  start((veil_options){.verify = 0});
  static veil_type kept;
  kept = type;
  veil_alloc_flexible(self, &kept, 3);
}
static const size_t first[] = {0};
#define FIXED(...)                                                                                                     \
  &(const veil_fixed) { (const size_t[]){__VA_ARGS__}, sizeof((const size_t[]){__VA_ARGS__}) / sizeof(size_t), NULL }
DIES(flexible, a_slot_behind_the_fixed_part_is_noticed, "type crooked: slot 0 at offset 16") {
  allocate_of((veil_type){.name = "crooked", .size = 8, .pointers = first, .pointer_count = 1, .fixed = FIXED(16, 16)});
}
DIES(flexible, a_slot_that_is_not_aligned_is_noticed, "type crooked: slot 1 at offset 4") {
  allocate_of(
      (veil_type){.name = "crooked", .size = 8, .pointers = first, .pointer_count = 1, .fixed = FIXED(16, 8, 4)});
}
DIES(flexible, elements_that_are_not_aligned_are_noticed, "type crooked: 12 bytes are no place") {
  allocate_of((veil_type){.name = "crooked", .size = 8, .pointers = first, .pointer_count = 1, .fixed = FIXED(12)});
}
DIES(flexible, elements_with_a_callback_are_noticed,
     "type crooked: its elements cannot be described by traced, which has a trace callback") {
  static veil_type traced = {.name = "traced", .size = 8, .trace = frame_trace};
  static const veil_fixed fixed = {first, 1, &traced};
  allocate_of((veil_type){.name = "crooked", .size = 8, .fixed = &fixed});
}
DIES(flexible, elements_of_another_size_are_noticed, "which has another size") {
  static const veil_fixed fixed = {first, 1, &veil_type_pointer_};
  allocate_of((veil_type){.name = "crooked", .size = 16, .fixed = &fixed});
}
