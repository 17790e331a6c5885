// SPDX-License-Identifier: MIT
// files.c: calls, options, files and errors of checkpoints, and of restoring, by the public interface.

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tests/checkpoint/ledger.h"
#include "tests/runtime/world.h"
#include "veil/checkpoint.h"
#include "veil/critical.h"
#include "veil/weak.h"

static char folder[100], path[120], beside[130];
static veil_checkpointer *c;
static veil_checkpoint_figures f;

static void folder_make(void) {
  strcpy(folder, "/tmp/checkpoint.XXXXXX");
  cr_assert_not_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/heap.veil", folder);
  snprintf(beside, sizeof beside, "%s.new", path);
}

static void folder_remove(void) {
  unlink(path);
  unlink(beside);
  cr_assert_eq(rmdir(folder), 0, "something is left in %s: %s", folder, strerror(errno));
}

#define OK(CALL) cr_assert_eq(CALL, VEIL_OK, "%s", veil_error())
#define SAYS(TEXT) cr_assert(strstr(veil_error(), TEXT) != NULL, "%s", veil_error())

static veil_checkpointer *opened(veil_checkpointer_options options) {
  options.path = options.path != NULL ? options.path : path;
  veil_checkpointer *checkpointer = veil_checkpointer_open(heap, &options);
  cr_assert_not_null(checkpointer, "%s", veil_error());
  return checkpointer;
}

// A list with a name, and a checkpointer.
static void begin(const char *back_end) {
  folder_make();
  if (!start((veil_options){.back_end = back_end})) {
    folder_remove();
    cr_skip_test("the back end does not work here");
  }
  OK(veil_root_set(self, "list", list_make(self, 1000)));
  c = opened((veil_checkpointer_options){0});
}

static void finish(void) {
  veil_checkpointer_close(c);
  end();
  folder_remove();
}

static veil_heap *restored(veil_restore_options options) {
  static veil_type *const types[] = {&veil_type_node};
  options.types = types;
  options.type_count = 1;
  return veil_restore(path, &(veil_options){.limit = 64 * MIB}, &options);
}

static void list_is_there(bool elsewhere, long length) {
  veil_heap *other = restored((veil_restore_options){.elsewhere = elsewhere});
  cr_assert_not_null(other, "%s", veil_error());
  veil_thread *me = veil_attach(other);
  cr_assert_eq(list_check(veil_root_get(me, "list")), length);
  const char *bytes = veil_root_get(me, "bytes");
  for (size_t i = 0; bytes != NULL && i < 8 * MIB; i++) {
    cr_assert_eq(bytes[i], 7);
  }
  cr_assert(veil_restored(other, true));
  cr_assert(veil_restored(other, false));
  veil_collect(me);
  veil_verify(me);
  cr_assert_eq(list_check(veil_root_get(me, "list")), length);
  veil_detach(me);
  veil_close(other);
}

// ---- What is made.

ON_ALL_BACK_ENDS(checkpoint, the_first_is_full_and_the_next_an_increment) {
  begin(back_end);
  OK(veil_checkpoint(c, 0, &f));
  cr_assert(f.full && f.version == 1 && f.pages > 0 && f.bytes >= f.pages * 4096 && f.pause_ns > 0 && f.durable_ns >= f.pause_ns);
  uint64_t first = f.pages;
  ((node *)veil_root_get(self, "list"))->more = 5;
  OK(veil_checkpoint(c, 0, &f));
  cr_assert(!f.full && f.version == 2 && f.pages > 0);
  cr_assert(strcmp(veil_back_end(heap), "none") == 0 || f.pages < first, "%lu of %lu pages", f.pages, first);
  list_is_there(true, 1000);
  OK(veil_checkpoint(c, VEIL_CHECKPOINT_FULL, &f));
  cr_assert(f.full && f.version == 1);
  finish();
}

