// SPDX-License-Identifier: MIT
// heap.h: a dump as veil-heap has it in memory: nodes with numbers, and the references between them.
//
// The objects come first, by address; then what holds them from outside (holders), a node for each kind of holder, and the root of all.

#ifndef VEIL_HEAP_H
#define VEIL_HEAP_H

#include <stdbool.h>
#include <stdio.h>
#include "runtime/dump_format.h"

enum { HEAP_NONE = 0xffffffffu, HEAP_TYPES = 1 << 16 };

typedef struct heap_type {
  char *name; // NULL: there is no such type
  uint64_t size;
  dump_layout layout;
  uint32_t count;
  uint64_t *offsets;
  // Of a flexible array: bytes before its elements, and the slots in there.
  uint64_t fixed;
  uint32_t fixed_count;
  uint64_t *fixed_offsets;
  bool sized;         // objects, which are no arrays, say how many of their bytes they use
  uint32_t counts_as; // its number, or that of the type of arrays that those who read of it know its objects as
} heap_type;

typedef struct heap_thread {
  uint64_t tid, state, stack_low, stack_base, sp;
  char *name;
} heap_thread;

typedef struct heap_holder {
  uint32_t kind; // dump_by
  uint64_t owner;
} heap_holder;

typedef struct heap_root {
  uint32_t holder, object;
  uint64_t where;
  int64_t inside; // how far into the object the word points
} heap_root;

typedef struct heap_link {
  uint32_t kind;
  uint64_t owner; // of a weak reference, an object's address; of a finalizer, the function's
  uint32_t object;
} heap_link;

// An entry of a weak table. What it needs keeps what it holds alive, if the table is reached: the key the value, or with weak values the value the key.
typedef struct heap_entry {
  uint32_t kind; // dump_entry
  uint32_t table, key, value;
} heap_entry;

typedef struct heap_name {
  uint64_t address;
  char *text;
} heap_name;

// What an object is: its type, and flags.
enum { HEAP_ARRAY = 1u << 16, HEAP_HASHED = 1u << 17, HEAP_YOUNG = 1u << 18, HEAP_REACHED = 1u << 19, HEAP_ENTRIES = 1u << 20 };

typedef struct heap_info {
  uint64_t base, span, page_size, cycle, minor, used, flags, time_ns, pid, stop_ns, waited_ns;
  char *back_end, *program;
} heap_info;

// Where objects begin, within 64 KiB: what is asked of a place is in one line of the cache.
typedef struct heap_area {
  struct heap_kib {
    uint64_t begins, arrays; // a bit per 16 bytes: an object begins there; it is an array
    uint64_t before;         // how many begin in the area before that
  } kib[64];
} heap_area;

// Bytes of the file, and which block they are in.
typedef struct heap_blocks {
  const dump_block **at;
  size_t count;
} heap_blocks;

typedef struct heap_dump {
  const char *path;
  bool progress;
  const unsigned char *bytes;
  size_t size;
  heap_blocks blocks;
  heap_info info;
  heap_type types[HEAP_TYPES];
  heap_thread *threads;
  size_t thread_count;
  heap_holder *holders;
  uint32_t holder_count;
  heap_root *roots; // by holder
  uint32_t root_count;
  heap_link *links;
  uint32_t link_count;
  heap_entry *entries; // by what they need; those of tables that hold nothing last
  uint32_t *entries_of; // the same by their table
  uint32_t entry_count;
  heap_name *names;
  size_t name_count;
  // Objects.
  uint32_t objects;
  uint32_t *area_of;    // by the address's distance from base in areas, plus 1; 0: nothing begins there
  heap_area *areas;
  uint32_t *area_first; // per area: the number of its first object
  uint32_t *area_at;    // per area: where it is
  uint32_t area_count;
  uint32_t *what;       // type and flags
  uint32_t *length;     // HEAP_NONE: in `longer`
  struct { uint32_t object; uint64_t length; } *longer;
  size_t longer_count;
  uint64_t dangling;    // references to no object
  // References: of node n, target[first[n]] to target[first[n + 1]].
  uint32_t nodes, *first, *target;
  uint32_t edges;
  // Of what can be reached.
  uint32_t reached;
  uint64_t reached_bytes, all_bytes;
  // By node: who dominates it (HEAP_NONE: it is not reached), what goes with it.
  uint32_t *dominator, *retained_count;
  uint64_t *retained;
} heap_dump;

