// SPDX-License-Identifier: MIT
// links.c: handles, weak references and finalizers, through every kind of cycle.

#include <criterion/criterion.h>
#include "gc/links.h"
#include "tests/gc/fake.h"

static pair *pair_new(fake *f, long key) {
  pair *p = fake_new(f, &type_pair);
  EXPECT(p != NULL);
  p->key = key;
  return p;
}

static uint32_t link_new(fake *f, gc_link_kind kind, void *ref, void *owner, uintptr_t data) {
  uint32_t link = gc_link_new(f->gc, kind, (uintptr_t)ref, (uintptr_t)owner, data);
  EXPECT(link != GC_NONE);
  return link;
}

static pair *get(fake *f, uint32_t link) { return (pair *)gc_link_read(f->gc, link); }

static uint64_t links(fake *f, gc_link_kind kind) { return at_load(&f->gc->links.count[kind]); }

static void minor_twice(fake *f) {
  fake_minor(f);
  fake_minor(f);
}

// Each test runs with cycles of both kinds.
static void (*const cycles[])(fake *f) = {fake_cycle, fake_minor, minor_twice};
enum { CYCLES = sizeof cycles / sizeof *cycles, NURSERY = 1 << 20 };

ON_ALL_BACK_ENDS(links, a_handle_holds_its_object) {
  for (int c = 0; c < CYCLES; c++) {
    OPEN_OR_SKIP(f, .back_end = back_end, .nursery = NURSERY);
    pair *p = pair_new(f, 1);
    p->left = pair_new(f, 2);
    uint32_t handle = link_new(f, GC_LINK_HANDLE, p, NULL, 0), empty = link_new(f, GC_LINK_HANDLE, NULL, NULL, 0);
    for (int i = 0; i < 4; i++) {
      cycles[c](f);
      cr_assert(get(f, handle)->key == 1 && get(f, handle)->left->key == 2 && get(f, empty) == NULL);
    }
    gc_link_write(f->gc, handle, (uintptr_t)pair_new(f, 3));
    cycles[c](f);
    cr_assert_eq(get(f, handle)->key, 3);
    gc_handle_drop(f->gc, handle);
    cr_assert_eq(links(f, GC_LINK_HANDLE), 1);
    fake_close(f);
  }
}

ON_ALL_BACK_ENDS(links, a_weak_reference_does_not) {
  for (int c = 0; c < CYCLES; c++) {
    OPEN_OR_SKIP(f, .back_end = back_end, .nursery = NURSERY);
    f->root[0] = pair_new(f, 1);
    uint32_t held = link_new(f, GC_LINK_WEAK, f->root[0], NULL, 0), not_held = link_new(f, GC_LINK_WEAK, pair_new(f, 2), NULL, 0);
    uint32_t by_handle = link_new(f, GC_LINK_WEAK, pair_new(f, 3), NULL, 0);
    uint32_t handle = link_new(f, GC_LINK_HANDLE, get(f, by_handle), NULL, 0);
    cycles[c](f);
    cr_assert(get(f, held) == f->root[0] && get(f, held)->key == 1);
    cr_assert_null(get(f, not_held));
    cr_assert(get(f, by_handle) == get(f, handle) && get(f, handle)->key == 3);
    f->root[0] = NULL;
    gc_handle_drop(f->gc, handle);
    fake_cycle(f);
    cr_assert(get(f, held) == NULL && get(f, by_handle) == NULL);
    cr_assert_eq(links(f, GC_LINK_WEAK), 3, "they are nobody's");
    fake_close(f);
  }
}

ON_ALL_BACK_ENDS(links, a_link_goes_with_its_owner) {
  for (int c = 0; c < CYCLES; c++) {
    OPEN_OR_SKIP(f, .back_end = back_end, .nursery = NURSERY);
    for (long i = 0; i < 10; i++) {
      f->root[i] = pair_new(f, i);
      f->root[10 + i] = i % 2 ? fake_array(f, &type_byte, 8) : NULL;
      void *owner = i % 2 ? f->root[10 + i] : fake_array(f, &type_byte, 8);
      link_new(f, GC_LINK_WEAK, f->root[i], owner, 0);
    }
    cycles[c](f);
    cr_assert_eq(links(f, GC_LINK_WEAK), 5);
    memset(f->root, 0, sizeof f->root);
    fake_cycle(f);
    cr_assert_eq(links(f, GC_LINK_WEAK), 0);
    for (uint32_t i = 0; i < 10; i++) {
      cr_assert_lt(link_new(f, GC_LINK_WEAK, NULL, NULL, 0), 10, "they are used again");
    }
    fake_close(f);
  }
}

