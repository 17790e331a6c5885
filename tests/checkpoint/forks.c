// SPDX-License-Identifier: MIT
// forks.c: forks while checkpoints are made: the parent's go on and are right, the child has none and its heap, and may make its own.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/checkpoint/trials.h"

typedef struct forking {
  veil_heap *heap;
  veil_thread *self;
  void **table;
  veil_checkpointer *c;
  random_state random;
  char *path, *other;
  unsigned under_way; // forks while one was
} forking;

#define CHILD_MUST(CONDITION, STATUS) ((CONDITION) ? (void)0 : _exit(STATUS))

static _Noreturn void child(forking *k) {
  alarm(60);
  CHILD_MUST(!veil_checkpointing(k->c, NULL, NULL), 2);
  CHILD_MUST(veil_checkpoint(k->c, 0, NULL) == VEIL_UNSUPPORTED && strstr(veil_error(), "process") != NULL, 3);
  CHILD_MUST(veil_checkpoint_wait(k->c, NULL) == VEIL_UNSUPPORTED, 4);
  for (int i = 0; i < 3000; i++) {
    world_change(k->self, k->table, &k->random, false); // pages that the parent has not saved yet
  }
  veil_collect(k->self);
  oracle o;
  veil_checkpointer *c = veil_checkpointer_open(k->heap, &(veil_checkpointer_options){.path = k->other, .pool = 1 << 20});
  CHILD_MUST(c != NULL, 5);
  oracle_open(&o, c, k->heap);
  CHILD_MUST(veil_checkpoint(c, 0, NULL) == VEIL_OK, 6);
  CHILD_MUST(oracle_differs(&o, k->other, NULL) == NULL, 7);
  veil_checkpointer_close(c);
  veil_checkpointer_close(k->c);
  veil_verify(k->self);
  veil_detach(k->self);
  veil_close(k->heap);
  _exit(0);
}

static void fork_once(forking *k, oracle *o) {
  veil_status status = veil_checkpoint(k->c, VEIL_CHECKPOINT_START, NULL);
  MUST(status == VEIL_OK, "%s", veil_error());
  for (uint64_t i = random_below(&k->random, 40); i > 0; i--) {
    world_change(k->self, k->table, &k->random, true);
  }
  fflush(stdout);
  pid_t pid = fork();
  MUST(pid >= 0, "fork");
  if (pid == 0) {
    child(k);
  }
  k->under_way += veil_checkpointing(k->c, NULL, NULL);
  for (int i = 0; i < 300; i++) {
    world_change(k->self, k->table, &k->random, true);
  }
  status = veil_checkpoint_wait(k->c, NULL);
  const char *wrong = status == VEIL_OK ? oracle_differs(o, k->path, NULL) : veil_error();
  if (wrong != NULL) {
    found("the parent's: %s", wrong);
  }
  int how;
  veil_block_begin(k->self);
  while (waitpid(pid, &how, 0) < 0 && errno == EINTR) {
  }
  veil_block_end(k->self);
  if (!WIFEXITED(how) || WEXITSTATUS(how) != 0) {
    found("the child has ended with status %x", (unsigned)how);
  }
}

void trial_forks(void) {
  world w;
  oracle o;
  forking k = {.random = {trial.seed}, .path = strdup(trial_path("heap.veil")), .other = strdup(trial_path("child.veil"))};
  k.heap = world_heap(64 << 20);
  k.self = veil_attach(k.heap);
  k.table = world_table(k.self, "forks");
  veil_block_begin(k.self);
  world_start(&w, k.heap, 2, trial.seed);
  veil_block_end(k.self);
  k.c = veil_checkpointer_open(k.heap, &(veil_checkpointer_options){.path = k.path, .pool = 1 << 20});
  MUST(k.c != NULL, "%s", veil_error());
  oracle_open(&o, k.c, k.heap);
  unsigned forks = 0;
  for (uint64_t until = cp_now() + trial.seconds * UINT64_C(1000000000); cp_now() < until && !enough(); forks++) {
    fork_once(&k, &o);
  }
  veil_checkpointer_close(k.c);
  oracle_close(&o);
  veil_block_begin(k.self);
  world_end(&w);
  veil_block_end(k.self);
  veil_detach(k.self);
  veil_close(k.heap);
  free(k.path);
  free(k.other);
  printf("forks: %u, %u of them while a checkpoint was under way\n", forks, k.under_way);
  if (k.under_way == 0) {
    found("no checkpoint was under way");
  }
}
