// SPDX-License-Identifier: MIT
// store_many.c: commits of more pages than are copied in the stop: each is of one instant all the same, whoever writes meanwhile.

#include <pthread.h>
#include "tests/store/store_world.h"

enum { PAGES = 6000, WORDS_PER_PAGE = 512 }; // of 4 KiB: 24 MiB, and 16 are copied

static uint64_t *all;
static int volatile over;

// One word per page, in order: as of any instant there are two numbers at most, the greater ones first.
static void *writes(void *arg) {
  veil_thread *me = veil_attach(heap);
  (void)arg;
  for (uint64_t n = all[0] + 1; !over; n++) {
    for (size_t page = 0; page < PAGES && !over; page++) {
      all[page * WORDS_PER_PAGE] = n;
      veil_poll(me);
    }
  }
  veil_detach(me);
  return NULL;
}

static void instant_check(const uint64_t *words) {
  size_t drops = 0;
  for (size_t page = 1; page < PAGES; page++) {
    uint64_t before = words[(page - 1) * WORDS_PER_PAGE], now = words[page * WORDS_PER_PAGE];
    EXPECT(now == before || now + 1 == before);
    drops += now != before;
  }
  EXPECT(drops <= 1);
}

static void program(size_t commits) {
  as.limit = 128 * MIB;
  BEGIN(on);
  all = (uint64_t *)veil_new_bytes(self, (size_t)PAGES * WORDS_PER_PAGE * sizeof *all);
  OK(veil_root_set(self, "numbers", all));
  OK(veil_add_roots(heap, (void **)&all, 1));
  for (size_t round = 0; round < 2; round++) {
    for (size_t page = 0; page < PAGES; page++) {
      all[page * WORDS_PER_PAGE] = all[0];
    }
    over = 0;
    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, writes, NULL) == 0);
    for (size_t i = 0; i < commits; i++) {
      veil_commit_figures f;
      OK(veil_store_commit(store, &f));
      if (i % 3 == 2) {
        veil_collect_start(self); // its cycle may be under way at the next
      }
    }
    veil_block_begin(self);
    over = 1;
    pthread_join(thread, NULL);
    veil_block_end(self);
    veil_remove_roots(heap, (void **)&all);
    all = NULL;
    again();
    all = veil_root_get(self, "numbers");
    OK(veil_add_roots(heap, (void **)&all, 1));
    instant_check(all);
  }
  all = NULL;
  shut();
  folder_remove();
}

ON_ALL_BACK_ENDS(store_many, a_large_commit_is_of_one_instant) {
  on = back_end;
  program(6);
}

// What the log can take is compared, though it was claimed; and pages that nobody has written since are not in it.
Test(store_many, few_bytes_of_many_pages_go_to_the_log, .timeout = 60) {
  as.limit = 128 * MIB;
  folder_make();
  wanted.log = 16 * MIB;
  EXPECT(begin());
  uint64_t *words = (uint64_t *)veil_new_bytes(self, (size_t)PAGES * WORDS_PER_PAGE * sizeof *words);
  OK(veil_root_set(self, "numbers", words));
  for (size_t page = 0; page < PAGES; page++) {
    words[page * WORDS_PER_PAGE] = page + 1;
  }
  veil_commit_figures f;
  commit();
  for (size_t page = 0; page < PAGES; page++) {
    words[page * WORDS_PER_PAGE + 7] = page;
  }
  OK(veil_store_commit(store, &f));
  EXPECT(f.pages >= PAGES && f.changed < 100 * PAGES && f.logged >= f.changed && f.logged < 100 * PAGES);
  words[3] = 4;
  OK(veil_store_commit(store, &f));
  OK(veil_store_commit(store, &f));
  EXPECT(f.pages < 100);
  again();
  words = veil_root_get(self, "numbers");
  for (size_t page = 0; page < PAGES; page++) {
    EXPECT(words[page * WORDS_PER_PAGE] == page + 1 && words[page * WORDS_PER_PAGE + 7] == page);
  }
  EXPECT(words[3] == 4);
  shut();
  folder_remove();
}
