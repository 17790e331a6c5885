// SPDX-License-Identifier: MIT
// stacks.c: coroutines: what their stacks hold, wherever they were left, in whichever thread they go on.

#include <criterion/criterion.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include "tests/runtime/world.h"

enum { STACK_BYTES = 256 * 1024 }; // a signal frame and a sanitizer's frames fit

typedef struct coroutine coroutine;
struct coroutine {
  ucontext_t *context, *back; // not where anything is scanned
  char *memory;
  veil_stack *stack;
  void (*body)(coroutine *);
  veil_thread *runner; // of the thread that runs it now
  long number, steps;
  bool done;
};

static void yield(coroutine *co) {
  veil_stack_switch(co->runner, NULL);
  swapcontext(co->context, co->back);
}

static void begins(unsigned high, unsigned low) {
  coroutine *co = (coroutine *)((uintptr_t)high << 32 | low);
  co->body(co);
  co->done = true;
  veil_stack_switch(co->runner, NULL);
  setcontext(co->back);
}

static __attribute__((noinline)) void resume(coroutine *co, veil_thread *me) {
  co->runner = me;
  veil_stack_switch(me, co->stack);
  swapcontext(co->back, co->context);
}

static coroutine *coroutine_make(veil_thread *me, void (*body)(coroutine *), long number) {
  coroutine *co = calloc(1, sizeof *co);
  co->context = calloc(1, sizeof *co->context);
  co->back = calloc(1, sizeof *co->back);
  co->memory = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT(co->memory != MAP_FAILED);
  EXPECT((co->stack = veil_stack_open(me, co->memory, STACK_BYTES)) != NULL);
  co->body = body;
  co->number = number;
  getcontext(co->context);
  co->context->uc_stack = (stack_t){.ss_sp = co->memory, .ss_size = STACK_BYTES};
  makecontext(co->context, (void (*)(void))begins, 2, (unsigned)((uintptr_t)co >> 32), (unsigned)(uintptr_t)co);
  return co;
}

static void coroutine_drop(veil_thread *me, coroutine *co) {
  veil_stack_drop(me, co->stack);
  munmap(co->memory, STACK_BYTES);
  free(co->context);
  free(co->back);
  free(co);
}

// ---- Hundreds, each with the only reference.

static void holds_a_list(coroutine *co) {
  node *list = list_make(co->runner, 20 + co->number % 50);
  for (; co->number >= 0; co->steps++) {
    yield(co);
    EXPECT(list_check(list) == 20 + co->number % 50);
    node *more = list_make(co->runner, 20 + co->number % 50);
    if (co->steps % 2) {
      list = more;
    }
    if (co->steps % 7 == 0) {
      veil_collect_start(co->runner); // on a coroutine's stack
    }
  }
}

ON_ALL_BACK_ENDS(stacks, hundreds_of_coroutines_hold_what_they_point_to) {
  START_OR_SKIP(.back_end = back_end, .limit = 128 * MIB, .verify = 1);
  enum { COUNT = 300 };
  static coroutine *co[COUNT];
  for (int i = 0; i < COUNT; i++) {
    co[i] = coroutine_make(self, holds_a_list, i);
  }
  for (int round = 0; round < 8; round++) {
    for (int i = 0; i < COUNT; i++) {
      resume(co[i], self);
      cr_assert(!co[i]->done);
    }
    veil_collect(self);
  }
  for (int i = 0; i < COUNT; i++) {
    cr_assert_eq(co[i]->steps, 7);
    coroutine_drop(self, co[i]);
  }
  end();
}

static void holds_bytes(coroutine *co) {
  char *volatile bytes = veil_new_bytes(co->runner, MIB);
  bytes[MIB - 1] = 7;
  yield(co);
  EXPECT(bytes[MIB - 1] == 7);
  yield(co);
}

ON_ALL_BACK_ENDS(stacks, what_a_dropped_coroutine_held_is_freed) {
  START_OR_SKIP(.back_end = back_end, .limit = 128 * MIB, .verify = 1);
  coroutine *co[20];
  for (int i = 0; i < 20; i++) {
    co[i] = coroutine_make(self, holds_bytes, i);
    resume(co[i], self);
  }
  stack_clear();
  veil_collect(self);
  cr_assert_geq(stats_of(heap).live_bytes, 20 * MIB);
  for (int i = 0; i < 20; i += 2) {
    coroutine_drop(self, co[i]);
  }
  stack_clear();
  veil_collect(self);
  cr_assert_geq(stats_of(heap).live_bytes, 10 * MIB);
  cr_assert_lt(stats_of(heap).live_bytes, 13 * MIB, "%lu", (unsigned long)stats_of(heap).live_bytes);
  for (int i = 1; i < 20; i += 2) {
    resume(co[i], self);
    coroutine_drop(self, co[i]);
  }
  end();
}

