// SPDX-License-Identifier: MIT
// numbers_division.c: integer division in its kinds, gcd and lcm, and rounding. Flonums without a fraction are integers here, too.

#include "numbers.h"
#include <math.h>

typedef enum rounding { ROUND_DOWN, ROUND_UP, ROUND_TO_ZERO, ROUND_EVEN, ROUND_EUCLIDEAN } rounding;

// Both parts as asked for; flonums if either argument is one. Flonums go through exact numbers, so that the parts are right where doubles cannot hold them.
static void divide(machine *m, const char *who, value *argument, rounding how, value *quotient, value *remainder) {
  value a = want_real_integer(m, who, 1, argument[0]), b = want_real_integer(m, who, 2, argument[1]);
  bool inexact = is_flonum(a) || is_flonum(b);
  a = number_to_exact(m, who, 1, a);
  b = number_to_exact(m, who, 2, b);
  if (b == fixnum(0)) {
    fail(m, who, "division by zero", 1, argument[0]);
  }
  value q, r;
  if (how == ROUND_TO_ZERO) {
    integer_divide(m, a, b, &q, &r);
  } else {
    q = integer_floor_divide(m, a, b, &r);
    if (how == ROUND_EUCLIDEAN && integer_sign(r) < 0) { // b is negative
      q = integer_add(m, q, fixnum(1));
      r = integer_subtract(m, r, b);
    }
  }
  *quotient = inexact ? new_flonum(m, integer_to_double(q)) : q;
  *remainder = inexact ? new_flonum(m, integer_to_double(r)) : r;
}

value division_quotient(machine *m, value *argument, int count) {
  value a = argument[0], b = argument[1], q, r;
  if (is_fixnum(a) && is_fixnum(b) && b != fixnum(0)) {
    return integer_from_int64(m, fixnum_of(a) / fixnum_of(b));
  }
  if (is_integer(a) && is_integer(b) && b != fixnum(0)) {
    integer_divide(m, a, b, &q, NULL);
    return q;
  }
  divide(m, "quotient", argument, ROUND_TO_ZERO, &q, &r);
  return q;
}
value division_remainder(machine *m, value *argument, int count) {
  value a = argument[0], b = argument[1], q, r;
  if (is_fixnum(a) && is_fixnum(b) && b != fixnum(0)) {
    return fixnum(fixnum_of(a) % fixnum_of(b));
  }
  if (is_integer(a) && is_integer(b) && b != fixnum(0)) {
    integer_divide(m, a, b, NULL, &r);
    return r;
  }
  divide(m, "remainder", argument, ROUND_TO_ZERO, &q, &r);
  return r;
}
value division_modulo(machine *m, value *argument, int count) {
  value a = argument[0], b = argument[1], q, r;
  if (is_fixnum(a) && is_fixnum(b) && b != fixnum(0)) {
    int64_t rest = fixnum_of(a) % fixnum_of(b);
    return fixnum(rest != 0 && (rest < 0) != (fixnum_of(b) < 0) ? rest + fixnum_of(b) : rest);
  }
  divide(m, "modulo", argument, ROUND_DOWN, &q, &r);
  return r;
}
value division_floor_quotient(machine *m, value *argument, int count) {
  value q, r;
  divide(m, "floor-quotient", argument, ROUND_DOWN, &q, &r);
  return q;
}
value division_floor(machine *m, value *argument, int count) {
  value q, r;
  divide(m, "floor/", argument, ROUND_DOWN, &q, &r);
  return two_values(m, q, r);
}
value division_truncate(machine *m, value *argument, int count) {
  value q, r;
  divide(m, "truncate/", argument, ROUND_TO_ZERO, &q, &r);
  return two_values(m, q, r);
}
value division_euclidean(machine *m, value *argument, int count) {
  value q, r;
  divide(m, "euclidean-quotient", argument, ROUND_EUCLIDEAN, &q, &r);
  return q;
}
value division_euclidean_modulo(machine *m, value *argument, int count) {
  value q, r;
  divide(m, "euclidean-remainder", argument, ROUND_EUCLIDEAN, &q, &r);
  return r;
}
value division_euclidean_both(machine *m, value *argument, int count) {
  value q, r;
  divide(m, "euclidean/", argument, ROUND_EUCLIDEAN, &q, &r);
  return two_values(m, q, r);
}

// ---- gcd and lcm.
static value exact_magnitude(machine *m, const char *who, int position, value v, bool *inexact) {
  want_real_integer(m, who, position, v);
  *inexact |= is_flonum(v);
  value exact = number_to_exact(m, who, position, v);
  return integer_sign(exact) < 0 ? integer_negate(m, exact) : exact;
}
value number_gcd(machine *m, value *argument, int count) {
  value common = fixnum(0);
  bool inexact = false;
  for (int i = 0; i < count; i++) {
    common = integer_gcd(m, common, exact_magnitude(m, "gcd", i + 1, argument[i], &inexact));
  }
  return inexact ? new_flonum(m, integer_to_double(common)) : common;
}
value number_lcm(machine *m, value *argument, int count) {
  value multiple = fixnum(1);
  bool inexact = false;
  for (int i = 0; i < count; i++) {
    value next = exact_magnitude(m, "lcm", i + 1, argument[i], &inexact), factor;
    if (next == fixnum(0) || multiple == fixnum(0)) {
      multiple = fixnum(0);
      continue;
    }
    integer_divide(m, next, integer_gcd(m, multiple, next), &factor, NULL);
    multiple = integer_multiply(m, multiple, factor);
  }
  return inexact ? new_flonum(m, integer_to_double(multiple)) : multiple;
}

