// SPDX-License-Identifier: MIT
// layouts.c: every kind of layout: which words of an object are slots, and how they decode.

#include <criterion/criterion.h>
#include "tests/gc/fake.h"

enum { MANY = 300 }; // objects per kind: several pages

// A byte object whose contents are known by `seed`.
static void *leaf_make(fake *f, unsigned seed) {
  void *bytes = fake_array(f, &type_byte, 40);
  EXPECT(bytes != NULL);
  fake_fill(bytes, 40, seed);
  return bytes;
}

// ---- Pointer map.

typedef struct sparse {
  long before;
  void *first;
  char between[40];
  void *second;
  long after;
} sparse;
static const size_t sparse_offsets[] = {offsetof(sparse, first), offsetof(sparse, second)};
static fake_type type_sparse = {
    {.name = "sparse", .size = sizeof(sparse), .layout = GC_LAYOUT_MAP, .count = 2, .offsets = sparse_offsets}, 0};

ON_ALL_BACK_ENDS(layouts, a_pointer_map_names_the_slots_and_leaves_the_rest_alone) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  for (unsigned i = 0; i < MANY; i++) {
    sparse *s = fake_new(f, &type_sparse);
    f->root[i] = s;
    void *first = leaf_make(f, i);
    s->first = first;
    s->second = leaf_make(f, i + 1);
    s->before = (long)(uintptr_t)first; // looks like a pointer, and is none
    s->after = (long)i;
    fake_fill(s->between, sizeof s->between, i);
  }
  for (int cycle = 0; cycle < 4; cycle++) {
    long before[MANY];
    for (unsigned i = 0; i < MANY; i++) {
      before[i] = ((sparse *)f->root[i])->before;
    }
    fake_flip(f);
    for (unsigned i = 0; i < MANY; i += 7) { // some by trap, the rest in the background
      sparse *s = f->root[i];
      cr_assert(fake_filled(s->first, 40, i));
    }
    fake_finish(f);
    for (unsigned i = 0; i < MANY; i++) {
      sparse *s = f->root[i];
      cr_assert(fake_filled(s->first, 40, i) && fake_filled(s->second, 40, i + 1));
      cr_assert(s->before == before[i] && s->after == (long)i && fake_filled(s->between, sizeof s->between, i));
    }
  }
  fake_close(f);
}

// ---- Dense, and arrays.

typedef struct dense {
  struct dense *slot[6];
} dense;
static const size_t dense_offsets[] = {0, 8, 16, 24, 32, 40};
static fake_type type_dense = {
    {.name = "dense", .size = sizeof(dense), .layout = GC_LAYOUT_DENSE, .count = 6, .offsets = dense_offsets}, 0};

ON_ALL_BACK_ENDS(layouts, every_word_of_a_dense_object_is_a_slot) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  dense *d = f->root[0] = fake_new(f, &type_dense);
  for (unsigned i = 0; i < 6; i++) {
    dense *below = fake_new(f, &type_dense);
    d->slot[i] = below;
    for (unsigned j = 0; j < 6; j++) {
      below->slot[j] = leaf_make(f, i * 6 + j);
    }
  }
  for (int cycle = 0; cycle < 4; cycle++) {
    fake_cycle(f);
    d = f->root[0];
    for (unsigned i = 0; i < 36; i++) {
      cr_assert(fake_filled(d->slot[i / 6]->slot[i % 6], 40, i));
    }
  }
  fake_close(f);
}

