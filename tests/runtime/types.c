// SPDX-License-Identifier: MIT
// types.c: descriptions of types, good and bad; lengths.

#include <criterion/criterion.h>
#include "tests/runtime/world.h"

static void allocate_of(veil_type type) {
  start((veil_options){.verify = 1});
  static veil_type kept;
  kept = type;
  veil_alloc_slow_(self, &kept);
}

static const size_t outside[] = {0, 16};
static const size_t misaligned[] = {4};
static const size_t last_half[] = {12};
static const size_t far_away[] = {SIZE_MAX - 7};

DIES(types, a_pointer_map_outside_its_object_is_noticed_and_the_type_named, "type crooked: pointer field 1 at offset 16") {
  allocate_of((veil_type){.name = "crooked", .size = 16, .pointers = outside, .pointer_count = 2});
}
DIES(types, a_pointer_that_is_not_aligned_is_noticed, "type crooked: pointer field 0 at offset 4") {
  allocate_of((veil_type){.name = "crooked", .size = 16, .pointers = misaligned, .pointer_count = 1});
}
DIES(types, a_pointer_that_is_half_outside_is_noticed, "type crooked: pointer field 0 at offset 12") {
  allocate_of((veil_type){.name = "crooked", .size = 16, .pointers = last_half, .pointer_count = 1});
}
DIES(types, an_offset_that_overflows_is_noticed, "type crooked: pointer field 0") {
  allocate_of((veil_type){.name = "crooked", .size = 16, .pointers = far_away, .pointer_count = 1});
}
DIES(types, a_size_beyond_all_measure_is_noticed, "type huge") {
  allocate_of((veil_type){.name = "huge", .size = (size_t)1 << 40});
}
DIES(types, a_type_without_a_name_is_noticed, "no name") { allocate_of((veil_type){.size = 16}); }
// The elements of an array of pointers would not be aligned.
static const size_t zero[] = {0};
DIES(types, pointers_in_an_object_whose_size_is_no_multiple_of_8_are_noticed, "type odd") {
  allocate_of((veil_type){.name = "odd", .size = 20, .pointers = zero, .pointer_count = 1});
}

// ---- Callbacks.

typedef struct bag {
  long count;
  void *slot[6];
} bag;

static void bag_trace(const void *object, const void *alias, size_t length, size_t base, size_t limit,
                      veil_visitor *visitor) {
  for (size_t i = 0; i < length; i++) {
    for (long s = 0; s < ((const bag *)alias)[i].count; s++) {
      veil_visit(visitor, i * sizeof(bag) + offsetof(bag, slot) + (size_t)s * 8);
    }
  }
}
VEIL_TYPE_TRACE(bag, bag_trace);

Test(types, objects_with_a_trace_callback_live_through_cycles, .timeout = 60) {
  start((veil_options){.verify = 1});
  bag *bags = veil_new_array(self, bag, 300);
  bag *single = veil_new(self, bag);
  single->count = 6;
  for (int i = 0; i < 300; i++) {
    bags[i].count = i % 7;
    for (int s = 0; s < 6; s++) {
      bags[i].slot[s] = veil_new(self, node);
      ((node *)bags[i].slot[s])->key = i * 6 + s;
      if (s >= i % 7) {
        bags[i].slot[s] = NULL;
      }
    }
    single->slot[i % 6] = &bags[0];
  }
  for (int s = 0; s < 6; s++) {
    single->slot[s] = bags;
  }
  for (int cycle = 0; cycle < 5; cycle++) {
    veil_collect_start(self);
    for (int i = 0; i < 300; i++) {
      for (int s = 0; s < i % 7 && s < 6; s++) {
        cr_assert_eq(((node *)bags[i].slot[s])->key, i * 6 + s);
      }
    }
    veil_collect(self);
  }
  end();
}

typedef struct prying {
  struct prying *next;
  long word;
} prying;

static void prying_trace(const void *object, const void *alias, size_t length, size_t base, size_t limit,
                         veil_visitor *visitor) {
  veil_visit(visitor, 0);
  *(long volatile *)&((prying *)object)->word += 1; // through the view
}
VEIL_TYPE_TRACE(prying, prying_trace);

static void prying_collect(const char *back_end) {
  heap = heap_open((veil_options){.back_end = back_end});
  self = veil_attach(heap);
  prying *list = NULL;
  for (int i = 0; i < 2000; i++) {
    prying *p = veil_new(self, prying);
    p->next = list;
    list = p;
  }
  for (int i = 0; i < 10; i++) {
    veil_collect(self);
  }
}

DIES(types, a_trace_callback_that_touches_the_view_is_noticed, "the view was touched") { prying_collect("mprotect"); }

// ---- Tagged words.

static const veil_encoding low = {.low_tags = 1 << 1};
typedef struct tagged {
  uintptr_t car, cdr;
} tagged;
VEIL_TYPE_TAGGED(tagged, &low, car, cdr);

