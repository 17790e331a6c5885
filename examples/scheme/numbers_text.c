// SPDX-License-Identifier: MIT
// numbers_text.c: numbers to text and back. A flonum is written with as few digits as make it the same again.

#include "numbers.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char digit_names[] = "0123456789abcdefghijklmnopqrstuvwxyz";

static value latin1(machine *m, const char *text, size_t bytes) { return new_string_latin1(m, (const uint8_t *)text, (int64_t)bytes); }

// ---- To text.
static value fixnum_text(machine *m, int64_t i, int radix) {
  char room[72], *at = room + sizeof room;
  uint64_t left = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
  do {
    *--at = digit_names[left % (unsigned)radix];
    left /= (unsigned)radix;
  } while (left != 0);
  if (i < 0) {
    *--at = '-';
  }
  return latin1(m, at, (size_t)(room + sizeof room - at));
}

static value bignum_text(machine *m, value v, int radix) {
  integer x;
  integer_view(&x, v);
  result copy; // mpn_get_str destroys what it converts
  result_open(&copy, m, x.used + 1);
  memcpy(copy.limb, x.limb, (size_t)x.used * sizeof(mp_limb_t));
  int bits_per_digit = 31 - __builtin_clz((unsigned)radix);
  int64_t room = integer_bits(v) / bits_per_digit + 3;
  value bytes = new_bytevector(m, room, -1);
  uint8_t *digits = OBJECT_(bytevector, bytes)->byte;
  int64_t used = (int64_t)mpn_get_str(digits + 1, radix, copy.limb, x.used);
  uint8_t *first = digits + 1;
  while (used > 1 && *first == 0) {
    first++;
    used--;
  }
  for (int64_t i = 0; i < used; i++) {
    first[i] = (uint8_t)digit_names[first[i]];
  }
  if (x.negative) {
    *--first = '-';
    used++;
  }
  return new_string_latin1(m, first, used);
}

// The digits and the exponent of the shortest decimal that reads as d, which is finite and positive: d = 0.DIGITS * 10^exponent. What fits 15 digits is found
// by
// the first try, its zeros taken off; subnormal numbers have fewer digits to tell apart and are tried from one on.
static int shortest_digits(double d, char *digits, int *exponent) {
  char text[40];
  int precision = d < 0x1p-1022 ? 1 : 15;
  for (;; precision++) {
    snprintf(text, sizeof text, "%.*e", precision - 1, d);
    if (precision >= 17 || strtod(text, NULL) == d) {
      break;
    }
    int unused;
    if (precision == 16 && frexp(d, &unused) == 0.5) { // a power of two: the gap above it is twice the one below, and the next decimal may do
      char *last = strchr(text, 'e') - 1;
      if (*last != '9' && *last != '.') {
        ++*last;
        if (strtod(text, NULL) == d) {
          break;
        }
      }
    }
  }
  int count = 0;
  const char *at = text;
  for (; *at != 'e'; at++) {
    if (*at != '.') {
      digits[count++] = *at;
    }
  }
  *exponent = atoi(at + 1) + 1;
  while (count > 1 && digits[count - 1] == '0') {
    count--;
  }
  return count;
}

static value flonum_decimal(machine *m, double d) {
  char digits[24], text[64];
  int exponent = 0, used = 0, count = 1;
  digits[0] = '0';
  if (d != 0) {
    count = shortest_digits(fabs(d), digits, &exponent);
  } else {
    exponent = 1;
  }
  if (signbit(d)) {
    text[used++] = '-';
  }
  if (exponent > 0 && exponent <= 21) {
    for (int i = 0; i < (count > exponent ? count : exponent); i++) {
      if (i == exponent) {
        text[used++] = '.';
      }
      text[used++] = i < count ? digits[i] : '0';
    }
    if (count <= exponent) {
      text[used++] = '.';
      text[used++] = '0';
    }
  } else if (exponent <= 0 && exponent > -6) {
    used += sprintf(text + used, "0.%.*s%.*s", -exponent, "0000000", count, digits);
  } else {
    used += sprintf(text + used, "%c%s%.*se%d", digits[0], count > 1 ? "." : "", count - 1, digits + 1, exponent - 1);
  }
  return latin1(m, text, (size_t)used);
}

// In a radix that is a power of two all digits are written: they end.
static value flonum_exact_digits(machine *m, double d, int radix) {
  byte_buffer out;
  buffer_open(&out, m, 80);
  if (signbit(d)) {
    buffer_add_byte(&out, '-');
  }
  double whole = trunc(fabs(d)), fraction = fabs(d) - whole;
  string *text = OBJECT_(string, number_text(m, integer_from_double(m, whole), radix));
  buffer_add(&out, OBJECT_(bytevector, text->data)->byte, text->length);
  buffer_add_byte(&out, '.');
  do {
    fraction *= radix;
    buffer_add_byte(&out, digit_names[(int)fraction]);
    fraction -= trunc(fraction);
  } while (fraction != 0);
  return new_string_latin1(m, buffer_bytes(&out), out.used);
}

