// SPDX-License-Identifier: MIT
// expand_forms.c: the special forms that are expressions.

#include <string.h>
#include "compiler.h"

#define FIRST(F) car(cdr(F))
#define SECOND(F) car(cdr(cdr(F)))
#define THIRD(F) car(cdr(cdr(cdr(F))))

static value unspecified(machine *m) { return node_constant(m, V_UNSPECIFIED); }

static value sequence(machine *m, value forms, value s, value form) {
  value made = 0;
  if (form_length(forms) < 1) {
    fail_syntax(m, form, "an expression is missing in");
  }
  value all = reversed(expand_list(m, forms, s));
  for (; all != V_NULL; all = cdr(all)) {
    made = made == 0 ? car(all) : node_new(m, N_SEQUENCE, car(all), made, V_FALSE, form);
  }
  return made;
}

static value expand_quote(machine *m, value form, value s) {
  form_check(m, form, 2, 2);
  return node_constant(m, strip(m, FIRST(form)));
}

static value expand_if(machine *m, value form, value s) {
  form_check(m, form, 3, 4);
  value test = expand(m, FIRST(form), s), then = expand(m, SECOND(form), s);
  return node_new(m, N_IF, test, then, cdr(cdr(cdr(form))) != V_NULL ? expand(m, THIRD(form), s) : unspecified(m), form);
}

static value expand_begin(machine *m, value form, value s) { return sequence(m, cdr(form), s, form); }

// A lambda expression of these parameters, a list that may end in a variable.
value node_lambda(machine *m, value identifiers, value forms, value s, value name, value form) {
  identifiers_check(m, identifiers, form, true);
  value inner = scope_new(m, s), variables = V_NULL;
  int required = 0;
  bool rest = false;
  for (value l = identifiers; l != V_NULL; l = is_pair(l) ? cdr(l) : V_NULL) {
    value id = is_pair(l) ? car(l) : l, v = variable_new(m, id);
    scope_bind(m, inner, id, v);
    variables = cons(m, v, variables);
    rest = !is_pair(l);
    required += is_pair(l);
  }
  if (required >= ARGUMENTS_MAX) {
    fail_syntax(m, form, "too many parameters");
  }
  value body = expand_body(m, forms, inner, form);
  return lambda_new(m, reversed(variables), required, rest, body, strip(m, name), form);
}

static value expand_lambda(machine *m, value form, value s) {
  form_check(m, form, 3, -1);
  return node_lambda(m, FIRST(form), cdr(cdr(form)), s, V_FALSE, form);
}

static value expand_case_lambda(machine *m, value form, value s) {
  value all = V_NULL;
  form_check(m, form, 1, -1);
  for (value l = cdr(form); l != V_NULL; l = cdr(l)) {
    form_check(m, car(l), 2, -1);
    all = cons(m, node_lambda(m, car(car(l)), cdr(car(l)), s, V_FALSE, car(l)), all);
  }
  return node_new(m, N_CASES, reversed(all), V_FALSE, V_FALSE, form);
}

static value named(value node_value, value name) {
  if (kind_of(node_value) == N_LAMBDA && LAMBDA(NODE(node_value)->a)->name == V_FALSE) {
    LAMBDA(NODE(node_value)->a)->name = name;
  }
  return node_value;
}

static value expand_set(machine *m, value form, value s) {
  form_check(m, form, 3, 3);
  if (!is_identifier(FIRST(form))) {
    fail_syntax(m, form, "set! wants a variable");
  }
  value e, symbol, meaning = resolve(m, FIRST(form), s, &e, &symbol), to = expand(m, SECOND(form), s);
  if (meaning != 0 && (is_fixnum(meaning) || is_kind(meaning, KIND_MACRO))) {
    fail_syntax(m, form, "a keyword cannot be assigned");
  }
  if (meaning != 0 && !is_kind(meaning, KIND_CELL)) {
    VARIABLE(meaning)->assigned = 1;
    return node_new(m, N_SET_LOCAL, meaning, to, V_FALSE, form);
  }
  if (meaning == 0 || e == world->item[WORLD_USER]) {
    meaning = is_kind(symbol, KIND_SYMBOL) ? environment_cell(m, e, symbol) : meaning;
  }
  return node_new(m, N_SET_GLOBAL, meaning, to, V_FALSE, form);
}

// ---- Binding forms.

