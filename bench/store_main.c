// SPDX-License-Identifier: MIT
// store_main.c: runs the workload `store` with the peer that it is linked with. See store_load.h.
//
// part commits: open (timed), bring all keys back to their first values, which also reads everything in that is going to be used; commit, timed; commit what is left of the updates if time was over;
// read back, close (timed). So what a run leaves depends on nothing that ran before.
// part walk (veil): all values are read in a store's heap, or in a volatile one; timed.
// part pages (veil): a store whose pages are all in its file is opened, where it was or elsewhere; first touches of pages, timed.
// part rollback (veil): --k values are updated, and rolled back, timed; the values must be there as before.
// part recover: a child commits until there is enough in the log, and is killed; then open, timed. Everything that it had committed must be there.
//
// Thread 0 is the program's first. Each thread has its peer's handle for itself; all but the shadow is constant or a thread's own while several run.

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "bench/store_load.h"

enum { BATCH = 10000 };

typedef struct worker {
  pthread_t thread;
  load_thread *self;
  load_source source;
  load_update *updates; // BATCH of them
  double *took;         // seconds of each commit
  uint64_t share, done; // commits wanted, and made before time was over
  double ended;
} worker;

static pthread_barrier_t barrier;
static double began; // before the barrier that opens the measured phase

static void *allocated(size_t count, size_t size) {
  void *memory = calloc(count > 0 ? count : 1, size);
  if (memory == NULL) {
    load_fail("memory", "there is none");
  }
  return memory;
}

// ---- The files.

static void path_of(char *path, size_t room, const char *suffix) { snprintf(path, room, "%s%s", load_now.file, suffix); }

// Whether the files are as `make` leaves them, by a note that is written after it.
static bool made_before(const char *note, const char *wanted) {
  char found[128] = "";
  FILE *file = fopen(note, "r");
  if (file != NULL) {
    found[fread(found, 1, sizeof found - 1, file)] = 0;
    fclose(file);
  }
  return strcmp(found, wanted) == 0;
}

static void synced(const char *path) { // and the system's other writes to that disk, which would disturb
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    syncfs(fd);
    close(fd);
  }
}

static void made(void) {
  char note[4096], path[4096], wanted[128];
  path_of(note, sizeof note, ".made");
  snprintf(wanted, sizeof wanted, "%llu %llu %llu\n", (unsigned long long)load_now.total, (unsigned long long)load_now.keys, (unsigned long long)load_now.seed);
  if (made_before(note, wanted)) {
    return;
  }
  unlink(note);
  for (int i = 0; i < SUFFIXES && peer_here.suffixes[i] != NULL; i++) {
    path_of(path, sizeof path, peer_here.suffixes[i]);
    unlink(path);
  }
  double from = load_now_s();
  pid_t pid = fork();
  if (pid == 0) {
    load_making = true;
    peer_here.make();
    exit(0);
  }
  int status = 1 << 8;
  if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
    exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
  }
  FILE *file = fopen(note, "w");
  if (file == NULL || fputs(wanted, file) < 0 || fclose(file) != 0) {
    load_fail(note, "cannot be written");
  }
  synced(note);
  load_json("make_s", load_now_s() - from);
}

// ---- The contents.

static void settle(load_thread *self, const load_update *updates, size_t count) { (peer_here.settle != NULL ? peer_here.settle : peer_here.commit)(self, updates, count); }

// All keys that are updated get their first values, if they have others.
static void contents_reset(worker *w) {
  size_t count = 0;
  unsigned char value[VALUE_BYTES];
  for (uint64_t i = 0; i < load_now.keys && !peer_here.empty; i++) {
    load_update *u = &w->updates[count];
    u->key = i * load_now.stride;
    load_value(u->key, 0, u->value);
    peer_here.read(w->self, u->key, value);
    count += memcmp(value, u->value, VALUE_BYTES) != 0;
    if (count == BATCH || (count > 0 && i + 1 == load_now.keys)) {
      settle(w->self, w->updates, count);
      count = 0;
    }
  }
}

// Reads all keys that are updated, and as many others, if there are any, which must have their first values. The checksum.
static uint64_t contents_check(load_thread *self) {
  uint64_t check = 0;
  unsigned char value[VALUE_BYTES], expected[VALUE_BYTES];
  for (uint64_t i = 0; i < load_now.keys; i++) {
    for (uint64_t beside = 0; beside < (load_now.stride > 1 ? 2 : 1); beside++) {
      uint64_t key = i * load_now.stride + beside;
      peer_here.read(self, key, value);
      load_value(key, beside == 0 ? load_stamps[i] : 0, expected);
      if (memcmp(value, expected, VALUE_BYTES) != 0) {
        load_fail("what is there is not what was committed", "contents");
      }
      check = load_check_add(check, value);
    }
  }
  return check;
}

// ---- Commits.

