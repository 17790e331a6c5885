// SPDX-License-Identifier: MIT
// Sealed pages: what is to be saved can be read meanwhile, and is saved before it is written.

#include "vm_test.h"
#include "vm/backend.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHUNK = VM_HUGE / 4096, PAGES = WORLD_BYTES / 4096, USED = PAGES - CHUNK / 2 };

static struct world w;
static bool busy;

// The mappings of the view.
static int mappings(void) {
  FILE *file = fopen("/proc/self/maps", "r");
  char line[512];
  int n = 0;
  while (fgets(line, sizeof line, file) != NULL) {
    unsigned long from, to;
    n += sscanf(line, "%lx-%lx", &from, &to) == 2 && from < (uintptr_t)w.region->limit && to > (uintptr_t)w.region->base;
  }
  fclose(file);
  return n;
}

static void world_fill(const char *back_end) {
  world_open(&w, back_end);
  cr_assert(vm_commit(w.region, 0, USED));
  vm_open(w.region, 0, USED);
  for (size_t page = 0; page < USED; page++) {
    *view_word(&w, page) = (long)page + 1;
  }
}

// Lays UNSAVED on [0, claimed), and seals all but the chunk of `spared`.
static bool seal_all(size_t claimed, size_t spared, unsigned known) {
  vm_move *move = vm_move_open(w.region, &busy);
  cr_assert_not_null(move);
  bool sealed = vm_move_seal(move);
  if (spared < PAGES) {
    vm_move_spare(move, spared);
  }
  vm_move_plan(move);
  for (size_t page = 0; page < claimed; page++) {
    if (vm_moves(move, page)) {
      vm_move_lay(move, page, 1, VM_UNSAVED);
    }
  }
  vm_move_run(move, claimed, known);
  while (vm_move_tell(move)) {
  }
  vm_move_close(move);
  return sealed;
}

static void unseal_all(void) {
  vm_unsealing at = {0};
  while (vm_unseal_some(w.region, &at)) {
  }
  cr_assert_not(vm_is_sealed(w.region));
  for (size_t page = 0; page < PAGES; page++) {
    cr_assert_eq(at32_load(&w.region->word[page]) & VM_SEALED, 0, "page %zu", page);
  }
  cr_assert_eq(mappings(), 1);
}

static size_t told;
static bool was_told[PAGES];

static void note(void *arg, size_t page) {
  was_told[page] = true;
  told++;
}

static size_t ask(int consumer) {
  memset(was_told, 0, sizeof was_told);
  told = 0;
  return vm_dirty(w.region, consumer, 0, PAGES, note, NULL);
}

#define SEAL_TEST(NAME)                                                                                                \
  static void NAME(void);                                                                                              \
  Test(seal, NAME, .timeout = 120) {                                                                                   \
    if (!back_end_works("uffd")) {                                                                                     \
      cr_skip_test("the back end does not work here");                                                                 \
    }                                                                                                                  \
    NAME();                                                                                                            \
  }                                                                                                                    \
  static void NAME(void)

SEAL_TEST(reads_save_nothing_and_do_not_trap) {
  world_fill("uffd");
  cr_assert(seal_all(USED, PAGES, 0));
  for (size_t page = 0; page < USED; page++) {
    cr_assert_eq(*view_word(&w, page), (long)page + 1);
  }
  cr_assert_eq(world_settled(&w, VM_UNSAVED), 0);
  cr_assert_eq(world_traps(&w), 0);
  cr_assert_eq(mappings(), 1);
  unseal_all();
  for (size_t page = 0; page < USED; page += 7) { // still claimed, and now a read has to save it
    cr_assert_not(vm_is_open(w.region, page));
    cr_assert_eq(*view_word(&w, page), (long)page + 1);
  }
  cr_assert_eq(world_settled(&w, VM_UNSAVED), (USED + 6) / 7);
  world_close(&w);
}

