// SPDX-License-Identifier: MIT
// parked.c: pages whose contents are away while cycles go on (gc.parked): no cycle asks for them, and all is right when they come back.

#include <criterion/criterion.h>
#include "tests/runtime/world.h" // first: parker.h
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

// In a thread that ends, so that no stack holds anything of it.
static void *tree_main(void *unused) {
  veil_thread *ours = self;
  self = veil_attach(heap);
  *cold = tree_make(DEPTH, 1);
  veil_detach(self);
  self = ours;
  return unused;
}

static __attribute__((noinline)) void cold_make(void) {
  veil_block_begin(self);
  pthread_t thread = thread_start(tree_main, NULL);
  pthread_join(thread, NULL);
  veil_block_end(self);
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

// ---- Objects of all kinds.

static void things_through_cycles(const char *back_end, veil_generations generations) {
  PARKED_START_OR_SKIP(generations, false);
  things_make(self);
  collect(2);
  unsigned seed = 1;
  for (int round = 0; round < 12; round++) { // all, and then others of them each time, so that cells reach from pages that are here into some that are not
    for (size_t page = 0; page < p.pages.count; page++) {
      seed = seed * 1103515245 + 12345;
      if (round % 4 == 0 || (seed >> 16) % 2 == 0) {
        parker_take(&p, page);
      }
    }
    unsigned long before = parker_absents(&p);
    collect(1 + round % 3);
    cr_assert_eq(parker_absents(&p), before, "round %d: %lu", round, parker_absents(&p) - before);
    if (round % 2 != 0) {
      things_check(self, true);
      collect(round % 4 == 1);
    }
  }
  cr_assert_gt(atomic_load(&p.taken), 500);
  things_check(self, true);
  parked_end();
}

ON_TRAPPING_BACK_ENDS(parked, objects_of_all_kinds_are_right_after_cycles_without_their_contents) { things_through_cycles(back_end, VEIL_GENERATIONS_OFF); }
ON_TRAPPING_BACK_ENDS(parked, and_so_they_are_with_generations) { things_through_cycles(back_end, VEIL_GENERATIONS_ON); }

// A thread's buffer for allocation may be a root by its address, and so hold what was born first or last in it.
static __attribute__((noinline)) node *young_make(void) {
  thing_node(self, 0);
  node *n = thing_node(self, 4711);
  thing_node(self, 0);
  return n;
}

// What would move without the pages is moved while others of them are away.
ON_TRAPPING_BACK_ENDS(parked, what_parked_pages_refer_to_moves_and_is_found) {
  PARKED_START_OR_SKIP(VEIL_GENERATIONS_OFF, false);
  cold_make();
  for (node *n = *cold; n != NULL; n = n->left) {
    n->more = n->left == NULL;
  }
  node *leaf = *cold;
  for (; leaf->left != NULL; leaf = leaf->left) {
  }
  leaf->left = young_make(); // born since: its block is not parked
  size_t page = parker_page(&p, leaf);
  uintptr_t volatile was = ~(uintptr_t)leaf->left; // volatile, or the compiler keeps the reference
  leaf = NULL;
  all_take();
  cr_assert_eq(atomic_load(&p.state[page]), PAGE_AWAY);
  collect(3);
  cr_assert_eq(parker_absents(&p), 0);
  for (leaf = *cold; leaf->left->key != 4711; leaf = leaf->left) {
  }
  cr_assert_neq(~(uintptr_t)leaf->left, was, "it has not moved");
  parked_end();
}

// ---- Death on parked pages.

static __attribute__((noinline)) void cold_drop(void) {
  *cold = NULL;
  stack_clear();
}

ON_TRAPPING_BACK_ENDS(parked, pages_on_which_nothing_lives_are_discarded) {
  PARKED_START_OR_SKIP(VEIL_GENERATIONS_OFF, false);
  cold_make();
  size_t taken = all_take();
  cold_drop();
  collect(3);
  cr_assert_eq(parker_absents(&p), 0);
  cr_assert_geq(atomic_load(&p.discarded), taken * 9 / 10, "%lu of %zu", atomic_load(&p.discarded), taken);
  cr_assert_lt(stats_of(heap).live_bytes, 1 * MIB);
  parked_end();
}

// Each block keeps some pages on which something lives, so that what dies does so page by page. Rows fill an eighth of a page each, and lie in order, whichever way the collector goes from object to object: EVERY of them are a
// little less than a block, of which TOGETHER live.
enum { ROWS = 4000, SLOTS = 60, EVERY = 120, TOGETHER = 8 };

static __attribute__((noinline)) void rows_make(void) {
  *cold = (node *)veil_new_pointers(self, ROWS);
  thing_name(self, "dead", 0, veil_new_pointers(self, ROWS));
  for (int i = 0; i < ROWS; i++) {
    void **row = veil_new_pointers(self, SLOTS);
    ((void ***)*cold)[i] = row;
    row[i % SLOTS] = thing_node(self, i);
    ((veil_weak **)thing_get(self, "dead", 0))[i] = veil_weak_new(self, row);
  }
}

static __attribute__((noinline)) void rows_drop(void) {
  for (int i = 0; i < ROWS; i++) {
    if (i % EVERY >= TOGETHER) {
      ((void ***)*cold)[i] = NULL;
    }
  }
}

ON_TRAPPING_BACK_ENDS(parked, a_page_dies_though_its_block_lives_and_holds_nothing_from_then_on) {
  PARKED_START_OR_SKIP(VEIL_GENERATIONS_OFF, false);
  rows_make();
  collect(2);
  size_t taken = all_take();
  rows_drop();
  unsigned long before = parker_absents(&p);
  collect(3);
  cr_assert_eq(parker_absents(&p), before, "a cycle has asked");
  cr_assert_gt(atomic_load(&p.discarded), taken * 7 / 10, "%lu of %zu", atomic_load(&p.discarded), taken);
  for (int i = 0; i < ROWS; i++) {
    bool lives = veil_weak_get(self, ((veil_weak **)thing_get(self, "dead", 0))[i]) != NULL;
    cr_assert_eq(lives, i % EVERY < TOGETHER, "row %d", i);
  }
  for (int i = 0; i < ROWS; i++) {
    void **row = ((void ***)*cold)[i];
    cr_assert(i % EVERY >= TOGETHER ? row == NULL : ((node *)row[i % SLOTS])->key == i);
  }
  collect(2);
  parked_end();
}

// ---- Roots.

static void *volatile inner; // an ambiguous root: outside of where roots are looked for, but copied to the stack

static __attribute__((noinline)) veil_weak *inner_find(void) {
  node *n = *cold;
  for (int i = 0; i < 6; i++) {
    node *above = n;
    n = n->right;
    above->left = above->right = NULL; // what lies beside it would hold all it holds, dead as it is
  }
  inner = (char *)n + ((uintptr_t)n % 64 == 0 ? 9 : 31);
  return veil_weak_new(self, n);
}

ON_TRAPPING_BACK_ENDS(parked, a_word_on_the_stack_that_points_into_a_parked_page_holds_the_object_and_what_that_holds) {
  PARKED_START_OR_SKIP(VEIL_GENERATIONS_OFF, false);
  cold_make();
  veil_weak *volatile weak = inner_find();
  thing_name(self, "weak", 0, weak);
  size_t taken = all_take();
  cr_assert(parker_is_away(&p, inner));
  char *volatile word = inner;
  cold_drop();
  inner = NULL;
  collect(3);
  cr_assert_eq(parker_absents(&p), 0);
  // Notes do not say which object refers to what, so what is dead on the pages of the few that live holds what it refers to, and so on: how much that is, is a matter of who has copied what, and when (from a quarter of the pages to a half).
  cr_assert_gt(atomic_load(&p.discarded), taken / 4, "%lu of %zu", atomic_load(&p.discarded), taken);
  node *n = veil_weak_get(self, thing_get(self, "weak", 0));
  cr_assert(n != NULL && (char *)word > (char *)n && (char *)word < (char *)(n + 1));
  cr_assert_eq(parker_absents(&p), 0, "a weak reference is read without its object");
  cr_assert_eq(tree_check(n, DEPTH - 6, (2 << 6) - 1), (2 << (DEPTH - 6)) - 1);
  word = NULL;
  parked_end();
}

static long finalized;
static void on_final(veil_thread *t, void *object, void *data) {
  EXPECT(tree_check(object, DEPTH - 1, 3) == (2 << (DEPTH - 1)) - 1);
  finalized++;
}

ON_TRAPPING_BACK_ENDS(parked, handles_and_finalizers_hold_what_is_parked) {
  PARKED_START_OR_SKIP(VEIL_GENERATIONS_OFF, false);
  cold_make();
  veil_handle *handle = veil_handle_new(self, (*cold)->left);
  veil_finalize(self, (*cold)->right, on_final, NULL);
  (*cold)->right = NULL; // what lies beside the other half would hold it, dead as it is
  all_take();
  cold_drop();
  collect(2);
  cr_assert_eq(parker_absents(&p), 0);
  cr_assert_eq(veil_finalizers_run(self, 10), 1);
  cr_assert(finalized == 1 && parker_absents(&p) > 0);
  cr_assert_eq(tree_check(veil_handle_get(self, handle), DEPTH - 1, 2), (2 << (DEPTH - 1)) - 1);
  veil_handle_drop(self, handle);
  parked_end();
}

// ---- Beside other services.

static unsigned long saved_calls, saved_wrong;
static char *saved_copy; // pages as they were when they were claimed
static void on_saved(void *arg, size_t page) {
  saved_calls++;
  saved_wrong += memcmp(saved_copy + page * p.pages.page_size, parker_alias(&p, page), p.pages.page_size) != 0;
}

ON_TRAPPING_BACK_ENDS(parked, a_page_that_is_to_be_saved_is_saved_as_it_was_before_what_it_refers_to_has_moved) {
  PARKED_START_OR_SKIP(VEIL_GENERATIONS_OFF, false);
  static const veil_service_callbacks calls = {.unsaved = on_saved};
  veil_service *saver = veil_service_open(heap, "saver", &calls, NULL);
  cold_make();
  all_take(); // headers carry nothing from here on
  tree_check(*cold, DEPTH, 1);
  (*cold)->left->left->left = NULL; // page by page, something dies and something moves
  (*cold)->right->right->right = thing_node(self, 1);
  saved_copy = parker_map(p.pages.count * p.pages.page_size);
  stack_clear();
  size_t claimed = 0;
  for (size_t page = 0; page < p.pages.count; page++) {
    veil_service_settle(p.service, page, VEIL_ABSENT); // what is not the tree's is still away
    if (veil_page_in_use(heap, page) && veil_service_claim(saver, page, VEIL_UNSAVED) == VEIL_OK) {
      memcpy(saved_copy + page * p.pages.page_size, parker_alias(&p, page), p.pages.page_size);
      claimed++;
    }
  }
  size_t taken = all_take();
  cr_assert(claimed > 100 && taken > 100 && saved_calls == 0);
  collect(3);
  cr_assert_gt(veil_heap_parks(heap).saved, 0);
  cr_assert_gt(saved_calls, 0);
  veil_service_close(saver);
  cr_assert_eq(saved_wrong, 0);
  cr_assert_geq(saved_calls, claimed * 9 / 10);
  parked_end();
}

// What is saved of a page that is away is what it holds when it is back, whatever is on it; and until then it is away.
static char *saved_pages;
static void on_saved_back(void *arg, size_t page) { saved_wrong += memcmp(saved_pages + page * p.pages.page_size, parker_alias(&p, page), p.pages.page_size) != 0; }

static void saved_away(const char *back_end, veil_generations generations) {
  PARKED_START_OR_SKIP(generations, false);
  static const veil_service_callbacks calls = {.unsaved = on_saved};
  veil_service *saver = veil_service_open(heap, "saver", &calls, NULL);
  saved_pages = parker_map(p.pages.count * p.pages.page_size);
  things_make(self);
  collect(2);
  size_t saved = 0;
  for (int round = 0; round < 6; round++) {
    all_take();
    collect(1 + round % 3); // what they refer to moves, in notes
    unsigned long before = parker_absents(&p), copied = veil_heap_parks(heap).copied;
    for (size_t page = 0; page < p.pages.count; page++) {
      char *to = saved_pages + page * p.pages.page_size;
      if (!veil_page_in_use(heap, page) || atomic_load(&p.state[page]) != PAGE_AWAY) {
        continue;
      }
      EXPECT(!veil_page_save(saver, page, to)); // nothing is to be saved
      cr_assert_eq(veil_service_claim(saver, page, VEIL_UNSAVED), VEIL_OK);
      p.copies = false;
      EXPECT(!veil_page_save(saver, page, to) && veil_service_next(saver, page, VEIL_UNSAVED) == page);
      p.copies = true;
      EXPECT(veil_page_save(saver, page, to) && veil_service_next(saver, page, VEIL_UNSAVED) != page);
      EXPECT(!veil_page_save(saver, page, to) && atomic_load(&p.state[page]) == PAGE_AWAY);
      saved++;
    }
    cr_assert_eq(parker_absents(&p), before);
    cr_assert(saved_calls == 0 && veil_heap_parks(heap).copied - copied == saved && saved > 100);
    for (size_t page = 0; page < p.pages.count; page++) {
      if (atomic_load(&p.state[page]) == PAGE_AWAY) {
        veil_service_settle(p.service, page, VEIL_ABSENT);
        on_saved_back(NULL, page);
      }
    }
    cr_assert_eq(saved_wrong, 0, "round %d", round);
    saved = 0;
    things_check(self, true);
  }
  veil_service_close(saver);
  parked_end();
}

ON_TRAPPING_BACK_ENDS(parked, what_is_saved_of_a_page_that_stays_away_is_what_it_holds) { saved_away(back_end, VEIL_GENERATIONS_OFF); }
ON_TRAPPING_BACK_ENDS(parked, and_so_it_is_with_generations) { saved_away(back_end, VEIL_GENERATIONS_ON); }

static size_t news;
static size_t news_page;
static void on_news(void *arg, size_t page) { news += page == news_page; }

ON_TRAPPING_BACK_ENDS(parked, a_reference_that_changes_in_the_notes_is_news_to_who_watches_writes) {
  PARKED_START_OR_SKIP(VEIL_GENERATIONS_OFF, false);
  static const veil_service_callbacks calls = {0};
  veil_service *watcher = veil_service_open(heap, "watcher", &calls, NULL);
  cold_make();
  node *leaf = *cold;
  for (; leaf->left != NULL; leaf = leaf->left) {
  }
  leaf->left = young_make();
  news_page = parker_page(&p, leaf);
  leaf = NULL;
  all_take();
  veil_service_dirty(watcher, on_news, NULL);
  news = 0;
  veil_service_dirty(watcher, on_news, NULL);
  cr_assert_eq(news, 0);
  collect(1);
  veil_service_dirty(watcher, on_news, NULL);
  cr_assert_eq(news, 1);
  cr_assert_eq(parker_absents(&p), 0);
  veil_service_close(watcher);
  parked_end();
}

// ---- The notes' memory.

ON_TRAPPING_BACK_ENDS(parked, notes_are_moved_by_their_owner) {
  PARKED_START_OR_SKIP(VEIL_GENERATIONS_OFF, false);
  cold_make();
  all_take();
  char *other = parker_map(p.pages.count * p.pages.page_size);
  size_t moved = 0;
  for (size_t page = 0; page < p.pages.count; page++) {
    if (veil_page_parked_at(p.service, page, other + page * p.pages.page_size)) {
      parker_notes_spoil(&p, page);
      moved++;
    }
  }
  cr_assert_eq(moved, veil_heap_parks(heap).pages);
  collect(2);
  cr_assert_eq(parker_absents(&p), 0);
  cr_assert_eq(tree_check(*cold, DEPTH, 1), (2 << DEPTH) - 1);
  cr_assert_not(veil_page_parked_at(p.service, parker_page(&p, *cold), other));
  parked_end();
}

// ---- What cannot be parked.

static uint64_t refused(veil_park_refusal why) { return veil_heap_parks(heap).refused[why]; }

static bool refuses(const void *object, veil_park_refusal why) {
  uint64_t before = refused(why);
  bool taken = parker_take(&p, parker_page(&p, object));
  return !taken && refused(why) == before + 1;
}

// An inner node on a page that can be parked, and is here. Nobody has filled gaps beside it.
static node *some_find(node *n) {
  if (n->left == NULL) {
    return NULL;
  }
  if (parker_take(&p, parker_page(&p, n))) {
    n->more++;
    return n;
  }
  node *found = some_find(n->left);
  return found != NULL ? found : some_find(n->right);
}

// Numbers 16, 32 ... in the nodes of the tree that lie on the page; SIZE_MAX: on all. How many.
static unsigned numbers_set(node *n, size_t page, unsigned before) {
  if (n == NULL) {
    return before;
  }
  if (page == SIZE_MAX || parker_page(&p, n) == page) {
    n->more = 16 * (long)(before++ % 63 + 1);
  }
  return numbers_set(n->right, page, numbers_set(n->left, page, before));
}

static unsigned numbers_check(const node *n, unsigned before) {
  if (n == NULL) {
    return before;
  }
  cr_assert_eq(n->more, 16 * (long)(before % 63 + 1));
  return numbers_check(n->right, numbers_check(n->left, before + 1));
}

// What stands for a reference is chosen among what the page does not hold.
ON_TRAPPING_BACK_ENDS(parked, a_number_that_could_stand_for_a_reference_stays_a_number) {
  PARKED_START_OR_SKIP(VEIL_GENERATIONS_OFF, false);
  cold_make();
  unsigned nodes = numbers_set(*cold, SIZE_MAX, 0);
  for (int round = 0; round < 2; round++) {
    p.fills = round;
    size_t taken = all_take();
    collect(2);
    cr_assert_eq(numbers_check(*cold, 0), nodes);
    cr_assert_eq(tree_check(*cold, DEPTH, 1), (2 << DEPTH) - 1);
    cr_assert(taken > 0);
  }
  parked_end();
}

static __attribute__((noinline)) void frame_make(void) {
  thing_node(self, 0); // as in young_make
  thing_name(self, "frame", 0, veil_new_flexible(self, thing_frame, 50));
  thing_node(self, 0);
}

ON_TRAPPING_BACK_ENDS(parked, what_cannot_be_parked_is_refused_with_a_reason) {
  PARKED_START_OR_SKIP(VEIL_GENERATIONS_OFF, false);
  node *fresh = thing_node(self, 1);
  cr_assert(refuses(fresh, VEIL_PARK_FRESH));
  void **large = veil_new_pointers(self, 100000);
  cr_assert(refuses(large, VEIL_PARK_HEAD));
  cr_assert(parker_take(&p, parker_page(&p, &large[50000])));
  cold_make();
  frame_make();
  collect(2);
  thing_frame *frame = thing_get(self, "frame", 0);
  cr_assert(refuses(frame, VEIL_PARK_TRACED));
  node *some = some_find(*cold);
  cr_assert_not_null(some);
  node *volatile left = some->left;
  size_t page = parker_page(&p, some);
  cr_assert_eq(veil_service_claim(p.service, page, VEIL_ABSENT), VEIL_OK);
  atomic_store(&p.state[page], PAGE_PACKING);
  uint64_t before = refused(VEIL_PARK_ROOM);
  for (size_t room = 0; room < 64; room += 8) {
    cr_assert_eq(veil_page_park(p.service, page, parker_notes(&p, page), room), 0);
  }
  cr_assert_eq(refused(VEIL_PARK_ROOM), before + 8);
  size_t bytes = veil_page_park(p.service, page, parker_notes(&p, page), p.pages.page_size);
  cr_assert(bytes > 64);
  cr_assert_eq(veil_page_park(p.service, page, parker_notes(&p, page), p.pages.page_size), 0); // it is
  cr_assert_eq(some->left, left);
  cr_assert_eq(veil_page_park(p.service, page, parker_notes(&p, page), p.pages.page_size), 0); // it is not the service's any more
  cr_assert_geq(numbers_set(*cold, page, 0), 63);
  cr_assert(refuses(some, VEIL_PARK_TOKEN));
  cr_assert_eq(tree_check(*cold, DEPTH, 1), (2 << DEPTH) - 1);
  parked_end();
}

// Where a mutator fills gaps nothing is parked, and where something is it does not.
ON_TRAPPING_BACK_ENDS(parked, gaps_beside_parked_pages_are_left_alone) {
  PARKED_START_OR_SKIP(VEIL_GENERATIONS_OFF, false);
  cold_make();
  for (node *n = *cold; n->left != NULL; n = n->left) { // gaps
    n->right = n->left->right;
  }
  collect(2);
  size_t taken = all_take();
  for (int round = 0; round < 5; round++) {
    *hot = list_make(self, 100000);
    collect(1);
    cr_assert_eq(list_check(*hot), 100000);
  }
  cr_assert(taken > 50 && parker_absents(&p) == 0);
  parked_end();
}

ON_TRAPPING_BACK_ENDS(parked, contents_and_references_are_put_back_by_one_call) {
  PARKED_START_OR_SKIP(VEIL_GENERATIONS_ON, false);
  p.fills = true;
  cold_make();
  size_t taken = all_take();
  hot_make();
  collect(3);
  cr_assert_eq(tree_check(*cold, DEPTH, 1), (2 << DEPTH) - 1);
  cr_assert_gt(parker_absents(&p), taken * 9 / 10);
  cr_assert_eq(atomic_load(&p.filled), parker_absents(&p));
  cr_assert_eq(atomic_load(&p.unparked), 0);
  cr_assert_eq(veil_heap_parks(heap).pages + parker_absents(&p) + atomic_load(&p.discarded), taken);
  collect(4);
  cr_assert_eq(tree_check(*cold, DEPTH, 1), (2 << DEPTH) - 1);
  parked_end();
}

DIES(parked, filling_outside_of_the_callback_is_noticed, "veil_page_fill: service parker: called outside of the callback `absent` for page 1") {
  parked_start("mprotect", VEIL_GENERATIONS_OFF, false);
  veil_page_fill(p.service, 1, p.contents);
}

DIES(parked, a_service_that_forgets_to_put_the_references_back_is_noticed, "has not put its references back (veil_page_unpark)") {
  parked_start("mprotect", VEIL_GENERATIONS_OFF, false);
  cold_make();
  all_take();
  p.forgets = true;
  (*cold)->more = 1;
}

DIES(parked, contents_that_are_not_the_page_s_are_noticed, "these are not its contents [gc.parked]") {
  parked_start("mprotect", VEIL_GENERATIONS_OFF, false);
  cold_make();
  all_take();
  memset(p.contents + parker_page(&p, *cold) * p.pages.page_size, 0, p.pages.page_size);
  (*cold)->more = 1;
}

DIES(parked, unparking_outside_of_the_callback_is_noticed, "veil_page_unpark: service parker: called outside of the callback `absent`") {
  parked_start("mprotect", VEIL_GENERATIONS_OFF, false);
  veil_page_unpark(p.service, 1);
}

DIES(parked, notes_that_are_not_aligned_are_noticed, "veil_page_park: service parker: notes at") {
  parked_start("mprotect", VEIL_GENERATIONS_OFF, false);
  veil_page_park(p.service, 1, p.notes + 4, 100);
}
