// SPDX-License-Identifier: MIT
// compress_codec.c: for each kind of page and each way to pack it: how many times smaller, how much processor time packing takes, and how long unpacking takes; beside
// lz4 and zstd as a program would call them for each page. No heap.
//
// bench_compress_codec [--page BYTES] [--pages N] [--seed N] [--kind NAME] [--rounds N]

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "bench/compress_pages.h"
#include "runtime/compress/codec.h"
#include "runtime/image/library.h"

enum { PAGES_MOST = 1 << 16 };

typedef struct bench {
  size_t page_bytes, pages, rounds;
  uint64_t seed;
  uint8_t *page, *blob, *out;
  size_t *bytes;
  double *us;
} bench;

static double clock_us(clockid_t which) {
  struct timespec t;
  clock_gettime(which, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}
static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}
static uint8_t *page_of(const bench *b, size_t i) { return b->page + i * b->page_bytes; }
static uint8_t *blob_of(const bench *b, size_t i) { return b->blob + i * b->page_bytes * 2; }

// A way to pack: bytes of the blob, or 0, and then the page is kept as it is.
typedef struct way {
  const char *name;
  size_t (*pack)(const struct way *way, const void *page, size_t bytes, void *blob);
  void (*unpack)(const struct way *way, const void *blob, size_t blob_bytes, void *page, size_t bytes);
  cx_codec *codec;
  cx_packer *packer;
  cx_unpacker *unpacker;
  cx_predictor *predictor;
  cx_method method;
} way;

static void failed(const way *w, const char *what) {
  fprintf(stderr, "%s: %s\n", w->name, what);
  exit(1);
}

static size_t own_pack(const way *w, const void *page, size_t bytes, void *blob) {
  return w->method == CX_NONE ? cx_pack(w->packer, w->predictor, page, blob, bytes) : cx_pack_by(w->packer, w->method, page, blob, bytes);
}
static void own_unpack(const way *w, const void *blob, size_t blob_bytes, void *page, size_t bytes) {
  if (!cx_unpack(w->unpacker, blob, blob_bytes, page)) {
    failed(w, "a blob is damaged");
  }
}

#ifdef VEIL_LZ4
static size_t lz4_pack(const way *w, const void *page, size_t bytes, void *blob) {
  return (size_t)rt_image_lz4_library()->compress(page, blob, (int)bytes, (int)bytes * 2);
}
static void lz4_unpack(const way *w, const void *blob, size_t blob_bytes, void *page, size_t bytes) {
  if (rt_image_lz4_library()->decompress(blob, page, (int)blob_bytes, (int)bytes) != (int)bytes) {
    failed(w, "a blob is damaged");
  }
}
#endif

#ifdef VEIL_ZSTD
static ZSTD_CCtx *zstd_packer;
static ZSTD_DCtx *zstd_unpacker;
static size_t zstd_pack(const way *w, const void *page, size_t bytes, void *blob) {
  size_t n = rt_image_zstd_library()->compress(zstd_packer, blob, bytes * 2, page, bytes, 1);
  return rt_image_zstd_library()->wrong(n) ? 0 : n;
}
static void zstd_unpack(const way *w, const void *blob, size_t blob_bytes, void *page, size_t bytes) {
  if (rt_image_zstd_library()->decompress(zstd_unpacker, page, bytes, blob, blob_bytes) != bytes) {
    failed(w, "a blob is damaged");
  }
}
#endif

// Packs and unpacks all pages once; the times of unpacking go to b->us from `at` on.
static size_t round_run(const bench *b, const way *w, double *pack_us, size_t at) {
  size_t total = 0;
  double begin = clock_us(CLOCK_THREAD_CPUTIME_ID);
  for (size_t i = 0; i < b->pages; i++) {
    b->bytes[i] = w->pack(w, page_of(b, i), b->page_bytes, blob_of(b, i));
    total += b->bytes[i] > 0 ? b->bytes[i] : b->page_bytes;
  }
  *pack_us += (clock_us(CLOCK_THREAD_CPUTIME_ID) - begin) / (double)b->pages;
  for (size_t k = 0; k < b->pages; k++) {
    size_t i = k * 7919 % b->pages; // in no order
    if (b->bytes[i] == 0) {
      b->us[at + k] = 0;
      continue;
    }
    uint8_t *out = b->out + k % 64 * b->page_bytes;
    begin = clock_us(CLOCK_MONOTONIC);
    w->unpack(w, blob_of(b, i), b->bytes[i], out, b->page_bytes);
    b->us[at + k] = clock_us(CLOCK_MONOTONIC) - begin;
    if (memcmp(out, page_of(b, i), b->page_bytes) != 0) {
      failed(w, "another page comes out");
    }
  }
  return total;
}

static void way_run(const bench *b, const way *w, const char *kind) {
  double pack_us = 0;
  size_t total = 0;
  for (size_t r = 0; r < b->rounds; r++) {
    total = round_run(b, w, &pack_us, r * b->pages);
  }
  size_t n = b->rounds * b->pages;
  qsort(b->us, n, sizeof *b->us, by_size);
  printf("%-8s %-12s %7.2f %8.1f %8.2f %8.2f\n", kind, w->name, (double)(b->pages * b->page_bytes) / (double)total, pack_us / (double)b->rounds, b->us[n / 2],
         b->us[n * 98 / 100]);
}

