// SPDX-License-Identifier: MIT
// compressor.c: a heap whose cold pages are compressed: what is touched is what it was, whoever touches it, and whatever goes on beside.

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/runtime/world.h"
#include "veil/calls.h"
#include "veil/checkpoint.h"
#include "veil/compress.h"
#include "veil/hooks.h"

enum { NODES = 20000, TEXTS = 400, TEXT = 3000 };

typedef struct slot {
  node *to;
} slot;
VEIL_TYPE(slot, to);

static slot *all; // a large object, which stays where it is
static char *text[TEXTS];
static veil_compressor *c;

static void objects_make(void) {
  all = veil_new_array(self, slot, NODES);
  EXPECT(veil_add_roots(heap, &all, 1) == VEIL_OK && veil_add_roots(heap, text, TEXTS) == VEIL_OK);
  for (int i = 0; i < NODES; i++) {
    node *n = veil_new(self, node);
    n->key = i;
    n->left = i == 0 ? NULL : all[i / 2].to;
    all[i].to = n;
  }
  for (int i = 0; i < TEXTS; i++) {
    text[i] = veil_new_bytes(self, TEXT);
    for (int k = 0; k < TEXT; k++) {
      text[i][k] = "the quick brown fox "[(k * (i % 7 + 1)) % 20];
    }
  }
}

static void objects_check(void) {
  for (int i = 0; i < NODES; i++) {
    EXPECT(all[i].to->key == i && (i == 0 || all[i].to->left == all[i / 2].to));
  }
  for (int i = 0; i < TEXTS; i++) {
    for (int k = 0; k < TEXT; k++) {
      EXPECT(text[i][k] == "the quick brown fox "[(k * (i % 7 + 1)) % 20]);
    }
  }
}

static veil_compress_stats stats(void) {
  veil_compress_stats s;
  veil_compress_get_stats(c, &s);
  return s;
}

static veil_stats stats_of_heap(void) {
  veil_stats s;
  veil_get_stats(heap, &s);
  return s;
}

// Objects that have been through two cycles, and a compressor that does nothing by itself.
static bool begin(const char *name, veil_options options, const veil_compressor_options *with) {
  static const veil_compressor_options idle = {.interval_ms = 100000, .least_ms = 100000};
  options.back_end = name;
  options.limit = 64 * MIB;
  if (!start(options)) {
    return false;
  }
  objects_make();
  c = veil_compressor_open(heap, with != NULL ? with : &idle);
  cr_assert_not_null(c, "%s", veil_error());
  veil_collect(self);
  veil_collect(self);
  return true;
}

static void finish(void) {
  veil_compressor_close(c);
  objects_check();
  veil_remove_roots(heap, &all);
  veil_remove_roots(heap, text);
  end();
}

#define BEGIN_OR_SKIP(WITH, ...)                           \
  if (!begin(back_end, (veil_options){__VA_ARGS__}, WITH)) { \
    cr_skip_test("the back end does not work here");       \
  }

static size_t page_size(void) { return veil_heap_pages(heap).page_size; }

// A program that has made all it needs, and allocates nothing from then on: its pages become parkable by a cycle, for which the compressor asks.
ON_TRAPPING_BACK_ENDS(compressor, a_heap_that_nobody_collects) {
  if (!start((veil_options){.back_end = back_end, .limit = 256 * MIB, .headroom = 64 * MIB, .idle = 3600000})) {
    cr_skip_test("the back end does not work here");
  }
  objects_make();
  EXPECT(stats_of_heap().major_cycles == 0);
  c = veil_compressor_open(heap, &(veil_compressor_options){.interval_ms = 20, .least_ms = 60, .age_ms = 60});
  cr_assert_not_null(c, "%s", veil_error());
  for (int i = 0; i < 1000 && stats().original < 200 * page_size(); i++) {
    veil_block_begin(self);
    usleep(20000);
    veil_block_end(self);
  }
  EXPECT(stats().original >= 200 * page_size());
  uint64_t cycles = stats_of_heap().major_cycles;
  EXPECT(cycles >= 1 && cycles <= 3); // and not again and again
  finish();
}

