// SPDX-License-Identifier: MIT
// numbers.c: the numeric tower: exact integers, exact rationals and flonums; there are no complex numbers. Sums, products, quotients, comparison.

#include "numbers.h"
#include <math.h>
#include <string.h>

bool is_number(value v) { return is_fixnum(v) || is_flonum(v) || is_bignum(v) || is_rational(v); }
bool is_exact_integer(value v) { return is_integer(v); }

value want_number(machine *m, const char *who, int position, value v) {
  if (!is_number(v)) {
    fail_type(m, who, position, "number", v);
  }
  return v;
}

value want_exact_integer(machine *m, const char *who, int position, value v) {
  if (!is_integer(v)) {
    fail_type(m, who, position, "exact integer", v);
  }
  return v;
}

value want_real_integer(machine *m, const char *who, int position, value v) {
  if (!is_integer(v) && !(is_flonum(v) && isfinite(flonum_of(v)) && flonum_of(v) == trunc(flonum_of(v)))) {
    fail_type(m, who, position, "integer", v);
  }
  return v;
}

// ---- Exact numbers.
value rational_make(machine *m, value numerator, value denominator) {
  if (integer_sign(denominator) < 0) {
    numerator = integer_negate(m, numerator);
    denominator = integer_negate(m, denominator);
  }
  value common = integer_gcd(m, numerator, denominator);
  if (common != fixnum(1)) {
    integer_divide(m, numerator, common, &numerator, NULL);
    integer_divide(m, denominator, common, &denominator, NULL);
  }
  return denominator == fixnum(1) ? numerator : new_rational(m, numerator, denominator);
}

static value rational_sum(machine *m, value a, value b, value (*combine)(machine *, value, value)) {
  value x = denominator_of(a), y = denominator_of(b);
  if (x == y) {
    return rational_make(m, combine(m, numerator_of(a), numerator_of(b)), x);
  }
  value sum = combine(m, integer_multiply(m, numerator_of(a), y), integer_multiply(m, numerator_of(b), x));
  return rational_make(m, sum, integer_multiply(m, x, y));
}

value exact_add(machine *m, value a, value b) { return is_integer(a) && is_integer(b) ? integer_add(m, a, b) : rational_sum(m, a, b, integer_add); }
value exact_subtract(machine *m, value a, value b) {
  return is_integer(a) && is_integer(b) ? integer_subtract(m, a, b) : rational_sum(m, a, b, integer_subtract);
}
value exact_multiply(machine *m, value a, value b) {
  if (is_integer(a) && is_integer(b)) {
    return integer_multiply(m, a, b);
  }
  return rational_make(m, integer_multiply(m, numerator_of(a), numerator_of(b)), integer_multiply(m, denominator_of(a), denominator_of(b)));
}
static value exact_divide(machine *m, value a, value b) {
  return rational_make(m, integer_multiply(m, numerator_of(a), denominator_of(b)), integer_multiply(m, denominator_of(a), numerator_of(b)));
}
int exact_sign(value a) { return integer_sign(numerator_of(a)); }
int exact_compare(machine *m, value a, value b) {
  if (is_integer(a) && is_integer(b)) {
    return integer_compare(a, b);
  }
  if (exact_sign(a) != exact_sign(b)) {
    return exact_sign(a) < exact_sign(b) ? -1 : 1;
  }
  return integer_compare(integer_multiply(m, numerator_of(a), denominator_of(b)), integer_multiply(m, numerator_of(b), denominator_of(a)));
}

value exact_from_double(machine *m, double d) {
  if (d == trunc(d)) {
    return integer_from_double(m, d);
  }
  int exponent;
  value mantissa = fixnum((int64_t)ldexp(frexp(d, &exponent), 53));
  return rational_make(m, mantissa, integer_shift(m, "exact", fixnum(1), 53 - exponent)); // it has a fraction: the exponent is below 53
}

value number_to_exact(machine *m, const char *who, int position, value v) {
  want_number(m, who, position, v);
  if (!is_flonum(v)) {
    return v;
  }
  if (!isfinite(flonum_of(v))) {
    fail_type(m, who, position, "finite number", v);
  }
  return exact_from_double(m, flonum_of(v));
}

