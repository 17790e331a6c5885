// SPDX-License-Identifier: MIT
// strings.c: commands on strings.
//
// A short text is overwritten in place if it fits. One that a reply may refer to (KV_BY_REFERENCE) never is: it gets a new blob.

#include <math.h>
#include <stdio.h>
#include "handlers.h"

// Locks the key, which holds a string or nothing; else replies, and it is not locked.
static bool text_lock(kv_call *call, kv_key *key, int at) {
  kv_key_lock(call, key, kv_arg(call, at));
  if (key->item != NULL && !kv_item_is_text(key->item)) {
    kv_key_unlock(key);
    kv_reply_wrong_type(call);
    return false;
  }
  return true;
}

static void item_reply(kv_call *call, kv_item *item) {
  if (item == NULL) {
    kv_reply_null(call);
  } else {
    kv_reply_item(call, item);
  }
}

void kv_do_get(kv_call *call) {
  kv_key key;
  if (text_lock(call, &key, 1)) {
    item_reply(call, key.item);
    kv_count(key.item ? &call->t->hits : &call->t->misses, 1);
    kv_key_unlock(&key);
  }
}

// Puts a text at the key, whatever was there. `blob` has it if it is long; it is taken over.
static bool text_set(kv_call *call, kv_key *key, kv_text text, kv_blob *blob, int64_t expires) {
  kv_item *item = key->item;
  if (blob == NULL && item != NULL && item->kind == KV_STRING && item->timed == (expires != 0)) {
    kv_string *string = (kv_string *)item;
    if (text.length <= string->room && text.length * 2 + 32 >= string->room) {
      memcpy(kv_string_text(string), text.at, text.length);
      string->length = (uint16_t)text.length;
      if (expires != 0) {
        kv_item_set_expires(item, expires);
      }
      return true;
    }
  }
  kv_self *self = call->t->self;
  return kv_key_set(call, key,
                    blob != NULL ? kv_item_box(self, KV_BLOB, key->text, blob, expires) : kv_item_string(self, key->text, text.at, text.length, expires));
}

// The same, with the old text for a reply: that is written before the old one goes, and only if nothing can fail any more.
static void text_swap(kv_call *call, kv_key *key, kv_text text, kv_blob *blob, int64_t expires) {
  kv_self *self = call->t->self;
  if (key->item == NULL) {
    if (text_set(call, key, text, blob, expires)) {
      kv_reply_null(call);
    }
    return;
  }
  kv_item *made = blob != NULL ? kv_item_box(self, KV_BLOB, key->text, blob, expires) : kv_item_string(self, key->text, text.at, text.length, expires);
  if (made == NULL) {
    kv_reply_no_memory(call);
    return;
  }
  kv_reply_item(call, key->item);
  kv_key_set(call, key, made);
}

// Long texts are copied before the lock is taken. False: the reply is -OOM.
static bool blob_make(kv_call *call, kv_text text, kv_blob **out) {
  *out = NULL;
  if (text.length > KV_INLINE && (*out = kv_blob_new(call->t->self, text.at, text.length, text.length)) == NULL) {
    kv_reply_no_memory(call);
    return false;
  }
  return true;
}

// "EX 10" and the like at argument *i. False: the reply says what is wrong.
static bool expire_read(kv_call *call, int i, int64_t *out) {
  kv_text unit = kv_arg(call, i);
  int64_t value;
  if (!kv_arg_integer(call, i + 1, &value)) {
    return false;
  }
  bool seconds = kv_text_is(unit, "EX") || kv_text_is(unit, "EXAT"), absolute = kv_text_is(unit, "EXAT") || kv_text_is(unit, "PXAT");
  int64_t base = absolute ? 0 : call->t->now_ms;
  if (value <= 0 || (seconds && value > INT64_MAX / 1000) || (seconds ? value * 1000 : value) > INT64_MAX - base) {
    char name[16];
    snprintf(name, sizeof name, "%s", call->command->name);
    kv_reply_error(call, "ERR invalid expire time in '%s' command", name);
    return false;
  }
  *out = (seconds ? value * 1000 : value) + base;
  return true;
}

