// SPDX-License-Identifier: MIT
// verify.c: each check has been seen to fire: a child process breaks one thing and is aborted by the message it should be.

#include <criterion/criterion.h>
#include "gc/aside.h"
#include "tests/gc/death.h"
#include "tests/gc/fake.h"

static const char *back_end_now;

static fake *heap_with_objects(void) {
  fake *f = fake_open((fake_options){.back_end = back_end_now, .limit = (size_t)8 << 20});
  if (f == NULL) {
    exit(77);
  }
  fake_list(f, 0, 300);
  f->root[1] = fake_array(f, &type_byte, 100);
  f->root[2] = fake_array(f, &type_pointer, 6000);
  fake_cycle(f);
  return f;
}

static char *alias_of(fake *f, void *object) { return (char *)object + f->gc->delta; }

static void slot_holds_a_from_space_pointer(void *arg) {
  fake *f = heap_with_objects();
  pair *old = f->root[0];
  fake_cycle(f);
  ((pair *)f->root[0])->left = old;
  gc_verify_stopped(f->gc, "planted");
}

static void slot_holds_an_interior_pointer(void *arg) {
  fake *f = heap_with_objects();
  pair *p = f->root[0];
  p->left = (pair *)((char *)p->right + 16);
  gc_verify_stopped(f->gc, "planted");
}

static void slot_of_a_large_object_holds_nonsense(void *arg) {
  fake *f = heap_with_objects();
  ((void **)f->root[2])[4000] = (char *)f->root[1] + 9;
  gc_verify_stopped(f->gc, "planted");
}

static void header_names_no_type(void *arg) {
  fake *f = heap_with_objects();
  *(uint64_t *)(alias_of(f, f->root[0]) - 8) = gc_header_make(GC_TYPES - 1, false, false);
  gc_verify_stopped(f->gc, "planted");
}

static void header_and_type_differ_on_being_a_leaf(void *arg) {
  fake *f = heap_with_objects();
  *(uint64_t *)(alias_of(f, f->root[0]) - 8) |= GC_LEAF;
  gc_verify_stopped(f->gc, "planted");
}

static void header_and_type_differ_on_being_transient(void *arg) {
  fake *f = heap_with_objects();
  *(uint64_t *)(alias_of(f, f->root[0]) - 8) |= GC_TRANSIENT;
  gc_verify_stopped(f->gc, "planted");
}

static void block_differs_on_being_transient(void *arg) {
  fake *f = heap_with_objects();
  at8_store(&f->gc->transient[gc_block_of(f->gc, (uintptr_t)f->root[2])], 1);
  gc_verify_stopped(f->gc, "planted");
}

static void slot_leads_into_another_heap(void *arg) {
  fake *f = heap_with_objects(), *g = heap_with_objects();
  ((void **)f->root[2])[4000] = g->root[0];
  gc_verify_stopped(g->gc, "nothing planted");
  gc_verify_stopped(f->gc, "planted");
}

static void object_has_lost_its_alignment(void *arg) {
  fake *f = heap_with_objects();
  uint64_t *header = (uint64_t *)(alias_of(f, f->root[0]) - 8);
  *header = gc_header_aligned(*header, ((uintptr_t)f->root[0] & 4095) != 0 ? 4096 : 16);
  if (((uintptr_t)f->root[0] & 4095) == 0) {
    exit(77); // by chance
  }
  gc_verify_stopped(f->gc, "planted");
}

static void page_is_veiled_between_cycles(void *arg) {
  fake *f = heap_with_objects();
  vm_prot(f->gc->region, gc_page_at(f->gc, (uintptr_t)f->root[0]), 1, VM_UNSCANNED, 0);
  gc_verify_stopped(f->gc, "planted");
}

static void leaf_is_in_a_block_of_the_wrong_kind(void *arg) {
  fake *f = heap_with_objects();
  uint32_t block = gc_block_of(f->gc, (uintptr_t)f->root[1]);
  f->gc->flags[block] &= (uint8_t)~GC_BLOCK_LEAF;
  gc_verify_stopped(f->gc, "planted");
}

static void block_has_fewer_cells_than_are_known(void *arg) {
  fake *f = heap_with_objects();
  gc_cells_set(f->gc, gc_block_of(f->gc, (uintptr_t)f->root[1]), GC_CELLS_KNOWN | 2);
  gc_verify_stopped(f->gc, "planted");
}

