// SPDX-License-Identifier: MIT
// collector_malloc.c: only a name; the rest is manual_common.c.

#include "bench/collector.h"

const char bench_collector[] = "malloc";
