// SPDX-License-Identifier: MIT
// weak.c: weak references, finalizers and handles through the public face; misuse of each.

#include <criterion/criterion.h>
#include "tests/runtime/world.h"
#include "veil/weak.h"
#include "vm/atomic.h"

// Roots that are no words of the stack.
static void *kept[8];

static void roots_add(void) {
  memset(kept, 0, sizeof kept);
  cr_assert_eq(veil_add_roots(heap, kept, 8), VEIL_OK);
}

static __attribute__((noinline)) node *node_new(long key) {
  node *n = veil_new(self, node);
  n->key = key;
  n->left = veil_new(self, node);
  n->left->key = -key;
  return n;
}

static __attribute__((noinline)) void weak_keep(int i, void *object) { kept[i] = veil_weak_new(self, object); }
static __attribute__((noinline)) long weak_key(int i) {
  node *n = veil_weak_get(self, kept[i]);
  cr_assert(n == NULL || n->left->key == -n->key);
  return n != NULL ? n->key : 0;
}
static __attribute__((noinline)) void weak_keep_new(int i, long key) { weak_keep(i, node_new(key)); }

ON_ALL_BACK_ENDS(weak, what_nothing_holds_is_gone_and_what_is_held_is_not) {
  START_OR_SKIP(.back_end = back_end, .verify = 2);
  roots_add();
  kept[0] = node_new(1);
  weak_keep(1, kept[0]);
  weak_keep_new(2, 2);
  weak_keep(3, NULL);
  stack_clear();
  veil_collect(self);
  cr_assert(weak_key(1) == 1 && weak_key(2) == 0 && weak_key(3) == 0);
  cr_assert_eq(stats_of(heap).weak_references, 3);
  veil_weak_set(self, kept[2], kept[0]);
  veil_weak_set(self, kept[1], NULL);
  veil_collect(self);
  cr_assert(weak_key(1) == 0 && weak_key(2) == 1);
  kept[0] = NULL;
  stack_clear();
  veil_collect(self);
  cr_assert_eq(weak_key(2), 0);
  end();
}

ON_ALL_BACK_ENDS(weak, minor_cycles_clear_and_follow) {
  START_OR_SKIP(.back_end = back_end, .verify = 2, .generations = VEIL_GENERATIONS_ON);
  roots_add();
  kept[0] = node_new(1);
  weak_keep(1, kept[0]);
  weak_keep_new(2, 2);
  stack_clear();
  for (int i = 0; i < 4; i++) {
    veil_collect_minor(self);
    cr_assert(weak_key(1) == 1 && weak_key(2) == 0);
  }
  veil_weak_set(self, kept[1], node_new(3)); // an old one that refers to a young object
  stack_clear();
  veil_collect_minor(self);
  cr_assert_eq(weak_key(1), 0);
  end();
}

// ---- Finalizers.

static long called[16];
static int calls;
static void *brought_back;

static void note(veil_thread *thread, void *object, void *data) {
  node *n = object;
  EXPECT(n->left->key == -n->key && (long)data == n->key);
  veil_new(thread, node);
  called[calls++ % 16] = n->key;
}

static void bring_back(veil_thread *thread, void *object, void *data) {
  (void)thread;
  (void)data;
  calls++;
  *(void **)brought_back = object;
}

static __attribute__((noinline)) void finalize_new(long key, int root) {
  node *n = node_new(key);
  EXPECT(veil_finalize(self, n, note, (void *)key) != 0);
  kept[root] = n;
}

ON_ALL_BACK_ENDS(weak, finalizers_are_called_once_with_the_whole_object) {
  for (int minor = 0; minor < 2; minor++) {
    START_OR_SKIP(.back_end = back_end, .verify = 2, .generations = minor ? VEIL_GENERATIONS_ON : VEIL_GENERATIONS_OFF);
    roots_add();
    calls = 0;
    for (long i = 1; i <= 6; i++) {
      finalize_new(i, (int)i);
    }
    kept[1] = kept[2] = NULL;
    ((node *)kept[3])->right = kept[4]; // these two hold each other
    ((node *)kept[4])->right = kept[3];
    kept[3] = kept[4] = NULL;
    stack_clear();
    (minor && strcmp(veil_back_end(heap), "none") != 0 ? veil_collect_minor : veil_collect)(self);
    cr_assert(veil_finalizers_due(heap) == 4 && stats_of(heap).finalizers_due == 4 && stats_of(heap).finalizers == 2);
    cr_assert_eq(veil_finalizers_run(self, 1), 1);
    veil_collect(self); // the queue holds the rest
    cr_assert_eq(veil_finalizers_run(self, 100), 3);
    long sum = 0;
    for (int i = 0; i < calls; i++) {
      sum += called[i];
    }
    cr_assert(calls == 4 && sum == 1 + 2 + 3 + 4 && stats_of(heap).finalizers_called == 4);
    veil_collect(self);
    cr_assert(veil_finalizers_due(heap) == 0 && ((node *)kept[5])->key == 5 && ((node *)kept[6])->key == 6);
    end();
  }
}

