// SPDX-License-Identifier: MIT
// shelf_repair.c: gives memory back: of what was dropped, and of sparse slabs, whose items are moved together.
//
// Neighbours: shelf.h, shelf_inner.h. Background threads.

#include <string.h>
#include "runtime/compress/shelf_inner.h"
#include "vm/check.h"
#include "vm/os.h"

enum {
  PATIENCE = 100, // times that a waiting thread gives way before it sleeps
  NAP = 50,       // microseconds
  SLOT_HEAD = 5,  // bytes for a slot's tag and bits
  SPARSE = 64,    // a class is repaired when one byte in so many of its memory, and more than two pages, hold nothing
};

// ---- Waiting for readers (cx.hold).

// Waits until all who had entered have left. Who read the epoch long ago may count himself in after the first turn, where the first wait does not look any more: he has not read a handle yet,
// and finds none that leads to what is unlinked; but the next wait must see him, so both sides are waited for each time.
static void readers_wait(cx_shelf *s) {
  for (int turn = 0; turn < 2; turn++) {
    unsigned before = (unsigned)(at_add_full(&s->epoch, 1) % 2);
    for (unsigned tries = 0; at_load_acquire(&s->inside[before].count) != 0; tries++) {
      if (tries < PATIENCE) {
        os_yield();
      } else {
        os_nap(NAP);
      }
    }
  }
}

// ---- Reaping.

// What is dead now becomes dying, and will be free when the readers have left. Returns whether there was any.
static bool dead_take(cx_shelf *s, uint32_t index) {
  const size_class *c = slab_class(s, index);
  bool any = false;
  for (uint32_t w = 0; w < c->words; w++) {
    uint64_t dead = at_load_acquire(&slab_dead(s, index)[w]);
    if (dead != 0) {
      at_and_full(&slab_dead(s, index)[w], ~dead);
    }
    slab_dying(s, index)[w] = dead;
    any |= dead != 0;
  }
  return any;
}

static size_t dying_free(cx_shelf *s, uint32_t index) {
  const size_class *c = slab_class(s, index);
  uint64_t *dying = slab_dying(s, index);
  for (uint32_t w = 0; w < c->words; w++) {
    for (uint64_t word = dying[w]; word != 0; word &= word - 1) {
      cx_slot_free(s, index, w * 64 + (uint32_t)__builtin_ctzl(word));
    }
    dying[w] = 0;
  }
  return cx_slab_trim(s, index);
}

// The queue as it is now, by queue_next.
static uint32_t queue_take(cx_shelf *s) {
  uint32_t first;
  do {
    first = at32_load(&s->queue);
  } while (first != 0 && !at32_cas_full(&s->queue, first, 0));
  return first;
}

static size_t reap(cx_shelf *s) {
  uint32_t reaped[1024]; // as many as one wait is for
  size_t given = 0;
  for (uint32_t next = queue_take(s); next != 0;) {
    unsigned count = 0;
    pthread_mutex_lock(&s->lock);
    while (next != 0 && count < 1024) {
      uint32_t index = next - 1;
      next = at32_load(&s->slabs[index].queue_next);
      at32_cas_full(&s->slabs[index].queued, 1, 0); // full: what dies from here on queues the slab again
      if (s->slabs[index].class != 0 && dead_take(s, index)) { // a slab may be queued for what an earlier call has found dead already, and be gone
        reaped[count++] = index;
      }
    }
    pthread_mutex_unlock(&s->lock);
    readers_wait(s);
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < count; i++) {
      given += dying_free(s, reaped[i]);
    }
    pthread_mutex_unlock(&s->lock);
  }
  return given;
}

size_t cx_shelf_reap(cx_shelf *s) {
  pthread_mutex_lock(&s->repairing);
  size_t given = reap(s);
  pthread_mutex_unlock(&s->repairing);
  return given;
}

// ---- Repair (cx.move).

