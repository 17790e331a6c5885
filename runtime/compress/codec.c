// SPDX-License-Identifier: MIT
// codec.c: packs a page by what pays.
//
// Neighbours: codec.h. Background threads.

#include <string.h>
#include "runtime/compress/inner.h"
#include "runtime/compress/planes.h"
#include "runtime/image/file.h"
#include "vm/check.h"

enum {
  LEVEL = 3,      // of zstd: 1 gives a tenth away, 5 takes twice the time for a twentieth
  LZ4_SPACE = 5,  // lz4's levels: the better they pack, the faster what they have packed is unpacked, for there is less of it
  LZ4_SPEED = 3,
  ZSTD_TOLL = 4,  // zstd has to save one byte in so many more than others do, since it unpacks in three times their time
  PLAIN_RUN = 15, // pages packed as the one before was, until all is tried again
  EARLY = 16,     // a blob that is so many times smaller than its page is good enough to try nothing else
};

const char *const cx_method_names[CX_METHODS] = {"none", "repeat", "columns", "lz4", "lz4_planes", "zstd", "zstd_planes"};

// ---- Opening and closing.

#ifdef VEIL_ZSTD
static void *zstd_take(void *codec, size_t bytes) { return cx_memory_take(codec, bytes); }
static void zstd_give(void *codec, void *memory) { cx_memory_give(codec, memory); }
#endif

cx_codec *cx_codec_open(const cx_codec_options *options) {
  size_t page = options->page_bytes;
  VM_CHECK(page >= SAMPLE && page <= PAGE_MOST && (page & (page - 1)) == 0, "pages of %lu bytes cannot be packed", page);
  VM_CHECK(options->zstd_level >= 0 && options->zstd_level <= 19, "zstd's level is %d", options->zstd_level);
  cx_codec none = {.held = 0}, *codec = cx_memory_take(&none, sizeof *codec);
  if (codec == NULL) {
    return NULL;
  }
  *codec = (cx_codec){.options = *options, .learning = !options->no_dictionary, .held = none.held};
  codec->options.zstd_level = options->zstd_level > 0 ? options->zstd_level : LEVEL;
  pthread_mutex_init(&codec->lock, NULL);
  codec->lz4_level = options->prefer == CX_SPACE ? LZ4_SPACE : LZ4_SPEED;
#ifdef VEIL_LZ4
  codec->lz4 = rt_image_lz4_library();
#endif
#ifdef VEIL_ZSTD
  codec->zstd = rt_image_zstd_library();
  codec->memory = (ZSTD_customMem){zstd_take, zstd_give, codec};
#endif
  return codec;
}

void cx_codec_close(cx_codec *codec) {
  if (codec == NULL) {
    return;
  }
  cx_dictionary_clear(codec);
  pthread_mutex_destroy(&codec->lock);
  cx_codec last = {.held = at_load(&codec->held)};
  cx_memory_give(&last, codec);
  VM_CHECK(last.held == 0, "%lu bytes of a codec that is closed are not given back", at_load(&last.held));
}

void cx_codec_lock(cx_codec *codec) { pthread_mutex_lock(&codec->lock); }
void cx_codec_unlock(cx_codec *codec) { pthread_mutex_unlock(&codec->lock); }

size_t cx_codec_worth(const cx_codec *codec) { return codec->options.page_bytes - codec->options.page_bytes / 4; }
size_t cx_codec_held(const cx_codec *codec) { return at_load(&codec->held); }

cx_packer *cx_packer_open(cx_codec *codec) {
  cx_packer *p = cx_memory_take(codec, sizeof *p);
  if (p == NULL) {
    return NULL;
  }
  p->codec = codec;
#ifdef VEIL_ZSTD
  p->zstd = NULL;
  if (codec->zstd != NULL) {
    p->zstd = codec->zstd->packer_make(codec->memory);
    if (p->zstd == NULL) {
      cx_memory_give(codec, p);
      return NULL;
    }
  }
#endif
  return p;
}

