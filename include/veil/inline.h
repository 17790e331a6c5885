// SPDX-License-Identifier: MIT
// veil/inline.h: the fast half of allocation. Included by veil.h.

#ifndef VEIL_INLINE_H
#define VEIL_INLINE_H

#include <veil/type.h>

#ifdef __cplusplus
extern "C" {
#endif

// A thread's allocation buffer: zeroed cells in [free, limit). Both ends are 8 modulo
// 16, so that an object behind its 8-byte header is aligned to 16.
typedef struct veil_tlab {
  char *free, *limit; // the next cell; the end
} veil_tlab;

// The public beginning of a thread; the rest is the runtime's.
typedef struct veil_thread {
  veil_tlab tlab[4]; // owning thread; by veil_type.sort
} veil_thread;

// Bytes that an object of `size` bytes takes in a buffer, with its header.
#define VEIL_CELL_(size) (((size_t)(size) + 8 + 15) & ~(size_t)15)

void *veil_alloc_slow_(veil_thread *self, veil_type *type);

// One zeroed object of `type`; see veil_new.
static inline void *veil_alloc(veil_thread *self, veil_type *type, size_t size) {
  // The header is written last when a type registers, so it is read first: then `sort` is right.
  uint64_t header = __atomic_load_n(&type->header, __ATOMIC_ACQUIRE);
  veil_tlab *tlab = &self->tlab[__atomic_load_n(&type->sort, __ATOMIC_RELAXED)];
  char *cell = tlab->free;
  if (__builtin_expect((size_t)(tlab->limit - cell) < VEIL_CELL_(size) || header == 0, 0)) {
    return veil_alloc_slow_(self, type);
  }
  // Bump, header, use: a stop between any two of these finds either a zero header,
  // which ends what it reads, or a whole object.
  *(char *volatile *)&tlab->free = cell + VEIL_CELL_(size);
  *(volatile uint64_t *)cell = header;
  __asm__ volatile("" ::: "memory");
  return cell + 8;
}

#ifdef __cplusplus
}
#endif
#endif
