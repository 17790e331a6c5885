// SPDX-License-Identifier: MIT
// codec.c: blobs, by lz4 and zstd where they are, and the shortcut for pages of zeros.
//
// Neighbours: writer.c packs, reader.c unpacks. Any thread.

#include <string.h>
#include "runtime/image/inner.h"
#include "runtime/image/library.h"

enum { ZSTD_FAST = 1 }; // higher levels gain a few percent on pages of pointers, at several times the cost

#ifdef VEIL_LZ4
static size_t lz4_pack(const void *from, size_t bytes, void *to, size_t room) {
  int n = rt_image_lz4_library()->compress(from, to, (int)bytes, (int)room);
  return n > 0 ? (size_t)n : 0;
}
static bool lz4_unpack(const void *from, size_t bytes, void *to, size_t wanted) {
  return rt_image_lz4_library()->decompress(from, to, (int)bytes, (int)wanted) == (int)wanted;
}
static bool lz4_here(void) { return rt_image_lz4_library() != NULL; }
#else
static size_t lz4_pack(const void *from, size_t bytes, void *to, size_t room) { return 0; }
static bool lz4_unpack(const void *from, size_t bytes, void *to, size_t wanted) { return false; }
static bool lz4_here(void) { return false; }
#endif

#ifdef VEIL_ZSTD
// A context in fixed memory neither grows nor shrinks, so nothing is allocated by packing and unpacking.
static size_t zstd_pack(void *memory, const void *from, size_t bytes, void *to, size_t room) {
  const rt_image_zstd *zstd = rt_image_zstd_library();
  ZSTD_CCtx *packer = zstd->packer(memory, zstd->packer_bytes(ZSTD_FAST));
  size_t n = packer != NULL ? zstd->compress(packer, to, room, from, bytes, ZSTD_FAST) : 0;
  return zstd->wrong(n) ? 0 : n;
}
static bool zstd_unpack(void *memory, const void *from, size_t bytes, void *to, size_t wanted) {
  const rt_image_zstd *zstd = rt_image_zstd_library();
  ZSTD_DCtx *unpacker = zstd->unpacker(memory, IMAGE_UNPACKER);
  return unpacker != NULL && zstd->decompress(unpacker, to, wanted, from, bytes) == wanted;
}
static bool zstd_here(void) { return rt_image_zstd_library() != NULL; }
static size_t zstd_memory(void) { return rt_image_zstd_library()->packer_bytes(ZSTD_FAST); }
#else
static size_t zstd_pack(void *memory, const void *from, size_t bytes, void *to, size_t room) { return 0; }
static bool zstd_unpack(void *memory, const void *from, size_t bytes, void *to, size_t wanted) { return false; }
static bool zstd_here(void) { return false; }
static size_t zstd_memory(void) { return 0; }
#endif

// Asked before a codec is used.
bool rt_image_codec_here(rt_image_codec codec) { return codec == RT_IMAGE_PLAIN || (codec == RT_IMAGE_LZ4 ? lz4_here() : codec == RT_IMAGE_ZSTD && zstd_here()); }

size_t rt_image_packer_bytes(rt_image_codec codec) { return codec == RT_IMAGE_ZSTD && rt_image_codec_here(codec) ? zstd_memory() : 0; }

size_t rt_image_pack(rt_image_codec codec, void *packer, const void *from, size_t bytes, void *to, size_t room) {
  size_t worth = bytes - bytes / 8;
  room = room < worth ? room : worth;
  return codec == RT_IMAGE_LZ4 ? lz4_pack(from, bytes, to, room) : codec == RT_IMAGE_ZSTD ? zstd_pack(packer, from, bytes, to, room) : 0;
}

bool rt_image_unpack(rt_image_codec codec, void *unpacker, const void *from, size_t bytes, void *to, size_t wanted) {
  return codec == RT_IMAGE_LZ4 ? lz4_unpack(from, bytes, to, wanted) : codec == RT_IMAGE_ZSTD && zstd_unpack(unpacker, from, bytes, to, wanted);
}

bool rt_image_is_zero(const void *bytes, size_t count) {
  const char *at = bytes;
  return count == 0 || (at[0] == 0 && at[count / 2] == 0 && at[count - 1] == 0 && memcmp(at, at + 1, count - 1) == 0);
}
