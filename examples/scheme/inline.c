// SPDX-License-Identifier: MIT
// inline.c: primitives that are instructions. The cell of such a primitive in the library's environment says so; a program that defines or assigns a variable
// of that name has a cell of its own.

#include "compiler.h"

typedef struct inlined {
  const char *name;
  int least, most; // arguments; most -1: any number, two by two
} inlined;
static const inlined all[INLINE_COUNT] = {
    [INLINE_CAR] = {"car", 1, 1}, [INLINE_CDR] = {"cdr", 1, 1}, [INLINE_CAAR] = {"caar", 1, 1}, [INLINE_CADR] = {"cadr", 1, 1}, [INLINE_CDAR] = {"cdar", 1, 1},
    [INLINE_CDDR] = {"cddr", 1, 1}, [INLINE_CONS] = {"cons", 2, 2}, [INLINE_SET_CAR] = {"set-car!", 2, 2}, [INLINE_SET_CDR] = {"set-cdr!", 2, 2},
    [INLINE_ADD] = {"+", 2, -1}, [INLINE_SUBTRACT] = {"-", 2, -1}, [INLINE_MULTIPLY] = {"*", 2, -1}, [INLINE_DIVIDE] = {"/", 2, 2},
        [INLINE_QUOTIENT] = {"quotient", 2, 2},
    [INLINE_REMAINDER] = {"remainder", 2, 2}, [INLINE_MODULO] = {"modulo", 2, 2}, [INLINE_VECTOR_REF] = {"vector-ref", 2, 2},
        [INLINE_VECTOR_SET] = {"vector-set!", 3, 3},
    [INLINE_VECTOR_LENGTH] = {"vector-length", 1, 1}, [INLINE_STRING_REF] = {"string-ref", 2, 2}, [INLINE_BYTE_REF] = {"bytevector-u8-ref", 2, 2},
    [INLINE_BYTE_SET] = {"bytevector-u8-set!", 3, 3}, [INLINE_CHAR_INTEGER] = {"char->integer", 1, 1}, [INLINE_INTEGER_CHAR] = {"integer->char", 1, 1},
    [INLINE_NOT] = {"not", 1, 1}, [INLINE_EQ] = {"eq?", 2, 2}, [INLINE_EQV] = {"eqv?", 2, 2}, [INLINE_NULL] = {"null?", 1, 1}, [INLINE_PAIR] = {"pair?", 1, 1},
    [INLINE_LT] = {"<", 2, 2}, [INLINE_GT] = {">", 2, 2}, [INLINE_LE] = {"<=", 2, 2}, [INLINE_GE] = {">=", 2, 2}, [INLINE_SAME] = {"=", 2, 2},
    [INLINE_ZERO] = {"zero?", 1, 1}, [INLINE_POSITIVE] = {"positive?", 1, 1}, [INLINE_NEGATIVE] = {"negative?", 1, 1}, [INLINE_CHAR] = {"char?", 1, 1},
    [INLINE_CHAR_SAME] = {"char=?", 2, 2}, [INLINE_VECTOR] = {"vector?", 1, 1}, [INLINE_STRING] = {"string?", 1, 1}, [INLINE_SYMBOL] = {"symbol?", 1, 1},
    [INLINE_BYTEVECTOR] = {"bytevector?", 1, 1}, [INLINE_EOF] = {"eof-object?", 1, 1}, [INLINE_APPLY] = {"%apply", 2, 2},
        [INLINE_APPLY_VALUES] = {"%apply-values", 2, 2},
    [INLINE_CALL_CC] = {"%call/cc", 1, 1}};

static const struct { const char *name; int which; } others[] = {{"fx+", INLINE_ADD}, {"fx-", INLINE_SUBTRACT}, {"fx*", INLINE_MULTIPLY},
    {"exact-integer-quotient", INLINE_QUOTIENT},
    {"truncate-quotient", INLINE_QUOTIENT}, {"truncate-remainder", INLINE_REMAINDER}, {"floor-remainder", INLINE_MODULO}};

static void mark(machine *m, const char *name, int which) {
  value variable = environment_get(world->item[WORLD_BASE], intern(m, name));
  if (variable == 0 && name[0] == '%') { // only an instruction
    variable = environment_cell(m, world->item[WORLD_BASE], intern(m, name));
  }
  if (is_kind(variable, KIND_CELL)) {
    OBJ(cell, variable)->header = KIND_CELL | (uint64_t)which << 8;
  }
}
void inline_begin(machine *m) {
  for (int i = 0; i < INLINE_COUNT; i++) {
    if (all[i].name != NULL) {
      mark(m, all[i].name, i);
    }
  }
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
    mark(m, others[i].name, others[i].which);
  }
}

static bool is_small_constant(value n) { return kind_of(n) == N_CONST && is_fixnum(NODE(n)->a) && fixnum_of(NODE(n)->a) < 1 << 30 &&
    fixnum_of(NODE(n)->a) > -(1 << 30); }

static value node_inline(machine *m, int which, value arguments, value form) { return node_new(m, N_INLINE, fixnum(which), arguments, V_FALSE, form); }

// Of two small numbers: the result as a node, or 0.
static value folded(machine *m, int which, value a, value b) {
  if (!is_small_constant(a) || !is_small_constant(b)) {
    return 0;
  }
  int64_t x = fixnum_of(NODE(a)->a), y = fixnum_of(NODE(b)->a);
  switch (which) {
    case INLINE_ADD: return node_constant(m, fixnum(x + y));
    case INLINE_SUBTRACT: return node_constant(m, fixnum(x - y));
    case INLINE_MULTIPLY: return node_constant(m, fixnum(x * y));
    case INLINE_LT: return node_constant(m, boolean(x < y));
    case INLINE_GT: return node_constant(m, boolean(x > y));
    case INLINE_SAME: return node_constant(m, boolean(x == y));
    default: return 0;
  }
}

value inline_fold(machine *m, int which, value arguments, value form) {
  int64_t n = form_length(arguments);
  const inlined *i = &all[which];
  if (n < i->least || (i->most >= 0 && n > i->most) || n > 16) {
    return 0;
  }
  if (which == INLINE_ZERO || which == INLINE_POSITIVE || which == INLINE_NEGATIVE) {
    int as = which == INLINE_ZERO ? INLINE_SAME : which == INLINE_POSITIVE ? INLINE_GT : INLINE_LT;
    return node_inline(m, as, list(m, 2, car(arguments), node_constant(m, fixnum(0))), form);
  }
  if (which == INLINE_NOT && kind_of(car(arguments)) == N_CONST) {
    return node_constant(m, boolean(NODE(car(arguments))->a == V_FALSE));
  }
  if (i->most == -1 || (i->least == 2 && n == 2)) {
    value made = car(arguments);
    for (value l = cdr(arguments); l != V_NULL; l = cdr(l)) {
      value known = folded(m, which, made, car(l));
      made = known != 0 ? known : node_inline(m, which, list(m, 2, made, car(l)), form);
    }
    return made;
  }
  return node_inline(m, which, arguments, form);
}
