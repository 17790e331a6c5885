// SPDX-License-Identifier: MIT
// library.h: lz4 and zstd, loaded when they are first asked for, so that programs that do not compress need neither. For this folder, and for others that
// compress.
//
// Neighbours: library.c. Their headers are there to check the calls; a build without a header has no such library. Any thread.

#ifndef RT_IMAGE_LIBRARY_H
#define RT_IMAGE_LIBRARY_H

#include <stddef.h>

#ifdef VEIL_LZ4
#include <lz4.h>
#include <lz4hc.h>
// Constant once loaded.
typedef struct rt_image_lz4 {
  __typeof__(&LZ4_compress_default) compress;
  __typeof__(&LZ4_compress_fast_extState) compress_in; // in memory of the caller's: an LZ4_stream_t
  __typeof__(&LZ4_compress_HC_extStateHC) compress_well; // the same: an LZ4_streamHC_t
  __typeof__(&LZ4_initStreamHC) prepare;                 // one of these, for a dictionary
  __typeof__(&LZ4_resetStreamHC_fast) level;
  __typeof__(&LZ4_loadDictHC) dictionary;
  __typeof__(&LZ4_compress_HC_continue) compress_with;
  __typeof__(&LZ4_decompress_safe) decompress;
  __typeof__(&LZ4_decompress_safe_usingDict) decompress_with;
} rt_image_lz4;
// NULL: it is not installed, or lacks a call.
const rt_image_lz4 *rt_image_lz4_library(void);
#endif

#ifdef VEIL_ZSTD
#define ZSTD_STATIC_LINKING_ONLY // contexts in memory of the caller's, and memory from a caller's functions
#include <zstd.h>
// Constant once loaded.
typedef struct rt_image_zstd {
  __typeof__(&ZSTD_isError) wrong;
  __typeof__(&ZSTD_compressCCtx) compress;
  __typeof__(&ZSTD_decompressDCtx) decompress;
  __typeof__(&ZSTD_initStaticCCtx) packer;
  __typeof__(&ZSTD_initStaticDCtx) unpacker;
  __typeof__(&ZSTD_estimateCCtxSize) packer_bytes;
  __typeof__(&ZSTD_estimateDCtxSize) unpacker_bytes;
  __typeof__(&ZSTD_createCCtx_advanced) packer_make;
  __typeof__(&ZSTD_freeCCtx) packer_free;
  __typeof__(&ZSTD_getCParams) parameters;
  __typeof__(&ZSTD_estimateCDictSize_advanced) packer_dictionary_bytes; // dictionaries lie in memory of the caller's: some versions die of one that fails
  __typeof__(&ZSTD_initStaticCDict) packer_dictionary;
  __typeof__(&ZSTD_estimateDDictSize) unpacker_dictionary_bytes;
  __typeof__(&ZSTD_initStaticDDict) unpacker_dictionary;
  __typeof__(&ZSTD_compress_usingCDict) compress_with;
  __typeof__(&ZSTD_decompress_usingDDict) decompress_with;
} rt_image_zstd;
// NULL: it is not installed, or lacks a call.
const rt_image_zstd *rt_image_zstd_library(void);
#endif

#endif
