// SPDX-License-Identifier: MIT
// restore.c: a heap out of pages and a description (veil/hooks.h): opens at once, reads pages when they are first touched, and in the background.
//
// Neighbours: gc/rebuild.c puts the tables in order, gc/relocate.c the pages; retype.h the types; hooks.c knows which pages are still away. heap.c opens.
//
// rt.restore  Pages that are away carry ABSENT and belong to no service. Whoever touches one holds it, reads it through the alias, and with it those of its 64 KiB that are away as well and that nobody
//             holds; puts them right; and only then lets them go. He waits for no page. All that is away gets memory when its claim ends, read or not (vm_commit_absent).
//             `left` counts pages that are away; when it is 0 the background thread tells the source, which nobody asks any more.

#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include "gc/describe.h"
#include "gc/relocate.h"
#include "runtime/describe.h"
#include "runtime/futex.h"
#include "runtime/named.h"
#include "runtime/retype.h"
#include "runtime/services.h"

enum {
  OS_PAGE = 4096,
  BUFFERS = 4,        // for who reads at the same time; others do without
  STRETCH = 2 << 20, // bytes that one of several readers takes on at a time
  MILLISECOND = 1000000, // in nanoseconds
};

struct rt_restore {
  // Constant once the heap is open.
  veil_source source;
  char *name;
  gc_described described;
  gc_relocation relocation;
  gc_traced traced; // of the relocation
  bool relocates;
  uint64_t *held;  // per block: it was described (gc_relocation.held); NULL: pages have no transient slots, nor lead to what was not saved
  size_t held_bytes;
  uint64_t *there; // per page: it has contents that are not zero
  size_t there_bytes;
  uint16_t *numbers; // of types
  char *buffers;     // BUFFERS of a block, which is read at once; NULL: there are none
  // Atomic.
  AO_t left;   // pages that are away
  AO_t cursor; // where readers go on: a page
  uint32_t volatile buffer_taken[BUFFERS];
  uint32_t volatile found; // what is there is known, and the heap about to be given to the program
  uint32_t volatile closing;
  uint32_t volatile hurry; // not 0: the background does not wait any longer
  // Under the lock of forks.
  pthread_t reader;
  bool reader_runs;
  bool told; // that nothing is read any more. By the reader, or when it is gone
};

static bool is_there(const rt_restore *r, size_t page) { return r->there[page / 64] >> page % 64 & 1; }

// ---- Reading.

static _Noreturn void page_lost(const rt_restore *r, size_t page) { vm_fatal("%s: page %zu of the heap cannot be read: %s", r->name, page, veil_error()); }

// Pages that hold zeros only, or nothing, are not asked for.
static bool contents_read(void *arg, size_t page, size_t count, void *to) {
  const rt_restore *r = arg;
  size_t page_size = r->source.page_size;
  (void)at32_load_acquire(&r->found); // who touched the page came after that, and a pager after him, but only by way of the system
  for (size_t at = page, limit = page + count, end; at < limit; at = end) {
    bool there = is_there(r, at);
    for (end = at + 1; end < limit && is_there(r, end) == there; end++) {
    }
    char *into = (char *)to + (at - page) * page_size;
    if (!there) {
      memset(into, 0, (end - at) * page_size);
    } else if (!r->source.read(r->source.arg, at, end - at, into)) {
      return false;
    }
  }
  return true;
}

// By way of a buffer that the caches keep: to write a file's new memory takes less than to map it, have it cleared and read there. False: nothing is there yet.
static bool buffer_read(rt_restore *r, const gc_heap *gc, size_t page, size_t count) {
  if (r->buffers == NULL) {
    return false; // who relocates reads and writes through the alias anyway
  }
  for (unsigned i = 0; i < BUFFERS; i++) {
    if (at32_cas_full(&r->buffer_taken[i], 0, 1)) {
      char *buffer = r->buffers + (size_t)i * GC_BLOCK;
      bool read = contents_read(r, page, count, buffer);
      bool filled = read && vm_fill(gc->region, page, count, buffer);
      at32_store_release(&r->buffer_taken[i], 0);
      if (!read) {
        page_lost(r, page);
      }
      return filled;
    }
  }
  return false;
}