static double rational_to_double(machine *m, value v) {
  value n = numerator_of(v), d = denominator_of(v), quotient, rest;
  int64_t shift = 66 - (integer_bits(n) - integer_bits(d)); // so that the quotient has 66 or 67 bits
  bool negative = integer_sign(n) < 0;
  n = negative ? integer_negate(m, n) : n;
  n = shift > 0 ? integer_shift(m, "inexact", n, shift) : n;
  d = shift < 0 ? integer_shift(m, "inexact", d, -shift) : d;
  integer_divide(m, n, d, &quotient, &rest);
  int drop = (int)integer_bits(quotient) - 64;
  uint64_t *limb = OBJECT_(bignum, quotient)->limb;
  uint64_t top = limb[0] >> drop | limb[1] << (64 - drop);
  bool more = rest != fixnum(0) || limb[0] << (64 - drop) != 0;
  return double_from_parts(top, more, drop - shift, negative);
}

double number_to_double(machine *m, value v) {
  if (is_flonum(v)) {
    return flonum_of(v);
  }
  return is_rational(v) ? rational_to_double(m, v) : integer_to_double(v);
}

// ---- Arithmetic on all of them. Most of what comes here is a flonum and a flonum or fixnum, or two integers.
static inline bool as_doubles(value a, value b, double *x, double *y) {
  if (is_flonum(a)) {
    *x = flonum_of(a);
    *y = is_flonum(b) ? flonum_of(b) : (double)fixnum_of(b);
    return is_flonum(b) || is_fixnum(b);
  }
  if (is_flonum(b) && is_fixnum(a)) {
    *x = (double)fixnum_of(a);
    *y = flonum_of(b);
    return true;
  }
  return false;
}
static bool is_inexact(machine *m, const char *who, value a, value b) { // whether the result is; both have to be numbers
  want_number(m, who, 1, a);
  want_number(m, who, 2, b);
  return is_flonum(a) || is_flonum(b);
}
value number_add(machine *m, value a, value b) {
  double x, y;
  if (as_doubles(a, b, &x, &y)) {
    return new_flonum(m, x + y);
  }
  return is_inexact(m, "+", a, b) ? new_flonum(m, number_to_double(m, a) + number_to_double(m, b)) : exact_add(m, a, b);
}
value number_subtract(machine *m, value a, value b) {
  double x, y;
  if (as_doubles(a, b, &x, &y)) {
    return new_flonum(m, x - y);
  }
  return is_inexact(m, "-", a, b) ? new_flonum(m, number_to_double(m, a) - number_to_double(m, b)) : exact_subtract(m, a, b);
}
value number_multiply(machine *m, value a, value b) {
  double x, y;
  if (as_doubles(a, b, &x, &y)) {
    return new_flonum(m, x * y);
  }
  return is_inexact(m, "*", a, b) ? new_flonum(m, number_to_double(m, a) * number_to_double(m, b)) : exact_multiply(m, a, b);
}
value number_divide(machine *m, value a, value b) {
  bool inexact = is_inexact(m, "/", a, b);
  if (b == fixnum(0)) {
    fail(m, "/", "division by zero", 1, a);
  }
  return inexact ? new_flonum(m, number_to_double(m, a) / number_to_double(m, b)) : exact_divide(m, a, b);
}
value number_negate(machine *m, value v) {
  if (is_flonum(v)) {
    return new_flonum(m, -flonum_of(v));
  }
  return is_rational(v) ? new_rational(m, integer_negate(m, numerator_of(v)), denominator_of(v)) : integer_negate(m, v);
}
int number_sign(value v) { return is_flonum(v) ? (flonum_of(v) > 0) - (flonum_of(v) < 0) : exact_sign(v); }

static int compare_doubles(double a, double b) { return isnan(a) || isnan(b) ? 2 : (a > b) - (a < b); }

// Exactly, so that comparison is transitive.
static int compare_with_flonum(machine *m, double a, value b) {
  if (isnan(a)) {
    return 2;
  }
  if (isinf(a)) {
    return a > 0 ? 1 : -1;
  }
  if (is_fixnum(b) && fixnum_of(b) >= -((int64_t)1 << 53) && fixnum_of(b) <= (int64_t)1 << 53) {
    return compare_doubles(a, (double)fixnum_of(b));
  }
  return exact_compare(m, exact_from_double(m, a), b);
}

int number_compare(machine *m, const char *who, value a, value b) {
  if (is_fixnum(a) && is_fixnum(b)) {
    return (fixnum_of(a) > fixnum_of(b)) - (fixnum_of(a) < fixnum_of(b));
  }
  want_number(m, who, 1, a);
  want_number(m, who, 2, b);
  if (is_flonum(a)) {
    return is_flonum(b) ? compare_doubles(flonum_of(a), flonum_of(b)) : compare_with_flonum(m, flonum_of(a), b);
  }
  if (is_flonum(b)) {
    int order = compare_with_flonum(m, flonum_of(b), a);
    return order == 2 ? 2 : -order;
  }
  return exact_compare(m, a, b);
}

