// SPDX-License-Identifier: MIT
// shelf.c: classes, slabs, slots, and putting.
//
// Neighbours: shelf.h, shelf_inner.h. Background threads.

#include <stdlib.h>
#include <string.h>
#include "runtime/compress/shelf_inner.h"
#include "vm/check.h"
#include "vm/os.h"

// ---- Classes.

// Sizes in steps of 8 up to SMALL, then of a 32nd of the power of two below: so a slot is at most a 32nd larger than it need be, and 7 bytes where that is less.
static unsigned class_of(size_t bytes) {
  if (bytes <= SMALL) {
    return bytes <= CX_ITEM_LEAST ? 0 : (unsigned)(bytes - CX_ITEM_LEAST + 7) / 8;
  }
  unsigned log = 63 - (unsigned)__builtin_clzl(bytes - 1), shift = log - 5;
  return (SMALL - CX_ITEM_LEAST) / 8 + (log - 8) * 32 + (unsigned)((bytes - 1 - ((size_t)1 << log)) >> shift) + 1;
}

static size_t class_bytes(unsigned class) {
  const unsigned small = (SMALL - CX_ITEM_LEAST) / 8;
  if (class <= small) {
    return CX_ITEM_LEAST + class * 8;
  }
  unsigned log = 8 + (class - small - 1) / 32, step = (class - small - 1) % 32 + 1;
  return ((size_t)1 << log) + ((size_t)step << (log - 5));
}

static size_t class_head(size_t slots) { return ((slots + 63) / 64 * 3 * 8 + slots * 4 + 7) & ~(size_t)7; }

static void classes_fill(cx_shelf *s) {
  for (unsigned k = 0; k < CLASSES; k++) {
    size_t size = class_bytes(k), slots = FRAME / size;
    while (class_head(slots) + slots * size > FRAME) {
      slots--;
    }
    s->classes[k] = (size_class){.size = (uint32_t)size, .slots = (uint32_t)slots, .words = (uint32_t)(slots + 63) / 64, .first = (uint32_t)class_head(slots)};
    s->open[k] = NO_SLAB;
  }
}

// ---- Opening and closing.

static size_t table_bytes(const cx_shelf *s, size_t frames) { return (frames * sizeof *s->slabs + OS_PAGE - 1) & ~(size_t)(OS_PAGE - 1); }

cx_shelf *cx_shelf_open(const cx_shelf_options *options) {
  size_t frames = (options->address_bytes + FRAME - 1) / FRAME;
  VM_CHECK(frames > 0 && frames <= (8ull << CX_PLACE_BITS) / FRAME, "a shelf of %lu bytes", options->address_bytes);
  VM_CHECK(class_of(CX_ITEM_MOST) < CLASSES, "class %u", class_of(CX_ITEM_MOST));
  cx_shelf *s = NULL;
  if (posix_memalign((void **)&s, 64, sizeof *s) != 0) {
    return NULL;
  }
  memset(s, 0, sizeof *s);
  s->options = *options;
  s->frames = (uint32_t)frames;
  s->free = NO_SLAB;
  s->base = os_map_private(frames * FRAME);
  s->slabs = os_map_private(table_bytes(s, frames));
  if (s->base == NULL || s->slabs == NULL) {
    if (s->base != NULL) {
      os_unmap(s->base, frames * FRAME);
    }
    if (s->slabs != NULL) {
      os_unmap(s->slabs, table_bytes(s, frames));
    }
    free(s);
    return NULL;
  }
  os_small_pages(s->base, frames * FRAME); // or what it holds would not be what it was given
  os_small_pages(s->slabs, table_bytes(s, frames));
  classes_fill(s);
  pthread_mutex_init(&s->lock, NULL);
  pthread_mutex_init(&s->repairing, NULL);
  return s;
}

void cx_shelf_close(cx_shelf *s) {
  if (s == NULL) {
    return;
  }
  os_unmap(s->base, (size_t)s->frames * FRAME);
  os_unmap(s->slabs, table_bytes(s, s->frames));
  pthread_mutex_destroy(&s->lock);
  pthread_mutex_destroy(&s->repairing);
  free(s);
}

void cx_shelf_lock(cx_shelf *s) {
  pthread_mutex_lock(&s->repairing);
  pthread_mutex_lock(&s->lock);
}
void cx_shelf_unlock(cx_shelf *s) {
  pthread_mutex_unlock(&s->lock);
  pthread_mutex_unlock(&s->repairing);
}
void cx_shelf_unlock_child(cx_shelf *s) {
  at_store(&s->inside[0].count, 0);
  at_store(&s->inside[1].count, 0);
  cx_shelf_unlock(s);
}

