// SPDX-License-Identifier: MIT
// table.c: weak tables of each kind, through every kind of cycle.

#include <criterion/criterion.h>
#include "gc/links.h"
#include "gc/table.h"
#include "tests/gc/fake.h"

enum { NURSERY = 1 << 20 };

static pair *pair_new(fake *f, long key) {
  pair *p = fake_new(f, &type_pair);
  EXPECT(p != NULL);
  p->key = key;
  return p;
}

// Its owner in a root.
static uint32_t table_new(fake *f, gc_table_kind kind, int root) {
  f->root[root] = fake_array(f, &type_byte, 8);
  uint32_t table = gc_table_new(f->gc, kind, (uintptr_t)f->root[root]);
  EXPECT(table != GC_NONE);
  return table;
}

static void put(fake *f, uint32_t table, void *key, void *value) { EXPECT(gc_table_put(f->gc, table, (uintptr_t)key, (uintptr_t)value)); }
static pair *get(fake *f, uint32_t table, void *key) { return (pair *)gc_table_get(f->gc, table, (uintptr_t)key); }
static uint64_t entries(fake *f) { return at_load(&f->gc->weak.count); }

static void minor_twice(fake *f) {
  fake_minor(f);
  fake_minor(f);
}
static void cycle_with_minors(fake *f) {
  fake_flip(f);
  fake_minor(f);
  fake_step(f);
  fake_minor(f);
  fake_finish(f);
}
static void (*const cycles[])(fake *f) = {fake_cycle, fake_minor, minor_twice, cycle_with_minors};
enum { CYCLES = sizeof cycles / sizeof *cycles };

static const gc_table_kind kinds[] = {GC_TABLE_KEYS, GC_TABLE_VALUES, GC_TABLE_BOTH};

ON_ALL_BACK_ENDS(table, what_was_put_is_found_wherever_it_moves) {
  for (int c = 0; c < CYCLES * 3; c++) {
    OPEN_OR_SKIP(f, .back_end = back_end, .nursery = NURSERY, .verify = true);
    uint32_t table = table_new(f, kinds[c / CYCLES], 0), other = table_new(f, kinds[c / CYCLES], 1);
    for (long i = 0; i < 200; i++) {
      f->root[10 + i] = pair_new(f, i);
      f->root[210 + i] = pair_new(f, -i);
      put(f, table, f->root[10 + i], f->root[210 + i]);
      if (i % 2) {
        put(f, other, f->root[10 + i], f->root[10 + i]);
      }
    }
    for (int round = 0; round < 3; round++) {
      for (long i = 0; i < 200; i++) {
        cr_assert_eq(get(f, table, f->root[10 + i]), f->root[210 + i]);
        cr_assert_eq(get(f, other, f->root[10 + i]), i % 2 ? f->root[10 + i] : NULL);
        cr_assert_null(get(f, table, f->root[210 + i]));
      }
      cr_assert(gc_table_count(f->gc, table) == 200 && gc_table_count(f->gc, other) == 100 && entries(f) == 300);
      cycles[c % CYCLES](f);
    }
    put(f, table, f->root[10], f->root[11]);
    cr_assert(gc_table_remove(f->gc, table, (uintptr_t)f->root[11]) && !gc_table_remove(f->gc, table, (uintptr_t)f->root[11]));
    cycles[c % CYCLES](f);
    cr_assert(get(f, table, f->root[10]) == f->root[11] && get(f, table, f->root[11]) == NULL && entries(f) == 299);
    fake_close(f);
  }
}

