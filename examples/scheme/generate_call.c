// SPDX-License-Identifier: MIT
// generate_call.c: calls, jumps to loops, primitives that are instructions, tests.

#include "compiler.h"

// ---- Calls.

// To a loop: its arguments go to its parameters' registers; those that a later argument still reads are kept aside first.
static void generate_jump(generator *g, lambda *function, value arguments) {
  int top = g->top;
  value moves = V_NULL;
  for (value p = function->parameters, l = arguments; l != V_NULL; l = cdr(l), p = cdr(p)) {
    value parameter = car(p), later = cdr(l);
    if (kind_of(car(l)) == N_LOCAL && NODE(car(l))->a == parameter && !VARIABLE(parameter)->assigned) {
      continue;
    }
    while (later != V_NULL && !tree_mentions(car(later), parameter)) {
      later = cdr(later);
    }
    int place = (int)VARIABLE(parameter)->place;
    if (later != V_NULL) {
      place = register_new(g, 1);
      moves = cons(g->m, cons(g->m, fixnum(place), fixnum(VARIABLE(parameter)->place)), moves);
    }
    int before = g->top;
    generate_node(g, car(l), place);
    g->top = before;
  }
  for (; moves != V_NULL; moves = cdr(moves)) {
    emit(g, WORD(OP_MOVE, fixnum_of(cdr(car(moves))), fixnum_of(car(car(moves))), 0));
  }
  emit_jump(g, label_is_bound(g, function->label) ? OP_LOOP : OP_JUMP, 0, 0, function->label);
  g->top = top;
}

// Calls of these do not come back, and are no tail calls, so that the error knows where it arose.
static bool never_returns(generator *g, value callee) {
  if (kind_of(callee) != N_GLOBAL) {
    return false;
  }
  cell *c = OBJ(cell, NODE(callee)->a);
  return (c->name == intern(g->m, "error") || c->name == intern(g->m, "raise")) && environment_get(world->item[WORLD_BASE], c->name) == ref(c);
}

void generate_call(generator *g, value n, int to) {
  node *x = NODE(n);
  if (to == TO_RETURN && never_returns(g, x->a)) {
    int place = register_new(g, 1);
    generate_call(g, n, place);
    generate_done(g, place, to);
    return;
  }
  value callee = x->a, known = kind_of(callee) == N_LOCAL ? VARIABLE(NODE(callee)->a)->known : 0;
  int count = (int)form_length(x->b), top = g->top;
  if (known != 0 && LAMBDA(known)->loop) {
    generate_jump(g, LAMBDA(known), x->b);
    return;
  }
  if (count > ARGUMENTS_MAX) {
    fail_syntax(g->m, V_FALSE, "a call has too many arguments");
  }
  bool global = kind_of(callee) == N_GLOBAL;
  int place = register_new(g, 2);
  if (!global) {
    generate_node(g, callee, place + 1);
    g->top = place + 2;
  }
  for (value l = x->b; l != V_NULL; l = cdr(l)) {
    int at = register_new(g, 1);
    generate_node(g, car(l), at);
    g->top = at + 1;
  }
  int target = to == TO_NOTHING ? place : to;
  if (to == TO_RETURN) {
    emit(g, WORD(global ? OP_TAIL_CALL_GLOBAL : OP_TAIL_CALL, place, count, 0));
  } else {
    emit(g, WORD(global ? OP_CALL_GLOBAL : OP_CALL, place, count, target));
  }
  if (global) {
    emit_value(g, NODE(callee)->a);
  }
  emit_position(g, x->where);
  g->top = top;
}

// ---- Instructions for primitives.

static const short unary[INLINE_COUNT] = {[INLINE_CAR] = OP_CAR, [INLINE_CDR] = OP_CDR, [INLINE_CAAR] = OP_CAAR, [INLINE_CADR] = OP_CADR,
    [INLINE_CDAR] = OP_CDAR,
    [INLINE_CDDR] = OP_CDDR, [INLINE_VECTOR_LENGTH] = OP_VECTOR_LENGTH, [INLINE_CHAR_INTEGER] = OP_CHAR_INTEGER, [INLINE_INTEGER_CHAR] = OP_INTEGER_CHAR};
