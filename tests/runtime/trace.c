// SPDX-License-Identifier: MIT
// trace.c: traces are strict JSON, whole, and agree with the statistics; what cannot be written is an error that names it; a child of fork leaves its
// parent's file alone; nothing is lost without a count.

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include "tests/runtime/trace_file.h"
#include "tests/runtime/world.h"

// The tracer's writes pass here: held up, or refused.
ssize_t __real_pwrite(int fd, const void *bytes, size_t count, off_t offset);
static int volatile hold, refuse, short_write;

ssize_t __wrap_pwrite(int fd, const void *bytes, size_t count, off_t offset) {
  while (__atomic_load_n(&hold, __ATOMIC_ACQUIRE)) {
    sleep_ms(1);
  }
  if (__atomic_load_n(&refuse, __ATOMIC_ACQUIRE)) {
    errno = ENOSPC;
    return -1;
  }
  if (__atomic_load_n(&short_write, __ATOMIC_ACQUIRE) && count > 10) {
    count = count / 2;
  }
  return __real_pwrite(fd, bytes, count, offset);
}

// A new name in a folder of its own.
static const char *path_new(void) {
  static char path[64];
  static char folder[32];
  strcpy(folder, "/tmp/veil-trace-XXXXXX");
  cr_assert_not_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/trace.json", folder);
  return path;
}

static void path_remove(const char *path) {
  char folder[64];
  unlink(path);
  snprintf(folder, sizeof folder, "%s", path);
  *strrchr(folder, '/') = 0;
  rmdir(folder);
}

static void work(int cycles) {
  node *volatile held = list_make(self, 20000);
  for (int i = 0; i < cycles; i++) {
    veil_collect_start(self);
    EXPECT(list_check(held) == 20000);
    veil_collect(self);
    veil_block_begin(self);
    veil_block_end(self);
  }
}

ON_ALL_BACK_ENDS(trace, a_trace_is_whole_and_agrees_with_the_statistics) {
  const char *path = path_new();
  START_OR_SKIP(.back_end = back_end, .trace = path, .generations = VEIL_GENERATIONS_ON, .nursery = 256 << 10);
  work(5);
  veil_detach(self);
  veil_stats s = stats_of(heap);
  veil_close(heap);
  trace t = trace_read_whole(path);
  cr_assert_eq(trace_count(&t, "dropped", 0), 0);
  cr_assert_geq(s.major_cycles, 5);
  cr_assert_geq(s.minor_cycles, 1);
  cr_assert_eq(trace_count(&t, "minor", 0), s.minor_cycles);
  cr_assert_eq((uint64_t)trace_sum(&t, "minor", 2), s.minor_promoted_bytes);
  cr_assert_eq(trace_count(&t, "flip", 0), s.major_cycles);
  cr_assert_eq(trace_count(&t, "cycle starts", 0), s.major_cycles);
  cr_assert_eq(trace_count(&t, "cycle", 0), s.major_cycles);
  cr_assert_eq(trace_count(&t, "sweep", 0), s.major_cycles);
  cr_assert_eq(trace_count(&t, "stop", 0), s.stops);
  cr_assert_eq(trace_count(&t, "trap", 0), s.traps);
  cr_assert_eq(trace_count(&t, "stall", 0), s.stalls);
  cr_assert_eq(trace_count(&t, "assist", 0), s.assists);
  cr_assert_eq(trace_count(&t, "blocked", 0), 5);
  cr_assert_eq(trace_count(&t, "attached", 0), 1);
  cr_assert_eq(trace_count(&t, "detached", 0), 1);
  cr_assert_eq(trace_count(&t, "heap opened", 0), 1);
  cr_assert_eq(trace_count(&t, "heap closed", 0), 1);
  cr_assert_eq((uint64_t)trace_sum(&t, "scan", 2), s.pages_scanned_background + s.pages_scanned_assist);
  cr_assert_eq((uint64_t)trace_sum(&t, "committed", 0), s.committed_bytes);
  cr_assert_eq((uint64_t)trace_sum(&t, "returned", 0), s.returned_bytes);
  // Counters, numbers of cycles, names of threads.
  uint64_t cycle = 0, memory = 0;
  bool scanner = false, process = false;
  for (size_t i = 0; i < t.count; i++) {
    event *e = &t.events[i];
    if (strcmp(e->name, "flip") == 0) {
      cr_assert_eq((uint64_t)e->arg[0], ++cycle);
      cr_assert_eq(e->tid, (long)getpid());
    }
    if (strcmp(e->name, "memory") == 0) {
      memory++;
      cr_assert(e->phase == 'C' && e->args == 3 && e->arg[0] <= (double)s.held_max_bytes);
    }
    scanner |= e->phase == 'M' && strstr(e->text, "veil-scanner") != NULL;
    process |= e->phase == 'M' && strcmp(e->name, "process_name") == 0 && strstr(e->text, back_end) != NULL;
  }
  cr_assert(memory >= 3 * s.major_cycles && process);
  cr_assert_eq(scanner, strcmp(back_end, "none") != 0);
  trace_free(&t);
  path_remove(path);
}

