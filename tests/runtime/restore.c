// SPDX-License-Identifier: MIT
// restore.c: heaps out of pages and descriptions (veil_open_from): what there was is there again, here and elsewhere, and goes on living; what does not belong together is refused.
//
// Oracles: things.h, as a program sees it; and dumps, object by object, before and after.

#include <criterion/criterion.h>
#include <sys/wait.h>
#include "runtime/tools/heap.h"
#include "tests/runtime/image_memory.h"
#include "tests/runtime/things.h"
#include "tests/runtime/world.h"
#include "veil/dump.h"
#include "veil/start.h"

// ---- Dumps: a number for all that they have, but for where the view is, and what is young.

typedef struct sum {
  const heap_dump *d;
  uint64_t all, one, objects, slots;
} sum;

static uint64_t mix(uint64_t h, uint64_t n) {
  h = (h ^ n) * UINT64_C(0x9e3779b97f4a7c15);
  return h ^ h >> 29;
}

static void object_sum(void *arg, const heap_object *o) {
  sum *s = arg;
  s->all += s->one; // of the object before
  s->one = mix(mix(mix(7, o->address - s->d->info.base), o->length), o->flags & (HEAP_ARRAY | HEAP_HASHED));
  for (const char *c = s->d->types[o->type].name; *c != 0; c++) {
    s->one = mix(s->one, (uint64_t)*c);
  }
  s->one = mix(s->one, o->bytes);
  s->objects++;
}

static void slot_sum(void *arg, const heap_object *o, uint64_t offset, uint64_t to) {
  (void)o;
  sum *s = arg;
  s->one = mix(mix(s->one, offset), to - s->d->info.base);
  s->slots++;
}

static sum dump_sum(void) {
  char path[64];
  snprintf(path, sizeof path, "/tmp/veil-restore-%d", (int)getpid());
  EXPECT(veil_heap_dump(self, path, VEIL_DUMP_AS_IS) == VEIL_OK);
  heap_dump *d = calloc(1, sizeof *d);
  heap_load(d, path);
  unlink(path);
  EXPECT(d->dangling == 0);
  sum s = {.d = d};
  heap_objects_visit(d, object_sum, slot_sum, &s);
  s.all += s.one;
  uint64_t links = 0;
  for (uint32_t i = 0; i < d->link_count; i++) {
    links += d->links[i].kind == DUMP_LINK_WEAK ? mix(mix(3, d->links[i].owner - d->info.base), d->links[i].object) : 0;
  }
  for (uint32_t i = 0; i < d->entry_count; i++) {
    links += mix(mix(mix(mix(5, d->entries[i].kind), d->entries[i].table), d->entries[i].key), d->entries[i].value);
  }
  for (uint32_t i = 0; i < d->root_count; i++) {
    const heap_holder *h = &d->holders[d->roots[i].holder];
    if (h->kind == DUMP_BY_NAME) {
      uint64_t one = mix(11, d->roots[i].object);
      for (const char *c = heap_name_of(d, h->owner); *c != 0; c++) {
        one = mix(one, (uint64_t)*c);
      }
      links += one;
    }
  }
  s.all = mix(s.all, links);
  heap_free(d);
  free(d);
  return s;
}

static void sums_compare(sum a, sum b) {
  EXPECT(a.objects == b.objects);
  EXPECT(a.slots == b.slots);
  EXPECT(a.all == b.all);
}

// ---- A heap with everything in it, its image, and a heap of that.

static veil_options with(const char *back_end, veil_generations generations) {
  return (veil_options){.back_end = back_end, .limit = 256 * MIB, .headroom = 4 * MIB, .verify = 2, .generations = generations, .nursery = generations == VEIL_GENERATIONS_ON ? 1 << 20 : 0};
}

// False where the back end does not work. `before`: of the heap at the instant.
static bool source_make(veil_options options, int cycles, image **out, sum *before) {
  if (!start(options)) {
    return false;
  }
  things_make(self);
  for (int i = 0; i < cycles; i++) {
    veil_collect(self);
    list_make(self, 1000);
  }
  stack_clear();
  *out = image_take(heap);
  *before = dump_sum();
  return true;
}

static void source_close(void) {
  stack_clear();
  end();
}

