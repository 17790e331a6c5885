// SPDX-License-Identifier: MIT
// heap_file.c: a dump's file: that it is one, that it is whole, and its sections as streams of numbers.
//
// All that is read from it may be anything: each number is looked at before it is used, and what does not hold ends the
// program with a message that says so.

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "runtime/tools/heap.h"

enum { HUGE_BYTES = 2 << 20 };

void heap_fail(const heap_dump *d, const char *format, ...) {
  va_list args;
  va_start(args, format);
  fflush(stdout);
  fprintf(stderr, "veil-heap: %s: ", d->path);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  va_end(args);
  exit(1);
}

void heap_say(const heap_dump *d, const char *format, ...) {
  if (d->progress) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "veil-heap: ");
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
  }
}

void *heap_memory(const heap_dump *d, uint64_t count, size_t bytes) {
  void *memory = calloc(count != 0 ? count : 1, bytes);
  if (memory == NULL) {
    heap_fail(d, "no memory for %.1f MiB", (double)count * (double)bytes / (1 << 20));
  }
  // Large tables are read in the order of the graph, which is none: in huge pages, if the system has any, half as fast
  // again. They are mapped apart, and nobody has touched them.
  uintptr_t base = ((uintptr_t)memory + HUGE_BYTES - 1) & ~(uintptr_t)(HUGE_BYTES - 1),
            limit = ((uintptr_t)memory + count * bytes) & ~(uintptr_t)(HUGE_BYTES - 1);
  if (base < limit && limit - base >= 4 * (uintptr_t)HUGE_BYTES) {
    madvise((void *)base, limit - base, MADV_HUGEPAGE); // a wish
  }
  return memory;
}

static void file_map(heap_dump *d) {
  int fd = open(d->path, O_RDONLY | O_CLOEXEC);
  struct stat s;
  if (fd < 0 || fstat(fd, &s) != 0) {
    heap_fail(d, "%s", strerror(errno));
  }
  if (!S_ISREG(s.st_mode)) {
    heap_fail(d, "is no file: a dump is read more than once");
  }
  if (s.st_size == 0) {
    heap_fail(d, "is empty");
  }
  void *at = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (at == MAP_FAILED) {
    heap_fail(d, "cannot be mapped: %s", strerror(errno));
  }
  close(fd);
  d->bytes = at;
  d->size = (size_t)s.st_size;
}

static void header_check(const heap_dump *d, const dump_crc *crc) {
  dump_header header;
  if (d->size < sizeof header || memcmp(d->bytes, DUMP_MAGIC, DUMP_MAGIC_BYTES) != 0) {
    size_t same = 0;
    while (same < d->size && same < DUMP_MAGIC_BYTES && d->bytes[same] == (unsigned char)DUMP_MAGIC[same]) {
      same++;
    }
    heap_fail(d, same == d->size || same == DUMP_MAGIC_BYTES ? "ends within its first line"
                 : same >= 9                                 ? "was changed by a transfer that is not for binary files"
                                                             : "is no heap dump of veil");
  }
  memcpy(&header, d->bytes, sizeof header);
  if (header.byte_order != DUMP_BYTE_ORDER) {
    heap_fail(d, header.byte_order == __builtin_bswap32(DUMP_BYTE_ORDER)
                     ? "was written on a machine with the other byte order"
                     : "has a damaged header");
  }
  if (header.version != DUMP_VERSION) {
    heap_fail(d, "is in version %u of the format; this veil-heap reads version %d", header.version, DUMP_VERSION);
  }
  if (header.crc != dump_crc_of(crc, 0, &header, offsetof(dump_header, crc))) {
    heap_fail(d, "has a damaged header");
  }
}

static void block_add(heap_dump *d, const dump_block *block, size_t *room) {
  if (d->blocks.count == *room) {
    *room = *room != 0 ? 2 * *room : 64;
    d->blocks.at = realloc(d->blocks.at, *room * sizeof *d->blocks.at);
    if (d->blocks.at == NULL) {
      heap_fail(d, "no memory for %zu blocks", *room);
    }
  }
  d->blocks.at[d->blocks.count++] = block;
}

