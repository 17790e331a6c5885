// SPDX-License-Identifier: MIT
// expand_define.c: definitions, in bodies and at the top, and the order in which a body's definitions are evaluated.

#include <string.h>
#include "compiler.h"

#define FIRST(F) car(cdr(F))

// ---- What letrec* becomes. Functions are bound together by N_FIX, where their closures can refer to each other; what is no function is evaluated in its
// place,
// and is a box only if something that may look at it runs before.

typedef struct letrec {
  machine *m;
  value variables, nodes; // vectors
  int64_t count;
  value done;             // bytevector: 1: emitted; 2: wanted now
  value steps;            // list of (kind . what), the last first
} letrec;

static void mention(value n, int64_t mark);
static void mention_all(value l, int64_t mark) {
  for (; is_pair(l); l = cdr(l)) {
    mention(car(l), mark);
  }
}
// Marks the variables that occur in a tree.
static void mention(value n, int64_t mark) {
  while (is_other(n, OTHER_NODE)) {
    node *x = NODE(n);
    switch (kind_of(n)) {
      case N_LOCAL:
        for (value v = x->a; is_other(v, OTHER_VARIABLE); v = VARIABLE(v)->alias) { // and what it is another name of, which generate.c finds out
          VARIABLE(v)->mark = mark;
        }
        return;
      case N_SET_LOCAL:
        VARIABLE(x->a)->mark = mark;
        n = x->b;
        continue;
      case N_SET_GLOBAL:
      case N_DEFINE: n = x->b; continue;
      case N_LAMBDA: n = LAMBDA(x->a)->body; continue;
      case N_CASES:
        mention_all(x->a, mark);
        return;
      case N_CALL:
        mention_all(x->b, mark);
        n = x->a;
        continue;
      case N_INLINE: mention_all(x->b, mark); return;
      case N_LET:
      case N_FIX:
        mention_all(x->b, mark);
        n = x->c;
        continue;
      case N_BOX: n = x->c; continue;
      case N_RECEIVE:
        mention(x->b, mark);
        n = x->c;
        continue;
      case N_IF:
        mention(x->a, mark);
        mention(x->b, mark);
        n = x->c;
        continue;
      case N_OR:
      case N_SEQUENCE:
        mention(x->a, mark);
        n = x->b;
        continue;
      default: return;
    }
  }
}

static int64_t next_mark; // under the compiler's lock
bool tree_mentions(value n, value v) {
  int64_t mark = ++next_mark;
  mention(n, mark);
  return VARIABLE(v)->mark == mark;
}
static value nth(value v, int64_t i) { return OBJ(vector, v)->item[i]; }
static bool is_function(letrec *r, int64_t i) { return kind_of(nth(r->nodes, i)) == N_LAMBDA && !VARIABLE(nth(r->variables, i))->assigned; }
static bool is_simple(letrec *r, int64_t i) {
  node_kind k = kind_of(nth(r->nodes, i));
  return (k == N_CONST || k == N_GLOBAL) && !VARIABLE(nth(r->variables, i))->assigned;
}
static uint8_t *done(letrec *r) { return OBJ(bytevector, r->done)->byte; }

// All functions that the tree mentions, and those that these mention, are wanted; then no other variable from `from` on that they mention has a value yet: it
// is a box.
static void functions_want(letrec *r, value n) {
  int64_t mark = ++next_mark;
  mention(n, mark);
  for (int64_t i = 0; i < r->count; i++) {
    if (VARIABLE(nth(r->variables, i))->mark == mark && done(r)[i] == 0 && is_function(r, i)) {
      done(r)[i] = 2;
      functions_want(r, nth(r->nodes, i));
      mention(n, mark); // the marks of others have come between
    }
  }
}
static void boxes_find(letrec *r, value n, int64_t from) {
  int64_t mark = ++next_mark;
  mention(n, mark);
  for (int64_t i = from; i < r->count; i++) {
    if (VARIABLE(nth(r->variables, i))->mark == mark && !is_function(r, i) && done(r)[i] == 0) {
      VARIABLE(nth(r->variables, i))->assigned = 1;
    }
  }
}