static const short binary[INLINE_COUNT] = {[INLINE_CONS] = OP_CONS, [INLINE_ADD] = OP_ADD, [INLINE_SUBTRACT] = OP_SUBTRACT, [INLINE_MULTIPLY] = OP_MULTIPLY,
    [INLINE_DIVIDE] = OP_DIVIDE, [INLINE_QUOTIENT] = OP_QUOTIENT, [INLINE_REMAINDER] = OP_REMAINDER, [INLINE_MODULO] = OP_MODULO,
        [INLINE_VECTOR_REF] = OP_VECTOR_REF,
    [INLINE_STRING_REF] = OP_STRING_REF, [INLINE_BYTE_REF] = OP_BYTE_REF};
static const short setters[INLINE_COUNT] = {[INLINE_SET_CAR] = OP_SET_CAR, [INLINE_SET_CDR] = OP_SET_CDR, [INLINE_VECTOR_SET] = OP_VECTOR_SET,
    [INLINE_BYTE_SET] = OP_BYTE_SET,
    [INLINE_RECORD_SET] = OP_RECORD_SET};

static bool is_int(generator *g, value n, int64_t *out) {
  if (kind_of(n) == N_LOCAL) {
    value real = variable_real(g, NODE(n)->a);
    n = is_other(real, OTHER_NODE) ? real : n;
  }
  if (kind_of(n) != N_CONST || !is_fixnum(NODE(n)->a)) {
    return false;
  }
  *out = fixnum_of(NODE(n)->a);
  return *out < INT16_MAX && *out > INT16_MIN;
}

static void generate_record(generator *g, node *x, int at) {
  int count = (int)form_length(x->b), first = register_new(g, count);
  for (value l = x->b; l != V_NULL; l = cdr(l), first++) {
    int before = g->top;
    generate_node(g, car(l), first);
    g->top = before;
  }
  emit(g, WORD(OP_RECORD, at, count, count == 0 ? 0 : first - count));
  emit_value(g, x->c);
}

static void generate_setter(generator *g, node *x, int which) {
  int operand[3] = {0, 0, 0}, n = 0;
  for (value l = x->b; l != V_NULL; l = cdr(l)) {
    operand[n++] = generate_operand(g, car(l));
  }
  emit(g, WORD(setters[which], operand[0], operand[1], which == INLINE_RECORD_SET ? (int)fixnum_of(x->d) : operand[2]));
  if (which == INLINE_RECORD_SET) {
    emit_value(g, x->c);
  }
}

static void generate_binary(generator *g, int which, value arguments, int at) {
  value left = car(arguments), right = car(cdr(arguments));
  int64_t i;
  if ((which == INLINE_ADD || (which == INLINE_SUBTRACT)) && is_int(g, right, &i) && i != 0) {
    emit(g, WORD(OP_ADD_INT, at, generate_operand(g, left), which == INLINE_ADD ? i : -i));
  } else if (which == INLINE_ADD && is_int(g, left, &i) && i != 0) {
    emit(g, WORD(OP_ADD_INT, at, generate_operand(g, right), i));
  } else {
    int a = generate_operand(g, left), b = generate_operand(g, right);
    emit(g, WORD(binary[which], at, a, b));
  }
}

static void generate_leaving(generator *g, node *x, int which, int to) { // instructions that end a procedure: the prelude has them in tail position only
  if (to != TO_RETURN) {
    fail_syntax(g->m, V_FALSE, "an operation of the machine's is not in tail position");
  }
  int a = generate_operand(g, car(x->b)), b = which == INLINE_CALL_CC ? 0 : generate_operand(g, car(cdr(x->b)));
  emit(g, WORD(which == INLINE_CALL_CC ? OP_CALL_CC : which == INLINE_APPLY ? OP_APPLY : OP_APPLY_VALUES, a, b, 0));
}

