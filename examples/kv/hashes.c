// SPDX-License-Identifier: MIT
// hashes.c: commands on hashes: tables of fields, which are string items.

#include <math.h>
#include "handlers.h"

void kv_with(kv_call *call, kv_kind kind, void (*run)(kv_call *call, kv_key *key, void *object), void (*empty)(kv_call *call)) {
  kv_key key;
  bool failed;
  kv_key_lock(call, &key, kv_arg(call, 1));
  void *object = kv_key_object(call, &key, kind, false, &failed);
  if (object != NULL) {
    run(call, &key, object);
    kv_key_tidy(call, &key);
  } else if (!failed) {
    empty(call);
  }
  kv_key_unlock(&key);
}

bool kv_table_set(kv_self *self, kv_table *table, kv_text key, kv_item *item) {
  kv_place place;
  uint64_t hash = kv_hash(key);
  if (item == NULL) {
    return false;
  }
  if (kv_table_find(table, hash, key, &place) != NULL) {
    kv_table_replace(self, table, place, item);
    return true;
  }
  if (!kv_table_reserve(self, table, hash)) {
    kv_drop(self, item);
    return false;
  }
  kv_table_put(self, table, hash, item);
  return true;
}

// A field's text is overwritten in place if it fits. 1: the field is new, 0: it was there, -1: memory is out.
static int field_set(kv_call *call, kv_table *table, kv_text field, kv_text text) {
  kv_self *self = call->t->self;
  kv_item *item = kv_table_find(table, kv_hash(field), field, NULL);
  if (item != NULL && item->kind == KV_STRING && text.length <= ((kv_string *)item)->room && text.length * 2 + 32 >= ((kv_string *)item)->room) {
    memcpy(kv_string_text((kv_string *)item), text.at, text.length);
    ((kv_string *)item)->length = (uint16_t)text.length;
    return 0;
  }
  return kv_table_set(self, table, field, kv_item_string(self, field, text.at, text.length, 0)) ? item == NULL : -1;
}

static void set_fields(kv_call *call, bool count_them) {
  if (call->count % 2 != 0) {
    kv_reply_error(call, "ERR wrong number of arguments for '%s' command", call->command->name);
    return;
  }
  kv_key key;
  bool failed;
  int64_t added = 0;
  kv_key_lock(call, &key, kv_arg(call, 1));
  kv_table *table = kv_key_object(call, &key, KV_HASH, true, &failed);
  for (int i = 2; table != NULL && i < call->count && !failed; i += 2) {
    int result = field_set(call, table, kv_arg(call, i), kv_arg(call, i + 1));
    failed = result < 0;
    added += result > 0;
    if (failed) {
      kv_reply_no_memory(call);
    }
  }
  if (!failed && count_them) {
    kv_reply_integer(call, added);
  } else if (!failed) {
    kv_reply_ok(call);
  }
  kv_key_tidy(call, &key);
  kv_key_unlock(&key);
}
void kv_do_hset(kv_call *call) { set_fields(call, true); }
void kv_do_hmset(kv_call *call) { set_fields(call, false); }

void kv_do_hsetnx(kv_call *call) {
  kv_key key;
  bool failed;
  kv_key_lock(call, &key, kv_arg(call, 1));
  kv_table *table = kv_key_object(call, &key, KV_HASH, true, &failed);
  if (table != NULL) {
    kv_text field = kv_arg(call, 2);
    if (kv_table_find(table, kv_hash(field), field, NULL) != NULL) {
      kv_reply_integer(call, 0);
    } else if (field_set(call, table, field, kv_arg(call, 3)) < 0) {
      kv_reply_no_memory(call);
    } else {
      kv_reply_integer(call, 1);
    }
  }
  kv_key_tidy(call, &key);
  kv_key_unlock(&key);
}

static kv_item *find(kv_call *call, kv_table *table, int at) { return kv_table_find(table, kv_hash(kv_arg(call, at)), kv_arg(call, at), NULL); }
static void field_reply(kv_call *call, kv_item *item) {
  if (item != NULL) {
    kv_reply_item(call, item);
  } else {
    kv_reply_null(call);
  }
}

static void get(kv_call *call, kv_key *key, void *table) { field_reply(call, find(call, table, 2)); }
void kv_do_hget(kv_call *call) { kv_with(call, KV_HASH, get, kv_reply_null); }

static void get_many(kv_call *call, kv_key *key, void *table) {
  kv_reply_array(call, (uint64_t)call->count - 2);
  for (int i = 2; i < call->count; i++) {
    field_reply(call, table != NULL ? find(call, table, i) : NULL);
  }
}
static void nulls(kv_call *call) { get_many(call, NULL, NULL); }
void kv_do_hmget(kv_call *call) { kv_with(call, KV_HASH, get_many, nulls); }

static void all(kv_call *call, kv_table *table, bool keys, bool values) {
  kv_walk walk = kv_walk_begin(table);
  kv_reply_array(call, table->count * ((uint64_t)keys + values));
  for (kv_item *item; (item = kv_walk_next(call->t, &walk)) != NULL;) {
    if (keys) {
      kv_reply_bulk(call, kv_item_key(item));
    }
    if (values) {
      kv_reply_item(call, item);
    }
  }
}
static void get_all(kv_call *call, kv_key *key, void *table) { all(call, table, true, true); }
static void get_keys(kv_call *call, kv_key *key, void *table) { all(call, table, true, false); }
static void get_values(kv_call *call, kv_key *key, void *table) { all(call, table, false, true); }
void kv_do_hgetall(kv_call *call) { kv_with(call, KV_HASH, get_all, kv_reply_empty); }
void kv_do_hkeys(kv_call *call) { kv_with(call, KV_HASH, get_keys, kv_reply_empty); }
void kv_do_hvals(kv_call *call) { kv_with(call, KV_HASH, get_values, kv_reply_empty); }

