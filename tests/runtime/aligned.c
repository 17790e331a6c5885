// SPDX-License-Identifier: MIT
// aligned.c: objects of every alignment stay aligned, whatever moves them.

#include <criterion/criterion.h>
#include "tests/runtime/world.h"
#include "veil/identity.h"
#include "veil/roots.h"

typedef struct vector {
  struct vector *next;
  void *bytes;
  float lane[8];
  long seed, more;
} vector;
VEIL_TYPE(vector, next, bytes);
// Ones of 504 bytes of data are the largest that stay within a page; 32760 the largest that move.
#define SIZED(NAME, BYTES)                                                                                             \
  typedef struct NAME {                                                                                                \
    struct NAME *next;                                                                                                 \
    long seed;                                                                                                         \
    char fill[BYTES - 16];                                                                                             \
  } NAME;                                                                                                              \
  VEIL_TYPE(NAME, next)
SIZED(edge, 504);
SIZED(medium, 5000);
SIZED(most, 32760);
SIZED(large, 40000);

enum { FIRST = 16, LAST = 4096, EACH = 6, SLOTS = 9 * EACH * 7 };

static size_t alignment_of(int i) { return (size_t)FIRST << i % 9; }
static const size_t byte_sizes[] = {0,    1,    16,   24,   40,   100,  480,   488,   496,   497,   1000,
                                    1024, 1025, 4000, 4064, 4080, 8000, 30000, 32736, 32752, 32768, 100000};
static size_t bytes_of(int i) { return byte_sizes[(unsigned)i % (sizeof byte_sizes / sizeof *byte_sizes)]; }

static void zero_check(const char *object, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) {
    cr_assert_eq(object[i], 0);
  }
}

// Seven kinds in turn; objects of one alignment refer to their bytes.
static void *make(int i) {
  size_t a = alignment_of(i / 7);
  switch (i % 7) {
  case 0: {
    vector *v = veil_new_aligned(self, vector, a);
    zero_check((char *)v, sizeof *v);
    v->seed = i;
    void *bytes = veil_new_bytes_aligned(self, 64, a);
    v->bytes = bytes;
    memset(bytes, i, 64);
    return v;
  }
  case 1: {
    edge *e = veil_new_aligned(self, edge, a);
    zero_check((char *)e, sizeof *e);
    e->seed = i;
    return e;
  }
  case 2: {
    medium *m = veil_new_aligned(self, medium, a);
    zero_check((char *)m, sizeof *m);
    m->seed = i;
    return m;
  }
  case 3: {
    most *m = veil_new_aligned(self, most, a);
    m->seed = i;
    return m;
  }
  case 4: {
    large *l = veil_new_aligned(self, large, a);
    zero_check((char *)l, sizeof *l);
    l->seed = i;
    return l;
  }
  default: {
    char *bytes = veil_new_bytes_aligned(self, bytes_of(i), a);
    zero_check(bytes, bytes_of(i));
    memset(bytes, i, bytes_of(i));
    return bytes;
  }
  }
}

static void check(void **all, int i) {
  size_t a = alignment_of(i / 7);
  cr_assert_eq((uintptr_t)all[i] % a, 0, "object %d at %p is not aligned to %zu", i, all[i], a);
  switch (i % 7) {
  case 0: {
    vector *v = all[i];
    cr_assert(v->seed == i && (uintptr_t)v->bytes % a == 0 && veil_length(heap, v->bytes) == 64 &&
              veil_length(heap, v) == 1);
    for (int b = 0; b < 64; b++) {
      cr_assert_eq(((char *)v->bytes)[b], (char)i);
    }
    break;
  }
  case 1:
    cr_assert_eq(((edge *)all[i])->seed, i);
    break;
  case 2:
    cr_assert_eq(((medium *)all[i])->seed, i);
    break;
  case 3:
    cr_assert_eq(((most *)all[i])->seed, i);
    break;
  case 4:
    cr_assert_eq(((large *)all[i])->seed, i);
    break;
  default:
    cr_assert_eq(veil_length(heap, all[i]), bytes_of(i));
    for (size_t b = 0; b < bytes_of(i); b++) {
      cr_assert_eq(((char *)all[i])[b], (char)i);
    }
  }
}

static __attribute__((noinline)) void all_check(void **all) {
  for (int i = 0; i < SLOTS; i++) {
    check(all, i);
  }
}

static __attribute__((noinline)) void some_make(void **all, int from, int step) {
  for (int i = from; i < SLOTS; i += step) {
    void *made = make(i);
    all[i] = made;
    node *between = veil_new(self, node); // others lie between
    between->key = i;
  }
}

static void **all; // a root

