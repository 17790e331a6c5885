// SPDX-License-Identifier: MIT
// tell.h: what services of veil's own tell to the program's table of callbacks and to the trace (events.c).
//
// Neighbours: checkpoint/. In a thread that is no mutator, at no time in which it holds up anybody.

#ifndef RT_TELL_H
#define RT_TELL_H

#include <stdbool.h>
#include <stdint.h>
#include "veil/veil.h"

// A begin, for its end.
typedef struct rt_told {
  uint64_t began_ns;
  uint32_t heard; // by whom
} rt_told;

rt_told rt_tell_checkpoint_begin(veil_heap *heap, bool full);
void rt_tell_checkpoint_progress(veil_heap *heap, uint64_t done, uint64_t of);
void rt_tell_checkpoint_end(veil_heap *heap, rt_told begun, veil_status status, uint64_t version, uint64_t pages, uint64_t bytes);

#endif
