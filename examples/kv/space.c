// SPDX-License-Identifier: MIT
// space.c: the keyspace: 256 shards, each a table with a lock of its own.
//
// The locks are static, because objects move. A shard's table, all that it holds, and nothing else, is read and written under the shard's lock. Whoever needs
// several locks takes them in ascending order. Under them memory may be allocated, but nothing waits for a socket.

#include "collection.h"
#include "kv.h"
#include "root.h"

KV_DROPS roots_drop(kv_self *self, void *object) {
  kv_roots *roots = object;
  kv_drop(self, roots->tables);
  kv_drop(self, roots->clients);
}
KV_TYPE(kv_roots, roots_drop, tables, clients);

kv_roots *kv_root;
static struct { pthread_mutex_t lock; } __attribute__((aligned(64))) shards[KV_SHARDS];

static bool tables_make(kv_thread *t) {
  kv_hash_seed();
  if ((kv_root->tables = kv_new_pointers(t->self, KV_SHARDS, NULL)) == NULL) {
    return false;
  }
  for (int i = 0; i < KV_SHARDS; i++) {
    if ((kv_root->tables[i] = kv_table_new(t->self)) == NULL) {
      return false;
    }
  }
  return true;
}

bool kv_space_open(kv_thread *t, void **loaded) {
  if (!kv_add_roots(t->self, &kv_root, 1) || (kv_root = kv_new(t->self, kv_roots)) == NULL) {
    return false;
  }
  kv_root->tables = loaded;
  if (loaded == NULL && !tables_make(t)) {
    return false;
  }
  for (int i = 0; i < KV_SHARDS; i++) {
    const kv_table *table = kv_root->tables[i];
    pthread_mutex_init(&shards[i].lock, NULL);
    t->used += (int64_t)(table->bytes + table->inner);
  }
  return true;
}

void kv_space_close(kv_thread *t) {
  for (int i = 0; i < KV_SHARDS; i++) {
    kv_drop(t->self, kv_root->tables[i]);
  }
  kv_drop(t->self, kv_root);
  kv_root = NULL;
}

// ---- Locks.

static unsigned shard_of(uint64_t hash) { return (unsigned)(hash >> 56); }

kv_table *kv_shard_lock(kv_thread *t, unsigned shard) {
  kv_lock(t->self, &shards[shard].lock);
  return kv_root->tables[shard];
}
void kv_shard_unlock(unsigned shard) { kv_unlock(&shards[shard].lock); }

void kv_shards_add(kv_shards *set, kv_text key) {
  unsigned shard = shard_of(kv_hash(key));
  set->bits[shard / 64] |= (uint64_t)1 << shard % 64;
}
void kv_shards_lock(kv_call *call, const kv_shards *set) {
  for (unsigned i = 0; i < KV_SHARDS; i++) {
    if (set->bits[i / 64] >> i % 64 & 1) {
      kv_lock(call->t->self, &shards[i].lock);
    }
  }
}
void kv_shards_unlock(const kv_shards *set) {
  for (unsigned i = 0; i < KV_SHARDS; i++) {
    if (set->bits[i / 64] >> i % 64 & 1) {
      kv_unlock(&shards[i].lock);
    }
  }
}

// ---- Items.

bool kv_item_is_text(const kv_item *item) { return item->kind == KV_STRING || item->kind == KV_BLOB; }

uint64_t kv_item_inner(const kv_item *item) {
  return item == NULL || kv_item_is_text(item) ? 0 : kv_collection_bytes(item->kind, ((const kv_box *)item)->object);
}

// Lists, hashes and sets count their own bytes; what they have grown by goes to the accounts of the shard and of the thread when a command is done with them.
static void inner_add(kv_thread *t, kv_table *table, int64_t bytes) {
  table->inner += (uint64_t)bytes;
  t->used += bytes;
}

bool kv_key_expired(kv_thread *t, const kv_item *item) { return item->timed && kv_item_expires(item) <= t->now_ms; }

static void find(kv_call *call, kv_key *key, kv_text text) {
  kv_thread *t = call->t;
  key->text = text;
  key->table = kv_root->tables[shard_of(key->hash)];
  key->item = kv_table_find(key->table, key->hash, text, &key->place);
  if (key->item != NULL && kv_key_expired(t, key->item)) {
    kv_key_delete(call, key);
    kv_count(&t->expired, 1);
  }
  if (key->item != NULL && kv_item_clock(key->item) != t->clock) {
    kv_item_set_clock(key->item, t->clock);
  }
  key->before = kv_item_inner(key->item);
}

void kv_key_find(kv_call *call, kv_key *key, kv_text text) {
  key->hash = kv_hash(text);
  find(call, key, text);
}

void kv_key_lock(kv_call *call, kv_key *key, kv_text text) {
  key->hash = kv_hash(text);
  kv_lock(call->t->self, &shards[shard_of(key->hash)].lock);
  find(call, key, text);
}
void kv_key_unlock(kv_key *key) { kv_unlock(&shards[shard_of(key->hash)].lock); }

