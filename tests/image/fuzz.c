// SPDX-License-Identifier: MIT
// fuzz.c: hostile files. Whole images are changed at random, mostly where it hurts, and the checksums made right again, so that what stands behind them is
// reached.
//
// Whatever a file says: an error or an answer, in time, and with memory in proportion to the file. Under ASan this looks for more.

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "tests/image/hostile.h"
#include "tests/image/trials.h"

enum { BASES = 6, FILE_ROOM = 4 << 20 };

static struct {
  uint8_t *bytes;
  size_t size;
} base[BASES];
static char round_label[80];
static uint64_t opened, committed, rounds;

static void too_long(int signo) {
  ssize_t ignored = write(1, round_label, strlen(round_label));
  (void)ignored;
  _exit(1);
}

// ---- What the changes are made to.

static void base_take(unsigned n, disk *d, const char *name) {
  disk_file *f = disk_find(d, name);
  base[n].size = f->bytes;
  base[n].bytes = malloc(f->bytes);
  memcpy(base[n].bytes, f->at, f->bytes);
}

static void bases_make(void) {
  static story s;
  for (unsigned n = 0; n < BASES - 1; n++) {
    story_begin(&s, seed + n, (rt_image_codec)(n % 3), n == 4 ? 16384 : 4096);
    if (!story_run(&s)) {
      found("the story itself failed: %s", s.error);
    }
    base_take(n, s.d, STORY_PATH);
    story_end(&s);
  }
  disk *d = disk_new();
  model m = {0};
  random_state r = {seed};
  model_change change = {.puts = 5, .run = 10, .pages = 100, .sections = true, .tables = true};
  rt_image_writer *w;
  rt_image_options options = {.io = &d->io, .codec = RT_IMAGE_LZ4};
  rt_image_layout layout = {4096, 4096, 4096 * 1000};
  int fd = d->io.open(d, "stream", 0100, 0);
  if (rt_image_create_stream(&w, fd, &layout, &options) != VEIL_OK || rt_image_begin(w) != VEIL_OK || model_put(&m, w, 4096, &change, &r) != VEIL_OK ||
      rt_image_commit(w, NULL) != VEIL_OK) {
    found("no stream: %s", veil_error());
  }
  rt_image_close(w);
  base_take(BASES - 1, d, "stream");
  disk_free(d);
}

// ---- What is done with them.

static bool some(void *arg, uint64_t page, const char *what) { return ++*(unsigned *)arg < 50; }

static void image_use(rt_image *image) {
  static char page[65536];
  const rt_image_type *types;
  const rt_image_root *roots;
  const void *contents;
  size_t bytes;
  unsigned damaged = 0;
  uint64_t sum = 0;
  for (size_t i = 0; rt_image_section_name(image, i) != NULL; i++) {
    if (rt_image_section(image, rt_image_section_name(image, i), &contents, &bytes) == VEIL_OK) {
      sum += rt_image_sum(contents, bytes);
    }
  }
  for (size_t i = rt_image_types(image, &types); i-- > 0;) {
    sum += rt_image_type_hash(&types[i]) + strlen(types[i].name);
  }
  for (size_t i = rt_image_roots(image, &roots); i-- > 0;) {
    sum += roots[i].address + (rt_image_root_named(image, roots[i].name) != &roots[i]);
  }
  rt_image_verify(image, NULL, some, &damaged);
  rt_image_read(image, sum % 200, 1, page, NULL);
}

static void writer_use(disk *d, bool compact) {
  static char page[65536] = "hostile";
  rt_image_options options = {.io = &d->io};
  rt_image_writer *w;
  if (compact) {
    committed += rt_image_compact(STORY_PATH, NULL, &options, NULL, NULL) == VEIL_OK;
    return;
  }
  if (rt_image_append(&w, STORY_PATH, &options) == VEIL_OK) {
    if (rt_image_begin(w) == VEIL_OK && rt_image_put(w, 0, 1, page) == VEIL_OK) {
      committed += rt_image_commit(w, NULL) == VEIL_OK;
    }
    rt_image_close(w);
  }
}

static void round_one(uint64_t round) {
  hostile h = {.random = {seed + round * 7919}};
  unsigned n = (unsigned)random_below(&h.random, BASES);
  h.size = base[n].size;
  h.bytes = malloc(h.size + IMAGE_BLOCK);
  memcpy(h.bytes, base[n].bytes, h.size);
  hostile_image_change(&h);
  disk *d = disk_new();
  int fd = d->io.open(d, STORY_PATH, 0100, 0);
  if (h.size != 0) {
    d->io.pwrite(d, fd, h.bytes, h.size, 0);
  }
  d->io.close(d, fd);
  rt_image *image;
  rt_image_options options = {.io = &d->io};
  size_t before = memory_now;
  memory_most = memory_now;
  memory_largest = 0;
  if (rt_image_open(&image, STORY_PATH, &options) == VEIL_OK) {
    opened++;
    image_use(image);
    rt_image_free(image);
  }
  if (memory_most - before > 64 * h.size + (8u << 20)) {
    found("round %llu: %zu bytes were taken for a file of %zu", (unsigned long long)round, memory_most - before, h.size);
  }
  if (random_below(&h.random, 4) == 0) {
    writer_use(d, random_below(&h.random, 3) == 0);
  }
  if (memory_now != before) {
    found("round %llu: %zu bytes were not given back", (unsigned long long)round, memory_now - before);
  }
  disk_free(d);
  free(h.bytes);
}

void trial_fuzz(unsigned seconds) {
  time_t until = time(NULL) + seconds;
  signal(SIGALRM, too_long);
  bases_make();
  for (rounds = 0; time(NULL) < until && !enough(); rounds++) {
    snprintf(round_label, sizeof round_label, "FOUND: round %llu took more than 60 s\n", (unsigned long long)rounds);
    alarm(60);
    round_one(rounds);
  }
  alarm(0);
  printf("fuzz: %llu files, %llu opened, %llu took a version\n", (unsigned long long)rounds, (unsigned long long)opened, (unsigned long long)committed);
  for (unsigned n = 0; n < BASES; n++) {
    free(base[n].bytes);
  }
}
