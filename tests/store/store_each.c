// SPDX-License-Identifier: MIT
// store_each.c: every commit is there when it is the last one before a crash, with its own graph; and the graph is the
// same at any address.

#include <sys/mman.h>
#include "tests/store/store_trials.h"

// ---- Every commit.

// Whether exactly that state is there, with all or nothing of what was pending when it was acknowledged.
static void one_look(const story *told, int number, bool there) {
  story s = {.dice = seed};
  shared on;
  const state *is = &told->states.at[number];
  disk *crashed = disk_crash_all(told->on->d, is->acknowledged, there);
  shared_open(&on, crashed);
  if (!story_open(&s, &on, number % 7 == 0)) {
    found("commit %d of %d: it does not open: %s", number, told->states.count - 1, veil_error());
  } else {
    uint64_t hash = story_hash(&s);
    if (hash != is->hash) {
      found("commit %d of %d: state %d is there", number, told->states.count - 1, states_ever(&told->states, hash));
    }
    veil_verify(s.self);
    story_die(&s);
  }
  shared_close(&on);
  disk_free(crashed);
}

void trial_each(void) {
  static story s;
  s = (story){.dice = seed};
  shared on;
  shared_open(&on, disk_new());
  story_run(&s, &on, long_run ? 4 : 2, long_run ? 60 : 35);
  for (int i = 1; i < s.states.count && !enough(); i++) {
    one_look(&s, i, false);
    one_look(&s, i, true);
  }
  printf("each: %d commits\n", s.states.count - 1);
  disk_free(on.d);
  shared_close(&on);
}

// ---- Every address.

enum { OPENS = 100, FILLS = 1000, FILL = 16 << 20 };

// The system chooses the highest address that is free: so a random part of what is free there is filled meanwhile, up
// to 16 GiB.
static bool opened_anywhere(story *s, shared *on, uint64_t *dice) {
  void *fill[FILLS];
  unsigned fills = (unsigned)(graph_dice(dice) % FILLS);
  for (unsigned i = 0; i < fills; i++) {
    fill[i] = mmap(NULL, FILL, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    MUST(fill[i] != MAP_FAILED, "no room for what fills");
  }
  bool opened = story_open(s, on, true);
  for (unsigned i = 0; i < fills; i++) {
    munmap(fill[i], FILL);
  }
  return opened;
}

static unsigned distinct(char *const bases[], unsigned count) {
  unsigned different = 0;
  for (unsigned i = 0; i < count; i++) {
    bool new = true;
    for (unsigned k = 0; k < i; k++) {
      new = new &&bases[k] != bases[i];
    }
    different += new;
  }
  return different;
}

void trial_moves(void) {
  static story s;
  static char *bases[OPENS * 10];
  unsigned opens = long_run ? OPENS * 10 : OPENS, commits = 0;
  uint64_t dice = seed;
  shared on;
  shared_open(&on, disk_new());
  s = (story){.dice = seed};
  story_run(&s, &on, 1, 20);
  uint64_t hash = s.states.at[s.states.count - 1].hash;
  for (unsigned i = 0; i < opens && !enough(); i++) {
    disk_forget(on.d);
    s.states.count = 0;
    MUST(opened_anywhere(&s, &on, &dice), "%s", veil_error());
    bases[i] = veil_heap_pages(veil_store_heap(s.store)).base;
    if (story_hash(&s) != hash) {
      found("open %u, at %p, after %u commits: another graph", i, (void *)bases[i], commits);
    }
    for (unsigned n = (unsigned)(graph_dice(&dice) % 4); n != 0;
         n--) { // none: the next one moves what this one has moved in memory only
      MUST(story_commit(&s, 30, true) == VEIL_OK, "%s", veil_error());
      hash = s.states.at[s.states.count - 1].hash;
      commits++;
    }
    veil_verify(s.self);
    if (graph_dice(&dice) % 3 == 0) {
      story_die(&s);
    } else {
      MUST(story_close(&s) == VEIL_OK, "%s", veil_error());
    }
  }
  unsigned different = distinct(bases, opens);
  if (different < opens / 2) {
    found("the store was opened at %u addresses only", different);
  }
  printf("moves: %u opens at %u addresses, %u commits\n", opens, different, commits);
  disk_free(on.d);
  shared_close(&on);
}
