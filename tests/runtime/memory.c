// SPDX-License-Identifier: MIT
// memory.c: running out of memory, and asking for too much.

#include <criterion/criterion.h>
#include <sys/resource.h>
#include "tests/runtime/world.h"

typedef struct wide {
  char bytes[4096];
} wide;
VEIL_LEAF(wide);

// ---- Lengths.

DIES(memory, an_array_length_that_overflows_is_out_of_memory, "overflows") {
  start((veil_options){0});
  veil_new_array(self, wide, SIZE_MAX / 1000);
}

DIES(memory, an_array_of_pointers_whose_length_overflows_is_out_of_memory, "out of memory") {
  start((veil_options){0});
  veil_new_pointers(self, SIZE_MAX / 8 + 1);
}

DIES(memory, an_array_larger_than_the_limit_is_out_of_memory, "out of memory") {
  start((veil_options){0});
  veil_new_bytes(self, 100 * MIB);
}

ON_ALL_BACK_ENDS(memory, with_oom_null_such_arrays_are_null_and_the_error_says_why) {
  START_OR_SKIP(.back_end = back_end, .oom = VEIL_OOM_NULL);
  static const size_t lengths[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 8, SIZE_MAX - 7, (size_t)1 << 61, (size_t)1 << 48, (size_t)1 << 32};
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    cr_assert_null(veil_new_bytes(self, lengths[i]), "%zu", lengths[i]);
    cr_assert(strstr(veil_error(), "out of memory") != NULL, "%s", veil_error());
    cr_assert_null(veil_new_pointers(self, lengths[i]), "%zu", lengths[i]);
    cr_assert_null(veil_new_array(self, wide, lengths[i]), "%zu", lengths[i]);
  }
  cr_assert_eq(list_check(list_make(self, 1000)), 1000);
  end();
}

// ---- The limit.

static long fill(node **list) {
  long count = 0;
  for (node *n; (n = veil_new(self, node)) != NULL; count++) {
    n->right = *list;
    n->key = count;
    *list = n;
  }
  return count;
}

static __attribute__((noinline)) void fill_and_check(void) {
  node *list = NULL;
  long count = fill(&list);
  EXPECT(strstr(veil_error(), "out of memory") != NULL);
  EXPECT(count * 48 > MIB);
  for (node *n = list, *next; n != NULL; n = next) {
    EXPECT(n->key == --count);
    next = n->right;
    n->right = NULL; // or one word that a frame left behind would keep all of it
  }
  EXPECT(stats_of(heap).held_max_bytes <= 3 * MIB);
}

ON_ALL_BACK_ENDS(memory, with_oom_null_allocation_fails_at_the_limit_and_goes_on_when_memory_is_free_again) {
  START_OR_SKIP(.back_end = back_end, .oom = VEIL_OOM_NULL, .limit = 3 * MIB);
  for (int round = 0; round < 2; round++) {
    fill_and_check();
    stack_clear();
  }
  cr_assert_not_null(veil_new_bytes(self, MIB), "%s", veil_error());
  end();
}

static void fills_the_heap(void *back_end) {
  start((veil_options){.back_end = back_end, .limit = 2 * MIB});
  node *list = NULL;
  fill(&list);
}

Test(memory, without_it_the_program_is_told_and_aborted, .timeout = 60) {
  for (int i = 0; i < 2; i++) {
    death d = death_of(fills_the_heap, (char *[]){"none", "mprotect"}[i]);
    cr_assert(death_says(&d, "out of memory"));
    cr_assert(strstr(d.said, "limit") != NULL, "%s", d.said);
  }
}

ON_ALL_BACK_ENDS(memory, garbage_beyond_the_limit_many_times_over_is_no_problem) {
  START_OR_SKIP(.back_end = back_end, .limit = 8 * MIB);
  node *list = list_make(self, 20000); // 1 MiB
  for (int i = 0; i < 1500; i++) {
    cr_assert_eq(list_check(list_make(self, 500)), 500);
    memset(veil_new_bytes(self, 20000), 1, 20000);
    veil_new_bytes(self, (size_t)i * 100);
  }
  cr_assert_eq(list_check(list), 20000);
  cr_assert_leq(stats_of(heap).held_max_bytes, 8 * MIB);
  end();
}

ON_ALL_BACK_ENDS(memory, large_garbage_is_no_problem_either) {
  START_OR_SKIP(.back_end = back_end, .limit = 16 * MIB);
  for (int i = 0; i < 150; i++) {
    char *bytes = veil_new_bytes(self, 3 * MIB - (size_t)i * 1000);
    bytes[0] = bytes[2 * MIB - 1] = 1;
    void **pointers = veil_new_pointers(self, 100000);
    pointers[99999] = bytes;
  }
  end();
}

