// SPDX-License-Identifier: MIT
// restore.c: heaps out of pages and descriptions (veil_open_from): what there was is there again, here and elsewhere, and goes on living.
//
// Oracles: things.h, as a program sees it; and dumps, object by object, before and after.

#include <criterion/criterion.h>
#include <sys/wait.h>
#include "tests/runtime/restore.h"
#include "veil/start.h"

static bool restore_once(veil_options before, veil_options after, int cycles, bool elsewhere) {
  image *i;
  sum was;
  if (!source_make(before, cycles, &i, &was)) {
    return false;
  }
  source_close();
  void *filled = elsewhere ? fill(i) : NULL;
  restored_begin(i, image_source(i), after);
  sums_compare(was, dump_sum());
  restored_lives(elsewhere, i);
  image_wait(i);
  end();
  EXPECT(i->dones == 1);
  if (filled != NULL) {
    munmap(filled, i->page_size);
  }
  image_free(i);
  return true;
}

// Whoever wants all of it now reads it, an attached thread or not; then nothing is away.
static void *fetches(void *arg) {
  veil_source_fetch(arg);
  return NULL;
}

ON_ALL_BACK_ENDS(restore, who_fetches_finds_nothing_away) {
  image *i;
  sum was;
  if (!source_make(with(back_end, VEIL_GENERATIONS_AUTO), 1, &i, &was)) {
    cr_skip_test("the back end does not work here");
  }
  veil_source_fetch(heap); // is from no source
  source_close();
  restored_begin(i, image_source(i), with(back_end, VEIL_GENERATIONS_AUTO));
  pthread_t other = thread_start(fetches, heap);
  veil_source_fetch(heap);
  unsigned reads = i->reads;
  veil_block_begin(self);
  pthread_join(other, NULL);
  veil_block_end(self);
  image_wait(i);
  veil_source_fetch(heap);
  sums_compare(was, dump_sum());
  restored_lives(false, i);
  EXPECT(i->reads == reads && i->dones == 1);
  end();
  image_free(i);
}

#define RESTORES(...)                                                                                                                                           \
  if (!restore_once(__VA_ARGS__)) {                                                                                                                             \
    cr_skip_test("the back end does not work here");                                                                                                            \
  }

ON_ALL_BACK_ENDS(restore, what_there_was_is_there_again) {
  RESTORES(with(back_end, VEIL_GENERATIONS_OFF), with(back_end, VEIL_GENERATIONS_OFF), 0, false);
}
ON_ALL_BACK_ENDS(restore, what_there_was_is_there_again_elsewhere) {
  RESTORES(with(back_end, VEIL_GENERATIONS_OFF), with(back_end, VEIL_GENERATIONS_OFF), 0, true);
}
ON_ALL_BACK_ENDS(restore, what_survived_cycles_is_there_again) {
  RESTORES(with(back_end, VEIL_GENERATIONS_AUTO), with(back_end, VEIL_GENERATIONS_AUTO), 3, false);
}
ON_ALL_BACK_ENDS(restore, what_survived_cycles_is_there_again_elsewhere) {
  RESTORES(with(back_end, VEIL_GENERATIONS_AUTO), with(back_end, VEIL_GENERATIONS_AUTO), 4, true);
}
ON_ALL_BACK_ENDS(restore, what_was_young_is_there_again) {
  RESTORES(with(back_end, VEIL_GENERATIONS_ON), with(back_end, VEIL_GENERATIONS_ON), 0, false);
}
ON_ALL_BACK_ENDS(restore, what_was_young_is_there_again_elsewhere) {
  RESTORES(with(back_end, VEIL_GENERATIONS_ON), with(back_end, VEIL_GENERATIONS_ON), 2, true);
}
ON_TRAPPING_BACK_ENDS(restore, generations_may_be_switched_on_and_off) {
  RESTORES(with(back_end, VEIL_GENERATIONS_ON), with(back_end, VEIL_GENERATIONS_OFF), 1, false);
  RESTORES(with(back_end, VEIL_GENERATIONS_OFF), with(back_end, VEIL_GENERATIONS_ON), 1, true);
  RESTORES(with(back_end, VEIL_GENERATIONS_AUTO), with(back_end, VEIL_GENERATIONS_ON), 1, true);
}
Test(restore, heaps_may_go_from_one_back_end_to_another, .timeout = 120) {
  RESTORES(with("uffd", VEIL_GENERATIONS_ON), with("mprotect", VEIL_GENERATIONS_ON), 1, false);
  RESTORES(with("mprotect", VEIL_GENERATIONS_ON), with("none", VEIL_GENERATIONS_OFF), 1, true);
  RESTORES(with("none", VEIL_GENERATIONS_OFF), with("uffd", VEIL_GENERATIONS_AUTO), 1, false);
}
ON_TRAPPING_BACK_ENDS(restore, pages_may_be_of_any_size) {
  veil_options options = with(back_end, VEIL_GENERATIONS_AUTO);
  options.granule = 16 << 10;
  RESTORES(options, with(back_end, VEIL_GENERATIONS_AUTO), 1, true);
  options.granule = 64 << 10;
  RESTORES(options, with(back_end, VEIL_GENERATIONS_AUTO), 1, true);
}