// Slabs whose items move away in this call: those that they leave behind are free when all is reaped.
typedef struct move {
  cx_shelf *shelf;
  uint32_t leaving[64];
  unsigned count;
  size_t bytes; // moved
  // Of the class at hand: pages that have memory, and slots in use, of slabs that are left.
  uint64_t held, used;
} move;

// Whether the rest of the class holds more memory than it should.
static bool is_sparse(const move *m, unsigned class) {
  const cx_shelf *s = m->shelf;
  uint64_t held = (s->class_held[class] - m->held) * OS_PAGE, used = (s->class_used[class] - m->used) * (s->classes[class].size + SLOT_HEAD);
  return held > used + used / SPARSE + 2 * OS_PAGE;
}

static uint32_t sparsest(const cx_shelf *s, unsigned class) {
  uint32_t best = NO_SLAB;
  for (uint32_t i = s->open[class]; i != NO_SLAB; i = s->slabs[i].after) {
    best = best == NO_SLAB || s->slabs[i].used < s->slabs[best].used ? i : best;
  }
  return best;
}
static uint32_t fullest(const cx_shelf *s, unsigned class) {
  uint32_t best = NO_SLAB;
  for (uint32_t i = s->open[class]; i != NO_SLAB; i = s->slabs[i].after) {
    best = best == NO_SLAB || s->slabs[i].used > s->slabs[best].used ? i : best;
  }
  return best;
}

// A slot for the item in slot `from` of slab `source`: in another slab, or further to the front. False: there is none.
static bool target_take(cx_shelf *s, uint32_t source, uint32_t from, uint32_t *to, uint32_t *slot) {
  unsigned class = s->slabs[source].class - 1;
  if (*to == NO_SLAB || !s->slabs[*to].listed) {
    *to = fullest(s, class);
  }
  if (*to != NO_SLAB) {
    return cx_slot_take(s, *to, UINT32_MAX, slot);
  }
  *to = source;
  return cx_slot_take(s, source, from, slot);
}

// Moves the items of a slab, from its end on, until nothing is left or there is nowhere to go. The lock is held.
static void slab_leave(move *m, uint32_t source) {
  cx_shelf *s = m->shelf;
  slab *b = &s->slabs[source];
  const size_class *c = slab_class(s, source);
  uint32_t to = NO_SLAB, slot;
  cx_slab_unlist(s, source);
  b->leaving = true;
  m->leaving[m->count++] = source;
  m->held += (unsigned)__builtin_popcountl(b->held);
  m->used += b->used;
  for (uint32_t from = c->slots; from-- > 0;) {
    uint64_t bit = 1ull << from % 64;
    if (!(slab_used(s, source)[from / 64] & bit) || at_load(&slab_dead(s, source)[from / 64]) & bit) {
      continue;
    }
    if (!target_take(s, source, from, &to, &slot)) {
      return;
    }
    const char *old = slab_slot(s, source, from);
    char *new_place = slab_slot(s, to, slot);
    uint32_t tag = slab_tags(s, source)[from];
    memcpy(new_place, old, c->size);
    slab_tags(s, to)[slot] = tag;
    if (s->options.moved(s->options.context, tag, place_of(s, old), place_of(s, new_place))) {
      cx_slot_kill(s, source, from);
      m->bytes += c->size;
    } else { // dropped meanwhile, or the owner has not got the handle into his word yet: nobody knows of the copy
      cx_slot_free(s, to, slot);
    }
    to = to == source ? NO_SLAB : to;
  }
}

static void class_repair(move *m, unsigned class, size_t budget) {
  cx_shelf *s = m->shelf;
  m->held = m->used = 0;
  for (bool more = true; more && m->bytes < budget && m->count < sizeof m->leaving / sizeof m->leaving[0];) {
    pthread_mutex_lock(&s->lock); // for one slab at a time: others put meanwhile
    uint32_t source = is_sparse(m, class) ? sparsest(s, class) : NO_SLAB;
    size_t before = m->bytes;
    if (source != NO_SLAB) {
      slab_leave(m, source);
    }
    more = m->bytes > before;
    pthread_mutex_unlock(&s->lock);
  }
}