ON_ALL_BACK_ENDS(layouts, arrays_of_pointers_of_every_length_keep_length_and_elements) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  static const size_t lengths[] = {0, 1, 2, 3, 61, 62, 63, 64, 65, 500, 510, 512, 2000, 4094, 4095, 4096, 5000, 20000};
  enum { LENGTHS = sizeof lengths / sizeof lengths[0] };
  for (size_t i = 0; i < LENGTHS; i++) {
    f->root[i] = fake_array(f, &type_pointer, lengths[i]);
    EXPECT(f->root[i] != NULL);
    for (size_t j = 0; j < lengths[i]; j += 97) {
      ((void **)f->root[i])[j] = leaf_make(f, (unsigned)(i + j));
    }
  }
  for (int cycle = 0; cycle < 4; cycle++) {
    fake_flip(f);
    if (cycle % 2) { // from the last to the first, so that traps come before the background
      for (size_t i = LENGTHS; i-- > 0;) {
        for (size_t j = 0; j < lengths[i]; j += 97) {
          cr_assert(fake_filled(((void **)f->root[i])[j], 40, (unsigned)(i + j)));
        }
      }
    }
    fake_finish(f);
    for (size_t i = 0; i < LENGTHS; i++) {
      cr_assert(gc_cell_length(fake_cell(f, f->root[i])) == lengths[i]);
      for (size_t j = 0; j < lengths[i]; j++) {
        void *element = ((void **)f->root[i])[j];
        cr_assert(j % 97 == 0 ? fake_filled(element, 40, (unsigned)(i + j)) : element == NULL);
      }
    }
  }
  fake_close(f);
}

typedef struct element {
  long number;
  void *slot;
  long other;
} element;
static const size_t element_offsets[] = {offsetof(element, slot)};
static fake_type type_element = {
    {.name = "element", .size = sizeof(element), .layout = GC_LAYOUT_MAP, .count = 1, .offsets = element_offsets}, 0};

ON_ALL_BACK_ENDS(layouts, arrays_of_structs_have_slots_in_every_element_and_may_cross_pages) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  // 24 bytes per element: elements lie across the ends of pages. 3000 elements are a large object.
  static const size_t lengths[] = {1, 5, 20, 170, 171, 400, 1300, 3000};
  enum { LENGTHS = sizeof lengths / sizeof lengths[0] };
  for (size_t i = 0; i < LENGTHS; i++) {
    f->root[i] = fake_array(f, &type_element, lengths[i]);
    for (size_t j = 0; j < lengths[i]; j++) {
      element *e = (element *)f->root[i] + j;
      void *leaf = leaf_make(f, (unsigned)j);
      *e = (element){(long)j, leaf, (long)(uintptr_t)leaf};
    }
  }
  for (int cycle = 0; cycle < 4; cycle++) {
    fake_flip(f);
    for (size_t i = 0; i < LENGTHS && cycle % 2; i++) {
      cr_assert(fake_filled(((element *)f->root[i])[lengths[i] - 1].slot, 40, (unsigned)lengths[i] - 1));
    }
    fake_finish(f);
    for (size_t i = 0; i < LENGTHS; i++) {
      for (size_t j = 0; j < lengths[i]; j++) {
        element *e = (element *)f->root[i] + j;
        cr_assert(e->number == (long)j && fake_filled(e->slot, 40, (unsigned)j));
      }
    }
  }
  fake_close(f);
}

// ---- Arrays with a part of their own before the elements.

typedef struct flexible {
  long number;
  void *owner;
  uint64_t plain_tagged; // holds a plain pointer, though the type's words are tagged
  uint64_t tagged;
  element at[];
} flexible;
static const size_t flexible_fixed[] = {offsetof(flexible, owner), offsetof(flexible, plain_tagged) + GC_FIXED_PLAIN, offsetof(flexible, tagged)};
static fake_type type_flexible = {{.name = "flexible", .size = sizeof(element), .layout = GC_LAYOUT_FLEXIBLE, .count = 1, .offsets = element_offsets,
                                   .fixed = sizeof(flexible), .fixed_count = 1, .fixed_offsets = flexible_fixed},
                                  0};
// All words of which are pointers with tag 1, but for one in the fixed part.
static const size_t word_offset[] = {0};
static const size_t tagged_fixed[] = {offsetof(flexible, plain_tagged) + GC_FIXED_PLAIN, offsetof(flexible, tagged)};
static fake_type type_tagged_flexible = {{.name = "tagged flexible", .size = 8, .layout = GC_LAYOUT_FLEXIBLE, .tagged = true, .low_tags = 1 << 1, .count = 1,
                                          .offsets = word_offset, .fixed = sizeof(flexible), .fixed_count = 2, .fixed_offsets = tagged_fixed},
                                         0};
static const size_t dense_fixed[] = {offsetof(flexible, owner)};
static fake_type type_dense_flexible = {{.name = "dense flexible", .size = 8, .layout = GC_LAYOUT_FLEXIBLE, .count = 1, .offsets = word_offset, .dense = true,
                                         .fixed = sizeof(flexible), .fixed_count = 1, .fixed_offsets = dense_fixed},
                                        0};

