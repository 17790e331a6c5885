// SPDX-License-Identifier: MIT
// events.c: every event is told, with the right figures, in the right thread; begin and end are balanced; tables come and go while things happen.

#include <criterion/criterion.h>
#include "tests/runtime/world.h"
#include "veil/events.h"
#include "veil/hooks.h"

// ---- A listener that counts everything, and checks that begin and end nest in each thread.

enum kind { STOP, FLIP, TRAP, ASSIST, STALL, BLOCKED };
enum { DEPTH = 16 };

static __thread enum kind open_kind[DEPTH];
static __thread int open_depth;

typedef struct seen {
  uint64_t opened, closed, attached, detached;
  uint64_t stops, stopped, flips, scanning, sweeping, ended, traps, assists, stalls, blocked;
  uint64_t background, assisted, kept, settled, committed, returned, limit, oom;
  uint64_t last_held, pins, roots, words;
  uint64_t flip_ns, trap_ns, trap_ns_max, stall_ns;
  uint64_t wrong; // figures that cannot be
  size_t page;    // of the last trap
  unsigned claim;
  const char *service;
  veil_heap *heap;
  veil_sizes sizes;
} seen;

#define ADD(FIELD, N) __atomic_fetch_add(&((seen *)arg)->FIELD, (N), __ATOMIC_RELAXED)
#define WRONG_IF(CONDITION) ADD(wrong, (uint64_t)((CONDITION) != 0))

static void begins(enum kind kind) {
  EXPECT(open_depth < DEPTH);
  open_kind[open_depth++] = kind;
}
static void ends(enum kind kind) { EXPECT(open_depth > 0 && open_kind[--open_depth] == kind); }

static void on_opened(void *arg, veil_heap *heap) {
  ((seen *)arg)->heap = heap;
  free(malloc(100)); // an ordinary call
  ADD(opened, 1);
}
static void on_closed(void *arg, veil_heap *heap) {
  WRONG_IF(stats_of(heap).major_cycles != ((seen *)arg)->flips);
  ADD(closed, 1);
}
static void on_attached(void *arg, veil_thread *self) {
  free(malloc(100));
  WRONG_IF(stats_of(veil_thread_heap(self)).threads == 0);
  ADD(attached, 1);
}
static void on_detached(void *arg, veil_thread *self) {
  free(malloc(100));
  WRONG_IF(stats_of(veil_thread_heap(self)).threads == 0);
  ADD(detached, 1);
}
static void on_stop_begin(void *arg) { begins(STOP); }
static void on_stop_end(void *arg, uint64_t ns) {
  ends(STOP);
  WRONG_IF(ns == 0);
  ADD(stops, 1);
}
static void on_stopped(void *arg, uint64_t ns) {
  WRONG_IF(ns == 0);
  ADD(stopped, 1);
}
static void on_flip_begin(void *arg, uint64_t cycle) {
  begins(FLIP);
  WRONG_IF(cycle != ((seen *)arg)->flips + 1);
}
static void on_flip_end(void *arg, uint64_t cycle, uint64_t pins, uint64_t roots, uint64_t words, uint64_t ns) {
  ends(FLIP);
  seen *s = arg;
  WRONG_IF(cycle != ADD(flips, 1) + 1);
  s->pins = pins, s->roots = roots, s->words = words;
  ADD(flip_ns, ns);
}
static void on_scanning(void *arg, uint64_t cycle) { WRONG_IF(cycle != ADD(scanning, 1) + 1); }
static void on_sweeping(void *arg, uint64_t cycle, uint64_t ns) {
  WRONG_IF(cycle != ADD(sweeping, 1) + 1 || ns == 0 || ns > 3600000000000ull);
}
static void on_ended(void *arg, uint64_t cycle, const veil_sizes *sizes) {
  WRONG_IF(cycle != ADD(ended, 1) + 1);
  ((seen *)arg)->sizes = *sizes;
}
static void on_trap_begin(void *arg, size_t page) {
  begins(TRAP);
  ((seen *)arg)->page = page;
}
static void on_trap_end(void *arg, size_t page, uint64_t ns) {
  ends(TRAP);
  seen *s = arg;
  WRONG_IF(ns == 0);
  s->trap_ns_max = ns > s->trap_ns_max ? ns : s->trap_ns_max; // one mutator
  ADD(traps, 1);
}
static void on_scanned(void *arg, size_t page, size_t count, size_t scanned, veil_scan by, uint64_t ns) {
  WRONG_IF(scanned == 0 || scanned > count || ns == 0);
  if (by == VEIL_SCAN_BACKGROUND) {
    ADD(background, scanned);
  } else {
    ADD(assisted, scanned);
  }
}
static void on_assist_begin(void *arg) { begins(ASSIST); }
static void on_assist_end(void *arg, bool found, uint64_t ns) {
  ends(ASSIST);
  ADD(assists, 1);
}
static void on_kept(void *arg, uint64_t cycle, size_t page) {
  WRONG_IF(cycle == 0);
  ADD(kept, 1);
}
static void on_settled(void *arg, const char *service, size_t page, unsigned claim) {
  seen *s = arg;
  s->service = service;
  s->page = page;
  s->claim = claim;
  ADD(settled, 1);
}
static void on_committed(void *arg, size_t bytes, uint64_t held) { ADD(committed, bytes); }
static void on_returned(void *arg, size_t bytes, uint64_t held) { ADD(returned, bytes); }
static void on_limit(void *arg, size_t bytes) { ADD(limit, 1); }
static void on_oom(void *arg, size_t bytes) { ADD(oom, 1); }
static void on_stall_begin(void *arg) { begins(STALL); }
static void on_stall_end(void *arg, uint64_t ns) {
  ends(STALL);
  ADD(stalls, 1);
}
static void on_blocked_begin(void *arg) { begins(BLOCKED); }
static void on_blocked_end(void *arg, uint64_t ns) {
  ends(BLOCKED);
  ADD(blocked, 1);
}

