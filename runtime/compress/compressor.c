// SPDX-License-Identifier: MIT
// compressor.c: opening and closing; what programs ask.
//
// Neighbours: keeper.c and packer.c have the threads. Any thread.

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/compress/compressor.h"
#include "runtime/error.h"
#include "vm/os.h"

#define CX_EXPORT __attribute__((visibility("default")))

enum {
  INTERVAL_MS = 10000,
  LEAST_MS = 120000,
  INTERVAL_LEAST_MS = 10,
  LEAST_MOST = 250,   // intervals
  SKIP_MOST = 7,      // intervals, and less than the least age
  PERCENTILE = 98,
  HISTORY = 60,       // intervals: ten minutes by default
  ADDRESS_SHARE = 2,  // the shelf's address space, as a multiple of the heap's
  PAGE_TABLES = sizeof(AO_t) + 2 + sizeof(cx_page),
  PREDICTED = 16,     // pages that share a predictor
};
static const double TARGET = 0.002, TARGET_LEAST = 0.00001;

// ---- Options.

static const char *options_wrong(const veil_compressor_options *o) {
  if (o->prefer != VEIL_COMPRESS_SPACE && o->prefer != VEIL_COMPRESS_SPEED) {
    return "`prefer` is neither space nor speed";
  }
  if (!(o->target >= TARGET_LEAST && o->target <= 1)) {
    return "`target` is not from 0.00001 to 1";
  }
  if (o->interval_ms < INTERVAL_LEAST_MS) {
    return "`interval_ms` is less than 10";
  }
  if (o->least_ms < o->interval_ms || o->least_ms / o->interval_ms > LEAST_MOST) {
    return "`least_ms` is not from 1 to 250 intervals";
  }
  if (o->age_ms != 0 && (o->age_ms < o->interval_ms || o->age_ms / o->interval_ms > LEAST_MOST)) {
    return "`age_ms` is not from 1 to 250 intervals";
  }
  return o->threads > CX_THREADS_MOST ? "more than 16 `threads`" : NULL;
}

static unsigned intervals_of(const veil_compressor *c, unsigned ms) {
  unsigned n = (unsigned)((ms + (uint64_t)c->options.interval_ms - 1) / c->options.interval_ms);
  return n < CX_AGES - 1 ? n : CX_AGES - 1;
}

static bool options_take(veil_compressor *c, const veil_compressor_options *options) {
  veil_compressor_options *o = &c->options;
  *o = options != NULL ? *options : (veil_compressor_options){0};
  o->target = o->target == 0 ? TARGET : o->target;
  o->interval_ms = o->interval_ms == 0 ? INTERVAL_MS : o->interval_ms;
  o->least_ms = o->least_ms != 0 ? o->least_ms : o->interval_ms <= LEAST_MS && LEAST_MS / o->interval_ms <= LEAST_MOST ? LEAST_MS : o->interval_ms * 12;
  o->threads = o->threads == 0 ? 1 : o->threads;
  const char *wrong = options_wrong(o);
  if (wrong != NULL) {
    rt_error_set("veil_compressor_open: %s", wrong);
    return false;
  }
  unsigned least = intervals_of(c, o->least_ms), first = o->age_ms != 0 ? intervals_of(c, o->age_ms) : least;
  c->fixed = o->age_ms != 0 ? first : 0;
  c->skip_most = first - 1 < SKIP_MOST ? first - 1 : SKIP_MOST;
  cx_goal goal = {.target = o->target, .interval_s = o->interval_ms / 1000.0, .least = least, .percentile = PERCENTILE, .intervals = HISTORY, .quiet = least < HISTORY ? least : HISTORY};
  return cx_control_init(&c->control, &goal);
}

// ---- Memory.

static size_t tables_bytes(size_t pages) { return pages * PAGE_TABLES + (pages / PREDICTED + 1) * sizeof(cx_predictor); }
static size_t groups_of(size_t pages) { return pages / CX_GROUP + 1; }

static bool memory_open(veil_compressor *c) {
  size_t pages = c->pages.count, page_size = c->pages.page_size;
  c->memory_bytes = tables_bytes(pages) + groups_of(pages) + 64;
  c->memory = os_map_private(c->memory_bytes); // touched only as far as pages are in use
  c->ballast = os_map_private(CX_BALLAST * page_size);
  uint64_t *notes = os_map_private(CX_SLOTS * page_size);
  c->slot[0].notes = notes;
  if (c->memory == NULL || c->ballast == NULL || notes == NULL || !cx_ballast_fill(c)) {
    return false;
  }
  for (size_t i = 0; i < CX_SLOTS; i++) {
    c->slot[i].notes = notes + i * page_size / 8;
  }
  c->state = (AO_t *)c->memory;
  c->predictor = (cx_predictor *)(c->state + pages);
  c->page = (cx_page *)(c->predictor + pages / PREDICTED + 1);
  c->back = (uint8_t *)(c->page + pages);
  c->hint = c->back + pages;
  c->group = (uint8_t *)c->hint + pages;
  unsigned processors = os_processors() * 2;
  bool speed = c->options.prefer == VEIL_COMPRESS_SPEED; // matches in a dictionary are spread over 64 KiB, of which little is in a cache when a page is wanted: four times the time of lz4 without
  c->codec = cx_codec_open(&(cx_codec_options){.page_bytes = page_size, .prefer = speed ? CX_SPEED : CX_SPACE, .no_dictionary = speed});
  c->shelf = cx_shelf_open(&(cx_shelf_options){.address_bytes = ADDRESS_SHARE * pages * page_size, .moved = cx_item_moved, .context = c});
  return c->codec != NULL && c->shelf != NULL && cx_unpackers_open(&c->unpackers, c->codec, c->pages.page_size, processors < CX_UNPACKERS_MOST ? processors : CX_UNPACKERS_MOST);
}