value number_text(machine *m, value number, int radix) {
  if (is_fixnum(number)) {
    return fixnum_text(m, fixnum_of(number), radix);
  }
  if (is_bignum(number)) {
    return bignum_text(m, number, radix);
  }
  if (is_rational(number)) {
    byte_buffer out;
    buffer_open(&out, m, 40);
    string *top = OBJECT_(string, number_text(m, numerator_of(number), radix)), *bottom = OBJECT_(string, number_text(m, denominator_of(number), radix));
    buffer_add(&out, OBJECT_(bytevector, top->data)->byte, top->length);
    buffer_add_byte(&out, '/');
    buffer_add(&out, OBJECT_(bytevector, bottom->data)->byte, bottom->length);
    return new_string_latin1(m, buffer_bytes(&out), out.used);
  }
  double d = flonum_of(number);
  if (!isfinite(d)) {
    return latin1(m, isnan(d) ? "+nan.0" : d > 0 ? "+inf.0" : "-inf.0", 6);
  }
  if (radix == 10) {
    return flonum_decimal(m, d);
  }
  if ((radix & (radix - 1)) != 0) {
    fail(m, "number->string", "inexact numbers are written in radix 2, 4, 8, 10, 16 or 32", 1, fixnum(radix));
  }
  return flonum_exact_digits(m, d, radix);
}

// ---- From text.
static int digit_of(int c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  if (c >= 'a' && c <= 'z') {
    return c - 'a' + 10;
  }
  return c >= 'A' && c <= 'Z' ? c - 'A' + 10 : 99;
}
static const char *skip_digits(const char *at, const char *end, int radix) {
  while (at < end && digit_of((unsigned char)*at) < radix) {
    at++;
  }
  return at;
}

// The integer that digits spell; they have been looked at.
static value integer_of_digits(machine *m, const char *at, const char *end, int radix) {
  while (at < end && *at == '0') {
    at++;
  }
  uint64_t small = 0;
  const char *from = at;
  for (; at < end && small <= (UINT64_MAX - 35) / 36; at++) {
    small = small * (unsigned)radix + (unsigned)digit_of((unsigned char)*at);
  }
  if (at == end) {
    return integer_from_uint64(m, small, false);
  }
  int64_t count = end - from;
  uint8_t *digits = OBJECT_(bytevector, new_bytevector(m, count, -1))->byte;
  for (int64_t i = 0; i < count; i++) {
    digits[i] = (uint8_t)digit_of((unsigned char)from[i]);
  }
  int bits_per_digit = 32 - __builtin_clz((unsigned)radix - 1);
  result r;
  result_open(&r, m, count * bits_per_digit / 64 + 3);
  return result_close(&r, mpn_set_str(r.limb, digits, (size_t)count, radix), false);
}

// WHOLE[.FRACTION][eEXPONENT], at least one digit.
typedef struct decimal {
  const char *whole, *whole_end, *fraction, *fraction_end;
  int64_t exponent; // held to a million in either direction: beyond that the number is 0 or infinite
  bool inexact;     // a point or an exponent was there
} decimal;
static bool decimal_scan(const char *at, const char *end, decimal *out) {
  *out = (decimal){.whole = at};
  out->whole_end = out->fraction = out->fraction_end = at = skip_digits(at, end, 10);
  if (at < end && *at == '.') {
    out->inexact = true;
    out->fraction = ++at;
    out->fraction_end = at = skip_digits(at, end, 10);
  }
  if (out->whole == out->whole_end && out->fraction == out->fraction_end) {
    return false;
  }
  if (at < end && (*at == 'e' || *at == 'E')) {
    out->inexact = true;
    at++;
    bool negative = at < end && *at == '-';
    at += at < end && (*at == '-' || *at == '+');
    const char *digits = at, *digits_end = skip_digits(at, end, 10);
    if (digits == digits_end) {
      return false;
    }
    for (; at < digits_end; at++) {
      out->exponent = out->exponent < 1000000 ? out->exponent * 10 + (*at - '0') : 1000000;
    }
    out->exponent = negative ? -out->exponent : out->exponent;
  }
  return at == end;
}

enum { EXPONENT_MOST = 20000 }; // of a decimal that is read as exact: a short text is no way to ask for much memory

static value decimal_exact(machine *m, const decimal *d) {
  int64_t scale = d->exponent - (d->fraction_end - d->fraction);
  if (d->exponent > EXPONENT_MOST || d->exponent < -EXPONENT_MOST) {
    return V_FALSE;
  }
  value whole = integer_of_digits(m, d->whole, d->whole_end, 10);
  if (d->fraction_end > d->fraction) {
    value shifted = integer_multiply(m, whole, integer_power(m, "string->number", fixnum(10), (uint64_t)(d->fraction_end - d->fraction)));
    whole = integer_add(m, shifted, integer_of_digits(m, d->fraction, d->fraction_end, 10));
  }
  value power = integer_power(m, "string->number", fixnum(10), (uint64_t)(scale < 0 ? -scale : scale));
  return scale < 0 ? rational_make(m, whole, power) : integer_multiply(m, whole, power);
}

