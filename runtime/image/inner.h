// SPDX-License-Identifier: MIT
// inner.h: what the files of this folder share.
//
// Neighbours: image.h is for everybody else. Functions that return a status have set the error when it is not VEIL_OK.

#ifndef RT_IMAGE_INNER_H
#define RT_IMAGE_INNER_H

#include "runtime/image/file.h"
#include "runtime/image/format.h"
#include "runtime/image/image.h"

// One build for tests can break one rule at a time, which tests/image must find. In the library this is a constant, and nothing is broken.
enum image_break {
  BREAK_NONE,
  BREAK_BARRIER_DATA,      // im.order, the first barrier
  BREAK_BARRIER_HEADER,    // im.order, the second
  BREAK_BARRIER_DIRECTORY, // im.new
  BREAK_RENAME_EARLY,      // im.new: the path names a file before it is whole
  BREAK_SLOTS,             // im.slots: all headers go to one slot
  BREAK_SPACE,             // im.two: space of the last version is taken for free
  BREAK_SETTLE,            // im.settle
  BREAK_ONCE,              // im.once: a failed barrier is taken for a good one
  BREAK_SUM_HEADER,        // checksums that are not looked at
  BREAK_SUM_SEGMENT,
  BREAK_SUM_SECTION,
  BREAK_SUM_PAGE,
  BREAK_BOUNDS, // im.hostile: which of a blob's pages count is believed
  BREAK_COUNT
};
#ifdef IMAGE_BREAKABLE
extern enum image_break rt_image_break;
#define IMAGE_BREAK rt_image_break
#else
#define IMAGE_BREAK BREAK_NONE
#endif

// ---- io.c

veil_status rt_image_no_memory(const image_file *file);
typedef uint64_t rt_image_summer(const void *bytes, size_t count);
rt_image_summer *rt_image_sum_fast(void); // sum_avx2.c; the same sums. NULL: this processor, or this build, has none
// A wish that the range, which was not touched yet, get huge pages: what is written from there is pinned by the page.
void rt_image_large_pages(void *address, size_t bytes);
// A copy of a reader's or writer's options' table.
const rt_image_io *rt_image_io_of(const rt_image_options *options);

// Bytes that grow. No memory: `failed` is set, and what is added is lost.
typedef struct image_bytes {
  uint8_t *at;
  size_t used, room;
  bool failed;
} image_bytes;
void rt_image_bytes_add(image_bytes *b, const void *from, size_t count);
void rt_image_bytes_number(image_bytes *b, uint64_t n); // 7 bits a byte
// Reads a number and advances *at; false: none is there.
bool rt_image_number(const uint8_t **at, const uint8_t *limit, uint64_t *out);

// ---- map.c

// A run of pages as it is stored.
typedef struct image_extent {
  uint64_t first, offset; // page; byte in the file: of the first page, or of the blob
  uint64_t sum;           // raw and packed: index of the first page's checksum in the map's
  uint32_t count, bytes;  // pages; packed: bytes of the blob
  uint16_t skip, blob;    // packed: the blob's pages before `first`, and all it has
  uint8_t kind, codec;
} image_extent;

// Sorted by page, no page twice; but for the map of a version in flight until it is sorted.
typedef struct image_map {
  image_extent *extents;
  size_t count, room;
  uint64_t *sums;
  size_t sum_count, sum_room;
  uint32_t page_size;
} image_map;

// Adds at the end; grows the last extent where the two are one. `sums` are the extent's, for kinds that have any. False: no memory.
bool rt_image_map_add(image_map *map, const image_extent *extent, const uint64_t *sums);
// Room for so many extents and checksums more. False: no memory.
bool rt_image_map_reserve(image_map *map, size_t extents, size_t sums);
// `upper` over `lower`, into `out`, which is empty before. False: no memory, and `out` is empty.
bool rt_image_map_overlay(const image_map *lower, const image_map *upper, bool keep_removed, image_map *out);
// Sorts a map to which extents were added in any order: of two of one page the later counts. False: no memory, and nothing has changed.
bool rt_image_map_sort(image_map *map);
// Index of the first extent that ends behind `page`; `count` if there is none.
size_t rt_image_map_find(const image_map *map, uint64_t page);
void rt_image_map_clear(image_map *map);
// The part of an extent from page `from` on, `count` pages long.
image_extent rt_image_extent_cut(const image_map *map, const image_extent *extent, uint64_t from, uint64_t count);
static inline bool rt_image_extent_stored(const image_extent *e) { return e->kind == IMAGE_RAW || e->kind == IMAGE_PACKED; }
static inline uint64_t rt_image_extent_bytes(const image_map *map, const image_extent *e) {
  return e->kind == IMAGE_RAW ? (uint64_t)e->count * map->page_size : e->kind == IMAGE_PACKED ? e->bytes : 0;
}
uint64_t rt_image_map_pages(const image_map *map);

