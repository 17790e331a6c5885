// SPDX-License-Identifier: MIT
// pool.c: slots for pages that somebody is about to write (cp.pool).
//
// Neighbours: unsaved.c fills them, in traps and in the collector's threads: no locks, no malloc; writer.c empties them.

#include <stdlib.h>
#include <string.h>
#include "runtime/checkpoint/inner.h"

enum {
  READY_STEP = 2 << 20, // bytes that get memory at once: who waits for the kernel's lock of mappings waits for as much
  READY_NS = 5000000,   // after that traps find the rest themselves: a virtual machine's memory may come at a tenth of the usual speed
};

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
  for (uint32_t i = 0; i < pool->count; i++) {
    at32_store(&pool->slots[i].next, i + 1 < pool->count ? i + 2 : 0);
  }
  at_store_release(&pool->free, pool->count != 0);
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

// Up to `most` slots, by one change of the head.
static unsigned take(cp_pool *pool, uint32_t *to, unsigned most) {
  for (;;) {
    uint64_t head = at_load_acquire(&pool->free);
    uint32_t slot = (uint32_t)(head & index_bits);
    unsigned n = 0;
    while (n < most && slot != 0) {
      to[n++] = slot;
      slot = at32_load(&pool->slots[slot - 1].next); // of no use if another took it meanwhile: then the head has changed
    }
    if (n == 0) {
      return 0;
    }
    if (at_cas_full(&pool->free, head, head_of(head, slot))) {
      uint64_t used = at_add(&pool->used, n) + n, max;
      while ((max = at_load(&pool->used_max)) < used && !at_cas_full(&pool->used_max, max, used)) {
      }
      return n;
    }
  }
}

static uint32_t take_one(cp_pool *pool) {
  uint32_t slot = 0;
  take(pool, &slot, 1);
  return slot;
}

// Slots that are linked, from `first` to `last`.
static void push(cp_pool *pool, uint32_t first, uint32_t last) {
  uint64_t head;
  do {
    head = at_load(&pool->free);
    at32_store(&pool->slots[last - 1].next, (uint32_t)(head & index_bits));
  } while (!at_cas_full(&pool->free, head, head_of(head, first)));
}

static void give(cp_pool *pool, uint32_t first, uint32_t last, size_t count) {
  at_add(&pool->used, -(uint64_t)count); // first, so that it is never more than there are
  push(pool, first, last);
  if (at32_load_acquire(&pool->waiting) != 0) {
    rt_post(&pool->given);
  }
}

// Free slots in order again, the first one first, so that what a checkpoint uses lies together. A trap of the last one may still have slots that it took for
// neighbours and gives back later: those are not touched.
static void order_free(cp_pool *pool) {
  uint64_t head;
  do {
    head = at_load_acquire(&pool->free);
  } while (!at_cas_full(&pool->free, head, head_of(head, 0)));
  for (uint32_t i = 0; i < pool->count; i++) {
    pool->order[i].contents = NULL;
  }
  for (uint32_t slot = (uint32_t)(head & index_bits); slot != 0; slot = at32_load(&pool->slots[slot - 1].next)) {
    pool->order[slot - 1].contents = pool->memory;
  }
  uint32_t first = 0, last = 0;
  for (uint32_t slot = 1; slot <= pool->count; slot++) {
    if (pool->order[slot - 1].contents == NULL) {
      continue;
    }
    if (last != 0) {
      at32_store(&pool->slots[last - 1].next, slot);
    }
    first = first != 0 ? first : slot;
    last = slot;
  }
  if (first != 0) {
    push(pool, first, last);
  }
}

void cp_pool_ready(cp_pool *pool, size_t bytes) {
  size_t most = (size_t)pool->count * pool->page_size;
  bytes = bytes < most / 2 ? bytes : most / 2;
  order_free(pool);
  os_large_pages(pool->memory, most);
  uint64_t until = cp_now() + READY_NS;
  for (size_t at = 0; at < bytes && cp_now() < until; at += READY_STEP) {
    if (os_populate(pool->memory + at, bytes - at < READY_STEP ? bytes - at : READY_STEP) != 0) {
      break;
    }
  }
  os_small_pages(pool->memory, most); // what a trap touches first is small, for clearing a large one takes long
}

void cp_pool_give_in_trap(cp_pool *pool, uint32_t slot) { give(pool, slot, slot, 1); }

static uint32_t slot_of(const cp_pool *pool, const rt_image_page *page) {
  return (uint32_t)((size_t)((const char *)page->contents - pool->memory) / pool->page_size) + 1;
}

void cp_pool_give_some(cp_pool *pool, const rt_image_page *pages, size_t count) {
  if (count == 0) {
    return;
  }
  uint32_t first = slot_of(pool, &pages[0]), last = first;
  for (size_t i = 1; i < count; i++) {
    uint32_t slot = slot_of(pool, &pages[i]);
    at32_store(&pool->slots[last - 1].next, slot);
    last = slot;
  }
  give(pool, first, last, count);
}

uint32_t cp_pool_take_in_trap(cp_pool *pool) {
  uint32_t slot = take_one(pool);
  if (slot != 0 || at32_load_acquire(&pool->refusing)) {
    return slot;
  }
  uint64_t began = cp_now();
  at_add(&pool->waits, 1);
  while (slot == 0 && !at32_load_acquire(&pool->refusing)) {
    uint32_t seen = at32_load_acquire(&pool->given);
    at32_add_full(&pool->waiting, 1); // who gives one back sees that, or we see what was given
    slot = take_one(pool);
    if (slot == 0 && !at32_load_acquire(&pool->refusing)) {
      os_wait(&pool->given, seen);
    }
    at32_add_full(&pool->waiting, (uint32_t)-1);
  }
  at_add(&pool->wait_ns, cp_now() - began);
  return slot;
}

unsigned cp_pool_take_some_in_trap(cp_pool *pool, uint32_t *to, unsigned most) {
  uint64_t used = at_load(&pool->used), half = pool->count / 2;
  return used < half ? take(pool, to, half - used < most ? (unsigned)(half - used) : most) : 0;
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
static void order_sort(rt_image_page *order, uint32_t count) {
  static const uint32_t gaps[] = {57233, 24885, 10820, 4705, 2046, 890, 387, 168, 73, 32, 14, 6, 2, 1};
  for (size_t g = 0; g < sizeof gaps / sizeof *gaps; g++) {
    uint32_t gap = gaps[g];
    for (uint32_t i = gap; i < count; i++) {
      rt_image_page moved = order[i];
      uint32_t at = i;
      while (at >= gap && order[at - gap].page > moved.page) {
        order[at] = order[at - gap];
        at -= gap;
      }
      order[at] = moved;
    }
  }
}

uint32_t cp_pool_queued(cp_pool *pool) {
  if (at_load(&pool->queued) == 0) {
    return 0;
  }
  uint64_t last;
  do {
    last = at_load(&pool->queued);
  } while (!at_cas_full(&pool->queued, last, 0));
  uint32_t count = 0;
  for (uint32_t slot = (uint32_t)last; slot != 0; slot = at32_load(&pool->slots[slot - 1].next)) {
    pool->order[count++] = (rt_image_page){pool->slots[slot - 1].page, cp_slot_memory(pool, slot)};
  }
  order_sort(pool->order, count);
  return count;
}
