// SPDX-License-Identifier: MIT
// machine.c: how much memory the process may have, on made-up trees of /proc and /sys, and in a real cgroup where one can be made.

#include <criterion/criterion.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/stat.h>
#include "runtime/machine.h"
#include "runtime/options.h"
#include "tests/runtime/test.h"

#define GIB ((uint64_t)1 << 30)

// ---- A tree.

static char tree[64];

static void tree_begin(void) {
  strcpy(tree, "/tmp/veil-machine-XXXXXX");
  cr_assert_not_null(mkdtemp(tree));
}

static void tree_end(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", tree);
  cr_assert_eq(system(command), 0);
}

static void file(const char *name, const char *format, ...) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s%s", tree, name);
  for (char *at = path + strlen(tree) + 1; (at = strchr(at, '/')) != NULL; at++) {
    *at = 0;
    mkdir(path, 0700);
    *at = '/';
  }
  FILE *f = fopen(path, "w");
  cr_assert_not_null(f, "%s", path);
  va_list args;
  va_start(args, format);
  vfprintf(f, format, args);
  va_end(args);
  fclose(f);
}

static rt_machine machine(void) {
  rt_machine m;
  rt_machine_read(&m, tree);
  return m;
}

// 16 GiB of RAM, and version 2 alone.
static void tree_of_version_2(const char *path) {
  tree_begin();
  file("/proc/meminfo", "MemTotal:       16777216 kB\nMemFree:        1000 kB\n");
  file("/proc/self/mountinfo", "22 28 0:20 / /proc rw - proc proc rw\n"
                               "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
  file("/proc/self/cgroup", "0::%s\n", path);
}

Test(machine, without_limits_there_is_what_the_machine_has) {
  tree_of_version_2("/");
  rt_machine m = machine();
  cr_assert_eq(m.physical, 16 * GIB);
  cr_assert_eq(m.memory, 16 * GIB);
  cr_assert_eq(m.cgroup, UINT64_MAX);
  cr_assert_eq(m.cgroup_high, UINT64_MAX);
  cr_assert_eq(rt_limit_default(&m), 12 * GIB);
  tree_end();
}

Test(machine, the_cgroups_own_limit_counts) {
  tree_of_version_2("/user.slice/job");
  file("/sys/fs/cgroup/user.slice/job/memory.max", "4294967296\n");
  file("/sys/fs/cgroup/user.slice/job/memory.high", "3221225472\n");
  rt_machine m = machine();
  cr_assert_eq(m.memory, 4 * GIB);
  cr_assert_eq(m.cgroup_high, 3 * GIB);
  cr_assert_eq(rt_limit_default(&m), 3 * GIB);
  tree_end();
}

Test(machine, the_least_of_all_ancestors_counts) {
  tree_of_version_2("/a/b/c");
  file("/sys/fs/cgroup/a/memory.max", "1073741824\n");
  file("/sys/fs/cgroup/a/b/memory.max", "max\n");
  file("/sys/fs/cgroup/a/b/c/memory.max", "2147483648\n");
  file("/sys/fs/cgroup/a/b/memory.high", "536870912");
  file("/sys/fs/cgroup/a/b/c/memory.high", "max\n");
  rt_machine m = machine();
  cr_assert_eq(m.memory, GIB);
  cr_assert_eq(m.cgroup_high, GIB / 2);
  file("/sys/fs/cgroup/memory.max", "268435456\n"); // a container sees its own at the root
  cr_assert_eq(machine().memory, GIB / 4);
  tree_end();
}

Test(machine, a_limit_above_what_there_is_does_not_count) {
  tree_of_version_2("/a");
  file("/sys/fs/cgroup/a/memory.max", "%llu\n", (unsigned long long)(64 * GIB));
  cr_assert_eq(machine().memory, 16 * GIB);
  tree_end();
}

Test(machine, content_that_is_no_number_is_no_limit) {
  static const char *const bad[] = {"", "\n", "max\n", "-5\n", "0\n", "12x\n", "lots\n", "12 13\n", " 7\n", "0x100\n", "nan\n",
                                    "99999999999999999999999999\n", "1.5\n"};
  tree_of_version_2("/a");
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    file("/sys/fs/cgroup/a/memory.max", "%s", bad[i]);
    file("/sys/fs/cgroup/a/memory.high", "%s", bad[i]);
    cr_assert_eq(machine().memory, 16 * GIB, "'%s'", bad[i]);
    cr_assert_eq(machine().cgroup_high, UINT64_MAX, "'%s'", bad[i]);
  }
  tree_end();
}

