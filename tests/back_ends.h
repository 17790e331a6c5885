// SPDX-License-Identifier: MIT
// back_ends.h: one test per back end: sentence_on_uffd, and so on. The body is a function of the back end's name.
//
// Which of them a build runs is said by VEIL_TEST_BACK_ENDS, one of the words below: what each of CI's builds has, and that together they have all, is
// written down in tests/README.md. The others are there, and disabled.

#ifndef TESTS_BACK_ENDS_H
#define TESTS_BACK_ENDS_H

#include "tests/back_end_names.h"

#define BACK_ENDS_all 0    // on each
#define BACK_ENDS_first 1  // on uffd, and on the first of the others in the test's turn
#define BACK_ENDS_second 2 // on the second of them
#define BACK_ENDS_rest 3   // on the third and the fourth
#define BACK_ENDS_WORD_(WORD) BACK_ENDS_##WORD
#define BACK_ENDS_WORD(WORD) BACK_ENDS_WORD_(WORD)
#ifndef VEIL_TEST_BACK_ENDS
#define VEIL_TEST_BACK_ENDS all
#endif

// A test's turn begins, by the length of its name, with one of the four, so that neither another test nor another line moves it. tests/CMakeLists.txt does the same.
#define TURN_uffd_kernel 0
#define TURN_guard 1
#define TURN_mprotect 2
#define TURN_none 3
#define TURN_uffd 0 // has none
#define PLACE_IN_TURN(NAME, BACK_END) ((TURN_##BACK_END + sizeof #NAME - 1) % 4)

// What no sanitizer's build has: the first build runs what the second would have. Before anything is included.
#ifdef TESTS_ARE_NOT_SANITIZED
#define FIRST_PLACES 2
#else
#define FIRST_PLACES 1
#endif

#define IS_UFFD_uffd 1
#define IS_UFFD_uffd_kernel 0
#define IS_UFFD_guard 0
#define IS_UFFD_mprotect 0
#define IS_UFFD_none 0

#define BUILD_HAS BACK_ENDS_WORD(VEIL_TEST_BACK_ENDS)
// clang-format off
#define RUNS_HERE(NAME, BACK_END)                                                                                      \
  (BUILD_HAS == BACK_ENDS_all      ? 1                                                                                 \
   : IS_UFFD_##BACK_END            ? BUILD_HAS == BACK_ENDS_first                                                      \
   : BUILD_HAS == BACK_ENDS_first  ? PLACE_IN_TURN(NAME, BACK_END) < FIRST_PLACES                                      \
   : BUILD_HAS == BACK_ENDS_second ? PLACE_IN_TURN(NAME, BACK_END) == 1                                                \
                                   : PLACE_IN_TURN(NAME, BACK_END) > 1)
// clang-format on

#define ON_BACK_END(SUITE, NAME, BACK_END)                                                                             \
  Test(SUITE, NAME##_on_##BACK_END, .timeout = 120, .disabled = !RUNS_HERE(NAME, BACK_END)) { NAME(BACK_END_##BACK_END); }
#define ON_TRAPPING_BACK_ENDS(SUITE, NAME)                                                                             \
  static void NAME(const char *back_end);                                                                              \
  ON_BACK_END(SUITE, NAME, uffd)                                                                                       \
  ON_BACK_END(SUITE, NAME, uffd_kernel)                                                                                \
  ON_BACK_END(SUITE, NAME, guard)                                                                                      \
  ON_BACK_END(SUITE, NAME, mprotect)                                                                                   \
  static void NAME(const char *back_end)
#define ON_ALL_BACK_ENDS(SUITE, NAME)                                                                                  \
  static void NAME(const char *back_end);                                                                              \
  ON_BACK_END(SUITE, NAME, uffd)                                                                                       \
  ON_BACK_END(SUITE, NAME, uffd_kernel)                                                                                \
  ON_BACK_END(SUITE, NAME, guard)                                                                                      \
  ON_BACK_END(SUITE, NAME, mprotect)                                                                                   \
  ON_BACK_END(SUITE, NAME, none)                                                                                       \
  static void NAME(const char *back_end)

#endif
