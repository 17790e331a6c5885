// SPDX-License-Identifier: MIT
// block.c: blocks of 64 KiB: stacks of free ones.
//
// Runs in every thread, traps included: lock-free. Neighbours: copier.c and alloc.c take, sweep.c frees, memory.c gives them memory.

#include "gc/block.h"
#include "gc/alloc.h"
#include "gc/aside.h"
#include "gc/pace.h"
#include "vm/os.h"

void gc_stack_reset(gc_stack *stack) {
  at_store(&stack->head, GC_NONE);
  at_store(&stack->count, 0);
}

void gc_stack_push(gc_heap *heap, gc_stack *stack, uint32_t block) {
  for (;;) {
    uint64_t head = at_load(&stack->head);
    at32_store(&heap->link[block], (uint32_t)head);
    // Release: who pops sees the link and what was done to the block.
    if (at_cas_full(&stack->head, head, ((head >> 32) + 1) << 32 | block)) {
      at_add(&stack->count, 1);
      return;
    }
  }
}

uint32_t gc_stack_pop(gc_heap *heap, gc_stack *stack) {
  for (;;) {
    uint64_t head = at_load_acquire(&stack->head);
    uint32_t block = (uint32_t)head;
    if (block == GC_NONE) {
      return GC_NONE;
    }
    // If another thread pops it first the link may be anything; then the count differs and the CAS fails.
    uint32_t next = at32_load(&heap->link[block]);
    if (at_cas_full(&stack->head, head, ((head >> 32) + 1) << 32 | next)) {
      at_add(&stack->count, (uint64_t)-1);
      return block;
    }
  }
}

void gc_flags_set(gc_heap *heap, uint32_t block, uint8_t flags) {
  AO_char_or_full((unsigned char volatile *)&heap->flags[block], flags);
}

// By one flip. By more, what is dead there, and what that refers to, would cost more memory than the copies that are spared; but for leaf objects, which
// refer to nothing (sweep.c).
void gc_block_spare(gc_heap *heap, uint32_t block) { at32_store(&heap->spared[block], heap->cycle + 2); }

void gc_block_dedicate(gc_heap *heap, uint32_t block, unsigned sort) {
  at8_store(&heap->transient[block], (sort & GC_SORT_TRANSIENT) != 0);
  if (sort & GC_SORT_LEAF) {
    gc_flags_set(heap, block, GC_BLOCK_LEAF);
    if (block >= heap->young_blocks) {
      vm_rouse(heap->region, gc_block_page(heap, block), heap->block_pages);
    }
  }
}

// Every page FREE; the block belongs to to-space from here on.
static uint32_t block_start(gc_heap *heap, uint32_t block) {
  size_t page = gc_block_page(heap, block);
  for (unsigned i = 0; i < heap->block_pages; i++) {
    at32_store(&heap->top[page + i], 0);
    AO_short_store((unsigned short volatile *)&heap->cover[page + i], 0);
  }
  AO_char_store((unsigned char volatile *)&heap->flags[block], 0);
  at32_store(&heap->spared[block], 0);
  gc_still_set(heap, block, 0); // whoever takes it for copies says so; what is born carries no epoch
  gc_cells_set(heap, block, 0);
  at8_store(&heap->parked[block], 0);
  at32_store(&heap->filled[block], 0);
  AO_char_store_release((unsigned char volatile *)&heap->space[block], heap->to_space);
  gc_pages_stir(heap, page, heap->block_pages);
  at_add(&heap->used_blocks, 1);
  return block;
}

uint32_t gc_block_take_veiled(gc_heap *heap) {
  uint32_t block = gc_stack_pop(heap, &heap->veiled_free);
  if (block == GC_NONE) {
    block = gc_stack_pop(heap, &heap->open_free);
    if (block == GC_NONE) {
      block = gc_block_commit(heap);
    }
    if (block == GC_NONE) {
      return GC_NONE;
    }
    vm_prot(heap->region, gc_block_page(heap, block), heap->block_pages, VM_UNSCANNED, 0);
  }
  return block_start(heap, block);
}

