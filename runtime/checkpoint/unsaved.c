// SPDX-License-Identifier: MIT
// unsaved.c: what the collector's hooks call: before a page changes, and in the stop.
//
// Neighbours: pool.c has room for what traps copy, saver.c walks and is called here, too, by what it settles. Runs in traps: no locks, no malloc, errno saved
// by who calls. Waits for a slot of the pool, and for nothing else (cp.pool).

#include <string.h>
#include "runtime/checkpoint/inner.h"

// What a thread settles besides the page that it touches, as long as it does. Traps read it, so it has a place of its own from the thread's beginning on.
typedef struct group {
  veil_checkpointer *of;
  cp_run *run; // the saver's; NULL: a trap's, which has slots
  uint32_t slot[CP_RUN];
  unsigned slots;
} group;
static __thread group *group_here __attribute__((tls_model("initial-exec")));

static void slot_fill_in_trap(veil_checkpointer *c, uint32_t slot, size_t page) {
  memcpy(cp_slot_memory(&c->pool, slot), cp_page_alias(c, page), c->pages.page_size);
  cp_pool_queue_in_trap(&c->pool, slot, page);
}

// Whether somebody has trapped in the page's run before. Of two at the same time neither need hear of the other.
static bool run_trapped(veil_checkpointer *c, size_t page) {
  uint8_t volatile *at = &c->trapped[page / CP_RUN / 8];
  uint8_t bit = (uint8_t)(1u << page / CP_RUN % 8);
  bool before = at8_load(at) & bit;
  at8_or_full(at, bit);
  return before;
}

// A trap costs ten times a copy, so where one page is written and the next will be, those beside it are saved, too, while slots are plenty. Where reading traps as well that is so at
// once; else at the second trap there, since most pages that are hardly ever written the saver comes to first.
static void neighbours_save_in_trap(veil_checkpointer *c, size_t page) {
  group g = {.of = c};
  if (at32_load(&c->readable) && !run_trapped(c, page)) {
    return;
  }
  g.slots = cp_pool_take_some_in_trap(&c->pool, g.slot, CP_RUN - 1);
  if (g.slots == 0) {
    return;
  }
  size_t first = page - page % CP_RUN, limit = first + CP_RUN < c->pages.count ? first + CP_RUN : c->pages.count;
  group_here = &g;
  // No more than there are slots, on both sides of the page; of a full group that is all.
  size_t behind = limit - page - 1 < g.slots ? limit - page - 1 : g.slots;
  if (behind != 0) {
    veil_service_settle_some(c->service, page + 1, behind, VEIL_UNSAVED);
  }
  size_t before = page - first < g.slots ? page - first : g.slots;
  if (before != 0) {
    veil_service_settle_some(c->service, page - before, before, VEIL_UNSAVED);
  }
  group_here = NULL;
  while (g.slots > 0) {
    cp_pool_give_in_trap(&c->pool, g.slot[--g.slots]);
  }
}

static void unsaved(void *arg, size_t page) {
  veil_checkpointer *c = arg;
  if (cp_process_gone(c) || at32_load_acquire(&c->pool.refusing)) {
    return;
  }
  group *g = group_here;
  if (g != NULL && g->of == c && g->run != NULL) {
    size_t at = page - g->run->first;
    memcpy(g->run->memory + at * c->pages.page_size, cp_page_alias(c, page), c->pages.page_size);
    g->run->saved |= 1u << at;
    return;
  }
  if (g != NULL && g->of == c && g->slots > 0) {
    slot_fill_in_trap(c, g->slot[--g->slots], page);
    return;
  }
  uint32_t slot = cp_pool_take_in_trap(&c->pool);
  if (slot == 0) {
    return;
  }
  slot_fill_in_trap(c, slot, page);
  if (g == NULL) {
    neighbours_save_in_trap(c, page);
  }
  cp_writer_wake(c);
}

// Pages that another service has away, and can copy: they stay there (cp.away).
static void away_save(veil_checkpointer *c, cp_run *run, size_t count) {
  for (size_t at = 0; at < count; at++) {
    if (!(run->saved >> at & 1) && veil_page_save(c->service, run->first + at, run->memory + at * c->pages.page_size)) {
      run->saved |= 1u << at;
    }
  }
}

unsigned cp_run_fill(veil_checkpointer *c, cp_run *run, size_t page, size_t count) {
  group g = {.of = c, .run = run};
  run->first = page;
  run->saved = 0;
  group_here = &g;
  veil_service_settle_some(c->service, page, count, VEIL_UNSAVED);
  group_here = NULL;
  away_save(c, run, count);
  return (unsigned)__builtin_popcount(run->saved);
}

// ---- In the stop, and before it.

static void page_copy(veil_checkpointer *c, size_t page, void *to) {
  if (!veil_page_copy(c->service, page, to)) {
    memcpy(to, cp_page_alias(c, page), c->pages.page_size);
  }
}

// Slots for all of them and some more, since the program runs on, if half of the pool is enough: traps have the other. Their memory is had now.
static size_t copies(void *arg, size_t written) {
  veil_checkpointer *c = arg;
  size_t wanted = written + written / 2 + 256;
  if (wanted > c->pool.count / 2) {
    return 0; // so many would take long
  }
  c->ahead_count = cp_pool_take_some_in_trap(&c->pool, c->ahead, (unsigned)wanted);
  for (size_t i = 0; i < c->ahead_count; i++) {
    *(char volatile *)cp_slot_memory(&c->pool, c->ahead[i]) = 0;
  }
  return c->ahead_count;
}

void cp_ahead_give(veil_checkpointer *c) {
  while (c->ahead_count > 0) {
    cp_pool_give_in_trap(&c->pool, c->ahead[--c->ahead_count]);
  }
}

static void now(void *arg, size_t page, size_t count) {
  veil_checkpointer *c = arg;
  for (; count > 0 && c->ahead_count > 0; page++, count--) {
    uint32_t slot = c->ahead[--c->ahead_count];
    page_copy(c, page, cp_slot_memory(&c->pool, slot));
    cp_pool_queue_in_trap(&c->pool, slot, page);
    c->copied++;
  }
  if (count == 0) {
    return;
  }
  size_t bytes = c->pages.page_size + count * c->pages.page_size; // the first page is for what stands at its head
  cp_stash *s = os_map_private(bytes);
  if (s == NULL) {
    c->stash_failed = true;
    return;
  }
  *s = (cp_stash){.next = c->stashed, .page = page, .count = count, .bytes = bytes};
  for (size_t i = 0; i < count; i++) {
    page_copy(c, page + i, (char *)s + (i + 1) * c->pages.page_size);
  }
  c->stashed = s;
}

static void at(void *arg) {
  veil_checkpointer *c = arg;
  veil_description_take(c->description);
  CHECKPOINT_AT(c);
}

const veil_service_callbacks cp_service = {.unsaved = unsaved};
const veil_instant_calls cp_instant = {.now = now, .at = at, .copies = copies, .copies_away = true};
