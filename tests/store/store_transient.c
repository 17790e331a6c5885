// SPDX-License-Identifier: MIT
// store_transient.c: transient types and slots are as any others while the process runs, and read NULL when a store is opened again, or a checkpoint restored; all else is there.
//
//   store_transient TRIAL [--back-end NAME] [--stop signal|poll] [--rounds N]        TRANSIENT_SEED=n repeats the choices
//
// Each time that the heap is opened is in a process of its own, which ends with or without closing it. What must be there is kept in memory that these share. A plain program, for TSan too.

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include "tests/runtime/test.h"
#include "veil/checkpoint.h"
#include "veil/critical.h"
#include "veil/store.h"
#include "veil/table.h"
#include "veil/weak.h"

enum { SKIPPED = 77, RECORDS = 24, SLOTS = 17, SIZES = 3 };

#define OK(CALL) ((CALL) == VEIL_OK ? (void)0 : (fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #CALL, veil_error()), abort()))

// ---- Types. A tagged word is a pointer if its low three bits are 1; 2 says a number.

static const veil_encoding tags = {1 << 1, 0, 0};

typedef struct token {
  long number;
  char more[24];
} token;
VEIL_LEAF(VEIL_TRANSIENT(token));

typedef struct view {
  node *kept;
  struct view *next;
  long number, more;
} view;
VEIL_TYPE(VEIL_TRANSIENT(view), kept, next);

typedef struct pool {
  long number;
  token *token;
  view *slot[];
} pool;
VEIL_TYPE_FLEXIBLE(VEIL_TRANSIENT(pool), slot, token);

typedef struct item {
  void *plain, *cache, *more;
  long number;
} item;
VEIL_TYPE(item, plain, VEIL_TRANSIENT(cache), more);

typedef struct words {
  uint64_t plain, cache;
} words;
VEIL_TYPE_TAGGED(words, &tags, plain, VEIL_TRANSIENT(cache));

typedef struct shelf {
  long number;
  void *plain, *cache, *slot[];
} shelf;
VEIL_TYPE_FLEXIBLE(shelf, VEIL_TRANSIENT(slot), plain, VEIL_TRANSIENT(cache));

typedef struct board {
  size_t count;
  void *slot[];
} board;
static void board_trace(const void *object, const void *alias, size_t length, size_t base, size_t limit, veil_visitor *visitor) {
  (void)object;
  (void)length;
  const board *b = alias; // how many there are stands at its beginning, perhaps on another page
  for (size_t i = 0; i < b->count; i++) {
    size_t at = offsetof(board, slot) + i * sizeof(void *);
    if (at >= base && at < limit) {
      veil_visit(visitor, at);
    }
  }
}
VEIL_TYPE_FLEXIBLE_TRACE(board, board_trace, slot);

typedef struct record {
  item *item;
  words *words;
  shelf *shelf;
  board *board;
  void **array;
  long unused;
} record;
VEIL_TYPE(record, item, words, shelf, board, array);

static veil_type *const types[] = {&veil_type_token, &veil_type_view, &veil_type_pool, &veil_type_item, &veil_type_words, &veil_type_shelf, &veil_type_board, &veil_type_record, &veil_type_node};
enum { TYPES = sizeof types / sizeof *types };

// ---- What has to be there.

typedef enum kind { NOTHING, LIST, NUMBER, TOKEN, VIEW, POOL } kind; // from TOKEN on they are transient
typedef struct value {
  kind kind;
  long number; // of a list: its length
} value;
typedef struct model {
  unsigned size[RECORDS];
  value at[RECORDS][SLOTS];
} model;
typedef struct shared {
  model now, saved;
  uint64_t dice;
  bool made; // it was saved at all
} shared;

static shared *s;
static const char *back_end;
static veil_stop stop = VEIL_STOP_SIGNAL;
static unsigned rounds = 6;
static char folder[100], path[120], log_path[140];
static bool reading, elsewhere;
static veil_store *store;
static veil_heap *heap;
static veil_thread *self;

