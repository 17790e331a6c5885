// SPDX-License-Identifier: MIT
// heap.c: opening and closing; types.

#include "gc/heap.h"
#include <stdio.h>
#include <string.h>
#include "gc/aside.h"
#include "gc/changed.h"
#include "gc/defer.h"
#include "gc/block.h"
#include "gc/copier.h"
#include "gc/gc.h"
#include "gc/minor.h"
#include "gc/nursery.h"
#include "gc/pace.h"
#include "gc/runs.h"
#include "gc/settle.h"
#include "vm/os.h"

gc_type *gc_types[GC_TYPES];
AO_t gc_types_boxed, gc_types_transient, gc_types_known;
static AO_t type_count = GC_FIRST_TYPE;

unsigned gc_type_register(const gc_type *type) {
  uint64_t id;
  do {
    id = at_add_full(&type_count, 1);
    if (id >= GC_TYPES) {
      at_add_full(&type_count, (uint64_t)-1);
      return 0;
    }
  } while (!gc_type_register_at((unsigned)id, type)); // a heap that was restored has taken this one
  return (unsigned)id;
}

bool gc_type_register_at(unsigned id, const gc_type *type) {
  if (type->tagged && type->high_max != 0) {
    at_store_release(&gc_types_boxed, 1);
  }
  if (type->transient || type->transient_count != 0 || type->transient_fixed_count != 0) {
    at_store_release(&gc_types_transient, 1);
  }
  // Before any header names it: the id is published by the caller.
  if (!at_cas_full((AO_t volatile *)&gc_types[id], 0, (uint64_t)type)) {
    return false;
  }
  at_add_full(&gc_types_known, 1);
  return true;
}

enum { HUGE_LIMIT = 32 << 20 }; // bytes: with less, memory is had page by page

// One reservation holds all side tables; the system gives memory where they are written.
typedef struct table {
  void *where; // address of the pointer
  size_t bytes;
} table;

// As many as there may be objects, within reason.
static uint32_t links_limit(const gc_heap *heap) {
  size_t units = ((size_t)heap->small_blocks << GC_BLOCK_SHIFT) / (2 * GC_UNIT), most = (size_t)1 << 26;
  return (uint32_t)(units < most ? units : most);
}

static size_t tables_layout(gc_heap *heap, char *base) {
  size_t pages = heap->region->pages;
  uint32_t large = heap->blocks - heap->small_blocks;
  heap->links.limit = heap->weak.limit = links_limit(heap);
  heap->weak.table_limit = heap->links.limit / 4;
  // In a minor cycle that finds no room for copies all that is young may stay; the least object with slots has two words.
  heap->pin_limit = ((size_t)4 << 20) + heap->young_span / 16;
  table tables[] = {
      {&heap->space, heap->blocks},        {&heap->flags, heap->blocks}, {&heap->transient, heap->blocks},
      {&heap->link, heap->blocks * 4ull},  {&heap->died, heap->blocks * 4ull},
      {&heap->spared, heap->small_blocks * 4ull},  {&heap->veiled, heap->small_blocks}, {&heap->still, heap->small_blocks},
      {&heap->held, heap->small_blocks * 4ull},
      {&heap->filled, heap->small_blocks * 4ull},
      {&heap->parked, heap->blocks},       {&heap->notes, pages * 8}, {&heap->crossing, pages * sizeof(gc_crossing)},
      {&heap->aside, heap->small_blocks * (GC_ASIDE_WORDS * 8ull)}, {&heap->cells, heap->small_blocks * 2ull},
      {&heap->top, pages * 4},             {&heap->cover, pages * 2},
      {&heap->large_head, large * 4ull},   {&heap->large_scan, large * 4ull},
      {&heap->large_lead, large * 2ull},
      {&heap->large_size, large * 8ull},   {&heap->pins, heap->pin_limit * sizeof(gc_cell)},
      {&heap->trim, heap->small_blocks / (VM_HUGE / GC_BLOCK) * 4ull},
      {&heap->runs.length, large * 4ull},  {&heap->runs.pages, large * 4ull},
      {&heap->runs.next, large * 4ull},    {&heap->runs.prev, large * 4ull},
      {&heap->large_pages, large},
      {&heap->remembered, heap->young_blocks != 0 ? (pages + 63) / 64 * 8 : 0},
      {&heap->minor_list, heap->young_blocks != 0 ? pages * 4 : 0},
      {&heap->heat, heap->young_blocks != 0 ? heap->blocks * sizeof(gc_heat) : 0},
      {&heap->hot, heap->young_blocks != 0 ? heap->blocks * 4ull : 0},
      {&heap->scan_from, heap->young_blocks != 0 ? heap->blocks * 4ull : 0},
      {&heap->young_large, heap->young_blocks != 0 ? large * 4ull : 0},
      {&heap->links.at, heap->links.limit * sizeof(gc_link)},
      {&heap->links.log, heap->young_blocks != 0 ? heap->links.limit * 4ull : 0},
      {&heap->links.changes.at, heap->links.limit / GC_CHANGES_GROUP * 8ull + 8},
      {&heap->weak.changes.at, heap->weak.limit / GC_CHANGES_GROUP * 8ull + 8},
      {&heap->weak.table_changes.at, heap->weak.table_limit / GC_CHANGES_GROUP * 8ull + 8},
      {&heap->weak.pairs, heap->weak.limit * sizeof(gc_pair)},
      {&heap->weak.tables, heap->weak.table_limit * sizeof(gc_table)},
      {&heap->weak.buckets, heap->weak.limit * 4ull},
      {&heap->weak.log, heap->young_blocks != 0 ? heap->weak.limit * 4ull : 0},
      {&heap->deferred, GC_DEFERRED * sizeof(gc_deferred)},
      {&heap->workers, heap->young_blocks != 0 ? GC_WORKERS * sizeof(gc_minor) : 0},
  };
  size_t at = 0;
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
    if (base != NULL) {
      char *table_at = base + at;
      memcpy(tables[i].where, &table_at, sizeof table_at);
    }
    at += (tables[i].bytes + 4095) & ~(size_t)4095;
  }
  return at;
}

