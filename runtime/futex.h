// SPDX-License-Identifier: MIT
// futex.h: waiting for a word with a deadline.

#ifndef RT_FUTEX_H
#define RT_FUTEX_H

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "vm/atomic.h"
#include "vm/os.h"

// Sleeps while *word is `expected`, up to `ms` milliseconds (0: no limit). May return early.
static inline void rt_wait(uint32_t volatile *word, uint32_t expected, unsigned ms) {
  struct timespec timeout = {ms / 1000, (long)(ms % 1000) * 1000000};
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, ms ? &timeout : NULL, NULL, 0);
}

static inline void rt_post(uint32_t volatile *word) {
  at32_add_full(word, 1);
  os_wake_all(word);
}

#endif
