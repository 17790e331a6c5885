// SPDX-License-Identifier: MIT
// mover.c: takes pages for the packers, and gives their memory back.
//
// Neighbours: keeper.c says when. Its thread alone leaves CX_OUT, moves items and frees them, so what a word leads to stays while it looks.

#include <stdlib.h>
#include <string.h>
#include "runtime/compress/compressor.h"
#include "vm/check.h"

bool cx_wanted(const veil_compressor *c, size_t page, unsigned age) {
  const cx_page *p = &c->page[page];
  unsigned hint = at8_load(&c->hint[page]), is = p->touched ? 0 : p->age;
  return (p->known || p->touched) && p->wait == 0 && hint != VEIL_COMPRESS_NEVER && (is >= age || (hint == VEIL_COMPRESS_COLD && is >= 1)) &&
         at_load(&c->state[page]) == CX_OUT && veil_page_in_use(c->heap, page);
}

// It was tried in vain: twice as many intervals until the next time, up to 128.
static void put_off(veil_compressor *c, size_t page) {
  cx_page *p = &c->page[page];
  p->wait = (uint8_t)(1u << p->fails);
  p->fails = (p->fails < 7 ? p->fails + 1u : 7u) & 7u;
}

// The claim ends, and nobody is at the slot's notes any more, whoever ends it.
void cx_let_go(veil_compressor *c, cx_slot *slot) {
  veil_service_settle(c->service, slot->page, VEIL_ABSENT);
  at_cas_full(&c->state[slot->page], cx_word_of(CX_PARKED, (uint64_t)(slot - c->slot)), CX_OUT); // it carried none any more
}

bool cx_take(veil_compressor *c, cx_slot *slot, size_t page) {
  AO_t *word = &c->state[page];
  slot->page = page;
  at_store_release(word, cx_word_of(CX_PARKED, (uint64_t)(slot - c->slot))); // who settles the claim finds that
  if (veil_service_claim(c->service, page, VEIL_ABSENT) != VEIL_OK) {
    at_store_release(word, CX_OUT);
    return false;
  }
  slot->notes_bytes = veil_page_park(c->service, page, slot->notes, c->pages.page_size);
  if (slot->notes_bytes == 0) {
    uint64_t fresh = veil_heap_parks(c->heap).refused[VEIL_PARK_FRESH];
    c->page[page].fresh = fresh != c->fresh_refused; // nobody else parks pages
    c->fresh_refused = fresh;
    cx_let_go(c, slot);
    put_off(c, page);
    c->counted.unready++;
    return false;
  }
  return true;
}

// ---- What packers have done.

static int by_page(const void *a, const void *b) {
  size_t one = (*(cx_slot *const *)a)->page, other = (*(cx_slot *const *)b)->page;
  return (one > other) - (one < other);
}

// The notes move to the shelf, and who wants the page waits from here on. False: it is the program's again, or never pays.
static bool drop_begin(veil_compressor *c, cx_slot *slot) {
  AO_t *word = &c->state[slot->page];
  uint64_t was = at_load_acquire(word);
  bool ready = cx_state_of(was) == CX_READY && veil_page_parked_at(c->service, slot->page, cx_shelf_at(c->shelf, cx_low_of(was))) &&
               at_cas_full(word, was, cx_word_of(CX_DROPPING, cx_low_of(was)));
  if (!ready) {
    if (!slot->worth) {
      put_off(c, slot->page);
      c->counted.unworthy++;
    }
    cx_let_go(c, slot);
  }
  return ready;
}

static void count(veil_compressor *c, size_t page, cx_handle handle) {
  const char *item = cx_shelf_at(c->shelf, handle);
  size_t length = cx_handle_length(handle), notes;
  cx_tail tail;
  memcpy(&tail, item + length - sizeof tail, sizeof tail);
  notes = tail * (size_t)8;
  unsigned method = cx_blob_method(item + notes, length - notes - sizeof tail);
  c->counted.by_method[method - CX_REPEAT]++; // as veil/compress.h has them
  c->counted.compressed++;
  c->page[page].fails = 0;
}

// Pages side by side that are CX_DROPPING: their memory goes.
static size_t run_drop(veil_compressor *c, cx_slot **run, size_t length) {
  bool gone = length != 0 && veil_page_drop(c->service, run[0]->page, length) == VEIL_OK;
  for (size_t i = 0; i < length; i++) {
    AO_t *word = &c->state[run[i]->page];
    cx_handle handle = cx_low_of(at_load(word));
    if (gone) {
      count(c, run[i]->page, handle);
    }
    at_store_release(word, cx_word_of(CX_AWAY, handle)); // if not gone, a part may be: what is on the shelf is right
    if (!gone) {
      put_off(c, run[i]->page);
      cx_let_go(c, run[i]);
    }
  }
  return gone ? length : 0;
}

typedef struct ending {
  veil_compressor *c;
  cx_slot **slots;
  size_t count, away;
} ending;

// No page stays CX_DROPPING over a stop (cx.nobody-waits).
static void some_end(void *arg) {
  ending *e = arg;
  size_t run = 0; // slots[i - run … i) are CX_DROPPING
  for (size_t i = 0; i < e->count; i++) {
    if (run != 0 && e->slots[i]->page != e->slots[i - 1]->page + 1) {
      e->away += run_drop(e->c, e->slots + i - run, run);
      run = 0;
    }
    if (drop_begin(e->c, e->slots[i])) {
      run++;
    } else {
      e->away += run_drop(e->c, e->slots + i - run, run);
      run = 0;
    }
  }
  e->away += run_drop(e->c, e->slots + e->count - run, run);
}

size_t cx_end(veil_compressor *c, cx_slot **slots, size_t count) {
  ending e = {.c = c};
  qsort(slots, count, sizeof *slots, by_page);
  for (size_t i = 0; i < count; i += e.count) {
    e.slots = slots + i;
    e.count = count - i < CX_RUN ? count - i : CX_RUN;
    veil_service_work(c->service, some_end, &e);
  }
  return e.away;
}

// ---- The shelf puts itself in order.

bool cx_item_moved(void *compressor, uint32_t tag, uint64_t from, uint64_t to) {
  veil_compressor *c = compressor;
  AO_t *word = &c->state[tag];
  uint64_t was = at_load_acquire(word);
  // While somebody settles the page it waits; so he has the notes, wherever they are, before the copy is forgotten.
  return cx_state_of(was) == CX_AWAY && cx_handle_place(cx_low_of(was)) == from &&
         veil_page_parked_at(c->service, tag, (char *)cx_shelf_at(c->shelf, to)) && at_cas_full(word, was, cx_handle_moved(was, to));
}