// ---- index.c

// Appends a segment that has the map to `to`; `head` says the rest. False: no memory.
bool rt_image_index_encode(const image_map *map, image_segment *head, image_bytes *to);
// The segment at `at`, whose checksum is right, into `map`, which is empty before.
veil_status rt_image_index_decode(const image_file *file, const image_header *header, const image_reference *at, const uint8_t *bytes, image_segment *head,
                                  image_map *map);

// ---- codec.c

// Bytes of memory that packing wants, aligned to 8.
size_t rt_image_packer_bytes(rt_image_codec codec);
// Bytes of the blob, or 0: it is not worth it, or there is no such codec here.
size_t rt_image_pack(rt_image_codec codec, void *packer, const void *from, size_t bytes, void *to, size_t room);
// False: the blob is no such. `unpacker` is memory of IMAGE_UNPACKER bytes.
bool rt_image_unpack(rt_image_codec codec, void *unpacker, const void *from, size_t bytes, void *to, size_t wanted);
enum { IMAGE_UNPACKER = RT_IMAGE_SCRATCH - 2 * IMAGE_BLOB };
bool rt_image_codec_here(rt_image_codec codec);
bool rt_image_is_zero(const void *bytes, size_t count);

// ---- types.c

bool rt_image_types_encode(const rt_image_type *types, size_t count, image_bytes *to);
bool rt_image_roots_encode(const rt_image_root *roots, size_t count, image_bytes *to);
// What is decoded lies in one piece of memory, which the caller frees.
veil_status rt_image_types_decode(const image_file *file, const image_reference *at, const uint8_t *bytes, rt_image_type **out, size_t *count);
veil_status rt_image_roots_decode(const image_file *file, const image_reference *at, const uint8_t *bytes, rt_image_root **out, size_t *count);
bool rt_image_name_good(const char *name, size_t room); // of a section

// ---- load.c

typedef struct image_link {
  image_reference at;
  image_segment head;
  image_map map; // empty in the base, and in a reader
} image_link;

// A section, with its contents.
typedef struct image_content {
  image_section entry;
  uint8_t *bytes;
} image_content;

// A version that was read from a file. All zero: none.
typedef struct image_version {
  image_header header;
  uint64_t file_bytes;
  image_link chain[IMAGE_CHAIN_MAX]; // newest first
  unsigned links;
  image_map map;
  image_content *sections;
  size_t section_count;
  char damage[400]; // what is wrong with the other slot
  bool fallen_back;
} image_version;

// The newest valid version. `links`: with the maps of the chain but the base's. Fills `older`, if not NULL, with the one before, without sections' contents, or
// leaves it all zero.
veil_status rt_image_load(const image_file *file, bool links, bool no_fallback, image_version *out, image_version *older);
void rt_image_version_clear(image_version *v);
image_content *rt_image_content_find(const image_version *v, const char *name);

// ---- space.c

// Blocks of a file that are needed, a bit each. All zero: none.
typedef struct image_space {
  uint64_t *bits;
  size_t words;
} image_space;
// Bytes of a file: [base, limit), both multiples of IMAGE_BLOCK.
typedef struct image_range {
  uint64_t base, limit;
} image_range;

// Adds what the version needs, but for headers. False: no memory.
bool rt_image_space_add(image_space *space, const image_version *v);
uint64_t rt_image_space_bytes(const image_space *space);
// The first gap from byte `from` on. False: nothing is needed from gap->base on.
bool rt_image_space_gap(const image_space *space, uint64_t from, image_range *gap);

