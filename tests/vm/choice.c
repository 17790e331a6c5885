// SPDX-License-Identifier: MIT
// choice.c: which back end a region gets, and what is said about it.

#include "tests/forbid.h"
#include "vm_test.h"

#include <criterion/criterion.h>
#include <sys/mman.h>
#include <unistd.h>

static char why[300];
static vm_region *region;

static vm_status open_named(const char *back_end, size_t bytes, unsigned shift) {
  vm_region_config config = {.bytes = bytes, .page_shift = shift, .back_end = back_end, .settle = world_settle};
  return vm_region_open(&config, &region, why, sizeof why);
}

Test(choice, an_unknown_back_end_is_refused_by_name) {
  cr_assert_eq(open_named("vax", 2 << 20, 12), VM_INVALID);
  cr_assert_not_null(strstr(why, "vax"));
  static const char *const names[] = {"uffd", "guard", "mprotect", "uffd-kernel", "none"};
  for (int i = 0; i < 5; i++) {
    cr_assert_not_null(strstr(why, names[i]), "%s", why);
  }
  cr_assert_null(region);
}

Test(choice, bad_sizes_are_refused) {
  cr_assert_eq(open_named("mprotect", 4096, 12), VM_INVALID);
  cr_assert_eq(open_named("mprotect", 0, 12), VM_INVALID);
  cr_assert_eq(open_named(NULL, 2 << 20, 11), VM_INVALID);
  cr_assert_eq(open_named(NULL, 2 << 20, 17), VM_INVALID);
  cr_assert_neq(why[0], 0);
}

Test(choice, the_environment_names_the_back_end) {
  setenv("VEIL_VM", "mprotect", 1);
  cr_assert_eq(open_named("auto", 2 << 20, 12), VM_OK);
  cr_assert_str_eq(vm_region_back_end(region), "mprotect");
  vm_region_close(region);
  cr_assert_eq(open_named("none", 2 << 20, 12), VM_OK, "but the configuration comes first");
  cr_assert_str_eq(vm_region_back_end(region), "none");
  vm_region_close(region);
  setenv("VEIL_VM", "pdp11", 1);
  cr_assert_eq(open_named(NULL, 2 << 20, 12), VM_INVALID);
}

// Opens with the best that there is, and uses it.
static void best_is(const char *back_end) {
  unsetenv("VEIL_VM");
  cr_assert_eq(open_named(NULL, 2 << 20, 12), VM_OK, "%s", why);
  cr_assert_str_eq(vm_region_back_end(region), back_end, "%s", why);
  cr_assert(vm_commit(region, 0, 16));
  vm_prot(region, 3, 4, VM_ABSENT, 0);
  vm_unprot(region, 5, 1, VM_ABSENT);
  *(volatile char *)vm_page_view(region, 5) = 1;
  cr_assert_eq(*vm_page_alias(region, 5), 1);
  vm_region_close(region);
}

static bool guards_work(void) { return back_end_works("guard"); }

Test(choice, where_userfaultfd_is_forbidden_the_next_best_is_used_and_it_is_said_why) {
  bool guards = guards_work();
  cr_assert(forbid_userfaultfd());
  best_is(guards ? "guard" : "mprotect");
  cr_assert_not_null(strstr(why, "uffd: userfaultfd: Operation not permitted"), "%s", why);
  cr_assert(guards == (strstr(why, "guard") == NULL), "%s", why);
  cr_assert_eq(open_named("uffd", 2 << 20, 12), VM_UNSUPPORTED);
  cr_assert_not_null(strstr(why, "Operation not permitted"), "%s", why);
}

Test(choice, where_guards_are_refused_too_mprotect_is_used_and_it_is_said_why) {
  cr_assert(forbid_userfaultfd() && forbid_guards());
  best_is("mprotect");
  cr_assert_not_null(strstr(why, "uffd: userfaultfd: Operation not permitted"), "%s", why);
  cr_assert_not_null(strstr(why, "guard: "), "%s", why);
  cr_assert_eq(open_named("guard", 2 << 20, 12), VM_UNSUPPORTED);
  cr_assert_not_null(strstr(why, "MADV_GUARD_INSTALL: Invalid argument"), "%s", why);
}

Test(choice, nobody_in_particular_has_what_needs_no_privilege) {
  bool uffd = back_end_works("uffd"), guards = guards_work();
  if (!become_nobody()) {
    cr_skip_test("not run as root");
  }
  // Who has changed his identity may not look at his own page tables.
  best_is(guards ? "guard" : "mprotect");
  cr_assert(!uffd || strstr(why, "uffd: /proc/self/pagemap: Permission denied") != NULL, "%s", why);
  cr_assert_eq(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0); // as if he had been started so
  best_is(uffd ? "uffd" : guards ? "guard" : "mprotect");
  vm_status status = open_named("uffd-kernel", 2 << 20, 12);
  if (status == VM_OK) {
    vm_region_close(region); // vm.unprivileged_userfaultfd, or the device is for everybody
  } else {
    cr_assert_eq(status, VM_UNSUPPORTED);
    cr_assert_not_null(strstr(why, "uffd-kernel: userfaultfd: Operation not permitted"), "%s", why);
  }
  cr_assert(forbid_userfaultfd());
  best_is(guards ? "guard" : "mprotect");
  cr_assert_not_null(strstr(why, "Operation not permitted"), "%s", why);
  cr_assert(forbid_guards());
  best_is("mprotect");
}

#ifndef __SANITIZE_ADDRESS__ // whose memory cannot be locked
Test(choice, where_memory_is_locked_guards_are_refused) {
  if (!guards_work() || mlockall(MCL_FUTURE) != 0) {
    cr_skip_test("no guards, or memory cannot be locked");
  }
  cr_assert_eq(open_named("guard", 2 << 20, 12), VM_UNSUPPORTED, "%s", why);
  cr_assert_not_null(strstr(why, "guard: "), "%s", why);
}

// The region goes on by mprotect.
Test(choice, memory_that_is_locked_later_is_veiled_all_the_same) {
  if (!guards_work()) {
    cr_skip_test("no guards here");
  }
  static struct world w;
  world_open(&w, "guard");
  cr_assert(vm_commit(w.region, 0, 1000));
  vm_open(w.region, 0, 1000);
  if (mlockall(MCL_CURRENT) != 0) {
    cr_skip_test("memory cannot be locked");
  }
  for (uint32_t round = 1; round <= 2; round++) {
    vm_prot(w.region, 100, 300, VM_UNSCANNED, 0);
    for (size_t i = 0; i < 1000; i++) {
      *view_word(&w, i) = (long)i;
      cr_assert_eq(w.page_settled[i], i >= 100 && i < 400 ? round : 0);
    }
    vm_release(w.region, 500, 100);
    cr_assert_not(os_readable(vm_page_view(w.region, 510)));
    cr_assert(vm_commit(w.region, 500, 100));
    cr_assert_eq(*view_word(&w, 510), 0);
    munlockall();
  }
  world_close(&w);
}
#endif

Test(choice, a_back_end_can_be_chosen_without_room_for_a_reason) {
  vm_region_config config = {.bytes = 2 << 20, .page_shift = 12, .back_end = "none", .settle = world_settle};
  cr_assert_eq(vm_region_open(&config, &region, NULL, 0), VM_OK);
  vm_region_close(region);
  config.back_end = "auto";
  cr_assert_eq(vm_region_open(&config, &region, NULL, 0), VM_OK);
  vm_region_close(region);
}
