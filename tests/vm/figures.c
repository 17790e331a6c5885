// SPDX-License-Identifier: MIT
// figures.c: the histogram and the clock.

#include "vm_test.h"

#include <criterion/criterion.h>

Test(figures, a_percentile_is_right_to_four_percent) {
  static vm_histogram h;
  cr_assert_eq(vm_histogram_at(&h, 0.5), 0);
  for (uint64_t i = 1; i <= 100000; i++) {
    vm_histogram_add(&h, i * 10);
  }
  for (double share = 0.01; share <= 1.0; share += 0.01) {
    double is = (double)vm_histogram_at(&h, share), should = share * 1e6;
    cr_assert(is >= should * 0.96 && is <= should * 1.04, "%f: %f", share, is);
  }
  static vm_histogram far;
  vm_histogram_add(&far, ~(uint64_t)0);
  cr_assert_gt(vm_histogram_at(&far, 1), (uint64_t)1 << 39);
  static vm_histogram zero;
  vm_histogram_add(&zero, 0);
  cr_assert_eq(vm_histogram_at(&zero, 1), 0);
}

Test(figures, the_clock_does_not_go_back) {
  uint64_t last = vm_now();
  for (int i = 0; i < 100000; i++) {
    uint64_t now = vm_now();
    cr_assert_geq(now, last);
    last = now;
  }
}
