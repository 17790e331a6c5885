// SPDX-License-Identifier: MIT
// fork_none.c: children that have no heap, those that exec, and what is no fork.

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include "tests/runtime/fork.h"

extern char **environ;

static veil_heap *heap2;

// ---- The child that gets nothing.

static void without_descriptors(unsigned left) {
  int lowest = dup(0);
  EXPECT(lowest >= 0);
  close(lowest);
  struct rlimit limit = {(rlim_t)lowest + left, (rlim_t)lowest + left};
  EXPECT(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static void child_finds_no_heap(void (*use)(node *), unsigned descriptors) {
  EXPECT(start((veil_options){0}));
  node *list = list_make(self, 1000);
  without_descriptors(descriptors);
  pid_t child = fork();
  if (child == 0) {
    use(list);
    _exit(0);
  }
  EXPECT(WIFSIGNALED(status_of(child)) && list_check(list) == 1000);
  list_make(self, 1000);
  veil_collect(self);
  EXPECT(list_check(list) == 1000);
  abort(); // dies as DIES wants it: the parent is as before
}

static void use_by_touch(node *list) { list->key++; }
static void use_by_call(node *list) { veil_collect(self); }
static void use_by_attaching(node *list) { veil_attach(heap); }

DIES(fork, a_touch_in_a_child_without_a_pipe_speaks, "could not get a copy") { child_finds_no_heap(use_by_touch, 0); }
DIES(fork, a_call_in_a_child_without_a_pipe_speaks, "no file descriptor") { child_finds_no_heap(use_by_call, 0); }
DIES(fork, attaching_in_a_child_without_a_pipe_speaks, "no file descriptor") { child_finds_no_heap(use_by_attaching, 1); }
DIES(fork, a_touch_in_a_child_without_memory_speaks, "could not get a copy") { child_finds_no_heap(use_by_touch, 2); }
DIES(fork, a_call_in_a_child_without_memory_speaks, "no memory") { child_finds_no_heap(use_by_call, 2); }

Test(fork, a_child_without_a_copy_may_still_exit, .timeout = 60) {
  EXPECT(start((veil_options){0}));
  node *list = list_make(self, 1000);
  without_descriptors(1); // which pthread_exit wants
  pid_t child = fork();
  if (child == 0) {
    pthread_exit(NULL); // the thread is detached, which touches nothing
  }
  child_succeeds(child);
  cr_assert_eq(list_check(list), 1000);
  end();
}

static pid_t volatile killed;

// The first child of this process that it sees.
static void *kills_the_child(void *unused) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
  while (!killed) {
    FILE *file = fopen(path, "r");
    int child;
    if (file != NULL && fscanf(file, "%d", &child) == 1) {
      kill(child, SIGKILL);
      killed = child;
    }
    fclose(file);
  }
  return NULL;
}

Test(fork, a_child_that_dies_while_it_copies_does_not_hang_the_parent, .timeout = 120) {
  EXPECT(start((veil_options){.limit = 512 * MIB}));
  char *large[20];
  for (int i = 0; i < 20; i++) {
    large[i] = veil_new_bytes(self, 10 * MIB);
  }
  node *list = list_make(self, 1000);
  pthread_t killer = thread_start(kills_the_child, NULL);
  pid_t child = fork();
  if (child == 0) {
    pause();
  }
  pthread_join(killer, NULL);
  cr_assert_eq(status_of(child), SIGKILL);
  cr_assert_eq(list_check(list), 1000);
  large[0][5] = 1;
  veil_collect(self);
  cr_assert_eq(list_check(list), 1000);
  end();
}

// ---- fork=exec.

static void with_exec(void (*use)(node *), const char *back_end) {
  EXPECT(start((veil_options){.fork = VEIL_FORK_EXEC, .back_end = back_end}));
  node *list = list_make(self, 1000);
  veil_collect_start(self);
  pid_t child = fork();
  if (child == 0) {
    use(list);
    _exit(0);
  }
  int status = status_of(child);
  EXPECT(list_check(list) == 1000);
  veil_collect(self);
  EXPECT(list_check(list) == 1000);
  end();
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) {
    fprintf(stderr, "veil: (no message) the child died by SIGSEGV\n");
  }
  abort();
}

DIES(fork, with_exec_a_touch_is_a_fault_on_uffd, "died by SIGSEGV") { with_exec(use_by_touch, "uffd"); }
DIES(fork, with_exec_a_touch_is_a_fault_on_uffd_kernel, "died by SIGSEGV") { with_exec(use_by_touch, "uffd-kernel"); }
DIES(fork, with_exec_a_touch_is_a_fault_on_guard, "died by SIGSEGV") { with_exec(use_by_touch, "guard"); }
DIES(fork, with_exec_a_touch_is_a_fault_on_mprotect, "died by SIGSEGV") { with_exec(use_by_touch, "mprotect"); }
DIES(fork, with_exec_a_touch_is_a_fault_on_none, "died by SIGSEGV") { with_exec(use_by_touch, "none"); }
DIES(fork, with_exec_a_call_names_the_option, "fork=exec") { with_exec(use_by_call, NULL); }
DIES(fork, with_exec_attaching_names_the_option, "fork=exec") { with_exec(use_by_attaching, NULL); }

static void execs(node *list) {
  execl("/bin/sh", "sh", "-c", "exit 7", (char *)NULL);
}

Test(fork, with_exec_the_child_may_exec, .timeout = 60) {
  EXPECT(start((veil_options){.fork = VEIL_FORK_EXEC}));
  node *list = list_make(self, 1000);
  pid_t child = fork();
  if (child == 0) {
    execs(list);
    _exit(1);
  }
  int status = status_of(child);
  cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 7);
  cr_assert_eq(list_check(list), 1000);
  end();
}

Test(fork, a_heap_with_exec_beside_one_that_is_copied, .timeout = 60) {
  EXPECT(start((veil_options){0}));
  heap2 = heap_open((veil_options){.fork = VEIL_FORK_EXEC});
  node *list = list_make(self, 5000);
  pid_t child = fork();
  if (child == 0) {
    child_works(list, 5000);
    _exit(0);
  }
  child_succeeds(child);
  veil_close(heap2);
  end();
}

// ---- What is no fork.

static void spawns(veil_fork fork) {
  EXPECT(start((veil_options){.fork = fork}));
  node *list = list_make(self, 20000);
  for (int i = 0; i < 10; i++) {
    veil_collect_start(self);
    char *arguments[] = {"sh", "-c", "exit 7", NULL};
    pid_t child;
    EXPECT(posix_spawn(&child, "/bin/sh", NULL, NULL, arguments, environ) == 0);
    int status = status_of(child);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    EXPECT(system("exit 7") == 7 << 8);
    child = vfork();
    if (child == 0) {
      _exit(7);
    }
    status = status_of(child);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    EXPECT(list_check(list) == 20000);
  }
  end();
}

Test(fork, spawning_costs_no_copy, .timeout = 60) { spawns(VEIL_FORK_COPY); }
Test(fork, spawning_works_with_exec, .timeout = 60) { spawns(VEIL_FORK_EXEC); }