static const veil_events all = {
    .heap_opened = on_opened,
    .heap_closed = on_closed,
    .thread_attached = on_attached,
    .thread_detached = on_detached,
    .stop_begin = on_stop_begin,
    .stop_end = on_stop_end,
    .thread_stopped = on_stopped,
    .flip_begin = on_flip_begin,
    .flip_end = on_flip_end,
    .cycle_scanning = on_scanning,
    .cycle_sweeping = on_sweeping,
    .cycle_ended = on_ended,
    .trap_begin = on_trap_begin,
    .trap_end = on_trap_end,
    .pages_scanned = on_scanned,
    .assist_begin = on_assist_begin,
    .assist_end = on_assist_end,
    .block_kept = on_kept,
    .claim_settled = on_settled,
    .memory_committed = on_committed,
    .memory_returned = on_returned,
    .limit_reached = on_limit,
    .out_of_memory = on_oom,
    .stall_begin = on_stall_begin,
    .stall_end = on_stall_end,
    .blocked_begin = on_blocked_begin,
    .blocked_end = on_blocked_end,
};

static seen told;
static node *root;
static int volatile over;

static void *waits_to_be_stopped(void *unused) {
  veil_thread *mine = veil_attach(heap);
  EXPECT(mine != NULL);
  while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
    veil_poll(mine);
  }
  veil_detach(mine);
  EXPECT(open_depth == 0);
  return NULL;
}

// Scanners and the keeper commit and give back memory when they like: they count, then they tell.
static bool memory_is_quiet(veil_stats *s) {
  *s = stats_of(heap);
  return __atomic_load_n(&told.committed, __ATOMIC_ACQUIRE) == s->committed_bytes && __atomic_load_n(&told.returned, __ATOMIC_ACQUIRE) == s->returned_bytes &&
         s->committed_bytes - s->returned_bytes == s->held_bytes;
}

static void figures_check(void) {
  veil_stats s;
  for (int i = 0; !memory_is_quiet(&s) && i < 1000; i++) {
    sleep_ms(10);
  }
  cr_assert_eq(told.wrong, 0);
  cr_assert_eq(told.flips, s.major_cycles);
  cr_assert_eq(told.scanning, s.major_cycles);
  cr_assert_eq(told.sweeping, s.major_cycles);
  cr_assert_eq(told.ended, s.major_cycles);
  cr_assert_eq(told.stops, s.stops);
  cr_assert_eq(told.traps, s.traps);
  cr_assert_eq(told.background, s.pages_scanned_background);
  cr_assert_eq(told.assisted, s.pages_scanned_assist);
  cr_assert_eq(told.assists, s.assists);
  cr_assert_eq(told.stalls, s.stalls);
  cr_assert_eq(told.kept, s.kept_blocks);
  cr_assert_eq(told.committed, s.committed_bytes);
  cr_assert_eq(told.returned, s.returned_bytes);
  cr_assert_eq(told.committed - told.returned, s.held_bytes);
  cr_assert_eq(told.attached, s.threads_attached);
  cr_assert_eq(told.attached - told.detached, s.threads);
  cr_assert_eq(told.limit, s.limit_reached);
  cr_assert_eq(told.oom, s.out_of_memory);
  cr_assert_eq(told.settled, s.claims_settled);
}

