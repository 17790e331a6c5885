// SPDX-License-Identifier: MIT
// named.c: roots with names (veil/roots.h): precise slots that are found by what they are called, in this process or in one that restores the heap.
//
// Neighbours: roots.c asks for them in a flip, describe.c lists them, restore.c puts them back. Attached threads, in a critical section and under roots_lock, so the
// table is whole whenever the world is stopped. Memory is had and given back outside of both (rt.critical).

#include <stdlib.h>
#include <string.h>
#include "runtime/dump_format.h"
#include "runtime/named.h"
#include "veil/roots.h"

enum { FIRST_ROOM = 64, NAME_MAX_BYTES = 255 };

// Descriptions hold names, so what is taken away is freed when none has it in its list (veil_heap.named_dead).
struct rt_name {
  rt_name *next; // of the dead: those that died last are first
  uint64_t died; // veil_heap.named_changes, this one counted
  char text[];
};

// Entries [0, count) are in use, in no order; those of a bucket are chained. All in one piece of memory.
struct rt_named {
  size_t room, count; // `room` is a power of two, and the number of buckets
  uintptr_t *slots;   // none is NULL
  rt_name **names;
  uint32_t *hashes, *next; // the next of the bucket, plus 1
  uint32_t *buckets;       // the first, plus 1
};

static uint32_t hash_of(const char *name) {
  uint64_t h = 0xcbf29ce484222325ull; // FNV-1a
  for (; *name != 0; name++) {
    h = (h ^ (unsigned char)*name) * 0x100000001b3ull;
  }
  return (uint32_t)(h ^ h >> 32);
}

static rt_named *table_make(size_t room) {
  rt_named *t = calloc(1, sizeof *t + room * (sizeof *t->slots + sizeof *t->names + 3 * sizeof *t->buckets));
  if (t != NULL) {
    t->room = room;
    t->slots = (uintptr_t *)(t + 1);
    t->names = (rt_name **)(t->slots + room);
    t->hashes = (uint32_t *)(t->names + room);
    t->next = t->hashes + room;
    t->buckets = t->next + room;
  }
  return t;
}

static uint32_t *bucket_of(rt_named *t, uint32_t hash) { return &t->buckets[hash & (t->room - 1)]; }

// The place that holds the entry's number, plus 1; or where it would stand: the end of its chain.
static uint32_t *place_find(rt_named *t, uint32_t hash, const char *name) {
  uint32_t *at = bucket_of(t, hash);
  while (*at != 0 && (t->hashes[*at - 1] != hash || strcmp(t->names[*at - 1]->text, name) != 0)) {
    at = &t->next[*at - 1];
  }
  return at;
}

static uint32_t *place_of(rt_named *t, uint32_t entry) {
  uint32_t *at = bucket_of(t, t->hashes[entry]);
  while (*at != entry + 1) {
    at = &t->next[*at - 1];
  }
  return at;
}

static void entry_add(rt_named *t, uint32_t hash, rt_name *name, uintptr_t object) {
  uint32_t i = (uint32_t)t->count++, *bucket = bucket_of(t, hash);
  t->slots[i] = object;
  t->names[i] = name;
  t->hashes[i] = hash;
  t->next[i] = *bucket;
  *bucket = i + 1;
}

// The last entry takes its place. Returns the name, which is the caller's.
static rt_name *entry_take(rt_named *t, uint32_t *place) {
  uint32_t i = *place - 1, last = (uint32_t)t->count - 1;
  rt_name *name = t->names[i];
  *place = t->next[i];
  if (i != last) {
    *place_of(t, last) = i + 1;
    t->slots[i] = t->slots[last];
    t->names[i] = t->names[last];
    t->hashes[i] = t->hashes[last];
    t->next[i] = t->next[last];
  }
  t->count--;
  return name;
}

// What a call brings along, and takes away: memory that is freed when nothing is held any more.
typedef struct change {
  const char *name;
  uint32_t hash;
  uintptr_t object; // 0: the name goes
  rt_name *copy;    // of the name
  rt_named *larger; // a table with more room, or NULL
  rt_name *old_name;
  rt_named *old_table;
} change;

static void table_replace(veil_heap *heap, change *c) {
  rt_named *old = heap->named;
  for (size_t i = 0; old != NULL && i < old->count; i++) {
    entry_add(c->larger, old->hashes[i], old->names[i], old->slots[i]);
  }
  heap->named = c->larger;
  c->larger = NULL;
  c->old_table = old;
}