// What did not leave is open to be put into again.
static void leave_end(move *m) {
  cx_shelf *s = m->shelf;
  pthread_mutex_lock(&s->lock);
  for (unsigned i = 0; i < m->count; i++) {
    slab *b = &s->slabs[m->leaving[i]]; // it may be gone, or another class's
    b->leaving = false;
    if (b->class != 0 && !b->listed && b->used < slab_class(s, m->leaving[i])->slots) {
      cx_slab_list(s, m->leaving[i]);
    }
  }
  s->moved += m->bytes;
  pthread_mutex_unlock(&s->lock);
}

size_t cx_shelf_repair(cx_shelf *s, size_t budget) {
  move m = {.shelf = s};
  pthread_mutex_lock(&s->repairing);
  reap(s);
  for (unsigned class = 0; class < CLASSES && s->options.moved != NULL && m.bytes < budget; class++) {
    class_repair(&m, class, budget);
  }
  reap(s);
  leave_end(&m);
  pthread_mutex_unlock(&s->repairing);
  return m.bytes;
}

// ---- Verifying (cx.exact).

static void slab_verify(const cx_shelf *s, uint32_t index) {
  const slab *b = &s->slabs[index];
  const size_class *c = slab_class(s, index);
  uint32_t used = 0;
  if (b->held & 1) { // or nothing was ever put there
    for (uint32_t w = 0; w < c->words; w++) {
      uint64_t word = slab_used(s, index)[w];
      used += (unsigned)__builtin_popcountl(word);
      VM_CHECK(!(at_load(&slab_dead(s, index)[w]) & ~word), "slab %u: a slot is dead that is not used", index);
      VM_CHECK(slab_dying(s, index)[w] == 0, "slab %u: something is still dying", index);
    }
    for (uint32_t at = 0; at < b->hint; at++) {
      VM_CHECK(slab_used(s, index)[at / 64] >> at % 64 & 1, "slab %u: slot %u below the hint is free", index, at);
    }
  }
  VM_CHECK(used == b->used, "slab %u: %u slots are used, counted were %u", index, used, b->used);
  VM_CHECK(b->listed == (b->used < c->slots), "slab %u: %u slots of %u are used, and it is %s", index, used, c->slots, b->listed ? "listed" : "not listed");
}

void cx_shelf_verify(cx_shelf *s) {
  uint64_t held = 0, slabs = 0, class_held[CLASSES] = {0}, class_used[CLASSES] = {0}, class_listed[CLASSES] = {0};
  cx_shelf_lock(s);
  for (uint32_t i = 0; i < s->top; i++) {
    const slab *b = &s->slabs[i];
    VM_CHECK(!b->leaving, "slab %u is being left", i);
    VM_CHECK(b->class != 0 || b->held == 0, "frame %u is free, and has memory", i);
    if (b->class != 0) {
      slab_verify(s, i);
      slabs++;
      held += (unsigned)__builtin_popcountl(b->held);
      class_held[b->class - 1] += (unsigned)__builtin_popcountl(b->held);
      class_used[b->class - 1] += b->used;
      class_listed[b->class - 1] += b->listed;
    }
  }
  for (unsigned k = 0; k < CLASSES; k++) {
    for (uint32_t i = s->open[k]; i != NO_SLAB; i = s->slabs[i].after) {
      VM_CHECK(s->slabs[i].class == k + 1 && class_listed[k]-- > 0, "class %u's list has slab %u", k, i);
    }
    VM_CHECK(class_listed[k] == 0 && class_held[k] == s->class_held[k] && class_used[k] == s->class_used[k], "class %u: %lu pages, %lu slots; counted were %lu, %lu", k,
             class_held[k], class_used[k], s->class_held[k], s->class_used[k]);
  }
  VM_CHECK(held == s->held && slabs == s->slab_count, "%lu pages in %lu slabs; counted were %lu, %lu", held, slabs, s->held, s->slab_count);
  cx_shelf_unlock(s);
}
