// SPDX-License-Identifier: MIT
// back_end_names.h: what the back ends are called, by what a test's name may contain.

#ifndef TESTS_BACK_END_NAMES_H
#define TESTS_BACK_END_NAMES_H

#include <stdbool.h>
#include <string.h>

#define BACK_END_uffd "uffd"
#define BACK_END_uffd_kernel "uffd-kernel"
#define BACK_END_guard "guard"
#define BACK_END_mprotect "mprotect"
#define BACK_END_none "none"

// Whether the back end works on any system.
static inline bool back_end_is_everywhere(const char *name) {
  return name == NULL || strcmp(name, "mprotect") == 0 || strcmp(name, "none") == 0 || strcmp(name, "auto") == 0;
}

#endif
