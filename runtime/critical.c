// SPDX-License-Identifier: MIT
// critical.c: sections of the program's in which allocation neither collects nor waits.
//
// Such a section is a critical section like those of the slow paths (rt.critical), but the program's code runs in it.
// Memory for all that may be allocated is set aside before it begins: a stop that came between could take it. Owning
// thread.

#include "veil/critical.h"
#include "gc/alloc.h"
#include "runtime/runtime.h"

enum {
  // What is left free of a page or block is less than what the object takes for which it did not suffice, in the next
  // one: so of all that is left half at least is filled. And so it is of the blocks of large objects.
  BLOCK_LEAST = (GC_BLOCK - 256) / 2,
  LARGE_LEAST = GC_BLOCK / 2,
  LANES = 2 * GC_SORTS,
};

void rt_section_refuse_slow(const char *function) {
  vm_fatal("%s: in a critical section (veil_critical_begin), where only allocation is allowed and what does not wait",
           function);
}

static size_t used_now(const rt_thread *self) {
  const rt_section *section = &self->section;
  size_t used = section->used;
  for (unsigned sort = 0; sort < GC_SORTS; sort++) {
    used += (size_t)(self->open.tlab[sort].free - section->from[sort]);
  }
  return used;
}

void rt_section_buffer(rt_thread *self, unsigned sort, const char *base) {
  if (self->section.depth != 0) {
    self->section.used += (size_t)(self->open.tlab[sort].free - self->section.from[sort]);
    self->section.from[sort] = base;
  }
}

void rt_section_use(rt_thread *self, const gc_wanted *want) {
  rt_section *section = &self->section;
  size_t used = used_now(self), align = gc_header_align(want->header), most = want->cell + align - GC_UNIT;
  if (used > section->bytes || most > section->bytes - used) {
    vm_fatal("a critical section has reserved %zu bytes (veil_critical_begin), of which %zu are used: an object of %zu "
             "is too much",
             section->bytes, used, most);
  }
  if (want->cell > GC_SMALL_MAX || align == GC_ALIGN_MOST) {
    section->used += most; // others are told by the buffers
  }
}

static size_t large_blocks(size_t bytes) { return bytes > GC_MEDIUM_MAX ? bytes / LARGE_LEAST + 2 : 0; }

// A block for each kind of object whose place has less than all of it, and those that are filled.
static bool room_take(rt_thread *self, void *arg) {
  size_t bytes = *(size_t *)arg, blocks = bytes / BLOCK_LEAST;
  for (unsigned sort = 0; sort < self->section.sorts; sort++) {
    blocks += (size_t)(self->open.tlab[sort].limit - self->open.tlab[sort].free) < bytes;
    const gc_alloc_lane *medium = &self->medium[sort];
    blocks += bytes > GC_SMALL_MAX && (medium->block == GC_NONE || medium->cursor + bytes > GC_BLOCK - 8);
  }
  return gc_reserve_take(self->heap->gc, &self->section.reserve, blocks, large_blocks(bytes));
}

static void lanes_set(rt_thread *self, gc_reserve *reserve) {
  for (unsigned sort = 0; sort < self->section.sorts; sort++) {
    self->lane[sort].reserve = self->medium[sort].reserve = reserve;
  }
}

static void nest(rt_thread *self, size_t bytes) {
  rt_section *section = &self->section;
  size_t used = used_now(self);
  if (used > section->bytes || bytes > section->bytes - used) {
    vm_fatal("veil_critical_begin: %zu bytes, in a section that has reserved %zu, of which %zu are used", bytes,
             section->bytes, used);
  }
  section->depth++;
}

RT_EXPORT veil_status veil_critical_begin(veil_thread *open, size_t bytes) {
  rt_thread *self = rt_self_steady(open, "veil_critical_begin");
  if (self->section.depth != 0) {
    nest(self, bytes);
    return VEIL_OK;
  }
  rt_section_refuse("veil_critical_begin of another heap");
  size_t wanted = bytes < SIZE_MAX / 16 ? (LANES + bytes / BLOCK_LEAST + large_blocks(bytes)) * GC_BLOCK
                                        : SIZE_MAX / 4; // at the most
  bool begun = false;
  self->section.sorts = at_load(&gc_types_transient) != 0 ? GC_SORTS : GC_SORT_TRANSIENT; // without, nobody pays for them
  do {
    rt_enter(self);
    rt_pace(self);
    begun = room_take(self, &bytes) || rt_memory_find(self, wanted, room_take, &bytes);
    if (!begun) {
      rt_leave(self);
    }
  } while (!begun && rt_oom_ask(self, bytes));
  if (!begun) {
    rt_out_of_memory(self, bytes, "a critical section");
    return VEIL_NO_MEMORY;
  }
  self->section.bytes = bytes;
  self->section.used = 0;
  for (unsigned sort = 0; sort < GC_SORTS; sort++) {
    self->section.from[sort] = self->open.tlab[sort].free;
  }
  self->section.depth = 1;
  lanes_set(self, &self->section.reserve);
  return VEIL_OK;
}

RT_EXPORT void veil_critical_end(veil_thread *open) {
  rt_thread *self = rt_self_steady(open, "veil_critical_end");
  rt_section *section = &self->section;
  if (section->depth == 0) {
    vm_fatal("veil_critical_end: without veil_critical_begin");
  }
  if (section->depth > 1) {
    section->depth--;
    return;
  }
  size_t used = used_now(self);
  if (used > section->bytes) {
    vm_fatal("veil_critical_end: the section has reserved %zu bytes, and used %zu", section->bytes, used);
  }
  section->depth = 0;
  lanes_set(self, NULL);
  gc_reserve_give(self->heap->gc, &section->reserve);
  rt_leave(self);
}
