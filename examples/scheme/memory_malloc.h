// SPDX-License-Identifier: MIT
// memory_malloc.h: memory.h on malloc; nothing is ever freed.

#ifndef SCHEME_MEMORY_MALLOC_H
#define SCHEME_MEMORY_MALLOC_H

#include <stdlib.h>

typedef struct memory_self {
  int unused;
} memory_self;
extern size_t memory_malloc_left; // of the limit, for what is large; small objects come to it by the way
static inline void *memory_malloc_take(size_t bytes, bool zeroed) {
  if (bytes > memory_malloc_left) {
    return NULL;
  }
  memory_malloc_left -= bytes + 8; // of several threads some may be lost: it is a limit, no account
  return zeroed ? calloc(1, bytes) : malloc(bytes);
}
static inline void *memory_new(memory_self *self, int type, int64_t slots) { return memory_malloc_take(8 + 8 * (size_t)slots, true); }
static inline void *memory_new_leaf(memory_self *self, int type, size_t bytes) { return memory_malloc_take(bytes, false); }
#define memory_block_begin(SELF) ((void)(SELF))
#define memory_block_end(SELF) ((void)(SELF))

#endif