ON_ALL_BACK_ENDS(events, all_is_told_with_the_figures_that_the_statistics_have) {
  bool traps = strcmp(back_end, "none") != 0;
  START_OR_SKIP(.back_end = back_end, .events = &all, .events_arg = &told);
  cr_assert_eq(told.opened, 1);
  cr_assert_eq((void *)told.heap, (void *)heap);
  cr_assert_eq(told.attached, 1);
  cr_assert_eq(veil_add_roots(heap, &root, 1), VEIL_OK);
  pthread_t thread = thread_start(waits_to_be_stopped, NULL);
  while (stats_of(heap).threads < 2) {
    sleep_ms(1);
  }
  // Until a scanner leaves something to trap on: it may be quicker.
  for (int i = 0; i < 5 || (traps && __atomic_load_n(&told.traps, __ATOMIC_RELAXED) == 0); i++) {
    root = list_make(self, 20000);
    veil_collect_start(self);
    cr_assert_eq(list_check(root), 20000);
    veil_collect(self);
    cr_assert_eq(told.sizes.live_bytes, stats_of(heap).live_bytes);
    cr_assert(told.sizes.used_bytes >= told.sizes.live_bytes && told.sizes.held_bytes >= told.sizes.used_bytes);
    cr_assert_eq(told.sizes.limit_bytes, stats_of(heap).limit_bytes);
    veil_block_begin(self);
    veil_block_end(self);
    cr_assert_eq(told.blocked, i + 1);
  }
  veil_stats s = stats_of(heap);
  cr_assert_eq(told.pins, s.pinned_objects);
  cr_assert_eq(told.roots, s.roots);
  cr_assert_eq(s.roots, 1);
  cr_assert_gt(told.words, 8);
  cr_assert_gt(told.stopped, 0);
  cr_assert_leq(told.flip_ns, s.stop_total_ns);
  cr_assert_eq(traps, told.stalls > 0);
  cr_assert(!traps || (told.background + told.assisted > 0 && told.trap_ns_max <= s.trap_max_ns));
  cr_assert_gt(told.committed, 0);
  __atomic_store_n(&over, 1, __ATOMIC_RELEASE);
  veil_block_begin(self);
  pthread_join(thread, NULL);
  veil_block_end(self);
  veil_remove_roots(heap, &root);
  // Scanners may be giving memory back still.
  for (uint64_t before = told.returned;; before = told.returned) {
    sleep_ms(50);
    if (before == told.returned) {
      break;
    }
  }
  figures_check();
  cr_assert_eq(told.detached, 1);
  cr_assert_eq(open_depth, 0);
  end();
  cr_assert_eq(told.detached, 2);
  cr_assert_eq(told.closed, 1);
  cr_assert_eq(told.wrong, 0);
}

ON_ALL_BACK_ENDS(events, a_heap_that_is_full_says_so) {
  START_OR_SKIP(.back_end = back_end, .limit = 4 * MIB, .oom = VEIL_OOM_NULL, .events = &all, .events_arg = &told);
  cr_assert_eq(veil_add_roots(heap, &root, 1), VEIL_OK);
  for (node *n; (n = veil_new(self, node)) != NULL; root = n) {
    n->left = root;
  }
  cr_assert_geq(told.limit, 1);
  cr_assert_eq(told.oom, 1);
  cr_assert_null(veil_new_bytes(self, 64 * MIB)); // a large one, too
  cr_assert_eq(told.oom, 2);
  for (uint64_t before = told.returned + 1; before != told.returned;) {
    before = told.returned;
    sleep_ms(50);
  }
  figures_check();
  cr_assert_eq(open_depth, 0);
  veil_remove_roots(heap, &root);
  root = NULL;
  end();
}

ON_TRAPPING_BACK_ENDS(events, a_trap_is_told_in_the_thread_that_touches_the_page) {
  if (strcmp(back_end, "uffd-kernel") == 0) {
    cr_skip_test("there a pager tells");
  }
  START_OR_SKIP(.back_end = back_end);
  cr_assert_eq(veil_add_roots(heap, &root, 1), VEIL_OK);
  veil_pages pages = veil_heap_pages(heap);
  veil_set_events(heap, &all, &told);
  told.flips = told.scanning = told.sweeping = told.ended = 0;
  for (bool right = false; !right;) {
    root = list_make(self, 20000);
    veil_collect_start(self);
    for (node *n = root; n != NULL; n = n->right) { // the last trap before n->key was read is n's, if that trapped
      uint64_t before = __atomic_load_n(&told.traps, __ATOMIC_RELAXED);
      (void)*(long volatile *)&n->key;
      if (__atomic_load_n(&told.traps, __ATOMIC_RELAXED) != before) {
        cr_assert_eq(__atomic_load_n(&told.traps, __ATOMIC_RELAXED), before + 1);
        cr_assert_eq(__atomic_load_n(&told.page, __ATOMIC_RELAXED), (size_t)((char *)n - pages.base) / pages.page_size);
        right = true;
      }
    }
    veil_collect(self);
  }
  cr_assert_eq(told.wrong, 0);
  veil_remove_roots(heap, &root);
  end();
}

