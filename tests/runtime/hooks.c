// SPDX-License-Identifier: MIT
// hooks.c: services: claims on pages, and what a service is told.

#include <criterion/criterion.h>
#include <signal.h>
#include <unistd.h>
#include "tests/runtime/world.h"
#include "veil/hooks.h"
#include "veil/identity.h"

static veil_pages pages;

// No verification: it would fetch what is absent.
static bool heap_with_pages(const char *back_end) {
  bool works = start((veil_options){.back_end = back_end});
  pages = works ? veil_heap_pages(heap) : pages;
  return works;
}

#define HOOKS_START_OR_SKIP()                                                                                          \
  if (!heap_with_pages(back_end)) {                                                                                    \
    cr_skip_test("the back end does not work here");                                                                   \
  }

static size_t page_of(const void *object) { return (size_t)((const char *)object - pages.base) / pages.page_size; }
static char *alias_of(size_t page) { return pages.base + pages.delta + page * pages.page_size; }

// ---- A service that remembers what it is told.

static char *away; // contents of the page that is absent
static size_t away_page;
static int volatile absent_calls, unsaved_calls, discarded_calls; // traps change them
static size_t volatile last_unsaved;

static bool away_any;
static void on_absent(void *arg, size_t page) {
  if (away_any) {
    absent_calls++;
    return;
  }
  EXPECT(arg == &pages && page == away_page);
  memcpy(alias_of(page), away, pages.page_size);
  absent_calls++;
}
static void on_unsaved(void *arg, size_t page) {
  EXPECT(arg == &pages);
  last_unsaved = page;
  unsaved_calls++;
}
static void on_discarded(void *arg, size_t page, size_t count) { discarded_calls += (int)count; }

static char events[64];
static uint64_t event_cycle[64];
static int volatile event_count;
static void event(char c, uint64_t cycle) {
  if (event_count < 63) {
    events[event_count] = c;
    event_cycle[event_count] = cycle;
    event_count++;
  }
}
static void on_before_flip(void *arg, uint64_t cycle) { event('b', cycle); }
static void on_after_flip(void *arg, uint64_t cycle) { event('a', cycle); }
static void on_cycle_ended(void *arg, uint64_t cycle) { event('e', cycle); }

static const veil_service_callbacks callbacks = {
    .absent = on_absent,
    .unsaved = on_unsaved,
    .discarded = on_discarded,
    .before_flip = on_before_flip,
    .after_flip = on_after_flip,
    .cycle_ended = on_cycle_ended,
};

static veil_service *service_start(void) {
  absent_calls = unsaved_calls = discarded_calls = event_count = 0;
  memset(events, 0, sizeof events);
  veil_service *service = veil_service_open(heap, "test", &callbacks, &pages);
  cr_assert_not_null(service, "%s", veil_error());
  return service;
}

// ---- Opening and closing.

Test(hooks, up_to_eight_services_are_open_at_a_time) {
  heap_with_pages(NULL);
  veil_service *service[9];
  for (int i = 0; i < 9; i++) {
    service[i] = veil_service_open(heap, "one of many", &callbacks, &pages);
    cr_assert_eq(service[i] != NULL, i < 8);
  }
  cr_assert(strstr(veil_error(), "one of many") != NULL && strstr(veil_error(), "8") != NULL, "%s", veil_error());
  veil_service_close(service[3]);
  service[3] = veil_service_open(heap, "another", &callbacks, &pages);
  cr_assert_not_null(service[3]);
  for (int i = 0; i < 8; i++) {
    veil_service_close(service[i]);
  }
  end();
}

Test(hooks, a_service_needs_a_name_and_callbacks) {
  heap_with_pages(NULL);
  cr_assert_null(veil_service_open(heap, NULL, &callbacks, NULL));
  cr_assert_null(veil_service_open(heap, "test", NULL, NULL));
  cr_assert(strstr(veil_error(), "veil_service_open") != NULL, "%s", veil_error());
  veil_service_callbacks none = {0}; // each may be NULL
  veil_service *service = veil_service_open(heap, "silent", &none, NULL);
  cr_assert_not_null(service);
  node *n = veil_new(self, node);
  veil_service_claim(service, page_of(n), VEIL_UNSAVED);
  n->key = 1;
  veil_collect(self);
  cr_assert_eq(n->key, 1);
  veil_service_close(service);
  end();
}

DIES(hooks, closing_a_heap_with_a_service_open_is_noticed, "service forgotten is still open") {
  heap_with_pages(NULL);
  veil_service_open(heap, "forgotten", &callbacks, &pages);
  end();
}

