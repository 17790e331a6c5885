// SPDX-License-Identifier: MIT
// measure.c: how fast images are written and read, beside raw writes of the same bytes. No test: run by hand, on the file system that counts.
//
//   image_measure FOLDER [MIB [ROUNDS]]        medians of the rounds (5), of an image of MIB (1024)

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "runtime/image/image.h"
#include "tests/image/model.h"

enum { PAGE = 4096, PIECE = 4 << 20, ROUNDS_MAX = 50 };

static char path[500], raw[520];
static char *heap;
static uint64_t bytes, pages;
static int rounds;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void good(veil_status status, const char *what) {
  if (status != VEIL_OK) {
    fprintf(stderr, "image_measure: %s: %s\n", what, veil_error());
    exit(1);
  }
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}
static void median(const char *what, double *of, const char *unit) {
  qsort(of, (size_t)rounds, sizeof *of, by_size);
  printf("%-44s %9.3f %s   (%.3f to %.3f)\n", what, of[rounds / 2], unit, of[0], of[rounds - 1]);
}

// The floor: the same bytes, direct, in pieces of as many bytes as the image's.
static double raw_write(void) {
  void *piece;
  double began = now();
  int fd = open(raw, O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT, 0600);
  if (fd < 0) {
    fd = open(raw, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  }
  if (posix_memalign(&piece, PAGE, PIECE) != 0) {
    exit(1);
  }
  memcpy(piece, heap, PIECE);
  for (uint64_t at = 0; at < bytes; at += PIECE) {
    if (pwrite(fd, piece, PIECE, (off_t)at) != PIECE) {
      perror("image_measure: raw");
      exit(1);
    }
  }
  fdatasync(fd);
  close(fd);
  free(piece);
  double took = now() - began;
  unlink(raw);
  return took;
}

static double image_write(rt_image_codec codec, bool buffered) {
  rt_image_writer *w;
  rt_image_layout layout = {PAGE, 0x7f0000000000, bytes};
  unlink(path); // what a file that is replaced costs is another matter
  double began = now();
  good(rt_image_create(&w, path, &layout, &(rt_image_options){.codec = codec, .buffered = buffered}), "creating");
  good(rt_image_begin(w), "beginning");
  good(rt_image_put(w, 0, pages, heap), "putting");
  good(rt_image_commit(w, NULL), "committing");
  rt_image_close(w);
  return now() - began;
}

static double image_open(void) {
  rt_image *image;
  double began = now();
  good(rt_image_open(&image, path, NULL), "opening");
  double took = now() - began;
  rt_image_free(image);
  return took * 1000;
}

static double image_verify(void) {
  rt_image *image;
  good(rt_image_open(&image, path, NULL), "opening");
  double began = now();
  good(rt_image_verify(image, NULL, NULL, NULL), "verifying");
  double took = now() - began;
  rt_image_free(image);
  return took;
}

static double page_read(void) {
  rt_image *image;
  static char page[PAGE], scratch[RT_IMAGE_SCRATCH];
  random_state r = {1};
  good(rt_image_open(&image, path, NULL), "opening");
  double began = now();
  for (int i = 0; i < 20000; i++) {
    good(rt_image_read(image, random_below(&r, pages), 1, page, scratch), "reading");
  }
  double took = now() - began;
  rt_image_free(image);
  return took / 20000 * 1e6;
}

static void increments(void) {
  rt_image_writer *w;
  rt_image_committed c = {0};
  random_state r = {2};
  double took[ROUNDS_MAX];
  uint64_t written = 0, worst = 0, dirty = pages / 100;
  int kept = rounds, many = 40;
  good(rt_image_append(&w, path, NULL), "appending");
  for (int i = 0; i < many; i++) {
    double began = now();
    good(rt_image_begin(w), "beginning");
    for (uint64_t k = 0; k < dirty; k++) {
      uint64_t page = k * 100 + random_below(&r, 100);
      memset(heap + page * PAGE, (int)random_below(&r, 255) + 1, 64);
      good(rt_image_put(w, page, 1, heap + page * PAGE), "putting");
    }
    good(rt_image_commit(w, &c), "committing");
    took[i] = (now() - began) * 1000;
    written += c.written;
    worst = c.written > worst ? c.written : worst;
  }
  rt_image_close(w);
  rounds = many;
  median("increment of 1 % in single pages", took, "ms");
  rounds = kept;
  double one = (double)dirty * PAGE;
  printf("%-44s %9.4f      (at worst %.4f)\n", "bytes written by bytes dirty", (double)written / (one * many), (double)worst / one);
}

static void several(const char *what, double (*one)(void), const char *unit) {
  double took[ROUNDS_MAX];
  for (int i = 0; i < rounds; i++) {
    took[i] = one();
  }
  median(what, took, unit);
}

static void codec_measure(const char *name, rt_image_codec codec) {
  char what[100];
  double took[ROUNDS_MAX];
  rt_image *image;
  for (int i = 0; i < rounds; i++) {
    took[i] = image_write(codec, false);
  }
  snprintf(what, sizeof what, "%s: written until durable", name);
  median(what, took, "s");
  good(rt_image_open(&image, path, NULL), "opening");
  printf("%-44s %9.3f\n", "  bytes of the file by bytes of pages", (double)rt_image_info_of(image)->file / (double)bytes);
  rt_image_free(image);
  several("  opened (in the system's cache)", image_open, "ms");
  several("  read and verified (in the cache)", image_verify, "s");
  several("  one page at random (in the cache)", page_read, "us");
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "image_measure FOLDER [MIB [ROUNDS]]\n");
    return 2;
  }
  bytes = (argc > 2 ? strtoull(argv[2], NULL, 10) : 1024) << 20;
  rounds = argc > 3 ? atoi(argv[3]) : 5;
  rounds = rounds < 1 || rounds > ROUNDS_MAX ? 5 : rounds;
  pages = bytes / PAGE;
  snprintf(path, sizeof path, "%s/veil-image-measure", argv[1]);
  snprintf(raw, sizeof raw, "%s.raw", path);
  heap = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (heap == MAP_FAILED) {
    perror("image_measure");
    return 1;
  }
  for (uint64_t p = 0; p < pages; p++) {
    model_page(3 * (uint32_t)p + 2, PAGE, heap + p * PAGE); // pointers and random words
  }
  double floor[ROUNDS_MAX], plain[ROUNDS_MAX], buffered[ROUNDS_MAX], ratio[ROUNDS_MAX];
  for (int i = 0; i < rounds; i++) { // interleaved
    floor[i] = raw_write();
    plain[i] = image_write(RT_IMAGE_PLAIN, false);
    buffered[i] = image_write(RT_IMAGE_PLAIN, true);
    ratio[i] = plain[i] / floor[i];
  }
  median("raw, direct, 4 MiB", floor, "s");
  median("image", plain, "s");
  median("image by raw, round by round", ratio, " ");
  median("image, through the cache", buffered, "s");
  codec_measure("plain", RT_IMAGE_PLAIN);
  increments();
  several("opened after that", image_open, "ms");
  double began = now();
  good(rt_image_compact(path, NULL, NULL, NULL, NULL), "compacting");
  printf("%-44s %9.3f s\n", "compacted", now() - began);
  codec_measure("lz4", RT_IMAGE_LZ4);
  codec_measure("zstd", RT_IMAGE_ZSTD);
  unlink(path);
  return 0;
}
