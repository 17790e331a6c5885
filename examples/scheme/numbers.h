// SPDX-License-Identifier: MIT
// numbers.h: what the files of the numeric tower share: magnitudes of integers for GMP's mpn functions, and the functions that the table of primitives names.
//
// Nothing here allocates from malloc: what GMP's mpn functions need for themselves they take and give back before they return, and a failure of ours
// (longjmp) never comes between.

#ifndef SCHEME_NUMBERS_H
#define SCHEME_NUMBERS_H

#include <gmp.h>
#include "library.h"

_Static_assert(sizeof(mp_limb_t) == sizeof(uint64_t), "limbs of 64 bits");

// An exact integer as sign and magnitude. Not to be copied: a fixnum's limb lies in the struct itself. No leading zeros; 0 has no limbs.
typedef struct integer {
  const mp_limb_t *limb;
  int64_t used;
  bool negative;
  mp_limb_t small;
} integer;
static inline void integer_view(integer *out, value v) {
  if (is_fixnum(v)) {
    int64_t i = fixnum_of(v);
    out->negative = i < 0;
    out->small = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    out->limb = &out->small;
    out->used = i != 0;
  } else {
    bignum *b = OBJECT_(bignum, v);
    out->negative = b->used < 0;
    out->used = b->used < 0 ? -b->used : b->used;
    out->limb = (const mp_limb_t *)b->limb;
  }
}

// Where a magnitude is computed: on the C stack if it is small, else in the object itself.
enum { RESULT_ROOM = 40 };
typedef struct result {
  machine *machine;
  mp_limb_t *limb;
  value object; // 0: in `room`
  mp_limb_t room[RESULT_ROOM];
} result;
void result_open(result *r, machine *m, int64_t limbs);
value result_close(result *r, int64_t used, bool negative); // the number; leading zeros are taken off

static inline bool is_bignum(value v) { return is_kind(v, KIND_BIGNUM); }
static inline bool is_rational(value v) { return is_kind(v, KIND_RATIONAL); } // one that is no integer
static inline bool is_integer(value v) { return is_fixnum(v) || is_bignum(v); }
static inline bool is_exact(value v) { return is_integer(v) || is_rational(v); }
static inline value numerator_of(value v) { return is_rational(v) ? OBJECT_(rational, v)->numerator : v; } // of an exact number
static inline value denominator_of(value v) { return is_rational(v) ? OBJECT_(rational, v)->denominator : fixnum(1); }

// Exact integers. (numbers_integer.c)
value integer_add(machine *m, value a, value b);
value integer_subtract(machine *m, value a, value b);
value integer_multiply(machine *m, value a, value b);
value integer_negate(machine *m, value a);
int integer_compare(value a, value b);
int integer_sign(value a);
bool integer_is_odd(value a);
int64_t integer_bits(value a);                                                          // of the magnitude
void integer_divide(machine *m, value a, value b, value *quotient, value *remainder);   // truncated; b is not 0; either may be NULL
value integer_floor_divide(machine *m, value a, value b, value *remainder);             // rounded down
value integer_gcd(machine *m, value a, value b);
value integer_shift(machine *m, const char *who, value a, int64_t count);               // left if positive; rounded down
value integer_sqrt(machine *m, value a, value *remainder);                              // of one that is not negative
value integer_power(machine *m, const char *who, value base, uint64_t exponent);
value integer_from_double(machine *m, double d);                                        // of one that has no fraction
value integer_from_uint64(machine *m, uint64_t magnitude, bool negative);
double integer_scaled(value a, int64_t *exponent);                                      // 0.5 <= |x| < 1 with a = x * 2^exponent, rounded toward 0
double integer_to_double(value a);
double double_from_parts(uint64_t top, bool more, int64_t exponent, bool negative);     // top * 2^exponent, and a bit more; the highest bit of top is set

// The tower. (numbers.c)
value rational_make(machine *m, value numerator, value denominator); // brought to lowest terms; the denominator is not 0
value exact_add(machine *m, value a, value b);
value exact_subtract(machine *m, value a, value b);
value exact_multiply(machine *m, value a, value b);
int exact_compare(machine *m, value a, value b);
int exact_sign(value a);
value exact_from_double(machine *m, double d); // of a finite one
value want_real_integer(machine *m, const char *who, int position, value v); // exact, or a flonum without fraction
value want_exact_integer(machine *m, const char *who, int position, value v);

// What primitives_numbers names in other files.
primitive_fn number_floor, number_ceiling, number_truncate, number_round, number_floor_exact, number_ceiling_exact, number_truncate_exact, number_round_exact,
    number_exp, number_log, number_sin, number_cos, number_tan, number_asin, number_acos, number_atan, number_sqrt, number_exact_integer_sqrt, number_expt,
    number_rationalize;
primitive_fn bits_and, bits_or, bits_xor, bits_not, bits_shift, bits_shift_left, bits_shift_right, bits_count, bits_length, bits_is_set, bits_first_set,
    bits_field, number_random, number_random_seed;
primitive_fn division_quotient, division_remainder, division_modulo, division_floor, division_truncate, division_floor_quotient, number_gcd, number_lcm,
    division_euclidean, division_euclidean_modulo, division_euclidean_both;

#endif
