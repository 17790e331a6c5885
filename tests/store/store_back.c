// SPDX-License-Identifier: MIT
// store_back.c: stores that go back to the last commit.

#include <pthread.h>
#include <stdatomic.h>
#include "tests/store/store_world.h"
#include "veil/checkpoint.h"
#include "veil/critical.h"
#include "veil/identity.h"
#include "veil/roots.h"
#include "veil/table.h"
#include "veil/weak.h"

static void back(void) {
  OK(veil_store_rollback(store, NULL));
  veil_verify(self);
}

ON_ALL_BACK_ENDS(back, what_was_stored_since_the_last_commit_is_gone) {
  BEGIN(back_end);
  list_set("a", 1000);
  list_set("b", 10);
  commit();
  list_set("a", 2000);
  list_set("b", 0);
  list_set("c", 5);
  veil_rollback_figures figures;
  OK(veil_store_rollback(store, &figures));
  EXPECT(figures.pages != 0 && figures.pause_ns != 0 && figures.finalizers == 0);
  veil_verify(self);
  EXPECT(list_of("a") == 1000 && list_of("b") == 10 && list_of("c") == -1);
  back(); // once more
  EXPECT(list_of("a") == 1000 && list_of("b") == 10 && list_of("c") == -1);
  list_set("c", 6);
  veil_collect(self);
  veil_verify(self);
  commit();
  again();
  EXPECT(list_of("a") == 1000 && list_of("b") == 10 && list_of("c") == 6);
  back(); // to what was opened
  EXPECT(list_of("a") == 1000 && list_of("c") == 6);
  list_set("a", 0);
  back();
  EXPECT(list_of("a") == 1000 && list_of("c") == 6);
  shut();
  folder_remove();
}

ON_ALL_BACK_ENDS(back, a_store_without_a_commit_is_empty_again) {
  BEGIN(back_end);
  list_set("a", 5000);
  veil_collect(self);
  list_set("b", 5000);
  back();
  EXPECT(list_of("a") == -1 && list_of("b") == -1);
  list_set("a", 10);
  commit();
  again();
  EXPECT(list_of("a") == 10);
  shut();
  folder_remove();
}

ON_ALL_BACK_ENDS(back, cycles_between_do_not_matter) {
  BEGIN(back_end);
  list_set("a", 20000);
  commit();
  for (int i = 0; i < 6; i++) {
    list_set("a", 0);
    list_set("b", 30000);
    i % 2 == 0 ? veil_collect(self) : veil_collect_minor(self);
    list_set("c", 20000);
    veil_collect_start(self); // one is under way, perhaps
    back();
    EXPECT(list_of("a") == 20000 && list_of("b") == -1 && list_of("c") == -1);
    if (i == 3) {
      list_set("a", 20000);
      veil_collect(self);
      commit();
    }
  }
  commit();
  again();
  EXPECT(list_of("a") == 20000);
  shut();
  folder_remove();
}

ON_ALL_BACK_ENDS(back, large_objects_are_as_they_were) {
  BEGIN(back_end);
  enum { BYTES = 3 * MIB };
  char *bytes = veil_new_bytes(self, BYTES);
  memset(bytes, 5, BYTES);
  OK(veil_root_set(self, "large", bytes));
  commit();
  for (int i = 0; i < 4; i++) {
    bytes = veil_root_get(self, "large");
    memset(bytes + MIB, 7, 100);
    bytes = NULL;
    if (i > 0) {
      OK(veil_root_set(self, "large", NULL));
      list_set("a", 10);
      veil_collect(self); // its memory is another's, perhaps
      veil_collect(self);
    }
    if (i > 1) {
      bytes = veil_new_bytes(self, i == 2 ? BYTES / 2 : 2 * BYTES);
      memset(bytes, 9, BYTES / 2);
      OK(veil_root_set(self, "other", bytes));
    }
    back();
    bytes = veil_root_get(self, "large");
    EXPECT(veil_root_get(self, "other") == NULL && veil_length(heap, bytes) == BYTES && bytes[0] == 5 && memcmp(bytes, bytes + 1, BYTES - 1) == 0);
  }
  commit();
  again();
  bytes = veil_root_get(self, "large");
  EXPECT(veil_length(heap, bytes) == BYTES && bytes[0] == 5 && memcmp(bytes, bytes + 1, BYTES - 1) == 0);
  shut();
  folder_remove();
}

// ---- What is beside the objects.

