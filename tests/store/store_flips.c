// SPDX-License-Identifier: MIT
// store_flips.c: bits that the medium has changed: the store does not open, or a page is said to be damaged when it is touched, or what is there is an earlier commit, whole. And pages that are not in use do not stay in the image.

#include <string.h>
#include "tests/gc/death.h"
#include "tests/store/store_trials.h"

static story told;
static disk *damaged; // what the child opens

enum { REFUSED = 10, EARLIER = 11, NO_STATE = 12 };

static void look(void *unused) {
  static story s;
  shared on;
  (void)unused;
  shared_open(&on, damaged);
  if (!story_open(&s, &on, false)) {
    printf("%s\n", veil_error());
    fflush(stdout);
    _exit(strlen(veil_error()) > 10 ? REFUSED : NO_STATE);
  }
  uint64_t hash = story_hash(&s);
  int state = states_ever(&told.states, hash);
  veil_verify(s.self);
  _exit(state < 0 ? NO_STATE : state < told.states.count - 1 ? EARLIER : 0);
}

typedef struct figures {
  unsigned refused, earlier, same, damaged;
} figures;

static void flip(disk *d, const char *name, uint64_t at, figures *f) {
  damaged = disk_copy(d);
  disk_file *file = disk_find(damaged, name);
  file->at[at / 8] ^= (uint8_t)(1u << at % 8);
  death death = death_of(look, NULL);
  if (death.signal == SIGABRT && strstr(death.said, "damage") != NULL) {
    f->damaged++;
  } else if (death.signal == 0 && (death.code == REFUSED || death.code == EARLIER || death.code == 0)) {
    f->refused += death.code == REFUSED;
    f->earlier += death.code == EARLIER;
    f->same += death.code == 0;
  } else {
    found("bit %llu of byte %llu of %s: signal %d, code %d: %s", (unsigned long long)at % 8, (unsigned long long)at / 8, name, death.signal, death.code, death.said);
  }
  disk_free(damaged);
}

// Of bytes that are not zero; every third time of those at the file's beginning.
static uint64_t place_choose(const disk_file *file, uint64_t *dice) {
  uint64_t limit = graph_dice(dice) % 3 == 0 ? 8192 : file->bytes, count = 0, at = 0;
  for (uint64_t i = 0; i < limit; i++) {
    count += file->at[i] != 0;
  }
  for (uint64_t left = graph_dice(dice) % count + 1; left != 0; at++) {
    left -= file->at[at] != 0;
  }
  return (at - 1) * 8 + graph_dice(dice) % 8;
}

// Nothing of what died is left.
void trial_gone(void) {
  story s = {.dice = seed};
  shared on;
  rt_image *image;
  shared_open(&on, disk_new());
  MUST(story_open(&s, &on, false), "%s", veil_error());
  for (int i = 0; i < 8; i++) {
    char *bytes = veil_new_bytes(s.self, 700000);
    memset(bytes, i + 1, 700000);
    MUST(veil_root_set(s.self, "bytes", bytes) == VEIL_OK && veil_store_commit(s.store, NULL) == VEIL_OK, "%s", veil_error());
  }
  MUST(veil_root_set(s.self, "bytes", NULL) == VEIL_OK, "%s", veil_error());
  for (int i = 0; i < 3; i++) {
    veil_collect(s.self);
    MUST(veil_store_commit(s.store, NULL) == VEIL_OK, "%s", veil_error());
  }
  MUST(story_close(&s) == VEIL_OK, "%s", veil_error());
  MUST(rt_image_open(&image, PATH, &(rt_image_options){.io = &on.io}) == VEIL_OK, "%s", veil_error());
  const rt_image_info *info = rt_image_info_of(image);
  if (info->pages * info->layout.page_size > 1000000) {
    found("the image has %llu pages of a heap that is all but empty", (unsigned long long)info->pages);
  }
  rt_image_free(image);
  disk_free(on.d);
  shared_close(&on);
}

