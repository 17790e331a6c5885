// SPDX-License-Identifier: MIT
// object.h: headers and layouts.
//
// Header, from the low bit: peer 32 (in units of 16 bytes from the heap's base), epoch 2, type 16, array 1, leaf 1, age 2, hashed 1, extra 1, alignment 4, transient 1; the rest is free.
// Zero is no header: free space. Changed by atomic operations only, once a cell is published.

#ifndef GC_OBJECT_H
#define GC_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include "gc/ref.h"
#include "vm/check.h"

enum {
  GC_PEER_BITS = 32,
  GC_EPOCH_SHIFT = 32,
  GC_TYPE_SHIFT = 34,
  GC_TYPES = 1 << 16,
  GC_FILLER = 1,      // a cell that holds nothing; its peer is its size in units
  GC_FIRST_TYPE = 2,
  GC_UNIT = 16,       // cells are multiples of it
};
// What of a slot's word is address; the rest is tag.
#define GC_ADDRESS_MASK 0x0000fffffffffff8ull
#define GC_PEER_MASK 0xffffffffull
#define GC_EPOCH_MASK (3ull << GC_EPOCH_SHIFT)
#define GC_ARRAY (1ull << 50)
#define GC_LEAF (1ull << 51)
#define GC_HASHED (1ull << 54) // its identity hash was asked for, which is its address's …
#define GC_EXTRA (1ull << 55)  // … unless it has moved since: then that stands at the end of the cell, which is so much longer

// The object's start is a multiple of so many units, as a power of two; 0: of one. It is kept when the object moves (gc.align). No arrays: these begin in
// the middle of a unit.
enum { GC_ALIGN_SHIFT = 56, GC_ALIGN_MOST = 4096 };
#define GC_ALIGN_MASK (15ull << GC_ALIGN_SHIFT)
#define GC_TRANSIENT (1ull << 60) // its type's objects are never saved (gc.transient)

// Objects of one sort share blocks, and with that places to allocate and to copy to. Bits; 0: all others.
enum {
  GC_SORT_LEAF = 1,      // leaf objects
  GC_SORT_TRANSIENT = 2, // those that are never saved
  GC_SORTS = 4,
};

enum {
  GC_SMALL_MAX = 512,         // cells up to this do not cross a page, but for those that are aligned to one
  GC_MEDIUM_MAX = 32 << 10,   // cells up to this move; larger objects have pages of their own
};

typedef enum gc_layout {
  GC_LAYOUT_LEAF = 0,
  GC_LAYOUT_DENSE,   // every word is a plain pointer
  GC_LAYOUT_MAP,     // plain pointers at offsets
  GC_LAYOUT_TAGGED,  // words at offsets that decode by the type's encoding
  GC_LAYOUT_TRACE,   // by callback
  GC_LAYOUT_FLEXIBLE, // an array with a part of its own before its elements; slots in either
} gc_layout;

enum { GC_FIXED_PLAIN = 1 }; // in a slot's offset in that part: a plain pointer, whatever the encoding
enum { GC_SLOT_TRANSIENT = 2 }; // in any slot's offset, as programs and descriptions have it: the slot is zero in what is saved. gc_type has lists of these

typedef struct gc_visitor gc_visitor;
typedef void gc_trace_fn(const void *object, const void *alias, size_t length, size_t slots_base, size_t slots_limit,
                         gc_visitor *visitor);

// Constant after registration; lives outside the heap.
typedef struct gc_type {
  const char *name;
  uint32_t size;      // bytes of an object or element
  uint32_t cell;      // bytes of the cell of a single object
  gc_layout layout;
  bool tagged;
  uint8_t low_tags;   // see veil_encoding
  uint16_t high_min, high_max;
  gc_trace_fn *trace;
  uint32_t count;     // slots per object or element
  const size_t *offsets;
  // Of arrays with a part of their own before the elements (for which all of the above holds).
  uint32_t fixed;     // bytes of that part; 0: none
  uint32_t fixed_count;
  const size_t *fixed_offsets; // of its slots, with GC_FIXED_PLAIN
  bool dense;         // each element is a plain pointer
  const size_t *declared; // all of both, as the program has said, with GC_FIXED_PLAIN and GC_SLOT_TRANSIENT
  bool transient;     // its objects are never saved, nor described
  uint32_t transient_count; // slots that are zero in what is saved, per object or element …
  const size_t *transient_offsets; // … where; of `offsets`
  uint32_t transient_fixed_count;  // the same of the part before the elements
  const size_t *transient_fixed_offsets;
  bool sized;         // of leaf objects: the last word of the cell says how many bytes the object has, `size` at the most
} gc_type;