static __attribute__((noinline)) void weak_make(void) {
  list_set("list", 100);
  veil_weak *weak = veil_weak_new(self, veil_root_get(self, "list"));
  veil_table *table = veil_table_new(self, VEIL_WEAK_KEYS);
  OK(veil_root_set(self, "weak", weak));
  OK(veil_root_set(self, "table", table));
  OK(veil_table_put(self, table, veil_root_get(self, "list"), list_make(self, 7)));
}

static __attribute__((noinline)) void weak_change(int turn) {
  veil_weak *weak = veil_root_get(self, "weak");
  veil_table *table = veil_root_get(self, "table");
  if (turn % 2 == 0 && veil_root_get(self, "list") != NULL) {
    veil_weak_set(self, weak, NULL);
    veil_table_remove(self, table, veil_root_get(self, "list"));
  }
  list_set("list", 0);
  list_set("other", 3);
  OK(veil_table_put(self, table, veil_root_get(self, "other"), list_make(self, 8)));
  for (int i = 0; i < 300; i++) {
    veil_weak_new(self, veil_root_get(self, "other"));
    veil_table_new(self, VEIL_WEAK_VALUES);
  }
}

static __attribute__((noinline)) void weak_check(uint64_t hash) {
  node *list = veil_root_get(self, "list");
  veil_table *table = veil_root_get(self, "table");
  EXPECT(list_of("list") == 100 && list_of("other") == -1);
  EXPECT(veil_weak_get(self, veil_root_get(self, "weak")) == list);
  EXPECT(veil_table_count(self, table) == 1 && list_check(veil_table_get(self, table, list)) == 7);
  EXPECT(veil_hash(self, list) == hash);
}

ON_ALL_BACK_ENDS(back, weak_references_tables_and_hashes_are_as_they_were) {
  BEGIN(back_end);
  weak_make();
  uint64_t hash = veil_hash(self, veil_root_get(self, "list"));
  commit();
  for (int turn = 0; turn < 6; turn++) {
    weak_change(turn);
    if (turn > 1) {
      veil_collect(self);
      veil_collect(self); // the links are free, and used again
      weak_change(turn + 1);
    }
    back();
    weak_check(hash);
    if (turn == 3) {
      veil_collect(self);
      weak_check(hash);
      commit();
    }
  }
  commit();
  again();
  weak_check(hash);
  shut();
  folder_remove();
}

static node *slots[3], *own[2];

ON_ALL_BACK_ENDS(back, roots_and_handles_of_the_process_refer_to_nothing) {
  BEGIN(back_end);
  OK(veil_add_roots(heap, slots, 3));
  OK(veil_add_thread_roots(self, own, 2));
  weak_make();
  commit();
  veil_handle *before = veil_handle_new(self, veil_root_get(self, "list")), *handles[300];
  uint64_t moves = veil_moves(heap);
  for (int turn = 0; turn < 3; turn++) {
    weak_change(1);
    OK(veil_root_set(self, "weak", NULL));
    veil_collect(self);
    veil_collect(self);
    for (int i = 0; i < 300; i++) { // numbers of weak references that come back are none of theirs
      handles[i] = veil_handle_new(self, veil_root_get(self, "other"));
    }
    veil_handle_set(self, before, veil_root_get(self, "other"));
    slots[0] = own[1] = veil_root_get(self, "other");
    slots[2] = (node *)(uintptr_t)3; // no reference
    back();
    EXPECT(slots[0] == NULL && own[1] == NULL && slots[2] == (node *)(uintptr_t)3);
    EXPECT(veil_handle_get(self, before) == NULL && veil_moves(heap) != moves);
    moves = veil_moves(heap);
    veil_handle_set(self, before, veil_root_get(self, "list"));
    for (int i = 0; i < 300; i++) {
      EXPECT(veil_handle_get(self, handles[i]) == NULL);
      veil_handle_drop(self, handles[i]);
    }
    EXPECT(veil_weak_get(self, veil_root_get(self, "weak")) == veil_root_get(self, "list"));
    veil_collect(self);
    EXPECT(list_check(veil_handle_get(self, before)) == 100);
  }
  veil_handle_drop(self, before);
  veil_remove_roots(heap, slots);
  veil_remove_thread_roots(self, own);
  shut();
  folder_remove();
}

static int finalized;
static void finalizer(veil_thread *thread, void *object, void *data) {
  (void)thread, (void)object, (void)data;
  finalized++;
}

static __attribute__((noinline)) veil_finalizer finalizers_add(void) {
  list_set("final", 2);
  veil_finalizer first = veil_finalize(self, veil_root_get(self, "final"), finalizer, NULL);
  for (int i = 0; i < 9; i++) {
    veil_finalize(self, list_make(self, 1), finalizer, NULL);
  }
  return first;
}

