// SPDX-License-Identifier: MIT
// fork.c: a child has a heap of its own, or none; the parent notices nothing (rt.fork).

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include "tests/runtime/world.h"
#include "veil/events.h"
#include "veil/hooks.h"
#include "veil/roots.h"
#include "veil/start.h"

extern char **environ;

// ---- Children. They end in _exit(0), or say on stderr what is wrong and abort.

static int status_of(pid_t child) {
  int status;
  EXPECT(child > 0);
  while (waitpid(child, &status, 0) < 0) {
    EXPECT(errno == EINTR);
  }
  return status;
}

static void child_succeeds(pid_t child) {
  int status = status_of(child);
  cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with status %x", status);
}

static void change(node *list) {
  for (; list != NULL; list = list->right) {
    list->key += 1000000;
  }
}

static void unchange(node *list) {
  for (; list != NULL; list = list->right) {
    list->key -= 1000000;
  }
}

// What a child does with a list of that length that it had: all that a program may do.
static void child_works(node *list, long length) {
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
  for (int i = 0; i < 20; i++) {
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

// ---- Handlers of the program's.

static pthread_mutex_t programs_lock = PTHREAD_MUTEX_INITIALIZER;
static void programs_prepare(void) { pthread_mutex_lock(&programs_lock); }
static void programs_after(void) { pthread_mutex_unlock(&programs_lock); }

static void *allocates_under_the_lock(void *unused) {
  veil_thread *me = veil_attach(heap);
  EXPECT(me != NULL);
  while (!over) {
    veil_block_begin(me);
    pthread_mutex_lock(&programs_lock);
    veil_block_end(me);
    list_make(me, 500);
    pthread_mutex_unlock(&programs_lock);
  }
  veil_detach(me);
  return NULL;
}

Test(fork, a_handler_may_take_a_lock_under_which_mutators_allocate, .timeout = 120) {
  EXPECT(pthread_atfork(programs_prepare, programs_after, programs_after) == 0); // before the heap opens
  EXPECT(start((veil_options){0}));
  over = 0;
  node *list = list_make(self, 5000);
  pthread_t thread = thread_start(allocates_under_the_lock, NULL);
  for (int i = 0; i < 30; i++) {
    pid_t child = fork();
    if (child == 0) {
      alarm(60);
      child_works(list, 5000);
      _exit(0);
    }
    child_succeeds(child);
  }
  over = 1;
  veil_block_begin(self);
  pthread_join(thread, NULL);
  veil_block_end(self);
  end();
}

// ---- Several heaps.

static veil_heap *heap2;

static void *uses_two_heaps(void *unused) {
  veil_thread *one = veil_attach(heap), *two = veil_attach(heap2);
  EXPECT(one != NULL && two != NULL);
  while (!over) {
    EXPECT(list_check(list_make(one, 300)) == 300);
    EXPECT(list_check(list_make(two, 300)) == 300);
  }
  veil_detach(one);
  veil_detach(two);
  return NULL;
}

static void forks_with_two_heaps(veil_stop stop) {
  EXPECT(start((veil_options){.stop = stop, .headroom = 16 * MIB}));
  heap2 = heap_open((veil_options){.stop = stop, .headroom = 16 * MIB, .back_end = "mprotect"});
  veil_thread *self2 = veil_attach(heap2);
  EXPECT(self2 != NULL);
  over = 0;
  node *list = list_make(self, 1000), *list2 = list_make(self2, 2000);
  pthread_t thread = thread_start(uses_two_heaps, NULL);
  for (int i = 0; i < 20; i++) {
    pid_t child = fork();
    if (child == 0) {
      alarm(60);
      EXPECT(list_check(list) == 1000 && list_check(list2) == 2000);
      veil_collect(self);
      veil_collect(self2);
      EXPECT(list_check(list) == 1000 && list_check(list2) == 2000);
      _exit(0);
    }
    child_succeeds(child);
  }
  over = 1;
  veil_block_begin(self);
  veil_block_begin(self2);
  pthread_join(thread, NULL);
  veil_block_end(self2);
  veil_block_end(self);
  EXPECT(list_check(list) == 1000 && list_check(list2) == 2000);
  veil_detach(self2);
  veil_close(heap2);
  end();
}

Test(fork, two_heaps_are_copied, .timeout = 120) { forks_with_two_heaps(VEIL_STOP_SIGNAL); }
Test(fork, two_heaps_are_copied_where_threads_stop_by_polls, .timeout = 120) { forks_with_two_heaps(VEIL_STOP_POLL); }

// ---- System calls of other threads.

static int data[2];
static int volatile reads;

static void *reads_into_objects(void *arg) {
  bool leaf = arg != NULL;
  enum { BYTES = 6000 };
  veil_thread *me = veil_attach(heap);
  EXPECT(me != NULL);
  char *buffer = leaf ? veil_new_bytes(me, BYTES) : (char *)veil_new_pointers(me, BYTES / 8);
  EXPECT(leaf || veil_touch(me, buffer, BYTES, true) == VEIL_OK);
  for (;;) {
    veil_block_begin(me);
    ssize_t n = read(data[0], buffer, BYTES);
    veil_block_end(me);
    if (n == 0) {
      break;
    }
    EXPECT(n > 0); // EFAULT above all
    if (!leaf) {
      memset(buffer, 0, BYTES); // no references
    }
    reads++;
  }
  if (!leaf) {
    veil_untouch(me, buffer);
  }
  veil_detach(me);
  return NULL;
}

static void *writes_data(void *unused) {
  char zeros[6000] = {0};
  while (!over) {
    EXPECT(write(data[1], zeros, sizeof zeros) > 0);
  }
  close(data[1]);
  return NULL;
}

static void forks_beside_reads(const char *back_end, void *leaf) {
  if (!start((veil_options){.back_end = back_end})) {
    cr_skip_test("the back end does not work here");
  }
  over = 0;
  reads = 0;
  EXPECT(pipe(data) == 0);
  node *list = list_make(self, 50000);
  pthread_t reader = thread_start(reads_into_objects, leaf), writer = thread_start(writes_data, NULL);
  for (int i = 0; i < 30; i++) {
    int before = reads;
    pid_t child = fork();
    if (child == 0) {
      alarm(60);
      EXPECT(list_check(list) == 50000);
      veil_collect(self);
      veil_verify(self);
      _exit(0);
    }
    child_succeeds(child);
    while (reads == before) {
      sleep_ms(1);
    }
  }
  over = 1;
  veil_block_begin(self);
  pthread_join(writer, NULL);
  pthread_join(reader, NULL);
  veil_block_end(self);
  end();
}

ON_ALL_BACK_ENDS(fork, a_read_into_a_leaf_object_is_not_disturbed) { forks_beside_reads(back_end, (void *)1); }
ON_ALL_BACK_ENDS(fork, a_read_into_a_touched_object_is_not_disturbed) { forks_beside_reads(back_end, NULL); }

ON_ALL_BACK_ENDS(fork, a_child_may_read_into_leaf_objects) {
  START_OR_SKIP(.back_end = back_end);
  char *small = veil_new_bytes(self, 100), *large = veil_new_bytes(self, 200000);
  memset(small, 1, 100);
  memset(large, 1, 200000);
  pid_t child = fork();
  if (child == 0) {
    int fd = open("/dev/zero", O_RDONLY);
    EXPECT(fd >= 0 && read(fd, small, 100) == 100 && read(fd, large, 200000) == 200000);
    EXPECT(small[99] == 0 && large[199999] == 0);
    _exit(0);
  }
  child_succeeds(child);
  cr_assert(small[99] == 1 && large[199999] == 1);
  end();
}

// ---- Services.

static void dirty_count(void *arg, size_t page) { ++*(size_t *)arg; }

ON_TRAPPING_BACK_ENDS(fork, a_service_of_the_child_loses_no_write) {
  START_OR_SKIP(.back_end = back_end);
  veil_service_callbacks none = {0};
  veil_service *service = veil_service_open(heap, "dirty", &none, NULL);
  EXPECT(service != NULL);
  node *list = list_make(self, 5000);
  size_t count = 0;
  veil_service_dirty(service, dirty_count, &count);
  cr_assert_gt(count, 0);
  change(list); // not told yet
  pid_t child = fork();
  if (child == 0) {
    unchange(list);
    size_t told = 0;
    EXPECT(veil_service_dirty(service, dirty_count, &told) >= 5000 * 48 / 4096);
    told = 0;
    veil_service_dirty(service, dirty_count, &told);
    change(list);
    EXPECT(veil_service_dirty(service, dirty_count, &told) >= 5000 * 48 / 4096);
    unchange(list);
    child_works(list, 5000);
    _exit(0);
  }
  child_succeeds(child);
  size_t told = 0;
  cr_assert_geq(veil_service_dirty(service, dirty_count, &told), 5000 * 48 / 4096);
  unchange(list);
  cr_assert_eq(list_check(list), 5000);
  veil_service_close(service);
  end();
}

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
