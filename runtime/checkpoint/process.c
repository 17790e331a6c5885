// SPDX-License-Identifier: MIT
// process.c: whether a checkpointer is this process's own. A child of fork has the claims and none of the threads (cp.child).
//
// The number of the process stands on a page that the kernel wipes in a child, before that runs at all; a child of vfork shares it, and our memory with it. Any
// thread, in traps too; no locks, since a child may come when one is held.

#include <sys/mman.h>
#include "runtime/checkpoint/inner.h"

enum { PAGE = 4096 };
static AO_t here;                   // address of the page; 0: not yet
static uint32_t volatile processes; // parents and children, in a row

uint32_t cp_process_here(void) {
  if (at_load_acquire(&here) == 0) {
    void *page = os_map_private(PAGE);
    if (page != NULL && (madvise(page, PAGE, MADV_WIPEONFORK) != 0 || !at_cas_full(&here, 0, (uint64_t)page))) {
      os_unmap(page, PAGE);
    }
  }
  uint32_t volatile *at = (uint32_t volatile *)at_load_acquire(&here);
  if (at != NULL && at32_load(at) == 0) {
    at32_cas_full(at, 0, at32_add_full(&processes, 1) + 1);
  }
  return at != NULL ? at32_load(at) : 0;
}

bool cp_process_gone(const veil_checkpointer *c) { return at32_load((uint32_t volatile *)at_load(&here)) != c->process; }