void cx_packer_close(cx_packer *p) {
  if (p == NULL) {
    return;
  }
#ifdef VEIL_ZSTD
  if (p->zstd != NULL) {
    p->codec->zstd->packer_free(p->zstd);
  }
#endif
  cx_memory_give(p->codec, p);
}

// ---- Methods. Each writes a blob but for its head, up to `room` bytes, and returns all of its bytes, or 0.

// How much trouble lz4 takes. FAST is for planes, whose runs it finds at once, and to look whether there is anything to gain.
typedef enum trouble { LZ4_WELL, LZ4_FAST } trouble;

#ifdef VEIL_LZ4
static size_t lz4_pack(cx_packer *p, trouble how, unsigned dictionary, const void *page, uint8_t *blob, size_t room) {
  const rt_image_lz4 *lz4 = p->codec->lz4;
  if (lz4 == NULL) {
    return 0;
  }
  int bytes = (int)p->codec->options.page_bytes, space = (int)(room - CX_HEAD), n;
  char *to = (char *)blob + CX_HEAD;
  if (how == LZ4_FAST) {
    n = lz4->compress_in(&p->lz4_fast, page, to, bytes, space, 1);
  } else if (dictionary > 0) {
    memcpy(&p->lz4, p->codec->of[dictionary - 1].lz4, sizeof p->lz4);
    n = lz4->compress_with(&p->lz4, page, to, bytes, space);
  } else {
    n = lz4->compress_well(&p->lz4, page, to, bytes, space, p->codec->lz4_level);
  }
  return n > 0 ? CX_HEAD + (size_t)n : 0;
}
#else
static size_t lz4_pack(cx_packer *p, trouble how, unsigned dictionary, const void *page, uint8_t *blob, size_t room) { return 0; }
#endif

#ifdef VEIL_ZSTD
// The frame's magic lies where the head will be.
static size_t zstd_pack(cx_packer *p, unsigned dictionary, const void *page, uint8_t *blob, size_t room) {
  const rt_image_zstd *zstd = p->codec->zstd;
  if (zstd == NULL) {
    return 0;
  }
  size_t bytes = p->codec->options.page_bytes, n;
  uint8_t *to = blob + CX_HEAD - ZSTD_MAGIC;
  room -= CX_HEAD - ZSTD_MAGIC;
  if (dictionary > 0) {
    n = zstd->compress_with(p->zstd, to, room, page, bytes, p->codec->of[dictionary - 1].zstd_packer);
  } else {
    n = zstd->compress(p->zstd, to, room, page, bytes, p->codec->options.zstd_level);
  }
  return zstd->wrong(n) ? 0 : CX_HEAD - ZSTD_MAGIC + n;
}
#else
static size_t zstd_pack(cx_packer *p, unsigned dictionary, const void *page, uint8_t *blob, size_t room) { return 0; }
#endif

static bool is_repeat(const uint64_t *page, size_t bytes) {
  size_t words = bytes / 8;
  return page[0] == page[words - 1] && page[0] == page[words / 2] && memcmp(page, page + 1, bytes - 8) == 0;
}

static size_t repeat_pack(const uint64_t *page, size_t bytes, uint8_t *blob, size_t room) {
  if (room < CX_HEAD + 8 || !is_repeat(page, bytes)) {
    return 0;
  }
  memcpy(blob + CX_HEAD, page, 8);
  return page[0] == 0 ? CX_HEAD : CX_HEAD + 8;
}

static void head_write(cx_packer *p, cx_method method, unsigned dictionary, const void *page, uint8_t *blob) {
  uint32_t sum = (uint32_t)rt_image_sum(page, p->codec->options.page_bytes);
  blob[0] = (uint8_t)(method | dictionary << 4);
  memcpy(blob + 1, &sum, sizeof sum);
}

// What was made of a page: in trial[which]. No bytes: nothing.
typedef struct outcome {
  cx_method method;
  unsigned dictionary, stride, which;
  size_t bytes;
} outcome;

