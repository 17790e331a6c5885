// SPDX-License-Identifier: MIT
// store_parked.c: a store beside a service that has pages parked (gc.parked): what is committed, and what it goes back to, is what the objects hold, not what stands for it.

#include "tests/store/store_world.h" // first: parker.h
#include "tests/runtime/parker.h"

static parker p;

static __attribute__((noinline)) void collect(int times) {
  for (int i = 0; i < times; i++) {
    stack_clear();
    veil_collect(self);
  }
}

static void park(void) {
  stack_clear();
  parker_take_range(&p, 0, p.pages.count);
  EXPECT(veil_heap_parks(heap).pages > 10);
}

#define PARKER_BEGIN(BACK_END)                                                                                         \
  BEGIN(BACK_END);                                                                                                     \
  parker_open(&p, heap, false);

static void parker_end(void) {
  parker_close(&p);
  shut();
  folder_remove();
}

// The heap changes beside what is parked: lists that parked pages lead to move, and some pages come back.
static void lists_change(int round) {
  char name[16];
  for (int i = 0; i < 6; i++) {
    snprintf(name, sizeof name, "l%d", i);
    if ((round + i) % 3 == 0) {
      list_set(name, 3000 + 500 * i + round);
    }
  }
}

static void lists_check(const long *lengths) {
  char name[16];
  for (int i = 0; i < 6; i++) {
    snprintf(name, sizeof name, "l%d", i);
    EXPECT(list_of(name) == lengths[i]);
  }
}

static void lists_read(long *lengths) {
  char name[16];
  for (int i = 0; i < 6; i++) {
    snprintf(name, sizeof name, "l%d", i);
    lengths[i] = list_of(name);
  }
}

// Lists of this round, not committed yet, whose pages are away.
static void lists_park(int round, long *lengths) {
  lists_change(round);
  if (round == 0) {
    lists_change(1);
    lists_change(2);
  }
  lists_read(lengths);
  collect(2);
  park();
}

ON_TRAPPING_BACK_ENDS(store_parked, what_is_committed_while_pages_are_parked_is_there_when_it_is_opened_again) {
  PARKER_BEGIN(back_end);
  long lengths[6];
  for (int round = 0; round < 8; round++) {
    lists_park(round, lengths);
    if (round % 2 != 0) {
      collect(1); // what they refer to moves, in notes
    }
    commit();
    park();
    veil_verify(self);
    parker_close(&p);
    again();
    parker_open(&p, heap, false);
    lists_check(lengths);
  }
  parker_end();
}

// What was written and is away by now is committed all the same, and stays away.
ON_TRAPPING_BACK_ENDS(store_parked, what_is_away_is_committed_and_stays_away) {
  PARKER_BEGIN(back_end);
  p.copies = true;
  long lengths[6];
  for (int round = 0; round < 6; round++) {
    lists_park(round, lengths);
    unsigned long before = parker_absents(&p), copied = atomic_load(&p.copied);
    commit();
    EXPECT(parker_absents(&p) == before && atomic_load(&p.copied) > copied + 5);
    veil_verify(self);
    parker_close(&p);
    again();
    parker_open(&p, heap, false);
    p.copies = true;
    lists_check(lengths);
  }
  parker_end();
}

// The same where more was written than is copied in the stop, and so pages are claimed.
enum { NUMBER_PAGES = 6000, NUMBERS_PER_PAGE = 512 };

ON_TRAPPING_BACK_ENDS(store_parked, and_so_it_is_where_pages_are_claimed) {
  as.limit = 128 * MIB;
  PARKER_BEGIN(back_end);
  p.copies = true;
  uint64_t *numbers = (uint64_t *)veil_new_bytes(self, (size_t)NUMBER_PAGES * NUMBERS_PER_PAGE * sizeof *numbers);
  OK(veil_root_set(self, "numbers", numbers));
  collect(2);
  for (uint64_t round = 1; round < 4; round++) {
    numbers = veil_root_get(self, "numbers");
    for (size_t page = 0; page < NUMBER_PAGES; page++) {
      numbers[page * NUMBERS_PER_PAGE] = page + round;
    }
    size_t taken = parker_take_range(&p, parker_page(&p, numbers) + 1, NUMBER_PAGES - 1);
    EXPECT(taken > NUMBER_PAGES - 8);
    numbers = NULL;
    unsigned long before = parker_absents(&p), copied = atomic_load(&p.copied);
    commit();
    EXPECT(parker_absents(&p) <= before + 1 && atomic_load(&p.copied) - copied >= taken - 1); // whose page holds what is next to it
    parker_close(&p);
    again();
    parker_open(&p, heap, false);
    p.copies = true;
    numbers = veil_root_get(self, "numbers");
    for (size_t page = 0; page < NUMBER_PAGES; page++) {
      EXPECT(numbers[page * NUMBERS_PER_PAGE] == page + round);
    }
    numbers = NULL;
    collect(1);
  }
  parker_end();
}

// In what is parked then: pages that were written since the commit, that were not in use then, and that are as they were.
ON_TRAPPING_BACK_ENDS(store_parked, it_goes_back_to_the_last_commit_while_pages_are_parked) {
  PARKER_BEGIN(back_end);
  long lengths[6];
  lists_change(0);
  lists_change(1);
  lists_change(2);
  lists_read(lengths);
  collect(2);
  commit();
  for (int round = 0; round < 8; round++) {
    park();
    lists_change(round);
    list_set("more", 4000);
    collect(1 + round % 3);
    park();
    OK(veil_store_rollback(store, NULL));
    veil_verify(self);
    lists_check(lengths);
    EXPECT(list_of("more") == -1);
    collect(2);
    park();
    veil_verify(self);
    if (round % 3 == 2) {
      lists_check(lengths);
      lists_change(round);
      lists_read(lengths);
      park();
      commit();
    }
  }
  parker_end();
}
