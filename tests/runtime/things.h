// SPDX-License-Identifier: MIT
// things.h: objects of every kind, reached by named roots, and a program's own look at whether they are what they were. For one file of tests.

#ifndef TESTS_RUNTIME_THINGS_H
#define TESTS_RUNTIME_THINGS_H

#include "tests/runtime/test.h"
#include "veil/identity.h"
#include "veil/roots.h"
#include "veil/table.h"
#include "veil/weak.h"

static const veil_encoding things_boxing = {.low_tags = 1, .high_min = 0xfff8, .high_max = 0xffff};
#define THING_BOXED(P) ((uint64_t)(uintptr_t)(P) | UINT64_C(0xfffc) << 48)
#define THING_UNBOXED(W) ((node *)(uintptr_t)((W) & UINT64_C(0x0000ffffffffffff)))

typedef struct thing_table {
  long used;
  node *owner;
  long more;
  node *slot[];
} thing_table;
VEIL_TYPE_FLEXIBLE(thing_table, slot, owner);

typedef struct thing_values {
  uint64_t proto; // boxed
  node *class;    // plain
  double number;
  uint64_t at[];
} thing_values;
VEIL_TYPE_FLEXIBLE_TAGGED(thing_values, &things_boxing, at, class, proto);

typedef struct thing_entry {
  long hash;
  node *key, *value;
} thing_entry;
VEIL_TYPE(thing_entry, key, value);
typedef struct thing_entries {
  node *owner;
  long count;
  thing_entry at[];
} thing_entries;
VEIL_TYPE_FLEXIBLE_OF(thing_entries, thing_entry, at, owner);

typedef struct thing_text {
  node *owner;
  int hash;
  char at[];
} thing_text;
VEIL_LEAF_FLEXIBLE(thing_text, at, owner);

typedef struct thing_frame {
  long used;
  node *slot[];
} thing_frame;
static void thing_frame_trace(const void *object, const void *alias, size_t length, size_t base, size_t limit, veil_visitor *visitor) {
  const thing_frame *f = alias;
  for (long i = 0; i < f->used && (size_t)i < length; i++) {
    veil_visit(visitor, offsetof(thing_frame, slot) + (size_t)i * 8);
  }
}
VEIL_TYPE_FLEXIBLE_TRACE(thing_frame, thing_frame_trace, slot);

typedef struct thing_cell {
  uint64_t car;
  long number;
  uint64_t cdr;
} thing_cell;
VEIL_TYPE_TAGGED(thing_cell, &things_boxing, car, cdr);

// What a program that restores such a heap tells of.
static veil_type *const things_types[] = {&veil_type_node, &veil_type_thing_table, &veil_type_thing_values, &veil_type_thing_entry, &veil_type_thing_entries, &veil_type_thing_text,
                                          &veil_type_thing_frame, &veil_type_thing_cell};
enum { THINGS_TYPES = sizeof things_types / sizeof *things_types };

enum { THINGS_LIST = 20000, THINGS_HASHED = 500 };
// Elements: small, medium and large objects, some of several blocks, and such as end with a page.
#ifdef VEIL_TEST_LONG
static const size_t things_lengths[] = {1, 5, 59, 60, 61, 254, 509, 510, 511, 2000, 4090, 20000, 100003};
#else
static const size_t things_lengths[] = {1, 5, 59, 60, 61, 254, 509, 510, 511, 2000, 4090, 50003};
#endif
enum { THINGS_LENGTHS = sizeof things_lengths / sizeof *things_lengths };

static inline node *thing_node(veil_thread *t, long key) {
  node *n = veil_new(t, node);
  EXPECT(n != NULL);
  n->key = key;
  return n;
}

static inline void thing_name(veil_thread *t, const char *name, size_t number, void *object) {
  char text[64];
  snprintf(text, sizeof text, "%s %zu", name, number);
  EXPECT(object != NULL && veil_root_set(t, text, object) == VEIL_OK);
}

static inline void *thing_get(veil_thread *t, const char *name, size_t number) {
  char text[64];
  snprintf(text, sizeof text, "%s %zu", name, number);
  void *object = veil_root_get(t, text);
  EXPECT(object != NULL);
  return object;
}

