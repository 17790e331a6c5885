// SPDX-License-Identifier: MIT
// codec.h: one page to bytes, and the same page again.
//
// Neighbours: codec.c packs, unpack.c unpacks, dictionary.c learns what pages have in common. Who keeps the bytes is not said here (shelf.h).
// Invariants: cx.same, cx.hostile, cx.known.

#ifndef CX_CODEC_H
#define CX_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cx_codec cx_codec;
typedef struct cx_packer cx_packer;
typedef struct cx_unpacker cx_unpacker;

// What is preferred where both cannot be had.
typedef enum cx_prefer {
  CX_SPACE, // the fewest bytes
  CX_SPEED, // what unpacks fast, unless it does not pay and something else does
} cx_prefer;

// How a page was packed. In blobs: kept.
typedef enum cx_method {
  CX_NONE,        // in no blob
  CX_REPEAT,      // one word
  CX_COLUMNS,     // columns.h
  CX_LZ4,
  CX_LZ4_PLANES,  // planes.h, then lz4
  CX_ZSTD,
  CX_ZSTD_PLANES,
  CX_METHODS
} cx_method;
extern const char *const cx_method_names[CX_METHODS];

typedef struct cx_codec_options {
  size_t page_bytes;     // 4096, 8192 … 65536
  cx_prefer prefer;
  int zstd_level;        // 1 … 19; 0: what was measured to be best
  bool no_dictionary;    // nothing is learned from pages
} cx_codec_options;

enum {
  CX_HEAD = 5,              // bytes before what a method wrote: the method and the dictionary; 32 bits of XXH3 over the page
  CX_REPEAT_MOST = 16,      // a page of one repeated word takes so many bytes at the most
  CX_UNPACKER_ALIGN = 64,
};

// What a block's last pages did, so that not all is tried for each. The caller keeps one word per block; zero: nothing is known. Several threads may use one: what
// is lost then costs time, and nothing else.
typedef uint32_t cx_predictor;

// NULL: no memory. Any thread. What is not installed of lz4 and zstd is not used.
cx_codec *cx_codec_open(const cx_codec_options *options);
// When no packer is open, and nobody unpacks any more. NULL: nothing happens.
void cx_codec_close(cx_codec *codec);
// Around fork, so that no thread is learning a dictionary meanwhile that is not there in the child.
void cx_codec_lock(cx_codec *codec);
void cx_codec_unlock(cx_codec *codec);
// The most bytes that a blob may have to be worth it: three quarters of a page, after Google's 2990 of 4096.
size_t cx_codec_worth(const cx_codec *codec);
// Bytes of memory that the codec and its packers have from malloc: dictionaries, contexts, tables. Any thread.
size_t cx_codec_held(const cx_codec *codec);
// How many dictionaries were learned so far.
unsigned cx_codec_dictionaries(const cx_codec *codec);

// What one thread packs with. NULL: no memory.
cx_packer *cx_packer_open(cx_codec *codec);
void cx_packer_close(cx_packer *packer);
// Packs a page, 8-aligned, that does not change meanwhile, into `room` bytes: the blob's bytes, or 0: it takes more than that, or than is worth it. Not in signal
// handlers, since a dictionary may be learned. One thread at a time per packer.
size_t cx_pack(cx_packer *packer, cx_predictor *predictor, const void *page, void *blob, size_t room);
// The same by one method, for measuring and for tests; a dictionary is used if there is one. 0: it takes more than `room`, or the method is not here.
size_t cx_pack_by(cx_packer *packer, cx_method method, const void *page, void *blob, size_t room);
// Teaches the codec `count` pages' worth of samples at once, for measuring and for tests. False: no memory, or it has learned all it may.
bool cx_codec_learn(cx_codec *codec, const void *pages, size_t count);

// Bytes of memory that unpacking wants, aligned to CX_UNPACKER_ALIGN: prepared once, then used by one thread at a time, for any number of pages.
size_t cx_unpacker_bytes(const cx_codec *codec);
cx_unpacker *cx_unpacker_prepare(const cx_codec *codec, void *memory);
// The page, 8-aligned, of a blob of this codec. False: it is damaged; then the page holds anything. The blob is read once, and only its own bytes, so it may even change
// meanwhile. In signal handlers; allocates nothing, waits for nobody.
bool cx_unpack(cx_unpacker *unpacker, const void *blob, size_t bytes, void *page);
// How the blob says it was packed. CX_METHODS: it is none.
cx_method cx_blob_method(const void *blob, size_t bytes);

#endif