static const size_t flexible_lengths[] = {0, 1, 5, 19, 20, 21, 59, 168, 169, 170, 171, 400, 508, 1300, 1361, 1362, 1363, 3000, 20000};
enum { FLEXIBLES = sizeof flexible_lengths / sizeof flexible_lengths[0] };

static void flexibles_fill(fake *f) {
  for (size_t i = 0; i < FLEXIBLES; i++) {
    size_t n = flexible_lengths[i];
    flexible *structs = f->root[3 * i] = fake_array(f, &type_flexible, n), *dense = f->root[3 * i + 1] = fake_array(f, &type_dense_flexible, n);
    flexible *tagged = f->root[3 * i + 2] = fake_array(f, &type_tagged_flexible, n);
    EXPECT(structs != NULL && dense != NULL && tagged != NULL);
    void *leaf = leaf_make(f, (unsigned)n);
    structs->owner = dense->owner = leaf;
    structs->number = dense->number = (long)(uintptr_t)leaf; // looks like a pointer
    tagged->owner = NULL;
    tagged->plain_tagged = (uintptr_t)leaf;
    tagged->tagged = (uintptr_t)leaf | 1;
    for (size_t j = 0; j < n; j += 1 + j / 40) {
      leaf = leaf_make(f, (unsigned)j);
      structs->at[j] = (element){(long)j, leaf, (long)(uintptr_t)leaf};
      ((void **)dense->at)[j] = leaf;
      ((uintptr_t *)tagged->at)[j] = (uintptr_t)leaf | 1;
    }
  }
}

static void flexible_check(fake *f, size_t i) {
  size_t n = flexible_lengths[i];
  flexible *structs = f->root[3 * i], *dense = f->root[3 * i + 1], *tagged = f->root[3 * i + 2];
  cr_assert(fake_filled(structs->owner, 40, (unsigned)n) && dense->owner == structs->owner && dense->number == structs->number);
  cr_assert(tagged->plain_tagged == (uintptr_t)structs->owner && tagged->tagged == ((uintptr_t)structs->owner | 1));
  for (size_t j = 0; j < n; j += 1 + j / 40) {
    cr_assert(structs->at[j].number == (long)j && fake_filled(structs->at[j].slot, 40, (unsigned)j));
    cr_assert(((void **)dense->at)[j] == structs->at[j].slot && ((uintptr_t *)tagged->at)[j] == ((uintptr_t)structs->at[j].slot | 1));
  }
}

ON_ALL_BACK_ENDS(layouts, arrays_with_a_part_of_their_own_have_slots_there_and_in_their_elements) {
  for (int young = 0; young < 2; young++) {
    OPEN_OR_SKIP(f, .back_end = back_end, .limit = 128 << 20, .nursery = young ? 4 << 20 : 0, .verify = young);
    flexibles_fill(f);
    for (int cycle = 0; cycle < 5; cycle++) {
      if (young && cycle % 2) {
        fake_minor(f);
      }
      fake_flip(f);
      for (size_t i = FLEXIBLES; i-- > 0 && cycle % 2 == 0;) {
        flexible_check(f, i); // by traps
      }
      fake_finish(f);
      for (size_t i = 0; i < FLEXIBLES; i++) {
        flexible_check(f, i);
      }
    }
    fake_close(f);
  }
}

// ---- Tagged words.

typedef struct cell {
  uint64_t car, cdr, raw;
} cell;
static const size_t cell_offsets[] = {0, 8};
// Pointers carry tag 1 or 3; integers are even.
static fake_type type_low = {{.name = "low", .size = sizeof(cell), .layout = GC_LAYOUT_TAGGED, .tagged = true,
                              .low_tags = 1 << 1 | 1 << 3, .count = 2, .offsets = cell_offsets},
                             0};

