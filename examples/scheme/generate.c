// SPDX-License-Identifier: MIT
// generate.c: bytecode from the tree.
//
// Each node is asked to leave its value somewhere: in a register, or by returning, or nowhere. The register is written by the last instruction on each path
// and not before, so
// that it may be that of a variable which the node uses: a loop's parameter.

#include "compiler.h"

// ---- Variables.

static bool is_static(value v) {
  value known = VARIABLE(v)->known;
  return known != 0 && LAMBDA(known)->fixed && !LAMBDA(known)->loop;
}
// Names of the frame around are captured as they are; only those of this frame are followed to what they stand for, and constants everywhere.
value variable_real(generator *g, value v) {
  while (is_other(v, OTHER_VARIABLE) && VARIABLE(v)->alias != 0 && (VARIABLE(v)->owner == g->lambda || is_other(VARIABLE(v)->alias, OTHER_NODE))) {
    v = VARIABLE(v)->alias;
  }
  return v;
}
static int64_t free_index(generator *g, value v) {
  int64_t i = 0;
  for (value l = LAMBDA(g->lambda)->free; l != V_NULL; l = cdr(l), i++) {
    if (car(l) == v) {
      return i;
    }
  }
  fail(g->m, NULL, "the compiler has lost a variable", 1, VARIABLE(v)->name);
}
static bool is_here(generator *g, value v) { return VARIABLE(v)->owner == g->lambda; }

void load_variable(generator *g, value v, int to) {
  if (is_static(v)) {
    generate_constant(g, template_of(g->m, VARIABLE(v)->known), to);
  } else if (is_here(g, v)) {
    if (VARIABLE(v)->assigned) {
      emit(g, WORD(OP_CELL, to, VARIABLE(v)->place, 0));
    } else if (to != VARIABLE(v)->place) {
      emit(g, WORD(OP_MOVE, to, VARIABLE(v)->place, 0));
    }
  } else {
    int64_t i = free_index(g, v);
    emit(g, WORD(VARIABLE(v)->assigned ? OP_FREE_CELL : OP_FREE, to, i, 0));
  }
}

// A variable's own register, so that it can be read where it is; or -1.
static int register_of(generator *g, value n) {
  if (kind_of(n) != N_LOCAL) {
    return -1;
  }
  value v = variable_real(g, NODE(n)->a);
  return is_other(v, OTHER_VARIABLE) && is_here(g, v) && !VARIABLE(v)->assigned && !is_static(v) ? (int)VARIABLE(v)->place : -1;
}

int generate_operand(generator *g, value n) {
  int place = register_of(g, n);
  if (place < 0) {
    place = register_new(g, 1);
    generate_node(g, n, place);
  }
  return place;
}

// ---- Results.

void generate_done(generator *g, int from, int to) {
  if (to == TO_RETURN) {
    emit(g, WORD(OP_RETURN, from, 0, 0));
  } else if (to >= 0 && to != from) {
    emit(g, WORD(OP_MOVE, to, from, 0));
  }
}
static int target(generator *g, int to) { return to >= 0 ? to : register_new(g, 1); }

void generate_constant(generator *g, value datum, int to) {
  if (to == TO_NOTHING) {
    return;
  }
  int top = g->top, at = target(g, to);
  if (is_fixnum(datum) && fixnum_of(datum) <= INT32_MAX && fixnum_of(datum) >= INT32_MIN) {
    emit(g, WORD_BIG(OP_INT, at, fixnum_of(datum)));
  } else {
    emit(g, WORD(OP_CONST, at, 0, 0));
    emit_value(g, datum);
  }
  generate_done(g, at, to);
  g->top = top;
}

static void generate_local(generator *g, value n, int to) {
  value v = variable_real(g, NODE(n)->a);
  if (to == TO_NOTHING) {
    return;
  }
  if (is_other(v, OTHER_NODE)) {
    generate_constant(g, NODE(v)->a, to);
    return;
  }
  int top = g->top, place = register_of(g, n);
  if (place < 0) {
    place = target(g, to);
    load_variable(g, v, place);
    emit_position(g, NODE(n)->where);
  }
  generate_done(g, place, to);
  g->top = top;
}

