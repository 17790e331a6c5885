// SPDX-License-Identifier: MIT
// keys.c: commands on keys of any kind.

#include <stdio.h>
#include "handlers.h"
#include "root.h"

const char *kv_kind_name(const kv_item *item) {
  static const char *const names[] = {"string", "string", "list", "hash", "set", "zset", "", ""};
  return names[item->kind];
}

// Calls `each` for each key of a command on several, each under its lock alone.
static int64_t keys_each(kv_call *call, int64_t (*each)(kv_call *call, kv_key *key)) {
  int64_t sum = 0;
  for (int i = 1; i < call->count; i++) {
    kv_key key;
    kv_key_lock(call, &key, kv_arg(call, i));
    sum += key.item != NULL ? each(call, &key) : 0;
    kv_key_unlock(&key);
    kv_poll(call->t->self);
  }
  return sum;
}
static int64_t one(kv_call *call, kv_key *key) { return 1; }
static int64_t delete (kv_call *call, kv_key *key) {
  kv_key_delete(call, key);
  return 1;
}
void kv_do_del(kv_call *call) { kv_reply_integer(call, keys_each(call, delete)); }
void kv_do_exists(kv_call *call) { kv_reply_integer(call, keys_each(call, one)); }
void kv_do_touch(kv_call *call) { kv_reply_integer(call, keys_each(call, one)); }

void kv_do_type(kv_call *call) {
  kv_key key;
  kv_key_lock(call, &key, kv_arg(call, 1));
  kv_reply_simple(call, key.item ? kv_kind_name(key.item) : "none");
  kv_key_unlock(&key);
}

void kv_do_object(kv_call *call) {
  if (!kv_text_is(kv_arg(call, 1), "ENCODING") || call->count != 3) {
    kv_reply_error(call, "ERR unknown subcommand or wrong number of arguments. OBJECT ENCODING is all there is");
    return;
  }
  kv_key key;
  kv_key_lock(call, &key, kv_arg(call, 2));
  static const char *const names[] = {"embstr", "raw", "quicklist", "hashtable", "hashtable", "skiplist", "", ""};
  if (key.item == NULL) {
    kv_reply_null(call);
  } else {
    kv_reply_text(call, names[key.item->kind]);
  }
  kv_key_unlock(&key);
}

// ---- Times.

static void expire(kv_call *call, int64_t factor, bool absolute) {
  int64_t value;
  bool nx = false, xx = false, gt = false, lt = false;
  for (int i = 3; i < call->count; i++) {
    kv_text word = kv_arg(call, i);
    bool *flag = kv_text_is(word, "NX") ? &nx : kv_text_is(word, "XX") ? &xx : kv_text_is(word, "GT") ? &gt : kv_text_is(word, "LT") ? &lt : NULL;
    if (flag == NULL) {
      kv_reply_error(call, "ERR Unsupported option %.*s", (int)(word.length < 64 ? word.length : 64), word.at);
      return;
    }
    *flag = true;
  }
  if (nx && (xx || gt || lt)) {
    kv_reply_error(call, "ERR NX and XX, GT or LT options at the same time are not compatible");
    return;
  }
  if (gt && lt) {
    kv_reply_error(call, "ERR GT and LT options at the same time are not compatible");
    return;
  }
  if (!kv_arg_integer(call, 2, &value)) {
    return;
  }
  int64_t base = absolute ? 0 : call->t->now_ms;
  if (value > (INT64_MAX - base) / factor || value < INT64_MIN / factor) {
    kv_reply_error(call, "ERR invalid expire time in '%s' command", call->command->name);
    return;
  }
  int64_t when = value * factor + base;
  kv_key key;
  kv_key_lock(call, &key, kv_arg(call, 1));
  int64_t had = key.item ? kv_item_expires(key.item) : 0;
  bool does = key.item != NULL && !(nx && had != 0) && !(xx && had == 0) && !(gt && (had == 0 || when <= had)) && !(lt && had != 0 && when >= had);
  if (!does) {
    kv_reply_integer(call, 0);
  } else if (when <= call->t->now_ms) {
    kv_key_delete(call, &key);
    kv_reply_integer(call, 1);
  } else if (kv_key_retime(call, &key, when)) {
    kv_reply_integer(call, 1);
  }
  kv_key_unlock(&key);
}
void kv_do_expire(kv_call *call) { expire(call, 1000, false); }
void kv_do_pexpire(kv_call *call) { expire(call, 1, false); }
void kv_do_expireat(kv_call *call) { expire(call, 1000, true); }
void kv_do_pexpireat(kv_call *call) { expire(call, 1, true); }

