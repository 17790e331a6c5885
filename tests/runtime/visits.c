// SPDX-License-Identifier: MIT
// visits.c: threads that are started with an object, threads that come in for a callback, and what a thread owns.

#include <criterion/criterion.h>
#include "tests/runtime/world.h"
#include "veil/start.h"

// ---- Slots of a thread.

static _Thread_local node *mine[3];

static __attribute__((noinline)) void mine_fill(veil_thread *me) {
  for (int i = 0; i < 3; i++) {
    mine[i] = list_make(me, 100 + i);
  }
}

static void *keeps_thread_local_lists(void *unused) {
  veil_thread *me = veil_attach(heap);
  EXPECT(veil_add_thread_roots(me, mine, 3) == VEIL_OK);
  mine_fill(me);
  stack_clear();
  uintptr_t before = ~(uintptr_t)mine[1];
  for (int i = 0; i < 10; i++) {
    veil_collect(me);
    list_make(me, 1000);
    for (int k = 0; k < 3; k++) {
      EXPECT(list_check(mine[k]) == 100 + k);
    }
  }
  (void)before;
  veil_detach(me);
  memset(mine, 0x55, sizeof mine); // nobody reads them any more
  return NULL;
}

ON_ALL_BACK_ENDS(visits, the_slots_of_a_thread_hold_their_objects_until_it_detaches) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 1);
  pthread_t thread[3];
  for (int i = 0; i < 3; i++) {
    thread[i] = thread_start(keeps_thread_local_lists, NULL);
  }
  veil_block_begin(self);
  for (int i = 0; i < 3; i++) {
    pthread_join(thread[i], NULL);
  }
  veil_block_end(self);
  veil_collect(self);
  end();
}

ON_ALL_BACK_ENDS(visits, the_slots_of_a_thread_follow_objects_that_move_and_let_go_when_removed) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 1);
  static node *slot[50];
  static void *big;
  static uintptr_t before[50];
  cr_assert_eq(veil_add_thread_roots(self, slot, 50), VEIL_OK);
  cr_assert_eq(veil_add_thread_roots(self, &big, 1), VEIL_OK);
  for (int i = 0; i < 50; i++) {
    slot[i] = list_make(self, 10);
    before[i] = ~(uintptr_t)slot[i];
  }
  big = veil_new_bytes(self, 10 * MIB);
  stack_clear();
  veil_collect(self);
  int moved = 0;
  for (int i = 0; i < 50; i++) {
    cr_assert_eq(list_check(slot[i]), 10);
    moved += ~(uintptr_t)slot[i] != before[i];
  }
  cr_assert_gt(moved, 40, "%d of 50 have moved", moved);
  cr_assert_geq(stats_of(heap).live_bytes, 10 * MIB);
  veil_remove_thread_roots(self, &big);
  stack_clear();
  veil_collect(self);
  cr_assert_lt(stats_of(heap).live_bytes, 10 * MIB);
  veil_remove_thread_roots(self, slot);
  cr_assert_eq(veil_add_thread_roots(self, (char *)slot + 1, 1), VEIL_INVALID);
  cr_assert_eq(veil_add_thread_roots(self, veil_new_pointers(self, 4), 4), VEIL_INVALID);
  end();
}

DIES(visits, removing_unknown_slots_of_a_thread_is_noticed, "not registered by this thread") {
  start((veil_options){0});
  veil_remove_thread_roots(self, &heap);
}

// ---- Threads with an object.

static void *checks_and_returns(veil_thread *me, void *object) {
  node *list = object;
  EXPECT(list_check(list) == 400);
  node *result = list_make(me, 500);
  result->left = list;
  return result;
}

ON_ALL_BACK_ENDS(visits, a_started_thread_gets_its_object_and_its_result_comes_back) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 1, .torture = 2, .seed = 7);
  for (int round = 0; round < 30; round++) {
    pthread_t thread[4];
    for (int i = 0; i < 4; i++) {
      cr_assert_eq(veil_thread_start(self, &thread[i], NULL, checks_and_returns, list_make(self, 400)), VEIL_OK);
    }
    stack_clear();
    veil_collect(self);
    list_make(self, 5000);
    for (int i = 0; i < 4; i++) {
      void *result;
      cr_assert_eq(veil_thread_join(self, thread[i], &result), VEIL_OK);
      cr_assert_eq(list_check(result), 500);
      cr_assert_eq(list_check(((node *)result)->left), 400);
    }
    cr_assert_eq(stats_of(heap).threads, 1);
  }
  end();
}

static void *leaves(veil_thread *me, void *object) {
  EXPECT(list_check(object) == 400);
  pthread_exit((void *)42);
}

Test(visits, a_started_thread_may_leave_by_pthread_exit, .timeout = 60) {
  start((veil_options){0});
  pthread_t thread;
  void *result = NULL;
  cr_assert_eq(veil_thread_start(self, &thread, NULL, leaves, list_make(self, 400)), VEIL_OK);
  cr_assert_eq(veil_thread_join(self, thread, &result), VEIL_OK);
  cr_assert_eq(result, (void *)42);
  cr_assert_eq(veil_thread_join(self, pthread_self(), &result), VEIL_INVALID);
  cr_assert_eq(stats_of(heap).threads, 1);
  end();
}

static int volatile finished;
static void *counts(veil_thread *me, void *object) {
  EXPECT(object == NULL || list_check(object) == 100);
  __atomic_fetch_add(&finished, 1, __ATOMIC_RELAXED);
  return object;
}

