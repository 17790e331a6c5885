// SPDX-License-Identifier: MIT
// forks.c: a process that does everything at once, and forks (rt.fork). A plain program.
//
//   forks BACK_END signal|poll [FORKS [SEED]]
//
// Mutators rewire graphs of their own, allocate, malloc and free, and use stdio; one collects all the time; one thread, attached or not, forks. Each child
// finds the graphs as they were at one instant: every graph has a sum that its owner keeps in step under a lock, which the forking thread holds;
// other threads keep what they write in step by its order alone.
// Then it allocates, collects, and sometimes forks again. The parent's graphs are checked throughout.

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include "tests/runtime/test.h"

enum { MUTATORS = 3, SLOTS = 4000 };

static veil_heap *heap;
static int volatile over;

// A mutator's world. `table` is a root; `lock` keeps it and `sum` in step.
typedef struct world {
  void **table; // of nodes
  long *bytes;  // a leaf object
  pthread_mutex_t lock;
  long sum, leaf_sum;
  long rounds;
  unsigned seed;
} world;
static world worlds[MUTATORS];

static unsigned next(world *w) { return (unsigned)rand_r(&w->seed); }

static long tree_sum(const node *n) { return n == NULL ? 0 : n->key + tree_sum(n->left) + tree_sum(n->right); }

static void world_check(const world *w) {
  long sum = 0, leaf_sum = 0;
  for (int i = 0; i < SLOTS; i++) {
    sum += tree_sum(w->table[i]);
    leaf_sum += w->bytes[i];
  }
  EXPECT(sum == w->sum);
  EXPECT(leaf_sum == w->leaf_sum);
}

static node *tree_make(veil_thread *self, world *w, int depth) {
  node *n = veil_new(self, node);
  n->key = (long)(next(w) % 1000);
  if (depth > 0) {
    n->left = tree_make(self, w, depth - 1);
    n->right = tree_make(self, w, depth - 1);
  }
  return n;
}

// Under the lock a mutator may be stopped, and wait for a fork: the forking thread waits for no lock then. It waits for the lock between
// brackets, since whoever forks has it.
static inline __attribute__((always_inline)) void world_lock(veil_thread *self, world *w) {
  veil_block_begin(self);
  pthread_mutex_lock(&w->lock);
  veil_block_end(self);
}

static void world_step(veil_thread *self, world *w) {
  unsigned slot = next(w) % SLOTS;
  node *tree = tree_make(self, w, (int)(next(w) % 4));
  long sum = tree_sum(tree), value = (long)(next(w) % 1000);
  world_lock(self, w);
  w->sum += sum - tree_sum(w->table[slot]);
  w->table[slot] = tree;
  w->leaf_sum += value - w->bytes[slot];
  w->bytes[slot] = value;
  pthread_mutex_unlock(&w->lock);
}

static void outside_step(world *w, FILE *file) {
  void *kept[8];
  for (int i = 0; i < 8; i++) {
    kept[i] = malloc(1 + next(w) % 5000);
    memset(kept[i], i, 1);
  }
  fprintf(file, "%p %ld\n", kept[0], w->rounds);
  for (int i = 0; i < 8; i++) {
    free(kept[i]);
  }
  FILE *other = fopen("/dev/null", "w"); // the list of files has a lock of its own
  EXPECT(other != NULL);
  fclose(other);
}

static void *mutates(void *arg) {
  world *w = arg;
  veil_thread *self = veil_attach(heap);
  FILE *file = fopen("/dev/null", "w");
  EXPECT(self != NULL && file != NULL);
  while (!over) {
    world_step(self, w);
    outside_step(w, file);
    w->rounds++;
    if (w->rounds % 500 == 0) {
      world_lock(self, w);
      world_check(w);
      pthread_mutex_unlock(&w->lock);
    }
    veil_poll(self);
  }
  fclose(file);
  veil_detach(self);
  return NULL;
}

static void *collects(void *unused) {
  veil_thread *self = veil_attach(heap);
  EXPECT(self != NULL);
  while (!over) {
    veil_collect(self);
    veil_block_begin(self);
    sleep_ms(1); // a heap without traps would do nothing but collect
    veil_block_end(self);
  }
  veil_detach(self);
  return NULL;
}

static void *comes_and_goes(void *unused) {
  while (!over) {
    veil_thread *self = veil_attach(heap);
    EXPECT(self != NULL && list_check(list_make(self, 50)) == 50);
    veil_detach(self);
  }
  return NULL;
}

// Without a lock, so that only an instant looks like this: first is ahead of last by one at most, in pages far from each other; and a list
// has no gap, though its newest nodes are some microseconds old.
typedef struct runner {
  node *first, *last, *list;
} runner;
static runner runners[2];

static void runner_check(const runner *r) {
  long first = *(long volatile *)&r->first->key, last = *(long volatile *)&r->last->key;
  EXPECT(first == last || first == last + 1);
  const node *n = r->list->left;
  for (long key = n == NULL ? -1 : n->key; key >= 0; key--, n = n->right) {
    EXPECT(n != NULL && n->key == key && n->more == key);
  }
  EXPECT(n == NULL);
}

static void *runs(void *arg) {
  runner *r = arg;
  veil_thread *self = veil_attach(heap);
  EXPECT(self != NULL);
  while (!over) {
    for (int i = 0; i < 2000; i++) {
      ++*(long volatile *)&r->first->key;
      if (r == &runners[1]) { // it never comes to a slow path, where it would wait for a fork
        ++*(long volatile *)&r->last->key;
        continue;
      }
      node *n = veil_new(self, node);
      n->key = n->more = r->list->left == NULL ? 0 : r->list->left->key + 1;
      n->right = r->list->left;
      *(node *volatile *)&r->list->left = n;
      ++*(long volatile *)&r->last->key;
    }
    r->list->left = NULL;
    veil_poll(self);
  }
  veil_detach(self);
  return NULL;
}

