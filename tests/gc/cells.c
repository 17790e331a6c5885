// SPDX-License-Identifier: MIT
// cells.c: headers, alignment, and objects of every size through cycles.

#include <criterion/criterion.h>
#include "tests/gc/fake.h"

Test(cells, a_header_keeps_type_kind_epoch_and_peer_apart) {
  for (unsigned type = GC_FIRST_TYPE; type < GC_TYPES; type += 4093) {
    for (int kind = 0; kind < 4; kind++) {
      uint64_t header = gc_header_make(type, kind & 1, kind & 2);
      cr_assert_neq(header, 0);
      cr_assert_eq(gc_header_type(header), type);
      cr_assert_eq((header & GC_ARRAY) != 0, (kind & 1) != 0);
      cr_assert_eq((header & GC_LEAF) != 0, (kind & 2) != 0);
      cr_assert_eq(gc_header_epoch(header), 0);
      cr_assert_eq(header & GC_PEER_MASK, 0);
      uint64_t done = header | GC_PEER_MASK | GC_EPOCH_MASK;
      cr_assert_eq(gc_header_type(done), type);
      cr_assert_eq(gc_header_epoch(done), 3);
    }
  }
}

Test(cells, a_cell_is_its_header_its_length_and_its_data_rounded_up_to_16) {
  cr_assert_eq(gc_round_cell(8), 16);
  cr_assert_eq(gc_round_cell(16), 16);
  cr_assert_eq(gc_round_cell(17), 32);
  cr_assert_eq(gc_header_bytes(gc_header_make(2, false, false)), 8);
  cr_assert_eq(gc_header_bytes(gc_header_make(2, true, false)), 16);
}

Test(cells, a_type_id_is_unique_and_not_reserved) {
  unsigned a = (fake_header(&type_pair, false), type_pair.id);
  unsigned b = (fake_header(&type_byte, true), type_byte.id);
  cr_assert(a >= GC_FIRST_TYPE && b >= GC_FIRST_TYPE && a != b);
}

ON_ALL_BACK_ENDS(cells, objects_are_aligned_to_16_and_arrays_stand_at_8_modulo_16) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  for (size_t i = 0; i < 2000; i++) {
    f->root[2 * i % FAKE_ROOTS] = fake_new(f, &type_pair);
    f->root[(2 * i + 1) % FAKE_ROOTS] = fake_array(f, i % 2 ? &type_byte : &type_pointer, i % 600);
  }
  fake_cycle(f);
  for (size_t i = 0; i < 4000; i += 2) {
    cr_assert_eq((uintptr_t)f->root[i] % 16, 0);
    cr_assert_eq((uintptr_t)f->root[i + 1] % 16, 8);
  }
  fake_close(f);
}

// ---- Every size. The sizes come in slices, so that a small heap holds a slice of both kinds twice over.

enum { SIZES = 40000, SLICE = 2500 };

static void sizes_survive(const char *back_end, size_t granule) {
  fake *f = fake_open((fake_options){.back_end = back_end, .granule = granule, .limit = (size_t)64 << 20});
  if (f == NULL) {
    cr_skip_test("the back end does not work here");
  }
  for (size_t base = 0; base < SIZES; base += SLICE) {
    size_t step = base < SLICE ? 1 : 61; // all small sizes, a sample of the others
    size_t count = 0;
    memset(f->root, 0, sizeof f->root);
    for (size_t size = base; size <= base + SLICE; size += step, count++) {
      void *bytes = f->root[2 * count % FAKE_ROOTS] = fake_array(f, &type_byte, size);
      EXPECT(bytes != NULL);
      fake_fill(bytes, size, (unsigned)size);
      // The same size as an array of pointers, the last of which points to the bytes.
      void **pointers = f->root[(2 * count + 1) % FAKE_ROOTS] = fake_array(f, &type_pointer, size / 8);
      EXPECT(pointers != NULL);
      if (size >= 8) {
        pointers[size / 8 - 1] = bytes;
      }
      if (2 * count + 4 > FAKE_ROOTS) {
        count = 0; // the first of them become garbage
      }
    }
    for (int cycle = 0; cycle < 2; cycle++) {
      fake_flip(f);
      for (size_t i = 0; i < FAKE_ROOTS && cycle == 1; i += 34) { // some by trap
        size_t length = f->root[i] ? gc_cell_length(fake_cell(f, f->root[i])) : 0;
        cr_assert(f->root[i] == NULL || fake_filled(f->root[i], length, (unsigned)length));
      }
      fake_finish(f);
      for (size_t i = 0; i < FAKE_ROOTS; i += 2) {
        if (f->root[i] == NULL) {
          continue;
        }
        size_t length = gc_cell_length(fake_cell(f, f->root[i]));
        cr_assert(fake_filled(f->root[i], length, (unsigned)length), "%zu bytes", length);
        void **pointers = f->root[i + 1];
        cr_assert_eq(gc_cell_length(fake_cell(f, pointers)), length / 8);
        for (size_t j = 0; j < length / 8; j++) {
          cr_assert_eq(pointers[j], j + 1 == length / 8 ? f->root[i] : NULL);
        }
      }
    }
    while (gc_trim(f->gc)) { // as an idle scanner does
    }
  }
  fake_close(f);
}