static void unsaved(void *arg, size_t page) {}

ON_TRAPPING_BACK_ENDS(events, a_claim_that_is_settled_is_told_with_its_service) {
  START_OR_SKIP(.back_end = back_end, .events = &all, .events_arg = &told);
  veil_service *service = veil_service_open(heap, "mine", &(veil_service_callbacks){.unsaved = unsaved}, NULL);
  cr_assert_not_null(service);
  node *n = veil_new(self, node);
  veil_pages pages = veil_heap_pages(heap);
  size_t page = (size_t)((char *)n - pages.base) / pages.page_size;
  cr_assert_eq(veil_service_claim(service, page, VEIL_UNSAVED), VEIL_OK, "%s", veil_error());
  cr_assert_eq(told.settled, 0);
  *(long volatile *)&n->key = 1;
  cr_assert_eq(__atomic_load_n(&told.settled, __ATOMIC_RELAXED), 1);
  cr_assert_eq(told.page, page);
  cr_assert_eq(told.claim, VEIL_UNSAVED);
  cr_assert_str_eq(told.service, "mine");
  veil_service_close(service);
  figures_check();
  end();
}

// ---- Registration.

ON_ALL_BACK_ENDS(events, nobody_is_told_before_and_after) {
  START_OR_SKIP(.back_end = back_end);
  veil_collect(self);
  veil_set_events(heap, &all, &told);
  told.flips = told.scanning = told.sweeping = told.ended = stats_of(heap).major_cycles;
  veil_collect(self);
  cr_assert_eq(told.wrong, 0);
  cr_assert_eq(told.flips, 2);
  cr_assert_eq(told.stops, 1);
  veil_set_events(heap, NULL, NULL);
  seen before = told;
  veil_collect(self);
  end();
  cr_assert_eq(memcmp(&before, &told, sizeof told), 0);
}

Test(events, a_table_without_callbacks_is_fine, .timeout = 120) {
  static const veil_events none;
  START_OR_SKIP(.events = &none);
  node *volatile list = list_make(self, 1000);
  veil_collect(self);
  cr_assert_eq(list_check(list), 1000);
  end();
}

Test(events, a_shorter_table_of_an_older_program_is_read_no_further, .timeout = 120) {
  START_OR_SKIP(.scanners = 1);
  veil_set_events_sized(heap, &all, offsetof(veil_events, flip_begin), &told);
  veil_collect(self);
  cr_assert_eq(told.stops, 1);
  cr_assert_eq(told.flips, 0);
  veil_stats s;
  memset(&s, 0xff, sizeof s);
  veil_get_stats_sized(heap, &s, offsetof(veil_stats, traps));
  cr_assert_eq(s.major_cycles, 1);
  cr_assert_eq(s.traps, UINT64_MAX);
  end();
}

static void sets_events(void *arg, uint64_t ns) { veil_set_events(arg, NULL, NULL); }

DIES(events, a_callback_that_changes_the_table_is_noticed, "in a callback") {
  start((veil_options){.scanners = 1});
  veil_set_events(heap, &(veil_events){.stop_end = sets_events}, heap);
  veil_collect(self);
}

// A table's argument may go when the next is set: whoever came too late would find it gone.
typedef struct life {
  uint64_t alive;
  uint64_t begins, ends;
} life;
enum { ALIVE = 0x600d, DEAD = 0xdead };

static void life_begin(void *arg) {
  life *l = arg;
  EXPECT(__atomic_load_n(&l->alive, __ATOMIC_RELAXED) == ALIVE);
  __atomic_fetch_add(&l->begins, 1, __ATOMIC_RELAXED);
}
static void life_end(void *arg, uint64_t ns) {
  life *l = arg;
  EXPECT(__atomic_load_n(&l->alive, __ATOMIC_RELAXED) == ALIVE);
  __atomic_fetch_add(&l->ends, 1, __ATOMIC_RELAXED);
  EXPECT(__atomic_load_n(&l->ends, __ATOMIC_RELAXED) <= __atomic_load_n(&l->begins, __ATOMIC_RELAXED));
}
static void life_trap_begin(void *arg, size_t page) { life_begin(arg); }
static void life_trap_end(void *arg, size_t page, uint64_t ns) { life_end(arg, ns); }
static void life_attached(void *arg, veil_thread *mine) {
  life *l = arg;
  sched_yield(); // may be stopped here
  EXPECT(__atomic_load_n(&l->alive, __ATOMIC_RELAXED) == ALIVE);
}