static int status_of(pid_t child) {
  int status;
  while (waitpid(child, &status, 0) < 0) {
    EXPECT(errno == EINTR);
  }
  return status;
}

static void child_check(veil_thread *self, unsigned round, int depth) {
  alarm(120);
  EXPECT(stats_of(heap).threads == 1);
  for (int i = 0; i < 2; i++) {
    runner_check(&runners[i]);
  }
  for (int i = 0; i < MUTATORS; i++) {
    world_check(&worlds[i]);
  }
  for (int i = 0; i < MUTATORS; i++) {
    for (int j = 0; j < 200; j++) {
      world_step(self, &worlds[i]);
    }
  }
  if (depth == 0 && round % 4 == 0) {
    veil_collect_start(self);
    pid_t grandchild = fork();
    if (grandchild == 0) {
      child_check(self, round, 1);
      _exit(0);
    }
    EXPECT(grandchild > 0 && status_of(grandchild) == 0);
  }
  veil_collect(self);
  veil_verify(self);
  for (int i = 0; i < MUTATORS; i++) {
    world_check(&worlds[i]);
  }
  for (int i = 0; i < 2; i++) {
    runner_check(&runners[i]);
  }
}

static void *forks(void *arg) {
  int count = *(int *)arg;
  veil_thread *self = NULL;
  for (int round = 0; round < count; round++) {
    bool attached = round % 3 != 2, brackets = round % 3 == 1;
    if (attached) {
      self = veil_attach(heap);
      EXPECT(self != NULL);
      // Locks are taken between brackets: their holders may have to stop first.
      veil_block_begin(self);
    }
    for (int i = 0; i < MUTATORS; i++) {
      pthread_mutex_lock(&worlds[i].lock);
    }
    if (attached && !brackets) {
      veil_block_end(self);
    }
    pid_t child = fork();
    if (attached && brackets) {
      veil_block_end(self);
    }
    for (int i = 0; i < MUTATORS; i++) {
      pthread_mutex_unlock(&worlds[i].lock);
    }
    if (child == 0) {
      self = attached ? self : veil_attach(heap);
      EXPECT(self != NULL);
      child_check(self, (unsigned)round, 0);
      veil_detach(self);
      veil_close(heap);
      exit(0); // through stdio
    }
    EXPECT(child > 0);
    if (attached) {
      veil_detach(self);
    }
    EXPECT(status_of(child) == 0);
  }
  return NULL;
}

int main(int count, char **argument) {
  if (count < 3) {
    fprintf(stderr, "forks BACK_END signal|poll [FORKS [SEED]]\n");
    return 2;
  }
  int forks_wanted = count > 3 ? atoi(argument[3]) : 200;
  unsigned seed = count > 4 ? (unsigned)strtoul(argument[4], NULL, 10) : (unsigned)time(NULL);
  printf("seed %u\n", seed);
  fflush(stdout);
  heap = heap_open((veil_options){.back_end = argument[1],
                                  .stop = strcmp(argument[2], "poll") == 0 ? VEIL_STOP_POLL : VEIL_STOP_SIGNAL,
                                  .limit = 96 * MIB});
  if (heap == NULL) {
    return 77;
  }
  veil_thread *self = veil_attach(heap);
  EXPECT(self != NULL);
  for (int i = 0; i < 2; i++) {
    EXPECT(veil_add_roots(heap, &runners[i], sizeof runners[i] / sizeof(void *)) == VEIL_OK);
    runners[i] = (runner){.first = veil_new(self, node), .list = veil_new(self, node)};
  }
  for (int i = 0; i < MUTATORS; i++) {
    world *w = &worlds[i];
    EXPECT(veil_add_roots(heap, &w->table, 1) == VEIL_OK && veil_add_roots(heap, &w->bytes, 1) == VEIL_OK);
    pthread_mutex_init(&w->lock, NULL);
    w->seed = seed + (unsigned)i;
    w->table = veil_new_pointers(self, SLOTS);
    w->bytes = veil_new_bytes(self, SLOTS * sizeof(long));
    for (int j = 0; j < SLOTS; j++) {
      world_step(self, w);
    }
  }
  for (int i = 0; i < 2; i++) {
    runners[i].last = veil_new(self, node);
  }
  veil_detach(self);
  pthread_t thread[MUTATORS + 3], runner_thread[2];
  for (int i = 0; i < 2; i++) {
    runner_thread[i] = thread_start(runs, &runners[i]);
  }
  for (int i = 0; i < MUTATORS; i++) {
    thread[i] = thread_start(mutates, &worlds[i]);
  }
  thread[MUTATORS] = thread_start(collects, NULL);
  thread[MUTATORS + 1] = thread_start(comes_and_goes, NULL);
  thread[MUTATORS + 2] = thread_start(forks, &forks_wanted);
  pthread_join(thread[MUTATORS + 2], NULL);
  over = 1;
  long rounds = 0;
  for (int i = 0; i < MUTATORS + 2; i++) {
    pthread_join(thread[i], NULL);
  }
  for (int i = 0; i < 2; i++) {
    pthread_join(runner_thread[i], NULL);
    runner_check(&runners[i]);
  }
  for (int i = 0; i < MUTATORS; i++) {
    world_check(&worlds[i]);
    rounds += worlds[i].rounds;
  }
  printf("%d forks, %ld rounds, %lu cycles\n", forks_wanted, rounds, (unsigned long)stats_of(heap).major_cycles);
  veil_close(heap);
  return 0;
}