ON_ALL_BACK_ENDS(hooks, the_geometry_is_that_of_the_heap) {
  HOOKS_START_OR_SKIP();
  node *n = veil_new(self, node);
  cr_assert_eq(pages.page_size, 4096);
  cr_assert_lt(page_of(n), pages.count);
  cr_assert(veil_page_in_use(heap, page_of(n)));
  cr_assert_not(veil_page_in_use(heap, pages.count - 1));
  cr_assert_not(veil_page_in_use(heap, pages.count));
  cr_assert_not(veil_page_in_use(heap, SIZE_MAX));
  n->key = 99;
  cr_assert_eq(((node *)((char *)n + pages.delta))->key, 99);
  end();
}

// ---- Claims.

ON_TRAPPING_BACK_ENDS(hooks, a_write_to_an_unsaved_page_is_told_once_and_before_it_happens) {
  HOOKS_START_OR_SKIP();
  veil_service *service = service_start();
  node *n = veil_new(self, node);
  n->key = 1;
  cr_assert_eq(veil_service_claim(service, page_of(n), VEIL_UNSAVED), VEIL_OK, "%s", veil_error());
  cr_assert_eq(unsaved_calls, 0);
  *(long volatile *)&n->key = 2;
  cr_assert_eq(unsaved_calls, 1);
  cr_assert_eq(last_unsaved, page_of(n));
  *(long volatile *)&n->key = 3;
  cr_assert_eq(unsaved_calls, 1);
  cr_assert_eq(n->key, 3);
  veil_service_close(service);
  end();
}

ON_TRAPPING_BACK_ENDS(hooks, the_contents_of_an_absent_page_come_back_when_it_is_touched) {
  HOOKS_START_OR_SKIP();
  veil_service *service = service_start();
  node *n = veil_new(self, node);
  n->key = 77;
  away = malloc(pages.page_size);
  away_page = page_of(n);
  cr_assert_eq(veil_service_claim(service, away_page, VEIL_ABSENT), VEIL_OK, "%s", veil_error());
  memcpy(away, alias_of(away_page), pages.page_size);
  memset(alias_of(away_page), 0xee, pages.page_size);
  cr_assert_eq(*(long volatile *)&n->key, 77);
  cr_assert_eq(absent_calls, 1);
  cr_assert_eq(*(long volatile *)&n->key, 77);
  cr_assert_eq(absent_calls, 1);
  veil_service_close(service);
  free(away);
  end();
}

ON_TRAPPING_BACK_ENDS(hooks, the_collector_has_absent_contents_fetched) {
  HOOKS_START_OR_SKIP();
  veil_service *service = service_start();
  static node *root;
  veil_add_roots(heap, &root, 1);
  root = list_make(self, 200);
  away = malloc(pages.page_size);
  away_page = page_of(root);
  cr_assert_eq(veil_service_claim(service, away_page, VEIL_ABSENT), VEIL_OK, "%s", veil_error());
  memcpy(away, alias_of(away_page), pages.page_size);
  memset(alias_of(away_page), 0xee, pages.page_size);
  veil_collect(self);
  cr_assert_eq(absent_calls, 1);
  cr_assert_eq(list_check(root), 200);
  veil_service_close(service);
  free(away);
  veil_remove_roots(heap, &root);
  end();
}

ON_TRAPPING_BACK_ENDS(hooks, claims_that_cannot_be_laid_are_refused) {
  HOOKS_START_OR_SKIP();
  veil_service *service = service_start(), *other = veil_service_open(heap, "other", &callbacks, &pages);
  node *n = veil_new(self, node);
  size_t page = page_of(n);
  cr_assert_eq(veil_service_claim(service, pages.count - 1, VEIL_UNSAVED), VEIL_BUSY); // free
  cr_assert_eq(veil_service_claim(service, pages.count, VEIL_UNSAVED), VEIL_BUSY);
  cr_assert_eq(veil_service_claim(service, SIZE_MAX, VEIL_UNSAVED), VEIL_BUSY);
  cr_assert_eq(veil_service_claim(service, page, (veil_claim)4), VEIL_INVALID);
  cr_assert_eq(veil_service_claim(service, page, (veil_claim)3), VEIL_INVALID);
  cr_assert_eq(veil_service_claim(service, page, VEIL_UNSAVED), VEIL_OK);
  cr_assert_eq(veil_service_claim(service, page, VEIL_UNSAVED), VEIL_BUSY); // there already
  cr_assert_eq(veil_service_claim(other, page, VEIL_UNSAVED), VEIL_BUSY);   // another's
  veil_service_settle(other, page, VEIL_UNSAVED);                           // not its own: nothing
  cr_assert_eq(unsaved_calls, 0);
  veil_service_settle(service, page, VEIL_UNSAVED);
  cr_assert_eq(unsaved_calls, 1);
  veil_service_settle(service, page, VEIL_UNSAVED); // not there any more: nothing
  cr_assert_eq(unsaved_calls, 1);
  cr_assert_eq(veil_touch(self, n, sizeof *n, true), VEIL_OK);
  cr_assert_eq(veil_service_claim(service, page, VEIL_UNSAVED), VEIL_BUSY); // in a system call's hands
  veil_untouch(self, n);
  cr_assert_eq(veil_service_claim(other, page, VEIL_UNSAVED), VEIL_OK);
  veil_service_close(other); // settles
  cr_assert_eq(unsaved_calls, 2);
  *(long volatile *)&n->key = 1;
  cr_assert_eq(unsaved_calls, 2);
  veil_service_close(service);
  end();
}

