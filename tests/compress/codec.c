// SPDX-License-Identifier: MIT
// codec.c: what goes in comes out, by every method, in every size of page; what is chosen; what it takes.

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include "bench/compress_pages.h"
#include "runtime/compress/codec.h"
#include "tests/compress/rig.h"

static const size_t sizes[] = {4096, 8192, 16384, 32768, 65536};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

Test(codec, every_kind_of_page_comes_back_the_same_in_every_size_by_every_method, .timeout = 300) {
  for (unsigned k = 0; k < SIZES * 2; k++) {
    rig r;
    rig_open(&r, sizes[k / 2], k % 2 ? CX_SPEED : CX_SPACE, true);
    for (int kind = 0; kind < COMPRESS_KINDS; kind++) {
      for (uint64_t n = 0; n < 12; n++) {
        compress_page_fill(r.page, r.bytes, (compress_kind)kind, 7, n);
        for (int method = CX_REPEAT; method < CX_METHODS; method++) {
          size_t bytes = cx_pack_by(r.packer, (cx_method)method, r.page, r.blob, r.bytes);
          cr_assert(bytes <= r.bytes);
          if (bytes > 0) {
            cr_assert_eq(cx_blob_method(r.blob, bytes), method);
            cr_assert(rig_unpacks(&r, r.blob, bytes) && rig_is_same(&r), "%s by %s", compress_kind_names[kind], cx_method_names[method]);
          }
        }
        size_t bytes = cx_pack(r.packer, &r.predictor, r.page, r.blob, r.bytes);
        cr_assert(bytes <= cx_codec_worth(r.codec));
        cr_assert(bytes == 0 || (rig_unpacks(&r, r.blob, bytes) && rig_is_same(&r)), "%s", compress_kind_names[kind]);
      }
    }
    rig_close(&r);
  }
}

Test(codec, a_repeated_word_takes_sixteen_bytes_at_the_most) {
  for (unsigned k = 0; k < SIZES; k++) {
    rig r;
    rig_open(&r, sizes[k], CX_SPACE, false);
    for (uint64_t word = 0; word < 100; word++) {
      for (size_t i = 0; i < r.bytes / 8; i++) {
        memcpy(r.page + i * 8, &(uint64_t){word * 0x9e3779b97f4a7c15u}, 8);
      }
      size_t bytes = cx_pack(r.packer, &r.predictor, r.page, r.blob, r.bytes);
      cr_assert(bytes > 0 && bytes <= CX_REPEAT_MOST, "%zu", bytes);
      cr_assert(rig_unpacks(&r, r.blob, bytes) && rig_is_same(&r));
      r.page[8 * (word % (r.bytes / 8)) + word % 8] ^= 1; // one bit of one word, and it is no such page any more
      bytes = cx_pack(r.packer, &r.predictor, r.page, r.blob, r.bytes);
      cr_assert(bytes > 0 && cx_blob_method(r.blob, bytes) != CX_REPEAT);
      cr_assert(rig_unpacks(&r, r.blob, bytes) && rig_is_same(&r));
    }
    rig_close(&r);
  }
}

Test(codec, what_does_not_pay_is_refused_and_little_time_is_spent_on_its_neighbours) {
  rig r;
  rig_open(&r, 4096, CX_SPACE, false);
  for (uint64_t n = 0; n < 200; n++) {
    compress_page_fill(r.page, r.bytes, COMPRESS_RANDOM, 1, n);
    cr_assert_eq(cx_pack(r.packer, &r.predictor, r.page, r.blob, r.bytes), 0);
  }
  // After so many, pages that do pay are still found.
  compress_page_fill(r.page, r.bytes, COMPRESS_JSON, 1, 0);
  cr_assert(cx_pack(r.packer, &r.predictor, r.page, r.blob, r.bytes) > 0);
  rig_close(&r);
}

Test(codec, a_blob_never_takes_more_than_its_room) {
  rig r;
  rig_open(&r, 4096, CX_SPACE, true);
  for (int kind = 0; kind < COMPRESS_KINDS; kind++) {
    compress_page_fill(r.page, r.bytes, (compress_kind)kind, 3, 0);
    for (int method = CX_NONE; method < CX_METHODS; method++) {
      for (size_t room = 0; room <= r.bytes; room += room < 64 ? 1 : 97) {
        memset(r.blob, 0xa5, r.bytes * 2);
        cx_predictor nothing = 0;
        size_t bytes = method == CX_NONE ? cx_pack(r.packer, &nothing, r.page, r.blob, room) : cx_pack_by(r.packer, (cx_method)method, r.page, r.blob, room);
        cr_assert(bytes <= room);
        for (size_t i = bytes; i < r.bytes * 2; i++) {
          cr_assert_eq(r.blob[i], 0xa5, "byte %zu was written, the blob has %zu, the room %zu", i, bytes, room);
        }
        cr_assert(bytes == 0 || (rig_unpacks(&r, r.blob, bytes) && rig_is_same(&r)));
      }
    }
  }
  rig_close(&r);
}