SEAL_TEST(a_write_saves_first_whether_the_page_was_read_or_not) {
  world_fill("uffd");
  cr_assert(seal_all(USED, PAGES, 0));
  size_t writes = 0;
  for (size_t page = 3; page < USED; page += 37, writes++) {
    if (page % 2 == 0) {
      cr_assert_eq(*view_word(&w, page), (long)page + 1);
    }
    cr_assert(vm_claims(w.region, page) & VM_UNSAVED);
    *view_word(&w, page) = -1;
    cr_assert_not(vm_claims(w.region, page) & VM_UNSAVED);
    *view_word(&w, page) = -2;
    cr_assert_eq(*view_word(&w, page), -2);
  }
  cr_assert_eq(world_settled(&w, VM_UNSAVED), writes);
  unseal_all();
  world_close(&w);
}

static void save_in_order(size_t from, size_t to) {
  size_t run = 0; // [at - run, at) is held
  for (size_t at = from; at <= to; at++) {
    if (at < to && vm_take(w.region, at, VM_UNSAVED)) {
      vm_settled(w.region, at, VM_UNSAVED);
      run++;
    } else if (run != 0) {
      vm_give(w.region, at - run, run);
      run = 0;
    }
  }
}

SEAL_TEST(who_saves_in_order_unseals_behind_him) {
  world_fill("uffd");
  int consumer = vm_dirty_open(w.region);
  ask(consumer);
  cr_assert(seal_all(USED, PAGES, 1u << consumer));
  size_t writes = 0;
  for (size_t page = 0; page < USED; page += 40, writes++) {
    *view_word(&w, page) = -1;
  }
  for (size_t page = 0; page < USED; page += CHUNK) {
    cr_assert_eq(mappings(), page == 0 ? 1 : 2);
    save_in_order(page, page + CHUNK < USED ? page + CHUNK : USED);
    cr_assert(vm_is_open(w.region, page + 1));
    cr_assert(vm_unseal(w.region, page));
    cr_assert(vm_unseal(w.region, page), "it is unsealed");
    cr_assert_eq(at32_load(&w.region->word[page]) & VM_SEALED, 0);
  }
  cr_assert_eq(mappings(), 1);
  cr_assert_eq(ask(consumer), writes);
  cr_assert_eq(ask(consumer), 0);
  uint64_t traps = world_traps(&w);
  for (size_t page = 0; page < USED; page++) {
    *view_word(&w, page) = 5;
  }
  cr_assert_eq(world_traps(&w), traps);
  cr_assert_eq(ask(consumer), USED);
  unseal_all();
  world_close(&w);
}

SEAL_TEST(a_page_that_is_saved_traps_once_more_at_its_first_write) {
  world_fill("uffd");
  cr_assert(seal_all(USED, PAGES, 0));
  save_in_order(0, 100);
  uint64_t traps = world_traps(&w);
  for (size_t page = 0; page < 100; page++) {
    cr_assert_eq(*view_word(&w, page), (long)page + 1);
  }
  cr_assert_eq(world_traps(&w), traps);
  for (int round = 0; round < 2; round++) {
    for (size_t page = 0; page < 100; page += 2) {
      *view_word(&w, page) = -1;
    }
    cr_assert_eq(world_traps(&w), traps + 50);
  }
  cr_assert_eq(world_settled(&w, VM_UNSAVED), 0);
  unseal_all();
  world_close(&w);
}

static void save_beside(struct world *world, size_t page, unsigned claim, bool write) {
  (void)write;
  for (size_t i = page - page % 16; claim == VM_UNSAVED && i < page - page % 16 + 16; i++) {
    if (i != page && vm_take(world->region, i, VM_UNSAVED)) {
      vm_settled(world->region, i, VM_UNSAVED);
      vm_give(world->region, i, 1);
    }
  }
}

SEAL_TEST(what_the_owner_saves_beside_is_opened_as_well) {
  world_fill("uffd");
  int consumer = vm_dirty_open(w.region);
  ask(consumer);
  cr_assert(seal_all(USED, PAGES, 1u << consumer));
  w.also = save_beside;
  for (size_t page = 0; page < 160; page++) {
    *view_word(&w, page) = -1;
  }
  cr_assert_eq(world_traps(&w), 10);
  cr_assert_eq(ask(consumer), 160);
  unseal_all();
  world_close(&w);
}

