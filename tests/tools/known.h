// SPDX-License-Identifier: MIT
// known.h: a small heap with something of every kind in it, whose answers can be told in advance.
//
//   thread 7's stack ──► table: pointer[3] ──[0]──► a ──+8──► b ──+0──► c        (a is named by a weak reference, too)
//   slots "the_cache" ─────────────────────────────► b
//   handle ─► frame (traced) ──+16──► c,  ──+32──► table
//   garbage: d ──+0──► c

#ifndef TESTS_TOOLS_KNOWN_H
#define TESTS_TOOLS_KNOWN_H

#include "tests/tools/file.h"

enum { KNOWN_TABLE = 0x1008, KNOWN_A = 0x1030, KNOWN_B = 0x1060, KNOWN_C = 0x1090, KNOWN_D = 0x2000, KNOWN_FRAME = 0x20000, KNOWN_BYTES = 0x30008 };

static inline void known_reference(stream *s, uint64_t from, uint64_t to) { put(s, DUMP_REFERENCE + dump_zigzag((int64_t)(to - from) / 8)); }

static inline void known_object(stream *s, unsigned type, uint64_t at, uint64_t *expected, uint64_t length, uint64_t bytes) {
  uint64_t plain = (FILE_BASE + at) & ~UINT64_C(15);
  put(s, type << DUMP_TYPE_SHIFT | (plain != *expected ? DUMP_APART : 0) | (length != 0 ? DUMP_ARRAY : 0));
  if (plain != *expected) {
    put_signed(s, (int64_t)(plain - *expected) / 8);
  }
  if (length != 0) {
    put(s, length);
  }
  *expected = plain + bytes;
}

static inline void known_types(stream *s) {
  static const struct {
    unsigned id, size, layout, count, offset[3];
    const char *name;
  } types[] = {{2, 8, DUMP_DENSE, 1, {0}, "pointer"}, {3, 32, DUMP_MAP, 2, {0, 1}, "node"}, {4, 64, DUMP_TRACED, 0, {0}, "frame"}, {5, 1, DUMP_LEAF, 0, {0}, "byte"}};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    put(s, types[i].id);
    put(s, types[i].size);
    put(s, types[i].layout);
    put(s, types[i].count);
    for (unsigned k = 0; k < types[i].count; k++) {
      put(s, types[i].offset[k]);
    }
    put(s, 0); // no flexible array
    put(s, 0);
    put(s, 0);
    put_text(s, types[i].name);
  }
}

static inline void known_objects(stream *s) {
  uint64_t expected = 0;
  known_object(s, 2, KNOWN_TABLE, &expected, 3, 48);
  known_reference(s, KNOWN_TABLE, KNOWN_A);
  put(s, DUMP_REST);
  known_object(s, 3, KNOWN_A, &expected, 0, 48);
  put(s, DUMP_NONE);
  known_reference(s, KNOWN_A, KNOWN_B);
  known_object(s, 3, KNOWN_B, &expected, 0, 48);
  known_reference(s, KNOWN_B, KNOWN_C);
  put(s, DUMP_REST);
  known_object(s, 3, KNOWN_C, &expected, 0, 48);
  put(s, DUMP_REST);
  known_object(s, 3, KNOWN_D, &expected, 0, 48);
  known_reference(s, KNOWN_D, KNOWN_C);
  put(s, DUMP_REST);
  known_object(s, 4, KNOWN_FRAME, &expected, 0, 80);
  put(s, 1 + dump_zigzag(2));
  known_reference(s, KNOWN_FRAME, KNOWN_C);
  put(s, 1 + dump_zigzag(2));
  known_reference(s, KNOWN_FRAME, KNOWN_TABLE);
  put(s, 0);
  known_object(s, 5, KNOWN_BYTES, &expected, 100, 128);
}

