// SPDX-License-Identifier: MIT
// touched.c: a service asks which pages were touched.

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/runtime/world.h"
#include "veil/calls.h"
#include "veil/hooks.h"

enum { NODES = 20000 }; // some 200 pages

static veil_pages pages;
static veil_service *service;
typedef struct slot {
  node *to;
} slot;
VEIL_TYPE(slot, to);
static slot *all; // a large object of the heap: what roots lead to would move
static uint8_t told[1 << 20];
static size_t count;
static const veil_service_callbacks none;

static size_t page_of(const void *object) { return (size_t)((const char *)object - pages.base) / pages.page_size; }

static void tell(void *arg, size_t page) {
  EXPECT(arg == &pages && !told[page]);
  told[page] = 1;
  count++;
}
static size_t ask(void) {
  memset(told, 0, sizeof told);
  count = 0;
  EXPECT(veil_service_touched(service, 0, pages.count, NULL, tell, &pages) == VEIL_OK);
  return count;
}

// Objects that have been through two cycles, and have been asked about.
static bool begin(const char *back_end) {
  if (!start((veil_options){.back_end = back_end})) {
    return false;
  }
  pages = veil_heap_pages(heap);
  EXPECT(pages.count <= sizeof told);
  all = veil_new_array(self, slot, NODES);
  EXPECT(veil_add_roots(heap, &all, 1) == VEIL_OK);
  for (int i = 0; i < NODES; i++) {
    node *n = veil_new(self, node);
    n->key = i;
    all[i].to = n;
  }
  service = veil_service_open(heap, "sampler", &none, NULL);
  cr_assert_not_null(service, "%s", veil_error());
  veil_service_keep_in_place(service, true);
  veil_collect(self);
  veil_collect(self);
  ask();
  ask();
  return true;
}
#define BEGIN_OR_SKIP()                                                                                                \
  if (!begin(back_end)) {                                                                                              \
    cr_skip_test("the back end does not work here");                                                                   \
  }

static void finish(void) {
  veil_service_close(service);
  veil_remove_roots(heap, &all);
  end();
}

ON_TRAPPING_BACK_ENDS(touched, what_the_program_touches_is_told) {
  BEGIN_OR_SKIP();
  node *some = all[100].to, *other = all[NODES / 2].to, *third = all[NODES - 1].to;
  ask();
  some->key++;
  EXPECT(*(long volatile *)&other->key == NODES / 2);
  ask();
  EXPECT(told[page_of(some)] && told[page_of(other)] && !told[page_of(third)]);
  EXPECT(count < 20); // and what is used for all kinds of things
  ask();
  EXPECT(!told[page_of(some)] && !told[page_of(other)]);
  finish();
}

ON_TRAPPING_BACK_ENDS(touched, a_cycle_touches_nothing) {
  BEGIN_OR_SKIP();
  node *some = all[100].to;
  ask();
  some->key++;
  veil_collect(self);
  veil_collect_minor(self);
  size_t n = ask();
  EXPECT(told[page_of(some)]);
  EXPECT(n < 40);
  for (int i = 0; i < NODES; i++) {
    EXPECT(all[i].to->key == i + (i == 100));
  }
  EXPECT(ask() > NODES / 200);
  finish();
}

ON_TRAPPING_BACK_ENDS(touched, a_call_to_the_system_wants_a_touch) {
  BEGIN_OR_SKIP();
  char *bytes = veil_new_bytes(self, 3 * 4096);
  memset(bytes, 1, 3 * 4096);
  ask();
  int file = open("/dev/zero", O_RDONLY);
  ssize_t got = read(file, bytes + 4096, 10);
  EXPECT(got == 10 || (got < 0 && errno == EFAULT));
  EXPECT((got == 10) == (strcmp(back_end, "uffd-kernel") == 0));
  EXPECT(veil_read(self, file, bytes + 4096, 10) == 10);
  ask();
  EXPECT(told[page_of(bytes + 4096)]);
  EXPECT(bytes[4096] == 0 && bytes[4106] == 1);
  ask();
  veil_service_close(service); // nobody asks any more
  EXPECT(read(file, bytes, 3 * 4096) == 3 * 4096);
  close(file);
  veil_remove_roots(heap, &all);
  end();
}

ON_TRAPPING_BACK_ENDS(touched, one_service_asks_at_a_time) {
  BEGIN_OR_SKIP();
  veil_service *other = veil_service_open(heap, "another", &none, NULL);
  EXPECT(veil_service_touched(other, 0, 1, NULL, tell, &pages) == VEIL_BUSY);
  cr_assert(strstr(veil_error(), "another") != NULL, "%s", veil_error());
  EXPECT(veil_service_touched(service, 1, pages.count, NULL, tell, &pages) == VEIL_INVALID);
  veil_service_close(service);
  EXPECT(veil_service_touched(other, 0, pages.count, NULL, tell, &pages) == VEIL_OK);
  veil_service_close(other);
  veil_remove_roots(heap, &all);
  end();
}

ON_TRAPPING_BACK_ENDS(touched, a_child_asks_nobody) {
  BEGIN_OR_SKIP();
  char *bytes = veil_new_bytes(self, 4096);
  ask();
  pid_t child = fork();
  if (child == 0) {
    int file = open("/dev/zero", O_RDONLY);
    bool good = all[77].to->key == 77 && read(file, bytes, 4096) == 4096;
    _exit(good ? 0 : 1);
  }
  int status;
  EXPECT(waitpid(child, &status, 0) == child);
  EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT(all[77].to->key == 77);
  finish();
}

Test(touched, where_nothing_traps_nobody_knows) {
  EXPECT(start((veil_options){.back_end = "none"}));
  pages = veil_heap_pages(heap);
  service = veil_service_open(heap, "sampler", &none, NULL);
  EXPECT(veil_service_touched(service, 0, 1, NULL, tell, &pages) == VEIL_UNSUPPORTED);
  veil_service_close(service);
  end();
}
