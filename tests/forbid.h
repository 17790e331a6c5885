// SPDX-License-Identifier: MIT
// forbid.h: takes system calls away from this process for good, as container runtimes do. For children.

#ifndef TESTS_FORBID_H
#define TESTS_FORBID_H

#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FORBID_GUARD_INSTALL = 102, FORBID_ANY = -1 };

// The call fails with the error: if `third` is not FORBID_ANY, only with that value as its third argument.
static inline bool forbid(int call, int third, int error) {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, third == FORBID_ANY ? 0 : (unsigned)third, 0, 1),
      BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, third == FORBID_ANY ? 0xffffffffu : (unsigned)third, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
  };
  struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static inline bool forbid_userfaultfd(void) { return forbid(SYS_userfaultfd, FORBID_ANY, EPERM); }
static inline bool forbid_guards(void) { return forbid(SYS_madvise, FORBID_GUARD_INSTALL, EINVAL); }

// From now on nobody in particular, without privilege. False if this process is not root.
static inline bool become_nobody(void) { return setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0; }

#endif
