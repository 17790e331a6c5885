// SPDX-License-Identifier: MIT
// table.c: weak tables, as mutators use them: the index, entries, lists. What cycles do about them: table_cycle.c.
//
// Locks, held for a few instructions, or for the reading of up to 64 entries, by threads that no stop catches meanwhile: a bucket's, then its table's, then
// that of what is free. Who has one of them waits for nobody else, but for a moment at the end of a cycle
// (gc_outer_read), which ends without these locks.
// The index is a linear hash table (Litwin 1980): it has one bucket more after each insertion that it is too small for,
// and a bucket's lock is also that of the one it is split from.

#include "gc/table.h"
#include <string.h>
#include "gc/changed.h"
#include "gc/gc.h"
#include "gc/links.h"
#include "gc/outer.h"
#include "gc/wait.h"
#include "gc/young.h"

static gc_pair *pair_at(const gc_heap *heap, uint32_t pair) { return &heap->weak.pairs[pair]; }
static uint32_t number_of(const gc_heap *heap, const gc_pair *pair) { return (uint32_t)(pair - heap->weak.pairs); }
static gc_table *table_at(const gc_heap *heap, uint32_t table) { return &heap->weak.tables[table]; }

static void lock(AO_t volatile *word) {
  for (unsigned looks = 0; !at_cas_full(word, 0, 1);) {
    gc_wait(&looks);
  }
}
static void unlock(AO_t volatile *word) { at_store_release(word, 0); }

static AO_t *lock_of(gc_heap *heap, uint32_t hash) { return &heap->weak.locks[hash % GC_TABLE_LOCKS]; }

// ---- The index.

static uint32_t width(const gc_heap *heap) {
  uint64_t wide = at_load_acquire(&heap->weak.width);
  return wide != 0 ? (uint32_t)wide : GC_TABLE_LOCKS;
}

// The greatest power of two up to `n`.
static uint32_t round_of(uint32_t n) { return (uint32_t)1 << (31 - __builtin_clz(n)); }

// The bucket is locked, so that is its place until it is not.
static uint32_t volatile *bucket_of(const gc_heap *heap, uint32_t hash) {
  uint32_t wide = width(heap), round = round_of(wide);
  uint32_t bucket = hash & (2 * round - 1);
  return &heap->weak.buckets[bucket < wide ? bucket : hash & (round - 1)];
}

static bool wants_bucket(const gc_heap *heap) { return at_load(&heap->weak.count) > width(heap) && width(heap) < heap->weak.limit; }

static void bucket_add(gc_heap *heap) {
  gc_weak *weak = &heap->weak;
  if (!wants_bucket(heap) || !at_cas_full(&weak->growing, 0, 1)) {
    return;
  }
  if (!wants_bucket(heap)) { // somebody else was quicker
    unlock(&weak->growing);
    return;
  }
  uint32_t wide = width(heap), round = round_of(wide); // nobody else changes it
  AO_t *held = lock_of(heap, wide);                    // and of wide - round, since there are fewer locks than buckets
  lock(held);
  uint32_t volatile *from = &weak->buckets[wide - round];
  uint32_t pair = *from, low = 0, high = 0;
  while (pair != 0) {
    gc_pair *at = pair_at(heap, pair - 1);
    uint32_t next = at->chain, *to = at32_load(&at->hash) & round ? &high : &low;
    at->chain = *to;
    *to = pair;
    pair = next;
  }
  *from = low;
  weak->buckets[wide] = high;
  at_store_release(&weak->width, wide + 1);
  unlock(held);
  unlock(&weak->growing);
}

static uint32_t hash_of(gc_heap *heap, uint32_t table, uintptr_t key) {
  return (uint32_t)(gc_hash(heap, key) >> 32) ^ table * 0x9e3779b1u;
}

// ---- Entries. Each is on the list of free ones, or in a bucket and in its table.

static gc_pair *pair_take(gc_heap *heap) {
  gc_weak *weak = &heap->weak;
  gc_pair *pair = NULL;
  lock(&weak->lock);
  uint64_t high = at_load(&weak->high);
  if (weak->free != 0) {
    pair = pair_at(heap, weak->free - 1);
    weak->free = pair->chain;
  } else if (high < weak->limit) {
    pair = pair_at(heap, (uint32_t)high);
    at32_store(&pair->table, GC_NONE);
    at_store_release(&weak->high, high + 1);
  }
  unlock(&weak->lock);
  return pair;
}

static void pair_free(gc_heap *heap, gc_pair *pair) {
  gc_weak *weak = &heap->weak;
  pair->removed = false;
  pair->visits = 0;
  lock(&weak->lock);
  pair->chain = weak->free;
  weak->free = number_of(heap, pair) + 1;
  unlock(&weak->lock);
}

