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
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include "tests/store/transient.h"
#include "veil/checkpoint.h"

void board_trace(const void *object, const void *alias, size_t length, size_t base, size_t limit, veil_visitor *visitor) {
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

veil_type *const types[TYPES] = {&veil_type_token, &veil_type_view, &veil_type_pool, &veil_type_item, &veil_type_words, &veil_type_shelf, &veil_type_board, &veil_type_record, &veil_type_node};
shared *s;
const char *back_end;
static veil_stop stop = VEIL_STOP_SIGNAL;
unsigned rounds = 6;
static char folder[100], log_path[140];
char path[120];
static bool reading, elsewhere;
veil_store *store;
veil_heap *heap;
veil_thread *self;

uint64_t dice(uint64_t sides) {
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

record *record_at(unsigned i) { return ((record **)veil_root_get(self, "records"))[i]; }

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

void value_set(unsigned record, unsigned n, value v) {
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

void check(void) {
  for (unsigned i = 0; i < RECORDS; i++) {
    for (unsigned n = 0; n < SLOTS; n++) {
      value_check(i, n);
    }
  }
}

void change(unsigned changes) {
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
void model_reopen(void) {
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

veil_options options_of(void) {
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

void store_begin(void) {
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

void store_shut(void) {
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

void close_or_die(void (*shut)(void)) {
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

void aparts(void (*fn)(void)) {
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

void first_time(void) {
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

bool knows_all; // the process knows each type before it commits, so the store has it
void store_life(void) {
  elsewhere = s->made && dice(4) == 0;
  types_use();
  store_begin();
  if (knows_all) {
    EXPECT(veil_new(self, token) != NULL && veil_new(self, view) != NULL && veil_new(self, item) != NULL && veil_new(self, node) != NULL);
  }
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

// Whoever opens a store to write it removes what a process has left that was killed while it wrote a new file beside it (im.new).
static void last_life(void) {
  store_begin();
  store_shut();
}

static void trial_store(void) {
  for (unsigned i = 0; i < rounds; i++) {
    aparts(store_life);
    if (s->made && i % 3 == 2) {
      aparts(reader_life);
    }
  }
  if (s->made) {
    aparts(last_life);
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
// ---- The program.

static const struct {
  const char *name;
  void (*fn)(void);
} trials[] = {{"store", trial_store}, {"checkpoint", trial_checkpoint}, {"quiet", trial_quiet}, {"outside", trial_outside}, {"refuse", trial_refuse}, {"section", trial_section}, {"late", trial_late}};

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

void files_remove(void) {
  unlink(path);
  unlink(log_path);
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
  files_remove();
  EXPECT(rmdir(folder) == 0);
  return 0;
}