bool number_eqv(value a, value b) {
  if (a == b) {
    return true;
  }
  if (is_flonum(a)) {
    uint64_t x, y;
    if (!is_flonum(b)) {
      return false;
    }
    memcpy(&x, &OBJECT_(flonum, a)->number, sizeof x);
    memcpy(&y, &OBJECT_(flonum, b)->number, sizeof y);
    return x == y || (isnan(flonum_of(a)) && isnan(flonum_of(b)));
  }
  if (is_bignum(a)) {
    return is_bignum(b) && integer_compare(a, b) == 0;
  }
  bool rational = is_rational(a) && is_rational(b);
  return rational && integer_compare(numerator_of(a), numerator_of(b)) == 0 && integer_compare(denominator_of(a), denominator_of(b)) == 0;
}

uint64_t number_hash(value number) {
  if (is_fixnum(number)) {
    return hash_mix(number);
  }
  if (is_flonum(number)) {
    double d = isnan(flonum_of(number)) ? (double)NAN : flonum_of(number); // all NaNs are eqv
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    return hash_mix(bits + 1);
  }
  if (is_rational(number)) {
    return hash_mix(number_hash(numerator_of(number)) * 3 + number_hash(denominator_of(number)));
  }
  integer x;
  integer_view(&x, number);
  uint64_t hash = (uint64_t)x.used + x.negative;
  for (int64_t i = 0; i < x.used; i++) {
    hash = hash_mix(hash + x.limb[i]);
  }
  return hash;
}

// ---- Primitives.
static value p_add(machine *m, value *argument, int count) {
  value sum = fixnum(0);
  for (int i = 0; i < count; i++) {
    want_number(m, "+", i + 1, argument[i]);
    sum = i == 0 ? argument[0] : number_add(m, sum, argument[i]);
  }
  return sum;
}
static value p_multiply(machine *m, value *argument, int count) {
  value product = fixnum(1);
  for (int i = 0; i < count; i++) {
    want_number(m, "*", i + 1, argument[i]);
    product = i == 0 ? argument[0] : number_multiply(m, product, argument[i]);
  }
  return product;
}
static value p_subtract(machine *m, value *argument, int count) {
  value rest = want_number(m, "-", 1, argument[0]);
  if (count == 1) {
    return number_negate(m, rest);
  }
  for (int i = 1; i < count; i++) {
    want_number(m, "-", i + 1, argument[i]);
    rest = number_subtract(m, rest, argument[i]);
  }
  return rest;
}
static value p_divide(machine *m, value *argument, int count) {
  value quotient = want_number(m, "/", 1, argument[0]);
  if (count == 1) {
    return number_divide(m, fixnum(1), quotient);
  }
  for (int i = 1; i < count; i++) {
    want_number(m, "/", i + 1, argument[i]);
    quotient = number_divide(m, quotient, argument[i]);
  }
  return quotient;
}

// All arguments are looked at, so that a wrong one is found behind the pair that decides.
static value compare_all(machine *m, const char *who, value *argument, int count, bool less, bool equal, bool greater) {
  bool holds = true;
  want_number(m, who, 1, argument[0]);
  for (int i = 1; i < count; i++) {
    want_number(m, who, i + 1, argument[i]);
    int order = number_compare(m, who, argument[i - 1], argument[i]);
    holds &= order == 2 ? false : order < 0 ? less : order == 0 ? equal : greater;
  }
  return boolean(holds);
}
static value p_equal(machine *m, value *argument, int count) { return compare_all(m, "=", argument, count, false, true, false); }
static value p_less(machine *m, value *argument, int count) { return compare_all(m, "<", argument, count, true, false, false); }
static value p_greater(machine *m, value *argument, int count) { return compare_all(m, ">", argument, count, false, false, true); }
static value p_less_equal(machine *m, value *argument, int count) { return compare_all(m, "<=", argument, count, true, true, false); }
static value p_greater_equal(machine *m, value *argument, int count) { return compare_all(m, ">=", argument, count, false, true, true); }

