// SPDX-License-Identifier: MIT
// defer.c: marks that traps put off (gc.deferred).

#include <criterion/criterion.h>
#include "gc/defer.h"
#include "gc/links.h"
#include "gc/table.h"
#include "tests/gc/fake.h"

enum { COUNT = 40000, LIMIT = 256 << 20, PAGE = 512 /* slots of one */ };

static uintptr_t was[2 * COUNT];

static pair *at(const fake *f, size_t i) { return ((pair **)f->root[0])[i]; }

static void pairs_make(fake *f, size_t from, size_t to) {
  for (size_t i = from; i < to; i++) {
    pair *p = fake_new(f, &type_pair);
    cr_assert_neq(p, NULL);
    p->key = (long)i;
    ((pair **)f->root[0])[i] = p;
  }
}

// How many of [from, to) have moved since the last call.
static size_t moved(const fake *f, size_t from, size_t to) {
  size_t count = 0;
  for (size_t i = from; i < to; i++) {
    if (at(f, i) != NULL) {
      cr_assert_eq(at(f, i)->key, (long)i);
      count += (uintptr_t)at(f, i) != was[i];
      was[i] = (uintptr_t)at(f, i);
    }
  }
  return count;
}

// `count` pairs behind the table in root[0], which the next flip spares.
static void table_dense(fake *f, size_t count) {
  f->spares = true;
  f->root[0] = fake_array(f, &type_pointer, count);
  pairs_make(f, 0, count);
  gc_empty_all(f->gc);
  fake_cycle(f);
}

static bool is_marked(const fake *f, const pair *p) { return gc_header_epoch(fake_object_header(f, p)) == f->gc->epoch; }
static bool all_done(const fake *f) { return gc_scan_finished(f->gc) && (uint32_t)at_load(&f->gc->deferred_full) == 0; }

ON_TRAPPING_BACK_ENDS(defer, a_trap_leaves_marking_to_the_scanners) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  table_dense(f, COUNT);
  moved(f, 0, COUNT);
  fake_flip(f);
  cr_assert(f->gc->defers);
  pair *p = at(f, COUNT / 2); // traps
  cr_assert_eq(at_load(&f->gc->deferred_full_count), 1);
  cr_assert(!is_marked(f, p));
  cr_assert(fake_is_veiled(f, p), "what is seen is veiled");
  cr_assert(!gc_scan_finished(f->gc));
  fake_finish(f);
  cr_assert(all_done(f));
  cr_assert_leq(moved(f, 0, COUNT), 1500); // what the table's first page led to had not been dense
  fake_close(f);
}

// More pages than there are buffers: the rest is marked at once.
ON_TRAPPING_BACK_ENDS(defer, buffers_may_run_out) {
  enum { MANY = (GC_DEFERRED + 100) * PAGE };
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  table_dense(f, MANY);
  for (int cycle = 0; cycle < 2; cycle++) {
    fake_flip(f);
    for (size_t i = 0; i < MANY; i += PAGE) {
      cr_assert_eq(at(f, i)->key, (long)i);
    }
    cr_assert_leq(at_load(&f->gc->deferred_full_count), GC_DEFERRED);
    cr_assert(cycle != 0 || at_load(&f->gc->deferred_full_count) > GC_DEFERRED / 2);
    fake_finish(f);
    cr_assert(all_done(f));
  }
  for (size_t i = 0; i < MANY; i++) {
    cr_assert_eq(at(f, i)->key, (long)i);
  }
  fake_close(f);
}

// What was put down lives, though the mutator has taken it off its page meanwhile.
ON_TRAPPING_BACK_ENDS(defer, what_was_seen_lives) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  table_dense(f, COUNT);
  for (size_t i = 0; i < COUNT; i += 3) {
    at(f, i)->left = at(f, (i + 7777) % COUNT);
  }
  fake_flip(f);
  for (size_t k = 1; k < 60; k++) {
    size_t i = k * PAGE;
    f->root[k] = at(f, i);
    for (size_t j = 0; j < PAGE; j++) {
      ((pair **)f->root[0])[i + j] = NULL;
    }
  }
  fake_finish(f);
  for (size_t k = 1; k < 60; k++) {
    pair *p = f->root[k];
    cr_assert_eq(p->key, (long)k * PAGE);
    cr_assert(p->left == NULL || p->left->key == (p->key + 7777) % COUNT);
  }
  fake_cycle(f);
  for (size_t k = 1; k < 60; k++) {
    cr_assert_eq(((pair *)f->root[k])->key, (long)k * PAGE);
  }
  fake_close(f);
}

