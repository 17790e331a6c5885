// SPDX-License-Identifier: MIT
// files.c: images on a real file system: shapes, streams, locks, refusals, compaction.
//
//   IMAGE_SEED=n repeats the contents of a run.

#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "runtime/image/format.h"
#include "tests/image/model.h"

#define OK(CALL) cr_assert_eq((CALL), VEIL_OK, "%s: %s", #CALL, veil_error())
#define REFUSED(CALL, STATUS, TEXT)                                                                                                                            \
  do {                                                                                                                                                         \
    cr_assert_eq((CALL), STATUS, "%s: %s", #CALL, veil_error());                                                                                               \
    cr_assert_not_null(strstr(veil_error(), TEXT), "\"%s\" is not in: %s", TEXT, veil_error());                                                                \
  } while (0)

static char path[100], other[120];

static void names_choose(void) {
  snprintf(path, sizeof path, "/tmp/veil-image-test-%d", (int)getpid());
  snprintf(other, sizeof other, "%s.other", path);
}
static void names_remove(void) {
  unlink(path);
  unlink(other);
}

static const rt_image_layout layout = {4096, 0x10000, (uint64_t)MODEL_PAGES * 4096};

static void version_write(rt_image_writer *w, model *m, uint32_t page_size, random_state *r) {
  model_change change = {.puts = 12, .run = 40, .removes = 2, .pages = MODEL_PAGES, .sections = true, .tables = true};
  OK(rt_image_begin(w));
  OK(model_put(m, w, page_size, &change, r));
  OK(rt_image_commit(w, NULL));
}

static void is(const char *file, const model *m) {
  rt_image *image;
  OK(rt_image_open(&image, file, NULL));
  cr_assert_str_eq(rt_image_info_of(image)->damage, "");
  const char *wrong = model_differs(m, image);
  cr_assert_null(wrong, "%s", wrong);
  OK(rt_image_verify(image, NULL, NULL, NULL));
  rt_image_free(image);
}

Test(files, pages_of_every_size_come_back_with_every_codec, .init = names_choose, .fini = names_remove, .timeout = 120) {
  random_state r = {seed_choose("files")};
  for (uint32_t page_size = 4096; page_size <= 65536; page_size *= 2) {
    for (int codec = RT_IMAGE_PLAIN; codec <= RT_IMAGE_ZSTD; codec++) {
      model m = {0};
      rt_image_writer *w;
      rt_image_layout l = {page_size, 0x7f0000000000, (uint64_t)MODEL_PAGES * page_size};
      rt_image_options options = {.codec = (rt_image_codec)codec, .buffered = page_size == 8192};
      OK(rt_image_create(&w, path, &l, &options));
      version_write(w, &m, page_size, &r);
      is(path, &m);
      version_write(w, &m, page_size, &r);
      rt_image_close(w);
      is(path, &m);
      OK(rt_image_append(&w, path, &options));
      version_write(w, &m, page_size, &r);
      rt_image_close(w);
      is(path, &m);
      OK(rt_image_compact(path, NULL, &options, NULL, NULL));
      is(path, &m);
    }
  }
}

Test(files, a_terabyte_of_address_space_is_no_matter, .init = names_choose, .fini = names_remove) {
  rt_image_writer *w;
  rt_image *image;
  static char page[4096] = "the last", back[4096];
  rt_image_layout l = {4096, 0x100000000000, UINT64_C(1) << 40};
  uint64_t last = (UINT64_C(1) << 28) - 1;
  OK(rt_image_create(&w, path, &l, NULL));
  OK(rt_image_begin(w));
  OK(rt_image_put(w, last, 1, page));
  OK(rt_image_commit(w, NULL));
  OK(rt_image_begin(w));
  OK(rt_image_remove(w, 0, last));
  OK(rt_image_commit(w, NULL));
  rt_image_close(w);
  OK(rt_image_open(&image, path, NULL));
  OK(rt_image_read(image, last, 1, back, NULL));
  cr_assert_eq(memcmp(page, back, sizeof page), 0);
  REFUSED(rt_image_read(image, last - 1, 2, back, NULL), VEIL_INVALID, "has no page");
  cr_assert_lt(rt_image_info_of(image)->file, 50000u);
  rt_image_free(image);
}

Test(files, pages_of_zeros_take_no_space, .init = names_choose, .fini = names_remove) {
  rt_image_writer *w;
  rt_image_committed c;
  rt_image_run run;
  rt_image *image;
  char *zeros = calloc(1000, 4096);
  OK(rt_image_create(&w, path, &layout, NULL));
  OK(rt_image_begin(w));
  OK(rt_image_put(w, 500, 1000, zeros));
  OK(rt_image_commit(w, &c));
  rt_image_close(w);
  cr_assert_leq(c.written, 2 * 4096u, "%llu", (unsigned long long)c.written);
  OK(rt_image_open(&image, path, NULL));
  cr_assert(rt_image_next(image, 0, &run));
  cr_assert(run.zero && run.first == 500 && run.count == 1000);
  rt_image_free(image);
  free(zeros);
}

// No space is kept for what has no bytes, so it must not stand where a later, smaller file ends before.
Test(files, an_empty_section_stays_when_the_file_gets_smaller, .init = names_choose, .fini = names_remove) {
  enum { PAGES = 1000 };
  rt_image_writer *w;
  rt_image_committed c;
  rt_image *image;
  const void *contents;
  size_t bytes = 1;
  char *pages = malloc(PAGES * 4096);
  memset(pages, 1, PAGES * 4096);
  OK(rt_image_create(&w, path, &layout, NULL));
  OK(rt_image_begin(w));
  OK(rt_image_put(w, 0, 1, pages));
  OK(rt_image_commit(w, NULL));
  OK(rt_image_begin(w));
  OK(rt_image_put(w, 0, PAGES, pages));
  OK(rt_image_put_section(w, "nothing", "", 0));
  OK(rt_image_commit(w, NULL));
  for (unsigned i = 0; i < 12; i++) { // until nothing needs what the second version has put behind its pages
    OK(rt_image_begin(w));
    OK(rt_image_remove(w, 0, PAGES));
    OK(rt_image_put(w, i, 1, pages));
    OK(rt_image_put_section(w, "something", &i, sizeof i));
    OK(rt_image_commit(w, &c));
    OK(rt_image_open(&image, path, NULL));
    cr_assert_str_eq(rt_image_info_of(image)->damage, "");
    cr_assert_eq(rt_image_info_of(image)->version, i + 3);
    OK(rt_image_section(image, "nothing", &contents, &bytes));
    cr_assert_eq(bytes, 0);
    rt_image_free(image);
  }
  cr_assert_lt(c.file, 100u << 12);
  rt_image_close(w);
  free(pages);
}

Test(files, a_stream_through_a_pipe_opens_and_becomes_a_file, .init = names_choose, .fini = names_remove) {
  random_state r = {seed_choose("stream")};
  model m = {0};
  rt_image_writer *w;
  int ends[2];
  cr_assert_eq(pipe(ends), 0);
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    static char bytes[65536];
    int to = open(path, O_WRONLY | O_CREAT, 0600);
    close(ends[1]);
    for (ssize_t n; (n = read(ends[0], bytes, sizeof bytes)) > 0;) {
      if (write(to, bytes, (size_t)n) != n) {
        _exit(1);
      }
    }
    _exit(0);
  }
  close(ends[0]);
  OK(rt_image_create_stream(&w, ends[1], &layout, &(rt_image_options){.codec = RT_IMAGE_LZ4}));
  version_write(w, &m, 4096, &r);
  rt_image_close(w);
  close(ends[1]);
  int status;
  waitpid(child, &status, 0);
  cr_assert_eq(status, 0);
  is(path, &m);
  REFUSED(rt_image_append(&w, path, NULL), VEIL_UNSUPPORTED, "compact it first");
  OK(rt_image_compact(path, NULL, NULL, NULL, NULL));
  OK(rt_image_append(&w, path, NULL));
  version_write(w, &m, 4096, &r);
  rt_image_close(w);
  is(path, &m);
}

