// SPDX-License-Identifier: MIT
// machine.c: executes instructions. What is long or seldom is in machine_slow.c.
//
// `frame`, `code` and `next` are the machine's registers: C variables, which hold in place what they point into. Before anything that may fail or collect in
// a way that others see, SAVE notes them.

#include <string.h>
#include "bytecode.h"
#include "machine.h"
#include "machine_slow.h"

#define A WORD_A(w)
#define B WORD_B(w)
#define C WORD_C(w)
#define SAVE() (m->frame = frame, m->next = next)
#define GO()                                                  \
  do {                                                        \
    w = *next++;                                              \
    goto *labels[w & 0xffff];                                 \
  } while (0)
#define CASE(NAME) do_##NAME
#define UNLIKELY(X) __builtin_expect(!!(X), 0)
#define LIKELY(X) __builtin_expect(!!(X), 1)
#define BOTH_FIXNUMS(X, Y) LIKELY((X) & (Y) & 1)

// A jump that is taken if TEST says WANTED.
#define JUMP_WHEN(NAME, TEST, OFFSET)  \
  CASE(JUMP_##NAME) : {                \
    value a = frame[A];                \
    if (TEST) {                        \
      next += OFFSET;                  \
    }                                  \
    GO();                              \
  }                                    \
  CASE(JUMP_NOT_##NAME) : {            \
    value a = frame[A];                \
    if (!(TEST)) {                     \
      next += OFFSET;                  \
    }                                  \
    GO();                              \
  }