static void functions_emit(letrec *r, int64_t from, bool all) {
  machine *m = r->m;
  value variables = V_NULL, nodes = V_NULL;
  for (int64_t i = r->count; i-- > 0;) {
    if (done(r)[i] == 2 || (all && done(r)[i] == 0 && is_function(r, i))) {
      if (!all) {
        boxes_find(r, nth(r->nodes, i), from);
      }
      variables = cons(m, nth(r->variables, i), variables);
      nodes = cons(m, nth(r->nodes, i), nodes);
    }
  }
  for (int64_t i = 0; i < r->count; i++) {
    done(r)[i] = done(r)[i] == 2 || (all && is_function(r, i)) ? 1 : done(r)[i];
  }
  if (variables != V_NULL) {
    r->steps = cons(m, node_new(m, N_FIX, variables, nodes, V_FALSE, V_FALSE), r->steps);
  }
}

static value vector_of(machine *m, value l) {
  int64_t n = form_length(l);
  vector *v = OBJ(vector, new_vector(m, n, V_FALSE));
  for (int64_t i = 0; i < n; i++, l = cdr(l)) {
    v->item[i] = car(l);
  }
  return ref(v);
}

// Whether something that is evaluated before asks for it.
static bool is_wanted_early(letrec *r, int64_t i) {
  for (int64_t j = 0; j < i; j++) {
    if (!is_function(r, j) && tree_mentions(nth(r->nodes, j), nth(r->variables, i))) {
      return true;
    }
  }
  return false;
}

static void values_emit(letrec *r) {
  machine *m = r->m;
  for (int64_t i = 0; i < r->count; i++) {
    if (is_simple(r, i) && !is_wanted_early(r, i)) {
      done(r)[i] = 1;
      r->steps = cons(m, node_new(m, N_LET, list(m, 1, nth(r->variables, i)), list(m, 1, nth(r->nodes, i)), V_FALSE, V_FALSE), r->steps);
    }
  }
  value boxes_at = V_NULL;
  for (int64_t i = 0; i < r->count; i++) {
    value v = nth(r->variables, i), n = nth(r->nodes, i);
    if (done(r)[i] != 0 || is_function(r, i)) {
      continue;
    }
    functions_want(r, n);
    functions_emit(r, i, false);
    boxes_find(r, n, i);
    if (VARIABLE(v)->assigned) {
      boxes_at = cons(m, v, boxes_at);
      r->steps = cons(m, node_new(m, N_SET_LOCAL, v, n, V_FALSE, V_FALSE), r->steps);
    } else {
      r->steps = cons(m, node_new(m, N_LET, list(m, 1, v), list(m, 1, n), V_FALSE, V_FALSE), r->steps);
    }
    done(r)[i] = 1;
  }
  functions_emit(r, 0, true);
  if (boxes_at != V_NULL) {
    value all = reversed(r->steps);
    r->steps = reversed(cons(m, node_new(m, N_BOX, boxes_at, V_FALSE, V_FALSE, V_FALSE), all));
  }
}

value letrec_node(machine *m, value variables, value nodes, value body, bool functions_only) {
  letrec r = {.m = m, .variables = vector_of(m, variables), .nodes = vector_of(m, nodes), .count = form_length(variables), .steps = V_NULL};
  r.done = new_bytevector(m, r.count + 1, 0);
  for (int64_t i = 0; i < r.count; i++) {
    value n = nth(r.nodes, i);
    if (kind_of(n) == N_LAMBDA && LAMBDA(NODE(n)->a)->name == V_FALSE) {
      LAMBDA(NODE(n)->a)->name = VARIABLE(nth(r.variables, i))->name;
    }
  }
  values_emit(&r);
  for (value l = r.steps; l != V_NULL; l = cdr(l)) {
    value step = car(l);
    switch (kind_of(step)) {
      case N_SET_LOCAL: body = node_new(m, N_SEQUENCE, step, body, V_FALSE, V_FALSE); break;
      default:
        NODE(step)->c = body;
        body = step;
    }
  }
  return body;
}