// What the flip has copied has left its block, though all others stay.
ON_TRAPPING_BACK_ENDS(defer, what_roots_hold_is_forwarded_at_once) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  table_dense(f, COUNT);
  for (size_t k = 1; k < 40; k++) {
    f->root[k] = at(f, k * 1000);
  }
  f->word[0] = (uintptr_t)at(f, 500); // stays, and carries the epoch
  moved(f, 0, COUNT);
  fake_flip(f);
  for (size_t k = 1; k < 40; k++) {
    cr_assert_eq(at(f, k * 1000), f->root[k]);
    cr_assert_neq((uintptr_t)f->root[k], was[k * 1000]);
  }
  cr_assert_eq((uintptr_t)at(f, 500), f->word[0]);
  fake_finish(f);
  moved(f, 0, COUNT);
  fake_close(f);
}

ON_TRAPPING_BACK_ENDS(defer, weak_references_wait_for_what_was_put_off) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  table_dense(f, COUNT);
  uint32_t weak[30];
  for (size_t k = 0; k < 30; k++) {
    weak[k] = gc_link_new(f->gc, GC_LINK_WEAK, (uintptr_t)at(f, k * 1000 + 3), 0, 0);
  }
  fake_flip(f);
  for (size_t k = 0; k < 30; k++) {
    f->root[k + 1] = at(f, k * 1000 + 3);
    ((pair **)f->root[0])[k * 1000 + 3] = NULL;
  }
  fake_finish(f);
  for (size_t k = 0; k < 30; k++) {
    cr_assert_eq((void *)gc_link_read(f->gc, weak[k]), f->root[k + 1]);
  }
  fake_close(f);
}

// Who holds a key finds what is with it, whether that is marked or not.
ON_TRAPPING_BACK_ENDS(defer, weak_tables_know_keys_that_are_not_marked) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT);
  table_dense(f, COUNT);
  uint32_t table = gc_table_new(f->gc, GC_TABLE_KEYS, (uintptr_t)f->root[0]);
  for (size_t k = 0; k < 30; k++) {
    cr_assert(gc_table_put(f->gc, table, (uintptr_t)at(f, k * PAGE), (uintptr_t)at(f, k * PAGE + 1)));
  }
  for (int cycle = 0; cycle < 3; cycle++) {
    fake_flip(f);
    for (size_t k = 0; k < 30; k++) {
      uintptr_t key = (uintptr_t)at(f, k * PAGE);
      cr_assert_eq((pair *)gc_table_get(f->gc, table, key), at(f, k * PAGE + 1));
      cr_assert(gc_table_put(f->gc, table, key, (uintptr_t)at(f, k * PAGE + 2)));
      cr_assert_eq((pair *)gc_table_get(f->gc, table, key), at(f, k * PAGE + 2));
      cr_assert(k % 3 != 0 || gc_table_remove(f->gc, table, key));
      cr_assert(k % 3 != 0 || gc_table_get(f->gc, table, key) == 0);
      cr_assert(k % 3 != 0 || gc_table_put(f->gc, table, key, (uintptr_t)at(f, k * PAGE + 2)));
    }
    fake_finish(f);
    cr_assert_eq(at_load(&f->gc->weak.count), 30);
    for (size_t k = 0; k < 30; k++) {
      cr_assert_eq((pair *)gc_table_get(f->gc, table, (uintptr_t)at(f, k * PAGE)), at(f, k * PAGE + 2));
      cr_assert(gc_table_put(f->gc, table, (uintptr_t)at(f, k * PAGE), (uintptr_t)at(f, k * PAGE + 1)));
    }
  }
  fake_close(f);
}

// A minor cycle looks at what is marked only.
ON_TRAPPING_BACK_ENDS(defer, not_while_there_are_generations) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = LIMIT, .nursery = 1 << 20);
  table_dense(f, COUNT);
  fake_flip(f);
  cr_assert(f->gc->spares && at_load(&f->gc->young_on), "else this shows nothing");
  cr_assert(!f->gc->defers);
  for (size_t i = 0; i < COUNT; i += PAGE) {
    at(f, i)->left = fake_new(f, &type_pair);
  }
  fake_minor(f);
  fake_finish(f);
  for (size_t i = 0; i < COUNT; i += PAGE) {
    cr_assert_eq(at(f, i)->left->key, 0);
  }
  fake_close(f);
}
