// SPDX-License-Identifier: MIT
// absent.c: a page that is wanted back: by a touch, by the collector, by a call.
//
// In traps: nothing is allocated, and nobody is waited for but the keeper, while he is in one call to the system, and another trap that unpacks. vm holds the page, so that nobody else settles it meanwhile.

#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include "runtime/compress/compressor.h"
#include "vm/check.h"
#include "vm/os.h"

enum { FORESEEN = 768 }; // bytes of an item: the notes of most

bool cx_gone(const veil_compressor *c) { return os_process_here() != c->process; }

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// ---- How long it took: four buckets for each power of two.

static void latency_add(veil_compressor *c, uint64_t ns) {
  unsigned log = 63 - (unsigned)__builtin_clzll(ns | 4), bucket = log * 4 + (unsigned)(ns >> (log - 2) & 3);
  at_add(&c->latency[bucket < CX_LATENCIES ? bucket : CX_LATENCIES - 1], 1);
  uint64_t max;
  while ((max = at_load(&c->latency_max)) < ns && !at_cas_full(&c->latency_max, max, ns)) {
  }
}

// The middle of the bucket.
uint64_t cx_latency_at(const veil_compressor *c, double share) {
  uint64_t all = 0, below = 0;
  for (unsigned i = 0; i < CX_LATENCIES; i++) {
    all += at_load(&c->latency[i]);
  }
  for (unsigned i = 0; i < CX_LATENCIES; i++) {
    below += at_load(&c->latency[i]);
    if (below != 0 && (double)below >= share * (double)all) {
      uint64_t quarter = (UINT64_C(1) << i / 4) / 4;
      return (UINT64_C(1) << i / 4) + quarter * (i % 4) + quarter / 2;
    }
  }
  return 0;
}

// ---- Who unpacks.

bool cx_unpackers_open(cx_unpackers *u, const cx_codec *codec, size_t page_size, unsigned count) {
  size_t own = (cx_unpacker_bytes(codec) + 4095) & ~(size_t)4095;
  *u = (cx_unpackers){.bytes = own + page_size, .contents = own, .count = count, .free = (UINT64_C(1) << count) - 1, .process = os_process_here()};
  u->memory = os_map_private(u->bytes * count);
  if (u->memory == NULL || os_populate(u->memory, u->bytes * count) != 0) {
    cx_unpackers_close(u);
    return false;
  }
  for (unsigned i = 0; i < count; i++) {
    cx_unpacker_prepare(codec, u->memory + i * u->bytes);
  }
  return true;
}

void cx_unpackers_close(cx_unpackers *u) {
  if (u->memory != NULL) {
    os_unmap(u->memory, u->bytes * u->count);
  }
  u->memory = NULL;
}

// cx.child: those that threads of the parent had are free.
static void unpackers_look(cx_unpackers *u) {
  uint32_t here = os_process_here(), process;
  while ((process = at32_load_acquire(&u->process)) != here) {
    if (process != 0 && at32_cas_full(&u->process, process, 0)) {
      at_store(&u->free, (UINT64_C(1) << u->count) - 1);
      at32_store_release(&u->process, here);
    }
    at_pause();
  }
}

static unsigned unpacker_take(cx_unpackers *u) {
  unpackers_look(u);
  for (;;) {
    uint64_t free = at_load(&u->free);
    if (free == 0) {
      sched_yield();
    } else if (at_cas_full(&u->free, free, free & (free - 1))) {
      return (unsigned)__builtin_ctzll(free);
    }
  }
}

static void unpacker_give(cx_unpackers *u, unsigned i) { at_or_full(&u->free, UINT64_C(1) << i); }

// ---- Frames.

bool cx_ballast_fill(veil_compressor *c) {
  uint32_t left = at32_load(&c->ballast_left);
  return left >= CX_BALLAST ||
         (os_populate(c->ballast + left * c->pages.page_size, (CX_BALLAST - left) * c->pages.page_size) == 0 && at32_cas_full(&c->ballast_left, left, CX_BALLAST));
}

// The system had no memory for the page: what was kept for that is given up, page by page (cx.frame).
static void ballast_give(veil_compressor *c, size_t page) {
  uint32_t left = at32_load(&c->ballast_left);
  if (left == 0) {
    vm_fatal("veil: no memory for page %zu, which was compressed", page);
  }
  if (at32_cas_full(&c->ballast_left, left, left - 1)) {
    madvise(c->ballast + (left - 1) * c->pages.page_size, c->pages.page_size, MADV_DONTNEED);
  }
}

// ---- Callbacks.