// ---- Definitions. One is read as (identifier . rest): for a value, what stands for it.

static value definition_name(machine *m, value form) {
  value what = FIRST(form);
  while (is_pair(what)) { // (define ((f a) b) ...): a procedure that returns one
    what = car(what);
  }
  if (!is_identifier(what)) {
    fail_syntax(m, form, "define wants a variable");
  }
  return what;
}
static value definition_node(machine *m, value form, value s) {
  value what = FIRST(form), forms = cdr(cdr(form));
  if (!is_pair(what)) {
    form_check(m, form, 2, 3);
    if (forms == V_NULL) {
      return node_constant(m, V_UNSPECIFIED);
    }
    value n = expand(m, car(forms), s);
    if (kind_of(n) == N_LAMBDA && LAMBDA(NODE(n)->a)->name == V_FALSE) {
      LAMBDA(NODE(n)->a)->name = strip(m, what);
    }
    return n;
  }
  form_check(m, form, 3, -1);
  identifier *lambda_here = allocate(m, KIND_IDENTIFIER, 2, KIND_IDENTIFIER);
  lambda_here->name = intern(m, "lambda");
  lambda_here->scope = world->item[WORLD_BASE];
  while (is_pair(car(what))) {
    value inner = cons(m, ref(lambda_here), cons(m, cdr(what), forms));
    pair_of(inner)->header = pair_of(form)->header;
    forms = list(m, 1, inner);
    what = car(what);
  }
  return node_lambda(m, cdr(what), forms, s, car(what), form);
}

// (define-record-type name (constructor field ...) predicate (field accessor [modifier]) ...)
static int64_t field_index(machine *m, value fields, value name, value form) {
  for (int64_t i = 0; fields != V_NULL; fields = cdr(fields), i++) {
    if (car(fields) == name) {
      return i;
    }
  }
  fail_syntax(m, form, "the record type has no field %s", utf8_of(m, strip(m, name)));
}
// An operation on a record type: at the top the type is a constant and the operation an instruction; in a body, where each evaluation makes a type, that is a
// variable.
static value record_node(machine *m, int which, value arguments, value type, int64_t index, value form) {
  if (is_other(type, OTHER_VARIABLE)) {
    const char *name = which == INLINE_RECORD ? "%record" : which == INLINE_IS_RECORD ? "%record?"
                     : which == INLINE_RECORD_REF ? "%record-ref" : "%record-set!";
    arguments = cons(m, node_constant(m, fixnum(index)), arguments);
    return node_call(m, node_base(m, name), cons(m, node_local(m, type), arguments), form);
  }
  value body = node_new(m, N_INLINE, fixnum(which), arguments, type, form);
  NODE(body)->d = fixnum(index);
  return body;
}
static value record_lambda(machine *m, int which, value variables, value type, int64_t index, value name, value form) {
  value arguments = V_NULL;
  for (value l = variables; l != V_NULL; l = cdr(l)) {
    arguments = cons(m, node_local(m, car(l)), arguments);
  }
  value body = record_node(m, which, reversed(arguments), type, index, form);
  return lambda_new(m, variables, (int)form_length(variables), false, body, strip(m, name), form);
}
static value record_constructor(machine *m, value fields, value given, value type, value name, value form) {
  value variables = V_NULL, of_field = V_NULL, arguments = V_NULL;
  for (value l = given; l != V_NULL; l = cdr(l)) {
    field_index(m, fields, car(l), form);
    value v = variable_new(m, car(l));
    variables = cons(m, v, variables);
    of_field = cons(m, cons(m, car(l), v), of_field);
  }
  for (value f = fields; f != V_NULL; f = cdr(f)) {
    value argument = node_constant(m, V_FALSE);
    for (value l = of_field; l != V_NULL; l = cdr(l)) {
      if (car(car(l)) == car(f)) {
        argument = node_local(m, cdr(car(l)));
      }
    }
    arguments = cons(m, argument, arguments);
  }
  value body = record_node(m, INLINE_RECORD, reversed(arguments), type, 0, form);
  return lambda_new(m, reversed(variables), (int)form_length(given), false, body, strip(m, name), form);
}