// ---- Touches.

ON_TRAPPING_BACK_ENDS(compressor, everything_now_and_back) {
  BEGIN_OR_SKIP(NULL);
  size_t pages = veil_compress_now(c, 0);
  veil_compress_stats s = stats();
  cr_assert_gt(pages, 200);
  EXPECT(s.compressed == pages && s.original == pages * page_size() && s.packed < s.original / 3 && s.held >= s.packed);
  objects_check();
  s = stats();
  EXPECT(s.promotion_p50_ns > 0 && s.promotion_max_ns >= s.promotion_p50_ns && s.discarded == 0);
  EXPECT(s.original < pages * page_size() / 4); // nothing but what is no object of ours
  finish();
}

ON_TRAPPING_BACK_ENDS(compressor, many_threads_one_page) {
  BEGIN_OR_SKIP(NULL);
  for (int round = 0; round < REPEATS(20, 500); round++) {
    veil_compress_now(c, 0);
    uint64_t out = stats().original;
    EXPECT(out > 0);
    objects_check();
  }
  finish();
}

typedef struct toucher {
  pthread_t thread;
  unsigned number;
} toucher;
static uint32_t volatile storm_ends;

static void *storm(void *arg) {
  toucher *t = arg;
  veil_thread *me = veil_attach(heap);
  unsigned seed = t->number;
  while (!__atomic_load_n(&storm_ends, __ATOMIC_ACQUIRE)) {
    int i = (int)(rand_r(&seed) % NODES);
    node *n = all[i].to;
    EXPECT(__atomic_load_n(&n->key, __ATOMIC_RELAXED) == i && (i == 0 || n->left == all[i / 2].to));
    if (i % 16 == (int)t->number) {
      n->more++; // nobody else does
    }
    veil_poll(me);
  }
  veil_detach(me);
  return NULL;
}

// Writes race with packers, keepers and drops; what is written stays written.
ON_TRAPPING_BACK_ENDS(compressor, eight_threads_touch_what_is_being_compressed) {
  BEGIN_OR_SKIP(NULL);
  toucher threads[8];
  for (unsigned i = 0; i < 8; i++) {
    threads[i].number = i;
    EXPECT(pthread_create(&threads[i].thread, NULL, storm, &threads[i]) == 0);
  }
  long sum = 0;
  for (int round = 0; round < REPEATS(15, 500); round++) {
    veil_compress_now(c, 0);
    if (round % 5 == 4) {
      veil_collect(self);
    }
  }
  __atomic_store_n(&storm_ends, 1, __ATOMIC_RELEASE);
  for (unsigned i = 0; i < 8; i++) {
    veil_block_begin(self);
    pthread_join(threads[i].thread, NULL);
    veil_block_end(self);
  }
  for (int i = 0; i < NODES; i++) {
    EXPECT(all[i].to->more == 0 || i % 16 < 8);
    sum += all[i].to->more;
  }
  EXPECT(sum > 0);
  finish();
}

ON_TRAPPING_BACK_ENDS(compressor, all_threads_want_the_same_page) {
  BEGIN_OR_SKIP(NULL);
  veil_compress_now(c, 0);
  uint64_t before = stats().compressed;
  toucher threads[8];
  for (unsigned i = 0; i < 8; i++) {
    threads[i].number = 100; // the same seed: all go the same way
    EXPECT(pthread_create(&threads[i].thread, NULL, storm, &threads[i]) == 0);
  }
  veil_block_begin(self);
  sleep_ms(200);
  __atomic_store_n(&storm_ends, 1, __ATOMIC_RELEASE);
  for (unsigned i = 0; i < 8; i++) {
    pthread_join(threads[i].thread, NULL);
  }
  veil_block_end(self);
  EXPECT(stats().compressed == before); // and each page was unpacked once at the most, or its item had been dropped twice
  finish();
}

// ---- Cycles.