Test(files, a_stream_that_ends_early_is_refused, .init = names_choose, .fini = names_remove) {
  random_state r = {3};
  model m = {0};
  rt_image_writer *w;
  rt_image *image;
  int fd = open(path, O_RDWR | O_CREAT, 0600);
  OK(rt_image_create_stream(&w, fd, &layout, NULL));
  version_write(w, &m, 4096, &r);
  rt_image_close(w);
  struct stat s;
  fstat(fd, &s);
  for (off_t size = s.st_size - 1; size > 4096; size -= size / 20 + 1) {
    cr_assert_eq(ftruncate(fd, size), 0);
    REFUSED(rt_image_open(&image, path, NULL), VEIL_IO, "cut off");
  }
  close(fd);
}

Test(files, a_stream_to_a_full_device_is_an_error) {
  rt_image_writer *w;
  int fd = open("/dev/full", O_WRONLY);
  REFUSED(rt_image_create_stream(&w, fd, &layout, NULL), VEIL_IO, "No space left");
  close(fd);
}

Test(files, a_second_writer_is_told_of_the_first, .init = names_choose, .fini = names_remove) {
  random_state r = {1};
  model m = {0};
  rt_image_writer *w, *second;
  char text[60];
  snprintf(text, sizeof text, "is being written by process %d", (int)getpid());
  OK(rt_image_create(&w, path, &layout, NULL));
  REFUSED(rt_image_create(&second, path, &layout, NULL), VEIL_BUSY, text);
  version_write(w, &m, 4096, &r);
  REFUSED(rt_image_append(&second, path, NULL), VEIL_BUSY, text);
  REFUSED(rt_image_create(&second, path, &layout, NULL), VEIL_BUSY, text);
  REFUSED(rt_image_compact(path, NULL, NULL, NULL, NULL), VEIL_BUSY, text);
  OK(rt_image_compact(path, other, NULL, NULL, NULL)); // a copy may be made meanwhile
  is(other, &m);
  version_write(w, &m, 4096, &r); // and reading by others takes nobody's lock
  rt_image_close(w);
  OK(rt_image_append(&second, path, NULL));
  rt_image_close(second);
  is(path, &m);
}