static value variable_list(machine *m, int count) {
  value all = V_NULL;
  while (count-- > 0) {
    all = cons(m, variable_new(m, intern(m, "field")), all);
  }
  return all;
}

value record_definitions(machine *m, value form, value s) {
  form_check(m, form, 3, -1);
  value name = FIRST(form), constructor = car(cdr(cdr(form))), specs = V_NULL, predicate = V_FALSE, fields = V_NULL, all = V_NULL;
  if (cdr(cdr(cdr(form))) != V_NULL) {
    predicate = car(cdr(cdr(cdr(form))));
    specs = cdr(cdr(cdr(cdr(form))));
  }
  name = is_pair(name) ? car(name) : name;
  if (!is_identifier(name) || (predicate != V_FALSE && !is_identifier(predicate))) {
    fail_syntax(m, form, "define-record-type wants a name, a constructor, a predicate and fields");
  }
  for (value l = specs; l != V_NULL; l = cdr(l)) {
    value spec = is_identifier(car(l)) ? list(m, 1, car(l)) : car(l);
    form_check(m, spec, 1, 3);
    for (value names = spec; names != V_NULL; names = cdr(names)) {
      if (!is_identifier(car(names))) {
        fail_syntax(m, spec, "a field is a name, an accessor and a modifier");
      }
    }
    fields = cons(m, car(spec), fields);
  }
  fields = reversed(fields);
  identifiers_check(m, fields, form, false);
  value type, made, arguments = list(m, 2, node_constant(m, strip(m, name)), node_constant(m, vector_of(m, strip(m, fields))));
  if (is_other(s, OTHER_SCOPE)) {
    type = variable_new(m, name);
    made = node_call(m, node_base(m, "%record-type"), arguments, form);
    all = cons(m, cons(m, type, made), all);
    made = node_local(m, type);
  } else {
    record_type *t = allocate(m, KIND_RECORD_TYPE, 3, KIND_RECORD_TYPE);
    t->name = strip(m, name);
    t->fields = vector_of(m, strip(m, fields));
    t->parent = V_FALSE;
    type = ref(t);
    made = node_constant(m, type);
  }
  all = cons(m, cons(m, name, made), all);
  if (is_identifier(constructor)) {
    all = cons(m, cons(m, constructor, record_constructor(m, fields, fields, type, constructor, form)), all);
  } else if (constructor != V_FALSE) {
    form_check(m, constructor, 1, -1);
    identifiers_check(m, constructor, form, false);
    all = cons(m, cons(m, car(constructor), record_constructor(m, fields, cdr(constructor), type, car(constructor), form)), all);
  }
  if (predicate != V_FALSE) {
    all = cons(m, cons(m, predicate, record_lambda(m, INLINE_IS_RECORD, variable_list(m, 1), type, 0, predicate, form)), all);
  }
  int64_t index = 0;
  for (value l = specs; l != V_NULL; l = cdr(l), index++) {
    value rest = is_pair(car(l)) ? cdr(car(l)) : V_NULL;
    if (rest != V_NULL) {
      all = cons(m, cons(m, car(rest), record_lambda(m, INLINE_RECORD_REF, variable_list(m, 1), type, index, car(rest), form)), all);
      if (cdr(rest) != V_NULL) {
        all = cons(m, cons(m, FIRST(rest), record_lambda(m, INLINE_RECORD_SET, variable_list(m, 2), type, index, FIRST(rest), form)), all);
      }
    }
  }
  return reversed(all);
}

