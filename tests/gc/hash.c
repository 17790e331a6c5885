// SPDX-License-Identifier: MIT
// hash.c: identity hashes stay with their objects, whatever happens to these.

#include <criterion/criterion.h>
#include "gc/copier.h"
#include "tests/gc/fake.h"

static const size_t sizes[] = {0, 1, 8, 16, 24, 100, 480, 488, 496, 497, 1000, 4000, 4064, 4080, 8000, 30000, 32736, 32752, 32768, 100000};
enum { SIZES = sizeof sizes / sizeof *sizes, NURSERY = 4 << 20, PAIRS = 300 };

static uint64_t hash_of(fake *f, int root) { return gc_hash(f->gc, (uintptr_t)f->root[root]); }

// Bytes in roots [0, SIZES), pointers in the next SIZES, then pairs; each pointer array and pair refers to the root before.
static void fill(fake *f) {
  for (int i = 0; i < SIZES; i++) {
    f->root[i] = fake_array(f, &type_byte, sizes[i]);
    EXPECT(f->root[i] != NULL);
    fake_fill(f->root[i], sizes[i], (unsigned)i);
    void **pointers = fake_array(f, &type_pointer, sizes[i] / 8);
    EXPECT(pointers != NULL);
    for (size_t n = 0; n < sizes[i] / 8; n++) {
      pointers[n] = f->root[i];
    }
    f->root[SIZES + i] = pointers;
  }
  for (int i = 2 * SIZES; i < 2 * SIZES + PAIRS; i++) {
    pair *p = fake_new(f, &type_pair);
    EXPECT(p != NULL);
    p->key = i;
    p->left = f->root[i - 1];
    f->root[i] = p;
  }
}

static void check(fake *f) {
  for (int i = 0; i < SIZES; i++) {
    cr_assert(fake_filled(f->root[i], sizes[i], (unsigned)i));
    for (size_t n = 0; n < sizes[i] / 8; n++) {
      cr_assert_eq(((void **)f->root[SIZES + i])[n], f->root[i]);
    }
  }
  for (int i = 2 * SIZES; i < 2 * SIZES + PAIRS; i++) {
    pair *p = f->root[i];
    cr_assert(p->key == i && p->left == f->root[i - 1]);
  }
}

static void minor_twice(fake *f) {
  fake_minor(f);
  fake_minor(f);
}

static void cycle_asked_within(fake *f) {
  fake_flip(f);
  for (int i = 0; i < 2 * SIZES + PAIRS; i += 3) {
    hash_of(f, i);
    fake_step(f);
  }
  fake_finish(f);
}

static void (*const cycles[])(fake *f) = {fake_cycle, minor_twice, fake_minor, cycle_asked_within};

ON_ALL_BACK_ENDS(hash, it_stays_with_the_object_of_any_kind_and_size) {
  for (size_t c = 0; c < sizeof cycles / sizeof *cycles; c++) {
    OPEN_OR_SKIP(f, .back_end = back_end, .nursery = NURSERY, .limit = 64 << 20, .verify = true);
    static uint64_t before[2 * SIZES + PAIRS];
    fill(f);
    for (int half = 0; half < 2; half++) { // some are asked when they have moved already
      for (int i = half; i < 2 * SIZES + PAIRS; i += 2) {
        before[i] = hash_of(f, i);
      }
      for (int round = 0; round < 4; round++) {
        cycles[c](f);
        check(f);
        for (int i = 0; i < 2 * SIZES + PAIRS; i++) {
          cr_assert(i % 2 > half || hash_of(f, i) == before[i], "root %d, round %d", i, round);
        }
      }
    }
    fake_close(f);
  }
}

ON_ALL_BACK_ENDS(hash, an_object_that_was_asked_takes_a_unit_more_once) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  f->root[0] = fake_new(f, &type_pair);
  f->root[1] = fake_new(f, &type_pair);
  size_t cell = type_pair.type.cell;
  hash_of(f, 0);
  for (int i = 0; i < 3; i++) {
    fake_cycle(f);
    cr_assert_eq(gc_cell_size(fake_cell(f, f->root[0]), fake_object_header(f, f->root[0])), cell + GC_UNIT);
    cr_assert_eq(gc_cell_size(fake_cell(f, f->root[1]), fake_object_header(f, f->root[1])), cell);
  }
  fake_close(f);
}

// Objects that cannot be copied, or need not be, keep the hash of their address; later they move.
ON_ALL_BACK_ENDS(hash, it_stays_where_objects_stay) {
  OPEN_OR_SKIP(f, .back_end = back_end, .nursery = NURSERY, .limit = 64 << 20);
  static uint64_t before[2 * SIZES + PAIRS];
  fill(f);
  for (int i = 0; i < PAIRS; i += 2) {
    f->word[i] = (uintptr_t)f->root[2 * SIZES + i]; // pinned
  }
  for (int i = 0; i < 2 * SIZES + PAIRS; i++) {
    before[i] = hash_of(f, i);
  }
  fake_cycle(f);
  minor_twice(f);
  memset(f->word, 0, sizeof f->word);
  f->spares = true;
  for (int round = 0; round < 4; round++) {
    fake_cycle(f);
    minor_twice(f);
    check(f);
    for (int i = 0; i < 2 * SIZES + PAIRS; i++) {
      cr_assert_eq(hash_of(f, i), before[i]);
    }
  }
  fake_close(f);
}

Test(hash, neighbours_differ_in_all_bits) {
  uint64_t seen_one = 0, seen_zero = 0;
  for (uintptr_t view = 0x7f0000000000; view < 0x7f0000000000 + 64 * 16; view += 16) {
    uint64_t change = gc_address_hash(view) ^ gc_address_hash(view + 16);
    seen_one |= change;
    seen_zero |= ~change;
  }
  cr_assert(seen_one == UINT64_MAX && seen_zero == UINT64_MAX);
}
