// SPDX-License-Identifier: MIT
// store_compact.c: the image is compacted: the file becomes as short as what it holds, whatever crashes or fails meanwhile loses nothing, commits go on beside it, and by itself it happens often enough.

#include <errno.h>
#include <limits.h>
#include <string.h>
#include "tests/store/store_trials.h"
#include "vm/os.h"

static const size_t END = SIZE_MAX - 1;

static uint64_t file_bytes(shared *on) {
  pthread_mutex_lock(&on->lock);
  uint64_t bytes = disk_find(on->d, PATH)->bytes;
  pthread_mutex_unlock(&on->lock);
  return bytes;
}

static bool is_there(shared *on, const char *name) {
  pthread_mutex_lock(&on->lock);
  bool there = disk_find(on->d, name) != NULL;
  pthread_mutex_unlock(&on->lock);
  return there;
}

static void must_open(story *s, shared *on) {
  MUST(story_open(s, on, false), "%s", veil_error());
  if (s->states.count == 0) {
    s->states.at[s->states.count++] = (state){story_hash(s), 0, 0};
  }
}

static void must_commit(story *s, int times, unsigned changes) {
  for (int i = 0; i < times; i++) {
    MUST(story_commit(s, changes, true) == VEIL_OK, "%s", veil_error());
  }
}

// The file has nothing but what is needed, or a block here and there.
static bool is_compact(story *s, shared *on) {
  veil_store_figures f = veil_store_get_figures(s->store);
  return f.image_bytes == file_bytes(on) && f.image_needed <= f.image_bytes && f.image_bytes - f.image_needed < 32768;
}

// A store whose image has dead pages in it: small folds, which overwrite single pages.
static void grown(story *s, shared *on, uint64_t dice) {
  *s = (story){.dice = dice, .compact = UINT_MAX};
  shared_open(on, disk_new());
  must_open(s, on);
  must_commit(s, 30, 120);
}

static void end(story *s, shared *on) {
  if (s->store != NULL) {
    story_die(s);
  }
  disk_free(on->d);
  shared_close(on);
}

// What is there after the process has died is the newest that was acknowledged.
static void last_look(story *s, shared *on, const char *what) {
  story_die(s);
  shared_full(on, 0);
  if (!story_open(s, on, false)) {
    found("%s: it does not open afterwards: %s", what, veil_error());
    return;
  }
  veil_verify(s->self);
  int state = states_find(&s->states, END, story_hash(s));
  if (state < 0) {
    found("%s: number %llu is there; state %d was acknowledged", what, (unsigned long long)graph_number(s->self), states_sure(&s->states, END));
  }
}

// ---- A crash at each point of it.

static void crashes(uint64_t *dice) {
  static story s;
  shared on;
  grown(&s, &on, graph_dice(dice));
  MUST(veil_store_backup(s.store, "/copy") == VEIL_OK, "%s", veil_error()); // which folds
  uint64_t before = file_bytes(&on);
  size_t first = shared_notes(&on);
  MUST(veil_store_compact(s.store) == VEIL_OK, "%s", veil_error());
  veil_store_figures f = veil_store_get_figures(s.store);
  if (file_bytes(&on) >= before || f.compactions != 1 || !is_compact(&s, &on)) {
    found("compaction made %llu bytes of %llu, and says %llu, of which %llu are needed", (unsigned long long)file_bytes(&on), (unsigned long long)before, (unsigned long long)f.image_bytes,
          (unsigned long long)f.image_needed);
  }
  size_t compacted = shared_notes(&on);
  must_commit(&s, 4, 40);
  MUST(veil_store_compact(s.store) == VEIL_OK, "%s", veil_error()); // with a fold, and once more
  must_commit(&s, 2, 20);
  MUST(story_close(&s) == VEIL_OK, "%s", veil_error());
  unsigned seen = 0;
  for (size_t at = first; at <= on.d->notes && !enough(); at++) {
    unsigned times = long_run ? 20 : at <= compacted + 2 ? 2 : graph_dice(dice) % 3 == 0;
    for (unsigned i = 0; i < times && !enough(); i++) {
      story_crash(&s, at, dice);
      seen++;
    }
  }
  printf("compact: %zu notes, %u crashes\n", on.d->notes - first, seen);
  end(&s, &on);
}

// What a process that was killed in the middle of it has left is taken away by the next that opens the store.
static void left(uint64_t *dice) {
  static story s, next;
  shared on, after;
  unsigned seen = 0;
  grown(&s, &on, graph_dice(dice));
  size_t first = shared_notes(&on);
  MUST(veil_store_compact(s.store) == VEIL_OK, "%s", veil_error());
  size_t compacted = shared_notes(&on);
  story_die(&s);
  for (size_t at = first; at <= compacted; at++) {
    shared_open(&after, disk_crash_all(on.d, at, true));
    seen += is_there(&after, PATH ".new");
    next = (story){.dice = 1, .compact = UINT_MAX}; // else it may be compacted right now
    must_open(&next, &after);
    if (is_there(&after, PATH ".new")) {
      found("a crash before note %zu of a compaction: what was begun lies there still", at - first);
    }
    end(&next, &after);
  }
  MUST(seen != 0, "nothing was left");
  end(&s, &on);
}