static void bindings_check(machine *m, value bindings, value form, int least) {
  if (form_length(bindings) < 0) {
    fail_syntax(m, form, "the bindings must be a list in");
  }
  for (; bindings != V_NULL; bindings = cdr(bindings)) {
    if (form_length(car(bindings)) != 2 && !(form_length(car(bindings)) == least)) {
      fail_syntax(m, is_pair(car(bindings)) ? car(bindings) : form, "a binding must be a list of a variable and an expression");
    }
    if (!is_identifier(car(car(bindings)))) {
      fail_syntax(m, car(bindings), "a variable must be a symbol");
    }
  }
}
static value firsts(machine *m, value l) {
  value all = V_NULL;
  for (; l != V_NULL; l = cdr(l)) {
    all = cons(m, car(car(l)), all);
  }
  return reversed(all);
}

static value bind_all(machine *m, value identifiers, value inner) {
  value variables = V_NULL;
  for (value l = identifiers; l != V_NULL; l = cdr(l)) {
    value v = variable_new(m, car(l));
    scope_bind(m, inner, car(l), v);
    variables = cons(m, v, variables);
  }
  return reversed(variables);
}

static value inits(machine *m, value bindings, value s) {
  value all = V_NULL;
  for (; bindings != V_NULL; bindings = cdr(bindings)) {
    all = cons(m, named(expand(m, FIRST(car(bindings)), s), strip(m, car(car(bindings)))), all);
  }
  return reversed(all);
}

static value loop_call(machine *m, value variable, value arguments, value form) { return node_new(m, N_CALL, node_local(m, variable), arguments, V_FALSE,
    form); }

static value expand_named_let(machine *m, value form, value s) {
  form_check(m, form, 4, -1);
  value name = FIRST(form), bindings = SECOND(form);
  bindings_check(m, bindings, form, 2);
  value start = inits(m, bindings, s), inner = scope_new(m, s), v = variable_new(m, name);
  scope_bind(m, inner, name, v);
  value function = node_lambda(m, firsts(m, bindings), cdr(cdr(cdr(form))), inner, name, form);
  return letrec_node(m, list(m, 1, v), list(m, 1, function), loop_call(m, v, start, form), true);
}

static value expand_let(machine *m, value form, value s) {
  form_check(m, form, 3, -1);
  value bindings = FIRST(form);
  if (is_identifier(bindings)) {
    return expand_named_let(m, form, s);
  }
  bindings_check(m, bindings, form, 2);
  value names = firsts(m, bindings), start = inits(m, bindings, s), inner = scope_new(m, s);
  identifiers_check(m, names, form, false);
  value variables = bind_all(m, names, inner), body = expand_body(m, cdr(cdr(form)), inner, form);
  return variables == V_NULL ? body : node_new(m, N_LET, variables, start, body, form);
}

static value expand_let_star_from(machine *m, value bindings, value forms, value s, value form) {
  if (bindings == V_NULL) {
    return expand_body(m, forms, scope_new(m, s), form);
  }
  value start = named(expand(m, FIRST(car(bindings)), s), strip(m, car(car(bindings)))), inner = scope_new(m, s);
  value variables = bind_all(m, list(m, 1, car(car(bindings))), inner);
  value body = expand_let_star_from(m, cdr(bindings), forms, inner, form);
  return node_new(m, N_LET, variables, list(m, 1, start), body, form);
}
static value expand_let_star(machine *m, value form, value s) {
  form_check(m, form, 3, -1);
  bindings_check(m, FIRST(form), form, 2);
  return expand_let_star_from(m, FIRST(form), cdr(cdr(form)), s, form);
}

static value expand_letrec(machine *m, value form, value s) {
  form_check(m, form, 3, -1);
  bindings_check(m, FIRST(form), form, 2);
  value names = firsts(m, FIRST(form)), inner = scope_new(m, s);
  identifiers_check(m, names, form, false);
  value variables = bind_all(m, names, inner), start = inits(m, FIRST(form), inner);
  return letrec_node(m, variables, start, expand_body(m, cdr(cdr(form)), scope_new(m, inner), form), false);
}

