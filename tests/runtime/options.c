// SPDX-License-Identifier: MIT
// options.c: every option, from the struct and from the environment; every bad value is an error that names it.

#include "tests/forbid.h"
#include <criterion/criterion.h>
#include "runtime/machine.h"
#include "runtime/options.h"
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
  refused(&(veil_options){.soft_limit = 1000}, "soft_limit");
  refused(&(veil_options){.reserve = (size_t)1 << 50}, "reserve");
  refused(&(veil_options){.idle = 3}, "idle");
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
  environment_refused("limit=nan", "'nan'");
  environment_refused("growth=inf", "'inf'");
  environment_refused("growth=1e2", "'1e2'");
  environment_refused("growth=+80", "'+80'");
  environment_refused("growth=", "growth has no value");
  environment_refused("growth= ", "growth has no value");
  environment_refused("back_end=", "back_end has no value");
  environment_refused("oom=", "oom has no value");
  environment_refused("limit=64m,oom=null,limit=64m", "limit is given twice");
  environment_refused("lim it=64m", "'lim it'");
  environment_refused("limit=6 4m", "'6 4m'");
  environment_refused("limit=64m=5", "'64m=5'");
  environment_refused("limit=0%", "'0%'");
  environment_refused("limit=101%", "'101%'");
  environment_refused("limit=-5%", "'-5%'");
  environment_refused("limit=%", "'%'");
  environment_refused("limit=5%%", "'5%%'");
  environment_refused("limit=1000000000%", "'1000000000%'");
  environment_refused("headroom=5%", "headroom"); // of limits only
  environment_refused("limit=1t", "out of range [2m, 20g]");
  environment_refused("limit=99999999t", "limit");
  environment_refused("soft_limit=1k", "soft_limit");
  environment_refused("reserve=1k", "reserve");
  environment_refused("idle=1", "idle");
  environment_refused("helpp", "'helpp'");
  char list[600] = "back_end=";
  memset(list + strlen(list), 'x', 500);
  environment_refused(list, "back_end");
}

static void opens_with(const char *list, uint64_t limit) {
  setenv("VEIL_OPTIONS", list, 1);
  veil_heap *heap = veil_open(&(veil_options){.limit = 32 * MIB});
  cr_assert_not_null(heap, "%s: %s", list, veil_error());
  cr_assert_eq(stats_of(heap).limit_bytes, limit, "%s", list);
  veil_close(heap);
}

Test(options, blanks_and_empty_items_do_not_count) {
  opens_with("", 32 * MIB);
  opens_with(",", 32 * MIB);
  opens_with(" , \t,", 32 * MIB);
  opens_with("limit=64m,", 64 * MIB);
  opens_with(",,limit=64m", 64 * MIB);
  opens_with("  limit = 64m , oom\t= null ", 64 * MIB);
  opens_with("limit=65536K", 64 * MIB);
}

Test(options, a_limit_may_be_a_share_of_the_machines_memory) {
  rt_machine machine;
  rt_machine_read(&machine, "");
  uint64_t most = (uint64_t)20 << 30, half = machine.memory / 100 * 50;
  opens_with("limit=50%", half < most ? half : most);
  uint64_t hundredth = machine.memory / 100;
  opens_with("limit=1%", hundredth > 2 * MIB ? hundredth : 2 * MIB);
}

// ---- One table.

static void line_keep(void *arg, const char *line) {
  char(*lines)[320] = arg;
  for (int i = 0; i < 64; i++) {
    if (lines[i][0] == 0) {
      snprintf(lines[i], sizeof lines[i], "%s", line);
      return;
    }
  }
}