// Two entries of each: one whose key is held, one whose value is.
ON_ALL_BACK_ENDS(table, an_entry_is_there_as_long_as_what_it_depends_on) {
  for (int c = 0; c < CYCLES * 3; c++) {
    OPEN_OR_SKIP(f, .back_end = back_end, .nursery = NURSERY, .verify = true);
    gc_table_kind kind = kinds[c / CYCLES];
    uint32_t table = table_new(f, kind, 0);
    pair *key = pair_new(f, 1), *value = pair_new(f, 2), *key2 = pair_new(f, 3), *value2 = pair_new(f, 4);
    value->left = key; // that holds nothing by itself
    f->root[1] = key;
    f->root[2] = value2;
    put(f, table, key, value);
    put(f, table, key2, value2);
    cycles[c % CYCLES](f);
    gc_table_list list = {0};
    gc_entry out[4];
    size_t count = gc_table_list_some(f->gc, table, &list, out, 4);
    if (kind == GC_TABLE_BOTH) {
      cr_assert(count == 0 && entries(f) == 0);
    } else {
      pair *k = (pair *)out[0].key, *v = (pair *)out[0].value;
      cr_assert(count == 1 && entries(f) == 1 && !list.more);
      cr_assert(k->key == (kind == GC_TABLE_KEYS ? 1 : 3) && v->key == (kind == GC_TABLE_KEYS ? 2 : 4));
      cr_assert(kind == GC_TABLE_VALUES || (get(f, table, f->root[1]) == v && v->left == f->root[1]));
    }
    f->root[1] = f->root[2] = NULL;
    fake_cycle(f);
    cr_assert_eq(entries(f), 0);
    fake_close(f);
  }
}

ON_ALL_BACK_ENDS(table, a_table_goes_with_its_owner) {
  for (int c = 0; c < CYCLES; c++) {
    OPEN_OR_SKIP(f, .back_end = back_end, .nursery = NURSERY, .verify = true);
    for (int i = 0; i < 100; i++) {
      f->root[100 + i] = pair_new(f, i);
    }
    cycles[c](f);
    uint32_t dies = table_new(f, GC_TABLE_KEYS, 0), stays = table_new(f, GC_TABLE_KEYS, 1);
    for (int i = 0; i < 100; i++) {
      put(f, dies, f->root[100 + i], i % 2 ? pair_new(f, 1000) : f->root[100 + i]);
      put(f, stays, f->root[100 + i], f->root[100 + i]);
    }
    f->root[0] = NULL;
    cycles[c](f);
    cr_assert(entries(f) == 100 && at_load(&f->gc->weak.table_count) == 1);
    cr_assert(gc_table_is(f->gc, stays) && !gc_table_is(f->gc, dies));
    uint32_t again = table_new(f, GC_TABLE_VALUES, 2);
    cr_assert(again == dies && get(f, again, f->root[100]) == NULL && get(f, stays, f->root[100]) == f->root[100]);
    fake_close(f);
  }
}

// Keys that only values refer to, by themselves or through others, in tables that only values refer to.
ON_ALL_BACK_ENDS(table, chains_are_followed_to_their_end) {
  for (int c = 0; c < CYCLES * 2; c++) {
    OPEN_OR_SKIP(f, .back_end = back_end, .nursery = NURSERY, .verify = true);
    enum { LINKS = 60 };
    bool back = c >= CYCLES;
    uint32_t table = table_new(f, GC_TABLE_KEYS, 0), inner = table_new(f, GC_TABLE_KEYS, 1);
    for (int i = 0; i < LINKS; i++) {
      f->root[10 + i] = pair_new(f, i);
    }
    for (int n = 0; n + 1 < LINKS; n++) {
      int i = back ? LINKS - 2 - n : n;
      pair *value = f->root[10 + i + 1];
      if (i % 3 == 0) {
        value = pair_new(f, -1);
        value->left = f->root[10 + i + 1];
      }
      put(f, i % 2 ? inner : table, f->root[10 + i], value);
    }
    pair *holder = pair_new(f, -2);
    holder->right = f->root[1]; // the inner table is held by a value only
    put(f, table, f->root[10], holder);
    f->root[2] = f->root[11];
    put(f, table, holder, f->root[11]);
    memset(f->root + 11, 0, LINKS * sizeof *f->root);
    f->root[1] = f->root[2] = NULL;
    cycles[c % CYCLES](f);
    cr_assert_eq(entries(f), LINKS);
    pair *at = get(f, table, get(f, table, f->root[10]));
    f->root[3] = at;
    for (int i = 1; i < LINKS; i++) {
      cr_assert_eq(((pair *)f->root[3])->key, i);
      pair *next = get(f, i % 2 ? inner : table, f->root[3]);
      f->root[3] = next != NULL && next->key == -1 ? next->left : next;
    }
    cr_assert_null(f->root[3]);
    f->root[10] = NULL;
    fake_cycle(f);
    cr_assert_eq(entries(f), 0);
    fake_close(f);
  }
}

