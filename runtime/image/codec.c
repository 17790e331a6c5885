// SPDX-License-Identifier: MIT
// codec.c: blobs, by lz4 and zstd where the build has them, and the shortcut for pages of zeros.
//
// Neighbours: writer.c packs, reader.c unpacks. Any thread.

#include <string.h>
#include "runtime/image/inner.h"
#ifdef VEIL_LZ4
#include <lz4.h>
#endif
#ifdef VEIL_ZSTD
#include <zstd.h>
#endif

enum { ZSTD_FAST = 1 }; // higher levels gain a few percent on pages of pointers, at several times the cost

#ifdef VEIL_LZ4
static size_t lz4_pack(const void *from, size_t bytes, void *to, size_t room) {
  int n = LZ4_compress_default(from, to, (int)bytes, (int)room);
  return n > 0 ? (size_t)n : 0;
}
static bool lz4_unpack(const void *from, size_t bytes, void *to, size_t wanted) {
  return LZ4_decompress_safe(from, to, (int)bytes, (int)wanted) == (int)wanted;
}
enum { LZ4_HERE = 1 };
#else
static size_t lz4_pack(const void *from, size_t bytes, void *to, size_t room) { return 0; }
static bool lz4_unpack(const void *from, size_t bytes, void *to, size_t wanted) { return false; }
enum { LZ4_HERE = 0 };
#endif

#ifdef VEIL_ZSTD
static size_t zstd_pack(const void *from, size_t bytes, void *to, size_t room) {
  size_t n = ZSTD_compress(to, room, from, bytes, ZSTD_FAST);
  return ZSTD_isError(n) ? 0 : n;
}
static bool zstd_unpack(const void *from, size_t bytes, void *to, size_t wanted) { return ZSTD_decompress(to, wanted, from, bytes) == wanted; }
enum { ZSTD_HERE = 1 };
#else
static size_t zstd_pack(const void *from, size_t bytes, void *to, size_t room) { return 0; }
static bool zstd_unpack(const void *from, size_t bytes, void *to, size_t wanted) { return false; }
enum { ZSTD_HERE = 0 };
#endif

bool rt_image_codec_here(rt_image_codec codec) {
  switch (codec) {
  case RT_IMAGE_PLAIN:
    return true;
  case RT_IMAGE_LZ4:
    return LZ4_HERE;
  case RT_IMAGE_ZSTD:
    return ZSTD_HERE;
  }
  return false;
}

size_t rt_image_pack(rt_image_codec codec, const void *from, size_t bytes, void *to, size_t room) {
  size_t worth = bytes - bytes / 8;
  room = room < worth ? room : worth;
  return codec == RT_IMAGE_LZ4 ? lz4_pack(from, bytes, to, room) : codec == RT_IMAGE_ZSTD ? zstd_pack(from, bytes, to, room) : 0;
}

bool rt_image_unpack(rt_image_codec codec, const void *from, size_t bytes, void *to, size_t wanted) {
  return codec == RT_IMAGE_LZ4 ? lz4_unpack(from, bytes, to, wanted) : codec == RT_IMAGE_ZSTD && zstd_unpack(from, bytes, to, wanted);
}

bool rt_image_is_zero(const void *bytes, size_t count) {
  const char *at = bytes;
  return count == 0 || (at[0] == 0 && memcmp(at, at + 1, count - 1) == 0);
}
