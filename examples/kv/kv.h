// SPDX-License-Identifier: MIT
// kv.h: what the server's files share: options, threads, clients, requests, replies, keys.

#ifndef KV_H
#define KV_H

#include <stdatomic.h>
#include "table.h"

#define KV_VERSION "7.0.0" // the version of Redis whose commands these are
enum { KV_SHARDS = 256, KV_THREADS = 64, KV_BUFFER = 65536 };

// ---- Options. Written before threads start; those that CONFIG SET changes are atomic.

typedef enum kv_policy { KV_NOEVICTION, KV_ALLKEYS_LRU, KV_ALLKEYS_RANDOM, KV_VOLATILE_TTL } kv_policy;
typedef struct kv_save_point { // a save is due so many seconds after the last one, if there were so many changes
  uint64_t seconds, changes;
} kv_save_point;
enum { KV_SAVE_POINTS = 16 };
typedef struct kv_options {
  const char *bind, *unixsocket, *heap_options;
  const char *directory, *name; // of the file with the data …
  const char *store;            // the name of a store in its place, or NULL
  char *file;                   // … and both in one
  const char *save;             // as it was given; "": only when asked
  kv_save_point save_point[KV_SAVE_POINTS];
  unsigned port, threads, maxclients, save_points;
  _Atomic uint64_t maxmemory, timeout_s, bulk_limit, output_limit;
  _Atomic int policy;
} kv_options;
extern kv_options kv_options_now;
void kv_options_read(int argc, char **argv);         // leaves with status 2 if something is wrong, 0 after --help and --version
bool kv_size_parse(const char *text, uint64_t *out); // 100, 64k, 2mb, 1g
extern const char *const kv_policy_names[4];
bool kv_policy_parse(const char *name, int *out);

// ---- Clients. An object of its thread's; `clients.c` also says what others may read, under its lock.

typedef struct kv_chunk { // of output that waits: bytes [from, to) of an object
  struct kv_chunk *next;  // owned
  char *object;           // owned: bytes, or a kv_blob
  uint64_t from, to;
  bool buffer; // the object has KV_BUFFER bytes and is nobody else's: it is used again
} kv_chunk;

typedef struct kv_span { // an argument, in the input
  uint32_t at, length;
} kv_span;

typedef struct kv_client {
  char *input;                               // owned: what has come and is not a whole request; NULL: nothing
  kv_span *spans;                            // owned: of a request that is not whole; NULL: none
  kv_chunk *first;                           // owned: output that waits
  kv_chunk *last;                            // borrowed
  char *name;                                // owned: set by CLIENT SETNAME, with a NUL. Under the lock of clients.c
  uint32_t input_from, input_to, input_room; // of `input`
  uint32_t spans_room;
  // The request that is being read, its positions relative to its beginning.
  uint32_t parsed;      // bytes looked at
  int32_t wanted, have; // arguments; wanted 0: a new request
  int64_t bulk;         // bytes of the next argument; -1: its length is not known
  uint64_t waiting;     // bytes of output that wait
  int fd, slot;
  uint32_t events; // what epoll watches
  bool closing;    // once the output is sent
  bool dead;       // now
  bool stuffed;    // input waits until output has gone
  bool ended;      // it sends no more
  bool lingering;  // all is sent: what still comes is read and forgotten
  uint64_t id;
  int64_t since_ms, active_ms;
  const char *last_command; // a name in the table of commands; atomic
  char address[56];
} kv_client;

// ---- Threads. Static: not objects of the heap. Fields are the owning thread's but where it says so.

struct kv_thread {
  kv_self *self;
  char *in, *out;  // roots: KV_BUFFER bytes each
  kv_span *spans;  // root
  kv_chunk *spare; // root: chunks with buffers that have been sent
  uint32_t out_used, spans_room, spares;
  int index, epoll, wake;
  int64_t now_ms;             // of this round
  uint32_t clock;             // for LRU
  _Atomic int64_t used_shown; // what others read of `used`
  int64_t used;               // bytes of data that this thread has added less those it has dropped
  uint64_t random;
  unsigned expiry_shard;
  uint64_t expiry_cursor;
  int64_t cron_ms, expiry_ms;
  bool waiting;       // a client has output that waits (when the loop ends)
  _Atomic int handed; // connections that it has, or is to have
  pthread_t thread;
  pthread_mutex_t inbox_lock;
  int inbox[1024]; // under its lock: connections that are handed over
  unsigned inbox_count;
  _Atomic uint64_t clients, commands, expired, evicted, hits, misses, received, sent, bytes_in, bytes_out, changes; // changes: commands that write
  _Atomic uint64_t writes_begun, writes_ended; // the same, and those that failed, before and after (store.c)
  bool holds; // replies wait in their clients until the round's work is durable
} __attribute__((aligned(128)));
extern kv_thread kv_threads[KV_THREADS];
extern _Atomic int kv_stopping; // 1: somebody wants the server to end

