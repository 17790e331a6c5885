// SPDX-License-Identifier: MIT
// columns.c: columns by themselves: each mode, at the ends of its range; blobs made by hand that lie.

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/compress/columns.h"
#include "runtime/compress/planes.h"
#include "tests/compress/rig.h"

static cx_column scratch;

// The lanes come back, and with one byte less of room nothing is packed. Bytes.
static size_t passes(const uint32_t *lanes, size_t count, unsigned stride) {
  size_t room = count * 8 + CX_STRIDE_MOST * 24;
  uint8_t *blob = calloc(1, room + CX_COLUMNS_PAD);
  uint32_t *out = (uint32_t *)(void *)(rig_fenced(1 << 20) + (1 << 20)) - count; // up to a guard
  size_t bytes = cx_columns_pack(lanes, count, stride, blob, room, &scratch);
  cr_assert(bytes > 0);
  memset(blob + bytes, 0, CX_COLUMNS_PAD);
  cr_assert(cx_columns_unpack(blob, bytes, out, count));
  cr_assert_eq(memcmp(out, lanes, count * 4), 0);
  cr_assert_eq(cx_columns_pack(lanes, count, stride, blob, bytes - 1, &scratch), 0);
  munmap((uint8_t *)(void *)(out + count) - (1 << 20) - 4096, (1 << 20) + 8192);
  free(blob);
  return bytes;
}

Test(columns, each_width_and_each_mode_comes_back) {
  uint64_t state = rig_seed();
  uint32_t lane[1024];
  for (unsigned width = 0; width <= 32; width++) {
    uint32_t mask = width == 0 ? 0 : UINT32_MAX >> (32 - width);
    for (unsigned what = 0; what < 7; what++) {
      uint32_t base = what % 2 ? UINT32_MAX - mask / 2 : 100, now = base;
      for (unsigned i = 0; i < 1024; i++) {
        uint32_t some = (uint32_t)rig_next(&state) & mask;
        now += some;
        lane[i] = what < 2 ? base + some : what < 4 ? now : what == 4 ? some << (32 - width) % 32 : what == 5 ? base + some % 16 * 0x01010101u : rig_next(&state) % 20 ? base : some;
      }
      for (unsigned stride = 1; stride <= CX_STRIDE_MOST; stride = stride * 3 + 1) {
        passes(lane, 1024, stride);
      }
    }
  }
}

Test(columns, few_lanes_come_back) {
  uint32_t lane[300];
  uint64_t state = 1;
  for (unsigned count = 1; count < 300; count++) {
    for (unsigned i = 0; i < count; i++) {
      lane[i] = (uint32_t)rig_next(&state) & 0xff00ff;
    }
    passes(lane, count, 1);
    passes(lane, count, 7);
    passes(lane, count, CX_STRIDE_MOST);
  }
}

Test(columns, each_mode_takes_as_little_as_it_should) {
  uint32_t lane[1024];
#define FILL(VALUE)                       \
  for (uint32_t i = 0; i < 1024; i++) {   \
    lane[i] = (VALUE);                    \
  }
  FILL(0);
  cr_assert_eq(passes(lane, 1024, 1), 2);
  FILL(5);
  cr_assert_eq(passes(lane, 1024, 1), 3);
  FILL(1000 + i * 7);
  cr_assert(passes(lane, 1024, 1) <= 6); // a line
  FILL(1000 + i * 7 + (i & 3));
  cr_assert(passes(lane, 1024, 1) <= 6 + 1024 * 4 / 8);
  FILL(1000 - i * 7);
  cr_assert(passes(lane, 1024, 1) <= 6); // … that falls
  FILL(i * 2654435761u % 256 * 4096);
  cr_assert(passes(lane, 1024, 1) <= 6 + 1024);
  FILL(1u << i * 2654435761u % 16);
  cr_assert(passes(lane, 1024, 1) <= 2 + 16 * 5 + 512);
  FILL(i % 64 == 9 ? i * 2654435761u : 77);
  cr_assert(passes(lane, 1024, 1) <= 12 + 128 + 16 * 4);
}

Test(columns, strides_of_objects_are_found) {
  uint32_t lane[1024];
  uint64_t state = 1;
  for (unsigned stride = 4; stride <= 64; stride += 4) {
    for (unsigned i = 0; i < 1024; i++) {
      lane[i] = i % stride < 2 ? (uint32_t)rig_next(&state) : i % stride * 0x12345;
    }
    unsigned found[CX_STRIDES_FOUND], n = cx_columns_strides(lane, 1024, found);
    cr_assert(n > 0 && found[0] == stride, "%u, not %u", n > 0 ? found[0] : 0, stride);
  }
}

static bool accepts(const void *bytes, size_t count, size_t lanes) {
  static uint8_t blob[64 + CX_COLUMNS_PAD];
  static uint32_t out[1024];
  memset(blob, 0, sizeof blob);
  memcpy(blob, bytes, count);
  return cx_columns_unpack(blob, count, out, lanes);
}