#define COMPARE(NAME, SIGN, RIGHT, SUFFIX)                                                                                                                     \
  CASE(JUMP_##NAME##SUFFIX) : {                                                                                                                                \
    value a = frame[A], b = RIGHT;                                                                                                                             \
    if (BOTH_FIXNUMS(a, b) ? (int64_t)a SIGN(int64_t) b : (SAVE(), compare_slow(m, #SIGN, a, b, MACHINE_##NAME))) {                                            \
      next += WORD_CI(w);                                                                                                                                      \
    }                                                                                                                                                          \
    GO();                                                                                                                                                      \
  }                                                                                                                                                            \
  CASE(JUMP_NOT_##NAME##SUFFIX) : {                                                                                                                            \
    value a = frame[A], b = RIGHT;                                                                                                                             \
    if (!(BOTH_FIXNUMS(a, b) ? (int64_t)a SIGN(int64_t) b : (SAVE(), compare_slow(m, #SIGN, a, b, MACHINE_##NAME)))) {                                         \
      next += WORD_CI(w);                                                                                                                                      \
    }                                                                                                                                                          \
    GO();                                                                                                                                                      \
  }
#define PAIR_PART(NAME, WHO, FIRST, SECOND)                        \
  CASE(NAME) : {                                                   \
    value v = frame[B];                                            \
    if (UNLIKELY(!is_pair(v)) || (v = FIRST(v), UNLIKELY(!is_pair(v)))) { \
      SAVE();                                                      \
      fail_type(m, WHO, 1, "pair", frame[B]);                      \
    }                                                              \
    frame[A] = SECOND(v);                                          \
    GO();                                                          \
  }
#define DIVISION(NAME, EXPRESSION)                                                                 \
  CASE(NAME) : {                                                                                   \
    value a = frame[B], b = frame[C];                                                              \
    if (BOTH_FIXNUMS(a, b) && LIKELY((int64_t)b > 1)) {                                            \
      int64_t x = fixnum_of(a), y = fixnum_of(b);                                                  \
      frame[A] = fixnum(EXPRESSION);                                                               \
      GO();                                                                                        \
    }                                                                                              \
    SAVE();                                                                                        \
    frame[A] = machine_slow(m, SLOW_##NAME, a, b, 0);                                              \
    GO();                                                                                          \
  }

// Runs from a call on: of the callee in frame[place + 1], with `count` arguments behind it. Returns the value that comes back to the bottom of the stack.
static __attribute__((noinline)) value execute(machine *m, value *frame, const value *next, int64_t place, int64_t count) {
  static const void *const labels[2 * OPERATION_COUNT] = {
#define X(NAME, OPERANDS, WORDS) &&do_##NAME, &&do_##NAME,
      OPERATIONS(X)
#undef X
  };
  code *code = OBJ(struct code, OBJ(closure, frame[-1])->code);
  uint64_t w = 0;
  uint64_t target = (uint64_t)place;
  value callee = frame[place + 1], result;
  goto call;

  CASE(MOVE) : frame[A] = frame[B];
  GO();
  CASE(INT) : frame[A] = fixnum(WORD_BC(w));
  GO();
  CASE(CONST) : frame[A] = *next++;
  GO();
  CASE(UNBOUND) : frame[A] = V_UNBOUND;
  GO();
  CASE(GLOBAL) : {
    value v = OBJ(cell, *next++)->content;
    if (UNLIKELY(v == V_UNBOUND)) {
      SAVE();
      fail_unbound(m, next[-1]);
    }
    frame[A] = v;
    GO();
  }
  CASE(SET_GLOBAL) : {
    cell *c = OBJ(cell, *next++);
    if (UNLIKELY(c->content == V_UNBOUND)) {
      SAVE();
      fail_unbound(m, next[-1]);
    }
    c->content = frame[A];
    GO();
  }
  CASE(DEFINE) : OBJ(cell, *next++)->content = frame[A];
  GO();
  CASE(FREE) : frame[A] = OBJ(closure, frame[-1])->free[B];
  GO();
  CASE(FREE_CELL) : {
    cell *c = OBJ(cell, OBJ(closure, frame[-1])->free[B]);
    if (UNLIKELY(!is_kind(ref(c), KIND_CELL) || c->content == V_UNBOUND)) {
      SAVE();
      fail_unbound(m, ref(c));
    }
    frame[A] = c->content;
    GO();
  }
  CASE(SET_FREE_CELL) : {
    value c = OBJ(closure, frame[-1])->free[B];
    if (UNLIKELY(!is_kind(c, KIND_CELL))) {
      SAVE();
      fail_unbound(m, c);
    }
    OBJ(cell, c)->content = frame[A];
    GO();
  }
  CASE(NEW_CELL) : {
    SAVE();
    cell *c = allocate(m, KIND_CELL, 2, KIND_CELL);
    c->content = frame[B];
    frame[A] = ref(c);
    GO();
  }
  CASE(CELL) : {
    cell *c = OBJ(cell, frame[B]);
    if (UNLIKELY(!is_kind(frame[B], KIND_CELL) || c->content == V_UNBOUND)) {
      SAVE();
      fail_unbound(m, frame[B]);
    }
    frame[A] = c->content;
    GO();
  }
  CASE(SET_CELL) : {
    if (UNLIKELY(!is_kind(frame[B], KIND_CELL))) {
      SAVE();
      fail_unbound(m, frame[B]);
    }
    OBJ(cell, frame[B])->content = frame[A];
    GO();
  }
  CASE(CLOSURE) : {
    int64_t n = B;
    SAVE();
    closure *made = allocate(m, KIND_CLOSURE, n + 1, OBJ(closure, *next)->header | (uint64_t)n << 32);
    made->code = OBJ(closure, *next++)->code;
    for (int64_t i = 0; i < n; i++) {
      value from = *next++;
      made->free[i] = from & 2 ? OBJ(closure, frame[-1])->free[from >> 2] : frame[from >> 2];
    }
    frame[A] = ref(made);
    GO();
  }
  CASE(PATCH) : {
    value v = frame[A];
    if (UNLIKELY(!is_kind(v, KIND_CLOSURE) || B >= OBJ(closure, v)->header >> 32)) {
      SAVE();
      fail_unbound(m, v);
    }
    OBJ(closure, v)->free[B] = frame[C];
    GO();
  }

  // ---- Calls.
  CASE(CALL) : place = A;
  count = B;
  target = C;
  callee = frame[place + 1];
  goto call;
  CASE(CALL_GLOBAL) : place = A;
  count = B;
  target = C;
  callee = OBJ(cell, *next++)->content;
call:
  if (LIKELY(is_object(callee))) {
    uint64_t header = OBJ(closure, callee)->header;
    if (LIKELY(closure_takes(header, (int)count))) {
    enter:
      frame += place + 2;
      frame[-2] = LINK(next - code->word, target, place + 2);
      frame[-1] = callee;
      code = OBJ(struct code, OBJ(closure, callee)->code);
      next = code->word;
      if (UNLIKELY(frame > limit_of(m))) {
        goto poll;
      }
      GO();
    }
    if ((uint8_t)header == KIND_PRIMITIVE) {
      frame[place + 1] = callee;
      SAVE();
      frame[target] = primitive_call(m, callee, &frame[place + 2], (int)count);
      GO();
    }
  }
  SAVE();
  callee = call_prepare(m, callee, &frame[place + 2], &count);
  if (is_kind(callee, KIND_CLOSURE)) {
    goto enter;
  }
  if (is_kind(callee, KIND_PRIMITIVE)) {
    goto call;
  }
  if (is_kind(callee, KIND_CONTINUATION)) {
    result = frame[place + 2];
    goto throw;
  }
  frame[target] = frame[place + 2];
  GO();

  CASE(TAIL_CALL_GLOBAL) : place = A;
  count = B;
  callee = OBJ(cell, *next++)->content;
  goto tail_call;
  CASE(TAIL_CALL) : place = A;
  count = B;
  callee = frame[place + 1];
tail_call:
  if (LIKELY(is_object(callee))) {
    uint64_t header = OBJ(closure, callee)->header;
    if (LIKELY(closure_takes(header, (int)count))) {
    tail_enter:
      for (int64_t i = 0; i < count; i++) {
        frame[i] = frame[place + 2 + i];
      }
      frame[-1] = callee;
      code = OBJ(struct code, OBJ(closure, callee)->code);
      next = code->word;
      if (UNLIKELY(frame > limit_of(m))) {
        goto poll;
      }
      GO();
    }
    if ((uint8_t)header == KIND_PRIMITIVE) {
      SAVE();
      result = primitive_call(m, callee, &frame[place + 2], (int)count);
      goto give;
    }
  }
  SAVE();
  callee = call_prepare(m, callee, &frame[place + 2], &count);
  if (is_kind(callee, KIND_CLOSURE)) {
    goto tail_enter;
  }
  if (is_kind(callee, KIND_PRIMITIVE)) {
    goto tail_call;
  }
  result = frame[place + 2];
  if (is_kind(callee, KIND_CONTINUATION)) {
    goto throw;
  }
  goto give;

  CASE(RETURN) : result = frame[A];
give : {
  uint64_t link = frame[-2];
  frame -= LINK_DISTANCE(link);
  code = OBJ(struct code, OBJ(closure, frame[-1])->code);
  next = code->word + LINK_WORD(link);
  frame[LINK_TARGET(link)] = result;
  GO();
}
poll: // a callee is about to begin: its arguments, and what captured values it has, are all that its frame holds
  m->next = next;
  frame = machine_poll(m, frame, (int)code->frame);
  GO();

  CASE(UNDERFLOW) : result = frame[0];
  goto underflow;
throw:
  m->state->item[STATE_NEXT] = callee;
underflow:
  frame = continuation_resume(m);
  if (frame == NULL) {
    return result;
  }
  goto give;
  CASE(CALL_CC) : {
    callee = frame[A];
    SAVE();
    value self = frame[-1];
    frame = continuation_capture(m, frame);
    frame[-1] = self;
    place = -2;
    count = 1;
    goto tail_call;
  }
  CASE(APPLY) : {
    callee = frame[A];
    SAVE();
    value list = frame[B];
    if (is_kind(callee, KIND_PRIMITIVE) && (count = list_most(list, 1000)) > 999) {
      result = primitive_apply(m, callee, list);
      goto give;
    }
    count = spread(m, list, frame);
    place = -2;
    goto tail_call;
  }
  CASE(APPLY_VALUES) : {
    callee = frame[A];
    value v = frame[B];
    place = -2;
    count = 1;
    frame[0] = v;
    if (is_kind(v, KIND_VALUES)) {
      values *all = OBJ(values, v);
      count = all->count;
      if (count > ARGUMENTS_MAX) {
        SAVE();
        fail(m, NULL, "too many values", 0);
      }
      memcpy(frame, all->item, 8 * (size_t)count);
    }
    goto tail_call;
  }
  CASE(SPREAD) : {
    SAVE();
    spread_values(m, frame[A], B, &frame[C]);
    GO();
  }

  // ---- Jumps.
  CASE(JUMP) : next += WORD_BC(w);
  GO();
  CASE(LOOP) : next += WORD_BC(w);
  if (UNLIKELY(frame > limit_of(m))) {
    goto poll;
  }
  GO();
  JUMP_WHEN(NULL, a == V_NULL, WORD_BC(w))
  JUMP_WHEN(PAIR, is_pair(a), WORD_BC(w))
  JUMP_WHEN(FIXNUM, is_fixnum(a), WORD_BC(w))
  JUMP_WHEN(CHAR, is_char(a), WORD_BC(w))
  JUMP_WHEN(KIND, is_kind(a, (kind)B), WORD_CI(w))
  JUMP_WHEN(EQ, a == frame[B], WORD_CI(w))
  JUMP_WHEN(EQV, a == frame[B] || is_eqv(a, frame[B]), WORD_CI(w))
  CASE(JUMP_FALSE) : if (frame[A] == V_FALSE) {
    next += WORD_BC(w);
  }
  GO();
  CASE(JUMP_TRUE) : if (frame[A] != V_FALSE) {
    next += WORD_BC(w);
  }
  GO();
  CASE(JUMP_EQ_CONST) : {
    value v = *next++;
    if (frame[A] == v) {
      next += WORD_BC(w);
    }
    GO();
  }
  CASE(JUMP_NOT_EQ_CONST) : {
    value v = *next++;
    if (frame[A] != v) {
      next += WORD_BC(w);
    }
    GO();
  }
  CASE(JUMP_RECORD) : {
    value v = frame[A], type = *next++;
    if (is_kind(v, KIND_RECORD) && OBJ(record, v)->type == type) {
      next += WORD_BC(w);
    }
    GO();
  }
  CASE(JUMP_NOT_RECORD) : {
    value v = frame[A], type = *next++;
    if (!(is_kind(v, KIND_RECORD) && OBJ(record, v)->type == type)) {
      next += WORD_BC(w);
    }
    GO();
  }
  CASE(JUMP_CHAR_SAME) : {
    value a = frame[A], b = frame[B];
    if (UNLIKELY(!is_char(a) || !is_char(b))) {
      SAVE();
      fail_type(m, "char=?", is_char(a) ? 2 : 1, "character", is_char(a) ? b : a);
    }
    if (a == b) {
      next += WORD_CI(w);
    }
    GO();
  }
  CASE(JUMP_NOT_CHAR_SAME) : {
    value a = frame[A], b = frame[B];
    if (UNLIKELY(!is_char(a) || !is_char(b))) {
      SAVE();
      fail_type(m, "char=?", is_char(a) ? 2 : 1, "character", is_char(a) ? b : a);
    }
    if (a != b) {
      next += WORD_CI(w);
    }
    GO();
  }
  COMPARE(LT, <, frame[B], )
  COMPARE(LE, <=, frame[B], )
  COMPARE(SAME, ==, frame[B], )
  COMPARE(LT, <, fixnum(WORD_BI(w)), _INT)
  COMPARE(LE, <=, fixnum(WORD_BI(w)), _INT)
  COMPARE(SAME, ==, fixnum(WORD_BI(w)), _INT)
  COMPARE(GT, >, fixnum(WORD_BI(w)), _INT)
  COMPARE(GE, >=, fixnum(WORD_BI(w)), _INT)

  // ---- Numbers.
#define ARITHMETIC(NAME, RIGHT, OVERFLOWS, SIGN, SLOW)                                    \
  CASE(NAME) : {                                                                          \
    value a = frame[B], b = RIGHT;                                                        \
    int64_t sum;                                                                          \
    if (BOTH_FIXNUMS(a, b) && LIKELY(!OVERFLOWS)) {                                       \
      frame[A] = (value)sum;                                                              \
      GO();                                                                               \
    }                                                                                     \
    SAVE();                                                                               \
    if (is_flonum(a) && is_flonum(b)) {                                                   \
      frame[A] = flonum_inline(m, flonum_of(a) SIGN flonum_of(b));                        \
      GO();                                                                               \
    }                                                                                     \
    frame[A] = SLOW(m, a, b);                                                             \
    GO();                                                                                 \
  }
  ARITHMETIC(ADD, frame[C], __builtin_add_overflow((int64_t)a - 1, (int64_t)b, &sum), +, number_add)
  ARITHMETIC(ADD_INT, fixnum(WORD_CI(w)), __builtin_add_overflow((int64_t)a, 2 * WORD_CI(w), &sum), +, number_add)
  ARITHMETIC(SUBTRACT, frame[C], __builtin_sub_overflow((int64_t)a, (int64_t)b - 1, &sum), -, number_subtract)
  ARITHMETIC(MULTIPLY, frame[C], (__builtin_mul_overflow((int64_t)a - 1, (int64_t)b >> 1, &sum) || (sum++, false)), *, number_multiply)
  CASE(DIVIDE) : {
    value a = frame[B], b = frame[C];
    SAVE();
    if (is_flonum(a) && is_flonum(b)) {
      frame[A] = flonum_inline(m, flonum_of(a) / flonum_of(b));
      GO();
    }
    frame[A] = machine_slow(m, SLOW_DIVIDE, a, b, 0);
    GO();
  }
  DIVISION(QUOTIENT, x / y)
  DIVISION(REMAINDER, x % y)
  DIVISION(MODULO, x % y < 0 ? x % y + y : x % y)

  // ---- Pairs, vectors, strings, records.
  CASE(CONS) : {
    SAVE();
    value made = cons_inline(m, frame[B], frame[C]);
    frame[A] = made;
    GO();
  }
  CASE(CAR) : {
    value v = frame[B];
    if (UNLIKELY(!is_pair(v))) {
      SAVE();
      fail_type(m, "car", 1, "pair", v);
    }
    frame[A] = car(v);
    GO();
  }
  CASE(CDR) : {
    value v = frame[B];
    if (UNLIKELY(!is_pair(v))) {
      SAVE();
      fail_type(m, "cdr", 1, "pair", v);
    }
    frame[A] = cdr(v);
    GO();
  }
  PAIR_PART(CAAR, "caar", car, car)
  PAIR_PART(CADR, "cadr", cdr, car)
  PAIR_PART(CDAR, "cdar", car, cdr)
  PAIR_PART(CDDR, "cddr", cdr, cdr)
  CASE(SET_CAR) : {
    if (UNLIKELY(!is_pair(frame[A]))) {
      SAVE();
      fail_type(m, "set-car!", 1, "pair", frame[A]);
    }
    pair_of(frame[A])->car = frame[B];
    GO();
  }
  CASE(SET_CDR) : {
    if (UNLIKELY(!is_pair(frame[A]))) {
      SAVE();
      fail_type(m, "set-cdr!", 1, "pair", frame[A]);
    }
    pair_of(frame[A])->cdr = frame[B];
    GO();
  }
  CASE(VECTOR_REF) : {
    value v = frame[B], i = frame[C];
    if (LIKELY(is_kind(v, KIND_VECTOR) && is_fixnum(i) && (uint64_t)fixnum_of(i) < (uint64_t)OBJ(vector, v)->length)) {
      frame[A] = OBJ(vector, v)->item[fixnum_of(i)];
      GO();
    }
    SAVE();
    machine_slow(m, SLOW_VECTOR_REF, v, i, 0);
    GO();
  }
  CASE(VECTOR_SET) : {
    value v = frame[A], i = frame[B];
    if (LIKELY(is_kind(v, KIND_VECTOR) && is_fixnum(i) && (uint64_t)fixnum_of(i) < (uint64_t)OBJ(vector, v)->length)) {
      OBJ(vector, v)->item[fixnum_of(i)] = frame[C];
      GO();
    }
    SAVE();
    machine_slow(m, SLOW_VECTOR_SET, v, i, frame[C]);
    GO();
  }
  CASE(VECTOR_LENGTH) : {
    value v = frame[B];
    if (UNLIKELY(!is_kind(v, KIND_VECTOR))) {
      SAVE();
      fail_type(m, "vector-length", 1, "vector", v);
    }
    frame[A] = fixnum(OBJ(vector, v)->length);
    GO();
  }
  CASE(STRING_REF) : {
    value v = frame[B], i = frame[C];
    if (LIKELY(is_kind(v, KIND_STRING) && is_fixnum(i) && (uint64_t)fixnum_of(i) < (uint64_t)OBJ(string, v)->length)) {
      frame[A] = character(string_get(OBJ(string, v), fixnum_of(i)));
      GO();
    }
    SAVE();
    machine_slow(m, SLOW_STRING_REF, v, i, 0);
    GO();
  }
  CASE(BYTE_REF) : {
    value v = frame[B], i = frame[C];
    if (LIKELY(is_kind(v, KIND_BYTEVECTOR) && is_fixnum(i) && (uint64_t)fixnum_of(i) < (uint64_t)OBJ(bytevector, v)->length)) {
      frame[A] = fixnum(OBJ(bytevector, v)->byte[fixnum_of(i)]);
      GO();
    }
    SAVE();
    machine_slow(m, SLOW_BYTE_REF, v, i, 0);
    GO();
  }
  CASE(BYTE_SET) : {
    value v = frame[A], i = frame[B], b = frame[C];
    if (LIKELY(is_kind(v, KIND_BYTEVECTOR) && is_fixnum(i) && (uint64_t)fixnum_of(i) < (uint64_t)OBJ(bytevector, v)->length && is_fixnum(b) &&
               (uint64_t)fixnum_of(b) < 256)) {
      OBJ(bytevector, v)->byte[fixnum_of(i)] = (uint8_t)fixnum_of(b);
      GO();
    }
    SAVE();
    machine_slow(m, SLOW_BYTE_SET, v, i, b);
    GO();
  }
  CASE(CHAR_INTEGER) : {
    if (UNLIKELY(!is_char(frame[B]))) {
      SAVE();
      fail_type(m, "char->integer", 1, "character", frame[B]);
    }
    frame[A] = fixnum(char_of(frame[B]));
    GO();
  }
  CASE(INTEGER_CHAR) : {
    value v = frame[B];
    if (LIKELY(is_fixnum(v) && (uint64_t)fixnum_of(v) < 0xd800)) {
      frame[A] = character((uint32_t)fixnum_of(v));
      GO();
    }
    SAVE();
    frame[A] = machine_slow(m, SLOW_INTEGER_CHAR, v, 0, 0);
    GO();
  }
  CASE(RECORD) : {
    SAVE();
    int64_t n = B;
    record *made = allocate(m, KIND_RECORD, n + 1, KIND_RECORD);
    made->type = *next++;
    for (int64_t i = 0; i < n; i++) {
      made->field[i] = frame[C + (unsigned)i];
    }
    frame[A] = ref(made);
    GO();
  }
  CASE(RECORD_REF) : {
    value v = frame[B], type = *next++;
    if (UNLIKELY(!is_kind(v, KIND_RECORD) || OBJ(record, v)->type != type)) {
      SAVE();
      fail_record(m, v, type);
    }
    frame[A] = OBJ(record, v)->field[C];
    GO();
  }
  CASE(RECORD_SET) : {
    value v = frame[A], type = *next++;
    if (UNLIKELY(!is_kind(v, KIND_RECORD) || OBJ(record, v)->type != type)) {
      SAVE();
      fail_record(m, v, type);
    }
    OBJ(record, v)->field[C] = frame[B];
    GO();
  }
}

// Errors come here by longjmp, with the condition in the state, and are raised where they were found: the frame that failed calls the procedure that the
// prelude has for that.
bool machine_run(machine *m, value procedure, value *result) {
  jmp_buf here;
  jmp_buf *volatile before = m->escape;
  value *frame = m->stack->item + 2;
  m->state->item[STATE_NEXT] = V_NULL;
  m->state->item[STATE_WINDERS] = m->state->item[STATE_HANDLERS] = V_NULL;
  frame[-2] = fixnum(0);
  frame[-1] = world->item[WORLD_UNDERFLOW];
  frame[0] = V_FALSE;
  frame[1] = procedure;
  m->frame = frame;
  m->next = OBJ(code, OBJ(closure, frame[-1])->code)->word;
  m->escape = &here;
  int why = setjmp(here);
  int64_t place = 0, count = 0;
  if (why != 0) {
    world_lock_drop(m);
    if (why == ESCAPE_ABORT || world->item[WORLD_RAISE] == V_FALSE) {
      m->escape = before;
      return false;
    }
    place = OBJ(code, OBJ(closure, m->frame[-1])->code)->frame;
    m->frame[place + 1] = world->item[WORLD_RAISE];
    m->frame[place + 2] = m->state->item[STATE_CONDITION];
    count = 1;
  }
  *result = execute(m, m->frame, m->next, place, count);
  m->escape = before;
  return true;
}
