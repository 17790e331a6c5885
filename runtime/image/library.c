// SPDX-License-Identifier: MIT
// library.c: loads lz4 and zstd.
//
// Neighbours: codec.c, and runtime/compress. Any thread.

#include "runtime/image/library.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>

#if defined(VEIL_LZ4) || defined(VEIL_ZSTD)
// False: a call is not there.
static bool take(void *library, const char *name, void *to) {
  void *call = dlsym(library, name);
  *(void **)to = call;
  return call != NULL;
}
#endif

#ifdef VEIL_LZ4
static rt_image_lz4 lz4; // constant after lz4_load
static bool lz4_here;

static void lz4_load(void) {
  void *so = dlopen("liblz4.so.1", RTLD_NOW | RTLD_LOCAL);
  lz4_here = so != NULL && take(so, "LZ4_compress_default", &lz4.compress) && take(so, "LZ4_compress_fast_extState", &lz4.compress_in) &&
             take(so, "LZ4_compress_HC_extStateHC", &lz4.compress_well) && take(so, "LZ4_initStreamHC", &lz4.prepare) &&
             take(so, "LZ4_resetStreamHC_fast", &lz4.level) && take(so, "LZ4_loadDictHC", &lz4.dictionary) && take(so, "LZ4_compress_HC_continue", &lz4.compress_with) &&
             take(so, "LZ4_decompress_safe", &lz4.decompress) && take(so, "LZ4_decompress_safe_usingDict", &lz4.decompress_with);
}

const rt_image_lz4 *rt_image_lz4_library(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, lz4_load);
  return lz4_here ? &lz4 : NULL;
}
#endif

#ifdef VEIL_ZSTD
static rt_image_zstd zstd; // constant after zstd_load
static bool zstd_here;

static void zstd_load(void) {
  void *so = dlopen("libzstd.so.1", RTLD_NOW | RTLD_LOCAL);
  zstd_here = so != NULL && take(so, "ZSTD_isError", &zstd.wrong) && take(so, "ZSTD_compressCCtx", &zstd.compress) &&
              take(so, "ZSTD_decompressDCtx", &zstd.decompress) && take(so, "ZSTD_initStaticCCtx", &zstd.packer) &&
              take(so, "ZSTD_initStaticDCtx", &zstd.unpacker) && take(so, "ZSTD_estimateCCtxSize", &zstd.packer_bytes) &&
              take(so, "ZSTD_estimateDCtxSize", &zstd.unpacker_bytes) && take(so, "ZSTD_createCCtx_advanced", &zstd.packer_make) &&
              take(so, "ZSTD_freeCCtx", &zstd.packer_free) && take(so, "ZSTD_getCParams", &zstd.parameters) &&
              take(so, "ZSTD_estimateCDictSize_advanced", &zstd.packer_dictionary_bytes) &&
              take(so, "ZSTD_initStaticCDict", &zstd.packer_dictionary) && take(so, "ZSTD_estimateDDictSize", &zstd.unpacker_dictionary_bytes) &&
              take(so, "ZSTD_initStaticDDict", &zstd.unpacker_dictionary) &&
              take(so, "ZSTD_compress_usingCDict", &zstd.compress_with) && take(so, "ZSTD_decompress_usingDDict", &zstd.decompress_with);
}

const rt_image_zstd *rt_image_zstd_library(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, zstd_load);
  return zstd_here ? &zstd : NULL;
}
#endif
