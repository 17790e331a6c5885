// SPDX-License-Identifier: MIT
// sections.h: sections by name, as they were committed.
//
// Neighbours: open.c fills them, commit.c changes them, fold.c puts them into the image. Under whatever lock the caller has.

#ifndef RT_STORE_SECTIONS_H
#define RT_STORE_SECTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "runtime/store/record.h"

typedef struct st_section {
  char name[ST_NAME_MOST + 1];
  void *bytes; // NULL: it is gone, and the image may still have it
  size_t size;
  bool folded; // the image has it so
} st_section;

// Sorted by name.
typedef struct st_sections {
  st_section *at;
  size_t count, room;
} st_sections;

// NULL: there is none, or it is gone.
const st_section *st_section_find(const st_sections *s, const char *name);
// Copies it; `bytes` NULL: it is gone. False: no memory, and nothing has changed.
bool st_section_set(st_sections *s, const char *name, size_t name_length, const void *bytes, size_t size, bool folded);
// Moves all of `from` to `to`, which has room for them: false from the first, no memory; the second cannot fail.
bool st_sections_reserve(st_sections *to, const st_sections *from);
void st_sections_move(st_sections *to, st_sections *from, bool folded);
void st_sections_free(st_sections *s);

#endif