// ---- The n-th call of it fails.

// The calls that there were.
static unsigned fails(unsigned n, int error, uint64_t dice) {
  static story s;
  shared on;
  char what[100];
  snprintf(what, sizeof what, "call %u of a compaction fails, %s", n, strerror(error));
  grown(&s, &on, dice);
  must_commit(&s, 1, 30);
  pthread_mutex_lock(&on.lock);
  unsigned first = on.d->calls;
  on.d->error = error;
  on.d->fail_at = first + n;
  pthread_mutex_unlock(&on.lock);
  shared_reads_may_fail = true;
  veil_status status = veil_store_compact(s.store);
  shared_reads_may_fail = false;
  pthread_mutex_lock(&on.lock); // a fold may be under way
  unsigned calls = on.d->calls - first;
  bool failed = on.d->failed, poisoned = false;
  on.d->failed = false;
  on.d->fail_at = 0;
  pthread_mutex_unlock(&on.lock);
  const char *call = failed ? on.d->failed_call : "none";
  if (failed && status != VEIL_OK && strlen(veil_error()) < 10) {
    found("%s, %s: it fails without a reason: %s", what, call, veil_error());
  }
  if (!failed && status != VEIL_OK) {
    found("%s: nothing failed, and it did: %s", what, veil_error());
  }
  for (int i = 0; i < 4 && !poisoned; i++) { // with folds
    poisoned = story_commit(&s, 150, true) != VEIL_OK;
  }
  if (poisoned && strstr(veil_error(), "nothing more is written") == NULL) { // a write to the log may have been the one
    found("%s, %s: no commit after it: %s", what, call, veil_error());
  }
  status = veil_store_compact(s.store);
  if (!poisoned && (status != VEIL_OK || !is_compact(&s, &on))) {
    found("%s, %s: nor does it go well afterwards: %s", what, call, veil_error());
  }
  last_look(&s, &on, what);
  if (is_there(&on, PATH ".new")) {
    found("%s, %s: what was begun lies there still", what, call);
  }
  end(&s, &on);
  return calls;
}

#ifdef VEIL_TSAN // which looks for races, and takes twenty times as long: which call it is makes little difference there
static const unsigned whole = 0;
#else
static const unsigned whole = 1; // errors that each call fails with, one after the other
#endif

static void all_fail(uint64_t *dice) {
  static const int errors[] = {EIO, ENOSPC, EINTR, ENOMEM};
  uint64_t same = graph_dice(dice);
  unsigned calls = fails(1000000, EIO, same);
  for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
    for (unsigned n = 1; n <= calls && !enough(); n += long_run || i < whole ? 1 : 1 + (unsigned)(graph_dice(dice) % 12)) {
      fails(n, errors[i], same);
    }
  }
  printf("compact: %u calls\n", calls);
}

// ---- The disk is full.

static void full_disk(uint64_t *dice) {
  static story s;
  shared on;
  grown(&s, &on, graph_dice(dice));
  MUST(veil_store_backup(s.store, "/copy") == VEIL_OK, "%s", veil_error()); // which folds, so that what follows needs no room for that
  shared_full(&on, ENOSPC);
  if (veil_store_compact(s.store) == VEIL_OK || (strstr(veil_error(), "No space") == NULL && strstr(veil_error(), "full") == NULL)) {
    found("a full disk: compaction needs no room, or does not say that there is none: %s", veil_error());
  }
  if (is_there(&on, PATH ".new")) {
    found("a full disk: what was begun lies there still");
  }
  for (int i = 0; i < 3; i++) {
    if (story_commit(&s, 10, false) != VEIL_OK) {
      found("a full disk: a commit for which the log has room fails: %s", veil_error());
    }
  }
  shared_full(&on, 0);
  if (veil_store_compact(s.store) != VEIL_OK || !is_compact(&s, &on)) {
    found("room again: %llu bytes: %s", (unsigned long long)file_bytes(&on), veil_error());
  }
  must_commit(&s, 5, 50);
  last_look(&s, &on, "a full disk");
  end(&s, &on);
}

// ---- Commits go on beside it.

typedef struct beside {
  veil_store *store;
  uint32_t volatile stop, times;
} beside;

static void *compact_again(void *arg) {
  beside *b = arg;
  while (!at32_load_acquire(&b->stop)) {
    MUST(veil_store_compact(b->store) == VEIL_OK, "%s", veil_error());
    at32_add_full(&b->times, 1);
  }
  return NULL;
}

