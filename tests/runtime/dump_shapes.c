// SPDX-License-Identifier: MIT
// dump_shapes.c: heap dumps of flexible arrays, aligned objects and weak tables: against what stands in memory.

#include <criterion/criterion.h>
#include "runtime/tools/heap.h"
#include "tests/runtime/world.h"
#include "veil/dump.h"
#include "veil/table.h"

static heap_dump *dump(unsigned flags) {
  char path[64];
  snprintf(path, sizeof path, "/tmp/veil-dump-shapes-%d", (int)getpid());
  stack_clear();
  veil_status status = veil_heap_dump(self, path, flags);
  EXPECT(status == VEIL_OK || (fprintf(stderr, "%s\n", veil_error()), false));
  heap_dump *d = calloc(1, sizeof *d);
  heap_load(d, path);
  heap_reach(d);
  cr_assert_eq(d->dangling, 0, "%llu references to nothing", (unsigned long long)d->dangling);
  unlink(path);
  return d;
}

static void drop(heap_dump *d) {
  heap_free(d);
  free(d);
}

static void **all; // a root

static const heap_sum *sum_of(const heap_sum *sums, size_t count, const char *name) {
  for (size_t i = 0; i < count; i++) {
    char text[300];
    heap_sum_text(&sums[i], text, sizeof text);
    if (strcmp(text, name) == 0) {
      return &sums[i];
    }
  }
  return NULL;
}

// ---- Flexible arrays. Which words are slots the test says for itself.

typedef struct table {
  long used;
  node *owner;
  long more;
  node *slot[];
} table;
VEIL_TYPE_FLEXIBLE(table, slot, owner);

static const veil_encoding nan_boxing = {.low_tags = 1, .high_min = 0xfff8, .high_max = 0xffff};
static const uint64_t box = UINT64_C(0xfffc) << 48;
typedef struct values {
  uint64_t proto; // boxed
  node *class;    // plain
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
  for (long i = 0; i < f->used; i++) {
    veil_visit(visitor, offsetof(frame, slot) + (size_t)i * 8);
  }
}
VEIL_TYPE_FLEXIBLE_TRACE(frame, frame_trace, slot);

enum { NOTHING, POINTER, BOXED }; // what a word is

static void *table_new(size_t n) { return veil_new_flexible(self, table, n); }
static int table_word(size_t n, size_t at) {
  return at == offsetof(table, owner) || at >= offsetof(table, slot) ? POINTER : NOTHING;
}
static void *values_new(size_t n) { return veil_new_flexible(self, values, n); }
static int values_word(size_t n, size_t at) {
  return at == offsetof(values, class) ? POINTER : at == offsetof(values, number) ? NOTHING : BOXED;
}
static void *entries_new(size_t n) { return veil_new_flexible(self, entries, n); }
static int entries_word(size_t n, size_t at) {
  return at == 0 || (at >= 16 && (at - 16) % 24 != 0) ? POINTER : NOTHING;
}
static void *boxed_entries_new(size_t n) { return veil_new_flexible(self, boxed_entries, n); }
static int boxed_entries_word(size_t n, size_t at) {
  return at == 0 ? POINTER : at == 8 || (at - 16) % 16 == 0 ? BOXED : NOTHING;
}
static void *text_new(size_t n) { return veil_new_flexible(self, text, n); }
static int text_word(size_t n, size_t at) { return at == 0 ? POINTER : NOTHING; }
static void *blob_new(size_t n) { return veil_new_flexible(self, blob, n); }
static int blob_word(size_t n, size_t at) { return NOTHING; }
static void *frame_new(size_t n) {
  frame *f = veil_new_flexible(self, frame, n);
  f->used = (long)n / 2;
  return f;
}
static int frame_word(size_t n, size_t at) { return at >= 8 && at < 8 + n / 2 * 8 ? POINTER : NOTHING; }

static const struct {
  const char *name;
  size_t fixed, element;
  void *(*make)(size_t n);
  int (*word)(size_t n, size_t at);
  size_t slot;      // a place …
  const char *said; // … and what veil-heap calls it
} kinds[] = {{"table", 24, 8, table_new, table_word, 24 + 3 * 8, "[3]"},
             {"table", 24, 8, table_new, table_word, offsetof(table, owner), "+8"},
             {"values", 24, 8, values_new, values_word, 24, "[0]"},
             {"entries", 16, 24, entries_new, entries_word, 16 + 2 * 24 + 16, "[2]+16"},
             {"boxed_entries", 16, 16, boxed_entries_new, boxed_entries_word, 16 + 16, "[1]+0"},
             {"text", offsetof(text, at), 1, text_new, text_word, 0, "+0"},
             {"blob", offsetof(blob, at), 1, blob_new, blob_word, 0, "+0"},
             {"frame", 8, 8, frame_new, frame_word, 16, "[1]"}};