// ---- Rounding.
static value round_rational(machine *m, value v, rounding how) {
  value n = numerator_of(v), d = denominator_of(v), rest;
  value down = integer_floor_divide(m, n, d, &rest);
  int half = integer_compare(integer_add(m, rest, rest), d); // of what lies above `down`
  bool up = how == ROUND_UP || (how == ROUND_TO_ZERO && integer_sign(n) < 0) || (how == ROUND_EVEN && (half > 0 || (half == 0 && integer_is_odd(down))));
  return up ? integer_add(m, down, fixnum(1)) : down;
}
static double round_double(double d, rounding how) {
  switch (how) {
  case ROUND_DOWN: return floor(d);
  case ROUND_UP: return ceil(d);
  case ROUND_TO_ZERO: return trunc(d);
  default: return nearbyint(d); // ties to even: nobody changes the mode
  }
}
static value round_number(machine *m, const char *who, value v, rounding how) {
  want_number(m, who, 1, v);
  if (is_flonum(v)) {
    return new_flonum(m, round_double(flonum_of(v), how));
  }
  return is_rational(v) ? round_rational(m, v, how) : v;
}
value number_floor(machine *m, value *argument, int count) { return round_number(m, "floor", argument[0], ROUND_DOWN); }
value number_ceiling(machine *m, value *argument, int count) { return round_number(m, "ceiling", argument[0], ROUND_UP); }
value number_truncate(machine *m, value *argument, int count) { return round_number(m, "truncate", argument[0], ROUND_TO_ZERO); }
value number_round(machine *m, value *argument, int count) { return round_number(m, "round", argument[0], ROUND_EVEN); }
static value round_exact(machine *m, const char *who, value v, rounding how) { return round_number(m, who, number_to_exact(m, who, 1, v), how); }
value number_floor_exact(machine *m, value *argument, int count) { return round_exact(m, "floor->exact", argument[0], ROUND_DOWN); }
value number_ceiling_exact(machine *m, value *argument, int count) { return round_exact(m, "ceiling->exact", argument[0], ROUND_UP); }
value number_truncate_exact(machine *m, value *argument, int count) { return round_exact(m, "truncate->exact", argument[0], ROUND_TO_ZERO); }
value number_round_exact(machine *m, value *argument, int count) { return round_exact(m, "round->exact", argument[0], ROUND_EVEN); }

// The simplest rational between two positive ones: its continued fraction is what they have in common, and the smaller of what comes next (Stern and Brocot's
// tree). The fraction's terms are collected first, then folded from the last: no recursion.
static value simplest_between(machine *m, value low, value high) {
  value terms = V_NULL, result;
  for (;;) {
    if (is_integer(low)) {
      result = low;
      break;
    }
    value whole = round_rational(m, low, ROUND_DOWN), above = integer_add(m, whole, fixnum(1));
    if (exact_compare(m, above, high) <= 0) {
      result = above;
      break;
    }
    terms = cons(m, whole, terms);
    value next_low = number_divide(m, fixnum(1), exact_subtract(m, high, whole)), next_high = number_divide(m, fixnum(1), exact_subtract(m, low, whole));
    low = next_low;
    high = next_high;
  }
  for (; terms != V_NULL; terms = cdr(terms)) {
    result = exact_add(m, car(terms), number_divide(m, fixnum(1), result));
  }
  return result;
}
value number_rationalize(machine *m, value *argument, int count) {
  value x = want_number(m, "rationalize", 1, argument[0]), y = want_number(m, "rationalize", 2, argument[1]);
  bool inexact = is_flonum(x) || is_flonum(y);
  if (inexact) {
    double a = number_to_double(m, x), b = number_to_double(m, y);
    if (isnan(a) || isnan(b) || (isinf(a) && isinf(b))) {
      return new_flonum(m, NAN);
    }
    if (isinf(a) || isinf(b)) {
      return new_flonum(m, isinf(a) ? a : 0);
    }
  }
  x = number_to_exact(m, "rationalize", 1, x);
  y = number_to_exact(m, "rationalize", 2, y);
  y = exact_sign(y) < 0 ? number_negate(m, y) : y;
  value low = exact_subtract(m, x, y), high = exact_add(m, x, y), found;
  if (exact_sign(low) <= 0 && exact_sign(high) >= 0) {
    found = fixnum(0);
  } else if (exact_sign(low) > 0) {
    found = simplest_between(m, low, high);
  } else {
    found = number_negate(m, simplest_between(m, number_negate(m, high), number_negate(m, low)));
  }
  return inexact ? new_flonum(m, number_to_double(m, found)) : found;
}