ON_ALL_BACK_ENDS(layouts, low_tag_bits_say_what_is_a_pointer_and_stay_when_the_object_moves) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  for (unsigned i = 0; i < MANY; i++) {
    cell *c = fake_new(f, &type_low);
    f->root[i] = c;
    void *leaf = leaf_make(f, i);
    c->car = (uintptr_t)leaf | 1;
    c->cdr = (uintptr_t)leaf | 3;
    c->raw = (uintptr_t)leaf | 1;
    cell *other = fake_new(f, &type_low);
    f->root[MANY + i] = other;
    other->car = (uintptr_t)leaf;     // tag 0: an integer that looks like a pointer
    other->cdr = (uintptr_t)leaf | 5; // a tag that is no pointer's
  }
  for (int cycle = 0; cycle < 4; cycle++) {
    uint64_t integers[MANY][3];
    for (unsigned i = 0; i < MANY; i++) {
      cell *other = f->root[MANY + i];
      integers[i][0] = other->car;
      integers[i][1] = other->cdr;
      integers[i][2] = ((cell *)f->root[i])->raw;
    }
    fake_cycle(f);
    for (unsigned i = 0; i < MANY; i++) {
      cell *c = f->root[i], *other = f->root[MANY + i];
      cr_assert((c->car & 7) == 1 && (c->cdr & 7) == 3 && (c->car ^ c->cdr) == 2);
      cr_assert(fake_filled((void *)(c->car & ~(uint64_t)7), 40, i));
      cr_assert(other->car == integers[i][0] && other->cdr == integers[i][1] && c->raw == integers[i][2]);
    }
  }
  fake_close(f);
}

// NaN boxing: pointers are in [0xfff8, 0xffff] << 48 with low tag 0; everything else is a double or an integer.
static fake_type type_nan = {{.name = "nan", .size = sizeof(cell), .layout = GC_LAYOUT_TAGGED, .tagged = true,
                              .low_tags = 1, .high_min = 0xfff8, .high_max = 0xffff, .count = 2, .offsets = cell_offsets},
                             0};

static uint64_t bits_of(double d) {
  uint64_t bits;
  memcpy(&bits, &d, sizeof bits);
  return bits;
}

ON_ALL_BACK_ENDS(layouts, nan_boxed_words_keep_their_high_bits_and_doubles_are_left_alone) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  static const uint64_t high[] = {0xfff8, 0xfffa, 0xffff};
  for (unsigned i = 0; i < MANY; i++) {
    cell *c = fake_new(f, &type_nan);
    f->root[i] = c;
    void *leaf = leaf_make(f, i);
    c->car = (uintptr_t)leaf | high[i % 3] << 48;
    c->cdr = bits_of(-1.5 * i);
    cell *bare = fake_new(f, &type_nan);
    f->root[MANY + i] = bare;
    bare->car = (uintptr_t)leaf;                  // without the high bits: a denormal number
    bare->cdr = (uintptr_t)leaf | 0x7ff8ull << 48; // a quiet NaN that is no pointer
  }
  for (int cycle = 0; cycle < 4; cycle++) {
    uint64_t bare[MANY][2];
    for (unsigned i = 0; i < MANY; i++) {
      memcpy(bare[i], f->root[MANY + i], sizeof bare[i]);
    }
    fake_cycle(f);
    for (unsigned i = 0; i < MANY; i++) {
      cell *c = f->root[i];
      cr_assert(c->car >> 48 == high[i % 3]);
      cr_assert(fake_filled((void *)(c->car & 0xffffffffffffull), 40, i));
      cr_assert(c->cdr == bits_of(-1.5 * i));
      cr_assert(memcmp(bare[i], f->root[MANY + i], sizeof bare[i]) == 0);
    }
  }
  fake_close(f);
}

// ---- Trace callbacks.

// A frame: `count` says how many of its words are slots; they are the odd ones.
typedef struct frame {
  long count;
  void *word[63];
} frame;

static unsigned traced;      // calls
static size_t widest_range;  // of slots wanted

static void frame_trace(const void *object, const void *alias, size_t length, size_t slots_base, size_t slots_limit,
                        gc_visitor *visitor) {
  traced++;
  widest_range = slots_limit - slots_base > widest_range ? slots_limit - slots_base : widest_range;
  EXPECT(object != alias && slots_base <= slots_limit && slots_limit <= length * sizeof(frame));
  for (size_t i = 0; i < length; i++) {
    const frame *at = (const frame *)alias + i;
    for (long w = 1; w < at->count; w += 2) {
      gc_visit(visitor, i * sizeof(frame) + offsetof(frame, word) + (size_t)w * 8);
    }
  }
}

