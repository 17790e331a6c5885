// SPDX-License-Identifier: MIT
// collector_veil.h: collector.h's inline half for veil.

#ifndef BENCH_COLLECTOR_VEIL_H
#define BENCH_COLLECTOR_VEIL_H

#include <veil/veil.h>

typedef veil_thread bench_thread;
extern veil_heap *bench_veil_heap; // constant after bench_heap_open

#define BENCH_FREES 0
#define BENCH_TYPE(T, ...) VEIL_TYPE(T, __VA_ARGS__)
#define BENCH_LEAF(T) VEIL_LEAF(T)
#define bench_new(self, T) veil_new(self, T)
#define bench_new_raw(self, T) veil_new(self, T)
#define bench_new_pointers(self, n) veil_new_pointers(self, n)
#define bench_new_bytes(self, n) veil_new_bytes(self, n)
#define bench_new_bytes_raw(self, n) veil_new_bytes_raw(self, n)
#define bench_free(p) ((void)(p))

static inline unsigned bench_phase(void) { return veil_collecting(bench_veil_heap); }

#endif
