// SPDX-License-Identifier: MIT
// rollback.c: a heap goes back to pages and a description that a service has (veil/hooks.h).
//
// Neighbours: gc/rollback.c takes the tables down and builds them anew, stop.c brings the threads to rest, restore.c puts pages right of a heap that was relocated. One thread asks, and does it all in the stop.
//
// Keeps rt.rollback: all that can fail comes before anything is changed.

#include <stdio.h>
#include <string.h>
#include "gc/rollback.h"
#include "runtime/futex.h"
#include "runtime/named.h"
#include "runtime/services.h"

enum {
  REST_MS = 10000, // for threads to come to rest: one that polls does, however busy the machine is
  TRIES = 100,    // while another service claims pages
};

typedef enum outcome { DONE, SAVE_FIRST, FAILED } outcome;

typedef struct rollback {
  veil_service *service;
  const veil_past *to;
  gc_described described;
  gc_past past;
  rt_named *named;
  uint64_t *put; // a bit per page: its contents are put back
  uint64_t *save; // a bit per page: it carries UNSAVED, and is to be saved first
  size_t words;   // of each
  size_t pages;   // to be put back
  char *contents; // of them
  size_t contents_bytes;
  bool all; // of all pages that were in use
  outcome outcome;
  veil_status status; // of FAILED
  char why[512];      // as veil_error
  veil_past_figures figures;
} rollback;

static bool bit_at(const uint64_t *bits, size_t page) { return bits[page / 64] >> page % 64 & 1; }
static void bit_set(uint64_t *bits, size_t page) { bits[page / 64] |= (uint64_t)1 << page % 64; }

// The first page from `page` on that has a bit; SIZE_MAX: none.
static size_t next_bit(const rollback *r, const uint64_t *bits, size_t page) {
  for (size_t word = page / 64; word < r->words; word++) {
    uint64_t left = bits[word] & (word == page / 64 ? ~(uint64_t)0 << page % 64 : ~(uint64_t)0);
    if (left != 0) {
      return word * 64 + (size_t)__builtin_ctzll(left);
    }
  }
  return SIZE_MAX;
}

static void fail(rollback *r, veil_status status, const char *why) {
  r->outcome = FAILED;
  r->status = status;
  snprintf(r->why, sizeof r->why, "%s", why);
}

// ---- In the stop, before anything has changed.

// What holds objects where they are, or wants to be called with them.
static bool is_free(rollback *r) {
  veil_heap *heap = r->service->heap;
  gc_heap *gc = heap->gc;
  size_t touched = 0, pins = rt_pins_count(heap), finals = at_load(&gc->links.count[GC_LINK_FINAL]) + at_load(&gc->links.count[GC_LINK_READY]);
  for (uint64_t i = 0; i < at_load(&heap->touch_high); i++) {
    touched += at_load(&heap->touched[i].base) != 0;
  }
  char why[160];
  if (at_load_acquire(&gc_types_transient) != 0) { // gc.transient; in the stop, since the next thread that runs may bring one
    fail(r, VEIL_UNSUPPORTED, "the process has types with something transient (VEIL_TRANSIENT): pages that were not written since may lead to objects that would be gone");
  } else if (touched != 0 || pins != 0) {
    snprintf(why, sizeof why, "%zu objects are pinned (veil_pin), and %zu ranges touched (veil_touch)", pins, touched);
    fail(r, VEIL_BUSY, why);
  } else if (finals != 0 && !r->to->drop_finalizers) {
    snprintf(why, sizeof why, "there are %zu finalizers, and dropping them was not allowed", finals);
    fail(r, VEIL_INVALID, why);
  }
  return r->outcome != FAILED;
}

static void written(void *arg, size_t page) {
  rollback *r = arg;
  if (page < r->service->heap->services->pages) {
    bit_set(r->put, page);
  }
}

// Dirty keeps what it was asked.
static void written_undo(const rollback *r) {
  for (size_t page = 0; (page = next_bit(r, r->put, page)) != SIZE_MAX; page++) {
    vm_dirty_note(r->service->heap->gc->region, page, 1u << r->service->consumer);
  }
}

static void save_look(rollback *r, size_t page) {
  if (vm_claims(r->service->heap->gc->region, page) & VM_UNSAVED) {
    bit_set(r->save, page);
    r->outcome = SAVE_FIRST;
  }
}