Test(back, finalizers_are_dropped_if_that_is_allowed, .timeout = 100) {
  BEGIN(NULL);
  list_set("a", 5);
  commit();
  veil_finalizer first = finalizers_add();
  list_set("a", 6);
  EXPECT(veil_store_rollback(store, NULL) == VEIL_INVALID);
  SAYS("10 finalizers");
  EXPECT(list_of("a") == 6);
  EXPECT(veil_finalizer_cancel(self, first));
  veil_collect(self);
  veil_collect(self);
  veil_finalizers_run(self, 100);
  wanted.drop_finalizers = true;
  again();
  EXPECT(list_of("a") == 5);
  int before = finalized;
  first = finalizers_add();
  list_set("a", 6);
  veil_collect(self); // some are due
  veil_rollback_figures figures;
  OK(veil_store_rollback(store, &figures));
  EXPECT(figures.finalizers == 10 && list_of("a") == 5 && finalized == before);
  EXPECT(!veil_finalizer_cancel(self, first) && veil_finalizers_due(heap) == 0 && veil_finalizers_run(self, 100) == 0);
  veil_verify(self);
  shut();
  folder_remove();
}

// ---- Commits.

ON_ALL_BACK_ENDS(back, the_last_commit_that_was_begun_counts) {
  BEGIN(back_end);
  list_set("a", 1);
  commit();
  uint64_t ticket = 0;
  for (int i = 2; i < 30; i++) {
    list_set("a", i);
    OK(veil_store_commit_async(store, &ticket));
  }
  list_set("a", 100);
  back();
  EXPECT(list_of("a") == 29 && veil_store_poll(store, ticket) == VEIL_OK);
  again();
  EXPECT(list_of("a") == 29);
  shut();
  folder_remove();
}

Test(back, a_reader_cannot_go_back, .timeout = 60) {
  BEGIN(NULL);
  list_set("a", 1);
  commit();
  wanted.mode = VEIL_STORE_READ_ONLY;
  again();
  list_set("a", 2);
  EXPECT(veil_store_rollback(store, NULL) == VEIL_INVALID);
  SAYS("read-only");
  EXPECT(list_of("a") == 2);
  shut();
  folder_remove();
}

ON_ALL_BACK_ENDS(back, a_store_at_another_address_goes_back) {
  BEGIN(back_end);
  weak_make();
  uint64_t hash = veil_hash(self, veil_root_get(self, "list"));
  char *bytes = veil_new_bytes(self, MIB);
  memset(bytes, 5, MIB);
  void **slots_large = veil_new_pointers(self, 100000);
  slots_large[99999] = bytes;
  OK(veil_root_set(self, "large", slots_large));
  commit();
  for (int turn = 0; turn < 3; turn++) {
    wanted.elsewhere = true;
    again();
    for (int i = 0; i < 3; i++) {
      slots_large = veil_root_get(self, "large");
      bytes = slots_large[99999];
      EXPECT(veil_length(heap, bytes) == MIB && bytes[0] == 5 && bytes[MIB - 1] == 5);
      bytes[5] = 6;
      slots_large[99999] = veil_root_get(self, "list");
      slots_large[1] = slots_large;
      weak_change(i);
      if (i == 1) {
        OK(veil_root_set(self, "large", NULL));
        veil_collect(self);
        veil_collect(self);
      }
      back();
      weak_check(hash);
      slots_large = veil_root_get(self, "large");
      EXPECT(slots_large[1] == NULL);
      bytes = slots_large[99999];
      EXPECT(veil_length(heap, bytes) == MIB && bytes[5] == 5);
      if (turn == 1 && i == 1) {
        commit(); // from here on it is at home
      }
    }
  }
  shut();
  folder_remove();
}

// ---- Others.

static atomic_int running, runs, stop_now, mode;
enum { POLLS, BRACKETS, ALLOCATES, SECTIONS, RUNS };

static void *other(void *arg) {
  (void)arg;
  veil_thread *t = veil_attach(heap);
  atomic_fetch_add(&running, 1);
  for (unsigned i = 0; !atomic_load(&stop_now); i++) {
    switch (atomic_load(&mode)) {
    case BRACKETS:
      veil_block_begin(t);
      usleep(1000);
      veil_block_end(t);
      break;
    case ALLOCATES:
      list_make(t, 10); // it is whole when the next one begins, and nobody has it
      break;
    case SECTIONS:
      OK(veil_critical_begin(t, 10 * veil_room(node)));
      list_make(t, 10);
      veil_critical_end(t);
      break;
    case RUNS:
      atomic_fetch_add(&runs, 1);
      while (atomic_load(&mode) == RUNS && !atomic_load(&stop_now)) { // in the program, and nowhere else
      }
      break;
    default:
      break;
    }
    veil_poll(t);
  }
  veil_detach(t);
  atomic_fetch_sub(&running, 1);
  return NULL;
}

