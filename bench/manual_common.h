// SPDX-License-Identifier: MIT
// manual_common.h: collector.h's inline half for allocators that free by hand.
//
// A zeroed object is malloc and memset, the size being a constant: glibc's calloc passes its thread cache by.

#ifndef BENCH_MANUAL_COMMON_H
#define BENCH_MANUAL_COMMON_H

#include <string.h>

typedef struct bench_thread {
  int unused;
} bench_thread;

#define BENCH_FREES 1
#define BENCH_TYPE(T, ...) BENCH_LEAF(T)
#define BENCH_LEAF(T) \
  static inline __attribute__((unused)) T *bench_new_##T(void) { return memset(bench_checked(bench_manual_malloc(sizeof(T))), 0, sizeof(T)); }
#define bench_new(self, T) ((void)(self), bench_new_##T())
#define bench_new_raw(self, T) ((void)(self), (T *)bench_checked(bench_manual_malloc(sizeof(T))))
#define bench_new_pointers(self, n) ((void)(self), (void **)bench_checked(bench_manual_calloc(n, sizeof(void *))))
#define bench_new_bytes(self, n) ((void)(self), bench_checked(bench_manual_calloc(n, 1)))
#define bench_new_bytes_raw(self, n) ((void)(self), bench_checked(bench_manual_malloc(n)))
#define bench_free(p) bench_manual_free(p)

static inline unsigned bench_phase(void) { return 0; }

#endif
