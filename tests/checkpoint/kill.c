// SPDX-License-Identifier: MIT
// kill.c: a process that makes checkpoints is killed, again and again, at random moments: what is restored is what it acknowledged last, or what was in flight,
// whole; and the next one goes on from there.
//
//   checkpoint_kill [--times N] [--back-end NAME] [--stop signal|poll]
//
// KILL_SEED=n repeats the choices, not the moments. The killed process says through a pipe which checkpoint it begins, and which one is durable; the number
// stands in the heap, too.

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "tests/checkpoint/ledger.h"
#include "veil/checkpoint.h"

enum { MUTATORS = 2, SKIPPED = 77 };

typedef struct meta {
  uint64_t number; // of the checkpoint that is made next
} meta;
VEIL_LEAF(meta);

static veil_options options = {.limit = 96 << 20, .headroom = 4 << 20};
static uint64_t seed;

static uint64_t dice(uint64_t *state) {
  uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

static _Noreturn void wrong(const char *what, const char *more) {
  printf("FOUND: %s: %s (KILL_SEED=%llu)\n", what, more, (unsigned long long)seed);
  exit(1);
}

static veil_heap *heap_open(const char *path, bool elsewhere) {
  veil_type *types[] = {ledger_types[0], ledger_types[1], &veil_type_meta};
  veil_restore_options restore = {.types = types, .type_count = 3, .elsewhere = elsewhere};
  bool there = access(path, F_OK) == 0;
  veil_heap *heap = there ? veil_restore(path, &options, &restore) : veil_open(&options);
  if (heap == NULL && !there && options.back_end != NULL && strcmp(options.back_end, "mprotect") != 0) {
    fprintf(stderr, "%s\n", veil_error());
    exit(SKIPPED);
  }
  if (heap == NULL) {
    wrong("it does not open", veil_error());
  }
  return heap;
}

// ---- The process that is killed.

static struct {
  veil_heap *heap;
  uint64_t seed;
} child;

static void *mutate(void *arg) {
  char name[20];
  uint64_t state = child.seed + (uintptr_t)arg;
  snprintf(name, sizeof name, "ledger %d", (int)(intptr_t)arg);
  veil_thread *self = veil_attach(child.heap);
  for (ledger *l = ledger_named(self, name);;) {
    ledger_change(self, l, dice(&state));
    veil_poll(self);
  }
  return NULL;
}

static void say(int to, char what, uint64_t number) {
  char line[40];
  int n = snprintf(line, sizeof line, "%c%llu\n", what, (unsigned long long)number);
  if (write(to, line, (size_t)n) != n) {
    _exit(3);
  }
}

static _Noreturn void child_run(const char *path, int to) {
  pthread_t thread;
  uint64_t state = child.seed;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  child.heap = heap_open(path, dice(&state) % 2);
  veil_thread *self = veil_attach(child.heap);
  meta *m = veil_root_get(self, "meta");
  if (m == NULL) {
    m = veil_new(self, meta);
    veil_root_set(self, "meta", m);
  }
  for (intptr_t i = 0; i < MUTATORS; i++) {
    pthread_create(&thread, NULL, mutate, (void *)i);
  }
  veil_checkpointer *c =
      veil_checkpointer_open(child.heap, &(veil_checkpointer_options){.path = path, .pool = 1 << 20, .codec = (veil_codec)(dice(&state) % 3)});
  if (c == NULL) {
    wrong("no checkpointer", veil_error());
  }
  for (;;) {
    uint64_t number = ((meta volatile *)m)->number + 1;
    m->number = number;
    say(to, 'b', number);
    if (veil_checkpoint(c, dice(&state) % 10 == 0 ? VEIL_CHECKPOINT_FULL : 0, NULL) != VEIL_OK) {
      wrong("no checkpoint", veil_error());
    }
    say(to, 'd', number);
  }
}

// ---- The other one.

// What was in flight and is there has become durable.
static void look(const char *path, uint64_t begun, uint64_t *durable, bool elsewhere) {
  char text[100];
  uint64_t done = *durable;
  if (access(path, F_OK) != 0) {
    if (done != 0) {
      wrong("what was durable is gone", path);
    }
    return;
  }
  veil_heap *heap = heap_open(path, elsewhere);
  veil_thread *self = veil_attach(heap);
  const meta *m = veil_root_get(self, "meta");
  if (m == NULL || (m->number != done && m->number != begun)) {
    snprintf(text, sizeof text, "number %llu is there; %llu was durable, %llu begun", (unsigned long long)(m != NULL ? m->number : 0), (unsigned long long)done,
             (unsigned long long)begun);
    wrong("another checkpoint", text);
  }
  *durable = m->number;
  for (int i = 0; i < MUTATORS; i++) {
    char name[20];
    snprintf(name, sizeof name, "ledger %d", i);
    const ledger *l = veil_root_get(self, name);
    const char *why = l != NULL ? ledger_wrong(self, l) : NULL;
    if (why != NULL) {
      wrong(name, why);
    }
  }
  veil_collect(self);
  veil_verify(self);
  veil_detach(self);
  veil_close(heap);
}

static void lines_read(FILE *from, uint64_t *begun, uint64_t *done) {
  char line[40];
  while (fgets(line, sizeof line, from) != NULL && strchr(line, '\n') != NULL) {
    *(line[0] == 'b' ? begun : done) = strtoull(line + 1, NULL, 10);
  }
}

static void once(const char *path, uint64_t *begun, uint64_t *done, uint64_t *state) {
  int ends[2], how;
  if (pipe(ends) != 0) {
    wrong("pipe", strerror(errno));
  }
  fflush(stdout);
  pid_t pid = fork(); // no heap is open, so the child is a process like any other
  if (pid == 0) {
    close(ends[0]);
    child.seed = dice(state);
    child_run(path, ends[1]);
  }
  close(ends[1]);
  FILE *from = fdopen(ends[0], "r");
  char line[40];
  if (fgets(line, sizeof line, from) != NULL) { // it runs
    *begun = strtoull(line + 1, NULL, 10);
    uint64_t us = dice(state) % (dice(state) % 4 == 0 ? 800000 : 150000);
    struct timespec nap = {0, (long)us * 1000};
    nanosleep(&nap, NULL);
  }
  kill(pid, SIGKILL);
  lines_read(from, begun, done);
  fclose(from);
  while (waitpid(pid, &how, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(how)) {
    exit(WEXITSTATUS(how) == SKIPPED ? SKIPPED : 1);
  }
  if (!WIFSIGNALED(how) || WTERMSIG(how) != SIGKILL) {
    wrong("it has died by itself", "see above");
  }
  dice(state);
}

int main(int argc, char **argv) {
  unsigned times = 30;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--times") == 0) {
      times = (unsigned)strtoul(argv[i + 1], NULL, 10);
    } else if (strcmp(argv[i], "--back-end") == 0) {
      options.back_end = argv[i + 1];
    } else if (strcmp(argv[i], "--stop") == 0) {
      options.stop = strcmp(argv[i + 1], "poll") == 0 ? VEIL_STOP_POLL : VEIL_STOP_SIGNAL;
    }
  }
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  seed = getenv("KILL_SEED") != NULL ? strtoull(getenv("KILL_SEED"), NULL, 10) : (uint64_t)now.tv_nsec;
  printf("KILL_SEED=%llu\n", (unsigned long long)seed);
  char folder[200], path[300], beside[310];
  snprintf(folder, sizeof folder, "%s/kill.XXXXXX", getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
  if (mkdtemp(folder) == NULL) {
    wrong("no folder", folder);
  }
  snprintf(path, sizeof path, "%s/heap.veil", folder);
  snprintf(beside, sizeof beside, "%s.new", path);
  uint64_t begun = 0, done = 0, state = seed;
  for (unsigned i = 0; i < times; i++) {
    if (dice(&state) % 15 == 0) { // from the beginning
      unlink(path);
      begun = done = 0;
    }
    once(path, &begun, &done, &state);
    look(path, begun, &done, dice(&state) % 2);
  }
  printf("killed %u times; %llu checkpoints at last\n", times, (unsigned long long)done);
  unlink(path);
  unlink(beside);
  rmdir(folder);
  return 0;
}
