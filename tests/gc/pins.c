// SPDX-License-Identifier: MIT
// pins.c: ambiguous roots: what they point to or into stays, what lies beside it does not (gc.pins).

#include <criterion/criterion.h>
#include "tests/gc/fake.h"

// A full page of pairs from its start, all in precise roots.
static size_t page_of_pairs(fake *f, size_t slot) {
  fake_buffers_drop(f);
  size_t count = 0;
  do {
    pair *p = fake_new(f, &type_pair);
    p->key = (long)count;
    f->root[slot + count++] = p;
  } while (f->mutator[0].limit[0] - f->mutator[0].free[0] >= 48);
  fake_buffers_drop(f);
  return count;
}

typedef struct where {
  const char *name;
  long offset; // of the word, from the object's start
  bool pins;
} where;

ON_ALL_BACK_ENDS(pins, a_word_at_the_start_inside_or_one_past_the_end_pins_an_object) {
  static const where words[] = {
      {"the start", 0, true},       {"the second byte", 1, true}, {"the middle", 16, true},
      {"the last byte", 31, true},  {"one past the end", 32, true}, {"its header", -8, true},
  };
  OPEN_OR_SKIP(f, .back_end = back_end);
  for (size_t w = 0; w < sizeof words / sizeof words[0]; w++) {
    memset(f->root, 0, sizeof f->root);
    size_t count = page_of_pairs(f, 0);
    for (size_t i = 0; i < count; i += 9) { // the first, some others
      memset(f->word, 0, sizeof f->word);
      void *object = f->root[i];
      void *neighbour = f->root[(i + 1) % count];
      f->word[100] = (uintptr_t)object + (uintptr_t)words[w].offset;
      fake_cycle(f);
      cr_assert((f->root[i] == object) == words[w].pins, "%s of object %zu", words[w].name, i);
      cr_assert_neq(f->root[(i + 1) % count], neighbour);
      for (size_t j = 0; j < count; j++) {
        cr_assert_eq(((pair *)f->root[j])->key, (long)j);
      }
    }
  }
  fake_close(f);
}

// A cell's own address is one past the end of the cell before, and what a register holds while a new object has its header and
// its address has not been returned yet: both stay.
ON_ALL_BACK_ENDS(pins, a_word_between_two_cells_pins_both) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  page_of_pairs(f, 0);
  void *before = f->root[3], *behind = f->root[4], *beyond = f->root[5];
  cr_assert_eq((char *)behind - (char *)before, 48);
  f->word[0] = (uintptr_t)before + 40;
  fake_cycle(f);
  cr_assert_eq(f->root[3], before);
  cr_assert_eq(f->root[4], behind);
  cr_assert_neq(f->root[5], beyond);
  fake_close(f);
}

ON_ALL_BACK_ENDS(pins, arrays_medium_and_large_objects_are_pinned_from_anywhere_inside) {
  static const size_t lengths[] = {1, 100, 505, 600, 4000, 5000, 20000, 32000, 33000, 70000, 200000};
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = (size_t)64 << 20);
  for (size_t k = 0; k < sizeof lengths / sizeof lengths[0]; k++) {
    for (int leaf = 0; leaf < 2; leaf++) {
      for (int at = 0; at < 4; at++) {
        size_t bytes = leaf ? lengths[k] : lengths[k] / 8 * 8;
        char *object = f->root[0] = fake_array(f, leaf ? &type_byte : &type_pointer, leaf ? bytes : bytes / 8);
        EXPECT(object != NULL);
        if (leaf) {
          fake_fill(object, bytes, 3);
        }
        size_t offset = at == 0 ? 0 : at == 1 ? bytes / 2 : at == 2 ? bytes - (bytes > 0) : bytes;
        f->word[7] = (uintptr_t)object + offset;
        fake_cycle(f);
        fake_cycle(f);
        cr_assert_eq(f->root[0], (void *)object, "%zu bytes, held at %zu", bytes, offset);
        cr_assert(!leaf || fake_filled(object, bytes, 3));
        // Held by the word alone.
        f->root[0] = NULL;
        fake_cycle(f);
        uint64_t header = fake_object_header(f, object);
        cr_assert(header != 0 && gc_cell_length(fake_cell(f, object)) == (leaf ? bytes : bytes / 8));
        cr_assert(!leaf || fake_filled(object, bytes, 3));
        f->word[7] = 0;
      }
    }
  }
  fake_close(f);
}

