// SPDX-License-Identifier: MIT
// ledger.c: see ledger.h. Owning threads.

#include "tests/checkpoint/ledger.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "veil/critical.h"

VEIL_TYPE(ledger_entry, next, bytes);
VEIL_TYPE(ledger, slots);

veil_type *const ledger_types[] = {&veil_type_ledger_entry, &veil_type_ledger};

enum { LONGEST = 3000 };

static uint64_t mix(uint64_t z) {
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

// Adding them up gives the same hash in any order, and taking one away is easy.
static uint64_t entry_hash(uint64_t slot, const ledger_entry *e) { return mix(mix(slot + 1) + mix(e->key) + 3 * e->value); }

static size_t bytes_of(uint64_t key) { return key % 4 == 0 ? 1 + mix(key) % (key % 64 == 0 ? LONGEST : 100) : 0; }

ledger *ledger_named(veil_thread *self, const char *name) {
  ledger *l = veil_root_get(self, name);
  if (l == NULL) {
    l = veil_new(self, ledger);
    l->slots = (ledger_entry **)veil_new_pointers(self, LEDGER_SLOTS);
    if (veil_root_set(self, name, l) != VEIL_OK) {
      fprintf(stderr, "ledger: %s\n", veil_error());
      abort();
    }
  }
  return l;
}

static void entry_add(veil_thread *self, ledger *l, uint64_t slot) {
  ledger_entry *e = veil_new(self, ledger_entry);
  size_t bytes = bytes_of(l->changes);
  e->key = l->changes;
  e->value = mix(e->key);
  if (bytes != 0) {
    e->bytes = veil_new_bytes(self, bytes);
    memset(e->bytes, (int)(e->key / 4 % 251), bytes);
  }
  e->next = l->slots[slot];
  l->slots[slot] = e;
  l->hash += entry_hash(slot, e);
  l->entries++;
}

void ledger_change(veil_thread *self, ledger *l, uint64_t random) {
  uint64_t slot = random % LEDGER_SLOTS, what = (random >> 32) % 8;
  if (veil_critical_begin(self, veil_room(ledger_entry) + veil_room_bytes(LONGEST)) != VEIL_OK) {
    fprintf(stderr, "ledger: %s\n", veil_error());
    abort();
  }
  ledger_entry *e = l->slots[slot];
  l->changes++;
  if (e == NULL || (what < 3 && l->entries < 40000)) {
    entry_add(self, l, slot);
  } else if (what < 6) {
    ledger_entry *at = e->next != NULL && what == 5 ? e->next : e;
    l->hash -= entry_hash(slot, at);
    at->value += random;
    l->hash += entry_hash(slot, at);
  } else {
    l->hash -= entry_hash(slot, e);
    l->slots[slot] = e->next;
    l->entries--;
  }
  veil_critical_end(self);
}

const char *ledger_wrong(veil_thread *self, const ledger *l) {
  static char text[300];
  uint64_t hash = 0, entries = 0;
  if (veil_length(veil_thread_heap(self), l->slots) != LEDGER_SLOTS) {
    return "its table has another length";
  }
  for (uint64_t slot = 0; slot < LEDGER_SLOTS; slot++) {
    for (const ledger_entry *e = l->slots[slot]; e != NULL; e = e->next) {
      hash += entry_hash(slot, e);
      size_t bytes = bytes_of(e->key);
      if ((e->bytes != NULL) != (bytes != 0) || (bytes != 0 && veil_length(veil_thread_heap(self), e->bytes) != bytes)) {
        snprintf(text, sizeof text, "the bytes of key %llu are not those", (unsigned long long)e->key);
        return text;
      }
      for (size_t i = 0; i < bytes; i++) {
        if ((unsigned char)e->bytes[i] != e->key / 4 % 251) {
          snprintf(text, sizeof text, "byte %zu of key %llu is %d", i, (unsigned long long)e->key, e->bytes[i]);
          return text;
        }
      }
      if (++entries > l->entries) {
        return "it has more entries than were made";
      }
    }
  }
  if (hash != l->hash || entries != l->entries) {
    snprintf(text, sizeof text, "%llu entries, %llu were made; their hash is %llx, and was %llx", (unsigned long long)entries, (unsigned long long)l->entries,
             (unsigned long long)hash, (unsigned long long)l->hash);
    return text;
  }
  return NULL;
}