static uint64_t dice(uint64_t sides) {
  s->dice ^= s->dice << 13;
  s->dice ^= s->dice >> 7;
  s->dice ^= s->dice << 17;
  return (s->dice >> 11) % sides;
}

typedef struct slot {
  uint64_t *word;
  bool transient, tagged;
} slot;

static slot slot_of(const record *r, unsigned n) {
  size_t shelf_last = veil_length(heap, r->shelf) - 1, board_last = veil_length(heap, r->board) - 1, array_last = veil_length(heap, r->array) - 1;
  switch (n) {
  case 0: return (slot){(uint64_t *)&r->item->plain, false, false};
  case 1: return (slot){(uint64_t *)&r->item->cache, true, false};
  case 2: return (slot){(uint64_t *)&r->item->more, false, false};
  case 3: return (slot){&r->words->plain, false, true};
  case 4: return (slot){&r->words->cache, true, true};
  case 5: return (slot){(uint64_t *)&r->shelf->plain, false, false};
  case 6: return (slot){(uint64_t *)&r->shelf->cache, true, false};
  case 7: case 8: case 9: return (slot){(uint64_t *)&r->shelf->slot[n == 7 ? 0 : n == 8 ? shelf_last / 2 : shelf_last], true, false};
  case 10: case 11: case 12: case 13: return (slot){(uint64_t *)&r->board->slot[n == 10 ? 0 : n == 11 ? board_last / 2 : n == 12 ? board_last / 3 : board_last], false, false};
  default: return (slot){(uint64_t *)&r->array[n == 14 ? 0 : n == 15 ? array_last / 2 : array_last], false, false};
  }
}

static record *record_at(unsigned i) { return ((record **)veil_root_get(self, "records"))[i]; }

static uint64_t value_make(value v) {
  switch (v.kind) {
  case LIST: return (uint64_t)list_make(self, v.number);
  case TOKEN: {
    token *t = veil_new(self, token);
    t->number = v.number;
    return (uint64_t)t;
  }
  case VIEW: {
    view *a = veil_new(self, view);
    a->number = v.number;
    a->kept = list_make(self, v.number % 7);
    a->next = veil_new(self, view);
    a->next->number = v.number + 1;
    return (uint64_t)a;
  }
  case POOL: {
    pool *p = veil_new_flexible(self, pool, (size_t)v.number % 3 == 0 ? 9000 : (size_t)v.number % 3 == 1 ? 700 : 5);
    p->number = v.number;
    p->token = veil_new(self, token);
    p->token->number = v.number;
    p->slot[3] = veil_new(self, view);
    p->slot[3]->number = v.number;
    return (uint64_t)p;
  }
  default: return 0;
  }
}

static void value_set(unsigned record, unsigned n, value v) {
  uint64_t word = value_make(v); // first: it may move the record
  slot at = slot_of(record_at(record), n);
  *at.word = !at.tagged ? word : v.kind == NUMBER ? (uint64_t)v.number << 3 | 2 : word != 0 ? word | 1 : 0;
  s->now.at[record][n] = v;
}

static void value_check(unsigned record, unsigned n) {
  slot at = slot_of(record_at(record), n);
  value v = s->now.at[record][n];
  uint64_t word = *at.word;
  if (v.kind == NUMBER) {
    EXPECT(word == ((uint64_t)v.number << 3 | 2));
    return;
  }
  EXPECT((word == 0) == (v.kind == NOTHING));
  EXPECT(word == 0 || (word & 7) == (at.tagged ? 1 : 0));
  const void *object = (const void *)(word & ~(uint64_t)7);
  switch (v.kind) {
  case LIST: EXPECT(list_check(object) == v.number); break;
  case TOKEN: EXPECT(((const token *)object)->number == v.number); break;
  case VIEW: {
    const view *a = object;
    EXPECT(a->number == v.number && list_check(a->kept) == v.number % 7 && a->next->number == v.number + 1);
    break;
  }
  case POOL: {
    const pool *p = object;
    EXPECT(p->number == v.number && p->token->number == v.number && p->slot[3]->number == v.number && p->slot[4] == NULL);
    break;
  }
  default: break;
  }
}

