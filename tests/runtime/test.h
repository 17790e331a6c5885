// SPDX-License-Identifier: MIT
// test.h: what the tests of the runtime share.

#ifndef TESTS_RUNTIME_TEST_H
#define TESTS_RUNTIME_TEST_H

#include "tests/back_ends.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "tests/gc/death.h"
#include "veil/veil.h"

enum { MIB = 1 << 20 };

// How often something is repeated: in CI, and in tests/soak.
#ifdef VEIL_TEST_LONG
#define REPEATS(SHORT, LONG) (LONG)
#else
#define REPEATS(SHORT, LONG) (SHORT)
#endif

// Aborts with the condition: for threads, children and plain programs.
#define EXPECT(CONDITION)                                                                                              \
  ((CONDITION) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #CONDITION), abort()))

typedef struct node {
  struct node *left, *right;
  long key, more;
} node;
VEIL_TYPE(node, left, right);

// NULL where the system forbids the back end; aborts if opening fails otherwise.
static inline veil_heap *heap_open(veil_options options) {
  options.limit = options.limit ? options.limit : 32 * MIB;
  options.headroom = options.headroom ? options.headroom : 2 * MIB;
  veil_heap *heap = veil_open(&options);
  if (heap == NULL) {
    fprintf(stderr, "%s\n", veil_error());
    EXPECT(!back_end_is_everywhere(options.back_end));
  }
  return heap;
}

#define OPEN_OR_SKIP(HEAP, ...)                                                                                        \
  veil_heap *HEAP = heap_open((veil_options){__VA_ARGS__});                                                            \
  if (HEAP == NULL) {                                                                                                  \
    cr_skip_test("the back end does not work here");                                                                   \
  }

// A list of keys from 0, newest last: built from its end. Garbage beside it, if wanted.
static inline node *list_make(veil_thread *self, long length) {
  node *list = NULL;
  for (long i = length; i-- > 0;) {
    node *n = veil_new(self, node);
    EXPECT(n != NULL && n->left == NULL && n->right == NULL && n->key == 0 && n->more == 0);
    n->right = list;
    n->key = i;
    list = n;
  }
  return list;
}

static inline long list_check(const node *list) {
  long length = 0;
  for (; list != NULL; list = list->right) {
    EXPECT(list->key == length);
    length++;
  }
  return length;
}

// Until a point in time: where the world is stopped over and over, what is left of a span might never pass.
static inline void sleep_ms(long ms) {
  struct timespec end;
  clock_gettime(CLOCK_MONOTONIC, &end);
  end.tv_nsec += ms % 1000 * 1000000;
  end.tv_sec += ms / 1000 + end.tv_nsec / 1000000000;
  end.tv_nsec %= 1000000000;
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) != 0) {
  }
}

static inline veil_stats stats_of(veil_heap *heap) {
  veil_stats stats;
  veil_get_stats(heap, &stats);
  return stats;
}

// What a function left on the stack must not count as a root of the test. Without ASan's red zones, which would be left as they are, right
// below the caller's frame.
static __attribute__((noinline, unused, no_sanitize("address"))) void stack_clear(void) {
#ifdef __SANITIZE_ADDRESS__
  char volatile junk[32 << 10]; // other functions have such zones, too; but not longer than a stack of a coroutine
#else
  char volatile junk[16 << 10];
#endif
  for (size_t i = 0; i < sizeof junk; i++) {
    junk[i] = 0;
  }
}

static inline pthread_t thread_start(void *(*fn)(void *), void *arg) {
  pthread_t thread;
  EXPECT(pthread_create(&thread, NULL, fn, arg) == 0);
  return thread;
}

// A child that has to be aborted with `text` in its message.
#define DIES(SUITE, NAME, TEXT)                                                                                        \
  static void NAME(void *unused);                                                                                      \
  Test(SUITE, NAME, .timeout = 120) {                                                                                  \
    death d = death_of(NAME, NULL);                                                                                    \
    cr_assert(death_says(&d, TEXT));                                                                                   \
  }                                                                                                                    \
  static void NAME(void *unused)

#endif
