// SPDX-License-Identifier: MIT
// memory_libgc.h: memory.h on Debian's libgc: conservative, stops the world, marks in parallel, allocates small objects from lists of each thread.

#ifndef SCHEME_MEMORY_LIBGC_H
#define SCHEME_MEMORY_LIBGC_H

#ifndef GC_THREADS
#define GC_THREADS
#endif
#include <gc/gc_typed.h> // gc.h by a name that no folder of ours has

typedef struct memory_self {
  int unused;
} memory_self;
static inline void *memory_new(memory_self *self, int type, int64_t slots) { return GC_MALLOC(8 + 8 * (size_t)slots); }
static inline void *memory_new_leaf(memory_self *self, int type, size_t bytes) { return GC_MALLOC_ATOMIC(bytes); }
#define memory_block_begin(SELF) ((void)(SELF))
#define memory_block_end(SELF) ((void)(SELF))

#endif
