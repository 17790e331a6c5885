// SPDX-License-Identifier: MIT
// crash.c: what a crash may leave on the disk while checkpoints are made: what opens then is the heap as of the last one that was acknowledged, or of the one
// in flight, whole.
//
// tests/image/crash.c enumerates what there may be at each point; here it is sampled, since the order of writes is the image's.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/checkpoint/trials.h"
#include "tests/image/disk.h"

#define PATH "heap.veil"
enum { STEPS = 7, PENDING = 64 };

typedef struct step {
  size_t begun, acknowledged; // notes that there were then
  oracle heap;
} step;

static step steps[STEPS];

static void story(disk *d) {
  static const unsigned flags[STEPS] = {0, 0, 0, VEIL_CHECKPOINT_FULL, 0, 0, 0};
  random_state r = {trial.seed};
  veil_heap *heap = world_heap(32 << 20);
  veil_thread *self = veil_attach(heap);
  void **table = world_table(self, "table");
  oracle now;
  veil_checkpointer *c = rt_checkpointer_open(heap, &(veil_checkpointer_options){.path = PATH, .pool = 1 << 20, .codec = trial.codec}, &d->io);
  MUST(c != NULL, "%s", veil_error());
  oracle_open(&now, c, heap);
  for (int i = 0; i < STEPS; i++) {
    for (int k = 0; k < 60; k++) {
      world_change(self, table, &r, false);
    }
    steps[i].begun = d->notes;
    veil_status status = veil_checkpoint(c, flags[i], NULL);
    MUST(status == VEIL_OK, "%s", veil_error());
    steps[i].acknowledged = d->notes;
    oracle_keep(&now, &steps[i].heap);
  }
  veil_checkpointer_close(c);
  oracle_close(&now);
  veil_detach(self);
  veil_close(heap);
}

static const char *state_wrong(disk *crashed, size_t at) {
  static char text[1500];
  int sure = -1;
  for (int i = 0; i < STEPS; i++) {
    sure = steps[i].acknowledged <= at ? i : sure;
  }
  if (disk_find(crashed, PATH) == NULL) {
    return sure >= 0 ? "there is no file" : NULL;
  }
  const char *old = sure >= 0 ? oracle_differs(&steps[sure].heap, PATH, &crashed->io) : "none was acknowledged";
  if (old == NULL) {
    return NULL;
  }
  snprintf(text, sizeof text, "number %d was acknowledged: %s", sure, old);
  if (sure + 1 < STEPS && steps[sure + 1].begun <= at) {
    const char *new = oracle_differs(&steps[sure + 1].heap, PATH, &crashed->io);
    if (new == NULL) {
      return NULL;
    }
    snprintf(text + strlen(text), sizeof text - strlen(text), "; the next was in flight: %s", new);
  }
  return text;
}

static void states_look(disk *d, size_t at, unsigned count, random_state *r, unsigned *seen) {
  disk_fate fate[PENDING];
  size_t pending[PENDING], n = 0;
  for (size_t i = 0; i < at && n < PENDING; i++) {
    if (disk_pending(d, i, at)) {
      pending[n++] = i;
    }
  }
  for (unsigned k = 0; k < count && !enough(); k++) {
    for (size_t i = 0; i < n; i++) { // all lost, all there, one torn with the others there, and mixtures
      fate[i] = (disk_fate){k == 0 ? FATE_LOST : k < 3 ? FATE_WHOLE : (int)random_below(r, 5), random_next(r)};
      if (fate[i].kind == FATE_FIRST || fate[i].kind == FATE_BUT_ONE) {
        fate[i].arg %= d->note[pending[i]].bytes / DISK_SECTOR + 1;
      }
    }
    if (k == 2 && n != 0) {
      fate[random_below(r, n)] = (disk_fate){FATE_LOST, 0};
    }
    disk *crashed = disk_crash(d, at, fate, k < 3 ? 0 : random_next(r));
    const char *wrong = state_wrong(crashed, at);
    *seen += 1;
    if (wrong != NULL) {
      found("a crash before note %zu of %zu (%zu pending), state %u: %s", at, d->notes, n, k, wrong);
    }
    disk_free(crashed);
  }
}

// A byte that the medium has changed is found, or did not matter.
static void damage_look(disk *d, random_state *r, unsigned count) {
  disk_file *file = disk_find(d, PATH);
  unsigned noticed = 0;
  for (unsigned i = 0; i < count && !enough(); i++) {
    uint64_t at = random_below(r, file->bytes);
    uint8_t flip = (uint8_t)(1 + random_below(r, 255));
    file->at[at] ^= flip;
    const char *wrong = oracle_differs(&steps[STEPS - 1].heap, PATH, &d->io);
    noticed += wrong != NULL;
    if (wrong != NULL && strstr(wrong, "the heap had") != NULL) { // or it is of the header or the index, and the version before is there
      wrong = oracle_differs(&steps[STEPS - 2].heap, PATH, &d->io);
      if (wrong != NULL) {
        found("byte %llu is damaged, and nobody says so: %s", (unsigned long long)at, wrong);
      }
    }
    file->at[at] ^= flip;
  }
  if (noticed == 0) {
    found("none of %u damaged bytes was noticed", count);
  }
}

void trial_crash(void) {
  disk *d = disk_new();
  random_state r = {trial.seed};
  unsigned seen = 0;
  story(d);
  for (size_t at = 0; at <= d->notes && !enough(); at++) {
    states_look(d, at, trial.long_run ? 3000 : 30, &r, &seen);
  }
  disk_restart(d);
  damage_look(d, &r, trial.long_run ? 20000 : 300);
  printf("crash: %zu notes, %u states\n", d->notes, seen);
  for (int i = 0; i < STEPS; i++) {
    oracle_drop(&steps[i].heap);
  }
  disk_free(d);
}
