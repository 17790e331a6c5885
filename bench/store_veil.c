// SPDX-License-Identifier: MIT
// store_veil.c: the workload `store` with veil's: an array of references to values under a named root, updated by plain stores.
//
// The stores of one commit are made in a critical section, so that no other thread's commit has half of them.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <veil/critical.h>
#include <veil/store.h>
#include "bench/store_load.h"

typedef struct item {
  unsigned char bytes[VALUE_BYTES];
} item;
VEIL_LEAF(item);

enum { WALKS = 5, ROLLBACKS = 5, FAR_MOST = 1000000, LOG_SPARE_MIB = 16, PAGE_BYTES = 4096 };
static veil_store *store; // NULL in a volatile heap
static veil_heap *heap;
static item **table;         // a root while threads are attached
static _Atomic int attached; // threads: the first comes before the others, and goes after them

static void must(bool right, const char *what) {
  if (!right) {
    load_fail(what, veil_error());
  }
}

static veil_thread *self_of(load_thread *t) { return (veil_thread *)t; }

static veil_options heap_options(void) {
  size_t live = load_now.total * (VALUE_BYTES + 2 * sizeof(void *));
  return (veil_options){.limit = live * 3 + ((size_t)256 << 20), .back_end = load_now.back_end};
}

static void veil_peer_open_as(veil_store_mode mode) {
  veil_options options = heap_options();
  veil_type *types[] = {&veil_type_item};
  veil_store_options o = {.types = types, .type_count = 1, .mode = mode, .elsewhere = strcmp(load_now.at, "elsewhere") == 0};
  if (strcmp(load_now.part, "recover") == 0) {
    o.log = (size_t)(2 * load_now.log_mib + LOG_SPARE_MIB) << 20; // it is folded when half of it is used
  }
  must((store = veil_store_open(load_now.file, &options, &o)) != NULL, "veil_store_open");
  heap = veil_store_heap(store);
}

static load_thread *veil_peer_attach(void) {
  veil_thread *self = veil_attach(heap);
  must(self != NULL, "veil_attach");
  if (attached++ == 0) {
    must(veil_add_roots(heap, &table, 1) == VEIL_OK, "veil_add_roots");
    table = veil_root_get(self, "table");
  }
  return (load_thread *)self;
}

static void veil_peer_detach(load_thread *t) {
  if (--attached == 0) {
    table = NULL;
    veil_remove_roots(heap, &table);
  }
  veil_detach(self_of(t));
}

static void veil_peer_close(void) {
  if (store != NULL) {
    must(veil_store_close(store) == VEIL_OK, "veil_store_close");
  } else {
    veil_close(heap);
  }
}

static void table_fill(load_thread *t) {
  veil_thread *self = self_of(t);
  table = (item **)veil_new_pointers(self, load_now.total);
  for (uint64_t key = 0; key < load_now.total; key++) {
    item *i = veil_new(self, item);
    load_value(key, 0, i->bytes);
    table[key] = i;
  }
  must(veil_root_set(self, "table", table) == VEIL_OK, "veil_root_set");
}

static void veil_peer_make(void) {
  load_making = false; // veil has to work wherever the others do
  veil_peer_open_as(VEIL_STORE_NEW);
  load_thread *t = veil_peer_attach();
  table_fill(t);
  must(veil_store_commit(store, NULL) == VEIL_OK, "veil_store_commit");
  veil_peer_detach(t);
  veil_peer_close();
}

static void veil_peer_open(void) { veil_peer_open_as(VEIL_STORE_EXISTING); }

static void veil_peer_open_volatile(void) {
  veil_options options = heap_options();
  must((heap = veil_open(&options)) != NULL, "veil_open");
  load_thread *t = veil_peer_attach();
  table_fill(t);
  veil_collect(self_of(t));
  veil_peer_detach(t);
}

