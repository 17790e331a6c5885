// SPDX-License-Identifier: MIT
// handlers.h: the functions of the table of commands, by file; and what several of those files share.

#ifndef KV_HANDLERS_H
#define KV_HANDLERS_H

#include "collection.h"
#include "kv.h"

#define KV_STRINGS(X)                                                                                                                                          \
  X(get)                                                                                                                                                       \
  X(set) X(getset) X(getdel) X(getex) X(mget) X(mset) X(msetnx) X(setnx) X(setex) X(psetex) X(append) X(strlen) X(getrange) X(setrange) X(incr) X(decr)        \
      X(incrby) X(decrby) X(incrbyfloat)
#define KV_LISTS(X) X(lpush) X(rpush) X(lpushx) X(rpushx) X(lpop) X(rpop) X(llen) X(lrange) X(lindex) X(lset) X(lrem) X(ltrim) X(linsert) X(lmove) X(rpoplpush)
#define KV_HASHES(X)                                                                                                                                           \
  X(hset) X(hmset) X(hget) X(hmget) X(hgetall) X(hdel) X(hlen) X(hexists) X(hkeys) X(hvals) X(hincrby) X(hincrbyfloat) X(hsetnx) X(hstrlen) X(hscan)
#define KV_SETS(X) X(sadd) X(srem) X(sismember) X(smismember) X(smembers) X(scard) X(spop) X(srandmember) X(sinter) X(sunion) X(sdiff) X(smove) X(sscan)
#define KV_SORTEDS(X)                                                                                                                                          \
  X(zadd)                                                                                                                                                      \
  X(zincrby) X(zrem) X(zscore) X(zmscore) X(zcard) X(zrank) X(zrevrank) X(zcount) X(zpopmin) X(zpopmax) X(zscan) X(zrange) X(zrevrange) X(zrangebyscore)       \
      X(zrevrangebyscore) X(zremrangebyscore) X(zremrangebyrank)
#define KV_KEYS(X)                                                                                                                                             \
  X(del)                                                                                                                                                       \
  X(exists) X(type) X(expire) X(pexpire) X(expireat) X(pexpireat) X(ttl) X(pttl) X(persist) X(keys) X(scan) X(rename) X(renamenx) X(randomkey) X(dbsize)       \
      X(flushall) X(touch) X(object) X(expiretime) X(pexpiretime)
#define KV_SERVER(X) X(ping) X(echo) X(select) X(info) X(config) X(command) X(client) X(memory) X(debug) X(quit) X(shutdown) X(hello) X(reset) X(time) X(save) X(bgsave) X(lastsave)

#define KV_DECLARE(NAME) void kv_do_##NAME(kv_call *call);
KV_STRINGS(KV_DECLARE)
KV_LISTS(KV_DECLARE)
KV_HASHES(KV_DECLARE)
KV_SETS(KV_DECLARE)
KV_SORTEDS(KV_DECLARE)
KV_KEYS(KV_DECLARE)
KV_SERVER(KV_DECLARE)

// "[-]index" as lists and ranges take it: from the end if negative. Cuts [*from, *to] to what is there, and returns how many that are.
uint64_t kv_range(int64_t *from, int64_t *to, uint64_t count);

// SCAN's options from argument `at` on; false: the reply says what is wrong.
typedef struct kv_scanning {
  kv_call *call;
  uint64_t cursor, count;
  kv_text pattern; // NULL: all
  int kind;        // of SCAN's TYPE; -1: all
  void **found;    // items: `used` of `room`, kept
  uint64_t used, room;
  uint64_t seen;
  bool failed;
} kv_scanning;
bool kv_scan_cursor_read(kv_call *call, int cursor_at, kv_scanning *scan);
bool kv_scan_words_read(kv_call *call, int cursor_at, kv_scanning *scan);
void kv_scan_note(void *arg, kv_item *item); // a kv_scan_fn: notes it if it fits
// Replies cursor and items; `pair` writes what else belongs to one, or NULL.
void kv_scan_reply(kv_scanning *scan, uint64_t cursor, void (*pair)(kv_call *call, kv_item *item));
const char *kv_kind_name(const kv_item *item);

// A command that reads a collection: finds it and calls `run`, or replies with `empty`.
void kv_with(kv_call *call, kv_kind kind, void (*run)(kv_call *call, kv_key *key, void *object), void (*empty)(kv_call *call));
static inline void kv_reply_zero(kv_call *call) { kv_reply_integer(call, 0); }
static inline void kv_reply_empty(kv_call *call) { kv_reply_array(call, 0); }

// Adds to or replaces in a table: an item of this key. False: memory is out (`item` NULL too).
bool kv_table_set(kv_self *self, kv_table *table, kv_text key, kv_item *item);

bool kv_score_bound(kv_call *call, int at, double *out, bool *open);        // "(1.5": without that itself
size_t kv_info_text(kv_thread *t, char *out, size_t room, kv_text section); // returns what would have fitted
size_t kv_save_report(kv_thread *t, char *out, size_t room);                // the same, of INFO's part on persistence

#endif
