// SPDX-License-Identifier: MIT
// mounted_sqlite.c: SQLite with a write-ahead log, and synchronous=FULL, as a subject. See mounted_trials.h.

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include "tests/store/mounted_trials.h"

static sqlite3 *base;
static const char *synchronous = "FULL";
static char error[300];

static bool weaken(const char *rule) {
  synchronous = strcmp(rule, "off") == 0 ? "OFF" : strcmp(rule, "normal") == 0 ? "NORMAL" : synchronous;
  return strcmp(synchronous, "FULL") != 0;
}

static bool good(int result) {
  if (result != SQLITE_OK && result != SQLITE_ROW && result != SQLITE_DONE) {
    snprintf(error, sizeof error, "%s", sqlite3_errmsg(base));
    return false;
  }
  return true;
}

static bool run(const char *statement) { return good(sqlite3_exec(base, statement, NULL, NULL, NULL)); }

// The log goes into the file every few commits, so that crashes meet that too.
static bool opens(const char *folder, uint64_t *dice) {
  char path[200], mode[80];
  snprintf(path, sizeof path, "%s/data.db", folder);
  snprintf(mode, sizeof mode, "PRAGMA synchronous=%s", synchronous);
  return good(sqlite3_open(path, &base)) && run("PRAGMA journal_mode=WAL") && run(mode) &&
         run("PRAGMA wal_autocheckpoint=40") &&
         run("CREATE TABLE IF NOT EXISTS pair (key INTEGER PRIMARY KEY, value BLOB)");
}

static bool bound(const char *text, uint32_t key, const void *bytes, size_t size, uint64_t *out) {
  sqlite3_stmt *statement;
  if (!good(sqlite3_prepare_v2(base, text, -1, &statement, NULL))) {
    return false;
  }
  sqlite3_bind_int64(statement, 1, key);
  if (bytes != NULL) {
    sqlite3_bind_blob(statement, 2, bytes, (int)size, SQLITE_STATIC);
  }
  bool done = good(sqlite3_step(statement));
  if (out != NULL && sqlite3_column_bytes(statement, 0) == sizeof *out) {
    memcpy(out, sqlite3_column_blob(statement, 0), sizeof *out);
  }
  sqlite3_finalize(statement);
  return done;
}

static void changes(uint64_t *dice) {
  static char value[PAIR_MOST];
  uint64_t number = 0;
  uint32_t key;
  bool done = run("BEGIN IMMEDIATE") && bound("SELECT value FROM pair WHERE key = ?", PAIR_KEYS, NULL, 0, &number);
  number++;
  done = done && bound("REPLACE INTO pair VALUES (?, ?)", PAIR_KEYS, &number, sizeof number, NULL);
  for (unsigned n = 1 + (unsigned)(graph_dice(dice) % 20); n != 0 && done; n--) {
    unsigned size = pair_change(dice, &key, value);
    done = size != 0 ? bound("REPLACE INTO pair VALUES (?, ?)", key, value, size, NULL)
                     : bound("DELETE FROM pair WHERE key = ?", key, NULL, 0, NULL);
  }
}

static uint64_t hash(void) {
  sqlite3_stmt *statement;
  uint64_t sum = 0;
  if (!good(sqlite3_prepare_v2(base, "SELECT key, value FROM pair ORDER BY key", -1, &statement, NULL))) {
    return 0;
  }
  int result;
  while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
    sum = pair_add(sum, (uint64_t)sqlite3_column_int64(statement, 0), sqlite3_column_blob(statement, 1),
                   (size_t)sqlite3_column_bytes(statement, 1));
  }
  good(result);
  sqlite3_finalize(statement);
  return result == SQLITE_DONE ? sum : 0;
}

static bool commits(uint64_t *dice) { return error[0] == 0 && run("COMMIT"); }
static bool closes(void) { return good(sqlite3_close(base)); }
static const char *why(void) { return error; }

const subject subject_sqlite = {"sqlite", false, weaken, opens, changes, hash, commits, closes, why};
