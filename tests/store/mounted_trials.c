// SPDX-License-Identifier: MIT
// mounted_trials.c: crashes of subjects on a mounted disk, which forgets what was not synchronised: what was
// acknowledged is there, what was in flight as a whole or not at all. One harness for the store, and for LMDB and
// SQLite, of which it must find nothing.
//
//   mounted_trials store|lmdb|sqlite [--long] [--break NAME]        STORE_SEED=n repeats the choices
//
// Exits with 0; with 1 if anything was found; with 77 if the subject is not installed, or nothing can be mounted here.
// With --break one rule of the subject's is broken, and a trial that finds nothing then is of no use:
// tests/store/mounted_fires.py.
//
// A story: processes that open what is on the disk, commit some times, and close it, or are killed. Then for points of
// it, a crash: a process opens what is left, commits, closes it or is killed, and that crashes again.

#include "tests/store/mounted_trials.h"
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "tests/store/mounted.h"
#include "tests/store/states.h"

enum { SKIPPED = 77, FOUND_MOST = 10, SECONDS = 60 };

static const subject *of;
static uint64_t seed;
static bool long_run;
static unsigned found_count;

// What a process is to do, and says of it. In memory that all of them share.
typedef struct task {
  volatile size_t notes;
  uint64_t dice;
  unsigned commits;
  bool dies;            // at the end; else it closes what it has opened
  const states *before; // what may be there: all of that before a crash; NULL: the last of `told`, if it has any
  size_t at;
  states told;
  char said[600]; // what is wrong; empty: nothing
} task;

static void found(const char *format, ...) {
  va_list args;
  if (found_count++ < FOUND_MOST) {
    va_start(args, format);
    printf("FOUND: ");
    vprintf(format, args);
    printf("\n");
    va_end(args);
    fflush(stdout);
  }
}
static bool enough(void) { return found_count >= FOUND_MOST; }

static void *shared_memory(size_t bytes) {
  void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) {
    perror("mmap");
    abort();
  }
  return at;
}

// ---- The process that works on the mounted disk.

static bool is_there(task *t, uint64_t hash) {
  if (t->before != NULL && states_find(t->before, t->at, hash) < 0) {
    snprintf(t->said, sizeof t->said, "state %d is there; %d was acknowledged", states_ever(t->before, hash),
             states_sure(t->before, t->at));
    return false;
  }
  if (t->before == NULL && t->told.count != 0 && t->told.at[t->told.count - 1].hash != hash) {
    snprintf(t->said, sizeof t->said, "state %d is there, and no machine has crashed; %d was acknowledged",
             states_ever(&t->told, hash), t->told.count - 1);
    return false;
  }
  if (t->told.count == 0) {
    t->told.at[t->told.count++] = (state){hash, 0, 0};
  }
  return true;
}

static void work(const char *folder, void *arg) {
  task *t = arg;
  if (!of->open(folder, &t->dice)) {
    snprintf(t->said, sizeof t->said, "it does not open: %s", of->why());
    return;
  }
  if (!is_there(t, of->hash())) {
    return;
  }
  for (unsigned i = 0; i < t->commits; i++) {
    of->change(&t->dice);
    if (t->told.count == STATES) {
      abort();
    }
    state *now = &t->told.at[t->told.count++];
    *now = (state){of->hash(), t->notes, SIZE_MAX};
    if (!of->commit(&t->dice)) {
      snprintf(t->said, sizeof t->said, "no commit: %s", of->why());
      return;
    }
    now->acknowledged = t->notes;
  }
  if (t->dies) {
    kill(getpid(), SIGKILL);
  }
  if (!of->close()) {
    snprintf(t->said, sizeof t->said, "it does not close: %s", of->why());
  }
}

// False: something is wrong, which has been said.
static bool worked(disk *d, task *t, const char *where, size_t at, size_t notes) {
  int how = mounted_run(d, &t->notes, SECONDS, work, t);
  bool ended = t->dies ? WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL : WIFEXITED(how) && WEXITSTATUS(how) == 0;
  if (t->said[0] != 0) {
    found("%s note %zu of %zu: %s", where, at, notes, t->said);
  } else if (!ended) {
    found("%s note %zu of %zu: the process that opens it ends with %s %d", where, at, notes,
          WIFSIGNALED(how) ? "signal" : "code", WIFSIGNALED(how) ? WTERMSIG(how) : WEXITSTATUS(how));
  }
  return t->said[0] == 0 && ended;
}