static void record_make(unsigned i) {
  static const size_t lengths[SIZES] = {5, 700, 9000}; // small; over two pages; large
  size_t length = lengths[s->now.size[i] = (unsigned)dice(SIZES)];
  record *r = veil_new(self, record);
  r->item = veil_new(self, item);
  r->words = veil_new(self, words);
  r->shelf = veil_new_flexible(self, shelf, length);
  r->board = veil_new_flexible(self, board, length);
  r->board->count = length;
  r->array = veil_new_pointers(self, length);
  ((record **)veil_root_get(self, "records"))[i] = r;
  memset(s->now.at[i], 0, sizeof s->now.at[i]);
}

static void check(void) {
  for (unsigned i = 0; i < RECORDS; i++) {
    for (unsigned n = 0; n < SLOTS; n++) {
      value_check(i, n);
    }
  }
}

static void change(unsigned changes) {
  for (unsigned c = 0; c < changes; c++) {
    unsigned i = (unsigned)dice(RECORDS), n = (unsigned)dice(SLOTS);
    if (dice(40) == 0) {
      record_make(i);
      continue;
    }
    kind k = (kind)dice(POOL + 1);
    k = k == NUMBER && !slot_of(record_at(i), n).tagged ? VIEW : k;
    value_set(i, n, (value){k, (long)(k == LIST ? 1 + dice(30) : 1 + dice(1000))});
  }
}

static void collect(void) {
  switch (dice(5)) {
  case 0: veil_collect(self); break;
  case 1: veil_collect_start(self); break;
  case 2: case 3: veil_collect_minor(self); break;
  default: break;
  }
}

// What is transient is not there any more.
static void model_reopen(void) {
  s->now = s->saved;
  for (unsigned i = 0; i < RECORDS; i++) {
    for (unsigned n = 0; n < SLOTS; n++) {
      static const bool transient[SLOTS] = {[1] = true, [4] = true, [6] = true, [7] = true, [8] = true, [9] = true};
      if (transient[n] || s->now.at[i][n].kind >= TOKEN) {
        s->now.at[i][n] = (value){NOTHING, 0};
      }
    }
  }
}

// ---- Processes.

static veil_options options_of(void) {
  veil_options o = {.limit = 96 * MIB, .headroom = 2 * MIB, .nursery = 256 << 10, .back_end = back_end, .stop = stop, .verify = 1};
  o.generations = (veil_generations)dice(3);
  if (back_end != NULL && strcmp(back_end, "none") == 0) {
    o.generations = VEIL_GENERATIONS_AUTO;
  }
  return o;
}

// Types get numbers when they are first used, another one in each process.
static void types_use(void) {
  veil_options o = options_of();
  veil_heap *other = veil_open(&o);
  if (other == NULL) {
    exit(SKIPPED);
  }
  veil_thread *there = veil_attach(other);
  for (unsigned first = (unsigned)dice(4), i = 0; i < 4 && dice(2) == 0; i++) {
    switch ((first + i) % 4) {
    case 0: veil_new(there, token); break;
    case 1: veil_new(there, item); break;
    case 2: veil_new(there, view); break;
    default: veil_new(there, node);
    }
  }
  veil_detach(there);
  veil_close(other);
}

static void store_begin(void) {
  veil_options o = options_of();
  veil_store_options wanted = {.types = types, .type_count = TYPES, .log = MIB, .cache = MIB, .elsewhere = elsewhere, .mode = reading ? VEIL_STORE_READ_ONLY : VEIL_STORE_ANY};
  store = veil_store_open(path, &o, &wanted);
  if (store == NULL) {
    fprintf(stderr, "%s\n", veil_error());
    EXPECT(!s->made && !back_end_is_everywhere(back_end));
    exit(SKIPPED);
  }
  heap = veil_store_heap(store);
  self = veil_attach(heap);
}