// A slot of element i of something that has n: a third of them hold a node with that key.
static inline bool thing_is_set(size_t i, size_t n) { return i % 3 == 1 || i + 2 >= n; }
static inline node *thing_slot(veil_thread *t, size_t i, size_t n) { return thing_is_set(i, n) ? thing_node(t, (long)i) : NULL; }
static inline void thing_slot_check(const node *at, size_t i, size_t n) { EXPECT(thing_is_set(i, n) ? at != NULL && at->key == (long)i : at == NULL); }

static inline void things_arrays_make(veil_thread *t, size_t n) {
  void **pointers = veil_new_pointers(t, n);
  thing_table *table = veil_new_flexible(t, thing_table, n);
  thing_values *values = veil_new_flexible(t, thing_values, n);
  thing_entries *entries = veil_new_flexible(t, thing_entries, n);
  thing_entry *plain = veil_new_array(t, thing_entry, n);
  thing_text *text = veil_new_flexible(t, thing_text, n);
  thing_frame *frame = veil_new_flexible(t, thing_frame, n);
  char *bytes = veil_new_bytes(t, n), *aligned = veil_new_bytes_aligned(t, n, n % 2 ? 64 : 4096);
  EXPECT(pointers && table && values && entries && plain && text && frame && bytes && aligned);
  table->owner = thing_node(t, -1);
  values->proto = THING_BOXED(thing_node(t, -2));
  values->class = thing_node(t, -3);
  entries->owner = thing_node(t, -4);
  text->owner = thing_node(t, -5);
  frame->used = (long)n;
  for (size_t i = 0; i < n; i++) {
    pointers[i] = thing_slot(t, i, n);
    table->slot[i] = thing_slot(t, i, n);
    node *boxed = thing_slot(t, i, n);
    values->at[i] = boxed != NULL ? THING_BOXED(boxed) : UINT64_C(0x4000000000000000) + i; // a number
    entries->at[i].hash = plain[i].hash = (long)(uintptr_t)entries; // looks like a reference, and is none
    entries->at[i].key = thing_slot(t, i, n);
    plain[i].value = thing_slot(t, i, n);
    text->at[i] = bytes[i] = aligned[i] = (char)(i * 7 + n);
    frame->slot[i] = thing_slot(t, i, n);
  }
  entries->count = (long)(uintptr_t)entries;
  thing_name(t, "pointers", n, pointers);
  thing_name(t, "table", n, table);
  thing_name(t, "values", n, values);
  thing_name(t, "entries", n, entries);
  thing_name(t, "plain", n, plain);
  thing_name(t, "text", n, text);
  thing_name(t, "frame", n, frame);
  thing_name(t, "bytes", n, bytes);
  thing_name(t, "aligned", n, aligned);
}

static inline void things_arrays_check(veil_thread *t, size_t n) {
  node **pointers = thing_get(t, "pointers", n);
  thing_table *table = thing_get(t, "table", n);
  thing_values *values = thing_get(t, "values", n);
  thing_entries *entries = thing_get(t, "entries", n);
  thing_entry *plain = thing_get(t, "plain", n);
  thing_text *text = thing_get(t, "text", n);
  thing_frame *frame = thing_get(t, "frame", n);
  char *bytes = thing_get(t, "bytes", n), *aligned = thing_get(t, "aligned", n);
  EXPECT(veil_length(veil_thread_heap(t), pointers) == n && veil_length(veil_thread_heap(t), table) == n && veil_length(veil_thread_heap(t), plain) == n && veil_length(veil_thread_heap(t), frame) == n && veil_length(veil_thread_heap(t), bytes) == n);
  EXPECT((uintptr_t)aligned % (n % 2 ? 64 : 4096) == 0);
  EXPECT(table->owner->key == -1 && THING_UNBOXED(values->proto)->key == -2 && values->class->key == -3 && entries->owner->key == -4 && text->owner->key == -5);
  for (size_t i = 0; i < n; i++) {
    thing_slot_check(pointers[i], i, n);
    thing_slot_check(table->slot[i], i, n);
    if (thing_is_set(i, n)) {
      EXPECT(values->at[i] >> 48 == 0xfffc);
      thing_slot_check(THING_UNBOXED(values->at[i]), i, n);
    } else {
      EXPECT(values->at[i] == UINT64_C(0x4000000000000000) + i);
    }
    EXPECT(entries->at[i].hash == entries->count && plain[i].hash == entries->count && entries->at[i].value == NULL && plain[i].key == NULL);
    thing_slot_check(entries->at[i].key, i, n);
    thing_slot_check(plain[i].value, i, n);
    EXPECT(text->at[i] == (char)(i * 7 + n) && bytes[i] == text->at[i] && aligned[i] == text->at[i]);
    thing_slot_check(frame->slot[i], i, n);
  }
}