// The comments of the struct's fields in veil/options.h, those of several lines in one.
static int header_read(char (*fields)[320]) {
  FILE *f = fopen(VEIL_SOURCE_DIR "/include/veil/options.h", "r");
  cr_assert_not_null(f);
  char line[400];
  int count = 0;
  bool inside = false;
  while (fgets(line, sizeof line, f) != NULL && strncmp(line, "} veil_options;", 15) != 0) {
    char *comment = strstr(line, "// ");
    if (inside && comment != NULL) {
      comment[strcspn(comment, "\n")] = 0;
      bool field = memchr(line, ';', (size_t)(comment - line)) != NULL;
      cr_assert(field || count > 0);
      if (field && strstr(comment, "Not in VEIL_OPTIONS") != NULL) {
        continue;
      }
      if (field) {
        snprintf(fields[count++], sizeof *fields, "%s", comment + 3);
      } else {
        size_t length = strlen(fields[count - 1]);
        snprintf(fields[count - 1] + length, sizeof *fields - length, " %s", comment + 3);
      }
    }
    inside = inside || strncmp(line, "typedef struct veil_options", 27) == 0;
  }
  fclose(f);
  return count;
}

Test(options, the_header_and_the_table_say_the_same_of_every_field) {
  static char told[64][320], fields[64][320];
  veil_options_describe(line_keep, told);
  int count = header_read(fields);
  cr_assert_gt(count, 10);
  for (int i = 0; i <= count; i++) {
    cr_assert_str_eq(told[i], fields[i], "the %dth option", i + 1);
    cr_assert_null(strstr(told[i], "(null)"), "%s", told[i]);
  }
}

Test(options, defaults_are_those_that_are_shown) {
  static char told[64][320];
  veil_options_describe(line_keep, told);
  veil_options o;
  bool given;
  cr_assert(rt_options_read(&o, NULL, &given));
  cr_assert_not(given);
  unsigned seen = 0;
  for (int i = 0; told[i][0] != 0; i++) {
    char *shown = strstr(told[i], "; default ") + 10, want[64] = "";
    const char *colon = strchr(told[i], ':');
    size_t n = (size_t)(colon - told[i]);
#define IS(NAME) (n == strlen(#NAME) && strncmp(told[i], #NAME, n) == 0)
#define NUMBER_IS(NAME, UNIT, SUFFIX)                                                                                  \
  if (IS(NAME)) {                                                                                                      \
    snprintf(want, sizeof want, "%llu%s", (unsigned long long)o.NAME / (UNIT), SUFFIX);                                \
  }
    NUMBER_IS(granule, 1024, "k")
    NUMBER_IS(scanners, 1, "")
    NUMBER_IS(growth, 1, "")
    NUMBER_IS(headroom, MIB, "m")
    NUMBER_IS(idle, 1, "")
    NUMBER_IS(verify, 1, "")
    NUMBER_IS(torture, 1, "")
    if (want[0] != 0) {
      seen++;
      cr_assert_str_eq(shown, want, "%s", told[i]);
    }
  }
  cr_assert_eq(seen, 7);
  cr_assert(o.stop_signal == SIGRTMIN + 5 && o.oom == VEIL_OOM_ABORT && o.stop == VEIL_STOP_SIGNAL);
  rt_machine machine;
  rt_machine_read(&machine, "");
  cr_assert(o.limit == rt_limit_default(&machine) && o.reserve == o.limit);
  cr_assert((o.soft_limit == 0) == (machine.cgroup_high == UINT64_MAX));
}

static void help_open(void *unused) {
  setenv("VEIL_OPTIONS", "help,limit=16m", 1);
  veil_heap *heap = veil_open(NULL);
  EXPECT(heap != NULL && stats_of(heap).limit_bytes == 16 * MIB);
  veil_close(heap);
}

Test(options, help_shows_the_table_with_the_values_in_force_and_goes_on) {
  static char told[64][320];
  veil_options_describe(line_keep, told);
  death d = death_of(help_open, NULL);
  cr_assert(death_none(&d));
  for (int i = 0; told[i][0] != 0; i++) {
    cr_assert(strstr(d.said, told[i]) != NULL, "%s is not in: %s", told[i], d.said);
  }
  cr_assert(strstr(d.said, "; now 16m\n") != NULL, "%s", d.said);
  cr_assert(strstr(d.said, "; now auto\n") != NULL, "%s", d.said);
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
