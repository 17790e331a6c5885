// SPDX-License-Identifier: MIT
// stops.c: how mutators are stopped: by signal, by polls, between brackets; and signals of others meanwhile.

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/time.h>
#include "tests/runtime/world.h"

static int volatile ready, over;

static void join(pthread_t thread) {
  veil_block_begin(self);
  pthread_join(thread, NULL);
  veil_block_end(self);
}

// ---- Mutators that never poll.

static void *never_polls(void *unused) {
  veil_thread *me = veil_attach(heap);
  node *volatile list = list_make(me, 300);
  ready = 1;
  while (!over) {
  }
  EXPECT(list_check(list) == 300);
  veil_detach(me);
  return NULL;
}

static void busy_loop(const char *back_end, veil_stop stop) {
  START_OR_SKIP(.back_end = back_end, .stop = stop);
  pthread_t thread = thread_start(never_polls, NULL);
  while (!ready) {
    veil_poll(self);
  }
  for (int i = 0; i < 5; i++) {
    veil_collect(self);
    list_make(self, 3000);
  }
  over = 1;
  join(thread);
  end();
}

ON_ALL_BACK_ENDS(stops, a_loop_without_calls_is_stopped_by_signal) { busy_loop(back_end, VEIL_STOP_SIGNAL); }
ON_ALL_BACK_ENDS(stops, a_loop_that_never_polls_does_not_hang_a_heap_that_stops_by_polls) {
  busy_loop(back_end, VEIL_STOP_POLL);
}

// ---- Polls.

static void *polls(void *unused) {
  veil_thread *me = veil_attach(heap);
  node *list = list_make(me, 300);
  ready = 1;
  while (!over) {
    EXPECT(list_check(list) == 300);
    veil_poll(me);
  }
  veil_detach(me);
  return NULL;
}

ON_ALL_BACK_ENDS(stops, a_heap_that_stops_by_polls_interrupts_no_system_call) {
  START_OR_SKIP(.back_end = back_end, .stop = VEIL_STOP_POLL);
  pthread_t thread = thread_start(polls, NULL);
  while (!ready) {
    veil_poll(self);
  }
  for (int i = 0; i < 50; i++) {
    veil_collect(self);
    struct timespec little = {0, 200000};
    cr_assert(nanosleep(&little, NULL) == 0);
  }
  over = 1;
  join(thread);
  end();
}

Test(stops, polling_when_no_stop_is_wanted_does_nothing) {
  start((veil_options){0});
  for (int i = 0; i < 1000000; i++) {
    veil_poll(self);
  }
  end();
}

// ---- Brackets.

static int ends[2];
static int volatile result;

static void *waits_in_brackets(void *unused) {
  veil_thread *me = veil_attach(heap);
  node *list = list_make(me, 500);
  struct pollfd wait = {.fd = ends[0], .events = POLLIN};
  ready = 1;
  veil_block_begin(me);
  result = poll(&wait, 1, 20000); // EINTR, if a stop woke it
  veil_block_end(me);
  EXPECT(list_check(list) == 500);
  veil_detach(me);
  return NULL;
}

ON_ALL_BACK_ENDS(stops, a_thread_in_brackets_is_not_woken_and_its_stack_is_scanned) {
  START_OR_SKIP(.back_end = back_end);
  cr_assert_eq(pipe(ends), 0);
  result = -2;
  pthread_t thread = thread_start(waits_in_brackets, NULL);
  while (!ready) {
    veil_poll(self);
  }
  sleep_ms(20);
  for (int i = 0; i < 30; i++) {
    veil_collect(self);
    list_make(self, 3000); // would be written over it
  }
  cr_assert_eq(result, -2, "poll returned %d", result);
  cr_assert_eq(write(ends[1], "x", 1), 1);
  join(thread);
  cr_assert_eq(result, 1);
  end();
}

// The references are in callee-saved registers when the brackets open.
static void *goes_in_and_out_of_brackets(void *unused) {
  veil_thread *me = veil_attach(heap);
  node *a = list_make(me, 20), *b = list_make(me, 30), *c = list_make(me, 40);
  long rounds = 0;
  for (; !over; rounds++) {
    veil_block_begin(me);
    veil_block_end(me);
    EXPECT(list_check(a) == 20 && list_check(b) == 30 && list_check(c) == 40);
    if (rounds % 64 == 0) {
      a = list_make(me, 20);
      b = list_make(me, 30);
      c = list_make(me, 40);
    }
  }
  veil_detach(me);
  return NULL;
}