ON_ALL_BACK_ENDS(links, what_is_read_before_the_end_lives) {
  OPEN_OR_SKIP(f, .back_end = back_end);
  uint32_t read = link_new(f, GC_LINK_WEAK, pair_new(f, 1), NULL, 0), not_read = link_new(f, GC_LINK_WEAK, pair_new(f, 2), NULL, 0);
  get(f, read)->right = pair_new(f, 3);
  fake_flip(f);
  bool traps = f->gc->region->traps;
  f->root[0] = get(f, read);
  cr_assert(traps ? f->root[0] != NULL : f->root[0] == NULL);
  fake_finish(f);
  cr_assert_eq(get(f, read), f->root[0]);
  cr_assert_null(get(f, not_read));
  cr_assert(!traps || (get(f, read)->key == 1 && get(f, read)->right->key == 3));
  fake_close(f);
}

ON_ALL_BACK_ENDS(links, what_only_a_finalizer_holds_is_whole_and_due_once) {
  for (int c = 0; c < CYCLES; c++) {
    OPEN_OR_SKIP(f, .back_end = back_end, .nursery = NURSERY);
    pair *a = pair_new(f, 1), *b = pair_new(f, 2);
    a->left = b; // a cycle of two that both have finalizers
    b->left = a;
    a->right = pair_new(f, 3);
    link_new(f, GC_LINK_FINAL, a, (void *)10, 100);
    link_new(f, GC_LINK_FINAL, b, (void *)20, 200);
    uint32_t weak = link_new(f, GC_LINK_WEAK, a, NULL, 0);
    f->root[0] = a;
    gc_final final;
    cycles[c](f);
    cr_assert_not(gc_final_take(f->gc, &final), "it is held");
    f->root[0] = NULL;
    fake_cycle(f);
    fake_cycle(f); // the queue holds them
    minor_twice(f);
    cr_assert_eq(links(f, GC_LINK_READY), 2);
    cr_assert_eq(get(f, weak)->key, 1, "it is still there");
    bool seen[2] = {false, false};
    for (int i = 0; i < 2; i++) {
      cr_assert(gc_final_take(f->gc, &final));
      pair *p = (pair *)final.object;
      cr_assert(p->left->left == p && final.owner == (uintptr_t)p->key * 10 && final.data == (uintptr_t)p->key * 100);
      cr_assert(p->key != 1 || p->right->key == 3);
      seen[p->key - 1] = true;
    }
    cr_assert(seen[0] && seen[1] && !gc_final_take(f->gc, &final));
    fake_cycle(f);
    cr_assert(!gc_final_take(f->gc, &final) && get(f, weak) == NULL);
    cr_assert_eq(links(f, GC_LINK_FINAL) + links(f, GC_LINK_READY), 0);
    fake_close(f);
  }
}

ON_ALL_BACK_ENDS(links, young_objects_are_finalized_by_minor_cycles) {
  OPEN_OR_SKIP(f, .back_end = back_end, .nursery = NURSERY);
  for (long i = 0; i < 1000; i++) {
    pair *p = pair_new(f, i);
    p->right = pair_new(f, -i);
    f->root[i % 100] = p;
    link_new(f, GC_LINK_FINAL, p, NULL, (uintptr_t)i);
  }
  fake_minor(f);
  cr_assert_eq(links(f, GC_LINK_READY), 900);
  long sum = 0;
  for (gc_final final; gc_final_take(f->gc, &final);) {
    pair *p = (pair *)final.object;
    cr_assert(p->key == (long)final.data && p->key < 900 && p->right->key == -p->key);
    sum += p->key;
  }
  cr_assert_eq(sum, 899 * 900 / 2);
  fake_close(f);
}