// Whether argument i begins a time to live that may stand beside the one at *before, if that is not 0: the same word may come again, and the last one counts.
static bool expire_may(kv_call *call, int i, int *before) {
  static const char *const units[] = {"EX", "PX", "EXAT", "PXAT"};
  for (int k = 0; k < 4 && i + 1 < call->count; k++) {
    if (kv_text_is(kv_arg(call, i), units[k]) && (*before == 0 || kv_text_is(kv_arg(call, *before), units[k]))) {
      *before = i;
      return true;
    }
  }
  return false;
}

typedef struct set_options {
  bool nx, xx, get, keep;
  int64_t expires;
} set_options;

static bool set_options_read(kv_call *call, set_options *o) {
  int expire_at = 0;
  for (int i = 3; i < call->count; i++) {
    kv_text word = kv_arg(call, i);
    if (kv_text_is(word, "NX") && !o->xx) {
      o->nx = true;
    } else if (kv_text_is(word, "XX") && !o->nx) {
      o->xx = true;
    } else if (kv_text_is(word, "GET")) {
      o->get = true;
    } else if (kv_text_is(word, "KEEPTTL") && expire_at == 0) {
      o->keep = true;
    } else if (!o->keep && expire_may(call, i, &expire_at)) {
      i++;
    } else {
      kv_reply_syntax(call);
      return false;
    }
  }
  return expire_at == 0 || expire_read(call, expire_at, &o->expires);
}

void kv_do_set(kv_call *call) {
  set_options o = {0};
  kv_text text = kv_arg(call, 2);
  kv_blob *blob;
  if (!set_options_read(call, &o) || !blob_make(call, text, &blob)) {
    return;
  }
  kv_key key;
  kv_key_lock(call, &key, kv_arg(call, 1));
  kv_item *old = key.item;
  if (o.get && old != NULL && !kv_item_is_text(old)) {
    kv_reply_wrong_type(call);
    kv_drop(call->t->self, blob);
  } else if ((o.nx && old != NULL) || (o.xx && old == NULL)) {
    item_reply(call, o.get ? old : NULL);
    kv_drop(call->t->self, blob);
  } else {
    int64_t expires = o.keep && old ? kv_item_expires(old) : o.expires;
    if (o.get) {
      text_swap(call, &key, text, blob, expires);
    } else if (text_set(call, &key, text, blob, expires)) {
      kv_reply_ok(call);
    }
  }
  kv_key_unlock(&key);
}

static void set_timed(kv_call *call, const char *unit) {
  kv_text text = kv_arg(call, 3);
  kv_blob *blob;
  int64_t value, factor = *unit == 'E' ? 1000 : 1;
  if (!kv_arg_integer(call, 2, &value)) {
    return;
  }
  if (value <= 0 || value > (INT64_MAX - call->t->now_ms) / factor) {
    kv_reply_error(call, "ERR invalid expire time in '%s' command", call->command->name);
    return;
  }
  if (!blob_make(call, text, &blob)) {
    return;
  }
  kv_key key;
  kv_key_lock(call, &key, kv_arg(call, 1));
  if (text_set(call, &key, text, blob, call->t->now_ms + value * factor)) {
    kv_reply_ok(call);
  }
  kv_key_unlock(&key);
}
void kv_do_setex(kv_call *call) { set_timed(call, "EX"); }
void kv_do_psetex(kv_call *call) { set_timed(call, "PX"); }

