// SPDX-License-Identifier: MIT
// planes.h: words of 8 bytes, taken apart into byte planes and put together again.
//
// Neighbours: planes.c; codec.c. Any thread, signal handlers too.

#ifndef CX_PLANES_H
#define CX_PLANES_H

#include <stddef.h>

// Byte k of word i goes to byte i of plane k. `bytes` is a multiple of 128; the two do not overlap.
void cx_planes_split(const void *words, void *planes, size_t bytes);
void cx_planes_join(const void *planes, void *words, size_t bytes);

#endif
