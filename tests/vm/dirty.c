// SPDX-License-Identifier: MIT
// dirty.c: which pages were written, and that no write is lost over a veil or to another consumer.

#include "vm_test.h"

#include <criterion/criterion.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum { PAGES = 64 };

static struct world w;
static struct pages got;

static size_t ask(int consumer) {
  got.n = 0;
  size_t n = vm_dirty(w.region, consumer, 0, PAGES, pages_add, &got);
  cr_assert_eq(n, got.n);
  return n;
}

static int open_and_settle_down(const char *back_end, unsigned shift) {
  world_open_shift(&w, back_end, shift);
  cr_assert(vm_commit(w.region, 0, PAGES));
  vm_open(w.region, 0, PAGES);
  int consumer = vm_dirty_open(w.region);
  cr_assert_geq(consumer, 0);
  cr_assert_eq(ask(consumer), PAGES, "pages count as dirty until first asked");
  return consumer;
}

ON_TRAPPING_BACK_ENDS(dirty, exactly_the_written_pages_are_told) {
  for (unsigned shift = 12; shift <= 16; shift += 2) {
    int c = open_and_settle_down(back_end, shift);
    cr_assert_eq(ask(c), 0);
    long sum = 0;
    for (size_t i = 0; i < PAGES; i++) {
      sum += *view_word(&w, i);
    }
    cr_assert_eq(sum, 0);
    cr_assert_eq(ask(c), 0, "reading is not writing");
    for (size_t i = 0; i < PAGES; i += 5) {
      vm_page_view(w.region, i)[w.region->page_size - 1] = 1;
    }
    cr_assert_eq(ask(c), (PAGES + 4) / 5);
    for (size_t i = 0; i < got.n; i++) {
      cr_assert_eq(got.page[i], i * 5);
    }
    cr_assert_eq(ask(c), 0, "told once");
    *view_word(&w, 5) = 2;
    cr_assert_eq(ask(c), 1, "and armed again");
    world_close(&w);
  }
}