static void block_without_epochs_has_one(void *arg) {
  fake *f = heap_with_objects();
  gc_cells_set(f->gc, gc_block_of(f->gc, (uintptr_t)f->root[1]), GC_CELLS_KNOWN); // it was copied
  gc_verify_stopped(f->gc, "planted");
}

static void header_carries_the_epoch_of_the_next_cycle(void *arg) {
  fake *f = heap_with_objects();
  uint64_t *header = (uint64_t *)(alias_of(f, f->root[0]) - 8);
  *header = (*header & ~GC_EPOCH_MASK) | (uint64_t)f->gc->next_epoch << GC_EPOCH_SHIFT;
  gc_verify_stopped(f->gc, "planted");
}

static void header_carries_an_epoch_that_its_block_does_not_know_of(void *arg) {
  fake *f = heap_with_objects();
  gc_still_set(f->gc, gc_block_of(f->gc, (uintptr_t)f->root[0]), GC_SETTLED);
  gc_verify_stopped(f->gc, "planted");
}

static void block_is_in_from_space_between_cycles(void *arg) {
  fake *f = heap_with_objects();
  f->gc->space[gc_block_of(f->gc, (uintptr_t)f->root[0])] = 3 - f->gc->to_space;
  gc_verify_stopped(f->gc, "planted");
}

static void large_object_has_lost_its_header(void *arg) {
  fake *f = heap_with_objects();
  *(uint64_t *)(alias_of(f, f->root[2]) - 16) = 0;
  gc_verify_stopped(f->gc, "planted");
}

static void small_object_crosses_its_page(void *arg) {
  fake *f = heap_with_objects();
  char *page = (char *)((uintptr_t)alias_of(f, f->root[0]) & ~(uintptr_t)4095);
  *(uint64_t *)(page + 4096 - 24) = fake_header(&type_pair, false);
  f->gc->top[gc_page_at(f->gc, (uintptr_t)f->root[0])] = 4096;
  memset(page + 8, 0, 4096 - 32);
  gc_verify_stopped(f->gc, "planted");
}

// ---- Checks of the collector itself.

static void scan_meets_a_pointer_to_no_object(void *arg) {
  fake *f = heap_with_objects();
  ((pair *)f->root[0])->left = (pair *)((char *)((pair *)f->root[0])->right + 32); // its last word, 0, is no header
  fake_cycle(f);
}

#ifdef VEIL_FULL_CHECKS // freed blocks stay veiled
static void mutator_uses_a_stale_pointer(void *arg) {
  fake *f = heap_with_objects();
  pair *stale = f->root[0];
  fake_cycle(f);
  printf("%ld\n", stale->key);
}

static void mutator_follows_a_pointer_to_a_freed_large_object(void *arg) {
  fake *f = heap_with_objects();
  void **large = f->root[2];
  f->root[2] = NULL;
  fake_cycle(f);
  printf("%p\n", large[10]);
}
#endif

static void mutator_follows_a_pointer_to_a_released_large_object(void *arg) {
  fake *f = heap_with_objects();
  void **large = f->root[2];
  f->root[2] = NULL;
  fake_cycle(f);
  while (gc_trim_idle(f->gc)) {
  }
  printf("%p\n", large[10]);
}

static fake *callback_heap;
static void *callback_object;

static void callback_touches_the_view(const void *object, const void *alias, size_t length, size_t base, size_t limit,
                                      gc_visitor *visitor) {
  if (callback_heap != NULL) {
    printf("%ld\n", ((long volatile *)callback_object)[1]);
  }
}

static void callback_reports_a_slot_outside(const void *object, const void *alias, size_t length, size_t base,
                                            size_t limit, gc_visitor *visitor) {
  if (callback_heap != NULL) {
    gc_visit(visitor, 64);
  }
}

static void callback_reports_half_a_slot(const void *object, const void *alias, size_t length, size_t base, size_t limit,
                                         gc_visitor *visitor) {
  if (callback_heap != NULL) {
    gc_visit(visitor, 12);
  }
}

static void callback_run(gc_trace_fn *trace) {
  fake *f = heap_with_objects();
  fake_type type = {{.name = "wayward", .size = 64, .layout = GC_LAYOUT_TRACE, .trace = trace}, 0};
  f->root[3] = fake_new(f, &type);
  callback_heap = f;
  fake_flip(f);
  callback_object = f->root[0];
  fake_finish(f);
}

static void trace_callback_touches_the_view(void *arg) { callback_run(callback_touches_the_view); }
static void trace_callback_reports_a_slot_outside(void *arg) { callback_run(callback_reports_a_slot_outside); }
static void trace_callback_reports_half_a_slot(void *arg) { callback_run(callback_reports_half_a_slot); }

