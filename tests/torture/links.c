// SPDX-License-Identifier: MIT
// links.c: handles, weak references, weak tables, finalizers, pins and hashes, beside all that goes on.
//
// Now and then a record is pinned, and then has to stay where it was, held by its handle or not.
// Each worker has places for records, which a handle holds, or nothing. A weak reference to each stays behind, and once it says that
// the record is gone it has to say so for ever. A record has a finalizer, which has to come once, after the handle was dropped, and to find it whole. Beside it a table keeps a shadow that refers to it, as long as it is there and
// no longer; and two others tell by the weak reference what that refers to.

#include <stdlib.h>
#include "torture.h"
#include "veil/identity.h"
#include "veil/table.h"
#include "veil/weak.h"

typedef struct record {
  struct record *other; // one of its own, or another place's
  uint64_t id, check, hash; // hash: 0, or what veil_hash has said
  uint64_t shadowed;        // has a shadow in the table
} record;
VEIL_TYPE(record, other);

typedef struct beside {
  record *of;
  uint64_t id;
} beside;
VEIL_TYPE(beside, of);

enum { PLACES = 24, OWNERS = 64, IDS = 1 << 20 };

typedef struct place {
  veil_handle *handle; // of the record, while it is held
  veil_handle *weak;   // of the weak reference
  uint64_t id;         // of the record
  veil_finalizer finalizer;
  bool gone;           // the weak reference has said so
  uintptr_t pinned;    // the record's address, where no stop finds it; 0: it is not
} place;

// What has become of a record; by number.
enum { NEVER, IS_HELD, LET_GO, CANCELLED, FINALIZED };
static atomic_uchar fate[IDS];
static atomic_ulong next_id = 1;
static place places[OWNERS][PLACES];
static atomic_ulong finalized;

// Handles of the tables: shadows by record; records by weak reference, with and without holding that.
static veil_handle *shadows, *by_weak[2];
static veil_table *table_of(veil_thread *self, veil_handle *handle) { return veil_handle_get(self, handle); }

// The record is there, so the shadow is, or never was (out of memory).
static void shadow_check(veil_thread *self, record *r, const char *where) {
  beside *s = veil_table_get(self, table_of(self, shadows), r);
  REQUIRE(r->shadowed == (s != NULL), "links: the shadow of record %lu, %s, is %p, and it has %s", (unsigned long)r->id, where, (void *)s,
          r->shadowed ? "one" : "none");
  REQUIRE(s == NULL || (s->of == r && s->id == r->id), "links: the shadow of record %lu is of %p and has %lu", (unsigned long)r->id,
          (void *)s->of, (unsigned long)s->id);
}

static void shadow_put(worker *t, record *r) {
  beside *s = veil_new(t->self, beside);
  if (s != NULL) {
    s->of = r;
    s->id = r->id;
    r->shadowed = true;
    REQUIRE(veil_table_put(t->self, table_of(t->self, shadows), r, s) == VEIL_OK, "links: %s", veil_error());
  }
}

static void shadow_remove(worker *t, record *r) {
  bool was = veil_table_remove(t->self, table_of(t->self, shadows), r);
  REQUIRE(was == r->shadowed, "links: record %lu has %s shadow to be removed", (unsigned long)r->id, was ? "a" : "no");
  r->shadowed = false;
}

static void shadows_list(worker *t) {
  void **entries = veil_table_entries(t->self, table_of(t->self, shadows));
  for (size_t i = 0; entries != NULL && i < veil_length(heap, entries) && entries[i] != NULL; i += 2) {
    record *r = entries[i];
    beside *s = entries[i + 1];
    REQUIRE(s->of == r && s->id == r->id && r->check == mix(r->id), "links: entry %zu: the shadow %p, of record %lu, is of %p", i / 2, (void *)s,
            (unsigned long)r->id, (void *)s->of);
  }
}

static void hash_check(worker *t, record *r) {
  uint64_t hash = veil_hash(t->self, r);
  REQUIRE(r->hash == 0 || r->hash == hash, "links: the hash of record %lu was %lx, and is %lx", (unsigned long)r->id, (unsigned long)r->hash,
          (unsigned long)hash);
  r->hash = hash;
}

static void record_check(const record *r, const char *where) {
  REQUIRE(r->check == mix(r->id), "links: record %p, %s, has the number %lu and the check %lx", (const void *)r, where, (unsigned long)r->id,
          (unsigned long)r->check);
  if (r->other != NULL) {
    REQUIRE(r->other->check == mix(r->other->id), "links: record %p, %s, refers to %p, which is no record", (const void *)r, where,
            (const void *)r->other);
  }
}

