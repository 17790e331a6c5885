// SPDX-License-Identifier: MIT
// store_files.c: stores on a real file system: what was committed is there again, and nothing else.

#include <limits.h>
#include <sys/stat.h>
#include "tests/store/store_world.h"
#include "veil/weak.h"

// ---- What was committed is there.

ON_ALL_BACK_ENDS(store, a_list_with_a_name_is_there_again) {
  BEGIN(back_end);
  EXPECT(list_of("list") == -1);
  list_set("list", 1000);
  commit();
  again();
  EXPECT(list_of("list") == 1000);
  again(); // with no commit in between
  EXPECT(list_of("list") == 1000);
  shut();
  folder_remove();
}

ON_ALL_BACK_ENDS(store, names_are_changed_and_taken_away) {
  BEGIN(back_end);
  list_set("a", 10);
  list_set("b", 20);
  list_set("c", 30);
  commit();
  list_set("b", 0);
  list_set("c", 31);
  list_set("a name with blanks / and a slash", 5);
  commit();
  again();
  EXPECT(list_of("a") == 10 && list_of("b") == -1 && list_of("c") == 31 && list_of("a name with blanks / and a slash") == 5);
  list_set("a", 0);
  list_set("b", 21);
  commit();
  again();
  EXPECT(list_of("a") == -1 && list_of("b") == 21 && list_of("c") == 31);
  shut();
  folder_remove();
}

Test(store, what_was_not_committed_is_gone_after_a_close, .timeout = 60) {
  BEGIN(NULL);
  list_set("a", 10);
  commit();
  list_set("a", 20);
  list_set("b", 20);
  again();
  EXPECT(list_of("a") == 10 && list_of("b") == -1);
  shut();
  folder_remove();
}

Test(store, a_store_that_never_committed_is_empty, .timeout = 60) {
  BEGIN(NULL);
  list_set("a", 10);
  again();
  EXPECT(list_of("a") == -1);
  shut();
  folder_remove();
}

static void work(void) {
  list_set("a", 1000);
  commit();
  list_set("a", 1500);
  list_set("b", 10);
  commit();
  list_set("a", 2000); // nobody commits that
  list_set("c", 1);
}

ON_ALL_BACK_ENDS(store, what_was_committed_outlives_the_process) {
  KILLED_AFTER(back_end, work);
  EXPECT(begin());
  EXPECT(list_of("a") == 1500 && list_of("b") == 10 && list_of("c") == -1);
  list_set("c", 7);
  commit();
  again();
  EXPECT(list_of("a") == 1500 && list_of("c") == 7);
  shut();
  folder_remove();
}

static void work_more(void) {
  long number = list_of("a");
  list_set("a", number + 1);
  commit();
  list_set("a", number + 2);
}

Test(store, many_processes_are_killed_in_turn, .timeout = 100) {
  KILLED_AFTER(NULL, work);
  for (int i = 0; i < 12; i++) {
    EXPECT(killed_after(work_more));
  }
  EXPECT(begin());
  EXPECT(list_of("a") == 1512);
  shut();
  folder_remove();
}

// ---- Kinds of objects.

ON_ALL_BACK_ENDS(store, large_objects_are_there_again) {
  BEGIN(back_end);
  char *bytes = veil_new_bytes(self, 5 * MIB);
  memset(bytes, 5, 5 * MIB);
  OK(veil_root_set(self, "large", bytes));
  OK(veil_root_set(self, "zeros", veil_new_bytes(self, 3 * MIB))); // nobody writes to it
  commit();                                                        // more than the log takes
  again();
  bytes = veil_root_get(self, "large");
  const char *zeros = veil_root_get(self, "zeros");
  EXPECT(veil_length(heap, bytes) == 5 * MIB && bytes[0] == 5 && memcmp(bytes, bytes + 1, 5 * MIB - 1) == 0);
  EXPECT(veil_length(heap, zeros) == 3 * MIB && zeros[0] == 0 && memcmp(zeros, zeros + 1, 3 * MIB - 1) == 0);
  bytes[4 * MIB] = 6;
  veil_root_set(self, "zeros", NULL);
  veil_collect(self);
  commit();
  again();
  bytes = veil_root_get(self, "large");
  EXPECT(bytes[4 * MIB] == 6 && bytes[4 * MIB + 1] == 5 && veil_root_get(self, "zeros") == NULL);
  veil_verify(self);
  shut();
  folder_remove();
}

