// SPDX-License-Identifier: MIT
// image.h: files that hold heaps: pages with numbers, sections with names, types and roots; version after version, each there as a whole or not at
// all. README.md tells how.
//
// Neighbours: checkpoints and stores write and read them, runtime/tools/image_* looks at them. It knows nothing of the collector. Calls return a status; if it
// is not VEIL_OK, veil_error() says in this thread what was wrong, with the file's name and the offset. VEIL_IO: the system failed, or the file is damaged;
// VEIL_UNSUPPORTED: the file is of another kind, or the system cannot do it; VEIL_BUSY: another writer has the file; VEIL_NO_MEMORY; VEIL_INVALID: what was
// asked for is not there, or makes no sense.

#ifndef RT_IMAGE_IMAGE_H
#define RT_IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "runtime/image/io.h"
#include "veil/veil.h"

typedef enum rt_image_codec { RT_IMAGE_PLAIN = 0, RT_IMAGE_LZ4, RT_IMAGE_ZSTD } rt_image_codec;

typedef struct rt_image_options {
  const rt_image_io *io; // NULL: the system
  rt_image_codec codec;  // of a writer: how what it puts is compressed
  bool buffered;         // of a writer: through the system's cache even where it could write past it
  bool no_fallback;      // of a reader: refuse a file whose newest version is damaged, instead of taking the one before
} rt_image_options;

// What never changes in a file.
typedef struct rt_image_layout {
  uint32_t page_size; // bytes: 4096, 8192 … 65536
  uint64_t base;      // address of page 0
  uint64_t span;      // bytes from there that pages may lie in; a multiple of page_size, at most 2^40 pages
} rt_image_layout;

// A type as the heap that wrote the image had it. Offsets are in bytes.
typedef struct rt_image_type {
  const char *name;
  uint64_t hash;     // of all that follows but `number`: rt_image_type_hash
  uint32_t number;   // by which objects name it in this image
  uint32_t flags;    // the writer's own: kind of layout and the like
  uint64_t size;     // of an object, or of an element
  uint64_t encoding; // the writer's own: how slots decode
  uint64_t fixed;    // bytes before the first element of a flexible array
  uint32_t slot_count, fixed_slot_count;
  const uint64_t *slots, *fixed_slots; // offsets
} rt_image_type;

typedef struct rt_image_root {
  const char *name;
  uint64_t address;
} rt_image_root;

// The layout's hash: equal for equal layouts, whatever their names and numbers. Ignores type->hash.
uint64_t rt_image_type_hash(const rt_image_type *type);

// ---- Writing. A writer is used by one thread at a time.

typedef struct rt_image_writer rt_image_writer;
typedef struct rt_image rt_image; // a reader

// Begins a new file, which takes the place of what is at `path` when its first version is committed; until then it is `path`.new. VEIL_BUSY: somebody writes
// either.
veil_status rt_image_create(rt_image_writer **out, const char *path, const rt_image_layout *layout, const rt_image_options *options);
// Begins an image on a descriptor that is written from its position on, and need not be able to seek. It takes one version. The descriptor stays the caller's.
veil_status rt_image_create_stream(rt_image_writer **out, int fd, const rt_image_layout *layout, const rt_image_options *options);
// Opens a file for further versions. VEIL_BUSY: another writer has it; the error names its process.
veil_status rt_image_append(rt_image_writer **out, const char *path, const rt_image_options *options);

// Begins a version. It has all that the one before had, but for what the calls below change. Aborts (as all calls of a writer) if called out of order.
veil_status rt_image_begin(rt_image_writer *w);
// Room for what the version has to know of so many pages: as many can be put, one by one, without an allocation. In a version that was begun.
veil_status rt_image_reserve(rt_image_writer *w, uint64_t pages);
// Puts pages `first` … `first + count - 1`. `contents` does not change until the call returns. Put twice, the last counts. Pages in order are written fastest.
// A page outside of the span aborts.
veil_status rt_image_put(rt_image_writer *w, uint64_t first, uint64_t count, const void *contents);
// As rt_image_put, of pages that lie anywhere. `taken`, if not NULL, is told as soon as `count` more of them, in the order of the list, were copied, and always
// before a write is waited for: from then on their contents may change. A call that fails has no more to do with any of them.
typedef struct rt_image_page {
  uint64_t page;
  const void *contents;
} rt_image_page;
typedef void rt_image_taken(void *arg, uint64_t count);
veil_status rt_image_put_list(rt_image_writer *w, const rt_image_page *list, uint64_t count, rt_image_taken *taken, void *arg);
// These pages are there no more.
veil_status rt_image_remove(rt_image_writer *w, uint64_t first, uint64_t count);
// Puts a section, in the place of one of that name; with `contents` NULL, removes it. Names are 1 to 31 characters of a-z, 0-9, '_', '-', '.', and not those of
// types and roots. It is copied. What did not change is not written again.
veil_status rt_image_put_section(rt_image_writer *w, const char *name, const void *contents, size_t bytes);
// All types, all roots of the version. Names of roots are unique, or it is VEIL_INVALID; so are numbers of types. Hashes of types are computed here.
veil_status rt_image_put_types(rt_image_writer *w, const rt_image_type *types, size_t count);
veil_status rt_image_put_roots(rt_image_writer *w, const rt_image_root *roots, size_t count);

