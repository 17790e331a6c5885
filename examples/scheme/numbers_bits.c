// SPDX-License-Identifier: MIT
// numbers_bits.c: exact integers as rows of bits (two's complement, as long as wanted), and random numbers.

#include "numbers.h"
#include <string.h>

typedef enum bit_operation { BITS_AND, BITS_OR, BITS_XOR } bit_operation;

static void twos_complement(mp_limb_t *out, int64_t limbs, const integer *x) {
  memcpy(out, x->limb, (size_t)x->used * sizeof(mp_limb_t));
  memset(out + x->used, 0, (size_t)(limbs - x->used) * sizeof(mp_limb_t));
  if (x->negative) {
    mpn_neg(out, out, limbs);
  }
}
static value combine(machine *m, value a, value b, bit_operation operation) {
  if (is_fixnum(a) && is_fixnum(b)) {
    int64_t x = fixnum_of(a), y = fixnum_of(b);
    return fixnum(operation == BITS_AND ? x & y : operation == BITS_OR ? x | y : x ^ y);
  }
  integer x, y;
  integer_view(&x, a);
  integer_view(&y, b);
  int64_t limbs = (x.used > y.used ? x.used : y.used) + 1; // one more for the sign
  result r, other;
  result_open(&r, m, limbs);
  result_open(&other, m, limbs);
  twos_complement(r.limb, limbs, &x);
  twos_complement(other.limb, limbs, &y);
  for (int64_t i = 0; i < limbs; i++) {
    mp_limb_t p = r.limb[i], q = other.limb[i];
    r.limb[i] = operation == BITS_AND ? p & q : operation == BITS_OR ? p | q : p ^ q;
  }
  bool negative = r.limb[limbs - 1] >> 63;
  if (negative) {
    mpn_neg(r.limb, r.limb, limbs);
  }
  return result_close(&r, limbs, negative);
}
static value combine_all(machine *m, const char *who, value *argument, int count, bit_operation operation) {
  value all = fixnum(operation == BITS_AND ? -1 : 0);
  for (int i = 0; i < count; i++) {
    all = combine(m, all, want_exact_integer(m, who, i + 1, argument[i]), operation);
  }
  return all;
}
value bits_and(machine *m, value *argument, int count) { return combine_all(m, "bitwise-and", argument, count, BITS_AND); }
value bits_or(machine *m, value *argument, int count) { return combine_all(m, "bitwise-ior", argument, count, BITS_OR); }
value bits_xor(machine *m, value *argument, int count) { return combine_all(m, "bitwise-xor", argument, count, BITS_XOR); }
static value complement(machine *m, value v) { return integer_subtract(m, fixnum(-1), v); }
value bits_not(machine *m, value *argument, int count) { return complement(m, want_exact_integer(m, "bitwise-not", 1, argument[0])); }

static value shift(machine *m, const char *who, value *argument, int sign) {
  value v = want_exact_integer(m, who, 1, argument[0]), by = want_exact_integer(m, who, 2, argument[1]);
  int64_t most = (int64_t)1 << 50; // beyond that all shifts are the same: too far
  int64_t count = is_fixnum(by) ? fixnum_of(by) : integer_sign(by) * most;
  count = sign * (count > most ? most : count < -most ? -most : count);
  if (is_fixnum(v) && count <= 0) {
    return fixnum(fixnum_of(v) >> (count < -63 ? 63 : -count));
  }
  return integer_shift(m, who, v, count);
}
value bits_shift(machine *m, value *argument, int count) { return shift(m, "arithmetic-shift", argument, 1); }
value bits_shift_left(machine *m, value *argument, int count) { return shift(m, "shift-left", argument, 1); }
value bits_shift_right(machine *m, value *argument, int count) { return shift(m, "shift-right", argument, -1); }