// ---- Bodies. First all definitions are found, for which macros are expanded; then, when it is known what is bound here, expressions are.

typedef struct body {
  machine *m;
  value scope;
  value variables, pending; // reversed: variables; for each a form to expand, a node, or V_FALSE
} body;

static value body_bind(body *b, value id, value pending) {
  machine *m = b->m;
  for (value l = OBJ(scope, b->scope)->bindings; l != V_NULL; l = cdr(l)) {
    if (car(car(l)) == id && !is_kind(cdr(car(l)), KIND_MACRO)) {
      for (value v = b->variables; v != V_NULL; v = cdr(v)) {
        if (car(v) == cdr(car(l))) {
          fail_syntax(m, pending, "this is defined twice in one body: %s", utf8_of(m, strip(m, id)));
        }
      }
    }
  }
  value v = variable_new(m, id);
  scope_bind(m, b->scope, id, v);
  b->variables = cons(m, v, b->variables);
  b->pending = cons(m, pending, b->pending);
  return v;
}

// (define-values (a b . c) e): variables that are assigned, and one without a name whose value is that of the assignment.
static void body_define_values(body *b, value form) {
  machine *m = b->m;
  form_check(m, form, 3, 3);
  identifiers_check(m, FIRST(form), form, true);
  value targets = V_NULL;
  bool rest = false;
  for (value l = FIRST(form); l != V_NULL; l = is_pair(l) ? cdr(l) : V_NULL) {
    value v = body_bind(b, is_pair(l) ? car(l) : l, V_FALSE);
    VARIABLE(v)->assigned = 1;
    targets = cons(m, v, targets);
    rest = !is_pair(l);
  }
  value dummy = variable_new(m, intern(m, "values"));
  b->variables = cons(m, dummy, b->variables);
  b->pending = cons(m, cons(m, V_UNBOUND, cons(m, form, cons(m, boolean(rest), reversed(targets)))), b->pending);
}

static value receive_into(machine *m, value pending, value s) {
  value form = car(cdr(pending)), rest = car(cdr(cdr(pending))), targets = cdr(cdr(cdr(pending))), temporaries = V_NULL, made = node_constant(m, V_UNSPECIFIED);
  for (value l = targets; l != V_NULL; l = cdr(l)) {
    value t = variable_new(m, VARIABLE(car(l))->name);
    temporaries = cons(m, t, temporaries);
    made = node_new(m, N_SEQUENCE, node_new(m, N_SET_LOCAL, car(l), node_local(m, t), V_FALSE, form), made, V_FALSE, form);
  }
  value n = node_new(m, N_RECEIVE, reversed(temporaries), expand(m, car(cdr(cdr(form))), s), made, form);
  NODE(n)->d = rest;
  return n;
}

// Takes one definition; false: it is an expression. *forms may get longer.
static bool body_definition(body *b, value *form, value *forms) {
  machine *m = b->m;
  value e, symbol, meaning = expand_head(m, form, b->scope, &e, &symbol);
  if (meaning == 0 || !is_fixnum(meaning)) {
    return false;
  }
  value included = 0;
  switch (fixnum_of(meaning)) {
    case FORM_DEFINE:
      form_check(m, *form, 2, -1);
      body_bind(b, definition_name(m, *form), *form);
      return true;
    case FORM_DEFINE_VALUES: body_define_values(b, *form); return true;
    case FORM_DEFINE_RECORD:
      for (value l = record_definitions(m, *form, b->scope); l != V_NULL; l = cdr(l)) {
        if (is_other(car(car(l)), OTHER_VARIABLE)) { // the type itself, which has no name
          b->variables = cons(m, car(car(l)), b->variables);
          b->pending = cons(m, cdr(car(l)), b->pending);
        } else {
          body_bind(b, car(car(l)), cdr(car(l)));
        }
      }
      return true;
    case FORM_DEFINE_SYNTAX:
      form_check(m, *form, 3, 3);
      if (!is_identifier(FIRST(*form))) {
        fail_syntax(m, *form, "define-syntax wants a name");
      }
      scope_bind(m, b->scope, FIRST(*form), V_FALSE);
      {
        value entry = car(OBJ(scope, b->scope)->bindings);
        pair_of(entry)->cdr = macro_of(m, car(cdr(cdr(*form))), b->scope, *form);
      }
      return true;
    case FORM_BEGIN:
      form_check(m, *form, 1, -1);
      included = cdr(*form);
      break;
    case FORM_INCLUDE:
    case FORM_INCLUDE_CI: included = forms_included(m, *form); break;
    case FORM_COND_EXPAND: included = cond_expand_chosen(m, *form, b->scope); break;
    default: return false;
  }
  value back = V_NULL;
  for (; included != V_NULL; included = cdr(included)) {
    back = cons(m, car(included), back);
  }
  for (; back != V_NULL; back = cdr(back)) {
    *forms = cons(m, car(back), *forms);
  }
  return true;
}