static value expand_do(machine *m, value form, value s) {
  form_check(m, form, 3, -1);
  value bindings = FIRST(form), names, inner = scope_new(m, s), v = variable_new(m, intern(m, "do")), steps = V_NULL;
  if (form_length(bindings) < 0) {
    fail_syntax(m, form, "the bindings must be a list in");
  }
  for (value l = bindings; l != V_NULL; l = cdr(l)) {
    if (form_length(car(l)) < 2 || form_length(car(l)) > 3 || !is_identifier(car(car(l)))) {
      fail_syntax(m, is_pair(car(l)) ? car(l) : form, "a binding must be a variable, an expression and perhaps a step");
    }
  }
  form_check(m, SECOND(form), 1, -1);
  names = firsts(m, bindings);
  identifiers_check(m, names, form, false);
  value start = inits(m, bindings, s), variables = bind_all(m, names, inner);
  value test = expand(m, car(SECOND(form)), inner), results = cdr(SECOND(form));
  value result = results == V_NULL ? unspecified(m) : sequence(m, results, inner, form);
  value body = cdr(cdr(cdr(form))) == V_NULL ? 0 : sequence(m, cdr(cdr(cdr(form))), inner, form);
  value variable_list = variables;
  for (value l = bindings; l != V_NULL; l = cdr(l), variable_list = cdr(variable_list)) {
    value step = cdr(cdr(car(l)));
    steps = cons(m, step != V_NULL ? expand(m, car(step), inner) : node_local(m, car(variable_list)), steps);
  }
  value again = loop_call(m, v, reversed(steps), form);
  value lambda_node = lambda_new(m, variables, (int)form_length(variables), false,
                                 node_new(m, N_IF, test, result, body != 0 ? node_new(m, N_SEQUENCE, body, again, V_FALSE, form) : again, form), intern(m,
                                     "do"), form);
  return letrec_node(m, list(m, 1, v), list(m, 1, lambda_node), loop_call(m, v, start, form), true);
}

// (let-values (((a b . c) e) ...) body ...): all expressions first, into variables that nobody else knows.
static value receive(machine *m, value formals, value producer, value body_variables, value body, value form) {
  bool rest = false;
  for (value l = formals; l != V_NULL; l = is_pair(l) ? cdr(l) : V_NULL) {
    rest = !is_pair(l);
  }
  if (kind_of(producer) == N_CALL && !rest && kind_of(NODE(producer)->a) == N_GLOBAL && NODE(NODE(producer)->a)->a == NODE(node_base(m, "values"))->a &&
      form_length(NODE(producer)->b) == form_length(body_variables)) {
    return node_new(m, N_LET, body_variables, NODE(producer)->b, body, form);
  }
  value n = node_new(m, N_RECEIVE, body_variables, producer, body, form);
  NODE(n)->d = boolean(rest);
  return n;
}
static value formals_list(machine *m, value formals, value form) {
  value names = V_NULL;
  identifiers_check(m, formals, form, true);
  for (value l = formals; l != V_NULL; l = is_pair(l) ? cdr(l) : V_NULL) {
    names = cons(m, is_pair(l) ? car(l) : l, names);
  }
  return reversed(names);
}

static value let_values_from(machine *m, value bindings, value forms, value s, value inner, bool star, value form) {
  if (bindings == V_NULL) {
    return expand_body(m, forms, scope_new(m, inner), form);
  }
  if (form_length(car(bindings)) != 2) {
    fail_syntax(m, form, "a binding must be variables and an expression in");
  }
  value formals = car(car(bindings)), producer = expand(m, FIRST(car(bindings)), star ? inner : s), next = star ? scope_new(m, inner) : inner;
  value variables = bind_all(m, formals_list(m, formals, form), next);
  value body = let_values_from(m, cdr(bindings), forms, s, next, star, form);
  return receive(m, formals, producer, variables, body, form);
}
static value let_values(machine *m, value form, value s, bool star) {
  form_check(m, form, 3, -1);
  if (form_length(FIRST(form)) < 0) {
    fail_syntax(m, form, "the bindings must be a list in");
  }
  return let_values_from(m, FIRST(form), cdr(cdr(form)), s, scope_new(m, s), star, form);
}
static value expand_let_values(machine *m, value form, value s) { return let_values(m, form, s, false); }
static value expand_let_star_values(machine *m, value form, value s) { return let_values(m, form, s, true); }
static value expand_receive(machine *m, value form, value s) {
  form_check(m, form, 4, -1);
  value inner = scope_new(m, s), producer = expand(m, SECOND(form), s), variables = bind_all(m, formals_list(m, FIRST(form), form), inner);
  return receive(m, FIRST(form), producer, variables, expand_body(m, cdr(cdr(cdr(form))), inner, form), form);
}

// ---- Conditionals.

