// SPDX-License-Identifier: MIT
// file.h: writes dumps of graphs that a test has made up, so that a reader can be asked about what is known.

#ifndef TESTS_TOOLS_FILE_H
#define TESTS_TOOLS_FILE_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "runtime/dump_format.h"

#define FILE_BASE UINT64_C(0x7f0000000000)
#define FILE_SPAN (UINT64_C(64) << 20)

typedef struct stream {
  unsigned char *bytes;
  size_t used, room;
} stream;

static inline void put(stream *s, uint64_t n) {
  if (s->room - s->used < 10) {
    s->room = s->room * 2 + 64;
    s->bytes = realloc(s->bytes, s->room);
  }
  for (; n >= 0x80; n >>= 7) {
    s->bytes[s->used++] = (unsigned char)(n | 0x80);
  }
  s->bytes[s->used++] = (unsigned char)n;
}
static inline void put_signed(stream *s, int64_t n) { put(s, dump_zigzag(n)); }
static inline void put_text(stream *s, const char *text) {
  put(s, strlen(text));
  for (; *text != 0; text++) {
    put(s, (unsigned char)*text & 0x7f);
  }
}

// A file of a name of its own, of sections that are added one by one.
typedef struct dump_file {
  char path[64];
  FILE *to;
  uint32_t number;
  dump_crc crc;
} dump_file;

static inline void file_begin(dump_file *f) {
  strcpy(f->path, "/tmp/veil-heap-test-XXXXXX");
  f->to = fdopen(mkstemp(f->path), "w+");
  f->number = 0;
  dump_crc_make(&f->crc);
  dump_header header = {.byte_order = DUMP_BYTE_ORDER, .version = DUMP_VERSION};
  memcpy(header.magic, DUMP_MAGIC, DUMP_MAGIC_BYTES);
  header.crc = dump_crc_of(&f->crc, 0, &header, offsetof(dump_header, crc));
  fwrite(&header, sizeof header, 1, f->to);
}

// In blocks of `most` bytes: a number may go on in the next.
static inline void file_section(dump_file *f, dump_section kind, stream *s, size_t most) {
  if (s->bytes == NULL) {
    s->bytes = malloc(1); // a section may be empty, but it is somewhere
  }
  size_t at = 0;
  do {
    size_t bytes = s->used - at < most ? s->used - at : most;
    dump_block block = {.kind = (uint32_t)kind | (at == 0 ? DUMP_FIRST : 0), .number = f->number++, .bytes = (uint32_t)bytes};
    block.crc = dump_block_crc(&f->crc, &block, s->bytes + at);
    fwrite(&block, sizeof block, 1, f->to);
    if (bytes != 0) {
      fwrite(s->bytes + at, 1, bytes, f->to);
    }
    at += bytes;
  } while (at < s->used);
  free(s->bytes);
  *s = (stream){0};
}

static inline void file_info(dump_file *f) {
  stream s = {0};
  const uint64_t numbers[] = {FILE_BASE, FILE_SPAN, 4096, 3, 0, 12345, 0, UINT64_C(1700000000000000000), 42, 1500000, 1000};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    put(&s, numbers[i]);
  }
  put_text(&s, "none");
  put_text(&s, "/bin/made up");
  file_section(f, DUMP_INFO, &s, 1000);
}

// Runs the program in a child; what it says into `said`. Its exit status, or 1000 and the signal that has killed it.
int heap_main(int argc, char **argv);
static inline int ask(char *said, size_t room, char *const *arguments) {
  int ends[2];
  if (pipe(ends) != 0) {
    abort();
  }
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 1);
    dup2(ends[1], 2);
    close(ends[0]);
    close(ends[1]);
    int argc = 0;
    while (arguments[argc] != NULL) {
      argc++;
    }
    alarm(60);
    int status = heap_main(argc, (char **)arguments);
    fflush(NULL);
    _exit(status);
  }
  close(ends[1]);
  size_t used = 0;
  char more[4096];
  for (ssize_t n; (n = read(ends[0], more, sizeof more)) > 0;) {
    size_t take = (size_t)n < room - 1 - used ? (size_t)n : room - 1 - used;
    memcpy(said + used, more, take);
    used += take;
  }
  said[used] = 0;
  close(ends[0]);
  int status;
  while (waitpid(child, &status, 0) < 0) {
  }
  return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}
#define ASK(SAID, ...) ask(SAID, sizeof SAID, (char *[]){"veil-heap", __VA_ARGS__, NULL})

#endif
