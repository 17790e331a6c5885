// SPDX-License-Identifier: MIT
// graphs.c: what veil-heap works out of random graphs, against the definitions, by brute force.
//
//   TOOLS_SEED=n repeats the graphs of a run.

#include <criterion/criterion.h>
#include <time.h>
#include "runtime/tools/heap.h"
#include "tests/tools/file.h"

enum { MOST = 60, SLOTS = 4, ENTRIES = 40 };

static uint64_t seed;
static uint64_t random_next(uint64_t below) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed % below;
}

static void seed_set(void) {
  const char *given = getenv("TOOLS_SEED");
  seed = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2654435761u | 1;
  printf("TOOLS_SEED=%llu\n", (unsigned long long)seed);
}

// Objects of four slots each, in 48 bytes, with gaps between some; each may be an array of two elements of two slots,
// or a flexible array of two slots, and two elements of one. And entries of weak tables, any object being one.
typedef enum shape { PLAIN = 2, PAIRS, FLEXIBLE } shape; // types
typedef struct graph {
  int objects, roots, holders;
  uint64_t place[MOST]; // plain address
  shape shape[MOST];
  int slot[MOST][SLOTS];        // -1: none
  int root[MOST], holder[MOST]; // by root, ascending
  int kind[MOST];               // by holder
  int entries, entry_kind[ENTRIES], table[ENTRIES], key[ENTRIES], value[ENTRIES];
  bool active[ENTRIES]; // its table is reached, and what it needs
} graph;

static void entries_settle(graph *g);

static void graph_make(graph *g) {
  g->objects = 1 + (int)random_next(MOST);
  uint64_t at = FILE_BASE + 16 * random_next(100);
  uint64_t density = 1 + random_next(12);
  for (int i = 0; i < g->objects; i++) {
    at += random_next(3) == 0 ? 16 * random_next(9000) : 0;
    g->place[i] = at;
    at += 48;
    g->shape[i] = random_next(4) != 0 ? PLAIN : random_next(2) ? PAIRS : FLEXIBLE;
    for (int s = 0; s < SLOTS; s++) {
      g->slot[i][s] = random_next(12) < density ? (int)random_next((uint64_t)g->objects) : -1;
    }
  }
  g->roots = (int)random_next(6);
  g->holders = g->roots == 0 ? 0 : 1 + (int)random_next((uint64_t)g->roots);
  for (int h = 0; h < g->holders; h++) {
    g->kind[h] = 1 + (int)random_next(DUMP_BY_COUNT - 1);
  }
  for (int r = 0; r < g->roots; r++) {
    g->root[r] = (int)random_next((uint64_t)g->objects);
    g->holder[r] = r * g->holders / g->roots;
  }
  g->entries = random_next(3) == 0 ? 0 : (int)random_next(ENTRIES + 1);
  uint64_t tables = 1 + random_next((uint64_t)g->objects); // a few, or as many as there are objects
  for (int e = 0; e < g->entries; e++) {
    g->entry_kind[e] = 1 + (int)random_next(DUMP_ENTRY_BOTH);
    g->table[e] = (int)random_next(tables);
    g->key[e] = (int)random_next((uint64_t)g->objects);
    g->value[e] = (int)random_next((uint64_t)g->objects);
  }
  entries_settle(g);
}

static uint64_t address_of(const graph *g, int i) { return g->place[i] + (g->shape[i] != PLAIN ? 8 : 0); }
// Where the k-th slot is.
static uint64_t offset_of(const graph *g, int i, int k) {
  return 8 * (uint64_t)(g->shape[i] == FLEXIBLE && k < 2 ? 1 - k : k);
}

