// SPDX-License-Identifier: MIT
// instant.c: instants of services: what `unsaved` and `now` see is the heap as it was when `at` was called, byte by byte. Many threads: instant_threads.c.

#include <criterion/criterion.h>
#include <stdatomic.h>
#include "tests/runtime/saver.h"
#include "veil/calls.h"

// ---- One thread.

ON_ALL_BACK_ENDS(instant, what_is_saved_is_the_heap_of_the_instant_though_it_changes) {
  INSTANT_START_OR_SKIP();
  static saver s;
  saver_open(&s);
  node *list = list_make(self, 20000);
  instant_take(&s, 0);
  list_scramble(list);
  list = list_make(self, 30000);
  veil_collect(self);
  veil_collect_minor(self);
  list_scramble(list);
  instant_save(&s);
  instant_check(&s, false);
  cr_assert(s.trapped != 0 || strcmp(back_end, "none") == 0);
  saver_close(&s);
  veil_verify(self);
  end();
}

ON_ALL_BACK_ENDS(instant, every_page_in_use_is_claimed_or_told_at_once) {
  INSTANT_START_OR_SKIP();
  static saver s;
  saver_open(&s);
  list_check(list_make(self, 20000));
  instant_take(&s, 0);
  size_t used = 0;
  for (size_t page = 0; page < pages.count; page++) {
    used += s.state[page] != UNUSED;
  }
  cr_assert_eq(s.figures.claimed + s.figures.at_once, used);
  cr_assert_eq(strcmp(back_end, "none") == 0, s.figures.claimed == 0);
  cr_assert_eq(strcmp(back_end, "none") == 0, veil_service_next(s.service, 0, VEIL_UNSAVED) == SIZE_MAX);
  instant_save(&s);
  instant_check(&s, false);
  saver_close(&s);
  end();
}

ON_ALL_BACK_ENDS(instant, a_service_that_closes_saves_what_is_left) {
  INSTANT_START_OR_SKIP();
  static saver s;
  saver_open(&s);
  node *list = list_make(self, 20000);
  instant_take(&s, 0);
  size_t used = s.figures.claimed + s.figures.at_once;
  veil_service_close(s.service);
  cr_assert_eq(s.saved, used);
  list_scramble(list);
  cr_assert_eq(s.saved, used);
  end();
}

ON_TRAPPING_BACK_ENDS(instant, what_an_earlier_instant_has_claimed_stays_claimed) {
  INSTANT_START_OR_SKIP();
  static saver s;
  saver_open(&s);
  node *list = list_make(self, 5000);
  instant_take(&s, 0);
  size_t claimed = s.figures.claimed;
  list->more = 1;
  cr_assert_eq(s.saved, 1);
  instant_take(&s, 0);
  cr_assert_eq(s.figures.claimed, claimed);
  cr_assert_eq(s.figures.at_once, 0);
  list_scramble(list);
  instant_save(&s);
  instant_check(&s, false);
  saver_close(&s);
  end();
}

// ---- Two services.

ON_ALL_BACK_ENDS(instant, two_services_each_get_their_own) {
  INSTANT_START_OR_SKIP();
  static saver one, two;
  saver_open(&one);
  saver_open(&two);
  node *list = list_make(self, 20000);
  instant_take(&one, 0);
  for (node *n = list; n != NULL && n->key < 10000; n = n->right) {
    n->more = 5; // these are free for the other
  }
  instant_take(&two, 0);
  cr_assert(two.at_once != 0);
  list_scramble(list);
  veil_collect(self);
  instant_save(&one);
  instant_save(&two);
  instant_check(&one, false);
  instant_check(&two, false);
  saver_close(&one);
  saver_close(&two);
  end();
}

static char *away;
static size_t away_page, away_calls;
static void on_absent(void *arg, size_t page) {
  (void)arg;
  EXPECT(page == away_page);
  memcpy(alias_of(page), away, pages.page_size);
  away_calls++;
}