Test(trace, heaps_share_a_file_one_after_the_other_too, .timeout = 120) {
  const char *path = path_new();
  char other[80]; // another name of the same file
  snprintf(other, sizeof other, "/tmp/../%s", path);
  START_OR_SKIP(.trace = path);
  work(2);
  veil_heap *second = heap_open((veil_options){.trace = other});
  veil_thread *second_self = veil_attach(second);
  veil_collect(second_self);
  veil_detach(second_self);
  veil_close(second);
  trace t = trace_read_whole(path); // what the closed heap has said is there, and the file is whole
  cr_assert_eq(trace_count(&t, "flip", 1), stats_of(heap).major_cycles);
  cr_assert_eq(trace_count(&t, "flip", 2), 1);
  cr_assert_eq(trace_count(&t, "heap closed", 0), 1);
  trace_free(&t);
  end();
  START_OR_SKIP(.trace = path); // after the last was closed: the file goes on
  work(1);
  uint64_t flips = stats_of(heap).major_cycles;
  end();
  t = trace_read_whole(path);
  cr_assert_eq(trace_count(&t, "heap closed", 0), 3);
  cr_assert_eq(trace_count(&t, "flip", 3), flips);
  trace_free(&t);
  // But one that somebody else has written to since is begun anew.
  FILE *file = fopen(path, "a");
  fputs("x", file);
  fclose(file);
  START_OR_SKIP(.trace = path);
  end();
  t = trace_read_whole(path);
  cr_assert_eq(trace_count(&t, "heap closed", 0), 1);
  trace_free(&t);
  path_remove(path);
}

Test(trace, the_environment_names_the_file_and_p_is_the_process) {
  const char *path = path_new();
  char pattern[96], expanded[96];
  snprintf(pattern, sizeof pattern, "%s.%%p", path);
  snprintf(expanded, sizeof expanded, "%s.%d", path, (int)getpid());
  setenv("VEIL_TRACE", pattern, 1);
  START_OR_SKIP(.scanners = 1);
  unsetenv("VEIL_TRACE");
  end();
  trace t = trace_read_whole(expanded);
  cr_assert_eq(trace_count(&t, "heap opened", 0), 1);
  trace_free(&t);
  unlink(expanded);
  path_remove(path);
}

static void refused(const char *path, const char *why) {
  veil_options options = {.limit = 32 * MIB, .trace = path};
  cr_assert_null(veil_open(&options), "%s", path);
  cr_assert(strstr(veil_error(), "option trace") != NULL && strstr(veil_error(), why) != NULL, "%s", veil_error());
}

Test(trace, a_file_that_cannot_be_written_is_an_error_that_names_it) {
  refused("/nowhere/trace.json", "/nowhere/trace.json");
  refused("/tmp", "/tmp");
  const char *path = path_new();
  cr_assert_eq(mkfifo(path, 0600), 0);
  int reader = open(path, O_RDONLY | O_NONBLOCK);
  refused(path, "not a regular file");
  close(reader);
  path_remove(path);
  char *deep = malloc(8000);
  memset(deep, 'a', 7999);
  deep[7999] = 0;
  refused(deep, "too long");
  free(deep);
  // A heap without a trace opens all the same; so does one with a name of no length.
  START_OR_SKIP(.trace = "");
  end();
}

Test(trace, a_disk_that_is_full_ends_the_trace_and_not_the_program, .timeout = 120) {
  const char *path = path_new();
  START_OR_SKIP(.trace = path);
  work(1);
  __atomic_store_n(&refuse, 1, __ATOMIC_RELEASE);
  work(3);
  end();
  __atomic_store_n(&refuse, 0, __ATOMIC_RELEASE);
  START_OR_SKIP(.trace = path); // and the next one is written again
  end();
  trace t = trace_read_whole(path);
  cr_assert_eq(trace_count(&t, "heap closed", 0), 1);
  trace_free(&t);
  path_remove(path);
}

Test(trace, what_is_written_in_pieces_is_whole, .timeout = 120) {
  const char *path = path_new();
  __atomic_store_n(&short_write, 1, __ATOMIC_RELEASE);
  START_OR_SKIP(.trace = path);
  work(2);
  uint64_t flips = stats_of(heap).major_cycles;
  end();
  trace t = trace_read_whole(path);
  cr_assert_eq(trace_count(&t, "flip", 0), flips);
  trace_free(&t);
  path_remove(path);
}

