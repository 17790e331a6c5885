// SPDX-License-Identifier: MIT
// rest.c: stretches at rest: what harvests leave out, what wakes them, and that no write is lost. Where nothing rests the
// answers are the same.

#include "vm_test.h"
#include "vm/backend.h"

#include <criterion/criterion.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
  STRETCH = VM_STRETCH / 4096,
  STRETCHES = 8,
  PAGES = STRETCH * STRETCHES,
  GROUP = VM_GROUP / 4096,
  FIRST = 16,
  WORTH = 160
};

static struct world w;
static struct pages got;

static size_t ask_part(int consumer, size_t page, size_t count) {
  got.n = 0;
  size_t n = vm_dirty(w.region, consumer, page, count, pages_add, &got);
  cr_assert_eq(n, got.n);
  return n;
}
static size_t ask(int consumer) { return ask_part(consumer, 0, PAGES); }

static bool rests(void) { return w.region->rest != NULL; }

static vm_rest_figures figures(void) {
  vm_rest_figures now;
  vm_rest_figures_get(w.region, &now);
  return now;
}

static bool all_rest(size_t stretches) { return figures().resting == (rests() ? stretches : 0); }

static void lay(void) {
  while (vm_rest(w.region)) {
  }
}

// Rounds without a write, until all that is due rests and has been harvested since.
static void go_to_rest(int consumer) {
  for (int i = 0; i < FIRST + 3; i++) {
    cr_assert_eq(ask(consumer), 0);
    lay();
  }
  cr_assert_eq(ask(consumer), 0);
}

static int open_and_go_to_rest(const char *back_end) {
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, PAGES));
  vm_open(w.region, 0, PAGES);
  int consumer = vm_dirty_open(w.region);
  cr_assert_eq(ask(consumer), PAGES);
  go_to_rest(consumer);
  cr_assert(all_rest(STRETCHES));
  return consumer;
}