static __attribute__((noinline)) void brought_back_make(void) {
  kept[0] = node_new(9);
  EXPECT(veil_finalize(self, kept[0], bring_back, NULL) != 0);
  brought_back = &kept[0];
  kept[0] = NULL;
}

ON_ALL_BACK_ENDS(weak, a_finalizer_may_bring_its_object_back) {
  START_OR_SKIP(.back_end = back_end, .verify = 2);
  roots_add();
  calls = 0;
  brought_back_make();
  stack_clear();
  veil_collect(self);
  cr_assert_eq(veil_finalizers_run(self, 10), 1);
  veil_collect(self);
  cr_assert(((node *)kept[0])->key == 9 && ((node *)kept[0])->left->key == -9);
  kept[0] = NULL;
  stack_clear();
  veil_collect(self);
  cr_assert(calls == 1 && veil_finalizers_due(heap) == 0, "once");
  end();
}

ON_ALL_BACK_ENDS(weak, a_finalizer_can_be_cancelled_until_it_is_due) {
  START_OR_SKIP(.back_end = back_end);
  roots_add();
  kept[0] = node_new(1);
  kept[1] = node_new(2);
  veil_finalizer first = veil_finalize(self, kept[0], note, (void *)1), second = veil_finalize(self, kept[1], note, (void *)2);
  cr_assert(veil_finalizer_cancel(self, first) && !veil_finalizer_cancel(self, first) && !veil_finalizer_cancel(self, 0));
  kept[0] = kept[1] = NULL;
  stack_clear();
  calls = 0;
  veil_collect(self);
  cr_assert_not(veil_finalizer_cancel(self, second));
  cr_assert(veil_finalizers_run(self, 10) == 1 && calls == 1 && called[0] == 2);
  cr_assert_not(veil_finalizer_cancel(self, second));
  end();
}

static AO_t thread_calls;

static void count(veil_thread *thread, void *object, void *data) {
  (void)data;
  EXPECT(((node *)object)->key == 7 && thread != self);
  at_add_full(&thread_calls, 1);
}

static __attribute__((noinline)) void many_make(int many) {
  for (int i = 0; i < many; i++) {
    node *n = veil_new(self, node);
    n->key = 7;
    EXPECT(veil_finalize(self, n, count, NULL) != 0);
  }
}

ON_ALL_BACK_ENDS(weak, a_thread_of_veils_calls_them) {
  START_OR_SKIP(.back_end = back_end);
  at_store(&thread_calls, 0);
  cr_assert(veil_finalizers_start(heap) == VEIL_OK && veil_finalizers_start(heap) == VEIL_OK);
  many_make(2000);
  stack_clear();
  veil_collect(self);
  for (int i = 0; i < 10000 && at_load(&thread_calls) < 1990; i++) {
    veil_block_begin(self);
    sleep_ms(1);
    veil_block_end(self);
  }
  cr_assert_geq(at_load(&thread_calls), 1990); // words on the stack may hold some
  end();
}

// ---- Handles.

ON_ALL_BACK_ENDS(weak, handles_hold_and_follow) {
  START_OR_SKIP(.back_end = back_end, .verify = 2, .limit = 64 * MIB);
  enum { MANY = 5000 };
  static veil_handle *handles[MANY];
  for (long i = 0; i < MANY; i++) {
    handles[i] = veil_handle_new(self, node_new(i));
  }
  stack_clear();
  for (int round = 0; round < 3; round++) {
    veil_collect_start(self);
    for (long i = 0; i < MANY; i += round + 1) { // beside the scanners
      node *n = veil_handle_get(self, handles[i]);
      cr_assert(n->key == i && n->left->key == -i);
    }
    veil_collect(self);
  }
  cr_assert_eq(stats_of(heap).handles, MANY);
  for (long i = 0; i < MANY; i++) {
    if (i % 2) {
      veil_handle_set(self, handles[i], NULL);
    } else {
      veil_handle_drop(self, handles[i]);
    }
  }
  stack_clear();
  veil_collect(self);
  cr_assert_lt(stats_of(heap).live_bytes, MIB);
  cr_assert_null(veil_handle_get(self, handles[1]));
  end();
}