typedef struct rt_image_committed {
  uint64_t version;
  uint64_t written; // bytes, of this version, with everything
  uint64_t file;    // bytes that the file has
  uint64_t dead;    // of these, needed by no version that is kept
  bool compact;     // enough of it is dead that rt_image_compact is worth its while
} rt_image_committed;

// Makes the version durable: when this returns VEIL_OK it outlives a crash. `out` may be NULL. If it fails, the writer refuses everything from then on but
// rt_image_close, and the version before stays.
veil_status rt_image_commit(rt_image_writer *w, rt_image_committed *out);
// Gives up the version that was begun; the writer may begin another. If the writer has failed before, does nothing.
void rt_image_abort(rt_image_writer *w);
// Ends a writer, in any state. A version that is not committed is lost. NULL is fine.
void rt_image_close(rt_image_writer *w);

// Copies the newest version of a file, without what is dead, over it. `progress` may be NULL: it is told how many pages of how many were copied; false from it
// gives it up, as if nothing had been, with VEIL_BUSY. With `to`, copies to that path instead and leaves the file as it is (a backup, or a file made of a stream).
typedef bool rt_image_progress(void *arg, uint64_t done, uint64_t of);
veil_status rt_image_compact(const char *path, const char *to, const rt_image_options *options, rt_image_progress *progress, void *arg);
// The same for a file that a writer has, with no version in flight, whose lock is kept all the time; `newest` is a reader of its newest version. VEIL_OK: *held is a writer of the new file. Otherwise it is as it was; or NULL, if the new
// file has the path but not durably: the path has to be opened again.
veil_status rt_image_compact_held(rt_image_writer **held, const rt_image *newest, rt_image_progress *progress, void *arg);

// ---- Reading. A reader may be used by any number of threads at once, but for opening and closing.

// Opens the newest valid version and checks all of it but the contents of pages.
veil_status rt_image_open(rt_image **out, const char *path, const rt_image_options *options);
void rt_image_free(rt_image *image); // NULL is fine

typedef struct rt_image_info {
  rt_image_layout layout;
  uint64_t version, time; // time: ns since 1970
  uint64_t pages;         // that it has
  uint64_t zero_pages;    // of these, of zeros only, which take no space
  uint64_t stored;        // bytes that the others take
  uint64_t file, needed;  // bytes: of the file; of it, that this version needs
  uint32_t segments;      // of the map
  uint64_t extents;
  bool stream;        // written to what could not seek
  const char *damage; // "" or what was wrong with the other slot, or with the newest version if this is the one before
  bool fallen_back;   // a newer version was damaged
} rt_image_info;
// Valid until the image is freed.
const rt_image_info *rt_image_info_of(const rt_image *image);

// A run of pages of one kind.
typedef struct rt_image_run {
  uint64_t first, count;
  bool zero;
} rt_image_run;
// The first run with pages >= `page`, cut to begin there; it is what one rt_image_read takes best. False: none.
bool rt_image_next(const rt_image *image, uint64_t page, rt_image_run *out);
bool rt_image_has(const rt_image *image, uint64_t page);

// Bytes of scratch memory for rt_image_read, for any image.
enum { RT_IMAGE_SCRATCH = 384 << 10 };
// Reads pages and checks them: `to` has room for all. `scratch` is NULL, or RT_IMAGE_SCRATCH bytes, aligned to 8, and then nothing is allocated. VEIL_INVALID:
// the image has not all of these pages; VEIL_IO: the first page that is damaged is named, and what `to` has is of no use.
veil_status rt_image_read(const rt_image *image, uint64_t first, uint64_t count, void *to, void *scratch);

// VEIL_INVALID: no such section. The bytes are the image's, until it is freed; they are aligned to 8.
veil_status rt_image_section(const rt_image *image, const char *name, const void **contents, size_t *bytes);
// The n-th section, in the order of names; NULL: no more. Types and roots are among them.
const char *rt_image_section_name(const rt_image *image, size_t n);
// All are the image's. In the order they were put; 0 if none were.
size_t rt_image_types(const rt_image *image, const rt_image_type **out);
// Sorted by name.
size_t rt_image_roots(const rt_image *image, const rt_image_root **out);
// NULL: none of that name.
const rt_image_root *rt_image_root_named(const rt_image *image, const char *name);

// Reads and checks all pages. `progress` as in rt_image_compact. `damage` is told of each page that is damaged; false from it ends the search. Either may be NULL. VEIL_IO: there was damage; the
// error is the first.
typedef bool rt_image_damage(void *arg, uint64_t page, const char *what);
veil_status rt_image_verify(const rt_image *image, rt_image_progress *progress, rt_image_damage *damage, void *arg);

#endif
