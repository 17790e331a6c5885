// SPDX-License-Identifier: MIT
// memory.c: the limit, pacing, the reserve, memory given back, and what happens without memory for to-space (gc.memory).

#include <criterion/criterion.h>
#include <pthread.h>
#include <unistd.h>
#include "gc/block.h"
#include "tests/gc/fake.h"

enum { MIB = 1 << 20 };

ON_ALL_BACK_ENDS(memory, allocation_stops_where_the_limit_leaves_no_room_for_copies) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 8 * MIB);
  size_t count = 0;
  for (pair *p; (p = fake_new(f, &type_pair)) != NULL; count++) {
    p->key = (long)count;
    p->right = f->root[0];
    f->root[0] = p;
  }
  cr_assert_geq(gc_used_bytes(f->gc), 3 * MIB, "%zu bytes", gc_used_bytes(f->gc));
  cr_assert_leq(gc_used_bytes(f->gc), 4 * MIB + MIB / 4, "%zu bytes", gc_used_bytes(f->gc));
  for (int cycle = 0; cycle < 3; cycle++) {
    fake_cycle(f);
    cr_assert_leq(f->gc->committed_max, 8 * MIB);
    long key = (long)count;
    for (pair *p = f->root[0]; p != NULL; p = p->right) {
      cr_assert_eq(p->key, --key);
    }
    cr_assert_eq(key, 0);
  }
  cr_assert_eq(f->gc->kept_blocks, 0, "the reserve was not enough for %lu blocks", (unsigned long)f->gc->kept_blocks);
  fake_close(f);
}

// ---- Copying without memory. What the heap may hold is taken away in mid-cycle, as if others had it.

static void copies_without_memory(const char *back_end, size_t spare_blocks, bool medium, bool leaf) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 16 * MIB);
  enum { COUNT = 3000 };
  void **table = f->root[0] = fake_array(f, &type_pointer, COUNT);
  for (size_t i = 0; i < COUNT; i++) {
    size_t bytes = medium ? 520 + i % 1500 : 40;
    if (leaf) {
      table[i] = fake_array(f, &type_byte, bytes);
      fake_fill(table[i], bytes, (unsigned)i);
    } else {
      void **object = table[i] = fake_array(f, &type_pointer, bytes / 8);
      object[0] = i > 0 ? table[i - 1] : NULL;
      object[bytes / 8 - 1] = object;
      fake_array(f, &type_pointer, bytes / 8); // its neighbour is garbage
    }
    EXPECT(table[i] != NULL);
  }
  for (int cycle = 0; cycle < 6; cycle++) {
    fake_flip(f);
    fake_memory_take(f, cycle % 2 ? spare_blocks : 0);
    for (size_t i = 0; i < COUNT && cycle % 3 == 1; i += 100) { // some of it by traps
      void **object = ((void ***)f->root[0])[i];
      cr_assert(leaf || i == 0 || object[0] == ((void **)f->root[0])[i - 1]);
    }
    fake_finish(f);
    f->gc->limit = f->gc->config.limit;
    table = f->root[0];
    for (size_t i = 0; i < COUNT; i++) {
      size_t bytes = medium ? 520 + i % 1500 : 40;
      if (leaf) {
        cr_assert(fake_filled(table[i], bytes, (unsigned)i));
      } else {
        void **object = table[i];
        cr_assert(object[0] == (i > 0 ? table[i - 1] : NULL));
        cr_assert(object[bytes / 8 - 1] == object);
        cr_assert_eq(gc_cell_length(fake_cell(f, object)), bytes / 8);
      }
    }
  }
  fake_cycle(f);
  fake_cycle(f);
  fake_close(f);
}