bool kv_key_set(kv_call *call, kv_key *key, kv_item *item) {
  kv_thread *t = call->t;
  uint64_t before = key->table->bytes;
  if (item == NULL || (key->item == NULL && !kv_table_reserve(t->self, key->table, key->hash))) {
    t->used += (int64_t)(key->table->bytes - before);
    kv_drop(t->self, item);
    kv_reply_no_memory(call);
    return false;
  }
  kv_item_set_clock(item, t->clock);
  if (key->item != NULL) {
    inner_add(t, key->table, -(int64_t)kv_item_inner(key->item));
    kv_table_replace(t->self, key->table, key->place, item);
  } else {
    kv_table_put(t->self, key->table, key->hash, item);
  }
  t->used += (int64_t)(key->table->bytes - before);
  inner_add(t, key->table, (int64_t)kv_item_inner(item));
  key->item = kv_table_find(key->table, key->hash, key->text, &key->place);
  key->before = kv_item_inner(item);
  return true;
}

kv_item *kv_key_take(kv_thread *t, kv_table *table, uint64_t hash, kv_place place) {
  uint64_t before = table->bytes;
  kv_item *item = kv_table_take(t->self, table, hash, place);
  t->used += (int64_t)(table->bytes - before);
  inner_add(t, table, -(int64_t)kv_item_inner(item));
  return item;
}

void kv_key_delete(kv_call *call, kv_key *key) {
  kv_drop(call->t->self, kv_key_take(call->t, key->table, key->hash, key->place));
  key->item = NULL;
  key->before = 0;
}

bool kv_key_retime(kv_call *call, kv_key *key, int64_t expires) {
  kv_thread *t = call->t;
  if (key->item->timed && expires != 0) {
    kv_item_set_expires(key->item, expires);
    return true;
  }
  if (!key->item->timed && expires == 0) {
    return true;
  }
  kv_item *made = kv_item_again(t->self, key->item, key->text, expires);
  if (made == NULL) {
    kv_reply_no_memory(call);
    return false;
  }
  uint64_t before = key->table->bytes;
  kv_item *old = kv_table_exchange(t->self, key->table, key->place, made);
  t->used += (int64_t)(key->table->bytes - before);
  kv_item_emptied(old);
  kv_drop(t->self, old);
  key->item = made;
  return true;
}

bool kv_key_move(kv_call *call, kv_key *to, kv_item *made) {
  kv_self *self = call->t->self;
  uint64_t before = to->table->bytes;
  bool ok = made != NULL && (to->item != NULL || kv_table_reserve(self, to->table, to->hash));
  call->t->used += (int64_t)(to->table->bytes - before);
  if (!ok) {
    if (made != NULL) {
      kv_item_emptied(made);
      kv_drop(self, made);
    }
    kv_reply_no_memory(call);
    return false;
  }
  return kv_key_set(call, to, made);
}

void *kv_key_object(kv_call *call, kv_key *key, kv_kind kind, bool make, bool *failed) {
  *failed = false;
  if (key->item == NULL && make) {
    void *made = kv_collection_new(call->t->self, kind);
    kv_item *item = made != NULL ? kv_item_box(call->t->self, kind, key->text, made, 0) : NULL;
    if (!kv_key_set(call, key, item)) {
      *failed = true;
      return NULL;
    }
  }
  if (key->item == NULL) {
    return NULL;
  }
  if (key->item->kind != kind) {
    kv_reply_wrong_type(call);
    *failed = true;
    return NULL;
  }
  return ((kv_box *)key->item)->object;
}

bool kv_item_is_empty(kv_item *item) { return !kv_item_is_text(item) && kv_collection_count(item->kind, ((kv_box *)item)->object) == 0; }

void kv_key_tidy(kv_call *call, kv_key *key) {
  uint64_t now = kv_item_inner(key->item);
  inner_add(call->t, key->table, (int64_t)(now - key->before));
  key->before = now;
  if (key->item != NULL && kv_item_is_empty(key->item)) {
    kv_key_delete(call, key);
  }
}

// ---- All of it.

uint64_t kv_space_count(kv_thread *t, uint64_t *timed) {
  uint64_t count = 0;
  for (unsigned i = 0; i < KV_SHARDS; i++) {
    kv_table *table = kv_shard_lock(t, i);
    count += table->count;
    if (timed != NULL) {
      *timed += table->timed;
    }
    kv_shard_unlock(i);
  }
  return count;
}

// Each shard gets an empty table; what the old ones held is garbage, or is taken apart bit by bit.
void kv_space_flush(kv_call *call) {
  kv_thread *t = call->t;
  for (unsigned i = 0; i < KV_SHARDS; i++) {
    kv_table *empty = kv_table_new(t->self);
    if (empty == NULL) {
      kv_reply_no_memory(call);
      return;
    }
    kv_table *table = kv_shard_lock(t, i);
    kv_root->tables[i] = empty;
    kv_shard_unlock(i);
    t->used += (int64_t)empty->bytes - (int64_t)(table->bytes + table->inner);
    kv_drop(t->self, table);
  }
  kv_reply_ok(call);
}

uint64_t kv_used(const kv_thread *t) {
  int64_t used = 0;
  for (unsigned i = 0; i < kv_options_now.threads; i++) {
    used += &kv_threads[i] == t ? t->used : atomic_load_explicit(&kv_threads[i].used_shown, memory_order_relaxed);
  }
  return used > 0 ? (uint64_t)used : 0;
}
