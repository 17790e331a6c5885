// SPDX-License-Identifier: MIT
// table_cycle.c: what cycles do about the entries of weak tables. Scanners, the sweep, and who stops the world for a minor cycle; outer.c calls.
//
// [gc.pairs] What an entry holds has been reached if its table has, and what it depends on: the key of an ephemeron
// (Hayes 1997), the value of a table with weak values. To see to that all entries are looked at when nothing is grey, again
// and again until nothing is found. `traced` is what `opened` was when that began, nobody else being counted: as long as
// it is that still, nobody has reached anything since but through what was black, and so nothing is left to be found. An entry whose words are written
// meanwhile holds what a mutator had in its hands, which is marked, or will be before this ends (gc.deferred). So tracing takes no locks: of an entry that is removed and
// made anew between two looks it may see a bit of both, and holds for a cycle what need not be.

#include "gc/alloc.h"
#include "gc/gc.h"
#include "gc/minor.h"
#include "gc/near.h"
#include "gc/outer.h"
#include "gc/scan.h"
#include "gc/sweep.h"
#include "gc/table.h"

enum {
  CHUNK = 1024,     // entries between two moments at which services need not wait
  BURIED = 4096,    // entries that a pause frees
};

static gc_pair *pair_at(const gc_heap *heap, uint64_t pair) { return &heap->weak.pairs[pair]; }

static AO_t *held_by(gc_pair *pair, gc_table_kind kind) { return kind == GC_TABLE_KEYS ? &pair->value : &pair->key; }
static AO_t *needed_by(gc_pair *pair, gc_table_kind kind) { return kind == GC_TABLE_KEYS ? &pair->key : &pair->value; }
static bool holds(gc_table_kind kind) { return kind == GC_TABLE_KEYS || kind == GC_TABLE_VALUES; }

// ---- Major cycles.

static bool is_reached(gc_heap *heap, uintptr_t view) { return view != 0 && (!gc_is_from(heap, view) || gc_outer_resolved(heap, view) != 0); }

void gc_tables_flip(gc_heap *heap) {
  at_store(&heap->weak.log_count, 0);
  at_store(&heap->weak.traced, UINT64_MAX);
}

static bool pair_trace(gc_heap *heap, gc_copier *copier, gc_pair *pair) {
  uint32_t table = at32_load_acquire(&pair->table);
  gc_table_kind kind = gc_table_kind_of(heap, table);
  if (!holds(kind)) {
    return false;
  }
  AO_t *held = held_by(pair, kind);
  uintptr_t view = at_load_acquire(held);
  if (!gc_is_from(heap, view)) {
    return false;
  }
  uintptr_t now = gc_outer_resolved(heap, view);
  if (now != 0) {
    at_cas_full(held, view, now); // not to be looked up again, if it has moved
    return false;
  }
  if (!is_reached(heap, at_load_acquire(needed_by(pair, kind))) || !is_reached(heap, gc_table_owner(heap, table))) {
    return false;
  }
  gc_outer_forwarded(heap, copier, held, view);
  return true;
}

// All entries; forth, and back the next time, so that a chain of them in either order takes one look.
static uint64_t pairs_trace(gc_heap *heap) {
  uint64_t found = 0, high = at_load_acquire(&heap->weak.high);
  bool back = at_load(&heap->weak.traces) % 2 != 0;
  gc_copier *copier = gc_copier_take(heap);
  for (uint64_t chunk = 0; chunk < high; chunk += CHUNK) {
    gc_copier_enter(copier);
    for (uint64_t i = chunk; i < chunk + CHUNK && i < high; i++) {
      found += pair_trace(heap, copier, pair_at(heap, back ? high - 1 - i : i));
    }
    gc_copier_leave(copier);
  }
  gc_copier_give(heap, copier);
  at_add(&heap->weak.traces, 1);
  return found;
}

bool gc_tables_finish(gc_heap *heap) {
  gc_weak *weak = &heap->weak;
  if (gc_tables_finished(heap)) {
    return true;
  }
  if (!at_cas_full(&weak->tracing, 0, 1)) {
    return false;
  }
  at_add_full(&heap->opened, 1); // the cycle does not end meanwhile; or it has (gc.count)
  uint64_t opened = at_load_acquire(&heap->opened);
  at_fence_full();
  bool alone = gc_phase_now(heap) == GC_SCANNING && at_load_acquire(&heap->cleaned) == opened - 1;
  if (alone && pairs_trace(heap) == 0) {
    at_store_release(&weak->traced, opened);
  }
  at_add_full(&heap->cleaned, 1);
  at_store_release(&weak->tracing, 0);
  return gc_tables_finished(heap);
}

static void word_settle(gc_heap *heap, AO_t volatile *word) {
  uintptr_t view = at_load_acquire(word);
  if (gc_is_from(heap, view)) {
    uintptr_t now = gc_outer_resolved(heap, view);
    VM_CHECK(now != 0, "an entry of a weak table is there, but %p, which it holds, was not reached [gc.pairs]", (void *)view);
    at_cas_full(word, view, now);
  }
}

// What a flip pinned in the zone is young again when the cycle is over.
static void pair_log_again(gc_heap *heap, gc_pair *pair) {
  if (gc_has_young(heap) && (gc_outer_is_logged(heap, at_load(&pair->key)) || gc_outer_is_logged(heap, at_load(&pair->value)))) {
    gc_sweep_lock(heap); // not while a minor cycle makes the log anew
    gc_pair_log(heap, pair);
    gc_sweep_unlock(heap);
  }
}

