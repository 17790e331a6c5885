// SPDX-License-Identifier: MIT
// roots.c: what the collector finds: registered slots, callbacks, stacks, registers, interior pointers.

#include <criterion/criterion.h>
#include <signal.h>
#include "tests/runtime/world.h"

// ---- Registered slots.

static node *slots[100];
static uintptr_t hidden_before[100];

static __attribute__((noinline)) void slots_fill(void) {
  for (int i = 0; i < 100; i++) {
    slots[i] = list_make(self, i);
  }
}

ON_ALL_BACK_ENDS(roots, registered_slots_keep_their_objects_and_follow_them) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 1);
  memset(slots, 0, sizeof slots);
  cr_assert_eq(veil_add_roots(heap, slots, 100), VEIL_OK);
  slots_fill();
  stack_clear();
  for (int i = 0; i < 100; i++) {
    hidden_before[i] = ~(uintptr_t)slots[i];
  }
  stack_clear();
  for (int cycle = 0; cycle < 5; cycle++) {
    veil_collect(self);
    for (int i = 0; i < 100; i++) {
      cr_assert_eq(list_check(slots[i]), i);
    }
  }
  int moved = 0;
  for (int i = 0; i < 100; i++) {
    moved += ~(uintptr_t)slots[i] != hidden_before[i];
  }
  cr_assert_gt(moved, 90, "%d of 100 have moved", moved); // words on the stack may hold some
  veil_remove_roots(heap, slots);
  end();
}

ON_ALL_BACK_ENDS(roots, objects_die_when_their_roots_are_removed) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 1);
  static void *big;
  cr_assert_eq(veil_add_roots(heap, &big, 1), VEIL_OK);
  big = veil_new_bytes(self, 10 * MIB);
  stack_clear();
  veil_collect(self);
  cr_assert_geq(stats_of(heap).live_bytes, 10 * MIB);
  veil_remove_roots(heap, &big);
  stack_clear();
  veil_collect(self);
  cr_assert_lt(stats_of(heap).live_bytes, 10 * MIB);
  end();
}

ON_TRAPPING_BACK_ENDS(roots, slots_registered_in_mid_cycle_hold_their_objects) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 1);
  node *list = list_make(self, 20000);
  veil_collect_start(self);
  memset(slots, 0, sizeof slots);
  slots[0] = list; // loaded after the flip: a to-space pointer
  cr_assert_eq(veil_add_roots(heap, slots, 100), VEIL_OK);
  list = NULL;
  slots[1] = list_make(self, 100);
  veil_collect(self);
  cr_assert_eq(list_check(slots[0]), 20000);
  cr_assert_eq(list_check(slots[1]), 100);
  veil_remove_roots(heap, slots);
  end();
}

Test(roots, what_is_no_array_of_slots_is_refused) {
  start((veil_options){.verify = 1});
  cr_assert_eq(veil_add_roots(heap, NULL, 1), VEIL_INVALID);
  cr_assert_eq(veil_add_roots(heap, (char *)slots + 3, 1), VEIL_INVALID);
  cr_assert_eq(veil_add_roots(heap, slots, SIZE_MAX / 2), VEIL_INVALID);
  cr_assert_eq(veil_add_roots(heap, veil_new_pointers(self, 10), 10), VEIL_INVALID);
  cr_assert(strstr(veil_error(), "inside the heap") != NULL, "%s", veil_error());
  cr_assert_eq(veil_add_roots_callback(heap, NULL, NULL), VEIL_INVALID);
  end();
}

DIES(roots, removing_unknown_slots_is_noticed, "veil_remove_roots: these roots are not registered") {
  start((veil_options){.verify = 1});
  veil_remove_roots(heap, slots);
}

static void callback_nothing(void *arg, veil_root_visitor *visitor) {}

DIES(roots, removing_an_unknown_callback_is_noticed, "veil_remove_roots_callback: these roots are not registered") {
  start((veil_options){.verify = 1});
  veil_add_roots_callback(heap, callback_nothing, NULL);
  veil_remove_roots_callback(heap, callback_nothing, (void *)1);
}

DIES(roots, registering_roots_in_a_thread_that_is_not_attached_is_noticed, "not attached") {
  start((veil_options){.verify = 1});
  veil_detach(self);
  veil_add_roots(heap, slots, 100);
}

// ---- Callbacks.

static node *called_slot;
static uintptr_t called_range[4];
static int calls;