ON_TRAPPING_BACK_ENDS(compressor, a_full_cycle_calls_no_codec) {
  BEGIN_OR_SKIP(NULL);
  size_t pages = veil_compress_now(c, 0);
  veil_block_begin(self);
  sleep_ms(50);
  veil_block_end(self);
  uint64_t before = stats().unpacked_in_cycles, there = stats().original;
  veil_collect(self);
  EXPECT(pages > 200 && stats().unpacked_in_cycles - before <= 4); // the array's first page holds its header, and may be looked at
  EXPECT(stats().original >= there - 8 * page_size());
  finish();
}

ON_TRAPPING_BACK_ENDS(compressor, what_dies_compressed_is_discarded) {
  BEGIN_OR_SKIP(NULL);
  veil_compress_now(c, 0);
  uint64_t there = stats().original;
  memset(text, 0, sizeof text);
  for (int i = 0; i < 3; i++) {
    veil_collect(self);
  }
  veil_compress_stats s = stats();
  EXPECT(s.discarded > TEXTS * TEXT / page_size() / 2 && s.original < there && s.unpacked_in_cycles <= 8);
  for (int i = 0; i < NODES; i++) {
    EXPECT(all[i].to->key == i && (i == 0 || all[i].to->left == all[i / 2].to));
  }
  veil_compressor_close(c);
  veil_remove_roots(heap, &all);
  veil_remove_roots(heap, text);
  end();
}

ON_TRAPPING_BACK_ENDS(compressor, objects_come_and_go_beside) {
  BEGIN_OR_SKIP(&((veil_compressor_options){.interval_ms = 20, .least_ms = 20, .age_ms = 20, .threads = 2}), .generations = true, .nursery = 4 * MIB);
  long length = 0;
  for (int round = 0; round < REPEATS(60, 2000); round++) {
    node *list = list_make(self, 3000);
    length += list_check(list);
    int i = (int)(round * 7919u % NODES);
    EXPECT(all[i].to->key == i);
    all[i].to->right = list; // what is compressed is written, and refers to what is young
    if (i % 2 == 0) {
      all[i].to->right = NULL;
    }
  }
  EXPECT(length > 0);
  finish();
}

// ---- By itself.

ON_TRAPPING_BACK_ENDS(compressor, what_nobody_touches_is_compressed_by_and_by) {
  BEGIN_OR_SKIP(&((veil_compressor_options){.interval_ms = 20, .least_ms = 60, .age_ms = 60}));
  long hot = 0;
  for (int i = 0; i < 500 && stats().original < 200 * page_size(); i++) {
    sleep_ms(10);
    hot += all[NODES - 1].to->key;
  }
  veil_compress_stats s = stats();
  EXPECT(hot > 0 && s.original >= 200 * page_size() && s.reason == VEIL_COMPRESS_FIXED && s.threshold_s == 0.06 && s.in_use >= s.original);
  finish();
}

// Of 17 cycles or more one moves what may move, lest dead objects hold each other. What has not been touched for a while stays where it is, compressed or not, and is not mixed with the rest.
// Pages, once for each interval that has ended.
static uint64_t looked_at(void) {
  uint64_t ages[256] = {0}, sum = 0;
  veil_compress_ages(c, ages, NULL, 256);
  for (int i = 0; i < 256; i++) {
    sum += ages[i];
  }
  return sum;
}

ON_TRAPPING_BACK_ENDS(compressor, what_is_cold_does_not_move) {
  enum { COLD = NODES / 2, EDGE = 1500, CYCLES = 40 }; // EDGE: what shares 64 KiB with what is hot
  BEGIN_OR_SKIP(&((veil_compressor_options){.interval_ms = 20, .least_ms = 80}));
  veil_pages pages = veil_heap_pages(heap);
  EXPECT(veil_compress_hint_set(c, pages.base, pages.count * pages.page_size, VEIL_COMPRESS_NEVER) == VEIL_OK);
  static uintptr_t was[NODES];
  for (int i = 0; i < NODES; i++) {
    was[i] = ~(uintptr_t)all[i].to;
  }
  long hot = 0;
  for (int cycle = 0; cycle < CYCLES; cycle++) {
    uint64_t before = looked_at(), intervals = 5 * (stats().in_use / page_size()); // on a machine that keeps the keeper waiting, too
    for (int i = 0; i < 50 || looked_at() < before + intervals; i++) {
      sleep_ms(2);
      for (int k = COLD; k < NODES; k++) {
        hot += all[k].to->key;
      }
    }
    veil_collect(self);
  }
  EXPECT(hot > 0);
  int moved = 0;
  for (int i = 0; i < NODES; i++) {
    bool same = was[i] == ~(uintptr_t)all[i].to;
    EXPECT(same || i > COLD - EDGE);
    moved += !same;
  }
  EXPECT(moved > (NODES - COLD) / 2);
  finish();
}