static void finalizer(veil_thread *self, void *object, void *data) {
  record *r = object;
  shadow_check(self, r, "to be finalized");
  uint64_t id = (uint64_t)(uintptr_t)data;
  record_check(r, "to be finalized");
  REQUIRE(r->id == id, "links: the finalizer of record %lu got %lu", (unsigned long)id, (unsigned long)r->id);
  unsigned char was = atomic_exchange(&fate[id], FINALIZED);
  REQUIRE(was == LET_GO, "links: record %lu is finalized, which was %s", (unsigned long)id,
          was == IS_HELD ? "held" : was == FINALIZED ? "finalized before" : was == CANCELLED ? "to be no more" : "never there");
  atomic_fetch_add(&finalized, 1);
}

static record *record_new(worker *t) {
  uint64_t id = atomic_fetch_add(&next_id, 1);
  record *r = id < IDS ? veil_new(t->self, record) : NULL;
  if (r != NULL) {
    r->id = id;
    r->check = mix(id);
  }
  return r;
}

// ---- What is done with a place.

static void unpin(worker *t, place *p) {
  if (p->pinned != 0) {
    veil_unpin(t->self, (void *)~p->pinned);
    p->pinned = 0;
  }
}

static void let_go(worker *t, place *p) {
  if (p->handle == NULL) {
    return;
  }
  if (p->pinned != 0) { // by the pin alone it is held as well
    veil_handle_drop(t->self, p->handle);
    p->handle = NULL;
    record_check((record *)~p->pinned, "held by a pin");
    atomic_store(&fate[p->id], LET_GO);
    unpin(t, p);
    return;
  }
  atomic_store(&fate[p->id], LET_GO);
  veil_handle_drop(t->self, p->handle);
  p->handle = NULL;
}

static void pin(worker *t, place *p) {
  if (p->handle != NULL && p->pinned == 0) {
    record *r = veil_handle_get(t->self, p->handle);
    REQUIRE(veil_pin(t->self, r) == VEIL_OK, "links: %s", veil_error());
    p->pinned = ~(uintptr_t)r;
  } else {
    unpin(t, p);
  }
}

static void fill(worker *t, place *p) {
  let_go(t, p);
  record *r = record_new(t);
  if (r == NULL) {
    return;
  }
  uint64_t id = r->id;
  p->handle = veil_handle_new(t->self, r);
  REQUIRE(p->handle != NULL, "links: %s", veil_error());
  p->id = id;
  p->gone = false;
  atomic_store(&fate[id], IS_HELD);
  p->finalizer = veil_finalize(t->self, r, finalizer, (void *)(uintptr_t)id);
  REQUIRE(p->finalizer != 0, "links: %s", veil_error());
  veil_weak *weak = p->weak != NULL && one_in(&t->random, 2) ? veil_handle_get(t->self, p->weak) : NULL;
  if (weak != NULL) {
    veil_weak_set(t->self, weak, r); // another record's, until now
  } else if ((weak = veil_weak_new(t->self, r)) == NULL) {
    p->gone = true; // out of memory
  } else if (p->weak != NULL && one_in(&t->random, 2)) {
    veil_handle_set(t->self, p->weak, weak); // the old one dies, and its link with it
  } else {
    if (p->weak != NULL) {
      veil_handle_drop(t->self, p->weak);
    }
    p->weak = veil_handle_new(t->self, weak);
  }
  if (p->gone && p->weak != NULL) {
    veil_handle_drop(t->self, p->weak);
    p->weak = NULL;
  }
  for (int i = 0; i < 2 && p->weak != NULL; i++) {
    REQUIRE(veil_table_put(t->self, table_of(t->self, by_weak[i]), veil_handle_get(t->self, p->weak), r) == VEIL_OK, "links: %s", veil_error());
  }
  if (one_in(&t->random, 2)) {
    shadow_put(t, r);
  }
}

static void join(worker *t, place *a, place *b) {
  if (a->handle != NULL && b->handle != NULL) {
    record *r = veil_handle_get(t->self, a->handle);
    r->other = veil_handle_get(t->self, b->handle); // in circles, too
  }
}

