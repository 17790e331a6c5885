// SPDX-License-Identifier: MIT
// compress_ways.c: the part `pages`: the same pages compressed by veil for space and for speed, by the kernel's zram as swap space, and one by one by lz4 and zstd.
//
// A sample of the heap's pages, evenly spread, is copied first; that is what the others get. Veil compresses the whole heap. Then each page of the sample is touched, in a random order and with other work
// in between, and the first load of it is timed: what the thread that touches waits for, the kernel's part and all. lz4 and zstd have no fault: their times are of unpacking into a page that is there.

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <x86intrin.h>
#ifdef BENCH_LZ4
#include <lz4.h>
#endif
#ifdef BENCH_ZSTD
#include <zstd.h>
#endif
#include "bench/compress.h"
#include "bench/compress_zram.h"

enum { QUANTILES = 200, WORK_BYTES = 32 << 20, WORK_LINES = 256, WORTH = COMPRESS_PAGE * 3 / 4 };

// ---- The sample.

static uintptr_t *heap_pages; // where the heap's pages with live objects begin, in order
static size_t heap_count, heap_room;
static const char **sample; // of these
static size_t count;
static char *copies; // their contents, side by side
static uint64_t *copy_sums;
static uint32_t *touch_order;
static double *took; // us

static void page_note(const void *object) {
  uintptr_t page = (uintptr_t)object & ~(uintptr_t)(COMPRESS_PAGE - 1);
  if (heap_count > 0 && heap_pages[heap_count - 1] == page) {
    return;
  }
  if (heap_count == heap_room) {
    heap_room = heap_room > 0 ? heap_room * 2 : 1 << 16;
    heap_pages = realloc(heap_pages, heap_room * sizeof *heap_pages);
    if (heap_pages == NULL) {
      compress_fail("memory", "there is none");
    }
  }
  heap_pages[heap_count++] = page;
}

static int by_address(const void *a, const void *b) { return (*(const uintptr_t *)a > *(const uintptr_t *)b) - (*(const uintptr_t *)a < *(const uintptr_t *)b); }
static int by_size(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

static uint64_t page_sum(const char *page) {
  uint64_t sum = 0, word;
  for (size_t i = 0; i < COMPRESS_PAGE; i += 8) {
    memcpy(&word, page + i, 8);
    sum = compress_mix(sum, word);
  }
  return sum;
}

static char *pages_map(size_t bytes) {
  char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) {
    compress_fail("mmap", strerror(errno));
  }
  madvise(at, bytes, MADV_NOHUGEPAGE); // the heap's pages are small, too
  return at;
}

static void sample_take(void) {
  compress_running->objects(page_note);
  qsort(heap_pages, heap_count, sizeof *heap_pages, by_address);
  size_t distinct = 0;
  for (size_t i = 0; i < heap_count; i++) {
    if (i == 0 || heap_pages[i] != heap_pages[distinct - 1]) {
      heap_pages[distinct++] = heap_pages[i];
    }
  }
  heap_count = distinct;
  count = (size_t)(compress_now.sample_mib * (1 << 20)) / COMPRESS_PAGE;
  count = count < 1 ? 1 : count > heap_count ? heap_count : count;
  sample = compress_memory(count, sizeof *sample);
  copies = pages_map(count * COMPRESS_PAGE);
  copy_sums = compress_memory(count, sizeof *copy_sums);
  touch_order = compress_memory(count, sizeof *touch_order);
  took = compress_memory(count, sizeof *took);
  uint64_t random = compress_now.seed;
  for (size_t i = 0; i < count; i++) {
    sample[i] = (const char *)heap_pages[i * heap_count / count];
    memcpy(copies + i * COMPRESS_PAGE, sample[i], COMPRESS_PAGE);
    copy_sums[i] = page_sum(copies + i * COMPRESS_PAGE);
    size_t other = compress_random(&random) % (i + 1);
    touch_order[i] = touch_order[other];
    touch_order[other] = (uint32_t)i;
  }
}

