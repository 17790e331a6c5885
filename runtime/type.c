// SPDX-License-Identifier: MIT
// type.c: from a program's description to the collector's.
//
// Types belong to the process. Descriptions of the same name and layout, as several translation units have them, share an id.

#include <stdlib.h>
#include <string.h>
#include "gc/visitor.h"
#include "runtime/runtime.h"
#include "vm/os.h"

RT_EXPORT veil_type veil_type_pointer_ = {"pointer", 8, (const size_t[]){0}, 1, NULL, NULL, NULL, 0, 0, 0};
RT_EXPORT veil_type veil_type_byte_ = {"byte", 1, NULL, 0, NULL, NULL, NULL, 0, 0, 0};

static pthread_mutex_t types_lock = PTHREAD_MUTEX_INITIALIZER;
static struct known {
  struct known *next;
  unsigned id;
  gc_type type;
  size_t offsets[]; // then those of the part before the elements, and the name
} *known;

RT_EXPORT void veil_visit(veil_visitor *visitor, size_t offset) { gc_visit((gc_visitor *)visitor, offset); }

static void type_check(const veil_type *type) {
  if (type->name == NULL || (type->size == 0 && type->pointer_count != 0) || type->size > ((size_t)1 << 30)) {
    vm_fatal("type %s: %zu bytes is no size for an object", type->name ? type->name : "(no name)", type->size);
  }
  for (size_t i = 0; i < type->pointer_count; i++) {
    if (type->pointers[i] % 8 != 0 || type->size % 8 != 0 || type->size < 8 || type->pointers[i] > type->size - 8) {
      vm_fatal("type %s: pointer field %zu at offset %zu is not an aligned word inside the object's %zu bytes", type->name, i,
               type->pointers[i], type->size);
    }
  }
}

static void fixed_check(const veil_type *type) {
  const veil_fixed *fixed = type->fixed;
  size_t bytes = fixed->count != 0 ? fixed->offsets[0] : 0;
  if (fixed->count == 0 || bytes > (size_t)1 << 30 || (bytes % 8 != 0 && type->pointer_count != 0)) {
    vm_fatal("type %s: %zu bytes are no place for the elements of a flexible array", type->name, bytes);
  }
  for (size_t i = 1; i < fixed->count; i++) {
    size_t at = fixed->offsets[i] & ~(size_t)GC_FIXED_PLAIN;
    if (at % 8 != 0 || bytes < 8 || at > bytes - 8) {
      vm_fatal("type %s: slot %zu at offset %zu is not an aligned word before the elements, which begin at %zu", type->name, i - 1, at, bytes);
    }
  }
}

// Of a flexible array, whose elements another type may describe.
static veil_type element_of(const veil_type *type) {
  veil_type element = *type;
  const veil_type *other = type->fixed != NULL ? type->fixed->element : NULL;
  if (other != NULL) {
    if (other->trace != NULL || other->fixed != NULL || other->size != type->size) {
      vm_fatal("type %s: its elements cannot be described by %s, which has %s", type->name, other->name,
               other->trace != NULL ? "a trace callback" : (other->fixed != NULL ? "no size of its own" : "another size"));
    }
    element.pointers = other->pointers;
    element.pointer_count = other->pointer_count;
    element.encoding = other->encoding;
  }
  return element;
}

static gc_layout layout_of(const veil_type *type) {
  if (type->trace != NULL) {
    return GC_LAYOUT_TRACE;
  }
  if (type->pointer_count == 0 && (type->fixed == NULL || type->fixed->count <= 1)) {
    return GC_LAYOUT_LEAF;
  }
  if (type->fixed != NULL) {
    return GC_LAYOUT_FLEXIBLE;
  }
  if (type->encoding != NULL) {
    return GC_LAYOUT_TAGGED;
  }
  bool dense = type->pointer_count * 8 == type->size;
  for (size_t i = 0; i < type->pointer_count; i++) {
    dense = dense && type->pointers[i] == i * 8;
  }
  return dense ? GC_LAYOUT_DENSE : GC_LAYOUT_MAP;
}

static bool same_layout(const gc_type *a, const gc_type *b) {
  return strcmp(a->name, b->name) == 0 && a->size == b->size && a->layout == b->layout && a->trace == b->trace &&
         a->count == b->count && a->tagged == b->tagged && a->low_tags == b->low_tags && a->high_min == b->high_min &&
         a->high_max == b->high_max &&
         (a->count == 0 || memcmp(a->offsets, b->offsets, a->count * sizeof *a->offsets) == 0) && a->fixed == b->fixed &&
         a->fixed_count == b->fixed_count &&
         (a->fixed_count == 0 || memcmp(a->fixed_offsets, b->fixed_offsets, a->fixed_count * sizeof *a->offsets) == 0);
}

// A copy of our own: the description may lie in a library that is unloaded later. Made before the critical section: malloc's locks may be
// held by a thread that a stop has caught (rt.critical).
// In a critical section of the program's, too: then from the system, and for good.
static void *description_take(size_t bytes, const char *name) {
  void *at = rt_section_any() ? os_map_private(bytes) : calloc(1, bytes);
  if (at == NULL) {
    vm_fatal("type %s: no memory to register it", name);
  }
  return at;
}

static void description_free(void *at) {
  if (!rt_section_any()) {
    free(at);
  } // else some page may be lost, once
}