static void pages_read(rt_restore *r, const gc_heap *gc, size_t page, size_t count) {
  if (buffer_read(r, gc, page, count)) {
    return;
  }
  if (count > 1) {
    os_populate(gc_page_alias(gc, page), count << gc->page_shift); // in one call, rather than by as many faults; which is what happens if it fails
  }
  gc_covering covering;
  bool read = (!r->relocates || gc_covering_find(&r->relocation, page, &covering)) && contents_read(r, page, count, gc_page_alias(gc, page)) &&
              (!r->relocates || gc_relocate(&r->relocation, page, count, &covering));
  if (!read) {
    page_lost(r, page);
  }
}

static bool page_take(veil_heap *heap, size_t page) {
  vm_region *region = heap->gc->region;
  if (!rt_restored_is_absent(heap, page) || !vm_take(region, page, VM_ABSENT)) {
    return false;
  }
  if (rt_restored_is_absent(heap, page)) {
    return true;
  }
  vm_give(region, page, 1); // it was read meanwhile, and is a service's now
  return false;
}

static void neighbours_give(veil_heap *heap, size_t page, size_t count) {
  for (size_t i = page; i < page + count; i++) {
    rt_restored_forget(heap, i);
    vm_settled(heap->gc->region, i, VM_ABSENT);
  }
  if (count != 0) {
    vm_give(heap->gc->region, page, count);
  }
}

void rt_restore_absent(veil_heap *heap, size_t page) {
  rt_restore *r = heap->restore;
  size_t group = heap->gc->block_pages, low = page - page % group, high = low + group, first = page, limit = page + 1;
  while (first > low && page_take(heap, first - 1)) {
    first--;
  }
  while (limit < high && page_take(heap, limit)) {
    limit++;
  }
  pages_read(r, heap->gc, first, limit - first);
  neighbours_give(heap, first, page - first);
  neighbours_give(heap, page + 1, limit - page - 1);
  at_add_full(&r->left, -(uint64_t)(limit - first));
}

void rt_restore_discarded(veil_heap *heap, size_t page) {
  char volatile *at = gc_page_alias(heap->gc, page);
  for (size_t i = 0; i < heap->gc->page_size; i += OS_PAGE) {
    at[i] = 0; // memory
  }
  at_add_full(&heap->restore->left, (uint64_t)-1);
}

// ---- The background.

static void done_tell(rt_restore *r) {
  if (!r->told) {
    r->told = true;
    if (r->source.done != NULL) {
      r->source.done(r->source.arg);
    }
  }
}

// Reads all that is away, in stretches, beside whoever else does. `self` is the thread's own if it is attached.
static void all_fetch(veil_heap *heap, rt_thread *self) {
  rt_restore *r = heap->restore;
  vm_region *region = heap->gc->region;
  size_t stretch = STRETCH >> heap->gc->page_shift;
  while (at_load_acquire(&r->left) != 0 && !at32_load_acquire(&r->closing)) {
    uint64_t at = at_add(&r->cursor, stretch);
    if (at >= region->pages) {
      at_cas_full(&r->cursor, at + stretch, 0); // what others hold, or have made room for meanwhile
      sched_yield();
      continue;
    }
    size_t limit = region->pages - at < stretch ? region->pages : at + stretch;
    for (size_t page = at; page < limit && !at32_load_acquire(&r->closing); page++) {
      if (!rt_restored_is_absent(heap, page)) {
        continue;
      }
      vm_settle(region, page, VM_ABSENT, false, true);
      if (self != NULL) {
        rt_safepoint(self);
      } else {
        rt_work_pause(heap);
      }
    }
  }
}

// Until it is time to begin. The thread does not work for the heap yet, so no stop waits for it.
static void delay(rt_restore *r) {
  uint64_t until = vm_now() + (uint64_t)r->source.delay_ms * MILLISECOND;
  for (uint64_t now = vm_now(); now < until && at32_load_acquire(&r->hurry) == 0; now = vm_now()) {
    rt_wait(&r->hurry, 0, (unsigned)((until - now) / MILLISECOND) + 1);
  }
}

static void *reader_main(void *arg) {
  veil_heap *heap = arg;
  rt_restore *r = heap->restore;
  prctl(PR_SET_NAME, "veil-restore");
  delay(r);
  rt_work_begin(heap);
  all_fetch(heap, NULL);
  if (at_load_acquire(&r->left) == 0) {
    gc_traced_free(heap->gc, &r->traced);
    done_tell(r);
  }
  rt_work_end(heap);
  return NULL;
}