ON_ALL_BACK_ENDS(pins, a_pinned_object_keeps_what_it_points_to_and_its_slots_are_forwarded) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  pair *held = fake_new(f, &type_pair);
  held->left = fake_new(f, &type_pair);
  held->left->key = 1;
  held->left->left = fake_new(f, &type_pair);
  held->left->left->key = 2;
  held->right = held;
  f->word[0] = (uintptr_t)held;
  for (int cycle = 0; cycle < 5; cycle++) {
    pair *moved = held->left;
    fake_flip(f);
    cr_assert(!fake_is_veiled(f, held), "it was scanned in the pause");
    cr_assert_neq((void *)held->left, (void *)moved);
    fake_finish(f);
    cr_assert(held->left->key == 1 && held->left->left->key == 2 && held->right == held);
  }
  fake_close(f);
}

ON_ALL_BACK_ENDS(pins, a_precise_root_to_a_pinned_object_stays_as_it_is) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  page_of_pairs(f, 0);
  void *held = f->root[5];
  f->word[0] = (uintptr_t)held;
  f->root[1000] = held;
  fake_cycle(f);
  cr_assert(f->root[5] == held && f->root[1000] == held);
  cr_assert_eq(f->gc->pinned_objects, 1);
  fake_close(f);
}

ON_ALL_BACK_ENDS(pins, the_neighbours_of_a_pinned_object_die_and_the_space_is_used_again) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = (size_t)4 << 20);
  // One object in each of many pages is held: if its page stayed whole the heap would soon be full.
  size_t held = 0;
  while (held < 400) {
    fake_buffers_drop(f);
    pair *first = fake_new(f, &type_pair);
    EXPECT(first != NULL);
    size_t rest = 0;
    while (f->mutator[0].limit[0] - f->mutator[0].free[0] >= 48) {
      EXPECT(fake_new(f, &type_pair) != NULL);
      rest++;
    }
    first->key = (long)held;
    f->word[held++] = (uintptr_t)first;
    if (held % 100 == 0) {
      fake_cycle(f);
    }
  }
  fake_buffers_drop(f);
  fake_cycle(f);
  size_t used = gc_used_bytes(f->gc);
  for (size_t i = 0; i < used / 60; i++) { // four fifths of the memory is gaps
    EXPECT(fake_new(f, &type_pair) != NULL);
  }
  cr_assert_eq(gc_used_bytes(f->gc), used, "%zu before, %zu after", used, gc_used_bytes(f->gc));
  for (size_t i = 0; i < held; i++) {
    cr_assert_eq(((pair *)f->word[i])->key, (long)i);
  }
  fake_close(f);
}

ON_ALL_BACK_ENDS(pins, words_that_point_nowhere_pin_nothing) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  size_t count = page_of_pairs(f, 0);
  uintptr_t page = (uintptr_t)f->root[0] & ~(uintptr_t)4095;
  f->root[0] = NULL; // a hole at the start of the page, after the first cycle in which others are pinned
  size_t w = 0;
  f->word[w++] = f->gc->base;                      // the heap's first byte
  f->word[w++] = f->gc->base + f->gc->span;        // one past its last
  f->word[w++] = f->gc->base + f->gc->span - 1;
  f->word[w++] = f->gc->base - 1;
  f->word[w++] = page;                             // the page's first 8 bytes belong to no cell
  f->word[w++] = page + 1;
  f->word[w++] = f->gc->base + ((uintptr_t)f->gc->small_blocks << GC_BLOCK_SHIFT); // the large zone
  f->word[w++] = f->gc->base + ((uintptr_t)(f->gc->blocks - 1) << GC_BLOCK_SHIFT) + 77;
  f->word[w++] = f->gc->base + 5 * GC_BLOCK + 123; // a block that was never used
  f->word[w++] = 1;
  f->word[w++] = ~(uintptr_t)0;
  fake_flip(f);
  cr_assert_eq(f->gc->pinned_objects, 0);
  fake_finish(f);
  for (size_t i = 1; i < count; i++) {
    cr_assert_eq(((pair *)f->root[i])->key, (long)i);
  }
  fake_close(f);
}

