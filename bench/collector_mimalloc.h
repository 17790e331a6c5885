// SPDX-License-Identifier: MIT
// collector_mimalloc.h: the functions of mimalloc; the rest is manual_common.h.

#ifndef BENCH_COLLECTOR_MIMALLOC_H
#define BENCH_COLLECTOR_MIMALLOC_H

#include <mimalloc.h>

#define bench_manual_malloc mi_malloc
#define bench_manual_calloc mi_calloc
#define bench_manual_free mi_free

#include "bench/manual_common.h"

#endif