static void veil_peer_block(load_thread *t, bool begin) {
  if (begin) {
    veil_block_begin(self_of(t));
  } else {
    veil_block_end(self_of(t));
  }
}

static void veil_peer_commit(load_thread *t, const load_update *updates, size_t count) {
  must(veil_critical_begin(self_of(t), 0) == VEIL_OK, "veil_critical_begin");
  for (size_t i = 0; i < count; i++) {
    memcpy(table[updates[i].key]->bytes, updates[i].value, VALUE_BYTES);
  }
  veil_critical_end(self_of(t));
  must(veil_store_commit(store, NULL) == VEIL_OK, "veil_store_commit");
}

static void veil_peer_read(load_thread *t, uint64_t key, unsigned char *value) { memcpy(value, table[key]->bytes, VALUE_BYTES); }

static uint64_t veil_peer_logged(void) { return veil_store_get_figures(store).logged; }
static double veil_peer_log_mib(void) { return (double)veil_store_get_figures(store).log_used / (1 << 20); }

static double veil_peer_peak_mib(void) {
  veil_stats s;
  veil_get_stats(heap, &s);
  return (double)s.held_max_bytes / (1 << 20) + load_status_mib("RssAnon:");
}

// veil_back_end gives a name and a reason; the record wants the name.
static const char *veil_peer_back_end(void) {
  static char name[32];
  snprintf(name, sizeof name, "%s", veil_back_end(heap));
  name[strcspn(name, " :,;")] = 0;
  return name;
}

// ---- The walk: values are read by their references: all in the order in which they were made, and FAR_MOST of them each far from the one before.

static double walked_ns(uint64_t step, uint64_t count, uint64_t *sum) {
  uint64_t check = 0, at = 0;
  double from = load_now_s();
  for (uint64_t i = 0; i < count; i++) {
    check = load_check_add(check, table[at]->bytes);
    at += step;
    at -= at >= load_now.total ? load_now.total : 0;
  }
  *sum = check;
  return (load_now_s() - from) * 1e9 / (double)count;
}

static uint64_t far_step(uint64_t count) { // coprime to it, so that all are reached: near its golden section
  for (uint64_t step = (uint64_t)((double)count * 0.6180339887);; step++) {
    uint64_t a = count, b = step;
    while (b != 0) {
      uint64_t rest = a % b;
      a = b;
      b = rest;
    }
    if (a == 1) {
      return step;
    }
  }
}