ON_TRAPPING_BACK_ENDS(memory, objects_stay_where_they_are_when_there_is_no_memory_for_copies) {
  copies_without_memory(back_end, 0, false, false);
}
ON_TRAPPING_BACK_ENDS(memory, objects_stay_when_memory_runs_out_half_way) { copies_without_memory(back_end, 2, false, false); }
ON_TRAPPING_BACK_ENDS(memory, medium_objects_stay_when_memory_runs_out) { copies_without_memory(back_end, 3, true, false); }
ON_TRAPPING_BACK_ENDS(memory, leaf_objects_stay_when_memory_runs_out) { copies_without_memory(back_end, 0, false, true); }
ON_TRAPPING_BACK_ENDS(memory, medium_leaf_objects_stay_when_memory_runs_out) { copies_without_memory(back_end, 1, true, true); }

// With the limit lowered before the flip, so that the back end without traps has to do with it too.
ON_ALL_BACK_ENDS(memory, nothing_is_lost_when_the_limit_leaves_nothing_for_copies) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 16 * MIB);
  fake_list(f, 0, 20000);
  for (int i = 0; i < 1000; i++) {
    f->root[10 + i] = fake_array(f, &type_byte, (size_t)i);
    fake_fill(f->root[10 + i], (size_t)i, (unsigned)i);
  }
  pair *pinned = f->root[1] = fake_new(f, &type_pair);
  f->word[0] = (uintptr_t)pinned;
  pinned->left = f->root[0];
  for (int cycle = 0; cycle < 5; cycle++) {
    fake_limit(f, (size_t)cycle);
    fake_flip(f);
    fake_finish(f);
    f->gc->limit = 16 * MIB;
    cr_assert_eq(fake_list_length(f, 0), 20000);
    cr_assert_eq((void *)pinned->left, f->root[0]);
    for (int i = 0; i < 1000; i++) {
      cr_assert(fake_filled(f->root[10 + i], (size_t)i, (unsigned)i));
    }
    while (gc_trim(f->gc)) {
    }
  }
  cr_assert_gt(f->gc->kept_blocks, 0);
  // With memory again, garbage goes and the heap is as small as it was.
  f->root[0] = NULL;
  pinned->left = NULL;
  fake_buffers_drop(f);
  fake_cycle(f);
  cr_assert_lt(gc_used_bytes(f->gc), 2 * MIB, "%zu bytes", gc_used_bytes(f->gc));
  fake_close(f);
}

ON_ALL_BACK_ENDS(memory, the_gaps_of_kept_blocks_are_used_again) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 16 * MIB);
  for (int i = 0; i < 40000; i++) {
    pair *p = fake_new(f, &type_pair);
    if (i % 20 == 0) {
      p->right = f->root[0];
      f->root[0] = p;
    }
  }
  fake_buffers_drop(f);
  fake_limit(f, 0);
  fake_cycle(f);
  f->gc->limit = 16 * MIB;
  cr_assert_gt(f->gc->kept_blocks, 0);
  size_t used = gc_used_bytes(f->gc);
  for (int i = 0; i < 20000; i++) {
    pair *p = fake_new(f, &type_pair);
    EXPECT(p != NULL && p->left == NULL && p->right == NULL && p->key == 0);
    p->key = 1;
  }
  cr_assert_leq(gc_used_bytes(f->gc), used + 2 * GC_BLOCK, "%zu before, %zu after", used, gc_used_bytes(f->gc));
  size_t count = 0;
  for (pair *p = f->root[0]; p != NULL; p = p->right) {
    cr_assert_eq(p->key, 0);
    count++;
  }
  cr_assert_eq(count, 2000);
  fake_close(f);
}

// ---- Pacing.

ON_ALL_BACK_ENDS(memory, a_cycle_is_wanted_after_growth_and_headroom) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 64 * MIB, .growth = 100, .headroom = 2 * MIB);
  cr_assert_not(gc_wants_cycle(f->gc));
  size_t count = 0;
  while (!gc_wants_cycle(f->gc)) {
    EXPECT(fake_new(f, &type_pair) != NULL);
    cr_assert_lt(++count, 100000);
  }
  cr_assert_geq(gc_used_bytes(f->gc), 2 * MIB);
  cr_assert_leq(gc_used_bytes(f->gc), 2 * MIB + 2 * GC_BLOCK);
  fake_list(f, 0, 80000); // about 4 MiB
  fake_buffers_drop(f);
  fake_cycle(f);
  size_t live = gc_used_bytes(f->gc);
  cr_assert(live >= 80000 * 48 && live <= 80000 * 48 * 5 / 4, "%zu", live);
  cr_assert_not(gc_wants_cycle(f->gc));
  while (!gc_wants_cycle(f->gc)) {
    EXPECT(fake_new(f, &type_pair) != NULL);
  }
  cr_assert_geq(gc_used_bytes(f->gc), 2 * live + 2 * MIB);
  cr_assert_leq(gc_used_bytes(f->gc), 2 * live + 2 * MIB + 2 * GC_BLOCK);
  fake_close(f);
}

