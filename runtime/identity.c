// SPDX-License-Identifier: MIT
// identity.c: what tables keyed by objects need: hashes that stay (gc/hash.c), and whether addresses have.

#include "veil/identity.h"
#include "runtime/runtime.h"

RT_EXPORT uint64_t veil_hash(veil_thread *open, const void *object) {
  rt_thread *self = rt_self_steady(open, "veil_hash");
  if (object == NULL) {
    vm_fatal("veil_hash: there is no object");
  }
  rt_object_check(self->heap->gc, object, "veil_hash");
  rt_enter(self);
  uint64_t hash = gc_hash(self->heap->gc, (uintptr_t)object);
  rt_leave(self);
  return hash;
}

RT_EXPORT uint64_t veil_moves(veil_heap *heap) {
  // A flip stands for the copies of its cycle, too: whoever reads an address after it reads the copy's.
  return (uint64_t)at32_load((uint32_t volatile *)&heap->gc->cycle) + at_load(&heap->gc->minor_cycles);
}
