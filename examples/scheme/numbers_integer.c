// SPDX-License-Identifier: MIT
// numbers_integer.c: exact integers: fixnums, and bignums whose limbs GMP's mpn functions work on where they are.

#include "numbers.h"
#include <math.h>
#include <string.h>

enum { LIMBS_MOST = 1 << 24 }; // a billion bits: what is larger is a mistake, and GMP would abort where memory ends

void result_open(result *r, machine *m, int64_t limbs) {
  r->machine = m;
  r->object = 0;
  r->limb = r->room;
  if (limbs > RESULT_ROOM) {
    if (limbs > LIMBS_MOST) {
      fail(m, "arithmetic", "the result has too many digits", 0);
    }
    r->object = new_bignum(m, limbs);
    OBJECT_(bignum, r->object)->used = limbs; // so that result_close knows its size
    r->limb = (mp_limb_t *)OBJECT_(bignum, r->object)->limb;
  }
}

value result_close(result *r, int64_t used, bool negative) {
  while (used > 0 && r->limb[used - 1] == 0) {
    used--;
  }
  if (used == 0) {
    return fixnum(0);
  }
  if (used == 1 && r->limb[0] <= (uint64_t)GREATEST_FIXNUM + negative) {
    return fixnum(negative ? (int64_t)(0 - r->limb[0]) : (int64_t)r->limb[0]);
  }
  value made = r->object;
  if (made == 0 || OBJECT_(bignum, made)->used > 2 * used) { // half or more of it would lie idle
    made = new_bignum(r->machine, used);
    memcpy(OBJECT_(bignum, made)->limb, r->limb, (size_t)used * sizeof(mp_limb_t));
  }
  OBJECT_(bignum, made)->used = negative ? -used : used;
  return made;
}

value integer_from_uint64(machine *m, uint64_t magnitude, bool negative) {
  if (magnitude <= (uint64_t)GREATEST_FIXNUM + negative) {
    return fixnum(negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude);
  }
  value made = new_bignum(m, 1);
  OBJECT_(bignum, made)->limb[0] = magnitude;
  OBJECT_(bignum, made)->used = negative ? -1 : 1;
  return made;
}

value integer_from_int64(machine *m, int64_t i) {
  return i >= SMALLEST_FIXNUM && i <= GREATEST_FIXNUM ? fixnum(i) : integer_from_uint64(m, i < 0 ? 0 - (uint64_t)i : (uint64_t)i, i < 0);
}

static int compare_magnitudes(const integer *a, const integer *b) {
  if (a->used != b->used) {
    return a->used < b->used ? -1 : 1;
  }
  int order = a->used == 0 ? 0 : mpn_cmp(a->limb, b->limb, a->used);
  return (order > 0) - (order < 0);
}

int integer_compare(value a, value b) {
  if (is_fixnum(a) && is_fixnum(b)) {
    return (fixnum_of(a) > fixnum_of(b)) - (fixnum_of(a) < fixnum_of(b));
  }
  integer x, y;
  integer_view(&x, a);
  integer_view(&y, b);
  if (x.negative != y.negative) {
    return x.negative ? -1 : 1;
  }
  return x.negative ? -compare_magnitudes(&x, &y) : compare_magnitudes(&x, &y);
}

int integer_sign(value a) {
  if (is_fixnum(a)) {
    return (fixnum_of(a) > 0) - (fixnum_of(a) < 0);
  }
  return OBJECT_(bignum, a)->used < 0 ? -1 : 1;
}

bool integer_is_odd(value a) { return is_fixnum(a) ? fixnum_of(a) & 1 : OBJECT_(bignum, a)->limb[0] & 1; }

int64_t integer_bits(value a) {
  integer x;
  integer_view(&x, a);
  return x.used == 0 ? 0 : x.used * 64 - __builtin_clzll(x.limb[x.used - 1]);
}

static value add_magnitudes(machine *m, const integer *x, const integer *y, bool y_negative) {
  const integer *big = x->used >= y->used ? x : y, *small = big == x ? y : x;
  result r;
  if (x->negative == y_negative) {
    result_open(&r, m, big->used + 1);
    r.limb[big->used] = mpn_add(r.limb, big->limb, big->used, small->limb, small->used);
    return result_close(&r, big->used + 1, x->negative);
  }
  int order = compare_magnitudes(x, y);
  if (order == 0) {
    return fixnum(0);
  }
  big = order > 0 ? x : y;
  small = order > 0 ? y : x;
  result_open(&r, m, big->used);
  mpn_sub(r.limb, big->limb, big->used, small->limb, small->used);
  return result_close(&r, big->used, order > 0 ? x->negative : y_negative);
}