// Here, elsewhere, and back again, each time after some life of its own.
ON_ALL_BACK_ENDS(restore, a_heap_that_was_restored_is_restored_again) {
  image *i, *next;
  sum was;
  if (!source_make(with(back_end, VEIL_GENERATIONS_AUTO), 1, &i, &was)) {
    cr_skip_test("the back end does not work here");
  }
  source_close();
  for (int round = 0; round < 5; round++) {
    void *filled = round % 2 != 0 ? fill(i) : NULL;
    restored_begin(i, image_source(i), with(back_end, VEIL_GENERATIONS_AUTO));
    sums_compare(was, dump_sum());
    restored_lives(filled != NULL, i);
    stack_clear();
    next = image_take(heap);
    was = dump_sum();
    source_close();
    if (filled != NULL) {
      munmap(filled, i->page_size);
    }
    image_free(i);
    i = next;
  }
  image_free(i);
}

// ---- While it is being read.

#define SLOWLY_OR_SKIP(ELSEWHERE)                                                                                                                                \
  image *i;                                                                                                                                                      \
  sum was;                                                                                                                                                       \
  if (!source_make(with(back_end, VEIL_GENERATIONS_AUTO), 1, &i, &was)) {                                                                                        \
    cr_skip_test("the back end does not work here");                                                                                                             \
  }                                                                                                                                                              \
  source_close();                                                                                                                                                \
  i->background_us = 4000;                                                                                                                                      \
  void *filled = (ELSEWHERE) ? fill(i) : NULL;                                                                                                                   \
  restored_begin(i, image_source(i), with(back_end, VEIL_GENERATIONS_AUTO));                                                                                     \
  cr_assert_eq(i->dones, 0)

#define SLOWLY_ENDS()                                                                                                                                            \
  i->background_us = 0;                                                                                                                                          \
  end();                                                                                                                                                         \
  cr_assert_eq(i->dones, 1);                                                                                                                                     \
  if (filled != NULL) {                                                                                                                                          \
    munmap(filled, i->page_size);                                                                                                                                \
  }                                                                                                                                                              \
  image_free(i)

ON_TRAPPING_BACK_ENDS(restore, a_heap_is_open_before_its_pages_are_read) {
  SLOWLY_OR_SKIP(false);
  unsigned reads = i->reads;
  cr_assert_lt(reads, 5);
  cr_assert_eq(list_check(thing_get(self, "list", 0)), THINGS_LIST);
  cr_assert_gt(i->reads, reads);
  cr_assert_eq(i->dones, 0); // large arrays are away
  i->background_us = 0;
  image_wait(i);
  SLOWLY_ENDS();
}