void kv_do_setnx(kv_call *call) {
  kv_text text = kv_arg(call, 2);
  kv_blob *blob;
  if (!blob_make(call, text, &blob)) {
    return;
  }
  kv_key key;
  kv_key_lock(call, &key, kv_arg(call, 1));
  if (key.item != NULL) {
    kv_drop(call->t->self, blob);
    kv_reply_integer(call, 0);
  } else if (text_set(call, &key, text, blob, 0)) {
    kv_reply_integer(call, 1);
  }
  kv_key_unlock(&key);
}

void kv_do_getset(kv_call *call) {
  kv_text text = kv_arg(call, 2);
  kv_blob *blob;
  if (!blob_make(call, text, &blob)) {
    return;
  }
  kv_key key;
  if (!text_lock(call, &key, 1)) {
    kv_drop(call->t->self, blob);
    return;
  }
  text_swap(call, &key, text, blob, 0);
  kv_key_unlock(&key);
}

void kv_do_getdel(kv_call *call) {
  kv_key key;
  if (text_lock(call, &key, 1)) {
    item_reply(call, key.item);
    if (key.item != NULL) {
      kv_key_delete(call, &key);
    }
    kv_key_unlock(&key);
  }
}

void kv_do_getex(kv_call *call) {
  int64_t expires = -1; // as it is
  int expire_at = 0;
  for (int i = 2; i < call->count; i++) {
    if (kv_text_is(kv_arg(call, i), "PERSIST") && expire_at == 0) {
      expires = 0;
    } else if (expires == -1 && expire_may(call, i, &expire_at)) {
      i++;
    } else {
      kv_reply_syntax(call);
      return;
    }
  }
  kv_key key;
  if (text_lock(call, &key, 1)) {
    bool good = key.item == NULL || expire_at == 0 || expire_read(call, expire_at, &expires);
    if (good && (key.item == NULL || expires == -1 || kv_key_retime(call, &key, expires))) {
      item_reply(call, key.item);
    }
    kv_key_unlock(&key);
  }
}

void kv_do_mget(kv_call *call) {
  kv_shards shards = {{0}};
  for (int i = 1; i < call->count; i++) {
    kv_shards_add(&shards, kv_arg(call, i));
  }
  kv_reply_array(call, (uint64_t)call->count - 1);
  kv_shards_lock(call, &shards);
  for (int i = 1; i < call->count; i++) {
    kv_key key;
    kv_key_find(call, &key, kv_arg(call, i));
    item_reply(call, key.item != NULL && kv_item_is_text(key.item) ? key.item : NULL);
  }
  kv_shards_unlock(&shards);
}

// All items are made before the first is put. Replies if it fails.
static bool mset(kv_call *call, bool only_new, bool *done) {
  kv_self *self = call->t->self;
  int count = (call->count - 1) / 2, made = 0;
  void **items = kv_new_pointers(self, (size_t)count, NULL);
  kv_shards shards = {{0}};
  for (; items != NULL && made < count; made++) {
    kv_text key = kv_arg(call, 1 + made * 2), text = kv_arg(call, 2 + made * 2);
    items[made] = kv_item_string(self, key, text.at, text.length, 0);
    if (items[made] == NULL) {
      break;
    }
    kv_shards_add(&shards, key);
  }
  bool ok = items != NULL && made == count;
  *done = ok;
  if (ok) {
    kv_shards_lock(call, &shards);
    kv_key key;
    for (int i = 0; i < count && only_new && *done; i++) {
      kv_key_find(call, &key, kv_arg(call, 1 + i * 2));
      *done = key.item == NULL;
    }
    for (int i = 0; i < count && *done && ok; i++) {
      kv_key_find(call, &key, kv_arg(call, 1 + i * 2));
      ok = kv_key_set(call, &key, items[i]);
      items[i] = NULL;
    }
    kv_shards_unlock(&shards);
  } else {
    kv_reply_no_memory(call);
  }
  for (int i = 0; i < made; i++) {
    kv_drop(self, items[i]);
  }
  kv_drop(self, items);
  return ok;
}