ON_ALL_BACK_ENDS(cells, objects_of_every_size_survive_with_their_contents) { sizes_survive(back_end, 4096); }
ON_ALL_BACK_ENDS(cells, objects_of_every_size_survive_with_a_granule_of_16_KiB) { sizes_survive(back_end, 16384); }
ON_ALL_BACK_ENDS(cells, objects_of_every_size_survive_with_a_granule_of_64_KiB) { sizes_survive(back_end, 65536); }

// Single objects have no length word, so that their sizes have cells of their own.
ON_ALL_BACK_ENDS(cells, single_objects_around_the_limits_of_small_and_medium_survive) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  static const uint32_t sizes[] = {8,    16,   24,   488,  496,  504,  505,   512,   520,   4064,  4072,  4080,
                                   4088, 4096, 4104, 8184, 8192, 32744, 32752, 32760, 32761, 32768, 40000, 65520, 65528};
  enum { KINDS = sizeof sizes / sizeof sizes[0] };
  static fake_type types[KINDS];
  for (size_t k = 0; k < KINDS; k++) {
    types[k] = (fake_type){{.name = "sized", .size = sizes[k], .layout = GC_LAYOUT_LEAF}, 0};
    f->root[k] = fake_new(f, &types[k]);
    EXPECT(f->root[k] != NULL);
    cr_assert_eq((uintptr_t)f->root[k] % 16, 0);
    fake_fill(f->root[k], sizes[k], (unsigned)k);
  }
  for (int cycle = 0; cycle < 4; cycle++) {
    fake_cycle(f);
    for (size_t k = 0; k < KINDS; k++) {
      cr_assert(fake_filled(f->root[k], sizes[k], (unsigned)k), "%u bytes", sizes[k]);
    }
  }
  fake_close(f);
}

ON_ALL_BACK_ENDS(cells, memory_that_is_used_again_is_zero) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = (size_t)8 << 20);
  static const size_t sizes[] = {24, 100, 400, 600, 3000, 5000, 20000, 40000, 100000};
  for (int cycle = 0; cycle < 12; cycle++) {
    for (int i = 0; i < 20; i++) {
      for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        for (int leaf = 0; leaf < 2; leaf++) {
          size_t length = leaf ? sizes[k] : sizes[k] / 8;
          uint64_t *words = fake_array(f, leaf ? &type_byte : &type_pointer, length);
          if (words == NULL) {
            continue; // this cycle's share is used up
          }
          for (size_t w = 0; w < sizes[k] / 8; w++) {
            cr_assert_eq(words[w], 0, "word %zu of %zu bytes in cycle %d", w, sizes[k], cycle);
          }
          if (leaf) {
            memset(words, 0xff, sizes[k]);
          } else {
            words[0] = 1; // not a pointer into the heap
            words[sizes[k] / 8 - 1] = ~0ull;
          }
          if (i % 7 == 0) {
            f->word[(size_t)i * 2 + (size_t)leaf] = (uintptr_t)words; // some are pinned for a while
          }
        }
      }
    }
    fake_cycle(f);
  }
  fake_close(f);
}

ON_ALL_BACK_ENDS(cells, a_small_object_never_crosses_a_page) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  for (size_t i = 0; i < 4000; i++) {
    f->root[i] = fake_array(f, &type_pointer, 1 + i * 7 % 62);
  }
  fake_cycle(f);
  for (size_t i = 0; i < 4000; i++) {
    gc_cell cell = fake_cell(f, f->root[i]);
    size_t bytes = gc_cell_size(cell, gc_header_load(cell));
    uintptr_t base = gc_view_of(f->gc, cell.alias);
    cr_assert_eq(gc_page_at(f->gc, base), gc_page_at(f->gc, base + bytes - 1));
  }
  fake_close(f);
}
