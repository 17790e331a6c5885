// SPDX-License-Identifier: MIT
// in_place.c: cycles that leave blocks where they are, and as they are, while a service asks for it (gc.still).

#include <criterion/criterion.h>
#include "tests/runtime/saver.h"

enum { TREE = 16 }; // levels

static node *tree_make(int depth) {
  node *n = veil_new(self, node);
  n->key = depth;
  if (depth > 0) {
    n->left = tree_make(depth - 1);
    n->right = tree_make(depth - 1);
  }
  return n;
}

static long tree_check(const node *n, int depth) {
  EXPECT(n->key == depth && (depth == 0) == (n->left == NULL));
  return depth == 0 ? 1 : 1 + tree_check(n->left, depth - 1) + tree_check(n->right, depth - 1);
}

// A tree, and leaf objects of many sizes, some of them large. All have been through a cycle.
typedef struct things {
  node *tree;
  char **bytes;
} things;
enum { BYTES = 3000 };

static size_t bytes_of(int i) { return (size_t)(i % 300 == 0 ? 300000 : 16 + i * 7 % 2000); }

static void things_make(things *t) {
  t->tree = tree_make(TREE);
  t->bytes = (char **)veil_new_pointers(self, BYTES);
  for (int i = 0; i < BYTES; i++) {
    char *bytes = veil_new_bytes(self, bytes_of(i));
    memset(bytes, i, bytes_of(i));
    t->bytes[i] = bytes;
  }
  veil_collect(self);
  veil_collect(self);
}

static void things_check(const things *t) {
  EXPECT(tree_check(t->tree, TREE) == (2 << TREE) - 1);
  for (int i = 0; i < BYTES; i++) {
    EXPECT(t->bytes[i][0] == (char)i && t->bytes[i][bytes_of(i) - 1] == (char)i);
  }
}

// Of an inner node, so that no stack holds it.
static __attribute__((noinline)) uintptr_t place_of(const things *t) {
  uintptr_t place = ~(uintptr_t)t->tree->left->right->left->right;
  stack_clear();
  return place;
}

static size_t increment_take(saver *s) {
  instant_take(s, VEIL_INSTANT_DIRTY | VEIL_INSTANT_WATCH);
  size_t pages_written = s->figures.claimed + s->figures.at_once;
  instant_save(s);
  instant_check(s, true);
  return pages_written;
}

static void increments_are_small(const char *back_end, veil_generations generations) {
  INSTANT_START_OR_SKIP(.limit = 128 * MIB, .generations = generations, .verify = 1);
  static saver s;
  things t;
  saver_open(&s);
  things_make(&t);
  instant_take(&s, VEIL_INSTANT_WATCH);
  size_t all = s.figures.claimed + s.figures.at_once;
  instant_save(&s);
  veil_service_keep_in_place(s.service, true);
  for (int round = 0; round < 8; round++) { // epochs come round
    veil_collect(self);
    size_t written = increment_take(&s);
    cr_assert_leq(written, all / 20, "round %d: %zu of %zu pages", round, written, all);
    things_check(&t);
  }
  uintptr_t place = place_of(&t);
  veil_service_keep_in_place(s.service, false);
  veil_collect(self);
  uintptr_t between = place_of(&t); // what moves twice may come back to where it was
  veil_collect(self);
  cr_assert(between != place || place_of(&t) != place, "and then they move again");
  cr_assert_geq(increment_take(&s), all / 4);
  things_check(&t);
  saver_close(&s);
  end();
}

ON_TRAPPING_BACK_ENDS(in_place, an_increment_after_cycles_in_which_nothing_changed_is_small) { increments_are_small(back_end, VEIL_GENERATIONS_OFF); }

ON_TRAPPING_BACK_ENDS(in_place, an_increment_of_a_heap_with_a_nursery_is_small_too) { increments_are_small(back_end, VEIL_GENERATIONS_ON); }

// Each round replaces a part of the tree, and some buffers.
ON_ALL_BACK_ENDS(in_place, increments_are_exact_while_objects_are_born_and_die) {
  INSTANT_START_OR_SKIP(.limit = 128 * MIB, .verify = 1);
  static saver s;
  things t;
  saver_open(&s);
  things_make(&t);
  instant_take(&s, VEIL_INSTANT_WATCH);
  instant_save(&s);
  for (int round = 0; round < 24; round++) {
    veil_service_keep_in_place(s.service, round % 9 != 8);
    t.tree->left->right->left->right = tree_make(TREE - 4);
    for (int i = round; i < BYTES; i += 40) {
      char *bytes = i % 3 == 0 ? veil_new_bytes_raw(self, bytes_of(i)) : veil_new_bytes(self, bytes_of(i));
      memset(bytes, i, bytes_of(i));
      t.bytes[i] = bytes;
    }
    for (int i = 0; i <= round % 3; i++) {
      veil_collect(self);
      things_check(&t);
    }
    increment_take(&s);
  }
  saver_close(&s);
  veil_verify(self);
  end();
}