// ---- Memory of slabs.

// Gives bytes [from, to) of the frame memory. False: there is none.
static bool memory_take(cx_shelf *s, uint32_t index, size_t from, size_t to) {
  slab *b = &s->slabs[index];
  for (size_t page = from / OS_PAGE; page < (to + OS_PAGE - 1) / OS_PAGE; page++) {
    if (b->held >> page & 1) {
      continue;
    }
    if (os_populate(slab_frame(s, index) + page * OS_PAGE, OS_PAGE) != 0) {
      return false;
    }
    b->held |= 1ull << page;
    s->held++;
    s->class_held[b->class - 1]++;
  }
  return true;
}

// All that a slot needs: its bits, its tag, itself.
static bool slot_memory_take(cx_shelf *s, uint32_t index, uint32_t slot) {
  const size_class *c = slab_class(s, index);
  size_t tag = (size_t)c->words * 24 + slot * 4, at = c->first + (size_t)slot * c->size;
  return memory_take(s, index, 0, (size_t)c->words * 24) && memory_take(s, index, tag, tag + 4) && memory_take(s, index, at, at + c->size);
}

// Pages that something is on: the bitmaps, and tags and slots in use.
static uint64_t pages_wanted(const cx_shelf *s, uint32_t index) {
  const size_class *c = slab_class(s, index);
  const uint64_t *used = slab_used(s, index);
  uint64_t wanted = 0;
  for (size_t at = 0; at < (size_t)c->words * 24; at += OS_PAGE) {
    wanted |= 1ull << at / OS_PAGE;
  }
  for (uint32_t w = 0; w < c->words; w++) {
    for (uint64_t word = used[w]; word != 0; word &= word - 1) {
      uint32_t slot = w * 64 + (uint32_t)__builtin_ctzl(word);
      size_t first = (c->first + (size_t)slot * c->size) / OS_PAGE, last = (c->first + (size_t)(slot + 1) * c->size - 1) / OS_PAGE;
      wanted |= 1ull << ((size_t)c->words * 24 + slot * 4) / OS_PAGE;
      wanted |= (UINT64_MAX >> (63 - (last - first))) << first;
    }
  }
  return wanted;
}

// Gives back the pages of the mask. What the system will not take back stays held. Bytes.
static size_t memory_give(cx_shelf *s, uint32_t index, uint64_t pages) {
  slab *b = &s->slabs[index];
  size_t given = 0;
  while (pages != 0) {
    unsigned first = (unsigned)__builtin_ctzl(pages);
    uint64_t rest = ~(pages >> first);
    unsigned count = rest != 0 ? (unsigned)__builtin_ctzl(rest) : 64;
    uint64_t run = (UINT64_MAX >> (64 - count)) << first;
    pages &= ~run;
    if (os_drop(slab_frame(s, index) + (size_t)first * OS_PAGE, (size_t)count * OS_PAGE) == 0) {
      b->held &= ~run;
      s->held -= count;
      s->class_held[b->class - 1] -= count;
      given += (size_t)count * OS_PAGE;
    }
  }
  s->released += given;
  return given;
}

// ---- Slabs.

void cx_slab_list(cx_shelf *s, uint32_t index) {
  slab *b = &s->slabs[index];
  uint32_t *open = &s->open[b->class - 1];
  b->before = NO_SLAB;
  b->after = *open;
  if (*open != NO_SLAB) {
    s->slabs[*open].before = index;
  }
  *open = index;
  b->listed = true;
}

void cx_slab_unlist(cx_shelf *s, uint32_t index) {
  slab *b = &s->slabs[index];
  if (b->before != NO_SLAB) {
    s->slabs[b->before].after = b->after;
  } else {
    s->open[b->class - 1] = b->after;
  }
  if (b->after != NO_SLAB) {
    s->slabs[b->after].before = b->before;
  }
  b->listed = false;
}

// A frame for a slab of the class. NO_SLAB: there is none left.
static uint32_t slab_make(cx_shelf *s, unsigned class) {
  uint32_t index = s->free;
  if (index != NO_SLAB) {
    s->free = s->slabs[index].after;
  } else if (s->top < s->frames) {
    index = s->top++;
  } else {
    return NO_SLAB;
  }
  slab *b = &s->slabs[index];
  b->class = class + 1;
  b->used = b->hint = 0;
  b->leaving = false;
  s->class_slabs[class]++;
  s->slab_count++;
  cx_slab_list(s, index);
  return index;
}

