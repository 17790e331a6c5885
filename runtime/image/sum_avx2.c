// SPDX-License-Identifier: MIT
// sum_avx2.c: the checksum once more, for processors with AVX2, on which it is faster. io.c chooses.
//
// Neighbours: io.c. xxHash chooses its instructions when it is compiled, so it is compiled here for a processor that others of the same kind need not be. Clang
// has no such pragma: there the plain one is used.

#if defined(__x86_64__) && !defined(__clang__)
#pragma GCC target("avx2")
#define XXH_INLINE_ALL
#include <xxhash.h>
#include "runtime/image/inner.h"

static uint64_t sum(const void *bytes, size_t count) { return XXH3_64bits(bytes, count); }

rt_image_summer *rt_image_sum_fast(void) { return __builtin_cpu_supports("avx2") ? sum : NULL; }
#else
#include "runtime/image/inner.h"

rt_image_summer *rt_image_sum_fast(void) { return NULL; }
#endif
