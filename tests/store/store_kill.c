// SPDX-License-Identifier: MIT
// store_kill.c: a process that commits is killed, again and again, at random moments: the store that is opened then is as of the last commit that was acknowledged, or of the one in flight, whole; and goes on from there.
//
//   store_kill [--times N] [--back-end NAME] [--stop signal|poll] [--in-cycle yes]
//
// KILL_SEED=n repeats the choices, not the moments. The killed process says through a pipe which commit it begins, with the graph's hash, and which one is durable; the number stands in the heap, too.
// With --in-cycle it kills itself in the middle of a collection: in a callback of the collector's, in any of its phases.

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "tests/store/graph.h"
#include "veil/events.h"
#include "veil/store.h"

enum { IN_CYCLE_MOST = 40, SKIPPED = 77, LOG = 1 << 20, CACHE = 1 << 20 };

static veil_options options = {.limit = 96 << 20, .headroom = 2 << 20, .nursery = 256 << 10};
static uint64_t seed;
static char path[300];
static bool in_cycle;

static _Noreturn void wrong(const char *what, const char *more) {
  printf("FOUND: %s: %s (KILL_SEED=%" PRIu64 ")\n", what, more, seed);
  fflush(stdout);
  exit(1);
}

static veil_store *store_open(uint64_t *state) {
  veil_store_options wanted = {.types = graph_types, .type_count = GRAPH_TYPES, .log = LOG, .cache = CACHE, .elsewhere = graph_dice(state) % 4 == 0};
  options.generations = (veil_generations)(graph_dice(state) % 3);
  if (options.back_end != NULL && strcmp(options.back_end, "none") == 0) {
    options.generations = VEIL_GENERATIONS_AUTO;
  }
  bool there = access(path, F_OK) == 0;
  veil_store *store = veil_store_open(path, &options, &wanted);
  if (store == NULL && !there && options.back_end != NULL && strcmp(options.back_end, "mprotect") != 0 && strcmp(options.back_end, "none") != 0) {
    fprintf(stderr, "%s\n", veil_error());
    exit(SKIPPED);
  }
  if (store == NULL) {
    wrong("it does not open", veil_error());
  }
  return store;
}

// ---- The process that is killed.

static void say(int to, char what, uint64_t number, uint64_t hash) {
  char line[60];
  int n = snprintf(line, sizeof line, "%c%" PRIu64 " %" PRIu64 "\n", what, number, hash);
  if (write(to, line, (size_t)n) != n) {
    _exit(3);
  }
}

// ---- Where in a collection.

#define PHASES(X) X(stop_begin) X(flip_begin) X(flip_end) X(cycle_scanning) X(trap_begin) X(trap_end) X(pages_scanned) X(cycle_sweeping) X(cycle_ended) X(memory_returned) X(minor_begin) X(minor_end)
#define PHASE_NUMBER(NAME) PHASE_##NAME,
#define PHASE_NAME(NAME) #NAME,
enum phase { PHASES(PHASE_NUMBER) PHASE_COUNT };
static const char *const phase_names[PHASE_COUNT] = {PHASES(PHASE_NAME)};
static unsigned phase_kills[PHASE_COUNT], other_kills;
static struct {
  enum phase at;
  int32_t volatile left; // how often it is let go by
  int to;                // the pipe
} killer;

// The threads of a collection run it, some of them at the same time; async-signal-safe.
static void killer_passes(enum phase phase) {
  if (phase == killer.at && __atomic_sub_fetch(&killer.left, 1, __ATOMIC_RELAXED) == 0) {
    char line[3] = {'k', (char)('a' + phase), '\n'};
    ssize_t ignored = write(killer.to, line, sizeof line);
    (void)ignored;
    kill(getpid(), SIGKILL);
  }
}

static void on_stop_begin(void *arg) { killer_passes(PHASE_stop_begin); }
static void on_flip_begin(void *arg, uint64_t cycle) { killer_passes(PHASE_flip_begin); }
static void on_flip_end(void *arg, uint64_t cycle, uint64_t pins, uint64_t roots, uint64_t words, uint64_t ns) { killer_passes(PHASE_flip_end); }
static void on_scanning(void *arg, uint64_t cycle) { killer_passes(PHASE_cycle_scanning); }
static void on_trap_begin(void *arg, size_t page) { killer_passes(PHASE_trap_begin); }
static void on_trap_end(void *arg, size_t page, uint64_t ns) { killer_passes(PHASE_trap_end); }
static void on_scanned(void *arg, size_t page, size_t count, size_t scanned, veil_scan by, uint64_t ns) { killer_passes(PHASE_pages_scanned); }
static void on_sweeping(void *arg, uint64_t cycle, uint64_t ns) { killer_passes(PHASE_cycle_sweeping); }
static void on_ended(void *arg, uint64_t cycle, const veil_sizes *sizes) { killer_passes(PHASE_cycle_ended); }
static void on_returned(void *arg, size_t bytes, uint64_t held) { killer_passes(PHASE_memory_returned); }
static void on_minor_begin(void *arg, uint64_t minor) { killer_passes(PHASE_minor_begin); }
static void on_minor_end(void *arg, uint64_t minor, uint64_t survived, uint64_t promoted, uint64_t ns) { killer_passes(PHASE_minor_end); }