Test(files, a_process_that_dies_leaves_no_lock_and_the_last_version, .init = names_choose, .fini = names_remove, .timeout = 60) {
  random_state r = {1};
  model m = {0};
  rt_image_writer *w;
  OK(rt_image_create(&w, path, &layout, NULL));
  version_write(w, &m, 4096, &r);
  rt_image_close(w);
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    static char page[4096] = "lost";
    if (rt_image_append(&w, path, NULL) != VEIL_OK || rt_image_begin(w) != VEIL_OK || rt_image_put(w, 0, 1, page) != VEIL_OK) {
      _exit(1);
    }
    raise(SIGKILL);
  }
  int status;
  waitpid(child, &status, 0);
  cr_assert(WIFSIGNALED(status));
  is(path, &m);
  OK(rt_image_append(&w, path, NULL));
  version_write(w, &m, 4096, &r);
  rt_image_close(w);
  is(path, &m);
}

Test(files, what_was_not_committed_leaves_nothing, .init = names_choose, .fini = names_remove) {
  rt_image_writer *w;
  rt_image *image;
  static char page[4096] = "x";
  OK(rt_image_create(&w, path, &layout, NULL));
  OK(rt_image_begin(w));
  OK(rt_image_put(w, 0, 1, page));
  cr_assert_neq(access(path, F_OK), 0);
  rt_image_close(w);
  snprintf(other, sizeof other, "%s.new", path);
  cr_assert_neq(access(other, F_OK), 0);
  REFUSED(rt_image_open(&image, path, NULL), VEIL_IO, "No such file");
}

Test(files, an_old_file_stays_until_the_new_one_is_whole, .init = names_choose, .fini = names_remove) {
  random_state r = {1};
  model first = {0}, second = {0};
  rt_image_writer *w;
  OK(rt_image_create(&w, path, &layout, NULL));
  version_write(w, &first, 4096, &r);
  rt_image_close(w);
  OK(rt_image_create(&w, path, &layout, NULL));
  is(path, &first);
  version_write(w, &second, 4096, &r);
  is(path, &second);
  rt_image_close(w);
}

// ---- Refusals.

static void header_change(size_t offset, uint32_t word, bool seal) {
  image_header h;
  int fd = open(path, O_RDWR);
  cr_assert_eq(pread(fd, &h, sizeof h, IMAGE_BLOCK), (ssize_t)sizeof h);
  memcpy((char *)&h + offset, &word, sizeof word);
  if (seal) {
    uint64_t rt_image_sum(const void *bytes, size_t count);
    h.sum = rt_image_sum(&h, offsetof(image_header, sum));
  }
  cr_assert_eq(pwrite(fd, &h, sizeof h, IMAGE_BLOCK), (ssize_t)sizeof h);
  close(fd);
}

