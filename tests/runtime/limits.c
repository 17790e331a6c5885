// SPDX-License-Identifier: MIT
// limits.c: the limit changed while the heap runs, memory owned outside, the out-of-memory hook, the soft limit, idle heaps.

#include <criterion/criterion.h>
#include <setjmp.h>
#include "runtime/runtime.h"
#include "tests/runtime/world.h"

static node *root; // registered where a test says so

// A list in `root`, and nothing of it on the stack.
static __attribute__((noinline)) void root_fill(long length) {
  for (long i = 0; i < length; i++) {
    node *n = veil_new(self, node);
    EXPECT(n != NULL);
    n->right = root;
    root = n;
  }
}

// Adds to the list until there is no memory: how many.
static __attribute__((noinline)) long root_fill_up(void) {
  long count = 0;
  for (node *n; (n = veil_new(self, node)) != NULL; count++) {
    n->right = root;
    root = n;
  }
  return count;
}

// ---- The limit.

ON_ALL_BACK_ENDS(limits, the_limit_is_raised_and_lowered_while_the_heap_runs) {
  START_OR_SKIP(.back_end = back_end, .limit = 8 * MIB, .reserve = 64 * MIB, .oom = VEIL_OOM_NULL);
  cr_assert_eq(veil_add_roots(heap, &root, 1), VEIL_OK);
  cr_assert_null(veil_new_bytes(self, 20 * MIB));
  cr_assert_eq(veil_set_limit(heap, 64 * MIB), VEIL_OK);
  cr_assert_eq(stats_of(heap).limit_bytes, 64 * MIB);
  cr_assert_not_null(veil_new_bytes(self, 20 * MIB), "%s", veil_error());
  root_fill(300000); // 14 MiB
  root = NULL;
  stack_clear();
  veil_collect(self);
  cr_assert_eq(veil_set_limit(heap, 4 * MIB), VEIL_OK);
  cr_assert_null(veil_new_bytes(self, 6 * MIB));
  for (int i = 0; stats_of(heap).held_bytes > 8 * MIB; i++) { // what is free goes back
    cr_assert_lt(i, 2000, "%lu bytes", (unsigned long)stats_of(heap).held_bytes);
    sleep_ms(5);
    veil_collect(self);
  }
  root_fill(10000);
  veil_collect(self);
  end();
}

ON_ALL_BACK_ENDS(limits, a_limit_lowered_below_what_lives_loses_nothing) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .oom = VEIL_OOM_NULL, .verify = 2);
  node *list = list_make(self, 200000); // 9 MiB
  cr_assert_eq(veil_set_limit(heap, 2 * MIB), VEIL_OK);
  cr_assert_null(veil_new_bytes(self, 100000));
  veil_collect(self);
  cr_assert_eq(list_check(list), 200000);
  cr_assert_eq(veil_set_limit(heap, 64 * MIB), VEIL_OK);
  cr_assert_not_null(veil_new_bytes(self, 100000), "%s", veil_error());
  veil_collect(self);
  cr_assert_eq(list_check(list), 200000);
  end();
}

Test(limits, a_limit_out_of_range_is_refused_and_named) {
  start((veil_options){.limit = 8 * MIB, .reserve = 16 * MIB});
  static const size_t bad[] = {0, 1, 2 * MIB - 1, 16 * MIB + 1, SIZE_MAX};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    cr_assert_eq(veil_set_limit(heap, bad[i]), VEIL_INVALID);
    cr_assert(strstr(veil_error(), "veil_set_limit") && strstr(veil_error(), "reserve"), "%s", veil_error());
  }
  cr_assert_eq(veil_set_limit(heap, 16 * MIB), VEIL_OK);
  end();
}

// ---- Out of memory.

static unsigned asked;
static size_t asked_bytes;

static bool hook_drops(void *arg, size_t bytes) {
  asked++;
  asked_bytes = bytes;
  free(malloc(100)); // it may: this is no critical section
  EXPECT(arg == &asked);
  bool more = root != NULL;
  root = NULL;
  stack_clear();
  return more;
}

ON_ALL_BACK_ENDS(limits, the_hook_drops_references_and_allocation_goes_on) {
  START_OR_SKIP(.back_end = back_end, .limit = 6 * MIB);
  cr_assert_eq(veil_add_roots(heap, &root, 1), VEIL_OK);
  cr_assert_eq(veil_set_oom_hook(heap, hook_drops, &asked), VEIL_OK);
  root_fill(300000); // more than there is, several times, with oom=abort
  cr_assert_gt(asked, 3);
  cr_assert_eq(asked_bytes, 48);
  end();
}