static void store_shut(void) {
  veil_detach(self);
  OK(veil_store_close(store));
}

static void heap_begin(void) {
  veil_options o = options_of();
  veil_restore_options wanted = {.types = types, .type_count = TYPES, .elsewhere = elsewhere};
  heap = s->made ? veil_restore(path, &o, &wanted) : veil_open(&o);
  if (heap == NULL) {
    fprintf(stderr, "%s\n", veil_error());
    EXPECT(!s->made && !back_end_is_everywhere(back_end));
    exit(SKIPPED);
  }
  self = veil_attach(heap);
}

static void heap_shut(void) {
  veil_detach(self);
  veil_close(heap);
}

static void close_or_die(void (*shut)(void)) {
  if (dice(2) == 0) {
    shut();
  } else {
    kill(getpid(), SIGKILL);
  }
}

// In a process of its own, which may be killed. False: the back end does not work here.
static bool apart(void (*fn)(void)) {
  int how;
  fflush(NULL);
  pid_t pid = fork();
  EXPECT(pid >= 0);
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fn();
    _exit(0);
  }
  while (waitpid(pid, &how, 0) != pid) {
    EXPECT(errno == EINTR);
  }
  if (WIFEXITED(how) && WEXITSTATUS(how) == SKIPPED) {
    return false;
  }
  EXPECT(WIFEXITED(how) ? WEXITSTATUS(how) == 0 : WTERMSIG(how) == SIGKILL);
  return true;
}

static void aparts(void (*fn)(void)) {
  if (!apart(fn)) {
    exit(SKIPPED);
  }
}

// ---- A long story. Beside it a thread makes and drops transient objects.

typedef struct helper {
  pthread_t thread;
  int volatile over;
} helper;

static void *helper_main(void *arg) {
  helper *h = arg;
  veil_thread *me = veil_attach(heap);
  for (long i = 0; !__atomic_load_n(&h->over, __ATOMIC_RELAXED); i++) {
    item *mine = veil_root_get(me, "helper");
    view *v = veil_new(me, view);
    v->number = i;
    mine = veil_root_get(me, "helper");
    v->next = mine->more; // which slot is transient makes no difference here
    mine->cache = veil_new(me, token);
    mine = veil_root_get(me, "helper");
    mine->more = i % 64 == 0 ? NULL : v;
    if (i % 16 == 0) {
      veil_block_begin(me);
      sleep_ms(1);
      veil_block_end(me);
    }
    veil_poll(me);
  }
  veil_detach(me);
  return NULL;
}

static void first_time(void) {
  if (!s->made) {
    OK(veil_root_set(self, "records", veil_new_pointers(self, RECORDS)));
    OK(veil_root_set(self, "helper", veil_new(self, item)));
    for (unsigned i = 0; i < RECORDS; i++) {
      record_make(i);
    }
    return;
  }
  model_reopen();
  if (dice(2) == 0) { // what was there before gets other objects, while pages that led to it are away
    OK(veil_root_set(self, "fill", list_make(self, (long)dice(30000))));
  }
  const item *mine = veil_root_get(self, "helper");
  EXPECT(mine->cache == NULL && mine->more == NULL);
  if (dice(2) == 0) {
    check();
  }
}

static void life(void (*save)(void)) {
  first_time();
  helper h = {0};
  h.thread = thread_start(helper_main, &h);
  for (uint64_t i = 0, commits = dice(8); i < commits; i++) {
    change((unsigned)dice(dice(4) == 0 ? 400 : 60));
    collect();
    check();
    save();
    s->saved = s->now;
    s->made = true;
  }
  change((unsigned)dice(60)); // nobody saves that
  veil_block_begin(self);
  __atomic_store_n(&h.over, 1, __ATOMIC_RELAXED);
  pthread_join(h.thread, NULL);
  veil_block_end(self);
  check();
  veil_verify(self);
}

