// SPDX-License-Identifier: MIT
// text.c: numbers and patterns in arguments and replies.

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include "kv.h"

bool kv_integer(kv_text text, int64_t *out) {
  const char *at = text.at, *end = at + text.length;
  bool negative = at < end && *at == '-';
  at += negative;
  if (at == end || end - at > 19 || (*at == '0' && (end - at > 1 || negative))) {
    return false;
  }
  uint64_t value = 0;
  for (; at < end; at++) {
    if (*at < '0' || *at > '9') {
      return false;
    }
    value = value * 10 + (uint64_t)(*at - '0'); // 19 digits fit
  }
  if (value > (uint64_t)INT64_MAX + negative) {
    return false;
  }
  *out = negative ? (int64_t)(0 - value) : (int64_t)value;
  return true;
}

bool kv_double(kv_text text, double *out) {
  char copy[320], *end;
  if (text.length == 0 || text.length >= sizeof copy || isspace((unsigned char)text.at[0]) || memchr(text.at, 0, text.length)) {
    return false;
  }
  memcpy(copy, text.at, text.length);
  copy[text.length] = 0;
  errno = 0;
  *out = strtod(copy, &end);
  return *end == 0 && !isnan(*out) && !(errno == ERANGE && (isinf(*out) || *out == 0));
}

bool kv_wide(kv_text text, long double *out) {
  char copy[KV_WIDE_TEXT], *end;
  if (text.length == 0 || text.length >= sizeof copy || isspace((unsigned char)text.at[0]) || memchr(text.at, 0, text.length)) {
    return false;
  }
  memcpy(copy, text.at, text.length);
  copy[text.length] = 0;
  errno = 0;
  *out = strtold(copy, &end);
  return *end == 0 && !isnan(*out) && !(errno == ERANGE && (isinf(*out) || *out == 0));
}

bool kv_arg_integer(kv_call *call, int i, int64_t *out) {
  if (!kv_integer(kv_arg(call, i), out)) {
    kv_reply_error(call, "ERR value is not an integer or out of range");
    return false;
  }
  return true;
}

bool kv_text_is(kv_text text, const char *word) { return strlen(word) == text.length && strncasecmp(text.at, word, text.length) == 0; }

int kv_text_compare(kv_text a, kv_text b) {
  int order = memcmp(a.at, b.at, a.length < b.length ? a.length : b.length);
  return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

// The shortest that reads back as the same.
size_t kv_double_write(double value, char out[64]) {
  if (isinf(value)) {
    return (size_t)sprintf(out, value > 0 ? "inf" : "-inf");
  }
  if (fabs(value) < 1e17 && value == (double)(long long)value) {
    return kv_integer_write((long long)value, out);
  }
  for (int digits = 15; digits < 18; digits++) {
    snprintf(out, 64, "%.*g", digits, value);
    if (strtod(out, NULL) == value) {
      break;
    }
  }
  return strlen(out);
}

size_t kv_wide_write(long double value, char out[KV_WIDE_TEXT]) {
  size_t length = (size_t)snprintf(out, KV_WIDE_TEXT, "%.17Lf", value);
  while (out[length - 1] == '0') {
    length--; // there is a point before
  }
  length -= out[length - 1] == '.';
  if (length == 2 && memcmp(out, "-0", 2) == 0) {
    out[0] = '0';
    length = 1;
  }
  return length;
}

size_t kv_integer_write(int64_t value, char out[24]) {
  char digits[24];
  size_t count = 0, length = 0;
  uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
  do {
    digits[count++] = (char)('0' + left % 10);
    left /= 10;
  } while (left > 0);
  if (value < 0) {
    out[length++] = '-';
  }
  while (count > 0) {
    out[length++] = digits[--count];
  }
  return length;
}

// One class [...]: whether it takes `c`; *at is set behind it.
static bool class_takes(const char **at, const char *end, char c) {
  const char *p = *at;
  bool inverted = p < end && *p == '^', found = false;
  p += inverted;
  for (; p < end && *p != ']'; p++) {
    if (*p == '\\' && p + 1 < end) {
      p++;
      found = found || *p == c;
    } else if (p + 2 < end && p[1] == '-' && p[2] != ']') {
      char low = p[0] < p[2] ? p[0] : p[2], high = p[0] < p[2] ? p[2] : p[0];
      found = found || (c >= low && c <= high);
      p += 2;
    } else {
      found = found || *p == c;
    }
  }
  *at = p < end ? p + 1 : p;
  return found != inverted;
}

// Goes back to the last star only, so the time is the product of the lengths at the most.
bool kv_glob(kv_text pattern, kv_text text) {
  const char *p = pattern.at, *pe = p + pattern.length, *s = text.at, *se = s + text.length;
  const char *star = NULL, *mark = NULL;
  for (;;) {
    if (p < pe && *p == '*') {
      star = ++p;
      mark = s;
      continue;
    }
    if (s == se) {
      return p == pe;
    }
    const char *next = p;
    bool takes = false;
    if (p < pe) {
      next = p + 1;
      if (*p == '?') {
        takes = true;
      } else if (*p == '[') {
        takes = class_takes(&next, pe, *s);
      } else if (*p == '\\' && next < pe) {
        takes = *next++ == *s;
      } else {
        takes = *p == *s;
      }
    }
    if (takes) {
      p = next;
      s++;
    } else if (star != NULL) {
      p = star;
      s = ++mark;
    } else {
      return false;
    }
  }
}
