// SPDX-License-Identifier: MIT
// inspect.h: a store that is looked at without being opened: what its files say, whether they belong together, what would be recovered. Nothing is changed.
//
// Neighbours: runtime/tools/image_store.c tells people; mark.h and log.h read. Knows no heap. One thread. What the files say may be anything.

#ifndef RT_STORE_INSPECT_H
#define RT_STORE_INSPECT_H

#include "runtime/image/image.h"
#include "runtime/store/log.h"
#include "runtime/store/mark.h"

enum { ST_INSPECTION_TEXT = 512 };

// What the log has that counts.
typedef struct st_inspected_records {
  uint64_t first, count; // numbers: first … first + count - 1
  uint64_t bytes;        // of them
  uint64_t page_items, pages, values; // of pages: items; pages that there are any for; bytes of values
  uint64_t gone_items, gone;          // runs of pages that hold zeros from there on, and pages in them
  uint64_t sections;                  // that are set or removed
} st_inspected_records;

typedef struct st_inspection {
  rt_image *image; // NULL: it cannot be read
  st_mark mark;
  char *log_path;
  bool log_there;
  veil_status log_status; // VEIL_OK: the log is whole, belongs to the image, and has what the image says that it has; or it is missing, and may be. Else `why` tells
  char why[ST_INSPECTION_TEXT];
  uint64_t log_bytes, log_used;
  st_log_end end;
  st_inspected_records records;
  // The locks, until st_inspect_close.
  st_log *log;
  int lock;
  const rt_image_io *io;
} st_inspection;

// Whether the image says that it is a store's.
bool st_inspect_is_store(const rt_image *image);
// Opens the image, the mark and the log, as a reader of the store does: with a share of both locks. `io` NULL: the system. VEIL_BUSY: somebody writes the store, and veil_error() names the process. Others: the image or its mark cannot be read. What
// the log is like is in `out`, which is to be closed in any case.
veil_status st_inspect(const char *path, const rt_image_io *io, st_inspection *out);
void st_inspect_close(st_inspection *s);

// rt_image_compact for a store that nobody has open: with the lock of its log, too.
veil_status st_inspect_compact(const char *path, const rt_image_io *io, rt_image_progress *progress, void *arg);

#endif
