// SPDX-License-Identifier: MIT
// store_pmemobj.c: the peer libpmemobj of the workload `store`, on a plain file, where it flushes by msync: an array of values, one transaction per commit, with the 100 bytes of each update added to it. The
// values are one object: an object each would have to be allocated durably one by one.

#include <libpmemobj.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "bench/store_load.h"

#define LAYOUT "bench"
typedef struct root {
  PMEMoid values;
  uint64_t count;
} root;
static PMEMobjpool *pool;
static unsigned char *values; // constant once opened

static void must(bool right, const char *what) {
  if (!right) {
    load_fail(what, pmemobj_errormsg());
  }
}

static void pmemobj_refuse(void) {
  if (getenv("PMEM_IS_PMEM_FORCE") != NULL) {
    load_fail("PMEM_IS_PMEM_FORCE is set", "without msync nothing is durable on a disk");
  }
}

static void pmemobj_make(void) {
  pmemobj_refuse();
  size_t bytes = load_now.total * VALUE_BYTES, room = bytes + bytes / 16 + (64 << 20);
  must((pool = pmemobj_create(load_now.file, LAYOUT, room, 0600)) != NULL, "pmemobj_create");
  root *r = pmemobj_direct(pmemobj_root(pool, sizeof *r));
  must(r != NULL, "pmemobj_root");
  must(pmemobj_alloc(pool, &r->values, bytes, 1, NULL, NULL) == 0, "pmemobj_alloc");
  unsigned char *at = pmemobj_direct(r->values);
  for (uint64_t key = 0; key < load_now.total; key++) {
    load_value(key, 0, at + key * VALUE_BYTES);
  }
  r->count = load_now.total;
  pmemobj_persist(pool, at, bytes);
  pmemobj_persist(pool, r, sizeof *r);
  pmemobj_close(pool);
}

static void pmemobj_peer_open(void) {
  pmemobj_refuse();
  must((pool = pmemobj_open(load_now.file, LAYOUT)) != NULL, "pmemobj_open");
  root *r = pmemobj_direct(pmemobj_root(pool, sizeof *r));
  must(r != NULL && r->count == load_now.total, "pmemobj_root");
  values = pmemobj_direct(r->values);
}

static void pmemobj_peer_close(void) { pmemobj_close(pool); }
static load_thread *pmemobj_attach(void) { return NULL; }
static void pmemobj_detach(load_thread *t) {}

static void pmemobj_commit(load_thread *t, const load_update *updates, size_t count) {
  must(pmemobj_tx_begin(pool, NULL, TX_PARAM_NONE) == 0, "pmemobj_tx_begin");
  for (size_t i = 0; i < count; i++) {
    unsigned char *value = values + updates[i].key * VALUE_BYTES;
    must(pmemobj_tx_add_range_direct(value, VALUE_BYTES) == 0, "pmemobj_tx_add_range_direct");
    memcpy(value, updates[i].value, VALUE_BYTES);
  }
  pmemobj_tx_commit();
  must(pmemobj_tx_end() == 0, "pmemobj_tx_end");
}

static void pmemobj_settle(load_thread *t, const load_update *updates, size_t count) {
  for (size_t i = 0; i < count; i++) {
    memcpy(values + updates[i].key * VALUE_BYTES, updates[i].value, VALUE_BYTES);
  }
  pmemobj_persist(pool, values, load_now.total * VALUE_BYTES);
}

static void pmemobj_read(load_thread *t, uint64_t key, unsigned char *value) { memcpy(value, values + key * VALUE_BYTES, VALUE_BYTES); }

const load_peer peer_here = {.name = "pmemobj", .suffixes = {""}, .make = pmemobj_make, .open = pmemobj_peer_open, .close = pmemobj_peer_close, .attach = pmemobj_attach,
                             .detach = pmemobj_detach, .commit = pmemobj_commit, .settle = pmemobj_settle, .read = pmemobj_read};
