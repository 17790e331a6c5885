// SPDX-License-Identifier: MIT
// commands.c: the table of commands, and what happens to every request before its function runs.

#include <ctype.h>
#include <stdio.h>
#include "handlers.h"

#define DO(NAME) kv_do_##NAME
enum { W = KV_WRITE, M = KV_WRITE | KV_DENYOOM, F = KV_FAST, A = KV_ADMIN };
static const kv_command table[] = {
    // Strings.
    {"get", 2, F, DO(get), 1, 1, 1},
    {"set", -3, M, DO(set), 1, 1, 1},
    {"getset", 3, M | F, DO(getset), 1, 1, 1},
    {"getdel", 2, W | F, DO(getdel), 1, 1, 1},
    {"getex", -2, W | F, DO(getex), 1, 1, 1},
    {"mget", -2, F, DO(mget), 1, -1, 1},
    {"mset", -3, M, DO(mset), 1, -1, 2},
    {"msetnx", -3, M, DO(msetnx), 1, -1, 2},
    {"setnx", 3, M | F, DO(setnx), 1, 1, 1},
    {"setex", 4, M, DO(setex), 1, 1, 1},
    {"psetex", 4, M, DO(psetex), 1, 1, 1},
    {"append", 3, M | F, DO(append), 1, 1, 1},
    {"strlen", 2, F, DO(strlen), 1, 1, 1},
    {"getrange", 4, 0, DO(getrange), 1, 1, 1},
    {"substr", 4, 0, DO(getrange), 1, 1, 1},
    {"setrange", 4, M, DO(setrange), 1, 1, 1},
    {"incr", 2, M | F, DO(incr), 1, 1, 1},
    {"decr", 2, M | F, DO(decr), 1, 1, 1},
    {"incrby", 3, M | F, DO(incrby), 1, 1, 1},
    {"decrby", 3, M | F, DO(decrby), 1, 1, 1},
    {"incrbyfloat", 3, M | F, DO(incrbyfloat), 1, 1, 1},
    // Lists.
    {"lpush", -3, M | F, DO(lpush), 1, 1, 1},
    {"rpush", -3, M | F, DO(rpush), 1, 1, 1},
    {"lpushx", -3, M | F, DO(lpushx), 1, 1, 1},
    {"rpushx", -3, M | F, DO(rpushx), 1, 1, 1},
    {"lpop", -2, W | F, DO(lpop), 1, 1, 1},
    {"rpop", -2, W | F, DO(rpop), 1, 1, 1},
    {"llen", 2, F, DO(llen), 1, 1, 1},
    {"lrange", 4, 0, DO(lrange), 1, 1, 1},
    {"lindex", 3, 0, DO(lindex), 1, 1, 1},
    {"lset", 4, M, DO(lset), 1, 1, 1},
    {"lrem", 4, W, DO(lrem), 1, 1, 1},
    {"ltrim", 4, W, DO(ltrim), 1, 1, 1},
    {"linsert", 5, M, DO(linsert), 1, 1, 1},
    {"lmove", 5, M, DO(lmove), 1, 2, 1},
    {"rpoplpush", 3, M, DO(rpoplpush), 1, 2, 1},
    // Hashes.
    {"hset", -4, M | F, DO(hset), 1, 1, 1},
    {"hmset", -4, M | F, DO(hmset), 1, 1, 1},
    {"hget", 3, F, DO(hget), 1, 1, 1},
    {"hmget", -3, F, DO(hmget), 1, 1, 1},
    {"hgetall", 2, 0, DO(hgetall), 1, 1, 1},
    {"hdel", -3, W | F, DO(hdel), 1, 1, 1},
    {"hlen", 2, F, DO(hlen), 1, 1, 1},
    {"hexists", 3, F, DO(hexists), 1, 1, 1},
    {"hkeys", 2, 0, DO(hkeys), 1, 1, 1},
    {"hvals", 2, 0, DO(hvals), 1, 1, 1},
    {"hincrby", 4, M | F, DO(hincrby), 1, 1, 1},
    {"hincrbyfloat", 4, M | F, DO(hincrbyfloat), 1, 1, 1},
    {"hsetnx", 4, M | F, DO(hsetnx), 1, 1, 1},
    {"hstrlen", 3, F, DO(hstrlen), 1, 1, 1},
    {"hscan", -3, 0, DO(hscan), 1, 1, 1},
    // Sets.
    {"sadd", -3, M | F, DO(sadd), 1, 1, 1},
    {"srem", -3, W | F, DO(srem), 1, 1, 1},
    {"sismember", 3, F, DO(sismember), 1, 1, 1},
    {"smismember", -3, F, DO(smismember), 1, 1, 1},
    {"smembers", 2, 0, DO(smembers), 1, 1, 1},
    {"scard", 2, F, DO(scard), 1, 1, 1},
    {"spop", -2, W | F, DO(spop), 1, 1, 1},
    {"srandmember", -2, 0, DO(srandmember), 1, 1, 1},
    {"sinter", -2, 0, DO(sinter), 1, -1, 1},
    {"sunion", -2, 0, DO(sunion), 1, -1, 1},
    {"sdiff", -2, 0, DO(sdiff), 1, -1, 1},
    {"smove", 4, M | F, DO(smove), 1, 2, 1},
    {"sscan", -3, 0, DO(sscan), 1, 1, 1},
    // Sorted sets.
    {"zadd", -4, M | F, DO(zadd), 1, 1, 1},
    {"zincrby", 4, M | F, DO(zincrby), 1, 1, 1},
    {"zrem", -3, W | F, DO(zrem), 1, 1, 1},
    {"zscore", 3, F, DO(zscore), 1, 1, 1},
    {"zmscore", -3, F, DO(zmscore), 1, 1, 1},
    {"zcard", 2, F, DO(zcard), 1, 1, 1},
    {"zrank", 3, F, DO(zrank), 1, 1, 1},
    {"zrevrank", 3, F, DO(zrevrank), 1, 1, 1},
    {"zcount", 4, F, DO(zcount), 1, 1, 1},
    {"zpopmin", -2, W | F, DO(zpopmin), 1, 1, 1},
    {"zpopmax", -2, W | F, DO(zpopmax), 1, 1, 1},
    {"zscan", -3, 0, DO(zscan), 1, 1, 1},
    {"zrange", -4, 0, DO(zrange), 1, 1, 1},
    {"zrevrange", -4, 0, DO(zrevrange), 1, 1, 1},
    {"zrangebyscore", -4, 0, DO(zrangebyscore), 1, 1, 1},
    {"zrevrangebyscore", -4, 0, DO(zrevrangebyscore), 1, 1, 1},
    {"zremrangebyscore", 4, W, DO(zremrangebyscore), 1, 1, 1},
    {"zremrangebyrank", 4, W, DO(zremrangebyrank), 1, 1, 1},
    // Keys.
    {"del", -2, W, DO(del), 1, -1, 1},
    {"unlink", -2, W | F, DO(del), 1, -1, 1},
    {"exists", -2, F, DO(exists), 1, -1, 1},
    {"touch", -2, F, DO(touch), 1, -1, 1},
    {"type", 2, F, DO(type), 1, 1, 1},
    {"expire", -3, W | F, DO(expire), 1, 1, 1},
    {"pexpire", -3, W | F, DO(pexpire), 1, 1, 1},
    {"expireat", -3, W | F, DO(expireat), 1, 1, 1},
    {"pexpireat", -3, W | F, DO(pexpireat), 1, 1, 1},
    {"ttl", 2, F, DO(ttl), 1, 1, 1},
    {"pttl", 2, F, DO(pttl), 1, 1, 1},
    {"expiretime", 2, F, DO(expiretime), 1, 1, 1},
    {"pexpiretime", 2, F, DO(pexpiretime), 1, 1, 1},
    {"persist", 2, W | F, DO(persist), 1, 1, 1},
    {"keys", 2, 0, DO(keys), 0, 0, 0},
    {"scan", -2, 0, DO(scan), 0, 0, 0},
    {"rename", 3, W, DO(rename), 1, 2, 1},
    {"renamenx", 3, W | F, DO(renamenx), 1, 2, 1},
    {"randomkey", 1, 0, DO(randomkey), 0, 0, 0},
    {"dbsize", 1, F, DO(dbsize), 0, 0, 0},
    {"flushall", -1, W, DO(flushall), 0, 0, 0},
    {"flushdb", -1, W, DO(flushall), 0, 0, 0},
    {"object", -2, 0, DO(object), 2, 2, 1},
    // The server.
    {"ping", -1, F, DO(ping), 0, 0, 0},
    {"echo", 2, F, DO(echo), 0, 0, 0},
    {"select", 2, F, DO(select), 0, 0, 0},
    {"info", -1, 0, DO(info), 0, 0, 0},
    {"config", -2, A, DO(config), 0, 0, 0},
    {"command", -1, 0, DO(command), 0, 0, 0},
    {"client", -2, A, DO(client), 0, 0, 0},
    {"memory", -2, 0, DO(memory), 2, 2, 1},
    {"debug", -2, A, DO(debug), 0, 0, 0},
    {"quit", -1, F, DO(quit), 0, 0, 0},
    {"shutdown", -1, A, DO(shutdown), 0, 0, 0},
    {"hello", -1, F, DO(hello), 0, 0, 0},
    {"reset", 1, F, DO(reset), 0, 0, 0},
    {"time", 1, F, DO(time), 0, 0, 0},
    {"save", 1, A, DO(save), 0, 0, 0},
    {"bgsave", -1, A, DO(bgsave), 0, 0, 0},
    {"lastsave", 1, F, DO(lastsave), 0, 0, 0},
};
enum { COMMANDS = sizeof table / sizeof table[0], SLOTS = 512, NAME_MOST = 24 };
static uint8_t slots[SLOTS]; // 1 + the index of a command; written before threads start
_Static_assert(COMMANDS < 200, "an index and one fit in a byte, and slots stay half empty");

