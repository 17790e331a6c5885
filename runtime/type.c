// SPDX-License-Identifier: MIT
// type.c: from a program's description to the collector's.
//
// Types belong to the process. Descriptions of the same name and layout, as several translation units have them, share an id. One that came with a heap out of a file keeps the number that it had there, if
// that is free, so that nothing has to be written anew: so a type may have several.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "gc/visitor.h"
#include "runtime/describe.h"
#include "runtime/retype.h"
#include "runtime/runtime.h"
#include "vm/os.h"

RT_EXPORT veil_type veil_type_pointer_ = {"pointer", 8, (const size_t[]){0}, 1, NULL, NULL, NULL, 0, 0, 0};
RT_EXPORT veil_type veil_type_byte_ = {"byte", 1, NULL, 0, NULL, NULL, NULL, 0, 0, 0};

static pthread_mutex_t types_lock = PTHREAD_MUTEX_INITIALIZER;
static struct known {
  struct known *next;
  unsigned id;
  gc_type type;
  size_t offsets[]; // then those of the part before the elements; both as they were declared; of both those that are transient; the name
} *known;

RT_EXPORT void veil_visit(veil_visitor *visitor, size_t offset) { gc_visit((gc_visitor *)visitor, offset); }

static void type_check(const veil_type *type) {
  if (type->name == NULL || (type->size == 0 && type->pointer_count != 0) || type->size > ((size_t)1 << 30)) {
    vm_fatal("type %s: %zu bytes is no size for an object", type->name ? type->name : "(no name)", type->size);
  }
  for (size_t i = 0; i < type->pointer_count; i++) {
    size_t at = type->pointers[i] & ~(size_t)GC_SLOT_TRANSIENT;
    if (at % 8 != 0 || type->size % 8 != 0 || type->size < 8 || at > type->size - 8) {
      vm_fatal("type %s: pointer field %zu at offset %zu is not an aligned word inside the object's %zu bytes", type->name, i, at, type->size);
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
    size_t at = fixed->offsets[i] & ~(size_t)(GC_FIXED_PLAIN | GC_SLOT_TRANSIENT);
    if (at % 8 != 0 || bytes < 8 || at > bytes - 8) {
      vm_fatal("type %s: slot %zu at offset %zu is not an aligned word before the elements, which begin at %zu", type->name, i - 1, at, bytes);
    }
  }
}

// Of a flexible array, whose elements another type may describe.
static veil_type element_of(const veil_type *type) {
  // Not what is veil's: another thread may be registering the type.
  veil_type element = {.name = type->name, .size = type->size, .pointers = type->pointers, .pointer_count = type->pointer_count, .trace = type->trace, .encoding = type->encoding,
                       .fixed = type->fixed, .sort = at32_load(&type->sort) & GC_SORT_TRANSIENT};
  const veil_type *other = type->fixed != NULL ? type->fixed->element : NULL;
  if (other != NULL) {
    if (other->trace != NULL || other->fixed != NULL || other->size != type->size) { // whether it is transient says nothing of its elements in another
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
    dense = dense && (type->pointers[i] & ~(size_t)GC_SLOT_TRANSIENT) == i * 8;
  }
  return dense ? GC_LAYOUT_DENSE : GC_LAYOUT_MAP;
}

static bool same_layout(const gc_type *a, const gc_type *b) {
  return strcmp(a->name, b->name) == 0 && a->size == b->size && a->layout == b->layout && a->trace == b->trace &&
         a->count == b->count && a->tagged == b->tagged && a->low_tags == b->low_tags && a->high_min == b->high_min &&
         a->high_max == b->high_max &&
         a->fixed == b->fixed && a->fixed_count == b->fixed_count && a->transient == b->transient &&
         (a->count + a->fixed_count == 0 || memcmp(a->declared, b->declared, (a->count + a->fixed_count) * sizeof *a->declared) == 0);
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

static size_t known_bytes(const veil_type *type) {
  return sizeof(struct known) + 3 * (type->pointer_count + (type->fixed != NULL ? type->fixed->count - 1 : 0)) * sizeof(size_t) + strlen(type->name) + 1;
}

// Offsets without what says that a slot is transient, for which there are lists: both into `made`, which has room for them.
static void slots_set(struct known *made, const size_t *offsets, size_t count, const size_t *fixed_offsets, size_t fixed_count) {
  gc_type *type = &made->type;
  size_t *declared = made->offsets + count + fixed_count, *transient = declared + count + fixed_count;
  type->count = (uint32_t)count;
  type->offsets = made->offsets;
  type->fixed_count = (uint32_t)fixed_count;
  type->fixed_offsets = made->offsets + count;
  type->declared = declared;
  type->transient_offsets = transient;
  for (size_t i = 0; i < count; i++) {
    declared[i] = offsets[i];
    made->offsets[i] = offsets[i] & ~(size_t)GC_SLOT_TRANSIENT;
    if (offsets[i] & GC_SLOT_TRANSIENT) {
      transient[type->transient_count++] = made->offsets[i];
    }
  }
  type->transient_fixed_offsets = transient + type->transient_count;
  for (size_t i = 0; i < fixed_count; i++) {
    declared[count + i] = fixed_offsets[i];
    made->offsets[count + i] = fixed_offsets[i] & ~(size_t)GC_SLOT_TRANSIENT;
    if (fixed_offsets[i] & GC_SLOT_TRANSIENT) {
      transient[type->transient_count + type->transient_fixed_count++] = fixed_offsets[i] & ~(size_t)(GC_SLOT_TRANSIENT | GC_FIXED_PLAIN);
    }
  }
}

static struct known *known_make(const veil_type *type, struct known *made) {
  size_t count = type->pointer_count, fixed_count = type->fixed != NULL ? type->fixed->count - 1 : 0, name_bytes = strlen(type->name) + 1;
  made->type = (gc_type){
      .name = memcpy(made->offsets + 3 * (count + fixed_count), type->name, name_bytes),
      .size = (uint32_t)type->size,
      .cell = (uint32_t)gc_round_cell(8 + type->size),
      .layout = layout_of(type),
      .trace = (gc_trace_fn *)type->trace,
      .fixed = type->fixed != NULL ? (uint32_t)type->fixed->offsets[0] : 0,
      .transient = (type->sort & GC_SORT_TRANSIENT) != 0,
      .dense = count == 1 && type->size == 8 && type->encoding == NULL,
  };
  slots_set(made, type->pointers, count, type->fixed != NULL ? type->fixed->offsets + 1 : NULL, fixed_count);
  if (type->encoding != NULL) {
    made->type.tagged = true;
    made->type.low_tags = type->encoding->low_tags;
    made->type.high_min = type->encoding->high_min;
    made->type.high_max = type->encoding->high_max;
  }
  return made;
}

static struct known *known_find(const gc_type *type) {
  for (struct known *k = known; k != NULL; k = k->next) {
    if (same_layout(&k->type, type)) {
      return k;
    }
  }
  return NULL;
}

static void known_add(struct known *made, unsigned id) {
  made->id = id;
  made->next = known;
  known = made;
}

// The entry of this layout: another, or now this one.
static struct known *known_find_or_add(struct known *made) {
  struct known *found = known_find(&made->type);
  if (found != NULL) {
    return found;
  }
  unsigned id = gc_type_register(&made->type);
  if (id == 0) {
    vm_fatal("type %s: all of %d types are taken", made->type.name, (int)GC_TYPES);
  }
  known_add(made, id);
  return made;
}

// Under the lock: from here on the program's objects are of it.
static void type_bind(veil_type *type, const struct known *found) {
  if (*(volatile uint64_t *)&type->array_header == 0) {
    bool leaf = found->type.layout == GC_LAYOUT_LEAF;
    uint64_t transient = found->type.transient ? GC_TRANSIENT : 0;
    at32_store(&type->sort, gc_header_sort((leaf ? GC_LEAF : 0) | transient));
    at_store_release((AO_t volatile *)&type->array_header, gc_header_make(found->id, true, leaf) | transient);
    if (type->fixed == NULL) { // else an object without a length is none: the inline half asks the slow one
      // Last: a thread that sees the header sees the rest.
      at_store_release((AO_t volatile *)&type->header, gc_header_make(found->id, false, leaf) | transient);
    }
  }
}

static veil_type checked(const veil_type *type) {
  veil_type described = element_of(type);
  type_check(&described);
  if (type->fixed != NULL) {
    fixed_check(&described);
  }
  return described;
}

void rt_type_register(rt_thread *self, veil_type *type) {
  veil_type described = checked(type);
  struct known *made = known_make(&described, description_take(known_bytes(&described), type->name));
  rt_enter(self); // stopped here, we would keep others from allocating
  pthread_mutex_lock(&types_lock);
  struct known *found = known_find_or_add(made);
  type_bind(type, found);
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

// ---- Types that came with a heap, of another process. The caller may be attached to other heaps: signals are blocked while the lock is held, so that none of them stops it there; and nothing is asked of malloc, whose locks a stopped thread may hold.

// A description as a type of our own; NULL: it cannot be. `trace`: of whom it is known.
static struct known *described_make(const veil_type_described *d, gc_trace_fn *trace) {
  size_t count = d->slot_count, fixed_count = d->fixed_slot_count, name_bytes = strlen(d->name) + 1;
  struct known *made = calloc(1, sizeof *made + 3 * (count + fixed_count) * sizeof made->offsets[0] + name_bytes);
  if (made == NULL) {
    return NULL;
  }
  bool sized = (d->flags & RT_TYPE_SIZED) != 0;
  made->type = (gc_type){
      .name = memcpy(made->offsets + 3 * (count + fixed_count), d->name, name_bytes),
      .size = (uint32_t)d->size,
      .cell = (uint32_t)(sized ? d->size + GC_UNIT : gc_round_cell(8 + d->size)),
      .layout = (gc_layout)(d->flags & RT_TYPE_LAYOUT),
      .tagged = (d->flags & RT_TYPE_TAGGED) != 0,
      .low_tags = (uint8_t)d->encoding,
      .high_min = (uint16_t)(d->encoding >> 16),
      .high_max = (uint16_t)(d->encoding >> 32),
      .trace = trace,
      .fixed = (uint32_t)d->fixed,
      .transient = (d->flags & RT_TYPE_TRANSIENT) != 0,
      .dense = count == 1 && d->size == 8 && (d->flags & RT_TYPE_TAGGED) == 0,
      .sized = sized,
  };
  slots_set(made, (const size_t *)d->slots, count, (const size_t *)d->fixed_slots, fixed_count);
  return made;
}

static bool slots_fit(const uint64_t *slots, size_t count, uint64_t bytes, uint64_t tags) {
  for (size_t i = 0; i < count; i++) {
    if ((slots[i] & ~tags) % 8 != 0 || bytes < 8 || (slots[i] & ~tags) > bytes - 8) {
      return false;
    }
  }
  return true;
}

static bool described_fits(const veil_type_described *d) {
  unsigned layout = d->flags & RT_TYPE_LAYOUT;
  bool slots = d->slot_count != 0, fixed = d->fixed_slot_count != 0;
  if (d->name == NULL || d->number < GC_FIRST_TYPE || d->number >= GC_TYPES || (d->flags & ~(unsigned)RT_TYPE_FLAGS) != 0 || layout > GC_LAYOUT_FLEXIBLE ||
      d->size > (uint64_t)UINT32_MAX - 64 || d->fixed > (uint64_t)1 << 30 || (!(d->flags & RT_TYPE_TAGGED) && d->encoding != 0) ||
      d->slot_count > d->size / 8 || d->fixed_slot_count > d->fixed / 8 || !slots_fit(d->slots, d->slot_count, d->size, GC_SLOT_TRANSIENT) ||
      !slots_fit(d->fixed_slots, d->fixed_slot_count, d->fixed, GC_FIXED_PLAIN | GC_SLOT_TRANSIENT)) {
    return false;
  }
  if (!(d->flags & RT_TYPE_SIZED) && d->size > (uint64_t)1 << 30) {
    return false;
  }
  if (d->flags & RT_TYPE_SIZED) {
    return layout == GC_LAYOUT_LEAF && !(d->flags & RT_TYPE_TRANSIENT) && d->size % GC_UNIT == 0 && d->size != 0 && !slots && d->fixed == 0;
  }
  switch ((gc_layout)layout) {
  case GC_LAYOUT_LEAF:
    return !slots && !fixed;
  case GC_LAYOUT_DENSE:
    return slots && !fixed && d->slot_count * 8 == d->size && !(d->flags & RT_TYPE_TAGGED);
  case GC_LAYOUT_MAP:
    return slots && !fixed && !(d->flags & RT_TYPE_TAGGED);
  case GC_LAYOUT_TAGGED:
    return slots && !fixed && (d->flags & RT_TYPE_TAGGED);
  default:
    return true;
  }
}

// What is different; or false.
static bool differs(const gc_type *was, const gc_type *is, char *to, size_t bytes) {
  static const char *const layouts[] = {"no slots", "slots alone", "slots at offsets", "tagged slots", "a trace callback", "a part before its elements"};
  if (was->size != is->size) {
    snprintf(to, bytes, "has %u bytes there, and %u here", was->size, is->size);
  } else if (was->fixed != is->fixed) {
    snprintf(to, bytes, "has its elements from byte %u on there, and from %u here", was->fixed, is->fixed);
  } else if (was->count != is->count) {
    snprintf(to, bytes, "has %u slots there, and %u here", was->count, is->count);
  } else if (was->fixed_count != is->fixed_count) {
    snprintf(to, bytes, "has %u slots before its elements there, and %u here", was->fixed_count, is->fixed_count);
  } else if (was->tagged != is->tagged || was->low_tags != is->low_tags || was->high_min != is->high_min || was->high_max != is->high_max) {
    snprintf(to, bytes, "has slots that decode otherwise here");
  } else if (was->transient != is->transient) {
    snprintf(to, bytes, was->transient ? "is transient there, and not here" : "is transient here, and not there");
  } else if (was->layout != is->layout) {
    snprintf(to, bytes, "has %s there, and %s here", layouts[was->layout], layouts[is->layout]);
  } else {
    for (uint32_t i = 0; i < was->count + was->fixed_count; i++) {
      bool fixed = i >= was->count;
      size_t at = fixed ? was->fixed_offsets[i - was->count] : was->offsets[i], now = fixed ? is->fixed_offsets[i - was->count] : is->offsets[i];
      if (at != now) {
        snprintf(to, bytes, "has slot %u%s at byte %zu there, and at %zu here", fixed ? i - was->count : i, fixed ? " before its elements" : "",
                 at & ~(size_t)GC_FIXED_PLAIN, now & ~(size_t)GC_FIXED_PLAIN);
        return true;
      }
      bool transient = (was->declared[i] & GC_SLOT_TRANSIENT) != 0;
      if (transient != ((is->declared[i] & GC_SLOT_TRANSIENT) != 0)) {
        snprintf(to, bytes, "has slot %u%s at byte %zu, which is transient %s", fixed ? i - was->count : i, fixed ? " before its elements" : "", at & ~(size_t)GC_FIXED_PLAIN,
                 transient ? "there, and not here" : "here, and not there");
        return true;
      }
    }
    return false;
  }
  return true;
}

// A type of the program's as one of our own; NULL, with the error set: no memory.
static struct known *known_of(const char *source, const veil_type *type) {
  veil_type described = checked(type);
  struct known *made = calloc(1, known_bytes(&described));
  if (made == NULL) {
    rt_error_set("%s: no memory for the program's type %s", source, type->name);
    return NULL;
  }
  return known_make(&described, made);
}

// The callback of the other, if that is of this name, and as described.
static gc_trace_fn *trace_of(const struct known *made, const struct known *other) {
  char unused[8];
  return strcmp(made->type.name, other->type.name) == 0 && !differs(&made->type, &other->type, unused, sizeof unused) ? other->type.trace : NULL;
}

// Among the program's types; NULL: there is none. False with the error set: no memory.
static bool trace_find(const rt_retyping *r, const struct known *made, gc_trace_fn **trace) {
  *trace = NULL;
  for (size_t i = 0; i < r->program_count && *trace == NULL; i++) {
    struct known *theirs = known_of(r->source, r->program[i]);
    if (theirs == NULL) {
      return false;
    }
    *trace = trace_of(made, theirs);
    free(theirs);
  }
  return true;
}

static gc_trace_fn *trace_find_locked(const struct known *made) {
  gc_trace_fn *trace = NULL;
  for (struct known *k = known; k != NULL && trace == NULL; k = k->next) {
    trace = trace_of(made, k);
  }
  return trace;
}

// Under the lock. The number by which objects of it are named from now on; 0: all are taken. `*mine`: the description is the process's from now on.
static unsigned described_place_locked(struct known *made, unsigned number, bool *mine) {
  size_t cell = made->type.cell;
  unsigned kind = made->type.sized ? sized_kind(&cell) : 0;
  bool standard = made->type.sized && cell == made->type.cell && kind <= SIZED_KINDS;
  struct known *found = made->type.sized ? NULL : known_find(&made->type);
  unsigned there = found != NULL ? found->id : standard ? gc_header_type(at_load(&sized_header[kind])) : 0;
  const gc_type *type = there != 0 ? gc_type_at(there) : &made->type;
  unsigned id = gc_type_at(number) == type ? number : 0;
  *mine = there == 0;
  if (id == 0) {
    id = gc_type_register_at(number, type) ? number : there != 0 ? there : gc_type_register(type);
  }
  if (*mine && id != 0 && !made->type.sized) {
    known_add(made, id);
  } else if (*mine && id != 0 && standard) {
    at_store_release(&sized_header[kind], gc_header_make(id, false, true));
  }
  return id;
}

bool rt_type_restore(rt_retyping *r, const veil_type_described *d) {
  if (!described_fits(d) || r->number[d->number] != 0) {
    rt_error_set("%s: its type number %u, %s, is impossible, or is there twice", r->source, d->number, d->name != NULL ? d->name : "without a name");
    return false;
  }
  struct known *made = described_make(d, NULL);
  if (made == NULL) {
    rt_error_set("%s: no memory for its type %s", r->source, d->name);
    return false;
  }
  bool traced = made->type.layout == GC_LAYOUT_TRACE, mine = false;
  gc_trace_fn *trace = NULL;
  if (traced && !trace_find(r, made, &trace)) {
    free(made);
    return false;
  }
  sigset_t saved;
  os_signals_block(&saved);
  pthread_mutex_lock(&types_lock);
  made->type.trace = traced && trace == NULL ? trace_find_locked(made) : trace;
  unsigned id = traced && made->type.trace == NULL ? 0 : described_place_locked(made, d->number, &mine);
  pthread_mutex_unlock(&types_lock);
  os_signals_restore(&saved);
  if (id == 0) {
    rt_error_set(traced ? "%s: its type %s has a trace callback, and the program has not named such a type" : "%s: no number is left for its type %s", r->source, d->name);
    free(made);
    return false;
  }
  if (!mine) {
    free(made);
  }
  r->number[d->number] = (uint16_t)id;
  r->same = r->same && id == d->number;
  return true;
}

// The program's type has another layout than all of that name there.
static bool program_differs(const rt_retyping *r, const struct known *theirs, const veil_type_described *described, size_t count) {
  char text[160] = "";
  for (size_t i = 0; i < count; i++) {
    if ((described[i].flags & RT_TYPE_SIZED) || strcmp(described[i].name, theirs->type.name) != 0) {
      continue;
    }
    const gc_type *was = gc_type_at(r->number[described[i].number]);
    if (same_layout(was, &theirs->type)) {
      return false;
    }
    if (text[0] == 0 && !differs(was, &theirs->type, text, sizeof text)) {
      snprintf(text, sizeof text, "has another trace callback here than one that is known already");
    }
  }
  if (text[0] != 0) {
    rt_error_set("%s: type %s %s", r->source, theirs->type.name, text);
  }
  return text[0] != 0;
}

static bool is_named(const veil_type *type, const veil_type_described *described, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (!(described[i].flags & RT_TYPE_SIZED) && strcmp(described[i].name, type->name) == 0) {
      return true;
    }
  }
  return false;
}

bool rt_type_match(const rt_retyping *r, veil_type *type, const veil_type_described *described, size_t count) {
  if (!is_named(type, described, count)) {
    return true; // registered when it is first used
  }
  struct known *made = known_of(r->source, type);
  if (made == NULL || program_differs(r, made, described, count)) {
    free(made);
    return false;
  }
  sigset_t saved;
  os_signals_block(&saved);
  pthread_mutex_lock(&types_lock);
  struct known *found = known_find_or_add(made);
  type_bind(type, found);
  pthread_mutex_unlock(&types_lock);
  os_signals_restore(&saved);
  if (found != made) {
    free(made);
  }
  return true;
}
