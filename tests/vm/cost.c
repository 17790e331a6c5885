// SPDX-License-Identifier: MIT
// cost.c: what the primitives cost, in microseconds per page; medians of rounds. Not a test.
//
//   vm_cost [back end]

#include "vm_test.h"

enum { PAGES = 2048, ROUNDS = 9, BATCH = 16 };

static struct world w;
static double result[ROUNDS];

static void no_settle(void *arg, size_t page, unsigned claim, bool write) {}

static int compare(const void *a, const void *b) {
  double d = *(const double *)a - *(const double *)b;
  return (d > 0) - (d < 0);
}

static void report(const char *what) {
  qsort(result, ROUNDS, sizeof result[0], compare);
  printf("  %-44s %8.3f\n", what, result[ROUNDS / 2]);
}

static double since(uint64_t start) { return (double)(vm_now() - start) / 1000.0 / PAGES; }

static size_t shuffled(size_t i) { return i * 389 % PAGES; }

static void touch_all(void) {
  for (size_t i = 0; i < PAGES; i++) {
    (void)*view_word(&w, shuffled(i));
  }
}

static void measure_traps(void) {
  for (int r = 0; r < ROUNDS; r++) {
    vm_prot(w.region, 0, PAGES, VM_UNSCANNED, 0);
    uint64_t start = vm_now();
    touch_all();
    result[r] = since(start);
  }
  report("trap, settle nothing, open; random order");
  printf("  %-44s %8.3f\n", "  of which in the handler, p50", (double)vm_histogram_at(w.region->trap_ns, 0.5) / 1000);
  for (int r = 0; r < ROUNDS; r++) {
    vm_prot(w.region, 0, PAGES, VM_UNSCANNED, 0);
    double sum = 0;
    for (size_t i = 1; i < PAGES; i++) {
      (void)*view_word(&w, shuffled(i));
      uint64_t start = vm_now();
      vm_prot(w.region, shuffled(i - 1), 1, VM_UNSCANNED, 0);
      sum += (double)(vm_now() - start) / 1000;
    }
    result[r] = sum / PAGES;
  }
  report("Prot1, random order");
}

static void measure_prot(void) {
  for (int r = 0; r < ROUNDS; r++) {
    vm_unprot(w.region, 0, PAGES, VM_UNSCANNED);
    vm_open(w.region, 0, PAGES);
    uint64_t start = vm_now();
    vm_prot(w.region, 0, PAGES, VM_UNSCANNED, 0);
    result[r] = since(start);
  }
  report("ProtN of open pages");
  for (int r = 0; r < ROUNDS; r++) {
    vm_release(w.region, 0, PAGES);
    vm_commit(w.region, 0, PAGES);
    uint64_t start = vm_now();
    vm_prot(w.region, 0, PAGES, VM_UNSCANNED, 0);
    result[r] = since(start);
  }
  report("ProtN of pages never opened");
}

static void measure_give(void) {
  for (int r = 0; r < ROUNDS; r++) {
    vm_prot(w.region, 0, PAGES, VM_UNSCANNED, 0);
    uint64_t start = vm_now();
    for (size_t page = 0; page < PAGES; page += BATCH) {
      for (size_t i = page; i < page + BATCH; i++) {
        vm_take(w.region, i, VM_UNSCANNED);
        vm_settled(w.region, i, VM_UNSCANNED);
      }
      vm_give(w.region, page, BATCH);
    }
    result[r] = since(start);
  }
  report("take, settled, give in runs of 16");
  for (int r = 0; r < ROUNDS; r++) {
    vm_prot(w.region, 0, PAGES, VM_UNSCANNED, 0);
    uint64_t start = vm_now();
    for (size_t i = 0; i < PAGES; i++) {
      vm_take(w.region, shuffled(i), VM_UNSCANNED);
      vm_settled(w.region, shuffled(i), VM_UNSCANNED);
      vm_give(w.region, shuffled(i), 1);
    }
    result[r] = since(start);
  }
  report("the same one by one, random order");
}

static void ignore(void *arg, size_t page) {}

static void measure_dirty(void) {
  vm_open(w.region, 0, PAGES);
  touch_all();
  int c = vm_dirty_open(w.region);
  vm_dirty(w.region, c, 0, PAGES, ignore, NULL);
  double harvest[ROUNDS], clean[ROUNDS];
  for (int r = 0; r < ROUNDS; r++) {
    uint64_t start = vm_now();
    for (size_t i = 0; i < PAGES; i++) {
      *view_word(&w, shuffled(i)) = r;
    }
    result[r] = since(start);
    start = vm_now();
    vm_dirty(w.region, c, 0, PAGES, ignore, NULL);
    harvest[r] = since(start);
    start = vm_now();
    vm_dirty(w.region, c, 0, PAGES, ignore, NULL);
    clean[r] = since(start);
  }
  report("first write to an armed page");
  memcpy(result, harvest, sizeof result);
  report("harvest, all pages dirty");
  memcpy(result, clean, sizeof result);
  report("harvest, all pages clean");
  vm_dirty_close(w.region, c);
}

static void measure_memory(void) {
  double release[ROUNDS];
  for (int r = 0; r < ROUNDS; r++) {
    uint64_t start = vm_now();
    vm_release(w.region, 0, PAGES);
    release[r] = since(start);
    start = vm_now();
    vm_commit(w.region, 0, PAGES);
    result[r] = since(start);
    vm_open(w.region, 0, PAGES);
  }
  report("commit");
  memcpy(result, release, sizeof result);
  report("release");
}

int main(int argc, char **argv) {
  world_open(&w, argc > 1 ? argv[1] : NULL);
  w.region->config.settle = no_settle;
  printf("%s: microseconds per page\n", vm_region_back_end(w.region));
  vm_commit(w.region, 0, PAGES);
  measure_traps();
  measure_prot();
  measure_give();
  measure_dirty();
  measure_memory();
  world_close(&w);
  return 0;
}
