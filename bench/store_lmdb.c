// SPDX-License-Identifier: MIT
// store_lmdb.c: the peer LMDB of the workload `store`, as its manual advises for durability at commit: flags as they are (it writes, and syncs, at each commit), integer keys, one transaction per commit.

#include <errno.h>
#include <lmdb.h>
#include <stdlib.h>
#include <string.h>
#include "bench/store_load.h"

enum { MAKE_BATCH = 100000 };
struct load_thread {
  MDB_txn *reader; // reset but while it reads, so that no page waits for it
};
static MDB_env *env;
static MDB_dbi dbi; // constant once opened

static void must(int status, const char *what) {
  if (status != 0) {
    load_fail(what, mdb_strerror(status));
  }
}

static void env_open(unsigned flags) {
  must(mdb_env_create(&env), "mdb_env_create");
  must(mdb_env_set_mapsize(env, load_now.total * 512 + (64 << 20)), "mdb_env_set_mapsize"); // address space; the file grows as it is used
  must(mdb_env_open(env, load_now.file, MDB_NOSUBDIR | flags, 0600), "mdb_env_open");
  MDB_txn *txn;
  must(mdb_txn_begin(env, NULL, 0, &txn), "mdb_txn_begin");
  must(mdb_dbi_open(txn, NULL, MDB_INTEGERKEY | MDB_CREATE, &dbi), "mdb_dbi_open");
  must(mdb_txn_commit(txn), "mdb_txn_commit");
}

static void lmdb_open(void) { env_open(0); }
static void lmdb_close(void) { mdb_env_close(env); }

static void put(MDB_txn *txn, uint64_t key, const void *value, unsigned flags) {
  size_t number = key;
  MDB_val k = {sizeof number, &number}, v = {VALUE_BYTES, (void *)(uintptr_t)value};
  must(mdb_put(txn, dbi, &k, &v, flags), "mdb_put");
}

static void lmdb_make(void) {
  env_open(MDB_NOSYNC);
  for (uint64_t key = 0; key < load_now.total;) {
    MDB_txn *txn;
    must(mdb_txn_begin(env, NULL, 0, &txn), "mdb_txn_begin");
    for (uint64_t limit = key + MAKE_BATCH; key < limit && key < load_now.total; key++) {
      unsigned char value[VALUE_BYTES];
      load_value(key, 0, value);
      put(txn, key, value, MDB_APPEND);
    }
    must(mdb_txn_commit(txn), "mdb_txn_commit");
  }
  must(mdb_env_sync(env, 1), "mdb_env_sync");
  lmdb_close();
}

static load_thread *lmdb_attach(void) {
  load_thread *t = malloc(sizeof *t);
  must(t == NULL ? ENOMEM : 0, "malloc");
  must(mdb_txn_begin(env, NULL, MDB_RDONLY, &t->reader), "mdb_txn_begin");
  mdb_txn_reset(t->reader);
  return t;
}

static void lmdb_detach(load_thread *t) {
  mdb_txn_abort(t->reader);
  free(t);
}

static void lmdb_commit(load_thread *t, const load_update *updates, size_t count) {
  MDB_txn *txn;
  must(mdb_txn_begin(env, NULL, 0, &txn), "mdb_txn_begin");
  for (size_t i = 0; i < count; i++) {
    put(txn, updates[i].key, updates[i].value, 0);
  }
  must(mdb_txn_commit(txn), "mdb_txn_commit");
}

static void lmdb_read(load_thread *t, uint64_t key, unsigned char *value) {
  size_t number = key;
  MDB_val k = {sizeof number, &number}, v;
  must(mdb_txn_renew(t->reader), "mdb_txn_renew");
  must(mdb_get(t->reader, dbi, &k, &v), "mdb_get");
  if (v.mv_size != VALUE_BYTES) {
    load_fail("mdb_get", "a value of another size");
  }
  memcpy(value, v.mv_data, VALUE_BYTES);
  mdb_txn_reset(t->reader);
}

const load_peer peer_here = {.name = "lmdb", .suffixes = {"", "-lock"}, .make = lmdb_make, .open = lmdb_open, .close = lmdb_close, .attach = lmdb_attach, .detach = lmdb_detach,
                             .commit = lmdb_commit, .read = lmdb_read};
