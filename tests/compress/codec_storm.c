// SPDX-License-Identifier: MIT
// codec_storm.c: threads pack and unpack pages of all kinds by one codec, with one predictor, while it learns its dictionaries.

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "bench/compress_pages.h"
#include "runtime/compress/codec.h"
#include "vm/atomic.h"

enum { THREADS = 4, PAGE = 4096, ROUNDS = 6000 };

static cx_codec *codec;
static cx_predictor predictor;
static AO_t packed;

static void failed(const char *what) {
  fprintf(stderr, "%s\n", what);
  abort();
}

static void *user(void *arg) {
  static _Thread_local uint64_t page[PAGE / 8], out[PAGE / 8];
  static _Thread_local uint8_t blob[PAGE];
  cx_packer *packer = cx_packer_open(codec);
  void *memory = aligned_alloc(CX_UNPACKER_ALIGN, (cx_unpacker_bytes(codec) + 63) & ~(size_t)63);
  if (packer == NULL || memory == NULL) {
    failed("no memory");
  }
  cx_unpacker *unpacker = cx_unpacker_prepare(codec, memory);
  for (unsigned i = 0; i < ROUNDS; i++) {
    compress_kind kind = i % 16 < 12 ? i < ROUNDS / 2 ? COMPRESS_JSON : COMPRESS_DOUBLES : (compress_kind)(i / 16 % COMPRESS_KINDS);
    compress_page_fill(page, PAGE, kind, (uintptr_t)arg, i);
    size_t bytes = cx_pack(packer, &predictor, page, blob, PAGE);
    if (bytes > 0 && (!cx_unpack(unpacker, blob, bytes, out) || memcmp(page, out, PAGE) != 0)) {
      failed("another page comes out");
    }
    at_add(&packed, bytes > 0);
  }
  free(memory);
  cx_packer_close(packer);
  return NULL;
}

int main(void) {
  codec = cx_codec_open(&(cx_codec_options){.page_bytes = PAGE, .prefer = CX_SPEED});
  pthread_t thread[THREADS];
  for (uintptr_t i = 0; i < THREADS; i++) {
    if (codec == NULL || pthread_create(&thread[i], NULL, user, (void *)i) != 0) {
      failed("no thread");
    }
  }
  for (unsigned i = 0; i < THREADS; i++) {
    pthread_join(thread[i], NULL);
  }
  printf("%lu pages were packed, %u dictionaries learned\n", (unsigned long)at_load(&packed), cx_codec_dictionaries(codec));
  if (cx_codec_dictionaries(codec) < 1 || at_load(&packed) < THREADS * ROUNDS / 2) {
    failed("too little has happened");
  }
  cx_codec_close(codec);
  return 0;
}
