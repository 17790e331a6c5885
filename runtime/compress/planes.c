// SPDX-License-Identifier: MIT
// planes.c: sixteen words at a time, by interleaving, which is what every processor with vectors of 16 bytes does well.
//
// Neighbours: planes.h.

#include "runtime/compress/planes.h"
#include <stdint.h>
#include <string.h>

typedef uint8_t sixteen __attribute__((vector_size(16)));

static sixteen load(const uint8_t *at) {
  sixteen v;
  memcpy(&v, at, sizeof v);
  return v;
}
static void store(uint8_t *at, sixteen v) { memcpy(at, &v, sizeof v); }

// The low halves of two vectors, byte by byte in turn; the high halves.
#ifdef __clang__
#define INTERLEAVE(A, B, ...) __builtin_shufflevector(A, B, __VA_ARGS__)
#else
#define INTERLEAVE(A, B, ...) __builtin_shuffle(A, B, (sixteen){__VA_ARGS__})
#endif
static sixteen low(sixteen a, sixteen b) { return INTERLEAVE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23); }
static sixteen high(sixteen a, sixteen b) { return INTERLEAVE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31); }

// As if the 128 bytes had numbers of 7 bits: each round turns these by one, so that what stood at byte 16 a + b is then at the place whose number has the highest
// bit last.
static void round_turn(sixteen v[8]) {
  sixteen w[8];
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    w[2 * i] = low(v[i], v[i + 4]);
    w[2 * i + 1] = high(v[i], v[i + 4]);
  }
  memcpy(v, w, sizeof w);
}

// A word's byte has the number (word: 4 bits, byte: 3 bits), a plane's (byte, word): four rounds make one of the other, and three more the first again.
void cx_planes_split(const void *words, void *planes, size_t bytes) {
  const uint8_t *from = words;
  uint8_t *to = planes;
  for (size_t i = 0; i < bytes / 128; i++) {
    sixteen v[8];
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) {
      v[k] = load(from + i * 128 + k * 16);
    }
#pragma GCC unroll 4
    for (int round = 0; round < 4; round++) {
      round_turn(v);
    }
#pragma GCC unroll 8
    for (size_t k = 0; k < 8; k++) {
      store(to + k * (bytes / 8) + i * 16, v[k]);
    }
  }
}

void cx_planes_join(const void *planes, void *words, size_t bytes) {
  const uint8_t *from = planes;
  uint8_t *to = words;
  for (size_t i = 0; i < bytes / 128; i++) {
    sixteen v[8];
#pragma GCC unroll 8
    for (size_t k = 0; k < 8; k++) {
      v[k] = load(from + k * (bytes / 8) + i * 16);
    }
#pragma GCC unroll 4
    for (int round = 0; round < 3; round++) {
      round_turn(v);
    }
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) {
      store(to + i * 128 + k * 16, v[k]);
    }
  }
}
