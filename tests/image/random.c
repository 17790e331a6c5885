// SPDX-License-Identifier: MIT
// random.c: versions of any shape, given up, reopened, compacted, copied, against a model; every page size and codec.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/image/trials.h"

typedef struct walk {
  disk *d;
  rt_image_options options;
  rt_image_layout layout;
  rt_image_writer *w;
  model now, before; // the newest version, and the one before it
  uint64_t version;
  bool alone; // the file has one version
  random_state random;
  uint64_t most_segments, compactions;
} walk;

static bool good(veil_status status, const char *what) {
  if (status != VEIL_OK) {
    found("%s: %s", what, veil_error());
  }
  return status == VEIL_OK;
}

static void look(walk *k, const char *path, const model *m, const char *when) {
  rt_image *image;
  if (!good(rt_image_open(&image, path, &k->options), "opening")) {
    return;
  }
  const rt_image_info *info = rt_image_info_of(image);
  const char *wrong = model_differs(m, image);
  k->most_segments = info->segments > k->most_segments ? info->segments : k->most_segments;
  if (wrong != NULL || *info->damage != 0 || !good(rt_image_verify(image, NULL, NULL, NULL), "verifying")) {
    found("%s, version %llu: %s; %s", when, (unsigned long long)info->version, wrong != NULL ? wrong : "", info->damage);
  }
  rt_image_free(image);
}

// im.two: with its header destroyed, the version before is still whole.
static void older_look(walk *k) {
  disk *copy = disk_copy(k->d);
  rt_image *image;
  rt_image_options options = {.io = &copy->io};
  memset(disk_find(copy, STORY_PATH)->at + k->version % 2 * IMAGE_BLOCK, 0x5a, IMAGE_BLOCK);
  if (good(rt_image_open(&image, STORY_PATH, &options), "opening the version before")) {
    const char *wrong = model_differs(&k->before, image);
    if (wrong != NULL || *rt_image_info_of(image)->damage == 0) {
      found("the version before %llu: %s", (unsigned long long)k->version, wrong != NULL ? wrong : "no word of damage");
    }
    rt_image_free(image);
  }
  options.no_fallback = true;
  if (rt_image_open(&image, STORY_PATH, &options) == VEIL_OK) {
    found("with no_fallback a damaged file opens");
    rt_image_free(image);
  }
  disk_free(copy);
}

static void compact(walk *k) {
  bool copy = random_below(&k->random, 2) == 0;
  rt_image_close(k->w);
  k->w = NULL;
  if (good(rt_image_compact(STORY_PATH, copy ? "copy" : NULL, &k->options, NULL, NULL), "compacting")) {
    look(k, copy ? "copy" : STORY_PATH, &k->now, "compacted");
    k->version += copy ? 0 : 1;
    k->alone = k->alone || !copy;
    k->compactions++;
  }
  good(rt_image_append(&k->w, STORY_PATH, &k->options), "appending");
}

static bool no_more(void *arg, uint64_t done, uint64_t of) { return false; }

// By the writer that has the file, which goes on with the new one; or with the old one, if it is given up.
static void compact_held(walk *k) {
  rt_image *image;
  rt_image_writer *other;
  if (!good(rt_image_open(&image, STORY_PATH, &k->options), "opening what is to be compacted")) {
    return;
  }
  bool give_up = random_below(&k->random, 4) == 0 && rt_image_info_of(image)->pages != 0;
  veil_status status = rt_image_compact_held(&k->w, image, give_up ? no_more : NULL, NULL);
  if (give_up ? status != VEIL_BUSY : !good(status, "compacting what is held")) {
    found("compacting what is held, and giving it up: status %d", (int)status);
  }
  rt_image_free(image);
  if (!give_up) {
    look(k, STORY_PATH, &k->now, "compacted while it was held");
    k->version++;
    k->alone = true;
    k->compactions++;
  }
  if (disk_find(k->d, STORY_PATH ".new") != NULL || rt_image_append(&other, STORY_PATH, &k->options) != VEIL_BUSY) {
    found("compacting what is held: the lock is not, or something is left");
  }
}

static void version_add(walk *k) {
  static const unsigned runs[] = {1, 1, 3, 20, 100, 400};
  model next = k->now;
  model_change change = {.puts = (unsigned)random_below(&k->random, random_below(&k->random, 4) == 0 ? 80 : 8),
                         .run = runs[random_below(&k->random, 6)],
                         .removes = (unsigned)random_below(&k->random, 4),
                         .pages = 50 + (unsigned)random_below(&k->random, MODEL_PAGES - 50),
                         .sections = random_below(&k->random, 3) == 0,
                         .tables = random_below(&k->random, 4) == 0};
  rt_image_committed committed;
  if (!good(rt_image_begin(k->w), "beginning") || !good(model_put(&next, k->w, k->layout.page_size, &change, &k->random), "putting")) {
    return;
  }
  if (random_below(&k->random, 6) == 0) {
    rt_image_abort(k->w);
    look(k, STORY_PATH, &k->now, "given up");
    return;
  }
  if (good(rt_image_commit(k->w, &committed), "committing")) {
    k->before = k->now;
    k->alone = false;
    k->now = next;
    k->version++;
    if (committed.version != k->version || committed.file < committed.dead) {
      found("version %llu is said to be %llu", (unsigned long long)k->version, (unsigned long long)committed.version);
    }
    look(k, STORY_PATH, &k->now, "committed");
  }
}

static void walk_one(walk *k, unsigned steps) {
  memset(&k->now, 0, sizeof k->now);
  k->version = 0;
  k->alone = true;
  good(rt_image_create(&k->w, STORY_PATH, &k->layout, &k->options), "creating");
  if (k->w != NULL && good(rt_image_begin(k->w), "beginning") && good(rt_image_commit(k->w, NULL), "committing nothing")) {
    k->version = 1;
    look(k, STORY_PATH, &k->now, "empty");
  }
  for (unsigned i = 0; i < steps && k->w != NULL && !enough(); i++) {
    unsigned what = (unsigned)random_below(&k->random, 12);
    if (what == 0) {
      compact(k);
    } else if (what == 2) {
      compact_held(k);
    } else if (what == 1) {
      rt_image_close(k->w);
      good(rt_image_append(&k->w, STORY_PATH, &k->options), "appending");
    } else {
      version_add(k);
    }
    if (!k->alone) {
      older_look(k);
    }
    disk_forget(k->d); // nothing crashes here
  }
  rt_image_close(k->w);
  k->w = NULL;
}

void trial_random(unsigned steps) {
  static walk k;
  for (uint32_t page_size = 4096; page_size <= 65536 && !enough(); page_size *= 2) {
    for (int codec = RT_IMAGE_PLAIN; codec <= RT_IMAGE_ZSTD && !enough(); codec++) {
      k.d = disk_new();
      k.d->refuses_direct = codec == RT_IMAGE_LZ4;
      k.options = (rt_image_options){.io = &k.d->io, .codec = (rt_image_codec)codec};
      k.layout = (rt_image_layout){.page_size = page_size, .base = page_size, .span = (uint64_t)MODEL_PAGES * page_size};
      k.random.s = seed + page_size + (uint64_t)codec;
      walk_one(&k, steps * 4096 / page_size + 10);
      disk_free(k.d);
    }
  }
  printf("random: at most %llu segments, %llu compactions\n", (unsigned long long)k.most_segments, (unsigned long long)k.compactions);
}