ON_ALL_BACK_ENDS(checkpoint, what_is_restored_goes_on) {
  begin(back_end);
  OK(veil_root_set(self, "bytes", veil_new_bytes(self, 8 * MIB))); // most of which are away when the first one is asked for
  memset(veil_root_get(self, "bytes"), 7, 8 * MIB);
  OK(veil_checkpoint(c, 0, NULL));
  veil_checkpointer_close(c);
  end();
  heap = restored((veil_restore_options){0});
  cr_assert_not_null(heap, "%s", veil_error());
  self = veil_attach(heap);
  OK(veil_root_set(self, "list", list_make(self, 500)));
  c = opened((veil_checkpointer_options){0});
  OK(veil_checkpoint(c, 0, &f));
  cr_assert(f.full && f.version == 1);
  list_is_there(true, 500);
  OK(veil_root_set(self, "list", list_make(self, 300)));
  veil_collect(self);
  OK(veil_checkpoint(c, 0, &f));
  cr_assert(!f.full && f.version == 2);
  list_is_there(true, 300);
  finish();
}

// The next cycle's epoch is not always the last one's successor (gc.still), and what was restored may carry any but that.
ON_TRAPPING_BACK_ENDS(checkpoint, what_was_left_in_place_is_restored_and_goes_on) {
  begin(back_end);
  OK(veil_root_set(self, "still", list_make(self, 20000))); // so that most blocks carry one and the same
  veil_collect(self);
  for (int i = 0; i < 7; i++) {
    OK(veil_checkpoint(c, 0, &f));
    OK(veil_root_set(self, "list", list_make(self, 1000 + i)));
    veil_collect(self);
    OK(veil_checkpoint(c, 0, &f));
    cr_assert_not(f.full);
    list_is_there(true, 1000 + i);
  }
  for (int i = 0; i < 3; i++) {
    veil_checkpointer_close(c);
    end();
    heap = restored((veil_restore_options){0});
    cr_assert_not_null(heap, "%s", veil_error());
    self = veil_attach(heap);
    c = opened((veil_checkpointer_options){0});
    OK(veil_checkpoint(c, 0, &f));
    for (int j = 0; j <= i; j++) {
      veil_collect(self);
      veil_verify(self);
    }
    OK(veil_checkpoint(c, 0, &f));
    list_is_there(true, 1006);
  }
  finish();
}

Test(checkpoint, a_checkpointer_may_make_none_but_full_ones, .timeout = 60) {
  begin(NULL);
  veil_checkpointer_close(c);
  c = opened((veil_checkpointer_options){.whole = true});
  for (int i = 0; i < 3; i++) {
    OK(veil_checkpoint(c, 0, &f));
    cr_assert(f.full && f.version == 1);
  }
  list_is_there(true, 1000);
  finish();
}

Test(checkpoint, what_is_asked_to_start_is_told_by_wait, .timeout = 60) {
  begin(NULL);
  OK(veil_checkpoint_wait(c, &f)); // there was none
  cr_assert_eq(f.version, 0);
  OK(veil_checkpoint(c, VEIL_CHECKPOINT_START, &f));
  cr_assert(f.pause_ns != 0 && f.durable_ns == 0);
  uint64_t done, of;
  veil_checkpointing(c, &done, &of);
  cr_assert_leq(done, of);
  OK(veil_checkpoint_wait(c, &f));
  cr_assert(f.version == 1 && f.durable_ns != 0);
  cr_assert_not(veil_checkpointing(c, &done, NULL));
  cr_assert_eq(done, 0);
  list_is_there(true, 1000);
  finish();
}

Test(checkpoint, a_stream_goes_to_a_pipe, .timeout = 60) {
  begin(NULL);
  int ends[2];
  cr_assert_eq(pipe(ends), 0);
  OK(veil_checkpoint_fd(c, ends[1], VEIL_CHECKPOINT_START, NULL));
  int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  static char bytes[65536];
  for (ssize_t n; veil_checkpointing(c, NULL, NULL);) {
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    while ((n = read(ends[0], bytes, sizeof bytes)) > 0) {
      cr_assert_eq(write(fd, bytes, (size_t)n), n);
    }
  }
  close(ends[1]);
  for (ssize_t n; (n = read(ends[0], bytes, sizeof bytes)) > 0;) {
    cr_assert_eq(write(fd, bytes, (size_t)n), n);
  }
  close(ends[0]);
  close(fd);
  OK(veil_checkpoint_wait(c, &f));
  cr_assert(f.full && f.version == 1);
  list_is_there(true, 1000);
  finish();
}