ON_TRAPPING_BACK_ENDS(restore, a_heap_may_be_closed_before_its_pages_are_read) {
  SLOWLY_OR_SKIP(true);
  cr_assert_eq(list_check(thing_get(self, "list", 0)), THINGS_LIST);
  SLOWLY_ENDS();
}

ON_TRAPPING_BACK_ENDS(restore, cycles_go_on_while_pages_are_away) {
  SLOWLY_OR_SKIP(true);
  for (int round = 0; round < 3; round++) {
    stack_clear();
    veil_collect(self);
    veil_verify(self);
  }
  things_check(self, true);
  SLOWLY_ENDS();
}

ON_TRAPPING_BACK_ENDS(restore, garbage_is_hardly_read) {
  SLOWLY_OR_SKIP(false);
  for (size_t n = 0; n < THINGS_LENGTHS; n++) {
    const char *const leaves[] = {"text", "bytes", "aligned"};
    for (size_t k = 0; k < sizeof leaves / sizeof *leaves; k++) {
      char text[64];
      snprintf(text, sizeof text, "%s %zu", leaves[k], things_lengths[n]);
      EXPECT(veil_root_set(self, text, NULL) == VEIL_OK);
    }
  }
  unsigned reads = i->reads;
  stack_clear();
  veil_collect(self);
  cr_assert_lt(i->reads, reads + 1500);
  cr_assert_eq(list_check(thing_get(self, "list", 0)), THINGS_LIST);
  SLOWLY_ENDS();
}

ON_TRAPPING_BACK_ENDS(restore, an_instant_while_pages_are_away_has_them) {
  SLOWLY_OR_SKIP(true);
  i->background_us = 1000;
  image *next = image_take(heap); // whoever wants to save a page has it read
  SLOWLY_ENDS();
  restored_begin(next, image_source(next), with(back_end, VEIL_GENERATIONS_AUTO));
  sums_compare(was, dump_sum());
  things_check(self, false);
  end();
  image_free(next);
}

static veil_heap *shared;
static void *toucher(void *unused) {
  (void)unused;
  veil_thread *me = veil_attach(shared);
  things_check(me, false);
  list_make(me, 20000);
  things_check(me, false);
  veil_detach(me);
  return NULL;
}

ON_TRAPPING_BACK_ENDS(restore, threads_touch_what_is_away_at_the_same_time) {
  for (int elsewhere = 0; elsewhere < 2; elsewhere++) {
    SLOWLY_OR_SKIP(elsewhere != 0);
    shared = heap;
    pthread_t threads[4];
    for (int t = 0; t < 4; t++) {
      threads[t] = thread_start(toucher, NULL);
    }
    veil_collect(self);
    things_check(self, false);
    veil_block_begin(self);
    for (int t = 0; t < 4; t++) {
      pthread_join(threads[t], NULL);
    }
    veil_block_end(self);
    SLOWLY_ENDS();
  }
}

#ifndef __SANITIZE_ADDRESS__ // as fork.c
ON_TRAPPING_BACK_ENDS(restore, a_child_of_fork_reads_the_rest_by_itself) {
  SLOWLY_OR_SKIP(true);
  cr_assert_eq(list_check(thing_get(self, "list", 0)), THINGS_LIST);
  pid_t child = fork();
  if (child == 0) {
    i->background_us = 0;
    things_check(self, false);
    veil_collect(self);
    veil_verify(self);
    things_check(self, false);
    image_wait(i);
    end();
    EXPECT(i->dones == 1);
    _exit(0);
  }
  int status;
  EXPECT(waitpid(child, &status, 0) == child);
  cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
  things_check(self, false);
  SLOWLY_ENDS();
}
#endif

static void lost_page(void *unused) {
  (void)unused;
  image *i;
  sum was;
  EXPECT(source_make(with(NULL, VEIL_GENERATIONS_AUTO), 1, &i, &was));
  source_close();
  i->background_us = 1000000;
  restored_begin(i, image_source(i), with(NULL, VEIL_GENERATIONS_AUTO));
  i->fails = true;
  things_check(self, false);
}
Test(restore, a_page_that_cannot_be_read_aborts_with_its_number, .timeout = 120) {
  death d = death_of(lost_page, NULL);
  cr_assert(death_says(&d, "of the heap cannot be read"));
}