static void flip_during_a_cycle(void *arg) {
  fake *f = heap_with_objects();
  gc_flip_stopped(f->gc);
  gc_flip_stopped(f->gc);
}

static void copier_is_given_back_with_slots(void *arg) {
  fake *f = heap_with_objects();
  gc_copier *copier = gc_copier_take(f->gc);
  copier->batch[0].count = 1;
  gc_copier_give(f->gc, copier);
}

#define DIES(NAME, BACK_END, TEXT)                                                                                     \
  Test(verify, NAME##_is_noticed_on_##BACK_END, .timeout = 60) {                                                       \
    back_end_now = BACK_END_##BACK_END;                                                                                          \
    death d = death_of(NAME, NULL);                                                                                    \
    if (d.code == 77) {                                                                                                \
      cr_skip_test("the back end does not work here");                                                                 \
    }                                                                                                                  \
    cr_assert(death_says(&d, TEXT));                                                                                   \
  }
#define DIES_EVERYWHERE(NAME, TEXT) DIES(NAME, none, TEXT) DIES_BY_TRAP(NAME, TEXT)
#define DIES_BY_TRAP(NAME, TEXT)                                                                                       \
  DIES(NAME, mprotect, TEXT) DIES(NAME, guard, TEXT) DIES(NAME, uffd, TEXT) DIES(NAME, uffd_kernel, TEXT)

DIES_EVERYWHERE(slot_holds_a_from_space_pointer, "[gc.tospace]")
DIES_EVERYWHERE(slot_holds_an_interior_pointer, "which is not the start of an object")
DIES_EVERYWHERE(slot_of_a_large_object_holds_nonsense, "(pointer) slot")
DIES_EVERYWHERE(header_names_no_type, "names no type")
DIES_EVERYWHERE(object_has_lost_its_alignment, "is not aligned to 4096 bytes [gc.align]")
DIES_EVERYWHERE(header_and_type_differ_on_being_a_leaf, "differ on being a leaf")
DIES_EVERYWHERE(header_and_type_differ_on_being_transient, "differ on being transient [gc.transient]")
DIES_EVERYWHERE(block_differs_on_being_transient, "differ on being transient [gc.transient]")
DIES_EVERYWHERE(slot_leads_into_another_heap, "lies in another heap, whose view is")
DIES_BY_TRAP(page_is_veiled_between_cycles, "[gc.grey]")
DIES_EVERYWHERE(leaf_is_in_a_block_of_the_wrong_kind, "is in a block of the wrong kind")
DIES_EVERYWHERE(block_has_fewer_cells_than_are_known, "known to have 2 cells, none with an epoch; it has 1")
DIES_EVERYWHERE(block_without_epochs_has_one, "it has 1, of which 1 have one")
DIES_EVERYWHERE(header_carries_the_epoch_of_the_next_cycle, "carries epoch 2: the next one is 2")
DIES_EVERYWHERE(header_carries_an_epoch_that_its_block_does_not_know_of, "carries epoch 1: the next one is 2, and of its block 1 is known [gc.still]")
DIES_EVERYWHERE(block_is_in_from_space_between_cycles, "in from-space between cycles")
DIES_EVERYWHERE(large_object_has_lost_its_header, "has no header")
DIES_EVERYWHERE(small_object_crosses_its_page, "crosses its page")
DIES_EVERYWHERE(scan_meets_a_pointer_to_no_object, "is no object")
DIES_BY_TRAP(trace_callback_touches_the_view, "touched")
DIES_EVERYWHERE(trace_callback_reports_a_slot_outside, "type wayward reports a slot at 64")
DIES_EVERYWHERE(trace_callback_reports_half_a_slot, "type wayward reports a slot at 12")
DIES_BY_TRAP(flip_during_a_cycle, "a flip in phase")
DIES_EVERYWHERE(copier_is_given_back_with_slots, "with slots in its queue")
DIES_BY_TRAP(mutator_follows_a_pointer_to_a_released_large_object, "has no memory")
#ifdef VEIL_FULL_CHECKS
DIES_BY_TRAP(mutator_follows_a_pointer_to_a_freed_large_object, "stale pointer into")
DIES_BY_TRAP(mutator_uses_a_stale_pointer, "stale pointer into")
#endif

Test(verify, a_heap_without_fault_is_passed) {
  back_end_now = "mprotect";
  fake *f = heap_with_objects();
  gc_verify_stopped(f->gc, "nothing planted");
  fake_close(f);
}
