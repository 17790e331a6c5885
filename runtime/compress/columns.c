// SPDX-License-Identifier: MIT
// columns.c: finds a stride, and for each column the mode that takes the fewest bytes.
//
// Neighbours: columns.h. Background threads.

#include "runtime/compress/columns.h"
#include <string.h>

// ---- Strides.

enum {
  LOOK = 1024,    // lanes looked at: a page of 4 KiB, the beginning of a larger one
  STRIDES_ODD = 4 // up to here each stride is tried; cells are multiples of 16 bytes, so the strides of objects are multiples of four lanes
};

// Four lanes at once, by what the compiler has for that.
typedef uint32_t four __attribute__((vector_size(16)));
static four four_at(const uint32_t *lanes) {
  four v;
  memcpy(&v, lanes, sizeof v);
  return v;
}

// Lanes of the first `limit` that equal the one a stride before, for each 1024 that could.
static unsigned repeats(const uint32_t *lanes, size_t limit, unsigned stride) {
  four found = {0};
  for (size_t i = stride; i + 4 <= limit; i += 4) {
    found -= (four)(four_at(lanes + i) == four_at(lanes + i - stride));
  }
  return (unsigned)((found[0] + found[1] + found[2] + found[3]) * 1024ull / (limit - stride));
}

unsigned cx_columns_strides(const uint32_t *lanes, size_t count, unsigned out[CX_STRIDES_FOUND]) {
  size_t limit = count < LOOK ? count : LOOK;
  unsigned score[CX_STRIDES_FOUND] = {0}, n = 0;
  for (unsigned stride = 1; stride <= CX_STRIDE_MOST && stride * 4 < limit; stride += stride < STRIDES_ODD ? 1 : stride < 16 ? 2 : 4) {
    unsigned s = repeats(lanes, limit, stride);
    s = s > 2 * stride ? s - 2 * stride : 0; // a longer stride has more columns to describe; of two that are alike the shorter
    unsigned at = n;
    for (; at > 0 && score[at - 1] < s; at--) {
      if (at < CX_STRIDES_FOUND) {
        score[at] = score[at - 1];
        out[at] = out[at - 1];
      }
    }
    if (at < CX_STRIDES_FOUND) {
      score[at] = s;
      out[at] = stride;
      n += n < CX_STRIDES_FOUND;
    }
  }
  return n;
}

// ---- Columns.

typedef struct writer {
  uint8_t *at, *limit;
  bool full;
} writer;

static void byte_put(writer *w, unsigned byte) {
  if (w->at == w->limit) {
    w->full = true;
  } else {
    *w->at++ = (uint8_t)byte;
  }
}
static void number_put(writer *w, uint32_t n) {
  for (; n >= 128; n >>= 7) {
    byte_put(w, (n & 127) | 128);
  }
  byte_put(w, n);
}
static uint32_t sign_fold(uint32_t n) { return n << 1 ^ (uint32_t)((int32_t)n >> 31); }
static unsigned number_bytes(uint32_t n) { return 1 + (31 - (unsigned)__builtin_clz(n | 1)) / 7; }
static unsigned width_of(uint32_t most) { return most == 0 ? 0 : 32 - (unsigned)__builtin_clz(most); }
static size_t bytes_of(size_t values, unsigned width) { return (values * width + 7) / 8; }

// Puts values of `width` bits; the bits are kept in `hold` until there are 32.
typedef struct bits {
  writer *w;
  uint64_t hold;
  unsigned held;
} bits;
static inline void bits_put(bits *b, uint32_t value, unsigned width) {
  b->hold |= (uint64_t)value << b->held;
  b->held += width;
  if (b->held >= 32) {
    if (b->w->limit - b->w->at < 4) {
      b->w->full = true;
    } else {
      memcpy(b->w->at, &b->hold, 4);
      b->w->at += 4;
    }
    b->hold >>= 32;
    b->held -= 32;
  }
}
static void bits_end(bits *b) {
  for (unsigned i = 0; i < b->held; i += 8) {
    byte_put(b->w, (unsigned)(b->hold >> i) & 255);
  }
}