ON_TRAPPING_BACK_ENDS(instant, contents_that_are_away_come_back_to_be_saved) {
  for (int how = 0; how < 3; how++) {
    INSTANT_START_OR_SKIP();
    static saver s;
    saver_open(&s);
    veil_service *other = veil_service_open(heap, "away", &(veil_service_callbacks){.absent = on_absent}, NULL);
    node *n = veil_new(self, node);
    n->key = 77;
    away = malloc(pages.page_size);
    away_page = page_of(n);
    away_calls = 0;
    cr_assert_eq(veil_service_claim(other, away_page, VEIL_ABSENT), VEIL_OK);
    memcpy(away, alias_of(away_page), pages.page_size);
    memset(alias_of(away_page), 0xee, pages.page_size);
    instant_take(&s, 0);
    cr_assert_eq(away_calls, 0);
    memcpy(truth_of(&s, away_page), away, pages.page_size);
    cr_assert_eq(veil_service_settle_some(s.service, away_page, 1, VEIL_UNSAVED), 0); // is passed over
    switch (how) {
    case 0:
      *(long volatile *)&n->key = 78;
      break;
    case 1:
      cr_assert_eq(*(long volatile *)&n->key, 77);
      break;
    default:
      cr_assert_eq(veil_service_settle_some(other, away_page, 1, VEIL_ABSENT), 1);
    }
    cr_assert_eq(away_calls, 1);
    instant_save(&s);
    instant_check(&s, false);
    cr_assert_eq(away_calls, 1);
    cr_assert_eq(n->key, how == 0 ? 78 : 77);
    veil_service_close(other);
    saver_close(&s);
    free(away);
    end();
  }
}

// ---- Memory that a system call uses.

ON_TRAPPING_BACK_ENDS(instant, touched_pages_are_told_at_once_and_stay_open) {
  INSTANT_START_OR_SKIP();
  static saver s;
  saver_open(&s);
  char *bytes = veil_new_bytes(self, 3000);
  int ends[2];
  cr_assert_eq(pipe(ends), 0);
  cr_assert_eq(veil_touch(self, bytes, 3000, true), VEIL_OK);
  instant_take(&s, 0);
  cr_assert(s.at_once >= 1 && s.state[page_of(bytes)] == SAVED);
  cr_assert_eq(write(ends[1], "hello", 5), 5);
  cr_assert_eq(read(ends[0], bytes, 5), 5, "the page was veiled under a system call");
  veil_untouch(self, bytes);
  instant_save(&s);
  instant_check(&s, false);
  saver_close(&s);
  end();
}

typedef struct reader {
  int from;
  size_t volatile got;
} reader;

static void *read_on(void *arg) {
  reader *r = arg;
  veil_thread *me = veil_attach(heap);
  char *bytes = veil_new_bytes(me, 20000);
  for (ssize_t n; (n = veil_read(me, r->from, bytes, 20000)) > 0; r->got += (size_t)n) {
    for (ssize_t i = 0; i < n; i++) {
      EXPECT(bytes[i] == (char)((r->got + (size_t)i) % 251));
    }
  }
  veil_detach(me);
  return NULL;
}

ON_ALL_BACK_ENDS(instant, blocking_calls_on_leaf_objects_go_on) {
  INSTANT_START_OR_SKIP();
  static saver s;
  saver_open(&s);
  int ends[2];
  cr_assert_eq(pipe(ends), 0);
  reader r = {.from = ends[0]};
  pthread_t thread = thread_start(read_on, &r);
  size_t sent = 0;
  for (int round = 0; round < 20; round++) {
    bool quiet = round % 2; // nothing is in the pipe, so the kernel writes no page that is copied at once
    veil_block_begin(self);
    while (quiet && r.got != sent) {
      usleep(100);
    }
    veil_block_end(self);
    instant_take(&s, 0);
    char some[5000];
    for (size_t i = 0; i < sizeof some; i++) {
      some[i] = (char)((sent + i) % 251);
    }
    veil_block_begin(self);
    EXPECT(write(ends[1], some, sizeof some) == sizeof some);
    sent += sizeof some;
    veil_block_end(self);
    instant_save(&s);
    if (quiet) {
      instant_check(&s, false);
    }
  }
  close(ends[1]);
  veil_block_begin(self);
  pthread_join(thread, NULL);
  veil_block_end(self);
  cr_assert_eq(r.got, sent);
  saver_close(&s);
  end();
}

// ---- Who asks.

static void *ask_from_outside(void *arg) {
  saver *s = arg;
  instant_take(s, 0);
  return NULL;
}

ON_ALL_BACK_ENDS(instant, a_thread_that_is_not_attached_and_one_between_brackets_may_ask) {
  INSTANT_START_OR_SKIP();
  static saver s;
  saver_open(&s);
  node *list = list_make(self, 20000);
  pthread_t thread = thread_start(ask_from_outside, &s);
  veil_join(self, thread, NULL);
  list_scramble(list);
  instant_save(&s);
  instant_check(&s, false);
  veil_block_begin(self);
  instant_take(&s, 0);
  veil_block_end(self);
  list->key = 0;
  veil_block_begin(self);
  instant_save(&s);
  veil_block_end(self);
  instant_check(&s, false);
  saver_close(&s);
  end();
}

