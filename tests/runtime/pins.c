// SPDX-License-Identifier: MIT
// pins.c: objects held in place by call, what statistics say holds them, and tables keyed by objects: addresses, hashes.

#include <criterion/criterion.h>
#include "tests/runtime/world.h"
#include "veil/identity.h"
#include "veil/roots.h"

// Addresses where no stop finds them.
enum { MANY = 3000 };
static uintptr_t hidden[MANY];
static uintptr_t hide(const void *object) { return ~(uintptr_t)object; }
static __attribute__((noinline)) void *shown(int i) { return (void *)~hidden[i]; }

static __attribute__((noinline)) void pinned_make(int count) {
  for (int i = 0; i < count; i++) {
    node *n = veil_new(self, node);
    n->key = i;
    n->left = veil_new(self, node);
    n->left->key = i;
    EXPECT(veil_pin(self, n) == VEIL_OK);
    hidden[i] = hide(n);
  }
}

static __attribute__((noinline)) void pinned_check(int i) {
  node *n = shown(i);
  EXPECT(n->key == i && n->left->key == i);
}

static void unpin(int i) { veil_unpin(self, shown(i)); }

static void collect(void) {
  stack_clear();
  veil_collect(self);
  veil_collect_minor(self);
  stack_clear();
}

ON_ALL_BACK_ENDS(pins, a_pinned_object_lives_and_stays) {
  START_OR_SKIP(.back_end = back_end, .verify = 2, .limit = 64 * MIB);
  pinned_make(MANY);
  for (int round = 0; round < 4; round++) {
    collect();
    list_make(self, 20000);
    for (int i = 0; i < MANY; i++) {
      pinned_check(i);
    }
  }
  cr_assert_geq(stats_of(heap).pinned_by_calls, MANY - 10); // a stack may hold some, and is asked first
  veil_stats s = stats_of(heap);
  cr_assert_eq(s.pinned_objects, s.pinned_by_stacks + s.pinned_by_coroutines + s.pinned_by_variables + s.pinned_by_system_calls + s.pinned_by_calls +
                                     s.pinned_by_callbacks);
  for (int i = 0; i < MANY; i++) {
    unpin(i * 7 % MANY); // in another order; 7 and MANY have no common factor
  }
  collect();
  cr_assert_eq(stats_of(heap).pinned_by_calls, 0);
  cr_assert_lt(stats_of(heap).live_bytes, 3 * MIB);
  end();
}

ON_ALL_BACK_ENDS(pins, they_nest) {
  START_OR_SKIP(.back_end = back_end, .verify = 2);
  pinned_make(3);
  for (int i = 0; i < 5; i++) {
    cr_assert_eq(veil_pin(self, shown(1)), VEIL_OK);
  }
  unpin(0);
  for (int i = 0; i < 5; i++) {
    unpin(1);
    collect();
    pinned_check(1);
    pinned_check(2);
  }
  unpin(1);
  unpin(2);
  end();
}

// Against counts of our own: each object is pinned as often as they say, through growth and holes.
ON_ALL_BACK_ENDS(pins, counts_are_right_in_any_order) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB);
  enum { OBJECTS = 700 };
  static unsigned count[OBJECTS];
  uint64_t random = 1;
  pinned_make(OBJECTS);
  for (int i = 0; i < OBJECTS; i++) {
    count[i] = 1;
  }
  for (int step = 0; step < 100000; step++) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    int i = (int)(random >> 33) % OBJECTS;
    if (count[i] > 1 && (random >> 20) % 8 < 5) {
      unpin(i);
      count[i]--;
    } else if (count[i] < 4) {
      cr_assert_eq(veil_pin(self, shown(i)), VEIL_OK);
      count[i]++;
    }
  }
  for (int i = 0; i < OBJECTS; i += 2) {
    for (; count[i] > 0; count[i]--) {
      unpin(i);
    }
  }
  collect();
  cr_assert(stats_of(heap).pinned_by_calls <= OBJECTS / 2 && stats_of(heap).pinned_by_calls >= OBJECTS / 2 - 10);
  for (int i = 1; i < OBJECTS; i += 2) {
    pinned_check(i);
    for (; count[i] > 0; count[i]--) {
      unpin(i);
    }
  }
  end();
}