// ---- The trial.

static bool story(disk *d, task *t) {
  unsigned sessions = 4;
  *t = (task){.dice = seed};
  if (!of->names_last) {
    if (!worked(d, t, "the beginning,", 0, 0)) {
      return false;
    }
    disk_rebase(d);
  }
  for (unsigned i = 0; i < sessions; i++) {
    t->commits = 15 + (unsigned)(graph_dice(&t->dice) % 15);
    t->dies = i % 2 == 1;
    if (!worked(d, t, "the story itself,", d->notes, d->notes)) {
      return false;
    }
  }
  return true;
}

static void crash(const disk *d, const states *before, size_t at, uint64_t *dice) {
  task *t = shared_memory(sizeof *t), *again = shared_memory(sizeof *again);
  *t = (task){.before = before,
              .at = at,
              .dice = graph_dice(dice),
              .commits = (unsigned)(graph_dice(dice) % 3),
              .dies = graph_dice(dice) % 3 == 0};
  disk *crashed = disk_crash_some(d, at, graph_dice(dice));
  disk_rebase(crashed);
  if (worked(crashed, t, "a crash before", at, d->notes)) {
    for (int i = 0; i < 2 && !enough(); i++) {
      size_t then = graph_dice(dice) % (crashed->notes + 1);
      *again = (task){.before = &t->told, .at = then, .dice = graph_dice(dice)};
      disk *twice = disk_crash_some(crashed, then, graph_dice(dice));
      worked(twice, again, "a second crash before", then, crashed->notes);
      disk_free(twice);
    }
  }
  disk_free(crashed);
  munmap(t, sizeof *t);
  munmap(again, sizeof *again);
}

static void trial(void) {
  task *t = shared_memory(sizeof *t);
  disk *d = disk_new();
  uint64_t dice = seed + 1;
  unsigned times = long_run ? 10 : 1, points = long_run ? 1000 : 40, seen = 0;
  if (story(d, t)) {
    for (unsigned i = 0; i < times && !enough(); i++) {
      for (size_t at = 0; at <= d->notes && !enough(); at += 1 + graph_dice(&dice) % (1 + 2 * d->notes / points)) {
        crash(d, &t->told, at, &dice);
        seen++;
      }
    }
  }
  printf("%s: %d states, %zu notes, %u crashes, %u found\n", of->name, t->told.count, d->notes, seen, found_count);
  disk_free(d);
}

// ---- The program.

static const subject *const subjects[] = {
    &subject_store,
#ifdef HAVE_LMDB
    &subject_lmdb,
#endif
#ifdef HAVE_SQLITE
    &subject_sqlite,
#endif
};

static _Noreturn void usage(void) {
  fprintf(stderr, "mounted_trials store|lmdb|sqlite [--long] [--break NAME]\n");
  exit(2);
}

int main(int argc, char **argv) {
  struct timespec now;
  for (size_t i = 0; argc > 1 && i < sizeof subjects / sizeof *subjects; i++) {
    of = strcmp(argv[1], subjects[i]->name) == 0 ? subjects[i] : of;
  }
  if (of == NULL && argc > 1 && (strcmp(argv[1], "lmdb") == 0 || strcmp(argv[1], "sqlite") == 0)) {
    printf("%s was not there when this was built\n", argv[1]);
    return SKIPPED;
  }
  if (of == NULL) {
    usage();
  }
  for (int i = 2; i < argc; i++) {
    if (strcmp(argv[i], "--long") == 0) {
      long_run = true;
    } else if (strcmp(argv[i], "--break") == 0 && i + 1 < argc && of->weaken(argv[i + 1])) {
      i++;
    } else {
      usage();
    }
  }
  clock_gettime(CLOCK_REALTIME, &now);
  seed = getenv("STORE_SEED") != NULL ? strtoull(getenv("STORE_SEED"), NULL, 10) : (uint64_t)now.tv_nsec;
  printf("STORE_SEED=%llu\n", (unsigned long long)seed);
  fflush(stdout);
  if (!mounted_works()) {
    return SKIPPED;
  }
  trial();
  return found_count != 0;
}
