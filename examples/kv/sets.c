// SPDX-License-Identifier: MIT
// sets.c: commands on sets: tables of string items without a text.

#include "handlers.h"

static bool has(kv_table *table, kv_text text) { return table != NULL && kv_table_find(table, kv_hash(text), text, NULL) != NULL; }

// 1: it is new, 0: it was there, -1: memory is out.
static int element_add(kv_self *self, kv_table *table, kv_text text) {
  uint64_t hash = kv_hash(text);
  if (kv_table_find(table, hash, text, NULL) != NULL) {
    return 0;
  }
  kv_item *item = kv_item_string(self, text, NULL, 0, 0);
  if (item == NULL || !kv_table_reserve(self, table, hash)) {
    kv_drop(self, item);
    return -1;
  }
  kv_table_put(self, table, hash, item);
  return 1;
}

static bool element_remove(kv_self *self, kv_table *table, kv_text text) {
  kv_place place;
  uint64_t hash = kv_hash(text);
  bool there = kv_table_find(table, hash, text, &place) != NULL;
  if (there) {
    kv_drop(self, kv_table_take(self, table, hash, place));
  }
  return there;
}

void kv_do_sadd(kv_call *call) {
  kv_key key;
  bool failed;
  int64_t added = 0;
  kv_key_lock(call, &key, kv_arg(call, 1));
  kv_table *table = kv_key_object(call, &key, KV_SET, true, &failed);
  for (int i = 2; table != NULL && i < call->count && !failed; i++) {
    int result = element_add(call->t->self, table, kv_arg(call, i));
    added += result > 0;
    if (result < 0) {
      failed = true;
      kv_reply_no_memory(call);
    }
  }
  if (!failed) {
    kv_reply_integer(call, added);
  }
  kv_key_tidy(call, &key);
  kv_key_unlock(&key);
}

static void remove_some(kv_call *call, kv_key *key, void *table) {
  int64_t gone = 0;
  for (int i = 2; i < call->count; i++) {
    gone += element_remove(call->t->self, table, kv_arg(call, i));
  }
  kv_reply_integer(call, gone);
}
void kv_do_srem(kv_call *call) { kv_with(call, KV_SET, remove_some, kv_reply_zero); }
static void is_member(kv_call *call, kv_key *key, void *table) { kv_reply_integer(call, has(table, kv_arg(call, 2))); }
void kv_do_sismember(kv_call *call) { kv_with(call, KV_SET, is_member, kv_reply_zero); }
static void are_members(kv_call *call, kv_key *key, void *table) {
  kv_reply_array(call, (uint64_t)call->count - 2);
  for (int i = 2; i < call->count; i++) {
    kv_reply_integer(call, has(table, kv_arg(call, i)));
  }
}
static void no_members(kv_call *call) { are_members(call, NULL, NULL); }
void kv_do_smismember(kv_call *call) { kv_with(call, KV_SET, are_members, no_members); }
static void count(kv_call *call, kv_key *key, void *table) { kv_reply_integer(call, (int64_t)((kv_table *)table)->count); }
void kv_do_scard(kv_call *call) { kv_with(call, KV_SET, count, kv_reply_zero); }
static void members(kv_call *call, kv_key *key, void *table) {
  kv_walk walk = kv_walk_begin(table);
  kv_reply_array(call, ((kv_table *)table)->count);
  for (kv_item *item; (item = kv_walk_next(call->t, &walk)) != NULL;) {
    kv_reply_bulk(call, kv_item_key(item));
  }
}
void kv_do_smembers(kv_call *call) { kv_with(call, KV_SET, members, kv_reply_empty); }

static void pop_one(kv_call *call, kv_table *table) {
  kv_place place;
  kv_item *item = kv_table_random(call->t, table, &place);
  kv_text text = kv_item_key(item);
  kv_reply_bulk(call, text);
  kv_drop(call->t->self, kv_table_take(call->t->self, table, kv_hash(text), place));
}
static void pop(kv_call *call, kv_key *key, void *object) {
  kv_table *table = object;
  int64_t wanted = 1;
  if (call->count == 3) {
    kv_integer(kv_arg(call, 2), &wanted);
    wanted = (uint64_t)wanted < table->count ? wanted : (int64_t)table->count;
    kv_reply_array(call, (uint64_t)wanted);
  }
  for (; wanted > 0; wanted--) {
    pop_one(call, table);
  }
}
void kv_do_spop(kv_call *call) {
  int64_t wanted;
  if (call->count > 3) {
    kv_reply_syntax(call);
  } else if (call->count == 3 && (!kv_integer(kv_arg(call, 2), &wanted) || wanted < 0)) {
    kv_reply_error(call, "ERR value is out of range, must be positive");
  } else {
    kv_with(call, KV_SET, pop, call->count == 3 ? kv_reply_empty : kv_reply_null);
  }
}