SEAL_TEST(writes_to_what_was_sealed_are_told) {
  world_fill("uffd");
  int consumer = vm_dirty_open(w.region);
  ask(consumer);
  cr_assert(seal_all(USED, PAGES, 1u << consumer));
  for (size_t page = 0; page < USED; page++) {
    cr_assert_eq(*view_word(&w, page), (long)page + 1);
  }
  cr_assert_eq(ask(consumer), 0);
  size_t writes = (USED + 9) / 10;
  for (size_t page = 0; page < USED; page += 10) {
    *view_word(&w, page) = -1;
  }
  for (int i = 0; i < 3; i++) { // nobody hears of a second write
    cr_assert_eq(ask(consumer), writes);
    cr_assert(was_told[0] && was_told[10]);
  }
  *view_word(&w, 11) = -2;
  cr_assert_eq(ask(consumer), writes + 1);
  vm_release(w.region, 20, 10);
  cr_assert_eq(ask(consumer), writes);
  cr_assert_eq(vm_prot(w.region, 10, 1, VM_UNSCANNED, 0), 1); // what was written is told by who takes the access away
  cr_assert_eq(ask(consumer), writes);
  cr_assert_eq(ask(consumer), writes - 1);
  cr_assert_eq(*view_word(&w, 10), -1);
  unseal_all();
  cr_assert_eq(ask(consumer), writes - 1);
  cr_assert_eq(ask(consumer), 0);
  *view_word(&w, 10) = -3;
  *view_word(&w, 12) = -3;
  cr_assert_eq(ask(consumer), 2);
  cr_assert(was_told[10] && was_told[12]);
  world_close(&w);
}

SEAL_TEST(other_claims_forbid_reading_all_the_same) {
  world_fill("uffd");
  cr_assert(seal_all(100, PAGES, 0));
  (void)*view_word(&w, 0);
  cr_assert(vm_is_open(w.region, 5));
  cr_assert_eq(vm_prot(w.region, 5, 1, VM_UNSCANNED, 0), 1);
  cr_assert_not(vm_is_open(w.region, 5));
  cr_assert_eq(*view_word(&w, 5), 6);
  cr_assert_eq(world_settled(&w, VM_UNSCANNED), 1);
  cr_assert_eq(world_settled(&w, VM_UNSAVED), 1, "a scan writes");
  cr_assert_eq(vm_prot(w.region, 6, 1, VM_ABSENT, 0), 1);
  cr_assert_eq(*view_word(&w, 6), 7);
  cr_assert_eq(world_settled(&w, VM_ABSENT), 1);
  cr_assert_eq(world_settled(&w, VM_UNSAVED), 1, "to bring contents back is no write");
  *view_word(&w, 6) = -1;
  cr_assert_eq(world_settled(&w, VM_UNSAVED), 2);
  cr_assert_eq(vm_prot(w.region, 200, 1, VM_UNSAVED, 0), 1); // sealed, and not claimed so far
  cr_assert_eq(*view_word(&w, 200), 201);
  cr_assert_eq(world_settled(&w, VM_UNSAVED), 2);
  *view_word(&w, 200) = -1;
  cr_assert_eq(world_settled(&w, VM_UNSAVED), 3);
  unseal_all();
  world_close(&w);
}

SEAL_TEST(what_is_claimed_again_can_be_read_again) {
  world_fill("uffd");
  cr_assert(seal_all(100, PAGES, 0));
  *view_word(&w, 5) = -1;
  cr_assert_eq(vm_prot(w.region, 5, 1, VM_UNSAVED, 0), 1);
  cr_assert_eq(*view_word(&w, 5), -1);
  cr_assert_eq(world_settled(&w, VM_UNSAVED), 1);
  *view_word(&w, 5) = -2;
  cr_assert_eq(world_settled(&w, VM_UNSAVED), 2);
  unseal_all();
  world_close(&w);
}