// The mean ratio of a kind of page, over 100, as a block of them would be packed.
static double ratio_of(rig *r, compress_kind kind) {
  size_t total = 0;
  r->predictor = 0;
  for (uint64_t n = 0; n < 100; n++) {
    compress_page_fill(r->page, r->bytes, kind, 5, n);
    size_t bytes = cx_pack(r->packer, &r->predictor, r->page, r->blob, r->bytes);
    total += bytes > 0 ? bytes : r->bytes;
  }
  return 100.0 * (double)r->bytes / (double)total;
}

Test(codec, pages_of_objects_and_pointers_are_packed_by_columns_better_than_by_any_other_means) {
  rig r;
  rig_open(&r, 4096, CX_SPACE, false);
  // What zstd makes of these, with and without byte planes: 3.0, 6.0, 3.5, 2.35.
  cr_expect(ratio_of(&r, COMPRESS_NEAR) > 3.8);
  cr_expect(ratio_of(&r, COMPRESS_GRAPH) > 8);
  cr_expect(ratio_of(&r, COMPRESS_RECORDS) > 4.8);
  cr_expect(ratio_of(&r, COMPRESS_INTS) > 3);
  rig_close(&r);
}

Test(codec, a_dictionary_makes_less_of_pages_that_have_much_in_common) {
  rig with, without;
  rig_open(&with, 4096, CX_SPACE, true);
  rig_open(&without, 4096, CX_SPACE, false);
  double a = ratio_of(&with, COMPRESS_JSON), b = ratio_of(&without, COMPRESS_JSON);
  cr_assert(a > b * 1.1, "%.2f with, %.2f without", a, b);
  rig_close(&with);
  rig_close(&without);
}

Test(codec, a_dictionary_is_learned_by_itself_and_another_one_when_pages_change, .timeout = 120) {
  rig r;
  rig_open(&r, 4096, CX_SPEED, true);
  cx_packer_close(r.packer);
  cx_codec_close(r.codec);
  r.codec = cx_codec_open(&(cx_codec_options){.page_bytes = r.bytes, .prefer = CX_SPEED});
  r.packer = cx_packer_open(r.codec);
  r.unpacker = cx_unpacker_prepare(r.codec, r.unpacker);
  cr_assert_eq(cx_codec_dictionaries(r.codec), 0);
  uint8_t first[4096], early[4096];
  size_t early_bytes = 0;
  for (uint64_t n = 0; cx_codec_dictionaries(r.codec) < 2 && n < 40000; n++) {
    compress_kind kind = cx_codec_dictionaries(r.codec) == 0 ? COMPRESS_JSON : COMPRESS_DOUBLES;
    compress_page_fill(r.page, r.bytes, kind, 5, n);
    size_t bytes = cx_pack(r.packer, &r.predictor, r.page, r.blob, r.bytes);
    cr_assert(bytes == 0 || (rig_unpacks(&r, r.blob, bytes) && rig_is_same(&r)));
    if (early_bytes == 0 && cx_codec_dictionaries(r.codec) == 1 && bytes > 0 && r.blob[0] >> 4 == 1) { // with the first one
      early_bytes = bytes;
      memcpy(early, r.blob, bytes);
      memcpy(first, r.page, r.bytes);
    }
  }
  cr_assert_eq(cx_codec_dictionaries(r.codec), 2);
  cr_assert(early_bytes > 0);
  memcpy(r.page, first, r.bytes);
  cr_assert(rig_unpacks(&r, early, early_bytes) && rig_is_same(&r), "what was packed with the first dictionary is still read");
  rig_close(&r);
}

Test(codec, no_more_dictionaries_are_learned_than_blobs_can_name) {
  rig r;
  rig_open(&r, 4096, CX_SPACE, true);
  static uint8_t pages[16 * 4096];
  unsigned learned = 1;
  while (learned < 100 && cx_codec_learn(r.codec, pages, 16)) {
    learned++;
  }
  cr_assert_eq(learned, cx_codec_dictionaries(r.codec));
  cr_assert(learned < 16);
  rig_close(&r);
}

Test(codec, random_pages_with_little_in_them_come_back_the_same, .timeout = 120) {
  uint64_t seed = rig_seed();
  for (unsigned k = 0; k < SIZES; k++) {
    rig r;
    rig_open(&r, sizes[k], k % 2 ? CX_SPACE : CX_SPEED, k % 3 == 0);
    for (unsigned n = 0; n < 400; n++) {
      rig_random_page(&r, &seed);
      for (int method = CX_NONE; method < CX_METHODS; method++) {
        size_t bytes = method == CX_NONE ? cx_pack(r.packer, &r.predictor, r.page, r.blob, r.bytes) : cx_pack_by(r.packer, (cx_method)method, r.page, r.blob, r.bytes);
        cr_assert(bytes == 0 || (rig_unpacks(&r, r.blob, bytes) && rig_is_same(&r)), "page %u by %s", n, cx_method_names[method]);
      }
    }
    rig_close(&r);
  }
}