void trial_flips(void) {
  uint64_t dice = seed;
  shared on;
  for (unsigned round = 0; round < 2 && !enough(); round++) {
    figures image = {0}, log = {0};
    told = (story){.dice = graph_dice(&dice)};
    shared_open(&on, disk_new());
    story_run(&told, &on, 1, 40);
    if (round == 0) { // with much in the log
      MUST(story_open(&told, &on, false), "%s", veil_error());
      shared_slow(&on, 10000);
      for (int i = 0; i < 60; i++) {
        MUST(story_commit(&told, 40, true) == VEIL_OK, "%s", veil_error());
      }
      story_die(&told);
    }
    disk_restart(on.d);
    on.d->failed = false;
    for (unsigned i = 0; i < (long_run ? 10000u : 40u) && !enough(); i++) {
      flip(on.d, PATH, place_choose(disk_find(on.d, PATH), &dice), &image);
      for (int k = 0; k < 2; k++) {
        flip(on.d, LOG_PATH, place_choose(disk_find(on.d, LOG_PATH), &dice), &log);
      }
    }
    printf("flips: image: %u refused, %u damaged, %u an earlier one, %u the same; log: %u, %u, %u, %u\n", image.refused, image.damaged, image.earlier, image.same,
           log.refused, log.damaged, log.earlier, log.same);
    disk_free(on.d);
    shared_close(&on);
  }
}

// ---- A fold beside which commits go on: its image has pages as of different records, and without all of these it is of no commit.

enum { WORDS = 5000, BETWEEN = 1200000 }; // between: words of what makes the fold take its time

static void pair_look(void *unused) {
  story s = {0};
  shared on;
  (void)unused;
  shared_open(&on, damaged);
  if (!story_open(&s, &on, false)) {
    printf("%s\n", veil_error());
    fflush(stdout);
    _exit(REFUSED);
  }
  const uint64_t *a = veil_root_get(s.self, "a"), *b = veil_root_get(s.self, "b");
  if (a == NULL || b == NULL) { // before the first of them
    _exit(a == b ? 0 : NO_STATE);
  }
  for (int i = 0; i < WORDS; i++) {
    if (a[i] != a[0] || b[i] != a[0]) {
      printf("word %d is of commits %llu and %llu, the first of %llu\n", i, (unsigned long long)a[i], (unsigned long long)b[i], (unsigned long long)a[0]);
      fflush(stdout);
      _exit(NO_STATE);
    }
  }
  _exit(0);
}

static void pair_commit(story *s, uint64_t number) {
  uint64_t *a = veil_root_get(s->self, "a"), *b = veil_root_get(s->self, "b"), *between = veil_root_get(s->self, "between");
  for (int i = 0; i < WORDS; i++) {
    a[i] = b[i] = number;
  }
  for (int i = 0; i < BETWEEN; i += 512) {
    between[i] = number;
  }
  MUST(veil_store_commit(s->store, NULL) == VEIL_OK, "%s", veil_error());
}

void trial_overlap(void) {
  uint64_t dice = seed, number = 1;
  unsigned refused = 0;
  story s = {0};
  shared on;
  shared_open(&on, disk_new());
  MUST(story_open(&s, &on, false), "%s", veil_error());
  MUST(veil_root_set(s.self, "a", veil_new_bytes(s.self, WORDS * 8)) == VEIL_OK, "%s", veil_error());
  MUST(veil_root_set(s.self, "between", veil_new_bytes(s.self, (size_t)BETWEEN * 8)) == VEIL_OK, "%s", veil_error());
  MUST(veil_root_set(s.self, "b", veil_new_bytes(s.self, WORDS * 8)) == VEIL_OK, "%s", veil_error());
  shared_slow(&on, 40000);
  uint64_t folds = veil_store_get_figures(s.store).folds;
  size_t first = 0;
  while (veil_store_get_figures(s.store).folds < folds + 2) {
    pair_commit(&s, number++);
    first = first == 0 ? on.d->notes : first;
  }
  story_die(&s);
  for (unsigned i = 0; i < (long_run ? 4000u : 120u) && !enough(); i++) {
    size_t note = first + graph_dice(&dice) % (on.d->notes - first);
    damaged = disk_crash_all(on.d, note, true);
    disk_file *log = disk_find(damaged, LOG_PATH);
    uint64_t at = 4096 + graph_dice(&dice) % (log->bytes - 4096);
    log->at[at] ^= 16;
    death death = death_of(pair_look, NULL);
    if (death.signal != 0 || (death.code != 0 && death.code != REFUSED)) {
      found("byte %llu of the log, as of note %zu: signal %d, code %d: %s", (unsigned long long)at, note, death.signal, death.code, death.said);
    }
    refused += death.code == REFUSED;
    disk_free(damaged);
  }
  printf("overlap: %u refused\n", refused);
  disk_free(on.d);
  shared_close(&on);
}
