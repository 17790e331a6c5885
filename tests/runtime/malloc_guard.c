// SPDX-License-Identifier: MIT
// malloc_guard.c: no critical section calls malloc or its like (rt.critical).
//
// A stop may catch another thread inside malloc, and that thread keeps malloc's lock until the world goes on, for which
// the stop waits for the critical section. It takes luck to see that happen; so the linker leads the library's calls
// here (--wrap), whatever test makes them.

#include <stdio.h>
#include <stdlib.h>
#include "runtime/runtime.h"

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
char *__real_strdup(const char *text);
void __real_free(void *old);

static void guard(const char *function) {
  for (rt_thread *t = rt_here; t != NULL; t = t->next_here) {
    if (t->critical != 0) {
      vm_fatal("%s is called in a critical section [rt.critical]", function);
    }
  }
}

void *__wrap_malloc(size_t bytes) {
  guard("malloc");
  return __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes) {
  guard("calloc");
  return __real_calloc(count, bytes);
}

void *__wrap_realloc(void *old, size_t bytes) {
  guard("realloc");
  return __real_realloc(old, bytes);
}

char *__wrap_strdup(const char *text) {
  guard("strdup");
  return __real_strdup(text);
}

void __wrap_free(void *old) {
  guard("free");
  __real_free(old);
}