static inline void known_root(stream *s, unsigned holder, uint64_t where, uint64_t *last_where, uint64_t at, uint64_t *last, int64_t inside) {
  put(s, holder);
  put_signed(s, (int64_t)(where - *last_where));
  put_signed(s, (int64_t)(FILE_BASE + at - *last) / 8);
  put_signed(s, inside);
  *last_where = where;
  *last = FILE_BASE + at;
}

// An entry of a weak table: kind, table, key, value.
typedef struct known_entry {
  unsigned kind;
  uint64_t table, key, value;
} known_entry;

static inline void known_write_with(dump_file *f, const known_entry *entries, size_t count) {
  stream s = {0};
  uint64_t where = 0, object = 0;
  file_begin(f);
  file_info(f);
  known_types(&s);
  file_section(f, DUMP_TYPES, &s, 1000);
  const uint64_t thread[] = {7, 0, 0x7ff000, 0x800000, 0x7ffe00};
  for (size_t i = 0; i < 5; i++) {
    put(&s, thread[i]);
  }
  put_text(&s, "worker");
  file_section(f, DUMP_THREADS, &s, 1000);
  known_objects(&s);
  file_section(f, DUMP_OBJECTS, &s, 1000);
  const uint64_t holders[] = {DUMP_BY_STACK, 7, DUMP_BY_SLOTS, 0x404040, DUMP_BY_HANDLE, 0};
  for (size_t i = 0; i < 6; i++) {
    put(&s, holders[i]);
  }
  file_section(f, DUMP_HOLDERS, &s, 1000);
  known_root(&s, 0, 0x7fff00, &where, KNOWN_TABLE, &object, 12);
  known_root(&s, 1, 0x404048, &where, KNOWN_B, &object, 0);
  known_root(&s, 2, 0x999000, &where, KNOWN_FRAME, &object, 0);
  file_section(f, DUMP_ROOTS, &s, 1000);
  const uint64_t links[] = {DUMP_LINK_WEAK, FILE_BASE + KNOWN_D, FILE_BASE + KNOWN_A, DUMP_LINK_FINALIZER, 0x401234, FILE_BASE + KNOWN_C};
  for (size_t i = 0; i < 6; i++) {
    put(&s, links[i]);
  }
  file_section(f, DUMP_LINKS, &s, 1000);
  known_entry last = {.table = -FILE_BASE, .key = -FILE_BASE};
  for (size_t i = 0; i < count; i++) {
    put(&s, entries[i].kind);
    put_signed(&s, (int64_t)(entries[i].table - last.table) / 8);
    put_signed(&s, (int64_t)(entries[i].key - last.key) / 8);
    put_signed(&s, (int64_t)(entries[i].value - entries[i].key) / 8);
    last = entries[i];
  }
  file_section(f, DUMP_ENTRIES, &s, 1000);
  put(&s, 0x404040);
  put_text(&s, "the_cache (program)");
  put(&s, 0x401234);
  put_text(&s, "node_close (program)");
  file_section(f, DUMP_NAMES, &s, 1000);
  const uint64_t end[] = {7, 6, 48 * 5 + 80 + 128, 3, 2, count};
  for (size_t i = 0; i < 6; i++) {
    put(&s, end[i]);
  }
  file_section(f, DUMP_END, &s, 1000);
  fclose(f->to);
}

// With entries that hold nothing that is not held all the same: both weak; of a key that is garbage, and of such a value.
static inline void known_write(dump_file *f) {
  static const known_entry entries[] = {{DUMP_ENTRY_BOTH, KNOWN_FRAME, KNOWN_A, KNOWN_BYTES},
                                        {DUMP_ENTRY_KEYS, KNOWN_FRAME, KNOWN_D, KNOWN_BYTES},
                                        {DUMP_ENTRY_VALUES, KNOWN_FRAME, KNOWN_D, KNOWN_BYTES}};
  known_write_with(f, entries, sizeof entries / sizeof *entries);
}

#endif