// What is known of a column.
typedef struct column {
  const uint32_t *lane;
  size_t count;
  uint32_t least, most, differ; // `differ`: the bits in which a lane differs from the least
  uint32_t step_least, step_most;
  uint32_t choice[16];
  unsigned choices; // 0: more than there is room for
  uint32_t usual, rare_least, rare_most;
  size_t rare;
} column;

static void range_look(column *c) {
  c->least = c->most = c->lane[0];
  for (size_t i = 1; i < c->count; i++) {
    c->least = c->lane[i] < c->least ? c->lane[i] : c->least;
    c->most = c->lane[i] > c->most ? c->lane[i] : c->most;
  }
  c->differ = 0;
  for (size_t i = 0; i < c->count; i++) {
    c->differ |= c->lane[i] - c->least;
  }
}

static void steps_look(column *c) {
  int32_t least = INT32_MAX, most = INT32_MIN;
  for (size_t i = 1; i < c->count; i++) {
    int32_t step = (int32_t)(c->lane[i] - c->lane[i - 1]);
    least = step < least ? step : least;
    most = step > most ? step : most;
  }
  c->step_least = (uint32_t)least;
  c->step_most = (uint32_t)most;
}

static void choices_look(column *c) {
  c->choices = 0;
  for (size_t i = 0; i < c->count; i++) {
    unsigned k = 0;
    while (k < c->choices && c->choice[k] != c->lane[i]) {
      k++;
    }
    if (k == 16) {
      c->choices = 0;
      return;
    }
    if (k == c->choices) {
      c->choice[c->choices++] = c->lane[i];
    }
  }
}

// The lane that more than half are, if there is one, after Boyer and Moore's vote; and the range of the others.
static void usual_look(column *c) {
  size_t votes = 0;
  for (size_t i = 0; i < c->count; i++) {
    if (votes == 0) {
      c->usual = c->lane[i];
    }
    votes += c->lane[i] == c->usual ? 1 : (size_t)-1;
  }
  c->rare = 0;
  c->rare_least = UINT32_MAX;
  c->rare_most = 0;
  for (size_t i = 0; i < c->count; i++) {
    if (c->lane[i] != c->usual) {
      c->rare++;
      c->rare_least = c->lane[i] < c->rare_least ? c->lane[i] : c->rare_least;
      c->rare_most = c->lane[i] > c->rare_most ? c->lane[i] : c->rare_most;
    }
  }
}

static unsigned choice_width(unsigned choices) { return width_of(choices - 1); }

// The cheapest way to store a column that is not constant.
static enum cx_mode mode_choose(column *c) {
  range_look(c);
  if (c->differ == 0) {
    return CX_CONSTANT;
  }
  unsigned shift = (unsigned)__builtin_ctz(c->differ), width = width_of(c->most - c->least);
  size_t best = bytes_of(c->count, width) + number_bytes(c->least);
  enum cx_mode mode = CX_RANGE;
  size_t bytes = bytes_of(c->count, width - shift) + number_bytes(c->least) + 1;
  if (bytes < best) {
    best = bytes;
    mode = CX_ALIGNED;
  }
  steps_look(c);
  bytes = bytes_of(c->count - 1, width_of(c->step_most - c->step_least)) + number_bytes(c->lane[0]) + number_bytes(sign_fold(c->step_least));
  if (bytes < best) {
    best = bytes;
    mode = c->step_most == c->step_least ? CX_LINE : CX_RISING;
  }
  if (width - shift > 1) { // one of two is nothing less than a bit
    choices_look(c);
    if (c->choices > 0) {
      bytes = bytes_of(c->count, choice_width(c->choices));
      for (unsigned k = 0; k < c->choices; k++) {
        bytes += number_bytes(c->choice[k]);
      }
      if (bytes < best) {
        best = bytes;
        mode = CX_CHOICE;
      }
    }
    usual_look(c);
    bytes = number_bytes(c->usual) + number_bytes(c->rare_least) + bytes_of(c->count, 1) + bytes_of(c->rare, width_of(c->rare_most - c->rare_least));
    if (bytes < best) {
      mode = CX_RARE;
    }
  }
  return mode;
}

