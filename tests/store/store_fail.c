// SPDX-License-Identifier: MIT
#include "tests/store/store_trials.h"
void trial_fail(void) {}
void trial_full(void) {}
void trial_unsure(void) {}
void trial_flips(void) {}
