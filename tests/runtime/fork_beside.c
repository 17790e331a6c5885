// SPDX-License-Identifier: MIT
// fork_beside.c: what is under way beside a fork: handlers of the program's, a second heap, system calls, services.

#include <fcntl.h>
#include <signal.h>
#include "tests/runtime/fork.h"
#include "veil/hooks.h"

static int volatile over;

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

static __attribute__((noinline)) uintptr_t place_of(node *const *slot) {
  uintptr_t place = ~(uintptr_t)(*slot)->right->right->right;
  stack_clear();
  return place;
}

// Who wants blocks to stay in place is the parent's.
ON_TRAPPING_BACK_ENDS(fork, a_child_moves_what_stays_in_place_in_its_parent) {
  START_OR_SKIP(.back_end = back_end, .generations = VEIL_GENERATIONS_OFF);
  veil_service *service = veil_service_open(heap, "keeps", &(veil_service_callbacks){0}, NULL);
  node **slot = (node **)veil_new_pointers(self, 1);
  slot[0] = list_make(self, 20000);
  veil_collect(self);
  veil_collect(self);
  veil_service_keep_in_place(service, true);
  uintptr_t place = place_of(slot);
  pid_t child = fork();
  if (child == 0) {
    veil_collect(self);
    uintptr_t moved = place_of(slot);
    veil_collect(self);
    EXPECT(moved != place || place_of(slot) != moved); // the second may bring it back
    veil_service_keep_in_place(service, true);
    place = place_of(slot);
    veil_collect(self);
    EXPECT(place_of(slot) == place);
    veil_service_close(service);
    child_works(slot[0], 20000);
    _exit(0);
  }
  child_succeeds(child);
  veil_collect(self);
  cr_assert_eq(place_of(slot), place);
  veil_service_close(service);
  end();
}
