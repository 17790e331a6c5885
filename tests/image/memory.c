// SPDX-License-Identifier: MIT
// memory.c: what the image of the trials calls for malloc and its like: it can fail, and is counted. One thread.

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

unsigned memory_calls, memory_fail_at;
size_t memory_largest, memory_now, memory_most;

static int fails(size_t bytes) {
  memory_largest = bytes > memory_largest ? bytes : memory_largest;
  return ++memory_calls == memory_fail_at;
}

static void *counted(void *memory) {
  memory_now += memory != NULL ? malloc_usable_size(memory) : 0;
  memory_most = memory_now > memory_most ? memory_now : memory_most;
  return memory;
}

void image_free(void *memory) {
  memory_now -= memory != NULL ? malloc_usable_size(memory) : 0;
  free(memory);
}
void *image_malloc(size_t bytes) { return fails(bytes) ? NULL : counted(malloc(bytes)); }
void *image_calloc(size_t count, size_t bytes) { return fails(count * bytes) ? NULL : counted(calloc(count, bytes)); }
void *image_realloc(void *old, size_t bytes) {
  if (fails(bytes)) {
    return NULL;
  }
  size_t before = old != NULL ? malloc_usable_size(old) : 0;
  void *memory = realloc(old, bytes);
  memory_now -= memory != NULL ? before : 0;
  return counted(memory);
}
char *image_strdup(const char *text) { return fails(strlen(text)) ? NULL : counted(strdup(text)); }
char *image_strndup(const char *text, size_t most) { return fails(most) ? NULL : counted(strndup(text, most)); }
int image_posix_memalign(void **out, size_t alignment, size_t bytes) {
  if (fails(0)) { // a writer's buffer is as large as it is
    return ENOMEM;
  }
  int error = posix_memalign(out, alignment, bytes);
  if (error == 0) {
    counted(*out);
  }
  return error;
}