// ---- While others run: an image is of one instant, in the middle of whatever they do.

static _Atomic bool changers_end;
static void *changer(void *arg) {
  veil_thread *me = veil_attach(shared);
  char name[32];
  snprintf(name, sizeof name, "changing %d", (int)(intptr_t)arg);
  for (long round = 0; !changers_end; round++) {
    long length = 10 + round * 37 % 3000;
    node *list = list_make(me, length);
    node *head = thing_node(me, length);
    head->left = list;
    void **array = veil_new_pointers(me, (size_t)(round * 101 % 6000) + 1);
    array[0] = head;
    head->right = (node *)array;
    EXPECT(veil_root_set(me, name, head) == VEIL_OK);
    veil_weak_new(me, head);
    veil_new_bytes(me, (size_t)(round * 977 % 70000));
    veil_hash(me, list);
  }
  veil_detach(me);
  return NULL;
}

static void changed_check(veil_heap *of, const image *i) {
  veil_thread *me = veil_attach(of);
  veil_verify(me);
  for (int t = 0; t < 3; t++) {
    char name[32];
    snprintf(name, sizeof name, "changing %d", t);
    node *head = veil_root_get(me, name);
    EXPECT(head == NULL || (list_check(head->left) == head->key && ((void **)head->right)[0] == head));
  }
  things_check(me, false);
  veil_collect(me);
  veil_verify(me);
  things_check(me, true);
  veil_detach(me);
  veil_close(of);
  EXPECT(i->dones == 1);
}

static void changing(const char *back_end, veil_generations generations, unsigned torture) {
  veil_options options = with(back_end, generations);
  if (!start(options)) {
    cr_skip_test("the back end does not work here");
  }
  things_make(self);
  shared = heap;
  changers_end = false;
  pthread_t threads[3];
  for (intptr_t t = 0; t < 3; t++) {
    threads[t] = thread_start(changer, (void *)t);
  }
  for (int round = 0; round < 2; round++) {
    veil_block_begin(self);
    image *i = image_take(heap);
    veil_block_end(self);
    options.torture = torture;
    changed_check(image_open(i, options, things_types, THINGS_TYPES), i);
    image_free(i);
  }
  changers_end = true;
  veil_block_begin(self);
  for (int t = 0; t < 3; t++) {
    pthread_join(threads[t], NULL);
  }
  veil_block_end(self);
  end();
}

ON_ALL_BACK_ENDS(restore, images_are_whole_whatever_threads_do) { changing(back_end, VEIL_GENERATIONS_AUTO, 30); }
ON_TRAPPING_BACK_ENDS(restore, images_are_whole_whatever_is_young) { changing(back_end, VEIL_GENERATIONS_ON, 0); }

// ---- What is not restored.

static void finalizer(veil_thread *t, void *object, void *data) {
  (void)t, (void)object, (void)data;
}

Test(restore, finalizers_are_dropped_only_if_that_is_allowed, .timeout = 120) {
  start(with(NULL, VEIL_GENERATIONS_AUTO));
  node *n = thing_node(self, 3);
  thing_name(self, "n", 0, n);
  veil_finalizer made = veil_finalize(self, n, finalizer, NULL);
  EXPECT(made != 0 && veil_handle_new(self, n) != NULL && veil_pin(self, n) == VEIL_OK);
  image *i = image_take(heap);
  end();
  veil_source source = image_source(i);
  cr_assert_null(image_open_from(i, source, NULL, NULL, 0));
  cr_assert(strstr(veil_error(), "the image: the heap had 1 finalizers") != NULL, "%s", veil_error());
  cr_assert_eq(i->dones, 1);
  source.drop_finalizers = true;
  heap = image_open_from(i, source, NULL, NULL, 0);
  cr_assert_not_null(heap);
  self = veil_attach(heap);
  cr_assert_eq(((node *)thing_get(self, "n", 0))->key, 3);
  veil_finalizer again = veil_finalize(self, thing_get(self, "n", 0), finalizer, NULL);
  cr_assert(again != 0 && again != made);
  cr_assert_not(veil_finalizer_cancel(self, made), "a number from before does not name a new one");
  end();
  image_free(i);
}

