// SPDX-License-Identifier: MIT
// analyze.c: which functions that N_FIX binds need no call and which need no closure, and what the others capture.
//
// A function is a loop if all its calls are in places with the same continuation: those of its definition's body, or of loops' bodies. Then a call is a jump,
// and its parameters are
// registers of the frame around. It is fixed if it captures nothing (but other fixed ones): then one closure, a constant, does for all. Both are assumed of
// all functions at first; whatever
// speaks against it takes it away, and the tree is looked at again until nothing does. A continuation is a number, given anew to each expression that is not
// in tail position.

#include "compiler.h"

typedef struct analysis {
  machine *m;
  int64_t contexts;
  bool changed, first;
} analysis;

static void walk(analysis *a, value n, value around, int64_t context);

static void capture(analysis *a, value v, value around) {
  value known = VARIABLE(v)->known;
  if (known != 0 && (LAMBDA(known)->loop || LAMBDA(known)->fixed)) {
    return;
  }
  for (value l = around; l != VARIABLE(v)->owner && l != 0; l = LAMBDA(l)->outer) {
    value f = LAMBDA(l)->free;
    while (f != V_NULL && car(f) != v) {
      f = cdr(f);
    }
    if (f != V_NULL) {
      return;
    }
    LAMBDA(l)->free = cons(a->m, v, LAMBDA(l)->free);
  }
}

static void own(value variables, value around) {
  for (; variables != V_NULL; variables = cdr(variables)) {
    VARIABLE(car(variables))->owner = around;
  }
}

static void walk_function(analysis *a, value l, value around) {
  LAMBDA(l)->outer = around;
  LAMBDA(l)->free = V_NULL;
  own(LAMBDA(l)->parameters, l);
  walk(a, LAMBDA(l)->body, l, ++a->contexts);
}

static void walk_all(analysis *a, value nodes, value around) {
  for (; nodes != V_NULL; nodes = cdr(nodes)) {
    walk(a, car(nodes), around, ++a->contexts);
  }
}

static void walk_fix(analysis *a, node *x, value around, int64_t context) {
  own(x->a, around);
  value v = x->a;
  for (value l = x->b; l != V_NULL; l = cdr(l), v = cdr(v)) {
    value function = NODE(car(l))->a;
    if (a->first) {
      VARIABLE(car(v))->known = function;
      LAMBDA(function)->loop = !LAMBDA(function)->rest;
      LAMBDA(function)->fixed = 1;
    }
    LAMBDA(function)->context = context;
  }
  for (value l = x->b; l != V_NULL; l = cdr(l)) {
    value function = NODE(car(l))->a;
    if (LAMBDA(function)->loop) {
      own(LAMBDA(function)->parameters, around);
      walk(a, LAMBDA(function)->body, around, context);
    } else {
      walk_function(a, function, around);
      if (LAMBDA(function)->free != V_NULL && LAMBDA(function)->fixed) {
        LAMBDA(function)->fixed = 0;
        a->changed = true;
      }
    }
  }
}

static void not_a_loop(analysis *a, value function) {
  if (LAMBDA(function)->loop) {
    LAMBDA(function)->loop = 0;
    a->changed = true;
  }
}

static void walk_call(analysis *a, node *x, value around, int64_t context) {
  value callee = x->a;
  walk_all(a, x->b, around);
  if (kind_of(callee) != N_LOCAL || VARIABLE(NODE(callee)->a)->known == 0) {
    walk(a, callee, around, ++a->contexts);
    return;
  }
  value v = NODE(callee)->a;
  lambda *l = LAMBDA(VARIABLE(v)->known);
  if (l->loop && (l->context != context || l->required != form_length(x->b))) {
    not_a_loop(a, VARIABLE(v)->known);
  }
  capture(a, v, around);
}

// A let of functions alone is a fix.
static void let_fix(analysis *a, value n) {
  value v = NODE(n)->a;
  for (value l = NODE(n)->b; l != V_NULL; l = cdr(l), v = cdr(v)) {
    if (kind_of(car(l)) != N_LAMBDA || VARIABLE(car(v))->assigned) {
      return;
    }
  }
  NODE(n)->header = OTHER_HEADER(OTHER_NODE) | (uint64_t)N_FIX << 8;
}

static void walk(analysis *a, value n, value around, int64_t context) {
  while (true) {
    node *x = NODE(n);
    if (a->first && kind_of(n) == N_LET) {
      let_fix(a, n);
    }
    switch (kind_of(n)) {
      case N_CONST:
      case N_GLOBAL: return;
      case N_LOCAL:
        if (VARIABLE(x->a)->known != 0) {
          not_a_loop(a, VARIABLE(x->a)->known);
        }
        capture(a, x->a, around);
        return;
      case N_SET_LOCAL:
        capture(a, x->a, around);
        walk(a, x->b, around, ++a->contexts);
        return;
      case N_SET_GLOBAL:
      case N_DEFINE: walk(a, x->b, around, ++a->contexts); return;
      case N_IF:
        walk(a, x->a, around, ++a->contexts);
        walk(a, x->b, around, context);
        n = x->c;
        break;
      case N_OR:
      case N_SEQUENCE:
        walk(a, x->a, around, ++a->contexts);
        n = x->b;
        break;
      case N_LAMBDA: walk_function(a, x->a, around); return;
      case N_CASES: walk_all(a, x->a, around); return;
      case N_CALL: walk_call(a, x, around, context); return;
      case N_INLINE: walk_all(a, x->b, around); return;
      case N_LET:
        walk_all(a, x->b, around);
        own(x->a, around);
        n = x->c;
        break;
      case N_FIX:
        walk_fix(a, x, around, context);
        n = x->c;
        break;
      case N_BOX:
        own(x->a, around);
        n = x->c;
        break;
      case N_RECEIVE:
        walk(a, x->b, around, ++a->contexts);
        own(x->a, around);
        n = x->c;
        break;
    }
  }
}

void analyze(machine *m, value function) {
  analysis a = {.m = m, .first = true};
  do {
    a.changed = false;
    walk_function(&a, function, 0);
    a.first = false;
  } while (a.changed);
}
