// SPDX-License-Identifier: MIT
// options.c: every option, from the struct and from the environment; every bad value is an error that names it.

#include "tests/forbid.h"
#include <criterion/criterion.h>
#include "tests/runtime/test.h"

static void refused(const veil_options *options, const char *name) {
  veil_heap *heap = veil_open(options);
  cr_assert_null(heap, "accepted: %s", name);
  cr_assert(strstr(veil_error(), name) != NULL, "the message does not name \"%s\": %s", name, veil_error());
}

Test(options, a_bad_value_in_the_struct_is_an_error_that_names_it) {
  refused(&(veil_options){.limit = 1000}, "limit");
  refused(&(veil_options){.limit = 65535}, "limit"); // smaller than a block
  refused(&(veil_options){.limit = (size_t)1 << 50}, "limit");
  refused(&(veil_options){.granule = 1024}, "granule");
  refused(&(veil_options){.granule = 5000}, "granule");
  refused(&(veil_options){.granule = 131072}, "granule");
  refused(&(veil_options){.scanners = 65}, "scanners");
  refused(&(veil_options){.stop = (veil_stop)2}, "stop");
  refused(&(veil_options){.stop_signal = 65}, "stop_signal");
  refused(&(veil_options){.stop_signal = -3}, "stop_signal");
  refused(&(veil_options){.oom = (veil_oom)5}, "oom");
  refused(&(veil_options){.growth = 4}, "growth");
  refused(&(veil_options){.growth = 1001}, "growth");
  refused(&(veil_options){.headroom = (size_t)1 << 50}, "headroom");
  refused(&(veil_options){.verify = 3}, "verify");
  refused(&(veil_options){.torture = 1000001}, "torture");
  refused(&(veil_options){.back_end = "segments"}, "segments");
}

Test(options, a_stop_signal_that_cannot_serve_is_refused) {
  refused(&(veil_options){.stop_signal = SIGKILL}, "stop_signal");
  refused(&(veil_options){.stop_signal = SIGSTOP}, "stop_signal");
  refused(&(veil_options){.stop_signal = SIGSEGV}, "stop_signal"); // traps come by these two
  refused(&(veil_options){.stop_signal = SIGBUS}, "stop_signal");
}

static void handler(int signo) {}

Test(options, a_stop_signal_that_the_program_handles_is_refused) {
  signal(SIGUSR2, handler);
  refused(&(veil_options){.stop_signal = SIGUSR2}, "stop_signal");
}

static void environment_refused(const char *list, const char *name) {
  setenv("VEIL_OPTIONS", list, 1);
  refused(NULL, name);
  unsetenv("VEIL_OPTIONS");
}

Test(options, a_bad_value_in_the_environment_is_an_error_that_names_it) {
  environment_refused("limit=1", "limit");
  environment_refused("limit=", "limit");
  environment_refused("limit=12x", "12x");
  environment_refused("limit=12mm", "12mm");
  environment_refused("limit=-4m", "-4m");
  environment_refused("limit=99999999999999999999", "limit");
  environment_refused("limit=18446744073709551615g", "limit");
  environment_refused("limt=4m", "limt");
  environment_refused("limit", "limit");
  environment_refused("granule=5000", "granule");
  environment_refused("granule=3", "granule");
  environment_refused("scanners=0", "scanners");
  environment_refused("scanners=65", "scanners");
  environment_refused("scanners=two", "two");
  environment_refused("stop=often", "often");
  environment_refused("stop_signal=0", "stop_signal");
  environment_refused("oom=maybe", "maybe");
  environment_refused("growth=1", "growth");
  environment_refused("verify=9", "verify");
  environment_refused("torture=-1", "torture");
  environment_refused("seed=x", "seed");
  environment_refused("back_end=segments", "segments");
  environment_refused("limit=64m,,oom=null,verify=8", "verify");
  environment_refused("=4", "''");
}

Test(options, good_values_are_taken_with_and_without_suffixes) {
  setenv("VEIL_OPTIONS", "limit=64m,granule=16k,scanners=2,oom=null,growth=100,headroom=1M,stop=poll,verify=1,seed=7", 1);
  veil_heap *heap = veil_open(NULL);
  cr_assert_not_null(heap, "%s", veil_error());
  cr_assert_eq(stats_of(heap).limit_bytes, 64 * MIB);
  veil_close(heap);
  setenv("VEIL_OPTIONS", "limit=67108864", 1);
  heap = veil_open(NULL);
  cr_assert_eq(stats_of(heap).limit_bytes, 64 * MIB);
  veil_close(heap);
}

Test(options, the_environment_wins_over_the_struct) {
  setenv("VEIL_OPTIONS", "limit=16m", 1);
  veil_heap *heap = veil_open(&(veil_options){.limit = 64 * MIB});
  cr_assert_eq(stats_of(heap).limit_bytes, 16 * MIB);
  veil_close(heap);
}