// Around the sizes where an object becomes medium and large, and where elements end with a page.
static const size_t lengths[] = {0, 1, 2, 5, 8, 59, 60, 61, 509, 510, 4090, 4093, 5000, 20000};
enum { KINDS = sizeof kinds / sizeof *kinds, LENGTHS = sizeof lengths / sizeof *lengths, OBJECTS = KINDS * LENGTHS };

static size_t kind_of(size_t i) { return i % KINDS; }
static size_t length_of(size_t i) { return lengths[i / KINDS]; }
static size_t words_of(size_t i) { return (kinds[kind_of(i)].fixed + kinds[kind_of(i)].element * length_of(i)) / 8; }

// References in some slots; in what is none, the same words.
static __attribute__((noinline)) void flexible_make(void) {
  all = veil_new_pointers(self, OBJECTS);
  for (size_t i = 0; i < OBJECTS; i++) {
    uint64_t *object = kinds[kind_of(i)].make(length_of(i));
    all[i] = object;
    for (size_t w = 0; w < words_of(i); w++) {
      int word = kinds[kind_of(i)].word(length_of(i), 8 * w);
      if (w % 3 == 1 || w < 3 || w + 2 >= words_of(i)) {
        uint64_t made = (uint64_t)veil_new(self, node);
        bool keeps = kinds[kind_of(i)].make == frame_new && w == 0;
        object[w] = keeps ? object[w] : word == BOXED ? made | box : made;
      }
    }
  }
}

typedef struct seen {
  const heap_dump *d;
  uint32_t number[OBJECTS];
  size_t now, count[OBJECTS]; // OBJECTS: none of them
} seen;
static void object_seen(void *arg, const heap_object *o) {
  seen *s = arg;
  s->now = 0;
  while (s->now < OBJECTS && (uint64_t)all[s->now] != o->address) {
    s->now++;
  }
}
static void slot_seen(void *arg, const heap_object *o, uint64_t offset, uint64_t to) {
  seen *s = arg;
  if (s->now == OBJECTS) {
    return;
  }
  size_t i = s->now;
  int word = kinds[kind_of(i)].word(length_of(i), offset);
  uint64_t there = *(uint64_t *)((char *)all[i] + offset);
  cr_assert(word != NOTHING && there == (word == BOXED ? to | box : to), "%s[%zu] +%llu", kinds[kind_of(i)].name,
            length_of(i), (unsigned long long)offset);
  s->count[i]++;
}

static size_t references_of(size_t i) {
  size_t count = 0;
  for (size_t w = 0; w < words_of(i); w++) {
    int word = kinds[kind_of(i)].word(length_of(i), 8 * w);
    count += word != NOTHING && ((uint64_t *)all[i])[w] != 0;
  }
  return count;
}

static void flexible_check(const heap_dump *d) {
  static seen s;
  memset(&s, 0, sizeof s);
  s.d = d;
  heap_objects_visit(d, object_seen, slot_seen, &s);
  uint64_t bytes[KINDS] = {0};
  for (size_t i = 0; i < OBJECTS; i++) {
    size_t k = kind_of(i);
    uint32_t o = heap_find(d, (uint64_t)all[i]);
    cr_assert(o != HEAP_NONE && (d->what[o] & HEAP_REACHED), "%s[%zu]", kinds[k].name, length_of(i));
    cr_assert_eq(s.count[i], references_of(i), "%s[%zu]: %zu references, not %zu", kinds[k].name, length_of(i),
                 s.count[i], references_of(i));
    cr_assert_eq(d->first[o + 1] - d->first[o], s.count[i]);
    cr_assert_eq(heap_length(d, o), length_of(i));
    uint64_t cell = (16 + kinds[k].fixed + kinds[k].element * length_of(i) + 15) & ~UINT64_C(15);
    cr_assert_eq(heap_object_bytes(d, o), cell);
    bytes[k] += cell;
    char said[64], wanted[64];
    heap_type_text(d, o, said, sizeof said);
    snprintf(wanted, sizeof wanted, "%s[%zu]", kinds[k].name, length_of(i));
    cr_assert_str_eq(said, wanted);
    heap_slot_text(d, o, kinds[k].slot, said, sizeof said);
    cr_assert_str_eq(said, kinds[k].said);
    cr_assert_eq(heap_find_in(d, (uint64_t)all[i] + kinds[k].fixed), o);
  }
  heap_sum *sums;
  size_t count = heap_sums(d, &sums);
  for (size_t k = 2; k < KINDS; k++) { // of tables there are two kinds here
    char name[64];
    snprintf(name, sizeof name, "%s[]", kinds[k].name);
    const heap_sum *sum = sum_of(sums, count, name);
    cr_assert(sum != NULL && sum->count == LENGTHS && sum->bytes == bytes[k], "%s", name);
  }
  free(sums);
}

