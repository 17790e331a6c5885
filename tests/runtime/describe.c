// SPDX-License-Identifier: MIT
// describe.c: descriptions that are taken again and again. After each step of a random program, what has changed, laid over what was put before, is what a new description of the same instant puts.
//
//   runtime_describe BACK_END off|on|auto|crowd [SEED [STEPS]]     prints its seed
//   runtime_describe BACK_END cost                                 what one of a heap of 1 GiB takes
//
// `crowd` is with another thread that does the same meanwhile. A plain program, for TSan too.

#include <sys/resource.h>
#include "tests/runtime/test.h"
#include "veil/critical.h"
#include "veil/hooks.h"
#include "veil/roots.h"
#include "veil/table.h"
#include "veil/weak.h"

enum { SLOTS = 400, WEAKS = 120, TABLES = 12, HANDLES = 60, NAMES = 30, SECTIONS = 512, PAGES = 1 << 19 };
#ifdef VEIL_TEST_LONG
enum { STEPS = 1000 };
#elif defined VEIL_TSAN
enum { STEPS = 25 };
#else
enum { STEPS = 80 };
#endif

static veil_heap *heap;
static uint64_t seed;

static uint64_t random_next(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state >> 11;
}

// ---- A program.

typedef struct actor {
  veil_thread *self;
  uint64_t random;
  int number;
  // Roots.
  node *slot[SLOTS];
  veil_weak *weak[WEAKS];
  veil_table *table[TABLES];
  veil_handle *handle[HANDLES];
  veil_finalizer finalizer;
} actor;

static size_t below(actor *a, size_t n) { return (size_t)(random_next(&a->random) % n); }

static node *node_make(actor *a) {
  node *n = veil_new(a->self, node);
  n->left = a->slot[below(a, SLOTS)];
  n->key = 1; // so that it can be told from an array
  return n;
}

// All but nodes hold nothing, and are held by a node.
static void *any_make(actor *a) {
  size_t kind = below(a, 12), few = 1 + below(a, 40), some = 1 + below(a, 3000), many = below(a, 8) == 0 ? 1 + below(a, 60000) : some;
  switch (kind) {
  case 0: return veil_new_pointers(a->self, few);
  case 1: return veil_new_pointers(a->self, some);
  case 2: return veil_new_pointers(a->self, many);
  case 3: return veil_new_bytes(a->self, few);
  case 4: return veil_new_bytes(a->self, some * 8);
  case 5: return veil_new_bytes(a->self, many * 8);
  case 6: return veil_new_bytes_raw(a->self, some * 8);
  case 7: return veil_new_bytes_raw(a->self, many * 8);
  case 8: return veil_new_bytes_aligned(a->self, some * 8, (size_t)64 << below(a, 7));
  case 9: return veil_new_bytes_aligned(a->self, many * 4, (size_t)64 << below(a, 7));
  default: return veil_new(a->self, node);
  }
}

static void slot_fill(actor *a) {
  node *n = node_make(a);
  a->slot[below(a, SLOTS)] = n;
  void *any = any_make(a);
  n->right = any;
}

static void weak_act(actor *a) {
  size_t i = below(a, WEAKS);
  node *to = a->slot[below(a, SLOTS)];
  if (a->weak[i] == NULL || below(a, 4) == 0) {
    a->weak[i] = to != NULL ? veil_weak_new(a->self, to) : NULL;
  } else if (below(a, 2) == 0) {
    veil_weak_set(a->self, a->weak[i], to);
  } else {
    (void)veil_weak_get(a->self, a->weak[i]);
  }
}

static void table_act(actor *a) {
  size_t i = below(a, TABLES);
  node *key = a->slot[i * 4 + below(a, 4)], *value = a->slot[below(a, SLOTS)]; // few keys, so that many are there already
  if (a->table[i] == NULL || below(a, 30) == 0) {
    a->table[i] = below(a, 3) == 0 ? NULL : veil_table_new(a->self, (veil_table_kind)(VEIL_WEAK_KEYS + below(a, 3)));
  } else if (key != NULL && value != NULL && below(a, 3) != 0) {
    EXPECT(veil_table_put(a->self, a->table[i], key, value) == VEIL_OK);
  } else if (key != NULL) {
    veil_table_remove(a->self, a->table[i], key);
  }
}

