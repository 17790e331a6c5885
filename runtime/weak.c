// SPDX-License-Identifier: MIT
// weak.c: weak references and handles. What they do in a cycle: gc/links.c.
//
// A weak reference is a leaf object that holds the number of its link; a handle is the address of its link. Links are
// changed in critical sections, so no stop sees one half written; objects are looked at outside of them, for that may trap.

#include "veil/weak.h"
#include "gc/links.h"
#include "runtime/retype.h"

struct veil_weak {
  uint64_t link;
};

veil_type rt_weak_type = {"veil_weak", sizeof(struct veil_weak), NULL, 0, NULL, NULL, NULL, 0, 0, 0};

// As the program would read it: what a service has put aside comes back.
static uint64_t word_before(uintptr_t view, size_t bytes) { return at_load((AO_t volatile *)(view - bytes)); }

static bool is_header(uint64_t header, uint64_t array) {
  return gc_header_type(header) >= GC_FIRST_TYPE && (header & GC_ARRAY) == array && gc_type_at(gc_header_type(header)) != NULL;
}

// Whether an object starts there, for all that can be seen.
static bool is_object(const gc_heap *gc, const void *object) {
  uintptr_t view = (uintptr_t)object;
  return gc_in_heap(gc, view) && view - gc->base >= 16 && view % 8 == 0 && gc_space(gc, gc_block_of(gc, view)) != 0 &&
         (is_header(word_before(view, 8), 0) || is_header(word_before(view, 16), GC_ARRAY));
}

void rt_object_check(const gc_heap *gc, const void *object, const char *function) {
  if (object != NULL && !is_object(gc, object)) {
    vm_fatal("%s: %p is not the start of an object of this heap", function, object);
  }
}

bool rt_is_of_type(const gc_heap *gc, const void *object, const veil_type *type) {
  return is_object(gc, object) &&
         gc_type_at(gc_header_type(word_before((uintptr_t)object, 8))) == gc_type_at(gc_header_type(at_load((AO_t volatile *)&type->header))); // which may have several numbers (type.c)
}

uint32_t rt_link_new(rt_thread *self, gc_link_kind kind, void *object, uintptr_t owner, uintptr_t data, const char *function) {
  gc_heap *gc = self->heap->gc;
  rt_object_check(gc, object, function);
  rt_enter(self);
  uint32_t link = gc_link_new(gc, kind, (uintptr_t)object, owner, data);
  rt_leave(self);
  if (link == GC_NONE) {
    rt_error_set("%s: there are %u weak references, finalizers, handles and tables already", function, gc->links.limit);
  }
  return link;
}

// ---- Weak references.

RT_EXPORT veil_weak *veil_weak_new(veil_thread *open, void *object) {
  rt_thread *self = rt_self_steady(open, "veil_weak_new");
  veil_weak *weak = veil_alloc(open, &rt_weak_type, sizeof *weak);
  if (weak == NULL) {
    return NULL;
  }
  uint32_t link = rt_link_new(self, GC_LINK_WEAK, object, (uintptr_t)weak, 0, "veil_weak_new");
  weak->link = link;
  return link != GC_NONE ? weak : NULL;
}

static uint32_t weak_link(rt_thread *self, const veil_weak *weak, const char *function) {
  const gc_heap *gc = self->heap->gc;
  if (weak == NULL || !rt_is_of_type(gc, weak, &rt_weak_type) || gc_link_is(gc, (uint32_t)weak->link) != GC_LINK_WEAK) {
    vm_fatal("%s: %p is no weak reference of this heap", function, (const void *)weak);
  }
  return (uint32_t)weak->link;
}

RT_EXPORT void *veil_weak_get(veil_thread *open, veil_weak *weak) {
  rt_thread *self = rt_self_steady(open, "veil_weak_get");
  uint32_t link = weak_link(self, weak, "veil_weak_get");
  rt_enter(self);
  void *object = (void *)gc_link_read(self->heap->gc, link);
  rt_leave(self);
  __asm__ volatile("" ::"r"(weak)); // held until here, so the link was its own
  return object;
}

RT_EXPORT void veil_weak_set(veil_thread *open, veil_weak *weak, void *object) {
  rt_thread *self = rt_self_steady(open, "veil_weak_set");
  uint32_t link = weak_link(self, weak, "veil_weak_set");
  rt_object_check(self->heap->gc, object, "veil_weak_set");
  rt_enter(self);
  gc_link_write(self->heap->gc, link, (uintptr_t)object);
  rt_leave(self);
  __asm__ volatile("" ::"r"(weak)); // as above
}

// ---- Handles.

static uint32_t handle_link(rt_thread *self, const veil_handle *handle, const char *function) {
  const gc_links *links = &self->heap->gc->links;
  size_t offset = (size_t)((uintptr_t)handle - (uintptr_t)links->at);
  if (offset % sizeof(gc_link) != 0 || offset / sizeof(gc_link) >= links->limit ||
      gc_link_is(self->heap->gc, (uint32_t)(offset / sizeof(gc_link))) != GC_LINK_HANDLE) {
    vm_fatal("%s: %p is no handle of this heap, or was dropped", function, (const void *)handle);
  }
  return (uint32_t)(offset / sizeof(gc_link));
}

RT_EXPORT veil_handle *veil_handle_new(veil_thread *open, void *object) {
  rt_thread *self = rt_self_steady(open, "veil_handle_new");
  uint32_t link = rt_link_new(self, GC_LINK_HANDLE, object, 0, 0, "veil_handle_new");
  return link != GC_NONE ? (veil_handle *)&self->heap->gc->links.at[link] : NULL;
}

RT_EXPORT void *veil_handle_get(veil_thread *open, const veil_handle *handle) {
  rt_thread *self = rt_self_steady(open, "veil_handle_get");
  rt_enter(self);
  void *object = (void *)gc_link_read(self->heap->gc, handle_link(self, handle, "veil_handle_get"));
  rt_leave(self);
  return object;
}

RT_EXPORT void veil_handle_set(veil_thread *open, veil_handle *handle, void *object) {
  rt_thread *self = rt_self_steady(open, "veil_handle_set");
  rt_object_check(self->heap->gc, object, "veil_handle_set");
  rt_enter(self);
  gc_link_write(self->heap->gc, handle_link(self, handle, "veil_handle_set"), (uintptr_t)object);
  rt_leave(self);
}

RT_EXPORT void veil_handle_drop(veil_thread *open, veil_handle *handle) {
  rt_thread *self = rt_self_steady(open, "veil_handle_drop");
  rt_enter(self);
  if (!gc_handle_drop(self->heap->gc, handle_link(self, handle, "veil_handle_drop"))) {
    vm_fatal("veil_handle_drop: %p is dropped by two threads", (const void *)handle);
  }
  rt_leave(self);
}