static void flexible_dump(veil_options options) {
  options.limit = 128 * MIB;
  options.verify = 1;
  if (!start(options)) {
    cr_skip_test("the back end does not work here");
  }
  all = NULL;
  cr_assert_eq(veil_add_roots(heap, &all, 1), VEIL_OK);
  flexible_make();
  for (int round = 0; round < 3; round++) {
    heap_dump *d = dump(round == 0 ? VEIL_DUMP_AS_IS : 0);
    flexible_check(d);
    drop(d);
  }
  veil_remove_roots(heap, &all);
  end();
}
ON_ALL_BACK_ENDS(dump_shapes, has_flexible_arrays_of_every_kind_and_size) {
  flexible_dump((veil_options){.back_end = back_end, .generations = VEIL_GENERATIONS_OFF});
}
ON_ALL_BACK_ENDS(dump_shapes, has_flexible_arrays_young_and_old) {
  flexible_dump((veil_options){.back_end = back_end, .generations = VEIL_GENERATIONS_ON, .nursery = MIB});
}

// ---- Aligned objects.

typedef struct medium {
  node *first;
  char bytes[2000];
  node *last;
} medium;
VEIL_TYPE(medium, first, last);
typedef struct large {
  node *first;
  char bytes[40000];
  node *last;
} large;
VEIL_TYPE(large, first, last);

static const size_t sizes[] = {0, 1, 40, 100, 500, 1000, 5000, 40000, 200000};
enum { SIZES = sizeof sizes / sizeof *sizes, ALIGNMENTS = 9, PER = 3 + SIZES, ALIGNED = PER * ALIGNMENTS };

static __attribute__((noinline)) void aligned_make(void) {
  all = veil_new_pointers(self, ALIGNED);
  for (size_t i = 0; i < ALIGNED; i++) {
    size_t alignment = (size_t)16 << i / PER;
    if (i % PER == 0) {
      node *n = veil_new_aligned(self, node, alignment);
      all[i] = n;
      n->left = n->right = all[0];
    } else if (i % PER == 1) {
      medium *m = veil_new_aligned(self, medium, alignment);
      all[i] = m;
      m->last = all[0];
    } else if (i % PER == 2) {
      large *l = veil_new_aligned(self, large, alignment);
      all[i] = l;
      l->last = all[0];
    } else {
      void *bytes = veil_new_bytes_aligned(self, sizes[i % PER - 3], alignment);
      memset(bytes, 0xff, sizes[i % PER - 3]);
      all[i] = bytes;
    }
  }
}

static void aligned_check(const heap_dump *d) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < ALIGNED; i++) {
    uint32_t o = heap_find(d, (uint64_t)all[i]);
    cr_assert(o != HEAP_NONE && (d->what[o] & HEAP_REACHED) && heap_address(d, o) % ((uint64_t)16 << i / PER) == 0,
              "object %zu", i);
    cr_assert_eq(heap_find_in(d, (uint64_t)all[i] + 7), o);
    char said[64], wanted[64];
    heap_type_text(d, o, said, sizeof said);
    if (i % PER >= 3) {
      size_t n = sizes[i % PER - 3];
      snprintf(wanted, sizeof wanted, "byte[%zu]", n);
      cr_assert_str_eq(said, wanted);
      cr_assert(heap_is_of_type(d, o, "byte[]") && heap_length(d, o) == n);
      cr_assert(heap_object_bytes(d, o) >= 16 + n && heap_object_bytes(d, o) <= 48 + n + n / 16);
      bytes += heap_object_bytes(d, o);
      continue;
    }
    static const char *const names[] = {"node", "medium", "large"};
    cr_assert_str_eq(said, names[i % PER]);
    cr_assert_eq(d->first[o + 1] - d->first[o], i % PER == 0 ? 2 : 1);
    cr_assert_eq(heap_address(d, d->target[d->first[o]]), (uint64_t)all[0]);
  }
  heap_sum *sums;
  size_t count = heap_sums(d, &sums);
  const heap_sum *sum = sum_of(sums, count, "byte[]"); // of all sizes
  cr_assert(sum != NULL && sum->count == SIZES * ALIGNMENTS && sum->bytes == bytes);
  free(sums);
}

