// SPDX-License-Identifier: MIT
// restore_damage.c: what does not belong together is refused by veil_open_from, with an error that says what it is: types, sections, roots, pages, limits.

#include <criterion/criterion.h>
#include "tests/runtime/restore.h"

// ---- Types.

typedef struct other_node {
  struct other_node *left;
  long key;
  struct other_node *right;
  long more;
} other_node;
static veil_type moved_slot = {"node", sizeof(other_node), (const size_t[]){0, 16}, 2, NULL, NULL, NULL, 0, 0, 0};
static veil_type more_bytes = {"node", 40, (const size_t[]){0, 8}, 2, NULL, NULL, NULL, 0, 0, 0};
static veil_type more_slots = {"node", 32, (const size_t[]){0, 8, 24}, 3, NULL, NULL, NULL, 0, 0, 0};
static veil_type other_tags = {"node", 32, (const size_t[]){0, 8}, 2, NULL, &things_boxing, NULL, 0, 0, 0};
static veil_type nobodys = {"nobody's", 64, (const size_t[]){0}, 1, NULL, NULL, NULL, 0, 0, 0};

static void type_refused(image *i, veil_type *type, const char *why) {
  veil_type *types[THINGS_TYPES + 1] = {type};
  memcpy(types + 1, things_types + 1, (THINGS_TYPES - 1) * sizeof *types);
  unsigned dones = i->dones;
  cr_assert_null(image_open_from(i, image_source(i), NULL, types, THINGS_TYPES));
  cr_assert(strstr(veil_error(), why) != NULL, "%s", veil_error());
  cr_assert_eq(i->dones, dones + 1);
}

Test(restore, types_of_one_name_have_to_be_like_each_other, .timeout = 120) {
  image *i;
  sum was;
  EXPECT(source_make(with(NULL, VEIL_GENERATIONS_AUTO), 0, &i, &was));
  source_close();
  type_refused(i, &moved_slot, "the image: type node has slot 1 at byte 8 there, and at 16 here");
  type_refused(i, &more_bytes, "the image: type node has 32 bytes there, and 40 here");
  type_refused(i, &more_slots, "the image: type node has 2 slots there, and 3 here");
  type_refused(i, &other_tags, "the image: type node has slots that decode otherwise here");
  veil_type *types[] = {&nobodys}; // others are no concern
  heap = image_open_from(i, image_source(i), NULL, types, 1);
  cr_assert_not_null(heap, "%s", veil_error());
  self = veil_attach(heap);
  things_check(self, false);
  end();
  image_free(i);
}

// ---- Sources that are damaged.

// Contents are believed, and would not be what damaged sections and types say: so there are none.
static bool next_without_contents(void *arg, size_t page, size_t *first, size_t *count, bool *zero) {
  bool found = image_next(arg, page, first, count, zero);
  *zero = true;
  return found;
}

static bool opens(image *i, const char **why) {
  veil_source source = image_source(i);
  source.next = next_without_contents;
  veil_heap *opened = image_open_from(i, source, &(veil_options){.limit = 256 * MIB}, things_types, THINGS_TYPES);
  *why = opened == NULL ? veil_error() : "";
  if (opened != NULL) {
    veil_close(opened);
  }
  return opened != NULL;
}

static void refused(image *i, const char *text) {
  const char *why;
  cr_assert_not(opens(i, &why), "not refused: %s", text);
  cr_assert(strstr(why, text) != NULL, "%s", why);
}

Test(restore, what_is_missing_is_said, .timeout = 120) {
  image *i;
  sum was;
  EXPECT(source_make(with(NULL, VEIL_GENERATIONS_AUTO), 1, &i, &was));
  source_close();
  const char *why;
  for (size_t s = 0; s < i->section_count; s++) {
    char name[32], text[128];
    strcpy(name, i->sections[s].name);
    strcpy(i->sections[s].name, "none");
    snprintf(text, sizeof text, "the image: the section %s is damaged: it is missing", name);
    refused(i, text);
    strcpy(i->sections[s].name, name);
    i->sections[s].size--;
    snprintf(text, sizeof text, "the section %s is damaged: ", name);
    refused(i, text);
    i->sections[s].size++;
  }
  cr_assert(opens(i, &why), "%s", why);
  size_t page = 0;
  while (!i->there[page]) {
    page++;
  }
  i->there[page] = 0;
  refused(i, "is in use, and not among its pages");
  i->there[page] = 1;
  uint64_t address = i->roots[3].address;
  i->roots[3].address += 4;
  refused(i, "leads to no object");
  i->roots[3].address = i->base + i->span;
  refused(i, "leads to no object");
  i->roots[3].address = address;
  char root[256];
  strcpy(root, i->roots[3].name);
  strcpy(i->roots[3].name, i->roots[4].name);
  refused(i, "or it is there twice");
  strcpy(i->roots[3].name, root);
  i->types[1].described.number = i->types[0].described.number;
  refused(i, "is impossible, or is there twice");
  i->types[1].described.number = 1 << 16;
  refused(i, "is impossible, or is there twice");
  image_free(i);
}