ON_ALL_BACK_ENDS(stacks, the_slot_of_a_stack_holds_its_object_and_follows_it) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 1);
  coroutine *co = coroutine_make(self, holds_bytes, 0);
  *veil_stack_slot(co->stack) = list_make(self, 500);
  stack_clear();
  for (int i = 0; i < 5; i++) {
    veil_collect(self);
    list_make(self, 2000);
    cr_assert_eq(list_check(*veil_stack_slot(co->stack)), 500);
  }
  coroutine_drop(self, co);
  end();
}

// ---- The only reference is in a register that a call preserves, which swapcontext puts into memory that nobody scans.

#define HIDE(POINTER) ((uintptr_t)(POINTER) ^ 0x5555555555555555ull)

static __attribute__((noinline)) uintptr_t hidden_list(veil_thread *me) { return HIDE(list_make(me, 700)); }

static void in_a_register(coroutine *co) {
  uintptr_t hidden = hidden_list(co->runner), found;
  stack_clear();
  // yield(co), in which swapcontext saves rbx.
  __asm__ volatile("movabsq $0x5555555555555555, %%rbx\n\txorq %1, %%rbx\n\tmovq %2, %%rdi\n\tleaq %3, %%rax\n\t"
                   "movq %%rsp, %%r12\n\tsubq $256, %%rsp\n\tandq $-16, %%rsp\n\tcall *%%rax\n\tmovq %%r12, %%rsp\n\t"
                   "movabsq $0x5555555555555555, %%rax\n\txorq %%rbx, %%rax\n\txorl %%ebx, %%ebx\n\tmovq %%rax, %0"
                   : "=m"(found)
                   : "m"(hidden), "m"(co), "m"(*(char (*)[1])yield)
                   : "rbx", "r12", "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
  EXPECT(found == hidden);
  EXPECT(list_check((node *)HIDE(found)) == 700);
}

ON_ALL_BACK_ENDS(stacks, a_register_that_a_switch_preserves_holds_its_object) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 1);
  coroutine *co = coroutine_make(self, in_a_register, 0);
  resume(co, self);
  stack_clear();
  for (int i = 0; i < 10; i++) {
    veil_collect(self);
    list_make(self, 5000); // would be written over it
  }
  resume(co, self);
  cr_assert(co->done);
  coroutine_drop(self, co);
  end();
}

// ---- Between veil_stack_switch and the switch.

static int volatile ready, over;

static void has_one(coroutine *co) {
  node *volatile list = list_make(co->runner, 300);
  yield(co);
  EXPECT(list_check(list) == 300);
  node *volatile other = list_make(co->runner, 400);
  veil_stack_switch(co->runner, NULL);
  co->steps = 1;
  if (co->number == 1) { // and again, in the window on the way back
    ready = 2;
    while (over < 2) {
    }
  }
  swapcontext(co->context, co->back);
  EXPECT(list_check(list) == 300 && list_check(other) == 400);
}

static void *lingers_in_the_window(void *unused) {
  veil_thread *me = veil_attach(heap);
  coroutine *co = coroutine_make(me, has_one, 1);
  node *volatile before = list_make(me, 200);
  resume(co, me);
  co->runner = me;
  veil_stack_switch(me, co->stack);
  ready = 1;
  while (over < 1) {
  }
  swapcontext(co->back, co->context);
  EXPECT(list_check(before) == 200);
  resume(co, me);
  EXPECT(co->done && list_check(before) == 200);
  coroutine_drop(me, co);
  veil_detach(me);
  return NULL;
}

ON_ALL_BACK_ENDS(stacks, a_stop_between_the_call_and_the_switch_finds_both_stacks) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 1);
  ready = over = 0;
  pthread_t thread = thread_start(lingers_in_the_window, NULL);
  for (int window = 1; window <= 2; window++) {
    while (ready != window) {
      veil_poll(self);
    }
    for (int i = 0; i < 10; i++) {
      veil_collect(self);
      list_make(self, 5000);
    }
    over = window;
  }
  veil_block_begin(self);
  pthread_join(thread, NULL);
  veil_block_end(self);
  end();
}