// A function of its own: the store may be mapped at the same address again, and what a frame still holds is a root.
static __attribute__((noinline)) void weak_make(void) {
  veil_weak *weak = veil_weak_new(self, list_make(self, 100)), *other = veil_weak_new(self, list_make(self, 10));
  OK(veil_root_set(self, "weak", weak));
  OK(veil_root_set(self, "other", other));
  OK(veil_root_set(self, "list", veil_weak_get(self, weak)));
}

ON_ALL_BACK_ENDS(store, weak_references_are_there_again) {
  BEGIN(back_end);
  weak_make();
  commit();
  again();
  EXPECT(veil_weak_get(self, veil_root_get(self, "weak")) == veil_root_get(self, "list"));
  EXPECT(list_of("list") == 100);
  stack_clear();
  veil_collect(self);
  veil_collect(self);
  EXPECT(veil_weak_get(self, veil_root_get(self, "other")) == NULL);
  commit();
  again();
  EXPECT(veil_weak_get(self, veil_root_get(self, "other")) == NULL);
  EXPECT(veil_weak_get(self, veil_root_get(self, "weak")) == veil_root_get(self, "list") && list_of("list") == 100);
  shut();
  folder_remove();
}

typedef struct cell {
  uintptr_t car, cdr; // low bit: a number
} cell;
static const veil_encoding low = {1 | 1 << 2, 0, 0}; // 0 and 2 are tags of pointers
VEIL_TYPE_TAGGED(cell, &low, car, cdr);
typedef struct table {
  long used;
  node *owner;
  node *slot[];
} table;
VEIL_TYPE_FLEXIBLE(table, slot, owner);
typedef struct sample {
  double x[8];
} sample;
VEIL_LEAF(sample);

ON_ALL_BACK_ENDS(store, leaf_tagged_and_flexible_types_are_there_again) {
  veil_type *types[] = {&veil_type_node, &veil_type_cell, &veil_type_table, &veil_type_sample};
  BEGIN(back_end);
  cell *c = veil_new(self, cell);
  OK(veil_root_set(self, "cell", c));
  c->car = 77 << 3 | 1;
  c->cdr = (uintptr_t)list_make(self, 20) | 2;
  table *t = veil_new_flexible(self, table, 300);
  OK(veil_root_set(self, "table", t));
  t->slot[299] = t->owner = list_make(self, 30);
  t->used = 42;
  sample *s = veil_new_array(self, sample, 100);
  OK(veil_root_set(self, "samples", s));
  s[99].x[7] = 0.5;
  commit();
  for (int i = 0; i < 2; i++) {
    wanted.types = types;
    wanted.type_count = 4;
    wanted.elsewhere = i == 1;
    again();
    c = veil_root_get(self, "cell");
    t = veil_root_get(self, "table");
    s = veil_root_get(self, "samples");
    EXPECT(c->car == (77 << 3 | 1) && (c->cdr & 7) == 2 && list_check((node *)(c->cdr & ~(uintptr_t)7)) == 20);
    EXPECT(t->used == 42 && veil_length(heap, t) == 300 && list_check(t->owner) == 30 && t->slot[299] == t->owner);
    EXPECT(veil_length(heap, s) == 100 && s[99].x[7] == 0.5);
    veil_collect(self);
    commit();
  }
  shut();
  folder_remove();
}

// ---- Between commits.

ON_ALL_BACK_ENDS(store, it_grows_over_many_blocks) {
  BEGIN(back_end);
  for (int i = 0; i < 12; i++) {
    char name[20];
    snprintf(name, sizeof name, "list %d", i);
    list_set(name, 20000); // nearly 1 MiB
    commit();
  }
  for (int k = 0; k < 2; k++) {
    again();
    for (int i = 0; i < 12; i++) {
      char name[20];
      snprintf(name, sizeof name, "list %d", i);
      EXPECT(list_of(name) == 20000);
    }
    veil_collect(self);
    commit();
  }
  shut();
  folder_remove();
}

static void graph_grows(veil_generations generations, const char *back_end) {
  uint64_t state = 5, hash = 0;
  as.generations = generations;
  as.nursery = 256 << 10;
  BEGIN(back_end);
  wanted.types = graph_types;
  wanted.type_count = GRAPH_TYPES;
  for (int i = 0; i < 60; i++) {
    if (i % 12 == 11) {
      wanted.elsewhere = i % 24 == 23;
      again();
      EXPECT(graph_hash(self) == hash);
      graph_collect(self, &state); // before anything is committed
    }
    graph_change(self, &state, 60, i % 6 == 0);
    graph_collect(self, &state);
    hash = graph_hash(self);
    commit();
    graph_change(self, &state, i % 7 == 0 ? 40 : 0, false); // and some that are lost if it is closed now
    if (i % 7 == 0 && i % 12 != 10) {
      hash = graph_hash(self);
      commit();
    }
  }
  again();
  EXPECT(graph_hash(self) == hash);
  veil_verify(self);
  shut();
  folder_remove();
}