Test(restore, the_limit_has_to_hold_what_there_is, .timeout = 120) {
  image *i;
  sum was;
  EXPECT(source_make(with(NULL, VEIL_GENERATIONS_AUTO), 1, &i, &was));
  source_close();
  cr_assert_null(image_open_from(i, image_source(i), &(veil_options){.limit = 8 * MIB}, things_types, THINGS_TYPES));
  cr_assert(strstr(veil_error(), "MiB, and the limit is 8 MiB") != NULL, "%s", veil_error());
  image_free(i);
}

static uint64_t random_state;
static uint64_t random_next(uint64_t below) {
  random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (random_state >> 33) % below;
}

// A heap may come out of it, if what is changed does not matter or cannot be known; or an error does.
static void damage_one(image *i) {
  image_section *s = &i->sections[random_next(i->section_count)];
  uint8_t *copy = malloc(s->size + 16), *bytes = s->bytes;
  size_t size = s->size;
  memcpy(copy, bytes, size);
  memset(copy + size, (int)random_next(256), 16);
  switch (random_next(4)) {
  case 0: // bits
    for (uint64_t n = 1 + random_next(3); n > 0; n--) {
      copy[random_next(size)] ^= (uint8_t)(1u << random_next(8));
    }
    break;
  case 1: // bytes
    for (uint64_t n = 1 + random_next(8); n > 0; n--) {
      copy[random_next(size)] = (uint8_t)random_next(256);
    }
    break;
  case 2: // cut off, or longer
    s->size = random_next(size + 16);
    break;
  default: // anything
    for (size_t b = 0; b < size; b++) {
      copy[b] = (uint8_t)random_next(random_next(3) == 0 ? 256 : 4);
    }
    break;
  }
  s->bytes = copy;
  const char *why;
  bool opened = opens(i, &why);
  EXPECT(opened || why[0] != 0);
  s->bytes = bytes;
  s->size = size;
  free(copy);
}

static void type_damage(image *i) {
  veil_type_described *d = &i->types[random_next(i->type_count)].described, was = *d;
  uint64_t any = random_next(3) == 0 ? random_next(UINT32_MAX) << random_next(33) : random_next(64);
  switch (random_next(6)) {
  case 0:
    d->number = (uint32_t)any;
    break;
  case 1:
    d->flags = random_next(2) ? (uint32_t)any : d->flags ^ 1u << random_next(11);
    break;
  case 2:
    d->size = any;
    break;
  case 3:
    d->encoding = any;
    break;
  case 4:
    d->fixed = any;
    break;
  default:
    d->slot_count = random_next(IMAGE_OFFSETS);
    d->fixed_slot_count = random_next(IMAGE_OFFSETS);
    break;
  }
  const char *why;
  EXPECT(opens(i, &why) || why[0] != 0);
  *d = was;
}

Test(restore, damaged_types_give_errors, .timeout = 300) {
  image *i;
  sum was;
  EXPECT(source_make(with(NULL, VEIL_GENERATIONS_AUTO), 1, &i, &was));
  source_close();
  const char *seed = getenv("RESTORE_SEED");
  random_state = seed != NULL ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
  fprintf(stderr, "RESTORE_SEED=%llu\n", (unsigned long long)random_state);
  for (int n = 0; n < 200; n++) {
    type_damage(i);
  }
  image_free(i);
}

Test(restore, damaged_sections_give_errors, .timeout = 300) {
  image *i;
  sum was;
  EXPECT(source_make(with(NULL, VEIL_GENERATIONS_AUTO), 1, &i, &was));
  source_close();
  const char *seed = getenv("RESTORE_SEED");
  random_state = seed != NULL ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
  fprintf(stderr, "RESTORE_SEED=%llu\n", (unsigned long long)random_state);
  for (int n = 0; n < 1000; n++) {
    damage_one(i);
  }
  image_free(i);
}
