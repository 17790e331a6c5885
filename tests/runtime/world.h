// SPDX-License-Identifier: MIT
// world.h: a heap, and the test's own thread attached to it. For one file of tests; each test runs in a process of its
// own.

#ifndef TESTS_RUNTIME_WORLD_H
#define TESTS_RUNTIME_WORLD_H

#include "tests/runtime/test.h"

static veil_heap *heap;
static veil_thread *self;

// False where the system forbids the back end.
static __attribute__((unused)) bool start(veil_options options) {
  heap = heap_open(options);
  if (heap == NULL) {
    return false;
  }
  self = veil_attach(heap);
  return true;
}

static __attribute__((unused)) void end(void) {
  veil_detach(self);
  veil_close(heap);
}

#define START_OR_SKIP(...)                                                                                             \
  if (!start((veil_options){__VA_ARGS__})) {                                                                           \
    cr_skip_test("the back end does not work here");                                                                   \
  }

#endif
