// SPDX-License-Identifier: MIT
// store_refuse.c: what a store refuses, and what it says: modes, files that are something else, other processes, types that have changed, misuse.

#include <fcntl.h>
#include "tests/store/store_world.h"
#include "veil/checkpoint.h"
#include "veil/weak.h"

#define REFUSED(TEXT)                                                                                                                                          \
  do {                                                                                                                                                         \
    veil_store *none = opened(path);                                                                                                                           \
    EXPECT(none == NULL);                                                                                                                                      \
    SAYS(TEXT);                                                                                                                                                \
  } while (0)

static void made(void) {
  folder_make();
  EXPECT(begin());
  list_set("list", 1000);
  commit();
}

static void made_and_shut(void) {
  made();
  shut();
}

static void there_still(void) {
  EXPECT(begin());
  EXPECT(list_of("list") == 1000);
  shut();
  folder_remove();
}

// ---- Options.

Test(store_refuses, by_mode, .timeout = 60) {
  folder_make();
  wanted.mode = VEIL_STORE_EXISTING;
  REFUSED("no such file");
  wanted.mode = VEIL_STORE_READ_ONLY;
  REFUSED("no such file");
  EXPECT(access(path, F_OK) != 0 && access(log_path, F_OK) != 0);
  wanted.mode = VEIL_STORE_NEW;
  EXPECT(begin());
  list_set("list", 1000);
  commit();
  shut();
  REFUSED("there is one already");
  wanted.mode = VEIL_STORE_EXISTING;
  there_still();
}

Test(store_refuses, bad_options, .timeout = 60) {
  folder_make();
  wanted.log = 4096;
  REFUSED("a log of less than 1 MiB");
  wanted = (veil_store_options){.cache = 4096};
  REFUSED("a cache of less than 1 MiB");
  wanted = (veil_store_options){.compact = 100};
  REFUSED("less than 101 percent");
  wanted = (veil_store_options){.mode = (veil_store_mode)9};
  REFUSED("an unknown mode");
  wanted = (veil_store_options){0};
  EXPECT(veil_store_open("", NULL, NULL) == NULL);
  SAYS("no path");
  EXPECT(veil_store_open(NULL, NULL, NULL) == NULL);
  EXPECT(veil_store_open("/nonexistent/heap.veil", NULL, NULL) == NULL);
  SAYS("/nonexistent/heap.veil");
  OK(veil_store_close(NULL));
  folder_remove();
}

// ---- Reading only.

Test(store_refuses, commits_of_readers, .timeout = 60) {
  uint64_t ticket = 0;
  made_and_shut();
  wanted.mode = VEIL_STORE_READ_ONLY;
  EXPECT(begin());
  EXPECT(list_of("list") == 1000);
  list_set("list", 5); // the heap can be changed
  veil_collect(self);
  EXPECT(list_of("list") == 5);
  EXPECT(veil_store_commit(store, NULL) == VEIL_INVALID);
  SAYS("read-only");
  EXPECT(veil_store_commit_async(store, &ticket) == VEIL_INVALID);
  EXPECT(veil_store_poll(store, 1) == VEIL_INVALID);
  EXPECT(veil_store_compact(store) == VEIL_INVALID);
  SAYS("read-only");
  veil_store *other = opened(path); // readers do not exclude each other
  EXPECT(other != NULL);
  veil_thread *me = veil_attach(veil_store_heap(other));
  EXPECT(list_check(veil_root_get(me, "list")) == 1000);
  veil_detach(me);
  OK(veil_store_close(other));
  wanted.mode = VEIL_STORE_ANY;
  REFUSED("process");
  wanted.mode = VEIL_STORE_READ_ONLY;
  shut();
  wanted.mode = VEIL_STORE_ANY;
  there_still();
}

static void in_another_process(void (*fn)(void)) {
  int how;
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    fn();
    _exit(0);
  }
  EXPECT(waitpid(pid, &how, 0) == pid && WIFEXITED(how) && WEXITSTATUS(how) == 0);
}

static int ready[2], leave[2];

static void hold(void) {
  char c = 0;
  EXPECT(begin());
  EXPECT(list_of("list") == 1000);
  EXPECT(write(ready[1], &c, 1) == 1 && read(leave[0], &c, 1) == 1);
  shut();
}

static void held(veil_store_mode theirs, veil_store_mode ours, bool refused) {
  char pid_text[20], c = 0;
  int how;
  made_and_shut();
  EXPECT(pipe(ready) == 0 && pipe(leave) == 0);
  wanted.mode = theirs;
  pid_t pid = fork();
  if (pid == 0) {
    hold();
    _exit(0);
  }
  EXPECT(read(ready[0], &c, 1) == 1);
  wanted.mode = ours;
  if (refused) {
    snprintf(pid_text, sizeof pid_text, "process %d", (int)pid);
    REFUSED(pid_text);
    REFUSED(folder);
  } else {
    EXPECT(begin());
    EXPECT(list_of("list") == 1000);
    shut();
  }
  EXPECT(write(leave[1], &c, 1) == 1 && waitpid(pid, &how, 0) == pid && how == 0);
  there_still();
}

Test(store_refuses, a_writer_while_there_is_one, .timeout = 60) { held(VEIL_STORE_ANY, VEIL_STORE_ANY, true); }
Test(store_refuses, a_reader_while_there_is_a_writer, .timeout = 60) { held(VEIL_STORE_ANY, VEIL_STORE_READ_ONLY, true); }
Test(store_refuses, a_writer_while_there_is_a_reader, .timeout = 60) { held(VEIL_STORE_READ_ONLY, VEIL_STORE_ANY, true); }
Test(store_refuses, no_reader_while_there_is_one, .timeout = 60) { held(VEIL_STORE_READ_ONLY, VEIL_STORE_READ_ONLY, false); }

