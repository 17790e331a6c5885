// SPDX-License-Identifier: MIT
// error.h: why the last call of a thread failed (error.c).

#ifndef RT_ERROR_H
#define RT_ERROR_H

// Sets what veil_error returns in this thread: one line. Returns it.
const char *rt_error_set(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