static void pair_settle(gc_heap *heap, gc_pair *pair) {
  bool is_from = gc_is_from(heap, at_load_acquire(&pair->key)) || gc_is_from(heap, at_load_acquire(&pair->value));
  AO_t *held = is_from ? gc_pair_lock(heap, pair) : NULL;
  if (held != NULL) {
    gc_table_kind kind = gc_table_kind_of(heap, at32_load(&pair->table));
    if (is_reached(heap, at_load_acquire(needed_by(pair, kind))) &&
        (kind != GC_TABLE_BOTH || is_reached(heap, at_load_acquire(&pair->key)))) {
      word_settle(heap, &pair->key);
      word_settle(heap, &pair->value);
    } else {
      gc_pair_remove_locked(heap, pair);
    }
    gc_pair_unlock(held);
  }
  pair_log_again(heap, pair);
}

bool gc_tables_settle(gc_heap *heap) {
  uint64_t high = at_load_acquire(&heap->weak.high);
  bool done = false;
  while (!done) { // first: what their entries hold was not traced
    gc_sweep_lock_last(heap); // one at a time, and minor cycles first
    done = gc_tables_bury(heap, CHUNK);
    gc_sweep_unlock(heap);
  }
  if (at_load(&heap->weak.count) == 0) {
    return high != 0;
  }
  gc_copier *copier = gc_copier_take(heap);
  for (uint64_t chunk = 0; chunk < high; chunk += CHUNK) {
    gc_copier_enter(copier);
    for (uint64_t i = chunk; i < chunk + CHUNK && i < high; i++) {
      pair_settle(heap, pair_at(heap, i));
    }
    gc_copier_leave(copier);
  }
  gc_copier_give(heap, copier);
  return high != 0;
}

// ---- Minor cycles: the world is stopped, but scanners and a sweep are not. What is from-space counts as reached.

static bool survives(gc_heap *heap, uintptr_t view) { return view != 0 && (!gc_is_young(heap, view) || gc_outer_survivor(heap, view) != 0); }

static bool pair_minor_trace(gc_minor *minor, gc_pair *pair, bool all) {
  gc_heap *heap = minor->heap;
  uint32_t table = at32_load_acquire(&pair->table);
  gc_table_kind kind = gc_table_kind_of(heap, table);
  if (!holds(kind)) {
    return false;
  }
  AO_t *held = held_by(pair, kind);
  uintptr_t view = at_load(held);
  if (!gc_is_young(heap, view) || gc_outer_survivor(heap, view) != 0) {
    return false;
  }
  if (!all && (!survives(heap, at_load(needed_by(pair, kind))) || !survives(heap, gc_table_owner(heap, table)))) {
    return false;
  }
  gc_minor_forward(minor, view); // the word is put right when all are settled
  return true;
}

bool gc_tables_minor_trace(gc_minor *minor, bool all) {
  gc_heap *heap = minor->heap;
  gc_weak *weak = &heap->weak;
  if (at_load(&weak->log_count) == 0) {
    return false;
  }
  uint64_t found = 0;
  gc_sweep_lock(heap); // a sweep may be about to add to the log
  uint64_t count = at_load(&weak->log_count);
  bool back = at_load(&weak->traces) % 2 != 0;
  for (uint64_t i = 0; i < count; i++) {
    found += pair_minor_trace(minor, pair_at(heap, weak->log[back ? count - 1 - i : i]), all);
  }
  at_add(&weak->traces, 1);
  gc_sweep_unlock(heap);
  return found != 0;
}

static void word_minor_settle(gc_heap *heap, AO_t volatile *word) {
  uintptr_t view = at_load(word);
  if (gc_is_young(heap, view)) {
    uintptr_t now = gc_outer_survivor(heap, view);
    VM_CHECK(now != 0, "an entry of a weak table is there, but %p, which it holds, has not survived [gc.pairs]", (void *)view);
    at_store(word, now);
  }
}

// True: it stays in the log.
static bool pair_minor_settle(gc_heap *heap, gc_pair *pair) {
  AO_t *held = gc_pair_lock(heap, pair);
  if (held == NULL) {
    return false;
  }
  gc_table_kind kind = gc_table_kind_of(heap, at32_load(&pair->table));
  bool stays = kind != GC_TABLE_DEAD && survives(heap, at_load(needed_by(pair, kind))) &&
               (kind != GC_TABLE_BOTH || survives(heap, at_load(&pair->key)));
  if (stays) {
    word_minor_settle(heap, &pair->key);
    word_minor_settle(heap, &pair->value);
    stays = gc_outer_is_logged(heap, at_load(&pair->key)) || gc_outer_is_logged(heap, at_load(&pair->value));
  } else {
    gc_pair_remove_locked(heap, pair);
  }
  gc_pair_unlock(held);
  return stays;
}

void gc_tables_minor_settle(gc_heap *heap) {
  gc_weak *weak = &heap->weak;
  if (at_load(&weak->table_high) == 0) {
    return;
  }
  gc_sweep_lock(heap);
  uint64_t left = 0;
  for (uint64_t i = 0; i < at_load(&weak->log_count); i++) {
    gc_pair *pair = pair_at(heap, weak->log[i]);
    if (pair_minor_settle(heap, pair)) {
      weak->log[left++] = weak->log[i];
    } else {
      at32_store(&pair->logged, 0);
    }
  }
  at_store(&weak->log_count, left);
  gc_tables_bury(heap, BURIED); // the rest next time
  gc_sweep_unlock(heap);
}