ON_ALL_BACK_ENDS(pins, a_word_into_the_free_space_between_objects_pins_nothing) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  size_t count = page_of_pairs(f, 0);
  pair *first = f->root[0], *last = f->root[count - 1];
  memset(f->root, 0, sizeof f->root);
  f->word[0] = (uintptr_t)first;
  f->word[1] = (uintptr_t)last;
  fake_cycle(f);
  for (uintptr_t at = (uintptr_t)first + 48; at < (uintptr_t)last - 8; at += 8) {
    f->word[2 + (at - (uintptr_t)first) / 8] = at;
  }
  fake_flip(f);
  cr_assert_eq(f->gc->pinned_objects, 2);
  fake_finish(f);
  fake_close(f);
}

ON_ALL_BACK_ENDS(pins, a_stale_word_to_a_dead_object_that_was_freed_is_harmless) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = (size_t)8 << 20);
  srand(7);
  for (int cycle = 0; cycle < 60; cycle++) {
    for (int i = 0; i < 3000; i++) {
      pair *p = fake_new(f, &type_pair);
      EXPECT(p != NULL);
      p->left = f->root[i % 50];
      if (rand() % 40 == 0) {
        f->root[i % 50] = p;
        p->left = NULL;
      }
      if (rand() % 100 == 0) {
        f->word[rand() % 200] = (uintptr_t)p + (uintptr_t)(rand() % 41); // words stay, objects die
      }
      if (rand() % 500 == 0) {
        f->word[rand() % 200] = 0;
      }
    }
    fake_cycle(f);
  }
  fake_close(f);
}

ON_ALL_BACK_ENDS(pins, a_medium_object_across_pages_is_pinned_while_its_neighbours_on_both_ends_move) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  for (int i = 0; i < 30; i++) {
    f->root[i] = fake_array(f, &type_pointer, 700); // 5616 bytes: most cross a page
    ((void **)f->root[i])[0] = f->root[i];
    ((void **)f->root[i])[699] = f->root[i];
  }
  void *before[30];
  memcpy(before, f->root, sizeof before);
  for (int i = 3; i < 30; i += 4) {
    f->word[i] = (uintptr_t)f->root[i] + 5000;
  }
  for (int cycle = 0; cycle < 4; cycle++) {
    fake_cycle(f);
    for (int i = 0; i < 30; i++) {
      cr_assert((f->root[i] == before[i]) == (i % 4 == 3) || cycle > 0);
      cr_assert(i % 4 != 3 || f->root[i] == before[i]);
      cr_assert(((void **)f->root[i])[0] == f->root[i] && ((void **)f->root[i])[699] == f->root[i]);
      cr_assert_eq(gc_cell_length(fake_cell(f, f->root[i])), 700);
    }
  }
  fake_close(f);
}

ON_ALL_BACK_ENDS(pins, gc_find_cell_finds_every_object_from_every_address) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  static const size_t lengths[] = {0, 1, 5, 30, 62, 63, 200, 511, 600, 2000, 4000, 6000};
  enum { LENGTHS = sizeof lengths / sizeof lengths[0] };
  for (size_t i = 0; i < 10 * LENGTHS; i++) {
    f->root[i] = fake_array(f, &type_pointer, lengths[i % LENGTHS]);
  }
  for (int round = 0; round < 2; round++) { // where they were born, and where they were copied
    for (size_t i = 0; i < 10 * LENGTHS; i++) {
      gc_cell wanted = fake_cell(f, f->root[i]);
      size_t bytes = gc_cell_size(wanted, gc_header_load(wanted));
      uintptr_t base = gc_view_of(f->gc, wanted.alias);
      for (size_t at = 1; at <= bytes; at += at < 600 ? 1 : 97) {
        gc_cell found;
        uint64_t header;
        cr_assert(gc_find_cell(f->gc, base + at, &found, &header), "object %zu of %zu bytes at %zu", i, bytes, at);
        cr_assert_eq((void *)found.alias, (void *)wanted.alias);
        cr_assert_eq(header, gc_header_load(wanted));
      }
    }
    fake_cycle(f);
  }
  fake_close(f);
}