uint64_t kv_random(kv_thread *t);
int64_t kv_now_ms(void);
uint64_t kv_now_ns(void);
static inline void kv_count(_Atomic uint64_t *counter, uint64_t by) { // owning thread: no other writes it
  atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + by, memory_order_relaxed);
}

// ---- Requests. On the stack of the thread that runs it, which holds the input in place.

typedef struct kv_call {
  kv_thread *t;
  kv_client *c;
  const char *base; // of the spans
  const kv_span *spans;
  int count;
  const struct kv_command *command;
} kv_call;

static inline kv_text kv_arg(const kv_call *call, int i) { return (kv_text){call->base + call->spans[i].at, call->spans[i].length}; }

typedef void kv_command_fn(kv_call *call);
typedef struct kv_command {
  const char *name;
  int arity;      // arguments with the name; negative: at least
  unsigned flags; // KV_WRITE, ...
  kv_command_fn *run;
  int first, last, step; // where keys are
} kv_command;
enum { KV_WRITE = 1, KV_DENYOOM = 2, KV_FAST = 4, KV_ADMIN = 8 };
const kv_command *kv_command_find(kv_text name);
const kv_command *kv_command_at(int i); // NULL behind the last
void kv_commands_open(void);
void kv_call_run(kv_call *call);

// ---- Replies: into the thread's output buffer; what does not fit goes to the client's chunks.

void kv_reply_raw(kv_call *call, const char *bytes, size_t length);
void kv_reply_simple(kv_call *call, const char *text);
void kv_reply_ok(kv_call *call);
void kv_reply_error(kv_call *call, const char *format, ...) __attribute__((format(printf, 2, 3)));
void kv_reply_integer(kv_call *call, int64_t value);
void kv_reply_bulk(kv_call *call, kv_text text);
void kv_reply_text(kv_call *call, const char *text);
void kv_reply_double(kv_call *call, double value);
void kv_reply_array(kv_call *call, uint64_t count);
void kv_reply_null(kv_call *call);
void kv_reply_null_array(kv_call *call);
void kv_reply_item(kv_call *call, kv_item *item); // the text of a string: by reference if it is long
void kv_reply_wrong_type(kv_call *call);
void kv_reply_syntax(kv_call *call);
void kv_reply_no_memory(kv_call *call);
void kv_reply_flush(kv_thread *t, kv_client *c); // sends what it can; while the thread holds replies they go to the client's chunks
// A chunk of the client's output; `object` is kept. False: memory is out, and the client is dead.
bool kv_chunk_add(kv_thread *t, kv_client *c, char *object, uint64_t from, uint64_t to);

// ---- Keys. A key is locked with its shard; several keys with all of their shards, in ascending order.

typedef struct kv_key {
  kv_text text;
  uint64_t hash;
  kv_table *table;
  kv_item *item; // NULL: there is none, or it has expired (and is gone)
  kv_place place;
  uint64_t before; // bytes of its list, hash or set when it was found, or last counted
} kv_key;

bool kv_space_open(kv_thread *t, void **loaded); // with tables that were loaded, or NULL: empty ones
void kv_space_close(kv_thread *t);
void kv_key_lock(kv_call *call, kv_key *key, kv_text text); // locks, finds, notes the use
void kv_key_unlock(kv_key *key);
typedef struct kv_shards {
  uint64_t bits[KV_SHARDS / 64];
} kv_shards;
void kv_shards_add(kv_shards *shards, kv_text key);
void kv_shards_lock(kv_call *call, const kv_shards *shards);
void kv_shards_unlock(const kv_shards *shards);
void kv_key_find(kv_call *call, kv_key *key, kv_text text); // its shard is locked
kv_table *kv_shard_lock(kv_thread *t, unsigned shard);
void kv_shard_unlock(unsigned shard);
bool kv_key_expired(kv_thread *t, const kv_item *item);
// Puts `item` at the key, dropping what was there; NULL is taken for "memory is out". True if it is there now; else the reply is -OOM, and nothing has changed.
bool kv_key_set(kv_call *call, kv_key *key, kv_item *item);
void kv_key_delete(kv_call *call, kv_key *key); // which is there
// Takes an item out, with what it holds, for the caller to drop.
kv_item *kv_key_take(kv_thread *t, kv_table *table, uint64_t hash, kv_place place);
// The key, which is there, expires then; 0: not at all. False: the reply is -OOM.
bool kv_key_retime(kv_call *call, kv_key *key, int64_t expires);
// As kv_key_set, for an item whose object another still has: if it fails that keeps it.
bool kv_key_move(kv_call *call, kv_key *to, kv_item *made);
// What a box holds, if it is of this kind. If the key is not there and `make` says so, an empty one is put there: kv_key_tidy takes it away if it stays empty.
// NULL: not there; or the reply says what is wrong, and *failed is set.
void *kv_key_object(kv_call *call, kv_key *key, kv_kind kind, bool make, bool *failed);
bool kv_item_is_text(const kv_item *item);
// Once a list, hash or set has been changed: counts what it takes, and deletes it if it is empty.
void kv_key_tidy(kv_call *call, kv_key *key);
uint64_t kv_item_inner(const kv_item *item); // bytes of what a box refers to, but for blobs
bool kv_item_is_empty(kv_item *item);
uint64_t kv_space_count(kv_thread *t, uint64_t *timed);
void kv_space_flush(kv_call *call);