Test(options, verify_can_be_named_by_itself) {
  setenv("VEIL_VERIFY", "lots", 1);
  refused(NULL, "VEIL_VERIFY");
  setenv("VEIL_VERIFY", "3", 1);
  refused(NULL, "verify");
  setenv("VEIL_VERIFY", "2", 1);
  veil_heap *heap = veil_open(&(veil_options){.limit = 16 * MIB});
  cr_assert_not_null(heap);
  veil_thread *self = veil_attach(heap);
  list_make(self, 1000);
  veil_collect(self);
  veil_detach(self);
  veil_close(heap);
}

Test(options, no_options_at_all_will_do) {
  veil_heap *heap = veil_open(NULL);
  cr_assert_not_null(heap, "%s", veil_error());
  cr_assert_gt(stats_of(heap).limit_bytes, 64 * MIB);
  veil_close(heap);
}

Test(options, the_back_end_is_the_one_that_was_asked_for_and_says_so) {
  static const char *const names[] = {"none", "mprotect", "uffd", "guard", "uffd-kernel"};
  for (int i = 0; i < 5; i++) {
    veil_heap *heap = veil_open(&(veil_options){.back_end = names[i], .limit = 16 * MIB});
    if (heap == NULL) {
      cr_assert(i >= 2 && strstr(veil_error(), names[i]) != NULL, "%s", veil_error());
      continue;
    }
    cr_assert_eq(strncmp(veil_back_end(heap), names[i], strlen(names[i])), 0, "%s", veil_back_end(heap));
    veil_close(heap);
  }
}

Test(options, VEIL_VM_names_the_back_end_unless_the_options_do) {
  setenv("VEIL_VM", "none", 1);
  veil_heap *heap = veil_open(&(veil_options){.limit = 16 * MIB});
  cr_assert_eq(strncmp(veil_back_end(heap), "none", 4), 0, "%s", veil_back_end(heap));
  veil_close(heap);
  heap = veil_open(&(veil_options){.limit = 16 * MIB, .back_end = "auto"});
  cr_assert_eq(strncmp(veil_back_end(heap), "none", 4), 0, "%s", veil_back_end(heap));
  veil_close(heap);
  heap = veil_open(&(veil_options){.limit = 16 * MIB, .back_end = "mprotect"});
  cr_assert_eq(strncmp(veil_back_end(heap), "mprotect", 8), 0, "%s", veil_back_end(heap));
  veil_close(heap);
  setenv("VEIL_VM", "segments", 1);
  refused(&(veil_options){.limit = 16 * MIB}, "segments");
}

Test(options, a_failed_opening_leaves_nothing_behind) {
  for (int i = 0; i < 300; i++) { // more than there are regions
    cr_assert_null(veil_open(&(veil_options){.limit = 16 * MIB, .back_end = "segments"}));
    cr_assert_null(veil_open(&(veil_options){.granule = 5000}));
  }
  veil_heap *heap = veil_open(&(veil_options){.limit = 16 * MIB});
  cr_assert_not_null(heap, "%s", veil_error());
  veil_close(heap);
}

static void torture_open(void *unused) {
  veil_heap *heap = veil_open(&(veil_options){.limit = 16 * MIB, .torture = 5});
  veil_close(heap);
}

Test(options, a_seed_of_the_torture_mode_is_printed_when_it_is_not_given) {
  death d = death_of(torture_open, NULL);
  cr_assert(death_none(&d));
  cr_assert(strstr(d.said, "seed=") != NULL, "%s", d.said);
}

// What container runtimes do. The heap works, and says what it is on and why.
static void falls_back(void *arg) {
  int how = (int)(uintptr_t)arg;
  unsetenv("VEIL_VM");
  EXPECT(how != 2 || become_nobody());
  EXPECT(forbid_userfaultfd() && (how != 1 || forbid_guards()));
  veil_heap *heap = veil_open(&(veil_options){.limit = 16 * MIB});
  EXPECT(heap != NULL);
  const char *said = veil_back_end(heap);
  printf("%s\n", said);
  EXPECT(strncmp(said, "mprotect", 8) == 0 || (how != 1 && strncmp(said, "guard", 5) == 0));
  EXPECT(strstr(said, "userfaultfd: Operation not permitted") != NULL);
  EXPECT(how != 1 || strstr(said, "guard: ") != NULL);
  veil_thread *self = veil_attach(heap);
  node *list = list_make(self, 5000);
  for (int i = 0; i < 3; i++) {
    veil_collect_start(self);
    EXPECT(list_check(list) == 5000);
    veil_collect(self);
  }
  veil_detach(self);
  veil_close(heap);
  fflush(NULL);
  _exit(0);
}

Test(options, a_heap_falls_back_where_userfaultfd_is_forbidden, .timeout = 60) {
  for (int how = 0; how < (getuid() == 0 ? 3 : 2); how++) {
    death d = death_of(falls_back, (void *)(uintptr_t)how);
    cr_assert(d.signal == 0 && d.code == 0, "case %d: signal %d, code %d: %s", how, d.signal, d.code, d.said);
  }
}