static void aligned_dump(veil_options options) {
  options.limit = 128 * MIB;
  options.verify = 1;
  if (!start(options)) {
    cr_skip_test("the back end does not work here");
  }
  all = NULL;
  cr_assert_eq(veil_add_roots(heap, &all, 1), VEIL_OK);
  aligned_make();
  for (int round = 0; round < 3; round++) {
    heap_dump *d = dump(round == 0 ? VEIL_DUMP_AS_IS : 0);
    aligned_check(d);
    drop(d);
  }
  veil_remove_roots(heap, &all);
  end();
}
ON_ALL_BACK_ENDS(dump_shapes, has_aligned_objects) {
  aligned_dump((veil_options){.back_end = back_end, .generations = VEIL_GENERATIONS_OFF});
}
ON_ALL_BACK_ENDS(dump_shapes, has_aligned_objects_young_and_old) {
  aligned_dump((veil_options){.back_end = back_end, .generations = VEIL_GENERATIONS_ON, .nursery = MIB});
}
ON_ALL_BACK_ENDS(dump_shapes, has_aligned_objects_with_larger_granules) {
  aligned_dump((veil_options){.back_end = back_end, .granule = 65536});
}

// ---- Weak tables.

// all: tables of each kind, and a table that will be dead; then keys of the first, values of the second; of the third
// both, in turn.
enum { EACH = 100, KEYS = 4, VALUES = KEYS + EACH, BOTH = VALUES + EACH, PARTS = BOTH + 2 * EACH };

static __attribute__((noinline)) void tables_make(void) {
  all = veil_new_pointers(self, PARTS);
  for (int t = 0; t < 4; t++) {
    veil_table *made = veil_table_new(self, t < 3 ? (veil_table_kind)(t + 1) : VEIL_WEAK_KEYS);
    all[t] = made;
  }
  for (int i = 0; i < EACH; i++) {
    all[KEYS + i] = veil_new_pointers(self, 3);
    all[VALUES + i] = veil_new_bytes(self, 50);
    all[BOTH + 2 * i] = veil_new(self, node);
    all[BOTH + 2 * i + 1] = veil_new(self, node);
    medium *other = veil_new(self, medium); // held by an entry alone
    EXPECT(veil_table_put(self, all[0], all[KEYS + i], other) == VEIL_OK);
    EXPECT(veil_table_put(self, all[3], all[KEYS + i], veil_new(self, node)) == VEIL_OK);
    other = veil_new(self, medium);
    EXPECT(veil_table_put(self, all[1], other, all[VALUES + i]) == VEIL_OK);
    EXPECT(veil_table_put(self, all[2], all[BOTH + 2 * i], all[BOTH + 2 * i + 1]) == VEIL_OK);
  }
  // An entry is changed, one taken away, and one made again; keys of keys make a chain, which begins with a key that is
  // held.
  medium *first = veil_table_get(self, all[0], all[KEYS]);
  EXPECT(veil_table_put(self, all[0], first, veil_new(self, large)) == VEIL_OK);
  EXPECT(veil_table_remove(self, all[2], all[BOTH]) &&
         veil_table_put(self, all[2], all[BOTH], all[BOTH + 1]) == VEIL_OK);
  EXPECT(veil_table_remove(self, all[2], all[BOTH + 2]));
}

static unsigned entries_of(const heap_dump *d, uint64_t table) {
  unsigned n = 0;
  for (uint32_t i = 0; i < d->entry_count; i++) {
    n += heap_address(d, d->entries[i].table) == table;
  }
  return n;
}

// The object of that type that `key` holds by an entry of the table. `alone` counts those that nothing else holds: a
// word on the stack may.
static uint32_t held_by(const heap_dump *d, const uint32_t *before, const void *table, uint32_t key, const char *type,
                        int *alone) {
  for (uint32_t i = heap_entries_needing(d, key); i < d->entry_count && heap_entry_needs(&d->entries[i]) == key; i++) {
    uint32_t held = heap_entry_holds(&d->entries[i]);
    if (heap_address(d, d->entries[i].table) == (uint64_t)table) {
      cr_assert(heap_is_of_type(d, held, type) && (d->what[held] & HEAP_REACHED));
      *alone += before[held] == key && d->dominator[held] == key;
      cr_assert_eq(heap_entry_between(d, key, held), &d->entries[i]);
      return held;
    }
  }
  cr_assert_fail("no entry");
  return HEAP_NONE;
}