static void store_save(void) { OK(veil_store_commit(store, NULL)); }

static void store_life(void) {
  elsewhere = s->made && dice(4) == 0;
  types_use();
  store_begin();
  life(store_save);
  close_or_die(store_shut);
}

static void reader_life(void) {
  reading = true;
  store_begin();
  model_reopen();
  if (dice(2) == 0) {
    change(200); // nobody saves that
    veil_collect(self);
  }
  check();
  veil_verify(self);
  store_shut();
}

static void trial_store(void) {
  for (unsigned i = 0; i < rounds; i++) {
    aparts(store_life);
    if (s->made && i % 3 == 2) {
      aparts(reader_life);
    }
  }
}

static veil_checkpointer *checkpointer;
static void checkpoint_save(void) { OK(veil_checkpoint(checkpointer, 0, NULL)); }

static void checkpoint_life(void) {
  elsewhere = s->made && dice(4) == 0;
  types_use();
  heap_begin();
  if (s->made && dice(2) == 0) {
    veil_block_begin(self);
    veil_restored(heap, true);
    veil_block_end(self);
  }
  checkpointer = veil_checkpointer_open(heap, &(veil_checkpointer_options){.path = path, .pool = MIB});
  EXPECT(checkpointer != NULL);
  life(checkpoint_save);
  veil_checkpointer_close(checkpointer);
  close_or_die(heap_shut);
}

static void trial_checkpoint(void) {
  for (unsigned i = 0; i < rounds; i++) {
    aparts(checkpoint_life);
  }
}

// ---- Writes to what is transient are not logged.

static veil_commit_figures commit(void) {
  veil_commit_figures f;
  OK(veil_store_commit(store, &f));
  return f;
}

static void quiet(void) {
  store_begin();
  first_time();
  change(300);
  veil_collect(self);
  commit();
  s->made = true;
  // Places that are new to the thread, and to the store.
  for (unsigned i = 0; i < RECORDS; i++) {
    value_set(i, 1, (value){TOKEN, 5});
    value_set(i, 4, (value){TOKEN, 6});
  }
  commit();
  uint64_t minor = stats_of(heap).minor_cycles, major = stats_of(heap).major_cycles;
  for (unsigned i = 0; i < RECORDS; i++) {
    static const unsigned places[] = {1, 4, 6, 7, 8, 9, 14}; // the last is not transient: but it leads to what is
    for (unsigned p = 0; p < sizeof places / sizeof *places; p++) {
      if (places[p] != 14 || s->now.at[i][14].kind == NOTHING || s->now.at[i][14].kind >= TOKEN) {
        value_set(i, places[p], (value){TOKEN, (long)(i + p)});
      }
    }
  }
  veil_commit_figures f = commit();
  if (stats_of(heap).minor_cycles == minor && stats_of(heap).major_cycles == major) {
    EXPECT(f.pages != 0 || strcmp(back_end != NULL ? back_end : "", "none") == 0);
    EXPECT(f.changed == 0 && f.logged == 0);
  }
  ((item *)record_at(0)->item)->number = 77;
  f = commit();
  EXPECT(f.changed == 8 || stats_of(heap).minor_cycles != minor || stats_of(heap).major_cycles != major);
  s->saved = s->now;
  check();
  close_or_die(store_shut);
}

static void quiet_after(void) {
  store_begin();
  model_reopen();
  check();
  EXPECT(record_at(0)->item->number == 77);
  store_shut();
}

static void trial_quiet(void) {
  aparts(quiet);
  aparts(quiet_after);
}

// ---- Roots, weak references, weak tables, finalizers.

static void done(veil_thread *me, void *object, void *data) {
  (void)me;
  (void)object;
  (void)data;
}