ON_TRAPPING_BACK_ENDS(compressor, the_threshold_is_found) {
  BEGIN_OR_SKIP(&((veil_compressor_options){.interval_ms = 20, .least_ms = 40, .target = 1}));
  uint64_t pages[8] = {0}, touched[8];
  for (int i = 0; i < 500 && (pages[7] == 0 || stats().original < 100 * page_size()); i++) {
    sleep_ms(10);
    EXPECT(all[NODES - 1].to->key == NODES - 1);
    EXPECT(veil_compress_ages(c, pages, touched, 8) == 20);
  }
  veil_compress_stats s = stats();
  EXPECT(s.original >= 100 * page_size() && s.reason != VEIL_COMPRESS_WARMING && !isinf(s.threshold_s));
  EXPECT(pages[0] > 0 && pages[1] > 0 && pages[7] > 0);
  finish();
}

ON_TRAPPING_BACK_ENDS(compressor, what_was_said_to_be_hot_stays) {
  BEGIN_OR_SKIP(NULL);
  EXPECT(veil_compress_hint_set(c, text[7], TEXT, VEIL_COMPRESS_NEVER) == VEIL_OK);
  veil_compress_now(c, 0);
  uint64_t before = stats().original;
  EXPECT(text[7][0] == 't');
  EXPECT(stats().original == before);
  EXPECT(veil_compress_hint_set(c, text[8], TEXT, VEIL_COMPRESS_NEVER) == VEIL_OK); // it is there from now on
  uint64_t after = stats().original;
  EXPECT(text[8][0] == 't' && stats().original == after);
  char here;
  EXPECT(veil_compress_hint_set(c, &here, 1, VEIL_COMPRESS_COLD) == VEIL_INVALID && strstr(veil_error(), "are not the heap's") != NULL);
  EXPECT(veil_compress_hint_set(c, text[8], 1, (veil_compress_hint)7) == VEIL_INVALID);
  finish();
}

// ---- Somebody saves the heap.

typedef struct line {
  char *at;
} line;
VEIL_TYPE(line, at);

static char saved_path[64];

static void roots_name(void) {
  line *lines = veil_new_array(self, line, TEXTS);
  for (int i = 0; i < TEXTS; i++) {
    lines[i].at = text[i];
  }
  EXPECT(veil_root_set(self, "all", all) == VEIL_OK && veil_root_set(self, "lines", lines) == VEIL_OK);
  snprintf(saved_path, sizeof saved_path, "/tmp/compressor_tests.%d", (int)getpid());
}

// What is in the file: the same objects, whose `more` is this, and texts that begin with `first`, or as ever.
static void file_check(const char *file, long more, char first) {
  static veil_type *const types[] = {&veil_type_node, &veil_type_slot, &veil_type_line};
  veil_heap *there = veil_restore(file, NULL, &(veil_restore_options){.types = types, .type_count = 3});
  cr_assert_not_null(there, "%s", veil_error());
  veil_thread *me = veil_attach(there);
  const slot *nodes = veil_root_get(me, "all");
  const line *lines = veil_root_get(me, "lines");
  for (int i = 0; i < NODES; i++) {
    EXPECT(nodes[i].to->key == i && nodes[i].to->more == more && (i == 0 || nodes[i].to->left == nodes[i / 2].to));
  }
  for (int i = 0; i < TEXTS; i++) {
    for (int k = 0; k < TEXT; k++) {
      EXPECT(lines[i].at[k] == (k == 0 && first != 0 ? first : "the quick brown fox "[(k * (i % 7 + 1)) % 20]));
    }
  }
  nodes = NULL;
  lines = NULL;
  veil_detach(me);
  veil_close(there);
}

