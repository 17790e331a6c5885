// SPDX-License-Identifier: MIT
// ledger.h: a graph with a hash of all that is in it, which its mutator keeps right at every moment in which it can be stopped.

#ifndef TESTS_CHECKPOINT_LEDGER_H
#define TESTS_CHECKPOINT_LEDGER_H

#include <stdint.h>
#include "veil/veil.h"

enum { LEDGER_SLOTS = 2000 };

typedef struct ledger_entry {
  struct ledger_entry *next;
  char *bytes; // or NULL: some, all of them made from the key
  uint64_t key, value;
} ledger_entry;

typedef struct ledger {
  ledger_entry **slots;
  uint64_t changes, hash, entries;
} ledger;

// Those of this program, for veil_restore.
extern veil_type *const ledger_types[];
enum { LEDGER_TYPES = 2 };

// One by that name, which is there already, or is made.
ledger *ledger_named(veil_thread *self, const char *name);
// One change; a stop sees it as a whole or not at all.
void ledger_change(veil_thread *self, ledger *l, uint64_t random);
// NULL, or what is wrong. Of a heap that nobody else changes.
const char *ledger_wrong(veil_thread *self, const ledger *l);

#endif
