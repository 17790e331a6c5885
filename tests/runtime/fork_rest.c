// SPDX-License-Identifier: MIT
// fork_rest.c: what else belongs to a heap that a child has: threads of veil's, callbacks, the loader's lock, threads that were started, stacks.

#include <dirent.h>
#include <signal.h>
#include "tests/runtime/fork.h"
#include "veil/events.h"
#include "veil/roots.h"
#include "veil/start.h"

static int volatile over;

// ---- What else belongs to a heap: threads of veil's, callbacks, the loader's lock, threads that were started, stacks.

static int threads_named(const char *name) {
  int count = 0;
  DIR *tasks = opendir("/proc/self/task");
  EXPECT(tasks != NULL);
  for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
    char path[300], comm[32] = "";
    snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
    FILE *file = task->d_name[0] == '.' ? NULL : fopen(path, "r");
    if (file != NULL) {
      count += fgets(comm, sizeof comm, file) != NULL && strncmp(comm, name, strlen(name)) == 0;
      fclose(file);
    }
  }
  closedir(tasks);
  return count;
}

// They are named a moment after they have begun.
static void threads_appear(const char *name, int wanted) {
  while (threads_named(name) < wanted) {
    sleep_ms(1);
  }
  EXPECT(threads_named(name) == wanted);
}

ON_ALL_BACK_ENDS(fork, a_child_has_the_threads_of_veils_that_its_parent_had) {
  START_OR_SKIP(.back_end = back_end, .scanners = 3);
  bool traps = strcmp(back_end, "none") != 0;
  pid_t child = fork();
  if (child == 0) {
    alarm(60);
    threads_appear("veil-scanner", traps ? 3 : 0);
    threads_appear("veil-keeper", 1);
    veil_detach(self);
    veil_close(heap); // joins them
    EXPECT(threads_named("veil-") == 0);
    _exit(0);
  }
  child_succeeds(child);
  end();
}

ON_ALL_BACK_ENDS(fork, the_keeper_may_be_at_work) {
  START_OR_SKIP(.back_end = back_end, .idle = 10, .limit = 64 * MIB);
  node *list = list_make(self, 5000);
  for (int i = 0; i < 15; i++) {
    list_make(self, 200000);
    veil_block_begin(self); // so that it runs cycles
    sleep_ms(8 + i);
    pid_t child = fork();
    if (child == 0) {
      alarm(60);
      sleep_ms(i);
      veil_block_end(self);
      child_works(list, 5000);
      veil_detach(self);
      veil_close(heap);
      _exit(0);
    }
    veil_block_end(self);
    child_succeeds(child);
  }
  cr_assert_eq(list_check(list), 5000);
  end();
}

static void *collects_until_over(void *unused) {
  veil_thread *me = veil_attach(heap);
  EXPECT(me != NULL);
  while (!over) {
    veil_collect(me);
  }
  veil_detach(me);
  return NULL;
}

static void ends(pthread_t thread) {
  over = 1;
  veil_block_begin(self);
  pthread_join(thread, NULL);
  veil_block_end(self);
}

static node *global_list;

ON_ALL_BACK_ENDS(fork, a_child_can_flip_with_the_loaders_lock) {
  START_OR_SKIP(.back_end = back_end, .data_roots = 1, .tls_roots = 1);
  global_list = list_make(self, 2000);
  over = 0;
  pthread_t thread = thread_start(collects_until_over, NULL);
  for (int i = 0; i < 20; i++) {
    pid_t child = fork();
    if (child == 0) {
      alarm(60);
      veil_collect(self);
      veil_collect(self);
      EXPECT(list_check(global_list) == 2000);
      _exit(0);
    }
    child_succeeds(child);
  }
  ends(thread);
  cr_assert_eq(list_check(global_list), 2000);
  end();
}

static int volatile told, told_may_return;
static void waits_when_told(void *arg, veil_thread *thread) {
  told = 1;
  while (!told_may_return) {
    sleep_ms(1);
  }
}

static void *attaches(void *unused) {
  veil_thread *me = veil_attach(heap);
  EXPECT(me != NULL);
  veil_detach(me);
  return NULL;
}

static void flips_count(void *arg, uint64_t cycle) { ++*(int *)arg; }

