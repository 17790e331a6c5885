// SPDX-License-Identifier: MIT
// options.h: options and what decides their defaults.

#ifndef RT_OPTIONS_H
#define RT_OPTIONS_H

#include <stdbool.h>
#include "runtime/machine.h"
#include "veil/options.h"

// The struct, then the environment, then defaults. `limit_given`: the limit, or how far it may be raised, was chosen by the program
// or its user. False with the error set.
bool rt_options_read(veil_options *out, const veil_options *given, bool *limit_given);

// The limit of a heap for which none was chosen.
uint64_t rt_limit_default(const rt_machine *machine);

#endif