static void saved_check(long more, char first) { file_check(saved_path, more, first); }

static void nodes_write(long more) {
  for (int i = 0; i < NODES; i++) {
    all[i].to->more = more;
  }
}

static void firsts_write(char first) {
  for (int i = 0; i < TEXTS; i++) {
    text[i][0] = first != 0 ? first : 't';
  }
}

ON_TRAPPING_BACK_ENDS(compressor, what_is_compressed_is_saved_and_stays_compressed) {
  BEGIN_OR_SKIP(NULL);
  roots_name();
  veil_collect(self);
  veil_checkpointer *saver = veil_checkpointer_open(heap, &(veil_checkpointer_options){.path = saved_path});
  for (int round = 0; round < 3; round++) {
    veil_checkpoint_figures f;
    nodes_write(round);
    firsts_write(round == 1 ? 'X' : 0);
    veil_compress_now(c, 0);
    veil_compress_stats before = stats();
    EXPECT(before.original > 200 * page_size());
    EXPECT(veil_checkpoint(saver, 0, &f) == VEIL_OK && f.full == (round == 0));
    veil_compress_stats s = stats();
    EXPECT(f.pages > 400 && s.copied - before.copied >= f.pages - 8 && s.original + 8 * page_size() >= before.original); // all but what is touched by the way
    saved_check(round, round == 1 ? 'X' : 0);
    EXPECT(stats().original + 8 * page_size() >= before.original);
  }
  veil_checkpointer_close(saver);
  unlink(saved_path);
  finish();
}

// What is touched while it is saved is saved as it was at the instant, and is the program's at once: pages that are away, that are being packed, that have just come back.
ON_TRAPPING_BACK_ENDS(compressor, what_is_written_meanwhile_is_saved_as_it_was) {
  BEGIN_OR_SKIP(&((veil_compressor_options){.interval_ms = 20, .least_ms = 20, .age_ms = 20}));
  roots_name();
  veil_collect(self);
  veil_checkpointer *saver = veil_checkpointer_open(heap, &(veil_checkpointer_options){.path = saved_path});
  for (int round = 0; round < REPEATS(8, 200); round++) {
    nodes_write(round);
    firsts_write(round % 2 ? 'X' : 0);
    veil_compress_now(c, round % 4 == 3 ? 20 : 0);
    EXPECT(veil_checkpoint(saver, VEIL_CHECKPOINT_START | (round % 3 == 0 ? VEIL_CHECKPOINT_FULL : 0), NULL) == VEIL_OK);
    if (round % 4 == 2) {
      veil_compress_now(c, 0); // others are claimed while they are to be saved
    }
    for (int i = NODES - 1; i >= 0; i--) {
      all[i].to->more = -1;
    }
    firsts_write('Y');
    EXPECT(veil_checkpoint_wait(saver, NULL) == VEIL_OK);
    saved_check(round, round % 2 ? 'X' : 0);
  }
  firsts_write(0);
  veil_checkpointer_close(saver);
  unlink(saved_path);
  finish();
}

