// SPDX-License-Identifier: MIT
// flips.c: one bit of a file is changed: every one (or one in `one_in`) of headers, segments and sections, and random ones in pages. Each is found, and it is
// said where.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/image/trials.h"

typedef struct flips {
  story s;
  rt_image_options options;
  disk_file *file;
  unsigned one_in;
  random_state random;
  uint64_t tried;
} flips;

// After a flip outside of pages: an error, or a version that is whole, with a word of what was wrong; both name the place.
static void meta_look(flips *f, uint64_t byte, int bit, uint64_t object, const char *what) {
  char place[60], label[120];
  rt_image *image;
  snprintf(place, sizeof place, "at byte %llu", (unsigned long long)object);
  snprintf(label, sizeof label, "bit %d of byte %llu (%s)", bit, (unsigned long long)byte, what);
  f->tried++;
  if (rt_image_open(&image, STORY_PATH, &f->options) != VEIL_OK) {
    if (strstr(veil_error(), place) == NULL && strstr(veil_error(), "no image of veil's") == NULL) {
      found("%s: it is not said where: %s", label, veil_error());
    }
    return;
  }
  const rt_image_info *info = rt_image_info_of(image);
  const char *wrong = info->version < STORY_VERSIONS ? model_differs(&f->s.model[info->version], image) : "there never was such a version";
  if (wrong != NULL) {
    found("%s: version %u is not whole: %s", label, (unsigned)info->version, wrong);
  } else if (*info->damage == 0) {
    found("%s: nobody noticed", label);
  } else if (strstr(info->damage, place) == NULL) {
    found("%s: it is not said where: %s", label, info->damage);
  }
  rt_image_free(image);
}

static void meta_flip(flips *f, uint64_t offset, uint64_t bytes, uint64_t object, const char *what) {
  for (uint64_t bit = 0; bit < bytes * 8 && !enough(); bit++) {
    if (f->one_in > 1 && random_below(&f->random, f->one_in) != 0) {
      continue;
    }
    f->file->at[offset + bit / 8] ^= (uint8_t)(1u << bit % 8);
    meta_look(f, offset + bit / 8, (int)(bit % 8), object, what);
    f->file->at[offset + bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
}

typedef struct damage_list {
  uint64_t page[64];
  unsigned count;
} damage_list;
static bool damage_note(void *arg, uint64_t page, const char *what) {
  damage_list *list = arg;
  char number[40];
  snprintf(number, sizeof number, "page %llu,", (unsigned long long)page);
  if (strstr(what, number) == NULL && strstr(what, "blob") == NULL) {
    found("page %llu is damaged, and the message does not name it: %s", (unsigned long long)page, what);
  }
  list->page[list->count++ % 64] = page;
  return true;
}

// A flip in what is stored of an extent: its pages are damaged, and no others.
static void page_flip(flips *f, const image_map *map, const image_extent *e) {
  uint64_t bit = random_below(&f->random, rt_image_extent_bytes(map, e) * 8), byte = e->offset + bit / 8;
  damage_list list = {.count = 0};
  rt_image *image;
  f->tried++;
  f->file->at[byte] ^= (uint8_t)(1u << bit % 8);
  if (rt_image_open(&image, STORY_PATH, &f->options) != VEIL_OK) {
    found("byte %llu, in a page: it does not open: %s", (unsigned long long)byte, veil_error());
  } else {
    veil_status status = rt_image_verify(image, NULL, damage_note, &list);
    uint64_t page = e->first + (e->kind == IMAGE_RAW ? bit / 8 / map->page_size : 0);
    if (e->kind == IMAGE_RAW && (status != VEIL_IO || list.count != 1 || list.page[0] != page)) {
      found("byte %llu, in page %llu: %u pages were found, the first %llu", (unsigned long long)byte, (unsigned long long)page, list.count,
            (unsigned long long)list.page[0]);
    }
    for (unsigned i = 0; i < list.count && i < 64; i++) {
      size_t k = rt_image_map_find(map, list.page[i]); // a blob of which pages were overwritten is of several extents
      if (k == map->count || map->extents[k].kind != e->kind || (e->kind == IMAGE_PACKED ? map->extents[k].offset != e->offset : list.page[i] != page)) {
        found("byte %llu, in a blob: page %llu is not of it", (unsigned long long)byte, (unsigned long long)list.page[i]);
      }
    }
    if (e->kind == IMAGE_PACKED && list.count == 0) { // a bit that the codec does not look at may do no harm
      const char *wrong = model_differs(&f->s.model[rt_image_info_of(image)->version], image);
      if (wrong != NULL) {
        found("byte %llu, in a blob: nobody noticed: %s", (unsigned long long)byte, wrong);
      }
    }
    rt_image_free(image);
  }
  f->file->at[byte] ^= (uint8_t)(1u << bit % 8);
}

static void file_flip(flips *f, unsigned page_flips) {
  static image_version v;
  image_file file = {.io = f->options.io, .path = STORY_PATH};
  file.fd = file.io->open(file.io->context, STORY_PATH, 0, 0);
  if (rt_image_load(&file, false, false, &v, NULL) != VEIL_OK) {
    found("it does not open: %s", veil_error());
    return;
  }
  file.io->close(file.io->context, file.fd);
  meta_flip(f, 0, IMAGE_BLOCK, 0, "slot 0");
  meta_flip(f, IMAGE_BLOCK, IMAGE_BLOCK, IMAGE_BLOCK, "slot 1");
  for (unsigned i = 0; i < v.links; i++) {
    meta_flip(f, v.chain[i].at.offset, v.chain[i].at.bytes, v.chain[i].at.offset, "a segment");
  }
  meta_flip(f, v.header.sections.offset, v.header.sections.bytes, v.header.sections.offset, "the table of sections");
  for (size_t i = 0; i < v.section_count; i++) {
    const image_reference *at = &v.sections[i].entry.at;
    meta_flip(f, at->offset, at->bytes < 300 ? at->bytes : 300, at->offset, v.sections[i].entry.name);
  }
  for (unsigned i = 0; i < page_flips && !enough(); i++) {
    const image_extent *e = &v.map.extents[random_below(&f->random, v.map.count)];
    if (rt_image_extent_stored(e)) {
      page_flip(f, &v.map, e);
    }
  }
  rt_image_version_clear(&v);
}

void trial_flips(unsigned one_in) {
  static flips f;
  for (int codec = RT_IMAGE_PLAIN; codec <= RT_IMAGE_ZSTD && !enough(); codec++) {
    f = (flips){.one_in = one_in, .random = {seed + 5}, .tried = f.tried};
    story_begin(&f.s, seed, (rt_image_codec)codec, 4096);
    if (!story_run(&f.s)) {
      found("the story itself failed: %s", f.s.error);
    } else {
      f.options = (rt_image_options){.io = &f.s.d->io};
      f.file = disk_find(f.s.d, STORY_PATH);
      file_flip(&f, long_run ? 100000 : 1000);
    }
    story_end(&f.s);
  }
  printf("flips: %llu\n", (unsigned long long)f.tried);
}