value integer_add(machine *m, value a, value b) {
  if (is_fixnum(a) && is_fixnum(b)) {
    return integer_from_int64(m, fixnum_of(a) + fixnum_of(b)); // 64 bits hold it
  }
  integer x, y;
  integer_view(&x, a);
  integer_view(&y, b);
  if (x.used == 0 || y.used == 0) {
    return x.used == 0 ? b : a;
  }
  return add_magnitudes(m, &x, &y, y.negative);
}

value integer_subtract(machine *m, value a, value b) {
  if (is_fixnum(a) && is_fixnum(b)) {
    return integer_from_int64(m, fixnum_of(a) - fixnum_of(b));
  }
  integer x, y;
  integer_view(&x, a);
  integer_view(&y, b);
  if (y.used == 0) {
    return a;
  }
  return x.used == 0 ? integer_negate(m, b) : add_magnitudes(m, &x, &y, !y.negative);
}

value integer_negate(machine *m, value a) {
  if (is_fixnum(a)) {
    return integer_from_int64(m, -fixnum_of(a));
  }
  integer x;
  integer_view(&x, a);
  result r;
  result_open(&r, m, x.used);
  memcpy(r.limb, x.limb, (size_t)x.used * sizeof(mp_limb_t));
  return result_close(&r, x.used, !x.negative);
}

value integer_multiply(machine *m, value a, value b) {
  int64_t product;
  if (is_fixnum(a) && is_fixnum(b) && !__builtin_mul_overflow(fixnum_of(a), fixnum_of(b), &product)) {
    return integer_from_int64(m, product);
  }
  integer x, y;
  integer_view(&x, a);
  integer_view(&y, b);
  if (x.used == 0 || y.used == 0) {
    return fixnum(0);
  }
  const integer *big = x.used >= y.used ? &x : &y, *small = big == &x ? &y : &x;
  result r;
  result_open(&r, m, x.used + y.used);
  if (a == b) {
    mpn_sqr(r.limb, x.limb, x.used);
  } else if (small->used == 1) {
    r.limb[big->used] = mpn_mul_1(r.limb, big->limb, big->used, small->limb[0]);
  } else {
    mpn_mul(r.limb, big->limb, big->used, small->limb, small->used);
  }
  return result_close(&r, x.used + y.used, x.negative != y.negative);
}

void integer_divide(machine *m, value a, value b, value *quotient, value *remainder) {
  value unused;
  bool whole = quotient != NULL, rest = remainder != NULL; // what is not wanted is not made
  quotient = whole ? quotient : &unused;
  remainder = rest ? remainder : &unused;
  if (is_fixnum(a) && is_fixnum(b)) {
    *quotient = integer_from_int64(m, fixnum_of(a) / fixnum_of(b));
    *remainder = fixnum(fixnum_of(a) % fixnum_of(b));
    return;
  }
  integer x, y;
  integer_view(&x, a);
  integer_view(&y, b);
  if (compare_magnitudes(&x, &y) < 0) {
    *quotient = fixnum(0);
    *remainder = a;
    return;
  }
  result q, r;
  result_open(&q, m, x.used - y.used + 1);
  if (y.used == 1) {
    uint64_t left = mpn_divrem_1(q.limb, 0, x.limb, x.used, y.limb[0]);
    *remainder = rest ? integer_from_uint64(m, left, x.negative) : fixnum(0);
  } else {
    result_open(&r, m, y.used);
    mpn_tdiv_qr(q.limb, r.limb, 0, x.limb, x.used, y.limb, y.used);
    *remainder = rest ? result_close(&r, y.used, x.negative) : fixnum(0);
  }
  *quotient = whole ? result_close(&q, x.used - y.used + 1, x.negative != y.negative) : fixnum(0);
}

value integer_floor_divide(machine *m, value a, value b, value *remainder) {
  value quotient, rest;
  integer_divide(m, a, b, &quotient, &rest);
  if (rest != fixnum(0) && (integer_sign(rest) < 0) != (integer_sign(b) < 0)) {
    quotient = integer_subtract(m, quotient, fixnum(1));
    rest = integer_add(m, rest, b);
  }
  if (remainder != NULL) {
    *remainder = rest;
  }
  return quotient;
}