// A table with more entries than a minor cycle buries, of more than one section: when it dies, some tell of it that nobody has touched.
static __attribute__((noinline)) void many_make(actor *a) {
  enum { ENTRIES = 26000 };
  node **keys = (node **)veil_new_pointers(a->self, ENTRIES);
  for (size_t i = 0; i < ENTRIES; i++) {
    keys[i] = veil_new(a->self, node);
  }
  node *holder = veil_new(a->self, node);
  holder->left = (node *)keys;
  a->slot[0] = holder;
  veil_collect(a->self); // or minor cycles look at each entry
  keys = (node **)holder->left;
  a->table[0] = veil_table_new(a->self, VEIL_WEAK_KEYS);
  for (size_t i = 0; i < ENTRIES; i++) {
    EXPECT(veil_table_put(a->self, a->table[0], keys[i], keys[0]) == VEIL_OK);
  }
}

static void handle_act(actor *a) {
  size_t i = below(a, HANDLES);
  node *to = a->slot[below(a, SLOTS)];
  if (a->handle[i] == NULL && to != NULL) {
    a->handle[i] = veil_handle_new(a->self, to);
  } else if (a->handle[i] != NULL && below(a, 2) == 0) {
    veil_handle_drop(a->self, a->handle[i]);
    a->handle[i] = NULL;
  } else if (a->handle[i] != NULL) {
    veil_handle_set(a->self, a->handle[i], to);
  }
}

static void finalizer_run(veil_thread *self, void *object, void *data) {}

static void finalizer_act(actor *a) {
  node *to = a->slot[below(a, SLOTS)];
  if (below(a, 3) == 0) {
    veil_finalizers_run(a->self, 1 + below(a, 10));
  } else if (below(a, 3) == 0 && a->finalizer != 0) {
    veil_finalizer_cancel(a->self, a->finalizer);
    a->finalizer = 0;
  } else if (to != NULL) {
    a->finalizer = veil_finalize(a->self, to, finalizer_run, NULL);
  }
}

static void name_act(actor *a) {
  char name[32];
  snprintf(name, sizeof name, "name %d %zu", a->number, below(a, NAMES));
  EXPECT(veil_root_set(a->self, name, below(a, 3) == 0 ? NULL : a->slot[below(a, SLOTS)]) == VEIL_OK);
}

// Memory that is set aside, and hardly used.
static void critical_act(actor *a) {
  if (veil_critical_begin(a->self, below(a, 4) == 0 ? 100000 + below(a, 300000) : 100 + below(a, 20000)) == VEIL_OK) {
    if (below(a, 2) == 0) {
      a->slot[below(a, SLOTS)] = veil_new(a->self, node);
    }
    veil_critical_end(a->self);
  }
}

static void cycle_act(actor *a) {
  switch (below(a, 40)) {
  case 0: veil_collect(a->self); break;
  case 1:
  case 2: veil_collect_start(a->self); break;
  case 3:
  case 4:
  case 5: veil_collect_minor(a->self); break;
  case 6:
    for (size_t i = 0; i < SLOTS; i++) { // most of it dies
      a->slot[i] = below(a, 8) == 0 ? a->slot[i] : NULL;
    }
    break;
  case 7:
    for (size_t i = 0; i < 3000; i++) {
      (void)any_make(a);
    }
    break;
  default: break;
  }
}

static void act(actor *a) {
  size_t slot = below(a, SLOTS);
  switch (below(a, 16)) {
  case 0: weak_act(a); break;
  case 1: table_act(a); break;
  case 2: handle_act(a); break;
  case 3: finalizer_act(a); break;
  case 4: name_act(a); break;
  case 5: a->slot[slot] = NULL; break;
  case 6: critical_act(a); break;
  case 7: cycle_act(a); break;
  case 8:
  case 9:
    if (a->slot[slot] != NULL) {
      a->slot[slot]->left = a->slot[below(a, SLOTS)];
    }
    break;
  default: slot_fill(a);
  }
}

