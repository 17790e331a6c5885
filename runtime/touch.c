// SPDX-License-Identifier: MIT
// touch.c: memory that a system call uses: pinned, open, and never veiled while it is in it.
//
// Ranges are in a table of the heap that the collector reads without a lock; begin and end run in the owning thread
// under touch_lock, which claims of services take too.

#include "runtime/dump_format.h"
#include "runtime/runtime.h"

bool rt_world_touched(void *arg, size_t page) {
  veil_heap *heap = arg;
  uint64_t high = at_load_acquire(&heap->touch_high);
  for (uint64_t i = 0; i < high; i++) {
    uintptr_t base = at_load_acquire(&heap->touched[i].base);
    if (base != 0 && page >= gc_page_at(heap->gc, base) && page <= gc_page_at(heap->gc, at_load(&heap->touched[i].limit) - 1)) {
      return true;
    }
  }
  return false;
}

void rt_touch_flip(veil_heap *heap, gc_flip *flip) {
  gc_flip_note(flip, DUMP_BY_SYSTEM_CALL, 0, 0);
  for (uint64_t i = 0; i < at_load(&heap->touch_high); i++) {
    uintptr_t base = at_load(&heap->touched[i].base);
    if (base != 0) {
      gc_flip_touched(flip, base, at_load(&heap->touched[i].limit));
    }
  }
}

static int slot_find_locked(veil_heap *heap) {
  for (int i = 0; i < RT_TOUCH_SLOTS; i++) {
    if (at_load(&heap->touched[i].base) == 0) {
      return i;
    }
  }
  return -1;
}

RT_EXPORT veil_status veil_touch(veil_thread *open, void *address, size_t bytes, bool write) {
  rt_thread *self = rt_self_use(open, "veil_touch");
  veil_heap *heap = self->heap;
  uintptr_t base = (uintptr_t)address;
  gc_cell cell;
  uint64_t header;
  veil_status status = VEIL_OK;
  sigset_t saved;
  rt_enter(self);
  os_signals_block(&saved);              // pages are held in here
  pthread_mutex_lock(&heap->touch_lock); // no claim is laid from here on
  if (bytes == 0 || bytes > heap->gc->span || !gc_in_heap(heap->gc, base) ||
      !gc_find_cell(heap->gc, base + 1, &cell, &header) || gc_cell_ref(heap->gc, cell, header).view > base ||
      base + bytes > gc_cell_ref(heap->gc, cell, header).view + gc_data_bytes(cell, header)) {
    rt_error_set("veil_touch: [%p, +%zu) is not within one object", address, bytes);
    status = VEIL_INVALID;
  } else {
    int slot = self->touch_count < RT_TOUCHES ? slot_find_locked(heap) : -1;
    if (slot < 0) {
      rt_error_set("veil_touch: %d ranges of this thread, or %d of the heap, are touched already", RT_TOUCHES,
                   RT_TOUCH_SLOTS);
      status = VEIL_BUSY;
    } else {
      gc_touch_pin(heap->gc, base, base + bytes);
      at_store(&heap->touched[slot].limit, base + bytes);
      at_store_release(&heap->touched[slot].base, base);
      if ((uint64_t)slot >= at_load(&heap->touch_high)) {
        at_store_release(&heap->touch_high, (uint64_t)slot + 1);
      }
      self->touches[self->touch_count++] = (uint16_t)slot;
      gc_touch_open(heap->gc, base, base + bytes, write);
    }
  }
  pthread_mutex_unlock(&heap->touch_lock);
  os_signals_restore(&saved);
  rt_leave(self);
  return status;
}

RT_EXPORT void veil_untouch(veil_thread *open, void *address) {
  rt_thread *self = rt_self_use(open, "veil_untouch");
  veil_heap *heap = self->heap;
  for (unsigned i = 0; i < self->touch_count; i++) {
    rt_touch *touch = &heap->touched[self->touches[i]];
    if (at_load(&touch->base) == (uintptr_t)address) {
      rt_enter(self);
      pthread_mutex_lock(&heap->touch_lock);
      at_store_release(&touch->base, 0);
      self->touches[i] = self->touches[--self->touch_count];
      pthread_mutex_unlock(&heap->touch_lock);
      rt_leave(self);
      return;
    }
  }
  vm_fatal("veil_untouch: %p is not touched by this thread", address);
}