// What the item holds, to `to`: a page's worth. By who has taken the unpacker.
static void item_unpack(veil_compressor *c, size_t page, cx_handle handle, char *unpacker, void *to) {
  const char *item = cx_shelf_at(c->shelf, handle);
  size_t length = cx_handle_length(handle);
  cx_tail tail;
  memcpy(&tail, item + length - sizeof tail, sizeof tail);
  size_t notes = tail * (size_t)8;
  if (notes + sizeof tail >= length || !cx_unpack((cx_unpacker *)unpacker, item + notes, length - notes - sizeof tail, to)) {
    vm_fatal("veil: page %zu, which was compressed, is damaged: its checksum is wrong", page);
  }
}

// What is wanted of an item when it is unpacked: its notes, and where it is marked as dropped. It was put there minutes ago, and is in no cache.
static void item_foresee(const veil_compressor *c, cx_handle handle) {
  const char *item = cx_shelf_at(c->shelf, handle);
  for (size_t at = 0; at < FORESEEN && at < cx_handle_length(handle); at += 64) {
    __builtin_prefetch(item + at);
  }
  cx_shelf_foresee(c->shelf, handle);
}

// The page has its contents, references and all, and is not parked any more.
static void contents_fetch(veil_compressor *c, size_t page, cx_handle handle) {
  unsigned i = unpacker_take(&c->unpackers);
  char *unpacker = c->unpackers.memory + i * c->unpackers.bytes, *contents = unpacker + c->unpackers.contents;
  item_foresee(c, handle);
  for (;;) {
    item_unpack(c, page, handle, unpacker, contents);
    if (veil_page_fill(c->service, page, contents) == VEIL_OK) {
      break;
    }
    ballast_give(c, page);
  }
  unpacker_give(&c->unpackers, i);
}

// Whether the page was away, and is back.
static bool page_fetch(veil_compressor *c, size_t page) {
  AO_t *word = &c->state[page];
  for (;;) {
    uint64_t was = at_load_acquire(word);
    cx_handle handle = cx_low_of(was);
    switch (cx_state_of(was)) {
    case CX_OUT:
      VM_CHECK(!veil_page_unpark(c->service, page), "page %zu is parked, and not by a compressor", page);
      return false;
    case CX_PARKED: // cx.wins
    case CX_READY:
      if (!at_cas_full(word, was, CX_OUT)) {
        break;
      }
      veil_page_unpark(c->service, page);
      if (cx_state_of(was) == CX_READY) {
        cx_shelf_drop(c->shelf, handle);
      }
      at_add(&c->taken_back, 1);
      return false;
    case CX_DROPPING:
      if (!cx_gone(c)) {
        sched_yield();
        break;
      }
      __attribute__((fallthrough)); // cx.child: nobody is at it any more, and the item is whole
    case CX_AWAY:
    default:
      contents_fetch(c, page, handle);
      while (!at_cas_full(word, was, CX_OUT)) { // it was moved
        was = at_load_acquire(word);
      }
      cx_shelf_drop(c->shelf, cx_low_of(was));
      return true;
    }
  }
}

void cx_absent(void *arg, size_t page) {
  veil_compressor *c = arg;
  uint64_t began = now_ns();
  unsigned entered = cx_shelf_enter(c->shelf);
  if (page_fetch(c, page)) {
    at8_store(&c->back[page], 1);
    at_add(&c->returned, 1);
    at_add(&c->in_cycles, at32_load(&c->cycle));
    latency_add(c, now_ns() - began);
  }
  cx_shelf_leave(c->shelf, entered);
}

// Somebody saves the page, and it stays compressed (cx.copy).
bool cx_copy(void *arg, size_t page, void *to) {
  veil_compressor *c = arg;
  unsigned entered = cx_shelf_enter(c->shelf);
  uint64_t was = at_load_acquire(&c->state[page]);
  if (cx_state_of(was) >= CX_READY) {
    unsigned i = unpacker_take(&c->unpackers);
    item_unpack(c, page, cx_low_of(was), c->unpackers.memory + i * c->unpackers.bytes, to);
    unpacker_give(&c->unpackers, i);
    at_add(&c->copied, 1);
  } else {
    memcpy(to, cx_alias(c, page), c->pages.page_size);
  }
  cx_shelf_leave(c->shelf, entered);
  return true;
}

// The collector has dropped the notes.
void cx_discarded(void *arg, size_t page, size_t count) {
  veil_compressor *c = arg;
  for (size_t limit = page + count; page < limit; page++) {
    AO_t *word = &c->state[page];
    uint64_t was = at_load_acquire(word);
    while ((cx_state_of(was) == CX_DROPPING && !cx_gone(c)) || !at_cas_full(word, was, CX_OUT)) {
      sched_yield();
      was = at_load_acquire(word);
    }
    if (cx_state_of(was) >= CX_READY) {
      cx_shelf_drop(c->shelf, cx_low_of(was));
      at_add(&c->discarded, 1);
    }
  }
}