// Makes o->bytes of the rest.
static void try_one(cx_packer *p, outcome *o, const void *page, size_t room) {
  size_t bytes = p->codec->options.page_bytes;
  uint8_t *blob = p->trial[o->which];
  o->bytes = 0;
  if (room <= CX_HEAD) {
    return;
  }
  switch (o->method) {
  case CX_REPEAT:
    o->bytes = repeat_pack(page, bytes, blob, room);
    break;
  case CX_COLUMNS: {
    size_t n = cx_columns_pack(page, bytes / 4, o->stride, blob + CX_HEAD, room - CX_HEAD, &p->column);
    o->bytes = n > 0 ? CX_HEAD + n : 0;
    break;
  }
  case CX_LZ4:
    o->bytes = lz4_pack(p, LZ4_WELL, o->dictionary, page, blob, room);
    break;
  case CX_ZSTD:
    o->bytes = zstd_pack(p, o->dictionary, page, blob, room);
    break;
  case CX_LZ4_PLANES:
  case CX_ZSTD_PLANES:
    cx_planes_split(page, p->planes, bytes);
    o->bytes = o->method == CX_LZ4_PLANES ? lz4_pack(p, LZ4_FAST, 0, p->planes, blob, room) : zstd_pack(p, 0, p->planes, blob, room);
    break;
  default:
    break;
  }
}

static bool takes_dictionary(cx_method method) { return method == CX_LZ4 || method == CX_ZSTD; }

// ---- The choice.

// Tries a method, and keeps it in *best if it is better than that.
static void consider(cx_packer *p, outcome *best, cx_method method, unsigned stride, const void *page, size_t room) {
  outcome o = {.method = method, .stride = stride, .which = !best->which};
  if (takes_dictionary(method)) {
    o.dictionary = cx_dictionary_newest(p->codec);
  }
  size_t limit = best->bytes > 0 ? best->bytes - 1 : room;
  if (best->bytes > 0 && (method == CX_ZSTD || method == CX_ZSTD_PLANES)) {
    limit -= limit / ZSTD_TOLL;
  }
  try_one(p, &o, page, limit);
  if (o.bytes > 0) {
    *best = o;
  }
}

static outcome try_all(cx_packer *p, const void *page, size_t room, unsigned stride) {
  const cx_codec *codec = p->codec;
  outcome best = {.method = CX_NONE};
  unsigned strides[CX_STRIDES_FOUND + 1], n = cx_columns_strides(page, codec->options.page_bytes / 4, strides);
  if (stride > 0) {
    strides[n++] = stride;
  }
  for (unsigned i = 0; i < n; i++) {
    consider(p, &best, CX_COLUMNS, strides[i], page, room);
  }
  if (best.bytes > 0 && best.bytes <= codec->options.page_bytes / EARLY) {
    return best;
  }
  consider(p, &best, CX_LZ4, 0, page, room);
  if (codec->options.prefer == CX_SPEED) {
    consider(p, &best, CX_LZ4_PLANES, 0, page, room);
  }
  if (codec->options.prefer == CX_SPACE || best.bytes == 0) {
    consider(p, &best, CX_ZSTD, 0, page, room);
    consider(p, &best, CX_ZSTD_PLANES, 0, page, room);
  }
  return best;
}

// A predictor's word, taken apart.
typedef struct past {
  unsigned method, stride; // of the last page; no method: it did not pay
  unsigned run;            // pages since all was tried
  unsigned size;           // of the last blob, in 256ths of a page
  unsigned dull;           // times in a row that all was tried and did not pay
} past;
static past past_read(const cx_predictor *predictor) {
  uint32_t w = at32_load(predictor);
  return (past){.method = w & 15, .stride = (w >> 4 & 255), .run = w >> 12 & 15, .size = w >> 16 & 255, .dull = w >> 24 & 15};
}
static void past_write(cx_predictor *predictor, past t) {
  at32_store(predictor, t.method | t.stride << 4 | t.run << 12 | t.size << 16 | t.dull << 24);
}