// ---- Touching.

static const char *work_bytes; // other data of the program's

static void work(uint64_t *random) {
  uint64_t sum = 0;
  for (int i = 0; i < WORK_LINES; i++) {
    sum += (uint64_t)work_bytes[compress_random(random) % (WORK_BYTES / 64) * 64];
  }
  __asm__ volatile("" ::"r"(sum));
}

// Touches all pages, and files the times of those whose mark changed by it. How many these are.
static size_t touched_all(const char *const *pages, uint64_t (*mark)(const char *page)) {
  size_t timed = 0;
  uint64_t random = compress_now.seed + 1;
  for (size_t i = 0; i < count; i++) {
    const char *page = pages[touch_order[i]];
    uint64_t before = mark(page);
    work(&random);
    _mm_lfence();
    uint64_t from = gaps_now();
    (void)*(const volatile char *)page;
    _mm_lfence();
    double us = gaps_ticks_to_us((double)(gaps_now() - from));
    if (mark(page) != before) {
      took[timed++] = us;
    }
  }
  return timed;
}

// `prefix` of the fields: a fault is a touch, with all that it needs.
static void took_tell(const char *prefix, const char *way, size_t timed) {
  char name[40];
  qsort(took, timed, sizeof *took, by_size);
  static const struct {
    const char *name;
    double at;
  } points[] = {{"p50", 0.5}, {"p98", 0.98}, {"max", 1}};
  snprintf(name, sizeof name, "%ss", prefix);
  compress_json(name, (double)timed);
  for (size_t i = 0; i < sizeof points / sizeof *points && timed > 0; i++) {
    size_t at = (size_t)(points[i].at * (double)timed);
    snprintf(name, sizeof name, "%s_%s_us", prefix, points[i].name);
    compress_json(name, took[at < timed ? at : timed - 1]);
  }
  FILE *detail = compress_detail();
  for (size_t q = 0; detail != NULL && timed > 0 && q <= QUANTILES; q++) {
    size_t at = q * (timed - 1) / QUANTILES;
    fprintf(detail, "%s %.3f %.4f %s\n", prefix, took[at], (double)q / QUANTILES, way);
  }
}

static void sizes_tell(double original, double held) {
  compress_json("original_mib", original / (1 << 20));
  compress_json("held_mib", held / (1 << 20));
  compress_json("ratio", held > 0 ? original / held : 0);
}

// ---- Veil.

enum { TRIES = 5, AN_HOUR_MS = 3600000 };
static veil_compressor *compressor;

static uint64_t veil_mark(const char *page) {
  veil_compress_stats s;
  (void)page;
  veil_compress_get_stats(compressor, &s);
  return s.original; // at once; what was promoted is counted at the end of an interval
}

static void by_method_tell(const veil_compress_stats *s) {
  static const char *const methods[8] = {"repeat", "columns", "lz4", "lz4_planes", "zstd", "zstd_planes", "other", "other_2"};
  for (int i = 0; i < 8; i++) {
    char name[40];
    snprintf(name, sizeof name, "by_%s", methods[i]);
    if (s->by_method[i] > 0) {
      compress_json(name, (double)s->by_method[i]);
    }
  }
}

static uint64_t major_cycles(void) {
  veil_stats s;
  veil_get_stats(compress_heap, &s);
  return s.major_cycles;
}