extern AO_t gc_types_boxed;         // 1: some type has references with tags in the high 16 bits
extern AO_t gc_types_transient;     // 1: some type is transient, or has slots that are
extern AO_t gc_types_known;         // how many were ever registered; none goes
extern gc_type *gc_types[GC_TYPES]; // written once each, before a header names it
static inline const gc_type *gc_type_at(unsigned id) { return (const gc_type *)at_load_acquire((AO_t volatile *)&gc_types[id]); }

static inline unsigned gc_header_type(uint64_t header) { return (header >> GC_TYPE_SHIFT) & (GC_TYPES - 1); }
static inline unsigned gc_header_epoch(uint64_t header) { return (header >> GC_EPOCH_SHIFT) & 3; }
static inline unsigned gc_header_sort(uint64_t header) {
  _Static_assert(GC_LEAF == 1ull << 51 && GC_TRANSIENT == 1ull << 60, "the shifts below");
  return (unsigned)((header >> 51 & GC_SORT_LEAF) | (header >> 59 & GC_SORT_TRANSIENT));
}
static inline uint64_t gc_header_make(unsigned type, bool array, bool leaf) {
  return ((uint64_t)type << GC_TYPE_SHIFT) | (array ? GC_ARRAY : 0) | (leaf ? GC_LEAF : 0);
}

// Where a word of a slot points, or 0: the inverse of the encoding. `tag` receives the bits to be kept.
static inline uintptr_t gc_word_decode(const gc_type *type, uint64_t word, uint64_t *tag) {
  if (!type->tagged) {
    *tag = 0;
    return word;
  }
  uint64_t high = word >> 48;
  if (!((type->low_tags >> (word & 7)) & 1) || high < type->high_min || high > type->high_max) {
    return 0;
  }
  *tag = word & ~GC_ADDRESS_MASK;
  return word & GC_ADDRESS_MASK;
}

static inline size_t gc_header_align(uint64_t header) { return (size_t)GC_UNIT << (header >> GC_ALIGN_SHIFT & 15); }
// The header of an object that is to be aligned to 16 … GC_ALIGN_MOST, a power of two.
static inline uint64_t gc_header_aligned(uint64_t header, size_t align) {
  return header | (uint64_t)(unsigned)__builtin_ctzl(align / GC_UNIT) << GC_ALIGN_SHIFT;
}
// Bytes from `cell` to the first cell at or behind it whose object is aligned, if it is no array's. Never beyond the end of a page.
static inline size_t gc_align_lead(const char *cell, size_t align) { return -(uintptr_t)(cell + 8) & (align - 1); }

static inline uint64_t gc_header_load(gc_cell cell) { return at_load_acquire((AO_t volatile *)cell.alias); }

// An array's length stands behind its header.
static inline size_t gc_cell_length(gc_cell cell) {
  return at_load((AO_t volatile *)(cell.alias + 8));
}

static inline size_t gc_round_cell(size_t bytes) { return (bytes + GC_UNIT - 1) & ~(size_t)(GC_UNIT - 1); }

// Bytes that the object's data stand behind its header word.
static inline size_t gc_header_bytes(uint64_t header) { return header & GC_ARRAY ? 16 : 8; }

// Bytes of the object itself. `header` is that of an object.
static inline size_t gc_data_bytes(gc_cell cell, uint64_t header) {
  const gc_type *type = gc_type_at(gc_header_type(header));
  if (header & GC_ARRAY) {
    return type->fixed + gc_cell_length(cell) * type->size;
  }
  return type->sized ? at_load((AO_t volatile *)(cell.alias + type->cell - 8)) : type->size;
}

// Bytes of a cell with an object of `length` elements, if it is an array.
static inline size_t gc_cell_bytes(const gc_type *type, uint64_t header, size_t length) {
  return (header & GC_EXTRA ? GC_UNIT : 0) + (header & GC_ARRAY ? gc_round_cell(16 + type->fixed + length * type->size) : type->cell);
}

// The cell's size in bytes. `header` is not zero.
static inline size_t gc_cell_size(gc_cell cell, uint64_t header) {
  unsigned id = gc_header_type(header);
  if (id == GC_FILLER) {
    return (header & GC_PEER_MASK) * GC_UNIT;
  }
  return gc_cell_bytes(gc_type_at(id), header, header & GC_ARRAY ? gc_cell_length(cell) : 1);
}

// Makes a cell filler: no object, no slots.
static inline void gc_cell_fill(gc_cell cell, size_t bytes) {
  at_store_release((AO_t volatile *)cell.alias, gc_header_make(GC_FILLER, false, true) | bytes / GC_UNIT);
}

// What an object's next copy needs beside its cell, to keep its hash.
static inline size_t gc_cell_growth(uint64_t header) { return (header & (GC_HASHED | GC_EXTRA)) == GC_HASHED ? GC_UNIT : 0; }

#endif
