// SPDX-License-Identifier: MIT
// region.c: address space: the two mappings of one memory, the table that finds a region, and memory given and
// given back.
//
// Neighbours: backend.c chooses the back end and calls vm_region_build; claim.c takes pages out of use. Opening
// and closing: any thread, not in traps. The rest: any thread, signal handlers too.

#include "vm/backend.h"
#include "vm/check.h"
#include "vm/os.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { ALIGNMENT = 2 << 20, TABLE = 256 };

// The back end of a region, its figures and its tables live in one private mapping of their own.
struct body {
  vm_region region;
  struct vm_backend_state state;
  struct vm_dirty dirty;
  struct vm_histogram trap_ns;
};

// ---- The table.

// vm.table: a reader who finds an address in a slot touches that region, so it is not being closed; one who does
// not never looks into the region.
static struct slot { AO_t region, base, limit; } table[TABLE];
static AO_t table_used;              // no slot from here on was ever used
static uint32_t volatile table_lock; // taken by opening and closing alone

static void table_enter(void) {
  while (!at32_cas_full(&table_lock, 0, 1)) {
    os_yield();
  }
}

static void table_leave(void) { at32_store_release(&table_lock, 0); }

static bool table_add(vm_region *region) {
  bool added = false;
  table_enter();
  for (size_t i = 0; i < TABLE && !added; i++) {
    struct slot *slot = &table[i];
    if (at_load(&slot->region) == 0) {
      at_store_release(&slot->base, (uintptr_t)region->base);
      at_store_release(&slot->limit, (uintptr_t)region->limit);
      at_store_release(&slot->region, (uintptr_t)region);
      if (at_load(&table_used) <= i) {
        at_store_release(&table_used, i + 1);
      }
      added = true;
    }
  }
  table_leave();
  return added;
}

static void table_remove(const vm_region *region) {
  table_enter();
  for (size_t i = 0; i < TABLE; i++) {
    if (at_load(&table[i].region) == (uintptr_t)region) {
      at_store_release(&table[i].region, 0);
    }
  }
  table_leave();
}

// Who opens writes the bounds before the region, so bounds that belong to two regions are found out by its change. The same region twice is the same mapping, with the same bounds, or it
// was closed and opened again meanwhile: then either answer was true at some time during the call.
static uint64_t table_find(const void *address, uintptr_t *base, uintptr_t *limit) {
  size_t used = at_load_acquire(&table_used);
  for (size_t i = 0; i < used; i++) {
    struct slot *slot = &table[i];
    uint64_t region = at_load_acquire(&slot->region);
    *base = at_load_acquire(&slot->base);
    *limit = at_load_acquire(&slot->limit);
    if (region != 0 && (uintptr_t)address >= *base && (uintptr_t)address < *limit && at_load_acquire(&slot->region) == region) {
      return region;
    }
  }
  return 0;
}

vm_region *vm_region_find(const void *address) {
  uintptr_t base, limit;
  return (vm_region *)(uintptr_t)table_find(address, &base, &limit);
}

bool vm_region_bounds(const void *address, uintptr_t *base, uintptr_t *limit) { return table_find(address, base, limit) != 0; }

void vm_region_each(void (*visit)(void *arg, vm_region *region), void *arg) {
  size_t used = at_load_acquire(&table_used);
  for (size_t i = 0; i < used; i++) {
    vm_region *region = (vm_region *)(uintptr_t)at_load_acquire(&table[i].region);
    if (region != NULL) {
      visit(arg, region);
    }
  }
}

// ---- Opening and closing.

// Words, clean bytes, a quiet byte per group, what rest.c has, and a byte per chunk.
static size_t body_bytes(const vm_backend *back_end, size_t pages, size_t chunks) {
  return sizeof(struct body) + pages * (sizeof(uint32_t) + 1) + chunks * (VM_HUGE / VM_GROUP + 1) + vm_rest_bytes(back_end, chunks);
}

// View, a gap that nothing may touch, alias, and room to align them.
static size_t space_bytes(size_t bytes) { return 2 * bytes + 2 * (size_t)ALIGNMENT; }

static vm_status config_check(const vm_region_config *config, char *why, size_t why_bytes) {
  if (config->bytes == 0 || config->bytes % ALIGNMENT != 0 || config->bytes > (size_t)1 << 45) {
    snprintf(why, why_bytes, "the size of a region must be a multiple of 2 MiB, not %zu", config->bytes);
    return VM_INVALID;
  }
  if (config->page_shift < 12 || config->page_shift > 16) {
    snprintf(why, why_bytes, "the page shift must be from 12 to 16, not %u", config->page_shift);
    return VM_INVALID;
  }
  if (config->huge % VM_HUGE != 0 || config->huge > config->bytes) {
    snprintf(why, why_bytes, "huge pages for %zu of %zu bytes: not a multiple of 2 MiB within them", config->huge, config->bytes);
    return VM_INVALID;
  }
  return VM_OK;
}

static char *align_up(char *at) { return (char *)(((uintptr_t)at + ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1)); }