static __attribute__((noinline)) void words_make(void) {
  token *t = veil_new(self, token);
  node *n = list_make(self, 9);
  OK(veil_root_set(self, "token", t));
  OK(veil_root_set(self, "list", n));
  OK(veil_root_set(self, "weak token", veil_weak_new(self, t)));
  OK(veil_root_set(self, "weak list", veil_weak_new(self, n)));
  static const veil_table_kind kinds[] = {VEIL_WEAK_KEYS, VEIL_WEAK_VALUES, VEIL_WEAK_BOTH};
  for (unsigned i = 0; i < 3; i++) {
    char name[20];
    veil_table *table = veil_table_new(self, kinds[i]);
    snprintf(name, sizeof name, "table %u", i);
    OK(veil_root_set(self, name, table));
    node *key = list_make(self, 3);
    snprintf(name, sizeof name, "key %u", i);
    OK(veil_root_set(self, name, key));
    OK(veil_table_put(self, table, n, key)); // stays
    OK(veil_table_put(self, table, t, n));
    OK(veil_table_put(self, table, key, t));
    EXPECT(veil_table_count(self, table) == 3);
  }
  veil_finalize(self, t, done, NULL); // no reason to refuse the store
}

static void outside(void) {
  store_begin();
  words_make();
  if (dice(2) == 0) {
    veil_collect(self);
  }
  commit();
  s->made = true;
  EXPECT(veil_root_get(self, "token") != NULL && veil_weak_get(self, veil_root_get(self, "weak token")) == veil_root_get(self, "token"));
  close_or_die(store_shut);
}

static void outside_after(void) {
  store_begin();
  EXPECT(veil_root_get(self, "token") == NULL && list_check(veil_root_get(self, "list")) == 9);
  EXPECT(veil_weak_get(self, veil_root_get(self, "weak token")) == NULL && veil_weak_get(self, veil_root_get(self, "weak list")) == veil_root_get(self, "list"));
  for (unsigned i = 0; i < 3; i++) {
    char name[20];
    snprintf(name, sizeof name, "table %u", i);
    veil_table *table = veil_root_get(self, name);
    snprintf(name, sizeof name, "key %u", i);
    node *key = veil_root_get(self, name);
    EXPECT(veil_table_count(self, table) == 1 && veil_table_get(self, table, veil_root_get(self, "list")) == key && veil_table_get(self, table, key) == NULL);
  }
  veil_verify(self);
  OK(veil_root_set(self, "token", veil_new(self, token))); // the name is free
  commit();
  veil_finalize(self, veil_new(self, node), done, NULL);
  commit();
  store_shut();
  EXPECT(veil_store_open(path, NULL, &(veil_store_options){.types = types, .type_count = TYPES}) == NULL && strstr(veil_error(), "1 finalizers") != NULL);
}

static void trial_outside(void) {
  aparts(outside);
  aparts(outside_after);
}

// ---- Types that are not what they were.

static const size_t item_plain[] = {0, 8, 16}, item_other[] = {2, 8, 16}, view_slots[] = {0, 8};
static veil_type other_item = {.name = "item", .size = sizeof(item), .pointers = item_plain, .pointer_count = 3}, another_item = {.name = "item", .size = sizeof(item), .pointers = item_other, .pointer_count = 3},
                 lasting_view = {.name = "view", .size = sizeof(view), .pointers = view_slots, .pointer_count = 2}, lasting_token = {.name = "token", .size = sizeof(token)},
                 transient_node = {.name = "node", .size = sizeof(node), .pointers = view_slots, .pointer_count = 2, .sort = 2};

static void refused(veil_type *type, const char *why) {
  veil_type *const only[] = {type, &veil_type_board};
  veil_options o = options_of();
  EXPECT(veil_store_open(path, &o, &(veil_store_options){.types = only, .type_count = 2}) == NULL);
  if (strstr(veil_error(), why) == NULL) {
    fprintf(stderr, "\"%s\" is not in: %s\n", why, veil_error());
    abort();
  }
}

