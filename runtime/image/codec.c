// SPDX-License-Identifier: MIT
// codec.c: blobs, by lz4 and zstd where they are, and the shortcut for pages of zeros.
//
// Neighbours: writer.c packs, reader.c unpacks. Any thread.

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>
#include "runtime/image/inner.h"

enum { ZSTD_FAST = 1 }; // higher levels gain a few percent on pages of pointers, at several times the cost

// The libraries are loaded when a codec is first asked for, so that programs that do not compress need neither. Their headers are there to check the calls.
// Constant from then on.
#ifdef VEIL_LZ4
#include <lz4.h>
static __typeof__(&LZ4_compress_default) lz4_compress;
static __typeof__(&LZ4_decompress_safe) lz4_decompress;

static void lz4_load(void) {
  void *library = dlopen("liblz4.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library != NULL) {
    lz4_decompress = (__typeof__(lz4_decompress))dlsym(library, "LZ4_decompress_safe");
    lz4_compress = (__typeof__(lz4_compress))dlsym(library, "LZ4_compress_default");
  }
}
static size_t lz4_pack(const void *from, size_t bytes, void *to, size_t room) {
  int n = lz4_compress(from, to, (int)bytes, (int)room);
  return n > 0 ? (size_t)n : 0;
}
static bool lz4_unpack(const void *from, size_t bytes, void *to, size_t wanted) { return lz4_decompress(from, to, (int)bytes, (int)wanted) == (int)wanted; }
static bool lz4_here(void) { return lz4_compress != NULL && lz4_decompress != NULL; }
#else
static void lz4_load(void) {}
static size_t lz4_pack(const void *from, size_t bytes, void *to, size_t room) { return 0; }
static bool lz4_unpack(const void *from, size_t bytes, void *to, size_t wanted) { return false; }
static bool lz4_here(void) { return false; }
#endif

#ifdef VEIL_ZSTD
#define ZSTD_STATIC_LINKING_ONLY // contexts in memory of the caller's
#include <zstd.h>
static __typeof__(&ZSTD_compressCCtx) zstd_compress;
static __typeof__(&ZSTD_decompressDCtx) zstd_decompress;
static __typeof__(&ZSTD_isError) zstd_wrong;
static __typeof__(&ZSTD_initStaticCCtx) zstd_packer;
static __typeof__(&ZSTD_initStaticDCtx) zstd_unpacker;
static __typeof__(&ZSTD_estimateCCtxSize) zstd_packer_bytes;

static void zstd_load(void) {
  void *library = dlopen("libzstd.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library != NULL) {
    zstd_wrong = (__typeof__(zstd_wrong))dlsym(library, "ZSTD_isError");
    zstd_decompress = (__typeof__(zstd_decompress))dlsym(library, "ZSTD_decompressDCtx");
    zstd_compress = (__typeof__(zstd_compress))dlsym(library, "ZSTD_compressCCtx");
    zstd_packer = (__typeof__(zstd_packer))dlsym(library, "ZSTD_initStaticCCtx");
    zstd_unpacker = (__typeof__(zstd_unpacker))dlsym(library, "ZSTD_initStaticDCtx");
    zstd_packer_bytes = (__typeof__(zstd_packer_bytes))dlsym(library, "ZSTD_estimateCCtxSize");
  }
}
// A context in fixed memory neither grows nor shrinks, so nothing is allocated by packing and unpacking.
static size_t zstd_pack(void *memory, const void *from, size_t bytes, void *to, size_t room) {
  ZSTD_CCtx *packer = zstd_packer(memory, zstd_packer_bytes(ZSTD_FAST));
  size_t n = packer != NULL ? zstd_compress(packer, to, room, from, bytes, ZSTD_FAST) : 0;
  return zstd_wrong(n) ? 0 : n;
}
static bool zstd_unpack(void *memory, const void *from, size_t bytes, void *to, size_t wanted) {
  ZSTD_DCtx *unpacker = zstd_unpacker(memory, IMAGE_UNPACKER);
  return unpacker != NULL && zstd_decompress(unpacker, to, wanted, from, bytes) == wanted;
}
static bool zstd_here(void) {
  return zstd_compress != NULL && zstd_decompress != NULL && zstd_wrong != NULL && zstd_packer != NULL && zstd_unpacker != NULL && zstd_packer_bytes != NULL;
}
static size_t zstd_memory(void) { return zstd_packer_bytes(ZSTD_FAST); }
#else
static void zstd_load(void) {}
static size_t zstd_pack(void *memory, const void *from, size_t bytes, void *to, size_t room) { return 0; }
static bool zstd_unpack(void *memory, const void *from, size_t bytes, void *to, size_t wanted) { return false; }
static bool zstd_here(void) { return false; }
static size_t zstd_memory(void) { return 0; }
#endif

// Asked before a codec is used.
bool rt_image_codec_here(rt_image_codec codec) {
  static pthread_once_t lz4_once = PTHREAD_ONCE_INIT, zstd_once = PTHREAD_ONCE_INIT;
  switch (codec) {
  case RT_IMAGE_PLAIN:
    return true;
  case RT_IMAGE_LZ4:
    pthread_once(&lz4_once, lz4_load);
    return lz4_here();
  case RT_IMAGE_ZSTD:
    pthread_once(&zstd_once, zstd_load);
    return zstd_here();
  }
  return false;
}

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