static void *threads_main(void *unused) {
  (void)unused;
  veil_thread *here = veil_attach(heap);
  for (int round = 0; round < 200; round++) {
    uintptr_t mine[50];
    for (int i = 0; i < 50; i++) {
      node *n = veil_new(here, node);
      n->key = i;
      EXPECT(veil_pin(here, n) == VEIL_OK);
      mine[i] = hide(n);
      list_make(here, 20);
    }
    for (int i = 0; i < 50; i++) {
      node *n = (node *)~mine[i];
      EXPECT(n->key == i);
      veil_unpin(here, n);
    }
  }
  veil_detach(here);
  return NULL;
}

ON_ALL_BACK_ENDS(pins, threads_pin_beside_cycles) {
  START_OR_SKIP(.back_end = back_end, .headroom = MIB, .torture = 300, .seed = 3, .verify = 1);
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) {
    threads[i] = thread_start(threads_main, NULL);
  }
  veil_block_begin(self);
  for (int i = 0; i < 4; i++) {
    pthread_join(threads[i], NULL);
  }
  veil_block_end(self);
  collect();
  cr_assert_eq(stats_of(heap).pinned_by_calls, 0);
  end();
}

ON_ALL_BACK_ENDS(pins, statistics_name_the_holder) {
  START_OR_SKIP(.back_end = back_end);
  node *n = veil_new(self, node);
  void **array = veil_new_pointers(self, 3);
  cr_assert_eq(veil_touch(self, array, 16, true), VEIL_OK);
  veil_collect(self);
  cr_assert_geq(stats_of(heap).pinned_by_stacks, 1);
  cr_assert_eq(stats_of(heap).pinned_by_calls, 0);
  n->key = (long)array[0];
  veil_untouch(self, array);
  end();
}

ON_ALL_BACK_ENDS(pins, moves_says_when_addresses_may_have_changed) {
  START_OR_SKIP(.back_end = back_end, .generations = VEIL_GENERATIONS_ON);
  uint64_t before = veil_moves(heap);
  veil_new(self, node);
  cr_assert_eq(veil_moves(heap), before);
  veil_collect_minor(self);
  uint64_t minor = veil_moves(heap);
  cr_assert_neq(minor, before);
  veil_collect(self);
  cr_assert(veil_moves(heap) != minor && veil_moves(heap) != before);
  end();
}

ON_ALL_BACK_ENDS(pins, a_hash_stays_when_the_object_moves) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 2);
  static node *kept;
  static uint64_t hashes[1000];
  cr_assert_eq(veil_add_roots(heap, &kept, 1), VEIL_OK);
  kept = list_make(self, 1000);
  long i = 0;
  for (node *n = kept; n != NULL; n = n->right, i++) {
    hashes[i] = veil_hash(self, n);
  }
  for (int round = 0; round < 5; round++) {
    round % 2 ? veil_collect_start(self) : collect();
    i = 0;
    for (node *n = kept; n != NULL; n = n->right, i++) {
      cr_assert(veil_hash(self, n) == hashes[i] && n->key == i);
    }
  }
  veil_remove_roots(heap, &kept);
  end();
}

DIES(pins_misuse, hash_of_nothing, "veil_hash: there is no object") {
  EXPECT(start((veil_options){.back_end = "mprotect"}));
  veil_hash(self, NULL);
}
DIES(pins_misuse, hash_of_an_address_within, "veil_hash: ") {
  EXPECT(start((veil_options){.back_end = "mprotect"}));
  veil_hash(self, (char *)veil_new(self, node) + 8);
}
DIES(pins_misuse, unpin_what_is_not_pinned, "is not pinned") {
  EXPECT(start((veil_options){.back_end = "mprotect"}));
  node *n = veil_new(self, node);
  veil_pin(self, n);
  veil_unpin(self, n);
  veil_unpin(self, n);
}
DIES(pins_misuse, unpin_before_any_pin, "is not pinned") {
  EXPECT(start((veil_options){.back_end = "mprotect"}));
  veil_unpin(self, veil_new(self, node));
}
DIES(pins_misuse, pin_what_is_no_object, "veil_pin: ") {
  EXPECT(start((veil_options){.back_end = "mprotect"}));
  veil_pin(self, &heap);
}
DIES(pins_misuse, pin_nothing, "veil_pin: there is no object") {
  EXPECT(start((veil_options){.back_end = "mprotect"}));
  veil_pin(self, NULL);
}