static void actor_begin(actor *a, int number) {
  a->self = veil_attach(heap);
  a->number = number;
  a->random = (seed + (uint64_t)number) * 0x9e3779b97f4a7c15ull | 1;
  EXPECT(a->self != NULL && veil_add_thread_roots(a->self, a->slot, SLOTS) == VEIL_OK && veil_add_thread_roots(a->self, a->weak, WEAKS) == VEIL_OK &&
         veil_add_thread_roots(a->self, a->table, TABLES) == VEIL_OK);
}

static void actor_end(actor *a) {
  for (size_t i = 0; i < HANDLES; i++) {
    if (a->handle[i] != NULL) {
      veil_handle_drop(a->self, a->handle[i]);
    }
  }
  veil_remove_thread_roots(a->self, a->slot);
  veil_remove_thread_roots(a->self, a->weak);
  veil_remove_thread_roots(a->self, a->table);
  veil_detach(a->self);
}

static int volatile over;
static void *actor_main(void *arg) {
  static actor other;
  actor_begin(&other, 2);
  while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
    act(&other);
  }
  actor_end(&other);
  return NULL;
}

// ---- Sections by their names.

typedef struct section {
  char name[32];
  size_t size;
  void *bytes;
} section;
typedef struct sections {
  section at[SECTIONS];
  size_t count, puts;
  size_t fails_at; // this put and those that follow fail; 0: none does
} sections;

static section *section_of(sections *all, const char *name) {
  for (size_t i = 0; i < all->count; i++) {
    if (strcmp(all->at[i].name, name) == 0) {
      return &all->at[i];
    }
  }
  return NULL;
}

static veil_status section_put(void *arg, const char *name, const void *bytes, size_t size) {
  sections *all = arg;
  all->puts++;
  if (all->fails_at != 0 && all->puts >= all->fails_at) {
    return VEIL_IO;
  }
  section *s = section_of(all, name);
  if (s == NULL) {
    EXPECT(all->count < SECTIONS && bytes != NULL);
    s = &all->at[all->count++];
    strcpy(s->name, name);
  }
  free(s->bytes);
  if (bytes == NULL) {
    *s = all->at[--all->count];
    return VEIL_OK;
  }
  s->bytes = malloc(size);
  s->size = size;
  memcpy(s->bytes, bytes, size);
  return VEIL_OK;
}

static void sections_clear(sections *all) {
  for (size_t i = 0; i < all->count; i++) {
    free(all->at[i].bytes);
  }
  *all = (sections){.count = 0};
}

static void sections_compare(sections *all, sections *expected) {
  for (size_t i = 0; i < expected->count; i++) {
    const section *e = &expected->at[i], *s = section_of(all, e->name);
    if (s == NULL || s->size != e->size || memcmp(s->bytes, e->bytes, e->size) != 0) {
      fprintf(stderr, "section %s differs\n", e->name);
      abort();
    }
  }
  EXPECT(all->count == expected->count);
}

// ---- Descriptions that follow the program.

typedef struct follower {
  veil_description *description;
  bool taken;
  sections all;
  size_t pages[PAGES], count; // written since it was taken last
  char (*names)[64];          // roots, as they were last told
  uint64_t *addresses;
  size_t roots, types;
  size_t opened;
} follower;

static follower followers[2];
static struct instant {
  veil_description *fresh;
  size_t pages[PAGES], count;
  bool again[2];
  long faults;
} now;

static size_t copies_all(void *arg, size_t pages) { return SIZE_MAX; }
static void pages_now(void *arg, size_t page, size_t count) {
  for (size_t p = page; p < page + count; p++) {
    now.pages[now.count++] = p;
  }
}
static long faults(void) {
  struct rusage usage;
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_minflt + usage.ru_majflt;
}

static void pages_add(follower *f) {
  static size_t merged[PAGES]; // both are ascending
  size_t i = 0, j = 0, n = 0;
  while (i < f->count || j < now.count) {
    size_t a = i < f->count ? f->pages[i] : SIZE_MAX, b = j < now.count ? now.pages[j] : SIZE_MAX;
    merged[n++] = a < b ? a : b;
    i += a <= b;
    j += b <= a;
  }
  memcpy(f->pages, merged, n * sizeof *merged);
  f->count = n;
}