Test(restore, addresses_are_said_to_have_changed_if_they_have, .timeout = 120) {
  image *i;
  sum was;
  EXPECT(source_make(with(NULL, VEIL_GENERATIONS_AUTO), 2, &i, &was));
  uint64_t moves = veil_moves(heap);
  source_close();
  restored_begin(i, image_source(i), with(NULL, VEIL_GENERATIONS_AUTO));
  cr_assert_eq(veil_moves(heap), moves);
  end();
  void *filled = fill(i);
  restored_begin(i, image_source(i), with(NULL, VEIL_GENERATIONS_AUTO));
  cr_assert_neq(veil_moves(heap), moves);
  end();
  munmap(filled, i->page_size);
  image_free(i);
}

// ---- What is transient, in pages that were put down as they are.

typedef struct passing {
  long number;
  char more[40];
} passing;
VEIL_LEAF(VEIL_TRANSIENT(passing));
typedef struct holder {
  void *passes, *cache, *stays;
  char more[200];
} holder;
VEIL_TYPE(holder, passes, VEIL_TRANSIENT(cache), stays);
enum { HOLDERS = 3000 };

static void holders_make(void) {
  EXPECT(veil_root_set(self, "holders", veil_new_pointers(self, HOLDERS)) == VEIL_OK);
  for (long i = 0; i < HOLDERS; i++) {
    holder *h = veil_new(self, holder);
    ((holder **)veil_root_get(self, "holders"))[i] = h;
    h->passes = veil_new(self, passing);
    ((passing *)h->passes)->number = i;
    h->cache = list_make(self, 2);
    h->stays = list_make(self, i % 5);
  }
}

static void holders_check(bool whole) {
  holder **holders = veil_root_get(self, "holders");
  for (long i = 0; i < HOLDERS; i++) {
    EXPECT(whole ? ((passing *)holders[i]->passes)->number == i && list_check(holders[i]->cache) == 2 : holders[i]->passes == NULL && holders[i]->cache == NULL);
    EXPECT(list_check(holders[i]->stays) == i % 5);
  }
}

static void transient_once(const char *back_end, veil_generations generations, bool elsewhere) {
  if (!start(with(back_end, generations))) {
    cr_skip_test("the back end does not work here");
  }
  holders_make();
  veil_collect(self);
  holders_check(true);
  image *i = image_take(heap);
  holders_check(true);
  source_close();
  void *filled = elsewhere ? fill(i) : NULL;
  i->background_us = 5000;
  static veil_type *const types[] = {&veil_type_holder, &veil_type_passing, &veil_type_node};
  veil_options options = with(back_end, generations);
  heap = image_open(i, options, types, 3);
  self = veil_attach(heap);
  EXPECT(veil_root_set(self, "list", list_make(self, 60000)) == VEIL_OK); // goes where transient objects were, while nearly all pages are away
  holders_check(false);
  EXPECT(list_check(veil_root_get(self, "list")) == 60000);
  veil_verify(self);
  veil_collect(self);
  veil_verify(self);
  holders_check(false);
  image_wait(i);
  end();
  if (filled != NULL) {
    munmap(filled, i->page_size);
  }
  image_free(i);
}

ON_ALL_BACK_ENDS(restore, what_is_transient_is_null_whatever_has_its_place) {
  transient_once(back_end, VEIL_GENERATIONS_OFF, false);
  transient_once(back_end, VEIL_GENERATIONS_AUTO, true);
}

ON_TRAPPING_BACK_ENDS(restore, what_was_transient_and_young_is_null) { transient_once(back_end, VEIL_GENERATIONS_ON, false); }
