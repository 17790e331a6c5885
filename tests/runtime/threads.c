// SPDX-License-Identifier: MIT
// threads.c: threads come and go at any time; what they must not do is noticed.

#include <criterion/criterion.h>
#include "tests/runtime/test.h"

static veil_heap *heap;
static veil_thread *main_self;

static void start(void) {
  heap = heap_open((veil_options){0});
  main_self = veil_attach(heap);
  EXPECT(main_self != NULL);
}

Test(threads, a_thread_attaches_works_and_detaches) {
  start();
  cr_assert_eq((void *)veil_thread_heap(main_self), (void *)heap);
  cr_assert_eq(stats_of(heap).threads, 1);
  cr_assert_eq(list_check(list_make(main_self, 1000)), 1000);
  veil_detach(main_self);
  cr_assert_eq(stats_of(heap).threads, 0);
  main_self = veil_attach(heap); // and comes back
  cr_assert_eq(list_check(list_make(main_self, 1000)), 1000);
  veil_detach(main_self);
  veil_close(heap);
}

Test(threads, attaching_twice_is_an_error) {
  start();
  cr_assert_null(veil_attach(heap));
  cr_assert(strstr(veil_error(), "attached") != NULL, "%s", veil_error());
  veil_detach(main_self);
  veil_close(heap);
}

DIES(threads, detaching_twice_is_noticed, "veil_detach") {
  start();
  veil_detach(main_self);
  veil_detach(main_self);
}

DIES(threads, allocating_after_detaching_is_noticed, "detached already") {
  start();
  veil_new(main_self, node);
  veil_detach(main_self);
  veil_new(main_self, node);
}

DIES(threads, allocating_an_array_after_detaching_is_noticed, "detached already") {
  start();
  veil_detach(main_self);
  veil_new_bytes(main_self, 10);
}

DIES(threads, collecting_after_detaching_is_noticed, "veil_collect") {
  start();
  veil_detach(main_self);
  veil_collect(main_self);
}

DIES(threads, allocating_without_being_attached_is_noticed, "not an attached thread") {
  start();
  veil_new_bytes(NULL, 10);
}

DIES(threads, nonsense_in_place_of_a_thread_is_noticed, "not an attached thread") {
  start();
  static uint64_t zeros[200];
  veil_collect((veil_thread *)zeros);
}

static void *allocates_with_anothers_self(void *unused) {
  for (int i = 0; i < 1000; i++) { // as soon as the buffer is used up
    veil_new(main_self, node);
  }
  return NULL;
}

DIES(threads, allocating_with_the_self_of_another_thread_is_noticed, "belongs to another thread") {
  start();
  pthread_join(thread_start(allocates_with_anothers_self, NULL), NULL);
}

static void *collects_with_anothers_self(void *unused) {
  veil_collect(main_self);
  return NULL;
}

DIES(threads, collecting_with_the_self_of_another_thread_is_noticed, "belongs to another thread") {
  start();
  pthread_join(thread_start(collects_with_anothers_self, NULL), NULL);
}

static void *detaches_anothers_self(void *unused) {
  veil_detach(main_self);
  return NULL;
}

DIES(threads, detaching_another_thread_is_noticed, "belongs to another thread") {
  start();
  pthread_join(thread_start(detaches_anothers_self, NULL), NULL);
}

DIES(threads, closing_a_heap_to_which_the_caller_is_attached_is_noticed, "still attached") {
  start();
  veil_close(heap);
}

static void *attaches_and_sleeps(void *flag) {
  EXPECT(veil_attach(heap) != NULL);
  *(int volatile *)flag = 1;
  sleep(60);
  return NULL;
}

DIES(threads, closing_a_heap_to_which_others_are_attached_is_noticed, "1 threads are still attached") {
  start();
  int volatile flag = 0;
  thread_start(attaches_and_sleeps, (void *)&flag);
  while (!flag) {
    sleep_ms(1);
  }
  veil_detach(main_self);
  veil_close(heap);
}

// ---- Ends.

static void *ends_without_detaching(void *unused) {
  veil_thread *self = veil_attach(heap);
  EXPECT(self != NULL);
  list_make(self, 100);
  return NULL;
}

static void *ends_by_pthread_exit(void *unused) {
  veil_thread *self = veil_attach(heap);
  EXPECT(self != NULL);
  list_make(self, 100);
  pthread_exit(NULL);
}