Test(visits, detached_threads_leave_nothing_behind, .timeout = 60) {
  start((veil_options){.verify = 1});
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  for (int i = 0; i < 100; i++) {
    pthread_t thread;
    cr_assert_eq(veil_thread_start(self, &thread, &attr, counts, i % 2 ? list_make(self, 100) : NULL), VEIL_OK);
    veil_collect_start(self);
  }
  while (finished < 100 || stats_of(heap).threads > 1) {
    veil_poll(self);
  }
  pthread_attr_destroy(&attr);
  end();
}

Test(visits, a_thread_that_cannot_be_started_is_an_error_that_says_why, .timeout = 60) {
  start((veil_options){0});
  pthread_t thread;
  cr_assert_eq(veil_thread_start(self, &thread, NULL, NULL, NULL), VEIL_INVALID);
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setstacksize(&attr, (size_t)1 << 50); // more than there are addresses
  node *list = list_make(self, 100);
  cr_assert_eq(veil_thread_start(self, &thread, &attr, counts, list), VEIL_NO_MEMORY);
  cr_assert(strstr(veil_error(), "veil_thread_start: ") != NULL, "%s", veil_error());
  pthread_attr_destroy(&attr);
  veil_collect(self);
  cr_assert_eq(list_check(list), 100);
  end();
}

// ---- Callbacks.

static void nested(int depth) {
  veil_thread *me = veil_enter(heap);
  EXPECT(me != NULL);
  node *list = list_make(me, 20 + depth);
  if (depth > 0) {
    nested(depth - 1);
  }
  EXPECT(list_check(list) == 20 + depth);
  veil_leave(me);
}

static void *calls_back(void *times) {
  for (long i = 0; i < (long)times; i++) {
    nested((int)(i % 3));
  }
  return NULL;
}

ON_ALL_BACK_ENDS(visits, a_pool_of_threads_calls_back_thousands_of_times_during_cycles) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 1);
  pthread_t thread[4];
  for (int i = 0; i < 4; i++) {
    thread[i] = thread_start(calls_back, (void *)2000);
  }
  for (int i = 0; i < 50; i++) {
    veil_collect(self);
  }
  veil_block_begin(self);
  for (int i = 0; i < 4; i++) {
    pthread_join(thread[i], NULL);
  }
  veil_block_end(self);
  cr_assert_eq(stats_of(heap).threads, 1);
  end();
}

Test(visits, a_thread_that_is_attached_stays_so_after_a_visit) {
  start((veil_options){0});
  cr_assert_eq((void *)veil_enter(heap), (void *)self);
  veil_leave(self);
  cr_assert_eq(stats_of(heap).threads, 1);
  cr_assert_eq(list_check(list_make(self, 100)), 100);
  end();
}

static int volatile over;
static __thread unsigned visiting; // a thread may call back in 8 brackets, one in the other: at most two here

// The references are in registers that a call preserves when the brackets open, and the callback uses those registers for its own.
static __attribute__((noinline)) void called_in_brackets(void) {
  veil_thread *me = veil_enter(heap);
  node *a = list_make(me, 60), *b = list_make(me, 70), *c = list_make(me, 80), *d = list_make(me, 90), *e = list_make(me, 95);
  veil_collect_start(me);
  veil_block_begin(me);
  if (visiting++ % 2 == 0) {
    called_in_brackets(); // calls back in brackets of its own
  }
  sched_yield();
  veil_block_end(me);
  EXPECT(list_check(a) == 60 && list_check(b) == 70 && list_check(c) == 80 && list_check(d) == 90 && list_check(e) == 95);
  veil_leave(me);
}

static void *blocks_and_is_called(void *unused) {
  veil_thread *me = veil_attach(heap);
  do {
    node *a = list_make(me, 20), *b = list_make(me, 30), *c = list_make(me, 40), *d = list_make(me, 50), *e = list_make(me, 55);
    veil_block_begin(me);
    called_in_brackets();
    for (int i = 0; i < 5; i++) {
      sched_yield(); // in brackets again, as before the call
    }
    veil_block_end(me);
    EXPECT(list_check(a) == 20 && list_check(b) == 30 && list_check(c) == 40 && list_check(d) == 50 && list_check(e) == 55);
  } while (!over);
  veil_detach(me);
  return NULL;
}

ON_ALL_BACK_ENDS(visits, a_callback_in_brackets_ends_them_for_its_time) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 1);
  pthread_t thread[2] = {thread_start(blocks_and_is_called, NULL), thread_start(blocks_and_is_called, NULL)};
  for (int i = 0; i < 100; i++) {
    veil_collect(self);
    list_make(self, 2000);
  }
  over = 1;
  veil_block_begin(self);
  pthread_join(thread[0], NULL);
  pthread_join(thread[1], NULL);
  veil_block_end(self);
  end();
}

DIES(visits, leaving_without_entering_is_noticed, "veil_leave: without veil_enter") {
  start((veil_options){0});
  veil_leave(self);
}

DIES(visits, detaching_during_a_visit_is_noticed, "veil_enter was called 1 times more") {
  heap = heap_open((veil_options){0});
  veil_detach(veil_enter(heap));
}

static void *enters_and_ends(void *unused) {
  EXPECT(veil_enter(heap) != NULL);
  return NULL;
}

Test(visits, a_thread_that_ends_during_a_visit_is_detached, .timeout = 60) {
  start((veil_options){0});
  for (int i = 0; i < 50; i++) {
    pthread_join(thread_start(enters_and_ends, NULL), NULL);
    cr_assert_eq(stats_of(heap).threads, 1);
  }
  end();
}
