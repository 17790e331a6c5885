// SPDX-License-Identifier: MIT
// libgc_common.h: what collector_libgc.h and collector_libgc_plain.h share.

#ifndef BENCH_LIBGC_COMMON_H
#define BENCH_LIBGC_COMMON_H

#define GC_THREADS
#include <gc/gc_typed.h> // Brings libgc's gc.h; <gc/gc.h> itself would be found in veil's own gc/.
#include <string.h>

typedef struct bench_thread {
  int unused;
} bench_thread;

#define BENCH_FREES 0

static inline void *bench_libgc_leaf(size_t bytes) { // Atomic memory is not zeroed by itself.
  return memset(bench_checked(GC_malloc_atomic(bytes)), 0, bytes);
}

#define BENCH_LEAF(T) \
  static inline __attribute__((unused)) T *bench_new_##T(void) { return bench_libgc_leaf(sizeof(T)); }
#define bench_new(self, T) ((void)(self), bench_new_##T())
#define bench_new_raw(self, T) bench_new(self, T)
#define bench_new_pointers(self, n) ((void)(self), (void **)bench_checked(GC_malloc((size_t)(n) * sizeof(void *))))
#define bench_new_bytes(self, n) ((void)(self), bench_libgc_leaf(n))
#define bench_new_bytes_raw(self, n) ((void)(self), bench_checked(GC_malloc_atomic(n)))
#define bench_free(p) ((void)(p))

// Cycles stop the world: a step sees only that one has passed.
static inline unsigned bench_phase(void) { return (unsigned)GC_get_gc_no() << 1; }

#endif