static void callback(void *arg, veil_root_visitor *visitor) {
  EXPECT(arg == &called_slot);
  calls++;
  veil_root_slot(visitor, &called_slot);
  veil_root_range(visitor, called_range, called_range + 4);
}

static __attribute__((noinline)) void called_fill(void) {
  called_slot = list_make(self, 500);
  called_range[0] = (uintptr_t)list_make(self, 300);
  called_range[3] = (uintptr_t)list_make(self, 200) + 5; // inside
}

ON_ALL_BACK_ENDS(roots, a_callback_reports_slots_that_move_and_words_that_pin) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 1);
  calls = 0;
  called_slot = NULL;
  memset(called_range, 0, sizeof called_range);
  cr_assert_eq(veil_add_roots_callback(heap, callback, &called_slot), VEIL_OK);
  called_fill();
  stack_clear();
  uintptr_t pinned[2] = {called_range[0] ^ 1, called_range[3] ^ 1};
  for (int cycle = 0; cycle < 5; cycle++) {
    int before = calls;
    veil_collect(self);
    cr_assert_eq(calls, before + 2, "asked twice per flip");
    cr_assert_eq(list_check(called_slot), 500);
    cr_assert(called_range[0] == (pinned[0] ^ 1) && called_range[3] == (pinned[1] ^ 1));
    cr_assert_eq(list_check((node *)called_range[0]), 300);
    cr_assert_eq(list_check((node *)(called_range[3] - 5)), 200);
  }
  veil_remove_roots_callback(heap, callback, &called_slot);
  int before = calls;
  veil_collect(self);
  cr_assert_eq(calls, before);
  end();
}

// ---- Stacks.

ON_ALL_BACK_ENDS(roots, a_local_variable_holds_its_object_in_place) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 1);
  node *list = list_make(self, 1000);
  node *volatile held = list;
  for (int cycle = 0; cycle < 5; cycle++) {
    veil_collect(self);
    cr_assert_eq((void *)held, (void *)list);
    cr_assert_eq(list_check(list), 1000);
  }
  end();
}

ON_ALL_BACK_ENDS(roots, a_pointer_into_an_object_or_one_past_its_end_holds_it) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 1);
  static const size_t lengths[] = {8, 100, 2000, 30000, 200000};
  for (size_t k = 0; k < sizeof lengths / sizeof lengths[0]; k++) {
    char *volatile middle = (char *)veil_new_bytes(self, lengths[k]) + lengths[k] / 2;
    char *volatile past = (char *)veil_new_bytes(self, lengths[k]) + lengths[k];
    memset(middle - lengths[k] / 2, 3, lengths[k]);
    memset(past - lengths[k], 4, lengths[k]);
    stack_clear();
    for (int cycle = 0; cycle < 3; cycle++) {
      veil_collect(self);
      for (int i = 0; i < 1000; i++) {
        veil_new(self, node); // would be written over it
      }
    }
    for (size_t i = 0; i < lengths[k]; i++) {
      cr_assert(middle[(long)i - (long)(lengths[k] / 2)] == 3 && past[(long)i - (long)lengths[k]] == 4);
    }
  }
  end();
}

static __attribute__((noinline)) long deep(int depth) {
  node *mine = veil_new(self, node);
  mine->key = depth;
  if (depth == 0) {
    veil_collect(self);
    veil_collect_start(self);
    return 0;
  }
  long below = deep(depth - 1);
  EXPECT(mine->key == depth);
  return below + 1;
}

ON_ALL_BACK_ENDS(roots, a_deep_stack_is_scanned_to_its_base) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 1);
  for (int i = 0; i < 5; i++) {
    cr_assert_eq(deep(3000), 3000);
  }
  end();
}

// ---- Other threads' stacks and registers.

static int volatile ready, over;

static void *builds_all_the_time(void *arg) {
  veil_thread *me = veil_attach(heap);
  EXPECT(me != NULL);
  do { // once at least, however late the thread gets to run
    node *a = list_make(me, 300), *b = list_make(me, 200);
    a->left = b;
    EXPECT(list_check(a) == 300 && list_check(a->left) == 200);
  } while (!over);
  veil_detach(me);
  return NULL;
}

ON_ALL_BACK_ENDS(roots, stacks_of_several_threads_are_found_whereever_they_are_stopped) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 1);
  over = 0;
  pthread_t thread[3];
  for (int i = 0; i < 3; i++) {
    thread[i] = thread_start(builds_all_the_time, NULL);
  }
  node *list = list_make(self, 2000);
  for (int cycle = 0; cycle < 60; cycle++) {
    veil_collect(self);
    EXPECT(list_check(list) == 2000);
  }
  over = 1;
  for (int i = 0; i < 3; i++) {
    veil_block_begin(self);
    pthread_join(thread[i], NULL);
    veil_block_end(self);
  }
  end();
}

