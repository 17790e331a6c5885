// SPDX-License-Identifier: MIT
// columns.h: pages of records and pointers, by columns: lanes of 32 bits that lie a stride apart are packed together.
//
// Neighbours: columns.c packs, columns_unpack.c unpacks; codec.c calls both. Any thread. Invariant: cx.columns.

#ifndef CX_COLUMNS_H
#define CX_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  CX_LANES_MOST = 64 << 10 >> 2, // of a page of 64 KiB
  CX_STRIDE_MOST = 128,          // lanes: small objects have 512 bytes at the most
  CX_STRIDES_FOUND = 3,          // how many cx_columns_strides may tell
  CX_COLUMNS_PAD = 8,            // bytes that may be read behind a blob
};

// How a column is stored: a byte, the mode in its low three bits, one less than a width or a count in its high five. Then numbers of 7 bits a byte, then the
// values, as many as the column has lanes, each `width` bits, from the lowest bit on, filled up to a byte.
enum cx_mode {
  CX_CONSTANT, // all alike; high bits 0: zero, nothing follows; 1: a number, the lane
  CX_RANGE,    // a number, the least; values: what is added to it
  CX_ALIGNED,  // a byte, the shift; a number, the least; values: what is shifted and added
  CX_RISING,   // a number, the first; a number with sign, the least step; values, one less than lanes: what is added to that step
  CX_LINE,     // a number, the first; a number with sign, the step
  CX_CHOICE,   // high bits: how many choices; these, as numbers; values: which, in as few bits as may be
  CX_RARE,     // a number, the usual lane; a number, the least of the others; a bit for each lane, 1: another; values of these: what is added
  CX_MODES
};

// Room for one column.
typedef struct cx_column {
  uint32_t lane[CX_LANES_MOST];
} cx_column;

// Strides by which lanes repeat most, best first, into `out`: how many. Not all that pay are found.
unsigned cx_columns_strides(const uint32_t *lanes, size_t count, unsigned out[CX_STRIDES_FOUND]);
// Packs `count` lanes, 1 … CX_LANES_MOST, a stride of 1 … CX_STRIDE_MOST apart, into `room` bytes. Bytes used; 0: they do not fit.
size_t cx_columns_pack(const uint32_t *lanes, size_t count, unsigned stride, uint8_t *to, size_t room, cx_column *scratch);
// The same lanes. False: that is no such blob; then `lanes` holds anything. CX_COLUMNS_PAD bytes behind the blob can be read. In signal handlers too.
bool cx_columns_unpack(const uint8_t *from, size_t bytes, uint32_t *lanes, size_t count);

#endif