static void generate_global(generator *g, value n, int to) {
  int top = g->top, at = target(g, to);
  emit(g, WORD(OP_GLOBAL, at, 0, 0));
  emit_value(g, NODE(n)->a);
  emit_position(g, NODE(n)->where);
  generate_done(g, at, to);
  g->top = top;
}

static void generate_set(generator *g, value n, int to) {
  node *x = NODE(n);
  int top = g->top, from = generate_operand(g, x->b);
  switch (kind_of(n)) {
    case N_SET_LOCAL:
      if (is_here(g, x->a)) {
        emit(g, WORD(OP_SET_CELL, from, VARIABLE(x->a)->place, 0));
      } else {
        emit(g, WORD(OP_SET_FREE_CELL, from, free_index(g, x->a), 0));
      }
      break;
    default:
      emit(g, WORD(kind_of(n) == N_DEFINE ? OP_DEFINE : OP_SET_GLOBAL, from, 0, 0));
      emit_value(g, x->a);
      emit_position(g, x->where);
  }
  g->top = top;
  generate_constant(g, V_UNSPECIFIED, to);
}

// ---- Binding.

static void box(generator *g, value v) {
  if (VARIABLE(v)->assigned) {
    emit(g, WORD(OP_NEW_CELL, VARIABLE(v)->place, VARIABLE(v)->place, 0));
  }
}

static void bind_let(generator *g, value variables, value nodes) {
  value v = variables;
  for (value l = nodes; l != V_NULL; l = cdr(l), v = cdr(v)) {
    variable *x = VARIABLE(car(v));
    value real = kind_of(car(l)) == N_LOCAL ? variable_real(g, NODE(car(l))->a) : car(l);
    bool is_constant = is_other(real, OTHER_NODE) && kind_of(real) == N_CONST && NODE(real)->a != V_UNBOUND;
    if (!x->assigned && (is_constant || (is_other(real, OTHER_VARIABLE) && !VARIABLE(real)->assigned))) {
      x->alias = real;
    } else if (!x->assigned && x->references == 0) {
      generate_node(g, car(l), TO_NOTHING);
    } else {
      int place = register_new(g, 1);
      generate_node(g, car(l), place);
      x->place = place;
      g->top = place + 1;
    }
  }
  for (v = variables; v != V_NULL; v = cdr(v)) {
    box(g, car(v));
  }
}

static void bind_receive(generator *g, node *x) {
  int from = generate_operand(g, x->b), count = (int)form_length(x->a), first = register_new(g, count);
  emit(g, WORD(OP_SPREAD, from, x->d == V_TRUE ? (count - 1) | SPREAD_REST : count, first));
  emit_position(g, x->where);
  for (value v = x->a; v != V_NULL; v = cdr(v)) {
    VARIABLE(car(v))->place = first++;
    box(g, car(v));
  }
}

static void bind_boxes(generator *g, value variables) {
  for (; variables != V_NULL; variables = cdr(variables)) {
    int place = register_new(g, 1);
    VARIABLE(car(variables))->place = place;
    emit(g, WORD(OP_UNBOUND, place, 0, 0));
    box(g, car(variables));
  }
}

// ---- Choices.

static void generate_if(generator *g, value n, int to) {
  node *x = NODE(n);
  if (kind_of(x->a) == N_CONST) {
    generate_node(g, NODE(x->a)->a != V_FALSE ? x->b : x->c, to);
    return;
  }
  int64_t otherwise = label_new(g), end = label_new(g);
  int top = g->top;
  generate_test(g, x->a, false, otherwise);
  g->top = top;
  generate_node(g, x->b, to);
  if (to != TO_RETURN && falls_through(g)) {
    emit_jump(g, OP_JUMP, 0, 0, end);
  }
  label_bind(g, otherwise);
  g->top = top;
  generate_node(g, x->c, to);
  label_bind(g, end);
  g->top = top;
}

static void generate_or(generator *g, value n, int to) {
  node *x = NODE(n);
  int top = g->top;
  int64_t otherwise = label_new(g), end = label_new(g);
  if (to == TO_NOTHING) {
    generate_test(g, x->a, true, end);
  } else if (is_test(x->a)) { // its value is #t or #f
    generate_test(g, x->a, false, otherwise);
    generate_constant(g, V_TRUE, to);
    if (to != TO_RETURN) {
      emit_jump(g, OP_JUMP, 0, 0, end);
    }
    label_bind(g, otherwise);
  } else {
    int first = generate_operand(g, x->a);
    emit_jump(g, OP_JUMP_FALSE, (unsigned)first, 0, otherwise);
    generate_done(g, first, to);
    if (to != TO_RETURN) {
      emit_jump(g, OP_JUMP, 0, 0, end);
    }
    label_bind(g, otherwise);
  }
  g->top = top;
  generate_node(g, x->b, to);
  label_bind(g, end);
  g->top = top;
}

