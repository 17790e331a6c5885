// SPDX-License-Identifier: MIT
// store_world.h: a store in a folder of its own, its heap, and the test's own thread attached to it. Each test runs in a process of its own.

#ifndef TESTS_STORE_STORE_WORLD_H
#define TESTS_STORE_STORE_WORLD_H

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/runtime/test.h"
#include "tests/store/graph.h"
#include "veil/store.h"

static char folder[100], path[120], log_path[130];
static veil_store *store;
static veil_heap *heap;
static veil_thread *self;
static const char *on; // the back end
static veil_store_options wanted; // by the next that is opened
static veil_options as;
static veil_type *const node_types[] = {&veil_type_node};

#define OK(CALL) ((CALL) == VEIL_OK ? (void)0 : (fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #CALL, veil_error()), abort()))
#define SAYS(TEXT) (strstr(veil_error(), TEXT) != NULL ? (void)0 : (fprintf(stderr, "%s:%d: \"%s\" is not in: %s\n", __FILE__, __LINE__, TEXT, veil_error()), abort()))

static __attribute__((unused)) void folder_make(void) {
  strcpy(folder, "/tmp/store.XXXXXX");
  EXPECT(mkdtemp(folder) != NULL);
  snprintf(path, sizeof path, "%s/heap.veil", folder);
  snprintf(log_path, sizeof log_path, "%s.log", path);
  wanted = (veil_store_options){.types = node_types, .type_count = 1, .log = MIB, .cache = MIB};
}

static __attribute__((unused)) void folder_remove(void) {
  unlink(path);
  unlink(log_path);
  EXPECT(rmdir(folder) == 0);
}

static veil_store *opened(const char *name) {
  as.back_end = on;
  as.limit = as.limit != 0 ? as.limit : 64 * MIB;
  as.headroom = 2 * MIB;
  return veil_store_open(name, &as, &wanted);
}

// False where the system forbids the back end.
static __attribute__((unused)) bool begin(void) {
  store = opened(path);
  if (store == NULL) {
    fprintf(stderr, "%s\n", veil_error());
    EXPECT(on != NULL && !back_end_is_everywhere(on));
    return false;
  }
  heap = veil_store_heap(store);
  self = veil_attach(heap);
  return true;
}

static __attribute__((unused)) void shut(void) {
  veil_detach(self);
  OK(veil_store_close(store));
}

static __attribute__((unused)) void again(void) {
  shut();
  EXPECT(begin());
}

static __attribute__((unused)) void commit(void) { OK(veil_store_commit(store, NULL)); }

static __attribute__((unused)) void list_set(const char *name, long length) {
  OK(veil_root_set(self, name, length != 0 ? list_make(self, length) : NULL));
}

// -1: there is none.
static __attribute__((unused)) long list_of(const char *name) {
  const node *list = veil_root_get(self, name);
  return list != NULL ? list_check(list) : -1;
}

// Another process does that, and dies by SIGKILL at the end. No heap is open. False: the back end does not work here.
static __attribute__((unused)) bool killed_after(void (*fn)(void)) {
  int how;
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    if (!begin()) {
      _exit(77);
    }
    fn();
    kill(getpid(), SIGKILL);
  }
  EXPECT(waitpid(pid, &how, 0) == pid);
  EXPECT((WIFEXITED(how) && WEXITSTATUS(how) == 77) || (WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL));
  return WIFSIGNALED(how);
}

#define SKIP() (folder_remove(), cr_skip_test("the back end does not work here"))
#define BEGIN(BACK_END)                                                                                                                                        \
  folder_make();                                                                                                                                               \
  on = (BACK_END);                                                                                                                                             \
  if (!begin()) {                                                                                                                                              \
    SKIP();                                                                                                                                                    \
  }
#define KILLED_AFTER(BACK_END, FN)                                                                                                                             \
  folder_make();                                                                                                                                               \
  on = (BACK_END);                                                                                                                                             \
  if (!killed_after(FN)) {                                                                                                                                     \
    SKIP();                                                                                                                                                    \
  }

#endif
