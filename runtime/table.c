// SPDX-License-Identifier: MIT
// table.c: weak tables, as a program sees them. Their entries: gc/table.c.
//
// A table is a leaf object that holds its number. Entries are changed in critical sections, so no stop sees one half
// written; objects are looked at outside of them, for that may trap.

#include "veil/table.h"
#include "gc/table.h"
#include "runtime/retype.h"

struct veil_table {
  uint64_t number;
};

veil_type rt_table_type = {"veil_table", sizeof(struct veil_table), NULL, 0, NULL, NULL, NULL, 0, 0, 0};

// Held until here, so that its number was its own.
#define KEEP(object) __asm__ volatile("" ::"r"(object))

RT_EXPORT veil_table *veil_table_new(veil_thread *open, veil_table_kind kind) {
  rt_thread *self = rt_self_steady(open, "veil_table_new");
  if (kind < VEIL_WEAK_KEYS || kind > VEIL_WEAK_BOTH) {
    vm_fatal("veil_table_new: %d is no kind of table", (int)kind);
  }
  veil_table *table = veil_alloc(open, &rt_table_type, sizeof *table);
  if (table == NULL) {
    return NULL;
  }
  rt_enter(self);
  uint32_t number = gc_table_new(self->heap->gc, (gc_table_kind)kind, (uintptr_t)table);
  rt_leave(self);
  table->number = number;
  if (number == GC_NONE) {
    rt_error_set("veil_table_new: there are too many tables, or %u weak references, finalizers, handles and tables", self->heap->gc->links.limit);
    return NULL;
  }
  return table;
}

static uint32_t number_of(rt_thread *self, const veil_table *table, const char *function) {
  const gc_heap *gc = self->heap->gc;
  if (table == NULL || !rt_is_of_type(gc, table, &rt_table_type) || !gc_table_is(gc, (uint32_t)table->number)) {
    vm_fatal("%s: %p is no weak table of this heap", function, (const void *)table);
  }
  return (uint32_t)table->number;
}

static void part_check(rt_thread *self, const void *object, const char *what, const char *function) {
  if (object == NULL) {
    vm_fatal("%s: there is no %s", function, what);
  }
  rt_object_check(self->heap->gc, object, function);
}

RT_EXPORT void *veil_table_get(veil_thread *open, veil_table *table, void *key) {
  rt_thread *self = rt_self_steady(open, "veil_table_get");
  uint32_t number = number_of(self, table, "veil_table_get");
  part_check(self, key, "key", "veil_table_get");
  rt_enter(self);
  void *value = (void *)gc_table_get(self->heap->gc, number, (uintptr_t)key);
  rt_leave(self);
  KEEP(table);
  KEEP(key);
  return value;
}

RT_EXPORT veil_status veil_table_put(veil_thread *open, veil_table *table, void *key, void *value) {
  rt_thread *self = rt_self_steady(open, "veil_table_put");
  uint32_t number = number_of(self, table, "veil_table_put");
  part_check(self, key, "key", "veil_table_put");
  part_check(self, value, "value", "veil_table_put");
  rt_enter(self);
  bool put = gc_table_put(self->heap->gc, number, (uintptr_t)key, (uintptr_t)value);
  rt_leave(self);
  KEEP(table);
  KEEP(key);
  KEEP(value);
  if (!put) {
    rt_error_set("veil_table_put: there are %u entries of weak tables already", self->heap->gc->weak.limit);
  }
  return put ? VEIL_OK : VEIL_NO_MEMORY;
}

RT_EXPORT bool veil_table_remove(veil_thread *open, veil_table *table, void *key) {
  rt_thread *self = rt_self_steady(open, "veil_table_remove");
  uint32_t number = number_of(self, table, "veil_table_remove");
  part_check(self, key, "key", "veil_table_remove");
  rt_enter(self);
  bool removed = gc_table_remove(self->heap->gc, number, (uintptr_t)key);
  rt_leave(self);
  KEEP(table);
  KEEP(key);
  return removed;
}

RT_EXPORT size_t veil_table_count(veil_thread *open, veil_table *table) {
  rt_thread *self = rt_self_steady(open, "veil_table_count");
  size_t count = gc_table_count(self->heap->gc, number_of(self, table, "veil_table_count"));
  KEEP(table);
  return count;
}

// Up to 64 entries to where they belong. False: that was all.
static bool entries_some(rt_thread *self, uint32_t number, gc_table_list *list, void **to, size_t room, size_t *filled) {
  gc_entry some[64]; // on the stack, so held
  rt_enter(self);
  size_t count = gc_table_list_some(self->heap->gc, number, list, some, sizeof some / sizeof *some);
  rt_leave(self);
  for (size_t i = 0; i < count && *filled < room; i++, ++*filled) {
    to[2 * *filled] = (void *)some[i].key;
    to[2 * *filled + 1] = (void *)some[i].value;
  }
  return list->more;
}

RT_EXPORT void **veil_table_entries(veil_thread *open, veil_table *table) {
  rt_thread *self = rt_self_steady(open, "veil_table_entries");
  uint32_t number = number_of(self, table, "veil_table_entries");
  size_t room = gc_table_count(self->heap->gc, number), filled = 0;
  void **entries = veil_new_pointers(open, 2 * room);
  if (entries == NULL) {
    return NULL;
  }
  gc_table_list list = {false, 0};
  while (entries_some(self, number, &list, entries, room, &filled)) { // to the end, for it leaves a mark where it stops
  }
  KEEP(table);
  return entries;
}
