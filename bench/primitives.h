// SPDX-License-Identifier: MIT
// primitives.h: what primitives.c needs that vm does not give: a bare trap, and a second mutator that can be stopped.

#ifndef BENCH_PRIMITIVES_H
#define BENCH_PRIMITIVES_H

#include "vm/vm.h"

// Installs handlers that step over the instruction that touched a page of this file's. Before any region is opened.
void bare_trap_install(void);

// What a trap costs whose handler returns at once: the median over so many rounds of 100. By the same means as
// the back end traps: a protected or guarded page, or one that is missing from a userfaultfd, told by SIGBUS or to another thread,
// which wakes the toucher and leaves the page as it is.
double bare_trap_us(const char *back_end, unsigned rounds);

// A thread that counts, and is stopped by a signal. other_stop returns when it stands.
void other_start(void);
void other_stop(void);
void other_resume(void);
void other_end(void);

#endif