ON_TRAPPING_BACK_ENDS(hooks, touching_a_claimed_range_settles_it_for_the_system_call) {
  HOOKS_START_OR_SKIP();
  veil_service *service = service_start();
  char *bytes = veil_new_bytes(self, 3000);
  cr_assert_eq(veil_service_claim(service, page_of(bytes), VEIL_UNSAVED), VEIL_OK);
  cr_assert_eq(veil_touch(self, bytes, 3000, true), VEIL_OK);
  cr_assert_eq(unsaved_calls, 1);
  int ends[2];
  cr_assert_eq(pipe(ends), 0);
  cr_assert_eq(write(ends[1], "hello", 5), 5);
  cr_assert_eq(read(ends[0], bytes, 5), 5);
  veil_untouch(self, bytes);
  veil_service_close(service);
  end();
}

static __attribute__((noinline)) void claims_on_garbage(veil_service *service) {
  for (int i = 0; i < 20; i++) {
    char *bytes = veil_new_bytes(self, 100000);
    cr_assert_eq(veil_service_claim(service, page_of(bytes + 50000), VEIL_ABSENT), VEIL_OK, "%s", veil_error());
  }
}

// A signal that comes while a call settles a claim: its handler would wait for its own thread.
static node *handled;
static int volatile handler_runs;
static void on_signal(int signo) {
  (void)signo;
  handled->more++;
  handler_runs = handler_runs + 1;
}
static void raise_it(void *arg, size_t page) {
  on_unsaved(arg, page);
  kill(getpid(), SIGUSR1); // this thread, or the one that waits for it
  EXPECT(handler_runs == 0);
}

ON_TRAPPING_BACK_ENDS(hooks, a_handler_of_the_program_waits_until_a_claim_is_settled) {
  HOOKS_START_OR_SKIP();
  veil_service_callbacks raising = callbacks;
  raising.unsaved = raise_it;
  unsaved_calls = handler_runs = 0;
  veil_service *service = veil_service_open(heap, "test", &raising, &pages);
  cr_assert_neq((void *)signal(SIGUSR1, on_signal), (void *)SIG_ERR);
  handled = veil_new(self, node);
  veil_service_claim(service, page_of(handled), VEIL_UNSAVED);
  veil_hash(self, handled); // writes its header through the alias
  cr_assert(unsaved_calls == 1 && handler_runs == 1 && handled->more == 1);
  veil_service_close(service);
  end();
}

ON_TRAPPING_BACK_ENDS(hooks, absent_claims_on_pages_that_die_are_discarded) {
  HOOKS_START_OR_SKIP();
  veil_service *service = service_start();
  away_any = true; // nothing was put away: any contents will do
  claims_on_garbage(service);
  stack_clear();
  veil_collect(self);
  cr_assert_eq(absent_calls, 0);
  cr_assert_geq(discarded_calls, 17, "%d", discarded_calls); // some may be held by words on the stack
  veil_service_close(service);
  away_any = false;
  end();
}

// ---- Events.

ON_ALL_BACK_ENDS(hooks, flips_and_ends_of_cycles_are_told_in_their_order) {
  HOOKS_START_OR_SKIP();
  veil_service *service = service_start();
  for (int i = 0; i < 5; i++) {
    veil_collect(self);
  }
  cr_assert_eq(strncmp(events, "baebaebaebaebae", 15), 0, "%s", events);
  for (int i = 0; i < 5; i++) {
    cr_assert_eq(event_cycle[3 * i + 1], event_cycle[3 * i + 2]);
    cr_assert(i == 0 || event_cycle[3 * i + 1] == event_cycle[3 * i - 2] + 1);
  }
  veil_service_close(service);
  int before = event_count;
  veil_collect(self);
  cr_assert_eq(event_count, before, "a closed service is told nothing");
  end();
}

// ---- Dirty.

static size_t dirty[4096];
static size_t dirty_count;
static void on_dirty(void *arg, size_t page) {
  EXPECT(arg == &dirty && dirty_count < 4096);
  dirty[dirty_count++] = page;
}