ON_ALL_BACK_ENDS(memory, near_the_limit_a_cycle_is_wanted_earlier) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 8 * MIB, .growth = 1000, .headroom = 64 * MIB);
  while (!gc_wants_cycle(f->gc)) {
    EXPECT(fake_new(f, &type_pair) != NULL); // wanted before it fails
  }
  cr_assert_lt(gc_used_bytes(f->gc), 4 * MIB);
  fake_close(f);
}

ON_TRAPPING_BACK_ENDS(memory, while_a_cycle_runs_no_other_is_wanted) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 16 * MIB, .headroom = MIB);
  fake_list(f, 0, 40000);
  cr_assert(gc_wants_cycle(f->gc));
  fake_flip(f);
  cr_assert_not(gc_wants_cycle(f->gc));
  fake_finish(f);
  fake_close(f);
}

ON_TRAPPING_BACK_ENDS(memory, a_mutator_that_runs_ahead_of_the_scanners_is_asked_to_help) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 64 * MIB, .headroom = MIB);
  fake_list(f, 0, 100000);
  fake_cycle(f);
  cr_assert_not(gc_wants_assist(f->gc));
  fake_flip(f);
  cr_assert_not(gc_wants_assist(f->gc), "nothing is born yet");
  size_t born = 0;
  while (!gc_wants_assist(f->gc)) {
    EXPECT(fake_new(f, &type_pair) != NULL);
    cr_assert_lt(++born, 200000);
  }
  while (fake_step(f)) {
  }
  cr_assert_not(gc_wants_assist(f->gc), "all is scanned");
  fake_finish(f);
  cr_assert_not(gc_wants_assist(f->gc));
  fake_close(f);
}

ON_ALL_BACK_ENDS(memory, a_mutator_that_helps_as_asked_never_runs_out_of_memory) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 16 * MIB, .headroom = MIB);
  fake_list(f, 0, 60000); // some 2.9 MiB live of 16
  size_t cycles = 0;
  for (int i = 0; i < 600000; i++) {
    if (gc_phase_now(f->gc) == GC_IDLE && gc_wants_cycle(f->gc)) {
      fake_flip(f);
      cycles++;
    }
    while (gc_wants_assist(f->gc) && fake_step(f)) {
    }
    if (gc_phase_now(f->gc) == GC_SCANNING && gc_scan_finished(f->gc)) {
      fake_finish(f);
    }
    EXPECT(fake_new(f, &type_pair) != NULL);
  }
  if (gc_phase_now(f->gc) != GC_IDLE) {
    fake_finish(f);
  }
  cr_assert_eq(fake_list_length(f, 0), 60000);
  cr_assert_gt(cycles, 3);
  cr_assert_eq(f->gc->kept_blocks, 0);
  fake_close(f);
}

ON_ALL_BACK_ENDS(memory, free_blocks_make_room_for_large_objects) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 32 * MIB);
  for (int round = 0; round < 3; round++) {
    fake_list(f, 0, 250000); // some 12 MiB of small objects
    f->root[0] = NULL;
    fake_buffers_drop(f);
    fake_cycle(f);
    f->root[1] = fake_array(f, &type_byte, 28 * MIB);
    cr_assert_not_null(f->root[1], "%zu bytes in use, %zu committed", gc_used_bytes(f->gc), (size_t)f->gc->committed_bytes);
    f->root[1] = NULL;
    fake_cycle(f);
  }
  fake_close(f);
}

// ---- Huge pages, and giving back.