static bool pairs(kv_call *call) {
  if (call->count % 2 == 0) {
    kv_reply_error(call, "ERR wrong number of arguments for '%s' command", call->command->name);
  }
  return call->count % 2 != 0;
}

void kv_do_mset(kv_call *call) {
  bool done;
  if (pairs(call) && mset(call, false, &done)) {
    kv_reply_ok(call);
  }
}
void kv_do_msetnx(kv_call *call) {
  bool done;
  if (pairs(call) && mset(call, true, &done)) {
    kv_reply_integer(call, done);
  }
}

void kv_do_strlen(kv_call *call) {
  kv_key key;
  if (text_lock(call, &key, 1)) {
    kv_reply_integer(call, key.item ? (int64_t)kv_item_text(key.item).length : 0);
    kv_key_unlock(&key);
  }
}

void kv_do_getrange(kv_call *call) {
  int64_t from, to;
  kv_key key;
  if (!kv_arg_integer(call, 2, &from) || !kv_arg_integer(call, 3, &to) || !text_lock(call, &key, 1)) {
    return;
  }
  kv_text text = key.item ? kv_item_text(key.item) : (kv_text){"", 0};
  if (to < 0 && (from >= 0 || from <= to)) {
    to = to + (int64_t)text.length < 0 ? 0 : to; // Redis: an end before the first byte is the first byte
  }
  uint64_t count = kv_range(&from, &to, text.length);
  kv_reply_bulk(call, (kv_text){text.at + (count ? from : 0), count});
  kv_key_unlock(&key);
}

// ---- Texts that grow.

// A longer blob in place of what is there, with room to grow on.
static char *text_move(kv_call *call, kv_key *key, kv_text old, uint64_t total) {
  kv_self *self = call->t->self;
  uint64_t room = total < 1 << 20 ? total * 2 : total + (1 << 20);
  if (total <= KV_INLINE) {
    kv_item *made = kv_item_string(self, key->text, NULL, room < KV_INLINE ? room : KV_INLINE, key->item ? kv_item_expires(key->item) : 0);
    if (made != NULL) {
      char *text = kv_string_text((kv_string *)made);
      memcpy(text, old.at, old.length);
      memset(text + old.length, 0, total - old.length);
      ((kv_string *)made)->length = (uint16_t)total;
    }
    return kv_key_set(call, key, made) ? kv_string_text((kv_string *)key->item) : NULL;
  }
  kv_blob *blob = kv_blob_new(self, NULL, total, old.length == 0 ? total : room);
  if (blob == NULL) {
    kv_reply_no_memory(call);
    return NULL;
  }
  memcpy(blob->bytes, old.at, old.length);
  memset(blob->bytes + old.length, 0, total - old.length);
  kv_item *made = kv_item_box(self, KV_BLOB, key->text, blob, key->item ? kv_item_expires(key->item) : 0);
  return kv_key_set(call, key, made) ? blob->bytes : NULL;
}

// The key's text, as long as `total` at least, zeros behind what there was; `rewrite`: what there was is going to be changed as well. NULL: the reply is -OOM.
static char *text_grow(kv_call *call, kv_key *key, uint64_t total, bool rewrite) {
  kv_text old = key->item ? kv_item_text(key->item) : (kv_text){"", 0};
  total = total > old.length ? total : old.length;
  if (key->item != NULL && key->item->kind == KV_STRING && total <= ((kv_string *)key->item)->room) {
    kv_string *string = (kv_string *)key->item;
    char *text = kv_string_text(string);
    memset(text + old.length, 0, total - old.length);
    string->length = (uint16_t)total;
    return text;
  }
  if (key->item != NULL && key->item->kind == KV_BLOB && !(rewrite && old.length >= KV_BY_REFERENCE)) {
    kv_blob *blob = ((kv_box *)key->item)->object;
    if (total <= blob->room) {
      memset(blob->bytes + old.length, 0, total - old.length);
      blob->length = total;
      return blob->bytes;
    }
  }
  return text_move(call, key, old, total);
}