value expand_body(machine *m, value forms, value s, value whole) {
  body b = {.m = m, .scope = scope_new(m, s), .variables = V_NULL, .pending = V_NULL};
  value expressions = V_NULL, nodes = V_NULL;
  if (form_length(forms) < 0) {
    fail_syntax(m, whole, "a body must be a proper list in");
  }
  value outer = m->state->item[STATE_FORMS];
  while (forms != V_NULL) {
    value form = car(forms);
    m->state->item[STATE_FORMS] = cons(m, form, outer);
    forms = cdr(forms);
    if (body_definition(&b, &form, &forms)) {
      if (expressions != V_NULL) { // a definition behind expressions: those are evaluated in their place
        for (value l = reversed(expressions); l != V_NULL; l = cdr(l)) {
          value dummy = variable_new(m, intern(m, "body")), first = car(b.variables), first_pending = car(b.pending);
          pair_of(b.variables)->car = dummy;
          pair_of(b.pending)->car = cons(m, V_DEFAULT, car(l));
          b.variables = cons(m, first, b.variables);
          b.pending = cons(m, first_pending, b.pending);
        }
        expressions = V_NULL;
      }
    } else {
      expressions = cons(m, form, expressions);
    }
  }
  m->state->item[STATE_FORMS] = outer;
  if (expressions == V_NULL) {
    fail_syntax(m, whole, "a body has no expression in");
  }
  for (value p = b.pending; p != V_NULL; p = cdr(p)) {
    value what = car(p), n;
    if (is_other(what, OTHER_NODE)) {
      n = what;
    } else if (what == V_FALSE) {
      n = node_constant(m, V_UNBOUND);
    } else if (car(what) == V_UNBOUND) {
      n = receive_into(m, what, b.scope);
    } else if (car(what) == V_DEFAULT) {
      n = expand(m, cdr(what), b.scope);
    } else {
      m->state->item[STATE_FORMS] = cons(m, what, outer);
      n = definition_node(m, what, b.scope);
    }
    nodes = cons(m, n, nodes);
  }
  m->state->item[STATE_FORMS] = outer;
  value all = expand_list(m, reversed(expressions), b.scope), made = 0;
  for (value l = reversed(all); l != V_NULL; l = cdr(l)) {
    made = made == 0 ? car(l) : node_new(m, N_SEQUENCE, car(l), made, V_FALSE, V_FALSE);
  }
  return b.variables == V_NULL ? made : letrec_node(m, reversed(b.variables), nodes, made, false);
}

// ---- The top.