ON_ALL_BACK_ENDS(memory, memory_comes_by_chunks_of_2_mib_and_a_trim_gives_whole_ones_back) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 128 * MIB, .headroom = MIB);
  fake_list(f, 0, 400000);
  if (!vm_huge_works(f->gc->region) || f->gc->committed_bytes % VM_HUGE != 0) {
    fake_close(f);
    cr_skip_test("the system gives no huge pages");
  }
  cr_assert_eq(f->gc->fresh % (VM_HUGE / GC_BLOCK), 0);
  cr_assert_eq(vm_held(f->gc->region), f->gc->committed_bytes);
  pair *held = f->root[0];
  f->word[0] = (uintptr_t)held; // its block stays, and so its chunk is no whole one
  f->root[0] = NULL;
  held->right = NULL;
  fake_buffers_drop(f);
  fake_cycle(f);
  while (gc_trim(f->gc)) {
  }
  cr_assert_eq(f->gc->committed_bytes % VM_HUGE, 0, "%zu", (size_t)f->gc->committed_bytes);
  cr_assert_eq(vm_held(f->gc->region), f->gc->committed_bytes);
  cr_assert_leq(f->gc->committed_bytes, (gc_pace_keep(f->gc) + 2 * VM_HUGE / GC_BLOCK) * GC_BLOCK);
  cr_assert_eq(held->key, 0);
  fake_list(f, 1, 400000);
  cr_assert_eq(fake_list_length(f, 1), 400000);
  fake_close(f);
}

ON_ALL_BACK_ENDS(memory, memory_that_pacing_does_not_want_is_given_back) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 64 * MIB, .headroom = MIB);
  fake_list(f, 0, 500000); // some 24 MiB
  size_t most = vm_held(f->gc->region);
  cr_assert_gt(most, 20 * MIB);
  f->root[0] = NULL;
  fake_buffers_drop(f);
  fake_cycle(f);
  while (gc_trim(f->gc)) {
  }
  cr_assert_lt(f->gc->committed_bytes, 8 * MIB, "%zu", (size_t)f->gc->committed_bytes);
  cr_assert_lt(vm_held(f->gc->region), 8 * MIB, "%zu", vm_held(f->gc->region));
  cr_assert_not(gc_trim(f->gc));
  fake_list(f, 0, 500000); // and can be had again
  cr_assert_eq(fake_list_length(f, 0), 500000);
  fake_close(f);
}

ON_TRAPPING_BACK_ENDS(memory, blocks_are_made_ready_ahead_of_need) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 8 * MIB);
  while (gc_provide(f->gc, 8)) {
  }
  cr_assert_eq(f->gc->veiled_free.count, 8);
  cr_assert_eq(f->gc->committed_bytes, (8 + f->gc->ready.count) * GC_BLOCK);
  cr_assert_not(gc_provide(f->gc, 8));
  while (gc_provide(f->gc, 1000)) {
  }
  cr_assert_leq(f->gc->committed_bytes, 8 * MIB);
  fake_list(f, 0, 1000); // they serve allocation too
  fake_cycle(f);
  cr_assert_eq(fake_list_length(f, 0), 1000);
  fake_close(f);
}

ON_ALL_BACK_ENDS(memory, every_byte_counted_is_uncounted_in_the_end) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 32 * MIB);
  for (int round = 0; round < 10; round++) {
    fake_list(f, 0, 20000);
    for (int i = 0; i < 10; i++) {
      f->root[i + 1] = fake_array(f, i % 2 ? &type_byte : &type_pointer, 10000u * (unsigned)i);
    }
    f->word[0] = (uintptr_t)f->root[0];
    fake_cycle(f);
    memset(f->root, 0, sizeof f->root);
    f->word[0] = 0;
    fake_buffers_drop(f);
    fake_cycle(f);
    cr_assert_eq(f->gc->used_blocks, 0);
    cr_assert_eq(f->gc->large_bytes, 0);
    size_t free = f->gc->open_free.count + f->gc->veiled_free.count + f->gc->ready.count;
    cr_assert_eq(f->gc->kept_tails, 0);
    cr_assert_eq(f->gc->committed_bytes, free * GC_BLOCK + f->gc->kept_free);
    cr_assert_eq(f->gc->region->committed, free * GC_BLOCK + f->gc->kept_free);
    cr_assert_eq(f->gc->got_bytes - f->gc->returned_bytes, f->gc->committed_bytes);
  }
  fake_close(f);
}