SEAL_TEST(memory_comes_and_goes) {
  world_fill("uffd");
  cr_assert(seal_all(100, PAGES, 0));
  vm_release(w.region, 200, 100);
  cr_assert(vm_commit(w.region, 200, 50));
  cr_assert(vm_commit_for_view(w.region, 250, 50));
  vm_open(w.region, 200, 20);
  uint64_t traps = world_traps(&w);
  for (size_t page = 200; page < 300; page++) {
    cr_assert_eq(*view_word(&w, page), 0);
    *view_word(&w, page) = 1;
  }
  cr_assert_leq(world_traps(&w), traps + 2 * 80);
  cr_assert(vm_commit(w.region, USED, PAGES - USED)); // in a chunk that had less of it when it was sealed
  vm_open(w.region, USED, PAGES - USED);
  traps = world_traps(&w);
  for (size_t page = USED; page < PAGES; page++) {
    *view_word(&w, page) = 1;
  }
  cr_assert_eq(world_traps(&w), traps);
  unseal_all();
  world_close(&w);
}

SEAL_TEST(a_touch_for_the_system_opens) {
  world_fill("uffd");
  cr_assert(seal_all(USED, PAGES, 0));
  int ends[2];
  cr_assert_eq(pipe(ends), 0);
  cr_assert_eq(write(ends[1], "abcd", 4), 4);
  (void)*view_word(&w, 7);
  errno = 0;
  cr_assert(read(ends[0], vm_page_view(w.region, 7), 1) == -1 && errno == EFAULT);
  vm_settle(w.region, 7, VM_UNSAVED | VM_CLEAN, true, true);
  cr_assert_eq(read(ends[0], vm_page_view(w.region, 7), 1), 1);
  vm_settle(w.region, 8, VM_UNSAVED, true, false); // settled and not opened: it stays sealed, and open for reading
  vm_settle(w.region, 8, VM_UNSAVED | VM_CLEAN, true, true);
  cr_assert_eq(read(ends[0], vm_page_view(w.region, 8), 1), 1);
  vm_settle(w.region, 9, VM_UNSAVED, true, false);
  vm_open(w.region, 9, 1);
  cr_assert_eq(read(ends[0], vm_page_view(w.region, 9), 1), 1);
  close(ends[0]);
  close(ends[1]);
  unseal_all();
  world_close(&w);
}

SEAL_TEST(a_chunk_that_is_spared_is_not_sealed) {
  world_fill("uffd");
  cr_assert(seal_all(USED, 3 * CHUNK, 0));
  uint64_t traps = world_traps(&w);
  for (size_t page = 3 * CHUNK; page < 4 * CHUNK; page++) {
    *view_word(&w, page) = 1;
  }
  cr_assert_eq(world_traps(&w), traps);
  cr_assert_eq(mappings(), 3);
  unseal_all();
  world_close(&w);
}

SEAL_TEST(one_sealing_after_the_other) {
  world_fill("uffd");
  int consumer = vm_dirty_open(w.region);
  ask(consumer);
  for (int round = 0; round < 5; round++) {
    cr_assert(seal_all(USED, PAGES, 0));
    size_t written = 0;
    for (size_t page = (size_t)round; page < USED; page += 50, written++) {
      *view_word(&w, page) = -1;
    }
    if (round % 2) { // what is sealed is moved as it is
      (void)seal_all(USED, PAGES, 0);
      cr_assert_geq(ask(consumer), written);
      for (size_t page = (size_t)round; page < USED; page += 50) {
        cr_assert(was_told[page]);
        cr_assert_eq(*view_word(&w, page), -1);
      }
    }
    unseal_all();
  }
  world_close(&w);
}