ON_ALL_BACK_ENDS(stops, brackets_opened_and_closed_while_the_world_stops) {
  START_OR_SKIP(.back_end = back_end, .verify = 1);
  pthread_t thread[3];
  for (int i = 0; i < 3; i++) {
    thread[i] = thread_start(goes_in_and_out_of_brackets, NULL);
  }
  for (int i = 0; i < 150; i++) {
    veil_collect(self);
  }
  over = 1;
  for (int i = 0; i < 3; i++) {
    join(thread[i]);
  }
  end();
}

DIES(stops, brackets_that_nest_are_noticed, "brackets do not nest") {
  start((veil_options){0});
  veil_block_begin(self);
  veil_block_begin(self);
}

DIES(stops, an_end_of_brackets_without_a_beginning_is_noticed, "veil_block_end: without veil_block_begin") {
  start((veil_options){0});
  veil_block_end(self);
}

DIES(stops, detaching_between_brackets_is_noticed, "between veil_block_begin and veil_block_end") {
  start((veil_options){0});
  veil_block_begin(self);
  veil_detach(self);
}

DIES(stops, allocating_between_brackets_is_noticed, "between veil_block_begin and veil_block_end") {
  start((veil_options){0});
  veil_block_begin(self);
  for (int i = 0; i < 1000; i++) {
    veil_new(self, node);
  }
}

// ---- Signals of the program.

static long volatile storm;
static void storm_handler(int signo) {
  int saved = errno;
  storm++;
  errno = saved;
}

static void *walks_in_a_storm(void *unused) {
  veil_thread *me = veil_attach(heap);
  node *list = list_make(me, 5000);
  while (!over) {
    EXPECT(list_check(list) == 5000);
    node *fresh = list_make(me, 1000);
    EXPECT(list_check(fresh) == 1000);
  }
  veil_detach(me);
  return NULL;
}

static void storm_rages(const char *back_end, int flags) {
  START_OR_SKIP(.back_end = back_end);
  struct sigaction action = {.sa_handler = storm_handler, .sa_flags = flags};
  sigaction(SIGPROF, &action, NULL);
  sigaction(SIGALRM, &action, NULL);
  struct itimerval every_ms = {{0, 1000}, {0, 1000}};
  storm = 0;
  setitimer(ITIMER_PROF, &every_ms, NULL);
  setitimer(ITIMER_REAL, &every_ms, NULL);
  pthread_t thread[2] = {thread_start(walks_in_a_storm, NULL), thread_start(walks_in_a_storm, NULL)};
  node *list = list_make(self, 20000);
  struct timespec began, now;
  clock_gettime(CLOCK_MONOTONIC, &began);
  int cycles = 0;
  do {
    veil_collect_start(self);
    EXPECT(list_check(list) == 20000);
    veil_collect(self);
    cycles++;
    clock_gettime(CLOCK_MONOTONIC, &now);
  } while (now.tv_sec - began.tv_sec < 3 || cycles <= 3 || storm <= 200); // more on a busy machine
  over = 1;
  join(thread[0]);
  join(thread[1]);
  struct itimerval never = {{0, 0}, {0, 0}};
  setitimer(ITIMER_PROF, &never, NULL);
  setitimer(ITIMER_REAL, &never, NULL);
  cr_assert(stats_of(heap).traps > 0 || strcmp(back_end, "none") == 0);
  end();
}

ON_ALL_BACK_ENDS(stops, a_storm_of_signals_at_1_kHz_disturbs_nothing) { storm_rages(back_end, 0); }
ON_ALL_BACK_ENDS(stops, a_storm_of_signals_with_SA_RESTART_disturbs_nothing) { storm_rages(back_end, SA_RESTART); }

// A handler that reads the heap is a mutator's code like any other.
static node *volatile handler_list;
static void reads_the_heap(int signo) {
  if (handler_list != NULL) {
    EXPECT(list_check(handler_list) == 2000);
    storm++;
  }
}

