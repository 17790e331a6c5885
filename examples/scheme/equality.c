// SPDX-License-Identifier: MIT
// equality.c: eqv?, equal? and the hashes that go with them. Circular data and data nested as deep as memory allows are compared, too.

#include <string.h>
#include "library.h"

bool is_eqv(value a, value b) {
  if (a == b) {
    return true;
  }
  if (is_flonum(a)) {
    return is_flonum(b) && number_eqv(a, b);
  }
  if (!is_object(a) || !is_object(b)) {
    return false;
  }
  uint8_t kind = (uint8_t)OBJECT_(object, a)->header;
  return (kind == KIND_BIGNUM || kind == KIND_RATIONAL) && number_eqv(a, b);
}

// What is neither a pair nor a vector. 0: different, 1: equal, -1: two vectors of one length.
static int compare_flat(value a, value b) {
  if (is_eqv(a, b)) {
    return 1;
  }
  if (!is_object(a) || !is_object(b) || (uint8_t)OBJECT_(object, a)->header != (uint8_t)OBJECT_(object, b)->header) {
    return 0;
  }
  switch ((uint8_t)OBJECT_(object, a)->header) {
  case KIND_STRING: return strings_equal(OBJECT_(string, a), OBJECT_(string, b), false);
  case KIND_BYTEVECTOR: {
    bytevector *x = OBJECT_(bytevector, a), *y = OBJECT_(bytevector, b);
    return x->length == y->length && memcmp(x->byte, y->byte, (size_t)x->length) == 0;
  }
  case KIND_VECTOR: return OBJECT_(vector, a)->length == OBJECT_(vector, b)->length ? -1 : 0;
  default: return 0;
  }
}

// Plainly, with a limit to depth and steps; what reaches it is deep, large or circular. 0, 1, or -1: a limit was reached.
enum { PLAIN_DEPTH = 400 };
static int compare_plainly(value a, value b, int depth, int64_t *steps) {
  while (is_pair(a) && is_pair(b)) {
    if (a == b) {
      return 1;
    }
    if (depth > PLAIN_DEPTH || --*steps < 0) {
      return -1;
    }
    value x = car(a), y = car(b);
    if (x == y) { // most that is alike is the same
      a = cdr(a);
      b = cdr(b);
      continue;
    }
    int same = is_pair(x) && is_pair(y) ? compare_plainly(x, y, depth + 1, steps) : compare_flat(x, y);
    same = same == -1 && !is_pair(x) ? compare_plainly(x, y, depth + 1, steps) : same; // vectors
    if (same != 1) {
      return same;
    }
    a = cdr(a);
    b = cdr(b);
  }
  int same = compare_flat(a, b);
  if (same != -1) {
    return same;
  }
  if (depth > PLAIN_DEPTH) {
    return -1;
  }
  vector *x = OBJECT_(vector, a), *y = OBJECT_(vector, b);
  for (int64_t i = 0; i < x->length; i++) {
    if (--*steps < 0) {
      return -1;
    }
    same = x->item[i] == y->item[i] ? 1 : compare_plainly(x->item[i], y->item[i], depth + 1, steps);
    if (same != 1) {
      return same;
    }
  }
  return 1;
}

// With care: what has been found alike so far forms classes (union and find), so that a circle ends where it closes. Nothing recurs.
static value class_of(machine *m, value classes, value v) {
  value up = table_get(m, classes, v, v);
  while (up != v) {
    value above = table_get(m, classes, up, up);
    if (above != up) {
      table_put(m, classes, v, above);
    }
    v = up;
    up = above;
  }
  return v;
}
static int compare_with_care(machine *m, value a, value b, int64_t steps) {
  value classes = table_new(m, TABLE_EQV, 64);
  value_stack todo;
  stack_open(&todo, m);
  stack_push(&todo, a);
  stack_push(&todo, b);
  while (todo.top > 0) {
    b = stack_pop(&todo);
    a = stack_pop(&todo);
    bool pairs = is_pair(a) && is_pair(b);
    int same = pairs ? -1 : compare_flat(a, b);
    if (same == 0) {
      return 0;
    }
    if (same == 1) {
      continue;
    }
    value x = class_of(m, classes, a), y = class_of(m, classes, b);
    if (x == y) {
      continue;
    }
    if (--steps < 0) {
      return -1;
    }
    table_put(m, classes, x, y);
    if (pairs) {
      stack_push(&todo, cdr(a));
      stack_push(&todo, cdr(b));
      stack_push(&todo, car(a));
      stack_push(&todo, car(b));
    } else {
      for (int64_t i = OBJECT_(vector, a)->length - 1; i >= 0; i--) {
        stack_push(&todo, OBJECT_(vector, a)->item[i]);
        stack_push(&todo, OBJECT_(vector, b)->item[i]);
      }
    }
  }
  return 1;
}

// Few steps of the one, few of the other, then many: care costs far more than a plain comparison, which for its part does not end on circular data.
bool is_equal(machine *m, value a, value b) {
  enum { FEW = 1 << 16, FEW_WITH_CARE = 1 << 10, MANY = 1 << 24 };
  if (a == b) {
    return true;
  }
  int64_t steps = FEW;
  int same = compare_plainly(a, b, 0, &steps);
  if (same == -1) {
    same = compare_with_care(m, a, b, FEW_WITH_CARE);
  }
  if (same == -1) {
    steps = MANY;
    same = compare_plainly(a, b, 0, &steps);
  }
  return same == -1 ? compare_with_care(m, a, b, INT64_MAX) : same;
}

// ---- Hashes.
uint64_t hash_eqv(machine *m, value v) {
  if (is_fixnum(v) || (v & TAG_MASK) == TAG_IMMEDIATE) {
    return hash_mix(v);
  }
  if (is_flonum(v) || is_kind(v, KIND_BIGNUM) || is_kind(v, KIND_RATIONAL)) {
    return number_hash(v);
  }
  return is_kind(v, KIND_SYMBOL) ? hash_mix(OBJECT_(symbol, v)->hash) : memory_hash(m, v);
}

// Equal data have equal hashes, which look at no more than so many parts: lists that differ only later share one.
enum { HASHED_PARTS = 64 };
static uint64_t hash_parts(machine *m, value v, int *left) {
  uint64_t hash = 17;
  for (; is_pair(v) && *left > 0; v = cdr(v)) {
    --*left;
    hash = hash_mix(hash * 31 + hash_parts(m, car(v), left));
  }
  if (is_pair(v)) {
    return hash;
  }
  if (is_kind(v, KIND_STRING)) {
    return hash_mix(hash + hash_string(OBJECT_(string, v), false));
  }
  if (is_kind(v, KIND_VECTOR)) {
    vector *items = OBJECT_(vector, v);
    hash = hash_mix(hash + (uint64_t)items->length);
    for (int64_t i = 0; i < items->length && *left > 0; i++) {
      --*left;
      hash = hash_mix(hash * 31 + hash_parts(m, items->item[i], left));
    }
    return hash;
  }
  if (is_kind(v, KIND_BYTEVECTOR)) {
    bytevector *bytes = OBJECT_(bytevector, v);
    for (int64_t i = 0; i < bytes->length; i++) {
      hash = (hash ^ bytes->byte[i]) * 0x100000001b3u;
    }
    return hash_mix(hash);
  }
  return hash_mix(hash + hash_eqv(m, v));
}
uint64_t hash_equal(machine *m, value v) {
  int left = HASHED_PARTS;
  return is_pair(v) || is_object(v) ? hash_parts(m, v, &left) : hash_eqv(m, v);
}