static void at_instant(void *arg) {
  for (int i = 0; i < 2; i++) {
    follower *f = &followers[i];
    pages_add(f);
    if (now.again[i] && f->taken) {
      veil_description_again(f->description, f->pages, f->count);
    } else if (now.again[i]) {
      veil_description_take(f->description);
      f->taken = true;
    }
    f->count = now.again[i] ? 0 : f->count;
  }
  veil_description_take(now.fresh);
}

static void follower_open(follower *f) {
  if (f->description != NULL) {
    veil_description_close(f->description);
  }
  f->description = veil_description_open(heap);
  EXPECT(f->description != NULL && veil_description_types_changed(f->description) && veil_description_roots_changed(f->description));
  f->taken = false;
  f->opened++;
  sections_clear(&f->all);
}

static void named_compare(follower *f) {
  const veil_root_described *roots, *expected;
  if (veil_description_roots_changed(f->description)) {
    f->roots = veil_description_roots(f->description, &roots);
    f->names = realloc(f->names, (f->roots + 1) * sizeof *f->names);
    f->addresses = realloc(f->addresses, (f->roots + 1) * sizeof *f->addresses);
    for (size_t i = 0; i < f->roots; i++) {
      snprintf(f->names[i], sizeof *f->names, "%s", roots[i].name);
      f->addresses[i] = roots[i].address;
    }
    EXPECT(!veil_description_roots_changed(f->description));
  }
  EXPECT(veil_description_roots(now.fresh, &expected) == f->roots);
  for (size_t i = 0; i < f->roots; i++) {
    EXPECT(strcmp(expected[i].name, f->names[i]) == 0 && expected[i].address == f->addresses[i]);
  }
  const veil_type_described *types;
  if (veil_description_types_changed(f->description)) {
    f->types = veil_description_types(f->description, &types);
  }
  size_t count = veil_description_types(now.fresh, &types);
  EXPECT(count == f->types || veil_description_types_changed(f->description)); // or the other thread has made an object of a kind that is new
}

static void follower_compare(follower *f, actor *a, sections *expected) {
  veil_status status = VEIL_IO;
  f->all.puts = 0;
  f->all.fails_at = below(a, 20) == 0 ? 1 + below(a, 4) : 0;
  for (int i = 0; i < 2 && status == VEIL_IO; i++) { // what was not put is put the next time
    status = (below(a, 40) == 0 ? veil_description_sections : veil_description_changes)(f->description, section_put, &f->all);
    f->all.fails_at = 0;
  }
  if (status == VEIL_NO_MEMORY) {
    EXPECT(veil_description_sections(f->description, section_put, &f->all) == VEIL_NO_MEMORY);
    follower_open(f);
    return;
  }
  EXPECT(status == VEIL_OK);
  sections_compare(&f->all, expected);
  named_compare(f);
  size_t puts = f->all.puts;
  EXPECT(veil_description_changes(f->description, section_put, &f->all) == VEIL_OK && f->all.puts == puts);
  for (size_t page = 0, count = below(a, 32) == 0 ? veil_heap_pages(heap).count : 0; page < count; page++) {
    EXPECT(veil_description_has(f->description, page) == veil_description_has(now.fresh, page));
  }
}

static void instant_compare(veil_service *service, actor *a) {
  static sections expected;
  const veil_instant_calls calls = {.now = pages_now, .at = at_instant, .copies = copies_all};
  now.fresh = veil_description_open(heap);
  now.count = 0;
  for (int i = 0; i < 2; i++) {
    now.again[i] = i == 0 || below(a, 3) == 0;
  }
  veil_instant_figures figures;
  EXPECT(now.fresh != NULL && veil_service_instant(service, VEIL_INSTANT_DIRTY | VEIL_INSTANT_WATCH, &calls, NULL, &figures) == VEIL_OK && figures.claimed == 0);
  EXPECT(veil_description_sections(now.fresh, section_put, &expected) == VEIL_OK);
  for (int i = 0; i < 2; i++) {
    if (now.again[i]) {
      follower_compare(&followers[i], a, &expected);
    }
  }
  sections_clear(&expected);
  veil_description_close(now.fresh);
}

