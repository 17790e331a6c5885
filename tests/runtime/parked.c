// SPDX-License-Identifier: MIT
// parked.c: pages whose contents are away while cycles go on (gc.parked): no cycle asks for them, and all is right when they come back.

#include <criterion/criterion.h>
#include "tests/runtime/parker.h"
#include "tests/runtime/things.h"

static parker p;

enum { DEPTH = 13 };

static node *tree_make(int depth, long key) {
  node *n = veil_new(self, node);
  n->key = key;
  if (depth > 0) {
    n->left = tree_make(depth - 1, 2 * key);
    n->right = tree_make(depth - 1, 2 * key + 1);
  }
  return n;
}

static long tree_check(const node *n, int depth, long key) {
  EXPECT(n->key == key && (depth == 0) == (n->left == NULL) && (depth == 0) == (n->right == NULL));
  return depth == 0 ? 1 : 1 + tree_check(n->left, depth - 1, 2 * key) + tree_check(n->right, depth - 1, 2 * key + 1);
}

// Named roots lead to everything, so that no stack has to.
static node **cold, **hot;

static bool parked_start(const char *back_end, veil_generations generations, bool control) {
  if (!start((veil_options){.back_end = back_end, .limit = 128 * MIB, .generations = generations, .verify = 2})) {
    return false;
  }
  static node *roots[2];
  memset(roots, 0, sizeof roots);
  cold = &roots[0];
  hot = &roots[1];
  veil_add_roots(heap, (void *)roots, 2);
  parker_open(&p, heap, control);
  return true;
}

#define PARKED_START_OR_SKIP(GENERATIONS, CONTROL)                                                                     \
  if (!parked_start(back_end, GENERATIONS, CONTROL)) {                                                                 \
    cr_skip_test("the back end does not work here");                                                                   \
  }

static void parked_end(void) {
  parker_close(&p);
  veil_remove_roots(heap, (void *)cold);
  end();
}

static __attribute__((noinline)) void cold_make(void) {
  *cold = tree_make(DEPTH, 1);
  veil_collect(self);
  veil_collect(self); // blocks are full, and have been through a cycle
}

static __attribute__((noinline)) void hot_make(void) { *hot = tree_make(DEPTH, 1); }

static __attribute__((noinline)) size_t all_take(void) {
  stack_clear();
  return parker_take_range(&p, 0, p.pages.count);
}

static __attribute__((noinline)) void collect(int times) {
  for (int i = 0; i < times; i++) {
    stack_clear();
    veil_collect(self);
  }
}

// ---- A cycle does without the contents.

static void no_cycle_asks(const char *back_end, veil_generations generations) {
  PARKED_START_OR_SKIP(generations, false);
  cold_make();
  size_t taken = all_take();
  cr_assert_gt(taken, (2 << DEPTH) * 40 / p.pages.page_size * 9 / 10, "%zu pages", taken);
  hot_make();
  for (int cycle = 0; cycle < 7; cycle++) { // epochs come round
    collect(1);
    cr_assert_eq(parker_absents(&p), 0, "cycle %d", cycle);
  }
  cr_assert_eq(tree_check(*hot, DEPTH, 1), (2 << DEPTH) - 1);
  cr_assert_eq(parker_absents(&p), 0);
  cr_assert_geq(veil_heap_parks(heap).scanned, 7 * taken * 9 / 10);
  cr_assert_eq(veil_heap_parks(heap).misfits, 0);
  cr_assert_eq(tree_check(*cold, DEPTH, 1), (2 << DEPTH) - 1);
  cr_assert_gt(parker_absents(&p), taken * 9 / 10);
  cr_assert_eq(atomic_load(&p.unparked), parker_absents(&p));
  cr_assert_eq(veil_heap_parks(heap).pages + parker_absents(&p) + atomic_load(&p.discarded), taken);
  collect(4);
  cr_assert_eq(tree_check(*cold, DEPTH, 1), (2 << DEPTH) - 1);
  parked_end();
}

ON_TRAPPING_BACK_ENDS(parked, no_full_cycle_asks_for_the_contents_of_parked_pages) { no_cycle_asks(back_end, VEIL_GENERATIONS_OFF); }
ON_TRAPPING_BACK_ENDS(parked, nor_does_one_with_generations) { no_cycle_asks(back_end, VEIL_GENERATIONS_ON); }

ON_TRAPPING_BACK_ENDS(parked, a_control_without_notes_has_the_contents_put_back_by_a_cycle) {
  PARKED_START_OR_SKIP(VEIL_GENERATIONS_OFF, true);
  cold_make();
  size_t taken = all_take();
  cr_assert_gt(taken, 100);
  veil_collect(self);
  cr_assert_gt(parker_absents(&p), taken / 2);
  cr_assert_eq(tree_check(*cold, DEPTH, 1), (2 << DEPTH) - 1);
  parked_end();
}