ON_ALL_BACK_ENDS(back, other_threads_come_to_rest) {
  enum { THREADS = 3 };
  BEGIN(back_end);
  pthread_t threads[THREADS];
  list_set("a", 1000);
  commit();
  for (int i = 0; i < THREADS; i++) {
    EXPECT(pthread_create(&threads[i], NULL, other, NULL) == 0);
  }
  while (atomic_load(&running) < THREADS) {
    usleep(1000);
  }
  for (int i = 0; i < 40; i++) {
    atomic_store(&mode, i % RUNS);
    list_set("a", 2000);
    if (i % 7 == 3) {
      veil_collect(self);
    }
    back();
    EXPECT(list_of("a") == 1000);
  }
  atomic_store(&stop_now, 1);
  for (int i = 0; i < THREADS; i++) {
    EXPECT(pthread_join(threads[i], NULL) == 0);
  }
  back();
  EXPECT(list_of("a") == 1000);
  shut();
  folder_remove();
}

Test(back, a_thread_that_never_polls_is_in_the_way, .timeout = 100) {
  BEGIN(NULL);
  pthread_t thread;
  list_set("a", 1);
  commit();
  atomic_store(&mode, RUNS);
  EXPECT(pthread_create(&thread, NULL, other, NULL) == 0);
  while (atomic_load(&runs) == 0) {
    usleep(1000);
  }
  list_set("a", 2);
  EXPECT(veil_store_rollback(store, NULL) == VEIL_BUSY);
  SAYS("neither at a poll nor between brackets");
  EXPECT(list_of("a") == 2);
  atomic_store(&stop_now, 1);
  EXPECT(pthread_join(thread, NULL) == 0);
  back();
  EXPECT(list_of("a") == 1);
  shut();
  folder_remove();
}

Test(back, what_is_pinned_or_touched_is_in_the_way, .timeout = 60) {
  BEGIN(NULL);
  list_set("a", 1);
  commit();
  list_set("a", 2);
  OK(veil_pin(self, veil_root_get(self, "a")));
  EXPECT(veil_store_rollback(store, NULL) == VEIL_BUSY);
  SAYS("1 objects are pinned");
  EXPECT(list_of("a") == 2);
  veil_unpin(self, veil_root_get(self, "a"));
  OK(veil_touch(self, veil_root_get(self, "a"), 8, false));
  EXPECT(veil_store_rollback(store, NULL) == VEIL_BUSY);
  EXPECT(list_of("a") == 2);
  veil_untouch(self, veil_root_get(self, "a"));
  commit(); // Dirty has lost nothing
  list_set("a", 3);
  back();
  EXPECT(list_of("a") == 2);
  again();
  EXPECT(list_of("a") == 2);
  shut();
  folder_remove();
}

ON_ALL_BACK_ENDS(back, checkpoints_of_the_same_heap_are_as_of_their_instant) {
  BEGIN(back_end);
  char checkpoint[160];
  snprintf(checkpoint, sizeof checkpoint, "%s/check.veil", folder);
  list_set("a", 30000);
  commit();
  for (int i = 0; i < 4; i++) {
    list_set("a", 40000 + i);
    veil_checkpointer *c = veil_checkpointer_open(heap, &(veil_checkpointer_options){.path = checkpoint, .pool = MIB});
    EXPECT(c != NULL);
    OK(veil_checkpoint(c, VEIL_CHECKPOINT_START, NULL));
    list_set("b", 100);
    back();
    EXPECT(list_of("a") == 30000 && list_of("b") == -1);
    OK(veil_checkpoint_wait(c, NULL));
    veil_checkpointer_close(c);
    veil_restore_options options = {.types = node_types, .type_count = 1};
    veil_heap *copy = veil_restore(checkpoint, NULL, &options);
    if (copy == NULL) {
      fprintf(stderr, "%s\n", veil_error());
      abort();
    }
    veil_thread *t = veil_attach(copy);
    EXPECT(list_check(veil_root_get(t, "a")) == 40000 + i);
    veil_detach(t);
    veil_close(copy);
    unlink(checkpoint);
  }
  shut();
  folder_remove();
}