static void restored_begin(image *i, veil_source source, veil_options options) {
  heap = image_open_from(i, source, &options, things_types, THINGS_TYPES);
  EXPECT(heap != NULL || (fprintf(stderr, "%s\n", veil_error()), false));
  self = veil_attach(heap);
}

// It goes on as any heap.
static __attribute__((noinline)) void restored_lives(bool elsewhere, const image *i) {
  EXPECT(((uint64_t)veil_heap_pages(heap).base != i->base) == elsewhere);
  things_check(self, false);
  veil_verify(self);
  for (int round = 0; round < 2; round++) {
    stack_clear();
    veil_collect(self);
    things_check(self, true);
    veil_verify(self);
    thing_name(self, "new", 0, list_make(self, 5000));
    veil_collect_minor(self);
    things_check(self, true);
    EXPECT(list_check(thing_get(self, "new", 0)) == 5000);
  }
}

static void *fill(const image *i) { // what the view cannot be put over
  void *map = mmap((void *)i->base, i->page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  EXPECT(map == (void *)i->base);
  return map;
}

static bool restore_once(veil_options before, veil_options after, int cycles, bool elsewhere) {
  image *i;
  sum was;
  if (!source_make(before, cycles, &i, &was)) {
    return false;
  }
  source_close();
  void *filled = elsewhere ? fill(i) : NULL;
  restored_begin(i, image_source(i), after);
  sums_compare(was, dump_sum());
  restored_lives(elsewhere, i);
  image_wait(i);
  end();
  EXPECT(i->dones == 1);
  if (filled != NULL) {
    munmap(filled, i->page_size);
  }
  image_free(i);
  return true;
}

#define RESTORES(...)                                                                                                                                           \
  if (!restore_once(__VA_ARGS__)) {                                                                                                                             \
    cr_skip_test("the back end does not work here");                                                                                                            \
  }

ON_ALL_BACK_ENDS(restore, what_there_was_is_there_again) {
  RESTORES(with(back_end, VEIL_GENERATIONS_OFF), with(back_end, VEIL_GENERATIONS_OFF), 0, false);
}
ON_ALL_BACK_ENDS(restore, what_there_was_is_there_again_elsewhere) {
  RESTORES(with(back_end, VEIL_GENERATIONS_OFF), with(back_end, VEIL_GENERATIONS_OFF), 0, true);
}
ON_ALL_BACK_ENDS(restore, what_survived_cycles_is_there_again) {
  RESTORES(with(back_end, VEIL_GENERATIONS_AUTO), with(back_end, VEIL_GENERATIONS_AUTO), 3, false);
}
ON_ALL_BACK_ENDS(restore, what_survived_cycles_is_there_again_elsewhere) {
  RESTORES(with(back_end, VEIL_GENERATIONS_AUTO), with(back_end, VEIL_GENERATIONS_AUTO), 4, true);
}
ON_ALL_BACK_ENDS(restore, what_was_young_is_there_again) {
  RESTORES(with(back_end, VEIL_GENERATIONS_ON), with(back_end, VEIL_GENERATIONS_ON), 0, false);
}
ON_ALL_BACK_ENDS(restore, what_was_young_is_there_again_elsewhere) {
  RESTORES(with(back_end, VEIL_GENERATIONS_ON), with(back_end, VEIL_GENERATIONS_ON), 2, true);
}
ON_TRAPPING_BACK_ENDS(restore, generations_may_be_switched_on_and_off) {
  RESTORES(with(back_end, VEIL_GENERATIONS_ON), with(back_end, VEIL_GENERATIONS_OFF), 1, false);
  RESTORES(with(back_end, VEIL_GENERATIONS_OFF), with(back_end, VEIL_GENERATIONS_ON), 1, true);
  RESTORES(with(back_end, VEIL_GENERATIONS_AUTO), with(back_end, VEIL_GENERATIONS_ON), 1, true);
}
Test(restore, heaps_may_go_from_one_back_end_to_another, .timeout = 120) {
  RESTORES(with("uffd", VEIL_GENERATIONS_ON), with("mprotect", VEIL_GENERATIONS_ON), 1, false);
  RESTORES(with("mprotect", VEIL_GENERATIONS_ON), with("none", VEIL_GENERATIONS_OFF), 1, true);
  RESTORES(with("none", VEIL_GENERATIONS_OFF), with("uffd", VEIL_GENERATIONS_AUTO), 1, false);
}
ON_TRAPPING_BACK_ENDS(restore, pages_may_be_of_any_size) {
  veil_options options = with(back_end, VEIL_GENERATIONS_AUTO);
  options.granule = 16 << 10;
  RESTORES(options, with(back_end, VEIL_GENERATIONS_AUTO), 1, true);
  options.granule = 64 << 10;
  RESTORES(options, with(back_end, VEIL_GENERATIONS_AUTO), 1, true);
}

// Here, elsewhere, and back again, each time after some life of its own.
ON_ALL_BACK_ENDS(restore, a_heap_that_was_restored_is_restored_again) {
  image *i, *next;
  sum was;
  if (!source_make(with(back_end, VEIL_GENERATIONS_AUTO), 1, &i, &was)) {
    cr_skip_test("the back end does not work here");
  }
  source_close();
  for (int round = 0; round < 5; round++) {
    void *filled = round % 2 != 0 ? fill(i) : NULL;
    restored_begin(i, image_source(i), with(back_end, VEIL_GENERATIONS_AUTO));
    sums_compare(was, dump_sum());
    restored_lives(filled != NULL, i);
    stack_clear();
    next = image_take(heap);
    was = dump_sum();
    source_close();
    if (filled != NULL) {
      munmap(filled, i->page_size);
    }
    image_free(i);
    i = next;
  }
  image_free(i);
}

// ---- While it is being read.

#define SLOWLY_OR_SKIP(ELSEWHERE)                                                                                                                                \
  image *i;                                                                                                                                                      \
  sum was;                                                                                                                                                       \
  if (!source_make(with(back_end, VEIL_GENERATIONS_AUTO), 1, &i, &was)) {                                                                                        \
    cr_skip_test("the back end does not work here");                                                                                                             \
  }                                                                                                                                                              \
  source_close();                                                                                                                                                \
  i->background_us = 4000;                                                                                                                                      \
  void *filled = (ELSEWHERE) ? fill(i) : NULL;                                                                                                                   \
  restored_begin(i, image_source(i), with(back_end, VEIL_GENERATIONS_AUTO));                                                                                     \
  cr_assert_eq(i->dones, 0)

#define SLOWLY_ENDS()                                                                                                                                            \
  i->background_us = 0;                                                                                                                                          \
  end();                                                                                                                                                         \
  cr_assert_eq(i->dones, 1);                                                                                                                                     \
  if (filled != NULL) {                                                                                                                                          \
    munmap(filled, i->page_size);                                                                                                                                \
  }                                                                                                                                                              \
  image_free(i)

ON_TRAPPING_BACK_ENDS(restore, a_heap_is_open_before_its_pages_are_read) {
  SLOWLY_OR_SKIP(false);
  unsigned reads = i->reads;
  cr_assert_lt(reads, 5);
  cr_assert_eq(list_check(thing_get(self, "list", 0)), THINGS_LIST);
  cr_assert_gt(i->reads, reads);
  cr_assert_eq(i->dones, 0); // large arrays are away
  i->background_us = 0;
  image_wait(i);
  SLOWLY_ENDS();
}

ON_TRAPPING_BACK_ENDS(restore, a_heap_may_be_closed_before_its_pages_are_read) {
  SLOWLY_OR_SKIP(true);
  cr_assert_eq(list_check(thing_get(self, "list", 0)), THINGS_LIST);
  SLOWLY_ENDS();
}

ON_TRAPPING_BACK_ENDS(restore, cycles_go_on_while_pages_are_away) {
  SLOWLY_OR_SKIP(true);
  for (int round = 0; round < 3; round++) {
    stack_clear();
    veil_collect(self);
    veil_verify(self);
  }
  things_check(self, true);
  SLOWLY_ENDS();
}

ON_TRAPPING_BACK_ENDS(restore, garbage_is_hardly_read) {
  SLOWLY_OR_SKIP(false);
  for (size_t n = 0; n < THINGS_LENGTHS; n++) {
    const char *const leaves[] = {"text", "bytes", "aligned"};
    for (size_t k = 0; k < sizeof leaves / sizeof *leaves; k++) {
      char text[64];
      snprintf(text, sizeof text, "%s %zu", leaves[k], things_lengths[n]);
      EXPECT(veil_root_set(self, text, NULL) == VEIL_OK);
    }
  }
  unsigned reads = i->reads;
  stack_clear();
  veil_collect(self);
  cr_assert_lt(i->reads, reads + 1500);
  cr_assert_eq(list_check(thing_get(self, "list", 0)), THINGS_LIST);
  SLOWLY_ENDS();
}

ON_TRAPPING_BACK_ENDS(restore, an_instant_while_pages_are_away_has_them) {
  SLOWLY_OR_SKIP(true);
  i->background_us = 1000;
  image *next = image_take(heap); // whoever wants to save a page has it read
  SLOWLY_ENDS();
  restored_begin(next, image_source(next), with(back_end, VEIL_GENERATIONS_AUTO));
  sums_compare(was, dump_sum());
  things_check(self, false);
  end();
  image_free(next);
}

static veil_heap *shared;
static void *toucher(void *unused) {
  (void)unused;
  veil_thread *me = veil_attach(shared);
  things_check(me, false);
  list_make(me, 20000);
  things_check(me, false);
  veil_detach(me);
  return NULL;
}

ON_TRAPPING_BACK_ENDS(restore, threads_touch_what_is_away_at_the_same_time) {
  for (int elsewhere = 0; elsewhere < 2; elsewhere++) {
    SLOWLY_OR_SKIP(elsewhere != 0);
    shared = heap;
    pthread_t threads[4];
    for (int t = 0; t < 4; t++) {
      threads[t] = thread_start(toucher, NULL);
    }
    veil_collect(self);
    things_check(self, false);
    veil_block_begin(self);
    for (int t = 0; t < 4; t++) {
      pthread_join(threads[t], NULL);
    }
    veil_block_end(self);
    SLOWLY_ENDS();
  }
}

#ifndef __SANITIZE_ADDRESS__ // as fork.c
ON_TRAPPING_BACK_ENDS(restore, a_child_of_fork_reads_the_rest_by_itself) {
  SLOWLY_OR_SKIP(true);
  cr_assert_eq(list_check(thing_get(self, "list", 0)), THINGS_LIST);
  pid_t child = fork();
  if (child == 0) {
    i->background_us = 0;
    things_check(self, false);
    veil_collect(self);
    veil_verify(self);
    things_check(self, false);
    image_wait(i);
    end();
    EXPECT(i->dones == 1);
    _exit(0);
  }
  int status;
  EXPECT(waitpid(child, &status, 0) == child);
  cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
  things_check(self, false);
  SLOWLY_ENDS();
}
#endif

static void lost_page(void *unused) {
  (void)unused;
  image *i;
  sum was;
  EXPECT(source_make(with(NULL, VEIL_GENERATIONS_AUTO), 1, &i, &was));
  source_close();
  i->background_us = 1000000;
  restored_begin(i, image_source(i), with(NULL, VEIL_GENERATIONS_AUTO));
  i->fails = true;
  things_check(self, false);
}
Test(restore, a_page_that_cannot_be_read_aborts_with_its_number, .timeout = 120) {
  death d = death_of(lost_page, NULL);
  cr_assert(death_says(&d, "of the heap cannot be read"));
}

// ---- While others run: an image is of one instant, in the middle of whatever they do.

static _Atomic bool changers_end;
static void *changer(void *arg) {
  veil_thread *me = veil_attach(shared);
  char name[32];
  snprintf(name, sizeof name, "changing %d", (int)(intptr_t)arg);
  for (long round = 0; !changers_end; round++) {
    long length = 10 + round * 37 % 3000;
    node *list = list_make(me, length);
    node *head = thing_node(me, length);
    head->left = list;
    void **array = veil_new_pointers(me, (size_t)(round * 101 % 6000) + 1);
    array[0] = head;
    head->right = (node *)array;
    EXPECT(veil_root_set(me, name, head) == VEIL_OK);
    veil_weak_new(me, head);
    veil_new_bytes(me, (size_t)(round * 977 % 70000));
    veil_hash(me, list);
  }
  veil_detach(me);
  return NULL;
}

static void changed_check(veil_heap *of, const image *i) {
  veil_thread *me = veil_attach(of);
  veil_verify(me);
  for (int t = 0; t < 3; t++) {
    char name[32];
    snprintf(name, sizeof name, "changing %d", t);
    node *head = veil_root_get(me, name);
    EXPECT(head == NULL || (list_check(head->left) == head->key && ((void **)head->right)[0] == head));
  }
  things_check(me, false);
  veil_collect(me);
  veil_verify(me);
  things_check(me, true);
  veil_detach(me);
  veil_close(of);
  EXPECT(i->dones == 1);
}

static void changing(const char *back_end, veil_generations generations, unsigned torture) {
  veil_options options = with(back_end, generations);
  if (!start(options)) {
    cr_skip_test("the back end does not work here");
  }
  things_make(self);
  shared = heap;
  changers_end = false;
  pthread_t threads[3];
  for (intptr_t t = 0; t < 3; t++) {
    threads[t] = thread_start(changer, (void *)t);
  }
  for (int round = 0; round < 2; round++) {
    veil_block_begin(self);
    image *i = image_take(heap);
    veil_block_end(self);
    options.torture = torture;
    changed_check(image_open(i, options, things_types, THINGS_TYPES), i);
    image_free(i);
  }
  changers_end = true;
  veil_block_begin(self);
  for (int t = 0; t < 3; t++) {
    pthread_join(threads[t], NULL);
  }
  veil_block_end(self);
  end();
}

ON_ALL_BACK_ENDS(restore, images_are_whole_whatever_threads_do) { changing(back_end, VEIL_GENERATIONS_AUTO, 30); }
ON_TRAPPING_BACK_ENDS(restore, images_are_whole_whatever_is_young) { changing(back_end, VEIL_GENERATIONS_ON, 0); }

// ---- What is not restored.

static void finalizer(veil_thread *t, void *object, void *data) {
  (void)t, (void)object, (void)data;
}

Test(restore, finalizers_are_dropped_only_if_that_is_allowed, .timeout = 120) {
  start(with(NULL, VEIL_GENERATIONS_AUTO));
  node *n = thing_node(self, 3);
  thing_name(self, "n", 0, n);
  veil_finalizer made = veil_finalize(self, n, finalizer, NULL);
  EXPECT(made != 0 && veil_handle_new(self, n) != NULL && veil_pin(self, n) == VEIL_OK);
  image *i = image_take(heap);
  end();
  veil_source source = image_source(i);
  cr_assert_null(image_open_from(i, source, NULL, NULL, 0));
  cr_assert(strstr(veil_error(), "the image: the heap had 1 finalizers") != NULL, "%s", veil_error());
  cr_assert_eq(i->dones, 1);
  source.drop_finalizers = true;
  heap = image_open_from(i, source, NULL, NULL, 0);
  cr_assert_not_null(heap);
  self = veil_attach(heap);
  cr_assert_eq(((node *)thing_get(self, "n", 0))->key, 3);
  veil_finalizer again = veil_finalize(self, thing_get(self, "n", 0), finalizer, NULL);
  cr_assert(again != 0 && again != made);
  cr_assert_not(veil_finalizer_cancel(self, made), "a number from before does not name a new one");
  end();
  image_free(i);
}

Test(restore, addresses_are_said_to_have_changed_if_they_have, .timeout = 120) {
  image *i;
  sum was;
  EXPECT(source_make(with(NULL, VEIL_GENERATIONS_AUTO), 2, &i, &was));
  uint64_t moves = veil_moves(heap);
  source_close();
  restored_begin(i, image_source(i), with(NULL, VEIL_GENERATIONS_AUTO));
  cr_assert_eq(veil_moves(heap), moves);
  end();
  void *filled = fill(i);
  restored_begin(i, image_source(i), with(NULL, VEIL_GENERATIONS_AUTO));
  cr_assert_neq(veil_moves(heap), moves);
  end();
  munmap(filled, i->page_size);
  image_free(i);
}

// ---- Types.

typedef struct other_node {
  struct other_node *left;
  long key;
  struct other_node *right;
  long more;
} other_node;
static veil_type moved_slot = {"node", sizeof(other_node), (const size_t[]){0, 16}, 2, NULL, NULL, NULL, 0, 0, 0};
static veil_type more_bytes = {"node", 40, (const size_t[]){0, 8}, 2, NULL, NULL, NULL, 0, 0, 0};
static veil_type more_slots = {"node", 32, (const size_t[]){0, 8, 24}, 3, NULL, NULL, NULL, 0, 0, 0};
static veil_type other_tags = {"node", 32, (const size_t[]){0, 8}, 2, NULL, &things_boxing, NULL, 0, 0, 0};
static veil_type nobodys = {"nobody's", 64, (const size_t[]){0}, 1, NULL, NULL, NULL, 0, 0, 0};

static void type_refused(image *i, veil_type *type, const char *why) {
  veil_type *types[THINGS_TYPES + 1] = {type};
  memcpy(types + 1, things_types + 1, (THINGS_TYPES - 1) * sizeof *types);
  unsigned dones = i->dones;
  cr_assert_null(image_open_from(i, image_source(i), NULL, types, THINGS_TYPES));
  cr_assert(strstr(veil_error(), why) != NULL, "%s", veil_error());
  cr_assert_eq(i->dones, dones + 1);
}

Test(restore, types_of_one_name_have_to_be_like_each_other, .timeout = 120) {
  image *i;
  sum was;
  EXPECT(source_make(with(NULL, VEIL_GENERATIONS_AUTO), 0, &i, &was));
  source_close();
  type_refused(i, &moved_slot, "the image: type node has slot 1 at byte 8 there, and at 16 here");
  type_refused(i, &more_bytes, "the image: type node has 32 bytes there, and 40 here");
  type_refused(i, &more_slots, "the image: type node has 2 slots there, and 3 here");
  type_refused(i, &other_tags, "the image: type node has slots that decode otherwise here");
  veil_type *types[] = {&nobodys}; // others are no concern
  heap = image_open_from(i, image_source(i), NULL, types, 1);
  cr_assert_not_null(heap, "%s", veil_error());
  self = veil_attach(heap);
  things_check(self, false);
  end();
  image_free(i);
}

// ---- Sources that are damaged.

static bool opens(image *i, const char **why) {
  veil_heap *opened = image_open_from(i, image_source(i), &(veil_options){.limit = 256 * MIB}, things_types, THINGS_TYPES);
  *why = opened == NULL ? veil_error() : "";
  if (opened != NULL) {
    veil_close(opened);
  }
  return opened != NULL;
}

static void refused(image *i, const char *text) {
  const char *why;
  cr_assert_not(opens(i, &why), "not refused: %s", text);
  cr_assert(strstr(why, text) != NULL, "%s", why);
}

Test(restore, what_is_missing_is_said, .timeout = 120) {
  image *i;
  sum was;
  EXPECT(source_make(with(NULL, VEIL_GENERATIONS_AUTO), 1, &i, &was));
  source_close();
  const char *why;
  for (size_t s = 0; s < i->section_count; s++) {
    char name[32], text[128];
    strcpy(name, i->sections[s].name);
    strcpy(i->sections[s].name, "none");
    snprintf(text, sizeof text, "the image: the section %s is damaged: it is missing", name);
    refused(i, text);
    strcpy(i->sections[s].name, name);
    i->sections[s].size--;
    snprintf(text, sizeof text, "the section %s is damaged: ", name);
    refused(i, text);
    i->sections[s].size++;
  }
  cr_assert(opens(i, &why), "%s", why);
  size_t page = 0;
  while (!i->there[page]) {
    page++;
  }
  i->there[page] = 0;
  refused(i, "is in use, and not among its pages");
  i->there[page] = 1;
  uint64_t address = i->roots[3].address;
  i->roots[3].address += 4;
  refused(i, "leads to no object");
  i->roots[3].address = i->base + i->span;
  refused(i, "leads to no object");
  i->roots[3].address = address;
  char root[256];
  strcpy(root, i->roots[3].name);
  strcpy(i->roots[3].name, i->roots[4].name);
  refused(i, "or it is there twice");
  strcpy(i->roots[3].name, root);
  i->types[1].described.number = i->types[0].described.number;
  refused(i, "is impossible, or is there twice");
  i->types[1].described.number = 1 << 16;
  refused(i, "is impossible, or is there twice");
  image_free(i);
}

Test(restore, the_limit_has_to_hold_what_there_is, .timeout = 120) {
  image *i;
  sum was;
  EXPECT(source_make(with(NULL, VEIL_GENERATIONS_AUTO), 1, &i, &was));
  source_close();
  cr_assert_null(image_open_from(i, image_source(i), &(veil_options){.limit = 8 * MIB}, things_types, THINGS_TYPES));
  cr_assert(strstr(veil_error(), "MiB, and the limit is 8 MiB") != NULL, "%s", veil_error());
  image_free(i);
}

static uint64_t random_state;
static uint64_t random_next(uint64_t below) {
  random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (random_state >> 33) % below;
}

// A heap may come out of it, if what is changed does not matter or cannot be known; or an error does.
static void damage_one(image *i) {
  image_section *s = &i->sections[random_next(i->section_count)];
  uint8_t *copy = malloc(s->size + 16), *bytes = s->bytes;
  size_t size = s->size;
  memcpy(copy, bytes, size);
  memset(copy + size, (int)random_next(256), 16);
  switch (random_next(4)) {
  case 0: // bits
    for (uint64_t n = 1 + random_next(3); n > 0; n--) {
      copy[random_next(size)] ^= (uint8_t)(1u << random_next(8));
    }
    break;
  case 1: // bytes
    for (uint64_t n = 1 + random_next(8); n > 0; n--) {
      copy[random_next(size)] = (uint8_t)random_next(256);
    }
    break;
  case 2: // cut off, or longer
    s->size = random_next(size + 16);
    break;
  default: // anything
    for (size_t b = 0; b < size; b++) {
      copy[b] = (uint8_t)random_next(random_next(3) == 0 ? 256 : 4);
    }
    break;
  }
  s->bytes = copy;
  const char *why;
  bool opened = opens(i, &why);
  EXPECT(opened || why[0] != 0);
  s->bytes = bytes;
  s->size = size;
  free(copy);
}

static void type_damage(image *i) {
  veil_type_described *d = &i->types[random_next(i->type_count)].described, was = *d;
  uint64_t any = random_next(3) == 0 ? random_next(UINT32_MAX) << random_next(33) : random_next(64);
  switch (random_next(6)) {
  case 0:
    d->number = (uint32_t)any;
    break;
  case 1:
    d->flags = random_next(2) ? (uint32_t)any : d->flags ^ 1u << random_next(11);
    break;
  case 2:
    d->size = any;
    break;
  case 3:
    d->encoding = any;
    break;
  case 4:
    d->fixed = any;
    break;
  default:
    d->slot_count = random_next(IMAGE_OFFSETS);
    d->fixed_slot_count = random_next(IMAGE_OFFSETS);
    break;
  }
  const char *why;
  EXPECT(opens(i, &why) || why[0] != 0);
  *d = was;
}

Test(restore, damaged_types_give_errors, .timeout = 300) {
  image *i;
  sum was;
  EXPECT(source_make(with(NULL, VEIL_GENERATIONS_AUTO), 1, &i, &was));
  source_close();
  const char *seed = getenv("RESTORE_SEED");
  random_state = seed != NULL ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
  fprintf(stderr, "RESTORE_SEED=%llu\n", (unsigned long long)random_state);
  i->background_us = 100000; // contents would not be what the types say
  for (int n = 0; n < 200; n++) {
    type_damage(i);
  }
  image_free(i);
}

Test(restore, damaged_sections_give_errors, .timeout = 300) {
  image *i;
  sum was;
  EXPECT(source_make(with(NULL, VEIL_GENERATIONS_AUTO), 1, &i, &was));
  source_close();
  const char *seed = getenv("RESTORE_SEED");
  random_state = seed != NULL ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
  fprintf(stderr, "RESTORE_SEED=%llu\n", (unsigned long long)random_state);
  i->background_us = 100000; // contents are not what this is about
  for (int n = 0; n < 1000; n++) {
    damage_one(i);
  }
  image_free(i);
}
