// SPDX-License-Identifier: MIT
// veil/compress.h: what a program has not touched for a while takes less memory.
//
//   veil_compressor *c = veil_compressor_open(heap, NULL); // and that is all
//
// In the background pages are found that nobody has touched for a while; they are compressed, and their memory goes back to the system. Whoever touches one gets it back, in some microseconds, by a trap. From what age on a
// page counts as cold is found out: so that few of them, 0.2 % of the working set per minute, are wanted back (after Google's far memory, ASPLOS '19). Full cycles trace what is compressed without decompressing it.
//
// A call to the system on an object that has not been touched lately, compressed or not, and leaves too, is refused with EFAULT (but on `uffd-kernel`): it wants veil_touch, or veil/calls.h. Nothing is compressed with the back end `none`.
//
// What a checkpoint or a store's commit saves of compressed pages is a copy: they stay compressed, take no memory for it, and become no younger.
//
// A child of fork() has the heap (option `fork`), compressed as it is, and touches it as its parent does; but nothing more is compressed there, and all it can do with the compressor is to close it, which it must before it closes the heap.

#ifndef VEIL_COMPRESS_H
#define VEIL_COMPRESS_H

#include <veil/veil.h>

#ifdef __cplusplus
extern "C" {
#endif

// Compresses one heap.
typedef struct veil_compressor veil_compressor;

// What is preferred where both cannot be had.
typedef enum veil_compress_prefer {
  VEIL_COMPRESS_SPACE = 0, // the least memory
  VEIL_COMPRESS_SPEED      // that what is touched is there soon
} veil_compress_prefer;

// Zero is the default of each. Fields are only ever added at the end.
typedef struct veil_compressor_options {
  veil_compress_prefer prefer; // where space and speed cannot be had at once
  double target;        // pages that are wanted back per minute, as a share of the working set, at most; default 0.002, from 0.00001 to 1
  unsigned interval_ms; // between two looks at what was touched; default 10,000, at least 10
  unsigned least_ms;    // no page counts as cold that was touched within so many; default 120,000, at least one interval, at most 250
  unsigned age_ms;      // pages are cold from this age on, whatever the target says; 0: that is found out
  unsigned threads;     // that compress, at the lowest priority; default 1, at most 16
} veil_compressor_options;

// What the program says of some memory.
typedef enum veil_compress_hint {
  VEIL_COMPRESS_AS_USED = 0, // nothing: how it is used will tell
  VEIL_COMPRESS_COLD,        // it will not be touched for long: compressed as soon as may be
  VEIL_COMPRESS_NEVER        // it is to be there at once, whenever it is touched
} veil_compress_hint;

// Why the age from which on pages are cold is what it is.
typedef enum veil_compress_reason {
  VEIL_COMPRESS_WARMING,  // not enough is known yet: nothing is cold
  VEIL_COMPRESS_FIXED,    // option age_ms
  VEIL_COMPRESS_PAST,     // less would have cost too much in too many of the last intervals
  VEIL_COMPRESS_LAST,     // less would have cost too much in the last one
  VEIL_COMPRESS_LEAST,    // option least_ms: less is not allowed
  VEIL_COMPRESS_OVERDRAWN // more was wanted back than the target allows: until that is made up for
} veil_compress_reason;

// What there is, and was. Fields are only ever added at the end.
typedef struct veil_compress_stats {
  // Now. Bytes.
  uint64_t original;  // of pages that are compressed
  uint64_t packed;    // what they take: contents, and what the collector has put down of them
  uint64_t held;      // all memory that is held for it: that, what lies between, tables, buffers
  uint64_t saved;     // original - held, or 0
  uint64_t in_use;    // of the heap: pages in use, compressed or not
  uint64_t cold;      // of these, pages that are older than the threshold
  uint64_t working_set; // of these, pages that were touched within least_ms
  double threshold_s; // pages that have not been touched for so long are cold; infinity: none are
  veil_compress_reason reason;
  double promotions_per_minute; // pages that were wanted back, over the last ten minutes, as a share of the working set
  // Since it was opened. Pages.
  uint64_t compressed, promoted, discarded; // compressed; wanted back by a touch; died compressed
  uint64_t fetched;     // wanted back by the collector, or by veil
  uint64_t taken_back;  // were touched while they were being compressed
  uint64_t unpacked_in_cycles; // fetched while a full cycle was under way
  uint64_t unworthy;    // attempts to compress what does not get smaller
  uint64_t unready;     // attempts that the collector refused: such pages are tried again
  uint64_t by_method[8]; // compressed by: repeated word, columns, lz4, lz4 of planes, zstd, zstd of planes
  // How long a touch took, in nanoseconds, decompression and all but the kernel's part.
  uint64_t promotion_p50_ns, promotion_p98_ns, promotion_max_ns;
  uint64_t sampler_ns, packer_ns; // processor time of the threads
  uint64_t copied; // pages that a checkpoint, or a store's commit, has got a copy of: they stayed compressed
} veil_compress_stats;

// Begins. NULL, with veil_error(): the back end is `none`, an option makes no sense, there is no memory or thread, another compressor or service asks what is touched, or the heap has too many services. As long as it is open
// the collector leaves objects in place where it can (veil_service_keep_in_place). `options` may be NULL. Any thread.
veil_compressor *veil_compressor_open(veil_heap *heap, const veil_compressor_options *options);

// Decompresses all, and ends. NULL is fine. Before veil_close of its heap. Any thread; not in callbacks.
void veil_compressor_close(veil_compressor *compressor);

// Says what is going to be done with memory of the heap: of the pages that lie in it wholly or, for VEIL_COMPRESS_NEVER, partly. Until the next such call; but where an object is moved to nothing was said. VEIL_INVALID: it is not the
// heap's. Any thread.
veil_status veil_compress_hint_set(veil_compressor *compressor, const void *address, size_t bytes, veil_compress_hint hint);

// Compresses now what has not been touched for so many milliseconds, to the interval, and waits for that: before the program goes idle, say; 0: everything. Returns how many pages. What is wanted back afterwards counts as ever. Any thread,
// which counts as between brackets meanwhile; not in callbacks.
size_t veil_compress_now(veil_compressor *compressor, unsigned age_ms);

// Pages by age, and pages that were wanted back, or would have been had they been compressed, by the age that they had, since it was opened: `count` of each, one for each interval, the last one stands for all that are older. For
// plots. Either may be NULL. Returns milliseconds per interval. Any thread.
unsigned veil_compress_ages(veil_compressor *compressor, uint64_t *pages, uint64_t *touched, size_t count);

// Any thread.
void veil_compress_get_stats(veil_compressor *compressor, veil_compress_stats *out);

#ifdef __cplusplus
}
#endif
#endif
