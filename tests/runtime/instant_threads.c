// SPDX-License-Identifier: MIT
// instant_threads.c: instants while threads write, allocate, collect, fork and take instants of their own.

#include <criterion/criterion.h>
#include <sys/wait.h>
#include "tests/runtime/saver.h"
#include "veil/calls.h"

// ---- Many threads.

static int volatile stopping;

typedef struct worker {
  unsigned seed;
  size_t volatile rounds;
} worker;

static void *work(void *arg) {
  worker *w = arg;
  veil_thread *me = veil_attach(heap);
  node *lists[8] = {NULL};
  char *bytes = veil_new_bytes(me, 200000);
  while (!stopping) {
    unsigned which = (unsigned)rand_r(&w->seed) % 8;
    if (rand_r(&w->seed) % 4 == 0) {
      lists[which] = list_make(me, rand_r(&w->seed) % 3000);
    }
    list_check(lists[which]);
    list_scramble(lists[(which + 1) % 8]);
    for (int i = 0; i < 20; i++) {
      bytes[rand_r(&w->seed) % 200000] ^= 1;
    }
    if (rand_r(&w->seed) % 50 == 0) {
      bytes = veil_new_bytes(me, 200000);
    }
    w->rounds++;
  }
  veil_detach(me);
  return NULL;
}

static void *collect_on(void *arg) {
  (void)arg;
  veil_thread *me = veil_attach(heap);
  unsigned seed = 7;
  while (!stopping) {
    switch (rand_r(&seed) % 4) {
    case 0:
      veil_collect_start(me);
      break;
    case 1:
      veil_collect_minor(me);
      break;
    case 2:
      veil_collect(me);
      break;
    default:
      sleep_ms(rand_r(&seed) % 3);
    }
  }
  veil_detach(me);
  return NULL;
}

static pthread_t threads[4];
static worker workers[3];

static void threads_begin(void) {
  stopping = 0;
  for (unsigned i = 0; i < 3; i++) {
    workers[i].seed = i + 1;
    threads[i] = thread_start(work, &workers[i]);
  }
  threads[3] = thread_start(collect_on, NULL);
}

static void threads_end(void) {
  stopping = 1;
  for (int i = 0; i < 4; i++) {
    veil_join(self, threads[i], NULL);
  }
}

static void chain_run(const char *back_end, veil_options options, int rounds) {
  options.back_end = back_end;
  if (!heap_with_pages(options)) {
    cr_skip_test("the back end does not work here");
  }
  static saver s;
  saver_open(&s);
  threads_begin();
  for (int round = 0; round < rounds; round++) {
    bool increment = round % 10 != 0;
    instant_take(&s, increment ? VEIL_INSTANT_DIRTY | VEIL_INSTANT_WATCH : VEIL_INSTANT_WATCH);
    if (round % 3) {
      veil_block_begin(self);
      sleep_ms(round % 7);
      veil_block_end(self);
    }
    instant_save(&s);
    instant_check(&s, increment);
  }
  threads_end();
  saver_close(&s);
  veil_verify(self);
  end();
}

ON_ALL_BACK_ENDS(instant, a_chain_of_increments_is_exact_while_threads_write_allocate_and_collect) { chain_run(back_end, (veil_options){0}, REPEATS(30, 200)); }

ON_TRAPPING_BACK_ENDS(instant, a_chain_is_exact_with_generations) {
  chain_run(back_end, (veil_options){.generations = VEIL_GENERATIONS_ON, .limit = 64 * MIB, .verify = 1}, 40);
}

ON_TRAPPING_BACK_ENDS(instant, a_chain_is_exact_with_large_pages) { chain_run(back_end, (veil_options){.granule = 16384, .limit = 64 * MIB}, REPEATS(20, 100)); }

// The only scanner would wait for the stop of who waits for a scanner.
ON_TRAPPING_BACK_ENDS(instant, cycles_that_are_verified_when_they_end_hold_nobody_up) {
  chain_run(back_end, (veil_options){.verify = 2, .scanners = 1}, REPEATS(100, 300));
}

ON_TRAPPING_BACK_ENDS(instant, a_chain_is_exact_where_threads_stop_at_polls) { chain_run(back_end, (veil_options){.stop = VEIL_STOP_POLL}, 40); }

typedef struct asker {
  saver saver;
  int rounds;
} asker;

static void *ask_on(void *arg) {
  asker *a = arg;
  for (int round = 0; round < a->rounds; round++) {
    instant_take(&a->saver, round % 2 ? VEIL_INSTANT_DIRTY | VEIL_INSTANT_WATCH : VEIL_INSTANT_WATCH);
    instant_save(&a->saver);
    instant_check(&a->saver, round % 2);
  }
  return NULL;
}

ON_ALL_BACK_ENDS(instant, services_that_ask_at_once_do_not_disturb_each_other) {
  INSTANT_START_OR_SKIP();
  static asker askers[3];
  pthread_t asking[3];
  threads_begin();
  for (int i = 0; i < 3; i++) {
    saver_open(&askers[i].saver);
    askers[i].rounds = 20;
    asking[i] = thread_start(ask_on, &askers[i]);
  }
  for (int i = 0; i < 3; i++) {
    veil_join(self, asking[i], NULL);
  }
  threads_end();
  for (int i = 0; i < 3; i++) {
    saver_close(&askers[i].saver);
  }
  end();
}

// ---- Fork.

ON_TRAPPING_BACK_ENDS(instant, a_child_of_fork_has_the_claims_and_its_own_contents) {
  INSTANT_START_OR_SKIP();
  static saver s;
  saver_open(&s);
  node *list = list_make(self, 20000);
  instant_take(&s, VEIL_INSTANT_WATCH);
  list->more = 5;
  pid_t child = fork();
  list_scramble(list);
  instant_save(&s);
  instant_check(&s, false);
  list = list_make(self, 10000);
  instant_take(&s, VEIL_INSTANT_DIRTY | VEIL_INSTANT_WATCH);
  list_scramble(list);
  instant_save(&s);
  instant_check(&s, true);
  if (child == 0) {
    _exit(0);
  }
  int status;
  EXPECT(waitpid(child, &status, 0) == child);
  cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with status %x", status);
  saver_close(&s);
  end();
}

static void *fork_on(void *arg) {
  (void)arg;
  while (!stopping) {
    pid_t child = fork();
    if (child == 0) {
      _exit(0);
    }
    int status;
    EXPECT(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    usleep(2000);
  }
  return NULL;
}

ON_TRAPPING_BACK_ENDS(instant, forks_in_between_change_nothing) {
  INSTANT_START_OR_SKIP();
  static saver s;
  saver_open(&s);
  threads_begin();
  pthread_t forker = thread_start(fork_on, NULL);
  for (int round = 0; round < 25; round++) {
    bool increment = round % 5 != 0;
    instant_take(&s, increment ? VEIL_INSTANT_DIRTY | VEIL_INSTANT_WATCH : VEIL_INSTANT_WATCH);
    instant_save(&s);
    instant_check(&s, increment);
  }
  threads_end();
  veil_join(self, forker, NULL);
  saver_close(&s);
  end();
}