// Cells in a row, boxed; nodes with hashes; weak references to some of these, and to what will die; tables with them as keys.
static inline void things_words_make(veil_thread *t) {
  thing_cell *row = NULL;
  for (long i = 1000; i-- > 0;) {
    thing_cell *c = veil_new(t, thing_cell);
    c->number = i;
    c->car = THING_BOXED(thing_node(t, i));
    c->cdr = row != NULL ? THING_BOXED(row) : UINT64_C(0x4000000000000000);
    row = c;
  }
  thing_name(t, "row", 0, row);
  node **hashed = (node **)veil_new_pointers(t, THINGS_HASHED);
  veil_weak **weak = (veil_weak **)veil_new_pointers(t, THINGS_HASHED);
  thing_name(t, "hashed", 0, hashed);
  thing_name(t, "weak", 0, weak);
  for (int kind = VEIL_WEAK_KEYS; kind <= VEIL_WEAK_BOTH; kind++) {
    thing_name(t, "by", (size_t)kind, veil_table_new(t, (veil_table_kind)kind));
  }
  for (long i = 0; i < THINGS_HASHED; i++) {
    node *n = thing_node(t, i);
    hashed[i] = n;
    n->more = (long)veil_hash(t, n);
    n->left = thing_node(t, i * 3); // holds the value of tables with weak values
    weak[i] = veil_weak_new(t, i % 5 != 0 ? (void *)n : (void *)veil_new_bytes(t, 100));
    for (int kind = VEIL_WEAK_KEYS; kind <= VEIL_WEAK_BOTH; kind++) {
      EXPECT(veil_table_put(t, thing_get(t, "by", (size_t)kind), n, n->left) == VEIL_OK);
    }
  }
}

static inline void things_words_check(veil_thread *t) {
  long i = 0;
  for (thing_cell *c = thing_get(t, "row", 0);; c = (thing_cell *)THING_UNBOXED(c->cdr), i++) {
    EXPECT(c->number == i && THING_UNBOXED(c->car)->key == i);
    if (i == 999) {
      EXPECT(c->cdr == UINT64_C(0x4000000000000000));
      break;
    }
  }
  node **hashed = thing_get(t, "hashed", 0);
  veil_weak **weak = thing_get(t, "weak", 0);
  for (i = 0; i < THINGS_HASHED; i++) {
    node *n = hashed[i];
    EXPECT(n->key == i && n->left->key == i * 3 && (long)veil_hash(t, n) == n->more);
    EXPECT(i % 5 == 0 || veil_weak_get(t, weak[i]) == n);
    for (int kind = VEIL_WEAK_KEYS; kind <= VEIL_WEAK_BOTH; kind++) {
      EXPECT(veil_table_get(t, thing_get(t, "by", (size_t)kind), n) == n->left);
    }
  }
}

static __attribute__((noinline, unused)) void things_make(veil_thread *t) {
  thing_name(t, "list", 0, list_make(t, THINGS_LIST));
  for (size_t i = 0; i < THINGS_LENGTHS; i++) {
    things_arrays_make(t, things_lengths[i]);
  }
  things_words_make(t);
}

// Weak references to what nobody holds are empty after a collection.
static __attribute__((noinline, unused)) void things_check(veil_thread *t, bool collected) {
  EXPECT(list_check(thing_get(t, "list", 0)) == THINGS_LIST);
  for (size_t i = 0; i < THINGS_LENGTHS; i++) {
    things_arrays_check(t, things_lengths[i]);
  }
  things_words_check(t);
  veil_weak **weak = thing_get(t, "weak", 0);
  unsigned left = 0;
  for (int i = 0; i < THINGS_HASHED; i += 5) {
    left += veil_weak_get(t, weak[i]) != NULL;
  }
  EXPECT(!collected || left < 10); // words on the stack
}

#endif
