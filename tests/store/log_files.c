// SPDX-License-Identifier: MIT
// log_files.c: logs on a real file system: locks between processes, a disk that is full, files that are something else, memory that is used.

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "runtime/store/log.h"

#define OK(CALL) cr_assert_eq((CALL), VEIL_OK, "%s: %s", #CALL, veil_error())
#define REFUSED(CALL, STATUS, TEXT)                                                                                                                            \
  do {                                                                                                                                                         \
    cr_assert_eq((CALL), STATUS, "%s: %s", #CALL, veil_error());                                                                                               \
    cr_assert_not_null(strstr(veil_error(), TEXT), "\"%s\" is not in: %s", TEXT, veil_error());                                                                \
  } while (0)

static const uint64_t id[2] = {1, 2}, other_id[2] = {1, 3};
static char path[100], beside[120];

static void names_choose(void) {
  snprintf(path, sizeof path, "/tmp/veil-log-test-%d", (int)getpid());
  snprintf(beside, sizeof beside, "%s.new", path);
}
static void names_remove(void) {
  unlink(path);
  unlink(beside);
}

static void text_append(st_log *log, const char *text) {
  char *room = st_log_room(log, strlen(text));
  cr_assert_not_null(room);
  memcpy(room, text, strlen(text));
  st_log_append(log, strlen(text));
}

static st_log *created(uint64_t bytes) {
  st_log *log;
  st_log_place first = {0};
  OK(st_log_create(&log, path, id, bytes, &first, NULL));
  return log;
}

static veil_status text_add(void *arg, st_log_place place, const char *bytes, size_t size) {
  strncat(arg, bytes, size);
  return VEIL_OK;
}

static veil_status opened(st_log **log, bool writes, char text[200]) {
  *text = 0;
  return st_log_open(log, path, id, (st_log_place){0}, writes, text_add, text, NULL);
}

Test(log, what_was_written_is_there_again, .init = names_choose, .fini = names_remove, .timeout = 60) {
  char text[200];
  uint64_t upto;
  st_log *log = created(1 << 20);
  text_append(log, "one ");
  text_append(log, "two ");
  OK(st_log_write(log, &upto));
  cr_assert_eq(upto, 1);
  text_append(log, "never written ");
  st_log_close(log);
  OK(opened(&log, true, text));
  cr_assert_str_eq(text, "one two ");
  text_append(log, "three");
  OK(st_log_write(log, &upto));
  cr_assert_eq(upto, 2);
  st_log_close(log);
  OK(opened(&log, false, text));
  cr_assert_str_eq(text, "one two three");
  cr_assert_eq(st_log_tail(log).sequence, 3);
  st_log_close(log);
}

Test(log, every_block_of_a_new_file_was_written, .init = names_choose, .fini = names_remove, .timeout = 60) {
  struct stat s;
  st_log *log = created(9 << 20);
  cr_assert_eq(stat(path, &s), 0);
  cr_assert_eq(s.st_size, 9 << 20);
  cr_assert_geq(s.st_blocks, (9 << 20) / 512);
  cr_assert_neq(access(beside, F_OK), 0);
  st_log_close(log);
}

static size_t memory_used(void) {
  size_t pages = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  cr_assert(f != NULL && fscanf(f, "%*s %zu", &pages) == 1);
  fclose(f);
  return pages * (size_t)sysconf(_SC_PAGESIZE);
}

Test(log, a_large_log_that_is_empty_takes_little_memory, .init = names_choose, .fini = names_remove, .timeout = 60) {
  char text[200];
  st_log *log;
  size_t before = memory_used();
  st_log_close(created(64 << 20));
  OK(opened(&log, true, text));
  size_t after = memory_used();
  cr_assert_leq(after, before + (8 << 20), "%zu, %zu", before, after);
  st_log_close(log);
}

static veil_status record_count(void *arg, st_log_place place, const char *bytes, size_t size) {
  ++*(unsigned *)arg;
  return VEIL_OK;
}

// There is no turn then, and one write is of what is before the file's end and what is at its beginning.
Test(log, a_record_may_end_where_the_file_does, .init = names_choose, .fini = names_remove, .timeout = 60) {
  struct stat s;
  st_log *log = created(ST_LOG_MIN);
  uint64_t left = ST_LOG_MIN - ST_LOG_HEADER;
  st_log_place last = {0};
  unsigned count = 0;
  for (unsigned i = 1; left != 0; i++) {
    size_t size = left < st_log_most(log) + ST_LOG_RECORD ? left - ST_LOG_RECORD : left < 2 * st_log_most(log) ? left / 2 & ~7u : st_log_most(log) - 1000;
    OK(st_log_write(log, NULL));
    st_log_advance(log, st_log_tail(log));
    cr_assert_not_null(st_log_room(log, size));
    last = st_log_append(log, size);
    left -= size + ST_LOG_RECORD;
  }
  cr_assert_eq(st_log_tail(log).offset, ST_LOG_HEADER);
  text_append(log, "at the beginning");
  OK(st_log_write(log, NULL));
  st_log_close(log);
  cr_assert_eq(stat(path, &s), 0);
  cr_assert_eq(s.st_size, ST_LOG_MIN);
  OK(st_log_open(&log, path, id, last, false, record_count, &count, NULL));
  cr_assert_eq(count, 2);
  st_log_close(log);
}

// ---- Locks.

// In another process: what opening comes to, 0 to 5; and the text.
static int child_open(bool writes, const char *said) {
  pid_t child = fork();
  if (child == 0) {
    char text[200];
    st_log *log;
    veil_status status = opened(&log, writes, text);
    _exit(status != VEIL_OK && strstr(veil_error(), said) == NULL ? 100 : (int)status);
  }
  int status;
  cr_assert_eq(waitpid(child, &status, 0), child);
  cr_assert(WIFEXITED(status));
  return WEXITSTATUS(status);
}

Test(log, who_writes_keeps_all_others_out, .init = names_choose, .fini = names_remove, .timeout = 60) {
  char said[100];
  st_log *log = created(1 << 20);
  st_log_place first = {0};
  snprintf(said, sizeof said, "is being written by process %d", (int)getpid());
  cr_assert_eq(child_open(true, said), VEIL_BUSY);
  cr_assert_eq(child_open(false, said), VEIL_BUSY);
  st_log *other;
  REFUSED(st_log_create(&other, path, id, 1 << 20, &first, NULL), VEIL_BUSY, said);
  st_log_close(log);
  cr_assert_eq(child_open(true, ""), VEIL_OK);
  cr_assert_eq(child_open(false, ""), VEIL_OK);
}

Test(log, who_reads_keeps_out_who_writes, .init = names_choose, .fini = names_remove, .timeout = 60) {
  char said[100], text[200];
  st_log *log, *second;
  st_log_place first = {0};
  st_log_close(created(1 << 20));
  OK(opened(&log, false, text));
  OK(opened(&second, false, text));
  st_log_close(log);
  snprintf(said, sizeof said, "is being read by process %d", (int)getpid());
  cr_assert_eq(child_open(true, said), VEIL_BUSY);
  cr_assert_eq(child_open(false, said), VEIL_OK);
  REFUSED(st_log_create(&log, path, id, 1 << 20, &first, NULL), VEIL_BUSY, said);
  st_log_close(second);
  cr_assert_eq(child_open(true, ""), VEIL_OK);
}

Test(log, a_process_that_dies_leaves_no_lock, .init = names_choose, .fini = names_remove, .timeout = 60) {
  int ready[2];
  char byte, text[200];
  st_log *log;
  st_log_close(created(1 << 20));
  cr_assert_eq(pipe(ready), 0);
  pid_t child = fork();
  if (child == 0) {
    opened(&log, true, text);
    byte = 1;
    _exit(write(ready[1], &byte, 1) == 1 && pause());
  }
  cr_assert_eq(read(ready[0], &byte, 1), 1);
  snprintf(text, sizeof text, "is being written by process %d", (int)child);
  cr_assert_eq(child_open(false, text), VEIL_BUSY);
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  OK(opened(&log, true, text));
  st_log_close(log);
  close(ready[0]);
  close(ready[1]);
}

// ---- Refusals.

static ssize_t pwrite_until_full(void *context, int fd, const void *from, size_t bytes, uint64_t offset) {
  return offset >= 8 << 20 ? -ENOSPC : rt_image_io_system.pwrite(NULL, fd, from, bytes, offset);
}

Test(log, a_disk_that_is_full_leaves_what_was_there, .init = names_choose, .fini = names_remove, .timeout = 60) {
  char text[200];
  st_log *log = created(1 << 20);
  st_log_place first = {0};
  rt_image_io io = rt_image_io_system;
  io.pwrite = pwrite_until_full;
  text_append(log, "old");
  OK(st_log_write(log, NULL));
  st_log_close(log);
  REFUSED(st_log_create(&log, path, id, 32 << 20, &first, &io), VEIL_IO, "the disk is full");
  cr_assert_neq(access(beside, F_OK), 0);
  OK(opened(&log, false, text));
  cr_assert_str_eq(text, "old");
  st_log_close(log);
}

Test(log, what_is_no_log_of_the_store_is_refused, .init = names_choose, .fini = names_remove, .timeout = 60) {
  char text[200];
  st_log *log;
  st_log_place first = {0};
  REFUSED(st_log_create(&log, path, id, ST_LOG_MIN - 1, &first, NULL), VEIL_INVALID, "a log has");
  REFUSED(st_log_create(&log, path, id, UINT64_MAX, &first, NULL), VEIL_INVALID, "a log has");
  REFUSED(st_log_create(&log, "/nowhere/at/all", id, 1 << 20, &first, NULL), VEIL_IO, "/nowhere/at/all");
  REFUSED(opened(&log, true, text), VEIL_IO, "cannot be opened for writing");
  REFUSED(opened(&log, false, text), VEIL_IO, "cannot be opened for reading");
  st_log_close(created(1 << 20));
  REFUSED(st_log_open(&log, path, other_id, (st_log_place){0}, true, NULL, NULL, NULL), VEIL_IO, "another store");
  cr_assert_eq(truncate(path, 1 << 19), 0);
  REFUSED(opened(&log, true, text), VEIL_IO, "ends at byte 524288");
  FILE *f = fopen(path, "w");
  for (int i = 0; i < 5000; i++) {
    fputc('x', f);
  }
  fclose(f);
  REFUSED(opened(&log, true, text), VEIL_UNSUPPORTED, "is no log");
  REFUSED(st_log_open(&log, "/tmp", id, (st_log_place){0}, false, NULL, NULL, NULL), VEIL_IO, "is no regular file");
}

static veil_status search_end(void *arg, st_log_place place, const char *bytes, size_t size) { return VEIL_NO_MEMORY; }

Test(log, a_search_that_is_ended_says_why, .init = names_choose, .fini = names_remove, .timeout = 60) {
  st_log *log = created(1 << 20);
  text_append(log, "x");
  OK(st_log_write(log, NULL));
  st_log_close(log);
  cr_assert_eq(st_log_open(&log, path, id, (st_log_place){0}, true, search_end, NULL, NULL), VEIL_NO_MEMORY);
  cr_assert_null(log);
}

// ---- Mistakes.

Test(log, room_that_was_not_had_is_a_mistake, .init = names_choose, .fini = names_remove, .timeout = 60, .signal = SIGABRT) {
  st_log *log = created(1 << 20);
  unlink(path);
  st_log_append(log, 1);
}

Test(log, the_head_stops_at_what_is_durable, .init = names_choose, .fini = names_remove, .timeout = 60, .signal = SIGABRT) { // log.head
  st_log *log = created(1 << 20);
  unlink(path);
  text_append(log, "x");
  st_log_advance(log, st_log_tail(log));
}
