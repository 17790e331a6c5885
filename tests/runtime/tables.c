// SPDX-License-Identifier: MIT
// tables.c: weak tables, by the program's calls. Through all kinds of cycles: tests/gc/table.c.

#include <criterion/criterion.h>
#include "tests/runtime/world.h"
#include "veil/table.h"
#include "veil/weak.h"
#include "vm/atomic.h"

typedef struct thing {
  struct thing *next;
  long key;
} thing;
VEIL_TYPE(thing, next);

static void *kept[64];

static void begin(void) {
  memset(kept, 0, sizeof kept);
  cr_assert_eq(veil_add_roots(heap, kept, 64), VEIL_OK);
}

static __attribute__((noinline)) thing *thing_new(long key) {
  thing *t = veil_new(self, thing);
  t->key = key;
  return t;
}

// Keys and values that nothing else holds, but those in `kept`.
static __attribute__((noinline)) void fill(int from, int to) {
  for (int i = from; i < to; i++) {
    kept[i] = thing_new(i);
    thing *value = thing_new(-i);
    value->next = kept[i];
    EXPECT(veil_table_put(self, kept[0], kept[i], value) == VEIL_OK);
  }
}

static __attribute__((noinline)) void check(int from, int to) {
  for (int i = from; i < to; i++) {
    thing *value = veil_table_get(self, kept[0], kept[i]);
    cr_assert(value != NULL && value->key == -i && value->next == kept[i]);
  }
}

ON_ALL_BACK_ENDS(tables, ephemerons_go_with_their_keys) {
  START_OR_SKIP(.back_end = back_end, .verify = 2);
  begin();
  kept[0] = veil_table_new(self, VEIL_WEAK_KEYS);
  fill(1, 50);
  veil_collect(self);
  check(1, 50);
  memset(kept + 10, 0, sizeof kept - 10 * sizeof *kept);
  stack_clear();
  veil_collect(self);
  check(1, 10);
  cr_assert(veil_table_count(self, kept[0]) < 30 && stats_of(heap).weak_entries == veil_table_count(self, kept[0]));
  cr_assert_eq(stats_of(heap).weak_tables, 1);
  cr_assert(veil_table_remove(self, kept[0], kept[1]) && !veil_table_remove(self, kept[0], kept[1]));
  cr_assert_null(veil_table_get(self, kept[0], kept[1]));
  kept[0] = NULL;
  stack_clear();
  veil_collect(self);
  cr_assert_eq(stats_of(heap).weak_tables, 0);
  end();
}

static __attribute__((noinline)) void interned_make(veil_table_kind kind, bool hold_keys) {
  kept[0] = veil_table_new(self, kind);
  for (int i = 1; i < 40; i++) {
    thing *key = thing_new(i), *value = thing_new(100 + i);
    kept[i] = i < 20 ? (hold_keys ? key : value) : NULL;
    EXPECT(veil_table_put(self, kept[0], key, value) == VEIL_OK);
  }
}

static __attribute__((noinline)) size_t listed(long *keys) {
  void **entries = veil_table_entries(self, kept[0]);
  size_t n = 0;
  for (; n < veil_length(heap, entries) && entries[n] != NULL; n += 2) {
    thing *key = entries[n], *value = entries[n + 1];
    cr_assert_eq(value->key, key->key + 100);
    *keys += key->key < 20;
  }
  return n / 2;
}

ON_ALL_BACK_ENDS(tables, weak_values_hold_their_keys) {
  START_OR_SKIP(.back_end = back_end, .verify = 2);
  begin();
  interned_make(VEIL_WEAK_VALUES, false);
  stack_clear();
  veil_collect(self);
  long found = 0;
  size_t count = listed(&found);
  cr_assert(found == 19 && count >= 19 && count < 30, "%ld of %zu", found, count);
  end();
}

ON_ALL_BACK_ENDS(tables, weak_both_holds_neither) {
  START_OR_SKIP(.back_end = back_end, .verify = 2);
  begin();
  interned_make(VEIL_WEAK_BOTH, true);
  stack_clear();
  veil_collect(self);
  cr_assert_lt(veil_table_count(self, kept[0]), 10); // words on the stack may hold some
  end();
}