static void ttl(kv_call *call, int64_t unit, bool absolute) {
  kv_key key;
  kv_key_lock(call, &key, kv_arg(call, 1));
  int64_t when = key.item ? kv_item_expires(key.item) : 0, left = when - (absolute ? 0 : call->t->now_ms);
  kv_reply_integer(call, key.item == NULL ? -2 : when == 0 ? -1 : (left + (absolute ? 0 : unit / 2)) / unit);
  kv_key_unlock(&key);
}
void kv_do_ttl(kv_call *call) { ttl(call, 1000, false); }
void kv_do_pttl(kv_call *call) { ttl(call, 1, false); }
void kv_do_expiretime(kv_call *call) { ttl(call, 1000, true); }
void kv_do_pexpiretime(kv_call *call) { ttl(call, 1, true); }

void kv_do_persist(kv_call *call) {
  kv_key key;
  kv_key_lock(call, &key, kv_arg(call, 1));
  bool timed = key.item != NULL && key.item->timed;
  if (!timed || kv_key_retime(call, &key, 0)) {
    kv_reply_integer(call, timed);
  }
  kv_key_unlock(&key);
}

// ---- Names.

// The item is put under its new name before it goes from under the old one, so that nothing is lost if memory is out.
static void rename_to(kv_call *call, bool only_new) {
  kv_text from_text = kv_arg(call, 1), to_text = kv_arg(call, 2);
  kv_self *self = call->t->self;
  kv_shards shards = {{0}};
  kv_shards_add(&shards, from_text);
  kv_shards_add(&shards, to_text);
  kv_shards_lock(call, &shards);
  kv_key from, to;
  kv_key_find(call, &to, to_text);
  bool there = to.item != NULL, same = kv_text_compare(from_text, to_text) == 0;
  kv_key_find(call, &from, from_text);
  if (from.item == NULL) {
    kv_reply_error(call, "ERR no such key");
  } else if (only_new && there) {
    kv_reply_integer(call, 0);
  } else if (same) {
    kv_reply_ok(call);
  } else {
    kv_item *made = kv_item_again(self, from.item, to_text, kv_item_expires(from.item));
    kv_key_find(call, &to, to_text); // `from` may have expired and moved it
    if (kv_key_move(call, &to, made)) {
      kv_key_find(call, &from, from_text);
      kv_item *old = kv_key_take(call->t, from.table, from.hash, from.place);
      kv_item_emptied(old);
      kv_drop(self, old);
      if (only_new) {
        kv_reply_integer(call, 1);
      } else {
        kv_reply_ok(call);
      }
    }
  }
  kv_shards_unlock(&shards);
}
void kv_do_rename(kv_call *call) { rename_to(call, false); }
void kv_do_renamenx(kv_call *call) { rename_to(call, true); }

void kv_do_randomkey(kv_call *call) {
  kv_thread *t = call->t;
  unsigned start = (unsigned)(kv_random(t) % KV_SHARDS);
  for (unsigned i = 0; i < KV_SHARDS; i++) {
    unsigned shard = (start + i) % KV_SHARDS;
    kv_table *table = kv_shard_lock(t, shard);
    kv_place place;
    kv_item *item = kv_table_random(t, table, &place);
    bool found = item != NULL && !kv_key_expired(t, item);
    if (found) {
      kv_reply_bulk(call, kv_item_key(item));
    }
    kv_shard_unlock(shard);
    if (found) {
      return;
    }
  }
  kv_reply_null(call);
}

void kv_do_dbsize(kv_call *call) { kv_reply_integer(call, (int64_t)kv_space_count(call->t, NULL)); }
void kv_do_flushall(kv_call *call) {
  if (call->count > 2 || (call->count == 2 && !kv_text_is(kv_arg(call, 1), "SYNC") && !kv_text_is(kv_arg(call, 1), "ASYNC"))) {
    kv_reply_syntax(call); // and nothing is lost by a typing error
  } else {
    kv_space_flush(call);
  }
}

// ---- Scans.

bool kv_scan_cursor_read(kv_call *call, int cursor_at, kv_scanning *scan) {
  *scan = (kv_scanning){.call = call, .count = 10, .kind = -1};
  kv_text cursor = kv_arg(call, cursor_at);
  if (cursor.length == 0 || cursor.length > 20) {
    kv_reply_error(call, "ERR invalid cursor");
    return false;
  }
  for (size_t i = 0; i < cursor.length; i++) {
    if (cursor.at[i] < '0' || cursor.at[i] > '9') {
      kv_reply_error(call, "ERR invalid cursor");
      return false;
    }
    scan->cursor = scan->cursor * 10 + (uint64_t)(cursor.at[i] - '0');
  }
  return true;
}