#define HIDE(POINTER) ((uintptr_t)(POINTER) ^ 0x5555555555555555ull)

// The only pointer is in a register that the C compiler does not save: a general one, then a vector register.
static void *spins_with_a_pointer_in(void *which) {
  veil_thread *me = veil_attach(heap);
  uintptr_t hidden = HIDE(list_make(me, 700));
  stack_clear();
  uintptr_t found;
  if (which == NULL) {
    __asm__ volatile("movq %2, %%r10\n\tmovabsq $0x5555555555555555, %%r11\n\txorq %%r11, %%r10\n\t"
                     "movl $1, %1\n"
                     "1:\tcmpl $0, %3\n\tje 1b\n\t"
                     "xorq %%r11, %%r10\n\tmovq %%r10, %0"
                     : "=r"(found), "=m"(ready)
                     : "r"(hidden), "m"(over)
                     : "r10", "r11", "memory");
  } else {
    __asm__ volatile("movabsq $0x5555555555555555, %%r11\n\tmovq %2, %%r10\n\txorq %%r11, %%r10\n\tmovq %%r10, %%xmm13\n\t"
                     "xorq %%r10, %%r10\n\tmovl $1, %1\n"
                     "1:\tcmpl $0, %3\n\tje 1b\n\t"
                     "movq %%xmm13, %%r10\n\txorq %%r11, %%r10\n\tmovq %%r10, %0"
                     : "=r"(found), "=m"(ready)
                     : "r"(hidden), "m"(over)
                     : "r10", "r11", "xmm13", "memory");
  }
  EXPECT(found == hidden);
  EXPECT(list_check((node *)HIDE(found)) == 700);
  veil_detach(me);
  return NULL;
}

static void registers_hold(const char *back_end, void *which) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 1);
  ready = over = 0;
  pthread_t thread = thread_start(spins_with_a_pointer_in, which);
  while (!ready) {
    veil_poll(self);
  }
  for (int cycle = 0; cycle < 10; cycle++) {
    veil_collect(self);
    list_make(self, 5000); // would be written over it
  }
  over = 1;
  veil_block_begin(self);
  pthread_join(thread, NULL);
  veil_block_end(self);
  end();
}

ON_ALL_BACK_ENDS(roots, a_pointer_in_a_scratch_register_holds_its_object) { registers_hold(back_end, NULL); }
ON_ALL_BACK_ENDS(roots, a_pointer_in_a_vector_register_holds_its_object) { registers_hold(back_end, (void *)1); }

// ---- A handler of the program on an alternate stack: both stacks count.

static veil_thread *handler_self;
static uintptr_t volatile handler_hidden;

static void spins_on_the_alternate_stack(int signo) {
  node *volatile mine = (node *)HIDE(handler_hidden); // only this stack has it
  handler_hidden = 0;
  ready = 1;
  while (!over) {
  }
  EXPECT(list_check(mine) == 400);
}

static void *is_stopped_in_a_handler(void *unused) {
  handler_self = veil_attach(heap);
  static char stack[65536];
  stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
  EXPECT(sigaltstack(&alternate, NULL) == 0);
  struct sigaction action = {.sa_handler = spins_on_the_alternate_stack, .sa_flags = SA_ONSTACK};
  EXPECT(sigaction(SIGUSR1, &action, NULL) == 0);
  node *volatile below = list_make(handler_self, 600);
  handler_hidden = HIDE(list_make(handler_self, 400));
  stack_clear();
  raise(SIGUSR1);
  EXPECT(list_check(below) == 600);
  veil_detach(handler_self);
  return NULL;
}

ON_ALL_BACK_ENDS(roots, a_thread_stopped_in_a_handler_on_an_alternate_stack_has_both_stacks_scanned) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 1);
  ready = over = 0;
  pthread_t thread = thread_start(is_stopped_in_a_handler, NULL);
  while (!ready) {
    veil_poll(self);
  }
  for (int cycle = 0; cycle < 10; cycle++) {
    veil_collect(self);
    list_make(self, 5000);
  }
  over = 1;
  veil_block_begin(self);
  pthread_join(thread, NULL);
  veil_block_end(self);
  end();
}