RT_EXPORT void veil_source_fetch(veil_heap *heap) {
  rt_section_refuse("veil_source_fetch");
  if (rt_restore_reads(heap->restore)) {
    sigset_t saved;
    rt_thread *self = rt_service_enter(heap, &saved);
    rt_post(&heap->restore->hurry); // whoever tells the source is to be there when all is read
    all_fetch(heap, self);
    rt_service_leave(heap, self, &saved);
  }
}

RT_EXPORT bool veil_source_is_kept(veil_heap *heap) {
  const rt_restore *r = heap->restore;
  sigset_t saved;
  rt_thread *self = rt_service_enter(heap, &saved); // no flip comes between
  bool kept = r != NULL && !r->relocates && heap->gc->cycle == r->described.number[GC_NUMBER_CYCLE] && at_load(&heap->gc->minor_cycles) == r->described.number[GC_NUMBER_MINOR_CYCLES];
  rt_service_leave(heap, self, &saved);
  return kept;
}

bool rt_restore_start(veil_heap *heap) {
  rt_restore *r = heap->restore;
  if (at_load_acquire(&r->left) == 0) {
    done_tell(r);
    return true;
  }
  sigset_t saved;
  os_signals_block(&saved);
  int error = pthread_create(&r->reader, NULL, reader_main, heap);
  os_signals_restore(&saved);
  r->reader_runs = error == 0;
  if (error != 0) {
    rt_error_set("cannot start the thread that reads %s: %s", r->name, strerror(error));
  }
  return error == 0;
}

void rt_restore_stop(veil_heap *heap) {
  rt_restore *r = heap->restore;
  if (r != NULL && r->reader_runs) {
    at32_store_release(&r->closing, 1);
    rt_post(&r->hurry);
    pthread_join(r->reader, NULL);
    r->reader_runs = false;
    gc_traced_free(heap->gc, &r->traced); // no mutator is left
  }
}

bool rt_restore_reads(const rt_restore *restore) { return restore != NULL && at_load_acquire((AO_t volatile *)(uintptr_t)&restore->left) != 0; }

// If there is no thread to be had, what is touched is read all the same.
void rt_restore_fork(veil_heap *heap) {
  if (heap->restore != NULL && heap->restore->reader_runs && !heap->restore->told) {
    heap->restore->reader_runs = false;
    rt_restore_start(heap);
  }
}

void rt_restore_free(rt_restore *r) {
  if (r == NULL) {
    return;
  }
  done_tell(r);
  if (r->there != NULL) {
    os_unmap(r->there, r->there_bytes);
  }
  if (r->held != NULL) {
    os_unmap(r->held, r->held_bytes);
  }
  if (r->buffers != NULL) {
    os_unmap(r->buffers, (size_t)BUFFERS * GC_BLOCK);
  }
  if (r->numbers != NULL) {
    os_unmap(r->numbers, GC_TYPES * sizeof *r->numbers);
  }
  free(r->name);
  free(r);
}

// ---- Going back to it.

uintptr_t rt_restore_base(const rt_restore *r) { return r->source.base; }

bool rt_restore_was_kept(const rt_restore *r, const uint64_t numbers[2]) {
  const uint64_t *n = r->described.number;
  return numbers[0] == n[GC_NUMBER_CYCLE] && numbers[1] == n[GC_NUMBER_MINOR_CYCLES] + (r->source.base != r->relocation.heap->base);
}

void rt_restore_put(veil_heap *heap, size_t page, const void *contents) {
  const rt_restore *r = heap->restore;
  gc_covering covering;
  bool good = !r->relocates || gc_covering_find(&r->relocation, page, &covering);
  memcpy(gc_page_alias(heap->gc, page), contents, heap->gc->page_size);
  if (!good || (r->relocates && !gc_relocate(&r->relocation, page, 1, &covering))) {
    page_lost(r, page);
  }
}

void rt_restore_put_end(veil_heap *heap) {
  if (!rt_restore_reads(heap->restore)) {
    gc_traced_free(heap->gc, &heap->restore->traced); // else the reader does
  }
}

// ---- Opening.

static bool section_get(void *arg, const char *name, const void **bytes, size_t *size) {
  const rt_restore *r = arg;
  return r->source.section(r->source.arg, name, bytes, size) == VEIL_OK;
}