ON_ALL_BACK_ENDS(memory, small_garbage_gives_way_to_a_large_object) {
  START_OR_SKIP(.back_end = back_end, .limit = 32 * MIB, .oom = VEIL_OOM_NULL, .headroom = 16 * MIB);
  for (int round = 0; round < 4; round++) {
    for (int i = 0; i < 300; i++) {
      list_make(self, 1000);
    }
    stack_clear();
    cr_assert_not_null(veil_new_bytes(self, 24 * MIB), "%s", veil_error());
    stack_clear();
  }
  end();
}

ON_ALL_BACK_ENDS(memory, the_smallest_limit_works) {
  START_OR_SKIP(.back_end = back_end, .limit = 2 * MIB);
  node *list = list_make(self, 5000);
  for (int i = 0; i < 200; i++) {
    list_make(self, 500);
  }
  cr_assert_eq(list_check(list), 5000);
  end();
}

// Of a list one object can be copied at a time, and everybody who has nothing else to do is after it.
ON_ALL_BACK_ENDS(memory, a_list_scanned_by_several_threads_fills_its_pages) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .scanners = 3);
  node *list = list_make(self, 20000); // 1 MiB
  for (int i = 0; i < 40; i++) {
    veil_collect(self);
    uint64_t live = stats_of(heap).live_bytes;
    cr_assert_leq(live, 3 * MIB, "cycle %d: %lu bytes", i, (unsigned long)live);
  }
  cr_assert_eq(list_check(list), 20000);
  end();
}

static void *fills_and_forgets(void *unused) {
  veil_thread *me = veil_attach(heap);
  for (int i = 0; i < 400; i++) {
    node *list = list_make(me, 1000);
    EXPECT(list_check(list) == 1000);
  }
  veil_detach(me);
  return NULL;
}

ON_ALL_BACK_ENDS(memory, several_threads_near_the_limit_wait_for_memory_and_get_it) {
  START_OR_SKIP(.back_end = back_end, .limit = 6 * MIB);
  pthread_t thread[4];
  for (int i = 0; i < 4; i++) {
    thread[i] = thread_start(fills_and_forgets, NULL);
  }
  for (int i = 0; i < 400; i++) {
    cr_assert_eq(list_check(list_make(self, 1000)), 1000);
  }
  for (int i = 0; i < 4; i++) {
    veil_block_begin(self);
    pthread_join(thread[i], NULL);
    veil_block_end(self);
  }
  end();
}

// ---- ulimit -v.

#if !defined(__SANITIZE_ADDRESS__)
typedef struct address_space {
  const char *back_end;
  size_t mib, limit;
} address_space;

static void opens_with_little_address_space(void *arg) {
  address_space *space = arg;
  struct rlimit limit = {space->mib * MIB, space->mib * MIB};
  EXPECT(setrlimit(RLIMIT_AS, &limit) == 0);
  veil_options options = {.back_end = space->back_end, .limit = space->limit};
  heap = veil_open(&options);
  if (heap == NULL) {
    printf("refused: %s\n", veil_error());
    fflush(NULL);
    _exit(strlen(veil_error()) > 10 ? 3 : 4);
  }
  self = veil_attach(heap);
  EXPECT(self != NULL);
  node *list = list_make(self, 20000);
  for (int i = 0; i < 50; i++) {
    list_make(self, 5000);
  }
  veil_collect(self);
  EXPECT(list_check(list) == 20000);
  end();
}

Test(memory, with_little_address_space_opening_is_refused_with_a_reason_or_works, .timeout = 120) {
  static const char *const back_ends[] = {"none", "mprotect", "uffd", "guard", "uffd-kernel", NULL};
  int worked = 0, refused = 0;
  for (int b = 0; b < 6; b++) {
    for (size_t mib = 16; mib <= 4096; mib *= 2) {
      for (size_t limit = 0; limit <= 64 * MIB; limit += 64 * MIB) {
        address_space space = {back_ends[b], mib, limit};
        death d = death_of(opens_with_little_address_space, &space);
        cr_assert(d.signal == 0 && (d.code == 0 || d.code == 3), "%s, %zu MiB, limit %zu: signal %d, code %d: %s",
                  back_ends[b] ? back_ends[b] : "auto", mib, limit, d.signal, d.code, d.said);
        worked += d.code == 0;
        refused += d.code == 3;
        cr_assert(d.code == 0 || mib < 4096 || (!back_end_is_everywhere(back_ends[b]) && strstr(d.said, back_ends[b])), "%s", d.said);
      }
    }
  }
  cr_assert_gt(worked, 0);
  cr_assert_gt(refused, 0);
}
#endif
