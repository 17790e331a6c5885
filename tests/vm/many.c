// SPDX-License-Identifier: MIT
// many.c: far more seams between open and veiled pages than there may be mappings (vm.max_map_count): nothing fails, contents are
// right. A plain program; 1.6 GB of memory:
//
//   vm_many [back end]

#include "vm_test.h"

enum { MANY_PAGES = 400000 };

static uint32_t volatile *many_settled;
static vm_region *many;

static long volatile *many_word(size_t page) { return (long volatile *)vm_page_view(many, page); }

// What the view may not show before it is settled is the page's number, negative.
static void many_settle(void *arg, size_t page, unsigned claim, bool write) {
  at32_add_full(&many_settled[page], 1);
  long volatile *word = (long volatile *)vm_page_alias(many, page);
  *word = *word < 0 ? -*word : *word;
}

static void many_open(const char *back_end) {
  char why[256];
  vm_region_config config = {
      .bytes = (size_t)1600 << 20, .page_shift = 12, .back_end = back_end, .settle = many_settle};
  EXPECT(vm_region_open(&config, &many, why, sizeof why) == VM_OK);
  many_settled = calloc(many->pages, sizeof *many_settled);
  if (!vm_commit(many, 0, MANY_PAGES)) {
    fprintf(stderr, "skipped: no memory for %d pages\n", MANY_PAGES);
    exit(77);
  }
  vm_open(many, 0, MANY_PAGES);
}

static void two_hundred_thousand_pages_are_veiled_every_second_one(const char *back_end) {
  many_open(back_end);
  for (size_t i = 0; i < MANY_PAGES; i++) {
    *many_word(i) = (long)i + 1;
  }
  for (size_t i = 1; i < MANY_PAGES; i += 2) {
    EXPECT(vm_prot(many, i, 1, VM_UNSCANNED, 0) == 1);
    if (many->traps) {
      *(long volatile *)vm_page_alias(many, i) = -(long)(i + 1);
    }
  }
  for (size_t n = 0; n < MANY_PAGES; n++) {
    size_t i = n * 70657 % MANY_PAGES; // no common divisor, so every page comes once
    EXPECT(*many_word(i) == (long)i + 1);
    EXPECT(many_settled[i] == (many->traps ? i % 2 : 0));
  }
  vm_region_close(many);
  free((void *)(uintptr_t)many_settled);
}

static bool many_told[MANY_PAGES];
static void many_tell(void *arg, size_t page) { many_told[page] = true; }

static void two_hundred_thousand_pages_are_written_every_second_one(const char *back_end) {
  many_open(back_end);
  int consumer = vm_dirty_open(many);
  vm_dirty(many, consumer, 0, MANY_PAGES, many_tell, NULL);
  memset(many_told, 0, sizeof many_told);
  for (size_t n = 0; n < MANY_PAGES; n++) {
    size_t i = n * 70657 % MANY_PAGES;
    if (i % 2 == 0) {
      *many_word(i) = (long)i;
    } else {
      EXPECT(*many_word(i) == 0);
    }
  }
  vm_dirty(many, consumer, 0, MANY_PAGES, many_tell, NULL);
  for (size_t i = 0; i < MANY_PAGES; i++) {
    EXPECT(many_told[i] || i % 2);
    EXPECT(*many_word(i) == (i % 2 ? 0 : (long)i));
  }
  vm_dirty_close(many, consumer);
  vm_region_close(many);
  free((void *)(uintptr_t)many_settled);
}

int main(int argc, char **argv) {
  const char *back_end = argc > 1 ? argv[1] : "mprotect";
  if (!back_end_works(back_end)) {
    return 77;
  }
  two_hundred_thousand_pages_are_veiled_every_second_one(back_end);
  two_hundred_thousand_pages_are_written_every_second_one(back_end);
  return 0;
}
