// SPDX-License-Identifier: MIT
// codec_flips.c: blobs that are damaged, cut, longer, or never were any: found, or the same page; nothing is touched out of bounds.

#include "tests/compress/rig.h"

enum { BY = CX_METHODS }; // methods; CX_NONE: the one that is chosen

// A bit that a method of another's making does not look at may do no harm; in ours there is none.
static bool is_ours(const uint8_t *blob, size_t bytes) {
  cx_method method = cx_blob_method(blob, bytes);
  return method == CX_REPEAT || method == CX_COLUMNS;
}

static size_t packed(rig *r, int method) {
  cx_predictor nothing = 0;
  return method == CX_NONE ? cx_pack(r->packer, &nothing, r->page, r->blob, r->bytes) : cx_pack_by(r->packer, (cx_method)method, r->page, r->blob, r->bytes);
}

static void flips(size_t page_bytes, bool dictionary, uint64_t pages, unsigned one_in) {
  rig r;
  uint64_t state = 1, flipped = 0, harmless = 0;
  rig_open(&r, page_bytes, CX_SPACE, dictionary);
  for (int kind = 0; kind < COMPRESS_KINDS; kind++) {
    for (uint64_t n = 0; n < pages * BY; n++) {
      compress_page_fill(r.page, r.bytes, (compress_kind)kind, 11, n / BY);
      size_t bytes = packed(&r, (int)(n % BY));
      bool ours = is_ours(r.blob, bytes);
      for (size_t i = 0; i < bytes; i++) {
        if (one_in > 1 && i >= CX_HEAD && rig_next(&state) % one_in != 0) {
          continue;
        }
        uint8_t change = i < CX_HEAD || n < BY ? (uint8_t)(1u << rig_next(&state) % 8) : (uint8_t)(1 + rig_next(&state) % 255);
        r.blob[i] ^= change;
        bool unpacked = rig_unpacks(&r, r.blob, bytes);
        r.blob[i] ^= change;
        cr_assert(!unpacked || (!ours && rig_is_same(&r)), "%s by %s: byte %zu of %zu, bits %x: nobody noticed", compress_kind_names[kind],
                  cx_method_names[cx_blob_method(r.blob, bytes)], i, bytes, change);
        flipped++;
        harmless += unpacked;
      }
    }
  }
  cr_assert(flipped > 10000 && harmless * 100 < flipped, "%lu flipped, %lu harmless", flipped, harmless);
  rig_close(&r);
}

Test(codec_flips, every_byte_of_every_blob_is_looked_at, .timeout = 300) { flips(4096, false, 3, 1); }
Test(codec_flips, with_a_dictionary_too, .timeout = 300) { flips(4096, true, 2, 1); }
Test(codec_flips, in_large_pages_too, .timeout = 300) { flips(65536, true, 1, 50); }

Test(codec_flips, a_blob_that_is_cut_or_goes_on_is_found, .timeout = 300) {
  rig r;
  rig_open(&r, 4096, CX_SPACE, true);
  for (int kind = 0; kind < COMPRESS_KINDS; kind++) {
    for (int method = 0; method < BY; method++) {
      compress_page_fill(r.page, r.bytes, (compress_kind)kind, 13, 0);
      size_t bytes = packed(&r, method);
      for (size_t n = 0; n < bytes; n++) {
        cr_assert(!rig_unpacks(&r, r.blob, n), "%s by %s: %zu bytes of %zu", compress_kind_names[kind], cx_method_names[method], n, bytes);
      }
      for (size_t n = bytes + 1; bytes > 0 && n < bytes + 40; n++) {
        memset(r.blob + bytes, (int)n, n - bytes);
        cr_assert(!rig_unpacks(&r, r.blob, n), "%s by %s: %zu bytes behind %zu", compress_kind_names[kind], cx_method_names[method], n - bytes, bytes);
      }
    }
  }
  cr_assert(!cx_unpack(r.unpacker, r.blob, r.bytes + 1, r.out) && !cx_unpack(r.unpacker, r.blob, SIZE_MAX, r.out));
  rig_close(&r);
}

// Bytes that no packer wrote, each method's number before them: most are refused early, some go far.
Test(codec_flips, bytes_that_never_were_a_blob_are_refused, .timeout = 300) {
  rig r;
  uint64_t state = rig_seed();
  for (unsigned k = 0; k < 3; k++) {
    rig_open(&r, k == 0 ? 65536 : 4096, CX_SPACE, k == 1);
    for (unsigned n = 0; n < 60000; n++) {
      size_t bytes = 1 + rig_next(&state) % (n % 4 == 0 ? r.bytes : 64);
      for (size_t i = 0; i < bytes; i++) {
        r.blob[i] = (uint8_t)(rig_next(&state) >> (n % 8)) & (n % 3 == 0 ? 0x0f : 0xff); // small numbers are more likely to mean something
      }
      if (n % 2 == 0) {
        r.blob[0] = (uint8_t)(rig_next(&state) % CX_METHODS | (rig_next(&state) % 8 == 0 ? 0x10 : 0));
      }
      cr_assert(!rig_unpacks(&r, r.blob, bytes));
    }
    rig_close(&r);
  }
}
