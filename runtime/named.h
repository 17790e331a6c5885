// SPDX-License-Identifier: MIT
// named.h: roots with names, for who flips, describes or restores.

#ifndef RT_NAMED_H
#define RT_NAMED_H

#include "runtime/runtime.h"

// World stopped.
void rt_named_forward(veil_heap *heap, gc_flip *flip);
size_t rt_named_count(const veil_heap *heap);
void rt_named_list(const veil_heap *heap, uintptr_t *slots, rt_name **names); // there is room for all

// While somebody holds them, names stay that were listed. Returns how many there are. Any thread; not in a stop.
size_t rt_named_hold(veil_heap *heap, bool hold);
const char *rt_named_text(const rt_name *name);

// While the heap opens. False: no memory, or the name is there already.
bool rt_named_restore(veil_heap *heap, const char *name, uintptr_t object);
// While it closes.
void rt_named_close(veil_heap *heap);

#endif