// The view at `at`, and the alias behind it, or elsewhere if there is no room. False: the view has none there, and nothing is reserved.
static bool reserve_at(vm_region *region, char *at, size_t bytes) {
  if (at == NULL || at != align_up(at)) {
    return false;
  }
  if (os_reserve_at(at, space_bytes(bytes))) {
    region->space = at;
    region->space_bytes = space_bytes(bytes);
    region->delta = (ptrdiff_t)(bytes + ALIGNMENT);
  } else if (os_reserve_at(at, bytes)) {
    char *apart = os_reserve(bytes + ALIGNMENT);
    if (apart == NULL) {
      os_unmap(at, bytes);
      return false;
    }
    region->space = at;
    region->space_bytes = bytes;
    region->apart = apart;
    region->delta = align_up(apart) - at;
  }
  region->base = region->space;
  return region->space != NULL;
}

static bool reserve(vm_region *region, size_t bytes) {
  region->space = os_reserve(space_bytes(bytes));
  region->space_bytes = space_bytes(bytes);
  region->base = align_up(region->space);
  region->delta = (ptrdiff_t)(bytes + ALIGNMENT);
  return region->space != NULL;
}

// Reserves the addresses and maps the memory there twice: the view without access, the alias with all of it.
static int map_twice(vm_region *region, size_t bytes) {
  if (!reserve_at(region, region->config.at, bytes) && !reserve(region, bytes)) {
    return -ENOMEM;
  }
  region->limit = region->base + bytes;
  region->memory = os_memory(bytes);
  if (region->memory < 0) {
    return region->memory;
  }
  int result = os_map_file(region->base, bytes, region->memory, 0, OS_NONE);
  if (result == 0) {
    result = os_map_file(region->base + region->delta, bytes, region->memory, 0, OS_READ_WRITE);
  }
  os_small_pages(region->base, bytes); // the view is opened page by page
  return result;
}

static void unbuild(vm_region *region) {
  size_t bytes = (size_t)(region->limit - region->base), pages = region->pages;
  if (region->space != NULL) {
    os_unmap(region->space, region->space_bytes);
  }
  if (region->apart != NULL) {
    os_unmap(region->apart, bytes + ALIGNMENT);
  }
  if (region->memory >= 0) {
    os_close(region->memory);
  }
  os_unmap(region, body_bytes(region->back_end, pages, region->chunks));
}

vm_status vm_region_build(const vm_region_config *config, const vm_backend *back_end, vm_region **out, char *why,
                          size_t why_bytes) {
  vm_status status = config_check(config, why, why_bytes);
  if (status != VM_OK) {
    return status;
  }
  size_t pages = config->bytes >> config->page_shift;
  struct body *body = os_map_private(body_bytes(back_end, pages, config->bytes / VM_HUGE));
  if (body == NULL) {
    snprintf(why, why_bytes, "no memory for the page words of %zu pages", pages);
    return VM_NO_MEMORY;
  }
  vm_region *region = &body->region;
  region->config = *config;
  region->page_shift = config->page_shift;
  region->page_size = (size_t)1 << config->page_shift;
  region->pages = pages;
  region->back_end = back_end;
  region->traps = back_end->signal != 0 || back_end->pager;
  region->kernel_dirty = back_end->kernel_dirty;
  region->memory = -1;
  region->state = &body->state;
  region->dirty = &body->dirty;
  region->trap_ns = &body->trap_ns;
  region->word = (uint32_t volatile *)(body + 1);
  region->dirty->clean = (uint8_t volatile *)(region->word + pages);
  region->dirty->quiet = region->dirty->clean + pages;
  region->dirty->group_shift = 16 - config->page_shift;
  region->chunks = config->bytes / VM_HUGE;
  region->chunk = region->dirty->quiet + region->chunks * (VM_HUGE / VM_GROUP);
  size_t rest_bytes = vm_rest_bytes(back_end, region->chunks);
  if (rest_bytes != 0) {
    region->rest = (struct vm_rest *)(uintptr_t)region->chunk;
    region->chunk += rest_bytes;
    vm_rest_open(region);
  }
  region->huge_chunks = config->huge / VM_HUGE;

  int result = map_twice(region, config->bytes);
  if (result < 0) {
    snprintf(why, why_bytes, "no memory for a region of %zu MiB: %s", config->bytes >> 20, strerror(-result));
    unbuild(region);
    return VM_NO_MEMORY;
  }
  status = back_end->open_state(region, why, why_bytes);
  if (status != VM_OK) {
    unbuild(region);
    return status;
  }
  if ((back_end->signal != 0 && !vm_trap_install(back_end->signal)) || !table_add(region)) {
    snprintf(why, why_bytes, "the signal handler cannot be installed, or %d regions are open", TABLE);
    back_end->close_state(region);
    unbuild(region);
    return VM_NO_MEMORY;
  }
  *out = region;
  return VM_OK;
}

void vm_region_close(vm_region *region) {
  table_remove(region);
  vm_rest_close(region);
  vm_seal_close(region);
  region->back_end->close_state(region);
  unbuild(region);
}

