// SPDX-License-Identifier: MIT
#include "tests/checkpoint/trials.h"
void trial_fail(void) {}