static bool hook_raises(void *arg, size_t bytes) {
  (void)arg, (void)bytes;
  asked++;
  size_t limit = stats_of(heap).limit_bytes * 2;
  return veil_set_limit(heap, limit) == VEIL_OK;
}

ON_ALL_BACK_ENDS(limits, the_hook_raises_the_limit_and_then_the_option_decides) {
  START_OR_SKIP(.back_end = back_end, .limit = 3 * MIB, .reserve = 24 * MIB, .oom = VEIL_OOM_NULL);
  cr_assert_eq(veil_add_roots(heap, &root, 1), VEIL_OK);
  cr_assert_eq(veil_set_oom_hook(heap, hook_raises, NULL), VEIL_OK);
  long count = root_fill_up();
  cr_assert_eq(asked, 4, "%u", asked); // 6, 12, 24, and no more
  cr_assert_gt(count * 48, 8 * MIB);
  cr_assert_eq(stats_of(heap).limit_bytes, 24 * MIB);
  cr_assert(strstr(veil_error(), "of 25165824 in use") != NULL, "%s", veil_error());
  end();
}

static bool hook_refuses(void *arg, size_t bytes) {
  (void)arg, (void)bytes;
  asked++;
  return false;
}

ON_ALL_BACK_ENDS(limits, each_failing_allocation_asks_once) {
  START_OR_SKIP(.back_end = back_end, .limit = 4 * MIB, .oom = VEIL_OOM_NULL);
  cr_assert_eq(veil_set_oom_hook(heap, hook_refuses, NULL), VEIL_OK);
  for (unsigned i = 1; i <= 3; i++) {
    cr_assert_null(veil_new_bytes(self, 10 * MIB));
    cr_assert_eq(asked, i);
  }
  cr_assert_null(veil_new_bytes(self, SIZE_MAX / 2));
  cr_assert_eq(asked, 3, "no hook helps against a size that overflows");
  cr_assert_eq(veil_set_oom_hook(heap, NULL, NULL), VEIL_OK);
  cr_assert_null(veil_new_bytes(self, 10 * MIB));
  cr_assert_eq(asked, 3);
  end();
}

DIES(limits, a_hook_that_refuses_leaves_it_to_the_option, "out of memory") {
  start((veil_options){.limit = 4 * MIB});
  veil_set_oom_hook(heap, hook_refuses, NULL);
  veil_new_bytes(self, 10 * MIB);
}

static bool hook_allocates(void *arg, size_t bytes) {
  (void)arg, (void)bytes;
  asked++;
  EXPECT(veil_new(self, node) != NULL); // a crumb is there
  EXPECT(veil_new_bytes(self, 10 * MIB) == NULL); // this is not, and does not ask again
  veil_collect(self);
  return asked < 3;
}

ON_ALL_BACK_ENDS(limits, a_hook_may_allocate_and_is_never_asked_inside_itself) {
  START_OR_SKIP(.back_end = back_end, .limit = 4 * MIB, .oom = VEIL_OOM_NULL);
  cr_assert_eq(veil_set_oom_hook(heap, hook_allocates, NULL), VEIL_OK);
  cr_assert_null(veil_new_bytes(self, 10 * MIB));
  cr_assert_eq(asked, 3); // each time it said once more
  end();
}

static jmp_buf out;

static bool hook_jumps(void *arg, size_t bytes) {
  (void)arg, (void)bytes;
  asked++;
  veil_oom_hook_left(self);
  longjmp(out, 1);
}

ON_ALL_BACK_ENDS(limits, a_hook_may_leave_by_longjmp) {
  START_OR_SKIP(.back_end = back_end, .limit = 4 * MIB, .verify = 1);
  cr_assert_eq(veil_set_oom_hook(heap, hook_jumps, NULL), VEIL_OK);
  cr_assert_eq(veil_add_roots(heap, &root, 1), VEIL_OK);
  for (unsigned volatile round = 1; round <= 4; round++) {
    if (setjmp(out) == 0) {
      root_fill(1000000);
      cr_assert(false, "there was memory for all that");
    }
    cr_assert_eq(asked, round, "it is asked again after it was left");
    root = NULL;
    stack_clear();
  }
  veil_collect(self);
  cr_assert_eq(list_check(list_make(self, 1000)), 1000);
  end();
}

