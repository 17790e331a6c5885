// SPDX-License-Identifier: MIT
// rest_cost.c: what a harvest of a region costs in which hardly anything is written, and what rest costs. Medians. Not
// a test.
//
//   vm_rest_cost [back end] [MiB]

#include "vm/backend.h"
#include "vm_test.h"

enum { ROUNDS = 101, STRETCH_PAGES = VM_STRETCH / 4096 };

static vm_region *region;
static size_t pages;
static double result[ROUNDS];
static int consumer;

static void settle(void *arg, size_t page, unsigned claim, bool write) {}
static void ignore(void *arg, size_t page) {}

static int compare(const void *a, const void *b) {
  double d = *(const double *)a - *(const double *)b;
  return (d > 0) - (d < 0);
}

static void report(const char *what, size_t n) {
  qsort(result, n, sizeof result[0], compare);
  printf("  %-60s %9.2f us\n", what, result[n / 2]);
}

static double us(uint64_t start) { return (double)(vm_now() - start) / 1000.0; }

static size_t harvest(void) { return vm_dirty(region, consumer, 0, pages, ignore, NULL); }

static void write_to(size_t page) { (*(long volatile *)vm_page_view(region, page))++; }

static void measure(const char *what, size_t stretches) {
  for (int r = 0; r < ROUNDS; r++) {
    for (size_t i = 0; i < stretches; i++) {
      write_to(i * STRETCH_PAGES * 3 % pages + (size_t)r);
    }
    uint64_t start = vm_now();
    harvest();
    result[r] = us(start);
  }
  report(what, ROUNDS);
}

static void measure_waking(void) {
  for (size_t r = 0; r < ROUNDS; r++) {
    uint64_t start = vm_now();
    write_to((r * 2 + 1) * STRETCH_PAGES % pages);
    result[r] = us(start);
  }
  report("first write to a stretch at rest", ROUNDS);
  uint64_t start = vm_now();
  harvest();
  result[0] = us(start);
  report("harvest, that has these stretches", 1);
}

int main(int argc, char **argv) {
  size_t bytes = (argc > 2 ? strtoul(argv[2], NULL, 0) : 1024) << 20;
  pages = bytes / 4096;
  vm_region_config config = {.bytes = bytes, .page_shift = 12, .back_end = argc > 1 ? argv[1] : NULL, .settle = settle};
  char why[256];
  if (vm_region_open(&config, &region, why, sizeof why) != VM_OK || !vm_commit(region, 0, pages)) {
    fprintf(stderr, "%s\n", why);
    return 77;
  }
  printf("%s, %zu MiB\n", vm_region_back_end(region), bytes >> 20);
  vm_open(region, 0, pages);
  consumer = vm_dirty_open(region);
  harvest();
  measure("harvest, nothing written, nothing at rest", 0);
  uint64_t start = vm_now();
  for (int r = 0; r < 20; r++) {
    harvest();
    while (vm_rest(region)) {
    }
  }
  double all = us(start);
  harvest();
  vm_rest_figures figures;
  vm_rest_figures_get(region, &figures);
  measure("harvest, nothing written, all at rest as far as can be", 0);
  printf("  %-60s %9lu\n", "  stretches at rest", figures.resting);
  if (figures.resting != 0) {
    printf("  %-60s %9.2f us\n", "  laying, of each, with harvests", all / (double)figures.laid);
    measure_waking();
  }
  measure("harvest, a page of each of 10 stretches", 10);
  vm_region_close(region);
  return 0;
}
