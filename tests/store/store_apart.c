// SPDX-License-Identifier: MIT
// store_apart.c: a slot that leads into another heap of the process is found by verification, and nothing else is taken for one.
//
//   store_apart [--back-end NAME] [--stop signal|poll]
//
// Heaps that die are in children, which are forked before any is open. A plain program, for TSan too.

#include <stddef.h>
#include <stdbool.h>
#include "tests/runtime/test.h"
#include "veil/store.h"

enum { SKIPPED = 77, LENGTH = 3000, OTHERS = 3 };

static const veil_encoding tags = {1 << 1, 0, 0}, boxing = {1, 0xfff8, 0xffff};

typedef struct pair {
  void *slot;
  uintptr_t plain_number; // no slot
} pair;
VEIL_TYPE(pair, slot);
typedef struct words {
  uint64_t at[4];
} words;
VEIL_TYPE_TAGGED(words, &tags, at[0], at[3]);
typedef struct boxes {
  uint64_t at[2];
} boxes;
VEIL_TYPE_TAGGED(boxes, &boxing, at[0], at[1]);
typedef struct table {
  uint64_t word;
  void *plain;
  uint64_t at[];
} table;
VEIL_TYPE_FLEXIBLE_TAGGED(table, &tags, at, word, plain);
typedef struct bare {
  uintptr_t at[4];
} bare;
VEIL_LEAF(bare);

static const char *back_end;
static veil_stop stop = VEIL_STOP_SIGNAL;
static veil_heap *heap, *other;
static veil_thread *self, *there;

static veil_options options_of(unsigned verify) { return (veil_options){.limit = 32 * MIB, .headroom = 2 * MIB, .back_end = back_end, .stop = stop, .verify = verify}; }

static veil_heap *opened(unsigned verify) {
  veil_options o = options_of(verify);
  veil_heap *h = veil_open(&o);
  if (h == NULL) {
    fprintf(stderr, "%s\n", veil_error());
    EXPECT(!back_end_is_everywhere(back_end));
    exit(SKIPPED);
  }
  return h;
}

static void two_open(void) {
  heap = opened(0);
  other = opened(0);
  self = veil_attach(heap);
  there = veil_attach(other);
}

static void two_close(void) {
  veil_detach(there);
  veil_detach(self);
  veil_close(other);
  veil_close(heap);
}

// ---- What is found.

static void plain(void *unused) {
  (void)unused;
  two_open();
  pair *p = veil_new(self, pair);
  veil_verify(self);
  p->slot = list_make(there, 3);
  printf("slot %p holds %p, which lies in another heap, whose view is 0x\n", (void *)&p->slot, p->slot);
  fflush(stdout); // what follows ends it
  veil_verify(self);
}

static void of_an_array(void *unused) {
  (void)unused;
  two_open();
  void **array = veil_new_pointers(self, 9000);
  array[8999] = veil_new_bytes(there, 10);
  veil_verify(self);
}

static void tagged(void *unused) {
  (void)unused;
  two_open();
  words *w = veil_new(self, words);
  w->at[3] = (uintptr_t)list_make(there, 3) | 1;
  veil_verify(self);
}

static void boxed(void *unused) {
  (void)unused;
  two_open();
  boxes *b = veil_new(self, boxes);
  b->at[1] = (uint64_t)0xfffa << 48 | (uintptr_t)list_make(there, 3);
  veil_verify(self);
}

static void before_elements(void *unused) {
  (void)unused;
  two_open();
  table *t = veil_new_flexible(self, table, LENGTH);
  t->plain = list_make(there, 3); // untagged, in a table of tagged words
  veil_verify(self);
}

static void among_elements(void *unused) {
  (void)unused;
  two_open();
  table *t = veil_new_flexible(self, table, LENGTH);
  t->at[LENGTH - 1] = (uintptr_t)list_make(there, 3) | 1;
  veil_verify(self);
}

static void at_a_flip(void *unused) {
  (void)unused;
  heap = opened(1);
  other = opened(0);
  self = veil_attach(heap);
  there = veil_attach(other);
  pair *p = veil_new(self, pair);
  p->slot = list_make(there, 3);
  veil_collect(self);
}

static char path[100], log_path[110];

static veil_store *store_opened(void) {
  veil_options o = options_of(0);
  veil_store *store = veil_store_open(path, &o, &(veil_store_options){.log = MIB, .cache = MIB});
  EXPECT(store != NULL);
  unlink(path); // the child is going to die
  unlink(log_path);
  return store;
}

static void from_a_store(void *unused) {
  (void)unused;
  veil_store *store = store_opened();
  other = opened(0);
  self = veil_attach(veil_store_heap(store));
  there = veil_attach(other);
  pair *p = veil_new(self, pair);
  EXPECT(veil_root_set(self, "pair", p) == VEIL_OK);
  p->slot = list_make(there, 3);
  EXPECT(veil_store_commit(store, NULL) == VEIL_OK);
  veil_verify(self);
}

