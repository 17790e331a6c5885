// SPDX-License-Identifier: MIT
// rig.h: a codec with all it needs, and memory around which nothing can be touched: what reads or writes out of bounds dies of it.

#ifndef COMPRESS_RIG_H
#define COMPRESS_RIG_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include "bench/compress_pages.h"
#include "runtime/compress/codec.h"

typedef struct rig {
  size_t bytes; // of a page
  cx_codec *codec;
  cx_packer *packer;
  cx_unpacker *unpacker;
  cx_predictor predictor;
  uint8_t *page, *blob; // a page; room for two
  uint8_t *fence;       // a page between two that cannot be touched …
  uint8_t *out;         // … here one comes out,
  uint8_t *end;         // … and here ends what a blob is read from
} rig;

// Bytes between guards, an OS page at the least.
static inline uint8_t *rig_fenced(size_t bytes) {
  uint8_t *at = mmap(NULL, bytes + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  cr_assert_neq(at, MAP_FAILED);
  cr_assert_eq(mprotect(at + 4096, bytes, PROT_READ | PROT_WRITE), 0);
  return at + 4096;
}

static inline void rig_open(rig *r, size_t bytes, cx_prefer prefer, bool dictionary) {
  *r = (rig){.bytes = bytes};
  r->codec = cx_codec_open(&(cx_codec_options){.page_bytes = bytes, .prefer = prefer, .no_dictionary = !dictionary});
  r->packer = cx_packer_open(r->codec);
  r->unpacker = cx_unpacker_prepare(r->codec, aligned_alloc(CX_UNPACKER_ALIGN, cx_unpacker_bytes(r->codec)));
  r->page = malloc(bytes);
  r->blob = malloc(bytes * 2);
  r->out = rig_fenced(bytes);
  r->end = rig_fenced(bytes * 2) + bytes * 2;
  if (dictionary) {
    uint8_t *pages = malloc(16 * bytes);
    for (unsigned i = 0; i < 16; i++) {
      compress_page_fill(pages + i * bytes, bytes, i % 4 == 0 ? COMPRESS_MIXED : i % 4 == 1 ? COMPRESS_TEXT : COMPRESS_JSON, 99, i);
    }
    cr_assert(cx_codec_learn(r->codec, pages, 16));
    free(pages);
  }
}

static inline void rig_close(rig *r) {
  cx_packer_close(r->packer);
  cx_codec_close(r->codec);
  free(r->unpacker);
  free(r->page);
  free(r->blob);
  munmap(r->out - 4096, r->bytes + 8192);
  munmap(r->end - r->bytes * 2 - 4096, r->bytes * 2 + 8192);
}

// Unpacks from the end of what can be read, to where nothing else can be written.
static inline bool rig_unpacks(rig *r, const uint8_t *blob, size_t bytes) {
  memcpy(r->end - bytes, blob, bytes);
  return cx_unpack(r->unpacker, r->end - bytes, bytes, r->out);
}
static inline bool rig_is_same(const rig *r) { return memcmp(r->out, r->page, r->bytes) == 0; }

// The seed of a random test: VEIL_SEED, or the time; printed.
static inline uint64_t rig_seed(void) {
  const char *given = getenv("VEIL_SEED");
  uint64_t seed = given != NULL ? strtoul(given, NULL, 0) : (uint64_t)time(NULL);
  printf("VEIL_SEED=%lu\n", seed);
  return seed;
}

static inline uint64_t rig_next(uint64_t *state) { // splitmix64, after Steele, Lea and Flood
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

// Runs of repeated rows, of rising, rare and few values, of noise: all that columns have modes for, anywhere, of any width.
static inline void rig_random_page(rig *r, uint64_t *state) {
  uint32_t *lane = (uint32_t *)(void *)r->page;
  size_t count = r->bytes / 4;
  unsigned stride = 1 + (unsigned)(rig_next(state) % 40);
  uint32_t base[40], mask[40], step[40], rare[40];
  for (unsigned k = 0; k < stride; k++) {
    base[k] = rig_next(state) % 3 ? (uint32_t)rig_next(state) : 0;
    mask[k] = rig_next(state) % 3 ? 0 : (uint32_t)(rig_next(state) >> (32 + rig_next(state) % 32)) << rig_next(state) % 8;
    step[k] = rig_next(state) % 4 ? 0 : (uint32_t)rig_next(state) >> rig_next(state) % 32;
    rare[k] = rig_next(state) % 4 ? 0 : 1 + (uint32_t)(rig_next(state) % 50);
  }
  for (size_t i = 0; i < count; i++) {
    unsigned k = (unsigned)(i % stride);
    lane[i] = base[k] + step[k] * (uint32_t)(i / stride) + ((uint32_t)rig_next(state) & mask[k]);
    if (rare[k] != 0 && rig_next(state) % rare[k] == 0) {
      lane[i] = (uint32_t)rig_next(state);
    }
  }
  if (rig_next(state) % 4 == 0) { // a part that is something else
    size_t at = rig_next(state) % count, n = rig_next(state) % (count - at);
    memset(lane + at, (int)rig_next(state), n * 4);
  }
}

#endif
