// SPDX-License-Identifier: MIT
// memory.c: what the three builds have in common: the kernel's account of the process.

#include "memory.h"
#include <stdio.h>
#include <unistd.h>

void kv_memory_status(uint64_t *resident, uint64_t *shared) {
  unsigned long long size = 0, all = 0, mapped = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file != NULL) {
    if (fscanf(file, "%llu %llu %llu", &size, &all, &mapped) != 3) {
      all = mapped = 0;
    }
    fclose(file);
  }
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  *resident = all * page;
  *shared = mapped * page;
}
