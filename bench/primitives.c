// SPDX-License-Identifier: MIT
// primitives.c: Appel and Li's table (Virtual Memory Primitives for User Programs, ASPLOS 1991) for each back end
// of vm/, with what Dirty and Map2 cost and are worth.
//
// Prints one record per back end. Written on vm/vm.h alone; only the bare trap is taken on pages of this program's own,
// because a handler that returns without opening the page must step over the instruction, which vm does not offer. A figure is
// the median of rounds over 100 pages in random order. README.md defines each field.

#include "bench/gaps.h"
#include "bench/primitives.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGES = 100, MANY_PAGES = 4096, REGION_PAGES = 65536, PAGE_SHIFT = 12, BATCH = 16, ROUNDS_MOST = 1024 };

typedef struct probe {
  vm_region *region;
  unsigned rounds;
  size_t order[PAGES]; // page numbers, shuffled; one round after the other uses them
  size_t protect_next; // where in `order` the next trap protects a page; PAGES: no trap does
} probe;

// What a trap does besides opening the page: for prot1 it protects the page that is touched next.
static void probe_settle(void *arg, size_t page, unsigned claim, bool write) {
  probe *p = arg;
  if (p->protect_next < PAGES) {
    vm_prot(p->region, p->order[p->protect_next++], 1, VM_UNSCANNED, 0);
  }
}

static void touch(const probe *p, size_t page) { *(volatile char *)vm_page_view(p->region, page) += 1; }

static void order_shuffle(probe *p) {
  for (size_t i = PAGES - 1; i > 0; i--) {
    size_t k = (size_t)rand() % (i + 1), other = p->order[k];
    p->order[k] = p->order[i];
    p->order[i] = other;
  }
}