static void object_write(stream *s, const graph *g, int i, uint64_t *expected) {
  bool apart = g->place[i] != *expected;
  put(s, (uint64_t)g->shape[i] << DUMP_TYPE_SHIFT | (apart ? DUMP_APART : 0) | (g->shape[i] != PLAIN ? DUMP_ARRAY : 0));
  if (apart) {
    put_signed(s, (int64_t)(g->place[i] - *expected) / 8);
  }
  if (g->shape[i] != PLAIN) {
    put(s, 2);
  }
  *expected = g->place[i] + 48;
  int none = 0;
  for (int k = 0; k < SLOTS; k++) {
    if (g->slot[i][k] < 0) {
      none++;
      continue;
    }
    if (none == 1) {
      put(s, DUMP_NONE);
    } else if (none > 1) {
      put(s, DUMP_RUN);
      put(s, (uint64_t)none - 2);
    }
    none = 0;
    put(s, DUMP_REFERENCE + dump_zigzag((int64_t)(address_of(g, g->slot[i][k]) - address_of(g, i)) / 8));
  }
  if (none != 0) {
    put(s, DUMP_REST);
  }
}

static void numbers_put(stream *s, const uint64_t *numbers, size_t count) {
  for (size_t i = 0; i < count; i++) {
    put(s, numbers[i]);
  }
}

static void types_write(dump_file *f) {
  stream s = {0};
  // An object of 40 bytes, four slots, the last word not one; an array's element of 16, both slots; two slots in 16
  // bytes, the second one first, before elements of 8.
  static const uint64_t plain[] = {PLAIN, 40, DUMP_MAP, 4, 0, 1, 2, 3, 0, 0, 0},
                        pair[] = {PAIRS, 16, DUMP_DENSE, 2, 0, 1, 0, 0, 0};
  static const uint64_t flexible[] = {FLEXIBLE, 8, DUMP_FLEXIBLE, 1, 0, 16, 2, 1, 0, 0};
  numbers_put(&s, plain, sizeof plain / sizeof *plain);
  put_text(&s, "plain");
  numbers_put(&s, pair, sizeof pair / sizeof *pair);
  put_text(&s, "pair");
  numbers_put(&s, flexible, sizeof flexible / sizeof *flexible);
  put_text(&s, "flexible");
  file_section(f, DUMP_TYPES, &s, 7);
}

static void entries_write(const graph *g, dump_file *f) {
  stream s = {0};
  uint64_t table = 0, key = 0;
  for (int e = 0; e < g->entries; e++) {
    put(&s, (uint64_t)g->entry_kind[e]);
    put_signed(&s, (int64_t)(address_of(g, g->table[e]) - table) / 8);
    put_signed(&s, (int64_t)(address_of(g, g->key[e]) - key) / 8);
    table = address_of(g, g->table[e]);
    key = address_of(g, g->key[e]);
    put_signed(&s, (int64_t)(address_of(g, g->value[e]) - key) / 8);
  }
  file_section(f, DUMP_ENTRIES, &s, 1 + random_next(40));
}

static void graph_write(const graph *g, dump_file *f) {
  stream s = {0};
  file_begin(f);
  file_info(f);
  types_write(f);
  file_section(f, DUMP_THREADS, &s, 10);
  // In two streams, as if two threads had listed every other run of objects.
  for (int half = 0; half < 2; half++) {
    uint64_t expected = 0;
    for (int i = 0; i < g->objects; i++) {
      if (i / 5 % 2 == half) {
        object_write(&s, g, i, &expected);
      }
    }
    file_section(f, DUMP_OBJECTS, &s, 1 + random_next(40));
  }
  for (int h = 0; h < g->holders; h++) {
    put(&s, (uint64_t)g->kind[h]);
    put(&s, 1000 + (uint64_t)h);
  }
  file_section(f, DUMP_HOLDERS, &s, 100);
  uint64_t object = 0;
  for (int r = 0; r < g->roots; r++) {
    put(&s, (uint64_t)g->holder[r]);
    put_signed(&s, 8);
    put_signed(&s, (int64_t)(address_of(g, g->root[r]) - object) / 8);
    put_signed(&s, 0);
    object = address_of(g, g->root[r]);
  }
  file_section(f, DUMP_ROOTS, &s, 100);
  file_section(f, DUMP_LINKS, &s, 100);
  entries_write(g, f);
  file_section(f, DUMP_NAMES, &s, 100);
  const uint64_t end[] = {(uint64_t)g->objects, 0, 48 * (uint64_t)g->objects, 0, 0, (uint64_t)g->entries};
  numbers_put(&s, end, 6);
  file_section(f, DUMP_END, &s, 100);
  fclose(f->to);
}

