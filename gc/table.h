// SPDX-License-Identifier: MIT
// table.h: weak tables: entries of a key and a value, which are there as long as the key lives, or the value, or both.
//
// Entries lie outside of the heap, in one array for all tables; a flip does nothing about them. They are found by the
// key's identity hash (gc_hash), which stays when the key moves, in one index for all tables that grows bucket by
// bucket, so no call takes long because a table is large. A table is a number; an object stands for it, and when that
// dies so does the table.
//
// Callers are mutators that are not stopped meanwhile, but for those that say otherwise; any number of them at a time.

#ifndef GC_TABLE_H
#define GC_TABLE_H

#include "gc/heap.h"

struct gc_minor;

// A new table's number, or GC_NONE if there are too many tables or links. `owner`: the object that stands for it.
uint32_t gc_table_new(gc_heap *heap, gc_table_kind kind, uintptr_t owner);
static inline bool gc_table_is(const gc_heap *heap, uint32_t table) {
  return table < at_load_acquire(&heap->weak.table_high) && at32_load_acquire(&heap->weak.tables[table].kind) != GC_TABLE_FREE;
}
static inline gc_table_kind gc_table_kind_of(const gc_heap *heap, uint32_t table) {
  return table != GC_NONE ? (gc_table_kind)at32_load_acquire(&heap->weak.tables[table].kind) : GC_TABLE_FREE;
}
// What stands for the table; 0: it is dead.
static inline uintptr_t gc_table_owner(const gc_heap *heap, uint32_t table) {
  const gc_link *link = &heap->links.at[heap->weak.tables[table].link];
  return at32_load_acquire(&link->kind) == GC_LINK_TABLE ? at_load_acquire(&link->owner) : 0;
}
// The value of `key`, or 0.
uintptr_t gc_table_get(gc_heap *heap, uint32_t table, uintptr_t key);
// Makes an entry, or changes its value. False: there are too many entries.
bool gc_table_put(gc_heap *heap, uint32_t table, uintptr_t key, uintptr_t value);
// False: there is none.
bool gc_table_remove(gc_heap *heap, uint32_t table, uintptr_t key);
static inline uint64_t gc_table_count(const gc_heap *heap, uint32_t table) { return at_load(&heap->weak.tables[table].count); }

// Lists what is in a table, a few entries at a time. Begins with all zero; `more`: there may be more, and the last one seen waits for us, so
// it has to be gone on until there is no more.
typedef struct gc_table_list {
  bool more;
  uint32_t at;
} gc_table_list;
typedef struct gc_entry {
  uintptr_t key, value;
} gc_entry;
// Up to `most` entries. Returns how many.
size_t gc_table_list_some(gc_heap *heap, uint32_t table, gc_table_list *list, gc_entry *out, size_t most);

// While the heap opens (rebuild.c). False: it is there already, or its number is too large.
bool gc_table_restore(gc_heap *heap, uint32_t table, gc_table_kind kind, uint32_t link);
void gc_tables_restored(gc_heap *heap); // after the last
// With the world stopped: there is no table any more, nor an entry (rollback.c).
void gc_tables_rollback(gc_heap *heap);
// The same for an entry of a table that is there. False: there are too many.
bool gc_pair_restore(gc_heap *heap, uint32_t table, uint32_t hash, uintptr_t key, uintptr_t value);

// ---- For cycles (outer.c has the order).
void gc_tables_flip(gc_heap *heap); // in the pause
// Nothing is grey: what entries hold is traced, once more. True: nothing was found, nor has anything been reached since.
bool gc_tables_finish(gc_heap *heap);
// Whether that still holds.
static inline bool gc_tables_finished(const gc_heap *heap) {
  return at_load(&heap->weak.count) == 0 || at_load_acquire(&heap->weak.traced) == at_load_acquire(&heap->opened);
}
// Entries of what was not reached go, and tables that are dead. False: there is no entry.
bool gc_tables_settle(gc_heap *heap);
// In the pause of a minor cycle: what entries hold, or might hold if `all`; true: there is more to scan. Then the rest.
bool gc_tables_minor_trace(struct gc_minor *minor, bool all);
void gc_tables_minor_settle(gc_heap *heap);
// The object that stands for the table is dead. By who sweeps, or in the pause of a minor cycle.
void gc_table_die(gc_heap *heap, uint32_t table);

// ---- Between table.c and table_cycle.c.
// Locks the bucket of an entry, and returns the lock; NULL: it is no entry any more.
AO_t *gc_pair_lock(gc_heap *heap, gc_pair *pair);
void gc_pair_unlock(AO_t *lock);
// Its bucket is locked: it is an entry no more.
void gc_pair_remove_locked(gc_heap *heap, gc_pair *pair);
void gc_pair_log(gc_heap *heap, gc_pair *pair);
// Frees up to `most` entries of tables that are dead, and such as have none left. One thread at a time. False: there are more.
bool gc_tables_bury(gc_heap *heap, size_t most);

#endif