static const veil_events killing = {.stop_begin = on_stop_begin,
                                    .flip_begin = on_flip_begin,
                                    .flip_end = on_flip_end,
                                    .cycle_scanning = on_scanning,
                                    .trap_begin = on_trap_begin,
                                    .trap_end = on_trap_end,
                                    .pages_scanned = on_scanned,
                                    .cycle_sweeping = on_sweeping,
                                    .cycle_ended = on_ended,
                                    .memory_returned = on_returned,
                                    .minor_begin = on_minor_begin,
                                    .minor_end = on_minor_end};

static void killer_choose(uint64_t *state, int to) {
  killer.at = (enum phase)(graph_dice(state) % PHASE_COUNT);
  bool often = killer.at == PHASE_stop_begin || killer.at == PHASE_trap_begin || killer.at == PHASE_trap_end || killer.at == PHASE_pages_scanned;
  killer.left = 1 + (int32_t)(graph_dice(state) % (often ? 12 : 3));
  killer.to = to;
}

static veil_status commit(veil_store *store, veil_thread *self, uint64_t *state) {
  uint64_t ticket;
  if (graph_dice(state) % 3 != 0) {
    return veil_store_commit(store, NULL);
  }
  veil_status status = veil_store_commit_async(store, &ticket);
  if (status != VEIL_OK || graph_dice(state) % 2 == 0) {
    return status == VEIL_OK ? veil_store_wait(store, ticket) : status;
  }
  while ((status = veil_store_poll(store, ticket)) == VEIL_BUSY) {
    veil_poll(self);
  }
  return status;
}

static _Noreturn void child_run(uint64_t from, int to) {
  uint64_t state = from;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  veil_store *store = store_open(&state);
  veil_thread *self = veil_attach(veil_store_heap(store));
  say(to, 'o', graph_number(self), graph_hash(self));
  if (in_cycle) {
    killer_choose(&state, to);
    veil_set_events(veil_store_heap(store), &killing, NULL);
  }
  for (unsigned commits = 0; !in_cycle || commits < IN_CYCLE_MOST; commits++) {
    graph_change(self, &state, (unsigned)(graph_dice(&state) % (graph_dice(&state) % 10 == 0 ? 3000 : 100)), true);
    graph_collect(self, &state);
    uint64_t number = graph_number(self) + 1;
    graph_number_set(self, number);
    say(to, 'b', number, graph_hash(self));
    if (commit(store, self, &state) != VEIL_OK) {
      wrong("no commit", veil_error());
    }
    say(to, 'd', number, 0);
    if (graph_dice(&state) % 100 == 0) { // the end of a clean run, and the beginning of another
      veil_detach(self);
      if (veil_store_close(store) != VEIL_OK) {
        wrong("it does not close", veil_error());
      }
      store = store_open(&state);
      self = veil_attach(veil_store_heap(store));
      say(to, 'o', graph_number(self), graph_hash(self));
      if (in_cycle) {
        veil_set_events(veil_store_heap(store), &killing, NULL);
      }
    }
  }
  kill(getpid(), SIGKILL); // where it was to be killed it did not come by so often
  _exit(4);
}

// ---- The other one.

typedef struct commits {
  uint64_t begun, begun_hash, done, done_hash; // the last ones
} commits;

static void is_there(const commits *c, uint64_t number, uint64_t hash, const char *when) {
  char text[200];
  if (!(number == c->done && hash == c->done_hash) && !(number == c->begun && hash == c->begun_hash)) {
    snprintf(text, sizeof text, "%s: number %" PRIu64 ", hash %" PRIx64 "; %" PRIu64 ", %" PRIx64 " was durable, %" PRIu64 ", %" PRIx64 " begun", when, number, hash,
             c->done, c->done_hash, c->begun, c->begun_hash);
    wrong("another state", text);
  }
}

static void line_take(commits *c, const char *line) {
  if (*line == 'k') {
    phase_kills[line[1] - 'a']++;
    other_kills--;
    return;
  }
  uint64_t number, hash;
  if (sscanf(line + 1, "%" SCNu64 " %" SCNu64, &number, &hash) != 2) {
    wrong("a line", line);
  }
  if (*line == 'o') { // the first time there is none
    if (number != 0 || c->done != 0) {
      is_there(c, number, hash, "opened");
    }
    *c = (commits){number, hash, number, hash};
  } else if (*line == 'b') {
    c->begun = number;
    c->begun_hash = hash;
  } else {
    c->done = c->begun;
    c->done_hash = c->begun_hash;
  }
}