void generate_node(generator *g, value n, int to) {
  int top = g->top;
  while (true) {
    node *x = NODE(n);
    switch (kind_of(n)) {
      case N_SEQUENCE: {
        int before = g->top;
        generate_node(g, x->a, TO_NOTHING);
        g->top = before;
        n = x->b;
        continue;
      }
      case N_LET:
        bind_let(g, x->a, x->b);
        n = x->c;
        continue;
      case N_BOX:
        bind_boxes(g, x->a);
        n = x->c;
        continue;
      case N_RECEIVE:
        bind_receive(g, x);
        n = x->c;
        continue;
      case N_CONST: generate_constant(g, x->a, to); break;
      case N_LOCAL: generate_local(g, n, to); break;
      case N_GLOBAL: generate_global(g, n, to); break;
      case N_SET_LOCAL:
      case N_SET_GLOBAL:
      case N_DEFINE: generate_set(g, n, to); break;
      case N_IF: generate_if(g, n, to); break;
      case N_OR: generate_or(g, n, to); break;
      case N_LAMBDA: generate_lambda(g, n, to); break;
      case N_CASES: generate_cases(g, n, to); break;
      case N_CALL: generate_call(g, n, to); break;
      case N_INLINE: generate_inline(g, n, to); break;
      case N_FIX: generate_fix(g, n, to); break;
    }
    g->top = top;
    return;
  }
}

// ---- Closures.

value template_of(machine *m, value function) {
  lambda *l = LAMBDA(function);
  if (l->made == 0) {
    closure *c = allocate(m, KIND_CLOSURE, 1, CLOSURE_HEADER(l->required, l->rest ? CLOSURE_REST : 0, 0)); // before its code, which may refer to it
    c->code = V_FALSE;
    l->made = ref(c);
    value code = generate(m, function);
    OBJ(closure, l->made)->code = code;
  }
  return l->made;
}

value generate(machine *m, value function) {
  generator g;
  char here;
  if (m->depth_limit != NULL && &here < m->depth_limit) {
    fail_syntax(m, V_FALSE, "procedures are nested too deeply");
  }
  generator_open(&g, m, function);
  int count = (int)form_length(LAMBDA(function)->parameters), place = register_new(&g, count);
  for (value v = LAMBDA(function)->parameters; v != V_NULL; v = cdr(v)) {
    VARIABLE(car(v))->place = place++;
    box(&g, car(v));
  }
  generate_node(&g, LAMBDA(function)->body, TO_RETURN);
  return generator_close(&g);
}

// Where the frame has what a closure captures, as an operand of OP_CLOSURE.
static value capture_operand(generator *g, value v) {
  if (!is_here(g, v)) {
    return (uint64_t)free_index(g, v) << 2 | 3;
  }
  value real = variable_real(g, v);
  if (is_other(real, OTHER_NODE)) {
    return 1; // a constant, which is never read from the closure
  }
  if (is_here(g, real) && !is_static(real)) {
    return (uint64_t)VARIABLE(real)->place << 2 | 1;
  }
  int place = register_new(g, 1);
  load_variable(g, real, place);
  return (uint64_t)place << 2 | 1;
}

static void emit_closure(generator *g, value function, int at) {
  value made = template_of(g->m, function), operands = V_NULL;
  int64_t count = form_length(LAMBDA(function)->free);
  int top = g->top;
  if (count > CAPTURES_MAX) {
    fail_syntax(g->m, V_FALSE, "a procedure captures too many variables");
  }
  if (count == 0) {
    generate_constant(g, made, at);
    return;
  }
  for (value f = LAMBDA(function)->free; f != V_NULL; f = cdr(f)) {
    operands = cons(g->m, capture_operand(g, car(f)), operands);
  }
  emit(g, WORD(OP_CLOSURE, at, count, 0));
  emit_value(g, made);
  for (value l = reversed(operands); l != V_NULL; l = cdr(l)) {
    emit_value(g, car(l));
  }
  g->top = top;
}