static value expand_and(machine *m, value form, value s) {
  value all = reversed(expand_list(m, cdr(form), s)), made = 0;
  form_check(m, form, 1, -1);
  for (; all != V_NULL; all = cdr(all)) {
    made = made == 0 ? car(all) : node_new(m, N_IF, car(all), made, node_constant(m, V_FALSE), form);
  }
  return made == 0 ? node_constant(m, V_TRUE) : made;
}
static value expand_or(machine *m, value form, value s) {
  value all = reversed(expand_list(m, cdr(form), s)), made = 0;
  form_check(m, form, 1, -1);
  for (; all != V_NULL; all = cdr(all)) {
    made = made == 0 ? car(all) : node_new(m, N_OR, car(all), made, V_FALSE, form);
  }
  return made == 0 ? node_constant(m, V_FALSE) : made;
}
static value expand_when(machine *m, value form, value s) {
  form_check(m, form, 3, -1);
  return node_new(m, N_IF, expand(m, FIRST(form), s), sequence(m, cdr(cdr(form)), s, form), unspecified(m), form);
}
static value expand_unless(machine *m, value form, value s) {
  form_check(m, form, 3, -1);
  return node_new(m, N_IF, expand(m, FIRST(form), s), unspecified(m), sequence(m, cdr(cdr(form)), s, form), form);
}

static value cond_from(machine *m, value clauses, value s, value form) {
  if (clauses == V_NULL) {
    return unspecified(m);
  }
  value clause = car(clauses);
  form_check(m, clause, 1, -1);
  if (is_form(m, car(clause), s, FORM_ELSE)) {
    if (cdr(clauses) != V_NULL) {
      fail_syntax(m, form, "else is not the last clause of");
    }
    return sequence(m, cdr(clause), s, clause);
  }
  value test = expand(m, car(clause), s);
  if (cdr(clause) == V_NULL) {
    return node_new(m, N_OR, test, cond_from(m, cdr(clauses), s, form), V_FALSE, clause);
  }
  if (is_form(m, FIRST(clause), s, FORM_ARROW)) {
    form_check(m, clause, 3, 3);
    value v = variable_new(m, intern(m, "test"));
    value call = node_call(m, expand(m, SECOND(clause), s), list(m, 1, node_local(m, v)), clause);
    value choice = node_new(m, N_IF, node_local(m, v), call, cond_from(m, cdr(clauses), s, form), clause);
    return node_new(m, N_LET, list(m, 1, v), list(m, 1, test), choice, clause);
  }
  value then = sequence(m, cdr(clause), s, clause);
  return node_new(m, N_IF, test, then, cond_from(m, cdr(clauses), s, form), clause);
}
static value expand_cond(machine *m, value form, value s) {
  form_check(m, form, 2, -1);
  return cond_from(m, cdr(form), s, form);
}

static value case_test(machine *m, value key, value data, value form) {
  value made = node_constant(m, V_FALSE);
  if (form_length(data) < 0) {
    fail_syntax(m, form, "a clause of case begins with a list of data");
  }
  value back = V_NULL;
  for (; data != V_NULL; data = cdr(data)) {
    back = cons(m, strip(m, car(data)), back);
  }
  for (bool first = true; back != V_NULL; back = cdr(back), first = false) {
    value test = node_new(m, N_INLINE, fixnum(INLINE_EQV), list(m, 2, node_local(m, key), node_constant(m, car(back))), V_FALSE, form);
    made = first ? test : node_new(m, N_OR, test, made, V_FALSE, form);
  }
  return made;
}
static value case_from(machine *m, value key, value clauses, value s, value form) {
  if (clauses == V_NULL) {
    return unspecified(m);
  }
  value clause = car(clauses), then;
  form_check(m, clause, 2, -1);
  if (is_form(m, FIRST(clause), s, FORM_ARROW)) {
    form_check(m, clause, 3, 3);
    then = node_call(m, expand(m, SECOND(clause), s), list(m, 1, node_local(m, key)), clause);
  } else {
    then = sequence(m, cdr(clause), s, clause);
  }
  if (is_form(m, car(clause), s, FORM_ELSE)) {
    return then;
  }
  return node_new(m, N_IF, case_test(m, key, car(clause), clause), then, case_from(m, key, cdr(clauses), s, form), clause);
}
static value expand_case(machine *m, value form, value s) {
  form_check(m, form, 3, -1);
  value v = variable_new(m, intern(m, "key")), key = expand(m, FIRST(form), s);
  return node_new(m, N_LET, list(m, 1, v), list(m, 1, key), case_from(m, v, cdr(cdr(form)), s, form), form);
}