static void live_through(bool young) {
  cr_assert_eq(veil_add_roots(heap, &all, 1), VEIL_OK);
  all = veil_new_pointers(self, SLOTS);
  some_make(all, 0, 1);
  uint64_t hash[SLOTS];
  uintptr_t was[SLOTS];
  unsigned moved = 0;
  for (int round = 0; round < 8; round++) {
    for (int i = 0; i < SLOTS && round == 2; i++) { // they grow by 16 bytes
      hash[i] = veil_hash(self, all[i]);
    }
    for (int i = 0; i < SLOTS; i++) {
      was[i] = ~(uintptr_t)all[i];
    }
    bool pinned = round == 4;
    for (int i = 0; i < SLOTS && pinned; i += 3) {
      cr_assert_eq(veil_pin(self, all[i]), VEIL_OK);
    }
    stack_clear();
    if (young && round % 2 != 0) {
      veil_collect_minor(self);
    } else {
      veil_collect_start(self);
      all_check(all); // by traps
      veil_collect(self);
    }
    all_check(all);
    for (int i = 0; i < SLOTS; i++) {
      moved += was[i] != ~(uintptr_t)all[i];
      cr_assert(!pinned || i % 3 != 0 || was[i] == ~(uintptr_t)all[i]);
      cr_assert(round < 2 || veil_hash(self, all[i]) == hash[i]);
    }
    for (int i = 0; i < SLOTS && pinned; i += 3) {
      veil_unpin(self, all[i]);
    }
    if (round < 2) {
      some_make(all, round, 4);
    }
    list_make(self, 20000);
  }
  cr_assert_gt(moved, SLOTS, "they do move");
  veil_remove_roots(heap, &all);
}

ON_ALL_BACK_ENDS(aligned, objects_stay_aligned_through_cycles) {
  START_OR_SKIP(.back_end = back_end, .verify = 2, .limit = 128 * MIB, .generations = VEIL_GENERATIONS_OFF);
  live_through(false);
  end();
}
ON_ALL_BACK_ENDS(aligned, objects_stay_aligned_through_minor_cycles) {
  START_OR_SKIP(.back_end = back_end, .verify = 2, .limit = 128 * MIB, .generations = VEIL_GENERATIONS_ON,
                .nursery = 2 * MIB);
  live_through(true);
  end();
}
ON_ALL_BACK_ENDS(aligned, objects_stay_aligned_where_pages_are_larger) {
  START_OR_SKIP(.back_end = back_end, .verify = 2, .limit = 128 * MIB, .granule = 65536,
                .generations = VEIL_GENERATIONS_ON, .nursery = 2 * MIB);
  live_through(true);
  end();
}
ON_ALL_BACK_ENDS(aligned, objects_stay_aligned_while_cycles_follow_each_other) {
  START_OR_SKIP(.back_end = back_end, .verify = 2, .limit = 128 * MIB, .torture = 20,
                .generations = VEIL_GENERATIONS_ON, .nursery = 2 * MIB);
  live_through(true);
  end();
}

// What is not reached is gone, young and old.
ON_ALL_BACK_ENDS(aligned, garbage_is_collected) {
  START_OR_SKIP(.back_end = back_end, .limit = 32 * MIB, .generations = VEIL_GENERATIONS_ON, .nursery = 2 * MIB);
  for (int i = 0; i < REPEATS(100000, 300000); i++) {
    veil_new_aligned(self, vector, 64);
    if (i % 16 == 0) {
      veil_new_bytes_aligned(self, 100, 4096);
      veil_new_aligned(self, large, 4096);
    }
  }
  veil_collect(self);
  stack_clear();
  veil_collect(self);
  cr_assert_lt(stats_of(heap).live_bytes, 2 * MIB);
  end();
}

// A thousand of 56 bytes take 64 each, and not much more when they have moved.
Test(aligned, small_ones_do_not_cost_a_page_each) {
  start((veil_options){.verify = 2, .limit = 64 * MIB, .generations = VEIL_GENERATIONS_OFF});
  enum { MANY = 100000 };
  all = veil_new_pointers(self, MANY);
  cr_assert_eq(veil_add_roots(heap, &all, 1), VEIL_OK);
  for (int i = 0; i < MANY; i++) {
    void *made = veil_new_bytes_aligned(self, 40, 64);
    all[i] = made;
  }
  for (int round = 0; round < 3; round++) {
    veil_collect(self);
    cr_assert_lt(stats_of(heap).live_bytes, MANY * 64 * 11 / 10 + MANY * 8 + MIB);
  }
  veil_remove_roots(heap, &all);
  end();
}

Test(aligned, it_is_out_of_memory_like_others) {
  start((veil_options){.limit = 16 * MIB, .oom = VEIL_OOM_NULL});
  cr_assert_null(veil_new_bytes_aligned(self, 20 * MIB, 64));
  cr_assert_null(veil_new_bytes_aligned(self, SIZE_MAX - 10, 64));
  cr_assert_null(veil_new_bytes_aligned(self, (size_t)5 << 30, 64));
  cr_assert_not_null(veil_new_bytes_aligned(self, MIB, 4096));
  end();
}

DIES(aligned, an_alignment_that_is_no_power_of_two_is_noticed, "veil_new_aligned: 48 is no alignment") {
  start((veil_options){.verify = 0});
  veil_new_aligned(self, node, 48);
}
DIES(aligned, an_alignment_of_nothing_is_noticed, "veil_new_bytes_aligned: 0 is no alignment") {
  start((veil_options){.verify = 0});
  veil_new_bytes_aligned(self, 48, 0);
}
DIES(aligned, an_alignment_beyond_pages_is_noticed,
     "veil_new_aligned: 8192 is no alignment: a power of two up to 4096 is") {
  start((veil_options){.verify = 0});
  veil_new_aligned(self, node, 8192);
}
typedef struct tail {
  long n;
  node *slot[];
} tail;
VEIL_TYPE_FLEXIBLE(tail, slot);
DIES(aligned, flexible_arrays_are_refused, "veil_new_aligned: tail is a flexible array") {
  start((veil_options){.verify = 0});
  veil_new_aligned(self, tail, 64);
}
