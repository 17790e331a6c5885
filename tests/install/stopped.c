// SPDX-License-Identifier: MIT
// stopped.c: what gdb looks at: a program that stands still in the middle of a cycle.
//
// The only scanner is caught in a trace callback, where it holds a page, until the program lets it go; so hundreds of pages stay
// grey. gdb stops in before_flip, before_trap (where it writes `chosen`), after_trap, and in at_the_end.

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <veil/veil.h>

enum { ITEMS = 400 };

typedef struct node {
  struct node *left, *right;
  long key;
} node;
VEIL_TYPE(node, left, right);

typedef struct item {
  node *tree;
  long number;
  char room[232]; // 15 to a page
} item;

static __thread volatile int is_scanner = 1; // until it says otherwise
static volatile int caught, released;

static void item_trace(const void *object, const void *alias, size_t length, size_t base, size_t limit, veil_visitor *visitor) {
  (void)object, (void)alias, (void)length, (void)base, (void)limit;
  veil_visit(visitor, offsetof(item, tree));
  while (is_scanner && !released) {
    caught = 1;
  }
}
VEIL_TYPE_TRACE(item, item_trace);

static const veil_encoding low_bits = {1 << 0 | 1 << 1, 0, 0};
typedef struct cell {
  uintptr_t car, cdr;
} cell;
VEIL_TYPE_TAGGED(cell, &low_bits, car, cdr);

typedef struct flexible {
  node *plain;
  uintptr_t word;
  uintptr_t slot[];
} flexible;
VEIL_TYPE_FLEXIBLE_TAGGED(flexible, &low_bits, slot, plain, word);

// Precise roots, by which nothing is pinned.
static item *items[ITEMS];
static struct {
  node **array;
  char *bytes;
  cell *pair;
  void **large;
  flexible *flexible;
  char *aligned, *aligned_large;
} kinds;
// What gdb reads and writes. Not roots.
volatile int chosen;
uintptr_t original[ITEMS], held_in_place, dead;
long sum;

__attribute__((noinline)) static void before_flip(void) { __asm__ volatile("" ::: "memory"); }
__attribute__((noinline)) static void before_trap(void) { __asm__ volatile("" ::: "memory"); }
__attribute__((noinline)) static void after_trap(void) { __asm__ volatile("" ::: "memory"); }
__attribute__((noinline)) static void at_the_end(void) { __asm__ volatile("" ::: "memory"); }

static void *sleeper(void *heap) {
  is_scanner = 0;
  veil_thread *self = veil_attach(heap);
  veil_block_begin(self);
  caught = 1;
  while (!released) {
    usleep(1000);
  }
  veil_block_end(self);
  veil_detach(self);
  return NULL;
}

__attribute__((noinline)) static void fill(veil_thread *self) {
  for (int i = 0; i < ITEMS; i++) {
    items[i] = veil_new(self, item);
    items[i]->number = i;
    items[i]->tree = veil_new(self, node);
    items[i]->tree->left = veil_new(self, node);
    items[i]->tree->left->key = i;
    original[i] = (uintptr_t)items[i];
  }
  dead = (uintptr_t)veil_new(self, node);
  kinds.array = (node **)veil_new_pointers(self, 3);
  kinds.array[1] = items[7]->tree;
  kinds.bytes = veil_new_bytes(self, 100);
  strcpy(kinds.bytes, "hello");
  kinds.pair = veil_new(self, cell);
  kinds.pair->car = (uintptr_t)items[3]->tree | 1;
  kinds.pair->cdr = 42 << 2 | 2;
  kinds.large = veil_new_pointers(self, 20000);
  kinds.large[19999] = kinds.pair;
  kinds.flexible = veil_new_flexible(self, flexible, 5);
  kinds.flexible->plain = items[3]->tree;
  kinds.flexible->word = (uintptr_t)items[3]->tree | 1;
  kinds.flexible->slot[4] = (uintptr_t)kinds.pair | 1;
  kinds.aligned = veil_new_bytes_aligned(self, 300, 1024);
  kinds.aligned_large = veil_new_bytes_aligned(self, 70000, 4096);
}

// Nothing that the functions above have left on the stack.
__attribute__((noinline)) static void stack_clear(void) {
  volatile char old[8192];
  memset((void *)old, 0, sizeof old);
}

int main(int argc, char **argv) {
  is_scanner = 0;
  chosen = argc > 3 ? atoi(argv[3]) : ITEMS / 2;
  veil_options options = {.limit = (size_t)8 << 20, .back_end = argc > 1 ? argv[1] : NULL, .scanners = 1, .generations = VEIL_GENERATIONS_OFF};
  veil_heap *heap = veil_open(&options);
  if (heap == NULL) {
    fprintf(stderr, "%s\n", veil_error());
    return 77;
  }
  veil_thread *self = veil_attach(heap);
  veil_add_roots(heap, items, ITEMS);
  veil_add_roots(heap, &kinds, sizeof kinds / sizeof(void *));
  pthread_t thread;
  pthread_create(&thread, NULL, sleeper, heap);
  while (!caught) {
    usleep(1000);
  }
  caught = 0;
  fill(self);
  node *volatile held = veil_new(self, node);
  held_in_place = (uintptr_t)held;
  stack_clear();
  before_flip();
  veil_collect_start(self);
  while (!caught) {
    usleep(1000);
  }
  before_trap();
  sum += items[chosen]->number; // traps
  sum += items[chosen]->tree->left->key;
  after_trap();
  released = 1;
  pthread_join(thread, NULL);
  veil_collect(self);
  for (int i = 0; i < ITEMS; i++) {
    sum += items[i]->tree->left->key;
  }
  at_the_end();
  if (argc > 2 && strcmp(argv[2], "crash") == 0) {
    *(volatile char *)8 = 1;
  }
  printf("sum %ld %ld\n", sum, held->key);
  veil_detach(self);
  veil_close(heap);
  return 0;
}