static value extreme(machine *m, const char *who, value *argument, int count, int sign) {
  value best = want_number(m, who, 1, argument[0]);
  bool inexact = is_flonum(best);
  for (int i = 1; i < count; i++) {
    want_number(m, who, i + 1, argument[i]);
    inexact |= is_flonum(argument[i]);
    int order = number_compare(m, who, argument[i], best);
    if (order == 2) {
      best = is_flonum(best) && isnan(flonum_of(best)) ? best : argument[i]; // a NaN stays
    } else if (order == sign) {
      best = argument[i];
    }
  }
  return inexact && !is_flonum(best) ? new_flonum(m, number_to_double(m, best)) : best;
}
static value p_max(machine *m, value *argument, int count) { return extreme(m, "max", argument, count, 1); }
static value p_min(machine *m, value *argument, int count) { return extreme(m, "min", argument, count, -1); }

static value p_is_number(machine *m, value *argument, int count) { return boolean(is_number(argument[0])); }
static value p_is_rational(machine *m, value *argument, int count) {
  return boolean(is_number(argument[0]) && !(is_flonum(argument[0]) && !isfinite(flonum_of(argument[0]))));
}
static value p_is_integer(machine *m, value *argument, int count) {
  value v = argument[0];
  return boolean(is_integer(v) || (is_flonum(v) && isfinite(flonum_of(v)) && flonum_of(v) == trunc(flonum_of(v))));
}
static value p_is_exact(machine *m, value *argument, int count) { return boolean(!is_flonum(want_number(m, "exact?", 1, argument[0]))); }
static value p_is_inexact(machine *m, value *argument, int count) { return boolean(is_flonum(want_number(m, "inexact?", 1, argument[0]))); }
static value p_is_exact_integer(machine *m, value *argument, int count) { return boolean(is_integer(argument[0])); }
static value p_is_exact_rational(machine *m, value *argument, int count) { return boolean(is_exact(argument[0])); }
static value p_is_natural(machine *m, value *argument, int count) { return boolean(is_integer(argument[0]) && integer_sign(argument[0]) >= 0); }
static value p_is_fixnum(machine *m, value *argument, int count) { return boolean(is_fixnum(argument[0])); }
static value p_is_flonum(machine *m, value *argument, int count) { return boolean(is_flonum(argument[0])); }
static value p_is_finite(machine *m, value *argument, int count) {
  value v = want_number(m, "finite?", 1, argument[0]);
  return boolean(!is_flonum(v) || isfinite(flonum_of(v)));
}
static value p_is_infinite(machine *m, value *argument, int count) {
  value v = want_number(m, "infinite?", 1, argument[0]);
  return boolean(is_flonum(v) && isinf(flonum_of(v)));
}
static value p_is_nan(machine *m, value *argument, int count) {
  value v = want_number(m, "nan?", 1, argument[0]);
  return boolean(is_flonum(v) && isnan(flonum_of(v)));
}
static value p_is_zero(machine *m, value *argument, int count) {
  value v = want_number(m, "zero?", 1, argument[0]);
  return boolean(v == fixnum(0) || (is_flonum(v) && flonum_of(v) == 0));
}
static value p_is_positive(machine *m, value *argument, int count) { return boolean(number_sign(want_number(m, "positive?", 1, argument[0])) > 0); }
static value p_is_negative(machine *m, value *argument, int count) { return boolean(number_sign(want_number(m, "negative?", 1, argument[0])) < 0); }
static bool is_odd(machine *m, const char *who, value v) {
  want_real_integer(m, who, 1, v);
  return is_flonum(v) ? fmod(flonum_of(v), 2) != 0 : integer_is_odd(v);
}
static value p_is_odd(machine *m, value *argument, int count) { return boolean(is_odd(m, "odd?", argument[0])); }
static value p_is_even(machine *m, value *argument, int count) { return boolean(!is_odd(m, "even?", argument[0])); }