static void memory_close(veil_compressor *c) {
  if (c->memory != NULL) {
    os_unmap(c->memory, c->memory_bytes);
  }
  if (c->ballast != NULL) {
    os_unmap(c->ballast, CX_BALLAST * c->pages.page_size);
  }
  if (c->slot[0].notes != NULL) {
    os_unmap(c->slot[0].notes, CX_SLOTS * c->pages.page_size);
  }
  cx_unpackers_close(&c->unpackers);
  cx_shelf_close(c->shelf);
  cx_codec_close(c->codec);
  pthread_mutex_destroy(&c->lock);
  pthread_cond_destroy(&c->wakes_keeper);
  pthread_cond_destroy(&c->wakes_packers);
  pthread_cond_destroy(&c->wakes_callers);
  free(c);
}

// ---- Opening, closing.

static void threads_end(void *arg) {
  veil_compressor *c = arg;
  pthread_mutex_lock(&c->lock);
  c->closing = true;
  pthread_cond_broadcast(&c->wakes_keeper);
  pthread_cond_broadcast(&c->wakes_packers);
  pthread_cond_broadcast(&c->wakes_callers);
  pthread_mutex_unlock(&c->lock);
  for (unsigned i = 0; i < c->packer_count; i++) {
    os_thread_join(c->packers[i]);
  }
  if (c->keeps) {
    os_thread_join(c->keeper);
  }
}

static bool threads_start(veil_compressor *c) {
  int error = os_thread_start(&c->keeper, cx_keeper_main, c);
  c->keeps = error == 0;
  for (unsigned i = 0; i < c->options.threads && error == 0; i++) {
    error = os_thread_start(&c->packers[i], cx_packer_main, c);
    c->packer_count += error == 0;
  }
  if (error != 0) {
    rt_error_set("veil_compressor_open: cannot start a thread: %s", strerror(-error));
  }
  return error == 0;
}

static void before_flip(void *arg, uint64_t cycle) {
  (void)cycle;
  at32_store(&((veil_compressor *)arg)->cycle, 1);
}
static void cycle_ended(void *arg, uint64_t cycle) {
  (void)cycle;
  veil_compressor *c = arg;
  at32_store(&c->cycle, 0);
  at_add(&c->cycles, 1);
}

static const veil_service_callbacks callbacks = {.absent = cx_absent, .discarded = cx_discarded, .copy = cx_copy, .before_flip = before_flip, .cycle_ended = cycle_ended};

static void conditions_init(veil_compressor *c) {
  pthread_condattr_t monotonic;
  pthread_mutex_init(&c->lock, NULL);
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&c->wakes_keeper, &monotonic);
  pthread_condattr_destroy(&monotonic);
  pthread_cond_init(&c->wakes_packers, NULL);
  pthread_cond_init(&c->wakes_callers, NULL);
}

CX_EXPORT veil_compressor *veil_compressor_open(veil_heap *heap, const veil_compressor_options *options) {
  veil_compressor *c = calloc(1, sizeof *c);
  if (c == NULL) {
    rt_error_set("veil_compressor_open: no memory");
    return NULL;
  }
  c->heap = heap;
  c->pages = veil_heap_pages(heap);
  c->process = os_process_here();
  conditions_init(c);
  bool good = options_take(c, options);
  if (good && (c->process == 0 || !memory_open(c))) { // 0: cx.child could not be told
    rt_error_set("veil_compressor_open: no memory");
    good = false;
  }
  c->service = good ? veil_service_open(heap, "compress", &callbacks, c) : NULL;
  good = c->service != NULL && veil_service_touched(c->service, 0, 0, NULL, NULL, NULL) == VEIL_OK; // which says why, if not
  if (good) {
    veil_service_keep_in_place(c->service, true);
    good = threads_start(c);
  }
  if (!good) {
    if (c->service != NULL) {
      veil_service_wait(heap, threads_end, c);
      veil_service_close(c->service);
    }
    memory_close(c);
    return NULL;
  }
  return c;
}

