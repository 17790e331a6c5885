// SPDX-License-Identifier: MIT
// compact.c: a file half of which is dead is compacted when nobody asks for anything; who asks meanwhile does not wait for all of it; increments go on.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "tests/checkpoint/trials.h"

enum { LEAVES = 140, LEAF = 1 << 20, PAGE = 4096 };

typedef struct work {
  veil_thread *self;
  veil_checkpointer *c;
  oracle o;
  char *path;
  uint64_t version;
} work;

static void write_some(const work *w, unsigned of_four, uint64_t value) {
  void **leaves = veil_root_get(w->self, "leaves");
  for (int i = 0; i < LEAVES; i++) {
    for (size_t page = 0; page < LEAF / PAGE; page++) {
      if (page % 4 < of_four) {
        *(uint64_t volatile *)((char *)leaves[i] + page * PAGE) = value + page;
      }
    }
    veil_poll(w->self);
  }
}

static void increment(work *w, const char *when) {
  veil_checkpoint_figures f;
  veil_status status = veil_checkpoint(w->c, 0, &f);
  const char *wrong = status == VEIL_OK ? oracle_differs(&w->o, w->path, NULL) : veil_error();
  if (wrong != NULL || f.full || f.version <= w->version) {
    found("%s: version %llu after %llu: %s", when, (unsigned long long)f.version, (unsigned long long)w->version, wrong != NULL ? wrong : f.full ? "full" : "");
  }
  w->version = f.version;
}

static off_t file_bytes(const work *w) {
  struct stat s;
  return stat(w->path, &s) == 0 ? s.st_size : 0;
}

static void shrinks(const work *w, off_t most, const char *when) {
  for (uint64_t until = cp_now() + UINT64_C(60000000000); file_bytes(w) > most && cp_now() < until; os_nap(5000)) {
    veil_poll(w->self);
  }
  if (file_bytes(w) > most) {
    found("%s: the file still has %lld bytes", when, (long long)file_bytes(w));
  }
}

void trial_compact(void) {
  work w = {.path = strdup(trial_path("heap.veil"))};
  veil_heap *heap = world_heap(256 << 20);
  w.self = veil_attach(heap);
  void **leaves = veil_new_pointers(w.self, LEAVES);
  MUST(veil_root_set(w.self, "leaves", leaves) == VEIL_OK, "%s", veil_error());
  for (int i = 0; i < LEAVES; i++) {
    leaves[i] = veil_new_bytes(w.self, LEAF);
  }
  leaves = NULL;
  write_some(&w, 4, 1);
  w.c = veil_checkpointer_open(heap, &(veil_checkpointer_options){.path = w.path, .pool = 1 << 20, .codec = trial.codec});
  MUST(w.c != NULL, "%s", veil_error());
  oracle_open(&w.o, w.c, heap);
  MUST(veil_checkpoint(w.c, 0, NULL) == VEIL_OK, "%s", veil_error());
  off_t first = file_bytes(&w);
  for (int round = 0; round < 2; round++) {
    write_some(&w, 3, 100 + (uint64_t)round);
    increment(&w, "before");
    off_t grown = file_bytes(&w);
    increment(&w, "what is dead is known");
    if (round == 1) {
      for (int i = 0; i < 5; i++) {
        write_some(&w, i % 2, 200 + (uint64_t)i);
        increment(&w, "in between");
      }
    }
    MUST(grown > first + first / 4, "the file has not grown: %lld after %lld bytes", (long long)grown, (long long)first);
    shrinks(&w, first + first / 4, round == 0 ? "idle" : "after requests");
    write_some(&w, 1, 300);
    increment(&w, "after compaction");
    first = file_bytes(&w) > first ? file_bytes(&w) : first;
  }
  veil_checkpointer_close(w.c);
  const char *wrong = oracle_differs(&w.o, w.path, NULL);
  if (wrong != NULL) {
    found("at the end: %s", wrong);
  }
  printf("compact: version %llu, %lld MiB\n", (unsigned long long)w.version, (long long)file_bytes(&w) >> 20);
  oracle_close(&w.o);
  veil_detach(w.self);
  veil_close(heap);
  free(w.path);
}