// ---- The definitions.

static int needs_of(const graph *g, int e) {
  return g->entry_kind[e] == DUMP_ENTRY_KEYS ? g->key[e] : g->entry_kind[e] == DUMP_ENTRY_VALUES ? g->value[e] : -1;
}
static int holds_of(const graph *g, int e) { return g->entry_kind[e] == DUMP_ENTRY_KEYS ? g->value[e] : g->key[e]; }

// What is reached without passing `without` (-1: nothing is left out), and without roots of the holder or the kind
// (-1). Distances from a root, -1: not reached.
static int reach(const graph *g, int without, int no_holder, int no_kind, int distance[MOST]) {
  int queue[MOST], head = 0, tail = 0;
  memset(distance, -1, MOST * sizeof *distance);
  for (int r = 0; r < g->roots; r++) {
    int o = g->root[r];
    if (o != without && g->holder[r] != no_holder && g->kind[g->holder[r]] != no_kind && distance[o] < 0) {
      distance[o] = 0;
      queue[tail++] = o;
    }
  }
  while (head < tail) {
    int o = queue[head++];
    for (int s = 0; s < SLOTS; s++) {
      int to = g->slot[o][s];
      if (to >= 0 && to != without && distance[to] < 0) {
        distance[to] = distance[o] + 1;
        queue[tail++] = to;
      }
    }
    for (int e = 0; e < g->entries; e++) {
      int to = holds_of(g, e);
      if (g->active[e] && needs_of(g, e) == o && to != without && distance[to] < 0) {
        distance[to] = distance[o] + 1;
        queue[tail++] = to;
      }
    }
  }
  return tail;
}

// Again and again, until nothing is found.
static void entries_settle(graph *g) {
  int distance[MOST];
  memset(g->active, 0, sizeof g->active);
  for (bool found = true; found;) {
    found = false;
    reach(g, -1, -1, -1, distance);
    for (int e = 0; e < g->entries; e++) {
      bool active = needs_of(g, e) >= 0 && distance[needs_of(g, e)] >= 0 && distance[g->table[e]] >= 0;
      found = found || active != g->active[e];
      g->active[e] = active;
    }
  }
}

typedef struct slots_seen {
  const graph *g;
  const heap_dump *d;
  int object, next, count;
} slots_seen;
static void object_seen(void *arg, const heap_object *o) {
  slots_seen *s = arg;
  s->object = (int)heap_find(s->d, o->address);
  s->next = 0;
}
static void slot_seen(void *arg, const heap_object *o, uint64_t offset, uint64_t to) {
  slots_seen *s = arg;
  while (s->g->slot[s->object][s->next] < 0) {
    s->next++;
  }
  cr_assert_eq(offset, offset_of(s->g, s->object, s->next));
  cr_assert_eq(to, address_of(s->g, s->g->slot[s->object][s->next]));
  s->next++;
  s->count++;
}
static void slots_check(const graph *g, const heap_dump *d) {
  slots_seen s = {g, d, 0, 0, 0};
  int count = 0;
  heap_objects_visit(d, object_seen, slot_seen, &s);
  for (int i = 0; i < g->objects; i++) {
    for (int k = 0; k < SLOTS; k++) {
      count += g->slot[i][k] >= 0;
    }
  }
  cr_assert_eq(s.count, count);
}