static void program_run(size_t steps, bool crowd) {
  static actor a;
  actor_begin(&a, 1);
  veil_service *service = veil_service_open(heap, "describe", &(veil_service_callbacks){.unsaved = NULL}, NULL);
  pthread_t other = pthread_self();
  if (crowd) {
    other = thread_start(actor_main, NULL);
  }
  follower_open(&followers[0]);
  follower_open(&followers[1]);
  for (size_t step = 0; step < steps; step++) {
    size_t acts = below(&a, 4) == 0 ? 1 + below(&a, 100) : below(&a, 4);
    if (step % 50 > 44) { // nothing is left that they would change
      acts = 0;
      veil_collect_minor(a.self);
    }
    for (; acts > 0; acts--) {
      act(&a);
    }
    if (step % 500 == 300) {
      many_make(&a);
      stack_clear();
    } else if (step % 500 == 301) {
      a.table[0] = NULL;
      veil_collect_minor(a.self);
    }
    if (step % 100 == 0) {
      veil_service_keep_in_place(service, step / 100 % 2);
    }
    instant_compare(service, &a);
  }
  __atomic_store_n(&over, 1, __ATOMIC_RELAXED);
  if (crowd) {
    veil_block_begin(a.self);
    pthread_join(other, NULL);
    veil_block_end(a.self);
  }
  veil_service_close(service);
  for (int i = 0; i < 2; i++) {
    veil_description_close(followers[i].description);
    sections_clear(&followers[i].all);
    free(followers[i].names);
    free(followers[i].addresses);
  }
  actor_end(&a);
  printf("%zu steps, descriptions were opened %zu and %zu times\n", steps, followers[0].opened, followers[1].opened);
}

// ---- What it costs.

static veil_description *measured;
static uint64_t again_ns;

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void at_measured(void *arg) {
  long before = faults();
  uint64_t began = now_ns();
  if (arg != NULL) {
    veil_description_take(measured);
  } else {
    veil_description_again(measured, now.pages, now.count);
  }
  again_ns = now_ns() - began;
  now.faults += faults() - before;
}

static veil_status measured_put(void *arg, const char *name, const void *bytes, size_t size) {
  *(size_t *)arg += 1;
  return VEIL_OK;
}