static value p_abs(machine *m, value *argument, int count) {
  value v = want_number(m, "abs", 1, argument[0]);
  if (is_flonum(v)) {
    return signbit(flonum_of(v)) ? new_flonum(m, fabs(flonum_of(v))) : v;
  }
  return exact_sign(v) < 0 ? number_negate(m, v) : v;
}
static value p_real_part(machine *m, value *argument, int count) { return want_number(m, "real-part", 1, argument[0]); }
static value p_imag_part(machine *m, value *argument, int count) {
  want_number(m, "imag-part", 1, argument[0]);
  return fixnum(0);
}
static value p_angle(machine *m, value *argument, int count) {
  want_number(m, "angle", 1, argument[0]);
  return number_sign(argument[0]) < 0 ? new_flonum(m, M_PI) : fixnum(0);
}
static value p_make_rectangular(machine *m, value *argument, int count) {
  want_number(m, "make-rectangular", 1, argument[0]);
  if (want_number(m, "make-rectangular", 2, argument[1]) != fixnum(0)) {
    fail(m, "make-rectangular", "there are no complex numbers here", 2, argument[0], argument[1]);
  }
  return argument[0];
}
static value p_make_polar(machine *m, value *argument, int count) {
  want_number(m, "make-polar", 1, argument[0]);
  if (want_number(m, "make-polar", 2, argument[1]) != fixnum(0)) {
    fail(m, "make-polar", "there are no complex numbers here", 2, argument[0], argument[1]);
  }
  return argument[0];
}
static value p_square(machine *m, value *argument, int count) {
  want_number(m, "square", 1, argument[0]);
  return number_multiply(m, argument[0], argument[0]);
}
static value p_increment(machine *m, value *argument, int count) { return number_add(m, want_number(m, "1+", 1, argument[0]), fixnum(1)); }
static value p_decrement(machine *m, value *argument, int count) { return number_subtract(m, want_number(m, "-1+", 1, argument[0]), fixnum(1)); }
static value p_exact(machine *m, value *argument, int count) { return number_to_exact(m, "exact", 1, argument[0]); }
static value p_inexact(machine *m, value *argument, int count) {
  want_number(m, "inexact", 1, argument[0]);
  return is_flonum(argument[0]) ? argument[0] : new_flonum(m, number_to_double(m, argument[0]));
}
static value part(machine *m, const char *who, value v, value (*of)(value)) {
  value exact = number_to_exact(m, who, 1, v);
  return is_flonum(v) ? new_flonum(m, number_to_double(m, of(exact))) : of(exact);
}
static value p_numerator(machine *m, value *argument, int count) { return part(m, "numerator", argument[0], numerator_of); }
static value p_denominator(machine *m, value *argument, int count) { return part(m, "denominator", argument[0], denominator_of); }

