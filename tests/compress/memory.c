// SPDX-License-Identifier: MIT
// memory.c: the n-th allocation fails, for each n: nothing is lost, nothing leaks, and what could not be done before can be done then. One thread.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "bench/compress_pages.h"
#include "runtime/compress/codec.h"
#include "runtime/compress/shelf.h"
#include "vm/os.h"

extern unsigned memory_calls, memory_fail_at; // tests/image/memory.c
extern size_t memory_now;

enum { PAGE = 4096, ROUNDS = 3000 };

static void failed(const char *what, unsigned n) {
  fprintf(stderr, "allocation %u failed: %s\n", n, what);
  exit(1);
}

// All that a codec does that may want memory. False: it could not be opened.
static bool codec_trial(unsigned n, unsigned *learned) {
  static uint64_t page[PAGE / 8], out[PAGE / 8];
  static uint8_t blob[PAGE];
  cx_codec *codec = cx_codec_open(&(cx_codec_options){.page_bytes = PAGE});
  cx_packer *packer = codec != NULL ? cx_packer_open(codec) : NULL;
  if (packer == NULL) {
    cx_codec_close(codec);
    return false;
  }
  void *memory = aligned_alloc(CX_UNPACKER_ALIGN, cx_unpacker_bytes(codec));
  cx_unpacker *unpacker = cx_unpacker_prepare(codec, memory);
  cx_predictor predictor = 0;
  for (unsigned i = 0; i < ROUNDS; i++) {
    compress_page_fill(page, PAGE, COMPRESS_TEXT, 1, i);
    size_t bytes = cx_pack(packer, &predictor, page, blob, PAGE);
    if (bytes > 0 && (!cx_unpack(unpacker, blob, bytes, out) || memcmp(page, out, PAGE) != 0)) {
      failed("another page comes out", n);
    }
  }
  *learned = cx_codec_dictionaries(codec);
  free(memory);
  cx_packer_close(packer);
  cx_codec_close(codec);
  return true;
}

static void codec_trials(void) {
  unsigned n, learned = 0, without = 0;
  for (n = 1; n < 1000; n++) {
    memory_calls = 0;
    memory_fail_at = n;
    bool opened = codec_trial(n, &learned);
    memory_fail_at = 0;
    if (memory_now != 0) {
      failed("something leaks", n);
    }
    if (memory_calls < n) {
      break;
    }
    without += opened && learned == 0;
  }
  if (n < 6 || n == 1000 || learned == 0 || without > 0) { // a dictionary that could not be made is made with the next sample
    failed("too little has happened, or no dictionary was learned afterwards", n);
  }
  printf("codec: %u allocations\n", n - 1);
}

#ifdef VEIL_FULL_CHECKS
static cx_handle word[400];
static bool moved(void *context, uint32_t tag, uint64_t from, uint64_t to) {
  if (word[tag] == 0 || cx_handle_place(word[tag]) != from) {
    return false;
  }
  word[tag] = cx_handle_moved(word[tag], to);
  return true;
}

static void items_check(const cx_shelf *shelf, unsigned n) {
  for (unsigned i = 0; i < 400; i++) {
    const uint8_t *item = word[i] != 0 ? cx_shelf_at(shelf, word[i]) : NULL;
    for (size_t k = 0; item != NULL && k < cx_handle_length(word[i]); k++) {
      if (item[k] != (uint8_t)i) {
        failed("an item is lost", n);
      }
    }
  }
}

// The n-th call to the system fails: putting says so, giving back goes on another time.
static bool shelf_trial(unsigned n) {
  static uint8_t item[3000];
  memset(word, 0, sizeof word);
  os_fail_at(n);
  unsigned before = os_calls();
  cx_shelf *shelf = cx_shelf_open(&(cx_shelf_options){.address_bytes = 1 << 26, .moved = moved});
  for (unsigned i = 0; shelf != NULL && i < 400; i++) {
    memset(item, (int)i, sizeof item);
    word[i] = cx_shelf_put(shelf, item, 1000 + i % 5 * 400, i);
    word[i] = word[i] != 0 ? word[i] : cx_shelf_put(shelf, item, 1000 + i % 5 * 400, i);
    if (word[i] == 0) {
      failed("an item cannot be put the second time either", n);
    }
  }
  for (unsigned i = 0; shelf != NULL && i < 400; i += 1 + (i % 7 == 0)) {
    cx_shelf_drop(shelf, word[i]);
    word[i] = 0;
  }
  while (shelf != NULL && cx_shelf_repair(shelf, SIZE_MAX) > 0) {
  }
  bool more = os_calls() - before >= n;
  os_fail_at(0);
  if (shelf != NULL) {
    items_check(shelf, n);
    cx_shelf_verify(shelf);
    for (unsigned i = 0; i < 400; i++) {
      if (word[i] != 0) {
        cx_shelf_drop(shelf, word[i]);
      }
    }
    cx_shelf_repair(shelf, SIZE_MAX);
    cx_shelf_verify(shelf);
    cx_shelf_close(shelf);
  }
  return more;
}

static void shelf_trials(void) {
  unsigned n = 1;
  while (shelf_trial(n)) {
    n++;
  }
  if (n < 50) {
    failed("too little has happened", n);
  }
  printf("shelf: %u calls to the system\n", n - 1);
}
#else
static void shelf_trials(void) {}
#endif

int main(void) {
  codec_trials();
  memory_fail_at = 1;
  memory_calls = 0;
  if (cx_shelf_open(&(cx_shelf_options){.address_bytes = 1 << 20}) != NULL) {
    failed("a shelf is opened without memory", 1);
  }
  memory_fail_at = 0;
  shelf_trials();
  return 0;
}
