// SPDX-License-Identifier: MIT
// mounted_lmdb.c: LMDB as a subject. See mounted_trials.h.

#include <lmdb.h>
#include <stdio.h>
#include <string.h>
#include "tests/store/mounted_trials.h"

static MDB_env *env;
static MDB_txn *writes; // between change and commit
static MDB_dbi table;
static unsigned flags = MDB_NOSUBDIR;
static int error;

static bool weaken(const char *rule) {
  unsigned weaker = strcmp(rule, "nosync") == 0 ? MDB_NOSYNC : strcmp(rule, "nometasync") == 0 ? MDB_NOMETASYNC : 0;
  flags |= weaker;
  return weaker != 0;
}

static bool good(int result) {
  error = error == 0 ? result : error;
  return result == 0;
}

static bool opens(const char *folder, uint64_t *dice) {
  char path[200];
  error = 0;
  snprintf(path, sizeof path, "%s/data.mdb", folder);
  if (!good(mdb_env_create(&env)) || !good(mdb_env_set_mapsize(env, 64 << 20)) ||
      !good(mdb_env_open(env, path, flags, 0600)) || !good(mdb_txn_begin(env, NULL, MDB_RDONLY, &writes))) {
    return false;
  }
  bool opened = good(mdb_dbi_open(writes, NULL, MDB_INTEGERKEY, &table));
  mdb_txn_abort(writes);
  writes = NULL;
  return opened;
}

static void put(uint32_t key, void *bytes, size_t size) {
  MDB_val k = {sizeof key, &key}, v = {size, bytes};
  int result = size != 0 ? mdb_put(writes, table, &k, &v, 0) : mdb_del(writes, table, &k, NULL);
  good(result == MDB_NOTFOUND ? 0 : result);
}

static void changes(uint64_t *dice) {
  static char value[PAIR_MOST];
  uint32_t key = PAIR_KEYS;
  uint64_t number = 0;
  MDB_val k = {sizeof key, &key}, v;
  if (!good(mdb_txn_begin(env, NULL, 0, &writes))) {
    return;
  }
  if (mdb_get(writes, table, &k, &v) == 0) {
    memcpy(&number, v.mv_data, sizeof number);
  }
  number++;
  put(key, &number, sizeof number);
  for (unsigned n = 1 + (unsigned)(graph_dice(dice) % 20); n != 0; n--) {
    unsigned size = pair_change(dice, &key, value);
    put(key, value, size);
  }
}

static uint64_t hash(void) {
  MDB_txn *reads = writes;
  MDB_cursor *cursor;
  MDB_val k, v;
  uint64_t sum = 0;
  if ((reads == NULL && !good(mdb_txn_begin(env, NULL, MDB_RDONLY, &reads))) ||
      !good(mdb_cursor_open(reads, table, &cursor))) {
    return 0;
  }
  while (mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == 0) {
    uint32_t key;
    memcpy(&key, k.mv_data, sizeof key);
    sum = pair_add(sum, key, v.mv_data, v.mv_size);
  }
  mdb_cursor_close(cursor);
  if (reads != writes) {
    mdb_txn_abort(reads);
  }
  return sum;
}

static bool commits(uint64_t *dice) {
  bool done = error == 0 && good(mdb_txn_commit(writes));
  writes = NULL;
  return done;
}

static bool closes(void) {
  mdb_env_close(env);
  return true;
}

static const char *why(void) { return mdb_strerror(error); }

const subject subject_lmdb = {"lmdb", false, weaken, opens, changes, hash, commits, closes, why};