// Different ones: each is taken with the chance that makes every choice as likely (Knuth, algorithm S); so it costs the whole set.
static void random_different(kv_call *call, kv_table *table, uint64_t wanted) {
  uint64_t left = table->count;
  kv_walk walk = kv_walk_begin(table);
  wanted = wanted < left ? wanted : left;
  kv_reply_array(call, wanted);
  for (kv_item *item; wanted > 0 && (item = kv_walk_next(call->t, &walk)) != NULL; left--) {
    if (kv_random(call->t) % left < wanted) {
      kv_reply_bulk(call, kv_item_key(item));
      wanted--;
    }
  }
}
static void random_some(kv_call *call, kv_key *key, void *table) {
  kv_place place;
  int64_t wanted = 1;
  if (call->count == 2) {
    kv_reply_bulk(call, kv_item_key(kv_table_random(call->t, table, &place)));
    return;
  }
  kv_integer(kv_arg(call, 2), &wanted);
  if (wanted >= 0) {
    random_different(call, table, (uint64_t)wanted);
    return;
  }
  kv_reply_array(call, 0 - (uint64_t)wanted);
  for (; wanted < 0 && !call->c->dead; wanted++) {
    kv_reply_bulk(call, kv_item_key(kv_table_random(call->t, table, &place)));
  }
}
void kv_do_srandmember(kv_call *call) {
  int64_t wanted;
  if (call->count > 3) {
    kv_reply_syntax(call);
  } else if (call->count == 2 || kv_arg_integer(call, 2, &wanted)) {
    if (call->count == 3 && wanted < -(INT64_MAX / 2)) {
      kv_reply_error(call, "ERR value is out of range");
    } else {
      kv_with(call, KV_SET, random_some, call->count == 3 ? kv_reply_empty : kv_reply_null);
    }
  }
}

// ---- Several sets.

typedef enum operation { INTER, UNION, DIFF } operation;

// The sets of arguments 1 and on, whose shards are locked; NULL for what is not there. False: one is no set.
static bool tables_find(kv_call *call, void **tables) {
  for (int i = 1; i < call->count; i++) {
    kv_key key;
    bool failed;
    kv_key_find(call, &key, kv_arg(call, i));
    tables[i - 1] = kv_key_object(call, &key, KV_SET, false, &failed);
    if (failed) {
      return false;
    }
  }
  return true;
}

static bool belongs(operation what, void **tables, int sets, int from, kv_text text) {
  for (int i = 0; i < sets; i++) {
    if (i != from && has(tables[i], text) != (what == INTER)) {
      if (what != UNION || i < from) { // of a union an element counts where it is first
        return false;
      }
    }
  }
  return true;
}

// Twice: first to count, then to write.
static uint64_t combine(kv_call *call, operation what, void **tables, int sets, bool write) {
  uint64_t found = 0;
  int base = 0;
  for (int i = 1; i < sets && what == INTER; i++) { // the smallest is walked
    base = tables[i] == NULL || (tables[base] != NULL && ((kv_table *)tables[i])->count < ((kv_table *)tables[base])->count) ? i : base;
  }
  for (int from = what == INTER ? base : 0; from < sets; from++) {
    kv_walk walk = tables[from] != NULL ? kv_walk_begin(tables[from]) : (kv_walk){0};
    for (kv_item *item; tables[from] != NULL && (item = kv_walk_next(call->t, &walk)) != NULL;) {
      if (belongs(what, tables, sets, from, kv_item_key(item))) {
        found++;
        if (write) {
          kv_reply_bulk(call, kv_item_key(item));
        }
      }
    }
    if (what != UNION) {
      break;
    }
  }
  return found;
}

static void sets(kv_call *call, operation what) {
  int count = call->count - 1;
  kv_shards shards = {{0}};
  for (int i = 1; i <= count; i++) {
    kv_shards_add(&shards, kv_arg(call, i));
  }
  void **tables = kv_new_pointers(call->t->self, (size_t)count, NULL);
  if (tables == NULL) {
    kv_reply_no_memory(call);
    return;
  }
  kv_shards_lock(call, &shards);
  if (tables_find(call, tables)) {
    kv_reply_array(call, combine(call, what, tables, count, false));
    combine(call, what, tables, count, true);
  }
  kv_shards_unlock(&shards);
  kv_drop(call->t->self, tables);
}
void kv_do_sinter(kv_call *call) { sets(call, INTER); }
void kv_do_sunion(kv_call *call) { sets(call, UNION); }
void kv_do_sdiff(kv_call *call) { sets(call, DIFF); }

void kv_do_smove(kv_call *call) {
  kv_text source = kv_arg(call, 1), target = kv_arg(call, 2), text = kv_arg(call, 3);
  kv_self *self = call->t->self;
  kv_shards shards = {{0}};
  kv_shards_add(&shards, source);
  kv_shards_add(&shards, target);
  kv_shards_lock(call, &shards);
  kv_key from, to;
  bool failed, failed_too = false;
  kv_key_find(call, &from, source);
  kv_table *table = kv_key_object(call, &from, KV_SET, false, &failed);
  bool there = has(table, text);
  kv_key_find(call, &to, target);
  kv_table *onto = failed || table == NULL || (!there && to.item == NULL) ? NULL : kv_key_object(call, &to, KV_SET, there, &failed_too);
  if (there && onto != NULL && onto != table) {
    if (element_add(self, onto, text) < 0) {
      there = false;
      failed = true;
      kv_reply_no_memory(call);
    }
    kv_key_tidy(call, &to);
    kv_key_find(call, &from, source);
    from.before = kv_item_inner(from.item);
    if (there) {
      element_remove(self, table, text);
    }
    kv_key_tidy(call, &from);
  }
  if (!failed && !failed_too) {
    kv_reply_integer(call, there);
  }
  kv_shards_unlock(&shards);
}