ON_ALL_BACK_ENDS(tables, minor_cycles_clear_what_is_young) {
  START_OR_SKIP(.back_end = back_end, .verify = 2, .generations = VEIL_GENERATIONS_ON);
  begin();
  kept[0] = veil_table_new(self, VEIL_WEAK_KEYS);
  fill(1, 50);
  memset(kept + 10, 0, sizeof kept - 10 * sizeof *kept);
  stack_clear();
  veil_collect_minor(self);
  check(1, 10);
  if (strcmp(veil_back_end(heap), "none") != 0) {
    cr_assert_lt(veil_table_count(self, kept[0]), 30);
  }
  for (int i = 0; i < 4; i++) {
    veil_collect_minor(self);
    check(1, 10);
  }
  end();
}

static long calls;
static void called(veil_thread *thread, void *object, void *data) {
  (void)thread;
  (void)data;
  calls += ((thing *)object)->key >= 0;
}

// More than fits into a few blocks, so helpers have come to the minor cycle and left it before entries and finalizers are looked at.
static __attribute__((noinline)) void many_make(long many) {
  kept[0] = veil_table_new(self, VEIL_WEAK_KEYS);
  kept[1] = veil_new_pointers(self, (size_t)many);
  for (long i = 0; i < many; i++) {
    thing *key = thing_new(i);
    ((void **)kept[1])[i] = key;
    thing *value = thing_new(-i);
    value->next = key;
    EXPECT(veil_table_put(self, kept[0], key, value) == VEIL_OK);
    EXPECT(veil_finalize(self, thing_new(i), called, NULL) != 0);
  }
}

ON_ALL_BACK_ENDS(tables, minor_cycles_with_helpers_end) {
  START_OR_SKIP(.back_end = back_end, .generations = VEIL_GENERATIONS_ON, .nursery = 16 * MIB, .limit = 256 * MIB, .scanners = 2);
  begin();
  enum { MANY = 30000 };
  many_make(MANY);
  stack_clear();
  veil_collect_minor(self);
  for (long i = 0; i < MANY; i++) {
    thing *value = veil_table_get(self, kept[0], ((void **)kept[1])[i]);
    cr_assert(value != NULL && value->key == -i && value->next == ((void **)kept[1])[i]);
  }
  calls = 0;
  size_t due = veil_finalizers_run(self, MANY);
  cr_assert(due == (size_t)calls && (strcmp(veil_back_end(heap), "none") == 0 || due > MANY - 100), "%zu", due);
  end();
}

// ---- Threads.

enum { THREADS = 3, ROUNDS = 400 };
static veil_handle *shared;

static void *changes(void *arg) {
  veil_thread *me = veil_attach(heap);
  veil_table *table = veil_handle_get(me, shared);
  thing *mine[16] = {0};
  unsigned random = (unsigned)(uintptr_t)arg + 1;
  for (int round = 0; round < ROUNDS; round++) {
    random = random * 1103515245 + 12345;
    int i = random >> 16 & 15;
    if (mine[i] == NULL || round % 5 == 0) {
      mine[i] = veil_new(me, thing);
      thing *value = veil_new(me, thing);
      value->next = mine[i];
      EXPECT(veil_table_put(me, table, mine[i], value) == VEIL_OK);
    } else if (round % 7 == 0) {
      EXPECT(veil_table_remove(me, table, mine[i]));
      mine[i] = NULL;
    } else {
      EXPECT(((thing *)veil_table_get(me, table, mine[i]))->next == mine[i]);
    }
    if (round % 50 == 0) {
      (round % 100 ? veil_collect : veil_collect_minor)(me);
    }
    if (round % 64 == 0) {
      void **entries = veil_table_entries(me, table);
      for (size_t n = 0; n < veil_length(heap, entries) && entries[n] != NULL; n += 2) {
        EXPECT(((thing *)entries[n + 1])->next == entries[n]);
      }
    }
  }
  veil_detach(me);
  return NULL;
}

