// SPDX-License-Identifier: MIT
// format.h: what stands in an image's file. README.md tells what it means.
//
// Neighbours: everything in this folder. All structs are written as they are in memory: no padding, little-endian.

#ifndef RT_IMAGE_FORMAT_H
#define RT_IMAGE_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#define IMAGE_MAGIC "veil image\r\n\032\n\377"
enum { IMAGE_MAGIC_BYTES = 16 };
enum {
  IMAGE_FORMAT = 1,
  IMAGE_BYTE_ORDER = 0x01020304,
  IMAGE_BLOCK = 4096,       // slots have so many bytes, and writes are multiples of it
  IMAGE_START = 2 * 4096,   // of the first extent
  IMAGE_CHAIN_MAX = 64,     // segments of a version
  IMAGE_BLOB = 64 << 10,    // bytes of pages that are compressed together, at most
  IMAGE_NAME = 32,          // bytes of a section's name, with its zero
  IMAGE_SECTIONS_MAX = 1024 // of a version
};
#define IMAGE_PAGES_MAX (UINT64_C(1) << 40)

enum { IMAGE_STREAM = 1 }; // flags of a header

// What lies elsewhere in the file. All zero: nothing.
typedef struct image_reference {
  uint64_t offset, bytes;
  uint64_t sum; // XXH3 of these bytes
} image_reference;

typedef struct image_header {
  char magic[IMAGE_MAGIC_BYTES];
  uint32_t byte_order, format;
  uint32_t word, page_size; // bytes
  uint64_t base, span;      // where the heap lay, and how long it was at most
  uint64_t id;              // of the file: what slots of one file share
  uint64_t version;         // 1, 2, 3 …; 0 in the preamble of a stream
  uint64_t time;            // ns since 1970
  uint64_t end;             // bytes that the file has at least
  uint64_t pages;           // that the version has
  uint64_t flags;
  image_reference index;    // the newest segment
  image_reference sections; // the table; all zero if there are none
  uint8_t zero[IMAGE_BLOCK - 152];
  uint64_t sum; // XXH3 of all before
} image_header;
_Static_assert(sizeof(image_header) == IMAGE_BLOCK, "a header fills its slot");

#define IMAGE_SEGMENT_MAGIC UINT64_C(0x746e656d67657376) // "vsegment"

// Followed by `bytes` bytes of extents, zeros to a multiple of 8, and `sums` checksums of pages.
//
// An extent: the pages between it and the one before; the number of its pages, less one, times four, plus its kind; then, if raw, the distance from the end of
// the last raw or packed extent's bytes (zigzag); if packed, that distance, the blob's bytes, its pages, its first page that counts, its codec. All as numbers
// of 7 bits a byte.
typedef struct image_segment {
  uint64_t magic;
  uint64_t id, version; // of the version that wrote it
  image_reference before;
  uint32_t level;
  uint32_t extents;
  uint64_t bytes, sums;
} image_segment;
_Static_assert(sizeof(image_segment) == 72, "no padding");

enum image_kind { IMAGE_RAW, IMAGE_PACKED, IMAGE_ZERO, IMAGE_REMOVED };

// The table of sections is an array of these, sorted by name.
typedef struct image_section {
  char name[IMAGE_NAME]; // padded with zeros
  image_reference at;
} image_section;
_Static_assert(sizeof(image_section) == 56, "no padding");

#endif