static void ask_in_callback(void *arg, uint64_t cycle) {
  (void)cycle;
  veil_service_instant(((saver *)arg)->service, 0, NULL, NULL, NULL);
}

DIES(instant, one_that_is_asked_for_in_a_callback_aborts, "veil_service_instant: called in a callback") {
  heap_with_pages((veil_options){0});
  static saver s;
  s.service = veil_service_open(heap, "bad", &(veil_service_callbacks){.before_flip = ask_in_callback}, &s);
  veil_collect(self);
}

DIES(instant, one_that_is_asked_for_at_a_cycles_end_aborts, "veil_service_instant: called in a callback") {
  heap_with_pages((veil_options){0});
  static saver s;
  s.service = veil_service_open(heap, "bad", &(veil_service_callbacks){.cycle_ended = ask_in_callback}, &s);
  veil_collect(self);
  sleep_ms(10000);
}

Test(instant, unknown_flags_are_refused) {
  heap_with_pages((veil_options){0});
  static saver s;
  saver_open(&s);
  cr_assert_eq(veil_service_instant(s.service, 8, NULL, NULL, NULL), VEIL_INVALID);
  cr_assert(strstr(veil_error(), "veil_service_instant") != NULL, "%s", veil_error());
  cr_assert_eq(veil_service_instant(s.service, 0, NULL, NULL, NULL), VEIL_OK); // no calls, no figures
  memset(s.state, USED, pages.count);
  saver_close(&s);
  end();
}

typedef struct worker {
  veil_service *service;
  atomic_int stage; // 1: is at work; 2: has been
} worker;

static void work_slowly(void *arg) {
  worker *w = arg;
  atomic_store(&w->stage, 1);
  sleep_ms(50);
  atomic_store(&w->stage, 2);
}

static void *worker_main(void *arg) {
  veil_service_work(((worker *)arg)->service, work_slowly, arg);
  return NULL;
}

ON_ALL_BACK_ENDS(instant, one_waits_for_who_is_at_work_for_a_service) {
  INSTANT_START_OR_SKIP();
  static saver s;
  saver_open(&s);
  worker w = {.service = s.service};
  pthread_t thread = thread_start(worker_main, &w);
  while (atomic_load(&w.stage) == 0) {
    sleep_ms(1);
  }
  instant_take(&s, 0);
  cr_assert_eq(atomic_load(&w.stage), 2);
  pthread_join(thread, NULL);
  instant_save(&s);
  saver_close(&s);
  end();
}

DIES(instant, work_by_a_thread_that_is_attached_aborts, "veil_service_work: service saver: called by a thread that is attached, and runs") {
  heap_with_pages((veil_options){0});
  static saver s;
  saver_open(&s);
  worker w = {.service = s.service};
  worker_main(&w);
}

// ---- Dirty.

ON_ALL_BACK_ENDS(instant, an_increment_is_exactly_what_was_written) {
  INSTANT_START_OR_SKIP();
  bool traps = strcmp(back_end, "none") != 0;
  static saver s;
  saver_open(&s);
  char *bytes = veil_new_bytes(self, 400 * pages.page_size);
  instant_take(&s, VEIL_INSTANT_WATCH);
  size_t all = s.figures.claimed + s.figures.at_once;
  cr_assert_geq(all, 400);
  for (int save_first = 0; save_first < 2; save_first++) {
    if (save_first) {
      instant_save(&s);
    }
    for (size_t i = 7; i < 400; i += 31) {
      bytes[i * pages.page_size] = (char)(i + (size_t)save_first);
    }
    (void)*(char volatile *)&bytes[30 * pages.page_size]; // reading is no writing
    instant_save(&s);
    instant_check(&s, save_first);
    instant_take(&s, VEIL_INSTANT_DIRTY | VEIL_INSTANT_WATCH);
    cr_assert_eq(s.figures.claimed + s.figures.at_once, traps ? 13 : all, "%zu + %zu", s.figures.claimed, s.figures.at_once);
    instant_save(&s);
    instant_check(&s, true);
    for (size_t i = 7; i < 400; i += 31) {
      cr_assert_eq(s.state[page_of(bytes + i * pages.page_size)], SAVED);
    }
    instant_take(&s, VEIL_INSTANT_DIRTY | VEIL_INSTANT_WATCH);
    cr_assert_eq(s.figures.claimed, 0, "%zu", s.figures.claimed);
    cr_assert(!traps || s.figures.at_once == 0);
  }
  saver_close(&s);
  end();
}