static void tables_check(heap_dump *d, bool dead) {
  heap_dominate(d);
  uint32_t *before = calloc(d->nodes, sizeof *before);
  heap_paths(d, before, NULL);
  cr_assert_eq(entries_of(d, (uint64_t)all[0]), EACH + 1);
  cr_assert_eq(entries_of(d, (uint64_t)all[1]), EACH);
  cr_assert_eq(entries_of(d, (uint64_t)all[2]), EACH - 1);
  cr_assert_eq(d->entry_count, (dead ? 3 : 4) * EACH);
  int alone = 0;
  for (int i = 0; i < EACH; i++) {
    uint32_t key = heap_find(d, (uint64_t)all[KEYS + i]), value = heap_find(d, (uint64_t)all[VALUES + i]);
    uint32_t held = held_by(d, before, all[0], key, "medium", &alone);
    held_by(d, before, all[1], value, "medium", &alone);
    if (i == 0) {
      uint32_t last = held_by(d, before, all[0], held, "large", &alone);
      cr_assert_geq(d->retained[held], d->dominator[last] == held ? sizeof(medium) + sizeof(large) : sizeof(medium));
    }
    cr_assert_null(heap_entry_between(d, heap_find(d, (uint64_t)all[BOTH + 2 * i]),
                                      heap_find(d, (uint64_t)all[BOTH + 2 * i + 1])));
  }
  cr_assert_gt(alone, 2 * EACH - 10);
  free(before);
}

static void tables_dump(veil_options options) {
  options.limit = 64 * MIB;
  options.verify = 1;
  if (!start(options)) {
    cr_skip_test("the back end does not work here");
  }
  all = NULL;
  cr_assert_eq(veil_add_roots(heap, &all, 1), VEIL_OK);
  tables_make();
  for (int round = 0; round < 2; round++) {
    heap_dump *d = dump(round == 0 ? VEIL_DUMP_AS_IS : 0);
    tables_check(d, false);
    drop(d);
  }
  all[3] = NULL;
  stack_clear();
  veil_collect(self);
  heap_dump *d = dump(0);
  tables_check(d, true);
  drop(d);
  // Without their keys and values, and the other way round: of a key that is dead nothing is written.
  memset(all + KEYS, 0, EACH * sizeof *all);
  stack_clear();
  veil_collect(self);
  d = dump(0);
  cr_assert_lt(entries_of(d, (uint64_t)all[0]), 10); // but for what words on the stack hold
  cr_assert_eq(entries_of(d, (uint64_t)all[1]), EACH);
  drop(d);
  veil_remove_roots(heap, &all);
  end();
}
ON_ALL_BACK_ENDS(dump_shapes, has_what_weak_tables_hold) {
  tables_dump((veil_options){.back_end = back_end, .generations = VEIL_GENERATIONS_OFF});
}
ON_ALL_BACK_ENDS(dump_shapes, has_what_weak_tables_hold_young_and_old) {
  tables_dump((veil_options){.back_end = back_end, .generations = VEIL_GENERATIONS_ON, .nursery = 256 << 10});
}

Test(dump_shapes, a_table_that_nobody_has_holds_nothing) {
  start((veil_options){.limit = 64 * MIB, .generations = VEIL_GENERATIONS_OFF});
  all = NULL;
  cr_assert_eq(veil_add_roots(heap, &all, 1), VEIL_OK);
  tables_make();
  uint64_t table = ~(uint64_t)all[0];
  all[0] = NULL;
  heap_dump *d = dump(VEIL_DUMP_AS_IS);
  uint32_t o = heap_find(d, ~table), held = 0, reached = 0;
  cr_assert_neq(o, HEAP_NONE);        // it is there yet
  if (!(d->what[o] & HEAP_REACHED)) { // else a word on the stack holds it
    for (uint32_t i = 0; i < d->entry_count; i++) {
      held += d->entries[i].table == o;
      reached += d->entries[i].table == o && (d->what[d->entries[i].value] & HEAP_REACHED) != 0;
    }
    cr_assert_eq(held, EACH + 1);
    cr_assert_lt(reached, 10);
  }
  drop(d);
  end();
}