// In the background, where nothing is born young: so that who allocates waits for no system call. And no trim takes it away again.
ON_ALL_BACK_ENDS(memory, what_will_be_filled_next_is_made_ready_but_not_more_than_a_trim_leaves) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 256 << 20, .headroom = 64 << 20);
  fake_list(f, 0, 500000); // 24 MiB
  cr_assert(gc_wants_open(f->gc));
  uint64_t committed = at_load(&f->gc->committed_bytes);
  unsigned steps = 0;
  while (gc_provide_open(f->gc)) {
    steps++;
  }
  cr_assert(steps >= 16 && steps <= 64, "%u blocks", steps);
  cr_assert(!gc_wants_open(f->gc));
  cr_assert(!gc_trim(f->gc));
  uint64_t ready = at_load(&f->gc->committed_bytes);
  cr_assert_gt(ready, committed);
  for (unsigned i = 0; i < steps / 2; i++) {
    cr_assert_neq(gc_block_take_open(f->gc), GC_NONE);
  }
  cr_assert_eq(at_load(&f->gc->committed_bytes), ready, "a block was had from the system though others were ready");
  fake_close(f);
}

ON_ALL_BACK_ENDS(memory, nothing_is_made_ready_where_a_limit_is_near) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 256 << 20, .headroom = 64 << 20);
  fake_list(f, 0, 500000);
  uint64_t committed = at_load(&f->gc->committed_bytes);
  f->gc->config.soft_limit = committed + MIB;
  cr_assert(!gc_provide_open(f->gc));
  f->gc->config.soft_limit = 0;
  gc_limit_set(f->gc, 2 * committed - 4 * MIB); // a cycle needs as much again for its copies
  cr_assert(!gc_may_allocate(f->gc, GC_BLOCK));
  cr_assert(!gc_provide_open(f->gc));
  cr_assert_eq(at_load(&f->gc->committed_bytes), committed);
  gc_limit_set(f->gc, 256 << 20);
  cr_assert(gc_provide_open(f->gc));
  fake_close(f);
}

enum { HELD = 4096 };
static struct {
  fake *f;
  uint32_t block[HELD];
  unsigned count;
} hands;

static void *hands_open(void *unused) {
  usleep(50000);
  while (hands.count > 0) {
    gc_stack_push(hands.f->gc, &hands.f->gc->open_free, hands.block[--hands.count]);
  }
  at_add_full(&hands.f->gc->trims, 1);
  at_store_release(&hands.f->gc->trim_lock, 0);
  return unused;
}

// Who gives memory back has all free blocks in his hands meanwhile, and may have to wait for a processor.
ON_ALL_BACK_ENDS(memory, who_finds_no_block_waits_for_those_that_somebody_has_in_his_hands) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 64 << 20, .headroom = 64 << 20);
  fake_list(f, 0, 100000);
  f->root[0] = NULL;
  fake_cycle(f);
  fake_buffers_drop(f);
  hands.f = f;
  hands.count = 0;
  at_store(&f->gc->trim_lock, 1);
  for (uint32_t block; hands.count < HELD && (block = gc_block_take_open(f->gc)) != GC_NONE;) {
    hands.block[hands.count++] = block;
  }
  for (unsigned i = 0; i < hands.count; i++) { // in no space, as when they were free
    AO_char_store_release((unsigned char volatile *)&f->gc->space[hands.block[i]], 0);
    at_add(&f->gc->used_blocks, (uint64_t)-1);
  }
  cr_assert_gt(hands.count, 8);
  pthread_t thread;
  cr_assert_eq(pthread_create(&thread, NULL, hands_open, NULL), 0);
  fake_list(f, 0, 20000);
  cr_assert_eq(fake_list_length(f, 0), 20000);
  pthread_join(thread, NULL);
  fake_cycle(f);
  fake_close(f);
}