Test(checkpoint, a_reader_of_a_pipe_that_goes_away_is_an_error, .timeout = 60) {
  begin(NULL);
  signal(SIGPIPE, SIG_IGN);
  int ends[2];
  cr_assert_eq(pipe(ends), 0);
  close(ends[0]);
  OK(veil_checkpoint(c, 0, NULL));
  cr_assert_eq(veil_checkpoint_fd(c, ends[1], 0, NULL), VEIL_IO);
  cr_assert_eq(veil_checkpoint_wait(c, NULL), VEIL_IO);
  close(ends[1]);
  OK(veil_checkpoint(c, 0, &f)); // the file has nothing to do with it
  cr_assert(!f.full && f.version == 2);
  finish();
}

Test(checkpoint, the_folder_may_be_left_meanwhile, .timeout = 60) {
  begin(NULL);
  veil_checkpointer_close(c);
  char here[1000];
  cr_assert_not_null(getcwd(here, sizeof here));
  cr_assert_eq(chdir(folder), 0);
  c = opened((veil_checkpointer_options){.path = "heap.veil"});
  cr_assert_eq(chdir(here), 0);
  OK(veil_checkpoint(c, 0, NULL));
  list_is_there(true, 1000);
  finish();
}

// ---- Files.

Test(checkpoint, a_file_that_is_no_image_is_not_replaced, .timeout = 60) {
  begin(NULL);
  veil_checkpointer_close(c);
  int fd = open(path, O_WRONLY | O_CREAT, 0600);
  c = opened((veil_checkpointer_options){0}); // an empty one is
  veil_checkpointer_close(c);
  cr_assert_eq(write(fd, "precious", 8), 8);
  close(fd);
  cr_assert_null(veil_checkpointer_open(heap, &(veil_checkpointer_options){.path = path}));
  SAYS("not replaced");
  cr_assert_null(veil_checkpointer_open(heap, &(veil_checkpointer_options){.path = folder}));
  SAYS("not replaced");
  unlink(path);
  c = opened((veil_checkpointer_options){0});
  finish();
}

Test(checkpoint, what_an_older_checkpointer_left_is_replaced_by_a_full_one, .timeout = 60) {
  begin(NULL);
  OK(veil_checkpoint(c, 0, NULL));
  OK(veil_checkpoint(c, 0, NULL));
  veil_checkpointer_close(c);
  c = opened((veil_checkpointer_options){0});
  list_is_there(true, 1000);
  OK(veil_root_set(self, "list", list_make(self, 10)));
  OK(veil_checkpoint(c, 0, &f));
  cr_assert(f.full && f.version == 1);
  list_is_there(true, 10);
  finish();
}

Test(checkpoint, a_file_that_vanishes_is_made_anew, .timeout = 60) {
  begin(NULL);
  OK(veil_checkpoint(c, 0, NULL));
  unlink(path);
  OK(veil_checkpoint(c, 0, &f));
  cr_assert(f.full && f.version == 1);
  list_is_there(true, 1000);
  cr_assert_eq(rename(path, beside), 0); // another one in its place
  cr_assert_eq(link(beside, path), 0);
  unlink(beside);
  OK(veil_checkpoint(c, 0, &f));
  cr_assert(!f.full, "it is the same file");
  finish();
}

Test(checkpoint, a_folder_that_is_not_there_is_an_error, .timeout = 60) {
  begin(NULL);
  veil_checkpointer *nowhere = opened((veil_checkpointer_options){.path = "/nonexistent/heap.veil"});
  for (int i = 0; i < 2; i++) {
    cr_assert_eq(veil_checkpoint(nowhere, 0, &f), VEIL_IO);
    SAYS("/nonexistent/heap.veil");
    cr_assert(f.version == 0 && f.durable_ns == 0);
    cr_assert_eq(veil_checkpoint_wait(nowhere, NULL), VEIL_IO);
    SAYS("/nonexistent/heap.veil");
  }
  cr_assert_eq(veil_checkpoint(nowhere, VEIL_CHECKPOINT_START, NULL), VEIL_IO);
  veil_checkpointer_close(nowhere);
  OK(veil_checkpoint(c, 0, NULL));
  finish();
}