static bool is_dirty(const void *object) {
  for (size_t i = 0; i < dirty_count; i++) {
    if (dirty[i] == page_of(object)) {
      return true;
    }
  }
  return false;
}

static size_t ask(veil_service *service) {
  dirty_count = 0;
  size_t told = veil_service_dirty(service, on_dirty, &dirty);
  cr_assert_eq(told, dirty_count);
  return told;
}

ON_TRAPPING_BACK_ENDS(hooks, dirty_pages_are_those_written_since_the_service_last_asked) {
  HOOKS_START_OR_SKIP();
  veil_service *service = service_start();
  char *bytes = veil_new_bytes(self, 100000);
  node *n = veil_new(self, node);
  ask(service); // every page in use
  cr_assert(is_dirty(bytes) && is_dirty(bytes + 50000) && is_dirty(n));
  cr_assert_eq(ask(service), 0, "%zu pages", dirty_count);
  bytes[50000] = 1;
  n->key = 1;
  cr_assert_eq(ask(service), 2, "%zu pages", dirty_count);
  cr_assert(is_dirty(bytes + 50000) && is_dirty(n));
  cr_assert_eq(ask(service), 0);
  (void)*(char volatile *)&bytes[60000];
  cr_assert_eq(ask(service), 0, "reading is no writing");
  bytes[50000] = 2; // armed again
  cr_assert_eq(ask(service), 1);
  veil_service_close(service);
  end();
}

ON_TRAPPING_BACK_ENDS(hooks, two_services_are_each_told_of_a_write) {
  HOOKS_START_OR_SKIP();
  veil_service *one = service_start(), *two = veil_service_open(heap, "two", &callbacks, &pages);
  node *n = veil_new(self, node);
  ask(one);
  ask(two);
  n->key = 1;
  cr_assert_eq(ask(one), 1);
  cr_assert_eq(ask(two), 1);
  cr_assert_eq(ask(one), 0);
  cr_assert_eq(ask(two), 0);
  veil_service_close(one);
  n->key = 2;
  cr_assert_eq(ask(two), 1);
  veil_service_close(two);
  end();
}

ON_TRAPPING_BACK_ENDS(hooks, what_the_collector_writes_counts_as_written) {
  HOOKS_START_OR_SKIP();
  veil_service *service = service_start();
  static node *root;
  veil_add_roots(heap, &root, 1);
  root = list_make(self, 3000);
  stack_clear();
  ask(service);
  veil_collect(self);
  ask(service);
  for (node *n = root; n != NULL; n = n->right) { // copies in new pages
    cr_assert(is_dirty(n));
  }
  veil_remove_roots(heap, &root);
  veil_service_close(service);
  end();
}

ON_TRAPPING_BACK_ENDS(hooks, no_write_is_lost_over_cycles) {
  HOOKS_START_OR_SKIP();
  veil_service *service = service_start();
  char *bytes = veil_new_bytes(self, 400000);
  ask(service);
  srand(5);
  for (int round = 0; round < 50; round++) {
    char *written[10];
    for (int i = 0; i < 10; i++) {
      written[i] = bytes + rand() % 400000;
      (*written[i])++;
      if (i % 4 == 0) {
        veil_collect_start(self);
      }
    }
    ask(service);
    for (int i = 0; i < 10; i++) {
      cr_assert(is_dirty(written[i]), "round %d", round);
    }
  }
  veil_service_close(service);
  end();
}

// The back end without traps cannot keep a claim, and says so.
Test(hooks, without_traps_a_claim_is_refused) {
  heap_with_pages("none");
  veil_service *service = service_start();
  node *n = veil_new(self, node);
  cr_assert_neq(veil_service_claim(service, page_of(n), VEIL_UNSAVED), VEIL_OK);
  n->key = 1;
  veil_collect(self);
  veil_service_close(service);
  end();
}

static void on_after_flip_slow(void *arg, uint64_t cycle) {
  usleep(20000); // scanners do not stop with the world: time for them to begin, and to end this small cycle
  event('a', cycle);
}

ON_ALL_BACK_ENDS(hooks, nothing_is_scanned_until_the_flip_has_been_told) {
  bool works = start((veil_options){.back_end = back_end, .scanners = 4});
  if (!works) {
    cr_skip_test("the back end does not work here");
  }
  veil_service_callbacks slow = callbacks;
  slow.after_flip = on_after_flip_slow;
  event_count = 0;
  memset(events, 0, sizeof events);
  veil_service *service = veil_service_open(heap, "slow", &slow, &pages);
  cr_assert_not_null(service, "%s", veil_error());
  for (int i = 0; i < 5; i++) {
    veil_collect(self);
  }
  cr_assert_eq(strncmp(events, "baebaebaebaebae", 15), 0, "%s", events);
  veil_service_close(service);
  end();
}