static uint64_t gcd_small(uint64_t a, uint64_t b) { // neither is 0
  int common = __builtin_ctzll(a | b);
  a >>= __builtin_ctzll(a);
  while (b != 0) {
    b >>= __builtin_ctzll(b);
    if (a > b) {
      uint64_t other = a;
      a = b;
      b = other;
    }
    b -= a;
  }
  return a << common;
}

// Copies the magnitude without its low zero bits; tells how many those were. *used becomes what is left.
static int64_t copy_odd(mp_limb_t *to, const integer *from, int64_t *used) {
  int64_t zeros = (int64_t)mpn_scan1(from->limb, 0), limbs = zeros / 64;
  *used = from->used - limbs;
  if (zeros % 64 != 0) {
    mpn_rshift(to, from->limb + limbs, *used, (unsigned)(zeros % 64));
  } else {
    memcpy(to, from->limb + limbs, (size_t)*used * sizeof(mp_limb_t));
  }
  *used -= to[*used - 1] == 0;
  return zeros;
}

value integer_gcd(machine *m, value a, value b) {
  integer x, y;
  integer_view(&x, a);
  integer_view(&y, b);
  if (x.used == 0 || y.used == 0) {
    value other = x.used == 0 ? b : a;
    return integer_sign(other) < 0 ? integer_negate(m, other) : other;
  }
  if (x.used == 1 && y.used == 1) {
    return integer_from_uint64(m, gcd_small(x.limb[0], y.limb[0]), false);
  }
  if (y.used == 1 || x.used == 1) {
    const integer *big = y.used == 1 ? &x : &y, *small = big == &x ? &y : &x;
    uint64_t rest = mpn_mod_1(big->limb, big->used, small->limb[0]);
    return integer_from_uint64(m, rest == 0 ? small->limb[0] : gcd_small(rest, small->limb[0]), false);
  }
  const integer *big = compare_magnitudes(&x, &y) >= 0 ? &x : &y, *small = big == &x ? &y : &x;
  result u, v, r; // mpn_gcd destroys its operands
  result_open(&u, m, big->used);
  result_open(&v, m, small->used);
  result_open(&r, m, big->used);
  int64_t u_used, v_used;
  int64_t u_zeros = copy_odd(u.limb, big, &u_used), v_zeros = copy_odd(v.limb, small, &v_used);
  bool swap = u_used < v_used;
  int64_t used = swap ? mpn_gcd(r.limb, v.limb, v_used, u.limb, u_used) : mpn_gcd(r.limb, u.limb, u_used, v.limb, v_used);
  value odd = result_close(&r, used, false);
  int64_t zeros = u_zeros < v_zeros ? u_zeros : v_zeros;
  return zeros == 0 ? odd : integer_shift(m, "gcd", odd, zeros);
}

value integer_shift(machine *m, const char *who, value a, int64_t count) {
  integer x;
  integer_view(&x, a);
  if (x.used == 0 || count == 0) {
    return a;
  }
  result r;
  if (count > 0) {
    int64_t limbs = count / 64;
    if (limbs >= LIMBS_MOST) {
      fail(m, who, "the result has too many digits", 0);
    }
    result_open(&r, m, x.used + limbs + 1);
    memset(r.limb, 0, (size_t)limbs * sizeof(mp_limb_t));
    if (count % 64 != 0) {
      r.limb[x.used + limbs] = mpn_lshift(r.limb + limbs, x.limb, x.used, (unsigned)(count % 64));
    } else {
      memcpy(r.limb + limbs, x.limb, (size_t)x.used * sizeof(mp_limb_t));
      r.limb[x.used + limbs] = 0;
    }
    return result_close(&r, x.used + limbs + 1, x.negative);
  }
  uint64_t right = 0 - (uint64_t)count, limbs = right / 64;
  if (limbs >= (uint64_t)x.used) {
    return fixnum(x.negative ? -1 : 0);
  }
  bool lost = x.negative && (int64_t)mpn_scan1(x.limb, 0) < (int64_t)right; // rounded down, a negative number grows by one
  int64_t used = x.used - (int64_t)limbs;
  result_open(&r, m, used + 1);
  if (right % 64 != 0) {
    mpn_rshift(r.limb, x.limb + limbs, used, (unsigned)(right % 64));
  } else {
    memcpy(r.limb, x.limb + limbs, (size_t)used * sizeof(mp_limb_t));
  }
  r.limb[used] = lost ? mpn_add_1(r.limb, r.limb, used, 1) : 0;
  return result_close(&r, used + 1, x.negative);
}