// Nothing of it is used or dead. Its memory may be held still, if the system would not take it back: so its bits are cleared, or they would be those of another class.
static size_t slab_unmake(cx_shelf *s, uint32_t index) {
  slab *b = &s->slabs[index];
  size_t given = memory_give(s, index, b->held);
  if (b->held != 0) {
    return given;
  }
  if (b->listed) {
    cx_slab_unlist(s, index);
  }
  s->class_slabs[b->class - 1]--;
  s->slab_count--;
  b->class = 0;
  b->after = s->free;
  s->free = index;
  return given;
}

size_t cx_slab_trim(cx_shelf *s, uint32_t index) {
  slab *b = &s->slabs[index];
  return b->used == 0 ? slab_unmake(s, index) : memory_give(s, index, b->held & ~pages_wanted(s, index));
}

// ---- Slots.

bool cx_slot_take(cx_shelf *s, uint32_t index, uint32_t limit, uint32_t *slot) {
  slab *b = &s->slabs[index];
  const size_class *c = slab_class(s, index);
  uint32_t at = b->hint;
  limit = limit < c->slots ? limit : c->slots;
  if (!memory_take(s, index, 0, (size_t)c->words * 24)) {
    return false;
  }
  uint64_t *used = slab_used(s, index);
  while (at < limit) {
    uint64_t free = ~used[at / 64] >> at % 64;
    if (free != 0) {
      at += (uint32_t)__builtin_ctzl(free);
      break;
    }
    at = (at / 64 + 1) * 64;
  }
  if (at >= limit || !slot_memory_take(s, index, at)) {
    return false;
  }
  used[at / 64] |= 1ull << at % 64;
  b->hint = at + 1;
  b->used++;
  s->class_used[b->class - 1]++;
  if (b->used == c->slots && b->listed) {
    cx_slab_unlist(s, index);
  }
  *slot = at;
  return true;
}

void cx_slot_free(cx_shelf *s, uint32_t index, uint32_t slot) {
  slab *b = &s->slabs[index];
  uint64_t *word = &slab_used(s, index)[slot / 64], bit = 1ull << slot % 64;
  VM_CHECK(*word & bit, "slot %u of slab %u is freed, and is free", slot, index);
  *word &= ~bit;
  b->hint = slot < b->hint ? slot : b->hint;
  b->used--;
  s->class_used[b->class - 1]--;
  if (!b->listed && !b->leaving) {
    cx_slab_list(s, index);
  }
}

cx_handle cx_shelf_put(cx_shelf *s, const void *item, size_t bytes, uint32_t tag) {
  VM_CHECK(bytes > 0 && bytes <= CX_ITEM_MOST, "an item of %lu bytes", bytes);
  unsigned class = class_of(bytes);
  cx_handle h = 0;
  uint32_t slot;
  pthread_mutex_lock(&s->lock);
  uint32_t index = s->open[class];
  bool fresh = index == NO_SLAB;
  if (fresh) {
    index = slab_make(s, class);
  }
  if (index != NO_SLAB && cx_slot_take(s, index, UINT32_MAX, &slot)) {
    char *at = slab_slot(s, index, slot);
    memcpy(at, item, bytes);
    slab_tags(s, index)[slot] = tag;
    h = place_of(s, at) | (uint64_t)bytes << CX_PLACE_BITS;
    at_add(&s->items, 1);
    at_add(&s->payload, bytes);
  } else if (index != NO_SLAB) { // no memory: what of it there was for this slot is not kept
    cx_slab_trim(s, index);
  }
  pthread_mutex_unlock(&s->lock);
  return h;
}

// ---- Figures.

cx_shelf_figures cx_shelf_measure(cx_shelf *s) {
  pthread_mutex_lock(&s->lock);
  cx_shelf_figures f = {
      .items = at_load(&s->items),
      .payload = at_load(&s->payload),
      .resident = s->held * OS_PAGE,
      .tables = sizeof *s + table_bytes(s, s->top),
      .slabs = s->slab_count,
      .moved = s->moved,
      .released = s->released,
  };
  pthread_mutex_unlock(&s->lock);
  return f;
}