void generate_inline(generator *g, value n, int to) {
  node *x = NODE(n);
  int which = (int)fixnum_of(x->a), top = g->top;
  if (is_test(n)) {
    int64_t no = label_new(g), end = label_new(g);
    generate_test(g, n, false, no);
    generate_constant(g, V_TRUE, to);
    if (to != TO_RETURN) {
      emit_jump(g, OP_JUMP, 0, 0, end);
    }
    label_bind(g, no);
    generate_constant(g, V_FALSE, to);
    label_bind(g, end);
    g->top = top;
    return;
  }
  if (which == INLINE_APPLY || which == INLINE_APPLY_VALUES || which == INLINE_CALL_CC) {
    generate_leaving(g, x, which, to);
    emit_position(g, x->where);
    return;
  }
  if (setters[which] != 0) {
    generate_setter(g, x, which);
    emit_position(g, x->where);
    g->top = top;
    generate_constant(g, V_UNSPECIFIED, to);
    return;
  }
  int at = to >= 0 ? to : register_new(g, 1);
  if (which == INLINE_RECORD) {
    generate_record(g, x, at);
  } else if (which == INLINE_RECORD_REF) {
    emit(g, WORD(OP_RECORD_REF, at, generate_operand(g, car(x->b)), fixnum_of(x->d)));
    emit_value(g, x->c);
  } else if (unary[which] != 0) {
    emit(g, WORD(unary[which], at, generate_operand(g, car(x->b)), 0));
  } else {
    generate_binary(g, which, x->b, at);
  }
  emit_position(g, x->where);
  generate_done(g, at, to);
  g->top = top;
}

// ---- Tests: the two instructions of each pair stand behind each other, first the one that jumps if it is true.

bool is_test(value n) {
  if (kind_of(n) != N_INLINE) {
    return false;
  }
  int64_t which = fixnum_of(NODE(n)->a);
  return (which >= INLINE_TESTS && which < INLINE_TESTS_END) || which == INLINE_IS_RECORD;
}

static void test_two(generator *g, int operation, value a, value b, bool when, int64_t label) {
  int left = generate_operand(g, a), right = generate_operand(g, b);
  emit_jump(g, operation + !when, (unsigned)left, (unsigned)right, label);
}

static void test_order(generator *g, int which, value a, value b, bool when, int64_t label) {
  static const short with_int[] = {OP_JUMP_LT_INT, OP_JUMP_GT_INT, OP_JUMP_LE_INT, OP_JUMP_GE_INT, OP_JUMP_SAME_INT};
  static const short turned[] = {OP_JUMP_GT_INT, OP_JUMP_LT_INT, OP_JUMP_GE_INT, OP_JUMP_LE_INT, OP_JUMP_SAME_INT};
  int64_t i;
  if (is_int(g, b, &i)) {
    emit_jump(g, with_int[which - INLINE_LT] + !when, (unsigned)generate_operand(g, a), (unsigned)i, label);
  } else if (is_int(g, a, &i)) {
    emit_jump(g, turned[which - INLINE_LT] + !when, (unsigned)generate_operand(g, b), (unsigned)i, label);
  } else {
    int left = generate_operand(g, a), right = generate_operand(g, b);
    bool turn = which == INLINE_GT || which == INLINE_GE;
    int operation = which == INLINE_SAME ? OP_JUMP_SAME : which == INLINE_LT || which == INLINE_GT ? OP_JUMP_LT : OP_JUMP_LE;
    emit_jump(g, operation + !when, (unsigned)(turn ? right : left), (unsigned)(turn ? left : right), label);
  }
}

// Whether eq? does for eqv?: it is no number that lies in the heap.
static bool is_plain(value v) { return is_fixnum(v) || (v & TAG_MASK) == TAG_IMMEDIATE || is_kind(v, KIND_SYMBOL); }

static void test_same(generator *g, int which, value a, value b, bool when, int64_t label) {
  if (kind_of(a) == N_CONST) {
    value other = a;
    a = b;
    b = other;
  }
  if (kind_of(b) == N_CONST && (which == INLINE_EQ || is_plain(NODE(b)->a))) {
    if (NODE(b)->a == V_NULL) {
      emit_jump(g, OP_JUMP_NULL + !when, (unsigned)generate_operand(g, a), 0, label);
      return;
    }
    emit_jump(g, OP_JUMP_EQ_CONST + !when, (unsigned)generate_operand(g, a), 0, label);
    emit_value(g, NODE(b)->a);
    return;
  }
  test_two(g, which == INLINE_EQ ? OP_JUMP_EQ : OP_JUMP_EQV, a, b, when, label);
}