// False: it takes a table with more room, and nothing has changed.
static bool change_make_locked(veil_heap *heap, change *c) {
  rt_named *t = heap->named;
  uint32_t *place = t != NULL ? place_find(t, c->hash, c->name) : NULL;
  if (place != NULL && *place != 0) {
    if (c->object == 0) {
      rt_name *name = entry_take(t, place);
      heap->named_changes++;
      if (heap->named_holds != NULL) {
        name->next = heap->named_dead;
        name->died = heap->named_changes;
        at_store_release((AO_t volatile *)&heap->named_dead, (uint64_t)name);
      } else {
        c->old_name = name;
      }
    } else {
      heap->named_changes += t->slots[*place - 1] != c->object;
      t->slots[*place - 1] = c->object;
    }
    return true;
  }
  if (c->object == 0) {
    return true;
  }
  if (t == NULL || t->count == t->room) {
    if (c->larger == NULL || (t != NULL && c->larger->room <= t->room)) {
      return false;
    }
    table_replace(heap, c);
  }
  entry_add(heap->named, c->hash, c->copy, c->object);
  heap->named_changes++;
  c->copy = NULL;
  return true;
}

static bool change_try(rt_thread *self, change *c, size_t *room) {
  veil_heap *heap = self->heap;
  rt_enter(self);
  pthread_mutex_lock(&heap->roots_lock);
  bool done = change_make_locked(heap, c);
  *room = heap->named != NULL ? heap->named->room : 0;
  pthread_mutex_unlock(&heap->roots_lock);
  rt_leave(self);
  return done;
}

static veil_status change_make(rt_thread *self, change *c) {
  size_t room;
  while (!change_try(self, c, &room)) {
    free(c->larger); // others were quicker to fill the table
    c->larger = table_make(room != 0 ? room * 2 : FIRST_ROOM);
    if (c->larger == NULL) {
      rt_error_set("veil_root_set: no memory for %zu names", room * 2);
      return VEIL_NO_MEMORY;
    }
  }
  return VEIL_OK;
}

static rt_name *name_copy(const char *text) {
  size_t bytes = strlen(text) + 1;
  rt_name *name = malloc(sizeof *name + bytes);
  if (name != NULL) {
    memcpy(name->text, text, bytes);
  }
  return name;
}

static bool is_name(const char *name) {
  size_t length = name != NULL ? strnlen(name, NAME_MAX_BYTES + 1) : 0;
  return length > 0 && length <= NAME_MAX_BYTES;
}

RT_EXPORT veil_status veil_root_set(veil_thread *open, const char *name, void *object) {
  rt_thread *self = rt_self_use(open, "veil_root_set");
  if (!is_name(name)) {
    rt_error_set("veil_root_set: a name has 1 to %d bytes", (int)NAME_MAX_BYTES);
    return VEIL_INVALID;
  }
  rt_object_check(self->heap->gc, object, "veil_root_set");
  change c = {.name = name, .hash = hash_of(name), .object = (uintptr_t)object, .copy = object != NULL ? name_copy(name) : NULL};
  veil_status status = VEIL_NO_MEMORY;
  if (object != NULL && c.copy == NULL) {
    rt_error_set("veil_root_set: no memory for a name");
  } else {
    status = change_make(self, &c);
  }
  free(c.copy);
  free(c.larger);
  free(c.old_name);
  free(c.old_table);
  return status;
}

RT_EXPORT void *veil_root_get(veil_thread *open, const char *name) {
  rt_thread *self = rt_self_use(open, "veil_root_get");
  if (!is_name(name)) {
    return NULL;
  }
  veil_heap *heap = self->heap;
  rt_enter(self);
  pthread_mutex_lock(&heap->roots_lock);
  uint32_t *place = heap->named != NULL ? place_find(heap->named, hash_of(name), name) : NULL;
  void *object = place != NULL && *place != 0 ? (void *)heap->named->slots[*place - 1] : NULL;
  pthread_mutex_unlock(&heap->roots_lock);
  rt_leave(self);
  return object;
}

// ---- For the rest of the runtime.

void rt_named_forward(veil_heap *heap, gc_flip *flip) {
  rt_named *t = heap->named;
  if (t == NULL) {
    return;
  }
  if (!gc_flip_lists(flip)) {
    gc_flip_slots(flip, t->slots, t->count);
    return;
  }
  for (size_t i = 0; i < t->count; i++) {
    gc_flip_note(flip, DUMP_BY_NAME, (uint64_t)t->names[i]->text, 0);
    gc_flip_slots(flip, &t->slots[i], 1);
  }
}

size_t rt_named_count(const veil_heap *heap) { return heap->named != NULL ? heap->named->count : 0; }

bool rt_named_list(const veil_heap *heap, uintptr_t *slots, rt_name **names) {
  size_t count = rt_named_count(heap);
  const rt_named *t = heap->named;
  if (count == 0 || (memcmp(slots, t->slots, count * sizeof *slots) == 0 && memcmp(names, t->names, count * sizeof *names) == 0)) {
    return false;
  }
  memcpy(slots, t->slots, count * sizeof *slots);
  memcpy(names, t->names, count * sizeof *names);
  return true;
}

const char *rt_named_text(const rt_name *name) { return name->text; }