bool rt_restore_geometry(rt_restore *r, veil_options *options, bool limit_given, gc_geometry *out) {
  char why[160];
  r->described = (gc_described){.section = section_get, .arg = r, .base = r->source.base};
  if (!gc_described_read(&r->described, r->source.span, r->source.page_size, why, sizeof why)) {
    rt_error_set("%s: %s", r->name, why);
    return false;
  }
  const uint64_t *n = r->described.number;
  if (n[GC_NUMBER_FINALS] != 0 && !r->source.drop_finalizers) {
    rt_error_set("%s: the heap had %llu finalizers, which are functions of another process, and dropping them was not allowed", r->name,
                 (unsigned long long)n[GC_NUMBER_FINALS]);
    return false;
  }
  bool movable = r->source.base % VM_HUGE == 0 && r->source.base < (uint64_t)1 << 47;
  *out = (gc_geometry){.blocks = (uint32_t)n[GC_NUMBER_BLOCKS],
                       .small_blocks = (uint32_t)n[GC_NUMBER_SMALL_BLOCKS],
                       .young_blocks = (uint32_t)n[GC_NUMBER_YOUNG_BLOCKS],
                       .at = r->source.elsewhere || !movable ? NULL : (void *)(uintptr_t)r->source.base};
  options->granule = r->source.page_size;
  options->reserve = n[GC_NUMBER_RESERVE];
  uint64_t room = 2 * ((n[GC_NUMBER_USED_BLOCKS] << GC_BLOCK_SHIFT) + (n[GC_NUMBER_LARGE_PAGES] << n[GC_NUMBER_PAGE_SHIFT]));
  if (!limit_given && options->limit < room) {
    options->limit = room; // what there is, and its copies
  }
  options->limit = options->limit < options->reserve ? options->limit : options->reserve;
  return true;
}

// Where it has no traps all is read at once.
static bool pages_begin(void *arg, size_t page, size_t count) {
  veil_heap *heap = arg;
  vm_region *region = heap->gc->region;
  if (!region->traps) {
    return vm_commit(region, page, count);
  }
  rt_restored_claim(heap, page, count); // first, so that who finds the page absent finds whose it is
  if (!vm_commit_absent(region, page, count)) {
    return false; // and the heap is not opened
  }
  at_add(&heap->restore->left, count);
  return true;
}

// The page, or the next one that can be in use: between blocks that had memory and the next space there may be as much as a heap's whole span, whose tables nobody has touched.
static size_t page_usable(const gc_heap *gc, size_t page) {
  page = page == gc_block_page(gc, (uint32_t)at_load(&gc->young_fresh)) ? gc_block_page(gc, gc->young_blocks) : page;
  return page == gc_block_page(gc, (uint32_t)at_load(&gc->fresh)) ? gc_block_page(gc, gc->small_blocks) : page;
}

// Each page that is in use has to be there.
static bool pages_find(veil_heap *heap) {
  rt_restore *r = heap->restore;
  gc_heap *gc = heap->gc;
  size_t first = 0, limit = 0; // the run that was found last
  bool zero = false;
  for (size_t page = page_usable(gc, 0), end = gc_block_page(gc, at32_load(&gc->large_high)); page < end; page = page_usable(gc, page + 1)) {
    if (at32_load(&gc->top[page]) == 0) {
      continue;
    }
    if (page >= limit) {
      size_t count = 0;
      bool found = r->source.next(r->source.arg, page, &first, &count, &zero);
      limit = found && first >= page && count <= gc->region->pages - first ? first + count : 0;
    }
    if (page < first || page >= limit) {
      rt_error_set("%s: page %zu is in use, and not among its pages", r->name, page);
      return false;
    }
    r->there[page / 64] |= (uint64_t)!zero << page % 64;
  }
  at32_store_release(&r->found, 1);
  return true;
}

static void all_read(veil_heap *heap) {
  gc_heap *gc = heap->gc;
  for (size_t page = page_usable(gc, 0), end = gc_block_page(gc, at32_load(&gc->large_high)); page < end; page = page_usable(gc, page + 1)) {
    if (at32_load(&gc->top[page]) != 0) {
      pages_read(heap->restore, gc, page, 1);
    }
  }
}

static bool types_restore(rt_restore *r, veil_type *const *types, size_t count) {
  r->numbers = os_map_private(GC_TYPES * sizeof *r->numbers);
  if (r->numbers == NULL) {
    rt_error_set("%s: no memory for the numbers of its types", r->name);
    return false;
  }
  rt_retyping retyping = {.source = r->name, .program = types, .program_count = count, .number = r->numbers, .same = true};
  for (size_t i = 0; i < r->source.type_count; i++) {
    if (!rt_type_restore(&retyping, &r->source.types[i])) {
      return false;
    }
  }
  for (size_t i = 0; i < count; i++) {
    if (!rt_type_match(&retyping, types[i], r->source.types, r->source.type_count)) {
      return false;
    }
  }
  r->relocation.types = retyping.same ? NULL : r->numbers;
  return rt_type_match(&retyping, &rt_weak_type, r->source.types, r->source.type_count) &&
         rt_type_match(&retyping, &rt_table_type, r->source.types, r->source.type_count);
}

