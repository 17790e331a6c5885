// SPDX-License-Identifier: MIT
// collector_libgc_plain.h: as collector_libgc.h, with GC_malloc for objects with pointers.
//
// GC_malloc follows every word that looks like a pointer, and is served from a thread's own free lists: typed allocation is not.

#ifndef BENCH_COLLECTOR_LIBGC_PLAIN_H
#define BENCH_COLLECTOR_LIBGC_PLAIN_H

#include "bench/libgc_common.h"

#define BENCH_TYPE(T, ...) \
  static inline __attribute__((unused)) T *bench_new_##T(void) { return bench_checked(GC_malloc(sizeof(T))); }

#endif
