// SPDX-License-Identifier: MIT
// fork.h: what the tests of fork share: children, which end in _exit(0), or say on stderr what is wrong and abort.

#ifndef RUNTIME_FORK_TEST_H
#define RUNTIME_FORK_TEST_H

#define TESTS_ARE_NOT_SANITIZED
#include <criterion/criterion.h>
#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/runtime/world.h"

static inline int status_of(pid_t child) {
  int status;
  EXPECT(child > 0);
  while (waitpid(child, &status, 0) < 0) {
    EXPECT(errno == EINTR);
  }
  return status;
}

static inline void child_succeeds(pid_t child) {
  int status = status_of(child);
  cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with status %x", status);
}

static inline void change(node *list) {
  for (; list != NULL; list = list->right) {
    list->key += 1000000;
  }
}

static inline void unchange(node *list) {
  for (; list != NULL; list = list->right) {
    list->key -= 1000000;
  }
}

// What a child does with a list of that length that it had: all that a program may do.
static inline void child_works(node *list, long length) {
  EXPECT(list_check(list) == length);
  EXPECT(stats_of(heap).threads == 1);
  for (int i = 0; i < 3; i++) {
    EXPECT(list_check(list_make(self, 20000)) == 20000);
    veil_collect(self);
    EXPECT(list_check(list) == length);
  }
  veil_verify(self);
  change(list);
}

#endif