static int compare_double(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

// The median of `round`, in us, over so many rounds; each returns ticks and is for `per` operations.
static double median_us(probe *p, uint64_t (*round)(probe *), double per) {
  static double values[ROUNDS_MOST];
  for (unsigned i = 0; i < p->rounds; i++) {
    order_shuffle(p);
    values[i] = gaps_ticks_to_us((double)round(p)) / per;
  }
  qsort(values, p->rounds, sizeof values[0], compare_double);
  return values[p->rounds / 2];
}

static uint64_t round_add(probe *p) {
  uint64_t x = 1, y = (uintptr_t)p, begun = gaps_now();
  for (unsigned i = 0; i < 1000; i++) {
    __asm__ volatile("add %1, %0\n add %1, %0\n add %1, %0\n add %1, %0\n add %1, %0\n"
                     "add %1, %0\n add %1, %0\n add %1, %0\n add %1, %0\n add %1, %0\n"
                     : "+r"(x)
                     : "r"(y));
  }
  return gaps_now() - begun;
}

static uint64_t round_prot1(probe *p) {
  vm_prot(p->region, p->order[0], 1, VM_UNSCANNED, 0);
  p->protect_next = 1;
  uint64_t begun = gaps_now();
  for (size_t i = 0; i < PAGES; i++) {
    touch(p, p->order[i]);
  }
  uint64_t ticks = gaps_now() - begun;
  p->protect_next = PAGES;
  return ticks;
}

static uint64_t round_protn(probe *p) {
  uint64_t begun = gaps_now();
  vm_prot(p->region, 0, PAGES, VM_UNSCANNED, 0);
  for (size_t i = 0; i < PAGES; i++) {
    touch(p, p->order[i]);
  }
  return gaps_now() - begun;
}

static uint64_t round_protn_alone(probe *p) {
  uint64_t begun = gaps_now();
  vm_prot(p->region, 0, MANY_PAGES, VM_UNSCANNED, 0);
  uint64_t ticks = gaps_now() - begun;
  vm_unprot(p->region, 0, MANY_PAGES, VM_UNSCANNED);
  return ticks;
}

// As a background scanner opens pages: BATCH at a time.
static uint64_t round_batch(probe *p) {
  vm_prot(p->region, 0, MANY_PAGES, VM_UNSCANNED, 0);
  uint64_t begun = gaps_now();
  for (size_t page = 0; page < MANY_PAGES; page += BATCH) {
    for (size_t i = page; i < page + BATCH; i++) {
      if (vm_take(p->region, i, VM_UNSCANNED)) {
        vm_settled(p->region, i, VM_UNSCANNED);
      }
    }
    vm_give(p->region, page, BATCH);
  }
  return gaps_now() - begun;
}

// ---- Dirty.

static int consumer;

static void page_ignore(void *arg, size_t page) {}
static void dirty_forget(probe *p) { vm_dirty(p->region, consumer, 0, REGION_PAGES, page_ignore, NULL); }

static uint64_t round_first_write(probe *p) {
  dirty_forget(p);
  uint64_t begun = gaps_now();
  for (size_t i = 0; i < PAGES; i++) {
    touch(p, p->order[i]);
  }
  return gaps_now() - begun;
}

static uint64_t round_harvest_clean(probe *p) {
  dirty_forget(p);
  uint64_t begun = gaps_now();
  dirty_forget(p);
  return gaps_now() - begun;
}

static uint64_t round_harvest_dirty(probe *p) {
  dirty_forget(p);
  for (size_t page = 0; page < MANY_PAGES; page++) {
    touch(p, page);
  }
  uint64_t begun = gaps_now();
  vm_dirty(p->region, consumer, 0, MANY_PAGES, page_ignore, NULL);
  return gaps_now() - begun;
}

// ---- Map2: what scanning costs with an alias, and what it would cost without one.

// Reads each word and changes some, as a scan does that forwards.
static void page_scan(char *contents) {
  uint64_t *word = (uint64_t *)(void *)contents;
  for (size_t i = 0; i < (1u << PAGE_SHIFT) / sizeof *word; i++) {
    if (word[i] % 4 == 1) {
      word[i] += 4;
    }
  }
  __asm__ volatile("" ::: "memory");
}

static uint64_t round_map2(probe *p) {
  vm_prot(p->region, 0, PAGES, VM_UNSCANNED, 0);
  uint64_t begun = gaps_now();
  for (size_t i = 0; i < PAGES; i++) {
    if (vm_take(p->region, p->order[i], VM_UNSCANNED)) {
      page_scan(vm_page_alias(p->region, p->order[i]));
      vm_settled(p->region, p->order[i], VM_UNSCANNED);
      vm_give(p->region, p->order[i], 1);
    }
  }
  return gaps_now() - begun;
}

// Without an alias the page must be open while it is scanned, so the other mutator must be stopped.
static uint64_t round_stop(probe *p) {
  vm_prot(p->region, 0, PAGES, VM_UNSCANNED, 0);
  uint64_t begun = gaps_now();
  for (size_t i = 0; i < PAGES; i++) {
    other_stop();
    vm_unprot(p->region, p->order[i], 1, VM_UNSCANNED);
    page_scan(vm_page_view(p->region, p->order[i]));
    other_resume();
  }
  return gaps_now() - begun;
}

// ---- The record.

static bool probe_open(probe *p, const char *back_end) {
  char why[256] = "";
  vm_region_config config = {.bytes = (size_t)REGION_PAGES << PAGE_SHIFT, .page_shift = PAGE_SHIFT, .back_end = back_end,
                             .settle = probe_settle, .arg = p};
  if (vm_region_open(&config, &p->region, why, sizeof why) != VM_OK) {
    fprintf(stderr, "primitives: %s: %s\n", back_end, why);
    return false;
  }
  if (!vm_commit(p->region, 0, REGION_PAGES)) {
    fputs("primitives: no memory\n", stderr);
    exit(1);
  }
  vm_open(p->region, 0, REGION_PAGES);
  p->protect_next = PAGES;
  for (size_t i = 0; i < REGION_PAGES; i++) {
    touch(p, i);
    if (i < PAGES) {
      p->order[i] = i;
    }
  }
  return true;
}

static void number_write(const char *name, double value) { printf(", \"%s\": %.6g", name, value); }

static void appel_li_write(probe *p) {
  double add_us = median_us(p, round_add, 10000);
  number_write("add_ns", add_us * 1e3);
  if (!p->region->traps) {
    return;
  }
  double trap_us = bare_trap_us(vm_region_back_end(p->region), p->rounds);
  double prot1_us = median_us(p, round_prot1, PAGES), protn_us = median_us(p, round_protn, PAGES);
  number_write("trap_us", trap_us);
  number_write("prot1_trap_unprot_us", prot1_us);
  number_write("protn_trap_unprot_us", protn_us);
  number_write("vm_pup", 3000 / (prot1_us + protn_us + trap_us));
  number_write("trap_adds", trap_us / add_us);
}

// False if the back end does not work here.
static bool back_end_measure(const char *name, unsigned rounds) {
  static probe p;
  p = (probe){.rounds = rounds};
  if (!probe_open(&p, name)) {
    return false;
  }
  printf("{\"workload\": \"primitives\", \"collector\": \"veil\", \"back_end\": \"%s\", \"threads\": 1", name);
  appel_li_write(&p);
  p.rounds = rounds / 8;
  number_write("protn_per_page_us", median_us(&p, round_protn_alone, MANY_PAGES));
  number_write("unprot_batch_us", median_us(&p, round_batch, MANY_PAGES));

  other_start();
  double with_alias_us = median_us(&p, round_map2, PAGES), stopping_us = median_us(&p, round_stop, PAGES);
  number_write("map2_us", with_alias_us);
  number_write("stop_us", stopping_us);
  number_write("map2_worth", stopping_us / with_alias_us);
  other_end();

  consumer = vm_dirty_open(p.region);
  number_write("dirty_first_write_us", median_us(&p, round_first_write, PAGES));
  number_write("dirty_harvest_dirty_us", median_us(&p, round_harvest_dirty, MANY_PAGES));
  number_write("dirty_harvest_clean_us", median_us(&p, round_harvest_clean, REGION_PAGES));
  vm_dirty_close(p.region, consumer);
  puts("}");
  fflush(stdout);
  vm_region_close(p.region);
  return true;
}

int main(int argc, char **argv) {
  static const char *const back_ends[] = {"mprotect", "guard", "uffd", "uffd-kernel", "none"};
  const char *only = NULL;
  unsigned rounds = 400;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--quick") == 0) {
      rounds = 24;
    } else if (strcmp(argv[i], "--back-end") == 0 && i + 1 < argc) {
      only = argv[++i];
    } else {
      fprintf(stderr, "primitives: '%s'? Options: --quick, --back-end NAME\n", argv[i]);
      return 2;
    }
  }
  gaps_calibrate();
  bare_trap_install(); // Before vm's handlers, which pass on what is not theirs.
  bool worked = false;
  for (size_t i = 0; i < sizeof back_ends / sizeof back_ends[0]; i++) {
    if (only == NULL || strcmp(only, back_ends[i]) == 0) {
      worked |= back_end_measure(back_ends[i], rounds);
    }
  }
  if (!worked) {
    fprintf(stderr, "primitives: nothing to measure%s%s\n", only != NULL ? " with the back end " : "",
            only != NULL ? only : "");
  }
  return worked ? 0 : 1;
}