static bool roots_restore(veil_heap *heap) {
  rt_restore *r = heap->restore;
  const gc_heap *gc = heap->gc;
  for (size_t i = 0; i < r->source.root_count; i++) {
    const veil_root_described *root = &r->source.roots[i];
    uint64_t offset = root->address - r->source.base;
    if (offset >= gc->span || offset % 8 != 0 || at32_load(&gc->top[offset >> gc->page_shift]) == 0) {
      rt_error_set("%s: the root %s leads to no object", r->name, root->name);
      return false;
    }
    if (!rt_named_restore(heap, root->name, gc->base + offset)) {
      rt_error_set("%s: there is no memory for the root %s, or it is there twice, or has no proper name", r->name, root->name);
      return false;
    }
  }
  return true;
}

static bool any_transient(const veil_type_described *type) {
  bool any = (type->flags & RT_TYPE_TRANSIENT) != 0;
  for (size_t i = 0; i < type->slot_count; i++) {
    any |= (type->slots[i] & GC_SLOT_TRANSIENT) != 0;
  }
  for (size_t i = 0; i < type->fixed_slot_count; i++) {
    any |= (type->fixed_slots[i] & GC_SLOT_TRANSIENT) != 0;
  }
  return any;
}

// gc.transient: whether slots have to be looked at when pages are read. False: there is no memory.
static bool held_open(rt_restore *r, const gc_heap *gc) {
  bool any = false;
  for (size_t i = 0; i < r->source.type_count && !r->source.blank; i++) {
    any |= any_transient(&r->source.types[i]);
  }
  if (any) {
    r->held_bytes = gc->blocks / 8 + 8;
    r->held = os_map_private(r->held_bytes);
    r->relocation.held = r->held;
  }
  return !any || r->held != NULL;
}

// Blocks that are free now are going to have other objects, while pages that lead to what was there are away.
static void held_note(rt_restore *r, const gc_heap *gc) {
  for (uint32_t b = 0; r->held != NULL && b < gc->blocks; b++) {
    r->held[b / 64] |= (uint64_t)(gc_space(gc, b) != 0) << b % 64;
  }
}

bool rt_restore_open(veil_heap *heap, rt_restore *r) {
  gc_heap *gc = heap->gc;
  heap->restore = r;
  r->relocation.heap = gc;
  r->relocation.base = r->source.base;
  r->relocation.read = contents_read;
  r->relocation.arg = r;
  r->relocation.traced = &r->traced;
  bool held = held_open(r, gc);
  r->relocates = gc_relocation_is_needed(&r->relocation);
  r->there_bytes = gc->region->pages / 8 + 8;
  r->there = os_map_private(r->there_bytes);
  r->buffers = r->relocates ? NULL : os_map_private((size_t)BUFFERS * GC_BLOCK);
  char why[160] = "no memory for its pages";
  if (r->there == NULL || !held || !gc_rebuild(gc, &r->described, pages_begin, heap, why, sizeof why)) {
    rt_error_set("%s: %s", r->name, why);
    return false;
  }
  held_note(r, gc);
  if (!pages_find(heap) || !roots_restore(heap)) {
    return false;
  }
  if (!gc->region->traps) {
    all_read(heap);
    gc_traced_free(gc, &r->traced);
  }
  return true;
}

RT_EXPORT veil_heap *veil_open_from(const veil_options *options, const veil_source *source, veil_type *const *types, size_t type_count) {
  rt_section_refuse("veil_open_from");
  rt_restore *r = calloc(1, sizeof *r);
  char *name = strdup(source->name != NULL ? source->name : "the source");
  if (r == NULL || name == NULL) {
    rt_error_set("veil_open_from: no memory");
    free(r);
    free(name);
    if (source->done != NULL) {
      source->done(source->arg);
    }
    return NULL;
  }
  r->source = *source;
  r->name = name;
  veil_heap *heap = types_restore(r, types, type_count) ? rt_heap_open(options, NULL, r) : NULL;
  if (heap == NULL) {
    rt_restore_free(r);
  }
  return heap;
}
