// SPDX-License-Identifier: MIT
// collector_mimalloc.c: only a name; the rest is manual_common.c.

#include "bench/collector.h"

const char bench_collector[] = "mimalloc";