// What a killed writer has left is for readers as it is for a writer.
static void commit_and_more(void) {
  list_set("list", 1000);
  commit();
  list_set("list", 2000);
}

Test(store, a_reader_finds_what_a_killed_writer_has_left, .timeout = 60) {
  KILLED_AFTER(NULL, commit_and_more);
  wanted.mode = VEIL_STORE_READ_ONLY;
  EXPECT(begin());
  EXPECT(list_of("list") == 1000);
  shut();
  wanted.mode = VEIL_STORE_ANY;
  there_still();
}

// ---- Files.

static void file_write(const char *name, const char *text, long at) {
  int fd = open(name, O_RDWR | O_CREAT, 0600);
  EXPECT(fd >= 0 && pwrite(fd, text, strlen(text), at) == (ssize_t)strlen(text));
  close(fd);
}

Test(store_refuses, files_that_are_no_store, .timeout = 60) {
  folder_make();
  file_write(path, "this is no image, nor anything like that", 0);
  REFUSED(path);
  unlink(path);
  close(open(path, O_RDWR | O_CREAT, 0600)); // of no bytes
  REFUSED(path);
  unlink(path);
  veil_heap *plain = veil_open(&(veil_options){.limit = 32 * MIB});
  veil_checkpointer *c = veil_checkpointer_open(plain, &(veil_checkpointer_options){.path = path});
  OK(veil_checkpoint(c, 0, NULL));
  veil_checkpointer_close(c);
  veil_close(plain);
  REFUSED("a checkpoint");
  folder_remove();
}

Test(store_refuses, what_was_cut_off, .timeout = 60) {
  made_and_shut();
  EXPECT(truncate(path, 5000) == 0);
  REFUSED(path);
  folder_remove();
  made();
  OK(veil_store_commit(store, NULL));
  shut();
  EXPECT(truncate(log_path, 5000) == 0);
  REFUSED(log_path);
  folder_remove();
}

Test(store_refuses, the_log_of_another_store, .timeout = 60) {
  char other_log[150], other[140];
  made_and_shut();
  snprintf(other, sizeof other, "%s/other.veil", folder);
  snprintf(other_log, sizeof other_log, "%s.log", other);
  veil_store *second = opened(other);
  EXPECT(second != NULL);
  OK(veil_store_close(second));
  EXPECT(rename(other_log, log_path) == 0);
  REFUSED("another store");
  unlink(other);
  folder_remove();
}

Test(store_refuses, to_go_on_without_a_log_that_is_needed, .timeout = 60) {
  KILLED_AFTER(NULL, commit_and_more);
  EXPECT(unlink(log_path) == 0);
  for (int i = 0; i < 2; i++) {
    wanted.mode = i == 0 ? VEIL_STORE_ANY : VEIL_STORE_READ_ONLY;
    REFUSED("is missing");
    SAYS(log_path);
  }
  EXPECT(access(log_path, F_OK) != 0);
  folder_remove();
}

Test(store_refuses, to_make_one_where_a_log_is_left, .timeout = 60) {
  KILLED_AFTER(NULL, commit_and_more);
  char aside[140];
  snprintf(aside, sizeof aside, "%s/aside", folder);
  EXPECT(rename(path, aside) == 0);
  for (int i = 0; i < 2; i++) {
    wanted.mode = i == 0 ? VEIL_STORE_ANY : VEIL_STORE_NEW;
    REFUSED("may have commits");
    SAYS(log_path);
    EXPECT(access(path, F_OK) != 0);
  }
  wanted.mode = VEIL_STORE_ANY;
  EXPECT(rename(aside, path) == 0);
  there_still();
}

// ---- Types.

typedef struct shape {
  void *a, *b;
  long c;
} shape;
typedef struct other_shape {
  void *a;
  long b, c;
} other_shape;
VEIL_TYPE(shape, a, b);
VEIL_TYPE(other_shape, a);

Test(store_refuses, types_that_have_changed, .timeout = 60) {
  veil_type *types[] = {&veil_type_node, &veil_type_other_shape};
  made();
  OK(veil_root_set(self, "shape", veil_new(self, shape)));
  commit();
  shut();
  veil_type_other_shape.name = "shape";
  wanted.types = types;
  wanted.type_count = 2;
  REFUSED("shape");
  wanted.type_count = 1;
  there_still();
}

static void finalize(veil_thread *me, void *object, void *data) {}

Test(store_refuses, finalizers_unless_they_are_to_go, .timeout = 60) {
  made();
  veil_finalize(self, veil_root_get(self, "list"), finalize, NULL);
  commit();
  shut();
  REFUSED("finalizer");
  wanted.drop_finalizers = true;
  there_still();
}

// ---- Children of fork.

Test(store_refuses, commits_in_a_child_of_fork, .timeout = 60) {
  int how;
  made();
  pid_t pid = fork();
  if (pid == 0) {
    EXPECT(list_of("list") == 1000);
    EXPECT(veil_store_commit(store, NULL) == VEIL_UNSUPPORTED);
    SAYS("child of fork");
    EXPECT(veil_store_compact(store) == VEIL_UNSUPPORTED);
    SAYS("child of fork");
    veil_detach(self);
    OK(veil_store_close(store));
    _exit(0);
  }
  EXPECT(waitpid(pid, &how, 0) == pid && WIFEXITED(how) && WEXITSTATUS(how) == 0);
  list_set("more", 20);
  commit();
  again();
  EXPECT(list_of("more") == 20);
  shut();
  there_still();
}

Test(store_refuses, nothing_to_a_process_after_it, .timeout = 60) {
  made_and_shut();
  in_another_process(there_still);
}