// ---- Many threads.

typedef struct crew_member {
  pthread_t thread;
  long number;
} crew_member;

static AO_t crew_finalized;
static void crew_count(veil_thread *thread, void *object, void *data) {
  (void)thread;
  EXPECT(((node *)object)->key == (long)data);
  at_add_full(&crew_finalized, 1);
}

static void *crew_main(void *arg) {
  crew_member *me = arg;
  veil_thread *here = veil_attach(heap);
  veil_handle *handle = veil_handle_new(here, NULL);
  for (long i = 0; i < 3000; i++) {
    node *n = veil_new(here, node);
    n->key = me->number * 10000 + i;
    EXPECT(veil_finalize(here, n, crew_count, (void *)n->key) != 0);
    n->right = veil_handle_get(here, handle);
    if (i % 10 == 0) {
      n->right = NULL;
    }
    veil_handle_set(here, handle, n);
    veil_weak *weak = veil_weak_new(here, n->right);
    EXPECT(veil_weak_get(here, weak) == n->right);
    veil_finalizers_run(here, 4);
  }
  veil_handle_drop(here, handle);
  veil_detach(here);
  return NULL;
}

ON_ALL_BACK_ENDS(weak, many_threads_make_and_drop_them) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .headroom = MIB, .torture = 500, .seed = 5);
  at_store(&crew_finalized, 0);
  crew_member crew[4];
  for (long i = 0; i < 4; i++) {
    crew[i].number = i;
    crew[i].thread = thread_start(crew_main, &crew[i]);
  }
  veil_block_begin(self);
  for (int i = 0; i < 4; i++) {
    pthread_join(crew[i].thread, NULL);
  }
  veil_block_end(self);
  for (int i = 0; i < 5; i++) {
    veil_collect(self);
    veil_finalizers_run(self, SIZE_MAX);
  }
  cr_assert_eq(at_load(&crew_finalized), 4 * 3000);
  end();
}

// ---- Misuse.

static void misuse_start(void) { EXPECT(start((veil_options){.back_end = "mprotect"})); }

DIES(weak_misuse, weak_of_an_interior_pointer, "veil_weak_new: ") {
  misuse_start();
  veil_weak_new(self, (char *)veil_new(self, node) + 8);
}
DIES(weak_misuse, weak_of_what_is_no_object, "is not the start of an object of this heap") {
  misuse_start();
  veil_weak_new(self, &heap);
}
DIES(weak_misuse, get_of_what_is_no_weak_reference, "is no weak reference of this heap") {
  misuse_start();
  node *n = veil_new(self, node);
  n->left = (node *)(uintptr_t)1000000;
  veil_weak_get(self, (veil_weak *)n);
}
DIES(weak_misuse, get_of_an_object_that_begins_with_a_links_number, "is no weak reference of this heap") {
  misuse_start();
  veil_weak *weak = veil_weak_new(self, NULL);
  node *n = veil_new(self, node);
  n->left = *(node **)weak;
  veil_weak_get(self, (veil_weak *)n);
}
DIES(weak_misuse, finalize_nothing, "veil_finalize: there is no object") {
  misuse_start();
  veil_finalize(self, NULL, note, NULL);
}
DIES(weak_misuse, finalize_with_nothing, "veil_finalize: there is no function") {
  misuse_start();
  veil_finalize(self, veil_new(self, node), NULL, NULL);
}
DIES(weak_misuse, a_handle_that_was_dropped, "is no handle of this heap, or was dropped") {
  misuse_start();
  veil_handle *handle = veil_handle_new(self, NULL);
  veil_handle_drop(self, handle);
  veil_handle_get(self, handle);
}
DIES(weak_misuse, what_is_no_handle, "is no handle of this heap, or was dropped") {
  misuse_start();
  veil_handle_drop(self, (veil_handle *)&heap);
}
DIES(weak_misuse, another_threads_self, "veil_handle_new: ") {
  misuse_start();
  veil_detach(self);
  veil_handle_new(self, NULL);
}
