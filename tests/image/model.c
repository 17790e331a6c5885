// SPDX-License-Identifier: MIT
// model.c: see model.h. One thread.

#include "tests/image/model.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t random_next(random_state *r) {
  r->s += 0x9e3779b97f4a7c15;
  uint64_t z = r->s;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return (z ^ (z >> 31)) >> 8;
}

uint64_t seed_choose(const char *what) {
  const char *given = getenv("IMAGE_SEED");
  uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2654435761u % 1000000007;
  printf("%s: IMAGE_SEED=%llu\n", what, (unsigned long long)seed);
  fflush(stdout);
  return seed;
}

void model_page(uint32_t seed, uint32_t page_size, void *to) {
  uint64_t *words = to;
  random_state r = {seed};
  for (uint32_t i = 0; i < page_size / 8; i++) {
    words[i] = seed == MODEL_ZERO ? 0
               : seed % 3 == 0    ? random_next(&r)
               : seed % 3 == 1    ? (uint64_t)seed * 1000 + i % 13
               : i % 4 == 0       ? random_next(&r)
                                  : UINT64_C(0x7f0000000000) + i * 16;
  }
}

static uint32_t seed_new(random_state *r) { return 2 + (uint32_t)random_below(r, 1000000000); }

// ---- Sections, types and roots from seeds.

static size_t section_make(uint32_t seed, char *to, size_t most) {
  random_state r = {seed};
  size_t bytes = seed % 5 == 0 ? 0 : random_below(&r, most);
  for (size_t i = 0; i < bytes; i++) {
    to[i] = (char)random_next(&r);
  }
  return bytes;
}
enum { SECTION_MOST = 20000 };

static void section_name(unsigned i, char to[32]) { snprintf(to, 32, "section.%u_%s", i, i % 2 ? "blocks" : "x"); }

typedef struct tables {
  char name[20][24];
  uint64_t offsets[20][8];
  rt_image_type type[20];
  rt_image_root root[20];
  unsigned count;
} tables;

static void types_make(uint32_t seed, tables *t) {
  random_state r = {seed};
  t->count = (unsigned)random_below(&r, 20);
  for (unsigned i = 0; i < t->count; i++) {
    snprintf(t->name[i], sizeof t->name[i], "type %u", (unsigned)random_below(&r, 5));
    for (unsigned k = 0; k < 8; k++) {
      t->offsets[i][k] = 8 * k + 8 * random_below(&r, 2);
    }
    t->type[i] = (rt_image_type){.name = t->name[i],
                                 .number = 16 + i,
                                 .flags = (uint32_t)random_below(&r, 8),
                                 .size = 64 + 8 * random_below(&r, 100),
                                 .encoding = random_below(&r, 3),
                                 .fixed = 16,
                                 .slot_count = (uint32_t)random_below(&r, 6),
                                 .fixed_slot_count = (uint32_t)random_below(&r, 3),
                                 .slots = t->offsets[i],
                                 .fixed_slots = t->offsets[i] + 5};
  }
}

static void roots_make(uint32_t seed, tables *t) {
  random_state r = {seed};
  t->count = (unsigned)random_below(&r, 20);
  for (unsigned i = 0; i < t->count; i++) {
    snprintf(t->name[i], sizeof t->name[i], "root-%02u", i);
    t->root[i] = (rt_image_root){t->name[i], random_next(&r)};
  }
}

// ---- Changing.

// What the image says it has copied is spoilt at once.
typedef struct spoiler {
  const rt_image_page *next;
  uint32_t page_size;
} spoiler;
static void spoil(void *arg, uint64_t count) {
  spoiler *s = arg;
  for (; count > 0; count--) {
    memset((char *)(s->next++)->contents, 0xa5, s->page_size);
  }
}

// Some of the pages, which lie in the opposite order.
static veil_status list_put(model *m, rt_image_writer *w, uint32_t page_size, uint64_t first, uint64_t count, char *pages, random_state *r) {
  rt_image_page *list = malloc(count * sizeof *list);
  uint64_t n = 0;
  for (uint64_t p = 0; p < count; p++) {
    if (random_below(r, 8) != 0) {
      list[n++] = (rt_image_page){first + p, pages + (count - 1 - p) * page_size};
      m->page[first + p] = random_below(r, 6) == 0 ? MODEL_ZERO : seed_new(r);
      model_page(m->page[first + p], page_size, (char *)list[n - 1].contents);
    }
  }
  spoiler s = {list, page_size};
  veil_status status = rt_image_put_list(w, list, n, spoil, &s);
  if (status == VEIL_OK && s.next != list + n) {
    fprintf(stderr, "rt_image_put_list told of %ld pages of %llu\n", (long)(s.next - list), (unsigned long long)n);
    abort();
  }
  free(list);
  return status;
}