static fake_type type_frame = {
    {.name = "frame", .size = sizeof(frame), .layout = GC_LAYOUT_TRACE, .trace = frame_trace}, 0};

static void frame_make(fake *f, frame *at, unsigned seed) {
  at->count = 10 + seed % 50;
  for (unsigned w = 0; w < 63; w++) {
    void *leaf = leaf_make(f, seed + w);
    at->word[w] = w % 2 && w < at->count ? leaf : (void *)((uintptr_t)leaf ^ 0x5555);
  }
}

static bool frame_check(frame *at, unsigned seed) {
  bool same = at->count == 10 + seed % 50;
  for (unsigned w = 1; w < at->count && same; w += 2) {
    same = fake_filled(at->word[w], 40, seed + w);
  }
  return same;
}

ON_ALL_BACK_ENDS(layouts, a_trace_callback_reports_the_slots_of_an_object) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  traced = 0;
  for (unsigned i = 0; i < 40; i++) {
    f->root[i] = fake_new(f, &type_frame);
    frame_make(f, f->root[i], i);
  }
  for (int cycle = 0; cycle < 4; cycle++) {
    fake_cycle(f);
    for (unsigned i = 0; i < 40; i++) {
      cr_assert(frame_check(f->root[i], i));
    }
  }
  cr_assert_geq(traced, 160);
  fake_close(f);
}

ON_ALL_BACK_ENDS(layouts, a_trace_callback_gets_an_arrays_length_and_the_range_of_slots_that_is_wanted) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  enum { SMALL = 20, LARGE = 100 }; // 10 KiB, and 51 KiB: large
  frame *small = f->root[0] = fake_array(f, &type_frame, SMALL);
  frame *large = f->root[1] = fake_array(f, &type_frame, LARGE);
  for (unsigned i = 0; i < LARGE; i++) {
    frame_make(f, &large[i], i);
    if (i < SMALL) {
      frame_make(f, &small[i], i);
    }
  }
  for (int cycle = 0; cycle < 4; cycle++) {
    fake_flip(f);
    widest_range = 0;
    if (cycle % 2 && f->gc->region->traps) {
      cr_assert(frame_check((frame *)f->root[1] + 50, 50));
      cr_assert(widest_range > 0 && widest_range <= 4096, "a page wants the slots of a page, not %zu bytes", widest_range);
    }
    fake_finish(f);
    for (unsigned i = 0; i < LARGE; i++) {
      cr_assert(frame_check((frame *)f->root[1] + i, i));
      cr_assert(i >= SMALL || frame_check((frame *)f->root[0] + i, i));
    }
  }
  fake_close(f);
}

// ---- Leaves.

ON_ALL_BACK_ENDS(layouts, what_a_leaf_object_holds_keeps_nothing_alive_and_its_page_is_never_veiled) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  void **leaf = f->root[0] = fake_array(f, &type_byte, 64);
  for (unsigned i = 0; i < MANY; i++) {
    leaf[i % 8] = fake_new(f, &type_pair);
  }
  void *held = leaf[0];
  fake_flip(f);
  cr_assert(!fake_is_veiled(f, f->root[0]));
  cr_assert_eq(((void **)f->root[0])[0], held);
  cr_assert_eq(f->gc->region->traps_count, 0);
  fake_finish(f);
  cr_assert_eq(((void **)f->root[0])[0], held);
  cr_assert_eq(f->gc->copied_objects, 1, "%lu objects copied", (unsigned long)f->gc->copied_objects);
  fake_close(f);
}

// ---- Null and foreign words.

ON_ALL_BACK_ENDS(layouts, slots_that_hold_null_or_an_address_outside_the_heap_are_left_alone) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  static long outside;
  pair *p = f->root[0] = fake_new(f, &type_pair);
  p->left = (pair *)&outside;
  for (int cycle = 0; cycle < 4; cycle++) {
    fake_cycle(f);
    p = f->root[0];
    cr_assert_eq((void *)p->left, (void *)&outside);
    cr_assert_null(p->right);
  }
  fake_close(f);
}
