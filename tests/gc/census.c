// SPDX-License-Identifier: MIT
// census.c: each object once, whatever the background does meanwhile.

#include <criterion/criterion.h>
#include "gc/block.h"
#include "gc/census.h"
#include "tests/gc/fake.h"

enum { MIB = 1 << 20, LARGE = 24, SMALL = 3000 };

typedef struct seen {
  fake *f;
  size_t large, small;
  unsigned times[LARGE];
} seen;

static void object_seen(void *arg, gc_cell cell, uint64_t header) {
  seen *s = arg;
  uintptr_t view = gc_cell_ref(s->f->gc, cell, header).view;
  for (size_t i = 0; i < LARGE; i++) {
    if (view == (uintptr_t)s->f->root[1 + i]) {
      s->times[i]++;
      s->large++;
      return;
    }
  }
  s->small++;
}

// Memory for blocks that nobody uses yet: what a scanner makes ready between two cycles.
static void memory_make_ready(fake *f, unsigned chunks) {
  uint64_t until = at_load(&f->gc->fresh) + chunks * (VM_HUGE / GC_BLOCK);
  while (at_load(&f->gc->fresh) < until) {
    uint32_t block = gc_block_commit(f->gc);
    cr_assert_neq(block, GC_NONE);
    vm_prot(f->gc->region, gc_block_page(f->gc, block), f->gc->block_pages, VM_UNSCANNED, 0);
    gc_stack_push(f->gc, &f->gc->veiled_free, block);
  }
}

ON_ALL_BACK_ENDS(census, tells_each_object_once_while_memory_is_made_ready) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 64 * MIB, .headroom = 64 * MIB);
  fake_list(f, 0, SMALL);
  for (size_t i = 0; i < LARGE; i++) {
    f->root[1 + i] = fake_array(f, i % 2 == 0 ? &type_byte : &type_pointer, 20000 + 1000 * i);
  }
  fake_buffers_drop(f);
  gc_census census;
  static seen s;
  s = (seen){.f = f};
  gc_census_begin(f->gc, &census);
  do {
    memory_make_ready(f, 1);
  } while (gc_census_some(&census, object_seen, &s));
  cr_assert_eq(s.small, SMALL);
  cr_assert_eq(s.large, LARGE);
  for (size_t i = 0; i < LARGE; i++) {
    cr_assert_eq(s.times[i], 1, "large object %zu: %u times", i, s.times[i]);
  }
  fake_cycle(f);
  fake_close(f);
}
