// SPDX-License-Identifier: MIT
// restore.h: a heap with everything in it, its image, a heap of that, and whether they are the same. For one file of tests.

#ifndef TESTS_RUNTIME_RESTORE_H
#define TESTS_RUNTIME_RESTORE_H

#include "runtime/tools/heap.h"
#include "tests/runtime/image_memory.h"
#include "tests/runtime/things.h"
#include "tests/runtime/world.h"
#include "veil/dump.h"

// ---- Dumps: a number for all that they have, but for where the view is, and what is young.

typedef struct sum {
  const heap_dump *d;
  uint64_t all, one, objects, slots;
} sum;

static uint64_t mix(uint64_t h, uint64_t n) {
  h = (h ^ n) * UINT64_C(0x9e3779b97f4a7c15);
  return h ^ h >> 29;
}

static inline void object_sum(void *arg, const heap_object *o) {
  sum *s = arg;
  s->all += s->one; // of the object before
  s->one = mix(mix(mix(7, o->address - s->d->info.base), o->length), o->flags & (HEAP_ARRAY | HEAP_HASHED));
  for (const char *c = s->d->types[o->type].name; *c != 0; c++) {
    s->one = mix(s->one, (uint64_t)*c);
  }
  s->one = mix(s->one, o->bytes);
  s->objects++;
}

static inline void slot_sum(void *arg, const heap_object *o, uint64_t offset, uint64_t to) {
  (void)o;
  sum *s = arg;
  s->one = mix(mix(s->one, offset), to - s->d->info.base);
  s->slots++;
}

static inline sum dump_sum(void) {
  char path[64];
  snprintf(path, sizeof path, "/tmp/veil-restore-%d", (int)getpid());
  EXPECT(veil_heap_dump(self, path, VEIL_DUMP_AS_IS) == VEIL_OK);
  heap_dump *d = calloc(1, sizeof *d);
  heap_load(d, path);
  unlink(path);
  EXPECT(d->dangling == 0);
  sum s = {.d = d};
  heap_objects_visit(d, object_sum, slot_sum, &s);
  s.all += s.one;
  uint64_t links = 0;
  for (uint32_t i = 0; i < d->link_count; i++) {
    links += d->links[i].kind == DUMP_LINK_WEAK ? mix(mix(3, d->links[i].owner - d->info.base), d->links[i].object) : 0;
  }
  for (uint32_t i = 0; i < d->entry_count; i++) {
    links += mix(mix(mix(mix(5, d->entries[i].kind), d->entries[i].table), d->entries[i].key), d->entries[i].value);
  }
  for (uint32_t i = 0; i < d->root_count; i++) {
    const heap_holder *h = &d->holders[d->roots[i].holder];
    if (h->kind == DUMP_BY_NAME) {
      uint64_t one = mix(11, d->roots[i].object);
      for (const char *c = heap_name_of(d, h->owner); *c != 0; c++) {
        one = mix(one, (uint64_t)*c);
      }
      links += one;
    }
  }
  s.all = mix(s.all, links);
  heap_free(d);
  free(d);
  return s;
}

static inline void sums_compare(sum a, sum b) {
  EXPECT(a.objects == b.objects);
  EXPECT(a.slots == b.slots);
  EXPECT(a.all == b.all);
}

// ---- A heap with everything in it, its image, and a heap of that.

static inline veil_options with(const char *back_end, veil_generations generations) {
  return (veil_options){.back_end = back_end, .limit = 256 * MIB, .headroom = 4 * MIB, .verify = 2, .generations = generations, .nursery = generations == VEIL_GENERATIONS_ON ? 1 << 20 : 0};
}

// False where the back end does not work. `before`: of the heap at the instant.
static inline bool source_make(veil_options options, int cycles, image **out, sum *before) {
  if (!start(options)) {
    return false;
  }
  things_make(self);
  for (int i = 0; i < cycles; i++) {
    veil_collect(self);
    list_make(self, 1000);
  }
  stack_clear();
  *out = image_take(heap);
  *before = dump_sum();
  return true;
}

static inline void source_close(void) {
  stack_clear();
  end();
}

static inline void restored_begin(image *i, veil_source source, veil_options options) {
  heap = image_open_from(i, source, &options, things_types, THINGS_TYPES);
  EXPECT(heap != NULL || (fprintf(stderr, "%s\n", veil_error()), false));
  self = veil_attach(heap);
}

// It goes on as any heap.
static __attribute__((noinline, unused)) void restored_lives(bool elsewhere, const image *i) {
  EXPECT(((uint64_t)veil_heap_pages(heap).base != i->base) == elsewhere);
  things_check(self, false);
  veil_verify(self);
  for (int round = 0; round < 2; round++) {
    stack_clear();
    veil_collect(self);
    things_check(self, true);
    veil_verify(self);
    thing_name(self, "new", 0, list_make(self, 5000));
    veil_collect_minor(self);
    things_check(self, true);
    EXPECT(list_check(thing_get(self, "new", 0)) == 5000);
  }
}

static inline void *fill(const image *i) { // what the view cannot be put over
  void *map = mmap((void *)i->base, i->page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  EXPECT(map == (void *)i->base);
  return map;
}

#endif
