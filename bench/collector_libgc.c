// SPDX-License-Identifier: MIT
// collector_libgc.c: descriptors for typed allocation.

#include "bench/collector.h"

const char bench_collector[] = "libgc";

GC_descr bench_libgc_describe(const size_t *offsets, size_t count, size_t size) {
  GC_word bitmap[8] = {0};
  for (size_t i = 0; i < count; i++) {
    GC_set_bit(bitmap, offsets[i] / sizeof(GC_word));
  }
  return GC_make_descriptor(bitmap, size / sizeof(GC_word));
}