ON_TRAPPING_BACK_ENDS(rest, a_harvest_leaves_it_out_and_a_write_is_told_once) {
  int c = open_and_go_to_rest(back_end);
  long sum = 0;
#ifdef VEIL_FULL_CHECKS
  unsigned calls = os_calls();
  cr_assert_eq(ask(c), 0);
  cr_assert(!rests() || os_calls() == calls, "the system was asked");
#endif
  for (size_t i = 0; i < PAGES; i++) {
    sum += *view_word(&w, i);
  }
  cr_assert_eq(sum, 0);
  cr_assert(all_rest(STRETCHES), "reading does not wake");
  for (size_t i = 0; i < STRETCHES; i += 3) {
    *view_word(&w, i * STRETCH + 7 + i) = 1;
    *view_word(&w, i * STRETCH + 7 + i) = 2;
  }
  cr_assert(all_rest(STRETCHES - 3));
  cr_assert_eq(ask(c), 3);
  for (size_t i = 0; i < 3; i++) {
    cr_assert_eq(got.page[i], 3 * i * STRETCH + 7 + 3 * i);
  }
  cr_assert_eq(ask(c), 0);
  *view_word(&w, 8) = 1;
  cr_assert_eq(ask(c), 1, "and it is armed again");
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(rest, what_was_written_while_it_was_laid_is_told) {
  int c = open_and_go_to_rest(back_end);
  *view_word(&w, 3) = 1;
  cr_assert_eq(ask(c), 1);
  for (int i = 0; i < 2 * FIRST; i++) {
    cr_assert_eq(ask(c), 0);
  }
  *view_word(&w, 4) = 1; // it is due, and written since it was last harvested
  lay();
  cr_assert(all_rest(STRETCHES));
  cr_assert_eq(ask(c), 1);
  cr_assert_eq(got.page[0], 4);
  cr_assert_eq(ask(c), 0);
  cr_assert(all_rest(STRETCHES));
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(rest, every_consumer_is_told) {
  int a = open_and_go_to_rest(back_end), b = vm_dirty_open(w.region);
  cr_assert_eq(ask(b), PAGES, "a new consumer knows nothing, awake or not");
  cr_assert(all_rest(STRETCHES));
  *view_word(&w, 1) = 1;
  vm_dirty_note(w.region, 2 * STRETCH, 1u << b);
  *alias_word(&w, 3 * STRETCH) = 1;
  cr_assert_eq(ask(a), 1);
  cr_assert_eq(ask(b), 2);
  cr_assert(got.page[0] == 1 && got.page[1] == 2 * STRETCH);
  cr_assert(all_rest(STRETCHES - 1));
  vm_dirty_close(w.region, a);
  cr_assert(all_rest(STRETCHES - 1));
  vm_dirty_close(w.region, b);
  cr_assert(all_rest(0), "without a consumer a write costs nothing");
  lay();
  cr_assert(all_rest(0));
  *view_word(&w, 5 * STRETCH) = 1;
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(rest, a_part_of_a_group_takes_no_news_of_the_rest_away) {
  int c = open_and_go_to_rest(back_end);
  for (size_t i = 0; i < 3 * GROUP; i++) {
    *view_word(&w, GROUP + i) = 1;
  }
  cr_assert_eq(ask_part(c, GROUP + 3, 2 * GROUP - 6), 2 * GROUP - 6);
  cr_assert_eq(ask_part(c, GROUP + 3, 2 * GROUP - 6), 0);
  cr_assert_eq(ask_part(c, GROUP + 1, 1), 1);
  cr_assert_eq(ask(c), GROUP + 6 - 1);
  cr_assert_eq(ask(c), 0);
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(rest, a_stretch_is_harvested_whole_before_it_is_left_out) {
  int c = open_and_go_to_rest(back_end);
  *view_word(&w, 3) = 1; // wakes it
  *view_word(&w, STRETCH - 4) = 1;
  cr_assert_eq(ask_part(c, 0, STRETCH / 2), 1);
  for (int i = 0; i < 4 * FIRST; i++) {
    cr_assert_eq(ask_part(c, 0, STRETCH / 2), 0); // as if nothing had been written for long
    lay();
  }
  cr_assert(all_rest(STRETCHES));
  cr_assert_eq(ask(c), 1);
  cr_assert_eq(got.page[0], STRETCH - 4);
  world_close(&w);
}

// ---- Memory that the system writes.

static size_t in_use = SIZE_MAX;
static bool touched(void *arg, size_t page) { return page == in_use; }

static size_t always = SIZE_MAX;
static bool may_rest(void *arg, size_t page) { return page != always; }

static void system_writes(size_t page) {
  int pipes[2];
  cr_assert_eq(pipe(pipes), 0);
  cr_assert_eq(write(pipes[1], "news", 5), 5);
  cr_assert_eq(read(pipes[0], (void *)(uintptr_t)view_word(&w, page), 5), 5, "the system cannot write the page");
  close(pipes[0]);
  close(pipes[1]);
}

ON_TRAPPING_BACK_ENDS(rest, a_touch_wakes_and_keeps_awake) {
  int c = open_and_go_to_rest(back_end);
  w.region->config.touched = touched;
  in_use = STRETCH + 5;
  vm_settle(w.region, in_use, VM_CLAIMS, true, true);
  for (int i = 0; i < 4 * FIRST; i++) {
    system_writes(in_use);
    cr_assert_eq(ask(c), 1);
    lay();
  }
  for (int i = 0; i < 4 * FIRST; i++) {
    ask(c); // it may be due
    lay();
  }
  cr_assert(all_rest(STRETCHES - 1));
  system_writes(in_use);
  in_use = SIZE_MAX;
  ask(c);
  for (int i = 0; i < 4 * FIRST; i++) {
    cr_assert_eq(ask(c), 0);
    lay();
  }
  cr_assert(all_rest(STRETCHES), "it may rest again");
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(rest, what_the_system_may_always_write_is_not_laid) {
  world_open(&w, back_end);
  w.region->config.rests = may_rest;
  always = 2 * STRETCH + 9;
  cr_assert(vm_commit(w.region, 0, PAGES));
  vm_open(w.region, 0, PAGES);
  int c = vm_dirty_open(w.region);
  cr_assert_eq(ask(c), PAGES);
  go_to_rest(c);
  cr_assert(all_rest(STRETCHES - 1));
  always = 5 * STRETCH + 9;
  vm_rouse(w.region, always, 1);
  if (rests()) { // elsewhere CLEAN is laid on it, for this consumer asks about such pages
    system_writes(always);
  }
  cr_assert(all_rest(STRETCHES - 2));
  world_close(&w);
}

// ---- Memory that comes and goes, and claims.

ON_TRAPPING_BACK_ENDS(rest, pages_go_and_come_back) {
  int c = open_and_go_to_rest(back_end);
  vm_release(w.region, STRETCH - 4, 8);
  cr_assert_eq(ask(c), 0);
  cr_assert(vm_commit(w.region, STRETCH - 4, 8));
  vm_open(w.region, STRETCH - 8, 16); // over stretches that rest and stretches that do not
  cr_assert_eq(ask(c), 8);
  *view_word(&w, STRETCH - 4) = 1;
  *view_word(&w, STRETCH + 50) = 1;
  *view_word(&w, 2 * STRETCH) = 1;
  cr_assert_eq(ask(c), 3);
  cr_assert_eq(*view_word(&w, STRETCH - 3), 0);
  cr_assert_eq(ask(c), 0);
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(rest, claims_are_settled_there_as_elsewhere) {
  int c = open_and_go_to_rest(back_end);
  cr_assert_eq(vm_prot(w.region, 0, PAGES, VM_UNSCANNED, 0), PAGES);
  (void)*view_word(&w, 5);
  cr_assert_eq(world_settled(&w, VM_UNSCANNED), 1);
  *view_word(&w, 6) = 1; // first it wakes, then it is settled
  *view_word(&w, 5) = 1;
  *view_word(&w, 3 * STRETCH + 5) = 1;
  cr_assert_eq(world_settled(&w, VM_UNSCANNED), 3);
  cr_assert_eq(ask(c), 3);
  cr_assert(all_rest(STRETCHES - 2));
  vm_unprot(w.region, 0, PAGES, VM_UNSCANNED); // runs over stretches that rest and stretches that do not
  for (size_t i = 0; i < PAGES; i++) {
    cr_assert_eq(*view_word(&w, i), i == 5 || i == 6 || i == 3 * STRETCH + 5);
  }
  *view_word(&w, 7 * STRETCH + 5) = 1;
  cr_assert_eq(ask(c), 1);
  cr_assert_eq(ask(c), 0);
  world_close(&w);
}

// ---- Back-off.

static unsigned rounds_to_rest(int consumer) {
  unsigned rounds = 0;
  for (; figures().resting < STRETCHES; rounds++) {
    cr_assert_lt(rounds, 5000);
    cr_assert_eq(ask(consumer), 0);
    lay();
  }
  return rounds;
}

ON_TRAPPING_BACK_ENDS(rest, who_is_woken_soon_waits_longer) {
  int c = open_and_go_to_rest(back_end);
  if (!rests()) {
    cr_skip_test("nothing rests here");
  }
  unsigned last = FIRST;
  for (int i = 0; i < 10; i++) {
    *view_word(&w, 3) = i;
    cr_assert_eq(ask(c), 1);
    unsigned rounds = rounds_to_rest(c);
    cr_assert(rounds > last + last / 2 || rounds > FIRST * 60, "%u rounds after %u", rounds, last);
    cr_assert_leq(rounds, FIRST * 64 + 2);
    last = rounds;
  }
  for (int i = 0; i < 10; i++) {
    for (int r = 0; r <= WORTH; r++) {
      cr_assert_eq(ask(c), 0);
    }
    *view_word(&w, 3) = i;
    cr_assert_eq(ask(c), 1);
    last = rounds_to_rest(c);
  }
  cr_assert_leq(last, FIRST + 2);
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(rest, who_writes_one_stretch_after_the_other_wakes_the_next_ones_as_well) {
  for (int down = 0; down < 2; down++) {
    int c = open_and_go_to_rest(back_end);
    if (!rests()) {
      cr_skip_test("nothing rests here");
    }
    size_t first = down ? STRETCHES - 1 : 0, second = down ? first - 1 : 1;
    *view_word(&w, first * STRETCH + 1) = 1;
    cr_assert_eq(figures().resting, STRETCHES - 1, "one write may be all there is");
    *view_word(&w, second * STRETCH + 1) = 1;
    cr_assert_eq(figures().resting, 0);
    cr_assert_eq(ask(c), 2);
    go_to_rest(c);
    cr_assert_eq(figures().resting, STRETCHES - 2, "those that were woken for nothing wait no longer than others");
    world_close(&w);
  }
}

static void passed_over(void *arg, size_t page) {}

// Some stretches are written in each round, so that each one's turn comes after 184: none is woken soon, and all together are woken often.
Test(rest, where_writes_go_everywhere_nothing_is_laid, .timeout = 60) {
  enum { MIB = 128, ALL = (MIB << 20) / VM_STRETCH, EVERY = 184, ROUNDS = 16 * EVERY };
  if (!back_end_works("uffd")) {
    cr_skip_test("no uffd here");
  }
  vm_region_config config = {.bytes = MIB << 20, .page_shift = 12, .back_end = "uffd", .settle = world_settle, .arg = &w};
  char why[256];
  cr_assert_eq(vm_region_open(&config, &w.region, why, sizeof why), VM_OK, "%s", why);
  cr_assert(vm_commit(w.region, 0, ALL * STRETCH));
  vm_open(w.region, 0, ALL * STRETCH);
  int c = vm_dirty_open(w.region);
  uint64_t laid = 0;
  for (size_t round = 0, turn = 0; round < ROUNDS; round++) {
    laid = round == ROUNDS / 2 ? figures().laid : laid;
    for (; turn < (round + 1) * ALL / EVERY; turn++) {
      *(long volatile *)vm_page_view(w.region, turn * 7 % ALL * STRETCH) = 1; // not one beside the other
    }
    vm_dirty(w.region, c, 0, ALL * STRETCH, passed_over, NULL);
    lay();
  }
  laid = figures().laid - laid;
  cr_assert_leq(laid, ROUNDS / 8, "%lu were laid, of which each woke again", laid);
  for (int i = 0; i < 20 * FIRST; i++) { // and what is left alone rests again
    vm_dirty(w.region, c, 0, ALL * STRETCH, passed_over, NULL);
    lay();
  }
  cr_assert_eq(figures().resting, ALL);
  vm_region_close(w.region);
}

// ---- Mappings.

#ifdef VEIL_FULL_CHECKS
Test(rest, without_a_mapping_nothing_is_laid_and_a_whole_run_wakes, .timeout = 60) {
  if (!back_end_works("uffd")) {
    cr_skip_test("no uffd here");
  }
  int c = open_and_go_to_rest("uffd");
  os_fail_at(1);
  *view_word(&w, 4 * STRETCH + 1) = 1;
  os_fail_at(0);
  cr_assert_eq(figures().resting, 0);
  cr_assert_eq(figures().woken, STRETCHES);
  cr_assert_eq(ask(c), 1);
  for (int i = 0; i < 2 * FIRST; i++) {
    cr_assert_eq(ask(c), 0);
  }
  uint64_t laid = figures().laid;
  os_fail_at(1);
  cr_assert(vm_rest(w.region));
  os_fail_at(0);
  cr_assert_eq(figures().laid, laid + STRETCHES - 1, "the first failed");
  cr_assert_eq(figures().resting, STRETCHES - 1);
  for (size_t i = 0; i < STRETCHES; i++) {
    *view_word(&w, i * STRETCH) = 1;
  }
  cr_assert_eq(ask(c), STRETCHES);
  world_close(&w);
}
#endif

Test(rest, a_stretch_wakes_when_the_process_has_no_mapping_left, .timeout = 60) {
  enum { MOST = 1 << 18 };
  if (!back_end_works("uffd")) {
    cr_skip_test("no uffd here");
  }
  int c = open_and_go_to_rest("uffd");
  char *space = mmap(NULL, (size_t)MOST * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  cr_assert_neq(space, MAP_FAILED);
  size_t i = 0;
  while (i < MOST && mprotect(space + i * 4096, 4096, PROT_READ) == 0) {
    i += 2;
  }
  while (i < MOST && mprotect(space + i * 4096, 4096, PROT_READ | PROT_WRITE) == 0) {
    i++;
  }
  bool full = i < MOST;
  *view_word(&w, 4 * STRETCH + 1) = 1;
  vm_rest_figures woken = figures();
  munmap(space, (size_t)MOST * 4096);
  cr_assert(!full || woken.woken == STRETCHES || woken.woken == 1, "%lu were woken", woken.woken);
  cr_assert_eq(ask(c), 1);
  cr_assert_eq(got.page[0], 4 * STRETCH + 1);
  world_close(&w);
}

// ---- Fork.

static size_t spared = SIZE_MAX;
static bool spares(void *arg, size_t page) { return page == spared; }

ON_TRAPPING_BACK_ENDS(rest, a_fork_goes_on_in_both) {
  int c = open_and_go_to_rest(back_end);
  *view_word(&w, 6 * STRETCH) = 6;
  cr_assert_eq(ask(c), 1);
  spared = 2 * STRETCH + 2;
  vm_quiesce(w.region);
  vm_freeze(w.region, spares, NULL);
  if (w.region->kernel_dirty) {
    *view_word(&w, spared) = 1; // what is spared can be written, where that is no trap
  }
  pid_t child = fork();
  if (child == 0) {
    vm_resume(w.region);
    if (!vm_fork_copy(w.region) || !vm_fork_open(w.region)) {
      _exit(1);
    }
    for (size_t i = 0; i < STRETCHES; i++) {
      *view_word(&w, i * STRETCH + 3) = 7;
    }
    size_t written = ask(c);
    _exit(figures().resting == 0 && *view_word(&w, 6 * STRETCH) == 6 && written >= STRETCHES ? 0 : 2);
  }
  int status;
  cr_assert_eq(waitpid(child, &status, 0), child);
  vm_thaw(w.region, spares, NULL);
  vm_resume(w.region);
  cr_assert_eq(status, 0);
  cr_assert(all_rest(STRETCHES - 2));
  cr_assert_eq(ask(c), w.region->kernel_dirty);
  cr_assert(got.n == 0 || got.page[0] == spared);
  *view_word(&w, 3) = 1;
  *view_word(&w, 2 * STRETCH + 3) = 1;
  *view_word(&w, 6 * STRETCH + 3) = 1;
  cr_assert_eq(*view_word(&w, 7 * STRETCH + 3), 0);
  cr_assert_eq(ask(c), 3);
  world_close(&w);
}

// ---- Other people's handlers, and bugs.

static sigjmp_buf back;
static int volatile called;

static void theirs(int signo) {
  called++;
  siglongjmp(back, 1);
}

static void fault_elsewhere(void) {
  char *volatile p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (sigsetjmp(back, 1) == 0) {
    *p = 1;
  }
}

ON_TRAPPING_BACK_ENDS(rest, a_programs_own_handler_of_before_gets_its_own_faults) {
  signal(SIGSEGV, theirs);
  int c = open_and_go_to_rest(back_end);
  fault_elsewhere();
  cr_assert_eq(called, 1);
  *view_word(&w, 3) = 1;
  cr_assert_eq(ask(c), 1);
  cr_assert_eq(called, 1);
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(rest, a_programs_own_handler_of_later_is_chained) {
  int c = open_and_go_to_rest(back_end);
  signal(SIGSEGV, theirs);
  vm_trap_restore();
  *view_word(&w, 3) = 1;
  cr_assert_eq(ask(c), 1);
  cr_assert_eq(called, 0);
  fault_elsewhere();
  cr_assert(called == 1);
  world_close(&w);
}

Test(rest, a_stretch_is_laid_only_under_a_handler_of_ours) {
  if (!back_end_works("uffd")) {
    cr_skip_test("no uffd here");
  }
  int c = open_and_go_to_rest("uffd");
  *view_word(&w, 3) = 1;
  cr_assert_eq(ask(c), 1);
  signal(SIGSEGV, theirs);
  for (int i = 0; i < 4 * FIRST; i++) {
    cr_assert_eq(ask(c), 0);
    lay();
  }
  cr_assert(all_rest(STRETCHES));
  *view_word(&w, 3) = 1;
  cr_assert_eq(ask(c), 1);
  cr_assert_eq(called, 0);
  world_close(&w);
}

ON_TRAPPING_BACK_ENDS(rest, a_write_to_what_has_no_memory_is_stray, .signal = SIGABRT) {
  open_and_go_to_rest(back_end);
  vm_release(w.region, 100, 1);
  *view_word(&w, 100) = 1;
}