Test(fork, callbacks_that_others_are_in_are_over_in_the_child, .timeout = 120) {
  EXPECT(start((veil_options){0}));
  int flips = 0;
  veil_events waiting = {.thread_attached = waits_when_told}, counting = {.flip_begin = flips_count};
  veil_set_events(heap, &waiting, NULL);
  told = told_may_return = 0;
  pthread_t thread = thread_start(attaches, NULL);
  while (!told) {
    veil_poll(self);
  }
  pid_t child = fork();
  if (child == 0) {
    alarm(60);
    veil_set_events(heap, &counting, &flips);
    veil_collect(self);
    EXPECT(flips == 1);
    _exit(0);
  }
  child_succeeds(child);
  told_may_return = 1;
  ends(thread);
  veil_set_events(heap, &counting, &flips);
  veil_collect(self);
  cr_assert_eq(flips, 1);
  end();
}

static void *returns_it(veil_thread *me, void *object) { return object; }

static void *exits_when_nobody_is_attached(void *unused) {
  while (stats_of(heap).threads != 0) {
    sleep_ms(1);
  }
  veil_close(heap);
  _exit(0);
}

// In a thread that veil_thread_start started. In the child it is the only one of the program's, and its end is that of the process once others have ended.
static void *forks_itself(veil_thread *me, void *object) {
  pid_t child = fork();
  if (child == 0) {
    alarm(60);
    veil_collect(me);
    EXPECT(list_check(object) == 1000);
    EXPECT(pthread_detach(thread_start(exits_when_nobody_is_attached, NULL)) == 0);
    return object;
  }
  veil_block_begin(me);
  child_succeeds(child);
  veil_block_end(me);
  return object;
}

ON_ALL_BACK_ENDS(fork, threads_that_were_started_cannot_be_joined_in_the_child) {
  START_OR_SKIP(.back_end = back_end);
  node *list = list_make(self, 1000);
  pthread_t thread, forker;
  EXPECT(veil_thread_start(self, &thread, NULL, returns_it, list) == VEIL_OK);
  pid_t child = fork();
  if (child == 0) {
    alarm(60);
    void *result;
    EXPECT(veil_thread_join(self, thread, &result) == VEIL_INVALID);
    EXPECT(veil_thread_start(self, &thread, NULL, returns_it, list) == VEIL_OK);
    EXPECT(veil_thread_join(self, thread, &result) == VEIL_OK && list_check(result) == 1000);
    child_works(list, 1000);
    veil_detach(self);
    veil_close(heap);
    _exit(0);
  }
  child_succeeds(child);
  void *result;
  EXPECT(veil_thread_join(self, thread, &result) == VEIL_OK);
  cr_assert_eq(list_check(result), 1000);
  EXPECT(veil_thread_start(self, &forker, NULL, forks_itself, list) == VEIL_OK);
  EXPECT(veil_thread_join(self, forker, &result) == VEIL_OK);
  cr_assert_eq(list_check(result), 1000);
  end();
}

static veil_stack *others_stack;
static int volatile on_it;

static void *says_it_runs_on_a_stack(void *unused) {
  static char memory[65536] __attribute__((aligned(64)));
  veil_thread *me = veil_attach(heap);
  EXPECT(me != NULL && (others_stack = veil_stack_open(me, memory, sizeof memory)) != NULL);
  veil_stack_switch(me, others_stack); // and is about to
  on_it = 1;
  while (!over) {
    veil_poll(me);
  }
  veil_stack_switch(me, NULL);
  veil_stack_drop(me, others_stack);
  veil_detach(me);
  return NULL;
}

Test(fork, nobody_runs_on_the_stacks_of_others_in_the_child, .timeout = 120) {
  EXPECT(start((veil_options){0}));
  node *list = list_make(self, 1000);
  over = on_it = 0;
  pthread_t thread = thread_start(says_it_runs_on_a_stack, NULL);
  while (!on_it) {
    veil_poll(self);
  }
  pid_t child = fork();
  if (child == 0) {
    alarm(60);
    veil_collect(self);
    veil_stack_drop(self, others_stack); // aborts if somebody did
    child_works(list, 1000);
    _exit(0);
  }
  child_succeeds(child);
  ends(thread);
  end();
}