static void length(kv_call *call, kv_key *key, void *table) { kv_reply_integer(call, (int64_t)((kv_table *)table)->count); }
void kv_do_hlen(kv_call *call) { kv_with(call, KV_HASH, length, kv_reply_zero); }
static void exists(kv_call *call, kv_key *key, void *table) { kv_reply_integer(call, find(call, table, 2) != NULL); }
void kv_do_hexists(kv_call *call) { kv_with(call, KV_HASH, exists, kv_reply_zero); }
static void text_length(kv_call *call, kv_key *key, void *table) {
  kv_item *item = find(call, table, 2);
  kv_reply_integer(call, item ? (int64_t)kv_item_text(item).length : 0);
}
void kv_do_hstrlen(kv_call *call) { kv_with(call, KV_HASH, text_length, kv_reply_zero); }

static void delete (kv_call *call, kv_key *key, void *table) {
  int64_t gone = 0;
  for (int i = 2; i < call->count; i++) {
    kv_place place;
    uint64_t hash = kv_hash(kv_arg(call, i));
    if (kv_table_find(table, hash, kv_arg(call, i), &place) != NULL) {
      kv_drop(call->t->self, kv_table_take(call->t->self, table, hash, place));
      gone++;
    }
  }
  kv_reply_integer(call, gone);
}
void kv_do_hdel(kv_call *call) { kv_with(call, KV_HASH, delete, kv_reply_zero); }

void kv_do_hincrby(kv_call *call) {
  int64_t by, value = 0;
  kv_key key;
  bool failed;
  if (!kv_arg_integer(call, 3, &by)) {
    return;
  }
  kv_key_lock(call, &key, kv_arg(call, 1));
  kv_table *table = kv_key_object(call, &key, KV_HASH, true, &failed);
  if (table != NULL) {
    kv_item *item = find(call, table, 2);
    char text[24];
    if (item != NULL && !kv_integer(kv_item_text(item), &value)) {
      kv_reply_error(call, "ERR hash value is not an integer");
    } else if (__builtin_add_overflow(value, by, &value)) {
      kv_reply_error(call, "ERR increment or decrement would overflow");
    } else if (field_set(call, table, kv_arg(call, 2), (kv_text){text, kv_integer_write(value, text)}) < 0) {
      kv_reply_no_memory(call);
    } else {
      kv_reply_integer(call, value);
    }
  }
  kv_key_tidy(call, &key);
  kv_key_unlock(&key);
}

void kv_do_hincrbyfloat(kv_call *call) {
  long double by, value = 0;
  kv_key key;
  bool failed;
  if (!kv_wide(kv_arg(call, 3), &by)) {
    kv_reply_error(call, "ERR value is not a valid float");
    return;
  }
  if (isinf(by)) {
    kv_reply_error(call, "ERR value is NaN or Infinity");
    return;
  }
  kv_key_lock(call, &key, kv_arg(call, 1));
  kv_table *table = kv_key_object(call, &key, KV_HASH, true, &failed);
  if (table != NULL) {
    kv_item *item = find(call, table, 2);
    char text[KV_WIDE_TEXT];
    if (item != NULL && !kv_wide(kv_item_text(item), &value)) {
      kv_reply_error(call, "ERR hash value is not a float");
    } else if (!isfinite(value + by)) {
      kv_reply_error(call, "ERR increment would produce NaN or Infinity");
    } else {
      kv_text sum = {text, kv_wide_write(value + by, text)};
      if (field_set(call, table, kv_arg(call, 2), sum) < 0) {
        kv_reply_no_memory(call);
      } else {
        kv_reply_bulk(call, sum);
      }
    }
  }
  kv_key_tidy(call, &key);
  kv_key_unlock(&key);
}

// HSCAN, SSCAN and ZSCAN. The reply is written under the lock, or values could change beneath it.
static void scan(kv_call *call, kv_kind kind, void (*pair)(kv_call *call, kv_item *item)) {
  kv_scanning scan;
  kv_key key;
  bool failed;
  if (!kv_scan_cursor_read(call, 2, &scan)) {
    return;
  }
  kv_key_lock(call, &key, kv_arg(call, 1));
  void *object = kv_key_object(call, &key, kind, false, &failed);
  if (object != NULL && kv_scan_words_read(call, 2, &scan)) {
    kv_table *table = kind == KV_SORTED ? ((kv_sorted *)object)->members : object;
    uint64_t next = kv_table_scan(call->t, table, scan.cursor, scan.count, kv_scan_note, &scan);
    kv_scan_reply(&scan, next, pair);
  } else if (object == NULL && !failed) {
    kv_scan_reply(&scan, 0, pair); // whatever the words are
  }
  kv_key_unlock(&key);
}
static void score_reply(kv_call *call, kv_item *item) { kv_reply_double(call, ((kv_member *)item)->score); }
void kv_do_hscan(kv_call *call) { scan(call, KV_HASH, kv_reply_item); }
void kv_do_sscan(kv_call *call) { scan(call, KV_SET, NULL); }
void kv_do_zscan(kv_call *call) { scan(call, KV_SORTED, score_reply); }