// In haste it is rather one that is there than one that needs memory first: to have a chunk takes a millisecond.
static uint32_t take_open(gc_heap *heap, bool haste) {
  uint32_t block = gc_stack_pop(heap, &heap->open_free);
  if (block == GC_NONE && !at_load(&heap->young_on)) {
    block = gc_stack_pop(heap, &heap->born_ready); // nothing is promoted any more
  }
  if (block == GC_NONE) {
    // Of the veiled ones only what the next cycle does not need, unless there is nothing else.
    bool spare = haste || at_load(&heap->veiled_free.count) > gc_pace_reserve(heap);
    block = spare ? gc_stack_pop(heap, &heap->veiled_free) : gc_block_commit(heap);
    if (block == GC_NONE) {
      block = spare ? gc_block_commit(heap) : gc_stack_pop(heap, &heap->veiled_free);
    }
    if (block == GC_NONE) {
      return GC_NONE;
    }
    size_t page = gc_block_page(heap, block);
    vm_unprot(heap->region, page, heap->block_pages, VM_UNSCANNED);
    vm_open(heap->region, page, heap->block_pages);
  }
  return block_start(heap, block);
}

uint32_t gc_block_take_open(gc_heap *heap) { return take_open(heap, false); }

uint32_t gc_block_take_born(gc_heap *heap) {
  uint32_t block = gc_stack_pop(heap, &heap->born_ready);
  return block != GC_NONE ? block_start(heap, block) : take_open(heap, true);
}

// Set while this thread settles claims on pages whose contents are dead: nobody needs them back.
static __thread bool discarding __attribute__((tls_model("initial-exec")));

bool gc_discarding(void) { return discarding; }

void gc_claims_drop(gc_heap *heap, size_t page, size_t count) {
  for (size_t i = page; i < page + count; i++) {
    unsigned claims = vm_claims(heap->region, i) & (VM_ABSENT | VM_UNSAVED);
    if (claims) {
      sigset_t saved;
      os_signals_block(&saved); // what a handler of the program touches is not dead
      // Who wants to save the page wants its contents, dead or not.
      discarding = !(claims & VM_UNSAVED);
      vm_settle(heap->region, i, claims, true, false);
      discarding = false;
      os_signals_restore(&saved);
    }
  }
}

void gc_blocks_free(gc_heap *heap, uint32_t block, uint32_t count, bool veiled) {
  size_t page = gc_block_page(heap, block);
  size_t pages = (size_t)count * heap->block_pages;
  // First: no service may claim the pages from here on, and whoever looks for grey pages sees UNSCANNED only on a page that
  // he then finds FREE.
  for (size_t p = page; p < page + pages; p++) {
    at32_store_release(&heap->top[p], 0);
  }
  at_fence_full();
  if (at_load(&heap->service_claims) != 0) {
    gc_claims_drop(heap, page, pages);
  }
  if (VM_FULL_CHECKS) {
    for (size_t i = 0; i < (size_t)count * GC_BLOCK / 8; i++) {
      ((uint64_t volatile *)gc_block_alias(heap, block))[i] = 0xdeadf00ddeadf00dull;
    }
    veiled = true;
  }
  for (uint32_t b = block; b < block + count; b++) {
    AO_char_store((unsigned char volatile *)&heap->flags[b], 0);
    AO_char_store_release((unsigned char volatile *)&heap->space[b], 0);
    at8_store(&heap->parked[b], 0);
    at32_store(&heap->died[b], heap->cycle);
  }
  at_add(&heap->used_blocks, -(uint64_t)count);
  if (veiled) {
    vm_prot(heap->region, page, pages, VM_UNSCANNED, 0);
  } else {
    vm_unprot(heap->region, page, pages, VM_UNSCANNED); // pages that a copier never got to
  }
  for (uint32_t b = block + count; b > block; b--) {
    gc_stack_push(heap, veiled ? &heap->veiled_free : &heap->open_free, b - 1);
  }
}

// The length of an array stands behind its header, on the next page perhaps; which is nobody's business otherwise: it may be parked.
uint64_t gc_header_read_slow(gc_heap *heap, gc_cell cell) {
  gc_before_read(heap, cell.alias, 8);
  uint64_t header = gc_header_load(cell);
  if (header & GC_ARRAY) {
    gc_before_read(heap, cell.alias + 8, 8);
  }
  return header;
}

void gc_claims_settle_slow(gc_heap *heap, const char *alias, size_t bytes, unsigned claims) {
  uintptr_t view = gc_view_of(heap, alias);
  size_t last = gc_page_at(heap, view + bytes - 1);
  for (size_t page = gc_page_at(heap, view); page <= last; page++) {
    unsigned there = vm_claims(heap->region, page) & claims;
    if (there) {
      vm_settle(heap->region, page, there, (claims & VM_UNSAVED) != 0, false);
    }
    if ((claims & VM_UNSAVED) && at32_load(&heap->dirty_mask)) {
      vm_dirty_note(heap->region, page, at32_load(&heap->dirty_mask)); // a write through the alias is not seen
    }
  }
}