bool kv_scan_words_read(kv_call *call, int cursor_at, kv_scanning *scan) {
  for (int i = cursor_at + 1; i < call->count; i += 2) {
    kv_text word = kv_arg(call, i);
    int64_t count;
    if (i + 1 == call->count) {
      kv_reply_syntax(call);
      return false;
    }
    if (kv_text_is(word, "COUNT")) {
      if (!kv_arg_integer(call, i + 1, &count)) {
        return false;
      }
      if (count < 1) {
        kv_reply_syntax(call);
        return false;
      }
      scan->count = (uint64_t)count;
    } else if (kv_text_is(word, "MATCH")) {
      scan->pattern = kv_arg(call, i + 1);
    } else if (kv_text_is(word, "TYPE") && cursor_at == 1) {
      static const char *const names[] = {"string", "", "list", "hash", "set", "zset"};
      scan->kind = 99;
      for (int k = 0; k < 6; k++) {
        scan->kind = kv_text_is(kv_arg(call, i + 1), names[k]) ? k : scan->kind;
      }
    } else {
      kv_reply_syntax(call);
      return false;
    }
  }
  return true;
}

// The keys (and values) are written to the reply as they are found, but an array says its length first. So they are noted first: items, held until they are
// written.
void kv_scan_note(void *arg, kv_item *item) {
  kv_scanning *scan = arg;
  kv_thread *t = scan->call->t;
  scan->seen++;
  if (scan->failed || kv_key_expired(t, item) || (scan->kind >= 0 && (item->kind == KV_BLOB ? KV_STRING : (int)item->kind) != scan->kind) ||
      (scan->pattern.at != NULL && !kv_glob(scan->pattern, kv_item_key(item)))) {
    return;
  }
  if (scan->used == scan->room) {
    void **more = kv_new_pointers(t->self, scan->room * 2 + 256, NULL);
    if (more == NULL) {
      scan->failed = true;
      return;
    }
    if (scan->used > 0) {
      memcpy(more, scan->found, scan->used * sizeof *more);
    }
    kv_drop(t->self, scan->found);
    scan->found = more;
    scan->room = scan->room * 2 + 256;
  }
  kv_keep(item);
  scan->found[scan->used++] = item;
}

void kv_scan_reply(kv_scanning *scan, uint64_t cursor, void (*pair)(kv_call *call, kv_item *item)) {
  kv_call *call = scan->call;
  if (scan->failed) {
    kv_reply_no_memory(call);
  } else {
    char text[24];
    kv_reply_array(call, 2);
    kv_reply_bulk(call, (kv_text){text, (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)cursor)});
    kv_reply_array(call, scan->used * (pair != NULL ? 2 : 1));
  }
  for (uint64_t i = 0; i < scan->used; i++) {
    if (!scan->failed) {
      kv_reply_bulk(call, kv_item_key(scan->found[i]));
      if (pair != NULL) {
        pair(call, scan->found[i]);
      }
    }
    kv_drop(call->t->self, scan->found[i]);
  }
  kv_drop(call->t->self, scan->found);
}

// The cursor of the whole keyspace: the shard, then where it stands in there.
static void scan_all(kv_scanning *scan) {
  kv_thread *t = scan->call->t;
  unsigned shard = (unsigned)(scan->cursor >> 56);
  uint64_t cursor = scan->cursor & (((uint64_t)1 << 56) - 1);
  while (shard < KV_SHARDS && scan->seen < scan->count && !scan->failed) {
    kv_table *table = kv_shard_lock(t, shard);
    cursor = kv_table_scan(t, table, cursor, scan->count - scan->seen, kv_scan_note, scan);
    kv_shard_unlock(shard);
    shard += cursor == 0;
  }
  scan->cursor = shard == KV_SHARDS ? 0 : (uint64_t)shard << 56 | cursor;
}

void kv_do_scan(kv_call *call) {
  kv_scanning scan;
  if (kv_scan_cursor_read(call, 1, &scan) && kv_scan_words_read(call, 1, &scan)) {
    scan_all(&scan);
    kv_scan_reply(&scan, scan.cursor, NULL);
  }
}

void kv_do_keys(kv_call *call) {
  kv_scanning scan = {.call = call, .count = UINT64_MAX, .kind = -1, .pattern = kv_arg(call, 1)};
  scan_all(&scan);
  if (scan.failed) {
    kv_reply_no_memory(call);
  } else {
    kv_reply_array(call, scan.used);
  }
  for (uint64_t i = 0; i < scan.used; i++) {
    if (!scan.failed) {
      kv_reply_bulk(call, kv_item_key(scan.found[i]));
    }
    kv_drop(call->t->self, scan.found[i]);
  }
  kv_drop(call->t->self, scan.found);
}
