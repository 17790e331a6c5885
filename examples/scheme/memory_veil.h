// SPDX-License-Identifier: MIT
// memory_veil.h: memory.h on veil: a type for each kind and each small number of slots, so that such an object has veil's small header and is allocated inline.

#ifndef SCHEME_MEMORY_VEIL_H
#define SCHEME_MEMORY_VEIL_H

#include <veil/veil.h>

typedef veil_thread memory_self;
enum { MEMORY_SMALL = 32, MEMORY_SMALL_LEAF = 504 };
extern veil_type memory_small[MEMORY_TYPES][MEMORY_SMALL + 1], memory_large[MEMORY_TYPES], memory_leaf[MEMORY_SMALL_LEAF / 16 + 2], memory_flonum;

static inline void *memory_new(memory_self *self, int type, int64_t slots) {
  if (slots <= MEMORY_SMALL) {
    return veil_alloc(self, &memory_small[type][slots], 8 + 8 * (size_t)slots);
  }
  return veil_alloc_flexible(self, &memory_large[type], (size_t)slots);
}
static inline void *memory_new_leaf(memory_self *self, int type, size_t bytes) {
  if (type == MEMORY_FLONUM) {
    return veil_alloc(self, &memory_flonum, 8);
  }
  if (bytes <= MEMORY_SMALL_LEAF) { // sizes 8, 24, 40, ... 504 fill veil's cells
    size_t class = (bytes + 7) / 16;
    return veil_alloc(self, &memory_leaf[class], class * 16 + 8);
  }
  return veil_new_bytes_raw(self, bytes);
}
#define memory_block_begin(SELF) veil_block_begin(SELF)
#define memory_block_end(SELF) veil_block_end(SELF)

#endif