// cx.child: the threads are the parent's; what they held is held for ever.
CX_EXPORT void veil_compressor_close(veil_compressor *c) {
  if (c == NULL) {
    return;
  }
  bool gone = cx_gone(c);
  if (!gone) {
    veil_service_wait(c->heap, threads_end, c);
  }
  veil_service_close(c->service);
  if (!gone) {
    memory_close(c);
  }
}

// ---- What programs say and ask.

CX_EXPORT veil_status veil_compress_hint_set(veil_compressor *c, const void *address, size_t bytes, veil_compress_hint hint) {
  size_t page_size = c->pages.page_size, from = (size_t)((const char *)address - c->pages.base);
  if ((const char *)address < c->pages.base || from > c->pages.count * page_size || bytes > c->pages.count * page_size - from) {
    rt_error_set("veil_compress_hint_set: %zu bytes at %p are not the heap's", bytes, address);
    return VEIL_INVALID;
  }
  if (hint != VEIL_COMPRESS_AS_USED && hint != VEIL_COMPRESS_COLD && hint != VEIL_COMPRESS_NEVER) {
    rt_error_set("veil_compress_hint_set: %d is no hint", (int)hint);
    return VEIL_INVALID;
  }
  bool partly = hint == VEIL_COMPRESS_NEVER;
  size_t first = (from + (partly ? 0 : page_size - 1)) / page_size, end = (from + bytes + (partly ? page_size - 1 : 0)) / page_size;
  for (size_t page = first; page < end; page++) {
    at8_store(&c->hint[page], (uint8_t)hint);
    if (hint == VEIL_COMPRESS_NEVER) {
      veil_service_settle(c->service, page, VEIL_ABSENT);
    }
  }
  return VEIL_OK;
}

typedef struct request {
  veil_compressor *c;
  unsigned age;
  size_t pages;
} request;

static void request_wait(void *arg) {
  request *r = arg;
  veil_compressor *c = r->c;
  pthread_mutex_lock(&c->lock);
  while (c->asked != c->answered && !c->closing) { // one at a time
    pthread_cond_wait(&c->wakes_callers, &c->lock);
  }
  c->age_wanted = r->age;
  uint64_t mine = ++c->asked;
  pthread_cond_signal(&c->wakes_keeper);
  while (c->answered < mine && !c->closing) {
    pthread_cond_wait(&c->wakes_callers, &c->lock);
  }
  r->pages = c->answered == mine ? c->answer : 0;
  pthread_mutex_unlock(&c->lock);
}

CX_EXPORT size_t veil_compress_now(veil_compressor *c, unsigned age_ms) {
  request r = {.c = c, .age = age_ms == 0 ? 0 : intervals_of(c, age_ms)};
  if (!cx_gone(c)) {
    veil_service_wait(c->heap, request_wait, &r);
  }
  return r.pages;
}

CX_EXPORT unsigned veil_compress_ages(veil_compressor *c, uint64_t *pages, uint64_t *touched, size_t count) {
  pthread_mutex_lock(&c->lock);
  for (size_t i = 0; i < count; i++) {
    uint64_t was = 0, went = 0;
    for (size_t a = i; a < (i + 1 == count ? (size_t)CX_AGES : i + 1 < CX_AGES ? i + 1 : CX_AGES); a++) {
      was += c->ages[a];
      went += c->touched[a];
    }
    if (pages != NULL) {
      pages[i] = was;
    }
    if (touched != NULL) {
      touched[i] = went;
    }
  }
  pthread_mutex_unlock(&c->lock);
  return c->options.interval_ms;
}

// Everything that there would not be without a compressor.
static size_t held(const veil_compressor *c, const cx_shelf_figures *f, size_t groups) {
  return f->resident + f->tables + cx_codec_held(c->codec) + c->unpackers.bytes * c->unpackers.count + (CX_BALLAST + CX_SLOTS + 2 * c->packer_count) * c->pages.page_size + tables_bytes(groups * CX_GROUP) + groups_of(c->pages.count) +
         sizeof *c;
}

CX_EXPORT void veil_compress_get_stats(veil_compressor *c, veil_compress_stats *out) {
  pthread_mutex_lock(&c->lock);
  *out = c->stats;
  size_t groups = c->stats_groups;
  pthread_mutex_unlock(&c->lock);
  cx_shelf_figures f = cx_shelf_measure(c->shelf);
  out->original = f.items * c->pages.page_size;
  out->packed = f.payload;
  out->held = held(c, &f, groups);
  out->saved = out->original > out->held ? out->original - out->held : 0;
  out->discarded = at_load(&c->discarded);
  out->taken_back = at_load(&c->taken_back);
  out->unpacked_in_cycles = at_load(&c->in_cycles);
  out->copied = at_load(&c->copied);
  out->promotion_p50_ns = cx_latency_at(c, 0.5);
  out->promotion_p98_ns = cx_latency_at(c, 0.98);
  out->promotion_max_ns = at_load(&c->latency_max);
  out->packer_ns = at_load(&c->packer_ns);
}
