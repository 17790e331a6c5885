// SPDX-License-Identifier: MIT
// dump_file.c: what was gathered, as blocks of a file; and what is found out only when the world runs again: types, and
// the names of functions and variables.
//
// Neighbours: dump.c calls, symbol.c looks names up. In the thread that dumps. README.md (A heap dump) describes the
// file.

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>
#include "runtime/dump.h"

// ---- What is left to gather.

static void type_put(rt_dump_out *out, unsigned id, const gc_type *type) {
  rt_dump_put(out, id);
  rt_dump_put(out, type->size);
  rt_dump_put(out, type->layout);
  rt_dump_put(out, type->count);
  for (uint32_t i = 0; i < type->count; i++) {
    rt_dump_put(out, type->offsets[i] / 8);
  }
  rt_dump_put(out, type->fixed);
  rt_dump_put(out, type->fixed_count);
  for (uint32_t i = 0; i < type->fixed_count; i++) {
    rt_dump_put(out, type->fixed_offsets[i] / 8); // without GC_FIXED_PLAIN
  }
  rt_dump_put(out, type->sized);
  rt_dump_put_text(out, type->name);
}

static void program_put(rt_dump_out *out) {
  char path[PATH_MAX];
  ssize_t got = readlink("/proc/self/exe", path, sizeof path - 1);
  path[got > 0 ? got : 0] = 0;
  rt_dump_put_text(out, path);
}

void rt_dump_finish(rt_dump *dump) {
  for (unsigned id = GC_FIRST_TYPE; id < GC_TYPES; id++) { // with gaps, if a heap was restored
    if (gc_type_at(id) != NULL) {
      type_put(&dump->types, id, gc_type_at(id));
    }
  }
  for (unsigned i = 0; i < dump->named_count; i++) {
    char name[600];
    if (rt_symbol_find(dump->named[i], name, sizeof name)) {
      rt_dump_put(&dump->names, dump->named[i]);
      rt_dump_put_text(&dump->names, name);
    }
  }
  rt_dump_out *info = &dump->info;
  rt_dump_put(info, (uint64_t)getpid());
  rt_dump_put(info, dump->ended_ns - dump->stopped_ns);
  rt_dump_put(info, dump->stopped_ns - dump->asked_ns);
  rt_dump_put_text(info, vm_region_back_end(dump->heap->gc->region));
  program_put(info);
  uint64_t sums[3] = {0};
  for (unsigned i = 0; i < dump->workers; i++) {
    sums[0] += dump->worker[i].objects;
    sums[1] += dump->worker[i].references;
    sums[2] += dump->worker[i].bytes;
  }
  rt_dump_put(&dump->end, sums[0]);
  rt_dump_put(&dump->end, sums[1]);
  rt_dump_put(&dump->end, sums[2]);
  rt_dump_put(&dump->end, dump->root_count);
  rt_dump_put(&dump->end, dump->link_count);
  rt_dump_put(&dump->end, dump->entry_count);
}

// ---- Writing.

typedef struct file {
  int fd, error;
  uint32_t number; // of the next block
  dump_crc crc;
} file;

static void bytes_write(file *f, const void *bytes, size_t count) {
  const char *at = bytes;
  while (count != 0 && f->error == 0) {
    ssize_t n = write(f->fd, at, count);
    if (n > 0) {
      at += n;
      count -= (size_t)n;
    } else if (n == 0) {
      f->error = ENOSPC;
    } else if (errno != EINTR) {
      f->error = errno;
    }
  }
}

static void header_write(file *f) {
  dump_header header = {.byte_order = DUMP_BYTE_ORDER, .version = DUMP_VERSION};
  memcpy(header.magic, DUMP_MAGIC, DUMP_MAGIC_BYTES);
  header.crc = dump_crc_of(&f->crc, 0, &header, offsetof(dump_header, crc));
  bytes_write(f, &header, sizeof header);
}

static void section_write(file *f, dump_section kind, rt_dump_out *out) {
  out->last->used = (size_t)(out->at - out->last->bytes);
  for (const rt_dump_chunk *chunk = out->first; chunk != NULL && f->error == 0; chunk = chunk->next) {
    dump_block block = {.kind = (uint32_t)kind | (chunk == out->first ? DUMP_FIRST : 0),
                        .number = f->number++,
                        .bytes = (uint32_t)chunk->used};
    block.crc = dump_block_crc(&f->crc, &block, chunk->bytes);
    bytes_write(f, &block, sizeof block);
    bytes_write(f, chunk->bytes, chunk->used);
  }
}

int rt_dump_write(rt_dump *dump, int fd) {
  file f = {.fd = fd};
  dump_crc_make(&f.crc);
  header_write(&f);
  section_write(&f, DUMP_INFO, &dump->info);
  section_write(&f, DUMP_TYPES, &dump->types);
  section_write(&f, DUMP_THREADS, &dump->threads);
  for (unsigned i = 0; i < dump->workers; i++) {
    section_write(&f, DUMP_OBJECTS, &dump->worker[i].out);
  }
  section_write(&f, DUMP_HOLDERS, &dump->holders);
  section_write(&f, DUMP_ROOTS, &dump->roots);
  section_write(&f, DUMP_LINKS, &dump->links);
  section_write(&f, DUMP_ENTRIES, &dump->entries);
  section_write(&f, DUMP_NAMES, &dump->names);
  section_write(&f, DUMP_END, &dump->end);
  return f.error;
}
