// SPDX-License-Identifier: MIT
// lists.c: pages that do not lie side by side are put as those that do; and the checksum, which some processors make otherwise.
//
//   IMAGE_SEED=n repeats the contents of a run.

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>
#include "runtime/image/inner.h"
#include "tests/image/model.h"

#define OK(CALL) cr_assert_eq((CALL), VEIL_OK, "%s: %s", #CALL, veil_error())

static char path[100];

static void names_choose(void) { snprintf(path, sizeof path, "/tmp/veil-image-lists-%d", (int)getpid()); }
static void names_remove(void) { unlink(path); }

static const rt_image_layout layout = {4096, 0x10000, (uint64_t)MODEL_PAGES * 4096};

typedef struct counted {
  uint64_t told, calls;
} counted;
static void count_taken(void *arg, uint64_t count) {
  counted *c = arg;
  c->told += count;
  c->calls++;
}

// Two pages, and then one that is left out; the contents lie the other way round.
static void list_make(rt_image_page *pages, uint64_t count, const char *contents, uint32_t page_size) {
  for (uint64_t i = 0; i < count; i++) {
    pages[i] = (rt_image_page){i / 2 * 3 + i % 2, contents + (count - 1 - i) * page_size};
  }
}

static void list_put(rt_image_writer *w, const rt_image_page *pages, uint64_t count, uint32_t page_size) {
  counted told = {0};
  OK(rt_image_put_list(w, pages, count, count_taken, &told));
  cr_assert_eq(told.told, count);
  cr_assert(told.calls > count * page_size / (8 << 20), "of %llu pages in %llu calls: a write was waited for", (unsigned long long)count, (unsigned long long)told.calls);
}

// The same, by runs of pages as long as can be.
static void runs_put(rt_image_writer *w, const rt_image_page *pages, uint64_t count, uint32_t page_size) {
  static char both[2 * 65536];
  for (uint64_t i = 0; i < count; i += 2) {
    memcpy(both, pages[i].contents, page_size);
    memcpy(both + page_size, pages[i + 1].contents, page_size);
    OK(rt_image_put(w, pages[i].page, 2, both));
  }
}

// All that a file with these pages has of them; *bytes says how much that is, *file how long the file is.
static char *list_file(const rt_image_options *options, uint32_t page_size, const rt_image_page *pages, uint64_t count, bool list, uint64_t *bytes, uint64_t *file) {
  rt_image_writer *w;
  rt_image *image;
  rt_image_layout l = {page_size, 0x7f0000000000, 2 * count * page_size};
  OK(rt_image_create(&w, path, &l, options));
  OK(rt_image_begin(w));
  (list ? list_put : runs_put)(w, pages, count, page_size);
  OK(rt_image_commit(w, NULL));
  rt_image_close(w);
  OK(rt_image_open(&image, path, NULL));
  OK(rt_image_verify(image, NULL, NULL, NULL));
  *bytes = rt_image_info_of(image)->stored;
  *file = rt_image_info_of(image)->file;
  rt_image_free(image);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  char *at = malloc(*bytes);
  cr_assert_eq(pread(fd, at, *bytes, IMAGE_START), (ssize_t)*bytes); // pages come first, and one version has no gaps
  close(fd);
  return at;
}

Test(lists, a_list_of_pages_gives_the_same_bytes_as_pages_side_by_side, .init = names_choose, .fini = names_remove, .timeout = 120) {
  enum { PUT = 12 << 20 };
  char *contents = malloc(PUT);
  for (uint32_t page_size = 4096; page_size <= 65536; page_size *= 4) {
    uint64_t count = PUT / page_size;
    rt_image_page *pages = malloc(count * sizeof *pages);
    list_make(pages, count, contents, page_size);
    for (uint64_t i = 0; i < count; i++) {
      model_page(i % 7 == 0 ? MODEL_ZERO : (uint32_t)i + 2, page_size, contents + i * page_size);
    }
    for (int codec = RT_IMAGE_PLAIN; codec <= RT_IMAGE_ZSTD; codec++) {
      rt_image_options options = {.codec = (rt_image_codec)codec};
      uint64_t bytes[2], file[2];
      char *listed = list_file(&options, page_size, pages, count, true, &bytes[0], &file[0]);
      char *runs = list_file(&options, page_size, pages, count, false, &bytes[1], &file[1]);
      cr_assert(bytes[0] == bytes[1] && file[0] == file[1]);
      cr_assert_eq(memcmp(listed, runs, bytes[0]), 0, "codec %d, pages of %u bytes", codec, page_size);
      free(listed);
      free(runs);
    }
    free(pages);
  }
  free(contents);
}

static uint64_t told_of;
static void told_add(void *arg, uint64_t count) { told_of += count; }

static uint32_t writes;
static ssize_t pwrite_counted(void *context, int fd, const void *from, size_t bytes, uint64_t offset) {
  uint64_t *expected = context;
  cr_assert(writes++ > 0 || told_of == *expected, "the first write finds that %llu pages were told of, not %llu", (unsigned long long)told_of,
            (unsigned long long)*expected);
  return rt_image_io_system.pwrite(NULL, fd, from, bytes, offset);
}

Test(lists, no_write_is_waited_for_while_copied_pages_are_held, .init = names_choose, .fini = names_remove) {
  enum { COUNT = 1500 };
  uint64_t full = (4 << 20) / 4096; // pages that fill the buffer
  rt_image_io io = rt_image_io_system;
  rt_image_writer *w;
  static char page[4096] = "a page";
  static rt_image_page list[COUNT];
  for (uint64_t i = 0; i < COUNT; i++) {
    list[i] = (rt_image_page){i, page};
  }
  io.context = &full;
  io.pwrite = pwrite_counted;
  OK(rt_image_create(&w, path, &layout, &(rt_image_options){.io = &io}));
  OK(rt_image_begin(w));
  OK(rt_image_put_list(w, list, COUNT, told_add, NULL));
  cr_assert(writes == 1 && told_of == COUNT);
  rt_image_close(w);
}

Test(lists, the_fast_checksum_is_the_checksum, .timeout = 60) {
  random_state r = {seed_choose("sums")};
  static uint8_t bytes[70000];
  rt_image_summer *fast = rt_image_sum_fast();
  for (size_t i = 0; i < sizeof bytes; i++) {
    bytes[i] = (uint8_t)random_next(&r);
  }
  for (size_t n = 0; fast != NULL && n < sizeof bytes; n += n < 2100 ? 1 : 1 + (size_t)random_below(&r, 2000)) {
    size_t from = random_below(&r, sizeof bytes - n);
    cr_assert_eq(fast(bytes + from, n), XXH3_64bits(bytes + from, n), "%zu bytes from %zu on", n, from);
  }
}