// What is to be saved for one is copied in the stop of the other, and stays compressed.
ON_TRAPPING_BACK_ENDS(compressor, two_who_save_at_once) {
  BEGIN_OR_SKIP(&((veil_compressor_options){.interval_ms = 3600000, .least_ms = 3600000})); // or, if it takes so long, it asks for a cycle, and what that moves has pages put back
  roots_name();
  veil_collect(self);
  char other[sizeof saved_path + 2];
  snprintf(other, sizeof other, "%s.2", saved_path);
  veil_checkpointer *one = veil_checkpointer_open(heap, &(veil_checkpointer_options){.path = saved_path, .whole = true});
  veil_checkpointer *two = veil_checkpointer_open(heap, &(veil_checkpointer_options){.path = other, .whole = true});
  for (int round = 0; round < REPEATS(5, 100); round++) {
    nodes_write(round);
    veil_compress_now(c, 0);
    uint64_t there = stats().original;
    EXPECT(veil_checkpoint(one, VEIL_CHECKPOINT_START, NULL) == VEIL_OK && veil_checkpoint(two, VEIL_CHECKPOINT_START, NULL) == VEIL_OK);
    EXPECT(veil_checkpoint_wait(one, NULL) == VEIL_OK && veil_checkpoint_wait(two, NULL) == VEIL_OK);
    EXPECT(there > 200 * page_size() && stats().original + 8 * page_size() >= there);
    file_check(saved_path, round, 0);
    file_check(other, round, 0);
  }
  EXPECT(stats().copied > 5 * 200);
  veil_checkpointer_close(one);
  veil_checkpointer_close(two);
  unlink(saved_path);
  unlink(other);
  finish();
}

// ---- The system.

ON_TRAPPING_BACK_ENDS(compressor, a_call_to_the_system_wants_a_touch) {
  BEGIN_OR_SKIP(NULL);
  veil_compress_now(c, 0);
  int file = open("/dev/zero", O_RDONLY);
  ssize_t got = read(file, text[3] + 8, 8);
  EXPECT(got == 8 || (got < 0 && errno == EFAULT));
  EXPECT((got == 8) == (strcmp(back_end, "uffd-kernel") == 0));
  EXPECT(veil_read(self, file, text[3], TEXT) == TEXT);
  for (int k = 0; k < TEXT; k++) {
    EXPECT(text[3][k] == 0);
    text[3][k] = "the quick brown fox "[(k * 4) % 20];
  }
  close(file);
  finish();
}

ON_TRAPPING_BACK_ENDS(compressor, a_child_has_what_is_compressed) {
  BEGIN_OR_SKIP(NULL, .fork = VEIL_FORK_COPY);
  for (int round = 0; round < REPEATS(4, 100); round++) {
    veil_compress_now(c, 0);
    pid_t child = fork();
    if (child == 0) {
      objects_check();
      EXPECT(veil_compress_now(c, 0) == 0);
      if (round % 2 == 0) {
        veil_compressor_close(c);
        veil_collect(self);
        objects_check();
      }
      _exit(0);
    }
    objects_check();
    int status;
    EXPECT(waitpid(child, &status, 0) == child);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  finish();
}

// ---- Bad input.

Test(compressor, what_makes_no_sense_is_refused) {
  static const struct {
    veil_compressor_options options;
    const char *says;
  } wrong[] = {
      {{.prefer = (veil_compress_prefer)9}, "prefer"},
      {{.target = 2}, "target"},
      {{.target = -1}, "target"},
      {{.interval_ms = 5}, "interval_ms"},
      {{.interval_ms = 1000, .least_ms = 10}, "least_ms"},
      {{.interval_ms = 10, .least_ms = 10000}, "least_ms"},
      {{.interval_ms = 1000, .age_ms = 10}, "age_ms"},
      {{.threads = 17}, "threads"},
  };
  EXPECT(start((veil_options){.back_end = NULL}));
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    EXPECT(veil_compressor_open(heap, &wrong[i].options) == NULL);
    cr_assert(strstr(veil_error(), wrong[i].says) != NULL, "%s", veil_error());
  }
  c = veil_compressor_open(heap, NULL);
  EXPECT(c != NULL);
  EXPECT(veil_compressor_open(heap, NULL) == NULL);
  cr_assert(strstr(veil_error(), "another service asks") != NULL, "%s", veil_error());
  veil_compressor_close(c);
  veil_compressor_close(NULL);
  end();
}

Test(compressor, where_nothing_traps_there_is_none) {
  EXPECT(start((veil_options){.back_end = "none"}));
  EXPECT(veil_compressor_open(heap, NULL) == NULL);
  cr_assert(strstr(veil_error(), "nothing traps") != NULL, "%s", veil_error());
  end();
}
