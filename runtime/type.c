// SPDX-License-Identifier: MIT
// type.c: from a program's description to the collector's.
//
// Types belong to the process. Descriptions of the same name and layout, as several translation units have them, share an id.

#include <stdlib.h>
#include <string.h>
#include "gc/visitor.h"
#include "runtime/runtime.h"

RT_EXPORT veil_type veil_type_pointer_ = {"pointer", 8, (const size_t[]){0}, 1, NULL, NULL, 0, 0, 0};
RT_EXPORT veil_type veil_type_byte_ = {"byte", 1, NULL, 0, NULL, NULL, 0, 0, 0};

static pthread_mutex_t types_lock = PTHREAD_MUTEX_INITIALIZER;
static struct known {
  const gc_type *type;
  unsigned id;
} *known;
static size_t known_count;

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

static gc_layout layout_of(const veil_type *type) {
  if (type->trace != NULL) {
    return GC_LAYOUT_TRACE;
  }
  if (type->pointer_count == 0) {
    return GC_LAYOUT_LEAF;
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
         (a->count == 0 || memcmp(a->offsets, b->offsets, a->count * sizeof *a->offsets) == 0);
}

static unsigned type_id_locked(const gc_type *type) {
  for (size_t i = 0; i < known_count; i++) {
    if (same_layout(known[i].type, type)) {
      return known[i].id;
    }
  }
  struct known *more = realloc(known, (known_count + 1) * sizeof *known);
  // A copy of our own: the description may lie in a library that is unloaded later.
  size_t *offsets = malloc((type->count + 1) * sizeof *offsets);
  char *name = strdup(type->name);
  if (more == NULL || offsets == NULL || name == NULL) {
    vm_fatal("type %s: no memory to register it", type->name);
  }
  known = more;
  for (uint32_t i = 0; i < type->count; i++) {
    offsets[i] = type->offsets[i];
  }
  gc_type copy = *type;
  copy.offsets = offsets;
  copy.name = name;
  unsigned id = gc_type_register(&copy);
  if (id == 0) {
    vm_fatal("type %s: all of %d types are taken", type->name, (int)GC_TYPES);
  }
  known[known_count++] = (struct known){gc_type_at(id), id};
  return id;
}

void rt_type_register(rt_thread *self, veil_type *type) {
  rt_enter(self); // stopped here, we would keep others from allocating
  pthread_mutex_lock(&types_lock);
  if (*(volatile uint64_t *)&type->header == 0) {
    type_check(type);
    gc_type made = {
        .name = type->name,
        .size = (uint32_t)type->size,
        .cell = (uint32_t)gc_round_cell(8 + type->size),
        .layout = layout_of(type),
        .trace = (gc_trace_fn *)type->trace,
        .count = (uint32_t)type->pointer_count,
        .offsets = type->pointers,
    };
    if (type->encoding != NULL) {
      made.tagged = true;
      made.low_tags = type->encoding->low_tags;
      made.high_min = type->encoding->high_min;
      made.high_max = type->encoding->high_max;
    }
    unsigned id = type_id_locked(&made);
    bool leaf = made.layout == GC_LAYOUT_LEAF;
    at32_store(&type->leaf, leaf);
    type->array_header = gc_header_make(id, true, leaf);
    // Last: a thread that sees the header sees the rest.
    at_store_release((AO_t volatile *)&type->header, gc_header_make(id, false, leaf));
  }
  pthread_mutex_unlock(&types_lock);
  rt_leave(self);
}