static int compare_ns(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

typedef enum measured_case { WRITES, ALLOCATES, MINOR, CYCLE } measured_case;

static void measure_case(veil_thread *self, veil_service *service, node **nodes, size_t count, size_t pages, measured_case what) {
  enum { ROUNDS = 101 };
  static const char *const says[] = {"written", "written and 4 KiB born", "written, a minor cycle", "written, a cycle"};
  const veil_instant_calls calls = {.now = pages_now, .at = at_measured, .copies = copies_all};
  uint64_t again[ROUNDS], changes[ROUNDS], pause[ROUNDS];
  size_t puts = 0, dirty = 0, rounds = what == CYCLE ? 5 : ROUNDS;
  now.faults = 0;
  for (size_t round = 0; round < rounds; round++) {
    for (size_t i = 0; i < pages; i++) {
      nodes[(round * 7919 + i * (count / pages)) % count]->more++;
    }
    for (size_t i = 0; i < 64 && what == ALLOCATES; i++) {
      (void)veil_new_bytes(self, 48);
    }
    if (what == MINOR) {
      veil_collect_minor(self);
    } else if (what == CYCLE) {
      veil_collect(self);
    }
    now.count = 0;
    veil_instant_figures figures;
    EXPECT(veil_service_instant(service, VEIL_INSTANT_DIRTY | VEIL_INSTANT_WATCH, &calls, NULL, &figures) == VEIL_OK);
    pause[round] = figures.pause_ns;
    again[round] = again_ns;
    dirty += now.count;
    uint64_t began = now_ns();
    EXPECT(veil_description_changes(measured, measured_put, &puts) == VEIL_OK);
    changes[round] = now_ns() - began;
  }
  qsort(again, rounds, sizeof *again, compare_ns);
  qsort(changes, rounds, sizeof *changes, compare_ns);
  qsort(pause, rounds, sizeof *pause, compare_ns);
  printf("%3zu pages %-24s %6zu dirty: again %7.2f us (most %7.2f), changes %7.2f us (most %7.2f), %4.1f sections, pause %7.1f us, %ld faults\n", pages, says[what], dirty / rounds, (double)again[rounds / 2] / 1e3,
         (double)again[rounds - 1] / 1e3, (double)changes[rounds / 2] / 1e3, (double)changes[rounds - 1] / 1e3, (double)puts / (double)rounds, (double)pause[rounds / 2] / 1e3, now.faults);
}

static void measure(void) {
  enum { NODES = 15 << 20, STEP = 64 }; // of 80 bytes with their header, but for a few
  veil_thread *self = veil_attach(heap);
  veil_service *service = veil_service_open(heap, "describe", &(veil_service_callbacks){.unsaved = NULL}, NULL);
  static node *list;
  node **nodes = calloc(NODES / STEP, sizeof *nodes);
  EXPECT(nodes != NULL && veil_add_roots(heap, &list, 1) == VEIL_OK && veil_add_roots(heap, nodes, NODES / STEP) == VEIL_OK);
  for (size_t i = 0; i < NODES; i++) {
    node *n = veil_new(self, node);
    n->right = list;
    list = n;
  }
  veil_collect(self);
  veil_collect(self);
  size_t i = 0, count = 0;
  for (node *n = list; n != NULL; n = n->right, i++) {
    if (i % STEP == 0) {
      nodes[count++] = n;
    }
  }
  printf("%.2f GiB held\n", (double)stats_of(heap).held_bytes / (1 << 30));
  measured = veil_description_open(heap);
  const veil_instant_calls calls = {.now = pages_now, .at = at_measured, .copies = copies_all};
  size_t puts = 0;
  EXPECT(veil_service_instant(service, VEIL_INSTANT_DIRTY | VEIL_INSTANT_WATCH, &calls, heap, NULL) == VEIL_OK);
  uint64_t began = now_ns();
  EXPECT(veil_description_sections(measured, measured_put, &puts) == VEIL_OK);
  printf("take %.1f us, %ld faults, sections %.1f us\n", (double)again_ns / 1e3, now.faults, (double)(now_ns() - began) / 1e3);
  for (measured_case what = WRITES; what <= CYCLE; what++) {
    measure_case(self, service, nodes, count, 1, what);
    measure_case(self, service, nodes, count, 100, what);
  }
  veil_description_close(measured);
  veil_service_close(service);
  veil_remove_roots(heap, nodes);
  veil_remove_roots(heap, &list);
  free(nodes);
  veil_detach(self);
}

int main(int argc, char **argv) {
  const char *how = argc > 2 ? argv[2] : "auto";
  bool costs = strcmp(how, "cost") == 0;
  seed = argc > 3 ? strtoull(argv[3], NULL, 0) : (uint64_t)time(NULL) * 2654435761u % 1000000;
  size_t steps = argc > 4 ? strtoull(argv[4], NULL, 0) : STEPS;
  printf("seed %llu\n", (unsigned long long)seed);
  fflush(stdout);
  veil_generations generations = strcmp(how, "off") == 0 ? VEIL_GENERATIONS_OFF : strcmp(how, "on") == 0 || costs ? VEIL_GENERATIONS_ON : VEIL_GENERATIONS_AUTO;
  heap = heap_open((veil_options){.back_end = argc > 1 ? argv[1] : NULL, .generations = generations, .limit = costs ? (size_t)3 << 30 : 128 * MIB, .nursery = costs ? 0 : MIB});
  if (heap == NULL) {
    return 77;
  }
  if (costs) {
    measure();
  } else {
    program_run(steps, strcmp(how, "crowd") == 0);
  }
  veil_close(heap);
  return 0;
}