static inline uint32_t heap_holder_node(const heap_dump *d, uint32_t holder) { return d->objects + holder; }
static inline uint32_t heap_kind_node(const heap_dump *d, uint32_t kind) { return d->objects + d->holder_count + kind; }
static inline uint32_t heap_root_node(const heap_dump *d) { return d->objects + d->holder_count + DUMP_BY_COUNT; }
// Its type with HEAP_ARRAY, if it is one: what it counts as in sums.
static inline uint32_t heap_sort_of(const heap_dump *d, uint32_t object) {
  const heap_type *type = &d->types[d->what[object] & (HEAP_TYPES - 1)];
  return type->counts_as | (type->sized ? (uint32_t)HEAP_ARRAY : d->what[object] & HEAP_ARRAY);
}
static inline const heap_type *heap_type_of(const heap_dump *d, uint32_t object) { return &d->types[d->what[object] & (HEAP_TYPES - 1)]; }

// ---- heap_file.c
_Noreturn void heap_fail(const heap_dump *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
void *heap_memory(const heap_dump *d, uint64_t count, size_t bytes); // zeroed; never NULL
void heap_say(const heap_dump *d, const char *format, ...) __attribute__((format(printf, 2, 3))); // progress
void heap_file_open(heap_dump *d, const char *path); // every block is whole

// A section's bytes, in order.
typedef struct heap_cursor {
  const heap_dump *d;
  const unsigned char *at, *limit;
  size_t block, end; // the next block, and the one behind the section
} heap_cursor;
// The next section of a kind, from block *from on, which goes on behind it. False: there is none.
bool heap_section(const heap_dump *d, dump_section kind, size_t *from, heap_cursor *out);
bool heap_more(heap_cursor *c);
uint64_t heap_get_slow(heap_cursor *c);
static inline uint64_t heap_get(heap_cursor *c) {
  if (__builtin_expect(c->at < c->limit && *c->at < 0x80, 1)) {
    return *c->at++;
  }
  return heap_get_slow(c);
}
static inline int64_t heap_get_signed(heap_cursor *c) { return dump_unzigzag(heap_get(c)); }
char *heap_get_text(heap_cursor *c);

// ---- heap_objects.c: an object as it is read.
typedef struct heap_object {
  uint32_t type;
  uint32_t flags; // HEAP_ARRAY and so on
  uint64_t address, length, bytes;
} heap_object;
typedef void heap_object_fn(void *arg, const heap_object *object);
typedef void heap_slot_fn(void *arg, const heap_object *object, uint64_t offset, uint64_t to);
// Every object of the dump, and every slot that refers to something; NULL: not wanted.
void heap_objects_visit(const heap_dump *d, heap_object_fn *object, heap_slot_fn *slot, void *arg);
uint64_t heap_bytes_of(const heap_type *type, uint32_t flags, uint64_t length);

// ---- heap_load.c
void heap_load(heap_dump *d, const char *path); // exits with a message if the file is not what it should be
void heap_free(heap_dump *d);
uint32_t heap_find(const heap_dump *d, uint64_t address);   // the object that begins there, or HEAP_NONE
uint32_t heap_find_in(const heap_dump *d, uint64_t address); // … that has that address in it
uint64_t heap_address(const heap_dump *d, uint32_t object);
uint64_t heap_length(const heap_dump *d, uint32_t object);
uint64_t heap_object_bytes(const heap_dump *d, uint32_t object);
const char *heap_name_of(const heap_dump *d, uint64_t address); // or NULL

// ---- heap_entries.c
void heap_entries_load(heap_dump *d); // entries of weak tables; those that hold something become references
// What the entry needs to hold something, and what it holds. HEAP_NONE: nothing.
static inline uint32_t heap_entry_needs(const heap_entry *e) { return e->kind == DUMP_ENTRY_KEYS ? e->key : e->kind == DUMP_ENTRY_VALUES ? e->value : HEAP_NONE; }
static inline uint32_t heap_entry_holds(const heap_entry *e) { return e->kind == DUMP_ENTRY_KEYS ? e->value : e->kind == DUMP_ENTRY_VALUES ? e->key : HEAP_NONE; }
uint32_t heap_entries_needing(const heap_dump *d, uint32_t node); // the first one, or of a greater node
uint32_t heap_entries_of(const heap_dump *d, uint32_t table);     // the same of tables, in entries_of
// The entry by which one holds the other, or NULL.
const heap_entry *heap_entry_between(const heap_dump *d, uint32_t from, uint32_t to);

// ---- heap_graph.c
void heap_reach(heap_dump *d);     // marks what is reached
void heap_dominate(heap_dump *d);  // after that
// A shortest way from the root to each node: the node before, or HEAP_NONE. `order`, if not NULL, gets the nodes reached, nearest first; returns how many.
uint32_t heap_paths(const heap_dump *d, uint32_t *before, uint32_t *order);

// ---- heap_out.c: tables for people, or JSON.
typedef struct heap_out {
  bool json;
  bool any; // something was written at this level
  bool rows;
  const struct heap_column *columns;
} heap_out;
typedef enum heap_format { HEAP_NUMBER, HEAP_BYTES, HEAP_SHARE, HEAP_ADDRESS, HEAP_TEXT, HEAP_DELTA } heap_format;
typedef struct heap_column {
  const char *key, *title; // of JSON; for people. A NULL key ends the list
  int width;
  heap_format kind;
} heap_column;
typedef union heap_value {
  uint64_t n;
  int64_t delta;
  double share;
  const char *text;
} heap_value;
void heap_out_begin(heap_out *out);
void heap_out_end(heap_out *out);
void heap_out_value(heap_out *out, const char *key, const char *title, heap_format kind, heap_value value);
void heap_out_table(heap_out *out, const char *key, const char *title, const heap_column *columns);
void heap_out_row(heap_out *out, const heap_value *values);
void heap_out_table_end(heap_out *out);
void heap_out_note(heap_out *out, const char *format, ...) __attribute__((format(printf, 2, 3))); // for people only

// ---- heap_report.c, heap_why.c, heap_object.c, heap_types.c
typedef struct heap_options {
  unsigned top;
  bool roots_all;
  const char *why, *object, *type, *diff;
} heap_options;
void heap_report(heap_out *out, heap_dump *d, const heap_options *o);
void heap_report_roots(heap_out *out, heap_dump *d, const heap_options *o);
bool heap_address_parse(const char *text, uint64_t *out);                     // false: it is none
bool heap_is_of_type(const heap_dump *d, uint32_t object, const char *name); // NAME, or NAME[] for arrays
bool heap_report_why(heap_out *out, heap_dump *d, const heap_options *o); // false: nothing of that name
bool heap_report_object(heap_out *out, heap_dump *d, const heap_options *o);
bool heap_report_type(heap_out *out, heap_dump *d, const heap_options *o);
void heap_report_diff(heap_out *out, heap_dump *before, heap_dump *d, const heap_options *o);

// ---- heap_text.c
const char *heap_kind_text(uint32_t kind);
void heap_holder_text(const heap_dump *d, uint32_t holder, char *to, size_t bytes);
void heap_root_text(const heap_dump *d, const heap_root *root, char *to, size_t bytes);
void heap_type_text(const heap_dump *d, uint32_t object, char *to, size_t bytes); // with the length of an array
void heap_slot_text(const heap_dump *d, uint32_t object, uint64_t offset, char *to, size_t bytes);
void heap_entry_text(const heap_dump *d, const heap_entry *entry, char *to, size_t bytes);

// ---- heap_types.c: sums by type, arrays apart.
typedef struct heap_sum {
  const char *name;
  uint32_t type; // with HEAP_ARRAY
  uint64_t count, bytes;
} heap_sum;
// Of what is reached; the most bytes first. Returns how many; the caller frees *out.
size_t heap_sums(const heap_dump *d, heap_sum **out);
void heap_sum_text(const heap_sum *sum, char *to, size_t bytes);

// The largest few of many, by what they retain.
typedef struct heap_top {
  uint32_t *node, count, room;
} heap_top;
void heap_top_add(const heap_dump *d, heap_top *top, uint32_t node);
void heap_top_sort(const heap_dump *d, heap_top *top);

// The program: its exit status.
int heap_main(int argc, char **argv);

#endif
