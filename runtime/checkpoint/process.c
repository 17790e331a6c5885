// SPDX-License-Identifier: MIT
// process.c: whether a checkpointer is this process's own. A child of fork has the claims and none of the threads (cp.child).
//
// The number of the process stands on a page that the kernel wipes in a child, before it runs at all; a child of vfork shares it, and our memory with it. Any thread, in traps too.

#include <sys/mman.h>
#include "runtime/checkpoint/inner.h"

static uint32_t volatile *here;      // constant once it is there
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t processes;           // in a row of parents and children

uint32_t cp_process_here(void) {
  pthread_mutex_lock(&lock);
  if (here == NULL) {
    enum { PAGE = 4096 };
    void *page = os_map_private(PAGE);
    if (page != NULL && madvise(page, PAGE, MADV_WIPEONFORK) == 0) {
      here = page;
    } else if (page != NULL) {
      os_unmap(page, PAGE);
    }
  }
  uint32_t number = 0;
  if (here != NULL) {
    number = at32_load(here);
    if (number == 0) {
      number = ++processes;
      at32_store_release(here, number);
    }
  }
  pthread_mutex_unlock(&lock);
  return number;
}

bool cp_process_gone(const veil_checkpointer *c) { return at32_load(here) != c->process; }