// As it does when memory is short, or when it splits a huge page.
ON_TRAPPING_BACK_ENDS(dirty, a_write_is_told_though_the_system_has_dropped_the_page_since) {
  int c = open_and_settle_down(back_end, 12);
  *view_word(&w, 3) = 7;
  *view_word(&w, 4) = 7;
  cr_assert_eq(madvise(vm_page_view(w.region, 2), 4 << 12, MADV_DONTNEED), 0);
  cr_assert_eq(*(long volatile *)view_word(&w, 3), 7);
  cr_assert_geq(ask(c), 2);
  bool told[PAGES] = {false};
  for (size_t i = 0; i < got.n; i++) {
    told[got.page[i]] = true;
  }
  cr_assert(told[3] && told[4]);
  cr_assert_eq(ask(c), 0);
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(dirty, a_write_before_a_veil_is_told_after_it) {
  int c = open_and_settle_down(back_end, 12);
  *view_word(&w, 3) = 1;
  *view_word(&w, 9) = 1;
  vm_prot(w.region, 0, 8, VM_UNSCANNED, 0);
  (void)*view_word(&w, 3); // settles and opens it again
  (void)*view_word(&w, 4);
  cr_assert_eq(ask(c), 2);
  cr_assert(got.page[0] == 3 && got.page[1] == 9);
  *view_word(&w, 3) = 1;
  cr_assert_eq(ask(c), 1, "the page was opened armed");
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(dirty, a_veiled_page_is_told_and_then_not_again) {
  int c = open_and_settle_down(back_end, 12);
  *view_word(&w, 3) = 1;
  vm_prot(w.region, 3, 1, VM_UNSCANNED, 0);
  cr_assert_eq(ask(c), 1);
  cr_assert_eq(got.page[0], 3);
  cr_assert_eq(ask(c), 0);
  (void)*view_word(&w, 3);
  cr_assert_eq(ask(c), 0, "it opened clean");
  *view_word(&w, 3) = 2;
  cr_assert_eq(ask(c), 1);
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(dirty, a_write_that_opens_a_veiled_page_is_told) {
  int c = open_and_settle_down(back_end, 12);
  vm_prot(w.region, 0, PAGES, VM_UNSCANNED, 0);
  *view_word(&w, 7) = 1;
  cr_assert_eq(ask(c), 1);
  cr_assert_eq(got.page[0], 7);
  vm_take(w.region, 8, VM_UNSCANNED);
  vm_settled(w.region, 8, VM_UNSCANNED);
  vm_give(w.region, 8, 1);
  *view_word(&w, 8) = 1;
  vm_unprot(w.region, 20, 2, VM_UNSCANNED);
  *view_word(&w, 20) = 1;
  cr_assert_eq(ask(c), 2);
  cr_assert(got.page[0] == 8 && got.page[1] == 20);
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(dirty, every_consumer_is_told_every_write) {
  int a = open_and_settle_down(back_end, 12);
  *view_word(&w, 1) = 1;
  int b = vm_dirty_open(w.region);
  cr_assert_neq(a, b);
  cr_assert_eq(ask(b), PAGES);
  *view_word(&w, 2) = 1;
  cr_assert_eq(ask(a), 2);
  *view_word(&w, 4) = 1;
  cr_assert_eq(ask(b), 2);
  cr_assert(got.page[0] == 2 && got.page[1] == 4);
  cr_assert_eq(ask(a), 1);
  vm_dirty_close(w.region, a);
  *view_word(&w, 6) = 1;
  cr_assert_eq(ask(b), 1);
  a = vm_dirty_open(w.region);
  cr_assert_eq(ask(a), PAGES, "a new consumer knows nothing");
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(dirty, a_note_reaches_those_it_names) {
  int a = open_and_settle_down(back_end, 12), b = vm_dirty_open(w.region);
  ask(b);
  *alias_word(&w, 3) = 1;
  cr_assert_eq(ask(a), 0, "writes through the alias are not seen");
  vm_dirty_note(w.region, 3, 1u << b);
  cr_assert_eq(ask(a), 0);
  cr_assert_eq(ask(b), 1);
  *view_word(&w, 3) = 1;
  cr_assert_eq(ask(a), 1);
  cr_assert_eq(ask(b), 1);
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(dirty, memory_committed_again_is_news_unless_forgotten) {
  int c = open_and_settle_down(back_end, 12);
  vm_release(w.region, 4, 4);
  cr_assert_eq(ask(c), 0, "what has no memory is not told");
  cr_assert(vm_commit(w.region, 4, 4));
  vm_dirty_forget(w.region, 6, 2, 1u << c);
  vm_open(w.region, 4, 4);
  cr_assert_eq(ask(c), 2);
  cr_assert(got.page[0] == 4 && got.page[1] == 5);
  *view_word(&w, 7) = 1;
  cr_assert_eq(ask(c), 1);
  world_close(&w);
}

static long faults(void) {
  struct rusage usage;
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_minflt;
}

ON_TRAPPING_BACK_ENDS(dirty, what_is_opened_anew_is_written_without_a_trap_or_a_fault_and_told) {
  int c = open_and_settle_down(back_end, 12);
  vm_release(w.region, 0, PAGES);
  cr_assert(vm_commit(w.region, 0, PAGES));
  vm_dirty_forget(w.region, PAGES - 8, 8, 1u << c);
  vm_open(w.region, 0, PAGES);
  uint64_t traps = world_traps(&w);
  long before = faults();
  for (size_t i = 0; i < PAGES - 8; i++) {
    *view_word(&w, i) = 1;
  }
  long faulted = faults() - before;
  cr_assert_eq(world_traps(&w), traps);
  cr_assert(!w.region->kernel_dirty || faulted < 8, "%ld page faults", faulted); // else the system maps at the first touch
  cr_assert_eq(ask(c), PAGES - 8);
  cr_assert_eq(ask(c), 0);
  *view_word(&w, 3) = 1;
  *view_word(&w, PAGES - 1) = 1;
  cr_assert_eq(ask(c), 2, "and from then on they are watched");
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(dirty, without_a_consumer_a_write_costs_no_trap) {
  int c = open_and_settle_down(back_end, 12);
  vm_dirty_close(w.region, c);
  uint64_t traps = world_traps(&w);
  for (size_t i = 0; i < PAGES; i++) {
    *view_word(&w, i) = 1;
  }
  cr_assert_eq(world_traps(&w), traps);
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(dirty, a_consumer_may_ask_for_a_part) {
  int c = open_and_settle_down(back_end, 12);
  for (size_t i = 0; i < PAGES; i++) {
    *view_word(&w, i) = 1;
  }
  got.n = 0;
  cr_assert_eq(vm_dirty(w.region, c, 10, 5, pages_add, &got), 5);
  cr_assert_eq(got.page[0], 10);
  cr_assert_eq(ask(c), PAGES - 5);
  world_close(&w);
}

static size_t in_use;
static bool touched(void *arg, size_t page) { return page == in_use; }

ON_TRAPPING_BACK_ENDS(dirty, a_page_that_the_system_may_be_writing_is_never_armed) {
  int c = open_and_settle_down(back_end, 12);
  w.region->config.touched = touched;
  in_use = 5;
  vm_settle(w.region, 5, VM_CLAIMS, true, true);
  int pipes[2];
  cr_assert_eq(pipe(pipes), 0);
  for (int i = 0; i < 3; i++) {
    ask(c);
    cr_assert_eq(write(pipes[1], "news", 5), 5);
    cr_assert_eq(read(pipes[0], (void *)(uintptr_t)view_word(&w, 5), 5), 5, "the system cannot write the page");
    cr_assert_eq(ask(c), 1);
    cr_assert_eq(got.page[0], 5);
  }
  in_use = SIZE_MAX;
  ask(c);
  cr_assert_eq(ask(c), 0);
  world_close(&w);
}

Test(dirty, without_protection_every_page_is_always_dirty) {
  world_open(&w, "none");
  cr_assert(vm_commit(w.region, 0, PAGES / 2));
  int c = vm_dirty_open(w.region);
  cr_assert_eq(ask(c), PAGES / 2);
  cr_assert_eq(ask(c), PAGES / 2);
  world_close(&w);
}

Test(dirty, there_are_eight_consumers) {
  world_open(&w, "none");
  for (int i = 0; i < VM_DIRTY_CONSUMERS; i++) {
    cr_assert_eq(vm_dirty_open(w.region), i);
  }
  cr_assert_eq(vm_dirty_open(w.region), -1);
  vm_dirty_close(w.region, 3);
  cr_assert_eq(vm_dirty_open(w.region), 3);
  world_close(&w);
}

// The kernel may give up a page table with nothing in it, of which nothing is told then.
ON_ALL_BACK_ENDS(dirty, whole_chunks_that_were_written_and_veiled_are_told) {
  static struct pages told;
  world_open(&w, back_end);
  size_t count = 3 * (VM_HUGE / 4096);
  cr_assert(vm_commit(w.region, 0, count));
  vm_open(w.region, 0, count);
  int consumer = vm_dirty_open(w.region);
  told.n = 0;
  vm_dirty(w.region, consumer, 0, count, pages_add, &told);
  for (size_t page = 0; page < count; page++) {
    *view_word(&w, page) = 1;
  }
  vm_prot(w.region, 0, count, VM_UNSCANNED, 0);
  told.n = 0;
  vm_dirty(w.region, consumer, 0, count, pages_add, &told);
  cr_assert_eq(told.n, count, "%zu of %zu", told.n, count);
  world_close(&w);
}