// A pause is not as long as a chain: what it has not come to after some passes stays for a major cycle.
ON_ALL_BACK_ENDS(table, a_minor_cycle_goes_over_them_a_few_times_only) {
  OPEN_OR_SKIP(f, .back_end = back_end, .nursery = NURSERY, .verify = true);
  enum { LINKS = 2000 };
  uint32_t table = table_new(f, GC_TABLE_KEYS, 0);
  f->root[1] = f->root[2] = pair_new(f, 0);
  for (long i = 1; i < LINKS; i++) {
    f->root[3] = pair_new(f, i);
    pair *value = pair_new(f, -i);
    value->left = f->root[3];
    put(f, table, f->root[2], value);
    f->root[2] = f->root[3];
  }
  f->root[2] = f->root[3] = NULL;
  uint64_t before = at_load(&f->gc->weak.traces);
  fake_minor(f);
  cr_assert_leq(at_load(&f->gc->weak.traces) - before, 10);
  cr_assert_eq(entries(f), LINKS - 1);
  f->root[1] = NULL;
  fake_cycle(f);
  cr_assert_eq(entries(f), 0);
  fake_close(f);
}

ON_ALL_BACK_ENDS(table, what_is_read_before_the_end_lives) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  uint32_t values = table_new(f, GC_TABLE_VALUES, 0), keys = table_new(f, GC_TABLE_KEYS, 1);
  f->root[2] = pair_new(f, 1);
  f->root[3] = pair_new(f, 2);
  put(f, values, f->root[2], pair_new(f, 10));
  put(f, values, f->root[3], pair_new(f, 20));
  put(f, keys, get(f, values, f->root[2]), pair_new(f, 100));
  fake_flip(f);
  bool traps = f->gc->region->traps;
  f->root[4] = get(f, values, f->root[2]);
  cr_assert(traps == (f->root[4] != NULL));
  fake_finish(f);
  cr_assert_eq(get(f, values, f->root[2]), f->root[4]);
  cr_assert_null(get(f, values, f->root[3]));
  if (traps) {
    cr_assert(((pair *)f->root[4])->key == 10 && get(f, keys, f->root[4])->key == 100);
  }
  cr_assert_eq(entries(f), traps ? 2 : 0);
  fake_close(f);
}

// An object that is to be finalized is whole: with what tables keep beside it.
ON_ALL_BACK_ENDS(table, what_is_finalized_keeps_its_entries_until_then) {
  for (int c = 0; c < CYCLES; c++) {
    OPEN_OR_SKIP(f, .back_end = back_end, .nursery = NURSERY, .verify = true);
    uint32_t table = table_new(f, GC_TABLE_KEYS, 0);
    pair *p = pair_new(f, 5), *value = pair_new(f, 6);
    value->left = pair_new(f, 7);
    put(f, table, p, value);
    EXPECT(gc_link_new(f->gc, GC_LINK_FINAL, (uintptr_t)p, 0, 0) != GC_NONE);
    for (int round = 0; round < 3; round++) {
      cycles[c](f);
    }
    gc_final final;
    cr_assert(gc_final_take(f->gc, &final));
    pair *found = get(f, table, (void *)final.object);
    cr_assert(found != NULL && found->key == 6 && found->left->key == 7);
    fake_cycle(f);
    cr_assert_eq(entries(f), 0);
    fake_close(f);
  }
}

ON_ALL_BACK_ENDS(table, large_and_pinned_objects_are_keys_and_values_too) {
  for (int c = 0; c < CYCLES; c++) {
    OPEN_OR_SKIP(f, .back_end = back_end, .nursery = NURSERY, .verify = true);
    uint32_t table = table_new(f, GC_TABLE_KEYS, 0);
    f->root[1] = fake_array(f, &type_byte, 200000);
    pair *pinned = pair_new(f, 7);
    f->word[0] = (uintptr_t)pinned;
    put(f, table, f->root[1], fake_array(f, &type_pointer, 20000));
    put(f, table, pinned, fake_array(f, &type_byte, 100000));
    for (int i = 0; i < 3; i++) {
      cycles[c](f);
      cr_assert(get(f, table, f->root[1]) != NULL && get(f, table, pinned) != NULL && pinned->key == 7);
    }
    f->root[1] = NULL;
    f->word[0] = 0;
    fake_cycle(f);
    cr_assert_eq(entries(f), 0);
    fake_close(f);
  }
}

