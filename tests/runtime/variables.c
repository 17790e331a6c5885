// SPDX-License-Identifier: MIT
// variables.c: global and thread-local variables as roots, by option; libraries that come and go.

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <link.h>
#include "tests/runtime/world.h"
#include "vm/vm.h"

static node *in_data = (node *)1, *in_bss;
node *exported;
static _Thread_local node *local = (node *)1, *local_zeroed;

static __attribute__((noinline)) void globals_fill(void) {
  in_data = list_make(self, 100);
  in_bss = list_make(self, 200);
  exported = list_make(self, 300);
}

ON_ALL_BACK_ENDS(variables, globals_hold_their_objects_in_place) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 1, .data_roots = 1);
  globals_fill();
  stack_clear();
  node *volatile *at = &in_data;
  uintptr_t before = ~(uintptr_t)*at;
  for (int i = 0; i < 5; i++) {
    veil_collect(self);
    list_make(self, 3000);
    cr_assert(list_check(in_data) == 100 && list_check(in_bss) == 200 && list_check(exported) == 300);
    cr_assert_eq(~(uintptr_t)in_data, before);
  }
  end();
}

// Live bytes after a global, or a thread-local variable, holds so much.
static __attribute__((noinline)) size_t live_with(void *volatile *variable) {
  *variable = veil_new_bytes(self, 10 * MIB);
  stack_clear();
  veil_collect(self);
  *variable = NULL;
  return stats_of(heap).live_bytes;
}

static void *volatile big;
static _Thread_local void *volatile big_local;

ON_ALL_BACK_ENDS(variables, count_only_if_the_options_say_so) {
  for (int option = 0; option < 4; option++) {
    START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .data_roots = option & 1, .tls_roots = (unsigned)option / 2);
    cr_assert_eq(live_with(&big) >= 10 * MIB, option & 1, "option %d", option);
    cr_assert_eq(live_with(&big_local) >= 10 * MIB, option / 2, "option %d", option);
    stack_clear();
    veil_collect(self);
    cr_assert_lt(stats_of(heap).live_bytes, 10 * MIB);
    end();
  }
}

static int volatile over;

static __attribute__((noinline)) void locals_fill(veil_thread *me) {
  local = list_make(me, 150);
  local_zeroed = list_make(me, 250);
}

static void *has_local_variables(void *unused) {
  veil_thread *me = veil_attach(heap);
  locals_fill(me);
  stack_clear();
  do {
    EXPECT(list_check(local) == 150 && list_check(local_zeroed) == 250);
    list_make(me, 100);
  } while (!over);
  veil_detach(me);
  return NULL;
}

ON_ALL_BACK_ENDS(variables, thread_local_ones_hold_their_objects) {
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 1, .tls_roots = 1);
  pthread_t thread[3];
  for (int i = 0; i < 3; i++) {
    thread[i] = thread_start(has_local_variables, NULL);
  }
  locals_fill(self); // the main thread's lie elsewhere
  stack_clear();
  for (int i = 0; i < 50; i++) {
    veil_collect(self);
    list_make(self, 1000);
    EXPECT(list_check(local) == 150 && list_check(local_zeroed) == 250);
  }
  over = 1;
  veil_block_begin(self);
  for (int i = 0; i < 3; i++) {
    pthread_join(thread[i], NULL);
  }
  veil_block_end(self);
  end();
}

// ---- Libraries.

typedef void store_fn(void *a, void *b, void *c);
typedef void load_fn(void **a, void **b, void **c);

static __attribute__((noinline)) void library_fill(veil_thread *me, void *library) {
  store_fn *store = (store_fn *)dlsym(library, "library_store");
  EXPECT(store != NULL);
  store(list_make(me, 110), list_make(me, 210), list_make(me, 310));
}

static __attribute__((noinline)) void library_check(void *library) {
  void *a, *b, *c;
  ((load_fn *)dlsym(library, "library_load"))(&a, &b, &c);
  EXPECT(list_check(a) == 110 && list_check(b) == 210 && list_check(c) == 310);
}

// One thread loads and unloads all the time; its stops fall into the loader.
static void *loads_and_unloads(void *unused) {
  veil_thread *me = veil_attach(heap);
  do {
    void *library = dlopen(VARIABLES_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    EXPECT(library != NULL);
    library_fill(me, library);
    stack_clear();
    for (int i = 0; i < 3; i++) {
      veil_collect_start(me);
      list_make(me, 500);
      library_check(library);
      stack_clear();
    }
    dlclose(library);
  } while (!over);
  veil_detach(me);
  return NULL;
}

static int asks(struct dl_phdr_info *info, size_t size, void *arg) {
  list_make(arg, 300); // a cycle may start here, with the loader's lock held
  return 0;
}

static void *allocates_in_the_loader(void *unused) {
  veil_thread *me = veil_attach(heap);
  do {
    dl_iterate_phdr(asks, me);
  } while (!over);
  veil_detach(me);
  return NULL;
}

ON_ALL_BACK_ENDS(variables, libraries_come_and_go_during_cycles) {
#ifdef __SANITIZE_ADDRESS__
  // In each pause a whole cycle, and the variables of the sanitizer's own libraries: that takes minutes.
  if (strcmp(back_end, "none") == 0) {
    cr_skip_test("in builds without the address sanitizer only");
  }
#endif
  START_OR_SKIP(.back_end = back_end, .limit = 64 * MIB, .verify = 1, .data_roots = 1, .tls_roots = 1, .torture = 5, .seed = 3);
  pthread_t thread[2] = {thread_start(loads_and_unloads, NULL), thread_start(allocates_in_the_loader, NULL)};
  // A sanitizer's build may take a second for one.
  uint64_t until = vm_now() + (uint64_t)20 * 1000000000;
  for (int i = 0; i < 10 || (i < REPEATS(40, 200) && vm_now() < until); i++) {
    veil_collect(self);
    list_make(self, 1000);
  }
  over = 1;
  veil_block_begin(self);
  pthread_join(thread[0], NULL);
  pthread_join(thread[1], NULL);
  veil_block_end(self);
  end();
}

Test(variables, options_are_read_by_name) {
  setenv("VEIL_OPTIONS", "data_roots=yes,tls_roots=maybe", 1);
  cr_assert_null(veil_open(NULL));
  cr_assert(strstr(veil_error(), "tls_roots") != NULL, "%s", veil_error());
  setenv("VEIL_OPTIONS", "data_roots=yes,tls_roots=yes", 1);
  start((veil_options){0});
  cr_assert_geq(live_with(&big), 10 * MIB);
  cr_assert_geq(live_with(&big_local), 10 * MIB);
  end();
}
