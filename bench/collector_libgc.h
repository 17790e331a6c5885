// SPDX-License-Identifier: MIT
// collector_libgc.h: collector.h's inline half for Debian's libgc, with typed and atomic allocation.
//
// An object with pointers is allocated by GC_malloc_explicitly_typed, so that only its pointers are followed, as in veil.

#ifndef BENCH_COLLECTOR_LIBGC_H
#define BENCH_COLLECTOR_LIBGC_H

#include "bench/libgc_common.h"
#include <veil/type.h> // VEIL_EACH_ and VEIL_OFFSET_, which are plain macros

GC_descr bench_libgc_describe(const size_t *offsets, size_t count, size_t size);

#define BENCH_TYPE(T, ...) \
  static GC_descr bench_descr_##T; \
  static inline __attribute__((unused)) T *bench_new_##T(void) { \
    if (__builtin_expect(bench_descr_##T == 0, 0)) { \
      static const size_t offsets[] = {VEIL_EACH_(VEIL_OFFSET_, T, __VA_ARGS__)}; \
      bench_descr_##T = bench_libgc_describe(offsets, sizeof offsets / sizeof offsets[0], sizeof(T)); \
    } \
    return bench_checked(GC_malloc_explicitly_typed(sizeof(T), bench_descr_##T)); \
  }

#endif