// Some chunks are sealed still when all is moved again, others are not any more.
static void move_some_sealed(unsigned fail_at) {
  world_fill("uffd");
  int consumer = vm_dirty_open(w.region);
  ask(consumer);
  cr_assert(seal_all(USED, PAGES, 1u << consumer));
  size_t writes = 0;
  for (size_t page = 3; page < USED; page += 31, writes++) {
    *view_word(&w, page) = -1;
  }
  cr_assert(vm_unseal(w.region, CHUNK));
  for (size_t page = CHUNK; page < 2 * CHUNK; page++) { // an odd number apart from those before
    writes += *view_word(&w, page) != -1;
    *view_word(&w, page) = -1;
  }
  vm_move *move = vm_move_open(w.region, &busy);
  cr_assert_not_null(move);
  cr_assert(vm_move_seal(move));
  vm_move_plan(move);
  os_fail_at(fail_at);
  for (size_t page = 0; page < USED; page++) {
    vm_move_lay(move, page, 1, VM_UNSAVED);
  }
  vm_move_run(move, USED, 0);
  os_fail_at(0);
  while (vm_move_tell(move)) {
  }
  vm_move_close(move);
  cr_assert_eq(ask(consumer), writes);
  for (size_t page = 0; page < USED; page++) {
    bool written = page % 31 == 3 || (page >= CHUNK && page < 2 * CHUNK);
    cr_assert_eq(was_told[page], written, "page %zu", page);
    cr_assert_eq(*view_word(&w, page), written ? -1 : (long)page + 1);
  }
  unseal_all();
  world_close(&w);
}

SEAL_TEST(what_stays_sealed_tells_of_its_writes) {
  move_some_sealed(0);
#ifdef VEIL_FULL_CHECKS
  for (unsigned n = 1; n < 12; n++) {
    move_some_sealed(n);
  }
#endif
}

SEAL_TEST(a_child_of_fork_has_no_seals) {
  world_fill("uffd");
  cr_assert(seal_all(USED, PAGES, 0));
  (void)*view_word(&w, 7);
  *view_word(&w, 100) = -1;
  vm_freeze(w.region, NULL, NULL);
  pid_t child = fork();
  if (child == 0) {
    bool good = vm_fork_copy(w.region) && vm_fork_open(w.region) && !vm_is_sealed(w.region);
    for (size_t page = 0; page < USED; page++) {
      good &= *view_word(&w, page) == (page == 100 ? -1 : (long)page + 1);
      *view_word(&w, page) = -3;
    }
    _exit(good && world_settled(&w, VM_UNSAVED) == USED ? 0 : 1);
  }
  vm_thaw(w.region, NULL, NULL);
  int status;
  cr_assert_eq(waitpid(child, &status, 0), child);
  cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%x", status);
  cr_assert_eq(*view_word(&w, 7), 8);
  *view_word(&w, 7) = -1;
  *view_word(&w, 100) = -2;
  cr_assert_eq(world_settled(&w, VM_UNSAVED), 2);
  unseal_all();
  world_close(&w);
}

enum { WRITERS = 3 };
static AO_t saved[PAGES]; // 1 + what was saved
static uint32_t volatile ended;

static void save(struct world *world, size_t page, unsigned claim, bool write) {
  (void)write;
  if (claim == VM_UNSAVED) {
    cr_assert(at_cas_full(&saved[page], 0, (uint64_t)*alias_word(world, page) + 1), "page %zu is saved twice", page);
  }
}

static void *write_on(void *arg) {
  uint64_t state = (uint64_t)(uintptr_t)arg * 0x9e3779b97f4a7c15u + 1;
  while (!at32_load_acquire(&ended)) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    size_t page = state % USED;
    if (state >> 60 == 0) {
      *view_word(&w, page) = -(long)(state >> 8 & 0xffff) - 1;
    } else {
      long seen = *view_word(&w, page);
      cr_assert(seen == (long)page + 1 || seen < 0, "page %zu: %ld", page, seen);
    }
  }
  return NULL;
}