// False: a cycle ran meanwhile, perhaps one that the compressor has asked for, and pages came back for it. They have not moved: the program keeps them in place.
static bool veil_try(bool speed) {
  const char *way = speed ? "veil-speed" : "veil-space";
  double resident = compress_resident_mib(), begun = compress_now_s();
  compressor = compress_open(speed, AN_HOUR_MS, AN_HOUR_MS, 0); // at the end of its first interval it asks for a cycle
  uint64_t cycles = major_cycles();
  veil_compress_now(compressor, 0);
  double packed_s = compress_now_s() - begun;
  veil_compress_stats s, after;
  veil_compress_get_stats(compressor, &s);
  double saved = resident - compress_resident_mib();
  size_t timed = touched_all(sample, veil_mark);
  if (major_cycles() != cycles) {
    veil_compressor_close(compressor);
    return false;
  }
  veil_compress_get_stats(compressor, &after);
  compress_record_begin("veil");
  compress_json_text("way", speed ? "speed" : "space");
  compress_json("live_pages", (double)heap_count);
  compress_json("pages", (double)s.original / COMPRESS_PAGE);
  compress_json("touched", (double)count);
  sizes_tell((double)s.original, (double)s.held);
  compress_json("packed_mib", (double)s.packed / (1 << 20));
  compress_json("resident_saved_mib", saved);
  compress_json("pack_s", packed_s);
  compress_json("pack_us", s.compressed > 0 ? (double)s.packer_ns / 1e3 / (double)s.compressed : 0);
  compress_json("unworthy", (double)s.unworthy);
  compress_json("unready", (double)s.unready);
  by_method_tell(&s);
  took_tell("fault", way, timed);
  compress_json("unpack_p50_us", (double)after.promotion_p50_ns / 1e3);
  compress_json("unpack_p98_us", (double)after.promotion_p98_ns / 1e3);
  compress_record_end();
  veil_compressor_close(compressor);
  return true;
}

static void veil_run(bool speed) {
  for (int tries = 0; !veil_try(speed); tries++) {
    if (tries == TRIES) {
      compress_fail(speed ? "veil-speed" : "veil-space", "a cycle ran meanwhile, each time");
    }
  }
}

// ---- zram.

static uint64_t zram_mark(const char *page) { return zram_is_out(page); }

static void left_out(const char *collector, const char *way, const char *why) {
  char text[300];
  snprintf(text, sizeof text, "left out: %s", why);
  compress_record_begin(collector);
  compress_json_text("way", way);
  compress_json_text("outcome", text);
  compress_record_end();
}

static void zram_run(const char *algorithm) {
  size_t bytes = count * COMPRESS_PAGE, out = 0;
  const char *why = zram_up(algorithm, bytes);
  char *pages = NULL;
  if (why == NULL) {
    pages = pages_map(bytes);
    memcpy(pages, copies, bytes);
    double begun = compress_now_s();
    why = zram_page_out(pages, bytes, &out);
    if (why == NULL) {
      double packed_s = compress_now_s() - begun, held = (double)zram_held();
      const char **addresses = compress_memory(count, sizeof *addresses);
      for (size_t i = 0; i < count; i++) {
        addresses[i] = pages + i * COMPRESS_PAGE;
      }
      size_t timed = touched_all(addresses, zram_mark);
      for (size_t i = 0; i < count; i++) {
        if (page_sum(addresses[i]) != copy_sums[i]) {
          compress_fail("zram", "a page is not what it was");
        }
      }
      char way[40];
      snprintf(way, sizeof way, "zram-%s", algorithm);
      compress_record_begin("zram");
      compress_json_text("way", algorithm);
      compress_json("pages", (double)out);
      compress_json("touched", (double)count);
      sizes_tell((double)out * COMPRESS_PAGE, held);
      compress_json("pack_s", packed_s);
      took_tell("fault", way, timed);
      compress_record_end();
      free(addresses);
    }
    munmap(pages, bytes);
  }
  if (why != NULL) {
    left_out("zram", algorithm, why);
  }
  why = zram_down();
  if (why != NULL) {
    compress_fail("zram", why);
  }
}

// ---- lz4 and zstd, page by page.

typedef struct codec {
  const char *name;
  size_t (*pack)(const char *page, char *blob, size_t room); // 0: it does not fit
  bool (*unpack)(const char *blob, size_t bytes, char *page);
} codec;