static value decimal_inexact(machine *m, const char *at, const char *end) {
  char room[128], *copy = room;
  size_t bytes = (size_t)(end - at);
  if (bytes >= sizeof room) {
    copy = (char *)OBJECT_(bytevector, new_bytevector(m, (int64_t)bytes + 1, -1))->byte;
  }
  memcpy(copy, at, bytes);
  copy[bytes] = 0;
  return new_flonum(m, strtod(copy, NULL));
}

static bool same_letters(const char *at, const char *end, const char *lower) {
  for (; at < end && *lower != 0; at++, lower++) {
    if ((*at >= 'A' && *at <= 'Z' ? *at | 0x20 : *at) != *lower) {
      return false;
    }
  }
  return at == end && *lower == 0;
}

// What follows the sign. V_FALSE: it is no number.
static value unsigned_parse(machine *m, const char *at, const char *end, int radix, char exactness) {
  const char *stop = skip_digits(at, end, radix);
  if (stop > at && stop == end) {
    value v = exactness == 'i' && radix == 10 ? V_FALSE : integer_of_digits(m, at, end, radix);
    return v == V_FALSE ? decimal_inexact(m, at, end) : exactness == 'i' ? new_flonum(m, number_to_double(m, v)) : v;
  }
  if (stop > at && *stop == '/') {
    const char *bottom = stop + 1;
    if (bottom == end || skip_digits(bottom, end, radix) != end) {
      return V_FALSE;
    }
    value n = integer_of_digits(m, at, stop, radix), d = integer_of_digits(m, bottom, end, radix);
    if (d == fixnum(0)) {
      return exactness == 'i' ? new_flonum(m, number_to_double(m, n) / 0.0) : V_FALSE;
    }
    value v = rational_make(m, n, d);
    return exactness == 'i' ? new_flonum(m, number_to_double(m, v)) : v;
  }
  decimal d;
  if (radix != 10 || !decimal_scan(at, end, &d)) {
    return V_FALSE;
  }
  return exactness == 'e' ? decimal_exact(m, &d) : decimal_inexact(m, at, end);
}

value number_parse(machine *m, const char *text, size_t bytes, int radix) {
  const char *at = text, *end = text + bytes;
  char exactness = 0;
  bool radix_given = false;
  for (; end - at > 2 && *at == '#'; at += 2) {
    char letter = at[1] | 0x20;
    if (letter == 'e' || letter == 'i') {
      if (exactness != 0) {
        return V_FALSE;
      }
      exactness = letter;
    } else {
      if (radix_given || strchr("xdob", letter) == NULL) {
        return V_FALSE;
      }
      radix_given = true;
      radix = letter == 'x' ? 16 : letter == 'd' ? 10 : letter == 'o' ? 8 : 2;
    }
  }
  bool negative = at < end && *at == '-', sign = negative || (at < end && *at == '+');
  at += sign;
  if (at == end) {
    return V_FALSE;
  }
  if (sign && (same_letters(at, end, "inf.0") || same_letters(at, end, "nan.0"))) {
    double d = (*at | 0x20) == 'i' ? (double)INFINITY : (double)NAN;
    return exactness == 'e' ? V_FALSE : new_flonum(m, negative ? -d : d);
  }
  value v = unsigned_parse(m, at, end, radix, exactness);
  return negative && v != V_FALSE ? number_negate(m, v) : v;
}

// ---- Primitives.
static int want_radix(machine *m, const char *who, value *argument, int count) {
  return is_given(argument, count, 1) ? (int)want_index(m, who, 2, argument[1], 2, 36) : 10;
}
static value p_number_to_string(machine *m, value *argument, int count) {
  want_number(m, "number->string", 1, argument[0]);
  return number_text(m, argument[0], want_radix(m, "number->string", argument, count));
}
static value p_string_to_number(machine *m, value *argument, int count) {
  string *s = want_string(m, "string->number", 1, argument[0]);
  int radix = want_radix(m, "string->number", argument, count);
  if (string_is_wide(s)) {
    byte_buffer text;
    buffer_open(&text, m, s->length);
    string_utf8(&text, s, 0, s->length);
    return number_parse(m, (const char *)buffer_bytes(&text), (size_t)text.used, radix);
  }
  return number_parse(m, (const char *)OBJECT_(bytevector, s->data)->byte, (size_t)s->length, radix);
}

const primitive_entry primitives_number_text[] = {
    {"number->string", p_number_to_string, 1, 2}, {"string->number", p_string_to_number, 1, 2}, {NULL, NULL, 0, 0}};