ON_TRAPPING_BACK_ENDS(in_place, sparse_blocks_are_emptied) {
  START_OR_SKIP(.back_end = back_end, .limit = 128 * MIB, .generations = VEIL_GENERATIONS_OFF, .verify = 1);
  veil_service *service = veil_service_open(heap, "keeps", &(veil_service_callbacks){0}, NULL);
  node *list = list_make(self, 200000);
  veil_collect(self);
  veil_collect(self);
  veil_service_keep_in_place(service, true);
  size_t before = stats_of(heap).live_bytes;
  for (node *n = list; n != NULL; n = n->right) { // one in ten stays
    for (int i = 0; i < 9 && n->right != NULL; i++) {
      n->right = n->right->right;
    }
  }
  for (int i = 0; i < 20; i++) { // what is dead holds what is dead, until all moves once
    veil_collect(self);
  }
  cr_assert_leq(stats_of(heap).live_bytes, before / 3, "%zu of %zu bytes", (size_t)stats_of(heap).live_bytes, before);
  long count = 0;
  for (node *n = list; n != NULL; n = n->right) {
    cr_assert_eq(n->key, count * 10);
    count++;
  }
  cr_assert_eq(count, 20000);
  veil_service_close(service);
  end();
}

// Dead objects of two blocks hold each other as long as both are scanned whole.
ON_TRAPPING_BACK_ENDS(in_place, rings_of_the_dead_go_when_too_much_survives) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .generations = VEIL_GENERATIONS_OFF);
  enum { RINGS = 20000, EACH = 3 };
  veil_service *service = veil_service_open(heap, "keeps", &(veil_service_callbacks){0}, NULL);
  node *live = NULL;
  veil_service_keep_in_place(service, true);
  for (int round = 0; round < 40; round++) {
    node *rings = NULL, *kept = NULL;
    for (long i = 0; i < RINGS; i++) {
      node *n = veil_new(self, node);
      n->right = rings;
      rings = n;
      if (i % EACH == 0) {
        node *k = veil_new(self, node);
        k->right = kept;
        kept = k;
      }
    }
    for (node *n = rings, *m = rings; n != NULL; n = n->right) { // across blocks, back and forth
      n->left = m;
      m = m->right != NULL && m->right->right != NULL ? m->right->right : rings;
    }
    live = kept;
    rings->key = round;
    veil_collect(self); // they settle
    cr_assert_eq(rings->key, round);
    rings = NULL;
    stack_clear();
    veil_collect(self);
  }
  long count = 0;
  for (const node *n = live; n != NULL; n = n->right) {
    count++;
  }
  cr_assert_eq(count, (RINGS + EACH - 1) / EACH);
  cr_assert_leq(stats_of(heap).live_bytes, 24 * MIB, "%zu bytes", (size_t)stats_of(heap).live_bytes);
  veil_service_close(service);
  end();
}

// Cycles until what lives is elsewhere.
static int cycles_until_moved(const things *t, int most) {
  uintptr_t place = place_of(t);
  for (int i = 1; i <= most; i++) {
    veil_collect(self);
    if (place_of(t) != place) {
      return i;
    }
  }
  return most + 1;
}

ON_TRAPPING_BACK_ENDS(in_place, all_moves_once_in_a_while_less_often_if_that_gains_little) {
  START_OR_SKIP(.back_end = back_end, .limit = 128 * MIB, .generations = VEIL_GENERATIONS_OFF, .verify = 1);
  veil_service *service = veil_service_open(heap, "keeps", &(veil_service_callbacks){0}, NULL);
  things t;
  things_make(&t);
  veil_service_keep_in_place(service, true);
  int first = cycles_until_moved(&t, 40), second = cycles_until_moved(&t, 80);
  cr_assert(first > 8 && first <= 40 && second > first && second <= 80, "after %d cycles, and %d", first, second);
  things_check(&t);
  veil_service_close(service);
  end();
}

// Gaps in blocks that stay are filled: what is born and dies again and again does not make the heap larger.
ON_TRAPPING_BACK_ENDS(in_place, gaps_are_filled) {
  START_OR_SKIP(.back_end = back_end, .limit = 256 * MIB, .generations = VEIL_GENERATIONS_OFF, .verify = 1);
  enum { SLOTS = 40000 };
  veil_service *service = veil_service_open(heap, "keeps", &(veil_service_callbacks){0}, NULL);
  node **table = (node **)veil_new_pointers(self, SLOTS);
  for (int i = 0; i < SLOTS; i++) {
    table[i] = list_make(self, 4);
  }
  veil_collect(self);
  veil_service_keep_in_place(service, true);
  size_t before = stats_of(heap).live_bytes;
  for (int round = 0; round < 60; round++) {
    for (int i = round % 3; i < SLOTS; i += 3) { // a third of what is dense
      table[i] = list_make(self, 4);
    }
    veil_collect(self);
    cr_assert_leq(stats_of(heap).live_bytes, before * 2, "round %d: %zu of %zu bytes", round, (size_t)stats_of(heap).live_bytes, before);
  }
  for (int i = 0; i < SLOTS; i++) {
    cr_assert_eq(list_check(table[i]), 4);
  }
  veil_service_close(service);
  end();
}
