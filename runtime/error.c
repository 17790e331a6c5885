// SPDX-License-Identifier: MIT
// error.c: why the last call of a thread failed.

#include <stdarg.h>
#include <stdio.h>
#include "runtime/runtime.h"

static __thread char last_error[512];

const char *rt_error_set(const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(last_error, sizeof last_error, format, args);
  va_end(args);
  return last_error;
}

RT_EXPORT const char *veil_error(void) { return last_error; }