static void into_a_store(void *unused) {
  (void)unused;
  veil_store *store = store_opened();
  other = opened(0);
  self = veil_attach(veil_store_heap(store));
  there = veil_attach(other);
  pair *p = veil_new(there, pair);
  p->slot = list_make(self, 3);
  veil_verify(there);
}

static void found(void (*fn)(void *), const char *type) {
  char text[200];
  death d = death_of(fn, NULL);
  if (d.signal == 0 && d.code == SKIPPED) {
    exit(SKIPPED);
  }
  EXPECT(death_says(&d, "lies in another heap, whose view is 0x") && death_says(&d, "[gc.apart]"));
  snprintf(text, sizeof text, "(%s) slot 0x", type);
  EXPECT(death_says(&d, text));
  const char *said = strstr(d.said, "slot 0x"), *end = said != NULL ? strstr(said, "view is 0x") : NULL;
  if (fn == plain) { // it has said itself which slot holds what
    const char *again = end != NULL ? strstr(end, "slot 0x") : NULL;
    EXPECT(again != NULL && strncmp(again, said, (size_t)(end - said)) == 0);
  }
}

// ---- What is none.

static void none(void *unused) {
  (void)unused;
  two_open();
  uintptr_t address = (uintptr_t)list_make(there, 3);
  bare *b = veil_new(self, bare);
  pair *p = veil_new(self, pair);
  words *w = veil_new(self, words);
  boxes *x = veil_new(self, boxes);
  table *t = veil_new_flexible(self, table, LENGTH);
  char *bytes = veil_new_bytes(self, 80);
  memcpy(bytes, &address, sizeof address);
  b->at[0] = b->at[3] = address;
  p->plain_number = address;
  p->slot = veil_new(self, pair);
  w->at[0] = address;     // no pointer's tag
  w->at[1] = address | 1; // no slot
  w->at[3] = address | 2;
  x->at[0] = address; // a small number, as a double
  t->word = address;
  t->at[0] = address | 4;
  t->at[LENGTH - 1] = (uintptr_t)veil_new(self, pair) | 1; // its own
  static long outside;
  p = p->slot;
  p->slot = &outside; // memory that is no heap's
  veil_verify(self);
  veil_collect(self);
  veil_verify(self);
  veil_verify(there);
  two_close();
  heap = opened(0); // what was another heap's is nobody's
  self = veil_attach(heap);
  if (address - (uintptr_t)veil_new(self, pair) > 32 * MIB && (uintptr_t)veil_new(self, pair) - address > 256 * (uintptr_t)MIB) {
    ((pair *)veil_new(self, pair))->slot = (void *)address;
    veil_verify(self);
  }
  veil_detach(self);
  veil_close(heap);
}

// ---- Others come and go meanwhile.

static int volatile over;

static void *comer(void *unused) {
  (void)unused;
  while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
    veil_heap *h = opened(0);
    veil_thread *me = veil_attach(h);
    EXPECT(list_check(list_make(me, 100)) == 100);
    veil_detach(me);
    veil_close(h);
  }
  return NULL;
}

static void beside(void *unused) {
  (void)unused;
  heap = opened(1);
  self = veil_attach(heap);
  pair *p = veil_new(self, pair);
  p->slot = list_make(self, 500);
  static long outside;
  ((pair *)veil_new(self, pair))->slot = &outside;
  pthread_t thread[OTHERS];
  for (int i = 0; i < OTHERS; i++) {
    thread[i] = thread_start(comer, NULL);
  }
  for (int i = 0; i < 40; i++) {
    veil_verify(self);
    veil_collect(self);
  }
  __atomic_store_n(&over, 1, __ATOMIC_RELAXED);
  veil_block_begin(self);
  for (int i = 0; i < OTHERS; i++) {
    pthread_join(thread[i], NULL);
  }
  veil_block_end(self);
  EXPECT(list_check(p->slot) == 500);
  veil_detach(self);
  veil_close(heap);
}

static void fine(void (*fn)(void *)) {
  death d = death_within(100, fn, NULL);
  if (d.signal == 0 && d.code == SKIPPED) {
    exit(SKIPPED);
  }
  EXPECT(death_none(&d));
}

int main(int argc, char **argv) {
  for (int i = 1; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--back-end") == 0) {
      back_end = argv[i + 1];
    } else if (strcmp(argv[i], "--stop") == 0) {
      stop = strcmp(argv[i + 1], "poll") == 0 ? VEIL_STOP_POLL : VEIL_STOP_SIGNAL;
    }
  }
  snprintf(path, sizeof path, "/tmp/apart.%d.veil", (int)getpid());
  snprintf(log_path, sizeof log_path, "%s.log", path);
  found(plain, "pair");
  found(of_an_array, "pointer");
  found(tagged, "words");
  found(boxed, "boxes");
  found(before_elements, "table");
  found(among_elements, "table");
  found(at_a_flip, "pair");
  found(from_a_store, "pair");
  found(into_a_store, "pair");
  fine(none);
  fine(beside);
  return 0;
}
