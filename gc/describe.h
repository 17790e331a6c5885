// SPDX-License-Identifier: MIT
// describe.h: what a heap is beside the contents of its pages: taken down at an instant, written as sections of bytes with names, and read again.
//
// Neighbours: description.h has what it is made of. runtime/describe.c takes it in a stop, runtime/restore.c opens a heap out of it. rebuild.c is the reader.
//
// Sections: `heap`: the numbers below. `small.N`: 64 MiB of the small blocks. `large.N`: of the large zone. `links.N`: 16384 links. `pairs.N`: 16384 entries of weak tables. N in
// hexadecimal, from 0000 up to as many as `heap` says; each is there, so that none is taken for that of an older description. Numbers have 7 bits a byte, low ones first, the
// eighth says that there is more. Of transient objects nothing is told: their blocks are free ones, references to them are none (gc.transient). Nothing in them depends on the heap's address, nor on anything that changes where nothing happens.

#ifndef GC_DESCRIBE_H
#define GC_DESCRIBE_H

#include "gc/heap.h"

enum {
  GC_FORMAT = 1,
  GC_PART_BLOCKS = 1024, // blocks that a section tells of
  GC_PART_LINKS = 16384, // links, or entries of weak tables
};

typedef enum gc_block_kind { GC_KIND_FREE, GC_KIND_USED, GC_KIND_LEAF, GC_KINDS } gc_block_kind;

// The numbers of the section `heap`, in this order. More may follow in later formats.
typedef enum gc_number {
  GC_NUMBER_FORMAT,
  // Geometry.
  GC_NUMBER_PAGE_SHIFT,
  GC_NUMBER_BLOCKS,
  GC_NUMBER_SMALL_BLOCKS,
  GC_NUMBER_YOUNG_BLOCKS,
  GC_NUMBER_RESERVE, // bytes that the limit may be raised to
  // What headers and the program's own tables rely on.
  GC_NUMBER_CYCLE,
  GC_NUMBER_EPOCH,
  GC_NUMBER_MINOR_CYCLES,
  GC_NUMBER_HASH_BASE, // gc_heap.hash_base
  GC_NUMBER_SERIAL,    // above that of any link
  // How many sections of each kind.
  GC_NUMBER_SMALL_PARTS,
  GC_NUMBER_LARGE_PARTS,
  GC_NUMBER_LINK_PARTS,
  GC_NUMBER_PAIR_PARTS,
  // Sums, against sections that do not belong together.
  GC_NUMBER_USED_BLOCKS,
  GC_NUMBER_USED_PAGES,
  GC_NUMBER_LARGE_OBJECTS,
  GC_NUMBER_LARGE_PAGES,
  GC_NUMBER_WEAKS,
  GC_NUMBER_TABLES,
  GC_NUMBER_PAIRS,
  GC_NUMBER_FINALS, // finalizers, which are not described: due or not
  GC_NUMBER_HANDLES, // nor are these
  GC_NUMBERS
} gc_number;

// ---- Taking it down.

typedef struct gc_description gc_description;

// Memory for twice of what there is now, already touched. NULL: there is none. Any thread that is not stopped meanwhile.
gc_description *gc_description_open(gc_heap *heap);
void gc_description_close(gc_description *d);
// With the world stopped, no cycle under way, and nobody at work for the heap.
void gc_description_take(gc_description *d);
// The same, where only these pages (ascending) were written since it was taken last: takes time as long as there are such pages, links and entries, unless a cycle has come between.
void gc_description_again(gc_description *d, const size_t *pages, size_t count);
// False: it was never taken, or there was too little memory for it.
bool gc_description_is_whole(const gc_description *d);
bool gc_description_has(const gc_description *d, size_t page); // in use then, and of no transient objects
bool gc_description_tells(const gc_description *d, uintptr_t view); // of the object there, if there is one

// gc.transient (blank.c): makes zero, in a copy of a page's contents as of then, slots that are transient, and those that lead to what is not described. `other` has the contents of other pages
// as of then, until it is called again; NULL: they cannot be had. Any thread. False: one that was needed could not, or there is no memory; the copy is of no use.
bool gc_description_blank(gc_description *d, size_t page, char *contents, const void *(*other)(void *arg, size_t page), void *arg);

// Calls `put` for each section until it returns anything but 0, and returns that. -1: there is no memory. Any thread.
typedef int gc_put_fn(void *arg, const char *name, const void *bytes, size_t size);
int gc_description_put(gc_description *d, gc_put_fn *put, void *arg);
// The same for sections that have other bytes than when `put` last returned 0 for them, by either call. NULL: there is no such section any more.
int gc_description_changes(gc_description *d, gc_put_fn *put, void *arg);

// ---- Reading it (rebuild.c).

// Where sections come from. False: there is no such one.
typedef bool gc_section_fn(void *arg, const char *name, const void **bytes, size_t *size);

typedef struct gc_described {
  gc_section_fn *section;
  void *arg;
  uint64_t number[GC_NUMBERS];
  uintptr_t base; // of the view then
} gc_described;

// Reads the section `heap`, and whether it makes sense for a view of so many bytes. False, with the reason in `why`.
bool gc_described_read(gc_described *from, size_t span, size_t page_size, char *why, size_t why_bytes);

// In a heap that was just opened with that geometry: blocks, large objects, links and tables as they were. The pages that are in use have neither memory nor
// contents yet, nor any claim; `page` is called for each run of them. False from it ends it all. False: the sections are damaged, or there is too little room within the limit; the heap
// is to be closed.
typedef bool gc_pages_fn(void *arg, size_t page, size_t count);
bool gc_rebuild(gc_heap *heap, const gc_described *from, gc_pages_fn *pages, void *arg, char *why, size_t why_bytes);

#endif
