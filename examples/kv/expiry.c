// SPDX-License-Identifier: MIT
// expiry.c: items that go by themselves: because their time has come, or because there is more data than maxmemory.
//
// A thread looks through its own share of the shards for what has expired, a page at a time, for a millisecond at the most; ten times as often while it finds
// much. Eviction is sampled: of a few random items the best goes.

#include "kv.h"

enum { BUDGET_NS = 1000000, SAMPLES = 5, EVICT_NS = 1000000, SHARD_SHIFT = 8 };

typedef struct sweep {
  kv_thread *t;
  kv_table *table;
  unsigned seen, gone;
} sweep;

static bool timed_visit(void *arg, kv_place place, kv_item *item) {
  sweep *s = arg;
  s->seen++;
  if (!kv_key_expired(s->t, item)) {
    return false;
  }
  s->gone++;
  kv_count(&s->t->expired, 1);
  kv_drop(s->t->self, kv_key_take(s->t, s->table, kv_hash(kv_item_key(item)), place));
  return true;
}

void kv_expiry_run(kv_thread *t) {
  uint64_t until = kv_now_ns() + BUDGET_NS;
  sweep s = {t, NULL, 0, 0};
  unsigned threads = kv_options_now.threads;
  for (unsigned done = 0; done <= KV_SHARDS / threads && kv_now_ns() < until;) {
    if (t->expiry_shard >= KV_SHARDS) {
      t->expiry_shard = (unsigned)t->index;
      t->expiry_cursor = 0;
    }
    s.table = kv_shard_lock(t, t->expiry_shard);
    if (s.table->timed > 0) {
      t->expiry_cursor = kv_table_timed(s.table, t->expiry_cursor, timed_visit, &s);
    } else {
      t->expiry_cursor = 0;
    }
    kv_shard_unlock(t->expiry_shard);
    if (t->expiry_cursor == 0) {
      t->expiry_shard += threads;
      done++;
    }
  }
  kv_used_show(t);
  t->expiry_ms = t->now_ms + (s.gone * 10 > s.seen ? 10 : 100);
}

// ---- Eviction.

// The better of two to go has the larger figure.
static uint64_t merit(kv_thread *t, int policy, const kv_item *item) {
  switch (policy) {
  case KV_ALLKEYS_LRU:
    return (t->clock - kv_item_clock(item)) & 0xffffff;
  case KV_VOLATILE_TTL:
    return item->timed ? (uint64_t)INT64_MAX - (uint64_t)kv_item_expires(item) : 0;
  default:
    return 1;
  }
}

// A sample is a shard, and an item of it. The best so far is remembered by its hash, and looked for again when its shard is locked.
static bool evict_one(kv_thread *t, int policy) {
  uint64_t best = 0, best_hash = 0;
  unsigned wanted = policy == KV_ALLKEYS_RANDOM ? 1 : SAMPLES;
  for (unsigned tries = 0, got = 0; got < wanted && tries < KV_SHARDS * 2; tries++) {
    // Random shards; if they have nothing, all in turn.
    unsigned shard = tries < KV_SHARDS ? (unsigned)(kv_random(t) % KV_SHARDS) : tries - KV_SHARDS;
    kv_table *table = kv_shard_lock(t, shard);
    kv_place place;
    // Among items without a time those that have one may be few, so several are looked at.
    for (int looks = policy == KV_VOLATILE_TTL && table->timed > 0 ? 20 : 1; looks > 0; looks--) {
      kv_item *item = policy == KV_VOLATILE_TTL && table->timed == 0 ? NULL : kv_table_random(t, table, &place);
      uint64_t figure = item != NULL ? merit(t, policy, item) + (policy == KV_ALLKEYS_LRU) : 0;
      if (figure > 0) {
        got++;
        if (figure > best) {
          best = figure;
          best_hash = kv_hash(kv_item_key(item));
        }
        break;
      }
    }
    kv_shard_unlock(shard);
  }
  if (best == 0) {
    return false;
  }
  unsigned shard = (unsigned)(best_hash >> 56);
  kv_table *table = kv_shard_lock(t, shard);
  kv_place place;
  kv_item *item = kv_table_by_hash(table, best_hash, &place);
  if (item != NULL) {
    kv_drop(t->self, kv_key_take(t, table, best_hash, place));
    kv_count(&t->evicted, 1);
  }
  kv_shard_unlock(shard);
  return true;
}

bool kv_evict(kv_call *call) {
  kv_thread *t = call->t;
  uint64_t most = kv_options_now.maxmemory;
  if (most == 0 || kv_used(t) <= most) {
    return true;
  }
  int policy = kv_options_now.policy;
  if (policy == KV_NOEVICTION) {
    return false;
  }
  uint64_t until = kv_now_ns() + EVICT_NS;
  while (kv_used(t) > most) {
    if (!evict_one(t, policy)) {
      return false;
    }
    kv_used_show(t);
    if (kv_now_ns() > until) {
      break; // the next command goes on
    }
  }
  return true;
}