static bool length_check(kv_call *call, uint64_t total) {
  if (total > kv_options_now.bulk_limit) {
    kv_reply_error(call, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    return false;
  }
  return true;
}

void kv_do_append(kv_call *call) {
  kv_key key;
  if (!text_lock(call, &key, 1)) {
    return;
  }
  kv_text more = kv_arg(call, 2);
  uint64_t had = key.item ? kv_item_text(key.item).length : 0;
  if (length_check(call, had + more.length)) {
    char *text = text_grow(call, &key, had + more.length, false);
    if (text != NULL) {
      memcpy(text + had, more.at, more.length);
      kv_reply_integer(call, (int64_t)(had + more.length));
    }
  }
  kv_key_unlock(&key);
}

void kv_do_setrange(kv_call *call) {
  int64_t at;
  kv_text part = kv_arg(call, 3);
  kv_key key;
  if (!kv_arg_integer(call, 2, &at)) {
    return;
  }
  if (at < 0) {
    kv_reply_error(call, "ERR offset is out of range");
    return;
  }
  if (!text_lock(call, &key, 1)) {
    return;
  }
  uint64_t had = key.item ? kv_item_text(key.item).length : 0;
  if (part.length == 0) {
    kv_reply_integer(call, (int64_t)had);
  } else if (length_check(call, (uint64_t)at + part.length)) {
    char *text = text_grow(call, &key, (uint64_t)at + part.length, true);
    if (text != NULL) {
      memcpy(text + at, part.at, part.length);
      kv_reply_integer(call, (int64_t)kv_item_text(key.item).length);
    }
  }
  kv_key_unlock(&key);
}

// ---- Numbers.

static void add(kv_call *call, int64_t by) {
  kv_key key;
  if (!text_lock(call, &key, 1)) {
    return;
  }
  int64_t value = 0;
  char text[24];
  if (key.item != NULL && !kv_integer(kv_item_text(key.item), &value)) {
    kv_reply_error(call, "ERR value is not an integer or out of range");
  } else if (__builtin_add_overflow(value, by, &value)) {
    kv_reply_error(call, "ERR increment or decrement would overflow");
  } else if (text_set(call, &key, (kv_text){text, kv_integer_write(value, text)}, NULL, key.item ? kv_item_expires(key.item) : 0)) {
    kv_reply_integer(call, value);
  }
  kv_key_unlock(&key);
}

void kv_do_incr(kv_call *call) { add(call, 1); }
void kv_do_decr(kv_call *call) { add(call, -1); }
void kv_do_incrby(kv_call *call) {
  int64_t by;
  if (kv_arg_integer(call, 2, &by)) {
    add(call, by);
  }
}
void kv_do_decrby(kv_call *call) {
  int64_t by;
  if (kv_arg_integer(call, 2, &by)) {
    if (by == INT64_MIN) {
      kv_reply_error(call, "ERR decrement would overflow");
    } else {
      add(call, -by);
    }
  }
}

void kv_do_incrbyfloat(kv_call *call) {
  long double by, value = 0;
  kv_key key;
  if (!text_lock(call, &key, 1)) {
    return;
  }
  if (!kv_wide(kv_arg(call, 2), &by) || (key.item != NULL && !kv_wide(kv_item_text(key.item), &value))) {
    kv_reply_error(call, "ERR value is not a valid float");
  } else if (!isfinite(value + by)) {
    kv_reply_error(call, "ERR increment would produce NaN or Infinity");
  } else {
    char text[KV_WIDE_TEXT];
    kv_text sum = {text, kv_wide_write(value + by, text)};
    if (text_set(call, &key, sum, NULL, key.item ? kv_item_expires(key.item) : 0)) {
      kv_reply_bulk(call, sum);
    }
  }
  kv_key_unlock(&key);
}