// ---- Expiry and eviction.

void kv_expiry_run(kv_thread *t);
bool kv_evict(kv_call *call); // false: there is more data than maxmemory allows, and nothing that may go
uint64_t kv_used(const kv_thread *t);
static inline void kv_used_show(kv_thread *t) { atomic_store_explicit(&t->used_shown, t->used, memory_order_relaxed); }

// ---- The file with the data.

// After the heap was opened: the tables that were loaded, or NULL, if there was no file. False with a message in `error`.
bool kv_save_load(kv_thread *t, void ***tables, char *error, size_t bytes);
bool kv_save_open(kv_thread *t, char *error, size_t bytes); // once there are tables; true where nothing can be saved
void kv_save_cron(kv_thread *t);                            // one thread: begins what is due, and sees what has ended
// At the end, when no loop runs any more. `wish` 1: saves; -1: does not; 0: if save points are set and something has changed. False: it failed.
bool kv_save_last(kv_thread *t, int wish);
void kv_save_close(void);
extern _Atomic int kv_save_wish; // what SHUTDOWN said
// With a store. Until it returns nothing is answered that the thread has done or seen in this round. A commit that fails ends the server.
void kv_store_settle(kv_thread *t);
void kv_store_commit(kv_thread *t); // all that there is
int64_t kv_store_durable_ms(void);  // when that was last so
size_t kv_store_report(char *out, size_t room);
void kv_hash_seed_get(uint64_t out[2]);
void kv_hash_seed_set(const uint64_t seed[2]);

// ---- Connections and loops.

bool kv_clients_open(kv_thread *t);
bool kv_client_new(kv_thread *t, int fd); // watched by the thread from now on; false: it was refused
kv_client *kv_client_at(int slot, uint64_t id);
void kv_client_close(kv_thread *t, kv_client *c);
void kv_client_read(kv_thread *t, kv_client *c);
void kv_client_write(kv_thread *t, kv_client *c);
void kv_client_settle(kv_thread *t, kv_client *c);                             // closes it or watches for what it waits for
void kv_clients_each(kv_thread *t, void (*visit)(kv_thread *t, kv_client *c)); // the thread's own
void kv_client_age(kv_thread *t, kv_client *c);                                // closes it if it was idle for too long
void kv_client_line(kv_call *call, kv_client *c, char *out, size_t bytes);
void kv_client_list(kv_call *call);
bool kv_client_kill(kv_call *call, kv_text address, uint64_t id);
void kv_client_name_set(kv_call *call, char *name);
uint64_t kv_clients_count(void);
// Whole requests from [base + from, base + to). Returns how far it came; the client's state says what is missing.
uint32_t kv_requests_run(kv_thread *t, kv_client *c, const char *base, uint32_t from, uint32_t to);

bool kv_listen(void); // says what is wrong
void *kv_loop_run(void *thread);
void kv_stop(void); // any thread, signal handlers too
extern int64_t kv_started_ms;

// ---- Texts and numbers (text.c).

bool kv_integer(kv_text text, int64_t *out);             // as Redis takes it: no blanks, no plus, no zeros in front
bool kv_double(kv_text text, double *out);               // inf, too; not nan
bool kv_arg_integer(kv_call *call, int i, int64_t *out); // or the reply says that it is none
bool kv_text_is(kv_text text, const char *word);         // whatever the case
int kv_text_compare(kv_text a, kv_text b);
bool kv_glob(kv_text pattern, kv_text text);
size_t kv_double_write(double value, char out[64]);
// What INCRBYFLOAT reckons with: more digits, and never an exponent.
enum { KV_WIDE_TEXT = 5120 };
bool kv_wide(kv_text text, long double *out); // inf, too; not nan
size_t kv_wide_write(long double value, char out[KV_WIDE_TEXT]); // finite
size_t kv_integer_write(int64_t value, char out[24]);

#endif