const char *vm_region_back_end(const vm_region *region) { return region->back_end->name; }

// ---- Memory.

static void raise_top(vm_region *region, size_t limit) {
  for (;;) {
    uint64_t top = at_load(&region->top);
    if (top >= limit || at_cas_full(&region->top, top, limit)) {
      return;
    }
  }
}

static size_t offset_of(const vm_region *region, size_t page) { return page << region->page_shift; }

void vm_region_punch(vm_region *region, size_t page, size_t count) {
  if (os_punch(region->memory, offset_of(region, page), offset_of(region, count)) < 0) {
    // The system keeps it, so at least it must read zero.
    memset(vm_page_alias(region, page), 0, offset_of(region, count));
  }
  if (region->back_end->released != NULL) {
    region->back_end->released(region, page, count);
  }
}

static void give_up(vm_region *region, size_t page, size_t count) {
  vm_region_punch(region, page, count);
  at_add(&region->committed, -(uint64_t)offset_of(region, count));
}

static bool committed(const vm_region *region, size_t page) {
  return (at32_load(&region->word[page]) & VM_COMMITTED) != 0;
}

// The first page in [page, limit) that is committed, or is not, as `value` says.
static size_t next_with(const vm_region *region, size_t page, size_t limit, bool value) {
  while (page < limit && committed(region, page) != value) {
    page++;
  }
  return page;
}

void vm_region_committed(vm_region *region, size_t page, size_t limit) {
  raise_top(region, limit);
  for (size_t i = page; i < limit; i++) {
    if (committed(region, i)) {
      continue;
    }
    at8_store(&region->dirty->clean[i], 0); // new contents are news to every consumer
    if (!(at32_or_full(&region->word[i], VM_COMMITTED) & VM_COMMITTED)) {
      at_add(&region->committed, region->page_size);
    }
  }
  vm_dirty_stir(region, page, limit - page, ~0u);
  vm_rouse(region, page, limit - page); // what gets memory is going to be written
}

static int get_memory(vm_region *region, size_t page, size_t count, bool map) {
  return map ? os_populate(vm_page_alias(region, page), offset_of(region, count))
             : os_allocate(region->memory, offset_of(region, page), offset_of(region, count));
}

static bool commit(vm_region *region, size_t page, size_t count, bool map) {
  VM_CHECK(page <= region->pages && count <= region->pages - page, "pages [%zu, +%zu) of a region of %zu", page, count,
           region->pages);
  size_t limit = page + count;
  if (!vm_huge_adopt(region, page, count)) {
    return false;
  }
  for (size_t from = next_with(region, page, limit, false); from < limit;) {
    size_t to = next_with(region, from, limit, true);
    if (get_memory(region, from, to - from, map) < 0) {
      // Words are not changed before all runs have memory, so that those that are still off are ours to give back.
      for (size_t i = next_with(region, page, to, false); i < to;) {
        size_t end = next_with(region, i, to, true);
        vm_region_punch(region, i, end - i);
        i = next_with(region, end, to, false);
      }
      return false;
    }
    from = next_with(region, to, limit, false);
  }
  vm_region_committed(region, page, limit);
  return true;
}

bool vm_commit(vm_region *region, size_t page, size_t count) { return commit(region, page, count, true); }

bool vm_commit_for_view(vm_region *region, size_t page, size_t count) { return commit(region, page, count, false); }

bool vm_commit_absent(vm_region *region, size_t page, size_t count) {
  VM_CHECK(page <= region->pages && count <= region->pages - page, "pages [%zu, +%zu) of a region of %zu", page, count, region->pages);
  if (!vm_huge_adopt_all(region, page, count)) {
    return false;
  }
  raise_top(region, page + count);
  for (size_t i = page; i < page + count; i++) {
    VM_CHECK_FULL(at32_load(&region->word[i]) == 0, "page %zu was used before: word %x", i, at32_load(&region->word[i]));
    at8_store(&region->dirty->clean[i], 0xff);
    at32_store_release(&region->word[i], VM_COMMITTED | VM_ABSENT); // a pager that is there already finds by it what stands ready for the page
  }
  at_add(&region->committed, offset_of(region, count));
  return true;
}

void vm_release(vm_region *region, size_t page, size_t count) {
  vm_huge_release(region, page, count);
  vm_claim_release(region, page, count, give_up);
}

bool vm_fill(vm_region *region, size_t page, size_t count, const void *from) {
  return os_fill(region->memory, offset_of(region, page), from, offset_of(region, count)) == 0;
}

size_t vm_held(const vm_region *region) { return os_memory_held(region->memory); }

void vm_quiesce(vm_region *region) {
  if (region->back_end->quiesce != NULL) {
    region->back_end->quiesce(region);
  }
}

void vm_resume(vm_region *region) {
  if (region->back_end->resume != NULL) {
    region->back_end->resume(region);
  }
}

bool vm_crowded(const vm_region *region) { return region->back_end->crowded((vm_region *)(uintptr_t)region); }
