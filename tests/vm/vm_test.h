// SPDX-License-Identifier: MIT
// vm_test.h: what the tests of vm/ share: a region whose claims are settled by a counting callback.

#ifndef VM_TEST_H
#define VM_TEST_H

#include "tests/back_end_names.h"
#include "vm/check.h"
#include "vm/os.h"
#include "vm/vm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Aborts with the condition: for what runs under Criterion and as a plain program.
#define EXPECT(CONDITION)                                                                                              \
  ((CONDITION) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #CONDITION), abort()))

enum { WORLD_BYTES = 16 << 20 };

struct world {
  vm_region *region;
  uint32_t volatile settled[5]; // by the number of the claim's bit
  uint32_t volatile page_settled[4096];
  void (*also)(struct world *world, size_t page, unsigned claim, bool write);
  void *more;
};

static inline void world_settle(void *arg, size_t page, unsigned claim, bool write) {
  struct world *world = arg;
  at32_add_full(&world->settled[__builtin_ctz(claim)], 1);
  at32_add_full(&world->page_settled[page], 1);
  if (world->also != NULL) {
    world->also(world, page, claim, write);
  }
}

// False where the system forbids the back end.
static inline bool back_end_works(const char *back_end) {
  vm_region_config config = {.bytes = 2 << 20, .page_shift = 12, .back_end = back_end, .settle = world_settle};
  vm_region *region;
  char why[256];
  if (vm_region_open(&config, &region, why, sizeof why) != VM_OK) {
    fprintf(stderr, "skipped: %s\n", why);
    return false;
  }
  vm_region_close(region);
  return true;
}

static inline uint32_t world_settled(struct world *world, unsigned claim) {
  return at32_load_acquire(&world->settled[__builtin_ctz(claim)]);
}

static inline void world_open_shift(struct world *world, const char *back_end, unsigned shift) {
  memset(world, 0, sizeof *world);
  vm_region_config config = {
      .bytes = WORLD_BYTES, .page_shift = shift, .back_end = back_end, .settle = world_settle, .arg = world};
  char why[256];
  if (vm_region_open(&config, &world->region, why, sizeof why) != VM_OK) {
    fprintf(stderr, "%s\n", why);
    abort();
  }
}

static inline void world_open(struct world *world, const char *back_end) { world_open_shift(world, back_end, 12); }
static inline void world_close(struct world *world) { vm_region_close(world->region); }

static inline long volatile *view_word(struct world *world, size_t page) {
  return (long volatile *)vm_page_view(world->region, page);
}
static inline long volatile *alias_word(struct world *world, size_t page) {
  return (long volatile *)vm_page_alias(world->region, page);
}
static inline uint64_t world_traps(struct world *world) { return at_load(&world->region->traps_count); }

struct pages {
  size_t n, page[8192];
};

static inline void pages_add(void *arg, size_t page) {
  struct pages *pages = arg;
  pages->page[pages->n++] = page;
}

// A test per back end of one body: sentence_on_uffd, and so on.
#define ON_BACK_END(SUITE, NAME, BACK_END, ...)                                                                        \
  Test(SUITE, NAME##_on_##BACK_END, .timeout = 60, ##__VA_ARGS__) {                                                    \
    if (!back_end_works(BACK_END_##BACK_END)) {                                                                        \
      cr_skip_test("no " #BACK_END " here");                                                                           \
    }                                                                                                                  \
    NAME(BACK_END_##BACK_END);                                                                                         \
  }
// For what only back ends that trap can show.
#define ON_TRAPPING_BACK_ENDS(SUITE, NAME, ...)                                                                        \
  static void NAME(const char *back_end);                                                                              \
  ON_BACK_END(SUITE, NAME, uffd, ##__VA_ARGS__)                                                                        \
  ON_BACK_END(SUITE, NAME, uffd_kernel, ##__VA_ARGS__)                                                                 \
  ON_BACK_END(SUITE, NAME, guard, ##__VA_ARGS__)                                                                       \
  ON_BACK_END(SUITE, NAME, mprotect, ##__VA_ARGS__)                                                                    \
  static void NAME(const char *back_end)
#define ON_ALL_BACK_ENDS(SUITE, NAME, ...)                                                                             \
  static void NAME(const char *back_end);                                                                              \
  ON_BACK_END(SUITE, NAME, uffd, ##__VA_ARGS__)                                                                        \
  ON_BACK_END(SUITE, NAME, uffd_kernel, ##__VA_ARGS__)                                                                 \
  ON_BACK_END(SUITE, NAME, guard, ##__VA_ARGS__)                                                                       \
  ON_BACK_END(SUITE, NAME, mprotect, ##__VA_ARGS__)                                                                    \
  ON_BACK_END(SUITE, NAME, none, ##__VA_ARGS__)                                                                        \
  static void NAME(const char *back_end)

#endif