// `name` in small letters, of at most NAME_MOST bytes.
static unsigned slot_of(const char *name, size_t length) {
  uint32_t hash = 2166136261u;
  for (size_t i = 0; i < length; i++) {
    hash = (hash ^ (unsigned char)name[i]) * 16777619u;
  }
  return (hash ^ hash >> 15) % SLOTS;
}

void kv_commands_open(void) {
  for (unsigned i = 0; i < COMMANDS; i++) {
    unsigned slot = slot_of(table[i].name, strlen(table[i].name));
    while (slots[slot] != 0) {
      slot = (slot + 1) % SLOTS;
    }
    slots[slot] = (uint8_t)(i + 1);
  }
}

const kv_command *kv_command_at(int i) { return i < COMMANDS ? &table[i] : NULL; }

const kv_command *kv_command_find(kv_text name) {
  char small[NAME_MOST];
  if (name.length > sizeof small) {
    return NULL;
  }
  for (size_t i = 0; i < name.length; i++) {
    small[i] = (char)tolower((unsigned char)name.at[i]);
  }
  for (unsigned slot = slot_of(small, name.length); slots[slot] != 0; slot = (slot + 1) % SLOTS) {
    const kv_command *command = &table[slots[slot] - 1];
    if (strlen(command->name) == name.length && memcmp(command->name, small, name.length) == 0) {
      return command;
    }
  }
  return NULL;
}

