// SPDX-License-Identifier: MIT
// discarded.c: claims on pages that die, and a handler of the program's that runs in the middle of that: it gets what it touches.

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include "tests/runtime/world.h"
#include "veil/hooks.h"

enum { LARGE = 96 << 10, SAVED = 64 << 10 };

static veil_pages pages;
static size_t away_page;
static char away[SAVED];
static char *live; // a root
static pthread_t tester;
static int volatile armed, fetched, discarded, handled;

static size_t page_of(const void *object) { return (size_t)((const char *)object - pages.base) / pages.page_size; }
static char *alias_of(size_t page) { return pages.base + pages.delta + page * pages.page_size; }

static void on_absent(void *arg, size_t page) {
  if (page == away_page) {
    memcpy(alias_of(page), away, pages.page_size);
    fetched++;
  }
}

// Signals are blocked here, so the handler runs as soon as they are not.
static void on_discarded(void *arg, size_t page, size_t count) {
  EXPECT(page != away_page);
  if (armed && pthread_equal(pthread_self(), tester)) {
    armed = 0;
    pthread_kill(tester, SIGUSR1);
  }
  discarded += (int)count;
}

static void on_signal(int signo) {
  EXPECT(*(char volatile *)live == 'x' && live[pages.page_size - 1] == 'x');
  handled++;
}

static __attribute__((noinline)) void garbage_with_a_claim(veil_service *service) {
  char *dead = veil_new_bytes(self, LARGE);
  (void)veil_service_claim(service, page_of(dead) + 1, VEIL_ABSENT); // the first is looked at, for its header
}

ON_TRAPPING_BACK_ENDS(discarded, a_handler_that_runs_meanwhile_gets_what_it_touches) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .generations = VEIL_GENERATIONS_ON, .nursery = 256 << 10);
  pages = veil_heap_pages(heap);
  cr_assert_eq(veil_add_roots(heap, (void *)&live, 1), VEIL_OK);
  live = veil_new_bytes(self, LARGE);
  memset(live, 'x', LARGE);
  veil_collect(self);
  veil_collect(self);
  tester = pthread_self();
  signal(SIGUSR1, on_signal);
  const veil_service_callbacks callbacks = {.absent = on_absent, .discarded = on_discarded};
  veil_service *service = veil_service_open(heap, "test", &callbacks, NULL);
  away_page = page_of(live);
  memcpy(away, alias_of(away_page), pages.page_size);
  cr_assert_eq(veil_service_claim(service, away_page, VEIL_ABSENT), VEIL_OK);
  memset(alias_of(away_page), 'z', pages.page_size);
  armed = 1;
  for (int i = 0; i < 500 && armed; i++) {
    garbage_with_a_claim(service);
    for (int k = 0; k < 500 && armed; k++) { // a minor cycle now and then
      (void)veil_new_bytes(self, 1000);
    }
  }
  cr_assert_eq(handled, 1, "%d, %d discarded", handled, discarded);
  cr_assert_eq(fetched, 1, "%d", fetched);
  cr_assert_eq(*live, 'x');
  veil_service_close(service);
  end();
}