static void refusals(void) {
  refused(&other_item, "type item has slot 1 at byte 8, which is transient there, and not here");
  refused(&another_item, "type item has slot 0 at byte 0, which is transient here, and not there");
  refused(&lasting_view, "type view is transient there, and not here");
  refused(&lasting_token, "type token is transient there, and not here");
  refused(&transient_node, "type node is transient here, and not there");
  store_begin();
  model_reopen();
  check();
  store_shut();
}

static void trial_refuse(void) {
  rounds = 1;
  while (!s->made) {
    aparts(store_life);
  }
  aparts(refusals);
}

// ---- Sections in which allocation does not wait: one that begins before the process knows of any transient type, and others.

static void section(void) {
  store_begin();
  node *list = NULL;
  for (int i = 0; i < 50; i++) {
    OK(veil_critical_begin(self, 20 * (veil_room(view) + veil_room(token)) + veil_room(node)));
    view *v = NULL;
    for (int n = 0; n < 20; n++) {
      view *next = veil_new(self, view);
      next->next = v;
      next->number = n;
      v = next;
      veil_new(self, token)->number = n;
    }
    node *last = veil_new(self, node);
    last->right = list;
    veil_critical_end(self);
    list = last;
    for (int n = 20; n-- > 0; v = v->next) {
      EXPECT(v->number == n);
    }
    veil_collect_minor(self);
  }
  OK(veil_critical_begin(self, 4 * MIB));
  pool *p = veil_new_flexible(self, pool, 9000);
  p->token = veil_new(self, token);
  pool *q = veil_new_flexible(self, pool, 700);
  q->token = p->token;
  veil_critical_end(self);
  veil_verify(self);
  OK(veil_root_set(self, "list", list));
  commit();
  store_shut();
}

static void trial_section(void) { aparts(section); }

// ---- The program.

static const struct {
  const char *name;
  void (*fn)(void);
} trials[] = {{"store", trial_store}, {"checkpoint", trial_checkpoint}, {"quiet", trial_quiet}, {"outside", trial_outside}, {"refuse", trial_refuse}, {"section", trial_section}};

static void options_read(int argc, char **argv) {
  for (int i = 2; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--back-end") == 0) {
      back_end = argv[i + 1];
    } else if (strcmp(argv[i], "--stop") == 0) {
      stop = strcmp(argv[i + 1], "poll") == 0 ? VEIL_STOP_POLL : VEIL_STOP_SIGNAL;
    } else if (strcmp(argv[i], "--rounds") == 0) {
      rounds = (unsigned)strtoul(argv[i + 1], NULL, 10);
    }
  }
}

int main(int argc, char **argv) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  options_read(argc, argv);
  s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  EXPECT(s != MAP_FAILED);
  s->dice = getenv("TRANSIENT_SEED") != NULL ? strtoull(getenv("TRANSIENT_SEED"), NULL, 10) : (uint64_t)now.tv_nsec;
  printf("TRANSIENT_SEED=%" PRIu64 "\n", s->dice);
  s->dice = s->dice * 0x9e3779b97f4a7c15u + 1;
  strcpy(folder, "/tmp/transient.XXXXXX");
  EXPECT(mkdtemp(folder) != NULL);
  snprintf(path, sizeof path, "%s/heap.veil", folder);
  snprintf(log_path, sizeof log_path, "%s.log", path);
  size_t trial = 0;
  while (argc > 1 && trial < sizeof trials / sizeof *trials && strcmp(argv[1], trials[trial].name) != 0) {
    trial++;
  }
  EXPECT(argc > 1 && trial < sizeof trials / sizeof *trials);
  trials[trial].fn();
  unlink(path);
  unlink(log_path);
  EXPECT(rmdir(folder) == 0);
  return 0;
}
