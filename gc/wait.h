// SPDX-License-Identifier: MIT
// wait.h: waiting for a thread that is at work, and needs no more than a processor.
//
// First in its favour, if it wants this very one. But while we are ready to run the system sees a busy processor, and leaves the other thread where it
// may have been pushed aside: so before long we sleep, longer and longer, and it is fetched.

#ifndef GC_WAIT_H
#define GC_WAIT_H

#include <sched.h>
#include "vm/os.h"

enum { GC_WAIT_YIELDS = 32, GC_WAIT_NAP_US = 30, GC_WAIT_NAPS = 6 /* each twice as long */ };

// Between two looks; `looks` begins with 0.
static inline void gc_wait(unsigned *looks) {
  unsigned look = (*looks)++;
  if (look < GC_WAIT_YIELDS) {
    sched_yield();
  } else {
    look -= GC_WAIT_YIELDS;
    os_nap(GC_WAIT_NAP_US << (look < GC_WAIT_NAPS ? look : GC_WAIT_NAPS - 1));
  }
}

#endif