static void names_free(rt_name *name) {
  while (name != NULL) {
    rt_name *next = name->next;
    free(name);
    name = next;
  }
}

// A critical section and roots_lock, in a thread of the program's or any other. `self`: NULL for the latter.
static rt_thread *held_lock(veil_heap *heap) {
  rt_thread *self = rt_here;
  while (self != NULL && self->heap != heap) {
    self = self->next_here;
  }
  if (self != NULL) {
    rt_enter(self);
  } else {
    rt_work_begin(heap);
  }
  pthread_mutex_lock(&heap->roots_lock);
  return self;
}

static void held_unlock(veil_heap *heap, rt_thread *self) {
  pthread_mutex_unlock(&heap->roots_lock);
  if (self != NULL) {
    rt_leave(self);
  } else {
    rt_work_end(heap);
  }
}

// Of the names that are gone, those that no list has any more: they went before it was made.
static rt_name *dead_take_locked(veil_heap *heap) {
  uint64_t seen = UINT64_MAX;
  for (const rt_named_hold *hold = heap->named_holds; hold != NULL; hold = hold->next) {
    seen = hold->seen < seen ? hold->seen : seen;
  }
  rt_name **at = &heap->named_dead;
  while (*at != NULL && (*at)->died > seen) {
    at = &(*at)->next;
  }
  rt_name *dead = *at;
  *at = NULL;
  return dead;
}

size_t rt_named_hold_begin(veil_heap *heap, rt_named_hold *hold) {
  rt_thread *self = held_lock(heap);
  *hold = (rt_named_hold){heap->named_holds, UINT64_MAX};
  heap->named_holds = hold;
  size_t count = rt_named_count(heap);
  held_unlock(heap, self);
  return count;
}

void rt_named_hold_end(veil_heap *heap, rt_named_hold *hold) {
  rt_thread *self = held_lock(heap);
  rt_named_hold **at = &heap->named_holds;
  while (*at != hold) {
    at = &(*at)->next;
  }
  *at = hold->next;
  rt_name *dead = dead_take_locked(heap);
  held_unlock(heap, self);
  names_free(dead);
}

void rt_named_tidy(veil_heap *heap) {
  if (at_load((AO_t const volatile *)&heap->named_dead) == 0) {
    return;
  }
  rt_thread *self = held_lock(heap);
  rt_name *dead = dead_take_locked(heap);
  held_unlock(heap, self);
  names_free(dead);
}

bool rt_named_restore(veil_heap *heap, const char *name, uintptr_t object) {
  if (!is_name(name)) {
    return false;
  }
  change c = {.name = name, .hash = hash_of(name), .object = object, .copy = name_copy(name)};
  if (c.copy == NULL) {
    return false;
  }
  if (!change_make_locked(heap, &c)) {
    c.larger = table_make(heap->named != NULL ? heap->named->room * 2 : FIRST_ROOM);
    if (c.larger != NULL) {
      change_make_locked(heap, &c);
    }
  }
  bool added = c.copy == NULL;
  free(c.copy); // the name is there already, or there is no memory
  free(c.larger);
  free(c.old_table);
  return added;
}

bool rt_named_make(veil_heap *heap, const veil_root_described *roots, size_t count, uintptr_t base, rt_named **out) {
  size_t room = FIRST_ROOM;
  while (room < count) {
    room *= 2;
  }
  rt_named *t = table_make(room);
  for (size_t i = 0; i < count && t != NULL; i++) {
    rt_name *copy = is_name(roots[i].name) ? name_copy(roots[i].name) : NULL;
    uint32_t hash = copy != NULL ? hash_of(copy->text) : 0;
    if (copy == NULL || *place_find(t, hash, copy->text) != 0) {
      free(copy);
      rt_named_drop(t);
      t = NULL;
    } else {
      entry_add(t, hash, copy, roots[i].address - base + heap->gc->base);
    }
  }
  *out = t;
  return t != NULL;
}

void rt_named_swap(veil_heap *heap, rt_named **table) {
  rt_named *old = heap->named;
  heap->named_changes++;
  for (size_t i = 0; i < rt_named_count(heap); i++) {
    rt_name *name = old->names[i];
    name->next = heap->named_dead;
    name->died = heap->named_changes;
    heap->named_dead = name;
  }
  heap->named = *table;
  *table = old;
}

void rt_named_free(rt_named *table) { free(table); }

void rt_named_drop(rt_named *table) {
  for (size_t i = 0; table != NULL && i < table->count; i++) {
    free(table->names[i]);
  }
  free(table);
}

void rt_named_close(veil_heap *heap) {
  for (size_t i = 0; i < rt_named_count(heap); i++) {
    free(heap->named->names[i]);
  }
  free(heap->named);
  heap->named = NULL;
  names_free(heap->named_dead);
  heap->named_dead = NULL;
}