static void once(commits *c, uint64_t *state) {
  int ends[2], how;
  char line[100];
  if (pipe(ends) != 0) {
    wrong("pipe", strerror(errno));
  }
  fflush(stdout);
  uint64_t from = graph_dice(state);
  pid_t pid = fork(); // no heap is open, so the child is a process like any other
  if (pid == 0) {
    close(ends[0]);
    child_run(from, ends[1]);
  }
  close(ends[1]);
  FILE *lines = fdopen(ends[0], "r");
  bool opens = graph_dice(state) % 10 != 0; // else it may be killed while it opens the store
  if (opens && fgets(line, sizeof line, lines) != NULL) {
    line_take(c, line);
  }
  other_kills++;
  uint64_t us = in_cycle ? 0 : graph_dice(state) % (graph_dice(state) % 8 == 0 ? 600000 : 80000);
  if (!in_cycle) {
    nanosleep(&(struct timespec){0, (long)us * 1000}, NULL);
    kill(pid, SIGKILL);
  }
  while (fgets(line, sizeof line, lines) != NULL && strchr(line, '\n') != NULL) {
    line_take(c, line);
  }
  fclose(lines);
  while (waitpid(pid, &how, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(how)) {
    exit(WEXITSTATUS(how) == SKIPPED ? SKIPPED : 1);
  }
  if (!WIFSIGNALED(how) || WTERMSIG(how) != SIGKILL) {
    wrong("it has died by itself", "see above");
  }
}

// And one more commit, and a clean end, or what the next process finds is what this one did not commit.
static void look(commits *c, uint64_t *state) {
  if (access(path, F_OK) != 0) {
    if (c->done != 0) {
      wrong("what was durable is gone", path);
    }
    return;
  }
  veil_store *store = store_open(state);
  veil_thread *self = veil_attach(veil_store_heap(store));
  uint64_t number = graph_number(self), hash = graph_hash(self);
  if (number != 0 || c->done != 0) {
    is_there(c, number, hash, "after it");
  }
  veil_collect(self);
  veil_verify(self);
  if (graph_hash(self) != hash) {
    wrong("after it", "a cycle has changed the graph");
  }
  *c = (commits){number, hash, number, hash};
  if (graph_dice(state) % 2 == 0) {
    graph_change(self, state, 50, true);
    graph_number_set(self, number + 1);
    hash = graph_hash(self);
    if (veil_store_commit(store, NULL) != VEIL_OK) {
      wrong("no commit after it", veil_error());
    }
    *c = (commits){number + 1, hash, number + 1, hash};
    graph_change(self, state, 50, true); // nobody commits it
  }
  veil_detach(self);
  if (veil_store_close(store) != VEIL_OK) {
    wrong("it does not close", veil_error());
  }
}

static void name_remove(const char *end) {
  char name[330];
  snprintf(name, sizeof name, "%s%s", path, end);
  unlink(name);
}

static void names_remove(void) {
  name_remove("");
  name_remove(".new");
  name_remove(".log");
  name_remove(".log.new");
}

// Nearly all were killed where they were to be, or the trial is another one than it says.
static void phases_say(unsigned times) {
  for (int i = 0; i < PHASE_COUNT; i++) {
    printf("%s %u, ", phase_names[i], phase_kills[i]);
  }
  printf("none of these %u\n", other_kills);
  if (other_kills > times / 2) {
    wrong("few were killed in a collection", "see above");
  }
}

int main(int argc, char **argv) {
  unsigned times = 20;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--times") == 0) {
      times = (unsigned)strtoul(argv[i + 1], NULL, 10);
    } else if (strcmp(argv[i], "--back-end") == 0) {
      options.back_end = argv[i + 1];
    } else if (strcmp(argv[i], "--stop") == 0) {
      options.stop = strcmp(argv[i + 1], "poll") == 0 ? VEIL_STOP_POLL : VEIL_STOP_SIGNAL;
    } else if (strcmp(argv[i], "--in-cycle") == 0) {
      in_cycle = true;
    }
  }
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  seed = getenv("KILL_SEED") != NULL ? strtoull(getenv("KILL_SEED"), NULL, 10) : (uint64_t)now.tv_nsec;
  printf("KILL_SEED=%" PRIu64 "\n", seed);
  char folder[200];
  snprintf(folder, sizeof folder, "%s/kill.XXXXXX", getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
  if (mkdtemp(folder) == NULL) {
    wrong("no folder", folder);
  }
  snprintf(path, sizeof path, "%s/heap.veil", folder);
  uint64_t state = seed, in_all = 0;
  commits c = {0};
  for (unsigned i = 0; i < times; i++) {
    if (graph_dice(&state) % 15 == 0) { // from the beginning
      names_remove();
      in_all += c.done;
      c = (commits){0};
    }
    once(&c, &state);
    look(&c, &state);
  }
  if (in_cycle) {
    phases_say(times);
  }
  printf("killed %u times; %" PRIu64 " commits\n", times, in_all + c.done);
  names_remove();
  rmdir(folder);
  return 0;
}