Test(checkpoint, a_folder_that_may_not_be_written_is_an_error, .timeout = 60) {
  if (geteuid() == 0) {
    cr_skip_test("root may write everywhere");
  }
  begin(NULL);
  OK(veil_checkpoint(c, 0, NULL));
  chmod(folder, 0500);
  OK(veil_checkpoint(c, 0, &f)); // an increment makes no name
  cr_assert_eq(veil_checkpoint(c, VEIL_CHECKPOINT_FULL, NULL), VEIL_IO);
  SAYS(path);
  list_is_there(true, 1000);
  chmod(folder, 0700);
  OK(veil_checkpoint(c, 0, &f));
  cr_assert(f.full);
  finish();
}

Test(checkpoint, a_file_has_one_writer, .timeout = 60) {
  begin(NULL);
  OK(veil_checkpoint(c, 0, NULL));
  veil_checkpointer *other = opened((veil_checkpointer_options){0});
  cr_assert_eq(veil_checkpoint(other, 0, NULL), VEIL_BUSY);
  SAYS("is being written by process");
  veil_checkpointer_close(other);
  OK(veil_checkpoint(c, 0, &f));
  cr_assert(!f.full);
  finish();
}

// ---- Misuse.

Test(checkpoint, bad_options_are_refused, .timeout = 60) {
  begin(NULL);
  static const struct {
    veil_checkpointer_options options;
    const char *says;
  } bad[] = {
      {{.path = ""}, "an empty path"},
      {{.path = "/tmp/x", .pool = 4096}, "less than 1 MiB"},
      {{.path = "/tmp/x", .codec = (veil_codec)9}, "codec"},
      {{.interval_ms = 5}, "no path"},
      {{.signal = SIGUSR1}, "no path"},
      {{.path = "/tmp/x", .signal = SIGKILL}, "cannot be used"},
      {{.path = "/tmp/x", .signal = SIGSEGV}, "cannot be used"},
      {{.path = "/tmp/x", .signal = 1000}, "cannot be used"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    cr_assert_null(veil_checkpointer_open(heap, &bad[i].options), "options %zu", i);
    SAYS(bad[i].says);
  }
  signal(SIGUSR2, SIG_DFL);
  struct sigaction action = {.sa_handler = (void (*)(int))folder_remove};
  sigaction(SIGUSR2, &action, NULL);
  cr_assert_null(veil_checkpointer_open(heap, &(veil_checkpointer_options){.path = "/tmp/x", .signal = SIGUSR2}));
  SAYS("has a handler already");
  cr_assert_eq(veil_checkpoint(c, 64, NULL), VEIL_INVALID);
  SAYS("flags");
  cr_assert_eq(veil_checkpoint_fd(c, -1, 0, NULL), VEIL_INVALID);
  cr_assert_eq(veil_checkpoint_fd(c, 9999, 0, NULL), VEIL_IO);
  veil_checkpointer *streams = veil_checkpointer_open(heap, NULL);
  cr_assert_not_null(streams, "%s", veil_error());
  cr_assert_eq(veil_checkpoint(streams, 0, NULL), VEIL_INVALID);
  SAYS("no path");
  veil_checkpointer_close(streams);
  veil_checkpointer_close(NULL);
  finish();
}

DIES(checkpoint, a_heap_is_not_closed_before_its_checkpointer, "service checkpoint is still open") {
  begin(NULL);
  end();
}

DIES(checkpoint, no_checkpoint_is_made_in_a_critical_section, "critical section") {
  begin(NULL);
  veil_critical_begin(self, 100);
  veil_checkpoint(c, 0, NULL);
}

// ---- Threads.

Test(checkpoint, an_attached_thread_may_ask_between_brackets, .timeout = 60) {
  begin(NULL);
  veil_block_begin(self);
  OK(veil_checkpoint(c, 0, NULL));
  veil_block_end(self);
  OK(veil_checkpoint(c, 0, NULL));
  finish();
}

static void *collect_some(void *unused) {
  veil_thread *me = veil_attach(heap);
  for (int i = 0; i < 20; i++) {
    list_make(me, 2000);
    veil_collect(me);
  }
  veil_detach(me);
  return NULL;
}

Test(checkpoint, cycles_and_checkpoints_go_on_beside_each_other, .timeout = 60) {
  begin(NULL);
  pthread_t thread = thread_start(collect_some, NULL);
  for (int i = 0; i < 10; i++) {
    veil_collect_start(self); // asked for during a cycle
    OK(veil_checkpoint(c, 0, NULL));
  }
  veil_block_begin(self);
  pthread_join(thread, NULL);
  veil_block_end(self);
  list_is_there(true, 1000);
  finish();
}

// ---- Restoring.

Test(restore, what_cannot_be_opened_is_an_error) {
  cr_assert_null(veil_restore("/nonexistent/heap.veil", NULL, NULL));
  SAYS("/nonexistent/heap.veil");
  cr_assert_null(veil_restore("/proc/self/maps", NULL, NULL));
  cr_assert_null(veil_restore("", NULL, NULL));
  cr_assert_null(veil_restore(NULL, NULL, NULL));
}

Test(restore, a_plain_heap_counts_as_restored) {
  cr_assert(start((veil_options){0}));
  cr_assert(veil_restored(heap, false));
  cr_assert(veil_restored(heap, true));
  end();
}

Test(restore, many_heaps_come_out_of_one_file, .timeout = 60) {
  begin(NULL);
  OK(veil_checkpoint(c, 0, NULL));
  veil_heap *other[3];
  for (int i = 0; i < 3; i++) {
    other[i] = restored((veil_restore_options){0});
    cr_assert_not_null(other[i], "%s", veil_error());
  }
  OK(veil_checkpoint(c, VEIL_CHECKPOINT_FULL, NULL)); // which takes its place, and harms nobody
  for (int i = 0; i < 3; i++) {
    veil_thread *me = veil_attach(other[i]);
    cr_assert_eq(list_check(veil_root_get(me, "list")), 1000);
    veil_detach(me);
    veil_close(other[i]);
  }
  finish();
}

static bool is_restored_within(veil_heap *other, unsigned ms) {
  for (unsigned i = 0; i < ms && !veil_restored(other, false); i++) {
    usleep(1000);
  }
  return veil_restored(other, false);
}

Test(restore, the_background_begins_when_it_was_told_to, .timeout = 120) {
  begin(NULL);
  OK(veil_root_set(self, "bytes", veil_new_bytes(self, 4 * MIB)));
  OK(veil_checkpoint(c, 0, NULL));
  const unsigned long_ms = 600000;
  veil_heap *later = restored((veil_restore_options){.delay_ms = long_ms}), *soon = restored((veil_restore_options){.delay_ms = 50});
  cr_assert(later != NULL && soon != NULL, "%s", veil_error());
  cr_assert(is_restored_within(soon, 20000));
  cr_assert_not(is_restored_within(later, 200));
  veil_thread *me = veil_attach(later);
  cr_assert_eq(list_check(veil_root_get(me, "list")), 1000); // what is touched is read
  veil_detach(me);
  cr_assert_not(veil_restored(later, false));
  cr_assert(veil_restored(later, true)); // who waits does not wait for that
  veil_close(later);
  later = restored((veil_restore_options){.delay_ms = long_ms});
  veil_close(later); // nor does who closes
  veil_close(soon);
  finish();
}

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

Test(restore, a_type_of_another_layout_is_refused_by_name, .timeout = 60) {
  begin(NULL);
  veil_type *types[] = {&veil_type_other_shape};
  OK(veil_root_set(self, "shape", veil_new(self, shape)));
  OK(veil_checkpoint(c, 0, NULL));
  veil_type_other_shape.name = "shape";
  cr_assert_null(veil_restore(path, NULL, &(veil_restore_options){.types = types, .type_count = 1}));
  SAYS("shape");
  finish();
}

DIES(restore, damage_says_so_when_it_is_touched, "is damaged") {
  begin(NULL);
  OK(veil_root_set(self, "bytes", veil_new_bytes(self, 4 * MIB))); // so that most of the file is pages
  memset(veil_root_get(self, "bytes"), 7, 4 * MIB);
  OK(veil_checkpoint(c, 0, NULL));
  int fd = open(path, O_RDWR);
  cr_assert_eq(pwrite(fd, "damage", 6, 2 * MIB), 6);
  close(fd);
  veil_heap *other = restored((veil_restore_options){.elsewhere = true});
  cr_assert_not_null(other, "%s", veil_error()); // the index is whole
  unlink(path);
  rmdir(folder);
  veil_restored(other, true);
}
