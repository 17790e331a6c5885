// SPDX-License-Identifier: MIT
// memory.c: what the image and the checkpointer allocate goes through here: the writer must not, while a trap may wait for it (cp.pool), since a mutator may
// stand in malloc.

#include <stdlib.h>
#include <string.h>
#include "tests/checkpoint/trials.h"

__thread veil_checkpointer *rt_checkpoint_writer;

static void look(const char *call) {
  static uint32_t volatile said;
  const veil_checkpointer *c = rt_checkpoint_writer;
  if (c != NULL && at32_load_acquire(&c->order) == CP_WRITE && !at32_load_acquire(&c->walked) && at32_cas_full(&said, 0, 1)) {
    found("the writer allocates while pages are unsaved: %s [cp.pool]", call);
  }
}

void *checkpoint_malloc(size_t bytes);
void *checkpoint_calloc(size_t count, size_t bytes);
void *checkpoint_realloc(void *old, size_t bytes);
void checkpoint_free(void *at);
char *checkpoint_strdup(const char *text);
char *checkpoint_strndup(const char *text, size_t most);
int checkpoint_posix_memalign(void **out, size_t alignment, size_t bytes);

void *checkpoint_malloc(size_t bytes) {
  look("malloc");
  return malloc(bytes);
}
void *checkpoint_calloc(size_t count, size_t bytes) {
  look("calloc");
  return calloc(count, bytes);
}
void *checkpoint_realloc(void *old, size_t bytes) {
  look("realloc");
  return realloc(old, bytes);
}
void checkpoint_free(void *at) {
  look("free");
  free(at);
}
char *checkpoint_strdup(const char *text) {
  look("strdup");
  return strdup(text);
}
char *checkpoint_strndup(const char *text, size_t most) {
  look("strndup");
  return strndup(text, most);
}
int checkpoint_posix_memalign(void **out, size_t alignment, size_t bytes) {
  look("posix_memalign");
  return posix_memalign(out, alignment, bytes);
}