// A list goes on where it stopped, whatever goes and comes meanwhile.
ON_ALL_BACK_ENDS(table, a_list_survives_changes) {
  OPEN_OR_SKIP(f, .back_end = back_end, .nursery = NURSERY, .verify = true);
  uint32_t table = table_new(f, GC_TABLE_KEYS, 0);
  for (long i = 0; i < 300; i++) {
    f->root[100 + i] = pair_new(f, i);
    put(f, table, f->root[100 + i], f->root[100 + i]);
  }
  gc_table_list list = {0}, stopped = {0};
  bool seen[300] = {false};
  gc_entry out[7];
  gc_table_list_some(f->gc, table, &stopped, out, 1); // goes on at the end
  long removed = 0;
  do {
    size_t count = gc_table_list_some(f->gc, table, &list, out, 7);
    for (size_t i = 0; i < count; i++) {
      pair *p = (pair *)out[i].key;
      cr_assert(out[i].value == out[i].key && !seen[p->key]);
      seen[p->key] = true;
    }
    for (size_t i = 0; i < count; i++) { // the one where it stopped, too
      long key = ((pair *)out[i].key)->key;
      gc_table_remove(f->gc, table, out[i].key);
      f->root[100 + key] = NULL;
      removed++;
    }
    fake_minor(f);
    if (removed > 150 && removed < 158) {
      fake_cycle(f);
    }
  } while (list.more);
  for (int i = 0; i < 300; i++) {
    cr_assert(seen[i]);
  }
  cr_assert(entries(f) == 0 && stopped.more);
  put(f, table, f->root[0], f->root[0]);
  cr_assert(gc_table_list_some(f->gc, table, &stopped, out, 7) == 1 && !stopped.more && entries(f) == 1);
  list = (gc_table_list){0};
  cr_assert(gc_table_list_some(f->gc, table, &list, out, 7) == 1 && out[0].key == (uintptr_t)f->root[0]);
  fake_close(f);
}

// However many there are, in however many tables; the index grows with them.
ON_TRAPPING_BACK_ENDS(table, a_flip_does_nothing_about_entries) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = (size_t)512 << 20);
  enum { MANY = 300000 };
  uint32_t tables[2] = {table_new(f, GC_TABLE_KEYS, 0), table_new(f, GC_TABLE_VALUES, 1)};
  for (int i = 0; i < MANY; i++) {
    pair *p = pair_new(f, i);
    p->left = f->root[2];
    f->root[2] = p;
    put(f, tables[i % 2], p, p);
  }
  uintptr_t before = at_load(&f->gc->weak.pairs[5].key);
  fake_flip(f);
  cr_assert_eq(at_load(&f->gc->weak.pairs[5].key), before);
  cr_assert_geq(at_load(&f->gc->weak.width), MANY);
  fake_finish(f);
  long i = MANY;
  for (pair *p = f->root[2]; p != NULL; p = p->left) {
    i--;
    cr_assert_eq(get(f, tables[i % 2], p), p);
  }
  cr_assert(i == 0 && entries(f) == MANY);
  f->root[2] = NULL;
  fake_cycle(f);
  cr_assert_eq(entries(f), 0);
  fake_close(f);
}

// More than a pause frees: the rest goes later.
ON_ALL_BACK_ENDS(table, a_large_table_that_dies_young_is_freed_bit_by_bit) {
  OPEN_OR_SKIP(f, .back_end = back_end, .nursery = NURSERY, .verify = true);
  enum { MANY = 3 * 4096 + 100 };
  fake_list(f, 1, MANY);
  minor_twice(f);
  uint32_t table = table_new(f, GC_TABLE_KEYS, 0);
  for (pair *p = f->root[1]; p != NULL; p = p->right) {
    put(f, table, p, p);
  }
  f->root[0] = NULL;
  uint64_t before = entries(f);
  for (int i = 0; i < 5; i++) {
    fake_minor(f);
    cr_assert(before - entries(f) <= 4096);
    before = entries(f);
  }
  cr_assert(before == 0 && !gc_table_is(f->gc, table) && fake_list_length(f, 1) == MANY);
  fake_close(f);
}