// As the block's last page was packed, if that makes about as little of this one.
static outcome try_again(cx_packer *p, past *t, const void *page, size_t room) {
  size_t bytes = p->codec->options.page_bytes, expected = bytes / 256 * (t->size + 1), limit = expected + expected / 4;
  outcome o = {.method = (cx_method)t->method, .stride = t->stride};
  if (t->run < PLAIN_RUN && o.method > CX_REPEAT && o.method < CX_METHODS && (o.method != CX_COLUMNS || (o.stride > 0 && o.stride <= CX_STRIDE_MOST))) {
    o.dictionary = takes_dictionary(o.method) ? cx_dictionary_newest(p->codec) : 0;
    try_one(p, &o, page, limit < room ? limit : room);
  }
  t->run++;
  return o;
}

// Where pages did not pay: a look by what is fastest, to be spared the rest.
static bool is_dull(cx_packer *p, past *t, const void *page, size_t room) {
  if (t->method != CX_NONE || t->run >= t->dull) {
    return false;
  }
  t->run++;
  return lz4_pack(p, LZ4_FAST, 0, page, p->trial[0], room) == 0;
}

// One page in a few is what dictionaries are made of, and tells whether the one that there is helps.
static void sample(cx_packer *p, const outcome *o, const void *page) {
  cx_codec *codec = p->codec;
  if (codec->options.no_dictionary || at_add(&codec->helped, 1) % SAMPLE_EVERY != 0) {
    return;
  }
  cx_dictionary_offer(codec, page);
  if (o->dictionary > 0) {
    outcome without = {.method = o->method, .which = !o->which};
    try_one(p, &without, page, codec->options.page_bytes);
    cx_dictionary_compare(codec, o->bytes, without.bytes > 0 ? without.bytes : codec->options.page_bytes);
  }
}

static size_t finish(cx_packer *p, const outcome *o, const void *page, void *blob) {
  memcpy(blob, p->trial[o->which], o->bytes);
  head_write(p, o->method, o->dictionary, page, blob);
  return o->bytes;
}

size_t cx_pack(cx_packer *p, cx_predictor *predictor, const void *page, void *blob, size_t room) {
  size_t bytes = p->codec->options.page_bytes, worth = cx_codec_worth(p->codec);
  room = room < worth ? room : worth;
  outcome o = {.method = CX_REPEAT};
  try_one(p, &o, page, room);
  if (o.bytes > 0) { // tells nothing of the others of the block
    return finish(p, &o, page, blob);
  }
  past t = past_read(predictor);
  if (is_dull(p, &t, page, room)) {
    past_write(predictor, t);
    return 0;
  }
  o = try_again(p, &t, page, room);
  if (o.bytes == 0) {
    o = try_all(p, page, room, t.method == CX_COLUMNS && t.stride <= CX_STRIDE_MOST ? t.stride : 0);
    t = (past){.method = o.bytes > 0 ? o.method : CX_NONE, .stride = o.stride, .dull = o.bytes > 0 ? 0 : t.dull < PLAIN_RUN ? t.dull + 1 : t.dull};
  }
  t.size = (unsigned)(o.bytes / (bytes / 256));
  past_write(predictor, t);
  if (o.bytes == 0) {
    return 0;
  }
  if (takes_dictionary(o.method)) {
    sample(p, &o, page);
  }
  return finish(p, &o, page, blob);
}

size_t cx_pack_by(cx_packer *p, cx_method method, const void *page, void *blob, size_t room) {
  room = room < p->codec->options.page_bytes ? room : p->codec->options.page_bytes;
  outcome best = {.method = CX_NONE};
  unsigned strides[CX_STRIDES_FOUND] = {0};
  unsigned n = method == CX_COLUMNS ? cx_columns_strides(page, p->codec->options.page_bytes / 4, strides) : 1;
  for (unsigned i = 0; i < n; i++) {
    consider(p, &best, method, strides[i], page, room);
  }
  return best.bytes > 0 ? finish(p, &best, page, blob) : 0;
}
