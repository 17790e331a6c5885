// SPDX-License-Identifier: MIT
// states.h: what was committed to a disk in memory, one state after the other, and which of them a crash may leave.

#ifndef TESTS_STORE_STATES_H
#define TESTS_STORE_STATES_H

#include <stddef.h>
#include <stdint.h>

typedef struct state {
  uint64_t hash;              // of all that is there; no two states have the same
  size_t begun, acknowledged; // notes of the disk's that there were then; SIZE_MAX: never
} state;

enum { STATES = 300 };
typedef struct states {
  state at[STATES]; // the first is what there was
  int count;
} states;

// The newest state that was acknowledged before note `at`.
static inline int states_sure(const states *s, size_t at) {
  int sure = 0;
  for (int i = 1; i < s->count; i++) {
    sure = s->at[i].acknowledged <= at ? i : sure;
  }
  return sure;
}

// The one that this hash is, of those that may be there after a crash before note `at`; -1: none.
static inline int states_find(const states *s, size_t at, uint64_t hash) {
  for (int i = states_sure(s, at); i < s->count && (i == 0 || s->at[i].begun <= at); i++) {
    if (s->at[i].hash == hash) {
      return i;
    }
  }
  return -1;
}

// The one that this hash is, whenever it was; -1: none.
static inline int states_ever(const states *s, uint64_t hash) {
  for (int i = s->count - 1; i >= 0; i--) {
    if (s->at[i].hash == hash) {
      return i;
    }
  }
  return -1;
}

#endif