ON_ALL_BACK_ENDS(links, a_finalizer_can_be_forgotten) {
  OPEN_OR_SKIP(f, .back_end = back_end, .nursery = NURSERY);
  uint32_t link = link_new(f, GC_LINK_FINAL, pair_new(f, 1), NULL, 0), serial = gc_link_serial(f->gc, link);
  cr_assert(gc_final_cancel(f->gc, link, serial));
  cr_assert_not(gc_final_cancel(f->gc, link, serial));
  uint32_t again = link_new(f, GC_LINK_FINAL, pair_new(f, 2), NULL, 0);
  cr_assert_eq(again, link);
  cr_assert_not(gc_final_cancel(f->gc, link, serial), "another has its number");
  serial = gc_link_serial(f->gc, again);
  fake_cycle(f);
  cr_assert_eq(links(f, GC_LINK_READY), 1);
  cr_assert_not(gc_final_cancel(f->gc, again, serial), "it is due");
  cr_assert_not(gc_final_cancel(f->gc, GC_NONE, 0));
  fake_close(f);
}

ON_ALL_BACK_ENDS(links, large_and_pinned_objects_have_them_too) {
  for (int c = 0; c < CYCLES; c++) {
    OPEN_OR_SKIP(f, .back_end = back_end, .nursery = NURSERY);
    char *large = fake_array(f, &type_byte, 200000), *dead = fake_array(f, &type_byte, 200000);
    pair *pinned = pair_new(f, 7);
    f->root[0] = large;
    f->word[0] = (uintptr_t)pinned;
    uint32_t weak[] = {link_new(f, GC_LINK_WEAK, large, NULL, 0), link_new(f, GC_LINK_WEAK, dead, NULL, 0),
                       link_new(f, GC_LINK_WEAK, pinned, NULL, 0)};
    link_new(f, GC_LINK_FINAL, dead, NULL, 0);
    for (int i = 0; i < 3; i++) {
      cycles[c](f);
      cr_assert(get(f, weak[0]) == (pair *)large && get(f, weak[2]) == pinned && pinned->key == 7);
      cr_assert_eq(get(f, weak[1]), (pair *)dead, "it is due");
    }
    gc_final final;
    cr_assert(gc_final_take(f->gc, &final) && final.object == (uintptr_t)dead);
    f->root[0] = NULL;
    f->word[0] = 0;
    fake_cycle(f);
    cr_assert(get(f, weak[0]) == NULL && get(f, weak[1]) == NULL && get(f, weak[2]) == NULL);
    fake_close(f);
  }
}

// A pinned object of the zone is old until the major cycle is over, and young again then.
ON_ALL_BACK_ENDS(links, what_a_flip_pinned_in_the_nursery_is_followed_afterwards) {
  OPEN_OR_SKIP(f, .back_end = back_end, .nursery = NURSERY);
  pair *p = pair_new(f, 5);
  f->word[0] = (uintptr_t)p;
  uint32_t weak = link_new(f, GC_LINK_WEAK, p, NULL, 0), handle = link_new(f, GC_LINK_HANDLE, p, NULL, 0);
  fake_flip(f);
  uint32_t later = link_new(f, GC_LINK_HANDLE, p, NULL, 0);
  fake_minor(f);
  fake_finish(f);
  f->word[0] = 0;
  for (int i = 0; i < 3; i++) {
    fake_minor(f);
    cr_assert(get(f, weak) == get(f, handle) && get(f, later) == get(f, handle) && get(f, handle)->key == 5);
  }
  gc_handle_drop(f->gc, handle);
  gc_handle_drop(f->gc, later);
  fake_cycle(f);
  cr_assert_null(get(f, weak));
  fake_close(f);
}

// However many there are.
ON_TRAPPING_BACK_ENDS(links, a_flip_does_nothing_about_them) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = (size_t)512 << 20);
  enum { MANY = 1000000 };
  f->root[0] = pair_new(f, 1);
  for (int i = 0; i < MANY; i++) {
    EXPECT(gc_link_new(f->gc, GC_LINK_WEAK, (uintptr_t)f->root[0], 0, 0) != GC_NONE);
  }
  uint32_t handle = link_new(f, GC_LINK_HANDLE, f->root[0], NULL, 0);
  uintptr_t before = (uintptr_t)f->root[0];
  fake_flip(f);
  cr_assert_neq((uintptr_t)f->root[0], before);
  for (uint32_t i = 0; i < MANY; i++) {
    cr_assert_eq(at_load(&f->gc->links.at[i].ref), before);
  }
  cr_assert_eq(at_load(&f->gc->links.at[handle].ref), before);
  for (uint32_t i = 0; i < MANY; i += 1000) {
    cr_assert_eq(get(f, i), f->root[0]);
  }
  fake_finish(f);
  cr_assert_eq(links(f, GC_LINK_WEAK), MANY);
  fake_close(f);
}
