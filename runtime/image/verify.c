// SPDX-License-Identifier: MIT
// verify.c: reads all pages of an image and checks them.
//
// Neighbours: reader.c reads. Any thread.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/error.h"
#include "runtime/image/inner.h"

enum { AT_ONCE = 1 << 20 };

typedef struct verification {
  const rt_image *image;
  rt_image_damage *damage;
  void *arg;
  char *pages, *scratch;
  veil_status status; // the first that was not VEIL_OK
  char error[512];
} verification;

// What went wrong in a run is looked for page by page. False: enough.
static bool pages_find(verification *v, uint64_t first, uint64_t count) {
  for (uint64_t page = first; page < first + count; page++) {
    veil_status status = rt_image_read(v->image, page, 1, v->pages, v->scratch);
    if (status == VEIL_OK) {
      continue;
    }
    if (v->status == VEIL_OK) {
      v->status = status;
      snprintf(v->error, sizeof v->error, "%s", veil_error());
    }
    if (status == VEIL_NO_MEMORY || v->damage == NULL || !v->damage(v->arg, page, veil_error())) {
      return false;
    }
  }
  return true;
}

static void run_verify(verification *v, rt_image_progress *progress) {
  const rt_image_info *info = rt_image_info_of(v->image);
  uint64_t most = AT_ONCE / info->layout.page_size, done = 0, page = 0;
  rt_image_run run;
  while (rt_image_next(v->image, page, &run)) {
    uint64_t count = run.zero || run.count < most ? run.count : most;
    if (!run.zero && rt_image_read(v->image, run.first, count, v->pages, v->scratch) != VEIL_OK && !pages_find(v, run.first, count)) {
      return;
    }
    page = run.first + count;
    done += count;
    if (progress != NULL && !progress(v->arg, done, info->pages)) {
      if (v->status == VEIL_OK) {
        v->status = VEIL_BUSY;
        snprintf(v->error, sizeof v->error, "%s: verifying was given up", v->image->file.path);
      }
      return;
    }
  }
}

veil_status rt_image_verify(const rt_image *image, rt_image_progress *progress, rt_image_damage *damage, void *arg) {
  verification *v = calloc(1, sizeof *v);
  char *memory = malloc(AT_ONCE + RT_IMAGE_SCRATCH);
  veil_status status;
  if (v == NULL || memory == NULL) {
    status = rt_image_no_memory(&image->file);
  } else {
    *v = (verification){.image = image, .damage = damage, .arg = arg, .pages = memory, .scratch = memory + AT_ONCE};
    run_verify(v, progress);
    status = v->status;
    if (status != VEIL_OK) {
      rt_error_set("%s", v->error);
    }
  }
  free(memory);
  free(v);
  return status;
}
