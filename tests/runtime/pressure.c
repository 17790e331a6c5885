// SPDX-License-Identifier: MIT
// pressure.c: threads under every kind of pressure at once, as a plain program, so that TSan can watch: a small limit that moves, a hook,
// memory owned outside, a soft limit, and a keeper that is quick to find the heap idle.
//
//   pressure BACK_END [SECONDS]

#include "tests/runtime/world.h"
#include "vm/atomic.h"

enum { THREADS = 3 };
static AO_t stop, asked, failed;

static bool hook(void *arg, size_t bytes) {
  EXPECT(arg == &asked && bytes != 0);
  uint64_t n = at_add_full(&asked, 1);
  EXPECT(veil_set_limit(heap, (4 + n % 8) * MIB) == VEIL_OK);
  return n % 3 != 0;
}

static void *mutator(void *arg) {
  unsigned seed = (unsigned)(uintptr_t)arg;
  veil_thread *me = veil_attach(heap);
  EXPECT(me != NULL);
  for (long round = 0; !at_load_acquire(&stop); round++) {
    node *list = NULL;
    long length = (long)(rand_r(&seed) % 20000), key = 0;
    for (node *n; key < length && (n = veil_new(me, node)) != NULL; key++) {
      EXPECT(n->left == NULL && n->right == NULL && n->key == 0);
      n->right = list;
      n->key = key;
      list = n;
    }
    at_add(&failed, key < length);
    veil_external(heap, (ptrdiff_t)length * 100);
    for (node *n = list; n != NULL; n = n->right) {
      EXPECT(n->key == --key);
    }
    EXPECT(key == 0);
    veil_external(heap, -(ptrdiff_t)length * 100);
    if (round % 8 == 0) {
      veil_block_begin(me); // all of them from time to time: the keeper's chance
      sleep_ms(20 + rand_r(&seed) % 30);
      veil_block_end(me);
    }
    veil_poll(me);
  }
  veil_detach(me);
  return NULL;
}

int main(int argc, char **argv) {
  const char *back_end = argc > 1 ? argv[1] : "auto";
  long seconds = argc > 2 ? atol(argv[2]) : 4;
  veil_options options = {.back_end = back_end, .limit = 6 * MIB, .reserve = 16 * MIB, .soft_limit = 3 * MIB, .headroom = 2 * MIB,
                          .oom = VEIL_OOM_NULL, .idle = 10, .verify = 1, .scanners = 2};
  heap = veil_open(&options);
  if (heap == NULL) {
    fprintf(stderr, "%s\n", veil_error());
    return strcmp(back_end, "uffd") == 0 ? 77 : 1;
  }
  EXPECT(veil_set_oom_hook(heap, hook, &asked) == VEIL_OK);
  pthread_t thread[THREADS];
  for (uintptr_t i = 0; i < THREADS; i++) {
    thread[i] = thread_start(mutator, (void *)(i + 1));
  }
  for (long i = 0; i < seconds * 50; i++) {
    sleep_ms(20);
    EXPECT(veil_set_limit(heap, (4 + (size_t)i % 12) * MIB) == VEIL_OK);
    EXPECT(i % 10 != 0 || veil_set_oom_hook(heap, hook, &asked) == VEIL_OK);
  }
  at_store_release(&stop, 1);
  for (int i = 0; i < THREADS; i++) {
    pthread_join(thread[i], NULL);
  }
  EXPECT(stats_of(heap).external_bytes == 0);
  printf("%lu cycles, %lu of them idle; asked %lu times; %lu lists were cut short\n", (unsigned long)stats_of(heap).major_cycles,
         (unsigned long)stats_of(heap).idle_cycles, (unsigned long)at_load(&asked), (unsigned long)at_load(&failed));
  veil_close(heap);
  return 0;
}