// Blocks are looked at where they are; their payloads may begin anywhere.
static size_t block_check(heap_dump *d, const dump_crc *crc, size_t offset, size_t *room) {
  dump_block block;
  if (d->size - offset < sizeof block) {
    heap_fail(d, "ends at byte %zu, within a block's header: it was cut off", d->size);
  }
  memcpy(&block, d->bytes + offset, sizeof block);
  if (block.bytes > DUMP_PAYLOAD_MAX) {
    heap_fail(d, "is damaged: the block at byte %zu says that it has %u bytes", offset, block.bytes);
  }
  if (d->size - offset - sizeof block < block.bytes) {
    heap_fail(d, "ends at byte %zu, within a block: it was cut off", d->size);
  }
  if (dump_block_crc(crc, &block, d->bytes + offset + sizeof block) != block.crc) {
    heap_fail(d, "is damaged: the checksum of the block at byte %zu is wrong", offset);
  }
  if (block.number != d->blocks.count) {
    heap_fail(d, "is damaged: block %u stands where block %zu should be", block.number, d->blocks.count);
  }
  block_add(d, (const dump_block *)(d->bytes + offset), room);
  return offset + sizeof block + block.bytes;
}

static dump_block head_of(const heap_dump *d, size_t n) {
  dump_block block;
  memcpy(&block, d->blocks.at[n], sizeof block);
  return block;
}

void heap_file_open(heap_dump *d, const char *path) {
  d->path = path;
  file_map(d);
  dump_crc *crc = heap_memory(d, 1, sizeof *crc);
  dump_crc_make(crc);
  header_check(d, crc);
  d->progress = d->progress && d->size > (64u << 20);
  heap_say(d, "checking %.1f MiB", (double)d->size / (1 << 20));
  size_t offset = sizeof(dump_header), room = 0;
  bool ended = false;
  while (offset < d->size) {
    if (ended) {
      heap_fail(d, "is damaged: %zu bytes stand behind its end", d->size - offset);
    }
    offset = block_check(d, crc, offset, &room);
    ended = head_of(d, d->blocks.count - 1).kind == (DUMP_END | DUMP_FIRST);
  }
  free(crc);
  if (!ended) {
    heap_fail(d, "has no end: it was cut off at byte %zu", d->size);
  }
  if (!(head_of(d, 0).kind & DUMP_FIRST)) {
    heap_fail(d, "is damaged: it begins in the middle of a section");
  }
}

// ---- Streams.

bool heap_section(const heap_dump *d, dump_section kind, size_t *from, heap_cursor *out) {
  for (size_t b = *from; b < d->blocks.count; b++) {
    if (head_of(d, b).kind == ((uint32_t)kind | DUMP_FIRST)) {
      size_t end = b + 1;
      while (end < d->blocks.count && head_of(d, end).kind == (uint32_t)kind) {
        end++;
      }
      *out = (heap_cursor){d, NULL, NULL, b, end};
      *from = end;
      return true;
    }
  }
  return false;
}

bool heap_more(heap_cursor *c) {
  while (c->at == c->limit) {
    if (c->block == c->end) {
      return false;
    }
    const unsigned char *head = (const unsigned char *)c->d->blocks.at[c->block];
    c->at = head + sizeof(dump_block);
    c->limit = c->at + head_of(c->d, c->block++).bytes;
  }
  return true;
}

uint64_t heap_get_slow(heap_cursor *c) {
  uint64_t n = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (!heap_more(c)) {
      heap_fail(c->d, "is damaged: a section ends within a number");
    }
    unsigned char byte = *c->at++;
    if (shift == 63 && byte > 1) {
      break;
    }
    n |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) {
      return n;
    }
  }
  heap_fail(c->d, "is damaged: a number has more than 64 bits");
}

char *heap_get_text(heap_cursor *c) {
  uint64_t bytes = heap_get(c);
  if (bytes > 4096) {
    heap_fail(c->d, "is damaged: a name has %llu bytes", (unsigned long long)bytes);
  }
  char *text = heap_memory(c->d, bytes + 1, 1);
  for (uint64_t i = 0; i < bytes; i++) {
    if (!heap_more(c)) {
      heap_fail(c->d, "is damaged: a section ends within a name");
    }
    unsigned char byte = *c->at++;
    text[i] = byte < ' ' || byte == 0x7f ? '?' : (char)byte; // a terminal is to show it
  }
  return text;
}