ON_ALL_BACK_ENDS(store, cycles_go_on_between_commits) { graph_grows(VEIL_GENERATIONS_OFF, back_end); }
ON_TRAPPING_BACK_ENDS(store, minor_cycles_go_on_between_commits) { graph_grows(VEIL_GENERATIONS_ON, back_end); }

Test(store, what_a_cycle_has_freed_is_used_again, .timeout = 100) {
  BEGIN(NULL);
  for (int i = 0; i < 30; i++) {
    char *bytes = veil_new_bytes(self, 300000);
    memset(bytes, i + 1, 300000);
    OK(veil_root_set(self, i % 2 ? "odd" : "even", bytes));
    list_set("list", 3000 + i);
    bytes = NULL;
    stack_clear();
    veil_collect(self);
    commit();
  }
  again();
  const char *odd = veil_root_get(self, "odd"), *even = veil_root_get(self, "even");
  EXPECT(odd[0] == 30 && memcmp(odd, odd + 1, 299999) == 0 && even[0] == 29 && memcmp(even, even + 1, 299999) == 0);
  EXPECT(list_of("list") == 3029);
  shut();
  folder_remove();
}

// ---- Ways to commit.

Test(store, a_commit_says_what_it_was_like, .timeout = 60) {
  veil_commit_figures f;
  BEGIN(NULL);
  list_set("list", 100);
  OK(veil_store_commit(store, &f));
  EXPECT(f.ticket != 0 && f.pages != 0 && f.changed >= 100 * 16 && f.logged >= f.changed && f.pause_ns != 0);
  uint64_t ticket = f.ticket;
  OK(veil_store_commit(store, &f)); // of nothing
  EXPECT(f.ticket > ticket && f.changed == 0 && f.logged == 0);
  veil_store_figures all = veil_store_get_figures(store);
  EXPECT(all.commits >= 1 && all.log_bytes == MIB && all.log_used != 0 && all.image_bytes != 0);
  shut();
  folder_remove();
}

Test(store, tickets_are_waited_for_and_asked_about, .timeout = 60) {
  uint64_t ticket[5];
  veil_status status;
  BEGIN(NULL);
  for (int i = 0; i < 5; i++) {
    list_set("list", 100 + i);
    OK(veil_store_commit_async(store, &ticket[i]));
    EXPECT(i == 0 || ticket[i] > ticket[i - 1]);
  }
  OK(veil_store_wait(store, ticket[4]));
  for (int i = 0; i < 5; i++) {
    OK(veil_store_poll(store, ticket[i]));
    OK(veil_store_wait(store, ticket[i]));
  }
  list_set("list", 105);
  OK(veil_store_commit_async(store, &ticket[0]));
  while ((status = veil_store_poll(store, ticket[0])) == VEIL_BUSY) {
    sleep_ms(1);
  }
  OK(status);
  EXPECT(veil_store_poll(store, ticket[0] + 1) == VEIL_INVALID);
  SAYS("no ticket");
  EXPECT(veil_store_wait(store, 0) == VEIL_INVALID);
  list_set("list", 106);
  OK(veil_store_commit_async(store, &ticket[0])); // closing waits for it
  list_set("list", 107);
  again();
  EXPECT(list_of("list") == 106);
  shut();
  folder_remove();
}

enum { COMMITTERS = 4, COMMITS = 40 };

static void *commit_many(void *arg) {
  char name[20];
  veil_thread *me = veil_attach(heap);
  snprintf(name, sizeof name, "list %d", (int)(intptr_t)arg);
  for (int i = 1; i <= COMMITS; i++) {
    OK(veil_root_set(me, name, list_make(me, i)));
    OK(veil_store_commit(store, NULL));
  }
  veil_detach(me);
  return NULL;
}

static void threads_commit(void) {
  pthread_t thread[COMMITTERS];
  for (intptr_t i = 0; i < COMMITTERS; i++) {
    thread[i] = thread_start(commit_many, (void *)i);
  }
  veil_block_begin(self);
  for (int i = 0; i < COMMITTERS; i++) {
    pthread_join(thread[i], NULL);
  }
  veil_block_end(self);
}

