// SPDX-License-Identifier: MIT
// near.c: what was born together stays together, whatever order a cycle comes across it in.

#include <criterion/criterion.h>
#include "tests/gc/fake.h"

enum { CLUSTERS = 600, SIZE = 24, LENGTH = 20000 };

// A node of any layout: `next` within its cluster, `other` the same node of another cluster.
enum { OTHERS = 4 }; // one node in so many has another

typedef struct node {
  void *next, *other;
  long key;
} node;
static const size_t node_offsets[] = {offsetof(node, next), offsetof(node, other)};
static fake_type type_map = {
    {.name = "map", .size = sizeof(node), .layout = GC_LAYOUT_MAP, .count = 2, .offsets = node_offsets}, 0};
static fake_type type_tagged = {{.name = "tagged",
                                 .size = sizeof(node),
                                 .layout = GC_LAYOUT_TAGGED,
                                 .tagged = true,
                                 .low_tags = 1 << 3,
                                 .count = 2,
                                 .offsets = node_offsets},
                                0};
static fake_type type_dense = {
    {.name = "dense", .size = 8, .layout = GC_LAYOUT_DENSE, .count = 1, .offsets = node_offsets}, 0};

typedef enum kind { MAP, TAGGED, DENSE } kind;
static uintptr_t tag_of(kind k) { return k == TAGGED ? 3 : 0; }
static node *node_at(kind k, void *slot) { return slot == NULL ? NULL : (node *)((uintptr_t)slot - tag_of(k)); }
static void *slot_for(kind k, node *n) { return n == NULL ? NULL : (void *)((uintptr_t)n + tag_of(k)); }

static node *node_make(fake *f, kind k) {
  node *n = k == DENSE ? fake_array(f, &type_dense, 3) : fake_new(f, k == MAP ? &type_map : &type_tagged);
  EXPECT(n != NULL);
  return n;
}

// Rings, each made in one go. Some nodes of each lead to clusters far away, and only root[0] holds a node: a cycle that
// goes breadth first comes to a cluster by several ways.
static void clusters_make(fake *f, kind k) {
  static node *made[CLUSTERS][SIZE]; // no cycle before they are all linked
  for (unsigned c = 0; c < CLUSTERS; c++) {
    for (unsigned i = 0; i < SIZE; i++) {
      made[c][i] = node_make(f, k);
    }
  }
  for (unsigned c = 0; c < CLUSTERS; c++) {
    for (unsigned i = 0; i < SIZE; i++) {
      made[c][i]->next = slot_for(k, made[c][(i + 1) % SIZE]);
      made[c][i]->other = i % OTHERS ? NULL : slot_for(k, made[(c + 7 + i * 31) % CLUSTERS][i]);
      made[c][i]->key = k == DENSE ? 0 : (long)(c * SIZE + i);
    }
  }
  f->root[0] = made[0][0];
}

// Of the steps along rings, how many in a hundred lead less than a page away.
static unsigned percent_near(fake *f, kind k) {
  unsigned near = 0, all = 0;
  node *n = f->root[0];
  for (unsigned c = 0; c < CLUSTERS; c++) {
    for (unsigned i = 0; i < SIZE; i++) {
      node *next = node_at(k, n->next);
      near += (uintptr_t)next - (uintptr_t)n + 4096 < 8192;
      all++;
      n = next;
    }
    n = node_at(k, n->other);
  }
  return near * 100 / all;
}

static void clusters_stay(fake *f, kind k) {
  clusters_make(f, k);
  unsigned at_first = percent_near(f, k);
  for (int cycle = 0; cycle < 6; cycle++) {
    fake_flip(f);
    if (cycle % 2) {
      percent_near(f, k); // by traps, where there are any
    }
    fake_finish(f);
  }
  unsigned at_last = percent_near(f, k);
  cr_assert(at_first >= 99, "%u", at_first);
  cr_assert(at_last >= 90, "%u of 100 neighbours are left after six cycles", at_last);
}

ON_ALL_BACK_ENDS(near, clusters_of_objects_with_a_pointer_map_stay_together) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  clusters_stay(f, MAP);
  cr_assert_eq(f->gc->copied_objects, (uint64_t)6 * CLUSTERS * SIZE, "each once in a cycle");
  fake_close(f);
}

ON_ALL_BACK_ENDS(near, clusters_of_objects_with_tagged_slots_stay_together) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  clusters_stay(f, TAGGED);
  fake_close(f);
}

ON_ALL_BACK_ENDS(near, clusters_of_small_arrays_stay_together) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  clusters_stay(f, DENSE);
  fake_close(f);
}

// A list whose nodes lie one behind the other is one cluster without end: a trap takes a part of it.
ON_TRAPPING_BACK_ENDS(near, a_trap_copies_no_more_than_a_bounded_part_of_a_long_list) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  fake_list(f, 0, LENGTH);
  fake_cycle(f);
  fake_flip(f);
  uint64_t before = at_load(&f->gc->copied_bytes), most = 0;
  for (pair *p = f->root[0]; p != NULL; p = p->right) {
    uint64_t now = at_load(&f->gc->copied_bytes); // the handler changes it
    most = now - before > most ? now - before : most;
    before = now;
  }
  cr_assert(most > 4096, "%lu bytes: neighbours are not followed", (unsigned long)most);
  cr_assert(most < (128 << 10), "%lu bytes", (unsigned long)most);
  fake_finish(f);
  cr_assert_eq(fake_list_length(f, 0), LENGTH);
  fake_close(f);
}

// What a cell has behind its object is nobody's slot, whatever stands there.
ON_ALL_BACK_ENDS(near, the_padding_behind_a_small_array_is_no_slot) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  void **holder = f->root[0] = fake_array(f, &type_pointer, 3);
  void **array = holder[0] = fake_array(f, &type_pointer, 1); // 24 bytes in a cell of 32
  array[1] = fake_new(f, &type_pair);
  fake_cycle(f);
  cr_assert_eq(f->gc->copied_objects, 2, "%lu objects copied", (unsigned long)f->gc->copied_objects);
  fake_close(f);
}