// ---- Quasiquotation.

static value call_base(machine *m, const char *name, value a, value b, value form) { return node_call(m, node_base(m, name), list(m, 2, a, b), form); }

static value quasi(machine *m, value form, value s, int64_t depth);
static value quasi_keyword(machine *m, value form, value s, int64_t depth, int64_t deeper) {
  value quoted = node_constant(m, strip(m, car(form)));
  return call_base(m, "cons", quoted, quasi(m, cdr(form), s, depth + deeper), form);
}
static value quasi(machine *m, value form, value s, int64_t depth) {
  if (is_kind(form, KIND_VECTOR)) {
    vector *v = OBJ(vector, form);
    value items = V_NULL;
    for (int64_t i = v->length; i-- > 0;) {
      items = cons(m, v->item[i], items);
    }
    return node_call(m, node_base(m, "list->vector"), list(m, 1, quasi(m, items, s, depth)), V_FALSE);
  }
  if (!is_pair(form)) {
    return node_constant(m, strip(m, form));
  }
  if (is_form(m, car(form), s, FORM_UNQUOTE) && form_length(form) == 2) {
    return depth == 0 ? expand(m, FIRST(form), s) : quasi_keyword(m, form, s, depth, -1);
  }
  if (is_form(m, car(form), s, FORM_QUASIQUOTE) && form_length(form) == 2) {
    return quasi_keyword(m, form, s, depth, 1);
  }
  value head = car(form);
  if (is_pair(head) && is_form(m, car(head), s, FORM_SPLICING) && form_length(head) == 2) {
    value rest = quasi(m, cdr(form), s, depth);
    if (depth > 0) {
      return call_base(m, "cons", quasi_keyword(m, head, s, depth, -1), rest, form);
    }
    value spliced = expand(m, FIRST(head), s);
    return kind_of(rest) == N_CONST && NODE(rest)->a == V_NULL ? spliced : call_base(m, "append", spliced, rest, form);
  }
  value first = quasi(m, head, s, depth), rest = quasi(m, cdr(form), s, depth);
  if (kind_of(first) == N_CONST && kind_of(rest) == N_CONST) {
    bool same = NODE(first)->a == head && NODE(rest)->a == cdr(form);
    return node_constant(m, same ? form : cons(m, NODE(first)->a, NODE(rest)->a));
  }
  return call_base(m, "cons", first, rest, form);
}
static value expand_quasiquote(machine *m, value form, value s) {
  form_check(m, form, 2, 2);
  return quasi(m, FIRST(form), s, 0);
}

// ---- Others.

static value thunk(machine *m, value body, value form) { return lambda_new(m, V_NULL, 0, false, body, V_FALSE, form); }

static value expand_delay_force(machine *m, value form, value s) {
  form_check(m, form, 2, 2);
  return node_call(m, node_base(m, "%delay"), list(m, 2, node_constant(m, V_FALSE), thunk(m, expand(m, FIRST(form), s), form)), form);
}
static value expand_delay(machine *m, value form, value s) {
  form_check(m, form, 2, 2);
  value made = node_call(m, node_base(m, "make-promise"), list(m, 1, expand(m, FIRST(form), s)), form);
  return node_call(m, node_base(m, "%delay"), list(m, 2, node_constant(m, V_FALSE), thunk(m, made, form)), form);
}
static value expand_cons_stream(machine *m, value form, value s) {
  form_check(m, form, 3, 3);
  return call_base(m, "cons", expand(m, FIRST(form), s), expand_delay(m, cdr(form), s), form);
}

static value expand_parameterize(machine *m, value form, value s) {
  form_check(m, form, 3, -1);
  value all = node_constant(m, V_NULL), back = V_NULL;
  if (form_length(FIRST(form)) < 0) {
    fail_syntax(m, form, "the bindings must be a list in");
  }
  for (value l = FIRST(form); l != V_NULL; l = cdr(l)) {
    form_check(m, car(l), 2, 2);
    back = cons(m, call_base(m, "cons", expand(m, car(car(l)), s), expand(m, FIRST(car(l)), s), car(l)), back);
  }
  for (; back != V_NULL; back = cdr(back)) {
    all = call_base(m, "cons", car(back), all, form);
  }
  return node_call(m, node_base(m, "%parameterize"), list(m, 2, all, thunk(m, expand_body(m, cdr(cdr(form)), scope_new(m, s), form), form)), form);
}

