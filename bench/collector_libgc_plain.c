// SPDX-License-Identifier: MIT
// collector_libgc_plain.c: only a name; the rest is libgc_common.c.

#include "bench/collector.h"

const char bench_collector[] = "libgc_plain";
