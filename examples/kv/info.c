// SPDX-License-Identifier: MIT
// info.c: what INFO says.

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>
#include "handlers.h"

typedef struct sheet {
  char *out;
  size_t room, used;
  kv_text wanted;
} sheet;

static void line(sheet *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void line(sheet *s, const char *format, ...) {
  va_list args;
  va_start(args, format);
  size_t left = s->used < s->room ? s->room - s->used : 0;
  s->used += (size_t)vsnprintf(left > 0 ? s->out + s->used : NULL, left, format, args);
  va_end(args);
}

static bool section(sheet *s, const char *name) {
  bool wanted = kv_text_is(s->wanted, name) || kv_text_is(s->wanted, "all") || kv_text_is(s->wanted, "default") || kv_text_is(s->wanted, "everything");
  if (wanted) {
    line(s, "%s# %s\r\n", s->used > 0 ? "\r\n" : "", name);
  }
  return wanted;
}

typedef unsigned long long ull;

static void human(uint64_t bytes, char out[32]) {
  static const char units[] = "BKMGT";
  double value = (double)bytes;
  int unit = 0;
  while (value >= 1024 && unit < 4) {
    value /= 1024;
    unit++;
  }
  snprintf(out, 32, unit > 0 ? "%.2f%c" : "%.0f%c", value, units[unit]);
}

static void memory(sheet *s, kv_thread *t) {
  char used[32], resident[32];
  uint64_t bytes = kv_used(t), rss = kv_memory_resident();
  human(bytes, used);
  human(rss, resident);
  line(s, "used_memory:%llu\r\nused_memory_human:%s\r\nused_memory_rss:%llu\r\nused_memory_rss_human:%s\r\nmaxmemory:%llu\r\nmaxmemory_policy:%s\r\n",
       (ull)bytes, used, (ull)rss, resident, (ull)kv_options_now.maxmemory, kv_policy_names[kv_options_now.policy]);
}

static void stats(sheet *s) {
  uint64_t sum[8] = {0};
  for (unsigned i = 0; i < kv_options_now.threads; i++) {
    kv_thread *t = &kv_threads[i];
    sum[0] += t->received;
    sum[1] += t->commands;
    sum[2] += t->bytes_in;
    sum[3] += t->bytes_out;
    sum[4] += t->expired;
    sum[5] += t->evicted;
    sum[6] += t->hits;
    sum[7] += t->misses;
  }
  line(s,
       "total_connections_received:%llu\r\ntotal_commands_processed:%llu\r\ntotal_net_input_bytes:%llu\r\ntotal_net_output_bytes:%llu\r\n"
       "expired_keys:%llu\r\nevicted_keys:%llu\r\nkeyspace_hits:%llu\r\nkeyspace_misses:%llu\r\n",
       (ull)sum[0], (ull)sum[1], (ull)sum[2], (ull)sum[3], (ull)sum[4], (ull)sum[5], (ull)sum[6], (ull)sum[7]);
}

size_t kv_info_text(kv_thread *t, char *out, size_t room, kv_text wanted) {
  sheet s = {out, room, 0, wanted};
  if (section(&s, "Server")) {
    line(&s, "redis_version:%s\r\nredis_mode:standalone\r\nkv_memory:%s\r\nprocess_id:%d\r\ntcp_port:%u\r\nuptime_in_seconds:%lld\r\nio_threads:%u\r\n",
         KV_VERSION, kv_memory_name, (int)getpid(), kv_options_now.port, (long long)(t->now_ms - kv_started_ms) / 1000, kv_options_now.threads);
  }
  if (section(&s, "Clients")) {
    line(&s, "connected_clients:%llu\r\nmaxclients:%u\r\n", (ull)kv_clients_count(), kv_options_now.maxclients);
  }
  if (section(&s, "Memory")) {
    memory(&s, t);
  }
  if (section(&s, "Persistence")) {
    size_t left = s.used < room ? room - s.used : 0;
    s.used += kv_save_report(t, left > 0 ? out + s.used : NULL, left);
  }
  if (section(&s, "Stats")) {
    stats(&s);
  }
  if (section(&s, "Collector")) {
    size_t left = s.used < room ? room - s.used : 0;
    s.used += kv_memory_report(left > 0 ? out + s.used : NULL, left);
  }
  if (section(&s, "Keyspace")) {
    uint64_t timed = 0, keys = kv_space_count(t, &timed);
    if (keys > 0) {
      line(&s, "db0:keys=%llu,expires=%llu,avg_ttl=0\r\n", (ull)keys, (ull)timed);
    }
  }
  return s.used;
}
