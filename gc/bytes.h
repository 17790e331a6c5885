// SPDX-License-Identifier: MIT
// bytes.h: numbers in descriptions (describe.h): 7 bits a byte, low ones first.

#ifndef GC_BYTES_H
#define GC_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GC_NUMBER_BYTES = 10 }; // at most

typedef struct gc_bytes_out {
  uint8_t *start, *at, *limit;
} gc_bytes_out;

// The caller has seen to it that there is room.
static inline void gc_bytes_put(gc_bytes_out *out, uint64_t n) {
  for (; n >= 0x80; n >>= 7) {
    *out->at++ = (uint8_t)(n | 0x80);
  }
  *out->at++ = (uint8_t)n;
}

typedef struct gc_bytes_in {
  const uint8_t *at, *limit;
  bool bad; // it ended in the middle of a number, or there was one that is too large
} gc_bytes_in;

// 0 once something was bad.
static inline uint64_t gc_bytes_get(gc_bytes_in *in, uint64_t most) {
  uint64_t n = 0;
  for (unsigned shift = 0; in->at < in->limit && shift < 64; shift += 7) {
    uint8_t byte = *in->at++;
    if (shift == 63 && byte > 1) {
      break;
    }
    n |= (uint64_t)(byte & 0x7f) << shift;
    if (!(byte & 0x80)) {
      in->bad = in->bad || n > most;
      return in->bad ? 0 : n;
    }
  }
  in->bad = true;
  return 0;
}

#endif