static AO_t crowd_asked;

static bool hook_of_a_crowd(void *arg, size_t bytes) {
  (void)arg, (void)bytes;
  return at_add_full(&crowd_asked, 1) % 2 == 0; // another thread may have dropped its list meanwhile; or may not
}

// Longer than there is memory for: until there is none.
static __attribute__((noinline)) void crowd_list(veil_thread *me) {
  node *list = NULL;
  for (long i = 0; i < 60000; i++) { // 2.8 MiB
    node *n = veil_new(me, node);
    if (n == NULL) {
      break;
    }
    n->right = list;
    n->key = i;
    list = n;
  }
  for (; list != NULL && list->right != NULL; list = list->right) {
    EXPECT(list->right->key == list->key - 1);
  }
}

static void *crowd_member(void *unused) {
  veil_thread *me = veil_attach(heap);
  for (int i = 0; i < 5; i++) {
    crowd_list(me);
    stack_clear();
  }
  veil_detach(me);
  return NULL;
}

ON_ALL_BACK_ENDS(limits, several_threads_may_be_in_the_hook_at_once) {
  START_OR_SKIP(.back_end = back_end, .limit = 3 * MIB, .oom = VEIL_OOM_NULL);
  cr_assert_eq(veil_set_oom_hook(heap, hook_of_a_crowd, NULL), VEIL_OK);
  pthread_t thread[3];
  for (int i = 0; i < 3; i++) {
    thread[i] = thread_start(crowd_member, NULL);
  }
  for (int i = 0; i < 100; i++) { // set again and again meanwhile
    cr_assert_eq(veil_set_oom_hook(heap, hook_of_a_crowd, NULL), VEIL_OK);
    veil_block_begin(self);
    sleep_ms(1);
    veil_block_end(self);
  }
  veil_block_begin(self);
  for (int i = 0; i < 3; i++) {
    pthread_join(thread[i], NULL);
  }
  veil_block_end(self);
  cr_assert_gt(at_load(&crowd_asked), 0);
  end();
}

// ---- Memory owned outside.

ON_ALL_BACK_ENDS(limits, small_objects_that_own_much_start_cycles) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .headroom = 8 * MIB);
  uint64_t cycles = 0;
  for (int i = 0; i < 300; i++) {
    cr_assert_not_null(veil_new(self, node));
    veil_external(heap, MIB);
    if (stats_of(heap).major_cycles > cycles && !veil_collecting(heap)) { // all dead but one: finalizers say so
      cycles = stats_of(heap).major_cycles;
      veil_external(heap, MIB - (ptrdiff_t)stats_of(heap).external_bytes);
    }
  }
  veil_collect(self);
  cr_assert_gt(stats_of(heap).major_cycles, 2);
  veil_external(heap, -(ptrdiff_t)stats_of(heap).external_bytes);
  cr_assert_eq(stats_of(heap).external_bytes, 0);
  end();
}

static void *external_elsewhere(void *unused) {
  veil_external(heap, 100 * MIB); // attached nowhere
  return NULL;
}

ON_ALL_BACK_ENDS(limits, any_thread_may_say_so_and_brackets_stay_closed) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .headroom = 8 * MIB);
  veil_block_begin(self);
  pthread_join(thread_start(external_elsewhere, NULL), NULL);
  veil_external(heap, 100 * MIB);
  cr_assert_eq(stats_of(heap).major_cycles, 0);
  veil_block_end(self);
  list_make(self, 1000); // a buffer or two
  cr_assert_eq(stats_of(heap).major_cycles, 1);
  end();
}

DIES(limits, more_given_up_outside_than_there_is_is_an_error_of_use, "veil_external") {
  start((veil_options){0});
  veil_external(heap, 1000);
  veil_external(heap, -1001);
}

// ---- The soft limit.

