// SPDX-License-Identifier: MIT
// fork.c: a child has a heap of its own, and the parent notices nothing (rt.fork), whatever other threads do.

#include <signal.h>
#include "tests/runtime/fork.h"

// ---- One thread.

ON_ALL_BACK_ENDS(fork, a_child_has_a_heap_of_its_own) {
  START_OR_SKIP(.back_end = back_end, .verify = 1);
  node *list = list_make(self, 20000);
  pid_t child = fork();
  if (child == 0) {
    child_works(list, 20000);
    veil_detach(self);
    veil_close(heap);
    _exit(0);
  }
  child_succeeds(child);
  cr_assert_eq(list_check(list), 20000); // the child's changes are its own
  veil_collect(self);
  cr_assert_eq(list_check(list), 20000);
  end();
}

ON_ALL_BACK_ENDS(fork, a_child_does_not_see_what_the_parent_does_later) {
  START_OR_SKIP(.back_end = back_end);
  node *list = list_make(self, 20000);
  int go[2];
  EXPECT(pipe(go) == 0);
  pid_t child = fork();
  if (child == 0) {
    char byte;
    EXPECT(read(go[0], &byte, 1) == 1);
    child_works(list, 20000);
    _exit(0);
  }
  change(list);
  veil_collect(self);
  EXPECT(write(go[1], "", 1) == 1);
  child_succeeds(child);
  unchange(list);
  cr_assert_eq(list_check(list), 20000);
  end();
}

ON_ALL_BACK_ENDS(fork, a_cycle_goes_on_in_the_child) {
  START_OR_SKIP(.back_end = back_end, .verify = 1, .limit = 64 * MIB);
  node *list = list_make(self, 200000);
  for (int i = 0; i < REPEATS(8, 40); i++) {
    veil_collect_start(self);
    if (i % 2) {
      list_check(list); // some of it has been scanned
    }
    pid_t child = fork();
    if (child == 0) {
      alarm(60);
      child_works(list, 200000);
      _exit(0);
    }
    cr_assert_eq(list_check(list), 200000);
    child_succeeds(child);
    veil_collect(self);
  }
  end();
}

ON_ALL_BACK_ENDS(fork, a_grandchild_has_a_heap_of_its_own) {
  START_OR_SKIP(.back_end = back_end);
  node *list = list_make(self, 5000);
  pid_t child = fork();
  if (child == 0) {
    veil_collect_start(self);
    pid_t grandchild = fork();
    if (grandchild == 0) {
      child_works(list, 5000);
      _exit(0);
    }
    child_works(list, 5000);
    EXPECT(status_of(grandchild) == 0);
    _exit(0);
  }
  child_succeeds(child);
  cr_assert_eq(list_check(list), 5000);
  end();
}

ON_ALL_BACK_ENDS(fork, a_fork_between_brackets_works) {
  START_OR_SKIP(.back_end = back_end);
  node *list = list_make(self, 5000);
  veil_block_begin(self);
  pid_t child = fork();
  if (child == 0) {
    veil_block_end(self);
    child_works(list, 5000);
    _exit(0);
  }
  veil_block_end(self);
  child_succeeds(child);
  cr_assert_eq(list_check(list), 5000);
  end();
}

// ---- Other threads.

static node *global_list;
static int volatile over;

static void *stays_busy(void *unused) {
  veil_thread *me = veil_attach(heap);
  EXPECT(me != NULL);
  for (long i = 0; !over; i++) {
    EXPECT(list_check(list_make(me, 100 + i % 1000)) == 100 + i % 1000);
    free(malloc(100 + (size_t)i % 1000));
  }
  veil_detach(me);
  return NULL;
}

static void *forks_unattached(void *unused) {
  pid_t child = fork();
  if (child == 0) {
    EXPECT(stats_of(heap).threads == 0);
    self = veil_attach(heap);
    EXPECT(self != NULL);
    child_works(global_list, 5000);
    _exit(0);
  }
  child_succeeds(child);
  return NULL;
}

ON_ALL_BACK_ENDS(fork, a_thread_that_is_not_attached_may_fork) {
  START_OR_SKIP(.back_end = back_end);
  EXPECT(veil_add_roots(heap, &global_list, 1) == VEIL_OK);
  global_list = list_make(self, 5000);
  pthread_t thread = thread_start(forks_unattached, NULL);
  veil_block_begin(self);
  pthread_join(thread, NULL);
  veil_block_end(self);
  cr_assert_eq(list_check(global_list), 5000);
  end();
}