static void fresh(void) {
  random_state r = {1};
  model m = {0};
  rt_image_writer *w;
  OK(rt_image_create(&w, path, &layout, NULL));
  version_write(w, &m, 4096, &r);
  rt_image_close(w);
}

Test(files, foreign_files_are_refused_with_the_reason, .init = names_choose, .fini = names_remove) {
  static const struct {
    size_t offset;
    uint32_t word;
    bool seal;
    veil_status status;
    const char *text;
  } cases[] = {{offsetof(image_header, byte_order), 0x04030201, false, VEIL_UNSUPPORTED, "byte order"},
               {offsetof(image_header, format), 2, true, VEIL_UNSUPPORTED, "version of the format"},
               {offsetof(image_header, word), 4, true, VEIL_UNSUPPORTED, "words of another size"},
               {offsetof(image_header, page_size), 1000, true, VEIL_IO, "page size"},
               {offsetof(image_header, page_size), 2048, true, VEIL_IO, "page size"},
               {offsetof(image_header, span), 4097, true, VEIL_IO, "span"},
               {offsetof(image_header, flags), 64, true, VEIL_UNSUPPORTED, "flags"},
               {offsetof(image_header, end) + 4, 1, true, VEIL_IO, "longer file"},
               {offsetof(image_header, version), 2, true, VEIL_IO, "slot"},
               {offsetof(image_header, magic) + 9, 0x0a0a0a0a, false, VEIL_IO, "no image"},
               {offsetof(image_header, magic) + 10, 0x0a0a0a0a, false, VEIL_IO, "transfer"},
               {offsetof(image_header, id), 7, true, VEIL_IO, "another file"}};
  rt_image *image;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    fresh();
    header_change(cases[i].offset, cases[i].word, cases[i].seal);
    REFUSED(rt_image_open(&image, path, NULL), cases[i].status, cases[i].text);
    cr_assert_eq(strncmp(veil_error(), path, strlen(path)), 0, "the error does not begin with the file's name: %s", veil_error());
  }
}

Test(files, a_file_that_ends_early_is_refused_at_any_length, .init = names_choose, .fini = names_remove, .timeout = 60) {
  rt_image *image;
  struct stat s;
  fresh();
  stat(path, &s);
  for (off_t size = s.st_size - 1; size >= 0; size -= size > 9000 ? 4001 : 131) {
    cr_assert_eq(truncate(path, size), 0);
    cr_assert_eq(rt_image_open(&image, path, NULL), VEIL_IO);
  }
  REFUSED(rt_image_open(&image, "/tmp", NULL), VEIL_IO, "regular file");
  REFUSED(rt_image_open(&image, "/dev/zero", NULL), VEIL_IO, "regular file");
  REFUSED(rt_image_open(&image, "/bin/sh", NULL), VEIL_IO, "no image");
}

Test(files, names_that_are_there_twice_are_refused, .init = names_choose, .fini = names_remove) {
  rt_image_writer *w;
  OK(rt_image_create(&w, path, &layout, NULL));
  OK(rt_image_begin(w));
  REFUSED(rt_image_put_roots(w, (rt_image_root[]){{"a", 1}, {"b", 2}, {"a", 3}}, 3), VEIL_INVALID, "two roots are called a");
  REFUSED(rt_image_put_roots(w, (rt_image_root[]){{"", 1}}, 1), VEIL_INVALID, "name of 0 bytes");
  REFUSED(rt_image_put_types(w, (rt_image_type[]){{.name = "x", .number = 5}, {.name = "y", .number = 5}}, 2), VEIL_INVALID, "the number 5");
  OK(rt_image_commit(w, NULL)); // what was refused does no harm
  rt_image_close(w);
}

static void call_out_of_order(void) {
  rt_image_writer *w;
  static char page[4096];
  rt_image_create(&w, "/tmp/veil-image-order", &layout, NULL);
  rt_image_put(w, 0, 1, page);
}
static void page_outside(void) {
  rt_image_writer *w;
  static char page[4096];
  rt_image_create(&w, "/tmp/veil-image-outside", &layout, NULL);
  rt_image_begin(w);
  rt_image_put(w, MODEL_PAGES, 1, page);
}
static void section_reserved(void) {
  rt_image_writer *w;
  rt_image_create(&w, "/tmp/veil-image-reserved", &layout, NULL);
  rt_image_begin(w);
  rt_image_put_section(w, "types", "x", 1);
}