#ifdef BENCH_LZ4
static size_t lz4_pack(const char *page, char *blob, size_t room) { return (size_t)LZ4_compress_default(page, blob, COMPRESS_PAGE, (int)room); }
static bool lz4_unpack(const char *blob, size_t bytes, char *page) { return LZ4_decompress_safe(blob, page, (int)bytes, COMPRESS_PAGE) == COMPRESS_PAGE; }
#endif
#ifdef BENCH_ZSTD
static ZSTD_CCtx *zstd_packer;
static ZSTD_DCtx *zstd_unpacker;
static size_t zstd_pack(const char *page, char *blob, size_t room) {
  size_t n = ZSTD_compressCCtx(zstd_packer, blob, room, page, COMPRESS_PAGE, 1);
  return ZSTD_isError(n) ? 0 : n;
}
static bool zstd_unpack(const char *blob, size_t bytes, char *page) { return ZSTD_decompressDCtx(zstd_unpacker, page, COMPRESS_PAGE, blob, bytes) == COMPRESS_PAGE; }
#endif

// A blob is a malloc of its own, with a pointer to it; a page that does not get smaller by a quarter stays, as with zram and with veil.
static void codec_run(const codec *c) {
  char **blobs = compress_memory(count, sizeof *blobs), buffer[COMPRESS_PAGE], *page = pages_map(64 * COMPRESS_PAGE);
  size_t *bytes = compress_memory(count, sizeof *bytes), timed = 0;
  double held = 0, begun = compress_now_s();
  for (size_t i = 0; i < count; i++) {
    bytes[i] = c->pack(copies + i * COMPRESS_PAGE, buffer, WORTH);
    held += (bytes[i] > 0 ? (double)((bytes[i] + 8 + 15) & ~(size_t)15) : COMPRESS_PAGE) + sizeof *blobs;
    blobs[i] = memcpy(compress_memory(bytes[i], 1), buffer, bytes[i]);
  }
  double packed_s = compress_now_s() - begun;
  uint64_t random = compress_now.seed + 1;
  memset(page, 1, 64 * COMPRESS_PAGE);
  for (size_t k = 0; k < count; k++) {
    size_t i = touch_order[k];
    if (bytes[i] > 0) {
      char *to = page + k % 64 * COMPRESS_PAGE;
      work(&random);
      uint64_t from = gaps_now();
      bool done = c->unpack(blobs[i], bytes[i], to);
      took[timed++] = gaps_ticks_to_us((double)(gaps_now() - from));
      if (!done || page_sum(to) != copy_sums[i]) {
        compress_fail(c->name, "a page is not what it was");
      }
    }
    free(blobs[i]);
  }
  compress_record_begin(c->name);
  compress_json_text("way", "");
  compress_json("pages", (double)timed);
  sizes_tell((double)count * COMPRESS_PAGE, held);
  compress_json("pack_s", packed_s);
  compress_json("pack_us", packed_s * 1e6 / (double)count);
  took_tell("unpack", c->name, timed);
  compress_record_end();
  munmap(page, 64 * COMPRESS_PAGE);
  free(bytes);
  free(blobs);
}

void compress_ways(void) {
  work_bytes = memset(compress_memory(WORK_BYTES, 1), 1, WORK_BYTES);
  sample_take();
  if (!compress_now.without) {
    veil_run(false);
    veil_run(true);
  }
  if (!compress_now.no_zram) {
    zram_run("lz4");
    zram_run("lzo-rle");
  }
#ifdef BENCH_LZ4
  codec_run(&(codec){"lz4", lz4_pack, lz4_unpack});
#endif
#ifdef BENCH_ZSTD
  zstd_packer = ZSTD_createCCtx();
  zstd_unpacker = ZSTD_createDCtx();
  if (zstd_packer == NULL || zstd_unpacker == NULL) {
    compress_fail("zstd", "no memory");
  }
  codec_run(&(codec){"zstd", zstd_pack, zstd_unpack});
  ZSTD_freeCCtx(zstd_packer);
  ZSTD_freeDCtx(zstd_unpacker);
#endif
  compress_running->verify();
}