static void graph_check(const graph *g) {
  dump_file f;
  graph_write(g, &f);
  heap_dump *d = calloc(1, sizeof *d);
  heap_load(d, f.path);
  cr_assert_eq(d->objects, (uint32_t)g->objects);
  int distance[MOST], other[MOST];
  int all = reach(g, -1, -1, -1, distance);
  heap_reach(d);
  cr_assert_eq(d->reached, (uint32_t)all, "%u, not %d", d->reached, all);
  slots_check(g, d);
  cr_assert_eq(d->reached_bytes, 48 * (uint64_t)all);
  heap_dominate(d);
  uint32_t *before = calloc(d->nodes, sizeof *before);
  heap_paths(d, before, NULL);
  for (int i = 0; i < g->objects; i++) {
    // By address, and so by number.
    cr_assert_eq(heap_find(d, address_of(g, i)), (uint32_t)i);
    cr_assert_eq(heap_address(d, (uint32_t)i), address_of(g, i));
    cr_assert_eq(heap_find(d, address_of(g, i) ^ 8), HEAP_NONE);
    cr_assert_eq(heap_find_in(d, address_of(g, i) + 31), (uint32_t)i);
    cr_assert_eq(heap_length(d, (uint32_t)i), g->shape[i] != PLAIN ? 2 : 1);
    // Retained: what is not reached any more without it.
    int without = reach(g, i, -1, -1, other);
    cr_assert_eq(d->retained_count[i], distance[i] < 0 ? 0u : (uint32_t)(all - without), "object %d", i);
    cr_assert_eq(d->retained[i], 48 * (uint64_t)d->retained_count[i]);
    // The way is as short as any: kind, holder, then objects.
    int steps = -3;
    for (uint32_t n = (uint32_t)i; n != HEAP_NONE; n = before[n]) {
      steps++;
    }
    cr_assert_eq(steps, distance[i] < 0 ? -2 : distance[i] + 1, "object %d: %d steps, distance %d", i, steps,
                 distance[i]);
  }
  for (int e = 0; e < g->entries; e++) {
    const heap_entry *found =
        needs_of(g, e) >= 0 ? heap_entry_between(d, (uint32_t)needs_of(g, e), (uint32_t)holds_of(g, e)) : NULL;
    cr_assert(!g->active[e] || found != NULL);
    cr_assert(found == NULL || distance[found->table] >= 0);
  }
  for (int h = 0; h < g->holders; h++) {
    cr_assert_eq(d->retained_count[heap_holder_node(d, (uint32_t)h)], (uint32_t)(all - reach(g, -1, h, -1, other)),
                 "holder %d", h);
  }
  for (int kind = 1; kind < DUMP_BY_COUNT; kind++) {
    cr_assert_eq(d->retained_count[heap_kind_node(d, (uint32_t)kind)], (uint32_t)(all - reach(g, -1, -1, kind, other)),
                 "kind %d", kind);
  }
  cr_assert_eq(d->retained_count[heap_root_node(d)], (uint32_t)all);
  free(before);
  heap_free(d);
  free(d);
  unlink(f.path);
}

Test(graphs, what_objects_holders_and_kinds_retain_is_what_goes_with_them, .timeout = 300) {
  seed_set();
  static graph g;
  for (int i = 0; i < 3000; i++) {
    graph_make(&g);
    graph_check(&g);
  }
}

