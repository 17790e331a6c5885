// SPDX-License-Identifier: MIT
// store_sqlite.c: the peer SQLite of the workload `store`, as its manual advises for durability at commit: WAL, synchronous=FULL, prepared statements, one transaction per commit. Each thread has a connection of
// its own. Writers take turns by a mutex of the program's: SQLite's own way, to sleep and try again, costs them much more.

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "bench/store_load.h"

enum { CACHE_KIB = 128 << 10 }; // as much as veil keeps of committed pages
struct load_thread {
  sqlite3 *db;
  sqlite3_stmt *begin, *update, *commit, *read;
};
static sqlite3 *first; // holds the file open as long as the store is: whoever closes it last writes the WAL back
static pthread_mutex_t writers = PTHREAD_MUTEX_INITIALIZER;

static void must(sqlite3 *db, bool right, const char *what) {
  if (!right) {
    load_fail(what, db != NULL ? sqlite3_errmsg(db) : "no memory");
  }
}

static void run(sqlite3 *db, const char *sql) { must(db, sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, sql); }

static sqlite3 *connected(void) {
  sqlite3 *db = NULL;
  must(db, sqlite3_open_v2(load_now.file, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK, "sqlite3_open_v2");
  char sql[64];
  snprintf(sql, sizeof sql, "PRAGMA cache_size = -%d", CACHE_KIB);
  run(db, sql);
  return db;
}

static sqlite3_stmt *prepared(sqlite3 *db, const char *sql) {
  sqlite3_stmt *statement = NULL;
  must(db, sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) == SQLITE_OK, sql);
  return statement;
}

static void step(sqlite3 *db, sqlite3_stmt *statement) {
  must(db, sqlite3_step(statement) == SQLITE_DONE && sqlite3_reset(statement) == SQLITE_OK, sqlite3_sql(statement));
}

static void sqlite_make(void) {
  sqlite3 *db = connected();
  run(db, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; CREATE TABLE store (key INTEGER PRIMARY KEY, value BLOB NOT NULL); BEGIN");
  sqlite3_stmt *insert = prepared(db, "INSERT INTO store VALUES (?, ?)");
  for (uint64_t key = 0; key < load_now.total; key++) {
    unsigned char value[VALUE_BYTES];
    load_value(key, 0, value);
    sqlite3_bind_int64(insert, 1, (sqlite3_int64)key);
    sqlite3_bind_blob(insert, 2, value, VALUE_BYTES, SQLITE_STATIC);
    step(db, insert);
  }
  sqlite3_finalize(insert);
  run(db, "COMMIT; PRAGMA journal_mode = WAL");
  must(db, sqlite3_close(db) == SQLITE_OK, "sqlite3_close");
}

static void sqlite_open(void) {
  first = connected();
  run(first, "PRAGMA synchronous = FULL; SELECT count(*) FROM sqlite_schema"); // the second opens the file itself
}

static void sqlite_close(void) { must(first, sqlite3_close(first) == SQLITE_OK, "sqlite3_close"); }

static load_thread *sqlite_attach(void) {
  load_thread *t = calloc(1, sizeof *t);
  must(NULL, t != NULL, "memory");
  t->db = connected();
  run(t->db, "PRAGMA synchronous = FULL");
  sqlite3_busy_timeout(t->db, 60000); // for checkpoints
  t->begin = prepared(t->db, "BEGIN IMMEDIATE");
  t->update = prepared(t->db, "UPDATE store SET value = ? WHERE key = ?");
  t->commit = prepared(t->db, "COMMIT");
  t->read = prepared(t->db, "SELECT value FROM store WHERE key = ?");
  return t;
}

static void sqlite_detach(load_thread *t) {
  sqlite3_stmt *statements[] = {t->begin, t->update, t->commit, t->read};
  for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
    sqlite3_finalize(statements[i]);
  }
  must(t->db, sqlite3_close(t->db) == SQLITE_OK, "sqlite3_close");
  free(t);
}

static void sqlite_commit(load_thread *t, const load_update *updates, size_t count) {
  pthread_mutex_lock(&writers);
  step(t->db, t->begin);
  for (size_t i = 0; i < count; i++) {
    sqlite3_bind_blob(t->update, 1, updates[i].value, VALUE_BYTES, SQLITE_STATIC);
    sqlite3_bind_int64(t->update, 2, (sqlite3_int64)updates[i].key);
    step(t->db, t->update);
  }
  step(t->db, t->commit);
  pthread_mutex_unlock(&writers);
}

static void sqlite_read(load_thread *t, uint64_t key, unsigned char *value) {
  sqlite3_bind_int64(t->read, 1, (sqlite3_int64)key);
  must(t->db, sqlite3_step(t->read) == SQLITE_ROW && sqlite3_column_bytes(t->read, 0) == VALUE_BYTES, "SELECT");
  memcpy(value, sqlite3_column_blob(t->read, 0), VALUE_BYTES);
  sqlite3_reset(t->read);
}

const load_peer peer_here = {.name = "sqlite", .suffixes = {"", "-wal", "-shm"}, .make = sqlite_make, .open = sqlite_open, .close = sqlite_close, .attach = sqlite_attach,
                             .detach = sqlite_detach, .commit = sqlite_commit, .read = sqlite_read};