value bits_count(machine *m, value *argument, int count) {
  value v = want_exact_integer(m, "bit-count", 1, argument[0]);
  v = integer_sign(v) < 0 ? complement(m, v) : v; // of a negative number the zeros are counted: there are finitely many of them
  integer x;
  integer_view(&x, v);
  return fixnum(x.used == 0 ? 0 : (int64_t)mpn_popcount(x.limb, x.used));
}
value bits_length(machine *m, value *argument, int count) {
  value v = want_exact_integer(m, "integer-length", 1, argument[0]);
  return fixnum(integer_bits(integer_sign(v) < 0 ? complement(m, v) : v));
}
value bits_is_set(machine *m, value *argument, int count) {
  int64_t bit = want_index(m, "bit-set?", 1, argument[0], 0, GREATEST_FIXNUM);
  value v = want_exact_integer(m, "bit-set?", 2, argument[1]);
  return boolean(integer_is_odd(integer_shift(m, "bit-set?", v, -bit)));
}
value bits_first_set(machine *m, value *argument, int count) {
  integer x;
  integer_view(&x, want_exact_integer(m, "first-set-bit", 1, argument[0]));
  return fixnum(x.used == 0 ? -1 : (int64_t)mpn_scan1(x.limb, 0)); // the same for a number and its negative
}
value bits_field(machine *m, value *argument, int count) {
  value v = want_exact_integer(m, "bit-field", 1, argument[0]);
  int64_t end = want_index(m, "bit-field", 3, argument[2], 0, GREATEST_FIXNUM), start = want_index(m, "bit-field", 2, argument[1], 0, end);
  value mask = integer_subtract(m, integer_shift(m, "bit-field", fixnum(1), end - start), fixnum(1));
  return combine(m, integer_shift(m, "bit-field", v, -start), mask, BITS_AND);
}

// ---- Random numbers: xoshiro256** of Blackman and Vigna, seeded by splitmix64. Each thread has a sequence of its own, the same in each run.
typedef struct sequence {
  uint64_t state[4];
  bool seeded;
} sequence;
static _Thread_local sequence own;
static uint64_t threads_seeded; // atomic

static void seed(uint64_t from) {
  for (int i = 0; i < 4; i++) {
    from += 0x9e3779b97f4a7c15u;
    uint64_t z = from;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    own.state[i] = z ^ z >> 31;
  }
  own.seeded = true;
}
static uint64_t rotate(uint64_t x, int by) { return x << by | x >> (64 - by); }
static uint64_t random_bits(void) {
  if (!own.seeded) {
    seed(__atomic_fetch_add(&threads_seeded, 1, __ATOMIC_RELAXED));
  }
  uint64_t *s = own.state, made = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotate(s[3], 45);
  return made;
}

// As many bits as the limit has, until they are below it: fewer than two tries on average.
static value random_below(machine *m, value limit) {
  integer x;
  integer_view(&x, limit);
  int unused = __builtin_clzll(x.limb[x.used - 1]);
  result r;
  result_open(&r, m, x.used);
  do {
    for (int64_t i = 0; i < x.used; i++) {
      r.limb[i] = random_bits();
    }
    r.limb[x.used - 1] = r.limb[x.used - 1] << unused >> unused;
  } while (mpn_cmp(r.limb, x.limb, x.used) >= 0);
  return result_close(&r, x.used, false);
}
value number_random(machine *m, value *argument, int count) {
  value limit = argument[0];
  if (is_flonum(limit) && flonum_of(limit) > 0) {
    return new_flonum(m, (double)(random_bits() >> 11) * 0x1p-53 * flonum_of(limit));
  }
  if (!is_integer(limit) || integer_sign(limit) <= 0) {
    fail_type(m, "random", 1, "positive exact integer or flonum", limit);
  }
  return random_below(m, limit);
}
value number_random_seed(machine *m, value *argument, int count) {
  seed(number_hash(want_exact_integer(m, "random-seed!", 1, argument[0])));
  return V_UNSPECIFIED;
}