static value expand_let_syntax_in(machine *m, value form, value s, bool recursive) {
  form_check(m, form, 3, -1);
  value inner = scope_new(m, s);
  bindings_check(m, FIRST(form), form, 2);
  for (value l = FIRST(form); l != V_NULL; l = cdr(l)) {
    scope_bind(m, inner, car(car(l)), macro_of(m, FIRST(car(l)), recursive ? inner : s, form));
  }
  return expand_body(m, cdr(cdr(form)), scope_new(m, inner), form);
}
static value expand_let_syntax(machine *m, value form, value s) { return expand_let_syntax_in(m, form, s, false); }
static value expand_letrec_syntax(machine *m, value form, value s) { return expand_let_syntax_in(m, form, s, true); }

static value expand_syntax_error(machine *m, value form, value s) {
  form_check(m, form, 2, -1);
  if (!is_kind(FIRST(form), KIND_STRING)) {
    fail_syntax(m, form, "syntax-error wants a message");
  }
  value where = form;
  for (value l = m->state->item[STATE_FORMS]; is_pair(l); l = cdr(l)) {
    where = is_pair(car(l)) && pair_of(car(l))->header != 0 ? car(l) : where;
  }
  (void)where;
  fail_syntax(m, cdr(cdr(form)), "%s", utf8_of(m, FIRST(form)));
}
static value expand_assert(machine *m, value form, value s) {
  form_check(m, form, 2, 2);
  value failed = node_call(m, node_base(m, "error"), list(m, 2, node_constant(m, new_string_utf8(m, "assertion failed", 16)), node_constant(m, strip(m,
      FIRST(form)))), form);
  return node_new(m, N_IF, expand(m, FIRST(form), s), unspecified(m), failed, form);
}
static value expand_include(machine *m, value form, value s) { return sequence(m, forms_included(m, form), s, form); }
static value expand_cond_expand(machine *m, value form, value s) {
  value chosen = cond_expand_chosen(m, form, s);
  return chosen == V_NULL ? unspecified(m) : sequence(m, chosen, s, form);
}
static value misplaced(machine *m, value form, value s) { fail_syntax(m, form, "a definition stands where an expression is wanted"); }

const special_form special_forms[] = {
    [FORM_DEFINE] = {"define", misplaced}, [FORM_BEGIN] = {"begin", expand_begin}, [FORM_DEFINE_VALUES] = {"define-values", misplaced},
    [FORM_DEFINE_RECORD] = {"define-record-type", misplaced}, [FORM_DEFINE_SYNTAX] = {"define-syntax", misplaced}, [FORM_INCLUDE] = {"include", expand_include},
    [FORM_INCLUDE_CI] = {"include-ci", expand_include}, [FORM_COND_EXPAND] = {"cond-expand", expand_cond_expand}, [FORM_IMPORT] = {"import", misplaced},
    [FORM_DEFINE_LIBRARY] = {"define-library", misplaced}, [FORM_ELSE] = {"else", NULL}, [FORM_ARROW] = {"=>", NULL}, [FORM_DOTS] = {"...", NULL},
    [FORM_UNDERSCORE] = {"_", NULL}, [FORM_UNQUOTE] = {"unquote", NULL}, [FORM_SPLICING] = {"unquote-splicing", NULL}, [FORM_QUASIQUOTE] = {"quasiquote",
        expand_quasiquote},
    [FORM_QUOTE] = {"quote", expand_quote}, [FORM_LAMBDA] = {"lambda", expand_lambda}, [FORM_SYNTAX_RULES] = {"syntax-rules", NULL},
    [FORM_EXPRESSIONS] = {"if", expand_if}, {"set!", expand_set}, {"let", expand_let}, {"let*", expand_let_star}, {"letrec", expand_letrec}, {"letrec*",
        expand_letrec},
    {"do", expand_do}, {"let-values", expand_let_values}, {"let*-values", expand_let_star_values}, {"receive", expand_receive}, {"and", expand_and}, {"or",
        expand_or},
    {"when", expand_when}, {"unless", expand_unless}, {"cond", expand_cond}, {"case", expand_case}, {"case-lambda", expand_case_lambda}, {"delay",
        expand_delay},
    {"delay-force", expand_delay_force}, {"cons-stream", expand_cons_stream}, {"parameterize", expand_parameterize}, {"let-syntax", expand_let_syntax},
    {"letrec-syntax", expand_letrec_syntax}, {"syntax-error", expand_syntax_error}, {"assert", expand_assert}, {NULL, NULL}};
