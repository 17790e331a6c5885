// SPDX-License-Identifier: MIT
// unpack.c: the page of a blob.
//
// Neighbours: codec.h. In traps: nothing is allocated, nobody is waited for, and nothing is believed that was not looked at (cx.hostile).

#include <string.h>
#include "runtime/compress/inner.h"
#include "runtime/compress/planes.h"
#include "runtime/image/file.h"
#include "vm/check.h"

struct cx_unpacker {
  const cx_codec *codec;
  uint8_t *body;   // what a method wrote, behind room for zstd's magic, and with CX_COLUMNS_PAD bytes behind it
  uint8_t *planes; // a page
#ifdef VEIL_ZSTD
  ZSTD_DCtx *zstd; // NULL: not here
#endif
};

static size_t rounded(size_t bytes) { return (bytes + CX_UNPACKER_ALIGN - 1) & ~(size_t)(CX_UNPACKER_ALIGN - 1); }

// The parts of an unpacker's memory, in their order.
static size_t body_bytes(const cx_codec *codec) { return rounded(ZSTD_MAGIC + codec->options.page_bytes + CX_COLUMNS_PAD); }
static size_t zstd_bytes(const cx_codec *codec) {
#ifdef VEIL_ZSTD
  return codec->zstd != NULL ? rounded(codec->zstd->unpacker_bytes()) : 0;
#else
  return 0;
#endif
}

size_t cx_unpacker_bytes(const cx_codec *codec) {
  return rounded(sizeof(cx_unpacker)) + body_bytes(codec) + codec->options.page_bytes + zstd_bytes(codec);
}

cx_unpacker *cx_unpacker_prepare(const cx_codec *codec, void *memory) {
  VM_CHECK((uintptr_t)memory % CX_UNPACKER_ALIGN == 0, "an unpacker at %p", memory);
  cx_unpacker *u = memory;
  uint8_t *at = (uint8_t *)memory + rounded(sizeof *u);
  *u = (cx_unpacker){.codec = codec, .body = at, .planes = at + body_bytes(codec)};
#ifdef VEIL_ZSTD
  if (codec->zstd != NULL) {
    u->zstd = codec->zstd->unpacker(u->planes + codec->options.page_bytes, zstd_bytes(codec));
    VM_CHECK(u->zstd != NULL, "%lu bytes are too few for zstd, which asked for so many", zstd_bytes(codec));
  }
#endif
  return u;
}

cx_method cx_blob_method(const void *blob, size_t bytes) {
  unsigned method = bytes >= CX_HEAD ? *(const uint8_t *)blob & 15 : CX_NONE;
  return method > CX_NONE && method < CX_METHODS ? (cx_method)method : CX_METHODS;
}

static bool repeat_unpack(const uint8_t *body, size_t bytes, uint64_t *page, size_t page_bytes) {
  uint64_t word = 0;
  if (bytes != 0 && bytes != 8) {
    return false;
  }
  memcpy(&word, body, bytes);
  for (size_t i = 0; i < page_bytes / 8; i++) {
    page[i] = word;
  }
  return bytes == 0 || word != 0;
}

#ifdef VEIL_LZ4
static bool lz4_unpack(cx_unpacker *u, const dictionary *d, const uint8_t *body, size_t bytes, void *page) {
  const rt_image_lz4 *lz4 = u->codec->lz4;
  if (lz4 == NULL) {
    return false;
  }
  int wanted = (int)u->codec->options.page_bytes;
  int n = d != NULL ? lz4->decompress_with((const char *)body, page, (int)bytes, wanted, (const char *)d->bytes, DICTIONARY)
                    : lz4->decompress((const char *)body, page, (int)bytes, wanted);
  return n == wanted;
}
#else
static bool lz4_unpack(cx_unpacker *u, const dictionary *d, const uint8_t *body, size_t bytes, void *page) { return false; }
#endif

#ifdef VEIL_ZSTD
static bool zstd_unpack(cx_unpacker *u, const dictionary *d, uint8_t *body, size_t bytes, void *page) {
  static const uint8_t magic[ZSTD_MAGIC] = {0x28, 0xb5, 0x2f, 0xfd};
  const rt_image_zstd *zstd = u->codec->zstd;
  if (zstd == NULL) {
    return false;
  }
  size_t wanted = u->codec->options.page_bytes;
  body -= ZSTD_MAGIC;
  bytes += ZSTD_MAGIC;
  memcpy(body, magic, sizeof magic);
  return (d != NULL ? zstd->decompress_with(u->zstd, page, wanted, body, bytes, d->zstd_unpacker) : zstd->decompress(u->zstd, page, wanted, body, bytes)) == wanted;
}
#else
static bool zstd_unpack(cx_unpacker *u, const dictionary *d, uint8_t *body, size_t bytes, void *page) { return false; }
#endif

bool cx_unpack(cx_unpacker *u, const void *blob, size_t bytes, void *page) {
  const cx_codec *codec = u->codec;
  size_t page_bytes = codec->options.page_bytes;
  if (bytes < CX_HEAD || bytes > page_bytes) {
    return false;
  }
  uint8_t head[CX_HEAD], *body = u->body + ZSTD_MAGIC;
  memcpy(head, blob, CX_HEAD);
  bytes -= CX_HEAD;
  memcpy(body, (const uint8_t *)blob + CX_HEAD, bytes);
  memset(body + bytes, 0, CX_COLUMNS_PAD);
  cx_method method = (cx_method)(head[0] & 15);
  unsigned number = head[0] >> 4;
  if (number > cx_dictionary_newest(codec) || (number > 0 && method != CX_LZ4 && method != CX_ZSTD)) {
    return false;
  }
  const dictionary *d = number > 0 ? &codec->of[number - 1] : NULL;
  bool planes = method == CX_LZ4_PLANES || method == CX_ZSTD_PLANES, whole = false;
  void *to = planes ? u->planes : page;
  switch (method) {
  case CX_REPEAT:
    whole = repeat_unpack(body, bytes, page, page_bytes);
    break;
  case CX_COLUMNS:
    whole = cx_columns_unpack(body, bytes, page, page_bytes / 4);
    break;
  case CX_LZ4:
  case CX_LZ4_PLANES:
    whole = lz4_unpack(u, d, body, bytes, to);
    break;
  case CX_ZSTD:
  case CX_ZSTD_PLANES:
    whole = zstd_unpack(u, d, body, bytes, to);
    break;
  default:
    break;
  }
  if (planes && whole) {
    cx_planes_join(to, page, page_bytes);
  }
  uint32_t sum;
  memcpy(&sum, head + 1, sizeof sum);
  return whole && (uint32_t)rt_image_sum(page, page_bytes) == sum;
}