// Under the table's lock. At the end: who lists the table sees first what was there when he began.
static void list_add(gc_heap *heap, gc_table *table, gc_pair *pair) {
  uint32_t last = table->last, number = number_of(heap, pair) + 1;
  pair->next = 0;
  pair->prev = last;
  if (last != 0) {
    pair_at(heap, last - 1)->next = number;
  } else {
    table->first = number;
  }
  table->last = number;
}

static void list_take(gc_heap *heap, gc_table *table, gc_pair *pair) {
  if (pair->prev != 0) {
    pair_at(heap, pair->prev - 1)->next = pair->next;
  } else {
    table->first = pair->next;
  }
  if (pair->next != 0) {
    pair_at(heap, pair->next - 1)->prev = pair->prev;
  } else {
    table->last = pair->prev;
  }
}

AO_t *gc_pair_lock(gc_heap *heap, gc_pair *pair) {
  while (at32_load_acquire(&pair->table) != GC_NONE) {
    uint32_t hash = at32_load(&pair->hash);
    AO_t *held = lock_of(heap, hash);
    lock(held);
    if (at32_load(&pair->table) != GC_NONE && at32_load(&pair->hash) == hash) {
      return held;
    }
    unlock(held); // it was freed meanwhile, or is another one
  }
  return NULL;
}

void gc_pair_unlock(AO_t *held) { unlock(held); }

static void chain_take(gc_heap *heap, gc_pair *pair) {
  uint32_t volatile *at = bucket_of(heap, at32_load(&pair->hash));
  uint32_t number = number_of(heap, pair) + 1;
  while (*at != number) {
    at = &pair_at(heap, *at - 1)->chain;
  }
  *at = pair->chain;
}

void gc_pair_remove_locked(gc_heap *heap, gc_pair *pair) {
  gc_table *table = table_at(heap, at32_load(&pair->table));
  chain_take(heap, pair);
  lock(&table->lock);
  at_store(&pair->key, 0);
  at_store(&pair->value, 0);
  at32_store(&pair->table, GC_NONE);
  gc_changed(heap, &heap->weak.changes, number_of(heap, pair));
  bool visited = pair->visits != 0 && at32_load(&table->kind) != GC_TABLE_DEAD; // who lists a table holds it: then those in a child of fork are gone
  pair->removed = visited;
  if (!visited) {
    list_take(heap, table, pair);
  }
  unlock(&table->lock);
  at_add(&table->count, (uint64_t)-1);
  at_add(&heap->weak.count, (uint64_t)-1);
  if (!visited) {
    pair_free(heap, pair);
  }
}

void gc_pair_log(gc_heap *heap, gc_pair *pair) {
  uint32_t old = at32_load(&pair->logged);
  if (old != gc_outer_stamp(heap) && at32_cas_full(&pair->logged, old, gc_outer_stamp(heap))) {
    heap->weak.log[at_add_full(&heap->weak.log_count, 1)] = number_of(heap, pair);
  }
}

static void log_if_young(gc_heap *heap, gc_pair *pair, uintptr_t key, uintptr_t value) {
  if (gc_has_young(heap) && (gc_outer_is_logged(heap, key) || gc_outer_is_logged(heap, value))) {
    gc_pair_log(heap, pair);
  }
}

// Its bucket is locked. The caller holds `key`, which may not be marked yet (gc.deferred): so a word that is the same refers to it, whatever is known of that.
static gc_pair *find_locked(gc_heap *heap, uint32_t table, uint32_t hash, uintptr_t key) {
  for (uint32_t pair = *bucket_of(heap, hash); pair != 0; pair = pair_at(heap, pair - 1)->chain) {
    gc_pair *at = pair_at(heap, pair - 1);
    if (at32_load(&at->hash) == hash && at32_load(&at->table) == table && (at_load_acquire(&at->key) == key || gc_outer_peek(heap, &at->key) == key)) {
      return at;
    }
  }
  return NULL;
}

uintptr_t gc_table_get(gc_heap *heap, uint32_t table, uintptr_t key) {
  if (at_load(&table_at(heap, table)->count) == 0) {
    return 0; // and keys that are in no table get no hash
  }
  uint32_t hash = hash_of(heap, table, key);
  lock(lock_of(heap, hash));
  gc_pair *pair = find_locked(heap, table, hash, key);
  uintptr_t value = pair != NULL ? gc_outer_read(heap, &pair->value) : 0;
  unlock(lock_of(heap, hash));
  return value;
}