ON_ALL_BACK_ENDS(limits, a_soft_limit_is_held_while_that_is_possible) {
  START_OR_SKIP(.back_end = back_end, .limit = 512 * MIB, .soft_limit = 48 * MIB, .headroom = 128 * MIB, .growth = 1000, .generations = VEIL_GENERATIONS_OFF);
  cr_assert_eq(stats_of(heap).soft_limit_bytes, 48 * MIB);
  node *list = list_make(self, 100000); // 4.6 MiB
  for (int i = 0; i < 6000; i++) {
    cr_assert_eq(list_check(list_make(self, 1000)), 1000); // 280 MiB in all
    // A program that is not so fast that the collector has to rest for longer than that takes.
    while (gc_used_bytes(heap->gc) >= at_load(&heap->gc->soft_bytes) && !veil_collecting(heap) && !gc_wants_cycle(heap->gc)) {
      sleep_ms(1);
    }
  }
  cr_assert_gt(stats_of(heap).major_cycles, 3);
  cr_assert_leq(stats_of(heap).held_max_bytes, 64 * MIB, "%lu bytes: without it there would be 190 MiB",
                (unsigned long)stats_of(heap).held_max_bytes);
  cr_assert_eq(list_check(list), 100000);
  end();
}

ON_ALL_BACK_ENDS(limits, a_soft_limit_that_cannot_be_held_leaves_mutators_half_of_the_time) {
  START_OR_SKIP(.back_end = back_end, .limit = 512 * MIB, .soft_limit = 4 * MIB, .headroom = 256 * MIB, .growth = 1000, .generations = VEIL_GENERATIONS_OFF);
  node *list = list_make(self, 100000); // 4.6 MiB, and as much again for copies
  veil_collect(self);
  uint64_t began = vm_now(), before = stats_of(heap).cycle_total_ns, cycles = stats_of(heap).major_cycles;
  for (int i = 0; i < 1000 || stats_of(heap).major_cycles < cycles + 4; i++) {
    list_make(self, 1000);
    cr_assert_lt(i, 1000000);
  }
  for (int i = 0; veil_collecting(heap); i++) {
    sleep_ms(1);
    cr_assert_lt(i, 60000);
  }
  uint64_t collected = stats_of(heap).cycle_total_ns - before, last = at_load(&heap->gc->cycle_took_ns);
  cr_assert_leq(2 * (collected - last), vm_now() - began);
  cr_assert_eq(list_check(list), 100000);
  end();
}

// ---- Idle heaps.

static uint64_t held(void) { return stats_of(heap).held_bytes; }

// In a bracket: until no more than `bytes` are held.
static void held_wait(uint64_t bytes) {
  for (int i = 0; held() > bytes; i++) {
    cr_assert_lt(i, 6000, "%lu bytes are held still, %lu cycles", (unsigned long)held(), (unsigned long)stats_of(heap).idle_cycles);
    sleep_ms(10);
  }
}

ON_ALL_BACK_ENDS(limits, what_a_program_lets_go_before_it_sleeps_goes_back_to_the_system) {
  START_OR_SKIP(.back_end = back_end, .limit = 512 * MIB, .headroom = 32 * MIB, .idle = 50);
  cr_assert_eq(veil_add_roots(heap, &root, 1), VEIL_OK);
  for (int round = 0; round < 2; round++) {
    root_fill(1000000);
    cr_assert_gt(held(), 46 * MIB);
    root = NULL;
    root_fill(20000); // 1 MiB
    stack_clear();
    veil_block_begin(self);
    held_wait(16 * MIB);
    veil_block_end(self);
  }
  cr_assert_gt(stats_of(heap).idle_cycles, 0);
  long length = 0;
  for (node *n = root; n != NULL; n = n->right) {
    length++;
  }
  cr_assert_eq(length, 20000);
  end();
}

ON_ALL_BACK_ENDS(limits, what_lived_at_the_last_cycle_and_was_let_go_since_goes_back_too) {
  START_OR_SKIP(.back_end = back_end, .limit = 512 * MIB, .headroom = 32 * MIB, .idle = 50);
  cr_assert_eq(veil_add_roots(heap, &root, 1), VEIL_OK);
  root_fill(1000000);
  veil_collect(self); // nothing is born after it
  root = NULL;
  stack_clear();
  veil_block_begin(self);
  held_wait(16 * MIB);
  veil_block_end(self);
  end();
}

ON_ALL_BACK_ENDS(limits, what_a_cycle_of_the_programs_freed_is_kept_for_three_times_as_long) {
  START_OR_SKIP(.back_end = back_end, .limit = 512 * MIB, .headroom = 32 * MIB, .idle = 300);
  cr_assert_eq(veil_add_roots(heap, &root, 1), VEIL_OK);
  root_fill(700000); // 32 MiB, and all of them copied
  stack_clear();
  uint64_t began = vm_now();
  veil_collect(self);
  uint64_t kept = held(), ended = vm_now(), looked = ended;
  veil_block_begin(self);
  cr_assert_gt(kept, 56 * MIB);
  while (vm_now() - ended < 700 * 1000000ull) {
    bool there = held() >= kept - MIB; // before the clock is read: what is late says nothing
    looked = vm_now();
    cr_assert(there || looked - began > 850 * 1000000ull, // the cycle ended at some time between `began` and `ended`
              "%lu of %lu bytes after %lu ms", (unsigned long)held(), (unsigned long)kept,
              (unsigned long)((looked - ended) / 1000000));
    sleep_ms(20);
  }
  held_wait(48 * MIB);
  veil_block_end(self);
  end();
}