static value top_cell(machine *m, value id, value environment_value) {
  value cell = environment_own_cell(m, environment_value, strip(m, id));
  if (is_kind(id, KIND_IDENTIFIER)) { // by a macro: the same expansion may refer to it
    environment *e = OBJ(environment, environment_value);
    e->aliases = cons(m, cons(m, id, cell), e->aliases);
  }
  return cell;
}
static value define_node(machine *m, value id, value n, value environment_value, value form) {
  return node_new(m, N_DEFINE, top_cell(m, id, environment_value), n, V_FALSE, form);
}
static value top_define_values(machine *m, value form, value e) {
  form_check(m, form, 3, 3);
  identifiers_check(m, FIRST(form), form, true);
  value variables = V_NULL, made = node_constant(m, V_UNSPECIFIED);
  bool rest = false;
  for (value l = FIRST(form); l != V_NULL; l = is_pair(l) ? cdr(l) : V_NULL) {
    value id = is_pair(l) ? car(l) : l, v = variable_new(m, id);
    variables = cons(m, v, variables);
    made = node_new(m, N_SEQUENCE, define_node(m, id, node_local(m, v), e, form), made, V_FALSE, form);
    rest = !is_pair(l);
  }
  value n = node_new(m, N_RECEIVE, reversed(variables), expand(m, car(cdr(cdr(form))), e), made, form);
  NODE(n)->d = boolean(rest);
  return n;
}
static value top_sequence(machine *m, value forms, value e) {
  value made = node_constant(m, V_UNSPECIFIED), all = V_NULL;
  for (; forms != V_NULL; forms = cdr(forms)) {
    all = cons(m, expand_toplevel(m, car(forms), e), all);
  }
  for (bool last = true; all != V_NULL; all = cdr(all), last = false) {
    made = last ? car(all) : node_new(m, N_SEQUENCE, car(all), made, V_FALSE, V_FALSE);
  }
  return made;
}

value expand_toplevel(machine *m, value form, value e) {
  value where, symbol, meaning, made;
  m->state->item[STATE_FORMS] = cons(m, form, V_NULL);
  meaning = expand_head(m, &form, e, &where, &symbol);
  if (meaning == 0 || !is_fixnum(meaning)) {
    return expand(m, form, e);
  }
  switch (fixnum_of(meaning)) {
    case FORM_DEFINE: {
      form_check(m, form, 2, -1);
      value cell = top_cell(m, definition_name(m, form), e); // before the value is expanded, which may refer to it
      return node_new(m, N_DEFINE, cell, definition_node(m, form, e), V_FALSE, form);
    }
    case FORM_DEFINE_VALUES: return top_define_values(m, form, e);
    case FORM_DEFINE_RECORD:
      made = node_constant(m, V_UNSPECIFIED);
      for (value l = record_definitions(m, form, e); l != V_NULL; l = cdr(l)) {
        made = node_new(m, N_SEQUENCE, define_node(m, car(car(l)), cdr(car(l)), e, form), made, V_FALSE, form);
      }
      return made;
    case FORM_DEFINE_SYNTAX: {
      form_check(m, form, 3, 3);
      if (!is_identifier(FIRST(form))) {
        fail_syntax(m, form, "define-syntax wants a name");
      }
      value macro = macro_of(m, car(cdr(cdr(form))), e, form);
      environment_put(m, e, strip(m, FIRST(form)), macro);
      if (is_kind(FIRST(form), KIND_IDENTIFIER)) {
        OBJ(environment, e)->aliases = cons(m, cons(m, FIRST(form), macro), OBJ(environment, e)->aliases);
      }
      return node_constant(m, V_UNSPECIFIED);
    }
    case FORM_BEGIN: form_check(m, form, 1, -1); return top_sequence(m, cdr(form), e);
    case FORM_INCLUDE:
    case FORM_INCLUDE_CI: return top_sequence(m, forms_included(m, form), e);
    case FORM_COND_EXPAND: return top_sequence(m, cond_expand_chosen(m, form, e), e);
    case FORM_IMPORT:
      import_sets(m, cdr(form), e);
      return node_constant(m, V_UNSPECIFIED);
    case FORM_DEFINE_LIBRARY: return define_library(m, form, e);
    default: return expand(m, form, e);
  }
}