static gc_pair *add_locked(gc_heap *heap, uint32_t table, uint32_t hash, uintptr_t key, uintptr_t value) {
  gc_pair *pair = pair_take(heap);
  if (pair == NULL) {
    return NULL;
  }
  gc_table *of = table_at(heap, table);
  at32_store(&pair->hash, hash);
  at_store(&pair->key, key);
  at_store(&pair->value, value);
  at32_store_release(&pair->table, table);
  gc_changed(heap, &heap->weak.changes, number_of(heap, pair));
  uint32_t volatile *bucket = bucket_of(heap, hash);
  pair->chain = *bucket;
  *bucket = number_of(heap, pair) + 1;
  lock(&of->lock);
  list_add(heap, of, pair);
  unlock(&of->lock);
  at_add(&of->count, 1);
  at_add(&heap->weak.count, 1);
  return pair;
}

bool gc_table_put(gc_heap *heap, uint32_t table, uintptr_t key, uintptr_t value) {
  uint32_t hash = hash_of(heap, table, key);
  lock(lock_of(heap, hash));
  gc_pair *pair = find_locked(heap, table, hash, key);
  if (pair != NULL) {
    at_store_release(&pair->value, value);
    gc_changed(heap, &heap->weak.changes, number_of(heap, pair));
  } else {
    pair = add_locked(heap, table, hash, key, value);
  }
  if (pair != NULL) {
    log_if_young(heap, pair, key, value);
  }
  unlock(lock_of(heap, hash));
  bucket_add(heap);
  return pair != NULL;
}

bool gc_table_remove(gc_heap *heap, uint32_t table, uintptr_t key) {
  uint32_t hash = hash_of(heap, table, key);
  lock(lock_of(heap, hash));
  gc_pair *pair = find_locked(heap, table, hash, key);
  bool there = pair != NULL && gc_outer_read(heap, &pair->value) != 0;
  if (pair != NULL) {
    gc_pair_remove_locked(heap, pair);
  }
  unlock(lock_of(heap, hash));
  return there;
}

// ---- Lists.

// The one where the list has stopped; the next one. Under the table's lock. `gone`: is to be freed.
static uint32_t list_resume(gc_heap *heap, gc_table *table, const gc_table_list *list, gc_pair **gone) {
  if (!list->more) {
    return table->first;
  }
  gc_pair *pair = pair_at(heap, list->at);
  uint32_t next = pair->next;
  pair->visits--;
  if (pair->visits == 0 && pair->removed) {
    list_take(heap, table, pair);
    *gone = pair;
  }
  return next;
}

size_t gc_table_list_some(gc_heap *heap, uint32_t table, gc_table_list *list, gc_entry *out, size_t most) {
  gc_table *of = table_at(heap, table);
  gc_pair *gone = NULL;
  size_t count = 0, looked = 0;
  lock(&of->lock);
  uint32_t next = list_resume(heap, of, list, &gone);
  list->more = false;
  while (next != 0 && !list->more) {
    gc_pair *pair = pair_at(heap, next - 1);
    gc_entry entry = {0, 0};
    if (!pair->removed) {
      entry = (gc_entry){gc_outer_read(heap, &pair->key), gc_outer_read(heap, &pair->value)};
    }
    if (entry.key != 0 && entry.value != 0) {
      out[count++] = entry;
    }
    if (++looked == most) {
      list->more = true;
      list->at = next - 1;
      pair->visits++;
    }
    next = pair->next;
  }
  unlock(&of->lock);
  if (gone != NULL) {
    pair_free(heap, gone);
  }
  return count;
}

// ---- Tables.

static uint32_t number_take(gc_heap *heap) {
  gc_weak *weak = &heap->weak;
  uint32_t table = GC_NONE;
  lock(&weak->lock);
  uint64_t high = at_load(&weak->table_high);
  if (weak->free_table != 0) {
    table = weak->free_table - 1;
    weak->free_table = table_at(heap, table)->next;
  } else if (high < weak->table_limit) {
    table = (uint32_t)high;
    at_store_release(&weak->table_high, high + 1);
  }
  unlock(&weak->lock);
  return table;
}

static void number_free(gc_heap *heap, uint32_t table) {
  gc_weak *weak = &heap->weak;
  at32_store_release(&table_at(heap, table)->kind, GC_TABLE_FREE);
  gc_changed(heap, &heap->weak.table_changes, table);
  lock(&weak->lock);
  table_at(heap, table)->next = weak->free_table;
  weak->free_table = table + 1;
  unlock(&weak->lock);
}