// Which pages: of those that were in use, what was written since, or is not in use now. What another service has still to save of all that is about to change waits until it has (cp.pool).
static void pages_find(rollback *r) {
  veil_heap *heap = r->service->heap;
  gc_heap *gc = heap->gc;
  (void)rt_dirty_find(r->service, 0);
  rt_dirty_visit(r->service, written, r);
  size_t fresh = gc_block_page(gc, (uint32_t)at_load(&gc->fresh)), large = gc_block_page(gc, gc->small_blocks);
  for (size_t page = 0, limit = rt_pages_used(gc); page < limit; page++) {
    page = page == fresh ? large : page; // what lies between was never in use
    if (page >= limit) {
      break;
    }
    bool was = gc_past_uses(&r->past, page), is = gc_page_in_use(gc, page);
    if (was && (r->all || !is || bit_at(r->put, page))) {
      r->pages++;
      r->figures.came += !is;
      bit_set(r->put, page);
      save_look(r, page);
    } else if (!was && is) {
      r->figures.went++;
      save_look(r, page);
    }
  }
}

static bool contents_read(rollback *r) {
  size_t page_size = r->service->heap->gc->page_size, n = 0;
  r->contents_bytes = r->pages * page_size;
  r->contents = r->pages != 0 ? os_map_private(r->contents_bytes) : NULL;
  if (r->pages != 0 && r->contents == NULL) {
    fail(r, VEIL_NO_MEMORY, "no memory for the contents of its pages");
    return false;
  }
  for (size_t page = 0; (page = next_bit(r, r->put, page)) != SIZE_MAX; page++) {
    if (gc_past_uses(&r->past, page) && !r->to->read(r->to->arg, page, r->contents + n++ * page_size)) {
      fail(r, VEIL_IO, veil_error());
      return false;
    }
  }
  return true;
}

// ---- What cannot fail.

static void buffers_drop(veil_heap *heap) {
  for (rt_thread *t = heap->threads; t != NULL; t = t->next) {
    memset(&t->open, 0, sizeof t->open);
    for (int i = 0; i < GC_SORTS; i++) {
      t->tlab_start[i] = NULL;
      t->lane[i].block = t->medium[i].block = GC_NONE;
    }
  }
}

static void contents_put(rollback *r) {
  veil_heap *heap = r->service->heap;
  gc_heap *gc = heap->gc;
  uint32_t consumers = at32_load(&gc->dirty_mask);
  size_t n = 0;
  for (size_t page = 0; (page = next_bit(r, r->put, page)) != SIZE_MAX; page++) {
    if (!gc_past_uses(&r->past, page)) {
      vm_dirty_put_off(gc->region, page, 1u << r->service->consumer); // Dirty was asked of it, and nobody is told
      continue;
    }
    if (vm_claims(gc->region, page) & VM_ABSENT) {
      vm_settle(gc->region, page, VM_ABSENT, true, false);
    }
    const char *contents = r->contents + n++ * gc->page_size;
    if (r->to->as_opened) {
      rt_restore_put(heap, page, contents); // in their order
    } else {
      memcpy(gc_page_alias(gc, page), contents, gc->page_size);
    }
    vm_dirty_note(gc->region, page, consumers); // through the alias nobody sees that
  }
  if (r->to->as_opened) {
    rt_restore_put_end(heap);
  }
}

static void go_back(rollback *r) {
  veil_heap *heap = r->service->heap;
  rt_services_tell(heap, RT_BEFORE_MINOR);
  buffers_drop(heap);
  gc_past_drop(&r->past, r->put);
  gc_rollback_stopped(&r->past);
  rt_named_swap(heap, &r->named);
  contents_put(r);
  rt_services_tell(heap, RT_AFTER_MINOR);
  r->figures.pages = r->pages;
  r->figures.finalizers = r->past.finals;
  if (heap->options.verify >= 1) {
    gc_verify_stopped(heap->gc, "after a rollback");
  }
}

static void stopped(veil_heap *heap, void *arg) {
  rollback *r = arg;
  memset(r->put, 0, r->words * sizeof *r->put);
  memset(r->save, 0, r->words * sizeof *r->save);
  r->pages = 0;
  r->figures = (veil_past_figures){0};
  r->outcome = DONE;
  if (!is_free(r)) {
    return;
  }
  pages_find(r);
  if (r->outcome == DONE && !gc_past_commit(&r->past)) {
    fail(r, VEIL_NO_MEMORY, "no memory for what was in use");
  }
  if (r->outcome == DONE && !contents_read(r)) {
    gc_past_uncommit(&r->past);
  }
  if (r->outcome == DONE) {
    go_back(r);
  } else {
    written_undo(r);
  }
  if (r->contents != NULL) {
    os_unmap(r->contents, r->contents_bytes);
    r->contents = NULL;
  }
  (void)heap;
}

// ---- Around it.

static void where_check(const veil_heap *heap) {
  rt_section_refuse("veil_service_rollback");
  rt_fork_lost(heap, "veil_service_rollback");
  if (rt_working() || vm_trapping() || vm_settling()) {
    vm_fatal("veil_service_rollback: called in a callback");
  }
}