ON_ALL_BACK_ENDS(limits, a_heap_without_threads_is_idle_too) {
  START_OR_SKIP(.back_end = back_end, .limit = 512 * MIB, .headroom = 32 * MIB, .idle = 50);
  cr_assert_eq(veil_add_roots(heap, &root, 1), VEIL_OK);
  root_fill(1000000);
  veil_detach(self);
  root = NULL;
  held_wait(16 * MIB);
  veil_close(heap);
}

ON_ALL_BACK_ENDS(limits, while_nobody_runs_the_keeper_sleeps) {
  START_OR_SKIP(.back_end = back_end, .limit = 512 * MIB, .idle = 20);
  node *list = list_make(self, 300000); // 14 MiB, alive
  uint64_t before = stats_of(heap).idle_cycles;
  veil_block_begin(self);
  sleep_ms(1500); // at 20, 40, 80 … ms there would be six
  uint64_t cycles = stats_of(heap).idle_cycles - before;
  veil_block_end(self);
  cr_assert_leq(cycles, 3, "%lu", (unsigned long)cycles);
  cr_assert_eq(list_check(list), 300000);
  end();
}

// A server: always about to wait, and hardly ever allocating. A cycle would find little, and its clients would feel it.
ON_ALL_BACK_ENDS(limits, a_program_that_runs_without_allocating_is_not_idle) {
  START_OR_SKIP(.back_end = back_end, .limit = 512 * MIB, .headroom = 256 * MIB, .idle = 200); // longer than a busy machine keeps a thread waiting
  cr_assert_eq(veil_add_roots(heap, &root, 1), VEIL_OK);
  root_fill(300000);
  stack_clear();
  veil_block_begin(self);
  held_wait(512 * MIB); // any
  veil_block_end(self);
  uint64_t before = stats_of(heap).idle_cycles;
  for (uint64_t until = vm_now() + 2000000000; vm_now() < until;) {
    for (node *n = root; n != NULL; n = n->right) {
      n->more++;
    }
    veil_block_begin(self);
    sleep_ms(1);
    veil_block_end(self);
  }
  cr_assert_leq(stats_of(heap).idle_cycles - before, 1, "%lu", (unsigned long)(stats_of(heap).idle_cycles - before)); // begun before it ran
  root = NULL;
  stack_clear();
  veil_block_begin(self);
  held_wait(8 * MIB); // but now it is
  veil_block_end(self);
  end();
}

ON_ALL_BACK_ENDS(limits, a_thread_asleep_outside_brackets_is_not_woken_but_starts_a_cycle_when_it_allocates_again) {
  START_OR_SKIP(.back_end = back_end, .limit = 512 * MIB, .headroom = 256 * MIB, .idle = 20);
  cr_assert_eq(veil_add_roots(heap, &root, 1), VEIL_OK);
  root_fill(1000000);
  root = NULL;
  stack_clear();
  uint64_t cycles = stats_of(heap).major_cycles;
  for (int i = 0; at32_load_acquire(&heap->cycle_wanted) == 0; i++) {
    struct timespec nap = {0, 50000000};
    cr_assert_eq(nanosleep(&nap, NULL), 0, "a stop came in between");
    cr_assert_lt(i, 1000);
  }
  cr_assert_eq(stats_of(heap).major_cycles, cycles);
  cr_assert_eq(stats_of(heap).idle_cycles, 0);
  list_make(self, 1000);
  cr_assert_eq(stats_of(heap).major_cycles, cycles + 1);
  veil_block_begin(self);
  held_wait(16 * MIB);
  veil_block_end(self);
  end();
}

ON_ALL_BACK_ENDS(limits, a_heap_is_closed_while_its_keeper_collects) {
  for (int i = 0; i < 10; i++) {
    START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .idle = 10);
    list_make(self, 150000);
    veil_detach(self);
    sleep_ms(i * 3);
    veil_close(heap);
  }
}
