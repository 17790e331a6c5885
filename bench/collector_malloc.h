// SPDX-License-Identifier: MIT
// collector_malloc.h: the functions of the C library's malloc and free; the rest is manual_common.h.

#ifndef BENCH_COLLECTOR_MALLOC_H
#define BENCH_COLLECTOR_MALLOC_H

#include <stdlib.h>

#define bench_manual_malloc malloc
#define bench_manual_calloc calloc
#define bench_manual_free free

#include "bench/manual_common.h"

#endif