value integer_sqrt(machine *m, value a, value *remainder) {
  integer x;
  integer_view(&x, a);
  if (x.used == 0) {
    *remainder = fixnum(0);
    return fixnum(0);
  }
  result root, rest;
  result_open(&root, m, (x.used + 1) / 2);
  result_open(&rest, m, x.used);
  int64_t used = mpn_sqrtrem(root.limb, rest.limb, x.limb, x.used);
  *remainder = result_close(&rest, used, false);
  return result_close(&root, (x.used + 1) / 2, false);
}

value integer_power(machine *m, const char *who, value base, uint64_t exponent) {
  if (exponent == 0 || base == fixnum(1)) {
    return fixnum(1);
  }
  if (base == fixnum(0) || base == fixnum(-1)) {
    return base == fixnum(0) || exponent % 2 != 0 ? base : fixnum(1);
  }
  if (exponent > (uint64_t)LIMBS_MOST * 64 / (uint64_t)integer_bits(base) + 1) {
    fail(m, who, "the result has too many digits", 2, base, integer_from_uint64(m, exponent, false));
  }
  if (base == fixnum(2)) {
    return integer_shift(m, who, fixnum(1), (int64_t)exponent);
  }
  value power = fixnum(1);
  for (int bit = 63 - __builtin_clzll(exponent); bit >= 0; bit--) {
    power = integer_multiply(m, power, power);
    if (exponent >> bit & 1) {
      power = integer_multiply(m, power, base);
    }
  }
  return power;
}

value integer_from_double(machine *m, double d) {
  if (fabs(d) < 0x1p62) {
    return fixnum((int64_t)d);
  }
  int exponent;
  double fraction = frexp(fabs(d), &exponent);
  value mantissa = fixnum((int64_t)ldexp(fraction, 53));
  value made = integer_shift(m, "exact", mantissa, exponent - 53);
  return d < 0 ? integer_negate(m, made) : made;
}

// The highest 64 bits of the magnitude, which is not 0; whether any lower bit is set; and the exponent that goes with them.
static uint64_t highest_bits(const integer *x, bool *more, int64_t *exponent) {
  int zeros = __builtin_clzll(x->limb[x->used - 1]);
  uint64_t top = x->limb[x->used - 1] << zeros;
  *exponent = x->used * 64 - 64 - zeros;
  *more = false;
  if (x->used > 1) {
    uint64_t next = x->limb[x->used - 2];
    top |= zeros == 0 ? 0 : next >> (64 - zeros);
    *more = next << zeros != 0 || (x->used > 2 && mpn_scan1(x->limb, 0) < (uint64_t)(x->used - 2) * 64);
  }
  return top;
}

double double_from_parts(uint64_t top, bool more, int64_t exponent, bool negative) {
  int64_t highest = exponent + 63; // the exponent of the highest bit
  if (highest > 1023) {
    return negative ? -INFINITY : INFINITY;
  }
  int64_t precision = highest >= -1022 ? 53 : 53 - (-1022 - highest);
  if (precision < 0) {
    return negative ? -0.0 : 0.0;
  }
  int shift = (int)(64 - precision);
  uint64_t kept = shift == 64 ? 0 : top >> shift, rest = shift == 64 ? top : top << (64 - shift), half = (uint64_t)1 << 63;
  kept += rest > half || (rest == half && (more || kept % 2 != 0));
  double magnitude = ldexp((double)kept, (int)(exponent + shift));
  return negative ? -magnitude : magnitude;
}

double integer_to_double(value a) {
  if (is_fixnum(a)) {
    return (double)fixnum_of(a);
  }
  integer x;
  integer_view(&x, a);
  bool more;
  int64_t exponent;
  uint64_t top = highest_bits(&x, &more, &exponent);
  return double_from_parts(top, more, exponent, x.negative);
}

double integer_scaled(value a, int64_t *exponent) {
  integer x;
  integer_view(&x, a);
  if (x.used == 0) {
    *exponent = 0;
    return 0;
  }
  bool more;
  uint64_t top = highest_bits(&x, &more, exponent);
  *exponent += 64;
  double scaled = ldexp((double)(top >> 11), -53);
  return x.negative ? -scaled : scaled;
}