static struct known *known_make(const veil_type *type) {
  size_t count = type->pointer_count, fixed_count = type->fixed != NULL ? type->fixed->count - 1 : 0, name_bytes = strlen(type->name) + 1;
  struct known *made = description_take(sizeof *made + (count + fixed_count) * sizeof made->offsets[0] + name_bytes, type->name);
  made->type = (gc_type){
      .name = memcpy(made->offsets + count + fixed_count, type->name, name_bytes),
      .size = (uint32_t)type->size,
      .cell = (uint32_t)gc_round_cell(8 + type->size),
      .layout = layout_of(type),
      .trace = (gc_trace_fn *)type->trace,
      .count = (uint32_t)count,
      .offsets = made->offsets,
      .fixed = type->fixed != NULL ? (uint32_t)type->fixed->offsets[0] : 0,
      .fixed_count = (uint32_t)fixed_count,
      .fixed_offsets = made->offsets + count,
      .dense = count == 1 && type->size == 8 && type->encoding == NULL,
  };
  for (size_t i = 0; i < count; i++) {
    made->offsets[i] = type->pointers[i];
  }
  for (size_t i = 0; i < fixed_count; i++) {
    made->offsets[count + i] = type->fixed->offsets[i + 1];
  }
  if (type->encoding != NULL) {
    made->type.tagged = true;
    made->type.low_tags = type->encoding->low_tags;
    made->type.high_min = type->encoding->high_min;
    made->type.high_max = type->encoding->high_max;
  }
  return made;
}

// The entry of this layout: another, or now this one.
static struct known *known_find_or_add(struct known *made) {
  for (struct known *k = known; k != NULL; k = k->next) {
    if (same_layout(&k->type, &made->type)) {
      return k;
    }
  }
  made->id = gc_type_register(&made->type);
  if (made->id == 0) {
    vm_fatal("type %s: all of %d types are taken", made->type.name, (int)GC_TYPES);
  }
  made->next = known;
  known = made;
  return made;
}

void rt_type_register(rt_thread *self, veil_type *type) {
  veil_type described = element_of(type);
  type_check(&described);
  if (type->fixed != NULL) {
    fixed_check(&described);
  }
  struct known *made = known_make(&described);
  rt_enter(self); // stopped here, we would keep others from allocating
  pthread_mutex_lock(&types_lock);
  struct known *found = known_find_or_add(made);
  if (*(volatile uint64_t *)&type->array_header == 0) {
    bool leaf = found->type.layout == GC_LAYOUT_LEAF;
    at32_store(&type->leaf, leaf);
    at_store_release((AO_t volatile *)&type->array_header, gc_header_make(found->id, true, leaf));
    if (type->fixed == NULL) { // else an object without a length is none: the inline half asks the slow one
      // Last: a thread that sees the header sees the rest.
      at_store_release((AO_t volatile *)&type->header, gc_header_make(found->id, false, leaf));
    }
  }
  pthread_mutex_unlock(&types_lock);
  rt_leave(self);
  if (found != made) {
    description_free(made);
  }
}

// ---- Bytes that are aligned. Arrays begin in the middle of a unit, so these are plain objects of types that differ in size alone: each 16 bytes up to a
// KiB, then 16 between a power of two and the next. Nobody else need know: what of it is used stands in the cell's last word.

enum { SIZED_FINE = 1024, SIZED_STEPS = 16, SIZED_KINDS = SIZED_FINE / GC_UNIT + 22 * SIZED_STEPS };

static AO_t sized_header[SIZED_KINDS + 1]; // 0: not registered yet

// The kind of a cell of so many bytes, and how many it has.
static unsigned sized_kind(size_t *cell) {
  if (*cell <= SIZED_FINE) {
    return (unsigned)(*cell / GC_UNIT);
  }
  unsigned log = 63 - (unsigned)__builtin_clzl(*cell - 1); // 2^log < cell <= 2^(log + 1)
  size_t step = ((size_t)1 << log) / SIZED_STEPS, steps = (*cell - ((size_t)1 << log) + step - 1) / step;
  *cell = ((size_t)1 << log) + steps * step;
  return SIZED_FINE / GC_UNIT + (log - 10) * SIZED_STEPS + (unsigned)steps;
}

static void sized_register(rt_thread *self, unsigned kind, size_t cell) {
  gc_type *type = description_take(sizeof *type, "byte");
  *type = (gc_type){.name = "byte", .size = (uint32_t)(cell - 16), .cell = (uint32_t)cell, .layout = GC_LAYOUT_LEAF, .sized = true};
  rt_enter(self);
  pthread_mutex_lock(&types_lock);
  bool first = at_load(&sized_header[kind]) == 0;
  if (first) {
    unsigned id = gc_type_register(type);
    if (id == 0) {
      vm_fatal("type byte: all of %d types are taken", (int)GC_TYPES);
    }
    at_store_release(&sized_header[kind], gc_header_make(id, false, true));
  }
  pthread_mutex_unlock(&types_lock);
  rt_leave(self);
  if (!first) {
    description_free(type);
  }
}

bool rt_type_sized(rt_thread *self, gc_wanted *want) {
  if (want->length > (size_t)4 << 30) {
    return false;
  }
  want->cell = gc_round_cell(16 + want->length);
  unsigned kind = sized_kind(&want->cell);
  if (want->cell > UINT32_MAX) {
    return false;
  }
  if (at_load_acquire(&sized_header[kind]) == 0) {
    sized_register(self, kind, want->cell);
  }
  want->header = at_load(&sized_header[kind]);
  return true;
}