ON_ALL_BACK_ENDS(store, threads_commit_at_the_same_time) {
  KILLED_AFTER(back_end, threads_commit);
  EXPECT(begin());
  for (int i = 0; i < COMMITTERS; i++) {
    char name[20];
    snprintf(name, sizeof name, "list %d", i);
    EXPECT(list_of(name) == COMMITS);
  }
  shut();
  folder_remove();
}

// ---- The log.

static void work_much(void) {
  for (int i = 1; i <= 40; i++) {
    char *bytes = veil_new_bytes(self, 150000);
    memset(bytes, i, 150000);
    OK(veil_root_set(self, "bytes", bytes));
    list_set("list", 1000 + i);
    commit();
  }
  EXPECT(veil_store_get_figures(store).folds >= 3);
}

ON_ALL_BACK_ENDS(store, a_small_log_is_folded_all_the_time) {
  KILLED_AFTER(back_end, work_much);
  EXPECT(begin());
  const char *bytes = veil_root_get(self, "bytes");
  EXPECT(bytes[0] == 40 && memcmp(bytes, bytes + 1, 149999) == 0 && list_of("list") == 1040);
  work_much();
  again();
  EXPECT(list_of("list") == 1040);
  shut();
  folder_remove();
}

static void work_large(void) {
  list_set("small", 10);
  commit();
  char *bytes = veil_new_bytes(self, 6 * MIB);
  for (int i = 0; i < 6 * MIB; i += 8) {
    bytes[i] = (char)(i / 8 % 127 + 1);
  }
  OK(veil_root_set(self, "bytes", bytes));
  list_set("large", 50000);
  veil_commit_figures f;
  OK(veil_store_commit(store, &f));
  EXPECT(f.logged == 0); // it is in the image
  list_set("small", 11);
  commit();
}

ON_ALL_BACK_ENDS(store, a_commit_larger_than_the_log) {
  KILLED_AFTER(back_end, work_large);
  EXPECT(begin());
  const char *bytes = veil_root_get(self, "bytes");
  for (int i = 0; i < 6 * MIB; i += 8) {
    EXPECT(bytes[i] == (char)(i / 8 % 127 + 1));
  }
  EXPECT(list_of("large") == 50000 && list_of("small") == 11);
  shut();
  folder_remove();
}

Test(store, after_a_clean_close_the_log_may_be_removed, .timeout = 60) {
  BEGIN(NULL);
  work_much();
  shut();
  EXPECT(unlink(log_path) == 0);
  EXPECT(killed_after(threads_commit)); // commits into the new log
  EXPECT(begin());
  EXPECT(list_of("list") == 1040 && list_of("list 3") == COMMITS);
  shut();
  EXPECT(unlink(log_path) == 0);
  wanted.mode = VEIL_STORE_READ_ONLY;
  EXPECT(begin()); // which needs none
  EXPECT(list_of("list") == 1040);
  shut();
  folder_remove();
}

// ---- Elsewhere.

static void elsewhere_commits(void) {
  list_set("more", 300);
  commit();
  list_set("more", 301);
  commit();
}

ON_ALL_BACK_ENDS(store, it_may_lie_elsewhere) {
  BEGIN(back_end);
  list_set("list", 30000);
  commit();
  void *at = veil_root_get(self, "list");
  wanted.elsewhere = true;
  again();
  EXPECT(veil_root_get(self, "list") != at && list_of("list") == 30000);
  again(); // with no commit
  EXPECT(list_of("list") == 30000);
  shut();
  EXPECT(killed_after(elsewhere_commits));
  EXPECT(begin());
  EXPECT(list_of("list") == 30000 && list_of("more") == 301);
  list_set("more", 302);
  commit();
  wanted.elsewhere = false;
  again();
  EXPECT(list_of("list") == 30000 && list_of("more") == 302);
  veil_verify(self);
  shut();
  folder_remove();
}

Test(store, two_stores_in_one_process, .timeout = 60) {
  BEGIN(NULL);
  char second_path[140], second_log[150];
  snprintf(second_path, sizeof second_path, "%s/second.veil", folder);
  snprintf(second_log, sizeof second_log, "%s.log", second_path);
  list_set("list", 100);
  for (int i = 0; i < 3; i++) {
    veil_store *second = opened(second_path);
    EXPECT(second != NULL);
    veil_thread *me = veil_attach(veil_store_heap(second));
    EXPECT(i == 0 || list_check(veil_root_get(me, "other")) == 200 + i - 1);
    OK(veil_root_set(me, "other", list_make(me, 200 + i)));
    OK(veil_store_commit(second, NULL));
    commit();
    veil_detach(me);
    OK(veil_store_close(second));
  }
  again();
  EXPECT(list_of("list") == 100 && list_of("other") == -1);
  shut();
  unlink(second_path);
  unlink(second_log);
  folder_remove();
}