// vm.sealed, with many threads: each page is saved once, as it was at the instant, whoever comes first; and all is told to who asks.
SEAL_TEST(threads_write_while_one_saves_and_unseals) {
  for (int round = 0; round < 10; round++) {
    memset((void *)(uintptr_t)saved, 0, sizeof saved);
    world_fill("uffd");
    int consumer = vm_dirty_open(w.region);
    ask(consumer);
    w.also = save;
    cr_assert(seal_all(USED, PAGES, 1u << consumer)); // nobody else runs yet
    pthread_t writer[WRITERS];
    at32_store(&ended, 0);
    for (long i = 0; i < WRITERS; i++) {
      cr_assert_eq(pthread_create(&writer[i], NULL, write_on, (void *)(uintptr_t)(i + 10 * round)), 0);
    }
    for (size_t page = 0; page < USED; page += CHUNK) {
      for (size_t i = page; i < page + CHUNK && i < USED; i++) {
        vm_settle(w.region, i, VM_UNSAVED, false, i % 3 == 0);
      }
      if (round % 2) {
        (void)vm_unseal(w.region, page);
      }
    }
    bool all_told[PAGES] = {false};
    for (int i = 0; i < 3; i++) {
      ask(consumer);
      for (size_t page = 0; page < USED; page++) {
        all_told[page] |= was_told[page];
      }
    }
    unseal_all();
    at32_store_release(&ended, 1);
    for (size_t i = 0; i < WRITERS; i++) {
      pthread_join(writer[i], NULL);
    }
    ask(consumer);
    for (size_t page = 0; page < USED; page++) {
      cr_assert_eq(at_load(&saved[page]), page + 2, "page %zu", page);
      cr_assert(*view_word(&w, page) == (long)page + 1 || all_told[page] || was_told[page], "page %zu was written, and nobody told", page);
    }
    world_close(&w);
  }
}

SEAL_TEST(nothing_rests_meanwhile) {
  world_fill("uffd");
  int consumer = vm_dirty_open(w.region);
  at32_store(&w.region->rest->eager, 1);
  for (int i = 0; i < 5; i++) {
    ask(consumer);
    while (vm_rest(w.region)) {
    }
  }
  vm_rest_figures figures;
  vm_rest_figures_get(w.region, &figures);
  cr_assert_gt(figures.resting, 0);
  cr_assert(seal_all(USED, PAGES, 1u << consumer));
  for (int i = 0; i < 5; i++) {
    ask(consumer);
    cr_assert_not(vm_rest(w.region));
  }
  vm_rest_figures_get(w.region, &figures);
  cr_assert_eq(figures.resting, 0);
  unseal_all();
  for (int i = 0; i < 5; i++) {
    ask(consumer);
    while (vm_rest(w.region)) {
    }
  }
  vm_rest_figures_get(w.region, &figures);
  cr_assert_gt(figures.resting, 0);
  world_close(&w);
}

#ifdef VEIL_FULL_CHECKS
// Each call of the system's fails in turn: what is to be saved is saved first.
SEAL_TEST(the_nth_call_fails) {
  for (unsigned n = 1; n < 120; n++) {
    world_fill("uffd");
    os_fail_at(n);
    vm_move *move = vm_move_open(w.region, &busy);
    if (move != NULL) {
      vm_move_seal(move);
      vm_move_plan(move);
      vm_move_lay(move, 0, 200, VM_UNSAVED);
      vm_move_run(move, 200, 0);
      while (vm_move_tell(move)) {
      }
      vm_move_close(move);
      (void)*view_word(&w, 20);
      for (size_t page = 0; page < 200; page += 9) {
        *view_word(&w, page) = -1;
        cr_assert_not(vm_claims(w.region, page) & VM_UNSAVED);
      }
      for (int i = 0; i < 2; i++) { // a chunk for which a call has failed stays sealed
        vm_unsealing at = {0};
        while (vm_unseal_some(w.region, &at)) {
        }
      }
    }
    os_fail_at(0);
    cr_assert_leq(world_settled(&w, VM_UNSAVED), 200 / 9 + 2);
    cr_assert_eq(mappings(), 1);
    world_close(&w);
  }
}
#endif

Test(seal, other_back_ends_have_none, .timeout = 60) {
  if (!back_end_works("uffd-kernel")) {
    cr_skip_test("the back end does not work here");
  }
  world_fill("uffd-kernel");
  cr_assert_not(seal_all(100, PAGES, 0));
  (void)*view_word(&w, 0);
  cr_assert_eq(world_settled(&w, VM_UNSAVED), 1);
  world_close(&w);
}
