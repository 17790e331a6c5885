// SPDX-License-Identifier: MIT
// heap_objects.c: the streams of objects, read as often as they are needed: what a graph does not keep, the places of
// slots above all, is read again.

#include "runtime/tools/heap.h"

typedef struct reader {
  const heap_dump *d;
  heap_cursor c;
  uint64_t expected; // where the next object begins, if it is right behind the last and no array
  heap_object object;
  heap_slot_fn *slot;
  void *arg;
} reader;

uint64_t heap_bytes_of(const heap_type *type, uint32_t flags, uint64_t length) {
  uint64_t bytes = flags & HEAP_ARRAY ? 16 + type->fixed + length * type->size : 8 + type->size;
  return ((bytes + 15) & ~(uint64_t)15) + (flags & HEAP_HASHED ? 16 : 0);
}

static void head_read(reader *r) {
  const heap_dump *d = r->d;
  uint64_t head = heap_get(&r->c), id = head >> DUMP_TYPE_SHIFT;
  if (id >= HEAP_TYPES || d->types[id].name == NULL) {
    heap_fail(d, "is damaged: an object is of type %llu, which is not there", (unsigned long long)id);
  }
  heap_object *o = &r->object;
  o->type = (uint32_t)id;
  o->flags = (head & DUMP_ARRAY ? HEAP_ARRAY : 0) | (head & DUMP_HASHED ? HEAP_HASHED : 0) |
             (head & DUMP_YOUNG ? HEAP_YOUNG : 0);
  uint64_t plain = r->expected + (head & DUMP_APART ? (uint64_t)heap_get_signed(&r->c) * 8 : 0);
  const heap_type *type = &d->types[id];
  o->length = head & DUMP_ARRAY || type->sized ? heap_get(&r->c) : 1;
  bool array = head & DUMP_ARRAY;
  if (array ? type->sized
            : type->fixed != 0 || type->layout == DUMP_FLEXIBLE || (type->sized && o->length > type->size)) {
    heap_fail(d, "is damaged: an object of type %s, of length %llu, cannot be", type->name,
              (unsigned long long)o->length);
  }
  if (o->length > ((uint64_t)1 << 46) || (type->size != 0 && o->length > ((uint64_t)1 << 46) / type->size)) {
    heap_fail(d, "is damaged: an array has %llu elements", (unsigned long long)o->length);
  }
  o->bytes = heap_bytes_of(type, o->flags, o->length);
  o->address = plain + (head & DUMP_ARRAY ? 8 : 0);
  if (plain % 16 != 0 || plain - d->info.base >= d->info.span || o->bytes > d->info.span - (plain - d->info.base) + 8) {
    heap_fail(d, "is damaged: an object of %llu bytes at 0x%llx is not in the heap", (unsigned long long)o->bytes,
              (unsigned long long)o->address);
  }
  r->expected = plain + o->bytes;
}

static inline void reference(reader *r, uint64_t offset, uint64_t n) {
  if (r->slot != NULL) {
    r->slot(r->arg, &r->object, offset, r->object.address + (uint64_t)dump_unzigzag(n) * 8);
  }
}

static void traced_read(reader *r) {
  uint64_t offset = 0;
  for (uint64_t n; (n = heap_get(&r->c)) != 0;) {
    offset += (uint64_t)dump_unzigzag(n - 1) * 8;
    uint64_t to = heap_get(&r->c);
    if (to < DUMP_REFERENCE || offset >= r->object.bytes) {
      heap_fail(r->d, "is damaged: a slot at +%llu of an object of %llu bytes", (unsigned long long)offset,
                (unsigned long long)r->object.bytes);
    }
    reference(r, offset, to - DUMP_REFERENCE);
  }
}

// Where an object's n-th slot is.
static inline uint64_t offset_of(const heap_type *type, uint64_t each, uint64_t n) {
  if (n < type->fixed_count) {
    return type->fixed_offsets[n];
  }
  n -= type->fixed_count;
  if (type->layout == DUMP_DENSE) {
    return n * 8;
  }
  uint64_t element = n < each ? 0 : n / each; // most objects are one
  return type->fixed + element * type->size + type->offsets[n - element * each];
}

static void slots_read(reader *r, const heap_type *type) {
  if (type->layout == DUMP_LEAF) {
    return;
  }
  if (type->layout == DUMP_TRACED) {
    traced_read(r);
    return;
  }
  // First those before the elements. Per element, as many slots as the type has; of dense ones each word.
  uint64_t each = type->layout == DUMP_DENSE ? type->size / 8 : type->count,
           slots = type->fixed_count + each * r->object.length;
  for (uint64_t i = 0; i < slots;) {
    uint64_t n = heap_get(&r->c), step = 1;
    if (n == DUMP_REST) {
      return;
    }
    if (n >= DUMP_REFERENCE) {
      reference(r, offset_of(type, each, i), n - DUMP_REFERENCE);
    } else if (n == DUMP_RUN) {
      step = heap_get(&r->c);
      if (step > slots - i || slots - i - step < 2) {
        heap_fail(r->d, "is damaged: an object has more slots than its type");
      }
      step += 2;
    }
    i += step;
  }
}

void heap_objects_visit(const heap_dump *d, heap_object_fn *object, heap_slot_fn *slot, void *arg) {
  reader r = {.d = d, .slot = slot, .arg = arg};
  for (size_t from = 0; heap_section(d, DUMP_OBJECTS, &from, &r.c);) {
    r.expected = 0;
    while (heap_more(&r.c)) {
      head_read(&r);
      if (object != NULL) {
        object(arg, &r.object);
      }
      slots_read(&r, &d->types[r.object.type]);
    }
  }
}
