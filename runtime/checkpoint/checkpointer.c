// SPDX-License-Identifier: MIT
// checkpointer.c: opening and closing.
//
// Neighbours: saver.c and writer.c are started here, call.c has the other calls. Any thread.

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/checkpoint/inner.h"
#include "runtime/error.h"
#include "vm/check.h"

#define CP_EXPORT __attribute__((visibility("default")))

// The program may go to another folder later.
static char *path_absolute(const char *path) {
  char here[PATH_MAX];
  if (path[0] == '/' || getcwd(here, sizeof here) == NULL) {
    return strdup(path);
  }
  size_t bytes = strlen(here) + strlen(path) + 2;
  char *whole = malloc(bytes);
  if (whole != NULL) {
    snprintf(whole, bytes, "%s/%s", here, path);
  }
  return whole;
}

static const char *options_wrong(const veil_checkpointer_options *o) {
  if (o->path != NULL && *o->path == 0) {
    return "an empty path";
  }
  if (o->pool != 0 && o->pool < CP_POOL_MIN) {
    return "a pool of less than 1 MiB";
  }
  if (o->pool / 4096 > UINT32_MAX / 2) {
    return "a pool of more than there can be";
  }
  if (o->codec != VEIL_CODEC_NONE && o->codec != VEIL_CODEC_LZ4 && o->codec != VEIL_CODEC_ZSTD) {
    return "an unknown codec";
  }
  if (o->path == NULL && (o->interval_ms != 0 || o->signal != 0)) {
    return "an interval or a signal, and no path";
  }
  return NULL;
}

static bool memory_open(veil_checkpointer *c) {
  size_t page_size = c->pages.page_size, run = CP_RUN * page_size, bits = c->pages.count / 8 + 1;
  c->run_count = CP_RUNS_BYTES / run > CP_RUNS_MIN ? (unsigned)(CP_RUNS_BYTES / run) : CP_RUNS_MIN;
  c->runs = calloc(c->run_count, sizeof *c->runs);
  c->run_memory = os_map_private(c->run_count * run);
  c->in_file = os_map_private(bits); // touched only as far as pages are in use
  c->put = os_map_private(bits);
  c->trapped = os_map_private(bits / CP_RUN + 1);
  c->ahead = calloc(c->options.pool / page_size / 2 + 1, sizeof *c->ahead);
  if (c->runs == NULL || c->ahead == NULL || c->run_memory == NULL || c->trapped == NULL || c->in_file == NULL || c->put == NULL || !cp_pool_open(&c->pool, c->options.pool, page_size)) {
    rt_error_set("veil_checkpointer_open: no memory");
    return false;
  }
  for (unsigned i = 0; i < c->run_count; i++) {
    c->runs[i].memory = c->run_memory + i * run;
  }
  return true;
}

static void memory_close(veil_checkpointer *c) {
  size_t run = CP_RUN * c->pages.page_size, bits = c->pages.count / 8 + 1;
  if (c->run_memory != NULL) {
    os_unmap(c->run_memory, c->run_count * run);
  }
  if (c->trapped != NULL) {
    os_unmap((void *)(uintptr_t)c->trapped, bits / CP_RUN + 1);
  }
  if (c->in_file != NULL) {
    os_unmap(c->in_file, bits);
  }
  if (c->put != NULL) {
    os_unmap(c->put, bits);
  }
  cp_pool_close(&c->pool);
  free(c->runs);
  free(c->ahead);
  free((char *)c->options.path);
  pthread_mutex_destroy(&c->lock);
  pthread_cond_destroy(&c->changed);
  free(c);
}

static bool thread_start(pthread_t *thread, void *(*fn)(void *), veil_checkpointer *c) {
  sigset_t saved;
  os_signals_block(&saved); // no handler of the program's runs there
  int error = pthread_create(thread, NULL, fn, c);
  os_signals_restore(&saved);
  if (error != 0) {
    rt_error_set("veil_checkpointer_open: cannot start a thread: %s", strerror(error));
  }
  return error == 0;
}

static void writer_end(veil_checkpointer *c) {
  cp_order_give(c, CP_END);
  pthread_join(c->writer, NULL);
}

static bool threads_start(veil_checkpointer *c) {
  if (!thread_start(&c->writer, cp_writer_main, c)) {
    return false;
  }
  if (!thread_start(&c->saver, cp_saver_main, c)) {
    writer_end(c);
    return false;
  }
  return true;
}

static veil_checkpointer *checkpointer_new(veil_heap *heap, const veil_checkpointer_options *options, const rt_image_io *io) {
  veil_checkpointer *c = calloc(1, sizeof *c);
  if (c == NULL) {
    rt_error_set("veil_checkpointer_open: no memory");
    return NULL;
  }
  c->heap = heap;
  c->io = io;
  c->options = *options;
  c->options.pool = options->pool != 0 ? options->pool : CP_POOL_DEFAULT;
  c->pages = veil_heap_pages(heap);
  c->last_next = &c->first;
  pthread_mutex_init(&c->lock, NULL);
  pthread_cond_init(&c->changed, NULL);
  if (options->path != NULL && (c->options.path = io != NULL ? strdup(options->path) : path_absolute(options->path)) == NULL) {
    rt_error_set("veil_checkpointer_open: no memory");
    memory_close(c);
    return NULL;
  }
  return c;
}

veil_checkpointer *rt_checkpointer_open(veil_heap *heap, const veil_checkpointer_options *options, const rt_image_io *io) {
  static const veil_checkpointer_options none = {0};
  options = options != NULL ? options : &none;
  const char *wrong = options_wrong(options);
  if (wrong != NULL) {
    rt_error_set("veil_checkpointer_open: %s", wrong);
    return NULL;
  }
  veil_checkpointer *c = checkpointer_new(heap, options, io);
  if (c == NULL) {
    return NULL;
  }
  c->process = os_process_here();
  if (c->process == 0) {
    rt_error_set("veil_checkpointer_open: no memory that a child of fork does not inherit");
  } else if ((c->options.path == NULL || cp_file_look(c) == VEIL_OK) && memory_open(c) && (c->bell = cp_bell_take(c->options.signal)) != NULL) {
    c->service = veil_service_open(heap, "checkpoint", &cp_service, c);
    if (c->service != NULL && threads_start(c)) {
      return c;
    }
  }
  if (c->service != NULL) {
    veil_service_close(c->service);
  }
  if (c->bell != NULL) {
    cp_bell_give(c->bell);
  }
  memory_close(c);
  return NULL;
}

CP_EXPORT veil_checkpointer *veil_checkpointer_open(veil_heap *heap, const veil_checkpointer_options *options) {
  return rt_checkpointer_open(heap, options, NULL);
}

static void threads_end(void *arg) {
  veil_checkpointer *c = arg;
  at32_store_release(&c->closing, 1);
  cp_bell_ring(c->bell);
  pthread_join(c->saver, NULL);
  writer_end(c);
}

// cp.child: the threads and the file are the parent's, what is ours is memory and claims.
CP_EXPORT void veil_checkpointer_close(veil_checkpointer *c) {
  if (c == NULL) {
    return;
  }
  bool gone = cp_process_gone(c);
  if (!gone) {
    veil_service_wait(c->heap, threads_end, c);
    cp_file_close(c);
  }
  veil_service_close(c->service);
  cp_bell_give(c->bell);
  if (gone) {
    return; // its lock may be held by a thread that is not here
  }
  memory_close(c);
}
