// SPDX-License-Identifier: MIT
// store_transient_cases.c: what is transient, case by case: writes that are not logged, what leads there from outside of objects, types that have changed, critical sections, a type that comes late.

#include "tests/store/transient.h"
#include "veil/critical.h"
#include "veil/table.h"
#include "veil/weak.h"

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

void trial_quiet(void) {
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

void trial_outside(void) {
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
  value_set(0, 0, (value){LIST, 4});
  EXPECT(veil_store_rollback(store, NULL) == VEIL_UNSUPPORTED && strstr(veil_error(), "something transient") != NULL);
  check(); // nothing has changed
  veil_verify(self);
  store_shut();
}

void trial_refuse(void) {
  rounds = 1;
  knows_all = true;
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

void trial_section(void) { aparts(section); }

// ---- The process's first transient type comes while another thread commits. Pages that were compared in the stop have no copies: what lies there is of earlier commits, and is nothing to look through.

enum { ROWS = 500, ROW = 200, LATE_PROCESSES = 8 }; // rows cross pages

typedef struct committing {
  pthread_t thread;
  int volatile over;
} committing;

// One place in each row is NULL, another one in each commit. The first rows, of which the first commit had copies as well, are left alone.
static void *commits(void *arg) {
  committing *c = arg;
  veil_thread *me = veil_attach(heap);
  for (size_t round = 0; !__atomic_load_n(&c->over, __ATOMIC_RELAXED); round++) {
    node ***rows = veil_root_get(me, "rows");
    for (size_t i = ROWS / 3; i < ROWS; i++) {
      rows[i][round % ROW] = rows[i][(round + 1) % ROW];
      rows[i][(round + 1) % ROW] = NULL;
    }
    uint64_t ticket; // who waited for the disk would be found composing too seldom
    OK(round % 32 == 31 ? veil_store_commit(store, NULL) : veil_store_commit_async(store, &ticket));
  }
  veil_detach(me);
  return NULL;
}

static void rows_make(void) {
  OK(veil_root_set(self, "rows", veil_new_pointers(self, ROWS)));
  for (size_t i = 0; i < ROWS; i++) {
    void *row = veil_new_pointers(self, ROW);
    ((node ***)veil_root_get(self, "rows"))[i] = row;
    node *n = list_make(self, 1);
    for (size_t j = 0; j < ROW; j++) {
      ((node ***)veil_root_get(self, "rows"))[i][j] = j == 0 ? NULL : n;
    }
  }
}

static void sleep_outside(unsigned us) {
  veil_block_begin(self);
  usleep(us);
  veil_block_end(self);
}

static void late(void) {
  veil_options o = options_of();
  o.generations = VEIL_GENERATIONS_OFF; // nothing moves, so that pages are compared
  store = veil_store_open(path, &o, &(veil_store_options){.log = 8 * MIB, .cache = 8 * MIB});
  if (store == NULL) {
    fprintf(stderr, "%s\n", veil_error());
    exit(SKIPPED);
  }
  heap = veil_store_heap(store);
  self = veil_attach(heap);
  rows_make();
  OK(veil_store_commit(store, NULL));
  committing c = {0};
  c.thread = thread_start(commits, &c);
  sleep_outside((unsigned)(10000 + dice(20000)));
  for (size_t i = 0; i < 3; i++) {
    view *v = veil_new(self, view);
    OK(veil_root_set(self, "view", v));
    ((node ***)veil_root_get(self, "rows"))[0][i] = (node *)v;
    sleep_outside(3000);
  }
  veil_block_begin(self);
  __atomic_store_n(&c.over, 1, __ATOMIC_RELAXED);
  pthread_join(c.thread, NULL);
  veil_block_end(self);
  OK(veil_store_commit(store, NULL));
  store_shut();
}

static void late_after(void) {
  store_begin();
  EXPECT(veil_root_get(self, "view") == NULL);
  node ***rows = veil_root_get(self, "rows");
  for (size_t i = 0; i < ROWS; i++) {
    size_t none = 0, same = 0;
    for (size_t j = 0; j < ROW; j++) {
      none += rows[i][j] == NULL;
      same += (rows[i][j] == NULL) == (rows[ROWS - 1][j] == NULL);
      EXPECT(rows[i][j] == NULL || list_check(rows[i][j]) == 1);
    }
    EXPECT(none == (i == 0 ? 3 : 1) && (i < ROWS / 3 || same == ROW));
  }
  veil_verify(self);
  store_shut();
}

void trial_late(void) {
  for (int i = 0; i < LATE_PROCESSES; i++) {
    s->made = false;
    aparts(late);
    s->made = true;
    aparts(late_after);
    files_remove();
  }
}