// The first arguments, as Redis shows them.
static void unknown(kv_call *call) {
  char shown[160];
  size_t used = 0;
  shown[0] = 0;
  for (int i = 1; i < call->count && used < 128; i++) {
    kv_text arg = kv_arg(call, i);
    int most = (int)(arg.length < 128 - used ? arg.length : 128 - used);
    used += (size_t)snprintf(shown + used, sizeof shown - used, "'%.*s' ", most, arg.at);
  }
  kv_text name = kv_arg(call, 0);
  kv_reply_error(call, "ERR unknown command '%.*s', with args beginning with: %s", (int)(name.length < 128 ? name.length : 128), name.at, shown);
}

void kv_call_run(kv_call *call) {
  const kv_command *command = kv_command_find(kv_arg(call, 0));
  kv_count(&call->t->commands, 1);
  if (command == NULL) {
    unknown(call);
    return;
  }
  call->command = command;
  __atomic_store_n(&call->c->last_command, command->name, __ATOMIC_RELAXED);
  if (command->arity > 0 ? call->count != command->arity : call->count < -command->arity) {
    kv_reply_error(call, "ERR wrong number of arguments for '%s' command", command->name);
    return;
  }
  bool writes = (command->flags & KV_WRITE) != 0;
  kv_count(&call->t->writes_begun, writes);
  if ((command->flags & KV_DENYOOM) && !kv_evict(call)) {
    kv_reply_no_memory(call);
  } else {
    command->run(call);
    kv_count(&call->t->changes, writes);
  }
  kv_count(&call->t->writes_ended, writes);
}