ON_ALL_BACK_ENDS(threads, a_thread_that_ends_without_detaching_is_detached) {
  heap = heap_open((veil_options){.back_end = back_end});
  if (heap == NULL) {
    cr_skip_test("the back end does not work here");
  }
  main_self = veil_attach(heap);
  for (int i = 0; i < 200; i++) {
    pthread_t thread = thread_start(i % 2 ? ends_without_detaching : ends_by_pthread_exit, NULL);
    if (i % 3 == 0) {
      veil_collect(main_self);
    }
    pthread_join(thread, NULL);
    cr_assert_eq(stats_of(heap).threads, 1);
  }
  veil_collect(main_self);
  veil_detach(main_self);
  veil_close(heap);
}

static void *ends_attached_to_two_heaps(void *other) {
  EXPECT(veil_attach(heap) != NULL && veil_attach(other) != NULL);
  return NULL;
}

Test(threads, a_thread_that_ends_is_detached_from_all_its_heaps, .timeout = 60) {
  start();
  veil_heap *other = heap_open((veil_options){0});
  pthread_join(thread_start(ends_attached_to_two_heaps, other), NULL);
  cr_assert_eq(stats_of(heap).threads, 1);
  cr_assert_eq(stats_of(other).threads, 0);
  veil_close(other);
  veil_detach(main_self);
  veil_close(heap);
}

// ---- Comings and goings during cycles.

static int volatile over;

static void *comes_and_goes(void *arg) {
  long rounds = 0;
  while (!over || rounds < 2) { // on a busy machine it may start late
    veil_thread *self = veil_attach(heap);
    EXPECT(self != NULL);
    node *list = list_make(self, 50 + rounds % 100);
    EXPECT(list_check(list) == 50 + rounds % 100);
    veil_detach(self);
    rounds++;
  }
  return NULL;
}

ON_ALL_BACK_ENDS(threads, threads_come_and_go_during_cycles) {
  heap = heap_open((veil_options){.back_end = back_end, .verify = 1});
  if (heap == NULL) {
    cr_skip_test("the back end does not work here");
  }
  main_self = veil_attach(heap);
  over = 0;
  pthread_t thread[4];
  for (int i = 0; i < 4; i++) {
    thread[i] = thread_start(comes_and_goes, NULL);
  }
  node *list = list_make(main_self, 3000);
  for (int i = 0; i < 100; i++) {
    veil_collect_start(main_self);
    EXPECT(list_check(list) == 3000);
    veil_collect(main_self);
  }
  over = 1;
  veil_block_begin(main_self);
  for (int i = 0; i < 4; i++) {
    pthread_join(thread[i], NULL);
  }
  veil_block_end(main_self);
  cr_assert_eq(stats_of(heap).threads, 1);
  veil_detach(main_self);
  veil_close(heap);
}

Test(threads, a_thread_attaches_while_a_cycle_is_under_way, .timeout = 60) {
  heap = heap_open((veil_options){.back_end = "mprotect"});
  main_self = veil_attach(heap);
  node *list = list_make(main_self, 30000);
  for (int i = 0; i < 20; i++) {
    veil_collect_start(main_self);
    pthread_t thread = thread_start(ends_without_detaching, NULL);
    EXPECT(list_check(list) == 30000);
    veil_block_begin(main_self);
    pthread_join(thread, NULL);
    veil_block_end(main_self);
  }
  veil_detach(main_self);
  veil_close(heap);
}

// The structs of threads that are gone do not pile up.
static __attribute__((unused)) long held_kib(void) {
  FILE *file = fopen("/proc/self/statm", "r");
  long pages = 0, resident = 0;
  EXPECT(file != NULL && fscanf(file, "%ld %ld", &pages, &resident) == 2);
  fclose(file);
  return resident * 4;
}

#ifndef __SANITIZE_ADDRESS__
Test(threads, ten_thousand_threads_that_came_and_went_leave_little_behind, .timeout = 120) {
  start();
  veil_detach(main_self);
  for (int i = 0; i < 1000; i++) {
    veil_detach(veil_attach(heap));
  }
  long before = held_kib();
  for (int i = 0; i < 10000; i++) {
    veil_detach(veil_attach(heap));
  }
  cr_assert_lt(held_kib() - before, 2000, "%ld KiB", held_kib() - before);
  veil_close(heap);
}
#endif