const primitive_entry primitives_numbers[] = {
    {"+", p_add, 0, -1}, {"*", p_multiply, 0, -1}, {"-", p_subtract, 1, -1}, {"/", p_divide, 1, -1}, {"=", p_equal, 1, -1}, {"<", p_less, 1, -1},
    {">", p_greater, 1, -1}, {"<=", p_less_equal, 1, -1}, {">=", p_greater_equal, 1, -1}, {"max", p_max, 1, -1}, {"min", p_min, 1, -1},
    {"number?", p_is_number, 1, 1}, {"complex?", p_is_number, 1, 1}, {"real?", p_is_number, 1, 1}, {"rational?", p_is_rational, 1, 1},
    {"integer?", p_is_integer, 1, 1}, {"exact?", p_is_exact, 1, 1}, {"inexact?", p_is_inexact, 1, 1}, {"exact-integer?", p_is_exact_integer, 1, 1},
    {"exact-rational?", p_is_exact_rational, 1, 1}, {"exact-nonnegative-integer?", p_is_natural, 1, 1}, {"fixnum?", p_is_fixnum, 1, 1},
    {"flonum?", p_is_flonum, 1, 1}, {"finite?", p_is_finite, 1, 1}, {"infinite?", p_is_infinite, 1, 1}, {"nan?", p_is_nan, 1, 1}, {"zero?", p_is_zero, 1, 1},
    {"positive?", p_is_positive, 1, 1}, {"negative?", p_is_negative, 1, 1}, {"odd?", p_is_odd, 1, 1}, {"even?", p_is_even, 1, 1}, {"abs", p_abs, 1, 1},
    {"magnitude", p_abs, 1, 1}, {"angle", p_angle, 1, 1}, {"make-rectangular", p_make_rectangular, 2, 2}, {"make-polar", p_make_polar, 2, 2},
    {"real-part", p_real_part, 1, 1}, {"imag-part", p_imag_part, 1, 1},
    {"square", p_square, 1, 1}, {"1+", p_increment, 1, 1}, {"-1+", p_decrement, 1, 1}, {"1-", p_decrement, 1, 1},
    {"exact", p_exact, 1, 1}, {"inexact", p_inexact, 1, 1}, {"inexact->exact", p_exact, 1, 1}, {"exact->inexact", p_inexact, 1, 1},
    {"numerator", p_numerator, 1, 1}, {"denominator", p_denominator, 1, 1}, {"quotient", division_quotient, 2, 2}, {"remainder", division_remainder, 2, 2},
    {"modulo", division_modulo, 2, 2}, {"truncate-quotient", division_quotient, 2, 2}, {"truncate-remainder", division_remainder, 2, 2},
    {"truncate/", division_truncate, 2, 2}, {"floor-quotient", division_floor_quotient, 2, 2}, {"floor-remainder", division_modulo, 2, 2},
    {"floor/", division_floor, 2, 2}, {"euclidean-quotient", division_euclidean, 2, 2}, {"euclidean-remainder", division_euclidean_modulo, 2, 2},
    {"euclidean/", division_euclidean_both, 2, 2}, {"div", division_euclidean, 2, 2}, {"mod", division_euclidean_modulo, 2, 2},
    {"div-and-mod", division_euclidean_both, 2, 2}, {"gcd", number_gcd, 0, -1}, {"lcm", number_lcm, 0, -1}, {"floor", number_floor, 1, 1},
    {"ceiling", number_ceiling, 1, 1}, {"truncate", number_truncate, 1, 1}, {"round", number_round, 1, 1}, {"floor->exact", number_floor_exact, 1, 1},
    {"ceiling->exact", number_ceiling_exact, 1, 1}, {"truncate->exact", number_truncate_exact, 1, 1}, {"round->exact", number_round_exact, 1, 1},
    {"rationalize", number_rationalize, 2, 2}, {"exp", number_exp, 1, 1}, {"log", number_log, 1, 2}, {"sin", number_sin, 1, 1}, {"cos", number_cos, 1, 1},
    {"tan", number_tan, 1, 1}, {"asin", number_asin, 1, 1}, {"acos", number_acos, 1, 1}, {"atan", number_atan, 1, 2}, {"sqrt", number_sqrt, 1, 1},
    {"exact-integer-sqrt", number_exact_integer_sqrt, 1, 1}, {"expt", number_expt, 2, 2}, {"bitwise-and", bits_and, 0, -1}, {"bitwise-ior", bits_or, 0, -1},
    {"bitwise-or", bits_or, 0, -1}, {"bitwise-xor", bits_xor, 0, -1}, {"bitwise-not", bits_not, 1, 1}, {"logand", bits_and, 0, -1},
    {"logior", bits_or, 0, -1}, {"logxor", bits_xor, 0, -1}, {"lognot", bits_not, 1, 1}, {"arithmetic-shift", bits_shift, 2, 2}, {"ash", bits_shift, 2, 2},
    {"bitwise-arithmetic-shift", bits_shift, 2, 2}, {"shift-left", bits_shift_left, 2, 2}, {"shift-right", bits_shift_right, 2, 2},
    {"bitwise-arithmetic-shift-left", bits_shift_left, 2, 2}, {"bitwise-arithmetic-shift-right", bits_shift_right, 2, 2}, {"bit-count", bits_count, 1, 1},
    {"bitwise-bit-count", bits_count, 1, 1}, {"integer-length", bits_length, 1, 1}, {"bitwise-length", bits_length, 1, 1}, {"bit-set?", bits_is_set, 2, 2},
    {"first-set-bit", bits_first_set, 1, 1}, {"bitwise-first-bit-set", bits_first_set, 1, 1}, {"bit-field", bits_field, 3, 3},
    {"random", number_random, 1, 1}, {"random-seed!", number_random_seed, 1, 1}, {"fx+", p_add, 0, -1}, {"fx-", p_subtract, 1, -1},
    {"fx*", p_multiply, 0, -1}, {"fxquotient", division_quotient, 2, 2}, {"fxremainder", division_remainder, 2, 2}, {"fx=", p_equal, 1, -1},
    {"fx<", p_less, 1, -1}, {"fx>", p_greater, 1, -1}, {"fx<=", p_less_equal, 1, -1}, {"fx>=", p_greater_equal, 1, -1}, {"fl+", p_add, 0, -1},
    {"fl-", p_subtract, 1, -1}, {"fl*", p_multiply, 0, -1}, {"fl/", p_divide, 1, -1}, {"fl=", p_equal, 1, -1}, {"fl<", p_less, 1, -1},
    {"fl>", p_greater, 1, -1}, {"fl<=", p_less_equal, 1, -1}, {"fl>=", p_greater_equal, 1, -1}, {NULL, NULL, 0, 0}};
