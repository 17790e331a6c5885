// SPDX-License-Identifier: MIT
// machine.h: how much memory this process may have.

#ifndef RT_MACHINE_H
#define RT_MACHINE_H

#include <stdint.h>

typedef struct rt_machine {
  uint64_t memory;        // bytes: the least of what follows
  uint64_t physical;      // RAM
  uint64_t cgroup;        // the least memory.max or memory.limit_in_bytes of the process's cgroups; UINT64_MAX: none
  uint64_t cgroup_high;   // the least memory.high; UINT64_MAX: none
  uint64_t data;          // RLIMIT_DATA; UINT64_MAX: none
  uint64_t address_space; // RLIMIT_AS, which bounds more than memory: not in `memory`; UINT64_MAX: none
} rt_machine;

// Reads all that from /proc and /sys, whose paths are prefixed by `prefix` ("" for this machine; a test has trees of its own). What cannot be
// read or understood is no limit. No malloc, no stdio but formatting. Any thread.
void rt_machine_read(rt_machine *out, const char *prefix);

#endif
