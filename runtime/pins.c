// SPDX-License-Identifier: MIT
// pins.c: objects that the program holds in place by a call, as often as it says.
//
// Their addresses are words that a stop looks at like those of a stack: the objects do not move, so an address finds its
// count for as long as it is pinned. Changed under roots_lock, in a critical section; memory is had, and given back,
// outside of it, because a stopped thread may have malloc's locks.

#include <stdlib.h>
#include <string.h>
#include "runtime/dump_format.h"
#include "runtime/runtime.h"
#include "veil/roots.h"

enum { FIRST_ROOM = 64 };

// `room` objects; the index has four places for each.
struct rt_pins {
  size_t used, room;
  uint32_t *index;   // by hash: a position plus 1, or 0
  uint32_t *count;   // by position
  uintptr_t at[];    // by position
};

static size_t mask_of(const struct rt_pins *pins) { return pins->room * 4 - 1; }

static size_t hash_of(uintptr_t address) { return (size_t)((address >> 3) * 0x9e3779b97f4a7c15ull >> 20); }

static struct rt_pins *pins_new(size_t room) {
  struct rt_pins *pins = calloc(1, sizeof *pins + room * (sizeof *pins->at + 5 * sizeof *pins->index));
  if (pins != NULL) {
    pins->room = room;
    pins->count = (uint32_t *)(pins->at + room);
    pins->index = pins->count + room;
  }
  return pins;
}

// The place of the address in the index, or the empty one where it would be.
static size_t find(const struct rt_pins *pins, uintptr_t address) {
  size_t h = hash_of(address) & mask_of(pins);
  while (pins->index[h] != 0 && pins->at[pins->index[h] - 1] != address) {
    h = (h + 1) & mask_of(pins);
  }
  return h;
}

static void add(struct rt_pins *pins, uintptr_t address, uint32_t count) {
  pins->at[pins->used] = address;
  pins->count[pins->used] = count;
  pins->index[find(pins, address)] = (uint32_t)++pins->used; // of a word that is there now: the search ends before it
}

// Empties a place of the index, and moves up what could not be found any more (Knuth, volume 3, 6.4, algorithm R).
static void index_erase(struct rt_pins *pins, size_t hole) {
  size_t mask = mask_of(pins);
  for (size_t h = (hole + 1) & mask; pins->index[h] != 0; h = (h + 1) & mask) {
    size_t home = hash_of(pins->at[pins->index[h] - 1]) & mask;
    if (((h - home) & mask) >= ((h - hole) & mask)) {
      pins->index[hole] = pins->index[h];
      hole = h;
    }
  }
  pins->index[hole] = 0;
}

static void take_out(struct rt_pins *pins, size_t place) {
  uint32_t position = pins->index[place] - 1, last = (uint32_t)pins->used - 1;
  index_erase(pins, place);
  if (position != last) {
    pins->index[find(pins, pins->at[last])] = position + 1;
    pins->at[position] = pins->at[last];
    pins->count[position] = pins->count[last];
  }
  pins->used = last;
}

static void lock(rt_thread *self) {
  rt_enter(self);
  pthread_mutex_lock(&self->heap->roots_lock);
}
static void unlock(rt_thread *self) {
  pthread_mutex_unlock(&self->heap->roots_lock);
  rt_leave(self);
}

// Of twice the room, unless another thread has done it. False: no memory.
static bool grow(rt_thread *self, size_t room) {
  struct rt_pins *larger = pins_new(room == 0 ? FIRST_ROOM : 2 * room), *rest = larger;
  if (larger == NULL) {
    return false;
  }
  lock(self);
  struct rt_pins *pins = self->heap->pins;
  if ((pins != NULL ? pins->room : 0) == room) {
    for (size_t i = 0; i < (pins != NULL ? pins->used : 0); i++) {
      add(larger, pins->at[i], pins->count[i]);
    }
    self->heap->pins = larger;
    rest = pins;
  }
  unlock(self);
  free(rest);
  return true;
}

RT_EXPORT veil_status veil_pin(veil_thread *open, void *object) {
  rt_thread *self = rt_self_use(open, "veil_pin");
  if (object == NULL) {
    vm_fatal("veil_pin: there is no object");
  }
  rt_object_check(self->heap->gc, object, "veil_pin");
  for (;;) {
    lock(self);
    struct rt_pins *pins = self->heap->pins;
    size_t room = pins != NULL ? pins->room : 0, place = room != 0 ? find(pins, (uintptr_t)object) : 0;
    bool known = room != 0 && pins->index[place] != 0, fits = known || (room != 0 && pins->used < room);
    if (known) {
      uint32_t *count = &pins->count[pins->index[place] - 1];
      if (++*count == 0) {
        vm_fatal("veil_pin: %p is pinned more than %u times", object, UINT32_MAX);
      }
    } else if (fits) {
      add(pins, (uintptr_t)object, 1);
    }
    unlock(self);
    if (fits) {
      return VEIL_OK;
    }
    if (room >= (size_t)UINT32_MAX / 8 || !grow(self, room)) {
      rt_error_set("veil_pin: no memory for more than %zu pinned objects", room);
      return VEIL_NO_MEMORY;
    }
  }
}

RT_EXPORT void veil_unpin(veil_thread *open, void *object) {
  rt_thread *self = rt_self_use(open, "veil_unpin");
  lock(self);
  struct rt_pins *pins = self->heap->pins;
  size_t place = pins != NULL ? find(pins, (uintptr_t)object) : 0;
  if (pins == NULL || pins->index[place] == 0) {
    vm_fatal("veil_unpin: %p is not pinned", object);
  }
  if (--pins->count[pins->index[place] - 1] == 0) {
    take_out(pins, place);
  }
  unlock(self);
}

void rt_pins_scan(veil_heap *heap, gc_flip *flip) {
  if (heap->pins != NULL) {
    gc_flip_note(flip, DUMP_BY_PIN, 0, 0);
    gc_flip_range(flip, heap->pins->at, heap->pins->at + heap->pins->used);
  }
}

size_t rt_pins_count(const veil_heap *heap) { return heap->pins != NULL ? heap->pins->used : 0; }

void rt_pins_close(veil_heap *heap) { free(heap->pins); }