Test(trace, a_ring_that_overflows_counts_what_it_drops_and_drops_no_flip, .timeout = 120) {
  enum { BRACKETS = 100000 };
  const char *path = path_new();
  START_OR_SKIP(.trace = path);
  sleep_ms(100);
  __atomic_store_n(&hold, 1, __ATOMIC_RELEASE); // the tracer waits in the write of what it has
  for (int i = 0; i < BRACKETS; i++) {
    veil_block_begin(self);
    veil_block_end(self);
    if (i % 1000 == 999) {
      veil_collect(self);
    }
  }
  __atomic_store_n(&hold, 0, __ATOMIC_RELEASE);
  uint64_t flips = stats_of(heap).major_cycles;
  end();
  trace t = trace_read_whole(path);
  double dropped = trace_sum(&t, "dropped", 0);
  cr_assert_eq(trace_count(&t, "flip", 0), flips);
  cr_assert_gt(dropped, 0);
  cr_assert_leq((double)trace_count(&t, "blocked", 0), BRACKETS - 1000);
  cr_assert_geq((double)trace_count(&t, "blocked", 0) + dropped, BRACKETS);
  trace_free(&t);
  path_remove(path);
}

// ---- Other processes.

static void leaves_without_closing(void *path) {
  EXPECT(start((veil_options){.trace = path}));
  work(2);
  exit(3);
}

Test(trace, a_program_that_exits_without_closing_leaves_a_whole_file, .timeout = 120) {
  const char *path = path_new();
  death d = death_of(leaves_without_closing, (void *)path);
  cr_assert(d.signal == 0 && d.code == 3, "%s", d.said);
  trace t = trace_read_whole(path);
  cr_assert_geq(trace_count(&t, "flip", 0), 2);
  cr_assert_eq(trace_count(&t, "flip", 0), trace_count(&t, "cycle", 0));
  cr_assert_eq(trace_count(&t, "heap closed", 0), 0);
  trace_free(&t);
  path_remove(path);
}

static void works_until_killed(void *path) {
  EXPECT(start((veil_options){.trace = path}));
  for (;;) {
    work(1);
  }
}

Test(trace, a_program_that_is_killed_leaves_a_file_that_can_be_loaded, .timeout = 240) {
  for (int round = 0; round < 10; round++) {
    const char *path = path_new();
    pid_t child = fork();
    if (child == 0) {
      works_until_killed((void *)path);
    }
    for (struct stat stat_now; stat(path, &stat_now) != 0 || stat_now.st_size < 20000 * (round + 1);) {
      sleep_ms(1);
    }
    kill(child, SIGKILL);
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    trace t = trace_read(path); // whole, or up to a last line
    trace_check(&t);
    cr_assert_gt(trace_count(&t, "flip", 0), 0);
    trace_free(&t);
    path_remove(path);
  }
}

Test(trace, a_child_of_fork_does_not_write_into_its_parents_file, .timeout = 120) {
  const char *path = path_new();
  START_OR_SKIP(.trace = path);
  work(1);
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    // A heap of its own that names the same file is refused; and leaving, by exit too, writes nothing.
    veil_options options = {.limit = 32 * MIB, .trace = path};
    bool right = veil_open(&options) == NULL && strstr(veil_error(), "another process") != NULL;
    work(2); // in the copy of its parent's
    end();
    exit(right ? 0 : 1);
  }
  int status;
  cr_assert(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  work(1);
  uint64_t flips = stats_of(heap).major_cycles;
  end();
  trace t = trace_read_whole(path);
  cr_assert_eq(trace_count(&t, "flip", 0), flips);
  cr_assert_eq(trace_count(&t, "heap opened", 0), 1);
  trace_free(&t);
  path_remove(path);
}

// ---- The reader's own test: it would not do to check with a parser that takes anything.

static bool reads(const char *text) {
  const char *path = path_new();
  FILE *file = fopen(path, "w");
  fputs(text, file);
  fclose(file);
  trace t = trace_read(path);
  bool whole = t.whole;
  trace_free(&t);
  path_remove(path);
  return whole;
}

static void reads_nonsense(void *text) { reads(text); }

Test(trace, the_tests_own_reader_is_strict) {
  cr_assert(reads("[\n{\"name\":\"a\",\"ph\":\"X\",\"pid\":1,\"tid\":2,\"ts\":1.000,\"dur\":0.5,\"args\":{\"a\":1}}\n]\n"));
  cr_assert_not(reads("[\n{\"name\":\"a\",\"ph\":\"X\",\"pid\":1,\"tid\":2,\"ts\":1.000}"));
  cr_assert_not(reads("[\n{\"name\":\"a\",\"ph\":\"X\"},\n{\"na"));
  static const char *const nonsense[] = {"[\n{\"name\":\"a\",}\n]\n", "[\n{\"name\":a}\n]\n", "[\n{\"ts\":01}\n]\n", "[\n{\"ts\":1.}\n]\n",
                                         "[\n{\"name\":\"a\tb\"}\n]\n", "[\n{\"ph\":\"Q\"}\n]\n"};
  for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
    cr_assert_eq(death_of(reads_nonsense, (void *)nonsense[i]).signal, SIGABRT, "%s", nonsense[i]);
  }
}