ON_ALL_BACK_ENDS(tables, threads_share_one) {
  START_OR_SKIP(.back_end = back_end, .verify = 1, .generations = VEIL_GENERATIONS_ON);
  shared = veil_handle_new(self, veil_table_new(self, VEIL_WEAK_KEYS));
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) {
    cr_assert_eq(pthread_create(&threads[i], NULL, changes, (void *)(uintptr_t)i), 0);
  }
  veil_block_begin(self);
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  veil_block_end(self);
  stack_clear();
  veil_collect(self);
  veil_collect(self);
  cr_assert_lt(stats_of(heap).weak_entries, 20);
  end();
}

static AO_t stop_adding;

static void *adds(void *arg) {
  (void)arg;
  veil_thread *me = veil_attach(heap);
  veil_table *table = veil_handle_get(me, shared);
  while (!at_load_acquire(&stop_adding)) {
    for (int i = 0; i < 100; i++) {
      thing *key = veil_new(me, thing);
      EXPECT(veil_table_put(me, table, key, key) == VEIL_OK);
      EXPECT(veil_table_remove(me, table, key));
    }
  }
  veil_detach(me);
  return NULL;
}

ON_ALL_BACK_ENDS(tables, entries_that_were_there_all_the_time_are_listed) {
  START_OR_SKIP(.back_end = back_end);
  begin();
  at_store(&stop_adding, 0);
  kept[0] = veil_table_new(self, VEIL_WEAK_KEYS);
  shared = veil_handle_new(self, kept[0]);
  fill(1, 60);
  pthread_t thread;
  cr_assert_eq(pthread_create(&thread, NULL, adds, NULL), 0);
  for (int round = 0; round < 2000; round++) {
    void **entries = veil_table_entries(self, kept[0]);
    bool seen[60] = {false};
    for (size_t n = 0; n < veil_length(heap, entries) && entries[n] != NULL; n += 2) {
      thing *key = entries[n], *value = entries[n + 1];
      seen[value->key < 0 ? key->key : 0] = true;
    }
    for (int i = 1; i < 60; i++) {
      cr_assert(seen[i], "round %d: %d is missing", round, i);
    }
  }
  at_store_release(&stop_adding, 1);
  veil_block_begin(self);
  pthread_join(thread, NULL);
  veil_block_end(self);
  end();
}

// ---- Misuse.

static void misuse_start(void) { EXPECT(start((veil_options){.back_end = "mprotect"})); }

DIES(tables_misuse, a_kind_that_is_none, "4 is no kind of table") {
  misuse_start();
  veil_table_new(self, (veil_table_kind)4);
}
DIES(tables_misuse, what_is_no_table, "is no weak table of this heap") {
  misuse_start();
  veil_table_get(self, (veil_table *)thing_new(1), thing_new(2));
}
DIES(tables_misuse, no_table, "veil_table_count: 0x0 is no weak table of this heap") {
  misuse_start();
  veil_table_count(self, NULL);
}
DIES(tables_misuse, a_weak_reference, "is no weak table of this heap") {
  misuse_start();
  veil_table_entries(self, (veil_table *)veil_weak_new(self, NULL));
}
DIES(tables_misuse, no_key, "veil_table_put: there is no key") {
  misuse_start();
  veil_table_put(self, veil_table_new(self, VEIL_WEAK_KEYS), NULL, thing_new(1));
}
DIES(tables_misuse, no_value, "veil_table_put: there is no value") {
  misuse_start();
  veil_table_put(self, veil_table_new(self, VEIL_WEAK_KEYS), thing_new(1), NULL);
}
DIES(tables_misuse, a_key_that_is_no_object, "is not the start of an object of this heap") {
  misuse_start();
  veil_table_get(self, veil_table_new(self, VEIL_WEAK_KEYS), (char *)thing_new(1) + 8);
}
DIES(tables_misuse, a_value_that_is_no_object, "is not the start of an object of this heap") {
  misuse_start();
  veil_table_put(self, veil_table_new(self, VEIL_WEAK_BOTH), thing_new(1), &heap);
}
DIES(tables_misuse, another_threads_self, "veil_table_remove: ") {
  misuse_start();
  veil_table *table = veil_table_new(self, VEIL_WEAK_KEYS);
  veil_detach(self);
  veil_table_remove(self, table, table);
}
