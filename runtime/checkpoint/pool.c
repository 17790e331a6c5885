// SPDX-License-Identifier: MIT
// pool.c: slots for pages that somebody is about to write (cp.pool).
//
// Neighbours: unsaved.c fills them, in traps and in the collector's threads: no locks, no malloc; writer.c empties them.

#include <stdlib.h>
#include <string.h>
#include "runtime/checkpoint/inner.h"

static const uint64_t index_bits = UINT64_C(0xffffffff);

bool cp_pool_open(cp_pool *pool, size_t bytes, size_t page_size) {
  *pool = (cp_pool){.page_size = page_size, .count = (uint32_t)(bytes / page_size)};
  pool->memory = os_map_private((size_t)pool->count * page_size); // touched only as far as it is needed
  pool->slots = calloc(pool->count, sizeof *pool->slots);
  pool->order = calloc(pool->count, sizeof *pool->order);
  if (pool->memory == NULL || pool->slots == NULL || pool->order == NULL) {
    cp_pool_close(pool);
    return false;
  }
  for (uint32_t i = pool->count; i > 0; i--) {
    pool->slots[i - 1].next = (uint32_t)pool->free;
    pool->free = i;
  }
  return true;
}

void cp_pool_close(cp_pool *pool) {
  if (pool->memory != NULL) {
    os_unmap(pool->memory, (size_t)pool->count * pool->page_size);
  }
  free(pool->slots);
  free(pool->order);
  *pool = (cp_pool){0};
}

void cp_pool_reset(cp_pool *pool) {
  at_store(&pool->used_max, 0);
  at_store(&pool->waits, 0);
  at_store(&pool->wait_ns, 0);
  at_store(&pool->saved, 0);
  at32_store_release(&pool->refusing, 0);
}

void cp_pool_trim(cp_pool *pool) { os_drop(pool->memory, (size_t)pool->count * pool->page_size); }

// ---- Free slots: a stack. A change of its head counts, so that a head that has come back is not taken for one that has stayed.

static uint64_t head_of(uint64_t old, uint32_t slot) { return ((old >> 32) + 1) << 32 | slot; }

static uint32_t take(cp_pool *pool) {
  for (;;) {
    uint64_t head = at_load_acquire(&pool->free);
    uint32_t slot = (uint32_t)(head & index_bits);
    if (slot == 0) {
      return 0;
    }
    uint32_t next = at32_load(&pool->slots[slot - 1].next); // of no use if another took it meanwhile: then the head has changed
    if (at_cas_full(&pool->free, head, head_of(head, next))) {
      uint64_t used = at_add(&pool->used, 1) + 1, most;
      while ((most = at_load(&pool->used_max)) < used && !at_cas_full(&pool->used_max, most, used)) {
      }
      return slot;
    }
  }
}

void cp_pool_give_in_trap(cp_pool *pool, uint32_t slot) {
  at_add(&pool->used, (uint64_t)-1); // first, so that it is never more than there are
  for (;;) {
    uint64_t head = at_load(&pool->free);
    at32_store(&pool->slots[slot - 1].next, (uint32_t)(head & index_bits));
    if (at_cas_full(&pool->free, head, head_of(head, slot))) {
      break;
    }
  }
  at32_add_full(&pool->given, 1);
  if (at32_load_acquire(&pool->waiting) != 0) {
    os_wake_all(&pool->given);
  }
}

uint32_t cp_pool_take_in_trap(cp_pool *pool) {
  uint32_t slot = take(pool);
  if (slot != 0 || at32_load_acquire(&pool->refusing)) {
    return slot;
  }
  uint64_t began = cp_now();
  at_add(&pool->waits, 1);
  while (slot == 0 && !at32_load_acquire(&pool->refusing)) {
    uint32_t seen = at32_load_acquire(&pool->given);
    at32_add_full(&pool->waiting, 1); // who gives one back sees that, or we see what was given
    slot = take(pool);
    if (slot == 0 && !at32_load_acquire(&pool->refusing)) {
      os_wait(&pool->given, seen);
    }
    at32_add_full(&pool->waiting, (uint32_t)-1);
  }
  at_add(&pool->wait_ns, cp_now() - began);
  return slot;
}

unsigned cp_pool_take_some_in_trap(cp_pool *pool, uint32_t *to, unsigned most) {
  unsigned n = 0;
  while (n < most && at_load(&pool->used) < pool->count / 2 && (to[n] = take(pool)) != 0) {
    n++;
  }
  return n;
}

void cp_pool_refuse(cp_pool *pool) {
  at32_store_release(&pool->refusing, CHECKPOINT_BREAK != CHECKPOINT_BREAK_FAIL);
  rt_post(&pool->given);
}

// ---- Filled slots: a stack that is taken as a whole, so what has come back to its top does no harm.

void cp_pool_queue_in_trap(cp_pool *pool, uint32_t slot, size_t page) {
  pool->slots[slot - 1].page = page;
  at_add(&pool->saved, 1);
  uint64_t last;
  do {
    last = at_load(&pool->queued);
    at32_store(&pool->slots[slot - 1].next, (uint32_t)last);
  } while (!at_cas_full(&pool->queued, last, slot));
}

// Shell's sort: qsort may allocate (cp.pool).
static void order_sort(const cp_slot *slots, uint32_t *order, uint32_t count) {
  static const uint32_t gaps[] = {57233, 24885, 10820, 4705, 2046, 890, 387, 168, 73, 32, 14, 6, 2, 1};
  for (size_t g = 0; g < sizeof gaps / sizeof *gaps; g++) {
    uint32_t gap = gaps[g];
    for (uint32_t i = gap; i < count; i++) {
      uint32_t moved = order[i], at = i;
      while (at >= gap && slots[order[at - gap] - 1].page > slots[moved - 1].page) {
        order[at] = order[at - gap];
        at -= gap;
      }
      order[at] = moved;
    }
  }
}

uint32_t cp_pool_queued(cp_pool *pool) {
  uint64_t last;
  do {
    last = at_load(&pool->queued);
  } while (last != 0 && !at_cas_full(&pool->queued, last, 0));
  uint32_t count = 0;
  for (uint32_t slot = (uint32_t)last; slot != 0; slot = at32_load(&pool->slots[slot - 1].next)) {
    pool->order[count++] = slot;
  }
  order_sort(pool->slots, pool->order, count);
  return count;
}