// Memory that was not in use before is had only when those are gone.
ON_ALL_BACK_ENDS(memory, blocks_that_a_trim_looks_through_can_be_had) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 64 << 20, .headroom = 64 << 20);
  fake_list(f, 0, 100000);
  f->root[0] = NULL;
  fake_cycle(f);
  fake_buffers_drop(f);
  gc_heap *gc = f->gc;
  at_store(&gc->trim_lock, 1);
  gc_stack *stacks[] = {&gc->open_free, &gc->veiled_free, &gc->ready, &gc->born_ready};
  unsigned count = 0;
  for (size_t i = 0; i < sizeof stacks / sizeof *stacks; i++) {
    for (uint32_t block; (block = gc_stack_pop(gc, stacks[i])) != GC_NONE; count++) {
      at32_or_full(&gc->trim[block / 32], (uint32_t)1 << block % 32);
    }
  }
  cr_assert_gt(count, 8);
  at_store(&gc->trim_chunks, gc->small_blocks / 32);
  size_t committed = at_load(&gc->committed_bytes);
  for (unsigned i = 0; i < count; i++) {
    uint32_t block = i % 2 ? gc_block_take_veiled(gc) : gc_block_take_open(gc);
    cr_assert_neq(block, GC_NONE);
    cr_assert_eq(vm_is_open(gc->region, gc_block_page(gc, block)), i % 2 == 0);
    cr_assert_eq(at_load(&gc->committed_bytes), committed, "block %u of %u", i, count);
  }
  cr_assert_neq(gc_block_take_open(gc), GC_NONE);
  cr_assert_gt(at_load(&gc->committed_bytes), committed);
  at_store(&gc->trim_chunks, 0);
  at_store_release(&gc->trim_lock, 0);
  fake_close(f);
}

enum { OWNERS = 3, ROUNDS = 3000 };
static struct {
  gc_heap *gc;
  AO_t *owner, over; // per block
} owned;

static void *owner_run(void *arg) {
  uintptr_t self = (uintptr_t)arg, random = self;
  uint32_t mine[16];
  for (unsigned round = 0; round < ROUNDS; round++) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    unsigned wanted = random >> 60, got = 0;
    for (uint32_t block; got < wanted && (block = round % 2 ? gc_block_take_veiled(owned.gc) : gc_block_take_open(owned.gc)) != GC_NONE;) {
      cr_assert(at_cas_full(&owned.owner[block], 0, self), "block %u had twice", block);
      mine[got++] = block;
    }
    while (got > 0) {
      cr_assert(at_cas_full(&owned.owner[mine[--got]], self, 0));
      gc_blocks_free(owned.gc, mine[got], 1, random >> 59 & 1);
    }
  }
  at_add_full(&owned.over, 1);
  return NULL;
}

ON_ALL_BACK_ENDS(memory, no_block_is_had_twice_while_others_are_given_back) {
  OPEN_OR_SKIP(f, .back_end = back_end, .limit = 64 << 20, .headroom = 64 << 20);
  owned.gc = f->gc;
  owned.owner = calloc(f->gc->small_blocks, sizeof *owned.owner);
  pthread_t threads[OWNERS];
  for (uintptr_t i = 0; i < OWNERS; i++) {
    cr_assert_eq(pthread_create(&threads[i], NULL, owner_run, (void *)(i + 1)), 0);
  }
  while (at_load_acquire(&owned.over) < OWNERS) {
    gc_free_memory(f->gc, 5 * GC_BLOCK);
  }
  for (unsigned i = 0; i < OWNERS; i++) {
    pthread_join(threads[i], NULL);
  }
  for (uint32_t block; (block = gc_block_take_open(f->gc)) != GC_NONE;) {
    cr_assert(at_cas_full(&owned.owner[block], 0, 9), "block %u had twice", block);
    if (!gc_may_allocate(f->gc, GC_BLOCK)) {
      break;
    }
  }
  free(owned.owner);
  fake_close(f);
}
