// SPDX-License-Identifier: MIT
// back_ends.h: one test per back end: sentence_on_uffd, and so on. The body is a function of the back end's name.

#ifndef TESTS_BACK_ENDS_H
#define TESTS_BACK_ENDS_H

#include "tests/back_end_names.h"

#define ON_BACK_END(SUITE, NAME, BACK_END)                                                                             \
  Test(SUITE, NAME##_on_##BACK_END, .timeout = 120) { NAME(BACK_END_##BACK_END); }
// VEIL_TEST_BACK_ENDS: how many of them; tests/CMakeLists.txt says why.
#if VEIL_TEST_BACK_ENDS > 1
#define ON_MPROTECT(SUITE, NAME) ON_BACK_END(SUITE, NAME, mprotect)
#define ON_NONE(SUITE, NAME) ON_BACK_END(SUITE, NAME, none)
#else
#define ON_MPROTECT(SUITE, NAME)
#define ON_NONE(SUITE, NAME)
#endif
#if VEIL_TEST_BACK_ENDS > 3
#define ON_OTHER_BACK_ENDS(SUITE, NAME)                                                                                \
  ON_BACK_END(SUITE, NAME, uffd_kernel)                                                                                \
  ON_BACK_END(SUITE, NAME, guard)
#else
#define ON_OTHER_BACK_ENDS(SUITE, NAME)
#endif
#define ON_TRAPPING_BACK_ENDS(SUITE, NAME)                                                                             \
  static void NAME(const char *back_end);                                                                              \
  ON_BACK_END(SUITE, NAME, uffd)                                                                                       \
  ON_MPROTECT(SUITE, NAME)                                                                                             \
  ON_OTHER_BACK_ENDS(SUITE, NAME)                                                                                      \
  static void NAME(const char *back_end)
#define ON_ALL_BACK_ENDS(SUITE, NAME)                                                                                  \
  static void NAME(const char *back_end);                                                                              \
  ON_BACK_END(SUITE, NAME, uffd)                                                                                       \
  ON_MPROTECT(SUITE, NAME)                                                                                             \
  ON_NONE(SUITE, NAME)                                                                                                 \
  ON_OTHER_BACK_ENDS(SUITE, NAME)                                                                                      \
  static void NAME(const char *back_end)

#endif