static void commits_beside(uint64_t *dice) {
  static story s;
  shared on;
  pthread_t thread;
  grown(&s, &on, graph_dice(dice));
  for (int round = 0; round < 3; round++) {
    beside b = {.store = s.store};
    shared_slow(&on, 3000);
    MUST(pthread_create(&thread, NULL, compact_again, &b) == 0, "no thread");
    int most = STATES - 20 - s.states.count < 60 ? STATES - 20 - s.states.count : 60;
    for (int i = 0; i < most && !(i > 10 && at32_load(&b.times) >= 3); i++) {
      must_commit(&s, 1, 10);
    }
    if (round == 1) {
      veil_status status = veil_store_backup(s.store, "/beside");
      MUST(status == VEIL_OK, "%s", veil_error());
    }
    at32_store_release(&b.stop, 1);
    veil_block_begin(s.self);
    pthread_join(thread, NULL);
    veil_block_end(s.self);
    shared_slow(&on, 0);
    if (b.times == 0) {
      found("commits beside a compaction: none came to its end");
    }
    last_look(&s, &on, "commits beside a compaction");
    if (s.store == NULL) {
      break;
    }
  }
  end(&s, &on);
}

// ---- A fold by itself.

// A log that is more than half full when the store is opened is folded, though nobody commits.
static void fold_alone(uint64_t *dice) {
  static story s;
  shared on;
  s = (story){.dice = graph_dice(dice), .compact = UINT_MAX};
  shared_open(&on, disk_new());
  must_open(&s, &on);
  char *bytes = veil_new_bytes(s.self, 100000);
  MUST(veil_root_set(s.self, "bytes", bytes) == VEIL_OK, "%s", veil_error());
  shared_full(&on, ENOSPC); // for folds: the image has no gaps yet
  for (int i = 0; veil_store_get_figures(s.store).log_used < (1 << 20) * 5 / 8; i++) {
    memset(bytes, i, 100000);
    MUST(veil_store_commit(s.store, NULL) == VEIL_OK, "%s", veil_error());
  }
  s.states.at[0] = (state){story_hash(&s), 0, 0};
  last_look(&s, &on, "a log that was half full");
  for (int i = 0; s.store != NULL && veil_store_get_figures(s.store).folds == 0; i++) {
    if (i == 20000) {
      found("a log that was half full when the store was opened is not folded");
      break;
    }
    veil_block_begin(s.self);
    os_nap(1000);
    veil_block_end(s.self);
  }
  end(&s, &on);
}

// ---- By itself.

// Each life commits so much that the log is folded several times, or never.
static void file_bounded(unsigned lives, int commits, unsigned changes, uint64_t *dice, const char *what) {
  static story s;
  shared on;
  uint64_t most = 0, compactions = 0, needed = 0;
  s = (story){.dice = graph_dice(dice), .compact = 120};
  shared_open(&on, disk_new());
  for (unsigned life = 0; life < lives; life++) {
    must_open(&s, &on);
    for (int i = 0; i < commits; i++) {
      must_commit(&s, 1, changes);
      most = file_bytes(&on) > most ? file_bytes(&on) : most;
    }
    veil_store_figures f = veil_store_get_figures(s.store);
    compactions += f.compactions;
    needed = f.image_needed > needed ? f.image_needed : needed;
    MUST(story_close(&s) == VEIL_OK, "%s", veil_error());
    s.states.at[0] = s.states.at[s.states.count - 1];
    s.states.count = 1;
    disk_restart(on.d);
    disk_forget(on.d); // what was compacted has no name any more
  }
  must_open(&s, &on);
  if (states_find(&s.states, END, story_hash(&s)) < 0) {
    found("%s: another graph", what);
  }
  // Twice what the option says is where closing does it; and the two versions that a file keeps, of which one is being written.
  if (most > 2 * (needed + needed / 5 + (1 << 20)) + (4 << 20)) {
    found("%s: the file was as long as %llu bytes, for %llu that were needed; %llu compactions", what, (unsigned long long)most, (unsigned long long)needed, (unsigned long long)compactions);
  }
  printf("compact: %s: at most %llu bytes for %llu, %llu compactions in the background\n", what, (unsigned long long)most, (unsigned long long)needed, (unsigned long long)compactions);
  end(&s, &on);
}

void trial_compact(void) {
  uint64_t dice = seed;
  for (unsigned i = 0; i < (long_run ? 20u : 1u) && !enough(); i++) {
    crashes(&dice);
    left(&dice);
    fold_alone(&dice);
    full_disk(&dice);
    commits_beside(&dice);
    file_bounded(2, long_run ? 250 : 120, 300, &dice, "long lives");
    file_bounded(long_run ? 300 : 60, 3, 150, &dice, "short lives");
    all_fail(&dice);
  }
}