static void test_inline(generator *g, value n, bool when, int64_t label) {
  node *x = NODE(n);
  int which = (int)fixnum_of(x->a);
  value a = car(x->b), b = cdr(x->b) != V_NULL ? car(cdr(x->b)) : 0;
  static const short simple[INLINE_COUNT] = {[INLINE_NULL] = OP_JUMP_NULL, [INLINE_PAIR] = OP_JUMP_PAIR, [INLINE_CHAR] = OP_JUMP_CHAR,
      [INLINE_FIXNUM] = OP_JUMP_FIXNUM};
  static const short kinds[INLINE_COUNT] = {[INLINE_VECTOR] = KIND_VECTOR, [INLINE_STRING] = KIND_STRING, [INLINE_SYMBOL] = KIND_SYMBOL,
      [INLINE_BYTEVECTOR] = KIND_BYTEVECTOR};
  if (which == INLINE_NOT) {
    generate_test(g, a, !when, label);
  } else if (which == INLINE_EQ || which == INLINE_EQV) {
    test_same(g, which, a, b, when, label);
  } else if (which >= INLINE_LT && which <= INLINE_SAME) {
    test_order(g, which, a, b, when, label);
  } else if (which == INLINE_CHAR_SAME) {
    test_two(g, OP_JUMP_CHAR_SAME, a, b, when, label);
  } else if (kinds[which] != 0) {
    emit_jump(g, OP_JUMP_KIND + !when, (unsigned)generate_operand(g, a), (unsigned)kinds[which], label);
  } else if (which == INLINE_EOF) {
    emit_jump(g, OP_JUMP_EQ_CONST + !when, (unsigned)generate_operand(g, a), 0, label);
    emit_value(g, V_EOF);
  } else if (which == INLINE_IS_RECORD) {
    emit_jump(g, OP_JUMP_RECORD + !when, (unsigned)generate_operand(g, a), 0, label);
    emit_value(g, x->c);
  } else {
    emit_jump(g, simple[which] + !when, (unsigned)generate_operand(g, a), 0, label);
  }
  emit_position(g, x->where);
}

static void test_if(generator *g, node *x, bool when, int64_t label) {
  int64_t otherwise = label_new(g), end = label_new(g);
  int top = g->top;
  bool is_and = kind_of(x->c) == N_CONST && NODE(x->c)->a == V_FALSE;
  generate_test(g, x->a, false, is_and && !when ? label : otherwise);
  g->top = top;
  generate_test(g, x->b, when, label);
  g->top = top;
  if (!is_and) {
    emit_jump(g, OP_JUMP, 0, 0, end);
  }
  label_bind(g, otherwise);
  if (!is_and) {
    generate_test(g, x->c, when, label);
  }
  label_bind(g, end);
}

void generate_test(generator *g, value n, bool when, int64_t label) {
  node *x = NODE(n);
  int top = g->top;
  switch (kind_of(n)) {
    case N_CONST:
      if ((x->a != V_FALSE) == when) {
        emit_jump(g, OP_JUMP, 0, 0, label);
      }
      return;
    case N_IF: test_if(g, x, when, label); break;
    case N_OR: {
      int64_t end = label_new(g);
      generate_test(g, x->a, true, when ? label : end);
      g->top = top;
      generate_test(g, x->b, when, label);
      label_bind(g, end);
      break;
    }
    case N_SEQUENCE:
      generate_node(g, x->a, TO_NOTHING);
      g->top = top;
      generate_test(g, x->b, when, label);
      break;
    case N_INLINE:
      if (is_test(n)) {
        test_inline(g, n, when, label);
        break;
      } // fall through
    default: {
      int place = generate_operand(g, n);
      emit_jump(g, when ? OP_JUMP_TRUE : OP_JUMP_FALSE, (unsigned)place, 0, label);
    }
  }
  g->top = top;
}