uint32_t gc_table_new(gc_heap *heap, gc_table_kind kind, uintptr_t owner) {
  uint32_t table = number_take(heap);
  if (table == GC_NONE) {
    return GC_NONE;
  }
  uint32_t link = gc_link_new(heap, GC_LINK_TABLE, 0, owner, table);
  if (link == GC_NONE) {
    number_free(heap, table);
    return GC_NONE;
  }
  table_at(heap, table)->link = link;
  at_add(&heap->weak.table_count, 1);
  at32_store_release(&table_at(heap, table)->kind, kind);
  gc_changed(heap, &heap->weak.table_changes, table);
  return table;
}

bool gc_table_restore(gc_heap *heap, uint32_t table, gc_table_kind kind, uint32_t link) {
  gc_weak *weak = &heap->weak;
  uint64_t high = at_load(&weak->table_high);
  if (table >= weak->table_limit || at32_load(&table_at(heap, table)->kind) != GC_TABLE_FREE) {
    return false;
  }
  table_at(heap, table)->link = link;
  at32_store_release(&table_at(heap, table)->kind, kind);
  at_store_release(&weak->table_high, table >= high ? table + 1ull : high);
  at_add(&weak->table_count, 1);
  return true;
}

void gc_tables_rollback(gc_heap *heap) {
  gc_weak *weak = &heap->weak;
  memset(weak->pairs, 0, at_load(&weak->high) * sizeof *weak->pairs);
  memset((void *)weak->tables, 0, at_load(&weak->table_high) * sizeof *weak->tables);
  memset((void *)(uintptr_t)weak->buckets, 0, width(heap) * sizeof *weak->buckets);
  at_store(&weak->high, 0);
  at_store(&weak->table_high, 0);
  at_store(&weak->count, 0);
  at_store(&weak->table_count, 0);
  at_store(&weak->log_count, 0);
  weak->free = weak->free_table = weak->dead = 0;
}

void gc_tables_restored(gc_heap *heap) {
  enum { GAP = 64 }; // as of links
  gc_weak *weak = &heap->weak;
  uint64_t last = 0, high = at_load(&weak->table_high); // `last`: one past the last that is used
  for (uint64_t table = 0; table < high; table++) {
    if (at32_load(&table_at(heap, (uint32_t)table)->kind) == GC_TABLE_FREE) {
      continue;
    }
    for (uint64_t i = table - last <= GAP ? last : table; i < table; i++) {
      table_at(heap, (uint32_t)i)->next = weak->free_table;
      weak->free_table = (uint32_t)i + 1;
    }
    last = table + 1;
  }
}

bool gc_pair_restore(gc_heap *heap, uint32_t table, uint32_t hash, uintptr_t key, uintptr_t value) {
  gc_pair *pair = add_locked(heap, table, hash, key, value); // nobody else is there
  if (pair != NULL) {
    log_if_young(heap, pair, key, value);
    bucket_add(heap);
  }
  return pair != NULL;
}

void gc_table_die(gc_heap *heap, uint32_t table) {
  gc_weak *weak = &heap->weak;
  at32_store_release(&table_at(heap, table)->kind, GC_TABLE_DEAD);
  at_add(&weak->table_count, (uint64_t)-1);
  lock(&weak->lock);
  table_at(heap, table)->next = weak->dead;
  weak->dead = table + 1;
  unlock(&weak->lock);
}

// Only those who bury change what a dead table has.
static size_t entries_bury(gc_heap *heap, gc_table *table, size_t most) {
  size_t buried = 0;
  while (buried < most && table->first != 0) {
    gc_pair *pair = pair_at(heap, table->first - 1);
    AO_t *held = gc_pair_lock(heap, pair);
    if (held != NULL) {
      gc_pair_remove_locked(heap, pair);
      unlock(held);
    } else { // removed, while it was visited by a thread that fork has not taken along
      list_take(heap, table, pair);
      pair_free(heap, pair);
    }
    buried++;
  }
  return buried;
}

bool gc_tables_bury(gc_heap *heap, size_t most) {
  gc_weak *weak = &heap->weak;
  while (most != 0) {
    lock(&weak->lock);
    uint32_t table = weak->dead - 1; // GC_NONE: none
    unlock(&weak->lock);
    if (table == GC_NONE) {
      return true;
    }
    most -= entries_bury(heap, table_at(heap, table), most);
    if (table_at(heap, table)->first != 0) {
      return false;
    }
    lock(&weak->lock); // others may have died since, and are before it
    uint32_t *at = &weak->dead;
    while (*at != table + 1) {
      at = &table_at(heap, *at - 1)->next;
    }
    *at = table_at(heap, table)->next;
    unlock(&weak->lock);
    number_free(heap, table);
    most -= most != 0;
  }
  return false;
}