static void *makes_things_happen(void *unused) {
  while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
    veil_thread *mine = veil_attach(heap);
    EXPECT(mine != NULL);
    for (int i = 0; i < 3; i++) {
      node *volatile list = list_make(mine, 3000);
      veil_collect_start(mine);
      list_check(list);
      veil_block_begin(mine);
      veil_block_end(mine);
    }
    veil_detach(mine);
  }
  return NULL;
}

ON_ALL_BACK_ENDS(events, tables_come_and_go_while_things_happen) {
  START_OR_SKIP(.back_end = back_end);
  static const veil_events table = {
      .stop_begin = life_begin,     .stop_end = life_end,      .blocked_begin = life_begin,     .blocked_end = life_end,
      .trap_begin = life_trap_begin, .trap_end = life_trap_end, .thread_attached = life_attached, .thread_detached = life_attached,
  };
  pthread_t thread[3];
  for (int i = 0; i < 3; i++) {
    thread[i] = thread_start(makes_things_happen, NULL);
  }
  uint64_t heard = 0;
  for (int i = 0; i < 100 || (heard == 0 && i < 30000); i++) {
    life *l = malloc(sizeof *l);
    *l = (life){.alive = ALIVE};
    veil_set_events(heap, &table, l);
    if (i % 2) {
      veil_block_begin(self); // from between brackets, too
      sleep_ms(1);
      veil_set_events(heap, NULL, NULL);
      veil_block_end(self);
    } else {
      sleep_ms(1);
      veil_set_events(heap, NULL, NULL);
    }
    heard += l->ends;
    EXPECT(l->ends <= l->begins);
    l->alive = DEAD;
    free(l);
  }
  cr_assert_gt(heard, 0);
  __atomic_store_n(&over, 1, __ATOMIC_RELEASE);
  for (int i = 0; i < 3; i++) {
    veil_block_begin(self);
    pthread_join(thread[i], NULL);
    veil_block_end(self);
  }
  end();
}

// ---- Statistics for people.

static void text_append(void *arg, const char *text, size_t bytes) {
  char *all_text = arg;
  size_t n = strlen(all_text);
  EXPECT(bytes > 0 && text[bytes - 1] == '\n' && n + bytes < 8192);
  memcpy(all_text + n, text, bytes);
  all_text[n + bytes] = 0;
}

ON_ALL_BACK_ENDS(events, a_report_has_the_figures) {
  static char text[8192], wanted[64];
  START_OR_SKIP(.back_end = back_end);
  for (int i = 0; i < 3; i++) {
    veil_collect(self);
  }
  veil_print_stats(heap, text_append, text);
  cr_assert(strstr(text, back_end) != NULL, "%s", text);
  snprintf(wanted, sizeof wanted, "cycles      %d;", 3);
  cr_assert(strstr(text, wanted) != NULL, "%s", text);
  cr_assert(strstr(text, "threads     1 now, 1 ever") != NULL, "%s", text);
  snprintf(wanted, sizeof wanted, "traps       %llu;", (unsigned long long)stats_of(heap).traps);
  cr_assert(strstr(text, wanted) != NULL, "%s", text);
  end();
}

static void opens_and_closes(void *unused) {
  start((veil_options){.scanners = 1});
  veil_collect(self);
  end();
}

Test(events, the_option_stats_prints_when_the_heap_closes, .timeout = 120) {
  cr_assert(strstr(death_of(opens_and_closes, NULL).said, "cycles") == NULL);
  setenv("VEIL_STATS", "1", 1);
  death d = death_of(opens_and_closes, NULL);
  cr_assert(d.signal == 0 && strstr(d.said, "cycles      1;") != NULL, "%s", d.said);
  unsetenv("VEIL_STATS");
  setenv("VEIL_OPTIONS", "stats=1", 1);
  d = death_of(opens_and_closes, NULL);
  cr_assert(strstr(d.said, "cycles      1;") != NULL, "%s", d.said);
  unsetenv("VEIL_OPTIONS");
  setenv("VEIL_STATS", "yes", 1);
  cr_assert_null(veil_open(NULL));
  cr_assert(strstr(veil_error(), "VEIL_STATS") != NULL, "%s", veil_error());
}
