// SPDX-License-Identifier: MIT
// memory.c: the codec's memory, all of it counted.
//
// Neighbours: inner.h. Background threads.

#include <stdlib.h>
#include "runtime/compress/inner.h"

// Its size stands before it.
typedef union head {
  size_t bytes;
  _Alignas(64) char line[64];
} head;

void *cx_memory_take(cx_codec *codec, size_t bytes) {
  head *h;
  size_t whole = (bytes + 2 * sizeof *h - 1) & ~(sizeof *h - 1);
  if (posix_memalign((void **)&h, sizeof *h, whole) != 0) {
    return NULL;
  }
  h->bytes = whole;
  at_add(&codec->held, whole);
  return h + 1;
}

void cx_memory_give(cx_codec *codec, void *memory) {
  if (memory != NULL) {
    head *h = (head *)memory - 1;
    at_add(&codec->held, -(uint64_t)h->bytes);
    free(h);
  }
}
