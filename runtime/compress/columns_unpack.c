// SPDX-License-Identifier: MIT
// columns_unpack.c: from columns to the page.
//
// Neighbours: columns.h. In traps: nothing is allocated, and nothing is believed that was not looked at (cx.hostile).

#include <string.h>
#include "runtime/compress/columns.h"

typedef struct reader {
  const uint8_t *at, *limit;
  bool wrong;
} reader;

static unsigned byte_take(reader *r) {
  if (r->at == r->limit) {
    r->wrong = true;
    return 0;
  }
  return *r->at++;
}

// One way to write each number: so no bit of a blob is without meaning.
static uint32_t number_take(reader *r) {
  uint64_t n = 0;
  for (unsigned shift = 0; shift < 35; shift += 7) {
    unsigned byte = byte_take(r);
    n |= (uint64_t)(byte & 127) << shift;
    if (byte < 128) {
      r->wrong |= n > UINT32_MAX || (byte == 0 && shift > 0);
      return (uint32_t)n;
    }
  }
  r->wrong = true;
  return 0;
}
static uint32_t sign_unfold(uint32_t n) { return n >> 1 ^ -(n & 1); }

// Takes the bytes of so many values, whose bits beyond the last are zero. NULL: they are not there.
static const uint8_t *values_take(reader *r, size_t values, unsigned width) {
  size_t bits = values * width, bytes = (bits + 7) / 8;
  if (r->wrong || (size_t)(r->limit - r->at) < bytes || (bits % 8 != 0 && r->at[bytes - 1] >> bits % 8 != 0)) {
    r->wrong = true;
    return NULL;
  }
  r->at += bytes;
  return r->at - bytes;
}

// The value at bit `bit`; up to 8 bytes from there are read, which CX_COLUMNS_PAD allows.
static inline uint32_t value_at(const uint8_t *values, size_t bit, uint32_t mask) {
  uint64_t word;
  memcpy(&word, values + bit / 8, 8);
  return (uint32_t)(word >> bit % 8) & mask;
}

// Where the lanes of one column go: `count` of them, `stride` apart.
typedef struct target {
  uint32_t *lane;
  size_t count, stride;
} target;

static void range_take(reader *r, target t, unsigned width, unsigned shift) {
  uint32_t least = number_take(r), mask = (uint32_t)(UINT64_MAX >> (64 - width));
  const uint8_t *values = values_take(r, t.count, width);
  if (values == NULL) {
    return;
  }
  uint32_t *to = t.lane;
  for (size_t i = 0, bit = 0; i < t.count; i++, bit += width, to += t.stride) {
    *to = least + (value_at(values, bit, mask) << shift);
  }
}

static void rising_take(reader *r, target t, unsigned width) {
  uint32_t lane = number_take(r), step = sign_unfold(number_take(r)), mask = width > 0 ? (uint32_t)(UINT64_MAX >> (64 - width)) : 0;
  const uint8_t *values = values_take(r, t.count - 1, width);
  if (values == NULL) {
    return;
  }
  uint32_t *to = t.lane;
  *to = lane;
  for (size_t i = 1, bit = 0; i < t.count; i++, bit += width) {
    to += t.stride;
    *to = lane += step + (width > 0 ? value_at(values, bit, mask) : 0);
  }
}

static void choice_take(reader *r, target t, unsigned choices) {
  uint32_t choice[32];
  for (unsigned k = 0; k < choices; k++) {
    choice[k] = number_take(r);
  }
  unsigned width = choices > 1 ? 32 - (unsigned)__builtin_clz(choices - 1) : 0;
  const uint8_t *values = choices > 16 || choices < 2 ? NULL : values_take(r, t.count, width);
  if (values == NULL) {
    r->wrong = true;
    return;
  }
  uint32_t mask = (1u << width) - 1, most = 0;
  uint32_t *to = t.lane;
  for (size_t i = 0, bit = 0; i < t.count; i++, bit += width, to += t.stride) {
    uint32_t k = value_at(values, bit, mask);
    most = k > most ? k : most;
    *to = choice[k & 15];
  }
  r->wrong |= most >= choices;
}

static void rare_take(reader *r, target t, unsigned width) {
  uint32_t usual = number_take(r), least = number_take(r), mask = (uint32_t)(UINT64_MAX >> (64 - width));
  const uint8_t *which = values_take(r, t.count, 1);
  if (which == NULL) {
    return;
  }
  size_t rare = 0;
  for (size_t i = 0; i < (t.count + 7) / 8; i++) {
    rare += (unsigned)__builtin_popcount(which[i]);
  }
  const uint8_t *values = values_take(r, rare, width);
  if (values == NULL) {
    return;
  }
  uint32_t *to = t.lane;
  for (size_t i = 0, bit = 0; i < t.count; i++, to += t.stride) {
    *to = usual;
    if (which[i / 8] >> i % 8 & 1) {
      *to = least + value_at(values, bit, mask);
      bit += width;
    }
  }
}

// The lane of a column that is constant.
static uint32_t constant_take(reader *r, unsigned high) {
  uint32_t lane = high > 0 ? number_take(r) : 0;
  r->wrong |= high > 1 || (high == 1 && lane == 0);
  return lane;
}

static void column_take(reader *r, target t, unsigned head) {
  unsigned high = head >> 3;
  switch (head & 7) {
  case CX_RANGE:
    range_take(r, t, high + 1, 0);
    break;
  case CX_ALIGNED: {
    unsigned shift = byte_take(r);
    r->wrong |= shift == 0 || shift > 31;
    if (!r->wrong) {
      range_take(r, t, high + 1, shift);
    }
    break;
  }
  case CX_RISING:
    rising_take(r, t, high + 1);
    break;
  case CX_LINE:
    r->wrong |= high != 0;
    rising_take(r, t, 0);
    break;
  case CX_CHOICE:
    choice_take(r, t, high + 1);
    break;
  case CX_RARE:
    rare_take(r, t, high + 1);
    break;
  default:
    r->wrong = true;
    break;
  }
}

bool cx_columns_unpack(const uint8_t *from, size_t bytes, uint32_t *lanes, size_t count) {
  reader r = {.at = from, .limit = from + bytes};
  unsigned stride = byte_take(&r) + 1;
  if (r.wrong || stride > CX_STRIDE_MOST || count == 0) {
    return false;
  }
  for (unsigned k = 0; k < stride && k < count; k++) {
    target t = {.lane = lanes + k, .count = (count - k + stride - 1) / stride, .stride = stride};
    unsigned head = byte_take(&r);
    if ((head & 7) == CX_CONSTANT) {
      uint32_t lane = constant_take(&r, head >> 3);
      for (size_t i = 0; i < t.count; i++) {
        t.lane[i * stride] = lane;
      }
    } else {
      column_take(&r, t, head);
    }
    if (r.wrong) {
      return false;
    }
  }
  return r.at == r.limit;
}