veil_status model_put(model *m, rt_image_writer *w, uint32_t page_size, const model_change *change, random_state *r) {
  veil_status status = VEIL_OK;
  char *pages = malloc((size_t)change->run * page_size + 1);
  for (unsigned i = 0; i < change->puts && status == VEIL_OK; i++) {
    uint64_t first = random_below(r, change->pages), count = 1 + random_below(r, change->run);
    count = count < change->pages - first ? count : change->pages - first;
    if (random_below(r, 2) == 0) {
      status = list_put(m, w, page_size, first, count, pages, r);
      continue;
    }
    for (uint64_t p = 0; p < count; p++) {
      m->page[first + p] = random_below(r, 6) == 0 ? MODEL_ZERO : seed_new(r);
      model_page(m->page[first + p], page_size, pages + p * page_size);
    }
    status = rt_image_put(w, first, count, pages);
  }
  free(pages);
  for (unsigned i = 0; i < change->removes && status == VEIL_OK; i++) {
    uint64_t first = random_below(r, change->pages), count = 1 + random_below(r, 10);
    count = count < change->pages - first ? count : change->pages - first;
    memset(m->page + first, 0, count * sizeof *m->page);
    status = rt_image_remove(w, first, count);
  }
  for (unsigned i = 0; change->sections && i < MODEL_SECTIONS && status == VEIL_OK; i++) {
    static char bytes[SECTION_MOST];
    char name[32];
    section_name(i, name);
    unsigned what = (unsigned)random_below(r, 4);
    if (what < 2) {
      m->section[i] = what == 0 ? 0 : seed_new(r);
      size_t size = what == 0 ? 0 : section_make(m->section[i], bytes, SECTION_MOST);
      status = rt_image_put_section(w, name, what == 0 ? NULL : bytes, size);
    }
  }
  static tables t;
  if (change->tables && status == VEIL_OK) {
    m->types = seed_new(r);
    types_make(m->types, &t);
    status = rt_image_put_types(w, t.type, t.count);
  }
  if (change->tables && status == VEIL_OK) {
    m->roots = seed_new(r);
    roots_make(m->roots, &t);
    status = rt_image_put_roots(w, t.root, t.count);
  }
  return status;
}

// ---- Comparing.

static char difference[700];

static const char *differs(const char *format, unsigned n) {
  snprintf(difference, sizeof difference, format, n);
  return difference;
}

static const char *pages_differ(const model *m, const rt_image *image) {
  static char found[1 << 16], wanted[1 << 16];
  uint32_t page_size = rt_image_info_of(image)->layout.page_size;
  uint64_t next = 0, pages = 0;
  rt_image_run run;
  while (rt_image_next(image, next, &run)) {
    next = run.first + run.count;
    pages += run.count;
    for (uint64_t p = run.first; p < next; p++) {
      if (p >= MODEL_PAGES || m->page[p] == 0) {
        return differs("page %u is there, and should not be", (unsigned)p);
      }
    }
  }
  for (unsigned p = 0; p < MODEL_PAGES; p++) {
    if (m->page[p] == 0) {
      if (rt_image_has(image, p)) {
        return differs("page %u is there, and should not be", p);
      }
      continue;
    }
    pages--;
    if (rt_image_read(image, p, 1, found, NULL) != VEIL_OK) {
      snprintf(difference, sizeof difference, "page %u cannot be read: %s", p, veil_error());
      return difference;
    }
    model_page(m->page[p], page_size, wanted);
    if (memcmp(found, wanted, page_size) != 0) {
      return differs("page %u has wrong contents", p);
    }
  }
  return pages == 0 ? NULL : differs("%u pages too many or too few", (unsigned)pages);
}

static const char *tables_differ(const model *m, const rt_image *image) {
  static tables t;
  const rt_image_type *types;
  const rt_image_root *roots;
  size_t count = rt_image_types(image, &types);
  t.count = 0;
  if (m->types != 0) {
    types_make(m->types, &t);
  }
  bool same = count == t.count;
  for (unsigned i = 0; same && i < count; i++) {
    const rt_image_type *a = &types[i], *b = &t.type[i];
    same = strcmp(a->name, b->name) == 0 && a->hash == rt_image_type_hash(b) && a->number == b->number && a->flags == b->flags && a->size == b->size &&
           a->encoding == b->encoding && a->fixed == b->fixed && a->slot_count == b->slot_count && a->fixed_slot_count == b->fixed_slot_count &&
           memcmp(a->slots, b->slots, 8 * a->slot_count) == 0 && memcmp(a->fixed_slots, b->fixed_slots, 8 * a->fixed_slot_count) == 0;
  }
  if (!same) {
    return "the types are not those that were put";
  }
  count = rt_image_roots(image, &roots);
  t.count = 0;
  if (m->roots != 0) {
    roots_make(m->roots, &t);
  }
  same = count == t.count;
  for (unsigned i = 0; same && i < count; i++) {
    const rt_image_root *named = rt_image_root_named(image, t.root[i].name);
    same = named == &roots[i] && named->address == t.root[i].address;
  }
  return same && rt_image_root_named(image, "root-77") == NULL ? NULL : "the roots are not those that were put";
}

const char *model_differs(const model *m, const rt_image *image) {
  static char wanted[SECTION_MOST];
  for (unsigned i = 0; i < MODEL_SECTIONS; i++) {
    char name[32];
    const void *found;
    size_t bytes;
    section_name(i, name);
    bool there = rt_image_section(image, name, &found, &bytes) == VEIL_OK;
    if (there != (m->section[i] != 0)) {
      return differs(there ? "section %u is there, and should not be" : "section %u is missing", i);
    }
    if (there && (bytes != section_make(m->section[i], wanted, SECTION_MOST) || memcmp(found, wanted, bytes) != 0)) {
      return differs("section %u has wrong contents", i);
    }
  }
  const char *text = tables_differ(m, image);
  return text != NULL ? text : pages_differ(m, image);
}