Test(types, tagged_words_live_through_cycles, .timeout = 60) {
  start((veil_options){.verify = 1});
  uintptr_t list = 0;
  for (uintptr_t i = 0; i < 5000; i++) {
    tagged *t = veil_new(self, tagged);
    t->car = i << 1;
    t->cdr = list;
    list = (uintptr_t)t | 1;
  }
  tagged *first = (tagged *)(list - 1);
  for (int cycle = 0; cycle < 5; cycle++) {
    veil_collect(self);
    uintptr_t i = 5000;
    for (uintptr_t at = (uintptr_t)first | 1; at != 0; at = ((tagged *)(at - 1))->cdr) {
      cr_assert_eq(at & 7, 1);
      cr_assert_eq(((tagged *)(at - 1))->car, --i << 1);
    }
    cr_assert_eq(i, 0);
  }
  end();
}

// ---- Odd sizes.

typedef struct empty {
} empty;
VEIL_LEAF(empty);
typedef struct three {
  char bytes[3];
} three;
VEIL_LEAF(three);

Test(types, objects_of_no_or_few_bytes_are_distinct_and_survive, .timeout = 60) {
  start((veil_options){.verify = 1});
  void **table = veil_new_pointers(self, 2000);
  for (int i = 0; i < 1000; i++) {
    table[2 * i] = veil_new(self, empty);
    three *t = table[2 * i + 1] = veil_new(self, three);
    memset(t->bytes, i, 3);
    cr_assert_neq(table[2 * i], table[2 * i + 1]);
  }
  table[0] = veil_new_array(self, empty, 1000);
  table[2] = veil_new_array(self, three, 1000);
  veil_collect(self);
  for (int i = 0; i < 1000; i++) {
    cr_assert_eq(((three *)table[2 * i + 1])->bytes[2], (char)i);
  }
  cr_assert_eq(veil_length(heap, table[0]), 1000);
  cr_assert_eq(veil_length(heap, table[2]), 1000);
  end();
}

// ---- Lengths.

ON_ALL_BACK_ENDS(types, the_length_of_an_array_is_known_at_any_time) {
  heap = heap_open((veil_options){.back_end = back_end, .limit = 128 * MIB});
  if (heap == NULL) {
    cr_skip_test("the back end does not work here");
  }
  self = veil_attach(heap);
  enum { COUNT = 400 };
  void **table = veil_new_pointers(self, 2 * COUNT);
  for (size_t i = 0; i < COUNT; i++) {
    table[2 * i] = veil_new_bytes(self, i * i % 50000);
    table[2 * i + 1] = veil_new_pointers(self, i * i % 7000);
  }
  for (int cycle = 0; cycle < 4; cycle++) {
    cr_assert_eq(veil_length(heap, table), 2 * COUNT);
    for (size_t i = 0; i < COUNT; i++) {
      cr_assert_eq(veil_length(heap, table[2 * i]), i * i % 50000);
      cr_assert_eq(veil_length(heap, table[2 * i + 1]), i * i % 7000);
    }
    veil_collect_start(self);
  }
  node *single = veil_new(self, node);
  cr_assert_eq(veil_length(heap, single), 1);
  end();
}

DIES(types, the_length_of_what_is_not_in_the_heap_is_noticed, "veil_length") {
  start((veil_options){.verify = 1});
  veil_length(heap, &heap);
}

// The same description in two translation units is one type; a different layout of the same name is another.
static const size_t first_word[] = {0};
Test(types, descriptions_of_the_same_name_and_layout_share_an_id) {
  start((veil_options){.verify = 1});
  static veil_type a = {.name = "twin", .size = 16, .pointers = first_word, .pointer_count = 1};
  static veil_type b = {.name = "twin", .size = 16, .pointers = first_word, .pointer_count = 1};
  static veil_type c = {.name = "twin", .size = 24, .pointers = first_word, .pointer_count = 1};
  veil_alloc_slow_(self, &a);
  veil_alloc_slow_(self, &b);
  veil_alloc_slow_(self, &c);
  cr_assert_eq(a.header, b.header);
  cr_assert_neq(a.header, c.header);
  end();
}

static void *registers_types(void *types) {
  veil_thread *me = veil_attach(heap);
  for (int i = 0; i < 200; i++) {
    EXPECT(veil_alloc_slow_(me, &((veil_type *)types)[i]) != NULL);
  }
  veil_detach(me);
  return NULL;
}

Test(types, types_are_registered_by_several_threads_at_once, .timeout = 60) {
  start((veil_options){.verify = 1});
  static veil_type types[200];
  static char names[200][16];
  for (int i = 0; i < 200; i++) {
    snprintf(names[i], sizeof names[i], "type%d", i);
    types[i] = (veil_type){.name = names[i], .size = 16 + 8 * (size_t)i, .pointers = first_word, .pointer_count = 1};
  }
  pthread_t thread[4];
  for (int i = 0; i < 4; i++) {
    thread[i] = thread_start(registers_types, types);
  }
  for (int i = 0; i < 4; i++) {
    veil_block_begin(self);
    pthread_join(thread[i], NULL);
    veil_block_end(self);
  }
  for (int i = 1; i < 200; i++) {
    cr_assert_neq(types[i].header, types[i - 1].header);
  }
  end();
}
