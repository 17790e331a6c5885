// SPDX-License-Identifier: MIT
// back_ends.h: one test per back end: sentence_on_uffd, and so on. The body is a function of the back end's name.

#ifndef TESTS_BACK_ENDS_H
#define TESTS_BACK_ENDS_H

#include "tests/back_end_names.h"

#define ON_BACK_END(SUITE, NAME, BACK_END)                                                                             \
  Test(SUITE, NAME##_on_##BACK_END, .timeout = 120) { NAME(BACK_END_##BACK_END); }
// Where the build itself takes long (sanitizers), not the two whose code is mostly that of uffd.
#ifdef VEIL_EVERY_BACK_END
#define ON_OTHER_BACK_ENDS(SUITE, NAME)                                                                                \
  ON_BACK_END(SUITE, NAME, uffd_kernel)                                                                                \
  ON_BACK_END(SUITE, NAME, guard)
#else
#define ON_OTHER_BACK_ENDS(SUITE, NAME)
#endif
#define ON_TRAPPING_BACK_ENDS(SUITE, NAME)                                                                             \
  static void NAME(const char *back_end);                                                                              \
  ON_BACK_END(SUITE, NAME, uffd)                                                                                       \
  ON_BACK_END(SUITE, NAME, mprotect)                                                                                   \
  ON_OTHER_BACK_ENDS(SUITE, NAME)                                                                                      \
  static void NAME(const char *back_end)
#define ON_ALL_BACK_ENDS(SUITE, NAME)                                                                                  \
  static void NAME(const char *back_end);                                                                              \
  ON_BACK_END(SUITE, NAME, uffd)                                                                                       \
  ON_BACK_END(SUITE, NAME, mprotect)                                                                                   \
  ON_BACK_END(SUITE, NAME, none)                                                                                       \
  ON_OTHER_BACK_ENDS(SUITE, NAME)                                                                                      \
  static void NAME(const char *back_end)

#endif
