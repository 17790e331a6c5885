// SPDX-License-Identifier: MIT
// sections.c: sections by name.
//
// Neighbours: sections.h.

#include "runtime/store/sections.h"
#include <stdlib.h>
#include <string.h>

// Where it is, or would be.
static size_t place_of(const st_sections *s, const char *name, size_t length, bool *there) {
  size_t low = 0, high = s->count;
  *there = false;
  while (low < high) {
    size_t middle = (low + high) / 2;
    int order = strncmp(s->at[middle].name, name, length);
    order = order == 0 && s->at[middle].name[length] != 0 ? 1 : order;
    if (order == 0) {
      *there = true;
      return middle;
    }
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

const st_section *st_section_find(const st_sections *s, const char *name) {
  bool there;
  size_t at = place_of(s, name, strlen(name), &there);
  return there && s->at[at].bytes != NULL ? &s->at[at] : NULL;
}

static bool room_make(st_sections *s, size_t more) {
  if (s->count + more <= s->room) {
    return true;
  }
  size_t room = 2 * s->room + 16 + more;
  st_section *at = realloc(s->at, room * sizeof *at);
  if (at == NULL) {
    return false;
  }
  s->at = at;
  s->room = room;
  return true;
}

bool st_section_set(st_sections *s, const char *name, size_t length, const void *bytes, size_t size, bool folded) {
  bool there;
  size_t at = place_of(s, name, length, &there);
  void *copy = bytes != NULL ? malloc(size + 1) : NULL;
  if ((bytes != NULL && copy == NULL) || (!there && !room_make(s, 1))) {
    free(copy);
    return false;
  }
  if (copy != NULL) {
    memcpy(copy, bytes, size);
  }
  if (!there) {
    memmove(&s->at[at + 1], &s->at[at], (s->count - at) * sizeof *s->at);
    s->at[at] = (st_section){.bytes = NULL};
    memcpy(s->at[at].name, name, length);
    s->count++;
  }
  free(s->at[at].bytes);
  s->at[at].bytes = copy;
  s->at[at].size = size;
  s->at[at].folded = folded;
  return true;
}

bool st_sections_reserve(st_sections *to, const st_sections *from) { return room_make(to, from->count); }

void st_sections_move(st_sections *to, st_sections *from, bool folded) {
  for (size_t i = 0; i < from->count; i++) {
    st_section *s = &from->at[i];
    bool there;
    size_t at = place_of(to, s->name, strlen(s->name), &there);
    if (!there) {
      memmove(&to->at[at + 1], &to->at[at], (to->count - at) * sizeof *to->at);
      to->count++;
    } else {
      free(to->at[at].bytes);
    }
    to->at[at] = *s;
    to->at[at].folded = folded;
    s->bytes = NULL;
  }
  st_sections_free(from);
}

void st_sections_free(st_sections *s) {
  for (size_t i = 0; i < s->count; i++) {
    free(s->at[i].bytes);
  }
  free(s->at);
  *s = (st_sections){.at = NULL};
}