void generate_lambda(generator *g, value n, int to) {
  int at = target(g, to);
  emit_closure(g, NODE(n)->a, at);
  generate_done(g, at, to);
}

void generate_cases(generator *g, value n, int to) {
  machine *m = g->m;
  int count = (int)form_length(NODE(n)->a), first = register_new(g, count), at = target(g, to), i = 0;
  value name = V_FALSE;
  for (value l = NODE(n)->a; l != V_NULL; l = cdr(l), i++) {
    LAMBDA(NODE(car(l))->a)->name = LAMBDA(NODE(car(l))->a)->name == V_FALSE ? LAMBDA(g->lambda)->name : LAMBDA(NODE(car(l))->a)->name;
    name = LAMBDA(NODE(car(l))->a)->name;
    emit_closure(g, NODE(car(l))->a, first + i);
  }
  code *c = allocate(m, KIND_CODE, 5 + 1, KIND_CODE); // never entered
  c->name = name;
  c->positions = V_FALSE;
  c->length = 1;
  c->frame = 4;
  c->captures = count;
  c->word[0] = WORD(OP_UNDERFLOW, 0, 0, 0);
  emit(g, WORD(OP_CLOSURE, at, count, 0));
  emit_value(g, closure_of(m, ref(c), 0, CLOSURE_CASES));
  for (i = 0; i < count; i++) {
    emit_value(g, (uint64_t)(first + i) << 2 | 1);
  }
  generate_done(g, at, to);
}

// Closures that refer to one another: those that are made later are put in afterwards.
static void fix_closures(generator *g, node *x) {
  value v = x->a;
  for (value l = x->b; l != V_NULL; l = cdr(l), v = cdr(v)) {
    lambda *function = LAMBDA(NODE(car(l))->a);
    if (!function->loop && !function->fixed) {
      VARIABLE(car(v))->place = register_new(g, 1);
    }
  }
  v = x->a;
  for (value l = x->b; l != V_NULL; l = cdr(l), v = cdr(v)) {
    lambda *function = LAMBDA(NODE(car(l))->a);
    if (!function->loop && !function->fixed) {
      emit_closure(g, NODE(car(l))->a, (int)VARIABLE(car(v))->place);
    }
  }
  v = x->a;
  for (value l = x->b; l != V_NULL; l = cdr(l), v = cdr(v)) {
    lambda *function = LAMBDA(NODE(car(l))->a);
    int64_t i = 0;
    for (value f = function->loop || function->fixed ? V_NULL : function->free; f != V_NULL; f = cdr(f), i++) {
      for (value later = v; later != V_NULL; later = cdr(later)) {
        if (car(later) == car(f)) {
          emit(g, WORD(OP_PATCH, VARIABLE(car(v))->place, i, VARIABLE(car(f))->place));
        }
      }
    }
  }
}

void generate_fix(generator *g, value n, int to) {
  node *x = NODE(n);
  int64_t end = label_new(g);
  int top = g->top;
  fix_closures(g, x);
  for (value l = x->b; l != V_NULL; l = cdr(l)) {
    lambda *function = LAMBDA(NODE(car(l))->a);
    for (value p = function->loop ? function->parameters : V_NULL; p != V_NULL; p = cdr(p)) {
      VARIABLE(car(p))->place = register_new(g, 1);
    }
    function->label = function->loop ? label_new(g) : 0;
  }
  int inner = g->top;
  generate_node(g, x->c, to);
  for (value l = x->b; l != V_NULL; l = cdr(l)) {
    lambda *function = LAMBDA(NODE(car(l))->a);
    if (!function->loop) {
      continue;
    }
    if (label_is_bound(g, function->label)) {
      fail(g->m, NULL, "the compiler has met a loop twice", 0);
    }
    if (to != TO_RETURN && falls_through(g)) {
      emit_jump(g, OP_JUMP, 0, 0, end);
    }
    label_bind(g, function->label);
    for (value p = function->parameters; p != V_NULL; p = cdr(p)) {
      box(g, car(p));
    }
    g->top = inner;
    generate_node(g, function->body, to);
  }
  label_bind(g, end);
  g->top = top;
}
