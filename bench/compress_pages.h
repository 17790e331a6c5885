// SPDX-License-Identifier: MIT
// compress_pages.h: pages as heaps have them, made up by a seed: for measuring what compresses them, and for tests of it.
//
// Neighbours: compress_codec.c, tests/compress. Any thread.

#ifndef BENCH_COMPRESS_PAGES_H
#define BENCH_COMPRESS_PAGES_H

#include <stddef.h>
#include <stdint.h>

// Pages of objects are as they are when parked: headers without what is the collector's, the token in the place of references.
typedef enum compress_kind {
  COMPRESS_ZERO,
  COMPRESS_REPEAT,  // one word
  COMPRESS_NEAR,    // pointers within 1 MiB, with no header and not parked
  COMPRESS_GRAPH,   // nodes of 64 bytes: a header, four references, a key, two counters
  COMPRESS_RECORDS, // of 80 bytes: a number, times, a price, flags, a code, references
  COMPRESS_MIXED,   // objects of four types and sizes in any order
  COMPRESS_INTS,    // 32 bits: small, and slowly rising
  COMPRESS_DOUBLES, // measured values with two decimals
  COMPRESS_JSON,    // values of a key-value server: leaf arrays of 100 to 500 bytes
  COMPRESS_TEXT,    // words
  COMPRESS_RANDOM,
  COMPRESS_KINDS
} compress_kind;

extern const char *const compress_kind_names[COMPRESS_KINDS];

// What stands in the place of a reference on a page that is parked.
enum { COMPRESS_TOKEN = 16 };

// Fills `bytes` bytes, a multiple of 8, as page `number` of this kind.
void compress_page_fill(void *page, size_t bytes, compress_kind kind, uint64_t seed, uint64_t number);

// The contents of one value as such pages have them, with a zero behind it: JSON of some 200 to 500 bytes, or words until `room` is full. How many bytes, without the zero. The same for the same seed.
size_t compress_json_write(char *to, size_t room, uint64_t seed);
size_t compress_text_write(char *to, size_t room, uint64_t seed);

#endif