static void head_put(writer *w, enum cx_mode mode, unsigned high) { byte_put(w, mode | high << 3); }

static void range_put(writer *w, const column *c, unsigned shift) {
  unsigned width = width_of(c->most - c->least) - shift;
  head_put(w, shift > 0 ? CX_ALIGNED : CX_RANGE, width - 1);
  if (shift > 0) {
    byte_put(w, shift);
  }
  number_put(w, c->least);
  bits b = {.w = w};
  for (size_t i = 0; i < c->count; i++) {
    bits_put(&b, (c->lane[i] - c->least) >> shift, width);
  }
  bits_end(&b);
}

static void rising_put(writer *w, const column *c) {
  unsigned width = width_of(c->step_most - c->step_least);
  head_put(w, width > 0 ? CX_RISING : CX_LINE, width > 0 ? width - 1 : 0);
  number_put(w, c->lane[0]);
  number_put(w, sign_fold(c->step_least));
  bits b = {.w = w};
  for (size_t i = 1; i < c->count && width > 0; i++) {
    bits_put(&b, c->lane[i] - c->lane[i - 1] - c->step_least, width);
  }
  bits_end(&b);
}

static void choice_put(writer *w, const column *c) {
  head_put(w, CX_CHOICE, c->choices - 1);
  for (unsigned k = 0; k < c->choices; k++) {
    number_put(w, c->choice[k]);
  }
  bits b = {.w = w};
  for (size_t i = 0; i < c->count; i++) {
    unsigned k = 0;
    while (c->choice[k] != c->lane[i]) {
      k++;
    }
    bits_put(&b, k, choice_width(c->choices));
  }
  bits_end(&b);
}

static void rare_put(writer *w, const column *c) {
  unsigned width = width_of(c->rare_most - c->rare_least);
  width = width > 0 ? width : 1;
  head_put(w, CX_RARE, width - 1);
  number_put(w, c->usual);
  number_put(w, c->rare_least);
  bits b = {.w = w};
  for (size_t i = 0; i < c->count; i++) {
    bits_put(&b, c->lane[i] != c->usual, 1);
  }
  bits_end(&b);
  b = (bits){.w = w};
  for (size_t i = 0; i < c->count; i++) {
    if (c->lane[i] != c->usual) {
      bits_put(&b, c->lane[i] - c->rare_least, width);
    }
  }
  bits_end(&b);
}

static void column_put(writer *w, column *c) {
  switch (mode_choose(c)) {
  case CX_CONSTANT:
    head_put(w, CX_CONSTANT, c->least != 0);
    if (c->least != 0) {
      number_put(w, c->least);
    }
    break;
  case CX_RANGE:
    range_put(w, c, 0);
    break;
  case CX_ALIGNED:
    range_put(w, c, (unsigned)__builtin_ctz(c->differ));
    break;
  case CX_RISING:
  case CX_LINE:
    rising_put(w, c);
    break;
  case CX_CHOICE:
    choice_put(w, c);
    break;
  default:
    rare_put(w, c);
    break;
  }
}

size_t cx_columns_pack(const uint32_t *lanes, size_t count, unsigned stride, uint8_t *to, size_t room, cx_column *scratch) {
  writer w = {.at = to, .limit = to + room};
  byte_put(&w, stride - 1);
  for (unsigned k = 0; k < stride && k < count && !w.full; k++) {
    column c = {.lane = scratch->lane};
    for (size_t i = k; i < count; i += stride) {
      scratch->lane[c.count++] = lanes[i];
    }
    column_put(&w, &c);
  }
  return w.full ? 0 : (size_t)(w.at - to);
}