Test(machine, bad_proc_files_are_no_limit_and_no_crash) {
  static const char *const bad[] = {"", "\n\n\n", "0::\n", "0::a\n", "0\n", ":::\n", "x:memory:/a", "0::/../..\n", "::::::::\n", " - \n - - -\n",
                                    "1 2 3 4 5 6 - cgroup2\n", "1 2 - cgroup2 x y\n", "1 2 3 / /sys/fs/cgroup rw - cgroup2\n",
                                    "31 23 0:28 / relative rw - cgroup2 cgroup2 rw\n", "31 23 0:28 /\\9 /\\04 rw - cgroup2 cgroup2 rw\n"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    for (size_t j = 0; j < sizeof bad / sizeof *bad; j++) {
      tree_of_version_2("/a");
      file("/proc/self/mountinfo", "%s", bad[i]);
      file("/proc/self/cgroup", "%s", bad[j]);
      cr_assert_eq(machine().memory, 16 * GIB, "%zu, %zu", i, j);
      tree_end();
    }
  }
  tree_begin(); // nothing at all: the system tells
  cr_assert_eq(machine().physical, (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
  file("/proc/meminfo", "MemTotal: many kB\n");
  cr_assert_eq(machine().physical, (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
  tree_end();
}

Test(machine, paths_and_files_of_any_length_are_survived) {
  tree_of_version_2("/a");
  static char path[3 * PATH_MAX];
  memset(path, 'a', sizeof path - 1);
  path[0] = '/';
  file("/proc/self/cgroup", "0::%s\n", path);
  cr_assert_eq(machine().memory, 16 * GIB);
  file("/proc/self/mountinfo", "31 23 0:28 / %s rw - cgroup2 cgroup2 rw\n", path);
  cr_assert_eq(machine().memory, 16 * GIB);
  char name[128];
  snprintf(name, sizeof name, "%s/proc/self/mountinfo", tree);
  FILE *f = fopen(name, "w");
  fprintf(f, "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  for (int i = 0; i < 20000; i++) { // longer than what is read of it
    fprintf(f, "%d 23 0:28 / /some/mount/%d rw - tmpfs tmpfs rw\n", i + 100, i);
  }
  fclose(f);
  file("/proc/self/cgroup", "0::/a\n");
  file("/sys/fs/cgroup/a/memory.max", "1073741824\n");
  cr_assert_eq(machine().memory, GIB);
  tree_end();
}

Test(machine, version_1_counts_where_its_memory_controller_is_mounted) {
  tree_begin();
  file("/proc/meminfo", "MemTotal:       16777216 kB\n");
  file("/proc/self/mountinfo", "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
                               "35 31 0:32 / /sys/fs/cgroup/my\\040memory rw - cgroup cgroup rw,memory\n"
                               "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  file("/proc/self/cgroup", "9:name=systemd:/\n4:cpu,cpuacct:/c\n3:hugetlb,memory:/job/one\n0::/\n");
  file("/sys/fs/cgroup/my memory/memory.limit_in_bytes", "9223372036854771712\n");
  file("/sys/fs/cgroup/my memory/job/memory.limit_in_bytes", "2147483648\n");
  file("/sys/fs/cgroup/my memory/job/one/memory.limit_in_bytes", "9223372036854771712\n");
  file("/sys/fs/cgroup/cpu/c/memory.limit_in_bytes", "1\n"); // not that one
  cr_assert_eq(machine().memory, 2 * GIB);
  file("/sys/fs/cgroup/unified/memory.max", "1073741824\n"); // both at once: the least
  cr_assert_eq(machine().memory, GIB);
  tree_end();
}

Test(machine, a_mount_that_shows_a_part_of_the_hierarchy_is_read_from_there) {
  tree_begin();
  file("/proc/meminfo", "MemTotal:       16777216 kB\n");
  file("/proc/self/mountinfo", "35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  file("/proc/self/cgroup", "3:memory:/docker/abc/inner\n");
  file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "2147483648\n");
  file("/sys/fs/cgroup/memory/inner/memory.limit_in_bytes", "1073741824\n");
  cr_assert_eq(machine().memory, GIB);
  file("/proc/self/cgroup", "3:memory:/docker/abc\n");
  cr_assert_eq(machine().memory, 2 * GIB);
  file("/proc/self/cgroup", "3:memory:/docker/abcd\n"); // not below it: what the mount shows is all there is to ask
  cr_assert_eq(machine().memory, 2 * GIB);
  file("/proc/self/cgroup", "3:memory:/../inner\n");
  cr_assert_eq(machine().memory, 2 * GIB);
  tree_end();
}

Test(machine, the_default_limit_stays_within_what_a_heap_can_have) {
  rt_machine m = {.memory = 1 << 20, .address_space = UINT64_MAX};
  cr_assert_eq(rt_limit_default(&m), 2 * MIB);
  m.memory = 1000 * GIB;
  cr_assert_eq(rt_limit_default(&m), 20 * GIB);
  m.address_space = 8 * GIB;
  cr_assert_eq(rt_limit_default(&m), GIB);
}

// ---- This machine.

static void says_limit(void *unused) {
  veil_heap *heap = veil_open(NULL);
  printf("limit %llu soft %llu: %s\n", heap ? (unsigned long long)stats_of(heap).limit_bytes : 0,
         heap ? (unsigned long long)stats_of(heap).soft_limit_bytes : 0, heap ? "" : veil_error());
}

static uint64_t limit_said(const death *d) {
  unsigned long long limit = 0;
  cr_assert_eq(sscanf(d->said, "limit %llu", &limit), 1, "%s", d->said);
  return limit;
}

#if !defined(__SANITIZE_ADDRESS__)
static void says_limit_with_little_data(void *arg) {
  struct rlimit limit = {512 * MIB, 512 * MIB};
  EXPECT(setrlimit(RLIMIT_DATA, &limit) == 0);
  says_limit(arg);
}

Test(machine, RLIMIT_DATA_counts) {
  death d = death_of(says_limit_with_little_data, NULL);
  cr_assert_leq(limit_said(&d), 384 * MIB);
  cr_assert_geq(limit_said(&d), 2 * MIB);
}
#endif

// Puts the process into a new cgroup of 256 MiB. False: not possible here.
static bool cgroup_enter(const char *mount, const char *file_name, char *made, size_t bytes) {
  char name[PATH_MAX];
  snprintf(made, bytes, "%s/veil-test-%d", mount, (int)getpid());
  if (mkdir(made, 0700) != 0) {
    return false;
  }
  snprintf(name, sizeof name, "%s/%s", made, file_name);
  int limit = open(name, O_WRONLY);
  bool ok = limit >= 0 && write(limit, "268435456", 9) == 9;
  close(limit);
  snprintf(name, sizeof name, "%s/cgroup.procs", made);
  int procs = open(name, O_WRONLY);
  ok = ok && procs >= 0 && write(procs, "0", 1) == 1;
  close(procs);
  if (!ok) {
    rmdir(made);
  }
  return ok;
}

static void says_limit_in_cgroup(void *unused) {
  char made[PATH_MAX];
  if (!cgroup_enter("/sys/fs/cgroup/memory", "memory.limit_in_bytes", made, sizeof made) &&
      !cgroup_enter("/sys/fs/cgroup", "memory.max", made, sizeof made) &&
      !cgroup_enter("/sys/fs/cgroup/unified", "memory.max", made, sizeof made)) {
    printf("no cgroup\n");
    return;
  }
  says_limit(NULL);
  printf("made %s\n", made);
}

Test(machine, in_a_real_cgroup_the_default_limit_is_three_quarters_of_its) {
  death d = death_of(says_limit_in_cgroup, NULL);
  const char *made = strstr(d.said, "made ");
  if (made == NULL) {
    cr_assert(strstr(d.said, "no cgroup") != NULL, "%s", d.said);
    cr_skip_test("no cgroup can be made here");
  }
  char path[PATH_MAX];
  cr_assert_eq(sscanf(made, "made %4095s", path), 1);
  for (int i = 0; rmdir(path) != 0 && i < 100; i++) {
    sleep_ms(10);
  }
  cr_assert_eq(limit_said(&d), 192 * MIB, "%s", d.said);
}