static void forks_beside_busy_threads(veil_options options) {
  if (!start(options)) {
    cr_skip_test("the back end does not work here");
  }
  over = 0;
  node *list = list_make(self, 5000);
  pthread_t thread[3];
  for (int i = 0; i < 3; i++) {
    thread[i] = thread_start(stays_busy, NULL);
  }
  for (int i = 0; i < 20; i++) {
    pid_t child = fork();
    if (child == 0) {
      alarm(60);
      child_works(list, 5000);
      _exit(0);
    }
    child_succeeds(child);
    cr_assert_eq(list_check(list), 5000);
  }
  over = 1;
  veil_block_begin(self);
  for (int i = 0; i < 3; i++) {
    pthread_join(thread[i], NULL);
  }
  veil_block_end(self);
  end();
}

ON_ALL_BACK_ENDS(fork, other_threads_are_not_in_the_child_and_go_on_in_the_parent) {
  forks_beside_busy_threads((veil_options){.back_end = back_end, .limit = 64 * MIB});
}
ON_ALL_BACK_ENDS(fork, the_same_where_threads_stop_by_polls) {
  forks_beside_busy_threads((veil_options){.back_end = back_end, .limit = 64 * MIB, .stop = VEIL_STOP_POLL});
}

static veil_thread *other_self;

static void *attaches_and_shows_itself(void *flag) {
  other_self = veil_attach(heap);
  *(int volatile *)flag = 1;
  veil_block_begin(other_self);
  pause();
  return NULL;
}

DIES(fork, using_a_thread_that_is_gone_is_noticed, "detached already") {
  start((veil_options){0});
  int volatile flag = 0;
  thread_start(attaches_and_shows_itself, (void *)&flag);
  while (!flag) {
    sleep_ms(1);
  }
  pid_t child = fork();
  if (child == 0) {
    veil_collect(other_self);
    _exit(0);
  }
  EXPECT(WIFSIGNALED(status_of(child)));
  abort();
}

static void *forks_often(void *unused) {
  veil_thread *me = veil_attach(heap);
  EXPECT(me != NULL);
  node *list = list_make(me, 1000);
  for (int i = 0; i < 15; i++) {
    pid_t child = fork();
    if (child == 0) {
      alarm(60);
      EXPECT(list_check(list) == 1000 && stats_of(heap).threads == 1);
      list_make(me, 1000);
      veil_collect(me);
      EXPECT(list_check(list) == 1000);
      _exit(0);
    }
    child_succeeds(child);
  }
  EXPECT(list_check(list) == 1000);
  veil_detach(me);
  return NULL;
}

static void forks_by_several(veil_stop stop) {
  EXPECT(start((veil_options){.stop = stop}));
  pthread_t thread[4];
  for (int i = 0; i < 4; i++) {
    thread[i] = thread_start(forks_often, NULL);
  }
  for (int i = 0; i < 50; i++) {
    veil_collect(self);
  }
  veil_block_begin(self);
  for (int i = 0; i < 4; i++) {
    pthread_join(thread[i], NULL);
  }
  veil_block_end(self);
  end();
}

Test(fork, several_threads_fork_at_once, .timeout = 120) { forks_by_several(VEIL_STOP_SIGNAL); }
Test(fork, several_threads_fork_at_once_and_stop_by_polls, .timeout = 120) { forks_by_several(VEIL_STOP_POLL); }

// Two counters at the two ends of what is copied: small numbers are no references.
static long volatile *first, *last;

static void *counts(void *flag) {
  veil_thread *me = veil_attach(heap);
  EXPECT(me != NULL);
  while (!over) { // no slow path, where it would wait for the fork
    ++*first;
    ++*last;
    veil_poll(me);
    *(int volatile *)flag = 1;
  }
  veil_detach(me);
  return NULL;
}

ON_ALL_BACK_ENDS(fork, what_a_child_sees_is_of_one_instant) {
  START_OR_SKIP(.back_end = back_end, .limit = 256 * MIB);
  enum { COUNT = 8 * MIB };
  over = 0;
  int volatile flag = 0;
  node *small = veil_new(self, node);
  void **large = veil_new_pointers(self, COUNT);
  first = &small->key;
  last = (long volatile *)&large[COUNT - 1];
  pthread_t thread = thread_start(counts, (void *)&flag);
  while (!flag) {
    sleep_ms(1);
  }
  for (int i = 0; i < 5; i++) {
    pid_t child = fork();
    if (child == 0) {
      EXPECT(*first == *last || *first == *last + 1);
      _exit(0);
    }
    child_succeeds(child);
  }
  over = 1;
  veil_block_begin(self);
  pthread_join(thread, NULL);
  veil_block_end(self);
  cr_assert_eq(*first, *last);
  cr_assert_null(large[0]);
  end();
}