static rt_thread *self_running(const veil_heap *heap) {
  for (rt_thread *t = rt_here; t != NULL; t = t->next_here) {
    if (t->heap == heap) {
      if (t->critical != 0) {
        vm_fatal("veil_service_rollback: called in a callback");
      }
      return at32_load(&t->state) == RT_RUNNING ? t : NULL;
    }
  }
  return NULL;
}

static bool section_get(void *arg, const char *name, const void **bytes, size_t *size) {
  const rollback *r = arg;
  return r->to->section(r->to->arg, name, bytes, size) == VEIL_OK;
}

static bool roots_find(rollback *r, uintptr_t base) {
  veil_heap *heap = r->service->heap;
  for (size_t i = 0; i < r->to->root_count; i++) {
    uint64_t offset = r->to->roots[i].address - base;
    if (offset >= heap->gc->span || offset % 8 != 0 || !gc_past_uses(&r->past, offset >> heap->gc->page_shift)) {
      rt_error_set("veil_service_rollback: the root %s led to no object", r->to->roots[i].name);
      return false;
    }
  }
  if (!rt_named_make(heap, r->to->roots, r->to->root_count, base, &r->named)) {
    rt_error_set("veil_service_rollback: there is no memory for the roots, or one has no proper name or is there twice");
    return false;
  }
  return true;
}

// All that is known before the stop.
static veil_status prepare(rollback *r) {
  veil_heap *heap = r->service->heap;
  gc_heap *gc = heap->gc;
  char why[160];
  uintptr_t base = r->to->as_opened ? rt_restore_base(heap->restore) : gc->base;
  r->described = (gc_described){.section = section_get, .arg = r, .base = base};
  r->all = r->to->as_opened && !rt_restore_was_kept(heap->restore, r->service->asked);
  if (!gc_described_read(&r->described, gc->span, gc->page_size, why, sizeof why) || !gc_past_open(&r->past, gc, &r->described, why, sizeof why)) {
    rt_error_set("veil_service_rollback: %s", why);
    return VEIL_NO_MEMORY;
  }
  r->words = gc->region->pages / 64 + 1;
  r->put = os_map_private(2 * r->words * sizeof *r->put);
  if (r->put == NULL) {
    rt_error_set("veil_service_rollback: no memory for two bits per page");
    return VEIL_NO_MEMORY;
  }
  r->save = r->put + r->words;
  return roots_find(r, base) ? VEIL_OK : VEIL_NO_MEMORY;
}

static void release(rollback *r) {
  gc_past_close(&r->past);
  if (r->put != NULL) {
    os_unmap(r->put, 2 * r->words * sizeof *r->put);
  }
}

// With the world running: their services may have to wait for a disk.
static void save(rollback *r) {
  veil_heap *heap = r->service->heap;
  for (size_t page = 0; (page = next_bit(r, r->save, page)) != SIZE_MAX; page++) {
    sigset_t saved;
    rt_thread *self = rt_service_enter(heap, &saved);
    vm_settle(heap->gc->region, page, VM_UNSAVED, true, false);
    rt_service_leave(heap, self, &saved);
  }
}

static veil_status attempt(rollback *r) {
  veil_heap *heap = r->service->heap;
  rt_thread *self = self_running(heap);
  if (self != NULL) {
    rt_enter(self);
  }
  bool rested = rt_at_rest(heap, self, REST_MS, stopped, r);
  if (self != NULL) {
    rt_leave(self);
  }
  if (!rested) {
    return VEIL_BUSY;
  }
  r->figures.pause_ns = at_load(&heap->stop_span_ns);
  if (r->outcome == FAILED) {
    rt_error_set("%s", r->why);
    return r->status;
  }
  return VEIL_OK;
}

RT_EXPORT veil_status veil_service_rollback(veil_service *s, const veil_past *to, veil_past_figures *out) {
  where_check(s->heap);
  if (s->consumer < 0 || (to->as_opened && s->heap->restore == NULL)) {
    rt_error_set("veil_service_rollback: %s %s", s->name, s->consumer < 0 ? "does not watch writes" : "has a heap that was not opened from a source");
    return VEIL_INVALID;
  }
  rollback r = {.service = s, .to = to};
  veil_status status = prepare(&r);
  for (int tries = 0; status == VEIL_OK; tries++) {
    status = attempt(&r);
    if (status != VEIL_OK || r.outcome == DONE) {
      break;
    }
    if (tries == TRIES) {
      rt_error_set("veil_service_rollback: other services claim pages faster than they can be saved");
      status = VEIL_BUSY;
    }
    save(&r);
  }
  if (status == VEIL_OK) {
    rt_named_free(r.named);
    rt_named_tidy(s->heap);
  } else {
    rt_named_drop(r.named);
  }
  release(&r);
  if (out != NULL) {
    *out = r.figures;
  }
  return status;
}
