// SPDX-License-Identifier: MIT
// mounted_trials.h: what the trials on a mounted disk share: subjects, which keep things on a disk and say when they
// are durable; the store is one, those that everybody trusts are the others.

#ifndef TESTS_STORE_MOUNTED_TRIALS_H
#define TESTS_STORE_MOUNTED_TRIALS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "tests/store/graph.h"

// All calls are made in one process, one subject at a time. False: it went wrong, and `why` says how.
typedef struct subject {
  const char *name;
  bool names_last;                  // makes the names of its files durable; if not, a crash comes after they were made
  bool (*weaken)(const char *rule); // breaks that rule, from the next `open` on; false: there is none of that name
  bool (*open)(const char *folder, uint64_t *dice); // makes what is not there
  void (*change)(uint64_t *dice);                   // begins what `commit` ends: no two such changes have the same hash
  uint64_t (*hash)(void);                           // of all that is there, the changes with it
  bool (*commit)(uint64_t *dice);
  bool (*close)(void);
  const char *(*why)(void);
} subject;

extern const subject subject_store, subject_lmdb, subject_sqlite;

// ---- What subjects that keep keys and values share.
enum { PAIR_KEYS = 150, PAIR_MOST = 3000 };

// The next change of one pair; `key` is below PAIR_KEYS. Returns the value's length; 0: the pair goes. `value` has room
// for PAIR_MOST.
static inline unsigned pair_change(uint64_t *dice, unsigned *key, char *value) {
  *key = (unsigned)(graph_dice(dice) % PAIR_KEYS);
  unsigned bytes =
      graph_dice(dice) % 8 == 0 ? 0 : 1 + (unsigned)(graph_dice(dice) % (graph_dice(dice) % 4 == 0 ? PAIR_MOST : 200));
  memset(value, (int)graph_dice(dice), bytes);
  return bytes;
}

// One more pair, for the hash.
static inline uint64_t pair_add(uint64_t hash, uint64_t key, const void *value, size_t bytes) {
  hash = (hash ^ key) * 0x100000001b3 + bytes;
  for (size_t i = 0; i < bytes; i++) {
    hash = (hash ^ ((const uint8_t *)value)[i]) * 0x100000001b3;
  }
  return hash;
}

#endif