static void *memory(size_t bytes) {
  void *at = aligned_alloc(4096, (bytes + 4095) & ~(size_t)4095);
  if (at == NULL) {
    fprintf(stderr, "no memory\n");
    exit(1);
  }
  memset(at, 0, bytes);
  return at;
}

// One codec per preference; with what it learns from as many pages of the kind as it wants.
static void own_run(const bench *b, const char *kind, cx_prefer prefer, bool dictionary, bool each) {
  cx_predictor predictor[1] = {0};
  way w = {.pack = own_pack, .unpack = own_unpack, .predictor = predictor};
  w.codec = cx_codec_open(&(cx_codec_options){.page_bytes = b->page_bytes, .prefer = prefer, .no_dictionary = !dictionary});
  w.packer = w.codec != NULL ? cx_packer_open(w.codec) : NULL;
  if (w.packer == NULL) {
    failed(&w, "no memory");
  }
  w.unpacker = cx_unpacker_prepare(w.codec, memory(cx_unpacker_bytes(w.codec)));
  if (dictionary && !cx_codec_learn(w.codec, b->page + b->pages * b->page_bytes, 64)) {
    failed(&w, "no dictionary");
  }
  w.name = prefer == CX_SPACE ? dictionary ? "SPACE" : "SPACE-nodict" : dictionary ? "SPEED" : "SPEED-nodict";
  way_run(b, &w, kind);
  for (int m = CX_COLUMNS; m < CX_METHODS && each; m++) {
    char name[40];
    snprintf(name, sizeof name, "%s%s", cx_method_names[m], dictionary && (m == CX_LZ4 || m == CX_ZSTD) ? "+dict" : "");
    if (dictionary && m != CX_LZ4 && m != CX_ZSTD) {
      continue;
    }
    w.method = (cx_method)m;
    w.name = name;
    way_run(b, &w, kind);
  }
  printf("%-8s held by the codec: %zu bytes\n", kind, cx_codec_held(w.codec));
  cx_packer_close(w.packer);
  cx_codec_close(w.codec);
  free(w.unpacker);
}

static void kind_run(const bench *b, compress_kind kind) {
  const char *name = compress_kind_names[kind];
  for (size_t i = 0; i < b->pages + 64; i++) { // the last are for learning
    compress_page_fill(page_of(b, i), b->page_bytes, kind, b->seed, i);
  }
#ifdef VEIL_LZ4
  if (rt_image_lz4_library() != NULL) {
    way_run(b, &(way){.name = "plain lz4", .pack = lz4_pack, .unpack = lz4_unpack}, name);
  }
#endif
#ifdef VEIL_ZSTD
  if (rt_image_zstd_library() != NULL) {
    zstd_packer = rt_image_zstd_library()->packer_make((ZSTD_customMem){NULL, NULL, NULL});
    static _Alignas(64) char room[1 << 18];
    zstd_unpacker = rt_image_zstd_library()->unpacker(room, sizeof room);
    way_run(b, &(way){.name = "plain zstd 1", .pack = zstd_pack, .unpack = zstd_unpack}, name);
    rt_image_zstd_library()->packer_free(zstd_packer);
  }
#endif
  own_run(b, name, CX_SPACE, false, true);
  own_run(b, name, CX_SPACE, true, true);
  own_run(b, name, CX_SPEED, true, false);
}

int main(int argc, char **argv) {
  bench b = {.page_bytes = 4096, .pages = 1000, .rounds = 1, .seed = 1};
  const char *only = NULL;
  for (int i = 1; i + 1 < argc; i += 2) {
    size_t n = strtoul(argv[i + 1], NULL, 0);
    if (strcmp(argv[i], "--page") == 0) {
      b.page_bytes = n;
    } else if (strcmp(argv[i], "--pages") == 0) {
      b.pages = n;
    } else if (strcmp(argv[i], "--seed") == 0) {
      b.seed = n;
    } else if (strcmp(argv[i], "--rounds") == 0) {
      b.rounds = n;
    } else if (strcmp(argv[i], "--kind") == 0) {
      only = argv[i + 1];
    } else {
      fprintf(stderr, "%s is no option\n", argv[i]);
      return 2;
    }
  }
  if (b.page_bytes < 4096 || b.page_bytes > 65536 || (b.page_bytes & (b.page_bytes - 1)) != 0 || b.pages == 0 || b.pages > PAGES_MOST || b.rounds == 0) {
    fprintf(stderr, "pages have 4096, 8192 … 65536 bytes; there are 1 … %d\n", PAGES_MOST);
    return 2;
  }
  b.page = memory((b.pages + 64) * b.page_bytes);
  b.blob = memory(b.pages * b.page_bytes * 2);
  b.out = memory(64 * b.page_bytes);
  b.bytes = memory(b.pages * sizeof *b.bytes);
  b.us = memory(b.pages * b.rounds * sizeof *b.us);
  printf("%-8s %-12s %7s %8s %8s %8s\n", "pages", "by", "ratio", "pack us", "p50 us", "p98 us");
  for (int kind = COMPRESS_ZERO; kind < COMPRESS_KINDS; kind++) {
    if (only == NULL || strcmp(only, compress_kind_names[kind]) == 0) {
      kind_run(&b, (compress_kind)kind);
    }
  }
  return 0;
}
