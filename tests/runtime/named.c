// SPDX-License-Identifier: MIT
// named.c: roots with names: they hold, follow, are found again, and are let go; many of them, by many threads, in a child of fork.

#include <criterion/criterion.h>
#include <sys/wait.h>
#include "tests/runtime/world.h"
#include "veil/roots.h"

enum { MANY = 100000 };

static const char *name_of(int i) {
  static _Thread_local char name[32];
  snprintf(name, sizeof name, "root %d", i);
  return name;
}

static __attribute__((noinline)) void lists_name(int count) {
  for (int i = 0; i < count; i++) {
    EXPECT(veil_root_set(self, name_of(i), list_make(self, i % 50 + 1)) == VEIL_OK);
  }
}

static void lists_check(int count) {
  for (int i = 0; i < count; i++) {
    node *list = veil_root_get(self, name_of(i));
    EXPECT(list != NULL && list_check(list) == i % 50 + 1);
  }
}

ON_ALL_BACK_ENDS(named, roots_hold_their_objects_and_follow_them) {
  START_OR_SKIP(.back_end = back_end, .limit = 128 * MIB, .verify = 2);
  lists_name(1000);
  stack_clear();
  static uintptr_t before[1000]; // hidden
  for (int i = 0; i < 1000; i++) {
    before[i] = ~(uintptr_t)veil_root_get(self, name_of(i));
  }
  for (int cycle = 0; cycle < 5; cycle++) {
    stack_clear();
    veil_collect(self);
    lists_check(1000);
    veil_collect_minor(self);
    lists_check(1000);
  }
  int moved = 0;
  for (int i = 0; i < 1000; i++) {
    moved += ~(uintptr_t)veil_root_get(self, name_of(i)) != before[i];
  }
  cr_assert_gt(moved, 900, "%d of 1000 have moved", moved); // words on the stack may hold some
  end();
}

ON_ALL_BACK_ENDS(named, roots_follow_what_moves_in_minor_cycles) {
  START_OR_SKIP(.back_end = back_end, .limit = 128 * MIB, .verify = 2, .generations = VEIL_GENERATIONS_ON);
  for (int round = 0; round < 5; round++) {
    lists_name(1000);
    stack_clear();
    veil_collect_minor(self);
    lists_check(1000);
    veil_collect_minor(self);
    veil_collect_start(self);
    veil_collect_minor(self);
    lists_check(1000);
  }
  end();
}

static __attribute__((noinline)) void big_name(void) {
  EXPECT(veil_root_set(self, "big", veil_new_bytes(self, 10 * MIB)) == VEIL_OK);
}

ON_ALL_BACK_ENDS(named, an_object_dies_when_its_name_is_given_to_another_or_taken_away) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 1);
  big_name();
  stack_clear();
  veil_collect(self);
  cr_assert_geq(stats_of(heap).live_bytes, 10 * MIB);
  cr_assert_eq(veil_root_set(self, "big", veil_new(self, node)), VEIL_OK);
  stack_clear();
  veil_collect(self);
  cr_assert_lt(stats_of(heap).live_bytes, 10 * MIB);
  big_name();
  cr_assert_eq(veil_root_set(self, "big", NULL), VEIL_OK);
  cr_assert_null(veil_root_get(self, "big"));
  cr_assert_eq(veil_root_set(self, "big", NULL), VEIL_OK); // and again
  stack_clear();
  veil_collect(self);
  cr_assert_lt(stats_of(heap).live_bytes, 10 * MIB);
  end();
}

Test(named, names_have_1_to_255_bytes_of_any_kind) {
  start((veil_options){.verify = 1});
  node *n = veil_new(self, node);
  char name[257];
  memset(name, 0xff, sizeof name);
  name[256] = 0;
  cr_assert_eq(veil_root_set(self, name, n), VEIL_INVALID);
  cr_assert_null(veil_root_get(self, name));
  name[255] = 0;
  cr_assert_eq(veil_root_set(self, name, n), VEIL_OK);
  cr_assert_eq(veil_root_get(self, name), n);
  cr_assert_eq(veil_root_set(self, "", n), VEIL_INVALID);
  cr_assert(strstr(veil_error(), "a name has 1 to 255 bytes") != NULL, "%s", veil_error());
  cr_assert_eq(veil_root_set(self, NULL, n), VEIL_INVALID);
  cr_assert_null(veil_root_get(self, NULL));
  end();
}

DIES(named, what_is_no_object_gets_no_name, "veil_root_set: ") {
  start((veil_options){.verify = 1});
  veil_root_set(self, "inside", &veil_new(self, node)->key);
}

Test(named, names_are_copied_and_may_be_as_many_as_one_likes, .timeout = 120) {
  start((veil_options){.limit = 512 * MIB});
  lists_name(MANY);
  stack_clear();
  veil_collect(self);
  lists_check(MANY);
  for (int i = 0; i < MANY; i++) { // in another order than they came
    int k = (int)((long)i * 7919 % MANY);
    if (k % 3 != 0) {
      EXPECT(veil_root_set(self, name_of(k), NULL) == VEIL_OK);
    }
  }
  stack_clear();
  veil_collect(self);
  for (int i = 0; i < MANY; i++) {
    node *list = veil_root_get(self, name_of(i));
    EXPECT(i % 3 == 0 ? list_check(list) == i % 50 + 1 : list == NULL);
  }
  end();
}

static volatile bool ends;
static void *worker(void *arg) {
  veil_thread *me = veil_attach(heap);
  for (int i = 0; !ends; i++) {
    char name[32];
    snprintf(name, sizeof name, "%d of %d", i % 500, (int)(intptr_t)arg);
    node *n = veil_root_get(me, name);
    EXPECT(n == NULL || n->key == i % 500);
    node *fresh = i % 7 == 0 ? NULL : veil_new(me, node);
    if (fresh != NULL) {
      fresh->key = i % 500;
    }
    EXPECT(veil_root_set(me, name, fresh) == VEIL_OK);
  }
  veil_detach(me);
  return NULL;
}

ON_TRAPPING_BACK_ENDS(named, threads_name_and_find_while_others_collect) {
  START_OR_SKIP(.back_end = back_end, .limit = 128 * MIB, .verify = 2, .torture = 20);
  ends = false;
  pthread_t threads[3];
  for (intptr_t i = 0; i < 3; i++) {
    threads[i] = thread_start(worker, (void *)i);
  }
  lists_name(1000);
  for (int i = 0; i < 20; i++) {
    stack_clear();
    veil_collect(self);
    lists_check(1000);
  }
  ends = true;
  veil_block_begin(self);
  for (int i = 0; i < 3; i++) {
    pthread_join(threads[i], NULL);
  }
  veil_block_end(self);
  end();
}

#ifndef __SANITIZE_ADDRESS__ // as fork.c
ON_ALL_BACK_ENDS(named, a_child_of_fork_has_them_too) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 2);
  lists_name(500);
  pid_t child = fork();
  if (child == 0) {
    veil_root_set(self, "root 3", NULL);
    veil_root_set(self, "mine", veil_new(self, node));
    veil_collect(self);
    EXPECT(veil_root_get(self, "root 3") == NULL && veil_root_get(self, "mine") != NULL);
    EXPECT(list_check(veil_root_get(self, "root 49")) == 50);
    _exit(0);
  }
  int status;
  EXPECT(waitpid(child, &status, 0) == child);
  cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  lists_check(500);
  cr_assert_null(veil_root_get(self, "mine"));
  end();
}
#endif
