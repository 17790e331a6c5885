// SPDX-License-Identifier: MIT
// numbers_functions.c: roots, powers, logarithms and trigonometry. Exact arguments give exact results where those exist; what would be complex is a NaN, or an
// error where the argument was exact.

#include "numbers.h"
#include <math.h>

static value through_double(machine *m, const char *who, value v, double (*function)(double)) {
  want_number(m, who, 1, v);
  return new_flonum(m, function(number_to_double(m, v)));
}
value number_exp(machine *m, value *argument, int count) {
  return argument[0] == fixnum(0) ? fixnum(1) : through_double(m, "exp", argument[0], exp);
}
value number_sin(machine *m, value *argument, int count) { return argument[0] == fixnum(0) ? fixnum(0) : through_double(m, "sin", argument[0], sin); }
value number_cos(machine *m, value *argument, int count) { return argument[0] == fixnum(0) ? fixnum(1) : through_double(m, "cos", argument[0], cos); }
value number_tan(machine *m, value *argument, int count) { return argument[0] == fixnum(0) ? fixnum(0) : through_double(m, "tan", argument[0], tan); }
value number_asin(machine *m, value *argument, int count) { return argument[0] == fixnum(0) ? fixnum(0) : through_double(m, "asin", argument[0], asin); }
value number_acos(machine *m, value *argument, int count) { return argument[0] == fixnum(1) ? fixnum(0) : through_double(m, "acos", argument[0], acos); }

value number_atan(machine *m, value *argument, int count) {
  if (!is_given(argument, count, 1)) {
    return argument[0] == fixnum(0) ? fixnum(0) : through_double(m, "atan", argument[0], atan);
  }
  value y = want_number(m, "atan", 1, argument[0]), x = want_number(m, "atan", 2, argument[1]);
  if (y == fixnum(0) && is_exact(x)) {
    if (x == fixnum(0)) {
      fail(m, "atan", "no angle belongs to 0 and 0", 0);
    }
    if (exact_sign(x) > 0) {
      return fixnum(0);
    }
  }
  return new_flonum(m, atan2(number_to_double(m, y), number_to_double(m, x)));
}

static double log_of(machine *m, value v) {
  if (is_bignum(v) && integer_sign(v) > 0) { // may be too large for a double
    int64_t exponent;
    double scaled = integer_scaled(v, &exponent);
    return (double)(logl(scaled) + (long double)exponent * M_LN2l);
  }
  if (is_rational(v) && exact_sign(v) > 0) {
    double d = number_to_double(m, v);
    return d >= 0x1p-1000 && !isinf(d) ? log(d) : log_of(m, numerator_of(v)) - log_of(m, denominator_of(v));
  }
  return log(number_to_double(m, v));
}
value number_log(machine *m, value *argument, int count) {
  value v = want_number(m, "log", 1, argument[0]);
  if (v == fixnum(0)) {
    fail(m, "log", "0 has no logarithm", 0);
  }
  if (!is_given(argument, count, 1)) {
    return v == fixnum(1) ? fixnum(0) : new_flonum(m, log_of(m, v));
  }
  value base = want_number(m, "log", 2, argument[1]);
  if (base == fixnum(0) || base == fixnum(1)) {
    fail(m, "log", "there are no logarithms to this base", 1, base);
  }
  if (v == fixnum(1)) {
    return fixnum(0);
  }
  double x = number_to_double(m, v);
  if (base == fixnum(2) && isfinite(x)) {
    return new_flonum(m, log2(x));
  }
  if (base == fixnum(10) && isfinite(x)) {
    return new_flonum(m, log10(x));
  }
  return new_flonum(m, log_of(m, v) / log_of(m, base));
}

// The exact root of an exact number that is not negative, or V_FALSE.
static value exact_root(machine *m, value v) {
  value rest, top = integer_sqrt(m, numerator_of(v), &rest);
  if (rest != fixnum(0)) {
    return V_FALSE;
  }
  if (is_integer(v)) {
    return top;
  }
  value bottom = integer_sqrt(m, denominator_of(v), &rest);
  return rest == fixnum(0) ? new_rational(m, top, bottom) : V_FALSE;
}
static value square_root(machine *m, const char *who, value v) {
  want_number(m, who, 1, v);
  if (is_flonum(v)) {
    return new_flonum(m, sqrt(flonum_of(v)));
  }
  if (exact_sign(v) < 0) {
    fail(m, who, "the square root is no real number", 1, v);
  }
  value root = exact_root(m, v);
  if (root != V_FALSE) {
    return root;
  }
  double d = number_to_double(m, v);
  if (!isinf(d)) {
    return new_flonum(m, sqrt(d));
  }
  // They are large: what is lost here is below a double's precision.
  value rest, n = integer_sqrt(m, numerator_of(v), &rest), k = integer_sqrt(m, denominator_of(v), &rest);
  return new_flonum(m, number_to_double(m, rational_make(m, n, k)));
}
value number_sqrt(machine *m, value *argument, int count) { return square_root(m, "sqrt", argument[0]); }
value number_exact_integer_sqrt(machine *m, value *argument, int count) {
  want_exact_integer(m, "exact-integer-sqrt", 1, argument[0]);
  if (integer_sign(argument[0]) < 0) {
    fail_type(m, "exact-integer-sqrt", 1, "exact integer that is not negative", argument[0]);
  }
  value rest, root = integer_sqrt(m, argument[0], &rest);
  return two_values(m, root, rest);
}

static value exact_power(machine *m, value base, value exponent) {
  bool negative = integer_sign(exponent) < 0;
  if (negative && base == fixnum(0)) {
    fail(m, "expt", "division by zero", 2, base, exponent);
  }
  value size = negative ? integer_negate(m, exponent) : exponent;
  uint64_t times;
  if (is_fixnum(size)) {
    times = (uint64_t)fixnum_of(size);
  } else { // only powers of 0, 1 and -1 are that high
    times = ((uint64_t)1 << 63) | (integer_is_odd(size) ? 1 : 0);
  }
  value top = integer_power(m, "expt", numerator_of(base), times), bottom = integer_power(m, "expt", denominator_of(base), times);
  if (negative) {
    value other = top;
    top = bottom;
    bottom = other;
  }
  return rational_make(m, top, bottom);
}
value number_expt(machine *m, value *argument, int count) {
  value base = want_number(m, "expt", 1, argument[0]), exponent = want_number(m, "expt", 2, argument[1]);
  if (is_integer(exponent)) {
    if (is_exact(base)) {
      return exact_power(m, base, exponent);
    }
    return new_flonum(m, pow(flonum_of(base), integer_to_double(exponent)));
  }
  if (is_rational(exponent) && is_exact(base) && denominator_of(exponent) == fixnum(2) && exact_sign(base) >= 0) {
    value root = exact_root(m, base);
    if (root != V_FALSE) {
      return exact_power(m, root, numerator_of(exponent));
    }
  }
  return new_flonum(m, pow(number_to_double(m, base), number_to_double(m, exponent)));
}