// A veiled page without objects waits to be used: there is nothing to scan.
static bool page_settles(void *arg, size_t page) { return gc_page_in_use(arg, page); }

static bool page_touched(void *arg, size_t page) {
  gc_heap *heap = arg;
  return heap->world.touched(heap->world.arg, page);
}

// System calls may use leaf objects without a word, and the zone is written all the time.
static bool page_rests(void *arg, size_t page) {
  gc_heap *heap = arg;
  uint32_t block = gc_page_block(heap, page);
  return block >= heap->young_blocks && (!(gc_flags(heap, block) & GC_BLOCK_LEAF) || at_load_acquire(&heap->leaves_rest) != 0);
}

static void trap_began(void *arg, size_t page, uint32_t heard) {
  gc_heap *heap = arg;
  heap->world.events->trap_began(heap->world.arg, page, heard);
}

static void trap_ended(void *arg, size_t page, uint64_t began_ns, uint64_t ended_ns, uint32_t heard) {
  gc_heap *heap = arg;
  heap->world.events->trap_ended(heap->world.arg, page, began_ns, ended_ns, heard);
}

void gc_listen(gc_heap *heap, uint32_t listening) {
  VM_CHECK(listening == 0 || heap->world.events != NULL, "there is no table of events to tell");
  at32_store_release(&heap->listening, listening);
  at32_store_release(&heap->region->listening, listening);
}