static void look(worker *t, place *p) {
  record *held = p->handle != NULL ? veil_handle_get(t->self, p->handle) : NULL;
  if (held != NULL) {
    record_check(held, "held by a handle");
    REQUIRE(p->pinned == 0 || p->pinned == ~(uintptr_t)held, "links: record %lu is pinned at %p, and its handle says %p", (unsigned long)p->id,
            (void *)~p->pinned, (void *)held);
    if (held->hash != 0 || one_in(&t->random, 4)) {
      hash_check(t, held);
    }
    shadow_check(t->self, held, "held by a handle");
    if (one_in(&t->random, 8)) {
      (held->shadowed ? shadow_remove : shadow_put)(t, held);
    }
    REQUIRE(held->id == p->id, "links: the handle of record %lu holds %lu", (unsigned long)p->id, (unsigned long)held->id);
  }
  if (p->weak == NULL) {
    return;
  }
  void *reference = veil_handle_get(t->self, p->weak);
  record *told = veil_table_get(t->self, table_of(t->self, by_weak[one_in(&t->random, 2)]), reference);
  record *weak = veil_weak_get(t->self, reference);
  REQUIRE(told == NULL || told == weak, "links: a table says %p of a weak reference to %p", (void *)told, (void *)weak);
  for (int i = 0; i < 2; i++) {
    told = veil_table_get(t->self, table_of(t->self, by_weak[i]), reference);
    REQUIRE(told == weak, "links: table %d says %p of a weak reference to %p", i, (void *)told, (void *)weak);
  }
  REQUIRE(held == NULL || weak == held, "links: a weak reference to record %lu says %p, and the handle %p", (unsigned long)p->id, (void *)weak,
          (void *)held);
  REQUIRE(weak == NULL || !p->gone, "links: a weak reference to record %lu says %p, and said that it is gone", (unsigned long)p->id,
          (void *)weak);
  if (weak != NULL) {
    record_check(weak, "held by nothing");
    if (held == NULL) {
      shadow_check(t->self, weak, "held by nothing");
    }
    REQUIRE(weak->id == p->id, "links: the weak reference to record %lu refers to %lu", (unsigned long)p->id, (unsigned long)weak->id);
    if (held == NULL && one_in(&t->random, 8) && atomic_load(&fate[p->id]) == CANCELLED) {
      p->handle = veil_handle_new(t->self, weak); // brought back
      atomic_store(&fate[p->id], IS_HELD);
      p->finalizer = veil_finalize(t->self, weak, finalizer, (void *)(uintptr_t)p->id);
    }
  }
  p->gone = weak == NULL;
}

static void cancel(worker *t, place *p) {
  if (p->handle == NULL) {
    return;
  }
  REQUIRE(veil_finalizer_cancel(t->self, p->finalizer), "links: the finalizer of record %lu, which is held, is not there", (unsigned long)p->id);
  REQUIRE(!veil_finalizer_cancel(t->self, p->finalizer), "links: a finalizer is cancelled twice");
  atomic_store(&fate[p->id], CANCELLED);
  unpin(t, p);
  veil_handle_drop(t->self, p->handle);
  p->handle = NULL;
}

void links_random(worker *t) {
  place *mine = places[t->index % OWNERS], *p = &mine[below(&t->random, PLACES)];
  switch (below(&t->random, 10)) {
  case 0:
  case 1:
    fill(t, p);
    break;
  case 2:
    let_go(t, p);
    break;
  case 3:
    join(t, p, &mine[below(&t->random, PLACES)]);
    break;
  case 4:
    cancel(t, p);
    break;
  case 5:
    pin(t, p);
    break;
  case 6:
    veil_finalizers_run(t->self, 1 + below(&t->random, 20));
    break;
  case 7:
    if (one_in(&t->random, 8)) {
      shadows_list(t);
      break;
    }
    look(t, p);
    break;
  default:
    look(t, p);
  }
}

static veil_handle *table_make(veil_thread *self, veil_table_kind kind) {
  veil_table *table = veil_table_new(self, kind);
  REQUIRE(table != NULL, "links: %s", veil_error());
  veil_handle *handle = veil_handle_new(self, table);
  REQUIRE(handle != NULL, "links: %s", veil_error());
  return handle;
}

void links_open(worker *t, rng *r) {
  shadows = table_make(t->self, VEIL_WEAK_KEYS);
  by_weak[0] = table_make(t->self, VEIL_WEAK_VALUES);
  by_weak[1] = table_make(t->self, VEIL_WEAK_BOTH);
  if (one_in(r, 2)) {
    REQUIRE(veil_finalizers_start(heap) == VEIL_OK, "links: %s", veil_error());
  }
}

// In the only thread that is left: all that were let go have to be finalized in the end, but for what words on stacks still hold.
void links_close(worker *t) {
  for (unsigned o = 0; o < OWNERS; o++) {
    for (unsigned i = 0; i < PLACES; i++) {
      look(t, &places[o][i]);
      let_go(t, &places[o][i]);
      if (places[o][i].weak != NULL) {
        veil_handle_drop(t->self, places[o][i].weak);
      }
    }
  }
  uint64_t left = 0;
  for (int turn = 0; turn < 20; turn++) {
    veil_collect(t->self);
    while (veil_finalizers_run(t->self, 1000) != 0 || veil_finalizers_due(heap) != 0) {
      breathe(t);
    }
    left = 0;
    for (uint64_t id = 0; id < IDS; id++) {
      left += atomic_load(&fate[id]) == LET_GO;
    }
    if (left == 0) {
      break;
    }
  }
  REQUIRE(left < 100, "links: %lu records were let go, and never finalized", (unsigned long)left);
}

unsigned long links_finalized(void) { return atomic_load(&finalized); }
