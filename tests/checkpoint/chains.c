// SPDX-License-Identifier: MIT
// chains.c: full checkpoints, increments, streams, while mutators run and cycles come: each equals what the heap was in its stop, byte by byte.

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "tests/checkpoint/trials.h"

typedef struct chain {
  veil_checkpointer *c;
  oracle o;
  random_state random;
  unsigned full, increments, streams;
  uint64_t version, trapped, waits;
} chain;

static void to_stream(chain *k) {
  const char *path = trial_path("stream");
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  MUST(fd >= 0, "%s", path);
  veil_checkpoint_figures f;
  veil_status status = veil_checkpoint_fd(k->c, fd, 0, &f);
  close(fd);
  const char *wrong = status == VEIL_OK ? oracle_differs(&k->o, path, NULL) : veil_error();
  if (wrong != NULL || !f.full) {
    found("stream %u: %s", k->streams, wrong != NULL ? wrong : "it is an increment");
  }
  k->streams++;
}

static void to_file(chain *k, const char *path, bool first) {
  bool full = first || random_below(&k->random, 12) == 0, early = random_below(&k->random, 3) == 0;
  veil_checkpoint_figures f;
  veil_status status = veil_checkpoint(k->c, (full && !first ? VEIL_CHECKPOINT_FULL : 0) | (early ? VEIL_CHECKPOINT_START : 0), &f);
  if (status == VEIL_OK && early) {
    status = veil_checkpoint_wait(k->c, &f);
  }
  const char *wrong = status == VEIL_OK ? oracle_differs(&k->o, path, NULL) : veil_error();
  if (wrong != NULL) {
    found("%s %u after %u: %s", f.full ? "full" : "increment", k->full + k->increments, k->full, wrong);
  } else if (f.full != full || f.version <= (full ? 0 : k->version) || f.pause_ns == 0 || f.durable_ns == 0 || f.bytes == 0) {
    found("figures of number %u: full %d, version %llu after %llu, pause %llu, durable %llu, bytes %llu", k->full + k->increments, f.full,
          (unsigned long long)f.version, (unsigned long long)k->version, (unsigned long long)f.pause_ns, (unsigned long long)f.durable_ns,
          (unsigned long long)f.bytes);
  }
  k->version = f.version;
  k->trapped += f.pages_trapped;
  k->waits += f.pool_waits;
  *(f.full ? &k->full : &k->increments) += 1;
}

void trial_chains(void) {
  world w;
  chain k = {.random = {trial.seed}};
  char *path = strdup(trial_path("heap.veil"));
  veil_heap *heap = world_heap(64 << 20);
  world_start(&w, heap, 1 + trial.seed % WORLD_THREADS, trial.seed);
  k.c = veil_checkpointer_open(heap, &(veil_checkpointer_options){.path = path, .pool = 1 << 20, .codec = trial.codec});
  MUST(k.c != NULL, "%s", veil_error());
  oracle_open(&k.o, k.c, heap);
  uint64_t until = cp_now() + trial.seconds * UINT64_C(1000000000);
  for (bool first = true; (cp_now() < until || k.increments < 2) && !enough(); first = false) {
    if (!first && random_below(&k.random, 10) == 0) {
      to_stream(&k);
    } else {
      to_file(&k, path, first);
    }
  }
  veil_checkpointer_close(k.c);
  oracle_close(&k.o);
  world_end(&w);
  veil_close(heap);
  free(path);
  printf("chains: %u full, %u increments, %u streams; %llu pages saved by traps, %llu waits for the pool; %llu changes\n", k.full, k.increments, k.streams,
         (unsigned long long)k.trapped, (unsigned long long)k.waits, (unsigned long long)at_load(&w.changes));
}