// ---- Several threads pass coroutines to each other.

enum { PASSED = 60, PASSERS = 3 };
static coroutine *passed[PASSED];
static pthread_mutex_t passed_lock[PASSED];

static void *passes(void *seed) {
  veil_thread *me = veil_attach(heap);
  uint64_t random = (uint64_t)seed * 0x9e3779b97f4a7c15ull + 1;
  while (!over) {
    random = random * 6364136223846793005ull + 1442695040888963407ull;
    int i = (int)((random >> 33) % PASSED);
    if (pthread_mutex_trylock(&passed_lock[i]) == 0) {
      resume(passed[i], me);
      pthread_mutex_unlock(&passed_lock[i]);
    }
    veil_poll(me);
  }
  veil_detach(me);
  return NULL;
}

static void passing(const char *back_end, veil_stop stop) {
  START_OR_SKIP(.back_end = back_end, .stop = stop, .limit = 64 * MIB, .verify = 1);
  over = 0;
  for (int i = 0; i < PASSED; i++) {
    pthread_mutex_init(&passed_lock[i], NULL);
    passed[i] = coroutine_make(self, holds_a_list, i);
  }
  pthread_t thread[PASSERS];
  for (uintptr_t i = 0; i < PASSERS; i++) {
    thread[i] = thread_start(passes, (void *)(i + 1));
  }
  long steps = 0;
  for (int i = 0; i < 40 || steps < 2000; i++) {
    veil_collect(self);
    steps = 0;
    for (int k = 0; k < PASSED; k++) {
      steps += *(long volatile *)&passed[k]->steps;
    }
  }
  over = 1;
  veil_block_begin(self);
  for (int i = 0; i < PASSERS; i++) {
    pthread_join(thread[i], NULL);
  }
  veil_block_end(self);
  for (int i = 0; i < PASSED; i++) {
    coroutine_drop(self, passed[i]);
  }
  end();
}

ON_ALL_BACK_ENDS(stacks, coroutines_go_on_in_other_threads_under_stops_by_signal) { passing(back_end, VEIL_STOP_SIGNAL); }
ON_ALL_BACK_ENDS(stacks, coroutines_go_on_in_other_threads_under_stops_by_polls) { passing(back_end, VEIL_STOP_POLL); }

// ---- A handler on an alternate stack, that interrupted a coroutine: three stacks count.

static uintptr_t volatile handler_hidden;

static void spins_on_the_alternate_stack(int signo) {
  node *volatile mine = (node *)HIDE(handler_hidden);
  handler_hidden = 0;
  ready = 1;
  while (!over) {
  }
  EXPECT(list_check(mine) == 400);
}

static void is_interrupted(coroutine *co) {
  node *volatile list = list_make(co->runner, 300);
  handler_hidden = HIDE(list_make(co->runner, 400));
  stack_clear();
  raise(SIGUSR1);
  EXPECT(list_check(list) == 300);
}

static void *runs_the_interrupted(void *unused) {
  veil_thread *me = veil_attach(heap);
  static char memory[65536];
  stack_t alternate = {.ss_sp = memory, .ss_size = sizeof memory};
  stack_t before;
  EXPECT(sigaltstack(&alternate, &before) == 0);
  struct sigaction action = {.sa_handler = spins_on_the_alternate_stack, .sa_flags = SA_ONSTACK};
  EXPECT(sigaction(SIGUSR1, &action, NULL) == 0);
  node *volatile below = list_make(me, 600);
  coroutine *co = coroutine_make(me, is_interrupted, 0);
  resume(co, me);
  EXPECT(co->done && list_check(below) == 600);
  coroutine_drop(me, co);
  veil_detach(me);
  EXPECT(sigaltstack(&before, NULL) == 0); // a sanitizer's, who frees it
  return NULL;
}

ON_ALL_BACK_ENDS(stacks, a_handler_on_an_alternate_stack_that_interrupts_a_coroutine_leaves_three_stacks) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 1);
  ready = over = 0;
  pthread_t thread = thread_start(runs_the_interrupted, NULL);
  while (!ready) {
    veil_poll(self);
  }
  for (int i = 0; i < 10; i++) {
    veil_collect(self);
    list_make(self, 5000);
  }
  over = 1;
  veil_block_begin(self);
  pthread_join(thread, NULL);
  veil_block_end(self);
  end();
}

