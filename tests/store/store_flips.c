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
  int state = -1;
  for (int i = 0; i < told.count; i++) {
    state = told.state[i].hash == hash ? i : state;
  }
  veil_verify(s.self);
  _exit(state < 0 ? NO_STATE : state < told.count - 1 ? EARLIER : 0);
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

// Bytes of the file that are not zero, mostly: others are of no use.
static uint64_t place_choose(const disk_file *file, uint64_t *dice) {
  uint64_t at = graph_dice(dice) % file->bytes;
  for (int i = 0; i < 40 && file->at[at] == 0; i++) {
    at = graph_dice(dice) % 10 == 0 ? graph_dice(dice) % 20000 % file->bytes : graph_dice(dice) % file->bytes;
  }
  return at * 8 + graph_dice(dice) % 8;
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
      on.slow = 10000;
      for (int i = 0; i < 60; i++) {
        MUST(story_commit(&told, 40, true) == VEIL_OK, "%s", veil_error());
      }
      story_die(&told);
    }
    disk_restart(on.d);
    on.d->failed = false;
    for (unsigned i = 0; i < (long_run ? 10000u : 60u) && !enough(); i++) {
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
