// SPDX-License-Identifier: MIT
// inner.h: what the files of the codec share.
//
// Neighbours: codec.h and shelf.h are for everybody else.

#ifndef CX_INNER_H
#define CX_INNER_H

#include <pthread.h>
#include "runtime/compress/codec.h"
#include "runtime/compress/columns.h"
#include "runtime/image/library.h"
#include "vm/atomic.h"

enum {
  DICTIONARIES = 4,          // a blob names one by four bits, of which 0 is none
  DICTIONARY = 64 << 10,     // bytes of one: as far back as lz4 reaches
  SAMPLE = 4 << 10,          // bytes of it from one page
  SAMPLES = DICTIONARY / SAMPLE,
  SAMPLE_EVERY = 64,         // pages of those that a dictionary could help
  PAGE_MOST = 64 << 10,
  ZSTD_MAGIC = 4,            // bytes that each frame begins with, and that no blob keeps
};

// Pages as they were, side by side: what others have in common with them need not be stored. Constant once it is published, and there as long as the codec, since
// blobs need it.
typedef struct dictionary {
  uint8_t *bytes;
#ifdef VEIL_LZ4
  LZ4_streamHC_t *lz4; // has read it: packers begin with a copy
#endif
#ifdef VEIL_ZSTD
  void *zstd_memory[2]; // in which these are
  const ZSTD_CDict *zstd_packer;
  const ZSTD_DDict *zstd_unpacker;
#endif
} dictionary;

struct cx_codec {
  // Constant while it is open.
  cx_codec_options options;
  int lz4_level;
#ifdef VEIL_LZ4
  const rt_image_lz4 *lz4; // NULL: not here
#endif
#ifdef VEIL_ZSTD
  const rt_image_zstd *zstd;
  ZSTD_customMem memory;
#endif
  // Atomic.
  AO_t held;
  AO_t published; // dictionaries; those below are constant
  AO_t helped;    // pages so far that a dictionary could have helped
  // Under the lock, by who learns.
  pthread_mutex_t lock;
  uint8_t *sample;  // SAMPLES of them, of which `sampled` are filled; NULL: none yet
  unsigned sampled;
  uint64_t with, without; // bytes of pages that were packed with the newest dictionary, and without it
  unsigned compared;
  bool learning;    // samples are wanted
  dictionary of[DICTIONARIES];
};

struct cx_packer {
  cx_codec *codec;
#ifdef VEIL_ZSTD
  ZSTD_CCtx *zstd;
#endif
#ifdef VEIL_LZ4
  LZ4_streamHC_t lz4;
  LZ4_stream_t lz4_fast;
#endif
  cx_column column;
  _Alignas(64) uint8_t planes[PAGE_MOST];
  _Alignas(64) uint8_t trial[2][PAGE_MOST]; // the best blob so far, and the next
};

// ---- memory.c: from malloc, counted in codec->held. NULL: none left.
void *cx_memory_take(cx_codec *codec, size_t bytes);
void cx_memory_give(cx_codec *codec, void *memory); // NULL: nothing happens

// ---- dictionary.c
// The newest, and its number, from 1 on; 0: there is none. Any thread.
unsigned cx_dictionary_newest(const cx_codec *codec);
// One of the pages that a dictionary could help, one in SAMPLE_EVERY: it becomes part of one, if one is being learned.
void cx_dictionary_offer(cx_codec *codec, const void *page);
// What a page took with the newest dictionary, and without: if that gains nothing any more, the next is learned.
void cx_dictionary_compare(cx_codec *codec, size_t with, size_t without);
void cx_dictionary_clear(cx_codec *codec);

#endif