Test(files, mistakes_of_the_caller_abort, .init = names_choose, .fini = names_remove) {
  static void (*const mistakes[])(void) = {call_out_of_order, page_outside, section_reserved};
  for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
      close(2);
      signal(SIGABRT, SIG_DFL);
      mistakes[i]();
      _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "mistake %zu was not noticed", i);
  }
  unlink("/tmp/veil-image-order.new");
  unlink("/tmp/veil-image-outside.new");
  unlink("/tmp/veil-image-reserved.new");
}

// ---- Many readers of one image.

typedef struct reader {
  const rt_image *image;
  const model *m;
  uint64_t seed;
  const char *wrong;
} reader;

static void *read_some(void *arg) {
  reader *q = arg;
  random_state r = {q->seed};
  char *found = malloc(4096), *wanted = malloc(4096), *scratch = malloc(RT_IMAGE_SCRATCH);
  for (unsigned i = 0; i < 3000 && q->wrong == NULL; i++) {
    uint64_t page = random_below(&r, MODEL_PAGES);
    if (q->m->page[page] == 0) {
      continue;
    }
    model_page(q->m->page[page], 4096, wanted);
    if (rt_image_read(q->image, page, 1, found, i % 2 ? scratch : NULL) != VEIL_OK || memcmp(found, wanted, 4096) != 0) {
      q->wrong = "a page is not what it should be";
    }
  }
  free(found);
  free(wanted);
  free(scratch);
  return NULL;
}

Test(files, several_threads_read_one_image, .init = names_choose, .fini = names_remove, .timeout = 60) {
  random_state r = {seed_choose("threads")};
  model m = {0};
  rt_image_writer *w;
  rt_image *image;
  reader readers[4];
  pthread_t threads[4];
  OK(rt_image_create(&w, path, &layout, &(rt_image_options){.codec = RT_IMAGE_ZSTD}));
  version_write(w, &m, 4096, &r);
  version_write(w, &m, 4096, &r);
  rt_image_close(w);
  OK(rt_image_open(&image, path, NULL));
  for (int i = 0; i < 4; i++) {
    readers[i] = (reader){image, &m, random_next(&r), NULL};
    pthread_create(&threads[i], NULL, read_some, &readers[i]);
  }
  for (int i = 0; i < 4; i++) {
    pthread_join(threads[i], NULL);
    cr_assert_null(readers[i].wrong, "%s", readers[i].wrong);
  }
  rt_image_free(image);
}

// ---- What an increment costs.

Test(files, an_increment_writes_hardly_more_than_its_pages, .init = names_choose, .fini = names_remove, .timeout = 120) {
  enum { PAGES = 32768, DIRTY = PAGES / 100, INCREMENTS = 60 };
  random_state r = {seed_choose("increments")};
  rt_image_layout l = {4096, 0, (uint64_t)PAGES * 4096};
  rt_image_writer *w;
  rt_image_committed c;
  rt_image *image;
  static char page[4096];
  uint64_t written = 0, worst = 0;
  OK(rt_image_create(&w, path, &l, NULL));
  OK(rt_image_begin(w));
  for (uint64_t p = 0; p < PAGES; p++) {
    model_page(3 * (uint32_t)p + 3, 64, page);
    OK(rt_image_put(w, p, 1, page));
  }
  OK(rt_image_commit(w, &c));
  for (unsigned i = 0; i < INCREMENTS; i++) {
    OK(rt_image_begin(w));
    for (uint64_t k = 0; k < DIRTY; k++) {
      memset(page, (int)random_below(&r, 255) + 1, 64);
      OK(rt_image_put(w, k * 100 + random_below(&r, 100), 1, page));
    }
    OK(rt_image_commit(w, &c));
    written += c.written;
    worst = c.written > worst ? c.written : worst;
  }
  rt_image_close(w);
  double all = (double)written / ((double)INCREMENTS * DIRTY * 4096);
  printf("bytes written by bytes dirty: %.4f, at worst %.4f\n", all, (double)worst / ((double)DIRTY * 4096));
  cr_assert_lt(all, 1.03); // a header and the ends of blocks, 10 KiB, are 0.8 % here, and less of larger heaps
  OK(rt_image_open(&image, path, NULL));
  cr_assert_leq(rt_image_info_of(image)->segments, 30u);
  rt_image_free(image);
}