// ---- Misuse.

static void collects(coroutine *co) { veil_collect(self); }

static void unregistered(void (*body)(coroutine *)) {
  coroutine *co = coroutine_make(self, body, 0);
  veil_stack_drop(self, co->stack);
  co->runner = self;
  swapcontext(co->back, co->context);
}

DIES(stacks, a_collection_on_a_stack_that_is_not_registered_is_noticed, "on a stack that is not the thread's own") {
  start((veil_options){0});
  unregistered(collects);
}

DIES(stacks, a_switch_from_a_stack_that_is_not_registered_is_noticed, "called on a stack that is not registered") {
  start((veil_options){0});
  coroutine *other = coroutine_make(self, collects, 0);
  (void)other;
  unregistered(yield);
  // `yield` says so even when it goes back to the thread's own stack, so this is not reached.
}

static void spins(coroutine *co) {
  ready = 1;
  while (!over) {
  }
}

static void *spins_on_a_strange_stack(void *unused) {
  self = veil_attach(heap);
  unregistered(spins);
  return NULL;
}

DIES(stacks, a_thread_stopped_on_a_stack_that_is_not_registered_is_noticed, "on a stack that is not the thread's own") {
  heap = heap_open((veil_options){0});
  veil_thread *me = veil_attach(heap);
  thread_start(spins_on_a_strange_stack, NULL);
  while (!ready) {
    veil_poll(me);
  }
  veil_collect(me);
}

static void *spins_on_a_stack(void *co) {
  veil_thread *me = veil_attach(heap);
  resume(co, me);
  return NULL;
}

static coroutine *in_use_elsewhere(void) {
  start((veil_options){0});
  coroutine *co = coroutine_make(self, spins, 0);
  thread_start(spins_on_a_stack, co);
  while (!ready) {
    veil_poll(self);
  }
  return co;
}

DIES(stacks, a_switch_to_a_stack_that_another_thread_runs_on_is_noticed, "another thread runs on the stack") {
  coroutine *co = in_use_elsewhere();
  veil_stack_switch(self, co->stack);
}
DIES(stacks, dropping_a_stack_that_a_thread_runs_on_is_noticed, "a thread runs on the stack") {
  coroutine *co = in_use_elsewhere();
  veil_stack_drop(self, co->stack);
}

static void drops_itself(coroutine *co) { veil_stack_drop(co->runner, co->stack); }
DIES(stacks, a_coroutine_that_drops_its_own_stack_is_noticed, "a thread runs on the stack") {
  start((veil_options){0});
  resume(coroutine_make(self, drops_itself, 0), self);
}

static void detaches(coroutine *co) { veil_detach(co->runner); }
DIES(stacks, detaching_on_a_coroutine_is_noticed, "veil_detach: the thread runs on a registered stack") {
  start((veil_options){0});
  resume(coroutine_make(self, detaches, 0), self);
}

DIES(stacks, nonsense_in_place_of_a_stack_is_noticed, "is no stack of this heap") {
  start((veil_options){0});
  static uint64_t zeros[100];
  veil_stack_switch(self, (veil_stack *)zeros);
}

Test(stacks, what_is_no_memory_for_a_stack_is_refused) {
  start((veil_options){0});
  static char memory[8192];
  int here;
  cr_assert_null(veil_stack_open(self, NULL, 4096));
  cr_assert_null(veil_stack_open(self, memory, 0));
  cr_assert_null(veil_stack_open(self, memory, SIZE_MAX));
  cr_assert_null(veil_stack_open(self, veil_new_bytes(self, 4096), 4096));
  cr_assert_null(veil_stack_open(self, &here, sizeof here * 100));
  veil_stack *stack = veil_stack_open(self, memory, 4096);
  cr_assert_not_null(stack);
  cr_assert_null(veil_stack_open(self, memory + 4000, 4096));
  cr_assert(strstr(veil_error(), "overlaps") != NULL, "%s", veil_error());
  veil_stack *beside = veil_stack_open(self, memory + 4096, 4096);
  cr_assert_not_null(beside);
  veil_stack_drop(self, stack);
  veil_collect(self);
  end(); // the other goes with its heap
}
