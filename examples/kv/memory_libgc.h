// SPDX-License-Identifier: MIT
// memory_libgc.h: memory.h on Debian's libgc: conservative, stops the world, marks in parallel, allocates small objects from lists of each thread.

#ifndef KV_MEMORY_LIBGC_H
#define KV_MEMORY_LIBGC_H

#ifndef GC_THREADS
#define GC_THREADS
#endif
#include <gc/gc_typed.h> // gc.h by a name that no folder of ours has

typedef struct kv_self {
  int unused;
} kv_self;

// It gives each object a byte more than asked for, so that a pointer one past its end holds it; and rounds up to 16.
static inline size_t kv_room(size_t bytes) { return (bytes + 16) / 16 * 16 - 1; }

#define KV_TYPE(T, DROP, ...) _Static_assert(sizeof(T) % 8 == 0, #T)
#define KV_TYPE_TAIL(T, DROP, ...) _Static_assert(sizeof(T) % 8 == 0, #T);
#define KV_TYPE_SLOTS(NAME, SIZE, FIRST, COUNT, DROP) enum { kv_size_##NAME = (SIZE) };

#define kv_new(SELF, T) ((void)(SELF), (T *)GC_MALLOC(sizeof(T)))
#define kv_new_tail(SELF, T, BYTES) ((void)(SELF), (T *)GC_MALLOC(BYTES))
#define kv_new_slots(SELF, NAME) ((void)(SELF), GC_MALLOC(kv_size_##NAME))
#define kv_new_pointers(SELF, COUNT, DROP) ((void)(SELF), (void **)GC_MALLOC((COUNT) * sizeof(void *)))
#define kv_new_bytes(SELF, BYTES) ((void)(SELF), GC_MALLOC_ATOMIC(BYTES))
#define kv_keep(OBJECT) ((void)(OBJECT))
#define kv_drop(SELF, OBJECT) ((void)(SELF), (void)(OBJECT))
#define kv_poll(SELF) ((void)(SELF))

#endif