vm_status gc_open(gc_heap **out, const gc_config *config, const gc_world *world, char *why, size_t why_bytes) {
  gc_heap *heap = os_map_private(sizeof *heap);
  if (heap == NULL) {
    snprintf(why, why_bytes, "no memory for the heap's tables");
    return VM_NO_MEMORY;
  }
  heap->config = *config;
  heap->world = *world;
  at_store(&heap->limit, config->limit);
  size_t reserve = config->reserve > config->limit ? config->reserve : config->limit;
  // Twice the limit (as far as it may be raised) for small objects, since pinned blocks may scatter; the same for large ones, since runs have to be found.
  size_t zone = (reserve + GC_BLOCK * 64 + ((size_t)2 << 20) - 1) & ~(((size_t)2 << 20) - 1);
  size_t large = zone * 2;
  const gc_geometry *geometry = config->geometry;
  if (geometry == NULL) {
    heap->small_blocks = (uint32_t)(zone >> GC_BLOCK_SHIFT);
    gc_young_size(heap);
    heap->small_blocks += heap->young_blocks;
    zone += heap->young_span;
    heap->blocks = heap->small_blocks + (uint32_t)(large >> GC_BLOCK_SHIFT);
  } else {
    heap->blocks = geometry->blocks;
    heap->small_blocks = geometry->small_blocks;
    heap->young_blocks = geometry->young_blocks;
    zone = (size_t)heap->small_blocks << GC_BLOCK_SHIFT;
    heap->config.zone = heap->young_span = (size_t)heap->young_blocks << GC_BLOCK_SHIFT;
    heap->config.generations = heap->young_blocks != 0 ? config->generations : GC_GENERATIONS_OFF;
  }
  vm_region_config region = {
      .bytes = (size_t)heap->blocks << GC_BLOCK_SHIFT,
      .huge = config->limit >= HUGE_LIMIT ? zone : 0,
      .page_shift = config->page_shift,
      .at = geometry != NULL ? geometry->at : config->at,
      .back_end = config->back_end,
      .settle = gc_settle,
      .touched = page_touched,
      .rests = page_rests,
      .settles = page_settles,
      .trap_began = trap_began,
      .trap_ended = trap_ended,
      .arg = heap,
  };
  vm_status status = vm_region_open(&region, &heap->region, why, why_bytes);
  if (status != VM_OK) {
    os_unmap(heap, sizeof *heap);
    return status;
  }
  size_t bytes = tables_layout(heap, NULL);
  char *tables = os_map_private(bytes);
  if (tables == NULL) {
    vm_region_close(heap->region);
    os_unmap(heap, sizeof *heap);
    snprintf(why, why_bytes, "no address space for side tables of %zu bytes", bytes);
    return VM_NO_MEMORY;
  }
  tables_layout(heap, tables);
  heap->tables = tables;
  heap->tables_bytes = bytes;
  heap->base = heap->hash_base = (uintptr_t)heap->region->base;
  at_store(&heap->described, 1); // so that who changes something has written, and so touched, when it was
  heap->span = (size_t)(heap->region->limit - heap->region->base);
  heap->delta = heap->region->delta;
  heap->wide = __builtin_cpu_supports("avx2") != 0;
  heap->page_shift = heap->region->page_shift;
  heap->page_size = heap->region->page_size;
  heap->block_pages = GC_BLOCK >> heap->page_shift;
  heap->to_space = 1;
  heap->from_space = 2;
  heap->epoch = 3; // the first cycle's is 1
  heap->next_epoch = 1;
  at32_store(&heap->still_pace.over, 1); // the first cycle moves, also that of a heap that was rebuilt
  gc_runs_open(heap);
  gc_stack *stacks[] = {&heap->empty,      &heap->ready,      &heap->open_free, &heap->veiled_free,
                        &heap->grey,       &heap->large_grey, &heap->born_ready};
  for (size_t i = 0; i < sizeof stacks / sizeof *stacks; i++) {
    gc_stack_reset(stacks[i]);
  }
  gc_stacks_reset(heap->partial, GC_SORTS);
  for (unsigned i = 0; i < GC_COPIERS; i++) {
    gc_copier_reset(&heap->copiers[i]);
  }
  if (!gc_young_open(heap)) {
    snprintf(why, why_bytes, "no consumer of Dirty is left for the nursery");
    gc_close(heap);
    return VM_NO_MEMORY;
  }
  gc_pace_opened(heap);
  gc_nursery_open(heap);
  *out = heap;
  return VM_OK;
}

void gc_close(gc_heap *heap) {
  vm_region_close(heap->region);
  os_unmap(heap->tables, heap->tables_bytes);
  os_unmap(heap, sizeof *heap);
}

bool gc_page_is_saved(const gc_heap *heap, size_t page) {
  return gc_page_in_use(heap, page) && !gc_is_transient(heap, gc_page_block(heap, page));
}

bool gc_page_in_use(const gc_heap *heap, size_t page) {
  return page < heap->region->pages && gc_space(heap, gc_page_block(heap, page)) != 0 &&
         at32_load_acquire(&heap->top[page]) != 0;
}

// Whether one of eight words is zero. The world is stopped, so they may be read as they are.
static bool has_zero(const uint32_t volatile *at) {
  typedef uint32_t words __attribute__((vector_size(16), aligned(4), may_alias));
  typedef uint64_t pair __attribute__((vector_size(16)));
  const words *four = (const words *)(uintptr_t)at;
  pair zero = (pair)((four[0] == 0) | (four[1] == 0));
  return (zero[0] | zero[1]) != 0;
}

size_t gc_pages_alike(const gc_heap *heap, size_t page, size_t limit, bool *used) {
  *used = gc_page_is_saved(heap, page);
  for (size_t end; page < limit; page = end) {
    uint32_t block = gc_page_block(heap, page);
    end = gc_block_page(heap, block + 1) < limit ? gc_block_page(heap, block + 1) : limit;
    if (gc_space(heap, block) == 0 || gc_is_transient(heap, block)) {
      if (*used) {
        return page;
      }
      continue;
    }
    for (size_t i = page; i < end; i++) {
      while (*used && i + 8 <= end && !has_zero(&heap->top[i])) {
        i += 8;
      }
      if (i == end) {
        break;
      }
      if ((at32_load(&heap->top[i]) != 0) != *used) {
        return i;
      }
    }
  }
  return limit;
}