static void page_note(void *arg, size_t page) { *(size_t *)arg = page; }

ON_TRAPPING_BACK_ENDS(instant, an_increment_that_does_not_watch_leaves_the_next_one_what_it_had) {
  INSTANT_START_OR_SKIP();
  static saver s;
  saver_open(&s);
  char *bytes = veil_new_bytes(self, 100 * pages.page_size);
  instant_take(&s, VEIL_INSTANT_WATCH);
  instant_save(&s);
  bytes[10 * pages.page_size] = 1;
  for (int i = 0; i < 3; i++) {
    instant_take(&s, VEIL_INSTANT_DIRTY);
    cr_assert_eq(s.figures.claimed, 1);
    instant_save(&s);
  }
  instant_take(&s, 0); // has nothing to do with Dirty
  instant_save(&s);
  bytes[20 * pages.page_size] = 1;
  instant_take(&s, VEIL_INSTANT_DIRTY | VEIL_INSTANT_WATCH);
  cr_assert_eq(s.figures.claimed, 2);
  instant_save(&s);
  instant_take(&s, VEIL_INSTANT_DIRTY | VEIL_INSTANT_WATCH);
  cr_assert_eq(s.figures.claimed, 0);
  bytes[30 * pages.page_size] = 1;
  size_t reported = SIZE_MAX;
  cr_assert_eq(veil_service_dirty(s.service, page_note, &reported), 1, "both calls ask the same");
  cr_assert_eq(reported, page_of(bytes + 30 * pages.page_size));
  saver_close(&s);
  end();
}

static char *dirty_told;
static size_t dirty_count;
static void dirty_note(void *arg, size_t page) {
  (void)arg;
  dirty_told[page] = 1;
  dirty_count++;
}

// As many as are laid by few calls, and as many as make all tables move; pages that the system may write, and others; another service hears of all that was written.
ON_TRAPPING_BACK_ENDS(instant, increments_of_hundreds_and_thousands_of_runs_are_exact) {
  enum { LEAVES = 12000, NODES = 60000 };
  INSTANT_START_OR_SKIP(.limit = 512 * MIB);
  static saver s;
  saver_open(&s);
  veil_service *other = veil_service_open(heap, "other", &(veil_service_callbacks){0}, NULL);
  dirty_told = calloc(pages.count, 1);
  char *bytes = veil_new_bytes(self, LEAVES * pages.page_size);
  node *list = list_make(self, NODES);
  instant_take(&s, VEIL_INSTANT_WATCH);
  instant_save(&s);
  veil_service_dirty(other, dirty_note, NULL);
  static const size_t steps[] = {17, 2, 23, 400, 3, 40};
  for (size_t round = 0; round < sizeof steps / sizeof *steps; round++) {
    size_t step = steps[round], written = 0;
    for (size_t i = round; i < LEAVES; i += step) {
      bytes[i * pages.page_size + round] ^= 1;
      written++;
    }
    for (node *n = list; n != NULL; n = n->right) {
      if (n->key % (50 * (long)step) == 0) {
        n->more = (long)round;
      }
    }
    instant_take(&s, VEIL_INSTANT_DIRTY | VEIL_INSTANT_WATCH);
    cr_assert_geq(s.figures.claimed, written);
    cr_assert_leq(s.figures.claimed, written + NODES / (50 * step) + 2);
    memset(dirty_told, 0, pages.count);
    for (size_t i = round; i < LEAVES; i += step) { // while they are claimed
      bytes[i * pages.page_size + 99] ^= (char)(i % (2 * step) == round);
      (void)*(char volatile *)&bytes[i * pages.page_size];
    }
    list_check(list);
    instant_save(&s);
    instant_check(&s, true);
    veil_service_dirty(other, dirty_note, NULL);
    for (size_t i = round; i < LEAVES; i += step) {
      cr_assert(dirty_told[page_of(bytes + i * pages.page_size)], "page %zu of round %zu", i, round);
    }
    instant_take(&s, VEIL_INSTANT_DIRTY | VEIL_INSTANT_WATCH); // what was written meanwhile
    instant_save(&s);
    instant_check(&s, true);
    instant_take(&s, VEIL_INSTANT_DIRTY | VEIL_INSTANT_WATCH);
    cr_assert_eq(s.figures.claimed + s.figures.at_once, 0, "%zu", s.figures.claimed);
  }
  dirty_count = 0;
  veil_service_dirty(other, dirty_note, NULL);
  cr_assert_leq(dirty_count, LEAVES / 40 + 1000);
  free(dirty_told);
  veil_service_close(other);
  saver_close(&s);
  end();
}