Test(columns, lies_are_refused) {
  enum { CONSTANT = CX_CONSTANT, RANGE = CX_RANGE, ALIGNED = CX_ALIGNED, CHOICE = CX_CHOICE, RARE = CX_RARE, LINE = CX_LINE, RISING = CX_RISING };
#define BYTES(...) (const uint8_t[]){__VA_ARGS__}, sizeof(const uint8_t[]){__VA_ARGS__}
  cr_assert(accepts(BYTES(0, CONSTANT), 8)); // the forms that the rest departs from are good
  cr_assert(accepts(BYTES(0, CONSTANT | 1 << 3, 9), 8));
  cr_assert(accepts(BYTES(0, RANGE | 0 << 3, 9, 0x5a), 8));
  cr_assert(accepts(BYTES(0, ALIGNED | 0 << 3, 4, 9, 0x5a), 8));
  cr_assert(accepts(BYTES(0, CHOICE | 2 << 3, 1, 2, 3, 0x90, 0x24), 8));
  cr_assert(accepts(BYTES(0, RARE | 7 << 3, 1, 2, 0x81, 7, 8), 8));
  cr_assert(accepts(BYTES(0, LINE, 1, 2), 8));
  cr_assert(accepts(BYTES(0, RISING | 0 << 3, 1, 2, 0x7f), 8));
  cr_assert(!accepts(BYTES(0), 8));
  cr_assert(!accepts(BYTES(CX_STRIDE_MOST, CONSTANT), 8));                         // a stride that is too long
  cr_assert(!accepts(BYTES(0, CONSTANT | 2 << 3), 8));                             // bits that mean nothing
  cr_assert(!accepts(BYTES(0, LINE | 1 << 3, 1, 2), 8));
  cr_assert(!accepts(BYTES(0, CX_MODES), 8));
  cr_assert(!accepts(BYTES(0, CONSTANT | 1 << 3, 0), 8));                          // two ways to say zero
  cr_assert(!accepts(BYTES(0, CONSTANT | 1 << 3, 0x89, 0), 8));                    // a number with zeros before it
  cr_assert(!accepts(BYTES(0, CONSTANT | 1 << 3, 0xff, 0xff, 0xff, 0xff, 0x1f), 8)); // one of more than 32 bits
  cr_assert(!accepts(BYTES(0, CONSTANT | 1 << 3, 0xff, 0xff, 0xff, 0xff, 0xff, 1), 8));
  cr_assert(!accepts(BYTES(0, CONSTANT | 1 << 3, 0x80), 8));                       // one that does not end
  cr_assert(!accepts(BYTES(0, CONSTANT, 0), 8));                                   // bytes behind
  cr_assert(!accepts(BYTES(0, RANGE | 0 << 3, 9), 8));                             // values that are not there
  cr_assert(!accepts(BYTES(0, RANGE | 31 << 3, 9, 1, 2, 3), 1024));
  cr_assert(!accepts(BYTES(0, RANGE | 0 << 3, 9, 0x5a), 7) || (0x5a & 0x80) == 0); // bits beyond the last
  cr_assert(!accepts(BYTES(0, RANGE | 0 << 3, 9, 0xda), 7));
  cr_assert(!accepts(BYTES(0, ALIGNED | 0 << 3, 0, 9, 0x5a), 8));                  // a shift of none
  cr_assert(!accepts(BYTES(0, ALIGNED | 0 << 3, 32, 9, 0x5a), 8));
  cr_assert(!accepts(BYTES(0, CHOICE | 2 << 3, 1, 2, 3, 0x90, 0xe4), 8));          // the fourth of three
  cr_assert(!accepts(BYTES(0, CHOICE | 0 << 3, 1), 8));                            // of one
  cr_assert(!accepts(BYTES(0, CHOICE | 16 << 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 0, 0, 0, 0, 0), 8));
  cr_assert(!accepts(BYTES(0, RARE | 7 << 3, 1, 2, 0x81, 7), 8));                  // two others, one of them there
  cr_assert(!accepts(BYTES(0, CONSTANT), 0));                                      // a page of nothing
}

Test(planes, what_is_taken_apart_is_put_together_again) {
  static uint8_t words[65536], planes[65536], out[65536];
  uint64_t state = 1;
  for (size_t i = 0; i < sizeof words; i++) {
    words[i] = (uint8_t)rig_next(&state);
  }
  for (size_t bytes = 128; bytes <= sizeof words; bytes *= 2) {
    cx_planes_split(words, planes, bytes);
    for (size_t i = 0; i < bytes; i++) {
      cr_assert_eq(planes[i % 8 * (bytes / 8) + i / 8], words[i]);
    }
    cx_planes_join(planes, out, bytes);
    cr_assert_eq(memcmp(out, words, bytes), 0);
  }
}
