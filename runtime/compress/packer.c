// SPDX-License-Identifier: MIT
// packer.c: threads of the lowest priority, which compute: out of a page's contents an item on the shelf.
//
// Nobody waits for them who is waited for by the program (cx.nobody-waits). Neighbours: mover.c gives them slots, and ends what they have done.

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include "runtime/compress/compressor.h"
#include "vm/check.h"

enum { NICEST = 19 };

// What one of them works with.
typedef struct worker {
  veil_compressor *c;
  cx_packer *packer;
  char *copy; // of the page
  char *item; // notes, blob, tail
} worker;

// Waits for a slot. NULL: the compressor is being closed.
static cx_slot *slot_wait(veil_compressor *c) {
  cx_slot *slot = NULL;
  pthread_mutex_lock(&c->lock);
  while (!c->closing && c->given == 0) {
    pthread_cond_wait(&c->wakes_packers, &c->lock);
  }
  for (size_t i = 0; i < CX_SLOTS && slot == NULL && !c->closing; i++) {
    slot = c->slot[i].stage == CX_GIVEN ? &c->slot[i] : NULL;
  }
  if (slot != NULL) {
    slot->stage = CX_TAKEN;
    c->given--;
  }
  pthread_mutex_unlock(&c->lock);
  return slot;
}

static void slot_end(veil_compressor *c, cx_slot *slot, bool worth) {
  pthread_mutex_lock(&c->lock);
  slot->worth = worth;
  slot->stage = CX_DONE;
  c->done++;
  if (cx_slots_wake(c) || c->closing) {
    pthread_cond_signal(&c->wakes_keeper);
  }
  pthread_mutex_unlock(&c->lock);
}

// The collector may be at the notes, or the page be the program's again: then what is copied is nothing, and the state says so (cx.wins).
__attribute__((no_sanitize_thread)) static void page_copy(worker *w, const cx_slot *slot) {
  const volatile uint64_t *from = (const volatile uint64_t *)cx_alias(w->c, slot->page);
  uint64_t *to = (uint64_t *)w->copy;
  for (size_t i = 0; i < w->c->pages.page_size / 8; i++) {
    to[i] = from[i];
  }
}

// False: it does not pay, or there is no memory.
static bool page_pack(worker *w, const cx_slot *slot) {
  veil_compressor *c = w->c;
  AO_t *word = &c->state[slot->page];
  uint64_t parked = cx_word_of(CX_PARKED, (uint64_t)(slot - c->slot));
  if (at_load_acquire(word) != parked) {
    return true; // it is gone
  }
  page_copy(w, slot);
  size_t worth = cx_codec_worth(c->codec), notes = slot->notes_bytes;
  if (notes + sizeof(cx_tail) >= worth) {
    return false;
  }
  size_t blob = cx_pack(w->packer, &c->predictor[slot->page / 16], w->copy, w->item + notes, worth - notes - sizeof(cx_tail));
  if (blob == 0) {
    return false;
  }
  cx_tail tail = (cx_tail)(notes / 8);
  memset(w->item, 0, notes); // the keeper has them moved here
  memcpy(w->item + notes + blob, &tail, sizeof tail);
  cx_handle handle = cx_shelf_put(c->shelf, w->item, notes + blob + sizeof tail, (uint32_t)slot->page);
  if (handle != 0 && !at_cas_full(word, parked, cx_word_of(CX_READY, handle))) {
    cx_shelf_drop(c->shelf, handle);
  }
  return handle != 0;
}

static uint64_t spent_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void *cx_packer_main(void *compressor) {
  veil_compressor *c = compressor;
  setpriority(PRIO_PROCESS, 0, NICEST); // of this thread, on Linux
  worker w = {.c = c, .packer = cx_packer_open(c->codec), .copy = malloc(c->pages.page_size), .item = malloc(c->pages.page_size)};
  bool good = w.packer != NULL && w.copy != NULL && w.item != NULL;
  uint64_t spent = spent_ns();
  for (cx_slot *slot; (slot = slot_wait(c)) != NULL;) {
    bool worth = good && page_pack(&w, slot);
    uint64_t now = spent_ns();
    at_add(&c->packer_ns, now - spent);
    spent = now;
    slot_end(c, slot, worth);
  }
  cx_packer_close(w.packer);
  free(w.copy);
  free(w.item);
  return NULL;
}