// Nothing recurses, and nothing takes the square of the length: a list, each node of which the one before the last
// refers to as well.
Test(graphs, long_lists_take_no_stack_and_little_time, .timeout = 120) {
  enum { LENGTH = 1000000 };
  dump_file f;
  stream s = {0};
  file_begin(&f);
  file_info(&f);
  const uint64_t type[] = {2, 24, DUMP_MAP, 2, 0, 1, 0, 0, 0};
  numbers_put(&s, type, 9);
  put_text(&s, "link");
  file_section(&f, DUMP_TYPES, &s, 100);
  file_section(&f, DUMP_THREADS, &s, 100);
  for (int i = 0; i < LENGTH; i++) {
    put(&s, 2u << DUMP_TYPE_SHIFT | (i == 0 ? DUMP_APART : 0));
    if (i == 0) {
      put_signed(&s, (int64_t)FILE_BASE / 8);
    }
    if (i + 1 < LENGTH) {
      put(&s, DUMP_REFERENCE + dump_zigzag(4));                                            // the next
      put(&s, i + 2 < LENGTH && i % 2 == 0 ? DUMP_REFERENCE + dump_zigzag(8) : DUMP_REST); // and the one behind that
    } else {
      put(&s, DUMP_REST);
    }
  }
  file_section(&f, DUMP_OBJECTS, &s, DUMP_PAYLOAD_MAX);
  put(&s, DUMP_BY_PIN);
  put(&s, 0);
  file_section(&f, DUMP_HOLDERS, &s, 100);
  put(&s, 0);
  put(&s, 0);
  put_signed(&s, (int64_t)FILE_BASE / 8);
  put(&s, 0);
  file_section(&f, DUMP_ROOTS, &s, 100);
  file_section(&f, DUMP_LINKS, &s, 100);
  file_section(&f, DUMP_ENTRIES, &s, 100);
  file_section(&f, DUMP_NAMES, &s, 100);
  put(&s, LENGTH);
  put(&s, 0);
  put(&s, (uint64_t)LENGTH * 32);
  file_section(&f, DUMP_END, &s, 100);
  fclose(f.to);
  heap_dump *d = calloc(1, sizeof *d);
  heap_load(d, f.path);
  heap_reach(d);
  heap_dominate(d);
  cr_assert_eq(d->retained_count[0], LENGTH);
  cr_assert_eq(d->retained_count[1], 1); // the one before it refers to the next one but one, too
  cr_assert_eq(d->retained_count[2], LENGTH - 2);
  char said[20000];
  cr_assert_eq(ASK(said, "--quiet", "--why", "link", f.path), 0, "%s", said);
  char last[32];
  snprintf(last, sizeof last, "0x%llx", (unsigned long long)FILE_BASE + (uint64_t)(LENGTH - 1) * 32);
  cr_assert_eq(ASK(said, "--quiet", "--why", last, f.path), 0, "%s", said);
  cr_assert_not_null(strstr(said, "499977 steps"), "%s", said);
  heap_free(d);
  free(d);
  unlink(f.path);
}

// A chain of a million ephemerons, each key the value of the one before, which stand in the file from the last to the
// first.
Test(graphs, long_chains_of_ephemerons_take_little_time, .timeout = 120) {
  enum { LENGTH = 1000000 };
  dump_file f;
  stream s = {0};
  file_begin(&f);
  file_info(&f);
  const uint64_t type[] = {2, 24, DUMP_LEAF, 0, 0, 0, 0};
  numbers_put(&s, type, 7);
  put_text(&s, "link");
  file_section(&f, DUMP_TYPES, &s, 100);
  file_section(&f, DUMP_THREADS, &s, 100);
  for (int i = 0; i < LENGTH; i++) {
    put(&s, 2u << DUMP_TYPE_SHIFT | (i == 0 ? DUMP_APART : 0));
    if (i == 0) {
      put_signed(&s, (int64_t)FILE_BASE / 8);
    }
  }
  file_section(&f, DUMP_OBJECTS, &s, DUMP_PAYLOAD_MAX);
  put(&s, DUMP_BY_PIN);
  put(&s, 0);
  file_section(&f, DUMP_HOLDERS, &s, 100);
  put(&s, 0);
  put(&s, 0);
  put_signed(&s, (int64_t)FILE_BASE / 8);
  put(&s, 0);
  file_section(&f, DUMP_ROOTS, &s, 100);
  file_section(&f, DUMP_LINKS, &s, 100);
  for (int i = LENGTH - 2; i >= 0; i--) { // the first object is the table as well
    put(&s, DUMP_ENTRY_KEYS);
    put_signed(&s, i == LENGTH - 2 ? (int64_t)FILE_BASE / 8 : 0);
    put_signed(&s, i == LENGTH - 2 ? (int64_t)FILE_BASE / 8 + 4 * i : -4);
    put_signed(&s, 4);
  }
  file_section(&f, DUMP_ENTRIES, &s, DUMP_PAYLOAD_MAX);
  file_section(&f, DUMP_NAMES, &s, 100);
  put(&s, LENGTH);
  put(&s, 0);
  put(&s, (uint64_t)LENGTH * 32);
  file_section(&f, DUMP_END, &s, 100);
  fclose(f.to);
  heap_dump *d = calloc(1, sizeof *d);
  heap_load(d, f.path);
  heap_reach(d);
  heap_dominate(d);
  cr_assert_eq(d->reached, LENGTH);
  cr_assert_eq(d->retained_count[1], LENGTH - 1);
  heap_free(d);
  free(d);
  unlink(f.path);
}