ON_ALL_BACK_ENDS(stops, a_handler_that_reads_the_heap_works_during_cycles) {
  START_OR_SKIP(.back_end = back_end);
  signal(SIGALRM, reads_the_heap);
  cr_assert_eq(veil_add_roots(heap, (void *)&handler_list, 1), VEIL_OK);
  handler_list = list_make(self, 2000);
  storm = 0;
  struct itimerval every_ms = {{0, 1000}, {0, 1000}};
  setitimer(ITIMER_REAL, &every_ms, NULL);
  for (int i = 0; i < 200 || storm < 200; i++) {
    veil_collect(self);
    list_make(self, 500);
  }
  struct itimerval never = {{0, 0}, {0, 0}};
  setitimer(ITIMER_REAL, &never, NULL);
  veil_remove_roots(heap, (void *)&handler_list);
  end();
}

static void *blocks_all_signals(void *unused) {
  veil_thread *me = veil_attach(heap);
  node *list = list_make(me, 300);
  sigset_t all, before;
  sigfillset(&all);
  sigdelset(&all, SIGSEGV);
  sigdelset(&all, SIGBUS);
  for (int i = 0; !over; i++) {
    pthread_sigmask(SIG_BLOCK, &all, &before);
    for (int volatile spin = 0; spin < 2000000; spin++) {
    }
    EXPECT(list_check(list) == 300);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    ready = 1;
  }
  veil_detach(me);
  return NULL;
}

ON_ALL_BACK_ENDS(stops, a_thread_that_blocks_signals_for_a_while_is_waited_for) {
  START_OR_SKIP(.back_end = back_end);
  pthread_t thread = thread_start(blocks_all_signals, NULL);
  while (!ready) {
    veil_poll(self);
  }
  for (int i = 0; i < 10; i++) {
    veil_collect(self);
  }
  over = 1;
  join(thread);
  end();
}

// ---- Several threads collect at once.

static void *collects(void *unused) {
  veil_thread *me = veil_attach(heap);
  node *list = list_make(me, 1000);
  for (int i = 0; i < 60; i++) {
    if (i % 2) {
      veil_collect(me);
    } else {
      veil_collect_start(me);
    }
    EXPECT(list_check(list) == 1000);
  }
  veil_detach(me);
  return NULL;
}

ON_ALL_BACK_ENDS(stops, several_threads_collect_at_once) {
  START_OR_SKIP(.back_end = back_end, .scanners = 2);
  pthread_t thread[4];
  for (int i = 0; i < 4; i++) {
    thread[i] = thread_start(collects, NULL);
  }
  for (int i = 0; i < 30; i++) {
    veil_verify(self);
  }
  for (int i = 0; i < 4; i++) {
    join(thread[i]);
  }
  end();
}

// ---- Who stops the world over and over.

static void *stops_over_and_over(void *unused) {
  veil_thread *me = veil_attach(heap);
  node *volatile list = list_make(me, 20000); // each time it is looked at
  ready++;
  while (!over) {
    veil_new(me, node);
    veil_collect_minor(me);
  }
  EXPECT(list_check(list) == 20000);
  veil_detach(me);
  return NULL;
}

// On one processor, where whoever has just stopped the world is there first when it could be stopped again.
ON_ALL_BACK_ENDS(stops, who_stops_the_world_over_and_over_lets_others_do_so) {
  enum { TIMES = 50 };
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  cr_assert(sched_setaffinity(0, sizeof one, &one) == 0);
  START_OR_SKIP(.back_end = back_end, .generations = VEIL_GENERATIONS_ON, .nursery = MIB);
  pthread_t thread = thread_start(stops_over_and_over, NULL);
  while (!ready) {
    veil_poll(self);
  }
  uint64_t before = stats_of(heap).minor_cycles;
  for (int i = 0; i < TIMES; i++) {
    veil_verify(self);
  }
  uint64_t others = stats_of(heap).minor_cycles - before;
  over = 1;
  join(thread);
  end();
  cr_assert_lt(others, 4 * TIMES, "the world was stopped %lu times by the other thread before it was %d times by this", (unsigned long)others, TIMES);
}
