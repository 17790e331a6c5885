// SPDX-License-Identifier: MIT
// choice.c: which back end a region gets, and what is said about it.

#include "vm_test.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static char why[300];
static vm_region *region;

static vm_status open_named(const char *back_end, size_t bytes, unsigned shift) {
  vm_region_config config = {.bytes = bytes, .page_shift = shift, .back_end = back_end, .settle = world_settle};
  return vm_region_open(&config, &region, why, sizeof why);
}

// Makes userfaultfd fail with EPERM in this process, as container runtimes do.
static void forbid_userfaultfd(void) {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
  cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
  cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

Test(choice, an_unknown_back_end_is_refused_by_name) {
  cr_assert_eq(open_named("vax", 2 << 20, 12), VM_INVALID);
  cr_assert_not_null(strstr(why, "vax"));
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

Test(choice, where_userfaultfd_is_forbidden_mprotect_is_used_and_it_is_said_why) {
  unsetenv("VEIL_VM");
  forbid_userfaultfd();
  cr_assert_eq(open_named(NULL, 2 << 20, 12), VM_OK);
  cr_assert_str_eq(vm_region_back_end(region), "mprotect");
  cr_assert_not_null(strstr(why, "userfaultfd: Operation not permitted"), "%s", why);
  vm_region_close(region);
  cr_assert_eq(open_named("uffd", 2 << 20, 12), VM_UNSUPPORTED);
  cr_assert_not_null(strstr(why, "Operation not permitted"), "%s", why);
}

Test(choice, a_back_end_can_be_chosen_without_room_for_a_reason) {
  vm_region_config config = {.bytes = 2 << 20, .page_shift = 12, .back_end = "none", .settle = world_settle};
  cr_assert_eq(vm_region_open(&config, &region, NULL, 0), VM_OK);
  vm_region_close(region);
  config.back_end = "auto";
  cr_assert_eq(vm_region_open(&config, &region, NULL, 0), VM_OK);
  vm_region_close(region);
}