static void wait_for_all(worker *w) {
  if (peer_here.block != NULL) {
    peer_here.block(w->self, true);
  }
  pthread_barrier_wait(&barrier);
  if (peer_here.block != NULL) {
    peer_here.block(w->self, false);
  }
}

static void commit_one(worker *w) {
  for (unsigned i = 0; i < load_now.k; i++) {
    load_update_next(&w->source, &w->updates[i]);
  }
  peer_here.commit(w->self, w->updates, load_now.k);
}

static void measured(worker *w) {
  double last = load_now_s();
  while (w->done < w->share && (w->done == 0 || last - began < load_now.seconds)) {
    commit_one(w);
    double now = load_now_s();
    w->took[w->done++] = now - last;
    last = now;
  }
  w->ended = last;
}

// What was not committed in time, so that all peers end with the same.
static void rest(worker *w) {
  for (uint64_t left = (w->share - w->done) * load_now.k; left > 0;) {
    size_t count = left < BATCH ? left : BATCH;
    for (size_t i = 0; i < count; i++) {
      load_update_next(&w->source, &w->updates[i]);
    }
    settle(w->self, w->updates, count);
    left -= count;
  }
}

static void *worker_run(void *arg) {
  worker *w = arg;
  w->self = peer_here.attach();
  wait_for_all(w);
  wait_for_all(w);
  measured(w);
  wait_for_all(w);
  rest(w);
  wait_for_all(w);
  peer_here.detach(w->self);
  return NULL;
}

static int by_size(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

static void latency_tell(const worker *workers, uint64_t done) {
  double *all = allocated(done, sizeof *all);
  size_t count = 0;
  for (unsigned i = 0; i < load_now.threads; i++) {
    memcpy(all + count, workers[i].took, workers[i].done * sizeof *all);
    count += workers[i].done;
  }
  qsort(all, count, sizeof *all, by_size);
  load_json("commit_p50_us", all[count / 2] * 1e6);
  load_json("commit_p99_us", all[count - 1 - count / 100] * 1e6);
  load_json("commit_max_us", all[count - 1] * 1e6);
  free(all);
}

typedef struct counters {
  double cpu_s;
  uint64_t logged;
} counters;
static counters counters_now(void) { return (counters){load_cpu_s(), peer_here.logged != NULL ? peer_here.logged() : 0}; }

static void commits_tell(const worker *workers, counters from, counters to) {
  uint64_t done = 0;
  double ended = began;
  for (unsigned i = 0; i < load_now.threads; i++) {
    done += workers[i].done;
    ended = workers[i].ended > ended ? workers[i].ended : ended;
  }
  load_json("wall_s", ended - began);
  load_json("cpu_s", to.cpu_s - from.cpu_s);
  load_json("commits", (double)done);
  load_json("commits_per_s", (double)done / (ended - began));
  latency_tell(workers, done);
  if (peer_here.logged != NULL) {
    load_json("logged_per_changed", (double)(to.logged - from.logged) / ((double)done * load_now.k * VALUE_BYTES));
  }
}

static worker *workers_make(void) {
  worker *workers = allocated(load_now.threads, sizeof *workers);
  for (unsigned i = 0; i < load_now.threads; i++) {
    worker *w = &workers[i];
    w->share = load_now.commits / load_now.threads + (i < load_now.commits % load_now.threads);
    w->source = load_source_begin(i);
    w->updates = allocated(BATCH, sizeof *w->updates);
    w->took = allocated(w->share, sizeof *w->took);
  }
  return workers;
}

static void workers_free(worker *workers) {
  for (unsigned i = 0; i < load_now.threads; i++) {
    free(workers[i].updates);
    free(workers[i].took);
  }
  free(workers);
}

// The first worker's part is this thread's.
static void commits_run(worker *workers) {
  pthread_barrier_init(&barrier, NULL, load_now.threads);
  for (unsigned i = 1; i < load_now.threads; i++) {
    if (pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]) != 0) {
      load_fail("a thread", "cannot be started");
    }
  }
  wait_for_all(workers);
  counters from = counters_now();
  began = load_now_s();
  wait_for_all(workers);
  measured(workers);
  wait_for_all(workers);
  counters to = counters_now();
  rest(workers);
  wait_for_all(workers);
  if (peer_here.block != NULL) {
    peer_here.block(workers->self, true);
  }
  for (unsigned i = 1; i < load_now.threads; i++) {
    pthread_join(workers[i].thread, NULL);
  }
  if (peer_here.block != NULL) {
    peer_here.block(workers->self, false);
  }
  commits_tell(workers, from, to);
}

// ---- The parts.

// Milliseconds from the call until a value was read.
static double opened(worker *w) {
  double from = load_now_s();
  unsigned char value[VALUE_BYTES];
  peer_here.open();
  w->self = peer_here.attach();
  if (!peer_here.empty) {
    peer_here.read(w->self, load_now.keys / 2 * load_now.stride, value);
  }
  return (load_now_s() - from) * 1e3;
}