static int by_size(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

static void veil_peer_walk(void) {
  double near_ns[WALKS], far_ns[WALKS];
  uint64_t sum, far_sum, far = far_step(load_now.total), total = load_now.total, far_count = total < FAR_MOST ? total : FAR_MOST;
  walked_ns(1, total, &sum); // reads in what is not there
  for (int i = 0; i < WALKS; i++) {
    near_ns[i] = walked_ns(1, total, &sum);
    far_ns[i] = walked_ns(far, far_count, &far_sum);
  }
  qsort(near_ns, WALKS, sizeof *near_ns, by_size);
  qsort(far_ns, WALKS, sizeof *far_ns, by_size);
  char text[32];
  snprintf(text, sizeof text, "%016llx", (unsigned long long)(sum ^ far_sum));
  load_json_text("check", text);
  load_json("walk_ns", near_ns[WALKS / 2]);
  load_json("walk_far_ns", far_ns[WALKS / 2]);
}

// ---- Pages: the first touch of pages that were not read yet. A trap reads a block of PAGES_PER_TRAP.

enum { TRAP_NS = 1000, PAGES_PER_TRAP = 16 }; // a touch that takes less met a page that was there

typedef struct touches {
  double *took; // us of each page, of those that trapped
  uint64_t trapped;
} touches;

static void touch(touches *t, const void *where) {
  double from = load_now_s();
  (void)*(const unsigned char volatile *)where;
  double ns = (load_now_s() - from) * 1e9;
  if (ns >= TRAP_NS) {
    t->took[t->trapped++] = ns * 1e-3 / PAGES_PER_TRAP;
  }
}

static void touches_tell(touches *t, const char *median, const char *p98, const char *count) {
  qsort(t->took, t->trapped, sizeof *t->took, by_size);
  load_json(median, t->trapped != 0 ? t->took[t->trapped / 2] : 0);
  load_json(p98, t->trapped != 0 ? t->took[t->trapped - 1 - t->trapped / 50] : 0);
  load_json(count, (double)t->trapped);
}

// First pages of the table, which hold nothing but references, then pages of values; one place in each block, each far from the one before. The background reads as well, so some are there already.
static void veil_peer_pages(void) {
  uint64_t slots = (uint64_t)PAGES_PER_TRAP * PAGE_BYTES / sizeof *table, values = (uint64_t)PAGES_PER_TRAP * PAGE_BYTES / VALUE_BYTES;
  touches t = {.took = calloc(load_now.total / values + load_now.total / slots + 1, sizeof *t.took)};
  must(t.took != NULL, "memory");
  for (uint64_t i = 0, at = 0, count = load_now.total / slots, step = far_step(count); i < count; i++, at = (at + step) % count) {
    touch(&t, &table[at * slots]);
  }
  touches_tell(&t, "references_us", "references_p98_us", "references_trapped");
  t.trapped = 0;
  for (uint64_t i = 0, at = 0, count = load_now.total / values, step = far_step(count); i < count; i++, at = (at + step) % count) {
    touch(&t, table[at * values]->bytes);
  }
  touches_tell(&t, "page_us", "page_p98_us", "trapped");
  free(t.took);
}

// ---- Rollback.

static void veil_peer_rollback(load_thread *t) {
  double took[ROLLBACKS], paused[ROLLBACKS], pages[ROLLBACKS];
  load_source source = load_source_begin(0);
  veil_collect(self_of(t)); // all pages are there
  must(veil_store_commit(store, NULL) == VEIL_OK, "veil_store_commit");
  for (int i = 0; i < ROLLBACKS; i++) {
    for (unsigned n = 0; n < load_now.k; n++) {
      load_update u;
      load_update_next(&source, &u);
      memcpy(table[u.key]->bytes, u.value, VALUE_BYTES);
    }
    veil_rollback_figures figures;
    double from = load_now_s();
    must(veil_store_rollback(store, &figures) == VEIL_OK, "veil_store_rollback");
    took[i] = (load_now_s() - from) * 1e3;
    paused[i] = (double)figures.pause_ns * 1e-6;
    pages[i] = (double)figures.pages;
    table = veil_root_get(self_of(t), "table");
  }
  memset(load_stamps, 0, load_now.keys * sizeof *load_stamps); // no update is left
  qsort(took, ROLLBACKS, sizeof *took, by_size);
  qsort(paused, ROLLBACKS, sizeof *paused, by_size);
  qsort(pages, ROLLBACKS, sizeof *pages, by_size);
  load_json("rollback_ms", took[ROLLBACKS / 2]);
  load_json("rollback_pause_ms", paused[ROLLBACKS / 2]);
  load_json("rollback_pages", pages[ROLLBACKS / 2]);
}

const load_peer peer_here = {.name = "veil", .suffixes = {"", ".log"}, .make = veil_peer_make, .open = veil_peer_open, .close = veil_peer_close, .attach = veil_peer_attach,
                             .detach = veil_peer_detach, .block = veil_peer_block, .commit = veil_peer_commit, .read = veil_peer_read, .logged = veil_peer_logged,
                             .log_mib = veil_peer_log_mib, .peak_mib = veil_peer_peak_mib, .back_end = veil_peer_back_end, .open_volatile = veil_peer_open_volatile, .walk = veil_peer_walk,
                             .pages = veil_peer_pages, .rollback = veil_peer_rollback};