// ---- Compaction, and veil-image.

static off_t path_bytes(void) {
  struct stat s;
  EXPECT(stat(path, &s) == 0);
  return s.st_size;
}

// Pages that lie alone are written again and again, one fold after the other.
static void pages_scatter(void) {
  char *bytes = veil_root_get(self, "bytes");
  if (bytes == NULL) {
    bytes = veil_new_bytes(self, 8 * MIB);
    OK(veil_root_set(self, "bytes", bytes));
    memset(bytes, 1, 8 * MIB);
    commit();
  }
  for (int i = 0; i < 30; i++) {
    for (int at = i % 2 * 4096; at < 8 * MIB; at += 16384) {
      memset(bytes + at, i + 1, 100);
    }
    commit();
  }
}

ON_ALL_BACK_ENDS(store, compaction_makes_the_file_as_short_as_what_it_holds) {
  folder_make();
  wanted.compact = UINT_MAX;
  on = (back_end);
  if (!begin()) {
    SKIP();
  }
  pages_scatter();
  list_set("list", 1000);
  commit();
  off_t before = path_bytes();
  OK(veil_store_compact(store));
  veil_store_figures f = veil_store_get_figures(store);
  EXPECT(path_bytes() < before && f.compactions == 1 && (off_t)f.image_bytes == path_bytes() && f.image_needed <= f.image_bytes);
  list_set("list", 1001);
  commit();
  pages_scatter();
  OK(veil_store_compact(store));
  list_set("list", 1002);
  commit();
  for (int i = 0; i < 2; i++) {
    again();
    EXPECT(list_of("list") == 1002);
    const char *bytes = veil_root_get(self, "bytes");
    EXPECT(bytes[0] == 29 && bytes[4096] == 30 && bytes[4196] == 1 && bytes[8192] == 1);
    OK(veil_store_compact(store));
  }
  veil_verify(self);
  shut();
  folder_remove();
}

static int image_tool(const char *option, char *said, size_t room) {
  char command[400];
  snprintf(command, sizeof command, "%s %s %s 2>&1", IMAGE_TOOL, option, path);
  FILE *f = popen(command, "r");
  EXPECT(f != NULL);
  size_t size = fread(said, 1, room - 1, f);
  said[size] = 0;
  int how = pclose(f);
  fprintf(stderr, "%s\n", said);
  EXPECT(WIFEXITED(how));
  return WEXITSTATUS(how);
}

Test(store, veil_image_tells_what_would_be_recovered, .timeout = 60) {
  static char said[20000];
  char pid_text[40];
  KILLED_AFTER(NULL, work);
  EXPECT(image_tool("--verify", said, sizeof said) == 0);
  EXPECT(strstr(said, "records to recover  2\n") != NULL && strstr(said, "needs its log") != NULL);
  EXPECT(image_tool("--compact", said, sizeof said) == 0);
  EXPECT(image_tool("--verify", said, sizeof said) == 0 && strstr(said, "records to recover  2\n") != NULL);
  EXPECT(begin());
  EXPECT(list_of("a") == 1500 && list_of("b") == 10);
  snprintf(pid_text, sizeof pid_text, "written by process %d", (int)getpid());
  EXPECT(image_tool("--verify", said, sizeof said) == 1 && strstr(said, pid_text) != NULL);
  EXPECT(image_tool("--compact", said, sizeof said) == 1 && strstr(said, pid_text) != NULL);
  EXPECT(image_tool("", said, sizeof said) == 0 && strstr(said, pid_text) != NULL && strstr(said, "Version ") != NULL);
  shut();
  EXPECT(image_tool("--verify", said, sizeof said) == 0);
  EXPECT(strstr(said, "records to recover  0\n") != NULL && strstr(said, "the log may be missing") != NULL);
  EXPECT(unlink(log_path) == 0);
  EXPECT(image_tool("--verify", said, sizeof said) == 0 && access(log_path, F_OK) != 0);
  EXPECT(truncate(path, 20000) == 0);
  EXPECT(image_tool("--verify", said, sizeof said) == 1);
  folder_remove();
}
