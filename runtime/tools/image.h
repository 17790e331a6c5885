// SPDX-License-Identifier: MIT
// image.h: what the files of veil-image share. It reads images by runtime/image, and writes tables as veil-heap does.

#ifndef VEIL_IMAGE_H
#define VEIL_IMAGE_H

#include "runtime/image/image.h"
#include "runtime/tools/heap.h"

enum { IMAGE_DAMAGED = 1, IMAGE_MISUSED = 2, IMAGE_DIFFERENT = 3, IMAGE_UNSURE = 4 }; // exit statuses

// ---- image_main.c
int image_main(int argc, char **argv);
// Says what veil_error says, or another text.
void image_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
// A line on the terminal that tells how far it is; no more than ten a second. `arg` is an image_progress.
typedef struct image_progress {
  bool on;
  const char *what;
  uint64_t page_size, last_ns;
} image_progress;
bool image_progress_show(void *arg, uint64_t done, uint64_t of);
void image_progress_end(image_progress *p);
// A name with nothing in it that a terminal would obey. Of the last four calls.
const char *image_name(const char *name);

// ---- image_store.c: stores, which have a log beside the image
// Lines about the store to what is said of its image; an exit status. Somebody may write it meanwhile: then they say so.
int image_store_report(heap_out *out, const char *path);
// Image and log, and whether they belong together; an exit status.
int image_store_verify(heap_out *out, const char *path, image_progress *progress, unsigned top);

// ---- image_report.c
void image_report(heap_out *out, const rt_image *image, const char *path);
void image_report_types(heap_out *out, const rt_image *image);
void image_report_roots(heap_out *out, const rt_image *image);
// An exit status.
int image_report_verify(heap_out *out, const rt_image *image, image_progress *progress, unsigned top);

// ---- image_compare.c
int image_compare(heap_out *out, const rt_image *before, const rt_image *after, image_progress *progress, unsigned top);

// ---- image_extract.c
// Pages into a new file, each at its number times the page size; what is not there stays a hole.
int image_extract_pages(const rt_image *image, const char *to, image_progress *progress);
// A section's bytes, to standard output.
int image_extract_section(const rt_image *image, const char *name);

#endif
