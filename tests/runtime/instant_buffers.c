// SPDX-License-Identifier: MIT
// instant_buffers.c: buffers that are born after an instant in memory that was free then: a system call writes to them though the program has touched nothing of them.

#include <criterion/criterion.h>
#include <errno.h>
#include "tests/runtime/saver.h"

enum { SIZES = 7, EACH = 30 };
static const size_t sizes[SIZES] = {40000, 600, 32000, 5000, 12345, 3 * MIB, 17000};

static char contents[3 * MIB];
static int file = -1;

static void file_open(void) {
  for (size_t i = 0; i < sizeof contents; i++) {
    contents[i] = (char)(i * 7 + i / 251 + 1);
  }
  file = memfd_create("contents", 0);
  cr_assert_geq(file, 0);
  cr_assert_eq(pwrite(file, contents, sizeof contents, 0), (ssize_t)sizeof contents);
}

// Blocks, and runs of them, that are free and have memory.
static __attribute__((noinline)) void blocks_recycle(void) {
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 200; i++) {
      memset(veil_new_bytes(self, 20000), 1, 20000);
    }
    memset(veil_new_bytes(self, 4 * MIB), 1, 4 * MIB);
    list_make(self, 20000);
    stack_clear();
    veil_collect(self);
  }
}

static void buffer_fill(size_t bytes, bool raw) {
  char *buffer = raw ? veil_new_bytes_raw(self, bytes) : veil_new_bytes(self, bytes);
  size_t got = 0;
  for (ssize_t n; got < bytes; got += n > 0 ? (size_t)n : 0) {
    n = pread(file, buffer + got, bytes - got, (off_t)got);
    cr_assert(n > 0 || (n < 0 && errno == EINTR), "byte %zu of %zu, raw %d: %s", got, bytes, raw, strerror(errno));
  }
  cr_assert_eq(memcmp(buffer, contents, bytes), 0);
}

// `saves`: claims are gone when the buffers are made.
static void buffers_fill_after(const char *back_end, veil_generations generations, unsigned first, unsigned second, bool saves) {
  static saver s;
  INSTANT_START_OR_SKIP(.generations = generations, .limit = 128 * MIB, .verify = 1);
  saver_open(&s);
  node *list = list_make(self, 20000);
  blocks_recycle();
  veil_new_bytes_raw(self, 5000); // the block that the next ones go on in
  instant_take(&s, first);
  instant_save(&s);
  if (second != ~0u) {
    list_scramble(list);
    instant_take(&s, second);
    if (saves) {
      instant_save(&s);
    }
  }
  for (int i = 0; i < SIZES * EACH; i++) {
    if (i / SIZES < 2 || sizes[i % SIZES] < MIB) {
      buffer_fill(sizes[i % SIZES], i / SIZES % 3 != 2);
    }
  }
  instant_save(&s);
  list_check(list);
  saver_close(&s);
  veil_verify(self);
  end();
}

ON_ALL_BACK_ENDS(instant_buffers, are_filled_by_the_system_after_a_full_instant) {
  file_open();
  buffers_fill_after(back_end, VEIL_GENERATIONS_OFF, 0, ~0u, true);
}

ON_ALL_BACK_ENDS(instant_buffers, are_filled_by_the_system_while_a_full_instant_is_saved) {
  file_open();
  buffers_fill_after(back_end, VEIL_GENERATIONS_OFF, 0, 0, false);
}

ON_ALL_BACK_ENDS(instant_buffers, are_filled_by_the_system_after_a_full_instant_of_a_heap_with_a_nursery) {
  file_open();
  buffers_fill_after(back_end, VEIL_GENERATIONS_ON, 0, 0, true);
}

ON_ALL_BACK_ENDS(instant_buffers, are_filled_by_the_system_while_writes_are_watched) {
  file_open();
  buffers_fill_after(back_end, VEIL_GENERATIONS_OFF, VEIL_INSTANT_WATCH, VEIL_INSTANT_DIRTY | VEIL_INSTANT_WATCH, false);
  buffers_fill_after(back_end, VEIL_GENERATIONS_ON, VEIL_INSTANT_WATCH, VEIL_INSTANT_DIRTY | VEIL_INSTANT_WATCH, true);
}