static void closed(worker *w) {
  load_json("peak_rss_mib", peer_here.peak_mib != NULL ? peer_here.peak_mib() : load_status_mib("VmHWM:"));
  peer_here.detach(w->self);
  double from = load_now_s();
  peer_here.close();
  load_json("close_ms", (load_now_s() - from) * 1e3);
  load_json("files_mib", load_files_mib());
}

static void check_tell(load_thread *self) {
  char text[32];
  if (!peer_here.empty) {
    snprintf(text, sizeof text, "%016llx", (unsigned long long)contents_check(self));
    load_json_text("check", text);
  }
}

static void part_commits(void) {
  worker *workers = workers_make();
  double open_ms = opened(workers);
  load_json("open_ms", open_ms);
  load_json_text("back_end", peer_here.back_end != NULL ? peer_here.back_end() : "");
  contents_reset(workers);
  commits_run(workers);
  check_tell(workers->self);
  closed(workers);
  workers_free(workers);
}

// The child: commits, says how many, and waits for its end.
static _Noreturn void recover_child(worker *w, int out) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  opened(w);
  contents_reset(w);
  double most = peer_here.log_mib != NULL ? 20 * load_now.seconds : load_now.seconds;
  double from = load_now_s();
  while (load_now_s() - from < most && (peer_here.log_mib != NULL ? peer_here.log_mib() < load_now.log_mib : w->done < w->share)) {
    commit_one(w);
    w->done++;
  }
  double said[2] = {(double)w->done, peer_here.log_mib != NULL ? peer_here.log_mib() : -1};
  if (write(out, said, sizeof said) != sizeof said) {
    load_fail("pipe", "cannot be written");
  }
  while (true) {
    pause();
  }
}

static void part_recover(void) {
  worker *w = workers_make();
  int ends[2];
  if (load_now.threads != 1 || peer_here.empty || pipe(ends) != 0) {
    load_fail("--part recover", "one thread, and a peer with contents");
  }
  pid_t pid = fork();
  if (pid == 0) {
    recover_child(w, ends[1]);
  }
  close(ends[1]);
  double said[2] = {0, 0};
  int status;
  bool whole = pid > 0 && read(ends[0], said, sizeof said) == sizeof said;
  if (pid > 0) {
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
  }
  if (!whole) {
    load_fail("the child", "has failed");
  }
  for (uint64_t left = (uint64_t)said[0] * load_now.k; left > 0; left--) {
    load_update_next(&w->source, w->updates); // for the shadow
  }
  load_json("recover_ms", opened(w));
  load_json_text("back_end", peer_here.back_end != NULL ? peer_here.back_end() : "");
  load_json("commits", said[0]);
  if (said[1] >= 0) {
    load_json("log_mib", said[1]);
  }
  contents_check(w->self);
  closed(w);
  workers_free(w);
}

static void part_walk(void) {
  worker *w = workers_make();
  if (strcmp(load_now.walk, "volatile") == 0) {
    peer_here.open_volatile();
    w->self = peer_here.attach();
  } else {
    load_json("open_ms", opened(w));
    contents_reset(w);
  }
  load_json_text("walk", load_now.walk);
  load_json_text("back_end", peer_here.back_end != NULL ? peer_here.back_end() : "");
  peer_here.walk();
  closed(w);
  workers_free(w);
}

static void part_pages(void) {
  worker *w = workers_make();
  load_json("open_ms", opened(w));
  load_json_text("at", load_now.at);
  load_json_text("back_end", peer_here.back_end != NULL ? peer_here.back_end() : "");
  peer_here.pages();
  closed(w);
  workers_free(w);
}

// The updates are of no thread's shadow: nobody is to see them afterwards.
static void part_rollback(void) {
  worker *w = workers_make();
  opened(w);
  load_json_text("back_end", peer_here.back_end != NULL ? peer_here.back_end() : "");
  contents_reset(w);
  peer_here.rollback(w->self);
  check_tell(w->self);
  closed(w);
  workers_free(w);
}

int main(int argc, char **argv) {
  load_options_read(argc, argv);
  load_json_text("workload", "store");
  load_json_text("collector", peer_here.name);
  load_json_text("part", load_now.part);
  load_json("threads", load_now.threads);
  load_json("seed", (double)load_now.seed);
  load_json("k", load_now.k);
  load_json("store_mib", (double)load_now.total * (VALUE_BYTES + KEY_BYTES) / (1 << 20));
  bool walk = strcmp(load_now.part, "walk") == 0;
  if (!walk || strcmp(load_now.walk, "store") == 0) {
    made();
  }
  if (walk) {
    part_walk();
  } else if (strcmp(load_now.part, "recover") == 0) {
    part_recover();
  } else if (strcmp(load_now.part, "pages") == 0) {
    part_pages();
  } else if (strcmp(load_now.part, "rollback") == 0) {
    part_rollback();
  } else {
    part_commits();
  }
  load_json_print();
  return 0;
}