// ---- Writers: out.c, writer.c, version.c, commit.c

enum { IMAGE_OUT = 4 << 20, IMAGE_GAP = 64 << 10 }; // bytes of a write; of a gap that is worth filling

typedef enum image_state { IMAGE_IDLE, IMAGE_OPEN, IMAGE_FAILED, IMAGE_POISONED } image_state;

struct rt_image_writer {
  image_file file;
  rt_image_options options;
  image_state state;
  char *final;  // the path that the file gets, until it has it
  int final_fd; // of what is there now, for its lock; -1
  bool stream, direct;
  rt_image_layout layout;
  image_version last; // durable; version 0: none yet
  image_space kept;   // what `last` and the version before it need (im.two)
  uint64_t id;        // of the file

  // Of the version in flight.
  image_map delta;
  image_content *sections; // changed; bytes NULL: removed. Not written yet
  size_t section_count;
  uint64_t written;

  // Where it goes: `buffer` has what belongs at `at`, which ends at `limit` (a gap) or never.
  uint8_t *buffer, *blob;
  void *packer; // NULL until it is wanted
  size_t used;
  uint64_t at, limit, end; // end: of the file, as far as it is in use
  bool gaps;               // there may be more of them behind `limit`
};

// Begins at the first gap.
void rt_image_out_begin(rt_image_writer *w);
// The offset at which the next `bytes` bytes will lie together. What does not fit in what is left of a gap goes to the next; what is larger than the smallest
// gaps, to the end.
veil_status rt_image_out_place(rt_image_writer *w, uint64_t bytes, uint64_t *offset);
veil_status rt_image_out_add(rt_image_writer *w, const void *from, size_t bytes);
// Writes what is left, to a full block.
veil_status rt_image_out_flush(rt_image_writer *w);
// Writes blocks now: for headers.
veil_status rt_image_out_blocks(rt_image_writer *w, const void *from, size_t bytes, uint64_t offset);
// Where in the buffer the next page can be made, before it is known whether it is kept. Out of place: see rt_image_out_place.
static inline uint8_t *rt_image_out_spot(rt_image_writer *w) { return w->buffer + w->used; }
veil_status rt_image_out_took(rt_image_writer *w, size_t bytes);
// Whether a write may be waited for before, or as soon as, so many bytes are in the buffer.
static inline bool rt_image_out_writes(const rt_image_writer *w, size_t bytes) { return w->limit != UINT64_MAX || w->used + bytes >= IMAGE_OUT; }
// Waits until all that was written is durable.
veil_status rt_image_barrier(rt_image_writer *w);
// Waits until the file's name is.
veil_status rt_image_folder_barrier(rt_image_writer *w);
// The writer is of no use from now on. Returns `status`.
veil_status rt_image_writer_fail(rt_image_writer *w, veil_status status);
veil_status rt_image_writer_no_memory(rt_image_writer *w);
// What was put is forgotten.
void rt_image_flight_clear(rt_image_writer *w);
void rt_image_header_seal(image_header *header);
// A blob as another file has it, of pages `first` …
veil_status rt_image_put_blob(rt_image_writer *w, const image_extent *like, uint64_t first, const void *bytes, const uint64_t *sums);
veil_status rt_image_put_as(rt_image_writer *w, uint64_t first, uint64_t count, const void *contents, rt_image_codec codec);
veil_status rt_image_section_set(rt_image_writer *w, const char *name, const void *contents, size_t bytes);
// As rt_image_create, without a layout, which is to be set before the first version begins, and with an id and a version that may be. `locked`: the caller has the lock of what is at `path`, and keeps it.
veil_status rt_image_create_bare(rt_image_writer **out, const char *path, const rt_image_options *options, bool locked);
// True if the writer takes pages; else why not is the error, or it is the caller's mistake, and that aborts.
bool rt_image_writer_ready(rt_image_writer *w, image_state wanted, const char *call);

struct rt_image {
  image_file file;
  image_version v;
  rt_image_info info;
  rt_image_type *types;
  rt_image_root *roots;
  size_t type_count, root_count;
};

#endif
