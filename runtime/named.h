// SPDX-License-Identifier: MIT
// named.h: roots with names, for who flips, describes or restores.

#ifndef RT_NAMED_H
#define RT_NAMED_H

#include "runtime/runtime.h"
#include "veil/hooks.h"

// World stopped.
void rt_named_forward(veil_heap *heap, gc_flip *flip);
size_t rt_named_count(const veil_heap *heap);
bool rt_named_list(const veil_heap *heap, uintptr_t *slots, rt_name **names); // there is room for all; false: they were there already

// Who lists names: they stay until he has listed them anew.
typedef struct rt_named_hold rt_named_hold;
struct rt_named_hold {
  rt_named_hold *next; // under roots_lock
  uint64_t seen;       // veil_heap.named_changes when he did so last; UINT64_MAX: he has not. World stopped
};

// Begins to hold what is listed from then on. Returns how many names there are. Any thread; not in a stop.
size_t rt_named_hold_begin(veil_heap *heap, rt_named_hold *hold);
void rt_named_hold_end(veil_heap *heap, rt_named_hold *hold);
// Frees names that are gone, and that nobody holds any more. Costs nothing where there are none.
void rt_named_tidy(veil_heap *heap);
const char *rt_named_text(const rt_name *name);

// While the heap opens. False: no memory, or the name is there already.
bool rt_named_restore(veil_heap *heap, const char *name, uintptr_t object);
// A table of these, for rt_named_swap; `base` is that of the view which the addresses are of. False: no memory, or a name is there twice, or none.
bool rt_named_make(veil_heap *heap, const veil_root_described *roots, size_t count, uintptr_t base, rt_named **out);
// World stopped. These are the roots now; what was is the caller's to free, by rt_named_free.
void rt_named_swap(veil_heap *heap, rt_named **table);
void rt_named_free(rt_named *table);
void rt_named_drop(rt_named *table); // and its names: it was never swapped
// While it closes.
void rt_named_close(veil_heap *heap);

#endif
