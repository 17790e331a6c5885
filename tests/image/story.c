// SPDX-License-Identifier: MIT
// story.c: what happens to one file on a disk of ours, and what must be there afterwards. See trials.h.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/image/trials.h"

void story_begin(story *s, uint64_t from, rt_image_codec codec, uint32_t page_size) {
  memset(s, 0, sizeof *s);
  s->d = disk_new();
  s->random.s = from;
  s->options = (rt_image_options){.io = &s->d->io, .codec = codec};
  s->layout = (rt_image_layout){.page_size = page_size, .base = 0x7f0000000000, .span = (uint64_t)MODEL_PAGES * page_size};
  for (unsigned v = 0; v < STORY_VERSIONS; v++) {
    s->version[v].begun = s->version[v].acknowledged = SIZE_MAX;
  }
}

void story_close(story *s) {
  rt_image_close(s->w);
  s->w = NULL;
}

void story_end(story *s) {
  story_close(s);
  disk_free(s->d);
}

static bool went(story *s, veil_status status) {
  if (status != VEIL_OK && s->status == VEIL_OK) {
    s->status = status;
    snprintf(s->error, sizeof s->error, "%s", veil_error());
  }
  return status == VEIL_OK;
}

bool story_append(story *s) { return went(s, rt_image_append(&s->w, STORY_PATH, &s->options)); }

bool story_increment(story *s, unsigned pages) {
  unsigned next = s->last + 1;
  model_change change = {.puts = 4, .run = pages / 4, .removes = 2, .pages = 120, .sections = true, .tables = next % 3 == 1};
  s->model[next] = s->model[s->last];
  s->version[next].begun = s->d->notes;
  s->version[next].acknowledged = SIZE_MAX;
  if (!went(s, rt_image_begin(s->w)) || !went(s, model_put(&s->model[next], s->w, s->layout.page_size, &change, &s->random)) ||
      !went(s, rt_image_commit(s->w, NULL))) {
    return false;
  }
  s->version[next].acknowledged = s->d->notes;
  s->last = next;
  return true;
}

static bool given_up(story *s) {
  model none = s->model[s->last];
  model_change change = {.puts = 2, .run = 10, .pages = 120};
  if (!went(s, rt_image_begin(s->w)) || !went(s, model_put(&none, s->w, s->layout.page_size, &change, &s->random))) {
    return false;
  }
  rt_image_abort(s->w);
  return true;
}

bool story_compact(story *s) {
  unsigned next = s->last + 1;
  s->model[next] = s->model[s->last];
  s->version[next].begun = s->d->notes;
  if (!went(s, rt_image_compact(STORY_PATH, NULL, &s->options, NULL, NULL))) {
    return false;
  }
  s->version[next].acknowledged = s->d->notes;
  s->last = next;
  return true;
}

bool story_run(story *s) {
  if (!went(s, rt_image_create(&s->w, STORY_PATH, &s->layout, &s->options))) {
    return false;
  }
  if (!story_increment(s, 100) || !story_increment(s, 60) || !given_up(s)) {
    return false;
  }
  story_close(s);
  if (!story_append(s) || !story_increment(s, 40) || !story_increment(s, 80)) {
    return false;
  }
  story_close(s);
  if (!story_compact(s) || !story_append(s) || !story_increment(s, 60) || !story_increment(s, 20)) {
    return false;
  }
  story_close(s);
  return true;
}

const char *story_check(const story *s, disk *d, size_t at, unsigned *version) {
  static char text[900];
  unsigned sure = 0;
  for (unsigned v = 1; v < STORY_VERSIONS; v++) {
    sure = s->version[v].acknowledged != SIZE_MAX && s->version[v].acknowledged <= at ? v : sure;
  }
  bool in_flight = sure + 1 < STORY_VERSIONS && s->version[sure + 1].begun <= at;
  *version = 0;
  if (disk_find(d, STORY_PATH) == NULL) {
    snprintf(text, sizeof text, "there is no file, and version %u was acknowledged", sure);
    return sure != 0 ? text : NULL;
  }
  rt_image *image;
  rt_image_options options = {.io = &d->io};
  if (rt_image_open(&image, STORY_PATH, &options) != VEIL_OK) {
    snprintf(text, sizeof text, "it does not open: %s", veil_error());
    return text;
  }
  const rt_image_info *info = rt_image_info_of(image);
  const char *wrong = NULL;
  *version = (unsigned)info->version;
  if (info->version != sure && !(in_flight && info->version == sure + 1)) {
    snprintf(text, sizeof text, "version %u is there; %u was acknowledged, %s in flight", *version, sure, in_flight ? "the next was" : "none");
    wrong = text;
  } else if (info->fallen_back) {
    snprintf(text, sizeof text, "version %u is there, since the one after it is damaged: %s", *version, info->damage);
    wrong = text;
  } else if ((wrong = model_differs(&s->model[*version], image)) != NULL) {
    snprintf(text, sizeof text, "version %u is not whole: %s", *version, wrong);
    wrong = text;
  }
  rt_image_free(image);
  return wrong;
}

const char *story_recovers(const story *s, disk *d, unsigned version) {
  static char text[900];
  static story next;
  next = (story){.d = d, .random = {s->random.s + version}, .options = s->options, .layout = s->layout, .last = version};
  next.options.io = &d->io;
  memcpy(next.model, s->model, sizeof next.model);
  disk_restart(d);
  if (version + 1 >= STORY_VERSIONS) {
    return NULL;
  }
  bool good = version == 0 ? rt_image_create(&next.w, STORY_PATH, &next.layout, &next.options) == VEIL_OK : story_append(&next);
  good = good && story_increment(&next, 30);
  story_close(&next);
  rt_image *image;
  if (!good || rt_image_open(&image, STORY_PATH, &next.options) != VEIL_OK) {
    snprintf(text, sizeof text, "it takes no further version: %s", veil_error());
    return text;
  }
  const char *wrong = model_differs(&next.model[next.last], image);
  rt_image_free(image);
  if (wrong != NULL) {
    snprintf(text, sizeof text, "the version after it is not whole: %s", wrong);
  }
  return wrong != NULL ? text : NULL;
}
