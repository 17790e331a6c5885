// SPDX-License-Identifier: MIT
// operator.c: heap dumps by signal.

#include <criterion/criterion.h>
#include <signal.h>
#include <sys/stat.h>
#include "runtime/tools/heap.h"
#include "tests/runtime/world.h"
#include "veil/dump.h"

static char pattern[80];

static void pattern_make(void) { snprintf(pattern, sizeof pattern, "/tmp/veil-operator-%d.%%p.%%n", (int)getpid()); }

static const char *path_of(pid_t pid, int number) {
  static char path[128];
  snprintf(path, sizeof path, "%.*s.%d.%d", (int)(strlen(pattern) - 6), pattern, (int)pid, number);
  return path;
}

// The dump that is asked for by the signal: as many nodes as that are alive, at the least.
static void asked_and_checked(veil_thread *me, int number, uint64_t least) {
  const char *path = path_of(getpid(), number);
  struct stat s;
  EXPECT(kill(getpid(), SIGRTMIN + 6) == 0);
  for (int i = 0; stat(path, &s) != 0; i++) { // it comes into being whole
    EXPECT(i < 3000);
    list_make(me, 100);
    sleep_ms(10);
  }
  heap_dump *d = calloc(1, sizeof *d);
  heap_load(d, path);
  heap_reach(d);
  EXPECT(d->reached >= least && d->dangling == 0 && d->info.pid == (uint64_t)getpid());
  heap_free(d);
  free(d);
  unlink(path);
}

ON_ALL_BACK_ENDS(operator, a_signal_makes_a_dump_while_the_program_runs) {
  pattern_make();
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .dump = pattern);
  node *list = list_make(self, 20000);
  for (int i = 1; i <= 3; i++) {
    asked_and_checked(self, i, 20000);
  }
  list_check(list);
  kill(getpid(), SIGRTMIN + 6); // and nobody waits for it
  end();
  unlink(path_of(getpid(), 4));
}

Test(operator, a_program_that_waits_in_brackets_is_dumped) {
  pattern_make();
  setenv("VEIL_DUMP", pattern, 1);
  start((veil_options){.stop = VEIL_STOP_POLL});
  node *list = list_make(self, 1000);
  const char *path = path_of(getpid(), 1);
  struct stat s;
  kill(getpid(), SIGRTMIN + 6);
  veil_block_begin(self);
  for (int i = 0; stat(path, &s) != 0; i++) {
    EXPECT(i < 3000);
    sleep_ms(10);
  }
  veil_block_end(self);
  list_check(list);
  unlink(path);
  end();
}

static void handled(int signo) {}

Test(operator, a_signal_that_is_taken_is_refused) {
  signal(SIGUSR1, handled);
  veil_options taken = {.dump = "/tmp/never", .dump_signal = SIGUSR1},
               kills = {.dump = "/tmp/never", .dump_signal = SIGKILL};
  cr_assert_null(veil_open(&taken));
  cr_assert_not_null(strstr(veil_error(), "dump_signal"), "%s", veil_error());
  cr_assert_null(veil_open(&kills));
  cr_assert_not_null(strstr(veil_error(), "dump_signal"), "%s", veil_error());
}

static void asks_for_what_cannot_be(void *unused) {
  start((veil_options){.dump = "/nowhere/%p.%n.%x"});
  for (int i = 0; i < 3; i++) {
    kill(getpid(), SIGRTMIN + 6);
    sleep_ms(100);
    list_check(list_make(self, 1000));
  }
  end();
}

Test(operator, a_dump_that_cannot_be_written_is_said_so, .timeout = 60) {
  death d = death_of(asks_for_what_cannot_be, NULL);
  cr_assert(death_none(&d));
  cr_assert_not_null(strstr(d.said, "veil: no heap dump: veil_heap_dump: cannot create /nowhere/"), "%s", d.said);
  cr_assert_not_null(strstr(d.said, ".3.%x"), "%s", d.said);
}

#ifndef __SANITIZE_ADDRESS__ // its allocator's locks do not outlive a fork
ON_ALL_BACK_ENDS(operator, a_child_has_its_own) {
  pattern_make();
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .dump = pattern);
  node *list = list_make(self, 2000);
  asked_and_checked(self, 1, 2000);
  pid_t child = fork();
  if (child == 0) {
    asked_and_checked(self, 2, 2000);
    list_check(list);
    end();
    _exit(0);
  }
  int status;
  waitpid(child, &status, 0);
  cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  asked_and_checked(self, 2, 2000);
  end();
}
#endif
