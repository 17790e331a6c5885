// SPDX-License-Identifier: MIT
// settle.h: what a trap on a claimed page does (work.c).

#ifndef GC_SETTLE_H
#define GC_SETTLE_H

#include "gc/heap.h"

void gc_settle(void *heap, size_t page, unsigned claim, bool write);

#endif
