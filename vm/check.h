// SPDX-License-Identifier: MIT
// check.h: checks that speak and abort, at three costs.
//
// VM_CHECK stays on in release: cheap, off the hottest paths. VM_CHECK_FULL is for debug builds (VEIL_FULL_CHECKS).
// VM_FATAL is a programming error of the user. All write one line with write(2), allocate
// nothing, and may be used in signal handlers.

#ifndef VM_CHECK_H
#define VM_CHECK_H

#include <stdbool.h>

_Noreturn void vm_check_failed(const char *file, int line, const char *condition, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

// "veil: " and the message, then abort. `format` is a subset: %s %d %u %lu %zu %p %lx %c.
_Noreturn void vm_fatal(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define VM_CHECK(CONDITION, ...) \
  (__builtin_expect(!!(CONDITION), 1) ? (void)0 : vm_check_failed(__FILE__, __LINE__, #CONDITION, __VA_ARGS__))

#ifdef VEIL_FULL_CHECKS
#define VM_CHECK_FULL(CONDITION, ...) VM_CHECK(CONDITION, __VA_ARGS__)
enum { VM_FULL_CHECKS = 1 };
#else
#define VM_CHECK_FULL(CONDITION, ...) ((void)(sizeof(!!(CONDITION))))
enum { VM_FULL_CHECKS = 0 };
#endif

#endif
