// SPDX-License-Identifier: MIT
// named.h: roots with names, for who flips, describes or restores.

#ifndef RT_NAMED_H
#define RT_NAMED_H

#include "runtime/runtime.h"

// World stopped.
void rt_named_forward(veil_heap *heap, gc_flip *flip);
size_t rt_named_count(const veil_heap *heap);
const char *rt_named_at(const veil_heap *heap, size_t i, uintptr_t *object); // i < count

// While the heap opens. False: no memory, or the name is there already.
bool rt_named_restore(veil_heap *heap, const char *name, uintptr_t object);
// While it closes.
void rt_named_close(veil_heap *heap);

#endif
